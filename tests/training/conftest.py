"""A tiny model with random weights, and pairs that it can learn from."""

from __future__ import annotations

import gc
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from colbert_rag.training import builtin
from colbert_rag.training.pairs import Pair
from colbert_rag.training.settings import TrainingSettings

WORDS = ["river", "meadow", "harbor", "valley", "island", "forest", "desert", "glacier", "canyon", "lagoon"]
SYLLABLES = ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu"]


@pytest.fixture(scope="session", autouse=True)
def known_objects_out_of_the_collector() -> Iterator[None]:
    """The trainer collects garbage at each end: a second for all that the libraries hold, twice a test."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain BERT."""
    folder = tmp_path_factory.mktemp("plain")
    tokenizer = tiny_models.tiny_tokenizer()
    # small weights: a random model of large ones learns nothing in a few steps
    tiny_models.tiny_bert(tokenizer, spread=0.1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, plain_folder: Path) -> Path:
    """A late-interaction model in sentence-transformers' own format."""
    folder = tmp_path_factory.mktemp("native")
    tiny_models.tiny_encoder(plain_folder, tiny_models.tiny_projection(), None).save(str(folder))
    return folder


@pytest.fixture(scope="session")
def make_settings(tiny_folder: Path) -> Callable[..., TrainingSettings]:
    """Settings of a training of a few steps; options as in ``TrainingSettings``."""
    small = {"batch_size": 8, "max_steps": 6, "eval_every": 100, "rank": 4, "learning_rate": 5e-3, "device": "cpu"}
    return lambda **options: TrainingSettings(**{"base": str(tiny_folder), **small, **options})


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    """Forty queries, each with a passage that repeats its word among others."""
    words = [a + b for a in SYLLABLES for b in SYLLABLES]
    return [
        Pair(words[n], f"{words[n]} the cat {words[(n * 7 + 3) % 100]} {words[(n * 3 + 50) % 100]}.", f"p{n}")
        for n in range(40)
    ]


@pytest.fixture
def make_model(plain_folder: Path) -> Callable[[], object]:
    """Makes the tiny late-interaction model anew."""
    return partial(tiny_models.tiny_encoder, plain_folder, tiny_models.tiny_projection(), None)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def pairs_folder(tmp_path: Path) -> Path:
    """Every source with ten pairs, about documents d0 to d9 of their own."""
    for source in builtin.SOURCES:
        named = {"doc_ids": ["d{n}", "e{n}"]} if source.name == "fairytaleqa_train" else {"doc_id": "d{n}"}
        rows = [
            {"query": f"{source.name} asks {n}", "positive": f"The {word} of {source.name} lies far in the north."}
            | json.loads(json.dumps(named).replace("{n}", str(n)))
            for n, word in enumerate(WORDS)
        ]
        write_lines(tmp_path / "train" / f"{source.name}.jsonl.gz", rows)
    return tmp_path / "train"


@pytest.fixture
def write_tests(tmp_path: Path) -> Callable[..., Path]:
    """Every test with a query of its own, answered by a document that no pair knows."""

    def write(
        query: str = "what is asked nowhere else",
        text: str = "a passage that stands nowhere else at all",
        document: str = "z",
    ) -> Path:
        for name in builtin.TESTS:
            place = tmp_path / "tests" / name
            write_lines(place / "corpus.jsonl.gz", [{"_id": document, "text": text}])
            write_lines(place / "queries.jsonl.gz", [{"_id": "q", "text": query}])
            (place / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{document}\t1\n")
        return tmp_path / "tests"

    return write
