from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import colbert_rag
from colbert_rag import errors

ROOT = Path(colbert_rag.__file__).parent.parent
HEAVY = (
    "torch",
    "numba",
    "transformers",
    "sentence_transformers",
    "faiss",
    "langchain_core",
    "llama_index",
    "pydantic",
)


def run(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


@pytest.mark.parametrize("name", colbert_rag.__all__)
def test_every_public_name_resolves(name):
    assert getattr(colbert_rag, name) is not None
    assert name in dir(colbert_rag)


def test_public_names_are_listed_once_and_hold_every_error():
    assert len(set(colbert_rag.__all__)) == len(colbert_rag.__all__)
    assert set(errors.__all__) <= set(colbert_rag.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'colbert_rag' has no attribute 'RAGPretrainedModel'"):
        _ = colbert_rag.RAGPretrainedModel


def test_importing_the_package_imports_nothing_heavy():
    loaded = run("import sys, colbert_rag; print(*sys.modules)").split()
    assert "colbert_rag" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_importing_the_package_takes_less_than_three_tenths_of_a_second():
    code = "import time; t = time.perf_counter(); import colbert_rag; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(5)) < 0.3


def test_the_version_is_the_one_of_the_distribution():
    assert run("from colbert_rag.version import __version__; print(__version__)") == colbert_rag.__version__
