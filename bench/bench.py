# SPDX-License-Identifier: LGPL-2.1-only
"""What a view costs: a device session against a plain session of the same server.

bench.py [--quick]

The folder has 50,000 messages (--quick: 5,000) in mdbox; the device's view
filter, UNSEEN FROM joe, lets some 3% of them through. A row is a function that
does one thing in a session that just logged in, and returns what it measured.
It is run for both kinds of session in turn; the table has the medians and their
ratio, results.json also the range of the ratios of the single turns. Look at the
ratios: seconds of different machines can't be compared.
"""

import argparse
import contextlib
import glob
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RIG = os.path.join(os.path.dirname(HERE), "tests", "private-dovecot")
BUILD = os.environ.get("top_builddir", os.path.dirname(HERE))
CRITERIA = "UNSEEN FROM joe"
ROWS = []


class Session:
    """Takes no time of its own to look at responses."""

    def __init__(self, port, user):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.recv(4096)
        self.tag = 0
        self.ok("LOGIN %s pass" % user)

    def ok(self, command):
        """Returns the response."""
        self.tag += 1
        tag = b"t%d " % self.tag
        if isinstance(command, str):
            command = command.encode()
        self.sock.sendall(tag + command + b"\r\n")
        data = bytearray()
        while True:
            part = self.sock.recv(1 << 18)
            if not part:
                raise ConnectionError("closed: %r" % bytes(data[-200:]))
            data += part
            if data.endswith(b"\r\n"):
                last = data.rfind(b"\r\n", 0, len(data) - 2)
                line = data[0 if last < 0 else last + 2:]
                if line.startswith(tag):
                    break
        if not line.startswith(tag + b"OK"):
            raise AssertionError("%r: %r" % (command[:80], bytes(line)))
        return bytes(data)

    def seconds(self, command):
        start = time.perf_counter()
        self.ok(command)
        return time.perf_counter() - start

    def close(self):
        self.ok("LOGOUT")
        self.sock.close()


def row(name):
    def add(function):
        ROWS.append((name, function))
        return function
    return add


@row("SELECT")
def select(session):
    return session.seconds("SELECT INBOX")


@row("SELECT again")
def select_again(session):
    session.ok("SELECT INBOX")
    session.ok("UNSELECT")
    return session.seconds("SELECT INBOX")


@row("FETCH 1:* FLAGS")
def fetch_flags(session):
    session.ok("SELECT INBOX")
    return session.seconds("FETCH 1:* FLAGS")


@row("STATUS (MESSAGES UNSEEN)")
def status(session):
    return session.seconds("STATUS INBOX (MESSAGES UNSEEN)")


@contextlib.contextmanager
def server(folder, extra=None):
    command = [RIG, "start", folder, "-f", "mdbox"]
    if extra is not None:
        with open(folder + ".conf", "w") as conf:
            conf.write(extra)
        command += ["-x", folder + ".conf"]
    output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    try:
        yield int(dict(line.split("=", 1) for line in output.splitlines())["IMAP_PORT"])
    finally:
        subprocess.run([RIG, "stop", folder], check=True)


def fill(port, count):
    """1000 messages a command. Of 100, 6 are from joe, and half of those unseen."""
    session = Session(port, "user")
    for start in range(0, count, 1000):
        parts = [b"APPEND INBOX"]
        for number in range(start, min(start + 1000, count)):
            kind = number % 100
            sender = b"joe" if kind < 6 else b"sender%d" % kind
            message = (b"From: %s@example.org\r\nTo: user@example.org\r\n"
                       b"Subject: message %d\r\nMessage-ID: <%d@example.org>\r\n\r\n"
                       b"%s\r\n" % (sender, number, number, b"text " * 40))
            flags = b"" if kind % 2 == 0 else b"\\Seen"
            parts.append(b" (%s) {%d+}\r\n%s" % (flags, len(message), message))
        session.ok(b"".join(parts))
    session.close()
    session = Session(port, "user#phone")
    session.ok("XFILTER SET F1 NIL (%s)" % CRITERIA)
    session.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)")
    line = session.ok("STATUS INBOX (MESSAGES)")
    session.close()
    return int(line.split(b"MESSAGES ")[1].split(b")")[0])


def measure(port, function, runs):
    """The medians, device and plain, and their ratio."""
    taken = {"user#phone": [], "user": []}
    for run in range(-1, runs):
        # neither kind is always first
        for user in sorted(taken, reverse=run % 2 == 0):
            session = Session(port, user)
            value = function(session)
            session.close()
            if run >= 0:
                taken[user].append(value)
    device, plain = taken.values()
    ratios = [d / p for d, p in zip(device, plain)]
    return {"device": statistics.median(device), "plain": statistics.median(plain),
            "ratio": statistics.median(device) / statistics.median(plain),
            "ratios": [min(ratios), max(ratios)], "unit": "s"}


CALLGRIND = """#!/bin/sh
exec valgrind -q --tool=callgrind --callgrind-out-file={0}/out.%p {1}/imap "$@"
"""
CALLGRIND_CONF = """
service imap {{
  executable = {0}/imap
  vsz_limit = 0
}}
"""


def count_instructions(folder):
    """What SELECT adds to a session that does nothing."""
    work = folder + ".callgrind"
    os.mkdir(work)
    os.chmod(work, 0o777)
    libexec = subprocess.run(["doveconf", "-h", "libexec_dir"], text=True, check=True,
                             stdout=subprocess.PIPE).stdout.strip()
    with open(work + "/imap", "w") as script:
        script.write(CALLGRIND.format(work, libexec))
    os.chmod(work + "/imap", 0o755)
    extra = CALLGRIND_CONF.format(work)
    counts = {}
    with server(folder, extra) as port:
        for user in ("user#phone", "user"):
            totals = []
            for commands in ((), ("SELECT INBOX",)):
                session = Session(port, user)
                # made by root, written when imap runs as the mail user
                for name in glob.glob(work + "/out.*"):
                    os.chmod(name, 0o666)
                for command in commands:
                    session.ok(command)
                session.close()
                totals.append(instructions(work))
            counts[user] = totals[1] - totals[0]
    device, plain = counts["user#phone"], counts["user"]
    return {"device": device, "plain": plain, "ratio": device / plain,
            "unit": "instructions"}


def instructions(work):
    """Of the one process that ends now."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for name in glob.glob(work + "/out.*"):
            with open(name) as file:
                total = [line for line in file if line.startswith("totals:")]
            if total:
                os.unlink(name)
                return int(total[0].split()[1])
        time.sleep(0.1)
    raise TimeoutError("callgrind wrote no result")


def shown(value, unit):
    if unit == "s":
        return "%.3f ms" % (value * 1000)
    return "%.2f M" % (value / 1e6)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    os.environ["PATH"] += ":/usr/sbin"
    count, runs = (5000, 9) if quick else (50000, 15)
    top = tempfile.mkdtemp(prefix="pimap-bench.")
    os.chmod(top, 0o755)
    folder = top + "/dovecot"
    results = {}

    def report(name, result):
        results[name] = result
        print("%-28s %12s %12s %9.2f" % (name, shown(result["device"], result["unit"]),
                                         shown(result["plain"], result["unit"]),
                                         result["ratio"]), flush=True)

    try:
        with server(folder) as port:
            visible = fill(port, count)
            print("%d messages, the device sees %d; medians of %d runs\n" %
                  (count, visible, runs))
            print("%-28s %12s %12s %9s" % ("", "device", "plain", "ratio"))
            for name, function in ROWS:
                report(name, measure(port, function, runs))
        if shutil.which("valgrind") is not None:
            try:
                report("SELECT, instructions", count_instructions(folder))
            except (OSError, AssertionError, subprocess.CalledProcessError) as error:
                print("no instruction counts: %s" % error, file=sys.stderr)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    version = subprocess.run(["dovecot", "--version"], text=True,
                             stdout=subprocess.PIPE).stdout.split()[0]
    os.makedirs(BUILD + "/bench", exist_ok=True)
    with open(BUILD + "/bench/results.json", "w") as output:
        json.dump({"dovecot": version, "machine": platform.machine(),
                   "processors": os.cpu_count(), "messages": count,
                   "visible": visible, "runs": runs, "criteria": CRITERIA,
                   "rows": results}, output, indent=1)
        output.write("\n")


main()
