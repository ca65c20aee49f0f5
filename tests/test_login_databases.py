# SPDX-License-Identifier: LGPL-2.1-only
"""R-2.1: whatever verifies passwords after ours, it gets users' names only."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time

import pytest

from conftest import DOVECOT_24
from test_login import USERS, add_device, admitted, attempt, lmtp_reply, mark, running, whoami

# Users whom a database has though there must be none of these names: they would
# log in if it were asked for them.
ODD = ["joe#p650", "joe#P650", "joe#", "joe#..", "#p1", "joe#p1#p2", "joe#p650@foo.com",
       "joe@foo.com#p650", "x' OR '1'='1#P1", "x' or '1'='1#p1", "*#P1"]
EVERYONE = dict(USERS, **{name: "odd" for name in ODD})

LOOKUP_WAYS = ["LOGIN", "PLAIN-IR", "SCRAM"]
PLAIN_WAYS = ["LOGIN", "PLAIN-IR"]


class Database:
    """auth: its passdb and userdb. asked: a file with the names that it was asked
    for, one a line, where it can tell"""
    ways = LOOKUP_WAYS
    pam = None
    asked = None
    lmtp = True

    def __init__(self, folder):
        self.folder = folder

    def close(self):
        pass

    def write(self, name, text, mode=0o644):
        path = "%s/%s" % (self.folder, name)
        with open(path, "w") as output:
            output.write(text)
        os.chmod(path, mode)
        return path


class PasswdFile(Database):
    def __init__(self, folder):
        super().__init__(folder)
        path = self.write("users", "".join(
            "%s:{PLAIN}%s::::::\n" % item for item in EVERYONE.items()))
        self.auth = """
passdb passwd-file {
  passwd_file_path = %s
}
userdb passwd-file {
  passwd_file_path = %s
}
""" % (path, path) if DOVECOT_24 else """
passdb {
  driver = passwd-file
  args = username_format=%%u %s
}
userdb {
  driver = passwd-file
  args = username_format=%%u %s
}
""" % (path, path)


class Prefetch(Database):
    """The passdb returns the userdb's fields. It doesn't for ann, who can't log in
    then: our own fields are none of hers."""
    lmtp = False

    def __init__(self, folder):
        super().__init__(folder)
        path = self.write("users", "".join(
            "%s:{PLAIN}%s::::::%s\n" % (name, password, "" if name == "ann" else
                                        "userdb_comment=x")
            for name, password in EVERYONE.items()))
        self.auth = """
passdb passwd-file {
  passwd_file_path = %s
}
userdb prefetch {
}
""" % path if DOVECOT_24 else """
passdb {
  driver = passwd-file
  args = username_format=%%u %s
}
userdb {
  driver = prefetch
}
""" % path


class Sqlite(Database):
    def __init__(self, folder):
        super().__init__(folder)
        path = folder + "/users.db"
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE users (name TEXT, password TEXT)")
            db.executemany("INSERT INTO users VALUES (?, ?)", EVERYONE.items())
        os.chmod(path, 0o644)
        passwords = "SELECT name AS user, password FROM users WHERE name = '%s'"
        users = "SELECT name AS user FROM users WHERE name = '%s'"
        if DOVECOT_24:
            self.auth = """
sql_driver = sqlite
sqlite_path = %s
sqlite_readonly = yes
passdb sql {
  query = %s
  default_password_scheme = PLAIN
}
userdb sql {
  query = %s
}
""" % (path, passwords % "%{user}", users % "%{user}")
        else:
            conf = self.write("sql.conf", """
driver = sqlite
connect = %s
default_pass_scheme = PLAIN
password_query = %s
user_query = %s
""" % (path, passwords % "%u", users % "%u"))
            self.auth = """
passdb {
  driver = sql
  args = %s
}
userdb {
  driver = sql
  args = %s
}
""" % (conf, conf)


SLAPD = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {0}/slapd.pid
database mdb
suffix "dc=example"
directory {0}/ldap
maxsize 10485760
access to * by * read
"""


class Ldap(Database):
    bind = False

    def __init__(self, folder):
        super().__init__(folder)
        os.mkdir(folder + "/ldap")
        conf = self.write("slapd.conf", SLAPD.format(folder))
        entries = "".join("""
dn: cn=%d,dc=example
objectClass: inetOrgPerson
cn: %d
sn: x
uid: %s
userPassword: %s
""" % (number, number, name, password) for number, (name, password) in
            enumerate((name, password) for name, password in EVERYONE.items()
                      # the attribute is one without case
                      if name not in ("joe#P650", "x' OR '1'='1#P1")))
        ldif = self.write("users.ldif", "dn: dc=example\nobjectClass: dcObject\n"
                          "objectClass: organization\ndc: example\no: x\n" + entries)
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        subprocess.run(["slapadd", "-f", conf, "-l", ldif], check=True,
                       env=dict(os.environ, PATH=path), stderr=subprocess.DEVNULL)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        url = "ldap://127.0.0.1:%d" % port
        self.log = folder + "/slapd.log"
        with open(self.log, "w") as log:
            # statistics: what it is asked for
            self.process = subprocess.Popen(
                ["slapd", "-d", "256", "-f", conf, "-h", url], stdout=log, stderr=log,
                env=dict(os.environ, PATH=path))
        self.wait(port)
        self.auth = self.configuration(url)

    def wait(self, port):
        for _ in range(200):
            assert self.process.poll() is None
            with contextlib.suppress(ConnectionError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            time.sleep(0.05)
        raise TimeoutError("slapd doesn't listen")

    def configuration(self, url):
        if DOVECOT_24:
            return """
ldap_uris = %s
ldap_base = dc=example
passdb ldap {
  filter = (uid=%%{user})
  bind = %s
  default_password_scheme = PLAIN
  fields {
    user = %%{ldap:uid}
    %s
  }
}
userdb ldap {
  filter = (uid=%%{user})
  fields {
    user = %%{ldap:uid}
  }
}
""" % (url, "yes" if self.bind else "no",
       "" if self.bind else "password = %{ldap:userPassword}")
        conf = self.write("ldap.conf", """
uris = %s
base = dc=example
auth_bind = %s
pass_filter = (uid=%%u)
pass_attrs = uid=user%s
user_filter = (uid=%%u)
user_attrs = uid=user
default_pass_scheme = PLAIN
""" % (url, "yes" if self.bind else "no", "" if self.bind else ",userPassword=password"))
        return """
passdb {
  driver = ldap
  args = %s
}
userdb {
  driver = ldap
  args = %s
}
""" % (conf, conf)

    def names(self):
        with open(self.log) as log:
            return [line.split('filter="(uid=')[1] for line in log
                    if 'filter="(uid=' in line]

    def close(self):
        self.process.terminate()
        self.process.wait(20)


class LdapBind(Ldap):
    bind = True
    ways = PLAIN_WAYS


class Lua(Database):
    def __init__(self, folder):
        super().__init__(folder)
        self.asked = self.write("asked", "", 0o666)
        quoted = lambda text: "[==[%s]==]" % text
        script = self.write("auth.lua", """
local users = { %s }
function asked(request)
  local log = io.open(%s, "a")
  log:write(request.user .. "\\n")
  log:close()
  return users[request.user]
end
function auth_passdb_lookup(request)
  local password = asked(request)
  if password == nil then
    return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, "no such user"
  end
  return dovecot.auth.PASSDB_RESULT_OK, { password = "{PLAIN}" .. password }
end
function auth_userdb_lookup(request)
  if asked(request) == nil then
    return dovecot.auth.USERDB_RESULT_USER_UNKNOWN, "no such user"
  end
  return dovecot.auth.USERDB_RESULT_OK, { comment = "x" }
end
""" % (", ".join("[ %s ] = %s" % (quoted(name), quoted(password))
                 for name, password in EVERYONE.items()), quoted(self.asked)))
        self.auth = """
passdb lua {
  lua_file = %s
}
userdb lua {
  lua_file = %s
}
""" % (script, script) if DOVECOT_24 else """
passdb {
  driver = lua
  args = file=%s
}
userdb {
  driver = lua
  args = file=%s
}
""" % (script, script)


class Pam(Database):
    """A service of the test's own: pam_exec asks a script."""
    ways = PLAIN_WAYS
    lmtp = False  # there is no list of users in it

    def __init__(self, folder):
        super().__init__(folder)
        self.asked = self.write("asked", "", 0o666)
        passwords = self.write("passwords", "".join(
            "%s:%s\n" % item for item in EVERYONE.items()))
        script = self.write("verify", """#!/bin/sh
printf '%%s\\n' "$PAM_USER" >> %s
grep -qFx -e "$PAM_USER:$(tr -d '\\0')" %s
""" % (self.asked, passwords), 0o755)
        os.mkdir(folder + "/pam.d")
        os.chmod(folder + "/pam.d", 0o755)
        self.write("pam.d/pimap-test", "auth required pam_exec.so expose_authtok quiet %s\n"
                   "account required pam_permit.so\n" % script)
        self.pam = folder + "/pam.d"
        self.auth = """
passdb pam {
  service_name = pimap-test
}
userdb static {
  userdb_static_allow_all_users = yes
}
""" if DOVECOT_24 else """
passdb {
  driver = pam
  args = pimap-test
}
userdb {
  driver = static
  args = allow_all_users=yes
}
"""


DATABASES = {"passwd-file": PasswdFile, "prefetch": Prefetch, "sqlite": Sqlite,
             "ldap": Ldap, "ldap-bind": LdapBind, "lua": Lua, "pam": Pam}


@pytest.fixture(params=DATABASES)
def database(request):
    folder = tempfile.mkdtemp(prefix="pimap-test.")
    os.chmod(folder, 0o755)
    try:
        database = DATABASES[request.param](folder)
        try:
            yield database
        finally:
            database.close()
    finally:
        shutil.rmtree(folder)


NAMES = [
    ("joe", "pass", ("joe", None)), ("joe@foo.com", "foopass", ("joe@foo.com", None)),
    ("joe#P650", "pass", ("joe", "P650")), ("JOE#P650", "pass", ("joe", "P650")),
    ("joe#P650@foo.com", "foopass", ("joe@foo.com", "P650")),
    ("joe@foo.com#P650", "foopass", ("joe@foo.com", "P650")),
    ("joe#p650", "pass", ("joe", "new")),
]
REFUSED = [("joe#P650", "foopass"), ("joe", "foopass"), ("joe#P650", ""),
           ("nobody#P650", "pass"), ("ann#P650@foo.com", "annpass")] + [
               (name, password) for name in ODD for password in ("odd", "pass")
               if (name, password) not in [entry[:2] for entry in NAMES]
           ] + [("joe#P650", "odd"), ("joe@foo.com#P650", "odd")]


def test_database(database):
    with running(auth=database.auth, pam=database.pam,
                 # of an unknown user's prefetch
                 faults=["userdb"] if isinstance(database, Prefetch) else ()) as server:
        mark(server, "joe")
        mark(server, "joe@foo.com", "foopass")
        for user in ("joe", "joe@foo.com") if database.lmtp else ():
            add_device(server, user, "P650")
        if not database.lmtp:
            for user, password in (("joe", "pass"), ("joe@foo.com", "foopass")):
                phone = attempt(server, user + "#P650", password)
                phone.ok("XFILTER SET sees-P650 NIL (SUBJECT x)")
                phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V sees-P650)")
        for way in database.ways:
            for name, password, expected in NAMES:
                client = attempt(server, name, password, way)
                assert whoami(client) == expected, (way, name)
            server.close_clients()
            assert admitted(server, REFUSED, way) == [], way
        if database.lmtp:
            assert lmtp_reply(server, "joe").startswith("250")
            for name in ODD[:4]:
                assert lmtp_reply(server, name).startswith("5"), name
                assert "doesn't exist" in server.doveadm("user", name, fails=True)
        server.close_clients()
        if isinstance(database, Prefetch):
            # no userdb knows ann, as a device either
            for name in ("ann", "ann#P1"):
                assert refuses_session(server, name, "annpass")
    assert_names(database)


def refuses_session(server, name, password):
    try:
        client = attempt(server, name, password)
        return client is None or client.command("SELECT INBOX").status != "OK"
    except ConnectionError:
        return True


def assert_names(database):
    if isinstance(database, Ldap):
        names = database.names()
    elif database.asked is not None:
        with open(database.asked) as asked:
            names = asked.read().splitlines()
    else:
        return
    assert names != [] and [name for name in names if "#" in name] == []
