from __future__ import annotations

import subprocess
import sys

import langchain_colbert_rag
import pytest

BLOCKED = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name={blocked!r})
sys.meta_path.insert(0, Finder())
import colbert_rag
colbert_rag.Index
try:
    import langchain_colbert_rag
except ImportError as err:
    print(type(err).__name__, "|", err)
"""


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_langchain_core_the_import_names_the_extra():
    kind, words = run(BLOCKED.format(blocked="langchain_core")).split(" | ")
    assert kind == "MissingDependencyError"
    assert "pip install 'late-interaction-rag[langchain]'" in words


def test_a_package_that_is_missing_elsewhere_is_not_taken_for_langchain():
    kind, words = run(BLOCKED.format(blocked="langsmith")).split(" | ")
    assert kind != "MissingDependencyError"
    assert "langsmith" in words


def test_the_core_imports_no_langchain_and_the_adapter_no_torch():
    assert run("import colbert_rag, sys; colbert_rag.Index; print('langchain_core' in sys.modules)") == "False"
    heavy = "{'torch', 'sentence_transformers', 'langchain', 'langchain_classic'}"
    assert run(f"import langchain_colbert_rag, sys; print({heavy} & {{*sys.modules}})") == "set()"


@pytest.mark.parametrize("name", langchain_colbert_rag.__all__)
def test_every_public_name_has_a_docstring(name: str):
    assert getattr(langchain_colbert_rag, name).__doc__
