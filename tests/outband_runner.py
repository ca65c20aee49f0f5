#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-only
"""The judge of notifications: many users' mail comes, changes and goes while lmtp, imap,
the service and the workers are killed, the queue's disk is full and the peer is away.
In the end each device has been told all that it must be told, once, and nothing else.

    python3 outband_runner.py --trials 500 --seed 1 -f maildir --resume FILE
        --db pgsql       the queue is in a PostgreSQL of its own, which dies now and then
        --channel udp    phones in place of a mail relay, datagrams of which get lost
        --joining        many in a short time become one (R-13.5), which covers them
        --rounds gentle  or rough, see below

Trials run many at a time, with one server; what is killed is killed for all of them.
Every second round is gentle: no hint is lost there, and there is no scan in the end.
With --resume a trial that FILE has isn't run again, however it ended. The exit status is 0 if nothing was
lost, false or wrong. What failed trials did is printed, and kept with their server."""

import argparse
import collections
import contextlib
import email
import faulthandler
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from conftest import Server, settings
from outband_peers import Relay
from outband_phones import Phones
from outband_trial import Trial

# what another process of the same kind doesn't come for at once if it dies so young
YOUNG = 0.4
QUIET = 150  # seconds until all is told, in the end
TICKS = os.sysconf("SC_CLK_TCK")


class Peer(Relay):
    """A relay that isn't always there, by mode"""

    def __init__(self):
        self.mode = "ok"
        self.away = set()  # addresses
        self.got = []
        self.lock = threading.Lock()
        super().__init__()
        self.before = self.behave

    def behave(self, command, argument):
        mode = self.mode
        if command == "RCPT" and any("<%s>" % address in argument
                                     for address in list(self.away)):
            raise ConnectionError
        if mode == "slow" and command == "END":
            time.sleep(0.1)
        elif mode == "away" and command == "CONNECT":
            raise ConnectionError
        elif mode == "cut" and command == "DATA":
            raise ConnectionError
        elif mode == "hole":
            deadline = time.time() + 30
            while self.mode == "hole" and time.time() < deadline:
                time.sleep(0.02)
            raise ConnectionError

    def taken(self):
        """(when, address, number, text) of all that came"""
        with self.lock:
            return list(self.got)


class Mails:
    """In place of a relay's list: notes when each came. May lose the answer."""

    def __init__(self, peer):
        self.peer = peer

    def append(self, mail):
        when = time.time()
        message = email.message_from_string(mail.text)
        text = message.get_payload(decode=True).decode()
        for recipient in mail.recipients:
            address = recipient.split("<", 1)[1].split(">", 1)[0]
            with self.peer.lock:
                self.peer.got.append((when, address, int(message["X-PIMAP-Notification"]), text))
        if self.peer.mode == "lost":
            raise ConnectionError


class Site:
    """The server, and what is done to it"""

    def __init__(self, fmt, seed, database="sqlite", joining=False, channel="mail"):
        self.format = fmt
        self.channel, self.joining = channel.upper(), joining
        self.phones = None
        self.chance = random.Random("chaos %s" % seed)
        self.gentle = False
        # users who wait for long already: their server isn't killed any more
        self.spared = set()
        self.kills = collections.Counter()
        self.peer = Peer()
        self.peer.mails = Mails(self.peer)
        self.filled = None
        self.top = tempfile.mkdtemp(prefix="pimap-outband.")
        os.chmod(self.top, 0o755)
        self.path = self.top + "/dovecot"
        values = {
            "pimap_channels": channel, "pimap_mail_relay": "127.0.0.1:%d" % self.peer.port,
            "pimap_mail_pattern": "*@example.com", "pimap_outband_retry_min": "1 s",
            "pimap_outband_retry_max": "1 s"}
        if channel == "udp":
            values.update(pimap_udp_listen="127.0.0.1:@UDP_PORT@", pimap_udp_max_hellos="10000")
        for name in ("pimap_limit_device", "pimap_limit_user"):
            values[name] = "0"
        values.update({"pimap_join_count": "3", "pimap_join_interval": "2 s"} if joining else
                      {"pimap_join_count": "0"})
        self.tmpfs = None
        self.postgres = None
        if database == "sqlite" and os.geteuid() == 0:
            self.tmpfs = self.top + "/queue"
            os.mkdir(self.tmpfs)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755,uid=%s" % (
                subprocess.run(["id", "-u", "dovecot"], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.strip()),
                "tmpfs", self.tmpfs], check=True)
            values["pimap_outband_db"] = self.tmpfs + "/outband.sqlite"
        elif database == "pgsql":
            from postgres import Postgres
            self.postgres = Postgres()
            values["pimap_outband_db"] = self.postgres.address()
        extra = settings(values) + "mail_fsync = never\ndefault_client_limit = 2000\n" + \
            "default_process_limit = 400\n" + \
            "log_debug = event=pimap_look_finished\n"
        try:
            self.server = Server(self.path, fmt, extra=extra)
        except BaseException:
            self.unmount()
            raise
        self.port = self.server.port
        if channel == "udp":
            self.phones = Phones(int(self.server.vars["UDP_PORT"]),
                                 lambda: self.peer.mode in ("away", "cut", "lost", "451"))
        self.lmtp = self.server.vars["LMTP_SOCKET"]
        self.run = os.path.realpath(self.path + "/run")
        self.lock = threading.RLock()

    def unmount(self):
        if self.tmpfs is not None:
            subprocess.run(["umount", "-l", self.tmpfs], check=False)

    def copy(self, path, to):
        subprocess.run(["cp", "-a", path, to], check=True)

    def doveadm(self, *args):
        return subprocess.run([self.server.vars["DOVEADM"], *args], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)

    def outband(self, *args):
        """Rows, or None if the service isn't there"""
        result = self.doveadm("-f", "json", "pimap", "outband", *args)
        if result.returncode != 0:
            return None
        return json.loads(result.stdout) if result.stdout.strip() else []

    # devices

    def introduce(self, device):
        """Gives it a key, where there are any."""
        if self.phones is None:
            return
        deadline = time.time() + QUIET
        while True:
            result = self.doveadm("-f", "tab", "pimap", "device", "key", "-u", device.user,
                                  device.name)
            if result.returncode == 0:
                break
            assert time.time() < deadline, result.stderr
            time.sleep(0.1)
        _, number, secret = result.stdout.splitlines()[1].split("\t")
        self.phones.add(device.user, device.name, int(number), secret)

    def away(self, device, away):
        """It alone can't be reached."""
        if self.phones is not None:
            self.phones.all[device.user, device.name].away = away
        elif away:
            self.peer.away.add("%s-%s@example.com" % (device.user, device.name))
        else:
            self.peer.away.discard("%s-%s@example.com" % (device.user, device.name))

    def taken(self, device):
        """(when, number, text) of all that it was told"""
        if self.phones is not None:
            return self.phones.taken(device.user, device.name)
        address = "%s-%s@example.com" % (device.user, device.name)
        return [(when, seq, text) for when, to, seq, text in self.peer.taken() if to == address]

    def joined(self, device):
        """By how many each one that was joined is fewer, by number; none fewer where a
        worker was killed each time that it was judged anew. None if there are none."""
        fewer = {}
        killed = self.killed_workers(device.user) >= 3
        for seq in {note.seq for note in device.notes
                    if note.event is None and self.joining or
                    note.event is not None and note.event.endswith("SYNC")}:
            for step in self.trace(device, seq):
                count = re.search(r"in the place of (\d+)", step["text"])
                if step["step"] == "joined" and count and self.joining:
                    fewer[seq] = fewer.get(seq, 0) + int(count.group(1)) - 1
                elif step["step"] == "judged" and "becomes a SYNC" in step["text"] and killed:
                    fewer.setdefault(seq, 0)
        return fewer if fewer or self.joining else None

    def killed_workers(self, user):
        with open(self.server.vars["LOG"], errors="replace") as log:
            return sum("pimap-worker(%s)<" % user in line and "killed with signal 9" in line
                       for line in log)

    def rebuilt(self, user):
        """How often an index of his was made anew: of sdbox and mdbox, when somebody was
        killed who saved or expunged"""
        with open(self.server.vars["LOG"], errors="replace") as log:
            return sum("(%s)<" % user in line and "ebuilding index" in line for line in log)

    # processes

    def pids(self, service=None, young=YOUNG):
        """Of a service: those that aren't too young to die. Without one: all."""
        title = "dovecot-%s/%s" % (os.path.basename(self.run), service or "")
        with open("/proc/uptime") as file:
            now = float(file.read().split()[0])
        for path in glob.glob("/proc/[0-9]*"):
            with contextlib.suppress(OSError, IndexError):
                with open(path + "/cmdline", errors="replace") as file:
                    line = file.read()
                if service is None:
                    if line.startswith(title) or os.path.realpath(path + "/cwd") == self.run:
                        yield int(path.split("/")[2])
                    continue
                if line.split("\0")[0].split(" ")[0] != title:
                    continue
                with open(path + "/stat") as file:
                    started = int(file.read().rsplit(")", 1)[1].split()[19]) / TICKS
                if now - started >= young:
                    yield int(path.split("/")[2])

    def kill(self, service):
        for pid in self.pids(service):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills[service] += 1

    def start(self):
        for _ in range(20):
            # no pipe: it would stay open as long as the server runs
            with open(self.path + "/log/start", "w") as output:
                result = subprocess.run(
                    [self.path + "/within", "dovecot", "-c", self.server.vars["CONF"]],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            if result.returncode == 0:
                return
            time.sleep(0.2)
        raise AssertionError("Dovecot doesn't start, see %s/log/start" % self.path)

    def restart(self):
        """All of it dies at once."""
        with self.lock:
            self.kills["restart"] += 1
            for _ in range(50):
                pids = list(self.pids())
                if not pids:
                    break
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.run + "/master.pid")
            self.start()

    def reload(self):
        with self.lock:
            self.kills["reload"] += 1
            self.doveadm("reload")

    @contextlib.contextmanager
    def without_service(self):
        """Its sockets are closed, too."""
        with self.lock:
            self.kills["no service"] += 1
            self.doveadm("service", "stop", "pimap-outband")
            try:
                yield
            finally:
                self.doveadm("reload")

    @contextlib.contextmanager
    def workers_halt(self):
        pids = list(self.pids("pimap-worker", 0))
        try:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def fill(self):
        """The queue's disk; or PostgreSQL dies."""
        if self.postgres is not None:
            self.kills["PostgreSQL"] += 1
            self.postgres.kill()
            self.postgres.start()
            return
        if self.tmpfs is None or self.filled is not None:
            return
        self.kills["disk full"] += 1
        self.filled = self.tmpfs + "/filled"
        with contextlib.suppress(OSError), open(self.filled, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self):
        if self.filled is not None:
            os.unlink(self.filled)
            self.filled = None

    def chaos(self, until):
        """Until all trials have ended"""
        rng = self.chance
        while not until():
            time.sleep(rng.random() * 0.6)
            self.peer.mode = rng.choice(("ok", "ok", "ok", "slow", "away", "cut", "lost", "451",
                                         "hole"))
            self.peer.replies.clear()
            if self.peer.mode == "451":
                self.peer.replies["END"] = "451 not now"
            act = rng.random()
            if self.gentle:
                if act < 0.03:
                    self.kill("pimap-worker")
                continue
            if act < 0.15:
                self.kill("pimap-outband")
            elif act < 0.3:
                self.kill("pimap-worker")
            elif act < 0.4:
                self.kill("lmtp")
            elif self.spared:
                pass
            elif act < 0.5:
                self.kill("imap")
            elif act < 0.53:
                self.reload()
            elif act < 0.55:
                self.restart()
            elif act < 0.6:
                self.fill()
                time.sleep(rng.random() * 0.5)
                self.empty()

    def unlock(self):
        """Whoever dies while he has the lock of a Maildir's UIDs leaves it to others for
        up to two minutes. It is held for milliseconds."""
        for path in glob.glob(self.path + "/mail/*/maildir/dovecot-uidlist.lock") + \
                glob.glob(self.path + "/mail/*/maildir/.*/dovecot-uidlist.lock"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(path).st_mtime > 3:
                    os.unlink(path)
                    self.kills["uidlist lock"] += 1

    def numbered(self):
        """Rows with a number that aren't their device's head: of whom, head, row, number"""
        heads, found = {}, set()
        for row in self.outband("list") or []:
            device = "%s#%s" % (row["user"], row["device"])
            head = heads.setdefault(device, row["id"])
            if row["number"] and head != row["id"]:
                found.add((device, head, row["id"], row["number"]))
        return found

    def check_numbers(self, wrong):
        """Of a device's queue only the head may have a number."""
        found = self.numbered()
        # a list isn't of one moment: what comes while it is read is in it, too
        for device, _, _, number in sorted(found and found & self.numbered()):
            wrong.append("%s: number %s isn't the head's" % (device, number))

    def calm(self):
        self.peer.mode = "ok"
        self.peer.replies.clear()
        self.peer.away.clear()
        self.empty()

    def wait_quiet(self):
        """Until nothing is queued and nothing is being looked at"""
        deadline, quiet, status = time.time() + QUIET, 0, None
        while quiet < 3:
            assert time.time() < deadline, "it isn't quiet: %s" % status
            rows = self.outband("status")
            status = rows and {row["name"]: row["value"] for row in rows}
            if status and all(status[name] == "0" for name in (
                    "queued", "looks waiting", "looks running")):
                quiet += 1
            else:
                quiet = 0
            self.unlock()
            time.sleep(0.15)

    def scan(self):
        """What was lost is found, by a scan or a start of the service."""
        if self.chance.random() < 0.5:
            self.kill("pimap-outband")
        else:
            deadline = time.time() + QUIET
            while self.outband("scan") is None:
                assert time.time() < deadline, "the service doesn't come back"
                time.sleep(0.2)

    def trace(self, device, *seq):
        return self.outband("trace", "-u", device.user, device.name, *map(str, seq)) or []

    def faults(self):
        return [line for line in self.server.faults() if "Panic" in line or
                re.search(r"killed with signal (?!9\b)", line)]

    def stop(self, keep=False):
        for pid in list(self.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.peer.mode = "ok"
        self.peer.stop()
        if self.phones is not None:
            self.phones.stop()
        if keep and self.tmpfs is not None:
            self.copy(self.tmpfs, self.tmpfs + "-kept")
        self.unmount()
        if self.postgres is not None:
            self.postgres.remove()
        shutil.rmtree(self.run, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path + "/run")
        if not keep:
            shutil.rmtree(self.top)


def gap_is_named(steps):
    """By its trace: it was numbered, and then dropped or given up"""
    last = steps[-1] if steps else {"step": "", "text": ""}
    return any(step["step"] == "numbered" for step in steps) and last["step"] == "done" and \
        last["text"].startswith(("dropped", "expired", "given up", "unregistered"))


def judge(site, trial, options):
    """Returns (kind, text) of each fault"""
    faults = []
    if trial.error is not None:
        return [("error", trial.error)]
    for judgement in trial.judge(**options):
        device = judgement.device
        for kind in ("lost", "false", "wrong"):
            faults += [(kind, "%s: %s" % (device.name, text))
                       for text in getattr(judgement, kind)]
        for seq in judgement.gaps:
            steps = site.trace(device, seq)
            if not gap_is_named(steps):
                faults.append(("lost", "%s: nothing says why there is no number %d: %s" % (
                    device.name, seq, steps)))
    return faults


def show(site, trial, faults, out):
    print("== seed %s (%s) fails:" % (trial.seed, site.format), file=out)
    for kind, text in faults:
        print("%s: %s" % (kind, text), file=out)
    print("-- operations", file=out)
    for line in trial.log:
        print(line, file=out)
    for device in trial.devices:
        print("-- %s (%s) has set" % (device.name, "EXTENDED" if device.extended else "EMN"),
              file=out)
        for config in device.configs:
            print("%.3f %.3f %s channel %s views %s notify %s" % (
                *config.since, config.event, config.channel,
                {f and f.name: c for f, c in config.views.items()},
                {f and f.name: c for f, c in config.notify.items()}), file=out)
        print("-- %s was told" % device.name, file=out)
        for note in device.notes:
            print("%.3f %s" % (note.time, note.text), file=out)
        print("-- trace of %s" % device.name, file=out)
        for step in site.trace(device):
            print(" ".join(step[key] for key in ("id", "number", "time", "step", "text")),
                  file=out)
    for folder in trial.folders:
        print("-- %s: %s" % (folder.name, ", ".join(
            "%d %s" % (uid, " ".join(sorted(life.states[-1][2])))
            for uid, life in sorted(folder.now.items()))), file=out)
    out.flush()


def round_of(site, seeds, gentle, args, options):
    """Runs these trials together. Returns {seed: faults} and the trials."""
    site.gentle = gentle
    trials = [Trial(site, "%s" % seed, args.operations) for seed in seeds]
    threads = [threading.Thread(target=trial.run) for trial in trials]
    wrong, done = [], threading.Event()
    for thread in threads:
        thread.start()
    chaos = threading.Thread(target=site.chaos, args=(done.is_set,))
    chaos.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        site.unlock()
        site.check_numbers(wrong)
    done.set()
    chaos.join()
    site.calm()
    if not gentle:
        site.scan()
    error = None
    try:
        site.wait_quiet()
    except AssertionError as e:
        error = str(e)
    results = {}
    for trial in trials:
        faults = judge(site, trial, options)
        faults += [("wrong", text) for text in wrong if text.startswith(trial.user + "#")]
        if error is not None:
            faults.append(("late", error))
        results[trial.seed] = faults
    return results, trials


def main():
    # a round that hangs tells where
    faulthandler.enable()
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--together", type=int, default=16)
    parser.add_argument("--operations", type=int, default=40)
    parser.add_argument("-f", "--format", default="maildir",
                        choices=("maildir", "sdbox", "mdbox"))
    parser.add_argument("--db", default="sqlite", choices=("sqlite", "pgsql"))
    parser.add_argument("--channel", default="mail", choices=("mail", "udp"))
    parser.add_argument("--joining", action="store_true")
    parser.add_argument("--resume", help="a file of the trials that have been done")
    parser.add_argument("--rounds", choices=("both", "gentle", "rough"), default="both")
    parser.add_argument("--keep", action="store_true", help="keep the server's files")
    parser.add_argument("--clean", action="store_true", help="never keep them")
    args = parser.parse_args()
    options = {"rejudged": True}
    mode = {"format": args.format, "db": args.db, "channel": args.channel,
            "joining": args.joining}
    done = {}
    if args.resume and os.path.exists(args.resume):
        with open(args.resume) as file:
            for line in file:
                row = json.loads(line)
                if all(row[name] == value for name, value in mode.items()):
                    done[row["seed"]] = row
    seeds = [seed for seed in range(args.seed, args.seed + args.trials)
             if str(seed) not in done]
    kinds, failed, musts, told = collections.Counter(), [], 0, 0
    for row in done.values():
        kinds.update(row["faults"])
        if row["faults"]:
            failed.append(row["seed"])
    start = time.time()
    kept = []
    for begin in range(0, len(seeds), args.together):
        some = seeds[begin:begin + args.together]
        number = begin // args.together
        gentle = args.rounds == "gentle" or (args.rounds == "both" and number % 2 == 1)
        faulthandler.dump_traceback_later(600, exit=True)
        site = Site(args.format, some[0], args.db, args.joining, args.channel)
        bad = False
        try:
            results, trials = round_of(site, some, gentle, args, options)
            faults = site.faults()
            for trial in trials:
                found = results[trial.seed]
                if found:
                    bad = True
                    show(site, trial, found, sys.stdout)
                    failed.append(trial.seed)
                kinds.update(kind for kind, _ in found)
                musts += sum(j.musts for j in trial.judgements)
                told += sum(len(j.by_seq) for j in trial.judgements)
                if args.resume:
                    with open(args.resume, "a") as file:
                        file.write(json.dumps({
                            "seed": trial.seed, **mode, "gentle": gentle,
                            "faults": collections.Counter(kind for kind, _ in found)}) + "\n")
            for line in faults:
                bad = True
                kinds["panic"] += 1
                print("panic: %s" % line)
        finally:
            keep = (bad or args.keep) and not args.clean
            site.stop(keep=keep)
        if keep:
            kept.append(site.path)
        print("%d trials, %.1f s each%s; killed: %s; failed: %s" % (
            begin + len(some), (time.time() - start) / (begin + len(some)),
            " (gentle)" if gentle else "", dict(site.kills), failed), flush=True)
    print("%d trials (%d before), %d that had to be known, %d told, %s; failed seeds: %s" % (
        len(seeds), len(done), musts, told, ", ".join(
            "%d %s" % (kinds[kind], kind) for kind in ("lost", "false", "wrong", "late", "error",
                                                       "panic")), " ".join(failed) or "none"))
    if kept:
        print("kept: %s" % " ".join(kept))
    return 1 if failed or kinds else 0


if __name__ == "__main__":
    sys.exit(main())
