"""Examples in a file: one JSON object a line."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from colbert_rag.errors import CorpusFormatError
from colbert_rag.training.examples import Example
from colbert_rag.training.pairs import read_each

__all__ = ["as_json_lines", "read_examples"]


def as_json_lines(examples: Sequence[Example]) -> str:
    """Return the text of a file of examples: ``query``, ``documents``, and ``scores``, null where there are none."""
    return "".join(json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples)


def read_examples(path: Path) -> list[Example]:
    """Read what ``as_json_lines`` gives, plain or gzip-compressed; other fields are not read.

    Raises:
        CorpusFormatError: a line is no such object, or there is no example; the message names file and line.
    """
    return read_each(path, _example, "example", ("query", "documents"))


def _example(record: dict[str, Any], where: str) -> Example:
    query, documents, scores = record.get("query"), record.get("documents"), record.get("scores")
    if not _is_text(query):
        raise CorpusFormatError(f"{where}: expected a string 'query' that is not blank, found {query!r:.80}")
    if not isinstance(documents, list) or not documents or not all(map(_is_text, documents)):
        raise CorpusFormatError(
            f"{where}: expected a list 'documents' of strings that are not blank, the positive first; found "
            f"{documents!r:.80}"
        )
    if scores is not None and not (
        isinstance(scores, list) and len(scores) == len(documents) and all(map(_is_finite, scores))
    ):
        raise CorpusFormatError(
            f"{where}: expected {len(documents)} finite numbers as 'scores', one for a document; found {scores!r:.80}"
        )
    return Example(str(query), tuple(documents), None if scores is None else tuple(map(float, scores)))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
