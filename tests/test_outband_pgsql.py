# SPDX-License-Identifier: LGPL-2.1-only
"""The queue in PostgreSQL (pimap_outband_db). What it has in common with SQLite is in
test_notifications.py, too, with the format pgsql."""

import itertools
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import DOVECOT_24, HERE
from outband_peers import wait_for
from postgres import Postgres, Wire
from test_notifications import Site

STORE_TEST = os.path.join(HERE, "../src/pimap-outband/test-outband-store")


@pytest.fixture(scope="module")
def postgres():
    postgres = Postgres()
    yield postgres
    postgres.remove()


@pytest.fixture
def empty(postgres):
    postgres.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return postgres


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
def test_store(postgres, host):
    """The unit tests of the store"""
    subprocess.run(["make", "-s", "-C", os.path.dirname(STORE_TEST), "test-outband-store"],
                   check=True, stdout=subprocess.DEVNULL)
    result = subprocess.run([STORE_TEST, postgres.address(host)], text=True, timeout=120,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0 and "two at once" in result.stdout, result.stdout


def test_store_reports(empty):
    """The same of delivery reports"""
    name = STORE_TEST + "-report"
    subprocess.run(["make", "-s", "-C", os.path.dirname(name), os.path.basename(name)],
                   check=True, stdout=subprocess.DEVNULL)
    result = subprocess.run([name, empty.address()], text=True, timeout=60,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0 and "0 / 2 tests failed" in result.stdout, result.stdout


@pytest.mark.parametrize("form", [
    "postgresql://pimap@127.0.0.1:%(port)d/postgres", "pgsql:host=127.0.0.1 port=%(port)d "
    "user=pimap dbname=postgres application_name=other"])
def test_where_it_is(empty, form):
    site = Site("mdbox", pimap_outband_db=form % {"port": empty.port})
    try:
        site.device("joe")
        site.relay.replies["END"] = "451 not now"
        site.deliver("joe", b"yes")
        wait_for(lambda: empty.query("SELECT to_regclass('queue')") == ["queue"])
        wait_for(lambda: empty.query("SELECT tries FROM queue WHERE tries > 0"))
        assert empty.query("SELECT username, device, folder, seq FROM queue") == [
            "joe|P1|INBOX|1"]
        assert empty.query("SELECT DISTINCT application_name FROM pg_stat_activity"
                           " WHERE backend_type = 'client backend' AND"
                           " pid <> pg_backend_pid()") == [
            "other" if "other" in form else "pimap-outband"]
        assert site.server.doveadm("pimap", "outband", "status")
        # files are the lock, what repeats the keys, and what auth reads
        assert sorted(os.listdir(site.server.path + "/state/pimap-outband")) == [
            "keys", "locks", "outband.sqlite.lock"]
        site.relay.replies.clear()
        site.told_once(1)
        assert empty.query("SELECT count(*) FROM queue") == ["0"]
    finally:
        faults = site.server.faults()
        site.stop()
    assert [line for line in faults if "it is tried on" not in line] == []


def test_connection_is_lost_in_a_commit(empty):
    """Nobody knows then whether it was done: nothing is lost or numbered twice."""
    ways = itertools.cycle([None, None, None, "after", None, None, None, "before"])
    users = ["u%d" % number for number in range(8)]
    cut, begun, site = [], [], None

    def decide():
        if not begun:
            return None
        cut.append(next(ways))
        return cut[-1]

    wire = Wire(empty, b"COMMIT\0", decide)
    try:
        site = Site("mdbox", pimap_outband_db=empty.address("127.0.0.1", wire.port))
        for user in users:
            # Dovecot may panic if two processes at once make an INBOX
            site.server.client(user).ok("SELECT INBOX")
            site.device(user, address=user + "@example.com")
        # what comes before the first look isn't news
        wait_for(lambda: empty.query("SELECT to_regclass('accounted')") == ["accounted"])
        wait_for(lambda: empty.query("SELECT count(DISTINCT username) FROM accounted"
                                     " WHERE folder = 'INBOX'") == ["8"])
        begun.append(True)
        for user in users * 2:
            site.deliver(user, b"yes")
        for user in users:
            # each time that it can't be told, the service waits for 10 seconds
            site.told_once(2, user + "@example.com", 90)
        wait_for(lambda: empty.query("SELECT count(*) FROM queue") == ["0"], 60)
        assert cut.count("after") > 2 and cut.count("before") > 2
        assert empty.query("SELECT count(*), count(DISTINCT (username, seq)), count(seq)"
                           " FROM traces") == ["16|16|16"]
        # no step twice
        assert empty.query("SELECT step, count(*) FROM steps WHERE step <> 'tried'"
                           " GROUP BY step ORDER BY step") == [
            "done|16", "found|16", "numbered|16", "queued|16"]
    finally:
        faults = site.server.faults() if site is not None else []
        if site is not None:
            site.stop()
        wire.stop()
    assert [line for line in faults if "it is tried again" not in line] == []


def test_look_is_stored_but_nobody_knows(empty):
    """Looking again finds nothing new: what is queued is sent all the same."""
    ways, site = [], None
    wire = Wire(empty, b"COMMIT\0", lambda: ways.pop() if ways else None)
    try:
        site = Site("mdbox", pimap_outband_db=empty.address("127.0.0.1", wire.port))
        # Dovecot may panic if two processes at once make an INBOX
        site.server.client("joe").ok("SELECT INBOX")
        site.device("joe")
        site.deliver("joe", b"yes")
        site.told_once(1)
        wait_for(lambda: empty.query("SELECT count(*) FROM queue") == ["0"])
        ways.append("after")
        site.deliver("joe", b"yes")
        site.told_once(2)
        assert ways == [] and len(site.server.faults()) == 1
    finally:
        if site is not None:
            site.stop()
        wire.stop()


def test_server_dies(empty):
    """In the middle of deliveries, while the service lives"""
    site = Site("mdbox", pimap_outband_db=empty.address())
    rng = random.Random(1)
    try:
        site.device("joe")
        site.deliver("joe", b"yes")
        site.told_once(1)
        service = list(site.pids("pimap-outband"))
        for number in range(30):
            site.deliver("joe", b"yes")
            if number % 6 == 3:
                time.sleep(rng.random() / 10)
                (empty.kill if number % 4 == 1 else empty.stop)()
                site.deliver("joe", b"yes")
                empty.start()
        site.told_once(36, seconds=150)
        assert list(site.pids("pimap-outband")) == service != []
        # what it was told is accounted for, too: nothing comes twice but by its number
        site.deliver("joe", b"yes")
        site.told_once(37)
    finally:
        faults = site.server.faults()
        site.stop()
    assert [line for line in faults if "it is tried again" not in line] == []


def test_server_is_away(empty):
    """Whatever comes meanwhile is told soon after it is back. If nothing comes nobody
    notices."""
    site = Site("mdbox", pimap_outband_db=empty.address())
    try:
        site.device("joe")
        site.deliver("joe", b"yes")
        site.told_once(1)
        wait_for(lambda: empty.query("SELECT count(*) FROM queue") == ["0"])
        empty.stop()
        empty.start()
        site.deliver("joe", b"yes")
        site.told_once(2)
        assert site.server.faults() == []
        wait_for(lambda: empty.query("SELECT count(*) FROM queue") == ["0"])
        empty.stop()
        for _ in range(8):
            site.deliver("joe", b"yes")
            time.sleep(0.1)
        empty.start()
        site.told_once(10, seconds=60)
        fault, = site.server.faults()
        assert "(it is tried again)" in fault
    finally:
        site.stop()


def test_server_hangs(empty):
    """It doesn't answer, but its connections stay: the service goes on, and says so
    once."""
    site = Site("mdbox", pimap_outband_db=empty.address())
    try:
        site.device("joe")
        site.deliver("joe", b"yes")
        site.told_once(1)
        empty.signal(signal.SIGSTOP)
        try:
            site.deliver("joe", b"yes")
            wait_for(lambda: "It doesn't answer" in site.server.log())
            begun = time.monotonic()
            answer = site.server.doveadm("pimap", "outband", "status", fails=True)
            assert time.monotonic() - begun < 15 and "PostgreSQL database postgres" in answer
        finally:
            empty.signal(signal.SIGCONT)
        site.told_once(2, seconds=30)
        faults = [line for line in site.server.faults() if "(it is tried again)" in line]
        assert 1 <= len(faults) <= 2
    finally:
        empty.signal(signal.SIGCONT)
        site.stop()


def test_not_there_when_the_service_starts(empty):
    """Hints are kept until it is."""
    site = Site("mdbox", pimap_outband_db=empty.address())
    try:
        site.device("joe")
        site.deliver("joe", b"yes")
        site.told_once(1)
        empty.stop()
        site.kill("pimap-outband")
        site.deliver("joe", b"yes")
        assert site.server.logs("PostgreSQL database postgres at %s" % empty.path)
        site.deliver("joe", b"yes")
        site.server.doveadm("pimap", "outband", "status", fails=True)
        empty.start()
        site.told_once(3, seconds=40)
        # the one that was killed may have had something to write, too
        faults = [line for line in site.server.faults() if "tried again" in line]
        assert 1 <= len(faults) <= 2
    finally:
        site.stop()


@pytest.fixture(scope="module")
def guarded():
    """One that wants a password, which has what a URI must quote"""
    postgres = Postgres(password="sec@ret/5word")
    yield postgres
    postgres.remove()


def test_password(guarded):
    uri = "postgresql://pimap:sec%%40ret%%2F5word@127.0.0.1:%d/postgres" % guarded.port
    # 2.3 expands what is in plugin {}
    site = Site("mdbox", pimap_outband_db=uri if DOVECOT_24 else uri.replace("%", "%%"))
    try:
        site.device("joe")
        site.deliver("joe", b"yes")
        site.told_once(1)
        # lost, and back
        guarded.stop()
        site.deliver("joe", b"yes")
        site.server.logs("(it is tried again)")
        guarded.start()
        site.told_once(2)
        assert "5word" not in site.server.log() and "sec@" not in site.server.log()
    finally:
        site.stop()


@pytest.mark.parametrize("form", [
    "postgresql://pimap:%s@127.0.0.1:%d/postgres",
    "pgsql:postgresql://pimap:%s@127.0.0.1:%d/postgres",
    "pgsql:user=pimap password=%s host=127.0.0.1 port=%d dbname=postgres",
    "pgsql:user=pimap password='%s host=127.0.0.1 port=%d dbname=postgres"])
@pytest.mark.parametrize("password", [
    "wr0ng-5ecret", "wr0ng@5ecret", "wr0ng/5ecret", "wr0ng:5ecret", "wr0ng 5ecret", "wr0ng=5ecret",
    "wr0ng?5ecret", "wr0ng'5ecret", "wr0ng%%zz5ecret", "wr0ng#5ecret"])
def test_password_is_never_told(guarded, form, password):
    """Not even a part of it, wherever libpq stops at it"""
    subprocess.run(["make", "-s", "-C", os.path.dirname(STORE_TEST), "test-outband-store"],
                   check=True, stdout=subprocess.DEVNULL)
    result = subprocess.run([STORE_TEST, form % (password, guarded.port)], text=True, timeout=60,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode != 0
    assert "PostgreSQL" in result.stdout or "pimap_outband_db" in result.stdout
    assert "wr0ng" not in result.stdout and "5ecret" not in result.stdout
