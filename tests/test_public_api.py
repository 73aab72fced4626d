from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import colbert_rag
from colbert_rag import errors
from colbert_rag.types import MODES

ROOT = Path(colbert_rag.__file__).parent.parent
# of the standard library, what takes a while and is needed later or never
SLOW = {"asyncio", "concurrent", "email", "http", "multiprocessing", "sqlite3", "ssl", "unittest", "urllib.request"}


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


def test_mode_is_the_type_of_every_mode_that_a_search_takes():
    assert get_args(colbert_rag.Mode) == MODES
    assert get_type_hints(colbert_rag.Index.search)["mode"] == colbert_rag.Mode


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'colbert_rag' has no attribute 'RAGPretrainedModel'"):
        _ = colbert_rag.RAGPretrainedModel


def test_importing_the_package_loads_no_other_package_but_numpy_and_nothing_slow():
    code = "import sys, numpy.typing; before = {*sys.modules}; import colbert_rag; print(*{*sys.modules} - before)"
    loaded = set(run(code).split())
    assert "colbert_rag" in loaded
    packages = {name.split(".")[0] for name in loaded}
    assert packages - set(sys.stdlib_module_names) - {"numpy"} == {"colbert_rag"}
    assert loaded & SLOW == set()


def test_importing_the_package_loads_only_the_parts_that_compute_nothing():
    loaded = run("import sys, colbert_rag; print(*sys.modules)").split()
    parts = {name.split(".")[1] for name in loaded if name.startswith("colbert_rag.")}
    assert parts == {"context", "errors", "filters", "types", "version"}


def test_the_version_is_the_one_of_the_distribution():
    assert run("from colbert_rag.version import __version__; print(__version__)") == colbert_rag.__version__
