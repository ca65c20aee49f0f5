# SPDX-License-Identifier: LGPL-2.1-only
"""One driver that takes turns between several devices' sessions and plain ones,
all on one user's folders."""

import collections
import random
import subprocess

import model_mail as mail
from imap_client import ModelError
from model_device import Device
from model_evidence import gather
from model_mail import ALL, NONE, Message
from model_ops import Operations
from model_rebuilt import check_rebuilt
from model_truth import Folder, ModelClient, check_index


class World(Operations):
    suspect = None  # the device that failed
    evidence = ()

    def __init__(self, port, user, seed, devices=4, qresync=False, lmtp=None,
                 doveadm=None, plain=0):
        """plain: how many of the devices are plain sessions"""
        self.port, self.user, self.seed = port, user, seed
        self.lmtp_socket, self.doveadm_path = lmtp, doveadm
        self.may_qresync = qresync
        self.message_count = 0
        rng = random.Random("%s world" % seed)
        self.journal = collections.deque(maxlen=2000)
        self.other = ModelClient(port, user, self.journal, "plain")
        self.other.ok("CREATE Work")
        self.folders = [Folder(port, user, name, self.journal) for name in mail.FOLDERS]
        for folder, count in zip(self.folders, (20, 10)):
            self._append(folder.client, folder, [self._message(rng) for _ in range(count)])
            folder.observe()
        # filters are the user's, preferences the device's
        self.filters, self.preferences = {}, {}
        chosen = rng.sample(mail.DYNAMIC, min(devices, 3)) + \
            rng.choices(mail.CRITERIA, k=devices)
        self.devices = []
        self.preferences.update({"P%d" % n: {} for n in range(devices - plain, devices)})
        for number, criteria in zip(range(devices - plain), chosen):
            device = Device(self, number)
            name = "F%d" % number
            device.client.ok("XFILTER SET %s NIL (%s)" % (name, criteria.text))
            self.filters[name] = criteria
            self.preferences[device.name] = {"ALL": "ALL"}
            for folder, value in (("INBOX", name), ("Work", rng.choice(list(self.filters)))):
                self._prefer(device.client, device.name, folder, value)
            self.devices.append(device)
        if doveadm and len(self.devices) > 1:
            device = self.devices[-1]
            self._doveadm("device", "mode", device.name, "view")
            device.mode_view = True
        self.devices += [Device(self, n, plain=True) for n in range(devices - plain, devices)]
        for device in self.devices:
            device.select(self.folders[0])

    def clients(self):
        return [self.other] + [f.client for f in self.folders] + \
            [d.client for d in self.devices]

    def close(self):
        for client in self.clients():
            client.close()

    def gather_evidence(self):
        """To be called when it has failed, before it is closed"""
        try:
            self.evidence = list(gather(self))
        except (OSError, subprocess.CalledProcessError) as error:
            self.evidence = ["no evidence: %s" % error]

    def run(self, operations):
        for operation in operations:
            self.execute(operation)

    def execute(self, operation):
        name, number, seed = operation
        self.journal.append("%s %d %d" % operation)
        rng = random.Random(seed)
        for device in self.devices:
            # at most one change in each IDLE: what it tells can't be old
            if device.idling and (device.idle_changes > 0 or
                                  device is self.devices[number]):
                self.end_idle(device)
        if name in mail.PLAIN_OPERATIONS:
            getattr(self, "op_" + name)(rng)
            return
        device = self.devices[number]
        if device.folder is None and name not in (
                "append", "status", "list_status", "status_modseq", "set_filter",
                "set_preference", "noop", "reconnect"):
            name = "select"
        getattr(self, "op_" + name)(rng, device)

    def end_idle(self, device):
        device.idling = False
        device.check([device.client.done()], must=False)

    def finish(self):
        """At rest everything is right."""
        self.journal.append("at rest")
        for device in self.devices:
            if device.idling:
                self.end_idle(device)
            self.op_noop(None, device)
            for folder in self.folders:
                device.select(folder)
                self.check_status(device, folder)
        self.check_plain()
        if self.doveadm_path:
            self.rebuild()

    def check_plain(self):
        for folder in self.folders:
            check_index(folder, self.other)

    def rebuild(self):
        before = [(f.uids, f.flags) for f in self.folders]
        check_rebuilt(self)
        for folder, (uids, flags) in zip(self.folders, before):
            folder.client.ok("SELECT " + folder.name)
            folder.client.fetch_all()
            folder.observe()
            if (folder.uids, folder.flags) != (uids, flags):
                raise ModelError("force-resync made %s of %s" % (folder.uids, uids))
        for device in self.devices:
            device.select(self.folders[0])

    # what is set

    def criteria(self, device, folder):
        preferences = self.preferences[device]
        name = preferences.get(folder, preferences.get("ALL", "ALL"))
        return {"ALL": ALL, "NONE": NONE}.get(name) or self.filters[name]

    def _prefer(self, client, device, folder, value, doveadm=False):
        if doveadm:
            self._doveadm("pref", "set", device, "PIMAP_XFILTER", folder, "V", value)
        else:
            client.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V %s)" % (folder, value))
        if folder == "ALL":
            self.preferences[device] = {"ALL": value}
        elif value == "DEFAULT":
            self.preferences[device].pop(folder, None)
        else:
            self.preferences[device][folder] = value

    def _doveadm(self, command, verb, *args):
        subprocess.run([self.doveadm_path, "pimap", command, verb, "-u", self.user,
                        *args], check=True, stdout=subprocess.DEVNULL)

    # changing folders

    def _message(self, rng, recent=False):
        self.message_count += 1
        return Message(self.message_count, rng, recent)

    def _append(self, client, folder, messages, flags=()):
        command = b"APPEND " + folder.name.encode()
        for message in messages:
            octets = message.octets()
            command += b" (%s) %s {%d+}\r\n" % (
                " ".join(flags).encode(), message.date().encode(), len(octets)) + octets
        return client.ok(command)

    def settle(self, expected, own=None, touched=(), removes=False):
        """After an operation: looks at the folders that it may have changed,
        and tells the sessions' models. expected: {Folder: Expected}. own: the
        device that changed flags in its folder."""
        for folder, what in expected.items():
            devices = [d for d in self.devices if d.folder is folder]
            before = {d: d.match() for d in devices}
            folder.observe(what, [d.criteria for d in devices
                                  if d.criteria is not ALL])
            if what.flags or what.gone or what.maybe_gone or what.new:
                for device in devices:
                    device.idle_changes += device.idling
            changed = set(what.flags) | what.gone | what.maybe_gone | set(touched if own is None or
                                            own.folder is folder else ())
            for device in devices:
                device.on_change(device is own, before[device], device.match(),
                                 changed, removes)
