"""The folder beside the output where a training keeps what is done until it is over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colbert_rag.errors import IndexExistsError
from colbert_rag.training.record import Record, write_record
from colbert_rag.training.writing import explained_writes

__all__ = ["EXAMPLES", "RECORD", "make_work_folder", "session", "working_folder"]

RECORD, EXAMPLES = "training.json", "examples.jsonl"
# what a round may have left: what it mined, and checkpoints, whose state the trainer writes last
_KEPT = (f"round-*/{EXAMPLES}", "round-*/checkpoint-*/trainer_state.json")


def working_folder(output: Path) -> Path:
    """Where a training keeps its checkpoints until it is over."""
    return output.with_name(f"{output.name}.training")


def make_work_folder(work: Path) -> None:
    """Make the folder of a new training.

    Raises:
        IndexExistsError: it is there.
        StorageError: it cannot be made.
    """
    if work.exists():
        raise IndexExistsError(
            f"{work} holds a training that was interrupted. Go on with it (resume=True, on the command line "
            f"--resume), or remove the folder."
        )
    with explained_writes(work):
        work.mkdir(parents=True)


@contextmanager
def session(record: Record, work: Path) -> Iterator[None]:
    """Add the time of this session to the record, however it ends.

    Where it ends before anything is mined or a checkpoint is written, nothing is left of the folder.
    """
    start = time.perf_counter()
    try:
        write_record(work / RECORD, record)
        yield
    except BaseException:
        if not any(any(work.glob(pattern)) for pattern in _KEPT):
            shutil.rmtree(work)
        raise
    finally:
        record.seconds += time.perf_counter() - start
        if work.exists():
            write_record(work / RECORD, record)
