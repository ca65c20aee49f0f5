# SPDX-License-Identifier: LGPL-2.1-only
"""pimap-worker: what a look finds, and what it doesn't find a second time."""

import datetime
import glob
import os
import random
import threading
import time
import zoneinfo

import pytest

from cases import HEAD, lmtp
from conftest import DOVECOT_24, Server, settings
from worker_client import Profile, Worker

MESSAGE = HEAD + b"Subject: %s\r\n\r\nbody %s\r\n"


def message(subject):
    return MESSAGE % (subject, subject)


CHANNELS = settings({"pimap_channels": "mail", "pimap_mail_pattern": "*@localhost"})


@pytest.fixture(scope="module", params=["maildir", "sdbox", "mdbox"])
def server(request):
    server = Server.temporary(request.param, extra=CHANNELS)
    yield server
    server.stop()


@pytest.fixture
def worker(server):
    with Worker(server) as worker:
        yield worker


@pytest.fixture
def client(server, user):
    """A plain session of his"""
    client = server.client(user)
    client.ok("SELECT INBOX")
    return client


@pytest.fixture
def profile(server, user, client):
    """His profile: a device P1 to which everything is told"""
    # the folder is there as soon as the user has mail
    client.ok("CREATE Made")
    client.ok("DELETE Made")
    profile = Profile(server, user)
    profile.filters.update(yes="SUBJECT yes", loud="SUBJECT loud", unseen="UNSEEN",
                           body='BODY "body yes"')
    profile.device("P1", address="joe@peer.example")
    profile.write()
    return profile


def append(client, folder, *subjects):
    client.append(folder, [message(subject.encode()) for subject in subjects])


def test_new_messages(server, user, worker, client, profile):
    append(client, "INBOX", "a", "b")
    assert list(worker.folders(user)) == ["INBOX"]
    inbox = worker.folders(user)["INBOX"]
    look = worker.look(user, inbox)
    assert look.name == "INBOX" and look.new("P1") == [1, 2]
    assert look.devices == {"P1": ["101", "MAIL", "joe@peer.example", "EMN"]}
    again = worker.look(user, inbox, look.states)
    assert again.new("P1") == [] and again.states == look.states
    lmtp(server, user, message(b"by LMTP"))
    now = time.time()
    client.ok('APPEND INBOX "20-Feb-2004 06:40:00 +0000" {%d+}\r\n' % len(message(b"old")) +
              message(b"old").decode())
    look = worker.look(user, inbox, again.states)
    assert look.new("P1") == [3, 4]
    # INTERNALDATE
    assert abs(look.events["P1"][0][2] - now) < 60
    assert look.events["P1"][1] == ("NEW_MESSAGE", 4, 1077259200)
    # what came and went is none
    append(client, "INBOX", "c", "d")
    client.ok("UID STORE 5 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    look = worker.look(user, inbox, look.states)
    assert look.new("P1") == [6]
    client.ok("UID STORE 1:6 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    assert worker.look(user, inbox, look.states).new("P1") == []


def test_filters(user, worker, client, profile):
    """View and notification filter both, and of each device its own"""
    profile.device("P1", view="Uyes", notify="Uloud")
    profile.device("P2", view="Uunseen", notify="Ubody")
    profile.device("P3", view="N")
    profile.device("P4", notify="N")
    profile.device("P5", channel=None)
    profile.device("P6", notify="D")
    profile.write()
    append(client, "INBOX", "yes", "loud", "yes loud", "no", "loud yes")
    client.ok("UID STORE 1 +FLAGS (\\Seen)")
    inbox = worker.folders(user)["INBOX"]
    look = worker.look(user, inbox)
    assert {device: look.new(device) for device in look.devices} == {
        "P1": [3, 5], "P2": [3], "P3": []}
    again = worker.look(user, inbox, look.states)
    assert all(events == [] for events in again.events.values())
    # a device that is new, and one that is no more
    del profile.devices["P2"]
    profile.device("P7")
    profile.write()
    look = worker.look(user, inbox, again.states)
    assert {device: look.new(device) for device in look.devices} == {
        "P1": [], "P3": [], "P7": [1, 2, 3, 4, 5]}


def test_folders(server, user, worker, client, profile):
    """Which ones notify; and a filter of a folder's own"""
    for name in ("Work", "Work/Deep", "R&APY-d"):
        client.ok('CREATE "%s"' % name)
    profile.device("P1", notify="D")
    profile.device("P2", channel=None)
    profile.write()
    assert worker.folders(user) == {}
    profile.device("P2")
    profile.write()
    guids = worker.folders(user)
    assert set(guids) == {"INBOX", "Work", "Work/Deep", "Röd"}
    profile.device("P2", notify="N")
    profile.folder("P1", guids["Work/Deep"], "Work/Deep", notify="Uyes")
    profile.folder("P2", guids["Röd"], "Röd", notify="A")
    profile.write()
    assert set(worker.folders(user)) == {"Work/Deep", "Röd"}
    append(client, "Work/Deep", "no", "yes")
    look = worker.look(user, guids["Work/Deep"])
    assert look.new("P1") == [2] and list(look.devices) == ["P1"]
    assert worker.look(user, guids["INBOX"]).devices == {}
    # it remains the same by another name
    client.ok("RENAME Work Play")
    client.ok("CREATE Work")
    client.ok("CREATE Work/Deep")
    again = worker.look(user, guids["Work/Deep"], look.states)
    assert again.name == "Play/Deep" and again.new("P1") == []
    client.ok("DELETE Play/Deep")
    assert worker.job("LOOK", user, guids["Work/Deep"], "P1", again.states["P1"]) == [["GONE"]]
    # another one of that name
    client.ok("CREATE Play/Deep")
    profile.device("P2")
    profile.write()
    other = worker.folders(user)["Play/Deep"]
    assert other != guids["Work/Deep"]
    append(client, "Play/Deep", "new")
    assert worker.look(user, other, {}).new("P2") == [1]


def test_no_inbox_is_made(server, user, worker):
    """Neither by a worker nor by the baseline: what comes later is all new."""
    phone = server.client(user + "#P1")
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS joe@localhost")
    phone.ok("XFILTER SET N NIL (ALL)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N N)")
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
    assert worker.folders(user) == {}
    made = glob.glob(server.path + "/mail/%s/**/dovecot.index.log" % user, recursive=True)
    assert made == []
    append(server.client(user), "INBOX", "a")
    assert worker.look(user, worker.folders(user)["INBOX"]).new("P1") == [1]


def test_folder_in_the_place_of_another(user, worker, client, profile):
    """What Dovecot's index of folders says of it is older."""
    for turn in range(5):
        client.ok("CREATE Work")
        append(client, "Work", "a")
        client.ok("STATUS Work (MESSAGES)")
        client.ok("RENAME Work Play%d" % turn)
        client.ok("CREATE Work")
        guids = worker.folders(user)
        for name in ("Work", "Play%d" % turn):
            look = worker.look(user, guids[name])
            assert look.name == name and look.new("P1") == ([] if name == "Work" else [1])
        client.ok("DELETE Work")
        assert worker.job("LOOK", user, guids["Work"]) == [["GONE"]]


def test_special_folders():
    """R-1.5: what the configuration says is for sent mail and so on"""
    uses = {"Posted": "Sent", "Half": "Drafts", "Bin": "Trash", "Rubbish": "Junk",
            "Old": "Archive"}
    extra = "namespace inbox {\n%s}\n" % "".join(
        "mailbox %s {\nspecial_use = \\%s\nauto = create\n}\n" % item for item in uses.items())
    server = Server.temporary("sdbox", extra=CHANNELS + extra)
    try:
        client = server.client("joe")
        for name in ("INBOX", *uses):
            client.ok("SELECT " + name)
        profile = Profile(server, "joe")
        profile.device("P1")
        profile.device("P2", notify="D")
        profile.write()
        with Worker(server) as worker:
            assert set(worker.folders("joe")) == {"INBOX", "Old"}
            guids = dict(line.rsplit(" guid=") for line in server.doveadm(
                "mailbox", "status", "-u", "joe", "guid", "*").splitlines())
            append(client, "Bin", "a")
            assert worker.look("joe", guids["Bin"]).devices == {}
            profile.folder("P2", guids["Bin"], "Bin", notify="A")
            profile.write()
            assert set(worker.folders("joe")) == {"INBOX", "Old", "Bin"}
            look = worker.look("joe", guids["Bin"])
            assert look.new("P2") == [1] and list(look.devices) == ["P2"]
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


PLUGINS = settings({"acl": "vfile", "zlib_save": "gz"}) if not DOVECOT_24 else """
acl_driver = vfile
mail_compress_write_method = gz
"""


def test_other_plugins():
    """Mail that a plugin has compressed is read; a folder that its owner may not read, or
    that only shows what is in others, keeps nothing else from being told."""
    virtual = """
namespace virtual {
  prefix = Virtual/
  separator = /
  %s
}
"""
    if DOVECOT_24:
        extra = "mail_plugins {\n%s}\n" % "".join(
            name + " = yes\n" for name in ("acl", "mail_compress", "virtual", "pimap"))
        virtual %= "mail_driver = virtual\n  mail_path = ~/virtual"
    else:
        extra = "mail_plugins = $mail_plugins acl zlib virtual\n"
        virtual %= "location = virtual:~/virtual"
    server = Server.temporary("sdbox", extra=CHANNELS + extra + PLUGINS + virtual)
    try:
        client = server.client("joe")
        client.ok("CREATE Closed")
        home = server.path + "/mail/joe"
        owner = os.stat(home)
        for path, text in (("sdbox/mailboxes/Closed/dbox-Mails/dovecot-acl", "owner l\n"),
                           ("virtual/All/dovecot-virtual", "INBOX\n  all\n")):
            os.makedirs(os.path.dirname(home + "/" + path), exist_ok=True)
            with open(home + "/" + path, "w") as file:
                file.write(text)
        for path in ("virtual", "virtual/All", "virtual/All/dovecot-virtual",
                     "sdbox/mailboxes/Closed/dbox-Mails/dovecot-acl"):
            os.chown(home + "/" + path, owner.st_uid, owner.st_gid)
        append(client, "INBOX", "yes" + 1000 * " yes")
        assert client.command("SELECT Closed").status == "NO"
        client.ok("SELECT Virtual/All")
        profile = Profile(server, "joe")
        profile.filters["body"] = 'BODY "body yes"'
        profile.device("P1", notify="Ubody")
        profile.write()
        with Worker(server) as worker:
            folders = worker.folders("joe")
            assert set(folders) == {"INBOX"}
            assert worker.look("joe", folders["INBOX"]).new("P1") == [1]
            assert worker.job("LOOK", "joe", 32 * "0") == [["GONE"]]
        server.close_clients()
        # 2.4 would have what is global in another place
        assert [line for line in server.faults() if " config: Warning: " not in line] == []
    finally:
        server.stop()


def test_baseline(user, worker, client, profile):
    append(client, "INBOX", "old", "old")
    inbox = worker.folders(user)["INBOX"]
    status = client.status("INBOX", "UIDVALIDITY UIDNEXT")
    profile.known("P1", inbox, 77, status["UIDVALIDITY"], 3)
    profile.write()
    append(client, "INBOX", "new")
    first = worker.look(user, inbox)
    assert first.new("P1") == [3]
    assert worker.look(user, inbox, first.states).new("P1") == []
    # of another generation: it has begun anew since
    append(client, "INBOX", "before", "after")
    profile.known("P1", inbox, 78, status["UIDVALIDITY"], 5)
    profile.write()
    look = worker.look(user, inbox, first.states)
    assert look.new("P1") == [5]
    assert worker.look(user, inbox, look.states).new("P1") == []
    # an older one as well
    assert worker.look(user, inbox, first.states).new("P1") == [5]


def test_went_back(user, worker, client, profile):
    append(client, "INBOX", "a", "b")
    inbox = worker.folders(user)["INBOX"]
    uidvalidity = client.status("INBOX", "UIDVALIDITY")["UIDVALIDITY"]
    now = worker.look(user, inbox).states["P1"]
    assert now.startswith("3:0:%d:3::::" % uidvalidity)
    for state in ("3:0:%d:4::::0:-:-" % uidvalidity, "3:0:%d:1::::0:-:-" % (uidvalidity + 1),
                  "3:0:%d:9:4:::0:-:-" % uidvalidity):
        look = worker.look(user, inbox, {"P1": state})
        (event, uid, when), = look.events["P1"]
        assert (event, uid) == ("STATE_COMPARISON_SYNC", 0)
        assert abs(when - time.time()) < 60
        assert look.states["P1"] == now
        assert worker.look(user, inbox, look.states).new("P1") == []
    # a baseline of another folder's life
    profile.known("P1", inbox, 5, uidvalidity - 1, 2)
    profile.write()
    look = worker.look(user, inbox)
    assert [event[0] for event in look.events["P1"]] == ["STATE_COMPARISON_SYNC"]


def test_event_filter(user, worker, client, profile):
    for value in ("ALL", "NEW", "NONE"):
        profile.device(value, event=value)
    profile.write()
    append(client, "INBOX", "a")
    inbox = worker.folders(user)["INBOX"]
    look = worker.look(user, inbox)
    assert {device: look.new(device) for device in ("ALL", "NEW", "NONE")} == {
        "ALL": [1], "NEW": [1], "NONE": []}
    # what came under NONE isn't told later
    profile.device("NONE", event="NEW")
    profile.write()
    append(client, "INBOX", "b")
    look = worker.look(user, inbox, look.states)
    assert all(look.new(device) == [2] for device in ("ALL", "NEW", "NONE"))


@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_many_events(user, worker, client, profile):
    profile.device("P2", notify="Uyes")
    profile.write()
    for first in range(0, 1000, 250):
        append(client, "INBOX", *["m%d" % (first + n) for n in range(250)])
    inbox = worker.folders(user)["INBOX"]
    assert worker.look(user, inbox).new("P1") == list(range(1, 1001))
    append(client, "INBOX", "yes")
    look = worker.look(user, inbox)
    (event, uid, _), = look.events["P1"]
    assert (event, uid) == ("SYNC", 0)
    assert look.new("P2") == [1001]
    append(client, "INBOX", "after")
    assert worker.look(user, inbox, look.states).new("P1") == [1002]


def mail_files(server, user):
    home = "%s/mail/%s" % (server.path, user.lower())
    return sorted(glob.glob(home + "/maildir/cur/*") +
                  glob.glob(home + "/sdbox/mailboxes/INBOX/**/u.*", recursive=True),
                  key=lambda path: os.stat(path).st_mtime_ns)


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["maildir", "sdbox"], indirect=True)
def test_unreadable_message(server, user, worker, client, profile):
    """R-1.10: it is told when it can be read, if it passes then"""
    profile.device("P1", notify="Ubody")
    profile.device("P2")
    profile.write()
    append(client, "INBOX", "yes", "yes 2", "no", "yes 4")
    client.ok("NOOP")
    paths = mail_files(server, user)
    assert len(paths) == 4
    for path in paths[1:3]:
        os.chmod(path, 0)
    inbox = worker.folders(user)["INBOX"]
    look = worker.look(user, inbox)
    # what needn't be read is told; sdbox may have to read the received date, too
    assert look.new("P1") == [1, 4]
    told = look.new("P2")
    assert told in ([1, 4], [1, 2, 3, 4])
    again = worker.look(user, inbox, look.states)
    assert again.new("P1") == []
    append(client, "INBOX", "yes 5")
    told += again.new("P2")
    look = worker.look(user, inbox, again.states)
    assert look.new("P1") == [5]
    told += look.new("P2")
    for path in paths[1:3]:
        os.chmod(path, 0o600)
    look = worker.look(user, inbox, look.states)
    assert look.new("P1") == [2]
    assert sorted(told + look.new("P2")) == [1, 2, 3, 4, 5]
    look = worker.look(user, inbox, look.states)
    assert look.new("P1") == []
    assert ":6::::" in look.states["P1"]
    # tried again three times
    os.chmod(paths[0], 0)
    looks = [worker.look(user, inbox)]
    append(client, "INBOX", "yes 6")
    for _ in range(5):
        looks.append(worker.look(user, inbox, looks[-1].states))
    os.chmod(paths[0], 0o600)
    looks.append(worker.look(user, inbox, looks[-1].states))
    assert [[event[:2] for event in each.events["P1"]] for each in looks] == [
        [("NEW_MESSAGE", uid) for uid in (2, 4, 5)], [("NEW_MESSAGE", 6)], [],
        [("SYNC", 0)], [], [], []]
    server.wait_for_log()
    assert all(any(path in line for path in paths[:3]) for line in server.faults()
               if "(%s)" % user.lower() in line)


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["maildir"], indirect=True)
def test_many_unreadable_messages(server, user, worker, client, profile):
    """More than a state notes: the device is told to look itself"""
    profile.device("P1", notify="Ubody")
    profile.write()
    append(client, "INBOX", *["yes %d" % n for n in range(110)])
    client.ok("NOOP")
    paths = mail_files(server, user)
    for path in paths[:100]:
        os.chmod(path, 0)
    inbox = worker.folders(user)["INBOX"]
    assert worker.look(user, inbox).new("P1") == list(range(101, 111))
    os.chmod(paths[100], 0)
    look = worker.look(user, inbox)
    (event, uid, _), = look.events["P1"]
    assert (event, uid) == ("SYNC", 0)
    assert worker.look(user, inbox, look.states).new("P1") == []
    # a hundred of which all but one are known
    os.chmod(paths[100], 0o600)
    known = worker.look(user, inbox)
    append(client, "INBOX", "yes 110")
    client.ok("NOOP")
    os.chmod(mail_files(server, user)[-1], 0)
    look = worker.look(user, inbox, known.states)
    (event, uid, _), = look.events["P1"]
    assert (event, uid) == ("SYNC", 0) and ":112::::" in look.states["P1"]


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_system_filter_is_taken_out(server, user, worker, client, profile):
    """The device isn't notified, and misses nothing; others are."""
    profile.device("P2", notify="Sgone")
    profile.write()
    append(client, "INBOX", "a")
    inbox = worker.folders(user)["INBOX"]
    before = len(server.faults())
    look = worker.look(user, inbox)
    again = worker.look(user, inbox, look.states)
    for each in (look, again):
        assert each.new("P2") == [] and each.states["P2"] == look.states["P2"]
    assert look.new("P1") == [1] and again.new("P1") == []
    server.wait_for_log()
    line, = server.faults()[before:]
    assert "pimap-worker(%s)" % user.lower() in line and "gone" in line and "P2" in line
    profile.device("P2", notify="Uyes")
    profile.write()
    append(client, "INBOX", "yes")
    assert worker.look(user, inbox, again.states).new("P2") == [2]


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_invalid_states(server, user, worker, client, profile):
    append(client, "INBOX", "a")
    inbox = worker.folders(user)["INBOX"]
    uidvalidity = client.status("INBOX", "UIDVALIDITY")["UIDVALIDITY"]
    for state in ("", "x", "2:0:%d:2:::" % uidvalidity, "4:0:%d:2::::0:-:-" % uidvalidity,
                  "3:0:%d:2:2:::0:-:-" % uidvalidity, "\t\n\r\x01"):
        before = len(server.faults())
        assert worker.look(user, inbox, {"P1": state}).new("P1") == [1]
    assert server.logs("The state of device P1 is invalid")
    # the states of devices that don't exist are nobody's business
    before = len(server.faults())
    assert list(worker.look(user, inbox, {"P9": "x"}).devices) == ["P1"]
    server.wait_for_log()
    assert len(server.faults()) == before


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_damaged_profile(server, user, worker, client, profile):
    append(client, "INBOX", "a")
    inbox = worker.folders(user)["INBOX"]
    profile.write(damage=b"x")
    before = len(server.faults())
    for job in (("FOLDERS", user), ("LOOK", user, inbox)):
        (word, reason), = worker.job(*job)
        assert word == "FAIL" and "damaged" in reason
    server.wait_for_log()
    assert len(server.faults()) == before + 2
    assert all("pimap-worker(%s)" % user.lower() in line for line in server.faults()[before:])
    profile.write()
    assert worker.look(user, inbox).new("P1") == [1]


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_damaged_folder(server, user, worker, client, profile):
    """Nothing of an answer that isn't whole; other folders are told of."""
    for name in ("INBOX", "Work", "Play", "Rest"):
        client.command("CREATE " + name)
        append(client, name, "a")
    guids = worker.folders(user)
    # others are listed before it
    name = [name for name in guids if name != "INBOX"][-1]
    folder = "%s/mail/%s/sdbox/mailboxes/%s/dbox-Mails" % (server.path, user.lower(), name)
    os.rename(folder, folder + ".away")
    for path in (folder, folder + "/dovecot.index.log"):
        os.mkdir(path)
        os.chown(path, os.stat(folder + ".away").st_uid, os.stat(folder + ".away").st_gid)
    (word, reason), = worker.job("FOLDERS", user)
    assert word == "FAIL" and name in reason
    (word, reason), = worker.job("LOOK", user, guids[name])
    assert word == "FAIL" and name in reason
    assert worker.look(user, guids["INBOX"]).new("P1") == [1]
    os.rmdir(folder + "/dovecot.index.log")
    os.rmdir(folder)
    os.rename(folder + ".away", folder)
    assert worker.look(user, guids[name]).new("P1") == [1]


@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_users(server, user, worker, client, profile):
    """Jobs of one user after the other, and more than one worker"""
    other = user + "2"
    second = server.client(other)
    second.ok("CREATE Work")
    profile2 = Profile(server, other)
    profile2.device("Q1")
    profile2.write()
    append(client, "INBOX", "a")
    append(second, "INBOX", "b", "c")
    with Worker(server) as worker2:
        for each in (worker, worker2, worker):
            guid, guid2 = each.folders(user)["INBOX"], each.folders(other)["INBOX"]
            assert each.look(user, guid).new("P1") == [1]
            assert each.look(other, guid2).new("Q1") == [1, 2]
            assert each.job("LOOK", other, guid) == [["GONE"]]
    # one after the other, though all were sent at once
    for name, guid in ((user, guid), (other, guid2), (user, guid)):
        worker.send("LOOK", name, guid)
    answers = [worker.answer() for _ in range(3)]
    assert answers[0][2:] == answers[2][2:] and [len(answer) for answer in answers] == [5, 6, 5]
    # a login name is no user
    answer, = worker.job("FOLDERS", user + "#P1")
    assert answer[0] in ("GONE", "FAIL")
    # without a profile
    third = server.client(user + "3")
    third.ok("SELECT INBOX")
    assert worker.folders(user + "3") == {}


def test_user_is_gone():
    """And one for whom pimap is off"""
    auth = """
passdb static {
  password = pass
}
userdb passwd-file {
  passwd_file_path = %s
}
""" if DOVECOT_24 else """
passdb {
  driver = static
  args = password=pass
}
userdb {
  driver = passwd-file
  args = %s
}
"""
    path = "/tmp/pimap-users.%d" % os.getpid()
    with open(path, "w") as file:
        file.write("joe::::::\njim:::::::userdb_pimap=no\n")
    os.chmod(path, 0o644)
    server = Server.temporary("sdbox", auth=auth % path, extra=CHANNELS)
    try:
        for user in ("joe", "jim"):
            client = server.client(user)
            append(client, "INBOX", "a")
            profile = Profile(server, user)
            profile.device("P1")
            profile.write()
        with Worker(server) as worker:
            assert worker.job("FOLDERS", "ann") == [["GONE"]]
            assert worker.job("LOOK", "ann", 32 * "0") == [["GONE"]]
            assert worker.job("FOLDERS", "jim") == [["GONE"]]
            inbox = worker.folders("joe")["INBOX"]
            assert worker.look("joe", inbox).new("P1") == [1]
            open(path, "w").close()
            # auth looks once a second whether the file has changed
            time.sleep(1.5)
            assert worker.job("LOOK", "joe", inbox) == [["GONE"]]
        server.close_clients()
        assert server.faults() == []
    finally:
        os.unlink(path)
        server.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_invalid_jobs(server, user, client, profile):
    """They end the connection, and nothing else."""
    guid = 32 * "0"
    for line in ("", "FOLDERS", "FOLDERS\t", "FOLDERS\tjoe\tx", "LOOK", "LOOK\tjoe",
                 "LOOK\tjoe\tx", "LOOK\tjoe\t" + guid[1:], "LOOK\tjoe\t%s\tP1" % guid,
                 "LOOK\tjoe\t%s\tP1\t3:0:1:1:\tP2" % guid, "folders\tjoe", "SLEEP\tjoe",
                 "LOOK\tjoe\t%s\tP1\t%s" % (guid, 1024*1024 * "x")):
        with Worker(server) as worker:
            try:
                worker.sock.sendall(line.encode() + b"\n")
                assert worker.file.readline() == "", line[:80]
            except (BrokenPipeError, ConnectionResetError):
                pass
    for version in ("VERSION\tpimap-worker\t2\t0\n", "VERSION\tindexer\t1\t0\n",
                    "FOLDERS\tjoe\n"):
        worker = Worker(server, version)
        try:
            worker.send("FOLDERS", user)
            rest = worker.file.read()
        except (BrokenPipeError, ConnectionResetError):
            rest = ""
        assert "OK" not in rest
        worker.close()
    with Worker(server) as worker:
        assert set(worker.folders(user)) == {"INBOX"}


@pytest.mark.parametrize("server", ["sdbox", "maildir"], indirect=True)
def test_long_job(user, worker, client, profile):
    """As many devices as fit into a line"""
    append(client, "INBOX", "a")
    inbox = worker.folders(user)["INBOX"]
    states = {"d%d" % n: "3:0:1:%d::::0:-:-" % n for n in range(30000)}
    states["P1"] = "3:0:%d:1::::0:-:-" % client.status("INBOX", "UIDVALIDITY")["UIDVALIDITY"]
    assert worker.look(user, inbox, states).new("P1") == [1]


def test_told_once(server, user, worker, client, profile):
    """Whatever is done between looks: each message that passes is told exactly once,
    if it is there at a look and passes at the first one of those."""
    rng = random.Random(user)
    profile.device("P1", view="Uyes", notify="Ubody")
    profile.device("P2", notify="Uunseen")
    profile.device("P3")
    profile.write()
    inbox = worker.folders(user)["INBOX"]
    looks, told, states = 0, {}, {}
    judged, expected = {"P1": 1, "P2": 1, "P3": 1}, {"P1": set(), "P2": set(), "P3": set()}
    mail = {}
    next_uid = 1
    for _ in range(120):
        action = rng.random()
        if action < 0.45:
            subjects = [rng.choice(("yes", "no", "yes loud", "nothing"))
                        for _ in range(rng.randint(1, 3))]
            if rng.random() < 0.3:
                subjects = subjects[:1]
                lmtp(server, user, message(subjects[0].encode()))
            else:
                append(client, "INBOX", *subjects)
            for subject in subjects:
                mail[next_uid] = {"subject": subject, "seen": False}
                next_uid += 1
        elif action < 0.6 and mail:
            uid = rng.choice(list(mail))
            mail[uid]["seen"] = rng.random() < 0.7
            client.ok("NOOP")
            client.ok("UID STORE %d %sFLAGS (\\Seen)" % (uid, "+" if mail[uid]["seen"] else "-"))
        elif action < 0.7 and mail:
            uid = rng.choice(list(mail))
            client.ok("NOOP")
            client.ok("UID STORE %d +FLAGS (\\Deleted)" % uid)
            client.ok("EXPUNGE")
            del mail[uid]
        else:
            looks += 1
            if rng.random() < 0.1:
                # its answer was lost
                worker.look(user, inbox, states)
            look = worker.look(user, inbox, states)
            states = look.states
            for device in expected:
                for uid in look.new(device):
                    assert (device, uid) not in told, (device, uid)
                    told[device, uid] = looks
                for uid in range(judged[device], next_uid):
                    if uid in mail and {
                            "P1": "yes" in mail[uid]["subject"],
                            "P2": not mail[uid]["seen"], "P3": True}[device]:
                        expected[device].add(uid)
                judged[device] = next_uid
                assert {uid for name, uid in told if name == device} == expected[device]
    assert looks > 10 and all(expected.values())


def test_told_once_while_mail_comes(server, user, worker, client, profile):
    """Looks beside deliveries: each message is told exactly once."""
    inbox = worker.folders(user)["INBOX"]
    turns = 40

    def deliver():
        for turn in range(turns):
            lmtp(server, user, message(b"%d" % turn))

    def save():
        other = server.client(user)
        for turn in range(turns):
            append(other, "INBOX", *["a"] * (1 + turn % 3))
    threads = [threading.Thread(target=target) for target in (deliver, save)]
    for thread in threads:
        thread.start()
    told, states, looks = [], {}, 0
    while any(thread.is_alive() for thread in threads):
        look = worker.look(user, inbox, states)
        told += look.new("P1")
        states = look.states
        looks += bool(look.events["P1"])
    for thread in threads:
        thread.join()
    told += worker.look(user, inbox, states).new("P1")
    client.ok("NOOP")
    assert looks > 2 and told == client.fetch_all() and len(told) > 2 * turns


def zone_elsewhere():
    """A time zone in which it is morning or evening, and another one than UTC's"""
    for hours in list(range(1, 13)) + list(range(-11, 0)):
        zone = zoneinfo.ZoneInfo("Etc/GMT%+d" % -hours)
        now = datetime.datetime.now(zone)
        if now.hour in (6, 18):
            return zone, now.replace(hour=0, minute=0, second=0)
    raise AssertionError("there is none")


def test_settings():
    """The time zone, and defaults with a filter of the configuration"""
    zone, midnight = zone_elsewhere()
    extra = settings({"pimap_timezone": zone.key, "pimap_default_notification": "today",
                      "pimap_default_event": "ALL"})
    if DOVECOT_24:
        extra += "pimap_filter today {\n  criteria = DAYSBEFORETODAY 0\n}\n"
    else:
        extra += "plugin {\n  pimap_filter_today = DAYSBEFORETODAY 0\n}\n"
    server = Server.temporary("sdbox", extra=CHANNELS + extra)
    try:
        client = server.client("joe")
        for seconds in (-60, 60):
            when = midnight + datetime.timedelta(seconds=seconds)
            client.ok('APPEND INBOX "%s" {1+}\r\nx' % when.strftime("%d-%b-%Y %H:%M:%S %z"))
        profile = Profile(server, "joe")
        profile.device("P1", notify="D")
        profile.device("P2", notify="D", event="NONE")
        profile.write()
        with Worker(server) as worker:
            look = worker.look("joe", worker.folders("joe")["INBOX"])
            assert look.new("P1") == [2] and look.new("P2") == []
            assert look.events["P1"][0][2] == int(midnight.timestamp()) + 60
        server.close_clients()
        assert [line for line in server.faults() if " config: Warning: " not in line] == []
    finally:
        server.stop()
