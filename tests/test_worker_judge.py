# SPDX-License-Identifier: LGPL-2.1-only
"""pimap-worker: what of queued notifications still passes (R-1.7)."""

import os

import pytest

from conftest import Server
from test_worker import CHANNELS, append, client, mail_files, profile, worker  # noqa: F401
from worker_client import Worker

NEW, CHANGED, DELETED = "NEW_MESSAGE", "CHANGED_MESSAGE", "DELETED_MESSAGE"
SYNC, FULL, WENT_BACK = "SYNC", "FULL_SYNC", "STATE_COMPARISON_SYNC"


@pytest.fixture(scope="module", params=["maildir", "sdbox", "mdbox"])
def server(request):
    server = Server.temporary(request.param, extra=CHANNELS)
    yield server
    server.stop()


class Judge:
    def __init__(self, worker, user, guid, device="P1"):
        self.worker, self.user, self.guid, self.device = worker, user, guid, device
        self.times = {}

    def look(self, states=None):
        look = self.worker.look(self.user, self.guid, states)
        for event, uid, received in look.events[self.device]:
            self.times[uid] = received
        return look

    def fields(self, rows):
        for generation, event, uid in rows:
            yield from (str(generation), event, str(uid), str(self.times.get(uid, 1)))

    def job(self, *rows):
        return self.worker.job("JUDGE", self.user, self.guid, self.device, *self.fields(rows))

    def verdicts(self, *rows):
        """None: the device isn't told of the folder."""
        first, last = self.job(*rows)
        assert last == ["OK"] and first[0] == "JUDGED"
        self.generation = int(first[1])
        if len(first) == 2:
            return None
        self.channel, self.address, self.format, verdicts = first[2:]
        assert len(verdicts) == len(rows)
        return verdicts


@pytest.fixture
def judge(user, worker, profile, client):  # noqa: F811
    return Judge(worker, user, worker.folders(user)["INBOX"])


def test_new_messages(judge, profile, client):  # noqa: F811
    """By both filters; a message that has gone can't be judged"""
    append(client, "INBOX", "yes", "loud", "yes loud", "no")
    judge.look()
    rows = [(101, NEW, uid) for uid in (1, 2, 3, 4)]
    assert judge.verdicts(*rows) == "1111"
    assert (judge.generation, judge.channel, judge.address, judge.format) == (
        101, "MAIL", "joe@peer.example", "EMN")
    for view, notify, verdicts in (("A", "Uyes", "1010"), ("Uyes", "A", "1010"),
                                   ("Uyes", "Uloud", "0010"), ("A", "Uunseen", "1111")):
        profile.device("P1", view=view, notify=notify, address="other@peer.example")
        profile.write()
        assert judge.verdicts(*rows) == verdicts
        assert judge.generation == profile.generation
        assert judge.address == "other@peer.example"
    # by the message as it is now
    client.ok("UID STORE 2 +FLAGS (\\Seen)")
    assert judge.verdicts(*rows) == "1011"
    client.ok("UID STORE 1 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    assert judge.verdicts(*rows) == "0011"
    # what this generation has judged isn't judged again
    rows[0] = (profile.generation, NEW, 1)
    assert judge.verdicts(*rows) == "1011"
    # another message by that UID: the folder went back
    judge.times[3] -= 1
    assert judge.verdicts(*rows) == "1001"
    profile.device("P1", event="NONE")
    profile.write()
    assert judge.verdicts(*rows) == "0000"
    profile.device("P1", event="ALL")
    profile.write()
    assert judge.verdicts(*rows) == "0101"


def test_changes(judge, profile, client):  # noqa: F811
    """Changes and deletions pass as long as the device is told of such; a deletion of what
    the filters let through now would tell of nothing."""
    profile.device("P1", notify="Uunseen", event="ALL")
    profile.write()
    append(client, "INBOX", "a", "b", "c")
    look = judge.look()
    client.ok("UID STORE 1 +FLAGS (\\Flagged)")
    client.ok("UID STORE 2 +FLAGS (\\Seen)")
    client.ok("UID STORE 3 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    look = judge.look(look.states)
    assert [event[:2] for event in look.events["P1"]] == [
        (CHANGED, 1), (DELETED, 2), (DELETED, 3)]
    rows = [(102, event, uid) for event, uid in
            ((CHANGED, 1), (DELETED, 2), (DELETED, 3), (CHANGED, 3), (NEW, 2))]
    profile.device("P1", notify="Uunseen", event="ALL", address="x@peer.example")
    profile.write()
    assert judge.verdicts(*rows) == "11100"
    profile.device("P1", notify="A", event="ALL")
    profile.write()
    assert judge.verdicts(*rows) == "10101"
    for event, verdicts in (("NEW", "00001"), ("NONE", "00000")):
        profile.device("P1", notify="A", event=event)
        profile.write()
        assert judge.verdicts(*rows) == verdicts
    profile.device("P1", notify="N", event="ALL")
    profile.write()
    assert judge.verdicts(*rows) is None


def test_of_no_message(judge, profile, client):  # noqa: F811
    rows = [(101, event, 0) for event in (SYNC, FULL, WENT_BACK)]
    profile.device("P1", notify="Uyes")
    profile.write()
    assert judge.verdicts(*rows) == "111"
    profile.device("P1", event="NONE")
    profile.write()
    assert judge.verdicts(*rows) == "000"
    for device in ({"notify": "N"}, {"channel": None}):
        profile.device("P1", **device)
        profile.write()
        assert judge.verdicts(*rows) is None
    # of one folder only
    profile.folder("P1", judge.guid, "INBOX", notify="A")
    profile.write()
    assert judge.verdicts(*rows) is None
    profile.device("P1", notify="N")
    profile.folder("P1", judge.guid, "INBOX", notify="A")
    profile.write()
    assert judge.verdicts(*rows) == "111"
    del profile.devices["P1"]
    profile.write()
    assert judge.verdicts(*rows) is None


def test_of_several_folders(judge, profile, client, worker, user):  # noqa: F811
    """They pass as long as some folder notifies that did then; the administrator's test
    as long as there is a channel."""
    inbox, judge.guid = judge.guid, ""
    rows = [(101, event, 0) for event in (SYNC, FULL, WENT_BACK)] + [(101, NEW, 1)]
    profile.device("P1", notify="Uyes")
    profile.write()
    assert judge.verdicts(*rows) == "1110"
    profile.device("P1", event="NONE")
    profile.write()
    assert judge.verdicts(*rows) == "1000"
    profile.device("P1", notify="N")
    profile.write()
    assert judge.verdicts(*rows) == "1000"
    profile.folder("P1", inbox, "INBOX", notify="A")
    profile.write()
    assert judge.verdicts(*rows) == "1110"
    profile.known("P1", inbox, 101, 1, 1)
    profile.write()
    assert judge.verdicts(*rows) == "1110"
    profile.known("P1", inbox, 102, 1, 1)
    profile.write()
    assert judge.verdicts(*rows) == "1000"
    profile.device("P1", channel=None)
    profile.write()
    assert judge.verdicts(*rows) is None


def test_folder_begins_anew(judge, profile, client):  # noqa: F811
    """What was found before is in the baseline, whatever the filter says."""
    append(client, "INBOX", "a", "b")
    judge.look()
    uidvalidity = client.status("INBOX", "UIDVALIDITY")["UIDVALIDITY"]
    generation = profile.generation
    rows = [(generation, NEW, 1), (generation + 1, NEW, 2), (generation, SYNC, 0)]
    profile.known("P1", judge.guid, generation, uidvalidity, 1)
    profile.write()
    profile.write()
    assert judge.verdicts(*rows) == "111"
    profile.known("P1", judge.guid, generation + 1, uidvalidity, 1)
    profile.write()
    assert judge.verdicts(*rows) == "010"


def test_folder_or_user_is_gone(judge, profile, client, worker, user):  # noqa: F811
    client.ok("CREATE Work")
    guid = worker.folders(user)["Work"]
    judge.guid = guid
    rows = [(1, SYNC, 0)]
    assert judge.verdicts(*rows) == "1"
    client.ok("DELETE Work")
    assert judge.job(*rows) == [["GONE"]]
    # its generation is asked for without a look
    assert judge.verdicts() == "" and judge.generation == profile.generation
    assert judge.verdicts((profile.generation, NEW, 1)) == "1"


# in an mdbox a message is no file of its own
@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["maildir", "sdbox"], indirect=True)
def test_unreadable_message(server, judge, profile, client, user):  # noqa: F811
    """It can't be known whether it passes, that of others can."""
    append(client, "INBOX", "yes", "no", "yes 3")
    judge.look()
    profile.device("P1", notify="Ubody")
    profile.write()
    path = mail_files(server, user)[0]
    os.chmod(path, 0)
    rows = [(1, NEW, 1), (1, NEW, 2), (1, NEW, 3)]
    assert judge.verdicts(*rows) == "201"
    os.chmod(path, 0o600)
    assert judge.verdicts(*rows) == "101"


@pytest.mark.expects_faults
@pytest.mark.parametrize("fields", [
    ("P1", "1", NEW, "1"), ("P1", "1", NEW, "x", "1"), ("P1", "x", NEW, "1", "1"),
    ("P1", "1", NEW, "0", "1"), ("P1", "1", NEW, "-1", "1"), ("P1", "1", SYNC, "0", ""),
    ()], ids=str)
def test_jobs_that_are_none(server, user, fields):
    with Worker(server) as worker:
        worker.send("JUDGE", "joe", "0" * 31 + "1", *fields)
        line = worker.file.readline()
        assert line == "" or line.startswith("FAIL\t")
