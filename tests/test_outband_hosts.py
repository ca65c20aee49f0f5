# SPDX-License-Identifier: LGPL-2.1-only
"""Two hosts, each with its Dovecot and its pimap-outband, that have their users, these
users' mail and a PostgreSQL database in common."""
import random
import time

import pytest

from conftest import DOVECOT_24
from outband_peers import wait_for
from postgres import Postgres
from test_notifications import Site

INTERVAL = 2
EXPECTED = ("it is tried on", "killed with signal 9", "notifications are late until")


class Hosts:
    """The mail is the second one's, which stays. The relay is the same."""

    def __init__(self):
        self.postgres = Postgres()
        values = {"pimap_outband_db": self.postgres.address(),
                  "pimap_outband_scan_interval": "%d s" % INTERVAL}
        self.second = Site("sdbox", **values)
        self.relay = self.second.relay
        self.first = Site("sdbox", "mail_home = %s/mail/%s\n" % (
            self.second.server.path, "%{user}" if DOVECOT_24 else "%u"), **dict(
                values, pimap_mail_relay="127.0.0.1:%d" % self.relay.port))
        self.both = [self.first, self.second]
        self.faults = []

    def end(self, site):
        """This host is no more."""
        self.both.remove(site)
        self.faults += site.server.faults()
        site.stop()

    def stop(self):
        for site in list(self.both):
            self.end(site)
        self.postgres.remove()
        assert [line for line in self.faults
                if not any(text in line for text in EXPECTED)] == []


@pytest.fixture
def hosts():
    hosts = Hosts()
    yield hosts
    hosts.stop()


def address(user):
    return user + "@example.com"


@pytest.mark.parametrize("seed", [1])
def test_nothing_is_lost_or_numbered_twice(hosts, seed):
    """Mail comes to either host, and either service dies."""
    rng = random.Random(seed)
    users = ["u%d" % number for number in range(4)]
    for number, user in enumerate(users):
        site = hosts.both[number % 2]
        site.server.client(user).ok("SELECT INBOX")
        site.device(user, address=address(user))
        site.server.close_clients()
    counts = dict.fromkeys(users, 0)
    for _ in range(60):
        user = rng.choice(users)
        yes = rng.random() < 0.7
        rng.choice(hosts.both).deliver(user, b"yes" if yes else b"no")
        counts[user] += yes
        if rng.random() < 0.1:
            rng.choice(hosts.both).kill("pimap-outband", 2)
        if rng.random() < 0.2:
            hosts.relay.replies["RCPT"] = "451 not now"
        elif rng.random() < 0.5:
            hosts.relay.replies.clear()
    hosts.relay.replies.clear()
    for user, count in counts.items():
        hosts.second.told_once(count, address(user), 60)
    total = sum(counts.values())
    wait_for(lambda: hosts.postgres.query("SELECT count(*) FROM queue") == ["0"])
    assert hosts.postgres.query("SELECT count(*), count(DISTINCT (username, seq)), count(seq)"
                                " FROM traces") == ["%d|%d|%d" % (total, total, total)]
    assert hosts.postgres.query("SELECT count(*) FROM steps WHERE step = 'found'") == [
        str(total)]
    assert sum(sum(site.killed.values()) for site in hosts.both) > 0
    # neither told anything twice where nothing went wrong
    before = len(hosts.relay.mails)
    for number in range(8):
        hosts.both[number % 2].deliver("u0", b"yes")
        hosts.second.told_once(counts["u0"] + number + 1, address("u0"))
    time.sleep(INTERVAL * 2)
    assert len(hosts.relay.mails) == before + 8


def test_the_other_takes_over(hosts):
    """What a host has queued, and it is no more, the other one sends; what it hasn't
    noticed, that is told to scan for."""
    hosts.first.server.client("joe").ok("SELECT INBOX")
    hosts.first.device("joe", address=address("joe"))
    hosts.first.deliver("joe", b"yes")
    hosts.second.told_once(1, address("joe"))
    hosts.relay.replies["RCPT"] = "451 not now"
    for _ in range(4):
        hosts.first.deliver("joe", b"yes")
    wait_for(lambda: hosts.postgres.query("SELECT count(*) FROM queue") == ["4"])
    # it doesn't start again
    hosts.first.server.doveadm("service", "stop", "pimap-outband")
    hosts.first.deliver("joe", b"yes")
    hosts.end(hosts.first)
    hosts.relay.replies.clear()
    hosts.second.told_once(5, address("joe"), INTERVAL * 2 + 10)
    hosts.second.server.doveadm("pimap", "outband", "scan")
    hosts.second.told_once(6, address("joe"))
    hosts.second.deliver("joe", b"yes")
    hosts.second.told_once(7, address("joe"))


def test_paused_by_the_other(hosts):
    """A pause is the site's, not the host's."""
    hosts.second.server.client("joe").ok("SELECT INBOX")
    hosts.second.device("joe", address=address("joe"))
    hosts.second.deliver("joe", b"yes")
    hosts.second.told_once(1, address("joe"))
    hosts.first.server.doveadm("pimap", "outband", "pause")

    def paused():
        return "paused" in hosts.second.server.doveadm("pimap", "outband", "status")
    wait_for(paused)
    hosts.second.deliver("joe", b"yes")
    time.sleep(INTERVAL * 2)
    assert hosts.second.told(address("joe")) == [1]
    hosts.first.server.doveadm("pimap", "outband", "resume")
    hosts.second.told_once(2, address("joe"))
