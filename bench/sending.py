# SPDX-License-Identifier: LGPL-2.1-only
"""What pimap-outband takes to tell a device: from a delivery to the peer, and what
becomes of a long queue when the service begins and the peer is fast."""

import contextlib
import os
import signal
import smtplib
import statistics
import time
import types

import counting
import delivery
import peers
import rig
from peers import outband_peers

RATE = 50
MEDIAN_LIMIT_MS = 20
P99_LIMIT_MS = 200
# the queue: so many users with a device, and notifications of each
USERS = 1000
EACH = 100
SENT = 10000
START_LIMIT_MS = 2000
MEMORY_LIMIT_MB = 64
SPEED_LIMIT = 1000


def figure(value, limit, holds):
    return {"value": value, "base": "", "shown": "", "limit": limit, "holds": holds}


def measure_latency(top, seconds):
    """Of one device, from the delivery's answer to the end of the notification"""
    with peers.running_relay() as (port, count, times), contextlib.ExitStack() as stack:
        conf = delivery.plugin(delivery.CHANNEL % port + peers.APART, counting.version())
        variables = stack.enter_context(rig.server(top + "/latency", conf, full=True))
        delivery.add_devices(int(variables["IMAP_PORT"]), "user", 1)
        lmtp = stack.enter_context(smtplib.LMTP(variables["LMTP_SOCKET"]))
        delivery.send(lmtp, "user", 5)
        peers.wait(lambda: count.value == 5)
        begun, delivered = time.monotonic(), []
        for number in range(RATE * seconds):
            time.sleep(max(0, begun + number / RATE - time.monotonic()))
            delivery.send(lmtp, "user", 1)
            delivered.append(time.monotonic())
        peers.wait(lambda: count.value >= 5 + len(delivered))
        # one may be there before the client of its delivery has seen the answer
        taken = [max(0, at - start) * 1000 for start, at in zip(delivered, times[5:])]
    median = statistics.median(taken)
    late = statistics.quantiles(taken, n=100)[98]
    return {
        "from delivery to peer, median, ms": figure(
            round(median, 1), MEDIAN_LIMIT_MS, median < MEDIAN_LIMIT_MS),
        "from delivery to peer, 99%, ms": figure(
            round(late, 1), P99_LIMIT_MS, late < P99_LIMIT_MS)}


def find_all(job):
    """The answer of a worker: that there is so much in the folder"""
    if job[0] == "FOLDERS":
        return [outband_peers.line("FOLDER", peers.GUID, "INBOX"), "OK\n"]
    lines = [outband_peers.line("FOLDER", job[2], "INBOX"),
             outband_peers.line("DEVICE", "d", 1, "MAIL", "d@example.org", "EMN", "1")]
    if len(job) == 3:
        lines += [outband_peers.line("EVENT", "NEW_MESSAGE", uid, 1)
                  for uid in range(1, EACH + 1)]
    return lines + ["OK\n"]


def measure_queue(top):
    folder = top + "/queue"
    with peers.running_relay() as (port, count, _), contextlib.ExitStack() as stack:
        conf = delivery.plugin(delivery.CHANNEL % port + peers.APART, counting.version())
        stack.enter_context(rig.server(folder, conf + delivery.NO_LOOKS))
        worker = outband_peers.Worker(types.SimpleNamespace(path=folder), find_all)
        stack.callback(worker.stop)
        service = peers.Service(folder)
        peers.wait(lambda: service.queued() == 0)
        service.ask("PAUSE", "MAIL")
        service.hint("u%d" % number for number in range(USERS))
        # that it counts what is queued takes a long time when there is much
        peers.wait(lambda: service.queued() == USERS * EACH, pause=1)
        before = service.pid()
        os.kill(before, signal.SIGTERM)
        peers.wait(lambda: service.pid() != before)
        start = rig.timed(lambda: peers.wait(lambda: service.queued() == USERS * EACH))
        service.ask("RESUME", "MAIL")
        peers.wait(lambda: count.value >= SENT // 10)
        first, begun, cpu = count.value, time.monotonic(), service.cpu_seconds()
        peers.wait(lambda: count.value >= SENT)
        sent = count.value - first
        speed = sent / (time.monotonic() - begun)
        cost = (service.cpu_seconds() - cpu) / sent * 1e6
        memory = service.peak_mb()
        service.ask("PAUSE", "MAIL")
    return {
        "%d queued: start, ms" % (USERS * EACH): figure(
            round(start * 1000), START_LIMIT_MS, start * 1000 < START_LIMIT_MS),
        "  memory, MB": figure(round(memory, 1), MEMORY_LIMIT_MB,
                               memory < MEMORY_LIMIT_MB),
        "  notifications a second": figure(round(speed), SPEED_LIMIT,
                                           speed >= SPEED_LIMIT),
        # whatever else the machine does: it can't be faster than that allows
        "  CPU of each, us": figure(round(cost), 10**6 // SPEED_LIMIT,
                                    cost <= 1e6 / SPEED_LIMIT)}


def measure(top, quick=False):
    """Figures as loading.py has them; quick: only of deliveries"""
    results = measure_latency(top, 3 if quick else 10)
    if not quick:
        results.update(measure_queue(top))
    return results
