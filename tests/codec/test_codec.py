from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from colbert_rag.codec import Codec, EncodedTokens, train_codec
from colbert_rag.codec.grid import BITS
from colbert_rag.kernels import blocked_query, reference
from colbert_rag.kernels.layout import LANES

# mean and worst cosine of 1,000 clustered vectors with their decoded form; measured, less a margin
COSINE = {1: (0.91, 0.65), 2: (0.97, 0.88), 4: (0.998, 0.98), 8: (0.9999, 0.998)}


@pytest.fixture(scope="module")
def codecs(clustered):
    """``codecs(dim, bits)``: trained once for each shape."""
    trained = {}

    def codecs(dim, bits):
        if (dim, bits) not in trained:
            trained[dim, bits] = train_codec(clustered(2_000, dim), n_centroids=64, bits=bits)
        return trained[dim, bits]

    return codecs


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [48, 100, 128])
def test_decoded_vectors_are_close_to_what_was_encoded(codecs, clustered, dim, bits):
    vectors, codec = clustered(1_000, dim, seed=1), codecs(dim, bits)
    cosines = (codec.decode(codec.encode(vectors)) * vectors).sum(axis=1)
    mean, worst = COSINE[bits]
    assert cosines.mean() > mean
    assert cosines.min() > worst


def test_error_falls_with_every_bit_width(codecs, clustered):
    vectors = clustered(1_000, 96, seed=2)
    errors = []
    for bits in BITS:
        codec = codecs(96, bits)
        errors.append(float(((codec.decode(codec.encode(vectors)) - vectors) ** 2).sum(axis=1).mean()))
    assert errors == sorted(errors, reverse=True)
    assert all(later < earlier / 2 for earlier, later in pairwise(errors))


@pytest.mark.parametrize(("bits", "tolerance"), [(1, 0.02), (2, 0.01), (4, 0.005), (8, 0.005)])
@pytest.mark.parametrize("dim", [100, 128])
def test_decoded_rows_have_unit_length(codecs, clustered, dim, bits, tolerance):
    """With few bits a token may be rebuilt so long that its reciprocal norm lies below the table."""
    codec = codecs(dim, bits)
    decoded = codec.decode(codec.encode(clustered(1_000, dim, seed=3)))
    lengths = np.linalg.norm(decoded, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=tolerance)
    assert np.quantile(np.abs(lengths - 1), 0.95) < 0.002


@pytest.mark.parametrize("bits", BITS)
def test_shapes_and_types_are_those_of_the_file_format(codecs, clustered, bits):
    codec = codecs(100, bits)
    tokens = codec.encode(clustered(9, 100))
    assert (codec.dim, codec.n_centroids) == (100, 64)
    assert tokens.centroid_ids.dtype == codec.id_dtype == np.uint16
    assert (tokens.codes.dtype, tokens.codes.shape) == (np.uint8, (9, codec.code_bytes))
    assert codec.code_bytes == -(-100 * bits // 8)
    assert (tokens.factors.dtype, tokens.factors.shape) == (np.uint8, (9, 2))


def test_ids_above_65536_centroids_take_four_bytes():
    rotation = np.eye(2, dtype=np.float32)
    assert Codec(np.zeros((65_536, 2), np.float32), rotation, 4).id_dtype == np.uint16
    assert Codec(np.zeros((65_537, 2), np.float32), rotation, 4).id_dtype == np.uint32


@pytest.mark.parametrize("bits", BITS)
def test_encoding_is_nearest_centroid_and_the_reference_quantiser(codecs, clustered, bits):
    codec, vectors = codecs(48, bits), clustered(300, 48, seed=4)
    tokens = codec.encode(vectors)
    rotated = vectors @ codec.rotation
    similarity = rotated @ codec.centroids.T
    chosen = similarity[np.arange(300), tokens.centroid_ids]
    np.testing.assert_allclose(chosen, similarity.max(axis=1), atol=1e-6)
    codes, _ = reference.quantise(rotated, codec.centroids[tokens.centroid_ids], codec.grid, bits)
    assert (codes == tokens.codes).mean() > 0.99


@pytest.mark.parametrize("bits", BITS)
def test_decoding_follows_the_formula_of_the_reference(codecs, clustered, bits):
    codec = codecs(48, bits)
    tokens = codec.encode(clustered(50, 48, seed=5))
    z = codec.grid.levels[reference.level_numbers(tokens.codes, bits, 48, codec.grid.labels)].astype(np.float64)
    scales, norms = codec.grid.scales[tokens.factors[:, :1]], codec.grid.norms[tokens.factors[:, 1:]]
    rebuilt = (codec.centroids[tokens.centroid_ids] + scales * z) * norms
    np.testing.assert_allclose(codec.decode_rotated(tokens), rebuilt, atol=1e-6)
    np.testing.assert_allclose(codec.decode(tokens), rebuilt @ codec.rotation.T.astype(np.float64), atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2])
def test_codes_of_earlier_versions_are_read_and_scored_as_they_were_written(codecs, clustered, bits):
    """Any bytes at all: the levels are those of the codes alone, whatever the byte before says."""
    codec, rng = replace(codecs(48, bits), on_trellis=False), np.random.default_rng(8)
    drawn = rng.integers(0, 256, (40, codec.code_bytes), np.uint8)
    tokens = EncodedTokens(np.arange(40).astype(np.uint16), drawn, rng.integers(100, 200, (40, 2), np.uint8))
    z = codec.grid.levels[reference.unpack_codes(drawn, bits, 48)].astype(np.float64)
    scales, norms = codec.grid.scales[tokens.factors[:, :1]], codec.grid.norms[tokens.factors[:, 1:]]
    rebuilt = (codec.centroids[tokens.centroid_ids] + scales * z) * norms
    np.testing.assert_allclose(codec.decode_rotated(tokens), rebuilt, atol=1e-5)
    query = clustered(5, 48, seed=8)
    found = np.empty((40, 5), np.float32)
    codec.similarities(blocked_query(codec.rotate(query)), tokens, found)
    np.testing.assert_allclose(found, rebuilt @ (query @ codec.rotation).T, atol=1e-4)


@pytest.mark.parametrize("bits", [1, 2])
def test_an_index_of_an_earlier_version_takes_new_vectors_in_its_own_codes(codecs, clustered, bits):
    codec, vectors = replace(codecs(48, bits), on_trellis=False), clustered(60, 48, seed=9)
    tokens = codec.encode(vectors)
    codes, _ = reference.quantise(vectors @ codec.rotation, codec.centroids[tokens.centroid_ids], codec.grid, bits)
    assert (codes == tokens.codes).mean() > 0.99
    on_trellis = codecs(48, bits).encode(vectors)
    assert (codes != on_trellis.codes).mean() > 0.5


@pytest.mark.parametrize("bits", BITS)
def test_a_vector_equal_to_its_centroid_comes_back_unchanged(codecs, bits):
    codec = codecs(48, bits)
    units = codec.centroids / np.linalg.norm(codec.centroids, axis=1, keepdims=True)
    exact = Codec(units.astype(np.float32), np.eye(48, dtype=np.float32), bits)
    decoded = exact.decode(exact.encode(units))
    np.testing.assert_allclose((decoded * units).sum(axis=1), 1, atol=0.003)
    assert not exact.encode(exact.centroids).factors[:, 0].any()


def test_encoding_in_pieces_gives_what_encoding_at_once_gives(codecs, clustered):
    """More rows than are assigned at once, and float16 as an index stores it."""
    codec, vectors = codecs(48, 4), clustered(2_100, 48, seed=6).astype(np.float16)
    whole = codec.encode(vectors)
    for part in (slice(0, 5), slice(2_040, 2_060)):
        piece = codec.encode(vectors[part])
        np.testing.assert_allclose(codec.decode(piece), codec.decode(whole)[part], atol=1e-4)


@pytest.mark.parametrize("bits", BITS)
def test_no_vectors_encode_to_nothing_and_back(codecs, bits):
    codec = codecs(100, bits)
    tokens = codec.encode(np.zeros((0, 100), np.float32))
    assert isinstance(tokens, EncodedTokens)
    assert codec.decode(tokens).shape == (0, 100)


@pytest.mark.parametrize("bits", BITS)
def test_a_quantised_query_is_within_half_a_step_of_the_rotated_one(codecs, clustered, bits):
    codec, query = codecs(100, bits), clustered(33, 100, seed=7)
    quantised = codec.quantise_query(query)
    np.testing.assert_allclose(quantised.rotated, query @ codec.rotation, atol=1e-6)
    integers = quantised.integers.reshape(33, -1)
    assert integers.shape[1] % LANES == 0
    assert 0 <= integers.shape[1] - codec.code_bytes * 8 // bits < LANES
    assert not integers[:, 100:].any()
    assert np.abs(integers).max() == 8_191
    error = np.abs(integers[:, :100] * quantised.scale[:, None].astype(np.float64) - quantised.rotated)
    assert (error <= 0.501 * quantised.scale[:, None]).all()


def test_a_zero_query_row_stays_zero(codecs):
    quantised = codecs(48, 4).quantise_query(np.zeros((2, 48), np.float32))
    assert not quantised.integers.any()
    assert quantised.scale.tolist() == [1, 1]
