# SPDX-License-Identifier: LGPL-2.1-only
"""TLS before a peer that doesn't speak it itself, as a reverse proxy does it."""

import select
import socket
import ssl
import struct
import threading
import time

from webpush_peer import certificate


def make_certificates(path):
    """Of an authority, ca: good, for this host; other, for another one; expired. And
    stranger, of an authority that nobody knows. Each is a file with its key, NAME.pem."""
    here = ("localhost", "127.0.0.1")
    issuer = certificate(path + "/ca", ())
    certificate(path + "/good", here, issuer)
    certificate(path + "/other", ("sms.example.com", "127.0.0.2"), issuer)
    certificate(path + "/expired", here, issuer, days=-1)
    certificate(path + "/stranger", here, certificate(path + "/other-ca", ()))


class TLS:
    """Passes on what comes to the port of the peer.
    pem: the file with the certificate and its key, which may be set anew; or "plain": without
    TLS, and where plain is set that is the answer; "cut" or "reset": the connection ends in the
    handshake; "hang": it stays there; "old": TLS 1.1, with good.
    names: those that clients wanted (SNI). passed: what they have said."""

    def __init__(self, peer, good):
        self.good = self.pem = good
        self.peer, self.port = peer, 0
        self.names, self.open = [], []
        self.passed, self.count = b"", 0
        self.plain, self.active = None, 0
        self.start()

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=50)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = lambda sock, name, _: self.names.append(name)
        context.load_cert_chain(self.good if self.pem == "old" else self.pem)
        if self.pem == "old":
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context

    def serve(self, sock):
        self.open.append(sock)
        self.active += 1
        try:
            sock.settimeout(60)
            if self.pem in ("cut", "reset", "hang"):
                assert sock.recv(16384)[:1] == b"\x16"
                while self.pem == "hang" and sock.recv(1000) != b"":
                    pass
                if self.pem == "reset":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if self.pem != "plain":
                sock = self.context().wrap_socket(sock, server_side=True)
                self.open.append(sock)
            elif self.plain is not None:
                assert sock.recv(16384)[:1] == b"\x16"
                sock.sendall(self.plain)
                return
            with socket.create_connection(("127.0.0.1", self.peer)) as peer:
                self.count += 1
                self.pass_on(sock, peer)
        except OSError:
            pass
        finally:
            sock.close()
            self.active -= 1

    def pass_on(self, sock, peer):
        while True:
            ready = [sock]
            if not isinstance(sock, ssl.SSLSocket) or sock.pending() == 0:
                ready, _, _ = select.select([sock, peer], [], [])
            for source, target in ((sock, peer), (peer, sock)):
                if source in ready:
                    data = source.recv(16384)
                    if data == b"":
                        return
                    if source is sock and self.pem != "plain":
                        self.passed += data
                    target.sendall(data)

    def shutdown(self, how):
        for sock in self.open:
            try:
                # an SSLSocket's own would read on without TLS
                socket.socket.shutdown(sock, how)
            except OSError:
                pass
        self.open = []

    def drop(self):
        """Ends the connections that there are, and waits until clients know it"""
        self.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 20
        while self.active > 0:
            assert time.monotonic() < deadline, "a connection stays"
            time.sleep(0.02)

    def restart(self):
        self.stop()
        self.start()

    def stop(self):
        # what waits in accept() holds the port
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.shutdown(socket.SHUT_RDWR)
