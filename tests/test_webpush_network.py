# SPDX-License-Identifier: LGPL-2.1-only
"""R-14.5 by its default rule: WEBPUSH connects to public addresses only. Each test is
in a network of its own (unshare -n), in which addresses that are others' elsewhere are
this machine's, and in which the name server is the test's. Public failures:
basecamp/fizzy#1905, jaylfc/taOS#2556, palpo#190, a2a-java#1096."""
import contextlib
import functools
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from outband_peers import wait_for
from test_webpush import WebPush
from webpush_peer import PushService

# that are nobody's but this network's
PUBLIC, PUBLIC6 = "1.2.3.4", "2600::1"
OTHER = "1.2.3.5"
PRIVATE = ["127.0.0.1", "10.1.1.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.7.7",
           "198.18.0.1", "0.0.0.0"]
PRIVATE6 = ["::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1", "::ffff:10.1.1.1", "64:ff9b::7f00:1",
            "2002:7f00:1::", "::"]
HERE = os.path.abspath(__file__)

SCRIPT = """set -e
ip link set lo up
for address in %s; do ip address add $address dev lo; done
[ -e /etc/resolv.conf ] || touch /etc/resolv.conf
mount --bind "$1" /etc/resolv.conf
shift
exec "$@"
""" % " ".join([PUBLIC + "/32", PUBLIC6 + "/128", OTHER + "/32"] +
               [address + "/32" for address in PRIVATE[1:-1]] +
               [address + "/128" for address in ("fd00::1", "64:ff9b::7f00:1", "2002:7f00:1::")])


def network(test):
    """Runs the test in a process of its own, in such a network."""
    @functools.wraps(test)
    def wrapper():
        if os.environ.get("PIMAP_TEST_NETWORK") == test.__name__:
            test()
            return
        command = ["unshare", "-n", "-m"]
        command += ["--propagation", "private"] if os.getuid() == 0 else \
            ["-U", "--map-current-user", "--keep-caps"]
        with tempfile.NamedTemporaryFile("w", prefix="pimap-resolv.") as conf:
            conf.write("nameserver 127.0.0.1\n")
            conf.flush()
            os.chmod(conf.name, 0o644)
            result = subprocess.run(
                command + ["sh", "-c", SCRIPT, "sh", conf.name, sys.executable, "-m", "pytest", "-q",
                           "-p", "no:cacheprovider", "%s::%s" % (HERE, test.__name__)],
                env=dict(os.environ, PIMAP_TEST_NETWORK=test.__name__), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout
    return wrapper


class NameServer:
    """names[name] are its addresses, or a function that returns them; of others there
    are none. None: no answer comes. aliases[name] is another name."""

    def __init__(self):
        self.names, self.aliases = {}, {}
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, peer = self.socket.recvfrom(512)
            answer = self.answer(query)
            if answer is not None:
                self.socket.sendto(answer, peer)

    @staticmethod
    def encode(name):
        return b"".join(struct.pack("B", len(part)) + part.encode()
                        for part in name.split(".")) + b"\0"

    def answer(self, query):
        labels, pos = [], 12
        while query[pos]:
            labels.append(query[pos + 1:pos + 1 + query[pos]].decode())
            pos += 1 + query[pos]
        kind, = struct.unpack(">H", query[pos + 1:pos + 3])
        question, name = query[12:pos + 5], ".".join(labels).lower()
        self.asked.append((name, kind))
        records = b""
        count = 0
        if name in self.aliases:
            target = self.encode(self.aliases[name])
            records += b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 0, len(target)) + target
            count, name = 1, self.aliases[name]
        addresses = self.names.get(name, [])
        if callable(addresses):
            addresses = addresses(kind)
        if addresses is None:
            return None
        owner = b"\xc0\x0c" if count == 0 else self.encode(name)
        for address in addresses:
            if (":" in address) == (kind == 28):
                data = socket.inet_pton(socket.AF_INET6 if kind == 28 else socket.AF_INET, address)
                records += owner + struct.pack(">HHIH", kind, 1, 0, len(data)) + data
                count += 1
        # a name without any address isn't there
        return query[:2] + struct.pack(">HHHHH", 0x8180, 1, count, 0, 0) + question + records


class Push(WebPush):
    """A push service at all of this machine's addresses, and a device for each of the
    endpoints"""

    def __init__(self):
        self.names = NameServer()
        self.endpoints = {}
        super().__init__(host="push.example",
                         names=("push.example", "other.example", PUBLIC, PUBLIC6),
                         hosts="", listen="::")
        self.events.clear()

    def answer(self, job):
        lines = []
        for text in super().answer(job):
            fields = text.rstrip("\n").split("\t")
            if fields[0] == "DEVICE":
                fields[4] = self.device.address(self.endpoints[fields[1]])
                text = "\t".join(fields) + "\n"
            lines.append(text)
        return lines

    def url(self, host):
        return "https://%s:%d/x" % ("[%s]" % host if ":" in host else host, self.service.port)

    def add(self, host):
        """Queues a notification for a new device. Returns its name."""
        device = "d%d" % len(self.endpoints)
        self.endpoints[device] = host if "/" in host else self.url(host)
        self.new(device=device)
        return device

    def results(self, device):
        """What became of its tries"""
        start = "#%s: Notification 1 (NEW_MESSAGE by WEBPUSH): " % device
        return [text.split(start)[1] for text in self.server.log().splitlines() if start in text]

    def result(self, host, seconds=30):
        device = self.add(host)
        return wait_for(lambda: self.results(device), seconds)[0]

    def connected(self):
        """At which addresses, since it was asked last"""
        addresses = [address.replace("::ffff:", "") if "." in address else address
                     for address in self.service.addresses]
        self.service.addresses.clear()
        return addresses


NOT_PUBLIC = "isn't allowed: its address isn't public"


@contextlib.contextmanager
def pushing():
    push = Push()
    yield push
    faults = [fault for fault in push.server.faults() if " given up: " not in fault]
    push.stop()
    assert faults == []


@network
def test_addresses():
    """An address of its own in the endpoint"""
    with pushing() as push:
        for address in PRIVATE + PRIVATE6:
            result = push.result(address)
            assert result.startswith("given up: ") and NOT_PUBLIC in result, address
        assert push.connected() == []
        for address in (PUBLIC, PUBLIC6):
            assert push.result(address) == "sent"
            assert push.connected() == [address]
        # another service's port
        assert "its port is another service's" in push.result("https://%s:25/" % PUBLIC)


@network
def test_names():
    """A name is what its address is, which is looked at when it is connected to"""
    with pushing() as push:
        for address in PRIVATE + PRIVATE6:
            push.names.names["push.example"] = [address]
            result = push.result("push.example")
            # some of these the resolver itself gives another form
            assert result.startswith("given up: ") and NOT_PUBLIC in result, address
        del push.names.names["push.example"]
        push.names.aliases["push.example"] = "localhost"
        push.names.names["localhost"] = ["127.0.0.1", "::1"]
        assert NOT_PUBLIC in push.result("push.example")
        del push.names.aliases["push.example"]
        assert push.connected() == []
        for address in (PUBLIC, PUBLIC6):
            push.names.names["push.example"] = [address]
            assert push.result("push.example") == "sent"
            assert push.connected() == [address]


@network
def test_name_with_several_addresses():
    """Only those of them that are public are connected to, whether they answer or not"""
    with pushing() as push:
        for addresses, expected in (
                ([PRIVATE[1], PUBLIC], [PUBLIC]), ([PUBLIC, PRIVATE[1]], [PUBLIC]),
                (["fd00::1", PUBLIC], [PUBLIC]), ([PUBLIC6, "127.0.0.1"], [PUBLIC6]),
                (["::ffff:127.0.0.1", PUBLIC, "::1"], [PUBLIC])):
            push.names.names["push.example"] = addresses
            assert push.result("push.example") == "sent", addresses
            assert push.connected() == expected, addresses
        # where nobody is: the port that the other side of this machine has
        other = PushService(push.path + "/service.pem", PUBLIC)
        push.service.server.server_close()
        push.service.server.shutdown()
        private = PushService(push.path + "/service.pem", PRIVATE[1], other.port)
        push.names.names["push.example"] = [OTHER, PRIVATE[1]]
        result = push.result("https://push.example:%d/" % other.port)
        assert result.startswith("retry: push.example: connect(%s, " % OTHER)
        # the next one of the public ones
        push.names.names["push.example"] = [OTHER, PRIVATE[1], PUBLIC]
        assert push.result("https://push.example:%d/" % other.port) == "sent"
        assert private.connections == 0 and other.connections == 1


@network
def test_name_that_changes():
    """What was looked at is what is connected to: it is asked for once for each try"""
    answers = {1: iter([[PUBLIC], [PRIVATE[1]], [PRIVATE[1]]]), 28: iter([[], [], []])}
    with pushing() as push:
        push.names.names["push.example"] = lambda kind: next(answers[kind])
        assert push.result("push.example") == "sent"
        assert push.connected() == [PUBLIC]
        # this machine's own name is asked for, too
        assert sorted(asked for asked in push.names.asked if asked[0] == "push.example") == [
            ("push.example", 1), ("push.example", 28)]
        assert NOT_PUBLIC in push.result("push.example")
        assert push.connected() == []


@network
def test_redirects():
    """From a public address to this machine's own"""
    with pushing() as push:
        push.names.names["push.example"] = [PUBLIC]
        push.names.names["other.example"] = [PRIVATE[1]]
        for status in (301, 302, 303, 307, 308):
            for host in ("127.0.0.1", "[::1]", "10.1.1.1", "other.example"):
                push.service.answer = lambda n: (status, {
                    "Location": "https://%s:%d/" % (host, push.service.port)})
                assert push.result("push.example").startswith(
                    "given up: push.example: %d" % status)
                assert push.connected() == [PUBLIC]
        assert not any(name == "other.example" for name, _ in push.names.asked)


@network
def test_allowed_private_host():
    """sygnal#419: where the administrator says so"""
    push = WebPush(host=PRIVATE[1], names=(PRIVATE[1],), hosts="10.1.0.0/16", listen=PRIVATE[1])
    push.new()
    assert push.server.logs("(NEW_MESSAGE by WEBPUSH): sent")
    assert push.server.faults() == []
    push.stop()


@network
def test_name_server_that_never_answers():
    """It is tried again later, and holds up nobody else."""
    with pushing() as push:
        push.names.names["other.example"] = None
        push.names.names["push.example"] = [PUBLIC]
        waiting = [push.add("other.example") for _ in range(5)]
        wait_for(lambda: push.names.asked)
        start = time.monotonic()
        assert push.result("push.example", 3) == "sent"
        assert time.monotonic() - start < 3
        assert not any(push.results(device) for device in waiting)
        for device in waiting:
            result = wait_for(lambda: push.results(device), 40)[0]
            assert result.startswith("retry: other.example: "), result
        # as soon as it has an answer
        push.names.names["other.example"] = [PUBLIC]
        for device in waiting:
            wait_for(lambda: push.results(device)[-1] == "sent", 40)
