"""A recipe to train the built-in model, from a folder of pairs to a delta. What ships is made by ``projection.py``.

python -m colbert_rag.training.builtin PAIRS_FOLDER TESTS_FOLDER --output DIR
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_rag.encoder.builtin import BUILTIN
from colbert_rag.readers import read_judged_corpus
from colbert_rag.training.leaks import find_leaks, relevant_passages
from colbert_rag.training.pairs import Pair
from colbert_rag.training.rounds import train
from colbert_rag.training.settings import TrainingSettings

__all__ = ["LESSONS", "SOURCES", "TESTS", "Source", "main", "pairs_of", "pairs_of_source", "without_leaks"]

# a source names what its pairs answer from by one of these
_PASSAGE_FIELDS = ("passage_id", "doc_id", "doc_ids")
# of the parts of a passage's id: its source, and its documents
_BETWEEN = "\t"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of pairs.

    Attributes:
        name: Of the file, before ``.jsonl.gz``.
        most: Pairs that are drawn from it, at most.
        tests: Collections whose documents it shares; their queries are others.
        times: How often each is learnt from.
    """

    name: str
    most: int
    tests: tuple[str, ...] = ()
    times: int = 1


SOURCES = (
    Source("squad_sentences_train", 6_000),
    Source("squad_train44", 2_500),
    Source("squadshifts_amazon", 1_500),
    Source("squadshifts_reddit", 1_500),
    Source("fairytaleqa_train", 3_000, ("fairytaleqa-sections",)),
    Source("medquad_templates", 1_500),
    Source("qmsum_train", 600, ("qmsum",)),
    Source("scifact_train", 919, ("scifact",), times=2),
    Source("mbpp_train", 374, ("mbpp",), times=3),
)
# what the layers learn from, in batches of one source
LESSONS = (
    Source("squad_sentences_train", 8_000),
    Source("squad_train44", 6_000),
    Source("squadshifts_amazon", 3_000),
    Source("squadshifts_reddit", 3_000),
    Source("fairytaleqa_train", 7_000, ("fairytaleqa-sections",)),
    Source("medquad_templates", 3_000),
    Source("qmsum_train", 1_095, ("qmsum",), times=2),
    Source("scifact_train", 919, ("scifact",), times=4),
    Source("mbpp_train", 374, ("mbpp",), times=6),
)
TESTS = ("scifact", "squad-sentences", "fairytaleqa-sections", "xquad/en", "mbpp", "qmsum")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the pairs, leave out what the tests know, train, and write the model with its delta."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="folder of the files in SOURCES")
    parser.add_argument("tests", type=Path, help="folder of the collections in TESTS")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1_200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(arguments)
    pairs = list(pairs_of(given.pairs, given.seed, LESSONS))
    kept = without_leaks(pairs, given.tests)
    print(f"{len(pairs):,} pairs, {len(kept):,} without what the tests know", file=sys.stderr)
    train(kept, given.output, _settings(given.steps, given.seed), resume=given.resume, progress=_say)


def _settings(steps: int, seed: int) -> TrainingSettings:
    """How it is trained: all that the card names."""
    return TrainingSettings(
        base=BUILTIN,
        revision="3",
        matryoshka_dims=(64,),
        loss="in-batch",
        temperature=0.25,
        n_negatives=2,
        mining_depth=20,
        mining_margin=None,
        rank=32,
        adapted_layers=4,
        dropout=False,
        bf16=True,
        batch_size=32,
        learning_rate=5e-4,
        projection_rate=1e-4,
        weighting_rate=5e-3,
        mean_decay=0.998,
        moved_by=0.75,
        query_length=64,
        document_length=160,
        max_steps=steps,
        n_held_out=400,
        n_distractors=1_000,
        eval_every=300,
        seed=seed,
        device="cpu",
    )


def pairs_of(folder: Path, seed: int, sources: Sequence[Source] | None = None) -> Iterator[Pair]:
    """The pairs of sources, ``SOURCES`` where none are given; ids of passages differ from source to source."""
    for source in SOURCES if sources is None else sources:
        yield from pairs_of_source(folder, source, seed)


def pairs_of_source(folder: Path, source: Source, seed: int) -> Iterator[Pair]:
    """The pairs that are drawn from one source, each as often as it is learnt from."""
    with gzip.open(folder / f"{source.name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    for record in random.Random(seed).sample(records, min(source.most, len(records))):
        yield from [_pair(source, record)] * source.times


def _pair(source: Source, record: Mapping[str, Any]) -> Pair:
    return Pair(record["query"], record["positive"], _passage_id(source, record), source.name)


def _passage_id(source: Source, record: Mapping[str, Any]) -> str | None:
    value = next((record[name] for name in _PASSAGE_FIELDS if name in record), None)
    if value is None:
        return None
    return f"{source.name}{_BETWEEN}{_BETWEEN.join(value) if isinstance(value, list) else value}"


def without_leaks(pairs: Sequence[Pair], tests: Path) -> list[Pair]:
    """The pairs without those whose query is of a test, or whose positive only a test knows."""
    known = {source: _known_documents(pairs, source) for source in SOURCES}
    leaking: set[int] = set()
    for name in TESTS:
        test = read_judged_corpus(tests / name)
        shared = {key for source, keys in known.items() if name in source.tests for key in keys}
        leaking |= {leak.pair for leak in find_leaks(pairs, test.queries, relevant_passages(test, shared))}
    return [pair for position, pair in enumerate(pairs) if position not in leaking]


def _known_documents(pairs: Sequence[Pair], source: Source) -> set[str]:
    named = (pair.passage_id.split(_BETWEEN) for pair in pairs if pair.passage_id is not None)
    return {document for name, *documents in named if name == source.name for document in documents}


def _say(stage: str, done: int, total: int | None) -> None:
    print(f"\r{stage} {done:,} of {total or 0:,} ", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
