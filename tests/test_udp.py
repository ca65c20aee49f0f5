# SPDX-License-Identifier: LGPL-2.1-only
"""R-13.6: the channel UDP, between a worker of the tests and a device of the tests, whose
envelopes are its own."""
import base64
import os
import pwd
import re
import socket
import threading
import time

import pytest

from conftest import settings
from outband_peers import Relay, line, wait_for
from postgres import Postgres
from test_keys import JOE, key
from test_outband_channels import Outband
from udp_device import TAG, Device

INVALID = "INVALID ENCRYPTION KEY"
NEW = ('joe@example.com NEW_MESSAGE %d "Ann <ann@peer.example>" "20-Feb-2004" "06:40:00" '
       '"Hello"')


class UDP(Outband):
    def __init__(self, listen="127.0.0.1:@UDP_PORT@", address="", **values):
        self.devices = []
        super().__init__("UDP", address, dict({"pimap_udp_listen": listen}, **values))
        self.port = int(self.server.vars["UDP_PORT"])
        self.server.doveadm("pimap", "device", "add", "-u", JOE, "phone")
        self.secret = key(self.server)

    def answer(self, job):
        if job[0] == "USER":
            return [line("UID", pwd.getpwnam("nobody").pw_uid if os.getuid() == 0
                         else os.getuid()), "OK\n"]
        return super().answer(job)

    def device(self, login="joe#phone@example.com", hello=True, host="127.0.0.1", secret=None,
               **options):
        device = Device(host, self.port, login, secret or self.secret, **options)
        self.devices.append(device)
        if hello:
            device.hello()
            wait_for(lambda: device.count("OK"))
        return device

    def mail(self, count=1):
        self.new("Ann <ann@peer.example>", "Hello", count=count)

    def status(self, name):
        for text in self.server.doveadm("-f", "tab", "pimap", "outband", "status").splitlines():
            if text.startswith("UDP " + name + "\t"):
                return int(text.split("\t")[1])
        raise AssertionError(name)

    def queue(self):
        return self.server.doveadm("-f", "tab", "pimap", "outband", "list").splitlines()[1:]

    def stop(self):
        for device in self.devices:
            device.close()
        super().stop()


@pytest.fixture
def udp(request):
    udp = UDP(**getattr(request, "param", {}))
    yield udp
    faults = udp.server.faults()
    udp.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


def with_settings(**values):
    return pytest.mark.parametrize("udp", [values], indirect=True, ids=["settings"])


def quiet(condition, seconds=1.5):
    """It doesn't become true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert not condition()
        time.sleep(0.02)


def test_hello(udp):
    """HELLO, CHALLENGE for an address that isn't known, OK with that address, the
    notification, and its ACK"""
    device = udp.device(hello=False)
    device.hello()
    wait_for(lambda: device.count("OK"))
    assert [name for name, _ in device.answers] == ["CHALLENGE", "OK"]
    assert len(device.answers[0][1]) == 16
    assert device.answers[1][1] == "127.0.0.1 %d" % device.sock.getsockname()[1]
    # it is known now
    device.hello(rest=b" \0\xff any octets")
    wait_for(lambda: device.count("OK") == 2)
    assert device.count("CHALLENGE") == 1
    udp.mail(3)
    wait_for(lambda: len(device.told()) == 3)
    assert device.told() == [NEW % uid for uid in (1, 2, 3)]
    assert [seq for seq, _ in device.notifications] == [1, 2, 3]
    wait_for(lambda: udp.queue() == [])
    assert device.garbage == [] and device.count(INVALID) == 0
    assert udp.status("HELLOs") >= 6 and udp.status("ACKs") == 3


@pytest.mark.parametrize("udp", [
    {"pimap_encryption": "3DES"}, {"pimap_encryption": "AES 3DES"}], indirect=True,
    ids=["3DES", "both"])
def test_triple_des(udp):
    device = udp.device(method="3DES")
    udp.mail()
    wait_for(lambda: len(device.told()) == 1)


def test_triple_des_is_off(udp):
    """R-7.5"""
    device = udp.device(method="3DES", hello=False)
    device.hello()
    wait_for(lambda: device.count(INVALID))


@pytest.mark.parametrize("udp", [{"listen": "127.0.0.1:@UDP_PORT@ [::1]:@UDP_PORT@"}],
                         indirect=True, ids=["both"])
def test_ipv6(udp):
    device = udp.device(host="::1")
    assert device.answers[-1] == ("OK", "::1 %d" % device.sock.getsockname()[1])
    udp.mail()
    wait_for(lambda: len(device.told()) == 1)
    # and back
    other = udp.device()
    udp.mail()
    wait_for(lambda: len(other.told()) == 1)
    assert len(device.told()) == 1


def test_names(udp):
    """R-13.6: a bare id where it is unique, a name without its domain"""
    for login in ("joe#phone@example.com", "joe@example.com#phone", "joe#phone", "phone",
                  "JOE#phone", "Joe#phone@Example.COM"):
        # 10 a second
        time.sleep(0.25)
        device = udp.device(login=login, hello=False)
        device.device = "phone"
        device.hello()
        wait_for(lambda: device.count("OK"))
    udp.server.doveadm("pimap", "device", "add", "-u", "ann@example.com", "phone")
    key(udp.server, user="ann@example.com")
    for login, answers in (("phone", False), ("joe#phone", True), ("joe", False),
                           ("joe#", False), ("#phone", False), ("joe#other", False),
                           ("ann#phone", False), ("joe#phone@other.example", False),
                           ("joe#PHONE", False)):
        device = udp.device(login=login, hello=False)
        device.device = "phone"
        time.sleep(1.1)
        device.hello()
        wait_for(lambda: device.answers)
        wait_for(lambda: device.count("OK" if answers else INVALID))


def test_all_that_is_wrong_gets_one_answer(udp):
    """An unknown device, one without a key, a wrong key, a wrong direction, another
    device's, a replay: nobody learns which it is."""
    udp.server.doveadm("pimap", "device", "add", "-u", JOE, "keyless")
    good = udp.device()
    replay = good.hello()
    wait_for(lambda: good.count("OK") == 2)
    stranger = udp.device(hello=False)

    def bent(offset):
        envelope = bytearray(stranger.envelope(stranger.text()))
        envelope[offset] ^= 1
        return stranger.datagram(bytes(envelope))

    wrong = [
        stranger.datagram(stranger.envelope(stranger.text(), key=(1, b"x" * 32))),
        stranger.datagram(stranger.envelope(stranger.text(), key=(2, udp.secret[1]))),
        stranger.datagram(stranger.envelope(stranger.text(), direction="C")),
        stranger.datagram(stranger.envelope(stranger.text(), direction="N")),
        stranger.datagram(stranger.envelope("other 1")),
        stranger.datagram(stranger.envelope("phone")),
        stranger.datagram(stranger.envelope("phone x")),
        stranger.datagram(stranger.envelope("phone 1 ACK=")),
        stranger.datagram(stranger.envelope("phone 1 ACK=1,,2")),
        stranger.datagram(stranger.envelope("phone 1 ACK=-1")),
        stranger.datagram(stranger.envelope("phone 1 AAAA")),
        stranger.datagram(stranger.envelope("phone 1 ACK=1 ACK=2")),
        stranger.datagram(stranger.envelope("phone 1", counter=1)),
        stranger.datagram(stranger.envelope("phone 1", counter=(1 << 63) + 1)),
        replay, bent(2), bent(7), bent(-1), bent(-20),
    ] + [b"HELLO " + login + stranger.datagram(stranger.envelope(stranger.text()))[27:]
         for login in (b"joe#keyless@example.com", b"joe#none@example.com", b"nobody#phone")]
    assert all(data.startswith(b"HELLO ") for data in wrong)
    for count, data in enumerate(wrong):
        # one such answer a second
        time.sleep(1.05)
        stranger.send(data)
        wait_for(lambda: stranger.count(INVALID) == count + 1)
    assert len(stranger.answers) == len(wrong) and stranger.garbage == []
    assert len(INVALID) < min(len(data) for data in wrong)
    # none of it has changed anything
    udp.mail()
    wait_for(lambda: len(good.told()) == 1)
    assert stranger.notifications == []


def test_malformed_is_dropped(udp):
    """Without an answer, and counted"""
    device = udp.device()
    stranger = udp.device(hello=False)
    before = udp.status("malformed datagrams")
    good = stranger.datagram(stranger.envelope(stranger.text()))
    short = good[:good.rindex(b" ") + 1]
    wrong = [b"", b"\0", b"HELLO", b"HELLO ", b"HELLO  ", b"HELLO joe#phone", b"HELLO joe#phone ",
             b"HELLO joe#phone x", b"HELLO joe#phone AAAA", b"hello" + good[5:], b" " + good,
             good.replace(b"joe", b"j\noe"), good.replace(b"joe", b"j\0oe"), good + b"=",
             good[:-1], short + b"A" * 5, good + b" " + b"x" * 1024,
             short + b"A" * 1000, b"HELLO " + b"x" * 321 + b" AAAA", b"CHALLENGE x", b"OK x",
             TAG + b"x", os.urandom(1024), b"x" * 20000]
    for data in wrong:
        time.sleep(0.11)
        stranger.send(data)
    wait_for(lambda: udp.status("malformed datagrams") == before + len(wrong))
    assert stranger.answers == []
    udp.mail()
    wait_for(lambda: len(device.told()) == 1)


def test_replay(udp):
    """A counter that doesn't rise: from another address, after a restart of the
    service, and out of order"""
    device = udp.device()
    old = [device.datagram(device.envelope(device.text())) for _ in range(3)]
    device.send(old[1])
    wait_for(lambda: device.count("OK") == 2)
    device.send(old[0])
    wait_for(lambda: device.count(INVALID) == 1)
    device.send(old[2])
    wait_for(lambda: device.count("OK") == 3)
    thief = udp.device(hello=False, acks=None)
    time.sleep(1.1)
    thief.send(old[2])
    wait_for(lambda: thief.count(INVALID) == 1)
    udp.server.reload()
    time.sleep(2)
    thief.send(old[2])
    wait_for(lambda: thief.count(INVALID) == 2)
    # where the device is outlives the service
    udp.mail()
    wait_for(lambda: len(device.told()) == 1)
    assert thief.notifications == []


def test_spoofed_source(udp):
    """Who has caught a HELLO that hasn't arrived gets nothing for it: the server asks at
    the new address for what only the device can answer."""
    device = udp.device()
    caught = device.datagram(device.envelope(device.text()))
    thief = udp.device(hello=False, acks=None)
    thief.send(caught)
    wait_for(lambda: thief.answers or thief.garbage)
    assert thief.count("OK") == 0
    udp.mail()
    wait_for(lambda: len(device.told()) == 1)
    assert thief.notifications == []


def test_challenge(udp):
    device = udp.device()
    udp.mail()
    wait_for(lambda: len(device.told()) == 1)
    # it doesn't answer by itself any more
    device.acks = None
    first = device.sock.getsockname()
    device.move()
    device.hello()
    octets = wait_for(lambda: device.count("CHALLENGE") == 2 and device.answers[-1][1])
    # another answer, and one from another address still
    device.hello(challenge=b"x" * 16)
    second = wait_for(lambda: device.count("CHALLENGE") == 3 and device.answers[-1][1])
    assert second != octets
    device.hello(challenge=octets)
    third = wait_for(lambda: device.count("CHALLENGE") == 4 and device.answers[-1][1])
    other = udp.device(hello=False, acks=None)
    other.counter = device.counter
    other.hello(challenge=third)
    wait_for(lambda: other.count("CHALLENGE") == 1)
    device.counter = other.counter
    count = len(device.notifications)
    udp.mail()
    quiet(lambda: len(device.notifications) > count or other.notifications)
    # to the one that it has asked last
    other.hello(challenge=other.answers[-1][1])
    wait_for(lambda: other.count("OK") == 1)
    assert other.answers[-1][1].split() == ["127.0.0.1", str(other.sock.getsockname()[1])]
    wait_for(lambda: len(other.notifications) >= 1)
    assert first != other.sock.getsockname()


def test_repeated_until_acknowledged(udp):
    """With more and more time between; a HELLO alone acknowledges nothing, nor does a
    login; ACKs of what isn't known do no harm"""
    device = udp.device(acks=False)
    times = []
    device.loss = lambda data: data.startswith(TAG) and times.append(time.monotonic())
    udp.mail(2)
    wait_for(lambda: len(times) == 4, seconds=20)
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert 0.8 < gaps[0] < 1.6 and 1.6 < gaps[1] < 2.8 and 3.4 < gaps[2] < 5.5, gaps
    assert {text for _, text in device.notifications} == {NEW % 1}
    assert len({seq for seq, _ in device.notifications}) == 1
    udp.server.client("joe@example.com#phone").close()
    device.hello(acks=[2, 77, 1 << 62])
    quiet(lambda: len(udp.queue()) < 2)
    device.hello(acks=[1])
    wait_for(lambda: (2, NEW % 2) in device.notifications)
    # the one of before it was sent counts for nothing
    assert len(udp.queue()) == 1
    device.hello(acks=[1, 2])
    wait_for(lambda: udp.queue() == [])


def test_acks_lost_and_reordered(udp):
    """Each notification arrives, in order and under one number."""
    device = udp.device(acks=False)
    seen = []

    def lossy(data):
        if data.startswith(TAG):
            seen.append(data)
            return len(seen) % 3 == 1
        return False

    device.loss = lossy
    kept = []
    for count in range(1, 9):
        udp.mail()
        wait_for(lambda: len(device.told()) == count)
        acks = [device.datagram(device.envelope(device.text(acks=[count]))) for _ in range(3)]
        # the first is lost; the last one overtakes it
        kept.append(acks[0])
        device.send(acks[2])
        device.send(acks[1])
        wait_for(lambda: udp.queue() == [])
    assert device.told() == [NEW % uid for uid in range(1, 9)]
    for data in kept:
        device.send(data)
    time.sleep(0.3)
    assert [seq for seq, _ in sorted(set(device.notifications))] == list(range(1, 9))


def test_acknowledged_after_a_restart(udp):
    """The ACK of what the service had sent before it was restarted"""
    device = udp.device(acks=False)
    udp.mail()
    wait_for(lambda: len(device.told()) == 1)
    udp.server.reload()
    time.sleep(2)
    device.hello(acks=[1])
    wait_for(lambda: udp.queue() == [])
    assert set(device.notifications) == {(1, NEW % 1)}


@with_settings(pimap_udp_lifetime="3 s")
def test_lifetime(udp):
    """Nothing goes to an address after it; what came meanwhile waits for HELLO."""
    device = udp.device()
    time.sleep(3.2)
    udp.mail(2)
    quiet(lambda: device.notifications, 2)
    device.hello()
    wait_for(lambda: device.told() == [NEW % 1, NEW % 2])
    wait_for(lambda: udp.queue() == [])
    # also in the middle of repetitions
    device.acks = False
    udp.mail()
    wait_for(lambda: len(device.told()) == 3)
    time.sleep(3.2)
    count = len(device.notifications)
    quiet(lambda: len(device.notifications) > count, 5)
    assert len(udp.queue()) == 1
    device.hello(acks=[3])
    wait_for(lambda: udp.queue() == [])


class Fallback(UDP):
    def __init__(self, address, **values):
        self.relay = Relay()
        super().__init__(address=address, pimap_udp_fallback="mail",
                         pimap_mail_relay="127.0.0.1:%d" % self.relay.port,
                         pimap_mail_from="pimap@example.com", **values)

    def mails(self):
        """What they say"""
        return [(mail.recipients, re.search(r"_%\$P-IMAP\$%_ \S+", mail.text.replace("=\r\n", "")))
                for mail in self.relay.mails]

    def stop(self):
        super().stop()
        self.relay.stop()


@pytest.mark.parametrize("address,taken", [
    ("joe@example.com", True), ("joe@elsewhere.example", False), ("", False)])
def test_fallback(address, taken):
    """The other channel, if the address is one that it takes: for a device that has
    never said HELLO, and for one whose lifetime is over"""
    udp = Fallback(address, pimap_udp_lifetime="2 s")
    try:
        udp.mail()
        if not taken:
            quiet(lambda: udp.relay.mails, 3)
            device = udp.device()
            wait_for(lambda: len(device.told()) == 1)
            return
        wait_for(lambda: len(udp.relay.mails) == 1)
        (recipients, text), = udp.mails()
        assert "joe@example.com" in recipients[0] and text is not None
        device = udp.device(acks=False)
        udp.mail()
        wait_for(lambda: len(device.told()) == 1)
        # it doesn't acknowledge
        wait_for(lambda: len(udp.relay.mails) == 2)
        wait_for(lambda: udp.queue() == [])
        # as the device would have been told, under the same numbers
        assert [device.open("N", match.group().encode()[len(TAG):]).decode()
                for _, match in udp.mails()] == ["1 " + NEW % 1, "2 " + NEW % 2]
        trace = udp.server.doveadm("pimap", "outband", "trace", "-u", JOE, "phone")
        assert trace.count("sent") >= 2
    finally:
        assert udp.server.faults() == []
        udp.stop()


@pytest.mark.expects_faults
@with_settings(pimap_outband_expire="4 s")
def test_expires_unacknowledged(udp):
    device = udp.device(acks=False)
    udp.mail()
    wait_for(lambda: udp.queue())
    wait_for(lambda: udp.queue() == [], seconds=20)
    assert len(device.notifications) >= 2
    assert udp.server.logs("(NEW_MESSAGE by UDP): expired")


def test_expires_to_the_fallback():
    udp = Fallback("joe@example.com", pimap_outband_expire="4 s")
    try:
        device = udp.device(acks=False)
        udp.mail()
        wait_for(lambda: len(device.told()) == 1)
        quiet(lambda: udp.relay.mails, 2)
        wait_for(lambda: udp.queue() == [], seconds=20)
    finally:
        udp.stop()


def test_flood(udp):
    """R-14.1: 10 datagrams a second and source; others aren't in their way. Wrong
    ones get one answer a second."""
    device = udp.device()
    flood = udp.device(hello=False, source=("127.0.0.9", 0))
    wrong = flood.datagram(flood.envelope(flood.text(), key=(1, b"x" * 32)))
    started = time.monotonic()
    stop = threading.Event()

    def pour():
        while not stop.is_set():
            for _ in range(50):
                flood.send(wrong)
            time.sleep(0.005)

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        udp.mail(5)
        wait_for(lambda: len(device.told()) == 5)
        wait_for(lambda: udp.queue() == [])
        time.sleep(3)
    finally:
        stop.set()
        thread.join()
    seconds = time.monotonic() - started
    assert 1 <= flood.count(INVALID) <= seconds + 2
    assert udp.status("datagrams not authentic") <= 10 * (seconds + 2)
    assert udp.status("datagrams over the limit") > 500


@with_settings(pimap_udp_max_hellos="2", pimap_udp_max_size="256")
def test_other_limits(udp):
    device = udp.device()
    time.sleep(1.1)
    before = udp.status("datagrams over the limit")
    # within one second, whenever it begins
    for _ in range(12):
        device.hello()
    wait_for(lambda: udp.status("datagrams over the limit") >= before + 8)
    time.sleep(1.1)
    malformed = udp.status("malformed datagrams")
    device.hello(rest=b" " + b"x" * 200)
    wait_for(lambda: udp.status("malformed datagrams") == malformed + 1)


def test_lock_and_rekey(udp):
    """R-13.7: what isn't acknowledged gives way to LOCK_DOWN; after rekey the device
    is told under the key that it has, and then by the new one."""
    device = udp.device(acks=False)
    udp.mail(3)
    wait_for(lambda: len(device.told()) == 1)
    udp.server.doveadm("pimap", "device", "lock", "-u", JOE, "phone")
    wait_for(lambda: device.told()[-1] == "joe@example.com LOCK_DOWN")
    assert len(device.told()) == 2
    device.hello(acks=[2])
    wait_for(lambda: udp.queue() == [])
    udp.mail()
    quiet(lambda: len(device.told()) > 2)
    udp.server.doveadm("pimap", "device", "unlock", "-u", JOE, "phone")
    wait_for(lambda: device.told()[-1] == "joe@example.com FULL_SYNC")
    device.acks = True
    device.hello(acks=[seq for seq, _ in device.notifications])
    wait_for(lambda: udp.queue() == [])

    udp.server.doveadm("pimap", "device", "rekey", "-u", JOE, "phone")
    wait_for(lambda: device.told()[-1] == "joe@example.com NEW_ENC_KEY")
    wait_for(lambda: udp.queue() == [])
    # it has only the old one
    udp.mail()
    wait_for(lambda: device.told()[-1] == NEW % 5)
    # sent while it takes the new one, and not acknowledged
    device.acks = False
    udp.mail()
    wait_for(lambda: device.told()[-1] == NEW % 6)
    old = device.key
    device.keys = [key(udp.server)]
    assert device.key[0] == 2
    device.hello()
    count = len(device.notifications)
    wait_for(lambda: len(device.notifications) > count)
    assert device.told()[-1] == NEW % 6
    # from now on the old one is nobody's
    device.hello(key=old)
    wait_for(lambda: device.count(INVALID) == 1)


@pytest.mark.parametrize("udp,host,port", [
    ({"pimap_channels": "udp"}, None, None),
    ({"pimap_channels": "udp", "pimap_udp_host": "push.example.com", "pimap_udp_port": "99"},
     "push.example.com", "99"),
    ({"pimap_channels": "program"}, None, "")], indirect=["udp"],
    ids=["default", "set", "off"])
def test_provision(udp, host, port):
    """R-4.2, R-7.6: where UDP is, and the key, until the device has used it"""
    session = udp.server.client(JOE + "#phone")
    lines = [r.line for r in session.ok("XPROVISION").untagged]
    if port == "":
        assert "UDP" not in "".join(lines) and "ENC_KEY" not in "".join(lines)
        return
    assert "* XPROVISION XPIMAPPREF PIMAP_OUTBAND_CHANNEL (UDP NONE)" in lines
    found = [re.fullmatch(r"\* XPROVISION (\w+) \((.*)\)", line).groups() for line in lines[-3:]]
    assert found == [("PIMAP_UDP_HOST", host or socket.gethostname()),
                     ("PIMAP_UDP_PORT", port or str(udp.port)),
                     ("PIMAP_ENC_KEY", "1:" + base64.b64encode(udp.secret[1]).decode())]
    session.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL UDP")
    udp.device()
    lines = [r.line for r in session.ok("XPROVISION").untagged]
    assert len(lines) > 10 and "PIMAP_ENC_KEY" not in "".join(lines)
    # after rekey there is one again
    udp.server.doveadm("pimap", "device", "rekey", "-u", JOE, "phone")
    assert "PIMAP_ENC_KEY (2:" in session.ok("XPROVISION").untagged[-1].line


def test_emn_is_not_sent(udp):
    """deviations.md: EMN has no number to acknowledge."""
    assert udp.format == "EMN"
    device = udp.device()
    udp.mail()
    wait_for(lambda: device.told() == [NEW % 1])


def test_long_fields_are_cut(udp):
    """R-13.2: fitted to a datagram of 1 KiB"""
    device = udp.device()
    sizes = []
    device.loss = lambda data: sizes.append(len(data)) or False
    udp.folder = "F" * 60
    udp.new("Ann <ann@peer.example>", "s\u00fc" * 400, "b" * 900)
    wait_for(lambda: len(device.told()) == 1)
    assert max(sizes) <= 1024 and max(sizes) > 1000
    assert device.told()[0].startswith("joe@example.com/%s NEW_MESSAGE 1 " % udp.folder)


@pytest.mark.parametrize("values,error", [
    ({"pimap_udp_listen": "localhost:@UDP_PORT@"}, "isn't an IP address with a port"),
    ({"pimap_udp_listen": "127.0.0.1"}, "isn't an IP address with a port"),
    ({"pimap_udp_listen": "127.0.0.1:@UDP_PORT@", "pimap_udp_fallback": "udp"},
     "isn't a channel that could take"),
])
def test_wrong_settings(values, error):
    outband = Outband("UDP", "", dict({"pimap_program_path": ""}, **values))
    try:
        assert outband.server.logs(error)
    finally:
        outband.stop()


def test_port_is_taken():
    """It is tried on, and the other channels don't wait for it."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        outband = Outband("UDP", "", {
            "pimap_udp_listen": "127.0.0.1:%d" % sock.getsockname()[1]})
        try:
            assert outband.server.logs("Address already in use (it is tried on)")
            assert "UDP" in outband.server.doveadm("pimap", "outband", "status")
        finally:
            outband.stop()


def test_database_in_postgresql():
    """Keys, counters, where the device is, and locks"""
    postgres = Postgres()
    try:
        udp = UDP(pimap_outband_db=postgres.address())
        try:
            device = udp.device()
            udp.mail(2)
            wait_for(lambda: device.told() == [NEW % 1, NEW % 2])
            replay = device.hello()
            wait_for(lambda: device.count("OK") >= 2)
            device.send(replay)
            wait_for(lambda: device.count(INVALID) == 1)
            other = udp.device(login="joe#phone")
            assert other.count("CHALLENGE") == 1
            udp.server.doveadm("pimap", "device", "rekey", "-u", JOE, "phone")
            udp.server.doveadm("pimap", "device", "lock", "-u", JOE, "phone")
            wait_for(lambda: "joe@example.com LOCK_DOWN" in other.told())
            assert udp.server.faults() == []
        finally:
            udp.stop()
    finally:
        postgres.remove()
