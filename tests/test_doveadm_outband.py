# SPDX-License-Identifier: LGPL-2.1-only
"""doveadm pimap outband: what is queued is shown and changed, by the service."""
import json
import os
import socket
import sqlite3
import stat
import subprocess
import threading
import time

import pytest

from conftest import settings
from outband_peers import hint, line, unescape, wait_for
from test_doveadm import PASSWD_AUTH
from test_notifications import Site
from test_outband import GUID, OTHER, Outband, seqs

USER = "joe@example.com"


class Administrator:
    """The service between a worker and a relay of the test's own"""

    def __init__(self, **values):
        self.outband = Outband(**dict({"pimap_mail_pattern": "*@example.com"}, **values))
        self.server = self.outband.server
        self.relay = self.outband.relay
        self.folder = self.outband.folder

    def run(self, *args, code=0, fmt="json"):
        """What the command prints, and its errors if it is to fail"""
        result = subprocess.run(
            [self.server.vars["DOVEADM"], "-f", fmt, "pimap", "outband", *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert result.returncode == code, result
        if code != 0:
            return result.stderr
        assert result.stderr == ""
        return json.loads(result.stdout) if fmt == "json" and result.stdout else result.stdout

    def failed_test(self, *args):
        result = subprocess.run([self.server.vars["DOVEADM"], "-f", "json", "pimap", "outband",
                                 "test", *args], stdout=subprocess.PIPE, text=True)
        assert result.returncode == 75
        return json.loads(result.stdout)

    def status(self):
        return {row["name"]: row["value"] for row in self.run("status")}

    def queue(self, *args):
        return [(row["user"], row["device"], row["uid"], row["number"])
                for row in self.run("list", *args)]

    def hint(self, user=USER, guid=GUID):
        hint(self.server, "HINT", user, guid)

    def refuses(self, reply="451 not now"):
        """From now on the relay takes nothing."""
        self.relay.replies["RCPT"] = reply

    def path(self, name="pimap-outband-control"):
        return self.server.path + "/run/" + name

    def stop(self, expected=()):
        faults = [fault for fault in self.server.faults()
                  if "it is tried on" not in fault and
                  not any(text in fault for text in list(expected) + self.outband.expected)]
        self.outband.stop()
        assert faults == []


@pytest.fixture
def admin(request):
    admin = Administrator(**getattr(request, "param", {}))
    yield admin
    admin.stop()


# a try that came to nothing isn't repeated while a test looks
PATIENT = {"pimap_outband_retry_min": "1 hour", "pimap_outband_retry_max": "1 hour"}
patient = pytest.mark.parametrize("admin", [PATIENT], indirect=True)


def fill(admin, count=3):
    """So many are queued for the user's phone, and one try has failed."""
    admin.refuses()
    admin.folder.count = count
    admin.hint()
    wait_for(lambda: [row["tries"] for row in admin.run("list")][:1] == ["1"])


def test_nothing_is_queued(admin):
    status = admin.status()
    assert status["queued"] == "0" and status["oldest"] == ""
    assert status["MAIL"] == "working" and status["devices"] == "0"
    assert admin.run("list") == []
    assert admin.run("list", fmt="tab").startswith("id\tuser\tdevice\tevent\tfolder\tuid\tnumber\t")
    assert "is queued" in admin.run("retry", code=68)
    assert "is queued" in admin.run("retry", "1", code=68)
    assert "is queued" in admin.run("drop", "1", code=68)
    assert "is queued" in admin.run("drop", "-u", USER, "phone", code=68)


@patient
def test_status_and_list(admin):
    begin = int(time.time())
    admin.folder.devices = ["phone", "pad"]
    admin.folder.names[OTHER] = "Ärger/\x1b[2J"
    fill(admin)
    admin.hint("ann@example.org", OTHER)
    wait_for(lambda: admin.status()["queued"] == "12")
    status = admin.status()
    wait_for(lambda: admin.status()["MAIL failed tries"] == "4")
    status = admin.status()
    assert status["queued with a number"] == "4"
    assert status["devices"] == status["devices with queued"] == "4"
    assert status["MAIL"] == "working" and status["MAIL being sent"] == "0"
    assert status["MAIL sent"] == status["MAIL given up"] == status["expired"] == "0"
    assert status["looks waiting"] == status["looks running"] == "0"
    assert int(status["looks done"]) >= 2 and status["failed looks"] == "0"
    # what is to be mended, not what the relay has against one address
    admin.relay.replies["MAIL"] = "451 who are you?"
    admin.run("retry", "-u", USER, "pad")
    wait_for(lambda: admin.status()["MAIL"] == "failing")
    assert begin <= time.mktime(time.strptime(status["oldest"], "%Y-%m-%d %H:%M:%S")) <= time.time()

    rows = admin.run("list")
    assert len(rows) == 12
    assert [int(row["id"]) for row in rows] == sorted(int(row["id"]) for row in rows)
    first = [row for row in rows if (row["user"], row["device"]) == (USER, "phone")]
    assert [row["uid"] for row in first] == ["1", "2", "3"]
    assert [row["number"] for row in first] == ["1", "", ""]
    assert [row["tries"] for row in first] == ["1", "0", "0"]
    assert [row["event"] for row in first] == ["NEW_MESSAGE"] * 3
    assert [row["folder"] for row in first] == ["INBOX"] * 3
    assert [row["channel"] for row in first] == ["MAIL"] * 3
    assert "451 not now" in first[0]["last error"] and first[1]["last error"] == ""
    due = time.mktime(time.strptime(first[0]["next try"], "%Y-%m-%d %H:%M:%S"))
    assert begin + 3600 <= due <= time.time() + 3600 and first[1]["next try"] == ""
    # what a user has named can't do anything to a terminal
    text = admin.run("list", fmt="table")
    assert "Ärger/" in text and "\x1b" not in text

    whose = {("ann@example.org", "pad"), ("ann@example.org", "phone"), (USER, "pad"),
             (USER, "phone")}
    for args, expected in (
            (["-u", USER], {pair for pair in whose if pair[0] == USER}),
            (["-u", "x"], set()),
            (["pad"], {pair for pair in whose if pair[1] == "pad"}),
            (["-u", "ann@example.org", "pad"], {("ann@example.org", "pad")}),
            (["other"], set())):
        assert {row[:2] for row in admin.queue(*args)} == expected


@patient
def test_list_is_not_read_at_once(admin):
    """More than one answer of the service has"""
    fill(admin, 700)
    admin.folder.count = 1300
    admin.hint()
    wait_for(lambda: admin.status()["queued"] == "1300")
    assert [int(row[2]) for row in admin.queue()] == list(range(1, 1301))


@patient
def test_retry(admin):
    """A notification that waits an hour for its next try is sent now, by its id, its
    device, its user, or with all others."""
    for args in ([None], ["-u", USER, "phone"], ["-u", USER], []):
        fill(admin, admin.folder.count + 2)
        before = len(admin.relay.mails)
        if args == [None]:
            args = [admin.run("list")[0]["id"]]
        # of others: not
        assert "is queued" in admin.run("retry", "-u", "other", code=68)
        assert "is queued" in admin.run("retry", "-u", USER, "other", code=68)
        assert "is queued" in admin.run("retry", "99999", code=68)
        time.sleep(0.3)
        assert len(admin.relay.mails) == before
        admin.relay.replies.clear()
        rows = admin.run("retry", *args)
        assert rows == [{"notifications": "1" if args and args[0] != "-u" else "2"}]
        wait_for(lambda n=before: len(admin.relay.mails) == n + 2)
        wait_for(lambda: admin.run("list") == [])
    assert seqs(admin.relay.mails) == list(range(1, 9))


@patient
def test_retry_that_fails_again(admin):
    fill(admin, 2)
    admin.refuses("452 another reason")
    admin.run("retry")
    row = wait_for(lambda: [row for row in admin.run("list") if row["tries"] == "2"])[0]
    assert "452 another reason" in row["last error"] and row["next try"] != ""
    assert admin.queue() == [(USER, "phone", "1", "1"), (USER, "phone", "2", "")]


@patient
def test_drop_one(admin):
    """R-13.3: one with a number leaves a gap, what comes after it goes on."""
    fill(admin, 4)
    ids = [row["id"] for row in admin.run("list")]
    # one without a number: none
    assert admin.run("drop", ids[2]) == [{"notifications": "1"}]
    assert [row[2] for row in admin.queue()] == ["1", "2", "4"]
    admin.relay.replies.clear()
    assert admin.run("drop", ids[0]) == [{"notifications": "1"}]
    wait_for(lambda: len(admin.relay.mails) == 2)
    assert seqs(admin.relay.mails) == [2, 3]
    wait_for(lambda: admin.queue() == [])
    # it isn't found again
    admin.run("scan")
    admin.hint()
    time.sleep(0.5)
    assert len(admin.relay.mails) == 2
    assert "Dropped by the administrator: notification %s" % ids[0] in admin.server.log()


@patient
def test_drop_a_device(admin):
    admin.folder.devices = ["phone", "pad"]
    fill(admin)
    wait_for(lambda: len(admin.queue()) == 6)
    assert admin.run("drop", "-u", USER, "phone") == [{"notifications": "3"}]
    assert {row[1] for row in admin.queue()} == {"pad"}
    # it gets what comes from now on
    admin.relay.replies.clear()
    admin.folder.count = 4
    admin.hint()
    mail, = wait_for(lambda: list(admin.relay.mails))
    assert seqs([mail]) == [2]


@patient
def test_drop_what_is_being_sent(admin):
    """It arrives after all, and nothing is amiss."""
    go_on = threading.Event()

    def before(command, argument):
        if command == "END":
            assert go_on.wait(20)
    admin.relay.before = before
    admin.folder.count = 2
    admin.hint()
    wait_for(lambda: admin.status()["MAIL being sent"] == "1")
    wait_for(lambda: len(admin.queue()) == 2)
    admin.run("drop", "-u", USER, "phone")
    assert admin.queue() == []
    go_on.set()
    wait_for(lambda: admin.status()["MAIL sent"] == "1")
    admin.folder.count = 3
    admin.hint()
    wait_for(lambda: len(admin.relay.mails) == 2)
    assert seqs(admin.relay.mails) == [1, 2]


def test_scan(admin):
    """What no hint told is found: of a user, or of all that are accounted for."""
    admin.hint()
    admin.hint("ann@example.org", OTHER)
    wait_for(lambda: admin.status()["devices"] == "2")
    admin.folder.count = 1
    jobs = admin.outband.worker.jobs
    jobs.clear()
    admin.run("scan", "-u", USER)
    wait_for(lambda: len(admin.relay.mails) == 1)
    assert {job[1] for job in jobs} == {USER}
    admin.folder.count = 2
    jobs.clear()
    admin.run("scan")
    # ann has the folder of the list, too
    wait_for(lambda: len(admin.relay.mails) == 6)
    assert {job[1] for job in jobs} == {USER, "ann@example.org"}


def test_pause_and_resume(admin):
    """A paused channel sends nothing, numbers nothing and drops nothing, also after the
    service has begun anew."""
    for args in ([], ["mail"]):
        count = len(admin.relay.mails)
        admin.run("pause", *args)
        assert admin.status()["MAIL"] == "paused"
        admin.folder.count += 2
        admin.hint()
        wait_for(lambda: len(admin.queue()) == 2)
        admin.outband.kill()
        # a hint wakes the next one
        admin.hint()
        wait_for(lambda: admin.status()["MAIL"] == "paused")
        admin.run("retry")
        time.sleep(0.5)
        assert len(admin.relay.mails) == count
        assert [row[3] for row in admin.queue()] == ["", ""]
        admin.run("resume", *args)
        assert admin.status()["MAIL"] == "working"
        wait_for(lambda n=count: len(admin.relay.mails) == n + 2)
        # and stays so
        wait_for(lambda: admin.queue() == [])
        admin.outband.kill()
        admin.hint()
        wait_for(lambda: admin.status()["MAIL"] == "working")
    assert seqs(admin.relay.mails) == [1, 2, 3, 4]
    for command in ("pause", "resume"):
        assert "No such channel" in admin.run(command, "SMS", code=68)
    assert "Channel MAIL is paused by the administrator" in admin.server.log()


def test_pause_while_it_sends(admin):
    """What is being sent goes on, what comes after it waits."""
    go_on = threading.Event()

    def before(command, argument):
        if command == "END":
            assert go_on.wait(20)
    admin.relay.before = before
    admin.folder.count = 2
    admin.hint()
    wait_for(lambda: admin.status()["MAIL being sent"] == "1")
    admin.run("pause")
    go_on.set()
    wait_for(lambda: len(admin.queue()) == 1)
    time.sleep(0.3)
    assert seqs(admin.relay.mails) == [1]
    admin.run("resume")
    wait_for(lambda: seqs(admin.relay.mails) == [1, 2])


@patient
def test_test(admin):
    """One notification, by the device's channel, with its next number; what the relay
    answers is told."""
    for args in (["-u", USER, "phone"], ["-u", "other", "phone"]):
        assert "No such device is notified" in admin.run("test", *args, code=68)
    admin.folder.count = 1
    admin.outband.worker.answer = lambda job: [
        text.replace("\tEMN\t", "\tEXTENDED\t") for text in admin.folder.answer(job)]
    admin.hint()
    wait_for(lambda: len(admin.relay.mails) == 1)
    row, = admin.run("test", "-u", USER, "phone")
    assert (row["number"], row["result"], row["error"]) == ("2", "sent", "")
    assert seqs(admin.relay.mails) == [1, 2]
    assert "_%%$P-IMAP$%%_ 2 %s SYNC" % USER in admin.relay.mails[1].text
    # given up
    admin.refuses("550 go away")
    row, = admin.failed_test("-u", USER, "phone")
    assert (row["number"], row["result"]) == ("3", "given up")
    assert "550 go away" in row["error"]
    admin.outband.expected.append("550 go away")
    # tried on
    admin.refuses()
    row, = admin.failed_test("-u", USER, "phone")
    assert row["number"] == "4" and row["result"] == "retry"
    assert "451 not now" in row["error"]
    first, = admin.run("list")
    assert (first["event"], first["number"], first["id"]) == ("SYNC", "4", row["id"])
    # behind that one
    row, = admin.failed_test("-u", USER, "phone")
    assert row["result"] == "waiting" and row["number"] == ""
    assert "Notification %s goes first" % first["id"] in row["error"]
    admin.run("drop", "-u", USER, "phone")
    # paused
    admin.run("pause")
    row, = admin.failed_test("-u", USER, "phone")
    assert row["result"] == "waiting" and "Channel MAIL is paused" in row["error"]
    admin.run("drop", row["id"])
    admin.run("resume")
    admin.relay.replies.clear()
    row, = admin.run("test", "-u", USER, "phone")
    assert (row["number"], row["result"]) == ("5", "sent")
    for args in ([], ["phone"], ["-u", USER]):
        admin.run("test", *args, code=64)


def test_test_whose_asker_goes(admin):
    """It is sent all the same."""
    admin.hint()
    wait_for(lambda: admin.status()["devices"] == "1")
    go_on = threading.Event()

    def before(command, argument):
        if command == "END":
            assert go_on.wait(20)
    admin.relay.before = before
    control = Control(admin)
    control.sock.sendall(line("TEST", USER, "phone").encode())
    assert control.file.readline().startswith(b"QUEUED\t")
    # another one while it isn't answered
    assert control.ask("STATUS")[0][0] == "FAIL"
    control.file.close()
    control.sock.close()
    wait_for(lambda: admin.status()["MAIL being sent"] == "1")
    go_on.set()
    wait_for(lambda: len(admin.relay.mails) == 1)
    assert admin.status()["MAIL sent"] in ("0", "1")
    wait_for(lambda: admin.queue() == [])


@patient
def test_trace(admin):
    """Every step of a notification, also when it is finished and the service has begun
    anew"""
    begin = int(time.time())

    def steps(*args):
        rows = admin.run("trace", *args)
        for row in rows:
            assert (row["user"], row["device"]) == (USER, "phone")
            when = time.mktime(time.strptime(row["time"], "%Y-%m-%d %H:%M:%S"))
            assert begin <= when <= time.time()
        return [(row["number"], row["step"], row["text"]) for row in rows]

    fill(admin, 2)
    ids = [row["id"] for row in admin.run("list")]
    found = "NEW_MESSAGE %%d in INBOX, by a look at %s (hint)" % GUID
    first = steps(ids[0])
    assert [step[1] for step in first] == ["found", "queued", "numbered", "tried"]
    assert first[0] == ("1", "found", found % 1)
    assert "451 not now" in first[3][2]
    assert steps(ids[1]) == [("", "found", found % 2), ("", "queued", "")]
    assert steps("-u", USER, "phone", "1") == first
    admin.run("retry")
    wait_for(lambda: len([step for step in steps(ids[0]) if step[1] == "tried"]) == 2)
    admin.run("drop", ids[0])
    assert [step[1:] for step in steps(ids[0])[4:]] == [
        ("retry", "by the administrator"), first[3][1:],
        ("done", "dropped: by the administrator")]
    admin.relay.replies.clear()
    wait_for(lambda: admin.queue() == [] or admin.run("retry"))
    wait_for(lambda: admin.queue() == [])
    last = steps("-u", USER, "phone")[-1]
    assert last == ("2", "done", "sent")
    admin.run("test", "-u", USER, "phone")
    assert steps("-u", USER, "phone", "3") == [
        ("3", "queued", "SYNC, as a test"), ("3", "numbered", "3"), ("3", "done", "sent")]
    # found without a hint, and given up
    admin.refuses("550 go away")
    admin.outband.expected.append("550 go away")
    admin.folder.count = 3
    admin.run("scan", "-u", USER)
    rows = wait_for(lambda: [step for step in steps("-u", USER, "phone") if step[0] == "4" and
                             step[1] == "done"])
    assert rows[0][2].startswith("given up: ") and "550 go away" in rows[0][2]
    admin.outband.kill()
    admin.hint()
    rows = wait_for(lambda: steps("-u", USER, "phone", "4"))
    assert rows[0] == ("4", "found", "NEW_MESSAGE 3 in INBOX, by a look at %s (scan)" % GUID)
    admin.folder.count = 4
    admin.outband.kill()
    wait_for(lambda: admin.status()["looks done"] != "0")
    wait_for(lambda: [step for step in steps("-u", USER, "phone", "5")
                      if step[2] == "NEW_MESSAGE 4 in INBOX, by a look at %s (start)" % GUID]
             if len(steps("-u", USER, "phone")) > len(rows) + 15 else False)
    assert {step[0] for step in steps("-u", USER, "phone")} == {"1", "2", "3", "4", "5"}
    for args in (["99999"], ["-u", "other", "phone"], ["-u", USER, "phone", "99"]):
        assert "Nothing is known" in admin.run("trace", *args, code=68)
    for args in ([], ["x"], ["1", "2"], ["-u", USER], ["-A"],
                 ["-u", USER, "phone", "0"], ["-u", USER, "phone", "x"]):
        admin.run("trace", *args, code=64)


@patient
def test_trace_is_not_read_at_once(admin):
    """More steps than one answer has, each of them once"""
    fill(admin, 20)
    database = os.path.join(admin.server.path, "state/pimap-outband/outband.sqlite")
    with sqlite3.connect(database) as db:
        for (row,) in list(db.execute("SELECT id FROM traces")):
            for number in range(60):
                db.execute("INSERT INTO steps SELECT ?, max(n) + 1, 0, 'tried', ? FROM steps"
                           " WHERE id = ?", (row, str(number), row))
    db.close()
    rows = admin.run("trace", "-u", USER, "phone")
    assert len(rows) > 20 * 60 > 1000
    by_id = {}
    for row in rows:
        by_id.setdefault(row["id"], []).append(row["text"])
    assert len(by_id) == 20
    for texts in by_id.values():
        assert texts[-60:] == [str(number) for number in range(60)]


def test_wrong_usage(admin):
    for args in (["retry", "x"], ["retry", "0"], ["retry", "-1"],
                 ["retry", "-u", ""], ["retry", "-A", "a b"], ["drop", "-A"], ["retry", "-u", USER, "a b"], ["drop"],
                 ["drop", "-u", USER], ["drop", "phone"], ["scan", "-u", ""], ["scan", "phone"],
                 ["status", "x"], ["status", "-A"], ["pause", "-u", USER],
                 ["test", "-A", "phone"], ["test", "-u", "j?e", "phone"]):
        admin.run(*args, code=64)


@pytest.fixture
def known():
    """An administrator whose users are in a file"""
    path = "/tmp/pimap-users.%d" % os.getpid()
    with open(path, "w") as file:
        for name in (USER, "jim@example.com", "ann@example.org", "new@example.org"):
            file.write("%s:{PLAIN}pass::::::\n" % name)
    admin = Administrator(auth=PASSWD_AUTH.format(path), **PATIENT)
    yield admin
    admin.stop()
    os.unlink(path)


def test_whose(known):
    """-u and -A are as in doveadm's mail commands: a user who isn't known is an error,
    masks and all users are those of the userdb. Without them it is about all that is
    queued, also of users who aren't known any more."""
    admin = known
    admin.folder.devices = ["phone", "pad"]
    admin.refuses()
    admin.folder.count = 1
    everyone = [USER, "jim@example.com", "ann@example.org", "gone@example.com"]
    for name in everyone:
        admin.hint(name)
    wait_for(lambda: [row["tries"] for row in admin.run("list")] == ["1"] * 8)

    def whose(*args):
        return sorted({row["user"] for row in admin.run("list", *args)})
    assert whose() == sorted(everyone)
    assert whose("-A") == sorted(everyone[:3])
    assert whose("-u", "J*") == sorted(everyone[:2])
    assert whose("-u", "*.org") == ["ann@example.org"]
    assert whose("-u", "x*") == whose("-u", "new@example.org") == []
    assert {row["device"] for row in admin.run("list", "-A", "pad")} == {"pad"}
    # as auth writes him
    assert whose("-u", "JOE@example.com") == [USER]
    for args in (["list"], ["retry"], ["scan"], ["drop", "phone"], ["trace", "phone"],
                 ["test", "phone"]):
        for name in ("gone@example.com", USER + "#phone", "nobody"):
            assert "User doesn't exist: " + name in admin.run(args[0], "-u", name, *args[1:],
                                                              code=67)
        if args[0] not in ("scan", "list", "test"):
            assert "no such user" in admin.run(args[0], "-u", "x*", *args[1:], code=68)
    assert "queued" in admin.run("retry", "-u", "new*", code=68)

    rows = admin.run("trace", "-A", "phone")
    assert {row["user"] for row in rows} == set(everyone[:3])
    assert [row["user"] for row in rows] == sorted(
        (row["user"] for row in rows), key=everyone.index)
    rows = admin.run("trace", "-u", "j*", "phone", "1")
    assert {(row["user"], row["number"]) for row in rows} == {(name, "1") for name in everyone[:2]}
    assert admin.run("retry", "-u", "*@example.com", "phone") == [{"notifications": "2"}]
    wait_for(lambda: sorted(row["user"] for row in admin.run("list") if row["tries"] == "2") ==
             sorted(everyone[:2]))
    assert admin.run("drop", "-A", "phone") == [{"notifications": "3"}]
    assert {row["user"] for row in admin.run("list") if row["device"] == "phone"} == {
        "gone@example.com"}
    # also one of whom the service hasn't heard
    jobs = admin.outband.worker.jobs
    jobs.clear()
    admin.run("scan", "-u", "*.org")
    wait_for(lambda: {job[1] for job in jobs} == {"ann@example.org", "new@example.org"})
    admin.run("scan", "-A")
    wait_for(lambda: {job[1] for job in jobs} == set(everyone[:3] + ["new@example.org"]))


def test_users_cannot_be_known(admin):
    """Nothing is done where the userdb can't tell who there is."""
    admin.outband.expected.append("iterat")
    for args in (["scan"], ["retry"], ["list"], ["drop", "phone"]):
        error = admin.run(args[0], "-A", *args[1:], code=75)
        assert "Failed to iterate through some users" in error
    assert admin.status()["looks done"] == "0"


def test_service_does_not_run(admin):
    """It says so, whatever is left of the socket."""
    os.rename(admin.path(), admin.path("moved"))
    for args in (["status"], ["list"], ["retry"], ["drop", "1"], ["scan"], ["pause"],
                 ["resume"], ["test", "-u", USER, "phone"]):
        assert "The service pimap-outband doesn't run" in admin.run(*args, code=75)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(admin.path())
        assert "The service pimap-outband doesn't run" in admin.run("status", code=75)
    os.unlink(admin.path())
    # something else
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(admin.path())
        other.listen(1)

        def serve():
            conn = other.accept()[0]
            conn.sendall(b"VERSION\tpimap-control\t2\t0\n")
            conn.recv(1000)
            conn.close()
        thread = threading.Thread(target=serve)
        thread.start()
        assert "another version" in admin.run("status", code=75)
        thread.join()
    os.unlink(admin.path())
    os.rename(admin.path("moved"), admin.path())
    assert admin.status()["queued"] == "0"


def test_socket_is_the_administrators(admin):
    """What reveals or changes something isn't for those who send hints."""
    assert stat.S_IMODE(os.stat(admin.path()).st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(admin.path("pimap-outband"))
        sock.sendall(b"VERSION\tpimap-control\t1\t0\nSTATUS\n")
        answer = b""
        while True:
            data = sock.recv(1000)
            if not data:
                break
            answer += data
    assert b"STATUS" not in answer
    wait_for(lambda: "pimap-hint" in admin.server.log())
    admin.outband.expected.append("pimap-hint")


class Control:
    """A program that speaks the protocol itself"""

    def __init__(self, admin):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(admin.path())
        self.sock.sendall(b"VERSION\tpimap-control\t1\t0\n")
        self.file = self.sock.makefile("rb")
        assert self.file.readline() == b"VERSION\tpimap-control\t1\t0\n"

    def ask(self, *fields):
        self.sock.sendall(line(*fields).encode())
        return self.answer()

    def answer(self):
        lines = []
        while not lines or lines[-1][0] not in ("OK", "MORE", "FAIL", "NOTFOUND", "BUSY"):
            data = self.file.readline()
            assert data
            lines.append([unescape(field) for field in data.decode().rstrip("\n").split("\t")])
        return lines

    def closed(self):
        try:
            return self.file.read() is not None
        except ConnectionError:
            return True


def test_protocol_is_bounded(admin):
    control = Control(admin)
    for request, text in ((["NONSENSE"], "Unknown request"), (["LIST", "x", "", ""], "Invalid id"),
                          (["LIST", "1"], "Wrong number of fields"),
                          (["STATUS", "x"], "Wrong number of fields"),
                          (["RETRY", "-1", "", ""], "Invalid id"),
                          (["DROP", "0", "", ""], "Neither"), (["DROP", "0", "joe", ""], "Neither"),
                          (["DROP", "0", "", "phone"], "Neither"),
                          (["DROP", "9" * 30, "joe", "phone"], "Invalid id"),
                          (["TRACE", "x", "1", "", "", "0"], "Invalid number"),
                          (["TRACE", "1.x", "1", "", "", "0"], "Invalid number"),
                          (["TRACE", "0.0", "1", "", "", "x"], "Invalid number"),
                          (["TRACE", "0.0", "x", "", "", "0"], "Invalid id")):
        answer, = control.ask(*request)
        assert answer[0] == "FAIL" and text in answer[1]
    assert control.ask("LIST", 0, "", "") == [["OK"]]
    # a request that is too long ends the connection, and only that
    control.sock.sendall(b"SCAN\t" + b"x" * 5000 + b"\n")
    assert control.closed()
    # several at once are answered in turn
    control = Control(admin)
    control.sock.sendall(b"SCAN\t\nLIST\t0\t\t\n")
    assert control.answer() == [["OK"]] and control.answer() == [["OK"]]
    assert admin.status()["queued"] == "0"
    admin.outband.expected += ["pimap-outband", "BUG"]


@patient
def test_who_does_not_read_is_cut_off(admin):
    """Answers aren't kept without end for one who doesn't read them."""
    fill(admin, 500)
    control = Control(admin)
    with pytest.raises(OSError):
        for _ in range(1000):
            control.sock.sendall(b"LIST\t0\t\t\n" * 10)
    assert len(admin.queue()) == 500


def test_another_name_of_a_user():
    """A hint, or a scan, by a name that the userdb makes another of doesn't make a
    second user who is notified too."""
    site = Site("maildir")
    try:
        site.device("joe")
        site.deliver("joe", b"yes")
        site.told_once(1)
        guid = site.server.doveadm("-f", "flow", "mailbox", "status", "-u", "joe", "guid",
                                   "INBOX").split("guid=")[1].strip()
        hint(site.server, "PROFILE", "JOE")
        hint(site.server, "HINT", "JOE", guid)
        site.server.doveadm("pimap", "outband", "scan", "-u", "Joe")
        status = wait_for(lambda: site.server.doveadm("-f", "tab", "pimap", "outband", "status"))
        site.deliver("joe", b"yes")
        hint(site.server, "HINT", "JOE", guid)
        site.told_once(2)
        time.sleep(0.5)
        status = site.server.doveadm("-f", "tab", "pimap", "outband", "status")
        assert "\ndevices\t1\n" in status and "\nMAIL sent\t2\n" in status
        assert site.server.faults() == []
    finally:
        site.stop()
