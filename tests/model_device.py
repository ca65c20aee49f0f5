# SPDX-License-Identifier: LGPL-2.1-only
"""A device session, and what R-1.4 says that it must be told.

Each message that the session counts is in one of these states:
  in      it matches (or the view is ALL)
  kept    it stopped matching by this session's own flag change (R-1.4b)
  going   it stopped matching by another's doing: it leaves at the next command
          that syncs and where RFC 3501 allows EXPUNGE, not before, not later
  leaving it was kept, and EXPUNGE or UID EXPUNGE has been given: it leaves in
          that command or at the next sync
  maybe   both readings are right: this session changed flags of a message that
          was going already, or another made a kept one match and not match
          again before this session could see that
A message that no longer exists is as if it were going; one that came and went
since the last sync may be shown, as Dovecot does, where EXPUNGE isn't allowed. What matches and isn't
counted comes by EXISTS if it is at or above the UIDNEXT that the session was
told or could compute (SELECT, STATUS, the UIDs that it saw, APPENDUID and
COPYUID), else RESYNC is sent once (R-1.4c).

An open session goes on with its old filter when that is changed (R-1.7) until
the next SELECT; of "or sooner" only the RESYNC is accepted."""

from imap_client import ModelError
from model_mail import ALL, apply_flags
from model_resync import ResyncDevice
from model_truth import ModelClient


class Device(ResyncDevice):
    def __init__(self, world, number, plain=False):
        """plain: a plain session, which must be right by the same rules"""
        self.world = world
        self.plain = plain
        self.name = "%s%d" % ("P" if plain else "D", number)
        self.folder = None
        self.mode_view = False  # no RESYNC
        self.caches = {}  # folder's name: what clients have noted
        self.connections = 0
        self.idling = False
        self.idle_changes = 0
        self.connect()

    @property
    def login(self):
        return self.world.user + ("" if self.plain else "#" + self.name)

    def connect(self):
        self.client = ModelClient(self.world.port, self.login, self.world.journal,
                                  self.name)
        self._leave()
        self.choose_feature()

    def fail(self, text):
        self.world.suspect = self
        raise ModelError("%s %s (%s%s): %s" % (
            self.name, self.folder.name if self.folder else "-",
            self.criteria, ", read-only" if self.readonly else "", text))

    # what it knows

    def _leave(self):
        self.folder = None
        self.criteria = None
        self.readonly = False
        self.visible = []
        self.state = {}
        self.told = {}  # UID: flags
        self.shown = set()  # UIDs counted since SELECT
        self.touched = set()  # UIDs whose flags were set since the last sync
        self.others = set()  # those that others changed since any sync
        self.rekept = set()
        self.regone = set()
        self.passed = set()  # UIDs that would have come since the last sync
        self.next_uid = 1
        self.resync_sent = False

    def match(self):
        if self.criteria is ALL:
            return set(self.folder.uids)
        return self.folder.match(self.criteria)

    def entering(self):
        """What must come by EXISTS"""
        counted = set(self.visible)
        return sorted(uid for uid in self.match()
                      if uid not in counted and uid >= self.next_uid)

    def is_filter_changed(self):
        """True, False, or None if it can be seen as either"""
        now = self.world.criteria(self.name, self.folder.name)
        if (now is ALL) != (self.criteria is ALL) and \
                now.text == self.criteria.text:
            return None
        return now.text != self.criteria.text

    def is_pending(self):
        """Whether something is to be told at the next sync"""
        exist = self.folder.flags
        return (any(uid not in exist or self.told.get(uid) != exist[uid] or
                    uid in self.others or
                    self.state[uid] in ("going", "leaving", "maybe")
                    for uid in self.visible) or bool(self.entering()))

    def possible(self, predicate):
        """UIDs of those of which a search must and may say so: a message that
        another has changed meanwhile may be seen as it was, is, or was between."""
        must, may = set(), set()
        for uid in self.visible:
            now = self.folder.flags.get(uid)
            sure = now == self.told[uid] and uid not in self.others
            if predicate(uid, self.told[uid]):
                may.add(uid)
                if sure:
                    must.add(uid)
            elif not sure:
                may.add(uid)
        return must, may

    # what happens

    def on_change(self, own, before, after, touched, removes):
        """Flags were changed: by this session (own) or by another. before and
        after: the UIDs that match. removes: flags may have been removed."""
        exist = self.folder.flags
        self.touched |= touched
        if not own:
            self.others |= touched
        self.passed.update(self.entering())
        if self.criteria is ALL:
            return
        for uid in self.visible:
            if uid not in exist:
                continue
            state = self.state[uid]
            if uid in after:
                if not own and state in ("kept", "maybe", "leaving"):
                    self.rekept.add(uid)
                if not own and state == "going":
                    self.regone.add(uid)
                self.state[uid] = "in"
            elif uid in before:
                # the session may not know that it was back
                self.state[uid] = "maybe" if uid in (
                    self.regone if own else self.rekept) else \
                    "kept" if own else "going"
            elif own and uid in touched and (
                    state == "going" or state == "kept" and removes):
                self.state[uid] = "maybe"

    def on_expunge_command(self):
        """EXPUNGE or UID EXPUNGE was given: nothing is kept any longer"""
        for uid, state in self.state.items():
            if state in ("kept", "maybe"):
                self.state[uid] = "leaving"

    def knows_uid(self, uid):
        """The session was told a UID, or UIDNEXT is above it."""
        self.next_uid = max(self.next_uid, min([uid + 1] + self.entering()))

    # comparing

    def check(self, results, must=True, expunges=True, asked=()):
        """After commands. must: they sync, so that everything that may be told
        had to be told. expunges: EXPUNGE is allowed. asked: UIDs whose flags
        the commands asked for or set."""
        if self.folder is None:
            self._check_octets()
            return
        new = self._check_messages(must, expunges)
        self._check_flags(must, set(asked) | set(new))
        self._check_resync(results, must, expunges)
        self.visible = self.client.uids
        if None in self.visible:
            first = self.visible.index(None)
            self.visible[first:] = new
            for uid in new:
                self.state[uid] = "in"
            self.shown.update(new)
            result = self.client.command("FETCH %d:* (UID FLAGS)" % (first + 1))
            for message, uid in zip(self.client.messages[first:], new):
                if message.uid is None and uid not in self.folder.flags:
                    message.uid, message.flags = uid, set()
            if self.client.uids[:len(self.visible)] != self.visible:
                self.fail("new messages are %s, should be %s" % (
                    self.client.uids[first:], new))
            self._learn_all()
            self.check([result], must=True, expunges=False, asked=new)
            return
        self.shown.update(self.visible)
        for uid in new:
            self.state[uid] = "in"
        if self.visible:
            self.next_uid = max(self.next_uid, self.visible[-1] + 1)
        self._learn_all()
        if must and expunges:
            # with an EXPUNGE that waits, Dovecot tells flags again
            self.touched.clear()
        if must:
            self.others.clear()
            self.rekept.clear()
            self.regone.clear()
            self.passed.clear()
        self._check_octets()

    def _learn_all(self):
        self.told = {uid: frozenset(flags - {"\\Recent"})
                     for uid, flags in self.client.flags.items()}
        for uid in self.visible:
            self.told.setdefault(uid, frozenset())  # gone before it was asked
        counted = set(self.visible)
        self.state = {uid: state for uid, state in self.state.items()
                      if uid in counted}

    def _check_messages(self, must, expunges):
        """Returns the UIDs of those that came."""
        exist, counted = self.folder.flags, self.client.uids
        known = set(counted)
        for uid in self.visible:
            state = self.state[uid] if uid in exist else "gone"
            if uid not in known:
                if state not in ("gone", "going", "leaving", "maybe"):
                    self.fail("UID %d left, but it is %s" % (uid, state))
            elif must and expunges and state in ("gone", "going"):
                self.fail("UID %d should have left: it is %s; sees %s" % (
                    uid, state, counted))
            elif state == "leaving" and must and expunges:
                # in EXPUNGE itself it may stay
                self.state[uid] = "going"
        old = set(self.visible)
        fresh = [uid for uid in counted if uid is None or uid not in old]
        entering = self.entering()
        count = len(fresh)
        if not expunges and count > len(entering):
            entering = self._with_passed(entering, old, count)
        if must and count != len(entering) or count > len(entering):
            if count > 0:
                self.client.command("FETCH 1:* (UID FLAGS)")
            self.fail("wrong messages came: sees %s, should have got %s, "
                      "UIDNEXT was %d, before %s" % (
                          self.client.uids, entering, self.next_uid, self.visible))
        entering = entering[:count]
        if any(uid not in (None, right) for uid, right in zip(fresh, entering)):
            self.fail("%s came, should %s" % (fresh, entering))
        return entering

    def _with_passed(self, entering, old, count):
        """Which came, when some of them are gone already: those don't answer."""
        passed = sorted(u for u in self.passed
                        if u not in self.folder.flags and u not in old)
        told = self.client.take_told()
        self.client.command("FETCH %d:* (UID)" % (self.client.uids.index(None) + 1))
        self.client.told = told
        known = [u for u in self.client.uids if u not in old and u is not None]
        for uid in passed:
            if len(known) < count and uid not in known:
                known.append(uid)
        return sorted(known) if set(known) <= set(entering) | set(passed) else entering

    def _check_flags(self, must, asked):
        told = self.client.flags
        for uid in self.client.take_told():
            if uid is not None and uid not in self.touched and uid not in asked:
                self.fail("FETCH of UID %d, which nobody has changed" % uid)
        for uid in self.client.uids:
            if uid is None or uid not in self.folder.flags or uid not in told:
                continue
            flags = told[uid] - {"\\Recent"}
            right = self.folder.flags[uid]
            if flags != right and (must or flags != self.told.get(uid, right)):
                self.fail("flags of UID %d (message %d) are %s, should be %s" % (
                    uid, self.client.uids.index(uid) + 1, sorted(flags),
                    sorted(right)))

    def _check_resync(self, results, must, expunges):
        count = sum(len(r.lines("* RESYNC")) for r in results)
        counted = set(self.client.uids)
        late = [uid for uid in self.match()
                if uid not in counted and uid < self.next_uid]
        changed = self.is_filter_changed()
        may = (bool(late) or changed is not False) and \
            not self.resync_sent and not self.mode_view
        if count > (1 if may and expunges else 0):
            self.fail("%d RESYNC, and nothing is late (%s, sent: %s)" % (
                count, late, self.resync_sent))
        if may and must and expunges and count == 0 and (late or changed):
            self.fail("no RESYNC: %s" % (
                "the filter is now %s" % self.world.criteria(
                    self.name, self.folder.name) if changed else
                "%s match, UIDNEXT was %d" % (late, self.next_uid)))
        self.resync_sent |= count > 0

    def _check_octets(self):
        """Of hidden messages it got none."""
        tokens = self.client.take_tokens()
        if not tokens:
            return
        shown = {self.folder.token[uid].group(0) for uid in self.shown} \
            if self.folder is not None else set()
        if not tokens <= shown:
            self.fail("octets of hidden messages: %s" % sorted(tokens - shown))

    # selecting

    def select(self, folder, command="SELECT", rng=None):
        """A new view: just what matches now"""
        self.keep_cache()
        selected, check_resync = self.select_resyncing(rng, command, folder)
        self._leave()
        self.folder = folder
        self.readonly = command == "EXAMINE"
        self.criteria = self.world.criteria(self.name, folder.name)
        self.visible = sorted(self.match())
        self.state = {uid: "in" for uid in self.visible}
        self.shown = set(self.visible)
        self.next_uid = self.client.uidnext
        client = self.client
        if len(client.messages) != len(self.visible):
            self.fail("EXISTS %d, should be %s" % (len(client.messages), self.visible))
        if (client.uidnext, client.uidvalidity) != (folder.next_uid, folder.uidvalidity):
            self.fail("UIDNEXT %s and UIDVALIDITY %s, should be %s and %s" % (
                client.uidnext, client.uidvalidity, folder.next_uid,
                folder.uidvalidity))
        unseen = [n for n, uid in enumerate(self.visible, 1)
                  if "\\Seen" not in folder.flags[uid]][:1]
        told = [int(line.split()[3][:-1]) for line in selected.lines("* OK [UNSEEN ")]
        if told != unseen:
            self.fail("UNSEEN %s, should be %s" % (told, unseen))
        self.told = {uid: folder.flags[uid] for uid in self.visible}
        result = client.ok("FETCH 1:* (UID FLAGS)") if self.visible else selected
        self.check([result], must=True, expunges=False, asked=self.visible)
        if client.uids != self.visible:
            self.fail("sees %s, should %s" % (client.uids, self.visible))
        for line in selected.lines("* OK [HIGHESTMODSEQ "):
            self.world.told_highest(folder, int(line.split()[3][:-1]))
        if check_resync is not None:
            check_resync()
        self.keep_cache()

    def check_copy(self, user):
        """A copy of the folders, of another user, without a view cache: in that a
        device sees the same."""
        client = ModelClient(self.world.port, "%s#%s" % (user, self.name),
                             self.world.journal, self.name)
        try:
            for folder in self.world.folders:
                client.ok("SELECT " + folder.name)
                client.fetch_all()
                criteria = self.world.criteria(self.name, folder.name)
                right = folder.uids if criteria is ALL else sorted(folder.match(criteria))
                if client.uids != right:
                    self.fail("in a copy of %s (%s) it sees %s, should %s" % (
                        folder.name, criteria, client.uids, right))
        finally:
            client.close()

    def leave(self):
        self._leave()

    # flags that the session sets without being told

    def assume(self, uids, how, names):
        """STORE .SILENT"""
        for message in self.client.messages:
            if message.uid in uids and message.flags is not None:
                message.flags = apply_flags(message.flags, how, names)
