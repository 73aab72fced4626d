"""One round of training, by sentence-transformers' trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from torch import nn
from transformers import PrinterCallback, TrainerState

from colbert_rag.encoder.delta import projections
from colbert_rag.encoder.query_weighting import query_weighting
from colbert_rag.encoder.token_model import TokenModel
from colbert_rag.training.batches import Apart, ApartBatchSampler, keep_apart
from colbert_rag.training.examples import Example, to_dataset
from colbert_rag.training.interrupting import InterruptFlag, deferred_interrupt
from colbert_rag.training.pairs import Pair
from colbert_rag.training.running_mean import RunningMean, averaged
from colbert_rag.training.settings import TrainingSettings
from colbert_rag.training.starting import Trainee
from colbert_rag.training.topics import topics_of
from colbert_rag.training.watching import METRICS, HeldOutEvaluator, Watcher
from colbert_rag.training.writing import explained_writes
from colbert_rag.types import Progress

__all__ = ["Round", "load_weights", "save_weights", "train_round"]

_WEIGHTS, _LAST_STEP = "trained.safetensors", "last-step.safetensors"
_STATE = "trainer_state.json"


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of training learns from, and where it keeps its checkpoints.

    Attributes:
        number: From 1.
        examples: All of the round.
        pairs: All that is known of which passage answers which query.
        passage_of: Text -> passage.
        folder: Of the checkpoints.
    """

    number: int
    examples: Sequence[Example]
    pairs: Sequence[Pair]
    passage_of: Mapping[str, int]
    folder: Path


class _Trainer(MultiVectorEncoderTrainer):
    """Batches that keep answers apart, checkpoints of only what is trained, and its running mean where there is one."""

    def __init__(
        self,
        trainee: Trainee,
        mean: RunningMean | None,
        apart: Sequence[Apart],
        folder: Path,
        by_length: bool,
        **options: Any,
    ) -> None:
        # before the base class, which builds its loaders with it
        self._trainee, self._mean, self._apart, self._folder, self._by_length = trainee, mean, apart, folder, by_length
        super().__init__(model=trainee.model, **options)

    def get_batch_sampler(self, dataset: Any, batch_size: int, *_: Any, **__: Any) -> ApartBatchSampler:
        return ApartBatchSampler(self._apart, batch_size, self.args.seed, by_length=self._by_length)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """The card is ours, of what this run measured."""

    def evaluate(self, *given: Any, **options: Any) -> dict[str, float]:
        """Evaluate weights that are finite."""
        self._trainee.check_finite()
        with averaged(self._mean):
            return super().evaluate(*given, **options)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._trainee.check_finite()
        with explained_writes(self._folder):
            super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        if self._mean is not None:
            save_weights(self._trainee, Path(output_dir), _LAST_STEP)
        with averaged(self._mean):
            save_weights(self._trainee, Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self._trainee, Path(resume_from_checkpoint))
        if self._mean is not None:
            self._mean.take_over()
            load_weights(self._trainee, Path(resume_from_checkpoint), _LAST_STEP)


def train_round(
    trainee: Trainee,
    loss: nn.Module,
    work: Round,
    settings: TrainingSettings,
    evaluator: HeldOutEvaluator | None,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train on the examples of a round; where a checkpoint of it is, go on from there.

    With an evaluator the best weights of those that it measured are kept, else the last.

    Args:
        trainee: Changed in place.
        loss: Of ``make_loss``, over the trainee's model.
        work: The round.
        settings: How.
        evaluator: Measures the model as it is trained.
        progress: Called as ``progress("train, round 1", done, total)``, both in steps.

    Returns:
        What was logged: ``step`` with ``loss``, or with a metric.

    Raises:
        InvalidTrainingError: examples differ in their number of documents, or the loss or a weight is no longer finite.
        KeyboardInterrupt: there was an interrupt; a checkpoint was saved after the step.
        StorageError: a checkpoint cannot be written.
    """
    checkpoint = _last_checkpoint(work.folder)
    if checkpoint is not None:
        state = TrainerState.load_from_json(str(checkpoint / _STATE))
        if state.global_step >= state.max_steps:
            load_weights(trainee, Path(state.best_model_checkpoint or checkpoint))
            return _log(state)
    with deferred_interrupt() as interrupt:
        mean = RunningMean(trainee.trained, settings.mean_decay) if settings.mean_decay else None
        trainer = _trainer(trainee, mean, loss, work, settings, evaluator, progress, interrupt)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if mean is not None:
            mean.put()
    return _log(trainer.state)


def _trainer(
    trainee: Trainee,
    mean: RunningMean | None,
    loss: nn.Module,
    work: Round,
    settings: TrainingSettings,
    evaluator: HeldOutEvaluator | None,
    progress: Progress | None,
    interrupt: InterruptFlag,
) -> _Trainer:
    topics = topics_of(work.examples, trainee.model, settings.topics, settings.seed)
    source_of = {pair.query: pair.source for pair in work.pairs}
    kinds = [(source_of.get(example.query), topic) for example, topic in zip(work.examples, topics, strict=True)]
    callbacks = [] if mean is None else [mean]
    trainer = _Trainer(
        trainee,
        mean,
        keep_apart(work.examples, work.pairs, work.passage_of, kinds),
        work.folder,
        settings.by_length,
        train_dataset=to_dataset(work.examples),
        args=_arguments(trainee, work, settings, evaluator is not None),
        loss=loss,
        evaluator=evaluator,
        callbacks=[*callbacks, Watcher(f"train, round {work.number}", progress, interrupt, evaluator is not None)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def save_weights(trainee: Trainee, folder: Path, name: str = _WEIGHTS) -> None:
    """Write the weights that are trained, and no others.

    Args:
        trainee: Has them.
        folder: Where; it is made if it is not there.
        name: Of the file.

    Raises:
        StorageError: they cannot be written.
    """
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in trainee.trained.items()}
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / name)


def load_weights(trainee: Trainee, folder: Path, name: str = _WEIGHTS) -> None:
    """Take over the weights that ``save_weights`` wrote."""
    tensors = load_file(folder / name)
    assert tensors.keys() == trainee.trained.keys()
    for key, weight in trainee.trained.items():
        weight.data.copy_(tensors[key])


def _arguments(
    trainee: Trainee, work: Round, settings: TrainingSettings, is_evaluated: bool
) -> MultiVectorEncoderTrainingArguments:
    best: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": settings.eval_every,
        "load_best_model_at_end": True,
        "metric_for_best_model": f"eval_{METRICS[0]}",
        "greater_is_better": True,
    }
    return MultiVectorEncoderTrainingArguments(
        output_dir=str(work.folder),
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.rate,
        learning_rate_mapping=_rates(trainee, settings),
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        prompts=_prompts(trainee, len(work.examples[0].documents)),
        max_length={"query": settings.query_length, "document": settings.document_length},
        bf16=settings.bf16,
        # transformers refuses bf16 where it finds no GPU, unless it is told
        use_cpu=trainee.model.device.type == "cpu",
        # rounds differ in their order
        seed=settings.seed + work.number - 1,
        logging_steps=1,
        # else a loss that is not finite would be logged as 0
        logging_nan_inf_filter=False,
        save_steps=settings.eval_every,
        save_total_limit=2,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
        **(best if is_evaluated else {}),
    )


def _rates(trainee: Trainee, settings: TrainingSettings) -> dict[str, float]:
    """Pattern of names of weights, as the loss has them, -> the highest learning rate, where it is not that of all."""
    found = {
        r"^model\.\d+\.linear\.": (settings.projection_rate, bool(list(projections(trainee.model)))),
        r"^model\.\d+\.direction$": (settings.weighting_rate, query_weighting(trainee.model) is not None),
    }
    return {pattern: rate for pattern, (rate, is_there) in found.items() if rate is not None and is_there}


def _prompts(trainee: Trainee, n_documents: int) -> dict[str, str]:
    """The model's own prompts by column: sentence-transformers puts them ahead of texts that it encodes, not trains."""
    prompts = TokenModel(trainee.model).prompts
    documents = {f"document_{number}": prompts["document"] for number in range(1, n_documents + 1)}
    return {name: prompt for name, prompt in {"query": prompts["query"], **documents}.items() if prompt}


def _last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end."""
    # the trainer writes its state last
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_STATE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _log(state: TrainerState) -> list[dict[str, float]]:
    wanted = {"step": "step", "loss": "loss", **{f"eval_{name}": name for name in METRICS}}
    kept = [entry for entry in state.log_history if "loss" in entry or f"eval_{METRICS[0]}" in entry]
    return [{new: entry[old] for old, new in wanted.items() if old in entry} for entry in kept]
