from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from colbert_rag.errors import CorpusFormatError
from colbert_rag.training.example_files import as_json_lines, read_examples
from colbert_rag.training.examples import Example

EXAMPLES = [
    Example("Wo?", ("Dort\u2028 drüben.", "Hier.\nNicht dort."), (1.5, -0.25)),
    Example("q", ("only a positive",)),
]


def test_what_is_written_is_read_again(tmp_path: Path):
    path = tmp_path / "examples.jsonl"
    path.write_text(as_json_lines(EXAMPLES), encoding="utf-8")
    assert read_examples(path) == EXAMPLES
    (tmp_path / "examples.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_examples(tmp_path / "examples.jsonl.gz") == EXAMPLES


def test_a_line_is_an_object_with_query_documents_and_scores():
    lines = [json.loads(line) for line in as_json_lines(EXAMPLES).split("\n")[:-1]]
    assert lines[0] == {"query": "Wo?", "documents": list(EXAMPLES[0].documents), "scores": [1.5, -0.25]}
    assert lines[1] == {"query": "q", "documents": ["only a positive"], "scores": None}


def test_scores_may_be_left_out_and_other_fields_are_not_read(tmp_path: Path):
    path = tmp_path / "examples.jsonl"
    path.write_text('{"query": "q", "documents": ["d"], "source": "s"}\n')
    assert read_examples(path) == [Example("q", ("d",))]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"documents": ["d"]}, "string 'query'"),
        ({"query": " ", "documents": ["d"]}, "string 'query'"),
        ({"query": "q"}, "list 'documents'"),
        ({"query": "q", "documents": []}, "list 'documents'"),
        ({"query": "q", "documents": ["d", ""]}, "list 'documents'"),
        ({"query": "q", "documents": "d"}, "list 'documents'"),
        ({"query": "q", "documents": ["d"], "scores": [1, 2]}, "expected 1 finite numbers"),
        ({"query": "q", "documents": ["d"], "scores": [True]}, "expected 1 finite numbers"),
        ({"query": "q", "documents": ["d"], "scores": [float("nan")]}, "expected 1 finite numbers"),
    ],
)
def test_a_line_that_is_no_example_is_refused_with_its_number(tmp_path: Path, record, said: str):
    path = tmp_path / "examples.jsonl"
    path.write_text(as_json_lines(EXAMPLES[1:]) + json.dumps(record) + "\n")
    with pytest.raises(CorpusFormatError, match=rf"examples\.jsonl:2: .*{said}"):
        read_examples(path)


def test_a_file_that_is_empty_or_not_there_is_refused(tmp_path: Path):
    path = tmp_path / "examples.jsonl"
    with pytest.raises(CorpusFormatError, match="No such file"):
        read_examples(path)
    path.write_text("\n")
    with pytest.raises(CorpusFormatError, match="no example in it"):
        read_examples(path)
