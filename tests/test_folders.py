# SPDX-License-Identifier: LGPL-2.1-only
"""A device's view of folders that change under it, in every kind of namespace."""

import os

import pytest

from conftest import DOVECOT_24, Server
from test_device import MESSAGE, device


def messages(*subjects):
    return [MESSAGE % subject.encode() for subject in subjects]


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
        namespace("alias", prefix="alias.", separator=".", alias_for="inbox" if DOVECOT_24 else "INBOX.",
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
acl_cache_ttl = 1s
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
  acl = vfile:cache_secs=1
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


def share(server, owner, guest, folder="Team", rights="lrwstipekx"):
    """Returns the owner's plain client."""
    plain = server.client(owner)
    plain.ok("CREATE INBOX." + folder)
    plain.ok("SETACL INBOX.%s %s %s" % (folder, guest, rights))
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
