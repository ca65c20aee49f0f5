# SPDX-License-Identifier: LGPL-2.1-only
"""SIPp (sip-tester) as the outbound proxy: it answers by a scenario of those in sipp/, and
keeps what comes."""

import collections
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

# of one that came: headers by their names in lower case, each with its last value
Message = collections.namedtuple("Message", "method uri headers body")


def parse(data):
    head, body = data.split(b"\r\n\r\n", 1)
    start, *lines = head.decode().split("\r\n")
    assert not any(line[0] in " \t" or ": " not in line for line in lines), lines
    names = [line.split(":")[0].lower() for line in lines]
    assert len(set(names)) == len(names), lines
    headers = dict(zip(names, (line.split(": ", 1)[1] for line in lines)))
    method, uri, version = start.split(" ")
    assert version == "SIP/2.0"
    return Message(method, uri, headers, body)


def free_port(tcp):
    with socket.socket(type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Sipp:
    def __init__(self, scenario, tcp=False):
        self.path = tempfile.mkdtemp(prefix="pimap-sipp.")
        self.tcp = tcp
        self.port = free_port(tcp)
        self.proxy = "127.0.0.1:%d%s" % (self.port, ";transport=tcp" if tcp else "")
        self.starts = 0
        self.process = None
        self.start(scenario)

    def start(self, scenario):
        self.starts += 1
        # a message log is written anew by each
        self.process = subprocess.Popen(
            ["/usr/bin/sipp", "-sf", "%s/sipp/%s.xml" % (os.path.dirname(__file__), scenario),
             "-i", "127.0.0.1", "-p", str(self.port), "-t", "t1" if self.tcp else "u1",
             "-cp", str(free_port(False)), "-nostdin", "-trace_msg",
             "-message_file", "%s/messages%d" % (self.path, self.starts)],
            cwd=self.path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT)
        wanted = "%08X:%04X" % (0x0100007f, self.port)
        deadline = time.monotonic() + 20
        while True:
            with open("/proc/net/" + ("tcp" if self.tcp else "udp")) as file:
                if any(line.split()[1] == wanted and (not self.tcp or line.split()[3] == "0A")
                       for line in file):
                    break
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)

    def end(self):
        if self.process.poll() is None:
            # it shuts down only when its calls have ended
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self, scenario):
        self.end()
        self.start(scenario)

    def stop(self):
        self.end()
        shutil.rmtree(self.path)

    def _logged(self, what):
        found = []
        for number in range(1, self.starts + 1):
            path = "%s/messages%d" % (self.path, number)
            if not os.path.exists(path):
                continue
            with open(path, "rb") as file:
                text = file.read()
            for match in re.finditer(what, text):
                data = text[match.end():match.end() + int(match.group(1))]
                if len(data) == int(match.group(1)):
                    found.append(data)
        return found

    @property
    def received(self):
        """The octets of each message that came, in order"""
        return self._logged(rb"(?:UDP|TCP) message received \[(\d+)\] bytes ?:\n\n")

    @property
    def messages(self):
        return [parse(data) for data in self.received]


def response(message, status, *headers, body=b""):
    """An answer to it, as it should be"""
    lines = ["SIP/2.0 " + status, "Via: " + message.headers["via"],
             "From: " + message.headers["from"], "To: %s;tag=1" % message.headers["to"],
             "Call-ID: " + message.headers["call-id"], "CSeq: " + message.headers["cseq"],
             *headers, "Content-Length: %d" % len(body)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Proxy:
    """One for what SIPp can't do: handle(proxy, message, reply) is called with each message
    that comes, and reply(octets) answers it. What came is in messages, with the times."""

    def __init__(self, handle, tcp=False, address="127.0.0.1", port=0):
        self.handle, self.tcp = handle, tcp
        self.messages, self.times, self.connections = [], [], []
        self.stopped = False
        self.sock = socket.socket(type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((address, port))
        self.port = self.sock.getsockname()[1]
        self.proxy = "127.0.0.1:%d%s" % (self.port, ";transport=tcp" if tcp else "")
        if tcp:
            self.sock.listen()
        threading.Thread(target=self._accept if tcp else self._datagrams, daemon=True).start()

    def _came(self, data, reply):
        message = parse(data)
        self.times.append(time.monotonic())
        self.messages.append(message)
        self.handle(self, message, reply)

    def _datagrams(self):
        while not self.stopped:
            data, source = self.sock.recvfrom(65536)
            if not self.stopped:
                self._came(data, lambda answer, to=source: self.sock.sendto(answer, to))

    def _accept(self):
        while not self.stopped:
            try:
                conn = self.sock.accept()[0]
            except OSError:
                return
            self.connections.append(conn)
            threading.Thread(target=self._connection, args=(conn,), daemon=True).start()

    def _connection(self, conn):
        data = b""
        while True:
            head, end, rest = data.partition(b"\r\n\r\n")
            size = re.search(rb"\r\nContent-Length: (\d+)$", head)
            if end and size and len(rest) >= int(size.group(1)):
                length = len(head) + 4 + int(size.group(1))
                self._came(data[:length], conn.sendall)
                data = data[length:]
                continue
            try:
                more = conn.recv(65536)
            except OSError:
                more = b""
            if not more:
                return
            data += more

    def stop(self):
        self.stopped = True
        if self.tcp:
            self.sock.shutdown(socket.SHUT_RDWR)
            for conn in self.connections:
                conn.close()
        else:
            # it wakes up
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(b"", self.sock.getsockname())
        self.sock.close()
