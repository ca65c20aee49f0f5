# SPDX-License-Identifier: LGPL-2.1-only
"""What a device sets: preferences, filters of folders, its mode."""

import re
import subprocess

import pytest

from conftest import DOVECOT_24, Server, settings

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"
ALL_PREFS = ("PIMAP_OUTBAND_ADDRESS PIMAP_OUTBAND_CHANNEL PIMAP_INBAND_NEW_FORMAT "
             "PIMAP_INBAND_PUSH PIMAP_OUTBAND_FORMAT PIMAP_EVENT_FILTER "
             "PIMAP_ENCRYPTION PIMAP_XFILTER")


def prefs(client, names):
    line, = client.ok("XGETPIMAPPREFS (%s)" % names).lines("* ")
    assert line.startswith("* XGETPIMAPPREFS (") and line.endswith(")")
    return line[len("* XGETPIMAPPREFS ("):-1]


def xfilters(client):
    """The folders' own filters, without those of ALL"""
    return [pair for pair in re.findall(r"PIMAP_XFILTER \(([^)]*)\)",
                                        prefs(client, "PIMAP_XFILTER"))
            if not pair.startswith("ALL ")]


def test_every_preference_can_be_read(server, user):
    """R-1.2's defaults, R-5.2's order and NIL"""
    phone = server.client(user + "#P1")
    assert prefs(phone, ALL_PREFS) == (
        "PIMAP_OUTBAND_ADDRESS NIL PIMAP_OUTBAND_CHANNEL NONE "
        "PIMAP_INBAND_NEW_FORMAT NONE PIMAP_INBAND_PUSH OFF "
        "PIMAP_OUTBAND_FORMAT EMN PIMAP_EVENT_FILTER NEW PIMAP_ENCRYPTION NONE "
        "PIMAP_XFILTER (ALL V ALL) PIMAP_XFILTER (ALL N NONE)")
    phone.ok("XGETPIMAPPREF (PIMAP_INBAND_PUSH)")
    assert phone.command("XGETPIMAPPREFS (%s)" % " ".join(
        ["PIMAP_XFILTER"] * 100)).status == "BAD"


@pytest.mark.parametrize("address", [
    '13335559999', '"+1 333 555"', '"NIL"', '"a\\"b\\\\c"', '{5+}\r\ngr\xc3\xbc\xc3',
    '{6+}\r\ngr\xc3\xbc\xc3\x9f', '""'])
def test_address(server, user, address):
    """R-5.1, R-5.4: kept as it is, and taken away by an empty one"""
    phone = server.client(user + "#P1")
    result = phone.command("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS " + address)
    if address.endswith("\xc3"):
        assert result.status == "BAD"
        return
    assert result.status == "OK"
    answer, = phone.ok("XGETPIMAPPREFS (PIMAP_OUTBAND_ADDRESS)").untagged
    expected = {'""': "NIL"}.get(address, address)
    if answer.literals:
        assert answer.literals == [address.split("\n")[1].encode("latin1")]
    else:
        assert answer.line == "* XGETPIMAPPREFS (PIMAP_OUTBAND_ADDRESS %s)" % expected
    phone.ok('XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS ""')
    assert prefs(phone, "PIMAP_OUTBAND_ADDRESS") == "PIMAP_OUTBAND_ADDRESS NIL"


@pytest.mark.parametrize("value,code", [
    ("PIMAP_OUTBAND_CHANNEL SMS", "[CANNOT]"), ("PIMAP_INBAND_PUSH ON", "[CANNOT]"),
    ("PIMAP_INBAND_NEW_FORMAT ALL", "[CANNOT]"),
    ("PIMAP_INBAND_NEW_FORMAT (FLAGS UID)", "[CANNOT]"),
    ("PIMAP_ENCRYPTION AES", "[CANNOT]"), ("PIMAP_EVENT_FILTER SOME", "[CANNOT]"),
    ("PIMAP_XFILTER (INBOX V nosuch)", "[NONEXISTENT]"),
    ("PIMAP_XFILTER (nosuch V ALL)", "[NONEXISTENT]"),
])
def test_refusals_have_a_code(server, user, value, code):
    """R-3.4, R-5.4"""
    phone = server.client(user + "#P1")
    before = prefs(phone, ALL_PREFS)
    result = phone.command("XSETPIMAPPREF " + value)
    assert result.status == "NO" and result.text.startswith(code + " ")
    assert prefs(phone, ALL_PREFS) == before


@pytest.mark.parametrize("value", [
    "PIMAP_OUTBAND_ADDRESS", "PIMAP_OUTBAND_ADDRESS a b", "PIMAP_OUTBAND_ADDRESS (a)",
    "PIMAP_INBAND_PUSH (OFF)", 'PIMAP_OUTBAND_ADDRESS "%LONG%"'])
def test_malformed_values(server, user, value):
    phone = server.client(user + "#P1")
    result = phone.command("XSETPIMAPPREF " + value.replace("%LONG%", 4097 * "x"))
    assert result.status == "BAD", result
    assert prefs(phone, "PIMAP_OUTBAND_ADDRESS") == "PIMAP_OUTBAND_ADDRESS NIL"


def test_charset_of_names(server, user):
    """R-6.1, R-6.4: CHARSET is that of the criteria, the name and the
    description; quoted it is a name."""
    phone = server.client(user + "#P1")
    phone.ok('XFILTER SET CHARSET ISO-8859-1 {2+}\r\n\xe4b {1+}\r\n\xfc (SUBJECT {1+}\r\n\xdf)')
    answer, = phone.ok("XFILTER GET {3+}\r\n\xc3\xa4b (DESC CRITERIA)").untagged
    assert answer.literals == ["\u00e4b".encode(), "\u00fc".encode(), "\u00df".encode()]
    again, = phone.ok("XFILTER GET CHARSET ISO-8859-1 {2+}\r\n\xe4b (DESC CRITERIA)").untagged
    assert again.line == answer.line and again.literals == answer.literals
    for command in ("GET CHARSET X-NO a (DESC)", "SET CHARSET X-NO a NIL (SEEN)",
                    "SET CHARSET NIL (SEEN)"):
        assert phone.command("XFILTER " + command).text.startswith("[BADCHARSET ")
    for command in ("SET CHARSET (SEEN)", "GET CHARSET (DESC)",
                    "SET CHARSET UTF-8 {1+}\r\n\xe4 NIL (SEEN)",
                    "SET CHARSET UTF-8 a {1+}\r\n\xe4 (SEEN)"):
        assert phone.command("XFILTER " + command).status == "BAD", command
    phone.ok('XFILTER SET "CHARSET" NIL (SEEN)')
    line, = phone.ok('XFILTER GET "CHARSET" (CRITERIA)').lines("* XFILTER")
    assert "(CRITERIA (SEEN))" in line


@pytest.mark.parametrize("key", ["1", "1:5", "*", "UID 1", "$", "RECENT", "NEW", "OLD",
                                 "MODSEQ 1", "INTHREAD REFS SEEN"])
@pytest.mark.parametrize("around", ["%s", "NOT %s", "OR SEEN %s", "(SEEN (%s))"])
def test_keys_without_lasting_meaning(server, user, key, around):
    """R-6.2: BAD, naming the key"""
    phone = server.client(user + "#P1")
    result = phone.command("XFILTER SET F1 NIL (%s)" % (around % key))
    assert result.status == "BAD" and key.split()[0] in result.text
    assert phone.command("XFILTER GET F1 (DESC)").text.startswith("[NONEXISTENT]")


@pytest.mark.parametrize("before, key, after, levels", [
    ("(", "SEEN", ")", 0), ("NOT ", "SEEN", "", 0), ("OR ", "SEEN", " SEEN", 0),
    ("OR SEEN ", "SEEN", "", 0), ("OR (NOT SEEN) ", "SEEN", "", 2),
    ("OR MIMEPART SIZE LARGER 1 ", "SEEN", "", 0), ("FUZZY NOT ", "SEEN", "", 0),
    ("NOT ", "MIMEPART (TYPE text)", "", 1), ("OR SEEN ", "MIMEPART OR TYPE a TYPE b", "", 1)])
def test_nesting(server, user, before, key, after, levels):
    """R-6.6: 32 levels, each parenthesis, OR and NOT is one"""
    phone = server.client(user + "#P1")
    for depth, status in ((32, "OK"), (33, "NO"), (500, "NO")):
        depth -= levels
        result = phone.command("XFILTER SET F1 NIL (%s)" % (
            depth * before + key + depth * after))
        assert result.status == status, depth
        assert status == "OK" or result.text.startswith("[LIMIT]")
    phone.ok("XFILTER GET F1 (CRITERIA)")


@pytest.mark.parametrize("before, after", [
    ("(", ")"), ("NOT ", ""), ("(NOT ", ")"), ("OR (FROM a) ", ""), ("OR ", " NOT SEEN"),
    ("MIMEPART (NOT TYPE a) NOT ", ""), ("OR MIMEPART CHILD EXISTS ", ""),
    ("MIMEPART (OR (FILENAME IS a) SIZE 1) (", ")"), ("MIMEPART NOT DEPTH MAX 1 (", ")")])
def test_nesting_is_that_of_one_key(server, user, before, after):
    """R-6.6: what stands side by side isn't nested."""
    phone = server.client(user + "#P1")
    deep = " ".join([15 * before + "SEEN" + 15 * after] * 5)
    phone.ok("XFILTER SET F1 NIL (%s)" % deep)
    line, = phone.ok("XFILTER GET F1 (CRITERIA)").lines("* XFILTER")
    assert line == "* XFILTER F1 (CRITERIA (%s))" % deep


def test_default_takes_back_what_was_set(server, user):
    """R-5.3"""
    phone = server.client(user + "#P1")
    phone.ok("CREATE Work")
    for folder, filter in (("ALL", "NONE"), ("Work", "ALL")):
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s B %s)" % (folder, filter))
    assert prefs(phone, "PIMAP_XFILTER") == (
        "PIMAP_XFILTER (ALL B NONE) PIMAP_XFILTER (Work B ALL)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Work V default)")
    assert prefs(phone, "PIMAP_XFILTER") == (
        "PIMAP_XFILTER (ALL B NONE) PIMAP_XFILTER (Work N ALL)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B DEFAULT)")
    assert prefs(phone, "PIMAP_XFILTER") == (
        "PIMAP_XFILTER (ALL V ALL) PIMAP_XFILTER (ALL N NONE)")
    assert phone.command("XFILTER GET DEFAULT (CRITERIA)").text.startswith("[CANNOT]")


@pytest.mark.parametrize("name", ["Work", "&AOQ-", '"two words"', "a/b"])
def test_filter_follows_its_folder(server, user, name):
    """R-5.5: by whatever service it is renamed, and its children's too."""
    plain = server.client(user)
    plain.ok("CREATE " + name)
    plain.append(name, [MESSAGE % b"yes", MESSAGE % b"no"])
    plain.ok("CREATE Work2")
    phone = server.client(user + "#P1")
    phone.ok("XFILTER SET F1 NIL (SUBJECT yes)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % name)
    assert xfilters(phone) == [name + " V F1"]
    moves = (lambda: plain.ok("RENAME %s Moved" % name),
             lambda: phone.ok("RENAME Moved Work2/Again"),
             lambda: server.doveadm("mailbox", "rename", "-u", user, "Work2", "W3"))
    for move, present in zip(moves, ("Moved", "Work2/Again", "W3/Again")):
        move()
        assert xfilters(phone) == [present + " V F1"]
        assert phone.status(present, "MESSAGES") == {"MESSAGES": 1}
        phone.ok("SELECT " + present)
        assert phone.fetch_all() == [1]
        phone.ok("CLOSE")
    # a new folder of that name is another one
    plain.ok("CREATE " + name)
    plain.append(name, [MESSAGE % b"yes", MESSAGE % b"no"])
    assert phone.status(name, "MESSAGES") == {"MESSAGES": 2}


def test_filter_goes_with_its_folder(server, user):
    plain = server.client(user)
    phone = server.client(user + "#P1")
    phone.ok("XFILTER SET F1 NIL (SUBJECT yes)")
    for delete in (lambda: plain.ok("DELETE Work"), lambda: phone.ok("DELETE Work"),
                   lambda: server.doveadm("mailbox", "delete", "-u", user, "Work")):
        plain.ok("CREATE Work")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Work B F1)")
        assert phone.command("XFILTER DELETE F1").text.startswith("[INUSE]")
        delete()
        assert xfilters(phone) == []
        plain.ok("CREATE Work")
        plain.append("Work", [MESSAGE % b"no"])
        assert phone.status("Work", "MESSAGES") == {"MESSAGES": 1}
        assert xfilters(phone) == []
        plain.ok("DELETE Work")
    phone.ok("XFILTER DELETE F1")


def test_folder_called_all(server, user):
    """R-5.3: it has no setting of its own, and isn't listed."""
    plain = server.client(user)
    plain.ok("CREATE Work")
    plain.append("Work", [MESSAGE % b"no"])
    phone = server.client(user + "#P1")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Work V NONE)")
    plain.ok("RENAME Work ALL")
    assert xfilters(phone) == []
    assert phone.status("ALL", "MESSAGES") == {"MESSAGES": 1}


def test_modes(server, user):
    """R-2.8: no RESYNC for ordinary mail programs, and everything else alike"""
    pimap = lambda *args, **kw: server.doveadm("pimap", *args[:2], "-u", user,
                                               *args[2:], **kw)
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    pimap("filter", "set", "F1", "UNFLAGGED")
    pimap("device", "add", "P1")
    pimap("device", "add", "-m", "session", "P2")
    assert "already" in pimap("device", "add", "P1", fails=True)
    assert "no such device" in pimap("device", "mode", "P3", "view", fails=True)
    assert "session or view" in pimap("device", "mode", "P1", "x", fails=True)
    for device in ("P1", "P2"):
        pimap("pref", "set", device, "PIMAP_XFILTER", "INBOX", "V", "F1")
    modes = [line.split()[:2] for line in
             pimap("device", "list").splitlines()[1:]]
    assert modes == [["P1", "view"], ["P2", "session"]]
    phones = [server.client(user + "#" + device) for device in ("P1", "P2")]
    for phone in phones:
        assert phone.login.lines("* SESSIONID")
        phone.ok("SELECT INBOX")
    plain.ok("SELECT INBOX")
    plain.ok("STORE 1 +FLAGS (\\Flagged)")
    for phone in phones:
        phone.ok("NOOP")
        assert phone.uids == [None]
    plain.ok("STORE 1 -FLAGS (\\Flagged)")
    assert [phone.ok("NOOP").lines("* RESYNC") for phone in phones] == [
        [], ["* RESYNC"]]
    pimap("device", "mode", "P1", "session")
    assert phones[0].ok("NOOP").lines("* RESYNC") == ["* RESYNC"]


def test_the_parts_named_by_hand():
    """mail_plugins may name what pimap would load by itself."""
    extra = ("protocol imap {\n  mail_plugins {\n    imap_pimap = yes\n  }\n}\n"
             if DOVECOT_24 else
             "protocol imap {\n  mail_plugins = $mail_plugins pimap imap_pimap pimap\n}\n")
    server = Server.temporary("sdbox", extra=extra)
    try:
        plain = server.client("joe")
        plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
        phone = server.client("joe#P1")
        assert len(phone.login.lines("* SESSIONID")) == 1
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V NONE)")
        assert phone.status("INBOX", "MESSAGES") == {"MESSAGES": 0}
        for client in (plain, phone):
            client.logout()
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


def test_invalid_settings():
    """R-14.4: plain sessions go on, devices don't see everything"""
    if DOVECOT_24:
        # there doveconf refuses them
        with pytest.raises(subprocess.CalledProcessError):
            Server.temporary("sdbox", extra="pimap_max_devices = many\n")
        return
    server = Server.temporary("sdbox", extra=settings({"pimap_max_devices": "many"}))
    try:
        server.client("joe").ok("SELECT INBOX")
        with pytest.raises(ConnectionError):
            server.client("joe#P1").command("SELECT INBOX")
        server.close_clients()
        assert server.logs("pimap: Invalid settings")
    finally:
        server.stop()


def test_folders_that_provisioning_lists():
    """R-4.2: over pimap_max_listed_folders only INBOX"""
    server = Server.temporary("sdbox", extra=settings({"pimap_max_listed_folders": 2}))
    try:
        phone = server.client("joe#P1")
        for expected in ("INBOX", "INBOX Work", "INBOX"):
            line, = phone.ok("XPROVISION").lines("* XPROVISION XPIMAPPREF XFILTER_FOLDER")
            assert sorted(line[:-1].split("(")[1].split()) == ["ALL"] + expected.split()
            phone.command("CREATE Work") if expected == "INBOX" else phone.ok("CREATE More")
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()
