# SPDX-License-Identifier: LGPL-2.1-only
"""The channel SMS, with Kannel as the gateway: what comes to the SMSC."""

import http.server
import os
import socket
import threading
import time

import pytest

from kannel import Kannel
from outband_peers import many, wait_for
from smsd_peer import Smsd
from test_outband_channels import Outband, lend

NUMBER = "+491701234567"
EMN = '<emn mailbox="mailat:joe@example.com" timestamp="2004-02-20T06:40:00Z"></emn>'
# the alphabet of GSM 03.38, and the characters that take two septets
GSM = ("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
       "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà")
TWICE = "^{}\\[~]|€"


def parts(text):
    """How many short messages a text is"""
    if all(char in GSM + TWICE for char in text):
        size, one, more = sum(2 if char in TWICE else 1 for char in text), 160, 153
    else:
        size, one, more = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if size <= one else -(-size // more)


class SMS(Outband):
    def __init__(self, url, **values):
        super().__init__("SMS", NUMBER, dict({
            "pimap_channels": "sms", "pimap_sms_url": url, "pimap_sms_user": Kannel.USER,
            "pimap_sms_password": Kannel.PASSWORD, "pimap_sms_from": "4711",
            "pimap_sms_pattern": "+49*", "pimap_clear_text": "sms"}, **values))


@pytest.fixture(scope="module")
def kannel():
    kannel = Kannel()
    yield kannel
    kannel.stop()


@pytest.fixture
def sms(kannel, request):
    kannel.before = len(kannel.messages)
    sms = SMS(kannel.url, **getattr(request, "param", {}))
    sms.kannel = kannel
    yield from lend(request, sms)


def came(sms, count=1, seconds=15):
    kannel = sms.kannel
    wait_for(lambda: len(kannel.messages) >= kannel.before + count, seconds)
    return kannel.messages[kannel.before:]


def test_emn_as_sent(sms):
    """R-13.2: as text"""
    sms.new()
    assert came(sms) == [("4711", NUMBER, "text", EMN, 1)]
    assert sms.server.logs("(NEW_MESSAGE by SMS): sent")
    assert Kannel.PASSWORD not in sms.server.log()


def test_by_name(kannel):
    """The gateway's host is looked up"""
    kannel.before = len(kannel.messages)
    sms = SMS(kannel.url.replace("127.0.0.1", "localhost"))
    sms.kannel = kannel
    sms.new()
    assert came(sms)[0].text == EMN
    sms.stop()


ODD = [
    "Hello", "", "ä ö ü ß é à", "[brackets] {braces} \\ ^ ~ | €", "ΔΦΓΛΩΠΨΣΘΞ", "αβγ",
    "emoji 😀 here", "😀" * 100, "שלום עולם", "مرحبا", "你好" * 60, "a" * 10000, "ä" * 10000,
    "[" * 200, "€" * 200, "ł" * 200, "x" * 75 + "ł", "x" * 75 + "😀",
    "<emn mailbox=\"x\">&amp;</emn>", "\"quoted\" \\ end\\\"", "%41%00&to=666&text=", "+ + +",
    "a\r\nb", "a\0b", "a\tb", "`id`", "e\u0301", "\u202egnp.exe", "1" * 160, "ab\u2028c",
    "Subject: x", "=?utf-8?q?=C3=A4?=", "🇩🇪" * 40, "ÿþ", "]]>", "<![CDATA[x]]>", "<!-- x -->",
    "\\0 ^@", "a" * 159 + "€", "€" * 79 + "x", "日本語" * 60 + "e\u0301", "{}" * 100,
    "'; DROP TABLE queue; --", "${HOME} $(id)", "%s%n%x", "../../etc/passwd", "ا" * 300,
    "a:b;c=d?e#f", "@ £ $ ¥ è ¤ ¡ ¿", "ñ" * 160 + "ń", "\\" * 200, "\"" * 200
]


def read(text):
    """sender and subject of an EXTENDED, as a device reads it"""
    words, word, quoted = [], "", False
    index = 0
    while index < len(text):
        char = text[index]
        if quoted and char == "\\":
            index += 1
            word += text[index]
        elif char == '"':
            quoted = not quoted
        elif char == " " and not quoted:
            words.append(word)
            word = ""
        else:
            word += char
        index += 1
    assert not quoted, text
    return words + [word]


@pytest.mark.parametrize("sms", [{"pimap_sms_parts": n} for n in ("1", "3")], indirect=True)
def test_odd_subjects(sms, request):
    """Whole or cut between characters, in as few parts as are paid for, and coded by what is
    in it"""
    allowed = int(request.node.callspec.params["sms"]["pimap_sms_parts"])
    sms.format = "EXTENDED"
    for subject in ODD:
        # NUL can't be in a line of the worker's
        sms.new("Joe <joe@example.com>", subject.replace("\0", " "))
    # one that is in several parts comes as such: each has its header
    wait_for(lambda: sms.server.log().count("by SMS): sent") == len(ODD), 30)
    messages = came(sms, len(ODD))
    assert len(messages) == len(ODD)
    for number, (message, subject) in enumerate(zip(messages, ODD), 1):
        text = message.text
        assert message[:2] == ("4711", NUMBER)
        assert message.parts == parts(text) <= allowed
        assert message.coding == ("text" if all(c in GSM + TWICE for c in text) else "ucs-2")
        words = read(text)
        assert words[:2] == ["_%$P-IMAP$%_", str(number)]
        want = " ".join(subject.replace("\0", " ").replace("\u2028", " ").split())
        want = want.replace("\u202e", "")
        told = "" if text.endswith(" NIL") else words[8]
        assert want.startswith(told)
        if told != want:
            # a character more, and a blank that would be cut off
            more = want[:len(told) + 2].replace("\\", "\\\\").replace('"', '\\"')
            head = text[:text.index('"06:40:00"')] + '"06:40:00" '
            assert parts(head + '"' + more + '"') > allowed, (told, want)


def test_several_devices(sms):
    """Each in its order, and none waits for another"""
    for _ in range(20):
        for device in "abc":
            sms.new(device=device)
    messages = came(sms, 60)
    assert len(messages) == 60


@pytest.mark.expects_faults
@pytest.mark.parametrize("sms", [{"pimap_sms_password": "wrong"}], indirect=True)
def test_not_let_in(sms):
    """That the administrator can mend: nothing is given up, it is logged once"""
    sms.new()
    assert sms.server.logs("The gateway's answer is 403: Authorization failed for sendsms")
    time.sleep(2.5)
    assert len(sms.server.faults()) == 1
    assert "wrong" not in sms.server.log()
    assert sms.kannel.messages[sms.kannel.before:] == []


@pytest.mark.expects_faults
@pytest.mark.parametrize("sms", [{"pimap_sms_pattern": ""}, {"pimap_sms_pattern": "+43*"}],
                         indirect=True)
def test_pattern(sms):
    """R-14.5: asked again before each is sent"""
    sms.new()
    assert sms.server.logs("given up: The address isn't allowed: ")
    assert sms.kannel.messages[sms.kannel.before:] == []


class Gateway:
    """Answers each request with the next of these statuses, or status and body, the last one
    again and again; None: never"""

    def __init__(self, statuses):
        self.statuses = list(statuses)
        self.requests = []
        self.text = b"3: \x1b[1mmore\r\nof it"
        gateway = self
        self.released = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                gateway.requests.append((self.path, dict(self.headers), body))
                statuses = gateway.statuses
                status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
                if status is None:
                    gateway.released.wait(60)
                    self.close_connection = True
                    return
                if status == "half":
                    self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n0: Acc")
                    self.wfile.flush()
                    gateway.released.wait(60)
                    self.close_connection = True
                    return
                body = gateway.text + 100000 * b"x"
                if isinstance(status, tuple):
                    status, body = status
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d/sms?smsc=x" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.expects_faults
@pytest.mark.parametrize("status, ends", [
    (503, "tried"), (500, "tried"), (404, "tried"), (401, "tried"), (400, "tried"),
    (302, "tried"), (429, "tried"), (406, "given up"), (413, "given up"),
    # it has taken it, in Kannel's words, and in those of who answers as Kannel does
    ((202, b""), "sent"), ((202, b"0: Accepted for delivery"), "sent"), (200, "sent"),
    ((200, b"0: Accepted for delivery"), "sent"), ((200, b"3: Queued"), "sent"),
    # somebody else is there, or it says otherwise
    ((200, b"<html>Welcome</html>"), "tried"), ((200, b""), "tried"), ((204, b""), "tried"),
    ((200, b"Authorization failed for sendsms"), "tried"), ((200, b"30: no"), "tried")])
def test_statuses(status, ends):
    """nyaruka/rapidpro#1078, playsms#159, vumi#812: only that it is accepted ends it"""
    gateway = Gateway([status, 202])
    sms = SMS(gateway.url)
    try:
        sms.new()
        if ends == "tried":
            assert sms.server.logs("by SMS): sent")
            first, (path, headers, body) = gateway.requests
            assert first[::2] == (path, body) == ("/sms?smsc=x", EMN.encode())
            assert {name: value for name, value in headers.items() if "Kannel" in name} == {
                "X-Kannel-Username": Kannel.USER, "X-Kannel-Password": Kannel.PASSWORD,
                "X-Kannel-From": "4711", "X-Kannel-To": NUMBER, "X-Kannel-Coding": "0"}
        elif ends == "sent":
            assert sms.server.logs("by SMS): sent")
            assert len(gateway.requests) == 1 and sms.server.faults() == []
        else:
            assert sms.server.logs("given up: The gateway's answer is %d: 3: ?[1mmore" % status)
            assert len(gateway.requests) == 1
        # one line, with nothing that steers a terminal
        assert "\x1b" not in sms.server.log()
        assert len(sms.server.log()) < 20000
    finally:
        sms.stop()
        gateway.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("hang", [None, "half"])
def test_gateway_hangs(hang):
    """In its answer or before it: others go on, and what has been accepted isn't sent again"""
    gateway = Gateway([hang, 202])
    sms = SMS(gateway.url)
    try:
        sms.new()
        wait_for(lambda: len(gateway.requests) == 1)
        sms.new(device="other")
        wait_for(lambda: sms.server.log().count("by SMS): sent") == 1, 5)
        gateway.released.set()
        wait_for(lambda: sms.server.log().count("by SMS): sent") == 2, 15)
        assert len(gateway.requests) == (3 if hang is None else 2)
    finally:
        sms.stop()
        gateway.stop()


@pytest.mark.expects_faults
def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    sms = SMS("http://127.0.0.1:%d/x" % port)
    try:
        sms.new()
        assert sms.server.logs("The gateway can't be reached: ")
        time.sleep(2.5)
        assert len(sms.server.faults()) == 1
    finally:
        sms.stop()


@pytest.mark.expects_faults
def test_restarted(sms):
    """The gateway again and again: nothing is lost, and each device's are in order"""
    kannel = sms.kannel
    count = many(1000) // 5
    sms.format = "EXTENDED"
    for number in range(5):
        sms.addresses["d%d" % number] = "+4917%07d" % number
        sms.new(device="d%d" % number, count=count)
    for number in range(5):
        wait_for(lambda: len(kannel.messages) >= kannel.before + count * 5 * (number + 1) // 7, 60)
        kannel.restart()
    wait_for(lambda: sms.server.log().count("by SMS): sent") == 5 * count, 60)
    numbers = {}

    def all_came():
        numbers.clear()
        for message in kannel.messages[kannel.before:]:
            numbers.setdefault(message.to, []).append(int(message.text.split()[1]))
        return sum(len(set(found)) for found in numbers.values()) == 5 * count
    wait_for(all_came, 30)
    for found in numbers.values():
        first = [number for n, number in enumerate(found) if number not in found[:n]]
        assert first == list(range(1, count + 1))


# smstools

@pytest.fixture(scope="module")
def smsd():
    smsd = Smsd()
    yield smsd
    smsd.stop()


@pytest.fixture
def spooled(smsd, request):
    smsd.before = len(smsd.messages)
    sms = SMS(smsd.url, **getattr(request, "param", {}))
    sms.smsd = smsd
    yield from lend(request, sms)


def test_spooled(spooled):
    """What smsd has its modem send"""
    spooled.new()
    smsd = spooled.smsd
    wait_for(lambda: len(smsd.messages) > smsd.before, 30)
    assert smsd.messages[smsd.before:] == [(NUMBER, EMN, "text", 1)]
    assert spooled.server.logs("(NEW_MESSAGE by SMS): sent")


def test_spooled_to_a_short_number(smsd):
    smsd.before = len(smsd.messages)
    sms = SMS(smsd.url, pimap_sms_pattern="*")
    sms.address = "4711"
    sms.new()
    wait_for(lambda: len(smsd.messages) > smsd.before, 30)
    assert smsd.messages[smsd.before:] == [("4711", EMN, "text", 1)]
    sms.stop()


@pytest.mark.parametrize("spooled", [{"pimap_sms_parts": n} for n in ("1", "3")], indirect=True)
def test_spooled_odd_subjects(spooled, request):
    """As Kannel gets them, in one or several parts, each whole"""
    allowed = int(request.node.callspec.params["spooled"]["pimap_sms_parts"])
    smsd = spooled.smsd
    spooled.format = "EXTENDED"
    for subject in ODD:
        spooled.new("Joe <joe@example.com>", subject.replace("\0", " "))
    wait_for(lambda: spooled.server.log().count("by SMS): sent") == len(ODD), 30)
    wait_for(lambda: len(smsd.messages) >= smsd.before + len(ODD), 120)
    found = {}
    for to, text, coding, count in smsd.messages[smsd.before:]:
        assert to == NUMBER
        # between two parts a septet may be left
        assert parts(text) <= count <= allowed
        assert coding == ("text" if all(c in GSM + TWICE for c in text) else "ucs-2")
        words = read(text)
        found[int(words[1])] = "" if text.endswith(" NIL") else words[8]
    assert sorted(found) == list(range(1, len(ODD) + 1))
    for number, subject in enumerate(ODD, 1):
        want = " ".join(subject.replace("\0", " ").replace("\u2028", " ").split())
        want = want.replace("\u202e", "")
        assert want.startswith(found[number])


@pytest.mark.expects_faults
@pytest.mark.parametrize("mode, words", [
    (None, "No such file or directory"), (0o700, "Permission denied"),
    (0o755, "Permission denied")])
def test_spool_cannot_be_used(smsd, mode, words):
    """That is logged once, and when it can be it goes on"""
    path = "%s/other%s" % (smsd.path, mode)
    if mode is not None:
        os.mkdir(path, mode)
    sms = SMS("smstools:" + path)
    try:
        sms.new()
        assert sms.server.logs(words)
        time.sleep(2.5)
        assert len(sms.server.faults()) == 1
        if mode is None:
            os.mkdir(path)
        os.chmod(path, 0o777)
        assert sms.server.logs("by SMS): sent")
        name, = os.listdir(path)
        assert name.startswith("pimap-") and not name.endswith(".LOCK")
        with open(path + "/" + name) as file:
            # @ is 0 in that alphabet
            assert file.read() == ("To: 491701234567\nAlphabet: GSM\nAutosplit: 0\n\n" +
                                   EMN.replace("@", "\0"))
    finally:
        sms.stop()


def test_spooled_restarted(spooled):
    """smsd is killed again and again: nothing is lost. It sends files in the order of its own."""
    smsd = spooled.smsd
    spooled.format = "EXTENDED"
    count = many(40)
    spooled.new(count=count)
    for number in range(5):
        wait_for(lambda: len(smsd.messages) >= smsd.before + count * (number + 1) // 7, 120)
        smsd.restart()
    assert spooled.server.log().count("by SMS): sent") == count

    def numbers():
        return {int(message[1].split()[1]) for message in smsd.messages[smsd.before:]}
    wait_for(lambda: len(numbers()) == count, 180)
    assert numbers() == set(range(1, count + 1))
