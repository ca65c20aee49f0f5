# SPDX-License-Identifier: LGPL-2.1-only
"""Delivery reports of the channel SMS: what gateways say later of what they have taken."""

import fcntl
import http.client
import http.server
import os
import re
import socket
import sqlite3
import threading
import time

import pytest

from conftest import DOVECOT_24
from kannel import Kannel
from outband_peers import wait_for
from smsd_peer import Smsd
from smsc import INVALID_DESTINATION, Smsc
from test_channels_sms import EMN, NUMBER, SMS, Gateway
from test_outband_channels import Outband, lend

LISTENER = """
service pimap-outband {
  inet_listener pimap-outband-report {
    %s = 127.0.0.1
    port = @TCP_PORT@
  }
}
""" % ("listen" if DOVECOT_24 else "address")
DEBUG = "log_debug = event=pimap_notification_finished or event=pimap_notification_reported\n"


class Reported(SMS):
    CONF = Outband.CONF + LISTENER + DEBUG

    def __init__(self, url, **values):
        super().__init__(url, **dict({
            "pimap_sms_report_url": "http://127.0.0.1:@TCP_PORT@/report?from=kannel"}, **values))
        self.port = int(self.server.vars["TCP_PORT"])

    def trace(self, device="phone", seq=None):
        """[step, text] of each"""
        args = () if seq is None else (str(seq),)
        lines = self.server.doveadm("-f", "tab", "pimap", "outband", "trace", "-u", self.user,
                                    device, *args).splitlines()
        names = lines[0].split("\t")
        rows = [dict(zip(names, row.split("\t"))) for row in lines[1:]]
        return [[row["step"], row["text"]] for row in rows]

    def reported(self, device="phone", seq=None):
        return [step for step in self.trace(device, seq) if "delivered" in step[0]]

    def status(self):
        lines = self.server.doveadm("-f", "tab", "pimap", "outband", "status").splitlines()
        return dict(row.split("\t") for row in lines[1:])

    def ask(self, target, method="GET", body=None):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            client.request(method, target, body=body)
            return client.getresponse().status
        finally:
            client.close()


@pytest.fixture(scope="module")
def smsc():
    smsc = Smsc()
    yield smsc
    smsc.stop()


@pytest.fixture(scope="module")
def kannel(smsc):
    kannel = Kannel(smpp=smsc.port)
    yield kannel
    kannel.stop()


@pytest.fixture
def sms(kannel, smsc, request):
    smsc.outcomes.clear()
    sms = Reported(kannel.url, **getattr(request, "param", {}))
    sms.smsc = smsc
    yield from lend(request, sms)


def test_delivered(sms):
    sms.new()
    assert sms.server.logs("Notification 1 (by SMS): delivered: ")
    (step, text), = sms.reported()
    assert step == "delivered"
    assert "stat:DELIVRD err:000" in text and "text" not in text
    assert ["done", "sent"] in sms.trace()
    status = sms.status()
    assert (status["SMS sent"], status["SMS delivered"], status["SMS not delivered"],
            status["SMS refused reports"]) == ("1", "1", "0", "0")


@pytest.mark.parametrize("outcome, words", [
    ("UNDELIV", "stat:UNDELIV err:011"), ("EXPIRED", "stat:EXPIRED"),
    (INVALID_DESTINATION, "Invalid Destination Address")])
def test_not_delivered(sms, outcome, words):
    """That is told in the trace and counted: it isn't sent again, and those behind it are"""
    sms.smsc.outcomes[NUMBER] = outcome
    before = len(sms.smsc.taken)
    sms.new(count=2)
    assert sms.server.logs("Notification 2 (by SMS): not delivered: ")
    assert sms.server.logs("Notification 1 (by SMS): not delivered: ")
    for seq in (1, 2):
        (step, text), = sms.reported(seq=seq)
        assert step == "not delivered"
        assert words in text
        assert ["done", "sent"] in sms.trace(seq=seq)
    status = sms.status()
    assert (status["SMS sent"], status["SMS delivered"], status["SMS not delivered"],
            status["SMS given up"]) == ("2", "0", "2", "0")
    time.sleep(1.5)
    assert len(sms.smsc.taken) == before + 2


@pytest.mark.parametrize("sms", [{"pimap_sms_parts": "3"}], indirect=True)
@pytest.mark.parametrize("outcome, step", [("DELIVRD", "delivered"),
                                           ("UNDELIV", "not delivered")])
def test_several_messages(sms, outcome, step):
    """Kannel reports each of them: it is one step"""
    sms.smsc.outcomes[NUMBER] = outcome
    before, receipts = len(sms.smsc.taken), len(sms.smsc.receipts)
    sms.format = "EXTENDED"
    sms.new("Joe <joe@example.com>", "x" * 1000)
    wait_for(lambda: len(sms.smsc.receipts) > receipts)
    wait_for(lambda: len(sms.smsc.taken) == before + 3)
    assert sms.server.logs("Notification 1 (by SMS): %s: " % step)
    time.sleep(1.5)
    assert [found for found, _ in sms.reported()] == [step]


class Listener:
    """Takes reports in the service's place: it answers with these, the last one again and again"""

    def __init__(self, statuses):
        self.asked = []
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                listener.asked.append(self.path)
                self.send_response(statuses[min(len(listener.asked), len(statuses)) - 1])
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def test_kannel_asks_again(kannel, smsc):
    """Where the service can't take it now, and what it asks"""
    listener = Listener([503, 200])
    sms = Reported(kannel.url, pimap_sms_report_url=listener.url)
    try:
        smsc.outcomes.clear()
        sms.new()
        wait_for(lambda: len(listener.asked) == 2, 30)
        assert listener.asked[0] == listener.asked[1]
        assert re.fullmatch(r"/\?pimap=1\.1\.[0-9a-f]{32}&type=1&reply=\S*&receipt=id\S*"
                            r"stat\S*DELIVRD\S*", listener.asked[0])
        # and that is what the service understands
        assert sms.ask(listener.asked[0]) == 200
        assert [step for step, _ in sms.reported()] == ["delivered"]
    finally:
        sms.stop()
        listener.stop()


# smstools

@pytest.fixture(scope="module")
def smsd():
    smsd = Smsd(reports=True)
    yield smsd
    smsd.stop()


@pytest.fixture
def spooled(smsd, request):
    smsd.outcomes.clear()
    sms = Reported(smsd.url, pimap_sms_report_url="smstools:" + smsd.path,
                   **getattr(request, "param", {}))
    sms.smsd = smsd
    yield from lend(request, sms)


def files_of(smsd, name):
    # but for those by which smsd says that it moves one
    return [file for file in os.listdir(smsd.path + "/" + name) if not file.endswith(".LOCK")]


def files(smsd):
    return {name: files_of(smsd, name) for name in ("sent", "failed", "report")}


def test_spooled_delivered(spooled):
    spooled.new()
    assert spooled.server.logs("Notification 1 (by SMS): delivered: ")
    assert spooled.reported() == [["delivered", "0,Ok,short message received by the SME"]]
    wait_for(lambda: files(spooled.smsd) == {"sent": [], "failed": [], "report": []})


@pytest.mark.parametrize("outcome, words", [
    (69, "69,Error"), (99, "99,Error"), ("ERROR", "smsd couldn't send it|GSM1|Modem|CMS ERROR")])
def test_spooled_not_delivered(spooled, outcome, words):
    """By the network's report, or because the modem doesn't send it"""
    smsd = spooled.smsd
    smsd.outcomes[NUMBER] = outcome
    spooled.new()
    wait_for(lambda: spooled.reported(), 60)
    (step, text), = spooled.reported()
    assert step == "not delivered" and re.search(words, text), text
    assert ["done", "sent"] in spooled.trace()
    wait_for(lambda: files(smsd) == {"sent": [], "failed": [], "report": []})
    status = spooled.status()
    assert (status["SMS sent"], status["SMS not delivered"], status["SMS given up"]) == (
        "1", "1", "0")


def test_spooled_is_tried_on(spooled):
    """A report that it is still under way is none"""
    smsd = spooled.smsd
    smsd.outcomes[NUMBER] = 48
    spooled.new()
    wait_for(lambda: files(smsd)["sent"])
    # another message, by which it is seen that the first report was read
    spooled.addresses["other"] = "+491709999999"
    spooled.new(device="other")
    assert spooled.server.logs("joe@example.com#other: Notification 1 (by SMS): delivered")
    wait_for(lambda: files(smsd)["report"] == [])
    assert spooled.reported() == []
    assert len(files(smsd)["sent"]) == 1
    smsd.report(smsd.reference - 1, NUMBER, 0)
    assert spooled.server.logs("joe@example.com#phone: Notification 1 (by SMS): delivered")
    wait_for(lambda: files(smsd)["sent"] == [])


@pytest.mark.parametrize("spooled", [{"pimap_sms_parts": "3"}], indirect=True)
@pytest.mark.parametrize("failing", [None, 1])
def test_spooled_in_parts(spooled, failing):
    """It is delivered when the last part is, and isn't when one of them isn't"""
    smsd = spooled.smsd
    spooled.format = "EXTENDED"
    smsd.outcomes[NUMBER] = None
    spooled.new("Joe <joe@example.com>", "x" * 1000)
    wait_for(lambda: files(smsd)["sent"], 30)
    last = smsd.reference
    for part in range(3):
        smsd.report(last - 2 + part, NUMBER, 69 if part == failing else 0)
    wait_for(lambda: spooled.reported(), 20)
    wait_for(lambda: files(smsd)["sent"] == [])
    time.sleep(3)
    assert [step for step, _ in spooled.reported()] == [
        "delivered" if failing is None else "not delivered"]
    for name in files(smsd)["report"]:
        os.unlink(smsd.path + "/report/" + name)


REPORT = """From: 491701234567
Modem: GSM1

SMS STATUS REPORT
Message_id: %d
Discharge_timestamp: 04-02-20 06:41:00
Status: 0,Ok,short message received by the SME
"""


def test_spooled_foreign_files(spooled):
    """What isn't of our messages is neither read again and again nor removed, also where it
    looks like them"""
    smsd = spooled.smsd
    other = {
        "sent/pimap-" + "0" * 40: "To: 491701234567\nModem: GSM1\nReport: yes\nX-Pimap: 1.1." +
        32 * "0" + "\nMessage_id: 250\n\nx",
        "sent/pimap-none": "To: 491701234567\nMessage_id: 251\n\nX-Pimap: 1.1." + 32 * "0",
        "failed/pimap-" + "1" * 40: "To: 491701234567\nX-Pimap: 1.1." + 32 * "0" + "\n\nx",
        "failed/other": "x", "sent/other": "x",
        "report/GSM1.250": REPORT % 250, "report/GSM1.251": REPORT % 251,
        "report/GSM1.252": REPORT % 252, "report/none": "", "report/odd": "\0\n\n\n" * 5000}
    for name, text in other.items():
        with open(smsd.path + "/" + name, "w") as file:
            file.write(text)
    os.mkdir(smsd.path + "/report/folder")
    os.symlink("/dev/zero", smsd.path + "/report/zero")
    os.mkfifo(smsd.path + "/report/fifo")
    before = files(smsd)
    spooled.new()
    assert spooled.server.logs("Notification 1 (by SMS): delivered: ")
    wait_for(lambda: {name: sorted(found) for name, found in files(smsd).items()} ==
             {name: sorted(found) for name, found in before.items()})
    time.sleep(5)
    assert len(spooled.reported()) == 1
    for name, text in other.items():
        with open(smsd.path + "/" + name) as file:
            assert file.read() == text
        os.unlink(smsd.path + "/" + name)
    os.rmdir(smsd.path + "/report/folder")
    for name in ("zero", "fifo"):
        os.unlink(smsd.path + "/report/" + name)


def test_spooled_while_it_is_written(spooled):
    """Files that are not whole yet are read when they are"""
    smsd = spooled.smsd
    smsd.outcomes[NUMBER] = None
    spooled.new()
    name, = wait_for(lambda: files_of(smsd, "sent"))
    path = smsd.path + "/sent/" + name
    with open(path) as file:
        text = file.read()
    report = REPORT % smsd.reference
    with open(path, "w") as sent, open(smsd.path + "/report/GSM1.x", "w") as reported:
        sent.write(text[:text.index("Message_id")])
        reported.write(report[:100])
        sent.flush()
        reported.flush()
        time.sleep(2.5)
        sent.write(text[text.index("Message_id"):])
        reported.write(report[100:])
    assert spooled.server.logs("Notification 1 (by SMS): delivered: ")
    wait_for(lambda: files(smsd) == {"sent": [], "failed": [], "report": []})


@pytest.mark.expects_faults
def test_spooled_later(smsd):
    """Reports of what was sent before the service began are known. A directory that isn't there is
    logged once, and then used"""
    smsd.outcomes[NUMBER] = None
    sms = Reported(smsd.url, pimap_sms_report_url="smstools:" + smsd.path)
    try:
        os.rename(smsd.path + "/report", smsd.path + "/moved")
        sms.new()
        wait_for(lambda: files_of(smsd, "sent"))
        assert sms.server.logs("stat(%s/report) failed: No such file or directory" % smsd.path)
        time.sleep(4.5)
        assert len(sms.server.faults()) == 1
        os.rename(smsd.path + "/moved", smsd.path + "/report")
        sms.server.reload()
        smsd.report(smsd.reference, NUMBER, 0)
        assert sms.server.logs("Notification 1 (by SMS): delivered: ")
        wait_for(lambda: files_of(smsd, "sent") == [])
    finally:
        sms.stop()


# what isn't asked for, and what isn't a report

def test_not_asked_for():
    """By default: nothing says so to the gateway, and nothing is counted"""
    gateway = Gateway([202])
    sms = Reported(gateway.url, pimap_sms_report_url="")
    try:
        sms.new()
        assert sms.server.logs("by SMS): sent")
        (_, headers, _), = gateway.requests
        assert not [name for name in headers if "DLR" in name.upper()]
        assert "SMS delivered" not in sms.status()
        assert sms.ask("/report?pimap=1.1.%s&type=1" % ("0" * 32)) == 404
    finally:
        sms.stop()
        gateway.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("url, report", [
    ("http://127.0.0.1:1/", "smstools:/tmp"), ("http://127.0.0.1:1/", "nonsense"),
    ("smstools:/tmp", "http://127.0.0.1:1/"), ("smstools:/tmp", "smstools:tmp")])
def test_wrong_setting(url, report):
    sms = SMS(url, pimap_sms_report_url=report)
    try:
        assert sms.server.logs("pimap_sms_report_url")
    finally:
        sms.stop()


class Asked(Reported):
    """Its gateway only takes, the reports are the test's."""

    def __init__(self, **values):
        self.gateway = Gateway([202])
        super().__init__(self.gateway.url, **values)

    def url(self):
        """What the gateway is to ask, of the first notification"""
        self.new()
        wait_for(lambda: self.gateway.requests)
        headers = self.gateway.requests[0][1]
        assert headers["X-Kannel-DLR-Mask"] == "19"
        scheme, _, host, target = headers["X-Kannel-DLR-Url"].split("/", 3)
        assert (scheme, host) == ("http:", "127.0.0.1:%d" % self.port)
        return "/" + target

    def stop(self):
        super().stop()
        self.gateway.stop()


@pytest.fixture
def asked(request):
    yield from lend(request, Asked())


def fill(url, status, reply="", receipt=""):
    return url.replace("%d", str(status)).replace("%A", reply).replace("%a", receipt)


def test_reports_again_and_other_ones(asked):
    """Once of each kind"""
    url = asked.url()
    assert asked.ask(fill(url, 8)) == 200
    assert asked.ask(fill(url, 4)) == 200
    assert asked.reported() == []
    for _ in range(3):
        assert asked.ask(fill(url, 2, "NACK", "id%3A1+stat%3AUNDELIV%1b%ff+Text:secret")) == 200
    assert asked.reported() == [["not delivered", "id:1 stat:UNDELIV??"]]
    for _ in range(3):
        assert asked.ask(fill(url, 1, "ACK%2F")) == 200
    assert asked.reported()[1:] == [["delivered", "ACK/"]]
    status = asked.status()
    assert (status["SMS delivered"], status["SMS not delivered"],
            status["SMS refused reports"]) == ("1", "1", "0")
    assert asked.server.doveadm("-f", "tab", "pimap", "outband", "list").count("\n") <= 1


def test_hostile(asked):
    """Without the token nothing is a report, and nothing of it is in the log"""
    url = asked.url()
    asked.new()
    assert asked.server.logs("Notification 2 (NEW_MESSAGE by SMS): sent")
    token = re.search("pimap=([^&]*)", url).group(1)
    number, seq, mac = token.split(".")
    good = fill(url, 1)
    log = asked.server.log()
    wrong = [
        good.replace(token, other) for other in (
            "%d.2.%s" % (int(number) + 1, mac), "%s.2.%s" % (number, mac),
            "0%s.%s.%s" % (number, seq, mac), "%s.%s.%s" % (number, seq, "A" + mac[1:]),
            "%s.%s.%s" % (number, seq, mac[:-1]), "%s.%s.%s0" % (number, seq, mac),
            "%s.%s.%s" % (number, seq, ("1" if mac[0] == "0" else "0") + mac[1:]),
            "%s.%s." % (number, seq), "..", "", "-1.-1." + mac, "9" * 30 + ".1." + mac,
            "x" * 3000, "%00", "%zz", token + "%00", token + "+")]
    wrong += [good + "&pimap=" + token, good + "&type=2", good.replace("type=1", "type="),
              good.replace("type=1", "type=x"), good.replace("type=1", "type=-1"),
              good.replace("type=1", "typ=1"), "/", "/?", "/?&&=&", "/report?pimap=" + token,
              good.replace("reply=", "reply=%"), good.replace("reply=", "reply=" + "x" * 4200)]
    answers = [asked.ask(target) for target in wrong]
    # some aren't even URLs
    assert set(answers) == {400, 404}
    refused = answers.count(404)
    assert refused > 20
    for method in ("POST", "HEAD", "PUT", "DELETE", "CONNECT", "TRACE", "OPTIONS"):
        assert asked.ask(good, method) in (405, 404, 400), method
    assert asked.ask(good, "POST", "x" * 100000) in (405, 413)
    for data in (b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\1" + b"x" * 99,
                 b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                 b"GET " + b"/" * 100000, b"GET / HTTP/1.1\r\nHost: " + b"a" * 100000,
                 b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
                 b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
                 b"", b"GET "):
        with socket.create_connection(("127.0.0.1", asked.port)) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
            except OSError:
                # it was closed before
                pass
    assert asked.reported(seq=1) == asked.reported(seq=2) == []
    assert asked.server.log() == log
    assert int(asked.status()["SMS refused reports"]) >= refused
    assert asked.ask(good) == 200
    assert [step for step, _ in asked.reported(seq=1)] == ["delivered"]


def test_many_connections(asked):
    """They keep nobody from the service: neither other reports nor what is to be sent"""
    url = asked.url()
    socks = [socket.create_connection(("127.0.0.1", asked.port)) for _ in range(300)]
    try:
        for sock in socks[::2]:
            try:
                sock.sendall(b"GET /")
            except ConnectionError:
                pass
        assert asked.ask(fill(url, 1)) == 200
        asked.new()
        assert asked.server.logs("Notification 2 (NEW_MESSAGE by SMS): sent")
        # the others were closed
        socks[0].settimeout(10)
        assert socks[0].recv(100) == b""
    finally:
        for sock in socks:
            sock.close()


def test_another_process(asked):
    """Tokens are valid in the next process, and what comes while that waits is answered"""
    url = asked.url()

    def ask_again():
        # as Kannel does (http-request-retry): the old process may close what it has just accepted
        try:
            return asked.ask(fill(url, 1)) == 200
        except (http.client.HTTPException, ConnectionError):
            return False
    for _ in range(3):
        asked.server.reload()
        wait_for(ask_again)
    assert [step for step, _ in asked.reported()] == ["delivered"]
    # the database's secret, not the process's
    assert asked.ask(fill(url, 2)) == 200
    assert [step for step, _ in asked.reported()] == ["delivered", "not delivered"]


@pytest.mark.parametrize("evicted", [False, True])
def test_held(asked, evicted):
    """What comes while another process has the database waits until that has gone, and counts
    also if its connection has made room for others"""
    url = asked.url()
    assert asked.server.logs("(NEW_MESSAGE by SMS): sent")
    with open(asked.server.path + "/state/pimap-outband/outband.sqlite.lock", "r+") as lock:
        # granted as soon as the old process has gone
        waiting = threading.Thread(target=fcntl.lockf, args=(lock, fcntl.LOCK_EX))
        waiting.start()
        time.sleep(0.2)
        asked.server.reload()
        waiting.join(20)
        assert not waiting.is_alive()
        answers = []

        def ask():
            try:
                answers.append(asked.ask(fill(url, 1)))
            except (http.client.HTTPException, ConnectionError):
                answers.append(None)
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(1.5)
        assert answers == []
        socks = [socket.create_connection(("127.0.0.1", asked.port))
                 for _ in range(60 if evicted else 0)]
        if evicted:
            wait_for(lambda: answers == [None])
    asking.join(20)
    assert answers == [None if evicted else 200]
    for sock in socks:
        sock.close()
    wait_for(lambda: asked.reported())
    assert [step for step, _ in asked.reported()] == ["delivered"]


def test_forgotten(asked):
    """Its trace isn't there any more"""
    url = asked.url()
    with sqlite3.connect(asked.server.path + "/state/pimap-outband/outband.sqlite", timeout=20) as db:
        db.execute("DELETE FROM traces")
    assert asked.ask(fill(url, 1)) == 404
    assert asked.status()["SMS delivered"] == "0"
