# SPDX-License-Identifier: LGPL-2.1-only
"""doveadm pimap: what an administrator sets for a device."""

import json
import os
import shutil
import socket
import subprocess
import tempfile

import pytest

from conftest import DOVECOT_24, Server

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"

PASSWD_AUTH = """
passdb passwd-file {{
  passwd_file_path = {0}
}}
userdb passwd-file {{
  passwd_file_path = {0}
}}
""" if DOVECOT_24 else """
passdb {{
  driver = passwd-file
  args = scheme=plain username_format=%u {0}
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {0}
}}
"""


def rows(table):
    """The fields of a table's lines, without its header."""
    return [line.split() for line in table.splitlines()[1:]]


def test_filter_for_an_ordinary_mail_program(server, user):
    """A program that knows no P-IMAP sees what the administrator set."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"] * 2)
    pimap = lambda *args: server.doveadm("pimap", *args[:2], "-u", user, *args[2:])
    pimap("filter", "set", "-d", "what I want", "want", "SUBJECT", "yes", "UNDELETED")
    assert rows(pimap("filter", "list")) == [["want", "no", "what", "I", "want"]]
    assert pimap("filter", "show", "want").splitlines()[:3] == [
        "filter: want", "description: what I want", "criteria: SUBJECT yes UNDELETED"]
    pimap("pref", "set", "phone", "PIMAP_XFILTER", "INBOX", "V", "want")
    phone = server.client(user + "#phone")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 3]
    assert rows(pimap("device", "list")) == [["phone", "view", "ALL", "NONE", "1"]]
    assert rows(pimap("filter", "list"))[0][1] == "yes"

    pimap("pref", "set", "phone", "PIMAP_EVENT_FILTER", "all")
    assert rows(pimap("pref", "get", "phone", "PIMAP_EVENT_FILTER")) == [
        ["PIMAP_EVENT_FILTER", "ALL"]]
    line = phone.ok("XGETPIMAPPREFS (PIMAP_EVENT_FILTER)").untagged[0].line
    assert line == "* XGETPIMAPPREFS (PIMAP_EVENT_FILTER ALL)"
    assert ["PIMAP_XFILTER", "INBOX", "V", "want"] in rows(pimap("pref", "get", "phone"))

    assert "A device uses the filter" in server.doveadm(
        "pimap", "filter", "delete", "-u", user, "want", fails=True)
    pimap("pref", "set", "phone", "XFILTER", "INBOX", "V", "DEFAULT")
    pimap("filter", "delete", "want")
    assert rows(pimap("filter", "list")) == []
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 2, 3, 4]


@pytest.mark.parametrize("args", [
    ("filter set", "x", "FOO"), ("filter set", "x", "UID", "1"),
    ("filter set", "x"), ("filter set", "ALL", "SEEN"),
    ("filter set", "a\nb", "SEEN"), ("filter show", "x"), ("filter delete", "x"),
    ("pref get", "phone"), ("pref set", "phone", "FOO", "x"),
    ("pref set", "phone", "PIMAP_INBAND_PUSH", "x"), ("pref set", "phone"),
    ("pref set", "../x", "PIMAP_INBAND_PUSH", "ON"),
    ("pref set", "phone", "PIMAP_XFILTER", "INBOX", "V"),
    ("pref set", "phone", "PIMAP_XFILTER", "INBOX", "X", "ALL"),
    ("pref set", "phone", "PIMAP_XFILTER", "INBOX", "V", "nosuch"),
    ("pref set", "phone", "PIMAP_XFILTER", "nosuch", "V", "ALL"),
])
def test_bad_arguments(server, user, args):
    command, *rest = args
    error = server.doveadm("pimap", *command.split(), "-u", user, *rest,
                           fails=True)
    assert error.count("doveadm(%s): Error: pimap: " % user) == 1
    assert error.count("Error") == 1
    for listing in ("filter", "device"):
        assert rows(server.doveadm("pimap", listing, "list", "-u", user)) == []


def status(server, *args):
    """doveadm's exit status"""
    return subprocess.run([server.vars["DOVEADM"], "pimap", *args], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode


def test_exit_status(server, user):
    """As doveadm's own commands: 64 usage, 65 not possible, 67 no such user (where
    everyone is one: not here), 68 not found, 75 try again."""
    def run(command, *args):
        return status(server, *command.split(), "-u", user, *args)
    assert run("device add", "P1") == 0
    assert run("device add", "P1") == 65
    assert run("device add", "#") == 64
    assert run("device add") == 64
    assert run("device mode", "P1", "x") == 64
    assert run("device mode", "P2", "view") == 68
    for command in ("device show", "device remove", "pref get", "view show"):
        folder = ["INBOX"] if command == "view show" else []
        assert run(command, "P2", *folder) == 68, command
        assert run(command, "a/b", *folder) == 64, command
        assert run(command) == 64, command
    assert run("filter set", "F1", "FOO") == 64
    assert run("filter show", "F1") == 68
    assert run("filter delete", "F1") == 68
    assert run("filter set", "F1", "SEEN") == 0
    assert run("pref set", "P1", "XFILTER", "INBOX", "V", "F1") == 0
    assert run("pref set", "P1", "XFILTER", "nosuch", "V", "F1") == 68
    assert run("pref set", "P1", "XFILTER", "INBOX", "V", "F2") == 68
    assert run("filter delete", "F1") == 65
    assert run("view show", "P1", "nosuch") == 68
    assert run("view show", "P1", "INBOX", "7") == 68
    assert run("view show", "P1", "INBOX", "foo") == 64
    assert run("view show", "P1") == 64
    # the profile can't be read, or changed
    profile = server.doveadm("mailbox", "path", "-u", user, "-t", "control",
                             "INBOX").strip() + "/dovecot-pimap-profile"
    if server.format != "maildir":
        profile = "%s/%s/dovecot-pimap-profile" % (server.doveadm(
            "user", "-f", "home", user).strip(), server.format)
    with open(profile, "a") as file:
        file.write("x")
    for command, *args in (("device list",), ("device show", "P1"), ("device remove", "P1"),
                           ("filter set", "F2", "SEEN"), ("view show", "P1", "INBOX")):
        assert run(command, *args) == 75, command


def fields(text, *, names=("name", "value")):
    """What -f json prints, as lists"""
    return [[row[name] for name in names] for row in json.loads(text)]


def test_device_show_and_remove(server, user):
    """All that is a device's, and nothing of another's, goes with it."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    plain.ok("CREATE Work")
    pimap = lambda *args: server.doveadm("pimap", *args[:2], "-u", user, *args[2:])
    pimap("filter", "set", "F1", "SUBJECT", "yes")
    for device in ("P1", "P2"):
        phone = server.client("%s#%s" % (user, device))
        phone.ok("XPROVISION %s token-of-%s" % (device, device))
        phone.ok('XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS "%s@example.org"' % device)
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Work B NONE)")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [1]
        phone.ok("CLOSE")
    pimap("device", "mode", "P2", "view")

    def show(device, *args):
        return server.doveadm(*args, "pimap", "device", "show", "-u", user, device)
    before = fields(show("P2", "-f", "json"))
    assert before == [
        ["device", "P2"], ["mode", "view"], ["registration", "token-of-P2"],
        ["PIMAP_OUTBAND_CHANNEL", "NONE"], ["PIMAP_OUTBAND_ADDRESS", "P2@example.org"],
        ["PIMAP_INBAND_NEW_FORMAT", "NONE"], ["PIMAP_INBAND_PUSH", "OFF"],
        ["PIMAP_ENCRYPTION", "NONE"], ["PIMAP_EVENT_FILTER", "NEW"],
        ["PIMAP_OUTBAND_FORMAT", "EMN"], ["PIMAP_XFILTER", "ALL V ALL"],
        ["PIMAP_XFILTER", "ALL N NONE"], ["PIMAP_XFILTER", "INBOX V F1"],
        ["PIMAP_XFILTER", "Work B NONE"]]
    for form in ("tab", "table", "flow", "pager"):
        text = show("P1", "-f", form)
        assert "token-of-P1" in text and "session" in text and "Work B NONE" in text, form

    caches = lambda: sorted(
        name.split(".")[1]
        for path, _, names in os.walk(server.doveadm("user", "-f", "home", user).strip())
        for name in names if name.startswith("dovecot-pimap-view."))
    assert caches() == ["P1", "P2"]
    phone = server.client(user + "#P1")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1]
    pimap("device", "remove", "P1")
    assert rows(pimap("device", "list")) == [["P2", "view", "ALL", "NONE", "2"]]
    assert fields(show("P2", "-f", "json")) == before
    assert caches() == ["P2"]
    # its session is told, and shows the default
    assert phone.ok("NOOP").lines("* RESYNC")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 2]
    phone.ok("LOGOUT")
    # a new one of that name has nothing of the old one
    pimap("device", "add", "P1")
    assert [value for name, value in fields(show("P1", "-f", "json"))
            if name in ("registration", "PIMAP_OUTBAND_ADDRESS")] == ["", ""]
    assert "There is no such device" in server.doveadm(
        "pimap", "device", "remove", "-u", user, "P3", fails=True)


@pytest.mark.parametrize("words, criteria", [
    # one argument is IMAP's
    (['SUBJECT "two words" UNSEEN'], 'SUBJECT "two words" UNSEEN'),
    (["(OR SEEN UNSEEN) UNDELETED"], "(OR SEEN UNSEEN) UNDELETED"),
    # of several each is a word
    (["SUBJECT", "two words", "UNSEEN"], 'SUBJECT "two words" UNSEEN'),
    (["SUBJECT", "not seen"], 'SUBJECT "not seen"'),
    (["subject", ""], 'SUBJECT ""'),
    (["SUBJECT", 'a "b" c\\'], 'SUBJECT "a \\"b\\" c\\\\"'),
    (["SUBJECT", "(a)"], 'SUBJECT "(a)"'),
    (["OR", "(", "SEEN", "FROM", "a b", ")", "NOT", "SEEN"], 'OR (SEEN FROM "a b") NOT SEEN'),
    (["--", "SUBJECT", "-d"], "SUBJECT -d"),
    (["HEADER", "X-A", "50% *"], 'HEADER X-A "50% *"'),
    (["SUBJECT", "NIL"], 'SUBJECT "NIL"'),
])
def test_quoting(server, user, words, criteria):
    server.doveadm("pimap", "filter", "set", "-u", user, "F1", *words)
    shown = server.doveadm("-f", "json", "pimap", "filter", "show", "-u", user, "F1")
    assert json.loads(shown)[0]["criteria"] == criteria
    line = server.client(user + "#P1").ok("XFILTER GET F1 (CRITERIA)").untagged[0].line
    assert line == "* XFILTER F1 (CRITERIA (%s))" % criteria
    # and that is what it takes
    server.doveadm("pimap", "filter", "set", "-u", user, "F1", "--", criteria)
    assert json.loads(server.doveadm("-f", "json", "pimap", "filter", "show", "-u", user,
                                     "F1"))[0]["criteria"] == criteria


@pytest.mark.parametrize("words", [
    ["SUBJECT", '"two', 'words"'], ["SUBJECT", '"two words"'], ['SUBJECT "two words"', "SEEN"],
    ["(SEEN", "UNSEEN)"], ["SUBJECT", "a", ")"], ["(", "SEEN"], [""], [" "],
    ["SUBJECT two words"],
])
def test_quoting_that_is_wrong(server, user, words):
    """It fails, and is not taken for something else."""
    assert status(server, "filter", "set", "-u", user, "F1", *words) == 64
    assert rows(server.doveadm("pimap", "filter", "list", "-u", user)) == []


@pytest.fixture(scope="module")
def remote():
    """Also answers doveadms that come by the network"""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = Server.temporary("sdbox", extra="""
doveadm_password = secret
service doveadm {
  inet_listener doveadm {
    port = %d
  }
}
""" % port)
    server.doveadm_port = port
    yield server
    server.close_clients()
    # what the commands are refused is logged there, too
    assert [line for line in server.faults() if "Error: pimap: " not in line] == []
    server.stop()


@pytest.mark.parametrize("way", ["local", "socket", "network"])
def test_through_doveadm_server(remote, user, way):
    """Every command, in all formats, prints and ends alike."""
    socket_path = {"local": [], "network": ["-S", "127.0.0.1:%d" % remote.doveadm_port],
                   "socket": ["-S", os.path.dirname(remote.vars["LMTP_SOCKET"]) +
                              "/doveadm-server"]}[way]

    def pimap(command, *args, form=None, code=0):
        result = subprocess.run(
            [remote.vars["DOVEADM"], *(["-f", form] if form else []), "pimap",
             *command.split(), "-u", user, *socket_path, *args],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert result.returncode == code, result
        return result.stdout
    remote.client(user).append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    pimap("device add", "P1", "-m", "session")
    pimap("device add", "P1", code=65)
    pimap("filter set", "-d", "two words", "F 1", "SUBJECT", "y e", "UNSEEN")
    assert json.loads(pimap("filter show", "F 1", form="json")) == [
        {"filter": "F 1", "description": "two words", "criteria": 'SUBJECT "y e" UNSEEN'}]
    pimap("filter set", "F 1", "SUBJECT yes UNSEEN")
    assert pimap("filter list", form="tab").splitlines()[1] == "F 1\tno\t"
    pimap("pref set", "P1", "PIMAP_XFILTER", "INBOX", "V", "F 1")
    assert rows(pimap("device list")) == [["P1", "session", "ALL", "NONE", "1"]]
    pimap("device mode", "P1", "view")
    assert ["mode", "view"] in fields(pimap("device show", "P1", form="json"))
    assert ["PIMAP_XFILTER", "INBOX V F 1"] in fields(
        pimap("pref get", "P1", form="json"), names=("preference", "value"))
    assert [line.split("\t")[:4] for line in
            pimap("view show", "P1", "INBOX", "all", form="tab").splitlines()[1:]] == [
                ["1", "1", "yes", ""], ["2", "", "no", "SUBJECT yes"]]
    assert "uid=2 number= shown=no why=SUBJECT yes" in pimap(
        "view show", "P1", "INBOX", "2", form="flow")
    pimap("view show", "P1", "nosuch", code=68)
    pimap("filter delete", "F 1", code=65)
    pimap("device remove", "P1")
    pimap("device remove", "P1", code=68)
    pimap("filter delete", "F 1")
    pimap("filter show", code=64)


def test_all_users():
    path = tempfile.mkdtemp(prefix="pimap-test.")
    os.chmod(path, 0o755)
    with open(path + "/users", "w") as users:
        for name in ("ann", "bob", "joe"):
            users.write("%s:{PLAIN}pass::::::\n" % name)
    server = Server.temporary("sdbox", auth=PASSWD_AUTH.format(path + "/users"))
    try:
        server.doveadm("pimap", "filter", "set", "-A", "unread", "UNSEEN")
        server.doveadm("pimap", "pref", "set", "-u", "bob", "P1",
                       "PIMAP_XFILTER", "ALL", "V", "unread")
        assert rows(server.doveadm("pimap", "filter", "list", "-A")) == [
            ["ann", "unread", "no"], ["bob", "unread", "yes"],
            ["joe", "unread", "no"]]
        assert rows(server.doveadm("pimap", "device", "list", "-A")) == [
            ["bob", "P1", "view", "unread", "NONE", "0"]]
        assert server.doveadm("-f", "tab", "pimap", "view", "show", "-u", "bob", "P1",
                              "INBOX").splitlines() == ["uid\tnumber\tshown\twhy\tflags\tsubject"]
        # nobody of that name
        assert status(server, "device", "list", "-u", "eve") == 67
        assert status(server, "doctor", "-u", "eve") == 67
        assert status(server, "doctor", "-u", "bob") == 0
        for command in (("device", "show"), ("device", "remove")):
            # one has it, two don't
            assert status(server, *command, "-A", "P1") == 68
        assert rows(server.doveadm("pimap", "device", "list", "-A")) == []
        assert server.client("bob#P1").login.lines("* SESSIONID")
        with pytest.raises(PermissionError):
            server.client("eve#P1")
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()
        shutil.rmtree(path)


def test_without_pimap():
    server = Server.temporary("maildir", plain=True)
    try:
        assert "XFILTER" not in server.client("joe").greeting
        with pytest.raises(PermissionError):
            server.client("joe#P1")
        server.close_clients()
    finally:
        server.stop()
