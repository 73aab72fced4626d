from __future__ import annotations

import dataclasses
import pickle

import pytest

from colbert_rag.filters import And, Between, Compare, Exists, HasId, HasRef, In, Not, Or

EACH = [
    And((Exists("f"),)),
    Or(()),
    Not(Exists("f")),
    Compare("f", "eq", 1),
    Between("f", 1, 2),
    In("f", (1, None)),
    Exists("f"),
    HasId(("a",)),
    HasRef(("a",)),
]


@pytest.mark.parametrize("condition", EACH, ids=str)
def test_conditions_are_values(condition):
    twin = pickle.loads(pickle.dumps(condition))
    assert (twin, hash(twin)) == (condition, hash(condition))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(condition, dataclasses.fields(condition)[0].name, None)


def test_conditions_of_different_kinds_differ():
    assert len(set(EACH)) == len(EACH)
    assert And(()) != Or(())
    assert HasId(("a",)) != HasRef(("a",))


def test_building_a_condition_checks_nothing():
    assert Compare(3, "no such", object).op == "no such"
