# SPDX-License-Identifier: LGPL-2.1-only
"""R-13.2: what the format EXTENDED tells of messages, as a worker reads them and as it
reaches a channel; R-14.2: by which channels it may."""
import pytest

from cases import lmtp, mail
from conftest import Server, settings
from outband_peers import wait_for
from test_outband_channels import Program
from worker_client import Profile, Worker

HEAD = b"To: joe@own.example\r\n"
LONG = b"Subject: " + b" ".join([b"word"] * 2000)
# headers: sender, subject
HEADERS = [
    (b"From: Ann <ann@peer.example>\r\nSubject: Hello", "Ann <ann@peer.example>", "Hello"),
    (b"From: ann@peer.example\r\nSubject: \r\n folded\r\n\tover lines", "ann@peer.example",
     "folded over lines"),
    (b"Subject: only", "", "only"),
    (b"From: Ann <ann@peer.example>", "Ann <ann@peer.example>", ""),
    (b"From:\r\nSubject:", "", ""),
    (b'From: "Dr. Ann \\"A\\" B" <ann@peer.example>\r\nSubject: "q" \\ "', 'Dr. Ann "A" B '
     "<ann@peer.example>", '"q" \\ "'),
    (b"From: =?utf-8?q?J=C3=B6?= <j@peer.example>, other@peer.example\r\n"
     b"Subject: =?iso-8859-1?q?Gr=FC=DFe?= =?utf-8?b?8J+YgA==?=",
     "J\u00f6 <j@peer.example>", "Gr\u00fc\u00dfe\U0001f600"),
    (b"From: A\r\nSubject: =?utf-8?Q?a=0D=0AX:=20y=00=1Bz?=", "A", "a X: y z"),
    (b"From: =?utf-8?Q?A=0D=0A=2A_9_EXISTS?= <a@peer.example>\r\nSubject: x",
     "A * 9 EXISTS <a@peer.example>", "x"),
    (b"From: a@peer.example\r\nSubject: caf\xe9 \xff", "a@peer.example", "caf\ufffd \ufffd"),
    (b"From: a@peer.example\r\nSubject: gr\xc3\xbc\xc3\x9fe", "a@peer.example", "gr\u00fc\u00dfe"),
    (b"From: a@peer.example\r\nSubject: =?utf-8?q?pay=E2=80=AEgnp.exe?=", "a@peer.example",
     "paygnp.exe"),
    (b"From: a@peer.example\r\nSubject: =?x-none?q?abc?= =?utf-8?q?=C3?=", "a@peer.example", None),
    (b"From: a@peer.example\r\nSubject: =?utf-8?q?", "a@peer.example", "=?utf-8?q?"),
    (b"From: a@peer.example\r\nSubject: NIL", "a@peer.example", "NIL"),
    (b"From: a@peer.example\r\nSubject: _%$P-IMAP$%_ 7 joe", "a@peer.example",
     "_%$P-IMAP$%_ 7 joe"),
    (b"From: a@peer.example\r\nSubject: one\r\nSubject: two", "a@peer.example", "one"),
    (b"From: a@peer.example\r\n" + LONG, "a@peer.example", " ".join(["word"] * 200)),
    (b"From: a@peer.example\r\nSubject: " + "\u00fc".encode() * 501 + b"a", "a@peer.example",
     "\u00fc" * 500),
    (b"From: " + b"x" * 400 + b" <a@peer.example>\r\nSubject: x",
     "x" * 157 + " <a@peer.example>", "x"),
    (b"From: undisclosed:;\r\nSubject: x", None, "x"),
]


def fields(worker, user, states=None):
    """Of P1's events in INBOX"""
    guid = worker.folders(user)["INBOX"]
    job = ["LOOK", user, guid]
    lines = worker.job(*job)
    assert lines[-1] == ["OK"]
    device, found = None, {}
    for line in lines:
        if line[0] == "DEVICE":
            device = line[1]
        elif line[0] == "EVENT":
            found.setdefault(device, []).append(line[4:])
    return found


@pytest.fixture(params=["maildir", "mdbox"], scope="module")
def site(request):
    server = Server.temporary(request.param, extra=settings({
        "pimap_channels": "mail", "pimap_outband_body": "50"}))
    yield server
    assert server.faults() == []
    server.stop()


def make_profile(site, client, user, extended=("P1",)):
    client.ok("CREATE Made")
    profile = Profile(site, user)
    for device in ("P1", "P2"):
        profile.device(device)
        if device in extended:
            profile.devices[device].append("pref\tPIMAP_OUTBAND_FORMAT\tEXTENDED")
    profile.write()


def test_fields_of_headers(site, user):
    client = site.client(user)
    client.append("INBOX", [HEAD + head + b"\r\n\r\nbody\r\n" for head, _, _ in HEADERS])
    make_profile(site, client, user)
    with Worker(site) as worker:
        found = fields(worker, user)
    # only where they are wanted
    assert found["P2"] == [[]] * len(HEADERS)
    assert len(found["P1"]) == len(HEADERS)
    for (head, sender, subject), got in zip(HEADERS, found["P1"]):
        assert len(got) == 3
        if sender is not None:
            assert got[0] == sender, head
        if subject is not None:
            assert got[1] == subject, head
        assert got[2] == "body"
        for field in got:
            assert all(ord(char) >= 0x20 and not 0x7f <= ord(char) < 0xa0 for char in field)


@pytest.mark.parametrize("keys", ["SUBJECT new", "FROM ann", "HEADER X-Kind odd", "ALL",
                                  "LARGER 5 HEADER X-Kind odd", "BODY body SUBJECT new"])
def test_fields_of_filtered(site, user, keys):
    """Where the parts of a message are known to Dovecot's cache, which header is asked for
    after which other one makes no difference, neither to that cache."""
    user = user.lower()
    client = site.client(user)
    text = (HEAD + b"X-Kind: odd\r\nX-PIMAP-Notification: %s\r\nFrom: ann@peer.example\r\n"
            b"Subject: new\r\n\r\nbody\r\n")
    client.ok("SELECT INBOX")
    client.append("INBOX", [text % b""])
    client.ok("NOOP")
    client.ok("FETCH 1:* BODYSTRUCTURE")
    client.append("INBOX", [text.replace(b"X-PIMAP-Notification: %s\r\n", b""), text % b"1"])
    make_profile(site, client, user)
    profile = Profile(site, user)
    profile.filters["keys"] = keys
    profile.device("P1", notify="Ukeys")
    profile.devices["P1"].append("pref\tPIMAP_OUTBAND_FORMAT\tEXTENDED")
    profile.write()
    with Worker(site) as worker:
        found = fields(worker, user)["P1"]
    # a notification isn't notified
    assert found == [["ann@peer.example", "new", "body"]]
    client.ok("NOOP")
    for items in client.ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM)] "
                           "BODY.PEEK[HEADER.FIELDS (SUBJECT)])").fetched().values():
        assert items["BODY[HEADER.FIELDS (FROM)]"] == b"From: ann@peer.example\r\n\r\n"
        assert items["BODY[HEADER.FIELDS (SUBJECT)]"] == b"Subject: new\r\n\r\n"


def test_fields_of_bodies(site, user):
    """The first text part, at most 50 octets here, whole characters"""
    client = site.client(user)
    bodies = [
        (b"Subject: x\r\n\r\n", ""),
        (b"Subject: x\r\n\r\n  two \r\n\r\n lines\t\x01of it \r\n", "two lines of it"),
        (b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n"
         b"<html><style>x</style><p>caf\xe9 &amp; <b>cr\xe8me</b></p></html>", "caf\u00e9 & cr\u00e8me"),
        (b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
         b"Content-Transfer-Encoding: base64\r\n\r\n8J+YgPCfmIDwn5iA\r\n", "\U0001f600" * 3),
        (b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
         b"a" + "\u20ac".encode() * 40, "a" + "\u20ac" * 16),
        (b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n"
         b"Content-Type: text/plain\r\n\r\nthe plain one\r\n--b\r\nContent-Type: text/html\r\n\r\n"
         b"<p>the other\r\n--b--\r\n", "the plain one"),
        (b"MIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\nxxx\r\n", ""),
    ]
    client.append("INBOX", [HEAD + text for text, _ in bodies])
    make_profile(site, client, user)
    with Worker(site) as worker:
        found = fields(worker, user)["P1"]
    assert [got[2] for got in found] == [expected for _, expected in bodies]


def test_fields_of_cases(site, user):
    """The messages of tests/mail, one with NUL in its subject: nothing of them ends
    a line."""
    client = site.client(user)
    messages = mail()
    assert b"\0" in messages["28a-nul-in-subject.eml"]
    client.ok("SELECT INBOX")
    for message in messages.values():
        lmtp(site, user, message)
    make_profile(site, client, user)
    with Worker(site) as worker:
        found = fields(worker, user)["P1"]
    assert len(found) == len(messages)
    assert any("\ufffd" in got[1] for got in found)
    for got in found:
        assert len(got) == 3
        for field in got:
            assert all(ord(char) >= 0x20 and not 0x7f <= ord(char) < 0xa0 for char in field)


@pytest.mark.parametrize("clear", [True, False])
def test_extended_reaches_the_channel(clear):
    """R-14.2: with sender and subject where the administrator says so"""
    program = Program(**({"pimap_clear_text": "mail program"} if clear else
                         {"pimap_clear_text": "mail"}))
    program.format = "EXTENDED"
    program.write("touch $run.end")
    program.new('A "B" <a@peer.example>', "Gr\u00fc\u00dfe\t1")
    program.new("a", "b", "c")
    program.new()
    wait_for(lambda: len(program.files("end")) == 3)
    texts = list(program.files("in").values())
    when = '"20-Feb-2004" "06:40:00"'
    if clear:
        assert texts == [
            '_%$P-IMAP$%_ 1 joe@example.com NEW_MESSAGE 1 "A \\"B\\" <a@peer.example>" ' + when +
            ' "Gr\u00fc\u00dfe 1"',
            '_%$P-IMAP$%_ 2 joe@example.com NEW_MESSAGE 2 "a" ' + when + ' "b" "c"',
            '_%$P-IMAP$%_ 3 joe@example.com NEW_MESSAGE 3 NIL ' + when + ' NIL']
    else:
        assert texts == [
            "_%%$P-IMAP$%%_ %d joe@example.com NEW_MESSAGE %d NIL %s NIL" % (n, n, when)
            for n in (1, 2, 3)]
    assert program.server.faults() == []
    program.stop()
