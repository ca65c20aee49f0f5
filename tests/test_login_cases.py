# SPDX-License-Identifier: LGPL-2.1-only
"""Public failures of software of this kind, about login names: what programs make
of them, and what settings do to them."""

import imaplib
import os
import re
import shlex
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


MUTTRC = """
set imap_pass = pass ssl_starttls = no ssl_force_tls = no mbox_type = mbox
set confirmappend = no confirmcreate = no move = no delete = no quit = yes beep = no
set header_cache = "" message_cachedir = "" net_inc = 0
"""
# the first and the last message into a file. What is asked for first, it forgets.
MUTT_KEYS = "<search>x<enter>" + "".join(
    "<%s-entry><copy-message><kill-line>mbox<enter>" % which
    for which in ("first", "last")) + "<exit>"


def mutt(server, path, rc, *args):
    """Subjects of the first and last message that mutt shows, None: it wasn't let
    in. "HOST" stands for the server."""
    host = "127.0.0.1:%d" % server.port
    (path / "rc").write_text(MUTTRC + rc.replace("HOST", host) + "\n")
    # it wants a terminal, of some size
    command = shlex.join(["timeout", "--foreground", "30", "mutt", "-n", "-F", "rc", "-e",
                          "push '%s'" % MUTT_KEYS, *[arg.replace("HOST", host) for arg in args]])
    result = subprocess.run(
        ["script", "-qec", "stty rows 24 cols 80; " + command, "/dev/null"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=path,
        env=dict(os.environ, TERM="dumb", HOME=str(path), LC_ALL="C.UTF-8"))
    assert result.returncode == 0, result.stdout
    if not (path / "mbox").exists():
        assert b"authentication failed" in result.stdout
        return None
    return re.findall("^Subject: (.*)$", (path / "mbox").read_text(), re.MULTILINE)


DEVICE, ALL = ["view session"] * 2, ["view session", "no"]


@pytest.mark.parametrize("rc, args, shown", [
    ('set spoolfile = "imap://joe%23view@HOST/INBOX"', (), DEVICE),
    ('set spoolfile = "imap://joe%23session@HOST/INBOX"', (), DEVICE),
    ('set spoolfile = "imap://joe@HOST/INBOX"', (), ALL),
    ('set imap_user = "joe#view"', ("-f", "imap://HOST/INBOX"), DEVICE),
    ('set imap_user = "joe#session"', ("-f", "imap://HOST/INBOX"), DEVICE),
    # not decoded, neither by mutt nor by the server
    ('set imap_user = "joe%23view"', ("-f", "imap://HOST/INBOX"), None),
    ("", ("-f", "imap://joe%2523view@HOST/INBOX"), None),
    # a comment: the manual tells that quotes are needed
    ("set imap_user = joe#view", ("-f", "imap://HOST/INBOX"), ALL)])
def test_mutt(site, tmp_path, rc, args, shown):
    """home-manager#9080 of aerc: what a device is called where. It takes SESSIONID in
    an AUTHENTICATE by SCRAM."""
    logins = site.log().count("method=SCRAM-SHA-256")
    assert mutt(site, tmp_path, rc, *args) == shown
    site.wait_for_log()
    assert site.log().count("method=SCRAM-SHA-256") == logins + 1


RUBY = """
require "net/imap"
port, user, mechanism = ARGV
imap = Net::IMAP.new("127.0.0.1", port: port.to_i, ssl: false)
mechanism == "LOGIN" ? imap.login(user, "pass") : imap.authenticate(mechanism, user, "pass")
imap.examine("INBOX")
uids = imap.fetch(1..-1, "UID").map { |message| message.attr["UID"] }
subject = imap.fetch(1, "ENVELOPE")[0].attr["ENVELOPE"].subject
puts [imap.search(["ALL"]), uids, imap.responses["EXISTS"]].map { |l| l.join(",") }.join(" ") +
     " " + subject
imap.logout
imap.disconnect
"""

IMAPTALK = """
use strict;
use Mail::IMAPTalk;
my ($port, $user) = @ARGV;
my $imap = Mail::IMAPTalk->new(Server => "127.0.0.1", Port => $port, UseSSL => 0, Uid => 0,
                               Username => $user, Password => "pass") or die $@;
$imap->select("INBOX") or die $imap->get_last_error;
my $got = $imap->fetch("1:*", "(uid envelope)");
my @ids = sort keys %$got;
print join(" ", join(",", @{$imap->search("all")}), join(",", map { $got->{$_}{uid} } @ids),
           $imap->get_response_code("exists"), $got->{1}{envelope}{Subject}), "\\n";
$imap->logout or die $imap->get_last_error;
"""

# it splits lines at blanks, whatever they are
SIMPLE = """
use strict;
use Net::IMAP::Simple;
my ($port, $user) = @ARGV;
my $imap = Net::IMAP::Simple->new("127.0.0.1:$port") or die "no connection";
$imap->login($user, "pass") or die $imap->errstr;
my $count = $imap->select("INBOX");
my ($subject) = map { /^Subject: (.*?)\\r?\\n/ ? $1 : () } @{$imap->top(1)};
print join(" ", join(",", $imap->search("ALL")), join(",", $imap->uid("1:$count")),
           $count, $subject), "\\n";
$imap->quit or die $imap->errstr;
"""


@pytest.mark.parametrize("command", [
    ("ruby", "-e", RUBY, "LOGIN"), ("ruby", "-e", RUBY, "PLAIN"),
    ("/usr/bin/perl", "-e", IMAPTALK), ("/usr/bin/perl", "-e", SIMPLE)],
    ids=["net-imap", "net-imap-authenticate", "mail-imaptalk", "net-imap-simple"])
def test_session_id_confuses_no_library(site, command):
    """emailjs-imap-client#117, Webklex/php-imap#331 and others. What it counts, and
    what it takes for an answer, is its own folder's."""
    program, flag, script, *rest = command

    def run(user):
        return subprocess.run(
            ["timeout", "30", program, flag, script, str(site.port), user, *rest],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    for device in ("view", "session"):
        result = run("joe#" + device)
        assert (result.stdout, result.stderr) == ("1 1 1 view session\n", ""), device
    assert run("joe").stdout == "1,2 1,2 2 view session\n"
    for name in ("joe%23view", "joe#"):
        result = run(name)
        assert result.returncode != 0 and result.stdout == "", name


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
