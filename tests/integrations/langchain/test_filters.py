from __future__ import annotations

import pytest
from langchain_classic.retrievers import SelfQueryRetriever
from langchain_colbert_rag import ColBERTTranslator
from langchain_colbert_rag.filters import core_filter
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery

from colbert_rag import Document as CoreDocument
from colbert_rag import InvalidFilterError, filters

ROWS = {
    "a": {"year": 2019, "lang": "en", "tags": ["x", "y"], "day": "2024-05-01"},
    "b": {"year": 2021, "lang": "de", "tags": ["y"], "day": "2024-06-01"},
    "c": {"year": 2023, "lang": "en", "tags": [], "day": "2024-07-01"},
    "d": {"title": "no year at all"},
}


@pytest.fixture
def rows(store):
    store.add_texts(["a text"] * len(ROWS), list(ROWS.values()), ids=list(ROWS))
    return store


def matching(store, condition) -> str:
    translated = condition.accept(ColBERTTranslator())
    return "".join(sorted(d.id for d in store.similarity_search("text", k=9, filter=translated)))


def compare(comparator: str, attribute: str, value: object) -> Comparison:
    return Comparison(Comparator(comparator), attribute, value)


@pytest.mark.parametrize(
    ("comparator", "attribute", "value", "expected"),
    [
        ("eq", "year", 2021, "b"),
        ("ne", "year", 2021, "acd"),
        ("gt", "year", 2021, "c"),
        ("gte", "year", 2021, "bc"),
        ("lt", "year", 2021, "a"),
        ("lte", "year", 2021, "ab"),
        ("in", "lang", ["de", "fr"], "b"),
        ("nin", "lang", ["de", "fr"], "acd"),
        ("contain", "tags", "y", "ab"),
        ("contain", "title", "year", "d"),
        ("eq", "tags", ["x", "none"], "a"),
        ("ne", "lang", ["en", "de"], "d"),
        ("gte", "day", {"date": "2024-06-01", "type": "date"}, "bc"),
        ("in", "day", [{"date": "2024-06-01", "type": "date"}], "b"),
        ("lt", "day", {"datetime": "2024-05-02T00:00:00", "type": "datetime"}, "a"),
    ],
)
def test_every_comparator_means_what_it_says(rows, comparator, attribute, value, expected):
    assert matching(rows, compare(comparator, attribute, value)) == expected


@pytest.mark.parametrize(
    ("operator", "expected"),
    [(Operator.AND, "c"), (Operator.OR, "abc"), (Operator.NOT, "d")],
)
def test_every_operator_means_what_it_says(rows, operator, expected):
    parts = [compare("gte", "year", 2021), compare("eq", "lang", "en")]
    assert matching(rows, Operation(operator, parts)) == expected


def test_operators_nest(rows):
    late = compare("gt", "year", 2020)
    english = compare("eq", "lang", "en")
    assert matching(rows, Operation(Operator.AND, [late, Operation(Operator.NOT, [english])])) == "b"


def test_the_tree_is_that_of_the_core():
    translated = compare("ne", "year", 2021).accept(ColBERTTranslator())
    assert translated == filters.Not(filters.Compare("year", "eq", 2021))


def test_like_is_refused_because_it_has_no_counterpart():
    with pytest.raises(ValueError, match="disallowed comparator"):
        compare("like", "title", "%year%").accept(ColBERTTranslator())


@pytest.mark.parametrize("condition", [compare("in", "lang", "de"), Operation(Operator.NOT, [])])
def test_what_means_nothing_is_refused(condition):
    with pytest.raises(InvalidFilterError, match="structured query"):
        condition.accept(ColBERTTranslator())


def test_a_structured_query_becomes_a_query_and_search_arguments():
    translator = ColBERTTranslator()
    assert translator.visit_structured_query(StructuredQuery("cats", None)) == ("cats", {})
    query, arguments = translator.visit_structured_query(StructuredQuery("cats", compare("eq", "n", 1), limit=2))
    assert (query, arguments) == ("cats", {"filter": filters.Compare("n", "eq", 1)})


async def test_a_self_query_retriever_works_with_it(rows):
    structured = StructuredQuery("text", compare("gte", "year", 2021), limit=1)
    retriever = SelfQueryRetriever(
        query_constructor=RunnableLambda(lambda given: structured),
        vectorstore=rows,
        structured_query_translator=ColBERTTranslator(),
    )
    assert [d.id for d in retriever.invoke("anything late")] == ["b"]
    assert [d.id for d in await retriever.ainvoke("anything late")] == ["b"]


def test_a_callable_gets_a_langchain_document():
    seen = []
    assert core_filter(lambda document: seen.append(document) or True)(CoreDocument("i", "text", {"n": 1})) is True
    assert seen == [Document(id="i", page_content="text", metadata={"n": 1})]


@pytest.mark.parametrize("given", [None, {"n": 1}, filters.Compare("n", "eq", 1)])
def test_anything_else_goes_to_the_core_as_it_is(given):
    assert core_filter(given) is given
