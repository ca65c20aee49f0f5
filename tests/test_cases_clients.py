# SPDX-License-Identifier: LGPL-2.1-only
"""Failures that the public record of other mail software knows, as programs meet
them: that count what they are told, that use sets on empty folders, that spell a
folder's name in another way. Each test names its report."""

import re

import pytest

from conftest import DOVECOT_24, Server
from mail_programs import Fetchmail, Getmail
from test_device import device

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\nMessage-ID: <%s>\r\n\r\nbody\r\n"
ANY_FORMAT = pytest.mark.parametrize("server", ["mdbox"], indirect=True)


def append(client, *identities, flags=""):
    client.append("INBOX", [MESSAGE % (re.sub(r"\d+", "", identity).encode(), identity.encode())
                            for identity in identities], flags)


# EXPUNGE is told once

@pytest.mark.parametrize("qresync", [False, True])
def test_expunge_is_told_once(server, user, qresync):
    """zone-eu/wildduck#343: a client counts EXPUNGE. R-1.4b"""
    plain = server.client(user)
    append(plain, *["m%d" % number for number in range(5)])
    phone = device(server, user, "UNSEEN")
    if qresync:
        phone.ok("ENABLE QRESYNC")
    phone.ok("SELECT INBOX")
    gone = lambda result: [response.line for response in result.untagged
                           if re.match(r"\* (\d+ EXPUNGE|VANISHED)", response.line)]
    uids = phone.fetch_all()
    for turn in range(6):
        assert gone(phone.ok("STORE 1 +FLAGS (\\Seen \\Deleted)")) == []
        if turn == 2:
            append(plain, "late")
        assert gone(phone.ok("NOOP")) == []
        assert gone(phone.ok("EXPUNGE")) == [
            "* VANISHED %d" % uids[0] if qresync else "* 1 EXPUNGE"]
        assert gone(phone.ok("NOOP")) == gone(phone.ok("CHECK")) == []
        uids = phone.fetch_all()
    assert uids == []
    assert plain.status("INBOX", "MESSAGES") == {"MESSAGES": 0}


def fill(server, user, mode):
    """Five messages that the device is to see, between others; returns the plain
    session and what the device is not to touch"""
    plain = server.client(user)
    for number in range(5):
        append(plain, "no%d" % number, "yes%d" % number)
        append(plain, "seen-yes%d" % number, flags="\\Seen")
    server.doveadm("pimap", "device", "add", "-u", user, "P1", "-m", mode)
    server.doveadm("pimap", "filter", "set", "-u", user, "F1", "SUBJECT", "yes", "UNSEEN")
    server.doveadm("pimap", "pref", "set", "-u", user, "P1", "PIMAP_XFILTER", "INBOX", "V", "F1")
    return plain, {identity: item for identity, item in inbox(plain).items()
                   if not identity.startswith("yes")}


def inbox(plain):
    plain.ok("EXAMINE INBOX")
    items = plain.ok("FETCH 1:* (UID FLAGS MODSEQ INTERNALDATE BODY.PEEK[])").fetched().values()
    plain.ok("UNSELECT")
    for item in items:
        item["FLAGS"] = sorted(set(item["FLAGS"]) - {"\\Recent"})
    return {re.search(rb"Message-ID: <(.*)>", item["BODY[]"]).group(1).decode(): item
            for item in items}


def check_fetched(plain, fetched, untouched):
    """Each once; what others wrote is as they wrote it."""
    assert sorted(fetched) == sorted(["yes%d" % number for number in range(5)] +
                                     ["yes-late2", "yes-late4"])
    rest = inbox(plain)
    assert set(rest) == set(untouched) | {"no-late2", "no-late4"}
    assert {identity: rest[identity] for identity in untouched} == untouched
    assert rest["no-late2"]["FLAGS"] == rest["no-late4"]["FLAGS"] == []


@pytest.mark.parametrize("options, mode", [
    ("", "view"), ("expunge 3", "session"), ("expunge 2 batchlimit 2", "view"),
    ("fetchall", "session")])
@ANY_FORMAT
def test_fetchmail(server, user, tmp_path, options, mode):
    """zone-eu/wildduck#343: fetchmail stops with "mail expunge mismatch"."""
    plain, untouched = fill(server, user, mode)
    program = Fetchmail(server, user + "#P1", tmp_path, options)
    output = program.run()
    if "yes-late4" not in program.identities():
        output += program.run()
    check_fetched(plain, program.identities(), untouched)
    assert "mismatch" not in output
    # all in EXPUNGE, and as many as went
    expunges = re.findall(r"IMAP> (\w+) EXPUNGE\n(.*?)IMAP< \1 OK", output, re.DOTALL)
    told = [line for _, lines in expunges
            for line in re.findall(r"IMAP< (\* \d+ EXPUNGE)", lines)]
    assert len(told) == output.count(" EXPUNGE\n") - len(expunges) == 7
    assert "* 1 EXPUNGE" in told and len(expunges) > 2
    program.run(status=1)  # no mail


@ANY_FORMAT
def test_getmail(server, user, tmp_path):
    """The same of a program that deletes all in the end"""
    plain, untouched = fill(server, user, "view")
    program = Getmail(server, user + "#P1", tmp_path)
    output = program.run()
    assert "5 messages" in output
    output = program.run()
    assert "2 messages" in output
    check_fetched(plain, program.identities(), untouched)
    assert "0 messages" in program.run()


# sets where there is nothing

EMPTY = [
    "UID MOVE * X", "UID COPY *:5 X", "UID COPY * X", "UID EXPUNGE *", "UID EXPUNGE 1:*",
    "UID STORE * +FLAGS (k)", "UID STORE 1:* +FLAGS.SILENT (\\Deleted)", "UID FETCH * (UID FLAGS)",
    "UID FETCH 1:* (UID BODY[])", "UID FETCH *:1 FLAGS", "SEARCH NOT 1:*", "SEARCH UID 3 UID 5",
    "SEARCH NOT UID 4:*", "SEARCH ALL", "SEARCH *", "SEARCH 1", "SEARCH UID *", "SEARCH NOT UID *",
    "UID SEARCH NOT 1:*", "UID SEARCH UID 1:3 NOT UID 2", "UID SEARCH OR 1:* UID 1:*",
    "SEARCH RETURN (MIN MAX COUNT ALL) NOT 1:*", "UID SEARCH RETURN (MIN COUNT) UID 1:5",
    "UID SORT (DATE) UTF-8 NOT 1:*", "UID THREAD REFERENCES UTF-8 UID *", "FETCH * UID",
    "FETCH 1 UID", "FETCH 1:* UID", "STORE * +FLAGS (k)", "STORE 1 +FLAGS (k)", "COPY * X",
    "COPY 1:* X", "MOVE * X", "MOVE 1 X", "EXPUNGE", "UID EXPUNGE 4294967295", "NOOP", "CHECK",
]


def said(client, commands):
    """What each is answered, without the time that it took"""
    answers = []
    for command in commands:
        tag = "t%d" % (client.tag + 1)
        result = client.command(command)
        answers.append((command, result.status, re.sub(r" \([\d.]+.*secs\)\.$", "", result.text),
                        [response.line.replace(tag, "TAG") for response in result.untagged]))
    return answers


@pytest.mark.parametrize("enabled", ["", "CONDSTORE", "QRESYNC"])
def test_sets_in_an_empty_view(server, user, enabled):
    """dovecot/core 3c9a50165a, abb5d20d31, df8046c9a4: sets on an empty folder"""
    plain, phone = server.client(user), device(server, user, "ALL")
    for folder in ("Full", "Empty", "X"):
        plain.ok("CREATE " + folder)
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Full V NONE)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Empty V F1)")
    plain.append("Full", [b"Subject: m\r\n\r\nm\r\n"] * 7, "\\Seen")
    if enabled:
        plain.ok("ENABLE " + enabled)
        phone.ok("ENABLE " + enabled)
    commands = EMPTY + (["UID FETCH 1:* FLAGS (CHANGEDSINCE 1)",
                         "UID STORE 1:* (UNCHANGEDSINCE 1) +FLAGS (k)",
                         "UID SEARCH MODSEQ 1"] if enabled else [])
    plain.ok("SELECT Empty")
    expected = said(plain, commands)
    assert any(status == "BAD" for command, status, *_ in expected if command == "FETCH * UID")
    for folder in ("Full", "Empty"):
        phone.ok("SELECT " + folder)
        answers = said(phone, commands)
        for answer, other in zip(answers, expected):
            assert answer == other, folder
        phone.ok("CLOSE")
    assert plain.status("X", "MESSAGES UIDNEXT") == {"MESSAGES": 0, "UIDNEXT": 1}
    plain.ok("SELECT Full")
    assert plain.fetch_all() == [1, 2, 3, 4, 5, 6, 7]
    assert {uid: flags - {"\\Recent"} for uid, flags in plain.flags.items()} == {
        uid: {"\\Seen"} for uid in range(1, 8)}


# one folder, one spelling

REFUSED = [b"&AGEAYg-", b"&AB", b"a&b", b"&AOk-&AOk-", "café".encode()]
LONG = ("é" * 127 + "x").encode()  # 255 octets


def literal(text):
    return b"{%d+}\r\n%s" % (len(text), text)


def utf7(text):
    """A UTF-8 name as mUTF-7"""
    result = b""
    for part in re.findall(r"[ -~]+|[^ -~]+", text.decode()):
        if re.match(r"[ -~]", part):
            result += part.replace("&", "&-").encode()
        else:
            encoded = part.encode("utf-7").replace(b"/", b",")
            assert encoded[:1] == b"+" and encoded[-1:] == b"-"
            result += b"&" + encoded[1:]
    return result


def filters(phone):
    """folder as LIST writes it: its view filter"""
    line, = phone.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").lines("* XGETPIMAPPREFS")
    found = re.findall(r'PIMAP_XFILTER \(("(?:[^"\\]|\\.)*"|\S+) V ([^\s()]+)\)', line)
    assert len({folder for folder, _ in found}) == len(found)
    return dict(found)


def listed(client):
    return [re.match(r'\* LIST \(.*?\) "/" (.*)$', line).group(1)
            for line in client.ok('LIST "" *').lines("* LIST")]


def set_filter(phone, name, filter_name):
    return phone.command(b"XSETPIMAPPREF PIMAP_XFILTER (%s V %s)" % (
        literal(name), filter_name.encode()))


@ANY_FORMAT
def test_other_spellings_of_a_folder(server, user):
    """modern-email/defects#46, stalwartlabs/stalwart#1697: one folder under two
    names, as each of which it has another filter. What CREATE refuses is refused."""
    plain, phone = server.client(user), device(server, user, "ALL", "ALL")
    for name in (b"ab", b"&AOk-", utf7("éé".encode()), b"a&-b", b"caf&AOk-"):
        plain.ok(b"CREATE " + literal(name))
    folders = listed(plain)
    for name in folders:
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % name)
    before = filters(phone)
    assert set(before) == set(folders) | {"ALL"}
    for name in REFUSED + [b"&", b"&-&AGE-", b"&AGE-b", b"&AOkA6Q", b"a&b-", b"\x7f&AB"]:
        result = plain.command(b"CREATE " + literal(name))
        assert result.status in ("NO", "BAD"), name
        for client in (plain, phone):
            assert client.command(b"SELECT " + literal(name)).status in ("NO", "BAD"), name
        result = set_filter(phone, name, "NONE")
        assert result.status in ("NO", "BAD"), name
    assert filters(phone) == before
    assert listed(plain) == folders


@ANY_FORMAT
def test_names_that_are_names(server, user):
    """dovecot NEWS 2.4.3: what CREATE takes has one filter, under the name that
    LIST writes."""
    plain, phone = server.client(user), device(server, user, "ALL", "ALL")
    taken = 0
    for name in (b"&-", utf7(LONG), 255 * b"b", 256 * b"b", b"trailing ", b" leading",
                 b"\x7f", b"a\x7fb", b"a\\b\"c", b"(x)", b"{3}", b"NIL", b"&AA0ACg-"):
        folders = listed(plain)
        # before it is there
        assert set_filter(phone, name, "NONE").status in ("NO", "BAD"), name
        result = plain.command(b"CREATE " + literal(name))
        if result.status != "OK":
            assert set_filter(phone, name, "NONE").status in ("NO", "BAD"), name
            continue
        new = [folder for folder in listed(plain) if folder not in folders]
        leaf = new[-1]
        taken += 1
        assert leaf not in filters(phone)
        assert set_filter(phone, name, "NONE").status == "OK", name
        assert filters(phone)[leaf] == "NONE"
        assert phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % leaf)
        assert filters(phone)[leaf] == "F1"
        # a name that is one blank longer or shorter is another's
        for other in (name.rstrip(), name + b" "):
            if other != name:
                assert set_filter(phone, other, "NONE").status in ("NO", "BAD"), name
        assert filters(phone)[leaf] == "F1"
    assert taken >= 7


@ANY_FORMAT
def test_names_of_folders_for_doveadm(server, user):
    """The same: doveadm takes UTF-8."""
    plain, phone = server.client(user), device(server, user, "ALL", "ALL")
    for name in (b"ab", b"caf&AOk-", b"&-", b"trailing ", b"a&-b", b"&-AOk-", 255 * b"a"):
        plain.ok(b"CREATE " + literal(name))

    def set_by_doveadm(name, filter_name, fails=False):
        return server.doveadm("pimap", "pref", "set", "-u", user, "P1", "PIMAP_XFILTER",
                              name, "V", filter_name, fails=fails)
    for name, shown in ((b"ab", "ab"), ("café".encode(), "caf&AOk-"), (b"&", "&-"),
                        (b"trailing ", '"trailing "'), (b"a&b", "a&-b"), (b"&AOk-", "&-AOk-"),
                        (255 * b"a", 255 * "a")):
        set_by_doveadm(name, "NONE")
        assert filters(phone).get(shown) == "NONE", name
        set_by_doveadm(name, "F1")
        assert filters(phone)[shown] == "F1", name
        # and reads it as doveadm writes it
        assert name.decode() in server.doveadm("pimap", "pref", "get", "-u", user, "P1")
    before = filters(phone)
    for name in (b"&AGEAYg-", b"&AB", b"&AOk-&AOk-", b"caf&AOk-", b"a&-b", b"&-", b"ab ", b"",
                 b"trailing", "cafe\u0301".encode(), b"caf\xe9", b"\xff", b"\x7f", LONG, 256 * b"a"):
        set_by_doveadm(name, "NONE", fails=True)
    assert filters(phone) == before


@pytest.mark.parametrize("accept", [False, True])
def test_names_in_utf8(accept):
    """dovecot NEWS 2.4.3: raw UTF-8 is no second spelling of a name, and isn't one
    in 2.4.1 after ENABLE UTF8=ACCEPT either."""
    server = Server.temporary(
        "mdbox", extra="mail_utf8_extensions = yes\n" if DOVECOT_24 else None)
    try:
        plain, phone = server.client("joe"), device(server, "joe", "ALL", "ALL")
        plain.ok("CREATE caf&AOk-")
        if accept:
            for client in (plain, phone):
                client.command("ENABLE UTF8=ACCEPT")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (caf&AOk- V F1)")
        for name in ("café".encode(), "cafe\u0301".encode(), b"caf\xe9", b"caf&-AOk-",
                     b"caf&AGU-&AwE-"):
            for client in (plain, phone):
                assert client.command(b"STATUS %s (MESSAGES)" % literal(name)).status == "NO"
            assert set_filter(phone, name, "NONE").status in ("NO", "BAD"), name
        assert filters(phone) == {"ALL": "F1", "caf&AOk-": "F1"}
        assert set(listed(phone)) == set(listed(plain)) == {"INBOX", "caf&AOk-"}
    finally:
        server.close_clients()
        server.stop()
