"""A packer on a device that is not there: torch's processor stands for it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from colbert_rag.codec import train_codec
from colbert_rag.codec.device import packing
from colbert_rag.codec.device.packing import DevicePacker
from colbert_rag.errors import DeviceError


@pytest.fixture
def packer():
    """``packer(may_fall_back=...)``."""

    def packer(**options):
        return DevicePacker(torch.device("cpu"), **{"may_fall_back": False, "fewest_rows": 0} | options)

    return packer


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_vectors_are_compressed_as_the_processor_does_it(clustered, packer, bits, monkeypatch):
    monkeypatch.setattr(packing, "_ROWS", 100)
    vectors = clustered(250, 48)
    codec = train_codec(vectors, n_centroids=16, bits=bits)
    ours, theirs = packer().prepared(codec).encode(vectors.astype(np.float16)), codec.encode(vectors.astype(np.float16))
    for name in ("centroid_ids", "codes", "factors"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert (found == expected).mean() > 0.97
    cosines = (codec.decode(ours) * vectors).sum(axis=1), (codec.decode(theirs) * vectors).sum(axis=1)
    assert cosines[0].mean() == pytest.approx(cosines[1].mean(), abs=1e-4)


def test_few_rows_are_packed_by_the_processor(clustered, packer, monkeypatch):
    monkeypatch.setattr(packing, "quantise", None)
    codec = train_codec(clustered(200, 16), n_centroids=16, bits=4)
    assert len(packer(fewest_rows=11).prepared(codec).encode(clustered(10, 16)).codes) == 10


def test_a_codec_is_trained_on_the_device(clustered, packer, monkeypatch):
    monkeypatch.setattr(packing, "faiss_sees_gpu", lambda: False)
    vectors = clustered(2_000, 48)
    codec = train_codec(vectors, n_centroids=64, bits=4, clustering=packer().clustering)
    assert ((vectors @ codec.rotation) @ codec.centroids.T).max(axis=1).mean() > 0.7
    np.testing.assert_array_equal(codec.centroids, codec.centroids.astype(np.float16).astype(np.float32))


def test_faiss_trains_where_it_sees_a_gpu(clustered, packer, monkeypatch):
    monkeypatch.setattr(packing, "faiss_sees_gpu", lambda: True)
    monkeypatch.setattr(packing, "spherical_kmeans", lambda points, k, seed: points[:k])
    points = clustered(20, 16)
    np.testing.assert_array_equal(packer().clustering(points, 4, 0), points[:4])


def test_a_device_that_compresses_badly_is_not_believed(clustered, packer, monkeypatch, caplog):
    original = packing.quantise
    monkeypatch.setattr(packing, "quantise", lambda *args: (original(*args)[0].flip(0), original(*args)[1]))
    vectors = clustered(300, 48)
    codec = train_codec(vectors, n_centroids=16, bits=4)
    with pytest.raises(DeviceError, match="resemble the originals"):
        packer().prepared(codec).encode(vectors)
    tokens = packer(may_fall_back=True).prepared(codec).encode(vectors)
    np.testing.assert_array_equal(tokens.codes, codec.encode(vectors).codes)
    [said] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "processor compresses from now on" in said.getMessage()


def test_a_device_that_fails_is_an_error_where_it_was_named(clustered, packer, monkeypatch):
    def fails(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(packing, "nearest", fails)
    codec = train_codec(clustered(200, 16), n_centroids=16, bits=4)
    with pytest.raises(DeviceError, match=r"out of memory.*Nothing was written"):
        packer().prepared(codec).encode(clustered(100, 16))
