"""A stream of documents becomes commits: checked, encoded and written piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from colbert_rag.callers import caller_errors_raised, calling, calling_progress
from colbert_rag.codec import Packer
from colbert_rag.errors import DuplicateIdError, InvalidDocumentError
from colbert_rag.ingest import WriteSession, write_session
from colbert_rag.overlapping import Encode, Encoding, never
from colbert_rag.selection import CheckedFilter
from colbert_rag.storage import Catalog
from colbert_rag.types import Document, Progress, TextEncoder, TokenVectors
from colbert_rag.validation import check_commit_every, check_documents, check_stream

__all__ = ["batches_of", "chunks_of", "encode_documents", "write_documents"]

T = TypeVar("T")

# documents that are encoded and written together: bounds memory, and is enough for full batches
_CHUNK_DOCUMENTS = 256
_CHUNK_CHARACTERS = 2_000_000
_AFTER_HEADING = "\n\n"


def write_documents(
    root: Path,
    catalog: Catalog,
    documents: Iterable[Document],
    encode: Encode,
    progress: Progress,
    *,
    commit_every: int | None = None,
    replace: bool,
    replacing: CheckedFilter | None = None,
    packer: Packer | None = None,
    is_elsewhere: Callable[[], bool] = never,
) -> int:
    """Write documents in one transaction, or in one for each ``commit_every``; returns how many were written.

    What ``replacing`` chooses is deleted first, in the same transaction. ``packer`` trains and compresses; None for the
    processor. Where ``is_elsewhere`` says that encoding leaves the processor to others, the next chunk of a transaction
    is encoded while one is written.

    Raises:
        InvalidDocumentError: a document is refused.
        DuplicateIdError: an id is known (without ``replace``) or occurs twice.
    """
    check_stream(documents)
    check_commit_every(commit_every)
    if isinstance(documents, Sequence):
        check_documents(documents)
    total = len(documents) if isinstance(documents, Sequence) else None
    tell = calling_progress(progress)
    tokens = _TokenCount(tell, None if total is None else sum(map(_characters, documents)))
    encoding = Encoding(encode, partial(_called, is_elsewhere), catalog.check_process)
    written = seen = committed = 0
    with caller_errors_raised(), _saying_what_stands(lambda: committed), closing(encoding):
        batches = batches_of(_guarded_stream(documents), commit_every)
        # without documents there is still something to delete
        for batch in batches if replacing is None else chain([next(batches, iter(()))], batches):
            with write_session(root, catalog, tell, packer) as session, encoding.at_rest():
                if replacing is not None:
                    session.delete_matching(replacing)
                for chunk, wanted, vectors in encoding.each(_wanted(session, batch, replace=replace)):
                    tokens.begin(chunk)
                    # under no name, which would hold them while the next are encoded
                    session.write(wanted, _called(partial(vectors, tokens.of(wanted))), replace=replace)
                    written += len(wanted)
                    tokens.end()
                    seen += len(chunk)
                    tell("index", seen, total)
                session.finish()
            committed = seen
    return written


def _wanted(
    session: WriteSession, batch: Iterable[Document], *, replace: bool
) -> Iterator[tuple[list[Document], list[Document]]]:
    """Chunks of a transaction that may be written, and the documents of each that are to be."""
    for chunk in chunks_of(batch):
        check_documents(chunk)
        yield chunk, session.wanted(chunk, replace=replace)


@contextmanager
def _saying_what_stands(committed: Callable[[], int]) -> Iterator[None]:
    try:
        yield
    except (InvalidDocumentError, DuplicateIdError) as err:
        if not committed():
            raise
        msg = f"{err} That holds from document {committed() + 1:,} on: commit_every has committed those before it."
        raise type(err)(msg) from err


def encode_documents(
    encoder: TextEncoder, documents: Sequence[Document], progress: Progress | None = None
) -> list[TokenVectors]:
    """Token vectors of heading and text; spans count from the start of the text, those of a heading are empty."""
    texts = [d.heading + _AFTER_HEADING + d.text if d.heading else d.text for d in documents]
    encoded = encoder.encode_documents(texts, progress=progress)
    if len(encoded) != len(documents):
        return encoded
    return [
        _moved(tokens, len(d.heading) + len(_AFTER_HEADING)) if d.heading else tokens
        for d, tokens in zip(documents, encoded, strict=True)
    ]


def _moved(tokens: TokenVectors, offset: int) -> TokenVectors:
    return TokenVectors(tokens.vectors, np.maximum(np.asarray(tokens.spans, np.int32) - np.int32(offset), 0))


def _called(code: Callable[[], T]) -> T:
    """What the caller's code returns."""
    with calling():
        return code()


def _guarded_stream(documents: Iterable[Document]) -> Iterator[Document]:
    iterator = iter(documents)
    while True:
        found = _called(lambda: list(islice(iterator, 1)))
        if not found:
            return
        yield found[0]


def batches_of(documents: Iterable[Document], size: int | None) -> Iterator[Iterator[Document]]:
    """Cut a stream into streams of ``size`` documents without holding any of them."""
    iterator = iter(documents)
    while True:
        head = list(islice(iterator, 1))
        if not head:
            return
        yield _chain(head, iterator, size)


def _chain(head: list[Document], rest: Iterator[Document], size: int | None) -> Iterator[Document]:
    yield from head
    yield from (rest if size is None else islice(rest, size - 1))


def chunks_of(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Lists of documents that are small enough to be held in memory with their vectors."""
    chunk: list[Document] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += _characters(document)
        if len(chunk) >= _CHUNK_DOCUMENTS or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _characters(document: object) -> int:
    parts = (getattr(document, "heading", None), getattr(document, "text", None))
    return sum(len(part) for part in parts if isinstance(part, str))


class _TokenCount:
    """Joins the progress of the chunks into one of all documents, in tokens.

    Args:
        tell: Told "encode", the tokens done, and how many there will be.
        total_characters: Of all documents, None where they are a stream. The number of tokens to come is taken from
            it and the tokens for each character so far; it is exact from the last chunk on.
    """

    def __init__(self, tell: Progress, total_characters: int | None) -> None:
        self._tell = tell
        self._total_characters = total_characters
        self._seen = self._encoded = self._tokens = 0

    def begin(self, chunk: Sequence[Document]) -> None:
        """Take note of documents of which some may be left as they are."""
        self._seen += sum(map(_characters, chunk))

    def end(self) -> None:
        """Tell where the chunk has left the total; what is not encoded lowers it."""
        if self._tokens:
            self._tell("encode", self._tokens, self._expected(self._tokens))

    def of(self, chunk: Sequence[Document]) -> Progress:
        """The progress of the documents of the chunk that are encoded."""
        tokens_before = self._tokens
        self._encoded += sum(map(_characters, chunk))

        def tell(stage: str, done: int, total: int | None) -> None:
            self._tokens = tokens_before + done
            self._tell(stage, self._tokens, None if total is None else self._expected(tokens_before + total))

        return tell

    def _expected(self, tokens: int) -> int | None:
        if self._total_characters is None:
            return None
        to_come = max(0, self._total_characters - self._seen)
        return round(tokens * (1 + to_come / max(1, self._encoded)))
