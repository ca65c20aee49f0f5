#!/usr/bin/python3 -B
# SPDX-License-Identifier: LGPL-2.1-only
"""The main job, shown on a mailbox:
  demo.py prepare DIR                                      prints what a server is to be set to
  demo.py show DIR IMAP_PORT LMTP_SOCKET MAIL [USER]  shows it on one that is
The server takes notifications to the relay, the push service and the device, which are
here."""

import base64
import collections
import email.errors
import email.header
import mailbox
import os
import re
import smtplib
import socket
import subprocess
import sys
import time

from conftest import settings
from imap_client import Client
from outband_peers import Relay, wait_for
from udp_device import Device
from webpush_peer import PushService, certificate

WEBPUSH_DEVICE = os.path.dirname(os.path.realpath(__file__)) + "/../doc/webpush-device"


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


def demonstrate(path, port, lmtp, mail, user="joe"):
    with open(path + "/ports") as file:
        relay_port, push_port = map(int, file.read().split())
    relay, push = Relay(relay_port), PushService(path + "/service.pem", port=push_port)
    port = int(port)
    sys.stdout.reconfigure(errors="replace")
    messages = read_mail(mail)
    if not messages:
        sys.exit("%s: no messages (is it an mbox or a Maildir?)" % mail)
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
        sys.exit("%s: no message is from an address" % mail)

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

    say("The phone wants to be told of new mail from there when it isn't connected. So does\n"
        "a tablet, by Web Push, and a watch, by UDP, with a key that the server gives it; only\n"
        "they can read what they are told:")
    keys = subprocess.run([WEBPUSH_DEVICE, "new", path + "/keys"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()
    tablet, watch = Client(port, user + "#tablet"), Client(port, user + "#watch")
    show(phone, "XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL MAIL")
    show(phone, "XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS phone@example.org")
    show(tablet, "XSETPIMAPPREF PIMAP_OUTBAND_FORMAT EXTENDED")
    show(tablet, "XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL WEBPUSH")
    show(tablet, 'XSETPIMAPPREF PIMAP_OUTBAND_ADDRESS "https://localhost:%d/tablet %s"' %
         (push.port, keys))
    show(watch, "XSETPIMAPPREF PIMAP_OUTBAND_CHANNEL UDP")
    provision = "\n".join(r.line for r in watch.ok("XPROVISION").untagged)
    udp_port, number, key = re.search(
        r"PIMAP_UDP_PORT \((\d+)\)(?s:.*)PIMAP_ENC_KEY \((\d+):(\S+)\)", provision).groups()
    emulator = Device("127.0.0.1", udp_port, user + "#watch", (int(number), base64.b64decode(key)))
    emulator.hello()
    wait_for(lambda: emulator.count("OK"))
    print("  The watch says HELLO to port %s, and is answered OK." % udp_port)
    for device in (phone, tablet, watch):
        show(device, "XSETPIMAPPREF PIMAP_XFILTER (INBOX N boss)")
        device.logout()
    for From in ("spam@example.com", sender):
        deliver(lmtp, user, From)
        started = time.monotonic()
        print("  A mail from %s is delivered." % From)
    wait_for(lambda: relay.mails or push.requests or emulator.notifications)
    print("  %.0f ms later the first of them is told of the second mail. The phone gets a mail:" %
          ((time.monotonic() - started) * 1000))
    wait_for(lambda: relay.mails and push.requests and emulator.notifications)
    for line in relay.mails[0].text.splitlines():
        if re.match("To:|Subject:|X-PIMAP|<emn", line):
            print("     " + line)
    body = push.requests[0][2]
    print("  The tablet's push service got %d octets:\n     %s...\n  and the tablet reads:" %
          (len(body), body.hex()[:70]))
    text = subprocess.run([WEBPUSH_DEVICE, "show", path + "/keys"], check=True, input=body,
                          stdout=subprocess.PIPE).stdout.decode()
    print("     " + text.strip())
    print("  The watch reads, and acknowledges:\n     %d %s" % emulator.notifications[0])
    assert sender in text and sender in emulator.told()[0]
    time.sleep(0.5)
    assert len(relay.mails) == 1 and len(push.requests) == 1 and len(emulator.told()) == 1
    relay.stop()
    push.stop()
    emulator.close()
    joe.logout()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def prepare(path):
    certificate(path + "/service", ("localhost",), certificate(path + "/ca", ()))
    relay, push = free_port(), free_port()
    with open(path + "/ports", "w") as file:
        file.write("%d %d" % (relay, push))
    # tests/private-dovecot has the port
    print(settings({"pimap_channels": "mail webpush udp",
                    "pimap_udp_listen": "127.0.0.1:@UDP_PORT@",
                    "pimap_mail_relay": "127.0.0.1:%d" % relay,
                    "pimap_mail_pattern": "*@example.org",
                    "pimap_webpush_subject": "mailto:postmaster@example.org",
                    "pimap_webpush_hosts": "localhost",
                    "pimap_webpush_ca": path + "/ca.pem"}))


def main():
    if sys.argv[1] == "prepare":
        prepare(sys.argv[2])
    else:
        demonstrate(*sys.argv[2:])


main()
