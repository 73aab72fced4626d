"""Comparisons of one field, their values checked, None rewritten as the absence of the field."""

from __future__ import annotations

from colbert_rag.filters.checks import found, items, refusal, scalar
from colbert_rag.filters.tree import And, Between, Compare, Comparison, Condition, Exists, In, Not, Or

__all__ = ["all_of", "any_of", "between", "compare", "exists", "in_range"]


def compare(field: str, op: Comparison, value: object, place: str) -> Condition:
    """One comparison; equality with None is the absence of the field.

    Raises:
        InvalidFilterError: the value cannot be compared.
    """
    if value is None and op == "eq":
        return Not(Exists(field))
    return Compare(field, op, scalar(value, place))


def any_of(field: str, values: object, place: str) -> Condition:
    """Equality with one of several values, None among them being the absence of the field.

    Raises:
        InvalidFilterError: no list, or a value cannot be compared.
    """
    given = items(values, place)
    equal = In(field, tuple(scalar(v, f"{place}[{n}]") for n, v in enumerate(given) if v is not None))
    return Or((equal, Not(Exists(field)))) if len(equal.values) < len(given) else equal


def all_of(field: str, values: object, place: str) -> Condition:
    """Equality with each of several values; without values it holds for nothing.

    Raises:
        InvalidFilterError: no list, or a value cannot be compared.
    """
    parts = tuple(compare(field, "eq", value, f"{place}[{n}]") for n, value in enumerate(items(values, place)))
    return And(parts) if parts else Or(())


def in_range(field: str, ends: object, place: str) -> Condition:
    """A range given as ``[low, high]``.

    Raises:
        InvalidFilterError: no list of two, or see :func:`between`.
    """
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        count = f" of {len(ends)}" if isinstance(ends, list | tuple) else ""
        raise refusal(place, f"expected [low, high], found {found(ends)}{count}.")
    low, high = ends
    return between(field, low, high, (f"{place}[0]", f"{place}[1]"))


def between(field: str, low: object, high: object, places: tuple[str, str]) -> Condition:
    """A range with both ends.

    Raises:
        InvalidFilterError: an end cannot be compared, or one is a number and the other a str.
    """
    least, most = scalar(low, places[0]), scalar(high, places[1])
    if isinstance(least, str) != isinstance(most, str):
        raise refusal(places[1], f"expected two numbers or two str, found {found(low)} and {found(high)}.")
    return Between(field, least, most)


def exists(field: str, wanted: object, place: str) -> Condition:
    """Presence or absence of a field.

    Raises:
        InvalidFilterError: neither True nor False.
    """
    if not isinstance(wanted, bool):
        raise refusal(place, f"expected True or False, found {found(wanted)}.")
    return Exists(field) if wanted else Not(Exists(field))
