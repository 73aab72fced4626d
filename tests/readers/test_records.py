from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers.records import read_csv, read_jsonl
from colbert_rag.types import Document

TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text.strip())
FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


def write_lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_a_title_is_put_before_the_text(tmp_path: Path):
    path = write_lines(tmp_path / "a.jsonl", {"_id": "a", "title": "Notice", "text": "Three months."})
    assert list(read_jsonl(path)) == [Document("a", "Notice\nThree months.")]


@pytest.mark.parametrize("title", ["", None])
def test_an_empty_title_leaves_the_text_as_it_is(tmp_path: Path, title: str | None):
    path = write_lines(tmp_path / "a.jsonl", {"_id": "a", "title": title, "text": " x "})
    assert list(read_jsonl(path)) == [Document("a", " x ")]


def test_other_fields_and_the_metadata_object_become_metadata(tmp_path: Path):
    path = write_lines(tmp_path / "a.jsonl", {"id": "a", "text": "x", "year": 2024, "metadata": {"tags": ["b", None]}})
    assert list(read_jsonl(path)) == [Document("a", "x", {"year": 2024, "tags": ["b", None]})]


def test_empty_lines_are_no_records(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": "x"}\r\n\n{"id": 7, "text": "y"}\n\n')
    assert list(read_jsonl(path)) == [Document("a", "x"), Document("7", "y")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "b"', "expected one JSON object a line"),
        ('["b"]', "expected a JSON object, found list"),
        ('{"text": "x"}', "expected one field 'id' or '_id'"),
        ('{"id": "b", "_id": "b", "text": "x"}', "expected one field 'id' or '_id'"),
        ('{"id": true, "text": "x"}', "expected a string or an integer as 'id', found True"),
        ('{"id": "b"}', "field 'text' is missing"),
        ('{"id": "b", "text": 5}', "expected a string as 'text', found int"),
        ('{"id": "b", "text": "x", "title": 5}', "expected a string as 'title', found int"),
        ('{"id": "b", "text": " \\n"}', "the text of document 'b' is blank"),
        ('{"id": "b", "text": "x", "y": 1, "metadata": {"y": 2}}', "'y' is given both beside and inside"),
        ("[" * 100_000, "expected one JSON object a line"),
    ],
)
def test_a_wrong_record_is_named_by_file_and_line(tmp_path: Path, line: str, message: str):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": "x"}\n\n' + line + "\n")
    with pytest.raises(CorpusFormatError, match=message) as caught:
        list(read_jsonl(path))
    assert str(caught.value).startswith(f"{path}:3: ")


def test_records_before_a_wrong_one_are_streamed(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": "x"}\nbroken\n')
    assert next(iter(read_jsonl(path))).id == "a"


@given(records=st.lists(st.tuples(TEXT, FIELD), min_size=1, max_size=4))
def test_csv_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str]]):
    records = [(text.replace("\x00", "x"), year) for text, year in records]
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "text", "year"])
        writer.writerows((f"d{n}", text, year) for n, (text, year) in enumerate(records))
    expected = [Document(f"d{n}", text, {"year": year}) for n, (text, year) in enumerate(records)]
    assert list(read_csv(path)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "1: column 'text' is missing"),
        ("id,body\na,x\n", "1: column 'text' is missing"),
        ("key,text\na,x\n", "1: column 'id' is missing"),
        ("id,text,text\na,x,y\n", "1: a column name occurs twice"),
        ('id,text\na,"two\nlines"\nb\n', "4: expected 2 fields as in the header, found 1"),
        ('id,text\na,"x" y\n', "2: no valid CSV"),
        ('id,text\na,"x\n', "2: no valid CSV"),
        ("id,text\na, \n", "2: the text of document 'a' is blank"),
        (f"id,text\na,{'x' * 200_000}\n", "2: no valid CSV: field larger than field limit"),
    ],
)
def test_wrong_csv_is_named_by_file_and_line(tmp_path: Path, content: str, message: str):
    path = tmp_path / "a.csv"
    path.write_text(content, newline="")
    with pytest.raises(CorpusFormatError) as caught:
        list(read_csv(path))
    assert str(caught.value).startswith(f"{path}:{message}")
