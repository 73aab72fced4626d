"""Vector instructions for numba kernels, as LLVM operations that every processor's code generator knows.

numba's own loops are vectorised where LLVM sees through them. A comparison that becomes one bit per lane, and a sum of
products of 16-bit integers, are written out here instead: they are most of a search.
Nothing here checks bounds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending
from numba import types as t
from numba.core import cgutils

from colbert_rag.kernels.layout import LANES, WIDTH

__all__ = ["bits_within", "dot_int16", "keep_largest", "lowest_bit"]

# typed as a function that is called with the typing context, which callers leave out
intrinsic: Any = extending.intrinsic

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES = ir.VectorType(_I8, WIDTH)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _loaded(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    return builder.load(_address(context, builder, kind, array, index, vector), align=1)


@intrinsic
def keep_largest(typing: Any, table: Any, at: Any, best: Any) -> Any:
    """``best[q] = max(best[q], table[at + q])`` for each of WIDTH bytes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _loaded(context, builder, signature.args[0], args[0], args[1], _BYTES)
        place = _address(context, builder, signature.args[2], args[2], _I64(0), _BYTES)
        before = builder.load(place, align=1)
        builder.store(builder.select(builder.icmp_unsigned(">", row, before), row, before), place, align=1)
        return context.get_dummy_value()

    return t.void(table, t.uint64, best), generate


@intrinsic
def bits_within(typing: Any, table: Any, at: Any, best: Any, slack: Any) -> Any:
    """Bit q is set where ``table[at + q] + slack >= best[q]``; ``uint32``, the sum does not wrap around."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _loaded(context, builder, signature.args[0], args[0], args[1], _BYTES)
        best = _loaded(context, builder, signature.args[2], args[2], _I64(0), _BYTES)
        undefined = ir.Constant(_BYTES, ir.Undefined)
        first = builder.insert_element(undefined, args[3], _I32(0))
        slack = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, WIDTH), [0] * WIDTH))
        kind = ir.FunctionType(_BYTES, [_BYTES, _BYTES])
        add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.uadd.sat.v{WIDTH}i8")
        return builder.bitcast(builder.icmp_unsigned(">=", builder.call(add, [row, slack]), best), _I32)

    return t.uint32(table, t.uint64, best, t.uint8), generate


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set, of at least one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.cttz(args[0], ir.IntType(1)(1)), _I64)

    return t.uint64(t.uint32), generate


@intrinsic
def dot_int16(typing: Any, left: Any, right: Any, at: Any, size: Any) -> Any:
    """``sum(left[d] * right[at + d])`` as ``int32`` over ``size`` elements, a multiple of LANES."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, products = ir.VectorType(_I16, LANES), ir.VectorType(_I32, LANES)
        sums = ir.VectorType(_I32, LANES // 2)
        undefined = ir.Constant(products, ir.Undefined)
        even, odd = (ir.Constant(sums, list(range(first, LANES, 2))) for first in (0, 1))
        total = cgutils.alloca_once_value(builder, ir.Constant(sums, [0] * (LANES // 2)))
        step = _I64(LANES)
        with cgutils.for_range_slice(builder, _I64(0), args[3], step, _I64) as (d, _):
            a = _loaded(context, builder, signature.args[0], args[0], d, words)
            b = _loaded(context, builder, signature.args[1], args[1], builder.add(args[2], d), words)
            product = builder.mul(builder.sext(a, products), builder.sext(b, products))
            pairs = [builder.shuffle_vector(product, undefined, chosen) for chosen in (even, odd)]
            builder.store(builder.add(builder.load(total), builder.add(*pairs)), total)
        kind = ir.FunctionType(_I32, [sums])
        reduce = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{LANES // 2}i32")
        return builder.call(reduce, [builder.load(total)])

    return t.int32(left, right, t.uint64, t.uint64), generate
