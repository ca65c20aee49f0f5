# SPDX-License-Identifier: LGPL-2.1-only
"""What a delivery costs with pimap, against Dovecot without: instructions of the
lmtp process, and the time of 500 deliveries over one connection to a user whose five
devices have filters and a channel: what they are told is taken, joined or each by
itself, or is not, or nobody keeps it.

Times are those of a machine that does other things, too. So the 500 are sent in
parts, in turn with parts to a Dovecot without pimap, and the figure is the median of
their ratios. What the processes need of a processor is told besides, without a limit;
what is the same in each run are the instructions."""

import contextlib
import os
import smtplib
import socket
import statistics

import counting
import peers
import rig

COUNT_LIMIT = 20000
THROUGHPUT_LIMIT = 0.97
DEVICES = 5
MAILS = 500
PARTS = 5
RUNS = 2
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
# hints are taken, and that is all
NO_LOOKS = """
service pimap-worker {
  unix_listener pimap-worker {
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


def count_each(counter, path, user):
    """Instructions of one delivery more"""
    def total(count):
        with counter.begin(lambda: smtplib.LMTP(path)) as lmtp:
            send(lmtp, user, count)
        return counter.total()

    few, many = (statistics.median(total(count) for _ in range(3)) for count in (5, 25))
    return (many - few) / 20


def add_devices(port, user, count=DEVICES):
    for number in range(count):
        device = rig.Session(port, "%s#d%d" % (user, number))
        device.ok("XFILTER SET F%d NIL (SUBJECT hello UNSEEN)" % number)
        device.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B F%d)" % number)
        device.ok("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS d%d@example.org" % number)
        device.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
        device.close()


def measure_counts(top):
    """Of a user who has no profile, one whose devices have no channel, and one whose
    have, while nobody asks what they are to be told"""
    counts = {}
    for plain in (False, True):
        counter = counting.Counter("%s/count-%d" % (top, plain), "lmtp")
        conf = "" if plain else plugin(CHANNEL % 1, counting.version()) + NO_LOOKS
        with rig.server("%s/counted-%d" % (top, plain), counter.conf + conf, plain,
                        full=True) as variables:
            port, path = int(variables["IMAP_PORT"]), variables["LMTP_SOCKET"]
            users = ["nobody"]
            if not plain:
                with rig.session(port, "filters#d") as device:
                    device.ok("XFILTER SET F1 NIL (UNSEEN)")
                    device.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL B F1)")
                add_devices(port, "devices")
                users += ["filters", "devices"]
            for user in users:
                deliver(path, user, 5)
                counts[plain, user] = count_each(counter, path, user)
    base = counts[True, "nobody"]
    results = {"a delivery, " + what: {
        "value": counts[False, user], "base": base,
        "shown": "%+d" % (counts[False, user] - base), "limit": "+%d" % COUNT_LIMIT,
        "holds": counts[False, user] - base <= COUNT_LIMIT}
        for what, user in (("no profile", "nobody"), ("no channel", "filters"))}
    value = counts[False, "devices"]
    results["a delivery, %d devices" % DEVICES] = {
        "value": value, "base": base, "shown": "%.3f" % (base / value),
        "limit": THROUGHPUT_LIMIT, "holds": base / value >= THROUGHPUT_LIMIT}
    return results


class Kind:
    """A server, and how long it takes; users are new ones in each run: long folders
    take longer"""

    def __init__(self, stack, folder, conf):
        self.folder = folder
        variables = stack.enter_context(rig.server(folder, conf or "", conf is None,
                                                   full=True))
        self.path = variables["LMTP_SOCKET"]
        self.port = None if conf is None else int(variables["IMAP_PORT"])
        served = conf is not None and NO_SERVICE not in conf
        self.service = peers.Service(folder) if served else None
        self.seconds, self.cpu = [], {}

    def begin(self, stack, user):
        if self.port is not None:
            add_devices(self.port, user)
        deliver(self.path, user, 20)
        self.lmtp = stack.enter_context(smtplib.LMTP(self.path))
        self.user = user
        self.settle()
        self.before = rig.cpu_seconds(self.folder)

    def part(self):
        self.seconds.append(rig.timed(lambda: send(self.lmtp, self.user,
                                                   MAILS // PARTS)))

    def settle(self):
        """What this has caused isn't charged to the part of another server."""
        if self.service is not None:
            self.service.settle(3)

    def end(self):
        for (name, pid), seconds in rig.cpu_seconds(self.folder).items():
            seconds -= self.before.get((name, pid), 0)
            self.cpu[name] = self.cpu.get(name, 0) + seconds


def measure_pair(kind, plain, run):
    with contextlib.ExitStack() as stack:
        for one in (kind, plain):
            one.begin(stack, "user-%s-%d" % (os.path.basename(kind.folder), run))
        for part in range(PARTS):
            for one in (kind, plain)[::1 if part % 2 else -1]:
                one.part()
                one.settle()
        # lmtp ends with its connection
        for one in (kind, plain):
            one.end()


def pair_figures(name, kind, plain):
    ratio = statistics.median(base / value for base, value in
                              zip(plain.seconds, kind.seconds))
    lmtp = plain.cpu["lmtp"] / kind.cpu["lmtp"]
    others = sum(kind.cpu.get(service, 0) for service in ("pimap-outband", "pimap-worker"))

    def per_500(seconds):
        return round(seconds / RUNS * 1000)

    return {
        "500 deliveries, %d devices, %s, ms" % (DEVICES, name): {
            "value": per_500(sum(kind.seconds)), "base": per_500(sum(plain.seconds)),
            "shown": "%.3f" % ratio, "limit": "%.2f" % THROUGHPUT_LIMIT,
            "holds": ratio >= THROUGHPUT_LIMIT},
        "  %s: CPU of lmtp, ms" % name: {
            "value": per_500(kind.cpu["lmtp"]), "base": per_500(plain.cpu["lmtp"]),
            "shown": "%.3f" % lmtp, "limit": ""},
        "  %s: CPU of service and worker, ms" % name: {
            "value": per_500(others), "base": "", "shown": "", "limit": ""}}


def measure_times(top):
    results = {}
    with contextlib.ExitStack() as stack:
        # nothing accepts, so that the peer is a black hole
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(100)
        port, _, _ = stack.enter_context(peers.running_relay())
        confs = {
            "joined": plugin(CHANNEL % port, counting.version()),
            "black hole": plugin(CHANNEL % hole.getsockname()[1], counting.version()),
            "service stopped": plugin(CHANNEL % port, counting.version()) + NO_SERVICE,
            "apart": plugin(CHANNEL % port + peers.APART, counting.version()),
        }

        def begin(name, conf):
            return Kind(stack, "%s/timed-%s" % (top, name.replace(" ", "-")), conf)

        # for each one a Dovecot without pimap: its figures are of the same moments
        kinds = {name: (begin(name, conf), begin(name + " plain", None))
                 for name, conf in confs.items()}
        for run in range(RUNS):
            for kind, plain in kinds.values():
                measure_pair(kind, plain, run)
        for name, (kind, plain) in kinds.items():
            results.update(pair_figures(name, kind, plain))
    return results


def measure(top):
    """Figures as loading.py has them"""
    return {**measure_counts(top), **measure_times(top)}
