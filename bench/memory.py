# SPDX-License-Identifier: LGPL-2.1-only
"""Whether memory stays what it is: of lmtp, which has one connection, of a worker and
of the service, after 1,000 and after 10,000 deliveries to a user with a device who is
told of each of them. The folder stays short: a long one has a long index, which
whoever opens it has in memory. mdbox has one that doesn't get shorter: lmtp is held
against one of Dovecot without pimap that has delivered as much. The service has a
cache of its database, which takes longer to fill."""

import contextlib
import smtplib

import counting
import delivery
import peers
import rig

FIRST, LAST = 1000, 10000
# messages of the folder
LONGEST = 250
# of pages that a process touches the first time, now and then: a leak of 60 octets a
# delivery is over it
LIMIT_KB = 512
# SQLite's, of one connection
CACHE_KB = 2000
NAMES = ("lmtp", "pimap-worker", "pimap-outband")
MESSAGE = b"From: joe@example.org\r\nSubject: hello\r\n\r\ntext\r\n"
# a worker that has nothing to do ends, and the next one begins with nothing: it is
# asked for something in shorter intervals
CONF = delivery.CHANNEL + peers.APART + "pimap_outband_scan_interval = 1 s\n"


def memory(pid):
    """kB that no file has"""
    with open("/proc/%d/status" % pid) as file:
        return next(int(text.split()[1]) for text in file if text.startswith("RssAnon:"))


def age(pid):
    with open("/proc/%d/stat" % pid) as file:
        return int(file.read().rpartition(")")[2].split()[19])


def measure_all(folder):
    """Of each name the process that has been there longest, what it has, and who it
    is"""
    found = {}
    for pid, name in rig.processes(folder).items():
        if name in NAMES:
            with contextlib.suppress(OSError):
                found.setdefault(name, []).append((age(pid), memory(pid), pid))
    return {name: min(processes)[1:] for name, processes in found.items()}


def empty(port):
    with rig.session(port, "user") as plain:
        plain.ok("SELECT INBOX")
        plain.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        plain.ok("EXPUNGE")


def measure(top):
    """Figures as loading.py has them"""
    folder = top + "/memory"
    taken, plain_taken = [], []
    with peers.running_relay() as (peer, told, _), contextlib.ExitStack() as stack:
        conf = delivery.plugin(CONF % peer, counting.version())
        variables = stack.enter_context(rig.server(folder, conf, full=True))
        port = int(variables["IMAP_PORT"])
        delivery.add_devices(port, "user", 1)
        plain = stack.enter_context(rig.server(top + "/memory-plain", "", True, True))
        lmtps = [stack.enter_context(smtplib.LMTP(server["LMTP_SOCKET"]))
                 for server in (variables, plain)]
        for number in range(1, LAST + 1):
            for lmtp in lmtps:
                lmtp.sendmail("s@example.org", "user", MESSAGE)
            if number % LONGEST == 0:
                # what is gone isn't told any more
                peers.wait(lambda: told.value >= number)
                empty(port)
                empty(int(plain["IMAP_PORT"]))
            if number in (FIRST, LAST // 2, LAST):
                taken.append(measure_all(folder))
                plain_taken.append(measure_all(top + "/memory-plain")["lmtp"][0])
    more = {"lmtp": plain_taken[2] - plain_taken[0], "pimap-outband": CACHE_KB}
    results = {}
    for name in NAMES:
        first, half, last = (found[name][0] for found in taken)
        same = len({found[name][1] for found in taken}) == 1
        limit = LIMIT_KB + more.get(name, 0)
        results["%s, after %d, %d" % (name, FIRST, LAST)] = {
            "value": last, "base": first, "half": half, "one process": same,
            "shown": "%+d" % (last - first) + ("" if same else " (not one)"),
            "limit": "+%d" % limit, "holds": same and last - first <= limit}
    return results
