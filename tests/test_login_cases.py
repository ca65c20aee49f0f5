# SPDX-License-Identifier: LGPL-2.1-only
"""Public failures of software of this kind, about login names: what programs make
of them, and what settings do to them."""

import imaplib
import os
import re
import subprocess

import pytest

from conftest import DOVECOT_24
from test_login import USERS, add_device, admitted, attempt, lmtp_reply, mark, running, whoami

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"


@pytest.fixture(scope="module")
def site():
    """joe#view is in mode view, joe#session in mode session; they see one of two."""
    with running(users=USERS) as server:
        mark(server, "joe")
        plain = attempt(server, "joe")
        plain.append("INBOX", [MESSAGE % b"view session", MESSAGE % b"no"])
        for device in ("view", "session"):
            add_device(server, "joe", device)
        server.doveadm("pimap", "device", "mode", "-u", "joe", "session", "session")
        server.close_clients()
        yield server


def curl(server, user, *options, at="", path="INBOX"):
    """Returns what it prints, None if it wasn't let in."""
    command = ["curl", "-sS", "--max-time", "20", *options]
    if user is not None:
        command += ["-u", user + ":pass"]
    result = subprocess.run(
        command + ["imap://%s127.0.0.1:%d/%s" % (at, server.port, path)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # 67: refused, 8: BYE
    assert result.returncode in (0, 8, 67), result
    return result.stdout if result.returncode == 0 else None


STATUS = ("-X", "STATUS INBOX (MESSAGES)")


def test_hash_in_an_account_url(site):
    """python/cpython#113487, home-manager#9080: # begins a fragment. %23 is the
    program's to decode, never the server's."""
    def messages(at):
        text = curl(site, None, *STATUS, at=at, path="")
        return None if text is None else int(re.search(r"MESSAGES (\d+)", text).group(1))

    assert messages("joe%23view:pass@") == 1
    assert messages("joe:pass@") == 2
    assert messages("joe%2523view:pass@") is None
    assert messages("joe%23:pass@") is None
    assert messages("joe%23view%40foo.com:pass@") is None
    for name in ("joe%23view", "joe%2523view"):
        assert attempt(site, name) is None


@pytest.mark.parametrize("device", ["view", "session"])
@pytest.mark.parametrize("options", [
    ("--login-options", "AUTH=PLAIN"), ("--login-options", "AUTH=PLAIN", "--sasl-ir"),
    ("--login-options", "AUTH=LOGIN"), ()])
def test_session_id_confuses_no_curl(site, device, options):
    """mattnenterprise/rust-imap#81, apple/swift-nio-imap#743 and others: programs
    that can't take an untagged line before the login's reply."""
    text = curl(site, "joe#" + device, *options, *STATUS, path="")
    assert "MESSAGES 1" in text and "RESYNC" not in text
    assert "view session" in curl(site, "joe#" + device, *options, path="INBOX;UID=1")


@pytest.mark.parametrize("device", ["view", "session"])
@pytest.mark.parametrize("how", ["login", "authenticate", "cram"])
def test_session_id_confuses_no_imaplib(site, device, how):
    imap = imaplib.IMAP4("127.0.0.1", site.port)
    try:
        name = "joe#" + device
        if how == "login":
            answer = imap.login(name, "pass")
        elif how == "authenticate":
            answer = imap.authenticate("PLAIN", lambda _: b"\0%s\0pass" % name.encode())
        else:
            # the second of two that fail and succeed
            with pytest.raises(imaplib.IMAP4.error):
                imap.login(name, "wrong")
            answer = imap.login(name, "pass")
        assert answer[0] == "OK" and imap.state == "AUTH"
        assert imap.select() == ("OK", [b"1"])
        assert imap.fetch("1:*", "(UID)") == ("OK", [b"1 (UID 1)"])
        assert len(imap.untagged_responses.get("SESSIONID", [])) <= 1
        assert imap.search(None, "ALL") == ("OK", [b"1"])
        imap.close()
    finally:
        assert imap.logout()[0] == "BYE"


# the library of imapsync
PERL = """
use strict;
use Mail::IMAPClient;
my ($port, $user, $mechanism, $compress) = @ARGV;
my $imap = Mail::IMAPClient->new(
    Server => "127.0.0.1", Port => $port, User => $user, Password => "pass", Timeout => 20,
    $mechanism eq "LOGIN" ? () : (Authmechanism => $mechanism)) or die $@;
!$compress or $imap->compress or die $imap->LastError;
$imap->select("INBOX") or die $imap->LastError;
print join(",", $imap->search("ALL")), " ", $imap->message_count, " ", $imap->subject(1), "\\n";
$imap->logout or die $imap->LastError;
"""


@pytest.mark.parametrize("device", ["view", "session"])
@pytest.mark.parametrize("mechanism", ["LOGIN", "PLAIN"])
def test_session_id_confuses_no_mail_imapclient(site, device, mechanism):
    def run(user):
        return subprocess.run(
            ["/usr/bin/perl", "-e", PERL, str(site.port), user, mechanism, compress],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    # in 2.3 COMPRESS is a plugin's
    for compress in ("", "yes") if DOVECOT_24 else ("",):
        plain, phone = run("joe"), run("joe#" + device)
        assert plain.stdout == "1,2 2 view session\n", compress
        assert phone.stdout == "1 1 view session\n", compress
        # it doesn't like how a compressed session ends, anybody's
        assert phone.stderr == plain.stderr, compress


# What settings make of the name. (user, device) of each that logs in; the same
# user without a device

FORMATS = {
    "lower": ("%{user | lower}", "%Lu"),
    "as-it-is": ("%{user}", "%u"),
    "name-lower": ("%{user | username | lower}", "%Ln"),
    "name": ("%{user | username}", "%n"),
    "domain-first": ("%{user | domain}.%{user | username}", "%d.%n"),
}


@pytest.mark.parametrize("form", FORMATS)
def test_username_format(form):
    """The format is that of the user's name, as for his plain login. The device
    keeps its case."""
    setting = FORMATS[form][0 if DOVECOT_24 else 1]
    with running("auth_username_format = %s\n" % setting) as server:
        names = [("JOE#MyPhone@Own.Example", "JOE@Own.Example"),
                 ("JOE@Own.Example#MyPhone", "JOE@Own.Example")]
        if form != "domain-first":
            names.append(("Ann#MyPhone", "Ann"))
        for name, user in names:
            plain = attempt(server, user)
            plain.command('CREATE "is %s"' % user)
            expected = whoami(plain)[0]
            phone = attempt(server, name)
            assert whoami(phone) in ((expected, "new"), (expected, "MyPhone"))
            phone.ok("XFILTER SET sees-MyPhone NIL (SEEN)")
            phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V sees-MyPhone)")
            for way in ("LOGIN", "PLAIN-IR", "SCRAM"):
                assert whoami(attempt(server, name, "pass", way)) == (expected, "MyPhone")
                assert whoami(attempt(server, name.replace("MyPhone", "myphone"), "pass",
                                      way)) == (expected, "new")
                assert whoami(attempt(server, user, "pass", way)) == (expected, None)
                server.close_clients()
        assert admitted(server, [(name, "pass") for name in (
            "joe#", "joe@own.example#", "joe#@own.example", "joe#P1+tag", "#P1")]) == []
        homes = {home.lower() for home in os.listdir(server.path + "/mail")}
        assert not any("#" in home or "phone" in home for home in homes)


# a function that 2.3 doesn't have in formats
TAGS = "auth_username_chars = abcdefghijklmnopqrstuvwxyzP01@+.\n" + (
    "auth_username_format = %{user | username | index('+', 0) | lower}\n"
    if DOVECOT_24 else "")


def test_names_with_a_tag():
    """The device isn't the tag's. auth_username_chars needn't have the separator."""
    with running(TAGS) as server:
        user = "joe" if DOVECOT_24 else "joe+tag"
        mark(server, user)
        add_device(server, user, "P1")
        assert whoami(attempt(server, "joe+tag")) == (user, None)
        assert whoami(attempt(server, "joe+tag#P1")) == (user, "P1")
        assert admitted(server, [("joe#P1+tag", "pass"), ("joe+tag#", "pass")]) == []


def test_default_realm():
    """It is added to the user's name."""
    name = "auth_default_domain" if DOVECOT_24 else "auth_default_realm"
    with running("%s = foo.com\n" % name, USERS) as server:
        mark(server, "joe", "foopass")
        add_device(server, "joe@foo.com", "P650")
        for way in ("LOGIN", "PLAIN", "SCRAM"):
            for login in ("joe#P650", "joe#P650@foo.com", "joe@foo.com#P650"):
                assert whoami(attempt(server, login, "foopass", way)) == ("joe", "P650"), login
            assert whoami(attempt(server, "joe", "foopass", way)) == ("joe", None)
            server.close_clients()
            assert admitted(server, [("joe#P650", "pass"), ("joe#", "foopass"),
                                     ("joe#P650@bar.com", "foopass")], way) == []
        server.close_clients()
        assert os.listdir(server.path + "/mail") == ["joe@foo.com"]


@pytest.mark.parametrize("delimiter", ["#", "+#", "#+"])
def test_recipient_delimiter(delimiter):
    """LMTP cuts what follows it off by itself: that is mail for joe."""
    with running('recipient_delimiter = "%s"\n' % delimiter) as server:
        mark(server, "joe")
        assert lmtp_reply(server, "joe").startswith("250")
        assert lmtp_reply(server, "joe#p650").startswith("250")
        assert whoami(attempt(server, "joe#P650")) == ("joe", "new")
        assert os.listdir(server.path + "/mail") == ["joe"]
