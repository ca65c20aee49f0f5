# SPDX-License-Identifier: LGPL-2.1-only
"""The manual: that it can be read, and that nothing is missing in it."""

import glob
import os
import re
import subprocess

import pytest

from test_tree import TOP, number, read

PAGES = ["doveadm-pimap.1", "dovecot-pimap.7"]


def plain(page):
    """What a reader sees, without line ends"""
    text = subprocess.run(["mandoc", "-Tutf8", "%s/man/%s" % (TOP, page)], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return " ".join(re.sub(".\b", "", text).replace("\u2212", "-").replace("\u2010", "-")
                    .split())


@pytest.mark.parametrize("page", PAGES)
def test_manual_is_well_formed(page):
    result = subprocess.run(["mandoc", "-Tlint", "-W", "warning", "%s/man/%s" % (TOP, page)],
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.stdout == ""
    assert result.returncode == 0
    # the minus of commands and names, not a hyphen
    bare = [line for line in read("man/" + page).splitlines()
            if not line.startswith(('.\\"', '.TH')) and re.search(r"(?<!\\)-", line)]
    assert bare == []


def test_manual_is_installed(tmp_path):
    subprocess.run(["make", "-s", "-C", TOP + "/man", "install", "DESTDIR=%s" % tmp_path],
                   check=True, stdout=subprocess.DEVNULL)
    found = [os.path.basename(path) for path in glob.glob("%s/**/man?/*" % tmp_path,
                                                          recursive=True)]
    assert sorted(found) == PAGES
    assert sorted(os.listdir(TOP + "/man/"))[-2:] == PAGES


def source_settings():
    """{name: default} of those that an administrator may set"""
    source = read("src/pimap-settings/pimap-settings.c")
    names = [name for name, rest in re.findall(r"^\tDEF\(\w+, (\w+)\),(.*)", source, re.MULTILINE)
             if "internal" not in rest]
    return {name: re.search(r"\.%s = (.*)," % name, source).group(1) for name in names}


def test_settings_are_everywhere():
    """The source, both example configurations, the manual and the README have the
    same ones, with the same defaults."""
    settings = source_settings()
    assert len(settings) > 5
    manual = dict(re.findall(r"^\\fB(pimap\w*)\\fP \((.*)\)$", read("man/dovecot-pimap.7"),
                             re.MULTILINE))
    assert sorted(manual) == sorted(settings)
    for name, default in settings.items():
        shown = manual[name].replace("\\-", "-")
        if number(default) is not None:
            assert number(shown) == number(default), name
        elif default not in ('""', "NULL"):
            # an ENUM's first value is its default
            assert shown == default.strip('"').split(":")[0], name
    for version in ("2.3", "2.4"):
        example = read("doc/example-config/dovecot-%s/conf.d/05-pimap.conf" % version)
        # those whose names aren't fixed
        named = set(re.findall(r"^ *#?(pimap(?!_filter_)\w*) = ", example, re.MULTILINE))
        assert re.search(r"^ *#pimap_filter[_ ]\w+", example, re.MULTILINE)
        if version == "2.3":
            for name in ("separator", "services"):
                assert name + "=" in example
                named.add("pimap_" + name)
        assert named == set(settings), version
    assert set(re.findall(r"^  (pimap\w*)  ", read("README"), re.MULTILINE)) == set(settings)


def test_commands_are_in_the_manual():
    names = []
    for path in glob.glob(TOP + "/src/doveadm-pimap/*.c"):
        names += re.findall(r'\.name = "(pimap [a-z ]+)"', read(path))
        names += ["pimap " + name for name in re.findall(
            r'^\w+_CMD\(\w+, "([a-z ]+)"', read(path), re.MULTILINE)]
    assert len(names) >= 22
    text = plain("doveadm-pimap.1")
    assert [name for name in names if "doveadm [options] %s" % name not in text] == []
    for name in names:
        if name != "pimap doctor":
            assert re.search(r"^\.B %s$" % name[6:], read("man/doveadm-pimap.1"), re.MULTILINE), name


def test_checks_are_in_the_manual():
    source = "".join(read("src/doveadm-pimap/doveadm-pimap-doctor%s.c" % part)
                     for part in ("", "-user"))
    names = re.findall(r'^\t\{ "([a-z-]+)", "', source, re.MULTILINE) + \
        re.findall(r'->check = "([a-z-]+)"', source)
    assert len(names) == 18
    text = plain("doveadm-pimap.1")
    section = text[text.index("doctor Looks"):text.index("QUOTING filter set")]
    assert [name for name in names if not re.search(r"(^| )%s([ ,]|$)" % name, section)] == []


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_setup_is_the_example(version):
    """What the manual says to configure is what the example has."""
    lines = []
    for path in sorted(glob.glob(TOP + "/doc/example-config/dovecot-%s/conf.d/*" % version)):
        lines += [line.strip() for line in read(path).splitlines()]
    page = read("man/dovecot-pimap.7").replace("\\-", "-")
    start = page.index(".SS Dovecot " + version)
    shown = page[start:page.index(".SS", start + 5)].split("\n")
    inside = False
    count = 0
    for line in shown:
        if line in (".nf", ".fi"):
            inside = line == ".nf"
        elif inside:
            assert line.strip() in lines, line
            count += 1
    assert count > 10
