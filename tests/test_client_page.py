# SPDX-License-Identifier: LGPL-2.1-only
"""doc/client-authors.md holds: its exchanges are sent, and answered as it says."""

import re
import socket

import pytest

from conftest import HERE

PAGE = HERE + "/../doc/client-authors.md"
BLOCK = re.compile(r"^```text (\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MESSAGE = "From: %s@example.com\r\nSubject: s\r\n\r\nbody\r\n"


class Connection:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.sock.makefile("rb")
        assert self.line().startswith("* OK")

    def line(self):
        """Without Dovecot's times"""
        line = self.file.readline()
        assert line.endswith(b"\r\n"), line
        return re.sub(r" \([\d.+ ]+ secs\)\.$", "", line[:-2].decode())

    def send(self, line):
        """Returns what comes, up to the tagged reply"""
        self.sock.sendall(line.encode() + b"\r\n")
        lines = [self.line()]
        while lines[-1].startswith(("* ", "+ ")):
            lines.append(self.line())
        return lines

    def close(self):
        self.file.close()
        self.sock.close()


def pattern(expected):
    """Lines as the page has them: "..." is anything within a line, and "* ..." as a
    whole line any number of them"""
    text = ""
    for line in expected:
        # in the place of a full stop Dovecot writes how long it took
        text += r"(\* .*\n)*" if line == "* ..." else \
            ".*".join(map(re.escape, line.rstrip(".").split("..."))) + \
            (".*" if line.endswith("...") else r"\.?") + "\n"
    return text


def exchanges():
    with open(PAGE) as page:
        blocks = BLOCK.findall(page.read())
    for name, text in blocks:
        command, answer = None, []
        for line in text.splitlines():
            kind, line = line[:3], line[3:]
            assert kind in ("C: ", "S: "), line
            if kind == "S: ":
                answer.append(line)
                continue
            if command is not None:
                yield name, command, answer
            command, answer = line, []
        yield name, command, answer


@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_exchanges_of_the_page_for_client_authors(server, user):
    user = user.lower()
    connections = {}
    writer = server.client(user)
    writer.append("INBOX", [(MESSAGE % name).encode() for name in ("boss", "ann", "boss")])
    count = 0
    try:
        for name, command, answer in exchanges():
            if name not in connections:
                connections[name] = Connection(server.port)
            command = re.sub(r"LOGIN joe\b", "LOGIN " + user, command)
            lines = connections[name].send(command)
            assert re.fullmatch(pattern(answer), "".join(line + "\n" for line in lines)), \
                (command, lines)
            count += 1
    finally:
        for connection in connections.values():
            connection.close()
    assert count > 25
