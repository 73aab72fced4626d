"""What this process may do with a catalog, and what its files look like meanwhile."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from colbert_rag.errors import InvalidArgumentError, ReadOnlyIndexError
from colbert_rag.storage.guards import has_only_name
from colbert_rag.storage.system_errors import is_writable

__all__ = [
    "CATALOG",
    "IMMUTABLE",
    "CatalogFiles",
    "absolute_folder",
    "access_mode",
    "index_folder",
    "may_write",
]

CATALOG = "catalog.sqlite"
IMMUTABLE = "mode=ro&immutable=1"
"""How a catalog is opened that this process may not write and nobody has open: it sees no later commit."""

# between the two removals of a writer who closes: of the shared memory, then of the log
_CLOSING_S = 0.05


@dataclass(frozen=True, slots=True)
class CatalogFiles:
    """What the files of a catalog look like from outside; whoever changes the catalog changes this first.

    Attributes:
        catalog: Device, inode, size, and the times of the last changes in nanoseconds.
        log_bytes: Of the write-ahead log.
        is_shared: Whether the log's shared memory is there: somebody has the index open for writing, or left it so.
    """

    catalog: tuple[int, ...]
    log_bytes: int
    is_shared: bool

    @classmethod
    def of(cls, folder: Path) -> CatalogFiles:
        """As they are now; what is missing or cannot be looked at is as if it were empty."""
        path = folder / CATALOG
        catalog, log = _status(path), _status(path.with_name(path.name + "-wal"))
        is_shared = _status(path.with_name(path.name + "-shm")) is not None
        return cls(_marks(catalog), 0 if log is None else log.st_size, is_shared)

    def stand(self, folder: Path) -> bool:
        """Whether nobody has written or begun to since; asked of who took no lock."""
        return not self.is_shared and CatalogFiles.of(folder) == self

    def is_overtaken(self, folder: Path) -> bool:
        """Whether a failure may be due to a writer who came or went: only who may not write is so exposed."""
        if may_write(folder):
            return False
        now = CatalogFiles.of(folder)
        # where there is shared memory there are locks, until it goes
        return now.is_shared != self.is_shared or (not self.is_shared and now != self)


def absolute_folder(path: object) -> Path:
    """The absolute path of a folder that a user named; a ``~`` at its start is the user's home.

    Raises:
        InvalidArgumentError: neither a str nor a path.
    """
    if not isinstance(path, str | os.PathLike):
        msg = (
            f"the path of an index must be a str or a pathlib.Path, found {type(path).__name__}. Name its folder, "
            'for example "handbook.index".'
        )
        raise InvalidArgumentError(msg)
    # of pathlib's own, a home that is not known is an error; here such a name is one like any other
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111


def index_folder(path: object) -> Path:
    """The folder itself, behind whatever links lead to it now: they may lead elsewhere while an index is open.

    Raises:
        InvalidArgumentError: neither a str nor a path.
    """
    absolute = absolute_folder(path)
    # on Windows it would turn the letter of a drive into the name of a server, which SQLite's URIs cannot hold
    if os.name == "nt":
        return absolute
    try:
        return absolute.resolve()
    # of a link that leads to itself, or of a name that no file can have: refused later, with words
    except (OSError, RuntimeError, ValueError):
        return absolute


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _marks(status: os.stat_result | None) -> tuple[int, ...]:
    if status is None:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def access_mode(folder: Path) -> str:
    """How this process can open the catalog, as part of SQLite's URI.

    Raises:
        ReadOnlyIndexError: a crashed writer left a log that we may not replay.
    """
    if may_write(folder):
        # whoever may write folds the log in when the last one closes, which would change the other folder's catalog
        return "mode=rw" if has_only_name(folder / CATALOG) else "mode=ro"
    files = CatalogFiles.of(folder)
    if files.log_bytes and not files.is_shared:
        time.sleep(_CLOSING_S)
        files = CatalogFiles.of(folder)
    if files.is_shared:
        # a writer has the index open (or left it so): its log can be read along
        return "mode=ro"
    if files.log_bytes:
        msg = f"{folder}: the last writer did not finish and the folder is read-only. Open it once with write access."
        raise ReadOnlyIndexError(msg)
    return IMMUTABLE


def may_write(folder: Path) -> bool:
    """Whether this process may write to the catalog of a folder."""
    return is_writable(folder) and is_writable(folder / CATALOG)
