# SPDX-License-Identifier: LGPL-2.1-only
"""R-1.7 for the site's own filters and defaults: what is queued when the administrator
changes them is judged by the new ones."""
import time

import pytest

from conftest import DOVECOT_24
from outband_peers import wait_for
from test_outband_judge import Filtered


def system(criteria):
    """The filter that every user has"""
    if DOVECOT_24:
        return "pimap_filter news {\n  criteria = %s\n}\n" % criteria
    return "plugin {\n  pimap_filter_news = %s\n}\n" % criteria


def default(name):
    text = "pimap_default_notification = %s\n" % name
    return text if DOVECOT_24 else "plugin {\n  %s}\n" % text


class Ruled(Filtered):
    """The phone has the site's filter, by its name or by default."""

    def __init__(self, by):
        self.by = by
        # not in the settings of Filtered: an edit replaces them
        self.rules = {"name": system("SUBJECT yes"), "default": system("SUBJECT yes") +
                      default("news")}[by]
        super().__init__("mdbox", self.rules)
        # Dovecot may panic if two processes at once make an INBOX
        self.server.client("joe").ok("SELECT INBOX")
        self.phone = self.server.client("joe#P1")
        if by == "name":
            self.phone.ok("XSETPIMAPPREF PIMAP_XFILTER (ALL N news)")
        self.phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
        self.phone.ok("XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS phone@example.com")
        self.server.close_clients()

    def edit(self, rules):
        with open(self.server.vars["CONF"]) as file:
            text = file.read()
        assert text.count(self.rules) == 1
        with open(self.server.vars["CONF"], "w") as file:
            file.write(text.replace(self.rules, rules))
        self.rules = rules
        self.reload()

    def reload(self):
        before = list(self.pids("pimap-outband"))
        self.server.reload()
        wait_for(lambda: list(self.pids("pimap-outband")) not in ([], before), 20)

    def told(self, address="phone@example.com"):
        return super().told(address)


@pytest.fixture
def site(request):
    site = Ruled(getattr(request, "param", "name"))
    yield site
    faults = [line for line in site.server.faults() if "(it is tried on)" not in line]
    site.stop()
    assert faults == []


@pytest.mark.parametrize("site", ["name", "default"], indirect=True)
def test_filter_is_edited_while_queued(site):
    """Numbered or not, what it excludes isn't sent; what passes is."""
    site.queue(b"yes", b"yes loud", b"yes")
    site.edit(site.rules.replace("SUBJECT yes", "SUBJECT loud"))
    site.only(2)
    assert site.server.doveadm("pimap", "outband", "trace", "-u", "joe", "P1").count(
        "dropped: the filter is another now") == 2
    site.deliver("joe", b"yes")
    site.deliver("joe", b"loud")
    wait_for(lambda: site.told() == [2, 3])


@pytest.mark.parametrize("site", ["default"], indirect=True)
def test_default_is_edited_while_queued(site):
    site.queue(b"yes", b"yes")
    site.edit(system("SUBJECT yes") + default("NONE"))
    site.only()


def test_reload_without_an_edit(site):
    """Nothing is judged anew, and all is sent: what is gone by then, too."""
    site.queue(b"yes", b"yes")
    plain = site.server.client("joe")
    plain.ok("SELECT INBOX")
    plain.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
    plain.ok("EXPUNGE")
    site.server.close_clients()
    site.reload()
    time.sleep(0.5)
    site.only(1, 2)
