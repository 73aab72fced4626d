"""The way in for filters: everything that a user writes becomes a checked condition or an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from colbert_rag.filters.checks import found, items, refs_of, refusal, text, texts, unknown_operator
from colbert_rag.filters.leaves import any_of, between, compare
from colbert_rag.filters.limits import check_level, check_size
from colbert_rag.filters.mongo import from_mapping
from colbert_rag.filters.tree import (
    And,
    Between,
    Compare,
    Comparison,
    Condition,
    Exists,
    HasId,
    HasRef,
    In,
    Not,
    Or,
)

__all__ = ["parse"]

_COMPARISONS = get_args(Comparison)


def parse(filter: Mapping[str, Any] | Condition) -> Condition:
    """Check a filter.

    Values come out as they are compared, and None as the absence of a field, so that equal conditions
    choose the same documents and every condition is hashable.

    Args:
        filter: A mapping in the style of MongoDB, or a condition; ``{}`` holds for every document.

    Returns:
        A condition for ``to_sql`` and ``matches``; parsing it again gives the same.

    Raises:
        InvalidFilterError: what is wrong, where, and what is allowed.
    """
    condition = _condition(filter)
    check_size(condition)
    return condition


def _condition(given: object) -> Condition:
    if isinstance(given, Mapping):
        return from_mapping(given, "filter")
    if isinstance(given, Condition):
        return _checked(given, "filter", 0)
    expected = 'expected a mapping such as {"lang": "en"} or a condition of colbert_rag.filters'
    raise refusal("filter", f"{expected}, found {found(given)}.")


def _checked(given: object, place: str, level: int) -> Condition:
    check_level(level)
    match given:
        case And(parts):
            return And(_parts(parts, f"{place}.parts", level))
        case Or(parts):
            return Or(_parts(parts, f"{place}.parts", level))
        case Not(part):
            return Not(_checked(part, f"{place}.part", level + 1))
        case HasId(ids):
            return HasId(texts(ids, f"{place}.ids"))
        case HasRef(refs):
            return HasRef(refs_of(refs, f"{place}.refs"))
        case Compare() | Between() | In() | Exists():
            return _checked_field(given, text(given.field, f"{place}.field"), place)
        case _:
            raise refusal(place, f"expected a condition of colbert_rag.filters, found {found(given)}.")


def _parts(given: object, place: str, level: int) -> tuple[Condition, ...]:
    return tuple(_checked(part, f"{place}[{n}]", level + 1) for n, part in enumerate(items(given, place)))


def _checked_field(given: Compare | Between | In | Exists, field: str, place: str) -> Condition:
    match given:
        case Exists():
            return Exists(field)
        case In(_, values):
            return any_of(field, values, f"{place}.values")
        case Between(_, low, high):
            return between(field, low, high, (f"{place}.low", f"{place}.high"))
        case Compare(_, op, value):
            if op not in _COMPARISONS:
                raise unknown_operator(op, f"{place}.op", _COMPARISONS)
            return compare(field, op, value, f"{place}.value")
