# SPDX-License-Identifier: LGPL-2.1-only
"""A build without SQLite has no pimap-outband, and its drop-in has no service that
Dovecot wouldn't start without."""
import os
import shutil
import subprocess
import tempfile

import pytest

from conftest import DOVECOT_24, HERE, Server
from test_tree import TOP

EXAMPLE = "%s/doc/example-config/dovecot-%s/conf.d" % (TOP, "2.4" if DOVECOT_24 else "2.3")


@pytest.fixture(scope="module")
def built():
    """A copy of the tree that was configured so, and the root that it is installed
    into. What was compiled is compiled: only what differs is made."""
    folder = tempfile.mkdtemp(prefix="pimap-test.")
    os.chmod(folder, 0o755)
    tree, root = folder + "/tree", folder + "/root"
    shutil.copytree(os.environ.get("top_builddir", TOP), tree, symlinks=True,
                    ignore=shutil.ignore_patterns(".git", "autom4te.cache"))

    def run(command):
        result = subprocess.run(["sh", "-c", command], cwd=tree, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert result.returncode == 0, result.stdout[-3000:]
    shutil.rmtree(tree + "/src/pimap-outband/.libs", ignore_errors=True)
    for name in ("pimap-outband", "pimap-outband.o"):
        if os.path.exists(tree + "/src/pimap-outband/" + name):
            os.unlink(tree + "/src/pimap-outband/" + name)
    run('eval "./configure -q $(./config.status --config) --without-sqlite"')
    run("make -s && make -s install DESTDIR=%s" % root)
    yield tree, root
    shutil.rmtree(folder)


def found(root, *names):
    paths = {name: path for path, _, files in os.walk(root) for name in files}
    return [name in paths and paths[name] for name in names]


def start(monkeypatch, tree, conf_d):
    monkeypatch.setenv("top_builddir", tree)
    monkeypatch.setenv("PIMAP_CONF_D", conf_d)
    return Server.temporary("maildir")


def test_starts(monkeypatch, built):
    tree, root = built
    conf_d, services, program, worker = found(
        root, "05-pimap.conf", "06-pimap-outband.conf", "pimap-outband", "pimap-worker")
    assert conf_d and not services and not program and worker
    # all else is there, as in the example
    assert sorted(os.listdir(conf_d)) == sorted(set(os.listdir(EXAMPLE)) -
                                                {"06-pimap-outband.conf"})
    server = start(monkeypatch, tree, conf_d)
    try:
        plain, phone = server.client("joe"), server.client("joe#phone")
        plain.append("INBOX", [b"Subject: a\r\n\r\nx\r\n"])
        phone.ok("SELECT INBOX")
        assert len(phone.search("ALL")) == 1
        server.close_clients()
        assert server.faults() == []
    finally:
        server.stop()


def test_does_not_start_with_the_services(monkeypatch, built, capfd):
    """Why they are in a file of their own"""
    tree, _ = built
    with pytest.raises(subprocess.CalledProcessError):
        start(monkeypatch, tree, EXAMPLE)
    assert "pimap-outband) failed: No such file" in capfd.readouterr().err


def test_all_is_installed_otherwise(tmp_path):
    """With SQLite: what configure found for the tests"""
    assert os.path.exists(os.environ.get("top_builddir", TOP) + "/src/pimap-outband/pimap-outband")
    subprocess.run(["make", "-s", "-C", os.environ.get("top_builddir", TOP),
                    "install-confexampleDATA", "DESTDIR=%s" % tmp_path], check=True)
    conf_d, = found(tmp_path, "06-pimap-outband.conf")
    assert sorted(os.listdir(conf_d)) == sorted(os.listdir(EXAMPLE))
