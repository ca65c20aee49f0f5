# SPDX-License-Identifier: LGPL-2.1-only
"""Which of our modules a process loads: plain sessions need little."""

import os
import re
import time

import pytest

from conftest import DOVECOT_24, Server
from test_device import MESSAGE, device

PLUGIN, SESSIONS = "lib01_pimap_plugin.so", "lib30_imap_pimap_plugin.so"


def pids(server, user, count):
    """Of the processes of the user's sessions, in the order of their logins"""
    for _ in range(100):
        found = re.findall(r"user=<%s>.* mpid=(\d+)" % re.escape(user), server.log())
        if len(found) >= count:
            break
        time.sleep(0.05)
    assert len(found) == count
    return found


def loaded(server, user, count):
    modules = []
    for pid in pids(server, user, count):
        with open("/proc/%s/maps" % pid) as maps:
            modules.append(set(re.findall(r"/(lib\w*pimap\w*\.so)", maps.read())))
    return modules


def test_plain_session_loads_what_it_uses(server, user):
    """What devices need is loaded when one logs in, or for a command that plain
    sessions have too."""
    user = user.lower()
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"m"])
    words = plain.ok("CAPABILITY").lines("* CAPABILITY")[0].split()
    assert {"XPIMAPPREF", "XPROVISION", "XFILTER"} <= set(words)
    assert loaded(server, user, 1) == [{PLUGIN}]
    plain.ok("XPROVISION P1")
    assert loaded(server, user, 1) == [{PLUGIN, SESSIONS}]
    # of a session that was there before, nothing has changed
    for command in ("XGETPIMAPPREFS", "XFILTER GET", "XSETPIMAPPREF PIMAP_INBAND_PUSH ON"):
        result = plain.command(command)
        assert result.status == "BAD" and "device login" in result.text
    device(server, user, "NOT ALL")
    plain.ok("SELECT INBOX")
    assert plain.uids == [None]
    plain.ok("XPROVISION P2")
    assert loaded(server, user, 2) == [{PLUGIN, SESSIONS}] * 2


def test_plain_session_where_the_rest_is_missing():
    """One line in the log for what is tried, and the session goes on."""
    server = Server.temporary("sdbox")
    try:
        os.unlink("%s/%s" % (server.vars["MODULES"], SESSIONS))
        plain = server.client("joe")
        for _ in range(2):
            result = plain.command("XPROVISION P1")
            assert result.status == "NO" and "[SERVERBUG]" in result.text
        plain.ok("SELECT INBOX")
        server.close_clients()
        faults = server.faults()
        assert len(faults) == 2, faults
        assert all("Can't load plugin imap_pimap: Plugin 'imap_pimap' not found" in line
                   for line in faults)
    finally:
        server.stop()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can chroot")
@pytest.mark.parametrize("named", [False, True], ids=["", "named"])
def test_chroot(named):
    """Nothing can be loaded in there: what a device needs must have been named in
    mail_plugins. A session without it is refused."""
    extra = "mail_chroot = /tmp\n"
    if not DOVECOT_24:
        extra += "valid_chroot_dirs = /tmp\n"
    if named:
        extra += ("protocol imap {\n  mail_plugins {\n    imap_pimap = yes\n  }\n}\n"
                  if DOVECOT_24 else
                  "protocol imap {\n  mail_plugins = $mail_plugins imap_pimap\n}\n")
    server = Server.temporary("sdbox", extra=extra)
    try:
        plain = server.client("joe")
        plain.append("INBOX", [MESSAGE % b"m"])
        pid, = pids(server, "joe", 1)
        assert os.readlink("/proc/%s/root" % pid) == "/tmp"
        if named:
            phone = device(server, "joe", "NOT ALL")
            assert phone.status("INBOX", "MESSAGES") == {"MESSAGES": 0}
        else:
            with pytest.raises(ConnectionError):
                server.client("joe#P1").command("SELECT INBOX")
        server.close_clients()
        server.wait_for_log()
        # Dovecot's own: it can't go to the home as it knows it
        faults = [line for line in server.faults() if "Error: chdir(" not in line]
        assert len(faults) == (0 if named else 1), faults
        assert all("Device login refused: " in line and
                   "name it in mail_plugins beside pimap" in line for line in faults)
    finally:
        server.stop()
