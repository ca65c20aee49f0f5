# SPDX-License-Identifier: LGPL-2.1-only
"""What is noted when a model run has failed, while its sessions are still there:
which side is right, the folder's index, its files, the plain session, or the
device's view and its cache."""

import glob
import os
import shutil
import subprocess

from imap_client import ModelError


def home(world):
    return subprocess.run([world.doveadm_path, "user", "-f", "home", world.user],
                          check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def fresh_flags(world, folder):
    """As a process that has just begun sees the folder: UID: flags"""
    out = subprocess.run([world.doveadm_path, "-f", "tab", "fetch", "-u", world.user,
                          "uid flags", "mailbox", folder.name, "all"],
                         check=True, text=True, stdout=subprocess.PIPE).stdout
    rows = [line.split("\t") for line in out.splitlines()[1:]]
    return {int(row[0]): frozenset(row[1].split()) - {"\\Recent"} for row in rows}


def plain_is_stale(world):
    """Do the plain sessions not know yet what a new process finds? With Maildir a
    file whose name was there before comes a little later: see
    Operations._comes_back()."""
    return world.doveadm_path is not None and any(
        fresh_flags(world, folder) != folder.flags for folder in world.folders)


def differences(first, second):
    return ["UID %d: %s, %s" % (uid, *(sorted(flags[uid]) if uid in flags else "none"
                                       for flags in (first, second)))
            for uid in sorted(set(first) | set(second))
            if first.get(uid) != second.get(uid)] or ["no difference"]


def session_flags(client, folder, command):
    """As a session sees it after the command"""
    result = client.ok(command)
    client.fetch_all()
    return {uid: frozenset(flags - {"\\Recent"}) for uid, flags in client.flags.items()}, \
        result.lines("* OK [HIGHESTMODSEQ")


def files(path, name):
    """Maildir's files and the view caches of a folder, as lines"""
    if name != "INBOX":
        path = os.path.join(path, "." + name)
    for part in ("cur", "new"):
        for file in sorted(os.listdir(os.path.join(path, part))):
            yield "%s/%s" % (part, file)
    for file in ("dovecot-uidlist", "dovecot-keywords"):
        if os.path.exists(os.path.join(path, file)):
            with open(os.path.join(path, file)) as text:
                yield from (file + " " + line.rstrip() for line in text)


def view_caches(path):
    for file in sorted(glob.glob(path + "/**/dovecot-pimap-view.*", recursive=True)):
        with open(file, errors="replace") as text:
            yield "%s: %r" % (os.path.relpath(file, path).rsplit(".", 1)[0], text.read())


def gather(world):
    """Lines. What doesn't change anything comes first. PIMAP_EVIDENCE names a
    folder where all of the user's mail is copied to."""
    device = world.suspect
    if device is None or device.folder is None or not world.doveadm_path:
        return
    folder, path = device.folder, home(world)
    if os.environ.get("PIMAP_EVIDENCE"):
        target = os.path.join(os.environ["PIMAP_EVIDENCE"], os.path.basename(path))
        shutil.copytree(path, target, symlinks=True)
        yield "all is in " + target
    yield from view_caches(path)
    if os.path.isdir(path + "/maildir"):
        yield from files(path + "/maildir", folder.name)
    yield "the model has %s" % {u: sorted(f) for u, f in folder.flags.items()}
    try:
        shown, highest = session_flags(device.client, folder, "NOOP")
        yield "%s shows %s" % (device.name, sorted(shown))
        there = fresh_flags(world, folder)
        yield "the model, and a new process:"
        yield from differences(folder.flags, there)
        yield "%s, and a new process, where both have it:" % device.name
        yield from differences(shown, {u: there[u] for u in there if u in shown})
        plain, highest = session_flags(folder.client, folder, "NOOP")
        yield "the plain session after NOOP, and a new process:"
        yield from differences(plain, there)
        again, highest = session_flags(device.client, folder, "SELECT " + folder.name)
        yield "%s selects again and shows %s; %s" % (device.name, sorted(again), highest)
        device.client.ok("UNSELECT")
        for file in glob.glob(path + "/**/dovecot-pimap-view.*", recursive=True):
            os.unlink(file)
        again, highest = session_flags(device.client, folder, "SELECT " + folder.name)
        yield "without its view cache it shows %s; %s" % (sorted(again), highest)
    except (ModelError, OSError, subprocess.CalledProcessError) as error:
        yield "no more: %s" % error
