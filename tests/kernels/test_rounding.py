from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from colbert_rag.codec.grid import BITS, grid
from colbert_rag.kernels import rounding

TRELLIS = [bits for bits in BITS if grid(bits, 8).labels is not None]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [1, 7, 8, 100])
def test_unpacking_inverts_packing(rng, dim, bits):
    for n in (0, 5):
        levels = rng.integers(0, 2**bits, (n, dim)).astype(np.uint8)
        packed = rounding.pack_codes(levels, bits)
        assert packed.shape == (n, -(-dim * bits // 8))
        np.testing.assert_array_equal(rounding.unpack_codes(packed, bits, dim), levels)


def test_codes_are_packed_most_significant_bits_first():
    assert rounding.pack_codes(np.array([[1, 2, 3]], np.uint8), 4).tolist() == [[0x12, 0x30]]
    assert rounding.pack_codes(np.array([[1, 0, 0, 0, 0, 0, 0, 0, 1]], np.uint8), 1).tolist() == [[0x80, 0x80]]


@pytest.mark.parametrize("bits", TRELLIS)
def test_of_all_codes_those_on_a_trellis_are_of_the_nearest_levels(rng, bits):
    """Six dimensions have few enough codes to try them all."""
    dim, g = 6, grid(bits, 6)
    unit = rng.standard_normal((40, dim)).astype(np.float32)
    every = np.array([list(raw) for raw in product(range(256), repeat=-(-dim * bits // 8))], np.uint8)
    points = g.points[rounding.level_numbers(every, bits, dim, g.labels)]
    best = [((points - row) ** 2).sum(axis=1).min() for row in unit]
    codes = rounding.round_on_trellis(unit, g, g.labels, bits)
    found = ((g.points[rounding.level_numbers(codes, bits, dim, g.labels)] - unit) ** 2).sum(axis=1)
    np.testing.assert_allclose(found, best, rtol=1e-5)


def test_a_byte_on_a_trellis_has_its_choices_above_its_path():
    """Written out by hand for the parity checks 1011 and 0100, which read the newest bit lowest."""
    labels = grid(2, 8).labels
    # path 1, 0, 1, 1 and choices 0, 1, 1, 0
    path, choices = [1, 0, 1, 1], [0, 1, 1, 0]
    high = [1, 0 ^ 1, 1 ^ 0, 1 ^ 1 ^ 1]
    low = [0, 0, 1, 0]
    expected = [4 * c + 2 * h + z for c, h, z in zip(choices, high, low, strict=True)]
    assert rounding.level_numbers(np.array([[0b0110_1011]], np.uint8), 2, 4, labels)[0].tolist() == expected
    assert path == [0b1011 >> 3 - n & 1 for n in range(4)]


@pytest.mark.parametrize("bits", TRELLIS)
def test_the_next_byte_depends_on_the_path_of_the_one_before(bits):
    g = grid(bits, 16)
    dims = 8 // bits
    codes = np.array([[before, 0] for before in range(256)], np.uint8)
    numbers = rounding.level_numbers(codes, bits, 2 * dims, g.labels)[:, dims:]
    assert len({tuple(row) for row in numbers.tolist()}) == len(g.labels)


@pytest.mark.parametrize("bits", TRELLIS)
def test_padding_bits_of_a_last_byte_are_zero(rng, bits):
    dims = 8 // bits
    g = grid(bits, dims + 1)
    codes = rounding.round_on_trellis(rng.standard_normal((50, dims + 1)).astype(np.float32), g, g.labels, bits)
    used = sum(1 << place for place in (dims - 1, *range(8 - bits + 1, 8)))
    assert codes.shape == (50, 2)
    assert not (codes[:, 1] & (255 ^ used)).any()
    assert codes[:, 1].any()


@pytest.mark.parametrize("bits", BITS)
def test_quantised_scale_is_the_least_squares_one(unit_rows, bits):
    vectors, centroids = unit_rows(50, 64), unit_rows(50, 64)
    g = grid(bits, 64)
    codes, factors = rounding.quantise(vectors, centroids, g, bits)
    z = g.levels[rounding.level_numbers(codes, bits, 64, g.labels)].astype(np.float64)
    residuals = (vectors - centroids).astype(np.float64)
    best = (z * residuals).sum(axis=1) / (z * z).sum(axis=1)
    # neighbours in the table of scales are 7 / 254 of an octave apart
    np.testing.assert_allclose(g.scales[factors[:, 0]], best, rtol=2 ** (7 / 254) - 1)
