"""A training from end to end: mine, rescore, learn, and mine again with what was learnt."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.adapting import check_target
from colbert_rag.encoder.builtin import BUILTIN
from colbert_rag.errors import ColbertRagError, IndexExistsError, InvalidTrainingError, StorageError
from colbert_rag.training.card import CURVES, DELTA, write_card
from colbert_rag.training.curves import draw_curves
from colbert_rag.training.dependencies import require_training
from colbert_rag.training.example_files import as_json_lines, read_examples
from colbert_rag.training.examples import Example, from_pairs
from colbert_rag.training.pairs import Pair
from colbert_rag.training.passages import group_texts, hold_out
from colbert_rag.training.record import FinishedRound, Record, digest_of, read_record, write_atomically, write_record
from colbert_rag.training.settings import TrainingSettings
from colbert_rag.types import Progress

if TYPE_CHECKING:
    from colbert_rag.training.rescoring import Teacher
    from colbert_rag.training.starting import Trainee
    from colbert_rag.training.watching import HeldOutEvaluator

__all__ = ["train", "working_folder"]

_RECORD, _EXAMPLES = "training.json", "examples.jsonl"
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
        InvalidTrainingError: pairs or settings are refused, or there is nothing to go on with.
        KeyboardInterrupt: there was an interrupt; ``resume`` goes on.
        MissingDependencyError: a package that training needs is not installed.
        ModelNotFoundError: the base or the teacher cannot be found.
        ModelUnsupportedError: the base cannot be trained.
        StorageError: the folder cannot be written.
    """
    require_training()
    settings = settings or TrainingSettings()
    settings = replace(settings, loss=settings.loss_name, n_negatives=settings.n_mined)
    folder = Path(output).expanduser().resolve()
    check_target(folder)
    data = _data(pairs, corpus, settings)
    with _typed_errors(folder):
        record = _begin(working_folder(folder), settings, data, digest_of(pairs, corpus), resume)
        with _session(record, working_folder(folder)):
            trainee, evaluator = _load(settings, data, record, working_folder(folder), progress)
            for number in range(len(record.rounds) + 1, settings.rounds + 1):
                _run_round(number, trainee, evaluator, settings, data, record, working_folder(folder), progress)
            model_folder = working_folder(folder) / "model"
            _write_model(model_folder, trainee, evaluator, record)
        _publish(model_folder, folder, record)
    return record


def working_folder(output: Path) -> Path:
    """Where a training keeps its checkpoints until it is over."""
    return output.with_name(f"{output.name}.training")


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
        return read_record(work / _RECORD, settings, sha256)
    if work.exists():
        raise IndexExistsError(
            f"{work} holds a training that was interrupted. Go on with it (resume=True, on the command line "
            f"--resume), or remove the folder."
        )
    work.mkdir(parents=True)
    record = Record(asdict(settings), sha256, len(data.train), len(data.held_out))
    write_record(work / _RECORD, record)
    return record


def _load(
    settings: TrainingSettings, data: _Data, record: Record, work: Path, progress: Progress | None
) -> tuple[Trainee, HeldOutEvaluator | None]:
    from colbert_rag.training.losses import trained_dims
    from colbert_rag.training.starting import Trainee
    from colbert_rag.training.trainer import load_weights
    from colbert_rag.training.watching import HeldOutEvaluator

    trainee = Trainee(settings, [pair.positive for pair in data.train], progress)
    # refused here, and not when everything is mined
    trained_dims(trainee.model, settings)
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
    return trainee, evaluator


def _run_round(
    number: int,
    trainee: Trainee,
    evaluator: HeldOutEvaluator | None,
    settings: TrainingSettings,
    data: _Data,
    record: Record,
    work: Path,
    progress: Progress | None,
) -> None:
    from colbert_rag.training.trainer import Round, save_weights, train_round

    folder = work / f"round-{number}"
    folder.mkdir(exist_ok=True)
    if (folder / _EXAMPLES).exists():
        examples = read_examples(folder / _EXAMPLES)
    else:
        examples = _examples(trainee, settings, data, progress)
        write_atomically(folder / _EXAMPLES, as_json_lines(examples))
    log = train_round(
        trainee, Round(number, examples, data.pairs, data.passage_of, folder), settings, evaluator, progress
    )
    save_weights(trainee, folder)
    record.rounds.append(FinishedRound(len(examples), len(examples[0].documents), log))
    write_record(work / _RECORD, record)


def _examples(trainee: Trainee, settings: TrainingSettings, data: _Data, progress: Progress | None) -> list[Example]:
    if not settings.n_mined:
        return from_pairs(data.train)
    from colbert_rag.training.mining import complete, mine
    from colbert_rag.training.rescoring import rescore

    # a name that is misspelt is found before the long part
    is_rescored = settings.teacher is not None and settings.loss_name != "in-batch-distil"
    teacher = _teacher(settings.teacher, settings) if settings.teacher is not None and is_rescored else None
    encoder = Encoder(trainee.model, precision="float32")
    mined = mine(data.train, data.corpus, encoder, n_negatives=settings.n_mined, seed=settings.seed, progress=progress)
    examples = complete(mined, settings.n_mined)
    if not examples:
        raise InvalidTrainingError(
            f"No query has {settings.n_mined} hard negatives among {len(data.passage_of):,} texts. Pass a larger "
            f"corpus, or set n_negatives lower."
        )
    return examples if teacher is None else rescore(examples, teacher, progress)


def _teacher(name: str, settings: TrainingSettings) -> Teacher:
    from colbert_rag.training.rescoring import WIDE, load_teacher

    base = settings.base if name == WIDE and settings.base != BUILTIN else None
    return load_teacher(name, base=base, device=settings.device)


def _write_model(folder: Path, trainee: Trainee, evaluator: HeldOutEvaluator | None, record: Record) -> None:
    from colbert_rag.training.watching import METRICS

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    has_delta = record.settings["rank"] is not None
    trainee.finish(folder / DELTA if has_delta else None)
    if evaluator is not None:
        record.after = evaluator(trainee.model)
    trainee.save(folder)
    (folder / CURVES).write_text(draw_curves(record.log(), ["loss", METRICS[0]]), encoding="utf-8")


def _publish(model_folder: Path, folder: Path, record: Record) -> None:
    has_delta = (model_folder / DELTA).exists()
    (model_folder / "README.md").write_text(write_card(record, has_delta=has_delta), encoding="utf-8")
    write_record(model_folder / _RECORD, record)
    if folder.exists():
        folder.rmdir()  # empty, and Windows renames onto nothing
    model_folder.rename(folder)
    shutil.rmtree(working_folder(folder))


@contextmanager
def _session(record: Record, work: Path) -> Iterator[None]:
    """Add the time of this session to the record, however it ends; a refusal that comes first leaves nothing behind."""
    start = time.perf_counter()
    try:
        yield
    except ColbertRagError:
        if not any(work.glob("round-*/*")):
            shutil.rmtree(work)
        raise
    finally:
        record.seconds += time.perf_counter() - start
        if work.exists():
            write_record(work / _RECORD, record)


@contextmanager
def _typed_errors(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except ColbertRagError:
        raise
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"{folder}: the training cannot write there ({error}). Free space or permit it, and resume."
        ) from error
