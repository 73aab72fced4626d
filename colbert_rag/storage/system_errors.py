"""The errors of the operating system in our words: what could not be done, where, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colbert_rag.errors import ColbertRagError, ReadOnlyIndexError, StorageError

__all__ = [
    "UnreadableError",
    "disk_errors",
    "is_too_much",
    "is_writable",
    "not_read",
    "read_errors",
    "shortage",
    "unreadable",
]

# more than the largest text that is let in takes in SQLite and as a string together
_SOME_MEMORY = 512 << 20
_CALLERS_OF_SQLITE = ("colbert_rag.storage.", "colbert_rag.verifying.")
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_SHORTAGES = {
    errno.EMFILE: "Too many files are open: close some or raise the limit (ulimit -n), and repeat.",
    errno.ENFILE: "Too many files are open on this machine: close some, and repeat.",
    errno.ENOMEM: "Free memory, and repeat.",
    errno.ENOSPC: "Free space, and repeat.",
    errno.EACCES: "Check the permissions of the folder, and repeat.",
}
# what opening says where there is no file, or something else than one; all other errors are the machine's
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO})


class UnreadableError(StorageError):
    """The disk did not give what it holds: no proof of damage, but whoever looks for damage has found a place."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of the operating system into typed ones that name the path and what to do."""
    try:
        yield
    except ColbertRagError:
        raise
    except OSError as err:
        what = f"{path}: cannot be written ({err.strerror}). What was committed before stands."
        if err.errno in _FORBIDDEN and not (is_writable(path.parent) and is_writable(path)):
            msg = f"{what} Check the permissions of the folder."
            raise ReadOnlyIndexError(msg) from err
        msg = f"{what} {_SHORTAGES.get(err.errno or 0, 'Free space or check the disk, and repeat.')}"
        raise StorageError(msg) from err


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn what is left of the operating system's errors into typed ones, where a file or a folder is looked at."""
    try:
        yield
    except ColbertRagError:
        raise
    except OSError as err:
        raise unreadable(path, err) or StorageError(f"{path}: {err}. Check that it is there, and repeat.") from err


def is_too_much(err: MemoryError) -> bool:
    """Whether SQLite asked for more memory than there can be, as it does for damaged numbers, where there is some.

    Its error has no words, unlike NumPy's, and comes from a call of ours, unlike a caller's.
    """
    trace = err.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raiser = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return not err.args and raiser.startswith(_CALLERS_OF_SQLITE) and _is_memory_there()


def _is_memory_there() -> bool:
    try:
        bytearray(_SOME_MEMORY)
    except MemoryError:
        return False
    return True


def is_writable(path: Path) -> bool:
    """Whether this process may change a file or a folder; what does not exist is its folder's affair."""
    return os.access(path, os.W_OK) or not os.path.lexists(path)


def unreadable(path: Path, err: OSError) -> StorageError | None:
    """A call that failed and says nothing of the file; None where there is no file, or something else than one."""
    return None if err.errno in _NO_FILE else not_read(path, err)


def not_read(path: Path, err: OSError) -> StorageError:
    """The error for a file that is there, and what to do."""
    advice = "Check the disk, and repeat; if it stays, run colbert-rag verify, and restore a backup to another disk."
    return shortage(path, err) or UnreadableError(f"{path}: cannot be read ({err.strerror}). {advice}")


def shortage(path: Path, err: OSError) -> StorageError | None:
    """What a reader lacks who could not read a file that may well be whole; None where the file is to blame."""
    advice = _SHORTAGES.get(err.errno or 0)
    return None if advice is None else StorageError(f"{path}: cannot be read ({err.strerror}). {advice}")
