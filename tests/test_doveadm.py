# SPDX-License-Identifier: LGPL-2.1-only
"""doveadm pimap: what an administrator sets for a device."""

import os
import shutil
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
