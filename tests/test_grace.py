# SPDX-License-Identifier: LGPL-2.1-only
"""What happens in a folder where the device's session is in IDLE isn't notified if the
client has read it there; in doubt it is (R-13.1, R-13.6)."""

import contextlib
import os
import re
import signal
import socket
import time

import pytest

from conftest import HIBERNATION
from outband_peers import wait_for
from test_notifications import MESSAGE, Site

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
        super().__init__(fmt, **dict({"pimap_inband_grace": "%d s" % GRACE}, **values))

    def phone(self, user, folder="INBOX", events="NEW", mode=None):
        """A session of a device that is notified of all, in that folder"""
        login = self.device(user, "ALL")
        login.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER " + events)
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


@pytest.fixture(scope="module", params=["maildir", "mdbox"])
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
