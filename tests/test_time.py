# SPDX-License-Identifier: LGPL-2.1-only
"""R-6.2, R-6.3: what time alone changes. The clock of the imap processes is one
that the tests move (moving-clock.c)."""

import datetime
import os
import shutil
import struct
import subprocess
import tempfile
import time
import zoneinfo

import pytest

from conftest import DOVECOT_24, HERE, HIBERNATION, Server, settings
from test_device import device
from test_doveadm import PASSWD_AUTH

UTC = datetime.timezone.utc
# zone: a time in the last minutes of a day in it
DAYS = {
    # UTC+14, UTC-11
    "Pacific/Kiritimati": "2025-11-25 09:50:00",
    "Pacific/Pago_Pago": "2025-11-25 10:50:00",
    # the end of a day of 23 hours, and of one of 25
    "Europe/Berlin": "2025-03-30 21:50:00",
    "America/New_York": "2025-11-03 04:50:00",
    # the next day begins at 1 o'clock
    "America/Havana": "2025-03-09 04:50:00",
}
NOON = "2025-11-20 12:00:00"
YEARS_BACK = "BEFORE 1-Jan-2025"


def seconds(text):
    date = datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    return int(date.replace(tzinfo=UTC).timestamp())


def imap_date(when):
    """With a zone that isn't the user's"""
    zone = datetime.timezone(datetime.timedelta(hours=-3))
    return datetime.datetime.fromtimestamp(when, zone).strftime("%d-%b-%Y %H:%M:%S %z")


def day_begin(zone, when, days=0):
    """When the day began that is so many days after that of a time, found by
    looking at each minute"""
    zone = zoneinfo.ZoneInfo(zone)
    local = lambda at: datetime.datetime.fromtimestamp(at, zone).date()
    date = local(when) + datetime.timedelta(days=days)
    begin = when // 60 * 60 + (days - 2) * 86400
    while local(begin) < date:
        begin += 60
    return begin


class Clock:
    def __init__(self, folder):
        self.path = folder + "/ahead"
        self.library = folder + "/moving-clock.so"
        self.wrapper = folder + "/imap"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", self.library,
                        HERE + "/moving-clock.c"], check=True)
        self.write(0)
        with open(self.wrapper, "w") as wrapper:
            wrapper.write("#!/bin/sh\nMOVING_CLOCK=%s LD_PRELOAD=%s exec "
                          "/usr/lib/dovecot/imap \"$@\"\n" % (self.path, self.library))
        os.chmod(self.wrapper, 0o755)

    def write(self, ahead):
        self.ahead = ahead
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as file:
            file.write(struct.pack("q", ahead))

    def now(self):
        return datetime.datetime.now().timestamp() + self.ahead

    def set(self, when):
        """For sessions that begin afterwards"""
        self.write(int(when - datetime.datetime.now().timestamp()))

    def move(self, when):
        """Those under way see it at their next wait, before anything else."""
        assert when > self.now()
        self.write(self.ahead + int(when - self.now() + 0.999))


@pytest.fixture(scope="module")
def timed():
    """A server with a clock, as server.clock. Users berlin0 to berlin3 have the
    zone Europe/Berlin, and so on."""
    folder = tempfile.mkdtemp(prefix="pimap-clock.")
    os.chmod(folder, 0o755)
    clock = Clock(folder)
    passwd = folder + "/passwd"
    with open(passwd, "w") as file:
        for zone in list(DAYS) + ["UTC"]:
            for number in range(4):
                file.write("%s%d:{PLAIN}pass::::::userdb_pimap_timezone=%s\n" % (
                    user_of(zone), number, zone))
        file.write("nowhere:{PLAIN}pass::::::userdb_pimap_timezone=Europe/Nowhere\n")
    server = Server.temporary("mdbox", auth=PASSWD_AUTH.format(passwd), extra=HIBERNATION + """
imap_hibernate_timeout = 5s
service imap {
  executable = %s
}
""" % clock.wrapper + settings({
        "pimap_timezone": "Asia/Kathmandu", "pimap_view_late": "bye"}))
    server.clock = clock
    yield server
    server.stop()
    shutil.rmtree(folder)


def user_of(zone):
    return zone.split("/")[-1].lower().replace("_", "")


def faults(server):
    """But for what files' times make of the clock"""
    return [line for line in server.faults()
            if "dotlock file's timestamp is different" not in line]


@pytest.fixture(autouse=True)
def no_faults_in_time(request, timed):
    before = len(faults(timed))
    yield
    timed.close_clients()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults(timed)[before:] == []


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def append(client, folder, times):
    """Messages with these INTERNALDATEs; their UIDs are 1, 2 and so on."""
    for when in times:
        client.ok('APPEND %s "%s" {2+}\r\nx\n' % (folder, imap_date(when)))


@pytest.mark.parametrize("zone", sorted(DAYS))
def test_days_of_a_zone_end_in_idle(timed, zone):
    now = seconds(DAYS[zone])
    midnight = day_begin(zone, now, 1)
    today, yesterday, before = (day_begin(zone, now, -n) for n in range(3))
    assert 0 < midnight - now <= 600
    timed.clock.set(now)
    user = user_of(zone) + "0"
    plain = timed.client(user)
    append(plain, "INBOX", [before, yesterday - 1, yesterday, today - 1, today, now])
    phone = device(timed, user, "DAYSBEFORETODAY 0")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [5, 6]
    other = timed.client(user + "#P2")
    other.ok("XFILTER SET F2 NIL (OR DAYSBEFORETODAY 1 %s)" % YEARS_BACK)
    other.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V F2)")
    other.ok("SELECT INBOX")
    assert other.fetch_all() == [3, 4, 5, 6]
    phone.idle()
    other.idle()
    # nothing before its time
    timed.clock.move(midnight - 1)
    assert not [r for r in phone.done().untagged if "OK Still" not in r.line]
    phone.ok("NOOP")
    assert phone.uids == [5, 6]
    phone.idle()
    timed.clock.move(midnight)
    phone.wait("EXPUNGE")
    other.wait("EXPUNGE")
    # the second of that day, and today's mail
    append(plain, "INBOX", [midnight - 1, midnight])
    phone.wait("1 EXISTS")
    assert phone.done().lines("* RESYNC") == []
    assert other.done().lines("* RESYNC") == []
    assert phone.fetch_all() == [8]
    assert other.fetch_all() == [5, 6, 7, 8]
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [8]


def test_days_end_between_commands(timed):
    zone = "Europe/Berlin"
    now = seconds(DAYS[zone])
    midnight = day_begin(zone, now, 1)
    timed.clock.set(now)
    plain = timed.client("berlin1")
    plain.ok("CREATE Work")
    for folder in ("INBOX", "Work"):
        append(plain, folder, [now - 86400, now - 60, now, midnight + 100])
    phone = device(timed, "berlin1", "DAYSBEFORETODAY 0", "ALL")
    # what a session leaves for the next ones isn't final
    phone.ok("SELECT Work")
    phone.ok("CLOSE")
    assert phone.status("Work", "MESSAGES") == {"MESSAGES": 3}
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [2, 3, 4]
    timed.clock.move(midnight)
    # not where RFC 3501 forbids it
    assert phone.ok("FETCH 1:* (UID)").lines("* 3 FETCH")
    assert phone.ok("STORE 3 +FLAGS ($x)").lines("* 3 FETCH")
    # its process may take a moment to notice what the clock says
    told, until = [], time.monotonic() + 10
    while len(told) < 2 and time.monotonic() < until:
        told += [line for line in phone.ok("NOOP").lines("* ") if "EXPUNGE" in line]
    assert told == ["* 2 EXPUNGE", "* 1 EXPUNGE"]
    assert phone.fetch_all() == [4]
    assert phone.status("Work", "MESSAGES") == {"MESSAGES": 1}
    phone.ok("SELECT Work")
    assert phone.fetch_all() == [4]
    plain.ok("SELECT INBOX")
    assert plain.fetch_all() == [1, 2, 3, 4]


DAY = 86400


@pytest.mark.parametrize("criteria,matches", [
    ("DAYSBEFORETODAY 1", lambda age, days: days <= 1),
    ("NOT DAYSBEFORETODAY 1", lambda age, days: days > 1),
    ("NOT NOT DAYSBEFORETODAY 0", lambda age, days: days <= 0),
    ("OR DAYSBEFORETODAY 0 NOT DAYSBEFORETODAY 2", lambda age, days: days < 1 or days > 2),
    ("OLDER 90000 NOT OLDER 200000", lambda age, days: 90000 <= age < 200000),
    ("NOT (OR OLDER 100000 NOT YOUNGER 100000)", lambda age, days: age < 100000),
    ("DAYSBEFORETODAY 2 UNFLAGGED", lambda age, days: days <= 2),
])
def test_what_is_kept_for_later_sessions(timed, criteria, matches):
    """Time goes on between sessions, and back, too."""
    start = seconds(NOON)
    timed.clock.set(start)
    user = "pagopago%d" % (2 + (criteria[0] == "N"))
    zone = "Pacific/Pago_Pago"
    plain = timed.client(user)
    folder = "".join(c for c in criteria if c.isalnum())
    plain.ok("CREATE " + folder)
    times = [start - hours * 3600 - 7 for hours in range(0, 120, 6)]
    append(plain, folder, times)
    timed.client(user + "#P1").ok("XFILTER SET F1 NIL (%s)" % criteria)
    timed.client(user + "#P1").ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % folder)

    def expected(now):
        today = day_begin(zone, now)
        # days are 24 hours there
        return [uid for uid, when in enumerate(times, 1)
                if matches(now - when, -((when - today) // DAY))]

    for hours in (0, 1, 24, 25, 72, -48, 24):
        now = start + hours * 3600
        timed.clock.set(now)
        phone = timed.client(user + "#P1")
        phone.ok("SELECT " + folder)
        assert phone.fetch_all() == expected(now), hours
        phone.ok("UID STORE %d +FLAGS.SILENT ($k)" % (phone.uids[0] if phone.uids else 1))
        phone.ok("CLOSE")
        phone.ok("LOGOUT")


def test_late_entrants_of_a_new_day(timed):
    """R-1.4c: what time lets in below UIDNEXT asks for a RESYNC, in IDLE too."""
    zone = "America/New_York"
    now = seconds(DAYS[zone])
    timed.clock.set(now)
    plain = timed.client("newyork1")
    append(plain, "INBOX", [now - 100000, now])
    phone = device(timed, "newyork1", "NOT DAYSBEFORETODAY 0")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1]
    phone.idle()
    timed.clock.move(day_begin(zone, now, 1))
    phone.wait("RESYNC")
    phone.done()
    assert phone.fetch_all() == [1]
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 2]


@pytest.mark.parametrize("criteria,leaves", [("YOUNGER 3600", True), ("NOT OLDER 3600", True),
                                             ("OLDER 3600", False)])
def test_intervals_pass_in_idle(timed, criteria, leaves):
    """Within a minute"""
    now = seconds(NOON)
    timed.clock.set(now)
    user = "utc%d" % ("YOUNGER 3600", "NOT OLDER 3600", "OLDER 3600").index(criteria)
    plain = timed.client(user)
    append(plain, "INBOX", [now - 3600 + 300, now - 7200])
    phone = device(timed, user, criteria)
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == ([1] if leaves else [2])
    phone.idle()
    timed.clock.move(now + 290)
    phone.done()
    assert phone.fetch_all() == ([1] if leaves else [2])
    phone.idle()
    timed.clock.move(now + 300 + 60)
    phone.wait("1 EXPUNGE" if leaves else "RESYNC")
    phone.done()
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == ([] if leaves else [1, 2])


def test_view_that_time_changes_is_not_hibernated(timed):
    now = seconds(NOON)
    timed.clock.set(now)
    plain = timed.client("utc3")
    append(plain, "INBOX", [now])
    for criteria, text in (
            ("DAYSBEFORETODAY 3", "Couldn't hibernate imap client: Couldn't export state: "
                                  "the device's view changes by time"),
            ("SMALLER 100", "Successfully hibernated imap client in mailbox INBOX")):
        phone = device(timed, "utc3", criteria)
        phone.ok("SELECT INBOX")
        phone.idle()
        timed.clock.move(timed.clock.now() + 30)
        wait_until(lambda: any("imap(utc3)" in line and text in line
                               for line in timed.log().splitlines()))
        append(plain, "INBOX", [now])
        phone.wait("EXISTS")
        phone.done()
        phone.ok("LOGOUT")


@pytest.mark.parametrize("idle", [False, True])
def test_late_entrants_of_ordinary_programs(timed, idle):
    """R-2.8: by pimap_view_late = bye they are made to connect again, at a moment when
    they do nothing, and not within a minute of SELECT."""
    now = seconds(NOON)
    timed.clock.set(now)
    user = "havana%d" % (2 + idle)
    plain = timed.client(user)
    append(plain, "INBOX", [now, now])
    plain.ok("SELECT INBOX")
    plain.ok("STORE 1 +FLAGS (\\Flagged)")
    for args in (("filter", "set", "-u", user, "F1", "UNFLAGGED"),
                 ("device", "add", "-u", user, "P1"),
                 ("pref", "set", "-u", user, "P1", "PIMAP_XFILTER", "INBOX", "V", "F1")):
        timed.doveadm("pimap", *args)
    phone = timed.client(user + "#P1")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [2]
    if idle:
        phone.idle()
    plain.ok("STORE 1 -FLAGS (\\Flagged)")
    time.sleep(2)
    if idle:
        phone.done()
    # a minute hasn't passed
    assert phone.ok("NOOP").lines("* RESYNC") == []
    assert phone.fetch_all() == [2]
    if idle:
        phone.idle()
        timed.clock.move(now + 70)
        answer = phone.file.readline()
    else:
        # a command that isn't finished isn't interrupted
        phone.sock.sendall(b"t SEARCH SUBJECT {1}\r\n")
        assert phone.file.readline().startswith(b"+")
        timed.clock.move(now + 80)
        time.sleep(1)
        phone.sock.sendall(b"x\r\n")
        assert phone.file.readline().startswith(b"* SEARCH")
        assert phone.file.readline().startswith(b"t OK")
        timed.clock.move(now + 90)
        answer = phone.file.readline()
    assert answer.startswith(b"* BYE"), answer
    assert b"connect again" in answer
    phone = timed.client(user + "#P1")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [1, 2]


def test_zone_is_for_daysbeforetoday_only(timed):
    """Dates are shown and searched for as in plain sessions."""
    zone = "Pacific/Kiritimati"
    now = seconds(DAYS[zone])
    timed.clock.set(now)
    plain = timed.client("kiritimati1")
    append(plain, "INBOX", range(now - 72 * 3600, now + 1, 6 * 3600))
    plain.ok("SELECT INBOX")
    phone = device(timed, "kiritimati1", "DAYSBEFORETODAY 1")
    phone.ok("SELECT INBOX")
    shown = phone.fetch_all()
    assert 0 < len(shown) < 12
    dates = lambda client: {item["UID"]: item["INTERNALDATE"] for item in client.ok(
        "UID FETCH %d:* (UID INTERNALDATE)" % shown[0]).fetched().values()}
    assert dates(phone) == dates(plain)
    date = lambda days: datetime.datetime.fromtimestamp(
        now + days * 86400, UTC).strftime("%d-%b-%Y")
    for key in ("SINCE", "BEFORE", "ON"):
        for days in (-2, -1, 0, 1):
            keys = "%s %s" % (key, date(days))
            assert phone.search(keys) == [uid for uid in plain.search(keys) if uid in shown]
            phone.ok("XFILTER SET F1 NIL (%s)" % keys)
            phone.ok("SELECT INBOX")
            assert phone.fetch_all() == plain.search(keys)
            phone.ok("XFILTER SET F1 NIL (DAYSBEFORETODAY 1)")
            phone.ok("SELECT INBOX")


def test_dates_beside_each_other(timed):
    """A day of the user's zone isn't mixed up with dates of the server's, nor
    two of different length."""
    zone = "Pacific/Pago_Pago"
    now = seconds(DAYS[zone])
    timed.clock.set(now)
    plain = timed.client("pagopago1")
    begins = [day_begin(zone, now, -days) for days in range(4)]
    append(plain, "INBOX", [begins[3], begins[2] - 1, begins[2], begins[1] - 1, begins[1],
                            begins[0] - 1, begins[0]])
    phone = timed.client("pagopago1#P1")
    for criteria, uids in (("DAYSBEFORETODAY 1 DAYSBEFORETODAY 2", [5, 6, 7]),
                           ("OR DAYSBEFORETODAY 1 DAYSBEFORETODAY 2", [3, 4, 5, 6, 7]),
                           ("DAYSBEFORETODAY 2 NOT DAYSBEFORETODAY 1", [3, 4]),
                           ("DAYSBEFORETODAY 2 SINCE 1-Jan-2025", [3, 4, 5, 6, 7]),
                           ("OR DAYSBEFORETODAY 1 SINCE 1-Jan-2026", [5, 6, 7]),
                           ("DAYSBEFORETODAY 2 SENTSINCE 1-Jan-2025", []),
                           ("DAYSBEFORETODAY 4294967295", [1, 2, 3, 4, 5, 6, 7])):
        phone.ok("XFILTER SET F1 NIL (%s)" % criteria)
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)")
        phone.ok("SELECT INBOX")
        assert phone.fetch_all() == uids, criteria
        phone.ok("UNSELECT")


@pytest.mark.expects_faults
def test_unknown_zone(timed, capfd):
    """Of a user: his devices are refused, he is not. In the configuration: 2.4 doesn't start; 2.3
    looks at a user's settings only when he logs in."""
    with pytest.raises(ConnectionError):
        timed.client("nowhere#P1").command("NOOP")
    assert timed.logs("pimap_timezone Europe/Nowhere: there is no such time zone")
    timed.client("nowhere").ok("SELECT INBOX")
    if DOVECOT_24:
        with pytest.raises(subprocess.CalledProcessError):
            Server.temporary("mdbox", extra=settings({"pimap_timezone": "Europe/Nowhere"}))
        assert "there is no such time zone" in capfd.readouterr().err
