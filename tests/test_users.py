# SPDX-License-Identifier: LGPL-2.1-only
"""R-14.3: who may do what to whose. Two users, whose devices have the same names, in
one process; and what may be in a log."""

import glob
import os
import re

import pytest

import test_malformed
from conftest import DOVECOT_24, Server, settings
from test_commands import profile, provision
from test_folders import ACL, USERDB, many_namespaces, says, share, view_caches, wait_rights
from test_settings import ALL_PREFS, prefs

MESSAGE = b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n"
# all sessions in one process
ONE_PROCESS = """
service imap {
  process_min_avail = 0
  process_limit = 1
  client_limit = 100
  %s
}
%s
""" % (("restart_request_count = 1000" if DOVECOT_24 else "service_count = 1000"),
       # Dovecot tells the arguments of commands
       "log_debug = category=mail OR category=imap OR category=storage")
# what a log may never have: tokens and addresses. Words and descriptions it has as
# those of SEARCH
SECRETS = {"ann": ("ann-token-4711", "ann-address-4712", "ann-word-4713", "ann-desc-4714"),
           "bob": ("bob-token-4721", "bob-address-4722", "bob-word-4723", "bob-desc-4724")}


@pytest.fixture(scope="module")
def server():
    server = Server.temporary("mdbox", extra=ONE_PROCESS)
    yield server
    server.close_clients()
    assert server.faults() == []
    server.stop()


def settle(server, user):
    """A device of the user's, with something of each kind"""
    token, address, word, desc = SECRETS[user]
    phone = server.client(user + "#P1")
    phone.ok("XPROVISION P1 " + token)
    phone.ok('XFILTER SET shared "%s" (SUBJECT %s)' % (desc, word))
    phone.ok('XFILTER SET only-%s NIL (BODY %s)' % (user, word))
    phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS " + address)
    phone.ok("XSETPIMAPPREF PIMAP_EVENT_FILTER " + ("ALL" if user == "ann" else "NONE"))
    phone.command("CREATE Work-" + user)
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (Work-%s B shared)" % user)
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V only-%s)" % user)
    return phone


@pytest.fixture
def phones(server):
    phones = {user: settle(server, user) for user in SECRETS}
    yield phones
    # whatever was done, a session in that process sees its own user's
    for user, phone in phones.items():
        assert SECRETS[user][1] in prefs(phone, "PIMAP_OUTBAND_ADDRESS")
    server.close_clients()


def all_answers(client):
    """Everything that a session is told of a profile"""
    answers = [client.ok(command) for command in (
        "XPROVISION", "XGETPIMAPPREFS (%s)" % ALL_PREFS, "XFILTER GET shared (DESC CRITERIA)",
        "LIST \"\" *")]
    return repr(answers) + repr([client.command("XFILTER GET only-%s (DESC CRITERIA)" % user)
                                 for user in SECRETS])


def test_each_sees_its_own(server, phones):
    """By commands"""
    for user, other in (("ann", "bob"), ("bob", "ann")):
        for client in (phones[user], server.client(user + "#P1")):
            text = all_answers(client)
            assert all(secret in text for secret in SECRETS[user][1:])
            assert not any(secret in text for secret in SECRETS[other]), text
            assert "only-" + other not in text and "Work-" + other not in text
            assert not any(secret in text for secret in SECRETS[user][:1])
        # another device of the same user's shares the filters, and no more
        text = all_answers(server.client(user + "#P2"))
        assert SECRETS[user][2] in text and SECRETS[user][1] not in text
        result = phones[user].command("XFILTER GET only-%s (CRITERIA)" % other)
        assert result.text.startswith("[NONEXISTENT] ")


def test_nobody_changes_anothers(server, phones):
    """All the commands that there are, right and wrong ones, in one process with the
    other's sessions"""
    reach = [b"XFILTER DELETE only-bob", b"XSETPIMAPPREF PIMAP_XFILTER (INBOX V only-bob)"]
    reach += [b'XSETPIMAPPREF PIMAP_XFILTER ("%s" V NONE)' % name for name in (
        b"Work-bob", b"~bob/INBOX", b"~bob/mdbox/INBOX", b"../bob/INBOX", b"../../bob/mdbox/INBOX", b"bob/INBOX",
        b"user/bob/INBOX", b"shared/bob/INBOX", b"#shared/bob", b"/INBOX",
        b"%s/mail/bob/mdbox" % server.path.encode())]
    before = profile(server, "bob")
    assert before != b""
    for phone in (phones["ann"], server.client("ann#P1")):
        for command in reach:
            assert phone.command(command).status == "NO", command
        for command in test_malformed.SETUP:
            phone.command(command)
        for start in range(0, len(test_malformed.table()), 50):
            test_malformed.send(phone, test_malformed.table()[start:start + 50])
        for command in test_malformed.GOOD:
            if b"}" not in command:
                phone.command(command)
    plain = server.client("ann")
    plain.ok("XPROVISION P3 token")
    assert plain.command("XPROVISION bob#P1").status == "BAD"
    assert plain.command("XPROVISION bob").status == "OK"  # a device of ann's
    assert profile(server, "bob") == before
    assert prefs(phones["bob"], "PIMAP_EVENT_FILTER") == "PIMAP_EVENT_FILTER NONE"
    settle(server, "ann")


def test_views_are_each_ones_own(server, phones):
    for user in ("ann", "bob"):
        plain = server.client(user)
        plain.append("INBOX", [b"Subject: x\r\n\r\n%s\r\n" % SECRETS[name][2].encode()
                               for name in ("ann", "bob", "bob")])
    for user, shown in (("ann", 1), ("bob", 2)):
        phones[user].ok("SELECT INBOX")
        assert len(phones[user].fetch_all()) == shown
        # a change of the other's isn't told
        phones["bob" if user == "ann" else "ann"].ok("XFILTER SET only-%s NIL (ALL)" % (
            "bob" if user == "ann" else "ann"))
        assert phones[user].ok("NOOP").untagged == []
        assert len(phones[user].fetch_all()) == shown
        for name in SECRETS:
            settle(server, name)
        phones[user].ok("NOOP")
        phones[user].ok("UNSELECT")


def test_doveadm(server, phones):
    """Each of its commands is about the user that it is given."""
    pimap = lambda user, *args, **kw: server.doveadm("pimap", *args[:2], "-u", user, *args[2:], **kw)
    other = profile(server, "bob")
    text = "".join(pimap("ann", *args) for args in (
        ("device", "list"), ("filter", "list"), ("filter", "show", "shared"), ("pref", "get", "P1")))
    assert all(secret in text for secret in SECRETS["ann"][1:])
    assert not any(secret in text for secret in SECRETS["bob"]) and "only-bob" not in text
    for args in (("filter", "show", "only-bob"), ("filter", "delete", "only-bob"),
                 ("pref", "set", "P1", "PIMAP_XFILTER", "INBOX", "V", "only-bob"),
                 ("pref", "set", "P1", "PIMAP_XFILTER", "Work-bob", "V", "ALL"), ("pref", "get", "bob#P1"),
                 ("device", "add", "bob#P1"), ("device", "mode", "bob#P1", "view")):
        pimap("ann", *args, fails=True)
    for args in (("filter", "set", "only-bob", "SEEN"), ("filter", "delete", "only-bob"), ("device", "add", "P5"),
                 ("device", "mode", "P1", "view"), ("device", "mode", "P1", "session"),
                 ("pref", "set", "P1", "PIMAP_EVENT_FILTER", "NEW"),
                 ("pref", "set", "P1", "PIMAP_OUTBAND_ADDRESS", SECRETS["ann"][1]),
                 ("pref", "set", "P1", "PIMAP_XFILTER", "ALL", "V", "shared"),
                 ("pref", "set", "P1", "PIMAP_XFILTER", "ALL", "V", "DEFAULT"), ("filter", "set", "shared", "UNSEEN")):
        pimap("ann", *args)
    assert profile(server, "bob") == other
    pimap("ann#P1", "filter", "list", fails=True)
    assert provision(phones["bob"], "XPIMAPPREF XFILTER_NAME") == "ALL NONE shared only-bob"
    settle(server, "ann")


def test_no_secrets_in_the_log(server, phones):
    """Tokens and addresses, with debugging on; of every log there is"""
    for user, phone in phones.items():
        token, address, *_ = SECRETS[user]
        for command in ("XPROVISION P1 %s x y" % token, "XPROVISION P2 " + token, "XPROVISION %s/x" % token,
                        "XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS %s %s" % (address, address),
                        "XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL " + address, "XSETPIMAPPREF %s x" % address,
                        'XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS "%s' % address,
                        'XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS "%s"' % address):
            phone.command(command)
            phone.ok("NOOP")
        phone.ok("SELECT INBOX")
        phone.logout()
    server.close_clients()
    server.wait_for_log()
    logs = [path for path in glob.glob(server.path + "/**/*log*", recursive=True) if os.path.isfile(path)]
    assert server.vars["LOG"] in logs
    text = "".join(open(path, errors="replace").read() for path in logs)
    assert "Debug" in text and "ann" in text
    assert "Command finished: XPROVISION (hidden)" in text
    for token, address, *_ in SECRETS.values():
        assert token not in text and address not in text
    for user in SECRETS:
        settle(server, user).logout()
    # the fixture's own check
    phones.clear()


def test_no_secrets_in_the_log_of_a_damaged_profile():
    server = Server.temporary("sdbox", extra=settings({"pimap_profile": "~/profile"}))
    try:
        settle(server, "ann")
        server.close_clients()
        path = server.path + "/mail/ann/profile"
        with open(path, "rb") as file:
            good = file.read()
        for damage in (good[:-20], good.replace(b"filter\t", b"flter\t", 1), good + b"x", good.replace(b"4711", b"4712")):
            with open(path, "wb") as file:
                file.write(damage)
            phone = server.client("ann#P1")
            assert phone.command("XGETPIMAPPREFS (PIMAP_OUTBAND_ADDRESS)").text.startswith("[SERVERBUG] ")
            assert phone.command("XPROVISION P1 " + SECRETS["ann"][0]).status == "NO"
            phone.logout()
        assert server.logs("restore it, or delete it")
        assert not any(secret in server.log() for secret in SECRETS["ann"])
    finally:
        server.close_clients()
        server.stop()


# Folders that a user shares with another

@pytest.fixture(scope="module", params=["maildir", "mdbox"])
def sharing(request):
    server = Server.temporary(request.param,
                              extra=many_namespaces(request.param) + ACL + USERDB)
    yield server
    server.close_clients()
    assert server.faults() == []
    server.stop()


@pytest.fixture
def close_after(sharing):
    yield
    sharing.close_clients()


# commands that name a folder
NAMING = ["XSETPIMAPPREF PIMAP_XFILTER (%s V mine)", "XSETPIMAPPREF PIMAP_XFILTER (%s B NONE)",
          "XSETPIMAPPREF PIMAP_XFILTER (%s N DEFAULT)", "STATUS %s (MESSAGES UIDNEXT)",
          "SELECT %s", "EXAMINE %s", "DELETE %s", "RENAME %s INBOX.taken", "COPY 1 %s", "MOVE 1 %s"]


def guest_phone(server, user):
    phone = server.client(user + "#P1")
    phone.ok("XFILTER SET mine \"%s's\" (SUBJECT yes)" % user)
    phone.command("SELECT INBOX")
    return phone


def told(result, folder):
    """Its answer, without the name that was asked about"""
    return says(result).replace(folder, "FOLDER"), len(result.untagged)


@pytest.mark.parametrize("rights", ["", "l", "lsw"])
def test_no_rights_no_filter(sharing, close_after, rights):
    """A device can't tell a folder from one that isn't there unless it may list it, nor
    set or see anything of one that it may not read."""
    name = "Closed" + (rights or "0")
    joe = sharing.client("joe")
    joe.ok("CREATE INBOX." + name)
    joe.append("INBOX." + name, [MESSAGE % b"yes", MESSAGE % b"no"])
    if rights:
        joe.ok("SETACL INBOX.%s ann %s" % (name, rights))
    ann = sharing.client("ann")
    ann.append("INBOX", [MESSAGE % b"yes"])
    phone = guest_phone(sharing, "ann")
    ann.ok("SELECT INBOX")
    joes = profile(sharing, "joe")
    folder = "shared.joe." + name
    before = profile(sharing, "ann")
    for command in NAMING:
        result = phone.command(command % folder)
        if command.startswith("X"):
            assert result.status == "NO", (command, result)
        else:
            # what a plain session is told. Of STATUS that asks nobody for rights
            plain = ann.command(command % folder)
            assert told(result, folder)[0] == told(plain, folder)[0] or (
                command.startswith("STATUS") and result.status == "NO"), command
        if rights == "" and not command.startswith("STATUS"):
            phone.ok("SELECT INBOX")
            missing = phone.command(command % "shared.joe.Nothing")
            assert told(result, folder) == told(missing, "shared.joe.Nothing"), command
        for client in (phone, ann):
            client.command("SELECT INBOX")
    assert profile(sharing, "ann") == before and profile(sharing, "joe") == joes
    listed = provision(phone, "XPIMAPPREF XFILTER_FOLDER")
    assert (folder in listed) == ("l" in rights)
    assert name not in phone.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").lines("* ")[0]
    for args in (("pref", "set", "-u", "ann", "P1", "PIMAP_XFILTER", folder, "V", "mine"),
                 ("view", "show", "-u", "ann", "P1", folder)):
        text = sharing.doveadm("pimap", *args, fails=True)
        assert "yes" not in text


def test_filters_of_a_shared_folder_are_each_ones_own(sharing, close_after):
    """What the guest's device sets of it, its owner's doesn't have, nor the other way
    round; and their devices of the same name are two."""
    name = "Each"
    folders = {"joe": "INBOX." + name, "ann": "shared.joe." + name}
    joe = share(sharing, "joe", "ann", name)
    joe.append(folders["joe"], [MESSAGE % subject for subject in (b"yes", b"no", b"both yes no")])
    phones = {user: sharing.client(user + "#P1") for user in folders}
    keys = {"joe": ("SUBJECT no", [2, 3]), "ann": ("SUBJECT yes", [1, 3])}
    for user, other in (("joe", "ann"), ("ann", "joe")):
        theirs = profile(sharing, other)
        phones[user].ok("XFILTER SET same \"of %s\" (%s)" % (user, keys[user][0]))
        phones[user].ok("XSETPIMAPPREF PIMAP_XFILTER (%s V same)" % folders[user])
        assert profile(sharing, other) == theirs
    for turn in range(3):
        for user, folder in folders.items():
            phone, uids = phones[user], keys[user][1]
            assert phone.status(folder, "MESSAGES") == {"MESSAGES": len(uids)}
            phone.ok("SELECT " + folder)
            assert phone.fetch_all() == phone.search("ALL") == uids
            answers = repr([phone.ok(command) for command in (
                "XPROVISION", "XGETPIMAPPREFS (%s)" % ALL_PREFS, "XFILTER GET same (DESC CRITERIA)")])
            other = "ann" if user == "joe" else "joe"
            assert "of " + user in answers and "of " + other not in answers
            assert keys[other][0] not in answers
        if turn == 0:
            # one's change isn't the other's
            phones["ann"].ok("XFILTER SET same \"of ann\" (NOT SUBJECT both)")
            assert phones["joe"].ok("NOOP").lines("* RESYNC") == []
            keys["ann"] = ("NOT SUBJECT both", [1, 2])
    for phone in phones.values():
        phone.ok("CLOSE")
    # nor what is left beside the folder's index, where the owner's device is removed
    mine = {path for path, text in view_caches(sharing).items() if "SUBJECT no" in text}
    anns = {path for path, text in view_caches(sharing).items() if "NOT SUBJECT both" in text}
    assert mine and anns and not mine & anns
    sharing.doveadm("pimap", "device", "remove", "-u", "joe", "P1")
    assert set(view_caches(sharing)) & (mine | anns) == anns
    phones["ann"].ok("SELECT " + folders["ann"])
    assert phones["ann"].fetch_all() == [1, 2]


def test_what_a_guest_has_when_rights_end(sharing, close_after):
    """The setting stays, without a word of where the folder is now, and is in force when
    he may see it again."""
    folder = "shared.joe.Project"
    joe = share(sharing, "joe", "ann", "Project")
    joe.append("INBOX.Project", [MESSAGE % b"yes", MESSAGE % b"no"])
    phone = guest_phone(sharing, "ann")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V mine)" % folder)
    before = profile(sharing, "ann")
    joe.ok("DELETEACL INBOX.Project ann")
    joe.ok("RENAME INBOX.Project INBOX.Secret")
    joe.ok("CREATE INBOX.Project")
    joe.ok("SETACL INBOX.Project ann lr")
    joe.append("INBOX.Project", [MESSAGE % b"no"])
    guest = sharing.client("ann#P1")
    wait_rights(guest, folder, "lr.*")
    guest.ok("UNSELECT")
    answers = repr([guest.ok(command) for command in (
        "XGETPIMAPPREFS (PIMAP_XFILTER)", "XPROVISION", 'LIST "" *')])
    assert "Secret" not in answers
    # a folder that took its name has nothing of it
    assert "Project V mine" not in answers
    guest.ok("SELECT " + folder)
    assert guest.fetch_all() == [1]
    assert guest.command("STATUS shared.joe.Secret (MESSAGES)").status == "NO"
    assert profile(sharing, "ann") == before
    text = sharing.doveadm("pimap", "pref", "get", "-u", "ann", "P1")
    assert "Secret" not in text
    joe.ok("SETACL INBOX.Secret ann lr")
    guest = sharing.client("ann#P1")
    wait_rights(guest, "shared.joe.Secret", "lr.*")
    guest.ok("SELECT shared.joe.Secret")
    assert guest.fetch_all() == [1]
    assert guest.status("shared.joe.Secret", "MESSAGES") == {"MESSAGES": 1}
    assert re.search(r"\(shared\.joe\.Secret V mine\)",
                     guest.ok("XGETPIMAPPREFS (PIMAP_XFILTER)").lines("* ")[0])


def test_a_guests_view_protects_what_it_hides(sharing, close_after):
    """R-1.3 and R-1.8, of another's mail: with all rights a device deletes what it
    sees, and no more."""
    folder = "shared.joe.Work"
    joe = share(sharing, "joe", "ann", "Work")
    joe.append("INBOX.Work", [MESSAGE % subject for subject in (b"yes", b"no", b"yes")])
    phone = guest_phone(sharing, "ann")
    phone.ok("XSETPIMAPPREF PIMAP_XFILTER (%s V mine)" % folder)
    assert says(phone.command("DELETE " + folder)).startswith("NO [CANNOT]")
    phone.ok("SELECT " + folder)
    assert phone.fetch_all() == [1, 3]
    phone.ok("UID STORE 1:* +FLAGS (\\Deleted)")
    phone.ok("EXPUNGE")
    joe.ok("SELECT INBOX.Work")
    assert joe.fetch_all() == [2]
    assert "\\Deleted" not in joe.flags[2]
    # the owner's view hides nothing from the guest's plain session, which is no device's
    joe.ok("UNSELECT")
    joes = sharing.client("joe#P1")
    joes.ok("XFILTER SET nothing NIL (SUBJECT nothing)")
    joes.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX.Work V nothing)")
    assert sharing.client("ann").status(folder, "MESSAGES") == {"MESSAGES": 1}
    assert joes.status("INBOX.Work", "MESSAGES") == {"MESSAGES": 0}
