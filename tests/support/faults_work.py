"""What the crash tests do to an index, what it must hold after each step, and the check of that."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from word_list import WORDS

from colbert_rag import Document, Index, SearchConfig
from colbert_rag.errors import IndexNotFoundError
from colbert_rag.testing import HashEncoder
from colbert_rag.types import Float32Array

__all__ = [
    "ENCODER",
    "HISTORIES",
    "INSIDE",
    "Step",
    "assert_nothing_is_left",
    "check",
    "check_answers",
    "check_content",
    "check_texts",
    "document",
    "make_bases",
    "open_descriptors",
    "open_index",
    "perform",
    "state_after",
    "steps_of",
    "warm_up",
]

INSIDE = Path("made") / "index"
"""The index below the folder of a case: creation has to make a parent folder as well."""

Texts = Mapping[str, str]


class _FastEncoder(HashEncoder):
    """Remembers the vectors of its words: thousands of cases use the same few."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._known: dict[str, Float32Array] = {}

    def _vector(self, word: str) -> Float32Array:
        if word not in self._known:
            self._known[word] = super()._vector(word)
        return self._known[word]


ENCODER = _FastEncoder(dim=8)
_WORDS = WORDS[:12]
# what 8 bits for each dimension may cost a similarity; plain vectors are float16
_TOLERANCE = {"plain": 2e-3, "packed": 3e-2}
_OPTIONS = {"plain": {"exact_tokens": 10**6}, "packed": {"exact_tokens": 40, "probe_tokens": 1, "bits": 8}}


@dataclass(frozen=True)
class Step:
    """One call on an index.

    Attributes:
        name: What it is called in a failure.
        act: The call.
        after: The texts that the index holds when it has returned, by id.
    """

    name: str
    act: Callable[[Index], object]
    after: Texts


def document(n: int, version: int = 0) -> Document:
    """A document of nine words; the last is its own."""
    words = [_WORDS[(n * step + step * step + version) % len(_WORDS)] for step in range(1, 9)]
    return Document(f"d{n}", f"{' '.join(words)} own{n}v{version}.", {"n": n, "odd": bool(n % 2)}, heading=f"h{n}")


def _with(texts: Texts, documents: Sequence[Document]) -> dict[str, str]:
    return {**texts, **{d.id: d.text for d in documents}}


def _without(texts: Texts, ids: Sequence[str]) -> dict[str, str]:
    return {i: text for i, text in texts.items() if i not in ids}


def _history() -> list[Step]:
    """The steps after creation."""
    first, more = [document(n) for n in range(5)], [document(n) for n in range(5, 8)]
    changed = [document(1, 1), document(8), document(5, 1)]
    states = [_with({}, first)]
    states.append(_with(states[-1], more))
    states.append(_with(states[-1], changed))
    states.append(_without(states[-1], ["d0", "d6"]))
    acts: list[tuple[str, Callable[[Index], object]]] = [
        ("add", lambda index: index.add(first)),
        ("add more", lambda index: index.add(more)),
        ("upsert", lambda index: index.upsert(changed)),
        ("delete", lambda index: index.delete(["d0", "d6"])),
        ("compact", lambda index: index.compact()),
    ]
    return [Step(name, act, after) for (name, act), after in zip(acts, [*states, states[-1]], strict=True)]


HISTORIES = {kind: _history() for kind in _OPTIONS}
"""The steps of an index that stays exact, and of one that trains a codec at its first step and has inverted lists."""


def steps_of(kind: str) -> list[str]:
    """Names of all steps; number 0 creates the index."""
    return ["create", *(step.name for step in HISTORIES[kind])]


def state_after(kind: str, n_steps: int) -> Texts | None:
    """The texts by id after the first steps; None before there is an index."""
    if n_steps == 0:
        return None
    return {} if n_steps == 1 else HISTORIES[kind][n_steps - 2].after


def perform(folder: Path, kind: str, number: int) -> Index:
    """Do one step in the index below a folder; it is left open."""
    if number == 0:
        return Index.create(folder / INSIDE, ENCODER, lock_timeout_s=1.0, **_OPTIONS[kind])
    index = open_index(folder)
    try:
        HISTORIES[kind][number - 1].act(index)
    except BaseException:
        index.close()
        raise
    return index


def open_index(folder: Path) -> Index:
    """Open the index below a folder."""
    return Index.open(folder / INSIDE, ENCODER, lock_timeout_s=1.0)


def open_descriptors() -> list[str]:
    """What the descriptors of this process lead to."""
    found = list(Path("/proc/self/fd").iterdir())
    # what listed them is closed again
    return sorted(str(path.readlink()) for path in found if path.is_symlink())


def make_bases(folder: Path, kind: str) -> None:
    """Write ``folder/<number>``: what a step finds. Every other one as a killed process leaves it, with its log."""
    (folder / "0").mkdir()
    for number in range(len(HISTORIES[kind])):
        shutil.copytree(folder / str(number), folder / str(number + 1))
        index = perform(folder / str(number + 1), kind, number)
        if number % 2:
            shutil.copytree(folder / str(number + 1), folder / "open")
        index.close()
        if number % 2:
            shutil.rmtree(folder / str(number + 1))
            (folder / "open").rename(folder / str(number + 1))


def check(folder: Path, kind: str, allowed: Sequence[int], *, goes_on: bool = True) -> int:
    """Find which step's state the index below a folder is in, and that it is that state in every respect.

    Args:
        folder: Of the case.
        kind: Of the history.
        allowed: Numbers of steps done.
        goes_on: Also write to the index, and see that nothing of a broken write is left.

    Returns:
        The number of steps done.

    Raises:
        AssertionError: it is in none of the allowed states, or in part of one.
    """
    return allowed[check_texts(folder, kind, [state_after(kind, number) for number in allowed], goes_on=goes_on)]


def check_texts(folder: Path, kind: str, allowed: Sequence[Texts | None], *, goes_on: bool = False) -> int:
    """As :func:`check`, with the allowed texts by id; None is no index. Returns the place in ``allowed``."""
    try:
        index = open_index(folder)
    except IndexNotFoundError:
        assert None in allowed, "there is no index"
        if goes_on:
            perform(folder, kind, 0).close()
            check(folder, kind, [1])
        return allowed.index(None)
    with index:
        found = {d.id: d.text for d in index.find()}
        assert found in allowed, f"holds {found}, allowed are {allowed}"
        check_content(index, found, kind)
        if goes_on:
            extra = document(99)
            index.add([extra])
            assert index.get("d99") == extra
            assert len(index) == len(found) + 1
            assert_nothing_is_left(index)
    return allowed.index(found)


def check_content(index: Index, texts: Texts, kind: str) -> None:
    """Compare documents, searches of every kind and every byte with what the index should hold."""
    report = index.verify()
    assert report.ok, report.problems
    assert report.documents == len(texts)
    check_answers(index, texts, kind)


def check_answers(index: Index, texts: Texts, kind: str) -> None:
    """Compare documents and searches of every kind with brute force over what the index should hold."""
    assert sorted(index.ids()) == sorted(texts)
    assert {d.id: d.text for d in index.get_many(sorted(texts))} == dict(texts)
    queries = ["amber delta own1v0", "kelp own5v1", "lagoon"]
    answers = index.search_many(queries, k=max(1, len(texts)), config=SearchConfig(exact=True, passages=0))
    for query, hits in zip(queries, answers, strict=True):
        expected = _brute_force(query, texts)
        assert {hit.id: hit.text for hit in hits} == dict(texts)
        for hit in hits:
            error = abs(hit.score - expected[hit.id])
            assert error < _TOLERANCE[kind] * len(query.split()), f"{hit.id}: {hit.score}, MaxSim {expected[hit.id]}"
    if texts:
        own_words = [text.split()[-1] for text in texts.values()]
        by_word = index.search_many(own_words, mode="bm25", config=SearchConfig(passages=0))
        assert [[hit.id for hit in hits] for hits in by_word] == [[name] for name in texts]


def _brute_force(query: str, texts: Texts) -> dict[str, float]:
    (q,) = ENCODER.encode_queries([query])
    # what is encoded is the heading as well
    full = [f"h{name[1:]}\n\n{text}" for name, text in texts.items()]
    vectors = [np.asarray(d.vectors, np.float32) for d in ENCODER.encode_documents(full)]
    return {name: float((q @ v.T).max(axis=1).sum()) for name, v in zip(texts, vectors, strict=True)}


def assert_nothing_is_left(index: Index) -> None:
    """Every byte is what was committed, and every name in the folder belongs to the newest commit."""
    report = index.verify()
    assert report.ok, report.problems
    # frames that follow the last commit in the log are no files, and SQLite writes over them
    folders = [line for line in report.leftovers if not line.startswith("catalog.sqlite-wal")]
    assert not folders, folders
    names = {path.name for path in index.path.iterdir() if not path.name.startswith(("segment-", "codec-"))}
    strange = names - {"catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"}
    assert not strange, f"left in the folder: {sorted(strange)}"


def warm_up() -> None:
    """Import and compile everything that a step uses, without a thread that lives on."""
    for kind, steps in HISTORIES.items():
        with tempfile.TemporaryDirectory() as folder:
            make_bases(Path(folder), kind)
            for number in range(1, len(steps) + 1):
                check(Path(folder) / str(number), kind, [number])
