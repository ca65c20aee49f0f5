# SPDX-License-Identifier: LGPL-2.1-only
"""What is so with every channel: what mail, addresses and peers may say makes no other
line, message, header or log line."""

import http.server
import os
import re
import shutil
import tempfile
import threading
import time

import pytest

from conftest import DOVECOT_24
from cases import lmtp, mail
from kannel import Kannel
from mm7_peer import MMSC
from mqtt_broker import Broker as Mosquitto
from mqtt_broker import Fake, puback
from outband_peers import Relay, many, wait_for
from sipp import Proxy, Sipp, response
from stomp_broker import Broker as Stomp
from stomp_broker import well
from test_cases_outband import EXTENDED
from test_channels_jms import JMS
from test_channels_mms import MMS
from test_channels_mqtt import MQTT
from test_channels_sip import SIP
from test_channels_sms import SMS
from test_keys import key
from test_notifications import Site
from test_outband_channels import Outband, Program
from test_webpush import WebPush
from udp_device import Device as UdpDevice
from webpush_peer import Device as Browser
from webpush_peer import PushService, certificate

EMN = re.compile(r'<emn mailbox="mailat:joe[^"<>]*" timestamp="[-0-9T:Z]*"></emn>')


class Peers:
    """One of each. settings are the service's; addresses has those of the devices, texts()
    what came there: (number or None, text)"""

    PROGRAM = """#!/bin/sh
cat > %(path)s/$PIMAP_SEQ.part
env -0 > %(path)s/$PIMAP_SEQ.env
mv %(path)s/$PIMAP_SEQ.part %(path)s/$PIMAP_SEQ.text
"""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="pimap-all.")
        os.chmod(self.path, 0o777)
        issuer = certificate(self.path + "/ca", ())
        certificate(self.path + "/service", ("localhost",), issuer)
        self.push = PushService(self.path + "/service.pem")
        self.browser = Browser()
        self.kannel, self.sipp, self.mmsc = Kannel(), Sipp("200"), MMSC()
        self.broker, self.stomp = Mosquitto(), Stomp()
        self.subscriber = self.broker.device("pimap/#")
        self.program = self.path + "/program"
        with open(self.program, "w") as file:
            file.write(self.PROGRAM % {"path": self.path})
        os.chmod(self.program, 0o755)
        self.settings = {
            "pimap_channels": "jms mail mms mqtt program sip sms udp wap_push webpush",
            "pimap_clear_text": "jms mail mms mqtt program sip sms wap_push",
            "pimap_join_count": "0", "pimap_mail_from": "pimap@example.com",
            "pimap_sms_url": self.kannel.url, "pimap_sms_user": Kannel.USER,
            "pimap_sms_password": Kannel.PASSWORD, "pimap_sms_pattern": "+49*",
            "pimap_sms_from": "4711", "pimap_sms_parts": "6",
            "pimap_wap_push_url": self.kannel.url, "pimap_wap_push_user": Kannel.USER,
            "pimap_wap_push_password": Kannel.PASSWORD, "pimap_wap_push_from": "4711",
            "pimap_wap_push_pattern": "+49*",
            "pimap_sip_proxy": self.sipp.proxy, "pimap_sip_pattern": "sip:*@example.com",
            "pimap_mms_url": self.mmsc.url, "pimap_mms_user": MMSC.USER,
            "pimap_mms_password": MMSC.PASSWORD, "pimap_mms_pattern": "+49*",
            "pimap_mqtt_url": self.broker.url, "pimap_mqtt_prefix": "pimap",
            "pimap_jms_url": self.stomp.url, "pimap_jms_prefix": "/queue/pimap.",
            "pimap_program_path": self.program, "pimap_udp_listen": "127.0.0.1:@UDP_PORT@",
            "pimap_webpush_subject": "mailto:postmaster@example.com",
            "pimap_webpush_hosts": "localhost", "pimap_webpush_ca": self.path + "/ca.pem"}
        if not DOVECOT_24:
            # mail processes expand variables in plugin {}
            for name, value in self.settings.items():
                self.settings[name] = value.replace("%", "%%")
        self.addresses = {
            "MAIL": "joe@example.com", "SMS": "+491701", "WAP_PUSH": "+491702",
            "MMS": "+491703", "SIP": "sip:joe@example.com", "MQTT": "pimap/joe/phone",
            "JMS": "/queue/pimap.joe", "PROGRAM": "joe's", "UDP": "joe@example.com",
            "WEBPUSH": self.browser.address("https://localhost:%d/x" % self.push.port)}
        self.phone = None

    def connect(self, server):
        """The device that says HELLO"""
        self.phone = UdpDevice("127.0.0.1", int(server.vars["UDP_PORT"]), "joe#UDP",
                               key(server, "UDP", "joe"))
        self.phone.hello()
        wait_for(lambda: self.phone.count("OK"))

    def texts(self, channel):
        if channel in ("SMS", "WAP_PUSH"):
            found = [message.text for message in self.kannel.messages
                     if message.to == self.addresses[channel]]
            # a push's text is behind its six octets, and an EMN is in WBXML
            return found if channel == "SMS" else [
                text[6:].decode(errors="strict" if self.format == "EXTENDED" else "replace")
                for text in found]
        if channel == "MMS":
            return [message.text for message in self.mmsc.messages]
        if channel == "SIP":
            return [message.body.decode() for message in self.sipp.messages]
        if channel == "MQTT":
            return [text for _, text in self.subscriber.messages]
        if channel == "JMS":
            return [frame.body for frame in self.stomp.sent()]
        if channel == "UDP":
            return self.phone.told()
        if channel == "WEBPUSH":
            return [self.browser.decrypt(body) for _, _, body in list(self.push.requests)]
        assert channel == "PROGRAM"
        found = {}
        for name in os.listdir(self.path):
            if name.endswith(".text"):
                with open(self.path + "/" + name, newline="") as file:
                    found[int(name[:-5])] = file.read()
        return [found[number] for number in sorted(found)]

    def stop(self):
        if self.phone is not None:
            self.phone.close()
        for peer in (self.push, self.kannel, self.sipp, self.mmsc, self.broker, self.stomp):
            peer.stop()
        assert self.mmsc.wrong == []
        shutil.rmtree(self.path)


def is_one_line(text):
    return not re.search("[\0-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e"
                         "\u2060-\u206f\ufeff]", text)


@pytest.fixture(params=["EXTENDED", "EMN"])
def told(request):
    """A site, and joe's devices, each named by its channel"""
    peers = Peers()
    request.addfinalizer(peers.stop)
    site = Site("maildir", **peers.settings)
    request.addfinalizer(site.stop)
    peers.site, peers.format = site, request.param
    for channel, address in peers.addresses.items():
        phone = site.server.client("joe#" + channel)
        phone.ok("XFILTER SET N-%s NIL (ALL)" % channel)
        for name, value in (("FORMAT", request.param), ("CHANNEL", channel),
                            ("ADDRESS", address)):
            phone.ok('XSETPIMAPPREF PIMAP_OUTBAND_%s "%s"' % (name, value))
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N N-%s)" % channel)
        site.server.close_clients()
    peers.connect(site.server)
    yield peers
    assert site.server.faults() == []


def test_forged_lines(told):
    """greenmail#1010, humhub#3556, CVE-2025-15366, nyaruka/rapidpro#1078: one notification for
    each message, whatever its headers decode to and its folder's name says"""
    server = told.site.server
    plain = server.client("joe")
    messages = list(mail("67").values())
    for message in messages:
        lmtp(server, "joe", message)
    # CR LF, in modified UTF-7
    for name in ("a&AA0ACg-MESSAGE sip:ann@example.com SIP/2.0", "b &- _%$P-IMAP$%_ 7 joe"):
        if plain.command('CREATE "%s"' % name).status == "OK":
            plain.append('"%s"' % name, [messages[0]])
            messages.append(messages[0])
    assert len(messages) >= 5
    # UDP has no EMN
    channels = [channel for channel in told.addresses
                if channel not in ("MAIL", "UDP" if told.format == "EMN" else "")]

    def count(channel):
        return len([text for text in told.texts(channel)
                    if told.format == "EMN" or " NEW_MESSAGE " in text])
    for channel in channels:
        wait_for(lambda channel=channel: count(channel) >= len(messages), 30)
    for channel in channels:
        texts = told.texts(channel)
        if channel == "WAP_PUSH" and told.format == "EMN":
            # libwbxml reads them in test_channels_wap_push.py
            continue
        assert all(is_one_line(text) for text in texts)
        if told.format == "EMN":
            assert all(EMN.fullmatch(text) for text in texts)
            continue
        assert count(channel) == len(messages)
        if channel == "UDP":
            texts = ["_%%$P-IMAP$%%_ %d %s" % numbered for numbered in enumerate(texts, 1)]
        found = [EXTENDED.fullmatch(text) for text in texts]
        assert all(found), texts
        # other events are of the new folders
        assert [int(match.group(1)) for match in found] == list(range(1, len(texts) + 1))
        if channel != "WAP_PUSH":
            assert sum('\\"quote\\\\ _%$P-IMAP$%_ 7 joe"' in text for text in texts) == 1
    # who is told by EXTENDED of nothing else but this
    for message in told.sipp.messages:
        assert message.method == "MESSAGE" and message.uri == told.addresses["SIP"]
    assert {topic for topic, _ in told.subscriber.messages} == {told.addresses["MQTT"]}
    assert {frame.headers["destination"] for frame in told.stomp.sent()} == {"/queue/pimap.joe"}
    for name in os.listdir(told.path):
        if name.endswith(".env"):
            with open(told.path + "/" + name, newline="") as file:
                assert all(is_one_line(text) for text in file.read().split("\0"))


@pytest.mark.parametrize("told", ["EMN"], indirect=True)
def test_addresses_with_control_characters(told):
    """Refused where they are set, by whatever way"""
    server = told.site.server
    for channel, address in told.addresses.items():
        phone = server.client("joe#" + channel)
        for octets in (b"\r\nX: y", b"\nX: y", b"\r", b"\0", b"\x7f", b"\xc2\x9b1m",
                       b"\xff"):
            value = address.encode() + octets
            result = phone.command(b"XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS {%d+}\r\n%s" %
                                   (len(value), value))
            assert result.status in ("NO", "BAD"), (channel, octets)
            if b"\0" not in octets:
                server.doveadm("pimap", "pref", "set", "-u", "joe", channel,
                               "PIMAP_OUTBAND_ADDRESS", os.fsdecode(value), fails=True)
        server.close_clients()


# what steers a terminal, ends a line, turns what follows, isn't UTF-8, and is long
ODD = b"no\x1b[1m\x7f\xc2\x9b31m\xe2\x80\xae\xe2\x80\xa8\xff" + 3000 * b"x"
# of it what the protocol has
CHARACTERS = ODD.replace(b"\xff", b"").decode()
PRINTABLE = CHARACTERS.replace("\x1b", "").replace("\x7f", "")


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", str(len(ODD)))
        self.end_headers()
        self.wfile.write(ODD)

    def log_message(self, *args):
        pass


def sms():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop():
        server.shutdown()
        server.server_close()
    return SMS("http://127.0.0.1:%d/" % server.server_port), stop


def wap_push():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop():
        server.shutdown()
        server.server_close()
    return Outband("WAP_PUSH", "+491701", {
        "pimap_wap_push_url": "http://127.0.0.1:%d/" % server.server_port,
        "pimap_wap_push_pattern": "+49*"}), stop


def mail_relay():
    relay = Relay()
    relay.replies["RCPT"] = "451 " + CHARACTERS
    return Outband("MAIL", "joe@example.com", {
        "pimap_mail_relay": "127.0.0.1:%d" % relay.port}), relay.stop


def mms():
    class Odd(MMSC):
        @staticmethod
        def answer(transaction, status):
            return MMSC.answer(transaction, status).replace("It", "".join(
                "&#%d;" % ord(char) for char in PRINTABLE[:100] + "\x7f"))
    # its own stop() stops the MMSC
    return MMS(Odd(3000)), lambda: None


def sip():
    proxy = Proxy(lambda proxy, message, reply: reply(
        response(message, "480 #").replace(b"#", ODD.replace(b"\x1b", b"").replace(b"\x7f", b""))))
    return SIP(proxy.proxy), proxy.stop


def jms():
    def script(connection):
        connection.connect()
        frame = connection.read()
        if frame is not None:
            connection.write(b"ERROR\nreceipt-id:%s\nmessage:%s\n\n\0" % (
                frame.headers["receipt"].encode(), ODD))
    broker = Stomp(script)
    return JMS(broker.url), broker.stop


def mqtt():
    fake = Fake(lambda n, pid: puback(pid, 0x97, PRINTABLE.replace("\x9b", "")))
    return MQTT(fake.url), fake.stop


def webpush():
    push = WebPush()
    push.service.answer = lambda n: b"HTTP/1.1 503 %s\r\nContent-Length: 0\r\n\r\n" % \
        ODD.replace(b"\x1b", b"").replace(b"\x7f", b"")
    return push, lambda: None


def program():
    path = tempfile.mkdtemp(prefix="pimap-odd.")
    os.chmod(path, 0o755)
    with open(path + "/odd", "wb") as file:
        file.write(ODD)
    return Program("cat %s/odd; exit 75" % path), lambda: shutil.rmtree(path)


@pytest.mark.expects_faults
@pytest.mark.parametrize("make, words", [
    (jms, "no?[1m??31m??"), (mail_relay, "stray 0x1b"), (mms, "no[1m?31m??xx"),
    (mqtt, "no[1m31m??xx"), (program, "no?[1m??31m???xx"), (sip, "no[1m?31m???xx"),
    (sms, "no?[1m??31m???xx"), (wap_push, "no?[1m??31m???xx"), (webpush, "no[1m?31m???xx")])
def test_what_peers_say(make, words):
    """In the log, the list and the trace it is one line, which steers no terminal"""
    outband, stop = make()
    try:
        outband.new()
        assert outband.server.logs("#phone: Notification 1 (NEW_MESSAGE by %s): retry: " %
                                   outband.channel)
        with open(outband.server.vars["LOG"], "rb") as file:
            lines = [line.replace("\t", "").rstrip("\n")
                     for line in file.read().decode().split("\n")]
        assert all(is_one_line(line) and len(line) < 1500 for line in lines)
        # some of it is told
        assert any(words in line for line in lines), lines
        channel = outband.channel
        for text in (outband.server.doveadm("pimap", "outband", "list"),
                     outband.server.doveadm("pimap", "outband", "trace", "-u", outband.user,
                                            "phone")):
            assert channel in text or "tried" in text
            assert all(is_one_line(line) for line in text.rstrip("\n").split("\n"))
            assert len(text) < 10000
    finally:
        outband.stop()
        stop()


class Mails:
    """MAIL, to a relay that is another one from time to time"""

    def __init__(self):
        self.relay = Relay()
        self.outband = Outband("MAIL", "", {
            "pimap_mail_relay": "127.0.0.1:%d" % self.relay.port, "pimap_clear_text": "mail"})

    def address(self, name):
        return name + "@example.com"

    def count(self):
        return len(self.relay.mails)

    def came(self):
        """(to whom, what)"""
        return [(mail.recipients[0], mail.text.split("\r\n\r\n", 1)[1])
                for mail in list(self.relay.mails)]

    def restart(self):
        mails = self.relay.mails
        self.relay.stop()
        # some find nobody there
        time.sleep(0.3)
        self.relay = Relay(self.relay.port)
        self.relay.mails = mails

    def stop(self):
        self.outband.stop()
        self.relay.stop()


class Pushes:
    """WEBPUSH, the same"""

    def __init__(self):
        self.outband = WebPush(pimap_join_count="0", pimap_limit_device="0", pimap_limit_user="0")

    def count(self):
        return len(self.outband.service.requests)

    def address(self, name):
        return self.outband.device.address("%s/%s" % (self.outband.origin, name))

    def came(self):
        return [(path, self.outband.device.decrypt(body))
                for path, _, body in list(self.outband.service.requests)]

    def restart(self):
        old = self.outband.service
        old.stop()
        time.sleep(0.3)
        self.outband.service = PushService(self.outband.path + "/service.pem", port=old.port)
        self.outband.service.requests = old.requests

    def stop(self):
        self.outband.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("kind", [Mails, Pushes])
def test_restarted(kind):
    """The peer again and again: nothing is lost, each device's are in order, and what comes
    twice is the same. Those of other channels are in their own tests."""
    count = many(200) // 5
    peer = kind()
    outband = peer.outband
    outband.format = "EXTENDED"
    try:
        for number in range(5):
            outband.addresses["d%d" % number] = peer.address("d%d" % number)
            outband.new(device="d%d" % number, count=count)
        for number in range(5):
            wait_for(lambda number=number: peer.count() >= count * 5 * (number + 1) // 7, 120)
            peer.restart()
        wait_for(lambda: outband.server.log().count("by %s): sent" % outband.channel) == 5 * count,
                 120)
        found = {}
        for to, text in peer.came():
            found.setdefault(to, []).append(text)
        assert len(found) == 5
        for texts in found.values():
            first = list(dict.fromkeys(texts))
            assert [int(text.split()[1]) for text in first] == list(range(1, count + 1))
    finally:
        peer.stop()
