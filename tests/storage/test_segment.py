from __future__ import annotations

import numpy as np
import pytest

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage import Segment, SegmentWriter, fresh_name
from colbert_rag.storage import segment as segments
from colbert_rag.storage.lists import build_lists

K = 5
COUNTS = (3, 1, 4)
KEYS = (4, 9, 11)
PLAIN = {"vectors": ("float16", (2,))}
PACKED = {"centroid_ids": ("uint16", ()), "codes": ("uint8", (1,)), "factors": ("uint8", (2,))}
N_TOKENS = sum(COUNTS)
VECTORS = np.linspace(-1, 1, 2 * N_TOKENS, dtype=np.float16).reshape(N_TOKENS, 2)
IDS = np.array([0, 4, 1, 1, 2, 0, 4, 4], np.uint16)
OFFSETS = np.array([0, 3, 4, 8], np.int64)
# the second document has a token that takes more than a byte of span
SPANS = [
    np.array([[0, 2], [2, 3], [4, 9]], np.int32),
    np.array([[1_000, 1_050]], np.int32),
    np.array([[0, 0], [0, 5], [6, 7], [7, 7]], np.int32),
]


@pytest.fixture
def plain(tmp_path):
    """Record of a segment with plain vectors."""
    writer = SegmentWriter(tmp_path, None)
    writer.append(KEYS[:1], SPANS[:1], {"vectors": VECTORS[:3]})
    writer.append(KEYS[1:], SPANS[1:], {"vectors": VECTORS[3:]})
    return writer.finish()


@pytest.fixture
def packed(tmp_path):
    """Record of a segment with compressed tokens and inverted lists."""
    writer = SegmentWriter(tmp_path, "codec-1")
    columns = {"centroid_ids": IDS, "codes": np.zeros((8, 1), np.uint8), "factors": np.zeros((8, 2), np.uint8)}
    writer.append(KEYS, SPANS, columns)
    return writer.finish(build_lists(IDS, OFFSETS, K))


def open_plain(tmp_path, record):
    return Segment.open(tmp_path, record, PLAIN, 0)


def open_packed(tmp_path, record):
    return Segment.open(tmp_path, record, PACKED, K)


def test_fresh_names_differ_and_say_what_they_are():
    names = {fresh_name("segment") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("segment-") for name in names)


def test_a_segment_comes_back_as_it_was_written(tmp_path, plain):
    segment = open_plain(tmp_path, plain)
    assert (plain.n_documents, plain.n_tokens, plain.n_escapes, plain.posting_bytes) == (3, N_TOKENS, 1, None)
    assert segment.doc_keys.tolist() == list(KEYS)
    np.testing.assert_array_equal(segment.doc_offsets, OFFSETS)
    np.testing.assert_array_equal(segment.columns["vectors"], VECTORS)
    assert segment.lists is None
    for n, spans in enumerate(SPANS):
        np.testing.assert_array_equal(segment.spans([n]), spans)


def test_compressed_columns_and_lists_come_back_as_they_were_written(tmp_path, packed):
    segment = open_packed(tmp_path, packed)
    np.testing.assert_array_equal(segment.columns["centroid_ids"], IDS)
    for found, expected in zip(segment.lists, build_lists(IDS, OFFSETS, K), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert packed.posting_bytes == len(segment.lists[1])
    assert packed.codec == "codec-1"


def test_every_array_of_a_segment_is_read_only(tmp_path, packed):
    segment = open_packed(tmp_path, packed)
    arrays = [segment.doc_keys, segment.doc_offsets, *segment.columns.values(), *segment.lists]
    assert not any(array.flags.writeable for array in arrays)


def test_positions_are_those_of_the_keys_that_are_here(tmp_path, plain):
    segment = open_plain(tmp_path, plain)
    assert segment.positions(np.array([1, 4, 10, 11, 99], np.int64)).tolist() == [0, 2]
    assert segment.positions(np.array([], np.int64)).tolist() == []


def test_a_closed_writer_leaves_files_that_no_segment_opens(tmp_path):
    writer = SegmentWriter(tmp_path, None)
    writer.append(KEYS, SPANS, {"vectors": VECTORS})
    writer.close()
    files = list((tmp_path / writer.name).iterdir())
    assert files
    assert not any(path.read_bytes().startswith(b"\x93NUMPY") for path in files)


@pytest.mark.parametrize("name", ["doc_keys", "doc_offsets", "vectors", "spans", "escape_tokens", "escape_spans"])
def test_a_segment_without_one_of_its_files_is_corrupt(tmp_path, plain, name):
    unnamed = plain.model_copy(update={"files": {k: v for k, v in plain.files.items() if k != name}})
    with pytest.raises(CorruptIndexError, match=f"names no file for '{name}'"):
        open_plain(tmp_path, unnamed)
    (tmp_path / plain.name / f"{name}.npy").unlink()
    with pytest.raises(CorruptIndexError, match=f"{name}.npy: missing"):
        open_plain(tmp_path, plain)


@pytest.mark.parametrize(
    "change", [{"n_tokens": 9}, {"n_documents": 2}, {"n_escapes": 0}, {"n_tokens": 2**48}, {"n_documents": 0}]
)
def test_numbers_of_the_record_that_differ_from_the_files_are_corrupt(tmp_path, plain, change):
    with pytest.raises(CorruptIndexError, match="header differs"):
        open_plain(tmp_path, plain.model_copy(update=change))


def test_a_posting_size_that_differs_from_the_file_is_corrupt(tmp_path, packed):
    with pytest.raises(CorruptIndexError, match=r"postings\.npy: the array header differs"):
        open_packed(tmp_path, packed.model_copy(update={"posting_bytes": 1}))


def test_lists_of_another_number_of_centroids_are_corrupt(tmp_path, packed):
    with pytest.raises(CorruptIndexError, match=r"list_offsets\.npy: the array header differs"):
        Segment.open(tmp_path, packed, PACKED, K + 1)


FAR = 2**63 - 1

# offsets whose differences wrap around to positive numbers in 64 bits
WRAPPED = [0, FAR, -2, N_TOKENS]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("doc_offsets", [0, 3, 2, 8]),
        ("doc_offsets", [0, 3, 3, 8]),
        ("doc_offsets", [1, 3, 4, 8]),
        ("doc_offsets", [0, 3, 4, 7]),
        ("doc_offsets", [0, 3, 4, 9]),
        ("doc_offsets", [0, -1, 4, 8]),
        ("doc_offsets", [0, 3, FAR, 8]),
        ("doc_offsets", WRAPPED),
        ("doc_keys", [4, 3, 11]),
        ("doc_keys", [4, 4, 11]),
        ("doc_keys", [FAR, -FAR, 0]),
        ("escape_tokens", [-1]),
        ("escape_tokens", [8]),
        ("escape_tokens", [FAR]),
    ],
)
def test_numbers_out_of_range_are_corrupt(tmp_path, plain, rewrite, name, numbers):
    rewrite(tmp_path / plain.name / f"{name}.npy", np.array(numbers, np.int64))
    with pytest.raises(CorruptIndexError, match=f"out of range in {name}"):
        open_plain(tmp_path, plain)


@pytest.mark.parametrize("ids", [[5, *IDS[1:]], [*IDS[:-1], 65_535]])
def test_a_centroid_id_that_is_not_below_k_is_corrupt(tmp_path, packed, rewrite, ids):
    rewrite(tmp_path / packed.name / "centroid_ids.npy", np.array(ids, np.uint16))
    with pytest.raises(CorruptIndexError, match="out of range in centroid_ids"):
        open_packed(tmp_path, packed)


@pytest.mark.parametrize("damage", ["first", "last", "falling", "wrapping"])
def test_list_offsets_out_of_range_are_corrupt(tmp_path, packed, rewrite, damage):
    bounds = build_lists(IDS, OFFSETS, K)[0].copy()
    if damage == "first":
        bounds[0] = 1
    elif damage == "last":
        bounds[-1] += 1
    elif damage == "falling":
        bounds[1], bounds[2] = bounds[2] + 1, bounds[1]
    else:
        bounds[1:3] = FAR, -2
    rewrite(tmp_path / packed.name / "list_offsets.npy", bounds)
    with pytest.raises(CorruptIndexError, match="out of range in list_offsets"):
        open_packed(tmp_path, packed)


def test_all_that_is_out_of_range_is_named_with_the_folder(tmp_path, plain, rewrite):
    rewrite(tmp_path / plain.name / "doc_offsets.npy", np.array([0, 3, 2, 8], np.int64))
    rewrite(tmp_path / plain.name / "doc_keys.npy", np.array([3, 2, 1], np.int64))
    with pytest.raises(CorruptIndexError, match=f"{plain.name}: numbers out of range in doc_offsets, doc_keys"):
        open_plain(tmp_path, plain)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65_504, -1.1])
def test_a_vector_that_is_too_long_is_corrupt(tmp_path, plain, rewrite, value):
    wrong = VECTORS.copy()
    wrong[3, 1] = value
    rewrite(tmp_path / plain.name / "vectors.npy", wrong)
    with pytest.raises(CorruptIndexError, match="out of range in vectors"):
        open_plain(tmp_path, plain)


@pytest.mark.parametrize("escape", [[2**31 - 1, -(2**31)], [5, 4], [-1, 4]])
def test_a_span_that_no_text_has_is_corrupt_where_it_is_read(tmp_path, plain, rewrite, escape):
    rewrite(tmp_path / plain.name / "escape_spans.npy", np.array([escape], np.int32))
    segment = open_plain(tmp_path, plain)
    assert [len(segment.spans([n])) for n in (0, 2)] == [3, 4]
    with pytest.raises(CorruptIndexError, match="spans that are negative or fall"):
        segment.spans([1])


def test_any_byte_of_spans_is_read_as_rising_spans(tmp_path, plain, rewrite):
    """Whether they lie in the text is for those to check who have the text."""
    rewrite(tmp_path / plain.name / "spans.npy", np.full(N_TOKENS, 0xFF, np.uint8))
    segment = open_plain(tmp_path, plain)
    assert [len(segment.spans([n])) for n in range(3)] == list(COUNTS)


def test_a_file_that_a_segment_does_not_have_is_corrupt(tmp_path, plain):
    for files in ({"more": plain.files["spans"]}, {"spans": plain.files["doc_keys"]}):
        with pytest.raises(CorruptIndexError, match="which a segment of this kind does not have"):
            open_plain(tmp_path, plain.model_copy(update={"files": plain.files | files}))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 16, 17])
def test_numbers_that_do_not_rise_are_found_in_every_block(monkeypatch, n):
    monkeypatch.setattr(segments, "_BLOCK_ROWS", 8)
    assert segments._is_rising(np.arange(n))
    for place in range(1, n):
        numbers = np.arange(n)
        numbers[place] = numbers[place - 1]
        assert not segments._is_rising(numbers)
