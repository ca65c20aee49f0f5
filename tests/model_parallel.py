# SPDX-License-Identifier: LGPL-2.1-only
"""Writers, deliveries and devices in processes of their own, at the same time.

Each device's client checks all that it is told by what it knows (imap_client),
devices whose filter looks at no flags check that no octet of a hidden message
comes, and everything is compared when all are at rest.

On Maildir Dovecot itself may end a session of any kind by signal 11, about once in
a hundred long runs on a busy machine: a save that finds in dovecot-uidlist what others
have just expunged calls maildir_sync_set_racing() without a sync (2.3.19.1, 2.4.1)."""

import multiprocessing
import os
import pickle
import random
import sys
import tempfile
import time
import traceback

import model_mail as mail
from imap_client import ModelError
from model_evidence import plain_is_stale
from model_mail import TOKEN, numbers, some
from model_resync import KEPT
from model_truth import ModelClient, deliver
from model_world import World
from modseq_client import resync_parameter

WRITERS = 2
NUMBERS = 100000 // 16  # of messages, for each process


class Process(multiprocessing.Process):
    def __init__(self, world, options, number):
        super().__init__()
        self.world, self.options, self.number = world, options, number
        self.failed = multiprocessing.Value("b", 0)

    def run(self):
        rng = random.Random("%s process %d" % (self.options.seed, self.number))
        journal = []
        try:
            self.work(rng, journal)
        except BaseException as error:
            self.failed.value = 1
            print("model: seed %s, process %d: %s: %s" % (
                self.options.seed, self.number, type(error).__name__, error), file=sys.stderr)
            if not isinstance(error, ModelError):
                traceback.print_exc()
            for line in journal[-25:]:
                print("  " + line, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def messages(self, rng, count, recent=False):
        first = self.number * NUMBERS
        for _ in range(count):
            self.made = getattr(self, "made", first) + 1
            yield mail.Message(self.made, rng, recent)


class Writer(Process):
    """A plain mail program, and a delivery now and then"""

    def work(self, rng, journal):
        client = ModelClient(self.world.port, self.world.user, journal, "plain")
        for _ in range(self.options.operations):
            if not client.selected or rng.random() < 0.05:
                client.ok("SELECT " + rng.choice(mail.FOLDERS))
                client.fetch_all()
            action = rng.random()
            uids = some(rng, [uid for uid in client.uids if uid is not None]) or [1]
            if action < 0.2 and len(client.messages) < 45:
                self.world._append(client, rng.choice(self.world.folders),
                                   list(self.messages(rng, rng.randint(1, 3))))
            elif action < 0.25 and self.options.lmtp:
                message, = self.messages(rng, 1, recent=True)
                deliver(self.options.lmtp, self.world.user, message.octets())
            elif action < 0.8:
                client.command("UID STORE %s %sFLAGS (%s)" % (
                    numbers(uids), rng.choice(("+", "-", "")), rng.choice(mail.FLAGS)))
            elif action < 0.9:
                # never back: see Operations._comes_back()
                client.command("UID %s %s Work" % (
                    rng.choice(("COPY", "MOVE", "MOVE")), numbers(uids[:2])))
            else:
                client.command("UID STORE %s +FLAGS (\\Deleted)" % numbers(uids))
                client.ok("EXPUNGE")
        client.logout()


class Reader(Process):
    """A device, or a plain session. noted: a file for what its client notes of
    the folders that it leaves"""

    def __init__(self, world, options, number):
        super().__init__(world, options, number)
        self.device = world.devices[number - WRITERS]
        self.noted = tempfile.TemporaryFile()
        self.caches = {}  # folder: the last few

    def work(self, rng, journal):
        client, operations = self.connect(rng, journal), sorted(self.COMMANDS)
        for _ in range(self.options.operations):
            if rng.random() < 0.02:
                self.leave(client)
                client.logout()
                client = self.connect(rng, journal)
            if self.folder is None or rng.random() < 0.06:
                self.leave(client)
                self.select(client, rng)
                static = self.world.criteria(self.device.name, self.folder).static
            command = rng.choice(operations)
            getattr(self, command)(client, rng, self.COMMANDS[command])
            for token in client.take_tokens():
                if static is not None and not static(TOKEN.match(token)):
                    raise ModelError("%s got octets of %s" % (self.device.name, token))
        self.leave(client)
        client.logout()
        pickle.dump(self.caches, self.noted)
        self.noted.flush()

    def connect(self, rng, journal):
        self.folder = None
        client = ModelClient(self.world.port, self.device.login, journal, self.device.name)
        client.beside_others = True
        if self.device.may_qresync() and rng.random() < 0.7:
            client.ok("ENABLE " + rng.choice(("QRESYNC", "QRESYNC", "CONDSTORE")))
        return client

    def leave(self, client):
        # see ResyncDevice.keep_cache()
        if self.folder is not None and client.modseq is not None and \
                client.qresync and len(client.flags) == len(client.messages):
            caches = self.caches.setdefault(self.folder, [])
            caches.append(client.cache())
            del caches[:-KEPT]

    def select(self, client, rng):
        self.folder = rng.choice(mail.FOLDERS)
        caches = self.caches.get(self.folder)
        if not caches or not client.qresync or rng.random() < 0.2:
            client.ok("SELECT " + self.folder)
            client.fetch_all()
            return
        cache = rng.choice(caches)
        result = client.ok("SELECT " + self.folder + resync_parameter(cache))
        if self.device.plain:  # see ResyncDevice.check_cache()
            client.fetch_all()
        else:
            client.learn_resynced(cache, result)

    def check_noted(self):
        """At rest: what it has noted while others wrote was true"""
        self.noted.seek(0)
        self.device.noted_beside_others = True
        for name, caches in pickle.load(self.noted).items():
            folder, = [f for f in self.world.folders if f.name == name]
            for cache in caches:
                self.device.caches[name] = [cache]
                self.device.select(folder)

    COMMANDS = {
        "command": ("NOOP", "NOOP", "CHECK", "EXPUNGE", "UID SEARCH UNSEEN",
                    "UID SEARCH RETURN (COUNT MIN MAX ALL) UNDELETED",
                    "UID SORT (SUBJECT) US-ASCII ALL", "UID FETCH 1:* (FLAGS)",
                    "UID THREAD REFERENCES US-ASCII ALL", "NOOP"),
        "status": "STATUS %s (MESSAGES UNSEEN RECENT UIDNEXT SIZE)",
        "fetch": ("ENVELOPE FLAGS UID", "UID BODY[]", "FLAGS UID RFC822.SIZE"),
        "store": ("+FLAGS", "-FLAGS", "FLAGS", "+FLAGS.SILENT"),
        "uid_store": ("+FLAGS", "-FLAGS"), "copy": ("COPY", "MOVE"),
        "idle": (), "append": (),
    }

    def command(self, client, rng, commands):
        client.command(rng.choice(commands))

    def status(self, client, rng, command):
        line, = client.ok(command % rng.choice(mail.FOLDERS)).lines("* STATUS")
        words = line[line.rindex("(") + 1:-1].split()
        told = dict(zip(words[::2], map(int, words[1::2])))
        # of a message that is gone, but not yet told so, no size is known
        if max(told["UNSEEN"], told["RECENT"]) > told["MESSAGES"] or \
                (told["SIZE"] > 0 and told["MESSAGES"] == 0):
            raise ModelError(line)

    def _numbers(self, client, rng, most=3):
        return numbers(some(rng, range(1, len(client.messages) + 1), most))

    def fetch(self, client, rng, items):
        if client.messages:
            client.command("FETCH %s (%s)" % (self._numbers(client, rng), rng.choice(items)))

    def store(self, client, rng, how):
        if not client.messages:
            return
        chosen = some(rng, range(1, len(client.messages) + 1), 3)
        how, flag = rng.choice(how), rng.choice(mail.FLAGS)
        if how == "+FLAGS.SILENT":
            for number in chosen:  # it isn't told of that
                if client.messages[number - 1].flags is not None:
                    client.messages[number - 1].flags.add(flag)
        client.command("STORE %s %s (%s)" % (numbers(chosen), how, flag))

    def uid_store(self, client, rng, how):
        """Any UIDs, hidden ones too"""
        first = rng.randint(1, 200)
        client.command("UID STORE %d:%d %s (%s)" % (first, first + 4, rng.choice(how),
                                                    rng.choice(mail.FLAGS)))

    def copy(self, client, rng, how):
        if client.messages and rng.random() < 0.5:
            client.command("%s %s Work" % (rng.choice(how), self._numbers(client, rng, 2)))

    def append(self, client, rng, _):
        self.world._append(client, rng.choice(self.world.folders),
                           list(self.messages(rng, 1)))

    def idle(self, client, rng, _):
        client.idle()
        time.sleep(rng.random() * 0.05)
        client.done()


def compare(world, readers):
    """At rest: what the readers have noted, and what is to be seen"""
    for tries in (1, 0):
        for folder in world.folders:
            folder.observe()
            # the last message may have come and gone
            folder.next_uid = world.other.status(folder.name)["UIDNEXT"]
        try:
            for reader in readers:
                reader.check_noted()
            world.finish()
            return
        except ModelError as error:
            if not tries or not plain_is_stale(world):
                raise
            print("model: again, as a plain session knew less than a new process: %s" %
                  error, file=sys.stderr)


def run(options):
    """Returns whether anything failed."""
    world = World(options.port, "%s-%d" % (options.user, os.getpid()), options.seed,
                  devices=options.devices, qresync=options.qresync, lmtp=options.lmtp,
                  doveadm=options.doveadm, plain=options.plain)
    readers = [Reader(world, options, WRITERS + n) for n in range(options.devices)]
    processes = [Writer(world, options, n) for n in range(WRITERS)] + readers
    # one more filter without flags than there would be: octets count
    static = random.Random(options.seed).choice(mail.STATIC)
    for last in sorted(world.filters)[-1:]:
        world.devices[0].client.ok("XFILTER SET %s NIL (%s)" % (last, static.text))
        world.filters[last] = static
    for device in world.devices:
        device.client.logout()  # Dovecot counts the user's connections
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = any(process.failed.value for process in processes)
    try:
        for device in world.devices:
            device.FEATURES = ("ENABLE QRESYNC",)
            device.connect()
        compare(world, [] if failed else readers)
    except ModelError as error:
        print("model: seed %s, at rest: %s" % (options.seed, error), file=sys.stderr)
        world.gather_evidence()
        for line in world.evidence:
            print("  " + line, file=sys.stderr)
        failed = True
    finally:
        world.close()
    return failed
