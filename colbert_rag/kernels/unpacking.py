"""Packed codes back to levels, as LLVM operations, like those of ``simd.py``. Nothing here checks bounds."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types as t
from numba.core import cgutils

from colbert_rag.kernels.layout import MEMORY
from colbert_rag.kernels.simd import has_feature, intrinsic

__all__ = ["unpack"]

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_ZERO = _I64(0)


@intrinsic
def unpack(typing: Any, levels: Any, halves: Any, per_byte: Any, codes: Any, at: Any, size: Any, out: Any) -> Any:
    """The levels that ``size`` bytes of codes stand for, ``per_byte`` of them each: 1, 2, 4 or 8.

    ``out[j * per_byte + p] = levels[row * per_byte + p]``, where the row is the byte, and for 4 and 8 levels also the
    MEMORY low bits of the byte before. ``halves`` are the 16 levels of half a byte as ``int8``, and are read for 2.
    ``levels`` and ``out`` are ``int16``.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        taken = _Arguments(context, builder, signature, args)
        for number, write in (*((n, _by_rows) for n in (1, 4, 8)), (2, _by_halves)):
            with builder.if_then(builder.icmp_unsigned("==", args[2], _I64(number))):
                write(taken, number)
        return context.get_dummy_value()

    return t.void(levels, halves, t.uint64, codes, t.uint64, t.uint64, out), generate


class _Arguments:
    """The arguments of :func:`unpack` where its code is written."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        kinds = signature.args
        arrays = (context.make_array(kinds[n])(context, builder, args[n]).data for n in (0, 1, 3, 6))
        self.builder = builder
        self.levels, self.halves, self.codes, self.out = arrays
        self.at, self.size = args[4], args[5]

    def load(self, array: Any, index: Any, vector: Any) -> Any:
        builder = self.builder
        return builder.load(builder.bitcast(builder.gep(array, [index]), vector.as_pointer()), align=1)

    def write(self, index: Any, row: Any) -> None:
        builder = self.builder
        builder.store(row, builder.bitcast(builder.gep(self.out, [index]), row.type.as_pointer()), align=1)


def _by_rows(given: _Arguments, per_byte: int, first: Any = _ZERO) -> None:
    """A row of the table of levels for each byte from ``first`` on."""
    builder = given.builder
    memory = MEMORY if per_byte in (4, 8) else 0
    vector = ir.VectorType(_I16, per_byte)
    state = cgutils.alloca_once_value(builder, _I64(0))
    builder.store(_I64(0), state)
    with cgutils.for_range_slice(builder, first, given.size, _I64(1), _I64) as (j, _):
        byte = builder.zext(builder.load(builder.gep(given.codes, [builder.add(given.at, j)])), _I64)
        row = builder.or_(byte, builder.load(state))
        if memory:
            builder.store(builder.shl(builder.and_(byte, _I64((1 << memory) - 1)), _I64(8)), state)
        found = given.load(given.levels, builder.mul(row, _I64(per_byte)), vector)
        given.write(builder.mul(j, _I64(per_byte)), found)


def _by_halves(given: _Arguments, per_byte: int) -> None:
    """The high half of a byte names its first level, the low half its second; 16 bytes at once."""
    builder, lanes = given.builder, 16
    row, wide = ir.VectorType(_I8, lanes), ir.VectorType(_I16, per_byte * lanes)
    table = given.load(given.halves, _I64(0), row)
    in_turns = [half * lanes + j for j in range(lanes) for half in (0, 1)]
    whole = builder.and_(given.size, _I64(-lanes))
    with cgutils.for_range_slice(builder, _I64(0), whole, _I64(lanes), _I64) as (j, _):
        found = given.load(given.codes, builder.add(given.at, j), row)
        high = _permuted(builder, table, builder.lshr(found, ir.Constant(row, [4] * lanes)))
        low = _permuted(builder, table, builder.and_(found, ir.Constant(row, [15] * lanes)))
        mixed = builder.shuffle_vector(high, low, ir.Constant(ir.VectorType(_I32, len(in_turns)), in_turns))
        given.write(builder.mul(j, _I64(per_byte)), builder.sext(mixed, wide))
    _by_rows(given, per_byte, whole)


def _permuted(builder: Any, table: Any, numbers: Any) -> Any:
    """``table[numbers[j]]`` for 16 lanes j and numbers below 16."""
    if (name := _shuffle_of_bytes(builder.module.triple)) is not None:
        kind = ir.FunctionType(table.type, [table.type, table.type])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [table, numbers])
    found = ir.Constant(table.type, ir.Undefined)
    for j in range(table.type.count):
        number = builder.zext(builder.extract_element(numbers, _I32(j)), _I32)
        found = builder.insert_element(found, builder.extract_element(table, number), _I32(j))
    return found


def _shuffle_of_bytes(triple: str) -> str | None:
    """The one instruction for it, where numba compiles for this very processor and it has one."""
    if triple.startswith("x86_64") and has_feature("ssse3"):
        return "llvm.x86.ssse3.pshuf.b.128"
    return "llvm.aarch64.neon.tbl1.v16i8" if triple.startswith(("aarch64", "arm64")) else None
