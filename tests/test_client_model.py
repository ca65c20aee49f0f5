# SPDX-License-Identifier: LGPL-2.1-only
"""The judge judged: a server that breaks one rule at a time."""

import contextlib
import socket
import threading
import time

import pytest

import imap_client
from imap_client import Client, ModelError, Response, parse

# Each exchange is a command (or several, one a line, sent in one packet) and
# what the server sends when it has read it. @ is the command's tag, of several
# the tags are @1, @2...
SELECT = ("SELECT INBOX", """\
* FLAGS (\\Seen \\Answered)
* 5 EXISTS
* 2 RECENT
* OK [UIDVALIDITY 9] valid
* OK [UIDNEXT 60] next
@ OK [READ-WRITE] done""")
OPEN = [SELECT, ("FETCH 1:* (UID FLAGS)", """\
* 1 FETCH (UID 10 FLAGS ())
* 2 FETCH (UID 20 FLAGS (\\Seen))
* 3 FETCH (UID 30 FLAGS ())
* 4 FETCH (UID 40 FLAGS ())
* 5 FETCH (UID 50 FLAGS ())
@ OK done""")]
QRESYNC = [("ENABLE QRESYNC", "* ENABLED QRESYNC\n@ OK done")]


class Fake:
    """Answers each line that it reads with the script's next part."""

    def __init__(self):
        self.sock, self.peer = socket.socketpair()
        self.script = []
        self.sock.sendall(b"* OK hello\r\n")
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(OSError), self.sock.makefile("rb") as lines:
            for _ in lines:
                self.sock.sendall(self.script.pop(0))


def play(exchanges):
    """Returns the client, and the Results of the last exchange."""
    fake = Fake()
    client = Client(None, sock=fake.peer)
    results = []
    try:
        for command, reply in exchanges:
            commands = command.split("\n")
            for number in range(len(commands), 0, -1):
                tag = "t%d" % (client.tag + number)
                reply = reply.replace("@%d" % number, tag)
            reply = reply.replace("@", "t%d" % (client.tag + (command != "DONE")))
            reply = "".join(line + "\r\n" for line in reply.split("\n"))
            fake.script += [b""] * (len(commands) - 1) + [reply.encode()]
            if command == "IDLE":
                client.idle()
            elif command == "DONE":
                results = [client.done()]
            else:
                results = client.pipeline(commands)
        # what the last reply was followed by
        client._read_unasked()
        return client, results
    finally:
        fake.peer.close()
        fake.thread.join(5)
        fake.sock.close()


FAULTS = {
    "EXISTS shrinks": OPEN + [("NOOP", "* 4 EXISTS\n@ OK")],
    "EXISTS shrinks after EXPUNGE": OPEN + [
        ("NOOP", "* 1 EXPUNGE\n* 3 EXISTS\n@ OK")],
    "needless * 0 EXISTS": [
        ("SELECT INBOX", "* 1 EXISTS\n* 0 RECENT\n@ OK"),
        ("NOOP", "* 1 EXPUNGE\n* 0 EXISTS\n@ OK")],
    "EXISTS with no mailbox": [("NOOP", "* 1 EXISTS\n@ OK")],
    "EXPUNGE with no mailbox": [("NOOP", "* 1 EXPUNGE\n@ OK")],
    "FETCH after CLOSE": OPEN + [
        ("CLOSE", "@ OK"), ("NOOP", "* 1 FETCH (FLAGS ())\n@ OK")],
    "FETCH after UNSELECT": OPEN + [
        ("UNSELECT", "@ OK"), ("NOOP", "* 1 FETCH (FLAGS ())\n@ OK")],
    "FETCH after a failed SELECT": OPEN + [
        ("SELECT x", "@ NO"), ("NOOP", "* 1 FETCH (FLAGS ())\n@ OK")],
    "FETCH of the old mailbox in SELECT": OPEN + [
        ("SELECT INBOX", "* OK [CLOSED] c\n* 1 FETCH (FLAGS ())\n@ OK")],
    "SELECT without EXISTS": [("SELECT INBOX", "* FLAGS ()\n@ OK")],
    "RECENT above EXISTS": OPEN + [("NOOP", "* 6 RECENT\n@ OK")],
    "RECENT above EXISTS in SELECT": [
        ("EXAMINE INBOX", "* 3 RECENT\n* 2 EXISTS\n@ OK")],
    "RECENT above EXISTS after EXPUNGE": OPEN + [
        ("NOOP", "* 1 EXPUNGE\n* 5 RECENT\n@ OK")],
    "EXPUNGE out of range": OPEN + [("NOOP", "* 6 EXPUNGE\n@ OK")],
    "EXPUNGE 0": OPEN + [("NOOP", "* 0 EXPUNGE\n@ OK")],
    "EXPUNGEs that don't fit": OPEN + [
        ("NOOP", "* 5 EXPUNGE\n* 5 EXPUNGE\n@ OK")],
    "FETCH out of range": OPEN + [("NOOP", "* 6 FETCH (FLAGS ())\n@ OK")],
    "EXPUNGE in FETCH": OPEN + [("FETCH 1 FLAGS", "* 1 EXPUNGE\n@ OK")],
    "EXPUNGE in STORE": OPEN + [("STORE 1 +FLAGS (x)", "* 1 EXPUNGE\n@ OK")],
    "EXPUNGE in SEARCH": OPEN + [("SEARCH ALL", "* 1 EXPUNGE\n@ OK")],
    "EXPUNGE in SORT": OPEN + [("SORT (DATE) x ALL", "* 1 EXPUNGE\n@ OK")],
    "EXPUNGE in THREAD": OPEN + [("THREAD REFS x ALL", "* 1 EXPUNGE\n@ OK")],
    "EXPUNGE in a pipelined FETCH": OPEN + [
        ("NOOP\nFETCH 1 FLAGS", "@1 OK\n* 1 EXPUNGE\n@2 OK")],
    "EXPUNGE while no command is": OPEN + [("NOOP", "@ OK\n* 1 EXPUNGE")],
    "VANISHED while no command is": QRESYNC + OPEN + [
        ("NOOP", "@ OK\n* VANISHED 10")],
    "VANISHED in FETCH": QRESYNC + OPEN + [("FETCH 1 FLAGS", "* VANISHED 10\n@ OK")],
    "VANISHED in STORE": QRESYNC + OPEN + [("STORE 1 FLAGS x", "* VANISHED 10\n@ OK")],
    "VANISHED without ENABLE": OPEN + [("NOOP", "* VANISHED 10\n@ OK")],
    "VANISHED (EARLIER) without ENABLE": OPEN + [
        ("UID FETCH 1:* FLAGS", "* VANISHED (EARLIER) 9\n@ OK")],
    "EXPUNGE after ENABLE": QRESYNC + OPEN + [("NOOP", "* 1 EXPUNGE\n@ OK")],
    "VANISHED of nothing": QRESYNC + OPEN + [("NOOP", "* VANISHED \n@ OK")],
    "VANISHED 0:1": QRESYNC + OPEN + [("NOOP", "* VANISHED 0:10\n@ OK")],
    "VANISHED of no set": QRESYNC + OPEN + [("NOOP", "* VANISHED 1:*\n@ OK")],
    "VANISHED in a gap": QRESYNC + OPEN + [("NOOP", "* VANISHED 10:11\n@ OK")],
    "VANISHED of a gone one": QRESYNC + OPEN + [
        ("NOOP", "* VANISHED 10\n* VANISHED 10\n@ OK")],
    "VANISHED of too many": QRESYNC + [SELECT] + [("NOOP", "* VANISHED 10:15\n@ OK")],
    "VANISHED above all known": QRESYNC + OPEN + [("NOOP", "* VANISHED 70\n@ OK")],
    "VANISHED of new ones that are old": QRESYNC + [SELECT] + [
        ("NOOP", "* VANISHED 70\n@ OK")],
    "VANISHED (EARLIER) of one that exists": QRESYNC + OPEN + [
        ("UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)",
         "* VANISHED (EARLIER) 1:10\n@ OK")],
    "VANISHED (EARLIER) in NOOP": QRESYNC + OPEN + [
        ("NOOP", "* VANISHED (EARLIER) 11\n@ OK")],
    "a message's UID changes": OPEN + [("NOOP", "* 1 FETCH (UID 11)\n@ OK")],
    "a UID after EXPUNGE of another": OPEN + [
        ("NOOP", "* 1 EXPUNGE\n* 1 FETCH (UID 10)\n@ OK")],
    "a UID twice": OPEN[:1] + [
        ("FETCH 1:2 UID", "* 1 FETCH (UID 3)\n* 2 FETCH (UID 3)\n@ OK")],
    "UIDs fall": OPEN[:1] + [
        ("FETCH 1:* UID", "* 4 FETCH (UID 9)\n* 2 FETCH (UID 12)\n@ OK")],
    "no UIDs left for those between": OPEN[:1] + [
        ("FETCH 1:* UID", "* 1 FETCH (UID 3)\n* 4 FETCH (UID 5)\n@ OK")],
    "no UIDs left for those before": OPEN[:1] + [
        ("FETCH 1:* UID", "* 4 FETCH (UID 3)\n@ OK")],
    "UID 0": [("SELECT x", "* 1 EXISTS\n@ OK"), ("NOOP", "* 1 FETCH (UID 0)\n@ OK")],
    "a new message below UIDNEXT": OPEN + [
        ("NOOP", "* 6 EXISTS\n* 6 FETCH (UID 59)\n@ OK")],
    "an old message above UIDNEXT": OPEN[:1] + [
        ("NOOP", "* 5 FETCH (UID 60)\n@ OK")],
    "UIDNEXT falls": OPEN + [
        ("SELECT INBOX", "* 5 EXISTS\n* OK [UIDVALIDITY 9] v\n"
         "* OK [UIDNEXT 59] n\n@ OK")],
    "UIDVALIDITY changes": OPEN + [("NOOP", "* OK [UIDVALIDITY 10] v\n@ OK")],
    "SEARCH out of range": OPEN + [("SEARCH ALL", "* SEARCH 1 6\n@ OK")],
    "SEARCH 0": OPEN + [("SEARCH ALL", "* SEARCH 0\n@ OK")],
    "SEARCH names one twice": OPEN + [("SEARCH ALL", "* SEARCH 1 1\n@ OK")],
    "SEARCH of no number": OPEN + [("SEARCH ALL", "* SEARCH 1 x\n@ OK")],
    "SEARCH that nobody asked for": OPEN + [("NOOP", "* SEARCH 1\n@ OK")],
    "UID SEARCH of an unknown one": OPEN + [("UID SEARCH ALL", "* SEARCH 10 11\n@ OK")],
    "UID SEARCH of numbers": OPEN + [("UID SEARCH ALL", "* SEARCH 1\n@ OK")],
    "SORT out of range": OPEN + [("SORT (DATE) x ALL", "* SORT 6 1\n@ OK")],
    "UID SORT of an unknown one": OPEN + [("UID SORT (DATE) x ALL", "* SORT 21\n@ OK")],
    "THREAD out of range": OPEN + [("THREAD R x ALL", "* THREAD (1 (2)(6))\n@ OK")],
    "THREAD names one twice": OPEN + [("THREAD R x ALL", "* THREAD (1 2)(2)\n@ OK")],
    "UID THREAD of an unknown one": OPEN + [
        ("UID THREAD R x ALL", "* THREAD (10)(21)\n@ OK")],
    "ESEARCH ALL out of range": OPEN + [
        ("SEARCH RETURN () ALL", '* ESEARCH (TAG "@") ALL 1:6\n@ OK')],
    "ESEARCH MAX out of range": OPEN + [
        ("SEARCH RETURN (MAX) ALL", '* ESEARCH (TAG "@") MAX 6\n@ OK')],
    "ESEARCH MIN above MAX": OPEN + [
        ("SEARCH RETURN (MIN MAX) ALL", '* ESEARCH (TAG "@") MIN 2 MAX 1\n@ OK')],
    "ESEARCH COUNT of more": OPEN + [
        ("SEARCH RETURN (COUNT) ALL", '* ESEARCH (TAG "@") COUNT 6\n@ OK')],
    "ESEARCH COUNT against ALL": OPEN + [
        ("SEARCH RETURN () ALL", '* ESEARCH (TAG "@") COUNT 3 ALL 1:2\n@ OK')],
    "ESEARCH MAX against ALL": OPEN + [
        ("SEARCH RETURN () ALL", '* ESEARCH (TAG "@") MAX 3 ALL 1:2\n@ OK')],
    "ESEARCH PARTIAL out of range": OPEN + [
        ("SEARCH RETURN (PARTIAL 1:2) ALL",
         '* ESEARCH (TAG "@") PARTIAL (1:2 5:6)\n@ OK')],
    "ESEARCH without UID": OPEN + [
        ("UID SEARCH RETURN () ALL", '* ESEARCH (TAG "@") ALL 1\n@ OK')],
    "ESEARCH of an unknown UID": OPEN + [
        ("UID SEARCH RETURN () ALL", '* ESEARCH (TAG "@") UID ALL 10:20\n@ OK')],
    "ESEARCH of an unknown tag": OPEN + [
        ("SEARCH RETURN () ALL", '* ESEARCH (TAG "x") ALL 1\n@ OK')],
    "a tagged reply of nobody": OPEN + [("NOOP", "x OK\n@ OK")],
    "a tagged reply twice": OPEN + [("NOOP", "@ OK\n@ OK")],
    "a continuation that nobody waits for": OPEN + [("NOOP", "+ go\n@ OK")],
    "neither OK nor NO nor BAD": OPEN + [("NOOP", "@ FINE")],
    "an unknown number line": OPEN + [("NOOP", "* 3 MESSAGES\n@ OK")],
    "FETCH that doesn't end": OPEN + [("NOOP", "* 1 FETCH (FLAGS (\n@ OK")],
    "FETCH of half a pair": OPEN + [("NOOP", "* 1 FETCH (FLAGS)\n@ OK")],
    "EXISTS shrinks in IDLE": OPEN + [("IDLE", "+ i"), ("DONE", "* 4 EXISTS\n@ OK")],
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    *before, last = FAULTS[name]
    if name != "EXISTS shrinks in IDLE":
        play(before)
    with pytest.raises(ModelError):
        play(before + [last])


RIGHT = {
    "nothing": (OPEN, [10, 20, 30, 40, 50]),
    "EXPUNGEs and new messages": (OPEN + [
        ("NOOP", "* 5 EXPUNGE\n* 1 EXPUNGE\n* 3 EXISTS\n* 5 EXISTS\n* 2 RECENT\n"
         "* 4 FETCH (UID 60)\n@ OK")], [20, 30, 40, 60, None]),
    "all go": (OPEN + [("EXPUNGE", 5 * "* 1 EXPUNGE\n" + "@ OK")], []),
    "an empty mailbox": ([("SELECT x", "* 0 EXISTS\n* 0 RECENT\n@ OK")], []),
    "EXPUNGE in UID FETCH": (OPEN + [
        ("UID FETCH 1 FLAGS", "* 1 EXPUNGE\n@ OK")], [20, 30, 40, 50]),
    "EXPUNGE in COPY": (OPEN + [("COPY 1 x", "* 1 EXPUNGE\n@ OK")], [20, 30, 40, 50]),
    "EXPUNGE in IDLE": (OPEN + [("IDLE", "* 1 EXPUNGE\n+ i"),
                                ("DONE", "* 1 EXPUNGE\n@ OK")], [30, 40, 50]),
    "a FETCH and an EXPUNGE pipelined": (OPEN + [
        ("FETCH 1 FLAGS\nNOOP", "* 1 FETCH (FLAGS ())\n@1 OK\n* 5 EXPUNGE\n@2 OK")],
        [10, 20, 30, 40]),
    "EXISTS while no command is": (OPEN + [("NOOP", "@ OK\n* 6 EXISTS")],
                                  [10, 20, 30, 40, 50, None]),
    "VANISHED": (QRESYNC + OPEN + [("NOOP", "* VANISHED 50,10\n@ OK")], [20, 30, 40]),
    "VANISHED of unknown ones": (QRESYNC + [SELECT] + [
        ("UID FETCH 3 UID", "* 3 FETCH (UID 30)\n@ OK"),
        ("NOOP", "* VANISHED 29,31:32\n@ OK")], [None, 30]),
    "VANISHED of an unknown new one": (QRESYNC + [SELECT] + [
        ("NOOP", "* 6 EXISTS\n* VANISHED 60\n* 6 EXISTS\n* 6 FETCH (UID 61)\n@ OK")],
        [None, None, None, None, None, 61]),
    "VANISHED in UID FETCH": (QRESYNC + OPEN + [
        ("UID FETCH 1:* FLAGS", "* VANISHED 10\n@ OK")], [20, 30, 40, 50]),
    "VANISHED (EARLIER) over gaps": (QRESYNC + OPEN + [
        ("UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)",
         "* VANISHED (EARLIER) 1:9,11:19,51:59\n@ OK")], [10, 20, 30, 40, 50]),
    "VANISHED (EARLIER) in SELECT": (QRESYNC + [
        ("SELECT x (QRESYNC (9 1))", "* 1 EXISTS\n* OK [UIDNEXT 9] x\n"
         "* VANISHED (EARLIER) 1:6,8\n* 1 FETCH (UID 7 FLAGS ())\n@ OK")], [7]),
    "SELECT forgets": (OPEN + [
        ("SELECT x", "* OK [CLOSED] c\n* 1 EXISTS\n* OK [UIDVALIDITY 1] v\n"
         "* OK [UIDNEXT 2] n\n@ OK"),
        ("NOOP", "* 1 FETCH (UID 1)\n@ OK")], [1]),
    "another UIDVALIDITY, a lower UIDNEXT": (OPEN + [
        ("SELECT INBOX", "* 1 EXISTS\n* OK [UIDVALIDITY 10] v\n"
         "* OK [UIDNEXT 2] n\n@ OK")], [None]),
    "EXAMINE forgets": (OPEN + [("EXAMINE x", "* 1 EXISTS\n@ OK")], [None]),
    "CLOSE forgets": (OPEN + [("CLOSE", "@ OK")], []),
    "CLOSE that fails doesn't": (OPEN + [("CLOSE", "@ NO")], [10, 20, 30, 40, 50]),
    "SELECT that fails does": (OPEN + [("SELECT x", "@ NO")], []),
    "SELECT that is BAD doesn't": (OPEN + [
        ("SELECT x (y)", "@ BAD"), ("NOOP", "* 6 EXISTS\n@ OK")],
        [10, 20, 30, 40, 50, None]),
    "SELECT that is BAD after CLOSED does": (OPEN + [
        ("SELECT x (y)", "* OK [CLOSED] c\n@ BAD")], []),
    "searches": (OPEN + [
        ("SEARCH ALL", "* SEARCH 5 1\n@ OK"), ("SEARCH ALL", "* SEARCH\n@ OK"),
        ("SEARCH MODSEQ 1", "* SEARCH 5 (MODSEQ 7)\n@ OK"),
        ("UID SEARCH ALL", "* SEARCH 10 50\n@ OK"),
        ("UID SORT (DATE) x ALL", "* SORT 50 10\n@ OK"),
        ("UID THREAD R x ALL", "* THREAD (10 (20)(30 40))(50)\n@ OK"),
        ("SEARCH RETURN (MIN MAX COUNT ALL) ALL",
         '* ESEARCH (TAG "@") MIN 1 MAX 5 COUNT 3 ALL 1,4:5\n@ OK'),
        ("UID SEARCH RETURN () ALL", '* ESEARCH (TAG "@") UID ALL 10,20\n@ OK'),
        ("UID SEARCH RETURN () ALL", '* ESEARCH (TAG "@") UID\n@ OK'),
        ("SORT RETURN (MIN MAX ALL) (DATE) x ALL",
         '* ESEARCH (TAG "@") MIN 5 MAX 1 ALL 5,2:3,1\n@ OK'),
        ("SEARCH RETURN (PARTIAL 9:10) ALL",
         '* ESEARCH (TAG "@") PARTIAL (9:10 NIL)\n@ OK')], [10, 20, 30, 40, 50]),
    "SEARCH of UIDs that aren't known yet": (
        [SELECT, ("UID SEARCH ALL", "* SEARCH 7\n@ OK")], 5 * [None]),
    "text that looks like items": (OPEN[:1] + [
        ("FETCH 1 ENVELOPE", '* 1 FETCH (ENVELOPE ("x" "(UID 1 FLAGS (a))" NIL) UID 10)'
         "\n@ OK")], [10, None, None, None, None]),
    "other responses": (OPEN + [
        ("NOOP", "* RESYNC\n* SESSIONID 123\n* OK [HIGHESTMODSEQ 5] x\n"
         "* NO something\n* LIST () \"/\" a\n* STATUS a (MESSAGES 6)\n"
         "* 1 XCONVERT (BODY[1] NIL)\n* FLAGS (x)\n@ NO [LIMIT] no")],
        [10, 20, 30, 40, 50]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name):
    exchanges, expected = RIGHT[name]
    client, _ = play(exchanges)
    assert client.uids == expected


def test_flags_follow():
    client, _ = play(OPEN + [
        ("NOOP", "* 1 FETCH (FLAGS (\\Seen $x))\n@ OK"),
        ("NOOP", "* 1 EXPUNGE\n* 2 FETCH (FLAGS (a))\n* 5 EXISTS\n"
         "* 5 FETCH (FLAGS (new))\n* 5 FETCH (UID 60)\n@ OK")])
    assert client.flags == {20: {"\\Seen"}, 30: {"a"}, 40: set(), 50: set(),
                            60: {"new"}}
    assert client.selected


def test_results_go_to_their_commands():
    _, (first, second) = play(OPEN + [
        ("SEARCH 1\nNOOP", "* SEARCH 1\n@1 OK one\n* 6 EXISTS\n@2 NO two")])
    assert (first.text, first.data("SEARCH"), second.status) == ("one", [1], "NO")
    assert second.lines("* ") == ["* 6 EXISTS"]
    _, (first, second) = play(OPEN + [("NOOP\nNOOP", "@2 OK 2\n* 6 EXISTS\n@1 OK 1")])
    assert (first.text, second.text) == ("1", "2")
    assert first.lines("* ") == ["* 6 EXISTS"]


def test_unasked_responses_come_with_the_next_command():
    _, (result,) = play(OPEN + [("NOOP", "@ OK\n* 6 EXISTS"), ("NOOP", "@ OK")])
    assert result.lines("* ") == ["* 6 EXISTS"]


def test_parse():
    assert parse('(UID 5 BODY[HEADER.FIELDS (A B)]<0> {3} X ("a\\"b" NIL ())) z',
                 [b"abc"]) == [
        ["UID", "5", "BODY[HEADER.FIELDS (A B)]<0>", b"abc", "X",
         ['a"b', "NIL", []]], "z"]
    response = Response("* 7 FETCH (BINARY[1] ~{2} UID 9)", [b"ab"])
    assert response.items() == {"BINARY[1]": b"ab", "UID": "9"}
    for text in ("(a", "a)", '"a', "(a))"):
        with pytest.raises(ModelError):
            parse(text)


def test_continuations():
    client_sock, server_sock = socket.socketpair()

    def serve():
        server_sock.sendall(b"* OK hello\r\n")
        lines = server_sock.makefile("rb")
        for number, reply in enumerate((b"+ one\r\n", b"+ two\r\n", b"t1 OK\r\n")):
            seen.append(lines.readline())
            server_sock.sendall(reply)

    seen = []
    thread = threading.Thread(target=serve)
    thread.start()
    client = Client(None, sock=client_sock)
    assert client.command("X {3}", "abc", lambda text: text.upper()).status == "OK"
    assert seen == [b"t1 X {3}\r\n", b"abc\r\n", b"TWO\r\n"]
    thread.join()
    client.close()
    server_sock.close()


@pytest.mark.parametrize("trickle", [b"", b"* OK still here\r\n", b"x"])
def test_deadline_is_for_the_whole_command(monkeypatch, trickle):
    monkeypatch.setattr(imap_client, "DEADLINE", 0.3)
    client_sock, server_sock = socket.socketpair()
    server_sock.sendall(b"* OK hello\r\n")
    client = Client(None, sock=client_sock)
    ended = threading.Event()

    def serve():
        while not ended.wait(0.02):
            server_sock.sendall(trickle)

    thread = threading.Thread(target=serve)
    thread.start()
    start = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            client.command("NOOP")
        assert time.monotonic() - start < 5
    finally:
        ended.set()
        thread.join()
        client.close()
        server_sock.close()


@pytest.mark.parametrize("reply", [b"", b"* OK half", b"* 1 FETCH (BODY[] {9}\r\nabc"])
def test_connection_closed(reply):
    client_sock, server_sock = socket.socketpair()
    server_sock.sendall(b"* OK hello\r\n")
    client = Client(None, sock=client_sock)
    client.send("NOOP")
    server_sock.sendall(reply)
    server_sock.close()
    with pytest.raises(ConnectionError):
        client._read_response()
    client.close()
