# SPDX-License-Identifier: LGPL-2.1-only
"""Short runs of the model test. PIMAP_MODEL_OPERATIONS lengthens them."""

import os
import subprocess
import sys

import pytest

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
def test_in_parallel(server, user):
    model(server, user, 1, "--parallel", operations=OPERATIONS // 10)


def test_same_seed_same_operations():
    import random
    from model_mail import operations
    assert operations(random.Random("7"), 50, 4) == \
        operations(random.Random("7"), 80, 4)[:50]
