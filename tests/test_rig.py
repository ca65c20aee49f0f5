# SPDX-License-Identifier: LGPL-2.1-only
"""The private Dovecot and the demo: what all other tests stand on."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import types

import pytest

from conftest import DOVECOT_24, HERE, Server
from imap_client import Client
from worker_client import Worker

TOP = os.path.dirname(HERE)
MESSAGE = b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"
AUTH = """passdb static {
  password = other
}
userdb static {
  userdb_static_allow_all_users = yes
}""" if DOVECOT_24 else """passdb {
  driver = static
  args = password=other
}
userdb {
  driver = static
  args = allow_all_users=yes
}"""


@pytest.fixture
def folder():
    """One that the mail user may enter, with a space in its name."""
    path = tempfile.mkdtemp(prefix="pimap rig.")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def rig(*args, folder=None, env=None, prefix=(), script=HERE + "/private-dovecot"):
    """Its status, and all that it prints, through a pipe that is read to its end."""
    result = subprocess.run([*prefix, script, *args], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env=dict(os.environ, **(env or {})), timeout=60)
    return result.returncode, result.stdout


def start(*args, **options):
    status, output = rig("start", *args, **options)
    assert status == 0, output
    return dict(line.split("=", 1) for line in output.splitlines())


def stop(path, **options):
    assert rig("stop", path, **options) == (0, "")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def processes(run):
    """Those of the server with this folder of sockets, by their names."""
    names = subprocess.run(["ps", "-eo", "stat=,args="], text=True, check=True,
                           stdout=subprocess.PIPE).stdout.splitlines()
    return [name for name in names
            if os.path.basename(run) + "/" in name and not name.startswith("Z")]


def test_options(folder):
    for name, text in (("a b.conf", AUTH), ("x y.conf", "login_greeting = Rig")):
        with open(os.path.join(folder, name), "w") as output:
            output.write(text)
    port = free_port()
    server = start("d d", "-p", str(port), "-f", "sdbox", "-a", "a b.conf",
                   "-x", "x y.conf", folder=folder, env={"TZ": "Pacific/Auckland"})
    assert sorted(server) == ["CONF", "DOVEADM", "IMAP_PORT", "LMTP_SOCKET", "LOG",
                              "MODULES"]
    assert server["IMAP_PORT"] == str(port)
    assert all(os.path.exists(path) for key, path in server.items()
               if key != "IMAP_PORT")
    with pytest.raises(PermissionError):
        Client(port, "joe", "pass")
    joe = Client(port, "joe", "other")
    assert joe.greeting.endswith("Rig")
    joe.append("INBOX", [MESSAGE])
    joe.ok("SELECT INBOX")
    date = joe.ok("FETCH 1 (INTERNALDATE)").untagged[0].line
    assert re.search(r" \+1[23]00\"", date)
    assert os.path.isdir(os.path.join(folder, "d d", "mail", "joe", "sdbox"))
    doveadm = subprocess.run([server["DOVEADM"], "pimap", "filter", "list", "-u", "joe"])
    assert doveadm.returncode == 0
    run = os.path.realpath(os.path.join(folder, "d d", "run"))
    assert len(processes(run)) > 3
    joe.close()
    stop("d d", folder=folder)
    assert processes(run) == [] and not os.path.exists(run)
    with pytest.raises(ConnectionRefusedError):
        Client(port)


def test_remains_of_another_server(folder):
    """The mail stays; what is left of a server that was killed goes."""
    path = folder + "/dovecot"
    server = start(path)
    client = Client(int(server["IMAP_PORT"]), "joe")
    client.append("INBOX", [MESSAGE])
    status, output = rig("start", path)
    assert status != 0 and "in use" in output
    run = os.path.realpath(path + "/run")
    with open(run + "/master.pid") as file:
        os.kill(int(file.read()), signal.SIGKILL)
    server = start(path, "-n")
    assert processes(run) == [] and not os.path.exists(run)
    client.close()
    client = Client(int(server["IMAP_PORT"]), "joe")
    assert client.status("INBOX")["MESSAGES"] == 1
    # -n: no pimap
    assert "XFILTER" not in client.greeting + str(client.ok("CAPABILITY").untagged)
    with pytest.raises(PermissionError):
        Client(int(server["IMAP_PORT"]), "joe#P1")
    client.close()
    stop(path)


def test_refusals(folder):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = str(listener.getsockname()[1])
        for args, text in (
                (("-f", "mbox"), "unknown format mbox"),
                (("-p", taken), "already in use"),
                (("-x", "/nonexistent/x.conf"), "No such file"),
                (("-n", "more"), "what is more?"),
                (("-x", HERE + "/conftest.py"), "doesn't start")):
            status, output = rig("start", folder + "/dovecot", *args)
            assert status != 0 and text.lower() in output.lower()
            assert not os.path.lexists(folder + "/dovecot/run")
    status, output = rig("stop", folder + "/dovecot")
    assert status != 0 and "isn't running" in output
    if os.getuid() == 0:
        os.chmod(folder, 0o700)
        status, output = rig("start", folder + "/dovecot")
        assert status != 0 and "can't enter" in output


def test_any_user(folder):
    """As an ordinary user, in a tree of his own; device logins, doveadm, LMTP's
    socket and pimap-worker are all there."""
    tree = folder + "/tree"
    shutil.copytree(HERE, tree + "/tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TOP + "/doc", tree + "/doc")
    top = os.environ.get("top_builddir", TOP)
    for name in os.listdir(top + "/src"):
        built = "/src/%s/.libs" % name
        if os.path.isdir(top + built):
            os.makedirs(tree + built)
            for lib in os.listdir(top + built):
                if lib.endswith(".so"):
                    shutil.copy(top + built + "/" + lib, tree + built)
    for name in ("pimap-outband", "pimap-worker"):
        os.makedirs("%s/src/%s" % (tree, name), exist_ok=True)
        shutil.copy("%s/src/%s/%s" % (top, name, name), "%s/src/%s/" % (tree, name))
    prefix = ()
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path, _, names in os.walk(folder):
            for name in [path] + [os.path.join(path, name) for name in names]:
                os.chown(name, nobody.pw_uid, nobody.pw_gid)
        prefix = ("setpriv", "--reuid=%d" % nobody.pw_uid,
                  "--regid=%d" % nobody.pw_gid, "--clear-groups")
    options = dict(prefix=prefix, script=tree + "/tests/private-dovecot",
                   env={"top_builddir": tree, "HOME": folder})
    server = start(folder + "/dovecot", **options)
    phone = Client(int(server["IMAP_PORT"]), "joe#phone")
    phone.ok("XFILTER SET F1 NIL (SUBJECT x)")
    output = subprocess.run([*prefix, server["DOVEADM"], "pimap", "filter", "list",
                             "-u", "joe"], text=True, check=True,
                            stdout=subprocess.PIPE).stdout
    assert "F1" in output
    with socket.socket(socket.AF_UNIX) as lmtp:
        lmtp.connect(server["LMTP_SOCKET"])
        assert lmtp.recv(3) == b"220"
    with Worker(types.SimpleNamespace(path=folder + "/dovecot")) as worker:
        assert worker.folders("joe") == {}
    phone.close()
    stop(folder + "/dovecot", **options)


# What people's mailboxes have in them
BROKEN = [
    b"From: Boss <boss@example.com>\nSubject: =?x-no-such-charset?Q?=E4?=\n\nbody\n",
    b"From: boss@example.com\nSubject: =?utf-8?B?abc?= \xe4\xf6\xfc \x1b[31m\n\n\xff\xfe\0\n",
    b"From: boss@example.com\nno colon here\n: no name\nSubject: \xc3\n\n>From quoted\n",
    b"From: \"J\xf6rg\" <joerg@example.org\nSubject:\n folded\n\n\n",
    b"Subject: no sender\n\nlast line without its end",
    b"\nonly a body\n",
]


@pytest.fixture
def demo():
    """Runs demo.py with a mailbox, on a server that knows its peers."""
    path = tempfile.mkdtemp(prefix="pimap-demo.")
    os.chmod(path, 0o755)
    extra = subprocess.run([HERE + "/demo.py", "prepare", path], check=True, text=True,
                           stdout=subprocess.PIPE).stdout
    server = Server.temporary("mdbox", extra=extra)
    yield lambda mail, user: subprocess.run(
        [HERE + "/demo.py", "show", path, str(server.port), server.vars["LMTP_SOCKET"],
         mail, user], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert server.faults() == []
    server.stop()
    shutil.rmtree(path)


@pytest.mark.parametrize("kind", ["mbox", "maildir"])
def test_demo(demo, kind, folder):
    if kind == "mbox":
        path = folder + "/mail box"
        with open(path, "wb") as mbox:
            for number, message in enumerate(BROKEN):
                mbox.write(b"From sender%d Thu Nov  6 10:00:0%d 2025\n" % (number, number))
                mbox.write(message + b"\n")
    else:
        path = folder + "/Maildir"
        for sub in ("cur", "new", "tmp"):
            os.makedirs(path + "/" + sub)
        for number, message in enumerate(BROKEN):
            with open("%s/cur/%d.rig:2,S" % (path, number), "wb") as file:
                file.write(message)
    result = demo(path, "joe")
    output = result.stdout.decode()
    assert result.returncode == 0, output
    assert "has 6 messages" in output and "boss@example.com" in output
    assert "\x1b" not in output
    assert "S: * 3 EXISTS" in output
    assert '<emn mailbox="mailat:joe"' in output
    for words in ("and the tablet reads:", "The watch reads,"):
        assert '"boss@example.com"' in output.split(words)[1].splitlines()[1]


def test_demo_says_what_it_cannot_show(demo, folder):
    for name, text in (("empty", b""), ("no-sender", b"From x\nSubject: y\n\nz\n")):
        with open(folder + "/" + name, "wb") as output:
            output.write(text)
        result = demo(folder + "/" + name, "demo-" + name)
        assert result.returncode == 1 and b"Traceback" not in result.stdout
        assert b"no message" in result.stdout
