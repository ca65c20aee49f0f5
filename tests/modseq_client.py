# SPDX-License-Identifier: LGPL-2.1-only
"""A client that also follows RFC 7162: MODSEQ, HIGHESTMODSEQ, VANISHED.

client.modseq is what a client may note of the selected mailbox when the last
tagged reply came: what HIGHESTMODSEQ said, else the highest MODSEQ seen since then.
With that and what it knows, client.cache(), it resynchronises by
resync_parameter() and learn_resynced(); then it must know all."""

import re

from imap_client import Client, ModelError, in_set, parse_set

# a command that enables CONDSTORE
ENABLING = re.compile(r"CONDSTORE|QRESYNC|MODSEQ|CHANGEDSINCE")


class Cache:
    """What a client knew: of a folder's messages all UIDs and flags"""

    def __init__(self, uidvalidity, modseq, flags):
        self.uidvalidity, self.modseq = uidvalidity, modseq
        self.flags = flags

    def resynced(self, result, known=None):
        """What it knows after that SELECT or FETCH. known: it asked for these
        UIDs only."""
        flags = dict(self.flags)
        for line in result.lines("* VANISHED (EARLIER) "):
            ranges = parse_set(line.split()[3])
            flags = {u: f for u, f in flags.items() if not in_set(ranges, u)}
        for items in result.fetched().values():
            if "UID" in items and "FLAGS" in items:
                flags[int(items["UID"])] = without_recent(items["FLAGS"])
        return flags if known is None else \
            {u: f for u, f in flags.items() if u in known}

    def __repr__(self):
        return "modseq %s: %s" % (self.modseq, {
            uid: sorted(flags) for uid, flags in self.flags.items()})


def without_recent(flags):
    return frozenset(flags) - {"\\Recent"}


class ModseqClient(Client):
    # others write at the same time: a message that they have expunged is shown
    # as it was when the folder was synced, and may have been shown newer before
    beside_others = False

    def __init__(self, *args, **kwargs):
        self.condstore = False
        self.highest = {}  # mailbox: UIDVALIDITY and what SELECT told
        super().__init__(*args, **kwargs)

    def cache(self):
        """To be used in any session. All must be known."""
        return Cache(self.uidvalidity, self.modseq, {
            uid: without_recent(flags) for uid, flags in self.flags.items()})

    @property
    def qresync(self):
        return "QRESYNC" in self.enabled

    def learn_resynced(self, cache, selected):
        """After that SELECT it knows all UIDs and flags, by what it has noted."""
        knows = cache.resynced(selected)
        if len(knows) != len(self.messages):
            raise ModelError("resynchronised from %s: knows %s, EXISTS %d; %r" % (
                cache, sorted(knows), len(self.messages), selected))
        for number, uid in enumerate(sorted(knows), 1):
            self._learn_uid(number, uid)
            self.messages[number - 1].flags = set(knows[uid])

    # the base class' hooks

    def _forget(self):
        super()._forget()
        self.modseq = None
        self._seen = 0  # highest MODSEQ since the last tagged reply
        self._told = 1  # what HIGHESTMODSEQ said last
        self.modseqs = {}  # UID: MODSEQ

    def _knowledge(self):
        self._modseq_before = self.modseq, self._seen, self._told, self.modseqs
        return super()._knowledge()

    def _finish(self, response):
        tag, status = (response.line.split(" ", 2) + [""])[:2]
        command = next((c for c in self.pending if c.tag == tag), None)
        super()._finish(response)
        if status == "OK" and ENABLING.search(command.text.upper()):
            self.condstore = True
        if command.selects and status == "BAD" and self.selected:
            self.modseq, self._seen, self._told, self.modseqs = self._modseq_before
        if command.selects and status == "OK" and self.modseq is not None:
            self._finish_highest(command.mailbox)
        match = re.match(r"\S+ OK \[HIGHESTMODSEQ (\d+)\]", response.line)
        if match is not None:
            self._told_highest(response, int(match.group(1)))
        elif self.modseq is not None:
            self.modseq = max(self.modseq, self._seen)
            self._seen = 0

    def _finish_highest(self, mailbox):
        # with FETCH it may tell of a later change, but then not of all
        self._seen = 0
        uidvalidity, highest = self.highest.get(mailbox, (None, 0))
        if uidvalidity == self.uidvalidity and self.modseq < highest:
            raise ModelError("SELECT told HIGHESTMODSEQ %d, before it was %d" % (
                self.modseq, highest))
        self.highest[mailbox] = self.uidvalidity, self.modseq

    def _told_highest(self, response, value):
        # it may be below a MODSEQ that was seen: not all up to that is known
        if value < self._told:
            raise ModelError("%r, it was %s" % (response, self._told))
        self.modseq, self._told, self._seen = value, value, 0

    def _apply_code(self, response):
        super()._apply_code(response)
        if "[NOMODSEQ]" in response.line:
            raise ModelError("%r" % response)
        match = re.match(r"\* OK \[HIGHESTMODSEQ (\d+)\]", response.line)
        if match is not None:
            self._told_highest(response, int(match.group(1)))

    def _apply_numbered(self, response, number, word):
        super()._apply_numbered(response, number, word)
        if word == "FETCH":
            self._apply_modseq(response, number, response.items())

    def _apply_modseq(self, response, number, items):
        asked = self.pending[0] if self.pending else None
        enabled = self.condstore or asked is not None and \
            ENABLING.search(asked.text.upper())
        if "MODSEQ" not in items:
            # in an answer to FETCH it is there if it is asked for
            if self.condstore and "FLAGS" in items and \
                    (asked is None or asked.name != "FETCH"):
                raise ModelError("%r without MODSEQ" % response)
            return
        if not enabled:
            raise ModelError("%r, and nobody has enabled CONDSTORE" % response)
        if self.qresync and "UID" not in items and \
                (asked is None or asked.name != "FETCH"):
            raise ModelError("%r without UID" % response)
        modseq = int(items["MODSEQ"][0])
        uid = self.messages[number - 1].uid
        if modseq < self.modseqs.get(uid, 1) and not self.beside_others:
            raise ModelError("%r, MODSEQ was %d" % (response, self.modseqs[uid]))
        if uid is not None:
            self.modseqs[uid] = modseq
        self._seen = max(self._seen, modseq)


def resync_parameter(cache, known=None, samples=()):
    """SELECT's. samples: numbers, from 1, of messages of the cache"""
    text = "%d %d" % (cache.uidvalidity, cache.modseq)
    if known is not None:
        text += " " + ",".join(map(str, sorted(known)))
    if samples:
        uids = sorted(cache.flags)
        text += " (%s %s)" % (",".join(map(str, samples)),
                              ",".join(str(uids[n - 1]) for n in samples))
    return " (QRESYNC (%s))" % text
