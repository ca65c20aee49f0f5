# SPDX-License-Identifier: LGPL-2.1-only
"""Commands that are wrong: each is answered BAD or NO with a reason that a person
understands, changes nothing, leaves no line in the log, and the session goes on.
PIMAP_SEED and PIMAP_COUNT make other mutations, and more or less of them."""

import os
import random
import re

import pytest

from test_commands import literal, profile

pytestmark = pytest.mark.parametrize("server", ["mdbox"], indirect=True)

# what the device has when they are sent
SETUP = [b"CREATE Work", b"CREATE &AOQ-", b"XFILTER SET F1 NIL (SEEN)",
         b'XFILTER SET "two words" "a desc" (SUBJECT "x y")',
         b"XFILTER SET unused NIL (NOT SEEN)", b"XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)",
         b"XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS 13335559999"]

DEEP = b"NOT " * 33 + b"SEEN"
LONG = literal(4097 * b"x")


def each(template, *values):
    return [template % value for value in values]


def table():
    """At least 300 of them"""
    # names of filters
    names = [b"", b"()", b"(F1)", b'""', b"NIL", b'"F1', b'F1"x"', b"F 1", b"{2+}x", b"F(1",
             b"F1)", literal(b"\xff"), literal(b"a\0b"), literal(b"a\nb"), literal(65 * b"x"), literal(b""),
             literal(b"\xc3\x28"), b'"a\\"', b"F\x7f", b"F\x01", literal(b"\xf8\x88\x80\x80\x80")]
    commands = each(b"XFILTER GET %s (DESC)", *names)
    commands += each(b"XFILTER SET %s NIL (SEEN)", *(name for name in names if name != b"NIL"), b"ALL", b"nOnE", b'"DEFAULT"')
    commands += each(b"XFILTER DELETE %s", *names, b"ALL", b"none", b"DEFAULT", b"F1", b"nosuch", b"f1",
                     b"unused unused", b"unused (DESC)", b"CHARSET UTF-8 unused")
    # the rest of GET and SET
    commands += each(b"XFILTER GET F1%s", b"", b" DESC", b" ()", b" (FOO)", b" (DESC FOO)", b' ("DESC")',
                     b" (DESC) x", b" ((DESC))", b" (DESC", b" DESC)", b" NIL", b" (NIL)", b" (DESC (CRITERIA))",
                     b" (DESC) (CRITERIA)", b" " + literal(b"DESC"), b"(DESC)", b" (DESC,CRITERIA)")
    commands += each(b"XFILTER GET %s", b"CHARSET F1 (DESC)", b"CHARSET X-NO F1 (DESC)", b'CHARSET "" F1 (DESC)', b"CHARSET UTF-8//IGNORE F1 (DESC)",
                     b"CHARSET UTF-8 (DESC)", b"CHARSET (UTF-8) F1 (DESC)", b"DEFAULT (DESC)", b"nosuch (DESC)",
                     b"CHARSET UTF-16 F1 (DESC)", b"CHARSET", b"CHARSET UTF-8", b"f1 (CRITERIA)")
    commands += each(b"XFILTER SET F1 %s (SEEN)", b"(x)", b"a b", b"atom-desc", literal(b"\xff"),
                     literal(b"a\0"), literal(1025 * b"x"), b"", b'"x', b"{5+}x", b"()", b"NIL NIL")
    commands += each(b"XFILTER SET %s", b"F1", b"F1 NIL", b"F1 NIL SEEN", b"F1 NIL ()", b"F1 NIL (SEEN) x",
                     b"F1 NIL (SEEN) (SEEN)", b"F1 NIL NIL", b'F1 NIL "SEEN"', b"F1 NIL (SEEN", b"F1 NIL SEEN)",
                     b"F1 (SEEN)", b"CHARSET X-NO F1 NIL (SEEN)", b"CHARSET F1 NIL (SEEN)",
                     b"CHARSET (UTF-8) F1 NIL (SEEN)", b"CHARSET UTF-8 F1 (SEEN)", b"F1 NIL (SEEN))",
                     b"CHARSET ISO-8859-1 CHARSET UTF-8 F1 NIL (SEEN)", b"CHARSET US-ASCII F1 NIL (SUBJECT %s)" %
                     literal(b"\xe4"), b"CHARSET UTF-8 F1 NIL (SUBJECT %s)" % literal(b"\xe4"),
                     b"CHARSET UTF-8 F1 NIL (SUBJECT %s)" % literal(b"\xed\xa0\x80"),
                     b"CHARSET UTF-16 F1 NIL (SUBJECT x)", b"CHARSET ISO-2022-JP F1 NIL (SUBJECT %s)" %
                     literal(b"\x1b$B\xff"))
    # search keys
    commands += each(
        b"XFILTER SET F1 NIL (%s)", b"FOO", b"1", b"1:*", b"*", b"1,3", b"UID 1", b"UID", b"$", b"RECENT", b"NEW",
        b"OLD", b"MODSEQ 1", b"MODSEQ /flags/x all 1", b"INTHREAD REFS SEEN", b"X-REAL-UID 1", b"FILTER F1",
        b"NOT", b"NOT NOT", b"OR", b"OR SEEN", b"OR (SEEN)", b"(OR SEEN) SEEN", b"NOT ()", b"()", b"(())", b"OR () SEEN",
        b"SUBJECT", b"FROM", b"TO", b"CC", b"BCC", b"BODY", b"TEXT", b"HEADER", b"HEADER X-A", b"KEYWORD", b"UNKEYWORD",
        b"SUBJECT (a)", b"SUBJECT ()", b"HEADER (a) b", b"HEADER a (b)", b"KEYWORD (a)", b"FROM a TO",
        b"BEFORE", b"BEFORE x", b"BEFORE 2020-01-01", b"BEFORE x-Jan-2020", b"BEFORE 1-Foo-2020", b"ON 1-Jan-20",
        b'SINCE ""', b"SINCE (1-Jan-2020)", b"SENTON 1-Jan", b"SENTSINCE -1-Jan-2020", b"SENTBEFORE 1/1/2020",
        b"SAVEDON x", b"SAVEDSINCE", b"SAVEDBEFORE 1-Jan-", b"X-SAVEDON 1", b"LARGER", b"LARGER x", b"LARGER -1",
        b"LARGER 1k", b"LARGER 99999999999999999999999", b"SMALLER 1.5", b'SMALLER ""', b"SMALLER (1)",
        b"OLDER 0", b"OLDER", b"OLDER -1", b"OLDER 4294967296", b"YOUNGER x", b"YOUNGER 0", b"YOUNGER 1d",
        b"DAYSBEFORETODAY", b"DAYSBEFORETODAY x", b"DAYSBEFORETODAY -1", b"DAYSBEFORETODAY 4294967296",
        b"DAYSBEFORETODAY (3)", b'DAYSBEFORETODAY ""', b"DAYSBEFORETODAY 3.0", b"DAYSBEFORETODAY 3d", b"FUZZY",
        b"FUZZY FUZZY", b"FUZZY FOO", b"MIMEPART", b"MIMEPART ()", b"MIMEPART FOO", b"MIMEPART (TYPE)", b"MIMEPART SEEN",
        b"MIMEPART (SIZE)", b"MIMEPART (SIZE x)", b"MIMEPART (SIZE LARGER)", b"MIMEPART (SIZE LARGER x)",
        b"MIMEPART (DEPTH)", b"MIMEPART (DEPTH MIN)", b"MIMEPART (DEPTH -1)", b"MIMEPART (DEPTH MIN x)",
        b"MIMEPART (INDEX)", b"MIMEPART (INDEX x)", b"MIMEPART (FILENAME)", b"MIMEPART (FILENAME x)",
        b"MIMEPART (FILENAME IS)", b"MIMEPART (FILENAME ENDS x)", b"MIMEPART (CHILD)", b"MIMEPART (EXISTS)",
        b"MIMEPART (CHILD (TYPE text))", b"MIMEPART (PARENT TYPE text)", b"MIMEPART (OR TYPE a)", b"MIMEPART (NOT)",
        b"MIMEPART (NOT ())", b"MIMEPART (DISPOSITION)", b"MIMEPART (DISPOSITION x)", b"MIMEPART (DISPOSITION TYPE)",
        b"MIMEPART (DISPOSITION PARAM a b)", b"MIMEPART (PARAM a b)", b"MIMEPART (HEADER a b)", b"MIMEPART (BODY a)",
        b"MIMEPART (SENTON 1-Jan-2020)", b"MIMEPART (SENTON x)", b"MIMEPART (CHILD OR EXISTS TYPE a)",
        b"MIMEPART (SIZE (1))", b"MIMEPART (FILENAME (IS) x)", b"X-GUID", b"X-MAILBOX", b"X-MAILBOX &AB",
        b"X-MAILBOX (a)", b'"SEEN"', literal(b"SEEN"), b'NOT "SEEN"', b"SEEN FOO", b"(SEEN FOO)", b"NIL", b"NOT NIL",
        b"SEEN,FLAGGED", b"SEEN (", b") SEEN (", b"SUBJECT " + literal(b"a\0b"), b"SUBJECT " + literal(b"\xff"),
        b"KEYWORD " + literal(b"\xff"), b"MIMEPART (TYPE %s)" % literal(b"\xff"), b"SUBJECT " + literal(9000 * b"x"),
        DEEP, b"OR SEEN " * 33 + b"SEEN", b"(" * 33 + b"SEEN" + b")" * 33, b"(" * 20000 + b"SEEN" + b")" * 20000,
        b"SEEN " * 2000 + b"SEEN", b"MIMEPART (" + b"NOT " * 33 + b"TYPE a)", b"SUBJECT \xe4", b"\xe4", b"SE\x01EN",
        b"SEEN\x7f", b'SUBJECT "a\rb"', b"SUBJECT {1", b"SUBJECT {x}", b"SUBJECT {-1}", b"SUBJECT {1+}a",
        literal(b"x\r\n* BYE\r\nA LOGOUT\r\n"), b"OR " + literal(b"x\r\n* OK\r\n") + b" SEEN",
        b"MIMEPART (%s)" % literal(b"x\r\n* OK\r\n"), b"\\Seen", b"SEEN]", b"[SEEN]")
    commands += each(b"XFILTER%s", b"", b" ", b" FOO", b" GET", b" SET", b" DELETE", b" (GET) F1", b' "GET" F1 (DESC)',
                     b" LIST", b" SET,GET", b" NIL", b" GETF1 (DESC)", b" RENAME F1 F2", b" get", b" ()", b" *")
    # preferences
    commands += each(b"XSETPIMAPPREF%s", b"", b" FOO", b" FOO BAR", b" (PIMAP_XFILTER)", b' "PIMAP_XFILTER" (INBOX V F1)',
                     b" PIMAP_XFILTER", b" PIMAP_OUTBAND_CHANNEL", b" PIMAP_INBAND_PUSH", b" PIMAP_EVENT_FILTER",
                     b" PIMAP_OUTBAND_FORMAT", b" PIMAP_OUTBAND_ADDRESS", b" PIMAP_INBAND_NEW_FORMAT", b" NOTIF_ID x",
                     b" PIMAP_ENCRYPTION", b" pimap", b" NIL", b" PIMAP_UDP_HOST x", b" XFILTER_NAME x", b" ()")
    for name, values in ((b"PIMAP_OUTBAND_CHANNEL", (b"SMS", b"JMS", b"WAP_PUSH", b"MMS", b"UDP", b"SIP", b"MAIL", b"")),
                         (b"PIMAP_INBAND_NEW_FORMAT", (b"ALL", b"FAST", b"FULL", b"(FLAGS)", b"(FOO)", b"FLAGS", b"()", b"")),
                         (b"PIMAP_INBAND_PUSH", (b"ON", b"1", b"yes")), (b"PIMAP_EVENT_FILTER", (b"SOME", b"OLD", b"N")),
                         (b"PIMAP_OUTBAND_FORMAT", (b"PLAIN", b"EMN,EXTENDED", b"EM")),
                         (b"PIMAP_ENCRYPTION", (b"AES", b"3DES", b"ALL"))):
        commands += each(name.join((b"XSETPIMAPPREF ", b" %s")), *values, b"(NONE OFF)", b"NONE OFF NONE", b'"x', b'"NO NE"',
                         literal(b"a\0"), literal(b"\xff"), literal(b"NONE\r\n"))
    commands += each(b"XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS %s", b"a b", b"(a)", b"()", b'"a', LONG, literal(b"a\nb"),
                     literal(b"a\0b"), literal(b"\x7f"), literal(b"\xff"), literal(b"a\tb"), b"\xe4", b'"a" "b"', b"{3+}a")
    commands += each(
        b"XSETPIMAPPREF PIMAP_XFILTER %s", b"INBOX V F1", b"(INBOX V)", b"(INBOX)", b"()", b"(INBOX V F1 x)", b"(INBOX V F1) x",
        b"(INBOX X F1)", b"(INBOX VN F1)", b'(INBOX "V" F1)', b"(INBOX (V) F1)", b"((INBOX) V F1)", b"(INBOX V (F1))", b"F1",
        b"(INBOX V nosuch)", b"(INBOX V f1)", b'(INBOX V "")', b"(nosuch V F1)", b"(Work/nosuch B ALL)", b'("" V F1)', b"(* V F1)",
        b"(% V F1)", b"(W* V ALL)", b"(&AB V ALL)", b"(&AGEAYg- V ALL)", b"(a&b V ALL)", b"(/ V ALL)", b"(/etc/passwd V ALL)",
        b"(../x V ALL)", b"(~joe V ALL)", b"(Work/ V ALL)", b"(Work//x V ALL)", b"(all V F1)", b"(NIL V ALL)",
        b"(%s V ALL)" % literal(b"\xc3\xa4"), b"(%s V ALL)" % literal(b"\xff"), b"(%s V ALL)" % literal(b"a\0b"),
        b"(%s V ALL)" % literal(b"a\nb"), b"(%s V ALL)" % literal(5000 * b"x"), b"(INBOX V %s)" % literal(65 * b"x"),
        b"(INBOX V %s)" % literal(b"\xff"), b"(INBOX V %s)" % literal(b"a\0"), b"(INBOX V %s)" % literal(b"a\n"),
        b"(INBOX V F1", b"INBOX V F1)", b"(INBOX V F1))", b"NIL", b"(INBOX, V, F1)", b"(INBOX V F1)(Work V F1)", b'"(INBOX V F1)"')
    commands += each(b"XGETPIMAPPREFS%s", b"", b" ()", b" PIMAP_XFILTER", b" (FOO)", b" (PIMAP_XFILTER FOO)", b" (PIMAP_XFILTER) x",
                     b" ((PIMAP_XFILTER))", b' ("PIMAP_XFILTER")', b" (NOTIF_ID)", b" NIL", b" (NIL)", b" (*)", b" (PIMAP_*)",
                     b" (%s)" % (b"PIMAP_INBAND_PUSH " * 33), b" (PIMAP_XFILTER", b" PIMAP_XFILTER)", b" (%s)" % literal(b"PIMAP_XFILTER"),
                     b" (PIMAP_XFILTER,PIMAP_INBAND_PUSH)")
    commands += each(b"XPROVISION %s", b"P2", b"p1", b"()", b"(P1)", b'""', b"../x", b"P1 a b", b"P1 (a)", b"P1 ()", b'P1 "a',
                     b"P1#P2", b"P1@x", b"-x", literal(b"P1\0"), literal(b"P1\n"), literal(65 * b"x"), b"P1 " + LONG,
                     b"P1 " + literal(b"a\0"), b"P1 " + literal(b"\xff"), b"P1 " + literal(b"a\r\nb"), b"NIL", b"joe#P1", b"P1 a (b)")
    return commands


def reason(result):
    """What a person is told, without code, name of the command and timing"""
    text = re.sub(r"^\[[A-Z]+( \([^)]*\))?\] ", "", result.text)
    text = re.sub(r"^Error in IMAP (command [A-Z]+|tag): ", "", text)
    return re.sub(r" \([\d.]+ .*secs\)\.$", "", text)


def check_refused(command, result):
    assert result.status in ("NO", "BAD") and result.untagged == [], (command, result)
    text = reason(result)
    assert re.fullmatch(r"[ -~]+", text) and re.search(r"[A-Za-z]{2}.* ", text), (command, result)
    assert 10 <= len(text) < 300, (command, result)
    assert not re.search(r"(?i)internal|null|bug|assert|unknown error", text), (command, result)


def send(phone, commands):
    """In one packet, with a NOOP behind each ten: after 20 BADs in a row Dovecot
    ends a session. Returns the results."""
    packet = []
    for number, command in enumerate(commands, 1):
        packet += [command, b"NOOP"] if number % 10 == 0 else [command]
    results = phone.pipeline(packet + [b"NOOP"])
    assert results[-1].status == "OK"
    return [result for command, result in zip(packet, results) if command != b"NOOP"]


@pytest.fixture
def phone(server, user):
    phone = server.client(user + "#P1")
    for command in SETUP:
        phone.ok(command)
    server.wait_for_log()
    yield phone


def test_malformed(server, user, phone):
    commands = table()
    assert len(set(commands)) == len(commands) >= 300
    before, log = profile(server, user), server.log()
    assert before != b""
    for selected in (b"NOOP", b"SELECT INBOX"):
        phone.ok(selected)
        for command in commands:
            check_refused(command, phone.command(command))
            phone.ok(b"NOOP")
            assert profile(server, user) == before, command
    # pipelined, they are answered alike; a NOOP in a folder would wait for them all
    phone.ok(b"UNSELECT")
    for start in range(0, len(commands), 50):
        part = commands[start:start + 50]
        for command, result in zip(part, send(phone, part)):
            check_refused(command, result)
    assert profile(server, user) == before and server.log() == log


# mutations: a command is a list of tokens, (kind, octets)

GOOD = [
    b"XFILTER GET F1 (DESC CRITERIA)", b'XFILTER GET CHARSET UTF-8 "two words" (DESC)', b"XFILTER GET ALL (CRITERIA)",
    b"XFILTER SET F1 NIL (SEEN)", b'XFILTER SET "two words" "a desc" (SUBJECT "x y" UNSEEN)',
    b"XFILTER SET F1 {3}abc (OR (FROM ann TO bob) NOT (BODY {2}xy LARGER 100))",
    b"XFILTER SET CHARSET ISO-8859-1 F1 {2}\xe4\xf6 (SUBJECT {3}gr\xfc TEXT a)",
    b"XFILTER SET CHARSET ISO-2022-JP F1 NIL (BODY {8}\x1b$B$\x22\x1b(B)",
    b"XFILTER SET F1 NIL (DAYSBEFORETODAY 7 YOUNGER 3600 NOT OLDER 60)",
    b"XFILTER SET F1 NIL (SINCE 1-Jan-2020 SENTBEFORE 2-Feb-2021 SAVEDON 3-Mar-2022)",
    b"XFILTER SET F1 NIL (MIMEPART (TYPE text OR FILENAME CONTAINS x SIZE LARGER 5 CHILD EXISTS))",
    b"XFILTER SET F1 NIL (FUZZY SUBJECT a HEADER X-A {1}b KEYWORD $Label UNKEYWORD x)",
    b"XFILTER DELETE nosuch", b"XFILTER DELETE F1", b"XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)",
    b"XSETPIMAPPREF XFILTER (ALL N NONE)", b'XSETPIMAPPREF PIMAP_XFILTER (&AOQ- BOTH "two words")',
    b"XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS 13335559999", b"XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS {3}a@b",
    b"XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE", b"XSETPIMAPPREF PIMAP_INBAND_NEW_FORMAT NONE",
    b"XSETPIMAPPREF PIMAP_INBAND_PUSH OFF", b"XSETPIMAPPREF PIMAP_EVENT_FILTER ALL",
    b"XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED", b"XGETPIMAPPREFS (PIMAP_XFILTER PIMAP_OUTBAND_ADDRESS)",
    b"XGETPIMAPPREF (PIMAP_EVENT_FILTER)", b"XPROVISION", b"XPROVISION P1", b"XPROVISION P1 {5}token",
]
# {n} is followed by its n octets at once here
TOKEN = re.compile(rb'(?P<open>\()|(?P<close>\))|"(?P<quoted>[^"]*)"|\{(?P<literal>\d+)\}|(?P<atom>[^ ()"{]+)')
WORDS = [b"NIL", b"ALL", b"NONE", b"F1", b"NOT", b"OR", b"SEEN", b"CHARSET", b"UTF-8", b"UTF-7", b"DESC", b"0", b"-1",
         b"4294967296", b"*", b"%", b"\\Seen", b"x" * 70, b"PIMAP_XFILTER", b"INBOX", b"V", b"B", b"MIMEPART", b"UID",
         b"1:*", b"FUZZY", b"HEADER", b"P1", b"P2", b"&AOQ-", b"&AB", b"DAYSBEFORETODAY"]
OCTETS = [b"\0", b"\r\n", b"\n", b"\xff", b"\xc3", "ä".encode(), b"\x1b", b"\x7f", b'"', b"\\", b"(", b")", b"{1}", b"{1+}", b" ",
          b"\t", b"*", b"%", b"a", b"\r\n* BYE\r\n", b"]", b"\x1b$B", b"+AOQ-"]


def tokens(text):
    result, position = [], 0
    while position < len(text):
        if text[position:position + 1] == b" ":
            position += 1
            continue
        match = TOKEN.match(text, position)
        kind, position = match.lastgroup, match.end()
        octets = match.group(kind)
        if kind == "literal":
            octets = text[position:position + int(octets)]
            position += len(octets)
        result.append((kind, octets))
    return result


def mutate(rng, command):
    """Another list of tokens, but of the same command"""
    command = list(command)
    for _ in range(rng.choice((1, 2, 2, 3, 4))):
        place = rng.randrange(1, len(command) + 1)
        how = rng.randrange(9)
        if how == 0:
            command.insert(place, ("atom", rng.choice(WORDS)))
        elif how == 1:
            command.insert(place, (rng.choice(("open", "close")), b""))
        elif how == 2:
            command.insert(place, (rng.choice(("literal", "quoted")), rng.choice(OCTETS + WORDS)))
        elif place == len(command):
            command.insert(place, rng.choice(command))
        elif how == 3:
            del command[place]
        elif how == 4:
            command[place] = (rng.choice(("atom", "literal", "quoted")), command[place][1])
        elif how == 5:
            command[place] = (command[place][0], rng.choice(WORDS))
        elif how == 6:
            other = rng.randrange(1, len(command))
            command[place], command[other] = command[other], command[place]
        elif how == 7:
            command[place:place] = command[place:place + rng.randrange(1, 5)] * rng.choice((1, 2, 40))
        else:
            kind, octets = command[place]
            at = rng.randrange(len(octets) + 1)
            command[place] = (kind, octets[:at] + rng.choice(OCTETS) + octets[at + rng.randrange(2):])
    return command


def is_line(command):
    """Dovecot reads it to its end: else it would take a literal for a command."""
    depth = 0
    for kind, octets in command:
        depth += {"open": 1, "close": -1}.get(kind, 0)
        if depth < 0 or kind == "quoted" and re.search(rb'["\\\0\r\n\x80-\xff]', octets) or \
                kind == "atom" and not re.fullmatch(rb"[!#-\'*-\[\]-z|}~]+", octets):
            return False
    return True


def wire(command):
    """Where nothing but a literal has an end of line"""
    result = command[0][1]
    if not is_line(command):
        command = [("quoted", re.sub(rb'["\\\0]', b"?", octets)) if kind == "literal" else (kind, octets)
                   for kind, octets in command]
    for (before, _), (kind, octets) in zip(command, command[1:]):
        if before != "open" and kind != "close":
            result += b" "
        if kind == "literal":
            result += literal(octets)
            continue
        # at "{1}" Dovecot asks for a literal, whatever follows
        octets = re.sub(rb"\{(\d+)\}", rb"{\1+}", re.sub(rb"[\r\n]", b"?", octets))
        result += {"open": b"(", "close": b")", "quoted": b'"%s"' % octets, "atom": octets}[kind]
    # what would announce a literal that doesn't come
    return re.sub(rb"\{(\d+\+?)\}$", rb"{\1", result)


def test_mutations(server, user, phone):
    seed = int(os.environ.get("PIMAP_SEED", "1"))
    count = int(os.environ.get("PIMAP_COUNT", "20000"))
    rng = random.Random(seed)
    good = [tokens(command) for command in GOOD]
    assert all(wire(command).split(b" ")[0] == text.split(b" ")[0] for command, text in zip(good, GOOD))
    refused, log = 0, server.log()
    for start in range(0, count, 100):
        commands = [wire(mutate(rng, rng.choice(good))) for _ in range(min(100, count - start))]
        # those that are none after all are taken out, until all are refused
        while True:
            before = profile(server, user)
            results = send(phone, commands)
            wrong = [(c, r) for c, r in zip(commands, results) if r.status != "OK"]
            for command, result in wrong:
                check_refused(command, result)
            if len(wrong) == len(commands):
                break
            commands = [command for command, _ in wrong]
        assert profile(server, user) == before, (seed, start)
        refused += len(commands)
        for command in SETUP[2:]:
            phone.ok(command)
    assert server.log() == log
    assert refused > count / 2
    # what was accepted can be read
    again = server.client(user + "#P1")
    assert len(again.ok("XPROVISION").untagged) == 10
    again.ok("XGETPIMAPPREFS (PIMAP_XFILTER PIMAP_OUTBAND_ADDRESS)")
    again.ok("STATUS INBOX (MESSAGES)")
