# SPDX-License-Identifier: LGPL-2.1-only
"""XPROVISION, XFILTER and the preferences: each rule of requirements.md, sections
3 to 6, that no other file's tests are about."""

import glob
import re
import subprocess

import pytest

from conftest import DOVECOT_24, Server, settings
from test_plugins import VIRTUAL
from test_settings import ALL_PREFS, prefs, xfilters

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"
ANY_FORMAT = pytest.mark.parametrize("server", ["mdbox"], indirect=True)


def provision(client, name, command="XPROVISION"):
    """What is offered under a name, as one text"""
    line, = client.ok(command).lines("* XPROVISION " + name + " (")
    assert line.endswith(")")
    return line[len("* XPROVISION " + name + " ("):-1]


def profile(server, user):
    """The octets of what is kept, or nothing"""
    found = glob.glob("%s/mail/%s/*/dovecot-pimap-profile" % (server.path, user.lower()))
    if not found:
        return b""
    with open(found[0], "rb") as file:
        return file.read()


def bad(client, command):
    """It answers BAD. After 20 in a row Dovecot ends the session."""
    result = client.command(command)
    assert result.status == "BAD" and result.untagged == [], (command, result)
    client.ok("NOOP")
    return result.text


def literal(text):
    text = text.encode() if isinstance(text, str) else text
    return b"{%d+}\r\n%s" % (len(text), text)


# system filters

def system_filters(filters):
    """The text that configures them"""
    if not filters:
        return ""
    if DOVECOT_24:
        return "".join('pimap_filter "%s" {\n  criteria = %s\n}\n' % item
                       for item in filters.items())
    return settings({"pimap_filter_" + name: value for name, value in filters.items()})


# sorted; 2.3 has names of settings in lower case
SYSTEM = ["Loud", "week", "yes"] if DOVECOT_24 else ["loud", "week", "yes"]


@pytest.fixture(scope="module")
def system():
    server = Server.temporary("mdbox", extra=system_filters({
        "week": "daysbeforetoday 7", "yes": "SUBJECT yes (NOT DELETED)", "Loud": "SEEN"}))
    yield server
    server.close_clients()
    assert server.faults() == []
    server.stop()


def test_system_filters(system, user):
    """R-6.1: listed, used, can be GET; never SET or DELETEd. R-4.2"""
    plain = system.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone = system.client(user + "#P1")
    phone.ok("XFILTER SET mine NIL (SEEN)")
    assert provision(phone, "XPIMAPPREF XFILTER_NAME") == "ALL NONE %s mine" % " ".join(SYSTEM)
    assert phone.ok("XFILTER GET yes (DESC CRITERIA)").untagged[0].line == (
        "* XFILTER yes (DESC NIL CRITERIA (SUBJECT yes (NOT DELETED)))")
    assert phone.ok("XFILTER GET week (CRITERIA)").untagged[0].line == (
        "* XFILTER week (CRITERIA (DAYSBEFORETODAY 7))")
    before = profile(system, user)
    for name in ("yes", '"yes"', "{3+}\r\nyes", "CHARSET UTF-7 yes"):
        assert phone.command("XFILTER SET %s NIL (SEEN)" % name).text.startswith("[CANNOT] ")
    for name in ("yes", '"week"'):
        assert phone.command("XFILTER DELETE " + name).text.startswith("[CANNOT] ")
    assert profile(system, user) == before
    # a name with another case is the user's
    phone.ok("XFILTER SET YES NIL (SUBJECT no)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V yes)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N week)")
    for client in (phone, system.client(user + "#P1")):
        client.ok("SELECT INBOX")
        assert client.fetch_all() == [1]
        assert prefs(client, "PIMAP_XFILTER") == (
            "PIMAP_XFILTER (ALL V ALL) PIMAP_XFILTER (ALL N week) PIMAP_XFILTER (INBOX V yes)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V YES)")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [2]


def test_system_filters_by_doveadm(system, user):
    pimap = lambda *args, **kw: system.doveadm("pimap", *args[:2], "-u", user, *args[2:], **kw)
    plain = system.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    for args in (("filter", "set", "yes", "SEEN"), ("filter", "delete", "yes")):
        assert "the system's" in pimap(*args, fails=True)
    assert [line.split()[:2] for line in pimap("filter", "list").splitlines()[1:]] == [
        [name, "system"] for name in SYSTEM]
    assert "criteria: DAYSBEFORETODAY 7\n" in pimap("filter", "show", "week")
    pimap("pref", "set", "P1", "PIMAP_XFILTER", "ALL", "V", "yes")
    phone = system.client(user + "#P1")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1]


def test_system_filter_is_taken_out_or_changed():
    """R-14.4: what the configuration lacks shows nothing, and says why."""
    first, second = {"one": "SUBJECT yes", "two": "ALL"}, {"one": "SUBJECT no", "two": "ALL"}
    server = Server.temporary("sdbox", extra=system_filters(first))
    try:
        plain = server.client("joe")
        plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
        phone = server.client("joe#P1")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V one)")
        phone.ok("CREATE Work")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [1]
        phone.logout()
        reload(server, first, second)
        phone = server.client("joe#P1")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [2]
        phone.logout()
        reload(server, second, {"two": "ALL"})
        phone = server.client("joe#P1")
        for command in ("SELECT INBOX", "EXAMINE INBOX", "STATUS INBOX (MESSAGES)"):
            result = phone.command(command)
            assert result.status == "NO" and not result.lines("* STATUS"), command
        why = "has the filter one, which isn't in the configuration any more"
        assert server.logs(why)
        phone.ok("SELECT Work")
        # it can still be read, and mended
        assert xfilters(phone) == ["INBOX V one"]
        assert phone.command("XFILTER GET one (DESC)").text.startswith("[NONEXISTENT] ")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V two)")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [1, 2]
        server.close_clients()
        server.wait_for_log()
        assert server.log().count(why) == 1
    finally:
        server.stop()


def test_system_filter_as_the_default():
    """R-1.2: what devices have that have set nothing"""
    server = Server.temporary("sdbox", extra=system_filters({"one": "SUBJECT yes"}) + settings(
        {"pimap_default_view": "one", "pimap_default_notification": "one"}))
    try:
        server.client("joe").append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
        phone = server.client("joe#P1")
        assert prefs(phone, "PIMAP_XFILTER") == "PIMAP_XFILTER (ALL B one)"
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [1]
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V ALL)")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [1, 2]
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V DEFAULT)")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [1]
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


def test_system_filter_of_a_users_name():
    """It hides the user's filter of that name, which stays where it is used."""
    server = Server.temporary("sdbox")
    try:
        server.client("joe").append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
        phone = server.client("joe#P1")
        phone.ok("XFILTER SET one NIL (SUBJECT yes)")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V one)")
        phone.logout()
        reload(server, {}, {"one": "SUBJECT no"})
        phone = server.client("joe#P1")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [1]
        assert provision(phone, "XPIMAPPREF XFILTER_NAME") == "ALL NONE one"
        assert "(CRITERIA (SUBJECT no))" in phone.ok("XFILTER GET one (CRITERIA)").untagged[0].line
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V one)")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [2]
        server.close_clients()
    finally:
        server.stop()


def reload(server, old, new):
    with open(server.vars["CONF"]) as file:
        text = file.read()
    old, new = system_filters(old), system_filters(new)
    assert old in text
    with open(server.vars["CONF"], "w") as file:
        file.write(text.replace(old, new) if old else text + "\n" + new)
    server.reload()


@pytest.mark.parametrize("name, criteria, why", [
    ("x", "FOO", "Unknown search key FOO"), ("x", "UID 1", "UID"), ("all", "SEEN", "name of a filter"),
    ("x", "SUBJECT", "Missing parameter"), ("x", "(SEEN", "search keys"), ("x", "", "search keys"),
    (65 * "x", "SEEN", "name of a filter")])
def test_invalid_system_filters(name, criteria, why):
    """R-14.4: devices are refused, plain sessions go on."""
    server = Server.temporary("sdbox", extra=system_filters({name: criteria}))
    try:
        server.client("joe").ok("SELECT INBOX")
        with pytest.raises(ConnectionError):
            server.client("joe#P1").command("SELECT INBOX")
        server.close_clients()
        assert server.logs("Invalid settings: pimap_filter")
        line, = [line for line in server.faults() if "Invalid settings" in line][:1]
        assert why in line
    finally:
        server.stop()


# answers

def test_ok_texts(server, user):
    """R-3.4: the command's name, and no code that has no meaning here"""
    phone = server.client(user + "#P1")
    for command, name in (
            ("XPROVISION", None), ("xprovision P1", "XPROVISION"), ("XPROVISION P1 token", None),
            ("XFILTER SET F1 NIL (SEEN)", None), ("xfilter get F1 (desc)", "XFILTER"),
            ("XFILTER DELETE F1", None), ("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL", None),
            ("XSETPIMAPPREF PIMAP_XFILTER (INBOX V ALL)", None),
            ("XGETPIMAPPREFS (PIMAP_XFILTER)", None), ("XGETPIMAPPREF (PIMAP_XFILTER)", "XGETPIMAPPREFS")):
        text = phone.ok(command).text
        assert re.fullmatch(r"%s completed( \([\d.]+ .*secs\)\.)?" % (name or command.split()[0]),
                            text), text


@pytest.mark.parametrize("command, code", [
    ("XFILTER GET nosuch (DESC)", "NONEXISTENT"), ("XFILTER GET f1 (DESC)", "NONEXISTENT"),
    ("XFILTER DELETE nosuch", "NONEXISTENT"), ("XFILTER DELETE F1", "INUSE"),
    ("XFILTER GET DEFAULT (DESC)", "CANNOT"), ("XFILTER DELETE all", "CANNOT"),
    ("XFILTER SET Default NIL (SEEN)", "CANNOT"), ("XPROVISION P2", "CANNOT"),
    ("XSETPIMAPPREF PIMAP_XFILTER (INBOX N f1)", "NONEXISTENT"),
    ("XSETPIMAPPREF PIMAP_XFILTER (all N F1)", "NONEXISTENT"),
    ("XSETPIMAPPREF PIMAP_XFILTER (Noselect N F1)", "CANNOT"),
    ("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL UDP", "CANNOT"),
    ("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL \"\"", "CANNOT"),
    ("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT PLAIN", "CANNOT"),
    ("XFILTER SET F2 NIL (%s)" % (33 * "NOT " + "SEEN"), "LIMIT")])
@ANY_FORMAT
def test_codes(server, user, command, code):
    """R-3.4, R-5.4: a code and a reason, and nothing changes."""
    phone = server.client(user + "#P1")
    server.doveadm("mailbox", "create", "-u", user, "Noselect/child")
    phone.ok("XFILTER SET F1 NIL (SEEN)")
    # another device's use counts as much
    server.client(user + "#P2").ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX N F1)")
    before = profile(server, user)
    result = phone.command(command)
    assert result.status == "NO" and re.match(r"\[%s\] [A-Z].* .*" % code, result.text), result
    assert result.untagged == [] and profile(server, user) == before != b""


@ANY_FORMAT
def test_plain_sessions_and_before_login(server, user):
    """R-3.2, R-3.3"""
    plain = server.client(user)
    for command in ("XFILTER GET ALL (CRITERIA)", "XFILTER SET F1 NIL (SEEN)", "XFILTER DELETE F1",
                    "XSETPIMAPPREF PIMAP_EVENT_FILTER ALL", "XGETPIMAPPREFS (PIMAP_XFILTER)",
                    "XGETPIMAPPREF (PIMAP_XFILTER)"):
        assert "needs a device login" in bad(plain, command)
        # where commands aren't known yet, three of them end the connection
        assert server.client(None).command(command).status == "BAD"
    assert server.client(None).command("XPROVISION P1").status == "BAD"
    assert profile(server, user) == b""


@ANY_FORMAT
def test_with_a_folder_selected(server, user):
    """R-3.3: all of them, read-only too, without a word about the folder"""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone = server.client(user + "#P1")
    for select in ("SELECT INBOX", "EXAMINE INBOX", "SELECT INBOX"):
        phone.ok(select)
        assert len(phone.fetch_all()) == 2
        for command in ("XPROVISION", "XFILTER SET F1 NIL (SUBJECT yes)", "XFILTER GET F1 (CRITERIA)",
                        "XSETPIMAPPREF PIMAP_XFILTER (INBOX N F1)", "XGETPIMAPPREFS (PIMAP_XFILTER)",
                        "XSETPIMAPPREF PIMAP_XFILTER (INBOX N DEFAULT)", "XFILTER DELETE F1",
                        "XSETPIMAPPREF PIMAP_EVENT_FILTER NONE", "XPROVISION P1 token"):
            result = phone.ok(command)
            words = {line.split()[1] for line in result.lines("* ")}
            assert words <= {command.split()[0]}, result
        assert phone.uids == [1, 2]
    assert phone.ok("NOOP").untagged == []


# XPROVISION

@ANY_FORMAT
def test_what_registers_is_kept(server, user):
    """R-4.1: the token, by whoever provisions; it stays until another comes."""
    kept = lambda: re.findall(rb"^pref\tNOTIF_ID\t(.*)$", profile(server, user), re.MULTILINE)
    plain = server.client(user)
    plain.ok(b"XPROVISION P1 token-1")
    assert kept() == [b"token-1"]
    phone = server.client(user + "#P1")
    phone.ok("XPROVISION")
    phone.ok('XPROVISION "P1"')
    assert kept() == [b"token-1"]
    phone.ok(b"XPROVISION {2+}\r\nP1 " + literal("tökén two"))
    assert kept() == ["tökén two".encode()]
    before = profile(server, user)
    phone.ok(b"XPROVISION P1 " + literal("tökén two"))
    assert profile(server, user) == before
    for token in (b"(a)", b"a b", literal("a\nb"), literal(b"\xff"), literal("x\x7f"),
                  literal(4097 * "x"), literal(b"a\0b")):
        bad(phone, b"XPROVISION P1 " + token)
    for device in (b"P2", b"p1"):
        assert phone.command(b"XPROVISION " + device).text.startswith("[CANNOT] ")
    for device in (b'""', b"../x", b"-P1", literal(65 * "x"), b"(P1)", literal(b"P1\0")):
        for client in (plain, phone):
            bad(client, b"XPROVISION " + device)
    assert profile(server, user) == before
    plain.ok(b"XPROVISION P1 " + literal(4096 * "x"))
    assert kept() == [4096 * b"x"]
    assert "token" not in server.log() and "x" * 100 not in server.log()


@ANY_FORMAT
def test_names_among_words(server, user):
    """R-4.2: what isn't an atom, or could be taken for a word with a meaning, is
    quoted; what can't be selected isn't listed."""
    phone = server.client(user + "#P1")
    folders = ['"All"', '"none"', '"Nil"', '"two words"', "&AOQ-", "a/b", '"x%"', '"c\\"d"', "DEFAULT"]
    for name in folders:
        phone.ok("CREATE " + name)
    names = ['"Nil"', '"two words"', '"a\\"b"', "x]", '"(ALL)"', '"*"', "F1", "{2}"]
    for name in names:
        phone.ok("XFILTER SET %s NIL (SEEN)" % (name if name != "{2}" else '"{2}"'))
    phone.ok(b"XFILTER SET " + literal("ä") + b" NIL (SEEN)")
    words = re.findall(r'"(?:[^"\\]|\\.)*"|[^ ]+', provision(phone, "XPIMAPPREF XFILTER_FOLDER"))
    assert sorted(words) == sorted(folders + ["ALL", "INBOX"])
    response, = [r for r in phone.ok("XPROVISION").untagged if "XFILTER_NAME" in r.line]
    assert response.line.endswith('(ALL NONE "Nil" "two words" "a\\"b" x] "(ALL)" "*" F1 "{2}" {2})')
    assert response.literals == ["ä".encode()]
    # what is offered can be set
    for word in words + ["{3+}\r\nALL", '"ALL"']:
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s N F1)" % word)
    for name in names[:-1]:
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V %s)" % name)


@ANY_FORMAT
def test_each_value_that_is_offered(server, user):
    """R-4.2, R-5.1: it is taken, in any case and form, and kept; R-4.3"""
    phone = server.client(user + "#P1")
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS secret-13335559999")
    offers = [re.fullmatch(r"\* XPROVISION XPIMAPPREF (PIMAP_\w+) \((.*)\)", line)
              for line in phone.ok("XPROVISION P1").lines("* XPROVISION XPIMAPPREF PIMAP_")]
    values = {match.group(1): match.group(2).split() for match in offers}
    assert values == {"PIMAP_OUTBAND_CHANNEL": ["NONE"], "PIMAP_INBAND_NEW_FORMAT": ["NONE"],
                      "PIMAP_INBAND_PUSH": ["OFF"], "PIMAP_EVENT_FILTER": ["ALL", "NONE", "NEW"],
                      "PIMAP_OUTBAND_FORMAT": ["EMN", "EXTENDED"]}
    assert "13335559999" not in repr(phone.ok("XPROVISION"))
    for name, offered in values.items():
        for value in offered + offered[:1]:
            for form in (value, value.lower(), '"%s"' % value, "{%d+}\r\n%s" % (len(value), value)):
                phone.ok("XSETPIMAPPREF %s %s" % (name.lower(), form))
                assert prefs(phone, name) == "%s %s" % (name, value)
        assert prefs(server.client(user + "#P1"), name) == "%s %s" % (name, value)
    assert prefs(phone, "pimap_outband_address PIMAP_XFILTER XFILTER").count("secret-13335559999") == 1
    assert "13335559999" not in server.log()


@ANY_FORMAT
def test_xgetpimapprefs_order(server, user):
    """R-5.2: pairs in the order asked, one line, however often asked"""
    phone = server.client(user + "#P1")
    names = ALL_PREFS.split()[::-1] + ["PIMAP_INBAND_PUSH"] * 2
    pairs = prefs(phone, " ".join(names))
    assert re.findall(r"(PIMAP_\w+) (?!\(INBOX)", pairs) == [
        "PIMAP_XFILTER", "PIMAP_XFILTER"] + names[1:]
    for lists in ("", "()", "PIMAP_XFILTER", "(PIMAP_XFILTER) x", "((PIMAP_XFILTER))", '("PIMAP_XFILTER")',
                  "(NOTIF_ID)", "(PIMAP_XFILTER NIL)", "(" + 33 * "PIMAP_XFILTER " + ")"):
        bad(phone, "XGETPIMAPPREFS " + lists)


# which folders

@ANY_FORMAT
def test_all_folders(server, user):
    """R-5.3: ALL in any string form is every folder, also those made later; it
    replaces the folders' own of that type."""
    plain, phone = server.client(user), server.client(user + "#P1")
    phone.ok("XFILTER SET F1 NIL (SUBJECT yes)")
    plain.ok("CREATE Work")
    for form in ("ALL", '"ALL"', "{3+}\r\nALL"):
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B DEFAULT)")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Work B NONE)")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % form)
        assert prefs(phone, "PIMAP_XFILTER") == (
            "PIMAP_XFILTER (ALL V F1) PIMAP_XFILTER (ALL N NONE) PIMAP_XFILTER (Work N NONE)")
    for name in ("Later", "Work/Later", "All", "all"):
        plain.ok("CREATE " + name)
        plain.append(name, [MESSAGE % b"yes", MESSAGE % b"no"])
        assert phone.status(name, "MESSAGES") == {"MESSAGES": 1}
        # one of another case is a folder
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V NONE)" % name)
        assert phone.status(name, "MESSAGES") == {"MESSAGES": 0}
        assert phone.status("Work", "MESSAGES") == {"MESSAGES": 0}
    assert xfilters(phone) == ["Work N NONE", "Later V NONE", "Work/Later V NONE", "All V NONE",
                               "all V NONE"]
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B F1)")
    assert prefs(phone, "PIMAP_XFILTER") == "PIMAP_XFILTER (ALL B F1)"


NAMESPACES = """
namespace archive {
  prefix = "Archive/&x/"
  separator = /
  %s
}
namespace inbox {
  prefix = "My Mail/"
  separator = /
}
"""


def test_namespaces_with_a_prefix():
    """R-5.3: folders are named as LIST names them."""
    place = ("mail_driver = sdbox\n  mail_path = ~/archive" if DOVECOT_24 else
             "location = sdbox:~/archive")
    server = Server.temporary("sdbox", extra=NAMESPACES % place)
    try:
        plain, phone = server.client("joe"), server.client("joe#P1")
        names = ["INBOX", '"My Mail/Work"', '"Archive/&-x/Old"', '"Archive/&-x/&AOQ-"']
        phone.ok("XFILTER SET F1 NIL (SUBJECT yes)")
        for name in names:
            if name != "INBOX":
                plain.ok("CREATE " + name)
            plain.append(name, [MESSAGE % b"yes", MESSAGE % b"no"])
        listed = [line.split('"/" ')[1] for line in phone.ok('LIST "" *').lines("* LIST")
                  if "oselect" not in line.lower()]
        assert sorted(listed) == sorted(name.strip('"') if " " not in name else name for name in names)
        offered = provision(phone, "XPIMAPPREF XFILTER_FOLDER")
        assert sorted(re.findall(r'"[^"]*"|\S+', offered)) == sorted(listed + ["ALL"])
        for name in names:
            phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % name)
            assert phone.status(name, "MESSAGES") == {"MESSAGES": 1}
        assert sorted(xfilters(phone)) == sorted(name + " V F1" for name in listed)
        for name in ("Work", '"My Mail"', '"Archive/&-x"', "Old", '"Archive/&x/Old"'):
            result = phone.command("XSETPIMAPPREF PIMAP_XFILTER (%s V NONE)" % name)
            assert result.status == "NO" and len(result.text) > 10, name
        plain.ok('RENAME "My Mail/Work" "My Mail/Play"')
        assert '"My Mail/Play" V F1' in xfilters(phone)
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


# XFILTER

@ANY_FORMAT
def test_names_of_filters(server, user):
    """R-6.1: 1 to 64 octets of UTF-8 without control characters, by their case;
    the system's in any case and form"""
    phone = server.client(user + "#P1")
    for name in ("a", "A", "ä", "Ä", 64 * "x", 32 * "ä", "ALL ", "al", "NIL", " ", "€😀", "CHARSET", "GET"):
        phone.ok(b"XFILTER SET %s %s (SUBJECT %s)" % (literal(name), literal(name), literal(name)))
    for name in ("a", "A", "ä", "Ä"):
        response, = phone.ok(b"XFILTER GET %s (CRITERIA)" % literal(name)).untagged
        assert (response.literals or [response.line.encode()])[-1].rstrip(b")").endswith(name.encode())
    before = profile(server, user)
    for name in (b"", 65 * b"x", "ä".encode() * 32 + b"x", b"\xff", b"a\x1fb", b"\x7f", b"a\r\nb", b"\t",
                 b"\xed\xa0\x80", b"\xc3"):
        for command in (b"SET %s NIL (SEEN)", b"GET %s (DESC)", b"DELETE %s"):
            bad(phone, b"XFILTER " + command % literal(name))
    for name in (b"all", b"ALL", b'"All"', literal("aLL"), b"none", b'"NONE"', literal("None"),
                 b"default", b'"DEFAULT"', literal("Default")):
        for command in (b"SET %s NIL (SEEN)", b"SET CHARSET UTF-8 %s NIL (SEEN)", b"DELETE %s"):
            result = phone.command(b"XFILTER " + command % name)
            assert result.status == "NO" and result.text.startswith("[CANNOT] "), (name, command)
    assert profile(server, user) == before
    # and these two can be read
    for name, criteria in ((b"aLL", "ALL"), (literal("none"), "NOT ALL")):
        line, = phone.ok(b"XFILTER GET %s (CRITERIA DESC)" % name).lines("* XFILTER")
        assert line == "* XFILTER %s (DESC NIL CRITERIA (%s))" % (
            "ALL" if criteria == "ALL" else "NONE", criteria)


@ANY_FORMAT
def test_descriptions(server, user):
    """At most 1 KiB, and an empty one isn't NIL."""
    phone = server.client(user + "#P1")
    for desc, status in ((1024 * "x", "OK"), (1025 * "x", "BAD"), (512 * "ä", "OK"), (513 * "ä", "BAD")):
        assert phone.command(b"XFILTER SET F1 %s (SEEN)" % literal(desc)).status == status
    for desc in ("NIL", '""', '"NIL"'):
        phone.ok("XFILTER SET F1 %s (SEEN)" % desc)
        assert phone.ok("XFILTER GET F1 (DESC)").untagged[0].line == "* XFILTER F1 (DESC %s)" % desc


@ANY_FORMAT
def test_lists_that_are_too_deep(server, user):
    """R-14.1: as deep as a line may be long"""
    phone = server.client(user + "#P1")
    for command in ("XFILTER SET F1 NIL %s", "XFILTER GET F1 %s", "XGETPIMAPPREFS %s", "XFILTER %s",
                    "XSETPIMAPPREF PIMAP_XFILTER %s", "XSETPIMAPPREF PIMAP_INBAND_NEW_FORMAT %s",
                    "XPROVISION P1 %s"):
        for depth in (900, 1100, 30000):
            result = phone.command(command % (depth * "(" + "SEEN" + depth * ")"))
            assert result.status in ("BAD", "NO") and len(result.text) > 20
            if depth > 1000:
                assert result.text.startswith("[LIMIT] ")
    assert profile(server, user) == b""


@ANY_FORMAT
def test_a_string_is_no_search_key(server, user):
    """What is answered has no line of the client's."""
    phone = server.client(user + "#P1")
    for text in ("SEEN", "x\r\n* BYE\r\n", "x\r\nt99 OK\r\n"):
        for place in (b"%s", b"NOT %s", b"OR SEEN %s", b"(%s)", b"MIMEPART (%s)", b"MIMEPART SIZE %s",
                      b"MIMEPART (FILENAME %s x)", b"FUZZY %s"):
            error = bad(phone, b"XFILTER SET F1 NIL (%s)" % (place % literal(text)))
            assert "BYE" not in error and "\r" not in error


@ANY_FORMAT
def test_saved_and_fuzzy_keys(server, user):
    """R-6.2: as a plain session's search"""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % subject for subject in (b"needle", b"hay", b"needles")])
    plain.ok("SELECT INBOX")
    phone = server.client(user + "#P1")
    phone.ok("XFILTER SET F1 NIL (ALL)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)")
    counts = set()
    for criteria in ("SAVEDSINCE 1-Jan-2020", "SAVEDBEFORE 1-Jan-2020", "NOT SAVEDSINCE 1-Jan-2020",
                     "SAVEDON 1-Jan-2020", "X-SAVEDSINCE 1-Jan-2020", "SAVEDATESUPPORTED",
                     "NOT SAVEDATESUPPORTED", "FUZZY SUBJECT needle", "FUZZY (SUBJECT needle BODY body)",
                     "FUZZY OR SUBJECT needles FROM nobody", "NOT FUZZY SUBJECT needle", "FUZZY TEXT hay"):
        found = plain.search(criteria)
        phone.ok("XFILTER SET F1 NIL (%s)" % criteria)
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == found, criteria
        counts.add(len(found))
    assert {0, 1, 2, 3} <= counts


def test_folders_with_a_filter_of_their_own():
    """R-14.1: pimap_device_max_folders"""
    server = Server.temporary("sdbox", extra=settings({"pimap_device_max_folders": 3}))
    try:
        phone, other = server.client("joe#P1"), server.client("joe#P2")
        for name in "abcde":
            phone.ok("CREATE " + name)
        for client in (phone, other):
            for name in "abc":
                client.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V NONE)" % name)
        before = profile(server, "joe")
        result = phone.command("XSETPIMAPPREF PIMAP_XFILTER (d V NONE)")
        assert result.status == "NO" and result.text.startswith("[LIMIT] Too many folders")
        assert "Too many folders" in server.doveadm(
            "pimap", "pref", "set", "-u", "joe", "P1", "PIMAP_XFILTER", "d", "N", "ALL", fails=True)
        assert profile(server, "joe") == before
        # what is there may change, ALL is none of them, and what has gone doesn't count
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (a N ALL)")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N NONE)")
        phone.ok("DELETE b")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (d B NONE)")
        assert xfilters(phone) == ["a V NONE", "c V NONE", "d B NONE"]
        assert phone.command("XSETPIMAPPREF PIMAP_XFILTER (e V NONE)").status == "NO"
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (a V DEFAULT)")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (e V NONE)")
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


def test_full_text_search():
    """R-6.2: fuzzy and full-text keys find what a plain session finds with FTS."""
    server = Server.temporary("mdbox", extra=VIRTUAL)
    try:
        plain = server.client("joe")
        plain.append("INBOX", [b"Subject: %s\r\n\r\nsome %s body\r\n" % (word, word)
                               for word in (b"needle", b"hay", b"needlework", b"stack")])
        plain.ok("SELECT INBOX")
        phone = server.client("joe#P1")
        phone.ok("XFILTER SET F1 NIL (ALL)")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)")
        for criteria in ("BODY needle", "FUZZY BODY needle", "TEXT hay", "SUBJECT stack",
                         "FUZZY (SUBJECT stack BODY some)", "OR FUZZY BODY hay BODY stack"):
            found = plain.search(criteria)
            assert 0 < len(found) < 4, criteria
            phone.ok("XFILTER SET F1 NIL (%s)" % criteria)
            phone.ok("SELECT INBOX")
            assert phone.fetch_all() == found, criteria
        plain.append("INBOX", [b"Subject: stack\r\n\r\nlate\r\n"])
        phone.ok("NOOP")
        plain.ok("NOOP")
        assert phone.fetch_all() == plain.search(criteria)
        server.close_clients()
        assert server.faults() == []
        assert glob.glob(server.path + "/mail/joe/**/*xapian*", recursive=True) or \
            glob.glob(server.path + "/mail/joe/**/*flatcurve*", recursive=True)
    finally:
        server.stop()
