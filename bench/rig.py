# SPDX-License-Identifier: LGPL-2.1-only
"""What bench.py measures with: a server, sessions that take no time of their own
to look at responses, and folders of which a device sees little."""

import contextlib
import os
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RIG = os.path.join(os.path.dirname(HERE), "tests", "private-dovecot")
DEVICE = "#phone"
VISIBLE = 100
CRITERIA = "UNSEEN FROM joe@example"


def timed(act):
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


class Session:
    def __init__(self, port, user):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.recv(4096)
        self.tag = 0
        self.ok("LOGIN %s pass" % user)

    def ok(self, command):
        """Returns the response."""
        self.tag += 1
        tag = b"t%d " % self.tag
        if isinstance(command, str):
            command = command.encode()
        self.sock.sendall(tag + command + b"\r\n")
        data = bytearray()
        while True:
            part = self.sock.recv(1 << 18)
            if not part:
                raise ConnectionError("closed: %r" % bytes(data[-200:]))
            data += part
            if data.endswith(b"\r\n"):
                last = data.rfind(b"\r\n", 0, len(data) - 2)
                line = data[0 if last < 0 else last + 2:]
                if line.startswith(tag):
                    break
        if not line.startswith(tag + b"OK"):
            raise AssertionError("%r: %r" % (command[:80], bytes(line)))
        return bytes(data)

    def seconds(self, command):
        return timed(lambda: self.ok(command))

    def close(self):
        self.ok("LOGOUT")
        self.sock.close()


@contextlib.contextmanager
def session(port, user):
    opened = Session(port, user)
    yield opened
    opened.close()


@contextlib.contextmanager
def server(folder, extra="", plain=False, full=False):
    """extra: text of its configuration. Gives the IMAP port; full: all that
    private-dovecot prints."""
    with open(folder + ".conf", "w") as conf:
        conf.write(extra)
    command = [RIG, "start", folder, "-f", "mdbox", "-x", folder + ".conf"]
    if plain:
        command.append("-n")
    output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    try:
        variables = dict(line.split("=", 1) for line in output.splitlines())
        yield variables if full else int(variables["IMAP_PORT"])
    finally:
        subprocess.run([RIG, "stop", folder], check=True)


def processes(folder):
    """Of a server in this folder: what each is called, by its id"""
    name = "dovecot-%s/" % os.path.basename(os.path.realpath(folder + "/run"))
    result = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open("/proc/%s/cmdline" % pid, errors="replace") as file:
            title = file.read()
            if title.startswith(name):
                result[int(pid)] = title[len(name):].partition("\0")[0].partition(" ")[0]
    return result


def cpu_seconds(folder):
    """What each process has used, by its name and id"""
    result = {}
    for pid, name in processes(folder).items():
        with contextlib.suppress(OSError), open("/proc/%d/schedstat" % pid) as file:
            result[name, pid] = int(file.read().split()[0]) / 1e9
    return result


def message(number, sender):
    return (b"From: %s@example.org\r\nTo: user@example.org\r\n"
            b"Subject: message %d\r\nMessage-ID: <%d@example.org>\r\n\r\n"
            b"%s\r\n" % (sender, number, number, b"text " * 40))


def append(messages):
    """The command for (flags, message) pairs"""
    return b"APPEND INBOX" + b"".join(b" (%s) {%d+}\r\n%s" % (flags, len(text), text)
                                      for flags, text in messages)


def fill(port, user, count):
    """Every (count/100)th message is from joe and unseen, the one after it from joe
    and seen, and of the others a quarter is seen."""
    step = count // VISIBLE
    plain = Session(port, user)
    for start in range(0, count, 1000):
        messages = []
        for number in range(start, start + 1000):
            sender = b"joe" if number % step < 2 else b"sender%d" % (number % 97)
            seen = number % step == 1 or (number % step > 1 and number % 4 == 0)
            messages.append((b"\\Seen" if seen else b"", message(number, sender)))
        plain.ok(append(messages))
    # Dovecot's own cache has what the filter asks for
    for _ in range(2):
        plain.ok("SELECT INBOX")
        plain.ok("SEARCH " + CRITERIA)
    plain.close()
    device = Session(port, user + DEVICE)
    set_filter(device, 0)
    device.ok("XSETPIMAPPREF PIMAP_XFILTER (INBOX V F1)")
    shown = device.ok("STATUS INBOX (MESSAGES)")
    if b"(MESSAGES %d)" % VISIBLE not in shown:
        raise AssertionError("%r" % shown)
    device.close()


def set_filter(device, number):
    """One that does the same work for each number, but is another filter: the case
    of the letters that it looks for is (that of search keys isn't kept)."""
    keys, _, word = CRITERIA.rpartition(" ")
    letters = [letter.upper() if number >> at & 1 else letter for at, letter in enumerate(word)]
    device.ok("XFILTER SET F1 NIL (%s %s)" % (keys, "".join(letters)))
