"""A training from end to end: mine, rescore, learn, and mine again with what was learnt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.adapting import check_target
from colbert_rag.encoder.builtin import BUILTIN
from colbert_rag.errors import ColbertRagError, InvalidTrainingError, ModelUnsupportedError, StorageError
from colbert_rag.training.card import CURVES, DELTA, write_card
from colbert_rag.training.curves import draw_curves
from colbert_rag.training.dependencies import require_training
from colbert_rag.training.example_files import as_json_lines, read_examples
from colbert_rag.training.examples import Example, from_pairs
from colbert_rag.training.pairs import Pair
from colbert_rag.training.passages import group_texts, hold_out
from colbert_rag.training.record import FinishedRound, Record, digest_of, read_record, write_record
from colbert_rag.training.settings import TrainingSettings
from colbert_rag.training.work_folder import EXAMPLES, RECORD, make_work_folder, session, working_folder
from colbert_rag.training.writing import explained_writes, write_atomically
from colbert_rag.types import Progress

if TYPE_CHECKING:
    from torch import nn

    from colbert_rag.training.rescoring import Teacher
    from colbert_rag.training.starting import Trainee
    from colbert_rag.training.watching import HeldOutEvaluator

__all__ = ["train", "working_folder"]

_HELD_OUT_SHARE = 10  # one pair in so many, at most


@dataclass(frozen=True, slots=True)
class _Data:
    train: list[Pair]
    held_out: list[Pair]
    corpus: Mapping[str, str] | None
    passage_of: dict[str, int]

    @property
    def pairs(self) -> list[Pair]:
        return self.train + self.held_out

    @property
    def n_candidates(self) -> int:
        """Texts that negatives may come from."""
        texts = (pair.positive for pair in self.train) if self.corpus is None else self.corpus.values()
        return len(set(texts))


@dataclass(frozen=True, slots=True)
class _Models:
    trainee: Trainee
    loss: nn.Module
    teacher: Teacher | None
    evaluator: HeldOutEvaluator | None


def train(
    pairs: Sequence[Pair],
    output: str | os.PathLike[str],
    settings: TrainingSettings | None = None,
    *,
    corpus: Mapping[str, str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Record:
    """Train a late-interaction model, and write it with its card, its curves and its delta.

    Work in progress lies beside the output, in ``working_folder(output)``; an interrupt leaves a checkpoint there.

    Args:
        pairs: Queries and what answers them.
        output: Where the model is written: a folder that is new or empty. It appears complete or not at all.
        settings: How; None for the defaults.
        corpus: Passage id -> text, from which hard negatives are mined; None for the positives.
        resume: Whether to go on with a training that was interrupted, with the same settings and data.
        progress: Called as ``progress(stage, done, total)``.

    Returns:
        What was done and measured; it lies beside the model as ``training.json``.

    Raises:
        IndexExistsError: something is at ``output``, or an interrupted training beside it.
        InvalidTrainingError: pairs or settings are refused, there is nothing to go on with, or the training diverges.
        KeyboardInterrupt: there was an interrupt; ``resume`` goes on, where anything was done.
        MissingDependencyError: a package that training needs is not installed.
        ModelNotFoundError: the base or the teacher cannot be found.
        ModelUnsupportedError: the base cannot be trained.
        StorageError: the folder cannot be written, or another file cannot be read or written.
    """
    require_training()
    settings = settings or TrainingSettings()
    settings = replace(settings, loss=settings.loss_name, n_negatives=settings.n_mined)
    folder = Path(output).expanduser().resolve()
    check_target(folder)
    data = _data(pairs, corpus, settings)
    _check_device(settings.device)
    with _typed_errors(folder):
        work = working_folder(folder)
        record = _begin(work, settings, data, digest_of(pairs, corpus), resume)
        with session(record, work):
            models = _load(settings, data, record, work, progress)
            for number in range(len(record.rounds) + 1, settings.rounds + 1):
                _run_round(number, models, settings, data, record, work, progress)
            _write_model(work / "model", models, record)
        with explained_writes(folder):
            _publish(work / "model", folder, record)
    return record


def _check_device(name: str | None) -> None:
    from colbert_rag.training.starting import check_device

    check_device(name)


def _data(pairs: Sequence[Pair], corpus: Mapping[str, str] | None, settings: TrainingSettings) -> _Data:
    for position, pair in enumerate(pairs):
        if not pair.query.strip() or not pair.positive.strip():
            raise InvalidTrainingError(f"Pair {position}: query or positive is blank, {pair!r:.120}. Leave it out.")
    n_held_out = min(settings.n_held_out, len(pairs) // _HELD_OUT_SHARE)
    kept, held_out = hold_out(pairs, n_held_out, settings.seed)
    if len(kept) < 2:
        raise InvalidTrainingError(f"{len(kept)} pairs are left to train on; expected at least 2. Pass more pairs.")
    return _Data(kept, held_out, corpus, group_texts(pairs, corpus))


def _begin(work: Path, settings: TrainingSettings, data: _Data, sha256: str, is_resumed: bool) -> Record:
    if is_resumed:
        return read_record(work / RECORD, settings, sha256)
    make_work_folder(work)
    return Record(asdict(settings), sha256, len(data.train), len(data.held_out))


def _load(settings: TrainingSettings, data: _Data, record: Record, work: Path, progress: Progress | None) -> _Models:
    """All that takes part; what is refused of it is refused here, before anything long."""
    from colbert_rag.training.losses import make_loss
    from colbert_rag.training.starting import Trainee
    from colbert_rag.training.trainer import load_weights
    from colbert_rag.training.watching import HeldOutEvaluator

    trainee = Trainee(settings, [pair.positive for pair in data.train], progress)
    record.check_base(trainee.base.sha256)
    write_record(work / RECORD, record)
    _check_wide(settings, trainee)
    loss, teacher = make_loss(trainee.model, settings), _teacher(settings)
    evaluator = None
    if data.held_out:
        evaluator = HeldOutEvaluator(
            data.held_out,
            data.train,
            data.passage_of,
            n_distractors=settings.n_distractors,
            seed=settings.seed,
            progress=progress,
        )
        record.before = record.before or evaluator(trainee.model)
    if record.rounds:
        load_weights(trainee, work / f"round-{len(record.rounds)}")
    return _Models(trainee, loss, teacher, evaluator)


def _check_wide(settings: TrainingSettings, trainee: Trainee) -> None:
    from colbert_rag.training.rescoring import WIDE

    if settings.teacher == WIDE and settings.base != BUILTIN and not trainee.base.is_plain:
        raise ModelUnsupportedError(
            f"The teacher {WIDE!r} is a plain text encoder's own token vectors; the base {settings.base} is a "
            f"late-interaction model already. Name a plain base, or a cross-encoder as teacher with the loss 'distil'."
        )


def _run_round(
    number: int,
    models: _Models,
    settings: TrainingSettings,
    data: _Data,
    record: Record,
    work: Path,
    progress: Progress | None,
) -> None:
    from colbert_rag.training.trainer import Round, save_weights, train_round

    folder = work / f"round-{number}"
    with explained_writes(folder):
        folder.mkdir(exist_ok=True)
    if not settings.n_mined:
        examples = from_pairs(data.train)
    elif (folder / EXAMPLES).exists():
        examples = read_examples(folder / EXAMPLES)
    else:
        examples = _mined(models, settings, data, progress)
        write_atomically(folder / EXAMPLES, as_json_lines(examples))
    around = Round(number, examples, data.pairs, data.passage_of, folder)
    log = train_round(models.trainee, models.loss, around, settings, models.evaluator, progress)
    save_weights(models.trainee, folder)
    record.rounds.append(FinishedRound(len(examples), len(examples[0].documents), log))
    write_record(work / RECORD, record)


def _mined(models: _Models, settings: TrainingSettings, data: _Data, progress: Progress | None) -> list[Example]:
    from colbert_rag.training.mining import complete, mine
    from colbert_rag.training.rescoring import rescore

    encoder = Encoder(models.trainee.model, precision="bfloat16" if settings.bf16 else "float32")
    mined = mine(
        data.train,
        data.corpus,
        encoder,
        n_negatives=settings.n_mined,
        depth=settings.mining_depth,
        margin=settings.mining_margin,
        seed=settings.seed,
        progress=progress,
    )
    examples = complete(mined, settings.n_mined)
    if not examples:
        raise InvalidTrainingError(
            f"No query has {settings.n_mined} hard negatives among {data.n_candidates:,} texts. Pass a larger "
            f"corpus, or set n_negatives lower."
        )
    return examples if models.teacher is None else rescore(examples, models.teacher, progress)


def _teacher(settings: TrainingSettings) -> Teacher | None:
    """What scores the mined documents, if anything does; the teacher of a batch is the loss's own."""
    from colbert_rag.training.rescoring import WIDE, load_teacher

    if settings.teacher is None or settings.loss_name == "in-batch-distil":
        return None
    base = settings.base if settings.teacher == WIDE and settings.base != BUILTIN else None
    return load_teacher(settings.teacher, base=base, device=settings.device)


def _write_model(folder: Path, models: _Models, record: Record) -> None:
    from colbert_rag.training.watching import METRICS

    shutil.rmtree(folder, ignore_errors=True)
    with explained_writes(folder):
        folder.mkdir()
    has_delta = record.settings["rank"] is not None
    models.trainee.finish(folder / DELTA if has_delta else None)
    if models.evaluator is not None:
        record.after = models.evaluator(models.trainee.model)
    with explained_writes(folder):
        models.trainee.save(folder)
        (folder / CURVES).write_text(draw_curves(record.log(), ["loss", METRICS[0]]), encoding="utf-8")


def _publish(model_folder: Path, folder: Path, record: Record) -> None:
    has_delta = (model_folder / DELTA).exists()
    (model_folder / "README.md").write_text(write_card(record, has_delta=has_delta), encoding="utf-8")
    write_record(model_folder / RECORD, record)
    if folder.exists():
        folder.rmdir()  # empty, and Windows renames onto nothing
    model_folder.rename(folder)
    shutil.rmtree(working_folder(folder))


@contextmanager
def _typed_errors(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except ColbertRagError:
        raise
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"The training for {folder} has stopped, not for its own writing: {type(error).__name__}: {error}. Mend "
            f"that, and resume, or begin again where nothing is left of it."
        ) from error
