# SPDX-License-Identifier: LGPL-2.1-only
"""Failures that the public record of other software knows, as notifications: lines that
a subject forges, old mail that looks new, mails that chase each other, a queue that a
stop loses. Each test names its reports."""

import contextlib
import email
import os
import re
import signal
import smtplib
import socket
import sqlite3
import subprocess
import time

import pytest

from cases import lmtp, mail
from outband_peers import hint, wait_for
from test_notifications import Site
from test_outband import GUID, Outband, seqs

EXTENDED = re.compile(r'_%\$P-IMAP\$%_ (\d+) (joe\S*|"joe[^"]*") ([A-Z_]+)'
                      r'( \d+( (NIL|"([^"\\]|\\["\\])*")){4,5})?')
ADDRESS = "joe@example.com"


class Told(Site):
    """Devices with EXTENDED: what they are told names what happened."""

    def phone(self, user, keys="ALL", **options):
        phone = self.device(user, keys, **options)
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
        return phone

    def texts(self, address=ADDRESS):
        return [email.message_from_string(mail.text).get_payload(decode=True).decode()
                .rstrip("\r\n") for mail in self.relay.mails if address in mail.recipients[0]]

    def events(self, address=ADDRESS):
        return [EXTENDED.fullmatch(text).group(3) for text in self.texts(address)]

    def settled(self, address=ADDRESS):
        """What it is told, when nothing more comes"""
        count = -1
        while count != len(self.texts(address)):
            count = len(self.texts(address))
            time.sleep(1.5)
        return self.events(address)


@pytest.fixture(params=["maildir", "mdbox"])
def told(request):
    site = Told(request.param, pimap_clear_text="mail", pimap_join_count="0",
                pimap_mail_from="pimap@example.com")
    yield site
    faults = [] if request.node.get_closest_marker("expects_faults") else site.server.faults()
    site.stop()
    assert faults == []


def test_forged_lines(told):
    """greenmail#1010, humhub#3556, CVE-2025-15366: one line for each message, whatever
    its headers decode to; a folder's name is one word of it."""
    told.phone("joe")
    messages = mail("67")
    assert len(messages) == 4
    for message in messages.values():
        lmtp(told.server, "joe", message)
    told.told_once(4)
    for text in told.texts():
        assert EXTENDED.fullmatch(text), text
        assert all(ord(char) >= 0x20 and not 0x7f <= ord(char) < 0xa0 for char in text)
        # what turns or hides text is cut
        assert not re.search("[\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]", text)
    assert told.texts()[2].count('\\"quote\\\\ _%$P-IMAP$%_ 7 joe"') == 1
    # no mail has another header, nor more recipients
    for sent in told.relay.mails:
        assert set(email.message_from_string(sent.text).keys()) <= {
            "Date", "From", "To", "Message-ID", "Subject", "Auto-Submitted",
            "X-PIMAP-Notification", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
        assert [to.split()[0] for to in sent.recipients] == ["TO:<%s>" % ADDRESS]
    # CR LF, in modified UTF-7
    plain = told.server.client("joe")
    for name in ("a&AA0ACg-X", "b &- _%$P-IMAP$%_ 7 joe"):
        if plain.command('CREATE "%s"' % name).status == "OK":
            plain.append('"%s"' % name, [messages["67a-inject-sender.eml"]])
    for text in told.texts():
        assert EXTENDED.fullmatch(text), text
    told.settled()


def test_addresses_with_control_characters(told):
    """Refused where they are set"""
    phone = told.phone("joe")
    for value in (b"a\r\nX: y", b"joe@example.com\r\nBcc: ann@example.com", b"joe@example.com\0"):
        result = phone.command(b"XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS {%d+}\r\n%s" %
                               (len(value), value))
        assert result.status in ("NO", "BAD"), value


def test_old_mail_is_not_new(told):
    """zammad#539, frappe/mail#283, bcgov/entity#2253: what was there before the device,
    before an index was lost, a folder renamed, UIDs given anew"""
    for number in range(30):
        told.deliver("joe", b"old %d" % number)
    told.phone("joe")
    assert told.settled() == []
    told.deliver("joe", b"new")
    told.told_once(1)
    doveadm = told.server.doveadm
    doveadm("force-resync", "-u", "joe", "INBOX")
    doveadm("pimap", "outband", "scan")
    assert told.settled() == ["NEW_MESSAGE"]
    plain = told.server.client("joe")
    plain.ok("CREATE Work")
    plain.append("Work", [b"Subject: new\r\n\r\nbody\r\n"])
    wait_for(lambda: told.events().count("NEW_MESSAGE") == 2)
    plain.ok("RENAME Work Play")
    plain.ok("STATUS Play (MESSAGES)")
    doveadm("pimap", "outband", "scan")
    # folders that come and change are events of their own
    events = told.settled()
    assert events.count("NEW_MESSAGE") == 2 and set(events) <= {"NEW_MESSAGE", "SYNC"}
    # by numbers that are others: the device looks itself
    doveadm("mailbox", "update", "-u", "joe", "--uid-validity", "2000000000", "INBOX")
    doveadm("pimap", "outband", "scan")
    assert set(told.settled()[len(events):]) <= {"STATE_COMPARISON_SYNC"}
    told.deliver("joe", b"new")
    wait_for(lambda: told.events()[-1] == "NEW_MESSAGE" and len(told.events()) > len(events))
    later = told.settled()[len(events):]
    assert later in (["NEW_MESSAGE"], ["STATE_COMPARISON_SYNC", "NEW_MESSAGE"])


def test_many_old_mails_arrive(told):
    """Hermes#287: a move of a mailbox by a plain program; each is new, and told once."""
    told.phone("joe")
    plain = told.server.client("joe")
    plain.append("INBOX", [b"Date: Tue, 24 Feb 2004 10:00:00 +0000\r\nSubject: %d\r\n\r\nbody\r\n" % n
                           for n in range(1500)])
    events = told.settled()
    assert set(events) <= {"NEW_MESSAGE", "SYNC"} and 1 <= len(events) <= 1500
    told.told_once(len(events))


def test_mails_that_chase_each_other(told):
    """zammad#4941, irrdnet/irrd#518, chatwoot#3386: addresses that lead back, by way of
    another user's device too, and bounces, which haven't our header"""
    users = {"joe@example.com": "joe", "ann@example.com": "ann"}
    told.phone("joe", address="ann@example.com")
    told.phone("ann", address="joe@example.com")
    delivered = 0
    told.deliver("joe", b"first")

    def forward():
        """What was sent comes to the users."""
        nonlocal delivered
        while delivered < len(told.relay.mails):
            sent = told.relay.mails[delivered]
            delivered += 1
            assert sent.sender.split()[0] == "FROM:<>"
            assert email.message_from_string(sent.text)["Auto-Submitted"] == "auto-generated"
            address = re.match("TO:<(.*)>", sent.recipients[0]).group(1)
            with smtplib.LMTP(told.server.vars["LMTP_SOCKET"]) as peer:
                peer.sendmail("", users[address], sent.text)

    wait_for(lambda: told.relay.mails)
    for _ in range(5):
        forward()
        time.sleep(0.5)
    assert len(told.relay.mails) == 1
    # one more, once
    lmtp(told.server, "joe", mail("82")["82-bounce-of-notification.eml"])
    wait_for(lambda: len(told.relay.mails) == 2)
    for _ in range(5):
        forward()
        time.sleep(0.5)
    assert len(told.relay.mails) == 2


@pytest.mark.expects_faults
def test_stops_with_a_full_queue():
    """fiscalberry#165, persist-queue#107, WordPress/sqlite#483: pending ones are there
    after each kind of end, with their numbers."""
    outband = Outband(pimap_join_count="0", pimap_limit_device="0", pimap_limit_user="0")
    outband.relay.replies["MAIL"] = "451 not now"
    outband.folder.count = 100
    hint(outband.server, "HINT", ADDRESS, GUID)
    wait_for(lambda: "100" in re.findall(r"^queued +(\d+)", outband.server.doveadm(
        "pimap", "outband", "status"), re.M))
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        pid = wait_for(outband.pid)
        if number is None:
            outband.server.reload()
        else:
            os.kill(pid, number)
        wait_for(lambda: outband.pid() not in (pid, None), 60)
        hint(outband.server, "HINT", ADDRESS, GUID)
    del outband.relay.replies["MAIL"]
    wait_for(lambda: len(outband.relay.mails) == 100, 60)
    assert seqs(outband.relay.mails) == list(range(1, 101))
    outband.stop()


@pytest.fixture
def outband():
    outband = Outband(pimap_join_count="0", pimap_limit_device="0", pimap_limit_user="0")
    yield outband
    outband.stop()


def tracing(pid):
    with open("/proc/%d/status" % pid) as status:
        return "TracerPid:\t0\n" not in status.read()


@contextlib.contextmanager
def failing(pid, inject):
    """The process's calls fail so"""
    tracer = subprocess.Popen(["strace", "-f", "-q", "-o", "/dev/null", "-e",
                               "trace=" + inject.split(":")[0], "-e", "inject=" + inject,
                               "-p", str(pid)])
    wait_for(lambda: tracing(pid))
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait(10)
    wait_for(lambda: not tracing(pid))


@pytest.mark.expects_faults
@pytest.mark.parametrize("first", [1, 8, 32, 64])
def test_queue_disk_is_full(outband, first):
    """WordPress/sqlite#483: with the first, or a later one, of what is written of a look, a
    number or what was sent: nothing is sent twice or without its number, and nothing is lost."""
    outband.folder.count = 1
    hint(outband.server, "HINT", ADDRESS, GUID)
    wait_for(lambda: outband.relay.mails)
    pid = wait_for(outband.pid)
    with failing(pid, "pwrite64:error=ENOSPC:when=%d+" % first):
        outband.folder.count = 30
        hint(outband.server, "HINT", ADDRESS, GUID)
        assert outband.server.logs("disk is full (13) (it is tried again)")
        # doveadm is answered
        outband.server.doveadm("pimap", "outband", "status")
        time.sleep(1)
    wait_for(lambda: len(outband.relay.mails) == 30, 60)
    time.sleep(0.5)
    assert seqs(outband.relay.mails) == list(range(1, 31))
    assert outband.pid() == pid and len(outband.server.faults()) == 1


@pytest.mark.expects_faults
def test_queue_is_damaged(outband):
    """persist-queue#107: nothing is sent by what can't be read, and one line says so. With
    the file as it was it goes on."""
    outband.folder.count = 1
    hint(outband.server, "HINT", ADDRESS, GUID)
    wait_for(lambda: outband.relay.mails)
    wait_for(lambda: "queued 0" in re.sub(" +", " ", outband.server.doveadm(
        "pimap", "outband", "status")))
    path = outband.server.path + "/state/pimap-outband/outband.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(path, "rb") as file:
        good = file.read()
    pid = wait_for(outband.pid)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (len(good) - 4096))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: outband.pid() not in (pid, None), 60)
    outband.folder.count = 3
    hint(outband.server, "HINT", ADDRESS, GUID)
    assert outband.server.logs("malformed")
    time.sleep(3)
    assert len(outband.relay.mails) == 1
    log = outband.server.log()
    assert log.count("malformed") <= 3 and log.count("killed with signal") == 1
    pid = wait_for(outband.pid)
    with open(path, "r+b") as file:
        file.write(good)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: outband.pid() not in (pid, None), 60)
    hint(outband.server, "HINT", ADDRESS, GUID)
    wait_for(lambda: len(outband.relay.mails) == 3, 60)
    assert seqs(outband.relay.mails) == [1, 2, 3]


@pytest.mark.expects_faults
def test_door_is_full():
    """chatmail/relay#238: those who connect and say nothing take all places; hints come
    too late or never, deliveries don't wait, and nothing is lost."""
    site = Told("maildir", pimap_join_count="0",
                extra="service pimap-outband {\n  client_limit = 5\n}\n")
    site.phone("joe")
    site.deliver("joe", b"first")
    site.told_once(1)
    clients = []
    for _ in range(50):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(site.server.path + "/run/pimap-outband")
        except BlockingIOError:
            pass
        clients.append(client)
    start = time.monotonic()
    for _ in range(10):
        site.deliver("joe", b"next")
    assert time.monotonic() - start < 10
    for client in clients:
        client.close()
    time.sleep(0.5)
    site.server.doveadm("pimap", "outband", "scan")
    site.told_once(11)
    site.stop()


@pytest.mark.expects_faults
def test_deliveries_that_may_not_connect():
    """YunoHost#1904, emailwiz#87: dovecot-lda as the mail user, where the socket is
    root's. What it prints would be a bounce's text."""
    site = Told("maildir", pimap_join_count="0", extra="""
service auth {
  unix_listener auth-userdb {
    mode = 0777
  }
}
""")
    site.phone("joe")
    site.deliver("joe", b"first")
    site.told_once(1)
    os.chmod(site.server.path + "/run/pimap-outband", 0)
    # what dovecot-lda needs for itself
    for path in ("/run/stats-writer", "/log/dovecot.log"):
        os.chmod(site.server.path + path, 0o666)
    owner = os.stat(site.server.path + "/mail/joe")
    within = os.path.dirname(site.server.vars["DOVEADM"]) + "/within"
    command = [within]
    if os.getuid() == 0:
        command += ["setpriv", "--reuid=%d" % owner.st_uid, "--regid=%d" % owner.st_gid,
                    "--clear-groups"]
    command += ["/usr/lib/dovecot/dovecot-lda", "-c", site.server.vars["CONF"], "-d", "joe"]
    result = subprocess.run(command, input=b"Subject: x\r\n\r\nbody\r\n",
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0 and result.stdout + result.stderr == b"", result.stderr
    site.server.doveadm("pimap", "outband", "scan")
    site.told_once(2)
    site.stop()
