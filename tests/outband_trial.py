# SPDX-License-Identifier: LGPL-2.1-only
"""One trial of outband_runner.py: a user, his devices and folders, and what happens
there, by a seed. Whatever the servers are killed for meanwhile: a command whose outcome
isn't known is followed by a look at what there is."""

import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time

from outband_oracle import ALL, NONE, Config, Device, Folder, Judgement, Props, \
    epoch, parse_note, random_criteria

PATIENCE = 90  # seconds until a server that was killed must answer again


class Gone(Exception):
    """The other side has gone, and it isn't known what it did."""


class Lines:
    def __init__(self, sock):
        sock.settimeout(PATIENCE)
        self.sock, self.file = sock, sock.makefile("rb")

    def send(self, octets):
        try:
            self.sock.sendall(octets)
        except OSError:
            raise Gone from None

    def read(self):
        try:
            line = self.file.readline()
        except TimeoutError:
            # whose fault it is: what of it lies unread, here or there
            port = self.sock.getsockname()[1] if self.sock.family == socket.AF_INET else 0
            print("no answer for %d s:\n%s" % (PATIENCE, subprocess.run(
                ["ss", "-tnp", "sport = :%d or dport = :%d" % (port, port)],
                stdout=subprocess.PIPE, encoding="ascii").stdout), flush=True)
            raise Gone from None
        except OSError:
            raise Gone from None
        if not line.endswith(b"\n"):
            raise Gone
        return line

    def octets(self, count):
        try:
            data = self.file.read(count)
        except OSError:
            raise Gone from None
        if len(data) != count:
            raise Gone
        return data

    def close(self):
        self.file.close()
        self.sock.close()


class Imap(Lines):
    def __init__(self, port, user):
        try:
            super().__init__(socket.create_connection(("127.0.0.1", port), PATIENCE))
        except OSError:
            raise Gone from None
        self.number = 0
        self.read()
        if self.run("LOGIN %s pass" % user)[0] != "OK":
            self.close()
            raise Gone

    def run(self, command, literal=None):
        """Returns status, text and the untagged lines with their literals."""
        self.number += 1
        tag = b"a%d " % self.number
        octets = tag + command.encode()
        if literal is not None:
            octets += b" {%d+}\r\n" % len(literal) + literal
        self.send(octets + b"\r\n")
        lines = []
        while True:
            line = self.read()
            while True:
                match = re.search(rb"\{(\d+)\}\r\n$", line)
                if match is None:
                    break
                line += self.octets(int(match.group(1)))
                line += self.read()
            if line.startswith(tag):
                status, _, text = line[len(tag):].decode().partition(" ")
                if "UNAVAILABLE" in text or "SERVERBUG" in text or "INUSE" in text:
                    raise Gone
                return status, text, lines
            if line.startswith(b"* BYE"):
                raise Gone
            lines.append(line)


class Trial:
    def __init__(self, site, seed, operations):
        self.site, self.seed, self.count = site, seed, operations
        self.rng = random.Random("trial %s" % seed)
        self.user = "u%s" % seed
        self.messages = {}
        self.log = []
        self.conn = None
        self.error = None
        self.devices, self.folders = [], []
        self.serial = 0
        self.copy = None
        self.judgements = []
        self.home = "%s/mail/%s/%s" % (site.path, self.user, site.format)
        self.burst = None
        self.by_hand = set()

    def note(self, text):
        self.log.append("%.3f %s" % (time.time(), text))

    # connections

    def insist(self, what):
        """Until it is known to be done: what can be done again"""
        start = time.time()
        while True:
            try:
                result = what()
                self.site.spared.discard(self.user)
                return result
            except Gone:
                self.disconnect()
                if time.time() > start + PATIENCE / 3:
                    # it is killed faster than it can do that
                    self.site.spared.add(self.user)
                if time.time() > start + PATIENCE:
                    raise AssertionError("a server doesn't come back") from None
                time.sleep(0.05)

    def disconnect(self):
        if self.conn is not None:
            self.conn.close()
            self.conn = None

    def plain(self):
        if self.conn is None:
            self.conn = Imap(self.site.port, self.user)
        return self.conn

    def try_plain(self, *commands):
        """What may be done or not in the end. Returns the last one's answer or None."""
        result = None
        try:
            for command in commands:
                args = command if isinstance(command, tuple) else (command,)
                result = self.plain().run(*args)
                if result[0] != "OK":
                    self.note("%s: %s %s" % (args[0], *result[:2]))
        except Gone:
            self.note("%s: connection lost" % args[0])
            self.disconnect()
            return None
        return result

    # looking

    def new_message(self):
        self.serial += 1
        token = "tk%s-%d" % (self.seed, self.serial)
        self.messages[token] = Props(token, self.rng)
        return self.messages[token]

    def look(self, folder):
        def fetch():
            conn = self.plain()
            status, text, _ = conn.run("SELECT " + folder.name)
            if status != "OK":
                raise AssertionError("SELECT %s: %s" % (folder.name, text))
            status, text, lines = conn.run(
                "UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (X-Token)])")
            assert status == "OK", text
            return lines
        rows, began = {}, time.time()
        for line in self.insist(fetch):
            text = line.decode()
            token = re.search(r"X-Token: (\S+)", text)
            if token is None:
                continue
            uid = int(re.search(r"UID (\d+)", text).group(1))
            flags = frozenset(re.search(r"FLAGS \(([^)]*)\)", text).group(1).split())
            date = re.search(r'INTERNALDATE "([^"]+)"', text).group(1)
            offset = int(date[-5:-2]) * 3600 + int(date[-5] + date[-2:]) * 60
            rows[uid] = (self.messages[token.group(1)], flags - {"\\Recent"},
                         epoch(date[:20].strip(), "%d-%b-%Y %H:%M:%S") - offset)
        folder.see(rows, time.time())
        if self.burst is not None and folder is self.folders[0]:
            # more may have come since
            folder.dirty, folder.sure = True, began

    def look_at_all(self):
        for folder in self.folders:
            if folder.dirty and not folder.deleted:
                self.look(folder)

    # what may happen

    def a_folder(self):
        return self.rng.choice([f for f in self.folders if not f.deleted])

    def some_uids(self, folder, most=3):
        uids = sorted(folder.now)
        return self.rng.sample(uids, min(len(uids), self.rng.randint(1, most)))

    def deliver(self, message, mid_kill=False):
        """By LMTP, into INBOX"""
        try:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(self.site.lmtp)
            except OSError:
                raise Gone from None
            lmtp = Lines(sock)
            try:
                lmtp.read()
                for command in (b"LHLO x", b"MAIL FROM:<s@example.org>",
                                b"RCPT TO:<%s>" % self.user.encode(), b"DATA"):
                    lmtp.send(command + b"\r\n")
                    while True:
                        line = lmtp.read()
                        if line[3:4] == b" ":
                            break
                    if line[:1] not in b"23":
                        raise Gone
                lmtp.send(message.octets() + b"\r\n.\r\n")
                if mid_kill:
                    # when it has just been written, or told, or not yet
                    time.sleep(self.site.chance.random() * 0.02)
                    self.site.kill("lmtp")
                line = lmtp.read()
                self.note("LMTP: %s" % line.decode().strip())
            finally:
                lmtp.close()
        except Gone:
            self.note("LMTP: connection lost")

    def op_lmtp(self):
        folder = self.folders[0]
        folder.begin()
        message = self.new_message()
        self.note("deliver %s" % message.token)
        self.deliver(message, not self.site.gentle and self.rng.random() < 0.1)

    def op_burst(self):
        """Deliveries while other things happen"""
        if self.burst is not None:
            return
        messages = [self.new_message() for _ in range(self.rng.randint(2, 5))]
        self.folders[0].begin()
        self.note("deliver meanwhile %s" % " ".join(m.token for m in messages))

        def run():
            for message in messages:
                self.deliver(message)
        self.burst = threading.Thread(target=run)
        self.burst.start()

    def op_reload(self):
        """Two services for a moment, during deliveries"""
        if self.site.gentle:
            return
        self.op_burst()
        self.note("reload")
        self.site.reload()

    def op_append(self):
        self.append(self.a_folder())

    def append(self, folder):
        folder.begin()
        message = self.new_message()
        flags = self.rng.choice(("", "(\\Seen) ", "(\\Flagged $x) "))
        self.note("append %s to %s %s" % (message.token, folder.name, flags))
        self.try_plain(("APPEND %s %s" % (folder.name, flags), message.octets()))

    def op_copy(self, command="COPY"):
        source, target = self.a_folder(), self.a_folder()
        uids = self.some_uids(source, 4)
        if not uids or source is target:
            return
        source.begin()
        target.begin()
        self.note("%s %s from %s to %s" % (command, uids, source.name, target.name))
        self.try_plain("SELECT " + source.name, "UID %s %s %s" % (
            command, ",".join(map(str, uids)), target.name))

    def op_move(self):
        self.op_copy("MOVE")

    def op_by_hand(self):
        """A file that nobody tells of"""
        if self.site.format != "maildir":
            return self.op_append()
        folder = self.a_folder()
        path = self.home if folder.name == "INBOX" else "%s/.%s" % (self.home, folder.name)
        if not os.path.isdir(path + "/new"):
            return None
        folder.begin()
        self.by_hand.add(folder)
        message = self.new_message()
        self.note("put %s into %s" % (message.token, folder.name))
        name = "%d.%s.byhand" % (time.time(), message.token)
        with open("%s/tmp/%s" % (path, name), "wb") as file:
            file.write(message.octets())
        if os.geteuid() == 0:
            stat = os.stat(path + "/new")
            os.chown("%s/tmp/%s" % (path, name), stat.st_uid, stat.st_gid)
        os.rename("%s/tmp/%s" % (path, name), "%s/new/%s" % (path, name))
        return None

    def random_flags(self):
        return self.rng.choice("+-") + "FLAGS (%s)" % self.rng.choice(
            ("\\Seen", "\\Seen", "\\Flagged", "\\Answered", "$x", "\\Deleted"))

    def touch(self, folder, uids, whose):
        for uid in uids:
            folder.now[uid].touches.append((time.time(), whose))

    def op_store(self):
        self.store(self.a_folder())

    def store(self, folder):
        uids, how = self.some_uids(folder), self.random_flags()
        if not uids:
            return
        folder.begin()
        self.touch(folder, uids, "other")
        self.note("store %s %s in %s" % (uids, how, folder.name))
        self.try_plain("SELECT " + folder.name,
                       "UID STORE %s %s" % (",".join(map(str, uids)), how))

    def op_doveadm(self):
        folder = self.a_folder()
        uids = self.some_uids(folder, 1)
        if not uids:
            return
        folder.begin()
        self.touch(folder, uids, "other")
        args = self.rng.choice((["flags", "add"], ["flags", "remove"], ["expunge"]))
        words = [] if args == ["expunge"] else [self.rng.choice(("\\Flagged", "\\Answered"))]
        command = [*args, "-u", self.user, *words, "mailbox", folder.name, "uid", str(uids[0])]
        self.note("doveadm %s" % " ".join(command))
        self.site.doveadm(*command)

    def op_own_store(self):
        """The device's session right after another's"""
        folder = self.a_folder()
        device = self.rng.choice(self.devices)
        uids = self.some_uids(folder, 1)
        if not uids:
            return
        uid, others = uids[0], "+FLAGS (%s)" % self.rng.choice(("\\Flagged", "$y"))
        own = self.rng.choice(("+FLAGS (\\Answered)", "-FLAGS (\\Answered)", self.random_flags()))
        folder.begin()
        conn = None

        def stores():
            if self.rng.random() < 0.8:
                self.touch(folder, uids, "other")
                self.note("store %d %s in %s" % (uid, others, folder.name))
                self.try_plain("SELECT " + folder.name, "UID STORE %d %s" % (uid, others))
                self.look(folder)
                folder.begin()
            if uid in folder.now:
                self.touch(folder, uids, "own")
                self.note("%s stores %d %s in %s" % (device.name, uid, own, folder.name))
                conn.run("UID STORE %d %s" % (uid, own))
        try:
            conn = Imap(self.site.port, "%s#%s" % (self.user, device.name))
            conn.run("SELECT " + folder.name)
            if self.rng.random() < 0.3:
                stores()
            else:
                # no look comes between them
                with self.site.workers_halt():
                    stores()
            conn.run("LOGOUT")
        except Gone:
            self.note("connection of %s lost" % device.name)
        if conn is not None:
            conn.close()

    def op_expunge(self):
        folder = self.a_folder()
        uids = self.some_uids(folder, 2)
        if not uids:
            return
        folder.begin()
        self.touch(folder, uids, "other")
        self.note("delete %s in %s" % (uids, folder.name))
        self.try_plain("SELECT " + folder.name,
                       "UID STORE %s +FLAGS (\\Deleted)" % ",".join(map(str, uids)))
        self.look(folder)
        folder.begin()
        deleted = [uid for uid in uids if uid in folder.now]
        if deleted:
            self.note("expunge %s in %s" % (deleted, folder.name))
            self.try_plain("UID EXPUNGE %s" % ",".join(map(str, deleted)))

    def op_rename(self):
        folder = self.a_folder()
        if folder is self.folders[0]:
            return
        old, self.serial = folder.name, self.serial + 1
        new = "F%d" % self.serial
        self.note("rename %s to %s" % (old, new))
        folder.names[new] = began = time.time()
        folder.events += 2

        def rename():
            status, text, _ = self.plain().run("RENAME %s %s" % (old, new))
            if status != "OK":
                # it may have been done before the connection was lost
                assert self.plain().run("SELECT " + new)[0] == "OK", text
        self.insist(rename)
        folder.name = new
        folder.list(began, new)

    def op_create(self):
        if len(self.folders) >= 4:
            return
        self.serial += 1
        folder = Folder("F%d" % self.serial, time.time())
        folder.events = 1
        self.create(folder)
        self.folders.append(folder)

    def create(self, folder):
        self.note("create %s" % folder.name)

        def create():
            status, text, _ = self.plain().run("CREATE " + folder.name)
            assert status == "OK" or "ALREADYEXISTS" in text, text
        self.insist(create)

    def op_delete(self):
        """Often there is another one by that name at once."""
        folder = self.a_folder()
        if folder is self.folders[0]:
            return
        if folder is self.folders[1]:
            self.copy = None
        folder.events += 1
        self.note("delete %s" % folder.name)
        began = time.time()

        def delete():
            status, text, _ = self.plain().run("DELETE " + folder.name)
            assert status == "OK" or "NONEXISTENT" in text, text
        self.insist(delete)
        self.by_hand.discard(folder)
        folder.delete(began, time.time())
        for device in self.devices:
            config = device.config().copy()
            if folder in config.views or folder in config.notify:
                # they go with it
                config.views.pop(folder, None)
                config.notify.pop(folder, None)
                config.judges = False
                device.set(config, began, time.time())
        if self.rng.random() < 0.6:
            folder.events += 1
            folder.recreate(time.time())
            self.create(folder)
            if self.rng.random() < 0.5:
                self.append(folder)

    def op_restore(self):
        """A folder as it was some time ago, and just as many deliveries"""
        if self.site.format == "mdbox" or len(self.folders) < 2:
            return None
        folder = self.folders[1]
        if folder.deleted:
            return None
        path = "%s/.%s" % (self.home, folder.name) if self.site.format == "maildir" else \
            "%s/mailboxes/%s" % (self.home, folder.name)
        kept = "%s/kept-%s" % (self.site.path, self.user)
        if self.copy is None:
            self.disconnect()
            self.note("keep a copy of %s" % folder.name)
            self.look(folder)
            shutil.rmtree(kept, ignore_errors=True)
            if os.path.isdir(path):
                self.site.copy(path, kept)
                self.copy = (kept, len(folder.lives))
            return None
        if folder.dirty:
            self.look(folder)
        came = len(folder.lives) - self.copy[1]
        self.copy = None
        if came == 0 or self.site.gentle or self.rng.random() < 0.3:
            return self.restore(folder, path, kept, came)
        # all of it between two looks
        with self.site.without_service():
            return self.restore(folder, path, kept, came)

    def restore(self, folder, path, kept, came):
        folder.begin()
        self.disconnect()
        self.note("restore %s, from which %d had come" % (folder.name, came))
        folder.restored.append(time.time())
        shutil.rmtree(kept + "-old", ignore_errors=True)
        os.rename(path, kept + "-old")
        os.rename(kept, path)
        self.look(folder)
        for _ in range(came):
            folder.begin()
            message = self.new_message()
            self.note("append %s to %s" % (message.token, folder.name))
            self.try_plain(("APPEND %s" % folder.name, message.octets()))
            self.look(folder)
        # until its modseq is above what it was before, too
        for _ in range(self.rng.randint(0, 12) if came > 0 else 0):
            self.store(folder)
            self.look(folder)

    # devices

    def as_device(self, device, *commands):
        """Several commands of a device that must be done in the end"""
        def run():
            conn = Imap(self.site.port, "%s#%s" % (self.user, device.name))
            try:
                for command in commands:
                    status, text, _ = conn.run(command)
                    assert status == "OK", (command, text)
                try:
                    conn.run("LOGOUT")
                except Gone:
                    pass
            finally:
                conn.close()
        self.note("%s: %s" % (device.name, "; ".join(commands)))
        self.insist(run)

    def change(self, device, command, config):
        t0 = time.time()
        try:
            self.as_device(device, *command) if isinstance(command, list) else \
                self.as_device(device, command)
        finally:
            device.set(config, t0, time.time())

    def op_filter_killed(self):
        """Killed in the middle of a change: the device's session, or the service"""
        if self.site.gentle:
            return
        who = self.rng.choice(("imap", "pimap-outband"))
        wait = self.site.chance.random() * 0.1
        self.note("kill %s in %.3f s" % (who, wait))
        timer = threading.Timer(wait, self.site.kill, (who,))
        timer.start()
        self.op_filter()
        timer.join()

    def op_filter_unheard(self):
        """The service isn't there when something is changed."""
        if self.site.gentle:
            return
        with self.site.without_service():
            self.note("no service")
            self.rng.choice((self.op_filter, self.op_off_and_on))()
            if self.rng.random() < 0.5:
                self.op_lmtp()
        self.note("the service is back")

    def set_filter(self, device, kind, folder, criteria):
        """kind: V or N"""
        config = device.config().copy()
        filters = config.views if kind == "V" else config.notify
        if folder is None:
            # it replaces those of folders
            filters.clear()
        filters[folder] = criteria
        where = "ALL" if folder is None else folder.name
        if criteria in (ALL, NONE):
            name, commands = "ALL" if criteria is ALL else "NONE", []
        else:
            # one that is in use is redefined
            name = "%s%s-%s" % (kind, device.name, "all" if folder is None else
                                "f%d" % self.folders.index(folder))
            commands = ["XFILTER SET %s NIL (%s)" % (name, criteria)]
        self.change(device, commands + [
            "XSETPIMAPPREF PIMAP_XFILTER (%s %s %s)" % (where, kind, name)], config)

    def op_filter(self):
        device = self.rng.choice(self.devices)
        folder = self.rng.choice([None, None, self.a_folder()])
        kind = self.rng.choice("VN")
        criteria = NONE if kind == "N" and self.rng.random() < 0.2 else random_criteria(self.rng)
        self.set_filter(device, kind, folder, criteria)

    def op_off_and_on(self):
        """Its channel or its notification filter, its peer being away or not"""
        device = self.rng.choice(self.devices)
        if self.rng.random() < 0.5:
            self.site.away(device, True)
            self.note("%s is away" % device.name)
            self.op_lmtp()
            self.look_at_all()
        try:
            self.off_and_on(device)
        finally:
            self.site.away(device, False)

    def off_and_on(self, device):
        if self.rng.random() < 0.5:
            notify = device.config().notify.get(None, NONE)
            self.set_filter(device, "N", None, NONE)
            if self.rng.random() < 0.7:
                self.op_lmtp()
                self.look_at_all()
            self.set_filter(device, "N", None, notify)
            return
        for channel in (False, True):
            config = device.config().copy()
            config.channel = channel
            self.change(device, "XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL " +
                        (self.site.channel if channel else "NONE"), config)
            if not channel and self.rng.random() < 0.7:
                self.op_lmtp()
                self.look_at_all()

    def op_event(self):
        device = self.rng.choice(self.devices)
        config = device.config().copy()
        config.event = self.rng.choice(("NEW", "ALL")) if device.extended else "NEW"
        self.change(device, "XSETPIMAPPREF PIMAP_EVENT_FILTER " + config.event, config)

    def op_wait(self):
        time.sleep(self.rng.random() * 0.3)

    OPERATIONS = {
        op_lmtp: 10, op_burst: 3, op_append: 5, op_copy: 3, op_move: 2, op_by_hand: 4,
        op_store: 12, op_doveadm: 0.3, op_own_store: 3, op_expunge: 4, op_rename: 0.7,
        op_create: 0.5, op_delete: 0.5, op_restore: 4, op_filter: 1.2, op_off_and_on: 1.2,
        op_event: 0.3, op_filter_killed: 0.3, op_filter_unheard: 0.1, op_reload: 0.1, op_wait: 6,
    }

    # all of it

    def begin(self):
        start = time.time()
        self.folders = [Folder("INBOX", start), Folder("Work", start)]
        self.insist(lambda: (self.plain().run("CREATE Work"), self.plain().run("SELECT INBOX")))
        for _ in range(self.rng.randint(0, 6)):
            self.op_append()
            self.look_at_all()
        for number in range(self.rng.randint(1, 3)):
            device = Device(self.user, "P%d" % (number + 1), self.rng.random() < 0.8)
            as_text = "EXTENDED" if device.extended else "EMN"
            # whatever is set, if the channel can't do without
            device.extended |= self.site.channel == "UDP"
            self.devices.append(device)
            config = Config("ALL" if device.extended and self.rng.random() < 0.5 else "NEW")
            device.configs = [config]
            self.as_device(device, "XSETPIMAPPREF PIMAP_OUTBAND_FORMAT %s" % as_text,
                "XSETPIMAPPREF PIMAP_EVENT_FILTER " + config.event,
                "XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS %s-%s@example.com" % (
                    self.user, device.name))
            self.site.introduce(device)
            if self.rng.random() < 0.5:
                self.set_filter(device, "V", None, random_criteria(self.rng))
            steps = [lambda d=device: self.set_filter(d, "N", None, random_criteria(self.rng)),
                     lambda d=device: self.turn_on(d)]
            self.rng.shuffle(steps)
            for step in steps:
                step()

    def turn_on(self, device):
        config = device.config().copy()
        config.channel = True
        self.change(device, "XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL " + self.site.channel,
                    config)

    def run(self):
        try:
            self.begin()
            names = list(self.OPERATIONS)
            weights = list(self.OPERATIONS.values())
            # few change their filters in the middle
            if self.rng.random() < 0.6:
                for op in (Trial.op_filter, Trial.op_off_and_on, Trial.op_event,
                           Trial.op_filter_killed, Trial.op_filter_unheard):
                    weights[names.index(op)] = 0
            if self.rng.random() < 0.7:
                weights[names.index(Trial.op_restore)] = 0
            for _ in range(self.count):
                op = self.rng.choices(names, weights)[0]
                op(self)
                if self.burst is not None and self.rng.random() < 0.4:
                    self.burst.join()
                    self.burst = None
                # what is put there by hand isn't found by us, mostly
                if op is not Trial.op_by_hand or self.rng.random() < 0.2:
                    self.look_at_all()
            if self.burst is not None:
                self.burst.join()
                self.burst = None
            for folder in list(self.by_hand) if self.site.gentle else ():
                # no scan: the next delivery finds them
                self.append(folder)
                self.look(folder)
            if not self.site.gentle and self.rng.random() < 0.5:
                # between commit and hint, and none comes after it
                folder, message = self.folders[0], self.new_message()
                folder.begin()
                self.note("deliver the last one, %s" % message.token)
                self.deliver(message, True)
        except Exception as error:  # pylint: disable=broad-except
            import traceback
            self.error = "".join(traceback.format_exception(error))
        self.note("end of the operations")

    def judge(self, **options):
        for folder in self.folders:
            if not folder.deleted:
                if folder.dirty is False:
                    folder.begin()
                self.look(folder)
        self.disconnect()
        end = time.time()
        for device in self.devices:
            device.notes = [parse_note(*note) for note in self.site.taken(device)]
            self.judgements.append(Judgement(
                device, self.folders, end, joined=self.site.joined(device),
                rebuilt=self.site.rebuilt(self.user), **options))
        return self.judgements
