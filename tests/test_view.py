# SPDX-License-Identifier: LGPL-2.1-only
"""The view: its cache, own and others' changes, time."""

import fcntl
import glob
import os
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import Server, settings
from test_device import device

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"


def view_caches(server, user):
    return [path for path in glob.glob("%s/mail/%s/**/dovecot-pimap-view.*" % (
        server.path, user.lower()), recursive=True)
            # an index of Maildir's INBOX stands above all folders
            if not os.path.isdir(path)]


@pytest.mark.parametrize("criteria", [
    "OR UNSEEN UNDELETED", "NOT (SEEN DELETED)", "OR UNDELETED UNSEEN SUBJECT yes",
    "NOT (SEEN FLAGGED)"])
def test_one_of_two_flags_is_missing(server, user, criteria):
    """Dovecot's own SEARCH finds nothing by these where all messages are seen, and not all
    where some are."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes"] * 3)
    phone = device(server, user, criteria)
    plain.ok("SELECT INBOX")
    for change, expected in (
            ("1:* +FLAGS (\\Seen)", [1, 2, 3]), ("2 -FLAGS (\\Seen)", [1, 2, 3]),
            ("2 +FLAGS (\\Seen \\Deleted \\Flagged)", [1, 3]),
            ("1:3 +FLAGS (\\Deleted \\Flagged)", []), ("3 -FLAGS (\\Seen)", [3])):
        plain.ok("STORE " + change)
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == expected, change
        phone.ok("UNSELECT")
        # by a search of all, too
        for path in view_caches(server, user):
            os.unlink(path)
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == expected, change
        phone.ok("UNSELECT")


@pytest.mark.parametrize("criteria", ["SUBJECT yes", "UNFLAGGED SUBJECT yes",
                                      "NOT KEYWORD $x SUBJECT yes"])
def test_view_cache_is_right(server, user, criteria):
    """What changed between two SELECTs is in the second, whoever changed it."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"yes", b"no", b"yes", b"yes", b"no")])
    phone = device(server, user, criteria)
    plain.ok("SELECT INBOX")

    def check():
        plain.ok("NOOP")
        expected = plain.search(criteria)
        for command in ("SELECT INBOX", "EXAMINE INBOX"):
            phone.ok(command)
            assert phone.fetch_all() == expected
            phone.ok("UNSELECT")
        assert phone.status("INBOX", "MESSAGES") == {"MESSAGES": len(expected)}
        return expected

    assert check() == [1, 3, 4]
    assert len(view_caches(server, user)) == 1
    for change in ("UID STORE 3 +FLAGS (\\Flagged $x)", "UID STORE 1,3 FLAGS ($x)",
                   "UID STORE 1:5 -FLAGS ($x)", "UID STORE 4 FLAGS (\\Deleted)",
                   "EXPUNGE", "UID STORE 1 +FLAGS.SILENT (\\Flagged $x)"):
        plain.ok(change)
        check()
    plain.append("INBOX", [MESSAGE % s for s in (b"no", b"yes")])
    check()
    server.doveadm("flags", "add", "-u", user, "\\Flagged", "mailbox", "INBOX", "uid", "7")
    check()
    # many changes, while the device is away and while it looks
    for _ in range(3):
        phone.ok("SELECT INBOX")
        for flags in ("+FLAGS (\\Flagged)", "-FLAGS (\\Flagged)", "+FLAGS ($x)"):
            plain.ok("UID STORE 1:* " + flags)
        phone.ok("NOOP")
        plain.ok("UID STORE 7 FLAGS ()")
        phone.ok("UNSELECT")
        check()


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "old", "delete"])
def test_damaged_view_cache_is_made_anew(server, user, damage):
    """R-14.4"""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone = device(server, user, "SUBJECT yes")
    phone.ok("SELECT INBOX")
    phone.ok("CLOSE")
    path, = view_caches(server, user)
    with open(path, "rb") as cache:
        good = cache.read()
    if damage == "delete":
        os.unlink(path)
    else:
        with open(path, "wb") as cache:
            cache.write({"truncate": good[:-5], "empty": b"",
                         "flip": good[:-20] + bytes([good[-20] ^ 2]) + good[-19:],
                         "old": good.replace(b"pimap-view\t", b"pimap-view\t0")}[damage])
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1]
    phone.ok("CLOSE")
    with open(path, "rb") as cache:
        assert cache.read().split(b"\n")[2:4] == good.split(b"\n")[2:4]


def test_view_cache_of_another_filter_or_folder(server, user):
    plain = server.client(user)
    for folder in ("INBOX", "Work"):
        if folder != "INBOX":
            plain.ok("CREATE Work")
        plain.append(folder, [MESSAGE % s for s in (b"yes", b"no", b"yes")])
    phone = device(server, user, "SUBJECT yes", "ALL")
    assert phone.status("Work", "MESSAGES") == {"MESSAGES": 2}
    phone.ok("XFILTER SET F1 NIL (SUBJECT no)")
    assert phone.status("Work", "MESSAGES") == {"MESSAGES": 1}
    other = server.client(user + "#P2")
    assert other.status("Work", "MESSAGES") == {"MESSAGES": 3}
    # the folder is made anew
    plain.ok("DELETE Work")
    plain.ok("CREATE Work")
    plain.append("Work", [MESSAGE % b"no"] * 5)
    assert phone.status("Work", "MESSAGES") == {"MESSAGES": 5}


def with_uids(cache, uids):
    """What is in the view cache, with other UIDs"""
    lines = cache.split(b"\n", 6)
    data = b"\n".join(lines[:5]) + b"\nuids\t%d\n" % len(uids) + b"".join(
        struct.pack("=II", uid, uid) for uid in uids)
    return data + b"end\t%08x\n" % zlib.crc32(data)


@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_view_cache_in_memory_is_the_file(server, user):
    """What a session has read is used only as long as that file is there. Each time
    it says something else, which is wrong and seen."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes"] * 4)
    phone = device(server, user, "SUBJECT yes")

    def shown():
        phone.ok("SELECT INBOX")
        uids = phone.fetch_all()
        phone.ok("UNSELECT")
        return uids

    assert shown() == shown() == [1, 2, 3, 4]
    path, = view_caches(server, user)
    with open(path, "rb") as cache:
        good = cache.read()

    def put_beside(uids):
        with open(path + ".new", "wb") as cache:
            cache.write(with_uids(good, uids))
        os.chown(path + ".new", before.st_uid, before.st_gid)
        os.replace(path + ".new", path)

    def put_inside(uids):
        with open(path, "r+b") as cache:
            cache.truncate()
            cache.write(with_uids(good, uids))

    def another_session(_):
        os.unlink(path)
        other = server.client(user + "#P1")
        other.ok("SELECT INBOX")
        other.ok("UNSELECT")

    for put, uids, expected in (
            (put_beside, [1, 3], [1, 3]), (put_inside, [2, 4], [2, 4]),
            (lambda _: os.unlink(path), None, [1, 2, 3, 4]), (put_inside, [1], [1]),
            (another_session, None, [1, 2, 3, 4])):
        before = os.stat(path)
        put(uids)
        if uids is not None:
            # but this time is that of the one before, as mostly its size is
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert shown() == expected
        # a file that is so new isn't kept in memory yet
        time.sleep(2.1)
        assert shown() == shown() == expected


def test_view_cache_of_two_sessions(server, user):
    """Each writes what the other has in memory."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"yes", b"no", b"yes", b"yes")])
    phones = [device(server, user, "UNFLAGGED SUBJECT yes") for _ in range(2)]
    plain.ok("SELECT INBOX")
    for number in range(12):
        plain.ok("UID STORE %d %sFLAGS.SILENT (\\Flagged)" % (
            1 + number % 4, "-" if number % 3 else "+"))
        if number == 5:
            plain.append("INBOX", [MESSAGE % b"yes"])
        if number == 8:
            plain.ok("UID STORE 3 +FLAGS.SILENT (\\Deleted)")
            plain.ok("EXPUNGE")
        expected = plain.search("UNFLAGGED SUBJECT yes")
        for phone in phones[::-1 if number % 2 else 1] * 2:
            assert phone.status("INBOX", "MESSAGES") == {"MESSAGES": len(expected)}
            phone.ok("SELECT INBOX")
            assert phone.fetch_all() == expected
            phone.ok("UNSELECT")


def test_others_changes_hide_what_own_ones_do_not(server, user):
    """R-1.4a, b: whose change it was that made a message stop matching"""
    phone = device(server, user, "UNSEEN UNFLAGGED")
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"m"] * 4)
    phone.ok("SELECT INBOX")
    plain.ok("SELECT INBOX")
    # an own change that changes nothing of the match
    phone.ok("STORE 1 +FLAGS (\\Answered)")
    plain.ok("UID STORE 1 +FLAGS (\\Flagged)")
    assert phone.ok("NOOP").lines("* 1 EXPUNGE") == ["* 1 EXPUNGE"]
    # an own one that does: it stays, also when others change it too
    phone.ok("STORE 1 +FLAGS (\\Seen)")
    plain.ok("UID STORE 2 +FLAGS (\\Flagged)")
    phone.ok("NOOP")
    assert phone.fetch_all() == [2, 3, 4]
    # it matches again, and then another hides it
    plain.ok("UID STORE 2 -FLAGS (\\Seen \\Flagged)")
    phone.ok("NOOP")
    plain.ok("UID STORE 2 +FLAGS (\\Seen)")
    phone.ok("NOOP")
    assert phone.fetch_all() == [3, 4]
    # what is kept goes by EXPUNGE, another's real one too
    phone.ok("STORE 1 +FLAGS (\\Seen)")
    plain.ok("UID STORE 3 +FLAGS (\\Deleted)")
    plain.ok("EXPUNGE")
    phone.ok("NOOP")
    assert phone.uids == [4]


def test_search_in_what_was_just_changed(server, user):
    """Case 01: flags are newer than the counts of the view's header."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes"] * 6)
    phone = device(server, user, "SUBJECT yes UNDELETED")
    phone.ok("SELECT INBOX")
    phone.fetch_all()
    results = phone.pipeline(["UID STORE 5 +FLAGS.SILENT (\\Deleted)",
                              "UID SEARCH DELETED", "UID EXPUNGE 5"])
    assert [result.status for result in results] == ["OK"] * 3
    assert [line for result in results for line in result.lines("* SEARCH")] == [
        "* SEARCH 5"]
    phone.ok("NOOP")
    assert phone.uids == [1, 2, 3, 4, 6]
    plain.ok("SELECT INBOX")
    assert plain.fetch_all() == [1, 2, 3, 4, 6]


# mdbox has one file for all of them
@pytest.mark.parametrize("server", ["maildir", "sdbox"], indirect=True)
@pytest.mark.expects_faults
def test_unreadable_message_is_hidden_alone(server, user):
    """R-1.10"""
    home = "%s/mail/%s" % (server.path, user.lower())
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"yes", b"yes", b"no", b"yes")])
    plain.ok("SELECT INBOX")
    phone = device(server, user, "BODY body SUBJECT yes")
    paths = sorted(glob.glob(home + "/maildir/cur/*") + glob.glob(home + "/sdbox/**/u.*",
                                                                  recursive=True),
                   key=lambda path: os.stat(path).st_mtime_ns)
    assert len(paths) == 4
    os.chmod(paths[1], 0)
    assert os.getuid() == 0 or not os.access(paths[1], os.R_OK)
    before = len(server.faults())
    for _ in range(2):
        phone.ok("SELECT INBOX")
        shown = phone.fetch_all()
        assert len(shown) == 2 and 3 not in shown
    server.wait_for_log()
    faults = server.faults()[before:]
    assert faults and all(paths[1] in line for line in faults), faults
    os.chmod(paths[1], 0o600)
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 2, 4]
    assert plain.status("INBOX", "MESSAGES") == {"MESSAGES": 4}


def test_view_cache_of_what_time_changes(server, user):
    """None of what time alone can let in; test_time.py tells of what it takes away."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"m"])
    for criteria, cached in (("DAYSBEFORETODAY 3", 1), ("OR SEEN NOT OLDER 60", 1),
                             ("NOT YOUNGER 3600", 0), ("NOT OR YOUNGER 600 SEEN", 0),
                             ("YOUNGER 3600", 1), ("OR OLDER 60 UNSEEN", 0)):
        phone = device(server, user, criteria)
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == ([] if criteria.startswith("NOT") else [1])
        phone.ok("CLOSE")
        assert len(view_caches(server, user)) == cached, criteria


def test_what_all_sessions_share_is_of_the_whole_folder(server, user):
    """Counts and sizes in the index and the list index"""
    plain = server.client(user)
    plain.ok("CREATE Work")
    plain.append("Work", [MESSAGE % s for s in (b"yes", b"no", b"a longer no")])
    phone = device(server, user, "SUBJECT yes", "Work")
    items = "MESSAGES UNSEEN UIDNEXT" + (" SIZE" if "STATUS=SIZE" in plain.greeting + str(
        plain.ok("CAPABILITY").untagged) else "")
    # whichever asks first
    for first, second in ((phone, plain), (plain, phone)):
        first.status("Work", items)
        second.status("Work", items)
    whole, shown = plain.status("Work", items), phone.status("Work", items)
    assert (whole["MESSAGES"], shown["MESSAGES"]) == (3, 1)
    size = len(MESSAGE % b"yes")
    assert (whole.get("SIZE", 3 * size + 7), shown.get("SIZE", size)) == (3 * size + 7, size)
    # a change writes the list index
    phone.ok("SELECT Work")
    phone.ok("STORE 1 +FLAGS (\\Seen)")
    assert plain.status("Work", items) == dict(whole, UNSEEN=2)
    phone.ok("UNSELECT")
    phone.append("Work", [MESSAGE % b"no"])
    whole = plain.status("Work", items)
    assert (whole["MESSAGES"], whole["UNSEEN"], whole["UIDNEXT"]) == (4, 3, 5)
    assert phone.status("Work", "MESSAGES UNSEEN") == {"MESSAGES": 1, "UNSEEN": 0}
    assert server.doveadm("mailbox", "status", "-u", user, "messages vsize", "Work").split()[1:] \
        == ["messages=4", "vsize=%d" % (4 * size + 6)]


@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_first_saved_is_of_the_whole_folder(server, user):
    """What autoexpunge goes by. Dovecot writes it into the list index by commits, too:
    here that of the sizes, which it had to compute."""
    plain = server.client(user)
    plain.ok("CREATE Work")
    plain.append("Work", [MESSAGE % b"no"])
    time.sleep(1.1)
    plain.append("Work", [MESSAGE % b"yes"])
    command = ("mailbox", "status", "-u", user, "firstsaved", "Work")
    before = server.doveadm(*command)
    phone = device(server, user, "SUBJECT yes", "Work")
    assert phone.status("Work", "SIZE") == {"SIZE": len(MESSAGE % b"yes")}
    assert server.doveadm(*command) == before


def test_silent_changes_are_silent(server, user):
    """RFC 3501 6.4.6: not told to the session that makes them, in a view either."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"] * 2)
    phone = device(server, user, "SUBJECT yes UNSEEN")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 3]
    for command in ("STORE 2 +FLAGS.SILENT (\\Flagged)", "NOOP",
                    "UID STORE 1,3 +FLAGS.SILENT (\\Seen $k)", "NOOP", "CHECK"):
        assert "FETCH" not in str(phone.ok(command).untagged), command
    # others are told
    plain.ok("SELECT INBOX")
    assert plain.ok("FETCH 3 (FLAGS)").fetched()


def test_recent_counts_what_is_shown(server, user):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"yes", b"no", b"yes")])
    phone = device(server, user, "SUBJECT yes UNFLAGGED")
    assert phone.status("INBOX", "RECENT MESSAGES") == {"RECENT": 2, "MESSAGES": 2}
    phone.ok("SELECT INBOX")
    assert (phone.recent, phone.fetch_all()) == (2, [1, 3])
    assert all("\\Recent" in flags for flags in phone.flags.values())
    plain.append("INBOX", [MESSAGE % b"no", MESSAGE % b"yes"])
    phone.ok("NOOP")
    assert (phone.recent, phone.fetch_all()) == (3, [1, 3, 5])
    # one that leaves; the folder still has it
    plain.ok("SELECT INBOX")
    assert plain.recent == 0
    plain.ok("UID STORE 1 +FLAGS (\\Flagged)")
    phone.ok("NOOP")
    assert (phone.recent, phone.uids) == (2, [3, 5])
    assert phone.search("RECENT") == [3, 5]


@pytest.mark.parametrize("server", ["maildir"], indirect=True)
def test_thread_of_a_folder_without_index(server, user):
    """A device never writes the thread file of all sessions."""
    phone = device(server, user, "SUBJECT yes", "ALL")
    phone.ok("CREATE Work")
    folder = "%s/mail/%s/maildir/.Work" % (server.path, user.lower())
    plain = server.client(user)
    plain.append("Work", [MESSAGE % s for s in (b"no", b"yes", b"no", b"yes")])
    server.close_clients()
    for name in glob.glob(folder + "/dovecot.index*"):
        os.unlink(name)
    phone = server.client(user + "#P1")
    phone.ok("SELECT Work")
    assert phone.ok("UID THREAD REFERENCES UTF-8 ALL").lines("* THREAD") == ["* THREAD ((2)(4))"]
    assert not os.path.exists(folder + "/dovecot.index.thread")
    phone.ok("CLOSE")
    assert glob.glob(folder + "/*.thread") == []
    plain = server.client(user)
    plain.ok("SELECT Work")
    assert plain.ok("UID THREAD REFERENCES UTF-8 ALL").lines("* THREAD") == [
        "* THREAD ((1)(3))((2)(4))"]


def test_failed_sync_loses_nothing():
    """The folder's index is synced, then the evaluation fails: Dovecot can't write what
    it has read of a message."""
    server = Server.temporary("sdbox", extra="mail_max_lock_timeout = 1s\n")
    try:
        plain = server.client("joe")
        plain.append("INBOX", [MESSAGE % b"yes"] * 4)
        phone = device(server, "joe", "OR UNFLAGGED NOT HEADER X-Odd x")
        other = server.client("joe#P1")
        for client in (phone, other, plain):
            client.ok("SELECT INBOX")
            assert client.fetch_all() == [1, 2, 3, 4]
        plain.ok("UID STORE 1 +FLAGS (\\Deleted)")
        plain.ok("EXPUNGE")
        plain.ok("UID STORE 3 +FLAGS (\\Answered)")
        plain.ok("UID STORE 4 +FLAGS (\\Flagged)")     # its header is read
        log, = glob.glob(server.path + "/mail/joe/**/INBOX/**/dovecot.index.log", recursive=True)
        with open(log, "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            with ThreadPoolExecutor() as pool:
                for result in pool.map(lambda client: client.command("NOOP"), (phone, other)):
                    assert "* NO Internal error" in str(result), result
        assert phone.uids == other.uids == [1, 2, 3, 4]
        phone.ok("NOOP")
        assert phone.uids == [2, 3, 4]
        assert "\\Answered" in phone.flags[3] and "\\Flagged" in phone.flags[4]
        # one that may not be told what is gone can't go on
        other.sock.sendall(b"a STORE 2 +FLAGS (\\Seen)\r\n")
        assert b"* BYE " in other.file.read(10000)
        assert server.logs("Disconnected: IMAP session state is inconsistent")
        assert "BUG" not in server.log()
        plain.ok("NOOP")
        assert "\\Seen" in plain.flags[2]
    finally:
        server.close_clients()
        server.stop()
