"""One place writes files: faults that are put under it are under everything, and nothing writes past it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import colbert_rag

PACKAGE = Path(colbert_rag.__file__).parent
# copying.py writes copies beside the index, and restoring a new one; neither touches an index that is in use
ELSEWHERE = {"files.py", "copying.py"}
FILES = sorted(
    [path for path in (PACKAGE / "storage").glob("*.py") if path.name not in ELSEWHERE]
    + [PACKAGE / f"{name}.py" for name in ("ingest", "merging", "answers", "writing")]
    + list((PACKAGE / "verifying").glob("*.py"))
)
CHANGES = {
    *("mkdir", "makedirs", "rmdir", "removedirs", "unlink", "remove", "rename", "renames", "replace", "rmtree"),
    *("link", "symlink", "hardlink_to", "symlink_to", "touch", "truncate", "ftruncate", "fsync", "fdatasync"),
    *("write_bytes", "write_text", "tofile", "save", "savez", "move", "copy", "copy2", "copyfile", "copytree"),
}


def writes(source):
    """Lines that change files, with what they call."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        owner = function.value if isinstance(function, ast.Attribute) else None
        module = owner.id if isinstance(owner, ast.Name) else ""
        if name == "open" and module != "Segment":
            modes = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
            flags = ast.dump(node)
            if any(isinstance(mode, str) and set(mode) & set("wax+") and len(mode) <= 3 for mode in modes):
                found.append((node.lineno, f"open {modes}"))
            if any(flag in flags for flag in ("O_WRONLY", "O_RDWR", "O_CREAT")):
                found.append((node.lineno, "os.open"))
        elif name in CHANGES and not (owner is None and name in {"replace"}):
            # of str and arrays, replace and copy take what no path takes: two values, or none
            if name in {"replace", "remove", "copy"} and module not in {"os", "shutil"} and len(node.args) != 1:
                continue
            found.append((node.lineno, name))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_other_file_changes_files(path):
    assert writes(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        *("path.mkdir()", "os.unlink(path)", "shutil.rmtree(path)", "path.open('wb')", "open(path, 'x')"),
        *("os.open(path, os.O_WRONLY | os.O_CREAT)", "building.rename(path)", "os.fsync(fd)", "array.tofile(path)"),
        *("path.replace(other)", "path.write_bytes(b'')", "np.save(path, array)", "os.replace(one, other)"),
    ],
)
def test_the_search_for_writes_finds_them(line):
    assert len(writes(line)) == 1


@pytest.mark.parametrize("line", ["text.replace('a', 'b')", "replace(view, alive=None)", "path.open('rb')", "a.copy()"])
def test_the_search_for_writes_leaves_the_rest_alone(line):
    assert writes(line) == []
