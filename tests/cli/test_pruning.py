from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    (root / "b").mkdir(parents=True)
    for name in ("a.txt", "b/deep.txt", "c.txt"):
        (root / name).write_text(f"The text of {name}.")
    return root


@pytest.fixture
def path(run, folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "files.index"
    assert run("index", folder, "--into", path, "--model", "hash", "--quiet").code == 0
    return path


@pytest.fixture
def prune(run, path: Path):
    return lambda *given: run("index", *given, "--into", path, "--model", "hash", "--upsert", "--prune")


def ids(path: Path) -> list[str]:
    with Index.open(path, HashEncoder(), read_only=True) as index:
        return list(index.ids())


def test_documents_whose_files_are_gone_are_removed_and_counted(run, prune, folder: Path, path: Path):
    (folder / "c.txt").unlink()
    shutil.rmtree(folder / "b")
    (folder / "d.txt").write_text("New.")
    outcome = prune(folder)
    assert outcome.code == 0
    assert "1 document written, 2 removed in " in outcome.err
    assert "2 in the index" in outcome.err
    assert ids(path) == ["a.txt", "d.txt"]
    again = run("index", folder, "--into", path, "--model", "hash", "--upsert", "--prune", "--json").json
    assert (again["added"], again["removed"], again["documents"]) == (0, 0, 2)


def test_without_prune_they_stay(run, folder: Path, path: Path):
    (folder / "c.txt").unlink()
    assert run("index", folder, "--into", path, "--model", "hash", "--upsert").code == 0
    assert "c.txt" in ids(path)


@pytest.mark.parametrize(("content", "reason"), [(b"\xff", "expected UTF-8"), (b"", "no text in it")])
def test_a_file_that_is_there_and_gives_nothing_keeps_its_document(prune, folder: Path, path: Path, content, reason):
    (folder / "c.txt").write_bytes(content)
    outcome = prune(folder)
    assert outcome.code == 0
    assert f"{folder.as_posix()}/c.txt: {reason}" in outcome.err
    assert ids(path) == ["a.txt", "b/deep.txt", "c.txt"]


def test_a_file_that_cannot_be_looked_at_keeps_its_document(prune, folder: Path, path: Path, monkeypatch):
    look = Path.lstat

    def lstat(self: Path):
        if self.name == "c.txt":
            raise PermissionError(13, "Permission denied")
        return look(self)

    (folder / "c.txt").unlink()
    monkeypatch.setattr(Path, "lstat", lstat)
    assert prune(folder).code == 0
    assert "c.txt" in ids(path)


def test_what_did_not_come_from_the_folder_is_not_touched(run, prune, folder: Path, path: Path, tmp_path: Path):
    other = tmp_path / "elsewhere" / "files"
    other.mkdir(parents=True)
    (other / "other.txt").write_text("Of another folder of the same name.")
    (tmp_path / "named.txt").write_text("Named itself.")
    (folder / "records.jsonl").write_text(json.dumps({"id": "record", "text": "A record."}) + "\n")
    run("index", other, tmp_path / "named.txt", folder, "--into", path, "--model", "hash", "--upsert")
    with Index.open(path, HashEncoder()) as index:
        index.add([Document("own", "From Python.", {"source": (folder / "own").as_posix()})])
    for gone in (folder / "c.txt", folder / "records.jsonl", other / "other.txt", tmp_path / "named.txt"):
        gone.unlink()
    assert prune(folder).code == 0
    assert ids(path) == ["a.txt", "b/deep.txt", "named.txt", "other.txt", "own", "record"]


def test_two_folders_of_one_relative_name_are_two(run, tmp_path: Path, monkeypatch):
    path = tmp_path / "both.index"
    for project in ("one", "two"):
        (tmp_path / project / "docs").mkdir(parents=True)
        (tmp_path / project / "docs" / f"{project}.txt").write_text("Some text.")
        monkeypatch.chdir(tmp_path / project)
        assert run("index", "docs", "--into", path, "--model", "hash", "--upsert", "--prune").code == 0
    assert ids(path) == ["one.txt", "two.txt"]


def test_a_folder_is_known_by_whatever_name_it_is_given(prune, folder: Path, path: Path, monkeypatch):
    (folder / "c.txt").unlink()
    monkeypatch.chdir(folder / "b")
    assert prune("..").code == 0
    assert ids(path) == ["a.txt", "b/deep.txt"]


def test_a_folder_without_a_file_is_taken_for_a_disk_that_is_not_mounted(prune, folder: Path, path: Path):
    shutil.rmtree(folder)
    folder.mkdir()
    outcome = prune(folder)
    assert f"nothing of {folder.as_posix()} is removed: it holds no file" in outcome.err
    assert ids(path) == ["a.txt", "b/deep.txt", "c.txt"]


def test_a_run_that_fails_removes_nothing(prune, folder: Path, path: Path):
    (folder / "c.txt").unlink()
    (folder / "z.jsonl").write_text("broken\n")
    assert prune(folder).code == 1
    assert "c.txt" in ids(path)


def test_prune_without_upsert_or_without_a_folder_is_wrong_usage(run, prune, folder: Path, path: Path):
    outcome = run("index", folder, "--into", path, "--model", "hash", "--prune")
    assert outcome.code == 2
    assert "together with --upsert only" in " ".join(outcome.err.replace("│", " ").split())
    outcome = prune(folder / "a.txt")
    assert outcome.code == 2
    assert "name one, or use" in " ".join(outcome.err.replace("│", " ").split())
    assert ids(path) == ["a.txt", "b/deep.txt", "c.txt"]
