"""The files of a training: whole at any time, and explained where they cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colbert_rag.errors import ColbertRagError, StorageError

__all__ = ["explained_writes", "write_atomically"]


def write_atomically(path: Path, text: str) -> None:
    """Write a text; under its name is the old one or the whole new one.

    Raises:
        StorageError: it cannot be written.
    """
    beside = path.with_suffix(".tmp")
    with explained_writes(path.parent):
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)


@contextmanager
def explained_writes(folder: Path) -> Iterator[None]:
    """Name the folder in whatever goes wrong while the block writes to it.

    Raises:
        StorageError: something did.
    """
    from safetensors import SafetensorError

    try:
        yield
    except ColbertRagError:
        raise
    # torch raises RuntimeError where a disk is full
    except (OSError, SafetensorError, RuntimeError) as error:
        raise StorageError(
            f"{folder}: the training cannot write there ({error}). Free space or permit it, and resume."
        ) from error
