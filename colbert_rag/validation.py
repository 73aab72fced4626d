"""What a user may pass in; everything else is refused before anything is written."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from colbert_rag.errors import DuplicateIdError, InvalidDocumentError, InvalidQueryError, InvalidVectorsError
from colbert_rag.types import Document, SearchConfig, TokenVectors

__all__ = [
    "check_commit_every",
    "check_count",
    "check_create_options",
    "check_documents",
    "check_ids",
    "check_k",
    "check_queries",
    "check_queries_encoded",
    "check_query_vectors",
    "check_search_config",
    "check_stream",
    "check_timeout",
    "check_token_vectors",
    "check_vector_list",
    "metadata_json",
]

_ID_BYTES = 512
_TEXT_BYTES = 64 << 20
_METADATA_BYTES = 1 << 20
_METADATA_DEPTH = 32
# Python reads no int of more than 4,300 digits back from JSON
_INT_BITS = 4_096
_QUERY_BYTES = 1 << 20
_MAX_K = 100_000
_NAMED = 5
# unit length in float16 is kept to about 0.001
_NORM_TOLERANCE = 0.02


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
        raise InvalidDocumentError(_listed(problems, "Nothing was written."))
    seen: set[str] = set()
    twice = [d.id for d in documents if d.id in seen or seen.add(d.id)]  # type: ignore[func-returns-value]
    if twice:
        msg = _listed([f"id {i!r} occurs twice in this batch" for i in dict.fromkeys(twice)], "Nothing was written.")
        raise DuplicateIdError(msg)


def _document_problem(document: object) -> str | None:
    if not isinstance(document, Document):
        return f"expected a colbert_rag.Document, found {type(document).__name__}"
    return _id_problem(document.id) or _text_problem(document.text, _TEXT_BYTES) or _metadata_problem(document.metadata)


def _id_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"the id must be a str, found {type(value).__name__}"
    if not value:
        return "the id is empty"
    problem = _surrogate_problem(value)
    if problem:
        return f"the id {problem}"
    if len(value.encode()) > _ID_BYTES:
        return f"the id has {len(value.encode())} bytes of UTF-8, at most {_ID_BYTES} are allowed"
    if any(unicodedata.category(c) == "Cc" for c in value):
        return "the id has control characters"
    return None


def _text_problem(value: object, most: int) -> str | None:
    if not isinstance(value, str):
        return f"the text must be a str, found {type(value).__name__}"
    if not value.strip():
        return "the text is blank"
    problem = _surrogate_problem(value)
    if problem:
        return f"the text {problem}"
    if len(value) > most or len(value.encode()) > most:
        return f"the text has {len(value.encode()):,} bytes of UTF-8, at most {most:,} are allowed"
    return None


def _surrogate_problem(value: str) -> str | None:
    try:
        value.encode()
    except UnicodeEncodeError as err:
        fix = "text.encode('utf-8', 'replace').decode() replaces it"
        return f"has a lone surrogate at character {err.start}, which is not Unicode text; {fix}"
    return None


def _metadata_problem(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return f"metadata must be a dict, found {type(value).__name__}"
    problem = _json_problem(value, "metadata", _METADATA_DEPTH)
    if problem:
        return problem
    size = len(metadata_json(value).encode())
    return f"metadata takes {size:,} bytes as JSON, at most {_METADATA_BYTES:,}" if size > _METADATA_BYTES else None


def _json_problem(value: object, where: str, depth: int) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _number_problem(value, where)
    if isinstance(value, str):
        problem = _surrogate_problem(value)
        return f"{where} {problem}" if problem else None
    if not isinstance(value, Mapping | list):
        return f"{where} is a {type(value).__name__}, which JSON cannot hold; convert it first"
    if depth == 0:
        return f"{where} is nested deeper than {_METADATA_DEPTH} levels"
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


def metadata_json(metadata: Mapping[str, Any]) -> str:
    """Metadata as the catalog stores it."""
    return json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=dict)


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
        raise InvalidDocumentError(_listed(problems, "Nothing was changed."))
    return found


def check_token_vectors(document: Document, tokens: object, dim: int) -> None:
    """Check the token vectors of one document.

    Raises:
        InvalidVectorsError: wrong shape or type, not finite, not of unit length, or odd spans.
    """
    if not isinstance(tokens, TokenVectors):
        msg = f"document {document.id!r}: expected colbert_rag.TokenVectors, found {type(tokens).__name__}."
        raise InvalidVectorsError(msg)
    vectors, spans = np.asarray(tokens.vectors), np.asarray(tokens.spans)
    problem = _vectors_problem(vectors, dim)
    if problem is None and (spans.shape != (len(vectors), 2) or spans.dtype.kind not in "iu"):
        problem = f"spans must be integers of shape ({len(vectors)}, 2), found {spans.dtype} {spans.shape}"
    if problem is None and ((spans[:, 0] > spans[:, 1]).any() or spans.min() < 0 or spans.max() > len(document.text)):
        problem = f"spans must have 0 <= start <= end <= {len(document.text)}, the length of the text"
    if problem is None and (np.diff(spans[:, 0].astype(np.int64)) < 0).any():
        problem = "the starts of spans must not fall from token to token"
    if problem:
        msg = f"document {document.id!r}: {problem}. Nothing was written."
        raise InvalidVectorsError(msg)


def _vectors_problem(vectors: Any, dim: int) -> str | None:
    if vectors.ndim != 2 or vectors.shape[1] != dim or not len(vectors):
        return f"vectors must have the shape (T, {dim}) with T >= 1, found {vectors.shape}"
    if vectors.dtype not in (np.float16, np.float32, np.float64):
        return f"vectors must be float16 or float32, found {vectors.dtype}"
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        return f"vector {row} is not finite"
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    worst = int(np.abs(norms - 1).argmax())
    if abs(norms[worst] - 1) > _NORM_TOLERANCE:
        return f"vector {worst} has length {norms[worst]:.4f}, vectors must have unit length; normalise them"
    return None


def check_queries(queries: object) -> list[str]:
    """The texts of queries.

    Raises:
        InvalidQueryError: no list, or a query is not a str, blank, too long, or not Unicode text.
    """
    if isinstance(queries, str) or not isinstance(queries, Iterable):
        msg = f"queries must be a list of queries, found {type(queries).__name__}; for one query use search()."
        raise InvalidQueryError(msg)
    texts = list(queries)
    problems = [
        f"query number {n}: {problem.replace('the text', 'it')}"
        for n, query in enumerate(texts)
        if (problem := _text_problem(query, _QUERY_BYTES))
    ]
    if problems:
        raise InvalidQueryError(_listed(problems, "Nothing was searched."))
    return texts


def check_vector_list(queries: object, dim: int) -> list[Any]:
    """Queries that were encoded elsewhere, as ``(Q, D) float32`` arrays.

    Raises:
        InvalidQueryError: no list, or unusable vectors.
    """
    if isinstance(queries, str) or not isinstance(queries, Iterable):
        msg = f"search_vectors takes a list of (Q, D) arrays, found {type(queries).__name__}."
        raise InvalidQueryError(msg)
    return [check_query_vectors(query, dim) for query in queries]


def check_count(vectors: Sequence[object], texts: Sequence[object]) -> None:
    """An encoder must give as many results as it got texts.

    Raises:
        InvalidVectorsError: it did not.
    """
    if len(vectors) != len(texts):
        msg = f"the encoder gave {len(vectors)} results for {len(texts)} texts. Nothing was written."
        raise InvalidVectorsError(msg)


def check_query_vectors(query: Any, dim: int) -> Any:
    """A query's vectors as ``(Q, D) float32``.

    Raises:
        InvalidQueryError: wrong shape or type, not finite, not of unit length.
    """
    try:
        vectors = np.asarray(query)
    except ValueError as err:
        msg = f"query: the vectors are no array of the shape (Q, {dim}): {err}."
        raise InvalidQueryError(msg) from err
    problem = _vectors_problem(vectors, dim)
    if problem:
        msg = f"query: {problem.replace('(T,', '(Q,').replace('T >= 1', 'Q >= 1')}."
        raise InvalidQueryError(msg)
    return np.ascontiguousarray(vectors, np.float32)


def check_commit_every(value: object) -> None:
    """How many documents a part of a write has.

    Raises:
        InvalidDocumentError: neither None nor an int of at least 1.
    """
    if value is not None and not _is_int(value, 1, 2**48):
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


def check_timeout(value: object) -> None:
    """Seconds to wait for another writer.

    Raises:
        InvalidQueryError: not a number of 0 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        msg = f"lock_timeout_s must be a number of seconds, 0 or more, found {value!r}."
        raise InvalidQueryError(msg)


def check_create_options(encoder: object, dim: object, bits: object, *thresholds: object) -> None:
    """The options of a new index.

    Raises:
        InvalidQueryError: an encoder and dim together, or a number out of range.
    """
    if encoder is not None and dim is not None:
        msg = "Index.create takes an encoder or dim, not both: an encoder brings its own dimension."
        raise InvalidQueryError(msg)
    if bits not in (1, 2, 4, 8):
        msg = f"bits must be 1, 2, 4 or 8, found {bits!r}."
        raise InvalidQueryError(msg)
    if dim is not None and not _is_int(dim, 1, 1024):
        msg = f"dim must be an int from 1 to 1,024, found {dim!r}."
        raise InvalidQueryError(msg)
    if not all(_is_int(value, 0, 2**48) for value in thresholds):
        msg = f"exact_tokens and probe_tokens must be ints of at least 0, found {thresholds!r}."
        raise InvalidQueryError(msg)


def _is_int(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def check_queries_encoded(vectors: Sequence[Any], texts: Sequence[str], dim: int) -> list[Any]:
    """What an encoder made of queries, as ``(Q, D) float32`` arrays.

    Raises:
        InvalidQueryError: too few or too many, or unusable vectors.
    """
    if len(vectors) != len(texts):
        msg = f"the encoder gave {len(vectors)} results for {len(texts)} queries."
        raise InvalidQueryError(msg)
    return [check_query_vectors(query, dim) for query in vectors]


def check_k(k: object) -> int:
    """The number of hits asked for.

    Raises:
        InvalidQueryError: not an int of 1 to 100,000.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= _MAX_K:
        msg = f"k must be an int from 1 to {_MAX_K:,}, found {k!r}."
        raise InvalidQueryError(msg)
    return int(k)


def check_search_config(config: object) -> SearchConfig:
    """Search options.

    Raises:
        InvalidQueryError: not a SearchConfig, or a number out of range.
    """
    if not isinstance(config, SearchConfig):
        msg = f"config must be a colbert_rag.SearchConfig, found {type(config).__name__}."
        raise InvalidQueryError(msg)
    for name, least, most in (("n_candidates", 1, 1_000_000), ("n_probe", 1, 65_536), ("passages", 0, 100)):
        value = getattr(config, name)
        if not _is_int(value, least, most):
            msg = f"SearchConfig.{name} must be an int from {least:,} to {most:,}, found {value!r}."
            raise InvalidQueryError(msg)
    return config


def _listed(problems: Sequence[str], end: str) -> str:
    more = f" (and {len(problems) - _NAMED} more)" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more + ". " + end
