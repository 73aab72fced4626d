"""A low-rank sum against fractions, and in any order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from colbert_rag.encoder.low_rank import add_low_rank, plus_low_rank


def matrices(scale, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 7, generator=generator)
    a, b = torch.randn(32, 7, generator=generator), torch.randn(5, 32, generator=generator)
    # a few numbers so small that float16 holds them only as subnormal ones
    b[:, ::5] *= 1e-5
    return weight, (a * scale).half(), (b * scale).half()


def added(weight, a, b, scaling=2.0):
    result = weight.clone()
    add_low_rank(result, a, b, scaling)
    return result


@pytest.mark.parametrize("scale", [0.01, 0.1, 0.5])
def test_the_sum_is_the_exact_one_rounded_once(scale):
    weight, a, b = matrices(scale)
    found = added(weight, a, b)
    for row in range(5):
        for column in range(7):
            products = [Fraction(float(b[row, k])) * Fraction(float(a[k, column])) for k in range(32)]
            exact = Fraction(float(weight[row, column])) + 2 * sum(products, Fraction(0))
            # fractions are rounded to float64 correctly, and float64 to float32 by NumPy
            assert found[row, column].item() == np.float32(float(exact))


@pytest.mark.parametrize("scale", [0.01, 0.5])
def test_without_torch_it_has_the_same_bits(scale):
    weight, a, b = matrices(scale)
    before = weight.clone()
    found = plus_low_rank(weight.numpy(), a.numpy(), b.numpy(), 2.0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, added(weight, a, b).numpy())
    assert torch.equal(weight, before)


def test_the_order_of_the_terms_is_of_no_importance():
    weight, a, b = matrices(0.5)
    expected = added(weight, a, b)
    for seed in range(20):
        order = torch.randperm(32, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(added(weight, a[order], b[:, order]), expected)


def test_a_weight_of_half_precision_keeps_its_type():
    weight, a, b = matrices(0.1)
    half = added(weight.half(), a, b)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), added(weight, a, b), atol=1e-2, rtol=0)
