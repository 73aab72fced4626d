"""Small closed indexes of every kind of data that can stand in a folder, built once and copied for each case."""

from __future__ import annotations

import shutil
from pathlib import Path

from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder

__all__ = ["DIM", "KINDS", "build", "copied", "document", "encoder", "texts"]

DIM = 16
_OPTIONS = {
    "exact": {"exact_tokens": 10**9},
    "compressed": {"exact_tokens": 0, "bits": 2},
    "lists": {"exact_tokens": 0, "probe_tokens": 1},
    "log": {"exact_tokens": 0},
}
KINDS = tuple(_OPTIONS)
"""Plain vectors; a codec; a codec and inverted lists; and a folder whose last writer was killed, with its log."""


def encoder() -> HashEncoder:
    """The encoder of all of them."""
    return HashEncoder(DIM)


def texts(count: int) -> list[str]:
    """Texts of which some words are common, some are long and one is accented."""
    return [f"word{n} alpha{n % 7} and something longer{n} to be found, naïve" for n in range(count)]


def build(kind: str, path: Path) -> Path:
    """Make an index of a kind: two segments, tombstones, metadata, headings, sources, extras, escapes of spans."""
    building = path if kind != "log" else path.with_name(path.name + ".open")
    with Index.create(building, encoder(), **_OPTIONS[kind]) as index:
        documents = [document(n) for n in range(12)]
        index.add(documents[:8])
        index.add(documents[8:])
        index.delete(["d3", "d9"])
        if kind == "log":
            # what a killed writer leaves: its log, and an index of that log which is rebuilt anyway
            shutil.copytree(building, path, ignore=shutil.ignore_patterns("*-shm"))
    return path


def document(n: int, metadata: dict[str, object] | None = None) -> Document:
    """A document that differs from all others in every column; some are in the index already."""
    text = texts(n + 1)[n]
    chosen = metadata or {"n": n, "even": n % 2 == 0, "tags": ["red", f"t{n}"], "part": {"share": n / 8}}
    text = f"{' ' * 9}{text} {'x' * 40}" if n % 3 == 0 else text
    ref_id = "source" if n % 4 else None
    return Document(f"d{n}", text, chosen, heading=f"Heading {n}" * (n % 2), ref_id=ref_id, extra=n or None)


def copied(original: Path, target: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(original, target)
