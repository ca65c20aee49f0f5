# SPDX-License-Identifier: LGPL-2.1-only
"""From a delivery to the peer, with all parts in place: what the filters select is
told once, in order, whatever dies in between (R-13.1, R-13.3, R-13.4)."""

import collections
import contextlib
import email
import glob
import os
import random
import re
import signal
import smtplib
import time

import pytest

from conftest import Server, settings
from outband_peers import Relay, wait_for
from postgres import Postgres

MESSAGE = b"From: %s@example.org\r\nSubject: %s\r\n\r\nbody\r\n"
ADDRESS = "joe@example.com"


class Site:
    """A server and the relay that its notifications go to. The format "pgsql" is a
    server whose queue is in PostgreSQL."""

    def __init__(self, fmt, extra="", **values):
        self.killed = collections.Counter()
        self.relay = Relay()
        self.postgres = None
        if fmt == "pgsql":
            self.postgres = Postgres()
            fmt = "mdbox"
            values.setdefault("pimap_outband_db", self.postgres.address())
        self.server = Server.temporary(fmt, extra=settings(dict({
            "pimap_channels": "mail",
            "pimap_mail_relay": "127.0.0.1:%d" % self.relay.port,
            "pimap_mail_pattern": "*@example.com",
            "pimap_outband_retry_min": "1 s",
            "pimap_outband_retry_max": "1 s"}, **values)) + extra)

    def told(self, address=ADDRESS):
        """Numbers of what the address was sent"""
        return [int(email.message_from_string(mail.text)["X-PIMAP-Notification"])
                for mail in self.relay.mails if address in mail.recipients[0]]

    def told_once(self, count, address=ADDRESS, seconds=30):
        """So many are sent in the end, without a gap or a double number."""
        wait_for(lambda: len(set(self.told(address))) >= count, seconds)
        time.sleep(0.5)
        numbers = self.told(address)
        assert sorted(set(numbers)) == list(range(1, count + 1))
        first = list(dict.fromkeys(numbers))
        assert first == sorted(first)

    def pids(self, service):
        title = "dovecot-%s/%s" % (os.path.basename(os.path.realpath(
            self.server.path + "/run")), service)
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            with contextlib.suppress(OSError), open(path, errors="replace") as file:
                if file.read().startswith(title):
                    yield int(path.split("/")[2])

    def kill(self, service, times=None):
        """Returns how many there were. The master waits longer each time, up to a
        minute, before it starts again what dies: not more than so many times."""
        count = 0
        for pid in self.pids(service):
            if times is not None and self.killed[service] >= times:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                count += 1
            self.killed[service] += 1
        return count

    def device(self, user, keys="SUBJECT yes", name="P1", address=ADDRESS, folder="ALL"):
        phone = self.server.client("%s#%s" % (user, name))
        phone.ok("XFILTER SET N-%s NIL (%s)" % (name, keys))
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS " + address)
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s N N-%s)" % (folder, name))
        return phone

    def deliver(self, user, subject, sender=b"a"):
        with smtplib.LMTP(self.server.vars["LMTP_SOCKET"]) as lmtp:
            lmtp.sendmail("s@example.org", user, MESSAGE % (sender, subject))

    def stop(self):
        self.relay.stop()
        self.server.close_clients()
        self.server.stop()
        if self.postgres is not None:
            self.postgres.remove()


@pytest.fixture(scope="module", params=["maildir", "sdbox", "mdbox", "pgsql"])
def site(request):
    site = Site(request.param)
    yield site
    assert site.server.faults() == []
    site.stop()


@pytest.fixture
def joe(site, user):
    """A user of the test's own, and the address that his device has"""
    site.relay.mails.clear()
    return user.lower()


def test_what_the_filters_select(site, joe):
    """View and notification filter, by LMTP, APPEND and COPY; in order; hidden or
    unwanted mail isn't told."""
    plain = site.server.client(joe)
    plain.append("INBOX", [MESSAGE % (b"a", b"yes")] * 3)
    # later it would be told of that
    plain.ok("CREATE Work")
    phone = site.device(joe)
    phone.ok("XFILTER SET V NIL (NOT FROM spam)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V V)")
    count = 0
    for number in range(10):
        yes, spam = number % 2, number % 3 == 0
        site.deliver(joe, b"yes" if yes else b"no", b"spam" if spam else b"a")
        count += yes and not spam
    plain.append("Work", [MESSAGE % (b"a", b"no"), MESSAGE % (b"a", b"yes"),
                          MESSAGE % (b"spam", b"yes")])
    plain.ok("SELECT INBOX")
    plain.ok("COPY 1:2 Work")
    site.told_once(count + 3)
    # of two folders either may be looked at first
    for folder, expected in (("", count), ("/Work", 3)):
        text = '<emn mailbox="mailat:%s%s" ' % (joe, folder)
        assert [text in mail.text for mail in site.relay.mails].count(True) == expected


def test_devices_have_their_own_numbers(site, joe):
    site.device(joe)
    site.device(joe, "SUBJECT yes FROM b", "P2", "other@example.com")
    for sender in (b"a", b"b", b"a", b"b"):
        site.deliver(joe, b"yes", sender)
    site.told_once(4)
    site.told_once(2, "other@example.com")


def test_a_device_that_goes_is_told_no_more(site, joe):
    phone = site.device(joe)
    site.deliver(joe, b"yes")
    site.told_once(1)
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL NONE")
    site.deliver(joe, b"yes")
    # what came meanwhile isn't news when it is told again
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
    site.deliver(joe, b"yes")
    site.told_once(2)


def test_notifications_are_not_notified(site, joe):
    """R-14.5: what the device is sent may come back into the folder."""
    site.device(joe, "ALL")
    site.deliver(joe, b"first")
    site.told_once(1)
    for round in range(3):
        with smtplib.LMTP(site.server.vars["LMTP_SOCKET"]) as lmtp:
            lmtp.sendmail("", joe, site.relay.mails[0].text)
    site.deliver(joe, b"second")
    site.told_once(2)
    assert site.server.client(joe).status("INBOX")["MESSAGES"] == 5


def test_delivery_to_notification_time(site, joe):
    """It isn't slept over anywhere."""
    site.device(joe)
    site.deliver(joe, b"yes")
    site.told_once(1)
    times = []
    for number in range(5):
        start = time.monotonic()
        site.deliver(joe, b"yes")
        wait_for(lambda n=number: len(site.relay.mails) >= n + 2)
        times.append(time.monotonic() - start)
    assert min(times) < 1


def test_changes_and_deletions(site, joe):
    """To a device that wants to know all; another one is told only what is new."""
    phone = site.device(joe, "UNSEEN")
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    site.device(joe, "UNSEEN", "P2", "other@example.com")
    plain = site.server.client(joe)
    events = []

    def told():
        return [re.search(r"_%\$P-IMAP\$%_ \d+ \S+ (\w+)", mail.text).group(1)
                for mail in site.relay.mails if ADDRESS in mail.recipients[0]]

    def expect(event):
        events.append(event)
        wait_for(lambda: len(told()) >= len(events), 30)
        time.sleep(0.5)
        assert told() == events
    site.deliver(joe, b"x")
    expect("NEW_MESSAGE")
    plain.ok("SELECT INBOX")
    plain.ok("STORE 1 +FLAGS (\\Flagged)")
    expect("CHANGED_MESSAGE")
    site.server.doveadm("flags", "add", "-u", joe, "\\Answered", "mailbox", "INBOX", "uid", "1")
    expect("CHANGED_MESSAGE")
    plain.ok("FETCH 1 (BODY[])")
    expect("DELETED_MESSAGE")
    # hidden, then not
    plain.ok("STORE 1 +FLAGS (word)")
    plain.ok("STORE 1 -FLAGS (\\Seen)")
    expect("CHANGED_MESSAGE")
    plain.ok("STORE 1 +FLAGS (\\Deleted)")
    expect("CHANGED_MESSAGE")
    plain.ok("EXPUNGE")
    expect("DELETED_MESSAGE")
    site.deliver(joe, b"y")
    expect("NEW_MESSAGE")
    site.server.doveadm("expunge", "-u", joe, "mailbox", "INBOX", "all")
    expect("DELETED_MESSAGE")
    site.told_once(2, "other@example.com")


def mortal_services(fmt):
    """Who opens a Maildir and is killed may leave dovecot-uidlist.lock behind, for two
    minutes: others don't find new mail that long, and STATUS counts none of it."""
    return ["pimap-outband"] + ["pimap-worker"] * (fmt != "maildir")


def test_each_change_is_told_once(site, joe):
    """Also if it comes while the folder is looked at: an index may be read that is
    newer than what the folder was synced to."""
    plain = site.server.client(joe)
    plain.append("INBOX", [MESSAGE % (b"a", b"x")] * 200)
    phone = site.server.client(joe + "#P1")
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    site.device(joe, "ALL")
    plain.ok("SELECT INBOX")
    for number in range(1, 201):
        plain.ok("STORE %d +FLAGS (\\Flagged)" % number)
    site.told_once(200)
    uids = [int(re.search(r"CHANGED_MESSAGE (\d+)", mail.text).group(1))
            for mail in site.relay.mails]
    assert sorted(uids) == list(range(1, 201))


@pytest.mark.parametrize("fmt", ["maildir", "mdbox", "pgsql"])
def test_whatever_dies(fmt):
    """Deliveries go on while the service, workers, deliveries and the database are
    killed and the relay goes away and comes back. What LMTP has taken is told, under
    one number."""
    rng = random.Random(fmt)
    site = Site(fmt)
    mortal = mortal_services(fmt) + ["lmtp"] * (fmt != "maildir")
    port = site.relay.port
    taken, end = 0, time.monotonic() + 200
    try:
        site.device("joe")
        while taken < 40 and time.monotonic() < end:
            act = rng.randrange(10)
            if act < 3:
                site.kill(mortal[act % len(mortal)], 6)
            elif act == 3:
                site.relay.replies["END"] = "451 not now"
            elif act == 4:
                site.relay.replies.clear()
            elif act < 7 and site.postgres is not None:
                (site.postgres.kill if act == 5 else site.postgres.stop)()
                site.postgres.start()
            try:
                site.deliver("joe", b"yes")
                taken += 1
            except (smtplib.SMTPException, OSError):
                time.sleep(0.1)
        site.relay.replies.clear()
        assert taken >= 40 and port == site.relay.port
        # a message may be there although lmtp died before it said so
        present = site.server.client("joe").status("INBOX")["MESSAGES"]
        assert present >= taken
        # a hint that was lost is made up for when the service starts, which takes
        # up to a minute after it was killed too often
        site.kill("pimap-outband")
        site.told_once(present, seconds=100)
    finally:
        faults = [line for line in site.server.faults() if "killed with signal 9" not in line]
        site.stop()
    assert [line for line in faults if "Panic" in line or "Fatal" in line] == []


@pytest.mark.parametrize("fmt", ["maildir", "mdbox"])
def test_known_whatever_dies(fmt):
    """Mail comes, changes and goes while the service and workers are killed and the relay
    is away. In the end a device that is told all knows just what passes its filter."""
    rng = random.Random(fmt)
    site = Site(fmt)
    mortal = mortal_services(fmt)
    changes, dead = 0, 0
    try:
        phone = site.device("joe", "UNSEEN")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
        phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
        plain = site.server.client("joe")
        plain.ok("SELECT INBOX")
        for _ in range(80):
            act = rng.randrange(12)
            if act < 2:
                dead += site.kill(mortal[act % len(mortal)], 6)
            elif act == 2:
                site.relay.replies["END"] = "451 not now"
            elif act == 3:
                site.relay.replies.clear()
            plain.ok("NOOP")
            count = plain.status("INBOX")["MESSAGES"]
            number = rng.randint(1, max(count, 1))
            change = rng.choice(("deliver", "deliver", "+FLAGS (\\Seen)", "-FLAGS (\\Seen)",
                                 "+FLAGS (\\Flagged)", "-FLAGS (\\Flagged)", "expunge"))
            if change == "deliver" or count < 3:
                site.deliver("joe", b"x")
            elif change == "expunge":
                plain.ok("STORE %d +FLAGS (\\Deleted)" % number)
                plain.ok("EXPUNGE")
                changes += 1
            else:
                plain.ok("STORE %d %s" % (number, change))
            changes += 1
        site.relay.replies.clear()
        plain.ok("NOOP")
        expected = set(plain.search("UNSEEN"))
        site.kill("pimap-outband")

        def events():
            """By number"""
            found = {}
            for mail in site.relay.mails:
                number, event, uid = re.search(r"_%\$P-IMAP\$%_ (\d+) \S+ (\w+) (\d+)",
                                               mail.text).groups()
                assert found.setdefault(int(number), (event, int(uid))) == (event, int(uid))
            return [found[number] for number in sorted(found)]

        def known():
            uids = set()
            for event, uid in events():
                if event == "DELETED_MESSAGE":
                    # it was told of it
                    uids.remove(uid)
                else:
                    assert (event == "CHANGED_MESSAGE") or uid not in uids
                    uids.add(uid)
            return uids
        # the master waits up to a minute before it starts it again
        wait_for(lambda: known() == expected, 100)
        time.sleep(1)
        # several changes between two looks are one event
        assert known() == expected and 8 < len(events()) <= changes and dead > 1
        site.told_once(len(events()))
    finally:
        faults = [line for line in site.server.faults() if "killed with signal 9" not in line]
        site.stop()
    assert [line for line in faults if "Panic" in line or "Fatal" in line] == []
