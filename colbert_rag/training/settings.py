"""What a user may set for a training, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, TypeAlias, get_args

from colbert_rag.encoder.builtin import BUILTIN
from colbert_rag.encoder.loading import is_delta
from colbert_rag.errors import InvalidTrainingError

__all__ = ["LOSSES", "LossName", "TrainingSettings"]

LossName: TypeAlias = Literal["in-batch", "cached", "pairwise", "distil", "in-batch-distil", "margin-mse"]
LOSSES: tuple[LossName, ...] = get_args(LossName)

_WITH_NEGATIVES = ("pairwise", "distil", "margin-mse")
_WITH_TEACHER = ("distil", "in-batch-distil", "margin-mse")
# the name of the teacher that encodes what the student does
_WIDE = "wide"
_LEAST = {
    **{"batch_size": 1, "mini_batch_size": 1, "dim": 1, "rounds": 1, "eval_every": 1, "seed": 0},
    **{"n_held_out": 0, "n_distractors": 0, "topics": 0, "query_length": 2, "document_length": 2, "mining_depth": 1},
}
_NEGATIVES = 7
_LORA_RATE, _FULL_RATE = 5e-4, 2e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        base: ``"builtin"``, a hub name or a folder: a late-interaction model, or a plain text encoder, which gets a
            projection fitted to the positives first, as ``Encoder.adapt`` does.
        revision: Branch, tag or commit of a base on the hub, or one of the built-in model's revisions; None for the
            newest.
        dim: Dimensions of that projection; a late-interaction model keeps its own.
        loss: "in-batch": softmax over all documents of a batch. "cached": the same with gradient caching, for batches
            larger than memory. "pairwise": softmax over the positive and one negative (ColBERT, arXiv 2004.12832,
            section 3.3). "distil": KL divergence to a teacher's scores, with the softmax of "in-batch" beside it
            (ColBERTv2, arXiv 2112.01488). "in-batch-distil": the same over all documents of the batch, for the teacher
            "wide" alone. "margin-mse": squared error of the teacher's margins (arXiv 2010.02666).
            None: "distil" with a teacher, else "in-batch".
        in_batch_weight: Of the in-batch softmax beside the KL divergence of the two that distil; 0 leaves it out.
        temperature: Scores are divided by it, the teacher's too.
        teacher: Name of a cross-encoder that scores the examples of each round, or "wide" for MaxSim of a plain base's
            own token vectors, before any projection; None for no teacher.
        whole_text_weight: Of the cosine of whole texts, the means of their token vectors, that the teacher of
            "in-batch-distil" adds to its MaxSim; 0 leaves it out.
        rounds: How often hard negatives are mined with the model as it is, scored and trained on.
        n_negatives: Mined hard negatives for each query, ``mining_depth`` at most; 0: the other documents of the batch
            alone. None: 7 with a loss that needs them or more than one round, else 0.
        mining_depth: Documents of a ranking that negatives are drawn from.
        mining_margin: As ``margin`` of ``mine``: the share of the positive's score that a negative stays below it at
            least; None for negatives of any score.
        batch_size: Examples in a step.
        mini_batch_size: Texts that the loss "cached" encodes at a time.
        by_length: Whether documents of like length share batches, which saves time; in batches of all lengths a model
            learns to tell a short passage that answers from a long one that does not.
        topics: Into how many topics the examples of each source are parted, each batch being of one; 0 parts nothing.
        learning_rate: The highest; None for 5e-4 with LoRA and 2e-5 without.
        projection_rate: The highest learning rate of projections; None for that of the rest.
        weighting_rate: The highest learning rate of what weighs queries; None for that of the rest.
        mean_decay: How much of a running mean of the weights each step keeps, 0 to below 1: what is evaluated and
            written is the mean over about the last ``1 / (1 - mean_decay)`` steps (of fewer at the beginning), which
            depends less on the last few batches (Polyak averaging). 0: the weights of the last step.
        epochs: Passes over the pairs in each round.
        max_steps: Steps of each round; None for what ``epochs`` says.
        rank: Of the LoRA matrices; None to train all weights.
        adapted_layers: The last so many layers of the backbone take LoRA matrices; None for all. Fewer layers take less
            time, and leave the model nearer to its base. 0: the projection alone is trained, and nothing
            is dropped.
        dropout: Whether the model drops values at random while it is trained, as its base was; without it a step takes
            less time.
        moved_by: The share of the way from the base's weights to those that were trained which the written model goes,
            0 to 1. Below 1 it keeps more of what its base knew of other texts (WiSE-FT, arXiv 2109.01903).
        weigh_queries: Whether it is also learnt how much each token of a query counts, by a direction that its vector
            may point along. None: where the base has one, as the built-in model does. Loaded by sentence-transformers
            alone, all tokens of a query count alike.
        matryoshka_dims: Leading dimensions that are trained beside all of them, for ``Encoder(dim=...)``.
        query_length: Tokens of a query in training; the trained model keeps the base's lengths.
        document_length: Tokens of a document in training.
        bf16: Whether to compute in bfloat16.
        seed: Of all random choices: equal seeds give equal weights on one CPU.
        n_held_out: Pairs that are held out to evaluate on, at most; never more than a tenth of them.
        n_distractors: Positives of the training that the held-out queries are searched among, at most.
        eval_every: Steps between evaluations, and between checkpoints.
        device: Where it runs; None for the best there is.

    Raises:
        InvalidTrainingError: a value is not possible, or two of them do not go together.
    """

    base: str = BUILTIN
    revision: str | None = None
    dim: int = 128
    loss: LossName | None = None
    in_batch_weight: float = 1.0
    temperature: float = 1.0
    teacher: str | None = None
    whole_text_weight: float = 0.0
    rounds: int = 1
    n_negatives: int | None = None
    mining_depth: int = 100
    mining_margin: float | None = 0.05
    batch_size: int = 32
    mini_batch_size: int = 8
    by_length: bool = True
    topics: int = 0
    learning_rate: float | None = None
    projection_rate: float | None = None
    weighting_rate: float | None = None
    mean_decay: float = 0.0
    epochs: float = 1.0
    max_steps: int | None = None
    rank: int | None = 16
    adapted_layers: int | None = None
    dropout: bool = True
    moved_by: float = 1.0
    weigh_queries: bool | None = None
    matryoshka_dims: tuple[int, ...] = ()
    query_length: int = 48
    document_length: int = 256
    bf16: bool = False
    seed: int = 0
    n_held_out: int = 200
    n_distractors: int = 1000
    eval_every: int = 100
    device: str | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            _check_whole(name, getattr(self, name), least)
        for name, least in (("rank", 1), ("max_steps", 1), ("n_negatives", 0), ("adapted_layers", 0)):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), least)
        for dim in self.matryoshka_dims:
            _check_whole("matryoshka_dims", dim, 1)
        for name in ("temperature", "epochs"):
            _check_positive(name, getattr(self, name))
        for name in ("learning_rate", "projection_rate", "weighting_rate"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        for name in ("in_batch_weight", "whole_text_weight"):
            if getattr(self, name) != 0:
                _check_positive(name, getattr(self, name))
        for name in ("moved_by", "mean_decay"):
            _check_share(name, getattr(self, name))
        if self.mean_decay == 1:
            raise InvalidTrainingError("mean_decay=1 is not possible: the mean would never move. Set it lower.")
        self._check_mining()
        if is_delta(self.base):
            raise InvalidTrainingError(
                f"base={self.base!r} is a delta, which holds a part of a model. Name the folder that the same training "
                f"wrote, with the whole model, or the base that the delta was trained from."
            )
        self._check_loss()

    def _check_mining(self) -> None:
        if self.mining_margin is not None:
            _check_share("mining_margin", self.mining_margin)
        if self.mining_margin == 1:
            raise InvalidTrainingError("mining_margin=1 is not possible: no negative would be left. Set it lower.")
        if self.n_mined > self.mining_depth:
            raise InvalidTrainingError(
                f"n_negatives={self.n_negatives} is not possible: negatives are drawn from the first "
                f"{self.mining_depth} documents of a ranking. Take {self.mining_depth} or fewer, or set mining_depth "
                f"higher."
            )

    def _check_loss(self) -> None:
        loss = self.loss_name
        if loss not in LOSSES:
            raise InvalidTrainingError(f"loss={loss!r} is not known; expected one of {', '.join(LOSSES)}.")
        if loss in _WITH_NEGATIVES and self.n_negatives == 0:
            raise InvalidTrainingError(
                f"The loss {loss!r} compares a positive with hard negatives, and n_negatives is 0. Set it to 1 or more."
            )
        if (loss in _WITH_TEACHER) != (self.teacher is not None):
            wanted = "a teacher's scores, and none is named" if self.teacher is None else "no teacher, and one is named"
            raise InvalidTrainingError(
                f"The loss {loss!r} needs {wanted}. Only {' and '.join(_WITH_TEACHER)} learn from a teacher: name one "
                f"with them, and none with another loss."
            )
        if loss == "in-batch-distil" and self.teacher != _WIDE:
            raise InvalidTrainingError(
                f"The loss {loss!r} takes the teacher {_WIDE!r} alone, which encodes the batch itself; found "
                f"{self.teacher!r}. Name {_WIDE!r}, or the loss 'distil'."
            )

    @property
    def loss_name(self) -> LossName:
        """The loss, chosen by whether there is a teacher where none is named."""
        return self.loss or ("distil" if self.teacher is not None else "in-batch")

    @property
    def n_mined(self) -> int:
        """Hard negatives of an example."""
        if self.n_negatives is not None:
            return self.n_negatives
        return _NEGATIVES if self.loss_name in _WITH_NEGATIVES or self.rounds > 1 else 0

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return self.learning_rate or (_FULL_RATE if self.rank is None else _LORA_RATE)


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise InvalidTrainingError(f"{name}={value!r} is not possible: a whole number of at least {least} expected.")


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise InvalidTrainingError(f"{name}={value!r} is not possible: a number above 0 expected.")


def _check_share(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InvalidTrainingError(f"{name}={value!r} is not possible: a number from 0 to 1 expected.")
