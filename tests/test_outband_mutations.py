# SPDX-License-Identifier: LGPL-2.1-only
"""The judge of notifications (outband_runner.py) catches mistakes that are made on purpose
(mutations/outband/*.patch): those of doc/model/notify.pml that have a counterpart here,
and what it has found itself. Each needs a build, so they run with PIMAP_MUTATIONS=1 only.
The same seeds must pass without any patch. That all patches fit is tested always."""

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
OPTIONS = {
    "baseline-of-another-time.patch": ["--rounds", "rough"],
    "hello-acknowledges.patch": ["--channel", "udp"],
    "joined-of-one-folder.patch": ["--joining"],
    # one that only gentle rounds can show, where nothing else finds what was forgotten
    "mark-cleared-late.patch": ["--rounds", "gentle"],
    "newest-not-compared.patch": ["-f", "sdbox", "--rounds", "rough"],
}


def run(tree, options, trials=TRIALS):
    """Runs trials until some fail. Returns what is said of them, and if any did."""
    for seed in range(1, trials, 2 * TOGETHER):
        result = subprocess.run(
            [sys.executable, "-B", tree + "/tests/outband_runner.py", "-f", "maildir", "--trials",
             str(2 * TOGETHER), "--together", str(TOGETHER), "--seed", str(seed),
             "--clean", *options],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = "\n".join(re.findall(r"^(?:== seed|lost:|false:|wrong:|late:|\d+ trials \().*",
                                    result.stdout, re.M))
        kinds = re.search(r"(\d+) lost, (\d+) false, (\d+) wrong, (\d+) late", result.stdout)
        assert kinds, result.stdout
        if any(int(count) > 0 for count in kinds.groups()):
            return said, True
    return said, False


def test_there_are_mutations():
    assert len(PATCHES) >= 15
    assert set(OPTIONS) <= set(map(os.path.basename, PATCHES))


@pytest.mark.parametrize("options", [
    [], ["--channel", "udp"], ["--joining"], ["-f", "sdbox"]], ids=" ".join)
def test_passes_without(options):
    said, failed = run(TOP, options)
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
        said, failed = run(tree, OPTIONS.get(os.path.basename(patch), []))
    finally:
        shutil.rmtree(folder)
    print(said)
    assert failed, "not caught: " + said
