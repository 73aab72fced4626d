from __future__ import annotations

import datetime
import operator
from collections import UserDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag import Document, errors
from colbert_rag.filters import And, Between, Compare, Exists, HasId, HasRef, In, Not, Or, parse

METADATA = {
    "a": {"year": 2020, "lang": "en", "tags": ["x", "y"]},
    "b": {"year": 2021, "lang": "de", "tags": ["x"]},
    "c": {"year": "2021", "lang": None, "tags": []},
    "d": {"year": [2019, 2022], "lang": "English", "meta": {"page": 3}},
    "e": {"meta.page": 4, "tags": ["y", "x", 1], "draft": True},
}
DOCUMENTS = [Document(id_, "text", metadata, ref_id=f"source-{id_}") for id_, metadata in METADATA.items()]

TRUTH = [
    ({}, "abcde"),
    ({"lang": "en"}, "a"),
    ({"lang": {"$eq": "en"}}, "a"),
    ({"lang": None}, "ce"),
    ({"lang": {"$eq": None}}, "ce"),
    ({"lang": {"$ne": None}}, "abd"),
    ({"lang": {"$ne": "en"}}, "bcde"),
    ({"year": {"$ne": 2022}}, "abce"),
    ({"year": {"$gt": 2020}}, "bd"),
    ({"year": {"$gte": 2020}}, "abd"),
    ({"year": {"$lt": 2020}}, "d"),
    ({"year": {"$lte": 2020}}, "ad"),
    ({"year": {"$gt": "2020"}}, "c"),
    ({"year": {"$gte": 2020, "$lte": 2021}}, "abd"),
    ({"year": {"$between": [2020, 2021]}}, "ab"),
    ({"year": {"$between": (2022, 2022)}}, "d"),
    ({"lang": ["en", "de"]}, "ab"),
    ({"lang": ("en", None)}, "ace"),
    ({"lang": {"en"}}, "a"),
    ({"lang": {"$in": ["en", "de"]}}, "ab"),
    ({"lang": {"$in": []}}, ""),
    ({"lang": {"$in": frozenset({"de"})}}, "b"),
    ({"lang": {"$nin": ["en", "de"]}}, "cde"),
    ({"lang": {"$nin": ["en", None]}}, "bd"),
    ({"lang": {"$nin": []}}, "abcde"),
    ({"tags": {"$all": ["x", "y"]}}, "ae"),
    ({"tags": {"$all": ["x", 1]}}, "e"),
    ({"tags": {"$all": []}}, ""),
    ({"tags": {"$exists": True}}, "abe"),
    ({"tags": {"$exists": False}}, "cd"),
    ({"lang": {"$contains": "En"}}, "d"),
    ({"lang": {"$icontains": "EN"}}, "ad"),
    ({"tags": {"$contains": 1}}, "e"),
    ({"draft": 1}, "e"),
    ({"tags": True}, "e"),
    ({"meta.page": {"$gte": 3}}, "de"),
    ({"meta": {"$exists": True}}, "de"),
    ({"year": {"$not": {"$gt": 2020}}}, "ace"),
    ({"year": {"$not": {"$gt": 2020, "$lt": 2022}}}, "ace"),
    ({"year": {"$not": {"$not": {"$gt": 2020}}}}, "bd"),
    ({"year": {"$exists": True, "$not": {"$gt": 2020}}}, "ac"),
    ({"$not": {"lang": "en"}}, "bcde"),
    ({"$not": {}}, ""),
    ({"$and": [{"tags": "x"}, {"tags": "y"}]}, "ae"),
    ({"$or": [{"lang": "en"}, {"lang": "de", "year": 2021}]}, "ab"),
    ({"$or": [{"lang": "en"}, {"lang": "de", "year": 2020}]}, "a"),
    ({"$nor": [{"lang": "en"}, {"tags": "x"}]}, "cd"),
    ({"$and": []}, "abcde"),
    ({"$or": []}, ""),
    ({"$nor": []}, "abcde"),
    ({"tags": "x", "$or": [{"year": 2020}, {"draft": True}]}, "ae"),
    ({"$id": "a"}, "a"),
    ({"$id": ["a", "d", "z"]}, "ad"),
    ({"$not": {"$id": ["a", "d"]}}, "bce"),
    ({"$ref_id": "source-c"}, "c"),
    ({"$ref_id": ["source-c", "source-d"], "year": "2021"}, "c"),
    (UserDict({"year": UserDict({"$gt": 2020})}), "bd"),
]


@pytest.mark.parametrize(("given_filter", "expected"), TRUTH, ids=str)
def test_a_mapping_chooses_the_documents_that_its_operators_name(chosen_ids, given_filter, expected):
    assert chosen_ids(given_filter, DOCUMENTS) == set(expected)


@pytest.mark.parametrize(
    ("given_filter", "expected"),
    [
        ({}, And(())),
        ({"a": 1}, Compare("a", "eq", 1)),
        ({"a": True}, Compare("a", "eq", 1)),
        ({"a": 1, "b": "x"}, And((Compare("a", "eq", 1), Compare("b", "eq", "x")))),
        ({"a": {"$gt": 1, "$lt": 2}}, And((Compare("a", "gt", 1), Compare("a", "lt", 2)))),
        ({"a": ["x", 1]}, In("a", ("x", 1))),
        ({"a": ["x", None]}, Or((In("a", ("x",)), Not(Exists("a"))))),
        ({"a": None}, Not(Exists("a"))),
        ({"a": {"$between": [1, 2]}}, Between("a", 1, 2)),
        ({"$id": "x", "$ref_id": ["r"]}, And((HasId(("x",)), HasRef(("r",))))),
        ({"$or": [{"a": 1}]}, Or((Compare("a", "eq", 1),))),
    ],
)
def test_a_mapping_becomes_this_condition(given_filter, expected):
    assert parse(given_filter) == expected


# an independent reading of the same language, for metadata without objects


def kind(value):
    return "text" if isinstance(value, str) else "number"


def in_order(compare):
    return lambda elements, wanted: any(compare(e, wanted) for e in elements if kind(e) == kind(wanted))


def equals(elements, wanted):
    return not elements if wanted is None else wanted in elements


def contains(elements, wanted):
    return wanted in elements or any(wanted in e for e in elements if kind(e) == kind(wanted) == "text")


REFERENCE = {
    "$eq": equals,
    "$ne": lambda elements, wanted: not equals(elements, wanted),
    "$gt": in_order(operator.gt),
    "$gte": in_order(operator.ge),
    "$lt": in_order(operator.lt),
    "$lte": in_order(operator.le),
    "$in": lambda elements, wanted: any(equals(elements, w) for w in wanted),
    "$nin": lambda elements, wanted: not any(equals(elements, w) for w in wanted),
    "$all": lambda elements, wanted: bool(wanted) and all(equals(elements, w) for w in wanted),
    "$exists": lambda elements, wanted: bool(elements) is wanted,
    "$contains": contains,
    "$icontains": lambda elements, wanted: contains(*map(folded, (elements, wanted))),
    "$between": lambda elements, ends: any(ends[0] <= e <= ends[1] for e in elements if kind(e) == kind(ends[0])),
    "$not": lambda elements, operators: not field_holds(elements, operators),
}


def folded(value):
    if isinstance(value, list):
        return [folded(item) for item in value]
    return value.casefold() if isinstance(value, str) else value


def field_holds(elements, wanted):
    if isinstance(wanted, dict):
        return all(REFERENCE[name](elements, operand) for name, operand in wanted.items())
    return REFERENCE["$in" if isinstance(wanted, list) else "$eq"](elements, wanted)


def holds(given_filter, metadata):
    for key, wanted in given_filter.items():
        if key in ("$and", "$or", "$nor"):
            truths = [holds(part, metadata) for part in wanted]
            truth = {"$and": all(truths), "$or": any(truths), "$nor": not any(truths)}[key]
        elif key == "$not":
            truth = not holds(wanted, metadata)
        else:
            value = metadata.get(key)
            elements = [e for e in (value if isinstance(value, list) else [value]) if e is not None]
            truth = field_holds(elements, wanted)
        if not truth:
            return False
    return True


SCALARS = [0, 1, 2, 1.5, True, "", "1", "a", "ab", "AB", "ß", "ss"]
LOGIC = ["$and", "$or", "$nor", "$not"]


class Draw:
    """Metadata and filters over two fields and a few values."""

    def __init__(self, rng):
        self.rng = rng
        self.scalars = rng.sample(SCALARS, 5)

    def scalar(self):
        return self.rng.choice(self.scalars)

    def maybe(self):
        return self.rng.choice([*self.scalars, None])

    def several(self):
        return [self.maybe() for _ in range(self.rng.randrange(4))]

    def value(self):
        return self.rng.choice([self.scalar, self.maybe, self.several])()

    def metadata(self):
        return {field: self.value() for field in ("f", "g") if self.rng.random() < 0.8}

    def operand(self, name, depth):
        if name == "$not":
            return self.operators(depth - 1)
        if name == "$exists":
            return self.rng.random() < 0.5
        if name == "$between":
            low, high = self.scalar(), self.scalar()
            return [low, high if kind(low) == kind(high) else low]
        if name in ("$in", "$nin", "$all"):
            return self.several()
        return self.maybe() if name in ("$eq", "$ne") else self.scalar()

    def operators(self, depth=2):
        names = [name for name in REFERENCE if depth or name != "$not"]
        chosen = self.rng.sample(names, self.rng.choice([1, 1, 1, 2]))
        return {name: self.operand(name, depth) for name in chosen}

    def filter(self, depth=2):
        given_filter = {}
        for key in self.rng.sample(["f", "g", *(LOGIC if depth else [])], self.rng.choice([1, 1, 2])):
            if key == "$not":
                given_filter[key] = self.filter(depth - 1)
            elif key in LOGIC:
                given_filter[key] = [self.filter(depth - 1) for _ in range(self.rng.choice([1, 2, 2, 3]))]
            else:
                given_filter[key] = self.operators() if self.rng.random() < 0.7 else self.value()
        return given_filter


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.randoms(use_true_random=True))
def test_mappings_mean_what_the_reference_says(both_ids, rng):
    draw = Draw(rng)
    metadata = {str(n): draw.metadata() for n in range(5)}
    documents = [Document(id_, "text", m) for id_, m in metadata.items()]
    for given_filter in (draw.filter() for _ in range(8)):
        expected = {id_ for id_, m in metadata.items() if holds(given_filter, m)}
        assert both_ids(given_filter, documents) == (expected, expected), (given_filter, metadata)


def test_the_reference_knows_every_operator():
    with pytest.raises(errors.InvalidFilterError) as caught:
        parse({"f": {"$": 1}})
    allowed = str(caught.value).split("Allowed here: ")[1].split(".")[0].split(", ")
    assert set(allowed) == set(REFERENCE)


OF_FIELDS = "$all, $between, $contains, $eq, $exists, $gt, $gte, $icontains, $in, $lt, $lte, $ne, $nin, $not"
OF_FILTERS = "$and, $id, $nor, $not, $or, $ref_id"


@pytest.mark.parametrize(
    ("given_filter", "message"),
    [
        (
            {"year": {"$gtt": 1}},
            f'filter["year"]["$gtt"]: unknown operator "$gtt". Allowed here: {OF_FIELDS}. Did you mean $gt?',
        ),
        (
            {"year": {"$NIN": [1]}},
            f'filter["year"]["$NIN"]: unknown operator "$NIN". Allowed here: {OF_FIELDS}. Did you mean $nin?',
        ),
        ({"year": {"$": 1}}, f'filter["year"]["$"]: unknown operator "$". Allowed here: {OF_FIELDS}.'),
        (
            {"$ot": []},
            f'filter["$ot"]: unknown operator "$ot". Allowed here: {OF_FILTERS}. Did you mean $not?',
        ),
        (
            {"$gt": 1},
            f'filter["$gt"]: unknown operator "$gt". Allowed here: {OF_FILTERS}. '
            'It stands inside: {"field": {"$gt": …}}.',
        ),
        (
            {"year": {"$or": []}},
            f'filter["year"]["$or"]: unknown operator "$or". Allowed here: {OF_FIELDS}. '
            'It stands outside: {"$or": [{"year": …}]}.',
        ),
        (
            {"year": {"$gte": 1, "month": 2}},
            'filter["year"]: expected operators such as $gte, found the key "month". '
            'A field of an object is named with a dot: "year.month".',
        ),
        (
            {"year": {"gte": 1}},
            'filter["year"]: expected operators such as $gte, found the key "gte". Did you mean $gte?',
        ),
        ({"year": {}}, 'filter["year"]: expected operators such as {"$gte": 2020}, found an empty mapping.'),
        ({"year": {"$not": 5}}, 'filter["year"]["$not"]: expected operators such as {"$gte": 2020}, found int.'),
        ({1: 2}, "filter: keys must be str, found int."),
        ({"$and": [{}, {"a": {None: 1}}]}, 'filter["$and"][1]["a"]: keys must be str, found None.'),
        ({"$or": {"a": 1}}, 'filter["$or"]: expected a list, found dict. Write [value], or list(values).'),
        ({"$not": [{"a": 1}]}, 'filter["$not"]: expected a mapping such as {"lang": "en"}, found list.'),
        ({"$nor": ["a"]}, 'filter["$nor"][0]: expected a mapping such as {"lang": "en"}, found the str "a".'),
        (
            {"a": {"$in": "x"}},
            'filter["a"]["$in"]: expected a list, found the str "x". Write [value], or list(values).',
        ),
        (
            {"a": {"$all": {"x": 1}}},
            'filter["a"]["$all"]: expected a list, found dict. Write [value], or list(values).',
        ),
        (
            {"a": {"$nin": np.arange(3)}},
            'filter["a"]["$nin"]: expected a list, found numpy.ndarray. Write [value], or list(values).',
        ),
        ({"a": {"$between": [1]}}, 'filter["a"]["$between"]: expected [low, high], found list of 1.'),
        ({"a": {"$between": [1, 2, 3]}}, 'filter["a"]["$between"]: expected [low, high], found list of 3.'),
        ({"a": {"$between": {1, 2}}}, 'filter["a"]["$between"]: expected [low, high], found set.'),
        (
            {"a": {"$between": [1, "b"]}},
            'filter["a"]["$between"][1]: expected two numbers or two str, found int and the str "b".',
        ),
        ({"a": {"$exists": 1}}, 'filter["a"]["$exists"]: expected True or False, found int.'),
        ({"$id": 3}, 'filter["$id"]: expected a list, found int. Write [value], or list(values).'),
        (
            {"$or": [{"a": {"$gt": float("nan")}}]},
            'filter["$or"][0]["a"]["$gt"]: expected a finite number, found nan. To find missing values use $exists.',
        ),
        (
            {"a": [1, float("-inf")]},
            'filter["a"][1]: expected a finite number, found -inf. To find missing values use $exists.',
        ),
        (
            {"a": {"$lt": None}},
            'filter["a"]["$lt"]: expected a str or a number, found None. To find missing values use $exists.',
        ),
        (
            {"a": {"$gte": datetime.date(2024, 5, 1)}},
            'filter["a"]["$gte"]: expected a str or a number, found datetime.date. '
            "Compare dates as ISO strings, as in the metadata: value.isoformat().",
        ),
        ({"a": b"x"}, 'filter["a"]: expected a str or a number, found bytes. Decode it: value.decode().'),
        (
            {"a": {"$eq": [1]}},
            'filter["a"]["$eq"]: expected a str or a number, found list. Several values go with $in or $all.',
        ),
        (
            {"a": [{"b": 1}]},
            'filter["a"][0]: expected a str or a number, found dict. '
            'A field of an object is named with a dot: "object.field".',
        ),
        (
            {"a": 1j},
            'filter["a"]: expected a str or a number, found complex. '
            "Convert it first: dates to ISO strings, other types to str, int or float.",
        ),
        (
            {"a": "x\ud800"},
            'filter["a"]: expected Unicode text, found a lone surrogate at character 1. '
            "text.encode('utf-8', 'replace').decode() replaces it.",
        ),
        (
            {"\ud800": 1},
            'filter["\\ud800"]: expected Unicode text, found a lone surrogate at character 0. '
            "text.encode('utf-8', 'replace').decode() replaces it.",
        ),
    ],
    ids=str,
)
def test_a_wrong_mapping_is_refused_with_its_place_and_the_way_out(given_filter, message):
    with pytest.raises(errors.InvalidFilterError) as caught:
        parse(given_filter)
    assert str(caught.value) == message
