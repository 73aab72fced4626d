from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from figures import Figures
from hostile_case import Case
from hostile_index import HostileIndex, build
from hostile_server import HostileServer
from hostile_walk import TYPED

# beyond the size of the files themselves (reliability.md: P6)
MOST_MORE_MEMORY = 64 << 20
VERIFIES = ("verify folder", "verify", "verify again")


@pytest.fixture(scope="session")
def server() -> Iterator[HostileServer]:
    if not sys.platform.startswith("linux"):
        pytest.skip("memory and time of a child are limited and read as Linux does it")
    server = HostileServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Good indexes: plain and packed."""
    folder = tmp_path_factory.mktemp("good")
    return {is_packed: build(folder / f"{is_packed}", is_packed=is_packed) for is_packed in (False, True)}


@pytest.fixture
def hostile(good: dict[bool, Path], fast_folder: Path) -> Callable[[bool], HostileIndex]:
    """A copy of a good index, beside a folder that nobody may touch."""

    def copy(is_packed: bool) -> HostileIndex:
        folder, outside = fast_folder / "index", fast_folder / "outside"
        shutil.copytree(good[is_packed], folder)
        (outside / "folder").mkdir(parents=True)
        (outside / "secret.txt").write_text("not yours")
        (outside / "folder" / "kept.npy").write_bytes(bytes(200))
        return HostileIndex(folder, outside)

    return copy


@pytest.fixture
def attack(
    server: HostileServer, hostile: Callable[[bool], HostileIndex], figures: Figures
) -> Callable[[Case], dict[str, str]]:
    """Make a hostile index, do everything with it, and check what must hold of all of them."""

    def attack(case: Case) -> dict[str, str]:
        index = hostile(case.is_packed)
        case.make(index)
        around, size = _around(index.folder), _size(index.folder)
        answer = server.run("walk", str(index.folder))
        said: dict[str, str] = answer["result"]
        assert answer["signal"] == 0, f"signal {answer['signal']} (14: it took too long) after {list(said)}"
        assert [s for s in said.values() if not s.startswith(("fine", "problems", *TYPED, *case.typed))] == [], said
        assert not any(said.get(step, "fine").startswith(TYPED[:2]) for step in VERIFIES), said
        assert answer["grown"] <= size + MOST_MORE_MEMORY
        assert _around(index.folder) == around, "something outside the folder was changed"
        figures.add("hostile indexes")
        return said

    return attack


@pytest.fixture
def refused(attack: Callable[[Case], dict[str, str]]) -> Callable[[Case], None]:
    """Attack, and see the step that must refuse it do so."""

    def refused(case: Case) -> None:
        said = attack(case)
        expected = "problems" if case.at in VERIFIES else case.error
        assert not case.at or said.get(case.at, "never came to it").startswith(expected), said

    return refused


def _around(folder: Path) -> dict[str, Any]:
    """Every file beside an index folder: kind, size, time, content."""
    found = {}
    for parent, folders, names in os.walk(folder.parent):
        if Path(parent) == folder.parent:
            folders.remove(folder.name)
        for path in (Path(parent, name) for name in (*names, *folders)):
            status = path.lstat()
            is_file = stat.S_ISREG(status.st_mode)
            content = hashlib.sha256(path.read_bytes()).hexdigest() if is_file and status.st_size < 1 << 30 else ""
            found[str(path)] = (status.st_mode, status.st_size, is_file and status.st_mtime_ns, content)
    return found


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
