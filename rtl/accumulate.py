"""`Accumulator` as RTL, its cases and the options of its command."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import FP32_INF, FP32_NAN, Accumulator, BlockDot, BlockSum

from .arith import add, extend
from .dot import sum_layout
from .dot_cases import sum_word
from .options import DotOptions, Interleave, StageOptions, SumOptions
from .pipe import Pipe

__all__ = ["AccumulatorOptions", "AccumulatorUnit", "accumulator_cases", "leading_zeros"]

BIAS = 127
GUARD = 3  # bits below the window: guard, round, sticky


class AccumulatorUnit(wiring.Component):
    """FP32 sums of block results, `interleave` rows in turn; a row's sum is offered after the input with `last`.

    Latency `len(spec.stages)` from that input, interval 1 (`loop_latency` where interleave is 1), rigid; inputs without
    `last` end inside. The sum of each row waits in a memory of `interleave` words, so a row may have any number of
    blocks, and rows need not end together.

    Ports:
    total  in, stream:  `sum_layout(spec.dot)`.
    value  out, stream: float32 bits.
    """

    def __init__(self, spec: Accumulator):
        self.spec = spec
        super().__init__({"total": In(stream.Signature(sum_layout(spec.dot))), "value": Out(stream.Signature(32))})

    def elaborate(self, platform) -> Module:
        """Normalise the total; then the loop: read, align, add, normalise, round, write."""
        m = Module()
        spec, window = self.spec, self.spec.window_bits
        pipe = Pipe(m, spec, self.total, self.value)
        given = self.total.payload
        last, nan, inf = (pipe.carry(bit) for bit in (given.last, given.nan, given.inf))
        exponent = pipe.carry(given.exponent)

        # |total|, its leading zeros, then its leading one at the window's top.
        total = Value.cast(given.total)
        sign = pipe.carry(Mux(given.inf, given.negate, given.negate ^ total[-1]))
        inverted = total ^ total[-1].replicate(len(total))
        magnitude = (inverted + total[-1])[: spec.magnitude_bits]
        (magnitude,) = pipe.cut("magnitude", Cat(Const(0, window - spec.magnitude_bits), magnitude))
        magnitude, zeros = pipe.cut("lead_in", magnitude, leading_zeros(pipe, magnitude))
        # Biased exponent of the top of the window: 1 is the least normal one.
        offset = spec.dot.exponent_offset + spec.magnitude_bits - 1 + BIAS
        e_width = max(11, spec.dot.exponent_bits + 2)
        e_total = (exponent.value + Const(offset, signed(e_width)) - zeros)[:e_width].as_signed()
        empty = ~magnitude.any()
        shifted = shift_left(pipe, magnitude, zeros)
        shifted, e_total, empty = pipe.cut("norm", shifted, e_total, empty)
        e_total = e_total.as_signed()

        # The loop. The memory's word is read here and written where "round" is.
        acc = self._read(m, pipe, last)
        acc, t, e_t, empty = pipe.cut("read", acc, shifted, e_total, empty)
        e_t = e_t.as_signed()
        empty = pipe.carry(empty)
        a_sign, a_field, a_fraction = acc[31], acc[23:31], acc[:23]
        a_normal = a_field.any()
        a_top = a_field.all()
        a_nan, a_inf = a_top & a_fraction.any(), a_top & ~a_fraction.any()
        e_a = Cat(a_field[0] | ~a_normal, a_field[1:])
        special_nan = nan.value | a_nan | (inf.value & a_inf & (sign.value ^ a_sign))
        special = pipe.carry(Cat(special_nan, inf.value | a_inf, Mux(inf.value, sign.value, a_sign)))
        subtract = pipe.carry(sign.value ^ a_sign)
        acc_sign = pipe.carry(a_sign)
        a = Cat(Const(0, window - 24), a_fraction, a_normal)
        a_less, t_less = (e_a - e_t)[: e_width + 1], (e_t - e_a)[:e_width]
        t_above = a_less[-1] & ~empty.value
        a, t, e_a, e_t, a_less, t_less, t_above = pipe.cut("compare", a, t, e_a, e_t, a_less[:e_width], t_less, t_above)
        distance = Mux(t_above, t_less, a_less)
        far = Mux(t_above, t_less >= window + GUARD, a_less >= window + GUARD) | empty.value
        small = Mux(t_above, a, t) & ~empty.value.replicate(window) | Mux(
            t_above, a, Const(0, window)
        ) & empty.value.replicate(window)
        amount_bits = (window + GUARD).bit_length()
        frame = Mux(t_above, e_t[:e_width], extend(e_a, e_width))
        big, small, frame, amount, far, t_above = pipe.cut(
            "swap", Mux(t_above, t, a), small, frame, distance[:amount_bits], far, t_above
        )
        frame = pipe.carry(frame)
        t_above = pipe.carry(t_above)

        # Align: eights first, then the rest; what falls out is or-ed into the last bit.
        big = pipe.carry(big)
        wide = Cat(Const(0, GUARD), small)
        coarse, lost = shift_right_eights(pipe, wide, amount[3:], far)
        coarse, lost, fine = pipe.cut("coarse", coarse, lost, amount[:3] & ~far.replicate(3))
        low = Cat(*((coarse[n] & (fine > n)) for n in range(7))).any() | lost
        aligned = coarse
        for bit in range(3):
            aligned = pipe.wire(Mux(fine[bit], aligned[1 << bit :], aligned))
        (aligned,) = pipe.cut("align", Cat(aligned[0] | low, aligned[1:]))

        # A carry-out, or the sign of a difference, is the top bit.
        width = window + GUARD + 1
        above = Cat(Const(0, GUARD), big.value, Const(0, 1))
        below = extend(aligned, width) ^ subtract.value.replicate(width)
        (total,) = pipe.cut("sum", add(above, below, width, subtract.value).as_unsigned())
        flip = subtract.value & total[-1]
        sign_of_sum = Mux(t_above.value, sign.value, acc_sign.value) ^ flip
        total, sign_of_sum = pipe.cut("abs", ((total ^ flip.replicate(width)) + flip)[:width], sign_of_sum)
        sign_of_sum = pipe.carry(sign_of_sum)

        # Leading one to the top, but not below the least exponent: there the number is subnormal.
        total, zeros = pipe.cut("lead", total, leading_zeros(pipe, total))
        zero = pipe.carry(~total.any())
        limited = frame.value < zeros  # never negative: the accumulator's exponent is at least 1
        shift = Mux(limited, frame.value, zeros)[: len(zeros)]
        total, shift = pipe.cut("limit", total, shift)
        field = pipe.carry((frame.value + 1 - shift)[:e_width])
        total, fine = pipe.cut("left", shift_left(pipe, total, shift[3:], 8), shift[:3])
        (total,) = pipe.cut("fine", shift_left(pipe, total, fine))

        # Round to nearest even; a carry runs into the exponent.
        drop = width - 24
        kept, half, rest = total[drop:], total[drop - 1], total[: drop - 1].any()
        exponent_field = Mux(kept[-1], field.value, 0)
        overflow = (field.value >= 255) & kept[-1]
        up = half & (rest | kept[0])
        packed, up, overflow = pipe.cut("guard", Cat(kept[:23], exponent_field[:8]), up, overflow)
        rounded = (packed + up)[:31]
        is_nan, is_inf, inf_sign = special.value
        final_sign = Mux(zero.value, acc_sign.value & empty.value, sign_of_sum.value)
        finite = Cat(Mux(overflow, FP32_INF, rounded)[:31], final_sign)
        result = Mux(is_nan, FP32_NAN, Mux(is_inf, Cat(Const(FP32_INF, 31), inf_sign), finite))[:32]
        self._write(m, pipe, result)
        (result,) = pipe.cut("round", result)
        m.d.comb += self.value.payload.eq(result)
        pipe.finish(keep=last.value)
        return m

    def _read(self, m: Module, pipe: Pipe, last) -> Value:
        """The sum of the row whose turn it is; +0 where a row begins."""
        depth = self.spec.interleave
        m.submodules.sums = self._sums = memory.Memory(shape=32, depth=depth, init=[])
        port = self._sums.read_port(domain="comb")
        slot, begins = Signal(range(depth)), Signal(depth, init=-1)  # the flag of the row whose turn it is comes first
        self._turn(m, pipe, slot)
        with m.If(pipe.advance & pipe.valid):
            m.d.sync += begins.eq(Cat(begins[1:], last.value))
        m.d.comb += port.addr.eq(slot)
        return port.data & ~begins[0].replicate(32)

    def _write(self, m: Module, pipe: Pipe, result: Value) -> None:
        port, slot = self._sums.write_port(), Signal(range(self.spec.interleave))
        self._turn(m, pipe, slot)
        m.d.comb += [port.addr.eq(slot), port.data.eq(result), port.en.eq(pipe.advance & pipe.valid)]

    def _turn(self, m: Module, pipe: Pipe, slot: Signal) -> None:
        """Rows come in turn; each valid item that moves on is the next one's."""
        with m.If(pipe.advance & pipe.valid):
            m.d.sync += slot.eq(Mux(slot == self.spec.interleave - 1, 0, slot + 1))


def leading_zeros(pipe: Pipe, value: Value) -> Value:
    """Zeros above the highest one (for 0: any number), as a tree of halves."""
    width = 1 << (len(value) - 1).bit_length()
    fill = width - len(value)
    nodes = [(bit, []) for bit in Cat(Const((1 << fill) - 1, fill), value)]
    while len(nodes) > 1:
        pairs = zip(nodes[::2], nodes[1::2], strict=True)
        nodes = [
            (pipe.wire(low | high), [*(Mux(high, h, n) for n, h in zip(below, above, strict=True)), ~high])
            for (low, below), (high, above) in pairs
        ]
        nodes = [(any_one, [pipe.wire(bit) for bit in count]) for any_one, count in nodes]
    return Cat(*nodes[0][1])


def shift_left(pipe: Pipe, value: Value, amount: Value, unit: int = 1) -> Value:
    """value << (unit * amount) in the width of `value`."""
    for bit in range(len(amount)):
        by = min(unit << bit, len(value))
        value = pipe.wire(Mux(amount[bit], extend(Cat(Const(0, by), value), len(value)), value))
    return value


def shift_right_eights(pipe: Pipe, value: Value, eights: Value, far: Value) -> tuple[Value, Value]:
    """(value >> 8 eights, whether a one fell out); `far`: all of it falls out."""
    groups = [value[i : i + 8] for i in range(0, len(value), 8)]
    lost = Cat(*(group.any() & (far | (eights > n)) for n, group in enumerate(groups))).any()
    hot = pipe.wire(Cat((eights == n) & ~far for n in range(len(groups))))
    total = Const(0, len(value))
    for n in range(len(groups)):
        total = total | extend(value[8 * n :], len(value)) & hot[n].replicate(len(value))
    return total, lost


def draw_sum(dot: BlockDot, acc: int, draw) -> BlockSum:
    """A block result that is hard to add to `acc`: near its exponent, cancelling it, in the subnormals, a tie; one that
    carries out at any distance above it; one that rounds to -0, and zeros that keep it.
    """
    field, kind = acc >> 23 & 255, draw.randrange(14)
    most, raw_max = dot.total_max, (1 << dot.exponent_bits) - 1
    magnitude = draw.choice(
        [
            draw.randint(0, most),
            draw.getrandbits(draw.randint(1, most.bit_length())),
            most,
            0,
            1,
            1 << draw.randint(0, 60),
        ]
    )
    magnitude = min(magnitude, most)
    near = field - 127 + draw.choice([0, 1, -1, 2, -2, -23, -24, -25, draw.randint(-60, 60)])
    exponent = near - magnitude.bit_length() + 1
    if kind == 0:
        exponent = draw.randint(0, raw_max) + dot.exponent_offset
    elif kind == 1:
        exponent = draw.randint(-185, -120)
    elif kind == 2 and 0 < field < 255:
        magnitude, exponent = (acc & 0x7FFFFF) | 0x800000, field - 150
        shift = max(0, magnitude.bit_length() - most.bit_length())
        magnitude, exponent = min(magnitude >> shift, most), exponent + shift
    elif kind in (3, 4) and 0 < field < 255 and most > 15:  # its lowest bit is worth the leading one of `acc`
        lengths = range(4, (most + 1).bit_length())
        # Those for which the sum is a tie but for a few of the lowest bits of `acc`.
        ties = [n for n in lengths if acc >> (n - 3) & 15 == 4 and acc & ((1 << (n - 3)) - 1)]
        magnitude, exponent = (1 << draw.choice(ties or lengths)) - 1, field - 127
    raw = min(max(exponent - dot.exponent_offset, 0), raw_max)
    sign = {2: 1 - (acc >> 31), 3: acc >> 31, 4: acc >> 31}.get(kind, draw.getrandbits(1))
    if acc == 0 and kind > 10 and dot.exponent_offset <= -151:
        magnitude, sign, raw = 1, 1, -151 - dot.exponent_offset
    elif acc == 1 << 31 and kind > 5:
        magnitude = 0
    total = -magnitude if sign else magnitude
    special = draw.random() * (0.05 if field == 255 else 1)  # what is not finite meets its like
    nan, inf = special < 0.01, 0 if special < 0.01 or special > 0.02 else draw.choice([1, -1])
    return BlockSum(total, raw + dot.exponent_offset, nan, inf)


def accumulator_cases(spec: Accumulator, n: int, draw):
    """Rows in turn, each of random length."""
    sums = [0] * spec.interleave
    for i in range(n):
        row = i % spec.interleave
        block = draw_sum(spec.dot, sums[row], draw)
        sums[row] = spec.add(sums[row], block)
        rare = sums[row] & 0x7F800000 == 0x7F800000 or sums[row] == 1 << 31
        is_last = draw.random() < (0.5 if rare else 0.15)
        word = sum_word(spec.dot, block, draw.getrandbits(1), int(is_last))
        yield word, sums[row] if is_last else None
        if is_last:
            sums[row] = 0


@dataclass(frozen=True)
class AccumulatorOptions(StageOptions, SumOptions, DotOptions):
    """Options of `accumulator`."""

    interleave: Interleave = None

    def unit(self) -> tuple[Accumulator, str]:
        """The spec, and the name of the Verilog module."""
        spec, name = self.staged(Accumulator(self.dot), f"accumulator_{self.name}")
        spec = Accumulator(self.dot, self.interleave, stages=spec.stages)
        return spec, f"{name}_i{spec.interleave}"
