"""Filters as LangChain writes them, as filters of the core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery, Visitor

from colbert_rag import Document as CoreDocument
from colbert_rag import InvalidFilterError, filters
from langchain_colbert_rag.documents import to_langchain

__all__ = ["ColBERTTranslator", "core_filter"]


def core_filter(given: Any) -> Any:
    """A filter for the core: a callable gets LangChain documents, anything else goes as it is."""
    return _on_core_documents(given) if callable(given) else given


def _on_core_documents(accepts: Callable[..., Any]) -> Callable[[CoreDocument], Any]:
    return lambda document: accepts(to_langchain(document))


class ColBERTTranslator(Visitor):
    """Turns the structured queries of a ``SelfQueryRetriever`` into filters.

    ``LIKE`` is not among the comparators: its patterns have no counterpart. Dates are compared as the
    ISO strings that they are written with, so store them as ISO strings.

    Example::

        SelfQueryRetriever.from_llm(
            llm, store, "recipes", fields, structured_query_translator=ColBERTTranslator()
        )
    """

    allowed_operators = (Operator.AND, Operator.OR, Operator.NOT)
    allowed_comparators = (
        Comparator.EQ,
        Comparator.NE,
        Comparator.GT,
        Comparator.GTE,
        Comparator.LT,
        Comparator.LTE,
        Comparator.CONTAIN,
        Comparator.IN,
        Comparator.NIN,
    )

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """The query string, and ``{"filter": …}`` where the query has a filter."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}

    def visit_operation(self, operation: Operation) -> Any:
        """AND, OR, or NOT; a NOT of several parts holds where none of them does.

        Raises:
            InvalidFilterError: a NOT of nothing.
        """
        self._validate_func(operation.operator)
        parts = tuple(argument.accept(self) for argument in operation.arguments)
        if operation.operator is Operator.AND:
            return filters.And(parts)
        if operation.operator is Operator.OR:
            return filters.Or(parts)
        if not parts:
            msg = "structured query: NOT has no argument; give it the condition that must not hold."
            raise InvalidFilterError(msg)
        return filters.Not(parts[0] if len(parts) == 1 else filters.Or(parts))

    def visit_comparison(self, comparison: Comparison) -> Any:
        """One comparison of a metadata field with a value."""
        self._validate_func(comparison.comparator)
        field, value = comparison.attribute, _plain(comparison.value)
        match comparison.comparator:
            case Comparator.NE:
                return filters.Not(_equals(field, value))
            case Comparator.EQ:
                return _equals(field, value)
            case Comparator.IN:
                return filters.In(field, _values(field, value))
            case Comparator.NIN:
                return filters.Not(filters.In(field, _values(field, value)))
            case Comparator.CONTAIN:
                return filters.Compare(field, "contains", value)
            case other:
                return filters.Compare(field, other.value, value)


def _equals(field: str, value: Any) -> Any:
    return filters.In(field, tuple(value)) if isinstance(value, list) else filters.Compare(field, "eq", value)


def _values(field: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        msg = f"structured query: IN and NIN on {field!r} need a list of values, found {type(value).__name__}."
        raise InvalidFilterError(msg)
    return tuple(value)


def _plain(value: Any) -> Any:
    """LangChain's query parser writes dates as ``{"date": "2024-05-01", "type": "date"}``."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping) and value.get("type") in ("date", "datetime"):
        return value[value["type"]]
    return value
