from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.lib import format as npy

from colbert_rag.storage.array_header import DTYPES, HEADER_BYTES, array_header
from colbert_rag.storage.files import (
    write_array,
)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(0,), (7,), (10**12,), (10**12, 128)])
def test_numpy_reads_the_header_and_finds_the_data_behind_it(dtype, shape):
    header = array_header(np.dtype(dtype), shape)
    file = io.BytesIO(header)
    assert npy.read_magic(file) == (1, 0)
    assert npy.read_array_header_1_0(file) == (shape, False, np.dtype(dtype))
    assert file.tell() == len(header) == HEADER_BYTES


@pytest.mark.parametrize("dtype", [np.float64, np.complex64, "U4", np.bool_])
def test_types_that_are_not_stored_are_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match="are not stored"):
        write_array(tmp_path / "a.npy", np.zeros(3, dtype))
