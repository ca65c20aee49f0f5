# SPDX-License-Identifier: LGPL-2.1-only
"""R-2.1 where others take part in a login: proxies, policy servers, penalties."""

import json
import socket
import time

import pytest

from conftest import DOVECOT_24
from http_peer import JsonServer
from imap_client import Client
from test_login import (CACHE, MASTER, USERS, add_device, admitted, attempt, mark, running,
                        set_separator_23, whoami)

# Proxies. The passwords are verified by the server behind.

PROXY = """
passdb static {
  fields {
    proxy = y
    nopassword = y
    host = 127.0.0.1
    port = %d
    %s
  }
}
userdb static {
  userdb_static_allow_all_users = yes
}
""" if DOVECOT_24 else """
passdb {
  driver = static
  args = proxy=y nopassword=y host=127.0.0.1 port=%d %s
}
userdb {
  driver = static
  args = allow_all_users=yes
}
"""
ORIGINAL = "%{original_user}" if DOVECOT_24 else "%{orig_user}"
USER = "%{user}" if DOVECOT_24 else "%u"


def destuser(value):
    return ("destuser = " if DOVECOT_24 else "destuser=") + value


@pytest.fixture(scope="module")
def behind():
    """A server that knows joe's devices P650 and MyPhone"""
    with running(MASTER, USERS) as server:
        for user, password in USERS.items():
            mark(server, user, password)
        add_device(server, "joe", "P650")
        add_device(server, "joe", "MyPhone")
        add_device(server, "joe@foo.com", "Tab")
        yield server


NAMES = [
    ("joe", "pass", ("joe", None)), ("joe#P650", "pass", ("joe", "P650")),
    ("joe#MyPhone", "pass", ("joe", "MyPhone")), ("joe", "pass", ("joe", None)),
    ("joe@foo.com#Tab", "foopass", ("joe@foo.com", "Tab")),
    ("joe#Tab@foo.com", "foopass", ("joe@foo.com", "Tab")),
    ("joe@foo.com", "foopass", ("joe@foo.com", None)),
    ("ann#P1", "annpass", ("ann", "new")), ("joe#P650", "pass", ("joe", "P650")),
]


@pytest.mark.parametrize("cache", ["", CACHE % "no"])
@pytest.mark.parametrize("field", ["", destuser(ORIGINAL)])
def test_proxy(behind, field, cache):
    """The server behind is told the device."""
    with running(cache, auth=PROXY % (behind.port, field)) as proxy:
        for way in ("LOGIN", "PLAIN-IR"):
            for name, password, expected in NAMES:
                assert whoami(attempt(proxy, name, password, way)) == expected, (way, name)
            proxy.close_clients()
            assert admitted(proxy, [
                ("joe#P650", "wrong"), ("joe#", "pass"), ("joe#..", "pass"),
                ("#P650", "pass"), ("nobody#P650", "pass"), ("joe#P1#P2", "pass")], way) == []
    behind.close_clients()


def test_proxy_that_names_another_user(behind):
    """joe would be let in plain: a device is refused, and the log says why."""
    with running(auth=PROXY % (behind.port, destuser(USER)),
                 faults=["lacks the device"]) as proxy:
        assert whoami(attempt(proxy, "joe")) == ("joe", None)
        for way in ("LOGIN", "PLAIN-IR"):
            assert admitted(proxy, [("joe#P650", "pass"), ("joe#new", "pass"),
                                    ("joe@foo.com#Tab", "foopass")], way) == []
        assert proxy.logs("The proxy's destuser joe lacks the device P650")
        proxy.close_clients()


def test_proxy_with_another_separator(behind):
    """The server behind doesn't know such a user."""
    with running('pimap_separator = "+"\n' if DOVECOT_24 else "",
                 auth=PROXY % (behind.port, "")) as proxy:
        if not DOVECOT_24:
            set_separator_23(proxy, "+")
        assert whoami(attempt(proxy, "joe")) == ("joe", None)
        assert admitted(proxy, [("joe+P650", "pass"), ("joe+new", "pass")]) == []
        proxy.close_clients()


def test_master_login_through_a_proxy(behind):
    master = MASTER.replace("master = yes", "master = yes\n  %s" % (
        "result_success = continue" if DOVECOT_24 else "pass = yes"))
    with running(master, auth=PROXY % (behind.port, "")) as proxy:
        assert whoami(attempt(proxy, "joe*admin")) == ("joe", None)
        for name in ("joe#MyPhone*admin", "joe#P650*admin"):
            assert whoami(attempt(proxy, name)) == (
                "joe", name.split("#")[1].split("*")[0]), name
        assert admitted(proxy, [("joe#*admin", "pass"), ("joe#P650*admin", "wrong")]) == []
        proxy.close_clients()


# Policy servers

POLICY = """
auth_policy_server_url = %s
auth_policy_hash_nonce = nonce
auth_policy_hash_truncate = 0
"""


def asked(policy, start):
    """What it was asked about, without what each session has of its own"""
    until = time.monotonic() + 5
    # reports come after the client has its answer
    while time.monotonic() < until and not any(
            "report" in path for path, _ in policy.requests[start:]):
        time.sleep(0.05)
    requests = []
    for path, request in policy.requests[start:]:
        request = {key: value for key, value in request.items() if key != "session_id"}
        requests.append((path.split("command=")[1], json.dumps(request, sort_keys=True)))
    return requests


@pytest.mark.parametrize("way", ["LOGIN", "SCRAM"])
def test_policy_server(way):
    """It is asked about a device's login what it is asked about its user's, and
    what it says holds. Before that it sees the name as it was given."""
    verdict = {"status": 0}
    with JsonServer(lambda request: verdict) as policy, \
            running(POLICY % policy.url, USERS) as server:
        for name, password in (("joe", "pass"), ("joe", "wrong"), ("joe@foo.com", "foopass")):
            seen = []
            for login in (name, name.replace("joe", "joe#P650")):
                start = len(policy.requests)
                assert (attempt(server, login, password, way) is None) == (password == "wrong")
                seen.append(asked(policy, start))
            plain, device = seen
            assert [path for path, _ in plain][0] == "allow"
            assert [path for path, _ in plain][-1] == "report"
            # the first was about joe#p650
            assert device[0][0] == "allow" and "#" in device[0][1]
            assert device[1:] == plain
            assert all("joe#" not in request for _, request in device[1:])
        server.close_clients()
        verdict["status"] = -1
        assert admitted(server, [("joe", "pass"), ("joe#P650", "pass")], way) == []


def test_policy_server_that_knows_one_user():
    """What it says of the user holds for all his devices."""
    with JsonServer(lambda request: {"status": -1 if request["login"] == "joe" else 0}
                    ) as policy, running(POLICY % policy.url, USERS) as server:
        names = [("joe", "pass"), ("joe#P650", "pass"), ("joe#other", "pass"),
                 ("ann", "annpass"), ("ann#P650", "annpass")]
        for way in ("LOGIN", "PLAIN-IR", "SCRAM"):
            assert admitted(server, names, way) == names[3:]


# Penalties

PENALTY = """
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0666
  }
}
"""


if not DOVECOT_24:
    # 2.4.1 has none here for anybody
    def test_penalties():
        """Wrong passwords of devices' names make an address wait as those of a user's."""
        def seconds(names):
            """of the last one"""
            with running(PENALTY, USERS) as server:
                for name, password in names:
                    with socket.create_connection(("127.0.0.1", server.port), 20,
                                                  ("127.0.0.2", 0)) as sock:
                        client = Client(server.port, sock=sock)
                        start = time.monotonic()
                        assert client.authenticate(name, password).status == "NO"
                return time.monotonic() - start

        assert seconds([("joe", "wrong1"), ("joe", "wrong2")]) > 1.5
        assert seconds([("joe#P1", "wrong1"), ("joe#P2", "wrong2")]) > 1.5
        assert seconds([("joe#", "wrong1"), ("joe#..", "wrong2")]) > 1.5
