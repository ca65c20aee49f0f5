# SPDX-License-Identifier: LGPL-2.1-only
"""What a plain session costs on a Dovecot with pimap, against one without: to
load it, for 1,000 commands after login, and which libraries come with it."""

import os
import statistics

import counting
import rig

LOAD_LIMIT = 600000
COMMANDS_LIMIT = 1.01
# one message is added and one goes, so that the folder stays as it is
ROUND = (
    "NOOP",
    "STATUS INBOX (MESSAGES UNSEEN UIDNEXT)",
    "SELECT INBOX",
    "FETCH 1:* (UID FLAGS)",
    "UID SEARCH UNSEEN FROM joe",
    "FETCH 1:10 (ENVELOPE BODYSTRUCTURE)",
    "FETCH 5 BODY.PEEK[]",
    "STORE 7 +FLAGS (\\Flagged)",
    "STORE 7 -FLAGS (\\Flagged)",
    "SORT (ARRIVAL) UTF-8 ALL",
    'LIST "" "*"',
    "NOOP",
    rig.append([(b"\\Deleted", rig.message(0, b"joe"))]),
    "NOOP",
    "EXPUNGE",
    "CHECK",
    "COPY 1 Other",
    "CAPABILITY",
    "NAMESPACE",
    "CLOSE",
)
ROUNDS = 50
RUNS = 3


def libraries(pid):
    """Names of the libraries that a process has loaded, but for pimap's own"""
    with open("/proc/%d/maps" % pid) as maps:
        paths = {line.split(None, 5)[-1].strip() for line in maps if ".so" in line}
    names = {os.path.basename(path) for path in paths}
    return {name for name in names if "pimap" not in name and
            not name.startswith(("vgpreload", "callgrind"))}


def measure_server(top, plain):
    """Instructions of loading, of the commands, and the libraries"""
    counter = counting.Counter(top + ".callgrind")
    loaded = set()

    def nothing(_session):
        loaded.update(libraries(counter.pid()))

    def commands(session):
        for _ in range(ROUNDS):
            for command in ROUND:
                session.ok(command)

    with rig.server(top, counter.conf, plain) as port:
        with rig.session(port, "user") as session:
            for number in range(100):
                session.ok(rig.append([(b"", rig.message(number, b"joe"))]))
            session.ok("CREATE Other")
            # what the first one to do it has to do more
            for command in ROUND:
                session.ok(command)
        load = statistics.median(counter.count(port, "user", nothing)
                                 for _ in range(RUNS))
        total = statistics.median(counter.count(port, "user", commands)
                                  for _ in range(RUNS))
    return load, total - load, loaded


def measure(top):
    """Figures as bench.py has them, with Dovecot without pimap as base"""
    on = measure_server(top + "/on", False)
    off = measure_server(top + "/off", True)
    more = sorted(on[2] - off[2])
    return {
        "loading": {
            "value": on[0], "base": off[0], "shown": "+%.3f" % ((on[0] - off[0]) / 1e6),
            "limit": "+%.1f" % (LOAD_LIMIT / 1e6),
            "holds": on[0] - off[0] <= LOAD_LIMIT},
        "1,000 commands": {
            "value": on[1], "base": off[1], "shown": "%.4f" % (on[1] / off[1]),
            "limit": "%.2f" % COMMANDS_LIMIT, "holds": on[1] / off[1] <= COMMANDS_LIMIT},
        "libraries": {
            "value": len(on[2]), "base": len(off[2]), "more": more,
            "shown": "+%d" % len(more), "limit": "+0", "holds": not more},
    }
