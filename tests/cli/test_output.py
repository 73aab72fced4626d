from __future__ import annotations

import json

import pytest

from colbert_rag.cli.output import bytes_in_words, counted, emit_json, make_table, output_console, say


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (5 * 2**20, "5.0 MiB"), (3 * 2**40, "3,072.0 GiB")],
)
def test_sizes_are_said_in_the_unit_that_fits(size: int, words: str):
    assert bytes_in_words(size) == words


def test_json_is_ascii_and_comes_back_equal(capsys: pytest.CaptureFixture[str]):
    value = {"text": "\x1b[31m\x9b \u202e ü [bold]", "n": 1.5}
    emit_json(value)
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isascii()
    assert printed.replace("\n", "").isprintable()
    assert json.loads(printed) == value


def test_a_number_that_json_lacks_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit_json({"x": float("nan")})


def test_messages_go_to_stderr_without_escapes_or_markup(capsys: pytest.CaptureFixture[str]):
    say("[bold]a\x1b[2Jb[/bold] :smile:")
    captured = capsys.readouterr()
    assert captured.err == "[bold]a [2Jb[/bold] :smile:\n"
    assert captured.out == ""


def test_a_table_takes_its_cells_as_they_are(capsys: pytest.CaptureFixture[str]):
    output_console().print(make_table("title", ["mode", "x"], [["[red]\x1b", ":smile:"]]))
    printed = capsys.readouterr().out
    assert "[red] " in printed
    assert ":smile:" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize(("number", "words"), [(0, "0 files"), (1, "1 file"), (2000, "2,000 files")])
def test_a_noun_follows_its_number(number: int, words: str):
    assert counted(number, "file") == words
