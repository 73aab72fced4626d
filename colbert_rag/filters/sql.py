"""Conditions compiled to SQL over the catalog, with bound parameters only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from colbert_rag.filters.tree import And, Between, Compare, Condition, Exists, HasId, HasRef, In, Not, Or, Scalar

__all__ = ["to_sql"]

_ORDERS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
# SQLite sorts all numbers before all strings, and '' is the first string
_IS_TEXT = "value >= ''"
_IS_NUMBER = "value < ''"


class _Expression(NamedTuple):
    """A boolean expression that is never NULL.

    ``height`` counts the symbols that SQLite's parser keeps while it reads the innermost leaf; it has a stack of 100.
    """

    sql: str
    values: tuple[Any, ...]
    height: int = 0


def to_sql(condition: Condition) -> tuple[str, list[Any]]:
    """A boolean expression over a row ``d`` of table ``documents``, and the values of its parameters.

    It reads the tables ``documents`` and ``attributes`` and calls ``casefold(text)``, which the connection must have.
    The expression is never NULL.

    Args:
        condition: From :func:`colbert_rag.filters.parse`, whose limits keep the SQL within those of SQLite.
    """
    expression = _compiled(condition)
    return expression.sql, list(expression.values)


def _compiled(condition: Condition) -> _Expression:
    match condition:
        case And(parts):
            return _joined(parts, "AND") if parts else _Expression("1", ())
        case Or(parts):
            return _joined(parts, "OR") if parts else _Expression("0", ())
        case Not(part):
            inner = _compiled(part)
            return _Expression(f"NOT {inner.sql}", inner.values, inner.height + 1)
        case _:
            return _compiled_leaf(condition)


def _compiled_leaf(condition: Compare | Between | In | Exists | HasId | HasRef) -> _Expression:
    match condition:
        case HasId(ids):
            return _leaf("documents", f"id IN {_marks(ids)}", *ids)
        case HasRef(refs):
            sources = [ref for ref in refs if ref is not None]
            without = " OR ref_id IS NULL" if None in refs else ""
            return _leaf("documents", f"ref_id IN {_marks(sources)}{without}", *sources)
        case Exists(field):
            return _exists(field)
        case In(field, values):
            return _attribute(field, f"value IN {_marks(values)}", *values)
        case Between(field, low, high):
            return _attribute(field, "value BETWEEN ? AND ?", low, high)
        case Compare(field, op, value):
            return _comparison(field, op, value)


def _joined(parts: Sequence[Condition], operator: str) -> _Expression:
    # highest first: an operand on the left costs the parser one symbol, any other three
    first, *others = sorted(map(_compiled, parts), key=lambda part: part.height, reverse=True)
    height = max([first.height + 1, *(part.height + 3 for part in others)])
    sql = f" {operator} ".join(part.sql for part in (first, *others))
    return _Expression(f"({sql})", (*first.values, *chain.from_iterable(part.values for part in others)), height)


def _comparison(field: str, op: str, value: Any) -> _Expression:
    is_text = isinstance(value, str)
    if op in _ORDERS:
        return _attribute(field, f"{_IS_TEXT if is_text else _IS_NUMBER} AND value {_ORDERS[op]} ?", value)
    if op == "eq" or not is_text:
        return _attribute(field, "value = ?", value)
    if op == "contains":
        return _attribute(field, f"{_IS_TEXT} AND instr(value, ?)", value)
    # the cast costs nothing, and keeps numbers from casefold whatever the planner tests first
    return _attribute(field, f"{_IS_TEXT} AND instr(casefold(CAST(value AS TEXT)), ?)", value.casefold())


def _exists(field: str) -> _Expression:
    # "/" follows ".": the range holds the names that begin with the field and a dot
    nested = "SELECT key FROM attributes WHERE name >= ? AND name < ?"
    return _leaf("attributes", f"name = ? UNION ALL {nested}", field, f"{field}.", f"{field}/")


def _attribute(field: str, where: str, *values: Scalar | None) -> _Expression:
    return _leaf("attributes", f"name = ? AND {where}", field, *values)


def _leaf(table: str, where: str, *values: Any) -> _Expression:
    # neither key is ever NULL, so the expression is not, even where ref_id is
    return _Expression(f"d.key IN (SELECT key FROM {table} WHERE {where})", values)


def _marks(values: Sequence[Any]) -> str:
    return f"({','.join('?' * len(values))})"
