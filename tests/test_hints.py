# SPDX-License-Identifier: LGPL-2.1-only
"""What mail processes tell the service pimap-outband, and what a profile keeps of
folders that begin to notify (R-13.1, R-13.4). Here a test is the service."""

import contextlib
import glob
import itertools
import os
import re
import smtplib
import socket
import threading
import time

import pytest

from conftest import Server, settings
from worker_client import LIST

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"
# the socket is the test's
NO_SERVICE = """
service pimap-outband {
  process_min_avail = 0
  unix_listener pimap-outband {
    mode = 0
  }
}
namespace inbox {
  mailbox Sent {
    auto = create
    special_use = \\Sent
  }
}
"""


class Service:
    """Takes hints. answer(connection) is what it does to one that waits for an
    answer."""

    def __init__(self, server):
        self.path = server.path + "/run/pimap-outband"
        self.answer = lambda connection: connection.sendall(b"OK\n")
        self.lines, self.last = [], time.monotonic()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        os.chmod(self.path, 0o666)
        self.sock.listen(100)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.sock.accept()
                threading.Thread(target=self.serve, args=(connection,),
                                 daemon=True).start()

    def serve(self, connection):
        with connection:
            # who doesn't wait has gone, perhaps
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"VERSION\tpimap-hint\t1\t0\n")
            lines = connection.makefile("r")
            assert lines.readline() == "VERSION\tpimap-hint\t1\t0\n"
            for line in self.read(lines):
                fields = tuple(line.rstrip("\n").split("\t"))
                self.lines.append(fields)
                self.last = time.monotonic()
                if fields[0] == "PROFILE":
                    assert fields[2:] == ("WAIT",)
                    self.answer(connection)

    @staticmethod
    def read(lines):
        with contextlib.suppress(ConnectionError):
            yield from lines

    def hints(self, seconds=0.3, folders=False):
        """Those that have come since the last time"""
        start = time.monotonic()
        while time.monotonic() < max(start, self.last) + seconds:
            time.sleep(0.02)
        lines, self.lines = self.lines, []
        return [line[:2] if line[0] == "PROFILE" else line for line in lines
                if folders or line[2:] != (LIST,)]

    def close(self):
        # accept() doesn't end by close() alone
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


@pytest.fixture(scope="module", params=["maildir", "sdbox", "mdbox"])
def server(request):
    server = Server.temporary(request.param, extra=settings(
        {"pimap_channels": "mail"}) + NO_SERVICE)
    yield server
    server.stop()


@pytest.fixture
def service(server):
    service = Service(server)
    yield service
    service.close()


def deliver(server, user, text, detail=""):
    with smtplib.LMTP(server.vars["LMTP_SOCKET"]) as lmtp:
        lmtp.sendmail("s@example.org", user + detail, MESSAGE % text)


def profile(server, user):
    """Its lines, as lists of words"""
    path, = glob.glob("%s/mail/%s/*/dovecot-pimap-profile" % (server.path, user.lower()))
    with open(path) as file:
        return [line.rstrip("\n").split("\t") for line in file]


def baselines(server, user, device="P1"):
    """UIDNEXT by GUID"""
    found, at = {}, None
    for line in profile(server, user):
        if line[0] == "device":
            at = line[1]
        elif line[0] == "known" and at == device:
            assert line[1] not in found
            if line[1] != LIST:
                found[line[1]] = int(line[4])
    return found


def guid(server, user, folder):
    out = server.doveadm("-f", "flow", "mailbox", "status", "-u", user.lower(), "guid", folder)
    return out.split("guid=")[1].strip()


def notify(phone, folder="ALL", channel="MAIL"):
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL " + channel)
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s N ALL)" % folder)


def test_nothing_is_told_without_a_channel(server, user, service):
    name = user.lower()
    deliver(server, name, b"no profile")
    phone = server.client(user + "#P1")
    phone.ok("XFILTER SET F1 NIL (UNSEEN)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B F1)")
    deliver(server, name, b"no channel")
    phone.append("INBOX", [MESSAGE % b"x"])
    assert service.hints() == []


def test_all_that_is_saved_is_told(server, user, service):
    name = user.lower()
    phone = server.client(user + "#P1")
    notify(phone)
    assert service.hints() == [("PROFILE", name)] * 2
    deliver(server, name, b"one")
    inbox = ("HINT", name, guid(server, user, "INBOX"))
    assert service.hints() == [inbox]

    plain = server.client(user)
    plain.ok("CREATE Work")
    work = ("HINT", name, guid(server, user, "Work"))
    plain.append("Work", [MESSAGE % b"two"])
    assert service.hints() == [work]
    plain.ok("SELECT Work")
    plain.ok("COPY 1 INBOX")
    assert service.hints() == [inbox]
    plain.ok("MOVE 1 INBOX")
    assert service.hints() == [inbox]
    server.doveadm("save", "-u", name, "-m", "Work", __file__)
    assert service.hints() == [work]
    # what saves nothing isn't told
    plain.ok("SELECT INBOX")
    plain.ok("FETCH 1:* (BODY[])")
    plain.ok("NOOP")
    assert service.hints() == []

    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE")
    assert service.hints() == [("PROFILE", name)]
    deliver(server, name, b"three")
    assert service.hints() == []


def test_changes_are_told_where_they_are_wanted(server, user, service):
    """Flags, keywords and what is expunged, whoever does it: to a device with event filter
    ALL"""
    name = user.lower()
    phone = server.client(user + "#P1")
    notify(phone)
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"x"] * 6)
    plain.ok("SELECT INBOX")
    inbox = ("HINT", name, guid(server, user, "INBOX"))
    service.hints()
    words = itertools.count()

    def changes():
        plain.ok("NOOP")
        plain.ok("STORE 1 +FLAGS (\\Flagged)")
        yield service.hints()
        plain.ok("STORE 2 +FLAGS (word%d)" % next(words))
        yield service.hints()
        plain.ok("FETCH 2 (BODY[])")
        yield service.hints()
        server.doveadm("flags", "add", "-u", name, "word%d" % next(words), "mailbox",
                       "INBOX", "4")
        yield service.hints()
        plain.ok("STORE 1 +FLAGS (\\Deleted)")
        service.hints()
        plain.ok("EXPUNGE")
        yield service.hints()
        server.doveadm("expunge", "-u", name, "mailbox", "INBOX", "1")
        yield service.hints()
    # what has not set it has NEW
    assert list(changes()) == [[]] * 6
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    service.hints()
    plain.append("INBOX", [MESSAGE % b"x"] * 3)
    assert service.hints() == [inbox]
    assert list(changes()) == [[inbox]] * 6
    # a session that only reads
    plain.ok("FETCH 1:* (FLAGS BODY.PEEK[])")
    plain.ok("SEARCH BODY x")
    plain.ok("STORE 1 FLAGS (word)")
    service.hints()
    plain.ok("STORE 1 FLAGS (word)")
    plain.ok("NOOP")
    plain.ok("EXPUNGE")
    plain.ok("CLOSE")
    assert service.hints() == []
    # the device's own session is one as well, and notes that it was that
    phone.ok("SELECT INBOX")
    phone.ok("STORE 1 +FLAGS (\\Seen)")
    (*own, note), = service.hints()
    assert tuple(own) == inbox and note.startswith("P1:") and note.count(":") == 6
    plain.ok("SELECT INBOX")
    plain.ok("CREATE Work")
    plain.ok("MOVE 1 Work")
    hints = service.hints()
    assert set(hints) == {inbox, ("HINT", name, guid(server, user, "Work"))}
    for value in ("NEW", "NONE"):
        phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER " + value)
        service.hints()
        plain.append("INBOX", [MESSAGE % b"x"] * 3)
        assert service.hints() == [inbox]
        assert list(changes()) == [[]] * 6
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE")
    service.hints()
    plain.append("INBOX", [MESSAGE % b"x"] * 3)
    assert list(changes()) == [[]] * 6


def test_default_event_filter():
    """Changes are told to devices that have set none if the site's is ALL."""
    server = Server.temporary("sdbox", extra=settings(
        {"pimap_channels": "mail", "pimap_default_event": "ALL"}) + NO_SERVICE)
    service = Service(server)
    try:
        phone = server.client("joe#P1")
        notify(phone)
        plain = server.client("joe")
        plain.append("INBOX", [MESSAGE % b"x"])
        service.hints()
        plain.ok("SELECT INBOX")
        plain.ok("STORE 1 +FLAGS (\\Seen)")
        assert service.hints() == [("HINT", "joe", guid(server, "joe", "INBOX"))]
        phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER NEW")
        service.hints()
        plain.ok("STORE 1 -FLAGS (\\Seen)")
        assert service.hints() == []
        server.close_clients()
        assert server.faults() == []
    finally:
        service.close()
        server.stop()


def test_profiles_changed_by_doveadm(server, user, service):
    name = user.lower()
    server.doveadm("pimap", "device", "add", "-u", name, "P1")
    server.doveadm("pimap", "pref", "set", "-u", name, "P1", "PIMAP_OUTBAND_CHANNEL", "MAIL")
    assert service.hints() == [("PROFILE", name)]
    server.doveadm("pimap", "device", "remove", "-u", name, "P1")
    assert service.hints() == [("PROFILE", name)]


def test_baselines(server, user, service):
    """What a folder held when it began to notify, whichever of filter and channel came
    last; a later change begins nothing anew."""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"x"] * 3)
    plain.ok("CREATE Work")
    plain.append("Work", [MESSAGE % b"x"])
    inbox, work = guid(server, user, "INBOX"), guid(server, user, "Work")
    phone = server.client(user + "#P1")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX N ALL)")
    assert baselines(server, user) == {}
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
    assert baselines(server, user) == {inbox: 4}
    plain.append("INBOX", [MESSAGE % b"x"])
    phone.ok("XFILTER SET F1 NIL (UNSEEN)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX N F1)")
    assert baselines(server, user) == {inbox: 4}
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Work N F1)")
    assert baselines(server, user) == {inbox: 4, work: 2}

    # a folder that is made later is new as a whole, also when others begin
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N ALL)")
    plain.ok("CREATE Later")
    plain.append("Later", [MESSAGE % b"x"])
    other = server.client(user + "#P2")
    notify(other)
    assert baselines(server, user) == {inbox: 4, work: 2}
    assert baselines(server, user, "P2") == {
        inbox: 5, work: 2, guid(server, user, "Later"): 2}

    # off and on again begins anew
    first = [line[2] for line in profile(server, user) if line[:2] == ["known", inbox]][0]
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE")
    assert baselines(server, user) == {}
    plain.append("INBOX", [MESSAGE % b"x"])
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
    assert baselines(server, user)[inbox] == 6
    again = [line[2] for line in profile(server, user) if line[:2] == ["known", inbox]][0]
    assert int(again) > int(first)


def test_baselines_for_changes(server, user, service):
    """HIGHESTMODSEQ and the number of messages, if a device is told of changes"""
    plain = server.client(user)
    plain.append("INBOX", [MESSAGE % b"x"] * 3)
    plain.ok("SELECT INBOX")
    plain.ok("STORE 2 +FLAGS (\\Deleted)")
    plain.ok("EXPUNGE")
    phone = server.client(user + "#P1")
    notify(phone, folder="INBOX")
    other = server.client(user + "#P2")
    other.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    notify(other, folder="INBOX")
    first, second = [line[4:] for line in profile(server, user)
                     if line[0] == "known" and line[1] != LIST]
    assert first[:3] == ["4", "0", "0"]
    modseq = plain.status("INBOX", "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
    assert second[:3] == ["4", str(modseq), "2"]
    # which ones there were
    assert re.fullmatch(r"1\.[0-9a-f]{8},3\.[0-9a-f]{8}", first[3]) and second[3] == first[3]


def test_special_use_folders_are_silent(server, user, service):
    """R-1.5: under ALL; a filter for the folder itself counts."""
    plain = server.client(user)
    plain.ok("SELECT INBOX")
    plain.ok("SELECT Sent")
    phone = server.client(user + "#P1")
    notify(phone)
    sent = guid(server, user, "Sent")
    assert sent not in baselines(server, user)
    assert guid(server, user, "INBOX") in baselines(server, user)
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Sent N ALL)")
    assert sent in baselines(server, user)


@pytest.mark.expects_faults
def test_without_the_service(server, user):
    """Deliveries go on, and the log has one line of each process."""
    phone = server.client(user + "#P1")
    notify(phone)
    before = len(server.faults())
    with smtplib.LMTP(server.vars["LMTP_SOCKET"]) as lmtp:
        for _ in range(3):
            lmtp.sendmail("s@example.org", user.lower(), MESSAGE % b"x")
    assert phone.status("INBOX")["MESSAGES"] == 3
    assert server.logs("pimap: net_connect_unix(")
    lines = [line for line in server.faults()[before:] if " lmtp(" in line]
    assert len(lines) <= 3 and all("pimap-outband" in line for line in lines)


COMMANDS = ["XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED", "XFILTER SET F1 NIL (SEEN)",
            "XSETPIMAPPREF PIMAP_XFILTER (ALL N F1)",
            "XSETPIMAPPREF PIMAP_XFILTER (ALL N NONE)", "XFILTER DELETE F1",
            "XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE"]


def answered(client, command):
    """The tagged answer, and after how long"""
    start = time.monotonic()
    result = client.command(command)
    return "%s %s" % (result.status, result.text), time.monotonic() - start


def test_commands_wait_for_the_service(server, user, service):
    """R-1.7: OK comes when the service has answered; without an answer it is NO, the
    change stands, and can be repeated."""
    phone = server.client(user + "#P1")
    notify(phone)
    stored = []
    service.answer = lambda connection: (stored.append(profile(server, user)),
                                         time.sleep(0.3), connection.sendall(b"OK\n"))
    for command in COMMANDS:
        before = profile(server, user)
        answer, secs = answered(phone, command)
        assert answer.startswith("OK") and 0.3 <= secs < 1.5, (command, answer, secs)
        # it is on the disk before the service hears of it
        assert stored.pop() == profile(server, user) != before
    notify(phone)
    stored.clear()
    service.answer = lambda _: None
    for command in COMMANDS[:2]:
        before = profile(server, user)
        answer, secs = answered(phone, command)
        assert answer.startswith("NO [UNAVAILABLE] ") and "repeat" in answer
        assert 1.9 <= secs < 4, secs
        assert profile(server, user) != before
    service.answer = lambda connection: connection.sendall(b"OK\n")
    for command in COMMANDS[:2]:
        assert answered(phone, command)[0].startswith("OK")


def test_doveadm_waits_for_the_service(server, user, service):
    name = user.lower()
    server.doveadm("pimap", "device", "add", "-u", name, "P1")
    pref = ("pimap", "pref", "set", "-u", name, "P1")
    server.doveadm(*pref, "PIMAP_OUTBAND_CHANNEL", "MAIL")
    service.answer = lambda _: None
    for command in ((*pref, "PIMAP_OUTBAND_FORMAT", "EXTENDED"),
                    ("pimap", "filter", "set", "-u", name, "F1", "SEEN"),
                    ("pimap", "filter", "delete", "-u", name, "F1"),
                    ("pimap", "device", "mode", "-u", name, "P1", "session"),
                    ("pimap", "device", "remove", "-u", name, "P1")):
        before = profile(server, user)
        start = time.monotonic()
        assert "the change is kept, repeat it" in server.doveadm(*command, fails=True)
        assert 1.9 <= time.monotonic() - start < 6
        assert profile(server, user) != before
        service.hints()


@pytest.mark.parametrize("dies", ["at once", "after a second"])
def test_service_dies_while_a_command_waits(server, user, service, dies):
    """The next one is asked, as long as that isn't too late."""
    phone = server.client(user + "#P1")
    notify(phone)
    service.hints()

    def die(connection):
        service.answer = lambda connection: connection.sendall(b"OK\n")
        time.sleep(0 if dies == "at once" else 1)
        connection.shutdown(socket.SHUT_RDWR)
    service.answer = die
    answer, secs = answered(phone, COMMANDS[0])
    assert answer.startswith("OK") and secs < 1.9
    assert service.hints() == [("PROFILE", user.lower())] * 2
    # it is gone for good
    service.answer = lambda connection: connection.shutdown(socket.SHUT_RDWR)
    answer, secs = answered(phone, COMMANDS[0])
    assert answer.startswith("NO [UNAVAILABLE] ") and 1.9 <= secs < 4


@pytest.mark.parametrize("text", [b"O", b"OKAY\n", b"x" * 1000, b"NO\n", b"OK"],
                         ids=["cut", "late", "long", "other", "open"])
def test_answers_that_are_none(server, user, service, text):
    phone = server.client(user + "#P1")
    notify(phone)
    service.answer = lambda connection: connection.sendall(text)
    assert answered(phone, COMMANDS[0])[0].startswith("NO [UNAVAILABLE] ")


def test_commands_without_a_channel_do_not_wait(server, user, service):
    service.answer = lambda _: None
    phone = server.client(user + "#P1")
    for command in COMMANDS[:1] + COMMANDS[1:2] * 3:
        answer, secs = answered(phone, command)
        assert answer.startswith("OK") and secs < 1
    assert service.hints() == []


@pytest.mark.expects_faults
def test_commands_when_the_service_does_not_run(server, user):
    """Then they needn't be told: it asks when it begins."""
    phone = server.client(user + "#P1")
    notify(phone)
    # as a service leaves it that was killed with its master
    path = server.path + "/run/pimap-outband"
    for _ in range(2):
        for command in COMMANDS:
            answer, secs = answered(phone, command)
            assert answer.startswith("OK") and secs < 1
        if not os.path.exists(path):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(path)
            os.chmod(path, 0o666)
        notify(phone)
    os.unlink(path)


def test_folder_events_are_told(server, user, service):
    """Where some device has a channel, whatever it notifies of"""
    name = user.lower()
    plain = server.client(user)
    plain.ok("CREATE Before")
    phone = server.client(user + "#P1")
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER NONE")
    assert [hint for hint in service.hints(folders=True) if hint[0] == "HINT"] == []
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
    known, = [line for line in profile(server, user) if line[:2] == ["known", LIST]]
    service.hints()
    for command in ("CREATE Work", "RENAME Work Play", "DELETE Play"):
        plain.ok(command)
        assert service.hints(folders=True) == [("HINT", name, LIST)], command
    plain.ok("SUBSCRIBE Before")
    plain.ok("SELECT Before")
    plain.command("CREATE Before")
    assert service.hints(folders=True) == []
    # the same again isn't a new baseline
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER NEW")
    assert known in profile(server, user)
