"""Packing on a device, which is compared with the processor before it is believed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from colbert_rag.codec.clustering import faiss_sees_gpu, spherical_kmeans
from colbert_rag.codec.codec import Codec, EncodedTokens
from colbert_rag.codec.device.clustering import kmeans, nearest
from colbert_rag.codec.device.quantising import DeviceGrid, quantise
from colbert_rag.codec.nearest import Vectors
from colbert_rag.errors import DeviceError
from colbert_rag.types import Float32Array

__all__ = ["DeviceCodec", "DevicePacker"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

# rows that go through at once: what a trellis of 128 dimensions keeps of them is about 300 MB
_ROWS = 16_384
# fewer rows are packed by the processor; an estimate, since no GPU has packed any
FEWEST_ROWS_ESTIMATE = 2_048
# rows that both pack before the first is believed, and how much less like their vectors the device's may be on average
_COMPARED = 256
_LOSS = 1e-3


class DevicePacker:
    """Trains and packs on a device.

    Args:
        device: Where.
        may_fall_back: Whether the processor goes on, with a WARNING, where the device fails; an error otherwise.
        fewest_rows: Fewer are packed by the processor.
    """

    def __init__(self, device: torch.device, *, may_fall_back: bool, fewest_rows: int = FEWEST_ROWS_ESTIMATE) -> None:
        self.device = device
        self.fewest_rows = fewest_rows
        self._may_fall_back = may_fall_back
        self._has_failed = False
        self._compared: set[tuple[Any, ...]] = set()

    def is_new(self, kind: tuple[Any, ...]) -> bool:
        """Whether codecs of this kind have yet to be compared with the processor; asked once."""
        is_new = kind not in self._compared
        self._compared.add(kind)
        return is_new

    def clustering(self, points: Vectors, k: int, seed: int) -> Float32Array:
        """Through faiss where it sees a GPU, else in torch on the device."""
        if faiss_sees_gpu():
            return spherical_kmeans(points, k, seed)
        return self.attempt(lambda: kmeans(points, k, seed, self.device), lambda: spherical_kmeans(points, k, seed))

    def prepared(self, codec: Codec) -> Codec:
        """The codec, which compresses on the device."""
        return DeviceCodec(codec.centroids, codec.rotation, codec.bits, codec.on_trellis, codec.group_size, packer=self)

    def attempt(self, work: Callable[[], T], instead: Callable[[], T]) -> T:
        """Do something on the device, or the other thing where that fails or has failed.

        Raises:
            DeviceError: it fails and the processor may not go on.
        """
        if self._has_failed:
            return instead()
        try:
            return work()
        except Exception as err:
            if not self._may_fall_back:
                if isinstance(err, DeviceError):
                    raise
                msg = (
                    f"{self.device}: compressing there failed ({type(err).__name__}: {err}). Nothing was written. "
                    'Take device="cpu", or "auto", which falls back to it.'
                )
                raise DeviceError(msg) from err
            _log.warning("%s: the processor compresses from now on. %s: %s", self.device, type(err).__name__, err)
            self._has_failed = True
            return instead()


@dataclass(frozen=True)
class DeviceCodec(Codec):
    """A codec that compresses on the device of its packer; all else is done by the processor."""

    packer: DevicePacker = field(kw_only=True, compare=False)

    def encode(self, vectors: NDArray[np.floating[Any]]) -> EncodedTokens:
        """Compress ``(T, D)`` unit vectors."""
        if len(vectors) < self.packer.fewest_rows:
            return super().encode(vectors)
        return self.packer.attempt(
            lambda: self._encoded_there(vectors), lambda: super(DeviceCodec, self).encode(vectors)
        )

    def _encoded_there(self, vectors: NDArray[np.floating[Any]]) -> EncodedTokens:
        if self.packer.is_new((self.bits, self.dim, self.on_trellis)):
            self._compare(vectors[:_COMPARED])
        parts = [self._part(vectors[a : a + _ROWS]) for a in range(0, len(vectors), _ROWS)]
        ids, codes, factors = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return EncodedTokens(ids.astype(self.id_dtype), codes, factors)

    def _part(self, vectors: NDArray[np.floating[Any]]) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.uint8]]:
        """Ids, codes and factors of some rows."""
        centroids, rotation, grid = self._there
        rows = torch.from_numpy(np.array(vectors, np.float32)).to(self.packer.device)
        rotated = rows @ rotation
        ids = nearest(rotated, centroids)
        codes, factors = quantise(rotated, centroids[ids], grid, self.bits)
        return ids.cpu().numpy(), codes.cpu().numpy(), factors.cpu().numpy()

    @cached_property
    def _there(self) -> tuple[torch.Tensor, torch.Tensor, DeviceGrid]:
        device = self.packer.device
        centroids, rotation = (torch.from_numpy(a.copy()).to(device) for a in (self.centroids, self.rotation))
        return centroids, rotation, DeviceGrid.load(self.grid, device)

    def _compare(self, vectors: NDArray[np.floating[Any]]) -> None:
        """Rebuild vectors from what the device and what the processor made of them."""
        exact = np.asarray(vectors, np.float32)
        ids, codes, factors = self._part(vectors)
        tokens = EncodedTokens(ids.astype(self.id_dtype), codes, factors), super().encode(vectors)
        ours, theirs = (float((self.decode(part) * exact).sum(axis=1).mean()) for part in tokens)
        # a comparison that no NaN fulfils
        if not ours >= theirs - _LOSS:
            msg = (
                f"{self.packer.device}: vectors that it compressed resemble the originals by {ours:.4f}, those of the "
                f'processor by {theirs:.4f}. Nothing was written. Take device="cpu", and report it with the versions '
                "of torch and the driver."
            )
            raise DeviceError(msg)
