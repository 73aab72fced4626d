from __future__ import annotations

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
