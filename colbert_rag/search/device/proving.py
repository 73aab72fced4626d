"""Before a device is believed: some documents are scored by it and by the processor, and must get the same scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from colbert_rag.codec import Codec, EncodedTokens
from colbert_rag.errors import DeviceError
from colbert_rag.kernels import maxsim
from colbert_rag.kernels.cuda.approximate import score_table
from colbert_rag.kernels.cuda.launching import Documents
from colbert_rag.search.device.cards import Card
from colbert_rag.search.device.resident import Live, Part, ResidentCodec
from colbert_rag.search.device.stages import (
    Batch,
    Searched,
    approximate_totals,
    coded,
    coded_scorer,
    plain_scorer,
    scores_of,
    scores_of_all,
)
from colbert_rag.storage import Segment
from colbert_rag.types import Float32Array

__all__ = ["kind_of", "prove"]

# documents that are compared, spread over a part
_DOCUMENTS = 32
# for each token of a query: sums in another order, and a query that was rotated elsewhere before it was rounded
_TOLERANCE = 1e-3


class _Bounds(NamedTuple):
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def kind_of(part: Part, codec: Codec | None) -> tuple[Any, ...]:
    """What decides which machine code a search needs: vectors of one kind are proved once."""
    if codec is None:
        vectors = part.columns["vectors"]
        return (vectors.dtype, vectors.shape[1])
    return (codec.bits, codec.dim, codec.id_dtype.name, codec.on_trellis)


def prove(part: Part, segment: Segment, resident: ResidentCodec | None, query: Float32Array) -> None:
    """Compare every kernel that searches of this kind of vectors use.

    Args:
        part: Documents on a device.
        segment: Whose documents they are.
        resident: The codec there; None for plain vectors.
        query: ``(Q, D) float32``.

    Raises:
        DeviceError: scores differ.
    """
    card = part.card
    places = np.unique(np.linspace(0, part.everything.count - 1, _DOCUMENTS).astype(np.int64))
    bounds = _Bounds(*(segment.doc_offsets[part.first + places + end] for end in (0, 1)))
    batch = Batch(card.put(Batch.laid_out([query])), 1)
    searched = Searched([part], [_chosen(part, places)])
    expected = _by_processor(segment, resident, query, bounds)
    if resident is None:
        score = plain_scorer(batch)
    else:
        asked = coded(batch, resident)
        score = coded_scorer(batch, asked, resident)
        _prove_approximate(segment, bounds, batch, searched, score_table(asked.centroid_scores, batch.reach))
    everything = torch.arange(len(places), device=card.device)[None]
    for found in (scores_of_all(batch, searched, score), scores_of(batch, searched, everything, score)):
        gap = np.abs(card.fetch(found)[0] - expected).max()
        # a comparison that no NaN fulfils
        if not gap <= _TOLERANCE * len(query):
            raise DeviceError(_differs(card, f"MaxSim differs by {gap:.3g}"))


def _prove_approximate(
    segment: Segment, bounds: _Bounds, batch: Batch, searched: Searched, table: torch.Tensor
) -> None:
    from colbert_rag.kernels import cpu

    card = searched.parts[0].card
    found = card.fetch(approximate_totals(batch, searched, table))[0]
    expected = np.empty(len(bounds.starts), np.uint32)
    cpu.approximate_scores(card.fetch(table), segment.columns["centroid_ids"], *bounds, expected)
    if not np.array_equal(found, expected):
        raise DeviceError(_differs(card, "sums of centroid scores differ"))


def _by_processor(
    segment: Segment, resident: ResidentCodec | None, query: Float32Array, bounds: _Bounds
) -> Float32Array:
    """MaxSim of decoded or plain vectors."""
    rows = np.concatenate([np.arange(start, end) for start, end in zip(*bounds, strict=True)])
    offsets = np.cumsum([0, *(bounds.ends - bounds.starts)])
    columns = {name: column[rows] for name, column in segment.columns.items()}
    if resident is None:
        return maxsim(query, columns["vectors"], offsets)
    return maxsim(query, resident.codec.decode(EncodedTokens(**columns)), offsets)


def _chosen(part: Part, places: NDArray[np.int64]) -> Live:
    where = part.card.put(places)
    bounds = part.everything.documents
    return Live(part.everything.keys[where], Documents(bounds.starts[where], bounds.ends[where]))


def _differs(card: Card, what: str) -> str:
    return (
        f"{card} and the processor do not give some documents the same scores: {what}. Its results cannot be trusted: "
        'take device="cpu", and report it with the versions of torch, triton and the driver.'
    )
