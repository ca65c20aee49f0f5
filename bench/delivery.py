# SPDX-License-Identifier: LGPL-2.1-only
"""What a delivery costs with pimap, against Dovecot without: instructions of the
lmtp process where no device has a channel, and the time of 500 deliveries over one
connection where five have, with filters: what they are told is taken, joined or each
by itself, or is not, or nobody keeps it."""

import contextlib
import smtplib
import socket
import statistics

import counting
import peers
import rig

COUNT_LIMIT = 20000
THROUGHPUT_LIMIT = 0.97
MAILS = 500
RUNS = 7
MESSAGE = (b"From: joe@example.org\r\nTo: user@example.org\r\nSubject: hello\r\n\r\n" +
           b"some text in a line of the mail, for four thousand octets\r\n" * 70)
# a channel that is configured
CHANNEL = """
pimap_channels = mail
pimap_mail_pattern = *@example.org
pimap_mail_relay = 127.0.0.1:%d
"""
NO_SERVICE = """
service pimap-outband {
  process_min_avail = 0
  unix_listener pimap-outband {
    mode = 0
  }
}
"""


def plugin(text, version):
    return "plugin {\n%s}\n" % text if version.startswith("2.3.") else text


def send(lmtp, user, count):
    for _ in range(count):
        lmtp.sendmail("s@example.org", user, MESSAGE)


def deliver(path, user, count):
    with smtplib.LMTP(path) as lmtp:
        send(lmtp, user, count)


def seconds(path, user):
    return rig.timed(lambda: deliver(path, user, MAILS))


def count_each(counter, path, user):
    """Instructions of one delivery more"""
    def total(count):
        with counter.begin(lambda: smtplib.LMTP(path)) as lmtp:
            send(lmtp, user, count)
        return counter.total()

    few, many = (statistics.median(total(count) for _ in range(3)) for count in (5, 25))
    return (many - few) / 20


def add_devices(port, user, count=5):
    for number in range(count):
        device = rig.Session(port, "%s#d%d" % (user, number))
        device.ok("XFILTER SET F%d NIL (SUBJECT hello UNSEEN)" % number)
        device.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B F%d)" % number)
        device.ok("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS d%d@example.org" % number)
        device.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
        device.close()


def measure_counts(top):
    """Of a user who has no profile, and one whose devices have no channel"""
    counts = {}
    for plain in (False, True):
        counter = counting.Counter("%s/count-%d" % (top, plain), "lmtp")
        with rig.server("%s/counted-%d" % (top, plain), counter.conf, plain,
                        full=True) as variables:
            port, path = int(variables["IMAP_PORT"]), variables["LMTP_SOCKET"]
            users = ["nobody"]
            if not plain:
                with rig.session(port, "filters#d") as device:
                    device.ok("XFILTER SET F1 NIL (UNSEEN)")
                    device.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B F1)")
                users.append("filters")
            for user in users:
                deliver(path, user, 5)
                counts[plain, user] = count_each(counter, path, user)
    base = counts[True, "nobody"]
    return {"a delivery, " + what: {
        "value": counts[False, user], "base": base,
        "shown": "%+d" % (counts[False, user] - base), "limit": "+%d" % COUNT_LIMIT,
        "holds": counts[False, user] - base <= COUNT_LIMIT}
        for what, user in (("no profile", "nobody"), ("no channel", "filters"))}


def settle(service):
    """What deliveries have caused isn't charged to those of another server."""
    def quiet():
        status = service.status()
        return not any(status.get(name, 1) for name in
                       ("looks waiting", "looks running", "MAIL being sent"))

    with contextlib.suppress(TimeoutError):
        peers.wait(quiet, 10)


def measure_times(top):
    with contextlib.ExitStack() as stack:
        # nothing accepts, so that the peer is a black hole
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(100)
        port, _, _ = stack.enter_context(peers.running_relay())
        kinds = {
            "plain": None,
            "joined": plugin(CHANNEL % port, counting.version()),
            "apart": plugin(CHANNEL % port + peers.APART, counting.version()),
            "black hole": plugin(CHANNEL % hole.getsockname()[1] + peers.APART,
                                 counting.version()),
            "service stopped": plugin(CHANNEL % port, counting.version()) + NO_SERVICE,
        }
        paths, services = {}, []
        for kind, conf in kinds.items():
            folder = "%s/timed-%s" % (top, kind.replace(" ", "-"))
            variables = stack.enter_context(rig.server(
                folder, conf or "", conf is None, full=True))
            paths[kind] = variables["LMTP_SOCKET"]
            if conf is not None:
                add_devices(int(variables["IMAP_PORT"]), "user")
                if NO_SERVICE not in conf:
                    services.append(peers.Service(folder))
            deliver(paths[kind], "user", 20)
        taken = {kind: [] for kind in paths}
        for run in range(RUNS):
            for kind in sorted(paths, reverse=run % 2 == 1):
                taken[kind].append(seconds(paths[kind], "user"))
                for service in services:
                    settle(service)
    results = {}
    base = statistics.median(taken["plain"])
    for kind in paths:
        value = statistics.median(taken[kind])
        if kind != "plain":
            results["500 deliveries, 5 devices, %s, ms" % kind] = {
                "value": round(value * 1000), "base": round(base * 1000),
                "shown": "%.3f" % (base / value), "limit": "%.2f" % THROUGHPUT_LIMIT,
                "holds": base / value >= THROUGHPUT_LIMIT}
    return results


def measure(top):
    """Figures as loading.py has them"""
    return {**measure_counts(top), **measure_times(top)}
