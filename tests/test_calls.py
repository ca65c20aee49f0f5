# SPDX-License-Identifier: LGPL-2.1-only
"""What commands cost in system calls, as strace counts them: looking whether the
profile has changed, and looking for folders that have filters."""

import contextlib
import glob
import re
import subprocess
import time

import pytest

from test_device import device

MESSAGE = b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"
pytestmark = pytest.mark.parametrize("server", ["sdbox"], indirect=True)


class Tracer:
    """The system calls of a session's process that have to do with files"""

    def __init__(self, server, user, path):
        self.path = path
        pid = re.findall(r"user=<%s>.* mpid=(\d+)" % re.escape(user.lower()), server.log())[-1]
        self.process = subprocess.Popen(
            ["strace", "-q", "-o", path, "-e", "trace=%file", "-p", pid],
            stderr=subprocess.PIPE)
        for _ in range(200):
            with open("/proc/%s/status" % pid) as status:
                if "TracerPid:\t0\n" not in status.read():
                    return
            time.sleep(0.02)
        raise AssertionError(self.process.stderr.read())

    def calls(self, name):
        """How many name a file so so far"""
        with open(self.path) as file:
            return len(re.findall(r'^\w+\(.*"[^"]*%s"' % re.escape(name), file.read(), re.MULTILINE))


@contextlib.contextmanager
def traced(server, user, phone, tmp_path):
    tracer = Tracer(server, user, str(tmp_path / "strace"))
    try:
        yield tracer
    finally:
        phone.logout()
        tracer.process.wait(10)


# stat() of the profile: one in each sync of the selected mailbox, one for each mailbox
# that is allocated (LIST does that, to tell what it is for), one when a view is resolved;
# and where flags are changed its first line is read: who wants to know that?
STATS = {
    "NOOP": 1, "CHECK": 1, "EXPUNGE": 1, "UID FETCH 1:* FLAGS": 1, "UID STORE 1 +FLAGS (b)": 2,
    # these may tell of no EXPUNGE
    "FETCH 1:* FLAGS": 0, "FETCH 1:* BODY.PEEK[]": 0, "SEARCH ALL": 0, "STORE 1 +FLAGS (a)": 1,
    "XGETPIMAPPREFS (PIMAP_EVENT_FILTER)": 1, "XFILTER GET F1 (DESC)": 1,
    "XGETPIMAPPREFS (PIMAP_EVENT_FILTER PIMAP_OUTBAND_ADDRESS)": 1,
    "STATUS Other (MESSAGES)": 2, "SELECT Other": 2, "CLOSE": 0,
    # of three folders; XPROVISION asks of its own, too
    'LIST "" *': 4, "XPROVISION": 6,
}


def test_how_often_the_profile_is_looked_at(server, user, tmp_path):
    """Whatever is in it, as long as it doesn't change"""
    profile = "/dovecot-pimap-profile"
    plain, phone = server.client(user), device(server, user, "SUBJECT x", "ALL")
    for folder in ("Other", "Third"):
        plain.ok("CREATE " + folder)
    plain.append("INBOX", [MESSAGE] * 3)
    phone.ok("SELECT INBOX")
    with traced(server, user, phone, tmp_path) as tracer:
        def cost(command):
            before = tracer.calls(profile)
            phone.ok(command)
            return tracer.calls(profile) - before

        assert {command: cost(command) for command in STATS} == STATS
        phone.ok("SELECT INBOX")
        # a changed one is read, once
        server.doveadm("pimap", "filter", "set", "-u", user.lower(), "F2", "UNSEEN")
        assert [cost("NOOP") for _ in range(3)] == [2, 1, 1]
        # which devices aren't in it is no matter of one that is
        assert tracer.calls(profile + ".sessions") == 0


def test_folders_are_looked_for_once(server, user, tmp_path):
    """R-14.1: a filter whose folder is gone makes XGETPIMAPPREFS look through all of
    the user's folders, not each time."""
    plain, phone = server.client(user), device(server, user, "SUBJECT x", "ALL")
    for number in range(20):
        plain.ok("CREATE F%d" % number)
    for name in ("Gone", "Gone2", "Here"):
        plain.ok("CREATE " + name)
        phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V F1)" % name)
    plain.ok("DELETE Gone")
    index = "/F7/dbox-Mails/dovecot.index"
    ask = lambda: phone.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").lines("* XGETPIMAPPREFS")[0]
    with traced(server, user, phone, tmp_path) as tracer:
        line = ask()
        assert "Here" in line and "Gone " not in line and "Gone2" in line
        once = tracer.calls(index)
        assert once > 0
        for _ in range(5):
            assert ask() == line
        assert tracer.calls(index) == once
        # another one is looked for, and found under its new name
        plain.ok("RENAME Here There")
        line = ask()
        assert "There" in line and "Here" not in line and "Gone " not in line
        # one that is gone too
        plain.ok("DELETE Gone2")
        assert "Gone2" not in ask()
        before = tracer.calls(index)
        assert "Gone2" not in ask()
        assert tracer.calls(index) == before
    assert glob.glob(server.path + "/mail/%s/**/F7" % user.lower(), recursive=True)
