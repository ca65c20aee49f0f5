# SPDX-License-Identifier: LGPL-2.1-only
"""Device sessions that sleep in imap-hibernate, and what they find when they wake."""

import time

import pytest

from conftest import HIBERNATION, Server
from test_device import device

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"
SLEEPS = "Successfully hibernated imap client"


@pytest.fixture(scope="module", params=["mdbox", "maildir"])
def server(request):
    server = Server.temporary(request.param,
                              extra="imap_hibernate_timeout = 1s\n" + HIBERNATION)
    yield server
    server.stop()


def sleep(server, *phones):
    before = server.log().count(SLEEPS)
    for phone in phones:
        phone.idle()
    wait_asleep(server, before + len(phones))


def wait_asleep(server, count):
    deadline = time.monotonic() + 20
    while server.log().count(SLEEPS) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def selected(server, user, criteria, enable="", folder="INBOX"):
    phone = device(server, user, criteria)
    if enable:
        phone.ok("ENABLE " + enable)
    phone.ok("SELECT " + folder)
    return phone


def assert_up_to_date(server, user, phone, late=()):
    """phone knows what another session of the device is shown."""
    other = server.client(user + "#P1")
    other.ok("EXAMINE INBOX")
    uids = other.fetch_all()
    assert phone.uids == [uid for uid in uids if uid not in late]
    mine = {uid: flags - {"\\Recent"} for uid, flags in phone.flags.items()}
    for uid, flags in other.flags.items():
        if uid not in late:
            assert mine[uid] == flags - {"\\Recent"}, uid


@pytest.mark.parametrize("enable", ["", "CONDSTORE", "QRESYNC"])
def test_what_changes_while_a_session_sleeps(server, user, enable):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"] * 6)
    plain.ok("SELECT INBOX")
    plain.ok("STORE 5 +FLAGS.SILENT (\\Flagged)")
    phone = selected(server, user, "SUBJECT yes NOT FLAGGED", enable)
    assert phone.fetch_all() == [1, 3, 7, 9, 11]
    # what it keeps by its own doing stays through its sleep
    phone.ok("UID STORE 9 +FLAGS (\\Flagged)")
    phone.ok("NOOP")
    sleep(server, phone)
    plain.ok("UID STORE 2,4,7 +FLAGS.SILENT (\\Deleted)")
    plain.ok("EXPUNGE")                                # hidden ones, and 7
    plain.ok("UID STORE 3 +FLAGS.SILENT (\\Flagged)")  # leaves
    plain.ok("UID STORE 11 +FLAGS.SILENT (\\Answered)")
    plain.ok("UID STORE 8 +FLAGS.SILENT (\\Seen)")     # hidden
    plain.append("INBOX", [MESSAGE % b"no", MESSAGE % b"yes"])
    phone.wait("EXISTS")
    assert phone.done().lines("* RESYNC") == []
    phone.ok("NOOP")
    assert phone.fetch_all() == [1, 9, 11, 14]
    assert phone.flags[11] - {"\\Recent"} == {"\\Answered"}
    assert phone.flags[9] - {"\\Recent"} == {"\\Flagged"}
    phone.ok("UID STORE 9 -FLAGS (\\Flagged)")
    phone.ok("NOOP")
    phone.fetch_all()
    assert_up_to_date(server, user, phone)


def test_sleep_hides_nothing_new(server, user):
    """Nor does the session get another SESSIONID, or forget what is recent."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"] * 2)
    phone = selected(server, user, "SUBJECT yes")
    assert phone.fetch_all() == [1, 3]
    assert phone.recent == 2
    sleep(server, phone)
    plain.append("INBOX", [MESSAGE % b"no", MESSAGE % b"yes"])
    phone.done()
    assert "SESSIONID" not in str(phone.ok("NOOP"))
    assert (phone.recent, phone.fetch_all()) == (3, [1, 3, 6])


@pytest.mark.parametrize("enable", ["", "QRESYNC"])
def test_waking_by_a_command(server, user, enable):
    """DONE wakes a session whose folder has not told of any change yet, too."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"] * 3)
    phone = selected(server, user, "SUBJECT yes UNSEEN", enable)
    assert phone.fetch_all() == [1, 3, 5]
    sleep(server, phone)
    phone.done()
    assert phone.uids == [1, 3, 5]
    sleep(server, phone)
    plain.ok("SELECT INBOX")
    plain.ok("UID STORE 1,2 +FLAGS.SILENT (\\Deleted)")
    plain.ok("EXPUNGE")
    phone.done()
    phone.ok("NOOP")
    assert phone.fetch_all() == [3, 5]
    assert_up_to_date(server, user, phone)


def test_late_entrants_of_a_sleeping_session(server, user):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes"] * 4)
    plain.ok("SELECT INBOX")
    plain.ok("UID STORE 1,3 +FLAGS (\\Flagged)")
    phone = selected(server, user, "NOT FLAGGED")
    assert phone.fetch_all() == [2, 4]
    sleep(server, phone)
    asleep = server.log().count(SLEEPS)
    plain.ok("UID STORE 1 -FLAGS (\\Flagged)")
    phone.wait("RESYNC")
    # told once, also if it sleeps again
    wait_asleep(server, asleep + 1)
    plain.append("INBOX", [MESSAGE % b"yes"])
    phone.wait("3 EXISTS")
    assert len(phone.done().lines("* RESYNC")) == 1
    assert phone.fetch_all() == [2, 4, 5]
    assert_up_to_date(server, user, phone, late=[1])
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 2, 4, 5]


@pytest.mark.parametrize("criteria", ["SUBJECT yes", None])
def test_filter_set_while_a_session_sleeps(server, user, criteria):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"] * 2)
    if criteria is None:
        phone = server.client(user + "#P1")
        phone.ok("SELECT INBOX")
        shown = [1, 2, 3, 4]
    else:
        phone = selected(server, user, criteria)
        shown = [1, 3]
    assert phone.fetch_all() == shown
    sleep(server, phone)
    other = device(server, user, "SUBJECT no")
    phone.wait("RESYNC")
    phone.done()
    assert phone.fetch_all() == shown
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [2, 4]
    other.ok("NOOP")


def test_numbers_after_sleep_are_those_before(server, user):
    """A command that is sent together with DONE."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"] * 4)
    phone = selected(server, user, "SUBJECT yes UNSEEN UNDELETED")
    assert phone.fetch_all() == [1, 3, 5, 7]
    sleep(server, phone)
    plain.ok("SELECT INBOX")
    plain.ok("UID STORE 1 +FLAGS (\\Seen)")
    phone.done()
    phone.ok("STORE 3 +FLAGS (\\Deleted)")
    plain.ok("NOOP")
    deleted = [uid for uid in (1, 3, 5, 7)
               if "\\Deleted" in str(plain.ok("UID FETCH %d (FLAGS)" % uid).untagged)]
    assert deleted == [phone.uids[2]]
    phone.ok("EXPUNGE")
    assert phone.fetch_all() == [uid for uid in (3, 5, 7) if uid != deleted[0]]


def test_last_one_is_left(server, user):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes"] * 40)
    phone = selected(server, user, "SUBJECT yes")
    assert phone.fetch_all() == list(range(1, 41))
    sleep(server, phone)
    plain.ok("SELECT INBOX")
    plain.ok("UID STORE 1:39 +FLAGS.SILENT (\\Deleted)")
    plain.ok("EXPUNGE")
    # imap-hibernate may have had no time to see it
    phone.done()
    phone.ok("NOOP")
    assert phone.uids == [40]


@pytest.fixture(autouse=True)
def no_faults_asleep(server):
    before = len(server.faults())
    yield
    server.close_clients()
    assert server.faults()[before:] == []
