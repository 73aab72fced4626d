"""One place writes files: faults that are put under it are under everything, and nothing writes past it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import colbert_rag

PACKAGE = Path(colbert_rag.__file__).parent
# what changes files beside the one place, and how: a copy in a folder of its own, which gets its name at last
COPYING = PACKAGE / "storage" / "copying.py"
IN_COPYING = {"open ['xb']", "rename"}
# and what writes no index: files that a command is told to write, and models
ELSEWHERE = {PACKAGE / "storage" / "files.py", COPYING, PACKAGE / "cli" / "files.py", PACKAGE / "encoder/adapting.py"}
ELSEWHERE |= set((PACKAGE / "training").glob("*.py"))
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path not in ELSEWHERE)
# who opens a database; guards.py one in memory, salvage.py and structure.py for reading only
OPENING = {"connection.py", "copying.py", "creating.py", "guards.py", "salvage.py", "structure.py"}
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
            if name in {"replace", "copy"} and module not in {"os", "shutil"} and len(node.args) != 1:
                continue
            # of lists and sets
            if name == "remove" and module != "os":
                continue
            found.append((node.lineno, name))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_file_changes_files(path):
    assert writes(path.read_text(encoding="utf-8")) == []


def test_copies_are_written_to_new_files_and_named_at_last():
    assert {what for _, what in writes(COPYING.read_text(encoding="utf-8"))} == IN_COPYING


def test_no_other_file_opens_a_database():
    assert {path.name for path in PACKAGE.rglob("*.py") if "sqlite3.connect(" in path.read_text("utf-8")} == OPENING


@pytest.mark.parametrize(
    "line",
    [
        *("path.mkdir()", "os.unlink(path)", "shutil.rmtree(path)", "path.open('wb')", "open(path, 'x')"),
        *("os.open(path, os.O_WRONLY | os.O_CREAT)", "building.rename(path)", "os.fsync(fd)", "array.tofile(path)"),
        *(
            "path.replace(other)",
            "path.write_bytes(b'')",
            "os.remove(path)",
            "np.save(path, array)",
            "os.replace(one, other)",
        ),
    ],
)
def test_the_search_for_writes_finds_them(line):
    assert len(writes(line)) == 1


@pytest.mark.parametrize(
    "line", ["text.replace('a', 'b')", "replace(view, alive=None)", "path.open('rb')", "a.copy()", "names.remove(name)"]
)
def test_the_search_for_writes_leaves_the_rest_alone(line):
    assert writes(line) == []
