# SPDX-License-Identifier: LGPL-2.1-only
"""Files that somebody changes under Dovecot while a device looks at them."""

import glob
import os
import re
import shutil
import time

import pytest

from test_device import MESSAGE, device

CRITERIA = "SUBJECT yes UNFLAGGED"


def home(server, user):
    return "%s/mail/%s" % (server.path, user.lower())


def put(folder, name, subject):
    """A message, as a file of a Maildir"""
    path = "%s/%s" % (folder, name)
    temporary = "%s/tmp/%s" % (folder, os.path.basename(name))
    with open(temporary, "wb") as output:
        output.write(MESSAGE % subject)
    owner = os.stat(folder)
    os.chown(temporary, owner.st_uid, owner.st_gid)
    os.rename(temporary, path)


def path_of(folder, uid):
    with open(folder + "/dovecot-uidlist") as uidlist:
        name, = re.findall(r"^%d .*:(.*)$" % uid, uidlist.read(), re.M)
    path, = glob.glob("%s/*/%s*" % (folder, glob.escape(name.split(":")[0])))
    return path


def await_uids(client, expected):
    """Until it shows these. Dovecot may not look into a folder that it has just
    looked into; CHECK makes it."""
    end = time.monotonic() + 20
    while client.uids != expected:
        assert time.monotonic() < end, (client.uids, expected)
        client.ok("CHECK")
        client.fetch_all()
        time.sleep(0.05)


def await_found(client, keys, expected):
    end = time.monotonic() + 20
    while client.search(keys) != expected:
        assert time.monotonic() < end, (keys, expected)
        client.ok("CHECK")
        time.sleep(0.05)


@pytest.mark.parametrize("server", ["maildir"], indirect=True)
def test_maildir_changes_by_hand(server, user):
    folder = home(server, user) + "/maildir"
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"yes", b"no", b"yes", b"no", b"yes")])
    phone = device(server, user, CRITERIA)
    for client in (plain, phone):
        client.ok("SELECT INBOX")
        client.fetch_all()
    assert phone.uids == [1, 3, 5]
    # hidden ones, of which nothing is told
    os.unlink(path_of(folder, 2))
    put(folder, "new/1.hand", b"no")
    await_uids(plain, [1, 3, 4, 5, 6])
    assert phone.ok("NOOP").lines("* ") == []
    # visible ones
    put(folder, "new/2.hand", b"yes")
    await_uids(phone, [1, 3, 5, 7])
    put(folder, "cur/3.hand:2,FS", b"yes")
    put(folder, "cur/4.hand:2,S", b"yes")
    await_uids(plain, [1, 3, 4, 5, 6, 7, 8, 9])
    shown = plain.search(CRITERIA)
    assert len(shown) == 5
    await_uids(phone, shown)
    os.unlink(path_of(folder, 3))
    shown.remove(3)
    await_uids(phone, shown)
    # flags: out of the view, and of no meaning for it
    path = path_of(folder, 1)
    os.rename(path, "%s/cur/%s:2,F" % (folder, os.path.basename(path).split(":")[0]))
    path = path_of(folder, 5)
    os.rename(path, "%s/cur/%s:2,R" % (folder, os.path.basename(path).split(":")[0]))
    shown.remove(1)
    await_uids(phone, shown)
    await_found(phone, "ANSWERED", [5])
    await_found(plain, "FLAGGED", [1] + [uid for uid in (8, 9) if uid not in shown])
    # and in again, below UIDNEXT: at the next SELECT
    path = path_of(folder, 1)
    os.rename(path, path[:-len("F")])
    await_found(plain, CRITERIA, [1] + shown)
    phone.ok("NOOP")
    assert phone.fetch_all() == shown
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1] + shown
    plain.ok("NOOP")
    assert plain.search(CRITERIA) == phone.uids


@pytest.mark.parametrize("server", ["maildir"], indirect=True)
def test_maildir_changes_by_hand_in_idle(server, user):
    folder = home(server, user) + "/maildir"
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"no", b"yes", b"yes")])
    phone = device(server, user, CRITERIA)
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [2, 3]
    phone.idle()
    put(folder, "new/1.hand", b"no")
    put(folder, "new/2.hand", b"yes")
    phone.wait("3 EXISTS")
    os.unlink(path_of(folder, 2))
    phone.wait("1 EXPUNGE")
    path = path_of(folder, 3)
    os.rename(path, "%s/cur/%s:2,F" % (folder, os.path.basename(path).split(":")[0]))
    phone.wait("1 EXPUNGE")
    phone.done()
    shown = phone.fetch_all()
    assert len(shown) == 1
    plain.ok("SELECT INBOX")
    assert plain.search(CRITERIA) == shown


@pytest.mark.parametrize("name", ["Entw&APw-rfe", "&ZeVnLIqe-", "a&-b", "Top/&AMQ-/&4jDYPNyI-"])
def test_folder_names_in_utf7(server, user, name):
    """Modified UTF-7, as LIST writes them"""
    plain = server.client(user)
    plain.ok("CREATE " + name)
    plain.append(name, [MESSAGE % s for s in (b"no", b"yes", b"yes")])
    phone = device(server, user, "SUBJECT yes", name)
    assert phone.status(name, "MESSAGES") == {"MESSAGES": 2}
    phone.ok("SELECT " + name)
    assert phone.fetch_all() == [2, 3]
    listed, = phone.ok('LIST "" ' + name).lines("* LIST")
    assert listed.split()[-1].strip('"') == name
    preferences = phone.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").untagged[0].line
    assert "(%s V F1)" % listed.split()[-1] in preferences or \
        "(%s V F1)" % name in preferences
    phone.ok("UNSELECT")
    plain.ok("RENAME %s %s2" % (name, name))
    assert phone.status(name + "2", "MESSAGES") == {"MESSAGES": 2}
    plain.ok("CREATE " + name)
    plain.append(name, [MESSAGE % b"no"])
    assert phone.status(name, "MESSAGES") == {"MESSAGES": 1}


# the view cache

def cache_of(server, user):
    path, = [path for path in glob.glob(home(server, user) + "/**/dovecot-pimap-view.*",
                                        recursive=True)
             if os.path.isfile(path)]
    return path


def truncate(path, old):
    os.truncate(path, os.path.getsize(path) // 2)


def take_old(path, old):
    with open(path, "w") as output:
        output.write(old)


def make_folder(path, old):
    os.unlink(path)
    os.mkdir(path)


def make_unwritable(path, old):
    os.unlink(path)
    os.mkdir(path)
    with open(path + "/x", "w"):
        pass


@pytest.mark.expects_faults
@pytest.mark.parametrize("damage", [truncate, take_old, make_folder, make_unwritable],
                         ids=lambda damage: damage.__name__)
def test_view_cache_changes_by_hand(server, user, damage):
    """While the folder is selected and while it isn't (R-14.4)"""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"yes", b"no", b"yes", b"yes")])
    plain.ok("SELECT INBOX")
    phone = device(server, user, CRITERIA)
    other = server.client(user + "#P1")

    def check():
        plain.ok("NOOP")
        expected = plain.search(CRITERIA)
        for client in (phone, other):
            client.ok("SELECT INBOX")
            assert client.fetch_all() == expected
            assert client.status("INBOX", "MESSAGES") == {"MESSAGES": len(expected)}
            client.ok("UNSELECT")

    check()
    path = cache_of(server, user)
    with open(path) as cache:
        old = cache.read()
    plain.ok("UID STORE 1 +FLAGS (\\Flagged)")
    plain.append("INBOX", [MESSAGE % b"yes"])
    check()
    # between, and with the older one a change that it has missed
    plain.ok("UID STORE 3 +FLAGS (\\Flagged)")
    damage(path, old)
    check()
    phone.ok("SELECT INBOX")
    phone.fetch_all()
    if os.path.isdir(path):
        shutil.rmtree(path)
        check()
        phone.ok("SELECT INBOX")
    plain.ok("UID STORE 4 +FLAGS (\\Flagged)")
    damage(cache_of(server, user), old)
    phone.ok("NOOP")
    assert phone.fetch_all() == [5]
    plain.ok("UID STORE 1 -FLAGS (\\Flagged)")
    check()
    plain.append("INBOX", [MESSAGE % b"no", MESSAGE % b"yes"])
    check()


def test_list_index_is_lost(server, user):
    """What it says of folders isn't believed in a device's session."""
    plain = server.client(user)
    plain.ok("CREATE Work")
    for folder in ("INBOX", "Work"):
        plain.append(folder, [MESSAGE % s for s in (b"yes", b"no", b"yes")])
    phone = device(server, user, "SUBJECT yes", "Work")
    phone.ok("SELECT Work")
    phone.fetch_all()

    def lose():
        lost = glob.glob(home(server, user) + "/**/dovecot.list.index*", recursive=True)
        for path in lost:
            os.unlink(path)
        return lost

    assert lose() != []
    for client in (phone, server.client(user + "#P1")):
        assert client.status("INBOX", "MESSAGES") == {"MESSAGES": 3}
        assert client.status("Work", "MESSAGES UIDNEXT") == {"MESSAGES": 2, "UIDNEXT": 4}
    assert plain.status("Work", "MESSAGES") == {"MESSAGES": 3}
    phone.ok("NOOP")
    assert phone.fetch_all() == [1, 3]
    lose()
    plain.append("Work", [MESSAGE % b"no", MESSAGE % b"yes"])
    phone.ok("NOOP")
    assert phone.fetch_all() == [1, 3, 5]
    phone.ok("SELECT Work")
    assert phone.fetch_all() == [1, 3, 5]
    assert plain.status("Work", "MESSAGES") == {"MESSAGES": 5}
