"""What a model learns from: a query, and the text that answers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers.records import read_json_lines

__all__ = ["Pair", "read_each", "read_pairs"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a text that answers it.

    Attributes:
        query: The question; not blank.
        positive: The text that answers it; not blank.
        passage_id: Which passage the text is; pairs of one passage are no negatives of each other.
        source: Where the pair is from; pairs of one source share batches, but for what is left of each. None is a
            source of its own.
    """

    query: str
    positive: str
    passage_id: str | None = None
    source: str | None = None


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs from JSON Lines with the fields ``query`` and ``positive``, plain or gzip-compressed.

    ``passage_id`` and ``source`` may be there; other fields are not read.

    Args:
        path: A ``.jsonl`` or ``.jsonl.gz`` file.

    Returns:
        The pairs in file order; equal pairs once.

    Raises:
        CorpusFormatError: a line is no such object, or there is no pair; the message names file and line.
    """
    return list(dict.fromkeys(read_each(path, _pair, "pair", ("query", "positive"))))


def read_each(path: Path, parse: Callable[[dict[str, Any], str], T], what: str, fields: Sequence[str]) -> list[T]:
    """Read one object from each line of a file of JSON Lines.

    Args:
        path: Plain or gzip-compressed.
        parse: Given a line's object and its place in words.
        what: An object is called.
        fields: That a line must have.

    Raises:
        CorpusFormatError: a line is no JSON object or is refused by ``parse``, or there is none.
    """
    try:
        found = [parse(record, f"{path}:{number}") for number, record in read_json_lines(path)]
    except OSError as error:
        raise CorpusFormatError(f"{path}: cannot be read ({error.strerror}); expected a file of {what}s") from error
    if not found:
        expected = " and ".join(map(repr, fields))
        raise CorpusFormatError(f"{path}: there is no {what} in it; expected lines with {expected}")
    return found


def _pair(record: dict[str, Any], where: str) -> Pair:
    query, positive = (_text(record, name, where) for name in ("query", "positive"))
    return Pair(query, positive, _name(record, "passage_id", where), _name(record, "source", where))


def _text(record: dict[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise CorpusFormatError(
            f"{where}: expected a string {name!r} that is not blank, found {value!r:.80} among the fields "
            f"{list(record)[:8]}; correct or remove the line"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CorpusFormatError(
            f"{where}: character {error.start} of {name!r} is half of a surrogate pair, which no text may hold; decode "
            f"the text again from its source"
        ) from error
    return value


def _name(record: dict[str, Any], field: str, where: str) -> str | None:
    value = record.get(field)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise CorpusFormatError(f"{where}: expected a string or a whole number as {field!r}, found {value!r:.80}")
    return str(value)
