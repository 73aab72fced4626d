"""Reading SQLite's write-ahead log beside SQLite, which ends at the first bad frame and says nothing.

The format is SQLite's (sqlite.org/fileformat2.html, section 4): a header of 32 bytes, then frames: 24 bytes and a page.
A frame's checksum continues that of the frame before it, so what follows a damaged frame still fits together. Where
another commit follows there, commits that were acknowledged are lost: each is synchronised before the next begins, so
a crash damages the last one at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage.schema import PAGE_BYTES
from colbert_rag.storage.system_errors import not_read

__all__ = ["LogCheck", "check_log", "refuse_damaged_log"]

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_FRAME_BYTES = _FRAME_HEADER_BYTES + PAGE_BYTES
# byte order of the checksummed words
_ORDERS = {0x377F0682: "<u4", 0x377F0683: ">u4"}
_BLOCK_FRAMES = 256

_Words = NDArray[np.uint32]
_Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LogCheck:
    """What stands in a write-ahead log.

    Attributes:
        problem: How committed changes were damaged, or None.
        tail: What a write that is under way or did not finish left at its end, or damage that looks the same; or None.
    """

    problem: str | None = None
    tail: str | None = None


@dataclass(frozen=True, slots=True)
class _Frames:
    """Some frames of a log, one after another.

    Attributes:
        is_whole: Salts and checksum are right, after the checksum that the frame before it claims.
        is_ours: At least one of the two salts is the log's.
        is_commit: The frame ends a commit.
        follows: The checksum continues that of the frame before it, be that damaged or not.
    """

    is_whole: _Flags
    is_ours: _Flags
    is_commit: _Flags
    follows: _Flags


def refuse_damaged_log(path: Path) -> None:
    """Refuse a log that SQLite would open without the commits after a damaged frame, and overwrite them next.

    Args:
        path: As in :func:`check_log`.

    Raises:
        CorruptIndexError: commits are lost.
        StorageError: it cannot be read.
    """
    problem = check_log(path).problem
    if problem is not None:
        msg = f"{path.parent}: {problem}. Restore the index from a backup."
        raise CorruptIndexError(msg)


def check_log(path: Path) -> LogCheck:
    """Read a log to its end; one that is begun anew meanwhile is at work and counts as sound.

    Args:
        path: The log; it may be missing.

    Raises:
        StorageError: it cannot be read.
    """
    found = _read(path)
    # frames that were being written while they were read are whole by now
    return found if found.problem is None else _read(path)


def _read(path: Path) -> LogCheck:
    try:
        # SQLite keeps no locks on this file that closing it could drop
        with path.open("rb") as file:
            raw = file.read(_HEADER_BYTES)
            found = _check(file, raw, path.name)
            file.seek(0)
            return found if file.read(_HEADER_BYTES) == raw else LogCheck()
    except FileNotFoundError:
        return LogCheck()
    except OSError as err:
        raise not_read(path, err) from err


def _check(file: BinaryIO, raw: bytes, name: str) -> LogCheck:
    if len(raw) < _HEADER_BYTES:
        return LogCheck(tail=f"{name}: {len(raw)} bytes, less than a header" if raw else None)
    header = np.frombuffer(raw, ">u4").astype(np.uint32)
    order = _order(raw, header)
    read = list(_frames(file, header, order or "<u4"))
    frames = _Frames(*(np.concatenate([getattr(part, field) for part in read]) for field in _Frames.__slots__))
    if order is None:
        # frames of an older log share no salt: that one was folded into the catalog, and its header is being replaced
        if (frames.is_ours & frames.is_commit).any():
            return LogCheck(f"{name}: the header is damaged, with it {int(frames.is_commit.sum()):,} commits are lost")
        return LogCheck(tail=f"{name}: a header that is not whole")
    n_whole = len(frames.is_whole) if frames.is_whole.all() else int(frames.is_whole.argmin())
    if _has_lost_commits(frames, n_whole):
        where = f"frame {n_whole + 1:,} of {len(frames.is_whole):,} is damaged"
        return LogCheck(f"{name}: {where}, and commits that follow it are lost")
    last_commit = int(np.flatnonzero(frames.is_commit[:n_whole]).max(initial=-1))
    n_left = int(frames.is_ours[last_commit + 1 :].sum())
    return LogCheck(tail=f"{name}: {n_left:,} frames after the last commit" if n_left else None)


def _order(raw: bytes, header: _Words) -> str | None:
    """Byte order of a log's checksums; None where its header is not whole."""
    order = _ORDERS.get(int(header[0]))
    if order is None or header[2] != PAGE_BYTES:
        return None
    summed = np.frombuffer(raw[:24], order).astype(np.uint32)[None]
    found = _own_sums(summed)[0]
    return order if (found == header[6:8]).all() else None


def _frames(file: BinaryIO, header: _Words, order: str) -> Iterator[_Frames]:
    """The frames of a log, a block at a time, after an empty one."""
    claimed, computed = header[None, 6:8], header[None, 6:8]
    yield _Frames(*(np.zeros(0, np.bool_) for _ in _Frames.__slots__))
    while block := file.read(_BLOCK_FRAMES * _FRAME_BYTES):
        raw = np.frombuffer(block, np.uint8)[: len(block) // _FRAME_BYTES * _FRAME_BYTES].reshape(-1, _FRAME_BYTES)
        if not len(raw):
            return
        fields = np.ascontiguousarray(raw[:, :_FRAME_HEADER_BYTES]).view(">u4").astype(np.uint32)
        summed = np.concatenate([raw[:, :8], raw[:, _FRAME_HEADER_BYTES:]], axis=1).view(order).astype(np.uint32)
        own, sums = _own_sums(summed), fields[:, 4:6]
        claimed = np.concatenate([claimed[-1:], sums])
        found = own + _carried(claimed[:-1], summed.shape[1])
        computed = np.concatenate([computed[-1:], found])
        fits = (found == sums).all(axis=1)
        fits_computed = (own + _carried(computed[:-1], summed.shape[1]) == sums).all(axis=1)
        salts = fields[:, 2:4] == header[4:6]
        yield _Frames(fits & salts.all(axis=1), salts.any(axis=1), fields[:, 1] > 0, fits | fits_computed)


def _has_lost_commits(frames: _Frames, n_whole: int) -> bool:
    """Whether a commit follows that was begun after the one with the first damaged frame had ended."""
    has_ended = False
    for n in range(n_whole, len(frames.is_whole)):
        is_commit = bool(frames.is_ours[n] and frames.is_commit[n])
        if not (frames.is_ours[n] and frames.follows[n]):
            has_ended = is_commit
        elif is_commit:
            if has_ended:
                return True
            has_ended = True
    return False


# SQLite's checksum of words x is s += x[0] + t, t += x[1] + s and so on, modulo 2**32: what a word adds to the end
# result is the word times a Fibonacci number that depends on its place alone


def _own_sums(words: _Words) -> _Words:
    """Both sums ``(F, 2)`` of rows of words ``(F, N)``, begun at zero."""
    n = words.shape[1]
    fibonacci = _fibonacci(n + 2)
    return np.stack([words @ fibonacci[:n][::-1], words @ fibonacci[1 : n + 1][::-1]], axis=1)


def _carried(seeds: _Words, n: int) -> _Words:
    """What sums ``(F, 2)`` that ``n`` words were added to have become, the words left out."""
    fibonacci = _fibonacci(n + 2)
    carried: _Words = seeds @ np.array([fibonacci[n - 1 : n + 1], fibonacci[n : n + 2]])
    return carried


@cache
def _fibonacci(n: int) -> _Words:
    numbers = [0, 1]
    while len(numbers) < n:
        numbers.append((numbers[-1] + numbers[-2]) % 2**32)
    return np.array(numbers[:n], np.uint32)
