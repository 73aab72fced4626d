from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from colbert_rag.codec.grid import BITS, grid
from colbert_rag.kernels import cpu, reference
from colbert_rag.kernels.compiling import Kernel
from colbert_rag.kernels.gelu import gelu
from colbert_rag.kernels.layout import LANES, WIDTH
from colbert_rag.kernels.maxsim import blocked_query

DIMS = (8, 48, 96, 100, 128)
QUERIES = (1, 31, 32, 33, 70)
DOCUMENTS = (0, 1, 7)
IDS = (np.uint16, np.uint32)
K = 50


def table_of(rng, n_query):
    """A uint8 table in blocks, padded with zeros as the kernel wants it."""
    n_blocks = -(-n_query // WIDTH)
    table = rng.integers(0, 256, (n_blocks, K, WIDTH), np.uint8)
    for q in range(n_query, n_blocks * WIDTH):
        table[q // WIDTH, :, q % WIDTH] = 0
    return table


def compressed(rng, n_tokens, dim, bits, ids=np.uint16):
    """Centroid ids, codes and factors that any codec could have written."""
    codes = rng.integers(0, 256, (n_tokens, -(-dim * bits // 8)), np.uint8)
    return rng.integers(0, K, n_tokens).astype(ids), codes, rng.integers(0, 256, (n_tokens, 2), np.uint8)


def asked(rng, n_query, dim, bits):
    """An integer query, padded for the kernel, its scale, the centroid scores, and a table."""
    query = rng.integers(-8191, 8192, (n_query, dim)).astype(np.int16)
    row = -(-dim * bits // 8) * 8 // bits
    padded = np.zeros((n_query, -(-row // LANES) * LANES), np.int16)
    padded[:, :dim] = query
    scale = rng.uniform(1e-5, 1e-4, n_query).astype(np.float32)
    centroid_scores = rng.uniform(-1, 1, (K, n_query)).astype(np.float32)
    return query, padded.reshape(-1), scale, centroid_scores, table_of(rng, n_query)


def fast_residual_scores(flat, scale, centroid_scores, table, tokens, starts, ends, bits, dim, slack=255):
    g = grid(bits, dim)
    out = np.full(len(starts), np.nan, np.float32)
    levels = (g.byte_levels, g.scales, g.norms)
    cpu.residual_scores(flat, scale, centroid_scores, table, np.uint8(slack), *levels, *tokens, starts, ends, out)
    return out


def fast_dot_scores(query, vectors, starts, ends):
    out = np.full(len(starts), np.nan, np.float32)
    cpu.dot_scores(blocked_query(query), len(query), vectors, starts, ends, out)
    return out


def fast_quantise(vectors, centroids, bits):
    g = grid(bits, vectors.shape[1])
    codes = np.full((len(vectors), -(-vectors.shape[1] * bits // 8)), 255, np.uint8)
    factors = np.full((len(vectors), 2), 255, np.uint8)
    z = np.full(vectors.shape, 999, np.int16)
    if g.labels is None:
        cpu.round_each(vectors, centroids, g.levels, g.borders, g.stretches, bits, z, codes)
    else:
        cpu.round_on_trellis(vectors, centroids, g.points, g.levels, g.labels, bits, z, codes)
    np.testing.assert_array_equal(z, g.levels[reference.level_numbers(codes, bits, vectors.shape[1], g.labels)])
    cpu.complete(vectors, centroids, z, g.scales, g.scale_borders, g.norm_borders, factors)
    return codes, factors


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("n_query", QUERIES)
def test_approximate_scores_equal_the_reference(rng, bounds, n_query, ids):
    table = table_of(rng, n_query)
    for n in DOCUMENTS:
        starts, ends = bounds(n)
        centroid_ids = rng.integers(0, K, max(ends, default=0)).astype(ids)
        out = np.full(n, np.iinfo(np.uint32).max, np.uint32)
        cpu.approximate_scores(table, centroid_ids, starts, ends, out)
        np.testing.assert_array_equal(out, reference.approximate_scores(table, centroid_ids, starts, ends))


def test_approximate_score_of_an_empty_document_is_zero(rng):
    out = np.full(1, 9, np.uint32)
    here = np.array([3], np.int64)
    cpu.approximate_scores(table_of(rng, 4), np.zeros(5, np.uint16), here, here, out)
    assert out.tolist() == [0]


def test_approximate_scores_find_the_best_token_at_every_place_of_a_document(rng):
    """One token of a document is better than all others: it counts wherever it lies in a step of four."""
    for length in range(1, 12):
        for place in range(length):
            ids = np.ones(length, np.uint16)
            ids[place] = 0
            table = np.zeros((1, K, WIDTH), np.uint8)
            table[0, 0], table[0, 1] = 200, 7
            out = np.zeros(1, np.uint32)
            cpu.approximate_scores(table, ids, np.array([0]), np.array([length]), out)
            assert out[0] == 200 * WIDTH


@pytest.mark.parametrize("n_query", QUERIES)
def test_a_score_table_equals_the_reference(rng, n_query):
    """Rounding may fall on two sides of a step."""
    scores = rng.uniform(-1, 1, (K, n_query)).astype(np.float32)
    found = np.full((-(-n_query // WIDTH), K, WIDTH), 77, np.uint8)
    cpu.score_table(scores, np.float32(0.8), found)
    expected = reference.score_table(scores, 0.8, WIDTH)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found.max(axis=1).reshape(-1)[:n_query] >= 254).all()
    assert not found.transpose(0, 2, 1).reshape(-1, K)[n_query:].any()


def test_the_best_centroid_has_the_highest_entry_however_high_its_score(rng):
    scores = (rng.random((K, WIDTH)) * 1e6).astype(np.float32)
    table = np.empty((1, K, WIDTH), np.uint8)
    cpu.score_table(scores, np.float32(0.8), table)
    assert (table[0][scores.argmax(axis=0), np.arange(WIDTH)] >= 254).all()


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", DIMS)
def test_residual_scores_equal_the_reference(rng, bounds, dim, bits):
    for ids, n_query, n in [(ids, q, n) for ids in IDS for q in QUERIES for n in DOCUMENTS]:
        starts, ends = bounds(n)
        tokens = compressed(rng, max(ends, default=0), dim, bits, ids)
        query, flat, scale, *scores = asked(rng, n_query, dim, bits)
        found = fast_residual_scores(flat, scale, *scores, tokens, starts, ends, bits, dim)
        expected = reference.residual_scores(query, scale, *scores, tokens, (starts, ends), grid(bits, dim), bits)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * n_query)


@pytest.mark.parametrize("slack", [0, 1, 30, 200, 254])
@pytest.mark.parametrize("n_query", QUERIES)
def test_residual_scores_pass_over_the_same_tokens_as_the_reference(rng, bounds, n_query, slack):
    dim, bits = 96, 4
    starts, ends = bounds(7)
    tokens = compressed(rng, max(ends), dim, bits)
    query, flat, scale, *scores = asked(rng, n_query, dim, bits)
    found = fast_residual_scores(flat, scale, *scores, tokens, starts, ends, bits, dim, slack)
    documents = (starts, ends)
    expected = reference.residual_scores(query, scale, *scores, tokens, documents, grid(bits, dim), bits, slack)
    complete = reference.residual_scores(query, scale, *scores, tokens, documents, grid(bits, dim), bits)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-3)
    assert (expected <= complete).all()


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [1, 7, *DIMS])
def test_a_residual_table_equals_the_reference(rng, unit_rows, dim, bits):
    for ids, n_query, n in [(ids, q, n) for ids in IDS for q in QUERIES for n in (0, 1, 2, 33)]:
        query, centroids, tokens = unit_rows(n_query, dim), unit_rows(K, dim), compressed(rng, n, dim, bits, ids)
        g, out = grid(bits, dim), np.full((n, n_query), np.nan, np.float32)
        cpu.residual_table(blocked_query(query), centroids, g.byte_levels, g.scales, g.norms, *tokens, out)
        np.testing.assert_allclose(out, reference.residual_table(query, centroids, tokens, g, bits), atol=2e-5)


def test_residual_scores_hold_the_largest_integers_of_1024_dimensions():
    """The sum of 1,024 products of the largest query and level numbers does not wrap around."""
    dim, bits = 1024, 8
    g = grid(bits, dim)
    table = np.zeros((1, 1, WIDTH), np.uint8)
    flat = np.full(dim, 8191, np.int16)
    tokens = (np.zeros(1, np.uint16), np.full((1, dim), 255, np.uint8), np.array([[255, 0]], np.uint8))
    one = np.ones(1, np.float32)
    zero = np.zeros((1, 1), np.float32)
    found = fast_residual_scores(flat, one, zero, table, tokens, np.array([0]), np.array([1]), bits, dim)
    expected = dim * 8191.0 * int(g.levels[-1]) * float(g.scales[255]) * float(g.norms[0])
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


@pytest.mark.parametrize("dim", DIMS)
def test_dot_scores_equal_the_reference(rng, bounds, unit_rows, dim):
    for n_query, n in [(q, n) for q in QUERIES for n in DOCUMENTS]:
        starts, ends = bounds(n)
        query, vectors = unit_rows(n_query, dim), unit_rows(max(ends, default=0), dim)
        found = fast_dot_scores(query, vectors, starts, ends)
        np.testing.assert_allclose(found, reference.dot_scores(query, vectors, starts, ends), atol=1e-6 * n_query)


def test_dot_scores_of_odd_dimensions_equal_the_reference(unit_rows, bounds):
    starts, ends = bounds(7)
    for dim in (1, 2, 3, 5, 7):
        query, vectors = unit_rows(33, dim), unit_rows(int(ends.max()), dim)
        found = fast_dot_scores(query, vectors, starts, ends)
        np.testing.assert_allclose(found, reference.dot_scores(query, vectors, starts, ends), atol=1e-4)


@pytest.mark.parametrize("dim", [1, 7, 8, 9, 128])
def test_float16_scores_are_those_of_the_same_numbers_in_float32(unit_rows, bounds, dim):
    starts, ends = bounds(7)
    query = unit_rows(33, dim)
    halves = unit_rows(int(ends.max()), dim).astype(np.float16)
    singles = halves.astype(np.float32)
    found = fast_dot_scores(query, halves.view(np.uint16), starts, ends)
    np.testing.assert_array_equal(found, fast_dot_scores(query, singles, starts, ends))
    tables = [np.full((len(halves), 33), np.nan, np.float32) for _ in range(2)]
    for vectors, table in zip((halves.view(np.uint16), singles), tables, strict=True):
        cpu.dot_table(blocked_query(query), vectors, table)
    np.testing.assert_array_equal(*tables)


def test_every_finite_float16_is_widened_exactly():
    numbers = np.arange(1 << 16, dtype=np.uint16)
    numbers = numbers[np.isfinite(numbers.view(np.float16))]
    table = np.full((len(numbers), 1), np.nan, np.float32)
    cpu.dot_table(blocked_query(np.ones((1, 1), np.float32)), numbers[:, None], table)
    np.testing.assert_array_equal(table[:, 0], numbers.view(np.float16).astype(np.float32))


@pytest.mark.parametrize("dim", [1, 3, *DIMS])
def test_dot_table_equals_the_reference(unit_rows, mapped, dim):
    for n_query, n in [(q, n) for q in QUERIES for n in (0, 1, 33)]:
        query, vectors = unit_rows(n_query, dim), unit_rows(n, dim)
        out = np.full((n, n_query), np.nan, np.float32)
        cpu.dot_table(blocked_query(query), vectors, out)
        np.testing.assert_allclose(out, reference.dot_table(query, vectors), atol=1e-6)
    again = np.full_like(out, np.nan)
    cpu.dot_table(mapped(blocked_query(query)), mapped(vectors), again)
    np.testing.assert_array_equal(again, out)


@pytest.mark.parametrize("shape", [(0,), (1,), (5, 7), (3, 1_000)])
def test_gelu_equals_the_reference(rng, shape):
    values = rng.normal(0, 3, shape).astype(np.float32)
    found = values.copy()
    gelu(found)
    np.testing.assert_allclose(found, reference.gelu(values), rtol=0, atol=3e-7)


def test_gelu_of_large_numbers_is_exact():
    found = np.float32([8, -8, 1e3, -1e3, 3e38, -3e38, 0])
    gelu(found)
    assert found.tolist() == np.float32([8, 0, 1e3, 0, 3e38, 0, 0]).tolist()


@pytest.mark.parametrize("n_query", QUERIES)
def test_equal_documents_have_bit_equal_scores_wherever_they_lie(rng, unit_rows, n_query):
    dim, bits, length, copies = 100, 2, 33, 12
    vectors = unit_rows(length, dim)
    tokens = compressed(rng, length, dim, bits)
    fillers = [1, 2, 3, 5, 31, 32, 33, 34, 63, 64, 7, 4]
    pieces, token_pieces, starts, position = [], [], [], 0
    for filler in fillers:
        pieces += [unit_rows(filler, dim), vectors]
        token_pieces += [compressed(rng, filler, dim, bits), tokens]
        starts.append(position + filler)
        position += filler + length
    starts = np.array(starts, np.int64)
    packed = tuple(np.concatenate(columns) for columns in zip(*token_pieces, strict=True))
    _, flat, scale, *scores = asked(rng, n_query, dim, bits)
    exact = fast_dot_scores(unit_rows(n_query, dim), np.concatenate(pieces), starts, starts + length)
    fast = fast_residual_scores(flat, scale, *scores, packed, starts, starts + length, bits, dim)
    assert len(exact) == len(fast) == copies
    assert len(set(exact.view(np.uint32).tolist())) == 1
    assert len(set(fast.view(np.uint32).tolist())) == 1


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", DIMS)
def test_quantise_equals_the_reference(unit_rows, rng, dim, bits):
    """Codes may differ where float32 and float64 fall on two sides of a border, and only there."""
    vectors = unit_rows(193, dim)
    noisy = vectors + 0.6 * unit_rows(193, dim)
    centroids = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    codes, factors = fast_quantise(vectors, centroids, bits)
    expected_codes, expected_factors = reference.quantise(vectors, centroids, grid(bits, dim), bits)
    assert (codes == expected_codes).mean() > 0.999
    same = (codes == expected_codes).all(axis=1)
    assert np.abs(factors[same].astype(int) - expected_factors[same]).max() <= 1
    assert (factors[same] == expected_factors[same]).mean() > 0.99


def test_quantise_writes_nothing_for_no_vectors(unit_rows):
    codes, factors = fast_quantise(unit_rows(0, 48), unit_rows(0, 48), 4)
    assert len(codes) == len(factors) == 0


@pytest.mark.parametrize("bits", BITS)
def test_a_zero_residual_has_the_scale_zero(unit_rows, bits):
    vectors = unit_rows(3, 48)
    codes, factors = fast_quantise(vectors, vectors, bits)
    assert factors[:, 0].tolist() == [0, 0, 0]
    expected_codes, expected_factors = reference.quantise(vectors, vectors, grid(bits, 48), bits)
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_array_equal(factors, expected_factors)


def test_padding_bits_of_a_last_byte_are_zero(unit_rows):
    codes, _ = fast_quantise(unit_rows(9, 100), unit_rows(9, 100), 1)
    assert codes.shape == (9, 13)
    assert not (codes[:, -1] & 0b1111).any()


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("n", DOCUMENTS)
def test_list_kernels_equal_the_inverted_lists_of_the_reference(rng, n, ids):
    offsets = np.concatenate([[0], np.cumsum([63, 1, 31, 32, 33, 63, 2][:n])]).astype(np.int64)
    centroid_ids = rng.integers(0, K, offsets[-1]).astype(ids)
    expected = reference.inverted_lists(centroid_ids, offsets, K)
    bounds, packed = lists_of(expected)
    sizes = np.zeros(K, np.int64)
    cpu.list_sizes(centroid_ids, offsets, np.full(K, -1, np.int64), sizes)
    np.testing.assert_array_equal(sizes, np.diff(bounds))
    found, cursor = np.full(len(packed), 77, np.uint8), bounds[:-1].copy()
    cpu.fill_lists(centroid_ids, offsets, np.full(K, -1, np.int64), cursor, found)
    np.testing.assert_array_equal(found, packed)
    np.testing.assert_array_equal(cursor, bounds[1:])


def base_128(steps):
    """Numbers as little-endian base 128, written the long way."""
    packed = bytearray()
    for step in steps:
        rest = step
        while rest > 127:
            packed.append(rest & 127 | 128)
            rest >>= 7
        packed.append(rest)
    return packed


def lists_of(members):
    """List offsets and packed postings from lists of rising document positions."""
    packed, offsets = bytearray(), [0]
    for documents in members:
        packed += base_128(np.diff(documents, prepend=0).tolist())
        offsets.append(len(packed))
    return np.array(offsets, np.int64), np.frombuffer(bytes(packed), np.uint8)


def run_probe(members, centroids, gains, n_documents):
    seen, totals = np.zeros(n_documents, np.uint32), np.zeros(n_documents, np.uint32)
    out = np.full(n_documents, np.iinfo(np.int64).max, np.int64)
    scores = np.full(n_documents, 77, np.uint32)
    count = cpu.probe(*lists_of(members), np.array(centroids, np.int64), gains, seen, totals, out, scores)
    assert not seen.any()
    assert not totals.any()
    assert count >= 0
    order = out[:count].argsort()
    return out[order], scores[order]


@pytest.mark.parametrize("n_query", [0, *QUERIES])
@pytest.mark.parametrize(("n_centroids", "n_best"), [(K, 1), (K, 2), (K, 7), (K, 60), (300, 64), (300, 65), (300, 300)])
def test_best_centroids_equal_the_reference(rng, n_query, n_centroids, n_best):
    for highest in (3, 256):
        table = rng.integers(0, highest, (max(1, -(-n_query // WIDTH)), n_centroids, WIDTH), np.uint8)
        # what fills up the last block is no query token
        table[-1, :, (n_query - 1) % WIDTH + 1 :] = 255
        centroids, entries = np.full((n_query, n_best), 99, np.int64), np.full((n_query, n_best), 99, np.uint8)
        cpu.best_centroids(table, centroids, entries)
        expected = reference.best_centroids(table, n_query, n_best)
        np.testing.assert_array_equal(centroids, expected[0])
        np.testing.assert_array_equal(entries, expected[1])


def test_probe_equals_the_reference(rng):
    n = 500
    members = [np.flatnonzero(rng.random(n) < share) for share in (0, 0.002, 0.1, 0.5, 1)]
    for centroids in (np.zeros((0, 3)), [[0]], [[4]], [[1, 2]], [[0, 1, 2], [3, 2, -1], [3, -1, -1]], [[3], [3]]):
        chosen = np.array(centroids, np.int64)
        gains = -np.sort(-rng.integers(0, 256, chosen.shape, np.uint8).astype(int), axis=1)
        found, expected = (
            run_probe(members, chosen, gains.astype(np.uint8), n),
            reference.probe(members, chosen, gains.astype(np.uint8)),
        )
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_probe_follows_gaps_of_one_to_four_bytes():
    gaps = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152]
    documents = np.unique(np.cumsum(gaps))
    gains = np.array([[5, 3]], np.uint8)
    found, scores = run_probe([documents[::2], documents], [[0, 1]], gains, int(documents[-1]) + 1)
    np.testing.assert_array_equal(found, documents)
    np.testing.assert_array_equal(scores, np.where(np.isin(documents, documents[::2]), 5, 3))


@pytest.mark.parametrize(
    "packed", [[1, 4, 0x80 | 127, 6], [6], [3, 0], [3, 0x80], [0x80] * 5 + [1], [0xFF] * 40, [0x80] * 40, [5, 127]]
)
def test_probe_says_that_a_list_is_damaged(packed):
    """Positions beyond the segment or that do not rise, numbers that do not end or have more than 35 bits."""
    seen, totals, scores = (np.zeros(6, np.uint32) for _ in range(3))
    out = np.full(6, -7, np.int64)
    lists = np.array([0, len(packed)], np.int64), np.array(packed, np.uint8)
    one = np.zeros((1, 1), np.int64), np.ones((1, 1), np.uint8)
    assert cpu.probe(*lists, *one, seen, totals, out, scores) == -1
    assert not seen.any()
    assert not totals.any()
    assert set(out.tolist()) <= {-7, 1, 3, 5}


def test_kernels_read_read_only_memory_maps(rng, unit_rows, bounds, mapped):
    starts, ends = bounds(7)
    n_tokens, bits, dim = int(ends.max()), 4, 96
    query, vectors = unit_rows(33, dim), unit_rows(n_tokens, dim)
    tokens = compressed(rng, n_tokens, dim, bits)
    _, flat, scale, *scores = asked(rng, 33, dim, bits)
    table = table_of(rng, 33)
    approximate = np.full((2, 7), 9, np.uint32)
    for out, ids in zip(approximate, (tokens[0], mapped(tokens[0])), strict=True):
        cpu.approximate_scores(table, ids, starts, ends, out)
    np.testing.assert_array_equal(*approximate)
    assert not mapped(vectors).flags.writeable
    np.testing.assert_array_equal(
        fast_dot_scores(query, vectors, starts, ends),
        fast_dot_scores(query, mapped(vectors), mapped(starts), mapped(ends)),
    )
    in_memory = fast_residual_scores(flat, scale, *scores, tokens, starts, ends, bits, dim)
    from_disk = tuple(mapped(column) for column in tokens)
    np.testing.assert_array_equal(
        in_memory, fast_residual_scores(flat, scale, *scores, from_disk, starts, ends, bits, dim)
    )


_ON_ANY_PROCESSOR = """
import sys
import numpy as np
from colbert_rag.kernels import cpu
with np.load(sys.argv[1]) as given:
    arguments = [given[f"arr_{n}"] for n in range(len(given))]
cpu.residual_scores(*arguments[:4], np.uint8(255), *arguments[4:])
np.save(sys.argv[2], arguments[-1])
"""


def test_codes_are_unpacked_alike_on_a_processor_of_which_nothing_is_known(rng, bounds, tmp_path):
    starts, ends = bounds(7)
    dim, bits = 100, 4
    tokens = compressed(rng, int(ends.max()), dim, bits)
    _, *given = asked(rng, 33, dim, bits)
    g = grid(bits, dim)
    arguments = (*given, g.byte_levels, g.scales, g.norms, *tokens, starts, ends)
    np.savez(tmp_path / "given.npz", *arguments, np.full(len(starts), np.nan, np.float32))
    generic = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", _ON_ANY_PROCESSOR, str(tmp_path / "given.npz"), str(tmp_path / "found.npy")]
    subprocess.run(command, env=generic, check=True)
    expected = fast_residual_scores(*given, tokens, starts, ends, bits, dim)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, rtol=1e-6)


def test_every_kernel_is_made_ready(monkeypatch):
    ready = []
    monkeypatch.setattr(Kernel, "make_ready", lambda kernel: ready.append(kernel.__name__))
    cpu.make_ready()
    assert sorted(ready) == sorted(set(cpu.__all__) - {"make_ready"})
