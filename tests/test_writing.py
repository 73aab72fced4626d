from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag import Document, InvalidVectorsError
from colbert_rag.testing import HashEncoder
from colbert_rag.writing import batches_of, chunks_of, encode_documents


class TestChunks:
    @given(st.lists(st.integers(0, 12), max_size=60))
    def test_chunks_hold_all_documents_in_order_and_are_as_long_as_they_may_be(self, lengths):
        stream = [Document(str(n), "x" * length) for n, length in enumerate(lengths)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("colbert_rag.writing._CHUNK_DOCUMENTS", 5)
            patch.setattr("colbert_rag.writing._CHUNK_CHARACTERS", 20)
            chunks = list(chunks_of(iter(stream)))
        assert [d for chunk in chunks for d in chunk] == stream
        for chunk in chunks:
            assert 1 <= len(chunk) <= 5
            assert sum(len(d.text) for d in chunk[:-1]) < 20
        assert all(len(chunk) == 5 or sum(len(d.text) for d in chunk) >= 20 for chunk in chunks[:-1])

    def test_what_is_no_document_is_passed_on_to_be_refused(self):
        assert list(chunks_of([None, "text", Document("a", 7)])) == [[None, "text", Document("a", 7)]]

    @settings(deadline=None)
    @given(st.integers(0, 40), st.none() | st.integers(1, 50))
    def test_batches_cut_a_stream_without_reading_ahead(self, n, size):
        pulled = []

        def stream():
            for i in range(n):
                pulled.append(i)
                yield i

        batches = []
        for batch in batches_of(stream(), size):
            batches.append([])
            for item in batch:
                assert pulled[-1] == item
                batches[-1].append(item)
        assert [i for batch in batches for i in batch] == list(range(n))
        assert all(len(batch) == (size or n) for batch in batches[:-1])
        assert all(batches)


class TestHeadings:
    DOCUMENT = Document("a", "Three months notice.", heading="Leaving the firm")

    def test_a_heading_is_encoded_ahead_of_the_text_and_has_empty_spans(self):
        encoder = HashEncoder(16)
        [found] = encode_documents(encoder, [self.DOCUMENT])
        [expected] = encoder.encode_documents(["Leaving the firm\n\nThree months notice."])
        np.testing.assert_array_equal(found.vectors, expected.vectors)
        assert found.spans.tolist() == [[0, 0], [0, 0], [0, 0], [0, 5], [6, 12], [13, 19]]

    def test_without_a_heading_nothing_is_changed(self):
        encoder, plain = HashEncoder(16), Document("a", "Three months.")
        [found], [expected] = encode_documents(encoder, [plain]), encoder.encode_documents([plain.text])
        np.testing.assert_array_equal(found.spans, expected.spans)

    def test_a_document_is_found_by_its_heading_and_its_passage_is_of_its_text(self, new_index):
        index = new_index()
        index.add([self.DOCUMENT, Document("b", "Another text.")])
        for mode in ("maxsim", "bm25", "hybrid"):
            hit = index.search("leaving the firm", k=1, mode=mode)[0]
            assert (hit.id, hit.heading, hit.text) == ("a", "Leaving the firm", "Three months notice.")
            assert all(p.text == hit.text[p.start : p.end] for p in hit.passages)
        [hit] = index.search("leaving after three months", k=1)
        assert hit.passages[0].text == "Three months notice."

    def test_another_heading_is_a_changed_document(self, new_index):
        index = new_index()
        index.add([self.DOCUMENT])
        assert index.upsert([self.DOCUMENT]) == 0
        assert index.upsert([Document("a", "Three months notice.", heading="Staying")]) == 1
        assert index.get("a").heading == "Staying"
        assert [hit.id for hit in index.search("leaving", mode="bm25")] == []

    def test_an_encoder_that_gives_too_few_results_is_refused_as_ever(self, new_index, encoder, monkeypatch):
        index = new_index()
        monkeypatch.setattr(HashEncoder, "encode_documents", lambda self, texts, progress=None: [])
        with pytest.raises(InvalidVectorsError, match="0 results for 1"):
            index.add([self.DOCUMENT])


class TestProgressOverTokens:
    DOCUMENTS = tuple(Document(f"d{n:03}", "word " * (n + 1)) for n in range(600))
    N_TOKENS = sum(n + 1 for n in range(600))

    def told(self, index, documents, **options):
        events = []
        index.upsert(documents, progress=lambda *event: events.append(event), **options)
        return [(done, total) for stage, done, total in events if stage == "encode"]

    def test_of_a_list_rises_over_all_chunks_to_the_total(self, new_index):
        told = self.told(new_index(), list(self.DOCUMENTS))
        done = [n for n, _ in told]
        assert done == sorted(done)
        assert told[-1] == (self.N_TOKENS, self.N_TOKENS)
        assert all(n <= total for n, total in told)

    def test_of_a_list_is_estimated_close_to_the_truth_from_the_first_chunk_on(self, new_index):
        assert self.told(new_index(), list(self.DOCUMENTS))[0][1] == pytest.approx(self.N_TOKENS, rel=0.1)

    def test_goes_on_over_commits(self, new_index):
        told = self.told(new_index(), list(self.DOCUMENTS), commit_every=100)
        assert told[-1] == (self.N_TOKENS, self.N_TOKENS)

    def test_of_a_stream_has_no_total(self, new_index):
        told = self.told(new_index(), (document for document in self.DOCUMENTS))
        assert {total for _, total in told} == {None}
        assert told[-1][0] == self.N_TOKENS

    def test_of_what_is_there_already_is_not_waited_for(self, new_index):
        index = new_index()
        index.add(self.DOCUMENTS[:500])
        told = self.told(index, list(self.DOCUMENTS))
        expected = sum(n + 1 for n in range(500, 600))
        assert told[-1] == (expected, expected)

    def test_ends_at_its_total_where_the_last_documents_are_there_already(self, new_index):
        index = new_index()
        index.add(self.DOCUMENTS[300:])
        told = self.told(index, list(self.DOCUMENTS))
        expected = sum(n + 1 for n in range(300))
        assert told[-1] == (expected, expected)
