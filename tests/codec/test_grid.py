from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from colbert_rag.codec.grid import BITS, grid
from colbert_rag.kernels.layout import MEMORY
from colbert_rag.kernels.rounding import level_numbers, round_on_trellis

# distortion of the best quantiser of a normal variable (Max 1960, table I)
BEST_DISTORTION = {1: 0.3634, 2: 0.1175, 4: 0.009497}
TRELLIS = (1, 2)


def standard_levels(bits, **options):
    """Levels in standard deviations: the largest scale belongs to a residual of length 2."""
    g = grid(bits, 64, **options)
    return g.levels * float(g.scales[-1]) * math.sqrt(64) / 2


def cell_mean(low, high):
    """Mean of a standard normal variable between two numbers."""

    def density(x):
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    return (density(low) - density(high)) / ((math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2)


@pytest.mark.parametrize("bits", BITS)
def test_levels_are_symmetric_and_do_not_fall(bits):
    levels = grid(bits, 64).levels
    assert levels.dtype == np.int16
    assert len(levels) == 2**bits * (2 if bits in TRELLIS else 1)
    np.testing.assert_array_equal(levels, -levels[::-1])
    assert (np.diff(levels) >= 0).all()
    assert levels[-1] == 127


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_levels_differ_from_each_other(bits):
    levels = grid(bits, 64).levels.tolist()
    assert len(set(levels)) == len(levels)


def test_one_bit_alone_stands_for_the_mean_of_half_a_normal_variable():
    expected = [-math.sqrt(2 / math.pi), math.sqrt(2 / math.pi)]
    np.testing.assert_allclose(standard_levels(1, on_trellis=False), expected, rtol=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_each_level_is_the_mean_of_its_cell(bits):
    """The fixed point that Lloyd and Max define, up to rounding to integers."""
    levels = standard_levels(bits, on_trellis=False)
    edges = [-math.inf, *((levels[1:] + levels[:-1]) / 2), math.inf]
    means = [cell_mean(a, b) for a, b in pairwise(edges)]
    np.testing.assert_allclose(levels, means, atol=levels[-1] / 127)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_distortion_is_that_of_the_best_quantiser(bits):
    x = np.linspace(-8, 8, 200_001)
    weight = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    borders = grid(bits, 64, on_trellis=False).borders
    rounded = standard_levels(bits, on_trellis=False)[np.searchsorted(borders, x)]
    np.testing.assert_allclose((weight * (x - rounded) ** 2).sum(), BEST_DISTORTION[bits], rtol=5e-3)


@pytest.fixture(scope="module")
def noise():
    """Residuals of 128 dimensions as after a random rotation."""
    drawn = np.random.default_rng(5).standard_normal((3_000, 128))
    return (drawn * math.sqrt(128) / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("bits", TRELLIS)
def test_each_level_of_a_trellis_is_the_mean_of_what_is_rounded_to_it(noise, bits):
    g = grid(bits, 128)
    numbers = level_numbers(round_on_trellis(noise, g, g.labels, bits), bits, 128, g.labels)
    means = np.bincount(numbers.ravel(), noise.ravel()) / np.bincount(numbers.ravel())
    np.testing.assert_allclose(g.points, means, atol=0.01)


@pytest.mark.parametrize("bits", TRELLIS)
def test_a_trellis_leaves_less_error_than_the_best_levels_for_single_dimensions(noise, bits):
    """A sixth less at one bit, a quarter at two; no code of that rate leaves less than ``4 ** -bits``."""
    g = grid(bits, 128)
    numbers = level_numbers(round_on_trellis(noise, g, g.labels, bits), bits, 128, g.labels)
    error = ((noise - g.points[numbers]) ** 2).mean()
    assert 4.0**-bits < error < 0.86 * BEST_DISTORTION[bits]


@pytest.mark.parametrize("bits", BITS)
def test_borders_lie_halfway_between_levels(bits):
    levels = standard_levels(bits)
    np.testing.assert_allclose(grid(bits, 64).borders, (levels[1:] + levels[:-1]) / 2, atol=1e-6)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [8, 100, 1024])
def test_tables_rise_and_have_a_value_for_every_byte(bits, dim):
    g = grid(bits, dim)
    for table, borders in ((g.scales, g.scale_borders), (g.norms, g.norm_borders)):
        assert table.shape == (256,)
        assert (np.diff(table) > 0).all()
        assert ((table[:-1] < borders) & (borders < table[1:])).all()
    assert g.scales[0] == 0


@pytest.mark.parametrize("bits", BITS)
def test_a_byte_of_codes_stands_for_levels_most_significant_bits_first(bits):
    g = grid(bits, 64, on_trellis=False)
    for byte in (0, 1, 0b10110010, 255):
        digits = f"{byte:08b}"
        numbers = [int(digits[i : i + bits], 2) for i in range(0, 8, bits)]
        assert g.byte_levels[byte].tolist() == [int(g.levels[n]) for n in numbers]


@pytest.mark.parametrize("bits", TRELLIS)
def test_a_byte_on_a_trellis_stands_for_levels_by_the_low_bits_of_the_one_before(bits):
    g, dims = grid(bits, 64), 8 // bits
    for before, byte in np.random.default_rng(1).integers(0, 256, (50, 2)):
        numbers = level_numbers(np.array([[before, byte]], np.uint8), bits, 2 * dims, g.labels)[0, dims:]
        row = before % 2**MEMORY * 256 + byte
        assert g.byte_levels[row].tolist() == g.levels[numbers].tolist()
