"""`Scale` as RTL, its cases and the options of its command."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import FP32_INF, FP32_NAN, Scale

from .accumulate import leading_zeros, shift_left
from .options import StageOptions, UnitOptions
from .pack import pack
from .pipe import Pipe

__all__ = ["ScaleOptions", "ScaleUnit", "scale_cases"]

LEFT = data.StructLayout({"value": 32, "scale": 32, "last": 1})
RIGHT = data.StructLayout({"value": 32, "last": 1})
BITS = 24
"""Of a significand."""
PIECE = 6
"""Bits of the second significand that one part of the product takes."""


class ScaleUnit(wiring.Component):
    """float32 times float32, rounded once: y and the scale of its tensor or its row.

    Latency `len(spec.stages)`, interval 1, rigid; tlast passes through.

    Ports:
    given   in, stream:  value, scale: float32 bits; `last`.
    scaled  out, stream: value: float32 bits; `last`.
    """

    def __init__(self, spec: Scale):
        self.spec = spec
        super().__init__({"given": In(stream.Signature(LEFT)), "scaled": Out(stream.Signature(RIGHT))})

    def elaborate(self, platform) -> Module:
        """Leading ones, the product in parts, its place, rounding."""
        m = Module()
        pipe, given = Pipe(m, self.spec, self.given, self.scaled), self.given.payload
        last, sign = pipe.carry(given.last), pipe.carry(given.value[-1] ^ given.scale[-1])
        factors, nans, infs, zeros = [], [], [], []
        for number in (given.value, given.scale):
            fraction, field = number[: BITS - 1], number[BITS - 1 : -1]
            nans.append(field.all() & fraction.any())
            infs.append(field.all() & ~fraction.any())
            zeros.append(~field.any() & ~fraction.any())
            factors.append(self._normal(pipe, fraction, field))
        nan = nans[0] | nans[1] | infs[0] & zeros[1] | infs[1] & zeros[0]
        special = pipe.carry(Cat(nan, infs[0] | infs[1], zeros[0] | zeros[1]))
        (a, e_a), (b, e_b) = factors
        a, b, exponent = pipe.cut("norm", a, b, (e_a + e_b)[:11])
        exponent = pipe.carry(exponent)

        parts = [(a * b[at : at + PIECE])[: BITS + PIECE] for at in range(0, BITS, PIECE)]
        parts = pipe.cut("parts", *parts)
        pairs = [
            (low + (Cat(Const(0, PIECE), high)))[: BITS + 2 * PIECE]
            for low, high in zip(parts[::2], parts[1::2], strict=True)
        ]
        low, high = pipe.cut("pairs", *pairs)
        (product,) = pipe.cut("product", (low + Cat(Const(0, 2 * PIECE), high))[: 2 * BITS])

        # Its leading one is one of the two upper bits.
        upper = product[-1]
        normal = Mux(upper, product, Cat(Const(0, 1), product))[: 2 * BITS]
        field = (exponent.value.as_signed() + upper - 127)[:11]
        normal, field = pipe.cut("lead", normal, field)
        field = field.as_signed()
        low = field < 1
        down = Mux(low, 1 - field, 0)[:11]
        kept, rest = normal[BITS - 1 :], normal[: BITS - 1].any()  # with one bit below the last kept one
        far = down > BITS + 1
        for bit in range((BITS + 1).bit_length()):
            by = min(1 << bit, BITS + 1)
            rest = rest | down[bit] & kept[:by].any()
            kept = pipe.wire(Mux(down[bit], kept[by:], kept)[: BITS + 1])
        kept, rest = kept & ~far.replicate(BITS + 1), rest | far
        kept, rest, over, field = pipe.cut("place", kept, rest, field > 254, Mux(low, 0, field)[:8])

        up = kept[0] & (rest | kept[1])
        rounded = (Cat(kept[1:-1], field) + up)[:31]
        nan, inf, zero = special.value
        finite = Mux(over, FP32_INF, rounded)[:31] & ~zero.replicate(31)
        value = Mux(nan, FP32_NAN, Cat(Mux(inf, FP32_INF, finite)[:31], sign.value))[:32]
        (value,) = pipe.cut("round", value)
        m.d.comb += Value.cast(self.scaled.payload).eq(Cat(value, last.value))
        pipe.finish()
        return m

    @staticmethod
    def _normal(pipe: Pipe, fraction: Value, field: Value) -> tuple[Value, Value]:
        """(significand with its leading one on top, exponent field, below 1 for a subnormal)."""
        normal, zeros = pipe.wire(field.any()), leading_zeros(pipe, fraction)
        moved = shift_left(pipe, Cat(Const(0, 1), fraction), zeros)
        return Mux(normal, Cat(fraction, Const(1, 1)), moved), Mux(normal, field, -zeros)


def scale_cases(spec: Scale, n: int, draw):
    """Numbers of every kind; products among the subnormals, near overflow, ties."""
    special = [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, FP32_INF, FP32_NAN, 0x3F800000, 0x7F800001]
    for i in range(n):
        reach = draw.choice([127, 128, 0, -1, -12, -23, -24, -25, 254, 255, 255, draw.randint(-30, 260)])
        a_field = draw.randint(max(1, min(reach - 127, 254)), 254)
        b_field = min(max(reach + 127 - a_field, 0), 254)
        fractions = [draw.getrandbits(23), draw.getrandbits(23)]
        if draw.random() < 0.5:  # 13 bits times 13 bits: half of the products are ties
            fractions = [(draw.getrandbits(12) | 1) << 11 for _ in fractions]
        a, b = a_field << 23 | fractions[0], b_field << 23 | fractions[1]
        if i % 4 == 0:
            a, b = draw.choice([0, FP32_INF, *special]), draw.choice([0, FP32_INF, b, b, *special])
        elif i % 4 == 1:
            a = draw.getrandbits(draw.randint(1, 23))
        a, b = (each | draw.getrandbits(1) << 31 for each in draw.choice([(a, b), (b, a)]))
        last = draw.getrandbits(1)
        yield pack(LEFT, {"value": a, "scale": b, "last": last}), pack(RIGHT, {"value": spec(a, b), "last": last})


@dataclass(frozen=True)
class ScaleOptions(StageOptions, UnitOptions):
    """Options of `scale`."""

    def unit(self) -> tuple[Scale, str]:
        """The spec, and the name of the Verilog module."""
        return self.staged(Scale(), "scale_fp32")
