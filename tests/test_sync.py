# SPDX-License-Identifier: LGPL-2.1-only
"""Programs that synchronise a view with a Maildir of their own, both ways: nothing
that they don't see changes, and what they see changes as they want it."""

import datetime
import os
import re
import shutil
import threading
import time

import pytest

from mail_programs import (Mbsync, OfflineImap, find, maildir, put, set_flags, tree)

LETTERS = {"\\Seen": "S", "\\Answered": "R", "\\Flagged": "F", "\\Draft": "D",
           "\\Deleted": "T"}
FOLDERS = ("INBOX", "Work", "Old/Letters", "Whole", "Closed")


def message(identity):
    """The view shows those whose identity has "yes" in it."""
    return (b"From: a@example.org\nSubject: %s\nMessage-ID: <%s>\n\nbody of %s\n" %
            (re.sub(r"\d+", "", identity).encode(), identity.encode(), identity.encode()))


def set_view(server, user, criteria, *folders):
    """For ordinary mail programs, as the README says"""
    server.doveadm("pimap", "device", "add", "-u", user, "P1")
    server.doveadm("pimap", "filter", "set", "-u", user, "F1", criteria)
    for folder, name in folders:
        server.doveadm("pimap", "pref", "set", "-u", user, "P1", "PIMAP_XFILTER",
                       folder, "V", name)


def identity_of(item):
    octets = item["BODY[HEADER.FIELDS (MESSAGE-ID)]"]
    return re.search(rb"<(.*)>", octets).group(1).decode()


class Plain:
    """All that is on the server, as a plain session sees it"""

    def __init__(self, server, user, folders=FOLDERS):
        self.client = server.client(user)
        self.folders = folders
        for folder in folders:
            if folder != "INBOX":
                self.client.ok("CREATE " + folder)

    def fetch(self, folder, items):
        self.client.ok("EXAMINE " + folder)
        found = self.client.ok("UID FETCH 1:* (UID %s)" % items).fetched() \
            if self.client.messages else {}
        self.client.ok("UNSELECT")
        for item in found.values():
            item["FLAGS"] = sorted(set(item["FLAGS"]) - {"\\Recent"})
        return {int(item["UID"]): item for item in found.values()}

    def everything(self):
        """folder: UID: all that there is to know of a message"""
        return {folder: self.fetch(folder, "FLAGS INTERNALDATE MODSEQ RFC822.SIZE BODY.PEEK[] "
                                   "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]")
                for folder in self.folders}

    def hidden(self, is_shown):
        return {folder: {uid: item for uid, item in items.items()
                         if not is_shown(folder, identity_of(item))}
                for folder, items in self.everything().items()}

    def status(self):
        """No folder can change without changing this."""
        return {folder: self.client.status(
            folder, "MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ")
            for folder in self.folders}

    def letters(self, folder, is_shown):
        """Message-ID: letters of flags, of those that are shown, as maildir() has
        them"""
        return {identity_of(item): "".join(sorted(LETTERS[f] for f in item["FLAGS"]
                                                  if f in LETTERS))
                for item in self.fetch(folder, "FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]").values()
                if is_shown(folder, identity_of(item))}

    def uids(self, folder, *identities):
        """As a set of them"""
        known = {identity_of(item): uid for uid, item in self.fetch(
            folder, "FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]").items()}
        return ",".join(str(known[identity]) for identity in identities)

    def append(self, folder, *identities, flags=""):
        self.client.append(folder, [message(identity) for identity in identities], flags)

    def store(self, folder, identity, flags):
        uids = self.uids(folder, identity)
        self.client.ok("SELECT " + folder)
        self.client.ok("UID STORE %s +FLAGS (%s)" % (uids, flags))
        self.client.ok("UNSELECT")

    def delete(self, folder, *identities):
        uids = self.uids(folder, *identities)
        self.client.ok("SELECT " + folder)
        self.client.ok("UID STORE %s +FLAGS.SILENT (\\Deleted)" % uids)
        self.client.ok("UID EXPUNGE " + uids)
        self.client.ok("UNSELECT")


def is_shown(folder, identity):
    return folder == "Whole" or folder != "Closed" and "yes" in identity


def check_equal(plain, program):
    for folder in plain.folders:
        assert maildir(program.folder(folder)) == plain.letters(folder, is_shown), folder


def check_no_change(plain, program):
    """Another run changes nothing on either side."""
    before = plain.status(), plain.everything()
    files = tree(program.mail)
    program.run()
    assert (plain.status(), plain.everything()) == before
    assert tree(program.mail) == files


def change_server(plain, folder, turn):
    """New mail, changed flags, deletions; of what the device sees and of what it
    doesn't"""
    name = lambda kind, number: "%s%d%d" % (kind, turn, number)
    plain.append(folder, name("yes", 7), name("no", 7), name("yes", 8))
    plain.append(folder, name("no", 8), name("yes", 9), flags="\\Flagged")
    plain.store(folder, name("yes", 0), "\\Flagged")
    plain.store(folder, name("no", 0), "\\Answered $label")
    plain.delete(folder, name("yes", 1), name("no", 1))
    # deleted, but not expunged, and hidden: it's none of the device's business
    plain.store(folder, name("no", 2), "\\Deleted")


def change_local(program, folder, turn):
    """The same on the device; of yes.0 and of yes.2 both sides change flags"""
    path = program.folder(folder)
    name = lambda number: "yes%d%d" % (turn, number)
    set_flags(path, name(0), "RS")
    set_flags(path, name(3), "S")
    set_flags(path, name(4), "T")
    os.unlink(find(path, name(5)))
    put(path, 10 * turn + 1, message("yes%d-own" % turn))
    put(path, 10 * turn + 2, message("yes%d-draft" % turn), "DS")


@pytest.mark.parametrize("criteria", ["SUBJECT yes", "SUBJECT yes UNDELETED"])
def test_mbsync_both_ways(server, user, tmp_path, criteria):
    """Twice over: what both sides changed, and then nothing. R-1.3, R-1.4"""
    set_view(server, user, criteria, ("ALL", "F1"))
    plain = Plain(server, user)
    for folder, name in (("Whole", "ALL"), ("Closed", "NONE")):
        server.doveadm("pimap", "pref", "set", "-u", user, "P1", "PIMAP_XFILTER",
                       folder, "V", name)
    program = Mbsync(server, user + "#P1", tmp_path)
    open_folders = [folder for folder in FOLDERS if folder != "Closed"]
    for turn in (1, 2):
        for folder in FOLDERS:
            for number in range(7):
                plain.append(folder, "no%d%d" % (turn, number), "yes%d%d" % (turn, number),
                             flags="\\Seen" if number % 2 else "")
        hidden = plain.hidden(is_shown)
        program.run()
        assert plain.hidden(is_shown) == hidden
        check_equal(plain, program)
        assert maildir(program.folder("Closed")) == {}
        assert len(maildir(program.folder("Work"))) >= 7
        check_no_change(plain, program)

        for folder in FOLDERS:
            change_server(plain, folder, turn)
        for folder in open_folders:
            change_local(program, folder, turn)
        hidden = plain.hidden(is_shown)
        assert all(hidden[folder] for folder in FOLDERS if folder != "Whole")
        program.run()
        assert plain.hidden(is_shown) == hidden
        check_equal(plain, program)
        check_no_change(plain, program)
        for folder in open_folders:
            both = maildir(program.folder(folder))
            assert both["yes%d0" % turn] == "FRS"
            assert both["yes%d3" % turn] == "S" and both["yes%d-draft" % turn] == "DS"
            assert {"yes%d7" % turn, "yes%d9" % turn, "yes%d-own" % turn} <= set(both)
            assert not {"yes%d%d" % (turn, number) for number in (1, 4, 5)} & set(both)
    # a whole second Maildir of the same view is the same
    other = Mbsync(server, user + "#P1", str(tmp_path) + "/other")
    before = plain.status()
    other.run()
    check_equal(plain, other)
    assert plain.status() == before


def test_mbsync_uploads_what_it_will_not_see(server, user, tmp_path):
    """It is kept on the server, and only there from the next run on."""
    set_view(server, user, "SUBJECT yes UNSEEN", ("INBOX", "F1"))
    plain = Plain(server, user, ["INBOX"])
    plain.append("INBOX", "no1", "yes1", "yes2")
    program = Mbsync(server, user + "#P1", tmp_path)
    program.run()
    path = program.folder("INBOX")
    put(path, 1, message("no-own"))
    put(path, 2, message("yes-own"))
    # it doesn't match any more, by the device's own doing
    set_flags(path, "yes1", "S")
    program.run()
    program.run()
    assert maildir(path) == {"yes2": "", "yes-own": ""}
    program.run()  # isync 1.5 forgets them only now
    check_no_change(plain, program)
    assert plain.letters("INBOX", lambda folder, identity: True) == {
        "no1": "", "yes1": "S", "yes2": "", "no-own": "", "yes-own": ""}


def run_beside_writers(program):
    """Dovecot answers NIL for the body of a message that another session has just
    deleted, and mbsync gives up: it is to be run once more."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return program.run()
        except AssertionError as error:
            if "BODY is no literal" not in str(error) or time.monotonic() > deadline:
                raise


def test_mbsync_beside_writers(server, user, tmp_path):
    """Others deliver, change flags and delete all the time."""
    set_view(server, user, "SUBJECT yes UNDELETED", ("ALL", "F1"))
    plain = Plain(server, user, ["INBOX"])
    plain.append("INBOX", *["%s%d" % (kind, number) for number in range(10)
                            for kind in ("yes", "no")])
    program = Mbsync(server, user + "#P1", tmp_path)
    program.run()
    path, other = program.folder("INBOX"), Plain(server, user, [])
    stop, failures, written = threading.Event(), [], []

    def write():
        number = 10
        try:
            while not stop.is_set():
                for kind in ("yes", "no"):
                    other.append("INBOX", "%s%d" % (kind, number))
                    other.store("INBOX", "%s%d" % (kind, number - 1), "\\Flagged")
                    other.delete("INBOX", "%s%d" % (kind, number - 4))
                number += 1
                written.append(number)
        except BaseException as error:  # shown by the test
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(4):
            before = len(written)
            put(path, turn, message("yes-own%d" % turn))
            run_beside_writers(program)
            deadline = time.monotonic() + 20
            while len(written) == before and not failures:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        stop.set()
        writer.join()
    assert failures == []
    program.run()
    check_equal(plain, program)
    assert {"yes-own%d" % turn for turn in range(4)} <= set(maildir(path))
    program.run()  # isync 1.5 forgets what is gone only now
    check_no_change(plain, program)
    rest = plain.letters("INBOX", lambda folder, identity: True)
    # what others wrote is there as they wrote it: 4 of each kind, and the first
    assert {identity for identity in rest if identity.startswith("no")} == {
        "no%d" % number for number in range(written[-1])
        if number < 6 or number >= written[-1] - 4}


ANY_FORMAT = pytest.mark.parametrize("server", ["mdbox"], indirect=True)
AGES = (60, 40, 20, 10, 3, 1)


@ANY_FORMAT
@pytest.mark.parametrize("kind", [Mbsync, OfflineImap])
def test_window_of_days(server, user, tmp_path, kind):
    """OfflineIMAP/offlineimap#270, #327, #512, #384: what fell out of a window of
    days was deleted. Here the window is the device's view."""
    set_view(server, user, "DAYSBEFORETODAY 30", ("ALL", "F1"))
    plain = Plain(server, user, ["INBOX"])
    for age in AGES:
        text = message("day%d" % age).replace(b"\n", b"\r\n")
        when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=age)
        plain.client.ok(b'APPEND INBOX "%s +0000" {%d+}\r\n%s' % (
            when.strftime("%d-%b-%Y %H:%M:%S").encode(), len(text), text))
    program = kind(server, user + "#P1", tmp_path)
    path = program.folder("INBOX")

    def run(days):
        server.doveadm("pimap", "filter", "set", "-u", user, "F1", "DAYSBEFORETODAY", str(days))
        before = plain.status(), plain.everything()
        program.run()
        assert (plain.status(), plain.everything()) == before
        return set(maildir(path))

    month, week = {"day1", "day3", "day10", "day20"}, {"day1", "day3"}
    assert run(30) == month
    assert run(7) == week
    set_flags(path, "day3", "FS")
    everything, status = plain.everything()["INBOX"], plain.status()["INBOX"]
    program.run()
    now = plain.everything()["INBOX"]
    assert now.pop(5)["FLAGS"] == ["\\Flagged", "\\Seen"] and everything.pop(5)["FLAGS"] == []
    assert now == everything
    assert plain.status()["INBOX"]["UIDNEXT"] == status["UIDNEXT"]
    if kind is Mbsync and program.version < (1, 5):
        # it fetches nothing below the highest UID that it has had: README
        assert run(30) == week
        assert run(30) == week
        shutil.rmtree(path)
    else:
        assert run(30) == month
    assert run(30) == month
    assert maildir(path)["day3"] == "FS"
    check_no_change(plain, program)
    assert run(7) == week
    assert run(7) == week
