# SPDX-License-Identifier: LGPL-2.1-only
"""A broker that speaks STOMP as a test wants it: what no real one does on demand."""

import collections
import re
import socket
import socketserver
import ssl
import threading

Frame = collections.namedtuple("Frame", "command headers body")
CODES = {"\\\\": "\\", "\\c": ":", "\\r": "\r", "\\n": "\n"}


def unescape(text):
    return re.sub(r"\\(.|$)", lambda match: CODES[match.group()], text)


def parse(data):
    """A frame, as strictly as the specification has it"""
    head, _, body = data.partition(b"\n\n")
    command, *lines = head.decode().split("\n")
    headers = []
    for header in lines:
        name, value = header.split(":", 1)
        if command != "CONNECT":
            assert ":" not in value
            name, value = unescape(name), unescape(value)
        headers.append((name, value))
    assert len(dict(headers)) == len(headers)
    return Frame(command, dict(headers), body.decode())


class Connection:
    def __init__(self, broker, sock):
        self.broker, self.sock = broker, sock
        self.input = b""
        self.beats = 0

    def read(self):
        """The next frame, None at the end"""
        while True:
            while self.input.startswith(b"\n"):
                self.input = self.input[1:]
                self.beats += 1
            if b"\0" in self.input:
                data, _, self.input = self.input.partition(b"\0")
                frame = parse(data)
                self.broker.frames.append(frame)
                return frame
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                return None
            if not data:
                return None
            self.input += data

    def write(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def connect(self, headers="version:1.2\nheart-beat:0,0\n"):
        frame = self.read()
        if frame is not None:
            self.write("CONNECTED\n%s\n\0" % headers)
        return frame

    def receipt(self, frame):
        self.write("RECEIPT\nreceipt-id:%s\n\n\0\n" % frame.headers["receipt"])

    def error(self, frame=None, message="not this one", body=""):
        self.write("ERROR\nmessage:%s\n%s\n%s\0" % (
            message, "" if frame is None else "receipt-id:%s\n" % frame.headers["receipt"], body))

    def take_all(self):
        """Whatever comes, until it ends"""
        while True:
            frame = self.read()
            if frame is None:
                return
            self.receipt(frame)


def well(connection):
    if connection.connect() is not None:
        connection.take_all()


class TCP(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        self.errors.append(client_address)
        super().handle_error(request, client_address)


class Broker:
    """Each script is given one connection, the last one all that come after it."""

    def __init__(self, *scripts, certificate=None, port=0):
        self.scripts = list(scripts) or [well]
        self.frames, self.count = [], 0
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.socks = set()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with outer.lock:
                    outer.count += 1
                    outer.socks.add(self.request)
                    script = outer.scripts[0]
                    if len(outer.scripts) > 1:
                        outer.scripts.pop(0)
                try:
                    sock = self.request
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if certificate is not None:
                        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                        context.load_cert_chain(certificate)
                        sock = context.wrap_socket(sock, server_side=True)
                    script(Connection(outer, sock))
                except OSError:
                    # the client has closed it
                    pass
                finally:
                    with outer.lock:
                        outer.socks.remove(self.request)

        self.server = TCP(("127.0.0.1", port), Handler)
        # of scripts: a test must look at these
        self.server.errors = self.errors = []
        self.port = self.server.server_address[1]
        self.url = "stomp://127.0.0.1:%d" % self.port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def sent(self):
        """The frames SEND that have come"""
        return [frame for frame in list(self.frames) if frame.command == "SEND"]

    def drop(self):
        """Ends its connections"""
        with self.lock:
            for sock in self.socks:
                sock.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        assert self.errors == []
