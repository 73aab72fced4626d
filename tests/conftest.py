"""Fixtures that every test may use."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from figures import Figures
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
    group.addoption("--seed", type=int, help="of the random choices; the long sizes draw one and print it")
    group.addoption("--figures", type=Path, help="write what was counted into this file, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # so a shell starts what runs in the background; tests that send themselves interrupts would see none
        signal.signal(signal.SIGINT, signal.default_int_handler)
    is_torture, seed = config.getoption("--torture"), config.getoption("--seed")
    if seed is None:
        # what people change is tried against the same cases every day; new cases are looked for by the long sizes
        seed = random.randrange(2**32) if is_torture else EVERYDAY_SEED
        # the processes of xdist are given these options
        config.option.seed = seed
    config.stash[FIGURES] = Figures(is_torture, seed)
    if getattr(config.option, "numprocesses", None):
        # the processes that xdist starts, one for each core, would only wait for one another's threads
        for library in ("OMP", "OPENBLAS", "MKL"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")


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
        path.write_text(json.dumps({"seed": figures.seed, "counts": figures.counts}, indent=1))


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
