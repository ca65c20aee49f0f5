# SPDX-License-Identifier: LGPL-2.1-only
"""Random operations against a model of the view.

model.py PORT USER SEED OPERATIONS [--parallel] [--qresync] [--plain N] [--lmtp SOCKET]
         [--doveadm PATH] [--reduce SECONDS] [--without OPERATION,...]

Devices' sessions with different filters and plain sessions change, deliver and
read messages in two folders. The model computes from the plain sessions what
each device must see (R-1.4) and compares it after each command. The same seed
gives the same operations. With --qresync sessions may use CONDSTORE and QRESYNC;
the last --plain N of them are plain sessions. When a run fails, the shortest list of operations
that still fails, as far as SECONDS (30) go, is printed; each run takes a user
of its own, USER with a suffix. --without leaves operations out, so that a run
gets past a known failure.

With --parallel, writers and devices are processes that run at the same time;
each checks what its own client knows, and everything is compared at rest."""

import argparse
import os
import random
import re
import sys
import time

import model_mail
from imap_client import ModelError
from model_world import World

FAILURES = (ModelError, AssertionError, ConnectionError, TimeoutError, ValueError,
            KeyError, IndexError)
DEVICES = 4


class Run:
    """Fails or not; on failure says after how many operations and why"""

    count = 0

    def __init__(self, options, operations):
        Run.count += 1
        self.done = 0
        self.error, self.journal, self.evidence = None, [], ()
        world = None
        try:
            world = World(options.port, "%s-%d-%d" % (options.user, os.getpid(), Run.count),
                          options.seed, options.devices, options.qresync, options.lmtp,
                          options.doveadm, options.plain)
            for operation in operations:
                world.execute(operation)
                self.done += 1
            world.finish()
        except FAILURES as error:
            self.error = error
            self.journal = list(world.journal) if world else []
            if world is not None and Run.count == 1:
                world.gather_evidence()
                self.evidence = world.evidence
            if options.verbose:
                raise
        finally:
            if world is not None:
                world.close()

    def why(self):
        return "%s: %s" % (type(self.error).__name__, self.error)

    def kind(self):
        """So that reducing doesn't lead to another failure"""
        if self.error is None:
            return None
        text = re.sub(r"^\w+ \S+ \(.*?\): |[\[({].*|[\d,]+", "", str(self.error))
        return type(self.error), text.split()[:3]


def reduce(options, operations, run, seconds):
    """The shortest prefix that fails, then without what isn't needed"""
    end = time.monotonic() + seconds
    best = operations[:run.done + 1], run

    def fails(candidate):
        nonlocal best
        again = Run(options, candidate)
        same = again.kind() == run.kind()
        if same:
            best = candidate[:again.done + 1], again
        return same

    low, high = 0, len(best[0])
    while low < high and time.monotonic() < end:
        middle = (low + high) // 2
        if fails(operations[:middle]):
            high = min(middle, len(best[0]))
        else:
            low = middle + 1
    prefix = len(best[0])
    size = max(1, prefix // 2)
    while time.monotonic() < end:
        start, before = 0, len(best[0])
        while start < len(best[0]) and time.monotonic() < end:
            shorter = best[0][:start] + best[0][start + size:]
            if not shorter or not fails(shorter):
                start += size
        if size == 1 and len(best[0]) == before:
            break
        size = max(1, size // 2)
    return prefix, best


def report(options, operations, run):
    out = lambda *args: print(*args, file=sys.stderr)
    out("model: seed %s fails at operation %d: %s" % (
        options.seed, run.done, run.why()))
    for operation in operations[max(0, run.done - 9):run.done + 1]:
        out("  %s %d %d" % operation)
    for line in run.evidence:
        out("  " + line)
    prefix, (shortest, again) = reduce(options, operations, run, options.reduce)
    out("model: the first %d operations fail; of these it takes %d: %s" % (
        prefix, len(shortest), again.why()))
    for operation in shortest[-30:]:
        out("  %s %d %d" % operation)
    device = re.match(r"[DP]\d+ ", str(again.error))
    for line in filter_journal(again.journal, shortest, device)[-options.lines:]:
        out("  " + line)


def filter_journal(lines, operations, device):
    """From the first operation on, without what is only the model's asking. Of
    devices just the one that failed, if one did (a match of its name)"""
    if operations and "%s %d %d" % operations[0] in lines:
        lines = lines[lines.index("%s %d %d" % operations[0]):]
    if device is not None:
        lines = [line for line in lines if not re.match(r"[DP]\d+ [<>]", line) or
                 line.startswith(device.group(0))]
    return [line for line in lines if not re.search(
        r" > NOOP$| OK NOOP comp|< \* \d+ FETCH .UID \d+ FLAGS \(\S*\)( RFC822|\)$)"
        r"|(INBOX|Work) [<>] .*(SEARCH|Search)|(INBOX|Work) < ", line)]


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("user")
    parser.add_argument("seed")
    parser.add_argument("operations", type=int)
    parser.add_argument("--parallel", action="store_true")
    parser.add_argument("--qresync", action="store_true")
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--plain", type=int, default=0)
    parser.add_argument("--lmtp")
    parser.add_argument("--doveadm")
    parser.add_argument("--reduce", type=float, default=30)
    parser.add_argument("--without", default="")
    parser.add_argument("--lines", type=int, default=50)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    if options.parallel:
        import model_parallel
        failed = model_parallel.run(options)
    else:
        operations = model_mail.operations(random.Random(options.seed),
                                           options.operations, options.devices)
        operations = [o for o in operations if o[0] not in options.without.split(",")]
        run = Run(options, operations)
        failed = run.error is not None
        if failed:
            report(options, operations, run)
    if failed:
        return 1
    seconds = time.monotonic() - begin
    print("model: seed %s, %d operations, %.0f a second" % (
        options.seed, options.operations, options.operations / seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
