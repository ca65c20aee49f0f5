# SPDX-License-Identifier: LGPL-2.1-only
"""Mosquitto, a broker, with a device that has subscribed: mosquitto_sub with a session that
outlives its connection. And a broker that says what a test wants."""

import getpass
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

    # of those who let nobody in otherwise
    USERS = {USER: PASSWORD, "device": "device", "joe@example.com": "joe", "ann@example.com": "ann"}

    def __init__(self, pem=None, passwords=False, conf=None, acl=ACL):
        """conf: in place of the tests' own"""
        self.path = tempfile.mkdtemp(prefix="pimap-mqtt.")
        self.port, = free_ports(1)
        self.pem, self.passwords = pem, passwords
        values = {"port": self.port, "path": self.path, "user": getpass.getuser(), "pem": pem}
        if conf is None:
            conf = CONF + (TLS if pem else "")
            conf += PASSWORDS if passwords else "allow_anonymous true\n"
        self.write("conf", conf % values)
        if passwords:
            self.write("acl", acl)
            self.write("passwords", "")
            for user, password in self.USERS.items():
                self.set_password(user, password)
        self.url = "%s://127.0.0.1:%d" % ("mqtts" if pem else "mqtt", self.port)
        self.devices = []
        self.start()

    def set_password(self, user, password):
        subprocess.run(["mosquitto_passwd", "-b", self.path + "/passwords", user, password],
                       check=True)

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

    def device(self, topic, name="device", ca=None, user="device"):
        device = Device(self, topic, name, ca, user)
        self.devices.append(device)
        return device

    def stop(self):
        for device in self.devices:
            device.end()
        self.end(signal.SIGKILL)
        shutil.rmtree(self.path)


class Device:
    """Its session stays when it ends, and goes on when it comes again."""

    def __init__(self, broker, topic, name, ca, user):
        self.broker, self.name = broker, name
        self.out = "%s/%s.out" % (broker.path, name)
        self.args = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-c", "-q", "1",
                     "-i", name, "-t", topic, "-F", "%t %r %x"]
        if broker.passwords:
            self.args += ["-u", user, "-P", broker.USERS[user]]
        if ca is not None:
            self.args += ["--cafile", ca]
        self.start()

    def start(self):
        before = self.subscribed()
        with open(self.out, "ab") as out:
            self.process = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while self.subscribed() == before:
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.02)

    def subscribed(self):
        return self.broker.log().count("Sending SUBACK to %s\n" % self.name)

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


def integer(value):
    """A variable byte integer"""
    out = b""
    while True:
        value, digit = divmod(value, 128)
        out += bytes([digit | (128 if value else 0)])
        if not value:
            return out


def packet(kind, body):
    return bytes([kind]) + integer(len(body)) + body


def string(text):
    return struct.pack(">H", len(text.encode())) + text.encode()


def connack(code=0, props=b""):
    return packet(0x20, bytes([0, code]) + integer(len(props)) + props)


def puback(pid, code=0, reason=None):
    body = struct.pack(">HB", pid, code)
    if reason is not None:
        props = b"\x1f" + string(reason)
        body += integer(len(props)) + props
    return packet(0x40, body)


class Fake:
    """Answers each connection with the next of connacks, each PUBLISH with what
    answer(n, packet identifier) gives, from 0: octets, or None to say nothing, or "close"; the
    last one of connacks again and again."""

    def __init__(self, answer=lambda n, pid: puback(pid), connacks=(connack(),), context=None):
        self.answer, self.connacks = answer, list(connacks)
        self.connects, self.published, self.others = [], [], []
        self.context = context
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = "mqtt%s://127.0.0.1:%d" % ("s" if context else "", self.port)
        self.clients = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self.client, args=(client,), daemon=True).start()

    def client(self, client):
        try:
            if self.context is not None:
                client = self.context.wrap_socket(client, server_side=True)
                self.clients.append(client)
            with client, client.makefile("rb") as stream:
                while self.packet(client, stream):
                    pass
        except (OSError, IndexError):
            pass

    def packet(self, client, stream):
        kind = stream.read(1)[0]
        size = shift = 0
        while True:
            digit = stream.read(1)[0]
            size |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                break
        body = stream.read(size)
        if kind == 0x10:
            self.connects.append(self.connect(body))
            answers = self.connacks
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        elif kind & 0xf0 == 0x30:
            assert kind & 0xf7 == 0x32, kind  # QoS 1, not retained
            length, = struct.unpack(">H", body[:2])
            topic, rest = body[2:2 + length].decode(), body[2 + length:]
            pid, = struct.unpack(">H", rest[:2])
            props = rest[3:3 + rest[2]]
            self.published.append((topic, rest[3 + rest[2]:].decode(), props, pid))
            answer = self.answer(len(self.published) - 1, pid)
        else:
            self.others.append(kind)
            answer = None
        if answer == "close":
            return False
        if answer is not None:
            client.sendall(answer)
        return True

    def connect(self, body):
        def take():
            nonlocal body
            length, = struct.unpack(">H", body[:2])
            text, body = body[2:2 + length].decode(), body[2 + length:]
            return text
        assert take() == "MQTT"
        found = dict(zip(("level", "flags", "keepalive"), struct.unpack(">BBH", body[:4])))
        body = body[5 + body[4]:]
        found["id"] = take()
        for name, flag in (("user", 0x80), ("password", 0x40)):
            found[name] = take() if found["flags"] & flag else None
        return found

    def stop(self):
        self.socket.close()
        for client in self.clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            client.close()
