# SPDX-License-Identifier: LGPL-2.1-only
"""R-1.7 for what is queued: after the OK of a change nothing goes out that wasn't judged
by it, and no repeat of what has a number already."""

import os
import signal
import socket
import threading
import time

import pytest

from conftest import settings
from outband_peers import Worker, hint, line, wait_for
from test_notifications import ADDRESS, Site
from test_outband import GUID, Folder, Outband, seqs

USER = "joe@example.com"


class Judged(Folder):
    """UIDs in drop don't pass any more."""

    def __init__(self):
        super().__init__()
        self.drop, self.unknown = set(), set()

    def judge(self, job):
        rows = [(int(generation), int(uid)) for generation, uid in zip(job[4::4], job[6::4])]
        verdicts = "".join("1" if generation == self.generation else
                           "0" if uid in self.drop else "2" if uid in self.unknown else "1"
                           for generation, uid in rows)
        return [line("JUDGED", self.generation, "MAIL", self.address, "EMN", verdicts), "OK\n"]


class Asked:
    """A hint that waits for its answer"""

    def __init__(self, outband, user=USER):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(outband.server.path + "/run/pimap-outband")
        self.start = time.monotonic()
        self.sock.sendall(("VERSION\tpimap-hint\t1\t0\n" +
                           line("PROFILE", user, "WAIT")).encode())
        self.text = b""

    def answered(self, seconds):
        """After how long, None if not in these seconds"""
        while b"\nOK\n" not in self.text:
            self.sock.settimeout(max(0.01, self.start + seconds - time.monotonic()))
            try:
                text = self.sock.recv(100)
            except socket.timeout:
                return None
            assert text, "no answer"
            self.text += text
        assert self.text == b"VERSION\tpimap-hint\t1\t0\nOK\n"
        self.sock.close()
        return time.monotonic() - self.start


@pytest.fixture
def outband(request):
    outband = Outband(**getattr(request, "param", {}))
    outband.folder = Judged()
    outband.worker.judge = lambda job: outband.folder.judge(job)
    yield outband
    faults = [fault for fault in outband.server.faults()
              if not any(text in fault for text in outband.expected)]
    outband.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


def refuse(outband):
    outband.expected.append("(it is tried on)")
    outband.relay.replies["MAIL"] = "451 not now"


def queue(outband, count):
    """So many, of which the first one has a number and is tried on"""
    outband.folder.count += count
    tried = threading.Event()
    outband.relay.before = lambda command, _: command == "MAIL" and tried.set()
    hint(outband.server, "HINT", USER, GUID)
    assert tried.wait(15)
    time.sleep(0.2)
    outband.relay.before = lambda command, _: None


def trace(outband):
    return outband.server.doveadm("pimap", "outband", "trace", "-u", USER, "phone")


def test_what_does_not_pass_is_dropped(outband):
    """Numbered or not: a numbered one leaves a gap. What passes keeps its number."""
    refuse(outband)
    queue(outband, 4)
    outband.folder.generation = 2
    outband.folder.drop = {1, 3}
    assert Asked(outband).answered(2) < 1.5
    outband.relay.replies.clear()
    wait_for(lambda: len(outband.relay.mails) == 2)
    time.sleep(1.5)
    # 1 had a number
    assert seqs(outband.relay.mails) == [2, 3]
    assert [mail.text.count("06:40:01Z") + 2 * mail.text.count("06:40:03Z")
            for mail in outband.relay.mails] == [1, 2]
    assert trace(outband).count("dropped: the filter is another now") == 2
    # all that is queued of the folder, in one job
    assert [job[:4] for job in outband.worker.judged] == [["JUDGE", USER, GUID, "phone"]]
    assert outband.worker.judged[0][4::4] == ["1"] * 4
    assert outband.worker.judged[0][6::4] == ["1", "2", "3", "4"]


def test_what_passes_keeps_number_and_text(outband):
    refuse(outband)
    outband.relay.replies.clear()
    outband.relay.replies["END"] = "451 not now"
    queue(outband, 2)
    outband.folder.generation = 2
    assert Asked(outband).answered(2) < 1.5
    outband.relay.replies.clear()
    wait_for(lambda: len(outband.relay.mails) == 2)
    assert seqs(outband.relay.mails) == [1, 2]


def test_nothing_is_sent_before_it_is_judged(outband):
    """The worker takes its time; the change is answered at once."""
    go_on = threading.Event()
    judge = outband.worker.judge
    outband.worker.judge = lambda job: (go_on.wait(20), judge(job))[1]
    refuse(outband)
    queue(outband, 2)
    outband.folder.generation = 2
    outband.folder.drop = {1, 2}
    assert Asked(outband).answered(2) < 1.5
    outband.relay.replies.clear()
    outband.relay.mails.clear()
    time.sleep(3)
    assert outband.relay.mails == []
    go_on.set()
    wait_for(lambda: trace(outband).count("the filter is another now") == 2)
    assert outband.relay.mails == []


def test_unchanged_profile_needs_no_judgement(outband):
    """What a look finds is judged by that look."""
    for count in range(1, 6):
        outband.folder.count = count
        hint(outband.server, "HINT", USER, GUID)
        wait_for(lambda count=count: len(outband.relay.mails) == count)
    assert outband.worker.judged == []


def test_look_that_is_older_than_the_change(outband):
    """What it has read of the profile isn't what is in force when it is committed."""
    began, go_on = threading.Event(), threading.Event()
    answer = outband.worker.answer

    def slow(job):
        lines = answer(job)
        if job[0] == "LOOK" and not began.is_set():
            began.set()
            go_on.wait(20)
        return lines
    outband.worker.answer = slow
    outband.folder.count = 2
    hint(outband.server, "HINT", USER, GUID)
    assert began.wait(15)
    outband.folder.generation = 2
    outband.folder.drop = {1, 2}
    assert Asked(outband).answered(2) < 0.5
    go_on.set()
    wait_for(lambda: trace(outband).count("the filter is another now") == 2)
    assert outband.relay.mails == []


def test_service_asks_before_it_sends(outband):
    """The one that takes over doesn't know what has changed before."""
    refuse(outband)
    queue(outband, 2)
    outband.folder.generation = 2
    outband.folder.drop = {1}
    gate = threading.Event()
    answer, judge = outband.worker.answer, outband.worker.judge
    outband.worker.answer = lambda job: (gate.wait(20), answer(job))[1]
    outband.worker.judge = lambda job: (gate.wait(20), judge(job))[1]
    outband.relay.replies.clear()
    outband.kill()
    wait_for(lambda: outband.worker.judged)
    time.sleep(2.5)
    assert outband.relay.mails == []
    gate.set()
    wait_for(lambda: outband.relay.mails)
    assert seqs(outband.relay.mails) == [2]


@pytest.mark.parametrize("moment", ["asked", "answered"])
def test_killed_while_it_judges(outband, moment):
    killed = []
    judge = outband.worker.judge

    def die(job):
        if not killed:
            killed.append(job)
            if moment == "asked":
                outband.kill()
        elif len(killed) == 1 and moment == "answered":
            killed.append(job)
            threading.Timer(0.005, outband.kill).start()
        return judge(job)
    refuse(outband)
    queue(outband, 4)
    outband.worker.judge = die
    outband.folder.generation = 2
    outband.folder.drop = {1, 2}
    Asked(outband)
    if moment == "answered":
        wait_for(lambda: killed)
        outband.folder.generation = 3
        Asked(outband)
    outband.relay.replies.clear()
    wait_for(lambda: len(set(seqs(outband.relay.mails))) >= 2, 30)
    time.sleep(1)
    # one that was just taken when the service was killed comes again
    assert list(dict.fromkeys(seqs(outband.relay.mails))) == [2, 3]
    assert killed


def test_what_is_being_sent_is_waited_for(outband):
    """A peer that answers late holds the command up for a second at most."""
    go_on = threading.Event()
    outband.relay.before = lambda command, _: command == "END" and go_on.wait(20)
    outband.folder.count = 2
    hint(outband.server, "HINT", USER, GUID)
    wait_for(lambda: outband.worker.jobs)
    time.sleep(0.5)
    asked = Asked(outband)
    assert 0.9 <= asked.answered(5) < 1.9
    asked = Asked(outband)
    assert asked.answered(0.4) is None
    go_on.set()
    assert asked.answered(5) < 0.9
    wait_for(lambda: len(outband.relay.mails) == 2)


def test_changes_without_end_hold_nothing_back(outband):
    """R-14.5: whoever may connect can say that a profile has changed."""
    refuse(outband)
    queue(outband, 3)
    stop = threading.Event()

    def flood():
        while not stop.is_set():
            for fields in ((), ("WAIT",), ("5",), ("99999999999999999999",)):
                hint(outband.server, "PROFILE", USER, *fields, wait=False)
            time.sleep(0.001)
    # no look tells what the profile is before it is changed again
    answer, judge = outband.worker.answer, outband.worker.judge
    outband.worker.answer = lambda job: (time.sleep(0.3), answer(job))[1]
    outband.worker.judge = lambda job: (time.sleep(0.2), judge(job))[1]
    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        time.sleep(0.5)
        outband.relay.replies.clear()
        wait_for(lambda: len(outband.relay.mails) == 3, 30)
        assert len(outband.worker.judged) > 2
    finally:
        stop.set()
        flooding.join()
    assert seqs(outband.relay.mails) == [1, 2, 3]


def test_judgement_fails_for_now(outband):
    refuse(outband)
    queue(outband, 1)
    failed = []
    judge = outband.worker.judge

    def fail(job):
        if len(failed) < 3:
            failed.append(job)
            return [["FAIL\tnot now\n"], None, [line("JUDGED", 2, "MAIL", "a", "EMN", "11"),
                                               "OK\n"]][len(failed) - 1]
        return judge(job)
    outband.expected.append("A worker sent an invalid answer")
    outband.worker.judge = fail
    outband.folder.generation = 2
    outband.folder.drop = {1}
    Asked(outband).answered(2)
    outband.relay.replies.clear()
    wait_for(lambda: "the filter is another now" in trace(outband), 20)
    assert outband.relay.mails == [] and len(failed) == 3


@pytest.mark.parametrize("how", ["unknown", "dies"])
def test_cannot_be_judged(outband, how):
    """R-1.10: after three tries it becomes a SYNC; a number keeps its content, and leaves
    a gap. What is behind it is judged."""
    refuse(outband)
    queue(outband, 3)
    judge = outband.worker.judge

    def answer(job):
        if "1" in job[6::4]:
            if how == "dies":
                return None
        return judge(job)
    outband.folder.generation = 2
    outband.folder.unknown, outband.folder.drop = {1}, {2}
    outband.worker.judge = answer
    Asked(outband).answered(2)
    outband.relay.replies.clear()
    wait_for(lambda: len(outband.relay.mails) == 2, 30)
    assert seqs(outband.relay.mails) == [2, 3]
    text = trace(outband)
    assert "dropped: it can't be judged anew, a SYNC is sent in its place" in text
    assert text.count("dropped: the filter is another now") == 1
    judged = [job[6::4] for job in outband.worker.judged]
    assert len([uids for uids in judged if "1" in uids]) == 3 and [] in judged


def test_device_is_not_told_any_more(outband):
    refuse(outband)
    queue(outband, 3)
    outband.folder.generation = 2
    outband.worker.judge = lambda job: [line("JUDGED", 2), "OK\n"]
    Asked(outband).answered(2)
    outband.relay.replies.clear()
    wait_for(lambda: trace(outband).count("the filter is another now") == 3)
    assert outband.relay.mails == []


def test_folder_is_gone(outband):
    refuse(outband)
    queue(outband, 3)
    outband.folder.generation = 2
    outband.worker.judge = lambda job: ["GONE\n"]
    Asked(outband).answered(2)
    outband.relay.replies.clear()
    wait_for(lambda: trace(outband).count("done") >= 3)
    assert outband.relay.mails == []


def test_folder_is_not_found_for_a_moment(outband):
    """It is being renamed."""
    refuse(outband)
    queue(outband, 3)
    outband.folder.generation = 2
    judge = outband.worker.judge

    def not_found(job):
        outband.worker.judge = judge
        return ["GONE\n"]
    outband.worker.judge = not_found
    Asked(outband).answered(2)
    outband.relay.replies.clear()
    wait_for(lambda: len(outband.relay.mails) == 3)
    assert seqs(outband.relay.mails) == [1, 2, 3]


def test_profile_that_went_back(outband):
    """A restored one has a lower generation than the registry knows."""
    refuse(outband)
    outband.folder.generation = 9
    queue(outband, 2)
    outband.folder.generation = 4
    Asked(outband).answered(2)
    outband.relay.replies.clear()
    wait_for(lambda: len(outband.relay.mails) == 2)
    assert seqs(outband.relay.mails) == [1, 2]


def test_address_is_another(outband):
    """What was queued before goes to where the device is now."""
    refuse(outband)
    queue(outband, 2)
    outband.folder.generation, outband.folder.address = 2, "new@example.com"
    Asked(outband).answered(2)
    outband.relay.replies.clear()
    wait_for(lambda: len(outband.relay.mails) == 2)
    assert all("new@example.com" in mail.recipients[0] for mail in outband.relay.mails)


# with all parts in place


class Filtered(Site):
    def queue(self, *subjects):
        """They are queued, and the first one is tried on under a number."""
        before = self.queued()
        self.relay.replies["MAIL"] = "451 not now"
        for subject in subjects:
            self.deliver("joe", subject)
        wait_for(lambda: self.queued() == before + len(subjects))
        wait_for(lambda: "451" in self.list())
        assert self.relay.mails == []

    def list(self):
        return self.server.doveadm("-f", "tab", "pimap", "outband", "list")

    def queued(self):
        return len(self.list().splitlines()) - 1

    def only(self, *numbers):
        """Just these are sent now."""
        self.relay.replies.clear()
        wait_for(lambda: self.queued() == 0, 30)
        time.sleep(0.5)
        assert self.told() == list(numbers)


@pytest.fixture(params=["maildir", "mdbox"])
def site(request):
    site = Filtered(request.param)
    yield site
    faults = [line for line in site.server.faults() if "(it is tried on)" not in line]
    site.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


@pytest.mark.parametrize("by", ["phone", "doveadm"])
def test_filter_is_changed_while_queued(site, by):
    phone = site.device("joe", "SUBJECT yes")
    site.queue(b"yes", b"yes loud", b"yes")
    if by == "phone":
        phone.ok("XFILTER SET N-P1 NIL (SUBJECT loud)")
    else:
        site.server.doveadm("pimap", "filter", "set", "-u", "joe", "N-P1", "SUBJECT loud")
    # the second one gets the next number
    site.only(2)
    site.deliver("joe", b"yes")
    site.deliver("joe", b"loud")
    wait_for(lambda: len(site.told()) == 2)
    assert site.told() == [2, 3]
    assert "dropped: the filter is another now" in site.server.doveadm(
        "pimap", "outband", "trace", "-u", "joe", "P1")


@pytest.mark.parametrize("change", [
    "XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE", "XSETPIMAPPREF PIMAP_EVENT_FILTER NONE",
    "XSETPIMAPPREF PIMAP_XFILTER (ALL N NONE)", "XSETPIMAPPREF PIMAP_XFILTER (ALL V NONE)"])
def test_what_switches_it_off(site, change):
    phone = site.device("joe")
    site.queue(b"yes", b"yes")
    phone.ok(change)
    site.only()


def test_off_and_on_again_while_the_peer_is_down(site):
    """It begins anew: what was queued is of before."""
    phone = site.device("joe")
    site.queue(b"yes", b"yes")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N NONE)")
    site.deliver("joe", b"yes, that nobody is told of")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N N-P1)")
    site.deliver("joe", b"yes, new")
    site.only(2)


@pytest.mark.expects_faults
def test_off_and_on_again_while_the_service_is_down(site):
    phone = site.device("joe")
    site.queue(b"yes", b"yes")
    stopped = list(site.pids("pimap-outband"))
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        for filter in "NONE", "N-P1":
            result = phone.command("XSETPIMAPPREF PIMAP_XFILTER (ALL N %s)" % filter)
            assert (result.status, result.text[:13]) == ("NO", "[UNAVAILABLE]")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
    site.deliver("joe", b"yes, new")
    site.relay.replies.clear()
    wait_for(lambda: site.told(), 60)
    site.only(2)


@pytest.mark.expects_faults
def test_service_that_is_stopped(site):
    """It answers NO after 2 s, the change stands, and holds as soon as the service goes
    on; what is sent is judged by it."""
    phone = site.device("joe", "SUBJECT yes")
    site.queue(b"yes", b"yes loud")
    stopped = list(site.pids("pimap-outband"))
    assert stopped
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        result = phone.command("XFILTER SET N-P1 NIL (SUBJECT loud)")
        assert result.status == "NO" and result.text.startswith("[UNAVAILABLE] ")
        assert 1.9 < time.monotonic() - start < 4
        assert "(SUBJECT loud)" in phone.ok("XFILTER GET N-P1 (CRITERIA)").untagged[0].line
        assert "repeat" in site.server.doveadm(
            "pimap", "filter", "set", "-u", "joe", "N-P1", "SUBJECT loud", fails=True)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    phone.ok("XFILTER SET N-P1 NIL (SUBJECT loud)")
    site.only(2)


def test_deletions_while_queued(site):
    """A message that is gone passes no filter; its deletion does, as long as the device is
    told of such."""
    phone = site.device("joe", "SUBJECT yes")
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
    site.deliver("joe", b"yes")
    wait_for(lambda: site.told() == [1])
    site.relay.mails.clear()
    site.queue(b"yes")
    site.server.doveadm("expunge", "-u", "joe", "mailbox", "INBOX", "all")
    wait_for(lambda: site.queued() == 3)
    phone.ok("XFILTER SET N-P1 NIL (SUBJECT ye)")
    # a gap at 2
    site.only(3, 4)
    assert [mail.text.split(" DELETED_MESSAGE ")[1].split()[0] for mail in site.relay.mails] == \
        ["1", "2"]
    site.deliver("joe", b"yes")
    wait_for(lambda: len(site.told()) == 3)
    site.relay.mails.clear()
    site.relay.replies["MAIL"] = "451 not now"
    site.server.doveadm("expunge", "-u", "joe", "mailbox", "INBOX", "all")
    wait_for(lambda: site.queued() == 1)
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER NEW")
    site.only()
