# SPDX-License-Identifier: LGPL-2.1-only
"""Dovecot's imaptest finds no difference between plain Dovecot, plain sessions
with pimap on, and device sessions whose view is all mail. It isn't in Debian, so
this runs only where it was built:

    PIMAP_IMAPTEST=imaptest/src/imaptest pytest-3 -s test_imaptest.py

Its scripts are looked for in "tests" beside it, or in PIMAP_IMAPTEST_TESTS; stress
takes PIMAP_IMAPTEST_SECONDS, 60 if it isn't set."""

import concurrent.futures
import os
import re
import subprocess

import pytest

from conftest import Server
from imap_client import Client

IMAPTEST = os.path.abspath(os.environ["PIMAP_IMAPTEST"])
SCRIPTS = os.environ.get("PIMAP_IMAPTEST_TESTS", os.path.dirname(IMAPTEST) + "/tests")
SECONDS = int(os.environ.get("PIMAP_IMAPTEST_SECONDS", "60"))

# Filters that let everything through; the second looks at flags to know it
ALL = {"all": "ALL", "all, by flags": "OR SEEN UNSEEN"}
SESSIONS = ("stock", "plain", *ALL)

# Scripts that device sessions can't run: what their CAPABILITY lacks
# (imap-pimap-admission.c) as it isn't shown to hide what the view hides
OFF_IN_DEVICE_SESSIONS = {
    "notify": "NOTIFY",
    "search-context-update": "CONTEXT=SEARCH",
    "search-context-update2": "CONTEXT=SEARCH",
    "search-context-update3": "CONTEXT=SEARCH",
    "search-partial": "CONTEXT=SEARCH",
}


@pytest.fixture(scope="module", params=["maildir", "sdbox", "mdbox"])
def servers(request):
    """Stock Dovecot, and one with pimap"""
    started = {}
    try:
        for kind in ("stock", "pimap"):
            started[kind] = Server.temporary(request.param, plain=kind == "stock")
        yield started
        # but for what Dovecot says of a machine that has too much to do
        assert [line for server in started.values() for line in server.faults()
                if "Time moved forwards" not in line] == []
    finally:
        for server in started.values():
            server.close_clients()
            server.stop()


def where(servers, session, prefix):
    """Its port, and a name that nobody else logs in with"""
    server = servers["stock" if session == "stock" else "pimap"]
    user = prefix + re.sub(r"\W", "", session)
    if session in ALL:
        server.doveadm("pimap", "device", "add", "-u", user, "P1")
        server.doveadm("pimap", "filter", "set", "-u", user, "F1", ALL[session])
        server.doveadm("pimap", "pref", "set", "-u", user, "P1", "PIMAP_XFILTER",
                       "ALL", "V", "F1")
        user += "#P1"
    return server.port, user


def imaptest(port, user, *arguments):
    """What it prints, and its errors"""
    result = subprocess.run(
        [IMAPTEST, "host=127.0.0.1", "port=%d" % port, "user=" + user, "pass=pass", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        errors="replace", timeout=900 + SECONDS)
    return result.stdout, result.stderr


def in_parallel(servers, prefix, *arguments):
    """session: what imaptest says of it, all at once"""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures = {session: pool.submit(imaptest, *where(servers, session, prefix), *arguments)
                   for session in SESSIONS}
        return {session: future.result() for session, future in futures.items()}


def capabilities(servers, session, prefix):
    client = Client(*where(servers, session, prefix))
    words = client.ok("CAPABILITY").untagged[0].line.upper().split()[2:]
    client.logout()
    return set(words)


def needs():
    """script: the capabilities without which imaptest leaves it out"""
    scripts = {}
    for name in os.listdir(SCRIPTS):
        if name.endswith(".mbox") or not os.path.isfile(SCRIPTS + "/" + name):
            continue
        with open(SCRIPTS + "/" + name, errors="replace") as file:
            head = file.read().split("\n\n")[0]
        match = re.search(r"^capabilities: *(.*)$", head, re.MULTILINE)
        scripts[name] = set(match.group(1).upper().split()) if match else set()
    return scripts


def test_scripts(servers):
    found = in_parallel(servers, "script", "test=" + SCRIPTS)
    scripts = needs()
    failed, left_out = {}, {}
    for session, (output, errors) in found.items():
        groups, failures, skipped = map(int, re.search(
            r"(\d+) test groups: (\d+) failed, (\d+) skipped", output).groups())
        has = capabilities(servers, session, "asked")
        left_out[session] = {name for name, words in scripts.items() if words - has}
        assert (groups, skipped) == (len(scripts), len(left_out[session]))
        failed[session] = sorted(re.findall(
            r"\*\*\* Test (\S+) (?:command \d+/\d+ \(line (\d+)\)|initialization)", errors))
        assert bool(failed[session]) == bool(failures)
        print("\n%-14s %s" % (session, ", ".join(output.splitlines()[-3:])))
    assert groups > 60
    for session in SESSIONS:
        assert failed[session] == failed["stock"], found[session][1]
        off = OFF_IN_DEVICE_SESSIONS if session in ALL else ()
        assert left_out[session] == left_out["stock"] | set(off)


def normal(errors):
    """The kinds of errors, without what differs from run to run"""
    return {re.sub(r"\d+", "N", re.sub(r"^.*?\[\d+\]: ", "", line))
            for line in errors.splitlines()}


@pytest.mark.parametrize("options", ["", "qresync"])
def test_stress(servers, options):
    """10 clients, each of which checks what it is told by what it and others did"""
    found = in_parallel(
        servers, "stress" + options, "clients=10", "secs=%d" % SECONDS,
        "mbox=" + SCRIPTS + "/default.mbox", *options.split())
    for session, (output, errors) in found.items():
        names, *_, totals = [line for line in output.splitlines() if line.strip()][-4:]
        counts = dict(zip(names.split(), map(int, totals.split())))
        print("\n%-14s %s; %d errors" % (session, " ".join(
            "%s %d" % item for item in counts.items()), len(errors.splitlines())))
        assert {"Sele", "Fetc", "Stor", "Expu", "Appe"} <= {
            name for name, count in counts.items() if count > 0}
    for session in SESSIONS:
        assert normal(found[session][1]) <= normal(found["stock"][1]), found[session][1]
