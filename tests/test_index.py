"""The index as its users see it, against brute force over the same vectors."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from colbert_rag import (
    CorruptIndexError,
    Document,
    DuplicateIdError,
    Index,
    IndexClosedError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidArgumentError,
    InvalidDocumentError,
    InvalidFilterError,
    InvalidQueryError,
    InvalidVectorsError,
    ModelMismatchError,
    ReadOnlyIndexError,
    Reranker,
    SearchConfig,
    TokenVectors,
    UnsupportedFormatError,
)
from colbert_rag.testing import HashEncoder

NewIndex = Callable[..., Index]
# the first sentence of document d017
QUERY = "spruce island amber zephyr n17"


def make_words(n: int) -> str:
    return f"river word{n} number{n % 7}"


def brute_force(encoder: HashEncoder, documents: list[Document], query: str, k: int) -> list[tuple[str, float]]:
    (q,) = encoder.encode_queries([query])
    scored = []
    for document, tokens in zip(documents, encoder.encode_documents([d.text for d in documents]), strict=True):
        similarity = q @ tokens.vectors.astype(np.float32).T
        scored.append((document.id, float(similarity.max(axis=1).sum())))
    return sorted(scored, key=lambda item: (-round(item[1], 4), item[0]))[:k]


def pairs(hits: list) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in hits]


def assert_same_ranking(found: list[tuple[str, float]], expected: list[tuple[str, float]], tolerance: float) -> None:
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=tolerance)
    clear = [n for n in range(len(expected)) if sum(abs(s - expected[n][1]) <= tolerance for _, s in expected) == 1]
    assert [found[n][0] for n in clear] == [expected[n][0] for n in clear]


def test_a_reader_that_has_searched_does_not_go_on_with_an_index_that_was_made_anew(
    tmp_path: Path, encoder: HashEncoder
):
    def build(word: str) -> None:
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        with Index.create(tmp_path / "x", encoder) as index:
            index.add([Document(word, f"{word} river")])

    build("old")
    for read_only in (True, False):
        with Index.open(tmp_path / "x", encoder, read_only=read_only) as reader:
            assert [hit.id for hit in reader.search("river")] == ["old"]
            build("new")
            for call in (lambda: reader.search("river"), lambda: len(reader), lambda: reader.get("old")):
                with pytest.raises(IndexClosedError, match="another index lies here now"):
                    call()
        build("old")


class TestSearch:
    def test_empty_index_answers_with_nothing(self, new_index: NewIndex):
        assert new_index().search("anything", k=5) == []

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_results_of_tiny_indexes_are_complete_and_exact(
        self, new_index: NewIndex, documents: list[Document], encoder: HashEncoder, count: int
    ):
        index = new_index()
        index.add(documents[:count])
        assert_same_ranking(
            pairs(index.search(QUERY, k=10)), brute_force(encoder, documents[:count], QUERY, 10), tolerance=0.01
        )

    def test_uncompressed_index_equals_brute_force(
        self, new_index: NewIndex, documents: list[Document], encoder: HashEncoder
    ):
        index = new_index()
        index.add(documents)
        assert not index.info().is_compressed
        assert_same_ranking(pairs(index.search(QUERY, k=20)), brute_force(encoder, documents, QUERY, 20), 0.01)

    @pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.02), (4, 0.15), (2, 0.5), (1, 1.0)])
    def test_compressed_scores_stay_close_to_brute_force(
        self, new_index: NewIndex, documents: list[Document], encoder: HashEncoder, bits: int, tolerance: float
    ):
        index = new_index(bits=bits, exact_tokens=100)
        index.add(documents)
        assert index.info().is_compressed
        found = dict(pairs(index.search(QUERY, k=200)))
        expected = dict(brute_force(encoder, documents, QUERY, 200))
        assert found.keys() == expected.keys()
        assert max(abs(found[i] - expected[i]) for i in found) < tolerance
        assert index.search(QUERY, k=1)[0].id == "d017"

    def test_pruned_and_probed_searches_find_what_the_exhaustive_one_finds(
        self, new_index: NewIndex, documents: list[Document]
    ):
        scanned = new_index("scanned", exact_tokens=100)
        probed = new_index("probed", exact_tokens=100, probe_tokens=100)
        for index in (scanned, probed):
            index.add(documents)
            for query in (QUERY, "fjord n3", "willow dune lagoon"):
                pruned = pairs(index.search(query, k=3, config=SearchConfig(n_candidates=40, n_probe=16)))
                assert pruned == pairs(index.search(query, k=3, config=SearchConfig(exact=True)))

    def test_k_beyond_the_collection_returns_every_document(self, new_index: NewIndex, documents: list[Document]):
        for options in ({}, {"exact_tokens": 100}, {"exact_tokens": 100, "probe_tokens": 100}):
            index = new_index(str(len(options)), **options)
            index.add(documents)
            config = SearchConfig(n_candidates=8, n_probe=1)
            assert {hit.id for hit in index.search(QUERY, k=1000, config=config)} == {d.id for d in documents}

    def test_equal_scores_are_ordered_by_id(self, new_index: NewIndex, documents: list[Document]):
        for options in ({}, {"exact_tokens": 100}):
            index = new_index(str(len(options)), **options)
            index.add(documents)
            index.add([Document(i, "tango uniform victor") for i in ("t3", "t1", "t2", "t9", "t0")])
            config = SearchConfig(n_candidates=1)
            assert [hit.id for hit in index.search("tango uniform victor", k=3, config=config)] == ["t0", "t1", "t2"]

    def test_batch_equals_single_queries(self, new_index: NewIndex, documents: list[Document]):
        index = new_index(exact_tokens=100)
        index.add(documents)
        queries = [QUERY, "birch", "copper dune estuary fen"]
        assert index.search_many(queries, k=7) == [index.search(query, k=7) for query in queries]
        assert index.search_many([], k=7) == []

    def test_vectors_search_equals_text_search(
        self, new_index: NewIndex, documents: list[Document], encoder: HashEncoder
    ):
        index = new_index()
        index.add(documents)
        assert index.search_vectors(encoder.encode_queries([QUERY]), k=4) == [index.search(QUERY, k=4)]

    def test_hit_carries_text_metadata_and_python_floats(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        index.add(documents)
        hit = index.search(QUERY, k=1)[0]
        assert (hit.id, hit.text, hit.metadata) == (documents[17].id, documents[17].text, {"n": 17, "even": False})
        assert type(hit.score) is float
        assert json.dumps(hit.metadata)
        assert 0 <= hit.relevance <= 1
        assert hit.relevance == pytest.approx(min(1.0, hit.score / 5))

    @pytest.mark.parametrize("options", [{}, {"exact_tokens": 100}])
    def test_passage_is_the_sentence_that_answers(
        self, new_index: NewIndex, documents: list[Document], options: dict[str, int]
    ):
        index = new_index(**options)
        index.add([*documents, Document("x", "Cats sleep. The notice period is long. Dogs run!")])
        passage = index.search("notice period", k=1)[0].passages[0]
        assert passage.text == "The notice period is long."
        assert (passage.start, passage.end) == (12, 38)
        text = "Cats sleep. The notice period is long. Dogs run!"
        assert {text[a:b] for a, b in passage.matches} == {"notice", "period"}
        assert index.search("notice", k=1, config=SearchConfig(passages=0))[0].passages == ()

    def test_bm25_and_hybrid_rank_the_words_first(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        index.add(documents)
        for mode in ("bm25", "hybrid"):
            assert index.search("n17", k=3, mode=mode)[0].id == "d017"
        assert index.search('"; DROP TABLE documents; --', k=3, mode="bm25") == []
        assert index.search("n17 AND (", k=1, mode="bm25")[0].id == "d017"


class TestWrites:
    def test_generator_is_streamed_and_counted(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        assert index.add(document for document in documents) == 200
        assert len(index) == 200
        assert list(index.ids()) == [d.id for d in documents]

    def test_add_refuses_a_known_id_and_writes_nothing(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        index.add(documents[:3])
        with pytest.raises(DuplicateIdError, match=r"'d002' are in the index already; upsert\(\) replaces documents"):
            index.add([Document("new", "a text"), documents[2]])
        assert list(index.ids()) == ["d000", "d001", "d002"]

    @pytest.mark.parametrize("write", ["add", "upsert"])
    def test_ids_that_occur_twice_are_refused_even_far_apart(
        self, new_index: NewIndex, documents: list[Document], write: str
    ):
        index = new_index()
        far = [*documents, *(Document(f"e{n}", f"text {n}") for n in range(200)), Document("d001", "other")]
        for batch in ([documents[0], documents[0]], far, iter(far)):
            with pytest.raises(DuplicateIdError):
                getattr(index, write)(batch)
            assert len(index) == 0

    @pytest.mark.parametrize("is_changed", [False, True], ids=["unchanged", "changed"])
    @pytest.mark.parametrize("again", ["unchanged", "as before", "another"])
    def test_an_upsert_refuses_a_stream_in_which_an_id_comes_again_however_it_first_came(
        self, new_index: NewIndex, documents: list[Document], is_changed: bool, again: str
    ):
        index = new_index()
        index.add(documents[:2])
        first = Document("d001", "first of two") if is_changed else documents[1]
        second = {"unchanged": documents[1], "as before": first, "another": Document("d001", "second of two")}[again]
        fill = [Document(f"e{n}", f"text {n}") for n in range(300)]
        with pytest.raises(DuplicateIdError, match="'d001' occur twice in this call"):
            index.upsert(iter([documents[0], first, *fill, second]))
        assert list(index.find()) == documents[:2]

    def test_failing_generator_leaves_the_last_commit(self, new_index: NewIndex, documents: list[Document]):
        index = new_index(exact_tokens=1000)
        index.add(documents[:5])

        def broken() -> Iterator[Document]:
            yield from (Document(f"x{n}", f"text {n}") for n in range(600))
            raise RuntimeError("the source broke")

        with pytest.raises(RuntimeError, match="the source broke"):
            index.add(broken())
        assert len(index) == 5
        assert index.verify().ok

    def test_an_error_of_the_callers_own_database_stays_that_error(self, new_index: NewIndex):
        index = new_index()

        def rows() -> Iterator[Document]:
            yield Document("a", "first")
            raise sqlite3.OperationalError("database is locked: mine, not yours")

        with pytest.raises(sqlite3.OperationalError, match="mine, not yours"):
            index.add(rows())
        assert len(index) == 0

    def test_commit_every_keeps_the_parts_before_an_interrupt(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()

        def interrupted() -> Iterator[Document]:
            yield from documents[:50]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.add(interrupted(), commit_every=20)
        assert len(index) == 40
        assert index.add(documents[40:]) == 160

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [(Document("", "no id"), InvalidDocumentError), (Document("d003", "twice"), DuplicateIdError)],
    )
    def test_with_commit_every_an_error_says_which_documents_stand(
        self, new_index: NewIndex, documents: list[Document], wrong: Document, error: type[Exception]
    ):
        index = new_index()
        with pytest.raises(
            error, match=r"Nothing was written\. That holds from document 41 on.*committed those before"
        ):
            index.add(iter([*documents[:50], wrong]), commit_every=20)
        assert len(index) == 40
        with pytest.raises(error, match=r"Nothing was written\.$"):
            index.add(iter([wrong, *documents[50:]]), commit_every=20)
        assert len(index) == 40

    def test_upsert_replaces_and_reports_what_changed(self, new_index: NewIndex, documents: list[Document]):
        index = new_index(exact_tokens=100)
        index.add(documents)
        changed = Document("d005", "unmistakable words here", {"v": 2})
        assert index.upsert([changed, documents[6], Document("new", "brand new")]) == 2
        assert index.get("d005") == changed
        assert index.search("unmistakable", k=1)[0].id == "d005"
        assert len(index) == 201
        assert index.search("n5", k=1, mode="bm25") == []

    def test_upsert_does_not_encode_what_has_not_changed(self, tmp_path: Path, documents: list[Document]):
        class Counting(HashEncoder):
            encoded = 0

            def encode_documents(self, texts, *, progress=None):
                self.encoded += len(texts)
                return super().encode_documents(texts, progress=progress)

        encoder = Counting(dim=32)
        with Index.create(tmp_path / "i", encoder) as index:
            index.upsert(documents)
            index.upsert([*documents[:-1], Document(documents[-1].id, documents[-1].text, {"other": 1})])
            assert encoder.encoded == 201

    def test_deleted_documents_never_appear(self, new_index: NewIndex, documents: list[Document]):
        for options in ({}, {"exact_tokens": 100}, {"exact_tokens": 100, "probe_tokens": 100}):
            index = new_index(str(len(options)), **options)
            index.add(documents)
            gone = {d.id for d in documents[::3]}
            assert index.delete([*gone, "unknown"]) == len(gone)
            assert index.delete(list(gone)) == 0
            for mode in ("maxsim", "bm25", "hybrid"):
                assert not gone & {hit.id for hit in index.search(QUERY, k=1000, mode=mode)}
            assert len(index.search(QUERY, k=1000)) == len(index) == 200 - len(gone)
            assert index.get("d000") is None
            assert "d000" not in index
            assert index.verify().ok

    def test_compact_changes_nothing_but_size(self, new_index: NewIndex, documents: list[Document]):
        index = new_index(exact_tokens=100)
        for start in range(0, 200, 20):
            index.add(documents[start : start + 20])
        index.delete([d.id for d in documents[:150]])
        before = pairs(index.search(QUERY, k=100))
        codec_tokens = index.info().codec_tokens
        index.compact()
        info = index.info()
        assert (info.n_segments, info.n_deleted, info.n_documents) == (1, 0, 50)
        if info.codec_tokens == codec_tokens:
            assert pairs(index.search(QUERY, k=100)) == before
        assert index.verify().ok

    def test_deleting_everything_leaves_a_working_index(self, new_index: NewIndex, documents: list[Document]):
        index = new_index(exact_tokens=100)
        index.add(documents)
        index.delete([d.id for d in documents])
        index.compact()
        assert index.search(QUERY) == []
        assert index.info().n_tokens == 0
        index.add(documents[:2])
        assert len(index.search(QUERY)) == 2

    def test_adding_nothing_is_fine(self, new_index: NewIndex):
        index = new_index()
        assert index.add([]) == 0
        assert index.upsert(iter(())) == 0
        assert index.delete([]) == 0

    def test_get_many_keeps_the_order_and_leaves_out_unknown_ids(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        index.add(documents)
        assert index.get_many(["d009", "nope", "d001"]) == [documents[9], documents[1]]
        assert index.get("nope") is None
        assert "d001" in index
        assert not any(odd in index for odd in ("", "a\n", 5, None, "\ud800"))

    def test_progress_is_told_documents(self, new_index: NewIndex, documents: list[Document]):
        told: list[tuple[str, int, int | None]] = []
        new_index(exact_tokens=100).add(documents, progress=lambda *event: told.append(event))
        assert ("index", 200, 200) in told
        assert {stage for stage, _, _ in told} == {"encode", "index", "train", "pack"}

    def test_metadata_and_text_round_trip_exactly(self, new_index: NewIndex):
        index = new_index()
        document = Document(
            "é\u2028/\\'\"", "a\x00b \u202eאב 👩\u200d👩\u200d👧 é", {"k é": [1, 2.5, None, {"x": "\x00"}]}
        )
        index.add([document])
        assert index.get(document.id) == document
        assert index.search("b", k=1)[0].text == document.text

    def test_exact_tokens_is_kept_to_within_one_long_call(
        self, new_index: NewIndex, documents: list[Document], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("colbert_rag.ingest._MOST_PLAIN_TOKENS", 300)
        index = new_index("exact", exact_tokens=10**6)
        index.add(iter(documents))
        assert not index.info().is_compressed
        early = new_index("early", exact_tokens=200)
        early.add(Document(f"x{n}", make_words(n)) for n in range(600))
        assert early.info().is_compressed
        assert len(early.search("river", k=1000)) == 600

    def test_ids_can_be_deleted_while_they_are_iterated(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        index.add(documents)
        for document_id in index.ids():
            index.delete([document_id])
        assert len(index) == 0

    def test_full_disk_is_a_typed_error_and_leaves_nothing_behind(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        index.add(documents[:3])
        index.close()
        code = (
            "import resource, signal, sys; from colbert_rag import Document, Index, StorageError\n"
            "from colbert_rag.testing import HashEncoder\n"
            "index = Index.open(sys.argv[1], HashEncoder(dim=32)); index.search('warm')\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
            "try: index.add(Document(f'n{i}', f'word{i} ' * 400) for i in range(300))\n"
            "except StorageError as err: print(str(err)); index.close(); sys.exit(7)"
        )
        command = [sys.executable, "-c", code, str(index.path)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 7, run.stderr
        assert "What was committed before stands" in run.stdout
        with Index.open(index.path, HashEncoder(dim=32)) as again:
            report = again.verify()
            assert (len(again), report.ok, report.leftovers) == (3, True, ())
            assert again.add(documents[3:]) == 197


class TestVectors:
    def vectors(self, count: int = 3, dim: int = 8) -> TokenVectors:
        x = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        return TokenVectors(x, np.zeros((count, 2), np.int32))

    def test_an_index_of_given_vectors_needs_no_model(self, new_index: NewIndex):
        index = new_index(dim=8)
        index.add_vectors([(Document("a", "some text"), self.vectors())])
        (hits,) = index.search_vectors([self.vectors().vectors])
        assert hits[0].score == pytest.approx(3, abs=0.01)
        with pytest.raises(ModelMismatchError, match="takes vectors only"):
            index.search("text")
        with pytest.raises(ModelMismatchError, match="takes vectors only"):
            index.add([Document("b", "text")])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda v: v * np.nan, "vector 0 is not finite"),
            (lambda v: v * np.inf, "vector 0 is not finite"),
            (lambda v: v * 0, "vector 0 has length 0.0000"),
            (lambda v: v * 3, "must have unit length"),
            (lambda v: v[:, :5], r"shape \(T, 8\)"),
            (lambda v: v[0], r"shape \(T, 8\)"),
            (lambda v: v[:0], r"shape \(T, 8\)"),
            (lambda v: v.astype(complex), "must be float16 or float32"),
            (lambda v: v.astype(object), "must be float16 or float32"),
        ],
    )
    def test_unusable_vectors_are_refused_and_nothing_is_written(self, new_index: NewIndex, change, message: str):
        index = new_index(dim=8)
        good = self.vectors()
        bad = TokenVectors(change(good.vectors), good.spans)
        with pytest.raises(InvalidVectorsError, match=message):
            index.add_vectors([(Document("a", "text"), good), (Document("b", "text"), bad)])
        with pytest.raises(InvalidQueryError, match=message.replace("T,", "Q,")):
            index.search_vectors([bad.vectors])
        assert len(index) == 0

    def test_spans_that_fall_are_refused(self, new_index: NewIndex):
        tokens = TokenVectors(self.vectors().vectors, np.array([[2, 3], [0, 1], [3, 4]], np.int32))
        with pytest.raises(InvalidVectorsError, match="must not fall"):
            new_index(dim=8).add_vectors([(Document("a", "text"), tokens)])

    def test_spans_outside_the_text_are_refused(self, new_index: NewIndex):
        index = new_index(dim=8)
        tokens = TokenVectors(self.vectors().vectors, np.array([[0, 1], [1, 2], [2, 99]], np.int32))
        with pytest.raises(InvalidVectorsError, match="the length of the text"):
            index.add_vectors([(Document("a", "text"), tokens)])

    def test_unusable_results_of_an_encoder_are_refused(self, tmp_path: Path, documents: list[Document]):
        class Odd(HashEncoder):
            change = staticmethod(lambda vectors: vectors)

            def encode_queries(self, texts):
                return self.change(super().encode_queries(texts))

            def encode_documents(self, texts, *, progress=None):
                return super().encode_documents(texts, progress=progress)[self.drop :]

            drop = 0

        encoder = Odd(dim=32)
        with Index.create(tmp_path / "odd", encoder) as index:
            index.add(documents)
            for change in (
                lambda vectors: [v[:, :4] for v in vectors],
                lambda vectors: [v * np.nan for v in vectors],
                lambda vectors: [v[:0] for v in vectors],
                lambda vectors: [],
            ):
                encoder.change = change
                with pytest.raises(InvalidQueryError):
                    index.search("amber")
                with pytest.raises(InvalidQueryError):
                    Reranker(encoder).rerank("amber", ["a text"])
            encoder.drop = 1
            with pytest.raises(InvalidVectorsError, match="gave 1 results for 2 texts"):
                index.add([Document("p", "one"), Document("q", "two")])
            assert len(index) == 200


class TestRefusals:
    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ("text", "expected a colbert_rag.Document, found str"),
            (Document("a", 5), "the text must be a str, found int"),  # type: ignore[arg-type]
            (Document("a", " \n\t"), "the text is blank"),
            (Document("a", "x\ud800y"), "lone surrogate at character 1"),
            (Document(7, "x"), "the id must be a str, found int"),  # type: ignore[arg-type]
            (Document("", "x"), "the id is empty"),
            (Document("a\nb", "x"), "control characters"),
            (Document("a" * 513, "x"), "at most 512"),
            (Document("\udfff", "x"), "the id has a lone surrogate"),
            (Document("a", "x", {1: 2}), "key of type int"),  # type: ignore[dict-item]
            (Document("a", "x", {"k": float("nan")}), "which JSON cannot hold"),
            (Document("a", "x", {"k": {1, 2}}), "is a set, which JSON cannot hold"),
            (Document("a", "x", {"k": np.float32(1)}), "is a float32, which JSON cannot hold"),
            (Document("a", "x", {"k": "\ud800"}), "lone surrogate"),
            (Document("a", "x", []), "metadata must be a dict"),  # type: ignore[arg-type]
        ],
    )
    def test_bad_documents_are_refused_whole(self, new_index: NewIndex, documents, document, message: str):
        index = new_index()
        for write in (index.add, index.upsert):
            for batch in ([documents[0], document], iter([documents[0], document])):
                with pytest.raises(InvalidDocumentError, match=message):
                    write(batch)
        assert len(index) == 0
        assert index.verify().ok

    @pytest.mark.parametrize("query", [5, None, "", "  \n", "\ud800", b"bytes"])
    def test_bad_queries_are_refused(self, new_index: NewIndex, query: object):
        with pytest.raises(InvalidQueryError):
            new_index().search(query)  # type: ignore[arg-type]

    @pytest.mark.parametrize("k", [0, -1, 1.5, "3", None, True, 100_001])
    def test_bad_k_is_refused(self, new_index: NewIndex, k: object):
        with pytest.raises(InvalidQueryError, match="k must be an int from 1 to 100,000"):
            new_index().search("x", k=k)  # type: ignore[arg-type]

    def test_bad_streams_are_refused(self, new_index: NewIndex):
        index = new_index()
        for stream in (Document("a", "x"), None, 5, "text", {"a": "x"}):
            with pytest.raises(InvalidDocumentError, match="must be a list"):
                index.add(stream)  # type: ignore[arg-type]
        for every in (0, -1, "a", True):
            with pytest.raises(InvalidDocumentError, match="commit_every"):
                index.add([], commit_every=every)  # type: ignore[arg-type]
        for queries in (None, 5, "text"):
            with pytest.raises(InvalidQueryError):
                index.search_many(queries)  # type: ignore[arg-type]
            with pytest.raises(InvalidQueryError):
                index.search_vectors(queries)  # type: ignore[arg-type]
        with pytest.raises(InvalidQueryError, match="no array"):
            index.search_vectors([[[1.0, 2.0], [1.0]]])  # type: ignore[list-item]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (Document("a", "x"), "documents must be a list or another iterable, found Document; wrap one in a list"),
            (None, "documents must be a list or another iterable, found NoneType"),
            ({"a": 1}, "documents must be a list or another iterable, found dict"),
            ("ab", "documents must be a list or another iterable, found str"),
            ([Document("a", "x")], "document number 0: expected a pair .Document, TokenVectors., found Document"),
            ([None], "number 0: expected a pair .*, found NoneType"),
            (["ab"], "number 0: expected a pair .*, found str"),
            ([()], "number 0: expected a pair .*, found tuple of 0"),
            ([(Document("a", "x"), None, None)], "number 0: expected a pair .*, found tuple of 3. Nothing was written"),
            ([("a", None)], "expected a colbert_rag.Document, found str"),
        ],
    )
    def test_what_is_no_pair_of_a_document_and_vectors_is_refused_whole(
        self, new_index: NewIndex, encoder: HashEncoder, given: object, message: str
    ):
        index = new_index()
        good = (Document("good", "amber"), encoder.encode_documents(["amber"])[0])
        with pytest.raises(InvalidDocumentError, match=message):
            index.add_vectors(given)  # type: ignore[arg-type]
        if isinstance(given, list):
            with pytest.raises(InvalidDocumentError, match=message.replace("number 0", "number 1")):
                index.add_vectors(iter([good, *given]))
        assert len(index) == 0

    def test_encoders_that_no_index_can_keep_are_refused(self, tmp_path: Path):
        class Odd(HashEncoder):
            @property
            def fingerprint(self):
                return {"model": None, "scale": np.float32(1)}

        with pytest.raises(ModelMismatchError, match="1 to 1,024 dimensions"):
            Index.create(tmp_path / "a", HashEncoder(dim=2048))
        with pytest.raises(ModelMismatchError, match="JSON"):
            Index.create(tmp_path / "a", Odd(dim=8))
        with pytest.raises(InvalidQueryError, match="lock_timeout_s"):
            Index.create(tmp_path / "a", HashEncoder(dim=8), lock_timeout_s=None)  # type: ignore[arg-type]
        assert not (tmp_path / "a").exists()

    def test_bad_options_are_refused(self, new_index: NewIndex, tmp_path: Path):
        index = new_index()
        with pytest.raises(InvalidQueryError, match="mode must be one of"):
            index.search("x", mode="dense")  # type: ignore[arg-type]
        with pytest.raises(InvalidQueryError, match="n_candidates must be an int from 1"):
            index.search("x", config=SearchConfig(n_candidates=0))
        with pytest.raises(InvalidQueryError, match="SearchConfig"):
            index.search("x", config={"n_candidates": 5})  # type: ignore[arg-type]
        with pytest.raises(InvalidQueryError, match="list of queries"):
            index.search_many("x")
        with pytest.raises(InvalidDocumentError, match=r"pass \['d000'\]"):
            index.delete("d000")
        for options in ({"bits": 3}, {"dim": 0}, {"dim": True}, {"dim": 2000}, {"exact_tokens": -1}):
            with pytest.raises(InvalidQueryError):
                Index.create(tmp_path / "other", **{"dim": 8, **options})
        assert not (tmp_path / "other").exists()


class TestOpening:
    def test_a_folder_that_is_no_index_is_refused(self, tmp_path: Path):
        with pytest.raises(IndexNotFoundError, match="no index here"):
            Index.open(tmp_path)
        with pytest.raises(IndexNotFoundError):
            Index.open(tmp_path / "absent")

    def test_create_refuses_a_folder_in_use(self, new_index: NewIndex, tmp_path: Path, encoder: HashEncoder):
        index = new_index()
        with pytest.raises(IndexExistsError, match="there is an index here already"):
            Index.create(index.path, encoder)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").write_text("mine")
        with pytest.raises(IndexExistsError, match="not an empty folder"):
            Index.create(tmp_path / "full", encoder)

    @pytest.mark.parametrize("name", ["full", "full/file"])
    def test_create_refuses_a_taken_place_before_it_loads_anything(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").write_text("mine")
        loaded: list[object] = []
        monkeypatch.setattr("colbert_rag.index.require_faiss", lambda: loaded.append("faiss"))
        monkeypatch.setattr("colbert_rag.index.encoder_for", loaded.append)
        with pytest.raises(IndexExistsError, match="not an empty folder"):
            Index.create(tmp_path / name)
        assert loaded == []

    @pytest.mark.parametrize("path", [None, 7, b"bytes"])
    def test_what_is_no_path_is_refused_with_advice(self, path, encoder: HashEncoder):
        for call in (Index.create, Index.open, Index.open_or_create):
            with pytest.raises(InvalidArgumentError, match=rf"found {type(path).__name__}\. Name its folder"):
                call(path, encoder)

    def test_a_tilde_is_the_users_home(self, tmp_path: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch):
        for name in ("HOME", "USERPROFILE"):
            monkeypatch.setenv(name, str(tmp_path / "ann"))
        monkeypatch.chdir(tmp_path)
        with Index.create("~/handbook", encoder) as index:
            index.add([Document("a", "text")])
            index.backup("~/copy")
        for path in ("~/handbook", Path("~/handbook"), "~/copy", tmp_path / "ann" / "handbook"):
            with Index.open(path, encoder) as index:
                assert list(index.ids()) == ["a"]
        assert [entry.name for entry in tmp_path.iterdir()] == ["ann"]
        Index.create("./~", encoder).close()
        assert (tmp_path / "~").is_dir()

    def test_reopened_index_gives_the_same_answers(
        self, new_index: NewIndex, documents: list[Document], encoder: HashEncoder
    ):
        index = new_index(exact_tokens=100)
        index.add(documents)
        expected = index.search(QUERY, k=10)
        index.close()
        with Index.open(index.path, encoder) as again:
            assert again.search(QUERY, k=10) == expected

    def test_another_model_is_refused_and_both_are_named(self, new_index: NewIndex):
        index = new_index()
        with pytest.raises(ModelMismatchError, match="dim: index 32, encoder 16"):
            Index.open(index.path, HashEncoder(dim=16))
        with pytest.raises(ModelMismatchError, match="another model"):
            Index.open(index.path, HashEncoder(dim=32, seed=1))

    def test_a_newer_format_is_refused(self, new_index: NewIndex):
        index = new_index()
        index.close()
        with sqlite3.connect(index.path / "catalog.sqlite") as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(UnsupportedFormatError, match="format version 99"):
            Index.open(index.path)

    def test_a_catalog_that_is_garbage_is_refused(self, tmp_path: Path):
        (tmp_path / "catalog.sqlite").write_bytes(b"no database at all" * 300)
        with pytest.raises(CorruptIndexError):
            Index.open(tmp_path)

    def test_a_damaged_array_is_found_by_search_or_verify(
        self, new_index: NewIndex, documents: list[Document], encoder: HashEncoder
    ):
        index = new_index(exact_tokens=100)
        index.add(documents)
        index.close()
        for path in sorted(index.path.glob("segment-*/*.npy")):
            healthy = path.read_bytes()
            for damaged in (healthy[:-1], healthy + b"x", healthy[:40] + b"\xff" + healthy[41:], b""):
                path.write_bytes(damaged)
                with Index.open(index.path, encoder) as again:
                    assert any(path.name in problem for problem in again.verify().problems)
                    with pytest.raises(CorruptIndexError, match=path.name):
                        again.search(QUERY)
            path.write_bytes(healthy)
        with Index.open(index.path, encoder) as again:
            assert again.verify().ok

    def test_verify_names_a_flipped_byte_a_missing_and_an_extra_file(
        self, new_index: NewIndex, documents: list[Document]
    ):
        index = new_index(exact_tokens=100)
        index.add(documents)
        codes = next(index.path.glob("segment-*/codes.npy"))
        healthy = codes.read_bytes()
        codes.write_bytes(healthy[:-1] + bytes([healthy[-1] ^ 1]))
        (codes.parent / "stray.npy").write_bytes(b"x")
        problems = " ".join(index.verify().problems)
        assert "codes.npy: content differs from what was committed (sha256)" in problems
        assert "stray.npy: not named by the catalog" in problems
        codes.unlink()
        assert any("codes.npy: cannot be read" in problem for problem in index.verify().problems)

    def test_read_only_index_refuses_writes(self, new_index: NewIndex, documents: list[Document], encoder: HashEncoder):
        path = new_index().path
        with Index.open(path, encoder, read_only=True) as index:
            for write in (lambda: index.add(documents), lambda: index.delete(["x"]), index.compact):
                with pytest.raises(ReadOnlyIndexError, match="open for reading only"):
                    write()
            assert index.search("x") == []

    def test_closed_index_says_so(self, new_index: NewIndex):
        index = new_index()
        index.close()
        index.close()
        with pytest.raises(IndexClosedError, match="Open it again"):
            index.search("x")

    def test_index_does_not_survive_a_fork_silently(self, new_index: NewIndex):
        index = new_index()
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe()

        def child() -> None:
            try:
                len(index)
            except IndexClosedError as err:
                sender.send(str(err))
            os._exit(0)

        process = context.Process(target=child)
        process.start()
        assert receiver.poll(30)
        assert "before the process forked" in receiver.recv()
        process.join()

    def test_pickled_index_reopens_the_folder(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        index.add(documents)
        with pickle.loads(pickle.dumps(index)) as again:
            assert again.search(QUERY, k=3) == index.search(QUERY, k=3)

    def test_pickled_read_only_index_stays_read_only(self, new_index: NewIndex, encoder: HashEncoder):
        with (
            Index.open(new_index().path, encoder, read_only=True) as index,
            pickle.loads(pickle.dumps(index)) as again,
            pytest.raises(ReadOnlyIndexError),
        ):
            again.delete(["x"])

    def test_an_index_stays_where_it_was_opened(
        self, tmp_path: Path, encoder: HashEncoder, documents: list[Document], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        with Index.create("here", encoder) as index:
            (tmp_path / "elsewhere").mkdir()
            monkeypatch.chdir(tmp_path / "elsewhere")
            index.add(documents)
            assert index.search(QUERY, k=1)[0].id == "d017"

    def test_opening_maps_nothing(self, new_index: NewIndex, documents: list[Document]):
        index = new_index(exact_tokens=100)
        index.add(documents)
        index.close()
        for path in index.path.glob("segment-*/*.npy"):
            path.unlink()
        with Index.open(index.path, index._encoder) as again:
            assert len(again) == 200
            assert again.get("d001") == documents[1]

    def test_info_counts_what_is_there(self, new_index: NewIndex, documents: list[Document], encoder: HashEncoder):
        index = new_index(bits=2, exact_tokens=100)
        index.add(documents)
        info = index.info()
        tokens = sum(len(t.vectors) for t in encoder.encode_documents([d.text for d in documents]))
        assert (info.n_documents, info.n_tokens, info.dim, info.bits) == (200, tokens, 32, 2)
        assert info.text_bytes == sum(len(d.text.encode()) for d in documents)
        assert info.vector_bytes == sum(p.stat().st_size for p in index.path.glob("*/*.npy"))


class TestConcurrency:
    def test_readers_see_whole_commits_while_a_writer_works(self, new_index: NewIndex, encoder: HashEncoder):
        index = new_index(exact_tokens=150)
        generation = [Document(f"d{n}", f"common words version zero n{n}") for n in range(20)]
        index.add(generation)
        stop, wrong = threading.Event(), []

        def read() -> None:
            while not stop.is_set():
                hits = index.search("common words version", k=100)
                versions = {hit.text.split()[3] for hit in hits}
                if len(hits) != 20 or len(versions) != 1:
                    wrong.append((len(hits), versions))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in ("one", "two", "three", "four", "five", "six"):
            index.upsert([Document(d.id, d.text.replace("zero", version)) for d in generation])
        index.compact()
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert index.verify().ok

    def test_another_process_sees_a_commit_at_its_next_search(self, new_index: NewIndex, documents: list[Document]):
        index = new_index()
        index.add(documents[:1])
        code = (
            "import sys; from colbert_rag import Document, Index; from colbert_rag.testing import HashEncoder\n"
            "index = Index.open(sys.argv[1], HashEncoder(dim=32)); index.add([Document('z', 'from the other process')])"
        )
        subprocess.run([sys.executable, "-c", code, str(index.path)], check=True, timeout=120)
        assert index.search("process", k=1)[0].id == "z"

    def test_searches_from_the_event_loop_of_an_application_run_in_threads(
        self, new_index: NewIndex, documents: list[Document]
    ):
        index = new_index(exact_tokens=100)
        index.add(documents)
        expected = index.search(QUERY, k=5)

        async def ask() -> list:
            return await asyncio.gather(*(asyncio.to_thread(index.search, QUERY, 5) for _ in range(16)))

        assert asyncio.run(ask()) == [expected] * 16


class TestFilters:
    @pytest.fixture
    def index(self, new_index: NewIndex, documents: list[Document]) -> Index:
        index = new_index(exact_tokens=0)
        index.add(documents)
        return index

    def test_only_chosen_documents_are_found_however_bad_they_are(self, index: Index, documents: list[Document]):
        for chosen in ({"n": {"$gte": 195}}, {"$id": [f"d{n}" for n in range(195, 200)]}):
            hits = index.search(QUERY, k=50, filter=chosen)
            assert {hit.id for hit in hits} == {f"d{n}" for n in range(195, 200)}
        assert index.search(QUERY, k=5, filter={"n": 17})[0].id == "d017"

    def test_a_filter_sees_each_commit(self, index: Index):
        def found() -> set[str]:
            return {hit.id for hit in index.search(QUERY, k=50, filter={"n": {"$lt": 3}})}

        assert found() == {"d000", "d001", "d002"}
        index.delete(["d001"])
        assert found() == {"d000", "d002"}
        index.upsert([Document("d002", "amber", {"n": 99}), Document("new", "birch", {"n": -1})])
        assert found() == {"d000", "new"}
        index.compact()
        assert found() == {"d000", "new"}

    def test_find_gives_the_chosen_documents_by_rising_id(self, index: Index, documents: list[Document]):
        assert list(index.find({"n": {"$lt": 3}})) == documents[:3]
        assert list(index.find()) == list(index.find({})) == documents
        assert [d.id for d in index.find({"even": True}, limit=2)] == ["d000", "d002"]
        assert list(index.find({"n": -1})) == list(index.find(limit=0)) == []

    @pytest.mark.parametrize("limit", [-1, 1.5, "3", True])
    def test_a_wrong_limit_is_refused(self, index: Index, limit: object):
        with pytest.raises(InvalidQueryError, match="limit must be None or an int of 0 or more"):
            list(index.find(limit=limit))  # type: ignore[arg-type]

    def test_what_is_deleted_or_replaced_while_find_is_read_is_left_out(self, new_index: NewIndex):
        index = new_index()
        index.add(Document(f"d{n:04}", "text", {"lang": "en"}) for n in range(600))
        stream = index.find({"lang": "en"})
        first = next(stream)
        index.delete(["d0599"])
        index.upsert([Document("d0598", "text", {"lang": "de"})])
        assert [first.id, *(d.id for d in stream)] == [f"d{n:04}" for n in range(598)]

    def test_a_wrong_filter_is_refused_before_the_first_document_is_asked_for(self, index: Index):
        with pytest.raises(InvalidFilterError):
            index.find({"$bad": 1})

    def test_delete_takes_a_filter_and_everything_goes_by_the_empty_one(self, index: Index):
        assert index.delete(filter={"even": True}) == 100
        assert index.delete(filter={"even": True}) == 0
        assert len(index) == 100
        assert {hit.metadata["even"] for hit in index.search(QUERY, k=200)} == {False}
        assert index.delete(filter=lambda document: document.id == "d001") == 1
        assert index.delete(filter={}) == 99
        assert index.search(QUERY) == []
        assert index.verify().ok

    @pytest.mark.parametrize("arguments", [{}, {"ids": ["d001"], "filter": {"n": 1}}, {"ids": [], "filter": {}}])
    def test_delete_takes_ids_or_a_filter_and_never_both(self, index: Index, arguments: dict):
        with pytest.raises(InvalidDocumentError, match="exactly one of them"):
            index.delete(**arguments)
        assert len(index) == 200

    @pytest.mark.parametrize("use", ["search", "find", "delete"])
    def test_a_wrong_filter_changes_nothing(self, index: Index, use: str):
        call = {
            "search": lambda f: index.search(QUERY, filter=f),
            "find": lambda f: list(index.find(f)),
            "delete": lambda f: index.delete(filter=f),
        }[use]
        with pytest.raises(InvalidFilterError, match=r"\$gte"):
            call({"n": {"$gt_e": 3}})
        assert len(index) == 200


class TestReplacing:
    @pytest.fixture
    def index(self, new_index: NewIndex) -> Index:
        index = new_index()
        index.add(Document(f"{ref}{n}", f"amber {ref} n{n}", ref_id=ref) for ref in "xy" for n in range(3))
        return index

    def test_new_chunks_take_the_place_of_the_old_ones_in_one_commit(self, index: Index):
        commits = index.info().n_documents
        written = index.upsert(
            [Document("x1", "birch", ref_id="x"), Document("x9", "cedar", ref_id="x")], replacing={"$ref_id": "x"}
        )
        assert (commits, written) == (6, 2)
        assert list(index.ids()) == ["x1", "x9", "y0", "y1", "y2"]
        assert index.get("x1").text == "birch"
        assert index.verify().ok

    def test_nothing_may_take_their_place(self, index: Index):
        assert index.upsert([], replacing={"$ref_id": "x"}) == 0
        assert index.upsert(iter(()), replacing={"$ref_id": ["y"]}) == 0
        assert len(index) == 0

    def test_a_refused_document_leaves_the_old_ones(self, index: Index):
        with pytest.raises(InvalidDocumentError):
            index.upsert((d for d in [Document("x9", "cedar"), Document("x8", " ")]), replacing={"$ref_id": "x"})
        assert len(index) == 6

    def test_writers_that_race_leave_the_chunks_of_one_of_them(self, index: Index):
        def write(n: int) -> None:
            index.upsert([Document(f"{n}-{i}", "birch", ref_id="x") for i in range(4)], replacing={"$ref_id": "x"})

        threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        left = [d.id for d in index.find({"$ref_id": "x"})]
        assert len(left) == 4
        assert len({name.split("-")[0] for name in left}) == 1

    def test_it_is_not_together_with_commits_in_between(self, index: Index):
        with pytest.raises(InvalidDocumentError, match="not both"):
            index.upsert([], replacing={}, commit_every=5)
        assert len(index) == 6


class TestOpenOrCreate:
    def test_it_creates_and_then_opens(self, tmp_path: Path, encoder: HashEncoder):
        with Index.open_or_create(tmp_path / "index", encoder) as index:
            index.add([Document("a", "text")])
        with Index.open_or_create(tmp_path / "index", encoder) as index:
            assert list(index.ids()) == ["a"]

    def test_another_model_is_refused(self, tmp_path: Path, encoder: HashEncoder):
        Index.open_or_create(tmp_path / "index", encoder).close()
        with pytest.raises(ModelMismatchError):
            Index.open_or_create(tmp_path / "index", HashEncoder(32, seed=1))

    def test_a_folder_of_something_else_is_refused(self, tmp_path: Path, encoder: HashEncoder):
        (tmp_path / "letter.txt").write_text("Dear Ann")
        with pytest.raises(IndexExistsError):
            Index.open_or_create(tmp_path, encoder)

    def test_of_many_threads_one_creates_and_all_open(self, tmp_path: Path, encoder: HashEncoder):
        opened: list[Index] = []
        threads = [
            threading.Thread(target=lambda: opened.append(Index.open_or_create(tmp_path / "index", encoder)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(opened) == 8
        opened[0].add([Document("a", "text")])
        assert all(len(index) == 1 for index in opened)
        for index in opened:
            index.close()


def test_what_an_adapter_keeps_comes_back_with_the_document_and_the_hit(new_index: NewIndex):
    index = new_index()
    whole = Document("a", "amber birch", {"year": 2024}, heading="Trees", ref_id="book", extra={"page": [1, None]})
    index.add([whole])
    assert index.get("a") == whole
    [hit] = index.search("amber")
    assert (hit.heading, hit.ref_id, hit.extra) == ("Trees", "book", {"page": [1, None]})
    assert index.upsert([whole]) == 0
    for changed in ({"ref_id": "other"}, {"extra": 1}, {"heading": ""}):
        fields = {"heading": "Trees", "ref_id": "book", "extra": {"page": [1, None]}} | changed
        assert index.upsert([Document("a", "amber birch", {"year": 2024}, **fields)]) == 1


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"heading": 3}, "the heading must be a str"),
        ({"heading": " "}, "the heading is blank"),
        ({"heading": "a\ud800"}, "the heading has a lone surrogate"),
        ({"ref_id": ""}, "the ref_id is empty"),
        ({"ref_id": 7}, "the ref_id must be a str"),
        ({"extra": {1: 2}}, "extra has a key of type int"),
        ({"extra": float("nan")}, "extra is nan"),
        ({"extra": object()}, "extra is a object"),
    ],
)
def test_what_json_and_the_catalog_cannot_hold_is_refused(new_index: NewIndex, field: dict, words: str):
    index = new_index()
    with pytest.raises(InvalidDocumentError, match=words):
        index.add([Document("a", "text", **field)])
    assert len(index) == 0


def test_the_model_is_named_without_loading_it(new_index: NewIndex, encoder: HashEncoder):
    index = new_index()
    with Index.open(index.path) as again:
        assert again.model == encoder.fingerprint
    assert new_index("vectors", dim=4).model == {"model": None}


def test_what_is_changed_in_one_hit_shows_in_no_other(new_index: NewIndex):
    index = new_index()
    index.add([Document("a", "amber birch", {"list": [1]}, extra={"list": [1]})])
    (one,), (other,) = index.search_many(["amber", "birch"])
    one.metadata["list"].append(2)
    one.extra["list"].append(2)
    assert other.metadata == other.extra == {"list": [1]}


def test_a_search_with_given_vectors_loads_nothing_that_makes_its_first_answer_late(tmp_path: Path) -> None:
    """A fresh process needs numba; it needs no model, no event loop and no library for tables."""
    encoder = HashEncoder(dim=8)
    with Index.create(tmp_path / "index", encoder, exact_tokens=30) as index:
        index.add([Document(f"d{n}", f"text {n} of many words") for n in range(20)])
        assert index.info().is_compressed
        expected = [hit.id for hit in index.search("text 7")]
    np.save(tmp_path / "query.npy", encoder.encode_queries(["text 7"])[0])
    code = (
        "import sys, numpy as np; from colbert_rag import Index; "
        f"index = Index.open({str(tmp_path / 'index')!r}); "
        f"[hits] = index.search_vectors([np.load({str(tmp_path / 'query.npy')!r})]); "
        "late = 'torch transformers sentence_transformers tokenizers faiss rich typer asyncio'.split(); "
        "print([hit.id for hit in hits], sorted({*late, 'colbert_rag.encoder'} & sys.modules.keys()))"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output == f"{expected} []\n"


def test_an_index_that_was_opened_through_a_link_stays_the_same_when_the_link_leads_elsewhere(tmp_path, encoder):
    for version in ("v1", "v2"):
        with Index.create(tmp_path / version, encoder) as index:
            index.add([Document(f"{version}-{n}", f"text {n} of {version}") for n in range(2)])
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "v1")
    with Index.open(link, encoder) as index:
        index.search("text")
        link.unlink()
        link.symlink_to(tmp_path / "v2")
        inner = []

        def ask_again(document):
            inner.extend(hit.text for hit in index.search("text"))
            return True

        assert {hit.id for hit in index.search("text", filter=ask_again)} == {"v1-0", "v1-1"}
        assert all(text.endswith("of v1") for text in inner)
        index.add([Document("new", "text")])
        assert sorted(index.ids()) == ["new", "v1-0", "v1-1"]
    with Index.open(link, encoder) as index:
        assert sorted(index.ids()) == ["v2-0", "v2-1"]
