"""What a disk may hold after a power loss, made from the log of faults.c.

Of a file, everything before its last fsync is there; each later write may be there, be lost, be there in part (a disk
writes sectors of 512 bytes), or have left zeros. Of a folder, each name that was made or removed since the folder's
last fsync may be there or not, whatever happened to the others: POSIX promises no more.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath

__all__ = ["MARK", "STYLES", "Disk", "Event", "read_log", "write_state"]

# the numbers are those of faults.c
CREATE, WRITE, SYNC, TRUNCATE, UNLINK, RMDIR, RENAME, LINK, MKDIR, MARK = range(1, 11)

_HEAD = struct.Struct("=IIIIQQ")
_SECTOR = 512
# the share of changes that are kept, each by itself; "torn" writes are in part kept, lost and zero
_SHARE = {"keep": 1.0, "drop": 0.0, "some": 0.5, "torn": 0.7, "most": 0.9, "few": 0.1}
STYLES = tuple(_SHARE)
"""What can happen to the changes that were not made durable."""


@dataclass(frozen=True)
class Event:
    """A call that changed something, or a mark."""

    kind: int
    path: str
    other: str
    inode: int
    offset: int
    data: bytes


def read_log(path: Path) -> list[Event]:
    """The calls in their order."""
    raw, events, place = path.read_bytes(), [], 0
    while place < len(raw):
        kind, n_path, n_other, n_data, inode, offset = _HEAD.unpack_from(raw, place)
        place += _HEAD.size
        parts = []
        for length in (n_path, n_other, n_data):
            parts.append(raw[place : place + length])
            place += length
        events.append(Event(kind, parts[0].decode(), parts[1].decode(), inode, offset, parts[2]))
    return events


@dataclass
class _File:
    durable: bytes = b""
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)

    def content(self, chances: _Chances) -> bytes:
        """What may be there; a change without data cuts the file off."""
        found = bytearray(self.durable)
        for offset, data in self.changes:
            if data is None:
                if chances.keeps():
                    found = found[:offset].ljust(offset, b"\0")
            else:
                for start, piece in chances.pieces(offset, data):
                    found = found.ljust(start, b"\0")
                    found[start : start + len(piece)] = piece
        return bytes(found)

    def sync(self) -> None:
        self.durable = self.content(_Chances("keep", random.Random(0)))
        self.changes = []


@dataclass
class _Folder:
    durable: dict[str, _Folder | _File] = field(default_factory=dict)
    current: dict[str, _Folder | _File] = field(default_factory=dict)
    changes: list[dict[str, _Folder | _File | None]] = field(default_factory=list)

    def change(self, names: dict[str, _Folder | _File | None]) -> None:
        self.changes.append(names)
        _apply(self.current, names)

    def content(self, chances: _Chances) -> dict[str, _Folder | _File]:
        found = dict(self.durable)
        for names in self.changes:
            if chances.keeps():
                _apply(found, names)
        return found

    def sync(self) -> None:
        self.durable, self.changes = dict(self.current), []


def _apply(entries: dict[str, _Folder | _File], names: dict[str, _Folder | _File | None]) -> None:
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class _Chances:
    """What happens to one change that was not made durable.

    Args:
        style: One of ``STYLES``.
        rng: Of the choices.
    """

    def __init__(self, style: str, rng: random.Random) -> None:
        self._share = _SHARE[style]
        self._is_torn = style == "torn"
        self._rng = rng

    def keeps(self) -> bool:
        return self._share == 1.0 or self._rng.random() < self._share

    def pieces(self, offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What is written of a write, and where."""
        if self._is_torn and self._rng.random() < 0.5:
            start = offset
            while start < offset + len(data):
                end = min(offset + len(data), (start // _SECTOR + 1) * _SECTOR)
                what = self._rng.random()
                if what < 0.4:
                    yield start, data[start - offset : end - offset]
                elif what < 0.5:
                    yield start, bytes(end - start)
                start = end
        elif self.keeps():
            yield offset, data
        elif self._is_torn and self._rng.random() < 0.3:
            yield offset, bytes(len(data))


class Disk:
    """The folder that was watched, as calls are made in it."""

    def __init__(self, root: str) -> None:
        self._root = PurePosixPath(root)
        self._top = _Folder()
        self._files: dict[int, _File] = {}

    def _folder(self, path: PurePosixPath) -> _Folder:
        node: _Folder | _File = self._top
        for part in path.relative_to(self._root).parts:
            assert isinstance(node, _Folder)
            node = node.current[part]
        assert isinstance(node, _Folder)
        return node

    def do(self, event: Event) -> None:
        """Make one call."""
        path = PurePosixPath(event.path)
        if event.kind == MARK:
            return
        if event.kind in {WRITE, TRUNCATE}:
            change = (event.offset, event.data if event.kind == WRITE else None)
            self._files[event.inode].changes.append(change)
        elif event.kind == SYNC:
            (self._files.get(event.inode) or self._folder(path)).sync()
        elif event.kind in {RENAME, LINK}:
            self._second_name(path, PurePosixPath(event.other), moves=event.kind == RENAME)
        else:
            made: dict[int, _Folder | _File] = {MKDIR: _Folder(), CREATE: _File()}
            node = made.get(event.kind)
            if isinstance(node, _File):
                self._files[event.inode] = node
            self._folder(path.parent).change({path.name: node})

    def _second_name(self, old: PurePosixPath, new: PurePosixPath, *, moves: bool) -> None:
        source, target = self._folder(old.parent), self._folder(new.parent)
        node = source.current[old.name]
        if moves and source is target:
            source.change({old.name: None, new.name: node})
            return
        target.change({new.name: node})
        if moves:
            source.change({old.name: None})

    def state(self, style: str, rng: random.Random) -> dict[str, bytes | None]:
        """Contents by path below the root; None is a folder."""
        chances, found = _Chances(style, rng), {}
        waiting: list[tuple[str, _Folder | _File]] = [("", self._top)]
        contents: dict[int, bytes] = {}
        while waiting:
            path, node = waiting.pop()
            if isinstance(node, _File):
                # a file with two names has one content
                if id(node) not in contents:
                    contents[id(node)] = node.content(chances)
                found[path] = contents[id(node)]
                continue
            if path:
                found[path] = None
            waiting += [(f"{path}/{name}".lstrip("/"), child) for name, child in node.content(chances).items()]
        return found


def write_state(folder: Path, state: dict[str, bytes | None]) -> str:
    """Write a state below a new folder; returns its digest."""
    folder.mkdir()
    digest = sha256()
    for path in sorted(state):
        content = state[path]
        digest.update(path.encode() + b"\0" + (b"" if content is None else content) + b"\0")
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
    return digest.hexdigest()
