# SPDX-License-Identifier: LGPL-2.1-only
"""The main job, shown on a mailbox: demo.py PORT MAIL LMTP_SOCKET RELAY_PORT [USER]
The server takes notifications to the relay, which is here."""

import collections
import email.errors
import email.header
import mailbox
import os
import re
import smtplib
import sys
import time

from imap_client import Client
from outband_peers import Relay, wait_for


def read_mail(path):
    if os.path.isdir(path):
        folder = mailbox.Maildir(path, create=False)
    else:
        folder = mailbox.mbox(path, create=False)
    # IMAP can't append an empty message
    return list(filter(None, map(folder.get_bytes, sorted(folder.keys()))))


def say(text):
    print("\n" + text)


def show(client, command):
    print("  C: " + command)
    result = client.ok(command)
    for response in result.untagged:
        if re.match(r"\* (\d+ EXISTS|SEARCH|STATUS|X|\d+ EXPUNGE)", response.line):
            print("  S: " + response.line[:100])
    print("  S: %s %s" % (result.status, result.text.split(" (")[0]))
    return result


def decode(header):
    """Readable text of a header that may be anything."""
    text = " ".join(header.decode("utf-8", "replace").split())
    try:
        text = "".join(part if isinstance(part, str) else
                       part.decode(charset or "latin1", "replace")
                       for part, charset in email.header.decode_header(text))
    except (email.errors.HeaderParseError, LookupError, ValueError):
        pass
    return "".join(c if c.isprintable() else "?" for c in text)


def subjects(client, count):
    for number in range(1, min(count, len(client.uids)) + 1):
        result = client.ok("FETCH %d (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])" % number)
        response = next(r for r in result.untagged if r.literals)
        uid = re.search(r"UID (\d+)", response.line).group(1)
        print("     %3d  UID %-5s %s" % (number, uid, decode(response.literals[0])[:70]))


def senders(client):
    """The addresses that mail is from, those with most of it first."""
    counts = collections.Counter()
    for response in client.ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM)])").untagged:
        for literal in response.literals:
            match = re.search(rb"([\w.+-]+@[\w.-]+)", literal)
            if match:
                counts[match.group(1).decode().lower()] += 1
    return [sender for sender, _ in counts.most_common()]


def deliver(path, user, sender):
    with smtplib.LMTP(path) as lmtp:
        lmtp.sendmail("", user, "From: %s\r\nSubject: News\r\n\r\nHello.\r\n" % sender)


def main():
    port, path, lmtp = int(sys.argv[1]), *sys.argv[2:4]
    relay = Relay(int(sys.argv[4]))
    sys.stdout.reconfigure(errors="replace")
    messages = read_mail(path)
    if not messages:
        sys.exit("%s: no messages (is it an mbox or a Maildir?)" % path)
    user = sys.argv[5] if len(sys.argv) > 5 else "joe"
    joe = Client(port, user)
    for start in range(0, len(messages), 500):
        joe.append("INBOX", messages[start:start + 500])
    joe.ok("SELECT INBOX")
    everything = joe.fetch_all()
    for sender in senders(joe):
        expected = joe.search("FROM %s UNDELETED" % sender)
        if expected:
            break
    else:
        sys.exit("%s: no message is from an address" % path)

    say("%s has %d messages. His phone logs in as %s#phone, and wants only mail\n"
        "from %s:" % (user, len(everything), user, sender))
    phone = Client(port, user + "#phone")
    for line in phone.login.untagged:
        print("  S: " + line.line)
    show(phone, 'XFILTER SET boss "from one sender" (FROM %s UNDELETED)' % sender)
    show(phone, "XFILTER GET boss (DESC CRITERIA)")
    show(phone, "XSETPIMAPPREF PIMAP_XFILTER (INBOX V boss)")
    show(phone, "XGETPIMAPPREFS (PIMAP_XFILTER)")

    say("From now on that is all the phone sees, renumbered, with the folder's own UIDs:")
    show(phone, "STATUS INBOX (MESSAGES UIDNEXT)")
    show(phone, "SELECT INBOX")
    assert phone.fetch_all() == expected, "the view is wrong"
    subjects(phone, 5)

    say("It is live. A message comes in, and another session deletes one:")
    joe.append("INBOX", [b"From: %s\r\nSubject: Lunch?\r\n\r\nNow.\r\n" % sender.encode(),
                         b"From: spam@example.com\r\nSubject: Not for the phone\r\n\r\n\r\n"])
    joe.ok("UID STORE %d +FLAGS (\\Deleted)" % expected[0])
    show(phone, "NOOP")
    subjects(phone, 3)
    assert phone.fetch_all() == joe.search("FROM %s UNDELETED" % sender)

    say("A plain session still has everything:")
    show(joe, "STATUS INBOX (MESSAGES UIDNEXT)")
    hidden = sorted(set(everything) - set(expected))
    if hidden:
        say("and the phone can't get at what is hidden:")
        show(phone, "UID FETCH %d (FLAGS)" % hidden[0])

    say("The phone wants to be told of new mail from there when it isn't connected:")
    for command in ("PIMAP_OUTBAND_CHANNEL MAIL",
                    "PIMAP_OUTBAND_ADDRESS phone@example.org",
                    "PIMAP_XFILTER (INBOX N boss)"):
        show(phone, "XSETPIMAPPREF " + command)
    phone.logout()
    for From in ("spam@example.com", sender):
        deliver(lmtp, user, From)
        started = time.monotonic()
        print("  A mail from %s is delivered." % From)
    wait_for(lambda: relay.mails)
    print("  %.0f ms later the phone is told, by mail, of the second:" %
          ((time.monotonic() - started) * 1000))
    for line in relay.mails[0].text.splitlines():
        if re.match("To:|Subject:|X-PIMAP|<emn", line):
            print("     " + line)
    time.sleep(0.5)
    assert len(relay.mails) == 1
    relay.stop()
    joe.logout()


main()
