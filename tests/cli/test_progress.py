from __future__ import annotations

import pytest

from colbert_rag.cli.progress import progress_bars


def test_no_bars_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    with progress_bars(is_quiet=False) as progress:
        assert progress is None
    assert capsys.readouterr() == ("", "")


def test_no_bars_when_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bars(is_quiet=True) as progress:
        assert progress is None
    assert capsys.readouterr() == ("", "")


def test_every_stage_has_a_bar_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bars(is_quiet=False) as progress:
        assert progress is not None
        for stage, done, total in [("encode", 10, 50), ("encode", 50, 50), ("write", 3, None), ("write", 7, 7)]:
            progress(stage, done, total)
    captured = capsys.readouterr()
    assert "encode" in captured.err
    assert "50/50" in captured.err
    assert "7/7" in captured.err
    assert captured.out == ""


def test_a_stage_that_starts_again_counts_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bars(is_quiet=False) as progress:
        assert progress is not None
        progress("encode", 50, 50)
        progress("encode", 20, 40)
    assert capsys.readouterr().err.rstrip().count("20/40") >= 1


def test_one_bar_over_tokens_stands_for_encoding_and_writing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bars(is_quiet=False) as progress:
        assert progress is not None
        for stage, done, total in [("index", 1, 9), ("encode", 70, 90), ("index", 7, 9), ("encode", 90, 90)]:
            progress(stage, done, total)
    last_drawn = capsys.readouterr().err.rsplit("90/90", 1)[0][-200:]
    assert "encode" in last_drawn
    assert "index" not in last_drawn
