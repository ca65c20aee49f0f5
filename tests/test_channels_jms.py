# SPDX-License-Identifier: LGPL-2.1-only
"""The channel JMS, by STOMP: with ActiveMQ and a JMS consumer, and with a broker of the
tests' own that does what ActiveMQ doesn't."""

import os
import shutil
import signal
import socket
import tempfile
import time

import pytest

from activemq import ActiveMQ
from cases import lmtp, mail
from outband_peers import Relay, many, wait_for
from stomp_broker import Broker, well
from test_notifications import Site
from test_outband_channels import Outband, lend
from test_channels_sms import ODD, read
from webpush_peer import certificate

EMN = '<emn mailbox="mailat:joe@example.com" timestamp="2004-02-20T06:40:00Z"></emn>'


def conf(url, **values):
    return dict({
        "pimap_channels": "jms", "pimap_jms_url": url, "pimap_jms_user": ActiveMQ.USER,
        "pimap_jms_password": ActiveMQ.PASSWORD, "pimap_jms_prefix": "/queue/pimap.",
        "pimap_clear_text": "jms", "pimap_join_count": "0", "pimap_limit_device": "0",
        "pimap_limit_user": "0"}, **values)


class JMS(Outband):
    def __init__(self, url, **values):
        super().__init__("JMS", "/queue/pimap.joe", conf(url, **values))

    def sent(self):
        return self.server.log().count("by JMS): sent")

    def wait_sent(self, count, seconds=30):
        wait_for(lambda: self.sent() >= count, seconds)
        assert self.sent() == count


@pytest.fixture(scope="module")
def certificates():
    """A folder with certificates of the broker: broker.pem, and the authority's: ca.pem"""
    path = tempfile.mkdtemp(prefix="pimap-jms.")
    os.chmod(path, 0o755)
    issuer = certificate(path + "/ca", ())
    certificate(path + "/broker", ("localhost",), issuer)
    certificate(path + "/other", ("broker.example",), issuer)
    certificate(path + "/stranger", ("localhost",), certificate(path + "/other-ca", ()))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def activemq(certificates):
    activemq = ActiveMQ(certificates + "/broker.pem")
    yield activemq
    activemq.stop()


@pytest.fixture
def jms(activemq, request):
    activemq.before = len(activemq.messages)
    jms = JMS(activemq.url, **getattr(request, "param", {}))
    jms.activemq = activemq
    yield from lend(request, jms)


def came(jms, count=1, seconds=30):
    activemq = jms.activemq
    wait_for(lambda: len(activemq.messages) >= activemq.before + count, seconds)
    return activemq.messages[activemq.before:]


def test_emn_as_sent(jms):
    """R-13.2, R-13.8: a TextMessage with just that"""
    jms.new()
    assert came(jms) == [("queue://pimap.joe", True, 1, "text/vnd.wap.emn+xml;charset=utf-8",
                          "text", EMN)]
    assert jms.server.logs("(NEW_MESSAGE by JMS): sent")
    assert ActiveMQ.PASSWORD not in jms.server.log()


@pytest.mark.parametrize("jms", [{"pimap_jms_prefix": "/topic/pimap."}], indirect=True)
def test_topic(jms):
    jms.address = "/topic/pimap.Joe_1+x=@y-z"
    jms.new()
    assert came(jms)[0][:2] == ("topic://pimap.Joe_1+x=@y-z", True)


def test_tls_by_name(activemq, certificates):
    """With the certificate for the name that is looked up"""
    activemq.before = len(activemq.messages)
    jms = JMS("stomp+ssl://localhost:%d" % activemq.ssl_port,
              pimap_jms_ca=certificates + "/ca.pem")
    jms.activemq = activemq
    try:
        jms.new(count=20)
        assert [message.seq for message in came(jms, 20)] == list(range(1, 21))
        assert jms.server.faults() == []
    finally:
        jms.stop()


def test_odd_subjects(jms):
    """Whole, each as one message with a text and no other headers"""
    jms.format = "EXTENDED"
    subjects = ODD + ["a\\nb:c\\\\", "receipt:1\n\nSEND", "x:y:z", "\\c\\r\\n\\t", "\x00\x00",
                      "]]>", "<!--", "&#0;", "%00", "\x7f\x1b[31m"]
    for subject in subjects:
        # NUL can't be in a line of the worker's
        jms.new("Joe <joe@example.com>", subject.replace("\0", " "))
    messages = came(jms, len(subjects))
    assert jms.server.logs("Notification %d (NEW_MESSAGE by JMS): sent" % len(subjects))
    assert len(messages) == len(subjects)
    for number, (message, subject) in enumerate(zip(messages, subjects), 1):
        assert message[:5] == ("queue://pimap.joe", True, number, "text/plain;charset=utf-8",
                               "text")
        want = " ".join(subject.replace("\0", " ").replace("\u2028", " ").replace(
            "\x7f", " ").replace("\x1b", " ").split()).replace("\u202e", "")
        words = read(message.text)
        assert words[:2] == ["_%$P-IMAP$%_", str(number)]
        assert words[8] == want or (not want and words[8] in ("", "NIL")), (words, want)


@pytest.mark.parametrize("jms", [{"pimap_outband_body": "100k"}], indirect=True)
def test_cut(jms):
    """At a character's border"""
    jms.format = "EXTENDED"
    for pad in range(4):
        jms.new("Joe <joe@example.com>", "x" * pad, "\U0001f600" * 20000)
    for message in came(jms, 4):
        assert 64 * 1024 - 4 <= len(message.text.encode()) <= 64 * 1024
        assert message.text.endswith('\U0001f600"')


def test_odd_folders(jms):
    """EMN: what isn't XML is escaped"""
    for number, folder in enumerate(("a:b\\n", "<&\">", "\u05e9\U0001f600", "x,y?z=1"), 1):
        jms.folder = folder
        jms.new()
        came(jms, number)
    texts = [message.text for message in came(jms, 4)]
    assert [text.split('"')[1][len("mailat:joe@example.com/"):] for text in texts] == [
        "a:b\\n", "&lt;&amp;&quot;&gt;", "\u05e9\U0001f600", "x,y?z=1"]


def test_forged_messages(activemq):
    """greenmail#1010, humhub#3556, CVE-2025-15366, all the way: one message for each mail"""
    activemq.before = len(activemq.messages)
    site = Site("maildir", **conf(activemq.url))
    try:
        phone = site.server.client("joe#P1")
        phone.ok("XFILTER SET N NIL (ALL)")
        for pref, value in (("FORMAT", "EXTENDED"), ("CHANNEL", "JMS"),
                            ("ADDRESS", "/queue/pimap.joe")):
            phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_%s %s" % (pref, value))
        for value in (b"/queue/pimap.a\r\nreceipt:1", b"/queue/pimap.a,b", b"/queue/pimap.>",
                      b"/queue/other.a", b"/queue/pimap.a?x=y", b"/queue/pimap."):
            result = phone.command(b"XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS {%d+}\r\n%s" %
                                   (len(value), value))
            assert result.status in ("NO", "BAD"), value
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N N)")
        messages = mail("67")
        for message in messages.values():
            lmtp(site.server, "joe", message)
        wait_for(lambda: len(activemq.messages) >= activemq.before + len(messages), 30)
        time.sleep(1)
        found = activemq.messages[activemq.before:]
        assert [message.seq for message in found] == [1, 2, 3, 4]
        for number, message in enumerate(found, 1):
            assert message.kind == "text" and message.destination == "queue://pimap.joe"
            assert read(message.text)[:2] == ["_%$P-IMAP$%_", str(number)]
            assert all(ord(char) >= 0x20 and not 0x7f <= ord(char) < 0xa0
                       for char in message.text)
        text = site.server.doveadm("pimap", "outband", "test", "-u", "joe", "P1")
        assert "sent" in text
        wait_for(lambda: len(activemq.messages) == activemq.before + len(messages) + 1)
    finally:
        site.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("jms", [{"pimap_jms_password": "wro:ng"}], indirect=True)
def test_not_let_in(jms):
    """That the administrator can mend: nothing is given up, it is logged once"""
    jms.new()
    assert jms.server.logs("It lets us not in: User name [dovecot] or password is invalid.")
    time.sleep(2.5)
    assert len(jms.server.faults()) == 1
    assert "wro:ng" not in jms.server.log()
    assert came(jms, 0) == []


@pytest.mark.expects_faults
def test_refused(jms):
    """ActiveMQ takes nothing for one destination: the others go on"""
    jms.addresses["bad"] = "/queue/pimap.a.b"
    jms.new(device="bad")
    assert jms.server.logs("The broker refuses it: User dovecot is not authorized to write to: "
                           "queue://pimap.a.b")
    jms.new(count=50)
    messages = came(jms, 50)
    assert [message.seq for message in messages] == list(range(1, 51))
    # it is tried on, and disturbs nobody
    wait_for(lambda: jms.server.log().count("by JMS): retry: The broker refuses it") >= 3)
    assert jms.server.log().count("by JMS): retry") == \
        jms.server.log().count("by JMS): retry: The broker refuses it")


@pytest.mark.expects_faults
@pytest.mark.parametrize("jms", [{"pimap_jms_prefix": ""}, {"pimap_jms_prefix": "/queue/other."}],
                         indirect=True)
def test_prefix(jms):
    """R-14.5: asked again before each is sent"""
    jms.new()
    assert jms.server.logs("given up: The address isn't allowed: ")
    assert came(jms, 0) == []


@pytest.mark.expects_faults
@pytest.mark.parametrize("jms", [{"pimap_limit_jms": "1"}], indirect=True)
def test_limit(jms):
    jms.new(count=3)
    assert jms.server.logs("JMS: 1 notifications in an hour (pimap_limit_jms)")
    time.sleep(1)
    assert len(came(jms)) == 1


@pytest.mark.expects_faults
def test_restarted(jms):
    """The broker again and again: nothing is lost, and each device's are in order"""
    activemq = jms.activemq
    count = many(200) // 5
    jms.format = "EXTENDED"
    for number in range(5):
        jms.addresses["d%d" % number] = "/queue/pimap.d%d" % number
        jms.new(device="d%d" % number, count=count)
    for number in range(5):
        wait_for(lambda: jms.sent() >= count * 5 // 8 * (number + 1), 60)
        activemq.restart(signal.SIGKILL if number % 2 else signal.SIGTERM)
    wait_for(lambda: jms.sent() == 5 * count, 120)
    assert "by JMS): retry" in jms.server.log()
    numbers = {}

    def all_came():
        numbers.clear()
        for message in activemq.messages[activemq.before:]:
            assert int(message.text.split()[1]) == message.seq
            numbers.setdefault(message.destination, []).append(message.seq)
        return sum(len(set(found)) for found in numbers.values()) == 5 * count
    wait_for(all_came, 60)
    assert len(numbers) == 5
    for found in numbers.values():
        first = [number for n, number in enumerate(found) if number not in found[:n]]
        assert first == list(range(1, count + 1))


# With a broker of the tests' own

@pytest.fixture
def fake(request):
    """fake(script, ...): the service and such a broker; certificate=, other settings"""
    made = []

    def make(*scripts, url="%s", certificate=None, **values):
        broker = Broker(*scripts, certificate=certificate)
        jms = JMS(url % broker.url if "%s" in url else url % broker.port, **values)
        jms.broker = broker
        made.append(jms)
        return jms
    yield make
    for jms in made:
        jms.broker.released.set()
        faults = jms.server.faults()
        jms.stop()
        jms.broker.stop()
        if request.node.get_closest_marker("expects_faults") is None:
            assert faults == []


def test_frames(fake):
    """What the broker gets, all of it, over one connection"""
    jms = fake()
    jms.new()
    jms.wait_sent(1)
    jms.new(device="other")
    jms.wait_sent(2)
    connect, *sends = jms.broker.frames
    assert connect == ("CONNECT", {
        "accept-version": "1.2", "host": "127.0.0.1", "heart-beat": "10000,10000",
        "login": ActiveMQ.USER, "passcode": ActiveMQ.PASSWORD}, "")
    assert [frame.body for frame in sends] == [EMN, EMN]
    assert sends[0].headers == {
        "destination": "/queue/pimap.joe", "receipt": "1", "persistent": "true",
        "content-type": "text/vnd.wap.emn+xml;charset=utf-8", "pimap_seq": "1"}
    assert sends[1].headers["receipt"] == "2"
    assert jms.broker.count == 1


def test_virtual_host(fake):
    """Without a user, and a password of one line from a file"""
    jms = fake(url="stomp://localhost:%d//", pimap_jms_user="", pimap_jms_password="")
    jms.new()
    jms.wait_sent(1)
    headers = jms.broker.frames[0].headers
    assert headers["host"] == "/" and "login" not in headers and "passcode" not in headers


def test_receipts_in_any_order(fake):
    """Also of what was never sent"""
    def script(connection):
        connection.connect()
        frames = [connection.read() for _ in range(10)]
        connection.write("RECEIPT\nreceipt-id:4711\n\n\0\r\nRECEIPT\nreceipt-id:x\n\n\0"
                         "RECEIPT\n\n\0\n\n")
        for frame in reversed(frames):
            connection.receipt(frame)
        connection.take_all()
    jms = fake(script)
    for number in range(10):
        jms.new(device="d%d" % number)
    jms.wait_sent(10)
    jms.new(device="d0")
    jms.wait_sent(11)
    assert jms.broker.count == 1 and len(jms.broker.sent()) == 11


def test_in_small_parts(fake):
    """An octet at a time"""
    def script(connection):
        connection.read()
        for octet in "\nCONNECTED\r\nversion:1.2\r\nsession:a\\x:b\r\n\r\n\0\n\r\n":
            connection.write(octet)
            time.sleep(0.005)
        frame = connection.read()
        for octet in "RECEIPT\nreceipt-id:%s\n\n\0" % frame.headers["receipt"]:
            connection.write(octet)
            time.sleep(0.005)
        connection.read()
    jms = fake(script)
    jms.new()
    jms.wait_sent(1)
    assert jms.broker.count == 1


def close(connection):
    """Right away"""


def close_connected(connection):
    connection.connect()


def close_before_receipt(connection):
    connection.connect()
    connection.read()


def close_in_receipt(connection):
    connection.connect()
    connection.write("RECEIPT\nreceipt-id:%s\n\n" % connection.read().headers["receipt"])


def says(*texts):
    """The first one before CONNECTED, the second in place of a RECEIPT"""
    def script(connection):
        connection.read()
        if len(texts) > 1:
            connection.write("CONNECTED\nversion:1.2\n\n\0")
            connection.read()
        connection.write(texts[-1])
        # it is not we who end it
        assert connection.read() is None or len(texts) > 1
    return script


FAILURES = [
    (close, "The connection was closed"),
    (close_connected, "The connection was closed"),
    (close_before_receipt, "The connection was closed"),
    (close_in_receipt, "The connection was closed"),
    (says("CONNECTED\n\n\0"), "It speaks STOMP 1.0, not 1.2"),
    (says("CONNECTED\nversion:1.1\n\n\0"), "It speaks STOMP 1.1, not 1.2"),
    (says("CONNECTED\nversion:1.2\nheart-beat:x\n\n\0"), "Its heart-beat isn't two numbers"),
    (says("ERROR\nversion:1.0,1.1\nmessage:Supported\\cversions \x1b[1m\n\nmore\0"),
     "It lets us not in: Supported:versions ?[1m: more (it is tried on)"),
    # as RabbitMQ and ActiveMQ have it
    (says("ERROR\nmessage:Bad CONNECT\nversion:1.0,1.1,1.2\n\nAccess refused for user 'x'\n\0"),
     "It lets us not in: Bad CONNECT: Access refused for user 'x' (it is tried on)"),
    (says("ERROR\nmessage:wrong.\n\njava.lang.SecurityException: wrong.\r\n\tat org.x\n\0"),
     "It lets us not in: wrong. (it is tried on)"),
    (says("ERROR\n\nonly a body\nof two lines\0"), "It lets us not in: only a body"),
    (says("RECEIPT\nreceipt-id:1\n\n\0"), "It hasn't answered with CONNECTED"),
    (says("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), "what it sends isn't STOMP"),
    (says("\x16\x03\x01\0\x02"), "what it sends isn't STOMP"),
    (says("", "MESSAGE\nsubscription:1\n\nx\0"), "It has sent MESSAGE"),
    (says("", "RECEIPT\nreceipt-id:\\x\n\n\0"), "a header with an unknown escape"),
    (says("", "ERROR\nmessage:no more\n\n\0"), "It has ended the connection: no more"),
    (says("", "ERROR\nmessage:no more\nreceipt-id:99\n\n\0"),
     "It has ended the connection: no more"),
    (says("", "ERROR\ncontent-length:99999999\n\n\0"), "a frame is too long"),
    (says("", "ERROR\n\n" + "x" * 70000), "a frame is too long"),
    (says("", "ERROR\nmessage:" + "x" * 70000), "a frame's headers are too long"),
]


@pytest.mark.expects_faults
def test_tried_again(fake):
    """Nothing is sent without its receipt; the second time it is the same octets"""
    jms = fake()
    for number, (script, words) in enumerate(FAILURES):
        jms.broker.scripts = [script, well]
        log, before = len(jms.server.log()), len(jms.broker.sent())
        jms.new(count=2)
        jms.wait_sent(2 * number + 2)
        log = jms.server.log()[log:]
        assert "by JMS): retry: 127.0.0.1: " in log
        assert words in log, words
        assert "\x1b" not in log and len(log) < 3000
        assert log.count("Warning:") == 1, words
        seqs = []
        for frame in jms.broker.sent()[before:]:
            assert frame.body == EMN
            seqs.append(int(frame.headers["pimap_seq"]))
        # what was written when it failed comes again
        assert seqs in ([2 * number + 1, 2 * number + 2],
                        [2 * number + 1, 2 * number + 1, 2 * number + 2]), words
        jms.broker.drop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("closes", [True, False])
def test_error_of_one(fake, closes):
    """What takes the connection with it goes alone from then on"""
    flights, bad = [], "/queue/pimap.bad"

    def script(connection):
        connection.connect()
        while True:
            frame = connection.read()
            if frame is None:
                return
            flight = [frame]
            connection.sock.settimeout(0.3)
            # what comes without having waited for an answer
            while len(flight) < 3:
                try:
                    frame = connection.read()
                except TimeoutError:
                    frame = None
                if frame is None:
                    break
                flight.append(frame)
            connection.sock.settimeout(None)
            flights.append([frame.headers["destination"] for frame in flight])
            ended = False
            for frame in sorted(flight, key=lambda frame: frame.headers["destination"] != bad):
                if frame.headers["destination"] != bad:
                    connection.receipt(frame)
                else:
                    connection.error(frame, "no\\c such thing")
                    ended = True
                    if closes:
                        return
            if ended:
                assert connection.read() is None
                return
    jms = fake(script)
    jms.addresses["bad"] = bad
    jms.addresses["good"] = "/queue/pimap.good"
    jms.new(device="bad")
    jms.new(device="phone")
    jms.new(device="good")
    jms.wait_sent(2)
    assert jms.server.logs("(NEW_MESSAGE by JMS): retry: The broker refuses it: no: such thing")
    for _ in range(3):
        time.sleep(1)
        jms.new(device="phone")
        jms.new(device="good")
    jms.wait_sent(8)
    wait_for(lambda: len([flight for flight in flights if bad in flight]) >= 3)
    assert all(len(flight) == 1 for flight in [f for f in flights if bad in f][1:]), flights
    # only those that were under way with the first one, where that was the end of it
    retries = [text for text in jms.server.log().splitlines() if "by JMS): retry" in text]
    lost = [text for text in retries if "refuses it" not in text]
    assert len(lost) <= (2 if closes else 0)


@pytest.mark.expects_faults
def test_silence(fake):
    """Four brokers, each of which says nothing more at another point: others' notifications
    go on, and these are sent when it is over"""
    def never_connected(connection):
        connection.read()
        connection.broker.released.wait(120)

    def no_receipt(connection):
        connection.connect()
        connection.read()
        connection.broker.released.wait(120)

    def half_a_receipt(connection):
        connection.connect("version:1.2\nheart-beat:10000,0\n")
        connection.read()
        connection.write("RECEI")
        connection.broker.released.wait(120)

    def beats(connection):
        # it lives, and so do we
        connection.connect("version:1.2\nheart-beat:1000,2000\n")
        connection.receipt(connection.read())
        connection.sock.settimeout(1)
        start = time.monotonic()
        while time.monotonic() < start + 25:
            connection.write("\n")
            try:
                if connection.read() is None:
                    return
            except TimeoutError:
                pass
        jms_beats.append(connection.beats)
        connection.sock.settimeout(None)
        connection.take_all()

    class Two(JMS):
        """The device mail is told by MAIL"""

        def answer(self, job):
            lines = super().answer(job)
            return [text.replace("\tJMS\t/queue/pimap.joe\t", "\tMAIL\tjoe@example.com\t")
                    if text and text.startswith("DEVICE\tmail\t") else text for text in lines]

    jms_beats = []
    relay = Relay()
    brokers = [Broker(never_connected, well), Broker(no_receipt, well),
               Broker(half_a_receipt, well), Broker(beats, well)]
    all_jms = [Two(broker.url, pimap_channels="jms mail",
                   pimap_mail_relay="127.0.0.1:%d" % relay.port) for broker in brokers]
    try:
        for jms in all_jms:
            jms.new()
        wait_for(lambda: all(broker.count == 1 for broker in brokers))
        start = time.monotonic()
        for number, jms in enumerate(all_jms, 1):
            jms.new(device="mail", count=5)
            wait_for(lambda number=number: len(relay.mails) == 5 * number, 10)
        for jms in all_jms:
            jms.wait_sent(1, 60)
        assert time.monotonic() - start > 15
        words = ["It didn't answer in 30 s", "There was no receipt in 30 s",
                 "It has sent nothing for 20 s"]
        for jms, text in zip(all_jms, words):
            assert "127.0.0.1: " + text in jms.server.log()
            assert len(jms.server.faults()) == 1
        # the last one's first connection stands
        wait_for(lambda: jms_beats, 30)
        assert jms_beats[0] >= 5
        all_jms[3].new()
        wait_for(lambda: len(brokers[3].sent()) == 2)
        assert brokers[3].count == 1 and all_jms[3].server.faults() == []
    finally:
        for jms, broker in zip(all_jms, brokers):
            broker.released.set()
            jms.stop()
            broker.stop()
        relay.stop()


@pytest.mark.expects_faults
def test_nobody_listens():
    """When it listens, all are sent"""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    jms = JMS("stomp://127.0.0.1:%d" % port)
    for number in range(50):
        jms.new(device="d%d" % number)
    assert jms.server.logs("connect(127.0.0.1, %d) failed: Connection refused" % port)
    time.sleep(2)
    assert len(jms.server.faults()) == 1
    broker = Broker(port=port)
    try:
        jms.wait_sent(50, 60)
        assert broker.count == 1
    finally:
        jms.stop()
        broker.stop()


@pytest.mark.expects_faults
def test_back_off(fake):
    """What lets nobody in isn't connected to by each"""
    jms = fake(close)
    for number in range(50):
        jms.new(device="d%d" % number)
        time.sleep(0.05)
    assert jms.server.log().count("by JMS): retry") >= 50
    # now, after 1, 2 and 4 s
    assert jms.broker.count <= 4
    assert len(jms.server.faults()) == 1
    jms.broker.scripts = [well]
    jms.wait_sent(50)


@pytest.mark.expects_faults
@pytest.mark.parametrize("name, ca, words", [
    ("other", "ca.pem", "certificate"), ("stranger", "ca.pem", "certificate"),
    ("broker", "other-ca.pem", "certificate"), ("broker", "nowhere.pem", "No such file")])
def test_tls_to_a_stranger(fake, certificates, name, ca, words):
    """It is told nothing, the password least of all"""
    jms = fake(url="stomp+ssl://localhost:%d", certificate="%s/%s.pem" % (certificates, name),
               pimap_jms_ca="%s/%s" % (certificates, ca))
    jms.new()
    assert jms.server.logs("by JMS): retry: localhost: ")
    assert words in jms.server.faults()[0]
    time.sleep(2)
    assert jms.broker.frames == [] and jms.sent() == 0


@pytest.mark.parametrize("values, words", [
    ({"pimap_jms_url": "tcp://127.0.0.1:61613"}, "pimap_jms_url tcp://127.0.0.1:61613: it isn't"),
    ({"pimap_jms_prefix": "/queue/*."}, "pimap_jms_prefix: there is")])
@pytest.mark.expects_faults
def test_misconfigured(fake, values, words):
    """The service says so as soon as it starts"""
    jms = fake(**values)
    assert jms.server.logs(words)
