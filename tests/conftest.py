"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "glade",
    "harbor",
    "island",
    "juniper",
    "kelp",
    "lagoon",
    "meadow",
    "nectar",
    "orchid",
    "prairie",
    "quartz",
    "river",
    "spruce",
    "thistle",
    "umber",
    "valley",
    "willow",
    "yarrow",
    "zephyr",
    "basalt",
    "copper",
    "dune",
    "estuary",
    "fen",
]


def make_text(n: int) -> str:
    """A text of three sentences whose words depend on ``n`` alone."""
    words = [WORDS[(n * step + step * step) % len(WORDS)] for step in range(1, 13)]
    return f"{' '.join(words[:4])} n{n}. {' '.join(words[4:8])}. {' '.join(words[8:])}."


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
