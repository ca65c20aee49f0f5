# SPDX-License-Identifier: LGPL-2.1-only
"""pimap-outband's side of the worker's protocol (src/lib-pimap/pimap-look.h)."""

import os
import socket
import zlib


# as if the list of folders were one
LIST = 31 * "0" + "1"


def escape(field):
    for char, code in (("\x01", "\x011"), ("\t", "\x01t"), ("\n", "\x01n"), ("\r", "\x01r")):
        field = field.replace(char, code)
    return field


def unescape(field):
    for char, code in (("\r", "\x01r"), ("\n", "\x01n"), ("\t", "\x01t"), ("\x01", "\x011")):
        field = field.replace(code, char)
    return field


class Worker:
    """A connection to a worker of that server"""
    def __init__(self, server, version="VERSION\tpimap-worker\t1\t0\n"):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(server.path + "/run/pimap-worker")
        self.sock.sendall(version.encode())
        self.file = self.sock.makefile("r", encoding="utf-8", newline="\n")

    def __enter__(self):
        assert self.file.readline() == "VERSION\tpimap-worker\t1\t0\n"
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()

    def send(self, *fields):
        self.sock.sendall(("\t".join(map(escape, fields)) + "\n").encode())

    def answer(self):
        """Its lines, as lists of fields"""
        lines = []
        while not lines or lines[-1][0] not in ("OK", "GONE", "FAIL"):
            line = self.file.readline()
            assert line.endswith("\n"), "the connection has ended"
            lines.append([unescape(field) for field in line[:-1].split("\t")])
        return lines

    def job(self, *fields):
        self.send(*fields)
        return self.answer()

    def folders(self, user):
        """name: GUID of those that notify some device"""
        *lines, last = self.job("FOLDERS", user)
        assert last == ["OK"], last
        assert lines[0][0] == "SEEN" and len(lines[0]) == 2
        assert all(line[0] == "FOLDER" and len(line) == 3 for line in lines[1:])
        return {name: guid for _, guid, name in lines[1:] if guid != LIST}

    def look(self, user, guid, states=None):
        """A Look with the answer, which must be OK"""
        fields = [field for item in (states or {}).items() for field in item]
        *lines, last = self.job("LOOK", user, guid, *fields)
        assert last == ["OK"], last
        return Look(guid, lines)


class Look:
    def __init__(self, guid, lines):
        first, seen, *lines = lines
        assert first[:2] == ["FOLDER", guid] and len(first) == 3
        assert seen[0] == "SEEN" and len(seen) == 2
        self.name = first[2]
        # of each device its line's fields: generation, channel, address, format
        self.devices = {}
        self.states = {}
        # of each device (event, UID, time)
        self.events = {}
        device = None
        for line in lines:
            if line[0] == "DEVICE":
                _, device, *fields = line[:6]
                state, *changes = line[6:]
                assert device not in self.devices and len(fields) == 4
                assert len(changes) in (0, 3)
                self.devices[device], self.states[device] = fields, state
                self.events[device] = []
            else:
                kind, event, uid, time, *fields = line
                assert kind == "EVENT"
                self.events[device].append((event, int(uid), int(time)))

    def new(self, device):
        """The UIDs of its events, all of which are of new messages"""
        assert all(event == "NEW_MESSAGE" for event, _, _ in self.events[device])
        return [uid for _, uid, _ in self.events[device]]


def profile_path(server, user):
    return "%s/mail/%s/%s/dovecot-pimap-profile" % (server.path, user.lower(), server.format)


class Profile:
    """A user's profile, written by hand"""
    def __init__(self, server, user):
        self.path = profile_path(server, user)
        self.generation = 100
        self.filters = {}
        # lines of each
        self.devices = {}

    def device(self, name, view="A", notify="A", channel="MAIL", event=None, address=None):
        lines = ["device\t%s\tsession\t%s\t%s" % (name, view, notify)]
        for pref, value in (("CHANNEL", channel), ("ADDRESS", address)):
            if value is not None:
                lines.append("pref\tPIMAP_OUTBAND_%s\t%s" % (pref, value))
        if event is not None:
            lines.append("pref\tPIMAP_EVENT_FILTER\t" + event)
        self.devices[name] = lines

    def folder(self, name, guid, vname, view="D", notify="D"):
        self.devices[name].append("folder\t%s\t%s\t%s\t%s" % (guid, vname, view, notify))

    def known(self, name, guid, generation, uidvalidity, uidnext, modseq=0, messages=0,
              newest="-"):
        lines = self.devices[name]
        lines[:] = [line for line in lines if not line.startswith("known\t" + guid)]
        lines.append("\t".join(map(str, ("known", guid, generation, uidvalidity, uidnext,
                                               modseq, messages, newest))))

    def write(self, damage=b""):
        self.generation += 1
        lines = ["pimap-profile\t1", "generation\t1\t%d" % self.generation]
        lines += ["filter\t%s\t%s" % item for item in self.filters.items()]
        lines += [line for device in self.devices.values() for line in device]
        text = "".join(line + "\n" for line in lines).encode()
        text += b"end\t%08x\n" % zlib.crc32(text)
        owner = os.stat(os.path.dirname(self.path))
        with open(self.path + ".new", "wb") as file:
            file.write(text + damage)
        os.chown(self.path + ".new", owner.st_uid, owner.st_gid)
        os.rename(self.path + ".new", self.path)
