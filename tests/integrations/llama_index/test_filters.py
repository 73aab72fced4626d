"""Filters mean what LlamaIndex's own evaluator says they mean."""

from __future__ import annotations

import itertools

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn
from llama_index_colbert_rag import ColBERTVectorStore
from llama_index_colbert_rag.filters import condition_of, from_sources, restriction

from colbert_rag import InvalidFilterError
from colbert_rag.testing import HashEncoder

METADATA = {
    "nothing": {},
    "none": {"a": None},
    "empty": {"a": ""},
    "zero": {"a": 0},
    "one": {"a": 1},
    "float": {"a": 1.0},
    "more": {"a": 2.5},
    "true": {"a": True},
    "false": {"a": False},
    "text": {"a": "birch"},
    "upper": {"a": "BIRCH tree"},
    "digit": {"a": "1"},
    "umlaut": {"a": "Größe"},
    "both": {"a": 1, "b": "birch"},
}
LISTS = {"no items": {"a": []}, "list": {"a": ["birch", "elm"]}, "numbers": {"a": [1, 2]}}
EVERYTHING = {**METADATA, **LISTS}
SCALARS = [0, 1, -1, 2.5, "birch", "BIRCH", "b", "", "1", "größe"]
SOME = [["birch", "1"], ["birch", "b"], ["BIRCH"], [1], [1, 2], [2.5], []]
VALUES = {
    FilterOperator.EQ: [*SCALARS, None],
    FilterOperator.NE: [*SCALARS, None],
    FilterOperator.GT: SCALARS,
    FilterOperator.GTE: SCALARS,
    FilterOperator.LT: SCALARS,
    FilterOperator.LTE: SCALARS,
    FilterOperator.IN: SOME,
    FilterOperator.NIN: SOME,
    FilterOperator.ANY: SOME,
    FilterOperator.ALL: SOME,
    FilterOperator.CONTAINS: SCALARS,
    FilterOperator.TEXT_MATCH: ["birch", "b", "BIRCH", "", "1"],
    FilterOperator.TEXT_MATCH_INSENSITIVE: ["BIRCH", "b", "größe", ""],
    FilterOperator.IS_EMPTY: [None],
}


def one(operator: FilterOperator, value: object, key: str = "a") -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory):
    store = ColBERTVectorStore(tmp_path_factory.mktemp("filters") / "index", HashEncoder())
    store.add([TextNode(id_=name, text="same", metadata=found) for name, found in EVERYTHING.items()])
    yield store
    store.client.close()


def chosen(store: ColBERTVectorStore, filters: MetadataFilters) -> set[str]:
    return {node.node_id for node in store.get_nodes(filters=filters)}


def reference(filters: MetadataFilters) -> dict[str, bool | None]:
    """What LlamaIndex says of each; None where it raises because the types do not fit."""
    holds = build_metadata_filter_fn(EVERYTHING.__getitem__, filters)
    answers: dict[str, bool | None] = {}
    for name in EVERYTHING:
        try:
            answers[name] = holds(name)
        except TypeError:
            answers[name] = None
    return answers


# where the answer is another one on purpose
DIFFERENT = {
    # an element of a list counts, in LlamaIndex the list as a whole
    **{(o, repr(v)): {"list"} for o in (FilterOperator.EQ, FilterOperator.NE) for v in ("birch",)},
    **{(o, repr(v)): {"numbers"} for o in (FilterOperator.EQ, FilterOperator.NE) for v in (1,)},
    **{(o, repr(v)): {"list"} for o in (FilterOperator.IN, FilterOperator.NIN) for v in SOME[:2]},
    **{(o, repr(v)): {"numbers"} for o in (FilterOperator.IN, FilterOperator.NIN) for v in SOME[3:5]},
    # a part of a string in a list counts
    **{(FilterOperator.CONTAINS, repr(v)): {"list"} for v in ("b", "")},
    # a string is a list of one string, in LlamaIndex a list of its parts
    (FilterOperator.ANY, "['BIRCH']"): {"upper"},
    (FilterOperator.ALL, "['birch', 'b']"): {"text"},
    (FilterOperator.ALL, "['BIRCH']"): {"upper"},
    # a list without elements is no value
    (FilterOperator.ALL, "[]"): {"no items"},
}
CASES = [(operator, value) for operator, values in VALUES.items() for value in values]


@pytest.mark.parametrize(("operator", "value"), CASES, ids=[f"{o.name}-{v!r}" for o, v in CASES])
def test_the_truth_table_is_that_of_llama_index(filled, operator: FilterOperator, value: object):
    found = chosen(filled, one(operator, value))
    for name, says in reference(one(operator, value)).items():
        if says is not None:
            differs = name in DIFFERENT.get((operator, repr(value)), ())
            assert ((name in found) != says) == differs, EVERYTHING[name]


@pytest.mark.parametrize("operator", [FilterOperator.GT, FilterOperator.GTE, FilterOperator.LT, FilterOperator.LTE])
def test_an_order_between_types_is_no_match_where_llama_index_raises(filled, operator: FilterOperator):
    for value in (1, "birch"):
        raised = {name for name, says in reference(one(operator, value)).items() if says is None and name in METADATA}
        assert raised
        assert not raised & chosen(filled, one(operator, value))


def test_a_single_value_is_a_list_of_one_where_llama_index_raises(filled):
    for operator, value in ((FilterOperator.CONTAINS, 1), (FilterOperator.ANY, [1, 9]), (FilterOperator.ALL, [1])):
        assert reference(one(operator, value))["one"] is None
        assert "one" in chosen(filled, one(operator, value))
        assert "more" not in chosen(filled, one(operator, value))


def test_the_table_covers_every_operator():
    assert VALUES.keys() == set(FilterOperator)


PARTS = [
    MetadataFilter(key="a", value=1, operator=FilterOperator.GTE),
    MetadataFilter(key="b", value="birch"),
    MetadataFilter(key="a", value="b", operator=FilterOperator.NE),
]


@pytest.mark.parametrize("condition", [*FilterCondition, None])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_conditions_join_as_in_llama_index(filled, condition: FilterCondition | None, count: int):
    for parts in itertools.combinations(PARTS, count):
        filters = MetadataFilters(filters=list(parts), condition=condition)
        found = chosen(filled, filters)
        for name, says in reference(filters).items():
            if says is not None:
                assert (name in found) == says, (parts, EVERYTHING[name])


def test_filters_nest(filled):
    inner = MetadataFilters(filters=[PARTS[0], PARTS[1]], condition="or")
    outer = MetadataFilters(filters=[inner, MetadataFilters(filters=[PARTS[1]], condition="not")], condition="and")
    assert chosen(filled, outer) & METADATA.keys() == {"one", "float", "more", "true"}
    empty_inside = MetadataFilters(filters=[MetadataFilters(filters=[]), PARTS[1]])
    assert chosen(filled, empty_inside) == {"both"}


def test_a_list_matches_when_one_of_its_elements_does(filled):
    assert chosen(filled, one(FilterOperator.EQ, "elm")) == {"list"}
    assert "list" not in chosen(filled, one(FilterOperator.NE, "elm"))
    assert chosen(filled, one(FilterOperator.GT, 1)) == {"numbers", "more"}
    assert "list" in chosen(filled, one(FilterOperator.ALL, ["birch", "elm"]))
    assert "list" in chosen(filled, one(FilterOperator.ANY, ["elm", "oak"]))
    assert "numbers" in chosen(filled, one(FilterOperator.CONTAINS, 2))
    assert "list" in chosen(filled, one(FilterOperator.TEXT_MATCH, "bir"))
    assert chosen(filled, one(FilterOperator.IS_EMPTY, None)) & LISTS.keys() == {"no items"}


@pytest.mark.parametrize(
    ("operator", "value", "words"),
    [
        ("in", "birch", r"'in' takes a list of values, found 'birch'"),
        ("nin", 1, "'nin' takes a list"),
        ("any", "birch", "'any' takes a list"),
        ("all", None, "'all' takes a list"),
        ("==", ["a"], r"'==' takes one value, found \['a'\]\. For several values use 'in'"),
        (">", None, r"'>' takes one value, found None\. .* for a missing one 'is_empty'"),
        ("contains", ["a"], "'contains' takes one value"),
        ("text_match", 1, "'text_match' takes a str, found 1"),
    ],
)
def test_a_value_that_does_not_fit_its_operator_is_refused(operator: str, value: object, words: str):
    with pytest.raises(InvalidFilterError, match=f"filter on 'a': {words}"):
        condition_of(one(FilterOperator(operator), value))


def test_anything_but_metadata_filters_is_refused():
    with pytest.raises(InvalidFilterError, match="must be llama_index's MetadataFilters, found dict"):
        condition_of({"a": 1})


def test_empty_lists_restrict_nothing():
    assert restriction(None, [], []) is None
    assert restriction(None, None, None) is None


def test_any_and_all_compare_elements_and_contains_looks_into_strings(store):
    store.add([TextNode(id_=tag, text="same", metadata={"tags": [tag], "tag": tag}) for tag in ("net", "network")])
    for key in ("tag", "tags"):
        for operator in (FilterOperator.ANY, FilterOperator.ALL):
            assert chosen(store, one(operator, ["net"], key)) == {"net"}
        assert chosen(store, one(FilterOperator.CONTAINS, "net", key)) == {"net", "network"}


def test_a_node_is_not_its_own_source_when_it_has_another(store):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}
    store.add([TextNode(id_="chapter", text="x", relationships=source), TextNode(id_="whole", text="x")])
    assert [d.id for d in store.client.find(from_sources(["chapter", "whole"]))] == ["whole"]


def test_a_source_is_the_document_or_the_node_that_has_none(store):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")}
    store.add(
        [TextNode(id_="a", text="x", relationships=source), TextNode(id_="doc", text="x"), TextNode(id_="b", text="x")]
    )
    assert [d.id for d in store.client.find(from_sources(["doc"]))] == ["a", "doc"]
