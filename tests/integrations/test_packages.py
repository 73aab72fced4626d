"""The adapter packages are importable and promise nothing that they do not have."""

from __future__ import annotations

import importlib
from importlib import resources

import pytest


@pytest.mark.parametrize("name", ["langchain_colbert_rag", "llama_index_colbert_rag"])
def test_package_is_typed_and_its_all_is_true(name: str):
    package = importlib.import_module(name)
    assert resources.files(package).joinpath("py.typed").is_file()
    assert all(hasattr(package, public) for public in package.__all__)
