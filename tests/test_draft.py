# SPDX-License-Identifier: LGPL-2.1-only
"""The examples of draft-maes-lemonade-p-imap-06, up to its section 5.2.2, sent
octet by octet as they are printed there. Each test is named by its section, and
says what of the answer differs and why (doc/deviations.md). Where an example
needs what isn't built, what is answered instead is the test."""

import re
import socket

import pytest

from conftest import DOVECOT_24, Server
from imap_client import Client, DEADLINE

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"
TIMING = r"( \([\d.]+ \+ .*secs\)\.)?"


# with the draft's password
AUTH = """
passdb static {
  password = password
}
userdb static {
  userdb_static_allow_all_users = yes
}
""" if DOVECOT_24 else """
passdb {
  driver = static
  args = password=password
}
userdb {
  driver = static
  args = allow_all_users=yes
}
"""


class Wire:
    """A connection that sends and shows what is on the wire"""

    def __init__(self, server):
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
        self.file = self.sock.makefile("rb")
        self.greeting = self.line()

    def line(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n"), line
        return line[:-2].decode("latin1")

    def send(self, line):
        """Returns the lines up to the tagged one"""
        self.sock.sendall(line + b"\r\n")
        tag = line.split(b" ")[0].decode() + " "
        lines = [self.line()]
        while not lines[-1].startswith(tag):
            lines.append(self.line())
        return lines

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture(scope="module")
def draft():
    """Its user is called joe, as in the draft: each test begins without mail."""
    server = Server.temporary("mdbox", auth=AUTH)
    yield server
    server.close_clients()
    assert server.faults() == []
    server.stop()


@pytest.fixture
def joe(draft):
    """What the examples take for granted: a plain session that makes it so"""
    plain = Client(draft.port, "joe", "password")
    draft.clients.append(plain)
    for line in plain.ok('LIST "" *').lines("* LIST"):
        if not line.endswith("INBOX"):
            plain.ok("DELETE " + line.rsplit(" ", 1)[1])
    plain.ok("SELECT INBOX")
    if plain.fetch_all():
        plain.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        plain.ok("EXPUNGE")
    plain.ok("CLOSE")
    return plain


@pytest.fixture
def wire(draft):
    connections = []

    def connect(login=None):
        connections.append(Wire(draft))
        if login is not None:
            lines = connections[-1].send(login)
            assert lines[-1].split(" ")[1] == "OK", lines
        return connections[-1]

    yield connect
    for connection in connections:
        connection.close()


LOGIN = b"A01 LOGIN joe#P6505551234 password"


def completed(tag, command):
    return re.compile(r"%s OK %s completed%s" % (tag, command, TIMING))


def check(lines, *expected):
    """expected: texts, or patterns where something is not the draft's to say"""
    assert len(lines) == len(expected), lines
    for line, wanted in zip(lines, expected):
        if isinstance(wanted, str):
            assert line == wanted
        else:
            assert wanted.fullmatch(line), (line, wanted.pattern)


def test_draft_1_2_1(draft, joe, wire):
    """State-comparison-based sync: LIST, LSUB, SELECT, FETCH. The hierarchy
    separator and the quotes of names are Dovecot's; attributes are those of
    RFC 3501; the OK of LIST has LIST's tag and name (the draft's is A003)."""
    for name in ("Drafts", "Friends"):
        joe.ok("CREATE " + name)
        joe.ok("SUBSCRIBE " + name)
    joe.ok("SUBSCRIBE INBOX")
    joe.append("INBOX", [MESSAGE % b"%d" % number for number in range(60)])
    joe.ok("SELECT INBOX")
    joe.ok("STORE 1 +FLAGS (\\Answered)")
    joe.ok("STORE 2 +FLAGS (\\Seen)")
    phone = wire(LOGIN)
    lines = phone.send(b'A002 LIST "" "%"')
    assert sorted(line.split(") ")[1] for line in lines[:-1]) == ['"/" Drafts', '"/" Friends', '"/" INBOX']
    assert re.fullmatch(r"A002 OK List completed" + TIMING, lines[-1])
    lines = phone.send(b'A002 LSUB "" "*"')
    assert sorted(lines[:-1]) == ['* LSUB () "/" Drafts', '* LSUB () "/" Friends', '* LSUB () "/" INBOX']
    assert re.fullmatch(r"A002 OK Lsub completed" + TIMING, lines[-1])
    lines = phone.send(b'A003 SELECT "INBOX"')
    assert "* 60 EXISTS" in lines and lines[-1].startswith("A003 OK [READ-WRITE] Select completed")
    lines = phone.send(b"A004 FETCH 1:* (FLAGS UID)")
    assert len(lines) == 61 and lines[-1].startswith("A004 OK Fetch completed")
    uids = [int(re.search(r"UID (\d+)\)$", line).group(1)) for line in lines[:-1]]
    assert uids == joe.fetch_all() and uids == list(range(uids[0], uids[0] + 60))
    flags = [re.fullmatch(r"\* \d+ FETCH \(FLAGS \((.*)\) UID \d+\)", line).group(1).replace("\\Recent", "")
             for line in lines[:-1]]
    assert [f.strip() for f in flags] == ["\\Answered", "\\Seen"] + [""] * 58


def test_draft_4_1(draft, joe, wire):
    """Events [1] to [3]; messages are fewer than 501. FETCH n (ALL BODY[]) is an
    extension of RFC 3501's grammar that works in device sessions only."""
    joe.append("INBOX", [MESSAGE % b"%d" % number for number in range(3)])
    phone = wire(LOGIN)
    phone.send(b"A01 SELECT INBOX")
    joe.append("INBOX", [MESSAGE % b"new"])
    # [1]
    lines = phone.send(b"A02 NOOP")
    assert lines[0] == "* 4 EXISTS" and re.fullmatch(r"\* \d RECENT", lines[1])
    lines = phone.send(b"A02 FETCH 4 (ALL BODY[])")
    assert lines[0].startswith("* 4 FETCH (") and lines[-1].startswith("A02 OK Fetch completed")
    text = " ".join(lines)
    assert all(item in text for item in ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY[]"))
    assert "Subject: new" in lines
    # [3], [2]
    joe.ok("SELECT INBOX")
    joe.ok("STORE 1 FLAGS (\\Seen \\Deleted)")
    lines = phone.send(b"A03 NOOP")
    assert re.fullmatch(r"\* 1 FETCH \(FLAGS \(\\Deleted \\Seen( \\Recent)?\)\)", lines[0]), lines
    joe.ok("EXPUNGE")
    assert "* 1 EXPUNGE" in phone.send(b"A03 NOOP")
    assert joe.command("FETCH 1 (ALL BODY[])").status == "BAD"


def test_draft_5_1_3(draft, joe, wire):
    """CAPABILITY. Before the login it is announced what there is, one by one:
    xPIMAPv1 waits for all of its commands (R-3.1)."""
    for connection in (wire(), wire(LOGIN), wire(b"A01 LOGIN joe password")):
        lines = connection.send(b"a001 CAPABILITY")
        assert len(lines) == 2
        words = lines[0].split(" ")
        assert words[:3] == ["*", "CAPABILITY", "IMAP4rev1"] and "IDLE" in words
        assert {"XPROVISION", "XPIMAPPREF", "XFILTER"} <= set(words)
        assert "XPIMAPV1" not in lines[0].upper() and "XENCR" not in lines[0].upper()
        assert re.fullmatch(r"a001 OK (Capability|Pre-login capabilities listed, "
                            r"post-login capabilities have more).*", lines[1])


SESSIONID = re.compile(r"\* SESSIONID [1-9]\d+")


def logged_in(tag):
    return re.compile(tag + r" OK (\[CAPABILITY .*\] )?Logged in" + TIMING)


@pytest.mark.parametrize("line", [
    b"A01 LOGIN joe#P6505551234 password", b"A02 LOGIN joe#P6505551234@foo.com password",
    b"A02 LOGIN joe#P6505551234 password"])
def test_draft_5_1_4(draft, joe, wire, line):
    """First logins, and those that resume a session, AUTHENTICATED or SELECTED. There
    is no resume yet (R-2.3): all of them are first ones, without SESSION and FOLDER.
    The text of the OK is Dovecot's, after its capabilities."""
    seen = set()
    for _ in range(2):
        connection = wire()
        lines = connection.send(line)
        check(lines, SESSIONID, logged_in(line[:3].decode()))
        seen.add(lines[0])
        connection.send(b"A03 SELECT INBOX")
        connection.close()
    assert len(seen) == 2


def test_draft_5_1_6(draft, joe, wire):
    """XENCRYPTED isn't built: it isn't announced, and HELLO isn't a command."""
    lines = wire(LOGIN).send(b"A02 CAPABILITY")
    assert "XENCR" not in lines[0] and lines[1].startswith("A02 OK")


def test_draft_5_2_1(draft, joe, wire):
    """XPROVISION without a device id, as in the example: the device has logged in.
    XFILTER_SET isn't empty, filters can be made; it is XFILTER_NAME, where the
    example says XFILTER NAME; what isn't built is not offered: channels, push,
    UDP and keys."""
    joe.ok("CREATE FOLDER2")
    phone = wire(LOGIN)
    for name in ("URGENT", "PROFILE1"):
        phone.send(b"A001 XFILTER SET %s NIL (SEEN)" % name.encode())
    check(phone.send(b"A002 XPROVISION"),
          "* XPROVISION XFILTER_GET (DESC CRITERIA)",
          re.compile(r"\* XPROVISION XFILTER_SET \(([A-Z-]+ )+YOUNGER\)"),
          "* XPROVISION XPIMAPPREF PIMAP_OUTBAND_CHANNEL (NONE)",
          "* XPROVISION XPIMAPPREF PIMAP_INBAND_NEW_FORMAT (NONE)",
          "* XPROVISION XPIMAPPREF PIMAP_INBAND_PUSH (OFF)",
          re.compile(r"\* XPROVISION XPIMAPPREF XFILTER_FOLDER \(ALL (INBOX FOLDER2|FOLDER2 INBOX)\)"),
          "* XPROVISION XPIMAPPREF XFILTER_TYPE (V N B)",
          "* XPROVISION XPIMAPPREF XFILTER_NAME (ALL NONE URGENT PROFILE1)",
          "* XPROVISION XPIMAPPREF PIMAP_EVENT_FILTER (ALL NONE NEW)",
          "* XPROVISION XPIMAPPREF PIMAP_OUTBAND_FORMAT (EMN EXTENDED)",
          completed("A002", "XPROVISION"))
    for name in (b"URGENT", b"PROFILE1"):
        phone.send(b"A001 XFILTER DELETE " + name)


def test_draft_5_2_2(draft, joe, wire):
    """XGETPIMAPPREFS and XSETPIMAPPREF. There is no channel but NONE yet: SMS is
    refused, and the address kept all the same; so is INBAND_NEW_FORMAT ALL. The OK
    names the command alone, also where the example adds the preference, and the
    OK of XSETPIMAPPREF has no full stop. The pairs of folders come after those of
    ALL."""
    joe.ok("CREATE FOLDER2")
    phone = wire(LOGIN)
    done = completed("A00\\d", "XSETPIMAPPREF")
    check(phone.send(b"A001 XFILTER SET PROFILE1 NIL (UNSEEN)"), completed("A001", "XFILTER"))
    # "The client wishes to know the current outband notification method"
    check(phone.send(b"A003 XGETPIMAPPREFS (PIMAP_OUTBAND_CHANNEL)"),
          "* XGETPIMAPPREFS (PIMAP_OUTBAND_CHANNEL NONE)", completed("A003", "XGETPIMAPPREFS"))
    # "The client wishes to know the current active xfilters"
    for line in (b"A001 XSETPIMAPPREF PIMAP_XFILTER (INBOX V ALL)",
                 b"A001 XSETPIMAPPREF PIMAP_XFILTER (INBOX N PROFILE1)",
                 b"A001 XSETPIMAPPREF PIMAP_XFILTER (FOLDER2 B ALL)"):
        check(phone.send(line), done)
    check(phone.send(b"A003 XGETPIMAPPREFS (PIMAP_XFILTER)"),
          "* XGETPIMAPPREFS (PIMAP_XFILTER (ALL V ALL) PIMAP_XFILTER (ALL N NONE) "
          "PIMAP_XFILTER (INBOX V ALL) PIMAP_XFILTER (INBOX N PROFILE1) PIMAP_XFILTER (FOLDER2 B ALL))",
          completed("A003", "XGETPIMAPPREFS"))
    # "The client sets up its SMS device address"
    check(phone.send(b"A002 XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS 13335559999"), done)
    check(phone.send(b"A003 XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL SMS"),
          re.compile(r"A003 NO \[CANNOT\] PIMAP_OUTBAND_CHANNEL takes NONE here" + TIMING))
    check(phone.send(b"A004 XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED"), done)
    check(phone.send(b"A005 XSETPIMAPPREF XFILTER (INBOX B PROFILE1)"), done)
    check(phone.send(b"A006 XGETPIMAPPREF (PIMAP_OUTBAND_ADDRESS PIMAP_OUTBAND_CHANNEL "
                     b"PIMAP_OUTBAND_FORMAT PIMAP_XFILTER)"),
          "* XGETPIMAPPREFS (PIMAP_OUTBAND_ADDRESS 13335559999 PIMAP_OUTBAND_CHANNEL NONE "
          "PIMAP_OUTBAND_FORMAT EXTENDED PIMAP_XFILTER (ALL V ALL) PIMAP_XFILTER (ALL N NONE) "
          "PIMAP_XFILTER (INBOX B PROFILE1) PIMAP_XFILTER (FOLDER2 B ALL))",
          completed("A006", "XGETPIMAPPREFS"))
    # "The client sets the inband NEW format to be ALL"
    check(phone.send(b"A002 XSETPIMAPPREF PIMAP_INBAND_NEW_FORMAT ALL"),
          re.compile(r"A002 NO \[CANNOT\] PIMAP_INBAND_NEW_FORMAT takes NONE here" + TIMING))
    # the view is that of PROFILE1
    joe.append("INBOX", [MESSAGE % b"seen"], "\\Seen")
    joe.append("INBOX", [MESSAGE % b"unseen"])
    assert "* 1 EXISTS" in phone.send(b"A007 SELECT INBOX")
    # and leaves nothing for the others
    for line in (b"A008 XSETPIMAPPREF PIMAP_XFILTER (ALL B DEFAULT)", b"A008 XSETPIMAPPREF XFILTER (INBOX B DEFAULT)",
                 b"A008 XSETPIMAPPREF XFILTER (FOLDER2 B DEFAULT)", b'A008 XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS ""'):
        check(phone.send(line), done)
    check(phone.send(b"A009 XFILTER DELETE PROFILE1"), completed("A009", "XFILTER"))
