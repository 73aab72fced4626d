"""What a model learns from: a query, and the text that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers.records import read_json_lines

__all__ = ["Pair", "read_pairs"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a text that answers it.

    Attributes:
        query: The question; not blank.
        positive: The text that answers it; not blank.
        passage_id: Which passage the text is; pairs of one passage are no negatives of each other.
    """

    query: str
    positive: str
    passage_id: str | None = None


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs from JSON Lines with the fields ``query`` and ``positive``, plain or gzip-compressed.

    ``passage_id`` may be there; other fields are not read.

    Args:
        path: A ``.jsonl`` or ``.jsonl.gz`` file.

    Returns:
        The pairs in file order; equal pairs once.

    Raises:
        CorpusFormatError: a line is no such object, or there is no pair; the message names file and line.
    """
    try:
        pairs = [_pair(record, f"{path}:{number}") for number, record in read_json_lines(path)]
    except OSError as error:
        raise CorpusFormatError(f"{path}: cannot be read ({error.strerror}); expected a file of pairs") from error
    if not pairs:
        raise CorpusFormatError(f"{path}: there is no pair in it; expected lines with 'query' and 'positive'")
    return list(dict.fromkeys(pairs))


def _pair(record: dict[str, Any], where: str) -> Pair:
    query, positive = (_text(record, name, where) for name in ("query", "positive"))
    return Pair(query, positive, _passage_id(record, where))


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


def _passage_id(record: dict[str, Any], where: str) -> str | None:
    value = record.get("passage_id")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise CorpusFormatError(f"{where}: expected a string or a whole number as 'passage_id', found {value!r:.80}")
    return str(value)
