# SPDX-License-Identifier: LGPL-2.1-only
"""Short runs of the judge of notifications (outband_runner.py). PIMAP_RUNNER_TRIALS
lengthens them, PIMAP_RUNNER_SEED has them do other things."""

import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.mark.parametrize("fmt", ["maildir", "mdbox"])
def test_nothing_is_lost_or_false(fmt):
    """A rough round and a gentle one"""
    trials = int(os.environ.get("PIMAP_RUNNER_TRIALS", "16"))
    result = subprocess.run(
        [sys.executable, "-B", HERE + "/outband_runner.py", "-f", fmt, "--trials", str(trials),
         "--together", str(min(trials // 2, 16)),
         "--seed", os.environ.get("PIMAP_RUNNER_SEED", "1")],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, result.stdout + result.stderr
    print(result.stdout)
