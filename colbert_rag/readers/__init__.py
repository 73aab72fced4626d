"""Files become documents: text, Markdown, JSON Lines, CSV, HTML and PDF; queries and judgements too."""

from __future__ import annotations

from colbert_rag.readers.corpus import SUPPORTED_SUFFIXES, Corpus, SkippedFile, folder_of
from colbert_rag.readers.judged import JudgedCorpus, Qrels, read_judged_corpus, read_qrels, read_queries

__all__ = [
    "SUPPORTED_SUFFIXES",
    "Corpus",
    "JudgedCorpus",
    "Qrels",
    "SkippedFile",
    "folder_of",
    "read_judged_corpus",
    "read_qrels",
    "read_queries",
]
