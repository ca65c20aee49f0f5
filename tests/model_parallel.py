# SPDX-License-Identifier: LGPL-2.1-only
"""Writers, deliveries and devices in processes of their own, at the same time.

Each device's client checks all that it is told by what it knows (imap_client),
devices whose filter looks at no flags check that no octet of a hidden message
comes, and everything is compared when all are at rest."""

import multiprocessing
import os
import random
import sys
import time
import traceback

import model_mail as mail
from imap_client import ModelError
from model_mail import TOKEN, numbers, some
from model_truth import ModelClient, deliver
from model_world import World

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
    """A device"""

    def work(self, rng, journal):
        name = "D%d" % (self.number - WRITERS)
        client = ModelClient(self.world.port, "%s#%s" % (self.world.user, name),
                             journal, name)
        folder, operations = None, sorted(self.COMMANDS)
        for _ in range(self.options.operations):
            if folder is None or rng.random() < 0.06:
                folder = rng.choice(mail.FOLDERS)
                client.ok("SELECT " + folder)
                static = self.world.criteria(name, folder).static
                client.fetch_all()
            command = rng.choice(operations)
            getattr(self, command)(client, rng, self.COMMANDS[command])
            for token in client.take_tokens():
                if static is not None and not static(TOKEN.match(token)):
                    raise ModelError("%s got octets of %s" % (name, token))
        client.logout()

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
        if max(told["UNSEEN"], told["RECENT"]) > told["MESSAGES"] or \
                (told["SIZE"] > 0) != (told["MESSAGES"] > 0):
            raise ModelError(line)

    def _numbers(self, client, rng, most=3):
        return numbers(some(rng, range(1, len(client.messages) + 1), most))

    def fetch(self, client, rng, items):
        if client.messages:
            client.command("FETCH %s (%s)" % (self._numbers(client, rng), rng.choice(items)))

    def store(self, client, rng, how):
        if client.messages:
            client.command("STORE %s %s (%s)" % (self._numbers(client, rng), rng.choice(how),
                                                 rng.choice(mail.FLAGS)))

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


def run(options):
    """Returns whether anything failed."""
    world = World(options.port, "%s-%d" % (options.user, os.getpid()), options.seed,
                  devices=options.devices, lmtp=options.lmtp, doveadm=options.doveadm)
    processes = [Writer(world, options, n) for n in range(WRITERS)] + \
        [Reader(world, options, WRITERS + n) for n in range(options.devices)]
    # one more filter without flags than there would be: octets count
    static = random.Random(options.seed).choice(mail.STATIC)
    world.devices[-1].client.ok("XFILTER SET F%d NIL (%s)" % (
        len(world.devices) - 1, static.text))
    world.filters["F%d" % (len(world.devices) - 1)] = static
    for device in world.devices:
        device.client.logout()  # Dovecot counts the user's connections
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = any(process.failed.value for process in processes)
    try:
        for folder in world.folders:
            folder.observe()
        for device in world.devices:
            device.connect()
        world.finish()
    except ModelError as error:
        print("model: seed %s, at rest: %s" % (options.seed, error), file=sys.stderr)
        failed = True
    finally:
        world.close()
    return failed
