# SPDX-License-Identifier: LGPL-2.1-only
"""Mail programs that know no P-IMAP, as devices: their configuration, their
runs, and what they have then."""

import glob
import os
import re
import subprocess

SECONDS = 60  # for one run


def maildir(path):
    """Message-ID: letters of its flags, sorted, of each message in a Maildir"""
    messages = {}
    for name in glob.glob(path + "/new/*") + glob.glob(path + "/cur/*"):
        match = re.search(r":2,([A-Za-z]*)$", name)
        identity = message_id(name)
        assert identity not in messages, name
        messages[identity] = "".join(sorted(match.group(1))) if match else ""
    return messages


def message_id(path):
    with open(path, "rb") as file:
        return re.search(rb"^Message-ID: <(.*)>\r?$", file.read(), re.MULTILINE).group(1).decode()


def put(path, number, message, flags=""):
    """A message that the user's own mail program has put into a Maildir"""
    name = "%s/cur/%d.own.peer:2,%s" % (path, number, flags)
    with open(name, "wb") as file:
        file.write(message.replace(b"\r\n", b"\n"))


def find(path, identity):
    """A message's file"""
    file, = [name for name in glob.glob(path + "/new/*") + glob.glob(path + "/cur/*")
             if message_id(name) == identity]
    return file


def set_flags(path, identity, flags):
    old = find(path, identity)
    base = os.path.basename(old).partition(":2,")[0]
    os.rename(old, "%s/cur/%s:2,%s" % (path, base, "".join(sorted(flags))))


def tree(path):
    """name: octets of every file below it"""
    files = {}
    for folder, _, names in os.walk(path):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                files[os.path.relpath(os.path.join(folder, name), path)] = file.read()
    return files


class Program:
    """One that has its configuration and mail in a folder of its own"""

    def __init__(self, server, user, path):
        self.server = server
        self.user = user
        self.path = str(path)
        os.makedirs(self.path, exist_ok=True)
        self.conf = self.path + "/conf"
        self.write_conf(self.conf)

    def write_conf(self, path):
        with open(path, "w") as file:
            file.write(self.configuration())
        os.chmod(path, 0o600)

    def execute(self, *command, status=0, **options):
        """Returns what it prints. It reads nothing of its caller's."""
        home = self.path + "/home"
        os.makedirs(home, exist_ok=True)
        result = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.path,
            stdin=subprocess.DEVNULL, timeout=SECONDS, errors="replace",
            env=dict(os.environ, HOME=home, LC_ALL="C.UTF-8"), **options)
        assert result.returncode == status, result.stdout
        return result.stdout


class Mbsync(Program):
    """Synchronises all folders both ways, deletions too"""

    def configuration(self):
        version = subprocess.run(["mbsync", "--version"], check=True, text=True,
                                 stdout=subprocess.PIPE).stdout
        self.version = tuple(map(int, re.match(r"isync (\d+)\.(\d+)", version).groups()))
        # it warns of the other name
        tls = "SSLType" if self.version < (1, 5) else "TLSType"
        self.mail = self.path + "/mail"
        os.makedirs(self.mail + "/folders", exist_ok=True)
        return """
IMAPStore server
Host 127.0.0.1
Port %d
User "%s"
Pass pass
AuthMechs LOGIN
%s None

MaildirStore local
Path %s/folders/
Inbox %s/INBOX
SubFolders Verbatim

Channel mail
Far :server:
Near :local:
Patterns *
Create Both
Sync All
Expunge Both
SyncState *
""" % (self.server.port, self.user, tls, self.mail, self.mail)

    def run(self):
        # it waits until folders are old enough for their times to be trusted
        for kind in ("new", "cur"):
            for path in (glob.glob(self.mail + "/*/" + kind) +
                         glob.glob(self.mail + "/folders/**/" + kind, recursive=True)):
                os.utime(path, (1, 1))
        output = self.execute("mbsync", "-c", self.conf, "mail")
        faults = [line for line in output.splitlines() if re.search(
            "error|warning|notice|duplicate|lost", line, re.IGNORECASE) and
            # of any connection without TLS, and of a folder that is made
            not re.search("Password is being sent in the clear|no UIDVALIDITY.*, creating", line)]
        assert faults == [], output
        return output

    def folder(self, name):
        return self.mail + ("/INBOX" if name == "INBOX" else "/folders/" + name)


class OfflineImap(Program):
    """Synchronises all folders both ways, deletions too"""

    def configuration(self):
        self.mail = self.path + "/mail"
        os.makedirs(self.path + "/meta", exist_ok=True)
        return """
[general]
accounts = joe
metadata = %s/meta
ui = basic
[Account joe]
localrepository = local
remoterepository = remote
[Repository local]
type = Maildir
localfolders = %s
[Repository remote]
type = IMAP
remotehost = 127.0.0.1
remoteport = %d
remoteuser = %s
remotepass = pass
ssl = no
starttls = no
""" % (self.path, self.mail, self.server.port, self.user)

    def run(self):
        output = self.execute("offlineimap", "-c", self.conf, "-o", "-1")
        assert not re.search("error|warning|traceback", output, re.IGNORECASE), output
        return output

    def folder(self, name):
        return self.mail + "/" + name


MDA = """
import sys
with open(%r, "ab") as file:
    file.write(sys.stdin.buffer.read() + b"\\0")
with open(%r, "rb") as file:
    count = file.read().count(b"\\0")
# while the program is at it, others come in
if count in %r:
    sys.path.insert(0, %r)
    from model_truth import deliver
    for kind in ("yes", "no"):
        deliver(%r, %r, b"From: a@example.org\\r\\nSubject: %%s\\r\\n"
                b"Message-ID: <%%s-late%%d>\\r\\n\\r\\nbody\\r\\n" %% (
                    kind.encode(), kind.encode(), count))
"""


class Fetcher(Program):
    """One that fetches the INBOX's mail, deletes it there, and hands each to a
    script. While it does, mail comes in after the messages LATE."""

    LATE = (2, 4)

    def mda(self):
        self.fetched = self.path + "/fetched"
        with open(self.fetched, "wb"):
            pass
        script = self.path + "/mda.py"
        here = os.path.dirname(os.path.abspath(__file__))
        with open(script, "w") as file:
            file.write(MDA % (self.fetched, self.fetched, self.LATE, here,
                              self.server.vars["LMTP_SOCKET"], self.user.partition("#")[0]))
        return script

    def identities(self):
        """The Message-IDs of what it has fetched, in order"""
        with open(self.fetched, "rb") as file:
            messages = file.read().split(b"\0")[:-1]
        return [re.search(rb"^Message-ID: <(.*)>\r?$", message, re.MULTILINE).group(1).decode()
                for message in messages]


class Fetchmail(Fetcher):
    def __init__(self, server, user, path, options=""):
        self.options = options
        super().__init__(server, user, path)

    def configuration(self):
        return ('poll 127.0.0.1 service %d proto imap auth password user "%s" password "pass" '
                'nokeep sslproto "" %s mda "/usr/bin/python3 -SB %s"\n' % (
                    self.server.port, self.user, self.options, self.mda()))

    def run(self, status=0):
        return self.execute("fetchmail", "-v", "-v", "--nosyslog", "-N", "-i", self.path + "/ids",
                            "--pidfile", self.path + "/pid", "-f", self.conf, status=status)


class Getmail(Fetcher):
    def configuration(self):
        return """
[retriever]
type = SimpleIMAPRetriever
server = 127.0.0.1
port = %d
username = %s
password = pass
mailboxes = ("INBOX",)
[destination]
type = MDA_external
path = /usr/bin/python3
arguments = ("-SB", "%s")
allow_root_commands = true
[options]
delete = true
""" % (self.server.port, self.user, self.mda())

    def run(self):
        return self.execute("getmail", "-v", "-g", self.path, "-r", self.conf)
