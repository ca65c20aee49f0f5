# SPDX-License-Identifier: LGPL-2.1-only
"""Many notifications in a short time are joined (R-13.5), and there is a limit to how
many go out in an hour (R-14.5)."""

import re
import sqlite3
import time

import pytest

from outband_peers import hint, line, wait_for
from test_notifications import MESSAGE, Site
from test_outband import GUID, OTHER, Outband, seqs

USER = "joe@example.com"
JOIN = {"pimap_join_count": "3", "pimap_join_interval": "5 s"}


class Folders:
    """What the worker finds: of each device and folder the events, by name"""

    def __init__(self):
        self.events, self.format, self.generation = {}, "EXTENDED", 1

    def add(self, outband, *names, device="phone", guid=GUID, user=USER):
        self.events.setdefault((user, guid, device), []).extend(names)
        hint(outband.server, "HINT", user, guid)

    def answer(self, job):
        if job[0] == "FOLDERS":
            return [line("FOLDER", guid, "x") for _, guid, _ in self.events] + ["OK\n"]
        states = dict(zip(job[3::2], job[4::2]))
        lines = [line("FOLDER", job[2], "INBOX" if job[2] == GUID else "Work")]
        for (user, guid, device), names in self.events.items():
            if (user, guid) != (job[1], job[2]):
                continue
            lines.append(line("DEVICE", device, self.generation, "MAIL",
                              "%s@example.com" % device, self.format, len(names)))
            for uid in range(int(states.get(device, 0)), len(names)):
                lines.append(line("EVENT", names[uid], uid + 1, 1077259200 + uid))
        return lines + ["OK\n"]

    def judge(self, job):
        return [line("JUDGED", self.generation, "MAIL", "%s@example.com" % job[3], self.format,
                     "1" * (len(job[4:]) // 4)), "OK\n"]


@pytest.fixture
def outband(request):
    outband = Outband(**getattr(request, "param", JOIN))
    outband.folder = Folders()
    outband.worker.judge = lambda job: outband.folder.judge(job)
    yield outband
    faults = [fault for fault in outband.server.faults()
              if not any(text in fault for text in outband.expected)]
    outband.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


def told(outband, device="phone"):
    """What that device is: number, account, event, UID"""
    found = []
    for mail in outband.relay.mails:
        if device + "@" in mail.recipients[0]:
            seq, account, event, rest = re.search(
                r"_%\$P-IMAP\$%_ (\d+) (\S+) (\w+)(.*)", mail.text).groups()
            found.append((int(seq), account, event, int((rest.split() + ["0"])[0])))
    return found


def trace(outband, device="phone"):
    return outband.server.doveadm("pimap", "outband", "trace", "-u", USER, device)


def new(*numbers, account=USER):
    return [(seq, account, "NEW_MESSAGE", uid) for seq, uid in numbers]


def test_the_rest_of_the_interval_is_one(outband):
    start = time.monotonic()
    outband.folder.add(outband, *["NEW_MESSAGE"] * 6)
    wait_for(lambda: len(told(outband)) == 3)
    assert time.monotonic() - start < 3
    for _ in range(3):
        time.sleep(0.5)
        outband.folder.add(outband, "NEW_MESSAGE")
    assert told(outband) == new((1, 1), (2, 2), (3, 3))
    wait_for(lambda: len(told(outband)) == 4)
    # whole seconds
    assert 3.5 < time.monotonic() - start < 7.5
    time.sleep(1)
    assert told(outband)[3:] == [(4, USER, "SYNC", 0)]
    text = trace(outband)
    assert text.count("SYNC, in the place of 6") == 1
    assert len(re.findall(r"done +joined into \d+", text)) == 5
    # it is the first of the next interval
    outband.folder.add(outband, *["NEW_MESSAGE"] * 3)
    wait_for(lambda: len(told(outband)) == 6)
    assert told(outband)[4:] == new((5, 10), (6, 11))
    wait_for(lambda: len(told(outband)) == 7)
    # one alone isn't joined
    assert told(outband)[6:] == new((7, 12))


def test_few_at_a_time_are_not_joined(outband):
    for count in range(1, 6):
        outband.folder.add(outband, "NEW_MESSAGE")
        wait_for(lambda count=count: len(told(outband)) == count)
        time.sleep(2.1)
    assert told(outband) == new(*((n, n) for n in range(1, 6)))


def test_devices_are_joined_alone(outband):
    outband.folder.add(outband, *["NEW_MESSAGE"] * 5, device="other")
    outband.folder.add(outband, *["NEW_MESSAGE"] * 2)
    wait_for(lambda: len(told(outband, "other")) == 3 and len(told(outband)) == 2)
    wait_for(lambda: len(told(outband, "other")) == 4)
    assert told(outband, "other")[3:] == [(4, USER, "SYNC", 0)]


@pytest.mark.parametrize("events,expected", [
    ([(GUID, "NEW_MESSAGE"), (OTHER, "NEW_MESSAGE")], (4, USER, "FULL_SYNC", 0)),
    ([(OTHER, "NEW_MESSAGE"), (OTHER, "SYNC")], (4, USER + "/Work", "SYNC", 0)),
    ([(GUID, "NEW_MESSAGE"), (OTHER, "STATE_COMPARISON_SYNC")],
     (4, USER, "STATE_COMPARISON_SYNC", 0)),
    ([(OTHER, "STATE_COMPARISON_SYNC"), (OTHER, "DELETED_MESSAGE")],
     (4, USER + "/Work", "STATE_COMPARISON_SYNC", 0)),
    ([(GUID, "FULL_SYNC"), (GUID, "NEW_MESSAGE")], (4, USER, "FULL_SYNC", 0)),
], ids=["several", "folder", "went back elsewhere", "went back", "full"])
def test_what_they_become(outband, events, expected):
    outband.folder.add(outband, *["NEW_MESSAGE"] * 3)
    wait_for(lambda: len(told(outband)) == 3)
    for guid, name in events:
        outband.folder.add(outband, name, guid=guid)
    wait_for(lambda: len(told(outband)) == 4)
    assert told(outband)[3] == expected
    time.sleep(0.5)
    assert len(told(outband)) == 4


def test_joined_as_emn(outband):
    outband.folder.format = "EMN"
    outband.folder.add(outband, *["NEW_MESSAGE"] * 6)
    now = time.time()
    wait_for(lambda: len(outband.relay.mails) == 4)
    time.sleep(0.5)
    assert seqs(outband.relay.mails) == [1, 2, 3, 4]
    stamp = re.search('<emn mailbox="mailat:%s" timestamp="(.*)"></emn>' % USER,
                      outband.relay.mails[3].text).group(1)
    assert -2 <= time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - now < 9


def test_urgent_ones_do_not_wait(outband):
    """LOCK_DOWN and NEW_ENC_KEY go out of turn, aren't counted and stay what they are; those
    that wait keep their order."""
    outband.folder.add(outband, *["NEW_MESSAGE"] * 5)
    wait_for(lambda: len(told(outband)) == 3)
    db = sqlite3.connect(outband.server.path + "/state/pimap-outband/outband.sqlite",
                         isolation_level=None)
    for event in "NEW_ENC_KEY", "LOCK_DOWN":
        db.execute("INSERT INTO queue (username, device, guid, folder, event, uid, time, fields,"
                   " created) VALUES (?, 'phone', '', 'INBOX', ?, 0, 1, '', ?)",
                   (USER, event, int(time.time())))
    db.close()
    outband.folder.add(outband, "NEW_MESSAGE")
    wait_for(lambda: len(told(outband)) == 5, 3)
    assert [event for _, _, event, _ in told(outband)[3:]] == ["NEW_ENC_KEY", "LOCK_DOWN"]
    wait_for(lambda: len(told(outband)) == 6)
    time.sleep(0.5)
    assert told(outband)[5:] == [(6, USER, "SYNC", 0)]
    assert outband.worker.judged == []


def test_a_numbered_one_is_not_joined(outband):
    outband.folder.add(outband, *["NEW_MESSAGE"] * 2)
    wait_for(lambda: len(told(outband)) == 2)
    outband.expected.append("(it is tried on)")
    outband.relay.replies["END"] = "451 not now"
    outband.folder.add(outband, *["NEW_MESSAGE"] * 3)
    wait_for(lambda: "numbered" in trace(outband).partition("NEW_MESSAGE 3 in")[2])
    time.sleep(6)
    outband.relay.replies.clear()
    wait_for(lambda: len(told(outband)) == 4)
    time.sleep(0.5)
    assert told(outband)[2:] == new((3, 3)) + [(4, USER, "SYNC", 0)]


def test_after_a_crash(outband):
    """What went out before counts, and what waited is joined."""
    outband.folder.add(outband, *["NEW_MESSAGE"] * 5)
    wait_for(lambda: len(told(outband)) == 3)
    time.sleep(0.3)
    outband.kill()
    outband.folder.add(outband, "NEW_MESSAGE")
    wait_for(lambda: outband.pid())
    wait_for(lambda: len(told(outband)) == 4)
    time.sleep(1)
    assert told(outband)[3:] == [(4, USER, "SYNC", 0)]


def test_joined_is_judged_first(outband):
    """By the filter that there is when they are joined, in all folders (R-1.7)"""
    outband.folder.add(outband, *["NEW_MESSAGE"] * 3)
    wait_for(lambda: len(told(outband)) == 3)
    outband.folder.add(outband, *["NEW_MESSAGE"] * 150)
    outband.folder.add(outband, *["NEW_MESSAGE"] * 2, guid=OTHER)
    wait_for(lambda: "152" in outband.server.doveadm("pimap", "outband", "status"))
    outband.folder.generation = 2

    def judge(job):
        rows = list(zip(job[4::4], job[6::4]))
        return [line("JUDGED", 2, "MAIL", "phone@example.com", "EXTENDED", "".join(
            "1" if job[2] == GUID and uid in ("150", "153") else "0"
            for generation, uid in rows)), "OK\n"]
    outband.worker.judge = judge
    hint(outband.server, "PROFILE", USER, "WAIT")
    wait_for(lambda: len(told(outband)) == 4)
    time.sleep(0.5)
    assert told(outband)[3:] == [(4, USER, "SYNC", 0)]
    assert "the filter is another now" in trace(outband)


@pytest.mark.parametrize("outband", [{"pimap_join_count": "0"}], indirect=True)
def test_switched_off(outband):
    outband.folder.add(outband, *["NEW_MESSAGE"] * 20)
    wait_for(lambda: len(told(outband)) == 20)
    assert told(outband) == new(*((n, n) for n in range(1, 21)))


def shift_windows(outband, secs):
    """As if that had been so long ago"""
    db = sqlite3.connect(outband.server.path + "/state/pimap-outband/outband.sqlite",
                         isolation_level=None)
    db.execute("UPDATE devices SET join_start = join_start - ?1, hour_start = hour_start - ?1",
               (secs,))
    db.execute("UPDATE windows SET start = start - ?1", (secs,))
    db.execute("UPDATE queue SET created = created - ?1", (secs,))
    db.close()


@pytest.mark.parametrize("outband,limit", [
    ({"pimap_limit_device": "4"}, "joe@example.com#phone: 4 notifications in an hour "
                                  "(pimap_limit_device)"),
    ({"pimap_limit_user": "4"}, "joe@example.com: 4 notifications in an hour (pimap_limit_user)"),
    ({"pimap_limit_mail": "4"}, "MAIL: 4 notifications in an hour (pimap_limit_mail)")],
    indirect=["outband"], ids=["device", "user", "channel"])
def test_limit_of_an_hour(outband, limit):
    """Those over it become one at its end; the log says so once, also after a restart."""
    outband.expected.append(limit + ": the others are joined at its end")
    outband.folder.add(outband, *["NEW_MESSAGE"] * 3)
    outband.folder.add(outband, "NEW_MESSAGE", device="other")
    wait_for(lambda: len(told(outband)) == 3 and len(told(outband, "other")) == 1)
    outband.folder.add(outband, *["NEW_MESSAGE"] * 2)
    outband.folder.add(outband, *["NEW_MESSAGE"] * 2, device="other")
    time.sleep(3)
    alone = "_device" in limit
    if alone:
        wait_for(lambda: len(told(outband)) == 4 and len(told(outband, "other")) == 3)
    else:
        assert len(told(outband)) == 3 and len(told(outband, "other")) == 1
    outband.folder.add(outband, *["NEW_MESSAGE"] * 2)
    time.sleep(1.5)
    before = told(outband)
    assert outband.server.log().count(limit) == 1
    outband.kill()
    time.sleep(2)
    assert told(outband) == before
    outband.folder.add(outband, "NEW_MESSAGE", user="ann@example.com", device="ann")
    if "_mail" not in limit:
        wait_for(lambda: told(outband, "ann"))
    wait_for(lambda: outband.server.log().count(limit) == 2)
    shift_windows(outband, 3600)
    wait_for(lambda: len(told(outband)) == len(before) + 1, 20)
    time.sleep(0.5)
    assert told(outband)[len(before):] == [(len(before) + 1, USER, "SYNC", 0)]
    if not alone:
        wait_for(lambda: len(told(outband, "other")) == 2)
    if "_mail" in limit:
        wait_for(lambda: told(outband, "ann"))


@pytest.mark.parametrize("outband", [{"pimap_limit_device": "2", "pimap_limit_user": "0"}],
                         indirect=True)
def test_a_test_says_that_it_waits(outband):
    outband.expected.append("(pimap_limit_device)")
    outband.folder.add(outband, *["NEW_MESSAGE"] * 2)
    wait_for(lambda: len(told(outband)) == 2)
    text = outband.server.doveadm("pimap", "outband", "test", "-u", USER, "phone", fails=True)
    assert "There were too many notifications" in text


def test_with_all_parts(user):
    """A flood of deliveries is few notifications, and is told whole."""
    site = Site("maildir", pimap_join_count="5", pimap_join_interval="3 s")
    try:
        phone = site.device("joe", "ALL")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
        for _ in range(40):
            site.deliver("joe", b"x")
        wait_for(lambda: "queued 0" in " ".join(site.server.doveadm(
            "pimap", "outband", "status").split()), 30)
        events = [re.search(r"_%\$P-IMAP\$%_ \d+ \S+ (\w+)", mail.text).group(1)
                  for mail in site.relay.mails]
        assert events[:5] == ["NEW_MESSAGE"] * 5 and events[-1] in ("SYNC", "NEW_MESSAGE")
        assert "SYNC" in events and len(events) < 35
        assert site.told() == list(range(1, len(events) + 1))
        assert MESSAGE and site.server.faults() == []
    finally:
        site.stop()
