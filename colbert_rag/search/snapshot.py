"""One commit of an index, mapped and ready to be searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import Codec
from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage import CatalogState, CodecRecord, IndexSettings, Segment
from colbert_rag.storage.files import map_array

__all__ = ["SegmentView", "Snapshot", "column_shape", "narrowed", "open_codec", "open_snapshot", "view_of"]


@dataclass(frozen=True)
class SegmentView:
    """A segment as one commit sees it.

    Attributes:
        segment: The mapped arrays.
        alive: ``(N,) bool``, False for deleted documents; None when none is deleted.
    """

    segment: Segment
    alive: NDArray[np.bool_] | None

    @property
    def n_alive(self) -> int:
        """Documents that are not deleted."""
        return self.segment.record.n_documents if self.alive is None else int(self.alive.sum())


@dataclass(frozen=True)
class Snapshot:
    """A commit: its number, its codec (None while the index is exact), its segments."""

    commits: int
    settings: IndexSettings
    codec: Codec | None
    codec_record: CodecRecord | None
    views: tuple[SegmentView, ...]

    @property
    def n_alive(self) -> int:
        """Documents that are not deleted."""
        return sum(view.n_alive for view in self.views)


def open_snapshot(root: Path, state: CatalogState, tombstones: list[int], previous: Snapshot | None) -> Snapshot:
    """Map what a commit names; segments that the previous snapshot has are used again.

    Raises:
        CorruptIndexError: a file is not what was committed.
    """
    codec = None
    if state.codec is not None:
        known = previous is not None and previous.codec_record == state.codec
        codec = previous.codec if known and previous is not None else open_codec(root, state.codec, state.settings)
    mapped = {view.segment.record.name: view.segment for view in previous.views} if previous is not None else {}
    shape = column_shape(state.settings.dim, codec)
    deleted = np.array(tombstones, np.int64)
    views = []
    for record in state.segments:
        segment = mapped.get(record.name)
        if segment is None or segment.record != record:
            segment = Segment.open(root, record, shape, 0 if codec is None else codec.n_centroids)
        views.append(view_of(segment, deleted))
    return Snapshot(state.commits, state.settings, codec, state.codec, tuple(views))


def view_of(segment: Segment, deleted: NDArray[np.int64]) -> SegmentView:
    """A segment without the documents of the given keys; keys that it does not hold are left out."""
    positions = segment.positions(deleted)
    if not len(positions):
        return SegmentView(segment, None)
    alive = np.ones(segment.record.n_documents, np.bool_)
    alive[positions] = False
    return SegmentView(segment, alive)


def narrowed(snapshot: Snapshot, keys: NDArray[np.int64]) -> Snapshot:
    """The commit as if it held the documents of these keys alone."""
    views = []
    for view in snapshot.views:
        chosen = np.zeros(view.segment.record.n_documents, np.bool_)
        chosen[view.segment.positions(keys)] = True
        if view.alive is not None:
            chosen &= view.alive
        if chosen.any():
            views.append(SegmentView(view.segment, chosen))
    return replace(snapshot, views=tuple(views))


def open_codec(root: Path, record: CodecRecord, settings: IndexSettings) -> Codec:
    """Map a codec's arrays.

    Raises:
        CorruptIndexError: a file is not what was committed.
    """
    folder = root / record.name
    dim = settings.dim
    if record.files.keys() != {"centroids", "rotation"}:
        msg = f"{folder}: the catalog names {sorted(record.files)}, a codec has centroids and rotation."
        raise CorruptIndexError(msg)
    centroids = map_array(folder, record.files["centroids"], "float16", (dim,), record.n_centroids).astype(np.float32)
    rotation = map_array(folder, record.files["rotation"], "float32", (dim,), dim)
    if not (np.isfinite(centroids).all() and np.isfinite(rotation).all()):
        msg = f"{folder}: numbers that are not finite in the codec. Restore the index from a backup."
        raise CorruptIndexError(msg)
    return Codec(centroids, rotation, settings.bits)


def column_shape(dim: int, codec: Codec | None) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Type and row shape of each token column of a segment."""
    if codec is None:
        return {"vectors": ("float16", (dim,))}
    return {
        "centroid_ids": (codec.id_dtype.name, ()),
        "codes": ("uint8", (codec.code_bytes,)),
        "factors": ("uint8", (2,)),
    }
