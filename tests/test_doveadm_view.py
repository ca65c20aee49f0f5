# SPDX-License-Identifier: LGPL-2.1-only
"""doveadm pimap view show: what a device sees, and what keeps the rest from it."""

import glob
import json
import os

import pytest

from conftest import Server

MESSAGE = b"From: %s@example.org\r\nSubject: %s\r\n\r\nbody\r\n"


class Viewer:
    def __init__(self, server, user):
        self.server, self.user = server, user
        self.plain = server.client(user)

    def pimap(self, *args):
        return self.server.doveadm("pimap", *args[:2], "-u", self.user, *args[2:])

    def set_filter(self, criteria, folder="INBOX"):
        self.pimap("filter", "set", "F1", criteria)
        self.pimap("pref", "set", "P1", "PIMAP_XFILTER", folder, "V", "F1")

    def show(self, *query, folder="INBOX"):
        """UID: number, or why it isn't shown"""
        table = json.loads(self.server.doveadm(
            "-f", "json", "pimap", "view", "show", "-u", self.user, "P1", folder, *query))
        assert all((row["shown"] == "yes") == (row["number"] != "") == (row["why"] == "")
                   for row in table)
        return {int(row["uid"]): int(row["number"]) if row["number"] else row["why"]
                for row in table}

    def seen_by_device(self, folder="INBOX"):
        """The same of a session"""
        phone = self.server.client(self.user + "#P1")
        phone.ok("SELECT " + folder)
        uids = phone.fetch_all()
        phone.close()
        return {uid: number + 1 for number, uid in enumerate(uids)}


@pytest.fixture
def viewer(server, user):
    return Viewer(server, user)


def test_why(viewer):
    """Each search key that doesn't match, as the filter has it"""
    viewer.plain.append("INBOX", [MESSAGE % (who, what) for who in (b"boss", b"joe")
                                  for what in (b"two words", b"other")])
    viewer.plain.ok("SELECT INBOX")
    viewer.plain.ok("STORE 1,4 +FLAGS.SILENT (\\Seen)")
    viewer.set_filter('FROM boss (SUBJECT "two words" OR SEEN NOT SEEN) UNSEEN')
    assert viewer.show() == {}
    assert viewer.show("all") == {
        1: "UNSEEN", 2: 'SUBJECT "two words"', 3: "FROM boss",
        4: 'FROM boss, SUBJECT "two words", UNSEEN'}
    viewer.set_filter("OR FROM boss SUBJECT other NOT (SEEN FROM boss) LARGER 1")
    assert viewer.show() == viewer.seen_by_device() == {2: 1, 4: 2}
    assert viewer.show("1:4") == {1: "NOT (SEEN FROM boss)", 2: 1,
                                  3: "OR FROM boss SUBJECT other", 4: 2}
    # queries, and what they find
    assert viewer.show("from", "boss") == {1: "NOT (SEEN FROM boss)", 2: 1}
    assert viewer.show("4,9") == {4: 2}
    assert viewer.show("subject", "two words", "or", "uid", "4") == {
        1: "NOT (SEEN FROM boss)", 3: "OR FROM boss SUBJECT other", 4: 2}
    # other filters
    viewer.pimap("pref", "set", "P1", "PIMAP_XFILTER", "ALL", "V", "NONE")
    assert viewer.show("2") == {2: "NOT ALL"}
    viewer.pimap("pref", "set", "P1", "PIMAP_XFILTER", "ALL", "V", "ALL")
    assert viewer.show() == {1: 1, 2: 2, 3: 3, 4: 4}


def test_days(viewer):
    """The printer has DAYSBEFORETODAY, not the date of today."""
    viewer.plain.append("INBOX", [MESSAGE % (b"a", b"new")])
    viewer.plain.ok('APPEND INBOX "01-Jan-2020 12:00:00 +0000" {4+}\r\na: b')
    viewer.set_filter("DAYSBEFORETODAY 3 UNDELETED")
    assert viewer.show("all") == {1: 1, 2: "DAYSBEFORETODAY 3"}
    viewer.set_filter("OLDER 86400")
    assert viewer.show("all") == {1: "OLDER 86400", 2: 1}


def test_many(viewer):
    """With what a session sees, folder by folder"""
    viewer.plain.append("INBOX", [MESSAGE % (b"a", b"x%d" % (n % 7)) for n in range(120)])
    viewer.plain.ok("SELECT INBOX")
    viewer.plain.ok("STORE 5:20 +FLAGS.SILENT (\\Deleted)")
    viewer.plain.ok("EXPUNGE")
    viewer.plain.ok("CREATE Work")
    viewer.plain.ok("COPY 1:40 Work")
    viewer.set_filter("NOT SUBJECT x3 NOT SUBJECT x5")
    assert viewer.show() == viewer.seen_by_device()
    everything = viewer.show("all")
    assert len(everything) == 104
    assert {uid: why for uid, why in everything.items() if isinstance(why, int)} == viewer.show()
    assert {why for why in everything.values() if not isinstance(why, int)} == {
        "NOT SUBJECT x3", "NOT SUBJECT x5"}
    viewer.pimap("pref", "set", "P1", "PIMAP_XFILTER", "ALL", "V", "F1")
    assert viewer.show(folder="Work") == viewer.seen_by_device("Work")


def files(path):
    """What a look must not change. Dovecot's own indexes it may."""
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            if "dovecot" not in name or "pimap" in name:
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.join(folder, name)] = file.read()
    return found


def test_nothing_is_changed(server, user, viewer):
    viewer.plain.append("INBOX", [MESSAGE % (b"a", b"yes"), MESSAGE % (b"a", b"no")])
    viewer.set_filter("TEXT yes UNSEEN")
    # new mail that no session has had: it stays \Recent
    home = server.doveadm("user", "-f", "home", user).strip()
    before = files(home)
    assert viewer.show("all") == {1: 1, 2: "TEXT yes"}
    assert viewer.show("text", "no") == {2: "TEXT yes"}
    assert files(home) == before
    assert not any("pimap-view" in name for name in before)
    viewer.plain.ok("SELECT INBOX")
    for message in viewer.plain.ok("FETCH 1:2 (FLAGS)").lines("* "):
        assert "\\Seen" not in message
    # a view cache that is there stays as it is
    viewer.seen_by_device()
    viewer.server.wait_for_log()
    caches = {name: text for name, text in files(home).items() if "pimap-view" in name}
    assert len(caches) == 1
    viewer.plain.append("INBOX", [MESSAGE % (b"a", b"yes")])
    assert viewer.show("all") == {1: 1, 2: "TEXT yes", 3: 2}
    assert {name: text for name, text in files(home).items() if "pimap-view" in name} == caches


def test_unreadable_message():
    """R-1.10: it isn't shown, and that is why."""
    server = Server.temporary("maildir")
    try:
        viewer = Viewer(server, "joe")
        viewer.plain.append("INBOX", [MESSAGE % (b"a", b"m%d" % n) for n in (1, 2, 3)])
        viewer.plain.ok("SELECT INBOX")
        for path in glob.glob(server.path + "/mail/joe/maildir/cur/*"):
            with open(path) as message:
                if "m2" in message.read():
                    os.chmod(path, 0)
        viewer.set_filter("UNDELETED BODY body UNSEEN BODY nosuch")
        assert viewer.show("all") == {
            1: "BODY nosuch", 2: "BODY body (can't be read), BODY nosuch (can't be read)",
            3: "BODY nosuch"}
        viewer.set_filter("UNDELETED BODY body UNSEEN")
        assert viewer.show("all") == {1: 1, 2: "BODY body (can't be read)", 3: 2}
    finally:
        server.close_clients()
        server.stop()
