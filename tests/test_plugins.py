# SPDX-License-Identifier: LGPL-2.1-only
"""Devices' sessions beside Dovecot's other plugins: these go on with the whole
folder, whatever a device sees of it, and what they keep for all sessions is never
made from a view."""

import glob
import os
import poplib
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cases import lmtp
from conftest import DOVECOT_24, Server
from test_device import MESSAGE, QUOTA, device


SERVERS = ["virtual", "stock", "counted", "names"]


@pytest.fixture(autouse=True)
def no_other_faults(request):
    """As for the common server."""
    names = [name for name in request.fixturenames if name in SERVERS]
    before = {}
    for name in names:
        server = request.getfixturevalue(name)
        before[server] = len(server.faults())
    yield
    for server, count in before.items():
        server.close_clients()
        assert server.faults()[count:] == []


# virtual mailboxes and full text search


VIRTUAL = """
mail_plugins {
  virtual = yes
  fts = yes
  fts_flatcurve = yes
}
protocol imap {
  mail_plugins {
    virtual = yes
    fts = yes
    fts_flatcurve = yes
  }
}
fts_autoindex = no
fts flatcurve {
}
language en {
  default = yes
  language_filters = lowercase
}
language data {
  language_filters = lowercase
  language_tokenizers = generic
}
language_tokenizers = generic
namespace virtual {
  prefix = virtual/
  separator = /
  mail_driver = virtual
  mail_path = ~/virtual
}
""" if DOVECOT_24 else """
mail_plugins = $mail_plugins virtual fts fts_xapian
namespace virtual {
  prefix = virtual/
  separator = /
  location = virtual:~/virtual
}
plugin {
  fts = xapian
  fts_xapian = partial=3 full=20
}
"""


@pytest.fixture(scope="module", params=["maildir", "mdbox"])
def virtual(request):
    server = Server.temporary(request.param, extra=VIRTUAL)
    yield server
    server.stop()


def make_virtual(server, user, name, *lines):
    """A virtual mailbox in the way of the file dovecot-virtual"""
    home = "%s/mail/%s" % (server.path, user.lower())
    folder = "%s/virtual/%s" % (home, name)
    os.makedirs(folder)
    config = folder + "/dovecot-virtual"
    with open(config, "w") as output:
        output.write("\n".join(lines) + "\n")
    owner = os.stat(server.path + "/mail")
    for path in (home, home + "/virtual", folder, config):
        os.chown(path, owner.st_uid, owner.st_gid)


PEOPLE = b"ann", b"bob", b"joe"


def message(number, name=b"s"):
    return b"From: %s@example.org\r\nSubject: %s%d\r\n\r\ncommon word%d\r\n" % (
        PEOPLE[number % 3], name, number, number)


def fill(plain):
    plain.append("INBOX", [message(n) for n in range(1, 10)])
    plain.ok("CREATE Work")
    plain.append("Work", [message(n, b"k") for n in range(1, 5)])


def snapshot(client):
    """Numbers, UIDs, flags and subjects of the selected folder"""
    client.ok("NOOP")
    if not client.uids:
        return []
    found = client.ok("FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").fetched()
    return [(number, int(items["UID"]), sorted(set(items["FLAGS"]) - {"\\Recent"}),
             items["BODY[HEADER.FIELDS (SUBJECT)]"].split()[1].decode())
            for number, items in sorted(found.items())]


def subjects(client):
    return [subject for *_, subject in snapshot(client)]


@pytest.mark.parametrize("folder", ["INBOX", "ALL"])
def test_virtual_mailbox_of_a_folder_with_a_view(virtual, user, folder):
    """Its back ends are whole: a virtual mailbox has its own view or that of ALL,
    and what a device's session writes into its index is right for all."""
    make_virtual(virtual, user, "All", "INBOX", "Work", "  all")
    make_virtual(virtual, user, "Unseen", "virtual/All", "  unseen")
    plain = virtual.client(user)
    fill(plain)
    phone = device(virtual, user, "FROM joe", folder)
    # the first one to open it, so it makes the index
    phone.ok("SELECT virtual/All")
    seen_by_phone = snapshot(phone)
    plain.ok("SELECT virtual/All")
    everything = snapshot(plain)
    assert sorted(subject for *_, subject in everything) == sorted(
        ["s%d" % n for n in range(1, 10)] + ["k%d" % n for n in range(1, 5)])
    matching = plain.search("FROM joe")
    assert [uid for _, uid, *_ in seen_by_phone] == (
        matching if folder == "ALL" else [uid for _, uid, *_ in everything])
    for name, all_count, joe_count in (("virtual/All", 13, 4), ("virtual/Unseen", 13, 4),
                                       ("INBOX", 9, 3)):
        view = folder == "ALL" or name == "INBOX"
        for client, count in ((plain, all_count), (phone, joe_count if view else all_count)):
            assert client.status(name, "MESSAGES") == {"MESSAGES": count}
            client.ok("SELECT " + name)
            assert len(snapshot(client)) == count
    plain.ok("SELECT virtual/All")
    assert snapshot(plain) == everything
    phone.ok("SELECT INBOX")
    assert subjects(phone) == ["s2", "s5", "s8"]


def test_view_of_a_virtual_mailbox(virtual, user):
    """roundcube/roundcubemail#8097, dovecot-fts-flatcurve#42, #61, #66: what a mail
    program does with it, while a plain session does the same"""
    make_virtual(virtual, user, "All", "INBOX", "Work", "  all")
    plain = virtual.client(user)
    fill(plain)
    phone = device(virtual, user, "FROM joe")
    phone.ok("XFILTER SET F2 NIL (UNSEEN)")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (virtual/All V F2)")
    plain.ok("SELECT virtual/All")
    expected = snapshot(plain)
    for turn in range(3):
        listed = "".join(phone.ok('LIST "" * RETURN (STATUS (MESSAGES))').lines("* STATUS"))
        assert "virtual/All (MESSAGES %d)" % len(expected) in listed
        phone.ok("SELECT virtual/All")
        assert [found[1:] for found in snapshot(phone)] == [found[1:] for found in expected]
        assert phone.search("OR FROM nobody BODY word3") == [
            uid for _, uid, _, subject in expected if subject in ("s3", "k3")]
        # what this one hides and that one
        mine, others, gone = [uid for _, uid, *_ in expected[:3]]
        phone.ok("UID STORE %d +FLAGS (\\Seen)" % mine)
        plain.ok("UID STORE %d +FLAGS (\\Seen)" % others)
        phone.ok("UID STORE %d +FLAGS (\\Deleted)" % gone)
        phone.ok("NOOP")
        assert mine in phone.uids and others not in phone.uids
        phone.ok("EXPUNGE")
        phone.ok("NOOP")
        expected = expected[3:]
        assert phone.uids == [uid for _, uid, *_ in expected]
        plain.ok("NOOP")
        assert len(plain.uids) == 13 - turn - 1
        assert plain.search("UNSEEN") == phone.uids
        assert plain.search("BODY common") == plain.uids
        phone.ok("CLOSE")
    # it is the folders' messages that have gone and been seen
    plain.ok("SELECT INBOX")
    left, seen = len(plain.uids), len(plain.search("SEEN"))
    plain.ok("SELECT Work")
    assert left + len(plain.uids) == 10
    assert seen + len(plain.search("SEEN")) == 6


def test_new_mail_and_flags_reach_a_virtual_mailbox(virtual, user):
    make_virtual(virtual, user, "All", "INBOX", "Work", "  all")
    plain = virtual.client(user)
    fill(plain)
    phone = device(virtual, user, "FROM joe UNSEEN", "ALL")
    for client in (plain, phone):
        client.ok("SELECT virtual/All")
        client.fetch_all()
    known = list(plain.uids)
    writer = virtual.client(user)
    writer.append("INBOX", [message(11), message(12)])
    for client, count in ((phone, 5), (plain, 15)):
        client.ok("NOOP")
        client.fetch_all()
        assert len(client.uids) == count
    writer.ok("SELECT INBOX")
    writer.ok("STORE 10 +FLAGS (\\Seen)")
    phone.ok("STORE 1 +FLAGS (\\Flagged)")
    for client in (phone, plain):
        client.ok("NOOP")
    assert len(phone.uids) == 4 and len(plain.uids) == 15
    assert plain.uids[:13] == known and len(plain.search("FLAGGED")) == 1
    writer.ok("NOOP")
    assert len(writer.search("FLAGGED")) + len(writer.search("SEEN")) == 2


def test_idle_and_save_in_a_virtual_mailbox(virtual, user):
    """What comes into a folder is told where it is visible; what is saved to the
    virtual mailbox goes into the folder that it names for that."""
    make_virtual(virtual, user, "All", "!INBOX", "Work", "  all")
    plain = virtual.client(user)
    fill(plain)
    phone = device(virtual, user, "FROM joe", "ALL")
    phone.ok("SELECT virtual/All")
    assert len(phone.fetch_all()) == 4
    phone.idle()
    plain.append("Work", [message(10), message(11)])
    phone.wait("5 EXISTS")
    phone.done()
    phone.append("virtual/All", [message(12), message(14)])
    phone.ok("NOOP")
    assert sorted(subjects(phone))[-4:] == ["s14", "s2", "s5", "s8"]
    assert len(phone.uids) == 6
    for folder, count in (("INBOX", 11), ("Work", 6), ("virtual/All", 17)):
        assert plain.status(folder, "MESSAGES") == {"MESSAGES": count}


def use_virtual(client, folder, turns, saving):
    """Reads and changes what it shows, as a mail program does. It searches no text:
    flatcurve and xapian fail where two plain sessions begin an index at once. saving: a
    lock, as on Maildir Dovecot can't save while others expunge (model_parallel.py)."""
    for turn in range(turns):
        client.ok("SELECT " + folder)
        client.fetch_all()
        for uid, flags in ((client.uids[0], "%sFLAGS (\\Flagged)" % "+-"[turn % 2]),
                           (client.uids[-1], "+FLAGS (\\Seen)")):
            client.ok("UID STORE %d %s" % (uid, flags))
        client.search("OR SMALLER 10 SEEN")
        with saving:
            client.append("Work", [message(turn, b"m")])
        client.ok("NOOP")
        client.ok("UID STORE %d +FLAGS (\\Deleted)" % client.uids[1])
        with saving:
            client.ok("EXPUNGE")
            client.ok("CLOSE")


@pytest.mark.parametrize("who", ["", "#P1"])
def test_virtual_mailbox_of_sessions_at_once(virtual, user, who):
    """Its index is right afterwards: what the folders have."""
    make_virtual(virtual, user, "All", "INBOX", "Work", "  all")
    plain = virtual.client(user)
    fill(plain)
    # for sizes messages have to be read, and full text search has none
    device(virtual, user, "UNDELETED LARGER 10", "ALL")
    other = virtual.client(user)
    saving = threading.Lock()
    with ThreadPoolExecutor(2) as pool:
        for session in [pool.submit(use_virtual, client, "virtual/All", 5, saving)
                        for client in (virtual.client(user + who), other)]:
            session.result()
    expected = []
    for folder in ("INBOX", "Work"):
        plain.ok("SELECT " + folder)
        expected += [(flags, subject) for _, _, flags, subject in snapshot(plain)]
    for client in (plain, virtual.client(user)):
        client.ok("SELECT virtual/All")
        assert sorted((flags, subject) for _, _, flags, subject in snapshot(client)) == \
            sorted(expected)
    # nothing wrong is kept for later sessions
    phone = virtual.client(user + "#P1")
    phone.ok("SELECT virtual/All")
    assert phone.fetch_all() == client.search("UNDELETED")


def test_full_text_index_is_of_the_whole_folder(virtual, user):
    """Whoever has it made, and what it finds is cut down to what is visible"""
    plain = virtual.client(user)
    fill(plain)
    phone = device(virtual, user, "FROM joe")
    phone.ok("SELECT INBOX")
    assert phone.search("BODY word5") == [5]
    assert phone.search("BODY word4") == []
    assert phone.search("BODY common") == [2, 5, 8]
    plain.ok("SELECT INBOX")
    assert plain.search("BODY word4") == [4]
    assert plain.search("BODY common") == list(range(1, 10))
    home = "%s/mail/%s" % (virtual.path, user.lower())
    assert any("xapian" in path or "flatcurve" in path for path, *_ in os.walk(home))
    # criteria that ask the index, and a device that adds to it
    phone.ok("XFILTER SET F1 NIL (BODY word4)")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [4]
    plain.append("INBOX", [message(13), message(4)])
    phone.ok("NOOP")
    assert phone.fetch_all() == [4, 11]
    assert phone.search("BODY word4") == [4, 11]
    assert phone.search("BODY word13") == []
    plain.ok("NOOP")
    assert plain.search("BODY word13") == [10]
    assert plain.search("BODY common") == list(range(1, 12))


# what acts on changes of folders, and other services

def pop3(port):
    return """
protocols = imap lmtp pop3
service pop3-login {
  inet_listener pop3 {
    port = %d
  }
  inet_listener pop3s {
    port = 0
  }
  %s
}
""" % (port, "" if os.getuid() == 0 else "chroot =")


STOCK = """
mail_plugins {
  quota = yes
  lazy_expunge = yes
  notify = yes
  mail_log = yes
  notify_status = yes
  mail_compress = yes
}
protocol imap {
  mail_plugins {
    imap_quota = yes
  }
}
quota User {
  quota_storage_size = 10M
}
namespace inbox {
  mailbox Old {
    autoexpunge_max_mails = 3
  }
}
lazy_expunge_mailbox = Expunged
mail_log_events = expunge copy save flag_change
mail_log_fields = uid box
mailbox_notify_status = yes
notify_status {
  dict file {
    path = %{home}/notify-status
  }
}
mail_compress_write_method = gz
""" if DOVECOT_24 else """
mail_plugins = $mail_plugins quota lazy_expunge notify mail_log notify_status zlib
protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
namespace inbox {
  mailbox Old {
    autoexpunge_max_mails = 3
  }
}
plugin {
  quota = dict:User::file:%h/quota
  quota_vsizes = yes
  quota_rule = *:storage=10M
  lazy_expunge = Expunged
  mail_log_events = expunge copy save flag_change
  mail_log_fields = uid box
  notify_status_dict = file:%h/notify-status
  zlib_save = gz
}
"""


@pytest.fixture(scope="module", params=["maildir", "mdbox"])
def stock(request):
    """A server with what many sites have on, and POP3"""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    server = Server.temporary(request.param, extra=STOCK + pop3(port))
    server.pop3_port = port
    yield server
    server.stop()


def home(server, user):
    return "%s/mail/%s" % (server.path, user.lower())


def in_dict(path):
    """key: value, of a file that lib-dict's driver "file" has made"""
    with open(path) as lines:
        lines = lines.read().splitlines()
    return dict(zip(lines[::2], lines[1::2]))


def used(client):
    """The octets, or kilobytes, of the user's quota"""
    line, = client.ok("GETQUOTAROOT INBOX").lines("* QUOTA ")
    return int(re.search(r"STORAGE (\d+)", line).group(1))


def check_quota(server, user, *clients):
    """What all sessions are told is what counting anew gives."""
    told = {used(client) for client in clients}
    server.doveadm("quota", "recalc", "-u", user)
    counted = re.search(r"STORAGE +(\d+)", server.doveadm("quota", "get", "-u", user))
    assert told == {int(counted.group(1))}


def check_notified(server, user, plain, *folders):
    """The counts that notify_status keeps are of the whole folder."""
    kept = in_dict(home(server, user) + "/notify-status")
    for folder in folders:
        status = plain.status(folder, "MESSAGES UNSEEN")
        value = [value for key, value in kept.items() if key.endswith("/" + folder)]
        assert value == ['{"messages":%d,"unseen":%d}' % (
            status["MESSAGES"], status["UNSEEN"])], folder


def logged(server, user, what):
    """box and UIDs of mail_log's lines"""
    return [re.search(r"box=(\S+), uid=(\S+)", line).groups()
            for line in server.log().splitlines()
            if "imap(%s)" % user.lower() in line and "%s: box=" % what in line]


def big(number):
    return message(number) + b"".join(b"%d %d\r\n" % (number, n * n * n) for n in range(2000))


def test_what_acts_on_changes(stock, user):
    """Quota, lazy_expunge, mail_log, notify_status and compression: a device's
    change is as a plain session's."""
    plain = stock.client(user)
    plain.append("INBOX", [big(n) for n in range(1, 10)])
    for folder in ("Work", "Other"):
        plain.ok("CREATE " + folder)
    plain.append("Work", [message(n, b"k") for n in range(1, 5)])
    phone = device(stock, user, "FROM joe", "ALL")
    check_quota(stock, user, plain, phone)
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [2, 5, 8]
    # all that it does is done to what it sees
    phone.ok("STORE 1:* +FLAGS (\\Flagged)")
    phone.ok("STORE 2 +FLAGS (\\Deleted)")
    phone.ok("EXPUNGE")
    phone.ok("COPY 1 Work")
    phone.ok("MOVE 2 Other")
    phone.append("Work", [message(10)])
    plain.ok("SELECT INBOX")
    assert plain.fetch_all() == [1, 2, 3, 4, 6, 7, 9]
    assert plain.search("FLAGGED") == [2]
    assert phone.status("Work", "MESSAGES") == {"MESSAGES": 2}
    check_notified(stock, user, plain, "INBOX", "Work", "Other")
    check_quota(stock, user, plain, phone)
    assert logged(stock, user, "expunge") == [("INBOX", "5"), ("INBOX", "8")]
    assert logged(stock, user, "flag_change")[:3] == [("INBOX", "2"), ("INBOX", "5"),
                                                      ("INBOX", "8")]
    # what was expunged, by EXPUNGE and by MOVE
    plain.ok("SELECT Expunged")
    assert sorted(subjects(plain)) == ["s5", "s8"]
    phone.ok("SELECT Expunged")
    assert sorted(subjects(phone)) == ["s5", "s8"]
    # the whole folder is renamed
    phone.ok("RENAME Work Job")
    check_notified(stock, user, plain, "Job")
    assert plain.status("Job", "MESSAGES") == {"MESSAGES": 6}
    assert phone.status("Job", "MESSAGES") == {"MESSAGES": 2}
    # what is stored compressed is read as it was
    phone.ok("SELECT INBOX")
    fetched = phone.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])").fetched()[1]
    assert fetched["BODY[]"].encode() if isinstance(fetched["BODY[]"], str) else \
        fetched["BODY[]"] == big(2)
    assert int(fetched["RFC822.SIZE"]) == len(big(2))


def test_over_quota(stock, user):
    """Hidden mail fills the quota for a device, too."""
    plain = stock.client(user)
    filler = MESSAGE % b"no" + 25000 * b"0123456789012345678901234567890123456\r\n"
    plain.append("INBOX", [filler] * 9 + [MESSAGE % b"yes"])
    phone = device(stock, user, "SUBJECT yes")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [10]
    plain.ok("SELECT INBOX")
    for client in (plain, phone):
        with pytest.raises(AssertionError) as error:
            client.append("INBOX", [filler.replace(b"no", b"yes")] * 2)
        assert "[OVERQUOTA]" in str(error.value)
    phone.append("INBOX", [filler.replace(b"no", b"yes")])
    phone.ok("NOOP")
    assert "[OVERQUOTA]" in phone.command("COPY 2 INBOX").text
    check_quota(stock, user, plain, phone)
    phone.ok("NOOP")
    assert phone.fetch_all() == [10, 11]


def test_autoexpunge(stock, user):
    """It counts all messages, at the end of a device's session too."""
    plain = stock.client(user)
    plain.ok("CREATE Old")
    plain.append("Old", [message(n) for n in range(1, 10)])
    phone = device(stock, user, "FROM joe", "ALL")
    assert phone.status("Old", "MESSAGES") == {"MESSAGES": 3}
    phone.logout()
    end = time.monotonic() + 20
    while plain.status("Old", "MESSAGES") != {"MESSAGES": 3}:
        assert time.monotonic() < end
        time.sleep(0.05)
    plain.ok("SELECT Old")
    assert plain.fetch_all() == [7, 8, 9]
    # of those it sees one
    phone = stock.client(user + "#P1")
    assert phone.status("Old", "MESSAGES") == {"MESSAGES": 1}


def test_other_services_see_everything(stock, user):
    """POP3, LMTP and doveadm; and none of them knows devices (R-2.1)."""
    plain = stock.client(user)
    plain.append("INBOX", [message(n) for n in range(1, 10)])
    phone = device(stock, user, "FROM joe", "ALL")
    phone.ok("SELECT INBOX")
    assert phone.fetch_all() == [2, 5, 8]

    mailbox = poplib.POP3("127.0.0.1", stock.pop3_port)
    mailbox.user(user)
    mailbox.pass_("pass")
    assert mailbox.stat()[0] == 9
    assert b"Subject: s4" in mailbox.retr(4)[1]
    mailbox.dele(5)
    mailbox.dele(6)
    mailbox.quit()
    other = poplib.POP3("127.0.0.1", stock.pop3_port)
    other.user(user + "#P1")
    with pytest.raises(poplib.error_proto):
        other.pass_("pass")
    other.close()
    assert phone.ok("NOOP").lines("* 2 EXPUNGE") != []
    assert phone.fetch_all() == [2, 8]

    lmtp(stock, user, message(11))
    lmtp(stock, user, message(12))
    phone.ok("NOOP")
    assert phone.fetch_all() == [2, 8, 10]
    with pytest.raises(AssertionError):
        lmtp(stock, user + "#P1", message(14))

    for command, shown in (("ALL", "1 2 3 4 7 8 9 10 11"), ("FROM joe", "2 8 10")):
        found = stock.doveadm("search", "-u", user, "mailbox", "INBOX", *command.split())
        assert " ".join(line.split()[1] for line in found.splitlines()) == shown
    assert "subject" in stock.doveadm("fetch", "-u", user, "hdr.subject", "mailbox", "INBOX",
                                      "uid", "4")
    stock.doveadm("search", "-u", user + "#P1", "ALL", fails=True)
    stock.doveadm("expunge", "-u", user, "mailbox", "INBOX", "uid", "1:2")
    phone.ok("NOOP")
    assert phone.fetch_all() == [8, 10]
    plain.ok("SELECT INBOX")
    assert plain.fetch_all() == [3, 4, 7, 8, 9, 10, 11]
    check_quota(stock, user, plain, phone)


COUNTED = QUOTA if DOVECOT_24 else """
mail_plugins = $mail_plugins quota
protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
plugin {
  quota = dict:User::file:%h/quota
  quota_vsizes = yes
  quota_rule = *:storage=10M
}
"""


@pytest.fixture(scope="module", params=["sdbox"])
def counted(request):
    """A server with quota alone, kept where all sessions share it"""
    server = Server.temporary(request.param, extra=COUNTED)
    yield server
    server.stop()


@pytest.mark.parametrize("who", ["", "#P1"])
def test_quota_counted_anew(counted, user, who):
    """Where it isn't known any more, the next session to change it counts all."""
    plain = counted.client(user)
    plain.append("INBOX", [big(n) for n in range(1, 10)])
    plain.ok("CREATE Work")
    plain.append("Work", [big(n) for n in range(1, 5)])
    phone = device(counted, user, "FROM joe", "ALL")
    client = counted.client(user + who)
    client.ok("SELECT INBOX")
    client.fetch_all()
    for path in glob.glob(home(counted, user) + "/quota"):
        os.unlink(path)
    client.ok("UID STORE 2 +FLAGS (\\Deleted)")
    client.ok("EXPUNGE")
    client.ok("NOOP")
    client.ok("CLOSE")
    if not DOVECOT_24:
        assert "priv/quota/storage" in in_dict(home(counted, user) + "/quota")
    check_quota(counted, user, plain, phone)


# names of folders that are others' (Dovecot 2.4 has no such plugins)

NAMES = """
mail_plugins = $mail_plugins mailbox_alias listescape
plugin {
  mailbox_alias_old = Work
  mailbox_alias_new = Alias
}
"""

if not DOVECOT_24:
    @pytest.fixture(scope="module", params=["maildir", "mdbox"])
    def names(request):
        server = Server.temporary(request.param, extra=NAMES)
        yield server
        server.stop()

    def test_alias_has_the_filter_of_its_folder(names, user):
        plain = names.client(user)
        plain.ok("CREATE Work")
        plain.ok("CREATE Alias")
        plain.append("Work", [message(n) for n in range(1, 10)])
        phone = device(names, user, "FROM joe", "Work")
        for folder in ("Work", "Alias"):
            assert phone.status(folder, "MESSAGES") == {"MESSAGES": 3}
            phone.ok("SELECT " + folder)
            assert phone.fetch_all() == [2, 5, 8]
            assert plain.status(folder, "MESSAGES") == {"MESSAGES": 9}

    def test_filter_of_a_folder_with_an_escaped_name(names, user):
        plain = names.client(user)
        for name in ("a.b", "~a", "a\\\\2e"):
            plain.ok('CREATE "%s"' % name)
            plain.append('"%s"' % name, [message(n) for n in range(1, 10)])
            phone = device(names, user, "FROM joe", '"%s"' % name)
            phone.ok('SELECT "%s"' % name)
            assert phone.fetch_all() == [2, 5, 8]
            found, = phone.ok('LIST "" "%s" RETURN (STATUS (MESSAGES))' % name).lines("* STATUS")
            assert found.endswith("(MESSAGES 3)")
            plain.ok('RENAME "%s" "%s.c"' % (name, name))
            phone.ok('SELECT "%s.c"' % name)
            assert phone.fetch_all() == [2, 5, 8]
