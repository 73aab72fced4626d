"""Ids, texts and queries of any Unicode: kept byte for byte, or refused whole before anything is written."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from colbert_rag import Document, Index
from colbert_rag.errors import InvalidDocumentError, InvalidQueryError
from colbert_rag.testing import HashEncoder
from colbert_rag.types import MODES

BATCH = 20
ODD = [
    "\ud800",
    "\udfff",
    "\0",
    "\u202e",
    "\u05d0\u05d1",
    "e\u0301",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\ufeff",
]
ODD += ["\r\n", "\u2028", "\x85", "İ", "ß", "\ufffd", "\U0010ffff", "%", "'", '"', "\\u0000", "a" * 512, "ä" * 257]
TEXTS = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(ODD)), max_size=5).map("".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=BATCH, max_size=BATCH)


def run(figures, strategy, body: Callable[..., None]) -> None:
    """Hypothesis with our sizes and our seed."""
    n_batches = math.ceil(figures.size(2_000, 100_000) / BATCH)
    quick = settings(max_examples=n_batches, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    quick(seed(figures.seed)(given(strategy)(body)))()


def is_storable_id(value: str) -> bool:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return False
    return 1 <= size <= 512 and all(unicodedata.category(c) != "Cc" for c in value)


def is_storable_text(value: str) -> bool:
    return bool(value.strip()) and not any("\ud800" <= c <= "\udfff" for c in value)


def is_storable(document: Document) -> bool:
    return is_storable_id(document.id) and is_storable_text(document.text)


def test_texts_come_back_byte_for_byte_or_are_refused_whole(figures, fast_folder: Path):
    encoder = HashEncoder(8)
    index = Index.create(fast_folder / "index", encoder)
    stored: dict[str, Document] = {}

    def body(pairs: list[tuple[str, str]]) -> None:
        batch = list({i: Document(i, text, {text[:9]: text}, heading="", ref_id=None) for i, text in pairs}.values())
        keepable = [d for d in batch if is_storable(d) and is_storable_text("x" + str(d.metadata))]
        before = set(index.ids())
        if len(keepable) < len(batch):
            try:
                index.upsert(batch)
            except InvalidDocumentError:
                assert set(index.ids()) == before
            else:
                raise AssertionError([d for d in batch if d not in keepable])
        index.upsert(keepable)
        stored.update((d.id, d) for d in keepable)
        assert index.get_many(d.id for d in keepable) == keepable
        assert set(index.ids()) == stored.keys()
        for document in keepable[:2]:
            hits = index.search(document.text, 3, filter={"$id": document.id})
            assert [(hit.id, hit.text, hit.metadata) for hit in hits] == [
                (document.id, document.text, dict(document.metadata))
            ]
        figures.add("ids and texts of any Unicode", len(pairs))

    run(figures, PAIRS, body)
    index.close()
    with Index.open(fast_folder / "index", encoder) as again:
        assert {d.id: d for d in again.find()} == stored
        assert again.verify().ok


def test_queries_of_any_text_are_answered_or_refused(figures, fast_folder: Path):
    with Index.create(fast_folder / "index", HashEncoder(8)) as index:
        index.add([Document("a", "alpha beta ß İ e\u0301"), Document("b", "\u05d0\u05d1 gamma \U0001f468")])

        def body(queries: list[str]) -> None:
            for query, mode in zip(queries, cycle(MODES), strict=False):
                try:
                    found = index.search(query, 2, mode=mode)
                except InvalidQueryError:
                    assert not is_storable_text(query)
                else:
                    assert {hit.id for hit in found} <= {"a", "b"}
            figures.add("queries of any Unicode", len(queries))

        run(figures, st.lists(TEXTS, min_size=BATCH, max_size=BATCH), body)


def test_a_word_of_a_mebibyte_comes_back(fast_folder: Path):
    word = "x" * (1 << 20)
    with Index.create(fast_folder / "index", HashEncoder(8)) as index:
        index.add([Document("a", word), Document("b", "short")])
        assert index.get("a").text == word
        assert index.search(word, 1)[0].passages[0].text in word
        assert index.search("short", 1, mode="hybrid")[0].id == "b"
        with pytest.raises(InvalidQueryError):
            index.search(word + "x", 1)
        assert index.verify().ok
