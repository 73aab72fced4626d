"""A filter as a tree of conditions; building one checks nothing, :func:`colbert_rag.filters.parse` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "And",
    "Between",
    "Compare",
    "Comparison",
    "Condition",
    "Exists",
    "HasId",
    "HasRef",
    "In",
    "Not",
    "Or",
    "Scalar",
]

Scalar: TypeAlias = int | float | str
"""What values are compared as: bool counts as int."""

Comparison: TypeAlias = Literal["eq", "gt", "gte", "lt", "lte", "contains", "icontains"]


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; true without parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds; false without parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Compare:
    """Some element of a field compares so with the value.

    Attributes:
        field: A metadata key; ``a.b`` also names ``b`` in the object ``a``.
        op: ``gt``, ``gte``, ``lt`` and ``lte`` compare numbers with numbers and strings with strings, by code
            point. ``contains`` is equal or a string with the value in it, ``icontains`` the same by case folding.
        value: What is compared with; None with ``eq`` means that the field is missing.
    """

    field: str
    op: Comparison
    value: Scalar | None


@dataclass(frozen=True, slots=True)
class Between:
    """One element of a field is neither below ``low`` nor above ``high``, which are both numbers or both strings."""

    field: str
    low: Scalar
    high: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """Some element of a field equals one of the values; None among them means that the field is missing."""

    field: str
    values: tuple[Scalar | None, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value other than None, or an object with one."""

    field: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The document's id is one of these."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HasRef:
    """The document was cut from one of these sources (``Document.ref_id``); None: it has no source."""

    refs: tuple[str | None, ...]


Condition: TypeAlias = And | Or | Not | Compare | Between | In | Exists | HasId | HasRef
