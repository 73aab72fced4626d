"""What a fork must not carry over: a child has its parent's memory and none of its locks.

SQLite keeps a table of the databases that a process has open and of the locks that it holds on them. A child inherits
the table, and a connection that it opens of its own takes those locks for granted, though only the parent has them
(sqlite.org/howtocorrupt.html, section 2.6). So what is idle is closed before every fork, which empties the table, and a
catalog that was in use by some other call of the process stays closed to the child.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from colbert_rag.errors import IndexClosedError

__all__ = ["Identity", "Resting", "Use", "enter", "is_at", "is_in_use", "leave", "rests_at_forks", "using"]

Identity: TypeAlias = tuple[int, int]
"""Device and inode of a file."""


class Use:
    """That a connection to a file is open, or about to be: it ends with whoever holds it, however that comes about."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity


class Resting(Protocol):
    """What keeps connections that nobody uses."""

    def rest(self) -> None:
        """Close them."""


# of the whole process, as SQLite's table is; each is changed and copied in one step that no other thread can divide
_keepers: dict[int, weakref.ref[Resting]] = {}
_in_use: dict[int, weakref.ref[Use]] = {}
_inherited: set[Identity] = set()


def rests_at_forks(keeper: Resting) -> None:
    """Let it rest before every fork, until it is freed."""
    number = id(keeper)
    _keepers[number] = weakref.ref(keeper, lambda _: _keepers.pop(number, None))


def enter(path: Path) -> Use:
    """Say that a connection to a database will be opened.

    Raises:
        IndexClosedError: a call of the parent had it open when this process was forked.
        OSError: there is no such file, or it cannot be looked at.
    """
    status = path.stat()
    use = Use((status.st_dev, status.st_ino))
    if use.identity in _inherited:
        msg = (
            f"{path}: another thread was using this index when the process was forked, so no lock of SQLite's holds in "
            "the child. Fork while no call runs, or start processes by spawn: multiprocessing.get_context('spawn')."
        )
        raise IndexClosedError(msg)
    number = id(use)
    _in_use[number] = weakref.ref(use, lambda _: _in_use.pop(number, None))
    return use


def is_at(path: Path, identity: Identity | None) -> bool:
    """Whether a file lies under a path; where that cannot be looked at, no other is known to."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return identity == (status.st_dev, status.st_ino)


def _uses() -> list[Use]:
    return [use for reference in list(_in_use.values()) if (use := reference()) is not None]


def leave(use: Use | None) -> None:
    """Say that the connection is closed; twice is as good as once."""
    _in_use.pop(id(use), None)


def is_in_use(status: os.stat_result) -> bool:
    """Whether this process has a connection to a file, and so may not open it by hand: closing it drops all locks."""
    return any(use.identity == (status.st_dev, status.st_ino) for use in _uses())


@contextmanager
def using(path: Path) -> Iterator[None]:
    """:func:`enter` and :func:`leave` around a block."""
    use = enter(path)
    try:
        yield
    finally:
        leave(use)


def _before() -> None:
    for reference in list(_keepers.values()):
        keeper = reference()
        if keeper is not None:
            keeper.rest()


def _after_in_child() -> None:
    _inherited.update(use.identity for use in _uses())
    _in_use.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_after_in_child)
