# SPDX-License-Identifier: LGPL-2.1-only
"""Short runs of the model test. PIMAP_MODEL_OPERATIONS lengthens them."""

import os
import re
import struct
import subprocess
import sys

import pytest

from imap_client import ModelError
from model_rebuilt import check_rebuilt, everything
from model_world import World

HERE = os.path.dirname(os.path.abspath(__file__))
OPERATIONS = int(os.environ.get("PIMAP_MODEL_OPERATIONS", "300"))


# of Dovecot's Maildir when a message is moved to where its file's name was
# Dovecot: Maildir, and THREAD twice in a folder that has become empty
KNOWN = ("Duplicate file entry", "Expunged message reappeared",
         "stat() failed with strmap index file")


def model(server, user, seed, *options, operations=OPERATIONS):
    before = len(server.faults())
    result = subprocess.run(
        [sys.executable, HERE + "/model.py", str(server.port), user, str(seed),
         str(operations), "--lmtp", server.vars["LMTP_SOCKET"],
         "--doveadm", server.vars["DOVEADM"], "--reduce", "10", *options],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    assert [line for line in server.faults()[before:]
            if not any(text in line for text in KNOWN)] == []


@pytest.mark.expects_faults
@pytest.mark.parametrize("seed", [1, 2])
def test_taking_turns(server, user, seed):
    model(server, user, seed, "--qresync")


@pytest.mark.expects_faults
def test_message_that_came_and_went(server, user):
    """A hidden one, before a sync that may not tell of EXPUNGE, in which its flags aren't
    known any more"""
    model(server, user, 96032, "--qresync", operations=230)


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["mdbox"], indirect=True)
def test_message_that_went_after_its_cache(server, user):
    """What is looked up of it is no offset in a cache file that has been replaced."""
    model(server, user, 71003, operations=600)


@pytest.mark.expects_faults
def test_in_parallel(server, user):
    model(server, user, 1, "--parallel", operations=OPERATIONS // 10)


def test_same_seed_same_operations():
    import random
    from model_mail import operations
    assert operations(random.Random("7"), 50, 4) == \
        operations(random.Random("7"), 80, 4)[:50]


def spoil(path, pattern, change):
    """change: of the octets of each group of the pattern, the last time it is there"""
    with open(path, "r+b") as file:
        match = list(re.finditer(pattern, file.read(), re.DOTALL))[-1]
        for group, octets in enumerate(change(match.groups()), 1):
            file.seek(match.start(group))
            file.write(octets)


def spoil_cache(folder):
    """A header of one message"""
    spoil(folder + "/dovecot.index.cache", b"Subject: (.)", lambda groups: [b"?"])
    return "FETCH of UID"


def spoil_sort_ids(folder):
    """The order is the other way round. Records are UIDs with their ids."""
    uids = [re.escape(struct.pack("<I", uid)) for uid in range(1, 11)]
    spoil(folder + "/dovecot.index.log",
          b"sort-[a-z].{1,80}?" + b"".join(uid + b"(.{4})" for uid in uids),
          lambda groups: groups[::-1])
    return "answers"


def spoil_list_index(folder):
    """The number of unseen messages, after that of all and before RECENT and UIDNEXT"""
    count, uidnext = struct.pack("<I", 10), struct.pack("<I", 11)
    spoil(folder + "/../../../dovecot.list.index.log",
          re.escape(count) + b"(" + re.escape(count) + b").{4}" + uidnext,
          lambda groups: [struct.pack("<I", 9)])
    return "STATUS"


@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
@pytest.mark.parametrize("spoil_it", [spoil_cache, spoil_sort_ids, spoil_list_index])
def test_rebuilding_shows_what_is_wrong(server, user, spoil_it):
    """In what all sessions share. A thread file that a view has made is what Dovecot
    itself notices, by an error in the log."""
    world = World(server.port, user, 1, doveadm=server.vars["DOVEADM"])
    try:
        everything(world, user, ["INBOX", "Work"])
        # of which the list index doesn't know all yet
        world.other.status("Work")
        where = spoil_it("%s/mail/%s/sdbox/mailboxes/Work/dbox-Mails" % (server.path, user))
        with pytest.raises(ModelError, match="made anew: %s.* of Work" % where):
            check_rebuilt(world)
    finally:
        world.close()
