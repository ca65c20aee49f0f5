# SPDX-License-Identifier: LGPL-2.1-only
"""Settings that decide who logs in as a device, and as what: pimap,
pimap_services, pimap_unknown_devices, pimap_default_* (R-1.2, R-2.1, R-2.8)."""

import contextlib
import fcntl
import glob
import os
import re
import signal
import struct
import subprocess
import time

import pytest

from conftest import DOVECOT_24, HIBERNATION, Server, settings
from imap_client import Client
from test_login import (MASTER, WAYS, add_device, admitted, attempt, devices, lmtp_reply, mark,
                        refuses, running, set_args_23, whoami, write_users)
from test_settings import prefs
from test_users import ONE_PROCESS

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"


def auth_test(server, service, name, password="pass"):
    """The fields that a login of a service gets, None: it is refused."""
    args = ("auth", "test", "-x", "service=" + service, name, password)
    result = subprocess.run([server.vars["DOVEADM"], *args], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if result.returncode != 0:
        assert "auth failed" in result.stdout + result.stderr
        return None
    fields = result.stdout.split("extra fields:")[1].split()
    return dict(field.partition("=")[::2] for field in fields)


@contextlib.contextmanager
def with_services(services, users=None):
    with running('pimap_services = "%s"\n' % services if DOVECOT_24 else "",
                 users) as server:
        if not DOVECOT_24:
            set_args_23(server, '"separator=# services=%s"' % services.replace(" ", ","))
        yield server


def test_services():
    """Those that pimap_services names take a device's name as its user's."""
    with with_services("imap submission sieve", {"joe": "pass", "joe@foo.com": "foopass"}) as server:
        mark(server, "joe")
        add_device(server, "joe", "P650")
        assert whoami(attempt(server, "joe#P650")) == ("joe", "P650")
        for service in ("submission", "sieve"):
            assert auth_test(server, service, "joe#P650")["user"] == "joe"
            assert auth_test(server, service, "joe#P650@foo.com", "foopass")[
                "user"] == "joe@foo.com"
            for name in ("joe#", "joe#..", "#P650", "joe#P1#P2", "nobody#P650"):
                assert auth_test(server, service, name) is None, (service, name)
            assert auth_test(server, service, "joe#P650", "foopass") is None
            assert auth_test(server, service, "joe")["user"] == "joe"
        for service in ("pop3", "smtp", "lmtp", "subm", "imap2"):
            assert auth_test(server, service, "joe#P650") is None, service
            assert auth_test(server, service, "joe")["user"] == "joe"


def test_services_without_imap():
    with with_services("smtp") as server:
        assert whoami(attempt(server, "joe")) == (None, None)
        assert auth_test(server, "smtp", "joe#P1")["user"] == "joe"
        assert admitted(server, [("joe#P1", "pass")]) == []


@pytest.mark.parametrize("services", ["", "imap pop3/x", "imap=yes"])
def test_impossible_services(services, capfd):
    if DOVECOT_24:
        with pytest.raises(subprocess.CalledProcessError):
            Server.temporary("sdbox", extra='pimap_services = "%s"\n' % services)
        assert "pimap_services" in capfd.readouterr().err
        return
    with running(faults=("services", "throttling", "auth")) as server:
        set_args_23(server, "services=" + services.replace(" ", ","))
        assert refuses(server, "joe#P1")
        assert server.logs("isn't a list of services")


OFF = "userdb_pimap=no"


def test_user_switched_off():
    """His devices are refused, and the log says why. His plain sessions are as
    without pimap; other users don't notice."""
    users = {"joe": ("pass", OFF), "ann": "annpass"}
    with running(MASTER, users, faults=["switched off"]) as server:
        for _ in range(2):
            plain = attempt(server, "joe")
            assert "XPIMAPPREF" not in str(plain.ok("CAPABILITY").untagged)
            assert "XFILTER" not in plain.login.text
            for command in ("XPROVISION P1", "XFILTER GET ALL (DESC)",
                            "XGETPIMAPPREFS (PIMAP_INBAND_PUSH)", "NOSUCH"):
                result = plain.command(command)
                assert result.status == "BAD", command
            assert "Unknown command" in plain.command("XPROVISION P1").text
            plain.append("INBOX", [MESSAGE % b"x"])
            for way in WAYS:
                client = server_client(server)
                result = WAYS[way](client, "joe#P1", "pass")
                assert result.status == "NO" and result.untagged == []
                assert result.text.startswith("[AUTHORIZATIONFAILED]")
                with pytest.raises((ConnectionError, TimeoutError)):
                    client.command("SELECT INBOX")
            assert attempt(server, "joe#P1*admin") is None
            ann = attempt(server, "ann#P1", "annpass")
            assert "XPIMAPPREF" in str(ann.ok("CAPABILITY").untagged)
            server.close_clients()
        assert server.logs("pimap: Device login refused: pimap is switched off")


def server_client(server):
    server.clients.append(Client(server.port))
    return server.clients[-1]


def test_unknown_devices():
    """pimap_unknown_devices = refuse: only those that were added before"""
    with running(MASTER + settings({"pimap_unknown_devices": "refuse"}),
                 faults=["hasn't been added"]) as server:
        mark(server, "joe")
        assert admitted(server, [("joe#P1", "pass"), ("joe#MyPhone", "pass")]) == []
        assert server.logs("the device P1 hasn't been added")
        add_device(server, "joe", "MyPhone")
        for way in WAYS:
            assert whoami(attempt(server, "joe#MyPhone", "pass", way)) == ("joe", "MyPhone")
            assert admitted(server, [("joe#myphone", "pass"), ("joe#P1", "pass")], way) == []
        # a pipelined command of one that is refused isn't executed
        client = server_client(server)
        client.sock.sendall(b'a LOGIN "joe#P1" pass\r\nb CREATE Refused\r\n')
        answer = client.file.readline()
        assert answer.startswith(b"a NO [AUTHORIZATIONFAILED]"), answer
        assert not client.file.readline().startswith(b"b ")
        # the device of a master login is found in any case
        assert whoami(attempt(server, "joe#MYPHONE*admin")) == ("joe", "MyPhone")
        assert attempt(server, "joe#P1*admin") is None
        # one way to add it: XPROVISION in a plain session
        plain = attempt(server, "joe")
        assert "Refused" not in str(plain.ok('LIST "" *').untagged)
        plain.ok("XPROVISION P1")
        assert whoami(attempt(server, "joe#P1")) == ("joe", "new")
        # a profile that can't be read is no reason to let everyone in
        server.close_clients()
        profile = server.path + "/mail/joe/sdbox/dovecot-pimap-profile"
        with open(profile, "a") as output:
            output.write("damage")
        assert admitted(server, [("joe#P1", "pass"), ("joe#MyPhone", "pass")]) == []
        assert whoami(attempt(server, "joe")) == ("joe", None)
        server.close_clients()
        faults = server.faults()
        assert any("profile" in line for line in faults)
        with open(server.vars["LOG"], "w"):
            pass


SESSIONS = "/mail/joe/sdbox/dovecot-pimap-profile.sessions"


def is_locked(path):
    """Whether some session is noted in the file"""
    with open(path, "r+b") as file:
        lock = fcntl.fcntl(file, fcntl.F_OFD_GETLK,
                           struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    return struct.unpack("hhqqi4x", lock)[0] != fcntl.F_UNLCK


def waits_for(condition):
    """Sessions end after their clients have gone."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def refused_device(server):
    return "Too many devices" in server.doveadm("pimap", "device", "add", "-u", "joe", "P9",
                                                fails=True)


MAKE = "XSETPIMAPPREF PIMAP_EVENT_FILTER ALL"


def made(client, command=MAKE):
    result = client.command(command)
    assert result.status == "OK" or result.text.startswith("[LIMIT] Too many devices"), result
    return result.status == "OK"


def log_out(server, client):
    client.logout()
    server.clients.remove(client)


@pytest.mark.parametrize("processes", ["", ONE_PROCESS], ids=["processes", "one-process"])
def test_unknown_devices_count(processes):
    """Those that have a session, for pimap_max_devices; each of them once"""
    with running(settings({"pimap_max_devices": 3}) + processes) as server:
        server.doveadm("pimap", "device", "add", "-u", "joe", "P1")
        first, second, again, third, fourth = (
            attempt(server, "joe#" + device) for device in ("P1", "P2", "P2", "P3", "P4"))
        plain, other = attempt(server, "joe"), attempt(server, "ann#P2")
        for client in (second, third, again, fourth):
            assert not made(client)
        for device in ("P2", "P4", "P5"):
            assert not made(plain, "XPROVISION " + device)
        assert refused_device(server)
        assert "Too many devices" in server.doveadm(
            "pimap", "pref", "set", "-u", "joe", "P9", "PIMAP_EVENT_FILTER", "ALL", fails=True)
        assert devices(server, "joe") == {"P1"}
        # it's no matter of those that are known, or of other users
        assert made(first) and made(plain, "XPROVISION P1") and made(other)
        log_out(server, fourth)
        assert waits_for(lambda: made(third))
        assert devices(server, "joe") == {"P1", "P3"}
        # what is left is for the device that has sessions, not for another
        assert refused_device(server) and not made(plain, "XPROVISION P5")
        log_out(server, again)
        time.sleep(0.3)
        assert refused_device(server)
        assert made(second)
        assert devices(server, "joe") == {"P1", "P2", "P3"}
        assert not made(attempt(server, "joe#P4"))


def test_unknown_devices_that_end():
    """A session that is killed counts no more; one whose device was removed does."""
    with running(settings({"pimap_max_devices": 2}), faults=["killed with signal 9"]) as server:
        server.doveadm("pimap", "device", "add", "-u", "joe", "P1")
        first, second, _ = (attempt(server, "joe#" + device) for device in ("P1", "P2", "P3"))
        pid = re.findall(r"user=<joe\W.* mpid=(\d+)", server.log())[-1]
        assert not made(second)
        os.kill(int(pid), signal.SIGKILL)
        assert waits_for(lambda: made(second))
        server.doveadm("pimap", "device", "remove", "-u", "joe", "P1")
        # as soon as it has looked
        prefs(first, "PIMAP_EVENT_FILTER")
        assert refused_device(server)
        assert made(first)
        assert devices(server, "joe") == {"P1", "P2"}


def test_unknown_devices_before_there_is_a_profile():
    """They keep nothing, and count when they have seen that there is one."""
    with running(settings({"pimap_max_devices": 2})) as server:
        first, second, third = (attempt(server, "joe#" + device) for device in ("P1", "P2", "P3"))
        assert glob.glob(server.path + "/mail/joe/**/*pimap*", recursive=True) == []
        assert made(first)
        assert not os.path.exists(server.path + SESSIONS)
        for client in (second, third):
            prefs(client, "PIMAP_EVENT_FILTER")
        assert not made(second) and not made(third)
        log_out(server, third)
        assert waits_for(lambda: made(second))
        # nothing is left of what has become known
        prefs(second, "PIMAP_EVENT_FILTER")
        assert waits_for(lambda: not is_locked(server.path + SESSIONS))


def test_known_devices_are_not_noted():
    with running() as server:
        server.doveadm("pimap", "device", "add", "-u", "joe", "P1")
        known = attempt(server, "joe#P1")
        known.ok("SELECT INBOX")
        assert made(known)
        known.ok("NOOP")
        attempt(server, "joe").ok("XPROVISION P2")
        assert not os.path.exists(server.path + SESSIONS)
        unknown = attempt(server, "joe#P3")
        assert is_locked(server.path + SESSIONS)
        log_out(server, unknown)
        assert waits_for(lambda: not is_locked(server.path + SESSIONS))
        attempt(server, "joe#P2").ok("SELECT INBOX")
        known.ok("NOOP")
        assert not is_locked(server.path + SESSIONS)


def test_unknown_device_that_sleeps():
    """It isn't counted while imap-hibernate has it."""
    with running(settings({"pimap_max_devices": 2}) + HIBERNATION +
                 "imap_hibernate_timeout = 1s\n") as server:
        server.doveadm("pimap", "device", "add", "-u", "joe", "P1")
        phone = attempt(server, "joe#P2")
        phone.ok("SELECT INBOX")
        assert is_locked(server.path + SESSIONS)
        phone.idle()
        assert server.logs("Successfully hibernated imap client")
        assert waits_for(lambda: not is_locked(server.path + SESSIONS))
        phone.done()
        assert is_locked(server.path + SESSIONS)
        assert refused_device(server)
        assert made(phone)


def test_sessions_that_cannot_be_noted():
    """The devices may be made, and the log says what is wrong."""
    with running(settings({"pimap_max_devices": 2}), faults=["sessions) failed"]) as server:
        server.doveadm("pimap", "device", "add", "-u", "joe", "P1")
        os.mkdir(server.path + SESSIONS)
        second, _ = attempt(server, "joe#P2"), attempt(server, "joe#P3")
        assert made(second)
        assert devices(server, "joe") == {"P1", "P2"}
        log_out(server, second)
        server.wait_for_log()
        assert [line.count("sessions) failed: Is a directory")
                for line in server.faults()] == [1, 1]


DEFAULTS = {"pimap_default_view": "NONE", "pimap_default_notification": "ALL",
            "pimap_default_event": "ALL", "pimap_default_mode": "view"}


def test_defaults():
    """What the site gives devices that have set nothing; what a device sets
    holds, and DEFAULT goes back."""
    with running(settings(DEFAULTS)) as server:
        plain = attempt(server, "joe")
        plain.append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
        phone = attempt(server, "joe#P1")
        everything = "PIMAP_EVENT_FILTER PIMAP_XFILTER"
        assert prefs(phone, everything) == (
            "PIMAP_EVENT_FILTER ALL PIMAP_XFILTER (ALL V NONE) PIMAP_XFILTER (ALL N ALL)")
        phone.ok("SELECT INBOX")
        assert phone.uids == [] and phone.status("INBOX", "MESSAGES") == {"MESSAGES": 0}
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V ALL)")
        # mode view: no RESYNC for what the next SELECT shows
        assert phone.ok("NOOP").lines("* RESYNC") == []
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == [1, 2]
        # the built-in default is a value like others
        phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER NEW")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N NONE)")
        assert prefs(attempt(server, "joe#P1"), everything) == (
            "PIMAP_EVENT_FILTER NEW PIMAP_XFILTER (ALL V ALL) PIMAP_XFILTER (ALL N NONE)")
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B DEFAULT)")
        phone.ok("SELECT INBOX")
        assert phone.uids == []
        listed = server.doveadm("pimap", "device", "list", "-u", "joe").splitlines()
        assert listed[1].split() == ["P1", "view", "NONE", "ALL", "0"]
        assert "NEW" in server.doveadm("pimap", "pref", "get", "-u", "joe", "P1",
                                       "PIMAP_EVENT_FILTER")
        plain.ok("XPROVISION P2")
        listed = server.doveadm("pimap", "device", "list", "-u", "joe").splitlines()
        assert listed[2].split() == ["P2", "view", "NONE", "ALL", "0"]


def test_defaults_of_a_user():
    """Userdb fields give them to one user."""
    fields = " ".join("userdb_%s=%s" % item for item in DEFAULTS.items())
    with running(users={"joe": ("pass", fields), "ann": "pass"}) as server:
        for user, view in (("joe", "NONE"), ("ann", "ALL")):
            attempt(server, user).append("INBOX", [MESSAGE % b"yes"])
            phone = attempt(server, user + "#P1")
            phone.ok("SELECT INBOX")
            assert phone.uids == ([] if view == "NONE" else [None])
            assert "(ALL V %s)" % view in prefs(phone, "PIMAP_XFILTER")


NO_PLUGINS = "" if DOVECOT_24 else "protocol imap {\n  mail_plugins =\n}\n"


@pytest.mark.parametrize("fields", [
    "pimap_device=P9", "pimap_device=",
    "mail_plugins/pimap=no" if DOVECOT_24 else "mail_plugins+=,quota", "mail_plugins=quota"])
def test_fields_of_the_site_that_are_ours(fields):
    """Which device it is, or none, and that its session has pimap, no later passdb
    or userdb changes."""
    with running(NO_PLUGINS, users={"joe": ("pass", "userdb_" + fields)}) as server:
        mark(server, "joe")
        for device in ("P1", "P2"):
            attempt(server, "joe").append("INBOX", [MESSAGE % device.encode()])
            add_device(server, "joe", device)
        for device in ("P1", "P2"):
            phone = attempt(server, "joe#" + device)
            assert whoami(phone) == ("joe", device)
            phone.ok("SELECT INBOX")
            assert phone.uids == [None]
        assert whoami(attempt(server, "joe")) == ("joe", None)
        assert "250" in lmtp_reply(server, "joe")


def test_another_default_is_told_to_who_comes_back():
    """A device that knows its folders by a default view of nothing is told all of
    them when the site's default shows it."""
    users = lambda view: {"joe": ("pass", "userdb_pimap_default_view=" + view)}
    with running(users=users("NONE")) as server:
        attempt(server, "joe").append("INBOX", [MESSAGE % b"yes", MESSAGE % b"no"])
        select = lambda phone, known="": phone.ok("SELECT INBOX" + known)
        phone = attempt(server, "joe#P1")
        phone.ok("ENABLE QRESYNC")
        lines = select(phone).untagged
        validity, modseq = (next(line.line.split(word)[1].split("]")[0].strip()
                                 for line in lines if word in line.line)
                            for word in ("UIDVALIDITY", "HIGHESTMODSEQ"))
        phone.logout()
        server.clients.remove(phone)
        write_users(server.users, users("ALL"))
        server.reload()
        phone = attempt(server, "joe#P1")
        phone.ok("ENABLE QRESYNC")
        result = select(phone, " (QRESYNC (%s %s))" % (validity, modseq))
        assert sorted(line for line in result.fetched()) == [1, 2]


@pytest.mark.parametrize("name,value", [
    ("pimap_unknown_devices", "some"), ("pimap_default_view", "boss"),
    ("pimap_default_event", "OLD"), ("pimap_default_mode", "off"), ("pimap", "perhaps")])
def test_impossible_values(name, value, capfd):
    # which filters there are isn't known to Dovecot
    if DOVECOT_24 and value != "boss":
        with pytest.raises(subprocess.CalledProcessError):
            Server.temporary("sdbox", extra=settings({name: value}))
        assert name in capfd.readouterr().err
        return
    with running(settings({name: value}), faults=["Invalid settings", "pimap-outband"]) as server:
        attempt(server, "joe").ok("SELECT INBOX")
        with pytest.raises(ConnectionError):
            attempt(server, "joe#P1").command("SELECT INBOX")
        assert server.logs("pimap: Invalid settings")
