"""Exact scores of compressed tokens, read from their codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from colbert_rag.kernels.cuda.launching import ROWS, SIZES, Documents, blocks_per_program, launches, tile_tokens
from colbert_rag.kernels.layout import MEMORY

__all__ = ["CodedQuery", "CodedTokens", "Levels", "code_query", "level_words", "residual_scores"]

# blocks of one program, for which each byte of codes is looked up once; with four of them the sums of both bytes of a
# query spilled from the registers of compute capability 9.0
_MOST_BLOCKS = 2
# a query's integers of 14 bits are _STEP times one byte plus another
_STEP = 128
# a product of bytes in tensor cores sums over so many at least
_FEWEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Levels:
    """What bytes stand for.

    Attributes:
        words: ``(256,)``, at 1 and 2 bits ``(2**MEMORY * 256,)``, ``int32`` or ``int64``: see :func:`level_words`.
        scales: ``(256,) float32``.
        norms: ``(256,) float32``.
    """

    words: torch.Tensor
    scales: torch.Tensor
    norms: torch.Tensor


@dataclass(frozen=True, slots=True)
class CodedQuery:
    """Blocks of ``ROWS`` query tokens as the kernel reads them; rows without a token are zeros.

    Attributes:
        bytes: ``(2, R, 8 // bits, B) int8``: :func:`code_query`.
        scale: ``(R,) float32``.
        centroid_scores: ``(K, R) float32``.
    """

    bytes: torch.Tensor
    scale: torch.Tensor
    centroid_scores: torch.Tensor


@dataclass(frozen=True, slots=True)
class CodedTokens:
    """Compressed tokens: ids ``(T,) uint16`` or ``uint32``, codes ``(T, B) uint8``, factors ``(T, 2) uint8``."""

    centroid_ids: torch.Tensor
    codes: torch.Tensor
    factors: torch.Tensor


@triton.jit(do_not_specialize=SIZES)
def _residual_kernel(
    query: tl.tensor,
    query_scale: tl.tensor,
    centroid_scores: tl.tensor,
    words: tl.tensor,
    scales: tl.tensor,
    norms: tl.tensor,
    centroid_ids: tl.tensor,
    codes: tl.tensor,
    factors: tl.tensor,
    starts: tl.tensor,
    ends: tl.tensor,
    out: tl.tensor,
    list_stride: tl.tensor,
    out_stride: tl.tensor,
    first: tl.tensor,
    n_blocks: tl.tensor,
    n_groups: tl.tensor,
    blocks_per_query: tl.tensor,
    CODE_BYTES: tl.constexpr,
    PER_BYTE: tl.constexpr,
    STATES: tl.constexpr,
    STEP: tl.constexpr,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    TOKENS: tl.constexpr,
    BYTES: tl.constexpr,
) -> None:
    program = tl.program_id(0)
    document = first + (program // n_groups).to(tl.int64)
    block = (program % n_groups) * BLOCKS
    place = (block // blocks_per_query).to(tl.int64) * list_stride + document
    start = tl.load(starts + place)
    end = tl.load(ends + place)
    n_rows = n_blocks.to(tl.int64) * WIDTH
    rows = block.to(tl.int64) * WIDTH + tl.arange(0, BLOCKS * WIDTH)
    has_row = rows < n_rows
    asked = tl.load(query_scale + rows, mask=has_row, other=0.0)
    columns = tl.arange(0, BYTES)
    has_byte = columns < CODE_BYTES
    # (BYTES, rows)
    at_query = query + rows[None, :] * (PER_BYTE * CODE_BYTES) + columns[:, None]
    in_query = has_byte[:, None] & has_row[None, :]
    best = tl.full((BLOCKS * WIDTH,), float("-inf"), tl.float32)
    for token in range(start, end, TOKENS):
        tokens = token + tl.arange(0, TOKENS).to(tl.int64)
        inside = tokens < end
        in_codes = inside[:, None] & has_byte[None, :]
        at_codes = codes + tokens[:, None] * CODE_BYTES + columns[None, :]
        numbers = tl.load(at_codes, mask=in_codes, other=0).to(tl.int32)
        if STATES > 1:
            # low bits of the byte before are the state of the trellis
            before = tl.load(at_codes - 1, mask=in_codes & (columns > 0)[None, :], other=0).to(tl.int32)
            numbers += before % STATES * 256
        levels = tl.load(words + numbers, mask=in_codes, other=0)
        coarse = tl.zeros((TOKENS, BLOCKS * WIDTH), tl.int32)
        fine = tl.zeros((TOKENS, BLOCKS * WIDTH), tl.int32)
        for p in tl.static_range(PER_BYTE):
            z = (levels >> (8 * p)).to(tl.int8)
            at_part = at_query + p * CODE_BYTES
            coarse = tl.dot(z, tl.load(at_part, mask=in_query, other=0), coarse, out_dtype=tl.int32)
            at_fine = at_part + n_rows * (PER_BYTE * CODE_BYTES)
            fine = tl.dot(z, tl.load(at_fine, mask=in_query, other=0), fine, out_dtype=tl.int32)
        dots = (coarse * STEP + fine).to(tl.float32)
        ids = tl.load(centroid_ids + tokens, mask=inside, other=0).to(tl.int64)
        near = tl.load(
            centroid_scores + ids[:, None] * n_rows + rows[None, :], mask=inside[:, None] & has_row[None, :], other=0.0
        )
        scale = tl.load(scales + tl.load(factors + tokens * 2, mask=inside, other=0).to(tl.int32))
        norm = tl.load(norms + tl.load(factors + tokens * 2 + 1, mask=inside, other=0).to(tl.int32))
        similarity = (near + scale[:, None] * (asked[None, :] * dots)) * norm[:, None]
        best = tl.maximum(best, tl.max(tl.where(inside[:, None], similarity, float("-inf")), axis=0))
    # a row without a token has similarities of 0
    totals = tl.sum(tl.reshape(best, (BLOCKS, WIDTH)), axis=1)
    blocks = block + tl.arange(0, BLOCKS)
    tl.store(out + blocks.to(tl.int64) * out_stride + document, totals, mask=(blocks < n_blocks) & (end > start))


def level_words(byte_levels: NDArray[np.int16]) -> NDArray[np.signedinteger[Any]]:
    """The levels that a byte of codes stands for, in one word, so that one look-up finds them all.

    Args:
        byte_levels: ``(n, 8 // bits) int16``, each in -128..127, see ``codec.grid.Grid``.

    Returns:
        ``(n,)``: the first dimension in the lowest byte; int64 for eight dimensions, else int32.
    """
    n, per_byte = byte_levels.shape
    padded = np.zeros((n, 8 if per_byte == 8 else 4), np.int8)
    padded[:, :per_byte] = byte_levels
    return padded.view("<i8" if per_byte == 8 else "<i4").reshape(n)


def code_query(integers: torch.Tensor, per_byte: int, code_bytes: int) -> torch.Tensor:
    """Query integers as two bytes each, in the order in which dimensions lie in codes.

    Products of bytes are summed in integers, so nothing is rounded and equal documents get equal scores.

    Args:
        integers: ``(R, D) int32``, at most 8,191.
        per_byte: Dimensions in a byte of codes.
        code_bytes: B, bytes of codes per token.

    Returns:
        ``(2, R, per_byte, B) int8``: 128 times the first plus the second are the integers.
    """
    padded = torch.nn.functional.pad(integers, (0, per_byte * code_bytes - integers.shape[1]))
    by_place = padded.view(len(integers), code_bytes, per_byte).transpose(1, 2)
    coarse = torch.div(by_place + _STEP // 2, _STEP, rounding_mode="floor")
    return torch.stack([coarse, by_place - _STEP * coarse]).to(torch.int8).contiguous()


def residual_scores(
    query: CodedQuery,
    levels: Levels,
    tokens: CodedTokens,
    documents: Documents,
    blocks_per_query: int,
    out: torch.Tensor,
) -> None:
    """Form of :func:`colbert_rag.kernels.reference.residual_scores` for many queries at once, with all tokens counted.

    Args:
        query: Blocks of query tokens.
        levels: What bytes stand for.
        tokens: T compressed tokens.
        documents: N documents of any length.
        blocks_per_query: Blocks that one query has.
        out: ``(R / ROWS, N) float32``, rows contiguous: MaxSim of each block, to be summed over the blocks of a query.
    """
    _, n_rows, per_byte, code_bytes = query.bytes.shape
    n_blocks = n_rows // ROWS
    n_bytes = max(_FEWEST_BYTES, triton.next_power_of_2(code_bytes))
    together = blocks_per_program(n_blocks, _MOST_BLOCKS if n_bytes <= 128 else 1, documents)
    n_groups = triton.cdiv(n_blocks, together)
    for first, n_programs in launches(documents, n_groups):
        _residual_kernel[(n_programs,)](
            query.bytes,
            query.scale,
            query.centroid_scores,
            levels.words,
            levels.scales,
            levels.norms,
            tokens.centroid_ids,
            tokens.codes,
            tokens.factors,
            documents.starts,
            documents.ends,
            out,
            documents.list_stride,
            out.stride(0),
            first,
            n_blocks,
            n_groups,
            blocks_per_query,
            CODE_BYTES=code_bytes,
            PER_BYTE=per_byte,
            STATES=1 << MEMORY if len(levels.words) > 256 else 1,
            STEP=_STEP,
            BLOCKS=together,
            WIDTH=ROWS,
            TOKENS=min(64, tile_tokens(n_bytes)),
            BYTES=n_bytes,
            # a product that is added to before it is rounded would round otherwise than the processor does
            enable_fp_fusion=False,
            num_warps=8,
            num_stages=2,
        )
