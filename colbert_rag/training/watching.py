"""How good the model is while it is trained, on pairs that it does not see."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.evaluation import BaseEvaluator
from transformers import TrainerCallback

from colbert_rag.encoder import Encoder
from colbert_rag.errors import InvalidTrainingError
from colbert_rag.evaluation import evaluate
from colbert_rag.kernels import maxsim
from colbert_rag.training.interrupting import InterruptFlag
from colbert_rag.training.pairs import Pair
from colbert_rag.types import Float32Array, Progress

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["METRICS", "HeldOutEvaluator", "Watcher"]

METRICS = ("nDCG@10", "R@10")
_DEPTH = 10


class HeldOutEvaluator(BaseEvaluator):
    """Ranks passages for held-out queries by exact MaxSim, and measures it with ``colbert_rag.evaluation``.

    The passages are the positives of the held-out pairs, and a sample of those of the training.

    Args:
        held_out: Pairs whose queries are asked.
        others: Pairs whose positives are distractors.
        passage_of: Text -> passage.
        n_distractors: Passages of ``others``, at most.
        seed: Of the sample.
        progress: Called as ``progress("evaluate", done, total)``, both in tokens of the passages.
    """

    def __init__(
        self,
        held_out: Sequence[Pair],
        others: Sequence[Pair],
        passage_of: Mapping[str, int],
        *,
        n_distractors: int,
        seed: int,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._progress = progress
        self.greater_is_better = True
        self.primary_metric = METRICS[0]
        self.qrels: dict[str, dict[str, int]] = {}
        for pair in held_out:
            self.qrels.setdefault(pair.query, {})[str(passage_of[pair.positive])] = 1
        answers = {passage_of[pair.positive]: pair.positive for pair in held_out}
        rest = {passage_of[pair.positive]: pair.positive for pair in others}
        sample = random.Random(seed).sample(sorted(rest), min(n_distractors, len(rest)))
        self.passages = {str(number): text for number, text in {**{i: rest[i] for i in sample}, **answers}.items()}

    def __call__(
        self, model: BaseModel, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics of ``METRICS`` for a model as it is now, each 0 to 1."""
        assert isinstance(model, MultiVectorEncoder)
        encoder = Encoder(model, precision="float32")
        documents = encoder.encode_documents(list(self.passages.values()), progress=self._told())
        packed = np.concatenate([document.vectors for document in documents])
        offsets = np.cumsum([0, *(len(document.vectors) for document in documents)])
        queries = list(self.qrels)
        run = {
            query: self._ranked(maxsim(vectors, packed, offsets))
            for query, vectors in zip(queries, encoder.encode_queries(queries), strict=True)
        }
        return evaluate(run, self.qrels, METRICS)

    def _ranked(self, scores: Float32Array) -> list[tuple[str, float]]:
        numbers = list(self.passages)
        return [(numbers[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")[:_DEPTH]]

    def _told(self) -> Progress | None:
        progress = self._progress
        return None if progress is None else lambda _, done, total: progress("evaluate", done, total)


class Watcher(TrainerCallback):
    """Reports progress, has the last step evaluated and saved, and stops when interrupted or when the loss is lost.

    Args:
        stage: What the progress is called.
        progress: Called as ``progress(stage, done, total)``, both in steps.
        interrupt: When set, the step is saved and the training stops; the last step ends as ever.
        is_evaluated: Whether there is something to evaluate on.
    """

    def __init__(self, stage: str, progress: Progress | None, interrupt: InterruptFlag, is_evaluated: bool) -> None:
        self._stage = stage
        self._progress = progress
        self._interrupt = interrupt
        self._is_evaluated = is_evaluated

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Called by transformers after each step."""
        if self._progress is not None:
            self._progress(self._stage, state.global_step, state.max_steps)
        if state.global_step == state.max_steps:
            control.should_save = True
            control.should_evaluate = self._is_evaluated
        elif self._interrupt.is_set:
            # an evaluation that is due stays so: without it the resumed run would not know this step's quality
            control.should_save = control.should_training_stop = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Called by transformers after each step, before it evaluates and saves.

        Raises:
            InvalidTrainingError: the loss of the step is not finite.
        """
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise InvalidTrainingError(
                f"{self._stage}, step {state.global_step}: the loss is {loss}, the training has diverged. Begin again "
                f"with a learning_rate below {args.learning_rate:g} (on the command line --learning-rate); checkpoints "
                f"of before, if there are any, lie in {args.output_dir}, and do not go on with another rate."
            )
