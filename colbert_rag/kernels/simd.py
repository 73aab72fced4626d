"""Vector instructions for numba kernels, as LLVM operations that every processor's code generator knows.

numba's own loops are vectorised where LLVM sees through them. A comparison that becomes one bit per lane, and a sum of
products of 16-bit integers, are written out here instead: they are most of a search.
Nothing here checks bounds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import extending
from numba import types as t
from numba.core import cgutils, config

from colbert_rag.kernels.layout import LANES, WIDTH

__all__ = [
    "ROWS",
    "best_entries",
    "bits_within",
    "dot_float32",
    "dot_int16",
    "enter_scores",
    "fetch",
    "has_feature",
    "load_row",
    "lowest_bit",
    "take_scores",
]

# typed as a function that is called with the typing context, which callers leave out
intrinsic: Any = extending.intrinsic

# numba fills it with attributes when it is imported
_CONFIG: Any = config


def has_feature(name: str) -> bool:
    """Whether the processor that numba compiles for is this very one, and has an instruction set."""
    return not (_CONFIG.CPU_NAME or _CONFIG.CPU_FEATURES) and bool(get_host_cpu_features().get(name))


# float32 dot products at once: rows of documents by chunks of query tokens, whose sums fit 32 registers of 64 bytes,
# or 16 of 32
ROWS, CHUNK = (6, 16) if has_feature("avx512f") else (3, 8)

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()
_BYTES = ir.VectorType(_I8, WIDTH)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _splat(builder: Any, scalar: Any, size: int) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, size), ir.Undefined)
    first = builder.insert_element(undefined, scalar, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, size), [0] * size))


def _loaded(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    return builder.load(_address(context, builder, kind, array, index, vector), align=1)


@intrinsic
def best_entries(typing: Any, table: Any, base: Any, ids: Any, start: Any, end: Any, best: Any) -> Any:
    """``best[q] = max(table[base + ids[i] * WIDTH + q])`` over ``start <= i < end`` for WIDTH bytes; 0 for no ids."""
    # maxima of their own, so that one step need not wait for the one before
    n_rows = 4

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(_BYTES, [0] * WIDTH)
        tops = [cgutils.alloca_once_value(builder, zero) for _ in range(n_rows)]
        numbers = context.make_array(signature.args[2])(context, builder, args[2]).data

        def look(i: Any, top: Any) -> None:
            number = builder.zext(builder.load(builder.gep(numbers, [i])), _I64)
            place = builder.add(args[1], builder.mul(number, _I64(WIDTH)))
            builder.store(
                _larger(builder, _loaded(context, builder, signature.args[0], args[0], place, _BYTES), top), top
            )

        steps = builder.and_(builder.sub(args[4], args[3]), _I64(-n_rows))
        whole = builder.add(args[3], steps)
        with cgutils.for_range_slice(builder, args[3], whole, _I64(n_rows), _I64) as (i, _):
            for n, top in enumerate(tops):
                look(builder.add(i, _I64(n)), top)
        with cgutils.for_range_slice(builder, whole, args[4], _I64(1), _I64) as (i, _):
            look(i, tops[0])
        result = builder.load(tops[0])
        for top in tops[1:]:
            result = _larger(builder, result, top)
        place = _address(context, builder, signature.args[5], args[5], _I64(0), _BYTES)
        builder.store(result, place, align=1)
        return context.get_dummy_value()

    return t.void(table, t.uint64, ids, t.uint64, t.uint64, best), generate


def _larger(builder: Any, row: Any, top: Any) -> Any:
    before = builder.load(top)
    return builder.select(builder.icmp_unsigned(">", row, before), row, before)


@intrinsic
def bits_within(typing: Any, table: Any, at: Any, best: Any, slack: Any) -> Any:
    """Bit q is set where ``table[at + q] + slack >= best[q]``; ``uint32``, the sum does not wrap around."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _loaded(context, builder, signature.args[0], args[0], args[1], _BYTES)
        best = _loaded(context, builder, signature.args[2], args[2], _I64(0), _BYTES)
        slack = _splat(builder, args[3], WIDTH)
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
def take_scores(typing: Any, dots: Any, at: Any, out: Any, to: Any, tops: Any, top: Any) -> Any:
    """``out[to + q] = dots[at + q]`` for WIDTH floats, and ``tops[top + q]`` becomes as large as that."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds, floats = signature.args, ir.VectorType(_F32, WIDTH)
        row = _loaded(context, builder, kinds[0], args[0], args[1], floats)
        builder.store(row, _address(context, builder, kinds[2], args[2], args[3], floats), align=1)
        place = _address(context, builder, kinds[4], args[4], args[5], floats)
        before = builder.load(place, align=1)
        builder.store(builder.select(builder.fcmp_ordered(">", row, before), row, before), place, align=1)
        return context.get_dummy_value()

    return t.void(dots, t.uint64, out, t.uint64, tops, t.uint64), generate


@intrinsic
def enter_scores(typing: Any, scores: Any, at: Any, floors: Any, floor: Any, step: Any, out: Any, to: Any) -> Any:
    """``out[to + q] = (scores[at + q] - floors[floor + q]) * step`` as WIDTH bytes, 0 below and 255 above."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds, floats = signature.args, ir.VectorType(_F32, WIDTH)
        row, below = (_loaded(context, builder, kinds[n], args[n], args[n + 1], floats) for n in (0, 2))
        row = builder.fmul(builder.fsub(row, below), _splat(builder, args[4], WIDTH))
        least, most = (ir.Constant(floats, [bound] * WIDTH) for bound in (0.0, 255.0))
        row = builder.select(builder.fcmp_ordered(">", row, least), row, least)
        row = builder.select(builder.fcmp_ordered("<", row, most), row, most)
        entries = builder.trunc(builder.fptosi(row, ir.VectorType(_I32, WIDTH)), _BYTES)
        builder.store(entries, _address(context, builder, kinds[5], args[5], args[6], _BYTES), align=1)
        return context.get_dummy_value()

    return t.void(scores, t.uint64, floors, t.uint64, t.float32, out, t.uint64), generate


@intrinsic
def fetch(typing: Any, array: Any, index: Any) -> Any:
    """Begin to read the line of memory of ``array[index]``, which need not exist: nothing waits for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), _I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _I32, _I32, _I32])
        # read, keep in all caches, data
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(call, [place, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return t.void(array, t.uint64), generate


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


@intrinsic
def dot_float32(typing: Any, rows: Any, dim: Any, query: Any, at: Any, lanes: Any, out: Any) -> Any:
    """Dot products of ROWS rows of floats at once, so that each step of a query is read once for all of them.

    ``out[r * WIDTH + q] = sum(rows[r * dim + d] * query[at + d * WIDTH + q])`` for q below ``lanes``, from 1 to WIDTH,
    and some beyond; summed in the order of d.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = (0, 2, 5)
        rows, query, out = (context.make_array(signature.args[n])(context, builder, args[n]).data for n in numbers)
        wanted = builder.udiv(builder.add(args[4], _I64(CHUNK - 1)), _I64(CHUNK))
        for n_chunks in range(1, WIDTH // CHUNK + 1):
            with builder.if_then(builder.icmp_unsigned("==", wanted, _I64(n_chunks))):
                _dots(builder, (rows, query, out), (args[1], args[3]), n_chunks)
        return context.get_dummy_value()

    return t.void(rows, t.uint64, query, t.uint64, t.uint64, out), generate


def _dots(builder: Any, arrays: tuple[Any, Any, Any], sizes: tuple[Any, Any], n_chunks: int) -> None:
    (rows, query, out), (dim, at) = arrays, sizes
    floats = ir.VectorType(_F32, CHUNK)
    kind = ir.FunctionType(floats, [floats, floats, floats])
    add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{CHUNK}f32")
    zero = ir.Constant(floats, [0.0] * CHUNK)
    sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(n_chunks)] for _ in range(ROWS)]
    for total in (total for row in sums for total in row):
        builder.store(zero, total)

    def place(array: Any, index: Any) -> Any:
        return builder.bitcast(builder.gep(array, [index]), floats.as_pointer())

    with cgutils.for_range(builder, dim, intp=_I64) as loop:
        first = builder.add(at, builder.mul(loop.index, _I64(WIDTH)))
        steps = [builder.load(place(query, builder.add(first, _I64(c * CHUNK))), align=1) for c in range(n_chunks)]
        for r, row in enumerate(sums):
            index = builder.add(builder.mul(_I64(r), dim), loop.index)
            element = _splat(builder, builder.load(builder.gep(rows, [index])), CHUNK)
            for step, total in zip(steps, row, strict=True):
                builder.store(builder.call(add, [element, step, builder.load(total)]), total)
    for r, row in enumerate(sums):
        for c, total in enumerate(row):
            builder.store(builder.load(total), place(out, _I64(r * WIDTH + c * CHUNK)), align=1)


@intrinsic
def load_row(typing: Any, vectors: Any, at: Any, size: Any, out: Any, to: Any) -> Any:
    """``out[to + d] = vectors[at + d]`` as float32; ``vectors`` holds float32, or float16 as uint16."""
    lanes = 8

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def copied(d: Any, n: int) -> None:
            source = ir.VectorType(_I16 if vectors.dtype == t.uint16 else _F32, n)
            row = _loaded(context, builder, signature.args[0], args[0], builder.add(args[1], d), source)
            if vectors.dtype == t.uint16:
                row = _widened(builder, row, n)
            target = ir.VectorType(_F32, n)
            place = _address(context, builder, signature.args[3], args[3], builder.add(args[4], d), target)
            builder.store(row, place, align=1)

        whole = builder.and_(args[2], _I64(-lanes))
        with cgutils.for_range_slice(builder, _I64(0), whole, _I64(lanes), _I64) as (d, _):
            copied(d, lanes)
        with cgutils.for_range_slice(builder, whole, args[2], _I64(1), _I64) as (d, _):
            copied(d, 1)
        return context.get_dummy_value()

    return t.void(vectors, t.uint64, t.uint64, out, t.uint64), generate


def _widened(builder: Any, halves: Any, n: int) -> Any:
    """Finite float16 in 16 bits to float32, by integers: not every processor has an instruction for it."""
    wide = ir.VectorType(_I32, n)
    bits = builder.zext(halves, wide)
    sign = builder.shl(builder.and_(bits, ir.Constant(wide, [0x8000] * n)), ir.Constant(wide, [16] * n))
    rest = builder.shl(builder.and_(bits, ir.Constant(wide, [0x7FFF] * n)), ir.Constant(wide, [13] * n))
    floats = ir.VectorType(_F32, n)
    # the exponents' biases differ by 112; the product is right for the smallest numbers too
    size = builder.fmul(builder.bitcast(rest, floats), ir.Constant(floats, [2.0**112] * n))
    return builder.bitcast(builder.or_(builder.bitcast(size, wide), sign), floats)
