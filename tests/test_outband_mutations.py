# SPDX-License-Identifier: LGPL-2.1-only
"""The judge of notifications (outband_runner.py) catches mistakes that are made on purpose
(mutations/outband/*.patch): those of doc/model/notify.pml that have a counterpart here,
and what it has found itself. Each needs a build, so they run with PIMAP_MUTATIONS=1 only.
The same seeds must pass without any patch."""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
PATCHES = sorted(glob.glob(HERE + "/mutations/outband/*.patch"))
TRIALS = int(os.environ.get("PIMAP_MUTATION_TRIALS", "96"))
TOGETHER = 16
# one that only gentle rounds can show, where nothing else finds what was forgotten
ROUNDS = {"mark-cleared-late.patch": "gentle"}


def run(tree, name="both", trials=TRIALS):
    """Runs trials until some fail. Returns the last line, and if any did."""
    rounds = ROUNDS.get(name, "both")
    for seed in range(1, trials, 2 * TOGETHER):
        result = subprocess.run(
            [sys.executable, "-B", tree + "/tests/outband_runner.py", "-f", "maildir", "--trials",
             str(2 * TOGETHER), "--together", str(TOGETHER), "--seed", str(seed),
             "--rounds", rounds, "--clean"],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = result.stdout.splitlines() or [""]
        kinds = re.search(r"(\d+) lost, (\d+) false, (\d+) wrong, (\d+) late", result.stdout)
        assert kinds, result.stdout
        if any(int(count) > 0 for count in kinds.groups()):
            return lines[-1], True
    return lines[-1], False


def test_there_are_mutations():
    assert len(PATCHES) >= 10


def test_passes_without():
    said, failed = run(TOP)
    assert not failed, said


@pytest.mark.parametrize("patch", PATCHES, ids=os.path.basename)
def test_mutation_is_caught(patch):
    # root starts Dovecot, whose users must get in
    folder = tempfile.mkdtemp(prefix="pimap-mutation.")
    os.chmod(folder, 0o755)
    try:
        tree = folder + "/tree"
        shutil.copytree(TOP, tree, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        subprocess.run(["patch", "-p1", "-i", patch], cwd=tree, check=True)
        subprocess.run(["make", "-s"], cwd=tree + "/src", check=True)
        said, failed = run(tree, os.path.basename(patch))
    finally:
        shutil.rmtree(folder)
    print(said)
    assert failed, "not caught: " + said
