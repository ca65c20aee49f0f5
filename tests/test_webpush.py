# SPDX-License-Identifier: LGPL-2.1-only
"""The channel WEBPUSH, between a worker and a push service of the tests' own."""
import base64
import glob
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import pytest

from conftest import HERE
from outband_peers import wait_for
from test_notifications import Site
from test_outband_channels import Outband, lend
from webpush_peer import Device, PushService, certificate, check_vapid

SUBJECT = "mailto:postmaster@example.com"


class WebPush(Outband):
    def __init__(self, host="localhost", names=("localhost",), hosts="localhost", trusted=True,
                 endpoint=None, listen="127.0.0.1", **values):
        self.path = tempfile.mkdtemp(prefix="pimap-webpush.")
        os.chmod(self.path, 0o755)
        issuer = certificate(self.path + "/ca", ())
        if not trusted:
            certificate(self.path + "/ca", ())
        certificate(self.path + "/service", names, issuer)
        self.service = PushService(self.path + "/service.pem", listen)
        self.device = Device()
        self.origin = "https://%s:%d" % (host, self.service.port)
        super().__init__("WEBPUSH", self.device.address(
            endpoint or self.origin + "/push/abc?d=1"), dict(
                {"pimap_webpush_subject": SUBJECT, "pimap_webpush_hosts": hosts,
                 "pimap_webpush_ca": self.path + "/ca.pem"}, **values))

    def texts(self):
        return [self.device.decrypt(body) for _, _, body in self.service.requests]

    def key_file(self):
        return self.server.path + "/state/pimap-outband/webpush.pem"

    def stop(self):
        super().stop()
        self.service.stop()
        shutil.rmtree(self.path)


@pytest.fixture
def push(request):
    push = WebPush(**getattr(request, "param", {}))
    yield from lend(request, push)


def test_webpush(push):
    """RFC 8030, 8291, 8292"""
    push.format = "EXTENDED"
    push.new("Ann <ann@peer.example>", "Gr\u00fc\u00dfe \U0001f600")
    wait_for(lambda: push.service.requests)
    # no clear text is allowed, and none is sent
    assert push.texts() == [
        '_%$P-IMAP$%_ 1 joe@example.com NEW_MESSAGE 1 "Ann <ann@peer.example>" "20-Feb-2004" '
        '"06:40:00" "Gr\u00fc\u00dfe \U0001f600"']
    (path, headers, body), = push.service.requests
    assert b"Ann" not in body
    assert path == "/push/abc?d=1"
    assert headers["Host"] == "localhost:%d" % push.service.port
    assert headers["Content-Encoding"] == "aes128gcm"
    assert headers["Urgency"] == "normal"
    assert 3 * 24 * 3600 - 60 < int(headers["TTL"]) <= 3 * 24 * 3600
    claims, key = check_vapid(headers["Authorization"], push.origin)
    assert claims["sub"] == SUBJECT
    assert push.server.logs("(NEW_MESSAGE by WEBPUSH): sent")
    assert stat.S_IMODE(os.stat(push.key_file()).st_mode) == 0o600
    assert push.server.logs("devices subscribe with the key " + key)

    # the next one: the same key of the service, all others new
    push.format = "EMN"
    push.new()
    wait_for(lambda: len(push.service.requests) == 2)
    assert push.texts()[1].startswith("<emn ")
    _, headers2, body2 = push.service.requests[1]
    assert check_vapid(headers2["Authorization"], push.origin)[1] == key
    assert body[:16] != body2[:16] and body[21:86] != body2[21:86]
    #
    log = push.server.log()
    with open(push.key_file()) as file:
        secret = file.read().splitlines()[1]
    assert secret not in log and push.address.split()[2] not in log
    assert headers["Authorization"].split("t=")[1][:40] not in log


def test_webpush_in_five_minutes(push):
    """README's: the device in a terminal, behind ntfy"""
    program = HERE + "/../doc/webpush-device"
    path = push.path + "/phone.keys"
    keys = subprocess.run([program, "new", path], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    # it doesn't write over keys that a server may have
    assert subprocess.run([program, "new", path], stderr=subprocess.DEVNULL).returncode != 0
    push.address = "%s/up1?up=1 %s" % (push.origin, keys)
    push.format = "EXTENDED"
    push.new("Ann <ann@peer.example>", "one")
    push.new("Ann <ann@peer.example>", "two")
    wait_for(lambda: len(push.service.requests) == 2)
    bodies = [body for _, _, body in push.service.requests]

    def show(data):
        return subprocess.run([program, "show", path], input=data, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b'"one"' in show(bodies[0]).stdout
    lines = [{"event": "open"}] + [
        {"event": "message", "encoding": "base64", "message": base64.b64encode(body).decode()}
        for body in (bodies[0], b"x" * 200, bodies[1])]
    result = show("".join(json.dumps(line) + "\n" for line in lines).encode())
    assert [b'"one"' in line for line in result.stdout.splitlines()] == [True, False]
    assert b'"two"' in result.stdout and b"not for these keys" in result.stderr


def test_webpush_large(push):
    """All that fits, and no more"""
    push.format = "EXTENDED"
    push.new("a@b", "\u20ac" * 300, "\U0001f600" * 2000)
    wait_for(lambda: push.service.requests)
    text, = push.texts()
    assert 3990 <= len(text.encode()) <= 3993 and text.endswith('\U0001f600"')
    assert len(push.service.requests[0][2]) <= 4096


# 401, 403: vapid#56, pywebpush#74, web-push#258: each try is signed anew
RETRY = [(401, {}), (403, {}),
         (429, {}), (429, {"Retry-After": "3"}), (503, {"Retry-After": "3"}), (500, {}), (502, {}),
         (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), (429, {"Retry-After": "soon"}),
         b"", b"HTTP/1.1 2", b"no HTTP\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
         b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\n\r\n",
         b"HTTP/1.1 201 Created\r\nX: " + b"x" * 100000]


@pytest.mark.parametrize("push", [{"pimap_outband_retry_max": "10 s"}], indirect=True)
@pytest.mark.parametrize("answer", RETRY, ids=range(len(RETRY)))
def test_webpush_tries_again(push, answer):
    """With the same number and text, not sooner than it says; what comes later waits"""
    push.service.answer = lambda n: answer if n == 0 else (201, {})
    start = time.monotonic()
    push.new(count=2)
    wait_for(lambda: len(push.service.requests) == 3)
    if isinstance(answer, tuple) and answer[1].get("Retry-After") == "3":
        assert time.monotonic() - start >= 2.9
    texts = push.texts()
    assert texts[0] == texts[1]
    assert push.service.requests[0][2][:16] != push.service.requests[1][2][:16]
    signed = [headers["Authorization"] for _, headers, _ in push.service.requests]
    assert all(check_vapid(header, push.origin) for header in signed) and len(set(signed)) == 3
    assert push.server.logs("Notification 2 (NEW_MESSAGE by WEBPUSH): sent")


@pytest.mark.expects_faults
@pytest.mark.parametrize("status", [400, 301, 302, 307, 308, 418])
def test_webpush_gives_up(push, status):
    other = PushService(push.path + "/service.pem")
    push.service.answer = lambda n: (status, {"Location": "https://localhost:%d/" % other.port}) \
        if n == 0 else (200, {})
    push.new(count=2)
    wait_for(lambda: len(push.service.requests) == 2)
    assert push.server.logs("Notification 1 (NEW_MESSAGE by WEBPUSH): given up: localhost: %d" % status)
    assert push.server.logs("Notification 2 (NEW_MESSAGE by WEBPUSH): sent")
    assert other.connections == 0
    other.stop()


@pytest.mark.expects_faults
@pytest.mark.parametrize("status", [404, 410])
def test_webpush_subscription_ended(push, status):
    """Nothing more is sent there, neither by this service nor by the next one, and none
    gets a number; the administrator sees it. A new one is served."""
    def outband(*args):
        return json.loads(push.server.doveadm("-f", "json", "pimap", "outband", *args))

    def unregistered():
        return {row["name"]: row["value"] for row in outband("status")}["devices unregistered"]

    def queued():
        return outband("list")

    def show():
        rows = json.loads(push.server.doveadm("-f", "json", "pimap", "device", "show", "-u",
                                              push.user, "phone"))
        return {row["name"]: row["value"] for row in rows}.get("unregistered")
    push.server.doveadm("pimap", "device", "add", "-u", push.user, "phone")
    push.service.answer = lambda n: (status, {})
    push.new(count=3)
    assert push.server.logs("Notification 1 (NEW_MESSAGE by WEBPUSH): unregistered: "
                            "The subscription has ended")
    wait_for(lambda: queued() == [])
    assert unregistered() == "1" and "The subscription has ended" in show()
    first, = Site.pids(push, "pimap-outband")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: list(Site.pids(push, "pimap-outband")) not in ([], [first]))
    push.new(count=2)
    wait_for(lambda: outband("trace", "-u", push.user, "phone")[-1]["text"] ==
             "dropped: The subscription has ended")
    wait_for(lambda: queued() == [])
    assert unregistered() == "1" and "The subscription has ended" in show()
    assert len(push.service.requests) == 1
    assert push.server.log().count("unregistered: ") == 1
    # another filter makes no other address of it
    push.generation += 1
    push.new()
    wait_for(lambda: len({row["id"] for row in outband("trace", "-u", push.user, "phone")}) == 6)
    wait_for(lambda: queued() == [])
    assert len(push.service.requests) == 1
    push.service.answer = lambda n: (201, {})
    push.address = push.device.address(push.origin + "/push/new")
    push.new()
    assert push.server.logs("Notification 2 (NEW_MESSAGE by WEBPUSH): sent")
    assert unregistered() == "0" and show() is None


def test_webpush_too_long(push):
    """413: the same notification without its message"""
    push.format = "EXTENDED"
    push.service.answer = lambda n: (413, {}) if n == 0 else (201, {})
    push.new("a@b", "subject")
    assert push.server.logs("Notification 1 (NEW_MESSAGE by WEBPUSH): sent")
    assert push.texts()[1] == "_%$P-IMAP$%_ 1 joe@example.com NEW_MESSAGE"


@pytest.mark.expects_faults
def test_webpush_too_long_for_ever(push):
    push.service.answer = lambda n: (413, {})
    push.new()
    assert push.server.logs("given up: localhost: 413")
    assert len(push.service.requests) == 2


@pytest.mark.expects_faults
@pytest.mark.parametrize("push", [
    {"hosts": ""},
    {"host": "127.0.0.1", "names": ("127.0.0.1",), "hosts": ""},
    {"hosts": "10.0.0.0/8 push.example"}], indirect=True)
def test_webpush_private_address(push):
    """R-14.5, as it is at the very address that would be connected to"""
    push.new()
    assert push.server.logs("isn't allowed: its address isn't public")
    assert push.service.connections == 0


@pytest.mark.parametrize("push", [
    {"hosts": "127.0.0.0/8"},
    {"host": "127.0.0.1", "names": ("127.0.0.1",), "hosts": "127.0.0.1"},
    {"host": "[::1]", "names": ("::1",), "hosts": "::1", "listen": "::1"}], indirect=True)
def test_webpush_allowed_address(push):
    push.new()
    assert push.server.logs("(NEW_MESSAGE by WEBPUSH): sent")
    check_vapid(push.service.requests[0][1]["Authorization"], push.origin)


@pytest.mark.parametrize("push", [{"trusted": False}, {"names": ("other.example",)}], indirect=True)
def test_webpush_certificate(push):
    """Of an authority that isn't trusted, or another host's: nothing is sent"""
    push.new()
    assert push.server.logs("by WEBPUSH): retry: localhost: ")
    assert push.service.connections > 0
    assert push.service.requests == []


@pytest.mark.parametrize("push", [{"endpoint": "https://no-such-host.example.invalid.test/"}],
                         indirect=True)
def test_webpush_name_is_unknown(push):
    push.new()
    assert push.server.logs("by WEBPUSH): retry: no-such-host.example.invalid.test: ")


@pytest.mark.expects_faults
@pytest.mark.parametrize("push", [{"endpoint": "https://permanently-removed.invalid/x"}], indirect=True)
def test_webpush_removed(push):
    push.new()
    assert push.server.logs("given up: The address isn't allowed: the subscription has ended")


@pytest.mark.expects_faults
def test_webpush_key_of_the_administrator():
    """Is used as it is, and none is made in its place"""
    path = tempfile.mkdtemp(prefix="pimap-key.")
    os.chmod(path, 0o755)
    key = path + "/key.pem"
    push = WebPush(pimap_webpush_key=key)
    push.new()
    assert push.server.logs("WEBPUSH: open(%s) failed" % key)
    time.sleep(2.5)
    assert not os.path.exists(key)
    assert len(push.server.faults()) == 1
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out",
                    key + ".new"], check=True)
    os.chmod(key + ".new", 0o644)
    os.rename(key + ".new", key)
    assert push.server.logs("(NEW_MESSAGE by WEBPUSH): sent")
    _, used = check_vapid(push.service.requests[0][1]["Authorization"], push.origin)
    der = subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-outform", "DER"], check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    from webpush_peer import encode
    assert used == encode(der[-65:])
    assert not os.path.exists(push.key_file())
    push.stop()
    shutil.rmtree(path)


def test_webpush_slow_service(push):
    """One that doesn't answer holds up nobody else."""
    push.service.answer = lambda n: None if n == 0 else (201, {})
    push.new()
    wait_for(lambda: push.service.requests)
    push.new(device="other")
    wait_for(lambda: len(push.service.requests) == 2, seconds=5)


def test_libcrypto_is_only_in_the_service():
    """Loading it takes IMAP and LMTP processes longer than their work"""
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for path in glob.glob(top + "/src/*/.libs/*.so") + [top + "/src/pimap-worker/pimap-worker"]:
        needed = subprocess.run(["readelf", "-d", path], check=True, text=True,
                                stdout=subprocess.PIPE).stdout
        assert "libcrypto" not in needed, path
