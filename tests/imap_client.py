# SPDX-License-Identifier: LGPL-2.1-only
"""An IMAP client that keeps a model of what a correct client knows (numbers,
UIDs, flags) and raises ModelError on any response that contradicts it.

    client = Client(port, "joe#P1")
    client.ok("SELECT INBOX")           # AssertionError unless it answers OK
    result = client.command("NOOP")     # whatever it answers
    client.command("LOGIN joe {4}", "pass")     # the rest follows each "+"
    client.pipeline(["NOOP", "NOOP"])   # all in one packet, a Result for each
    client.idle(); client.wait("EXISTS"); client.done()

client.uids, client.flags and client.selected are what it knows. client.sock
and client.file are the connection itself."""

import re
import select
import socket
import time

DEADLINE = 20  # seconds for a command, from sending it to its tagged reply


class ModelError(AssertionError):
    pass


class Response:
    """One response: its text, with literals in place, and the literals."""

    def __init__(self, line, literals):
        self.line = line
        self.literals = literals

    def items(self):
        """A FETCH response's items: strings, lists of them, octets."""
        values, = parse(self.line.split(" FETCH ", 1)[1], self.literals)
        if not isinstance(values, list) or len(values) % 2 != 0:
            raise ModelError("malformed %r" % self)
        return dict(zip(values[::2], values[1::2]))

    def __repr__(self):
        return repr(self.line)


class Result:
    def __init__(self, status, text, untagged):
        self.status = status
        self.text = text
        self.untagged = untagged

    def lines(self, prefix):
        return [r.line for r in self.untagged if r.line.startswith(prefix)]

    def data(self, word):
        """What the one SEARCH, SORT, ESEARCH or THREAD response says."""
        response, = [r for r in self.untagged
                     if r.line.split(" ", 2)[1] == word]
        return search_data(word, response)

    def fetched(self):
        """number: its items, of all FETCH responses"""
        messages = {}
        for r in self.untagged:
            if re.match(r"\* \d+ FETCH ", r.line):
                messages.setdefault(int(r.line.split()[1]), {}).update(r.items())
        return messages

    def __repr__(self):
        return "%s %s %r" % (self.status, self.text, self.untagged)


# parsing

TOKEN = re.compile(
    r'(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\]|\\.)*)"'
    r'|~?\{(?P<literal>\d+)\}|(?P<atom>[^\s()"\[{]*\[[^]]*\](?:<\d+>)?|[^\s()"{]+)')


def parse(text, literals=()):
    """Nested lists of strings, and octets for literals."""
    stack, position, literals = [[]], 0, list(literals)
    while position < len(text):
        if text[position] == " ":
            position += 1
            continue
        match = TOKEN.match(text, position)
        if match is None:
            raise ModelError("malformed %r" % text)
        position = match.end()
        if match.lastgroup == "open":
            stack.append([])
        elif match.lastgroup == "close":
            if len(stack) == 1:
                raise ModelError("unbalanced %r" % text)
            inner = stack.pop()
            stack[-1].append(inner)
        elif match.lastgroup == "literal":
            stack[-1].append(literals.pop(0))
        elif match.lastgroup == "quoted":
            stack[-1].append(re.sub(r"\\(.)", r"\1", match.group("quoted")))
        else:
            stack[-1].append(match.group("atom"))
    if len(stack) != 1:
        raise ModelError("unbalanced %r" % text)
    return stack[0]


def parse_set(text):
    """The sorted ranges (first, last) of a set without *"""
    if re.fullmatch(r"\d+(:\d+)?(,\d+(:\d+)?)*", text) is None:
        raise ModelError("malformed set %r" % text)
    ranges = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        first, last = sorted((int(first), int(last or first)))
        if first == 0:
            raise ModelError("0 in set %r" % text)
        ranges.append((first, last))
    return sorted(ranges)


def set_size(ranges):
    return sum(last - first + 1 for first, last in ranges)


def in_set(ranges, number):
    return any(first <= number <= last for first, last in ranges)


def search_data(word, response):
    """SEARCH, SORT: list of numbers. THREAD: nested lists. ESEARCH: dict."""
    rest = response.line[len("* ") + len(word):]
    if word != "ESEARCH":
        values = parse(rest)
        if values and isinstance(values[-1], list) and values[-1][0] == "MODSEQ":
            values.pop()
        try:
            return numbered(values)
        except ValueError:
            raise ModelError("malformed %r" % response) from None
    values = parse(rest)
    data = {"TAG": None, "UID": False}
    if values and isinstance(values[0], list):
        data["TAG"] = values.pop(0)[1]
    if values and values[0] == "UID":
        data["UID"] = bool(values.pop(0))
    if len(values) % 2 != 0:
        raise ModelError("malformed %r" % response)
    for name, value in zip(values[::2], values[1::2]):
        if name == "ALL":
            value = parse_set(value)
        elif name == "PARTIAL":
            value = [] if value[1] == "NIL" else parse_set(value[1])
        elif name in ("MIN", "MAX", "COUNT", "MODSEQ"):
            value = int(value)
        data[name] = value
    return data


def numbered(values):
    return [numbered(v) if isinstance(v, list) else int(v) for v in values]


def flat(values):
    for value in values:
        if isinstance(value, list):
            yield from flat(value)
        else:
            yield value


class Connection:
    """What comes from the socket, until a deadline"""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.deadline = time.monotonic() + DEADLINE

    def _fill(self):
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no answer in time, so far: %r" % self.buffer[-200:])
        self.sock.settimeout(remaining)
        try:
            data = self.sock.recv(65536)
        finally:
            self.sock.settimeout(DEADLINE)
        self.buffer += data
        return data != b""

    def _take(self, count):
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def readline(self):
        """Without its end if the connection is closed"""
        while b"\n" not in self.buffer and self._fill():
            pass
        end = self.buffer.find(b"\n") + 1
        return self._take(end or len(self.buffer))

    def read(self, count):
        while len(self.buffer) < count and self._fill():
            pass
        return self._take(count)

    def has_line(self):
        """True if a line can be read without waiting"""
        while b"\n" not in self.buffer:
            if not select.select([self.sock], [], [], 0)[0]:
                return False
            try:
                if not self._fill():
                    return False
            except ConnectionError:
                return False
        return True

    def close(self):
        self.buffer = b""


class Message:
    __slots__ = ("uid", "flags", "new")

    def __init__(self, new):
        self.uid = None
        self.flags = None
        self.new = new  # it came after SELECT


class Command:
    """A command whose tagged reply hasn't come yet"""

    def __init__(self, tag, text):
        self.tag = tag
        self.text = text
        words = text.split(None, 2) + ["", ""]
        self.name = words[0].upper()
        self.uid = self.name == "UID"
        if self.uid:
            self.name = words[1].upper()
        self.mailbox = words[1]
        self.selects = self.name in ("SELECT", "EXAMINE")
        # RFC 3501 7.4.1, RFC 5256 3: its numbers must stay valid
        self.keeps_numbers = not self.uid and self.name in (
            "FETCH", "STORE", "SEARCH", "SORT", "THREAD")


class Client:
    def __init__(self, port, user=None, password="pass", sock=None):
        """sock: a socket that is connected already"""
        self.sock = sock or socket.create_connection(
            ("127.0.0.1", port), timeout=DEADLINE)
        self.file = Connection(self.sock)
        self.tag = 0
        self.pending = []  # commands, the oldest is the one under way
        self.unasked = []  # responses that came while none was
        self.enabled = set()
        self.known = {}  # mailbox: its UIDVALIDITY and UIDNEXT
        self._searches = {}  # tag: the SEARCH, SORT or THREAD
        self._forget()
        self.greeting = self._read_response().line
        if user is not None:
            result = self.authenticate(user, password)
            if result.status != "OK":
                raise PermissionError(result.text)
            self.login = result

    @property
    def uids(self):
        """uids[n-1]: UID of message n, None: not known yet"""
        return [message.uid for message in self.messages]

    @property
    def flags(self):
        """UID: set of flags"""
        return {message.uid: message.flags for message in self.messages
                if message.uid is not None and message.flags is not None}

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
                break
            size = int(match.group(1))
            literals.append(self.file.read(size))
            if len(literals[-1]) != size:
                raise ConnectionError("connection closed in a literal")
        response = Response(text, literals)
        if not text.startswith(("* ", "+ ")) and text != "+":
            self._finish(response)
        return response

    def send(self, command):
        if isinstance(command, str):
            command = command.encode("latin1")
        return self._send_all([command])[0].tag

    def _send_all(self, commands):
        if not self.pending:
            self._read_unasked()
        sent, packet = [], b""
        for command in commands:
            self.tag += 1
            tag = "t%d" % self.tag
            sent.append(Command(tag, command[:200].decode("latin1")))
            if sent[-1].name in ("SEARCH", "SORT", "THREAD"):
                self._searches[tag] = sent[-1]
            packet += tag.encode() + b" " + command + b"\r\n"
        idle = not self.pending
        self.pending += sent
        if idle:
            self._begin()
        self.file.deadline = time.monotonic() + DEADLINE
        self.sock.sendall(packet)
        return sent

    def _read_unasked(self):
        while self.file.has_line():
            response = self._read_response()
            self._apply(response)
            self.unasked.append(response)

    def _collect(self, tags, more=()):
        """Reads until all the tags have their reply. Returns the Results."""
        results, more = {}, list(more)
        untagged = {tag: [] for tag in tags}
        untagged[tags[0]] += self.unasked
        self.unasked = []
        while len(results) < len(tags):
            oldest = self.pending[0].tag if self.pending else None
            response = self._read_response()
            if response.line.startswith("* "):
                untagged.get(oldest, untagged[tags[0]]).append(response)
                self._apply(response)
            elif response.line.startswith("+") and more:
                part = more.pop(0)
                if callable(part):
                    part = part(response.line[2:])
                if isinstance(part, str):
                    part = part.encode("latin1")
                self.sock.sendall(part + b"\r\n")
            elif response.line.startswith("+"):
                raise ModelError("unexpected %r" % response)
            else:
                tag, status, *text = response.line.split(" ", 2)
                results[tag] = Result(status, text[0] if text else "",
                                      untagged[tag])
        return [results[tag] for tag in tags]

    def command(self, command, *more):
        """more: what is sent after each continuation request, or functions
        that make it from that request's text"""
        return self._collect([self.send(command)], more)[0]

    def ok(self, command, *more):
        result = self.command(command, *more)
        if result.status != "OK":
            raise AssertionError("%r: %r" % (command, result))
        return result

    def pipeline(self, commands):
        """Sends all in one packet. Returns the Result of each; an untagged
        response belongs to the oldest that was not answered yet."""
        return self._collect([command.tag for command in self._send_all(
            [c.encode("latin1") if isinstance(c, str) else c for c in commands])])

    def idle(self):
        self._idle_tag = self.send("IDLE")
        self._idle_seen = self.unasked
        self.unasked = []
        while True:
            response = self._read_response()
            if response.line.startswith("+"):
                return
            self._idle_apply(response)

    def _idle_apply(self, response):
        if not response.line.startswith("* "):
            raise ModelError("unexpected %r" % response)
        self._idle_seen.append(response)
        self._apply(response)

    def wait(self, pattern, seconds=10):
        """In IDLE: reads until a response has the pattern, and returns it."""
        self.file.deadline = time.monotonic() + seconds
        while True:
            response = self._read_response()
            self._idle_apply(response)
            if re.search(pattern, response.line):
                return response

    def done(self):
        """Ends IDLE. Returns all that came in it."""
        self.file.deadline = time.monotonic() + DEADLINE
        self.sock.sendall(b"DONE\r\n")
        result, = self._collect([self._idle_tag])
        result.untagged[:0] = self._idle_seen
        return result

    def authenticate(self, user, password):
        """By LOGIN"""
        parts = []
        for text in (user, password):
            text = text if isinstance(text, bytes) else text.encode("latin1")
            if re.search(rb"[^ -~]", text):
                parts.append(b"{%d+}\r\n" % len(text) + text)
            else:
                parts.append(b'"' + re.sub(rb'(["\\])', rb"\\\1", text) + b'"')
        return self.command(b"LOGIN " + b" ".join(parts))

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

    # model: commands

    def _forget(self):
        self.selected = False
        self.messages = []
        self.recent = 0
        self.uidnext = self.uidvalidity = None
        self._counted = False
        self._vanishing = []  # as VANISHED (EARLIER), before VANISHED

    def _is_selecting(self):
        return bool(self.pending) and self.pending[0].selects

    def _begin(self):
        if self._is_selecting():
            self._before = self._knowledge()
            self._forget()

    def _knowledge(self):
        return (self.selected, self.messages, self.recent, self.uidnext,
                self.uidvalidity, self._counted)

    def _finish(self, response):
        """A tagged reply"""
        tag, status = (response.line.split(" ", 2) + [""])[:2]
        command = next((c for c in self.pending if c.tag == tag), None)
        if command is None or status not in ("OK", "NO", "BAD"):
            raise ModelError("unexpected %r" % response)
        if command.selects and status == "OK":
            self._finish_select(command, response)
        elif command.selects and status == "BAD" and self._before is not None:
            # it wasn't even tried
            (self.selected, self.messages, self.recent, self.uidnext,
             self.uidvalidity, self._counted) = self._before
        elif command.selects or (command.name in ("CLOSE", "UNSELECT") and
                                 status == "OK"):
            self._forget()
        was_oldest = command is self.pending[0]
        self.pending.remove(command)
        if not self.pending:
            for earlier, message in self._vanishing:
                if message in self.messages:
                    raise ModelError("%r, but %r exists" % (earlier, message.uid))
            self._vanishing = []
        if was_oldest:
            self._begin()

    def _finish_select(self, command, response):
        if not self._counted or self.recent > len(self.messages):
            raise ModelError("%r after EXISTS %d, RECENT %d" % (
                response, len(self.messages), self.recent))
        self.selected = True
        before = self.known.get(command.mailbox)
        if (before is not None and before[0] == self.uidvalidity and
                self.uidnext is not None and self.uidnext < before[1]):
            raise ModelError("UIDNEXT %d was %d" % (self.uidnext, before[1]))
        if self.uidvalidity is not None and self.uidnext is not None:
            self.known[command.mailbox] = self.uidvalidity, self.uidnext

    # model: untagged responses

    def _apply(self, response):
        match = re.match(r"\* (\d+) (\S+)", response.line)
        if match is not None:
            self._apply_numbered(response, int(match.group(1)), match.group(2))
            return
        word = response.line.split(" ", 2)[1].upper()
        if word == "VANISHED":
            self._apply_vanished(response)
        elif word in ("SEARCH", "SORT", "THREAD", "ESEARCH"):
            self._apply_search(response, word)
        elif word == "ENABLED":
            self.enabled.update(response.line.upper().split()[2:])
        elif word == "OK":
            self._apply_code(response)

    def _apply_code(self, response):
        match = re.match(r"\* OK \[(CLOSED|UIDNEXT|UIDVALIDITY)(?: (\d+))?\]",
                         response.line)
        if match is None:
            return
        if match.group(1) == "CLOSED":
            self._forget()
            self._before = None
        elif match.group(1) == "UIDNEXT":
            self.uidnext = int(match.group(2))
        elif self.uidvalidity in (None, int(match.group(2))):
            self.uidvalidity = int(match.group(2))
        else:
            raise ModelError("%r was %d" % (response, self.uidvalidity))

    def _apply_numbered(self, response, number, word):
        if not self.selected and not self._is_selecting():
            raise ModelError("%r, and no mailbox is selected" % response)
        if word == "EXISTS":
            if number < len(self.messages):
                raise ModelError("%r below %d" % (response, len(self.messages)))
            if number == 0 and not self._is_selecting():
                raise ModelError("needless %r" % response)
            self.messages += [Message(new=not self._is_selecting())
                              for _ in range(number - len(self.messages))]
            self._counted = True
        elif word == "RECENT":
            # SELECT may send it before EXISTS
            if number > len(self.messages) and not self._is_selecting():
                raise ModelError("%r of %d" % (response, len(self.messages)))
            self.recent = number
        elif word not in ("EXPUNGE", "FETCH", "XCONVERT"):
            raise ModelError("unexpected %r" % response)
        elif not 1 <= number <= len(self.messages):
            raise ModelError("%r of %d" % (response, len(self.messages)))
        elif word == "EXPUNGE":
            if "QRESYNC" in self.enabled:
                raise ModelError("%r after ENABLE QRESYNC" % response)
            self._check_may_expunge(response)
            del self.messages[number - 1]
        elif word == "FETCH":
            items = response.items()
            if "UID" in items:
                self._learn_uid(number, int(items["UID"]))
            if "FLAGS" in items:
                self.messages[number - 1].flags = set(items["FLAGS"])

    def _check_may_expunge(self, response):
        if not self.pending:
            raise ModelError("%r while no command is under way" % response)
        if self.pending[0].keeps_numbers:
            raise ModelError("%r in %r" % (response, self.pending[0].text))

    def _neighbours(self, number):
        """The nearest known ones: number and UID of both"""
        below = above = number
        while below > 1 and self.messages[below - 2].uid is None:
            below -= 1
        while above < len(self.messages) and self.messages[above].uid is None:
            above += 1
        return (below - 1, self.messages[below - 2].uid if below > 1 else 0,
                above + 1, self.messages[above].uid
                if above < len(self.messages) else None)

    def _learn_uid(self, number, uid):
        message = self.messages[number - 1]
        if message.uid == uid and uid != 0:
            return
        if message.uid is not None or uid == 0:
            raise ModelError("message %d was UID %s, now %d" %
                             (number, message.uid, uid))
        below, below_uid, above, above_uid = self._neighbours(number)
        # each message between them needs a UID too
        if (uid - below_uid < number - below or
                above_uid is not None and above_uid - uid < above - number):
            raise ModelError("UIDs don't rise: %d=%d, %d=%d, %d=%s" % (
                below, below_uid, number, uid, above, above_uid))
        if self.uidnext is not None and (uid >= self.uidnext) != message.new:
            raise ModelError("%s message %d is UID %d, SELECT told UIDNEXT %d" % (
                "new" if message.new else "old", number, uid, self.uidnext))
        message.uid = uid

    def _apply_vanished(self, response):
        match = re.fullmatch(r"\* VANISHED (\(EARLIER\) )?(\S+)", response.line)
        if match is None:
            raise ModelError("malformed %r" % response)
        if "QRESYNC" not in self.enabled:
            raise ModelError("%r without ENABLE QRESYNC" % response)
        if not self.selected and not self._is_selecting():
            raise ModelError("%r, and no mailbox is selected" % response)
        ranges = parse_set(match.group(2))
        if match.group(1) is None:
            self._check_may_expunge(response)
            if set_size(ranges) > len(self.messages):
                raise ModelError("%r of %d" % (response, len(self.messages)))
            for first, last in ranges:
                for uid in range(first, last + 1):
                    self._vanish(response, uid)
            return
        # these went before the client knew them: no number changes
        if not self._is_selecting() and not (
                self.pending and self.pending[0].uid and
                self.pending[0].name == "FETCH"):
            raise ModelError("%r is no answer" % response)
        # Dovecot names those too of which it has not yet been allowed to tell
        self._vanishing += [(response, m) for m in self.messages
                            if m.uid is not None and in_set(ranges, m.uid)]

    def _vanish(self, response, uid):
        """One message went. Its UID may not be known, but its place is."""
        first, last = 0, len(self.messages)
        for index, message in enumerate(self.messages):
            if message.uid == uid:
                del self.messages[index]
                return
            if message.uid is not None and message.uid < uid:
                first = index + 1
            elif message.uid is not None:
                last = index
                break
        candidates = [m for m in self.messages[first:last]
                      if self.uidnext is None or m.new == (uid >= self.uidnext)]
        if not candidates:
            raise ModelError("%r: there is no UID %d" % (response, uid))
        self.messages.remove(candidates[0])
        for message in candidates[1:]:
            message.flags = None  # it isn't known whose they were

    def _apply_search(self, response, word):
        data = search_data(word, response)
        if word == "ESEARCH":
            command = self._searches.get(data["TAG"])
            if command is None or command.uid != data["UID"]:
                raise ModelError("%r is no answer" % response)
            self._check_esearch(response, data, command.name == "SORT")
            return
        command = next((c for c in self.pending if c.name == word), None)
        if command is None:
            raise ModelError("%r is no answer" % response)
        numbers = list(flat(data))
        if len(set(numbers)) != len(numbers):
            raise ModelError("%r names one twice" % response)
        self._check_found(response, command.uid, [(n, n) for n in numbers])

    def _check_esearch(self, response, data, is_sort):
        found = data.get("ALL", []) + data.get("PARTIAL", [])
        edges = [data[name] for name in ("MIN", "MAX") if name in data]
        self._check_found(response, data["UID"],
                          found + [(n, n) for n in edges])
        everything = data.get("ALL", [])
        count = set_size(everything) if everything else len(self.messages)
        wrong = data.get("COUNT", 0) > count or (
            everything and data.get("COUNT", count) != count)
        # in SORT these are the first and the last in its order
        if not is_sort:
            wrong = wrong or edges != sorted(edges) or everything and (
                data.get("MIN", everything[0][0]) != everything[0][0] or
                data.get("MAX", everything[-1][1]) != everything[-1][1])
        if wrong:
            raise ModelError("wrong %r" % response)

    def _check_found(self, response, is_uid, ranges):
        uids = self.uids
        if not is_uid:
            good = all(1 <= first and last <= len(uids)
                       for first, last in ranges)
        elif None in uids:
            return
        else:
            known = set(uids)
            good = (set_size(ranges) <= 3 * len(uids) and
                    all(uid in known for first, last in ranges
                        for uid in range(first, last + 1)))
        if not good:
            raise ModelError("%r of %r" % (response, uids if is_uid else len(uids)))

    # conveniences

    def fetch_all(self):
        """Returns the UIDs of all messages, in order."""
        if self.messages:
            self.ok("FETCH 1:* (UID FLAGS)")
        # the FETCH may end with the EXISTS of a message that came meanwhile
        for _ in range(20):
            uids = self.uids
            if None not in uids:
                return uids
            self.ok("FETCH %d:* (UID FLAGS)" % (uids.index(None) + 1))
        raise ModelError("no UID for some of %r" % self.uids)

    def search(self, keys):
        return self.ok("UID SEARCH " + keys).data("SEARCH")

    def status(self, mailbox, items="MESSAGES UNSEEN RECENT UIDNEXT"):
        line, = self.ok("STATUS %s (%s)" % (mailbox, items)).lines("* STATUS")
        values = line[line.rindex("(") + 1:-1].split()
        return dict(zip(values[::2], map(int, values[1::2])))
