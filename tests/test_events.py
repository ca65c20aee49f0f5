# SPDX-License-Identifier: LGPL-2.1-only
"""How events come about where a hint isn't the whole of it (R-1.5, R-13.4): found without
one, by an import, by the device itself, and of folders. All parts are in place, but for the
relay."""

import contextlib
import os
import re
import time

import pytest

from cases import HEAD, lmtp, put_into_new
from conftest import DOVECOT_24, Server, settings
from outband_peers import Relay, wait_for
from worker_client import LIST, Worker


def message(subject):
    return HEAD + b"Subject: %s\r\n\r\nbody\r\n" % subject


class Site:
    def __init__(self, fmt, extra="", **values):
        self.relay = Relay()
        self.server = Server.temporary(fmt, extra=settings(dict({
            "pimap_channels": "mail",
            "pimap_mail_relay": "127.0.0.1:%d" % self.relay.port,
            "pimap_mail_pattern": "*@example.com"}, **values)) + extra)

    def phone(self, user, folder="ALL", event=None, name="P1"):
        """A device's session, after its filter and then its channel are set"""
        phone = self.server.client("%s#%s" % (user, name))
        # a folder that isn't there yet has no baseline
        phone.ok("SELECT INBOX")
        phone.ok("UNSELECT")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
        phone.ok('XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS "%s@example.com"' % name.lower())
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s N ALL)" % folder)
        if event is not None:
            phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER " + event)
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
        return phone

    def told(self, name="P1"):
        """(account, event, UID) of what that device was sent, in order"""
        found = []
        for mail in self.relay.mails:
            if "<%s@" % name.lower() in mail.recipients[0]:
                words = re.search(r'_%\$P-IMAP\$%_ (\d+) ("[^"]*"|\S+) (\S+)(?: (\d+))?',
                                  mail.text.replace("=\r\n", "").replace("=24", "$"))
                number, account, event, uid = words.groups()
                found.append((int(number), account, event, int(uid or 0)))
        assert [item[0] for item in found] == list(range(1, len(found) + 1))
        return [item[1:] for item in found]

    def wait_told(self, expected, name="P1", seconds=15):
        wait_for(lambda: len(self.told(name)) >= len(expected), seconds)
        assert self.told(name) == expected

    def lose_hints(self):
        """From now on no mail process finds the service."""
        os.unlink(self.server.path + "/run/pimap-outband")

    def status(self, name):
        text = self.server.doveadm("-f", "tab", "pimap", "outband", "status")
        return dict(line.split("\t")[:2] for line in text.splitlines())[name]

    def settle(self):
        """Returns how many looks there were, when there are no more."""
        while True:
            before = self.looks()
            time.sleep(0.5)
            if self.looks() == before:
                return before

    def looks(self):
        return int(self.status("looks done"))

    def stop(self):
        self.server.close_clients()
        self.server.stop()
        self.relay.stop()


@pytest.fixture(params=["maildir", "sdbox", "mdbox"])
def site(request):
    site = Site(request.param, **getattr(request.function, "site", {}))
    yield site
    if request.node.get_closest_marker("expects_faults") is None:
        assert site.server.faults() == []
    site.stop()


def with_site(**values):
    def mark(function):
        function.site = values
        return function
    return mark


@pytest.mark.expects_faults
@with_site(pimap_outband_scan_interval="1 s")
def test_found_by_scans(site, user):
    """R-13.4: what no hint has told, without a next delivery; and an idle folder is left
    alone, whatever looks and sessions leave beside it"""
    user = user.lower()
    site.lose_hints()
    site.server.doveadm("mailbox", "create", "-u", user, "Work")
    site.phone(user, event="ALL")
    # not even that the channel is there
    site.server.doveadm("pimap", "outband", "scan", "-u", user)
    wait_for(lambda: site.looks() >= 3)
    plain = site.server.client(user)
    expected = []
    for number, folder in enumerate(["INBOX", "Work", "INBOX", "Work"], 1):
        uid = (number + 1) // 2
        if folder == "INBOX":
            lmtp(site.server, user, message(b"%d" % number))
        else:
            plain.append("Work", [message(b"%d" % number)])
        expected.append((user + "/Work" * (folder == "Work"), "NEW_MESSAGE", uid))
        site.wait_told(expected)
    # changes, too, and that a message has gone
    plain.ok("SELECT Work")
    plain.ok("STORE 1 +FLAGS (\\Flagged)")
    expected.append((user + "/Work", "CHANGED_MESSAGE", 1))
    site.wait_told(expected)
    plain.ok("STORE 1 +FLAGS (\\Deleted)")
    plain.ok("EXPUNGE")
    wait_for(lambda: site.told()[-1] == (user + "/Work", "DELETED_MESSAGE", 1))
    # a device's session has its own files beside the folder
    phone = site.server.client(user + "#P1")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Work V ALL)")
    phone.ok("SELECT Work")
    phone.ok("FETCH 1:* (BODY.PEEK[])")
    phone.close()
    plain.close()
    time.sleep(5)
    told, looks, scanned = len(site.told()), site.looks(), int(site.status("scanned"))
    time.sleep(4)
    assert site.looks() == looks and len(site.told()) == told
    assert int(site.status("scanned")) >= scanned + 2 * 3


@pytest.mark.parametrize("site", ["maildir"], indirect=True)
@with_site(pimap_outband_scan_interval="1 s")
def test_mail_put_into_a_maildir(site, user):
    """By hand; one after the other, as fast as the file system tells them apart, or faster"""
    user = user.lower()
    site.phone(user)
    wait_for(lambda: site.looks() >= 2)
    put_into_new(site.server, user, ["28d-header-line-100k.eml"])
    site.wait_told([(user, "NEW_MESSAGE", 1)])
    new = "%s/mail/%s/maildir/new/" % (site.server.path, user)
    owner = os.stat(new)
    for number in range(300):
        path = new + "%d.M1P2.case" % (1100000000 + number)
        with open(path, "wb") as file:
            file.write(message(b"x"))
        os.chown(path, owner.st_uid, owner.st_gid)
        time.sleep(0.01)
    site.wait_told([(user, "NEW_MESSAGE", uid) for uid in range(1, 302)])


@pytest.mark.expects_faults
@with_site(pimap_outband_scan_interval="0")
def test_no_scans(site, user):
    user = user.lower()
    site.lose_hints()
    site.phone(user)
    site.server.doveadm("pimap", "outband", "scan", "-u", user)
    wait_for(lambda: site.looks() >= 2)
    lmtp(site.server, user, message(b"x"))
    time.sleep(4)
    assert site.told() == []
    site.server.doveadm("pimap", "outband", "scan")
    site.wait_told([(user, "NEW_MESSAGE", 1)])


@pytest.mark.expects_faults
@with_site(pimap_outband_scan_interval="1 s")
def test_scan_finds_a_changed_profile(site, user):
    """R-1.7: a filter that no hint has told of counts all the same."""
    user = user.lower()
    site.lose_hints()
    phone = site.phone(user)
    site.server.doveadm("pimap", "outband", "scan", "-u", user)
    wait_for(lambda: site.looks() >= 2)
    plain = site.server.client(user)
    before = site.settle()
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N NONE)")
    wait_for(lambda: site.looks() > before)
    site.settle()
    plain.append("INBOX", [message(b"hidden")])
    time.sleep(3)
    assert site.told() == []


def test_scan_job(site, user):
    """What a worker sees changes with what it is asked about, and not otherwise."""
    user = user.lower()
    site.phone(user)
    plain = site.server.client(user)
    plain.append("INBOX", [message(b"x")])
    with Worker(site.server) as worker:
        def seen(*job):
            line, = [line for line in worker.job(*job) if line[0] == "SEEN"]
            assert len(line) == 2
            return line[1]

        inbox = worker.folders(user)["INBOX"]
        worker.look(user, inbox)
        # the first looks write what they have read, and a folder's time must be old
        time.sleep(3)
        seen("LOOK", user, inbox)
        folder, profile = seen("LOOK", user, inbox), seen("FOLDERS", user)
        assert seen("LOOK", user, inbox) == folder
        assert worker.job("SCAN", folder, profile, folder) == [["OK"]]
        # what nobody can say anything about
        assert worker.job("SCAN", "", folder, "x", "0\tf/x", "1\tz/x") == [
            ["CHANGED", "0"], ["CHANGED", "2"], ["CHANGED", "3"], ["CHANGED", "4"], ["OK"]]
        plain.append("INBOX", [message(b"x")])
        assert worker.job("SCAN", folder, profile) == [["CHANGED", "0"], ["OK"]]
        site.server.client(user + "#P2").ok("XFILTER SET F1 NIL (UNSEEN)")
        site.server.client(user + "#P2").ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N F1)")
        assert worker.job("SCAN", profile, folder) == [["CHANGED", "0"], ["CHANGED", "1"], ["OK"]]
        # just now: there may be more that has the same time
        if site.server.format == "maildir":
            plain.append("INBOX", [message(b"x")])
            assert worker.job("SCAN", seen("LOOK", user, inbox)) == [["CHANGED", "0"], ["OK"]]


def source(site, user, count):
    """The location of a Maildir with so many messages, his to read"""
    path = "%s/mail/source-%s" % (site.server.path, user)
    owner = os.stat("%s/mail/%s" % (site.server.path, user))
    for part in ("", "/cur", "/new", "/tmp"):
        os.mkdir(path + part)
        os.chown(path + part, owner.st_uid, owner.st_gid)
    for number in range(count):
        name = "%s/cur/%d.M1P1.source:2,S" % (path, 1200000000 + number)
        with open(name, "wb") as file:
            file.write(message(b"imported %d" % number))
        os.chown(name, owner.st_uid, owner.st_gid)
    return path


def bring(site, user, how, path):
    """Puts the messages of that Maildir into his INBOX."""
    if how == "import":
        site.server.doveadm("import", "-u", user, "maildir:" + path, "", "all")
    else:
        site.server.doveadm("sync", "-1", "-R", "-u", user, "maildir:" + path)


@pytest.mark.parametrize("how", ["import", "sync"])
@pytest.mark.parametrize("event", [None, "ALL"])
def test_imports_are_silent(site, user, how, event):
    """R-1.5: what is put in so isn't told, not even where changes are; what comes after it
    is, and so is what is done to it later."""
    user = user.lower()
    plain = site.server.client(user)
    plain.append("INBOX", [message(b"old")])
    site.phone(user, event=event)
    path = source(site, user, 250)
    site.settle()
    bring(site, user, how, path)
    lmtp(site.server, user, message(b"new"))
    assert plain.status("INBOX", "MESSAGES")["MESSAGES"] == 252
    # dsync may give a UID anew to what is there
    last = plain.status("INBOX", "UIDNEXT")["UIDNEXT"] - 1
    site.wait_told([(user, "NEW_MESSAGE", last)])
    site.settle()
    plain.ok("SELECT INBOX")
    plain.ok("UID STORE 2 +FLAGS (\\Flagged)")
    expected = [(user, "NEW_MESSAGE", last)]
    if event is not None:
        expected.append((user, "CHANGED_MESSAGE", 2))
    site.settle()
    assert site.told() == expected


@with_site(pimap_notify_imports="yes")
@pytest.mark.parametrize("how", ["import", "sync"])
def test_imports_are_told(site, user, how):
    """pimap_notify_imports"""
    user = user.lower()
    site.phone(user)
    site.settle()
    bring(site, user, how, source(site, user, 3))
    site.wait_told([(user, "NEW_MESSAGE", uid) for uid in (1, 2, 3)])


@pytest.mark.parametrize("how", ["import", "sync"])
def test_imports_into_a_new_folder(site, user, how):
    """Which is new as a whole, but for what was imported"""
    user = user.lower()
    site.phone(user)
    path = source(site, user, 3)
    for part in ("", "/cur", "/new", "/tmp"):
        os.mkdir(path + "/.New" + part)
        owner = os.stat(path)
        os.chown(path + "/.New" + part, owner.st_uid, owner.st_gid)
    os.rename(path + "/cur/1200000001.M1P1.source:2,S",
              path + "/.New/cur/1200000001.M1P1.source:2,S")
    site.settle()
    bring(site, user, how, path)
    lmtp(site.server, user, message(b"new"))
    wait_for(lambda: (user, "NEW_MESSAGE", 3) in site.told(), 15)
    plain = site.server.client(user)
    plain.append("New", [message(b"new")])
    wait_for(lambda: len(site.told()) >= 3, 15)
    # sooner or later the folder itself
    assert sorted(site.told()) == sorted([
        (user, "NEW_MESSAGE", 3), (user + "/New", "NEW_MESSAGE", 2), (user + "/New", "SYNC", 0)])


def test_own_changes(site, user):
    """R-1.5: a device isn't told what its own session did, another one is."""
    user = user.lower()
    plain = site.server.client(user)
    plain.ok("CREATE Work")
    plain.append("INBOX", [message(b"%d" % number) for number in range(8)])
    site.phone(user, event="ALL", name="P2").close()
    phone = site.phone(user, event="ALL")
    site.settle()
    expected = []

    def own(*events):
        expected.extend((user + folder, *event) for folder, *event in events)
        site.wait_told(expected, "P2")
        site.settle()
        assert site.told() == []

    phone.ok("SELECT INBOX")
    phone.ok("STORE 1:2 +FLAGS (\\Flagged)")
    own(("", "CHANGED_MESSAGE", 1), ("", "CHANGED_MESSAGE", 2))
    phone.ok("STORE 1 +FLAGS (word)")
    own(("", "CHANGED_MESSAGE", 1))
    phone.ok("FETCH 3 (BODY[])")
    own(("", "CHANGED_MESSAGE", 3))
    phone.append("INBOX", [message(b"own")] * 2)
    own(("", "NEW_MESSAGE", 9), ("", "NEW_MESSAGE", 10))
    phone.ok("COPY 4:5 Work")
    own(("/Work", "NEW_MESSAGE", 1), ("/Work", "NEW_MESSAGE", 2))
    phone.ok("STORE 4 +FLAGS (\\Deleted)")
    own(("", "CHANGED_MESSAGE", 4))
    phone.ok("EXPUNGE")
    own(("", "DELETED_MESSAGE", 4))
    # two folders: which is looked at first isn't known
    phone.ok("UID MOVE 5 Work")
    wait_for(lambda: len(site.told("P2")) == len(expected) + 2)
    assert set(site.told("P2")[-2:]) == {(user, "DELETED_MESSAGE", 5),
                                         (user + "/Work", "NEW_MESSAGE", 3)}
    expected.extend(site.told("P2")[-2:])
    site.settle()
    assert site.told() == []
    # and then it is told of others'
    plain.ok("SELECT INBOX")
    plain.ok("UID STORE 6 +FLAGS (\\Answered)")
    site.wait_told([(user, "CHANGED_MESSAGE", 6)])


def test_own_changes_under_the_filter_new(site, user):
    """New messages only; what the device saved isn't new to it."""
    user = user.lower()
    phone = site.phone(user)
    site.phone(user, name="P2").close()
    site.settle()
    phone.append("INBOX", [message(b"own")])
    site.wait_told([(user, "NEW_MESSAGE", 1)], "P2")
    lmtp(site.server, user, message(b"new"))
    site.wait_told([(user, "NEW_MESSAGE", 2)])


def test_own_changes_that_leave_the_filter(site, user):
    """Reading mail in a folder that notifies of unread mail"""
    user = user.lower()
    plain = site.server.client(user)
    plain.append("INBOX", [message(b"x")] * 4)
    phone = site.phone(user, event="ALL")
    phone.ok("XFILTER SET F1 NIL (UNSEEN)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N F1)")
    site.settle()
    # so that what the device knows is known
    lmtp(site.server, user, message(b"new"))
    site.wait_told([(user, "NEW_MESSAGE", 5)])
    phone.ok("SELECT INBOX")
    phone.ok("FETCH 1:2 (BODY[])")
    site.settle()
    phone.ok("STORE 1 -FLAGS (\\Seen)")
    site.settle()
    assert len(site.told()) == 1
    plain.ok("SELECT INBOX")
    plain.ok("STORE 3 +FLAGS (\\Seen)")
    site.wait_told([(user, "NEW_MESSAGE", 5), (user, "DELETED_MESSAGE", 3)])


@pytest.mark.parametrize("first", ["own", "other"])
def test_own_change_beside_anothers(site, user, first):
    """In one look: the other's is told, whichever comes first."""
    user = user.lower()
    plain = site.server.client(user)
    plain.append("INBOX", [message(b"x")] * 3)
    phone = site.phone(user, event="ALL")
    for session in (plain, phone):
        session.ok("SELECT INBOX")
    site.settle()
    with Worker(site.server) as worker:
        inbox = worker.folders(user)["INBOX"]
        states = worker.look(user, inbox).states
        third = site.server.client(user)
        ours = {}

        def store(session):
            before = third.status("INBOX", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
            session.ok("NOOP")
            session.ok("STORE 2 +FLAGS (%s)" % ("own" if session is phone else "other"))
            if session is phone:
                after = third.status("INBOX", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
                validity = third.status("INBOX", "UIDVALIDITY")["UIDVALIDITY"]
                ours["=note"] = "0:P1:%d:%d:%d:2::" % (validity, before, after)

        store(phone)
        # alone it isn't told, unless it is somebody else who says so
        assert worker.look(user, inbox, dict(states, **ours)).events["P1"] == []
        for note in (ours["=note"].replace("0:", "99:", 1), ours["=note"].replace("P1", "P2"),
                     "x", "0:P1:1:1:1:::::", "0:P1:1:1:1:9-2::", ours["=note"][:-1] + "0-0"):
            assert len(worker.look(user, inbox, dict(states, **{"=note": note}))
                       .events["P1"]) == 1, note
        states = worker.look(user, inbox, dict(states, **ours)).states
        # both since the accounted state
        plain.ok("NOOP")
        plain.ok("STORE 2 -FLAGS (own other)")
        states = worker.look(user, inbox, states).states
        for session in ([phone, plain] if first == "own" else [plain, phone]):
            store(session)
        look = worker.look(user, inbox, dict(states, **ours))
        assert [event[0] for event in look.events["P1"]] == ["CHANGED_MESSAGE"]
        # and where the other's is accounted for
        states = look.states
        phone.ok("STORE 2 -FLAGS (own other)")
        states = worker.look(user, inbox, states).states
        store(phone)
        assert worker.look(user, inbox, dict(states, **ours)).events["P1"] == []


def test_own_store_right_after_anothers(site, user):
    """As fast as may be, many times: none of the other's is lost. What is told besides is in
    doubt."""
    user = user.lower()
    plain = site.server.client(user)
    plain.append("INBOX", [message(b"x")] * 40)
    phone = site.phone(user, event="ALL")
    for session in (plain, phone):
        session.ok("SELECT INBOX")
    site.settle()
    for uid in range(1, 41):
        plain.ok("STORE %d +FLAGS (other)" % uid)
        phone.ok("STORE %d +FLAGS (own)" % uid)
    site.settle()
    with contextlib.suppress(AssertionError):
        wait_for(lambda: {uid for _, _, uid in site.told()} == set(range(1, 41)))
    assert {uid for _, _, uid in site.told()} == set(range(1, 41)), site.told()


def test_own_changes_in_a_row(site, user):
    """One after the other, before there is a look at any of them"""
    user = user.lower()
    phone = site.phone(user, event="ALL")
    phone.append("INBOX", [message(b"x")] * 3)
    phone.ok("SELECT INBOX")
    site.settle()
    for number in range(30):
        phone.ok("STORE %d +FLAGS (word%d)" % (number % 3 + 1, number))
        phone.append("INBOX", [message(b"x")])
    site.settle()
    # of 60; where a look comes between a change and its note it is in doubt
    assert len(site.told()) <= 6


def test_folder_events(site, user):
    """R-1.5: created, deleted, renamed, whoever does it: always, whatever the event filter,
    to each device with a channel, and nothing of what there was before"""
    user = user.lower()
    plain = site.server.client(user)
    plain.ok("CREATE Old")
    plain.ok("CREATE Old/Deep")
    site.phone(user, event="NONE").close()
    # without any folder that notifies
    site.phone(user, folder="Old", name="P2").ok("XSETPIMAPPREF PIMAP_XFILTER (Old N NONE)")
    site.settle()
    assert site.told() == []
    expected = []

    def told(*names):
        # as the list has them, so the order isn't known
        expected.extend((user + "/" + name, "SYNC", 0) for name in names)
        for device in ("P1", "P2"):
            wait_for(lambda device=device: len(site.told(device)) >= len(expected))
            assert sorted(site.told(device)) == sorted(expected)

    plain.ok("CREATE Work")
    told("Work")
    site.server.doveadm("mailbox", "create", "-u", user, "Other")
    told("Other")
    plain.ok("RENAME Work Play")
    told("Play")
    plain.ok("RENAME Old Ancient")
    told("Ancient", "Ancient/Deep")
    plain.ok("DELETE Play")
    told("Play")
    # one that comes with its first mail
    plain.append("INBOX", [message(b"x")])
    plain.ok("CREATE Later")
    plain.append("Later", [message(b"x")])
    told("Later")
    site.settle()
    assert len(site.told()) == len(site.told("P2")) == len(expected)
    # the channel is the switch
    site.server.client(user + "#P2").ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE")
    before = len(site.told("P2"))
    plain.ok("DELETE Later")
    wait_for(lambda: len(site.told()) > len(expected))
    site.settle()
    assert len(site.told("P2")) == before


def test_come_and_go_while_looked_at(site, user):
    """That a folder goes during a look is no fault, and that one comes doesn't disturb its
    CREATE"""
    user = user.lower()
    plain = site.server.client(user)
    site.phone(user)
    for number in range(30):
        plain.ok("CREATE Work%d" % number)
        plain.append("Work%d" % number, [message(b"x")] * 3)
        time.sleep(number / 1000)
        plain.ok("DELETE Work%d" % number)
    site.settle()


@pytest.mark.parametrize("auto", ["no", "create"])
@pytest.mark.parametrize("fmt, parts", [("maildir", [".Half/cur"]), ("sdbox", [
    "mailboxes/Half/dbox-Mails"])])
def test_lists_change_no_directory(user, fmt, parts, auto):
    """The list of folders that changes with a CREATE is looked at: the folder whose CREATE is
    under way is neither removed, where Dovecot's own lists remove empty directories, nor
    finished, even if Dovecot makes it where it isn't there"""
    user = user.lower()
    extra = "" if DOVECOT_24 else "mail_location = %s:~/%s:NO-NOSELECT\n" % (fmt, fmt)
    extra += "namespace inbox {\n  mailbox Half {\n    auto = %s\n  }\n}\n" % auto
    site = Site(fmt, extra)
    plain = site.server.client(user)
    site.phone(user)
    site.settle()
    root = "%s/mail/%s/%s/" % (site.server.path, user, fmt)
    there = os.stat(root)
    empty = root + parts[0].split("Half")[0] + "Empty"
    half = root + parts[0].split("Half")[0] + "Half"
    for path in [empty, half] + [root + part for part in parts]:
        os.mkdir(path)
        os.chown(path, there.st_uid, there.st_gid)
    names = [name for name, *_ in os.walk(half)]
    with Worker(site.server) as worker:
        assert worker.folders(user)
        assert worker.job("LOOK", user, LIST)[-1] == ["OK"]
    assert os.path.isdir(empty)
    assert [name for name, *_ in os.walk(half)] == names
    assert not any(files for _, _, files in os.walk(half))
    plain.ok('LIST "" * RETURN (STATUS (MESSAGES))')
    assert any(files for _, _, files in os.walk(half))
    # which Maildir takes for a folder
    assert os.path.isdir(empty) == (fmt == "maildir")
    site.stop()


@pytest.mark.expects_faults
@with_site(pimap_outband_scan_interval="1 s")
def test_folder_events_without_hints(site, user):
    """Found by scans, with the mail in the new folder"""
    user = user.lower()
    plain = site.server.client(user)
    site.phone(user)
    site.settle()
    site.lose_hints()
    plain.ok("CREATE Work")
    plain.append("Work", [message(b"x")])
    site.wait_told([(user + "/Work", "SYNC", 0), (user + "/Work", "NEW_MESSAGE", 1)])


@pytest.mark.expects_faults
@with_site(pimap_outband_scan_interval="1 s")
def test_each_folder_event_without_hints(site, user):
    """Also where Dovecot's index of the list is marked as old already: it marks it once"""
    user = user.lower()
    site.server.doveadm("mailbox", "create", "-u", user, "Old")
    site.phone(user)
    site.settle()
    site.lose_hints()
    expected = []
    for command, folder, told in (("create", "One", "One"), ("create", "Two", "Two"),
                                  ("create", "Old/Three", "Old/Three"),
                                  ("create", "Old/Four", "Old/Four"), ("delete", "Two", "Two"),
                                  ("create", "Two", "Two"), ("delete", "One", "One")):
        # a process that ends at once
        site.server.doveadm("mailbox", command, "-u", user, folder)
        expected.append((user + "/" + told, "SYNC", 0))
        site.wait_told(expected)


def test_list_of_folders(site, user):
    """From its baseline, and where it is too long to be kept"""
    user = user.lower()
    plain = site.server.client(user)
    site.phone(user)
    site.settle()
    with Worker(site.server) as worker:
        def events(**states):
            lines = worker.job("LOOK", user, LIST, *[x for item in states.items() for x in item])
            state, = [line[6] for line in lines if line[0] == "DEVICE"]
            assert lines[-1] == ["OK"]
            return state, [(line[1], line[7]) for line in lines if line[0] == "EVENT"]

        state, found = events()
        assert found == [] and events(P1=state) == (state, [])
        plain.ok("CREATE Work")
        assert events()[1] == [("FULL_SYNC", "INBOX")]
        assert events(P1=state)[1] == [("SYNC", "Work")]
        # what isn't a state, or is one of another baseline, begins with that
        generation = state.split(":")[1]
        for other in ("", "x", "1:%s:?" % generation, "1:%s:=x" % generation,
                      "1:%d:=" % (int(generation) + 1)):
            assert events(P1=other)[1] == [("FULL_SYNC", "INBOX")], other
        # 300 names of 200 octets don't fit
        for number in range(300):
            plain.ok("CREATE %03d%s" % (number, "x" * 200))
        state, found = events(P1=state)
        assert ":#" in state and ("SYNC", "Work") in found
        assert events(P1=state) == (state, [])
        plain.ok("DELETE Work")
        assert events(P1=state)[1] == [("FULL_SYNC", "INBOX")]
