"""Files and folders become a stream of documents."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers.pages import read_html, read_pdf, read_plain
from colbert_rag.readers.records import read_csv, read_jsonl
from colbert_rag.types import Document

__all__ = ["SUPPORTED_SUFFIXES", "Corpus", "SkippedFile"]

_PageReader: TypeAlias = Callable[[Path], tuple[str, dict[str, Any]]]
_RecordReader: TypeAlias = Callable[[Path], Iterator[Document]]

_PAGE_READERS: dict[str, _PageReader] = {
    ".txt": read_plain,
    ".md": read_plain,
    ".html": read_html,
    ".htm": read_html,
    ".pdf": read_pdf,
}
_RECORD_READERS: dict[str, _RecordReader] = {".jsonl": read_jsonl, ".jsonl.gz": read_jsonl, ".csv": read_csv}

SUPPORTED_SUFFIXES = (*_PAGE_READERS, *_RECORD_READERS)
"""What a file name may end in, in any case."""


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file of a folder that gave no document, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    name: str
    is_explicit: bool


class Corpus:
    """The documents of files and folders, read one file at a time while you iterate.

    A ``.txt``, ``.md``, ``.html`` or ``.pdf`` file is one document. Its id is the file's name, or the path relative
    to the given folder, with ``/`` on every system; ``metadata["source"]`` is its path. The records of ``.jsonl``,
    ``.jsonl.gz`` and ``.csv`` files carry their own ids. Folders are read with their subfolders, in sorted order;
    names that begin with a dot are left out, links to folders are not followed.

    Args:
        paths: Files and folders.

    Attributes:
        skipped: Files of folders that are of no known type, or blank; complete once the iteration has ended.

    Raises:
        CorpusFormatError: a path does not exist, or a file that was named itself is of no known type. Raised while
            iterating: a file cannot be read, or one that was named itself is blank.
        MissingDependencyError: raised while iterating: a file type needs a package that is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "notice.txt").write_text("The notice period is three months.")
        ...     [(document.id, document.text) for document in Corpus([folder])]
        [('notice.txt', 'The notice period is three months.')]
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        found = [source for path in paths for source in _find(Path(path))]
        self._sources = [source for source in found if _suffix(source.path)]
        self._unknown = [_unknown(source.path) for source in found if not _suffix(source.path)]
        self.skipped: list[SkippedFile] = list(self._unknown)

    def __iter__(self) -> Iterator[Document]:
        self.skipped = list(self._unknown)
        for source in self._sources:
            suffix = _suffix(source.path)
            if suffix in _RECORD_READERS:
                yield from _RECORD_READERS[suffix](source.path)
            else:
                yield from self._read_page(source, _PAGE_READERS[suffix])

    def _read_page(self, source: _Source, read: _PageReader) -> Iterator[Document]:
        text, metadata = read(source.path)
        path = source.path.as_posix()
        if text.strip():
            yield Document(source.name, text, {"source": path, **metadata})
        elif source.is_explicit:
            raise CorpusFormatError(f"{path}: holds no text; leave it out (a scanned PDF needs text recognition first)")
        else:
            self.skipped.append(SkippedFile(path, "no text in it"))


def _find(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        yield from (_Source(file, file.relative_to(path).as_posix(), False) for file in _walk(path))
    elif not path.is_file():
        raise CorpusFormatError(f"{path}: no such file or folder")
    elif not _suffix(path):
        raise CorpusFormatError(
            f"{path}: unknown file type; expected a name that ends in one of {', '.join(SUPPORTED_SUFFIXES)}"
        )
    else:
        yield _Source(path, path.name, True)


def _walk(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(files, key=Path.as_posix)


def _refuse(error: OSError) -> None:
    raise CorpusFormatError(f"{error.filename}: this folder cannot be read: {error.strerror}") from error


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in SUPPORTED_SUFFIXES if name.endswith(suffix)), "")


def _unknown(path: Path) -> SkippedFile:
    kind = "".join(path.suffixes[-1:]) or "no suffix"
    return SkippedFile(path.as_posix(), f"unknown file type ({kind})")
