"""Queries and relevance judgements, in the layouts of BEIR and TREC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers.decoding import read_lines
from colbert_rag.readers.records import read_json_lines, read_jsonl
from colbert_rag.types import Document

__all__ = ["JudgedCorpus", "Qrels", "read_judged_corpus", "read_qrels", "read_queries"]

Qrels: TypeAlias = dict[str, dict[str, int]]
"""Query id -> document id -> relevance; 0 is judged and not relevant."""

_HEADERS = ("query-id", "query_id", "qid")


@dataclass(frozen=True, slots=True)
class JudgedCorpus:
    """Documents, and queries of which is known which documents answer them."""

    documents: list[Document]
    queries: dict[str, str]
    qrels: Qrels


def read_judged_corpus(folder: Path) -> JudgedCorpus:
    """Read a folder in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv``.

    The first two may end in ``.gz``. Queries without a judgement are left out.

    Raises:
        CorpusFormatError: a file is missing or cannot be read, or a judgement names an unknown document or query.
    """
    documents = list(read_jsonl(_existing(folder, "corpus.jsonl.gz", "corpus.jsonl")))
    queries = read_queries(_existing(folder, "queries.jsonl.gz", "queries.jsonl"))
    qrels = read_qrels(_existing(folder, "qrels.tsv"))
    known = {document.id for document in documents}
    for query_id, judged in qrels.items():
        if query_id not in queries or not judged.keys() <= known:
            raise CorpusFormatError(f"{folder}: the judgements of query {query_id!r} name an unknown query or document")
    return JudgedCorpus(documents, {key: query for key, query in queries.items() if key in qrels}, qrels)


def read_queries(path: Path) -> dict[str, str]:
    """Read queries from JSON Lines with the fields ``_id`` (or ``id``) and ``text``, plain or gzip-compressed.

    Returns:
        Query id -> text, in file order.

    Raises:
        CorpusFormatError: a line is no such object, an id occurs twice, or there is no query.
    """
    queries: dict[str, str] = {}
    for number, record in read_json_lines(path):
        query_id, text = record.get("_id", record.get("id")), record.get("text")
        if not isinstance(query_id, str) or not isinstance(text, str) or not text.strip():
            raise CorpusFormatError(
                f"{path}:{number}: expected strings '_id' and 'text', the text not blank; found fields {list(record)}"
            )
        if query_id in queries:
            raise CorpusFormatError(f"{path}:{number}: query id {query_id!r} occurs twice")
        queries[query_id] = text
    if not queries:
        raise CorpusFormatError(f"{path}: there is no query in it")
    return queries


def read_qrels(path: Path) -> Qrels:
    """Read judgements in BEIR's three columns or in TREC's four.

    BEIR: query, document, relevance. TREC: query, 0, document, relevance. Tabs or blanks part the columns; a header
    line of BEIR is accepted.

    Raises:
        CorpusFormatError: a line has other columns, a pair is judged twice and differently, or there is no judgement.
    """
    qrels: Qrels = {}
    for number, line in read_lines(path):
        columns = _columns(line)
        if not columns or (number == 1 and columns[0] in _HEADERS):
            continue
        query_id, document_id, relevance = _judgement(columns, f"{path}:{number}")
        if qrels.setdefault(query_id, {}).setdefault(document_id, relevance) != relevance:
            raise CorpusFormatError(f"{path}:{number}: {query_id!r} and {document_id!r} are judged twice, differently")
    if not qrels:
        raise CorpusFormatError(f"{path}: there is no judgement in it")
    return qrels


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise CorpusFormatError(f"{folder}: there is no file {' or '.join(names)}")


def _columns(line: str) -> list[str]:
    line = line.strip("\r\n")
    return [column.strip() for column in line.split("\t")] if "\t" in line else line.split()


def _judgement(columns: list[str], where: str) -> tuple[str, str, int]:
    try:
        query_id, *_, document_id, relevance = columns
        if len(columns) not in (3, 4):
            raise ValueError
        return query_id, document_id, int(relevance)
    except ValueError:
        raise CorpusFormatError(
            f"{where}: expected query, document, relevance or query, 0, document, relevance with a whole number; "
            f"found {columns}"
        ) from None
