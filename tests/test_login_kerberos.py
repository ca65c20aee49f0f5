# SPDX-License-Identifier: LGPL-2.1-only
"""R-2.1: GSSAPI, with a Kerberos realm of its own. A device's name is the name that a
principal asks to be let in as."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time

import gssapi
import pytest

from conftest import DOVECOT_24
from test_login import add_device, attempt, b64, decoded, mark, running, whoami

REALM = "FOO.COM"
KRB5_CONF = """
[libdefaults]
 default_realm = FOO.COM
 dns_lookup_kdc = false
 dns_lookup_realm = false
 rdns = false
 dns_canonicalize_hostname = false
[realms]
 FOO.COM = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 localhost = FOO.COM
"""
KDC_CONF = """
[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 FOO.COM = {{
  database_name = {path}/principal
  key_stash_file = {path}/stash
 }}
[logging]
 kdc = FILE:{path}/kdc.log
"""
DOVECOT = """
auth_mechanisms = plain gssapi
auth_gssapi_hostname = localhost
%s = %s/keytab
import_environment %s KRB5_CONFIG=%s/krb5.conf
"""
# whom a principal may log in as
USERS = {"joe": ("pass", "k5principals=joe@FOO.COM"),
         "joe@foo.com": ("foopass", "k5principals=joe@FOO.COM"), "ann": "annpass"}


class Realm:
    """The principals joe, ann and joe#own, with their tickets"""

    PRINCIPALS = ("joe", "ann", "joe#own")

    def __init__(self, path):
        self.path = path
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        for name, text in (("krb5.conf", KRB5_CONF), ("kdc.conf", KDC_CONF)):
            with open("%s/%s" % (path, name), "w") as file:
                file.write(text.format(path=path, port=self.port))
        os.environ.update(KRB5_CONFIG=path + "/krb5.conf", KRB5_KDC_PROFILE=path + "/kdc.conf",
                          KRB5_TRACE=path + "/trace")
        run = lambda *command, **options: subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin"), **options)
        run("kdb5_util", "create", "-s", "-P", "master", "-r", REALM)
        for name in self.PRINCIPALS:
            run("kadmin.local", "-q", "addprinc -pw pass " + name)
        run("kadmin.local", "-q", "addprinc -randkey imap/localhost")
        run("kadmin.local", "-q", "ktadd -k %s/keytab imap/localhost" % path)
        os.chmod(path + "/keytab", 0o644)
        self.kdc = subprocess.Popen(["/usr/sbin/krb5kdc", "-n"], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL)
        self.wait()
        for name in self.PRINCIPALS:
            run("kinit", "-c", self.tickets(name), name, input="pass\n")

    def wait(self):
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.1)
        raise AssertionError("the KDC doesn't listen")

    def tickets(self, principal):
        return "FILE:%s/cc-%s" % (self.path, principal)

    def settings(self, more=""):
        keytab, environment = (("auth_krb5_keytab", "{") if DOVECOT_24 else
                               ("auth_krb5_keytab", "= $import_environment"))
        text = DOVECOT % (keytab, self.path, environment, self.path)
        if DOVECOT_24:
            text = text.replace("{ KRB5", "{\n  KRB5").replace("krb5.conf", "krb5.conf\n}", 1)
        return text + more


@pytest.fixture(scope="module")
def realm():
    path = tempfile.mkdtemp(prefix="pimap-test.")
    os.chmod(path, 0o755)
    before = {name: os.environ.get(name) for name in ("KRB5_CONFIG", "KRB5_KDC_PROFILE",
                                                      "KRB5_TRACE", "KRB5CCNAME")}
    realm = None
    try:
        realm = Realm(path)
        yield realm
    finally:
        if realm is not None:
            realm.kdc.terminate()
            realm.kdc.wait()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(path)


def by_gssapi(realm, principal):
    """A way to log in as attempt() takes it. An empty user: no authorisation name"""
    def way(client, user, password):
        os.environ["KRB5CCNAME"] = realm.tickets(principal)
        service = gssapi.Name("imap@localhost", gssapi.NameType.hostbased_service)
        context = gssapi.SecurityContext(name=service, usage="initiate",
                                         mech=gssapi.MechType.kerberos)

        def last(challenge):
            context.unwrap(decoded(challenge))
            return b64(context.wrap(b"\1\xff\xff\xff" + user.encode(), False).message)

        return client.command("AUTHENTICATE GSSAPI", lambda _: b64(context.step()),
                              lambda challenge: b64(context.step(decoded(challenge)) or b""), last)
    return way


def prepare(server):
    for user, password in (("joe", "pass"), ("joe@foo.com", "foopass"), ("ann", "annpass")):
        mark(server, user, password, "PLAIN")
    for user, device in (("joe", "P650"), ("joe@foo.com", "P650"), ("ann", "P650")):
        add_device(server, user, device)


def check(server, realm, expected):
    """expected: (principal, name): user and device"""
    found = {}
    for principal, name in expected:
        found[principal, name] = whoami(attempt(server, name, "", by_gssapi(realm, principal)))
        server.close_clients()
    assert found == expected


BAD_NAMES = ["joe#", "joe##P650", "joe#P650#P1", "joe#..", "#P650", "joe@FOO.COM#", "joe#@FOO.COM",
             "joe#P650@FOO.COM#P650", "joe@FOO#x.COM#P650"]


def test_names(realm):
    with running(realm.settings(), USERS) as server:
        prepare(server)
        check(server, realm, {
            ("joe", ""): ("joe@foo.com", None),
            ("joe", "joe"): ("joe", None),
            ("joe", "joe@FOO.COM"): ("joe@foo.com", None),
            ("joe", "joe#P650"): ("joe", "P650"),
            # the format lower-cases it by then
            ("joe", "joe#p650"): ("joe", "P650"),
            ("joe", "joe#other"): ("joe", "new"),
            ("joe", "joe#P650@FOO.COM"): ("joe@foo.com", "P650"),
            ("joe", "joe@FOO.COM#P650"): ("joe@foo.com", "P650"),
            ("ann", "ann"): ("ann", None),
            # as another, with no right to be one
            ("joe", "ann"): None, ("joe", "ann#P650"): None, ("ann", "joe"): None,
            ("ann", "joe#P650"): None, ("ann", "joe@FOO.COM#P650"): None,
            # Dovecot lets in only those that it is told of, but for a name of one's own
            ("ann", "ann#P650"): None,
            # a principal of that name isn't joe
            ("joe#own", ""): None, ("joe#own", "joe#own"): None, ("joe#own", "joe"): None,
            ("joe#own", "joe#P650"): None,
            **{("joe", name): None for name in BAD_NAMES}})


KEEPS = "auth_username_format = " + (
    "%{user | lower | regexp('^([^#]*)@[^#]*$', '\\\\1')}"
    if DOVECOT_24 else '"%{if;%u;*;*#*;%Lu;%Ln}"') + "\n"
DROPS = "auth_username_format = %s\n" % ("%{user | username | lower}" if DOVECOT_24 else "%Ln")


def test_formats_that_drop_the_domain(realm):
    """joe@FOO.COM#P650 would be joe's plain session: nobody is let in, unless the format
    keeps names with a separator."""
    told = "no logins by GSSAPI where"
    with running(realm.settings(DROPS), USERS, faults=[told]) as server:
        check(server, realm, {("joe", name): None for name in (
            "", "joe", "joe@FOO.COM", "joe#P650", "joe@FOO.COM#P650", *BAD_NAMES)})
        assert server.logs(told)
        assert sum(told in line for line in server.faults()) == 1
    with running(realm.settings(KEEPS), USERS) as server:
        mark(server, "joe", "pass", "PLAIN")
        add_device(server, "joe", "P650")
        check(server, realm, {
            ("joe", ""): ("joe", None), ("joe", "joe"): ("joe", None),
            ("joe", "joe@FOO.COM"): ("joe", None), ("joe", "joe#P650"): ("joe", "P650"),
            ("joe", "joe@FOO.COM#P650"): ("joe", "P650"),
            ("joe", "joe#P650@FOO.COM"): ("joe", "P650"),
            **{("joe", name): None for name in BAD_NAMES}})


ALONE = """
passdb static {
  mechanisms_filter = gssapi
  fields {
    nopassword = yes
    k5principals = joe@FOO.COM
  }
}
userdb static {
  userdb_static_allow_all_users = yes
}
""" if DOVECOT_24 else """
passdb {
  driver = static
  mechanisms = gssapi
  args = nopassword=y k5principals=joe@FOO.COM
}
userdb {
  driver = static
  args = allow_all_users=yes
}
"""


def test_where_nothing_has_passwords(realm):
    """The README's passdb for such a site: no other mechanism gets by with it."""
    with running(realm.settings(), auth=ALONE, faults=["noauthenticate"]) as server:
        for name, device in (("joe", None), ("joe#P650", "new"), ("", None)):
            client = attempt(server, name, "", by_gssapi(realm, "joe"))
            assert whoami(client)[1] == device, name
        assert attempt(server, "joe#", "", by_gssapi(realm, "joe")) is None
        for name in ("joe", "joe#P650"):
            for password in ("", "pass"):
                assert attempt(server, name, password, "PLAIN") is None, name
