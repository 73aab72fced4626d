"""One commit of an index, mapped and ready to be searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import Codec
from colbert_rag.errors import CorruptIndexError
from colbert_rag.kernels.layout import SEGMENT
from colbert_rag.storage import CatalogState, CodecRecord, IndexSettings, Segment
from colbert_rag.storage.mapping import check_recorded, map_array

__all__ = [
    "Described",
    "SegmentView",
    "Snapshot",
    "column_shape",
    "narrowed",
    "open_codec",
    "open_snapshot",
    "snapshot_in_memory",
    "view_of",
]

_FILES = {"centroids": "centroids.npy", "rotation": "rotation.npy"}
# elements of centroids of unit length, and rows of a rotation, up to rounding
_LARGEST = 1.01
_ODD_LENGTH = 0.01


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
        return len(self.live)

    @cached_property
    def live(self) -> NDArray[np.int64]:
        """Positions of the documents that are not deleted, rising."""
        return np.arange(self.segment.record.n_documents) if self.alive is None else np.flatnonzero(self.alive)

    @cached_property
    def bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the tokens of the live documents start and end."""
        offsets = self.segment.doc_offsets
        if self.alive is None:
            return offsets[:-1], offsets[1:]
        return offsets[self.live], offsets[self.live + 1]


@dataclass(frozen=True, slots=True)
class Described:
    """Segments by the addresses of their arrays; whoever uses these keeps this object meanwhile.

    Attributes:
        segments: ``(S,)`` of ``kernels.layout.SEGMENT``.
    """

    segments: NDArray[Any]
    _arrays: tuple[Mapping[str, NDArray[Any]], ...]


@dataclass(frozen=True)
class Snapshot:
    """A commit: its number, its codec (None while the index is exact), its segments."""

    commits: int
    codec: Codec | None
    codec_record: CodecRecord | None
    views: tuple[SegmentView, ...]

    @property
    def n_alive(self) -> int:
        """Documents that are not deleted."""
        return sum(view.n_alive for view in self.views)

    @cached_property
    def described(self) -> Described:
        """Its compressed segments for the kernels of a search."""
        segments = np.zeros(len(self.views), SEGMENT)
        arrays = [_describe(view, segment) for view, segment in zip(self.views, segments, strict=True)]
        return Described(segments, tuple(arrays))


def _describe(view: SegmentView, described: Any) -> Mapping[str, NDArray[Any]]:
    """Fill in a segment; the arrays whose addresses it has."""
    segment = view.segment
    arrays: dict[str, NDArray[Any]] = {"doc_offsets": segment.doc_offsets, **segment.columns}
    described["n_documents"], described["n_tokens"] = segment.record.n_documents, segment.record.n_tokens
    described["n_live"] = view.n_alive
    if view.alive is not None:
        arrays |= {"alive": view.alive, "live": view.live}
    if segment.lists is not None:
        arrays |= {"list_offsets": segment.lists[0], "postings": segment.lists[1]}
        described["n_postings"] = len(segment.lists[1])
    for name, array in arrays.items():
        described[name] = array.ctypes.data
    return arrays


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
    kept: list[Segment] = []
    new: list[Segment] = []
    for record in state.segments:
        segment = mapped.get(record.name)
        if segment is None or segment.record != record:
            new.append(Segment.open(root, record, shape, 0 if codec is None else codec.n_centroids))
        else:
            kept.append(segment)
    for n, segment in enumerate(new):
        _check_apart(root, segment, kept + new[:n])
    views = tuple(view_of(segment, deleted) for segment in kept + new)
    return Snapshot(state.commits, codec, state.codec, views)


def snapshot_in_memory(vectors: NDArray[Any], offsets: NDArray[np.int64]) -> Snapshot:
    """Plain vectors of no index as a commit of one segment; see :meth:`Segment.in_memory`."""
    return Snapshot(0, None, None, (SegmentView(Segment.in_memory(vectors, offsets), None),))


def _check_apart(root: Path, segment: Segment, others: Sequence[Segment]) -> None:
    """A document with vectors in two segments would be scored twice, and outlive its deletion."""
    keys = segment.doc_keys
    for other in others:
        theirs = other.doc_keys
        if not (len(keys) and len(theirs)) or keys[-1] < theirs[0] or theirs[-1] < keys[0]:
            continue
        few, many = (segment, other) if len(keys) < len(theirs) else (other, segment)
        if len(many.positions(few.doc_keys)):
            names = f"{segment.record.name} and {other.record.name}"
            msg = f"{root}: {names} hold vectors of the same document. Restore the index from a backup."
            raise CorruptIndexError(msg)


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
    if {name: file.name for name, file in record.files.items()} != _FILES:
        msg = f"{folder}: the catalog names {sorted(record.files)}, a codec has centroids.npy and rotation.npy."
        raise CorruptIndexError(msg)
    stored = map_array(folder, record.files["centroids"], "float16", (dim,), record.n_centroids)
    rotation = map_array(folder, record.files["rotation"], "float32", (dim,), dim)
    check_recorded(folder, record.files.values())
    centroids = stored.astype(np.float32)
    # comparisons that no NaN fulfils; a rotation keeps lengths, so that no query becomes too long for its integers
    is_small = np.abs(centroids).max() <= _LARGEST and np.abs(rotation).max() <= _LARGEST
    if not is_small or (np.abs(np.linalg.norm(rotation, axis=1) - 1) > _ODD_LENGTH).any():
        msg = f"{folder}: numbers out of range in the codec. Restore the index from a backup."
        raise CorruptIndexError(msg)
    return Codec(centroids, rotation, settings.bits, record.on_trellis, record.group_size)


def column_shape(dim: int, codec: Codec | None) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Type and row shape of each token column of a segment."""
    if codec is None:
        return {"vectors": ("float16", (dim,))}
    return {
        "centroid_ids": (codec.id_dtype.name, ()),
        "codes": ("uint8", (codec.code_bytes,)),
        "factors": ("uint8", (2,)),
    }
