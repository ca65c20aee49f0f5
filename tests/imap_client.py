# SPDX-License-Identifier: LGPL-2.1-only
"""An IMAP client that keeps a model of what a correct client knows (numbers,
UIDs, flags) and raises ModelError on any response that contradicts it."""

import re
import socket


class ModelError(AssertionError):
    pass


class Response:
    """One response: its text, with literals in place, and the literals."""

    def __init__(self, line, literals):
        self.line = line
        self.literals = literals

    def __repr__(self):
        return repr(self.line)


class Result:
    def __init__(self, status, text, untagged):
        self.status = status
        self.text = text
        self.untagged = untagged

    def lines(self, prefix):
        return [r.line for r in self.untagged if r.line.startswith(prefix)]

    def __repr__(self):
        return "%s %s %r" % (self.status, self.text, self.untagged)


class Client:
    def __init__(self, port, user=None, password="pass"):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.sock.makefile("rb")
        self.tag = 0
        self.selected = False
        self.uids = []  # uids[n-1]: UID of message n, None: not known yet
        self.flags = {}
        self.greeting = self._read_response().line
        if user is not None:
            result = self.command('LOGIN "%s" "%s"' % (user, password))
            if result.status != "OK":
                raise PermissionError(result.text)
            self.login = result

    # wire

    def _read_response(self):
        text, literals = "", []
        while True:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise ConnectionError("connection closed: %r" % line)
            text += line[:-2].decode("latin1")
            match = re.search(r"\{(\d+)\}$", text)
            if match is None:
                return Response(text, literals)
            literals.append(self.file.read(int(match.group(1))))

    def send(self, command):
        self.tag += 1
        tag = "t%d" % self.tag
        if isinstance(command, str):
            command = command.encode("latin1")
        self.sock.sendall(tag.encode() + b" " + command + b"\r\n")
        return tag

    def command(self, command):
        tag = self.send(command)
        untagged = []
        name = command.split(None, 1)[0] if isinstance(command, str) else ""
        if name.upper() in ("SELECT", "EXAMINE"):
            self._forget()
        while True:
            response = self._read_response()
            if response.line.startswith(tag + " "):
                _, status, *text = response.line.split(" ", 2)
                break
            if not response.line.startswith("* "):
                raise ModelError("unexpected %r" % response)
            untagged.append(response)
            self._apply(response)
        if name.upper() in ("SELECT", "EXAMINE"):
            self.selected = status == "OK"
        elif name.upper() in ("CLOSE", "UNSELECT") and status == "OK":
            self._forget()
        return Result(status, text[0] if text else "", untagged)

    def ok(self, command):
        result = self.command(command)
        if result.status != "OK":
            raise AssertionError("%r: %r" % (command, result))
        return result

    def append(self, mailbox, messages, flags=""):
        """messages: a list of bytes"""
        command = b"APPEND " + mailbox.encode()
        for message in messages:
            message = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            command += b" (%s) {%d+}\r\n" % (flags.encode(), len(message)) + message
        return self.ok(command)

    def logout(self):
        result = self.command("LOGOUT")
        self.close()
        return result

    def close(self):
        self.file.close()
        self.sock.close()

    # model

    def _forget(self):
        self.selected = False
        self.uids = []
        self.flags = {}

    def _apply(self, response):
        match = re.match(r"\* (\d+) (EXISTS|EXPUNGE|FETCH)(.*)", response.line,
                         re.DOTALL)
        if match is None:
            return
        number, what, rest = int(match.group(1)), match.group(2), match.group(3)
        if what == "EXISTS":
            if number < len(self.uids):
                raise ModelError("EXISTS %d below %d" % (number, len(self.uids)))
            self.uids += [None] * (number - len(self.uids))
            return
        if not 1 <= number <= len(self.uids):
            raise ModelError("%r of %d" % (response, len(self.uids)))
        if what == "EXPUNGE":
            self.flags.pop(self.uids[number - 1], None)
            del self.uids[number - 1]
            return
        uid = re.search(r"\bUID (\d+)", rest)
        if uid is not None:
            self._learn_uid(number, int(uid.group(1)))
        flags = re.search(r"\bFLAGS \(([^)]*)\)", rest)
        if flags is not None and self.uids[number - 1] is not None:
            self.flags[self.uids[number - 1]] = set(flags.group(1).split())

    def _learn_uid(self, number, uid):
        known = self.uids[number - 1]
        if known not in (None, uid):
            raise ModelError("message %d was UID %d, now %d" % (number, known, uid))
        for other, value in enumerate(self.uids, 1):
            if value is None or other == number:
                continue
            if (value < uid) != (other < number) or value == uid:
                raise ModelError("UIDs don't rise: %d=%d, %d=%d" %
                                 (other, value, number, uid))
        self.uids[number - 1] = uid

    # conveniences

    def fetch_all(self):
        """Returns the UIDs of all messages, in order."""
        if self.uids:
            self.ok("FETCH 1:* (UID FLAGS)")
        # the FETCH may end with the EXISTS of a message that came meanwhile
        for _ in range(20):
            if None not in self.uids:
                return list(self.uids)
            self.ok("FETCH %d:* (UID FLAGS)" % (self.uids.index(None) + 1))
        raise ModelError("no UID for some of %r" % self.uids)

    def search(self, keys):
        result = self.ok("UID SEARCH " + keys)
        line, = result.lines("* SEARCH")
        return [int(uid) for uid in line.split()[2:]]

    def status(self, mailbox, items="MESSAGES UNSEEN RECENT UIDNEXT"):
        line, = self.ok("STATUS %s (%s)" % (mailbox, items)).lines("* STATUS")
        values = line[line.rindex("(") + 1:-1].split()
        return dict(zip(values[::2], map(int, values[1::2])))
