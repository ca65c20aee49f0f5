# SPDX-License-Identifier: LGPL-2.1-only
"""Failures of other software in what views do too: a flag search that trusts
counts which are older than the flags, and VANISHED that leaves out, invents or
names nobody."""

import contextlib
import re
import threading

import pytest

from imap_client import Client, parse_set
from model_truth import found_by
from modseq_client import ModseqClient, resync_parameter

JOE = b"From: Joe <joe@example.org>\r\nSubject: %d\r\n\r\nbody\r\n"
ANN = b"From: Ann <ann@example.org>\r\nSubject: %d\r\n\r\nbody\r\n"


def fill(server, user, senders):
    """A plain session that has selected INBOX, with a message of each"""
    plain = server.client(user)
    plain.append("INBOX", [octets % n for n, octets in enumerate(senders, 1)])
    plain.ok("SELECT INBOX")
    return plain


def device(server, user, criteria=None, qresync=False):
    client = ModseqClient(server.port, user + "#P1")
    server.clients.append(client)
    if criteria is not None:
        client.ok("XFILTER SET F NIL (%s)" % criteria)
        client.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F)")
    if qresync:
        client.ok("ENABLE QRESYNC")
    return client


def gone(results):
    """What EXPUNGE and VANISHED said, without the tags' results"""
    return [r.line for result in results for r in result.untagged
            if re.match(r"\* (\d+ EXPUNGE|VANISHED)", r.line)]


@contextlib.contextmanager
def storm(server, user, *commands):
    """A plain session that gives the commands again and again"""
    end, failed = threading.Event(), []

    def run():
        try:
            client = Client(server.port, user)
            client.ok("SELECT INBOX")
            while not end.is_set():
                for command in commands:
                    client.ok(command)
            client.logout()
        except Exception as error:  # to be raised where it is seen
            failed.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    assert failed == []


def delete_pipelined(plain, client, uid, qresync):
    """STORE, SEARCH and UID EXPUNGE in one packet"""
    client.fetch_all()
    assert uid in client.uids
    number = client.uids.index(uid) + 1
    client.messages[number - 1].flags.add("\\Deleted")
    results = client.pipeline([
        "UID STORE %d +FLAGS.SILENT (\\Deleted)" % uid, "UID SEARCH DELETED",
        "UID EXPUNGE %d" % uid])
    assert [r.status for r in results] == ["OK", "OK", "OK"]
    assert found_by(results) == [{uid}]
    assert gone(results) == ["* VANISHED %d" % uid if qresync else
                             "* %d EXPUNGE" % number]
    plain.ok("NOOP")
    assert plain.search("UID %d" % uid) == []


# UID 2 is hidden in both, and deleted: it must neither be found nor go
SENDERS = [JOE, ANN, ANN, JOE, JOE, JOE, ANN, JOE, JOE, JOE]


@pytest.mark.parametrize("qresync", [False, True], ids=["expunge", "vanished"])
@pytest.mark.parametrize("criteria", ["UNDELETED", "FROM joe"])
def test_delete_and_expunge_in_one_packet(server, user, criteria, qresync):
    plain = fill(server, user, SENDERS)
    plain.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)")
    client = device(server, user, criteria, qresync)
    client.ok("SELECT INBOX")
    delete_pipelined(plain, client, 5, qresync)
    # others have changed something that the device hasn't been told of
    plain.ok("UID STORE 1,4 +FLAGS.SILENT (\\Seen)")
    delete_pipelined(plain, client, 8, qresync)
    plain.ok("UID STORE 3 +FLAGS.SILENT (\\Deleted)")
    plain.ok("UID STORE 3 -FLAGS.SILENT (\\Deleted)")
    delete_pipelined(plain, client, 6, qresync)
    with storm(server, user, "NOOP"):
        for uid in (9, 1):
            delete_pipelined(plain, client, uid, qresync)
    with storm(server, user, "UID STORE 7 +FLAGS (\\Seen)", "UID STORE 7 FLAGS ()"):
        for uid in (10, 4):
            delete_pipelined(plain, client, uid, qresync)
    assert plain.search("ALL") == [2, 3, 7]
    assert plain.search("DELETED") == [2]


def earlier(result):
    """UIDs that VANISHED (EARLIER) names: never a set that is empty or has a 0"""
    uids = set()
    for line in result.lines("* VANISHED (EARLIER)"):
        ranges = parse_set(line.split()[3])
        assert ranges and all(1 <= first <= last for first, last in ranges), line
        uids |= {n for first, last in ranges for n in range(first, last + 1)}
    return uids


def knows(server, user, criteria=None):
    """A device that knows all that it sees, and what it may come back with"""
    client = device(server, user, criteria, qresync=True)
    client.ok("SELECT INBOX")
    client.fetch_all()
    # whoever comes back from before the view's first use is told all that is hidden
    client.ok("UID STORE 2 +FLAGS (\\Answered)")
    return client, client.cache()


def coming_back(server, user, client, cache):
    """When the client is gone: what VANISHED (EARLIER) names in SELECT, and in UID
    FETCH of a session that has just selected the folder"""
    client.ok("UNSELECT")
    client = device(server, user, qresync=True)
    told = earlier(client.ok("SELECT INBOX" + resync_parameter(cache)))
    client.fetch_all()
    assert told.isdisjoint(client.uids)
    assert cache.flags.keys() - told <= set(client.uids)
    fetched = earlier(client.ok("UID FETCH 1:* (UID) (CHANGEDSINCE %d VANISHED)" %
                                cache.modseq))
    assert fetched == told
    client.logout()
    return told


NINE = [JOE] * 7 + [ANN] * 2


def test_vanished_above_the_last_visible(server, user):
    """7, the last visible one, leaves by a flag, and the hidden 9 is expunged."""
    plain = fill(server, user, NINE)
    client, cache = knows(server, user, "FROM joe UNFLAGGED")
    assert client.uids == [1, 2, 3, 4, 5, 6, 7]
    plain.ok("UID STORE 7 +FLAGS.SILENT (\\Flagged)")
    plain.ok("UID STORE 9 +FLAGS.SILENT (\\Deleted)")
    plain.ok("UID EXPUNGE 9")
    result = client.ok("UID FETCH 1:* (UID) (CHANGEDSINCE %d VANISHED)" % cache.modseq)
    assert 7 in earlier(result) or "* VANISHED 7" in gone([result])
    client.ok("NOOP")
    client.fetch_all()
    assert client.uids == [1, 2, 3, 4, 5, 6]
    result = client.ok("UID FETCH 1:* (UID) (CHANGEDSINCE %d VANISHED)" % cache.modseq)
    assert 7 in earlier(result)
    assert 7 in coming_back(server, user, client, cache)


@pytest.mark.parametrize("command", [
    "UID STORE 1 +FLAGS.SILENT (\\Flagged)", "UID EXPUNGE 1"], ids=["flag", "expunge"])
def test_vanished_of_uid_1(server, user, command):
    plain = fill(server, user, NINE)
    plain.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)")
    client, cache = knows(server, user, "FROM joe UNFLAGGED")
    plain.ok(command)
    assert gone([client.ok("NOOP")]) == ["* VANISHED 1"]
    result = client.ok("UID FETCH 1:* (UID) (CHANGEDSINCE %d VANISHED)" % cache.modseq)
    assert earlier(result) == {1}
    assert coming_back(server, user, client, cache) == {1}


def test_vanished_of_hidden_ones_only(server, user):
    """A view may name them or not, but never nobody, and not as EXPUNGE."""
    plain = fill(server, user, NINE)
    client, cache = knows(server, user, "FROM joe UNFLAGGED")
    plain.ok("UID STORE 8:9 +FLAGS.SILENT (\\Deleted)")
    plain.ok("UID EXPUNGE 8:9")
    result = client.ok("UID FETCH 1:* (UID) (CHANGEDSINCE %d VANISHED)" % cache.modseq)
    assert earlier(result) <= {8, 9}
    assert gone([result, client.ok("NOOP")]) in ([], ["* VANISHED (EARLIER) 8:9"])
    client.fetch_all()
    assert client.uids == [1, 2, 3, 4, 5, 6, 7]
    assert coming_back(server, user, client, cache) <= {8, 9}


@pytest.mark.parametrize("qresync", [False, True], ids=["expunge", "vanished"])
@pytest.mark.parametrize("command", [
    "UID STORE 2 +FLAGS.SILENT (\\Flagged)", "UID EXPUNGE 2"], ids=["flag", "expunge"])
def test_last_visible_leaves_in_idle(server, user, command, qresync):
    """EXPUNGE or VANISHED alone, no EXISTS: there are programs that begin anew at
    0 EXISTS, again and again."""
    plain = fill(server, user, [ANN, JOE, ANN])
    plain.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)")
    client = device(server, user, "FROM joe UNFLAGGED", qresync)
    client.ok("SELECT INBOX")
    client.fetch_all()
    assert client.uids == [2]
    client.idle()
    plain.ok(command)
    line = client.wait(r"EXPUNGE|VANISHED").line
    assert line == ("* VANISHED 2" if qresync else "* 1 EXPUNGE")
    result = client.done()
    assert [r.line for r in result.untagged if not r.line.startswith("* OK ")] == [line]
    assert client.ok("NOOP").untagged == []
    assert client.messages == []
