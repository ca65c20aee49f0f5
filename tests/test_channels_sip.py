# SPDX-License-Identifier: LGPL-2.1-only
"""The channel SIP, with SIPp as the outbound proxy, and one of the tests for what it can't
do: what comes there, and what becomes of a notification by the answer."""

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from conftest import DOVECOT_24, Server, settings
from outband_peers import many, wait_for
from sipp import Proxy, Sipp, free_port, response
from test_outband_channels import Outband, lend
from test_outband_surroundings import NameServer
from test_channels_https import FAILURES, certificates
from test_channels_sms import ODD, read
from tls_peer import TLS

ADDRESS = "sip:joe@example.com"
USER, PASSWORD = "dovecot", "s&cret +%"
FORGED = ["x\r\n\r\nMESSAGE sip:ann@example.com SIP/2.0\r\nVia: x", "\r\nContent-Length: 0\r\n",
          "_%$P-IMAP$%_ 7 joe@example.com LOCK_DOWN", "\\\" \"x\" <sip:a@b>;tag=1, c"]
EMN = b'<emn mailbox="mailat:joe@example.com" timestamp="2004-02-20T06:40:00Z"></emn>'


class SIP(Outband):
    def __init__(self, proxy, conf="", **values):
        self.CONF = Outband.CONF + conf
        super().__init__("SIP", ADDRESS, dict({
            "pimap_channels": "sip", "pimap_sip_proxy": proxy,
            "pimap_sip_from": "sip:notify@imap.example.com", "pimap_sip_user": USER,
            "pimap_sip_password": PASSWORD, "pimap_sip_pattern": "sip:*@example.com",
            "pimap_clear_text": "sip"}, **values))

    def wait_sent(self, count=1, seconds=15):
        wait_for(lambda: self.server.log().count("by SIP): sent") == count, seconds)


@pytest.fixture
def sipp(request):
    """request.param: the scenario, and whether it is over TCP"""
    scenario, tcp = getattr(request, "param", ("200", False))
    sipp = Sipp(scenario, tcp)
    yield sipp
    sipp.stop()


@pytest.fixture
def sip(sipp, request):
    sip = SIP(sipp.proxy, **getattr(request, "param", {}))
    yield from lend(request, sip)


def both(scenario):
    return pytest.mark.parametrize("sipp", [(scenario, False), (scenario, True)],
                                   ids=["udp", "tcp"], indirect=True)


@both("200")
def test_emn_as_sent(sip, sipp):
    """R-13.2, R-13.8: as text, in a MESSAGE"""
    sip.new()
    sip.wait_sent()
    message, = sipp.messages
    transport = "TCP" if sipp.tcp else "UDP"
    assert message.method == "MESSAGE" and message.uri == ADDRESS and message.body == EMN
    headers = message.headers
    assert headers["via"].startswith("SIP/2.0/%s 127.0.0.1:" % transport)
    assert ";rport;branch=z9hG4bK" in headers["via"]
    assert headers["from"].startswith("<sip:notify@imap.example.com>;tag=")
    assert headers["to"] == "<%s>" % ADDRESS
    assert headers["cseq"] == "1 MESSAGE"
    assert headers["max-forwards"] == "70"
    assert headers["content-type"] == "text/vnd.wap.emn+xml;charset=utf-8"
    assert headers["content-length"] == str(len(EMN))
    # a MESSAGE has none (RFC 3428), and nobody has asked for these
    assert not {"contact", "authorization", "proxy-authorization"} & set(headers)
    assert PASSWORD not in sip.server.log()


@both("200")
def test_by_name(sipp):
    """The proxy's host is looked up. Its first address isn't the right one."""
    class TwoAddresses(NameServer):
        def copy(self, other, client):
            with contextlib.suppress(OSError):
                for text in iter(lambda: other.recv(4096), b""):
                    client.sendall(text.replace(b"\t127.0.0.1", b"\t127.0.0.9\t127.0.0.1"))
    sip = SIP(sipp.proxy.replace("127.0.0.1", "localhost"), conf=NameServer.CONF)
    names = TwoAddresses(sip.server)
    try:
        sip.new()
        sip.wait_sent(seconds=5)
        sip.new()
        sip.wait_sent(2)
        first, second = sipp.messages
        # the first address's transaction was another; localhost may have more of them
        assert first.headers["cseq"] in ("2 MESSAGE", "3 MESSAGE")
        assert second.headers["cseq"] == "1 MESSAGE"
        assert names.asked == 1 and sip.server.faults() == []
    finally:
        names.stop()
        sip.stop()


@both("200")
def test_odd_subjects(sip, sipp):
    """Whole, or cut between characters where they don't fit, and never two messages"""
    sip.format = "EXTENDED"
    subjects = ODD + FORGED
    for subject in subjects:
        # NUL can't be in a line of the worker's
        sip.new("Joe \"X\" <joe@example.com>", subject.replace("\0", " "))
    sip.wait_sent(len(subjects), 60)
    messages = sipp.messages
    assert len(messages) == len(subjects)
    cut = 0
    for number, (message, octets, subject) in enumerate(
            zip(messages, sipp.received, subjects), 1):
        assert len(octets) <= 1300 - 300  # room for credentials and longer addresses
        assert message.headers["content-type"] == "text/plain;charset=utf-8"
        assert message.headers["content-length"] == str(len(message.body))
        text = message.body.decode()
        assert not any(ord(char) < 0x20 or char == "\x7f" for char in text)
        words = read(text)
        assert words[:2] == ["_%$P-IMAP$%_", str(number)]
        want = " ".join(subject.replace("\0", " ").replace("\u2028", " ").split())
        want = want.replace("\u202e", "")
        told = "" if text.endswith(" NIL") else words[8]
        assert want.startswith(told)
        if told != want:
            cut += 1
            assert len(message.body) > 400
    assert cut >= 3


@pytest.mark.parametrize("sipp", [("202", False), ("202", True)], ids=["udp", "tcp"],
                         indirect=True)
def test_accepted(sip, sipp):
    """202: the proxy has taken it over"""
    sip.new(count=3)
    sip.wait_sent(3)
    assert len(sipp.messages) == 3


@pytest.mark.expects_faults
@both("486")
def test_busy(sip, sipp):
    """The device doesn't take it now: with the same number and octets again, and without a
    word in the log"""
    sip.format = "EXTENDED"
    sip.new(count=2)
    wait_for(lambda: len(sipp.messages) >= 2)
    sipp.restart("200")
    # over TCP the other connection has ended
    sip.wait_sent(2)
    bodies = [message.body for message in sipp.messages]
    assert len(set(bodies[:-1])) == 1 and b"_%$P-IMAP$%_ 1 " in bodies[0]
    assert b"_%$P-IMAP$%_ 2 " in bodies[-1]
    # each try is a call of its own
    calls = [message.headers["call-id"] for message in sipp.messages]
    assert len(set(calls)) == len(calls)
    assert not sipp.tcp or len(sip.server.faults()) <= 1
    assert sipp.tcp or sip.server.faults() == []


@pytest.mark.expects_faults
@pytest.mark.parametrize("sip", [{"pimap_outband_retry_max": "20 s"}], indirect=True)
@both("503")
def test_retry_after(sip, sipp):
    """Not sooner than the proxy wants it; logged once"""
    sip.new()
    wait_for(lambda: sipp.messages)
    came = time.monotonic()
    wait_for(lambda: len(sipp.messages) == 2)
    assert time.monotonic() - came > 3
    fault, = sip.server.faults()
    assert "SIP: The answer of 127.0.0.1 is 503 Service Unavailable (it is tried on)" in fault
    sipp.restart("200")
    sip.wait_sent()


def test_retry_after_of_a_device():
    """pjsip#220: the device isn't there (480), and says when it will be. That is no fault."""
    def handle(proxy, message, reply):
        if len(proxy.messages) == 1:
            reply(response(message, "480 Temporarily Unavailable", "Retry-After: 4 (in a lift)"))
        else:
            reply(response(message, "200 OK"))
    proxy = Proxy(handle)
    sip = SIP(proxy.proxy, pimap_outband_retry_max="20 s")
    try:
        sip.new(count=2)
        sip.wait_sent(2)
        waited = proxy.times[1] - proxy.times[0]
        assert 3 < waited and len(proxy.messages) == 3
        assert proxy.messages[0].body == proxy.messages[1].body
        assert sip.server.faults() == []
    finally:
        sip.stop()
        proxy.stop()


@pytest.mark.expects_faults
@both("404")
def test_unregistered(sip, sipp):
    """Nothing more goes there before the device sets another address"""
    sip.new()
    assert sip.server.logs("by SIP): unregistered: The answer of 127.0.0.1 is 404 Not Found")
    sip.new()
    time.sleep(2)
    assert len(sipp.messages) == 1


@pytest.mark.expects_faults
@both("603")
def test_declined(sip, sipp):
    sip.new()
    assert sip.server.logs("by SIP): given up: The answer of 127.0.0.1 is 603 Decline")
    time.sleep(2)
    assert len(sipp.messages) == 1


@pytest.mark.expects_faults
def test_statuses():
    """What becomes of it: by the table of doc/channels.md"""
    table = {"sent": (200, 202, 204, 299),
             "unregistered": (404, 410, 604),
             "retry": (408, 430, 480, 486, 487, 491),
             "fault": (403, 500, 502, 503, 504, 580, 599),
             "given up": (300, 305, 400, 405, 413, 415, 420, 481, 482, 483, 484, 488, 489,
                          501, 505, 513, 600, 603, 606, 699)}
    proxy = Proxy(lambda proxy, message, reply: reply(response(
        message, "%s x" % message.uri[4:7])))
    sip = SIP(proxy.proxy)
    try:
        for statuses in table.values():
            for status in statuses:
                name = "d%d" % status
                sip.addresses[name] = "sip:%d@example.com" % status
                sip.new(device=name)

        def came(result, status):
            return "#d%d: Notification 1 (NEW_MESSAGE by SIP): %s" % (status, result) in \
                sip.server.log()
        wait_for(lambda: all(came("retry" if result == "fault" else result, status)
                             for result, statuses in table.items() for status in statuses), 30)
        # the first one that is the proxy's fault, until one is sent
        faults = [line for line in sip.server.faults() if "(it is tried on)" in line]
        assert faults and all(any("is %d x" % status in line for status in table["fault"])
                              for line in faults)
    finally:
        sip.stop()
        proxy.stop()


@both("401")
def test_challenge(sip, sipp):
    """Answered once; the next request needn't be asked"""
    sip.new()
    sip.wait_sent()
    first, second = sipp.messages
    assert "authorization" not in first.headers
    assert first.headers["cseq"] == "1 MESSAGE" and second.headers["cseq"] == "2 MESSAGE"
    for name in ("call-id", "from", "to", "content-type"):
        assert first.headers[name] == second.headers[name]
    assert first.body == second.body == EMN
    assert first.headers["via"] != second.headers["via"]
    params = credentials(second.headers["authorization"])
    assert params["username"] == USER and params["nc"] == "00000001"
    assert PASSWORD not in sip.server.log()


@pytest.mark.expects_faults
@pytest.mark.parametrize("sip", [{"pimap_sip_password": "wrong"}], indirect=True)
@both("401")
def test_challenge_with_a_wrong_password(sip, sipp):
    """SIPp knows that it isn't the right one"""
    sip.new()
    assert sip.server.logs("SIP: The answer of 127.0.0.1 is 403 Forbidden (it is tried on)")
    assert len(sip.server.faults()) == 1


@both("302")
def test_redirected(sip, sipp):
    sip.new()
    sip.wait_sent()
    first, second = sipp.messages
    assert first.uri == ADDRESS and second.uri == "sip:home@example.com"
    assert first.headers["to"] == second.headers["to"] == "<%s>" % ADDRESS
    assert first.headers["call-id"] == second.headers["call-id"]
    assert second.headers["cseq"] == "2 MESSAGE"
    assert first.body == second.body


@pytest.mark.expects_faults
@pytest.mark.parametrize("contacts, why", [
    (["<sip:x@example.org>"], "it doesn't match pimap_sip_pattern"),
    (["<sip:x@example.com?Subject=y>"], "not sip:user@host"),
    (["<sip:x@example.com;maddr=192.0.2.1>"], "not sip:user@host"),
    (["<sips:x@example.com>"], "not sip:user@host"),
    ([None], "it names no other address"),
    (["<sip:x@example.com>", "<sip:y@example.com>"], "it is redirected again")])
def test_not_redirected(contacts, why):
    def handle(proxy, message, reply):
        contact = contacts[min(len(proxy.messages), len(contacts)) - 1]
        reply(response(message, "302 Moved", *(["Contact: " + contact] if contact else [])))
    proxy = Proxy(handle)
    sip = SIP(proxy.proxy)
    try:
        sip.new()
        wait_for(lambda: "given up: The answer of 127.0.0.1 is 302 Moved (" in sip.server.log())
        assert why in sip.server.log()
        assert len(proxy.messages) == len(contacts)
    finally:
        sip.stop()
        proxy.stop()


@pytest.mark.expects_faults
@both("never")
def test_never_answered(sip, sipp):
    """Over UDP repeated as RFC 3261 wants it (17.1.2.2), over TCP not; then it is tried again"""
    sip.new()
    wait_for(lambda: sipp.received)
    wait_for(lambda: "127.0.0.1 didn't answer in 32 s" in sip.server.log(), 60)
    call = sipp.messages[0].headers["call-id"]
    same = [data for data in sipp.received if call.encode() in data]
    # at 0, 0.5, 1.5, 3.5, 7.5, then each 4 s: the last one at 31.5 s
    assert len(same) == (1 if sipp.tcp else 11)
    assert len(set(same)) == 1
    wait_for(lambda: sipp.messages[-1].headers["call-id"] != call)


def test_timers():
    """When it is repeated, until an answer comes"""
    def handle(proxy, message, reply):
        if len(proxy.messages) == 6:
            reply(response(message, "200 OK"))
    proxy = Proxy(handle)
    sip = SIP(proxy.proxy)
    try:
        sip.new()
        sip.wait_sent(seconds=30)
        waited = [round(after - before, 1) for before, after in
                  zip(proxy.times, proxy.times[1:])]
        assert all(wanted - 0.1 <= found < wanted + 1 for wanted, found in
                   zip((0.5, 1, 2, 4, 4), waited)), waited
        assert len({tuple(map(str, message)) for message in proxy.messages}) == 1
        # what comes after the answer is nobody's
        time.sleep(1)
        assert len(proxy.messages) == 6 and sip.server.faults() == []
    finally:
        sip.stop()
        proxy.stop()


def test_provisional():
    """100, then nothing for 10 s: it is repeated more slowly, and goes on"""
    answers = []

    def handle(proxy, message, reply):
        if len(proxy.messages) == 1:
            reply(response(message, "100 Trying"))
            answers.append(threading.Timer(10, reply, (response(message, "200 OK"),)))
            answers[0].start()
    proxy = Proxy(handle)
    sip = SIP(proxy.proxy)
    try:
        sip.new()
        sip.wait_sent(seconds=30)
        waited = [round(after - before, 1) for before, after in
                  zip(proxy.times, proxy.times[1:])]
        # what was set before the answer runs out first
        assert len(waited) == 3
        assert all(wanted - 0.1 <= found < wanted + 1 for wanted, found in
                   zip((0.5, 4, 4), waited)), waited
        assert sip.server.faults() == []
    finally:
        sip.stop()
        proxy.stop()


@pytest.mark.parametrize("tcp", [False, True])
def test_answers_of_others(tcp):
    """Only the answer to the request counts, and that in any form"""
    strangers = []

    def handle(proxy, message, reply):
        good = response(message, "200 OK")
        if len(proxy.messages) == 1:
            for old, new in ((b"branch=z9hG4bK", b"branch=z9hG4bL"), (b"1 MESSAGE", b"1 INVITE"),
                             (b"CSeq:", b"X:"), (b"\r\nFrom:", b", SIP/2.0/UDP x\r\nFrom:"),
                             (b"SIP/2.0 200 OK", b"OPTIONS sip:x@y SIP/2.0"),
                             (b"200 OK", b"100 Trying")):
                bad = good.replace(b"200 OK", b"404 Not Found") if old != b"200 OK" and \
                    b"SIP/2.0 200" not in old else good
                assert old in bad
                reply(bad.replace(old, new))
            if not tcp:
                for bad in (b"", b"\0", b"x" * 60000, b"SIP/2.0 404 Not Found\r\n",
                            good.replace(b"200 OK", b"404 Not\0Found"), b"\r\n" * 5000):
                    reply(bad)
                # from elsewhere: the kernel keeps it from us
                port = int(message.headers["via"].split(":")[1].split(";")[0])
                with socket.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.sendto(good.replace(b"200 OK", b"404 Not Found"), ("127.0.0.1", port))
                    strangers.append(port)
            else:
                proxy.later = threading.Timer(1, reply, (b"\r\n\r\n" + good,))
                proxy.later.start()
        elif len(proxy.messages) == 2 and not tcp:
            via = message.headers["via"].replace(";branch=", " ;\r\n Branch\t=  ")
            reply(b"sip/2.0 200\r\nv : %s\r\nCSEQ:\r\n\t1\r\n MESSAGE\r\n\r\nbody"
                  % via.encode())
    proxy = Proxy(handle, tcp)
    sip = SIP(proxy.proxy)
    try:
        sip.new()
        sip.wait_sent()
        assert len(proxy.messages) == (1 if tcp else 2)
        assert tcp or len(strangers) == 1
        assert sip.server.faults() == []
    finally:
        sip.stop()
        proxy.stop()


def test_answers_in_pieces():
    """TCP: octet by octet, two at a time, with bodies, and with empty lines between"""
    held = []

    def handle(proxy, message, reply):
        count = len(proxy.messages)
        good = response(message, "200 OK", body=b"SIP/2.0 404 Not Found\r\n\r\n" * 100)
        if count == 1:
            for index in range(0, len(good), 7):
                reply(good[index:index + 7])
                time.sleep(0.001)
        elif count == 2:
            held.append(good)
        elif count == 3:
            reply(held[0] + b"\r\n\r\n" + good[:-1])
            time.sleep(0.3)
            reply(good[-1:])
        else:
            reply(good)
    proxy = Proxy(handle, True)
    sip = SIP(proxy.proxy)
    try:
        sip.new()
        sip.wait_sent()
        sip.new(device="a")
        wait_for(lambda: len(proxy.messages) == 2)
        sip.new(device="b")
        sip.wait_sent(3)
        sip.new()
        sip.wait_sent(4)
        assert len(proxy.connections) == 1 and len(proxy.messages) == 4
        assert sip.server.faults() == []
    finally:
        sip.stop()
        proxy.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("what", [
    b"SIP/2.0 2000 OK\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"x" * 9000, b"\r\n" * 5000,
    b"SIP/2.0 200 OK\r\nContent-Length: 70000\r\n\r\n", b"SIP/2.0 200 OK\r\nX: \0\r\n\r\n", None])
def test_stream_that_is_broken(what):
    """Another connection is made, and what has no answer is sent again"""
    def handle(proxy, message, reply):
        if len(proxy.connections) == 1:
            if what is None:
                reply(response(message, "200 OK")[:50])
                proxy.connections[0].shutdown(socket.SHUT_RDWR)
            else:
                reply(what)
        else:
            reply(response(message, "200 OK"))
    proxy = Proxy(handle, True)
    sip = SIP(proxy.proxy)
    try:
        sip.new(count=2)
        sip.wait_sent(2)
        assert len(proxy.connections) == 2 and len(proxy.messages) == 3
        fault, = sip.server.faults()
        assert ("the connection was closed" if what is None else "its answer can't be read: ") \
            in fault
    finally:
        sip.stop()
        proxy.stop()


def digest_is_right(message, name):
    params = credentials(message.headers[name])

    def hashed(text):
        return hashlib.new("sha256" if params.get("algorithm") == "SHA-256" else "md5",
                           text.encode()).hexdigest()
    middle = ":".join((params["nonce"], params["nc"], params["cnonce"], "auth")) \
        if "qop" in params else params["nonce"]
    return params["uri"] == message.uri and params["response"] == hashed(":".join((
        hashed("%s:%s:%s" % (USER, params["realm"], PASSWORD)), middle,
        hashed(message.method + ":" + message.uri))))


def credentials(text):
    assert text.startswith("Digest ")
    found = re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([\w-]+))(?:, |$)', text[7:])
    return {name: quoted or token for name, quoted, token in found}


@pytest.mark.parametrize("algorithm", [None, "MD5", "SHA-256"])
@pytest.mark.parametrize("qop", [None, 'qop="auth,auth-int"'])
@pytest.mark.parametrize("tcp", [False, True])
def test_proxy_authentication(algorithm, qop, tcp):
    """407, of the proxy, then 401, of who is behind it. The nonce is used again, with its count."""
    challenge = ", ".join(filter(None, (
        'Digest realm="a \\"b\\"", nonce="%s", opaque="o"', qop,
        algorithm and "algorithm=" + algorithm)))
    seen = []

    def handle(proxy, message, reply):
        for name, status in (("proxy-authorization", "407 Proxy Authentication Required"),
                             ("authorization", "401 Unauthorized")):
            if name not in message.headers:
                header = "Proxy-Authenticate" if name[0] == "p" else "WWW-Authenticate"
                reply(response(message, status, header + ": Basic realm=\"x\"",
                               header + ": Digest realm=\"x\", nonce=\"n\", algorithm=SHA-512-256",
                               header + ": " + challenge % name))
                return
            params = credentials(message.headers[name])
            assert digest_is_right(message, name) and params["nonce"] == name
            assert params["opaque"] == "o"
            if qop:
                assert (name, params["nc"]) not in seen
                seen.append((name, params["nc"]))
        reply(response(message, "200 OK"))
    proxy = Proxy(handle, tcp)
    sip = SIP(proxy.proxy)
    try:
        sip.new(count=3)
        sip.wait_sent(3)
        # two challenges, only once
        assert len(proxy.messages) == 5
        if qop:
            assert [number for name, number in seen if name == "authorization"] == \
                ["%08x" % number for number in (1, 2, 3)]
        assert PASSWORD not in sip.server.log() and sip.server.faults() == []
    finally:
        sip.stop()
        proxy.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("stale, tries, values", [
    # the one without credentials, and one with; then the next try
    (None, 2, {}), ("false", 2, {}), ("true", 3, {}), ("true", 1, {"pimap_sip_user": ""}),
    ("unknown", 1, {})])
def test_challenged_for_ever(stale, tries, values):
    """At most two tries of credentials, and only where the nonce is too old. It can be mended:
    nothing is given up, it is logged once"""
    def handle(proxy, message, reply):
        algorithm = "x" if stale == "unknown" else "MD5"
        reply(response(message, "407 Proxy Authentication Required",
                       'Proxy-Authenticate: Digest realm="r", nonce="%d", algorithm=%s%s'
                       % (len(proxy.messages), algorithm, ", stale=" + stale if stale else "")))
    proxy = Proxy(handle)
    sip = SIP(proxy.proxy, **values)
    try:
        sip.new()
        wait_for(lambda: sip.server.log().count("by SIP): retry") >= 2)
        fault, = sip.server.faults()
        assert {1: "no way of authentication is known that it takes" if stale == "unknown" else
                "a name and a password are wanted, and none are set"}.get(
                    tries, "the name or the password is wrong") in fault
        first = proxy.messages[0].headers["call-id"]
        assert [message.headers["call-id"] for message in proxy.messages].count(first) == tries
        assert PASSWORD not in sip.server.log()
    finally:
        sip.stop()
        proxy.stop()


def test_stale():
    """A nonce that has become too old is no refusal"""
    def handle(proxy, message, reply):
        nonce = "n%d" % ((len(proxy.messages) + 1) // 3)
        params = credentials(message.headers.get("authorization", "Digest "))
        if params.get("nonce") == nonce:
            assert digest_is_right(message, "authorization")
            reply(response(message, "200 OK"))
        else:
            reply(response(message, "401 x", 'WWW-Authenticate: Digest realm="r", qop=auth, '
                           'nonce="%s"%s' % (nonce, ", stale=TRUE" if params else "")))
    proxy = Proxy(handle)
    sip = SIP(proxy.proxy)
    try:
        sip.new(count=10)
        sip.wait_sent(10)
        assert sip.server.faults() == []
    finally:
        sip.stop()
        proxy.stop()


def two_proxies(handle):
    """By UDP and by TCP at the same port"""
    while True:
        tcp = Proxy(handle, True)
        try:
            return Proxy(handle, port=tcp.port), tcp
        except OSError:
            # another's, by UDP
            tcp.stop()


@pytest.mark.parametrize("takes_tcp", [True, False])
def test_long_request(takes_tcp):
    """More than fits into a datagram (RFC 3261, 18.1.1): by TCP, if the proxy takes that"""
    def handle(proxy, message, reply):
        if "authorization" in message.headers:
            assert digest_is_right(message, "authorization")
            reply(response(message, "200 OK"))
        else:
            reply(response(message, "401 x", 'WWW-Authenticate: Digest realm="%s", nonce="%s"'
                           % ("r" * 500, "n" * 500)))
    udp, tcp = two_proxies(handle) if takes_tcp else (Proxy(handle), None)
    sip = SIP(udp.proxy)
    try:
        sip.new(count=2)
        sip.wait_sent(2)
        if takes_tcp:
            # such a challenge isn't kept
            assert len(udp.messages) == len(tcp.messages) == 2
            assert tcp.messages[0].headers["via"].startswith("SIP/2.0/TCP ")
        else:
            assert len(udp.messages) == 4
        assert sip.server.faults() == []
    finally:
        sip.stop()
        udp.stop()
        if tcp:
            tcp.stop()


@pytest.mark.parametrize("tcp", [False, True])
def test_a_device_that_hangs(tcp):
    """Others go on, also on the same connection"""
    def handle(proxy, message, reply):
        if message.uri != "sip:hangs@example.com":
            reply(response(message, "200 OK"))
    proxy = Proxy(handle, tcp)
    sip = SIP(proxy.proxy)
    try:
        for number in range(50):
            sip.addresses["h%d" % number] = "sip:hangs@example.com"
            sip.new(device="h%d" % number)
        wait_for(lambda: len(proxy.messages) >= 50)
        start = time.monotonic()
        sip.new(count=20)
        sip.wait_sent(20)
        assert time.monotonic() - start < 25 and sip.server.faults() == []
    finally:
        sip.stop()
        proxy.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_nobody_listens(transport):
    """It is known at once, by UDP too, and logged once"""
    port = free_port(transport == "tcp")
    sip = SIP("127.0.0.1:%d;transport=%s" % (port, transport))
    try:
        sip.new()
        wait_for(lambda: sip.server.log().count("Connection refused") >= 3, 15)
        assert len(sip.server.faults()) == 1
        proxy = Proxy(lambda proxy, message, reply: reply(response(message, "200 OK")),
                      transport == "tcp", port=port)
        sip.wait_sent()
        proxy.stop()
    finally:
        sip.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("sip", [{"pimap_sip_from": ""}], indirect=True)
def test_default_sender(sip, sipp):
    sip.new()
    sip.wait_sent()
    assert re.match("<sip:pimap@[^>]+>;tag=", sipp.messages[0].headers["from"])


@pytest.mark.expects_faults
@pytest.mark.parametrize("values", [{"pimap_sip_pattern": ""},
                                    {"pimap_sip_pattern": "sip:*@example.org"}])
def test_pattern(sipp, values):
    """R-14.5: asked again before each is sent"""
    sip = SIP(sipp.proxy, **values)
    try:
        sip.new()
        assert sip.server.logs("given up: The address isn't allowed: ")
        assert sipp.messages == []
    finally:
        sip.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("address", [
    "sip:joe@example.com\r\nX: y", "sip:joe@example.com?Subject=y", "sip:joe@example.com>;tag=1",
    "sip:joe@example.com SIP/2.0", "sip:joe%0d%0a@example.com", "sips:joe@example.com",
    "joe@example.com", "sip:j\u00f6@example.com", ""])
def test_address(sipp, address):
    """R-14.5: what isn't one never comes into a request"""
    sip = SIP(sipp.proxy, pimap_sip_pattern="*")
    try:
        sip.address = address
        sip.new()
        assert sip.server.logs("given up: The address isn't allowed: not sip:user@host")
        assert sipp.messages == []
    finally:
        sip.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("sip", [{"pimap_limit_sip": "2"}], indirect=True)
def test_limit(sip, sipp):
    """R-14.5: over it they are joined at the end of the hour"""
    sip.new(count=3)
    sip.wait_sent(2)
    assert sip.server.logs("SIP: 2 notifications in an hour (pimap_limit_sip)")
    time.sleep(2)
    assert len(sipp.messages) == 2


@pytest.mark.parametrize("format", ["EMN", "EXTENDED"])
@pytest.mark.parametrize("tcp", [False, True])
def test_notify(format, tcp):
    """R-13.8: without a subscription"""
    proxy = Proxy(lambda proxy, message, reply: reply(response(message, "200 OK")), tcp)
    sip = SIP(proxy.proxy, pimap_sip_method="notify")
    sip.format = format
    try:
        sip.new("Joe <joe@example.com>", "x" * 10000)
        sip.wait_sent()
        message, = proxy.messages
        headers = message.headers
        assert message.method == "NOTIFY" and headers["cseq"] == "1 NOTIFY"
        assert headers["event"] == "message-summary"
        assert headers["subscription-state"] == "terminated"
        assert headers["contact"].startswith("<sip:127.0.0.1:")
        assert headers["content-type"] == "application/simple-message-summary"
        status, empty, told, end = message.body.decode().split("\r\n")
        assert (status, empty, end) == ("Messages-Waiting: yes", "", "")
        name, told = told.split(": ", 1)
        assert name == "X-PIMAP-Notification"
        assert told == EMN.decode() if format == "EMN" else \
            told.startswith("_%$P-IMAP$%_ 1 joe@example.com NEW_MESSAGE 1 ")
        assert len(message.body) < 700
    finally:
        sip.stop()
        proxy.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("values", [
    {"pimap_sip_proxy": "127.0.0.1:x"}, {"pimap_sip_proxy": "127.0.0.1;transport=sctp"},
    {"pimap_sip_from": "joe@example.com"}, {"pimap_sip_from": "sip:joe@example.com>"},
    {"pimap_sip_method": "invite"}])
def test_settings_that_are_wrong(values):
    server = None
    try:
        server = Server.temporary("maildir", extra=settings(dict(
            {"pimap_channels": "sip", "pimap_sip_proxy": "127.0.0.1"}, **values)))
        # 2.3: only the service knows
        value, = values.values()
        assert server.logs(value)
    except subprocess.CalledProcessError:
        assert DOVECOT_24
    finally:
        if server is not None:
            server.stop()


@pytest.mark.expects_faults
@both("200")
def test_restarted(sipp):
    """The proxy again and again: nothing is lost, and each device's are in order"""
    total = many(200)
    sip = SIP(sipp.proxy, pimap_join_count="0", pimap_limit_device="0", pimap_limit_user="0")
    sip.format = "EXTENDED"
    try:
        begun = time.monotonic()
        for number in range(5):
            sip.addresses["d%d" % number] = "sip:d%d@example.com" % number
            sip.new(device="d%d" % number, count=total // 5)
        for number in range(5):
            wait_for(lambda: len(sipp.received) >= total * (number + 1) // 7, 60)
            sipp.restart("200")
        sip.wait_sent(total, 60)
        print("%d in %.1f s" % (total, time.monotonic() - begun))
        numbers = {}
        for message in sipp.messages:
            numbers.setdefault(message.uri, []).append(
                (int(message.body.split()[1]), message.body))
        for found in numbers.values():
            # again only under the same number, and the same octets
            first = [entry for n, entry in enumerate(found) if entry not in found[:n]]
            assert [number for number, _ in first] == list(range(1, total // 5 + 1))
        assert len(numbers) == 5
    finally:
        sip.stop()


def test_outband_test(sipp):
    """doveadm pimap outband test"""
    server = Server.temporary("maildir", extra=settings({
        "pimap_channels": "sip", "pimap_sip_proxy": sipp.proxy,
        "pimap_sip_pattern": "sip:*@example.com"}))
    try:
        server.doveadm("pimap", "device", "add", "-u", "joe", "phone")
        for name, value in (("CHANNEL", "SIP"), ("ADDRESS", ADDRESS)):
            server.doveadm("pimap", "pref", "set", "-u", "joe", "phone",
                           "PIMAP_OUTBAND_" + name, value)
        assert "sent" in server.doveadm("pimap", "outband", "test", "-u", "joe", "phone")
        message, = sipp.messages
        assert message.uri == ADDRESS
        # it goes nowhere else
        assert "it doesn't match pimap_sip_pattern" in server.doveadm(
            "pimap", "pref", "set", "-u", "joe", "phone", "PIMAP_OUTBAND_ADDRESS",
            "sip:joe@example.org", fails=True)
    finally:
        server.stop()


# TLS: SIPp, as Debian has it, doesn't speak it itself

class Secure:
    """The service, and a proxy behind TLS that takes all by TCP"""

    def __init__(self, certificates, port, host="127.0.0.1", ca="ca.pem", **values):
        self.tls = TLS(port, certificates + "/good.pem")
        self.sip = SIP("%s:%d;transport=tls" % (host, self.tls.port), **dict(
            {"pimap_sip_ca": "%s/%s" % (certificates, ca)} if ca else {}, **values))
        self.server = self.sip.server

    def sent(self):
        return self.server.log().count("by SIP): sent")

    def stop(self):
        self.tls.stop()
        self.sip.stop()


@pytest.mark.parametrize("sipp", [("200", True)], indirect=True)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(sipp, certificates, host):
    """With the certificate for the address or the name, by one connection"""
    one = Secure(certificates, sipp.port, host)
    try:
        one.sip.format = "EXTENDED"
        one.sip.new("Joe <joe@example.com>", "x" * 1000, count=50)
        one.sip.new(device="other")
        one.sip.wait_sent(51)
        assert len(sipp.messages) == 51 and one.tls.count == 1
        assert all(message.headers["via"].startswith("SIP/2.0/TLS 127.0.0.1:")
                   for message in sipp.messages)
        assert one.tls.names == [host] and one.server.faults() == []
    finally:
        one.stop()


def test_tls_notify(certificates):
    """What the device is told of where it came from"""
    proxy = Proxy(lambda proxy, message, reply: reply(response(message, "200 OK")), True)
    one = Secure(certificates, proxy.port, pimap_sip_method="notify")
    try:
        one.sip.new()
        one.sip.wait_sent()
        message, = proxy.messages
        assert re.fullmatch(r"<sip:127\.0\.0\.1:\d+;transport=tls>", message.headers["contact"])
    finally:
        one.stop()
        proxy.stop()


@pytest.mark.expects_faults
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_tried_again(certificates):
    """Nothing is said to who isn't the proxy. The log says once what is wrong, and when it is
    mended it is sent."""
    proxy = Proxy(lambda proxy, message, reply: reply(response(message, "200 OK")), True)
    one = Secure(certificates, proxy.port)
    try:
        for number, (pem, words) in enumerate(FAILURES, 1):
            one.tls.drop()
            one.tls.pem = pem if pem in ("cut", "reset", "plain", "old") else \
                "%s/%s.pem" % (certificates, pem)
            one.tls.plain = b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
            one.tls.passed = b""
            before = len(one.server.log())
            one.sip.new()
            wait_for(lambda: one.server.log()[before:].count("by SIP): retry: 127.0.0.1: ") >= 2,
                     30)
            fault, = one.server.faults()[number - 1:]
            assert words in fault and "ssl_client" not in fault, fault
            assert one.tls.passed == b"" and one.sent() == number - 1
            one.tls.pem = one.tls.good
            wait_for(lambda: one.sent() == number, 60)
        assert len(proxy.messages) == len(FAILURES)
    finally:
        one.stop()
        proxy.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("ca, words", [
    (None, "unable to get local issuer certificate"), ("nowhere.pem", "No such file")])
def test_tls_authorities(certificates, ca, words):
    proxy = Proxy(lambda proxy, message, reply: reply(response(message, "200 OK")), True)
    one = Secure(certificates, proxy.port, ca=ca)
    path = certificates + "/nowhere.pem"
    try:
        one.sip.new()
        assert one.server.logs("by SIP): retry: 127.0.0.1: ")
        fault, = one.server.faults()
        assert words in fault, fault
        time.sleep(2.5)
        assert len(one.server.faults()) == 1
        assert one.tls.passed == b"" and one.sent() == 0
        if ca is not None:
            os.symlink("ca.pem", path)
            one.sip.wait_sent()
    finally:
        if os.path.lexists(path):
            os.unlink(path)
        one.stop()
        proxy.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("sipp", [("200", True)], indirect=True)
def test_tls_restarted(sipp, certificates):
    """What speaks TLS again and again: nothing is lost, and each device's are in order"""
    total = int(os.environ.get("PIMAP_NOTIFICATIONS", "200"))
    one = Secure(certificates, sipp.port, pimap_join_count="0", pimap_limit_device="0",
                 pimap_limit_user="0")
    one.sip.format = "EXTENDED"
    try:
        for number in range(5):
            one.sip.addresses["d%d" % number] = "sip:d%d@example.com" % number
            one.sip.new(device="d%d" % number, count=total // 5)
        for number in range(5):
            wait_for(lambda: len(sipp.received) >= total * (number + 1) // 7, 60)
            one.tls.stop()
            # it doesn't live through many connections that are lost
            sipp.restart("200")
            one.tls.start()
        one.sip.wait_sent(total, 60)
        numbers = {}
        for message in sipp.messages:
            numbers.setdefault(message.uri, []).append(int(message.body.split()[1]))
        assert len(numbers) == 5
        for found in numbers.values():
            assert list(dict.fromkeys(found)) == list(range(1, total // 5 + 1))
    finally:
        one.stop()
