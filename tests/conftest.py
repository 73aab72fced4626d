"""Fixtures that every test may use."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from figures import Figures
from lifeline import end_with_parent
from word_list import WORDS

from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder

# read when triton is imported: kernels for GPUs then run on the processor, which is how they are tested
os.environ.setdefault("TRITON_INTERPRET", "1")

FIGURES = pytest.StashKey[Figures]()
EVERYDAY_SEED = 77


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torture")
    group.addoption("--torture", action="store_true", help="the long sizes of tests that try many cases")
    group.addoption("--scale", type=float, help="between the everyday size, 0, and the long one, 1")
    group.addoption("--seed", type=int, help="of the random choices; the long sizes draw one and print it")
    group.addoption("--processes", type=int, help="that one test may share its cases among; a core each if not given")
    group.addoption("--figures", type=Path, help="write what was counted into this file, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # a process of xdist goes on with its test where the one that started it was killed
        end_with_parent()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # so a shell starts what runs in the background; tests that send themselves interrupts would see none
        signal.signal(signal.SIGINT, signal.default_int_handler)
    scale, seed, processes = (config.getoption(name) for name in ("--scale", "--seed", "--processes"))
    if scale is None:
        scale = float(config.getoption("--torture"))
    if seed is None:
        # what people change is tried against the same cases every day; new cases are looked for by the long sizes
        seed = random.randrange(2**32) if scale else EVERYDAY_SEED
        # the processes of xdist are given these options
        config.option.seed = seed
    if processes is None:
        # xdist has taken the cores already
        processes = 1 if _has_many_processes(config) else os.cpu_count() or 1
        config.option.processes = processes
    config.stash[FIGURES] = Figures(scale, seed, processes)
    config.pluginmanager.register(_Watch(config.stash[FIGURES], config.getoption("--figures")))
    if _has_many_processes(config):
        # the processes that xdist starts, one for each core, would only wait for one another's threads
        for library in ("OMP", "OPENBLAS", "MKL"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests first where some run beside one another, so that none is begun when the others are over."""
    if _has_many_processes(config):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _has_many_processes(config: pytest.Config) -> bool:
    return bool(getattr(config.option, "numprocesses", None)) or hasattr(config, "workerinput")


class _Watch:
    """Tells the figures which test runs and what it took, and writes them after each."""

    def __init__(self, figures: Figures, path: Path | None) -> None:
        self._figures, self._path = figures, path

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._figures.current = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._figures.effort().seconds = report.duration
        if report.when == "teardown" and self._path is not None:
            self._figures.write(self._path)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (said := getattr(session.config, "workeroutput", None)) is not None:
        said["counts"] = dict(session.config.stash[FIGURES].counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Of xdist: a process has ended; one that was killed says nothing, and its tests have failed."""
    node.config.stash[FIGURES].counts.update(getattr(node, "workeroutput", {}).get("counts", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[FIGURES]
    if figures.counts:
        terminalreporter.section(f"cases tried, --seed {figures.seed}")
        for name, count in figures.counts.items():
            terminalreporter.write_line(f"{count:>12,}  {name}")
    if path := config.getoption("--figures"):
        figures.write(path)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """The size and the seed of tests that try many cases, and where they count them."""
    return pytestconfig.stash[FIGURES]


def make_text(n: int) -> str:
    """A text of three sentences whose words depend on ``n`` alone."""
    words = [WORDS[(n * step + step * step) % len(WORDS)] for step in range(1, 13)]
    return f"{' '.join(words[:4])} n{n}. {' '.join(words[4:8])}. {' '.join(words[8:])}."


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in memory where the system has one: thousands of commits need not wait for a disk."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="colbert-rag-tests-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def encoder() -> HashEncoder:
    """An encoder without a model: equal words have equal vectors."""
    return HashEncoder(dim=32)


@pytest.fixture
def documents() -> list[Document]:
    """Two hundred small documents with metadata."""
    return [Document(f"d{n:03}", make_text(n), {"n": n, "even": n % 2 == 0}) for n in range(200)]


@pytest.fixture
def new_index(tmp_path: Path, encoder: HashEncoder) -> Iterator[Callable[..., Index]]:
    """Makes empty indexes; options as in ``Index.create``."""
    made: list[Index] = []

    def make(name: str = "index", **options: object) -> Index:
        given = {} if "dim" in options else {"encoder": encoder}
        index = Index.create(tmp_path / name, **given, **options)
        made.append(index)
        return index

    yield make
    for index in made:
        index.close()
