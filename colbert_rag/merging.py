"""Turning segments into fewer or smaller ones: compression, merging, compaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import Codec, EncodedTokens, n_centroids_for, train_codec
from colbert_rag.codec.training import Clustering, sample_size
from colbert_rag.search import SegmentView
from colbert_rag.storage import CodecRecord, IndexSettings, SegmentRecord, SegmentWriter, TokenColumns, fresh_name
from colbert_rag.storage.files import make_folder, sync_folder, write_array
from colbert_rag.storage.lists import build_lists
from colbert_rag.storage.system_errors import disk_errors
from colbert_rag.types import Progress

__all__ = ["columns_of", "finish_segment", "merge", "save_codec", "segments_to_merge", "train_on"]

# documents are copied in groups of about this many tokens: 8 MB of float32 at 128 dimensions
_GROUP_TOKENS = 16_384
# an index with fewer segments is left alone; each costs a search some ten microseconds
_FEW_SEGMENTS = 8


def columns_of(vectors: NDArray[np.floating[Any]], codec: Codec | None) -> TokenColumns:
    """Token vectors as the columns of a segment."""
    if codec is None:
        return {"vectors": np.asarray(vectors, np.float16)}
    tokens = codec.encode(vectors)
    return {"centroid_ids": tokens.centroid_ids, "codes": tokens.codes, "factors": tokens.factors}


def vectors_of(columns: TokenColumns, codec: Codec | None) -> NDArray[np.floating[Any]]:
    """The inverse of :func:`columns_of`, up to what compression loses."""
    if codec is None:
        return columns["vectors"]
    return codec.decode(EncodedTokens(columns["centroid_ids"], columns["codes"], columns["factors"]))


def finish_segment(writer: SegmentWriter, root: Path, codec: Codec | None, settings: IndexSettings) -> SegmentRecord:
    """Finish a segment, with inverted lists when it is so large that it will be probed."""
    if codec is None or writer.n_tokens < settings.probe_tokens:
        return writer.finish()
    writer.flush()
    with disk_errors(root / writer.name):
        ids = np.memmap(root / writer.name / "centroid_ids.npy", codec.id_dtype, "r", 128, (writer.n_tokens,))
        offsets = np.memmap(root / writer.name / "doc_offsets.npy", np.int64, "r", 128, (writer.n_documents + 1,))
    lists = build_lists(ids.view(np.ndarray), offsets.view(np.ndarray), codec.n_centroids)
    return writer.finish(lists)


def merge(
    root: Path,
    views: Sequence[SegmentView],
    codecs: tuple[Codec | None, Codec | None],
    codec_name: str | None,
    settings: IndexSettings,
    progress: Progress,
) -> SegmentRecord | None:
    """Write the live documents of some segments into one new segment.

    Args:
        root: The index folder.
        views: What to merge.
        codecs: The codec that packed them, and the one to pack with; the same object copies codes.
        codec_name: Name of the second, None for plain vectors.
        settings: Of the index.
        progress: Told the tokens done.

    Returns:
        The new segment, which the catalog must still name; None when no document is alive.
    """
    if not any(view.n_alive for view in views):
        return None
    total = sum(view.segment.record.n_tokens for view in views)
    writer = SegmentWriter(root, codec_name)
    try:
        for keys, spans, columns in _groups(views):
            is_same = codecs[0] is codecs[1]
            writer.append(keys, spans, columns if is_same else columns_of(vectors_of(columns, codecs[0]), codecs[1]))
            progress("pack", writer.n_tokens, total)
        return finish_segment(writer, root, codecs[1], settings)
    finally:
        writer.close()


def _groups(views: Sequence[SegmentView]) -> Iterator[tuple[list[int], list[NDArray[np.int32]], TokenColumns]]:
    """Live documents in the order of their keys, some at a time."""
    keys, owners, positions = [], [], []
    for number, view in enumerate(views):
        live = np.arange(view.segment.record.n_documents) if view.alive is None else np.flatnonzero(view.alive)
        keys.append(view.segment.doc_keys[live])
        owners.append(np.full(len(live), number))
        positions.append(live)
    order = np.argsort(np.concatenate(keys), kind="stable")
    all_keys, all_owners, all_positions = (np.concatenate(x)[order] for x in (keys, owners, positions))
    group: list[tuple[int, SegmentView, int]] = []
    n_tokens = 0
    for key, owner, position in zip(all_keys.tolist(), all_owners.tolist(), all_positions.tolist(), strict=True):
        view = views[owner]
        group.append((key, view, position))
        n_tokens += int(view.segment.doc_offsets[position + 1] - view.segment.doc_offsets[position])
        if n_tokens >= _GROUP_TOKENS:
            yield _collect(group)
            group, n_tokens = [], 0
    if group:
        yield _collect(group)


def _collect(
    group: Sequence[tuple[int, SegmentView, int]],
) -> tuple[list[int], list[NDArray[np.int32]], TokenColumns]:
    segments = [view.segment for _, view, _ in group]
    bounds = [(s.doc_offsets[p], s.doc_offsets[p + 1]) for s, (_, _, p) in zip(segments, group, strict=True)]
    columns = {
        name: np.concatenate([s.columns[name][a:b] for s, (a, b) in zip(segments, bounds, strict=True)])
        for name in segments[0].columns
    }
    spans = [view.segment.spans([position]) for _, view, position in group]
    return [key for key, _, _ in group], spans, columns


def train_on(
    views: Sequence[SegmentView],
    codec: Codec | None,
    settings: IndexSettings,
    progress: Progress,
    clustering: Clustering | None = None,
    growth: int = 1,
) -> tuple[Codec, int]:
    """Train a codec on a random sample of the tokens of some segments.

    Args:
        views: Segments that ``codec`` packed.
        codec: None for plain vectors.
        settings: Of the index.
        progress: Told when it begins and ends.
        clustering: See ``codec.train_codec``.
        growth: How many times as many tokens the codec should serve.

    Returns:
        The codec and the number of tokens that it was trained on a sample of.
    """
    n_tokens = sum(view.segment.record.n_tokens for view in views)
    n_centroids = n_centroids_for(growth * n_tokens)
    progress("train", 0, n_centroids)
    rng = np.random.default_rng(settings.seed)
    size = min(n_tokens, sample_size(n_centroids))
    chosen = np.sort(rng.choice(n_tokens, size, replace=False))
    sample = np.concatenate(list(_sampled(views, codec, chosen)))
    trained = train_codec(
        sample, n_centroids=n_centroids, bits=settings.bits, seed=settings.seed, clustering=clustering
    )
    progress("train", n_centroids, n_centroids)
    return trained, n_tokens


def _sampled(
    views: Sequence[SegmentView], codec: Codec | None, chosen: NDArray[np.int64]
) -> Iterator[NDArray[np.float16]]:
    first = 0
    for view in views:
        n = view.segment.record.n_tokens
        rows = chosen[(chosen >= first) & (chosen < first + n)] - first
        columns = {name: column[rows] for name, column in view.segment.columns.items()}
        yield np.asarray(vectors_of(columns, codec), np.float16)
        first += n


def save_codec(root: Path, codec: Codec, trained_on: int) -> CodecRecord:
    """Write a codec into a folder of its own; the catalog must still name it."""
    name = fresh_name("codec")
    folder = root / name
    make_folder(folder)
    files = {
        "centroids": write_array(folder / "centroids.npy", codec.centroids.astype(np.float16)),
        "rotation": write_array(folder / "rotation.npy", codec.rotation),
    }
    sync_folder(folder)
    sync_folder(root)
    return CodecRecord(
        name=name,
        n_centroids=codec.n_centroids,
        trained_on=trained_on,
        files=files,
        on_trellis=codec.grid.labels is not None,
        group_size=codec.group_size,
    )


def segments_to_merge(views: Sequence[SegmentView]) -> list[SegmentView]:
    """Which segments a write should merge, so that there are few and none is mostly deleted.

    Small segments are merged when there are many, each with those that are at most as large as all
    smaller ones together: a document is then copied a number of times that grows with the logarithm
    of the index (the logarithmic method, Bentley and Saxe 1980).
    """
    wasteful = [view for view in views if view.n_alive * 2 < view.segment.record.n_documents]
    if len(views) - len(wasteful) <= _FEW_SEGMENTS:
        return wasteful
    rest = sorted((view for view in views if view not in wasteful), key=lambda view: view.segment.record.n_tokens)
    merged, total = rest[:2], sum(view.segment.record.n_tokens for view in rest[:2])
    for view in rest[2:]:
        if view.segment.record.n_tokens > total:
            break
        merged.append(view)
        total += view.segment.record.n_tokens
    return wasteful + merged
