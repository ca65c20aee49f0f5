# SPDX-License-Identifier: LGPL-2.1-only
"""Short runs of the judge of notifications (outband_runner.py). PIMAP_RUNNER_TRIALS
lengthens them, PIMAP_RUNNER_SEED has them do other things."""

import glob
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
PATCHES = sorted(glob.glob(HERE + "/mutations/outband/*.patch"))


@pytest.mark.parametrize("options", [
    ["-f", "maildir"], ["-f", "mdbox"], ["-f", "mdbox", "--db", "pgsql"],
    ["-f", "sdbox", "--joining"], ["-f", "maildir", "--channel", "udp"]], ids=" ".join)
def test_nothing_is_lost_or_false(options):
    """A rough round and a gentle one"""
    trials = int(os.environ.get("PIMAP_RUNNER_TRIALS", "16"))
    result = subprocess.run(
        [sys.executable, "-B", HERE + "/outband_runner.py", *options, "--trials", str(trials),
         "--together", str(min(trials // 2, 16)),
         "--seed", os.environ.get("PIMAP_RUNNER_SEED", "1")],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, result.stdout + result.stderr
    print(result.stdout)


@pytest.mark.parametrize("patch", PATCHES, ids=os.path.basename)
def test_mutations_fit(patch):
    """test_outband_mutations.py, which applies them, runs seldom."""
    result = subprocess.run(
        ["patch", "--dry-run", "-f", "-F0", "-p1", "-i", patch], cwd=os.path.dirname(HERE),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout
