"""Warm processes with faults under them, and folders that the cases start from."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import faults_work
import pytest
from faults import FaultServers, build_interposer, why_not_here
from figures import Figures


@pytest.fixture(scope="session")
def interposer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """faults.c, compiled."""
    if reason := why_not_here():
        pytest.skip(reason)
    return build_interposer(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def servers(interposer: Path, figures: Figures) -> Iterator[FaultServers]:
    """Warm processes, at most four."""
    made = FaultServers(interposer, min(4, figures.processes))
    yield made
    made.close()


@pytest.fixture(scope="session")
def crash_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder, in memory where the system has one."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path_factory.mktemp("crash")
        return
    with tempfile.TemporaryDirectory(prefix="colbert-rag-tests-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def bases(servers: FaultServers, crash_folder: Path) -> dict[str, Path]:
    """For each history a folder with what each of its steps finds."""
    made = {kind: crash_folder / f"bases-{kind}" for kind in faults_work.HISTORIES}
    for kind, folder in made.items():
        folder.mkdir()
        servers.run(faults_work.make_bases, folder, kind).result()
    return made


@pytest.fixture(scope="session")
def new_folder(crash_folder: Path) -> Callable[[], Path]:
    """Names folders that do not exist yet."""
    numbers = itertools.count()
    return lambda: crash_folder / f"case-{next(numbers)}"
