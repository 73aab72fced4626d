from __future__ import annotations

import subprocess
import sys

import llama_index_colbert_rag
import pytest

BLOCKED = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {blocked!r} or name.startswith({blocked!r} + "."):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name={blocked!r})
sys.meta_path.insert(0, Finder())
import colbert_rag
colbert_rag.Index
try:
    import llama_index_colbert_rag
except ImportError as err:
    print(type(err).__name__, "|", err)
"""


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("blocked", ["llama_index", "llama_index.core"])
def test_without_llama_index_core_the_import_names_the_extra(blocked: str):
    kind, words = run(BLOCKED.format(blocked=blocked)).split(" | ")
    assert kind == "MissingDependencyError"
    assert "pip install 'late-interaction-rag[llama-index]'" in words


def test_a_package_that_is_missing_elsewhere_is_not_taken_for_llama_index():
    kind, words = run(BLOCKED.format(blocked="fsspec")).split(" | ")
    assert kind != "MissingDependencyError"
    assert "fsspec" in words


def test_the_core_imports_no_llama_index_and_the_adapter_no_torch():
    assert run("import colbert_rag, sys; colbert_rag.Index; print('llama_index' in sys.modules)") == "False"
    heavy = "{'torch', 'sentence_transformers', 'transformers', 'langchain_core'}"
    assert run(f"import llama_index_colbert_rag, sys; print({heavy} & {{*sys.modules}})") == "set()"


@pytest.mark.parametrize("name", llama_index_colbert_rag.__all__)
def test_every_public_name_has_a_docstring(name: str):
    assert getattr(llama_index_colbert_rag, name).__doc__
