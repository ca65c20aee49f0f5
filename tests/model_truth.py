# SPDX-License-Identifier: LGPL-2.1-only
"""What there is: each folder as a plain session sees it. Nothing here asks
pimap which messages match: that is a plain SEARCH."""

import socket

from imap_client import Connection, ModelError, search_data
from model_mail import TOKEN
from modseq_client import ModseqClient


class Tap(Connection):
    """Keeps the raw octets that came, until they are taken."""

    def __init__(self, sock):
        super().__init__(sock)
        self.raw = []

    def _fill(self):
        before = len(self.buffer)
        more = super()._fill()
        self.raw.append(self.buffer[before:])
        return more


class ModelClient(ModseqClient):
    """Notes what is said, for the report, and which messages an untagged FETCH
    was about. journal: what all clients of a run write to"""

    def __init__(self, port, user, journal, name):
        self.journal, self.name = journal, name
        self.told = []  # UIDs of FETCH responses with FLAGS
        super().__init__(port, user)
        self.file = Tap(self.sock)

    def _send_all(self, commands):
        for command in commands:
            text = command[:80].decode("latin1").split("\r\n")[0]
            self.journal.append("%s > %s" % (self.name, text))
        return super()._send_all(commands)

    def _read_response(self):
        response = super()._read_response()
        self.journal.append("%s < %s" % (self.name, response.line[:160]))
        return response

    def _apply_numbered(self, response, number, word):
        super()._apply_numbered(response, number, word)
        if word == "FETCH" and "FLAGS (" in response.line:
            self.told.append(self.messages[number - 1].uid)

    def take_told(self):
        told, self.told = self.told, []
        return told

    def take_tokens(self):
        """The tokens in all that came since the last time"""
        data, self.file.raw = b"".join(self.file.raw), []
        return {match.group(0) for match in TOKEN.finditer(data)}


def found_by(results):
    """What pipelined SEARCHes found. Their answers come in order, but maybe
    before the reply to the first of them."""
    return [set(search_data("SEARCH", response)) for result in results
            for response in result.untagged if response.line.startswith("* SEARCH")]


class Expected:
    """What an operation does to a folder. flags: UID: list of what its flags
    may be then; new: tokens of the messages that come; optional: or nothing"""

    def __init__(self):
        self.flags = {}
        self.gone = set()
        self.maybe_gone = set()
        self.new = []
        self.new_flags = None
        self.optional = False


class Folder:
    def __init__(self, port, user, name, journal):
        self.name = name
        self.client = ModelClient(port, user, journal, name)
        self.client.ok("SELECT " + name)
        self.uids = []
        self.flags = {}
        self.token = {}
        self.had = set()  # all tokens that ever were here
        self.lost = set()  # those of which one has gone
        self.size = {}
        self.matching = {}  # plain criteria: UIDs
        self._static = {}  # plain criteria: UIDs and up to which
        self.uidvalidity = self.client.uidvalidity
        self.next_uid = self.client.uidnext
        self.came = []  # the UIDs that the last operation brought

    def _learn(self):
        # while it answers, the next message may come
        while None in self.client.uids:
            result = self.client.ok(
                "FETCH %d:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (X-Token)])" %
                (self.client.uids.index(None) + 1))
            for items in result.fetched().values():
                if "RFC822.SIZE" not in items:
                    continue
                uid = int(items["UID"])
                octets, = [v for v in items.values() if isinstance(v, bytes)]
                self.token[uid] = TOKEN.search(octets)
                self.had.add(self.token[uid].group(0))
                self.size[uid] = int(items["RFC822.SIZE"])

    def observe(self, expected=None, criteria=()):
        """Looks, and checks that just what was expected has happened."""
        self.client.ok("NOOP")
        self._learn()
        before, before_flags = set(self.uids), self.flags
        self.uids = self.client.uids
        self.flags = {uid: frozenset(flags - {"\\Recent"})
                      for uid, flags in self.client.flags.items()}
        self.came = sorted(set(self.uids) - before)
        if self.uids:
            self.next_uid = max(self.next_uid, self.uids[-1] + 1)
        self.lost.update(self.token[uid].group(0) for uid in before - set(self.uids)
                         if self.token[uid] is not None)
        self.matching = {}
        if expected is not None:
            self._check(expected, before, before_flags)
        self._search({c.plain: c for c in criteria}.values())

    def _check(self, expected, before, before_flags):
        now = set(self.uids)
        gone = before - now
        # Maildir: a file whose name was there before, by MOVE, gets a new UID a
        # little later, and Dovecot warns
        renamed = [uid for uid in gone - expected.gone - expected.maybe_gone
                   if self.token[uid] is not None and self.token[uid].group(0) in
                   [self.token[new].group(0) for new in self.came]]
        expected.new = expected.new + [self.token[uid].group(0) for uid in renamed]
        gone -= set(renamed)
        if not expected.gone <= gone <= expected.gone | expected.maybe_gone:
            raise ModelError("%s: %s went, should %s (may %s); %s came" % (
                self.name, sorted(gone), sorted(expected.gone),
                sorted(expected.maybe_gone), self.came))
        for uid in before & now:
            allowed = expected.flags.get(uid, [before_flags[uid]])
            if self.flags[uid] not in allowed:
                raise ModelError("%s: flags of %d are %s, should be %s" % (
                    self.name, uid, sorted(self.flags[uid]),
                    " or ".join(str(sorted(f)) for f in allowed)))
        came = sorted(self.token[uid].group(0) for uid in self.came)
        if came != sorted(expected.new) and not (expected.optional and not came):
            raise ModelError("%s: got %s, should %s" % (
                self.name, came, sorted(expected.new)))
        for uid in self.came if expected.new_flags is not None else ():
            if self.flags[uid] != expected.new_flags:
                raise ModelError("%s: new message %d has %s" % (
                    self.name, uid, self.flags[uid]))

    def _search(self, criteria):
        asked, commands, exist = [], [], set(self.uids)
        for c in criteria:
            if not c.static:
                asked.append(c)
                commands.append("UID SEARCH " + c.plain)
                continue
            found, up_to = self._static.get(c.plain, (set(), 1))
            if up_to < self.next_uid:
                result = self.client.search("UID %d:* %s" % (up_to, c.plain))
                # 5:* is the last message too if there is none above it
                found |= set(result)
                self._static[c.plain] = found, self.next_uid
            self.matching[c.plain] = found & exist
        if commands:
            results = self.client.pipeline(commands)
            for c, found in zip(asked, found_by(results), strict=True):
                self.matching[c.plain] = found

    def match(self, criteria):
        """The UIDs of the messages that match now"""
        if criteria.plain not in self.matching:
            self._search([criteria])
        return self.matching[criteria.plain]

    def counts(self, uids, flags=None):
        """What STATUS says of them"""
        flags = self.flags if flags is None else flags
        return {"MESSAGES": len(uids), "SIZE": sum(self.size[u] for u in uids),
                "UNSEEN": len([u for u in uids if "\\Seen" not in flags[u]])}


def plain_state(folder):
    """What a plain session sees, by numbers"""
    client = folder.client
    if not folder.uids:
        return []
    results = client.pipeline(["FETCH 1:* (FLAGS RFC822.SIZE)",
                               "SORT (SUBJECT) US-ASCII ALL",
                               "THREAD REFERENCES US-ASCII ALL",
                               "SEARCH UNSEEN", "SEARCH DELETED"])
    flags, found = [], []
    for response in [r for result in results for r in result.untagged]:
        word = response.line.split(" ", 2)[1]
        if " FETCH (" in response.line:
            items = response.items()
            flags.append((sorted(set(items["FLAGS"]) - {"\\Recent"}),
                          items["RFC822.SIZE"]))
        elif word in ("SEARCH", "SORT", "THREAD"):
            found.append(response.line)
    return [flags] + found


def check_index(folder, other):
    """What devices' sessions have left in the folder's index, cache, sort and
    thread data is right: a copy, whose index is new, has the same. other: a
    plain session that may select what it likes."""
    folder.client.ok("NOOP")
    status = other.status(folder.name, "MESSAGES UNSEEN UIDNEXT UIDVALIDITY SIZE")
    right = dict(folder.counts(folder.uids), UIDNEXT=folder.next_uid,
                 UIDVALIDITY=folder.uidvalidity)
    if status != right:
        raise ModelError("plain STATUS %s: %s, should be %s" % (
            folder.name, status, right))
    if not folder.uids:
        return
    other.ok("CREATE Copy")
    try:
        folder.client.ok("COPY 1:* Copy")
        other.ok("SELECT Copy")
        copy = Folder.__new__(Folder)
        copy.client, copy.uids = other, folder.uids
        here, there = plain_state(folder), plain_state(copy)
    finally:
        if other.selected:
            other.ok("UNSELECT")
        other.ok("DELETE Copy")
    for what, first, second in zip(("FLAGS", "SORT", "THREAD", "UNSEEN", "DELETED"),
                                   here, there):
        if first != second:
            raise ModelError("plain %s of %s: %s, in a copy %s" % (
                what, folder.name, first, second))


def deliver(path, user, message):
    """By LMTP"""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)
        replies = sock.makefile("rb")

        def expect(code):
            line = replies.readline()
            while line[3:4] == b"-":
                line = replies.readline()
            if not line.startswith(code):
                raise ModelError("LMTP: %r" % line)
        expect(b"220")
        for command, code in ((b"LHLO test", b"250"), (b"MAIL FROM:<>", b"250"),
                              (b"RCPT TO:<%s>" % user.encode(), b"250"),
                              (b"DATA", b"354"), (message + b".", b"250"),
                              (b"QUIT", b"221")):
            sock.sendall(command + b"\r\n")
            expect(code)
        replies.close()
