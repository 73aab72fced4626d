"""Run as a program: compiles what the launchers of kernels/cuda launch, for GPUs that are not there.

Prints a line of JSON for each: kernel, compute capability, bytes of shared memory, bytes of machine code.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from colbert_rag.kernels.cuda import approximate, dense, residual
from colbert_rag.kernels.cuda.launching import ROWS, Documents

NAMES = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.uint8: "u8",
    torch.int8: "i8",
    torch.uint16: "u16",
    torch.uint32: "u32",
    torch.int32: "i32",
    torch.int64: "i64",
}


class Compiling:
    """Stands where a kernel stands: compiles it for the arguments of a launch instead of launching it."""

    def __init__(self, kernel: Any, capability: int) -> None:
        self.kernel, self.capability = kernel, capability

    def __getitem__(self, grid: Any) -> Any:
        return self.compile

    def compile(self, *args: Any, **options: Any) -> None:
        constants = {name: options.pop(name) for name in self.kernel.arg_names if name in options}
        types = {
            name: f"*{NAMES[arg.dtype]}" if isinstance(arg, torch.Tensor) else "i32"
            for name, arg in zip(self.kernel.arg_names, args, strict=False)
        }
        # torch's memory begins at multiples of 16 bytes, and kernels are compiled for that
        aligned = {(n,): [["tt.divisibility", 16]] for n, arg in enumerate(args) if isinstance(arg, torch.Tensor)}
        source = ASTSource(self.kernel, types | dict.fromkeys(constants, "constexpr"), constants, aligned)
        made = triton.compile(source, target=GPUTarget("cuda", self.capability, 32), options=options)
        size = {"shared": made.metadata.shared, "code": len(made.asm["cubin"])}
        print(json.dumps({"kernel": self.kernel.__name__, "capability": self.capability, **size}), flush=True)


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


def documents() -> Documents:
    return Documents(zeros(3, dtype=torch.int64), zeros(3, dtype=torch.int64))


def score_dense(dtype: torch.dtype, dim: int, n_blocks: int) -> None:
    parts = dense.query_parts(zeros(n_blocks * ROWS, dim), dtype)
    dense.dense_scores(parts, zeros(9, dim, dtype=dtype), documents(), 1, zeros(n_blocks, 3))


def score_approximately(kind: torch.dtype) -> None:
    table, ids = zeros(2, 16, ROWS, dtype=torch.uint8), zeros(9, dtype=kind)
    approximate.approximate_scores(table, ids, documents(), zeros(2, 3, dtype=torch.int32))


def score_residuals(bits: int, dim: int, n_blocks: int) -> None:
    n_rows, code_bytes = n_blocks * ROWS, dim * bits // 8
    coded = residual.code_query(zeros(n_rows, dim, dtype=torch.int32), 8 // bits, code_bytes)
    query = residual.CodedQuery(coded, zeros(n_rows), zeros(16, n_rows))
    words = zeros(2048 if bits < 4 else 256, dtype=torch.int64 if bits == 1 else torch.int32)
    codes = (zeros(9, width, dtype=torch.uint8) for width in (code_bytes, 2))
    tokens = residual.CodedTokens(zeros(9, dtype=torch.uint16), *codes)
    levels = residual.Levels(words, zeros(256), zeros(256))
    residual.residual_scores(query, levels, tokens, documents(), 1, zeros(n_blocks, 3))


def main(capability: int) -> None:
    for module, name in (
        (dense, "_dense_kernel"),
        (approximate, "_approximate_kernel"),
        (residual, "_residual_kernel"),
    ):
        setattr(module, name, Compiling(getattr(module, name), capability))
    score_dense(torch.float16, 128, 4)
    score_dense(torch.bfloat16, 96, 1)
    score_dense(torch.float16, 1024, 1)
    score_approximately(torch.uint16)
    for bits in (1, 4):
        score_residuals(bits, 128, 2)


if __name__ == "__main__":
    main(int(sys.argv[1]))
