"""What trains and packs when documents are written: the processor, or a device."""

from __future__ import annotations

from typing import Protocol

from colbert_rag.codec.clustering import spherical_kmeans
from colbert_rag.codec.codec import Codec
from colbert_rag.codec.training import Clustering

__all__ = ["Packer", "ProcessorPacker"]


class Packer(Protocol):
    """Trains codecs and compresses with them."""

    @property
    def clustering(self) -> Clustering:
        """Finds centroids."""

    def prepared(self, codec: Codec) -> Codec:
        """The same codec, which compresses where this packs."""


class ProcessorPacker:
    """Trains through faiss, and compresses with the kernels for processors."""

    clustering: Clustering = staticmethod(spherical_kmeans)

    def prepared(self, codec: Codec) -> Codec:
        """The codec itself."""
        return codec
