"""Queries and options that a user may pass in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np

from colbert_rag.errors import InvalidQueryError
from colbert_rag.types import MODES, Mode, SearchConfig
from colbert_rag.validation.problems import is_int, listed, text_problem

__all__ = [
    "check_create_options",
    "check_k",
    "check_limit",
    "check_mode",
    "check_pool_factor",
    "check_queries",
    "check_search_config",
    "check_timeout",
]

_QUERY_BYTES = 1 << 20
_MAX_K = 100_000
# what it costs is measured so far, see docs/benchmarks.md
_MAX_POOL_FACTOR = 4
_CONFIG_RANGES = {
    "n_candidates": (1, 1_000_000),
    "n_probe": (1, 65_536),
    "passages": (0, 100),
    "passage_sentences": (1, 100),
    "fetch_k": (1, 1_000),
}


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
        if (problem := text_problem(query, _QUERY_BYTES))
    ]
    if problems:
        raise InvalidQueryError(listed(problems, "Nothing was searched."))
    return texts


def check_k(k: object) -> int:
    """The number of hits asked for.

    Raises:
        InvalidQueryError: not an int of 1 to 100,000.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= _MAX_K:
        msg = f"k must be an int from 1 to {_MAX_K:,}, found {k!r}."
        raise InvalidQueryError(msg)
    return int(k)


def check_limit(limit: object) -> int | None:
    """The most documents asked for.

    Raises:
        InvalidQueryError: neither None nor an int of 0 or more.
    """
    if limit is not None and not is_int(limit, 0, 2**48):
        msg = f"limit must be None or an int of 0 or more, found {limit!r}."
        raise InvalidQueryError(msg)
    return cast("int | None", limit)


def check_mode(mode: object) -> Mode:
    """What to rank by.

    Raises:
        InvalidQueryError: not one of the modes.
    """
    if mode not in MODES:
        msg = f"mode must be one of {', '.join(MODES)}, found {mode!r}."
        raise InvalidQueryError(msg)
    return cast("Mode", mode)


def check_search_config(config: object) -> SearchConfig:
    """Search options.

    Raises:
        InvalidQueryError: not a SearchConfig, or a number out of range.
    """
    if not isinstance(config, SearchConfig):
        msg = f"config must be a colbert_rag.SearchConfig, found {type(config).__name__}."
        raise InvalidQueryError(msg)
    for name, (least, most) in _CONFIG_RANGES.items():
        value = getattr(config, name)
        if not is_int(value, least, most):
            msg = f"SearchConfig.{name} must be an int from {least:,} to {most:,}, found {value!r}."
            raise InvalidQueryError(msg)
    for name in ("maxsim_weight", "diversity", "locality"):
        value = getattr(config, name)
        if name == "maxsim_weight" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            msg = f"SearchConfig.{name} must be a number from 0 to 1, found {value!r}."
            raise InvalidQueryError(msg)
    exact: object = config.exact
    if not isinstance(exact, bool):
        msg = f"SearchConfig.exact must be True or False, found {exact!r}."
        raise InvalidQueryError(msg)
    if config.fusion not in ("rrf", "weighted"):
        msg = f"SearchConfig.fusion must be 'rrf' or 'weighted', found {config.fusion!r}."
        raise InvalidQueryError(msg)
    return config


def check_pool_factor(value: object) -> None:
    """How many token vectors of a document become one.

    Raises:
        InvalidQueryError: not an int of 1 to 4.
    """
    if not is_int(value, 1, _MAX_POOL_FACTOR):
        msg = f"pool_factor must be an int from 1 (no pooling) to {_MAX_POOL_FACTOR}, found {value!r}."
        raise InvalidQueryError(msg)


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
    if not is_int(bits, 1, 8) or bits not in (1, 2, 4, 8):
        msg = f"bits must be 1, 2, 4 or 8, found {bits!r}."
        raise InvalidQueryError(msg)
    if dim is not None and not is_int(dim, 1, 1024):
        msg = f"dim must be an int from 1 to 1,024, found {dim!r}."
        raise InvalidQueryError(msg)
    if not all(is_int(value, 0, 2**48) for value in thresholds):
        msg = f"exact_tokens and probe_tokens must be ints of at least 0, found {thresholds!r}."
        raise InvalidQueryError(msg)
