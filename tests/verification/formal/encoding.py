"""Every number through an encoder, in Amaranth's simulator, against the nearest value in rational arithmetic."""

from __future__ import annotations

import struct
from bisect import bisect_right
from fractions import Fraction
from functools import cache

from hwsim.formats.elements import E2M1, E4M3, Element
from hwsim.specs import MxEncoder, Nvfp4Encoder
from rtl.pack import pack
from tests.verification.formal.enumeration import run_cases
from tests.verification.formal.sby import Verdict

__all__ = ["every_number"]

PARTNERS = (0x0000, 0x3F80, 0x4049, 0x7F01)
"""BF16: 0, 1, 3.140625, and one near the largest."""
TENSOR_SCALES = (0x3B2AAAAB, 0x3B000000)
"""float32: about 1/384, and 1/512, under which there are ties."""


def _float32(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


@cache
def _values(e: Element) -> tuple[Fraction, ...]:
    return tuple(map(Fraction, e.values[: e.max_code + 1]))


def _nearest(value: Fraction, e: Element) -> int:
    """Magnitude code of the nearest value of an element's table; a tie takes the even code."""
    values = _values(e)
    at = bisect_right(values, value)
    if at == len(values):
        return at - 1
    below, above = value - values[at - 1], values[at] - value
    return at - (below < above or (below == above and at % 2 == 1))


def _scale_and_unit(spec: MxEncoder | Nvfp4Encoder, top: Fraction, tensor_scale: int) -> tuple[int, Fraction]:
    """(code of the block's scale, what an element of 1 is worth)."""
    if isinstance(spec, Nvfp4Encoder):
        s_t = Fraction(_float32(tensor_scale))
        code = _nearest(top / (6 * s_t), E4M3)
        return code, Fraction(E4M3.values[code]) * s_t
    exponent = -127
    while top >= Fraction(2) ** (exponent + 1 + spec.element.emax):  # floor(log2 top) - emax, at least -127
        exponent += 1
    return exponent + 127, Fraction(2) ** exponent


def _answer(spec: MxEncoder | Nvfp4Encoder, numbers: tuple[int, int], tensor_scale: int) -> tuple[int, list[int]]:
    """(scale, codes) of a block of two BF16 numbers."""
    values = [_float32(number << 16) for number in numbers]
    nvfp4 = isinstance(spec, Nvfp4Encoder)
    if not all(abs(value) < float("inf") for value in values):
        return (0x7F if nvfp4 else 0xFF), [0, 0]
    scale, unit = _scale_and_unit(spec, max(Fraction(abs(value)) for value in values), tensor_scale)
    if not unit:
        return scale, [0, 0]
    element = E2M1 if nvfp4 else spec.element
    codes = []
    for number, value in zip(numbers, values, strict=True):
        code = _nearest(Fraction(abs(value)) / unit, element)
        negative = number >> 15
        if element.is_integer:
            codes.append(-code & 0xFF if negative else code)
        else:
            codes.append(code | negative << (element.bits - 1))
    return scale, codes


def every_number(rtl, spec: MxEncoder | Nvfp4Encoder) -> Verdict:
    """All 65,536 BF16 numbers, NaN and infinities too, each beside one of `PARTNERS` in turn, in either lane."""
    layout = rtl.encode.numbers_layout(spec)

    def cases():
        for number in range(1 << 16):
            numbers = (number, PARTNERS[number * 7 // 5 % len(PARTNERS)])
            numbers = numbers[:: -1 if number % 3 else 1]
            tensor_scale = TENSOR_SCALES[number // 3 % len(TENSOR_SCALES)]
            fields = {"numbers": numbers, "last": 0}
            fields |= {"tensor_scale": tensor_scale} if isinstance(spec, Nvfp4Encoder) else {}
            yield pack(layout, fields), numbers, tensor_scale

    def want(case, got) -> bool:
        return (got.scale, [got.codes[0], got.codes[1]]) == _answer(spec, case[1], case[2])

    unit = rtl.encode_nvfp4.Nvfp4EncoderUnit if isinstance(spec, Nvfp4Encoder) else rtl.encode.MxEncoderUnit
    return run_cases(unit(spec), cases(), want)
