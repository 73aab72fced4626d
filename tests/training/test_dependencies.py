from __future__ import annotations

import importlib.util

import pytest

from colbert_rag.errors import MissingDependencyError
from colbert_rag.training import dependencies


def test_nothing_is_said_where_all_is_installed():
    dependencies.require_training()


def test_missing_packages_are_named_with_the_extra(monkeypatch):
    real = importlib.util.find_spec
    missing = ("peft", "ir_measures")
    monkeypatch.setattr(dependencies, "find_spec", lambda name: None if name in missing else real(name))
    with pytest.raises(MissingDependencyError, match=r"needs ir-measures, peft, .* 'late-interaction-rag\[train\]'"):
        dependencies.require_training()
