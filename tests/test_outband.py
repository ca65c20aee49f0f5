# SPDX-License-Identifier: LGPL-2.1-only
"""The service pimap-outband, between a worker and a mail relay of the test's own:
what it is told is kept, numbered once and sent, whatever ends in between."""
import os
import signal

import pytest

from conftest import Server, settings
from outband_peers import Relay, Worker, hint, line, wait_for

GUID = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


class Folder:
    """What the worker of a test finds: devices, each with what has come since the
    state that is accounted, a count."""

    def __init__(self, address="joe@example.com", generation=1):
        self.count = 0
        self.address = address
        self.generation = generation
        self.devices = ["phone"]
        self.names = {}

    def answer(self, job):
        if job[0] == "FOLDERS":
            return [line("FOLDER", GUID, "INBOX"), "OK\n"]
        states = dict(zip(job[3::2], job[4::2]))
        lines = [line("FOLDER", job[2], self.names.get(job[2], "INBOX"))]
        for device in self.devices:
            lines.append(line("DEVICE", device, self.generation, "MAIL",
                              self.address, "EMN", self.count))
            for uid in range(int(states.get(device, 0)), self.count):
                lines.append(line("EVENT", "NEW_MESSAGE", uid + 1, 1077259200 + uid))
        return lines + ["OK\n"]


class Outband:
    def __init__(self, **values):
        self.relay = Relay()
        self.server = Server.temporary("maildir", extra=settings(dict(
            {"pimap_mail_relay": "127.0.0.1:%d" % self.relay.port,
             "pimap_mail_from": "pimap@example.com",
             "pimap_outband_retry_min": "1 s",
             "pimap_outband_retry_max": "1 s"}, **values)) + """
service pimap-worker {
  unix_listener pimap-worker {
    mode = 0
  }
}
""")
        self.folder = Folder()
        self.worker = Worker(self.server, lambda job: self.folder.answer(job))

    def pid(self):
        """Of the service, None if it doesn't run."""
        name = b"dovecot-%s/pimap-outband\0" % os.path.basename(
            os.readlink(self.server.path + "/run")).encode()
        for entry in os.listdir("/proc"):
            try:
                with open("/proc/%s/cmdline" % entry, "rb") as title:
                    if entry.isdigit() and title.read().startswith(name[:-1]):
                        return int(entry)
            except OSError:
                pass
        return None

    def kill(self):
        """As a crash does. The next hint, or the master, starts another."""
        pid = wait_for(self.pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.pid() != pid)

    def stop(self):
        self.worker.stop()
        self.server.stop()
        self.relay.stop()


@pytest.fixture
def outband(request):
    outband = Outband(**getattr(request, "param", {}))
    yield outband
    faults = outband.server.faults()
    outband.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


def header(mail, name):
    return [text.split(": ", 1)[1] for text in mail.text.split("\r\n\r\n")[0]
            .split("\r\n") if text.startswith(name + ":")]


def seqs(mails):
    return [int(header(mail, "X-PIMAP-Notification")[0]) for mail in mails]


def test_hint_becomes_one_mail(outband):
    outband.folder.count = 1
    hint(outband.server, "HINT", "joe@example.com", GUID)
    mail, = wait_for(lambda: list(outband.relay.mails))
    assert mail.sender.startswith("FROM:<pimap@example.com>")
    assert [to.split()[0] for to in mail.recipients] == ["TO:<joe@example.com>"]
    assert seqs([mail]) == [1]
    assert header(mail, "Content-Type") == ["text/vnd.wap.emn+xml; charset=utf-8"]
    assert mail.text.split("\r\n\r\n", 1)[1] == (
        '<emn mailbox="mailat:joe@example.com" '
        'timestamp="2004-02-20T06:40:00Z"></emn>\r\n')

    # the same again finds nothing, and the next number is the next
    for _ in range(3):
        hint(outband.server, "HINT", "joe@example.com", GUID)
    outband.folder.count = 3
    hint(outband.server, "HINT", "joe@example.com", GUID)
    wait_for(lambda: len(outband.relay.mails) == 3)
    assert seqs(outband.relay.mails) == [1, 2, 3]
    assert ["LOOK", "joe@example.com", GUID] == outband.worker.jobs[0]
    assert outband.worker.jobs[-1][3:] in (["phone", "1"], ["phone", "3"])
