"""How large a filter may be: what SQLite can run, and what a person can mean."""

from __future__ import annotations

from collections.abc import Iterator

from colbert_rag.errors import InvalidFilterError
from colbert_rag.filters.tree import And, Between, Compare, Condition, HasId, HasRef, In, Not, Or

__all__ = ["check_level", "check_size"]

# SQLite's parser keeps up to three symbols of a hundred per level
_LEVELS = 32
# a chain of AND is as deep an expression as it is long, and SQLite allows 1,000
_COMPARISONS = 500
# with three names per comparison still within SQLite's 32,766 parameters
_VALUES = 30_000


def check_level(level: int) -> None:
    """Refuse to go on into a filter that is nested too deep.

    Raises:
        InvalidFilterError: more than 32 levels of and, or, not.
    """
    if level > _LEVELS:
        msg = f"filter: nested deeper than {_LEVELS} levels of and, or, not. Join parts of one kind into one list."
        raise InvalidFilterError(msg)


def check_size(condition: Condition) -> None:
    """Refuse a condition that is too deep or too large.

    Raises:
        InvalidFilterError: more than 32 levels, 500 comparisons or 30,000 values.
    """
    check_level(_levels(condition))
    leaves = list(_leaves(condition))
    if len(leaves) > _COMPARISONS:
        msg = (
            f"filter: {len(leaves):,} comparisons, at most {_COMPARISONS} are allowed. "
            "Many values of one field go into one $in."
        )
        raise InvalidFilterError(msg)
    n_values = sum(map(_n_values, leaves))
    if n_values > _VALUES:
        msg = (
            f"filter: {n_values:,} values, at most {_VALUES:,} are allowed. "
            "Mark the documents in their metadata and filter by that mark, or filter with a function of the document."
        )
        raise InvalidFilterError(msg)


def _parts(condition: Condition) -> tuple[Condition, ...]:
    match condition:
        case And(parts) | Or(parts):
            return parts
        case Not(part):
            return (part,)
        case _:
            return ()


def _levels(condition: Condition) -> int:
    return 1 + max(map(_levels, parts)) if (parts := _parts(condition)) else 0


def _leaves(condition: Condition) -> Iterator[Condition]:
    parts = _parts(condition)
    if not parts:
        yield condition
    for part in parts:
        yield from _leaves(part)


def _n_values(leaf: Condition) -> int:
    match leaf:
        case In(_, values) | HasId(values) | HasRef(values):
            return len(values)
        case Between():
            return 2
        case Compare():
            return 1
        case _:
            return 0
