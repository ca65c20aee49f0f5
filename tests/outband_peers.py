# SPDX-License-Identifier: LGPL-2.1-only
"""The two sides of the service pimap-outband, for its tests: a worker that finds
what a test says, and a mail relay that keeps what it gets."""
import collections
import contextlib
import os
import socket
import socketserver
import threading
import time


def escape(field):
    for char, code in (("\001", "1"), ("\t", "t"), ("\r", "r"), ("\n", "n")):
        field = field.replace(char, "\001" + code)
    return field


def unescape(field):
    for char, code in (("\t", "t"), ("\r", "r"), ("\n", "n"), ("\001", "1")):
        field = field.replace("\001" + code, char)
    return field


def line(*fields):
    return "\t".join(escape(str(field)) for field in fields) + "\n"


class Unlinking(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Worker:
    """pimap-look.h's other side. answer(fields of the job) returns the lines of the
    answer, or None, also at its end: then the connection is closed. A job that a worker has got stays
    in jobs, what it was warned of in cautions; what it is to judge in judged, for judge(fields) to answer."""

    def __init__(self, server, answer):
        self.jobs, self.judged, self.cautions = [], [], []
        self.answer = answer
        self.judge = self.pass_all
        self.path = os.path.realpath(server.path + "/run") + "/pimap-worker"
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                try:
                    self.serve()
                except ConnectionError:
                    pass

            def serve(self):
                self.wfile.write(b"VERSION\tpimap-worker\t1\t0\n")
                assert self.rfile.readline().startswith(b"VERSION\tpimap-worker\t1\t")
                for job in self.rfile:
                    fields = [unescape(field) for field in
                              job.decode().rstrip("\n").split("\t")]
                    if fields[0] == "CAUTION":
                        outer.cautions.append(fields[1:])
                        continue
                    if fields[0] == "JUDGE":
                        outer.judged.append(fields)
                        answer = outer.judge(fields)
                    else:
                        outer.jobs.append(fields)
                        answer = outer.answer(fields)
                    if answer is None:
                        return
                    self.wfile.write("".join(filter(None, answer)).encode())
                    if None in answer:
                        return

        self.server = Unlinking(self.path, Handler)
        os.chmod(self.path, 0o666)
        threading.Thread(target=self.server.serve_forever, args=(0.02,),
                         daemon=True).start()

    def pass_all(self, job):
        """By what a look says of the device"""
        _, user, guid, device = job[:4]
        for text in self.answer(["LOOK", user, guid or "0" * 32]):
            fields = [unescape(field) for field in text.rstrip("\n").split("\t")]
            if fields[0] == "DEVICE" and fields[1] == device:
                return [line("JUDGED", *fields[2:6], "1" * (len(job[4:]) // 4)), "OK\n"]
        return ["GONE\n"]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        os.unlink(self.path)


Mail = collections.namedtuple("Mail", "sender recipients text")


class TCP(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 100


class TCP6(TCP):
    address_family = socket.AF_INET6


class Relay:
    """An SMTP server on 127.0.0.1, or ::1. replies[command] is what it answers to that in
    place of what it would; before(command) is called first."""

    def __init__(self, port=0, host="127.0.0.1"):
        self.mails = []
        self.replies = {}
        self.before = lambda command, argument: None
        outer = self

        self.connections = set()

        class Handler(socketserver.StreamRequestHandler):
            def say(self, reply):
                self.wfile.write(reply.encode() + b"\r\n")

            def handle(self):
                outer.connections.add(self.connection)
                try:
                    self.session()
                except ConnectionError:
                    pass
                finally:
                    outer.connections.discard(self.connection)

            def session(self):
                sender, recipients = None, []
                outer.before("CONNECT", "")
                self.say(outer.replies.get("CONNECT", "220 relay"))
                for request in self.rfile:
                    command, _, argument = \
                        request.decode().rstrip("\r\n").partition(" ")
                    command = command.upper()
                    outer.before(command, argument)
                    if command in outer.replies:
                        self.say(outer.replies[command])
                    elif command == "MAIL":
                        sender, recipients = argument, []
                        self.say("250 ok")
                    elif command == "RCPT":
                        recipients.append(argument)
                        self.say("250 ok")
                    elif command == "DATA":
                        self.say("354 go on")
                        text = b""
                        for part in self.rfile:
                            if part == b".\r\n":
                                break
                            text += part
                        else:
                            return
                        outer.before("END", argument)
                        if "END" not in outer.replies:
                            outer.mails.append(
                                Mail(sender, recipients, text.decode()))
                        self.say(outer.replies.get("END", "250 queued"))
                    elif command == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 ok")

        self.server = (TCP6 if ":" in host else TCP)((host, port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,),
                         daemon=True).start()

    def cut(self):
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.cut()


def many(default):
    """How many notifications a test sends while it restarts the peer again and again"""
    return int(os.environ.get("PIMAP_NOTIFICATIONS", default))


def hint(server, *fields, wait=True):
    """Sends one, and waits for the other side's version, or not, as a mail process
    does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server.path + "/run/pimap-outband")
        sock.sendall(("VERSION\tpimap-hint\t1\t0\n" + line(*fields)).encode())
        if wait:
            sock.recv(100)


def wait_for(condition, seconds=15):
    """Returns what the condition returns as soon as that is true, else fails."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
