# SPDX-License-Identifier: LGPL-2.1-only
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from imap_client import Client

HERE = os.path.dirname(os.path.abspath(__file__))
DOVECOT_24 = subprocess.run(
    ["dovecot", "--version"], check=True, text=True, stdout=subprocess.PIPE,
    env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin"),
).stdout.startswith("2.4.")

# of Dovecot's processes that start while it reads its configuration anew
RELOAD_FAULTS = re.compile(
    r"SIGHUP received|net_connect_unix\(stats-writer\)|_FILE environment|"
    r"auth-client: conn unix:login: connect\(login\) failed: No such file|"
    r"service\([\w-]+\): child \d+ returned error 89 ")

# they build the tree anew, or take long
collect_ignore = []
if os.environ.get("PIMAP_MUTATIONS") != "1":
    collect_ignore += ["test_mutations.py", "test_outband_mutations.py"]
if os.environ.get("PIMAP_SANITIZE") != "1":
    collect_ignore.append("test_sanitizers.py")
# it needs a program that Debian doesn't have
if "PIMAP_IMAPTEST" not in os.environ:
    collect_ignore.append("test_imaptest.py")


def settings(values):
    """The text that sets pimap's settings, but for the separator."""
    lines = "".join("%s = %s\n" % item for item in values.items())
    return lines if DOVECOT_24 else "plugin {\n%s}\n" % lines


# imap-hibernate, where a test sets imap_hibernate_timeout
HIBERNATION = """
service imap {
  unix_listener imap-master {
    mode = 0666
  }
}
service imap-hibernate {
  unix_listener imap-hibernate {
    mode = 0666
  }
}
log_debug = event=imap_client_hibernated or event=imap_client_unhibernated
"""


class Server:
    def __init__(self, path, fmt, extra=None, auth=None, pam=None, plain=False):
        """extra, auth: text of configuration files. pam: the folder that it has
        for /etc/pam.d"""
        self.path = str(path)
        self.format = fmt
        if extra is not None and re.search("pimap_(channels|mail_relay) ", extra):
            # tests count notifications: they aren't joined where a test doesn't set it
            # nor are they held
            extra = settings(dict.fromkeys(
                ("pimap_join_count", "pimap_limit_device", "pimap_limit_user",
                 "pimap_inband_grace"), 0)) + extra
        command = [HERE + "/private-dovecot", "start", self.path, "-f", fmt]
        for option, text in (("-x", extra), ("-a", auth)):
            if text is not None:
                conf = self.path + option + ".conf"
                with open(conf, "w") as output:
                    output.write(text)
                command += [option, conf]
        if pam is not None:
            command += ["-P", pam]
        if plain:
            command.append("-n")
        output = subprocess.run(command, check=True, text=True,
                                stdout=subprocess.PIPE).stdout
        self.vars = dict(line.split("=", 1) for line in output.splitlines())
        self.port = int(self.vars["IMAP_PORT"])
        self.clients = []
        self.known_panic = None
        self.reloaded = False

    @classmethod
    def temporary(cls, fmt, **options):
        # not pytest's own folder: as root, only root may enter that
        path = tempfile.mkdtemp(prefix="pimap-test.")
        os.chmod(path, 0o755)
        try:
            return cls(path + "/dovecot", fmt, **options)
        except subprocess.CalledProcessError:
            shutil.rmtree(path)
            raise

    def client(self, user):
        client = Client(self.port, user)
        self.clients.append(client)
        return client

    def close_clients(self):
        """Dovecot waits 10 seconds for connected clients when it stops."""
        while self.clients:
            self.clients.pop().close()

    def doveadm(self, *args, fails=False):
        """Returns what it prints; its errors too, if it is to fail."""
        result = subprocess.run([self.vars["DOVEADM"], *args], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (result.returncode != 0) == fails, result
        return result.stdout + result.stderr if fails else result.stdout

    def reload(self):
        self.reloaded = True
        self.doveadm("reload")

    def log(self):
        with open(self.vars["LOG"]) as log:
            return log.read()

    def logs(self, text):
        """True as soon as the text is in the log."""
        for _ in range(300):
            if text in self.log():
                return True
            time.sleep(0.05)
        return False

    def wait_for_log(self):
        """Sessions may end, and their lines reach the log, after their clients have
        gone: they mustn't be taken for the next test's."""
        deadline, size = time.monotonic() + 10, -1
        while time.monotonic() < deadline and size != len(self.log()):
            size = len(self.log())
            time.sleep(0.5)

    def faults(self):
        """The log's lines that no test expects."""
        return [line for line in self.log().splitlines()
                if any(word in line for word in
                       ("Error:", "Fatal:", "Panic:", "Warning:"))
                and not (self.reloaded and RELOAD_FAULTS.search(line))]

    def stop(self):
        """Stops it, and removes its folder unless a fault is in its log."""
        faults = [line for line in self.faults() if "panic" in line.lower()]
        if self.known_panic is not None:
            faults = [line for line in faults if not re.search(self.known_panic, line)]
        subprocess.run([HERE + "/private-dovecot", "stop", self.path],
                       check=True)
        assert faults == [], self.path
        shutil.rmtree(os.path.dirname(self.path))


@pytest.fixture(scope="session", params=["maildir", "sdbox", "mdbox"])
def server(request):
    """One server per mail format. Each test takes a user of its own."""
    server = Server.temporary(request.param)
    yield server
    server.stop()


@pytest.fixture
def user(request):
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


@pytest.fixture(scope="session")
def real_mail(tmp_path_factory):
    """Messages that people wrote to mailing lists, as bytes."""
    folder = tmp_path_factory.mktemp("mail")
    subprocess.run([HERE + "/real-mail", str(folder)], check=True)
    messages = []
    for name in sorted(os.listdir(folder / "cur")):
        messages.append((folder / "cur" / name).read_bytes())
    return messages


@pytest.fixture(autouse=True)
def no_faults(request):
    """A test fails if the server logged an error that it didn't expect."""
    if "server" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("server")
    before = len(server.faults())
    yield
    server.close_clients()
    if request.node.get_closest_marker("expects_faults") is None:
        assert server.faults()[before:] == []
    else:
        server.wait_for_log()


def pytest_configure(config):
    # ./check ends us so when it is interrupted: stop the servers
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "expects_faults: errors are logged")
