"""The approximate pass: scores from centroid ids alone."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from colbert_rag.kernels.cuda.launching import ROWS, SIZES, Documents, launches

__all__ = ["approximate_scores", "score_table"]

# document tokens whose rows of the table are gathered at once
_TOKENS = 64


@triton.jit(do_not_specialize=SIZES)
def _approximate_kernel(
    table: tl.tensor,
    centroid_ids: tl.tensor,
    starts: tl.tensor,
    ends: tl.tensor,
    out: tl.tensor,
    out_stride: tl.tensor,
    first: tl.tensor,
    n_blocks: tl.tensor,
    n_centroids: tl.tensor,
    WIDTH: tl.constexpr,
    TOKENS: tl.constexpr,
) -> None:
    program = tl.program_id(0)
    document = first + (program // n_blocks).to(tl.int64)
    block = (program % n_blocks).to(tl.int64)
    start = tl.load(starts + document)
    end = tl.load(ends + document)
    columns = tl.arange(0, WIDTH)
    rows = table + block * n_centroids.to(tl.int64) * WIDTH
    best = tl.zeros((WIDTH,), tl.int32)
    for token in range(start, end, TOKENS):
        tokens = token + tl.arange(0, TOKENS).to(tl.int64)
        inside = tokens < end
        ids = tl.load(centroid_ids + tokens, mask=inside, other=0).to(tl.int64)
        entries = tl.load(rows + ids[:, None] * WIDTH + columns[None, :], mask=inside[:, None], other=0)
        best = tl.maximum(best, tl.max(entries.to(tl.int32), axis=0))
    tl.store(out + block * out_stride + document, tl.sum(best, axis=0))


def score_table(centroid_scores: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Form of :func:`colbert_rag.kernels.reference.score_table` on a device.

    Args:
        centroid_scores: ``(K, R) float32``; columns without a query token are zeros, and get entries of 255: they add
            the same to every document.
        reach: ``(R,) float32``: how far below the best centroid of a query token the table still tells centroids apart.

    Returns:
        ``(R / ROWS, K, ROWS) uint8``.
    """
    floor = centroid_scores.amax(dim=0) - reach
    entries = ((centroid_scores - floor) * (255 / reach)).clamp_(0, 255).to(torch.uint8)
    return entries.view(len(entries), -1, ROWS).transpose(0, 1).contiguous()


def approximate_scores(
    table: torch.Tensor, centroid_ids: torch.Tensor, documents: Documents, out: torch.Tensor
) -> None:
    """Form of :func:`colbert_rag.kernels.reference.approximate_scores` for many queries at once (PLAID, section 4.2).

    Args:
        table: ``(G, K, ROWS) uint8``: a table for each block of query tokens.
        centroid_ids: ``(T,) uint16`` or ``uint32``, each below K.
        documents: N documents, the same for all queries; an empty one gets 0.
        out: ``(G, N) int32``, rows contiguous: the sums of each block, to be summed over the blocks of a query.
    """
    n_blocks, n_centroids, _ = table.shape
    for first, n_programs in launches(documents, n_blocks):
        _approximate_kernel[(n_programs,)](
            table,
            centroid_ids,
            documents.starts,
            documents.ends,
            out,
            out.stride(0),
            first,
            n_blocks,
            n_centroids,
            WIDTH=ROWS,
            TOKENS=_TOKENS,
            num_warps=2,
        )
