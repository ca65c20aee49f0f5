# SPDX-License-Identifier: LGPL-2.1-only
"""The model test with our modules built under ASan and UBSan, and with imap under
valgrind. Both need long, and valgrind must be installed, so they run with
PIMAP_SANITIZE=1 only:
    PIMAP_SANITIZE=1 pytest-3 tests/test_sanitizers.py
PIMAP_SANITIZE_OPERATIONS and PIMAP_MEMCHECK_OPERATIONS say how many operations
in all (5,000 and 1,000), over the three formats."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from conftest import DOVECOT_24, HERE
from imap_client import Client

TOP = os.path.dirname(HERE)
FORMATS = ("maildir", "sdbox", "mdbox")
RUN = 500  # operations of one run at most
CFLAGS = "-g -O1 -fno-omit-frame-pointer"
SANITIZERS = "-fsanitize=address,undefined"
UNLIMITED = "default_vsz_limit = %s\n" % ("unlimited" if DOVECOT_24 else "0")


@pytest.fixture(scope="module")
def folder():
    # root starts Dovecot, whose users must get in, and write what they find
    path = tempfile.mkdtemp(prefix="pimap-sanitizer.")
    os.chmod(path, 0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def run(*command, **options):
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, **options)
    assert result.returncode == 0, result.stdout[-3000:]
    return result.stdout


@pytest.fixture(scope="module")
def sanitized(folder):
    """A built tree. config, which is no process of ours, loads the settings' module
    before it knows its environment: that one isn't sanitized."""
    tree = folder + "/tree"
    shutil.copytree(TOP, tree, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    flags = "CFLAGS=%s %s" % (CFLAGS, SANITIZERS)
    run("make", "-s", "-C", tree + "/src", "clean")
    run("make", "-s", "-C", tree + "/src", flags)
    run("make", "-s", "-C", tree + "/src/pimap-settings", "clean")
    run("make", "-s", "-C", tree + "/src/pimap-settings", "CFLAGS=" + CFLAGS)
    return tree


def environment(variables):
    """The setting that gives them to all processes"""
    if DOVECOT_24:
        return "import_environment {\n%s}\n" % "".join(
            "  %s = %s\n" % item for item in variables.items())
    return "import_environment = $import_environment %s\n" % " ".join(
        "%s=%s" % item for item in variables.items())


class Dovecot:
    """Of a tree, with some configuration"""

    def __init__(self, tree, path, fmt, extra):
        self.script, self.path = tree + "/tests/private-dovecot", path
        with open(path + ".conf", "w") as conf:
            conf.write(extra)
        output = run(self.script, "start", path, "-f", fmt, "-x", path + ".conf")
        self.vars = dict(line.split("=", 1) for line in output.splitlines())

    def stop(self):
        run(self.script, "stop", self.path)


def model(dovecot, seed, operations, doveadm, *options):
    command = [sys.executable, HERE + "/model.py", dovecot.vars["IMAP_PORT"],
               "joe%s" % seed, str(seed), str(operations), "--lmtp",
               dovecot.vars["LMTP_SOCKET"], "--doveadm", doveadm, "--reduce", "0"]
    result = subprocess.run(command + list(options), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return "" if result.returncode == 0 else result.stderr


def runs(operations):
    """Seeds, and how many operations each"""
    while operations > 0:
        yield 9000 + operations, min(operations, RUN)
        operations -= RUN


def found(pattern):
    """What the tools have written"""
    texts = []
    for name in glob.glob(pattern):
        with open(name, errors="replace") as text:
            texts.append(text.read())
    return texts


def loaded(name):
    """Does a process of Dovecot's imap have that library?"""
    for maps in glob.glob("/proc/[0-9]*/maps"):
        try:
            with open(os.path.dirname(maps) + "/cmdline", errors="replace") as line:
                if "/imap\0" not in line.read() + "\0":
                    continue
            with open(maps) as text:
                if name in text.read():
                    return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("fmt", FORMATS)
def test_address_and_undefined(fmt, folder, sanitized):
    libraries = " ".join(run("gcc", "-print-file-name=" + name).strip()
                         for name in ("libasan.so", "libubsan.so"))
    libraries = ":".join(os.path.realpath(path) for path in libraries.split())
    logs = "%s/found-%s" % (folder, fmt)
    # Dovecot's own memory is never freed in full
    variables = {"LD_PRELOAD": libraries,
                 "ASAN_OPTIONS": "detect_leaks=0:log_path=%s" % logs,
                 "UBSAN_OPTIONS": "print_stacktrace=1:log_path=%s" % logs}
    dovecot = Dovecot(sanitized, "%s/%s" % (folder, fmt), fmt,
                      UNLIMITED + environment(variables))
    doveadm = folder + "/doveadm-" + fmt
    with open(doveadm, "w") as script:
        script.write("#!/bin/sh\nexec env %s %s \"$@\"\n" % (
            " ".join("%s=%s" % item for item in variables.items()),
            dovecot.vars["DOVEADM"]))
    os.chmod(doveadm, 0o755)
    operations = int(os.environ.get("PIMAP_SANITIZE_OPERATIONS", "5000")) // 3 + 1
    try:
        client = Client(int(dovecot.vars["IMAP_PORT"]), "joe#P1")
        client.ok("SELECT INBOX")
        assert loaded("libasan")
        client.logout()
        failures = [model(dovecot, seed, count, doveadm, "--qresync")
                    for seed, count in runs(operations)]
        failures.append(model(dovecot, 1, 100, doveadm, "--parallel"))
        with open(dovecot.vars["LOG"]) as log:
            failures += [line for line in log if "anic" in line]
    finally:
        dovecot.stop()
    assert found(logs + "*") == []
    assert [text for text in failures if text] == []


def ours(text):
    """The reports with a frame of ours"""
    blocks, block = [], []
    for line in text.splitlines():
        words = line.split(" ", 1)
        if len(words) < 2 or not words[1].strip():
            blocks.append("\n".join(block))
            block = []
        else:
            block.append(words[1])
    return [b for b in blocks + ["\n".join(block)] if "pimap" in b and " at 0x" in b]


@pytest.mark.parametrize("fmt", FORMATS)
def test_memcheck(fmt, folder):
    assert shutil.which("valgrind"), "valgrind isn't installed"
    libexec = run("sh", "-c", "PATH=$PATH:/usr/sbin doveconf -h libexec_dir"
                  " 2>/dev/null || echo /usr/lib/dovecot").strip()
    logs = "%s/memcheck-%s" % (folder, fmt)
    script = folder + "/imap-" + fmt
    with open(script, "w") as wrapper:
        wrapper.write("#!/bin/sh\nexec valgrind --log-file=%s.%%p --leak-check=full "
                      "--num-callers=40 %s/imap \"$@\"\n" % (logs, libexec))
    os.chmod(script, 0o755)
    dovecot = Dovecot(TOP, "%s/memcheck-server-%s" % (folder, fmt), fmt, UNLIMITED +
                      "service imap {\n  executable = %s\n}\n" % script)
    operations = int(os.environ.get("PIMAP_MEMCHECK_OPERATIONS", "1000")) // 3 + 1
    try:
        failures = [model(dovecot, seed, count, dovecot.vars["DOVEADM"], "--qresync")
                    for seed, count in runs(operations)]
    finally:
        dovecot.stop()
    texts = found(logs + ".*")
    # each session is a process
    assert len([text for text in texts if "ERROR SUMMARY" in text]) > 5
    assert [report for text in texts for report in ours(text)] == []
    assert [text for text in failures if text] == []
