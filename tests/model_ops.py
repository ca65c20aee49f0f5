# SPDX-License-Identifier: LGPL-2.1-only
"""The model test's operations. Each has random choices of its own, so that a list
of operations stays the same test when some of it is left out. Each says what it
does to the folders; then the plain sessions look, and the device is compared
with R-1.4."""

import re
import subprocess

import model_mail as mail
from imap_client import flat
from model_mail import ALL, FLAGS, apply_flags, numbers, some
from model_resync import ResyncOperations
from model_truth import Expected, deliver, found_by


class Operations(ResyncOperations):
    """Of a World"""

    # targets

    def _flags(self, rng, folder, device=None):
        """Mostly those that the filters in use look at"""
        used = [d.criteria.flags for d in self.devices
                if d.folder is folder and d.criteria.flags and device in (None, d)]
        names = rng.choice(used) if used and rng.random() < 0.65 else FLAGS
        return rng.sample(names, 1 if rng.random() < 0.8 or len(names) < 2 else 2)

    def _deleted(self, device, uids=None):
        """UIDs of messages that its EXPUNGE must and may remove"""
        must, may = device.possible(lambda uid, flags: "\\Deleted" in flags)
        must = {uid for uid in must if device.state[uid] not in ("going", "maybe")}
        if uids is not None:
            must, may = must & set(uids), may & set(uids)
        return must, may

    # of plain mail programs

    def op_plain_store(self, rng):
        folder = rng.choice(self.folders)
        uids = some(rng, folder.uids)
        if not uids:
            return
        how, names = rng.choice(("+", "+", "-", "-", "")), self._flags(rng, folder)
        folder.client.ok("UID STORE %s %sFLAGS (%s)" % (
            numbers(uids), how, " ".join(names)))
        expected = Expected()
        for uid in uids:
            expected.flags[uid] = [apply_flags(folder.flags[uid], how, names)]
        self.settle({folder: expected})

    def op_plain_append(self, rng, count=None):
        folder = rng.choice(self.folders)
        if len(folder.uids) > 45:
            self.op_plain_expunge(rng, folder)
            return
        messages = [self._message(rng) for _ in range(count or rng.randint(1, 4))]
        flags = self._flags(rng, folder) if rng.random() < 0.3 else ()
        self._append(self.other, folder, messages, flags)
        self._came(folder, messages, flags)

    def _came(self, folder, messages, flags=()):
        expected = Expected()
        expected.new = [m.token.encode() for m in messages]
        expected.new_flags = frozenset(flags)
        self.settle({folder: expected})

    def op_plain_expunge(self, rng, folder=None):
        """By EXPUNGE, or of some that are made deleted for it"""
        if folder is None:
            folder = rng.choice(self.folders)
        expected = Expected()
        if rng.random() < 0.4 or len(folder.uids) > 45:
            uids = some(rng, folder.uids, 3 if len(folder.uids) < 40 else 25)
            if not uids:
                return
            # not pipelined: Dovecot 2.3's own view may say OK and expunge nothing
            folder.client.ok("UID STORE %s +FLAGS.SILENT (\\Deleted)" % numbers(uids))
            folder.client.ok("UID EXPUNGE " + numbers(uids))
            expected.gone = set(uids)
        else:
            folder.client.ok("EXPUNGE")
            expected.gone = {u for u in folder.uids if "\\Deleted" in folder.flags[u]}
        self.settle({folder: expected})

    def op_plain_copy(self, rng, move=False):
        source, target = rng.sample(self.folders, 2)
        uids = some(rng, source.uids, 3)
        if not uids or len(target.uids) > 45 or self._comes_back(
                source, target, uids, move):
            return
        into, out = Expected(), Expected()
        into.new = [source.token[uid].group(0) for uid in uids]
        source.client.ok("UID %s %s %s" % ("MOVE" if move else "COPY",
                                           numbers(uids), target.name))
        out.gone = set(uids) if move else set()
        self.settle({source: out, target: into})

    def _comes_back(self, source, target, uids, move):
        """Maildir's COPY and MOVE give the file the message's GUID as its name, if
        no file there has it. A message whose name was there before, also as a copy's,
        gets two UIDs, the second a little later, and a warning, or comes a little
        later: Dovecot's own fault."""
        tokens = [source.token[uid].group(0) for uid in uids]
        if not move:
            return not target.lost.isdisjoint(tokens)
        if source is target:
            names = [match.group(0) for match in source.token.values() if match]
            return any(names.count(token) > 1 for token in tokens)
        return not target.had.isdisjoint(tokens)

    def op_plain_move(self, rng):
        self.op_plain_copy(rng, move=True)

    def op_lmtp(self, rng):
        if self.lmtp_socket is None:
            return
        message = self._message(rng, recent=True)
        deliver(self.lmtp_socket, self.user, message.octets())
        self._came(self.folders[0], [message])

    def op_rest(self, rng):
        self.check_plain()

    def op_doveadm(self, rng):
        """The administrator does what others do too."""
        if self.doveadm_path is None:
            return
        choice = rng.randrange(3)
        if choice == 0:
            name, criteria = rng.choice(sorted(self.filters)), rng.choice(mail.CRITERIA)
            self._doveadm("filter", "set", name, criteria.text)
            self.filters[name] = criteria
        elif choice == 1:
            self._prefer(None, rng.choice(self.device_sessions()).name, rng.choice(mail.FOLDERS),
                         rng.choice(sorted(self.filters) + ["ALL"]), doveadm=True)
        else:
            folder, names = rng.choice(self.folders), self._flags(rng, self.folders[0])
            subprocess.run([self.doveadm_path, "flags", "add", "-u", self.user,
                            " ".join(names), "mailbox", folder.name, "1:*"], check=True)
            expected = Expected()
            for uid in folder.uids:
                expected.flags[uid] = [apply_flags(folder.flags[uid], "+", names)]
            self.settle({folder: expected})

    # of devices: nothing is changed

    def op_noop(self, rng, device, command="NOOP"):
        device.check([device.client.ok(command)])

    def op_check(self, rng, device):
        self.op_noop(rng, device, "CHECK")

    def op_idle(self, rng, device):
        self.op_noop(rng, device)  # nothing is pending: see World.execute()
        device.client.idle()
        device.idling, device.idle_changes = True, 0
        if rng.random() < 0.6:
            self.end_idle(device)

    def op_idle_wait(self, rng, device):
        """What another changes is told in IDLE, without any command."""
        folder = device.folder
        uids = some(rng, device.visible, 2)
        if not uids:
            return
        self.op_noop(rng, device)
        # nothing is told of what has left with that
        uids = [uid for uid in uids if uid in device.visible]
        if not uids:
            return
        device.client.idle()
        names = self._flags(rng, folder, device)
        expected = Expected()
        for uid in set(uids) & set(folder.flags):
            expected.flags[uid] = [apply_flags(folder.flags[uid], "+", names)]
        folder.client.ok("UID STORE %s +FLAGS (%s)" % (numbers(uids), " ".join(names)))
        changed = any(folder.flags[u] != new for u, (new,) in expected.flags.items())
        self.settle({folder: expected})
        if changed:
            device.client.wait(r"^\* \d+ (FETCH|EXPUNGE|EXISTS)|VANISHED|RESYNC")
        device.check([device.client.done()], must=False)
        self.op_noop(rng, device)

    def op_peek(self, rng, device):
        """Of hidden ones too"""
        by_uid = rng.random() < 0.5
        if by_uid:
            choice = sorted(set(device.folder.uids) | set(device.visible))
            targets = some(rng, choice, 8)
        else:
            targets = some(rng, range(1, len(device.visible) + 1), 8)
        if not targets:
            return
        items = rng.choice(("ENVELOPE", "FLAGS", "BODY.PEEK[]<0.300> RFC822.SIZE",
                            "BODY.PEEK[HEADER] FLAGS", "BODYSTRUCTURE UID",
                            "INTERNALDATE BODY.PEEK[TEXT]"))
        every = rng.random() < 0.1
        result = device.client.ok("%sFETCH %s (%s)" % (
            "UID " if by_uid else "", "1:*" if every else numbers(targets), items))
        uids = targets if by_uid else [device.visible[n - 1] for n in targets]
        device.check([result], expunges=by_uid,
                     asked=set(device.visible if every else uids) if "FLAGS" in items else ())

    SEARCHES = (
        ("ALL", lambda uid, flags: True), ("SEEN", lambda u, f: "\\Seen" in f),
        ("UNSEEN", lambda u, f: "\\Seen" not in f),
        ("DELETED", lambda u, f: "\\Deleted" in f),
        ("FLAGGED", lambda u, f: "\\Flagged" in f),
        ("KEYWORD $x", lambda u, f: "$x" in f),
        ("UNKEYWORD $y UNANSWERED", lambda u, f: not f & {"$y", "\\Answered"}),
        ("OR DELETED UNSEEN", lambda u, f: "\\Deleted" in f or "\\Seen" not in f),
    )

    def op_search(self, rng, device, extended=False):
        by_uid = rng.random() < 0.6
        keys, predicate = rng.choice(self.SEARCHES)
        must, may = device.possible(predicate)
        place = dict(zip(range(1, len(device.visible) + 1), device.visible))
        result = device.client.ok("%sSEARCH %s%s" % (
            "UID " if by_uid else "",
            "RETURN (COUNT MIN MAX ALL) " if extended else "", keys))
        if extended:
            data = result.data("ESEARCH")
            found = [n for first, last in data.get("ALL", []) for n in range(first, last + 1)]
            if data["COUNT"] != len(found) or found and (
                    data["MIN"], data["MAX"]) != (found[0], found[-1]):
                device.fail("%r" % result)
        else:
            found = result.data("SEARCH")
        found = set(found if by_uid else [place[n] for n in found])
        if not must <= found <= may:
            device.fail("SEARCH %s found %s, should %s (may %s); %r" % (
                keys, sorted(found), sorted(must), sorted(may), result))
        device.check([result], expunges=by_uid)

    def op_esearch(self, rng, device):
        self.op_search(rng, device, extended=True)

    def op_sort(self, rng, device):
        must, may = device.possible(lambda uid, flags: True)
        result = device.client.ok("UID SORT (SUBJECT) US-ASCII ALL")
        found = result.data("SORT")
        subjects = device.folder.token
        order = sorted(sorted(found), key=lambda uid: (
            subjects[uid].group(2) == b"y", subjects[uid].group(0)))
        if not must <= set(found) <= may or found != order and \
                all(uid in device.folder.flags for uid in found):
            device.fail("SORT %s, should be %s of %s" % (found, order, sorted(must)))
        device.check([result], expunges=True)

    def op_thread(self, rng, device):
        must, may = device.possible(lambda uid, flags: True)
        result = device.client.ok("UID THREAD REFERENCES US-ASCII ALL")
        found = list(flat(result.data("THREAD")))
        if not must <= set(found) <= may or len(found) != len(set(found)):
            device.fail("THREAD %s, should be %s" % (found, sorted(must)))
        device.check([result])

    def op_status(self, rng, device):
        self.check_status(device, rng.choice(self.folders))

    def op_list_status(self, rng, device):
        result = device.client.ok('LIST "" (INBOX Work) RETURN (STATUS ('
                                  "MESSAGES UNSEEN RECENT UIDNEXT UIDVALIDITY SIZE))")
        for folder in self.folders:
            self.check_status(device, folder, result)
        device.check([result], must=False)

    def check_status(self, device, folder, result=None):
        if result is None:
            result = device.client.command("STATUS %s (MESSAGES UNSEEN RECENT UIDNEXT "
                                           "UIDVALIDITY SIZE)" % folder.name)
            device.check([result], must=False)
        lines = result.lines("* STATUS %s " % folder.name)
        if "[EXPUNGEISSUED]" in str(result) and folder is device.folder and \
                device.criteria is ALL and not set(device.visible) <= set(folder.flags):
            return  # no view: Dovecot's own, when the last message is gone
        if len(lines) != 1:
            device.fail("no STATUS of %s: %r" % (folder.name, result))
        line = lines[0]
        told = dict(re.findall(r"([A-Z]+) (\d+)", line[line.rindex("("):]))
        told = {name: int(value) for name, value in told.items()}
        if told.pop("RECENT") > told["MESSAGES"]:
            device.fail("%r" % result)
        criteria = self.criteria(device.name, folder.name)
        right = [folder.counts(folder.uids if criteria is ALL else
                               folder.match(criteria))]
        next_uids = [folder.next_uid]
        if folder is device.folder:
            # as this session sees it, or already as it is
            right.append(folder.counts(device.visible, device.told))
            right.append(folder.counts([u for u in device.visible if u in folder.flags]))
            next_uids = range(device.next_uid, folder.next_uid + 1)
            device.next_uid = max(device.next_uid, told["UIDNEXT"])
        if told.pop("UIDNEXT") not in next_uids or \
                told.pop("UIDVALIDITY") != folder.uidvalidity:
            device.fail("%r, should be UIDNEXT %s" % (result, next_uids))
        if folder is not device.folder or not device.is_pending():
            if told not in right:
                device.fail("%r, should be %s" % (result, right))
            return
        must, may = device.possible(lambda uid, flags: "\\Seen" not in flags)
        gone = [u for u in device.visible if u not in folder.flags]
        right += [{"UNSEEN": n} for n in range(len(must), len(may) + len(gone) + 1)]
        # without a view Dovecot takes it from an index that may be newer
        if device.criteria is ALL or \
                told["SIZE"] in self._sizes(folder, device.visible, gone):
            right.append({"SIZE": told["SIZE"]})
        for name, value in told.items():
            if value not in [r.get(name) for r in right]:
                device.fail("%r, should be %s" % (result, right))

    def _sizes(self, folder, uids, gone):
        """What SIZE may be: of those that are gone it is known or not"""
        sizes = {sum(folder.size[u] for u in uids if u not in gone)}
        for uid in gone:
            sizes |= {size + folder.size[uid] for size in sizes}
        return sizes

    # of devices: flags

    def _targets(self, rng, device, most=5):
        """A message set, whether it is of UIDs, and the visible UIDs in it.
        Hidden ones are in it now and then: nothing may happen to those."""
        visible, choice = device.visible, rng.random()
        if choice < 0.08:
            return "1:*", rng.random() < 0.5, set(visible)
        if choice < 0.55 or not visible:
            hidden = [u for u in device.folder.uids if u not in set(visible)]
            uids = some(rng, visible, most)
            if rng.random() < 0.4 or not uids:
                uids = sorted(set(uids) | set(some(rng, hidden, 3)))
            return numbers(uids or [9999]), True, set(uids) & set(visible)
        chosen = some(rng, range(1, len(visible) + 1), most)
        return numbers(chosen), False, {visible[n - 1] for n in chosen}

    def _stored(self, device, uids, how, names):
        """What a STORE may make of them. A session that doesn't know yet what
        others have done may leave out what it takes for done."""
        expected, folder = Expected(), device.folder
        for uid in uids & set(folder.flags):
            now = folder.flags[uid]
            allowed = [apply_flags(now, how, names)]
            if now != device.told.get(uid):
                allowed.append(now)
                allowed += [apply_flags(now, how, [n]) for n in names if how]
            expected.flags[uid] = allowed
        return expected

    def op_store(self, rng, device):
        targets, by_uid, uids = self._targets(rng, device)
        if targets == "1:*" and not device.visible:
            return
        how, silent = rng.choice(("+", "+", "-", "-", "")), rng.random() < 0.4
        names = self._flags(rng, device.folder, rng.choice((device, None)))
        text = "%sSTORE %s %sFLAGS%s (%s)" % (
            "UID " if by_uid else "", targets, how, ".SILENT" if silent else "",
            " ".join(names))
        if device.readonly:
            device.check([device.client.command(text)], must=False, expunges=by_uid)
            return
        expected = self._stored(device, uids, how, names)
        if silent:
            device.assume(uids, how, names)
        result = device.client.command(text)
        if result.status != "OK" and uids <= set(device.folder.flags):
            device.fail("%s: %r" % (text, result))
        self.settle({device.folder: expected}, device, uids, how != "+")
        device.check([result], expunges=by_uid, asked=() if silent else uids)

    def op_read(self, rng, device):
        """Not PEEK: sets \\Seen"""
        targets, by_uid, uids = self._targets(rng, device, 3)
        if targets == "1:*":
            return
        exist = uids & set(device.folder.flags)
        expected = Expected() if device.readonly else \
            self._stored(device, exist, "+", ["\\Seen"])
        result = device.client.command("%sFETCH %s (%s)" % (
            "UID " if by_uid else "", targets, rng.choice(("BODY[]", "BODY[TEXT]", "RFC822"))))
        if result.status != "OK" and exist == uids:
            device.fail("FETCH: %r" % result)
        self.settle({device.folder: expected}, device, uids)
        device.check([result], expunges=by_uid, asked=uids)

    # of devices: messages come and go

    def op_append(self, rng, device):
        folder = rng.choice(self.folders)
        if len(folder.uids) > 45:
            return
        messages = [self._message(rng) for _ in range(rng.randint(1, 2))]
        flags = self._flags(rng, folder) if rng.random() < 0.4 else ()
        result = self._append(device.client, folder, messages, flags)
        self._came(folder, messages, flags)
        device.check([result])
        self._knows(device, folder)

    def _knows(self, device, folder):
        """APPENDUID and COPYUID tell UIDs of hidden messages too."""
        if folder is device.folder and folder.came:
            device.knows_uid(folder.came[-1])

    def op_copy(self, rng, device, move=False):
        if device.readonly and move:
            return
        source, target = device.folder, rng.choice(self.folders)
        targets, by_uid, uids = self._targets(rng, device, 3)
        if targets == "1:*" and len(uids) > 12 or len(target.uids) > 45 or \
                move and source is target and targets == "1:*" or \
                not by_uid and not uids or \
                self._comes_back(source, target, uids, move):
            return
        into, out = Expected(), Expected()
        exist = uids & set(source.flags)
        into.new = [source.token[uid].group(0) for uid in exist]
        # a folder is opened anew for MOVE: a new filter may hold already
        sure = {u for u in exist if device.state[u] not in ("going", "maybe")}
        into.optional = sure != uids or (
            move and source is not target and device.is_filter_changed() is not False)
        result = device.client.command("%s%s %s %s" % (
            "UID " if by_uid else "", "MOVE" if move else "COPY", targets, target.name))
        if result.status != "OK" and not into.optional:
            device.fail("COPY %s: %r; %s" % (targets, result, {
                uid: device.state[uid] for uid in uids}))
        if move and into.optional:
            out.maybe_gone = exist
        elif move:
            out.gone = exist
        if source is target:
            into.gone, into.maybe_gone = out.gone, out.maybe_gone
            self.settle({target: into})
        else:
            self.settle({source: out, target: into})
        device.check([result], must=result.status == "OK")
        self._knows(device, target)

    def op_move(self, rng, device):
        self.op_copy(rng, device, move=True)

    def op_expunge(self, rng, device):
        self._expunge(device, "EXPUNGE", *self._deleted(device))

    def op_uid_expunge(self, rng, device):
        """Hidden ones with \\Deleted too"""
        deleted = [u for u in device.folder.uids
                   if "\\Deleted" in device.folder.flags[u]]
        uids = sorted(set(some(rng, deleted, 4)) | set(some(rng, device.folder.uids, 2)))
        if uids:
            self._expunge(device, "UID EXPUNGE " + numbers(uids),
                          *self._deleted(device, uids))

    def _expunge(self, device, command, must, may):
        result = device.client.command(command)
        expected = Expected()
        if not device.readonly:
            expected.gone, expected.maybe_gone = must, may
        if result.status != "OK" and not device.readonly:
            device.fail("%s: %r" % (command, result))
        self.settle({device.folder: expected})
        device.on_expunge_command()
        device.check([result], must=result.status == "OK")

    def op_pipeline(self, rng, device):
        """STORE, SEARCH and UID EXPUNGE in one packet"""
        uids = set(some(rng, device.visible, 3))
        if not uids or device.readonly:
            return
        must, may = device.possible(
            lambda uid, flags: uid in uids or "\\Deleted" in flags)
        if device.criteria is ALL:
            # no view: Dovecot 2.3 itself finds and expunges nothing when others
            # have changed something that isn't told yet
            must = set()
        expected = self._stored(device, uids, "+", ["\\Deleted"])
        device.assume(uids, "+", ["\\Deleted"])
        results = device.client.pipeline([
            "UID STORE %s +FLAGS.SILENT (\\Deleted)" % numbers(sorted(uids)),
            "UID SEARCH DELETED", "UID EXPUNGE " + numbers(sorted(uids))])
        found, = found_by(results)
        if not must <= found <= may:
            device.fail("pipelined SEARCH DELETED %s, should be %s (may %s)" % (
                sorted(found), sorted(must), sorted(may)))
        exist = uids & set(device.folder.flags)
        if any(r.status != "OK" for r in results) and exist == uids:
            device.fail("%r" % results)
        sure = {u for u in exist if must and device.state[u] != "going" and
                device.told[u] == device.folder.flags[u]}
        expected.gone, expected.maybe_gone = sure, exist
        self.settle({device.folder: expected}, device, uids)
        device.on_expunge_command()
        device.check(results, asked=uids)

    def op_select(self, rng, device, command="SELECT"):
        folder = rng.choice((self.folders[0], rng.choice(self.folders)))
        device.select(folder, command, rng)

    def op_examine(self, rng, device):
        self.op_select(rng, device, "EXAMINE")

    def op_close(self, rng, device):
        expected = Expected()
        if not device.readonly:
            expected.gone, expected.maybe_gone = self._deleted(device)
        folder = device.folder
        device.keep_cache()
        result = device.client.ok("CLOSE")
        if result.lines("* "):
            device.fail("%r" % result)
        device.leave()
        self.settle({folder: expected})
        device.check([result])

    def op_unselect(self, rng, device):
        device.keep_cache()
        result = device.client.ok("UNSELECT")
        device.leave()
        device.check([result])

    # of devices: filters

    def device_sessions(self):
        return [device for device in self.devices if not device.plain]

    def op_set_filter(self, rng, device):
        if device.plain:
            return
        name = rng.choice(sorted(self.filters))
        criteria = rng.choice(mail.CRITERIA)
        result = device.client.ok("XFILTER SET %s NIL (%s)" % (name, criteria.text))
        self.filters[name] = criteria
        device.check([result], must=False)

    def op_set_preference(self, rng, device):
        if device.plain:
            return
        value = rng.choice(sorted(self.filters) * 2 + ["ALL", "NONE", "DEFAULT"])
        folder = rng.choice(mail.FOLDERS + ("ALL",)) if value != "DEFAULT" else \
            rng.choice(mail.FOLDERS)
        result = device.client.ok("NOOP")
        device.check([result])
        self._prefer(device.client, device.name, folder, value)
