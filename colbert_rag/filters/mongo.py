"""Filters in the style of MongoDB, as conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from colbert_rag.filters.checks import found, items, quoted, refs_of, refusal, text, texts, unknown_operator
from colbert_rag.filters.leaves import all_of, any_of, compare, exists, in_range
from colbert_rag.filters.limits import check_level
from colbert_rag.filters.tree import And, Comparison, Condition, HasId, HasRef, Not, Or

__all__ = ["from_mapping"]

_COMPARISONS: dict[str, Comparison] = {
    "$eq": "eq",
    "$gt": "gt",
    "$gte": "gte",
    "$lt": "lt",
    "$lte": "lte",
    "$contains": "contains",
    "$icontains": "icontains",
}
_NEGATED = {"$ne": "$eq", "$nin": "$in"}
_OTHERS: dict[str, Callable[[str, object, str], Condition]] = {
    "$in": any_of,
    "$all": all_of,
    "$exists": exists,
    "$between": in_range,
}
_OF_FIELDS = (*_COMPARISONS, *_NEGATED, *_OTHERS, "$not")
_OF_FILTERS = ("$and", "$or", "$nor", "$not", "$id", "$ref_id")


def from_mapping(given: object, place: str, level: int = 0) -> Condition:
    """The condition that a mapping stands for.

    ``$all`` without values holds for nothing, as in MongoDB.

    Args:
        given: ``{"lang": "en", "year": {"$gte": 2020}, "$or": [{…}, {…}]}``; all entries must hold.
        place: How a message names it.
        level: Number of and, or, not around it.

    Raises:
        InvalidFilterError: what is wrong, where, and what is allowed.
    """
    check_level(level)
    if not isinstance(given, Mapping):
        raise refusal(place, f'expected a mapping such as {{"lang": "en"}}, found {found(given)}.')
    return _all([_entry(key, value, _inside(place, key), level) for key, value in _checked_keys(given, place)])


def _checked_keys(given: Mapping[object, object], place: str) -> list[tuple[str, object]]:
    entries = []
    for key, value in given.items():
        if not isinstance(key, str):
            raise refusal(place, f"keys must be str, found {found(key)}.")
        entries.append((text(key, _inside(place, key)), value))
    return entries


def _entry(key: str, value: object, place: str, level: int) -> Condition:
    match key:
        case "$and":
            return And(_filters(value, place, level))
        case "$or" | "$nor":
            either = Or(_filters(value, place, level))
            return Not(either) if key == "$nor" else either
        case "$not":
            return Not(from_mapping(value, place, level + 1))
        case "$id":
            return HasId(_ids(value, place))
        case "$ref_id":
            return HasRef(refs_of([value] if isinstance(value, str) or value is None else value, place))
        case _:
            return _field(key, value, place, level)


def _filters(given: object, place: str, level: int) -> tuple[Condition, ...]:
    return tuple(from_mapping(item, f"{place}[{n}]", level + 1) for n, item in enumerate(items(given, place)))


def _ids(given: object, place: str) -> tuple[str, ...]:
    return texts([given] if isinstance(given, str) else given, place)


def _field(field: str, value: object, place: str, level: int) -> Condition:
    if field.startswith("$"):
        advice = f'It stands inside: {{"field": {{{quoted(field)}: …}}}}.' if field in _OF_FIELDS else ""
        raise unknown_operator(field, place, _OF_FILTERS, advice)
    if isinstance(value, Mapping):
        return _operators(field, value, place, level)
    if isinstance(value, list | tuple | set | frozenset):
        return any_of(field, value, place)
    return compare(field, "eq", value, place)


def _operators(field: str, given: object, place: str, level: int) -> Condition:
    check_level(level)
    if not isinstance(given, Mapping) or not given:
        raise refusal(place, f'expected operators such as {{"$gte": 2020}}, found {_found_instead(given)}.')
    entries = _checked_keys(given, place)
    for name, _ in entries:
        _check_operator(name, field, place)
    return _all([_operator(field, name, value, _inside(place, name), level) for name, value in entries])


def _found_instead(given: object) -> str:
    return "an empty mapping" if isinstance(given, Mapping) else found(given)


def _operator(field: str, name: str, value: object, place: str, level: int) -> Condition:
    if name == "$not":
        return Not(_operators(field, value, place, level + 1))
    if name in _NEGATED:
        return Not(_operator(field, _NEGATED[name], value, place, level))
    if name in _COMPARISONS:
        return compare(field, _COMPARISONS[name], value, place)
    return _OTHERS[name](field, value, place)


def _check_operator(name: str, field: str, place: str) -> None:
    if name in _OF_FIELDS:
        return
    if name.startswith("$"):
        advice = f"It stands outside: {{{quoted(name)}: [{{{quoted(field)}: …}}]}}." if name in _OF_FILTERS else ""
        raise unknown_operator(name, _inside(place, name), _OF_FIELDS, advice)
    operator = f"${name.lower()}"
    advice = (
        f"Did you mean {operator}?"
        if operator in _OF_FIELDS
        else f"A field of an object is named with a dot: {quoted(f'{field}.{name}')}."
    )
    raise refusal(place, f"expected operators such as $gte, found the key {quoted(name)}. {advice}")


def _all(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _inside(place: str, key: str) -> str:
    return f"{place}[{quoted(key)}]"
