"""Packing in torch, on the processor, against the specification."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_rag.codec.device.quantising import DeviceGrid, quantise
from colbert_rag.codec.grid import BITS, grid
from colbert_rag.kernels import reference

CPU = torch.device("cpu")


@pytest.mark.parametrize("on_trellis", [True, False])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("n", "dim"), [(1, 128), (33, 100), (200, 48), (5, 7)])
def test_codes_and_factors_equal_the_specification(clustered, n, dim, bits, on_trellis):
    """But for sums that are rounded to the two sides of a border, which few are."""
    vectors, centroids = clustered(n, dim), clustered(n, dim, seed=1)
    g = grid(bits, dim, on_trellis=on_trellis)
    there = DeviceGrid.load(g, CPU)
    codes, factors = (part.numpy() for part in quantise(*map(torch.from_numpy, (vectors, centroids)), there, bits))
    expected = reference.quantise(vectors, centroids, g, bits)
    assert (codes.dtype, codes.shape) == (expected[0].dtype, expected[0].shape)
    same = (codes == expected[0]).all(axis=1)
    assert same.mean() > 0.95
    assert np.abs(factors[same].astype(int) - expected[1][same]).max() <= 1


@pytest.mark.parametrize("bits", BITS)
def test_a_vector_that_is_its_centroid_has_no_residual(clustered, bits):
    rows = torch.from_numpy(clustered(3, 48))
    _, factors = quantise(rows, rows, DeviceGrid.load(grid(bits, 48), CPU), bits)
    assert (factors[:, 0] == 0).all()
