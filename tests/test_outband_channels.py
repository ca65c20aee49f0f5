# SPDX-License-Identifier: LGPL-2.1-only
"""The channels other than MAIL: what their peers get, and what becomes of a
notification that they don't take."""
import os
import shutil
import stat
import subprocess
import tempfile
import time

import pytest

from conftest import Server, settings
from outband_peers import Relay, Worker, hint, line, wait_for

GUID = "0123456789abcdef0123456789abcdef"
# the worker of the tests is another than the server's
NO_WORKER = """
service pimap-worker {
  unix_listener pimap-worker {
    mode = 0
  }
}
log_debug = event=pimap_notification_finished or event=pimap_program_finished
"""


class Outband:
    """The service, with a worker that finds what a test puts into events: the fields
    of EVENT, for each device."""

    CONF = NO_WORKER

    def __init__(self, channel, address, values):
        self.channel, self.address = channel, address
        self.format, self.folder = "EMN", "INBOX"
        self.addresses = {}  # of devices that have others
        self.user, self.generation = "joe@example.com", 1
        self.events = {"phone": []}
        self.server = Server.temporary("maildir", extra=settings(dict(
            {"pimap_outband_retry_min": "1 s", "pimap_outband_retry_max": "1 s"},
            **values)) + self.CONF)
        self.worker = Worker(self.server, self.answer)

    def answer(self, job):
        if job[0] == "FOLDERS":
            return [line("FOLDER", GUID, self.folder), "OK\n"]
        states = dict(zip(job[3::2], job[4::2]))
        lines = [line("FOLDER", job[2], self.folder)]
        for device, events in self.events.items():
            lines.append(line("DEVICE", device, self.generation, self.channel,
                              self.addresses.get(device, self.address), self.format, len(events)))
            for event in events[int(states.get(device, 0)):]:
                lines.append(line("EVENT", *event))
        return lines + ["OK\n"]

    def new(self, *fields, device="phone", count=1):
        """A new message, of which the worker tells these fields"""
        for _ in range(count):
            events = self.events.setdefault(device, [])
            events.append(("NEW_MESSAGE", len(events) + 1, 1077259200) + fields)
        hint(self.server, "HINT", self.user, GUID)

    def stop(self):
        self.worker.stop()
        self.server.stop()


def lend(request, outband):
    """What a fixture ends with: no test leaves a fault in the log that it doesn't expect."""
    yield outband
    faults = outband.server.faults()
    outband.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


class Program(Outband):
    """Each run leaves a file with its environment, one with its input, and one that
    tells how it went on."""

    SCRIPT = """#!/bin/sh
run=%(path)s/$PIMAP_DEVICE-$PIMAP_SEQ-$$
env > $run.env
cat > $run.part
mv $run.part $run.in
ls -l /proc/self/fd/ > $run.fds
%(rest)s
"""

    def __init__(self, rest="exit 0", **values):
        self.path = tempfile.mkdtemp(prefix="pimap-program.")
        os.chmod(self.path, 0o777)
        self.program = self.path + "/program"
        self.write(rest)
        super().__init__("PROGRAM", "the address $(id)",
                         dict({"pimap_program_path": self.program}, **values))

    def write(self, rest):
        # never half of it
        with open(self.program + ".new", "w") as script:
            script.write(self.SCRIPT % {"path": self.path, "rest": rest})
        os.chmod(self.program + ".new", 0o755)
        os.rename(self.program + ".new", self.program)

    def files(self, suffix):
        """What those of the runs say, by device, number and process"""
        found = {}
        for name in sorted(os.listdir(self.path)):
            if name.endswith("." + suffix):
                with open(self.path + "/" + name) as file:
                    found[name[:-len(suffix) - 1]] = file.read()
        return found

    def stop(self):
        super().stop()
        shutil.rmtree(self.path)


@pytest.fixture
def program(request):
    program = Program(**getattr(request, "param", {}))
    yield from lend(request, program)


def test_program(program):
    program.write("echo 'told it'; echo 'and \\033[1m this' >&2; touch $run.end")
    program.new()
    run, = wait_for(lambda: program.files("end"))
    assert run.startswith("phone-1-")
    assert program.files("in")[run] == ('<emn mailbox="mailat:joe@example.com" '
                                        'timestamp="2004-02-20T06:40:00Z"></emn>')
    env = dict(text.split("=", 1) for text in program.files("env")[run].splitlines())
    for name in ("PATH", "PWD", "SHLVL", "_", "OLDPWD"):
        env.pop(name, None)
    assert env == {"PIMAP_USER": "joe@example.com", "PIMAP_DEVICE": "phone",
                   "PIMAP_ADDRESS": "the address $(id)", "PIMAP_SEQ": "1",
                   "PIMAP_EVENT": "NEW_MESSAGE"}
    # its standard ones, and that of ls
    fds = [text.split()[-3] for text in program.files("fds")[run].splitlines()[1:]]
    assert fds == ["0", "1", "2", "3"]
    # as the log has it
    assert program.server.logs("told it?and ?[1m this")
    assert program.server.logs("(NEW_MESSAGE by PROGRAM): sent")
    program.new()
    wait_for(lambda: len(program.files("end")) == 2)
    assert sorted(name[:8] for name in program.files("end")) == ["phone-1-", "phone-2-"]


@pytest.mark.expects_faults
@pytest.mark.parametrize("program", [{"rest": "exit 75"}, {"rest": "kill -TERM $$"}],
                         indirect=True)
def test_program_tries_again(program):
    """With the same number and octets, and nothing passes it"""
    program.new(count=2)
    wait_for(lambda: len(program.files("in")) >= 2)
    assert {name[:8] for name in program.files("in")} == {"phone-1-"}
    assert len(set(program.files("in").values())) == 1
    program.write("touch $run.end")
    wait_for(lambda: len(program.files("end")) == 2)
    assert [name[:8] for name in program.files("end")] == ["phone-1-", "phone-2-"]


@pytest.mark.expects_faults
@pytest.mark.parametrize("program", [{"rest": "exit 1"}], indirect=True)
def test_program_gives_up(program):
    program.new()
    assert program.server.logs("Notification 1 (NEW_MESSAGE by PROGRAM): given up: " +
                               program.program + " exited with status 1")
    program.write("touch $run.end")
    program.new()
    run, = wait_for(lambda: program.files("end"))
    assert run.startswith("phone-2-")
    assert len(program.files("in")) == 2


@pytest.mark.expects_faults
@pytest.mark.parametrize("program", [
    {"rest": "sleep 1234 & echo $! > $run.pid; wait", "pimap_program_timeout": "1 s"}],
    indirect=True)
def test_program_takes_too_long(program):
    """It ends with what it has started, and doesn't hold up other devices."""
    program.new()
    pids = wait_for(lambda: any(program.files("pid").values()) and program.files("pid"))
    pid = int(list(pids.values())[0])
    program.new(device="other")
    wait_for(lambda: any(name.startswith("other-1-") for name in program.files("pid")))
    assert program.server.logs("took longer than 1 s")

    def ended():
        try:
            with open("/proc/%d/stat" % pid) as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True
    wait_for(ended)
    program.write("touch $run.end")
    wait_for(lambda: len(program.files("end")) == 2)


@pytest.mark.parametrize("program", [
    {"rest": "head -c 3000000 /dev/zero | tr '\\0' x; touch $run.end; exec sleep 1"}],
    indirect=True)
def test_program_says_much(program):
    """More than a pipe takes is read, and isn't kept"""
    program.new()
    wait_for(lambda: program.files("end"))
    assert program.server.logs("by PROGRAM): sent")
    assert len(program.server.log()) < 100000


@pytest.mark.parametrize("program", [{"rest": "sleep 1; touch $run.end"}], indirect=True)
def test_program_runs_are_bounded(program):
    for n in range(25):
        program.events["d%d" % n] = []
    start = time.monotonic()
    for n in range(25):
        program.new(device="d%d" % n)
    most = 0

    def finished():
        nonlocal most
        done = len(program.files("end"))
        most = max(most, len(program.files("env")) - done)
        return done == 25
    wait_for(finished)
    # a run of the next may begin while files are counted
    assert 8 <= most <= 11
    assert time.monotonic() - start >= 3


@pytest.mark.expects_faults
def test_program_is_missing(program):
    """It may come back: nothing is given up, and the log isn't filled."""
    mode = os.stat(program.program).st_mode
    os.chmod(program.program, mode & ~(stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))
    program.new()
    assert program.server.logs("can't be executed: Permission denied (it is tried on)")
    time.sleep(2.5)
    assert len(program.server.faults()) == 1
    program.write("touch $run.end")
    wait_for(lambda: program.files("end"))


@pytest.mark.expects_faults
def test_program_without_interpreter(program):
    with open(program.program, "w") as script:
        script.write("#!/no/such/interpreter\n")
    program.new()
    assert program.server.logs("It can't be executed")
    assert program.server.logs("exited with status 75")
    program.write("touch $run.end")
    wait_for(lambda: program.files("end"))


def test_program_reads_nothing(program):
    """A text of more than a pipe takes isn't waited for, and comes to one that reads
    it in whole."""
    # as long as a folder's name may be
    program.folder = "&" * 16 * 1024
    text = ('<emn mailbox="mailat:joe@example.com/%s" '
            'timestamp="2004-02-20T06:40:00Z"></emn>' % program.folder.replace("&", "&amp;"))
    program.write("touch $run.end")
    program.new()
    run, = wait_for(lambda: program.files("end"))
    assert len(text) > 64 * 1024 and program.files("in")[run] == text
    with open(program.program, "w") as script:
        script.write("#!/bin/sh\nexec <&-\ntouch %s/a.end\n" % program.path)
    program.new()
    wait_for(lambda: "a" in program.files("end"))
    assert program.server.logs("Notification 2 (NEW_MESSAGE by PROGRAM): sent")


# RFC 8291, section 5
KEYS = ("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4 "
        "BTBZMqHH6r4Tts7J_aSIgg")
PUSH = "https://push.example/x " + KEYS


@pytest.fixture(scope="module")
def site():
    server = Server.temporary("sdbox", extra=settings({
        "pimap_channels": "WebPush mail program sms", "pimap_mail_pattern": "*@sms.example",
        "pimap_sms_pattern": "+49*",
        "pimap_webpush_hosts": "10.9.0.0/16 push.test"}))
    yield server
    assert server.faults() == []
    server.stop()


def set_pref(site, phone, user, way, name, value):
    """Returns what it says to refuse it, or None."""
    if way == "imap":
        result = phone.command('XSETPIMAPPREF %s "%s"' % (name, value))
        if result.status == "OK":
            return None
        assert result.status == "NO" and result.text.startswith("[CANNOT] "), result
        return result.text
    args = ("pimap", "pref", "set", "-u", user, "P1", name, value)
    result = subprocess.run([site.vars["DOVEADM"], *args], text=True, stderr=subprocess.PIPE)
    assert (result.returncode == 0) == (result.stderr == "")
    return result.stderr or None


@pytest.mark.parametrize("way", ["imap", "doveadm"])
def test_address_fits_the_channel(site, user, way):
    """R-5.4, R-14.5: whichever of both is set last"""
    phone = site.client(user + "#P1")
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")

    def put(name, value):
        error = set_pref(site, phone, user, way, "PIMAP_OUTBAND_" + name, value)
        answer = phone.ok("XGETPIMAPPREFS (PIMAP_OUTBAND_%s)" % name).lines("* ")[0]
        kept = answer[len("* XGETPIMAPPREFS (PIMAP_OUTBAND_%s " % name):-1].strip('"')
        assert (kept == (value or "NIL")) == (error is None)
        return error
    # any address, as long as there is no channel
    assert put("ADDRESS", "13335559999") is None
    assert "not an address" in put("CHANNEL", "MAIL")
    assert "isn't <endpoint>" in put("CHANNEL", "WEBPUSH")
    assert put("CHANNEL", "PROGRAM") is None
    assert put("CHANNEL", "NONE") is None
    assert put("ADDRESS", "joe@sms.example") is None
    assert put("CHANNEL", "MAIL") is None
    assert "pimap_mail_pattern" in put("ADDRESS", "joe@example.org")
    assert put("ADDRESS", "ann@sms.example") is None
    assert "takes" in put("CHANNEL", "UDP")
    assert "not a number" in put("CHANNEL", "SMS")
    assert "isn't <endpoint>" in put("CHANNEL", "WEBPUSH")
    # none fits all
    assert put("ADDRESS", "") is None
    assert put("CHANNEL", "WEBPUSH") is None
    assert put("ADDRESS", PUSH) is None
    assert put("ADDRESS", "https://push.example/x BCVxsr7N/eNgVRqvHtD0zTZsEc6+VV+JvLexhqUzORcxaOzi6"
                          "+AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4= BTBZMqHH6r4Tts7J/aSIgg==") is None
    # one of 900 octets
    assert put("ADDRESS", PUSH.replace("/x", "/" + "x" * 880)) is None
    for endpoint, reason in (
            ("http://push.example/", "https"), ("https://127.0.0.1/", "public"),
            ("https://10.8.0.1/", "public"), ("https://[::ffff:127.0.0.1]/", "public"),
            ("https://[64:ff9b::7f00:1]/", "public"), ("https://[fd00::1]/", "public"),
            ("https://100.64.0.1/", "public"), ("https://2130706433/", "host"),
            ("https://0x7f.1/", "host"), ("https://good@127.0.0.1/", "URL"),
            ("https://push.example:25/", "port"),
            ("https://permanently-removed.invalid/x", "ended")):
        assert reason in put("ADDRESS", endpoint + " " + KEYS), endpoint
    assert put("ADDRESS", "https://10.9.8.7/ " + KEYS) is None
    assert put("ADDRESS", "https://push.test:25/ " + KEYS) is None
    for keys in ("", " x y", " " + KEYS[1:], " " + KEYS[:-1], " B" + KEYS.replace("iw4", "iw5"),
                 " " + KEYS.replace("iw4", "iw8"), " BA" + "A" * 85 + " " + KEYS.split()[1]):
        assert put("ADDRESS", "https://push.example/" + keys) is not None, keys
    assert "not an address" in put("CHANNEL", "MAIL")
    assert put("ADDRESS", "") is None
    assert put("CHANNEL", "SMS") is None
    assert "pimap_sms_pattern" in put("ADDRESS", "+4312345")
    assert put("ADDRESS", "+4912345") is None
    assert put("CHANNEL", "NONE") is None
    assert put("ADDRESS", "anything") is None


def test_channels_offered(site, server, user):
    """R-13.8: those that are configured"""
    def offered(site):
        return [line for line in site.client(user + "#P1").ok("XPROVISION P1").lines("* XPROVISION")
                if "CHANNEL" in line]
    assert offered(site) == ["* XPROVISION XPIMAPPREF PIMAP_OUTBAND_CHANNEL "
                             "(MAIL PROGRAM SMS WEBPUSH NONE)"]
    assert offered(server) == ["* XPROVISION XPIMAPPREF PIMAP_OUTBAND_CHANNEL (NONE)"]


@pytest.mark.expects_faults
def test_address_before_sending():
    """R-14.5: the pattern may have changed since it was set"""
    relay = Relay()
    outband = Outband("MAIL", "joe@elsewhere.example",
                      {"pimap_mail_relay": "127.0.0.1:%d" % relay.port})
    outband.new()
    assert outband.server.logs("given up: The address isn't allowed: "
                               "it isn't in the user's own domain")
    outband.address = "ann@example.com"
    outband.new()
    mail, = wait_for(lambda: list(relay.mails))
    assert mail.recipients[0].startswith("TO:<ann@example.com>")
    outband.stop()
    relay.stop()
