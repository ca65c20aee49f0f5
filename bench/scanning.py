# SPDX-License-Identifier: LGPL-2.1-only
"""What it costs that changes are found without a hint: the time that the processors
of the service and its workers take for scans of idle folders, of users who have a few
each, extrapolated to 100,000 folders."""

import subprocess
import time

import counting
import delivery
import rig

USERS = 100
FOLDERS = 10
IDLE = 100000
INTERVAL = 5 * 60
# what is measured goes round faster
ROUND = 2
ROUNDS = 15
LIMIT = 1.0
CONF = delivery.CHANNEL % 1 + "pimap_outband_scan_interval = %d s\n"


def status(variables):
    out = subprocess.run([variables["DOVEADM"], "-f", "tab", "pimap", "outband", "status"],
                         check=True, text=True, stdout=subprocess.PIPE).stdout
    return dict(line.split("\t")[:2] for line in out.splitlines())


def cpu_seconds(folder):
    """Of the service and its workers"""
    return sum(seconds for (name, _), seconds in rig.cpu_seconds(folder).items()
               if name.startswith("pimap-"))


def make_users(variables):
    port = int(variables["IMAP_PORT"])
    for number in range(USERS):
        with rig.session(port, "user%d" % number) as plain:
            for folder in range(FOLDERS - 1):
                plain.ok("CREATE F%d" % folder)
        with rig.session(port, "user%d%s" % (number, rig.DEVICE)) as device:
            device.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N ALL)")
            device.ok("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS d@example.org")
            device.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")


def wait_until_idle(variables):
    """Looks that something of a folder has been seen of without a change"""
    last = None
    while last != (last := status(variables)["looks done"]):
        time.sleep(3 * ROUND)


def measure(top):
    """Figures as loading.py has them"""
    conf = delivery.plugin(CONF % ROUND, counting.version())
    with rig.server(top + "/scanned", conf, full=True) as variables:
        make_users(variables)
        wait_until_idle(variables)
        before, cpu = status(variables), cpu_seconds(top + "/scanned")
        time.sleep(ROUND * ROUNDS)
        cpu, after = cpu_seconds(top + "/scanned") - cpu, status(variables)
    scanned = int(after["scanned"]) - int(before["scanned"])
    assert scanned >= USERS * FOLDERS * (ROUNDS - 2), scanned
    assert after["looks done"] == before["looks done"], "they aren't idle"
    percent = 100 * cpu / (ROUNDS * USERS * FOLDERS) * IDLE / INTERVAL
    return {"scans of 100,000 idle folders": {
        "value": round(1e6 * cpu / scanned), "base": 0,
        "shown": "%.2f%% of a core" % percent, "limit": "%.0f%%" % LIMIT,
        "holds": percent <= LIMIT}}
