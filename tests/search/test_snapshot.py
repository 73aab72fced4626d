from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from colbert_rag.codec import Codec
from colbert_rag.errors import CorruptIndexError
from colbert_rag.search import SegmentView, column_shape, narrowed, open_codec, open_snapshot, view_of
from colbert_rag.storage import CatalogState, CodecRecord, IndexSettings, SegmentWriter
from colbert_rag.storage.files import write_array

SETTINGS = IndexSettings(dim=32, bits=4, exact_tokens=0, probe_tokens=0, seed=0, model={})


@pytest.fixture
def stored_codec(tmp_path, codec):
    """Record of a codec on disk."""
    folder = tmp_path / "codec-1"
    folder.mkdir()
    files = {
        "centroids": write_array(folder / "centroids.npy", codec.centroids.astype(np.float16)),
        "rotation": write_array(folder / "rotation.npy", codec.rotation),
    }
    return CodecRecord(name="codec-1", n_centroids=codec.n_centroids, trained_on=9, files=files)


def write_segment(root, corpus, codec, first_key):
    writer = SegmentWriter(root, "codec-1")
    tokens = codec.encode(corpus.vectors)
    columns = {"centroid_ids": tokens.centroid_ids, "codes": tokens.codes, "factors": tokens.factors}
    spans = [np.zeros((n, 2), np.int32) for n in np.diff(corpus.offsets)]
    writer.append(range(first_key, first_key + corpus.n_documents), spans, columns)
    return writer.finish()


def test_a_codec_comes_back_as_it_was_stored(tmp_path, codec, stored_codec):
    found = open_codec(tmp_path, stored_codec, SETTINGS)
    np.testing.assert_array_equal(found.centroids, codec.centroids)
    np.testing.assert_array_equal(found.rotation, codec.rotation)
    assert found.bits == 4


@pytest.mark.parametrize("name", ["centroids", "rotation"])
@pytest.mark.parametrize("number", [np.nan, np.inf, 60_000, -1.1])
def test_a_codec_with_numbers_out_of_range_is_corrupt(tmp_path, codec, stored_codec, name, number):
    path = tmp_path / "codec-1" / f"{name}.npy"
    content = bytearray(path.read_bytes())
    dtype = np.float16 if name == "centroids" else np.float32
    content[-np.dtype(dtype).itemsize :] = np.array(number, dtype).tobytes()
    path.write_bytes(content)
    with pytest.raises(CorruptIndexError, match="out of range in the codec"):
        open_codec(tmp_path, stored_codec, SETTINGS)


def test_a_codec_record_without_its_files_is_corrupt(tmp_path, stored_codec):
    for files in ({}, {"centroids": stored_codec.files["centroids"]}):
        with pytest.raises(CorruptIndexError, match=r"a codec has centroids\.npy and rotation\.npy"):
            open_codec(tmp_path, stored_codec.model_copy(update={"files": files}), SETTINGS)


@pytest.mark.parametrize("change", [{"dim": 31}, {"dim": 64}])
def test_a_codec_of_another_dimension_is_corrupt(tmp_path, stored_codec, change):
    with pytest.raises(CorruptIndexError, match="header differs"):
        open_codec(tmp_path, stored_codec, SETTINGS.model_copy(update=change))


def test_a_codec_of_another_number_of_centroids_is_corrupt(tmp_path, stored_codec):
    with pytest.raises(CorruptIndexError, match="header differs"):
        open_codec(tmp_path, stored_codec.model_copy(update={"n_centroids": 63}), SETTINGS)


def test_deleted_documents_are_not_alive(snapshot_of, corpus):
    [view] = snapshot_of(corpus.part(0, 5)).views
    assert (view.alive, view.n_alive) == (None, 5)
    assert view_of(view.segment, np.array([77], np.int64)) == SegmentView(view.segment, None)
    fewer = view_of(view.segment, np.array([2, 5, 77], np.int64))
    assert fewer.alive.tolist() == [True, False, True, True, False]
    assert fewer.n_alive == 3


def test_segments_that_are_mapped_already_are_used_again(tmp_path, corpus, codec, stored_codec):
    first = write_segment(tmp_path, corpus.part(0, 9), codec, 1)
    second = write_segment(tmp_path, corpus.part(9, 20), codec, 10)
    old = CatalogState(settings=SETTINGS, codec=stored_codec, segments=(first,), commits=3)
    new = old.model_copy(update={"segments": (first, second), "commits": 4})
    before = open_snapshot(tmp_path, old, [], None)
    after = open_snapshot(tmp_path, new, [1, 10, 11], before)
    assert after.views[0].segment is before.views[0].segment
    assert after.codec is before.codec
    assert [view.n_alive for view in after.views] == [8, 9]
    assert (before.commits, after.commits, before.n_alive, after.n_alive) == (3, 4, 9, 17)


def test_a_segment_whose_record_changed_is_mapped_again(tmp_path, corpus, codec, stored_codec):
    record = write_segment(tmp_path, corpus.part(0, 9), codec, 1)
    state = CatalogState(settings=SETTINGS, codec=stored_codec, segments=(record,), commits=3)
    before = open_snapshot(tmp_path, state, [], None)
    wrong = state.model_copy(update={"segments": (record.model_copy(update={"n_tokens": 1}),)})
    with pytest.raises(CorruptIndexError):
        open_snapshot(tmp_path, wrong, [], before)


def test_columns_are_those_of_the_codec():
    assert column_shape(96, None) == {"vectors": ("float16", (96,))}
    large = Codec(np.zeros((65_537, 2), np.float32), np.eye(2, dtype=np.float32), 2)
    assert column_shape(2, large) == {
        "centroid_ids": ("uint32", ()),
        "codes": ("uint8", (1,)),
        "factors": ("uint8", (2,)),
    }


@pytest.mark.parametrize("n_segments", [1, 3])
def test_a_narrowed_snapshot_holds_the_chosen_live_documents_alone(snapshot_of, corpus, n_segments):
    snapshot = snapshot_of(corpus, n_segments=n_segments, deleted=[2, 150])
    chosen = narrowed(snapshot, np.array([1, 2, 3, 299, 999], np.int64))
    held = [key for view in chosen.views for key in view.segment.doc_keys[np.flatnonzero(view.alive)].tolist()]
    assert held == [1, 3, 299]
    assert chosen.n_alive == 3
    assert narrowed(snapshot, np.zeros(0, np.int64)).views == ()
    assert snapshot.n_alive == 298


def test_a_document_in_two_segments_is_corrupt(tmp_path, corpus, codec, stored_codec):
    first, second = corpus.part(0, 20), corpus.part(20, 40)
    records = tuple(write_segment(tmp_path, part, codec, key) for part, key in ((first, 0), (second, 19)))
    state = CatalogState(settings=SETTINGS, codec=stored_codec, segments=records, commits=1)
    with pytest.raises(CorruptIndexError, match="hold vectors of the same document"):
        open_snapshot(tmp_path, state, [], None)
    known = open_snapshot(tmp_path, state.model_copy(update={"segments": records[:1]}), [], None)
    with pytest.raises(CorruptIndexError, match="hold vectors of the same document"):
        open_snapshot(tmp_path, state, [], known)


@pytest.mark.parametrize("deleted", [(), (1, 2, 120)])
@pytest.mark.parametrize("lists", [False, True])
def test_described_segments_keep_the_arrays_whose_addresses_they_have(snapshot_of, corpus, codec, lists, deleted):
    snapshot = snapshot_of(corpus, codec=codec, n_segments=2, lists=lists, deleted=deleted)
    described, kept = snapshot.described, {}
    for view, segment in zip(snapshot.views, described.segments, strict=True):
        found = {name: int(segment[name]) for name in segment.dtype.names}
        arrays = {"doc_offsets": view.segment.doc_offsets, **view.segment.columns}
        if view.alive is not None:
            arrays |= {"alive": view.alive, "live": view.live}
            kept |= {name: weakref.ref(array) for name, array in arrays.items()}
        sizes = {"n_documents": 150, "n_tokens": len(arrays["factors"]), "n_live": view.n_alive}
        if lists:
            arrays |= {"list_offsets": view.segment.lists[0], "postings": view.segment.lists[1]}
            sizes["n_postings"] = len(view.segment.lists[1])
        addresses = {name: array.__array_interface__["data"][0] for name, array in arrays.items()}
        assert found == dict.fromkeys(found, 0) | sizes | addresses
    del snapshot, view, arrays
    gc.collect()
    assert all(array() is not None for array in kept.values())
    del described
    gc.collect()
    assert all(array() is None for array in kept.values())
