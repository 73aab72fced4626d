from __future__ import annotations

import gzip
import json

import pytest

from colbert_rag.errors import CorpusFormatError
from colbert_rag.training.pairs import Pair, read_pairs


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_pairs_come_in_file_order_with_their_ids_as_strings(tmp_path):
    first = {"query": "a?", "positive": "A.", "passage_id": 7, "query_id": 1.5, "source": "faq", "note": "left alone"}
    path = write(tmp_path / "pairs.jsonl", first, {"query": "b?", "positive": "B."})
    assert read_pairs(path) == [Pair("a?", "A.", "7", "faq"), Pair("b?", "B.")]


def test_a_pair_that_is_there_twice_is_read_once(tmp_path):
    row = {"query": "a?", "positive": "A."}
    # a field that is not read makes no other pair
    rows = ({**row, "query_id": "1"}, {**row, "query_id": "2"})
    assert read_pairs(write(tmp_path / "pairs.jsonl", *rows)) == [Pair("a?", "A.")]


def test_a_compressed_file_reads_the_same(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"query": "a?", "positive": "A."}\n'))
    assert read_pairs(path) == [Pair("a?", "A.")]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"query": "a?"}, r"pairs.jsonl:2: expected a string 'positive' that is not blank, found None"),
        ({"query": " ", "positive": "A."}, r"pairs.jsonl:2: expected a string 'query' that is not blank"),
        ({"query": "a?", "positive": ["A."]}, r":2: expected a string 'positive'"),
        ({"query": "a?", "positive": "\ud800"}, r":2: character 0 of 'positive' is half of a surrogate pair"),
        ({"query": "a?", "positive": "A.", "passage_id": True}, r":2: expected a string or a whole number"),
        ({"query": "a?", "positive": "A.", "passage_id": 1.5}, r":2: .* as 'passage_id', found 1.5"),
    ],
)
def test_a_line_that_is_no_pair_is_refused_by_its_number(tmp_path, record, said):
    path = write(tmp_path / "pairs.jsonl", {"query": "x?", "positive": "X."}, record)
    with pytest.raises(CorpusFormatError, match=said):
        read_pairs(path)


def test_a_file_without_a_pair_is_refused(tmp_path):
    with pytest.raises(CorpusFormatError, match="there is no pair in it"):
        read_pairs(write(tmp_path / "pairs.jsonl"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CorpusFormatError, match="cannot be read"):
        read_pairs(tmp_path / "pairs.jsonl")
