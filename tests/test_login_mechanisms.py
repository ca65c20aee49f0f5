# SPDX-License-Identifier: LGPL-2.1-only
"""R-2.1: every SASL mechanism takes a device's name as it takes a user's, or
refuses it. By what databases passwords are verified: test_login_databases.py."""

import contextlib
import hashlib
import hmac
import os
import re
import shutil
import sqlite3
import ssl
import subprocess
import tempfile
import time

import pytest

from conftest import DOVECOT_24
from http_peer import JsonServer
from imap_client import Client
from test_login import (NAMES, USERS, WAYS, WRONG_PASSWORDS, Scram, add_device, admitted,
                        attempt, b64, check_names, decoded, mark, running, whoami)


def by_cram_md5(client, user, password):
    return client.command("AUTHENTICATE CRAM-MD5", lambda challenge: b64("%s %s" % (
        user, hmac.new(password.encode(), decoded(challenge), "md5").hexdigest())))


def digest_response(challenge, user, password, realm=None):
    """RFC 2831"""
    values = dict(re.findall(r'(\w+)="?([^",]*)"?', decoded(challenge).decode()))
    realm = values.get("realm", "") if realm is None else realm
    md5 = lambda data: hashlib.md5(data).digest()
    cnonce, uri = os.urandom(12).hex(), "imap/localhost"
    a1 = md5(("%s:%s:%s" % (user, realm, password)).encode("latin1")) + (
        ":%s:%s" % (values["nonce"], cnonce)).encode()
    answer = md5((":".join([
        md5(a1).hex(), values["nonce"], "00000001", cnonce, "auth",
        md5(b"AUTHENTICATE:" + uri.encode()).hex()])).encode()).hex()
    return b64('username="%s",realm="%s",nonce="%s",cnonce="%s",nc=00000001,qop=auth,'
               'digest-uri="%s",response=%s' % (
                   user, realm, values["nonce"], cnonce, uri, answer))


def by_digest_md5(client, user, password, realm=None):
    return client.command(
        "AUTHENTICATE DIGEST-MD5",
        lambda challenge: digest_response(challenge, user, password, realm), "")


def by_scram_sha_1(client, user, password):
    scram = Scram(user, password, "sha1")
    return client.command("AUTHENTICATE SCRAM-SHA-1",
                          scram.first, scram.final, scram.verify)


def by_oauthbearer(client, user, token):
    return client.command("AUTHENTICATE OAUTHBEARER " + b64(
        "n,a=%s,\1host=localhost\1auth=Bearer %s\1\1" % (user, token)), "AQ==")


def by_xoauth2(client, user, token):
    return client.command("AUTHENTICATE XOAUTH2", b64(
        "user=%s\1auth=Bearer %s\1\1" % (user, token)), "")


PASSWORD_WAYS = {"CRAM-MD5": by_cram_md5, "DIGEST-MD5": by_digest_md5,
                 "SCRAM-SHA-1": by_scram_sha_1}
TOKEN_WAYS = {"OAUTHBEARER": by_oauthbearer, "XOAUTH2": by_xoauth2}


def prepare(server, users=USERS, way="LOGIN"):
    for user, password in users.items():
        mark(server, user, password, way)
    for user, device in (("joe", "P650"), ("joe", "MyPhone"), ("joe", "myphone"),
                         ("joe@foo.com", "P650")):
        add_device(server, user, device)


BAD_NAMES = ["joe#", "#P1", "joe##P1", "joe#P1#P2", "joe#.P1", "joe#P1/x", "joe# P1",
             "joe#P1+tag", "joe#@foo.com", "joe@foo.com#", "joe@foo.com#P1@foo.com",
             "nobody#P1", "ann#P1@foo.com"]


@pytest.fixture(scope="module")
def site():
    with running("auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1\n",
                 USERS) as server:
        prepare(server)
        yield server


@pytest.mark.parametrize("way", PASSWORD_WAYS)
def test_names(site, way):
    check_names(site, NAMES, WRONG_PASSWORDS + [(name, "pass") for name in BAD_NAMES] + [
        (name, "foopass") for name in BAD_NAMES], PASSWORD_WAYS[way])


def test_digest_md5_with_a_realm(site):
    """The realm is the name's domain, with a device as without."""
    for user, realm, password, expected in (
            ("joe", "foo.com", "foopass", ("joe@foo.com", None)),
            ("joe#P650", "foo.com", "foopass", ("joe@foo.com", "P650")),
            ("joe#P650", "foo.com", "pass", None),
            ("joe#", "foo.com", "foopass", None),
            ("joe#P650", "", "pass", ("joe", "P650"))):
        way = lambda client, user, password: by_digest_md5(client, user, password, realm)
        assert whoami(attempt(site, user, password, way)) == expected, (user, realm)
    site.close_clients()


def test_no_password_in_the_log():
    """R-14.3, whatever auth logs"""
    debug = "auth_verbose = yes\n" + (
        "log_debug = category=auth\n" if DOVECOT_24 else "auth_debug = yes\n")
    mechanisms = "auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256\n"
    with running(mechanisms + debug, {"joe": "SeCrEt-1"}) as server:
        for way in [*WAYS, *PASSWORD_WAYS.values()]:
            for name, password in (("joe#P1", "SeCrEt-1"), ("joe#P1", "SeCrEt-2"),
                                   ("joe#", "SeCrEt-3"), ("joe#..", "SeCrEt-1")):
                attempt(server, name, password, way)
            server.close_clients()
        assert "invalid device login name" in server.log()
        text = server.log().lower()
        for number in "123":
            password = "SeCrEt-" + number
            for form in (password, b64(password), password.encode().hex(),
                         b64("\0joe#P1\0" + password)):
                assert form.lower() not in text


# Tokens

OAUTH = """
auth_mechanisms = plain oauthbearer xoauth2
%s
oauth2 {
  introspection_url = %s
  introspection_mode = post
  username_attribute = username
  active_attribute = active
  active_value = true
}
passdb oauth2 {
  mechanisms_filter = oauthbearer xoauth2
}
""" if DOVECOT_24 else """
auth_mechanisms = plain oauthbearer xoauth2
%s
passdb {
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = %s
}
"""
OAUTH_ARGS = """introspection_url = %s
introspection_mode = post
username_attribute = username
active_attribute = active
active_value = true
"""
TOKENS = {"token-of-" + user: user for user in ("joe", "joe@foo.com", "ann")}
TOKEN_OF = {password: "token-of-" + user for user, password in USERS.items()}


def introspect(request):
    user = TOKENS.get(request.get("token"))
    return {"active": user is not None, "username": user or "nobody"}


def oauth_server(tmp_path, settings=""):
    peer = JsonServer(introspect)
    if DOVECOT_24:
        where = peer.url
    else:
        where = str(tmp_path / "oauth2.conf")
        (tmp_path / "oauth2.conf").write_text(OAUTH_ARGS % peer.url)
    return peer, OAUTH % (settings, where)


@pytest.fixture
def passed_tokens():
    """The names of test_login.py, with tokens for passwords"""
    return ([(name, TOKEN_OF[password], expected) for name, password, expected in NAMES],
            [(name, TOKEN_OF.get(password, "no-token")) for name, password in
             WRONG_PASSWORDS])


@pytest.mark.parametrize("way", TOKEN_WAYS)
def test_tokens(tmp_path_factory, passed_tokens, way):
    """The token is the user's. Dovecot 2.4 verifies it before any passdb is
    asked, as one of a user called joe#p650: it refuses devices' names."""
    names, wrong = passed_tokens
    refused = [(name, token) for name, token, _ in names if "#" in name]
    wrong += [(name, token) for name in BAD_NAMES for token in TOKENS]
    if DOVECOT_24:
        names = [entry for entry in names if "#" not in entry[0]]
        wrong += refused
    folder = tmp_path_factory.mktemp("oauth")
    peer, extra = oauth_server(folder)
    with peer, running(extra, USERS) as server:
        prepare(server, way="PLAIN")
        check_names(server, names, wrong, TOKEN_WAYS[way])
        assert peer.requests != []


@pytest.mark.parametrize("way", TOKEN_WAYS)
def test_tokens_where_the_format_hides_the_device(tmp_path_factory, way):
    """The token is verified for the user that auth_username_format leaves, in 2.4
    before our passdb is asked: a name that yields no device still fails."""
    form = "auth_username_format = %s\n" % ("%{user | username}" if DOVECOT_24 else "%n")
    peer, extra = oauth_server(tmp_path_factory.mktemp("oauth"), form)
    with peer, running(extra, USERS) as server:
        mark(server, "joe", "pass", "PLAIN")
        add_device(server, "joe", "P650")
        way = TOKEN_WAYS[way]
        assert whoami(attempt(server, "joe@foo.com", "token-of-joe", way)) == ("joe", None)
        assert whoami(attempt(server, "joe@foo.com#P650", "token-of-joe", way)) == (
            "joe", "P650")
        names = ["joe@foo.com#", "joe@foo.com#..", "joe@foo.com#P1#P2", "joe@foo#bar.com#P1",
                 "joe#@foo.com", "joe@foo.com#P1@foo.com"]
        assert admitted(server, [(name, token) for name in names for token in TOKENS],
                        way) == []
        assert admitted(server, [("joe@foo.com#P650", "token-of-ann"),
                                 ("joe@foo.com#P650", "no-token")], way) == []


# Certificates

CERTIFICATES = """
auth_mechanisms = plain external
ssl = yes
%s
auth_ssl_username_from_cert = yes
""" + ("""
passdb static {
  mechanisms_filter = external
  fields {
    nopassword = yes
  }
}
""" if DOVECOT_24 else """
passdb {
  driver = static
  mechanisms = external
  args = nopassword=y
}
""")


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.PIPE,
                   stderr=subprocess.PIPE)


def certificate(folder, name, issuer=None):
    """Makes name.key and name.crt for that common name."""
    path = "%s/%s" % (folder, re.sub("[^a-zA-Z0-9@.#-]", "_", name))
    args = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", path + ".key", "-subj", "/CN=" + name]
    if issuer is None:
        openssl(*args, "-x509", "-days", "2", "-out", path + ".crt")
    else:
        openssl(*args, "-out", path + ".csr")
        openssl("x509", "-req", "-days", "2", "-in", path + ".csr", "-CA", issuer + ".crt",
                "-CAkey", issuer + ".key", "-CAcreateserial", "-out", path + ".crt")
    os.chmod(path + ".key", 0o644)
    return path


class Authority:
    def __init__(self, folder):
        self.folder = str(folder)
        os.chmod(self.folder, 0o755)
        self.ca = certificate(folder, "authority")
        # an empty revocation list: Dovecot demands one
        with open(self.folder + "/ca.conf", "w") as conf:
            conf.write("[ca]\ndefault_ca=a\n[a]\ndatabase=%s/index\n" % self.folder)
        open(self.folder + "/index", "w").close()
        openssl("ca", "-config", self.folder + "/ca.conf", "-gencrl", "-md", "sha256",
                "-crldays", "2", "-cert", self.ca + ".crt", "-keyfile", self.ca + ".key",
                "-out", self.folder + "/crl")
        with open(self.folder + "/both", "w") as both:
            for name in (self.ca + ".crt", self.folder + "/crl"):
                with open(name) as part:
                    both.write(part.read())
        self.server = certificate(folder, "localhost", self.ca)

    def settings(self):
        names = (self.server + ".crt", self.server + ".key", self.folder + "/both")
        if DOVECOT_24:
            return ("ssl_server_cert_file = %s\nssl_server_key_file = %s\n"
                    "ssl_server_ca_file = %s\nssl_server_request_client_cert = yes\n"
                    "ssl_server_cert_username_field = commonName\n" % names)
        return ("ssl_cert = <%s\nssl_key = <%s\nssl_ca = <%s\nssl_verify_client_cert = yes\n"
                "ssl_cert_username_field = commonName\n" % names)

    def connect(self, server, name, issued=True):
        path = certificate(self.folder, name, self.ca if issued else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # 1.3 has messages of its own, for which the socket can be read from
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(path + ".crt", path + ".key")
        client = Client(server.port)
        server.clients.append(client)
        client.ok("STARTTLS")
        client.sock = context.wrap_socket(client.sock)
        client.file.sock = client.sock
        return client

    def who(self, server, name, command="AUTHENTICATE EXTERNAL =", issued=True):
        """Whom a certificate of that name lets in, None: nobody"""
        try:
            client = self.connect(server, name, issued)
            client.login = client.command(command)
        except (ConnectionError, ssl.SSLError):
            # a certificate that is not of the authority ends the connection
            assert not issued
            return None
        assert client.login.status in ("OK", "NO")
        return whoami(client) if client.login.status == "OK" else None


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    # not pytest's own folder: only its owner may enter that
    folder = tempfile.mkdtemp(prefix="pimap-test.")
    yield Authority(folder)
    shutil.rmtree(folder)


def plain(user, password):
    return "AUTHENTICATE PLAIN " + b64("\0%s\0%s" % (user, password))


def test_certificates(authority):
    """The certificate's name is split. It is lower-cased by then: the device is
    the one that it fits in any case."""
    with running(CERTIFICATES % authority.settings(), USERS) as server:
        for user, password in USERS.items():
            mark(server, user, password, "PLAIN")
        add_device(server, "joe", "P650")
        add_device(server, "joe@foo.com", "Tab")
        for name, expected in (
                ("joe", ("joe", None)), ("joe@foo.com", ("joe@foo.com", None)),
                ("joe#P650", ("joe", "P650")), ("joe#p650", ("joe", "P650")),
                ("joe#other", ("joe", "new")), ("joe@foo.com#Tab", ("joe@foo.com", "Tab")),
                ("joe#Tab@foo.com", ("joe@foo.com", "Tab")), ("joe#", None), ("#P1", None),
                ("joe#..", None), ("joe#P1#P2", None), ("joe@foo.com#", None)):
            assert authority.who(server, name) == expected, name
        assert authority.who(server, "joe#P650", issued=False) is None
        # whatever name comes with the password, the user is the certificate's
        for name, command, expected in (
                ("joe", plain("joe", "pass"), ("joe", None)),
                ("joe", plain("ann", "pass"), ("joe", None)),
                ("joe", plain("joe", "wrong"), None),
                ("joe", plain("ann#P650", "pass"), ("joe", "P650")),
                ("joe", plain("joe#p650", "pass"), ("joe", "new")),
                ("joe", plain("ann#P650", "annpass"), None),
                ("joe#P650", plain("joe", "pass"), ("joe", "P650")),
                ("joe#P650", plain("ann", "annpass"), None),
                ("joe#P650", plain("joe#P650", "pass"), None),
                ("joe", plain("joe#", "pass"), None),
                ("joe#", plain("joe", "pass"), None)):
            assert authority.who(server, name, command) == expected, (name, command)
        # an authorisation id is a master login's
        for authzid in ("joe#P650", "ann#P1", "ann"):
            assert authority.who(server, "joe", "AUTHENTICATE EXTERNAL " + b64(authzid)) is None


@pytest.mark.parametrize("setting", [
    "auth_username_format = " + ("%{user | username}" if DOVECOT_24 else "%n"),
    'auth_username_translation = "#_"'])
def test_certificates_whose_device_could_be_hidden(authority, setting):
    """joe@foo.com#P650 would be a plain session's name by then."""
    with running(CERTIFICATES % authority.settings() + setting + "\n", USERS,
                 faults=["no logins by certificates"]) as server:
        for name in ("joe@foo.com#P650", "joe#P650", "joe@foo.com#", "joe"):
            assert authority.who(server, name) is None, name
        assert server.logs("no logins by certificates")
        assert os.listdir(server.path + "/mail") == []


# One-time passwords

def otp(password, seed, count):
    """RFC 2289 with MD5"""
    value = (seed + password).encode()
    for _ in range(count + 1):
        digest = hashlib.md5(value).digest()
        value = bytes(a ^ b for a, b in zip(digest[:8], digest[8:]))
    return value.hex()


def by_otp(client, user, password):
    def response(challenge):
        count, seed = re.fullmatch(r"otp-md5 (\d+) (\S+) ext", decoded(challenge).decode()).groups()
        return b64("hex:" + otp(password, seed, int(count)))

    return client.command("AUTHENTICATE OTP", b64("\0" + user), response)


def otp_database(folder):
    """auth, with a database that has each user's next password"""
    path = folder + "/users.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE users (name TEXT, password TEXT)")
        db.executemany("INSERT INTO users VALUES (?, ?)", [
            (name, "{OTP}md5 200 seed1 " + otp(password, "seed1", 200))
            for name, password in dict(USERS, **{"joe#P650": "odd", "joe#": "odd"}).items()])
    for name in (folder, path):
        os.chmod(name, 0o777)
    query = "SELECT name AS user, password FROM users WHERE name = '%s'"
    update = "UPDATE users SET password = '%s' WHERE name = '%s'"
    if DOVECOT_24:
        return path, """
sql_driver = sqlite
sqlite_path = %s
passdb sql {
  query = %s
  update_query = %s
}
userdb static {
  userdb_static_allow_all_users = yes
}
""" % (path, query % "%{user}", update % ("%{password}", "%{user}"))
    with open(folder + "/sql.conf", "w") as conf:
        conf.write("driver = sqlite\nconnect = %s\npassword_query = %s\nupdate_query = %s\n" % (
            path, query % "%u", update % ("%w", "%u")))
    os.chmod(folder + "/sql.conf", 0o644)
    return path, """
passdb {
  driver = sql
  args = %s/sql.conf
}
userdb {
  driver = static
  args = allow_all_users=yes
}
""" % folder


def test_one_time_passwords():
    """What is left of them is kept for the user, whose devices share them."""
    folder = tempfile.mkdtemp(prefix="pimap-test.")
    try:
        path, auth = otp_database(folder)
        with running("auth_mechanisms = plain otp\n", auth=auth,
                     faults=["auth-worker", "user is locked, race attack?"]) as server:
            # Dovecot's own, without pimap too: at its end, when it has stored the next one
            server.known_panic = r"auth-worker\(.*(auth_request_unref|Raw backtrace)"
            ends = lambda: server.log().count("service(auth-worker): child ")

            def way(client, user, password):
                before = ends()
                result = by_otp(client, user, password)
                # what comes before it has ended fails
                for _ in range(200 if result.status == "OK" else 0):
                    if ends() > before:
                        break
                    time.sleep(0.05)
                return result

            for user, password in USERS.items():
                mark(server, user, password, way)
            for user, device in (("joe", "P650"), ("joe", "MyPhone"), ("joe", "myphone"),
                                 ("joe@foo.com", "P650")):
                add_device(server, user, device)
            check_names(server, NAMES, [entry for entry in WRONG_PASSWORDS if entry[1]] + [
                (name, password) for name in BAD_NAMES for password in ("pass", "odd")], way)
            with contextlib.closing(sqlite3.connect(path)) as db:
                left = {name: int(password.split()[1])
                        for name, password in db.execute("SELECT * FROM users")}
            count = lambda user: sum(entry[2][0] == user for entry in NAMES) + 1
            assert left == {"joe": 200 - count("joe"), "ann": 199, "joe#P650": 200, "joe#": 200,
                            "joe@foo.com": 200 - count("joe@foo.com")}
    finally:
        shutil.rmtree(folder)
