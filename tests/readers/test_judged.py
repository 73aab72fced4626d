from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers import read_judged_corpus, read_qrels, read_queries
from colbert_rag.types import Document


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["queries.jsonl", "queries.jsonl.gz"])
def test_queries_keep_file_order(tmp_path: Path, name: str):
    path = write(tmp_path / name, '{"_id": "q2", "text": "two?", "metadata": {}}\n{"id": "q1", "text": "one?"}\n')
    assert list(read_queries(path).items()) == [("q2", "two?"), ("q1", "one?")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', "2: query id 'a' occurs twice"),
        ('{"_id": "a"}\n', "1: expected strings '_id' and 'text'"),
        ('{"_id": "a", "text": " "}\n', "1: expected strings '_id' and 'text'"),
        ("\n", " there is no query"),
    ],
)
def test_wrong_queries_are_refused(tmp_path: Path, text: str, message: str):
    path = write(tmp_path / "queries.jsonl", text)
    with pytest.raises(CorpusFormatError) as caught:
        read_queries(path)
    assert str(caught.value).startswith(f"{path}:{message}")


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq 1\td1\t2\nq 1\td2\t0\n",
        "q 1\td1\t2\nq 1\td2\t0\n\n",
        "q 1\t0\td1\t2\r\nq 1\tQ0\td2\t0\r\n",
    ],
    ids=["beir with header", "beir", "trec"],
)
def test_every_layout_gives_the_same_judgements(tmp_path: Path, text: str):
    assert read_qrels(write(tmp_path / "qrels.tsv", text)) == {"q 1": {"d1": 2, "d2": 0}}


def test_blanks_part_the_columns_of_trec(tmp_path: Path):
    assert read_qrels(write(tmp_path / "qrels.txt", "301 0 FR940202 -1\n")) == {"301": {"FR940202": -1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q\td\tx\n", "1: expected query, document, relevance"),
        ("q\td\n", "1: expected query, document, relevance"),
        ("q\t0\td\t1\t5\n", "1: expected query, document, relevance"),
        ("q\td\t1\nq\td\t0\n", "2: 'q' and 'd' are judged twice, differently"),
        ("query-id\tcorpus-id\tscore\n", " there is no judgement"),
    ],
)
def test_wrong_judgements_are_refused(tmp_path: Path, text: str, message: str):
    path = write(tmp_path / "qrels.tsv", text)
    with pytest.raises(CorpusFormatError) as caught:
        read_qrels(path)
    assert str(caught.value).startswith(f"{path}:{message}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "corpus.jsonl.gz", '{"_id": "d1", "title": "T", "text": "one"}\n{"_id": "d2", "text": "two"}\n')
    write(tmp_path / "queries.jsonl", '{"_id": "q1", "text": "one?"}\n{"_id": "q2", "text": "two?"}\n')
    write(tmp_path / "qrels.tsv", "q2\td2\t1\n")
    return tmp_path


def test_a_judged_corpus_keeps_the_judged_queries(folder: Path):
    corpus = read_judged_corpus(folder)
    assert corpus.documents == [Document("d1", "T\none"), Document("d2", "two")]
    assert corpus.queries == {"q2": "two?"}
    assert corpus.qrels == {"q2": {"d2": 1}}


@pytest.mark.parametrize("name", ["corpus.jsonl.gz", "queries.jsonl", "qrels.tsv"])
def test_a_missing_file_of_a_judged_corpus_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(CorpusFormatError, match=f"there is no file {name.partition('.')[0]}"):
        read_judged_corpus(folder)


@pytest.mark.parametrize("line", ["q9\td1\t1\n", "q1\td9\t1\n"])
def test_judgements_of_what_is_not_there_are_refused(folder: Path, line: str):
    write(folder / "qrels.tsv", line)
    with pytest.raises(CorpusFormatError, match="name an unknown query or document"):
        read_judged_corpus(folder)
