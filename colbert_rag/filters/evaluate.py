"""Conditions evaluated in Python, on one document at a time."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from colbert_rag.filters.attributes import attributes
from colbert_rag.filters.tree import And, Between, Compare, Condition, Exists, HasId, HasRef, In, Not, Or, Scalar
from colbert_rag.types import Document

__all__ = ["matches"]

_Elements = Mapping[str, Sequence[Scalar]]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def matches(condition: Condition, document: Document) -> bool:
    """Whether a condition holds for a document.

    Args:
        condition: From :func:`colbert_rag.filters.parse`.
        document: Its metadata, id and reference id are looked at.
    """
    elements: dict[str, list[Scalar]] = {}
    for name, value in attributes(document.metadata):
        elements.setdefault(name, []).append(value)
    return _holds(condition, document, elements)


def _holds(condition: Condition, document: Document, elements: _Elements) -> bool:
    match condition:
        case And(parts):
            return all(_holds(part, document, elements) for part in parts)
        case Or(parts):
            return any(_holds(part, document, elements) for part in parts)
        case Not(part):
            return not _holds(part, document, elements)
        case HasId(ids):
            return document.id in ids
        case HasRef(refs):
            return document.ref_id in refs
        case _:
            return _holds_for_field(condition, elements)


def _holds_for_field(condition: Compare | Between | In | Exists, elements: _Elements) -> bool:
    match condition:
        case Exists(field):
            return any(name == field or name.startswith(f"{field}.") for name in elements)
        case In(field, values):
            return any(element in values for element in elements.get(field, ()))
        case Between(field, low, high):
            return any(
                _compares(element, "gte", low) and _compares(element, "lte", high)
                for element in elements.get(field, ())
            )
        case Compare(field, op, value):
            return any(_compares(element, op, value) for element in elements.get(field, ()))


def _compares(element: Scalar, op: str, value: Any) -> bool:
    if isinstance(element, str) != isinstance(value, str):
        return False
    if op in _ORDERS:
        return _ORDERS[op](element, value)
    if op == "eq" or not isinstance(element, str):
        return bool(element == value)
    return value.casefold() in element.casefold() if op == "icontains" else value in element
