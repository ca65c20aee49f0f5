# SPDX-License-Identifier: LGPL-2.1-only
"""The channel MMS, with a small MMSC that validates what it is given."""

import hashlib
import time

import pytest

from mm7_peer import MMSC
from outband_peers import many, wait_for
from test_outband_channels import Outband, lend
from test_channels_sms import EMN, NUMBER, ODD, read


class MMS(Outband):
    def __init__(self, mmsc, **values):
        self.mmsc = mmsc
        super().__init__("MMS", NUMBER, dict({
            "pimap_channels": "mms", "pimap_mms_url": mmsc.url, "pimap_mms_user": MMSC.USER,
            "pimap_mms_password": MMSC.PASSWORD, "pimap_mms_vasp_id": "a<b>&\u00e4",
            "pimap_mms_from": "4711", "pimap_mms_pattern": "+49*",
            "pimap_clear_text": "mms"}, **values))

    def sent(self):
        return self.server.log().count("by MMS): sent")

    def stop(self):
        super().stop()
        self.mmsc.stop()
        assert self.mmsc.wrong == []


@pytest.fixture
def mms(request):
    mms = MMS(MMSC(), **getattr(request, "param", {}))
    yield from lend(request, mms)


def transaction(device, number):
    """It doesn't tell who the user is."""
    return "%s-%d" % (hashlib.sha1(b"joe@example.com#" + device.encode()).hexdigest(), number)


def test_emn_as_sent(mms):
    mms.new()
    wait_for(lambda: mms.sent() == 1)
    assert mms.mmsc.messages == [(transaction("phone", 1), ("a<b>&\u00e4", None, "4711"),
                                  NUMBER, "text/vnd.wap.emn+xml", EMN)]
    assert MMSC.PASSWORD not in mms.server.log()


def test_odd_subjects(mms):
    """Whole, or cut between characters where they are told"""
    mms.format = "EXTENDED"
    for subject in ODD:
        mms.new("Joe <joe@example.com>", subject.replace("\0", " "))
    wait_for(lambda: mms.sent() == len(ODD), 30)
    assert len(mms.mmsc.messages) == len(ODD)
    for number, (message, subject) in enumerate(zip(mms.mmsc.messages, ODD), 1):
        assert message.type == "text/plain"
        assert message.transaction == transaction("phone", number)
        words = read(message.text)
        assert words[:2] == ["_%$P-IMAP$%_", str(number)]
        want = " ".join(subject.replace("\0", " ").replace("\u2028", " ").split())
        want = want.replace("\u202e", "")
        told = "" if message.text.endswith(" NIL") else words[8]
        assert told == want or len(want) > 900 and want.startswith(told) and len(told) > 200


def says(status, old="", new="", http=200):
    """What the MMSC says, with something else in it"""
    text = MMSC.answer("x", status)
    assert old in text
    return ("http", http, text.replace(old, new))


PARTS = "--b\r\nContent-Type: text/xml\r\n\r\n%s\r\n--b\r\n\r\n<p>4004</p>\r\n--b--\r\n"


@pytest.mark.expects_faults
@pytest.mark.parametrize("answer, ends, told", [
    (1100, "sent", None), (3000, "tried", "3000"), (-4006, "tried", "4006"),
    (-4001, "tried", "4001"), (2001, "tried", "2001"), (9999, "tried", "9999"),
    (("http", 503), "tried", "503"), (("http", 404), "tried", "404"),
    (("http", 200), "tried", "no status (HTTP 200)"), (("http", 302), "tried", "302"),
    (2002, "given up", "2002"), (-2007, "given up", "2007"), (3002, "given up", "3002"),
    (("http", 413), "given up", "413"), (2003, "unregistered", "2003"),
    (-2003, "unregistered", "2003"),
    # instantcom-mm7#2/#12, soaplite#6: by the status, in whatever form that is
    (says(-3000), "tried", "3000"), (says(-4004), "given up", "4004"),
    (says(1000, http=500), "sent", None),
    (says(1000, "<MessageID>id</MessageID>"), "sent", None),
    (("http", 200, MMSC.answer("x", 1000).replace("xmlns:env", "xmlns:S").replace("env:", "S:")),
     "sent", None),
    (("http", 200, PARTS % MMSC.answer("x", 1000)), "sent", None),
    (("http", 200, PARTS % MMSC.answer("x", 4004)), "given up", "4004"),
    (says(1000, "<StatusCode>1000</StatusCode>"), "tried", "no status (HTTP 200)"),
    (says(1000, "1000", "1000 2003"), "tried", "no status (HTTP 200)"),
    (("http", 200, ""), "tried", "no status (HTTP 200)"),
    (("http", 202, ""), "tried", "no status (HTTP 202)"),
    (("http", 200, MMSC.answer("x", 1000)[:-30]), "tried", "no status (HTTP 200)")])
def test_statuses(answer, ends, told):
    mms = MMS(MMSC(answer, 1000))
    try:
        mms.new()
        if ends in ("sent", "tried"):
            assert mms.server.logs("by MMS): sent")
        else:
            assert mms.server.logs("by MMS): %s: The " % ends)
        assert told is None or "answer is %s" % told in mms.server.log()
        assert len(mms.mmsc.messages) == (ends == "tried")
    finally:
        mms.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("hang", ["hang", "half"])
def test_mmsc_hangs(hang):
    """In its answer or before it: others go on"""
    mms = MMS(MMSC(hang, 1000))
    try:
        mms.new()
        wait_for(lambda: mms.mmsc.answers == [1000])
        mms.new(device="other")
        wait_for(lambda: mms.sent() == 1)
        mms.mmsc.released.set()
        wait_for(lambda: mms.sent() == 2, 30)
        assert {message.transaction for message in mms.mmsc.messages} == {
            transaction("phone", 1), transaction("other", 1)}
    finally:
        mms.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("mms", [{"pimap_mms_password": "wrong"}], indirect=True)
def test_not_let_in(mms):
    """That the administrator can mend: nothing is given up, it is logged once"""
    mms.new()
    assert mms.server.logs("The gateway's answer is 401")
    time.sleep(2.5)
    assert len(mms.server.faults()) == 1
    assert "wrong" not in mms.server.log()


@pytest.mark.expects_faults
@pytest.mark.parametrize("mms", [{"pimap_mms_pattern": ""}, {"pimap_mms_pattern": "+43*"}],
                         indirect=True)
def test_pattern(mms):
    """R-14.5"""
    mms.new()
    assert mms.server.logs("given up: The address isn't allowed: ")
    assert mms.mmsc.messages == []


@pytest.mark.expects_faults
def test_restarted(mms):
    """The MMSC again and again: nothing is lost, each device's are in order, and what comes
    twice is the same"""
    count = many(250) // 5
    mms.format = "EXTENDED"
    for number in range(5):
        mms.addresses["d%d" % number] = "+4917%07d" % number
        mms.new(device="d%d" % number, count=count)
    for number in range(5):
        wait_for(lambda: len(mms.mmsc.messages) >= count * 5 * (number + 1) // 7, 60)
        mms.mmsc.restart()
    wait_for(lambda: mms.sent() == 5 * count, 120)
    found = {}
    for message in mms.mmsc.messages:
        found.setdefault(message.to, []).append(message)
    assert len(found) == 5
    for messages in found.values():
        first = list(dict.fromkeys(messages))
        assert [int(message.text.split()[1]) for message in first] == list(range(1, count + 1))
