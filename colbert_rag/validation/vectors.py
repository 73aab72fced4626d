"""Token vectors of documents and queries that a user or an encoder may give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from colbert_rag.errors import InvalidQueryError, InvalidVectorsError
from colbert_rag.types import Document, Float32Array, TokenVectors

__all__ = ["check_count", "check_queries_encoded", "check_query_vectors", "check_token_vectors", "check_vector_list"]

# unit length in float16 is kept to about 0.001
_NORM_TOLERANCE = 0.02


def check_token_vectors(document: Document, tokens: object, dim: int, end: str = "Nothing was written.") -> None:
    """Check the token vectors of one document.

    Args:
        document: Whose vectors they are.
        tokens: As they were given.
        dim: Dimensions of a vector.
        end: The closing sentence of an error.

    Raises:
        InvalidVectorsError: wrong shape or type, not finite, not of unit length, or odd spans.
    """
    if not isinstance(tokens, TokenVectors):
        msg = f"document {document.id!r}: expected colbert_rag.TokenVectors, found {type(tokens).__name__}."
        raise InvalidVectorsError(msg)
    try:
        vectors, spans = np.asarray(tokens.vectors), np.asarray(tokens.spans)
    except ValueError as err:
        msg = f"document {document.id!r}: the vectors or the spans are no array: {err}. {end}"
        raise InvalidVectorsError(msg) from err
    problem = _vectors_problem(vectors, dim, _not_unit)
    if problem is None and (spans.shape != (len(vectors), 2) or spans.dtype.kind not in "iu"):
        problem = f"spans must be integers of shape ({len(vectors)}, 2), found {spans.dtype} {spans.shape}"
    if problem is None and ((spans[:, 0] > spans[:, 1]).any() or spans.min() < 0 or spans.max() > len(document.text)):
        problem = f"spans must have 0 <= start <= end <= {len(document.text)}, the length of the text"
    if problem is None and (np.diff(spans[:, 0].astype(np.int64)) < 0).any():
        problem = "the starts of spans must not fall from token to token"
    if problem:
        msg = f"document {document.id!r}: {problem}. {end}"
        raise InvalidVectorsError(msg)


def _vectors_problem(vectors: Any, dim: int, lengths_problem: Callable[[Float32Array], str | None]) -> str | None:
    if vectors.ndim != 2 or vectors.shape[1] != dim or not len(vectors):
        return f"vectors must have the shape (T, {dim}) with T >= 1, found {vectors.shape}"
    if vectors.dtype not in (np.float16, np.float32, np.float64):
        return f"vectors must be float16 or float32, found {vectors.dtype}"
    # no comparison holds for what is not finite, so its length is refused, too
    with np.errstate(over="ignore", invalid="ignore"):
        problem = lengths_problem(np.linalg.norm(np.asarray(vectors, np.float32), axis=1))
    if problem is None or np.isfinite(vectors).all():
        return problem
    row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
    return f"vector {row} is not finite"


def _not_unit(lengths: Float32Array) -> str | None:
    worst = int(np.abs(lengths - 1).argmax())
    if abs(lengths[worst] - 1) <= _NORM_TOLERANCE:
        return None
    return f"vector {worst} has length {lengths[worst]:.4f}, vectors must have unit length; normalise them"


def _no_weights(lengths: Float32Array) -> str | None:
    """A query's vector may be as long as its token weighs: MaxSim is still at most the number of vectors."""
    mean = lengths.mean()
    if not lengths.all():
        problem = f"vector {int(lengths.argmin())} has length 0.0000"
    elif not abs(mean - 1) <= _NORM_TOLERANCE:
        problem = f"the vectors have length {mean:.4f} in the mean"
    else:
        return None
    return f"{problem}; they must have unit length, or lengths above 0 whose mean is 1; normalise them"


def check_count(vectors: Sequence[object], texts: Sequence[object], end: str = "Nothing was written.") -> None:
    """An encoder must give as many results as it got texts.

    Args:
        vectors: The results.
        texts: What was encoded.
        end: The closing sentence of an error.

    Raises:
        InvalidVectorsError: it did not.
    """
    if len(vectors) != len(texts):
        msg = f"the encoder gave {len(vectors)} results for {len(texts)} texts. {end}"
        raise InvalidVectorsError(msg)


def check_vector_list(queries: object, dim: int) -> list[Any]:
    """Queries that were encoded elsewhere, as ``(Q, D) float32`` arrays.

    Raises:
        InvalidQueryError: no list, or unusable vectors.
    """
    if isinstance(queries, str) or not isinstance(queries, Iterable):
        msg = f"search_vectors takes a list of (Q, D) arrays, found {type(queries).__name__}."
        raise InvalidQueryError(msg)
    return [check_query_vectors(query, dim) for query in queries]


def check_query_vectors(query: Any, dim: int) -> Any:
    """A query's vectors as ``(Q, D) float32``.

    Raises:
        InvalidQueryError: wrong shape or type, not finite, of a length that no weight has.
    """
    try:
        vectors = np.asarray(query)
    except ValueError as err:
        msg = f"query: the vectors are no array of the shape (Q, {dim}): {err}."
        raise InvalidQueryError(msg) from err
    problem = _vectors_problem(vectors, dim, _no_weights)
    if problem:
        msg = f"query: {problem.replace('(T,', '(Q,').replace('T >= 1', 'Q >= 1')}."
        raise InvalidQueryError(msg)
    return np.ascontiguousarray(vectors, np.float32)


def check_queries_encoded(vectors: Sequence[Any], texts: Sequence[str], dim: int) -> list[Any]:
    """What an encoder made of queries, as ``(Q, D) float32`` arrays.

    Raises:
        InvalidQueryError: too few or too many, or unusable vectors.
    """
    if len(vectors) != len(texts):
        msg = f"the encoder gave {len(vectors)} results for {len(texts)} queries."
        raise InvalidQueryError(msg)
    return [check_query_vectors(query, dim) for query in vectors]
