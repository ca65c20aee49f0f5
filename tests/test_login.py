# SPDX-License-Identifier: LGPL-2.1-only
"""R-2.1: which names log in by which mechanisms, to which user and device, and
which never do."""

import base64
import contextlib
import hashlib
import hmac
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import DOVECOT_24, Server
from imap_client import Client
from test_doveadm import PASSWD_AUTH

MECHANISMS = "auth_mechanisms = plain login scram-sha-256\n"
USERS = {"joe": "pass", "joe@foo.com": "foopass", "ann": "annpass"}


# SASL

def b64(data):
    data = data if isinstance(data, bytes) else data.encode("latin1")
    return base64.b64encode(data).decode()


def decoded(challenge):
    return base64.b64decode(challenge)


class Scram:
    """A client of RFC 5802 and 7677"""

    def __init__(self, user, password, digest="sha256"):
        self.digest = digest
        user = user if isinstance(user, bytes) else user.encode("latin1")
        self.password = password.encode()
        self.bare = b"n=%s,r=%s" % (
            user.replace(b"=", b"=3D").replace(b",", b"=2C"),
            base64.b64encode(os.urandom(18)))

    def first(self, challenge=None):
        return b64(b"n,," + self.bare)

    def final(self, challenge):
        server = base64.b64decode(challenge)
        values = dict(part.split(b"=", 1) for part in server.split(b","))
        assert values[b"r"].startswith(self.bare.split(b",r=")[1])
        salted = hashlib.pbkdf2_hmac(self.digest, self.password, base64.b64decode(
            values[b"s"]), int(values[b"i"]))
        keyed = lambda key, data: hmac.digest(key, data, self.digest)
        client_key = keyed(salted, b"Client Key")
        message = b"c=biws,r=" + values[b"r"]
        signed = b",".join([self.bare, server, message])
        signature = keyed(hashlib.new(self.digest, client_key).digest(), signed)
        self.verifier = keyed(keyed(salted, b"Server Key"), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        return b64(message + b",p=" + base64.b64encode(proof))

    def verify(self, challenge):
        assert base64.b64decode(challenge) == b"v=" + base64.b64encode(self.verifier)
        return ""


def plain_response(user, password):
    user = user if isinstance(user, bytes) else user.encode("latin1")
    return b64(b"\0%s\0%s" % (user, password.encode()))


def by_scram(client, user, password, initial=False):
    scram = Scram(user, password)
    if initial:
        return client.command("AUTHENTICATE SCRAM-SHA-256 " + scram.first(),
                              scram.final, scram.verify)
    return client.command("AUTHENTICATE SCRAM-SHA-256",
                          scram.first, scram.final, scram.verify)


WAYS = {
    "LOGIN": lambda client, user, password: client.authenticate(user, password),
    "PLAIN": lambda client, user, password: client.command(
        "AUTHENTICATE PLAIN", plain_response(user, password)),
    "PLAIN-IR": lambda client, user, password: client.command(
        "AUTHENTICATE PLAIN " + plain_response(user, password)),
    "login": lambda client, user, password: client.command(
        "AUTHENTICATE LOGIN", b64(user), b64(password)),
    "SCRAM": by_scram,
    "SCRAM-IR": lambda client, user, password: by_scram(
        client, user, password, initial=True),
}


# A server, and who one is on it

@contextlib.contextmanager
def running(extra="", users=None, faults=(), **options):
    """users: name and password of those in a passwd-file, else everyone has
    the password "pass". faults: words of the lines that may be logged."""
    folder = tempfile.mkdtemp(prefix="pimap-test.")
    os.chmod(folder, 0o755)
    if users is not None:
        options["auth"] = PASSWD_AUTH.format(folder + "/users")
        write_users(folder + "/users", users)
    try:
        server = Server.temporary("sdbox", extra=MECHANISMS + extra, **options)
        server.users = folder + "/users"
        try:
            yield server
        finally:
            server.close_clients()
            lines = [line for line in server.faults() if not any(
                word in line for word in ("Time moved", *faults))]
            server.stop()
        assert lines == [], lines
    finally:
        shutil.rmtree(folder)


def write_users(path, users):
    """users: name: password, or (password, fields of userdb)"""
    with open(path + ".new", "w") as output:
        for name, password in users.items():
            password, fields = (password, "") if isinstance(password, str) else password
            output.write("%s:{PLAIN}%s::::::%s\n" % (name, password, fields))
    os.rename(path + ".new", path)


def attempt(server, user, password="pass", way="LOGIN"):
    """Returns the client, or None when it was refused. way: one of WAYS, or a
    function like those"""
    client = Client(server.port)
    server.clients.append(client)
    result = WAYS.get(way, way)(client, user, password)
    if result.status == "OK":
        client.login = result
        return client
    assert result.status in ("NO", "BAD") and result.untagged == []
    assert "CAPABILITY" not in result.text
    client.close()
    server.clients.remove(client)
    return None


def admitted(server, names, way="LOGIN"):
    """Those of the names and passwords that log in, tried side by side:
    Dovecot answers all that failed within half a second at once."""
    def tries(name, password):
        with contextlib.closing(Client(server.port)) as client:
            result = WAYS.get(way, way)(client, name, password)
            assert result.status in ("OK", "NO", "BAD")
            assert result.status == "OK" or (
                result.untagged == [] and "CAPABILITY" not in result.text)
            return result.status == "OK"

    with ThreadPoolExecutor(24) as pool:
        results = list(pool.map(lambda name: tries(*name), names))
    return [name for name, result in zip(names, results) if result]


def mark(server, user, password="pass", way="LOGIN"):
    """Makes a user known by a folder."""
    client = attempt(server, user, password, way)
    client.ok('CREATE "is %s"' % user)
    client.logout()
    server.clients.remove(client)


def add_device(server, user, device):
    """Makes a device known by its filter."""
    pimap = lambda *args: server.doveadm("pimap", *args[:2], "-u", user, *args[2:])
    pimap("filter", "set", "sees-" + device, "SUBJECT", device)
    pimap("pref", "set", device, "PIMAP_XFILTER", "INBOX", "V", "sees-" + device)


def devices(server, user):
    table = server.doveadm("pimap", "device", "list", "-u", user)
    return {line.split()[0] for line in table.splitlines()[1:]}


def whoami(client):
    """User, and device: None in a plain session, "new" if it isn't known"""
    if client is None:
        return None
    user = re.search(r'"is (.*)"', str(client.ok('LIST "" "is *"')) or "")
    prefs = client.command("XGETPIMAPPREFS (PIMAP_XFILTER)")
    is_device = prefs.status == "OK"
    assert bool(client.login.lines("* SESSIONID ")) == is_device
    device = re.search(r"V sees-([^ )]+)", str(prefs))
    return (user and user.group(1),
            (device.group(1) if device else "new") if is_device else None)


@pytest.fixture(scope="module")
def site():
    """joe has the devices P650, MyPhone and myphone, joe@foo.com has P650."""
    with running(users=USERS) as server:
        for user, password in USERS.items():
            mark(server, user, password)
        for user, device in (("joe", "P650"), ("joe", "MyPhone"), ("joe", "myphone"),
                             ("joe@foo.com", "P650")):
            add_device(server, user, device)
        yield server


NAMES = [
    ("joe", "pass", ("joe", None)),
    ("joe@foo.com", "foopass", ("joe@foo.com", None)),
    ("joe#P650", "pass", ("joe", "P650")),
    ("joe#P650@foo.com", "foopass", ("joe@foo.com", "P650")),
    ("joe@foo.com#P650", "foopass", ("joe@foo.com", "P650")),
    ("joe#MyPhone", "pass", ("joe", "MyPhone")),
    ("joe#myphone", "pass", ("joe", "myphone")),
    ("joe#MYPHONE", "pass", ("joe", "new")),
    ("JOE#MyPhone", "pass", ("joe", "MyPhone")),
    ("Joe@Foo.Com#P650", "foopass", ("joe@foo.com", "P650")),
    ("Joe#P650@FOO.com", "foopass", ("joe@foo.com", "P650")),
    ("joe#p650", "pass", ("joe", "new")),
    ("joe#" + 64 * "x", "pass", ("joe", "new")),
    ("joe#0.-_Z", "pass", ("joe", "new")),
]

WRONG_PASSWORDS = [
    # the second is another user's
    ("joe#P650", "wrong"), ("joe#P650", "foopass"), ("joe#P650@foo.com", "pass"),
    ("joe@foo.com#P650", "pass"), ("joe#MyPhone", ""), ("joe", "foopass"),
]


def check_names(server, names, wrong_passwords, way):
    """names: with a password, and the user and device that they log in as"""
    wrong = []
    before = devices(server, "joe")
    for name, password, expected in names:
        client = attempt(server, name, password, way)
        if whoami(client) != expected:
            wrong.append((name, password, whoami(client), expected))
        server.close_clients()
    assert admitted(server, wrong_passwords, way) == wrong == []
    # a login alone keeps nothing
    assert devices(server, "joe") == before


@pytest.mark.parametrize("way", WAYS)
def test_names(site, way):
    check_names(site, NAMES, WRONG_PASSWORDS, way)
    assert devices(site, "joe") == {"P650", "MyPhone", "myphone"}


def test_device_keeps_its_case(site):
    """It is what the client sent that `doveadm pimap device list` shows."""
    client = attempt(site, "ANN#MixedCase", "annpass", "SCRAM")
    client.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    assert devices(site, "ann") == {"MixedCase"}
    site.close_clients()


def test_both_forms_are_one_device(site):
    client = attempt(site, "joe#Tab@foo.com", "foopass")
    client.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
    line = attempt(site, "joe@foo.com#Tab", "foopass").ok(
        "XGETPIMAPPREFS (PIMAP_EVENT_FILTER)").untagged[0].line
    assert line.endswith("(PIMAP_EVENT_FILTER ALL)")
    assert "Tab" in devices(site, "joe@foo.com") and "Tab" not in devices(site, "joe")
    site.close_clients()


BAD_NAMES = [
    "joe#", "#P1", "#", "joe##P1", "joe#P1#P2", "joe#P1#", "joe#.P1", "joe#-P1",
    "joe#_P1", "joe#P1/x", "joe#P1 ", "joe# P1", "joe#P 1", "joe#P1*ann",
    "joe#P1+tag", "joe#P1@", "joe#@foo.com", "joe#P1@foo.com@x", "joe@foo.com#",
    "joe@foo.com#P1@foo.com", "joe#P1@foo.com#P2", "joe#" + 65 * "x",
    "%u#P1", "%{user}#P1", "%{env:HOME}#P1", "joe#%u", "joe%23P1", "joe%2523P1",
    "jo\xff#P1", "jo\xff\xfe#P1", "joe#P\xff", "joe#\xc3\xa9", "joe+tag#P1",
    "x' OR '1'='1#P1", "joe#P1' OR '1'='1", "joe\n#P1", "joe#P1\n", "joe#P1\r",
    "joe\t#P1", "joe#\x01", "joe:#P1", "../joe#P1", "joe#..", "joe#../x",
    "joe#P1/../..", "ann#P1@foo.com", "nobody#P1", "joe\\#P1", '"joe#P1"',
]


@pytest.mark.parametrize("way", WAYS)
def test_bad_names_never_log_in(site, way):
    """And leave nothing behind, no trace in the log that isn't escaped."""
    homes = os.listdir(site.path + "/mail")
    names = BAD_NAMES + ([] if way == "LOGIN" else ["joe#P1\0", "joe\0#P1"])
    assert admitted(site, [(name, "pass") for name in names] + [
        (name, "foopass") for name in names if "@" in name], way) == []
    assert whoami(attempt(site, "joe#P650", "pass", way)) == ("joe", "P650")
    site.close_clients()
    assert os.listdir(site.path + "/mail") == homes
    assert devices(site, "joe") == {"P650", "MyPhone", "myphone"}
    with open(site.vars["LOG"], "rb") as log:
        assert re.findall("[\0-\x08\x0b-\x1f\x7f]", log.read().decode()) == []


def test_quoted_name_with_a_zero_octet(site):
    client = Client(site.port)
    client.sock.sendall(b'x LOGIN "joe#P650\0" pass\r\n')
    assert client.file.readline().startswith(b"x BAD")
    client.close()


def lmtp_reply(server, recipient):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(server.vars["LMTP_SOCKET"])
        replies = sock.makefile("rb")
        replies.readline()
        sock.sendall(b"LHLO test\r\n")
        while replies.readline()[3:4] == b"-":
            pass
        sock.sendall(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<%s>\r\n" %
                     recipient.encode())
        assert replies.readline().startswith(b"250")
        return replies.readline().decode()


def test_no_other_service_knows_devices(site):
    """joe's mail comes in, joe#P1's user is unknown."""
    assert lmtp_reply(site, "joe").startswith("250")
    assert lmtp_reply(site, "joe@foo.com").startswith("250")
    assert "joe" in site.doveadm("user", "joe")
    for name, password in (
            ("joe#P650", "pass"), ("joe@foo.com#P650", "foopass"),
            ("joe#P650@foo.com", "foopass"), ("JOE#..", "pass"), ("joe#", "pass")):
        assert lmtp_reply(site, name).startswith("5"), name
        assert "doesn't exist" in site.doveadm("user", name, fails=True)
        site.doveadm("auth", "test", "-x", "service=pop3", name, password, fails=True)
    site.doveadm("mailbox", "list", "-u", "joe#P650", fails=True)
    for service in ("smtp", "sieve", "lmtp"):
        site.doveadm("auth", "test", "-x", "service=" + service, "joe", "pass")
        site.doveadm("auth", "test", "-x", "service=" + service, "joe#P650", "pass",
                     fails=True)


def test_a_permissive_passdb_gets_no_odd_name():
    """One that lets every name in with the password "pass"."""
    with running() as server:
        # these are names of users whom it lets in
        names = set(BAD_NAMES) - {"joe%23P1", "joe%2523P1", "joe+tag#P1",
                                  "ann#P1@foo.com", "nobody#P1", "joe#P1@",
                                  "joe#P1@foo.com@x", "joe@foo.com#P1@foo.com"}
        assert admitted(server, [(name, "pass") for name in names]) == []
        assert os.listdir(server.path + "/mail") == []
        mark(server, "joe")
        assert whoami(attempt(server, "joe#P1")) == ("joe", "new")


# The cache of the auth process

CACHE = """
auth_cache_size = 1M
auth_cache_verify_password_with_worker = %s
"""


@pytest.mark.parametrize("with_worker", ["no", "yes"])
def test_auth_cache(with_worker):
    """All is the same the second time as without a cache."""
    sequence = [
        ("joe#P1", "pass", ("joe", "P1")), ("joe", "pass", ("joe", None)),
        ("joe#P2", "pass", ("joe", "P2")), ("joe#bad!", "pass", None),
        ("joe#P1", "wrong", None), ("joe", "pass", ("joe", None)),
        ("joe#P1", "pass", ("joe", "P1")), ("joe#", "pass", None),
        ("joe", "wrong", None), ("joe#P3", "pass", ("joe", "new")),
        ("ann", "annpass", ("ann", None)), ("joe#P1", "annpass", None),
        ("ann#P1", "annpass", ("ann", "new")),
        ("joe#P1@foo.com", "foopass", ("joe@foo.com", "new")),
        ("joe#P1@foo.com", "pass", None), ("joe#p1", "pass", ("joe", "new")),
    ]
    with running(CACHE % with_worker, USERS) as server:
        for user, password in USERS.items():
            mark(server, user, password)
        for device in ("P1", "P2"):
            add_device(server, "joe", device)
        wrong = []
        for way in ("LOGIN", "LOGIN" if with_worker == "yes" else "SCRAM"):
            for name, password, expected in sequence:
                client = attempt(server, name, password, way)
                if whoami(client) != expected:
                    wrong.append((way, name, password, whoami(client)))
            server.close_clients()
        assert wrong == []
        # not remembered as unknown for longer than the cache is
        assert attempt(server, "new#P1", "newpass") is None
        write_users(server.users, dict(USERS, new="newpass", joe="changed"))
        # a passwd-file that was read within this second isn't read again
        client = None
        until = time.monotonic() + 10
        while client is None and time.monotonic() < until:
            server.doveadm("auth", "cache", "flush")
            client = attempt(server, "new#P1", "newpass")
        assert whoami(client) == (None, "new")
        assert admitted(server, [("joe#P1", "pass"), ("joe", "pass")]) == []
        assert whoami(attempt(server, "joe#P1", "changed")) == ("joe", "P1")


# Settings that change the name

def test_username_format_without_domain():
    """It would cut the device off with the domain, or in two."""
    form = "%{user | username}" if DOVECOT_24 else "%n"
    with running("auth_username_format = %s\n" % form) as server:
        mark(server, "joe")
        for device in ("P650", "MyPhone"):
            add_device(server, "joe", device)
        for name, device in (
                ("joe#P650", "P650"), ("joe#P650@foo.com", "P650"),
                ("joe@foo.com#P650", "P650"), ("joe#MyPhone@foo.com", "MyPhone"),
                ("joe@foo.com#MyPhone", "MyPhone"), ("joe@foo.com#new", "new"),
                ("joe@foo.com", None), ("joe", None)):
            for way in ("LOGIN", "SCRAM-IR"):
                assert whoami(attempt(server, name, "pass", way)) == ("joe", device), name
            server.close_clients()
        assert admitted(server, [(name, "pass") for name in (
            "joe@foo.com#", "joe#@foo.com", "joe@foo.com#.", "joe#a b@foo.com",
            "joe#P1@foo.com#", "joe@foo#bar.com#P1", "#P1@foo.com")]) == []
        server.close_clients()
        assert os.listdir(server.path + "/mail") == ["joe"]


@pytest.mark.parametrize("translation", ["#@", "#_"])
def test_username_translation_of_the_separator(translation):
    """The name as it was given decides: devices are devices of the user, and no
    name becomes another user's."""
    with running('auth_username_translation = "%s"\n' % translation) as server:
        mark(server, "joe")
        add_device(server, "joe", "P1")
        for way in WAYS:
            for name, device in (("joe#P1", "P1"), ("JOE#p1", "new"), ("joe", None)):
                assert whoami(attempt(server, name, "pass", way)) == ("joe", device)
            assert admitted(server, [(name, "pass") for name in (
                "joe#", "joe#..", "#P1", "joe#P1#P2")], way) == []
            server.close_clients()
        assert os.listdir(server.path + "/mail") == ["joe"]


# The separator

BAD_SEPARATORS = ['""', '"##"', '"a"', '"@"', '"/"', "#"]


def set_separator_23(server, separator):
    set_args_23(server, "separator=" + separator)


def set_args_23(server, args):
    """All three blocks of the drop-in get them."""
    with open(server.vars["CONF"]) as conf:
        text = conf.read()
    example = re.search(r"^!include (.*/05-pimap.conf)$", text, re.MULTILINE)
    if example is not None:
        with open(example.group(1)) as blocks:
            text = text.replace(example.group(0), blocks.read())
    text = re.sub(r"\n  args = (separator|services)=.*", "", text)
    text = text.replace("  driver = pimap\n",
                        "  driver = pimap\n  args = %s\n" % args)
    with open(server.vars["CONF"], "w") as conf:
        conf.write(text)
    server.reload()


def refuses(server, name):
    """No session, whether it is told so or not."""
    with contextlib.suppress(PermissionError, ConnectionError, TimeoutError):
        client = Client(server.port)
        server.clients.append(client)
        client.send('LOGIN "%s" pass' % name)
        client.file.deadline -= 19
        while True:
            line = client._read_response().line
            if line.startswith("t1 "):
                return not line.startswith("t1 OK")
    return True


def test_impossible_separators(capfd):
    """They are refused loudly: by Dovecot's start in 2.4, by auth in 2.3."""
    if DOVECOT_24:
        for separator in BAD_SEPARATORS:
            with pytest.raises(subprocess.CalledProcessError):
                Server.temporary("sdbox", extra="pimap_separator = %s\n" % separator)
            assert "pimap_separator" in capfd.readouterr().err, separator
        return
    with running(faults=("separator", "throttling", "auth", "Ambiguous")) as server:
        mark(server, "joe")
        wrong = []
        for separator in BAD_SEPARATORS:
            separator = separator.strip('"')
            before = len(server.faults())
            set_separator_23(server, separator)
            character = separator[:1] or "#"
            names = {"joe#P1", "joe%sP1" % character, "bja%sb" % character}
            if character not in "#":
                names.discard("joe#P1")
            with ThreadPoolExecutor(len(names)) as pool:
                wrong += [(separator, name) for name, refused in zip(names, pool.map(
                    lambda name: refuses(server, name), names)) if not refused]
            if not [line for line in server.faults()[before:]
                    if "pimap" in line and "separator" in line.lower()]:
                wrong.append((separator, "not logged", server.faults()[before:]))
            server.close_clients()
        assert wrong == []
        assert os.listdir(server.path + "/mail") == ["joe"]


def test_other_separator():
    with running('pimap_separator = "+"\n' if DOVECOT_24 else "") as server:
        if not DOVECOT_24:
            set_separator_23(server, "+")
        mark(server, "joe")
        add_device(server, "joe", "MyPhone")
        for way in ("LOGIN", "SCRAM"):
            assert admitted(server, [
                (name, "pass") for name in ("joe+", "joe++P1", "+P1", "joe#MyPhone")], way) == []
            for name, expected in (
                    ("joe+MyPhone", ("joe", "MyPhone")), ("joe", ("joe", None)),
                    ("joe+P1@foo.com", (None, "new"))):
                assert whoami(attempt(server, name, "pass", way)) == expected, name
            server.close_clients()
        # (LMTP's recipient_delimiter is + too)
        assert "doesn't exist" in server.doveadm(
            "user", "joe+MyPhone", fails=True)


# Master logins

MASTER = "auth_master_user_separator = *\n" + ("""
passdb static-master {
  driver = static
  master = yes
  passdb_static_password = pass
}
""" if DOVECOT_24 else """
passdb {
  driver = static
  master = yes
  args = password=pass
}
""")


def test_master_login_finds_the_device_in_any_case():
    """Dovecot has lower-cased its name. Where just one device fits, it's that."""
    with running(MASTER) as server:
        mark(server, "joe")
        plain = attempt(server, "joe")
        plain.append("INBOX", [b"From: a@example.org\r\nSubject: %s\r\n\r\nx\r\n" % subject
                               for subject in (b"MyPhone", b"no", b"MyPhone too")])
        add_device(server, "joe", "MyPhone")
        for name in ("joe#MyPhone*admin", "joe#myphone*admin", "joe#MYPHONE*admin"):
            for way in ("LOGIN", "PLAIN-IR"):
                client = attempt(server, name, "pass", way)
                assert whoami(client) == ("joe", "MyPhone"), name
                client.ok("SELECT INBOX")
                assert client.fetch_all() == [1, 3]
        server.close_clients()
        assert whoami(attempt(server, "joe*admin")) == ("joe", None)
        assert whoami(attempt(server, "joe#other*admin")) == ("joe", "new")
        assert admitted(server, [(name, "pass") for name in (
            "joe#*admin", "joe#..*admin", "joe#MyPhone*admin#P1", "#MyPhone*admin")]) == []
        # the case of an ordinary login counts
        assert whoami(attempt(server, "joe#myphone")) == ("joe", "new")
        # what a master login does is done to that device
        client = attempt(server, "joe#myphone*admin")
        client.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER ALL")
        assert devices(server, "joe") == {"MyPhone"}
