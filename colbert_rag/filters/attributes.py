"""Metadata as the flat names and values that filters see."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from colbert_rag.filters.tree import Scalar
from colbert_rag.types import JsonValue

__all__ = ["attributes", "comparable"]


def attributes(metadata: Mapping[str, JsonValue]) -> list[tuple[str, Scalar]]:
    """Names and values of metadata, each pair once, in order of appearance.

    Nested objects give dotted names, lists one pair per element at any depth, None nothing.

    Args:
        metadata: What JSON can hold, no NaN.
    """
    pairs = (pair for key, value in metadata.items() for pair in _pairs(key, value))
    # 1, 1.0 and True are one key of a dict, and one primary key in SQLite
    return list(dict.fromkeys(pairs))


def _pairs(name: str, value: JsonValue) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _pairs(f"{name}.{key}", item)
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(name, item)
    elif value is not None:
        yield name, comparable(value)


def comparable(value: Scalar) -> Scalar:
    """A value as it is compared: a plain str, float, or int of 64 bits.

    Bool becomes int; an int beyond 64 bits becomes the nearest float, or infinity.
    """
    if isinstance(value, str):
        # the text itself, where an Enum would give its name
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    number = int(value)
    if -(2**63) <= number < 2**63:
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
