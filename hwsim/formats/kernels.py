"""Compiled loops of the formats; nothing compiles at import, and what compiles is cached on disk.

Fast loops: one pass over float32 in whole blocks (1-D, contiguous), round to nearest even. They compare and add
bit patterns, so they vectorise: 32-bit integers are wrapped at every step, because numba widens them otherwise.
General loop (`encode_quotients`): any rounding, any scale, float32 or float64, exact by construction.
Every loop writes only the blocks it is given, so that threads cannot change a bit.
"""

from __future__ import annotations

import numba
import numpy as np

RNE, AWAY, ZERO, STOCHASTIC = range(4)

_i32 = np.int32
_u64 = numba.uint64
_INF_BITS = np.int32(0x7F800000)
_ABS_BITS = np.int32(0x7FFFFFFF)

_jit = numba.njit(nogil=True, cache=True)
_inline = numba.njit(nogil=True, cache=True, inline="always")

INVERSE_POWERS = np.array([2.0 ** (127 - code) for code in range(255)], np.float32)
"""2^-(code - 127) by scale code; the last one is subnormal, and exact."""


@_inline
def _bits32(value):
    return np.float32(value).view(np.int32)


@_inline
def _float32(bits):
    return np.int32(bits).view(np.float32)


@_inline
def _exponent(value):
    """floor(log2 value) of a normal float64; below -1022 for subnormals and zero."""
    return ((np.float64(value).view(np.int64) >> 52) & 0x7FF) - 1023


@_inline
def _pow2(exponent):
    return np.int64((exponent + 1023) << 52).view(np.float64)


@_inline
def _block_max(bits, at, n):
    """Largest magnitude as bits: integers order like the floats, Inf and NaN on top."""
    top = _i32(0)
    for k in range(n):
        top = max(top, _i32(bits[at + k] & _ABS_BITS))
    return top


@_inline
def _mx_float(x, bits, at, n, inverse, base, mantissa_bits, max_code, sign_bit, sign_shift, codes):
    """y + 2^(e_y + 23 - m) makes the adder round y to m fraction bits; the sum's low bits are the code's."""
    up = _i32(_i32(_i32(23) - mantissa_bits) << _i32(23))
    down = _i32(_i32(23) - mantissa_bits)
    for k in range(n):
        y = abs(x[at + k]) * inverse
        exponent = max(_i32(_bits32(y) & _INF_BITS), base)
        magic = _i32(exponent + up)
        code = _i32(_i32(_i32(exponent - base) >> down) + _i32(_bits32(y + _float32(magic)) - magic))
        code = min(code, max_code)
        codes[at + k] = np.uint8(_i32(code | _i32(_i32(bits[at + k] >> sign_shift) & sign_bit)))


@_inline
def _mx_integer(x, at, n, inverse, unit, max_code, codes):
    magic = np.float32(12582912.0)  # 1.5 * 2^23: the adder rounds to integers, of either sign
    for k in range(n):
        code = _i32(_bits32(x[at + k] * inverse * unit + magic) - _i32(0x4B400000))
        code = max(min(code, max_code), _i32(-max_code))
        codes[at + k] = np.uint8(code)


@_inline
def mx_exponent(amax, mantissa_bits, emax, max_normal, rule):
    """Exponent of the E8M0 scale before clamping; 0 floor, 1 even, 2 rceil, 3 ceil. amax: float64 > 0, normal."""
    pattern = np.float64(amax).view(np.int64)
    if rule == 3 and pattern & np.int64(0xFFFFFFFFFFFFF):
        pattern += np.int64(1) << np.int64(52)
    if rule == 1:
        pattern += np.int64(1) << np.int64(51 - mantissa_bits)
    exponent = (pattern >> 52) - 1023 - emax
    if rule == 2 and amax > max_normal * _pow2(max(min(exponent, 900), -900)):
        exponent += 1
    return exponent


@_jit
def encode_mx(
    x, bits, block, rule, integer, code_bits, mantissa_bits, emin, emax, max_normal, max_code, inverse, codes, scales
):
    """x, bits: float32[n * block] and its view as int32; codes: uint8[n * block]; scales: uint8[n]."""
    base = _i32(_i32(emin + 127) << _i32(23))
    m, top_code = _i32(mantissa_bits), _i32(max_code)
    sign, shift = _i32(1 << (code_bits - 1)), _i32(32 - code_bits)
    unit = np.float32(_pow2(mantissa_bits))
    full = block == 32
    for b in range(scales.size):
        at = _u64(b) * _u64(block)
        top = _block_max(bits, at, _u64(32)) if full else _block_max(bits, at, _u64(block))
        if top >= _INF_BITS:
            scales[b] = 255
            for k in range(_u64(block)):
                codes[at + k] = 0
            continue
        exponent = -127
        if top > 0:
            exponent = mx_exponent(np.float64(_float32(top)), mantissa_bits, emax, max_normal, rule)
            exponent = max(min(exponent, 127), -127)
        scales[b] = exponent + 127
        inv = inverse[exponent + 127]
        if integer:
            if full:
                _mx_integer(x, at, _u64(32), inv, unit, top_code, codes)
            else:
                _mx_integer(x, at, _u64(block), inv, unit, top_code, codes)
        elif full:
            _mx_float(x, bits, at, _u64(32), inv, base, m, top_code, sign, shift, codes)
        else:
            _mx_float(x, bits, at, _u64(block), inv, base, m, top_code, sign, shift, codes)


@_jit
def mx_scales(maxima, rule, mantissa_bits, emax, max_normal, scales):
    """E8M0 codes of block maxima (float64[n], Inf: NaN) by a scale rule."""
    for b in range(scales.size):
        top = maxima[b]
        if top == np.inf:
            scales[b] = 255
        elif top == 0.0:
            scales[b] = 0
        else:
            scales[b] = max(min(mx_exponent(top, mantissa_bits, emax, max_normal, rule), 127), -127) + 127


@_inline
def round_quotient(a, d, integer, m, emin, max_code, mode, r):
    """Code of a / d rounded once, without its sign; exact for a >= 0 in float64 and d of at most 32 bits.

    The quotient's first 8 bits below the last kept one and "is anything left" decide every rounding. Its exponent
    and integer part are exact: where n d is a float64, a < n d gives a / d < n in float64 too, because the float64
    below n d is farther from it, relative to n, than half the float64 spacing below n.
    """
    q = a / d
    if q >= 1.0e12:
        return np.int64(max_code)
    exponent = np.int64(emin)
    if not integer:
        exponent = max(_exponent(q), np.int64(emin))
    unit = d * _pow2(exponent - m - 8)
    parts = np.int64(a / unit)
    rest = unit * parts != a
    n, part = parts >> 8, parts & 255
    if mode == RNE:
        # The even code: that of an even n, unless the element has no fraction bits.
        odd = (((exponent - emin) << m) + n) & 1
        n += part > 128 or (part == 128 and (rest or odd == 1))
    elif mode == AWAY:
        n += part >= 128
    elif mode == STOCHASTIC:
        n += part + r >= 256
    return min(((exponent - emin) << m) + n, np.int64(max_code))


@_inline
def eight_steps(s):
    """Eight steps at once of the 32-bit register with taps at bits 0, 10, 30, 31.

    New bit j is t_j + b_(j-2) + b_(j-1) over GF(2), t = s + (s >> 10) and the old bits 30 and 31 as b_(-2), b_(-1):
    the series of 1/(1 + z + z^2) = (1 + z)/(1 + z^3).
    """
    t = (s ^ (s >> _u64(10))) & _u64(255)
    t ^= ((s >> _u64(30)) ^ (s >> _u64(31))) & _u64(1)
    t ^= ((s >> _u64(31)) & _u64(1)) << _u64(1)
    v = t ^ (t << _u64(1))
    b = (v ^ (v << _u64(3)) ^ (v << _u64(6))) & _u64(255)
    return (s >> _u64(8)) | (b << _u64(24))


@_inline
def mixed(seed):
    """State 0 of a seed, `draws.mix`."""
    h = seed
    h = ((h ^ (h >> _u64(16))) * _u64(0x85EBCA6B)) & _u64(0xFFFFFFFF)
    h = ((h ^ (h >> _u64(13))) * _u64(0xC2B2AE35)) & _u64(0xFFFFFFFF)
    return h ^ (h >> _u64(16))


@_jit
def encode_quotients(x, real, block, divisors, integer, m, emin, max_code, most_negative, bits, mode, register, codes):
    """Elements of any format but through one exact division each.

    x: float[rows, n * block], padded; real: values of a row that are not padding; divisors: float64[rows, n], 0 or NaN
    gives zero codes. integer: 0 float element, 1 two's complement, 2 sign and magnitude.
    most_negative: largest magnitude of a negative value.
    register: uint64[4], (state, values left, seed, values of an epoch) of `draws.start`, before the first value.
    """
    sign = np.int64(1) << (bits - 1)
    state, left, seed, epoch = register[0], register[1], register[2], register[3]
    for row in range(x.shape[0]):
        for b in range(divisors.shape[1]):
            d = divisors[row, b]
            for k in range(b * block, min(b * block + block, real)):
                if mode == STOCHASTIC:
                    if left == _u64(0):
                        seed = seed % _u64(0xFFFFFFFF) + _u64(1)
                        state, left = mixed(seed), epoch
                    state = eight_steps(state)
                    left -= _u64(1)
                code = np.int64(0)
                if d > 0.0:
                    value = np.float64(x[row, k])
                    negative = (value.view(np.int64) >> 63) != 0
                    limit = most_negative if negative else max_code
                    code = round_quotient(
                        abs(value), d, integer != 0, m, emin, limit, mode, np.int64(state & _u64(255))
                    )
                    if negative:
                        if integer == 1:
                            code = (-code) & (2 * sign - 1)
                        elif integer == 0 or code != 0:
                            code |= sign
                codes[row, k] = code
            for k in range(max(real, b * block), b * block + block):
                codes[row, k] = 0


@_jit
def encode_nearest(x, real, block, divisors, integer, m, emin, max_code, most_negative, bits, codes):
    """`encode_quotients` for float32 and nearest even, several times faster: the float64 quotient is rounded again.

    That is exact: a quotient of 24 by at most 32 bits that is not on a midpoint (at most 9 bits) is 2^-41 from it,
    and one by a power of two (BDR) is exact.
    """
    sign = np.int64(1) << np.int64(bits - 1)
    mask = np.int64(2) * sign - np.int64(1)
    least, scale_up = np.int64(emin), np.int64(52 - m)
    fixed = integer != 0
    for row in range(x.shape[0]):
        for b in range(divisors.shape[1]):
            d = divisors[row, b]
            first, last = _u64(b * block), _u64(min(b * block + block, real))
            if not d > 0.0:
                for k in range(first, _u64(b * block + block)):
                    codes[row, k] = 0
                continue
            for k in range(first, last):
                value = np.float64(x[row, k])
                negative = np.float64(value).view(np.int64) < 0
                q = min(abs(value) / d, 1048576.0)
                exponent = least if fixed else max(_exponent(q), least)
                magic = _pow2(exponent + scale_up)
                n = np.float64(q + magic).view(np.int64) - np.float64(magic).view(np.int64)
                code = min(((exponent - least) << m) + n, most_negative if negative else max_code)
                if integer == 1:
                    code = (-code if negative else code) & mask
                else:
                    code |= sign if negative and (integer == 0 or code != 0) else np.int64(0)
                codes[row, k] = code
            for k in range(last, _u64(b * block + block)):
                codes[row, k] = 0


@_jit
def round_bfloat16(bits, out):
    """Upper halves of float32 patterns, rounded to nearest even; NaN stays NaN."""
    for k in range(out.size):
        pattern = bits[k]
        if (pattern & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
            out[k] = np.uint16(pattern >> np.uint32(16)) | np.uint16(0x40)
        else:
            half = np.uint32(0x7FFF) + ((pattern >> np.uint32(16)) & np.uint32(1))
            out[k] = np.uint16((pattern + half) >> np.uint32(16))


@_jit
def block_maxima(x, block, out):
    """Largest magnitude of each block as float64; Inf where a value is Inf or NaN. x: float[n * block]."""
    for b in range(out.size):
        top = 0.0
        for k in range(b * block, b * block + block):
            a = abs(np.float64(x[k]))
            if not a <= top:
                top = a if a < np.inf else np.inf
        out[b] = top


@_inline
def _e4m3_quotient(a, d):
    """E4M3 code of a / d to nearest even, saturated at 448 (code 0x7E); a is a float32, d has at most 27 bits.

    The float64 quotient cannot land on a midpoint (5 bits) that the exact one misses: they differ by 2^-32 at least.
    """
    q = a / d
    exponent = max(_exponent(q), np.int64(-6))
    magic = _pow2(exponent + 49)  # the adder rounds to 3 fraction bits
    n = np.float64(q + magic).view(np.int64) - np.float64(magic).view(np.int64)
    return min(((exponent + 6) << 3) + n, np.int64(126))


@_jit
def encode_nvfp4(x, bits, tensor_scale, given, values, codes, scales):
    """Blocks of 16 of float32: E4M3 scales (as given where `given`), E2M1 codes by comparison with exact midpoints.

    values: float64[256], E4M3 by code. A float32 at or above the k-th threshold has at least code k + 1.
    """
    threshold = np.empty(8, np.int32)
    middle = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 8.0])
    tie_down = np.array([1, 0, 1, 0, 1, 0, 1, 0], np.int32)  # a tie goes to the even code
    for b in range(scales.size):
        at = _u64(b) * _u64(16)
        top = _block_max(bits, at, _u64(16))
        if top >= _INF_BITS:
            scales[b] = 127
        elif not given:
            scales[b] = _e4m3_quotient(np.float64(_float32(top)), 6.0 * tensor_scale)
        d = values[scales[b]] * tensor_scale
        if top >= _INF_BITS or not d > 0.0:
            for k in range(_u64(16)):
                codes[at + k] = 0
            continue
        for j in range(_u64(8)):
            exact = d * middle[j]
            near = np.float32(exact)
            wide = np.float64(near)
            threshold[j] = _i32(_bits32(near) + _i32(_i32(wide < exact) | _i32(_i32(wide == exact) & tie_down[j])))
        t0, t1, t2, t3 = threshold[0], threshold[1], threshold[2], threshold[3]
        t4, t5, t6 = threshold[4], threshold[5], threshold[6]
        for k in range(_u64(16)):
            a = _i32(bits[at + k] & _ABS_BITS)
            low = _i32(_i32(_i32(a >= t0) + _i32(a >= t1)) + _i32(_i32(a >= t2) + _i32(a >= t3)))
            high = _i32(_i32(_i32(a >= t4) + _i32(a >= t5)) + _i32(a >= t6))
            codes[at + k] = np.uint8(_i32(_i32(low + high) | _i32(_i32(bits[at + k] >> _i32(28)) & _i32(8))))


@_jit
def encode_bdr(x, bits, pairs, magnitude_bits, inverse, codes, scales, shifts):
    """Blocks of 16 of float32 with a 1-bit shift for each two: scale, shifts, sign and magnitude codes.

    bits, pairs: views of x as int32 and int64.
    """
    most = _i32(_i32(1 << magnitude_bits) - 1)
    sign_shift = _i32(31 - magnitude_bits)
    sign = _i32(1 << magnitude_bits)
    magic = np.float32(8388608.0)  # 2^23: the adder rounds to integers
    # Two equal float32 steps in one int64, for a sub-block without and with its shift.
    plain = np.int64(_bits32(np.float32(_pow2(magnitude_bits - 1)))) * np.int64(0x100000001)
    shifted = np.int64(_bits32(np.float32(_pow2(magnitude_bits)))) * np.int64(0x100000001)
    double = np.empty(8, np.int64)
    factor = double.view(np.float32)
    for b in range(scales.size):
        at, sub = _u64(b) * _u64(16), _u64(b) * _u64(8)
        top = _block_max(bits, at, _u64(16))
        if top >= _INF_BITS or top == 0:
            scales[b] = 255 if top else 0
            for k in range(_u64(16)):
                codes[at + k] = 0
            for k in range(_u64(8)):
                shifts[sub + k] = 0
            continue
        code = top >> 23  # E + 127; a subnormal maximum is clamped to -127
        scales[b] = code
        inv = inverse[code]
        binade = np.int64(code << 23) if code else np.int64(0x00400000)  # 2^E as bits
        for j in range(_u64(8)):
            pair = pairs[sub + j]
            small = max(pair & np.int64(0x7FFFFFFF), (pair >> np.int64(32)) & np.int64(0x7FFFFFFF)) < binade
            shifts[sub + j] = np.uint8(small)
            double[j] = shifted if small else plain
        for k in range(_u64(16)):
            magnitude = min(_i32(_bits32(abs(x[at + k]) * inv * factor[k] + magic) - _i32(0x4B000000)), most)
            mark = _i32(_i32(bits[at + k] >> sign_shift) & sign)
            codes[at + k] = np.uint8(_i32(magnitude | (mark if magnitude > 0 else _i32(0))))


@_jit
def decode_blocks(codes, values, scales, block, out):
    """out = float32(values[code] * scale), the product exact in float64; scales: float64[rows, n]."""
    for row in range(codes.shape[0]):
        for k in range(codes.shape[1]):
            out[row, k] = np.float32(values[codes[row, k]] * scales[row, k // block])


@_jit
def pack_rows(codes, code_bits, scales, scale_bits, shifts, shift_bits, block, sub_blocks, out):
    """Records of each row into bytes, least significant bit first: scale, shifts, elements. Arrays are [rows, ...]."""
    for row in range(out.shape[0]):
        word, held, at = _u64(0), 0, 0
        for b in range(codes.shape[1] // block):
            for field in range(1 + sub_blocks + block):
                if field == 0:
                    if scale_bits == 0:
                        continue
                    value, bits = _u64(scales[row, b]), scale_bits
                elif field <= sub_blocks:
                    value, bits = _u64(shifts[row, b * sub_blocks + field - 1]), shift_bits
                else:
                    value, bits = _u64(codes[row, b * block + field - 1 - sub_blocks]), code_bits
                word |= value << _u64(held)
                held += bits
                while held >= 8:
                    out[row, at] = word & _u64(255)
                    at += 1
                    word >>= _u64(8)
                    held -= 8
        if held:
            out[row, at] = word & _u64(255)


@_jit
def unpack_rows(data, code_bits, scales, scale_bits, shifts, shift_bits, block, sub_blocks, codes):
    """The inverse of `pack_rows`."""
    for row in range(data.shape[0]):
        word, held, at = _u64(0), 0, 0
        for b in range(codes.shape[1] // block):
            for field in range(1 + sub_blocks + block):
                bits = scale_bits if field == 0 else shift_bits if field <= sub_blocks else code_bits
                if bits == 0:
                    continue
                while held < bits:
                    word |= _u64(data[row, at]) << _u64(held)
                    at += 1
                    held += 8
                value = word & ((_u64(1) << _u64(bits)) - _u64(1))
                word >>= _u64(bits)
                held -= bits
                if field == 0:
                    scales[row, b] = value
                elif field <= sub_blocks:
                    shifts[row, b * sub_blocks + field - 1] = value
                else:
                    codes[row, b * block + field - 1 - sub_blocks] = value
