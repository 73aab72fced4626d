from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from colbert_rag.codec import n_centroids_for, train_codec
from colbert_rag.merging import columns_of, finish_segment, merge, save_codec, segments_to_merge, train_on, vectors_of
from colbert_rag.search import column_shape, open_codec, view_of
from colbert_rag.storage import IndexSettings, Segment, SegmentWriter
from colbert_rag.storage.lists import build_lists

DIM = 16
SETTINGS = IndexSettings(dim=DIM, bits=4, exact_tokens=0, probe_tokens=10**9, seed=0, model={})
FIRST = list(range(1, 20, 2))
SECOND = list(range(2, 21, 2))


def silent(stage, done, total):
    pass


def fake_view(n_tokens, n_documents=1, n_alive=None):
    record = SimpleNamespace(n_tokens=n_tokens, n_documents=n_documents)
    return SimpleNamespace(segment=SimpleNamespace(record=record), n_alive=n_documents if n_alive is None else n_alive)


def sizes(views):
    return [view.segment.record.n_tokens for view in views]


class TestSegmentsToMerge:
    def test_500_single_adds_keep_few_segments_and_copy_each_document_a_logarithm_of_times(self):
        views, copied, most = [], 0, 0
        for _ in range(500):
            views.append(fake_view(10))
            chosen = segments_to_merge(views)
            if chosen:
                copied += sum(sizes(chosen))
                views = [view for view in views if view not in chosen] + [fake_view(sum(sizes(chosen)))]
            most = max(most, len(views))
        assert sum(sizes(views)) == 5_000
        assert most <= math.log2(500)
        assert copied / 5_000 <= math.log2(500)

    @pytest.mark.parametrize("n", [0, 1, 8])
    def test_few_segments_are_left_alone(self, n):
        assert segments_to_merge([fake_view(10) for _ in range(n)]) == []

    def test_the_small_ones_are_merged_and_the_large_ones_left(self):
        views = [fake_view(n) for n in (5_000, 10, 900_000, 11, 20, 40, 100_000, 200_000, 400_000)]
        assert sorted(sizes(segments_to_merge(views))) == [10, 11, 20, 40]

    def test_mostly_deleted_segments_are_merged_however_few_there_are(self):
        wasteful, half, whole = fake_view(100, 10, 4), fake_view(100, 10, 5), fake_view(100, 10, 10)
        assert segments_to_merge([whole, wasteful, half]) == [wasteful]
        empty = fake_view(100, 10, 0)
        assert segments_to_merge([empty]) == [empty]


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing here is about durability, and disks are slow to promise it."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def codecs():
    sample = unit_rows(np.random.default_rng(0), 400)
    return [train_codec(sample, n_centroids=16, bits=8, seed=seed) for seed in (0, 1)]


def unit_rows(rng, n):
    rows = rng.standard_normal((n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def documents_of(keys):
    """Vectors and spans of each key: always the same for the same key."""
    documents = {}
    for key in keys:
        rng = np.random.default_rng(key)
        n = int(rng.integers(1, 9))
        starts = np.cumsum(rng.integers(0, 60, n))
        documents[key] = unit_rows(rng, n), np.column_stack([starts, starts + rng.integers(0, 40, n)]).astype(np.int32)
    return documents


def view(root, keys, codec=None, deleted=()):
    documents = documents_of(keys)
    writer = SegmentWriter(root, None if codec is None else "codec-1")
    columns = columns_of(np.concatenate([vectors for vectors, _ in documents.values()]), codec)
    writer.append(keys, [spans for _, spans in documents.values()], columns)
    record = finish_segment(writer, root, codec, SETTINGS)
    return view_of(opened(root, record, codec), np.array(deleted, np.int64))


def opened(root, record, codec):
    return Segment.open(root, record, column_shape(DIM, codec), 0 if codec is None else codec.n_centroids)


def assert_holds(segment, codec, keys, tolerance):
    """The segment has exactly these documents, in order, with their vectors and spans."""
    assert segment.doc_keys.tolist() == sorted(keys)
    for n, (key, (vectors, spans)) in enumerate(documents_of(sorted(keys)).items()):
        start, end = segment.doc_offsets[n : n + 2]
        found = vectors_of({name: column[start:end] for name, column in segment.columns.items()}, codec)
        np.testing.assert_allclose(found, vectors, atol=tolerance, err_msg=f"document {key}")
        np.testing.assert_array_equal(segment.spans([n]), spans)


class TestMerge:
    @pytest.mark.parametrize("group_tokens", [1, 10, 16_384])
    def test_every_live_document_keeps_its_vectors_spans_and_order(self, tmp_path, monkeypatch, group_tokens):
        monkeypatch.setattr("colbert_rag.merging._GROUP_TOKENS", group_tokens)
        views = [view(tmp_path, SECOND, deleted=[4, 20]), view(tmp_path, FIRST, deleted=[1])]
        record = merge(tmp_path, views, (None, None), None, SETTINGS, silent)
        live = sorted({*FIRST, *SECOND} - {1, 4, 20})
        assert_holds(opened(tmp_path, record, None), None, live, 0)

    def test_codes_of_one_codec_are_copied_bit_for_bit(self, tmp_path, codecs):
        views = [view(tmp_path, FIRST, codecs[0]), view(tmp_path, SECOND, codecs[0], deleted=[2])]
        record = merge(tmp_path, views, (codecs[0], codecs[0]), "codec-1", SETTINGS, silent)
        merged = opened(tmp_path, record, codecs[0])
        for name in ("centroid_ids", "codes", "factors"):
            for source in views:
                for n, key in enumerate(source.segment.doc_keys.tolist()):
                    if key != 2:
                        [place] = merged.positions(np.array([key]))
                        a, b = source.segment.doc_offsets[n : n + 2]
                        c, d = merged.doc_offsets[place : place + 2]
                        np.testing.assert_array_equal(merged.columns[name][c:d], source.segment.columns[name][a:b])
        assert merged.record.codec == "codec-1"

    def test_plain_vectors_are_compressed_and_compressed_ones_recoded(self, tmp_path, codecs):
        plain = merge(tmp_path, [view(tmp_path, FIRST)], (None, codecs[0]), "codec-1", SETTINGS, silent)
        assert_holds(opened(tmp_path, plain, codecs[0]), codecs[0], FIRST, 0.03)
        packed = [view(tmp_path, SECOND, codecs[0])]
        record = merge(tmp_path, packed, tuple(codecs), "codec-2", SETTINGS, silent)
        assert_holds(opened(tmp_path, record, codecs[1]), codecs[1], SECOND, 0.05)

    def test_no_live_document_gives_no_segment_and_no_folder(self, tmp_path):
        views = [view(tmp_path, [1, 2], deleted=[1, 2])]
        before = sorted(tmp_path.iterdir())
        assert merge(tmp_path, views, (None, None), None, SETTINGS, silent) is None
        assert sorted(tmp_path.iterdir()) == before

    def test_progress_ends_at_the_tokens_that_were_packed(self, tmp_path, monkeypatch):
        monkeypatch.setattr("colbert_rag.merging._GROUP_TOKENS", 10)
        calls = []
        views = [view(tmp_path, FIRST)]
        merge(tmp_path, views, (None, None), None, SETTINGS, lambda *call: calls.append(call))
        total = views[0].segment.record.n_tokens
        done = [call[1] for call in calls]
        assert done == sorted(set(done))
        assert calls[-1] == ("pack", total, total)


@pytest.mark.parametrize("probe_tokens", [0, 1, 10**9])
def test_only_a_segment_that_will_be_probed_gets_lists(tmp_path, codecs, probe_tokens):
    documents = documents_of(FIRST)
    vectors = np.concatenate([v for v, _ in documents.values()])
    writer = SegmentWriter(tmp_path, "codec-1")
    writer.append(FIRST, [spans for _, spans in documents.values()], columns_of(vectors, codecs[0]))
    settings = SETTINGS.model_copy(update={"probe_tokens": probe_tokens})
    segment = opened(tmp_path, finish_segment(writer, tmp_path, codecs[0], settings), codecs[0])
    if probe_tokens > len(vectors):
        assert segment.lists is None
    else:
        expected = build_lists(segment.columns["centroid_ids"], segment.doc_offsets, codecs[0].n_centroids)
        for found, wanted in zip(segment.lists, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_stored_codec_is_the_trained_one(tmp_path, codecs):
    record = save_codec(tmp_path, codecs[0], 400)
    assert (record.trained_on, record.n_centroids) == (400, 16)
    found = open_codec(tmp_path, record, SETTINGS.model_copy(update={"bits": 8}))
    np.testing.assert_array_equal(found.centroids, codecs[0].centroids)
    np.testing.assert_array_equal(found.rotation, codecs[0].rotation)


@pytest.mark.parametrize(("bits", "on_trellis"), [(1, True), (2, True), (4, False), (8, False)])
def test_the_record_of_a_codec_names_a_trellis_where_there_is_one(tmp_path, bits, on_trellis):
    """Earlier versions read a record without it, and refuse one that has it."""
    codec = train_codec(unit_rows(np.random.default_rng(0), 100), n_centroids=16, bits=bits)
    record = save_codec(tmp_path, codec, 100)
    assert ("on_trellis" in record.model_dump(exclude_defaults=True)) == record.on_trellis == on_trellis
    settings = SETTINGS.model_copy(update={"bits": bits})
    assert (open_codec(tmp_path, record, settings).grid.labels is not None) == on_trellis
    earlier = record.model_copy(update={"on_trellis": False})
    assert open_codec(tmp_path, earlier, settings).grid.labels is None


@pytest.mark.parametrize("group_size", [1, 4])
def test_the_record_of_a_codec_names_groups_of_centroids_where_there_are_any(tmp_path, codecs, group_size):
    record = save_codec(tmp_path, replace(codecs[0], group_size=group_size), 400)
    assert ("group_size" in record.model_dump(exclude_defaults=True)) == (group_size > 1)
    found = open_codec(tmp_path, record, SETTINGS.model_copy(update={"bits": 8}))
    assert (found.group_size, len(found.directions)) == (group_size, 16 // group_size if group_size > 1 else 0)


def test_training_sees_all_segments_and_repeats_itself(tmp_path):
    calls = []
    views = [view(tmp_path, FIRST), view(tmp_path, SECOND)]
    one, n_tokens = train_on(views, None, SETTINGS, lambda *call: calls.append(call))
    again, _ = train_on(views, None, SETTINGS, silent)
    assert n_tokens == sum(v.segment.record.n_tokens for v in views)
    np.testing.assert_array_equal(one.centroids, again.centroids)
    k = n_centroids_for(n_tokens)
    assert one.n_centroids == k
    assert calls == [("train", 0, k), ("train", k, k)]


def test_training_again_reads_segments_of_which_no_token_is_in_the_sample(tmp_path, codecs, monkeypatch):
    """A sample of one vector per centroid leaves out whole segments, compressed ones too."""
    monkeypatch.setattr("colbert_rag.merging.sample_size", lambda n_centroids: n_centroids)
    views = [view(tmp_path, [key], codecs[0]) for key in range(1, 30)]
    codec, n_tokens = train_on(views, codecs[0], SETTINGS, silent)
    assert codec.n_centroids == n_centroids_for(n_tokens) < n_tokens


def test_a_codec_for_a_corpus_that_grows_has_the_centroids_of_what_it_will_be(tmp_path):
    views = [view(tmp_path, [key]) for key in range(1, 90)]
    (codec, n_tokens), (larger, _) = (train_on(views, None, SETTINGS, silent, growth=growth) for growth in (1, 4))
    assert (codec.n_centroids, larger.n_centroids) == (n_centroids_for(n_tokens), n_centroids_for(4 * n_tokens))
    assert codec.n_centroids < larger.n_centroids <= n_tokens
