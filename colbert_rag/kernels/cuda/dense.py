"""MaxSim with plain vectors: exact indexes and reranking."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from colbert_rag.kernels.cuda.launching import (
    IS_INTERPRETED,
    ROWS,
    SIZES,
    Documents,
    blocks_per_program,
    launches,
    tile_tokens,
)

__all__ = ["dense_scores", "query_parts"]

# blocks of one program: four of 32 rows fill the registers of its accumulators
_MOST_BLOCKS = 4


@triton.jit(do_not_specialize=SIZES)
def _dense_kernel(
    query: tl.tensor,
    vectors: tl.tensor,
    starts: tl.tensor,
    ends: tl.tensor,
    out: tl.tensor,
    list_stride: tl.tensor,
    out_stride: tl.tensor,
    first: tl.tensor,
    n_blocks: tl.tensor,
    n_groups: tl.tensor,
    blocks_per_query: tl.tensor,
    DIM: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    TOKENS: tl.constexpr,
    DIMS: tl.constexpr,
    WIDEN: tl.constexpr,
) -> None:
    program = tl.program_id(0)
    document = first + (program // n_groups).to(tl.int64)
    block = (program % n_groups) * BLOCKS
    place = (block // blocks_per_query).to(tl.int64) * list_stride + document
    start = tl.load(starts + place)
    end = tl.load(ends + place)
    dims = tl.arange(0, DIMS)
    rows = block.to(tl.int64) * WIDTH + tl.arange(0, BLOCKS * WIDTH)
    n_rows = n_blocks.to(tl.int64) * WIDTH
    here = (dims < DIM)[:, None] & (rows < n_rows)[None, :]
    at = query + rows[None, :] * DIM + dims[:, None]
    # (DIMS, rows)
    coarse = tl.load(at, mask=here, other=0.0)
    if PARTS == 2:
        fine = tl.load(at + n_rows * DIM, mask=here, other=0.0)
        if WIDEN:
            fine = fine.to(tl.float32)
    if WIDEN:
        coarse = coarse.to(tl.float32)
    best = tl.full((BLOCKS * WIDTH,), float("-inf"), tl.float32)
    for token in range(start, end, TOKENS):
        tokens = token + tl.arange(0, TOKENS).to(tl.int64)
        inside = tokens < end
        tile = tl.load(
            vectors + tokens[:, None] * DIM + dims[None, :],
            mask=inside[:, None] & (dims < DIM)[None, :],
            other=0.0,
        )
        if WIDEN:
            tile = tile.to(tl.float32)
        dots = tl.dot(tile, coarse, input_precision="ieee")
        if PARTS == 2:
            dots = tl.dot(tile, fine, dots, input_precision="ieee")
        best = tl.maximum(best, tl.max(tl.where(inside[:, None], dots, float("-inf")), axis=0))
    totals = tl.sum(tl.reshape(best, (BLOCKS, WIDTH)), axis=1)
    blocks = block + tl.arange(0, BLOCKS)
    tl.store(out + blocks.to(tl.int64) * out_stride + document, totals, mask=(blocks < n_blocks) & (end > start))


def query_parts(query: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A query as :func:`dense_scores` reads it, in the type of the vectors.

    16 bits would round a query and with it every score; what the rounding leaves is a second part, so that the sum of
    both products has the query's 24 bits, or 16 with bfloat16.

    Args:
        query: ``(R, D) float32``.
        dtype: float16, bfloat16 or float32.

    Returns:
        ``(2, R, D)``, or ``(1, R, D)`` for float32.
    """
    if dtype == torch.float32:
        return query[None]
    coarse = query.to(dtype)
    return torch.stack([coarse, (query - coarse.float()).to(dtype)])


def dense_scores(
    parts: torch.Tensor, vectors: torch.Tensor, documents: Documents, blocks_per_query: int, out: torch.Tensor
) -> None:
    """Form of :func:`colbert_rag.kernels.reference.dot_scores` for many queries at once (ColBERT, arXiv 2004.12832).

    Args:
        parts: ``(P, R, D)`` from :func:`query_parts`: blocks of ``ROWS`` query tokens, rows without a token are zeros.
        vectors: ``(T, D)`` float16, bfloat16 or float32, contiguous; D at most 1,024.
        documents: N documents of any length.
        blocks_per_query: Blocks that one query has.
        out: ``(R / ROWS, N) float32``, rows contiguous: MaxSim of each block, to be summed over the blocks of a query.
    """
    n_parts, n_rows, dim = parts.shape
    dims = max(16, triton.next_power_of_2(dim))
    n_blocks = n_rows // ROWS
    # a query of long vectors fills what a multiprocessor has
    most = _MOST_BLOCKS if dims * vectors.element_size() <= 256 else 1
    together = blocks_per_program(n_blocks, most, documents)
    n_groups = triton.cdiv(n_blocks, together)
    for first, n_programs in launches(documents, n_groups):
        _dense_kernel[(n_programs,)](
            parts,
            vectors,
            documents.starts,
            documents.ends,
            out,
            documents.list_stride,
            out.stride(0),
            first,
            n_blocks,
            n_groups,
            blocks_per_query,
            DIM=dim,
            PARTS=n_parts,
            BLOCKS=together,
            WIDTH=ROWS,
            TOKENS=tile_tokens(dims),
            DIMS=dims,
            # the interpreter would multiply the integers that it holds them in
            WIDEN=IS_INTERPRETED and vectors.dtype == torch.bfloat16,
            num_stages=3 if dims <= 256 else 1,
        )
