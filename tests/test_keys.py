# SPDX-License-Identifier: LGPL-2.1-only
"""Devices' keys and locks: R-7.6, R-13.2 for what is encrypted, R-13.7, R-14.3."""
import base64
import glob
import os
import pwd
import re
import socket
import sqlite3
import ssl
import subprocess
import time

import pytest

import envelope
from conftest import DOVECOT_24, HIBERNATION, Server, settings
from imap_client import Client
from outband_peers import wait_for
from test_hibernate import SLEEPS
from test_outband_channels import Program

JOE = "joe@example.com"
TAG = "_%$P-IMAP$%_ "
# what an administrator who looks for a fault switches on
DEBUG = """
auth_verbose = yes
auth_debug = yes
auth_debug_passwords = yes
mail_debug = yes
log_debug = category=*
verbose_proctitle = yes
"""


def key(server, device="phone", user=JOE):
    """Number and key"""
    output = server.doveadm("-f", "tab", "pimap", "device", "key", "-u", user, device)
    assert output.splitlines()[0] == "device\tnumber\tkey"
    name, number, text = output.splitlines()[1].split("\t")
    assert name == device
    secret = base64.b64decode(text, validate=True)
    assert len(secret) == 32
    return int(number), secret


def exit_status(server, *args):
    return subprocess.run([server.vars["DOVEADM"], *args], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode


def unsealed(text, *keys):
    """What a notification says, with whichever of the keys fits"""
    assert text.startswith(TAG), text
    sealed = base64.b64decode(text[len(TAG):], validate=True)
    for number, secret in keys:
        try:
            return envelope.unseal(secret, number, "N", sealed).decode()
        except envelope.Refused:
            pass
    return None


@pytest.fixture
def program(request):
    program = Program(**getattr(request, "param", {}))
    program.server.doveadm("pimap", "device", "add", "-u", JOE, "phone")
    yield program
    program.server.close_clients()
    faults = program.server.faults()
    program.stop()
    if request.node.get_closest_marker("expects_faults") is None:
        assert faults == []


def texts(program):
    """What was sent, by number"""
    found = {}
    for name, text in program.files("in").items():
        found[int(name.split("-")[1])] = text
    return [found[seq] for seq in sorted(found)]


def test_key(program):
    """R-7.6"""
    server = program.server
    number, secret = key(server)
    assert number == 1
    assert key(server) == (1, secret)
    server.doveadm("pimap", "device", "add", "-u", JOE, "other")
    assert key(server, "other")[1] != secret
    server.doveadm("pimap", "device", "rekey", "-u", JOE, "phone")
    number, new = key(server)
    assert number == 2 and new != secret
    # there are no such ones
    assert exit_status(server, "pimap", "device", "key", "-u", JOE, "none") == 68
    assert exit_status(server, "pimap", "device", "key", "-u", JOE, "not a name") == 64
    assert exit_status(server, "pimap", "device", "lock", "-u", JOE, "none") == 68
    server.doveadm("pimap", "device", "add", "-u", JOE, "third")
    assert "has no key yet" in server.doveadm("pimap", "device", "rekey", "-u", JOE, "third",
                                              fails=True)
    assert exit_status(server, "pimap", "device", "unlock", "-u", JOE, "third") == 68
    # only the service may read them, where they are
    files = glob.glob(server.path + "/state/pimap-outband/*")
    assert len(files) >= 4
    for path in files:
        if not path.endswith("/locks"):
            assert os.stat(path).st_mode & 0o077 == 0, path


@pytest.mark.expects_faults
def test_service_is_missing(program):
    server = program.server
    os.rename(server.path + "/run/pimap-outband-control", server.path + "/run/away")
    for command in ("key", "rekey", "lock", "unlock"):
        assert exit_status(server, "pimap", "device", command, "-u", JOE, "phone") == 75
    os.rename(server.path + "/run/away", server.path + "/run/pimap-outband-control")


@pytest.mark.parametrize("program", [
    {"pimap_encryption": method} if method else {} for method in ("", "AES", "3DES", "3des AES")],
    indirect=True, ids=["default", "AES", "3DES", "3DES-AES"])
def test_extended_is_encrypted(program, request):
    """R-13.2: everything after the tag, where the device has a key"""
    program.format = "EXTENDED"
    program.new("Ann <ann@peer.example>", "A secret")
    plain, = wait_for(lambda: texts(program))
    assert plain == TAG + '1 joe@example.com NEW_MESSAGE 1 NIL "20-Feb-2004" "06:40:00" NIL'
    first = key(program.server)
    program.new("Ann <ann@peer.example>", "A secret", count=2)
    _, second, third = wait_for(lambda: len(texts(program)) == 3 and texts(program))
    for seq, text in ((2, second), (3, third)):
        assert unsealed(text, first) == (
            '%d joe@example.com NEW_MESSAGE %d "Ann <ann@peer.example>" "20-Feb-2004" '
            '"06:40:00" "A secret"' % (seq, seq))
        assert b"secret" not in text.encode()
    method = request.node.callspec.id.split("-")[0].replace("default", "AES")
    assert base64.b64decode(second[len(TAG):])[1] == envelope.METHODS[method]
    # the nonces are others, and so is what comes of them
    assert second[len(TAG) + 8:][:20] != third[len(TAG) + 8:][:20]


def test_emn_is_not_encrypted(program):
    key(program.server)
    program.new("Ann <ann@peer.example>", "A secret")
    text, = wait_for(lambda: texts(program))
    assert text.startswith("<emn ") and "secret" not in text


@pytest.mark.expects_faults
def test_sent_again_under_its_number(program):
    """R-13.3: before encryption it is the same"""
    program.format = "EXTENDED"
    first = key(program.server)
    program.write("exit 75")
    program.new("Ann <ann@peer.example>", "A secret")
    tries = wait_for(lambda: len(program.files("in")) >= 2 and program.files("in"))
    assert {unsealed(text, first) for text in tries.values()} == {
        '1 joe@example.com NEW_MESSAGE 1 "Ann <ann@peer.example>" "20-Feb-2004" "06:40:00" '
        '"A secret"'}
    assert len(set(tries.values())) == len(tries)


def test_rekey_is_notified(program):
    """R-7.6, R-13.7: as EXTENDED whatever the format, and under the key that the device
    has"""
    first = key(program.server)
    program.new()
    wait_for(lambda: len(texts(program)) == 1)
    program.server.doveadm("pimap", "device", "rekey", "-u", JOE, "phone")
    second = key(program.server)
    text = wait_for(lambda: len(texts(program)) == 2 and texts(program))[1]
    assert unsealed(text, first) == "2 joe@example.com NEW_ENC_KEY"
    assert unsealed(text, second) is None


@pytest.mark.expects_faults
def test_lock(program):
    """R-13.7"""
    server = program.server
    server.doveadm("pimap", "device", "add", "-u", JOE, "other")
    program.events["other"] = []
    program.new()
    wait_for(lambda: len(texts(program)) == 1)
    # more, which can't be sent yet
    program.write("exit 75")
    program.new(count=3)
    wait_for(lambda: len(program.files("in")) > 2)
    sessions = [server.client(JOE + "#phone") for _ in range(2)]
    sessions[1].ok("SELECT INBOX")
    sessions[1].idle()
    others = [server.client(JOE), server.client(JOE + "#other"), server.client("ann#phone")]

    server.doveadm("pimap", "device", "lock", "-u", JOE, "phone")
    program.write("exit 0")
    started = time.monotonic()
    for session in sessions:
        session.file.deadline = time.monotonic() + 10
        # IDLE says now and then that it is there
        line = next(line for line in iter(session.file.readline, b"")
                    if line != b"* OK Still here\r\n")
        assert line == b"* BYE This device is locked.\r\n"
        assert session.file.readline() == b""
    assert time.monotonic() - started < 7
    client = Client(server.port)
    refused = client.authenticate(JOE + "#phone", "pass")
    wrong = client.authenticate(JOE + "#other", "wrong")
    client.close()
    assert refused.status == "NO" and refused.text == wrong.text
    assert server.logs("Device login refused: phone is locked")
    for other in others:
        other.ok("NOOP")
    Client(server.port, JOE).close()
    Client(server.port, JOE + "#other").close()
    Client(server.port, "ann#phone").close()

    # nothing but the lock is told any more: the phone may be in somebody's hands
    text = wait_for(lambda: [text for text in texts(program) if "LOCK_DOWN" in text])[0]
    assert re.fullmatch(re.escape(TAG) + r"\d+ joe@example.com LOCK_DOWN", text)
    count = len(program.files("in"))
    program.new(count=2)
    program.new(device="other")
    wait_for(lambda: [name for name in program.files("in") if name.startswith("other-")])
    time.sleep(0.5)
    assert len([name for name in program.files("in") if name.startswith("phone-")]) == count
    assert exit_status(server, "pimap", "device", "lock", "-u", JOE, "phone") == 68

    server.doveadm("pimap", "device", "unlock", "-u", JOE, "phone")
    wait_for(lambda: [text for text in texts(program) if text.startswith("<emn")][1:])
    Client(server.port, JOE + "#phone").close()
    trace = server.doveadm("pimap", "outband", "trace", "-u", JOE, "phone")
    assert "dropped: the device is locked" in trace
    assert "FULL_SYNC, by the administrator" in trace


def test_lock_of_a_session_that_sleeps():
    """R-13.7: it is told nothing any more when it wakes."""
    server = Server.temporary("maildir", extra=settings({}) + HIBERNATION +
                              "imap_hibernate_timeout = 1 s\n")
    try:
        server.doveadm("pimap", "device", "add", "-u", JOE, "phone")
        session = server.client(JOE + "#phone")
        session.ok("SELECT INBOX")
        session.idle()
        assert server.logs(SLEEPS)
        server.doveadm("pimap", "device", "lock", "-u", JOE, "phone")
        session.sock.sendall(b"DONE\r\nx SELECT INBOX\r\n")
        session.file.deadline = time.monotonic() + 15
        lines = []
        while not lines or lines[-1] != b"":
            lines.append(session.file.readline())
        # "Still here" came while it was in IDLE
        lines = [line for line in lines[:-1] if not line.startswith(b"* OK Still")]
        assert len(lines) <= 1 and all(line.startswith(b"* BYE ") for line in lines), lines
    finally:
        server.close_clients()
        server.stop()


TLS = """
ssl = yes
service imap-login {
  inet_listener imaps {
    port = %d
    ssl = yes
  }
}
""" + ("ssl_server_cert_file = %s\nssl_server_key_file = %s\n" if DOVECOT_24 else
       "ssl_cert = <%s\nssl_key = <%s\n")


class Provisioned:
    """A server whose sessions ask for keys. With far, clients that aren't of this host
    for Dovecot"""

    def __init__(self, path, **values):
        self.path = str(path)
        os.chmod(self.path, 0o755)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
                        "-keyout", self.path + "/key.pem", "-out", self.path + "/cert.pem"],
                       check=True, stderr=subprocess.DEVNULL)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.tls_port = sock.getsockname()[1]
        self.server = Server.temporary("maildir", extra=settings(values) + TLS % (
            self.tls_port, self.path + "/cert.pem", self.path + "/key.pem") + DEBUG)

    def client(self, user, tls=False, source="127.0.0.1"):
        port = self.tls_port if tls else self.server.port
        sock = socket.create_connection(("127.0.0.1", port), timeout=20,
                                        source_address=(source, 0))
        if tls:
            context = ssl.create_default_context(cafile=self.path + "/cert.pem")
            sock = context.wrap_socket(sock, server_hostname="localhost")
        client = Client(port, user, sock=sock)
        self.server.clients.append(client)
        return client

    def key(self, *args, command="XPROVISION", **options):
        """What XPROVISION tells, and nothing else of the kind"""
        client = self.client(*args, **options)
        lines = [r.line for r in client.ok(command).untagged]
        client.close()
        found = [line for line in lines if "PIMAP_ENC_KEY" in line]
        if not found:
            return None
        assert lines[-1] == found[0] and len(found) == 1
        number, text = re.fullmatch(r"\* XPROVISION PIMAP_ENC_KEY \((\d+):(\S+)\)",
                                    found[0]).groups()
        return int(number), base64.b64decode(text, validate=True)

    def stop(self):
        self.server.close_clients()
        self.server.stop()


@pytest.mark.parametrize("transport", ["secured", "tls", "never"])
def test_key_by_transport(tmp_path, transport):
    """R-7.6"""
    provisioned = Provisioned(tmp_path, pimap_encryption="AES", pimap_key_transport=transport)
    try:
        # of this host; not so, by Dovecot's notion
        near, far = provisioned.key("joe#P1"), provisioned.key("joe#P1", source="127.0.0.9")
        tls = provisioned.key("joe#P1", tls=True, source="127.0.0.9")
        assert far is None
        assert (near is not None) == (transport == "secured")
        assert (tls is not None) == (transport != "never")
        if transport == "secured":
            assert near == tls
        # it is the one that the service has
        assert key(provisioned.server, "P1", "joe") == (tls or key(
            provisioned.server, "P1", "joe"))
        assert provisioned.server.faults() == []
    finally:
        provisioned.stop()


def test_key_by_xprovision(tmp_path):
    """R-7.6: of each device its own, until it has been used; the new one after rekey;
    R-14.3: in no log"""
    provisioned = Provisioned(tmp_path, pimap_encryption="3DES AES")
    server = provisioned.server
    try:
        keys = {name: provisioned.key(name) for name in ("joe#P1", "joe#P2", "ann#P1")}
        assert len({secret for _, secret in keys.values()}) == 3
        assert provisioned.key("joe#P1") == keys["joe#P1"]
        # by the plain session of the same user, which could log in as that device anyway
        assert provisioned.key("joe", command="XPROVISION P1") == keys["joe#P1"]
        assert provisioned.key("ann#P1") == keys["ann#P1"]
        server.doveadm("pimap", "device", "rekey", "-u", "joe", "P1")
        second = provisioned.key("joe#P1")
        assert second[0] == 2 and second[1] != keys["joe#P1"][1]
        keys["rekeyed"] = second
        server.doveadm("pimap", "device", "lock", "-u", "joe", "P2")
        for _, secret in keys.values():
            for text in (base64.b64encode(secret).decode(), secret.hex()):
                assert text not in server.log()
                assert text[:20] not in server.log()
        assert "XPROVISION" in server.log()
        assert server.faults() == []
    finally:
        provisioned.stop()


def test_no_key_where_nothing_uses_it(tmp_path):
    provisioned = Provisioned(tmp_path)
    try:
        assert provisioned.key("joe#P1", tls=True) is None
        assert not os.path.exists(provisioned.server.path + "/run/none")
        assert "PIMAP_UDP" not in "".join(
            r.line for r in provisioned.client("joe#P1").ok("XPROVISION").untagged)
    finally:
        provisioned.stop()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_key_is_the_users(tmp_path):
    """R-14.3: the socket is open to everybody, but answers only root, the service's
    user, and the user's uid"""
    provisioned = Provisioned(tmp_path, pimap_encryption="AES")
    server = provisioned.server

    def ask(uid, user="joe"):
        code = """
import os, socket, sys
os.setgid(%d); os.setuid(%d)
sock = socket.socket(socket.AF_UNIX)
sock.connect(%r)
sock.sendall(b"VERSION\\tpimap-keys\\t1\\t0\\nKEY\\t%s\\tP1\\n")
file = sock.makefile()
file.readline()
print(file.readline().split("\\t")[0].strip())
""" % (uid, uid, os.path.realpath(server.path + "/run") + "/pimap-outband-keys", user)
        return subprocess.run(["/usr/bin/python3", "-c", code], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()

    try:
        first = provisioned.key("joe#P1")
        assert first is not None
        nobody = pwd.getpwnam("nobody").pw_uid
        dovecot = pwd.getpwnam("dovecot").pw_uid
        assert ask(0) == ask(dovecot) == ask(nobody) == "KEY"
        assert ask(65000) == "FAIL" and ask(pwd.getpwnam("daemon").pw_uid) == "FAIL"
        assert server.logs("A process of uid 65000 isn't given the key of joe#P1")
    finally:
        provisioned.stop()


@pytest.mark.parametrize("request_text", [
    "KEY\tjoe\n", "KEY\tjoe\tP1\tx\n", "KEY\t\tP1\n", "KEY\tjoe\t../x\n", "LOCK\tjoe\tP1\n",
    "KEY\tj\001noe\tP1\n", "KEY\t%s\tP1\n" % ("x" * 1100), "x" * 5000 + "\n", "\n"],
    ids=range(9))
def test_malformed_request_for_a_key(keyless, request_text):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(keyless.path + "/run/pimap-outband-keys")
        sock.settimeout(10)
        sock.sendall(("VERSION\tpimap-keys\t1\t0\n" + request_text).encode())
        data = b""
        while True:
            try:
                part = sock.recv(1000)
            except ConnectionResetError:
                part = b""
            if not part:
                break
            data += part
    assert b"KEY" not in data


@pytest.fixture(scope="module")
def keyless():
    server = Server.temporary("maildir")
    yield server
    server.stop()


@pytest.mark.expects_faults
def test_clear_text_forbidden(program):
    """R-14.2: what got its text when it could be encrypted isn't sent otherwise."""
    program.format = "EXTENDED"
    key(program.server)
    program.write("exit 75")
    program.new("Ann <ann@peer.example>", "A secret")
    program.new("Ann <ann@peer.example>", "Another secret")
    wait_for(lambda: program.files("in"))
    db = sqlite3.connect(program.server.path + "/state/pimap-outband/outband.sqlite", timeout=20)
    with db:
        db.execute("UPDATE device_keys SET number = 0, secret = '' WHERE device = 'phone'")
    db.close()
    count = len(program.files("in"))
    program.write("exit 0")
    found = wait_for(lambda: [text for text in program.files("in").values()
                              if "NEW_MESSAGE" in text])
    assert found == [TAG + '2 joe@example.com NEW_MESSAGE 2 NIL "20-Feb-2004" "06:40:00" NIL']
    assert "given up: It tells of a message" in program.server.doveadm(
        "pimap", "outband", "trace", "-u", JOE, "phone")
    assert count >= 1
