"""Documents and ids that a user may pass in."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from colbert_rag.errors import DuplicateIdError, InvalidDocumentError
from colbert_rag.storage.rows import MOST_LEVELS, json_text
from colbert_rag.types import Document
from colbert_rag.validation.problems import is_int, listed, surrogate_problem, text_problem

__all__ = ["check_commit_every", "check_documents", "check_ids", "check_pair", "check_stream", "check_texts"]

_ID_BYTES = 512
_TEXT_BYTES = 64 << 20
_HEADING_BYTES = 1 << 20
_METADATA_BYTES = 1 << 20
# an adapter may keep a whole object beside a text, a picture in it included
_EXTRA_BYTES = 64 << 20
# Python reads no int of more than 4,300 digits back from JSON
_INT_BITS = 4_096


def check_documents(documents: Sequence[Document]) -> None:
    """Check ids, texts and metadata of a batch, and that no id occurs twice.

    Raises:
        InvalidDocumentError: naming the first offending documents and what is wrong with each.
        DuplicateIdError: naming ids that occur twice.
    """
    problems = []
    for position, document in enumerate(documents):
        problem = _document_problem(document)
        if problem:
            name = repr(document.id) if isinstance(document, Document) else f"number {position}"
            problems.append(f"document {name}: {problem}")
    if problems:
        raise InvalidDocumentError(listed(problems, "Nothing was written."))
    seen: set[str] = set()
    twice = [d.id for d in documents if d.id in seen or seen.add(d.id)]  # type: ignore[func-returns-value]
    if twice:
        msg = listed([f"id {i!r} occurs twice in this batch" for i in dict.fromkeys(twice)], "Nothing was written.")
        raise DuplicateIdError(msg)


def check_texts(documents: Sequence[Document]) -> None:
    """Check texts and headings that are ranked and written nowhere.

    Raises:
        InvalidDocumentError: naming the first offending texts by their places, from 0 on.
    """
    found = (_document_problem(document) for document in documents)
    problems = [f"text number {n}: {problem}" for n, problem in enumerate(found) if problem]
    if problems:
        raise InvalidDocumentError(listed(problems, "Nothing was ranked."))


def _document_problem(document: object) -> str | None:
    if not isinstance(document, Document):
        return f"expected a colbert_rag.Document, found {type(document).__name__}"
    return (
        _id_problem(document.id)
        or text_problem(document.text, _TEXT_BYTES)
        or _heading_problem(document.heading)
        or (None if document.ref_id is None else _ref_problem(document.ref_id))
        or _metadata_problem(document.metadata)
        or _extra_problem(document.extra)
    )


def _heading_problem(value: object) -> str | None:
    problem = None if value == "" else text_problem(value, _HEADING_BYTES)
    return problem and problem.replace("the text", "the heading")


def _ref_problem(value: object) -> str | None:
    problem = _id_problem(value)
    return problem and problem.replace("the id", "the ref_id")


def _id_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"the id must be a str, found {type(value).__name__}"
    if not value:
        return "the id is empty"
    problem = surrogate_problem(value)
    if problem:
        return f"the id {problem}"
    if len(value.encode()) > _ID_BYTES:
        return f"the id has {len(value.encode())} bytes of UTF-8, at most {_ID_BYTES} are allowed"
    if any(unicodedata.category(c) == "Cc" for c in value):
        return "the id has control characters"
    return None


def _metadata_problem(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return f"metadata must be a dict, found {type(value).__name__}"
    problem = _json_problem(value, "metadata", MOST_LEVELS)
    if problem:
        return problem
    return _size_problem(value, "metadata", _METADATA_BYTES)


def _extra_problem(value: object) -> str | None:
    return _json_problem(value, "extra", MOST_LEVELS) or _size_problem(value, "extra", _EXTRA_BYTES)


def _size_problem(value: object, where: str, most: int) -> str | None:
    size = 0 if value is None else len(json_text(value).encode())
    return f"{where} takes {size:,} bytes as JSON, at most {most:,}" if size > most else None


def _json_problem(value: object, where: str, depth: int) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _number_problem(value, where)
    if isinstance(value, str):
        problem = surrogate_problem(value)
        return f"{where} {problem}" if problem else None
    if not isinstance(value, Mapping | list):
        return f"{where} is a {type(value).__name__}, which JSON cannot hold; convert it first"
    if depth == 0:
        return f"{where} is nested deeper than {MOST_LEVELS} levels"
    items = (
        _mapping_problems(value, where, depth) if isinstance(value, Mapping) else _list_problems(value, where, depth)
    )
    return next((problem for problem in items if problem), None)


def _number_problem(value: float, where: str) -> str | None:
    if isinstance(value, int):
        size = value.bit_length()
        return f"{where} is an int of {size:,} bits, at most {_INT_BITS:,} are allowed" if size > _INT_BITS else None
    return None if math.isfinite(value) else f"{where} is {value}, which JSON cannot hold"


def _list_problems(value: list[Any], where: str, depth: int) -> Iterator[str | None]:
    return (_json_problem(item, f"{where}[{n}]", depth - 1) for n, item in enumerate(value))


def _mapping_problems(value: Mapping[Any, Any], where: str, depth: int) -> Iterator[str | None]:
    for key, item in value.items():
        if not isinstance(key, str):
            yield f"{where} has a key of type {type(key).__name__}, JSON keys are str"
        else:
            yield _json_problem(key, f"a key of {where}", depth) or _json_problem(item, f"{where}[{key!r}]", depth - 1)


def check_pair(pair: object, number: int) -> None:
    """What stands for a document whose vectors were made elsewhere; both are checked later.

    Args:
        pair: As it was given.
        number: Which one it is, from 0 on.

    Raises:
        InvalidDocumentError: no pair.
    """
    if isinstance(pair, tuple | list) and len(pair) == 2:
        return
    found = type(pair).__name__ + (f" of {len(pair)}" if isinstance(pair, tuple | list) else "")
    problem = f"document number {number}: expected a pair (Document, TokenVectors), found {found}"
    raise InvalidDocumentError(listed([problem], "Nothing was written."))


def check_ids(ids: object) -> list[str]:
    """Check the ids of a delete or a look-up.

    Raises:
        InvalidDocumentError: not a collection of str.
    """
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        msg = f"ids must be a list of str, found {type(ids).__name__}. For one document pass [{ids!r}]."
        raise InvalidDocumentError(msg)
    found = list(ids)
    problems = [f"id number {n}: {p}" for n, value in enumerate(found) if (p := _id_problem(value))]
    if problems:
        raise InvalidDocumentError(listed(problems, "Nothing was changed."))
    return found


def check_commit_every(value: object) -> None:
    """How many documents a part of a write has.

    Raises:
        InvalidDocumentError: neither None nor an int of at least 1.
    """
    if value is not None and not is_int(value, 1, 2**48):
        msg = f"commit_every must be None or an int of at least 1, found {value!r}."
        raise InvalidDocumentError(msg)


def check_stream(documents: object) -> None:
    """The argument of a write.

    Raises:
        InvalidDocumentError: not something to iterate over.
    """
    if not isinstance(documents, Iterable) or isinstance(documents, str | Mapping):
        msg = f"documents must be a list or another iterable, found {type(documents).__name__}; wrap one in a list."
        raise InvalidDocumentError(msg)
