"""Filters by metadata, id and source: checked, compiled to SQL, evaluated in Python.

A field is a metadata key; ``a.b`` also reaches into objects. A list matches when one of its elements does.
A missing or null value matches negations only. Bool counts as int.
"""

from __future__ import annotations

from colbert_rag.filters.attributes import attributes
from colbert_rag.filters.evaluate import matches
from colbert_rag.filters.parse import parse
from colbert_rag.filters.sql import to_sql
from colbert_rag.filters.tree import And, Between, Compare, Condition, Exists, HasId, HasRef, In, Not, Or

__all__ = [
    "And",
    "Between",
    "Compare",
    "Condition",
    "Exists",
    "HasId",
    "HasRef",
    "In",
    "Not",
    "Or",
    "attributes",
    "matches",
    "parse",
    "to_sql",
]
