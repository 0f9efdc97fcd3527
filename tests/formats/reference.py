"""Every format in rational arithmetic, one value at a time; imports nothing of hwsim.

A format here is a function of rows of Python floats; elements are found in tables of values, not by shifting.
"""

from __future__ import annotations

import bisect
import itertools
import math
from fractions import Fraction as F

MAX32 = F(2) ** 128 - F(2) ** 104


def minifloat(exponent_bits: int, fraction_bits: int, bias: int, top: int) -> list[F]:
    """Values of the codes 0..top (the sign bit clear)."""
    values = []
    for code in range(top + 1):
        exponent, fraction = code >> fraction_bits, code % (1 << fraction_bits)
        lead = 1 if exponent else 0
        values.append((lead + F(fraction, 1 << fraction_bits)) * F(2) ** (max(exponent, 1) - bias))
    return values


# name: (values by code, bits, fraction bits, largest exponent)
ELEMENTS = {
    "E5M2": (minifloat(5, 2, 15, 0x7B), 8, 2, 15),
    "E4M3": (minifloat(4, 3, 7, 0x7E), 8, 3, 8),
    "E3M2": (minifloat(3, 2, 3, 0x1F), 6, 2, 4),
    "E2M3": (minifloat(2, 3, 1, 0x1F), 6, 3, 2),
    "E2M1": (minifloat(2, 1, 1, 0x07), 4, 1, 2),
    "INT8": ([F(i, 64) for i in range(128)], 8, 6, 0),
}
E4M3 = ELEMENTS["E4M3"][0]


def lfsr32(seed: int):
    """The states after `seed`: shift right, the XOR of bits 0, 10, 30, 31 enters at the top."""
    state = seed
    while True:
        new = (state ^ (state >> 10) ^ (state >> 30) ^ (state >> 31)) & 1
        state = (state >> 1) | (new << 31)
        yield state


def mixed(seed: int) -> int:
    """The finaliser of MurmurHash3 for 32 bits."""
    h = (seed ^ (seed >> 16)) * 0x85EBCA6B % 2**32
    h = (h ^ (h >> 13)) * 0xC2B2AE35 % 2**32
    return h ^ (h >> 16)


def draws(seed: int):
    """The eight bits of each element: the low byte of every eighth state after the mixed seed."""
    return (state & 255 for state in itertools.islice(lfsr32(mixed(seed)), 7, None, 8))


def round_up(part: F, odd: bool, rounding: str, r: int) -> bool:
    """Whether a value `part` (0 <= part < 1) of the way to the next code goes there."""
    if rounding == "rne":
        return part > F(1, 2) or (part == F(1, 2) and odd)
    if rounding == "away":
        return part >= F(1, 2)
    return rounding == "stochastic" and part + F(r, 256) >= 1


def nearest_code(magnitude: F, values: list[F], rounding: str, r: int) -> int:
    """Code of a magnitude in a table of ascending values, saturated."""
    if magnitude >= values[-1]:
        return len(values) - 1
    low = bisect.bisect_right(values, magnitude) - 1
    part = (magnitude - values[low]) / (values[low + 1] - values[low])
    return low + round_up(part, low % 2 == 1, rounding, r)


def floor_log2(v: F) -> int:
    e = v.numerator.bit_length() - v.denominator.bit_length()
    return e if v >= F(2) ** e else e - 1


def to_float(v: F, fraction_bits: int, emin: int, most: F, saturate: bool) -> F | None:
    """v >= 0 rounded to nearest even; beyond `most`: `most` when `saturate`, else None (Inf)."""
    if v == 0:
        return v
    step = F(2) ** (max(floor_log2(v), emin) - fraction_bits)
    rounded = round(v / step) * step
    if rounded > most:
        return most if saturate else None
    return rounded


def fl32(v: F, saturate: bool = True) -> F | None:
    return to_float(v, 23, -126, MAX32, saturate)


def fl16(v: F) -> F:
    return to_float(v, 10, -14, F(65504), True)


def float32_of(v: F | None, negative: bool = False) -> float:
    """The float that decode must give for an exact value; None is NaN."""
    if v is None:
        return math.nan
    r = fl32(abs(v), saturate=False)
    magnitude = math.inf if r is None else float(r)
    return -magnitude if negative else magnitude


def is_negative(x: float) -> bool:
    return math.copysign(1.0, x) < 0


def blocks(row: list[float], size: int) -> list[list[float]]:
    """A row in whole blocks, zeros at the end."""
    whole = row + [0.0] * (-len(row) % size)
    return [whole[i : i + size] for i in range(0, len(whole), size)]


def randoms(rows: list[list[float]], rounding: str, seed: int):
    """The eight bits of each value, row by row; all zero when they are not used."""
    bits = draws(seed) if rounding == "stochastic" else itertools.repeat(0)
    return [[next(bits) for _ in row] for row in rows]


def element_code(x: float, scale: F, values: list[F], bits: int, integer: bool, rounding: str, r: int) -> int:
    """Code of x / scale; two's complement when `integer`."""
    code = nearest_code(abs(F(x)) / scale, values, rounding, r)
    if not is_negative(x):
        return code
    return -code % (1 << bits) if integer else code | 1 << (bits - 1)


def mx(rows, element: str, block: int, rule: str, rounding: str, seed: int = 1):
    """(codes, scales, decoded) of an MX format."""
    values, bits, m, emax = ELEMENTS[element]
    dice = randoms(rows, rounding, seed)
    codes, scales, decoded = [], [], []
    for row, rs in zip(rows, dice, strict=True):
        rs = rs + [0] * block
        row_codes, row_scales, row_values = [], [], []
        for b, xs in enumerate(blocks(row, block)):
            if not all(map(math.isfinite, xs)):
                row_scales.append(255)
                row_codes += [0] * block
                row_values += [math.nan] * block
                continue
            amax = max(abs(F(x)) for x in xs)
            e = -127
            if amax:
                if rule == "rceil":
                    e = floor_log2(amax / values[-1])
                    e += amax > values[-1] * F(2) ** e
                else:
                    if rule == "even":
                        unit = F(2) ** (floor_log2(amax) - m)
                        amax = math.floor(amax / unit + F(1, 2)) * unit
                    e = floor_log2(amax) - emax
                    e += rule == "ceil" and amax > F(2) ** floor_log2(amax)
                e = min(max(e, -127), 127)
            row_scales.append(e + 127)
            for i, x in enumerate(xs):
                code = element_code(x, F(2) ** e, values, bits, element == "INT8", rounding, rs[b * block + i])
                row_codes.append(code)
                row_values.append(signed(code, values, bits, element == "INT8", F(2) ** e))
        codes.append(row_codes[: len(row)])
        scales.append(row_scales)
        decoded.append(row_values[: len(row)])
    return codes, scales, decoded


def signed(code: int, values: list[F], bits: int, integer: bool, scale: F) -> float:
    """What a code decodes to."""
    negative = bool(code >> (bits - 1))
    if integer and negative:
        return float32_of(-values[(1 << bits) - code] * scale, True)
    return float32_of(values[code & ((1 << (bits - 1)) - 1)] * scale, negative)


def nvfp4(rows, rounding: str = "rne", seed: int = 1, reach: int = 2688, four_over_six: bool = False):
    """(codes, scales, s_t, decoded) with exact quotients."""
    values, bits, _, _ = ELEMENTS["E2M1"]
    finite = [abs(F(x)) for row in rows for x in row if math.isfinite(x)]
    s_t = fl32(max(finite, default=F(0)) / reach) or F(1)
    dice = randoms(rows, rounding, seed)
    codes, scales, decoded = [], [], []
    for row, rs in zip(rows, dice, strict=True):
        rs = rs + [0] * 16
        row_codes, row_scales, row_values = [], [], []
        for b, xs in enumerate(blocks(row, 16)):
            if not all(map(math.isfinite, xs)):
                row_scales.append(0x7F)
                row_codes += [0] * 16
                row_values += [math.nan] * 16
                continue
            tries = []
            for top in (6, 4) if four_over_six else (6,):
                s = nearest_code(max(abs(F(x)) for x in xs) / (top * s_t), E4M3, "rne", 0)
                d = E4M3[s] * s_t
                cs = [0] * 16
                if d:
                    cs = [element_code(x, d, values, bits, False, rounding, rs[b * 16 + i]) for i, x in enumerate(xs)]
                error = sum((abs(F(x)) - values[c & 7] * d) ** 2 for x, c in zip(xs, cs, strict=True))
                tries.append((error, s, d, cs))
            _, s, d, cs = min(tries, key=lambda t: t[0])  # the first, 6, wins a tie
            row_scales.append(s)
            row_codes += cs
            row_values += [signed(c, values, bits, False, d) for c in cs]
        codes.append(row_codes[: len(row)])
        scales.append(row_scales)
        decoded.append(row_values[: len(row)])
    return codes, scales, s_t, decoded


def bdr(rows, m: int, k1: int, d1: int, k2: int, d2: int, rounding: str, seed: int = 1):
    """(codes, scales, shifts, decoded) of a BDR point."""
    bias, most, deepest = 2 ** (d1 - 1) - 1, 2**m - 1, 2**d2 - 1
    dice = randoms(rows, rounding, seed)
    codes, scales, shifts, decoded = [], [], [], []
    for row, rs in zip(rows, dice, strict=True):
        rs = rs + [0] * k1
        row_codes, row_scales, row_shifts, row_values = [], [], [], []
        for b, xs in enumerate(blocks(row, k1)):
            finite = all(map(math.isfinite, xs))
            amax = max(abs(F(x)) for x in xs) if finite else F(0)
            if not amax:
                row_scales.append(0 if finite else 2**d1 - 1)
                row_codes += [0] * k1
                row_shifts += [0] * (k1 // k2)
                row_values += [0.0 if finite else math.nan] * k1
                continue
            e = min(max(floor_log2(amax), -bias), bias)
            row_scales.append(e + bias)
            for j in range(0, k1, k2):
                top = max(abs(F(x)) for x in xs[j : j + k2])
                t = min(max(e - floor_log2(top), 0), deepest) if top else deepest
                row_shifts.append(t)
                step = F(2) ** (e - t - (m - 1))
                for i in range(j, j + k2):
                    q = abs(F(xs[i])) / step
                    n = math.floor(q)
                    n = min(n + round_up(q - n, n % 2 == 1, rounding, rs[b * k1 + i]), most)
                    negative = is_negative(xs[i]) and n > 0
                    row_codes.append(n | negative << m)
                    row_values.append(float32_of(n * step, negative))
        codes.append(row_codes[: len(row)])
        scales.append(row_scales)
        shifts.append(row_shifts)
        decoded.append(row_values[: len(row)])
    return codes, scales, shifts, decoded


def finite_sizes(xs) -> list[F]:
    """Magnitudes of the values that are neither NaN nor infinite."""
    return [abs(F(x)) for x in xs if math.isfinite(x)]


def special_code(x: float, values: list[F]) -> int:
    """NaN has its code, infinity that of the largest value."""
    return 0x7F if math.isnan(x) else len(values) - 1 | (0x80 if x < 0 else 0)


def tiled(rows, tile_rows: int, rounding: str, seed: int = 1):
    """(codes, scales as fractions, decoded) of one fp8_block matrix: each tile's scale from its own values alone."""
    n, k = len(rows), len(rows[0])
    dice = randoms(rows, rounding, seed)
    codes, decoded = [[0] * k for _ in rows], [[0.0] * k for _ in rows]
    scales = []
    for i in range(0, n, tile_rows):
        scales.append([])
        for j in range(0, k, 128):
            at = [(r, c) for r in range(i, min(i + tile_rows, n)) for c in range(j, min(j + 128, k))]
            s = fl32(max(finite_sizes(rows[r][c] for r, c in at), default=F(0)) / 448) or F(1)
            scales[-1].append(s)
            for r, c in at:
                x = rows[r][c]
                if math.isfinite(x):
                    codes[r][c] = element_code(x, s, E4M3, 8, False, rounding, dice[r][c])
                else:
                    codes[r][c] = special_code(x, E4M3)
                decoded[r][c] = math.nan if math.isnan(x) else signed(codes[r][c], E4M3, 8, False, s)
    return codes, scales, decoded


def scaled(rows, kind: str, rounding: str, seed: int = 1):
    """(codes, scales as fractions, decoded): fp8_e4m3 and fp8_e5m2 one scale, int8 and fp8_row one per row, int4_g128
    one per group."""
    values, bits, integer = {
        "fp8_e4m3": (E4M3, 8, False),
        "fp8_row": (E4M3, 8, False),
        "fp8_e5m2": (ELEMENTS["E5M2"][0], 8, False),
        "int8": ([F(i) for i in range(128)], 8, True),
        "int4_g128": ([F(i) for i in range(8)], 4, True),
    }[kind]
    dice = randoms(rows, rounding, seed)
    everything = finite_sizes(x for row in rows for x in row)
    codes, scales, decoded = [], [], []
    for row, rs in zip(rows, dice, strict=True):
        size = 128 if kind == "int4_g128" else max(len(row), 1)
        rs = rs + [0] * size
        row_codes, row_scales, row_values = [], [], []
        for b, xs in enumerate(blocks(row, size)):
            top = max(everything if kind in ("fp8_e4m3", "fp8_e5m2") else finite_sizes(xs), default=F(0))
            s = fl16(top / 7) if kind == "int4_g128" else fl32(top / values[-1])
            s = s or F(1)
            row_scales.append(s)
            for i, x in enumerate(xs):
                if not math.isfinite(x):
                    code = special_code(x, values)
                else:
                    table = [*values, F(8)] if kind == "int4_g128" and is_negative(x) else values
                    code = element_code(x, s, table, bits, integer, rounding, rs[b * size + i])
                row_codes.append(code)
                if math.isnan(x):
                    row_values.append(math.nan)
                else:
                    row_values.append(signed(code, [*values, F(8)] if integer else values, bits, integer, s))
        codes.append(row_codes[: len(row)])
        scales.append(row_scales)
        decoded.append(row_values[: len(row)])
    return codes, scales, decoded
