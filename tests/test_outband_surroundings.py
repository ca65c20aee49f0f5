# SPDX-License-Identifier: LGPL-2.1-only
"""What is around the service may be unusual: clocks, names, users and folders."""

import contextlib
import os
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time

import pytest

from conftest import DOVECOT_24, Server, settings
from outband_peers import Relay, Unlinking, hint, line, wait_for
from test_notifications import Site
from test_outband import GUID, Outband, seqs
from test_webpush import WebPush

USER = "joe@example.com"


@contextlib.contextmanager
def checked(outband, *expected):
    """Stops it, and looks for faults other than what is expected."""
    outband.expected = list(expected)
    try:
        yield outband
    finally:
        faults = [fault for fault in outband.server.faults()
                  if not any(text in fault for text in outband.expected)]
        outband.stop()
    assert faults == []


# IPv6


def test_relay_by_ipv6():
    """R-13.8"""
    relay = Relay(host="::1")
    with checked(Outband(pimap_mail_relay="[::1]:%d" % relay.port)) as outband:
        outband.folder.count = 2
        hint(outband.server, "HINT", USER, GUID)
        wait_for(lambda: len(relay.mails) == 2)
        assert seqs(relay.mails) == [1, 2]
        assert outband.relay.mails == []
    relay.stop()


# names


class NameServer:
    """In the place of dns-client: asks it in silence, and keeps the answers."""

    CONF = """
service dns-client {
  unix_listener dns-client {
    mode = 0
  }
  unix_listener other-dns-client {
    mode = 0666
  }
}
"""

    def __init__(self, server):
        self.asked, self.answers = 0, threading.Event()
        self.path = os.path.realpath(server.path + "/run")
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with socket.socket(socket.AF_UNIX) as other, \
                        contextlib.suppress(OSError):
                    other.connect(outer.path + "/other-dns-client")
                    threading.Thread(target=outer.copy, daemon=True,
                                     args=(other, self.request)).start()
                    for text in iter(lambda: self.request.recv(4096), b""):
                        outer.asked += text.count(b"IP\t")
                        other.sendall(text)
                    # the other thread's recv() keeps it open
                    other.shutdown(socket.SHUT_RDWR)

        self.server = Unlinking(self.path + "/dns-client", Handler)
        os.chmod(self.path + "/dns-client", 0o666)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def copy(self, other, client):
        with contextlib.suppress(OSError):
            for text in iter(lambda: other.recv(4096), b""):
                # the greeting isn't kept
                if not text.startswith(b"VERSION\t") or text.count(b"\n") > 1:
                    self.answers.wait()
                client.sendall(text)

    def stop(self):
        self.answers.set()
        self.server.shutdown()
        self.server.server_close()
        os.unlink(self.path + "/dns-client")


def test_name_server_that_never_answers():
    """The relay's name: it is tried on, nothing waits for it but what goes there, and what
    waits is sent when the name is known."""
    relay = Relay()
    with checked(Outband(NameServer.CONF, pimap_mail_relay="localhost:%d" % relay.port),
                 "(it is tried on)") as outband:
        names = NameServer(outband.server)
        outband.folder.count = 2
        hint(outband.server, "HINT", USER, GUID)
        wait_for(lambda: names.asked)
        # the service goes on with the rest
        start = time.monotonic()
        for user in ("ann@example.com", "eve@example.com"):
            hint(outband.server, "HINT", user, GUID)
        wait_for(lambda: len([job for job in outband.worker.jobs if job[0] == "LOOK"]) == 3)
        assert "queued" in outband.server.doveadm("pimap", "outband", "status")
        assert time.monotonic() - start < 3
        # one that isn't answered is given up after a while, and asked again
        wait_for(lambda: outband.server.logs("(it is tried on)"), 60)
        assert relay.mails == []
        names.answers.set()
        wait_for(lambda: len(relay.mails) == 6, 90)
        assert sorted(seqs(relay.mails)) == [1, 1, 1, 2, 2, 2]
        names.stop()
    relay.stop()


class WebPushByName(WebPush):
    CONF = WebPush.CONF + NameServer.CONF


def test_name_of_a_push_service_is_never_answered():
    """It holds up its own device only."""
    with checked(WebPushByName(hosts="localhost 127.0.0.1", names=("localhost", "127.0.0.1")),
                 "(it is tried on)") as push:
        names = NameServer(push.server)
        push.new()
        wait_for(lambda: names.asked)
        name, keys = push.address.split(" ", 1)
        push.address = "https://127.0.0.1:%d/known %s" % (push.service.port, keys)
        push.new(device="other")
        wait_for(lambda: push.service.requests, 5)
        assert [path for path, _, _ in push.service.requests] == ["/known"]
        names.stop()


# clocks

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* seconds that the clock is ahead, from the file */
static long ahead(void)
{
	char text[32] = "";
	int fd = open(CLOCK_FILE, O_RDONLY | O_CLOEXEC);

	if (fd != -1) {
		if (read(fd, text, sizeof(text) - 1) < 0)
			text[0] = '\0';
		close(fd);
	}
	return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int (*real)(clockid_t, struct timespec *) =
		(int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int ret = real(id, ts);

	if (ret == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += ahead();
	return ret;
}

int gettimeofday(struct timeval *tv, void *tz)
{
	struct timespec ts;

	(void)tz;
	if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
		return -1;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (t != NULL)
		*t = ts.tv_sec;
	return ts.tv_sec;
}
"""
WRAPPER = r"""
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	(void)argc;
	setenv("LD_PRELOAD", CLOCK_LIBRARY, 1);
	execv(PROGRAM, argv);
	return 84;
}
"""


class Clock:
    """The service's, which is set by writing a file"""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="pimap-clock.")
        os.chmod(self.path, 0o755)
        self.set(0)
        program = os.path.abspath(os.environ.get("top_builddir", os.path.dirname(
            os.path.dirname(os.path.abspath(__file__)))) + "/src/pimap-outband/pimap-outband")
        self.compile("clock.so", CLOCK, "-shared", "-fPIC",
                     '-DCLOCK_FILE="%s/ahead"' % self.path, "-ldl")
        self.compile("pimap-outband", WRAPPER, '-DPROGRAM="%s"' % program,
                     '-DCLOCK_LIBRARY="%s/clock.so"' % self.path)
        self.conf = "service pimap-outband {\n  executable = %s/pimap-outband\n}\n" % self.path

    def compile(self, name, source, *options):
        with open(self.path + "/source.c", "w") as file:
            file.write(source)
        subprocess.run(["cc", "-o", self.path + "/" + name, self.path + "/source.c", *options],
                       check=True)

    def set(self, secs):
        with open(self.path + "/ahead.new", "w") as file:
            file.write("%d" % secs)
        os.chmod(self.path + "/ahead.new", 0o644)
        os.rename(self.path + "/ahead.new", self.path + "/ahead")

    def stop(self):
        shutil.rmtree(self.path)


@pytest.fixture
def clock():
    clock = Clock()
    yield clock
    clock.stop()


@pytest.fixture
def clocked(request, clock):
    # what Dovecot says of it, which may end the service
    with checked(Outband(clock.conf, **getattr(request, "param", {})), "Time moved",
                 "Time jumped", "Time just moved backwards", "(it is tried on)",
                 "child") as outband:
        outband.clock = clock
        yield outband


DAY = 24 * 3600


@pytest.mark.parametrize("clocked", [
    {"pimap_outband_retry_min": "5 s", "pimap_outband_retry_max": "5 s"}], indirect=True)
@pytest.mark.parametrize("jump", [-2 * DAY, -3, 7200],
                         ids=["back two days", "back a little", "forth two hours"])
def test_clock_jumps_while_queued(clocked, jump):
    """R-13.4: what waits is tried on in as much time as it should be, and no other number
    or text."""
    clocked.relay.replies["MAIL"] = "451 not now"
    clocked.folder.count = 3
    hint(clocked.server, "HINT", USER, GUID)
    wait_for(lambda: "(it is tried on)" in clocked.server.log())
    time.sleep(0.5)
    clocked.relay.replies.clear()
    clocked.clock.set(jump)
    hint(clocked.server, "HINT", USER, GUID)
    wait_for(lambda: len(clocked.relay.mails) == 3, 40)
    assert seqs(clocked.relay.mails) == [1, 2, 3]
    clocked.folder.count = 4
    hint(clocked.server, "HINT", USER, GUID)
    wait_for(lambda: len(clocked.relay.mails) == 4)


@pytest.mark.parametrize("clocked", [
    {"pimap_join_count": "2", "pimap_join_interval": "20 s"}], indirect=True)
@pytest.mark.parametrize("jump", [-DAY, DAY], ids=["back", "forth"])
def test_clock_jumps_while_they_wait_to_be_joined(clocked, jump):
    """R-13.5: the interval is over then."""
    clocked.folder.count = 5
    hint(clocked.server, "HINT", USER, GUID)
    wait_for(lambda: len(clocked.relay.mails) == 2)
    time.sleep(1)
    assert len(clocked.relay.mails) == 2
    clocked.clock.set(jump)
    hint(clocked.server, "HINT", USER, GUID)
    wait_for(lambda: len(clocked.relay.mails) == 3, 15)
    time.sleep(0.5)
    assert seqs(clocked.relay.mails) == [1, 2, 3]


@pytest.mark.parametrize("clocked", [{"pimap_outband_expire": "1 hour"}], indirect=True)
def test_expiry_by_the_clock(clocked):
    """R-13.4: numbered or not, each with a line, and the next one has the next number; what
    was found later than the clock says now is not lost."""
    clocked.relay.replies["MAIL"] = "451 not now"
    clocked.expected.append("): expired")
    clocked.folder.count = 2
    hint(clocked.server, "HINT", USER, GUID)
    wait_for(lambda: "(it is tried on)" in clocked.server.log())
    time.sleep(0.3)
    clocked.clock.set(3500)
    time.sleep(2)
    assert "expired" not in clocked.server.log()
    clocked.clock.set(3700)
    assert clocked.server.logs(USER + "#phone: Notification 1 (NEW_MESSAGE by MAIL): expired")
    assert clocked.server.logs(USER + "#phone: Notification 0 (NEW_MESSAGE by MAIL): expired")
    clocked.folder.count = 3
    hint(clocked.server, "HINT", USER, GUID)
    wait_for(lambda: "numbered" in clocked.server.doveadm(
        "pimap", "outband", "trace", "-u", USER, "phone").split("NEW_MESSAGE 3 in")[-1])
    clocked.clock.set(0)
    time.sleep(1)
    clocked.relay.replies.clear()
    wait_for(lambda: clocked.relay.mails, 20)
    assert seqs(clocked.relay.mails) == [2]


@pytest.mark.parametrize("outband", [{"pimap_outband_expire": "3 s"}], indirect=True)
def test_expired_while_nobody_can_judge(outband):
    """R-13.4: a profile that can't be read doesn't keep them for ever."""
    outband.relay.replies["MAIL"] = "451 not now"
    outband.expected += ["(it is tried on)", "): expired"]
    outband.folder.count = 2
    hint(outband.server, "HINT", USER, GUID)
    wait_for(lambda: "(it is tried on)" in outband.server.log())
    outband.worker.judge = lambda job: [line("FAIL", "the profile is damaged")]
    outband.worker.answer = outband.worker.judge
    hint(outband.server, "PROFILE", USER, "WAIT")
    outband.relay.replies.clear()
    wait_for(lambda: outband.server.log().count("): expired") == 2)
    assert outband.relay.mails == []


@pytest.fixture
def outband(request):
    with checked(Outband(**getattr(request, "param", {}))) as outband:
        yield outband


# users and folders

USERS = """
passdb static {
  password = pass
}
userdb passwd-file {
  passwd_file_path = %s
}
""" if DOVECOT_24 else """
passdb {
  driver = static
  args = password=pass
}
userdb {
  driver = passwd-file
  args = %s
}
"""


class SiteOfUsers(Site):
    def __init__(self, *users):
        self.users = "/tmp/pimap-users-outband.%d" % os.getpid()
        self.set(*users)
        self.relay, self.postgres = Relay(), None
        self.server = Server.temporary("maildir", auth=USERS % self.users, extra=settings({
            "pimap_channels": "mail", "pimap_mail_relay": "127.0.0.1:%d" % self.relay.port,
            "pimap_mail_pattern": "*@example.com", "pimap_outband_retry_min": "1 s",
            "pimap_outband_retry_max": "1 s"}))

    def set(self, *users):
        with open(self.users, "w") as file:
            file.write("".join("%s::::::\n" % user for user in users))
        os.chmod(self.users, 0o644)
        # auth looks once a second whether the file has changed
        time.sleep(1.5)

    def stop(self):
        super().stop()
        os.unlink(self.users)


def test_user_is_removed_while_queued():
    """R-13.4: what is queued for him goes with him, and holds up nobody; what he is told
    when he is back has later numbers."""
    site = SiteOfUsers("joe", "ann")
    try:
        site.device("joe")
        site.device("ann", address="ann@example.com")
        site.relay.replies["MAIL"] = "451 not now"
        for user in "joe", "ann":
            for _ in range(2):
                site.deliver(user, b"yes")
        wait_for(lambda: site.server.doveadm("pimap", "outband", "list").count("NEW_MESSAGE") == 4)
        wait_for(lambda: "(it is tried on)" in site.server.log())
        site.server.close_clients()
        site.set("ann")
        rows = site.server.doveadm("-f", "tab", "pimap", "outband", "list").splitlines()
        number, = [row.split("\t")[rows[0].split("\t").index("id")] for row in rows[1:]
                   if "joe" in row][:1]
        site.server.doveadm("pimap", "outband", "scan")
        wait_for(lambda: site.server.doveadm("pimap", "outband", "list").count("NEW_MESSAGE") == 2)
        assert "dropped: " in site.server.doveadm("pimap", "outband", "trace", number)
        site.relay.replies.clear()
        wait_for(lambda: site.told("ann@example.com") == [1, 2])
        time.sleep(1.5)
        assert site.told() == []
        site.set("joe", "ann")
        site.deliver("joe", b"yes")
        wait_for(lambda: site.told())
        time.sleep(0.5)
        assert 1 not in site.told() and len(set(site.told())) == len(site.told())
        assert [line for line in site.server.faults() if "(it is tried on)" not in line] == []
    finally:
        site.stop()


def test_folder_goes_back_before_the_first_look():
    """R-13.4: between the command that switched the channel on, and the first look, with
    just as many deliveries"""
    site = Site("maildir")
    try:
        phone = site.device("joe", "ALL")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE")
        site.deliver("joe", b"first")
        folder = site.server.path + "/mail/joe/maildir"
        subprocess.run(["cp", "-a", folder, folder + ".kept"], check=True)
        for _ in range(3):
            site.deliver("joe", b"lost by the restore")
        site.server.doveadm("service", "stop", "pimap-outband")
        site.server.doveadm("pimap", "pref", "set", "-u", "joe", "P1", "PIMAP_OUTBAND_CHANNEL",
                            "MAIL")
        site.server.close_clients()
        # nobody has it open meanwhile
        site.kill("pimap-worker")
        shutil.copy2(folder + "/dovecot-pimap-profile", folder + ".kept/")
        shutil.rmtree(folder)
        os.rename(folder + ".kept", folder)
        for _ in range(2):
            site.deliver("joe", b"after")
        # from now on there is a service, but LMTP may be what was before the reload
        site.server.reload()
        wait_for(lambda: list(site.pids("pimap-outband")), 30)
        time.sleep(2)
        site.deliver("joe", b"after")
        wait_for(lambda: len(site.relay.mails) == 1, 30)
        assert "STATE_COMPARISON_SYNC" in site.relay.mails[0].text
    finally:
        site.stop()


@pytest.mark.parametrize("again", [0, 3, 5])
def test_folder_goes_back(again):
    """R-13.4: a restored folder is one STATE_COMPARISON_SYNC, also where just as many or
    more messages have come since; what comes then is new."""
    site = Site("maildir")
    try:
        phone = site.device("joe", "ALL")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
        site.deliver("joe", b"first")
        wait_for(lambda: site.told() == [1])
        site.server.close_clients()
        folder = site.server.path + "/mail/joe/maildir"
        subprocess.run(["cp", "-a", folder, folder + ".kept"], check=True)
        for _ in range(3):
            site.deliver("joe", b"lost by the restore")
        wait_for(lambda: site.told() == [1, 2, 3, 4])
        site.relay.mails.clear()
        # nobody has it open meanwhile
        site.kill("pimap-worker")
        profile = folder + "/dovecot-pimap-profile"
        shutil.copy2(profile, folder + ".kept/")
        shutil.rmtree(folder)
        os.rename(folder + ".kept", folder)
        for _ in range(again):
            site.deliver("joe", b"after")
        site.server.doveadm("pimap", "outband", "scan", "-u", "joe")
        wait_for(lambda: site.told())

        def events():
            return [mail.text.split("$P-IMAP$%_ ")[1].split()[2] for mail in site.relay.mails]
        time.sleep(1.5)
        count = events().count("STATE_COMPARISON_SYNC")
        assert count == 1 and set(events()) <= {"STATE_COMPARISON_SYNC", "NEW_MESSAGE"}
        assert events()[0] == "STATE_COMPARISON_SYNC" and len(events()) <= max(again, 1)
        site.relay.mails.clear()
        site.deliver("joe", b"new")
        wait_for(lambda: events() == ["NEW_MESSAGE"])
    finally:
        site.stop()
