# SPDX-License-Identifier: LGPL-2.1-only
"""Mosquitto, a broker, with a device that has subscribed: mosquitto_sub with a session that
outlives its connection. And a broker that says what a test wants."""

import getpass
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from kannel import free_ports, wait_for_port

CONF = """
listener %(port)d 127.0.0.1
user %(user)s
persistence true
persistence_location %(path)s/
autosave_interval 1
# of a device that isn't there: in place of 1,000
max_queued_messages 0
log_dest file %(path)s/log
log_type all
"""
TLS = """
certfile %(pem)s
keyfile %(pem)s
"""
# what devices and this server are to each other
PASSWORDS = """
allow_anonymous false
password_file %(path)s/passwords
acl_file %(path)s/acl
"""
ACL = """
user dovecot
topic write pimap/#
topic deny pimap/closed/#
user device
topic read #
"""


class Broker:
    USER, PASSWORD = "dovecot", "s&cret +%"

    def __init__(self, pem=None, passwords=False, conf=""):
        self.path = tempfile.mkdtemp(prefix="pimap-mqtt.")
        self.port, = free_ports(1)
        self.pem, self.passwords = pem, passwords
        values = {"port": self.port, "path": self.path, "user": getpass.getuser(), "pem": pem}
        text = CONF % values + (TLS % values if pem else "")
        text += PASSWORDS % values if passwords else "allow_anonymous true\n"
        self.write("conf", text + conf)
        if passwords:
            self.write("acl", ACL)
            for option, user, password in (("-bc", self.USER, self.PASSWORD),
                                           ("-b", "device", "device")):
                subprocess.run(["mosquitto_passwd", option, self.path + "/passwords", user,
                                password], check=True)
        self.url = "%s://127.0.0.1:%d" % ("mqtts" if pem else "mqtt", self.port)
        self.devices = []
        self.start()

    def write(self, name, text):
        with open(self.path + "/" + name, "w") as file:
            file.write(text)

    def start(self):
        with open(self.path + "/out", "ab") as out:
            self.process = subprocess.Popen(
                ["/usr/sbin/mosquitto", "-c", self.path + "/conf"], stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, cwd=self.path)
        wait_for_port(self.port, self.process)

    def end(self, kill=signal.SIGTERM):
        self.process.send_signal(kill)
        self.process.wait(20)

    def restart(self):
        self.end()
        self.start()

    def log(self):
        with open(self.path + "/log", errors="replace") as file:
            return file.read()

    def device(self, topic, name="device", ca=None):
        device = Device(self, topic, name, ca)
        self.devices.append(device)
        return device

    def stop(self):
        for device in self.devices:
            device.end()
        self.end(signal.SIGKILL)
        shutil.rmtree(self.path)


class Device:
    """Its session stays when it ends, and goes on when it comes again."""

    def __init__(self, broker, topic, name, ca=None):
        self.broker, self.topic = broker, topic
        self.out = "%s/%s.out" % (broker.path, name)
        self.args = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-c", "-q", "1",
                     "-i", name, "-t", topic, "-F", "%t %r %x"]
        if broker.passwords:
            self.args += ["-u", "device", "-P", "device"]
        if ca is not None:
            self.args += ["--cafile", ca]
        self.start()

    def start(self):
        with open(self.out, "ab") as out:
            self.process = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.DEVNULL)
        before = self.subscribed()
        deadline = time.monotonic() + 20
        while self.subscribed() == before:
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.02)

    def subscribed(self):
        return self.broker.log().count("Sending SUBACK to %s" % self.args[self.args.index("-i") + 1])

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)

    @property
    def messages(self):
        """(topic, text) of what has come"""
        found = []
        with open(self.out) as file:
            for line in file:
                if not line.endswith("\n"):
                    break
                topic, retained, text = line[:-1].rsplit(" ", 2)
                assert retained == "0"
                found.append((topic, bytes.fromhex(text).decode()))
        return found
