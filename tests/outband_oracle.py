# SPDX-License-Identifier: LGPL-2.1-only
"""What devices must be told, and what they may be told, computed from what has been
seen of the folders and from the filters alone: nothing here asks pimap what matches.

Notifications are differences between states (R-13.1), so what came and went between two
looks needn't be told. All times are this process's: something that was set in motion at
t0 and known to be so at t1 has happened in between."""

import collections
import re
import time

INF = float("inf")


class Props:
    """What filters may ask of a message, beside its flags"""

    def __init__(self, token, rng):
        self.token = token
        self.sender = rng.choice(("amy", "bob", "spam"))
        self.subject = rng.choice(("yes", "no"))
        self.kind = rng.choice(("odd", "even"))
        self.big = rng.random() < 0.3

    def octets(self):
        return ("From: %s <%s@example.org>\r\nTo: joe@example.com\r\nSubject: %s\r\n"
                "X-Kind: %s\r\nX-Token: %s\r\n\r\nbody %s\r\n%s" % (
                    self.sender, self.sender, self.subject, self.kind, self.token, self.token,
                    (70 * "b" + "\r\n") * 60 if self.big else "")).encode()


class Criteria:
    """A filter's text, and what it says of a message and its flags"""

    def __init__(self, text, test):
        self.text, self.test = text, test

    def __repr__(self):
        return self.text


ALL = Criteria("ALL", lambda message, flags: True)
NONE = Criteria("NOT ALL", lambda message, flags: False)


def flag(text, name):
    return [Criteria(text, lambda message, flags: name in flags),
            Criteria("UN" + text, lambda message, flags: name not in flags)]


KEYS = [Criteria("FROM " + who, lambda message, flags, who=who: message.sender == who)
        for who in ("amy", "spam")] + \
    [Criteria("SUBJECT yes", lambda message, flags: message.subject == "yes"),
     Criteria("HEADER X-Kind odd", lambda message, flags: message.kind == "odd"),
     Criteria("LARGER 3000", lambda message, flags: message.big),
     Criteria("SMALLER 3000", lambda message, flags: not message.big)] + \
    flag("SEEN", "\\Seen") + flag("FLAGGED", "\\Flagged") + flag("KEYWORD $x", "$x") + \
    flag("DELETED", "\\Deleted")


def negated(c):
    return Criteria("NOT (%s)" % c, lambda message, flags: not c.test(message, flags))


def either(a, b):
    return Criteria("OR (%s) (%s)" % (a, b),
                    lambda message, flags: a.test(message, flags) or b.test(message, flags))


def both(a, b):
    return Criteria("%s %s" % (a, b),
                    lambda message, flags: a.test(message, flags) and b.test(message, flags))


def random_criteria(rng):
    """They let most messages pass, else there would be little to lose."""
    how = rng.random()
    if how < 0.15:
        return ALL
    if how < 0.23:
        # Dovecot takes these for one key
        return either(*rng.sample([c for c in KEYS if c.text in (
            "UNSEEN", "UNDELETED", "UNFLAGGED")], 2))
    a, b = rng.sample(KEYS, 2)
    if how < 0.4:
        return a
    if how < 0.6:
        return either(a, b)
    if how < 0.75:
        return negated(both(a, b))
    if how < 0.9:
        return negated(a)
    return both(a, b)


class Life:
    """A message in a folder. born, gone: (t0, t1). states: [t0, t1, flags]: it had these
    flags at most then. touches: (t0, whose) of each command that may have changed it"""

    def __init__(self, uid, props, date, born, restored):
        self.uid, self.props, self.date = uid, props, date
        self.born, self.gone, self.restored = born, None, restored
        self.states, self.touches = [], []

    def __repr__(self):
        return "UID %d (%s)" % (self.uid, self.props.token)


class Folder:
    def __init__(self, name, born):
        self.names = {name: born}
        self.name = name
        self.born = born
        self.lives, self.now = [], {}
        # up to when now was right, None: since it was seen last it may have changed
        self.sure = born
        self.dirty = False
        self.restored = []
        self.deleted = False
        self.events = 0
        # how many lives are of folders that had the name before
        self.earlier = 0
        # (t0, name) of each that the list of folders shows, name None: deleted
        self.listed = [(born, name)]

    def list(self, t0, name):
        """It is there by that name, or gone: at some time from t0 on"""
        self.listed.append((t0, name))

    def delete(self, t0, t1):
        self.deleted, self.dirty = True, False
        self.earlier = len(self.lives)
        self.list(t0, None)
        for life in self.now.values():
            life.gone = (t0, t1)
            life.states[-1][1] = t1
        self.now.clear()

    def recreate(self, t0):
        """Another one has its name."""
        self.deleted, self.dirty, self.sure = False, False, t0
        self.list(t0, self.name)

    def begin(self):
        """Somebody is about to change it."""
        if not self.dirty:
            self.sure = time.time()
        self.dirty = True

    def see(self, rows, t1):
        """rows: UID: (Props, flags, INTERNALDATE), as it was at some time between the
        begin and t1"""
        t0 = self.sure
        for uid, life in list(self.now.items()):
            row = rows.get(uid)
            if row is None or (row[0], row[2]) != (life.props, life.date):
                life.gone = (t0, t1)
                life.states[-1][1] = t1
                del self.now[uid]
        for uid, (props, flags, date) in sorted(rows.items()):
            life = self.now.get(uid)
            if life is None:
                before = any((old.uid, old.props, old.date) == (uid, props, date)
                             for old in self.lives[self.earlier:])
                life = self.now[uid] = Life(uid, props, date, (t0, t1), before)
                life.states.append([t0, INF, flags])
                self.lives.append(life)
            elif flags != life.states[-1][2]:
                life.states[-1][1] = t1
                life.states.append([t0, INF, flags])
                if not any(t >= t0 for t, _ in life.touches):
                    life.touches.append((t0, "other"))
        self.dirty = False


class Config:
    """What a device has set; folders are told by their objects, None is ALL."""

    def __init__(self, event="NEW", channel=False, views=None, notify=None):
        self.event, self.channel = event, channel
        self.views, self.notify = dict(views or {}), dict(notify or {})
        self.since = (0, 0)
        # what is queued is judged anew: nobody does that where a folder goes, and its
        # filters with it
        self.judges = True

    def copy(self):
        return Config(self.event, self.channel, self.views, self.notify)

    def of(self, folder):
        """Criteria of view and notification filter, None: it isn't notified."""
        notify = self.notify.get(folder, self.notify.get(None, NONE))
        if not self.channel or notify is NONE:
            return None
        return both(self.views.get(folder, self.views.get(None, ALL)), notify)


Note = collections.namedtuple("Note", "time seq event account uid date text fields")
QUOTED = r'"(?:[^"\\]|\\.)*"'
EXTENDED = re.compile(
    r'_%\$P-IMAP\$%_ (\d+) ({q}|\S+) (\w+)'
    r'(?: (\d+) (NIL|{q}) "([^"]+)" "([^"]+)" (NIL|{q}|\S+))?$'.format(q=QUOTED))
EMN = re.compile(r'<emn mailbox="mailat:([^"]+)" timestamp="([^"]+)"></emn>$')


def epoch(text, fmt):
    import calendar
    return calendar.timegm(time.strptime(text, fmt))


def parse_note(when, seq, text):
    text = text.rstrip("\r\n")
    match = EMN.match(text)
    if match:
        return Note(when, seq, None, match.group(1), 0,
                    epoch(match.group(2), "%Y-%m-%dT%H:%M:%SZ"), text, None)
    match = EXTENDED.match(text)
    assert match and int(match.group(1)) == seq, text
    date = None if match.group(6) is None else \
        epoch(match.group(6) + " " + match.group(7), "%d-%b-%Y %H:%M:%S")
    fields = [None if field in (None, "NIL") else field.strip('"')
              for field in match.group(5, 8)]
    return Note(when, seq, match.group(3), match.group(2).strip('"'),
                int(match.group(4) or 0), date, text, fields)


class Period:
    """In which a folder notifies a device. begin, end: (t0, t1)"""

    def __init__(self, begin):
        self.begin, self.end = begin, (INF, INF)


class Device:
    """rejudged: what no longer passes is dropped before it is sent (R-1.7)"""

    def __init__(self, user, name, extended):
        self.user, self.name, self.extended = user, name, extended
        self.configs = [Config()]
        self.notes = []  # as they came, repeated ones too

    def config(self):
        return self.configs[-1]

    def set(self, config, t0, t1):
        config.since = (t0, t1)
        self.configs.append(config)

    def spans(self):
        """(config, from when it may hold, from when surely, until when surely, until
        when it may hold)"""
        for i, config in enumerate(self.configs):
            until = self.configs[i + 1].since if i + 1 < len(self.configs) else (INF, INF)
            yield config, config.since[0], config.since[1], until[0], until[1]

    def periods(self, folder):
        found, period = [], None
        for config, t0, t1, _, _ in self.spans():
            if (config.of(folder) is not None) == (period is not None):
                continue
            if period is None:
                period = Period((t0, t1))
                found.append(period)
            else:
                period.end, period = (t0, t1), None
        for period in found:
            if period.begin[1] <= folder.born:
                # all that is in it is new
                period.begin = (0, 0)
        return found

    def combinations(self, life, folder, t0, t1):
        """Each pair of flags and criteria that may have been in force at one instant"""
        for s0, s1, flags in life.states:
            for config, c0, _, _, c1 in self.spans():
                if max(s0, c0, t0) <= min(s1, c1, t1):
                    yield config, flags, config.of(folder)

    def may_pass(self, life, folder, t0, t1):
        return any(criteria is not None and criteria.test(life.props, flags)
                   for _, flags, criteria in self.combinations(life, folder, t0, t1))

    def must_pass(self, life, folder, t0, t1):
        return all(criteria is not None and criteria.test(life.props, flags) and
                   config.event != "NONE"
                   for config, flags, criteria in self.combinations(life, folder, t0, t1))


class Judgement:
    """Of one device: what is lost, false, and otherwise wrong. end: when all was quiet.
    Folder events are told as SYNC, or as FULL_SYNC where it isn't known which ones.
    joined: numbers of those that were sent in the place of several (R-13.5), by how
    many fewer they are; None if joining is off. rebuilt: how often Dovecot made the
    index of one of the user's folders anew, which changes the modseq of all in it."""

    def __init__(self, device, folders, end, rejudged=False, joined=None, rebuilt=0):
        self.device, self.folders, self.end = device, folders, end
        self.rejudged, self.joined = rejudged, joined or {}
        self.joining = joined is not None
        self.rebuilt = rebuilt
        self.changes = sum(folder.events for folder in folders)
        self.lost, self.false, self.wrong = [], [], []
        self.musts = 0
        self.by_seq = {}
        self.numbers()
        self.first = sorted(self.by_seq.values(), key=lambda note: note.seq)
        # what was joined of several folders has the name of INBOX
        self.across = [note for note in self.first if "INBOX" in folders[0].names and
                       self.folder_of(note) is folders[0] and (
                           note.event in ("FULL_SYNC", "STATE_COMPARISON_SYNC") or
                           note.event is None and note.seq in self.joined)]
        if self.joining:
            self.joins()
        if device.extended:
            self.folder_events()
        for folder in folders:
            mine = [note for note in self.first if self.folder_of(note) is folder]
            if device.extended:
                self.extended(folder, mine)
            else:
                self.emn(folder, mine)
        for note in self.first:
            if self.folder_of(note) is None:
                self.false.append("%s: no such folder" % note.text)

    def folder_of(self, note):
        name = note.account[len(self.device.user):].lstrip("/") or "INBOX"
        for folder in self.folders:
            if name in folder.names:
                return folder
        return None

    def numbers(self):
        """R-13.3"""
        highest = 0
        for note in self.device.notes:
            first = self.by_seq.setdefault(note.seq, note)
            if first.text != note.text:
                self.wrong.append("number %d twice: %s, %s" % (note.seq, first.text, note.text))
            if first is note:
                if note.seq < highest:
                    self.wrong.append("number %d after %d" % (note.seq, highest))
                highest = max(highest, note.seq)
        self.gaps = [seq for seq in range(1, highest) if seq not in self.by_seq]

    def joins(self):
        """Joined ones stand for no more than there was."""
        causes = sum(
            len(folder.lives) + folder.events + len(folder.restored) +
            sum(len(x.touches) + (x.gone is not None) + x.restored + self.rebuilt
                for x in folder.lives)
            for folder in self.folders)
        causes += len(self.device.configs) * len(self.folders)
        told = len(self.first) + sum(self.joined.values())
        if told > causes:
            self.false.append("%d are told, some joined, for %d causes" % (told, causes))
        for seq in self.joined:
            note = self.by_seq.get(seq)
            if note is not None and note.event is not None and \
               not note.event.endswith("SYNC"):
                self.wrong.append("joined: %s" % note.text)

    def folder_events(self):
        """R-1.5: what became of each folder is told if the channel is on, by whatever
        filters."""
        on = None
        for config in self.device.configs:
            on = None if not config.channel else config.since[1] if on is None else on
        if on is None:
            return
        for folder in self.folders:
            t0, name = folder.listed[-1]
            if t0 < on:
                continue
            notes = [note for note in self.first if note.time >= t0 and (
                note.event == "FULL_SYNC" or note in self.across or
                note.event.endswith("SYNC") and self.folder_of(note) is folder)]
            if name is None and not notes:
                # it may have come and gone between two looks
                came = [t for t, x in folder.listed if x is not None][-1]
                if came >= on and not any(
                        came <= note.time < t0 and note.event.endswith("SYNC") and
                        self.folder_of(note) is folder for note in self.first):
                    continue
            self.musts += 1
            if not notes:
                self.lost.append("the list of folders: %s is %s" % (
                    folder.name, "gone" if name is None else "there"))

    def must(self, life, folder, periods):
        return life.gone is None and not life.restored and not folder.deleted and any(
            period.begin[1] <= life.born[0] and period.end[0] == INF for period in periods) and \
            self.device.must_pass(life, folder, life.born[0], self.end)

    def may_new(self, life, folder, periods, note):
        """Another's filter may have been in force when it was judged, but not after the
        OK of the next one."""
        return any(
            period.begin[0] <= life.born[1] and
            self.device.may_pass(life, folder, max(life.born[0], period.begin[0]),
                                 min(note.time, period.end[1])) for period in periods) and (
            not self.rejudged or
            self.device.may_pass(life, folder, self.judged_since(note), note.time))

    def judged_since(self, note):
        """What was judged by a filter that was replaced long before isn't sent: 2 s for
        what was handed over when the next one came."""
        return max([t0 for config, t0, t1, _, _ in self.device.spans()
                    if config.judges and t1 + 2 < note.time], default=0)

    def emn(self, folder, notes):
        periods = self.device.periods(folder)
        must, may = collections.Counter(), collections.Counter()
        sent = collections.Counter(note.date for note in notes)
        for life in folder.lives:
            if self.must(life, folder, periods):
                self.musts += 1
                must[life.date] += 1
            if not life.restored and any(note.date == life.date and self.may_new(
                    life, folder, periods, note) for note in notes):
                may[life.date] += 1
        # one that stands for several covers what was before
        after = max(folder.restored + [0])
        covers = [note.time for note in [*notes, *self.across] if note.seq in self.joined]
        for note in notes:
            if note.seq in self.joined:
                sent[note.date] -= 1
        if covers:
            for life in folder.lives:
                if self.must(life, folder, periods) and life.born[0] <= max(covers):
                    must[life.date] -= 1
        for date, count in must.items():
            if sent[date] < count and not folder.restored:
                self.lost.append("%s: %d of INTERNALDATE %d, %d told" % (
                    folder.name, count, date, sent[date]))
        events = any(config.event == "ALL" for config in self.device.configs)
        changes = self.changes if "INBOX" in folder.names else folder.events
        if not after and not events and not changes:
            for date, count in sent.items():
                if may[date] < count:
                    self.false.append("%s: %d may be told of INTERNALDATE %d, not %d" % (
                        folder.name, may[date], date, count))

    def extended(self, folder, notes):
        periods = self.device.periods(folder)
        alone = [note for note in notes if note.event.endswith("SYNC") and
                 note.seq not in self.joined]
        syncs = [note for note in notes if note.event.endswith("SYNC")]
        if folder is not self.folders[0]:
            # one of all folders, or of several that were joined
            syncs = sorted(syncs + [note for note in self.across if self.joining or
                                    note.event == "FULL_SYNC"], key=lambda note: note.seq)
        of = collections.defaultdict(list)
        for note in notes:
            if note.uid:
                of[note.uid].append(note)
        for life in folder.lives:
            self.message(life, folder, periods, of[life.uid], syncs)
        for uid, found in of.items():
            self.may(folder, periods, [x for x in folder.lives if x.uid == uid], found)
        back = [note for note in alone if note.event == "STATE_COMPARISON_SYNC"]
        if len(back) > len(folder.restored):
            self.false.append("%s: %d STATE_COMPARISON_SYNC, %d restored" % (
                folder.name, len(back), len(folder.restored)))
        full = [note for note in alone if note.event == "FULL_SYNC"]
        if len(full) > self.changes:
            self.false.append("%s: %d FULL_SYNC" % (folder.name, len(full)))
        others = len(alone) - len(back) - len(full)
        allowed = folder.events
        if any(config.event == "ALL" for config in self.device.configs):
            # what had been told before isn't known then
            allowed += len(self.device.configs)
        if others > allowed:
            self.false.append("%s: %d SYNC" % (folder.name, others))

    def message(self, life, folder, periods, notes, syncs):
        """What must be told of it"""
        def covered(t):
            return any(note.time >= t for note in syncs)
        mine = [note for note in notes if note.event == "DELETED_MESSAGE" or
                note.date == life.date]
        if self.must(life, folder, periods):
            self.musts += 1
            if not any(note.event == "NEW_MESSAGE" for note in mine) and \
               not covered(life.born[0]):
                self.lost.append("%s: %s is new" % (folder.name, life))
        self.knowledge(life, folder, periods, mine, syncs, covered)

    def knowledge(self, life, folder, periods, notes, syncs, covered):
        """Event filter ALL: in the end the device knows what there is."""
        device = self.device
        if device.config().event != "ALL" or folder.deleted or life.restored or \
           not periods or periods[-1].end[0] != INF:
            return
        begin = max(device.configs[-1].since[1], periods[-1].begin[1], *folder.restored or [0])
        if life.born[0] < begin and (
                folder.restored or not self.rejudged or
                # what it was told of until then isn't kept
                any(config.event != "ALL" for config in device.configs)):
            return
        if life.gone and any(x is not life and (x.uid, x.date) == (life.uid, life.date)
                             for x in folder.lives):
            # of another folder by that name, which came in the same second
            return
        touched = [t for t, _ in life.touches] + ([life.gone[0]] if life.gone else [])
        if life.born[0] < begin and not any(t >= begin for t in touched):
            return
        criteria = device.config().of(folder)

        if life.born[0] >= begin:
            known = False
        elif life.born[0] >= periods[-1].begin[0]:
            # if it was told, that is replayed
            known = None
        else:
            known = criteria.test(life.props, [
                f for s0, _, f in life.states if s0 <= begin][-1])
        since = life.born[0] if known is None else max(begin, life.born[0])
        if known is None and life.born[0] < device.configs[-1].since[0]:
            # What it was told by the filters before counts if it passes these, too;
            # whether others were ever looked at isn't known.
            before = [note for note in notes if note.time < begin]
            if before and before[-1].event != "DELETED_MESSAGE" and criteria.test(
                    life.props, [f for s0, _, f in life.states if s0 <= begin][-1]):
                known = True
            since = begin
        for note in sorted(notes + syncs, key=lambda note: note.seq):
            if note.time < since:
                continue
            if note.uid:
                known = note.event != "DELETED_MESSAGE"
            elif life.gone:
                # It may have seen then what no look sees before it goes.
                known = False if life.gone[1] <= note.time else None
            else:
                last = [(s0, f) for s0, _, f in life.states if s0 <= note.time]
                known = criteria.test(life.props, last[-1][1]) if last else None
        last = life.states[-1][2]
        now = life.gone is None and criteria.test(life.props, last)
        own = [t for t, whose in life.touches if whose == "own"]
        decisive = {criteria.test(life.props, flags) for _, _, flags in life.states}
        if own and len(decisive) > 1:
            return
        if known is not None and known != now:
            (self.lost if now or known else self.false).append(
                "%s: %s %s, the device thinks it %s" % (
                    folder.name, life, "is there" if now else "is not (any more)",
                    "is" if known else "isn't"))
        self.musts += 1
        # of the last change that another made
        changed = [s0 for i, (s0, _, _) in enumerate(life.states)
                   if i > 0 and ("other" in [w for t, w in life.touches if t >= s0][:1])]
        if now and changed and changed[-1] >= begin and decisive == {True} and \
           not covered(changed[-1]) and not any(
               note.event != "DELETED_MESSAGE" and note.time >= changed[-1] for note in notes):
            self.lost.append("%s: %s has changed" % (folder.name, life))

    @staticmethod
    def is_of(note, life):
        sender, subject = note.fields
        return sender == "%s <%s@example.org>" % (2 * (life.props.sender,)) and \
            subject == life.props.subject

    def may(self, folder, periods, lives, notes):
        """What may be told of a UID"""
        device = self.device
        for note in notes:
            if note.event == "NEW_MESSAGE":
                fit = [x for x in lives if x.date == note.date]
                allowed = any(self.may_new(x, folder, periods, note) for x in fit)
            else:
                fit = [x for x in lives if note.event == "DELETED_MESSAGE" or x.date == note.date]
                allowed = any(config.event == "ALL" for config in device.configs) and any(
                    device.may_pass(x, folder, max(x.born[0], period.begin[0]),
                                    min(note.time, period.end[1]))
                    for x in fit for period in periods)
            if not allowed:
                self.false.append("%s: %s" % (folder.name, note.text))
            elif note.fields is not None and any(note.fields) and not any(
                    self.is_of(note, x) for x in fit):
                self.wrong.append("%s: sender and subject: %s" % (folder.name, note.text))
        new = [note for note in notes if note.event == "NEW_MESSAGE"]
        if len(new) > len([x for x in lives if not x.restored]):
            self.false.append("%s: new %d times: %s" % (folder.name, len(new), [
                note.text for note in new]))
        changes = len([n for n in notes if n.event != "NEW_MESSAGE"])
        causes = self.rebuilt + sum(
            len(x.touches) + (x.gone is not None) + x.restored for x in lives)
        if changes > causes:
            self.false.append("%s: UID %s was changed %d times, that is told %d times: %s" % (
                folder.name, notes[0].uid, causes, changes, [n.text for n in notes]))
