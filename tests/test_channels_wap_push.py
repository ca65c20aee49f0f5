# SPDX-License-Identifier: LGPL-2.1-only
"""The channel WAP_PUSH, with Kannel as the gateway: the push that comes to the SMSC."""

import subprocess

import pytest

from kannel import Kannel
from outband_peers import many, wait_for
from test_outband_channels import Outband, lend
from test_channels_sms import ODD

NUMBER = "+491701234567"
# ports 2948 and 9200
UDH = bytes.fromhex("0605040b8423f0")
EMN = 0xb0
TEXT = 0x83


class WAP(Outband):
    def __init__(self, kannel, **values):
        super().__init__("WAP_PUSH", NUMBER, dict({
            "pimap_channels": "wap_push", "pimap_wap_push_url": kannel.url,
            "pimap_wap_push_user": Kannel.USER, "pimap_wap_push_password": Kannel.PASSWORD,
            "pimap_wap_push_from": "4711", "pimap_wap_push_pattern": "+49*",
            "pimap_clear_text": "wap_push"}, **values))
        self.kannel = kannel
        self.before = len(kannel.messages)

    def pushes(self, count=1):
        """(transaction, content type, body) of what has come"""
        wait_for(lambda: len(self.kannel.messages) >= self.before + count, 30)
        found = []
        for message in self.kannel.messages[self.before:]:
            assert message[:3] == ("4711", NUMBER, UDH)
            # a push of emn.ua's, and one short message
            assert message.text[1:3] == bytes((6, 3))
            assert message.text[4:6] == bytes((0xaf, 0x89))
            assert len(message.text) + len(UDH) <= 140
            found.append((message.text[0], message.text[3], message.text[6:]))
        return found


@pytest.fixture(scope="module")
def kannel():
    kannel = Kannel()
    yield kannel
    kannel.stop()


@pytest.fixture
def wap(kannel, request):
    wap = WAP(kannel, **getattr(request, "param", {}))
    yield from lend(request, wap)


def xml(body, tmp_path):
    """An EMN as libwbxml reads it"""
    path = tmp_path / "emn"
    path.write_bytes(body)
    out = subprocess.run(["wbxml2xml", "-o", "-", "-m", "0", str(path)], check=True,
                         stdout=subprocess.PIPE).stdout.decode()
    return out[out.index("<emn"):].strip()


@pytest.mark.parametrize("folder, account", [
    ("INBOX", "joe@example.com"), ("Work", "joe@example.com/Work"),
    ("F\u00e9rias \u4f60\u597d", "joe@example.com/F\u00e9rias \u4f60\u597d"),
    ("a<b>&\"c\"", "joe@example.com/a&lt;b&gt;&amp;&quot;c&quot;"),
    # with it it doesn't fit
    ("x" * 120, "joe@example.com")])
def test_emn(wap, tmp_path, folder, account):
    """R-13.2: as application/vnd.wap.emn+wbxml"""
    wap.folder = folder
    wap.new()
    (transaction, content, body), = wap.pushes()
    assert (transaction, content) == (1, EMN)
    assert xml(body, tmp_path) == ('<emn mailbox="mailat:%s" '
                                   'timestamp="2004-02-20T06:40:00Z"/>' % account)


def test_longest_account(wap, tmp_path):
    """Up to what a message holds"""
    found = []
    for count, length in enumerate(range(85, 95), 1):
        wap.folder = length * "x"
        wap.new()
        found.append(xml(wap.pushes(count)[-1][2], tmp_path))
    whole = ["x" * 85 in text for text in found]
    assert whole == sorted(whole, reverse=True)
    assert whole[0] is True and whole[-1] is False


def test_extended(wap):
    """As text, which is cut to one message"""
    wap.format = "EXTENDED"
    for subject in ODD:
        wap.new("Joe <joe@example.com>", subject.replace("\0", " "))
    found = wap.pushes(len(ODD))
    for number, (transaction, content, body) in enumerate(found, 1):
        assert (transaction, content) == (number, TEXT)
        assert body.decode().startswith("_%%$P-IMAP$%%_ %d joe@example.com NEW_MESSAGE %d " %
                                        (number, number))


@pytest.mark.expects_faults
@pytest.mark.parametrize("wap", [{"pimap_wap_push_pattern": "+43*"}], indirect=True)
def test_pattern(wap):
    wap.new()
    assert wap.server.logs("given up: The address isn't allowed: it doesn't match "
                           "pimap_wap_push_pattern")
    assert wap.kannel.messages[wap.before:] == []


@pytest.mark.expects_faults
def test_restarted(wap):
    """The gateway again and again: nothing is lost, and each device's are in order; what comes
    twice is the same, octet for octet"""
    count = many(250) // 5
    wap.format = "EXTENDED"
    kannel = wap.kannel
    for number in range(5):
        wap.addresses["d%d" % number] = "+4917%07d" % number
        wap.new(device="d%d" % number, count=count)
    for number in range(5):
        wait_for(lambda: len(kannel.messages) >= wap.before + count * 5 * (number + 1) // 7, 60)
        kannel.restart()
    wait_for(lambda: wap.server.log().count("by WAP_PUSH): sent") == 5 * count, 120)
    found = {}

    def all_came():
        found.clear()
        for message in kannel.messages[wap.before:]:
            texts = found.setdefault(message.to, [])
            if message.text not in texts:
                texts.append(message.text)
        return sum(len(texts) for texts in found.values()) == 5 * count
    wait_for(all_came, 30)
    for texts in found.values():
        assert [int(text[6:].split()[1]) for text in texts] == list(range(1, count + 1))
