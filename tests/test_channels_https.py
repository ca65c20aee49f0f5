# SPDX-License-Identifier: LGPL-2.1-only
"""The channels SMS, WAP_PUSH and MMS by https: Kannel and the MMSC behind TLS."""

import os
import shutil
import socket
import tempfile
import time

import pytest

from kannel import Kannel
from mm7_peer import MMSC
from outband_peers import wait_for
from test_channels_mms import MMS
from test_channels_sms import SMS, Gateway
from test_channels_wap_push import WAP
from tls_peer import TLS, make_certificates

CHANNELS = ["sms", "wap_push", "mms"]
SECRET = "geheim-4711"
QUERY = "?account=a&password=" + SECRET


@pytest.fixture(scope="module")
def certificates():
    """A folder with certificates for the gateway, and what is wrong with others"""
    path = tempfile.mkdtemp(prefix="pimap-https.")
    os.chmod(path, 0o755)
    make_certificates(path)
    with open(path + "/none.pem", "w") as file:
        file.write("nothing\n")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def kannel():
    kannel = Kannel()
    yield kannel
    kannel.stop()


class Secure:
    """A channel's service, and its gateway behind TLS"""

    def __init__(self, channel, kannel, certificates, host="127.0.0.1", ca="ca.pem", **values):
        self.channel = channel
        self.peer = kannel
        path = "/cgi-bin/sendsms"
        if channel == "mms":
            self.peer, path = MMSC(), "/mm7"
            self.peer.path = path + QUERY
        self.before = len(self.peer.messages)
        self.tls = TLS(self.peer.port, certificates + "/good.pem")
        values["pimap_%s_url" % channel] = "https://%s:%d%s%s" % (
            host, self.tls.port, path, QUERY)
        if ca is not None:
            values["pimap_%s_ca" % channel] = "%s/%s" % (certificates, ca)
        if channel == "sms":
            self.service = SMS(self.peer.url, **values)
        elif channel == "wap_push":
            self.service = WAP(self.peer, **values)
        else:
            self.service = MMS(self.peer, **values)
        self.server = self.service.server
        self.name = channel.upper()

    def new(self, *args, **kwargs):
        self.service.new(*args, **kwargs)

    def sent(self):
        return self.server.log().count("by %s): sent" % self.name)

    def came(self):
        return len(self.peer.messages) - self.before

    def tells_nothing(self):
        """Of what the gateway knows this server by"""
        log = self.server.log()
        for secret in (SECRET, Kannel.PASSWORD, MMSC.PASSWORD):
            assert secret not in log
        return True

    def stop(self):
        self.tls.stop()
        self.service.stop()


@pytest.fixture(params=CHANNELS)
def secure(request, kannel, certificates):
    """secure(...): see Secure"""
    made = []

    def make(**values):
        made.append(Secure(request.param, kannel, certificates, **values))
        return made[-1]
    yield make
    for one in made:
        faults = one.server.faults()
        one.stop()
        if request.node.get_closest_marker("expects_faults") is None:
            assert faults == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_sent(secure, host):
    """With the certificate for the address or the name, over connections that are kept"""
    one = secure(host=host)
    one.service.format = "EXTENDED"
    for number in range(10):
        one.new("Joe <joe@example.com>", "x" * 100, device="d%d" % (number % 2))
    wait_for(lambda: one.sent() == 10, 30)
    wait_for(lambda: one.came() == 10, 30)
    assert one.tls.count <= 4
    assert set(one.tls.names) == {host}
    assert one.tls.passed.count(b"POST ") == 10 and SECRET.encode() in one.tls.passed
    assert one.tells_nothing()


FAILURES = [("other", "doesn't match"), ("stranger", "unable to get local issuer certificate"),
            ("expired", "certificate has expired"), ("cut", "Connection closed"), ("reset", "Connection reset"),
            ("plain", "wrong version number"), ("old", "protocol")]


@pytest.mark.expects_faults
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tried_again(secure, certificates):
    """Nothing is said to who isn't the gateway. The log says once what is wrong, and when it is
    mended it is sent."""
    one = secure()
    for number, (pem, words) in enumerate(FAILURES, 1):
        one.tls.drop()
        one.tls.pem = pem if pem in ("cut", "reset", "plain", "old") else \
            "%s/%s.pem" % (certificates, pem)
        one.tls.passed = b""
        before = len(one.server.log())
        one.new()
        wait_for(lambda: one.server.log()[before:].count("by %s): retry: " % one.name) >= 2, 30)
        log = one.server.log()[before:]
        assert "by %s): retry: The gateway can't be reached: " % one.name in log
        fault, = one.server.faults()[number - 1:]
        assert words in fault and "ssl_client" not in fault, fault
        # what is told of each try is what these tests want to be told
        assert all("Debug: " in line for line in log.splitlines()
                   if "pimap-outband: " in line and line != fault), log
        assert one.tls.passed == b"" and one.sent() == number - 1
        one.tls.pem = one.tls.good
        wait_for(lambda: one.sent() == number, 60)
    assert one.tells_nothing()
    wait_for(lambda: one.came() == len(FAILURES), 30)


@pytest.mark.expects_faults
@pytest.mark.parametrize("ca, words", [
    (None, "unable to get local issuer certificate"), ("nowhere.pem", "No such file"),
    ("none.pem", "there is no certificate in"), ("other-ca.pem", "unable to get local issuer certificate")])
def test_authorities(secure, certificates, ca, words):
    """Those of the system, or of the file alone. What can't be read may come to be there."""
    one = secure(ca=ca)
    one.new()
    assert one.server.logs("by %s): retry: The gateway can't be reached: " % one.name)
    fault, = one.server.faults()
    assert words in fault and "ssl_client" not in fault, fault
    time.sleep(2.5)
    assert len(one.server.faults()) == 1
    assert one.tls.passed == b"" and one.sent() == 0 and one.tells_nothing()
    if ca in ("nowhere.pem", "none.pem"):
        with open(certificates + "/ca.pem") as file:
            text = file.read()
        path = "%s/%s" % (certificates, ca)
        old = open(path).read() if os.path.exists(path) else None
        with open(path + ".new", "w") as file:
            file.write(text)
        os.rename(path + ".new", path)
        try:
            wait_for(lambda: one.sent() == 1, 30)
        finally:
            if old is None:
                os.unlink(path)
            else:
                with open(path, "w") as file:
                    file.write(old)


@pytest.mark.expects_faults
def test_restarted(secure):
    """What speaks TLS again and again: nothing is lost, and comes in order"""
    one = secure()
    count = int(os.environ.get("PIMAP_NOTIFICATIONS", 250)) // 5
    one.service.format = "EXTENDED"
    for number in range(5):
        one.service.addresses["d%d" % number] = "+4917%07d" % number
        one.new(device="d%d" % number, count=count)
    for number in range(5):
        wait_for(lambda: one.sent() >= count * 5 * (number + 1) // 7, 60)
        one.tls.restart()
    wait_for(lambda: one.sent() == 5 * count, 120)
    found = {}

    def all_came():
        found.clear()
        for message in one.peer.messages[one.before:]:
            text = message.text
            if isinstance(text, bytes):
                text = text[6:].decode()
            found.setdefault(message.to, []).append(int(text.split()[1]))
        return sum(len(set(numbers)) for numbers in found.values()) == 5 * count
    wait_for(all_came, 30)
    for numbers in found.values():
        assert list(dict.fromkeys(numbers)) == list(range(1, count + 1))


@pytest.mark.expects_faults
@pytest.mark.parametrize("url", ["https://user:%s@127.0.0.1/", "https://127.0.0.1:%s/",
                                 "ftp://127.0.0.1/?password=%s"])
def test_misconfigured(url):
    """The service says so as soon as it starts, and nothing of a password"""
    sms = SMS(url % SECRET)
    try:
        assert sms.server.logs("pimap_sms_url: it isn't an http:// or https:// URL: ")
        assert SECRET not in sms.server.log()
    finally:
        sms.stop()


@pytest.mark.expects_faults
def test_answer_repeats_the_query():
    """A gateway that tells its own URL"""
    gateway = Gateway([404, 202])
    gateway.text = b"There is no /sms" + QUERY.encode()
    sms = SMS(gateway.url.split("?")[0] + QUERY)
    try:
        sms.new()
        assert sms.server.logs("by SMS): sent")
        assert "The gateway's answer is 404, with a text that tells" in sms.server.log()
        assert SECRET not in sms.server.log()
    finally:
        sms.stop()
        gateway.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("secure", ["sms"], indirect=True)
def test_hangs(secure):
    """In the handshake: what waits for it goes on by itself"""
    one = secure()
    one.tls.pem = "hang"
    one.new()
    wait_for(lambda: one.tls.open)
    one.tls.pem = one.tls.good
    one.new(device="other")
    wait_for(lambda: one.sent() == 2, 45)
    fault, = one.server.faults()
    assert "timed out" in fault or "in time" in fault, fault
