# SPDX-License-Identifier: LGPL-2.1-only
"""What the model test works on: messages whose octets tell which they are,
filters, and the list of random operations."""

import re
import time

FOLDERS = ("INBOX", "Work")
FLAGS = ("\\Seen", "\\Flagged", "\\Deleted", "\\Answered", "\\Draft", "$x", "$y")
DAY = 24 * 3600

# In every header and in the body: the message's number and what the static
# filters look at, so that an octet of a hidden message is known as such.
TOKEN = re.compile(rb"tk(\d{5})([yn])([dh])([oe])([bs])([ar])")


class Message:
    """subject: yes or no; body: needle or hay; kind: odd or even; size: big or
    small; age: ancient (over 30 days) or recent"""

    def __init__(self, number, rng, recent=False):
        self.subject, self.body = rng.choice(("yes", "no")), rng.choice(("needle", "hay"))
        self.kind, self.size = rng.choice(("odd", "even")), rng.choice(("big", "small"))
        self.days = 0 if recent else rng.choice((0, 1, 29, 31, 40))
        self.parent = rng.randint(max(0, number - 8), number)
        self.number = number
        self.token = "tk%05d%s%s%s%s%s" % (
            number, self.subject[0], "d" if self.body == "needle" else "h",
            self.kind[0], self.size[0], "a" if self.days > 30 else "r")

    def octets(self):
        token = self.token
        lines = ["From: Joe %s <%s@example.org>" % (token, token),
                 "To: %s@example.com" % token,
                 "Subject: %s %s" % (self.subject, token),
                 "Message-ID: <m%d@example.org>" % self.number,
                 "X-Kind: %s %s" % (self.kind, token), "X-Token: " + token]
        if self.parent < self.number:
            lines.append("References: <m%d@example.org>" % self.parent)
        lines += ["MIME-Version: 1.0",
                  "Content-Type: text/plain; charset=utf-8; name=%s" % token, "",
                  "%s %s" % (self.body, token)]
        if self.size == "big":
            lines += [70 * "b"] * 20
        return ("\r\n".join(lines) + "\r\n").encode()

    def date(self):
        """At noon, as INTERNALDATE"""
        when = time.gmtime((int(time.time()) // DAY - self.days) * DAY + DAY // 2)
        return time.strftime('"%d-%b-%Y %H:%M:%S +0000"', when)


class Criteria:
    """A filter's text, the same for a plain session's SEARCH, the flags that it
    looks at, and, if it looks at none, what it says of a token."""

    def __init__(self, text, flags=(), static=None, plain=None):
        self.text = text
        self.flags = flags
        self.static = static
        self._plain = plain

    @property
    def plain(self):
        return self._plain() if self._plain is not None else self.text

    def __repr__(self):
        return self.text


def since_30_days():
    return "SINCE " + time.strftime("%d-%b-%Y", time.gmtime(time.time() - 30 * DAY))


ALL = Criteria("ALL", static=lambda t: True)  # by name: no view at all
NONE = Criteria("NOT ALL", static=lambda t: False)
CRITERIA = (
    Criteria("UNSEEN", ("\\Seen",)),
    Criteria("NOT FLAGGED UNDELETED", ("\\Flagged", "\\Deleted")),
    Criteria("KEYWORD $x", ("$x",)),
    Criteria("OR FLAGGED SUBJECT yes", ("\\Flagged",)),
    Criteria("UNDELETED", ("\\Deleted",)),
    Criteria("NOT (OR SEEN KEYWORD $x)", ("\\Seen", "$x")),
    Criteria("OR UNANSWERED (SUBJECT yes BODY needle)", ("\\Answered",)),
    Criteria("UNKEYWORD $y LARGER 1400", ("$y",)),
    Criteria("OR (SEEN SUBJECT yes) (UNSEEN SUBJECT no)", ("\\Seen",)),
    Criteria("SUBJECT yes", static=lambda t: t.group(2) == b"y"),
    Criteria("BODY needle", static=lambda t: t.group(3) == b"d"),
    Criteria("HEADER X-Kind odd", static=lambda t: t.group(4) == b"o"),
    Criteria("LARGER 1400", static=lambda t: t.group(5) == b"b"),
    Criteria("DAYSBEFORETODAY 30", static=lambda t: t.group(6) == b"r",
             plain=since_30_days),
    Criteria("OR NOT SUBJECT yes NOT BODY needle",
             static=lambda t: t.group(2) == b"n" or t.group(3) == b"h"),
    # what Dovecot's own SEARCH takes for one key, and answers by the folder's counts, but not
    # if there is something else beside each of them that it can't take out of the OR
    Criteria("OR UNSEEN UNDELETED", ("\\Seen", "\\Deleted"),
             plain=lambda: "OR (UNSEEN LARGER 0) (UNDELETED SMALLER 1000000)"),
    Criteria("NOT (FLAGGED ANSWERED)", ("\\Flagged", "\\Answered"),
             plain=lambda: "OR (UNFLAGGED LARGER 0) (UNANSWERED SMALLER 1000000)"),
    Criteria("NOT ALL", static=lambda t: False),
)
DYNAMIC = [c for c in CRITERIA if c.flags]
STATIC = [c for c in CRITERIA if not c.flags and c.text != "NOT ALL"]

# operations and how often they come: those of a device, those of plain mail
# programs, those that change what a view is
DEVICE_OPERATIONS = {
    "noop": 16, "check": 1, "store": 20, "read": 6, "peek": 5, "search": 8,
    "esearch": 4, "sort": 2, "thread": 1, "copy": 4, "move": 3, "append": 4,
    "expunge": 5, "uid_expunge": 4, "pipeline": 3, "select": 5, "examine": 1,
    "close": 1, "unselect": 1, "idle": 2, "idle_wait": 0.2, "status": 5, "list_status": 2,
    "changed_since": 4, "unchanged_since": 4, "fetch_modseq": 2, "search_modseq": 2,
    "status_modseq": 2, "reconnect": 5, "set_filter": 1, "set_preference": 1,
}
PLAIN_OPERATIONS = {
    "plain_store": 30, "plain_append": 12, "plain_expunge": 6, "plain_copy": 3,
    "plain_move": 3, "lmtp": 1, "rest": 1, "doveadm": 0.2,
}


def operations(rng, count, devices):
    """A list of (name, number of the device, seed of its own random choices).
    A shorter list with the same rng begins alike."""
    names = list(DEVICE_OPERATIONS) + list(PLAIN_OPERATIONS)
    weights = list(DEVICE_OPERATIONS.values()) + list(PLAIN_OPERATIONS.values())
    return [(rng.choices(names, weights)[0], rng.randrange(devices),
             rng.getrandbits(32)) for _ in range(count)]


def apply_flags(flags, how, names):
    """What STORE how FLAGS (names) makes of the flags"""
    if how == "+":
        return flags | set(names)
    if how == "-":
        return flags - set(names)
    return set(names)


def some(rng, values, most=5):
    values = list(values)
    return sorted(rng.sample(values, rng.randint(1, min(most, len(values))))) \
        if values else []


def numbers(values):
    return ",".join(map(str, values))
