"""Removing from an index what is gone from the folders that it was made of."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_rag.cli.output import say
from colbert_rag.readers import Corpus, folder_of
from colbert_rag.types import Document

if TYPE_CHECKING:
    from colbert_rag import Index

__all__ = ["remove_gone"]


def remove_gone(index: Index, corpus: Corpus, seen: Collection[str]) -> int:
    """Delete the documents that came from the folders of a corpus and whose files are there no more.

    A folder without any file is let be: a disk that is not mounted looks just so.

    Args:
        index: Where from.
        corpus: Just read.
        seen: The ids of its documents.

    Returns:
        The number of documents deleted.
    """
    folders = {folder for folder, n_files in corpus.folders.items() if n_files}
    for folder in sorted(corpus.folders.keys() - folders):
        say(f"nothing of {folder} is removed: it holds no file; to remove documents by name: colbert-rag delete")

    def is_gone(document: Document) -> bool:
        folder = folder_of(document)
        return folder in folders and document.id not in seen and not _is_there(Path(folder or "", document.id))

    return index.delete(filter=is_gone) if folders else 0


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    # what cannot be looked at is not known to be gone
    except OSError:
        return True
    return True
