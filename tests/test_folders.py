# SPDX-License-Identifier: LGPL-2.1-only
"""A device's view of folders that change under it, in every kind of namespace."""

import os
import re
import time

import pytest

from conftest import DOVECOT_24, Server
from imap_client import parse
from test_device import MESSAGE, device


def messages(*subjects):
    return [MESSAGE % subject.encode() for subject in subjects]


def says(result):
    """Its text, without the timing"""
    return re.sub(r"( \[[-0-9: ]+\])? \([0-9. +]*secs\)\.$", "",
                  "%s %s" % (result.status, result.text))


def view_caches(server):
    """name: its content"""
    caches = {}
    for folder, _, names in os.walk(server.path + "/mail"):
        for name in names:
            if name.startswith("dovecot-pimap-view."):
                with open(os.path.join(folder, name)) as cache:
                    caches[os.path.join(folder, name)] = cache.read()
    return caches


# namespaces

def namespace(name, driver=None, path=None, private=None, **values):
    """The text of a namespace's block. Public ones are without ACLs."""
    if DOVECOT_24 and values.get("type") == "public":
        values["acl_ignore"] = "yes"
    if path is not None and DOVECOT_24:
        values.update(mail_driver=driver, mail_path=path)
        if private is not None:
            values["mail_index_private_path"] = private
    elif path is not None:
        values["location"] = "%s:%s" % (driver, path)
        if private is not None:
            values["location"] += ":INDEXPVT=" + private
    return "namespace %s {\n%s}\n" % (
        name, "".join("  %s = %s\n" % item for item in values.items()))


def many_namespaces(driver):
    owner = "%{owner_home}" if DOVECOT_24 else "%%h"
    return "".join((
        namespace("inbox", prefix="INBOX.", separator="."),
        namespace("public", driver, "~/../.public", type="public",
                  prefix="Public.", separator=".", subscriptions="no"),
        # each user has his own \Seen
        namespace("own-seen", driver, "~/../.own-seen", "~/own-seen", type="public",
                  prefix="OwnSeen.", separator=".", subscriptions="no"),
        namespace("shared", driver, "%s/%s" % (owner, driver), type="shared",
                  prefix="shared.$user." if DOVECOT_24 else "shared.%%u.",
                  separator=".", subscriptions="no", list="children"),
        namespace("hidden", driver, "~/hidden", prefix="hidden.", separator=".",
                  hidden="yes", list="no"),
        namespace("alias", prefix="", separator=".", alias_for="inbox" if DOVECOT_24 else "INBOX.",
                  hidden="yes", list="no",
                  **({} if DOVECOT_24 else {"location": "%s:~/%s" % (driver, driver)})),
    ))


ACL = """
mail_plugins {
  acl = yes
}
protocol imap {
  mail_plugins {
    imap_acl = yes
  }
}
acl_driver = vfile
acl_cache_ttl = 0
acl_sharing_map {
  dict file {
    path = %{home}/../.shared
  }
}
""" if DOVECOT_24 else """
mail_plugins = $mail_plugins acl
protocol imap {
  mail_plugins = $mail_plugins imap_acl
}
plugin {
  acl = vfile:cache_secs=0
  acl_ignore_namespace = Public.
  acl_ignore_namespace2 = OwnSeen.
  acl_shared_dict = file:%h/../.shared
}
"""


# users look up where others' mail is
USERDB = """
service auth {
  unix_listener auth-userdb {
    mode = 0777
  }
}
"""


@pytest.fixture(scope="module", params=["maildir", "mdbox"])
def wide(request):
    """A server with many namespaces, and ACLs"""
    server = Server.temporary(
        request.param, extra=many_namespaces(request.param) + ACL + USERDB)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def no_faults_in_wide(request):
    if "wide" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("wide")
    before = len(server.faults())
    yield
    server.close_clients()
    assert server.faults()[before:] == []


def wait_rights(client, folder, rights):
    """Of the rights on its selected folder a session learns nothing new, and
    what it knows of others may be seconds old."""
    client.ok("SELECT INBOX")
    end = time.monotonic() + 20
    while not any(re.fullmatch(r"\* MYRIGHTS \S+ " + rights, line)
                  for line in client.command("MYRIGHTS " + folder).lines("* ")):
        assert time.monotonic() < end
        time.sleep(0.05)


def share(server, owner, guest, folder="Team", rights="lrwstipekx"):
    """Returns the owner's plain client."""
    plain = server.client(owner)
    plain.ok("CREATE INBOX." + folder)
    plain.ok("SETACL INBOX.%s %s %s" % (folder, guest.lower(), rights))
    client = server.client(guest)
    wait_rights(client, "shared.%s.%s" % (owner, folder), rights + ".*")
    return plain


def test_two_users_share_a_folder(wide):
    """The same device id of two users: each has his own view, and cache."""
    joe = share(wide, "joe", "ann")
    joe.append("INBOX.Team", messages("yes", "no", "yes no"))
    joes = device(wide, "joe", "SUBJECT yes", "INBOX.Team")
    anns = device(wide, "ann", "SUBJECT no", "shared.joe.Team")
    ann = wide.client("ann")
    expected = {joes: [1, 3], anns: [2, 3]}
    for count in range(3):
        for client, folder in ((joes, "INBOX.Team"), (anns, "shared.joe.Team"),
                               (ann, "shared.joe.Team")):
            uids = expected.get(client, list(range(1, 4 + count)))
            assert client.status(folder, "MESSAGES") == {"MESSAGES": len(uids)}
            client.ok("SELECT " + folder)
            assert client.fetch_all() == uids
            client.ok("UNSELECT")
        joe.append("INBOX.Team", messages("yes no"))
        for uids in expected.values():
            uids.append(4 + count)
    for client in (joes, anns):
        client.ok("SELECT " + ("INBOX.Team" if client is joes else "shared.joe.Team"))
        client.ok("CLOSE")
    caches = view_caches(wide)
    assert len(caches) == 2, caches.keys()
    assert len({os.path.dirname(path) for path in caches}) == 1
    for path, text in caches.items():
        assert "SUBJECT yes" in text or "SUBJECT no" in text


def test_own_seen_in_a_public_folder(wide):
    """Where each user has his own \\Seen, he has it in his view too."""
    joe, ann = wide.client("joe"), wide.client("ann")
    joe.ok("CREATE OwnSeen.Team")
    joe.append("OwnSeen.Team", messages("yes", "yes", "no", "yes", "yes"))
    joes = device(wide, "joe", "UNSEEN SUBJECT yes", "OwnSeen.Team")
    anns = device(wide, "ann", "UNSEEN SUBJECT yes", "OwnSeen.Team")
    for client in (joe, ann, joes, anns):
        client.ok("SELECT OwnSeen.Team")
        client.fetch_all()
    assert joes.uids == anns.uids == [1, 2, 4, 5]
    # another session of his, between and while it looks
    joe.ok("UID STORE 1 +FLAGS (\\Seen)")
    for client, uids in ((joes, [2, 4, 5]), (anns, [1, 2, 4, 5])):
        client.ok("NOOP")
        assert client.uids == uids
        assert client.status("OwnSeen.Team", "MESSAGES UNSEEN") == {
            "MESSAGES": len(uids), "UNSEEN": len(uids)}
        client.ok("CLOSE")
    ann.ok("UID STORE 2 +FLAGS (\\Seen)")
    for client, uids in ((joes, [2, 4, 5]), (anns, [1, 4, 5])):
        client.ok("SELECT OwnSeen.Team")
        assert client.fetch_all() == uids
    # its own doing hides nothing before EXPUNGE (R-1.4b)
    for client in (joes, anns):
        client.ok("FETCH 2 (BODY[])")
        before = client.uids
        client.ok("NOOP")
        client.ok("CHECK")
        assert client.uids == before
        client.ok("EXPUNGE")
        client.ok("NOOP")
        assert client.uids == before[:1] + before[2:]
    joe.ok("NOOP")
    assert joe.status("OwnSeen.Team", "MESSAGES UNSEEN") == {"MESSAGES": 5, "UNSEEN": 3}
    joe.ok("UID STORE 1,4 -FLAGS (\\Seen)")
    joes.ok("SELECT OwnSeen.Team")
    assert joes.fetch_all() == [1, 2, 4, 5]


def counts(client, command):
    """mailbox: MESSAGES, of the STATUS responses"""
    found = {}
    for response in client.ok(command).untagged:
        if response.line.startswith("* STATUS"):
            name, items = parse(response.line[len("* STATUS "):], response.literals)
            found[name] = int(items[items.index("MESSAGES") + 1])
    return found


@pytest.mark.parametrize("wide", ["maildir"], indirect=True)
@pytest.mark.parametrize("folder", ["INBOX", "INBOX.Work", "Public.Team", "shared.joe.Group",
                                    "hidden.Work", "Work"])
def test_views_in_every_namespace(wide, user, folder):
    """R-1.3, and settings by the folder's name"""
    if folder.startswith("shared."):
        share(wide, "joe", user, "Group")
    plain = wide.client(user)
    if folder not in ("INBOX", "shared.joe.Group"):
        plain.ok("CREATE " + folder)
    plain.ok("SUBSCRIBE " + folder)
    plain.append(folder, messages("yes", "no", "no", "yes"))
    phone = device(wide, user, "SUBJECT yes", folder)
    other = wide.client(user + "#P2")
    wide.doveadm("pimap", "pref", "set", "-u", user, "P2", "PIMAP_XFILTER", folder, "V", "NONE")
    for client, uids in ((phone, [1, 4]), (other, []), (plain, [1, 2, 3, 4])):
        assert client.status(folder, "MESSAGES UIDNEXT") == {
            "MESSAGES": len(uids), "UIDNEXT": 5}
        for command in ('LIST "" %s', 'LIST (SUBSCRIBED) "" %s'):
            found = counts(client, command % folder + " RETURN (STATUS (MESSAGES))")
            assert found.get(folder) == len(uids) or folder.startswith(("hidden.", "Work"))
        assert client.ok('LSUB "" ' + folder).lines("* LSUB") != []
        for command in ("EXAMINE ", "SELECT "):
            client.ok(command + folder)
            assert client.fetch_all() == uids
            assert client.search("ALL") == uids
    phone.ok("UID COPY 1:4 " + folder)
    plain.append(folder, messages("no", "yes"))
    phone.ok("NOOP")
    assert phone.fetch_all() == [1, 4, 5, 6, 8]
    preferences = phone.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").untagged[0].line
    assert "(%s V F1)" % folder in preferences
    assert [folder, "V", "NONE"] in [line.split()[1:] for line in wide.doveadm(
        "pimap", "pref", "get", "-u", user, "P2").splitlines()]
    plain.ok("NOOP")
    assert plain.fetch_all() == list(range(1, 9))
    assert wide.doveadm("fetch", "-u", user, "uid", "mailbox", folder).split() == [
        word for uid in range(1, 9) for word in ("uid:", str(uid))]
    for client in (phone, plain):
        client.ok("UID STORE 1:* +FLAGS (\\Deleted)")
        client.ok("CLOSE")
        plain.ok("NOOP")
        assert phone.status(folder, "MESSAGES") == {"MESSAGES": 0}
        assert plain.status(folder, "MESSAGES") == {"MESSAGES": 3 if client is phone else 0}


def test_alias_of_a_selected_folder(wide, user):
    """The same folder by another name has the same view; what the session is
    told of by one name, it knows by the other (R-1.4c)."""
    plain = wide.client(user)
    plain.ok("CREATE INBOX.Work")
    plain.append("INBOX.Work", messages("yes", "no", "yes"))
    phone = device(wide, user, "SUBJECT yes UNFLAGGED", "INBOX.Work")
    assert phone.status("Work", "MESSAGES") == {"MESSAGES": 2}
    phone.ok("SELECT INBOX.Work")
    assert phone.fetch_all() == [1, 3]
    plain.ok("SELECT Work")
    plain.append("INBOX.Work", messages("yes"), "\\Flagged")
    # COPYUID tells of UID 5, which is hidden: it can't see 4 any more
    phone.ok("STORE 1 +FLAGS (\\Flagged)")
    assert "COPYUID" in phone.ok("COPY 1 Work").text
    plain.ok("UID STORE 4 -FLAGS (\\Flagged)")
    assert phone.ok("NOOP").lines("* ") == ["* RESYNC"]
    assert phone.fetch_all() == [1, 3]
    # MOVE opens it once more: what is kept can be moved
    phone.ok("UID MOVE 1 Work")
    phone.ok("NOOP")
    assert phone.fetch_all() == [3]
    plain.ok("NOOP")
    assert plain.fetch_all() == [2, 3, 4, 5, 6]


def test_rights_that_end(wide):
    """A device is refused what a plain session is refused."""
    folder = "shared.joe.Ending"
    joe = share(wide, "joe", "ann", "Ending")
    joe.append("INBOX.Ending", messages("yes", "no"))
    phone = device(wide, "ann", "SUBJECT yes", folder)
    plain = wide.client("ann")
    for client in (plain, phone):
        client.ok("SELECT " + folder)
        client.fetch_all()
    joe.ok("SETACL INBOX.Ending ann lr")
    joe.append("INBOX.Ending", messages("yes"))
    for client in (plain, phone):
        # open sessions learn it some time
        client.ok("NOOP")
        assert 3 in client.fetch_all()
    clients = wide.client("ann"), wide.client("ann#P1")
    for client in clients:
        client.ok("SELECT " + folder)
    assert clients[1].fetch_all() == [1, 3]
    for command in ("APPEND %s {1+}\r\nx", "RENAME %s INBOX.E", "UID COPY 1 %s"):
        refused = [says(client.command(command % folder)) for client in clients]
        assert refused[0] == refused[1] and refused[0].startswith("NO ")
    joe.ok("DELETEACL INBOX.Ending ann")
    joe.append("INBOX.Ending", messages("yes", "no"))
    for client in clients:
        client.ok("NOOP")
        assert 4 in client.fetch_all()
    clients = wide.client("ann"), wide.client("ann#P1")
    for command in ("SELECT %s", "STATUS %s (MESSAGES)", "APPEND %s {1+}\r\nx", "DELETE %s"):
        refused = [says(client.command(command % folder)) for client in clients]
        assert refused[1].startswith("NO ")
        # the list index may answer plain STATUS without looking at rights
        assert refused[0] == refused[1] or command.startswith("STATUS")
    assert clients[1].command("XSETPIMAPPREF PIMAP_XFILTER (%s V ALL)" % folder).status == "NO"
    assert "Ending" not in str(clients[1].ok('LIST "" *'))
    preferences = clients[1].ok("XGETPIMAPPREFS (PIMAP_XFILTER)").untagged[0].line
    assert "Ending" not in preferences


# folders that change while they are selected

def files(server, user, folder):
    """Paths of the files of the folder with that last name"""
    return [os.path.join(where, name)
            for where, _, names in os.walk("%s/mail/%s" % (server.path, user.lower()))
            for name in names if folder in where[len(server.path):]]


def remove_index(server, user, plain, prefix="dovecot.index"):
    for path in files(server, user, "Work"):
        if os.path.basename(path).startswith(prefix):
            os.unlink(path)


def recreate(server, user, plain):
    plain.ok("DELETE Top/Work")
    plain.ok("CREATE Top/Work")
    plain.append("Top/Work", messages("no", "no", "no", "yes new"))


def rename_and_recreate(server, user, plain):
    plain.ok("RENAME Top/Work Other")
    plain.ok("CREATE Top/Work")
    plain.append("Top/Work", messages("no", "no", "no", "yes new"))


def lose_index(server, user, plain):
    remove_index(server, user, plain)
    server.doveadm("force-resync", "-u", user, "Top/Work")


DEEDS = {
    "delete": lambda server, user, plain: plain.ok("DELETE Top/Work"),
    "doveadm delete": lambda server, user, plain: server.doveadm(
        "mailbox", "delete", "-u", user, "Top/Work"),
    "recreate": recreate,
    "rename": lambda server, user, plain: plain.ok("RENAME Top/Work Other"),
    "doveadm rename": lambda server, user, plain: server.doveadm(
        "mailbox", "rename", "-u", user, "Top/Work", "Other"),
    "rename and recreate": rename_and_recreate,
    "rename parent": lambda server, user, plain: plain.ok("RENAME Top Other"),
    "UIDVALIDITY": lambda server, user, plain: server.doveadm(
        "mailbox", "update", "-u", user, "--uid-validity", "12345", "Top/Work"),
    "no index": remove_index,
    "lose index": lose_index,
    "no uidlist": lambda *args: remove_index(*args, prefix="dovecot-uidlist"),
}


def says_until_gone(client, commands, shown=(1, 2, 3)):
    said = []
    for command in commands:
        try:
            said.append(says(client.command(command)))
        except ConnectionError:
            said.append("BYE")
            break
        assert set(client.uids) <= {*shown, None}
    return said


def folder_guid(server, user, folder):
    return server.doveadm("mailbox", "status", "-u", user, "guid", folder).split("guid=")[1]


# Of these sessions learn at different moments, by what their index meets. Stock
# ones that go on then can write old things into the new index.
INDEX_REPLACED = ("recreate", "rename and recreate", "no index", "lose index")


@pytest.mark.expects_faults
@pytest.mark.parametrize("deed", DEEDS)
def test_folder_changes_under_sessions(server, user, deed):
    """Devices' sessions end where a plain one does; what they show until then
    is what they have shown before. Afterwards all is right: the filter stays
    with its folder, and a new one of the same name has none (R-5.5)."""
    plain = server.client(user)
    plain.ok("CREATE Top/Work")
    plain.append("Top/Work", messages("yes", "no", "yes"))
    phone = device(server, user, "SUBJECT yes", "Top/Work")
    other = server.client(user + "#P2")
    other.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL V F1)")
    witness = server.client(user)
    for client in (witness, phone, other):
        client.ok("SELECT Top/Work")
        client.fetch_all()
    guid = folder_guid(server, user, "Top/Work")
    DEEDS[deed](server, user, plain)
    commands = ("NOOP", "UID SEARCH ALL", "UID FETCH 1:* (FLAGS BODY.PEEK[])", "CHECK")
    # without its uidlist, Maildir gives messages new UIDs
    renumbered = (4, 5, 6) if deed == "no uidlist" else ()
    expected = says_until_gone(witness, commands[:2], (1, 2, 3, *renumbered))
    for client in (phone, other):
        said = says_until_gone(client, commands, (1, 3, *renumbered[::2]))
        assert said[0] == expected[0] or deed in INDEX_REPLACED
        for text in said:
            assert text == "BYE" or text.startswith("OK ")
    server.close_clients()

    plain = server.client(user)
    folders = [line.split()[-1] for line in plain.ok('LIST "" *').lines("* LIST")]
    folders = set(folders) & {"Top/Work", "Other/Work" if "parent" in deed else "Other"}
    assert (folders == set()) == ("delete" in deed)
    for folder in folders:
        if deed in INDEX_REPLACED:
            server.doveadm("force-resync", "-u", user, folder)
        plain.ok("SELECT " + folder)
        everything, matching = plain.fetch_all(), plain.search("SUBJECT yes")
        assert 0 < len(matching) < len(everything)
        is_old = folder_guid(server, user, folder) == guid
        for name, uids in (("#P1", matching if is_old else everything), ("#P2", matching)):
            client = server.client(user + name)
            assert client.status(folder, "MESSAGES") == {"MESSAGES": len(uids)}
            client.ok("SELECT " + folder)
            assert client.fetch_all() == uids


def test_delete_of_the_selected_folder(server, user):
    """As in a plain session: the session ends."""
    plain = server.client(user)
    phone = device(server, user, "SUBJECT yes", "ALL")
    for client in (plain, phone):
        plain2 = server.client(user)
        plain2.ok("CREATE Work")
        plain2.append("Work", messages("yes"))
        client.ok("SELECT Work")
        with pytest.raises(ConnectionError):
            client.command("DELETE Work")
            client.command("NOOP")
        assert plain2.command("STATUS Work (MESSAGES)").status == "NO"
    plain2.ok("CREATE Work")
    plain2.append("Work", messages("yes", "no"))
    phone = server.client(user + "#P1")
    phone.ok("SELECT Work")
    phone.fetch_all()
    try:
        assert phone.command("DELETE Work").text.startswith("[CANNOT]")
    except ConnectionError:
        pass
    assert plain2.status("Work", "MESSAGES") == {"MESSAGES": 2}


def test_rename_of_inbox(server, user):
    """R-1.8: all its mail, also what is hidden; settings go with the folder"""
    plain = server.client(user)
    plain.append("INBOX", messages("yes", "no", "yes"))
    phone = device(server, user, "SUBJECT yes")
    witness = server.client(user)
    for client in (phone, witness):
        client.ok("SELECT INBOX")
        client.fetch_all()
    other = server.client(user + "#P1")
    result = other.command("RENAME INBOX Old")
    expected = says_until_gone(witness, ("NOOP", "UID SEARCH ALL"))
    assert says_until_gone(phone, ("NOOP", "UID SEARCH ALL"), (1, 3)) == expected
    if result.status != "OK":
        # Maildir can't
        assert result.text.startswith("[CANNOT]") and expected[0] != "BYE"
        return
    plain.append("INBOX", messages("no"))
    assert plain.status("Old", "MESSAGES") == {"MESSAGES": 3}
    for folder, count in (("Old", 2), ("INBOX", 1)):
        assert other.status(folder, "MESSAGES") == {"MESSAGES": count}
        other.ok("SELECT " + folder)
        assert len(other.fetch_all()) == count


# LIST and RENAME


def test_folders_are_all_there_and_renamed_whole(server, user):
    """R-1.8, R-1.3: whatever the view hides in them"""
    plain = server.client(user)
    for name in ("Work", "Empty"):
        plain.ok("CREATE " + name)
        plain.ok("SUBSCRIBE " + name)
    for name in ("INBOX", "Work"):
        plain.append(name, messages("yes", "no", "no"))
    phone = device(server, user, "SUBJECT yes", "ALL")
    for command in ('LIST "" "*"', 'LSUB "" "*"', 'LIST (SUBSCRIBED) "" "*" RETURN (CHILDREN)'):
        assert sorted(phone.ok(command).lines("* L")) == sorted(plain.ok(command).lines("* L"))
    assert len(phone.ok('LIST "" "*"').lines("* LIST")) == 3
    phone.ok("RENAME Work Play")
    whole = {"Play": (1, 3)}
    if "maildir" in user:
        assert plain.command("RENAME INBOX Old").text.startswith("[CANNOT]")
    else:
        phone.ok("RENAME INBOX Old")
        whole.update(Old=(1, 3), INBOX=(0, 0))
    for name, counts in whole.items():
        for client, count in zip((phone, plain), counts):
            assert client.status(name, "MESSAGES") == {"MESSAGES": count}
