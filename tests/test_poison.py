# SPDX-License-Identifier: LGPL-2.1-only
"""R-1.10: a message of which a worker dies costs its own evaluation, never the folder,
never a delivery, and it is known after a restart."""
import email
import os
import re
import smtplib
import subprocess
import time

import pytest

from conftest import DOVECOT_24, HERE
from outband_peers import wait_for
from test_notifications import ADDRESS, Site
from test_worker import append, client, profile, server  # noqa: F401
from worker_client import Worker

# each death of a worker keeps the next one waiting for longer
SLOW = 90
POISON = b"From: a@example.org\r\nX-Poison: yes\r\nSubject: yes\r\n\r\nbody\r\n"


class Poisoned(Site):
    """Its workers have a plugin that dies of a field X-Poison."""

    def __init__(self, fmt):
        plugin = "protocol pimap-worker {\n  mail_plugins%s\n}\n" % (
            " {\n    poison = yes\n  }" if DOVECOT_24 else " = $mail_plugins poison")
        super().__init__(fmt, extra=plugin)
        subprocess.run(["gcc", "-shared", "-fPIC", "-I/usr/include/dovecot", "-o",
                        self.server.vars["MODULES"] + "/lib90_poison_plugin.so",
                        HERE + "/poison-plugin.c"], check=True)

    def poison(self, user):
        start = time.monotonic()
        with smtplib.LMTP(self.server.vars["LMTP_SOCKET"]) as lmtp:
            lmtp.sendmail("s@example.org", user, POISON)
        assert time.monotonic() - start < 5

    def deaths(self):
        return len(re.findall(r"service\(pimap-worker\): child \d+ killed with signal 6",
                              self.server.log()))

    def events(self, count):
        """What the device is told, in the order of its numbers"""
        self.told_once(count, seconds=SLOW)
        found = {}
        for mail in self.relay.mails:
            if ADDRESS not in mail.recipients[0]:
                continue
            message = email.message_from_string(mail.text)
            text = message.get_payload(decode=True).decode()
            found[int(message["X-PIMAP-Notification"])] = text.split()[3:5]
        return [found[number][:1 if found[number][0] == "SYNC" else 2]
                for number in sorted(found)]

    def phone(self, user):
        # what is in the index needs no stream
        phone = self.device(user, "BODY body")
        phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
        return phone

    def unexpected(self):
        return [fault for fault in self.server.faults()
                if "killed with signal" not in fault and
                "Workers have died of message UID 2 of folder" not in fault]


@pytest.fixture(params=["maildir", "mdbox", "pgsql"])
def poisoned(request):
    site = Poisoned(request.param)
    yield site
    assert site.unexpected() == []
    site.stop()


@pytest.mark.expects_faults
def test_poison_message(poisoned):
    """Told as SYNC after three deaths, once; what comes with it and after it is told as
    ever."""
    phone = poisoned.phone("joe")
    poisoned.deliver("joe", b"yes")
    assert poisoned.events(1) == [["NEW_MESSAGE", "1"]]
    poisoned.poison("joe")
    poisoned.deliver("joe", b"yes")
    # others are served meanwhile
    poisoned.device("ann", address="ann@example.com")
    poisoned.deliver("ann", b"yes")
    poisoned.told_once(1, "ann@example.com", SLOW)
    assert sorted(poisoned.events(3)) == [["NEW_MESSAGE", "1"], ["NEW_MESSAGE", "3"], ["SYNC"]]
    assert poisoned.deaths() == 3
    assert phone.status("INBOX")["MESSAGES"] == 3

    # it isn't looked at again, neither by later looks nor by the next service
    poisoned.deliver("joe", b"yes")
    assert poisoned.events(4)[3] == ["NEW_MESSAGE", "4"]
    assert poisoned.kill("pimap-outband") == 1
    poisoned.deliver("joe", b"yes")
    assert poisoned.events(5)[4] == ["NEW_MESSAGE", "5"]
    # nor for a device whose filters let all in for the first time
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    phone.ok("XFILTER SET N2 NIL (BODY body)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N N2)")
    poisoned.deliver("joe", b"no")
    assert poisoned.events(6)[5] == ["NEW_MESSAGE", "6"]
    assert poisoned.deaths() == 3


@pytest.mark.expects_faults
def test_poison_message_and_restarts(poisoned):
    """The deaths are counted whoever counts them."""
    poisoned.phone("joe")
    poisoned.deliver("joe", b"yes")
    poisoned.events(1)
    poisoned.poison("joe")
    for deaths in (1, 2):
        wait_for(lambda: poisoned.deaths() >= deaths, SLOW)
        time.sleep(0.3)
        poisoned.kill("pimap-outband")
    assert poisoned.events(2) == [["NEW_MESSAGE", "1"], ["SYNC"]]
    poisoned.deliver("joe", b"yes")
    assert poisoned.events(3)[2] == ["NEW_MESSAGE", "3"]
    assert poisoned.deaths() == 3


def test_caution(server, user, client, profile):
    """A worker's side: what isn't evaluated is told as SYNC, once; the others are named
    before they are evaluated, one by one."""
    append(client, "INBOX", "yes", "yes", "no", "yes")
    profile.device("P1", notify="Uyes")
    profile.write()
    with Worker(server) as worker:
        guid = worker.folders(user)["INBOX"]
        worker.send("CAUTION", "", "1")
        lines = worker.job("LOOK", user, guid)
        assert lines[:4] == [["AT", str(uid)] for uid in (1, 2, 3, 4)]
        assert [line[1:3] for line in lines if line[0] == "EVENT"] == [
            ["NEW_MESSAGE", "1"], ["NEW_MESSAGE", "2"], ["NEW_MESSAGE", "4"]]
        # of the next job only
        for caution, expected in ((("2,7", "0"), ["1", "4"]), (None, ["1", "2", "4"]),
                                  (("2,3,4", "1"), ["1"])):
            if caution is not None:
                worker.send("CAUTION", *caution)
            lines = worker.job("LOOK", user, guid)
            events = [line[1:3] for line in lines if line[0] == "EVENT"]
            assert events == ([["SYNC", "0"]] if caution else []) + \
                [["NEW_MESSAGE", uid] for uid in expected]
            assert [line for line in lines if line[0] == "AT"] == (
                [["AT", "1"]] if caution and caution[1] == "1" else [])
        # the new state has it
        state, = [line[6] for line in lines if line[0] == "DEVICE"]
        lines = worker.job("LOOK", user, guid, "P1", state)
        assert not any(line[0] == "EVENT" for line in lines)
        # what is queued isn't known
        row = ["0", "NEW_MESSAGE", "2", "0"]
        worker.send("CAUTION", "2", "0")
        assert worker.job("JUDGE", user, guid, "P1", *row)[0][-1] == "2"
        assert worker.job("JUDGE", user, guid, "P1", *row)[0][-1] == "0"


@pytest.mark.expects_faults
def test_caution_that_is_none(server):
    """It ends the connection."""
    for caution in (("x", "0"), ("0", "0"), ("1,,2", "0"), ("1",)):
        with Worker(server) as worker:
            worker.send("CAUTION", *caution)
            assert worker.file.readline() == ""
