# SPDX-License-Identifier: LGPL-2.1-only
"""Instructions that the process of a session executes, by callgrind, from its
start to its end: imap, or another service."""

import glob
import os
import shutil
import subprocess
import time

import rig

SCRIPT = """#!/bin/sh
# only what is asked for: it takes fifty times as long
if [ -e {0}/count ]; then
	echo $$ > {0}/pid
	exec valgrind -q --tool=callgrind --callgrind-out-file={0}/out {1} "$@"
fi
exec {1} "$@"
"""
CONF = """
service {2} {{
  executable = {0}/{2}
  vsz_limit = 0
  {1} = 1
}}
"""


def version():
    return subprocess.run(["dovecot", "--version"], text=True, check=True,
                          stdout=subprocess.PIPE).stdout


def available():
    return shutil.which("valgrind") is not None


class Counter:
    """Its conf is for the server; work is a folder that is made."""

    def __init__(self, work, service="imap"):
        self.work = work
        os.mkdir(work)
        os.chmod(work, 0o777)
        libexec = subprocess.run(["doveconf", "-h", "libexec_dir"], text=True,
                                 check=True, stdout=subprocess.PIPE).stdout.strip()
        with open("%s/%s" % (work, service), "w") as script:
            script.write(SCRIPT.format(work, "%s/%s" % (libexec, service)))
        os.chmod("%s/%s" % (work, service), 0o755)
        self.conf = CONF.format(work, "service_count" if version().startswith("2.3.")
                                else "restart_request_count", service)

    def begin(self, connect):
        """The process that connect() starts is counted. Returns what that does."""
        for name in glob.glob(self.work + "/out*"):
            os.unlink(name)
        with open(self.work + "/count", "w"):
            session = connect()
        os.unlink(self.work + "/count")
        # made by root, written when the process is the mail user's
        for name in glob.glob(self.work + "/out*"):
            os.chmod(name, 0o666)
        return session

    def count(self, port, user, act):
        """Returns the instructions of a whole session in which act(session) is
        done."""
        session = self.begin(lambda: rig.Session(port, user))
        act(session)
        session.close()
        return self.total()

    def pid(self):
        with open(self.work + "/pid") as file:
            return int(file.read())

    def total(self):
        """Of the one process that ends now."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for name in glob.glob(self.work + "/out*"):
                with open(name) as file:
                    total = [line for line in file if line.startswith("totals:")]
                if total:
                    return int(total[0].split()[1])
            time.sleep(0.02)
        raise TimeoutError("callgrind wrote no result")
