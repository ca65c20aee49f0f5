# SPDX-License-Identifier: LGPL-2.1-only
"""R-1.3: what is off in device sessions, and that what is on doesn't leak.

What was not shown not to tell of hidden messages is not in a device session's
CAPABILITY, and is answered BAD. Plain sessions of the same server keep it, and
so does whatever only looks like it."""

import re

import pytest

from conftest import DOVECOT_24, Server

OFF = {"NOTIFY", "CONTEXT=SEARCH", "CONTEXT=SORT",
       "SEARCHRES", "URLAUTH", "URLAUTH=BINARY", "METADATA", "METADATA-SERVER"}

# without these a plain session has no METADATA and URLAUTH either
EXTRA = """
imap_metadata = yes
imap_urlauth_host = localhost
""" + ("""
mail_attribute {
  dict file {
    path = %{home}/attributes
  }
}
""" if DOVECOT_24 else "mail_attribute_dict = file:%h/attributes\n")


def message(subject, n, headers=b""):
    """A hidden one's Subject says no, and only its text says secret."""
    return (b"From: a%d@example.org\r\nTo: b@example.org\r\nSubject: %s\r\n"
            b"Date: Mon, %d Mar 2021 10:00:00 +0000\r\n%s\r\n%s %d %s\r\n" % (
                n, subject, n, headers,
                b"secret" if subject.startswith(b"no") else b"open", n, n * b"x"))


# What is off. The server of its own is for the settings, and one format does.

@pytest.fixture(scope="module")
def full():
    server = Server.temporary("maildir", extra=EXTRA)
    yield server
    server.close_clients()
    faults = server.faults()
    server.stop()
    assert faults == []


@pytest.fixture
def pair(full, user):
    """Plain and device session of two users with the same mail"""
    clients = []
    for name in (user + "-p", user + "-d#P1"):
        client = full.client(name)
        client.append("INBOX", [message(subject, n + 1, b"X-A: MODSEQ\r\n")
                                for n, subject in enumerate(
                                    (b"MODSEQ", b"SAVE", b"$", b"no"))])
        client.ok("CREATE Work")
        client.ok("SELECT INBOX")
        client.fetch_all()
        clients.append(client)
    yield clients
    full.close_clients()


def capabilities(text):
    return set(re.search(r"CAPABILITY ([^]]*)", text).group(1).split())


def test_capabilities(pair):
    plain, phone = pair
    expected = capabilities(plain.login.text)
    assert OFF - {"CONTEXT=SORT", "METADATA-SERVER"} - (
        {"URLAUTH", "URLAUTH=BINARY"} if DOVECOT_24 else set()) <= expected
    assert capabilities(plain.ok("CAPABILITY").lines("* ")[0]) == expected
    assert capabilities(phone.login.text) == expected - OFF
    assert capabilities(phone.ok("CAPABILITY").lines("* ")[0]) == expected - OFF


def refused(pair, commands):
    """Each command, and the lines that follow its synchronising literals"""
    plain, phone = pair
    wrong = []
    for command in commands:
        command, *more = (command,) if isinstance(command, str) else command
        result = phone.command(command, *more)
        if result.status != "BAD" or "device session" not in result.text.lower():
            wrong.append((command, result))
        if result.untagged != []:
            wrong.append((command, result))
        # the session is alive, and not thrown out for its many BADs
        phone.ok("NOOP")
        result = plain.command(command, *more)
        if "device session" in result.text.lower() or (
                result.status != "OK" and command != "CANCELUPDATE \"x\""):
            wrong.append(("plain", command, result))
        plain.ok("NOOP")
    assert wrong == []
    # nothing that could be harmed was, and numbers are right
    phone.fetch_all()
    assert phone.uids == [1, 2, 3, 4]
    assert not any("modseq" in flags for flags in phone.flags.values())
    assert phone.status("Work", "MESSAGES") == {"MESSAGES": 0}


def test_commands_are_refused(pair, user):
    url = "imap://%s-p@localhost/INBOX/;UID=1;URLAUTH=user+%s-p" % (user, user)
    phone = pair[1]
    # Dovecot 2.3.19's own imap-urlauth-login panics when a plain session does it
    result = phone.command('URLFETCH "%s:internal:00%s"' % (url, 40 * "0"))
    assert result.status == "BAD" and "device session" in result.text.lower()
    refused(pair, [
        "NOTIFY NONE", "notify none",
        "CANCELUPDATE \"x\"",
        'GENURLAUTH "%s" INTERNAL' % url, "RESETKEY", "RESETKEY INBOX",
        "GETMETADATA INBOX /private/comment", 'GETMETADATA "" (/private/comment)',
        "SETMETADATA INBOX (/private/comment x)",
        "SETMETADATA INBOX (/private/comment {1+}\r\nx)",
        ("SETMETADATA INBOX (/private/comment {1}", "x)"),
    ])


def test_notify_is_refused(pair):
    plain, phone = pair
    for command in (
            "NOTIFY SET STATUS (personal (MessageNew MessageExpunge))",
            "NOTIFY SET (selected (MessageNew (UID) MessageExpunge))"):
        result = phone.command(command)
        assert result.status == "BAD" and "device session" in result.text.lower()
        assert result.untagged == []
        plain.ok(command)


def test_enabling_is_refused_while_selected(pair):
    refused(pair, ["ENABLE CONDSTORE", "ENABLE X-NONE condstore", "ENABLE QRESYNC",
                   "enable qresync CONDSTORE"])
    assert "QRESYNC" in pair[0].enabled and pair[1].enabled == set()
    pair[1].ok("UNSELECT")
    pair[1].ok("ENABLE QRESYNC")
    assert "QRESYNC" in pair[1].enabled


SEARCHES = ["SEARCH %s", "UID SEARCH %s", "SORT %s", "UID SORT %s"]


def search_commands(options, key, charset=""):
    """By SEARCH and SORT, with UID and without"""
    for template in SEARCHES:
        middle = charset
        if "SORT" in template:
            middle = "(DATE) %s " % (charset.split()[1] if charset else "UTF-8")
        yield template % (options + middle + key)


def test_return_options_are_refused(pair):
    refused(pair, [
        command for options in (
            "RETURN (SAVE) ", "RETURN (MIN SAVE) ", "RETURN (UPDATE) ",
            "return (count update) ", "RETURN (CONTEXT) ",
            "RETURN (CONTEXT UPDATE COUNT) ", "RETURN (PARTIAL 1:5) ",
            "RETURN (COUNT PARTIAL 2:3) ", "RETURN (UPDATE (FLAGS)) ")
        for command in search_commands(options, "ALL")])


def test_search_keys_are_refused(pair):
    plain = pair[0]
    plain.ok("SEARCH RETURN (SAVE) ALL")
    keys = ["$", "NOT $", "SEEN $", "(UNSEEN $)", "OR $ SEEN", "SUBJECT $ $"]
    commands = [c for key in keys for c in search_commands("", key)]
    commands += [("SEARCH SUBJECT {1}", "x FROM {1}", "x $")]
    commands += ["%sTHREAD REFERENCES UTF-8 %s" % (uid, key)
                 for uid in ("", "UID ") for key in keys]
    refused(pair, commands)


def test_saved_results_are_refused(pair):
    plain = pair[0]
    plain.ok("SEARCH RETURN (SAVE) 1:2")
    refused(pair, [
        "FETCH $ FLAGS", "UID FETCH $ (UID)", "STORE $ +FLAGS (modseq)",
        "UID STORE $ FLAGS.SILENT (modseq)", "COPY $ Work", "UID COPY $ Work",
        "UID EXPUNGE $", "MOVE $ Work", "UID MOVE $ Work",
    ])


def test_saved_results_as_strings_are_refused(pair):
    """No grammar has them, but Dovecot takes them."""
    plain = pair[0]
    plain.ok("SEARCH RETURN (SAVE) 1:2")
    refused(pair, [
        'COPY "$" Work', "COPY {1+}\r\n$ Work", ("COPY {1}", "$ Work"),
        'UID COPY "$" Work', 'UID MOVE "$" Work',
    ])


# What looks like it

LOOKALIKES = [
    "SEARCH SUBJECT MODSEQ", 'SEARCH SUBJECT "SAVE"', "SEARCH SUBJECT $",
    'UID SEARCH SUBJECT "$"', "SEARCH FROM MODSEQ SUBJECT UPDATE",
    "SEARCH HEADER MODSEQ 1", "SEARCH HEADER X-A MODSEQ", "SEARCH BODY MODSEQ",
    "SEARCH TEXT MODSEQ", "SEARCH NOT SUBJECT MODSEQ",
    "SEARCH OR SUBJECT MODSEQ SUBJECT $", "SEARCH (SUBJECT $)",
    "STORE 1 +FLAGS (modseq)", "STORE 2 FLAGS (UNCHANGEDSINCE $Forwarded)",
    "STORE 3 +FLAGS.SILENT ($MODSEQ)", "FETCH 1:* FLAGS",
    "SEARCH KEYWORD modseq", "SEARCH UNKEYWORD MODSEQ", "SEARCH KEYWORD $",
    "SEARCH KEYWORD $Forwarded", "STORE 1:* -FLAGS (CHANGEDSINCE modseq)",
    "SEARCH RETURN (MIN MAX COUNT ALL) SUBJECT MODSEQ",
    'UID SEARCH RETURN () SUBJECT "SAVE"', "SEARCH RETURN (COUNT) ALL",
    "SEARCH RETURN (MIN) OR SUBJECT {6+}\r\nMODSEQ SUBJECT $",
    "SORT RETURN (MAX COUNT) (SUBJECT) UTF-8 SUBJECT SAVE",
    "SORT (REVERSE SUBJECT) UTF-8 SUBJECT MODSEQ",
    'THREAD REFERENCES UTF-8 SUBJECT "SAVE"',
    "UID THREAD REFS US-ASCII NOT SUBJECT MODSEQ",
    "SEARCH CHARSET UTF-8 SUBJECT {6+}\r\nMODSEQ",
    ("SEARCH CHARSET UTF-8 SUBJECT {6}", "MODSEQ"),
    ("SEARCH CHARSET UTF-8 OR SUBJECT {6}", "MODSEQ SUBJECT {4}", "SAVE"),
    ("UID SEARCH SUBJECT {1}", "$ UNSEEN"),
    'SEARCH "MODSEQ" 1', "SEARCH {6+}\r\nMODSEQ 1",
    "SEARCH CHARSET UTF-8 SUBJECT {17+}\r\nx\r\nt1 FETCH 1 MODS",
    "FETCH 1 BODY.PEEK[HEADER.FIELDS (MODSEQ)]",
    "FETCH 1 (BODY.PEEK[HEADER.FIELDS (X-A MODSEQ)] UID)",
    'UID FETCH 2 (BODY.PEEK[HEADER.FIELDS ("MODSEQ" "CHANGEDSINCE")])',
    "FETCH 1 (BODY.PEEK[HEADER.FIELDS.NOT (MODSEQ)])",
    "CREATE CONDSTORE", "CREATE HIGHESTMODSEQ", "CREATE $", "CREATE NOTIFY",
    "COPY 1 CONDSTORE", "COPY 2 $", 'UID COPY 3 "$"', "MOVE 4 $",
    "STATUS HIGHESTMODSEQ (MESSAGES)", "STATUS $ (MESSAGES UIDNEXT)",
    'LIST "" HIGHESTMODSEQ', 'LIST "" CONDSTORE RETURN (STATUS (MESSAGES))',
    'LIST "" (HIGHESTMODSEQ $) RETURN (SUBSCRIBED STATUS (UIDNEXT))',
    "APPEND CONDSTORE (MODSEQ) {2+}\r\nx\n", "RENAME HIGHESTMODSEQ QRESYNC",
    "ENABLE X-NONE", "ENABLE", 'ID ("name" "QRESYNC")',
    "UID FETCH 1:* (UID)", "SELECT CONDSTORE", "EXAMINE $", "SELECT {1+}\r\n$",
    ("SELECT {9}", "CONDSTORE"), "UID EXPUNGE 1:*", "SELECT INBOX",
    "FETCH 1:* (UID FLAGS)",
]


def neutral(client, result):
    """What must be alike in sessions of two users"""
    text = "\n".join([result.status, result.text.split("] ")[0]
                      if result.text.startswith("[") else ""] +
                     [r.line for r in result.untagged])
    text = re.sub(r"(UIDVALIDITY|COPYUID|APPENDUID|HIGHESTMODSEQ) \d+", r"\1", text)
    text = re.sub(r'\(TAG "t\d+"\)', "(TAG)", text)
    return text, [r.literals for r in result.untagged]


def test_lookalikes_work(pair):
    plain, phone = pair
    wrong, succeeded = [], 0
    for command in LOOKALIKES:
        command, *more = (command,) if isinstance(command, str) else command
        expected = plain.command(command, *more)
        succeeded += expected.status == "OK"
        result = phone.command(command, *more)
        if neutral(phone, result) != neutral(plain, expected):
            wrong.append((command, result, expected))
        assert (plain.uids, plain.flags) == (phone.uids, phone.flags)
    assert wrong == []
    assert succeeded > len(LOOKALIKES) - 7


def test_plain_sessions_keep_it(full, user):
    plain = full.client(user)
    plain.append("INBOX", [message(b"yes", 1), message(b"no", 2)] * 2)
    assert plain.ok("ENABLE QRESYNC").lines("* ") == ["* ENABLED QRESYNC"]
    select = plain.ok("SELECT INBOX (CONDSTORE)")
    assert select.lines("* OK [HIGHESTMODSEQ")
    assert "MODSEQ" in plain.ok("FETCH 1 (UID MODSEQ)").fetched()[1]
    assert plain.ok("SEARCH RETURN (SAVE COUNT) SUBJECT no").data("ESEARCH")["COUNT"] == 2
    plain.ok("STORE $ +FLAGS (\\Deleted)")
    assert plain.ok("EXPUNGE").lines("* VANISHED") == ["* VANISHED 2,4"]
    assert plain.ok("UID FETCH 1:* (UID) (CHANGEDSINCE 1 VANISHED)").lines(
        "* VANISHED (EARLIER) ") == ["* VANISHED (EARLIER) 2,4"]
    assert plain.ok("SEARCH RETURN (PARTIAL 1:1) ALL").data("ESEARCH")["PARTIAL"] == [(1, 1)]
    assert plain.status("INBOX", "HIGHESTMODSEQ")["HIGHESTMODSEQ"] > 1


# What is on. UIDs 2, 4 and 6 are hidden.

VISIBLE, HIDDEN, EVERYTHING = [1, 3, 5], [2, 4, 6], [1, 2, 3, 4, 5, 6]
MIXED = [message(b"no" if n % 2 == 0 else b"yes", n) for n in EVERYTHING]


def device(server, user, criteria="SUBJECT yes", folder="ALL"):
    client = server.client(user + "#P1")
    client.ok("XFILTER SET F1 NIL (%s)" % criteria)
    client.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % folder)
    return client


@pytest.fixture
def mixed(server, user):
    """Plain and device session of one user, INBOX selected"""
    plain = server.client(user)
    plain.append("INBOX", MIXED)
    plain.ok("CREATE Work")
    phone = device(server, user)
    for client in (phone, plain):
        client.ok("SELECT INBOX")
        client.fetch_all()
    assert (phone.uids, plain.uids) == (VISIBLE, EVERYTHING)
    return plain, phone


def no_secret(result):
    for response in result.untagged:
        assert "secret" not in response.line
        assert not any(b"secret" in literal for literal in response.literals)
    return result


ITEMS = ["BINARY.PEEK[1]", "BINARY[1]", "BINARY.SIZE[1]", "BINARY.PEEK[1]<0.4>",
         "PREVIEW", "PREVIEW (LAZY)", "SNIPPET", "SNIPPET (LAZY=FUZZY)", "SAVEDATE",
         "ENVELOPE", "BODY", "BODYSTRUCTURE", "BODY.PEEK[]", "BODY.PEEK[TEXT]",
         "BODY[1]", "BODY.PEEK[HEADER.FIELDS (FROM)]", "RFC822", "RFC822.HEADER",
         "RFC822.TEXT", "RFC822.SIZE", "INTERNALDATE", "FLAGS", "X-GUID",
         "BODY.PEEK[1.MIME]", "BODY.PEEK[]<3.9>"]


def test_fetch(mixed):
    plain, phone = mixed
    fetched = 0
    for item in ITEMS:
        hidden = phone.command("UID FETCH 2,4,6 (%s)" % item)
        result = no_secret(phone.command("FETCH 1:* (UID %s)" % item))
        expected = plain.command("UID FETCH 1,3,5 (UID %s)" % item)
        assert hidden.status == result.status == expected.status, (item, result)
        assert hidden.untagged == []
        fetched += result.status == "OK"
        # not \Seen, which either of them may have set
        mine, its = (
            [{name: value for name, value in items.items() if name != "FLAGS"}
             for items in r.fetched().values()] for r in (result, expected))
        assert mine == its, item
        assert phone.uids == VISIBLE
    assert fetched >= len(ITEMS) - 2
    for command in ("FETCH 4 FLAGS", "FETCH 3:4 FLAGS", "UID FETCH 2:* BODY[]"):
        assert set(no_secret(phone.command(command)).fetched()) <= {2, 3}
    assert phone.command("FETCH 4 FLAGS").status == "BAD"
    plain.ok("NOOP")
    assert not any("\\Seen" in plain.flags[uid] for uid in HIDDEN)


def test_catenate(mixed, user):
    plain, phone = mixed
    for url in ("/INBOX/;UID=%d", "/INBOX/;UID=%d/;SECTION=1",
                "/INBOX/;UID=%d/;SECTION=HEADER", "/INBOX/;UID=%d/;PARTIAL=0.5"):
        assert no_secret(phone.command(
            'APPEND Work CATENATE (URL "%s")' % url % 2)).status == "NO"
        assert phone.command('APPEND Work CATENATE (TEXT {3+}\r\nabc URL "%s" URL "%s")' %
                             (url % 1, url % 4)).status == "NO"
        assert plain.status("Work", "MESSAGES") == {"MESSAGES": 0}
        phone.ok('APPEND Work CATENATE (URL "%s")' % url % 3)
        plain.ok("SELECT Work")
        plain.ok("STORE 1:* +FLAGS (\\Deleted)")
        plain.ok("CLOSE")
    # where nothing is selected, too
    phone.ok("UNSELECT")
    assert phone.command('APPEND Work CATENATE (URL "/INBOX/;UID=6")').status == "NO"
    phone.ok('APPEND Work CATENATE (URL "/INBOX/;UID=5")')


def test_replace(mixed):
    """2.3 doesn't know it."""
    plain, phone = mixed
    new = message(b"yes new", 7)
    literal = "{%d}" % len(new)
    for command in ("UID REPLACE 2 INBOX ", "UID REPLACE 6 INBOX ",
                    "REPLACE 4 INBOX ", "UID REPLACE 4 Work "):
        assert phone.command(command + literal, new).status in ("NO", "BAD")
    plain.ok("NOOP")
    assert plain.fetch_all() == EVERYTHING
    assert plain.status("Work", "MESSAGES") == {"MESSAGES": 0}
    if DOVECOT_24:
        phone.ok("REPLACE 2 INBOX " + literal, new)
        assert phone.fetch_all() == [1, 5, 7]
        plain.ok("NOOP")
        assert plain.fetch_all() == [1, 2, 4, 5, 6, 7]


SEARCH_RESULTS = {
    "ALL": [1, 2, 3], "1:*": [1, 2, 3], "*": [3], "2": [2], "1,3": [1, 3],
    "1:2": [1, 2], "3:*": [3], "UID 1:6": [1, 2, 3], "UID 2": [], "UID 2,4,6": [],
    "UID 1:2": [1], "UID *": [3], "UID 6:*": [3], "UID 4:*": [3], "UID 2:4": [2],
    "NOT ALL": [], "NOT 1": [2, 3], "NOT 1:*": [], "NOT UID 2": [1, 2, 3],
    "NOT UID 1": [2, 3], "NOT UID 1:*": [], "NOT SUBJECT yes": [], "SUBJECT no": [],
    "BODY secret": [], "NOT BODY open": [], "TEXT secret": [], "FROM a2": [],
    "OR BODY secret BODY \"open 3\"": [2], "SINCE 1-Jan-2000": [1, 2, 3],
    "LARGER 1": [1, 2, 3], "UNSEEN": [1, 2, 3], "FLAGGED": [2], "DELETED": [],
    "UNFLAGGED": [1, 3], "UNDELETED": [1, 2, 3], "KEYWORD $x": [2],
    "UNKEYWORD $x": [1, 3], "HEADER FROM a4": [], "SENTBEFORE 3-Mar-2021": [1],
    "NOT (OR UID 1 UID 2)": [2, 3], "UID 1 UID 2": [],
}


def test_search(mixed):
    plain, phone = mixed
    plain.ok("UID STORE 2,4,6 +FLAGS (\\Deleted $x \\Flagged)")
    plain.ok("UID STORE 3 +FLAGS ($x \\Flagged)")
    phone.ok("NOOP")
    for keys, expected in SEARCH_RESULTS.items():
        uids = [VISIBLE[n - 1] for n in expected]
        assert phone.ok("SEARCH " + keys).data("SEARCH") == expected, keys
        assert phone.search(keys) == uids, keys
        result = phone.ok("SEARCH RETURN (MIN MAX COUNT ALL) " + keys).data("ESEARCH")
        by_uid = phone.ok("UID SEARCH RETURN (MIN MAX COUNT) " + keys).data("ESEARCH")
        assert result["COUNT"] == by_uid["COUNT"] == len(expected), keys
        if expected:
            assert (result["MIN"], result["MAX"]) == (expected[0], expected[-1])
            assert (by_uid["MIN"], by_uid["MAX"]) == (uids[0], uids[-1]), keys
        else:
            assert not {"MIN", "MAX", "ALL"} & (set(result) | set(by_uid)), keys


def test_sort(mixed):
    plain, phone = mixed
    for program in ("SUBJECT", "REVERSE DATE", "SIZE", "ARRIVAL", "FROM",
                    "REVERSE SIZE SUBJECT", "DISPLAYFROM", "CC TO"):
        for first in (phone, plain):
            expected = plain.ok("UID SORT (%s) UTF-8 ALL" % program).data("SORT")
            assert sorted(expected) == EVERYTHING
            order = [uid for uid in expected if uid in VISIBLE]
            assert phone.ok("UID SORT (%s) UTF-8 ALL" % program).data("SORT") == order
        assert phone.ok("SORT (%s) UTF-8 ALL" % program).data("SORT") == [
            VISIBLE.index(uid) + 1 for uid in order]
        data = phone.ok("UID SORT RETURN (MIN MAX COUNT ALL) (%s) UTF-8 UID 2:*" %
                        program).data("ESEARCH")
        # Dovecot's MIN and MAX are the first and the last in the order
        order.remove(1)
        assert (data["MIN"], data["MAX"], data["COUNT"]) == (*order, 2)


def threaded(n, parents, subject):
    references = b"References: %s\r\n" % b" ".join(b"<%d@x>" % p for p in parents)
    return message(subject, n, b"Message-ID: <%d@x>\r\n" % n +
                   (references if parents else b""))


def test_thread_with_a_hidden_parent(server, user):
    plain = server.client(user)
    plain.append("INBOX", [
        threaded(1, [], b"yes a"), threaded(2, [1], b"no b"),
        threaded(3, [1, 2], b"yes c"), threaded(4, [], b"no d"),
        threaded(5, [4], b"yes e"), threaded(6, [4], b"yes f"),
        threaded(7, [], b"no g"), threaded(8, [7], b"no h")])
    phone = device(server, user)
    for client in (phone, plain, phone):
        client.ok("SELECT INBOX")
        client.fetch_all()
        for command in ("UID THREAD REFERENCES UTF-8 ALL", "UID THREAD REFS UTF-8 ALL"):
            data = client.ok(command).data("THREAD")
            if client is plain:
                assert data == [[1, 2, 3], [4, [5], [6]], [7, 8]], command
            else:
                assert data == [[1, 3], [[5], [6]]], command
    assert phone.ok("THREAD REFERENCES UTF-8 ALL").data("THREAD") == [
        [1, 2], [[3], [4]]]
    data = phone.ok("UID THREAD ORDEREDSUBJECT UTF-8 ALL").data("THREAD")
    assert sorted(data) == [[1], [3], [5], [6]]
    phone.ok("UID THREAD REFERENCES UTF-8 SUBJECT f")
    # what is hidden makes no thread match
    for client, found in ((plain, [4, 5, 6]), (phone, [])):
        assert client.search('INTHREAD REFS SUBJECT "no d"') == found
    assert phone.search("INTHREAD REFS SUBJECT f") == [5, 6]
    # one more hidden parent comes, and its child
    plain.append("INBOX", [
        threaded(9, [1, 2, 3], b"no i"), threaded(10, [1, 2, 3, 9], b"yes j")])
    phone.ok("NOOP")
    assert phone.ok("UID THREAD REFERENCES UTF-8 ALL").data("THREAD") == [
        [1, 3, 10], [[5], [6]]]


def sizes(client):
    return {items["UID"]: int(items["RFC822.SIZE"]) for items in
            client.ok("FETCH 1:* (UID RFC822.SIZE)").fetched().values()}


def test_status(mixed):
    plain, phone = mixed
    plain.ok("UID STORE 1,2,4 +FLAGS (\\Seen)")
    plain.ok("UID STORE 3,4,6 +FLAGS (\\Deleted)")
    plain.append("Work", MIXED)
    size = sizes(plain)
    expected = {"MESSAGES": 3, "UNSEEN": 2, "UIDNEXT": 7,
                "SIZE": size["1"] + size["3"] + size["5"]}
    assert sum(size.values()) > expected["SIZE"]
    items = "MESSAGES UNSEEN UIDNEXT SIZE"
    phone.ok("UNSELECT")
    assert phone.status("INBOX", items) == expected
    line, = phone.ok('LIST "" INBOX RETURN (STATUS (%s))' % items).lines("* STATUS")
    assert dict(zip(*[iter(re.findall(r"\w+", line.split("(")[1]))] * 2)) == {
        name: str(value) for name, value in expected.items()}
    # a folder that no device session has opened before, with recent messages
    expected.update(UNSEEN=3, RECENT=3)
    assert phone.status("Work", items + " RECENT") == expected
    line, = phone.ok('LIST "" Work RETURN (STATUS (%s RECENT))' % items).lines("* STATUS")
    assert "RECENT 3" in line and "SIZE %d" % expected["SIZE"] in line
    deleted = plain.command("STATUS INBOX (DELETED)")
    result = phone.command("STATUS INBOX (DELETED)")
    assert result.status == deleted.status
    if deleted.status == "OK":
        assert phone.status("INBOX", "DELETED") == {"DELETED": 1}
    select = str(phone.ok("SELECT INBOX"))
    assert "* 3 EXISTS" in select and "[UNSEEN 2]" in select
    assert phone.status("INBOX", "MESSAGES UNSEEN SIZE") == {
        "MESSAGES": 3, "UNSEEN": 2, "SIZE": expected["SIZE"]}
    select = phone.ok("SELECT Work")
    assert select.lines("* 3 RECENT") and phone.recent == 3


def test_copy(mixed):
    plain, phone = mixed
    for command, copied in (
            ("COPY 1:* Work", "1,3,5 1:3"), ("UID COPY 1:* Work", "1,3,5 4:6"),
            ("UID COPY 2:4 Work", "3 7"), ("COPY 2 Work", "3 8"),
            ("UID COPY 2,4,6 Work", None), ("UID COPY 2:2 Work", None)):
        result = no_secret(phone.ok(command))
        code = re.search(r"\[COPYUID \d+ (.*?)\]", str(result))
        assert (code and code.group(1)) == copied, command
    assert plain.status("Work", "MESSAGES") == {"MESSAGES": 8}
    plain.ok("SELECT Work")
    assert plain.search("SUBJECT no") == []
    assert phone.uids == VISIBLE


def test_move(mixed):
    plain, phone = mixed
    assert "COPYUID" not in str(phone.ok("UID MOVE 2,4,6 Work"))
    assert re.search(r"\[COPYUID \d+ 3 1\]", str(phone.ok("UID MOVE 2:4 Work")))
    assert phone.uids == [1, 5]
    assert re.search(r"\[COPYUID \d+ 1,5 2:3\]", str(phone.ok("MOVE 1:* Work")))
    assert phone.uids == []
    plain.ok("NOOP")
    assert plain.uids == HIDDEN
    plain.ok("SELECT Work")
    assert plain.fetch_all() == plain.search("SUBJECT yes") == [1, 2, 3]


def test_store_and_expunge(mixed):
    plain, phone = mixed
    plain.ok("UID STORE 2 +FLAGS (\\Deleted)")
    phone.ok("STORE 1:* +FLAGS (\\Flagged)")
    phone.ok("UID STORE 1:6 +FLAGS (\\Deleted)")
    phone.ok("UID STORE 2,4 +FLAGS.SILENT (\\Answered)")
    plain.ok("NOOP")
    assert plain.search("FLAGGED") == VISIBLE
    assert plain.search("DELETED") == [1, 2, 3, 5]
    assert plain.search("ANSWERED") == []
    phone.ok("UID EXPUNGE 2,4:6")
    assert phone.uids == [1, 3]
    phone.ok("UID EXPUNGE 2,4,6")
    phone.ok("STORE 1 -FLAGS (\\Deleted)")
    phone.ok("EXPUNGE")
    assert phone.uids == [1]
    phone.ok("STORE 1 +FLAGS (\\Deleted)")
    assert phone.ok("CLOSE").untagged == []
    plain.ok("NOOP")
    assert plain.uids == HIDDEN
    assert phone.status("INBOX", "MESSAGES UIDNEXT") == {"MESSAGES": 0, "UIDNEXT": 7}


@pytest.mark.parametrize("criteria", ["SUBJECT yes", "UNDELETED SUBJECT yes", None])
def test_search_and_expunge_in_one_packet(server, user, criteria):
    """A SEARCH for what the STORE before it has just set"""
    client = server.client(user)
    client.append("INBOX", MIXED)
    if criteria is not None:
        client = device(server, user, criteria)
    client.ok("SELECT INBOX")
    before = client.fetch_all()
    results = client.pipeline([
        "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "UID SEARCH DELETED",
        "UID EXPUNGE 5"])
    # Dovecot may answer the second before the first's tagged reply
    lines = [line for result in results for line in result.lines("* ")]
    assert [result.status for result in results] == 3 * ["OK"]
    assert [line for line in lines if "EXPUNGE" in line] == [
        "* %d EXPUNGE" % (before.index(5) + 1)]
    assert lines.count("* SEARCH 5") == 1
    assert client.uids == [uid for uid in before if uid != 5]
    plain = server.client(user)
    plain.ok("EXAMINE INBOX")
    assert plain.search("UID 5") == []


def test_idle(server, user):
    plain = server.client(user)
    plain.append("INBOX", MIXED)
    phone = device(server, user, "SUBJECT yes UNFLAGGED", "INBOX")
    plain.ok("SELECT INBOX")
    plain.fetch_all()
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == VISIBLE
    phone.idle()
    # each hidden change is followed by one that is told
    plain.append("INBOX", [message(b"no 7", 7)])
    plain.append("INBOX", [message(b"yes 8", 8)])
    assert phone.wait("EXISTS").line == "* 4 EXISTS"
    plain.ok("UID STORE 2,7 +FLAGS (\\Flagged \\Deleted)")
    plain.ok("UID STORE 3 +FLAGS (\\Flagged)")
    assert phone.wait("EXPUNGE").line == "* 2 EXPUNGE"
    plain.ok("UID EXPUNGE 2,7")
    plain.ok("UID STORE 1 +FLAGS (\\Answered)")
    assert phone.wait("FETCH").line.startswith("* 1 FETCH")
    told = [line for line in phone.done().lines("* ")
            if not re.match(r"\* (\d+ RECENT|OK )", line)]
    assert [line.split(" (")[0] for line in told] == [
        "* 4 EXISTS", "* 2 EXPUNGE", "* 1 FETCH"], told
    assert phone.fetch_all() == [1, 5, 8]
    # the last one leaves: no count of 0 is needed
    phone.idle()
    plain.ok("UID STORE 1,5,8 +FLAGS (\\Flagged)")
    while phone.messages:
        phone.wait("EXPUNGE")
    assert "EXISTS" not in str(phone.done())


def test_examine(mixed):
    plain, phone = mixed
    plain.ok("UID STORE 1,2 +FLAGS (\\Seen)")
    result = phone.ok("EXAMINE INBOX")
    assert result.text.startswith("[READ-ONLY]")
    assert "* 3 EXISTS" in str(result) and "[UNSEEN 2]" in str(result)
    assert phone.fetch_all() == VISIBLE
    no_secret(phone.ok("FETCH 1:* (BODY[])"))
    assert phone.ok("UID FETCH 2,4,6 (BODY[])").untagged == []
    # Dovecot answers OK and ignores them
    phone.command("STORE 1:* +FLAGS (\\Flagged \\Deleted)")
    phone.command("EXPUNGE")
    assert phone.uids == VISIBLE
    plain.ok("NOOP")
    assert plain.search("SEEN") == [1, 2] and plain.search("FLAGGED") == []
    assert plain.fetch_all() == EVERYTHING
    plain.append("INBOX", [message(b"no 7", 7), message(b"yes 8", 8)])
    assert phone.ok("NOOP").lines("* 4 EXISTS")
    assert phone.fetch_all() == [1, 3, 5, 8]
