# SPDX-License-Identifier: LGPL-2.1-only
"""A PostgreSQL server of a test's own."""

import contextlib
import glob
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

# what the package makes; the server refuses to run as root
USER = "postgres"


class Postgres:
    """It listens on 127.0.0.1 and on a socket in its folder."""

    def __init__(self, password=None):
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.path = tempfile.mkdtemp(prefix="pimap-test.")
        self.process = None
        as_root = os.geteuid() == 0
        # Dovecot's users come to the socket
        os.chmod(self.path, 0o755)
        if as_root:
            shutil.chown(self.path, USER, USER)
        self.identity = {"user": USER, "group": USER, "extra_groups": []} if as_root else {}
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.password = password
        options = []
        if password is not None:
            with open(self.path + "/password", "w") as file:
                file.write(password)
            os.chmod(self.path + "/password", 0o644)
            options = ["--pwfile=" + self.path + "/password"]
        self.run("initdb", "-D", self.path + "/data", "-U", "pimap", "-E", "UTF8", "--no-locale",
                 "--no-sync", "-A", "trust" if password is None else "scram-sha-256", *options)
        self.start()

    def run(self, program, *args):
        subprocess.run([self.bin + "/" + program, *args], check=True, cwd=self.path,
                       stdout=subprocess.DEVNULL, **self.identity)

    def start(self):
        deadline = time.monotonic() + 30
        self.spawn()
        while True:
            try:
                self.run("pg_isready", "-h", self.path, "-p", str(self.port))
                return
            except subprocess.CalledProcessError:
                with open(self.path + "/log") as log:
                    assert time.monotonic() < deadline, log.read()
            time.sleep(0.1)
            if self.process.poll() is not None:
                # what was killed may not be gone yet
                self.spawn()

    def spawn(self):
        with open(self.path + "/log", "a") as log:
            self.process = subprocess.Popen(
                [self.bin + "/postgres", "-D", self.path + "/data", "-k", self.path,
                 "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                 "-c", "max_connections=30", "-c", "shared_buffers=16MB"],
                cwd=self.path, stdout=log, stderr=log, **self.identity)

    def signal(self, number):
        """To all of it: the server and who serves connections"""
        with contextlib.suppress(FileNotFoundError):
            with open("/proc/%d/task/%d/children" % ((self.process.pid,) * 2)) as file:
                for pid in file.read().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), number)
        os.kill(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            # those who are connected are disconnected
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def remove(self):
        self.stop()
        shutil.rmtree(self.path)

    def address(self, host=None, port=None):
        return "pgsql:host=%s port=%d user=pimap dbname=postgres" % (
            host or self.path, port or self.port)

    def query(self, text):
        """Lines of columns that | separates"""
        env = dict(os.environ, PGPASSWORD=self.password or "")
        return subprocess.run(
            [self.bin + "/psql", "-XAtq", "-h", self.path, "-p", str(self.port), "-U", "pimap",
             "-v", "ON_ERROR_STOP=1", "-c", text, "postgres"], check=True, text=True,
            stdout=subprocess.PIPE, env=env).stdout.splitlines()


class Wire:
    """Between a client and the server: cuts the connection when something that
    contains the text goes to the server, as decide() says: "before" it has come
    there, "after" the server has answered but nobody was told, or None."""

    def __init__(self, postgres, text, decide):
        self.server, self.text, self.decide = postgres, text, decide
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.sock.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, contextlib.suppress(OSError), \
                socket.create_connection(("127.0.0.1", self.server.port)) as server:
            while True:
                for sock in select.select([client, server], [], [])[0]:
                    data = sock.recv(65536)
                    if not data:
                        return
                    cut = None
                    if sock is client and self.text in data:
                        cut = self.decide()
                    if cut == "before":
                        return
                    (server if sock is client else client).sendall(data)
                    if cut == "after":
                        server.recv(65536)
                        return

    def stop(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
