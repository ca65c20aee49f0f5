# SPDX-License-Identifier: LGPL-2.1-only
"""SMS Server Tools 3 (smsd), with a modem that keeps the messages that it is to send."""

import collections
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import tty

CONF = """
devices = GSM1
outgoing = %(path)s/outgoing
checked = %(path)s/checked
failed = %(path)s/failed
incoming = %(path)s/incoming
logfile = %(path)s/smsd.log
loglevel = 7
%(reports)sinfofile = %(path)s/running
pidfile = %(path)s/smsd.pid
delaytime = 1
delaytime_mainprocess = 1
errorsleeptime = 1

[GSM1]
device = %(device)s
incoming = %(incoming)s
check_network = 0
report = no
messageids = 3
"""
# where it keeps what pimap_sms_report_url is of
REPORTS = """sent = %(path)s/sent
report = %(path)s/report
"""
GSM = ("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
       "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà")
EXTENSION = {10: "\f", 20: "^", 40: "{", 41: "}", 47: "\\", 60: "[", 61: "~", 62: "]", 64: "|",
             101: "€"}

Message = collections.namedtuple("Message", "to text coding udh")


def septets(octets, count):
    bits = int.from_bytes(octets, "little")
    return [bits >> 7 * index & 0x7f for index in range(count)]


def decode(pdu):
    """A SMS-SUBMIT (3GPP TS 23.040), whose text is septets or octets"""
    at = 1 + pdu[0]
    first, digits = pdu[at], pdu[at + 2]
    kind, number = pdu[at + 3], pdu[at + 4:at + 4 + (digits + 1) // 2]
    to = "".join("%x%x" % (octet & 15, octet >> 4) for octet in number)[:digits]
    at += 4 + (digits + 1) // 2
    coding = pdu[at + 1]
    at += 2 + {0: 0, 0x10: 1, 0x08: 7, 0x18: 7}[first & 0x18]
    length, data = pdu[at], pdu[at + 1:]
    assert len(data) <= 140
    header = data[0] + 1 if first & 0x40 else 0
    if coding == 8:
        assert length == len(data)
        return Message(("+" if kind == 0x91 else "") + to, data[header:], "ucs-2",
                       data[:header])
    assert coding in (0, 0x10), coding
    return Message(("+" if kind == 0x91 else "") + to,
                   septets(data, length)[(header * 8 + 6) // 7:], "text", data[:header])


def text_of(coding, parts):
    """Of all parts: smsd may cut them between the two septets of a character."""
    if coding == "ucs-2":
        return b"".join(parts).decode("utf-16-be")
    codes = iter([code for part in parts for code in part])
    return "".join(EXTENSION[next(codes)] if code == 0x1b else GSM[code] for code in codes)


def bcd(digits):
    digits += "f" * (len(digits) % 2)
    return bytes(int(digits[at + 1] + digits[at], 16) for at in range(0, len(digits), 2))


def status_report(number, to, status):
    """A SMS-STATUS-REPORT of the message with this number (a reference)"""
    digits = to.lstrip("+")
    when = bcd("040220064000") + b"\0"
    return (b"\0\x06" + bytes([number, len(digits), 0x91 if to[0] == "+" else 0x81]) +
            bcd(digits) + when + when + bytes([status]))


class Smsd:
    """reports: it is asked for them. outcomes: of numbers, the status of what is sent there (0
    if it isn't here), None: there is no report, "ERROR": the modem doesn't send it."""

    def __init__(self, reports=False):
        self.path = tempfile.mkdtemp(prefix="pimap-smsd.")
        os.chmod(self.path, 0o755)
        self.outcomes, self.stored, self.reference = {}, {}, 0
        for name in ("outgoing", "checked", "failed", "incoming", "sent", "report"):
            os.mkdir(self.path + "/" + name)
            os.chmod(self.path + "/" + name, 0o777)
        self.parts, self.messages = [], []
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        with open(self.path + "/smsd.conf", "w") as file:
            file.write(CONF % {"path": self.path, "device": os.ttyname(self.slave),
                               "incoming": "yes" if reports else "no",
                               "reports": REPORTS % {"path": self.path} if reports else ""})
        self.url = "smstools:%s/outgoing" % self.path
        self.ended = False
        self.modem = threading.Thread(target=self.run_modem, daemon=True)
        self.modem.start()
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["smsd", "-t", "-c" + self.path + "/smsd.conf"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def end(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self):
        self.end()
        # what a machine does that begins anew
        for name in ("smsd.pid", "running"):
            if os.path.exists(self.path + "/" + name):
                os.unlink(self.path + "/" + name)
        self.start()

    def stop(self):
        self.end()
        self.ended = True
        self.modem.join()
        os.close(self.master)
        os.close(self.slave)
        shutil.rmtree(self.path)

    def log(self):
        with open(self.path + "/smsd.log", errors="replace") as file:
            return file.read()

    # the modem

    def say(self, text):
        os.write(self.master, b"\r\n" + text.encode() + b"\r\n")

    def run_modem(self):
        data, pdu = b"", False
        while not self.ended:
            if not select.select([self.master], [], [], 0.1)[0]:
                continue
            data += os.read(self.master, 4096)
            while True:
                found = re.search(rb"[\r\x1a]", data)
                if found is None:
                    break
                line, end = data[:found.start()].strip(), data[found.start():found.end()]
                data = data[found.end():]
                complete, pdu = pdu and end == b"\x1a", False
                if complete:
                    self.sent(bytes.fromhex(line.decode()))
                elif line.startswith(b"AT+CMGS="):
                    pdu = True
                    os.write(self.master, b"\r\n> ")
                elif line:
                    self.command(line.decode())

    def command(self, line):
        answers = {"AT+CPIN?": "+CPIN: READY", "AT+CREG?": "+CREG: 0,1", "AT+CSQ": "+CSQ: 20,99",
                   "AT+CIMI": "262010000000000", "AT+CGSN": "350000000000000"}
        if line in answers:
            self.say(answers[line])
        elif line == "AT+CPMS?":
            self.say('+CPMS: "SM",%d,20,"SM",%d,20,"SM",%d,20' % (3 * (len(self.stored),)))
        elif line.startswith("AT+CMGR="):
            pdu = self.stored.get(int(line[8:]))
            if pdu is None:
                self.say("+CMS ERROR: 321")
                return
            self.say("+CMGR: 0,,%d\r\n%s" % (len(pdu) - 1, pdu.hex().upper()))
        elif line.startswith("AT+CMGD="):
            self.stored.pop(int(line[8:].split(",")[0]), None)
        self.say("OK")

    def sent(self, pdu):
        part = decode(pdu)
        outcome = self.outcomes.get(part.to, 0)
        if outcome == "ERROR":
            self.say("+CMS ERROR: 28")
            return
        self.take(part)
        self.reference = (self.reference + 1) % 256
        self.say("+CMGS: %d" % self.reference)
        self.say("OK")
        # the first octet's bit: a report is wanted
        if pdu[1 + pdu[0]] & 0x20 and outcome is not None:
            self.report(self.reference, part.to, outcome)

    def report(self, number, to, status):
        """What the modem keeps until smsd reads it"""
        free = next(index for index in range(1, 21) if index not in self.stored)
        self.stored[free] = status_report(number, to, status)

    def take(self, part):
        """Several parts are a message when the last one has come."""
        number = total = 1
        if part.udh:
            assert part.udh[:3] == b"\x05\x00\x03"
            _, total, number = part.udh[3:]
        if number == 1:
            # of one that smsd was killed with it sends all parts again
            self.parts = []
        self.parts.append(part.text)
        assert number == len(self.parts)
        if number == total:
            self.messages.append((part.to, text_of(part.coding, self.parts), part.coding, total))
