"""`MxEncoder` as RTL, its cases and the options of `encoder`."""

from dataclasses import dataclass
from typing import Annotated

import typer
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import InputError
from hwsim.formats.names import layout, row
from hwsim.specs import Encoder, MxEncoder, Nvfp4Encoder, Side

from .accumulate import leading_zeros, shift_left
from .lane import operand_layout
from .lfsr import stream_bits
from .options import StageOptions, UnitOptions, formats_name
from .pack import pack
from .pipe import Carried, Pipe

__all__ = [
    "EncoderOptions", "MxEncoderUnit", "draw_number", "largest", "mx_encoder_cases", "normalised", "numbers_layout",
    "record_layout", "record_word",
]  # fmt: skip

EXPONENT_BITS = 10
"""Signed bits of a number's exponent field, below 0 where a subnormal got its leading one."""


def numbers_layout(spec: Encoder) -> data.StructLayout:
    """A block of numbers; for NVFP4 the tensor's scale above them; whether they end a tensor."""
    scale = {"tensor_scale": 32} if isinstance(spec, Nvfp4Encoder) else {}
    return data.StructLayout({"numbers": data.ArrayLayout(spec.number_bits, spec.block), **scale, "last": 1})


def record_layout(spec: Encoder) -> data.StructLayout:
    """The block as its format packs a record, and whether it ends a tensor."""
    fields = {name: field.shape for name, field in operand_layout(spec.operand, spec.block)}
    return data.StructLayout({**fields, "last": 1})


def normalised(pipe: Pipe, magnitude: Value, fraction_bits: int) -> Carried:
    """A magnitude as (significand with its leading one on top, exponent field), two cuts later; 0 has no leading one.

    A subnormal's field is 0 less the zeros above its leading one.
    """

    def counted(bits: Value) -> Value:
        return Cat(bits, leading_zeros(pipe, bits[:fraction_bits]))

    def shifted(bits: Value) -> Value:
        fraction, field, zeros = bits[:fraction_bits], bits[fraction_bits:][:8], bits[fraction_bits + 8 :]
        normal = pipe.wire(field.any())
        moved = shift_left(pipe, Cat(Const(0, 1), fraction), zeros)
        exponent = Mux(normal, field, (-zeros)[:EXPONENT_BITS].as_signed())
        return Cat(Mux(normal, Cat(fraction, Const(1, 1)), moved), exponent[:EXPONENT_BITS])

    return pipe.carry(magnitude, counted, shifted)


def largest(pipe: Pipe, values: list[Value]) -> Value:
    """The largest of unsigned values, through the cuts "max1", ..."""
    level = 1
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        values = [*(Mux(x > y, x, y) for x, y in pairs), *(values[-1:] if len(values) % 2 else [])]
        values = pipe.cut(f"max{level}", *values)
        level += 1
    return values[0]


class MxEncoderUnit(wiring.Component):
    """A block of FP32 or BF16 numbers to the record of an MX format.

    Latency `len(spec.stages)`, interval 1, rigid. The scale is the largest exponent field less the element's largest
    exponent: no maximum of values is needed. Each significand is moved by its distance from there, and rounded once.

    Stochastic rounding draws from one register for all lanes: their bits are XORs of its 32. It steps with the blocks,
    and begins at the seed after a reset and after the last block of a tensor.

    Ports:
    block   in, stream:  `numbers_layout`; `last` ends a tensor.
    record  out, stream: `record_layout`.

    notes: what the header of the Verilog says of what it is given.

    source: OCP MX v1.0, section 6.3 (conversion); equals `formats.encode`.
    """

    notes = ("NaN or an infinity among the numbers makes scale 0xff, which is NaN, and elements 0.",)

    def __init__(self, spec: MxEncoder):
        self.spec = spec
        given, made = numbers_layout(spec), record_layout(spec)
        super().__init__({"block": In(stream.Signature(given)), "record": Out(stream.Signature(made))})

    def elaborate(self, platform) -> Module:
        """Largest exponent, distances, shifts, rounding."""
        m = Module()
        spec, e, fraction_bits = self.spec, self.spec.element, self.spec.fraction_bits
        pipe, given = Pipe(m, spec, self.block, self.record), self.block.payload
        last = pipe.carry(given.last)
        numbers = [given.numbers[i] for i in range(spec.block)]
        signs = [pipe.carry(number[-1]) for number in numbers]
        lanes = [normalised(pipe, number[:-1], fraction_bits) for number in numbers]
        top = largest(pipe, [number[fraction_bits:-1] for number in numbers])
        scale, special = pipe.cut("scale", Mux(top > e.emax, (top - e.emax)[:8], 0)[:8], top.all())
        scale, special = pipe.carry(scale), pipe.carry(special)

        # Binades of each number above the element's least normal one.
        above = []
        for lane in lanes:
            exponent = lane.value[fraction_bits + 1 :].as_signed()
            above.append((exponent - scale.value - e.emin)[: EXPONENT_BITS + 1])
        above = pipe.cut("distance", *above)
        places, moves = self._clamped(lanes, above)
        clamped = pipe.cut("clamp", *moves, *places)
        moves, places = clamped[: spec.block], clamped[spec.block :]
        places = [pipe.carry(place) for place in places]
        drawn = self._drawn(m, pipe, last) if spec.stochastic else []
        windows = [
            self._window(pipe, lane.value[: fraction_bits + 1], move) for lane, move in zip(lanes, moves, strict=True)
        ]
        cut = pipe.cut("shift", *windows, *drawn)
        windows, drawn = cut[: spec.block], cut[spec.block :]

        codes = []
        for i, window in enumerate(windows):
            place = places[i].value if places else None
            code = self._rounded(window, place, drawn[i] if drawn else None)
            if e.is_integer:
                code = ((code ^ signs[i].value.replicate(e.bits)) + signs[i].value)[: e.bits]
            else:
                code = Cat(code[: e.bits - 1], signs[i].value)
            codes.append(code & ~special.value.replicate(e.bits))
        record = pipe.cut("round", scale.value | special.value.replicate(8), *codes)
        m.d.comb += Value.cast(self.record.payload).eq(Cat(*record, last.value))
        pipe.finish()
        return m

    @property
    def _below(self) -> int:
        """Bits of a window below the last kept one; rounding to nearest has one more for all that is lost."""
        return 8 if self.spec.stochastic else 1

    @property
    def _window_bits(self) -> int:
        return 1 + self.spec.element.mantissa_bits + self._below

    def _clamped(self, lanes, above: list[Value]) -> tuple[list[Value], list[Value]]:
        """For each number its binade (none where the element has one), and how far its significand moves down."""
        e, most = self.spec.element, self._window_bits
        place_bits = 0 if e.is_integer else (e.emax - e.emin).bit_length()
        places, moves = [], []
        for lane, distance in zip(lanes, above, strict=True):
            low = distance[-1] | ~lane.value[self.spec.fraction_bits]  # subnormal, or 0
            if place_bits:
                places.append(Mux(low, 0, distance)[:place_bits])
            down = (-distance.as_signed())[: EXPONENT_BITS + 1]
            moves.append(Mux(low, Mux(down > most, most, down), 0)[: most.bit_length()])
        return places, moves

    def _window(self, pipe: Pipe, significand: Value, move: Value) -> Value:
        """The significand moved down, with `_below` bits below the last kept one; for nearest, what is lost on top."""
        width = self._window_bits
        spare = len(significand) - width
        value = significand[spare:] if spare > 0 else Cat(Const(0, -spare), significand)
        lost = significand[:spare].any() if spare > 0 else Const(0, 1)
        for bit in range(len(move)):
            by = min(1 << bit, width)
            lost = lost | (move[bit] & value[:by].any())
            value = pipe.wire(Mux(move[bit], value[by:], value)[:width])
        return value if self.spec.stochastic else Cat(value, lost)

    def _rounded(self, window: Value, place: Value | None, drawn: Value | None) -> Value:
        """The magnitude code, saturated."""
        e = self.spec.element
        kept = window[self._below : self._window_bits]
        base = kept if place is None else Cat(kept, Const(0, 1)) + Cat(Const(0, e.mantissa_bits), place)
        if drawn is not None:
            up = (window[:8] + drawn)[8]
        else:
            up = window[0] & (window[-1] | base[0])
        code = base + up
        return Mux(code > e.max_code, e.max_code, code)[: e.bits]

    def _drawn(self, m: Module, pipe: Pipe, last: Carried) -> list[Value]:
        """Eight bits per lane; the register steps with the blocks that pass here."""
        spec = self.spec
        state = Signal(32, init=spec.state)
        bits = pipe.wire(stream_bits(spec.REGISTER, state, spec.steps))
        with m.If(pipe.advance & pipe.valid):
            m.d.sync += state.eq(Mux(last.value, spec.state, bits[spec.steps : spec.steps + 32]))
        return [bits[8 * (lane + 1) :][:8] for lane in range(spec.block)]


def draw_number(spec: Encoder, draw, near: int) -> int:
    """A number's bits: about 2^(near - 127), on a coarse grid or not; a subnormal, or 0; of either sign."""
    m = spec.fraction_bits
    field = min(max(near - draw.choice([0, 0, 1, 2, 3, 4, 5, draw.randint(0, 30)]), 0), 254)
    fraction = draw.getrandbits(m)
    if draw.random() < (0.2 if getattr(spec, "stochastic", False) else 0.6):  # few bits: ties, and what is next to one
        low = draw.choice([m, m - 1, m - 2, m - 3, draw.randint(1, m)])
        fraction = fraction >> low << low | (draw.random() < 0.2)
    if draw.random() < 0.1:
        fraction = (1 << m) - 1
    if draw.random() < 0.1:
        field = fraction = 0
    return draw.getrandbits(1) << (m + 8) | field << m | fraction


def draw_block(spec: Encoder, draw) -> list[int]:
    """Numbers of one magnitude, the largest, the least, none but 0, or with what is not finite."""
    near = draw.choice([127, 127, draw.randint(1, 254), draw.randint(0, 40), draw.randint(0, 8), 254])
    numbers = [draw_number(spec, draw, near) for _ in range(spec.block)]
    if draw.random() < 0.08:
        numbers[draw.randrange(spec.block)] = (
            255 << spec.fraction_bits | draw.choice([0, 1]) | draw.getrandbits(1) << (spec.fraction_bits + 8)
        )
    elif draw.random() < 0.05:
        numbers = [draw.getrandbits(1) << (spec.fraction_bits + 8) for _ in numbers]
    return numbers


def record_word(spec: Encoder, side: Side, last: int) -> int:
    """The payload that a record leaves in."""
    return pack(record_layout(spec), {"scale": side.scale, "codes": side.codes, "last": last})


def mx_encoder_cases(spec: MxEncoder, n: int, draw):
    """Blocks of hard numbers; tensors of random length, which matter to what is drawn."""
    at = 0
    for _ in range(n):
        numbers, last = draw_block(spec, draw), int(draw.random() < 0.15)
        yield pack(numbers_layout(spec), {"numbers": numbers, "last": last}), record_word(spec, spec(numbers, at), last)
        at = 0 if last else at + 1


Format = Annotated[str, typer.Option("--format", help="Format made: MX, or your own with E8M0 scales; nvfp4.")]
Source = Annotated[str, typer.Option("--source", help="Numbers that come in: fp32 or bf16.")]
Rounding = Annotated[str, typer.Option("--rounding", help="rne, or stochastic (MX formats).")]
Seed = Annotated[int | None, typer.Option("--seed", help="Of stochastic rounding, 1 to 2^32 - 1; default 1.")]
Row = Annotated[
    int | None, typer.Option("--k", help="Elements of a row; refused where the unit would not encode it as hwsim does.")
]


@dataclass(frozen=True)
class EncoderOptions(StageOptions, UnitOptions):
    """Options of `encoder`."""

    format: Format = "mxfp4_e2m1"
    source: Source = "fp32"
    rounding: Rounding = "rne"
    seed: Seed = None
    k: Row = None

    def unit(self) -> tuple[Encoder, str]:
        """The spec, and the name of the Verilog module.

        raises: InputError; of NVFP4 too for stochastic rounding, which would need a quotient of each element.
        """
        found = row(layout(self.format))
        name = f"encoder_{formats_name(self.format)}_{self.source}"
        if found.made_by == "nvfp4:ScaledFormat":
            return self.staged(self._nvfp4(found), name)
        seed = (1 if self.seed is None else self.seed) if self.rounding == "stochastic" else self.seed or 0
        spec = MxEncoder.of(self.format, self.source, self.rounding, seed)
        if self.k is not None:
            spec.check_row(self.k)
        return self.staged(spec, f"{name}_stochastic{seed}" if spec.stochastic else name)

    def _nvfp4(self, found) -> Nvfp4Encoder:
        if self.rounding != "rne" or self.seed is not None:
            raise InputError(
                f"--rounding {self.rounding}: NVFP4 elements are compared with products, and no quotient is there to "
                "add random bits to; write rne, or an MX format"
            )
        if found.options != {"element": "E2M1", "block": found.layout.block}:
            raise InputError(
                f"--format {self.format}: has E4M3 block scales, which the unit makes for E2M1 elements alone, by the "
                f"exact recipe and one tensor scale; this one has {_listed(found.options)}. Write nvfp4, "
                "element: E2M1, or scale: e8m0"
            )
        return Nvfp4Encoder(self.source, found.layout.block)


def _listed(options) -> str:
    """Options of a format in words."""
    return ", ".join(f"{name} {value}" for name, value in options.items())
