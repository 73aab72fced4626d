"""What ``train`` and ``mine`` read: texts for negatives, and tests that no pair may know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from colbert_rag.errors import DuplicateIdError, InvalidTrainingError
from colbert_rag.readers import Corpus, read_judged_corpus

if TYPE_CHECKING:
    from colbert_rag.training import Pair

__all__ = ["CorpusOption", "check_against_tests", "texts_by_id"]

CorpusOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--corpus",
        metavar="PATH",
        exists=True,
        help="A file or folder of documents that negatives are from; may be repeated. Default: all positives.",
    ),
]

_SHOWN = 5


def texts_by_id(corpus: Corpus) -> dict[str, str]:
    """The texts of a corpus.

    Raises:
        DuplicateIdError: two documents have one id.
    """
    texts: dict[str, str] = {}
    for document in corpus:
        if document.id in texts:
            raise DuplicateIdError(f"the document id {document.id!r} occurs twice in the corpus; make ids differ.")
        texts[document.id] = document.text
    return texts


def check_against_tests(pairs_file: Path, pairs: Sequence[Pair], folders: Sequence[Path]) -> None:
    """Refuse pairs that a test is in, by its queries or by the passages that answer them.

    A passage that a pair names by its id, and whose text is in the pair's positive or the other way round, is known to
    both, as where the splits of a collection share its documents.

    Args:
        pairs_file: Where the pairs are from.
        pairs: What is to be trained on.
        folders: Of tests, in BEIR's layout.

    Raises:
        CorpusFormatError: a folder is no such test.
        InvalidTrainingError: a pair knows a test; names the first of them.
    """
    from colbert_rag.training.leaks import find_leaks, relevant_passages, shared_passages

    for folder in folders:
        test = read_judged_corpus(folder)
        known = shared_passages(pairs, test)
        if leaks := find_leaks(pairs, test.queries, relevant_passages(test, known)):
            shown = "; ".join(f"pair {leak.pair} has {leak.kind} {leak.test_id!r}" for leak in leaks[:_SHOWN])
            more = f"; and {len(leaks) - _SHOWN:,} more" if len(leaks) > _SHOWN else ""
            raise InvalidTrainingError(
                f"{pairs_file}: what is tested in {folder} is in the training pairs, so the test would measure memory: "
                f"{shown}{more}. Pairs are counted from 0. Remove them, or name another test."
            )
