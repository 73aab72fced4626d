"""T5: a disk that is really full refuses a write whole, and no process dies of it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from faults import FaultServer
from faults_cases import fill_a_disk
from faults_work import HISTORIES


@pytest.fixture(scope="module")
def server(interposer, tmp_path_factory):
    """A warm process that may mount, with mounts of its own."""
    prefix = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    try_it = [*prefix, "mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path_factory.mktemp("mounted")]
    if not shutil.which("unshare") or subprocess.run(try_it, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root, or unprivileged namespaces")
    made = FaultServer(interposer, prefix)
    made.wait()
    yield made
    made.close()


@pytest.mark.parametrize("kind", HISTORIES)
def test_a_disk_of_any_size_holds_whole_commits(server, tmp_path, figures, kind):
    n_sizes = figures.size(20, 200) // len(HISTORIES)
    refused = []
    for number in range(n_sizes):
        # up to what the whole history takes
        size = (16 << 10) + number * (1 << 20) // n_sizes // 4096 * 4096
        refused.append(server.run(fill_a_disk, tmp_path / str(number), kind, size).result())
        figures.add("sizes of a full disk")
    assert refused[0] > refused[-1]
    assert sum(refused) > n_sizes
