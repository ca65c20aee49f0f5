# SPDX-License-Identifier: LGPL-2.1-only
"""Device logins, filters, and what a device sees of a real mailbox."""

import glob
import os
import re
import socket
import subprocess
import zlib

import pytest

from conftest import DOVECOT_24, Server, settings

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"


def device(server, user, criteria, folder="INBOX"):
    client = server.client(user + "#P1")
    client.ok('XFILTER SET F1 "test" (%s)' % criteria)
    client.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % folder)
    return client


def test_session_id_comes_before_the_tagged_reply(server, user):
    first = server.client(user + "#P1").login
    second = server.client(user + "#P1").login
    ids = [line for r in (first, second) for line in r.lines("* SESSIONID ")]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"\* SESSIONID [1-9]\d{17,}", line) for line in ids)


def test_capabilities(server, user):
    """R-3.1: before and after the login, in plain sessions too."""
    for name in (user, user + "#P1"):
        client = server.client(name)
        after = client.ok("CAPABILITY").untagged[0].line.split()
        for words in (re.split(r"[ \]]", client.greeting), after):
            for capability in ("XFILTER", "XPIMAPPREF", "XPROVISION"):
                assert words.count(capability) == 1


def test_plain_session_is_plain(server, user):
    client = server.client(user)
    assert client.login.untagged == []
    for command in ("XFILTER GET ALL (CRITERIA)",
                    "XGETPIMAPPREFS (PIMAP_XFILTER)",
                    "XSETPIMAPPREF PIMAP_XFILTER (ALL V NONE)"):
        result = client.command(command)
        assert result.status == "BAD" and "device login" in result.text


@pytest.mark.parametrize("name", ["%s#", "%s#..", "#P1%s", "%s#P1#P2",
                                  "%s#P1/x", "%s#" + 65 * "x"])
def test_bad_device_names_are_refused(server, user, name):
    with pytest.raises(PermissionError):
        server.client(name % user)


@pytest.mark.parametrize("criteria", [
    "ALL", "SUBJECT hello", 'SUBJECT "two words" UNSEEN',
    "OR (FROM a TO b) NOT BODY c", "DAYSBEFORETODAY 3",
    "OR DAYSBEFORETODAY 0 FLAGGED", 'HEADER X-A "q\\"uote"',
])
def test_filter_round_trip(server, user, criteria):
    client = server.client(user + "#P1")
    client.ok("XFILTER SET F1 NIL (%s)" % criteria)
    answer, = client.ok("XFILTER GET F1 (DESC CRITERIA)").lines("* XFILTER ")
    assert answer == "* XFILTER F1 (DESC NIL CRITERIA (%s))" % criteria


def test_filter_charset(server, user):
    client = server.client(user + "#P1")
    client.ok('XFILTER SET CHARSET ISO-8859-1 F1 NIL (SUBJECT {5+}\r\ngr\xfc\xdfe)')
    answer = client.ok("XFILTER GET F1 (CRITERIA)").untagged[0]
    assert answer.literals == ["grüße".encode()]
    result = client.command('XFILTER SET CHARSET X-NO F1 NIL (SUBJECT "a")')
    assert result.status == "NO" and result.text.startswith("[BADCHARSET")


@pytest.mark.parametrize("command,status", [
    ("XFILTER", "BAD"), ("XFILTER FOO", "BAD"), ("XFILTER SET F1", "BAD"),
    ("XFILTER SET F1 NIL ()", "BAD"), ("XFILTER SET F1 NIL (1:5)", "BAD"),
    ("XFILTER SET F1 NIL (UID 1)", "BAD"), ("XFILTER SET F1 NIL (NOT NEW)", "BAD"),
    ("XFILTER SET F1 NIL (OR RECENT ALL)", "BAD"), ("XFILTER SET F1 NIL ($)", "BAD"),
    ("XFILTER SET F1 NIL (MODSEQ 1)", "BAD"), ("XFILTER SET F1 NIL (FOO)", "BAD"),
    ("XFILTER SET F1 NIL (SUBJECT)", "BAD"), ("XFILTER SET ALL NIL (SEEN)", "NO"),
    ("XFILTER SET none NIL (SEEN)", "NO"), ('XFILTER SET "" NIL (SEEN)', "BAD"),
    ("XFILTER SET F1 NIL (%s)" % (40 * "(" + "SEEN" + 40 * ")"), "NO"),
    ("XFILTER GET F1 (DESC)", "NO"), ("XFILTER GET ALL (FOO)", "BAD"),
    ("XFILTER DELETE F1", "NO"), ("XFILTER DELETE ALL", "NO"),
    ("XSETPIMAPPREF", "BAD"), ("XSETPIMAPPREF FOO BAR", "BAD"),
    ("XSETPIMAPPREF PIMAP_XFILTER (INBOX X ALL)", "BAD"),
    ("XSETPIMAPPREF PIMAP_XFILTER (INBOX V)", "BAD"),
    ("XSETPIMAPPREF PIMAP_XFILTER (INBOX V NOSUCH)", "NO"),
    ("XSETPIMAPPREF PIMAP_XFILTER (nosuch V ALL)", "NO"),
    ("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL SMS", "NO"),
    ("XGETPIMAPPREFS", "BAD"), ("XGETPIMAPPREFS ()", "BAD"),
    ("XGETPIMAPPREFS (FOO)", "BAD"),
])
def test_bad_commands(server, user, command, status):
    client = server.client(user + "#P1")
    before = client.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").untagged[0].line
    result = client.command(command)
    assert result.status == status and len(result.text) > 10, result
    assert client.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").untagged[0].line == before


def test_preferences_persist(server, user):
    client = device(server, user, "SEEN")
    client.ok("CREATE Work")
    client.ok("XSETPIMAPPREF XFILTER (ALL N F1)")
    client.ok("XSETPIMAPPREF PIMAP_XFILTER (Work B F1)")
    client.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    expected = ("* XGETPIMAPPREFS (PIMAP_EVENT_FILTER ALL PIMAP_OUTBAND_CHANNEL"
                " NONE PIMAP_XFILTER (ALL V ALL) PIMAP_XFILTER (ALL N F1)"
                " PIMAP_XFILTER (INBOX V F1) PIMAP_XFILTER (Work B F1))")
    for client in (client, server.client(user + "#P1")):
        line = client.ok("XGETPIMAPPREFS (PIMAP_EVENT_FILTER "
                         "PIMAP_OUTBAND_CHANNEL PIMAP_XFILTER)").untagged[0].line
        assert line == expected
    assert client.command("XFILTER DELETE F1").status == "NO"
    line = server.client(user + "#P2").ok("XGETPIMAPPREFS (PIMAP_XFILTER)").untagged[0].line
    assert line == "* XGETPIMAPPREFS (PIMAP_XFILTER (ALL V ALL) PIMAP_XFILTER (ALL N NONE))"


def test_xprovision(server, user):
    plain = server.client(user)
    assert plain.command("XPROVISION").status == "BAD"
    assert plain.command("XPROVISION ../x").status == "BAD"
    assert plain.command("XPROVISION P1 a b").status == "BAD"
    plain.ok("CREATE All")
    plain.ok("CREATE &AOQ-")
    plain.ok("XPROVISION P1 token")
    phone = server.client(user + "#P1")
    assert phone.command("XPROVISION P2").status == "NO"
    phone.ok('XFILTER SET "two words" NIL (SEEN)')
    lines = phone.ok("XPROVISION P1").lines("* XPROVISION ")
    keys = lines.pop(1)
    assert keys.startswith("* XPROVISION XFILTER_SET (") and " DAYSBEFORETODAY" in keys
    assert not set(keys.rstrip(")").split()) & {"UID", "RECENT", "MODSEQ"}
    folders = lines.pop(4)
    assert sorted(folders[:-1].split("(")[1].split()) == sorted(["ALL", "INBOX", '"All"', "&AOQ-"])
    assert lines == ["* XPROVISION " + line for line in (
        "XFILTER_GET (DESC CRITERIA)",
        "XPIMAPPREF PIMAP_OUTBAND_CHANNEL (NONE)",
        "XPIMAPPREF PIMAP_INBAND_NEW_FORMAT (NONE)",
        "XPIMAPPREF PIMAP_INBAND_PUSH (OFF)",
        "XPIMAPPREF XFILTER_TYPE (V N B)",
        'XPIMAPPREF XFILTER_NAME (ALL NONE "two words")',
        "XPIMAPPREF PIMAP_EVENT_FILTER (ALL NONE NEW)",
        "XPIMAPPREF PIMAP_OUTBAND_FORMAT (EMN EXTENDED)")]
    assert [row.split()[0] for row in server.doveadm(
        "pimap", "device", "list", "-u", user).splitlines()[1:]] == ["P1"]


@pytest.mark.parametrize("criteria", [
    "SUBJECT notmuch", "FROM Carl", "BODY patch SMALLER 4000",
    "OR SUBJECT PATCH NOT FROM a", "NOT ALL", "ALL",
])
def test_real_mail(server, user, real_mail, criteria):
    plain = server.client(user)
    plain.append("INBOX", real_mail)
    plain.ok("SELECT INBOX")
    everything = plain.fetch_all()
    assert len(everything) == len(real_mail) >= 200
    expected = plain.search(criteria)
    hidden = sorted(set(everything) - set(expected))
    if criteria not in ("ALL", "NOT ALL"):
        assert 0 < len(expected) < len(everything)

    phone = device(server, user, criteria)
    assert phone.status("INBOX")["MESSAGES"] == len(expected)
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == expected
    assert phone.search("ALL") == expected
    status = phone.status("INBOX", "MESSAGES UIDNEXT UIDVALIDITY")
    assert status == dict(plain.status("INBOX", "MESSAGES UIDNEXT UIDVALIDITY"),
                          MESSAGES=len(expected))
    if hidden:
        uids = ",".join(map(str, hidden))
        assert phone.ok("UID FETCH %s (FLAGS BODY[])" % uids).untagged == []
        phone.ok("UID STORE %s +FLAGS (\\Flagged)" % uids)
        phone.ok("UID COPY %s INBOX" % uids)
        assert plain.search("FLAGGED") == []
        plain.ok("NOOP")
        assert plain.fetch_all() == everything
    if expected:
        bodies = plain.ok("UID FETCH %d (BODY.PEEK[])" % expected[0]).untagged[0].literals
        assert phone.ok("FETCH 1 (BODY.PEEK[])").untagged[0].literals == bodies


def test_view_is_live(server, user):
    phone = device(server, user, "SUBJECT yes UNFLAGGED")
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % s for s in (b"yes 1", b"no 2", b"yes 3")])
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 3]
    plain.append("INBOX", [MESSAGE % s for s in (b"no 4", b"yes 5")])
    phone.ok("NOOP")
    assert phone.fetch_all() == [1, 3, 5]
    plain.ok("SELECT INBOX")
    plain.ok("UID STORE 1,2 +FLAGS (\\Flagged)")
    assert phone.ok("NOOP").lines("* 1 ") == ["* 1 EXPUNGE"]
    plain.ok("UID STORE 3 +FLAGS (\\Answered)")
    line, = phone.ok("NOOP").lines("* ")
    assert line.startswith("* 1 FETCH") and "\\Answered" in line
    # a sync that may not tell of expunges
    plain.ok("UID STORE 5 +FLAGS (\\Flagged)")
    assert "EXPUNGE" not in str(phone.ok("FETCH 1:* (UID)"))
    assert phone.ok("NOOP").lines("* 2 ")[0] == "* 2 EXPUNGE"
    # entering again below UIDNEXT waits for the next SELECT
    plain.ok("UID STORE 1 -FLAGS (\\Flagged)")
    assert "RESYNC" not in str(phone.ok("FETCH 1:* (UID)"))
    assert phone.ok("NOOP").lines("* ") == ["* RESYNC"]
    plain.ok("UID STORE 5 -FLAGS (\\Flagged)")
    assert phone.ok("NOOP").lines("* ") == []
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 3, 5]
    assert phone.ok("NOOP").lines("* ") == []


def test_changed_filter_asks_for_a_resync(server, user):
    """R-1.7: once, whoever changed it, from and to ALL too."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone, other = server.client(user + "#P1"), server.client(user + "#P1")
    plain.ok("SELECT INBOX")
    phone.ok("SELECT INBOX")
    shows = [1, 2]
    for command, next_shows in (
            ("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)", [1]),
            ("XFILTER SET F1 NIL (SUBJECT no)", [2]),
            ("XSETPIMAPPREF PIMAP_XFILTER (INBOX V NONE)", []),
            ("XSETPIMAPPREF PIMAP_XFILTER (INBOX V ALL)", [1, 2])):
        if shows == [1, 2]:
            other.ok("XFILTER SET F1 NIL (SUBJECT yes)")
        other.ok(command)
        assert phone.ok("NOOP").lines("* ") == ["* RESYNC"]
        assert phone.ok("NOOP").lines("* ") == []
        assert phone.fetch_all() == shows
        phone.ok("SELECT INBOX")
        shows = next_shows
        assert phone.fetch_all() == shows
    assert plain.ok("NOOP").lines("* ") == []


@pytest.mark.parametrize("by", ["device", "doveadm"])
def test_changed_filter_asks_for_a_resync_in_idle(server, user, by):
    """R-1.4c, R-1.7: nothing changes in the folder."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone, other = server.client(user + "#P1"), server.client(user + "#P1")
    phone.ok("SELECT INBOX")
    phone.idle()
    # the profile's first one too
    if by == "device":
        other.ok("XFILTER SET F1 NIL (SUBJECT yes)")
        other.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V F1)")
    else:
        server.doveadm("pimap", "device", "add", "-u", user, "P1", "-m", "session")
        server.doveadm("pimap", "filter", "set", "-u", user, "F1", "SUBJECT", "yes")
        server.doveadm("pimap", "pref", "set", "-u", user, "P1", "PIMAP_XFILTER",
                       "ALL", "V", "F1")
    phone.wait("RESYNC", 30)
    assert len(phone.done().lines("* RESYNC")) == 1
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1]
    phone.idle()
    if by == "device":
        other.ok("XFILTER SET F1 NIL (SUBJECT no)")
    else:
        server.doveadm("pimap", "filter", "set", "-u", user, "F1", "SUBJECT", "no")
    phone.wait("RESYNC", 30)
    assert len(phone.done().lines("* RESYNC")) == 1


def test_late_entrant_asks_for_a_resync_in_idle(server, user):
    """R-1.4c"""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"1", MESSAGE % b"2", MESSAGE % b"3"])
    plain.ok("SELECT INBOX")
    plain.ok("STORE 2 +FLAGS (\\Seen)")
    phone = device(server, user, "UNSEEN")
    phone.ok("SELECT INBOX")
    phone.idle()
    plain.ok("STORE 2 -FLAGS (\\Seen)")
    phone.wait("RESYNC", 30)
    assert phone.done().lines("* RESYNC") == ["* RESYNC"]
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 2, 3]


def test_own_changes_hide_nothing_before_expunge(server, user):
    phone = device(server, user, "UNSEEN UNDELETED")
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"m"] * 5)
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 2, 3, 4, 5]
    phone.ok("FETCH 1 BODY[]")
    phone.ok("STORE 2:3 +FLAGS (\\Deleted)")
    phone.ok("NOOP")
    assert phone.uids == [1, 2, 3, 4, 5]
    assert plain.status("INBOX")["UNSEEN"] == 4
    assert server.client(user + "#P1").status("INBOX")["MESSAGES"] == 2
    phone.ok("EXPUNGE")
    phone.ok("NOOP")
    assert phone.uids == [4, 5]
    plain.ok("SELECT INBOX")
    assert plain.fetch_all() == [1, 4, 5]


def test_expunge_takes_no_hidden_message(server, user):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"] * 3, "\\Deleted")
    phone = device(server, user, "SUBJECT yes")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 3, 5]
    phone.ok("UID EXPUNGE 1:2")
    assert phone.uids == [3, 5]
    phone.ok("CLOSE")
    plain.ok("SELECT INBOX")
    assert plain.fetch_all() == [2, 4, 6]


def test_catenate_takes_no_hidden_message(server, user):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone = device(server, user, "SUBJECT yes")
    phone.ok("CREATE Work")
    phone.ok('APPEND Work CATENATE (URL "/INBOX/;UID=1")')
    assert phone.command('APPEND Work CATENATE (URL "/INBOX/;UID=2")').status == "NO"
    assert plain.status("Work", "MESSAGES") == {"MESSAGES": 1}


def test_commands_of_dovecot_24(server, user):
    """R-1.3 for what 2.4 adds: REPLACE, COMPRESS. 2.3 doesn't know them."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone = device(server, user, "SUBJECT yes")
    phone.ok("SELECT INBOX")
    new = MESSAGE % b"yes, new"
    replace = "UID REPLACE %%d INBOX {%d+}\r\n%s" % (len(new), new.decode())
    result = phone.command(replace % 2)
    assert result.status in ("NO", "BAD")
    assert plain.status("INBOX", "MESSAGES") == {"MESSAGES": 2}
    if not DOVECOT_24:
        return
    phone.ok(replace % 1)
    assert phone.fetch_all() == [3]
    plain.ok("SELECT INBOX")
    assert plain.fetch_all() == [2, 3]
    phone.ok("COMPRESS DEFLATE")
    deflate, inflate = zlib.compressobj(9, wbits=-15), zlib.decompressobj(-15)
    phone.sock.sendall(deflate.compress(b"z UID SEARCH ALL\r\n") +
                       deflate.flush(zlib.Z_SYNC_FLUSH))
    answer = b""
    while b"z OK" not in answer:
        answer += inflate.decompress(phone.sock.recv(4096))
    assert answer.startswith(b"* SEARCH 3\r\n")


def test_sort_and_thread_leave_plain_sessions_right(server, user):
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"c", MESSAGE % b"x b", MESSAGE % b"a",
                           MESSAGE % b"x d"])
    phone = device(server, user, "SUBJECT x")
    phone.ok("SELECT INBOX")
    assert phone.ok("UID SORT (SUBJECT) UTF-8 ALL").lines("* SORT") == ["* SORT 2 4"]
    assert phone.ok("UID THREAD REFERENCES UTF-8 ALL").lines("* THREAD") == ["* THREAD (2)(4)"]
    plain.ok("SELECT INBOX")
    assert plain.ok("UID SORT (SUBJECT) UTF-8 ALL").lines("* SORT") == ["* SORT 3 1 2 4"]
    assert plain.ok("UID THREAD REFERENCES UTF-8 ALL").lines("* THREAD") == ["* THREAD (1)(2)(3)(4)"]


@pytest.mark.expects_faults
def test_damaged_profile_shows_nothing(server, user):
    phone = device(server, user, "SEEN")
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"m"])
    import glob
    path, = glob.glob("%s/mail/%s/*/dovecot-pimap-profile" % (server.path, user))
    with open(path, "r+b") as profile:
        profile.seek(30)
        profile.write(b"?")
    for client in (phone, server.client(user + "#P1")):
        for command in ("SELECT INBOX", "STATUS INBOX (MESSAGES)",
                        "XFILTER GET F1 (DESC)", "XFILTER SET F2 NIL (ALL)"):
            result = client.command(command)
            assert result.status == "NO" and "[SERVERBUG]" in result.text, result
            assert result.lines("* STATUS") == []
    plain.ok("SELECT INBOX")
    # one line for each session
    server.close_clients()
    server.wait_for_log()
    assert [line.count("restore it, or delete it") for line in server.faults()
            if user.lower() in line] == [1, 1]


NO_PLUGINS = "protocol imap {\n  mail_plugins =\n}\n"


def test_device_login_where_mail_plugins_lacks_pimap():
    """No device login shows everything where imap's mail_plugins are another list."""
    server = Server.temporary("mdbox", extra=NO_PLUGINS)
    try:
        if DOVECOT_24:
            # 2.4.1 prefers the configuration to what the passdb says
            with pytest.raises(PermissionError):
                server.client("joe#P1")
            assert server.logs("Refusing all device logins")
        else:
            # the passdb sees to it that pimap is loaded
            assert server.client("joe#P1").login.lines("* SESSIONID")
        server.client("joe").ok("SELECT INBOX")
        server.close_clients()
    finally:
        server.stop()


def take_out(path):
    os.unlink(path)
    return "Plugin 'pimap' not found"


def make_older(path):
    """As if it were built for another Dovecot"""
    with open(path, "rb") as module:
        code, count = re.subn(rb"\b(2\.\d\.)ABIv\d", rb"\1ABIv0", module.read())
    assert count == 1
    os.unlink(path)     # a link
    with open(path, "wb") as module:
        module.write(code)
    return "Module is for different ABI version 2."


@pytest.mark.parametrize("spoil", [take_out, make_older])
def test_device_login_is_refused_where_a_module_is_missing(spoil):
    server = Server.temporary("mdbox", extra=None if DOVECOT_24 else NO_PLUGINS)
    modules = server.vars["MODULES"]
    try:
        for module in ("lib30_imap_pimap_plugin.so", "lib01_pimap_plugin.so"):
            why = spoil("%s/%s" % (modules, module))
            with pytest.raises(ConnectionError):
                server.client("joe#P1").command("SELECT INBOX")
            if not DOVECOT_24 or "imap_pimap" in module:
                server.client("joe").ok("SELECT INBOX")
            server.close_clients()
        assert server.logs(why)
        assert server.logs("Device login refused")
    finally:
        server.stop()


def test_nobody_logs_in_where_auth_lacks_a_module():
    server = Server.temporary("mdbox")
    lacks = [("auth/libauthdb_pimap.so", "Unknown passdb driver 'pimap'")]
    if DOVECOT_24:
        lacks.insert(0, ("settings/libpimap_settings.so", "no settings struct named 'pimap'"))
    try:
        for module, why in lacks:
            os.unlink("%s/%s" % (server.vars["MODULES"], module))
            server.reload()
            with pytest.raises(ConnectionError):
                server.client("joe#P1")
            assert server.logs(why)
    finally:
        server.stop()


def test_device_in_the_configuration(capfd):
    """It never takes the place of the device that logs in."""
    if DOVECOT_24:
        with pytest.raises(subprocess.CalledProcessError):
            Server.temporary(
                "mdbox", extra="protocol imap {\n  pimap_device = P2\n}\n")
        assert "pimap_device is set by passdb pimap" in capfd.readouterr().err
        return
    server = Server.temporary("mdbox", extra="plugin {\n  pimap_device = P2\n}\n")
    try:
        device(server, "joe", "NOT ALL")
        plain = server.client("joe")
        plain.append("INBOX", [MESSAGE % b"m"])
        phone = server.client("joe#P1")
        assert phone.status("INBOX", "MESSAGES") == {"MESSAGES": 0}
        server.close_clients()
    finally:
        server.stop()


def test_names_of_devices_are_no_users(server, user):
    """R-2.1: in no service is there a user called user#P1."""
    name = user + "#P1"
    with pytest.raises(PermissionError):
        server.client(name + "#P2")
    lmtp = socket.socket(socket.AF_UNIX)
    lmtp.connect(server.vars["LMTP_SOCKET"])
    replies = lmtp.makefile("rb")
    replies.readline()
    lmtp.sendall(b"LHLO test\r\n")
    while replies.readline()[3:4] == b"-":
        pass
    lmtp.sendall(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<%s>\r\n" % name.encode())
    assert replies.readline().startswith(b"250")
    assert replies.readline().startswith(b"550")
    lmtp.close()
    assert "doesn't exist" in server.doveadm("user", name, fails=True)
    assert not os.path.exists("%s/mail/%s" % (server.path, name.lower()))


MASTER_PASSDB = """
passdb static-master {
  driver = static
  master = yes
  passdb_static_password = pass
}
""" if DOVECOT_24 else """
passdb {
  driver = static
  master = yes
  args = password=pass
}
"""


def test_master_users():
    server = Server.temporary(
        "maildir", extra="auth_master_user_separator = *\n" + MASTER_PASSDB)
    try:
        assert server.client("joe*admin").login.untagged == []
        assert server.client("joe#P1*admin").login.lines("* SESSIONID")
        for name in ("joe*admin#P1", "joe#..*admin", "joe#*admin"):
            with pytest.raises(PermissionError):
                server.client(name)
        server.client("joe#P1*admin").ok("SELECT INBOX")
        assert os.listdir(server.path + "/mail") == ["joe"]
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


def test_limits():
    server = Server.temporary("maildir", extra=settings({
        "pimap_max_devices": 1, "pimap_max_filters": 2,
        "pimap_max_filter_size": "1k", "pimap_max_filter_nesting": 3,
        "pimap_profile": "~/filters"}))
    try:
        phone = server.client("joe#P1")
        phone.ok("XFILTER SET F1 NIL (((SEEN)))")
        for criteria in ("((((SEEN))))", 'SUBJECT "%s"' % (1024 * "x")):
            result = phone.command("XFILTER SET F1 NIL (%s)" % criteria)
            assert result.status == "NO" and result.text.startswith("[LIMIT]")
        phone.ok("XFILTER SET F2 NIL (SEEN)")
        phone.ok("XFILTER SET F2 NIL (UNSEEN)")
        assert phone.command("XFILTER SET F3 NIL (SEEN)").text.startswith("[LIMIT]")
        phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
        other = server.client("joe#P2")
        result = other.command("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
        assert result.text.startswith("[LIMIT]")
        assert os.path.exists(server.path + "/mail/joe/filters")
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


def test_separator():
    if not DOVECOT_24:
        # an argument of the passdb, for which all must agree
        with pytest.raises(subprocess.CalledProcessError):
            Server.temporary("maildir", auth="""
passdb {
  driver = pimap
  args = separator=+
}
""")
        return
    server = Server.temporary("maildir", extra='pimap_separator = "+"\n')
    try:
        assert server.client("joe+P1").login.lines("* SESSIONID")
        with pytest.raises(PermissionError):
            server.client("joe+")
        server.close_clients()
    finally:
        server.stop()


def test_delete_spares_hidden_messages(server, user):
    """R-1.8, and what may be deleted goes whole."""
    plain = server.client(user)
    plain.ok("CREATE Work")
    plain.append("Work", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone = device(server, user, "SUBJECT yes", "Work")
    assert phone.command("DELETE Work").text.startswith("[CANNOT]")
    assert plain.status("Work", "MESSAGES") == {"MESSAGES": 2}
    plain.ok("SELECT Work")
    plain.ok("UID STORE 2 +FLAGS (\\Deleted)")
    plain.ok("CLOSE")
    phone.ok("DELETE Work")
    assert plain.command("SELECT Work").status == "NO"


QUOTA = """
mail_plugins {
  quota = yes
}
protocol imap {
  mail_plugins {
    imap_quota = yes
  }
}
quota User {
  quota_storage_size = 10M
}
""" if DOVECOT_24 else """
mail_plugins = $mail_plugins quota imap_quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=10M
}
"""


def test_quota_is_the_users(user):
    """R-1.3: hidden messages count."""
    server = Server.temporary("mdbox", extra=QUOTA + settings(
        {"pimap_delete_hidden": "yes"}))
    message = MESSAGE % b"no" + 3000 * b"0123456789012345678901234567890123456\r\n"
    try:
        plain = server.client("joe")
        plain.ok("CREATE Work")
        for folder in ("INBOX", "Work"):
            plain.append(folder, [message] * 30)
        phone = device(server, "joe", "SUBJECT yes", "ALL")
        expected, = plain.ok("GETQUOTA \"User%s\"" % (
            "" if DOVECOT_24 else " quota")).lines("* QUOTA ")
        for command in ("GETQUOTAROOT INBOX", "GETQUOTAROOT Work"):
            assert expected in phone.ok(command).lines("* QUOTA ")
        assert phone.status("Work", "MESSAGES") == {"MESSAGES": 0}
        with pytest.raises(AssertionError) as error:
            phone.append("INBOX", [message] * 31)
        assert "[OVERQUOTA]" in str(error.value)
        assert plain.status("INBOX", "MESSAGES") == {"MESSAGES": 30}
        phone.ok("DELETE Work")
        phone.append("INBOX", [message] * 31)
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


def files_of(server, user):
    path = "%s/mail/%s" % (server.path, user.lower())
    return sorted(os.path.relpath(name, path) for name in
                  glob.glob(path + "/**", recursive=True, include_hidden=True))


def test_a_login_keeps_nothing(server, user):
    """R-2.1; as little as one without a device"""
    server.client(user + "a").logout()
    server.client(user + "b#P1").logout()
    assert files_of(server, user + "b") == files_of(server, user + "a")
