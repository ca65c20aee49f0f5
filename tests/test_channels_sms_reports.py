# SPDX-License-Identifier: LGPL-2.1-only
"""Delivery reports of the channel SMS: what gateways say later of what they have taken."""

import http.client
import os
import socket
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


def files(smsd):
    return {name: os.listdir(smsd.path + "/" + name) for name in ("sent", "failed", "report")}


def test_spooled_delivered(spooled):
    spooled.new()
    assert spooled.server.logs("Notification 1 (by SMS): delivered: ")
    assert spooled.reported() == [["delivered", "0,Ok,short message received by the SME"]]
    wait_for(lambda: files(spooled.smsd) == {"sent": [], "failed": [], "report": []})
