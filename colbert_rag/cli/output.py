"""Where output goes: results to stdout, all else to stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from colbert_rag.cli.text import printable

__all__ = ["bytes_in_words", "counted", "emit_json", "error_console", "make_table", "output_console", "say"]


def output_console() -> Console:
    """Return a console on stdout that takes no markup and no emoji codes from the texts it prints."""
    return Console(markup=False, emoji=False, highlight=False)


def error_console() -> Console:
    """Return such a console on stderr."""
    return Console(markup=False, emoji=False, highlight=False, stderr=True)


def say(message: str) -> None:
    """Print one message on stderr; it may quote documents or file names."""
    error_console().print(printable(message), soft_wrap=True)


def emit_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one JSON document on stdout, in ASCII, so that no text in it can steer a terminal."""
    print(json.dumps(value, indent=2, allow_nan=False))


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left")
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``"1 file"``, ``"2,000 files"``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def bytes_in_words(size: float) -> str:
    """Return a size as ``"1.5 MiB"``."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
