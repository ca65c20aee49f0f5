# SPDX-License-Identifier: LGPL-2.1-only
"""Kannel, the gateway for short messages and WAP, with a fake SMSC (kannel-extras) that
keeps what comes there."""

import collections
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

CONF = """
group = core
admin-port = %(admin)d
admin-password = admin
admin-interface = "127.0.0.1"
smsbox-port = %(box)d
smsbox-interface = "127.0.0.1"
log-file = %(path)s/bearerbox.log
log-level = 0
dlr-storage = internal
store-type = file
store-location = %(path)s/store

%(smscs)s
group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %(sendsms)d
sendsms-interface = "127.0.0.1"
log-file = %(path)s/smsbox.log
log-level = 0
http-request-retry = 5
http-queue-delay = 1

group = sendsms-user
username = dovecot
password = s&cret +%%
max-messages = 6
concatenation = true

group = sms-service
keyword = default
max-messages = 0
text = "none"
"""
FAKE = """group = smsc
smsc = fake
smsc-id = fake
port = %d
connect-allow-ip = 127.0.0.1
"""
SMPP = """group = smsc
smsc = smpp
smsc-id = smpp
host = 127.0.0.1
port = %d
smsc-username = kannel
smsc-password = secret
system-type = ""
transceiver-mode = true
reconnect-delay = 1
"""
FAKESMSC = "/usr/lib/kannel/test/fakesmsc"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def wait_for_port(port, process):
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, "it has ended: %s" % process.args
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, process.args
            time.sleep(0.05)


# coding: "text", which is GSM 03.38's alphabet, or "ucs-2"; or the user data header, where it
# isn't that of parts: then text is octets. parts: how many short messages
Message = collections.namedtuple("Message", "sender to coding text parts")


def unquote(data):
    return urllib.parse.unquote_to_bytes(data.replace(b"+", b" "))


class Kannel:
    USER, PASSWORD = "dovecot", "s&cret +%"

    def __init__(self, smpp=None):
        """smpp: the port of an SMSC that takes the fake one's place"""
        self.path = tempfile.mkdtemp(prefix="pimap-kannel.")
        self.smpp = smpp
        admin, box, self.smsc_port, self.port = free_ports(4)
        with open(self.path + "/conf", "w") as file:
            file.write(CONF % {"path": self.path, "admin": admin, "box": box,
                               "sendsms": self.port, "smscs": FAKE % self.smsc_port
                               if smpp is None else SMPP % smpp})
        self.box_port = box
        self.url = "http://127.0.0.1:%d/cgi-bin/sendsms" % self.port
        self.processes = []
        self.starts = 0
        self.start()

    def _run(self, name, *args):
        with open("%s/%s.out" % (self.path, name), "ab") as file:
            process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=file,
                                       stderr=file, cwd=self.path)
        self.processes.append(process)
        return process

    def start(self):
        self.starts += 1
        bearerbox = self._run("bearerbox", "/usr/sbin/bearerbox", self.path + "/conf")
        wait_for_port(self.box_port, bearerbox)
        if self.smpp is None:
            self._run("smsc%d" % self.starts, FAKESMSC, "-H", "127.0.0.1",
                      "-r", str(self.smsc_port), "-m", "0", "1 2 text none")
        smsbox = self._run("smsbox", "/usr/sbin/smsbox", self.path + "/conf")
        wait_for_port(self.port, smsbox)

    def end(self, kill=signal.SIGTERM):
        """Ends the smsbox, which takes messages, before what takes them from it"""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(kill)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []

    def restart(self):
        self.end()
        self.start()

    def stop(self):
        self.end(signal.SIGKILL)
        shutil.rmtree(self.path)

    @property
    def messages(self):
        """What has come to the SMSC, in order"""
        found, parts = [], {}
        for number in range(1, self.starts + 1):
            path = "%s/smsc%d.out" % (self.path, number)
            if not os.path.exists(path):
                continue
            with open(path, "rb") as file:
                text = file.read()
            for line in re.findall(rb"Got message \d+: <(.*)>\n", text):
                sender, to, coding, rest = line.split(b" ", 3)
                key = sender.decode(), to.decode()
                if coding == b"udh":
                    header, _, rest = rest.split(b" ", 2)
                    header = unquote(header)
                    if header[1] != 0:
                        found.append(Message(*key, header, unquote(rest), 1))
                        continue
                    *head, total, index = header
                    data = parts.setdefault((key, bytes(head)), [])
                    assert len(data) == index - 1
                    data.append(unquote(rest))
                    if index < total:
                        continue
                    del parts[(key, bytes(head))]
                    # all that is sent here begins with a character of ASCII
                    coding = b"ucs-2" if data[0][0] == 0 else b"text"
                    rest = b"".join(data)
                else:
                    total = 1
                    rest = unquote(rest) if coding == b"ucs-2" else rest
                found.append(Message(*key, coding.decode(), rest.decode(
                    "utf-16-be" if coding == b"ucs-2" else "utf-8"), total))
        return found
