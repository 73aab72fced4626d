from __future__ import annotations

import shutil
from pathlib import Path

from colbert_rag import Index
from colbert_rag.testing import HashEncoder


def segment_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.npy"))


def test_info_says_what_the_index_holds(run, index_path: Path):
    outcome = run("info", index_path)
    assert outcome.code == 0
    rows = [line for line in outcome.out.splitlines() if line.lstrip("│┃ ").startswith("documents")]
    assert "4" in rows[0]
    with Index.open(index_path, HashEncoder(), read_only=True) as index:
        info = index.info()
    report = run("info", index_path, "--json").json
    assert (report["n_documents"], report["n_tokens"], report["dim"]) == (4, info.n_tokens, HashEncoder().dim)


def test_a_sound_index_is_verified_with_0(run, index_path: Path):
    outcome = run("verify", index_path)
    assert outcome.code == 0
    assert "sound" in outcome.out
    report = run("verify", index_path, "--json").json
    assert report["ok"] is True
    assert report["problems"] == []
    assert report["documents"] == 4


def test_a_changed_byte_is_found_with_1(run, index_path: Path):
    path = max(segment_files(index_path), key=lambda file: file.stat().st_size)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    outcome = run("verify", index_path)
    assert outcome.code == 1
    assert path.name in outcome.err
    assert " problem" in outcome.out
    outcome = run("verify", index_path, "--json")
    assert outcome.code == 1
    assert outcome.json["ok"] is False


def test_what_is_left_over_is_named_and_is_no_problem(run, index_path: Path):
    (index_path / "segment-stray").mkdir()
    outcome = run("verify", index_path)
    assert outcome.code == 0
    assert "left over: segment-stray" in outcome.err.splitlines()
    assert "sound" in outcome.out


def test_compact_drops_what_was_deleted_and_merges_segments(run, index_path: Path, tmp_path: Path):
    (tmp_path / "lunch.txt").write_text("Lunch is at noon.")
    run("index", tmp_path / "lunch.txt", "--into", index_path, "--model", "hash")
    with Index.open(index_path, HashEncoder()) as index:
        index.delete(["travel"])
    report = run("compact", index_path, "--json").json
    assert (report["before"]["n_segments"], report["after"]["n_segments"]) == (2, 1)
    assert report["after"]["n_documents"] == 4
    assert report["after"]["vector_bytes"] < report["before"]["vector_bytes"]
    outcome = run("compact", index_path)
    assert outcome.code == 0
    assert "1 to 1 segment," in outcome.err


def test_an_index_that_cannot_be_opened_is_verified_with_1(run, index_path: Path):
    path = index_path / "catalog.sqlite"
    path.write_bytes(path.read_bytes()[:-20_000])
    outcome = run("verify", index_path)
    assert outcome.code == 1
    assert "catalog.sqlite" in outcome.err
    assert "problem" in outcome.out


def test_a_backup_is_an_index_and_is_never_overwritten(run, index_path: Path, tmp_path: Path):
    outcome = run("backup", index_path, tmp_path / "copy")
    assert outcome.code == 0
    assert "verified: 4 documents" in outcome.err
    assert run("verify", tmp_path / "copy").code == 0
    outcome = run("backup", index_path, tmp_path / "copy")
    assert outcome.code == 1
    assert outcome.err.startswith("IndexExistsError: ")
    report = run("backup", index_path, tmp_path / "second", "--json").json
    assert (report["documents"], report["path"]) == (4, str(tmp_path / "second"))


def test_restore_says_what_was_kept_encoded_and_lost(run, index_path: Path, tmp_path: Path):
    damage(index_path, "the end of a quarter", "the end of a quartet")
    outcome = run("restore", index_path, tmp_path / "saved")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-2:] == [
        "lost: notice",
        f"{tmp_path / 'saved'}: 3 documents kept, 0 encoded anew, 1 lost",
    ]
    assert run("verify", tmp_path / "saved").code == 0
    segment_files(index_path)[0].unlink()
    report = run("restore", index_path, tmp_path / "second", "--model", "hash", "--json").json
    assert (report["kept"], report["encoded"], report["lost"]) == (0, 3, ["notice"])
    assert len(report["problems"]) == 1


def test_restore_that_loses_nothing_ends_with_0(run, index_path: Path, tmp_path: Path):
    segment_files(index_path)[0].unlink()
    assert run("restore", index_path, tmp_path / "saved", "--model", "hash").code == 0


def test_restore_says_that_a_damaged_log_lost_what_cannot_be_counted(run, index_path: Path, tmp_path: Path):
    with Index.open(index_path, HashEncoder()) as index:
        index.delete(["notice"])
        crashed = shutil.copytree(index_path, tmp_path / "crashed", ignore=shutil.ignore_patterns("*-shm"))
    log = crashed / "catalog.sqlite-wal"
    log.write_bytes(b"\0" + log.read_bytes()[1:])
    outcome = run("restore", crashed, tmp_path / "saved")
    assert outcome.code == 1
    uncounted, summary = outcome.err.splitlines()[-2:]
    assert uncounted.startswith("lost, uncounted: catalog.sqlite-wal: the header is damaged")
    assert summary.endswith("4 documents kept, 0 encoded anew, 0 lost, besides what cannot be counted")


def damage(index_path: Path, text: str, other: str) -> None:
    path = index_path / "catalog.sqlite"
    before = path.read_bytes()
    after = before.replace(text.encode(), other.encode())
    assert after != before
    path.write_bytes(after)
