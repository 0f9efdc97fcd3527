"""`MxMac` and `SeedMac` as RTL, the units wired together; their cases and the options of their commands."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import InputError
from hwsim.specs import Accumulator, MxMac, Requantizer, SeedMac, operand

from .accumulate import AccumulatorUnit
from .dot import BlockDotUnit, pair_layout
from .dot_cases import draw_side, near_scale, pair_word
from .lane import operand_layout
from .options import Activations, DotOptions, Interleave, SeedOptions, SumOptions, Target, formats_name
from .pack import pack
from .pipe import held
from .requantize import RequantizerUnit
from .seed import SeedDecoderUnit, draw_record, record_layout

__all__ = [
    "MxMacOptions", "MxMacUnit", "SeedMacOptions", "SeedMacUnit", "join", "mx_mac_cases", "records_layout",
    "seed_mac_cases",
]  # fmt: skip


class MxMacUnit(wiring.Component):
    """Rows of block pairs to float32 sums, `spec.accumulator.interleave` rows in turn.

    Latency `spec.timing.latency` from a row's last pair, the accumulator's interval. The dot unit and the accumulator
    are rigid each; bubbles close up between them.

    Ports:
    pair   in, stream:  `pair_layout(spec.dot)`; `last` ends a row.
    value  out, stream: float32 bits, one for each `last`.

    pipelines: of what it is made, for the header of the Verilog.
    """

    pipelines = ("dot unit", "accumulator")

    def __init__(self, spec: MxMac):
        self.spec = spec
        super().__init__({"pair": In(stream.Signature(pair_layout(spec.dot))), "value": Out(stream.Signature(32))})

    def elaborate(self, platform) -> Module:
        """Wires."""
        m = Module()
        m.submodules.dot = dot = BlockDotUnit(self.spec.dot)
        m.submodules.accumulator = accumulator = AccumulatorUnit(self.spec.accumulator)
        join(m, self.pair, dot.pair)
        join(m, dot.total, accumulator.total)
        join(m, accumulator.value, self.value)
        return m


def join(m: Module, source, sink) -> None:
    """Wire a stream to a stream of the same payload."""
    m.d.comb += [sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
    m.d.comb += Value.cast(sink.payload).eq(Value.cast(source.payload))


def records_layout(spec: SeedMac) -> data.StructLayout:
    """Seed records, in order; a block of activations as its format packs a record; whether they end a row."""
    return data.StructLayout(
        {
            "records": data.ArrayLayout(spec.codec.block_bits, spec.requantizer.seed_blocks),
            "activations": operand_layout(spec.activations, spec.requantizer.block),
            "last": 1,
        }
    )


class SeedMacUnit(wiring.Component):
    """Seed records and blocks of activations to float32 sums.

    Latency `spec.timing.latency` from a row's last block, the accumulator's interval. Decoders side by side,
    requantizer, dot unit and accumulator, each rigid; the activations wait beside the first two in registers with those
    units' enables.

    Ports:
    records  in, stream:  `records_layout`; `last` ends a row.
    value    out, stream: float32 bits, one for each `last`; times 2^s / (2^(K-1) - 1), the tensor scale.

    source: SeedLM (arXiv 2410.10714), sections 3 and 4.2.

    pipelines: of what it is made, for the header of the Verilog.
    """

    pipelines = ("seed decoders", "requantizer", "dot unit", "accumulator")

    def __init__(self, spec: SeedMac):
        self.spec = spec
        layout = records_layout(spec)
        super().__init__({"records": In(stream.Signature(layout)), "value": Out(stream.Signature(32))})
        records = data.ArrayLayout(record_layout(spec.codec), spec.requantizer.seed_blocks)
        fields = {name: field.shape for name, field in layout}
        self.meaning = {"records": data.StructLayout({**fields, "records": records})}

    def elaborate(self, platform) -> Module:
        """Decoders share one handshake: they are equal and rigid."""
        m = Module()
        spec, given = self.spec, self.records.payload
        decoders = [SeedDecoderUnit(spec.decoder) for _ in range(spec.requantizer.seed_blocks)]
        m.submodules.requantizer = requantizer = RequantizerUnit(spec.requantizer)
        m.submodules.mac = mac = MxMacUnit(spec.mac)
        for i, decoder in enumerate(decoders):
            m.submodules[f"decoder{i}"] = decoder
            m.d.comb += [
                decoder.record.valid.eq(self.records.valid),
                decoder.record.payload.eq(given.records[i]),
                decoder.weights.ready.eq(requantizer.weights.ready),
            ]
        m.d.comb += [
            self.records.ready.eq(decoders[0].record.ready),
            requantizer.weights.valid.eq(decoders[0].weights.valid),
            Value.cast(requantizer.weights.payload).eq(
                Cat(*(Value.cast(decoder.weights.payload) for decoder in decoders))
            ),
        ]
        beside = Cat(Value.cast(given.activations), given.last)
        for unit, port in ((decoders[0], decoders[0].record), (requantizer, requantizer.weights)):
            for _ in range(unit.spec.timing.latency):
                beside = held(m, beside, port.ready, "held")
        m.d.comb += [
            mac.pair.valid.eq(requantizer.blocks.valid),
            requantizer.blocks.ready.eq(mac.pair.ready),
            Value.cast(mac.pair.payload).eq(Cat(beside[:-1], Value.cast(requantizer.blocks.payload), beside[-1])),
        ]
        join(m, mac.value, self.value)
        return m


def mx_mac_cases(spec: MxMac, n, draw):
    """Rows in turn, of random length."""
    interleave, dot = spec.accumulator.interleave, spec.dot
    sums = [0] * interleave
    for i in range(n):
        row, kind = i % interleave, draw.choice(["random", "random", "sparse", "extreme", "special"])
        kind = "random" if kind == "special" and draw.random() < 0.9 else kind
        a, b = (near_scale(draw_side(o, dot.lanes, draw, kind), draw, o.scale) for o in (dot.a, dot.b))
        sums[row] = spec.accumulator.add(sums[row], dot(a, b))
        last = draw.random() < (0.6 if sums[row] & 0x7F800000 == 0x7F800000 else 0.2)
        yield pair_word(dot, a, b, int(last)), sums[row] if last else None
        sums[row] = 0 if last else sums[row]


def seed_mac_cases(spec: SeedMac, n, draw):
    """Rows in turn, of random length; hard records among them."""
    mac, layout = spec.mac, records_layout(spec)
    interleave, count = mac.accumulator.interleave, spec.requantizer.seed_blocks
    sums = [0] * interleave
    for i in range(n):
        row = i % interleave
        words = [draw_record(spec.codec, draw, draw.random() < 0.2) for _ in range(count)]
        weights = spec.requantizer([spec.decoder(word) for word in words])[0]
        block = draw_side(spec.activations, spec.requantizer.block, draw, draw.choice(["random", "sparse"]))
        block = near_scale(block, draw, spec.activations.scale)
        sums[row] = mac.accumulator.add(sums[row], mac.dot(block, weights))
        last = draw.random() < 0.2
        activations = {"scale": block.scale, "shifts": block.shifts, "codes": block.codes}
        word = pack(layout, {"records": words, "activations": activations, "last": int(last)})
        yield word, sums[row] if last else None
        sums[row] = 0 if last else sums[row]


@dataclass(frozen=True)
class MxMacOptions(SumOptions, DotOptions):
    """Options of `mx-mac`."""

    interleave: Interleave = None

    def unit(self) -> tuple[MxMac, str]:
        """The spec, and the name of the Verilog module."""
        spec = MxMac(Accumulator(self.dot, self.interleave))
        return spec, f"mx_mac_{self.name}_i{spec.accumulator.interleave}"


@dataclass(frozen=True)
class SeedMacOptions(SumOptions, SeedOptions):
    """Options of `seed-mac`."""

    target: Target = "mxint8"
    activations: Activations = None
    interleave: Interleave = None

    def unit(self) -> tuple[SeedMac, str]:
        """The spec, and the name of the Verilog module.

        raises: InputError for activations whose block is not the target's.
        """
        activations = self.activations or self.target
        side, block = operand(activations)
        if block not in (0, 32):
            raise InputError(
                f"--activations {activations}: blocks of {block} elements; write a format whose block is 32"
            )
        spec = SeedMac(Requantizer(self.codec, self.target), side, self.interleave)
        rows = spec.mac.accumulator.interleave
        names = (self.format, *map(formats_name, (self.target, activations)))
        return spec, f"seed_mac_{'_'.join(names)}_i{rows}"
