# SPDX-License-Identifier: LGPL-2.1-only
"""An SMSC that speaks as much SMPP 3.4 as a gateway needs: it takes short messages, and says
later what has become of them."""

import socket
import struct
import threading

BIND, SUBMIT, DELIVER, ENQUIRE, UNBIND = 9, 4, 5, 0x15, 6
RESPONSE = 0x80000000
INVALID_DESTINATION = 0x0b


def cstring(data, at):
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


class Smsc:
    """outcomes: of numbers, what the receipt says of them in stat, or None: there isn't one, or
    a number: how it is refused."""

    def __init__(self):
        self.outcomes, self.taken, self.receipts = {}, [], []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def stop(self):
        self.server.close()

    def serve(self):
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(sock,), daemon=True).start()

    @staticmethod
    def send(sock, command, status, number, body=b""):
        sock.sendall(struct.pack(">IIII", 16 + len(body), command, status, number) + body)

    def talk(self, sock):
        file = sock.makefile("rb")
        try:
            while True:
                head = file.read(16)
                if len(head) < 16:
                    return
                length, command, _, number = struct.unpack(">IIII", head)
                self.command(sock, command, number, file.read(length - 16))
        except OSError:
            pass
        finally:
            sock.close()

    def command(self, sock, command, number, body):
        if command == BIND:
            self.send(sock, command | RESPONSE, 0, number, b"smsc\0")
        elif command == SUBMIT:
            self.submit(sock, number, body)
        elif command in (ENQUIRE, UNBIND):
            self.send(sock, command | RESPONSE, 0, number)

    def submit(self, sock, number, body):
        _, at = cstring(body, 0)
        sender, at = cstring(body, at + 2)
        receiver, at = cstring(body, at + 2)
        _, at = cstring(body, at + 3)
        _, at = cstring(body, at)
        wants_receipt = body[at]
        self.taken.append(receiver)
        outcome = self.outcomes.get("+" + receiver.lstrip("+"), "DELIVRD")
        if isinstance(outcome, int):
            self.send(sock, SUBMIT | RESPONSE, outcome, number)
            return
        name = "m%d" % len(self.taken)
        self.send(sock, SUBMIT | RESPONSE, 0, number, name.encode() + b"\0")
        if wants_receipt & 3 and outcome is not None:
            self.receipts.append((sock, sender, receiver, name, outcome))
            self.tell(*self.receipts[-1])

    def tell(self, sock, sender, receiver, name, outcome):
        """A deliver_sm with the receipt, as in the appendix B of SMPP 3.4"""
        text = ("id:%s sub:001 dlvrd:%03d submit date:0402200640 done date:0402200641 stat:%s "
                "err:%03d text:its own text" % (name, outcome == "DELIVRD", outcome,
                                                0 if outcome == "DELIVRD" else 11)).encode()
        body = (b"\0" + b"\1\1" + receiver.encode() + b"\0" + b"\1\1" + sender.encode() + b"\0" +
                b"\4\0\0" + b"\0\0" + b"\0\0\0\0" + bytes([len(text)]) + text)
        self.send(sock, DELIVER, 0, 1000 + len(self.receipts), body)
