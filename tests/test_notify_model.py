# SPDX-License-Identifier: LGPL-2.1-only
"""The rules of notifications, as the model that they were found with: Spin explores the
small cases of doc/model/notify.pml exhaustively, and finds each mistake that is made in
it on purpose. The large cases, which take minutes each, with PIMAP_MODEL_LARGE=1."""

import os
import re
import shutil
import subprocess

import pytest

MODEL = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/doc/model/notify.pml"

RIGHT = """
-DNEV=2
-DNEV=2 -DDOWN=1
-DNEV=2 -DS=2 -DNCR=0
-DNEV=2 -DJOIN=1
-DNEV=2 -DNERR=1 -DNFAIL=0
-DNEV=1 -DEVF=1 -DNOWN=1 -DNFAIL=0
-DUDP -DACK=0
-DUDP -DACK=0 -DGAP=1
-DUDP -DACK=1 -DWINDOW=1
-DUDP -DACK=2
"""
LARGE = """
-DNEV=2 -DNWC=1
-DNEV=2 -DEVF=1
-DNEV=2 -DJOIN=1 -DNREST=1 -DNCR=0 -DNFAIL=0
-DNEV=3 -DNFAIL=0
-DNEV=3 -DSCAN=0 -DNCR=0 -DNWC=1 -DNFAIL=0
-DNEV=2 -DNPF=2 -DNFAIL=0
-DNEV=2 -DS=2 -DLOCK=0 -DNCR=0 -DNFAIL=0
-DNEV=2 -DJ=2 -DNCR=0 -DNFAIL=0
-DNEV=3 -DCAS=0 -DNFAIL=0
-DNEV=3 -DNREST=1 -DNCR=0 -DNFAIL=0
-DNEV=2 -DNREST=1 -DNFAIL=0
-DNEV=2 -DGRACE=1 -DNFAIL=0
"""
WRONG = """
-DMUT=1 -DNEV=2
-DMUT=2 -DNEV=2
-DCAS=0 -DJ=2 -DNEV=2 -DNFAIL=0 -DNCR=0
-DMUT=4 -DNEV=2 -DNPF=2 -DGAPOK=0
-DMUT=5 -DNEV=2 -DNPF=2
-DMUT=6 -DS=2 -DNEV=2 -DNCR=0
-DBASE=2 -DNEV=2
-DBASE=0 -DNEV=2 -DDOWN=1
-DMUT=8 -DJOIN=1 -DNEV=2
-DMUT=9 -DNEV=2
-DMUT=10 -DNEV=2
-DMUT=14 -DSCAN=0 -DNCR=0 -DNEV=2
-DUDP -DACK=1
-DUDP -DACK=2 -DGAP=1
-DUDP -DACK=3
"""
LARGE_WRONG = """
-DS=2 -DLOCK=0 -DJ=2 -DCAS=0 -DNEV=2 -DNCR=0 -DNFAIL=0
-DBASE=0 -DNEV=2
-DMUT=11 -DJ=2 -DNEV=2 -DNCR=0 -DNFAIL=0
-DREGRULE=1 -DNPF=2 -DNEV=2
-DMUT=13 -DNPF=3 -DNEV=2 -DNCR=0
-DMUT=18 -DEVF=1 -DNEV=2
-DMUT=19 -DJOIN=1 -DNREST=1 -DNEV=3 -DNCR=0 -DNFAIL=0
-DMUT=21 -DGRACE=1 -DNEV=2
-DMUT=22 -DNERR=1 -DNEV=2
-DMUT=23 -DNPF=2 -DNEV=2
-DDETECT=0 -DNREST=1 -DNEV=2 -DNCR=0 -DNFAIL=0
-DOWNRULE=0 -DNEV=1 -DEVF=1 -DNOWN=1 -DNCR=0 -DNFAIL=0
-DOWNRULE=1 -DNEV=1 -DEVF=1 -DNOWN=1 -DNCR=0 -DNFAIL=0
-DGAPOK=2 -DNPF=2 -DNEV=2
"""


def explore(folder, switches, optimize="-O0"):
    """Returns how many errors there are, and what is said. Compiling with -O2 takes
    longer than a small case."""
    def run(*command):
        return subprocess.run(command, cwd=folder, text=True, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    run("spin", *switches.split(), "-a", MODEL)
    run("gcc", optimize, "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=6000", "-DVECTORSZ=4096",
        "-o", "pan", "pan.c")
    # coming to an end is no error
    output = run("./pan", "-E", "-m200000", "-w22")
    errors = int(re.search(r"errors: (\d+)", output).group(1))
    assert errors > 0 or ("Search not completed" not in output and
                          "max search depth too small" not in output), output
    return errors, output


def cases(small, large):
    listed = small.split("\n") + (
        large.split("\n") if os.environ.get("PIMAP_MODEL_LARGE") == "1" else [])
    return [case for case in listed if case]


@pytest.mark.parametrize("switches", cases(RIGHT, LARGE))
def test_rules(tmp_path, switches):
    errors, output = explore(tmp_path, switches,
                             "-O2" if switches in LARGE.split("\n") else "-O0")
    assert errors == 0, output
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("switches", cases(WRONG, LARGE_WRONG))
def test_mistakes(tmp_path, switches):
    errors, output = explore(tmp_path, switches)
    assert errors == 1 and "assertion violated" in output, output
    shutil.rmtree(tmp_path)
