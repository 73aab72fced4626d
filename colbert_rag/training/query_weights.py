"""What makes a token of a query count in the built-in model, from pairs: what tells answers from near misses.

python -m colbert_rag.training.query_weights PAIRS_FOLDER TESTS_FOLDER --output FILE
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from colbert_rag.encoder.builtin import UNWEIGHTED, load_builtin
from colbert_rag.encoder.delta import load_delta
from colbert_rag.encoder.token_model import TokenModel
from colbert_rag.kernels import maxsim, token_similarities
from colbert_rag.training.builtin import SOURCES, pairs_of, pairs_of_source, without_leaks
from colbert_rag.training.projection import Question, encode_source
from colbert_rag.types import Float16Array, Float32Array

__all__ = ["Matches", "learn_direction", "main", "matches_of"]

# documents that a question's answer is told from: those that rank first, and any
_NEAR_MISSES, _OTHERS = 64, 64
_STEPS = 40
# the softmax begins about as sharp as it becomes, for queries of so many tokens
_SHARPNESS, _QUERY_LENGTH = 4.5, 14


@dataclass(frozen=True, slots=True)
class Matches:
    """What the tokens of a source's questions found in their answers and in what does not answer them.

    Attributes:
        units: ``(T, D) float32``, the vectors of all questions' tokens, of unit length.
        tops: ``(T, 1 + n) float32``, the best similarity in the answer, and in each of n other documents.
        question: ``(T,) int64``, rising from 0.
    """

    units: Float32Array
    tops: Float32Array
    question: NDArray[np.int64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the pairs, leave out what the tests know, and write the direction."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="folder of the files in SOURCES")
    parser.add_argument("tests", type=Path, help="folder of the collections in TESTS")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--delta", type=Path, help="of the model that is weighted; without it, revision 2")
    parser.add_argument("--penalty", type=float, default=0.000625, help="of the direction's squared length")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    kept = set(without_leaks(list(pairs_of(given.pairs, given.seed)), given.tests))
    loaded = load_builtin("cpu", revision=UNWEIGHTED) if given.delta is None else load_delta(given.delta, "cpu")
    # "auto" is measured: two runs could differ in it, and so in the weights that they write
    model = TokenModel(loaded, precision="bfloat16")
    sources = []
    for source in SOURCES:
        own = [pair for pair in dict.fromkeys(pairs_of_source(given.pairs, source, given.seed)) if pair in kept]
        questions, documents = encode_source(model, own, given.seed)
        sources.append(matches_of(questions, documents, given.seed))
        print(f"{source.name}: {len(questions):,} questions, {len(documents):,} documents", file=sys.stderr)
    save_file({"direction": learn_direction(sources, given.penalty)}, given.output)


def matches_of(questions: Sequence[Question], documents: Sequence[Float16Array], seed: int) -> Matches:
    """Match every question with its answer, with what ranks first among the rest, and with some of all the rest.

    Args:
        questions: At least one. Of several answers, the one that ranks first counts.
        documents: Token vectors ``(T, D)`` of unit length, of more documents than answer any one question.
        seed: Draws from the rest.
    """
    rng = np.random.default_rng(seed)
    rows, offsets = np.concatenate(documents), np.cumsum([0, *map(len, documents)], dtype=np.int64)
    units = [question.vectors for question in questions]
    tops = []
    for question, query in zip(questions, units, strict=True):
        ranking = np.argsort(-maxsim(query, rows, offsets), kind="stable")
        is_answer = np.isin(ranking, list(question.answers))
        rest = ranking[~is_answer]
        # each question has equally many: of few documents, some are drawn more than once
        near = rest[:_NEAR_MISSES] if len(rest) >= _NEAR_MISSES else rng.choice(rest, _NEAR_MISSES)
        chosen = [ranking[is_answer][0], *near, *rng.choice(rest, _OTHERS)]
        tops.append(np.stack([token_similarities(query, documents[n]).max(axis=0) for n in chosen], axis=1))
    return Matches(
        np.concatenate(units), np.concatenate(tops), np.repeat(np.arange(len(units)), [len(query) for query in units])
    )


def learn_direction(sources: Sequence[Matches], penalty: float) -> Float32Array:
    """The direction ``(D,)`` whose ``token_weights`` tell answers from the rest best.

    That is the least cross entropy of a softmax over the answer and the rest, the mean over the sources.

    Args:
        sources: All count alike, as do the questions of each.
        penalty: Of the direction's squared length, beside the cross entropy.
    """
    batches = [_Batch.of(source) for source in sources]
    direction = torch.zeros(sources[0].units.shape[1], requires_grad=True)
    # how sharp the softmax is in a source, and how much less for long queries: not part of the weights
    sharpness, by_length = torch.zeros(len(sources), requires_grad=True), torch.zeros(1, requires_grad=True)
    parameters = [direction, sharpness, by_length]
    optimiser = torch.optim.LBFGS(parameters, max_iter=_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        total = penalty * direction.square().sum()
        for batch, sharp in zip(batches, sharpness, strict=True):
            total = total + batch.cross_entropy(direction, sharp, by_length) / len(batches)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    learned: Float32Array = direction.detach().numpy()
    return learned


@dataclass(frozen=True, slots=True)
class _Batch:
    """The matches of a source as tensors, and the number of tokens of each question."""

    units: torch.Tensor
    tops: torch.Tensor
    question: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of(cls, matches: Matches) -> _Batch:
        question = torch.from_numpy(matches.question)
        return cls(torch.from_numpy(matches.units), torch.from_numpy(matches.tops), question, torch.bincount(question))

    def cross_entropy(self, direction: torch.Tensor, sharpness: torch.Tensor, by_length: torch.Tensor) -> torch.Tensor:
        weights = torch.exp(self.units @ direction)
        total = torch.zeros(len(self.lengths)).index_add(0, self.question, weights)
        mean_one = weights * (self.lengths / total)[self.question]
        scores = torch.zeros(len(self.lengths), self.tops.shape[1])
        scores = scores.index_add(0, self.question, mean_one[:, None] * self.tops)
        sharp = _SHARPNESS * torch.exp(sharpness + by_length * torch.log(self.lengths / _QUERY_LENGTH))
        scores = scores * sharp[:, None]
        return (torch.logsumexp(scores, dim=1) - scores[:, 0]).mean()


if __name__ == "__main__":
    main()
