# SPDX-License-Identifier: LGPL-2.1-only
"""The channel MQTT, with Mosquitto as the broker: what comes to the devices."""

import glob
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import types

import pytest

from conftest import Server, settings
from mqtt_broker import Broker, Fake, connack, packet, puback, string
from outband_peers import many, wait_for
from test_outband_channels import Outband, set_pref
from test_outband_surroundings import NameServer
from test_channels_sms import ODD, read
from test_tree import TOP
from webpush_peer import certificate

TOPIC = "pimap/joe/phone"
EMN = '<emn mailbox="mailat:joe@example.com" timestamp="2004-02-20T06:40:00Z"></emn>'


class MQTT(Outband):
    def __init__(self, url, **values):
        super().__init__("MQTT", TOPIC, dict({
            "pimap_channels": "mqtt", "pimap_mqtt_url": url, "pimap_mqtt_prefix": "pimap",
            "pimap_clear_text": "mqtt"}, **values))

        self.stopped = False

    def stop(self):
        if not self.stopped:
            self.stopped = True
            super().stop()

    def sent(self):
        return self.server.log().count("by MQTT): sent")


class ByName(MQTT):
    CONF = MQTT.CONF + NameServer.CONF


class Names(NameServer):
    """Nobody listens at the first of the addresses."""

    def copy(self, other, client):
        class Client:
            def sendall(self, text):
                text = text.replace(b"::1\t", b"").replace(b"127.0.0.1", b"127.0.0.2\t127.0.0.1")
                client.sendall(text)
        super().copy(other, Client())


@pytest.fixture(scope="module")
def broker():
    broker = Broker()
    yield broker
    broker.stop()


@pytest.fixture
def mqtt(broker, request):
    mqtt = MQTT(broker.url, **getattr(request, "param", {}))
    # each test's are others
    broker.tests = getattr(broker, "tests", 0) + 1
    mqtt.address = "pimap/%d/phone" % broker.tests
    mqtt.broker = broker
    mqtt.device = broker.device("pimap/%d/#" % broker.tests, "device%d" % broker.tests)
    yield mqtt
    faults = mqtt.server.faults()
    mqtt.stop()
    mqtt.device.end()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


@pytest.fixture
def peers():
    """Stops what a test makes of these"""
    made = []

    def make(peer):
        made.append(peer)
        return peer
    yield make
    for peer in reversed(made):
        peer.stop()


def test_emn_as_sent(mqtt):
    """R-13.2: as text, by one connection"""
    mqtt.new()
    wait_for(lambda: mqtt.device.messages)
    assert mqtt.device.messages == [(mqtt.address, EMN)]
    assert mqtt.server.logs("(NEW_MESSAGE by MQTT): sent")
    before = mqtt.broker.log().count("as pimap-")
    mqtt.new(device="other")
    wait_for(lambda: len(mqtt.device.messages) == 2)
    assert mqtt.broker.log().count("as pimap-") == before


def test_by_name(broker, peers):
    """The broker's host is looked up; where it has several addresses each is tried"""
    mqtt = peers(ByName(broker.url.replace("127.0.0.1", "localhost")))
    names = peers(Names(mqtt.server))
    names.answers.set()
    mqtt.address = "pimap/name/phone"
    device = broker.device("pimap/name/#", "name")
    mqtt.new()
    wait_for(lambda: device.messages == [("pimap/name/phone", EMN)])
    device.end()
    assert names.asked == 1 and mqtt.server.faults() == []


MORE = ["#", "pimap/+/x", "$SYS/x", "\x01\x02\x1b[1m", "\ufeffx", "x\ufffey",
        "\U0001f468\u200d\U0001f469",
        "\x7f", "<![CDATA[x]]>", "&#0;", "\r\nDISCONNECT\r\n", "'; DROP TABLE queue; --", "a" * 255,
        "a" * 256, "ä" * 127 + "x", "\x80\x9f", "{\"json\": \"\\u0000\"}", "\t\t",
        "=?utf-8?b?eA==?=",
        "\\", "\"", "NIL"]


def test_odd_subjects(mqtt):
    """Each is one message, to its topic, whole"""
    mqtt.format = "EXTENDED"
    subjects = [subject.replace("\0", " ") for subject in ODD + MORE]
    assert len(subjects) > 50
    for subject in subjects:
        mqtt.new("Joe <joe@example.com>", subject)
    wait_for(lambda: mqtt.sent() == len(subjects), 60)
    wait_for(lambda: len(mqtt.device.messages) == len(subjects))
    for number, ((topic, text), subject) in enumerate(zip(mqtt.device.messages, subjects), 1):
        assert topic == mqtt.address
        words = read(text)
        assert words[:4] == ["_%$P-IMAP$%_", str(number), "joe@example.com", "NEW_MESSAGE"]
        assert not any(ord(char) < 32 for char in text)
        told = "" if text.endswith(" NIL") else words[8]
        plain = "".join(c for c in subject if c.isalnum() and ord(c) >= 32)
        assert "".join(c for c in told if c.isalnum()) == plain


def test_topics_of_odd_letters(mqtt):
    """They are octets of UTF-8, as the user has set them"""
    base = mqtt.address[:-len("/phone")]
    topics = [base + "/" + name for name in (
        "j\u00f6", "\u4f60\u597d", "\U0001f600", "a b", "..", "joe@example.com", "o'b&c", "\"",
        "x" * (254 - len(base)))]
    for number, topic in enumerate(topics):
        mqtt.addresses["d%d" % number] = topic
        mqtt.new(device="d%d" % number)
    wait_for(lambda: len(mqtt.device.messages) == len(topics))
    assert sorted(topic for topic, _ in mqtt.device.messages) == sorted(topics)


@pytest.mark.parametrize("fault", [False, True])
def test_nobody_has_subscribed(mqtt, peers, fault):
    """It would be lost: it is tried until somebody has. That is no fault of the site's."""
    mqtt.address = "pimap/later%d/phone" % fault
    mqtt.new(count=3)
    assert mqtt.server.logs("retry: Nobody has subscribed to the topic")
    device = mqtt.broker.device("pimap/later%d/#" % fault, "later%d" % fault)
    wait_for(lambda: len(device.messages) == 3)
    # a session whose device isn't there keeps them
    device.end()
    mqtt.new(count=2)
    wait_for(lambda: mqtt.sent() == 5)
    if fault:
        mqtt.broker.restart()
    device.start()
    wait_for(lambda: len(device.messages) == 5)
    device.end()


@pytest.mark.expects_faults
def test_restarted(mqtt):
    """The broker again and again: nothing is lost, and each device's are in order"""
    mqtt.format = "EXTENDED"
    per = many(200) // 5
    for number in range(5):
        mqtt.addresses["d%d" % number] = mqtt.address + "/d%d" % number
        mqtt.new(device="d%d" % number, count=per)
    for number in range(1, 6):
        wait_for(lambda number=number: len(mqtt.device.messages) >= number * per * 5 // 7, 120)
        mqtt.broker.restart()
    wait_for(lambda: mqtt.sent() == 5 * per, 240)
    numbers, texts = {}, {}

    def all_came():
        numbers.clear()
        for topic, text in mqtt.device.messages:
            seq = int(text.split()[1])
            numbers.setdefault(topic, []).append(seq)
            # again only the same
            assert texts.setdefault((topic, seq), text) == text
        return len(texts) == 5 * per
    wait_for(all_came, 30)
    for found in numbers.values():
        first = [number for n, number in enumerate(found) if number not in found[:n]]
        assert first == list(range(1, per + 1))


@pytest.mark.expects_faults
def test_broker_is_stopped(mqtt):
    """It is neither there nor gone. Others don't notice, and it goes on where it was."""
    mqtt.new()
    wait_for(lambda: mqtt.sent() == 1)
    mqtt.broker.process.send_signal(signal.SIGSTOP)
    try:
        mqtt.new(count=2)
        mqtt.new(device="other")
        # the service answers
        start = time.monotonic()
        for _ in range(10):
            assert "queued" in mqtt.server.doveadm("pimap", "outband", "status")
        assert time.monotonic() - start < 25
        wait_for(lambda: mqtt.server.logs("it hasn't acknowledged a notification in 30 s"), 60)
    finally:
        mqtt.broker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: mqtt.sent() == 4, 90)
    assert len(mqtt.server.faults()) == 1


# users and topics

@pytest.fixture(scope="module")
def strict():
    broker = Broker(passwords=True)
    yield broker
    broker.stop()


@pytest.mark.expects_faults
def test_not_let_in(strict, peers):
    """That the administrator can mend: nothing is given up, it is logged once"""
    mqtt = peers(MQTT(strict.url, pimap_mqtt_user=Broker.USER, pimap_mqtt_password="wr0ng"))
    device = strict.device("pimap/#", "letin")
    mqtt.new(count=2)
    mqtt.new(device="other")
    assert mqtt.server.logs("it doesn't let this server in: Not authorized")
    time.sleep(4)
    fault, = mqtt.server.faults()
    assert "(it is tried on)" in fault and "wr0ng" not in mqtt.server.log()
    assert device.messages == []
    strict.set_password(Broker.USER, "wr0ng")
    strict.process.send_signal(signal.SIGHUP)
    try:
        wait_for(lambda: len(device.messages) == 3, 60)
    finally:
        device.end()
        strict.set_password(Broker.USER, Broker.PASSWORD)
        strict.process.send_signal(signal.SIGHUP)


@pytest.mark.expects_faults
def test_topic_is_closed(strict, peers, tmp_path):
    """By the broker's own rules, which the administrator can mend; other topics go on. The
    password is read from a file."""
    path = tmp_path / "password"
    path.write_text(Broker.PASSWORD + "\n")
    os.chmod(tmp_path, 0o755)
    mqtt = peers(MQTT(strict.url, pimap_mqtt_user=Broker.USER, pimap_mqtt_password="<%s" % path))
    mqtt.address = "pimap/closed/phone"
    mqtt.addresses["other"] = "pimap/open/other"
    device = strict.device("pimap/#", "closed")
    mqtt.new()
    assert mqtt.server.logs("retry: The broker's answer is Not authorized (0x87)")
    mqtt.new(device="other", count=3)
    wait_for(lambda: len(device.messages) == 3)
    assert {topic for topic, _ in device.messages} == {"pimap/open/other"}
    device.end()


# TLS

@pytest.fixture(scope="module")
def ca():
    path = tempfile.mkdtemp(prefix="pimap-mqtt-ca.")
    os.chmod(path, 0o755)
    issuer = certificate(path + "/ca", [])
    certificate(path + "/broker", ["127.0.0.1", "localhost"], issuer)
    certificate(path + "/elsewhere", ["127.0.0.2", "mqtt.example.com"], issuer)
    other = certificate(path + "/other", [])
    certificate(path + "/unknown", ["127.0.0.1", "localhost"], other)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(ca, peers, host):
    """The host is the certificate's, by its address or by its name"""
    broker = peers(Broker(pem=ca + "/broker.pem"))
    device = broker.device("pimap/#", ca=ca + "/ca.pem")
    mqtt = peers(MQTT(broker.url.replace("127.0.0.1", host), pimap_mqtt_ca=ca + "/ca.pem"))
    mqtt.format = "EXTENDED"
    # more than a record of TLS
    mqtt.new("Joe <joe@example.com>", "x" * 20000)
    mqtt.new(count=50)
    wait_for(lambda: len(device.messages) == 51, 30)
    assert [int(text.split()[1]) for _, text in device.messages] == list(range(1, 52))
    assert mqtt.server.faults() == []


@pytest.mark.expects_faults
@pytest.mark.parametrize("pem, host, ca_file, error", [
    ("elsewhere", "127.0.0.1", "ca", "its certificate isn't accepted: IP address mismatch"),
    ("elsewhere", "localhost", "ca", "its certificate isn't accepted: hostname mismatch"),
    ("unknown", "127.0.0.1", "ca", "its certificate isn't accepted: "),
    ("unknown", "localhost", "ca", "its certificate isn't accepted: "),
    # the system's
    ("broker", "127.0.0.1", None, "its certificate isn't accepted: "),
    ("broker", "127.0.0.1", "missing", "pimap_mqtt_ca "),
    # it doesn't speak TLS
    (None, "127.0.0.1", "ca", "127.0.0.1: ")])
def test_tls_refused(ca, peers, pem, host, ca_file, error):
    """Nothing is said to another one than the broker"""
    broker = peers(Broker(pem=pem and "%s/%s.pem" % (ca, pem), passwords=True))
    mqtt = peers(MQTT("mqtts://%s:%d" % (host, broker.port), pimap_mqtt_user=Broker.USER,
                      pimap_mqtt_password=Broker.PASSWORD,
                      **({"pimap_mqtt_ca": "%s/%s.pem" % (ca, ca_file)} if ca_file else {})))
    mqtt.new()
    assert mqtt.server.logs("(NEW_MESSAGE by MQTT): retry: " + host + ": ")
    assert mqtt.server.logs(error)
    time.sleep(2.5)
    assert len(mqtt.server.faults()) == 1
    assert mqtt.sent() == 0 and "as pimap-" not in broker.log()


def test_tls_name_is_told(ca, peers):
    """A broker of several names is told which one is meant (SNI), though libmosquitto is given
    an address"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca + "/broker.pem")
    names = []
    context.sni_callback = lambda sock, name, ctx: names.append(name)
    fake = peers(Fake(context=context))
    mqtt = peers(MQTT(fake.url.replace("127.0.0.1", "localhost"), pimap_mqtt_ca=ca + "/ca.pem"))
    mqtt.new()
    wait_for(lambda: mqtt.sent() == 1)
    assert names == ["localhost"]


@pytest.mark.expects_faults
@pytest.mark.parametrize("reset", [False, True])
def test_tls_handshake_ends(ca, peers, reset):
    """In its midst: that is seen at once"""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        mqtt = peers(MQTT("mqtts://127.0.0.1:%d" % sock.getsockname()[1],
                          pimap_mqtt_ca=ca + "/ca.pem"))
        mqtt.new()
        client, _ = sock.accept()
        assert client.recv(1000)[:1] == b"\x16"
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert mqtt.server.logs("(NEW_MESSAGE by MQTT): retry: 127.0.0.1: ")
    assert "hasn't answered" not in mqtt.server.log()


# what a broker may say

def test_what_is_said(peers):
    """MQTT 5, a session that ends with the connection, QoS 1, a time to live"""
    fake = peers(Fake())
    mqtt = peers(MQTT(fake.url, pimap_mqtt_user="us\u00e9r", pimap_mqtt_password="p&ss +",
                      pimap_mqtt_client_id="imap 1", pimap_outband_expire="1000 s"))
    mqtt.new()
    wait_for(lambda: mqtt.sent() == 1)
    connect, = fake.connects
    assert connect == {"level": 5, "flags": 0xc2, "keepalive": 60, "id": "imap 1",
                       "user": "us\u00e9r", "password": "p&ss +"}
    (topic, text, props, _), = fake.published
    assert (topic, text) == (TOPIC, EMN)
    assert props[:1] == b"\x02" and len(props) == 5
    assert 900 < int.from_bytes(props[1:], "big") <= 1000
    # it says that it goes
    assert 0xe0 not in fake.others
    mqtt.stop()
    wait_for(lambda: 0xe0 in fake.others)


def test_default_client_id(peers):
    fake = peers(Fake())
    mqtt = peers(MQTT(fake.url))
    mqtt.new()
    wait_for(lambda: mqtt.sent() == 1)
    assert fake.connects[0]["id"] == "pimap-" + socket.gethostname()
    assert fake.connects[0]["user"] is None and fake.connects[0]["password"] is None


@pytest.mark.expects_faults
@pytest.mark.parametrize("code, ends, fault", [
    (0x10, "retry", 0), (0x80, "retry", 1), (0x83, "retry", 1), (0x87, "retry", 1),
    (0x91, "retry", 1), (0x97, "retry", 1), (0x90, "given up", 1), (0x99, "given up", 1),
    # these libmosquitto 2.0.21 takes for the end of the connection
    (0xff, "retry", 1), (0x01, "retry", 1)])
def test_acknowledgements(peers, code, ends, fault):
    """Only 0 is one. What is said of it is in the log, but not all of it."""
    fake = peers(Fake(lambda n, pid: puback(pid, code, "it is so " * 99) if n == 0 else
                      puback(pid)))
    mqtt = peers(MQTT(fake.url))
    mqtt.new()
    if ends == "retry":
        wait_for(lambda: mqtt.sent() == 1)
        assert mqtt.server.logs("Notification 1 (NEW_MESSAGE by MQTT): retry: ")
        assert len({published[:2] for published in fake.published}) == 1
    else:
        assert mqtt.server.logs("Notification 1 (NEW_MESSAGE by MQTT): given up: "
                                "The broker's answer is ")
        mqtt.new()
        assert mqtt.server.logs("Notification 2 (NEW_MESSAGE by MQTT): sent")
    assert len(fake.published) == 2
    assert len(mqtt.server.faults()) == fault
    if code not in (0xff, 0x01):
        assert ("(0x%02x): it is so it" % code in mqtt.server.log()) == (code != 0x10)
    assert "so " * 99 not in mqtt.server.log()


# what comes in place of CONNACK
REFUSALS = [
    (connack(0x86), "it doesn't let this server in: Bad User Name or Password (0x86)"),
    (connack(0x87), "it doesn't let this server in: Not authorized (0x87)"),
    (connack(0x85), "it doesn't let this server in: "),
    (connack(0x88, b"\x1f" + string("at noon")),
     "it doesn't let this server in: Server unavailable (0x88): at noon"),
    # that steers a terminal
    (connack(0x88, b"\x1f" + string("at\x1b[1m noon")), "127.0.0.1: "),
    (connack(0x84), "it doesn't speak MQTT 5"),
    # as 3.1.1 says it, and another one
    (packet(0x20, b"\0\1"), "it doesn't speak MQTT 5"),
    (packet(0x20, b"\0\5"), "it doesn't speak MQTT 5"),
    # PUBACK before it, what nobody has asked for, half of one, none
    (puback(1), "127.0.0.1: "),
    (packet(0x90, b"\0\1\0\0"), "127.0.0.1: "),
    (packet(0xe0, b"\x8b\0"), "127.0.0.1: it has ended the connection: Server shutting down"),
    (b"\x20\xff\xff\xff\xff\xff", "127.0.0.1: "),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "127.0.0.1: "),
    ("close", "127.0.0.1: the connection was closed"),
]


@pytest.mark.expects_faults
@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_refusals(peers, number):
    """All are tried again"""
    answer, error = REFUSALS[number]
    fake = peers(Fake(connacks=[answer, connack()]))
    mqtt = peers(MQTT(fake.url))
    mqtt.new(count=2)
    wait_for(lambda: mqtt.sent() == 2, 60)
    assert mqtt.server.logs("retry: " + ("" if error.startswith("127.") else "127.0.0.1: ") + error)
    assert len(fake.connects) == 2 and len(fake.published) == 2
    assert len(mqtt.server.faults()) == 1 and "\x1b" not in mqtt.server.log()


# what comes in place of PUBACK
INTERRUPTIONS = [
    ("close", "the connection was closed"),
    (packet(0xe0, b"\x8b\0"), "it has ended the connection: Server shutting down (0x8b)"),
    (packet(0xe0, b"\x8e\0"),
     "it has ended the connection: another client has the same pimap_mqtt_client_id"),
    (packet(0xe0, b"\x87\0"), "it has ended the connection: Not authorized"),
    (packet(0xe0, b""), ""),
    (packet(0x50, b"\0\1"), ""),
    (packet(0x40, b"\0\0"), ""),
    (packet(0x40, b"\0"), ""),
    (b"\0\0\0\0", ""),
    (b"\x40\xff\xff\xff\xff\xff", ""),
]


@pytest.mark.expects_faults
@pytest.mark.parametrize("number", range(len(INTERRUPTIONS)))
def test_interruptions(peers, number):
    """Nothing that isn't acknowledged is taken for sent, and it stays the same
    (paho.mqtt.python#733)"""
    answer, error = INTERRUPTIONS[number]
    fake = peers(Fake(lambda n, pid: answer if n == 0 else puback(pid)))
    mqtt = peers(MQTT(fake.url))
    mqtt.format = "EXTENDED"
    mqtt.new(count=2)
    wait_for(lambda: mqtt.sent() == 2, 60)
    assert mqtt.server.logs("retry: 127.0.0.1: " + error)
    texts = [text for _, text, _, _ in fake.published]
    assert len(texts) == 3 and texts[0] == texts[1] != texts[2]
    assert len(fake.connects) == 2 and len(mqtt.server.faults()) == 1


@pytest.mark.expects_faults
@pytest.mark.parametrize("end", [
    "close", packet(0xe0, b"\x87\0"), packet(0xe0, b"\x90\0"), "refuse"])
def test_one_that_ends_the_connection(peers, end):
    """It isn't in all others' way, though they come at the same times (paho.mqtt.c#429)"""
    fake = peers(Fake())
    mqtt = peers(MQTT(fake.url))

    def answer(n, pid):
        if fake.published[n][0] != TOPIC:
            return puback(pid)
        if end != "refuse":
            return end
        fake.clients[-1].sendall(puback(pid, 0x87))
        time.sleep(0.05)
        return "close"
    fake.answer = answer
    for number in range(20):
        mqtt.addresses["d%d" % number] = "pimap/d%d" % number
        mqtt.events["d%d" % number] = []
    for number in range(20):
        mqtt.events["d%d" % number] += 2 * [("NEW_MESSAGE", 1, 1077259200)]
    mqtt.new()
    wait_for(lambda: mqtt.sent() == 40, 60)
    # by the topic's name, when it is alone, it is known which one it was
    if end == packet(0xe0, b"\x90\0"):
        assert mqtt.server.logs("#phone: Notification 1 (NEW_MESSAGE by MQTT): given up: ")
    else:
        assert mqtt.server.logs("#phone: Notification 1 (NEW_MESSAGE by MQTT): retry: ")
        assert "given up" not in mqtt.server.log()


def test_acknowledgements_of_others(peers):
    """Of what isn't published, and twice; what somebody publishes to this server"""
    fake = peers(Fake(lambda n, pid: puback(pid + 1000) + packet(0x30, string("x") + b"\0y") +
                      puback(pid) + puback(pid) + puback(pid + 1)))
    mqtt = peers(MQTT(fake.url))
    mqtt.new(count=3)
    wait_for(lambda: mqtt.sent() == 3)
    assert len(fake.published) == 3 and len(fake.connects) == 1
    assert mqtt.server.faults() == []


def test_receive_maximum(peers):
    """The broker wants one at a time; many devices get theirs"""
    fake = peers(Fake(connacks=[connack(0, b"\x21\0\1")]))
    mqtt = peers(MQTT(fake.url))
    waiting = []
    most = 0

    def answer(n, pid):
        nonlocal most
        waiting.append(pid)
        most = max(most, len(waiting))
        time.sleep(0.02)
        return puback(waiting.pop())
    fake.answer = answer
    for number in range(20):
        mqtt.addresses["d%d" % number] = "pimap/d%d" % number
        mqtt.new(device="d%d" % number, count=2)
    wait_for(lambda: mqtt.sent() == 40, 30)
    assert most == 1 and len(fake.published) == 40 and len(fake.connects) == 1


@pytest.mark.expects_faults
def test_what_the_broker_limits(peers):
    """The length of a message, which this one never fits; others do"""
    fake = peers(Fake(connacks=[connack(0, b"\x27" + (1000).to_bytes(4, "big"))]))
    mqtt = peers(MQTT(fake.url))
    mqtt.format = "EXTENDED"
    mqtt.new("Joe <joe@example.com>", "x" * 2000)
    assert mqtt.server.logs("Notification 1 (NEW_MESSAGE by MQTT): given up: It can't be published")
    mqtt.new()
    assert mqtt.server.logs("Notification 2 (NEW_MESSAGE by MQTT): sent")
    # nothing that is acknowledged
    other = peers(Fake(connacks=[connack(0, b"\x24\0")]))
    mqtt = peers(MQTT(other.url))
    mqtt.new()
    assert mqtt.server.logs("retry: The broker acknowledges nothing")
    assert other.published == []


@pytest.mark.expects_faults
def test_keep_alive(peers):
    """Asked for what the broker says, and what doesn't answer isn't taken for alive"""
    fake = peers(Fake(connacks=[connack(0, b"\x13\0\5")]))
    mqtt = peers(MQTT(fake.url))
    mqtt.new()
    wait_for(lambda: mqtt.sent() == 1)
    wait_for(lambda: 0xc0 in fake.others, 20)
    # the socket that it has left isn't there any more
    wait_for(lambda: all(client.fileno() == -1 for client in fake.clients), 30)
    assert mqtt.server.faults() == []
    mqtt.new()
    wait_for(lambda: mqtt.sent() == 2)
    assert len(fake.connects) == 2


@pytest.mark.expects_faults
def test_back_off(peers):
    """Of many devices too, one that refuses isn't asked without pause"""
    fake = peers(Fake(connacks=[connack(0x89)]))
    mqtt = peers(MQTT(fake.url))
    for number in range(50):
        mqtt.addresses["d%d" % number] = "pimap/d%d" % number
        mqtt.new(device="d%d" % number, count=2)
    wait_for(lambda: mqtt.server.log().count("by MQTT): retry") >= 100)
    time.sleep(5)
    # after 1, 2, 4 s
    assert 2 <= len(fake.connects) <= 6
    fake.connacks[:] = [connack()]
    wait_for(lambda: mqtt.sent() == 100, 60)
    assert len(mqtt.server.faults()) == 1


@pytest.mark.expects_faults
def test_nobody_listens(peers):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    mqtt = peers(MQTT("mqtt://127.0.0.1:%d" % port))
    mqtt.new()
    assert mqtt.server.logs("retry: 127.0.0.1: Connection refused")
    time.sleep(2.5)
    assert len(mqtt.server.faults()) == 1


@pytest.mark.expects_faults
def test_no_such_host(peers):
    mqtt = peers(MQTT("mqtt://nowhere.invalid"))
    mqtt.new()
    assert mqtt.server.logs("retry: nowhere.invalid: ")
    time.sleep(2.5)
    assert len(mqtt.server.faults()) == 1


# the administrator

def test_outband_test(mqtt):
    """doveadm pimap outband test says what came of it"""
    mqtt.new()
    wait_for(lambda: len(mqtt.device.messages) == 1)
    text = mqtt.server.doveadm("pimap", "outband", "test", "-u", mqtt.user, "phone")
    assert "sent" in text
    wait_for(lambda: len(mqtt.device.messages) == 2)
    mqtt.address = "pimap/nobody/phone"
    mqtt.new()
    mqtt.server.logs("Nobody has subscribed")
    assert "Nobody has subscribed to the topic" in mqtt.server.doveadm(
        "pimap", "outband", "list")


@pytest.mark.expects_faults
@pytest.mark.parametrize("mqtt", [{"pimap_limit_mqtt": "3"}], indirect=True)
def test_limit(mqtt):
    mqtt.new(count=3)
    wait_for(lambda: mqtt.sent() == 3)
    mqtt.new(count=3)
    assert mqtt.server.logs("MQTT: 3 notifications in an hour (pimap_limit_mqtt)")
    assert mqtt.sent() == 3


@pytest.mark.expects_faults
@pytest.mark.parametrize("prefix, address, error", [
    ("", TOPIC, "the administrator hasn't allowed any by pimap_mqtt_prefix"),
    ("other", TOPIC, "it isn't below pimap_mqtt_prefix"),
    ("pimap", "pimap/joe/#", "it has a +, # or $"),
    ("pimap", "pimap", "it isn't below pimap_mqtt_prefix")])
def test_prefix_before_sending(peers, prefix, address, error):
    """R-14.5: asked again before each is sent. A broker ends the connection where a wildcard is
    published to."""
    fake = peers(Fake())
    mqtt = peers(MQTT(fake.url, pimap_mqtt_prefix=prefix))
    mqtt.address = address
    mqtt.new()
    assert mqtt.server.logs("given up: The address isn't allowed: ")
    assert error in mqtt.server.log()
    assert fake.published == []


@pytest.fixture(scope="module")
def site():
    server = Server.temporary("sdbox", extra=settings({
        "pimap_channels": "mail mqtt", "pimap_mqtt_prefix": "pimap/joe"}))
    yield server
    assert server.faults() == []
    server.stop()


@pytest.mark.parametrize("way", ["imap", "doveadm"])
def test_addresses(site, user, way):
    """R-14.5: those of paho.mqtt.c#429/#1210 and mosquitto#1326, by which one user stops all"""
    phone = site.client(user + "#P1")
    offered = [line for line in phone.ok("XPROVISION P1").lines("* XPROVISION")
               if "CHANNEL" in line]
    assert offered == ["* XPROVISION XPIMAPPREF PIMAP_OUTBAND_CHANNEL (MAIL MQTT NONE)"]

    def put(name, value):
        return set_pref(site, phone, user, way, "PIMAP_OUTBAND_" + name, value)
    assert put("CHANNEL", "MQTT") is None
    for address in ("pimap/joe/phone", "pimap/joe/a b", "pimap/joe/../x", "pimap/joe/" + "x" * 245):
        assert put("ADDRESS", address) is None, address
    for address, error in (
            ("pimap/joe/#", "+, # or $"), ("pimap/joe/+", "+, # or $"), ("+", "+, # or $"),
            ("$SYS/x", "+, # or $"), ("pimap/joe/$x", "+, # or $"),
            ("pimap/ann/phone", "pimap_mqtt_prefix"), ("pimap/../x", "pimap_mqtt_prefix"),
            ("pimap/joe", "pimap_mqtt_prefix"), ("pimap/joex/y", "pimap_mqtt_prefix"),
            ("pimap/joe//x", "empty level"), ("/pimap/joe/x", "empty level"),
            ("pimap/joe/" + "x" * 246, "longer")):
        text = put("ADDRESS", address)
        assert text is not None and error in text, (address, text)


@pytest.mark.parametrize("values", [
    {"pimap_mqtt_url": "mqtt.example.com"}, {"pimap_mqtt_url": "mqtt://user@h"},
    {"pimap_mqtt_prefix": "a/+"}, {"pimap_mqtt_prefix": "/"},
    {"pimap_mqtt_client_id": "a\u0085b"}])
def test_settings_that_are_wrong(values):
    server = Server.temporary("maildir", extra=settings(dict(
        {"pimap_channels": "mail", "pimap_mail_relay": "127.0.0.1",
         "pimap_mqtt_url": "mqtt://127.0.0.1"}, **values)))
    try:
        name, = values
        assert server.logs(name)
    finally:
        server.stop()


def example(text, title):
    """The block of code that comes after it"""
    block = text[text.index(title):].split("\n\n", 1)[1]
    lines = []
    for line in block.splitlines():
        if not line.startswith("    "):
            break
        lines.append(line[4:])
    return "\n".join(lines) + "\n"


def test_worked_configuration(peers, ca):
    """doc/channels.md's: each device reads what is its user's"""
    with open(TOP + "/doc/channels.md") as file:
        text = file.read()
    conf = example(text, "mosquitto.conf:\n")
    for name, here in (("listener 8883", "listener %(port)d 127.0.0.1"),
                       ("/etc/mosquitto/certs/mqtt.pem", "%(pem)s"),
                       ("/etc/mosquitto/certs/mqtt.key", "%(pem)s"),
                       ("/etc/mosquitto/", "%(path)s/"), ("/var/lib/mosquitto/", "%(path)s/")):
        assert name in conf
        conf = conf.replace(name, here)
    conf += "user %(user)s\nlog_dest file %(path)s/log\nlog_type all\n"
    broker = peers(Broker(ca + "/broker.pem", True, conf, example(text, "The acl: ")))
    values = dict(line.split(" = ", 1) for line in example(text, "05-pimap.conf (").splitlines())
    assert values.pop("pimap_mqtt_password").startswith("<")
    assert set(values) == {"pimap_channels", "pimap_mqtt_url", "pimap_mqtt_ca", "pimap_mqtt_user",
                           "pimap_mqtt_prefix"}
    values.update(pimap_mqtt_url=values["pimap_mqtt_url"].replace(
        "mqtt.example.com", "localhost:%d" % broker.port), pimap_mqtt_ca=ca + "/ca.pem",
                  pimap_mqtt_password=Broker.PASSWORD)
    mqtt = peers(MQTT(values.pop("pimap_mqtt_url"), **values))
    mqtt.address = "pimap/joe@example.com/phone"
    joe, ann, other = [broker.device(topic, name, ca + "/ca.pem", user) for name, topic, user in (
        ("joe", mqtt.address, "joe@example.com"), ("ann", mqtt.address, "ann@example.com"),
        ("other", "pimap/#", "ann@example.com"))]
    mqtt.new(count=3)
    wait_for(lambda: len(joe.messages) == 3 and mqtt.sent() == 3)
    broker.restart()
    mqtt.new(count=2)
    wait_for(lambda: len(joe.messages) == 5, 30)
    assert ann.messages == other.messages == []


def test_built_without_libmosquitto(monkeypatch, peers, broker):
    """There is no such channel then; what has it waits, and doctor says why"""
    folder = tempfile.mkdtemp(prefix="pimap-test.")
    os.chmod(folder, 0o755)
    tree = folder + "/tree"
    peers(types.SimpleNamespace(stop=lambda: shutil.rmtree(folder)))
    shutil.copytree(os.environ.get("top_builddir", TOP), tree, symlinks=True,
                    ignore=shutil.ignore_patterns(".git", "autom4te.cache"))
    # what was compiled is compiled: only what differs is made
    shutil.rmtree(tree + "/src/pimap-outband/.libs", ignore_errors=True)
    for name in ("pimap-outband/pimap-outband", "pimap-outband/outband-channel.o",
                 "doveadm-pimap/doveadm-pimap-doctor-outband.lo"):
        os.unlink(tree + "/src/" + name)
    built = subprocess.run('eval "./configure -q $(./config.status --config) --without-mqtt" && '
                           "make -s", cwd=tree, shell=True, text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    assert built.returncode == 0, built.stdout[-3000:]
    assert "mosquitto" not in needed(tree + "/src/pimap-outband/pimap-outband")
    monkeypatch.setenv("top_builddir", tree)
    mqtt = peers(MQTT(broker.url))
    mqtt.new()
    wait_for(lambda: "queued 1" in " ".join(mqtt.server.doveadm(
        "pimap", "outband", "status").split()))
    assert "MQTT" not in mqtt.server.doveadm("pimap", "outband", "status")
    doctor = subprocess.run([mqtt.server.vars["DOVEADM"], "pimap", "doctor"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "pimap was built without libmosquitto: nothing is sent" in doctor.stdout


def needed(path):
    return subprocess.run(["readelf", "-d", path], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def test_libmosquitto_is_only_in_the_service():
    """And its OpenSSL. Loading them takes other processes longer than their work"""
    assert "mosquitto" in needed(TOP + "/src/pimap-outband/pimap-outband")
    for path in glob.glob(TOP + "/src/*/.libs/*.so") + [TOP + "/src/pimap-worker/pimap-worker"]:
        assert "mosquitto" not in needed(path) and "libssl" not in needed(path), path
