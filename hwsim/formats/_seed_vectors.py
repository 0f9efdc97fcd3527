"""Vector instructions of the seed search (LLVM's, of any processor): energies of 16 projections at once.

Lanes are weight blocks or directions, so that a row of the seed table is read once for 16 of them. Numbers from -1 to 1
are int16 in units of 1 / UNIT; the sums of their products are exact in int32. A row has P vectors of C entries, C
rounded up to even; tuples `c_` and `p_` carry C and P as compile-time lengths, and their contents are not used.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
UNIT = 32767
AHEAD = 32  # rows for which memory is asked before they are needed

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_SUMS = ir.VectorType(ir.IntType(32), LANES)
_PAIRS = ir.VectorType(ir.IntType(16), 2 * LANES)
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _row(context, builder, array_type, array, index):
    """Pointer to row `index` of a C-ordered array of two dimensions."""
    array = context.make_array(array_type)(context, builder, array)
    return builder.gep(array.data, [builder.mul(index, cgutils.unpack_tuple(builder, array.shape, 2)[1])])


def _vectors(context, builder, array_type, array, vector):
    """Pointer to the first vector of an array."""
    return builder.bitcast(context.make_array(array_type)(context, builder, array).data, vector.as_pointer())


def _part(builder, vector, picked):
    """Entries `picked` of a vector."""
    kind = ir.VectorType(_I32, len(picked))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), ir.Constant(kind, picked))


def _pair_sums(context, builder, a, b):
    """a[2l] b[2l] + a[2l+1] b[2l+1] of every lane; x86 has an instruction for it, which LLVM finds half of the time."""
    features = context.codegen().magic_tuple()[2].split(",")
    if "+avx512bw" in features:
        add = ir.FunctionType(_SUMS, [_PAIRS, _PAIRS])
        return builder.call(cgutils.get_or_insert_function(builder.module, add, "llvm.x86.avx512.pmaddw.d.512"), [a, b])
    if "+avx2" in features:
        half, sums = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(_I32, LANES // 2)
        add = ir.FunctionType(sums, [half, half])
        add = cgutils.get_or_insert_function(builder.module, add, "llvm.x86.avx2.pmadd.wd")
        low, high = list(range(LANES)), list(range(LANES, 2 * LANES))
        parts = [builder.call(add, [_part(builder, a, each), _part(builder, b, each)]) for each in (low, high)]
        return builder.shuffle_vector(*parts, ir.Constant(_SUMS, low))
    halves = [
        [builder.sext(_part(builder, x, list(range(first, 2 * LANES, 2))), _SUMS) for x in (a, b)] for first in (0, 1)
    ]
    return builder.add(*(builder.mul(*each) for each in halves))


def _energy(context, builder, c, p, row, lanes):
    """|Q w|^2 of LANES vectors w, which `lanes` points to; Q is at `row`."""
    undefined, every = ir.Constant(_SUMS, ir.Undefined), ir.Constant(_SUMS, [0] * LANES)
    row = builder.bitcast(row, _I32.as_pointer())
    sums = [None] * p
    for i in range((c + 1) // 2):
        column = builder.load(builder.gep(lanes, [_I32(i)]), align=4)
        for k in range(p):
            pair = builder.load(builder.gep(row, [_I32(k * ((c + 1) // 2) + i)]), align=4)
            spread = builder.shuffle_vector(builder.insert_element(undefined, pair, _I32(0)), undefined, every)
            both = _pair_sums(context, builder, builder.bitcast(spread, _PAIRS), column)
            sums[k] = both if sums[k] is None else builder.add(sums[k], both)
    total = None
    for each in sums:
        value = builder.sitofp(each, _FLOATS)
        square = builder.fmul(value, value, flags=("contract",))
        total = square if total is None else builder.fadd(square, total, flags=("contract",))
    return builder.fmul(total, ir.Constant(_FLOATS, [float(UNIT) ** -4] * LANES))


def _prefetch(context, builder, row, size):
    """Ask for `size` bytes at a pointer."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    row = builder.bitcast(row, byte)
    for at in range(0, size, 64):
        builder.call(ask, [builder.gep(row, [_I32(at)]), _I32(0), _I32(3), _I32(1)])


@intrinsic
def energies(typingctx, table, index, w, out, at, c_, p_):
    """out[at, l] = |Q w_l|^2 for every lane; Q is row `index` of `table`.

    table: int16[n, >= P * even C]; w: int16[even C / 2, LANES, 2]; out: float32[m, LANES].
    """

    def code(context, builder, signature, args):
        kinds = signature.args
        row = _row(context, builder, kinds[0], args[0], args[1])
        lanes = _vectors(context, builder, kinds[2], args[2], _PAIRS)
        total = _energy(context, builder, len(kinds[5]), len(kinds[6]), row, lanes)
        place = _row(context, builder, kinds[3], args[3], args[4])
        builder.store(total, builder.bitcast(place, _FLOATS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(table, types.int64, w, out, types.int64, c_, p_), code


@intrinsic
def four_energies(typingctx, table, listed, first, w, out, at, top, c_, p_):
    """`energies` of rows listed[first..first+3] into out[at..at+3]; top[0, l] is raised to them.

    listed: uint32, AHEAD entries longer than what is asked for: memory of rows further on is asked for.
    """

    def code(context, builder, signature, args):
        kinds = signature.args
        c, p = len(kinds[7]), len(kinds[8])
        numbers = context.make_array(kinds[1])(context, builder, args[1]).data
        lanes = _vectors(context, builder, kinds[3], args[3], _PAIRS)
        highest = _vectors(context, builder, kinds[6], args[6], _FLOATS)
        most = builder.load(highest, align=4)
        for k in range(4):
            here = builder.add(args[2], _I64(k))
            later = builder.zext(builder.load(builder.gep(numbers, [builder.add(here, _I64(AHEAD))])), _I64)
            _prefetch(context, builder, _row(context, builder, kinds[0], args[0], later), 2 * p * (c + c % 2))
            index = builder.zext(builder.load(builder.gep(numbers, [here])), _I64)
            total = _energy(context, builder, c, p, _row(context, builder, kinds[0], args[0], index), lanes)
            place = _row(context, builder, kinds[4], args[4], builder.add(args[5], _I64(k)))
            builder.store(total, builder.bitcast(place, _FLOATS.as_pointer()), align=4)
            most = builder.select(builder.fcmp_ordered(">", total, most), total, most)
        builder.store(most, highest, align=4)
        return context.get_dummy_value()

    return types.void(table, listed, types.int64, w, out, types.int64, top, c_, p_), code


@intrinsic
def above(typingctx, energy, at, limit):
    """Mask of the lanes of row `at` of `energy` (float32[n, LANES]) that are above their limit."""

    def code(context, builder, signature, args):
        row = builder.bitcast(_row(context, builder, signature.args[0], args[0], args[1]), _FLOATS.as_pointer())
        least = builder.load(_vectors(context, builder, signature.args[2], args[2], _FLOATS), align=4)
        mask = builder.fcmp_ordered(">", builder.load(row, align=4), least)
        return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), _I64)

    return types.int64(energy, types.int64, limit), code


@intrinsic
def entries(typingctx, energy, seed, bins, shift, out):
    """out[l] = seed + (bin of energy[0, l] << shift), bins being equal parts of 1 - energy from 0 to 1.

    bins, shift: literal numbers of bins and bits.
    """

    def code(context, builder, signature, args):
        kinds = signature.args
        count, places = kinds[2].literal_value, kinds[3].literal_value
        held = builder.load(_vectors(context, builder, kinds[0], args[0], _FLOATS), align=4)
        sine2 = builder.fsub(ir.Constant(_FLOATS, [1.0] * LANES), held)
        scaled = builder.fmul(sine2, ir.Constant(_FLOATS, [float(count)] * LANES))
        least, most = ir.Constant(_FLOATS, [0.0] * LANES), ir.Constant(_FLOATS, [count - 1.0] * LANES)
        scaled = builder.select(builder.fcmp_ordered(">", scaled, least), scaled, least)
        scaled = builder.select(builder.fcmp_ordered("<", scaled, most), scaled, most)
        found = builder.shl(builder.fptosi(scaled, _SUMS), ir.Constant(_SUMS, [places] * LANES))
        number = builder.insert_element(ir.Constant(_SUMS, ir.Undefined), builder.trunc(args[1], _I32), _I32(0))
        spread = builder.shuffle_vector(number, ir.Constant(_SUMS, ir.Undefined), ir.Constant(_SUMS, [0] * LANES))
        builder.store(builder.add(found, spread), _vectors(context, builder, kinds[4], args[4], _SUMS), align=4)
        return context.get_dummy_value()

    if not (isinstance(bins, types.IntegerLiteral) and isinstance(shift, types.IntegerLiteral)):
        return None
    return types.void(energy, types.int64, bins, shift, out), code


@intrinsic
def lowest(typingctx, mask):
    """Number of the lowest bit of a mask that is not 0."""

    def code(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


@intrinsic
def prefetch(typingctx, table, index, c_, p_):
    """Ask for the P * C entries of a row of `table`."""

    def code(context, builder, signature, args):
        size = len(signature.args[2]) * len(signature.args[3]) * signature.args[0].dtype.bitwidth // 8
        _prefetch(context, builder, _row(context, builder, signature.args[0], args[0], args[1]), size)
        return context.get_dummy_value()

    return types.void(table, types.int64, c_, p_), code
