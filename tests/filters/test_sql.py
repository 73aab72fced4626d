from __future__ import annotations

import sqlite3
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag import Document
from colbert_rag.filters import And, Between, Compare, Exists, HasId, HasRef, In, Not, Or, matches, parse, to_sql
from colbert_rag.storage.schema import SCHEMA

NAMES = ["a", "b", "a.b", "a.", "a/", "ab", "A", "", ".", "$eq", "q'", 'q"', "é", "a\x00", "😀", "%"]
SCALARS = [
    *(-1, 0, 1, 2, 0.0, -0.0, 1.0, 1.5, 5e-324, 1e308, True, False, 10**400, -(10**400)),
    *(2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2**63, 2.0**63, -(2**63), -(2**63) - 1, 2**64),
    *("", "1", "a", "b", "ab", "AB", "aB", "ß", "ss", "SS", "ſ", "İ", "i̇", "é", "É", "e\u0301"),
    *("\x00", "a\x00b", "\uffff", "😀", "%", "_", "'", "$x"),
]
OPERATORS = ["eq", "gt", "gte", "lt", "lte", "contains", "icontains"]


class Draw:
    """Documents and conditions over a few names and values, so that conditions hold for some documents."""

    def __init__(self, rng):
        self.rng = rng
        self.names = rng.sample(NAMES, 3)
        self.scalars = rng.sample(SCALARS, 5)

    def name(self):
        return self.rng.choice(self.names)

    def scalar(self):
        return self.rng.choice(self.scalars)

    def value(self, depth=2):
        kind = self.rng.randrange(6 if depth else 3)
        if kind < 3:
            return self.scalar()
        if kind == 3:
            return None
        if kind == 4:
            return [self.value(depth - 1) for _ in range(self.rng.randrange(4))]
        return {self.name(): self.value(depth - 1) for _ in range(self.rng.randrange(3))}

    def document(self, id_):
        metadata = {self.name(): self.value() for _ in range(self.rng.randrange(4))}
        return Document(id_, "text", metadata, ref_id=self.rng.choice([None, "r", "s"]))

    def leaf(self):
        kind = self.rng.choice(["compare"] * 4 + ["missing", "in", "between", "exists", "id", "ref"])
        name, first, second = self.name(), self.scalar(), self.scalar()
        if kind == "between":
            alike = isinstance(first, str) == isinstance(second, str)
            return Between(name, first, second if alike else first)
        return {
            "compare": Compare(name, self.rng.choice(OPERATORS), first),
            "missing": Compare(name, "eq", None),
            "in": In(name, tuple(self.rng.sample([first, second, None], self.rng.randrange(4)))),
            "exists": Exists(name),
            "id": HasId(tuple(self.rng.sample(["0", "1", "x"], self.rng.randrange(3)))),
            "ref": HasRef(tuple(self.rng.sample(["r", "s", "x", None], self.rng.randrange(3)))),
        }[kind]

    def condition(self, depth=3):
        kind = self.rng.choice(["leaf", "leaf", "not", "and", "or"]) if depth else "leaf"
        if kind == "leaf":
            return self.leaf()
        if kind == "not":
            return Not(self.condition(depth - 1))
        parts = tuple(self.condition(depth - 1) for _ in range(self.rng.choice([0, 1, 2, 2, 3])))
        return And(parts) if kind == "and" else Or(parts)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.randoms(use_true_random=True))
def test_sql_chooses_what_python_chooses(both_ids, rng):
    """A seed is drawn and no structure: drawn piece by piece, most conditions would hold for nothing."""
    draw = Draw(rng)
    documents = [draw.document(str(n)) for n in range(5)]
    for condition in [*(draw.leaf() for _ in range(6)), *(draw.condition() for _ in range(4))]:
        by_sql, by_python = both_ids(condition, documents)
        assert by_sql == by_python, (condition, documents)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(max_size=3) | st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=4))
def test_sql_compares_any_two_values_as_python_does(both_ids, values):
    documents = [Document(str(n), "text", {"f": value}) for n, value in enumerate(values)]
    for value, op in product(values, OPERATORS):
        by_sql, by_python = both_ids(Compare("f", op, value), documents)
        assert by_sql == by_python, (op, value)


@pytest.mark.parametrize(
    ("condition", "plan"),
    [
        (Compare("f", "eq", 1), "attributes USING PRIMARY KEY (name=? AND value=?)"),
        (Compare("f", "gt", 1), "attributes USING PRIMARY KEY (name=? AND value>? AND value<?)"),
        (Compare("f", "gte", 1), "attributes USING PRIMARY KEY (name=? AND value>? AND value<?)"),
        (Compare("f", "lt", "x"), "attributes USING PRIMARY KEY (name=? AND value>? AND value<?)"),
        (Compare("f", "lte", "x"), "attributes USING PRIMARY KEY (name=? AND value>? AND value<?)"),
        (Compare("f", "gt", "x"), "attributes USING PRIMARY KEY (name=? AND value>?)"),
        (Compare("f", "lt", 1), "attributes USING PRIMARY KEY (name=? AND value<?)"),
        (Compare("f", "contains", "x"), "attributes USING PRIMARY KEY (name=? AND value>?)"),
        (Compare("f", "icontains", "x"), "attributes USING PRIMARY KEY (name=? AND value>?)"),
        (Between("f", 1, 2), "attributes USING PRIMARY KEY (name=? AND value>? AND value<?)"),
        (In("f", (1, "x")), "attributes USING PRIMARY KEY (name=? AND value=?)"),
        (Exists("f"), "attributes USING PRIMARY KEY (name=?)"),
        (Exists("f"), "attributes USING PRIMARY KEY (name>? AND name<?)"),
        (HasId(("a", "b")), "documents USING COVERING INDEX sqlite_autoindex_documents_1 (id=?)"),
        (HasRef(("a", "b")), "documents USING COVERING INDEX documents_by_ref (ref_id=?)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("wrap", [lambda c: c, Not, lambda c: Or((c, Exists("g")))], ids=["alone", "not", "or"])
def test_every_comparison_reads_a_range_of_an_index(condition, plan, wrap):
    expression, values = to_sql(parse(wrap(condition)))
    connection = sqlite3.connect(":memory:")
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    connection.executescript(SCHEMA)
    rows = connection.execute(f"EXPLAIN QUERY PLAN SELECT d.key FROM documents d WHERE {expression}", values)
    steps = [row[3] for row in rows]
    connection.close()
    assert [step for step in steps if step.endswith(plan)], steps
    assert "SCAN attributes" not in " ".join(steps)
    assert "SCAN documents" not in " ".join(steps)


def test_nothing_of_a_filter_is_in_the_sql():
    hostile = "x' OR 1=1; DROP TABLE documents --"
    plain = [Compare("f", "contains", "v"), In("f", ("v",)), Exists("f"), HasId(("v",)), Compare("f", "gt", "v")]
    other = [
        *(Compare(hostile, "contains", hostile), In(hostile, (hostile,)), Exists(hostile), HasId((hostile,))),
        Compare(hostile, "gt", hostile),
    ]
    assert to_sql(And(tuple(plain)))[0] == to_sql(And(tuple(other)))[0]


def nested(leaf, level, position):
    """And in Or in And … around a leaf, with a Not at every third level."""
    siblings = [Compare("f", "eq", level), Exists(f"g{level}")]
    inner = nested(leaf, level - 1, position) if level > 1 else leaf
    if level % 3 == 0:
        return Not(inner)
    siblings.insert(position, inner)
    return (And if level % 2 else Or)(tuple(siblings))


def bushy(level):
    """As many operands of full height beside each other as 500 comparisons allow."""
    if level == 0:
        return Compare("f", "eq", 1)
    return Not(bushy(level - 1)) if level <= 24 else And((bushy(level - 1), bushy(level - 1)))


def lopsided(level):
    """At every level an operand nearly as high as the other, which a sort by depth alone would not see."""
    chain = Compare("f", "eq", level)
    for _ in range(level - 1):
        chain = Not(chain)
    return And((lopsided(level - 1), chain)) if level > 1 else Not(chain)


LARGEST = {
    "wide and": And(tuple(Compare("f", "eq", n) for n in range(500))),
    "wide or": Or(tuple(Exists(f"f{n}") for n in range(500))),
    "wide not": And(tuple(Not(Compare("f", "contains", str(n))) for n in range(500))),
    "30,000 values": Or((In("f", tuple(range(29_501))), *(Compare("f", "eq", "x") for _ in range(499)))),
    "30,000 ids": HasId(tuple(map(str, range(30_000)))),
    "deep left": nested(Exists("x"), 32, 0),
    "deep middle": nested(Exists("x"), 32, 1),
    "deep right": nested(Exists("x"), 32, 2),
    "bushy": bushy(32),
    "lopsided": lopsided(32),
    "wide in wide": And(
        (*(Exists("f") for _ in range(249)), Not(Or(tuple(Compare("f", "eq", n) for n in range(251)))))
    ),
}


@pytest.mark.parametrize("condition", LARGEST.values(), ids=LARGEST.keys())
def test_the_largest_filters_that_are_allowed_run(both_ids, condition):
    documents = [Document("a", "t", {"f": [1, 2]}), Document("b", "t", {"f": "x"}), Document("9", "t", {"x": 1})]
    by_sql, by_python = both_ids(condition, documents)
    assert by_sql == by_python
    # SQLite's own default, which a distribution may have raised
    assert len(to_sql(parse(condition))[1]) < 32_766


def test_a_deep_filter_runs_inside_a_larger_query(catalog):
    condition = parse(nested(Exists("x"), 32, 2))
    expression, values = to_sql(condition)
    documents = [Document(str(n), "t", metadata) for n, metadata in enumerate([{"x": 1}, {"g1": 1}, {"f": 32}, {}])]
    inner = f"SELECT d.key FROM documents d WHERE d.key > -1 AND ({expression}) ORDER BY d.key"
    connection = catalog(documents)
    rows = connection.execute(f"SELECT k.key FROM (SELECT * FROM ({inner})) k WHERE k.key IN ({inner})", values * 2)
    assert [key for (key,) in rows] == [n for n, document in enumerate(documents) if matches(condition, document)]
    connection.close()
