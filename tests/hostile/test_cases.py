"""The hand-made hostile indexes, counted where they stand: the promise is of 60 at least, and that each is refused."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hostile_case import Case

# the promise is 60; these are all there are, so that one that vanishes is missed
LEAST = 350


def loaded(path: Path) -> ModuleType:
    """A file of tests, as pytest loads it."""
    spec = importlib.util.spec_from_file_location(f"counted_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases_to_be_refused() -> Iterator[Case]:
    """Those that a test of this folder gives to ``refused``, and that name the step that must refuse them."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path == Path(__file__):
            continue
        for name, test in inspect.getmembers(loaded(path), inspect.isfunction):
            if name.startswith("test_") and "refused" in inspect.signature(test).parameters:
                tables = [mark.args[1] for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
                yield from (case for table in tables for case in table if case.at)


def test_there_are_at_least_as_many_hostile_indexes_as_promised_and_a_test_sees_each_of_them_refused():
    cases = list(cases_to_be_refused())
    assert len({(case.name, case.is_packed) for case in cases}) == len(cases), "one stands twice"
    assert len(cases) >= LEAST


def test_an_index_that_is_taken_for_sound_is_not_counted_as_refused(refused):
    with pytest.raises(AssertionError, match="'open': 'fine'"):
        refused(Case("nothing is changed", "open", lambda index: None))
