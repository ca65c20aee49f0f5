# SPDX-License-Identifier: LGPL-2.1-only
"""The broker ActiveMQ, and a JMS consumer that reads what comes to it (ActiveMQ.java)."""

import base64
import collections
import os
import shutil
import signal
import subprocess
import tempfile
import time

from kannel import free_ports

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = "/usr/share/activemq/lib/*:/usr/share/activemq/lib/optional/*"

# kind: "text" of a TextMessage, else its class; seq and content are properties
Message = collections.namedtuple("Message", "destination persistent seq content kind text")


class ActiveMQ:
    USER, PASSWORD = "dovecot", "se:cr\\et"

    def __init__(self, certificate=None):
        """certificate: a file with a key and its certificate, for stomp+ssl"""
        self.path = tempfile.mkdtemp(prefix="pimap-activemq.")
        self.port, self.ssl_port, self.openwire = free_ports(3)
        self.url = "stomp://127.0.0.1:%d" % self.port
        self.options = []
        subprocess.run(["javac", "-cp", CLASSES, "-d", self.path, HERE + "/ActiveMQ.java"],
                       check=True)
        if certificate is not None:
            subprocess.run(["openssl", "pkcs12", "-export", "-in", certificate, "-passout",
                            "pass:secret", "-out", self.path + "/keys"], check=True)
            self.options = ["-Djavax.net.ssl.keyStore=%s/keys" % self.path,
                            "-Djavax.net.ssl.keyStorePassword=secret"]
        self.broker = self.reader = None
        self.start()
        self.reader = self._run("reader", "reader", str(self.openwire))

    def _run(self, name, *args, options=()):
        """Runs it until it is ready"""
        path = "%s/%s.out" % (self.path, name)
        before = os.path.getsize(path) if os.path.exists(path) else 0
        with open(path, "ab") as file:
            process = subprocess.Popen(
                ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *options,
                 "-cp", self.path + ":" + CLASSES, "ActiveMQ", *args],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        deadline = time.monotonic() + 90
        while b"ready" not in self.read(name)[before:]:
            assert process.poll() is None and time.monotonic() < deadline, self.read(name)
            time.sleep(0.05)
        return process

    def read(self, name):
        with open("%s/%s.out" % (self.path, name), "rb") as file:
            return file.read()

    def start(self):
        self.broker = self._run("broker", "broker", str(self.port), str(self.ssl_port),
                                str(self.openwire), self.path + "/data", options=self.options)

    def end(self, kill=signal.SIGTERM):
        self.broker.send_signal(kill)
        try:
            self.broker.wait(30)
        except subprocess.TimeoutExpired:
            self.broker.kill()
            self.broker.wait()

    def restart(self, kill=signal.SIGTERM):
        self.end(kill)
        self.start()

    def stop(self):
        for process in (self.reader, self.broker):
            if process is not None:
                process.kill()
                process.wait()
        shutil.rmtree(self.path)

    @property
    def messages(self):
        """What has come to the consumer, in order"""
        found = []
        for line in self.read("reader").decode().splitlines(keepends=True):
            if line.startswith("message ") and line.endswith("\n"):
                _, destination, persistent, seq, content, text = line.split()
                kind = "text" if text[0] == "=" else text
                found.append(Message(destination, persistent == "true", int(seq), content, kind,
                                     base64.b64decode(text[1:]).decode()
                                     if kind == "text" else None))
        return found
