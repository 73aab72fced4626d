"""Files and folders become a stream of documents."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from colbert_rag.errors import ColbertRagError, CorpusFormatError, InvalidDocumentError
from colbert_rag.readers.pages import read_html, read_pdf, read_plain
from colbert_rag.readers.records import read_csv, read_jsonl
from colbert_rag.types import Document
from colbert_rag.validation import check_documents

__all__ = ["SUPPORTED_SUFFIXES", "Corpus", "SkippedFile", "folder_of"]

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

# of a document's extra
_FOLDER = "indexed_from"

SUPPORTED_SUFFIXES = (*_PAGE_READERS, *_RECORD_READERS)
"""What a file name may end in, in any case."""


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file of a folder that gave no document, and why.

    Attributes:
        path: The file, or a subfolder.
        reason: In words.
        is_unreadable: Whether it should have given one: it is damaged, not UTF-8, not ours to open, or needs a package.
    """

    path: str
    reason: str
    is_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    name: str
    folder: str | None


class Corpus:
    """The documents of files and folders, read one file at a time while you iterate.

    A ``.txt``, ``.md``, ``.html`` or ``.pdf`` file is one document. Its id is the file's name, or the path relative
    to the given folder, with ``/`` on every system; ``metadata["source"]`` is its path. The records of ``.jsonl``,
    ``.jsonl.gz`` and ``.csv`` files carry their own ids. Folders are read with their subfolders, in sorted order;
    names that begin with a dot are left out, links to folders are not followed. :func:`folder_of` says which folder
    gave a document.

    A file of a folder that is one document is read whole or skipped. Records are given out as they are read, so one
    that is wrong ends the iteration, whether its file was named or found.

    Args:
        paths: Files and folders.

    Attributes:
        folders: The absolute path of each folder, and how many files were found in it, whether they can be read or not.
        skipped: Files of folders that are of no known type, blank, or cannot be read; complete once the iteration has
            ended.

    Raises:
        CorpusFormatError: a path does not exist, a file that was named itself is of no known type, or a folder cannot
            be read. Raised while iterating: a file that was named itself is blank or cannot be read, or a record.
        MissingDependencyError: raised while iterating: a file that was named itself needs a package that is not
            installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "notice.txt").write_text("The notice period is three months.")
        ...     [(document.id, document.text) for document in Corpus([folder])]
        [('notice.txt', 'The notice period is three months.')]
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self._found: list[SkippedFile] = []
        found = [source for path in paths for source in _find(Path(path), self._found)]
        n_files = Counter(source.folder for source in found)
        self.folders = {name: n_files[name] for path in map(Path, paths) if path.is_dir() for name in [_absolute(path)]}
        self._sources = [source for source in found if _suffix(source.path)]
        self._found += [_unknown(source.path) for source in found if not _suffix(source.path)]
        self.skipped: list[SkippedFile] = list(self._found)

    def __iter__(self) -> Iterator[Document]:
        self.skipped = list(self._found)
        for source in self._sources:
            suffix = _suffix(source.path)
            if suffix in _RECORD_READERS:
                yield from _RECORD_READERS[suffix](source.path)
            elif document := self._page(source, _PAGE_READERS[suffix]):
                yield document

    def _page(self, source: _Source, read: _PageReader) -> Document | None:
        """The document of a file; None where the file is skipped."""
        path = source.path.as_posix()
        if source.folder is None:
            return _named_page(source, read)
        try:
            text, metadata = read(source.path)
            document = Document(source.name, text, {"source": path, **metadata}, extra={_FOLDER: source.folder})
            if not text.strip():
                self.skipped.append(SkippedFile(path, "no text in it"))
                return None
            check_documents([document])
        except (ColbertRagError, OSError) as error:
            self.skipped.append(SkippedFile(path, _reason(error, source), is_unreadable=True))
            return None
        return document


def folder_of(document: Document) -> str | None:
    """The absolute path of the folder that gave a document, below which its id is a path; None for any other."""
    folder = document.extra.get(_FOLDER) if isinstance(document.extra, dict) else None
    return folder if isinstance(folder, str) else None


def _named_page(source: _Source, read: _PageReader) -> Document:
    text, metadata = read(source.path)
    path = source.path.as_posix()
    if not text.strip():
        raise CorpusFormatError(f"{path}: holds no text; leave it out (a scanned PDF needs text recognition first)")
    return Document(source.name, text, {"source": path, **metadata})


def _reason(error: ColbertRagError | OSError, source: _Source) -> str:
    """What is wrong with a file, without its name, which stands beside it."""
    if not isinstance(error, ColbertRagError):
        return f"cannot be read: {error.strerror or error}"
    if isinstance(error, InvalidDocumentError):
        # an index would refuse the document, and all that come with it
        return str(error).removeprefix(f"document {source.name!r}: ").removesuffix(". Nothing was written.")
    return str(error).removeprefix(f"{source.path}: ")


def _find(path: Path, skipped: list[SkippedFile]) -> Iterator[_Source]:
    if path.is_dir():
        folder = _absolute(path)
        yield from (_Source(file, file.relative_to(path).as_posix(), folder) for file in _walk(path, skipped))
    elif not path.is_file():
        raise CorpusFormatError(f"{path}: no such file or folder")
    elif not _suffix(path):
        raise CorpusFormatError(
            f"{path}: unknown file type; expected a name that ends in one of {', '.join(SUPPORTED_SUFFIXES)}"
        )
    else:
        yield _Source(path, path.name, None)


def _absolute(folder: Path) -> str:
    """One name for a folder, whatever folder it is named from."""
    short = Path(os.path.normpath(folder.absolute()))
    # behind a link, ".." may lead elsewhere
    return (short if short.is_dir() and short.samefile(folder) else folder.absolute()).as_posix()


def _walk(folder: Path, skipped: list[SkippedFile]) -> list[Path]:
    def note(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise CorpusFormatError(f"{folder}: this folder cannot be read: {error.strerror}") from error
        reason = f"this folder cannot be read: {error.strerror}"
        skipped.append(SkippedFile(Path(error.filename).as_posix(), reason, is_unreadable=True))

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(files, key=Path.as_posix)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in SUPPORTED_SUFFIXES if name.endswith(suffix)), "")


def _unknown(path: Path) -> SkippedFile:
    kind = "".join(path.suffixes[-1:]) or "no suffix"
    return SkippedFile(path.as_posix(), f"unknown file type ({kind})")
