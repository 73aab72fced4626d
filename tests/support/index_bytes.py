"""What an index is made of, byte for byte."""

from __future__ import annotations

from pathlib import Path

__all__ = ["index_bytes"]


def index_bytes(path: Path) -> dict[Path, bytes]:
    """Every file of an index by its name, but the memory that SQLite's readers share."""
    files = (found for found in path.rglob("*") if found.is_file() and not found.name.endswith("-shm"))
    return {found.relative_to(path): found.read_bytes() for found in files}
