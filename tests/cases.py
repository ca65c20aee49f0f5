# SPDX-License-Identifier: LGPL-2.1-only
"""What the tests of known failures (test_cases_*.py) share: their messages,
octet for octet, and ways to put them where nothing mends them."""

import glob
import os

from model_truth import deliver

MAIL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mail")
HEAD = (b"From: Ann <ann@peer.example>\r\nTo: joe@own.example\r\n"
        b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n")


def made():
    """The ones that are long and dull"""
    long_line = HEAD + b"X-Long: %s\r\nSubject: after long\r\n\r\nhello\r\n" % (100000 * b"a")
    nested = HEAD + b"Subject: deep\r\nMIME-Version: 1.0\r\n"
    for level in range(150):
        nested += (b'Content-Type: multipart/mixed; boundary="n%d"\r\n\r\n--n%d\r\n' %
                   (level, level))
    nested += b"Content-Type: text/plain\r\n\r\nneedle deep\r\n"
    parameters = HEAD + b"Subject: params\r\nMIME-Version: 1.0\r\n"
    parameters += (b"Content-Type: application/octet-stream;\r\n" +
                   b";\r\n".join(b" name*%d=a" % n for n in range(3000)) +
                   b"\r\n\r\nx\r\n")
    return {"28d-header-line-100k.eml": long_line, "30e-nested-150.eml": nested,
            "30f-rfc2231-3000-params.eml": parameters}


def mail(pattern="*"):
    """name: octets of the messages whose name begins so, in order"""
    messages = {}
    for path in glob.glob(MAIL + "/*.eml"):
        with open(path, "rb") as file:
            messages[os.path.basename(path)] = file.read()
    messages.update(made())
    return {name: messages[name] for name in sorted(messages)
            if pattern == "*" or name.startswith(pattern)}


def lmtp(server, user, message):
    """As it is, but that it ends with a line end, and for dots"""
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    deliver(server.vars["LMTP_SOCKET"], user, message.replace(b"\r\n.", b"\r\n.."))


def lmtp_all(server, user, pattern):
    """name: UID in the user's INBOX, which was empty"""
    messages = mail(pattern)
    for message in messages.values():
        lmtp(server, user, message)
    return {name: number for number, name in enumerate(messages, 1)}


def put_into_new(server, user, names):
    """The messages, as they are, as files into a Maildir that has been opened"""
    new = "%s/mail/%s/maildir/new" % (server.path, user.lower())
    owner = os.stat(new)
    messages = mail()
    for number, name in enumerate(names):
        path = "%s/%d.M%dP1.case" % (new, 1000000000 + number, number)
        with open(path, "wb") as file:
            file.write(messages[name])
        os.chown(path, owner.st_uid, owner.st_gid)
