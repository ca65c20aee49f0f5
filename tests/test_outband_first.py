# SPDX-License-Identifier: LGPL-2.1-only
"""The first mail of a user whose device was set up by the administrator, where no hint
told of it: a scan finds it."""
import json
import subprocess
import time

import pytest

from outband_peers import wait_for
from test_notifications import Site

ADDRESS = "phone@example.com"


@pytest.fixture(params=["maildir", "sdbox", "mdbox"])
def site(request):
    site = First(request.param, pimap_outband_scan_interval="1 s")
    yield site
    faults = site.server.faults()
    site.stop()
    assert faults == []


class First(Site):
    def scanned(self):
        rows = json.loads(self.server.doveadm("-f", "json", "pimap", "outband", "status"))
        return int({row["name"]: row["value"] for row in rows}["scanned"])


def save(site, user):
    """As by a process that was killed between commit and hint"""
    subprocess.run([site.server.vars["DOVEADM"], "-o", "mail_plugins=", "save", "-u", user],
                   input=b"From: a@b\nSubject: yes\n\nbody\n", check=True)


def test_first_mail_without_a_hint(site):
    doveadm = site.server.doveadm
    for args in (["PIMAP_XFILTER", "ALL", "N", "ALL"], ["PIMAP_OUTBAND_ADDRESS", ADDRESS],
                 ["PIMAP_OUTBAND_CHANNEL", "MAIL"]):
        doveadm("pimap", "pref", "set", "-u", "joe", "P1", *args)
    # it has looked, and there is nothing
    wait_for(lambda: site.scanned() > 0)
    time.sleep(2)
    save(site, "joe")
    wait_for(lambda: [mail for mail in site.relay.mails if ADDRESS in mail.recipients[0]], 10)
