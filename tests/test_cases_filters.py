# SPDX-License-Identifier: LGPL-2.1-only
"""Failures that the public record of other mail software knows, as filters: what
a plain session of the same user finds is what a device is to see. Each test
names its report."""

import glob
import re
import zlib

import pytest

from cases import HEAD, lmtp, lmtp_all, mail, put_into_new
from test_device import device


def set_filter(phone, criteria, name="F1"):
    """criteria: octets or text. Strings that need it are sent as literals."""
    if isinstance(criteria, str):
        criteria = criteria.encode()
    phone.ok(b"XFILTER SET %s NIL (%s)" % (name.encode(), criteria))


def viewer(server, user):
    """A device whose INBOX shows F1, which shows all"""
    return device(server, user, "ALL")


def shown(phone, folder="INBOX"):
    phone.ok("SELECT " + folder)
    return phone.fetch_all()


def compare(plain, phone, criteria):
    """The device sees what the plain session finds; returns it."""
    found = plain.search(criteria)
    set_filter(phone, criteria)
    assert shown(phone) == found, criteria
    assert phone.status("INBOX", "MESSAGES") == {"MESSAGES": len(found)}
    return found


# dates

DATES = ("1-Jan-1970", "2-Jan-1970", "1-Jan-1980", "27-Dec-2020", "28-Dec-2020",
         "29-Dec-2020", "1-Jan-2030", "1-Jan-2040", "31-Dec-2039", "13-Dec-2001")


def test_dates_that_are_none(server, user):
    """kdeldycke/mail-deduplicate#54, jstedfast/MailKit#254: Date headers that
    are missing, odd, doubled or far away."""
    uids = lmtp_all(server, user, "20")
    plain = server.client(user)
    plain.ok("SELECT INBOX")
    phone = viewer(server, user)
    names = {uid: name[:3] for name, uid in uids.items()}
    found = {}
    order = plain.ok("UID SORT (DATE) UTF-8 ALL").data("SORT")
    assert sorted(order) == sorted(names)
    for date in DATES:
        for key in ("SENTON", "SENTSINCE", "SENTBEFORE", "NOT SENTON"):
            criteria = "%s %s" % (key, date)
            uids = compare(plain, phone, criteria)
            found[criteria] = "".join(sorted(names[uid][2] for uid in uids))
            for sort in ("DATE", "REVERSE DATE", "ARRIVAL"):
                keys = "UID SORT (%s) UTF-8 ALL" % sort
                assert phone.ok(keys).data("SORT") == [
                    uid for uid in plain.ok(keys).data("SORT") if uid in uids]
    assert found["SENTON 27-Dec-2020"] == "g"
    assert found["SENTON 28-Dec-2020"] == "df"
    assert found["SENTSINCE 1-Jan-2030"] == "h"
    assert found["SENTBEFORE 1-Jan-1980"] == found["SENTON 1-Jan-1970"]
    assert set("aei") <= set(found["SENTON 1-Jan-1970"])


def test_envelopes_of_dates_that_are_none(server, user):
    """The same, read"""
    lmtp_all(server, user, "20")
    plain = server.client(user)
    plain.ok("SELECT INBOX")
    phone = device(server, user, "NOT SENTON 27-Dec-2020")
    uids = shown(phone)
    for items in ("(UID ENVELOPE INTERNALDATE)", "(UID BODY.PEEK[])"):
        theirs = {m["UID"]: m for m in plain.ok("FETCH 1:* " + items).fetched().values()}
        for number, message in phone.ok("FETCH 1:* " + items).fetched().items():
            assert message == theirs[str(uids[number - 1])]


# strings

NASTY = [
    b'x"\r\nA9 LOGOUT\r\n', b"a\rb", b"a\nb", b"\r\n", b"\r\n* BYE\r\n", b")", b"(",
    b") (ALL", b"{3}", b"{3+}\r\nabc", b"{3+}", b'"', b"\\", b'\\"', b'a" "b', b"*", b"%",
    b"NIL", b"ALL", b"", b" ", b"\t", b"\x01\x7f", "grüße €😀".encode(), b"a\x1b[2Jb",
    b"F1\tview\tx", b"x\ty\\n", 300 * b"long ",
]


def literal(text):
    return b"{%d+}\r\n%s" % (len(text), text)


def answer(phone, name, attributes="DESC CRITERIA"):
    """What XFILTER GET says, and that as the arguments of a SET"""
    response, = phone.ok(b"XFILTER GET %s (%s)" % (
        name, attributes.encode())).untagged
    assert response.line.startswith("* XFILTER ")
    # with the literals' octets in place
    whole, literals = b"", list(response.literals)
    for part in re.findall(rb'"(?:[^"\\]|\\.)*"|\{\d+\}|[^"{]+', response.line.encode("latin1")):
        whole += literal(literals.pop(0)) if part.startswith(b"{") else part
    assert literals == []
    return whole


def set_again(phone, whole):
    """SET with what GET has answered, under the name F2; returns F2's answer"""
    match = re.fullmatch(rb"\* XFILTER (.*?) ?\(DESC (.*) CRITERIA (\(.*\))\)", whole, re.DOTALL)
    phone.ok(b"XFILTER SET F2 %s %s" % (match.group(2), match.group(3)))
    return b"* XFILTER %s (DESC %s CRITERIA %s)" % (
        match.group(1), match.group(2), match.group(3))


def check_log(server):
    """One line for each record"""
    for line in server.log().splitlines():
        assert re.match(r"[A-Z][a-z][a-z] \d\d \d\d:\d\d:\d\d \S", line), line


ANY_FORMAT = pytest.mark.parametrize("server", ["mdbox"], indirect=True)


@ANY_FORMAT
@pytest.mark.parametrize("place", [
    b"(SUBJECT %s)", b'(HEADER X-A %s NOT SEEN)', b"(OR (FROM %s) BODY a)",
    b"(HEADER %s x)", b"(KEYWORD %s)"])
def test_nasty_strings_in_criteria(server, user, place):
    """mjs/imapclient#657, ruby/net-imap#701: CR LF in criteria became
    commands."""
    phone = viewer(server, user)
    plain = server.client(user)
    lmtp(server, user, HEAD + b"Subject: x\r\nX-A: )\r\n\r\na\r\n")
    taken = 0
    plain.ok("SELECT INBOX")
    for text in NASTY:
        criteria = place % literal(text)
        result = phone.command(b"XFILTER SET F1 %s %s" % (literal(b"desc"), criteria))
        if result.status != "OK":
            # and then it isn't a search key of a plain session either
            assert plain.command(b"UID SEARCH CHARSET UTF-8 " + criteria[1:-1]).status != "OK", text
            continue
        taken += 1
        first = answer(phone, b"F1")
        assert set_again(phone, first) == first
        assert answer(phone, b"F2").replace(b" F2 ", b" F1 ") == first
        assert len(phone.ok("NOOP").untagged) <= 1  # RESYNC
        if text:
            found = plain.ok(b"UID SEARCH CHARSET UTF-8 " + criteria[1:-1]).data("SEARCH")
            assert shown(phone) == found
    assert taken > len(NASTY) / 2 or b"KEYWORD" in place
    check_log(server)
    server.doveadm("pimap", "filter", "list", "-u", user)


@ANY_FORMAT
def test_nasty_names_and_descriptions(server, user):
    """ruby/net-imap#701, mjs/imapclient#657: the same in names, which can't have
    control characters, and in descriptions, which can."""
    phone = viewer(server, user)
    for text in NASTY:
        result = phone.command(b"XFILTER SET %s NIL (SEEN)" % literal(text))
        good = (0 < len(text) <= 64 and text != b"ALL" and
                not re.search(rb"[\x00-\x1f\x7f]", text))
        assert (result.status == "OK") == good, (text, result)
        if good:
            name = literal(text)
            whole = answer(phone, name)
            assert set_again(phone, whole) == whole
            lines = phone.ok("XPROVISION").lines("* XPROVISION XPIMAPPREF XFILTER_NAME")
            assert len(lines) == 1
            phone.ok(b"XSETPIMAPPREF PIMAP_XFILTER (INBOX V %s)" % name)
            assert len(phone.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").untagged) <= 2
            # what the shell gets is the same name
            server.doveadm("pimap", "filter", "show", "-u", user, text.decode())
            phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)")
            phone.ok(b"XFILTER DELETE " + name)
        result = phone.command(b"XFILTER SET F3 %s (SEEN)" % literal(text))
        assert (result.status == "OK") == (len(text) <= 1024)
        if result.status == "OK":
            whole = answer(phone, b"F3")
            assert set_again(phone, whole) == whole
            rows = server.doveadm("pimap", "filter", "list", "-u", user)
            assert rows.count("\n") == 1 + 3, rows
            assert not re.search(r"[\x00-\x09\x0b-\x1f]", rows)
            rows = server.doveadm("pimap", "filter", "show", "-u", user, "F3")
            assert rows.count("\n") == 3, rows
    # it is all there after a restart
    assert answer(server.client(user + "#P1"), b"F3") == answer(phone, b"F3")
    check_log(server)


@ANY_FORMAT
def test_nul_is_refused(server, user):
    """ruby/net-imap#701: NUL, wherever a string can be"""
    phone = viewer(server, user)
    before = server.doveadm("pimap", "filter", "list", "-u", user)
    nul = literal(b"a\0b")
    for command in (b"SET %s NIL (SEEN)", b"SET F1 %s (SEEN)", b"SET F1 NIL (SUBJECT %s)",
                    b"SET F1 NIL (HEADER %s x)", b"SET F1 NIL (HEADER X-A %s)",
                    b"SET F1 NIL (KEYWORD %s)", b"SET F1 NIL (MIMEPART (TYPE %s))",
                    b"SET CHARSET %s F1 NIL (SEEN)", b"GET %s (DESC)", b"DELETE %s"):
        result = phone.command(b"XFILTER " + command % nul)
        assert result.status == "BAD", (command, result)
    for command in (b"XSETPIMAPPREF PIMAP_XFILTER (%s V F1)",
                    b"XSETPIMAPPREF PIMAP_XFILTER (INBOX V %s)",
                    b"XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS %s"):
        assert phone.command(command % nul).status == "BAD"
    assert server.doveadm("pimap", "filter", "list", "-u", user) == before


def tricky_japanese():
    """A text whose ISO-2022-JP has the octets of IMAP's own syntax"""
    wanted, text = set(b'"\\(){}%*'), ""
    for code in range(0x3041, 0x9fff):
        octets = chr(code).encode("iso2022_jp", "ignore")[3:-3]
        if len(octets) == 2 and wanted & set(octets):
            wanted -= set(octets)
            text += chr(code)
        if not wanted:
            return text
    raise AssertionError("there is no %r" % wanted)


@ANY_FORMAT
def test_charsets_with_the_octets_of_imap(server, user):
    """mjs/imapclient#657, jstedfast/MailKit#1130: charsets in which a character
    has octets that mean something to a parser."""
    phone = viewer(server, user)
    text = tricky_japanese()
    lmtp(server, user, HEAD + b"Subject: x\r\nMIME-Version: 1.0\r\n"
         b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode() + b"\r\n")
    lmtp(server, user, HEAD + b"Subject: x\r\n\r\nother\r\n")
    octets = text.encode("iso2022_jp")
    assert set(b'"\\(){}') <= set(octets)
    for name, command in ((b"F1", b"XFILTER SET CHARSET ISO-2022-JP F1 NIL (BODY %s)"),
                          (b"F3", b"XFILTER SET CHARSET iso-2022-jp F3 NIL (NOT (OR SEEN BODY %s))")):
        phone.ok(command % literal(octets))
        response, = phone.ok(b"XFILTER GET %s (CRITERIA)" % name).untagged
        assert response.literals == [text.encode()]
    assert shown(phone) == [1]
    # name and description have the same charset
    phone.ok(b"XFILTER SET CHARSET ISO-2022-JP %s %s (SEEN)" % (
        literal(octets[:9]), literal(octets)))
    name = octets[:9].decode("iso2022_jp").encode()
    assert text.encode() in answer(phone, literal(name))
    # not valid in it, and one whose octets an IMAP string can't have
    for charset, octets in ((b"ISO-2022-JP", b"\x1b$B\xff\xfe"), (b"UTF-8", b"\xff"),
                            (b"UTF-16", "ab".encode("utf-16")),
                            (b"UTF-16LE", "ab".encode("utf-16le"))):
        before = answer(phone, b"F1")
        result = phone.command(b"XFILTER SET CHARSET %s F1 NIL (SUBJECT %s)" % (
            charset, literal(octets)))
        assert result.status in ("BAD", "NO"), charset
        assert answer(phone, b"F1") == before
    # UTF-16 without NUL is a charset like others
    result = phone.command(b"XFILTER SET CHARSET UTF-16BE F3 NIL (SUBJECT %s)" %
                           literal(text.encode("utf-16be")))
    if result.status == "OK":
        assert phone.ok("XFILTER GET F3 (CRITERIA)").untagged[0].literals == [text.encode()]
    check_log(server)


# sizes

def test_sizes_with_bare_lf(server, user):
    """emersion/go-imap#298, zone-eu/wildduck#536: LARGER and SMALLER are strict,
    and of the size with CR LF."""
    octets = mail("27")["27-lf-only.eml"]
    assert b"\r" not in octets
    plain = server.client(user)
    plain.ok("SELECT INBOX")
    if server.format == "maildir":
        put_into_new(server, user, ["27-lf-only.eml"])
    else:
        plain.append("INBOX", [octets])
    plain.ok("NOOP")
    size = int(plain.ok("FETCH 1 RFC822.SIZE").fetched()[1]["RFC822.SIZE"])
    assert size == len(octets) + octets.count(b"\n")
    phone = viewer(server, user)
    for criteria, found in (("LARGER %d" % size, []), ("LARGER %d" % (size - 1), [1]),
                            ("SMALLER %d" % size, []), ("SMALLER %d" % (size + 1), [1]),
                            ("NOT LARGER %d" % size, [1]), ("NOT SMALLER %d" % size, [1]),
                            ("LARGER %d" % len(octets), [1]), ("LARGER 0", [1]),
                            ("SMALLER 0", []), ("SMALLER 4294967295", [1])):
        assert compare(plain, phone, criteria) == found
        if found:
            assert phone.ok("FETCH 1 RFC822.SIZE").fetched()[1]["RFC822.SIZE"] == str(size)


# NUL, control characters, very long lines

SEEN_28 = {"SUBJECT after": "ad", "SUBJECT needle": "a", "BODY bodyneedle": "a",
           "HEADER X-Bare two": "b", 'SUBJECT "after long"': "d", 'SUBJECT "cut off"': "c",
           "TEXT needle": "a", "HEADER X-Long aaa": "d", 'BODY "line3"': "b"}


@pytest.mark.parametrize("how", ["lmtp", "file"])
def test_nul_and_control_characters_in_mail(server, user, how):
    """cyrusimap/cyrus-imapd#1512, #5205, #5582: text behind a NUL, a bare CR or a
    line of 100,000 octets is found."""
    plain = server.client(user)
    plain.ok("SELECT INBOX")
    if how == "lmtp":
        lmtp_all(server, user, "28")
    elif server.format != "maildir":
        return
    else:
        put_into_new(server, user, mail("28"))
    plain.ok("NOOP")
    assert plain.fetch_all() == [1, 2, 3, 4]
    phone = viewer(server, user)
    for criteria, names in SEEN_28.items():
        found = compare(plain, phone, criteria)
        assert "".join("abcd"[uid - 1] for uid in found) == names, criteria
        for number, uid in enumerate(found, 1):
            items = "(ENVELOPE BODYSTRUCTURE RFC822.SIZE BODY.PEEK[] BODY.PEEK[1])"
            mine, theirs = (client.ok(command + items).untagged for client, command in (
                (phone, "FETCH %d " % number), (plain, "UID FETCH %d " % uid)))
            assert b"\0" not in b"".join(mine[0].literals) + mine[0].line.encode("latin1")
            assert mine[0].items() == {key: value for key, value in theirs[0].items().items()
                                       if key != "UID"}
            assert mine[0].literals == theirs[0].literals
        compare(plain, phone, "NOT " + criteria)


# MIMEPART, and odd MIME

MIMEPARTS = [
    "MIMEPART (TYPE text)", "MIMEPART (TYPE message SUBTYPE rfc822)", "MIMEPART TYPE multipart",
    "NOT MIMEPART (TYPE text)", "MIMEPART (NOT TYPE text)", "OR MIMEPART TYPE text BODY needle",
    "MIMEPART (CHILD EXISTS)", "MIMEPART (PARENT EXISTS)", "MIMEPART (NOT CHILD EXISTS)",
    "MIMEPART (CHILD EXISTS TYPE message)", "MIMEPART (DEPTH MIN 2)", "MIMEPART (DEPTH 0)",
    "MIMEPART (DEPTH MIN 120)", "MIMEPART (INDEX 2)", "MIMEPART (SIZE LARGER 20)",
    "MIMEPART (SIZE SMALLER 1)", "MIMEPART (SIZE 0)", "MIMEPART (ENCODING base64)",
    "MIMEPART (DESCRIPTION say)", "MIMEPART (DISPOSITION TYPE attachment)",
    "MIMEPART (FILENAME CONTAINS docx)", "MIMEPART (FILENAME BEGINS a)",
    "MIMEPART (FILENAME IS x)", 'MIMEPART (FILENAME CONTAINS "")', 'MIMEPART (FILENAME BEGINS "")',
    "MIMEPART (OR FILENAME CONTAINS 1 FILENAME CONTAINS pdf)", "MIMEPART (SUBJECT inner)",
    "MIMEPART (FROM a)", "MIMEPART (TO a)", "MIMEPART (CC a)", "MIMEPART (BCC a)",
    "MIMEPART (SENDER a)", "MIMEPART (REPLY-TO a)", "MIMEPART (MESSAGE-ID a)",
    "MIMEPART (IN-REPLY-TO a)", "MIMEPART (ID a)", "MIMEPART (MD5 a)", "MIMEPART (LANGUAGE en)",
    "MIMEPART (LOCATION a)", "HEADER X y MIMEPART (TYPE text)",
    "HEADER From ann MIMEPART (TYPE text) BODY needle", "BODY needle MIMEPART (FILENAME BEGINS a)",
    "MIMEPART (TYPE text) MIMEPART (TYPE application)",
]
# what crashes Dovecot on some message, or reads what isn't there, or is never
# evaluated
UNSAFE_MIMEPARTS = [
    'MIMEPART (FILENAME ENDS "%s")' % (300 * "x"), 'MIMEPART (FILENAME ENDS "")',
    "MIMEPART FILENAME ENDS pdf", "MIMEPART (NOT FILENAME ENDS pdf)",
    "MIMEPART (TYPE text (OR TYPE a FILENAME ENDS pdf))", "NOT MIMEPART (FILENAME ENDS pdf)",
    "OR SEEN (NOT MIMEPART FILENAME ENDS pdf)", "MIMEPART (SENTBEFORE 1-Jan-2020)",
    "MIMEPART (SENTON 1-Jan-2020)", "MIMEPART (NOT SENTSINCE 1-Jan-2020)",
    "MIMEPART (PARENT (TYPE text))", "MIMEPART PARENT TYPE text",
    "MIMEPART (CHILD (PARENT (PARENT (PARENT TYPE text))))", "MIMEPART (CHILD (TYPE text))",
    "MIMEPART (PARAM name x)", "MIMEPART (DISPOSITION PARAM filename x)",
    "MIMEPART (HEADER X y)", "MIMEPART (BODY x)", "MIMEPART (TEXT x)",
]


def test_mimepart_is_as_in_a_plain_session(server, user):
    """dovecot/core 5b0b45ba0b and NEWS 2.3.13, lefcha/imapfilter#213: searches
    that met odd MIME, and asserted."""
    plain = server.client(user)
    names = list(mail("30")) + ["54-original-rfc2231.eml", "59-odd-parts.eml"]
    messages = mail()
    for name in names:
        lmtp(server, user, messages[name])
    plain.ok("SELECT INBOX")
    phone = viewer(server, user)
    kinds = set()
    for criteria in MIMEPARTS:
        kinds.add(len(compare(plain, phone, criteria)))
    assert len(kinds) > 4
    # they are evaluated again and again in one session
    for criteria in ("MIMEPART (FILENAME CONTAINS docx)", "MIMEPART (FILENAME BEGINS a)",
                     "BODY needle MIMEPART (TYPE text)", "UNSEEN MIMEPART (FILENAME CONTAINS docx)"):
        set_filter(phone, criteria)
        phone.ok("SELECT INBOX")
        for name in ("54-original-rfc2231.eml", "30a-same-boundary-nested.eml") * 2:
            lmtp(server, user, messages[name])
            plain.ok("NOOP")
            plain.ok("UID STORE 1:* +FLAGS.SILENT (\\Answered)")
            phone.ok("NOOP")
            assert phone.fetch_all() == plain.search(criteria)


@ANY_FORMAT
def test_what_crashes_is_no_filter(server, user):
    """dovecot NEWS 2.4.2: MIMEPART FILENAME ENDS read outside its buffer. A stored
    filter would do so at each SELECT."""
    phone = viewer(server, user)
    before = answer(phone, b"F1")
    for criteria in UNSAFE_MIMEPARTS:
        result = phone.command("XFILTER SET F1 NIL (%s)" % criteria)
        assert result.status == "BAD" and " MIMEPART " in result.text, criteria
        assert "search key" in server.doveadm(
            "pimap", "filter", "set", "-u", user, "F1", criteria, fails=True)
    assert answer(phone, b"F1") == before


def test_delivery_evaluates_nothing(server, user):
    """mailcow-dockerized#1475, CVE-2020-12100: MIME that a matcher chokes on is
    delivered once, at once."""
    plain = server.client(user)
    plain.ok("SELECT INBOX")
    phone = viewer(server, user)
    set_filter(phone, "BODY needle")
    for folder in ("ALL", "INBOX"):
        for kind in "VN":
            phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s %s F1)" % (folder, kind))
    messages = mail("30")
    for name in messages:
        lmtp(server, user, messages[name])
    plain.ok("NOOP")
    assert len(plain.fetch_all()) == len(messages) == 6
    for criteria in ("BODY needle", "TEXT needle", "NOT BODY needle", "SUBJECT inner",
                     "BODY needle MIMEPART (TYPE text)", "OR BODY needle MIMEPART (DEPTH MIN 1)",
                     "HEADER Content-Type name", "BODY x"):
        found = compare(plain, phone, criteria)
        for items in ("BODYSTRUCTURE", "BODY.PEEK[TEXT]", "ENVELOPE"):
            theirs = plain.ok("UID FETCH 1:* (%s)" % items).fetched()
            for number, message in phone.ok("FETCH 1:* (UID %s)" % items).fetched().items() \
                    if found else ():
                assert message[items.replace(".PEEK", "")] == \
                    theirs[found[number - 1]][items.replace(".PEEK", "")]


@ANY_FORMAT
@pytest.mark.expects_faults
def test_a_stored_filter_that_crashes_locks_nobody_out(server, user):
    """dovecot NEWS 2.4.2, 5b0b45ba0b: a filter that was stored before it was known
    to crash. It isn't evaluated, the folder is refused, and the device can mend
    it."""
    phone = viewer(server, user)
    plain = server.client(user)
    lmtp(server, user, HEAD + b"Subject: x\r\n\r\nx\r\n")
    path, = glob.glob("%s/mail/%s/*/dovecot-pimap-profile" % (server.path, user))
    with open(path, "rb") as file:
        good = file.read()
    for criteria in (b"MIMEPART (FILENAME ENDS x)", b"MIMEPART (PARENT (TYPE text))", b"NOT MIMEPART (SENTON 1-Jan-2020)",
                     b"UID 1", b"(" * 3000 + b"MIMEPART BODY x" + b")" * 3000, b"FOO", b"(SEEN", b""):
        text, count = re.subn(rb"^filter\tF1\tALL\t", b"filter\tF1\t" + criteria + b"\t",
                              good[:good.rindex(b"end\t")], flags=re.MULTILINE)
        assert count == 1
        with open(path, "wb") as file:
            file.write(text + b"end\t%08x\n" % zlib.crc32(text))
        for client in (phone, server.client(user + "#P1")):
            for command in ("SELECT INBOX", "STATUS INBOX (MESSAGES)"):
                result = client.command(command)
                assert result.status == "NO" and not result.lines("* STATUS"), (criteria, result)
        lmtp(server, user, HEAD + b"Subject: x\r\n\r\nx\r\n")
        plain.ok("SELECT INBOX")
        set_filter(phone, "SUBJECT x")
        assert shown(phone) == plain.search("ALL")
        phone.ok("UNSELECT")
    assert not re.search("Panic|signal 11", server.log())
