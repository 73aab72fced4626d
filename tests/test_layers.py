"""A lower layer never imports a higher one: the rule of the design, proved on the source."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

import colbert_rag

PACKAGE = Path(colbert_rag.__file__).parent
INTEGRATIONS = PACKAGE.parent / "integrations"

LAYERS = {
    0: {"types", "errors", "version"},
    1: {"codec", "filters", "kernels", "storage", "validation"},
    2: {"encoder", "search", "testing"},
    3: {
        *("index", "rerank", "models", "callers"),
        *("writing", "overlapping", "ingest", "merging"),
        *("inspection", "verifying", "backup", "restoring", "attempts"),
        *("asking", "coalescing", "selection", "answers", "rankings", "evidence", "context", "explaining"),
    },
    4: {"cli", "readers", "report", "evaluation", "significance", "training", "demo", "__main__"},
}
LAYER_OF = {part: layer for layer, parts in LAYERS.items() for part in parts}
# the package itself only re-exports: it may name any layer, and no module may import it
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
# parts of one layer that know nothing of each other
STRANGERS = [("encoder", "search")]


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Absolute names of all modules that a file imports anywhere, and those of the names it takes from them."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def parts_imported(path):
    """Parts of colbert_rag that a file imports; a public name counts as the part that defines it."""
    ours = [name.split(".") for name in imported(path) if name.split(".")[0] == "colbert_rag"]
    return {defining_part(name[1]) if len(name) > 1 else "colbert_rag" for name in ours}


def defining_part(name):
    if name in LAYER_OF or name not in colbert_rag.__all__:
        return name
    return getattr(getattr(colbert_rag, name), "__module__", "colbert_rag.version").split(".")[1]


def name_of(path):
    return str(path.relative_to(PACKAGE.parent))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_is_in_a_layer_and_imports_no_higher_one(path):
    part = part_of(path)
    assert part in LAYER_OF, f"{name_of(path)} is in no layer: add it to LAYERS and to docs/architecture.md"
    too_high = {other for other in parts_imported(path) if LAYER_OF.get(other, 9) > LAYER_OF[part]}
    assert not too_high, f"layer {LAYER_OF[part]} imports {too_high}"


def test_layers_name_no_module_that_is_gone():
    assert set(LAYER_OF) == {part_of(path) for path in MODULES}


@pytest.mark.parametrize(("one", "other"), STRANGERS)
def test_encoder_and_search_know_nothing_of_each_other(one, other):
    for path in MODULES:
        if part_of(path) in (one, other):
            assert not ({one, other} - {part_of(path)}) & parts_imported(path), name_of(path)


@pytest.mark.parametrize("path", [p for p in MODULES if LAYER_OF.get(part_of(p)) == 0], ids=name_of)
def test_the_lowest_layer_imports_nothing_third_party_but_numpy(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert tops <= {"numpy", "colbert_rag", *sys.stdlib_module_names}


@pytest.mark.parametrize("part", ["index", "answers", "inspection"])
def test_what_composes_does_not_compute(part):
    """No kernel module and no array library for models in the composing layer."""
    names = imported(PACKAGE / f"{part}.py")
    assert not [name for name in names if name.split(".")[0] in ("torch", "numba", "faiss")]


@pytest.mark.parametrize("path", sorted(INTEGRATIONS.rglob("*.py")), ids=lambda path: path.stem)
def test_integrations_use_public_names_only(path):
    public = set(importlib.import_module("colbert_rag").__all__)
    for name in imported(path):
        if name.split(".")[0] == "colbert_rag":
            assert name.removeprefix("colbert_rag.") in public, f"{path}: {name}"


def test_the_rule_is_seen_when_it_is_broken(tmp_path):
    """The parser finds imports inside functions, of modules and of names."""
    path = tmp_path / "module.py"
    path.write_text(
        "def f():\n    import colbert_rag.index as i\n    from colbert_rag import rerank\n    import torch.nn\n"
    )
    assert parts_imported(path) == {"index", "rerank"}
    assert imported(path)[-1] == "torch.nn"
