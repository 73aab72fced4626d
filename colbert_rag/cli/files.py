"""A file that a command writes: whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from colbert_rag.errors import StorageError

__all__ = ["check_output", "write_whole"]


def check_output(output: Path, *, is_forced: bool) -> None:
    """Refuse a name that cannot be written to, before any work is done for it.

    Raises:
        typer.BadParameter: it is a folder, in no folder, or there already and ``is_forced`` is false.
        StorageError: it is a link to nothing, or cannot be looked at.
    """
    with _typed_errors(output):
        if output.is_dir() or not output.parent.is_dir():
            raise typer.BadParameter(f"{output} is no file in a folder that is there; name a file in one that is")
        if output.exists() and not is_forced:
            raise typer.BadParameter(f"{output} is there already; choose another name, or give --force")
        if output.is_symlink() and not output.exists():
            msg = f"{output} is a link to {output.readlink()}, which is not there; remove it or choose another name."
            raise StorageError(msg)


def write_whole(output: Path, text: str, *, is_forced: bool) -> None:
    """Write a text in UTF-8; when that fails, what was there stays as it was.

    Args:
        output: Where to.
        text: What to write.
        is_forced: Whether to write over a file that is there.

    Raises:
        StorageError: the disk is full, writing is not allowed, or there is such a file and ``is_forced`` is false.
    """
    with _typed_errors(output):
        if not is_forced:
            _write_new(output, text)
        elif output.exists() and not output.is_file():
            # a device or a pipe cannot be replaced, only written to
            with output.open("w", encoding="utf-8") as file:
                file.write(text)
        else:
            _replace(output.resolve(), text)


def _write_new(path: Path, text: str) -> None:
    path.touch(exist_ok=False)
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{secrets.token_hex(8)}.tmp")
    _write_new(beside, text)
    try:
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise


@contextmanager
def _typed_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as err:
        msg = f"{output} cannot be written ({err.strerror}); choose another place, or make room there."
        raise StorageError(msg) from err
