# SPDX-License-Identifier: LGPL-2.1-only
"""The service pimap-outband, between a worker and a mail relay of the test's own:
what it is told is kept, numbered once and sent, whatever ends in between."""
import contextlib
import email
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

import pytest

from conftest import DOVECOT_24, Server, settings
from outband_peers import Relay, Worker, hint, line, wait_for

GUID = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


class Folder:
    """What the worker of a test finds: devices, each with what has come since the
    state that is accounted, a count."""

    def __init__(self, address="joe@example.com", generation=1):
        self.count = 0
        self.address = address
        self.generation = generation
        self.devices = ["phone"]
        self.names = {}

    def answer(self, job):
        if job[0] == "FOLDERS":
            return [line("FOLDER", GUID, "INBOX"), "OK\n"]
        states = dict(zip(job[3::2], job[4::2]))
        lines = [line("FOLDER", job[2], self.names.get(job[2], "INBOX"))]
        for device in self.devices:
            lines.append(line("DEVICE", device, self.generation, "MAIL",
                              self.address, "EMN", self.count))
            for uid in range(int(states.get(device, 0)), self.count):
                lines.append(line("EVENT", "NEW_MESSAGE", uid + 1, 1077259200 + uid))
        return lines + ["OK\n"]


class Outband:
    def __init__(self, conf="", auth=None, **values):
        self.relay = Relay()
        self.server = Server.temporary("maildir", extra=settings(dict(
            {"pimap_mail_relay": "127.0.0.1:%d" % self.relay.port,
             "pimap_mail_from": "pimap@example.com",
             "pimap_outband_retry_min": "1 s",
             "pimap_outband_retry_max": "1 s"}, **values)) + """
service pimap-worker {
  unix_listener pimap-worker {
    mode = 0
  }
}
""" + conf, auth=auth)
        # what is in lines of the log that are no faults
        self.expected = []
        self.folder = Folder()
        self.worker = Worker(self.server, lambda job: self.folder.answer(job))

    def pid(self):
        """Of the service, None if it doesn't run."""
        name = b"dovecot-%s/pimap-outband\0" % os.path.basename(
            os.readlink(self.server.path + "/run")).encode()
        for entry in os.listdir("/proc"):
            try:
                with open("/proc/%s/cmdline" % entry, "rb") as title:
                    if entry.isdigit() and title.read().startswith(name[:-1]):
                        return int(entry)
            except OSError:
                pass
        return None

    def kill(self):
        """As a crash does. The next hint, or the master, starts another."""
        self.expected.append("child %d killed with signal 9" % wait_for(self.pid))
        pid = wait_for(self.pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.pid() != pid)

    def stop(self):
        self.worker.stop()
        self.server.stop()
        self.relay.stop()


@pytest.fixture
def outband(request):
    outband = Outband(**getattr(request, "param", {}))
    yield outband
    faults = [fault for fault in outband.server.faults()
              if not any(text in fault for text in outband.expected)]
    outband.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


def header(mail, name):
    return [text.split(": ", 1)[1] for text in mail.text.split("\r\n\r\n")[0]
            .split("\r\n") if text.startswith(name + ":")]


def seqs(mails):
    return [int(header(mail, "X-PIMAP-Notification")[0]) for mail in mails]


def test_hint_becomes_one_mail(outband):
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    mail, = wait_for(lambda: list(outband.relay.mails))
    assert mail.sender.split()[0] == "FROM:<>"
    assert header(mail, "From") == ["<pimap@example.com>"]
    assert [to.split()[0] for to in mail.recipients] == ["TO:<joe@example.com>"]
    assert seqs([mail]) == [1]
    assert header(mail, "Content-Type") == ["text/vnd.wap.emn+xml; charset=utf-8"]
    assert mail.text.split("\r\n\r\n", 1)[1] == (
        '<emn mailbox="mailat:joe@example.com" '
        'timestamp="2004-02-20T06:40:00Z"></emn>\r\n')

    # the same again finds nothing, and the next number is the next
    for _ in range(3):
        hint(outband.server, "HINT", "joe@example.com", GUID)
    outband.folder.count = 3
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.relay.mails) == 3)
    assert seqs(outband.relay.mails) == [1, 2, 3]
    assert ["LOOK", "joe@example.com", GUID] == outband.worker.jobs[0]
    assert outband.worker.jobs[-1][3:] in (["phone", "1"], ["phone", "3"])


def test_others_folder_and_name(outband):
    outband.folder.names[OTHER] = "Lists/a & b"
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", OTHER)
    mail, = wait_for(lambda: list(outband.relay.mails))
    assert 'mailbox="mailat:joe@example.com/Lists/a &amp; b"' in mail.text


def test_found_without_a_hint_after_a_crash(outband):
    """R-13.4: not by the next delivery, but as soon as the service runs"""
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    outband.folder.count = 3
    outband.kill()
    wait_for(lambda: len(outband.relay.mails) == 3)
    assert seqs(outband.relay.mails) == [1, 2, 3]


@pytest.mark.parametrize("moment", ["MAIL", "DATA", "END"])
def test_killed_while_it_sends(outband, moment):
    """Nothing is lost, and a number has one content, whenever that is."""
    killed = []

    def before(command, _):
        if command == moment and not killed:
            killed.append(command)
            outband.kill()

    outband.folder.count = 3
    outband.relay.before = before
    hint(outband.server, "HINT", "joe@example.com", GUID)
    # the relay takes the one whose end the service doesn't live to see, perhaps
    # later than those of the next service
    expected = [1, 1, 2, 3] if moment == "END" else [1, 2, 3]
    wait_for(lambda: len(outband.relay.mails) == len(expected))
    assert killed
    assert sorted(seqs(outband.relay.mails)) == expected
    texts = [mail.text for mail in outband.relay.mails]
    assert len(set(texts)) == 3


def test_killed_while_a_worker_looks(outband):
    started, go_on = threading.Event(), threading.Event()

    def answer(job):
        if not started.is_set():
            started.set()
            go_on.wait(15)
        return outband.folder.answer(job)

    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    outband.folder.count = 2
    outband.worker.answer = answer
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert started.wait(15)
    outband.kill()
    go_on.set()
    wait_for(lambda: len(outband.relay.mails) == 2)
    assert seqs(outband.relay.mails) == [1, 2]


def test_relay_is_down_and_comes_back(outband):
    port = outband.relay.port
    outband.expected.append("(it is tried on)")
    outband.relay.stop()
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.worker.jobs)
    time.sleep(1.5)
    outband.relay = Relay(port)
    wait_for(lambda: len(outband.relay.mails) == 2)
    assert seqs(outband.relay.mails) == [1, 2]
    # once, not each time
    assert len(outband.server.faults()) == 1


def connections(relay):
    """A list that grows with each"""
    found = []
    relay.before = lambda said, _: said == "CONNECT" and found.append(time.monotonic())
    return found


def test_connections_are_used_again(outband):
    found = connections(outband.relay)
    for count in range(1, 11):
        outband.folder.count = count
        hint(outband.server, "HINT", "joe@example.com", GUID)
        wait_for(lambda count=count: len(outband.relay.mails) == count)
    assert seqs(outband.relay.mails) == list(range(1, 11))
    assert len(found) < 4


def test_idle_connections_are_closed(outband):
    found = connections(outband.relay)
    quits = []
    count = outband.relay.before
    outband.relay.before = lambda said, arg: (count(said, arg), said == "QUIT" and
                                              quits.append(time.monotonic()))
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: quits)
    assert 1 < quits[0] - found[0] < 6
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.relay.mails) == 2)
    assert len(found) == 2


@pytest.mark.parametrize("how", ["421", "cut at MAIL", "cut while idle", "cut at END"])
def test_relay_ends_connections(outband, how):
    """That is no fault of it, and the next one goes at once by another."""
    relay = outband.relay
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: relay.mails)
    if how == "421":
        relay.replies["MAIL"] = "421 enough by this connection"
    found = []

    def before(said, _):
        if said == "CONNECT":
            found.append(said)
            relay.replies.pop("MAIL", None)
        elif not found and how == "cut at " + said:
            raise ConnectionError
    relay.before = before
    if how == "cut while idle":
        relay.cut()
    start = time.monotonic()
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(relay.mails) == 2)
    assert time.monotonic() - start < 1
    assert seqs(relay.mails) == [1, 2] and found == ["CONNECT"]


def test_refused_for_now(outband):
    outband.expected.append("(it is tried on)")
    outband.folder.count = 1
    for number, (command, reply) in enumerate((
            ("MAIL", "451 not now"), ("RCPT", "451 not now"), ("DATA", "451 not now"),
            ("END", "451 not now"), ("EHLO", "421 closing"), ("RCPT", "nonsense"),
            # against the sender, not the notification
            ("MAIL", "550 not you"), ("CONNECT", "554 no"))):
        outband.relay.replies[command] = reply
        outband.relay.cut()
        tried = threading.Event()
        outband.relay.before = \
            lambda said, _, command=command, tried=tried: said == command and tried.set()
        hint(outband.server, "HINT", "joe%d@example.com" % number, GUID)
        assert tried.wait(15), reply
        time.sleep(0.3)
        assert len(outband.relay.mails) == number, reply
        del outband.relay.replies[command]
        wait_for(lambda number=number: len(outband.relay.mails) > number)
    assert set(seqs(outband.relay.mails)) == {1}


@pytest.mark.expects_faults
@pytest.mark.parametrize("command", ["RCPT", "END"])
def test_refused_for_good(outband, command):
    """Given up with one line, and the next one goes, after a gap."""
    outband.relay.replies[command] = "550 no such user"
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert outband.server.logs("joe@example.com#phone: Notification 1 "
                               "(NEW_MESSAGE by MAIL): given up: ")
    del outband.relay.replies[command]
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    assert seqs(outband.relay.mails) == [2]
    assert len(outband.server.faults()) == 1


@pytest.mark.expects_faults
@pytest.mark.parametrize("outband", [{"pimap_outband_expire": "2 s"}],
                         indirect=True)
def test_expired(outband):
    outband.relay.replies["MAIL"] = "451 not now"
    outband.expected.append("(it is tried on)")
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert outband.server.logs("joe@example.com#phone: Notification 1 "
                               "(NEW_MESSAGE by MAIL): expired")
    del outband.relay.replies["MAIL"]
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    assert seqs(outband.relay.mails) == [2]


@pytest.mark.expects_faults
def test_address_of_another_domain(outband):
    """R-14.5, whatever the profile says"""
    outband.folder.address = "joe@elsewhere.example"
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert outband.server.logs("given up: The address isn't allowed: "
                               "it isn't in the user's own domain")
    assert outband.relay.mails == []


@pytest.mark.parametrize("outband", [
    {"pimap_mail_pattern": "*@elsewhere.example", "pimap_mail_from": "x@y.example"}],
    indirect=True)
def test_address_of_the_pattern(outband):
    outband.folder.address = "joe@elsewhere.example"
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    mail, = wait_for(lambda: list(outband.relay.mails))
    assert header(mail, "From") == ["<x@y.example>"]
    assert mail.recipients[0].startswith("TO:<joe@elsewhere.example>")


def test_slow_device_delays_no_other(outband):
    """R-13.4; and of one device nothing is sent before what came before it."""
    go_on = threading.Event()

    def before(command, argument):
        if command == "RCPT" and "joe@" in argument:
            go_on.wait(30)

    outband.relay.before = before
    outband.folder.count = 2
    for user in "joe@example.com", "ann@example.com":
        outband.folder.address = user
        hint(outband.server, "HINT", user, GUID)
        wait_for(lambda: [job for job in outband.worker.jobs if job[1] == user])
    wait_for(lambda: len(outband.relay.mails) == 2)
    go_on.set()
    wait_for(lambda: len(outband.relay.mails) == 4)
    assert seqs(outband.relay.mails) == [1, 2, 1, 2]


def test_hint_during_a_look_causes_another(outband):
    started, go_on = threading.Event(), threading.Event()

    def answer(job):
        lines = outband.folder.answer(job)
        if not started.is_set():
            started.set()
            go_on.wait(15)
        return lines

    outband.worker.answer = answer
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert started.wait(15)
    outband.folder.count = 1
    for _ in range(5):
        hint(outband.server, "HINT", "joe@example.com", GUID)
    time.sleep(0.5)
    assert len(outband.worker.jobs) == 1
    go_on.set()
    wait_for(lambda: outband.relay.mails)
    time.sleep(0.5)
    assert len(outband.worker.jobs) == 2


def test_hints_in_quick_succession_share_looks(outband):
    """The next look is held off for as long as the last one took. What a hint is
    about that comes meanwhile is found then."""
    times = []

    def answer(job):
        began = time.monotonic()
        lines = outband.folder.answer(job)
        time.sleep(0.1)
        times.append((began, time.monotonic()))
        return lines

    def arrive():
        outband.folder.count += 1
        hint(outband.server, "HINT", "joe@example.com", GUID, wait=False)

    outband.worker.answer = answer
    for _ in range(60):
        arrive()
        time.sleep(0.01)
    wait_for(lambda: len(outband.relay.mails) == 60)
    # two where the second one comes between looks
    for total in 62, 64, 66:
        looks = len(times)
        arrive()
        wait_for(lambda: len(times) > looks)
        time.sleep(0.02)
        arrive()
        wait_for(lambda: len(outband.relay.mails) == total)
    assert seqs(outband.relay.mails) == list(range(1, 67))
    # from the worker's answer to the next job
    held = [began - ended for (_, ended), (began, _) in zip(times, times[1:])]
    assert min(held) > 0.09, held


@pytest.mark.expects_faults
def test_worker_that_dies(outband):
    """Three times: then one line, and it rests; a hint doesn't wait for that"""
    outband.worker.answer = lambda job: None
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert outband.server.logs("User joe@example.com: 3 workers have died of folder")
    time.sleep(0.5)
    assert len(outband.worker.jobs) == 3
    assert outband.worker.cautions == [["", "1"]] * 2
    outband.worker.answer = outband.folder.answer
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    assert len(outband.server.faults()) == 1
    # it was no message's fault
    assert outband.worker.cautions == [["", "1"]] * 3
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.relay.mails) == 2)
    assert len(outband.worker.cautions) == 3


@pytest.mark.expects_faults
def test_worker_that_dies_of_a_message(outband):
    """Twice, after it was asked to say of which one: workers aren't to evaluate that any
    more, also after a restart, as long as the folder is the same"""
    answers = [None, [line("AT", 4), line("AT", 5), None], [line("AT", 5), None]]
    outband.worker.answer = lambda job: answers.pop(0) if answers and job[2:3] == [GUID] \
        else outband.folder.answer(job)
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    assert outband.server.logs("User joe@example.com: Workers have died of message UID 5 of folder " +
                               GUID)
    # the last one makes sure of all others
    expected = [["", "1"], ["", "1"], ["5", "1"]]
    assert outband.worker.cautions == expected
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.relay.mails) == 2)
    hint(outband.server, "HINT", "joe@example.com", OTHER)
    wait_for(lambda: len(outband.relay.mails) == 4)
    expected.append(["5", "0"])
    assert outband.worker.cautions == expected
    outband.kill()
    wait_for(lambda: len(outband.worker.cautions) == 5)
    assert outband.worker.cautions[4] == ["5", "0"]

    # UIDs of other messages
    answers.append([line("FOLDER", GUID, "INBOX"),
                    line("DEVICE", "phone", 1, "MAIL", "joe@example.com", "EMN", 2),
                    line("EVENT", "STATE_COMPARISON_SYNC", 0, 1077259200), "OK\n"])
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.relay.mails) == 5)
    count = len(outband.worker.cautions)
    outband.folder.count = 3
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.relay.mails) == 6)
    assert len(outband.worker.cautions) == count
    assert len([fault for fault in outband.server.faults() if "killed with signal" not in fault]) == 1


def test_answer_that_is_none(outband):
    """Nothing of it counts."""
    bad = []

    def answer(job):
        lines = outband.folder.answer(job)
        return lines[:-1] + [bad.pop()] + lines[-1:] if bad else lines

    outband.worker.answer = answer
    outband.expected.append("A worker sent an invalid answer: ")
    outband.folder.count = 1
    for number, text in enumerate((
            "NONSENSE\n", "EVENT\tNO_MESSAGE\t1\t1\n", "x" * (2 * 1024 * 1024),
            line("FOLDER", OTHER, "INBOX"))):
        bad.append(text)
        hint(outband.server, "HINT", "joe%d@example.com" % number, GUID)
        wait_for(lambda number=number: len(outband.relay.mails) > number)
    time.sleep(0.3)
    assert seqs(outband.relay.mails) == [1, 1, 1, 1]
    assert len(outband.worker.jobs) == 8
    assert len(outband.server.faults()) == 4


def test_worker_comes_late(outband):
    outband.worker.stop()
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    time.sleep(1)
    outband.worker = Worker(outband.server, outband.folder.answer)
    wait_for(lambda: outband.relay.mails)
    assert seqs(outband.relay.mails) == [1]


def test_worker_fails_for_now(outband):
    """It is looked at again, without another hint."""
    failed = []

    def answer(job):
        if not failed:
            failed.append(job)
            return [line("FAIL", "no userdb now")]
        return outband.folder.answer(job)

    outband.worker.answer = answer
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails, 25)


def test_profile_looks_at_all_folders(outband):
    """Those that notify, and those that did"""
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", OTHER)
    wait_for(lambda: len(outband.relay.mails) == 1)
    # none notifies any more, and nothing goes to the phone: the second one waits
    outband.relay.replies["MAIL"] = "451 not now"
    outband.expected.append("(it is tried on)")
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", OTHER)
    wait_for(lambda: len(outband.worker.jobs) == 2)
    outband.folder.devices = []
    hint(outband.server, "PROFILE", "joe@example.com")
    wait_for(lambda: len(outband.worker.jobs) == 5)
    time.sleep(0.5)
    assert outband.worker.jobs[2] == ["FOLDERS", "joe@example.com"]
    assert sorted(job[2] for job in outband.worker.jobs[3:]) == [GUID, OTHER]
    del outband.relay.replies["MAIL"]
    time.sleep(2)
    assert seqs(outband.relay.mails) == [1]
    # what begins anew has no state, and the next number
    outband.folder.devices = ["phone"]
    hint(outband.server, "HINT", "joe@example.com", OTHER)
    wait_for(lambda: len(outband.relay.mails) == 3)
    assert outband.worker.jobs[-1] == ["LOOK", "joe@example.com", OTHER]
    assert seqs(outband.relay.mails) == [1, 3, 4]


@pytest.mark.parametrize("outband", [
    {"pimap_outband_retry_min": "1 min", "pimap_outband_retry_max": "1 min"}],
    indirect=True)
def test_folder_that_no_longer_notifies(outband):
    """What waits behind its notifications goes at once."""
    outband.relay.replies["RCPT"] = "451 not now"
    outband.expected.append("(it is tried on)")
    tried = threading.Event()
    outband.relay.before = lambda command, _: command == "RCPT" and tried.set()
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert tried.wait(15)
    hint(outband.server, "HINT", "joe@example.com", OTHER)
    wait_for(lambda: len(outband.worker.jobs) == 2)
    time.sleep(0.3)
    del outband.relay.replies["RCPT"]
    outband.folder.devices = []
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    assert seqs(outband.relay.mails) == [2]


@pytest.mark.parametrize("what", ["HINT", "PROFILE"])
def test_gone(outband, what):
    """With the folder, or the user, goes what is queued."""
    outband.relay.replies["MAIL"] = "451 not now"
    outband.expected.append("(it is tried on)")
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.worker.jobs)
    outband.worker.answer = lambda job: ["GONE\n"]
    hint(outband.server, what, *["joe@example.com"] + [GUID] * (what == "HINT"))
    # it is looked for again
    wait_for(lambda: len(outband.worker.jobs) == 3)
    time.sleep(0.5)
    del outband.relay.replies["MAIL"]
    time.sleep(2)
    assert outband.relay.mails == []


@pytest.mark.parametrize("what", ["HINT", "PROFILE"])
def test_not_found_for_a_moment(outband, what):
    """A folder that is being renamed: nothing that is queued is lost, however often it
    is hinted at."""
    outband.relay.replies["MAIL"] = "451 not now"
    outband.expected.append("(it is tried on)")
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.worker.jobs)
    answer, outband.worker.answer = outband.worker.answer, lambda job: ["GONE\n"]
    for count in range(2, 5):
        hint(outband.server, what, *["joe@example.com"] + [GUID] * (what == "HINT"))
        wait_for(lambda n=count: len(outband.worker.jobs) >= n)
    outband.worker.answer = answer
    del outband.relay.replies["MAIL"]
    wait_for(lambda: len(outband.relay.mails) == 2)
    assert seqs(outband.relay.mails) == [1, 2]


def test_malformed_hints(outband):
    outband.expected.append("Invalid hint: ")
    for fields in (
            ("HINT", "joe@example.com"), ("HINT", "", GUID),
            ("HINT", "joe@example.com", "x"), ("HINT", "joe@example.com", "0" * 32),
            ("PROFILE",), ("LOOK", "joe@example.com", GUID),
            ("HINT", "j\no@example.com", GUID), ("HINT", "j" * 513, GUID),
            ("HINT", "joe@example.com", GUID, "x" * 4001),
            ("HINT", "joe@example.com", GUID, "a\x7f"),
            ("PROFILE", "j" * 100000)):
        # it may be closed while the last one is still being written
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            hint(outband.server, *fields)
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    assert [job[:2] for job in outband.worker.jobs] == [["LOOK", "joe@example.com"]]
    # the last one's connection is closed without a word
    assert len(outband.server.faults()) == 10


def test_notes_go_to_the_next_look(outband):
    """With who says so; and again, until a look has been stored"""
    failed = []

    def answer(job):
        if not failed:
            failed.append(job)
            return None
        return outband.folder.answer(job)

    outband.worker.answer = answer
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID, "phone:1:2:3:4::")
    wait_for(lambda: outband.relay.mails)
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.worker.jobs) == 4)
    notes = [job[job.index("=note") + 1:] for job in outband.worker.jobs if "=note" in job]
    # found, and looked at once more for notes that might have come after that
    assert notes == [["%d:phone:1:2:3:4::" % os.getuid()]] * 3
    assert seqs(outband.relay.mails) == [1]
    # what would be more than a look can be told isn't kept
    outband.worker.answer = lambda job: None
    outband.expected.append("3 workers have died")
    for number in range(30):
        hint(outband.server, "HINT", "joe@example.com", OTHER, "%d:" % number + "x" * 3990)
    wait_for(lambda: outband.server.logs("3 workers have died"))
    assert all(len("\t".join(job)) < 70000 for job in outband.worker.jobs)


def test_odd_names(outband):
    outband.folder.count = 1
    outband.folder.names[GUID] = "a\tb\nc"
    user = "j o\"<&\u00fc@example.com"
    hint(outband.server, "HINT", user, GUID)
    mail, = wait_for(lambda: list(outband.relay.mails))
    assert outband.worker.jobs[0][1] == user
    message = email.message_from_string(mail.text)
    assert message.get_payload(decode=True).decode() == (
        '<emn mailbox="mailat:j o&quot;&lt;&amp;\u00fc@example.com/a&#9;b&#10;c" '
        'timestamp="2004-02-20T06:40:00Z"></emn>')


@pytest.mark.parametrize("outband", [{}, {"conf": "shutdown_clients = no\n"}],
                         ids=["", "clients-stay"], indirect=True)
def test_ends_while_it_sends(outband):
    """Nothing that the relay is to answer is left behind."""
    go_on, asked = threading.Event(), threading.Event()

    def before(command, argument):
        if command == "RCPT":
            asked.set()
            assert go_on.wait(20)
    outband.relay.before = before
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert asked.wait(15)
    pid = wait_for(outband.pid)
    outband.expected.append("Killed with signal 15")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: outband.pid() != pid)
    go_on.set()
    wait_for(lambda: outband.relay.mails)
    assert "leak" not in outband.server.log()


def test_reload(outband):
    """Another process takes over, with what is left."""
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.relay.mails) == 1)
    outband.relay.replies["MAIL"] = "451 not now"
    outband.expected.append("(it is tried on)")
    outband.folder.count = 3
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.worker.jobs) == 2)
    before = outband.pid()
    # it doesn't wait for those who are connected
    client = socket.socket(socket.AF_UNIX)
    client.connect(outband.server.path + "/run/pimap-outband")
    client.sendall(b"VERSION\tpimap-hint\t1\t0\n")
    assert client.recv(100)
    outband.server.reload()
    wait_for(lambda: outband.pid() not in (before, None))
    assert client.recv(100) == b""
    client.close()
    del outband.relay.replies["MAIL"]
    wait_for(lambda: len(outband.relay.mails) == 3)
    assert seqs(outband.relay.mails) == [1, 2, 3]


def test_database_elsewhere():
    folder = tempfile.mkdtemp(prefix="pimap-test.")
    os.chmod(folder, 0o777)
    outband = Outband(pimap_outband_db=folder + "/queue.db")
    try:
        outband.folder.count = 1
        hint(outband.server, "HINT", "joe@example.com", GUID)
        wait_for(lambda: outband.relay.mails)
        with open(folder + "/queue.db", "rb") as database:
            assert database.read(15) == b"SQLite format 3"
        assert os.stat(folder + "/queue.db").st_mode & 0o077 == 0
        # keys are with it, what auth and sessions read isn't
        assert os.path.exists(folder + "/keys")
        assert os.listdir(outband.server.path + "/state/pimap-outband") == ["locks"]
    finally:
        outband.stop()
        shutil.rmtree(folder)


@pytest.mark.parametrize("values", [
    {"pimap_mail_relay": "127.0.0.1:x"}, {"pimap_mail_from": "joe"},
    {"pimap_outband_retry_min": "0"}, {"pimap_outband_expire": "0"},
    {"pimap_outband_db": "queue.db"}, {"pimap_outband_retry_max": "8 days"},
    {"pimap_join_interval": "0"}, {"pimap_join_interval": "61 min"},
    {"pimap_inband_grace": "61 min"}])
def test_settings_that_are_wrong(values):
    server = None
    try:
        server = Server.temporary("maildir", extra=settings(dict(
            {"pimap_mail_relay": "127.0.0.1"}, **values)))
        # 2.3: only the service knows
        name, = values
        assert server.logs(name)
    except subprocess.CalledProcessError:
        assert DOVECOT_24
    finally:
        if server is not None:
            server.stop()


class Locked:
    """The service's database, which another holds while it is in use."""

    def __init__(self, outband):
        self.db = sqlite3.connect(
            outband.server.path + "/state/pimap-outband/outband.sqlite",
            isolation_level=None, check_same_thread=False)

    def __enter__(self):
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, *args):
        self.db.execute("ROLLBACK")
        self.db.close()


def test_database_cannot_be_written(outband):
    """Nothing is sent that isn't numbered, nothing is lost, one line says so."""
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: outband.relay.mails)
    outband.expected.append("database is locked")
    with Locked(outband):
        outband.folder.count = 3
        hint(outband.server, "HINT", "joe@example.com", GUID)
        assert outband.server.logs("database is locked")
        time.sleep(3)
        assert len(outband.relay.mails) == 1
    wait_for(lambda: len(outband.relay.mails) == 3, 30)
    assert len(outband.server.faults()) == 1


def test_done_cannot_be_written(outband):
    """What was sent isn't sent again, as long as the service lives."""
    locked = []

    def before(command, _):
        if command == "END" and not locked:
            locked.append(Locked(outband))
            locked[0].__enter__()

    outband.relay.before = before
    outband.expected.append("database is locked")
    outband.folder.count = 2
    hint(outband.server, "HINT", "joe@example.com", GUID)
    assert outband.server.logs("database is locked")
    time.sleep(1)
    locked[0].__exit__()
    wait_for(lambda: len(outband.relay.mails) == 2, 20)
    assert seqs(outband.relay.mails) == [1, 2]


def test_what_many_have_done_cannot_be_written(outband):
    """What goes on together is written together: all of it again, and none twice."""
    locked, ends = [], []

    def before(command, _):
        if command == "END":
            ends.append(command)
            if len(ends) == 60:
                locked.append(Locked(outband))
                locked[0].__enter__()

    def answer(job):
        lines = [line("FOLDER", job[2], "INBOX"),
                 line("DEVICE", "phone", 1, "MAIL", job[1], "EMN", "done")]
        if len(job) == 3:
            lines += [line("EVENT", "NEW_MESSAGE", uid, 1) for uid in (1, 2, 3)]
        return lines + ["OK\n"]

    outband.worker.answer = answer
    outband.relay.before = before
    outband.expected.append("database is locked")
    users = ["u%d@example.com" % n for n in range(30)]
    for user in users:
        hint(outband.server, "HINT", user, GUID, wait=False)
    assert outband.server.logs("database is locked")
    time.sleep(1)
    locked[0].__exit__()
    wait_for(lambda: len(outband.relay.mails) == 90, 40)
    for user in users:
        assert seqs(mail for mail in outband.relay.mails
                    if mail.recipients == ["TO:<%s>" % user]) == [1, 2, 3]
    time.sleep(0.5)
    assert len(outband.relay.mails) == 90


def test_many_users(outband):
    """More than may be sent at once, and than workers"""
    def answer(job):
        lines = [line("FOLDER", job[2], "INBOX"),
                 line("DEVICE", "phone", 1, "MAIL", job[1], "EMN", "done")]
        if len(job) == 3:
            lines += [line("EVENT", "NEW_MESSAGE", uid, 1) for uid in (1, 2, 3)]
        return lines + ["OK\n"]

    outband.worker.answer = answer
    users = ["u%d@example.com" % n for n in range(100)]
    for user in users:
        hint(outband.server, "HINT", user, GUID, wait=False)
    wait_for(lambda: len(outband.relay.mails) == 300, 60)
    sent = {}
    for mail in outband.relay.mails:
        sent.setdefault(mail.recipients[0].split()[0], []).append(mail)
    assert sorted(sent) == sorted("TO:<%s>" % user for user in users)
    for mails in sent.values():
        assert seqs(mails) == [1, 2, 3]


@pytest.mark.parametrize("dies", ["looking", "stored"])
def test_user_that_is_new_when_it_crashes(outband, dies):
    """Who was told that the service knows of his profile is found by the next one, though
    all hints of his mail are lost with this one."""
    answer = outband.worker.answer
    outband.worker.answer = lambda job: None
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(outband.server.path + "/run/pimap-outband")
        sock.sendall(("VERSION\tpimap-hint\t1\t0\n" +
                      line("PROFILE", "joe@example.com", "WAIT")).encode())
        with sock.makefile() as answers:
            assert answers.readline().startswith("VERSION")
            assert answers.readline() == "OK\n"
    wait_for(lambda: outband.worker.jobs)
    outband.expected.append("worker")
    outband.folder.count = 1
    if dies == "stored":
        # all of it, while nothing is to be told
        outband.folder.count = 0
        outband.worker.answer = answer
        wait_for(lambda: any(job[0] == "LOOK" for job in outband.worker.jobs))
        time.sleep(0.3)
        outband.folder.count = 1
    outband.kill()
    outband.worker.answer = answer
    wait_for(lambda: len(outband.relay.mails) == 1)
    assert seqs(outband.relay.mails) == [1]
