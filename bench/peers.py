# SPDX-License-Identifier: LGPL-2.1-only
"""What the service pimap-outband is measured between: a relay that takes mail as fast
as it comes, and what asks the service."""

import contextlib
import multiprocessing
import os
import selectors
import socket
import sys
import time

import rig

sys.path.append(os.path.join(os.path.dirname(rig.HERE), "tests"))
import outband_peers  # noqa: E402

GUID = "0123456789abcdef0123456789abcdef"
# each event is a notification of its own
APART = """
pimap_join_count = 0
pimap_limit_device = 0
pimap_limit_user = 0
"""


def serve(listener, take, count, times=(), greeting=b""):
    """A TCP server in a process of its own. take: gives, for what a client has sent, what is
    left of it, the replies, and how many notifications were in it. These are counted, and
    of the first ones it is kept when they came."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    buffers = {}
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            if sock is listener:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(greeting)
                buffers[sock] = b""
                selector.register(sock, selectors.EVENT_READ)
                continue
            try:
                data = sock.recv(65536)
                buffers[sock], replies, new = take(buffers[sock] + data)
                sock.sendall(replies)
            except ConnectionError:
                data, new = b"", 0
            for _ in range(new):
                if count.value < len(times):
                    times[count.value] = time.monotonic()
                count.value += 1
            if not data:
                selector.unregister(sock)
                del buffers[sock]
                sock.close()


def take_smtp(data):
    """What a relay does that only takes mail"""
    replies, count = b"", 0
    while True:
        if data.startswith(b"\0"):
            # in a mail
            end = data.find(b"\r\n.\r\n")
            if end < 0:
                break
            count += 1
            replies += b"250 ok\r\n"
            data = data[end + 5:]
            continue
        line, found, rest = data.partition(b"\r\n")
        if not found:
            break
        data = rest
        command = line[:4].upper()
        if command == b"EHLO":
            replies += b"250-relay\r\n250 PIPELINING\r\n"
        elif command == b"DATA":
            replies += b"354 go on\r\n"
            data = b"\0" + data
        elif command == b"QUIT":
            replies += b"221 bye\r\n"
        else:
            replies += b"250 ok\r\n"
    return data, replies, count


@contextlib.contextmanager
def running_relay():
    """Gives its port, how many mails it has got, and when."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    count = multiprocessing.Value("i", 0, lock=False)
    times = multiprocessing.Array("d", 10000, lock=False)
    process = multiprocessing.get_context("fork").Process(
        target=serve, args=(listener, take_smtp, count, times, b"220 relay\r\n"),
        daemon=True)
    process.start()
    yield listener.getsockname()[1], count, times
    process.kill()
    process.join()
    listener.close()


def wait(condition, seconds=120, pause=0.005):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(pause)


class Service:
    """pimap-outband of a server"""

    def __init__(self, folder):
        self.folder = folder
        self.run = os.path.realpath(folder + "/run")

    def ask(self, *request):
        """The fields of the lines of its answer"""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.run + "/pimap-outband-control")
            sock.sendall(("VERSION\tpimap-control\t1\t0\n" +
                          outband_peers.line(*request)).encode())
            lines = []
            with sock.makefile() as file:
                next(file)
                for text in file:
                    lines.append(text.rstrip("\n").split("\t"))
                    if lines[-1][0] in ("OK", "BUSY", "FAIL", "NOTFOUND"):
                        break
            return lines

    def status(self):
        """Its numbers by name; none as long as it only begins"""
        return {fields[1]: int(fields[2]) for fields in self.ask("STATUS")
                if fields[0] == "STATUS" and fields[2].isdigit()}

    def queued(self):
        return self.status().get("queued")

    def pid(self):
        for pid, name in rig.processes(self.folder).items():
            if name == "pimap-outband":
                return pid
        return None

    def settle(self, seconds):
        """Until it has done what it can do now, or so long: a black hole keeps it
        trying. Asking takes its time, too."""
        end = time.monotonic() + seconds
        last = None
        while time.monotonic() < end:
            time.sleep(0.1)
            status = self.status()
            now = (status.get("queued"), status.get("MAIL sent"), status.get("looks done"))
            if now == last and not any(status.get(name, 1) for name in
                                       ("looks waiting", "looks running")):
                break
            last = now

    def cpu_seconds(self):
        with open("/proc/%d/schedstat" % self.pid()) as file:
            return int(file.read().split()[0]) / 1e9

    def peak_mb(self):
        with open("/proc/%d/status" % self.pid()) as file:
            return next(int(text.split()[1]) for text in file
                        if text.startswith("VmHWM:")) / 1024

    def hint(self, users):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.run + "/pimap-outband")
            sock.sendall(b"VERSION\tpimap-hint\t1\t0\n")
            for user in users:
                sock.sendall(outband_peers.line("HINT", user, GUID).encode())
            sock.recv(100)
