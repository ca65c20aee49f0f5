# SPDX-License-Identifier: LGPL-2.1-only
"""R-2.1: there is no user called joe#p650 for any service, and no mailbox of his
ever comes into being. Passdb and userdb let everyone in here."""

import contextlib
import os
import poplib
import smtplib
import socket
import subprocess

import pytest

from conftest import DOVECOT_24
from test_login import attempt, b64, lmtp_reply, mark, running, set_args_23, whoami

NAMES = ["joe#p650", "joe#P650", "joe#P650@foo.com", "joe@foo.com#P650", "joe#", "#p650",
         "joe#p1#p2"]
MESSAGE = b"From: a@example.org\r\nSubject: hello\r\n\r\nbody\r\n"
LDA = "/usr/lib/dovecot/dovecot-lda"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Ports:
    def __init__(self):
        self.pop3, self.submission, self.sieve = (free_port() for _ in range(3))

    def settings(self):
        """Nobody listens where submission would hand mail on."""
        chroot = "" if os.getuid() == 0 else "chroot ="
        return """
protocols = imap lmtp pop3 submission sieve
hostname = localhost
submission_relay_host = 127.0.0.1
submission_relay_port = %d
service pop3-login {
  inet_listener pop3 {
    port = %d
  }
  inet_listener pop3s {
    port = 0
  }
  %s
}
service submission-login {
  inet_listener submission {
    port = %d
  }
  inet_listener submissions {
    port = 0
  }
  %s
}
service managesieve-login {
  inet_listener sieve {
    port = %d
  }
  %s
}
""" % (free_port(), self.pop3, chroot, self.submission, chroot, self.sieve, chroot)


def by_pop3(ports, name):
    mailbox = poplib.POP3("127.0.0.1", ports.pop3, timeout=20)
    try:
        mailbox.user(name)
        mailbox.pass_("pass")
        return len(mailbox.list()[1])
    except poplib.error_proto:
        return None
    finally:
        with contextlib.suppress(Exception):
            mailbox.quit()


def by_submission(ports, name):
    with contextlib.closing(smtplib.SMTP("127.0.0.1", ports.submission,
                                         timeout=20)) as smtp:
        smtp.ehlo("localhost")
        code, _ = smtp.docmd("AUTH PLAIN " + b64("\0%s\0pass" % name))
        # the session itself fails for want of a server behind
        return True if code in (235, 421) else None


def by_sieve(ports, name):
    with socket.create_connection(("127.0.0.1", ports.sieve), timeout=20) as sock:
        lines = sock.makefile("rb")
        while not lines.readline().startswith(b"OK"):
            pass
        sock.sendall(b'AUTHENTICATE "PLAIN" "%s"\r\n' % b64("\0%s\0pass" % name).encode())
        answer = lines.readline()
        if answer.startswith(b"NO"):
            return None
        assert answer.startswith(b"OK"), answer
        sock.sendall(b'PUTSCRIPT "x" "keep;"\r\nLOGOUT\r\n')
        answer = b"".join(lines.readlines())
        assert answer.startswith(b"OK"), answer
        return True


def by_lda(server, name):
    result = subprocess.run(
        [server.path + "/within", LDA, "-c", server.vars["CONF"], "-d", name],
        input=MESSAGE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if result.returncode == 0:
        return True
    # that of an unknown user
    assert result.returncode == 67, result
    return None


LOGINS = {"pop3": by_pop3, "submission": by_submission, "sieve": by_sieve}


def homes(server):
    return sorted(os.listdir(server.path + "/mail"))


@pytest.fixture(scope="module")
def site():
    ports = Ports()
    with running(ports.settings(), faults=["submission", "relay"]) as server:
        server.ports = ports
        yield server


@pytest.mark.parametrize("service", LOGINS)
def test_logins(site, service):
    for name in NAMES:
        assert LOGINS[service](site.ports, name) is None, name
    assert [home for home in homes(site) if "#" in home] == []
    assert LOGINS[service](site.ports, "user-of-" + service) is not None


def test_lda(site):
    for name in NAMES:
        assert by_lda(site, name) is None, name
    assert [home for home in homes(site) if "#" in home] == []
    assert by_lda(site, "user-of-lda")
    assert "user-of-lda" in homes(site)


def test_lmtp(site):
    for name in NAMES:
        assert lmtp_reply(site, name).startswith("5"), name
    assert [home for home in homes(site) if "#" in home] == []


@pytest.mark.parametrize("command", [
    ("mailbox", "list"), ("mailbox", "create"), ("save",), ("quota", "get"), ("fetch",),
    ("pimap", "device", "list"), ("pimap", "filter", "list")])
def test_doveadm(site, command):
    arguments = {("mailbox", "create"): ["Work"], ("fetch",): ["uid", "all"]}
    for name in NAMES:
        result = subprocess.run(
            [site.vars["DOVEADM"], *command, "-u", name, *arguments.get(command, [])],
            input=MESSAGE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert result.returncode != 0, (name, result)
    assert [home for home in homes(site) if "#" in home] == []


def test_imap(site):
    assert attempt(site, "joe#p1#p2") is None and attempt(site, "joe#") is None
    assert whoami(attempt(site, "joe#P650")) == (None, "new")
    site.close_clients()
    assert [home for home in homes(site) if "#" in home] == []


def test_services_that_are_named():
    """pimap_services: the device's name is its user's there."""
    ports = Ports()
    services = "imap pop3 submission sieve"
    extra = ports.settings()
    if DOVECOT_24:
        extra += "pimap_services = %s\n" % services
    with running(extra, faults=["submission", "relay"]) as server:
        if not DOVECOT_24:
            set_args_23(server, "services=" + services.replace(" ", ","))
        mark(server, "joe")
        attempt(server, "joe").append("INBOX", [MESSAGE, MESSAGE])
        server.close_clients()
        assert by_pop3(ports, "joe#P650") == 2
        assert by_submission(ports, "joe#P650")
        assert by_sieve(ports, "joe#P650")
        assert server.doveadm("sieve", "list", "-u", "joe").split() == ["x"]
        for service, login in LOGINS.items():
            for name in ("joe#", "#P650", "joe#..", "joe#p1#p2"):
                assert login(ports, name) is None, (service, name)
        assert by_lda(server, "joe#P650") is None
        assert lmtp_reply(server, "joe#P650").startswith("5")
        assert homes(server) == ["joe"]
