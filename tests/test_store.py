# SPDX-License-Identifier: LGPL-2.1-only
"""The profile's file: whatever fails at whatever system call of a change, and
whenever the process is killed, afterwards there is the old profile or the new one,
and what was reported as done is the new one (R-5.4). strace makes the calls fail."""

import glob
import re
import subprocess
import time

import pytest

@pytest.fixture
def profile(server, user):
    """Its path"""
    user = user.lower()
    server.doveadm("pimap", "filter", "set", "-u", user, "F1", "FROM", "joe")
    path, = glob.glob("%s/mail/%s/*/dovecot-pimap-profile" % (server.path, user))
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def content(data):
    """Without what is another at each change; a part of a file is none."""
    lines = data.splitlines(True)
    assert lines[1].startswith(b"generation\t") and re.fullmatch(rb"end\t\w{8}\n", lines[-1])
    return lines[2:-1]


def write(path, data):
    """Into the same file, which keeps its owner"""
    with open(path, "r+b") as file:
        file.truncate()
        file.write(data)


def traced(server, path, log, *command, inject=None):
    """Runs doveadm. Returns what it did, and which calls that have to do with the
    profile it made; with inject, those fail as that says."""
    options = ["-e", "trace=%file,%desc"]
    if inject:
        options += ["-e", "inject=" + inject]
    for name in (path.rpartition("/")[0], path, path + ".lock", path + ".tmp"):
        options += ["-P", name]
    result = subprocess.run(["strace", "-f", "-q", "-o", log, *options,
                             server.vars["DOVEADM"], *command],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return result, re.findall(r"^\d+ +(\w+)\((.*)$", read(log).decode(), re.MULTILINE)


@pytest.mark.expects_faults
@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO", "error=EDQUOT"])
def test_fault_at_every_call(server, user, profile, tmp_path, fault):
    log = str(tmp_path / "strace")
    command = ("pimap", "filter", "set", "-u", user.lower(), "F2", "UNSEEN")
    old = read(profile)
    result, calls = traced(server, profile, log, *command)
    new = read(profile)
    assert result.returncode == 0 and content(new) != content(old)
    names = [name for name, _ in calls]
    # what is done is durable
    assert names.index("fsync") < names.index("rename") < len(names) - names[::-1].index("fsync")
    assert len(names) > 15
    after = {"old": 0, "new": 0}
    for number, name in enumerate(names):
        write(profile, old)
        result, _ = traced(server, profile, log, *command, inject="%s:%s:when=%d" % (
            name, fault, names[:number + 1].count(name)))
        present = read(profile)
        assert present == old or content(present) == content(new), (number, name, result)
        # close() can't fail in a way that matters, unlocking neither
        if result.returncode == 0:
            assert present != old, (number, name, result)
        elif "KILL" not in fault:
            assert result.stderr, (number, name)
        after["old" if present == old else "new"] += 1
    assert after["old"] > 6 and after["new"] > 4, after
    # nothing is left that hinders the next one
    write(profile, old)
    server.doveadm(*command)
    assert content(read(profile)) == content(new)


@pytest.mark.parametrize("server", ["sdbox"], indirect=True)
def test_ok_comes_after_it_is_durable(server, user, profile, tmp_path):
    """As the client sees it"""
    log = str(tmp_path / "strace")
    phone = server.client(user + "#P1")
    # the line may be late
    assert server.logs("user=<%s>" % user.lower())
    pid = re.findall(r"user=<%s>.* mpid=(\d+)" % re.escape(user.lower()), server.log())[-1]
    tracer = subprocess.Popen(["strace", "-q", "-o", log, "-e", "trace=fsync,rename,write,writev",
                               "-p", pid], stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            with open("/proc/%s/status" % pid) as status:
                if "TracerPid:\t0\n" not in status.read():
                    break
            time.sleep(0.02)
        phone.ok("XFILTER SET F2 NIL (UNSEEN)")
    finally:
        phone.logout()
        tracer.wait(10)
    calls = re.findall(r"^(fsync|rename|writev?)\((.*)$", read(log).decode(), re.MULTILINE)
    order = ["OK" if "OK XFILTER" in arguments else name for name, arguments in calls
             if name in ("fsync", "rename") or "OK XFILTER" in arguments]
    assert order == ["fsync", "rename", "fsync", "OK"]
