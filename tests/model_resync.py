# SPDX-License-Identifier: LGPL-2.1-only
"""CONDSTORE and QRESYNC in the model test.

The rule: a client that knew a folder at some HIGHESTMODSEQ, in this session or
an earlier one, whatever the filter was then, knows after a resynchronisation
just what a client sees that asks for everything: the same UIDs with the same
flags. VANISHED (EARLIER) may name hidden messages, but never a visible one."""

import random
import re

from imap_client import ModelError, in_set, parse_set
from model_mail import numbers, some
from modseq_client import resync_parameter

KEPT = 3  # caches of a folder


class ResyncDevice:
    """Of a Device"""

    # how a session makes CONDSTORE known
    FEATURES = (None, "ENABLE CONDSTORE", "SELECT", "ENABLE QRESYNC",
                "ENABLE QRESYNC", "ENABLE QRESYNC")

    def choose_feature(self):
        """What this connection uses, if the server has it"""
        self.connections += 1
        rng = random.Random("%s %s %d" % (self.world.seed, self.name, self.connections))
        feature = rng.choice(self.FEATURES)
        self.feature = feature if self.may_qresync() else None
        if self.feature is not None and self.feature != "SELECT":
            self.client.ok(self.feature)
            if self.feature.split()[1] not in self.client.enabled:
                self.fail("ENABLED %s" % self.client.enabled)

    def may_qresync(self):
        """Whether the run wants that, and the server has it"""
        return self.world.may_qresync and "QRESYNC" in self.client.login.text.split()

    def keep_cache(self):
        """What a client would note when it leaves the folder. With CONDSTORE
        alone it isn't told when a MODSEQ that it has seen is ahead of what it
        knows."""
        if self.folder is None or self.client.modseq is None or \
                not self.client.qresync:
            return
        caches = self.caches.setdefault(self.folder.name, [])
        caches.append(self.client.cache())
        del caches[:-KEPT]

    def choose_cache(self, rng):
        """One of the selected folder, or None"""
        caches = [c for c in self.caches.get(self.folder.name, ())
                  if c.uidvalidity == self.folder.uidvalidity]
        return rng.choice(caches) if caches else None

    def select_resyncing(self, rng, command, folder):
        """Returns the result, and a function that checks it when the client
        has looked at everything."""
        text = "%s %s" % (command, folder.name)
        caches = self.caches.get(folder.name)
        if self.feature == "SELECT":
            return self.client.ok(text + " (CONDSTORE)"), None
        if not self.client.qresync or not caches or \
                rng is not None and rng.random() < 0.15:
            return self.client.ok(text), None
        cache, known, samples = caches[-1], None, ()
        if rng is not None:
            cache = rng.choice([cache, rng.choice(caches)])
            if cache.flags and rng.random() < 0.25:
                known = set(some(rng, cache.flags, rng.choice((5, 100))))
            if cache.flags and rng.random() < 0.3:
                samples = some(rng, range(1, len(cache.flags) + 1), 6)
        result = self.client.ok(text + resync_parameter(cache, known, samples))
        return result, lambda: self.check_cache(cache, result, known)

    noted_beside_others = False

    def check_cache(self, cache, result, known=None):
        right = self.client.cache().flags
        for line in result.lines("* VANISHED (EARLIER) "):
            ranges = parse_set(line.split()[3])
            wrong = [uid for uid in right if in_set(ranges, uid)]
            if wrong:
                self.fail("%s, but %s are visible" % (line, wrong))
        if known is not None:
            right = {u: f for u, f in right.items() if u in known}
        knows = cache.resynced(result, known)
        if self.noted_beside_others:
            # Dovecot's HIGHESTMODSEQ may be ahead of what it has told if others
            # write at that instant: a client misses flags, and without a view
            # also expunges
            if self.plain:
                return
            knows, right = dict.fromkeys(knows), dict.fromkeys(right)
        if knows == right:
            return
        self.fail("resynchronised from %s (known: %s) it lacks UIDs %s, keeps %s, "
                  "has other flags of %s; %s" % (
                      cache, known, sorted(set(right) - set(knows)),
                      sorted(set(knows) - set(right)),
                      [u for u in right if u in knows and knows[u] != right[u]],
                      result.lines("*")))


class ResyncOperations:
    """Of a World"""

    highest = None  # folder: the highest HIGHESTMODSEQ that was told

    def told_highest(self, folder, value):
        """When a session opened the folder anew"""
        self.highest = self.highest or {}
        if value < self.highest.get(folder.name, 0):
            raise ModelError("HIGHESTMODSEQ of %s is %d, it was %d" % (
                folder.name, value, self.highest[folder.name]))
        self.highest[folder.name] = value

    def modseqs(self, folder, uids):
        """UID: MODSEQ, of those that exist"""
        uids = sorted(set(uids) & set(folder.flags))
        if not uids:
            return {}
        result = folder.client.ok("UID FETCH %s (MODSEQ)" % numbers(uids))
        return {int(items["UID"]): int(items["MODSEQ"][0])
                for items in result.fetched().values()}

    def _some_modseq(self, rng, device, truth):
        cache = device.choose_cache(rng)
        values = sorted(truth.values()) + [device.client.modseq or 1]
        if cache is not None:
            values.append(cache.modseq)
        return max(1, rng.choice(values) + rng.choice((-1, 0, 0, 0, 1)))

    def op_reconnect(self, rng, device):
        device.keep_cache()
        if rng.random() < 0.5:
            device.client.logout()
        else:
            device.client.close()
        device.connect()
        self.op_select(rng, device)

    def op_changed_since(self, rng, device):
        if device.feature is None:
            return
        rested = rng.random() < 0.7
        if rested:
            self.op_noop(rng, device)
        cache = device.choose_cache(rng)
        if cache is None:
            device.keep_cache()
            return
        with_vanished = device.client.qresync and rng.random() < 0.8
        by_uid = with_vanished or rng.random() < 0.5
        is_noop = not device.visible and not by_uid
        result = device.client.ok("NOOP" if is_noop else
                                  "%sFETCH 1:* (UID FLAGS) (CHANGEDSINCE %d%s)" % (
            "UID " if by_uid else "", cache.modseq, " VANISHED" if with_vanished else ""))
        device.check([result], expunges=by_uid or is_noop, asked=device.visible)
        if with_vanished and rested:
            device.check_cache(cache, result)
        elif rested:
            # what went is known by a SEARCH
            seen = set(cache.flags) & set(device.visible)
            device.check_cache(cache, result, seen)
        device.keep_cache()

    def op_fetch_modseq(self, rng, device):
        if device.feature is None or not device.visible:
            return
        self.op_noop(rng, device)
        result = device.client.ok("UID FETCH 1:* (%s)" % rng.choice(
            ("MODSEQ", "MODSEQ FLAGS", "FLAGS MODSEQ UID")))
        told = {int(i["UID"]): int(i["MODSEQ"][0]) for i in result.fetched().values()}
        right = self.modseqs(device.folder, device.visible)
        if told != right:
            device.fail("MODSEQ %s, should be %s" % (told, right))
        device.check([result], asked=device.visible)

    def op_search_modseq(self, rng, device):
        if device.feature is None:
            return
        self.op_noop(rng, device)
        truth = self.modseqs(device.folder, device.visible)
        least = self._some_modseq(rng, device, truth)
        right = {uid: modseq for uid, modseq in truth.items() if modseq >= least}
        extended = rng.random() < 0.4
        result = device.client.ok("UID SEARCH %sMODSEQ %d" % (
            "RETURN (COUNT ALL) " if extended else "", least))
        line, = result.lines("* ESEARCH" if extended else "* SEARCH")
        highest = re.search(r"MODSEQ (\d+)", line)
        if extended:
            found = {n for first, last in result.data("ESEARCH").get("ALL", [])
                     for n in range(first, last + 1)}
        else:
            found = set(result.data("SEARCH"))
        if found != set(right) or right and (
                highest is None or int(highest.group(1)) != max(right.values())):
            device.fail("SEARCH MODSEQ %d: %r, should be %s" % (least, result, right))
        device.check([result])

    def op_status_modseq(self, rng, device):
        if device.feature is None:
            return
        folder = rng.choice(self.folders)
        told = device.client.status(folder.name, "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
        right = self.other.status(folder.name, "HIGHESTMODSEQ")["HIGHESTMODSEQ"]
        if told > right or folder is not device.folder and told != right:
            device.fail("STATUS HIGHESTMODSEQ of %s: %d, should be %d" % (
                folder.name, told, right))
        self.told_highest(folder, right)
        if device.folder is not None:
            self.op_noop(rng, device)

    def op_unchanged_since(self, rng, device):
        """STORE where nobody has changed it since then: of hidden ones too"""
        folder = device.folder
        if device.feature is None or device.readonly:
            return
        if rng.random() < 0.7:
            self.op_noop(rng, device)
        targets, by_uid, uids = self._targets(rng, device)
        if not by_uid and not uids:
            return
        truth = self.modseqs(folder, uids)
        since = self._some_modseq(rng, device, truth)
        modified = {uid for uid, modseq in truth.items() if modseq > since}
        how, names = rng.choice("+-"), self._flags(rng, folder, rng.choice((device, None)))
        silent = rng.random() < 0.4
        expected = self._stored(device, uids - modified, how, names)
        if silent:
            device.assume(uids - modified, how, names)
        place = dict(enumerate(device.visible, 1))
        result = device.client.command("%sSTORE %s (UNCHANGEDSINCE %d) %sFLAGS%s (%s)" % (
            "UID " if by_uid else "", targets, since, how,
            ".SILENT" if silent else "", " ".join(names)))
        if result.status != "OK" and uids <= set(folder.flags):
            device.fail("STORE: %r" % result)
        found = re.match(r"\[MODIFIED (\S+)\]", result.text)
        told = {n for first, last in parse_set(found.group(1) if found else "9999")
                for n in range(first, last + 1)} - {9999}
        told = told if by_uid else {place[n] for n in told}
        if result.status == "OK" and (not told <= uids or told & set(truth) != modified):
            device.fail("STORE UNCHANGEDSINCE %d of %s: %r, MODSEQs are %s" % (
                since, sorted(uids), result, truth))
        self.settle({folder: expected}, device, uids - modified, how == "-")
        device.check([result], expunges=by_uid, asked=() if silent else uids - modified)
