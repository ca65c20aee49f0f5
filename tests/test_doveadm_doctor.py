# SPDX-License-Identifier: LGPL-2.1-only
"""doveadm pimap doctor: a good configuration is all ok, and each check finds what
was broken on purpose."""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

from conftest import DOVECOT_24, Server, settings
from outband_peers import Relay
from sipp import Proxy, response
from tls_peer import TLS, make_certificates

SITE = ["configuration", "modules", "settings", "timezone", "separator", "passdb", "master",
        "userdb", "plugins", "chroot", "capability", "connections", "outband",
        "channels"]
USER = ["user-settings", "profile", "profile-folder", "user-chroot"]
BLOCK = re.compile(r"^(?:passdb|userdb)\b[^{}\n]*\{[^{}]*\}\n", re.MULTILINE)


class Doctor:
    """Looks at changed copies of a server's configuration. The server needn't know."""

    def __init__(self):
        self.server = Server.temporary("maildir")
        with open(self.server.vars["CONF"]) as file:
            self.good = self._included(file.read())

    @staticmethod
    def _included(text):
        def read(match):
            with open(match.group(1)) as file:
                return file.read()
        return re.sub(r"^!include (\S+)\n", read, text, flags=re.MULTILINE)

    def run(self, conf=None, *args, code):
        """The checks with their results, in order: {name: [ok or text...]}"""
        path = self.server.path + "/doctor.conf"
        with open(path, "w") as file:
            file.write(self.good if conf is None else conf)
        result = subprocess.run(
            [self.server.path + "/within", "doveadm", "-c", path, "-f", "json", "pimap",
             "doctor", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert result.returncode == code, result
        found = {}
        for row in json.loads(result.stdout):
            assert (row["result"] == "FAIL") != (row["result"] == "ok"), row
            found.setdefault(row["check"], []).append(
                "ok" if row["result"] == "ok" else row["text"])
        assert all("ok" not in texts or texts == ["ok"] for texts in found.values())
        return found

    def table(self, conf):
        """{name: text}"""
        path = self.server.path + "/doctor.conf"
        with open(path, "w") as file:
            file.write(conf)
        output = subprocess.run(
            [self.server.path + "/within", "doveadm", "-c", path, "-f", "tab", "pimap", "doctor"],
            stdout=subprocess.PIPE, text=True, check=True).stdout
        return dict(line.split("\t")[1:] for line in output.splitlines())

    def finds(self, conf, *args, **texts):
        """Just these checks fail, with texts that have these words."""
        found = self.run(conf, *args, code=78)
        failed = {name for name, lines in found.items() if lines != ["ok"]}
        assert failed == {name.replace("_", "-") for name in texts}, found
        for name, words in texts.items():
            lines = found[name.replace("_", "-")]
            for word in [words] if isinstance(words, str) else words:
                assert any(word in line for line in lines), (word, lines)
        return found


@pytest.fixture(scope="module")
def doctor():
    doctor = Doctor()
    yield doctor
    assert doctor.server.faults() == []
    doctor.server.stop()


def without(conf, pattern, count=1):
    """The configuration without the first blocks that match"""
    changed = conf
    for _ in range(count):
        match = next(match for match in BLOCK.finditer(changed)
                     if re.search(pattern, match.group(), re.DOTALL))
        changed = changed[:match.start()] + changed[match.end():]
    return changed


def db(key, driver, *lines, name=None):
    body = "".join("  %s\n" % line for line in lines)
    if DOVECOT_24:
        return "%s %s {\n  driver = %s\n%s}\n" % (key, name or driver, driver, body)
    return "%s {\n  driver = %s\n%s}\n" % (key, driver, body)


def test_good(doctor):
    assert list(doctor.run(code=0)) == SITE
    assert doctor.run(code=0) == {name: ["ok"] for name in SITE}
    assert doctor.run(None, "-u", "joe", code=0) == {name: ["ok"] for name in SITE + USER}
    # what a terminal gets
    lines = doctor.server.doveadm("pimap", "doctor").splitlines()
    assert [line.split()[:2] for line in lines] == [["result", "check"]] + [
        ["ok", name] for name in SITE]
    # where users are another doveadm's, so are its findings
    table = doctor.server.doveadm("-o", "doveadm_worker_count=1", "-f", "tab", "pimap", "doctor",
                                  "-u", "joe")
    assert [line.split("\t")[:2] for line in table.splitlines()[1:]] == [
        ["ok", name] for name in SITE + SITE + USER]
    # a site that has more of what is checked
    conf = doctor.good + db("passdb", "static", "master = yes", *(
        ["passdb_static_password = x"] if DOVECOT_24 else ["args = password=x"]), name="boss") + \
        "mail_max_userip_connections = 0\n" + settings({"pimap_timezone": "Europe/Berlin",
                                                        "pimap_max_devices": "3"})
    assert doctor.run(conf, code=0) == {name: ["ok"] for name in SITE}
    for args in (["-u", "j*"], ["joe"]):
        assert subprocess.run([doctor.server.vars["DOVEADM"], "pimap", "doctor", *args],
                              stderr=subprocess.DEVNULL).returncode == 64


def test_passdb_order(doctor):
    # as if 05-pimap.conf were 95-pimap.conf
    ours = "".join(match.group() for match in BLOCK.finditer(doctor.good)
                   if "pimap" in match.group())
    assert ours.count("{") == 3
    doctor.finds(without(doctor.good, "pimap", 3) + ours,
                 passdb="comes after passdb static", userdb="comes after userdb static")


def test_passdb_is_missing(doctor):
    first = r"^passdb(?!.*master = yes).*pimap"
    doctor.finds(without(doctor.good, first), passdb="passdb pimap is missing")
    doctor.finds(without(doctor.good, "^userdb.*pimap"), userdb="userdb pimap is missing")
    doctor.finds(without(without(doctor.good, "^passdb.*static"), "^userdb.*static"),
                 passdb="no passdb after", userdb="no userdb after")
    doctor.finds(doctor.good + db("passdb", "pimap", name="again"), passdb=[
        "there twice"])


def test_master(doctor):
    boss = db("passdb", "static", "master = yes", *(
        ["passdb_static_password = x"] if DOVECOT_24 else ["args = password=x"]), name="boss")
    conf = without(doctor.good, "pimap.*master = yes")
    # nobody needs it where there are no master users
    assert doctor.run(conf, code=0)["master"] == ["ok"]
    doctor.finds(conf + boss, master="master passdb pimap is missing")
    doctor.finds(conf + boss + db("passdb", "pimap", "master = yes", name="pimap-late"),
                 master="comes after master passdb static")


def test_plugins(doctor):
    for protocol in ("imap", "lmtp", "lda"):
        conf = doctor.good + "protocol %s {\n  mail_plugins = quota\n}\n" % protocol
        doctor.finds(conf, plugins="protocol %s: pimap isn't in mail_plugins" % protocol)
    plugin = "mail_plugins {\n  imap_pimap = yes\n}\n" if DOVECOT_24 else \
        "mail_plugins = $mail_plugins imap_pimap\n"
    assert doctor.run(doctor.good + "protocol imap {\n%s}\n" % plugin, code=0)
    doctor.finds(doctor.good + "protocol lmtp {\n%s}\n" % plugin,
                 plugins="protocol lmtp: imap_pimap")
    doctor.finds(doctor.good + "protocols = lmtp\n", plugins="imap isn't in protocols")
    if DOVECOT_24:
        # nothing starts then, doveadm neither
        path = doctor.server.path + "/doctor.conf"
        with open(path, "w") as file:
            file.write(doctor.good + "mail_plugins = $mail_plugins quota\n")
        command = [doctor.server.path + "/within", "doveadm", "-c", path]
        rest = ["pimap", "doctor"]
        assert subprocess.run(command + rest, stderr=subprocess.DEVNULL).returncode != 0
        result = subprocess.run(command + ["-o", "mail_plugins=", "-f", "tab"] + rest, text=True,
                                stdout=subprocess.PIPE)
        assert result.returncode == 78
        assert "FAIL\tplugins\tmail_plugins = $mail_plugins quota: " in result.stdout
        # a block adds to the list, and takes from it
        more = "protocol %s {\n  mail_plugins {\n    quota = yes\n  }\n}\n"
        bare = re.sub(r"^protocol \w+ \{\n  mail_plugins \{\n.*\n  \}\n\}\n", "", doctor.good,
                      flags=re.MULTILINE)
        assert len(re.findall("^ +pimap = yes$", bare, re.MULTILINE)) == 1
        for protocol in ("imap", "lmtp"):
            conf = bare + more % protocol
            assert doctor.run(conf, code=0)
            doctor.finds(conf.replace("quota = yes", "pimap = no"),
                         plugins="protocol %s: pimap isn't" % protocol)


@pytest.mark.parametrize("value", ["", "#", "\t# the usual one", "ab", "a", "*", '"# "'])
def test_separator(doctor, value):
    """What isn't one, and what isn't seen because it reads as a comment"""
    if DOVECOT_24:
        # Dovecot knows the setting, and doveconf says it already
        doctor.finds(doctor.good + "pimap_separator = %s\n" % value,
                     configuration="(write # as \"#\")")
    else:
        args = "args = separator=%s" % value.replace('"', "")
        if value == '"# "':
            args = 'args = "separator=# x"'
        conf = without(doctor.good, "pimap", 3)
        conf = db("passdb", "pimap", args) + db("passdb", "pimap", "master = yes", args) + \
            db("userdb", "pimap", args) + conf
        expected = {"#": ["doctor.conf line 3: # begins a comment",
                          "passdb { driver = pimap }: args = separator=: it is empty",
                          "userdb { driver = pimap }"],
                    '"# "': "there is no argument x"}
        doctor.finds(conf, separator=expected.get(
            value, "it is empty" if "#" in value or not value else "can't be the separator"))


def test_separator_in_quotes(doctor):
    if DOVECOT_24:
        conf = doctor.good + 'pimap_separator = "+"\n'
        quoted = doctor.good + 'pimap_separator = "#"\n'
    else:
        def blocks(*values):
            args = ['args = "separator=%s"' % value if value else "" for value in values]
            return db("passdb", "pimap", args[0]) + \
                db("passdb", "pimap", "master = yes", args[1]) + \
                db("userdb", "pimap", args[2]) + without(doctor.good, "pimap", 3)
        conf, quoted = blocks("+", "+", "+"), blocks("#", "", "#")
        doctor.finds(blocks("+", "", "+"), separator="the separator is #, but + in the")
        # somebody else's comment is none of our business
        assert doctor.run(doctor.good + "login_greeting = a#b\n", code=0)
    assert doctor.run(conf, code=0) and doctor.run(quoted, code=0)


def test_settings(doctor):
    for criteria in ("FROM boss UNSEEN", "FROM", "UID 1:*"):
        conf = doctor.good + ("pimap_filter x {\n  criteria = %s\n}\n" if DOVECOT_24 else
                              "plugin {\n  pimap_filter_x = %s\n}\n") % criteria
        if "UNSEEN" in criteria:
            conf += settings({"pimap_default_view": "x"})
            assert doctor.run(conf, code=0) == {name: ["ok"] for name in SITE}
            doctor.finds(conf.replace("view = x", "view = y"), settings="there is no such filter")
        else:
            doctor.finds(conf, settings="= " + criteria)
    if DOVECOT_24:
        for line, text in (("pimap_max_filter_nesting = 0", "must not be 0"),
                           ("pimap_device = P1", "pimap_device is set by passdb")):
            doctor.finds(doctor.good + line + "\n", configuration=text)
        return
    for line, text in (("pimap_max_device = 3", "there is no such setting"),
                       ("pimap_max_devices = many", "pimap_max_devices = many"),
                       ("pimap_view_late = never", "pimap_view_late = never"),
                       ("pimap_max_filter_nesting = 0", "must not be 0"),
                       ("pimap_separator = +", "is an argument of the passdbs"),
                       ("pimap_device = P1", "would make a device of every session")):
        doctor.finds(doctor.good + "plugin {\n  %s\n  quota = x\n}\n" % line, settings=text)


def test_timezone(doctor):
    conf = doctor.good + settings({"pimap_timezone": "Europe/Nowhere"})
    check = "configuration" if DOVECOT_24 else "timezone"
    doctor.finds(conf, **{check: "no such time zone"})
    # of the user alone
    result = subprocess.run(
        [doctor.server.vars["DOVEADM"], "-o", ("" if DOVECOT_24 else "plugin/") +
         "pimap_timezone=Europe/Nowhere", "pimap", "doctor", "-u", "joe"],
        text=True, stdout=subprocess.PIPE)
    assert result.returncode == 78
    assert [line for line in result.stdout.splitlines() if line.startswith("FAIL")] == [
        line for line in result.stdout.splitlines()
        if line.startswith("FAIL   user-settings ") and "Europe/Nowhere" in line]


def test_chroot(doctor):
    added = "protocol imap {\n  mail_plugins%s\n}\n" % (
        " {\n    imap_pimap = yes\n  }" if DOVECOT_24 else " = $mail_plugins imap_pimap")
    for line in ("mail_chroot = /srv/mail", "mail_home = /srv/./joe"):
        doctor.finds(doctor.good + line + "\n", chroot="Add imap_pimap")
        assert doctor.run(doctor.good + line + "\n" + added, code=0)
    result = doctor.run(doctor.good + "mail_home = %s/mail/./joe\n" % doctor.server.path,
                        "-u", "joe", code=78)
    assert "Add imap_pimap" in result["user-chroot"][0]


def test_capability(doctor):
    bare = re.sub(r"^imap_capability( = .*| \{[^}]*\})\n", "", doctor.good, flags=re.MULTILINE)
    assert bare != doctor.good
    doctor.finds(bare, capability="lacks XPIMAPPREF XPROVISION XFILTER")
    doctor.finds(re.sub(r"XPROVISION( = yes\n)?", "", doctor.good),
                 capability="lacks XPROVISION:")
    conf = bare + "imap_capability = " + ("+" if DOVECOT_24 else "")
    doctor.finds(conf + "XPIMAPPREF XPROVISION XFILTER\n", capability="all that is announced")


def test_capabilities_are_the_plugins():
    """The doctor has the names that the plugin announces."""
    def names(path):
        with open(os.path.join(os.path.dirname(__file__), "..", path)) as file:
            text = re.search(r"capabilities\[\] = \{(.*?)\}", file.read(), re.DOTALL).group(1)
        return re.findall(r'"(\w+)"', text)
    assert names("src/doveadm-pimap/doveadm-pimap-doctor.c") == \
        names("src/pimap-plugin/pimap-plugin-imap.c")


def test_connections(doctor):
    doctor.finds(doctor.good + "mail_max_userip_connections = 1\n",
                 connections="mail_max_userip_connections = 1")
    doctor.finds(doctor.good + "service imap {\n  process_limit = 1\n}\n",
                 connections="process_limit = 1")


class Replaced:
    """A module that is another one for a while"""

    def __init__(self, doctor, name, change):
        self.path = doctor.server.vars["MODULES"] + "/" + name
        self.change = change

    def __enter__(self):
        with open(self.path, "rb") as file:
            data = file.read()
        os.rename(self.path, self.path + ".old")
        data = self.change(data)
        if data is not None:
            with open(self.path, "wb") as file:
                file.write(data)

    def __exit__(self, *_):
        os.rename(self.path + ".old", self.path)


def of_another_version(data):
    changed, count = re.subn(rb"(\d\.\d\.ABIv)\d", rb"\g<1>0", data)
    assert count > 0
    return changed


MODULES = ["auth/libauthdb_pimap.so", "lib30_imap_pimap_plugin.so"] + \
    (["settings/libpimap_settings.so"] if DOVECOT_24 else [])


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("change, text", [
    (lambda data: None, "it isn't there"),
    (of_another_version, "ABIv0"),
    (lambda data: b"x" * 1000, "is no module of Dovecot's"),
    (lambda data: b"", "is no module of Dovecot's"),
], ids=["missing", "other", "rubbish", "empty"])
def test_modules(doctor, name, change, text):
    with Replaced(doctor, name, change):
        if "settings" in name:
            # with any pimap_ setting Dovecot wouldn't start, and doveadm neither
            assert "\npimap_" not in doctor.good
        found = doctor.finds(None, modules=[text, name])
        assert any("Until then" in line for line in found["modules"])
    assert doctor.run(code=0)


def test_mail_plugin_is_missing(doctor):
    """doveadm itself doesn't start then, unless it is told not to load it."""
    with Replaced(doctor, "lib01_pimap_plugin.so", lambda data: None):
        command = [doctor.server.vars["DOVEADM"]]
        assert subprocess.run(command + ["pimap", "doctor"],
                              stderr=subprocess.DEVNULL).returncode != 0
        result = subprocess.run(command + ["-o", "mail_plugins=", "pimap", "doctor"], text=True,
                                stdout=subprocess.PIPE)
        assert result.returncode == 78
        assert [line.split()[:2] for line in result.stdout.splitlines()[1:]
                if not line.startswith("ok ")] == [["FAIL", "modules"]] * 2
        assert "lib01_pimap_plugin.so: it isn't there" in result.stdout
        assert "take it out of every mail_plugins" in result.stdout


def test_profile(doctor):
    server = doctor.server
    assert doctor.run(None, "-u", "ann", code=0)
    server.doveadm("pimap", "device", "add", "-u", "ann", "P1")
    folder = server.path + "/mail/ann/maildir"
    profile = folder + "/dovecot-pimap-profile"
    with open(profile, "rb") as file:
        good = file.read()
    with open(profile, "wb") as file:
        file.write(good[:-5])
    assert "truncated or damaged" in doctor.finds(
        None, "-u", "ann", profile="Restore the file")["profile"][0]
    # another user's is none of his business
    assert doctor.run(None, "-u", "bob", code=0)
    with open(profile, "wb") as file:
        file.write(good)
    os.chmod(folder, 0o555)
    try:
        doctor.finds(None, "-u", "ann", profile_folder="Permission denied")
        os.unlink(profile + ".lock")
        doctor.finds(None, "-u", "ann", profile_folder="Permission denied")
    finally:
        os.chmod(folder, 0o755)
    assert doctor.run(None, "-u", "ann", code=0)
    os.chmod(profile, 0)
    doctor.finds(None, "-u", "ann", profile="Permission denied")
    os.chmod(profile, 0o600)
    doctor.finds(doctor.good + settings({"pimap_profile": "profile"}), "-u", "ann",
                 profile="is not an absolute path")


def test_configuration_that_dovecot_refuses(doctor):
    """doveadm says what is wrong itself, and doesn't pass for healthy."""
    path = doctor.server.path + "/doctor.conf"
    with open(path, "w") as file:
        file.write(doctor.good + "no_such_setting = 1\n")
    result = subprocess.run([doctor.server.path + "/within", "doveadm", "-c", path, "pimap",
                             "doctor"], text=True, stderr=subprocess.PIPE)
    assert result.returncode not in (0, 64)
    assert "no_such_setting" in result.stderr


SERVICE = r"^service %s \{\n(?:[^{}]|\{[^{}]*\})*^\}\n"


@pytest.fixture(scope="module")
def relay():
    relay = Relay()
    yield relay
    relay.stop()


def mailing(relay, **values):
    """The settings of a site that notifies by mail"""
    return settings(dict({"pimap_channels": "mail", "pimap_mail_pattern": "*@example.com",
                          "pimap_mail_relay": "127.0.0.1:%d" % relay.port}, **values))


def listener(service, name, **values):
    body = "".join("    %s = %s\n" % value for value in values.items())
    return "service %s {\n  unix_listener %s {\n%s  }\n}\n" % (service, name, body)


def test_channels(doctor, relay):
    good = doctor.good + mailing(relay)
    assert doctor.run(good, code=0) == {name: ["ok"] for name in SITE}
    doctor.finds(doctor.good + mailing(relay, pimap_mail_relay=""),
                 channels="there is no pimap_mail_relay")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        doctor.finds(doctor.good + mailing(relay, pimap_mail_relay="127.0.0.1:%d" % port),
                     channels="pimap_mail_relay = 127.0.0.1:%d can't be reached: Connection refused"
                     % port)
    doctor.finds(doctor.good + mailing(relay, pimap_mail_relay="nowhere.invalid"),
                 channels="pimap_mail_relay = nowhere.invalid: there is no such host")
    doctor.finds(doctor.good + mailing(relay, pimap_mail_relay="127.0.0.1:x"),
                 channels="isn't a host")
    doctor.finds(doctor.good + mailing(relay, pimap_channels="fax mail"),
                 channels="there is no channel fax")
    program = mailing(relay, pimap_channels="mail program")
    doctor.finds(doctor.good + program, channels="there is no pimap_program_path")
    for path, words in (("/nowhere", "No such file"), ("/etc/passwd", "Permission denied")):
        doctor.finds(doctor.good + program + settings({"pimap_program_path": path}),
                     channels=["pimap_program_path = %s: it can't be run" % path, words])
    assert doctor.run(doctor.good + program + settings({"pimap_program_path": "/bin/true"}),
                      code=0)
    # without a channel nothing of it matters
    assert doctor.run(doctor.good + settings({"pimap_mail_relay": "nowhere.invalid"}), code=0)
    # only said: it is no mistake
    table = doctor.table(doctor.good + mailing(relay, pimap_mail_pattern=""))
    assert "pimap_mail_pattern isn't set" in table["channels"]
    assert "pimap_mail_pattern" not in doctor.table(good)["channels"]


def test_spool(doctor):
    """Of smsd"""
    def conf(url):
        return doctor.good + settings({
            "pimap_channels": "sms", "pimap_sms_pattern": "+49*", "pimap_sms_url": url})
    folder = doctor.server.path
    assert doctor.run(conf("smstools:" + folder), code=0)
    doctor.finds(conf("smstools:" + folder + "/nowhere"),
                 channels="can't be looked at: No such file or directory")
    doctor.finds(conf("smstools:" + folder + "/dovecot.conf"), channels="it isn't a directory")


def test_reports(doctor, relay):
    """Of short messages"""
    folder = doctor.server.path
    gateways = {"smstools": "smstools:" + folder,
                "kannel": "http://127.0.0.1:%d/cgi-bin/sendsms" % relay.port}

    def conf(gateway, url):
        return doctor.good + settings({
            "pimap_channels": "sms", "pimap_sms_pattern": "+49*",
            "pimap_sms_url": gateways[gateway], "pimap_sms_report_url": url})
    assert doctor.run(conf("kannel", "http://127.0.0.1:4712/x"), code=0)
    for gateway, url in (("kannel", "smstools:" + folder), ("kannel", "4712"),
                         ("smstools", "http://127.0.0.1:4712/"), ("smstools", folder),
                         ("smstools", "smstools:x")):
        doctor.finds(conf(gateway, url), channels=["pimap_sms_report_url = " + url,
                                                   "pimap-outband doesn't start"])
    for name in ("sent", "failed"):
        os.mkdir(folder + "/" + name)
    doctor.finds(conf("smstools", "smstools:" + folder),
                 channels="there is no directory %s/report. Make it" % folder)
    os.mkdir(folder + "/report")
    assert doctor.run(conf("smstools", "smstools:" + folder), code=0)


@pytest.mark.parametrize("channel", ["sms", "wap_push"])
def test_gateway(doctor, relay, channel):
    prefix = "pimap_%s_" % channel
    # it listens, that is all
    values = {"pimap_channels": channel, prefix + "pattern": "+49*",
              prefix + "url": "http://127.0.0.1:%d/cgi-bin/sendsms" % relay.port}

    def conf(**other):
        return doctor.good + settings(dict(
            values, **{prefix + name: value for name, value in other.items()}))
    assert doctor.run(conf(), code=0)
    assert doctor.run(conf(url="http://localhost:%d/" % relay.port), code=0)
    doctor.finds(conf(url=""), channels="there is no %surl: nothing is sent" % prefix)
    doctor.finds(conf(pattern=""), channels="%spattern isn't set: no device can" % prefix)
    doctor.finds(conf(url="http://nowhere.invalid/"), channels="there is no such host")
    doctor.finds(conf(url="127.0.0.1:13013"), channels="Until it is mended")
    doctor.finds(conf(url="https://u:geheim@127.0.0.1/"),
                 channels="%surl: it isn't an http:// or https:// URL: " % prefix)
    doctor.finds(conf(ca="/nowhere.pem"), channels="%sca is set, but %surl = http://127.0.0.1:%d/"
                 "cgi-bin/sendsms is without TLS. Make it https://" % (prefix, prefix, relay.port))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        doctor.finds(conf(url="http://127.0.0.1:%d/" % unused.getsockname()[1]),
                     channels="can't be reached: Connection refused")


@pytest.mark.parametrize("tcp", [False, True])
def test_sip(doctor, tcp):
    """Whether it listens, and by UDP whether it answers"""
    proxy = Proxy(lambda proxy, message, reply: reply(response(message, "483 Too Many Hops")), tcp)
    transport = ";transport=tcp" if tcp else ""

    def conf(**values):
        return doctor.good + settings(dict({
            "pimap_channels": "sip", "pimap_sip_pattern": "sip:*@example.com",
            "pimap_sip_proxy": proxy.proxy}, **values))
    try:
        assert doctor.run(conf(), code=0)
        if not tcp:
            message = proxy.messages[-1]
            assert (message.method, message.headers["max-forwards"]) == ("OPTIONS", "0")
            # once is enough
            assert len(proxy.messages) == 1
            proxy.handle = lambda proxy, message, reply: reply(b"what?")
            doctor.finds(conf(), channels="%s can't be reached: it doesn't answer an OPTIONS"
                         % proxy.proxy)
            assert len(proxy.messages) == 5
    finally:
        proxy.stop()
    doctor.finds(conf(pimap_sip_proxy=proxy.proxy),
                 channels="can't be reached: Connection refused")
    doctor.finds(conf(pimap_sip_proxy=""), channels="there is no pimap_sip_proxy: nothing is sent")
    doctor.finds(conf(pimap_sip_pattern=""), channels="pimap_sip_pattern isn't set: no device can")
    doctor.finds(conf(pimap_sip_proxy="nowhere.invalid" + transport),
                 channels="there is no such host")
    doctor.finds(conf(pimap_sip_proxy="127.0.0.1;transport=sctp"),
                 channels=["behind the ; may be transport=udp, transport=tcp or transport=tls",
                           "doesn't start"])
    doctor.finds(conf(pimap_sip_from="notify@example.com"),
                 channels="pimap_sip_from = notify@example.com: not sip:user@host")


@pytest.fixture(scope="module")
def tls():
    """A peer with TLS, of a certificate for this host; tls.ca is that of its authority"""
    path = tempfile.mkdtemp(prefix="pimap-doctor-tls.")
    os.chmod(path, 0o755)
    make_certificates(path)
    relay = Relay()
    tls = TLS(relay.port, path + "/good.pem")
    tls.path, tls.ca = path, path + "/ca.pem"
    yield tls
    tls.stop()
    relay.stop()
    shutil.rmtree(path)


def test_sip_by_tls(doctor, relay, tls):
    def conf(**values):
        return doctor.good + settings(dict({
            "pimap_channels": "sip", "pimap_sip_pattern": "sip:*@example.com",
            "pimap_sip_proxy": "localhost:%d;transport=tls" % tls.port, "pimap_sip_ca": tls.ca},
            **values))
    assert doctor.run(conf(), code=0)
    doctor.finds(conf(pimap_sip_ca=""), channels="local issuer certificate")
    doctor.finds(conf(pimap_sip_ca="/nowhere.pem"), channels="dovecot can't read it")
    doctor.finds(conf(pimap_sip_proxy="localhost:%d;transport=tcp" % relay.port),
                 channels="pimap_sip_ca is set, but pimap_sip_proxy = localhost:%d;transport=tcp is "
                 "without TLS. Make it host;transport=tls" % relay.port)


@pytest.mark.parametrize("channel", ["sms", "wap_push", "mms"])
def test_gateway_by_https(doctor, tls, channel):
    """Whether the channel would accept its certificate"""
    prefix = "pimap_%s_" % channel
    values = {"pimap_channels": channel, prefix + "pattern": "+49*", prefix + "ca": tls.ca,
              prefix + "url": "https://localhost:%d/x?password=geheim" % tls.port}

    def finds(words, **other):
        text = doctor.finds(doctor.good + settings(dict(
            values, **{prefix + name: value for name, value in other.items()})), channels=words)
        assert "geheim" not in str(text)
    shown = "%surl = https://localhost:%d/x can't be reached: " % (prefix, tls.port)
    assert doctor.run(doctor.good + settings(values), code=0)
    finds([shown, "local issuer certificate"], ca="")
    finds("%sca = /nowhere.pem: dovecot can't read it: No such file" % prefix, ca="/nowhere.pem")
    finds("there is no certificate", ca="/etc/hostname")
    try:
        for pem, words in ((tls.path + "/other.pem", "doesn't match expected host name localhost"),
                           (tls.path + "/expired.pem", "certificate has expired"),
                           ("cut", "Connection closed"), ("plain", "wrong version number")):
            tls.pem = pem
            finds([shown, words])
        tls.pem = "hang"
        if channel == "sms":
            finds([shown, "it doesn't answer TLS"])
    finally:
        tls.pem = tls.good


def test_jms_broker(doctor, relay, tls):
    """What JMS couldn't send with"""
    # it listens, that is all
    values = {"pimap_channels": "jms", "pimap_jms_prefix": "/queue/pimap.",
              "pimap_jms_url": "stomp://127.0.0.1:%d" % relay.port}

    def conf(**other):
        return doctor.good + settings(dict(
            values, **{"pimap_jms_" + name: value for name, value in other.items()}))
    folder = doctor.server.path
    key = openssl(folder + "/jms.pem", "ecparam", "-name", "prime256v1", "-genkey", "-noout")
    certificate = openssl(folder + "/jms-ca.pem", "req", "-x509", "-key", key, "-subj", "/CN=x")
    ssl = "stomp+ssl://localhost:%d" % tls.port
    assert doctor.run(conf(), code=0)
    assert doctor.run(conf(url=ssl, ca=tls.ca), code=0)
    doctor.finds(conf(url=ssl, ca=certificate), channels="local issuer certificate")
    doctor.finds(conf(url=""), channels="there is no pimap_jms_url: nothing is sent")
    doctor.finds(conf(prefix=""), channels="pimap_jms_prefix isn't set: no device can")
    doctor.finds(conf(prefix="/queue/*."), channels="pimap_jms_prefix = /queue/*.: there is a")
    doctor.finds(conf(url="tcp://127.0.0.1"), channels="Until it is mended")
    doctor.finds(conf(url="stomp://nowhere.invalid"), channels="there is no such host")
    doctor.finds(conf(ca=certificate), channels="pimap_jms_ca is set, but")
    doctor.finds(conf(url=ssl, ca="/nowhere.pem"),
                 channels="pimap_jms_ca = /nowhere.pem: dovecot can't read it: No such file")
    doctor.finds(conf(url=ssl, ca=key), channels="there is no certificate")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        doctor.finds(conf(url="stomp://127.0.0.1:%d" % unused.getsockname()[1]),
                     channels="can't be reached: Connection refused")


def test_mqtt_broker(doctor, relay, tls):
    # it listens, that is all
    values = {"pimap_channels": "mqtt", "pimap_mqtt_prefix": "pimap",
              "pimap_mqtt_url": "mqtts://127.0.0.1:%d" % tls.port, "pimap_mqtt_ca": tls.ca}

    def conf(**other):
        return doctor.good + settings(dict(
            values, **{"pimap_mqtt_" + name: value for name, value in other.items()}))
    assert doctor.run(conf(), code=0)
    assert doctor.run(conf(url="mqtt://localhost:%d/" % relay.port, ca=""), code=0)
    doctor.finds(conf(url="mqtt://localhost:%d/" % relay.port), channels="without TLS. Make it mqtts")
    doctor.finds(conf(ca=""), channels="local issuer certificate")
    doctor.finds(conf(url=""), channels="there is no pimap_mqtt_url: nothing is sent")
    doctor.finds(conf(prefix=""), channels="pimap_mqtt_prefix isn't set: no device can")
    doctor.finds(conf(url="mqtt://nowhere.invalid"), channels="there is no such host")
    doctor.finds(conf(url="127.0.0.1:1883"), channels=["mqtt:// or mqtts://",
                                                       "Until it is mended"])
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        doctor.finds(conf(url="mqtt://127.0.0.1:%d" % unused.getsockname()[1]),
                     channels="can't be reached: Connection refused")


def openssl(path, *args):
    subprocess.run(["openssl", *args, "-out", path], check=True, stderr=subprocess.DEVNULL)
    # by whom it is read in a real installation: the service's user
    os.chmod(path, 0o644)
    return path


def test_webpush(doctor):
    """What the service couldn't send with"""
    def conf(**values):
        return doctor.good + settings(dict({
            "pimap_channels": "webpush",
            "pimap_webpush_subject": "mailto:postmaster@example.com"}, **values))
    folder = doctor.server.path
    key = openssl(folder + "/sec1.pem", "ecparam", "-name", "prime256v1", "-genkey", "-noout")
    pkcs8 = openssl(folder + "/pkcs8.pem", "genpkey", "-algorithm", "EC", "-pkeyopt",
                    "ec_paramgen_curve:P-256")
    certificate = openssl(folder + "/ca.pem", "req", "-x509", "-key", key, "-subj", "/CN=x")
    assert doctor.run(conf(), code=0)
    for path in (key, pkcs8):
        assert doctor.run(conf(pimap_webpush_key=path, pimap_webpush_ca=certificate,
                               pimap_webpush_hosts="push.example.com *.local 192.0.2.0/24 ::1"),
                          code=0)
    doctor.finds(conf(pimap_webpush_subject=""), channels="there is no pimap_webpush_subject")
    doctor.finds(conf(pimap_webpush_subject="me@example.com"),
                 channels="isn't a mailto: or https: URL")
    for setting in ("pimap_webpush_key", "pimap_webpush_ca"):
        doctor.finds(conf(**{setting: "/nowhere.pem"}),
                     channels=["%s = /nowhere.pem: " % setting, "can't read it: No such file"])
    other = openssl(folder + "/p384.pem", "ecparam", "-name", "secp384r1", "-genkey", "-noout")
    locked = openssl(folder + "/locked.pem", "ec", "-in", key, "-aes128", "-passout", "pass:x")
    with open(key) as file:
        text = file.read()
    with open(folder + "/cut.pem", "w") as file:
        file.write(text[:len(text) // 2])
    for path in (other, locked, certificate, folder + "/cut.pem"):
        doctor.finds(conf(pimap_webpush_key=path),
                     channels="%s: it isn't a private key of P-256" % path)
    doctor.finds(conf(pimap_webpush_ca=key), channels="there is no certificate")
    for host in ("https://push.example.com/", "push.example.com:8443", "192.0.2.0/33"):
        doctor.finds(conf(pimap_webpush_hosts="10.0.0.0/8 " + host),
                     channels="pimap_webpush_hosts: %s is neither" % host)
    # without the channel nothing of it matters
    assert doctor.run(conf(pimap_webpush_key="/nowhere.pem", pimap_channels=""), code=0)


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user can be nobody else")
def test_webpush_key_that_the_service_cannot_read(doctor):
    """root can, and that says nothing."""
    folder = doctor.server.path + "/private"
    os.mkdir(folder)
    key = openssl(folder + "/key.pem", "ecparam", "-name", "prime256v1", "-genkey", "-noout")
    good = doctor.good + settings({
        "pimap_channels": "webpush", "pimap_webpush_subject": "mailto:postmaster@example.com",
        "pimap_webpush_key": key})
    assert doctor.run(good, code=0)
    os.chmod(key, 0o600)
    words = "dovecot can't read it: Permission denied"
    doctor.finds(good, channels=words)
    os.chmod(key, 0o644)
    os.chmod(folder, 0o700)
    doctor.finds(good, channels=words)
    shutil.chown(folder, "dovecot", "dovecot")
    assert doctor.run(good, code=0)


def test_keys_socket(doctor, relay):
    """Sessions get their devices' keys there."""
    good = doctor.good + mailing(relay, pimap_encryption="AES")
    assert doctor.run(good, code=0)
    hints, keys = "pimap-outband", "pimap-outband-keys"
    block = r"^  unix_listener pimap-outband-keys \{\n[^{}]*^  \}\n"
    assert re.search(block, good, re.MULTILINE)
    without_it = re.sub(block, "", good, flags=re.MULTILINE)
    for conf in (without_it, good + listener(hints, keys, mode="0")):
        doctor.finds(conf, outband="unix_listener pimap-outband-keys } is missing")
    for values in ({"mode": "0600"}, {"mode": "0660"}, {"mode": "0644"}):
        doctor.finds(good + listener(hints, keys, **values),
                     outband="can't get their devices' keys there")
    # users' processes are of one user, or of one group
    for values in ({"mode": "0600", "user": "games"}, {"mode": "0660", "group": "games"}):
        assert doctor.run(good + listener(hints, keys, **values), code=0)
    # nobody is given one
    for values in ({"pimap_encryption": ""}, {"pimap_key_transport": "never"}):
        assert doctor.run(without_it + settings(values), code=0)
    udp = {"pimap_encryption": "", "pimap_channels": "mail udp", "pimap_udp_listen": "127.0.0.1:1"}
    doctor.finds(without_it + settings(udp), outband="unix_listener pimap-outband-keys } is missing")


def test_idle_socket(doctor, relay):
    """Without it what is read in IDLE is sent all the same."""
    good = doctor.good + mailing(relay, pimap_inband_grace="10 s")
    assert doctor.run(good, code=0)
    block = r"^  unix_listener pimap-outband-idle \{\n[^{}]*^  \}\n"
    assert re.search(block, good, re.MULTILINE)
    without_it = re.sub(block, "", good, flags=re.MULTILINE)
    doctor.finds(without_it, outband="unix_listener pimap-outband-idle } is missing")
    doctor.finds(good + listener("pimap-outband", "pimap-outband-idle", mode="0600"),
                 outband="can't tell what is read in IDLE")
    assert doctor.run(without_it + settings({"pimap_inband_grace": "0"}), code=0)


def test_outband_configuration(doctor, relay):
    good = doctor.good + mailing(relay)
    for name in ("pimap-outband", "pimap-worker"):
        without_it = re.sub(SERVICE % name, "", good, flags=re.MULTILINE)
        assert "service %s {" % name not in without_it
        doctor.finds(without_it, outband="service %s isn't in the configuration" % name)
        # nobody needs it where there are no channels
        assert doctor.run(without_it.replace("pimap_channels", "#pimap_channels"), code=0)
        doctor.finds(good + "service %s {\n  executable = %s-gone -x\n}\n" % (name, name),
                     outband=["service %s: " % name, "/lib/dovecot/%s-gone can't be run: No such" % name])
    hints, control = "pimap-outband", "pimap-outband-control"
    doctor.finds(good + listener(hints, hints, mode="0600"), outband="can't tell it what has come")
    doctor.finds(good + listener(hints, hints, mode="0"), outband="unix_listener pimap-outband } is")
    for mode in ("0666", "0640", "0604"):
        doctor.finds(good + listener(hints, control, mode=mode),
                     outband=["unix_listener pimap-outband-control { mode = %s }" % mode])
    doctor.finds(good + listener(hints, control, mode="0"), outband="pimap-outband-control } is")
    doctor.finds(good + listener("pimap-worker", "pimap-worker", mode="0666"),
                 outband="unix_listener pimap-worker { mode = 0666 }")
    doctor.finds(good + listener("pimap-worker", "pimap-worker", user="games"),
                 outband="unix_listener pimap-worker }: it isn't ")
    # users' processes are of one user, or of one group
    for values in ({"mode": "0600", "user": "games"}, {"mode": "0660", "group": "games"}):
        assert doctor.run(good + listener(hints, hints, **values), code=0)
    assert doctor.run(good + listener("pimap-worker", "pimap-worker", mode="0660", user="games",
                                      group="games"), code=0)


def test_outband_does_not_answer(doctor, relay):
    good = doctor.good + mailing(relay)
    path = doctor.server.path + "/run/pimap-outband-control"
    os.rename(path, path + ".moved")
    doctor.finds(good, outband="The service pimap-outband doesn't run")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen(1)

        def serve():
            conn = other.accept()[0]
            conn.sendall(b"VERSION\tpimap-control\t1\t0\nFAIL\tdisk is full\n")
            while conn.recv(1000):
                pass
            conn.close()
        thread = threading.Thread(target=serve)
        thread.start()
        doctor.finds(good, outband="The service pimap-outband can't work: disk is full")
        thread.join()
    os.unlink(path)
    os.rename(path + ".moved", path)
    assert doctor.run(good, code=0)


def test_outband_without_a_server(relay):
    """It needn't run."""
    doctor = Doctor()
    try:
        doctor.server.doveadm("stop")
        good = doctor.good + mailing(relay)
        assert doctor.run(good, code=0)["outband"] == ["ok"]
        doctor.finds(good + listener("pimap-outband", "pimap-outband-control", mode="0666"),
                     outband="may read and change")
    finally:
        doctor.server.stop()


def normalised(block):
    """A block as the doctor names it"""
    text = re.sub(r"#.*", "", block)
    return " ".join(re.sub(r"\{|\}", r" \g<0> ", text).split())


@pytest.mark.parametrize("name", [name for name in MODULES if "lib30" not in name] +
                         ["lib01_pimap_plugin.so"])
def test_going_on_without_a_module(name):
    """Nobody can log in without it. The doctor names the lines to take out, which
    helps."""
    doctor = Doctor()
    server = doctor.server
    try:
        conf = server.vars["CONF"]
        with open(conf, "w") as file:
            file.write(doctor.good)
        os.unlink(server.vars["MODULES"] + "/" + name)

        def restart():
            server.close_clients()
            server.doveadm("-o", "mail_plugins=", "stop")
            subprocess.run([server.path + "/within", "dovecot", "-c", conf], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def works():
            try:
                return server.client("joe").command("NOOP").status == "OK"
            except (PermissionError, OSError, AssertionError, EOFError):
                return False
        restart()
        assert not works()
        result = subprocess.run(
            [server.vars["DOVEADM"], "-o", "mail_plugins=", "-f", "json", "pimap", "doctor"],
            stdout=subprocess.PIPE, text=True)
        assert result.returncode == 78
        texts = [row["text"] for row in json.loads(result.stdout) if row["result"] != "ok"]
        assert any(name in text for text in texts)
        named = [text.split("take out: ")[1] for text in texts if "take out: " in text]
        text = doctor.good
        for match in BLOCK.finditer(doctor.good):
            if normalised(match.group()) in named:
                named.remove(normalised(match.group()))
                text = text.replace(match.group(), "", 1)
        assert named == []
        if any("take it out of every mail_plugins" in line for line in texts):
            text = re.sub(r"^ *pimap = yes\n", "", text, flags=re.MULTILINE)
            text = text.replace("mail_plugins = $mail_plugins pimap", "")
        # just as much as is needed
        assert ("driver = pimap" in text) == (name == "lib01_pimap_plugin.so")
        with open(conf, "w") as file:
            file.write(text)
        restart()
        assert works()
    finally:
        server.close_clients()
        subprocess.run([os.path.join(os.path.dirname(__file__), "private-dovecot"), "stop",
                        server.path], check=True)
        shutil.rmtree(os.path.dirname(server.path))
