"""What a training has done so far, kept beside its checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from colbert_rag.errors import InvalidTrainingError
from colbert_rag.training.pairs import Pair
from colbert_rag.training.settings import TrainingSettings
from colbert_rag.training.writing import write_atomically

__all__ = ["FinishedRound", "Record", "digest_of", "read_record", "write_record"]


@dataclass(frozen=True, slots=True)
class FinishedRound:
    """A round that is over.

    Attributes:
        n_examples: How many it trained on.
        n_documents: Documents of each: the positive and its negatives.
        log: ``step`` of the round with ``loss``, or with metrics on the held-out pairs.
    """

    n_examples: int
    n_documents: int
    log: list[dict[str, float]]


@dataclass(slots=True)
class Record:
    """A training, finished or not.

    Attributes:
        settings: As they were given.
        data_sha256: Of pairs and corpus.
        n_train: Pairs trained on.
        n_held_out: Pairs held out.
        before: Metrics of the model before the training; empty where nothing is held out.
        after: Metrics of the model that was written.
        rounds: Those that are over.
        seconds: Wall clock of all sessions, loading and evaluation included.
        base_sha256: Of the base, by ``base_digest``; None until it is loaded.
    """

    settings: dict[str, Any]
    data_sha256: str
    n_train: int
    n_held_out: int
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    rounds: list[FinishedRound] = field(default_factory=list)
    seconds: float = 0.0
    base_sha256: str | None = None

    def log(self) -> list[dict[str, float]]:
        """The logs of all rounds, steps counted from the first."""
        entries: list[dict[str, float]] = [{"step": 0, **self.before}] if self.before else []
        offset = 0.0
        for finished in self.rounds:
            entries += [{**entry, "step": entry["step"] + offset} for entry in finished.log]
            offset += max((entry["step"] for entry in finished.log), default=0)
        return entries

    def check_base(self, sha256: str) -> None:
        """Take note of the base at first; later, refuse another.

        Raises:
            InvalidTrainingError: the training was begun with another.
        """
        if self.base_sha256 not in (None, sha256):
            raise InvalidTrainingError(
                f"The training was begun with the base {self.settings['base']!r} as it had the sha256 "
                f"{self.base_sha256}; found {sha256}: its weights or prompts have changed. Put that base back, or "
                f"remove what was begun and begin again."
            )
        self.base_sha256 = sha256


def digest_of(pairs: Sequence[Pair], corpus: Mapping[str, str] | None) -> str:
    """Sha256 over pairs and corpus."""
    digest = hashlib.sha256()
    for row in [*map(asdict, pairs), *(corpus or {}).items()]:
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def write_record(path: Path, record: Record) -> None:
    """Write the record; the file is whole at any time.

    Raises:
        StorageError: it cannot be written.
    """
    write_atomically(path, json.dumps(asdict(record), indent=1))


def read_record(path: Path, settings: TrainingSettings, data_sha256: str) -> Record:
    """Read the record of an interrupted training, if it is the one that these settings and data began.

    Raises:
        InvalidTrainingError: there is none, or it was begun with others.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = Record(**{**content, "rounds": [FinishedRound(**entry) for entry in content["rounds"]]})
    except FileNotFoundError as error:
        raise InvalidTrainingError(
            f"{path.parent} holds no training that could go on. Leave resume out to begin one."
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidTrainingError(f"{path} is no record of a training ({error}). Remove {path.parent}.") from error
    given = _plain(settings)
    if changed := sorted(name for name in given if given[name] != record.settings.get(name)):
        raise InvalidTrainingError(
            f"The training in {path.parent} was begun with {changed[0]}={record.settings.get(changed[0])!r}; found "
            f"{given[changed[0]]!r}. Go on with the settings that it was begun with, or remove the folder."
        )
    if record.data_sha256 != data_sha256:
        raise InvalidTrainingError(
            f"The training in {path.parent} was begun with other pairs or another corpus. Pass those, or remove the "
            f"folder and begin again."
        )
    return record


def _plain(settings: TrainingSettings) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return plain
