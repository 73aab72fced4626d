"""The projection of the built-in model, from pairs: axes that hold its token vectors and tell answers from near misses.

python -m colbert_rag.training.projection PAIRS_FOLDER TESTS_FOLDER --output FILE
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbert_rag.encoder.adapting import as_late_interaction, principal_axes
from colbert_rag.encoder.batching import plan_batches
from colbert_rag.encoder.builtin import FIRST, REVISIONS, load_backbone
from colbert_rag.encoder.token_model import Encoded, Task, TokenModel
from colbert_rag.kernels import maxsim
from colbert_rag.training.builtin import SOURCES, pairs_of, pairs_of_source, without_leaks
from colbert_rag.training.pairs import Pair
from colbert_rag.training.passages import group_texts
from colbert_rag.types import Float16Array, Float32Array

__all__ = ["Question", "discriminating_axes", "encode_source", "main", "match_moment", "second_moment"]

# of a source, so that none outweighs the others' in time or in noise
_MOST_QUESTIONS = 1_500
_NEAR_MISSES = 16
_DOCUMENT_LENGTH = 256
_BATCH_TOKENS = 4_096


@dataclass(frozen=True, slots=True)
class Question:
    """A query and what answers it.

    Attributes:
        vectors: ``(Q, D) float32``, of unit length.
        positive: Number of the document that it is paired with.
        answers: Numbers of all documents that are known to answer it.
    """

    vectors: Float32Array
    positive: int
    answers: Collection[int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the pairs, leave out what the tests know, and write the projection."""
    from safetensors.numpy import load_file, save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="folder of the files in SOURCES")
    parser.add_argument("tests", type=Path, help="folder of the collections in TESTS")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weight", type=float, default=0.3, help="of the matches, beside the vectors themselves")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    kept = set(without_leaks(list(pairs_of(given.pairs, given.seed)), given.tests))
    first = load_file(REVISIONS[FIRST].path)["weight"]
    # "auto" is measured: two runs could differ in it, and so in the weights that they write
    model = TokenModel(as_late_interaction(load_backbone(), device="cpu"), precision="bfloat16")
    vectors, matches = np.zeros((model.dim, model.dim)), []
    for source in SOURCES:
        own = [pair for pair in dict.fromkeys(pairs_of_source(given.pairs, source, given.seed)) if pair in kept]
        questions, documents = encode_source(model, own, given.seed)
        vectors += second_moment(documents)
        matches.append(match_moment(questions, documents, first))
        print(f"{source.name}: {len(questions):,} questions, {len(documents):,} documents", file=sys.stderr)
    save_file({"weight": discriminating_axes(vectors, matches, given.weight, len(first))}, given.output)


def second_moment(documents: Sequence[Float16Array]) -> NDArray[np.float64]:
    """The sum of ``x x'`` over all token vectors ``x``, ``(D, D)``."""
    return sum((_moment(document) for document in documents), np.zeros((documents[0].shape[1],) * 2))


def match_moment(
    questions: Sequence[Question], documents: Sequence[Float16Array], projection: Float32Array
) -> NDArray[np.float64]:
    """How a softmax over an answer and its near misses would move the metric of the token vectors, ``(D, D)``.

    MaxSim sums ``q' G d`` over a query's tokens ``q`` and the tokens ``d`` that they match, where ``G`` is ``P' P`` for
    a projection ``P``. This is the direction in which ``G`` lowers the cross entropy most, lengths of projected
    vectors aside: the mean over the questions of ``q (d+ - d-)'``, made symmetric, where ``d+`` is the match in the
    positive and ``d-`` the matches in the near misses, each weighted by its softmax.

    Args:
        questions: At least one.
        documents: Token vectors ``(T, D)`` of unit length; near misses are those that rank first and are no answers.
        projection: ``(dim, D)``, which ranks and matches.
    """
    projected = [_unit(document.astype(np.float32) @ projection.T).astype(np.float16) for document in documents]
    rows = np.concatenate(projected)
    offsets = np.cumsum([0, *map(len, projected)], dtype=np.int64)
    moment = np.zeros((projection.shape[1],) * 2)
    for question in questions:
        query = _unit(question.vectors @ projection.T)
        scores = maxsim(query, rows, offsets)
        near = np.argsort(-scores, kind="stable")[: _NEAR_MISSES + len(question.answers)].tolist()
        chosen = [question.positive, *[n for n in near if n not in question.answers][:_NEAR_MISSES]]
        pull = -_softmax(scores[chosen])
        pull[0] += 1
        for number, weight in zip(chosen, pull, strict=True):
            matched = (query @ projected[number].astype(np.float32).T).argmax(axis=1)
            moment += weight * (question.vectors.T @ documents[number][matched].astype(np.float32))
    return (moment + moment.T) / (2 * len(questions))


def discriminating_axes(
    vectors: NDArray[np.float64], matches: Sequence[NDArray[np.float64]], weight: float, dim: int
) -> Float32Array:
    """The leading eigenvectors ``(dim, D)`` of the token vectors' second moments with the matches' added.

    Args:
        vectors: Of ``second_moment``.
        matches: Of ``match_moment``, one for each source; all count alike.
        weight: Of the matches; 0 leaves principal components.
        dim: Rows, by falling eigenvalue.
    """
    together = np.sum([moment / np.linalg.norm(moment) for moment in matches], axis=0)
    return principal_axes(vectors / np.trace(vectors) + weight * together / np.linalg.norm(together, "nuc"), dim)


def encode_source(model: TokenModel, pairs: Sequence[Pair], seed: int) -> tuple[list[Question], list[Float16Array]]:
    """Questions drawn from the pairs of one source, and all its documents."""
    passage_of = group_texts(pairs)
    texts = list(dict.fromkeys(pair.positive for pair in pairs))
    number_of = {text: number for number, text in enumerate(texts)}
    of_passage: dict[int, set[int]] = {}
    for text, number in number_of.items():
        of_passage.setdefault(passage_of[text], set()).add(number)
    answers: dict[str, set[int]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).update(of_passage[passage_of[pair.positive]])
    drawn = random.Random(seed).sample(pairs, min(_MOST_QUESTIONS, len(pairs)))
    queries = _vectors(model, [pair.query for pair in drawn], "query")
    questions = [
        Question(vectors, number_of[pair.positive], answers[pair.query])
        for pair, vectors in zip(drawn, queries, strict=True)
    ]
    return questions, list(_vectors(model, texts, "document"))


def _vectors(model: TokenModel, texts: Sequence[str], task: Task) -> Iterator[NDArray[np.floating]]:
    """Token vectors of texts that are cut, in order; of documents without the tokens that get none."""
    ids = [tokens.ids for tokens in model.tokenise(texts, task)]
    ids = [n if len(n) <= _DOCUMENT_LENGTH else np.append(n[: _DOCUMENT_LENGTH - 1], n[-1:]) for n in ids]
    encoded: dict[int, Encoded] = {}
    for batch in plan_batches([len(sequence) for sequence in ids], _BATCH_TOKENS):
        encoded.update(zip(batch, model.encode_ids([ids[n] for n in batch], task), strict=True))
    for number in range(len(texts)):
        vectors, is_kept = encoded[number]
        yield vectors[is_kept] if task == "document" and is_kept.any() else vectors


def _moment(vectors: Float16Array) -> NDArray[np.float64]:
    wide = vectors.astype(np.float32)
    return (wide.T @ wide).astype(np.float64)


def _unit(vectors: NDArray[np.float32]) -> Float32Array:
    unit: Float32Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _softmax(scores: Float32Array) -> NDArray[np.float64]:
    powers = np.exp(scores.astype(np.float64) - scores.max())
    weights: NDArray[np.float64] = powers / powers.sum()
    return weights


if __name__ == "__main__":
    main()
