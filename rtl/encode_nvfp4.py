"""`Nvfp4Encoder` as RTL, and its cases."""

from dataclasses import dataclass
from fractions import Fraction

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.formats.elements import E4M3
from hwsim.specs import Nvfp4Encoder

from .accumulate import leading_zeros, shift_left
from .encode import EXPONENT_BITS, Source, draw_block, largest, normalised, numbers_layout, record_layout, record_word
from .options import StageOptions, UnitOptions
from .pack import pack
from .pipe import Carried, Pipe

__all__ = ["Nvfp4EncoderOptions", "Nvfp4EncoderUnit", "nvfp4_encoder_cases"]

SIGNIFICAND = 24
"""Bits of a float32 significand."""


class Nvfp4EncoderUnit(wiring.Component):
    """A block of FP32 or BF16 numbers and the tensor's scale to an NVFP4 record. Nothing is divided.

    Latency `len(spec.stages)`, interval 1, rigid. The block's scale: the largest magnitude is brought within a binade
    of six tensor scales, and compared with the eight odd multiples at which its rounded quotient goes up. The elements:
    for each of seven codes the least number that reaches it is found from the exact product of both scales, on the grid
    of the numbers; each number is then compared with these seven, bit pattern with bit pattern.

    Ports:
    block   in, stream:  `numbers_layout`, with the tensor scale, a float32 above 0; `last` ends a tensor.
    record  out, stream: `record_layout`.

    notes: what the header of the Verilog says of what it is given.

    source: arXiv 2509.25149; equals `formats.encode` with a given tensor scale.
    """

    notes = (
        "The tensor scale is a factor above 0, as amax / 2688: a value is element x scale x tensor scale. It is not "
        "checked: its sign is ignored; 0 makes scale 0x7e and elements of 6; NaN or an infinity makes zeros.",
        "NaN or an infinity among the numbers makes scale 0x7f, which is NaN, and elements 0.",
    )

    def __init__(self, spec: Nvfp4Encoder):
        self.spec = spec
        given, made = numbers_layout(spec), record_layout(spec)
        super().__init__({"block": In(stream.Signature(given)), "record": Out(stream.Signature(made))})

    def elaborate(self, platform) -> Module:
        """The block's scale, then the thresholds of the elements, then the comparisons."""
        m = Module()
        spec = self.spec
        pipe, given = Pipe(m, spec, self.block, self.record), self.block.payload
        last = pipe.carry(given.last)
        numbers = [given.numbers[i] for i in range(spec.block)]
        lanes = [pipe.carry(number) for number in numbers]
        tensor = normalised(pipe, given.tensor_scale[:-1], SIGNIFICAND - 1)

        top = largest(pipe, [number[:-1] for number in numbers])
        special = pipe.carry(top[spec.fraction_bits :].all())
        scale = self._scale(pipe, top, tensor)
        scale = pipe.carry(scale | special.value.replicate(8) & 0x7F)
        empty = pipe.carry(special.value | ~scale.value.any())

        least = self._least(pipe, scale.value, tensor)
        reached = [[lane.value[:-1] >= each for each in least] for lane in lanes]
        flat = pipe.cut("reached", *(Cat(*each) for each in reached))
        codes = [
            Cat(self._count(bits), lane.value[-1]) & ~empty.value.replicate(4)
            for bits, lane in zip(flat, lanes, strict=True)
        ]
        record = pipe.cut("pack", scale.value, *codes)
        m.d.comb += Value.cast(self.record.payload).eq(Cat(*record, last.value))
        pipe.finish()
        return m

    @staticmethod
    def _count(thermometer: Value) -> Value:
        """How many of seven bits are set, all of them the low ones."""
        t = thermometer
        return Cat(t[0] & ~t[1] | t[2] & ~t[3] | t[4] & ~t[5] | t[6], t[1] & ~t[3] | t[5], t[3])

    def _scale(self, pipe: Pipe, top: Value, tensor: Carried) -> Value:
        """The code of the block's scale, E4M3_RNE(top / (6 s_t)); 0 for a block of zeros."""
        fraction_bits = self.spec.fraction_bits
        held = normalised(pipe, top, fraction_bits)
        (top,) = pipe.cut("norm", held.value)
        missing = SIGNIFICAND - 1 - fraction_bits
        top = pipe.carry(Cat(Const(0, missing), top[: fraction_bits + 1], top[fraction_bits + 1 :]))

        # six = 3/2 2^2 s_t: 3 times its significand, below two binades above 2^24.
        significand, exponent = self._parts(tensor.value)
        six = (Cat(Const(0, 1), significand) + significand)[: SIGNIFICAND + 2]
        apart = (self._parts(top.value)[1] - exponent - 1)[: EXPONENT_BITS + 1]
        six, apart = pipe.cut("triple", six, apart)
        six, apart = pipe.carry(six), pipe.carry(apart)

        # top / six without exponents is between 1/6 and 2/3; `binades` brings it to 1 ... 2.
        significand, exponent = self._parts(top.value)[0], apart.value.as_signed()
        half, quarter = (Cat(Const(0, n), significand) >= six.value for n in (1, 2))
        binades = Mux(half, 1, Mux(quarter, 2, 3))
        field = (exponent - binades + 7)[: EXPONENT_BITS + 2]  # of the scale's code; below 1 it is subnormal
        normal = field.as_signed() >= 1
        raised = (exponent + 10)[: EXPONENT_BITS + 2].as_signed()  # subnormal steps are 2^-9, halves of them 2^-10
        low = Mux(raised > 0, raised, 0)[:3]
        shift = Mux(normal, binades + 4, low)[:3]
        zero = ~normal & (raised <= 0) | ~significand[-1]
        beyond = normal & (field.as_signed() > 15)
        shift, field, normal, zero, beyond = pipe.cut("order", shift, field[:4], normal, zero, beyond)
        field, zero, beyond = (pipe.carry(each) for each in (field & normal.replicate(4), zero, beyond))

        wide = SIGNIFICAND + 7
        left = shift_left(pipe, Cat(self._parts(top.value)[0], Const(0, 7)), shift)
        base = Cat(Const(0, 4), six.value & normal.replicate(len(six.value)))
        steps = [((six.value * (2 * j + 1)) + base)[: wide + 1] for j in range(8)]
        left, *steps = pipe.cut("ahead", left, *steps)
        passed = [left >= step if j % 2 else left > step for j, step in enumerate(steps)]
        (passed,) = pipe.cut("passed", Cat(*passed))
        # Eight steps up are the next binade.
        count = sum((passed[j] for j in range(1, 8)), start=passed[0])[:4]
        code = Cat(Const(0, 3), field.value) + count
        code = Mux(beyond.value | (code > 0x7E), 0x7E, code)[:8]
        (code,) = pipe.cut("code", Mux(zero.value, 0, code)[:8])
        return code

    @staticmethod
    def _parts(bits: Value) -> tuple[Value, Value]:
        """(significand, signed exponent field) of a normalised float32."""
        return bits[:SIGNIFICAND], bits[SIGNIFICAND:].as_signed()

    def _least(self, pipe: Pipe, scale: Value, tensor: Carried) -> list[Value]:
        """For each code from 1, the bits of the least number that is given it."""
        field, fraction = scale[3:7], scale[:3]
        step = Cat(fraction, field.any())
        significand, exponent = self._parts(tensor.value)
        product = (step * significand)[: SIGNIFICAND + 4]
        # Of the bit of weight 1 of the product, as a float32's field would count it.
        unit = (exponent + Mux(field.any(), field, 1) - 10 - 23)[: EXPONENT_BITS + 2]
        product, unit = pipe.cut("product", product, unit)
        odd = {1: product, 3: None, 5: None, 7: None}
        for factor in (3, 5, 7):
            odd[factor] = (product * factor)[: SIGNIFICAND + 7]
        *odd_values, unit = pipe.cut("multiples", *odd.values(), unit)
        odd = dict(zip(odd, odd_values, strict=True))
        unit = unit.as_signed()

        # The leading one is among the upper bits: the product has at least 24.
        tops, exponents = [], []
        for quarters in self.spec.THRESHOLDS:
            twos = (quarters & -quarters).bit_length() - 1
            value = odd[quarters >> twos]
            width = SIGNIFICAND + 7
            value = Cat(value, Const(0, width - len(value)))
            zeros = leading_zeros(pipe, value[SIGNIFICAND - 1 :])
            tops.append(shift_left(pipe, value, zeros))
            exponents.append((unit + (width - 1) - 2 + twos - zeros)[: EXPONENT_BITS + 2])
        n = len(tops)
        cut = pipe.cut("lead", *tops, *exponents)
        tops, exponents = cut[:n], [each.as_signed() for each in cut[n:]]

        grid = self.spec.fraction_bits + 1
        placed = []
        for value, exponent in zip(tops, exponents, strict=True):
            low = exponent < 1
            down = Mux(low, 1 - exponent, 0)[: EXPONENT_BITS + 2]
            far = down >= grid + 1
            kept, lost = value[-grid:], value[:-grid].any()
            for bit in range(grid.bit_length()):
                by = min(1 << bit, grid)
                lost = lost | down[bit] & kept[:by].any()
                kept = pipe.wire(Mux(down[bit], kept[by:], kept)[:grid])
            kept, lost = kept & ~far.replicate(grid), lost | far
            beyond = exponent > 254
            placed += [kept, lost, beyond, Mux(low, 0, exponent)[:8]]
        placed = pipe.cut("place", *placed)
        least = []
        for code, at in enumerate(range(0, len(placed), 4)):
            kept, lost, beyond, field = placed[at : at + 4]
            bits = Cat(kept[:-1], field)
            up = lost | (1 if code % 2 == 0 else 0)  # a tie stays at an even code
            top = 255 << self.spec.fraction_bits
            least.append(Mux(beyond, top, bits + up)[: self.spec.number_bits - 1])
        return pipe.cut("least", *least)


def _bits(value: Fraction, fraction_bits: int) -> int:
    """The bits of the number at or below a value."""
    binade = max(value.numerator.bit_length() - value.denominator.bit_length(), -127)
    while binade > -127 and value < Fraction(2) ** binade:
        binade -= 1
    binade = max(binade, -126)
    units = int(value / Fraction(2) ** (binade - fraction_bits))
    return min((binade + 126 << fraction_bits) + units, (255 << fraction_bits) - 1)


def _tied(spec: Nvfp4Encoder, draw) -> tuple[list[int], int]:
    """A block whose scale is a tie or a code's value, of numbers at or next to ties, and the tensor's scale."""
    field = draw.choice([draw.randint(1, 12), draw.randint(20, 230), 127])
    tensor_scale = field << 23 | draw.choice([0, 0, 0, 1 << 22, draw.getrandbits(8)])
    s_t = Fraction((tensor_scale & 0x7FFFFF) | 1 << 23) * Fraction(2) ** (field - 150)
    code = draw.choice([draw.randint(1, 15), draw.randint(1, 15), draw.randint(1, 125), E4M3.max_code])
    s_b, above = Fraction(E4M3.values[code]), Fraction(E4M3.values[code + 1] if code < E4M3.max_code else 496)
    top = 6 * s_t * draw.choice([s_b, (s_b + above) / 2, (s_b + above) / 2])
    s_b = draw.choice([s_b, above])
    numbers = [_bits(top, spec.fraction_bits)]
    while len(numbers) < spec.block:
        number = _bits(draw.choice(spec.THRESHOLDS) * s_b * s_t / 4, spec.fraction_bits)
        numbers.append(max(number + draw.choice([0, 0, 0, 1, -1]), 0) | draw.getrandbits(1) << (spec.number_bits - 1))
    draw.shuffle(numbers)
    return numbers, tensor_scale


def nvfp4_encoder_cases(spec: Nvfp4Encoder, n: int, draw):
    """Blocks of hard numbers under tensor scales that fit them, or do not: subnormal, the least, the largest."""
    for _ in range(n):
        if draw.random() < 0.5:
            numbers, tensor_scale = _tied(spec, draw)
            given = {"numbers": numbers, "tensor_scale": tensor_scale, "last": 0}
            yield pack(numbers_layout(spec), given), record_word(spec, spec(numbers, tensor_scale), 0)
            continue
        numbers, last = draw_block(spec, draw), draw.getrandbits(1)
        fields = [number >> spec.fraction_bits & 255 for number in numbers]
        top = max((field for field in fields if field < 255), default=1)
        field = min(max(top - draw.choice([12, 11, 10, draw.randint(0, 24), draw.randint(-10, 40)]), 0), 254)
        fraction = draw.choice([0, 0, 0x7FFFFF, 1, draw.getrandbits(23), draw.getrandbits(23)])
        tensor_scale = max(field << 23 | fraction, 1)
        if draw.random() < 0.05:
            tensor_scale = draw.choice([1, 2, 0x7F7FFFFF, draw.randint(1, 0x7FFFFF)])
        given = {"numbers": numbers, "tensor_scale": tensor_scale, "last": last}
        yield pack(numbers_layout(spec), given), record_word(spec, spec(numbers, tensor_scale), last)


@dataclass(frozen=True)
class Nvfp4EncoderOptions(StageOptions, UnitOptions):
    """Options of `nvfp4-encoder`: those of `encoder` that NVFP4 has."""

    source: Source = "fp32"

    def unit(self) -> tuple[Nvfp4Encoder, str]:
        """The spec, and the name of the Verilog module."""
        return self.staged(Nvfp4Encoder(self.source), f"encoder_nvfp4_{self.source}")
