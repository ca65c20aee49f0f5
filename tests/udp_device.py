#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-only
"""A device that is notified by UDP (R-13.6), as a phone would be. Nothing of it is the
product's. Run as a program, it says HELLO, shows what it is told, and acknowledges:

    udp_device.py [--once] HOST PORT LOGIN NUMBER:KEY    (as XPROVISION tells it)
"""
import base64
import socket
import sys
import threading
import time

from envelope import Refused, counter_nonce, seal, unseal

TAG = b"_%$P-IMAP$%_ "


class Device:
    """notifications is what it was told, (seq, text without the seq), in the order of
    arrival, repeated ones too. With acks = False it acknowledges nothing by itself."""

    def __init__(self, host, port, login, key, method="AES", acks=True, separator="#",
                 counter=None, source=None, loss=lambda data: False):
        """key: (number, octets). loss(datagram) says whether it doesn't arrive."""
        self.login, self.method, self.acks = login, method, acks
        self.device = login.partition(separator)[2].partition("@")[0] or login
        self.keys = [key]
        self.loss = loss
        # one that survives a restart of the device
        self.counter = time.time_ns() if counter is None else counter
        self.peer = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4]
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answers, self.notifications, self.garbage = [], [], []
        self.lock = threading.Lock()
        self.socks = []
        self.move(source)

    def move(self, source=None):
        """Another address, as when a phone changes its network"""
        sock = socket.socket(self.family, socket.SOCK_DGRAM)
        sock.bind(source or ("::1" if self.family == socket.AF_INET6 else "127.0.0.1", 0))
        # the old one stays open, so that nobody else gets its port
        self.socks.append(sock)
        self.sock = sock
        threading.Thread(target=self.listen, args=(sock,), daemon=True).start()

    @property
    def key(self):
        return self.keys[-1]

    def envelope(self, text, direction="H", key=None, counter=None, device=None):
        with self.lock:
            if counter is None:
                self.counter += 1
                counter = self.counter
        number, secret = key or self.key
        return seal(secret, number, self.method, direction,
                    counter_nonce(self.method, counter), text.encode())

    def text(self, challenge=None, acks=(), device=None):
        text = "%s %d" % (device or self.device, time.time())
        if challenge is not None:
            text += " " + base64.b64encode(challenge).decode()
        if acks:
            text += " ACK=" + ",".join(str(seq) for seq in acks)
        return text

    def datagram(self, envelope, rest=b""):
        return b"HELLO %s %s%s" % (self.login.encode(), base64.b64encode(envelope), rest)

    def send(self, data):
        """Returns what was sent."""
        self.sock.sendto(data, self.peer)
        return data

    def hello(self, challenge=None, acks=(), rest=b"", **options):
        return self.send(self.datagram(
            self.envelope(self.text(challenge, acks), **options), rest))

    def listen(self, sock):
        while True:
            try:
                data = sock.recv(70000)
            except OSError:
                return
            if not data:
                return
            if sock is self.sock and not self.loss(data):
                self.receive(data)

    def open(self, direction, text):
        sealed = base64.b64decode(text, validate=True)
        for number, secret in reversed(self.keys):
            try:
                return unseal(secret, number, direction, sealed)
            except Refused:
                pass
        raise Refused("by all keys")

    def receive(self, data):
        try:
            if data.startswith(TAG):
                seq, text = self.open("N", data[len(TAG):]).decode().split(" ", 1)
                self.notifications.append((int(seq), text))
                if self.acks:
                    self.hello(acks=[int(seq)])
            elif data.startswith(b"OK "):
                self.answers.append(("OK", self.open("A", data[3:]).decode()))
            elif data.startswith(b"CHALLENGE "):
                octets = self.open("A", data[10:])
                self.answers.append(("CHALLENGE", octets))
                if self.acks is not None:
                    self.hello(challenge=octets)
            else:
                self.answers.append((data.decode(), None))
        except (Refused, ValueError, UnicodeDecodeError):
            self.garbage.append(data)

    def told(self):
        """The texts, each number once"""
        return [text for seq, text in sorted(dict(self.notifications).items())]

    def count(self, answer):
        return [name for name, _ in self.answers].count(answer)

    def close(self):
        for sock in self.socks:
            sock.close()


def main(args):
    once = args[:1] == ["--once"]
    host, port, login, key = args[once:]
    number, _, text = key.partition(":")
    device = Device(host, int(port), login, (int(number), base64.b64decode(text)))
    shown, said = set(), 0
    while True:
        if time.monotonic() >= said:
            device.hello()
            said = time.monotonic() + 120
        for seq, told in list(device.notifications):
            if seq not in shown:
                print("%d %s" % (seq, told), flush=True)
                shown.add(seq)
                if once:
                    # the ACK is on its way
                    return
        time.sleep(0.05)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError:
        sys.exit(__doc__)
