"""What a write or a creation that did not finish leaves in an index folder, and removing it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from colbert_rag.storage.connection import CATALOG
from colbert_rag.storage.files import remove_file, remove_folder
from colbert_rag.storage.segment import is_data_folder
from colbert_rag.storage.system_errors import disk_errors

__all__ = ["UNFINISHED", "leftovers", "remove_leftovers", "unfinished_creations"]

UNFINISHED = CATALOG + ".new-"
"""How the name of a catalog begins that is being built."""


def leftovers(root: Path, named: Collection[str]) -> list[Path]:
    """What does not belong to a commit: data folders that it does not name, and catalogs of unfinished creations.

    Args:
        root: The index folder.
        named: The folders that the commit names.

    Raises:
        StorageError: the folder cannot be read.
    """
    with disk_errors(root):
        folders = [path for path in root.iterdir() if path.name not in named and is_data_folder(path)]
    return sorted([*folders, *unfinished_creations(root)])


def unfinished_creations(root: Path) -> list[Path]:
    """Files of catalogs that were never given their name, or that kept the one they were built under as well."""
    with disk_errors(root):
        return [path for path in root.iterdir() if path.name.startswith(UNFINISHED) and not path.is_dir()]


def remove_leftovers(paths: Collection[Path]) -> None:
    """Remove what :func:`leftovers` found; what cannot be removed now is left to the next write."""
    for path in paths:
        if is_data_folder(path):
            remove_folder(path)
        else:
            remove_file(path)
