# SPDX-License-Identifier: LGPL-2.1-only
"""What happens in a folder where the device's session is in IDLE isn't notified if the
client has read it there; in doubt it is (R-13.1, R-13.6)."""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

from conftest import HIBERNATION
from imap_client import Client
from outband_peers import wait_for
from test_keys import JOE, TLS, key
from test_notifications import MESSAGE, Site
from udp_device import Device

GRACE = 4
# whole seconds, and the time for TCP's answer
SLACK = 2.5
HELD = "held for a session"


def status(site, name):
    text = site.server.doveadm("pimap", "outband", "status")
    found = re.search(r"^%s:? +(\d+)" % re.escape(name), text, re.M)
    assert found, text
    return int(found.group(1))


class Grace(Site):
    def __init__(self, fmt="maildir", **values):
        self.address = None
        super().__init__(fmt, **dict({"pimap_inband_grace": "%d s" % GRACE}, **values))

    def told(self):
        """The numbers of what the device of phone() was told"""
        return super().told("<%s>" % self.address)

    def phone(self, user, folder="INBOX", events="NEW", mode=None, view=None):
        """A session of a device that is notified of all, in that folder"""
        self.address = user.replace("@", "-") + "@example.com"
        login = self.device(user, "ALL", address=self.address)
        login.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER " + events)
        if view is not None:
            login.ok("XFILTER SET V NIL (%s)" % view)
            login.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V V)")
        login.close()
        if mode is not None:
            self.server.doveadm("pimap", "device", "mode", "-u", user, "P1", mode)
        phone = self.server.client(user + "#P1")
        phone.ok("SELECT " + folder)
        return phone

    def idle(self, phone, sessions=1):
        phone.idle()
        wait_for(lambda: status(self, "sessions in IDLE") == sessions)

    def is_told(self, count, seconds=0.0):
        """So many, and no more in so many seconds"""
        wait_for(lambda: len(set(self.told())) >= count)
        time.sleep(seconds)
        return sorted(set(self.told())) == list(range(1, count + 1))


@pytest.fixture(scope="module", params=["maildir", "pgsql"])
def site(request):
    site = Grace(request.param)
    yield site
    assert site.server.faults() == []
    site.stop()


@pytest.fixture(scope="module")
def reading():
    """By R-2.4 alone"""
    site = Grace("mdbox", pimap_inband_grace_by="read", pimap_inband_grace="6 s")
    yield site
    assert site.server.faults() == []
    site.stop()


@pytest.fixture
def joe(request, user):
    for name in ("site", "reading"):
        if name in request.fixturenames:
            site = request.getfixturevalue(name)
            site.server.close_clients()
            wait_for(lambda: status(site, "sessions in IDLE") == 0)
            site.relay.mails.clear()
            site.before = status(site, "read inband"), status(site, "held and not read")
    return user.lower()


def read(site):
    """How many were read, and weren't in time"""
    return (status(site, "read inband") - site.before[0],
            status(site, "held and not read") - site.before[1])


@pytest.mark.parametrize("mode", ["session", "view"])
def test_read_by_tcp(site, joe, mode):
    phone = site.phone(joe, mode=mode)
    site.idle(phone)
    start = time.monotonic()
    site.deliver(joe, b"first")
    phone.wait("EXISTS")
    wait_for(lambda: status(site, HELD) == 1)
    listed = site.server.doveadm("pimap", "outband", "list", "-u", joe)
    assert "NEW_MESSAGE" in listed and "held, as the device is in IDLE there" in listed
    wait_for(lambda: read(site) == (1, 0))
    assert time.monotonic() - start > GRACE - 1
    assert status(site, "queued") == 0
    assert site.told() == []
    assert re.search("done +read inband",
                     site.server.doveadm("pimap", "outband", "trace", "-u", joe, "P1"))
    # the next one, which nobody reads, is the first number
    phone.done()
    site.deliver(joe, b"second")
    assert site.is_told(1, 1)


def test_not_in_idle(site, joe):
    site.server.client(joe).ok("CREATE Work")
    phone = site.phone(joe)
    site.idle(phone)
    phone.done()
    site.deliver(joe, b"first")
    start = time.monotonic()
    assert site.is_told(1)
    # in IDLE in another folder
    phone.ok("SELECT Work")
    site.idle(phone)
    site.deliver(joe, b"second")
    assert site.is_told(2)
    assert time.monotonic() - start < GRACE - 1
    assert read(site) == (0, 0)


def test_changes_and_deletions(site, joe):
    """They are read as what is new is."""
    plain = site.server.client(joe)
    plain.append("INBOX", [MESSAGE % (b"a", b"x")] * 3)
    plain.ok("SELECT INBOX")
    phone = site.phone(joe, events="ALL")
    site.idle(phone)
    plain.ok("STORE 2 +FLAGS (\\Flagged)")
    phone.wait(r"FETCH .*\\Flagged")
    plain.ok("STORE 1 +FLAGS (\\Deleted)")
    plain.ok("EXPUNGE")
    phone.wait("EXPUNGE")
    # its own look has found that message changed, or gone
    wait_for(lambda: read(site)[0] >= 2)
    wait_for(lambda: status(site, "queued") == 0)
    assert site.told() == [] and read(site)[1] == 0


def test_what_came_before_the_session(site, joe):
    """A change that the folder had when it was selected isn't told by IDLE."""
    plain = site.server.client(joe)
    plain.append("INBOX", [MESSAGE % (b"a", b"x")] * 2)
    plain.ok("SELECT INBOX")
    phone = site.phone(joe, events="ALL")
    site.idle(phone)
    phone.done()
    for pid in site.pids("pimap-worker"):
        os.kill(pid, signal.SIGSTOP)
    try:
        plain.ok("STORE 1 +FLAGS (\\Flagged)")
        phone.ok("SELECT INBOX")
        phone.idle()
        time.sleep(1)
    finally:
        for pid in site.pids("pimap-worker"):
            os.kill(pid, signal.SIGCONT)
    assert site.is_told(1)
    assert read(site)[0] == 0


def test_what_the_session_cannot_show(site, joe):
    """R-1.4c: a message that begins to match too late"""
    plain = site.server.client(joe)
    plain.append("INBOX", [MESSAGE % (b"a", b"x")] * 2, "\\Seen")
    plain.ok("SELECT INBOX")
    phone = site.phone(joe, events="ALL", view="UNSEEN")
    site.idle(phone)
    plain.ok("STORE 1 -FLAGS (\\Seen)")
    wait_for(lambda: status(site, HELD) == 1)
    assert site.is_told(1)
    assert read(site) == (0, 1)


def blocked(site, user):
    """A client that reads nothing, in IDLE: not even its kernel can take more."""
    site.server.client(user).append("INBOX", [MESSAGE % (b"a", b"x" * 40000)])
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", site.server.port))
    for command in (b"1 LOGIN %s#P1 pass\r\n" % user.encode(), b"2 SELECT INBOX\r\n"):
        sock.sendall(command)
        text = b""
        while b"\r\n" + command[:2] + b"OK" not in b"\r\n" + text:
            text += sock.recv(1000)
    sock.sendall(b"3 FETCH 1 BODY[]\r\n")
    time.sleep(0.5)
    sock.sendall(b"4 IDLE\r\n")
    wait_for(lambda: status(site, "sessions in IDLE") == 1)
    return sock


def test_client_that_reads_nothing(site, joe):
    site.phone(joe).close()
    with contextlib.closing(blocked(site, joe)) as sock:
        before = len(site.told())
        site.deliver(joe, b"yes")
        start = time.monotonic()
        wait_for(lambda: status(site, HELD) == 1)
        wait_for(lambda: len(site.told()) > before)
        assert GRACE - 1 < time.monotonic() - start < GRACE + 6
        assert read(site) == (0, 1)
        assert "released" in site.server.doveadm("pimap", "outband", "trace", "-u", joe, "P1")
        assert sock.fileno() >= 0


@pytest.mark.parametrize("end", ["close", "DONE"])
def test_session_ends(site, joe, end):
    """It is sent at once: nothing can be known any more. The reply to DONE may have been
    lost."""
    phone = site.phone(joe)
    site.idle(phone)
    site.deliver(joe, b"yes")
    phone.wait("EXISTS")
    wait_for(lambda: status(site, HELD) == 1)
    start = time.monotonic()
    if end == "DONE":
        phone.done()
    phone.close()
    assert site.is_told(1)
    assert time.monotonic() - start < GRACE - 1
    assert read(site) == (0, 1)


def test_others_go_first(site, joe):
    """What is held has no number yet, and nothing waits for it."""
    site.server.client(joe).ok("CREATE Work")
    phone = site.phone(joe)
    site.idle(phone)
    site.deliver(joe, b"held")
    wait_for(lambda: status(site, HELD) == 1)
    start = time.monotonic()
    site.server.client(joe).append("Work", [MESSAGE % (b"a", b"x")])
    assert site.is_told(1)
    assert time.monotonic() - start < 2
    assert "/Work" in site.relay.mails[0].text
    phone.close()
    assert site.is_told(2)
    assert "/Work" not in site.relay.mails[1].text


def test_filter_that_changes(site, joe):
    """R-1.7: what was held is judged when it is sent."""
    phone = site.phone(joe)
    site.idle(phone)
    site.deliver(joe, b"yes")
    wait_for(lambda: status(site, HELD) == 1)
    other = site.server.client(joe + "#P1")
    other.ok("XFILTER SET N-P1 NIL (SUBJECT no)")
    other.close()
    phone.close()
    wait_for(lambda: status(site, "queued") == 0)
    assert site.told() == []


def test_one_of_two_sessions(site, joe):
    """It is read when it is read by one."""
    site.phone(joe, mode="view").close()
    sock = blocked(site, joe)
    phone = site.server.client(joe + "#P1")
    phone.ok("SELECT INBOX")
    site.idle(phone, 2)
    before = len(site.told())
    site.deliver(joe, b"yes")
    wait_for(lambda: read(site) == (1, 0))
    assert len(site.told()) == before
    # and isn't given up because one has ended
    site.deliver(joe, b"yes")
    wait_for(lambda: status(site, HELD) == 1)
    sock.close()
    wait_for(lambda: read(site) == (2, 0))
    assert len(site.told()) == before


def test_read_by_the_next_command(reading, joe):
    """R-2.4 (b)"""
    phone = reading.phone(joe)
    reading.idle(phone)
    reading.deliver(joe, b"yes")
    phone.wait("EXISTS")
    phone.done()
    wait_for(lambda: status(reading, HELD) == 1)
    time.sleep(1)
    assert status(reading, HELD) == 1
    start = time.monotonic()
    # also one that leaves the folder
    phone.ok("CLOSE")
    wait_for(lambda: read(reading) == (1, 0))
    assert time.monotonic() - start < 2
    assert reading.told() == []


def test_read_by_done(reading, joe):
    """R-2.4 (a): what came before a "+" that is answered, also from a client that
    doesn't keep the promise"""
    phone = reading.phone(joe)
    phone.pipeline(["NOOP", "NOOP"])
    reading.idle(phone)
    reading.deliver(joe, b"yes")
    phone.wait("EXISTS")
    wait_for(lambda: status(reading, HELD) == 1)
    phone.done()
    phone.ok("NOOP")
    phone.idle()
    time.sleep(1)
    assert status(reading, HELD) == 1
    phone.done()
    wait_for(lambda: read(reading) == (1, 0))
    assert reading.told() == []


def test_not_read_by_what_was_there(reading, joe):
    """DONE that had come before the "+" was written says nothing, nor does a command
    that had come before the reply."""
    phone = reading.phone(joe)
    reading.idle(phone)
    reading.deliver(joe, b"yes")
    phone.wait("EXISTS")
    wait_for(lambda: status(reading, HELD) == 1)
    phone.sock.sendall(b"DONE\r\nx1 NOOP\r\nx2 IDLE\r\nDONE\r\nx3 NOOP\r\n")
    time.sleep(1)
    assert status(reading, HELD) == 1
    phone.sock.sendall(b"x4 NOOP\r\n")
    assert reading.is_told(1)
    assert read(reading) == (0, 1)


def test_tcp_proves_nothing_for_read(reading, joe):
    phone = reading.phone(joe)
    reading.idle(phone)
    reading.deliver(joe, b"yes")
    start = time.monotonic()
    phone.wait("EXISTS")
    assert reading.is_told(1)
    assert time.monotonic() - start > 4
    assert read(reading) == (0, 1)
    # it is too late now
    phone.done()
    phone.ok("NOOP")
    assert reading.is_told(1, 1)


@contextlib.contextmanager
def own_site(*expected, **values):
    site = Grace("mdbox", **values)
    site.before = 0, 0
    try:
        yield site
        assert [fault for fault in site.server.faults()
                if not any(text in fault for text in expected)] == []
    finally:
        site.stop()


@pytest.mark.parametrize("how", ["kill", "reload"])
def test_service_restarts(how):
    """What is held survives, and the sessions come back."""
    # Dovecot would end the sessions, too, seconds after a reload
    with own_site("killed with signal 9", pimap_inband_grace="8 s",
                  extra="shutdown_clients = no\n") as site:
        phone = site.phone("joe@example.com")
        site.idle(phone)
        site.deliver("joe@example.com", b"yes")
        phone.wait("EXISTS")
        wait_for(lambda: status(site, HELD) == 1)
        start = time.monotonic()
        pid, = site.pids("pimap-outband")
        if how == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            site.server.reload()
        wait_for(lambda: pid not in site.pids("pimap-outband"))
        wait_for(lambda: status(site, "sessions in IDLE") == 1)
        assert status(site, HELD) == 1
        wait_for(lambda: status(site, "read inband") == 1)
        assert time.monotonic() - start > 4
        assert site.told() == []
        # what comes now is held again
        site.deliver("joe@example.com", b"yes")
        wait_for(lambda: status(site, HELD) == 1)
        # nobody is there any more when the next service begins
        pid, = site.pids("pimap-outband")
        phone.close()
        os.kill(pid, signal.SIGKILL)
        assert site.is_told(1)


def test_no_grace():
    """0: nothing is held, and no session is connected for it."""
    with own_site(pimap_inband_grace="0") as site:
        phone = site.phone(JOE)
        phone.idle()
        time.sleep(1)
        assert status(site, "sessions in IDLE") == 0
        site.deliver(JOE, b"yes")
        start = time.monotonic()
        phone.wait("EXISTS")
        assert site.is_told(1)
        assert time.monotonic() - start < 2


def not_known_by_tcp(site, client):
    """The client has read it, but only what it does shows that."""
    site.phone(JOE).close()
    site.server.clients.append(client)
    client.ok("SELECT INBOX")
    site.idle(client)
    site.deliver(JOE, b"yes")
    client.wait("EXISTS")
    start = time.monotonic()
    assert site.is_told(1)
    assert time.monotonic() - start > GRACE - 1
    site.deliver(JOE, b"yes")
    client.wait("EXISTS")
    client.done()
    client.ok("NOOP")
    wait_for(lambda: read(site) == (1, 1))
    assert site.is_told(1)


def test_tls(tmp_path):
    """Dovecot's login process has the client's connection."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
                    "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")],
                   check=True, stderr=subprocess.DEVNULL)
    os.chmod(tmp_path, 0o755)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with own_site(extra=TLS % (port, tmp_path / "cert.pem", tmp_path / "key.pem")) as site:
        # there is one before
        site.phone(JOE).close()
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        not_known_by_tcp(site, Client(port, JOE + "#P1", sock=context.wrap_socket(
            sock, server_hostname="localhost")))


def test_proxy():
    """TCP is with the proxy, not with the client."""
    with own_site(extra="login_trusted_networks = 127.0.0.0/8\n") as site:
        site.phone(JOE).close()
        client = Client(site.server.port)
        client.ok('ID ("x-originating-ip" "192.0.2.1" "x-originating-port" "12345")')
        client.authenticate(JOE + "#P1", "pass")
        not_known_by_tcp(site, client)


def test_session_is_killed():
    with own_site("killed with signal 9") as site:
        phone = site.phone("joe@example.com")
        site.idle(phone)
        site.deliver("joe@example.com", b"yes")
        phone.wait("EXISTS")
        wait_for(lambda: status(site, HELD) == 1)
        start = time.monotonic()
        site.kill("imap")
        assert site.is_told(1)
        assert time.monotonic() - start < GRACE - 1


def test_session_asleep():
    """It wakes when something comes, and sleeps again when that is read."""
    with own_site(pimap_inband_grace="6 s", extra="imap_hibernate_timeout = 1s\n" +
                  HIBERNATION) as site:
        sleeps = "Successfully hibernated imap client"
        phone = site.phone("joe@example.com")
        site.idle(phone)
        for count in (1, 2):
            wait_for(lambda: site.server.log().count(sleeps) == count)
            assert status(site, "sessions in IDLE") == 0
            site.deliver("joe@example.com", b"yes")
            phone.wait("EXISTS")
            wait_for(lambda: status(site, HELD) == 1)
            time.sleep(3)
            assert site.server.log().count(sleeps) == count
            wait_for(lambda: status(site, "read inband") == count)
        assert site.told() == []
        wait_for(lambda: site.server.log().count(sleeps) == 3)
        # it has gone while it was asleep
        phone.close()
        time.sleep(0.5)
        site.deliver("joe@example.com", b"yes")
        assert site.is_told(1)
        site.deliver("joe@example.com", b"yes")
        start = time.monotonic()
        assert site.is_told(2)
        assert time.monotonic() - start < 3


class UDPSite(Grace):
    def __init__(self, **values):
        super().__init__("mdbox", **dict({
            "pimap_channels": "mail udp", "pimap_udp_listen": "127.0.0.1:@UDP_PORT@"}, **values))
        self.before = 0, 0
        self.server.doveadm("pimap", "device", "add", "-u", JOE, "P1")
        self.pager = Device("127.0.0.1", int(self.server.vars["UDP_PORT"]), "joe#P1@example.com",
                            key(self.server, "P1"), acks=None)
        self.pager.hello()
        challenge = wait_for(lambda: [octets for name, octets in self.pager.answers
                                      if name == "CHALLENGE"])[0]
        self.pager.hello(challenge=challenge)
        wait_for(lambda: self.pager.count("OK"))
        # it acknowledges nothing
        self.pager.acks = False
        phone = self.device(JOE, "ALL")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL UDP")
        phone.close()

    def arrived(self):
        return [seq for seq, _ in self.pager.notifications]

    def stop(self):
        self.pager.close()
        super().stop()


def test_udp_ends():
    """R-13.6: what is repeated ends when it is read."""
    site = UDPSite()
    try:
        phone = site.server.client(JOE + "#P1")
        phone.ok("SELECT INBOX")
        site.deliver(JOE, b"yes")
        wait_for(lambda: site.arrived().count(1) >= 2)
        assert site.arrived()[0] == 1 and status(site, "queued") == 1
        site.deliver(JOE, b"yes")
        start = time.monotonic()
        site.idle(phone)
        # also what has no number yet, behind it
        wait_for(lambda: status(site, "queued") == 0)
        assert time.monotonic() - start > GRACE - 1
        assert read(site)[0] == 2
        assert "read inband" in site.server.doveadm("pimap", "outband", "trace", "-u", JOE, "P1")
        count = len(site.arrived())
        time.sleep(5)
        assert len(site.arrived()) == count
        assert site.server.faults() == []
    finally:
        site.stop()


def test_udp_held():
    """What wasn't read in the grace is sent, and ends when it is read after all."""
    site = UDPSite(pimap_inband_grace_by="read")
    try:
        phone = site.server.client(JOE + "#P1")
        phone.ok("SELECT INBOX")
        site.idle(phone)
        site.deliver(JOE, b"yes")
        phone.wait("EXISTS")
        wait_for(lambda: status(site, HELD) == 1)
        assert site.arrived() == []
        wait_for(lambda: len(site.arrived()) >= 2)
        assert status(site, "queued") == 1
        phone.done()
        time.sleep(1)
        assert status(site, "queued") == 1
        phone.ok("NOOP")
        wait_for(lambda: status(site, "queued") == 0)
        count = len(site.arrived())
        time.sleep(5)
        assert len(site.arrived()) == count
        assert read(site) == (1, 1)
        assert site.server.faults() == []
    finally:
        site.stop()


def speak(site, *lines, uid=None):
    """What a session would say; returns the connection."""
    sock = socket.socket(socket.AF_UNIX)
    path = os.path.realpath(site.server.path + "/run") + "/pimap-outband-idle"
    if uid is None:
        sock.connect(path)
    else:
        os.seteuid(uid)
        try:
            sock.connect(path)
        finally:
            os.seteuid(0)
    sock.sendall(("VERSION\tpimap-idle\t1\t0\n" + "".join(line + "\n" for line in lines)).encode())
    return sock


def guid(site, user):
    text = site.server.doveadm("-f", "flow", "mailbox", "status", "-u", user, "guid", "INBOX")
    return re.search("guid=([0-9a-f]{32})", text).group(1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_who_is_believed():
    """A process of another user holds nothing back."""
    with own_site("isn't believed that") as site:
        phone = site.phone("joe@example.com")
        lines = ("DEVICE\tjoe@example.com\tP1", "IDLE\t" + guid(site, "joe@example.com"))
        with contextlib.closing(speak(site, *lines, uid=65000)) as sock:
            assert site.server.logs("A process that isn't the user's isn't believed that "
                                    "joe@example.com#P1 is in IDLE")
            sock.settimeout(10)
            while sock.recv(1000):
                pass
        start = time.monotonic()
        site.deliver("joe@example.com", b"yes")
        assert site.is_told(1)
        assert time.monotonic() - start < GRACE - 1
        # root is
        with contextlib.closing(speak(site, *lines)) as sock:
            wait_for(lambda: status(site, "sessions in IDLE") == 1)
            site.deliver("joe@example.com", b"yes")
            wait_for(lambda: status(site, HELD) == 1)
            line = next(line for line in sock.makefile() if line.startswith("WAIT"))
            id = line.split("\t")[1]
            # of another's, and of none
            sock.sendall(b"READ\t%d\nREAD\t0\nUNREAD\t99999\n" % (int(id) + 1))
            assert site.is_told(2)
        phone.close()


@pytest.mark.parametrize("text", [
    "IDLE\t" + "0" * 32, "DEVICE\tjoe", "DEVICE\tjoe\t../x", "DEVICE\t\tP1", "DEVICE\tj\001noe\tP1",
    "DEVICE\tjoe\tP1\nDEVICE\tjoe\tP1", "DEVICE\tjoe\tP1\nIDLE\tx", "DEVICE\tjoe\tP1\nREAD",
    "DEVICE\tjoe\tP1\nREAD\tx", "DEVICE\tjoe\tP1\nx", "DEVICE\t%s\tP1" % ("x" * 1100), "x" * 5000])
def test_malformed_lines(malformed, text):
    with contextlib.closing(speak(malformed, text)) as sock:
        sock.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1000):
                pass
    status(malformed, "sessions in IDLE")


@pytest.fixture(scope="module")
def malformed():
    with own_site("Invalid line of a session", "BUFFER_FULL", "Input buffer full",
                  "input buffer") as site:
        yield site


def test_more_than_there_may_be():
    """The other connections keep half of them."""
    with own_site("More than 3 sessions", extra="""
service pimap-outband {
  client_limit = 6
}
""") as site:
        phones = [site.phone("joe@example.com", mode="view")]
        while len(phones) < 4:
            phones.append(site.server.client("joe@example.com#P1"))
            phones[-1].ok("SELECT INBOX")
        for phone in phones:
            phone.idle()
        assert site.server.logs("More than 3 sessions are in IDLE")
        wait_for(lambda: status(site, "sessions in IDLE") == 3)
        for phone in phones[:3]:
            phone.close()
        # it comes again
        wait_for(lambda: status(site, "sessions in IDLE") == 1)
