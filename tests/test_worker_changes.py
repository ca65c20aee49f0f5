# SPDX-License-Identifier: LGPL-2.1-only
"""pimap-worker: what a look finds of messages that the device knows (R-1.5, R-1.6), and
folders that went back (R-13.4)."""

import glob
import os
import random
import time

import pytest

from cases import lmtp
from conftest import Server, settings
from test_time import Clock
from test_worker import CHANNELS, append, mail_files, message, zone_elsewhere
from worker_client import Profile, Worker

NEW, CHANGED, DELETED = "NEW_MESSAGE", "CHANGED_MESSAGE", "DELETED_MESSAGE"
SYNC = "SYNC"


@pytest.fixture(scope="module", params=["maildir", "sdbox", "mdbox"])
def server(request):
    server = Server.temporary(request.param, extra=CHANNELS)
    yield server
    server.stop()


class Folder:
    """The INBOX of a user with devices: ALL has that event filter, NEW the other one"""

    def __init__(self, server, user, worker):
        self.server, self.user, self.worker = server, user, worker
        self.client = server.client(user)
        self.client.ok("SELECT INBOX")
        self.client.ok("CREATE Made")
        self.client.ok("DELETE Made")
        self.profile = Profile(server, user)
        self.profile.filters.update(unseen="UNSEEN", yes="SUBJECT yes", flagged="FLAGGED",
                                    body='BODY "body yes"')
        self.devices()
        self.guid = worker.folders(user)["INBOX"]
        self.states = {}
        self.last = None

    def devices(self, notify="A", event="ALL", **values):
        self.profile.device("ALL", notify=notify, event=event, **values)
        self.profile.device("NEW", notify=notify, **values)
        self.profile.write()

    def look(self, keep=True):
        """The events of ALL as pairs; those of NEW are just the new ones of them"""
        self.last = self.worker.look(self.user, self.guid, self.states)
        if keep:
            self.states = self.last.states
        events = [event[:2] for event in self.last.events["ALL"]]
        if [name for name, _ in events if "SYNC" in name] == []:
            assert [event[:2] for event in self.last.events["NEW"]] == [
                event for event in events if event[0] == NEW]
        return events

    def append(self, *subjects):
        append(self.client, "INBOX", *subjects)

    def store(self, uids, change):
        self.client.ok("NOOP")
        self.client.ok("UID STORE %s %s" % (uids, change))

    def expunge(self, uids):
        self.store(uids, "+FLAGS (\\Deleted)")
        self.client.ok("EXPUNGE")


@pytest.fixture
def folder(server, user):
    with Worker(server) as worker:
        yield Folder(server, user, worker)


def test_changes(folder):
    folder.append("1", "2", "3", "4", "5")
    assert folder.look() == [(NEW, uid) for uid in (1, 2, 3, 4, 5)]
    received = {uid: when for _, uid, when in folder.last.events["ALL"]}
    assert folder.look() == []
    time.sleep(1.1)
    folder.store("2", "+FLAGS (\\Seen)")
    folder.store("3", "+FLAGS (keyword)")
    folder.expunge("4")
    folder.append("6")
    assert folder.look(keep=False) == [(CHANGED, 2), (CHANGED, 3), (DELETED, 4), (NEW, 6)]
    # the same again if the answer was lost, and only then
    assert folder.look() == [(CHANGED, 2), (CHANGED, 3), (DELETED, 4), (NEW, 6)]
    assert folder.look() == []
    times = {uid: when for _, uid, when in folder.last.events["ALL"]}
    assert times == {}
    # many changes are one event; what came and went is none
    for change in ("-FLAGS (\\Seen)", "+FLAGS (\\Seen)", "+FLAGS (\\Flagged)"):
        folder.store("2", change)
    folder.append("7")
    folder.store("7", "+FLAGS (\\Seen)")
    folder.append("8")
    folder.expunge("8")
    folder.store("3", "+FLAGS (\\Seen)")
    folder.expunge("3")
    assert folder.look() == [(CHANGED, 2), (DELETED, 3), (NEW, 7)]
    when = {uid: when for _, uid, when in folder.last.events["ALL"]}
    assert when[2] == received[2]
    assert abs(when[3] - time.time()) < 30
    # by others
    folder.server.doveadm("flags", "add", "-u", folder.user.lower(), "\\Answered",
                          "mailbox", "INBOX", "uid", "5")
    folder.server.doveadm("expunge", "-u", folder.user.lower(), "mailbox", "INBOX", "uid", "1")
    assert folder.look() == [(DELETED, 1), (CHANGED, 5)]
    assert folder.look() == []


def test_push_set(folder):
    """What leaves it is deleted, what enters it is changed, what is hidden is nothing."""
    folder.devices("Uunseen")
    folder.append("1", "2", "3", "4")
    folder.store("2:4", "+FLAGS (\\Seen)")
    assert folder.look() == [(NEW, 1)]
    received, = [when for _, _, when in folder.last.events["ALL"]]
    time.sleep(1.1)
    folder.store("1", "+FLAGS (\\Seen)")
    folder.store("2", "-FLAGS (\\Seen)")
    folder.store("3", "+FLAGS (\\Flagged)")
    assert folder.look() == [(DELETED, 1), (CHANGED, 2)]
    # INTERNALDATE as long as there is one
    assert folder.last.events["ALL"][0][2] == received
    folder.store("1,3", "-FLAGS (\\Seen)")
    folder.store("1", "+FLAGS (\\Seen)")
    folder.store("2", "+FLAGS (\\Flagged)")
    assert folder.look() == [(CHANGED, 2), (CHANGED, 3)]
    folder.expunge("1,3,4")
    assert folder.look() == [(DELETED, 3)]
    assert folder.look() == []


def test_other_filters(folder):
    """What another filter lets in and keeps out is accounted for without an event."""
    folder.append("yes 1", "no 2", "yes 3", "no 4", "yes 5")
    assert [uid for _, uid in folder.look()] == [1, 2, 3, 4, 5]
    folder.devices("Uyes")
    assert folder.look() == []
    folder.expunge("2")
    folder.store("1,4", "+FLAGS (\\Seen)")
    assert folder.look() == [(CHANGED, 1)]
    folder.devices("Uunseen")
    # also what changes meanwhile is an event by what it is after that
    folder.store("3", "+FLAGS (\\Seen)")
    assert folder.look() == [(DELETED, 3)]
    folder.store("4", "-FLAGS (\\Seen)")
    folder.expunge("1")
    assert folder.look() == [(CHANGED, 4)]
    # as it was, before anybody looked
    folder.devices("A")
    folder.devices("Uunseen")
    assert folder.look() == []
    folder.devices("A", view="Uyes")
    assert folder.look() == []
    folder.expunge("4,5")
    assert folder.look() == [(DELETED, 5)]


def test_gone_since_the_filter_is_another(folder):
    """Whether such a message was of the new one isn't known any more: R-1.7"""
    folder.append("yes 1", "no 2", "no 3", "yes 4", "no 5", "no 6")
    folder.look()
    folder.devices("Uyes")
    assert folder.look() == []
    # what was of the old one is known
    folder.devices("Uunseen")
    folder.expunge("1")
    assert folder.look() == [(DELETED, 1)]
    folder.devices("Uyes")
    assert folder.look() == []
    folder.devices("Uunseen")
    folder.expunge("2")
    assert folder.look() == [("SYNC", 0)]
    assert folder.look() == []
    folder.devices("Uyes")
    assert folder.look() == []
    folder.devices("Uunseen")
    folder.store("3", "+FLAGS (\\Seen)")
    assert folder.look() == [("SYNC", 0)]
    assert folder.look() == []
    # it came and went, or changes still pass
    folder.devices("Uyes")
    assert folder.look() == []
    folder.devices("Uunseen")
    folder.append("no 7")
    folder.expunge("7")
    folder.store("5", "+FLAGS (\\Flagged)")
    assert folder.look() == [(CHANGED, 5)]


def test_event_filter(folder):
    """It begins with what is there then."""
    folder.devices(event="NEW")
    folder.append("1", "2")
    assert folder.look() == [(NEW, 1), (NEW, 2)]
    folder.store("1", "+FLAGS (\\Seen)")
    folder.expunge("2")
    assert folder.look() == []
    folder.devices()
    assert folder.look() == []
    folder.store("1", "-FLAGS (\\Seen)")
    assert folder.look() == [(CHANGED, 1)]
    folder.devices(event="NEW")
    folder.store("1", "+FLAGS (\\Seen)")
    assert folder.look() == []
    folder.devices()
    folder.store("1", "-FLAGS (\\Seen)")
    assert folder.look() == []
    folder.devices(event="NONE")
    folder.store("1", "+FLAGS (\\Seen)")
    folder.append("3")
    look = folder.worker.look(folder.user, folder.guid, folder.states)
    assert look.events["ALL"] == [] and look.new("NEW") == [3]
    folder.states = look.states
    folder.devices()
    assert folder.look() == []
    folder.expunge("3")
    assert folder.look() == [(DELETED, 3)]


def test_baseline(folder):
    """What has changed since it was made; what the device knows of that isn't known."""
    folder.append("1", "2", "3")
    folder.look()
    uidvalidity = folder.client.status("INBOX", "UIDVALIDITY")["UIDVALIDITY"]

    def begin(notify="A", more=0):
        """The device begins to be notified"""
        folder.look()
        status = folder.client.status("INBOX", "MESSAGES UIDNEXT")
        modseq = int(folder.states["ALL"].split(":")[7])
        folder.devices(notify)
        for device in ("ALL", "NEW"):
            folder.profile.known(device, folder.guid, 1000 + len(folder.states["ALL"]),
                                 uidvalidity, status["UIDNEXT"], modseq + more,
                                 status["MESSAGES"])
        folder.profile.write()
        folder.states = {}
    begin()
    assert folder.look() == []
    begin()
    folder.store("1", "+FLAGS (\\Seen)")
    folder.append("4")
    assert folder.look(keep=False) == [(CHANGED, 1), (NEW, 4)]
    assert folder.look() == [(CHANGED, 1), (NEW, 4)]
    assert folder.look() == []
    folder.expunge("2")
    assert folder.look() == [(DELETED, 2)]
    begin()
    folder.expunge("3")
    assert folder.look() == [("SYNC", 0)]
    assert folder.look() == []
    begin("Uunseen")
    folder.store("4", "+FLAGS (\\Seen)")
    assert folder.look() == [("SYNC", 0)]
    folder.store("4", "-FLAGS (\\Seen)")
    assert folder.look() == [(CHANGED, 4)]
    begin("Uunseen", more=1)
    assert folder.look() == [("STATE_COMPARISON_SYNC", 0)]
    assert folder.look() == []


@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_many_changes(folder):
    for first in range(0, 1000, 143):
        folder.append(*["m%d" % (first + n) for n in range(143)])
    assert folder.look() == [("SYNC", 0)]
    folder.store("1:1000", "+FLAGS (\\Seen)")
    events = folder.look()
    assert events == [(CHANGED, uid) for uid in range(1, 1001)]
    folder.store("1:1001", "FLAGS (\\Flagged)")
    assert folder.look() == [("SYNC", 0)]
    folder.expunge("2:1000")
    assert folder.look() == [(DELETED, uid) for uid in range(2, 1001)]
    folder.devices("Uunseen")
    folder.store("1", "+FLAGS (\\Seen)")
    assert folder.look() == [(DELETED, 1)]
    assert folder.look() == []


@pytest.mark.parametrize("server", ["mdbox"], indirect=True)
def test_push_set_is_too_long(folder):
    """Then the device must look itself where it isn't known what it knows."""
    # so many devices share the length of a job
    for number in range(1000):
        folder.profile.device("d%d" % number, channel=None)
    folder.devices("Uflagged")
    folder.append(*["m%d" % number for number in range(400)])
    even = ",".join(str(uid) for uid in range(2, 401, 2))
    folder.store(even, "+FLAGS (\\Flagged)")
    assert len(folder.look()) == 200
    assert folder.states["ALL"].endswith("*400")
    assert folder.look() == []
    folder.append("401")
    folder.store("401", "+FLAGS (\\Flagged)")
    folder.store("1,2", "+FLAGS (\\Flagged \\Seen)")
    assert folder.look() == [(CHANGED, 1), (CHANGED, 2), (NEW, 401)]
    folder.store("3", "+FLAGS (\\Seen)")
    assert folder.look() == [("SYNC", 0)]
    folder.expunge("4")
    assert folder.look() == [("SYNC", 0)]
    assert folder.look() == []
    # few enough again
    folder.devices("Uyes")
    assert folder.look() == []
    assert folder.states["ALL"].endswith("*400=")
    folder.append("yes 402")
    assert folder.look() == [(NEW, 402)]
    folder.expunge("402")
    assert folder.look() == [(DELETED, 402)]


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["maildir"], indirect=True)
def test_unreadable_changes(folder):
    """They are evaluated when that can be done."""
    folder.devices("Ubody")
    folder.append("yes 1", "yes 2", "yes 3", "no 4", "yes 5")
    folder.client.ok("NOOP")
    assert [uid for _, uid in folder.look()] == [1, 2, 3, 5]
    folder.store("1:4", "+FLAGS (\\Seen)")
    paths = mail_files(folder.server, folder.user)
    by_uid = dict(zip(range(1, 6), sorted(paths, key=os.path.basename)))
    for uid in (2, 3, 4):
        os.chmod(by_uid[uid], 0)
    assert folder.look() == [(CHANGED, 1)]
    assert folder.look() == []
    folder.expunge("3")
    os.chmod(by_uid[2], 0o600)
    assert folder.look() == [(CHANGED, 2), (DELETED, 3)]
    os.chmod(by_uid[4], 0o600)
    assert folder.look() == []
    # the whole is evaluated: what can't be read stays what it was
    os.chmod(by_uid[5], 0)
    folder.devices("Ubody", view="Uyes")
    assert folder.look() == []
    folder.expunge("5")
    assert folder.look() == [(DELETED, 5)]


@pytest.mark.parametrize("server", ["maildir"], indirect=True)
def test_what_has_not_changed_is_not_read(folder):
    folder.devices("Ubody")
    folder.append(*["yes %d" % number for number in range(20)])
    folder.client.ok("NOOP")
    assert len(folder.look()) == 20
    paths = sorted(mail_files(folder.server, folder.user), key=os.path.basename)
    for path in paths[:10] + paths[11:]:
        os.chmod(path, 0)
    folder.store("11", "+FLAGS (\\Seen)")
    assert folder.look() == [(CHANGED, 11)]
    # also when the profile changes, but not what the filters select
    folder.devices("Ubody", address="joe@example.com")
    folder.expunge("12")
    # nothing was in the log that fails this test
    assert folder.look() == [(DELETED, 12)]


def test_time(tmp_path):
    """What it lets in and takes out is accounted for without an event."""
    tmp_path.chmod(0o755)
    zone, _ = zone_elsewhere()
    clock = Clock(str(tmp_path))
    server = Server.temporary("sdbox", extra=CHANNELS + """
service pimap-worker {
  executable = %s
}
""" % clock.wrapper + settings({"pimap_timezone": zone.key}))
    try:
        with open(clock.wrapper) as file:
            wrapper = file.read()
        with open(clock.wrapper, "w") as file:
            file.write(wrapper.replace("/usr/lib/dovecot/imap",
                                       server.path + "/run/libexec/pimap-worker"))
        with Worker(server) as worker:
            folder = Folder(server, "joe", worker)
            folder.profile.filters.update(young="YOUNGER 600", old="OLDER 600",
                                          today="DAYSBEFORETODAY 0")
            for name in ("young", "old", "today"):
                folder.profile.device(name, notify="U" + name, event="ALL")
            folder.profile.write()

            def look():
                folder.look()
                return {device: [event[:2] for event in events]
                        for device, events in folder.last.events.items()
                        if device in folder.profile.filters}
            folder.append("1", "2", "3", "4")
            new = [(NEW, uid) for uid in (1, 2, 3, 4)]
            assert look() == {"young": new, "old": [], "today": new}
            clock.move(clock.now() + 700)
            none = {"young": [], "old": [], "today": []}
            assert look() == none
            folder.store("1", "+FLAGS (\\Seen)")
            folder.expunge("2")
            changes = [(CHANGED, 1), (DELETED, 2)]
            assert look() == {"young": [], "old": changes, "today": changes}
            clock.move(clock.now() + 86400)
            assert look() == none
            folder.store("1", "-FLAGS (\\Seen)")
            folder.expunge("3")
            assert look() == {"young": [], "old": [(CHANGED, 1), (DELETED, 3)], "today": []}
            # at the same time as a change
            folder.append("5", "6")
            clock.move(clock.now() + 700)
            folder.expunge("4")
            assert look() == {"young": [], "old": [(DELETED, 4), (NEW, 5), (NEW, 6)],
                              "today": []}
        server.close_clients()
        assert [line for line in server.faults() if "ime moved" not in line] == []
    finally:
        server.stop()


def newest(state):
    """{UID: GUID} of the newest messages in a state"""
    return dict(item.split(".") for item in state.split(":")[8].split(",") if item)


def test_went_back(folder):
    """R-13.4: as a restore leaves it, and as many deliveries after that"""
    folder.append(*["m%d" % number for number in range(10)])
    folder.look()
    good = dict(folder.states)
    known = newest(good["ALL"])
    assert list(known) == [str(uid) for uid in range(3, 11)]
    assert len(set(known.values())) == 8 and known == newest(good["NEW"])

    def with_field(number, text):
        return {device: ":".join(
            text if place == number else field
            for place, field in enumerate(state.split(":"))) for device, state in good.items()}

    def with_newest(**changes):
        items = {**known, **{uid[1:]: guid for uid, guid in changes.items()}}
        return with_field(8, ",".join("%s.%s" % item for item in items.items()
                                      if item[1] is not None))
    modseq = int(good["ALL"].split(":")[7])
    went_back = [
        with_newest(u7="01234567"),
        with_newest(u3=known["10"]),
        # one that wasn't there
        with_newest(u6=None),
        with_newest(u10=None, u3=None),
        # all that were there were fewer than eight
        with_newest(u3=None),
        with_field(8, ""),
        with_field(7, str(modseq + 1)),
    ]
    for folder.states in went_back:
        assert folder.look() == [("STATE_COMPARISON_SYNC", 0)]
        assert folder.last.events["NEW"][0][:2] == ("STATE_COMPARISON_SYNC", 0)
        assert folder.states == good
        assert folder.look() == []
    # those of which that isn't known aren't compared
    for folder.states in (with_newest(u7=""), with_field(8, "-"), with_field(7, "0")):
        assert folder.look() == []
        assert folder.states == good
    # what is gone is no message that wasn't there
    folder.expunge("5,10")
    assert folder.look() == [(DELETED, 5), (DELETED, 10)]
    assert list(newest(folder.states["NEW"])) == ["1", "2", "3", "4", "6", "7", "8", "9"]
    # one is gone, and one wasn't there
    good = dict(folder.states)
    folder.states = {device: state.replace(",6.", ",5.") for device, state in good.items()}
    assert folder.look() == [("STATE_COMPARISON_SYNC", 0)]
    assert folder.states == good
    folder.expunge("1:9")
    assert len(folder.look()) == 8
    assert newest(folder.states["NEW"]) == {}
    folder.append("11")
    assert folder.look() == [(NEW, 11)]
    # it was empty then
    folder.states = {device: state.replace(":12:", ":13:", 1).replace(
        ":" + state.split(":")[8] + ":", "::") for device, state in folder.states.items()}
    folder.append("12", "13")
    assert folder.look() == [("STATE_COMPARISON_SYNC", 0)]


def test_baseline_of_a_folder_that_went_back(folder):
    """Just as many messages have come since"""
    folder.append(*["m%d" % number for number in range(10)])
    folder.look()
    status = folder.client.status("INBOX", "UIDVALIDITY")
    modseq, known = folder.states["ALL"].split(":")[7:9]
    assert len(newest(folder.states["ALL"])) == 8
    for generation, (text, expected) in enumerate((
            (known, []), ("-", []), (known.replace(",10.", ",9."), None),
            (known.replace("10.", "10.0" if "10.0" not in known else "10.1")[:-1],
             [("STATE_COMPARISON_SYNC", 0)]),
            (known.replace(",9.", ",11."), None),
            (",".join(known.split(",")[:-1]), [("STATE_COMPARISON_SYNC", 0)]),
            ("", [("STATE_COMPARISON_SYNC", 0)]))):
        for device in ("ALL", "NEW"):
            folder.profile.known(device, folder.guid, 2000 + generation, status["UIDVALIDITY"],
                                 11, modseq, 10, text)
        folder.profile.write()
        folder.states = {}
        if expected is not None:
            assert folder.look() == expected, text
            assert folder.look() == []


@pytest.mark.parametrize("server", ["maildir"], indirect=True)
def test_index_is_made_anew(folder):
    """HIGHESTMODSEQ is below what is accounted: that is told once, and what comes then is
    new."""
    folder.append("1", "2")
    for turn in range(20):
        folder.store("1", "%sFLAGS (\\Seen)" % "+-"[turn % 2])
    folder.look()
    folder.client.ok("CLOSE")
    folder.server.close_clients()
    for path in glob.glob("%s/mail/%s/maildir/dovecot.index*" % (
            folder.server.path, folder.user.lower())):
        os.unlink(path)
    assert folder.look() == [("STATE_COMPARISON_SYNC", 0)]
    assert folder.look() == []
    folder.client = folder.server.client(folder.user)
    folder.client.ok("SELECT INBOX")
    folder.append("3")
    folder.expunge("1")
    assert folder.look() == [(DELETED, 1), (NEW, 3)]


class Known:
    """What a device knows of the messages, by what it was told"""

    def __init__(self, mail, filters):
        self.mail, self.filters = mail, filters
        self.notify = self.judged_by = "A"
        self.next_uid = 1
        # UID: flags
        self.known = {}
        # what there was at the last look, and what has changed since
        self.seen, self.touched = set(), set()

    def passes(self, uid):
        return uid in self.mail and self.filters[self.notify](self.mail[uid])

    def expected(self, next_uid):
        """What must be told now"""
        if self.judged_by != self.notify and any(
                uid not in self.known and (uid not in self.mail or
                                           uid in self.touched and not self.passes(uid))
                for uid in self.seen):
            yield SYNC, 0
            return
        for uid in range(1, next_uid):
            if uid >= self.next_uid:
                if self.passes(uid):
                    yield NEW, uid
            elif uid in self.touched or uid not in self.mail:
                if self.passes(uid):
                    yield CHANGED, uid
                elif uid in self.known:
                    yield DELETED, uid

    def told(self, events, next_uid):
        for event, uid in events:
            if event == SYNC:
                self.known = {uid: set(mail["flags"]) for uid, mail in self.mail.items()
                              if self.passes(uid)}
            elif event == DELETED:
                del self.known[uid]
            else:
                assert (event == NEW) == (uid >= self.next_uid)
                self.known[uid] = set(self.mail[uid]["flags"])
        if self.judged_by != self.notify:
            # it has set it itself, and knows what is there now
            for uid in self.mail:
                if uid in self.touched or uid >= self.next_uid:
                    continue
                if self.passes(uid):
                    self.known[uid] = set(self.mail[uid]["flags"])
                else:
                    self.known.pop(uid, None)
        self.judged_by = self.notify
        self.next_uid = next_uid
        self.seen = set(self.mail)
        self.touched.clear()
        assert self.known == {uid: mail["flags"] for uid, mail in self.mail.items()
                              if self.passes(uid)}


FILTERS = {
    "A": lambda mail: True,
    "Uunseen": lambda mail: "\\Seen" not in mail["flags"],
    "Uflagged": lambda mail: "\\Flagged" in mail["flags"],
    "Uyes": lambda mail: "yes" in mail["subject"],
    "Ubody": lambda mail: mail["subject"].startswith("yes"),
}


@pytest.mark.parametrize("seed", range(3))
def test_what_the_device_knows(folder, seed):
    """Whatever is done between looks: what the device was told is what the folder holds of
    what its filters select, and nothing is told that didn't happen."""
    rng = random.Random("%s%d" % (folder.user, seed))
    mail, next_uid, looks = {}, 1, 0
    devices = {"P1": Known(mail, FILTERS), "P2": Known(mail, FILTERS)}
    counts = {NEW: 0, CHANGED: 0, DELETED: 0, SYNC: 0}

    def write():
        for name, device in devices.items():
            folder.profile.device(name, notify=device.notify, event="ALL")
        folder.profile.write()

    def touch(*uids):
        for device in devices.values():
            device.touched.update(uids)
    write()
    for _ in range(250):
        action = rng.random()
        uids = sorted(rng.sample(list(mail), min(len(mail), rng.choice((1, 1, 2, 5)))))
        text = ",".join(map(str, uids))
        if action < 0.2:
            subjects = [rng.choice(("yes", "no", "no yes")) for _ in range(rng.randint(1, 3))]
            if rng.random() < 0.3:
                lmtp(folder.server, folder.user, message(subjects[0].encode()))
                del subjects[1:]
            else:
                folder.append(*subjects)
            for subject in subjects:
                mail[next_uid] = {"subject": subject, "flags": set()}
                next_uid += 1
        elif action < 0.55 and uids:
            flag = rng.choice(("\\Seen", "\\Flagged", "\\Answered", "word"))
            add = rng.random() < 0.6
            doveadm = rng.random() < 0.05
            if doveadm:
                folder.server.doveadm("flags", "add" if add else "remove", "-u",
                                      folder.user.lower(), flag, "mailbox", "INBOX", "uid", text)
            else:
                folder.store(text, "%sFLAGS (%s)" % ("+" if add else "-", flag))
            for uid in uids:
                if (flag in mail[uid]["flags"]) != add:
                    mail[uid]["flags"] ^= {flag}
                    touch(uid)
        elif action < 0.65 and uids:
            folder.expunge(text)
            for uid in uids:
                del mail[uid]
        elif action < 0.72:
            rng.choice(list(devices.values())).notify = rng.choice(list(FILTERS))
            write()
        else:
            if rng.random() < 0.1:
                # its answer was lost
                folder.worker.look(folder.user, folder.guid, folder.states)
            look = folder.worker.look(folder.user, folder.guid, folder.states)
            folder.states = look.states
            for name, device in devices.items():
                events = [event[:2] for event in look.events[name]]
                assert events == list(device.expected(next_uid)), (looks, name)
                device.told(events, next_uid)
                for event, _ in events:
                    counts[event] += 1
            looks += 1
    del counts[SYNC]
    assert looks > 30 and min(counts.values()) > 20, counts
