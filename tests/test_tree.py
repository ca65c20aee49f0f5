# SPDX-License-Identifier: LGPL-2.1-only
"""The tree itself: licences, paths, the distribution, documented settings."""

import os
import re
import subprocess

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCES = (".c", ".h", ".py", ".sh", ".am", ".ac", ".m4", ".in", ".conf", ".md",
           ".yml")
# what no EXTRA_DIST and no _SOURCES needs to name
AUTOMATIC = {".gitignore", ".gitkeep", "Makefile.am", "configure.ac"}


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def git_files():
    """None in a tree that isn't git's (or that git doesn't want to look at)."""
    if not os.path.exists(TOP + "/.git"):
        return None
    try:
        result = subprocess.run(["git", "-C", TOP, "ls-files", "-z"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        return None
    names = result.stdout.decode().split("\0")[:-1]
    return [name for name in names if os.path.exists(os.path.join(TOP, name))] or None


def files():
    """The tracked ones; without git, what looks like one."""
    names = git_files()
    if names is not None:
        return names
    names = ["check", "demo", "Makefile.am", "configure.ac"]
    for folder in ("doc", "src", "tests", "bench"):
        for path, _, found in os.walk(os.path.join(TOP, folder)):
            names += [os.path.relpath(os.path.join(path, name), TOP)
                      for name in found
                      if name.endswith(SOURCES) and name != "Makefile.in"]
    return names


def test_licence():
    """Every file that can carry one says which licence it has."""
    without = []
    for name in files():
        text = read(name)
        if (name.endswith(SOURCES + (".gitignore",)) or text.startswith("#!")) and \
                "SPDX-License-Identifier: LGPL-2.1-only" not in text[:500]:
            without.append(name)
    assert without == []


def test_no_paths_of_one_machine():
    pattern = re.compile(r"(?<![\w}.>])/(work/|root/|home/[a-z])")
    assert [(name, line) for name in files() for line in read(name).splitlines()
            if pattern.search(line)] == []


def distributed(folder):
    """The words of its Makefile.am, without the folders that have one of their own"""
    if not os.path.exists(os.path.join(TOP, folder, "Makefile.am")):
        return set()
    text = re.sub(r"^SUBDIRS\s*=(.*\\\n)*.*", "", read(os.path.join(folder, "Makefile.am")),
                  flags=re.MULTILINE)
    return set(text.split())


def test_everything_is_distributed():
    """By the Makefile.am of a folder above it, itself or with a folder that it is in"""
    lost = []
    for name in files():
        parts = name.split("/")
        listed = any("/".join(parts[above:end]) in distributed("/".join(parts[:above]))
                     for above in range(len(parts)) for end in range(above + 1, len(parts) + 1))
        if not listed and parts[-1] not in AUTOMATIC:
            lost.append(name)
    assert lost == []


def test_functions_that_the_architecture_names():
    sources = "".join(read(name) for name in files()
                      if name.endswith((".c", ".h", ".py")) or name == "tests/private-dovecot")
    # NAME stands for a name
    names = set(re.findall(r"`(\w+)\(\)`", read("doc/architecture.md")))
    assert len(names) > 50
    assert sorted(name for name in names if "_N" not in name and
                  not re.search(r"\b%s\b" % name, sources)) == []


def number(text):
    """The value of a C expression or of a setting as it is written; None if it
    is neither a number nor yes or no."""
    text = text.strip()
    if text in ("TRUE", "FALSE", "yes", "no"):
        return text in ("TRUE", "yes")
    if re.fullmatch(r"[\d *]+", text):
        product = 1
        for factor in text.split("*"):
            product *= int(factor)
        return product
    match = re.fullmatch(r"(\d+) *([a-zA-Z]+)", text)
    if match is None:
        return None
    unit = {"k": 1024, "m": 1024**2, "g": 1024**3, "s": 1, "secs": 1, "mins": 60,
            "min": 60, "hours": 3600, "hour": 3600, "days": 86400, "day": 86400,
            "weeks": 604800}.get(match.group(2).lower())
    return None if unit is None else int(match.group(1)) * unit


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_settings_are_in_the_example(version):
    """With their defaults, but for those marked as internal in the table."""
    source = read("src/pimap-settings/pimap-settings.c")
    example = read("doc/example-config/dovecot-%s/conf.d/05-pimap.conf" % version)
    names = [name for name, rest in
             re.findall(r"^\tDEF\(\w+, (\w+)\),(.*)", source, re.MULTILINE)
             if "internal" not in rest]
    assert len(names) > 5
    for name in names:
        if name == "pimap_separator" and version == "2.3":
            # auth doesn't get the settings there
            assert re.search(r'^ *#?args = "separator=#"$', example, re.MULTILINE)
            continue
        if name == "pimap_services" and version == "2.3":
            assert re.search(r'^ *#?args = ".*services=imap,', example, re.MULTILINE)
            continue
        shown = re.search(r"^ *#?%s = (.*)" % name, example, re.MULTILINE)
        assert shown is not None, name
        default = re.search(r"\.%s = (.*)," % name, source)
        assert default is not None, name
        if number(default.group(1)) is not None:
            assert number(shown.group(1)) == number(default.group(1)), name
