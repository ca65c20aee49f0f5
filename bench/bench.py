# SPDX-License-Identifier: LGPL-2.1-only
"""What a view costs: a device session against a plain session on the same folder
of the same server; and a plain session against one of a Dovecot without pimap.

bench.py [--quick] [ROW...]

The device sees 100 messages of 10,000, 50,000 and 200,000 in mdbox. A row is one
thing that a session does. Both kinds of session do it in turn, on all folders in
turn, and the table has the medians of the time that took, their ratio, and the
ratio of the instructions that the imap process executed (valgrind
--tool=callgrind): those are the same in every run, whatever else the machine does.
After each figure that has a limit comes "ok" or "OVER". All is also in
results.json. Look at the ratios: times of different machines can't be compared.
--quick: only times, of 10,000. ROW: only rows that have one of these words in their
names ("session": the plain session, "deliveries", "memory", "scans", "sending").
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time

import channels
import counting
import delivery
import loading
import memory
import rig
import scanning
import sending

BUILD = os.environ.get("top_builddir", os.path.dirname(rig.HERE))
KINDS = ("device", "plain")
SELECT = "SELECT INBOX"
STATUS = "STATUS INBOX (MESSAGES UIDNEXT UNSEEN)"


class World:
    """What others do to a folder"""

    def __init__(self, port, user):
        self.port = port
        self.user = user
        self.number = 0
        self.writer = rig.Session(port, user)
        self.writer.ok(SELECT)
        self.setter = rig.Session(port, user + rig.DEVICE)

    def nothing(self):
        pass

    def hidden_arrival(self):
        self.writer.ok(rig.append([(b"", rig.message(0, b"hidden"))]))

    def hidden_flags(self):
        """The filter asks for \\Seen, but message 3 isn't from joe."""
        self.number += 1
        self.writer.ok("STORE 3 %sFLAGS.SILENT (\\Seen)" % "-+"[self.number % 2])

    def new_filter(self):
        self.number += 1
        rig.set_filter(self.setter, self.number)

    def close(self):
        self.writer.close()
        self.setter.close()

    def session(self, kind):
        return rig.Session(self.port, self.user + (rig.DEVICE if kind == "device" else ""))


class Row:
    """begin: commands of a new session, not measured. Then, so many times: what
    others do, and the command. device, plain: if they aren't the same for both."""

    def __init__(self, name, command, limit, begin=(), others=World.nothing, times=1,
                 plain=None, plain_begin=None, octets_limit=None, growth_limit=None):
        self.name = name
        self.commands = dict(zip(KINDS, (command, plain or command)))
        self.begin = dict(zip(KINDS, (begin, begin if plain_begin is None else
                                      plain_begin)))
        self.others = others
        self.times = times
        # of the ratio of device to plain, for a folder of so many messages
        self.limit = limit
        self.octets_limit = octets_limit
        # of what the device takes in the largest folder to that in the smallest
        self.growth_limit = growth_limit

    def turn(self, world, taken, first):
        """Adds what one turn took, per kind."""
        with contextlib.ExitStack() as stack:
            sessions = {}
            # neither is always the last to log in, whose process is still warm
            for kind in KINDS[::1 if first // 2 % 2 else -1]:
                sessions[kind] = world.session(kind)
                stack.callback(sessions[kind].close)
                for command in self.begin[kind]:
                    sessions[kind].ok(command)
            for number in range(self.times):
                self.others(world)
                # neither is always the first to see it
                for kind in KINDS[::1 if (first + number) % 2 else -1]:
                    taken[kind].append(sessions[kind].seconds(self.commands[kind]))

    def octets(self, world, kind):
        with contextlib.closing(world.session(kind)) as session:
            for command in self.begin[kind]:
                session.ok(command)
            self.others(world)
            return len(session.ok(self.commands[kind]))

    def instructions(self, world, kind, counter):
        """Of one act. What happens at the end of the session is part of it."""
        times = min(self.times, 10)

        def begin(session):
            for command in self.begin[kind]:
                session.ok(command)

        def act(session):
            begin(session)
            for _ in range(times):
                self.others(world)
                session.ok(self.commands[kind])

        user = world.user + (rig.DEVICE if kind == "device" else "")
        without = counter.count(world.port, user, begin)
        return (counter.count(world.port, user, act) - without) / times


def always(ratio):
    return lambda count: ratio


ROWS = (
    Row("SELECT", SELECT, always(1.5)),
    Row("SELECT again", SELECT, always(1.5), begin=(SELECT,), times=5),
    Row("STATUS", STATUS, always(1.5)),
    Row("STATUS again", STATUS, always(1.5), begin=(STATUS,), times=5),
    Row("UID FETCH 1:* (FLAGS)", "UID FETCH 1:* (FLAGS)",
        lambda count: 1 / 50 if count >= 50000 else None, begin=(SELECT,),
        octets_limit=1 / 50),
    Row("NOOP", "NOOP", always(1.1), begin=(SELECT,), times=20),
    Row("NOOP after a hidden arrival", "NOOP", always(2), begin=(SELECT,),
        others=World.hidden_arrival, times=10, growth_limit=1.5),
    Row("NOOP after a hidden flag change", "NOOP", always(2), begin=(SELECT,),
        others=World.hidden_flags, times=10, growth_limit=1.5),
    Row("SELECT with a new filter / SEARCH", SELECT, always(1.3),
        others=World.new_filter, plain="SEARCH " + rig.CRITERIA,
        plain_begin=(SELECT,)),
)


def figure(value, base, limit=None):
    result = {"value": value, "base": base, "ratio": value / base}
    if limit is not None:
        result["limit"] = limit
        result["holds"] = result["ratio"] <= limit
    return result


def measure(row, worlds, runs, counter):
    """Figures of a row, by folder and unit: what a device session takes, with a
    plain session's as base; and for the largest folder, with the smallest's."""
    taken = {count: {kind: [] for kind in KINDS} for count in worlds}
    for turn in range(-1, runs):
        for count, world in worlds.items():
            spare = {kind: [] for kind in KINDS}
            row.turn(world, spare if turn < 0 else taken[count], turn)
    results = {}
    for count, world in worlds.items():
        limit = row.limit(count)
        results[count] = {
            "seconds": figure(*(statistics.median(taken[count][kind])
                                for kind in KINDS), limit),
            "octets": figure(*(row.octets(world, kind) for kind in KINDS),
                             row.octets_limit)}
        if counter is not None:
            results[count]["instructions"] = figure(
                *(row.instructions(world, kind, counter) for kind in KINDS), limit)
    if row.growth_limit is not None and len(worlds) > 1:
        large, small = results[max(worlds)], results[min(worlds)]
        results["growth"] = {
            unit: figure(large[unit]["value"], small[unit]["value"], row.growth_limit)
            for unit in large if unit != "octets"}
    return results


def shown(result, unit):
    if unit not in result:
        return ""
    text = "%.3f" % result[unit]["ratio"]
    if "limit" in result[unit]:
        text += " ok  " if result[unit]["holds"] else " OVER"
    return text


def print_row(name, results):
    for what, result in results.items():
        seconds = result["seconds"]
        print("%-34s %7s %10.3f %10.3f %11s %13s %6s" % (
            name, what, seconds["value"] * 1000, seconds["base"] * 1000,
            shown(result, "seconds"), shown(result, "instructions"),
            "%.4g" % seconds["limit"] if "limit" in seconds else ""), flush=True)
        if "limit" in result.get("octets", ()):
            print("%-34s %7s %10d %10d %11s %13s %6.4g" % (
                "  octets", "", result["octets"]["value"], result["octets"]["base"],
                shown(result, "octets"), "", result["octets"]["limit"]))
        name = ""


def print_plain(title, results):
    print("\n%-34s %18s %10s %25s %6s" % (title, "pimap", "without", "", "limit"))
    for name, result in results.items():
        print("%-34s %18s %10s %25s %6s" % (
            name, *("%.3f M" % (value / 1e6) if value != "" and value > 1e6 else value
                    for value in (result["value"], result["base"])),
            result["shown"] + ("" if "holds" not in result else
                               " ok  " if result["holds"] else " OVER"),
            result["limit"]), flush=True)


def measure_rows(rows, worlds, runs, counter):
    results = {}
    print("The device sees %d messages; medians of %d turns\n" % (rig.VISIBLE, runs))
    print("%-34s %7s %10s %10s %11s %13s %6s" % (
        "", "of", "device ms", "plain ms", "ratio", "instructions", "limit"))
    for row in rows:
        results[row.name] = measure(row, worlds, runs, counter)
        print_row(row.name, results[row.name])
    return results


def measure_folders(top, rows, counts, runs, counter):
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(rig.server(
            top + "/dovecot", "" if counter is None else counter.conf))
        worlds = {}
        for count in counts:
            rig.fill(port, "u%d" % count, count)
            worlds[count] = World(port, "u%d" % count)
            stack.callback(worlds[count].close)
        return measure_rows(rows, worlds, runs, counter)


def measure_all(top, args, counts, runs, counter):
    def wanted(name):
        return not args.words or any(word in name for word in args.words)

    rows = [row for row in ROWS if wanted(row.name)]
    # it takes long to fill the folders
    results = measure_folders(top, rows, counts, runs, counter) if rows else {}
    if counter is not None and wanted("plain session"):
        results["plain session"] = loading.measure(top)
        print_plain("A plain session, instructions", results["plain session"])
    if counter is not None and wanted("deliveries"):
        results["deliveries"] = delivery.measure(top)
        print_plain("Deliveries", results["deliveries"])
    if not args.quick and wanted("memory"):
        results["memory"] = memory.measure(top)
        print_plain("Memory, kB", results["memory"])
    if counter is not None and wanted("scans"):
        results["scans"] = scanning.measure(top)
        print_plain("Scans, microseconds of a folder", results["scans"])
    if wanted("sending"):
        results["sending"] = sending.measure(top, args.quick)
        print_plain("What is sent", results["sending"])
    if not args.quick and wanted("channels"):
        results["channels"] = channels.measure(top)
        print_plain("By a channel", results["channels"])
    return results


def verdicts(results):
    """All "holds" in them"""
    for name, value in results.items():
        if isinstance(value, dict):
            yield from verdicts(value)
        elif name == "holds":
            yield value


def write_results(results, runs):
    version = subprocess.run(["dovecot", "--version"], text=True,
                             stdout=subprocess.PIPE).stdout.split()[0]
    os.makedirs(BUILD + "/bench", exist_ok=True)
    with open(BUILD + "/bench/results.json", "w") as output:
        json.dump({"dovecot": version, "machine": platform.machine(),
                   "processors": os.cpu_count(), "visible": rig.VISIBLE,
                   "runs": runs, "criteria": rig.CRITERIA,
                   "rows": results}, output, indent=1)
        output.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("words", nargs="*", metavar="ROW")
    args = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin"
    started = time.monotonic()
    counts, runs = ((10000,), 5) if args.quick else ((10000, 50000, 200000), 15)
    top = tempfile.mkdtemp(prefix="pimap-bench.")
    os.chmod(top, 0o755)
    counter = None
    if not args.quick:
        if counting.available():
            counter = counting.Counter(top + "/callgrind")
        else:
            print("no instructions: valgrind is missing")
    try:
        results = measure_all(top, args, counts, runs, counter)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    write_results(results, runs)
    holds = list(verdicts(results))
    print("\n%d of %d figures with a limit are over it; %d seconds" %
          (holds.count(False), len(holds), time.monotonic() - started))


main()
