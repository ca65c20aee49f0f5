# SPDX-License-Identifier: LGPL-2.1-only
"""The model test catches views that are wrong on purpose (mutations/*.patch).
Each needs a build, so they run with PIMAP_MUTATIONS=1 only. The same seeds must
pass without any patch: else catching proves nothing."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
PATCHES = sorted(glob.glob(HERE + "/mutations/*.patch"))
SEEDS = os.environ.get("PIMAP_MUTATION_SEEDS", "101 102 103 104").split()
OPERATIONS = 500
OPTIONS = os.environ.get("PIMAP_MUTATION_OPTIONS", "").split()


def failing_seed(tree, folder):
    """Runs the model with the tree's Dovecot. Returns the first seed that fails
    and what is said, or None."""
    script = tree + "/tests/private-dovecot"
    output = subprocess.run([script, "start", folder, "-f", "sdbox"], check=True,
                            text=True, stdout=subprocess.PIPE).stdout
    port = dict(line.split("=", 1) for line in output.splitlines())["IMAP_PORT"]
    try:
        for seed in SEEDS:
            result = subprocess.run(
                [sys.executable, HERE + "/model.py", port, "joe" + seed, seed,
                 str(OPERATIONS), "--reduce", "0", *OPTIONS],
                text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if result.returncode != 0:
                return seed, result.stderr
        return None
    finally:
        subprocess.run([script, "stop", folder], check=True)


@pytest.fixture
def folder():
    # root starts Dovecot, whose users must get in
    path = tempfile.mkdtemp(prefix="pimap-mutation.")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def passes_without():
    path = tempfile.mkdtemp(prefix="pimap-mutation.")
    os.chmod(path, 0o755)
    try:
        failed = failing_seed(TOP, path + "/dovecot")
    finally:
        shutil.rmtree(path)
    if failed is not None:
        pytest.fail("without any patch seed %s fails: %s" % failed)


def test_there_are_mutations():
    assert len(PATCHES) >= 8


@pytest.mark.parametrize("patch", PATCHES, ids=os.path.basename)
def test_mutation_is_caught(patch, folder, passes_without):
    tree = folder + "/tree"
    shutil.copytree(TOP, tree, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    subprocess.run(["patch", "-p1", "-i", patch], cwd=tree, check=True)
    subprocess.run(["make", "-s"], cwd=tree + "/src", check=True)
    failed = failing_seed(tree, folder + "/dovecot")
    assert failed is not None, "not caught"
    print("seed %s: %s" % (failed[0], failed[1].split("\n")[0]))
