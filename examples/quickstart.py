"""Index a few documents of the example data, ask a question, change the index, ask again."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

from colbert_rag import Document, Index
from colbert_rag.readers import Corpus

DATA = Path(__file__).parent / "data" / "corpus.jsonl.gz"


def ask(index: Index, question: str) -> None:
    print(f"\n{question}")
    for hit in index.search(question, k=2):
        print(f"  {hit.score:5.2f}  {hit.id:8}  {hit.passages[0].text}")


with tempfile.TemporaryDirectory() as folder, Index.create(Path(folder) / "quickstart.index") as index:
    index.add(islice(Corpus([DATA]), 200))
    index.add([Document("handbook", "The notice period is three months.", {"year": 2024})])
    ask(index, "How much time must pass before I can leave the job?")

    index.upsert([Document("handbook", "You may leave the job four weeks after you say so.", {"year": 2025})])
    ask(index, "How much time must pass before I can leave the job?")

    index.delete(["handbook"])
    print(f"\n{len(index)} documents, sound: {index.verify().ok}")
