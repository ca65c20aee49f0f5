# SPDX-License-Identifier: LGPL-2.1-only
"""Random operations against a model of the view.

model.py PORT USER SEED OPERATIONS [--parallel]

One folder, one plain session, device sessions with different filters. The
model computes from the plain session what each device must see (R-1.4). With
--parallel, plain writers and devices run at the same time, and what a device
sees is compared when all are at rest.
"""

import random
import sys
import threading

from imap_client import Client, ModelError

FILTERS = ["SUBJECT yes", "UNSEEN", "NOT FLAGGED UNDELETED", "KEYWORD $x",
           "OR FLAGGED SUBJECT yes", "BODY needle"]
FLAGS = ["\\Seen", "\\Flagged", "\\Deleted", "\\Answered", "$x"]


def message(rng):
    return (b"From: a@example.org\r\nSubject: %s\r\n\r\n%s\r\n" %
            (rng.choice([b"yes", b"no"]), rng.choice([b"needle", b"hay"])))


class Device:
    def __init__(self, port, user, number, criteria):
        self.client = Client(port, "%s#D%d" % (user, number))
        self.client.ok("XFILTER SET F%d NIL (%s)" % (number, criteria))
        self.client.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F%d)" % number)
        self.criteria = criteria
        self.select()

    def select(self):
        text = str(self.client.ok("SELECT INBOX").untagged)
        self.own = set()
        self.next_uid = int(text.split("[UIDNEXT ")[1].split("]")[0])
        self.client.fetch_all()
        self.visible = list(self.client.uids)

    def sync(self, plain, next_uid):
        """NOOP, and compare with what R-1.4 says."""
        self.client.ok("NOOP")
        plain.ok("NOOP")
        matching = plain.search(self.criteria)
        exist = set(plain.search("ALL"))
        expected = [uid for uid in self.visible
                    if uid in exist and (uid in matching or uid in self.own)]
        expected += [uid for uid in matching if uid >= self.next_uid]
        self.client.fetch_all()
        if self.client.uids != expected:
            raise ModelError("%s: sees %s, should %s" %
                             (self.criteria, self.client.uids, expected))
        self.visible = expected
        self.next_uid = next_uid


def store(rng, client, uids):
    if uids:
        chosen = rng.sample(uids, rng.randint(1, min(5, len(uids))))
        client.ok("UID STORE %s %sFLAGS (%s)" % (
            ",".join(map(str, sorted(chosen))), rng.choice("+-"),
            rng.choice(FLAGS)))
        return chosen
    return []


def turn(rng, plain, devices):
    device = rng.choice(devices)
    action = rng.randrange(10)
    if action < 3:
        plain.append("INBOX", [message(rng) for _ in range(rng.randint(1, 4))])
    elif action < 5:
        plain.ok("NOOP")
        store(rng, plain, plain.search("ALL"))
    elif action == 5:
        plain.ok("EXPUNGE")
    elif action == 6:
        device.own.update(store(rng, device.client, list(device.client.uids)))
    elif action == 7:
        device.client.ok("EXPUNGE")
        device.own.clear()
    elif action == 8:
        device.select()
    return device


def check_at_rest(plain, devices):
    plain.ok("NOOP")
    for device in devices:
        device.select()
        expected = plain.search(device.criteria)
        if device.visible != expected:
            raise ModelError("%s at rest: sees %s, should %s" %
                             (device.criteria, device.visible, expected))
        count = device.client.status("INBOX", "MESSAGES")["MESSAGES"]
        if count != len(expected):
            raise ModelError("STATUS %d, should be %d" % (count, len(expected)))
        plain_flags = {}
        plain.fetch_all()
        for uid in expected:
            plain_flags[uid] = plain.flags[uid] - {"\\Recent"}
            if device.client.flags[uid] - {"\\Recent"} != plain_flags[uid]:
                raise ModelError("flags of %d: %s, should be %s" % (
                    uid, device.client.flags[uid], plain_flags[uid]))


def alternate(port, user, rng, operations):
    plain = Client(port, user)
    plain.append("INBOX", [message(rng) for _ in range(20)])
    plain.ok("SELECT INBOX")
    devices = [Device(port, user, n, rng.choice(FILTERS)) for n in range(3)]
    for operation in range(operations):
        turn(rng, plain, devices)
        for device in devices:
            next_uid = plain.status("INBOX", "UIDNEXT")["UIDNEXT"]
            if rng.randrange(2):
                device.sync(plain, next_uid)
        if operation % 20 == 19:
            check_at_rest(plain, devices)
    check_at_rest(plain, devices)


def parallel(port, user, seed, operations):
    rng = random.Random(seed)
    plain = Client(port, user)
    plain.append("INBOX", [message(rng) for _ in range(20)])
    plain.ok("SELECT INBOX")
    devices = [Device(port, user, n, rng.choice(FILTERS)) for n in range(3)]
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    def writer(number):
        rng = random.Random("%s writer %d" % (seed, number))
        client = Client(port, user)
        client.ok("SELECT INBOX")
        for _ in range(operations):
            action = rng.randrange(4)
            if action == 0:
                client.append("INBOX", [message(rng)])
            elif action < 3:
                store(rng, client, client.search("ALL"))
            else:
                client.ok("EXPUNGE")
        client.logout()

    def reader(device):
        rng = random.Random("%s %s" % (seed, device.criteria))
        for _ in range(operations):
            action = rng.randrange(8)
            if action == 0:
                device.select()
            elif action == 1:
                store(rng, device.client, [u for u in device.client.uids if u])
            elif action == 2:
                device.client.ok("EXPUNGE")
            else:
                device.client.ok("NOOP")
                device.client.command("FETCH 1:* (UID FLAGS)")

    threads = [threading.Thread(target=run, args=(lambda n=n: writer(n),))
               for n in range(2)]
    threads += [threading.Thread(target=run, args=(lambda d=d: reader(d),))
                for d in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    check_at_rest(plain, devices)


def main():
    port, user, seed, operations = sys.argv[1:5]
    try:
        if "--parallel" in sys.argv:
            parallel(int(port), user, seed, int(operations))
        else:
            alternate(int(port), user, random.Random(seed), int(operations))
    except BaseException:
        print("model: seed %s" % seed, file=sys.stderr)
        raise


main()
