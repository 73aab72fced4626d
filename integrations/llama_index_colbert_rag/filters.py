"""``MetadataFilters`` of LlamaIndex as conditions of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from colbert_rag import InvalidFilterError, filters

__all__ = ["condition_of", "from_sources", "restriction"]

_EVERYTHING = filters.And(())
_NOTHING = filters.Or(())

_COMPARISONS = {
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
    FilterOperator.CONTAINS: "contains",
    FilterOperator.TEXT_MATCH: "contains",
    FilterOperator.TEXT_MATCH_INSENSITIVE: "icontains",
}

_LISTS: dict[FilterOperator, Callable[[str, Sequence[Any]], filters.Condition]] = {
    FilterOperator.IN: lambda field, values: filters.In(field, tuple(values)),
    FilterOperator.NIN: lambda field, values: filters.Not(filters.In(field, tuple(values))),
    FilterOperator.ANY: lambda field, values: filters.In(field, tuple(values)),
    FilterOperator.ALL: lambda field, values: filters.And(
        (filters.Exists(field), *(filters.Compare(field, "eq", value) for value in values))
    ),
}


def condition_of(given: object) -> filters.Condition:
    """What LlamaIndex's own ``build_metadata_filter_fn`` would hold to be true, as a condition.

    Beyond it: filters nest, ``a.b`` reaches into objects, a value of another type does not match instead of
    raising, a list in the metadata matches when one of its elements does, and a single value is a list of one:
    "any" and "all" compare whole values with it, and "contains" looks for a part of a string in it.

    Raises:
        InvalidFilterError: no ``MetadataFilters``, or a value that does not fit its operator.
    """
    if not isinstance(given, MetadataFilters):
        msg = f"filters must be llama_index's MetadataFilters, found {type(given).__name__}."
        raise InvalidFilterError(msg)
    parts = tuple(condition_of(f) if isinstance(f, MetadataFilters) else _one(f) for f in given.filters)
    if not parts:
        return _EVERYTHING
    match given.condition:
        case FilterCondition.OR:
            return filters.Or(parts)
        case FilterCondition.NOT:
            return filters.Not(filters.Or(parts))
        case _:
            return filters.And(parts)


def _one(given: MetadataFilter) -> filters.Condition:
    field, operator, value = given.key, given.operator, given.value
    if operator is FilterOperator.IS_EMPTY:
        return filters.Or((filters.Not(filters.Exists(field)), filters.Compare(field, "eq", "")))
    if operator in _LISTS:
        return _LISTS[operator](field, _values(given))
    _check_scalar(given)
    if operator is FilterOperator.EQ:
        return _equals(field, value)
    if operator is FilterOperator.NE:
        return filters.Not(_equals(field, value))
    return filters.Compare(field, _COMPARISONS[operator], value)  # type: ignore[arg-type]


def _equals(field: str, value: Any) -> filters.Condition:
    # LlamaIndex: a missing value equals nothing, not even None
    return _NOTHING if value is None else filters.Compare(field, "eq", value)


def _values(given: MetadataFilter) -> Sequence[Any]:
    if not isinstance(given.value, list):
        msg = f"filter on {given.key!r}: {given.operator.value!r} takes a list of values, found {given.value!r}."
        raise InvalidFilterError(msg)
    return given.value


def _check_scalar(given: MetadataFilter) -> None:
    is_text_match = given.operator in (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE)
    if is_text_match and not isinstance(given.value, str):
        msg = f"filter on {given.key!r}: {given.operator.value!r} takes a str, found {given.value!r}."
        raise InvalidFilterError(msg)
    may_be_none = given.operator in (FilterOperator.EQ, FilterOperator.NE)
    if isinstance(given.value, list) or (given.value is None and not may_be_none):
        hint = "For several values use 'in', 'any' or 'all'; for a missing one 'is_empty'."
        msg = f"filter on {given.key!r}: {given.operator.value!r} takes one value, found {given.value!r}. {hint}"
        raise InvalidFilterError(msg)


def from_sources(ref_doc_ids: Iterable[str]) -> filters.Condition:
    """Nodes that were cut from these source documents; a node without a source is its own."""
    refs = tuple(ref_doc_ids)
    # a node of another source may have the id of one of these
    return filters.Or((filters.HasRef(refs), filters.And((filters.HasId(refs), filters.HasRef((None,))))))


def restriction(
    given: MetadataFilters | None, node_ids: Sequence[str] | None, doc_ids: Sequence[str] | None
) -> filters.Condition | None:
    """The conditions of a query together; an empty list restricts nothing, as in LlamaIndex.

    Raises:
        InvalidFilterError: the filters are refused.
    """
    parts = [condition_of(given)] if given is not None else []
    if node_ids:
        parts.append(filters.HasId(tuple(node_ids)))
    if doc_ids:
        parts.append(from_sources(doc_ids))
    return filters.And(tuple(parts)) if parts else None
