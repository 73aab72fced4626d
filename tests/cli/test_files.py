from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from colbert_rag import StorageError
from colbert_rag.cli.files import check_output, write_whole

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files can be made and cannot be filled."""

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fsync)


@pytest.mark.parametrize("is_forced", [True, False])
def test_a_new_file_holds_the_text_and_nothing_else_is_left(tmp_path: Path, is_forced: bool):
    write_whole(tmp_path / "report.html", "Grüße \u6771\n", is_forced=is_forced)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_bytes() == "Grüße \u6771\n".replace("\n", os.linesep).encode()


@pytest.mark.parametrize("is_forced", [True, False])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, full_disk: None, is_forced: bool):
    path = tmp_path / "report.html"
    if is_forced:
        path.write_text("old")
    with pytest.raises(StorageError, match=r"report\.html cannot be written \(No space left"):
        write_whole(path, "new", is_forced=is_forced)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == ({"report.html": "old"} if is_forced else {})


def test_a_file_that_is_there_is_not_written_over_unless_forced(tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(StorageError, match="File exists"):
        write_whole(path, "new", is_forced=False)
    assert path.read_text() == "old"
    path.chmod(0o600)
    write_whole(path, "new", is_forced=True)
    assert path.read_text() == "new"
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.html").write_text("old")
    (tmp_path / "report.html").symlink_to(tmp_path / "there" / "real.html")
    write_whole(tmp_path / "report.html", "new", is_forced=True)
    assert (tmp_path / "report.html").is_symlink()
    assert (tmp_path / "there" / "real.html").read_text() == "new"


@pytest.mark.parametrize("is_forced", [True, False])
def test_a_link_to_nothing_is_refused_and_stays(tmp_path: Path, is_forced: bool):
    path = tmp_path / "report.html"
    path.symlink_to(tmp_path / "missing" / "real.html")
    with pytest.raises(StorageError, match=r"is a link to .*missing.*, which is not there"):
        check_output(path, is_forced=is_forced)
    assert path.is_symlink()


@needs_full
def test_a_device_is_written_to_and_never_replaced():
    with pytest.raises(StorageError, match="/dev/full cannot be written"):
        write_whole(FULL, "x" * 100_000, is_forced=True)
    assert stat.S_ISCHR(FULL.stat().st_mode)
    write_whole(Path(os.devnull), "x", is_forced=True)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_name_that_is_too_long_is_refused(tmp_path: Path):
    with pytest.raises(StorageError, match="cannot be written"):
        write_whole(tmp_path / ("x" * 300), "text", is_forced=False)


@needs_full
def test_the_command_ends_with_1_and_one_message(run, index_path: Path, tmp_path: Path):
    (tmp_path / "link.html").symlink_to(tmp_path / "missing" / "real.html")
    for path, more in ((FULL, ["--force"]), (tmp_path / "link.html", []), (tmp_path / "link.html", ["--force"])):
        outcome = run("explain", index_path, "notice", "--model", "hash", "--output", path, *more)
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err.startswith(f"StorageError: {path} ")
        assert "Traceback" not in outcome.err
