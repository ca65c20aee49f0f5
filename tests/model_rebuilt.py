# SPDX-License-Identifier: LGPL-2.1-only
"""After a run: what Dovecot keeps of the folders - index, cache, sort ids, thread
and list index - is what it makes of the messages themselves.

All of the user's mail is copied, and the copy, which is another user's, loses what
can be made anew. With Maildir that is all of dovecot.index*: flags are in the files'
names, UIDs in dovecot-uidlist. With sdbox and mdbox flags, and with mdbox UIDs, are
in the index only. So it stays, without cache, threads and list index, and
force-resync makes a new one, which takes over UIDs and flags and nothing else."""

import glob
import os
import shutil
import subprocess

from imap_client import ModelError
from model_evidence import home
from model_truth import ModelClient

ITEMS = ("FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER] "
         "BODY.PEEK[TEXT]")
ASKED = ("UID SORT (SUBJECT) US-ASCII ALL", "UID SORT (REVERSE DATE) US-ASCII ALL",
         "UID SORT (ARRIVAL SIZE) US-ASCII ALL", "UID SORT (FROM) UTF-8 UNSEEN",
         "UID THREAD REFERENCES US-ASCII ALL", "UID THREAD ORDEREDSUBJECT US-ASCII ALL",
         "UID SEARCH UNSEEN", "UID SEARCH DELETED", "UID SEARCH LARGER 1400",
         "UID SEARCH HEADER X-Kind odd", "UID SEARCH KEYWORD $x")


def everything(world, user, names):
    """What a new plain session is told, by folder and question"""
    client = ModelClient(world.port, user, world.journal, "anew")
    try:
        told = {}
        for name in names:
            told[name, "STATUS"] = client.status(
                name, "MESSAGES UNSEEN UIDNEXT UIDVALIDITY SIZE")
            client.ok("SELECT " + name)
            if client.messages:
                for items in client.ok("UID FETCH 1:* (%s)" % ITEMS).fetched().values():
                    items["FLAGS"] = sorted(set(items["FLAGS"]) - {"\\Recent"})
                    told[name, "FETCH of UID " + items["UID"]] = items
            for question, result in zip(ASKED, client.pipeline(ASKED)):
                told[name, question] = result.status
            # answers may come before the reply to an earlier question
            told[name, "answers"] = [r.line for result in client.pipeline(ASKED)
                                     for r in result.untagged]
        return told
    finally:
        client.close()


def compare(what, first, second):
    for key in {**first, **second}:
        if first.get(key) != second.get(key):
            raise ModelError("%s: %s of %s: %s, was %s" % (
                what, key[1], key[0], second.get(key), first.get(key)))


def resync(world, user):
    subprocess.run([world.doveadm_path, "force-resync", "-u", user, "*"], check=True,
                   stderr=subprocess.DEVNULL)


def copy_anew(world, path, copy, user):
    subprocess.run(["cp", "-a", path, copy], check=True)
    maildir = os.path.isdir(copy + "/maildir")
    made = ("dovecot.index*",) if maildir else ("dovecot.index.cache", "*.thread")
    for pattern in made + ("dovecot.list.index*", "dovecot-pimap-view.*"):
        for file in glob.glob("%s/**/%s" % (copy, pattern), recursive=True):
            os.unlink(file)
    if not maildir:
        resync(world, user)


def check_rebuilt(world):
    """force-resync changes nothing in the user's own mail either. Sessions must
    select their folders again afterwards."""
    names, path = [folder.name for folder in world.folders], home(world)
    before = everything(world, world.user, names)
    copy, user = path + "-anew", world.user + "-anew"
    if os.path.basename(path) != world.user:
        raise ModelError("%s's home is %s" % (world.user, path))
    copy_anew(world, path, copy, user)
    compare("made anew", before, everything(world, user, names))
    for device in world.device_sessions():
        device.check_copy(user)
    shutil.rmtree(copy, ignore_errors=True)  # its sessions may still be ending
    resync(world, world.user)
    compare("force-resync", before, everything(world, world.user, names))
