"""`Adapter` and `SkidBuffer` as RTL, their cases and the options of their commands."""

from dataclasses import dataclass, replace
from typing import Annotated

import typer
from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import Adapter, Repacker, SkidBuffer

from .axi import Outside
from .options import UnitOptions
from .pack import pack
from .repack import RepackerUnit

__all__ = [
    "AdapterOptions", "AdapterUnit", "SkidBufferOptions", "SkidBufferUnit", "adapter_cases", "skid_cases",
    "word_layout",
]  # fmt: skip

BytesIn = Annotated[int, typer.Option("--bytes-in", help="Bytes of a word in, 1 to 256.")]
BytesOut = Annotated[int, typer.Option("--bytes-out", help="Bytes of a word out, 1 to 256.")]
BytesWide = Annotated[int, typer.Option("--bytes", help="Bytes of a word, 1 to 256.")]


def word_layout(size: int, keep: bool = True) -> data.StructLayout:
    """A word of AXI4-Stream: data, which bytes count, whether it ends its packet."""
    kept = {"keep": size} if keep else {}
    return data.StructLayout({"data": 8 * size, **kept, "last": 1})


class AdapterUnit(wiring.Component):
    """Packets of words of `spec.bytes_in` bytes to packets of words of `spec.bytes_out` bytes.

    A gearbox, which counts groups of `spec.unit_bytes` bytes. Ready and valid come from its registers.

    gearbox: it.

    Ports:
    given  in, stream:  `word_layout`; the bytes of a last word that count are its low ones, at least one.
    taken  out, stream: `word_layout`; likewise. Bytes that do not count mean nothing.

    about: what the header of the Verilog says of the streams.
    """

    about = (
        "A narrower word passes in every cycle in which both sides can, and each packet takes one cycle more. tready "
        "and tvalid come from registers: no path leads from the output's tready to the input's.",
        "tlast ends a packet. Every word but the last of a packet is whole; of the last one, tkeep names the low bytes "
        "that count. A packet begins in a new word, and waits until the one before has left.",
    )

    def __init__(self, spec: Adapter):
        self.spec = spec
        given, taken = word_layout(spec.bytes_in), word_layout(spec.bytes_out)
        super().__init__({"given": In(stream.Signature(given)), "taken": Out(stream.Signature(taken))})
        self.gearbox = RepackerUnit(spec.gearbox)

    def elaborate(self, platform) -> Module:
        """A gearbox, and the counts of bytes as tkeep."""
        m = Module()
        given, taken, step = self.given.payload, self.taken.payload, self.spec.unit_bytes
        m.submodules.gearbox = gearbox = self.gearbox
        per_out, level = self.spec.bytes_out // step, gearbox.level
        leaving = Signal()  # the rest of a packet whose last word is in
        m.d.comb += [
            leaving.eq(gearbox.ended & level.any()),
            gearbox.given.valid.eq(self.given.valid & ~leaving),
            self.given.ready.eq(gearbox.given.ready & ~leaving),
            gearbox.given.payload.bits.eq(given.data),
            gearbox.given.payload.units.eq(_ones(given.keep[::step])),
            gearbox.given.payload.last.eq(given.last),
            self.taken.valid.eq(gearbox.taken.valid),
            gearbox.taken.ready.eq(self.taken.ready),
            taken.data.eq(gearbox.taken.payload),
            taken.keep.eq(Cat((level > n).replicate(step) for n in range(per_out))),
            taken.last.eq(gearbox.ended & (level <= per_out)),
        ]
        return m


def _ones(keep: Value) -> Value:
    """How many bits are set, all of them the low ones."""
    top = Cat(keep[n] & ~keep[n + 1] if n + 1 < len(keep) else keep[n] for n in range(len(keep)))
    width = len(keep).bit_length()
    return Cat(Cat(top[n] for n in range(len(keep)) if (n + 1) >> bit & 1).any() for bit in range(width))


class SkidBufferUnit(wiring.Component):
    """Two words between two units, so that no path leads through them.

    gearbox: what holds them.

    Ports:
    given  in, stream:  `word_layout`.
    taken  out, stream: the same words.

    about: what the header of the Verilog says of the streams.
    """

    about = (
        "tready and tvalid come from registers: no path leads from the output's tready to the input's, and a word "
        "passes in every cycle.",
        "tlast passes through with its word.",
    )

    def __init__(self, spec: SkidBuffer):
        self.spec = spec
        layout = word_layout(spec.bytes_wide, spec.keep)
        super().__init__({"given": In(stream.Signature(layout)), "taken": Out(stream.Signature(layout))})
        self.gearbox = RepackerUnit(Repacker(1, 1), layout.size)

    def elaborate(self, platform) -> Module:
        """A gearbox of whole words."""
        m = Module()
        given, taken = Value.cast(self.given.payload), Value.cast(self.taken.payload)
        m.submodules.gearbox = words = self.gearbox
        m.d.comb += [
            words.given.valid.eq(self.given.valid),
            self.given.ready.eq(words.given.ready),
            words.given.payload.bits.eq(given),
            words.given.payload.units.eq(1),
            self.taken.valid.eq(words.taken.valid),
            words.taken.ready.eq(self.taken.ready),
            taken.eq(words.taken.payload),
        ]
        return m


def adapter_cases(spec: Adapter, n: int, draw):
    """Packets of one byte group up to several words; each word in with the words out that it completes."""
    step, layouts = spec.unit_bytes, (word_layout(spec.bytes_in), word_layout(spec.bytes_out))

    def word(layout, kept: bytes, last: bool) -> int:
        fields = {"data": int.from_bytes(kept, "little"), "keep": (1 << len(kept)) - 1, "last": int(last)}
        return pack(layout, fields)

    def meant(kept: bytes) -> int:
        return pack(layouts[1], {"data": (1 << 8 * len(kept)) - 1, "keep": -1, "last": 1})

    made = 0
    while made < n:
        words = min(draw.choice([1, 1, 2, draw.randint(1, 8)]), n - made)
        whole, least = spec.bytes_in * words, spec.bytes_in * (words - 1) + step
        size = draw.choice([whole, least, draw.randrange(least, whole + 1, step)])
        packet = draw.randbytes(size)
        leaving, sent = spec(packet), 0
        for i in range(words):
            kept = packet[i * spec.bytes_in :][: spec.bytes_in]
            last = i == words - 1
            done = len(leaving) if last else (i + 1) * spec.bytes_in // spec.bytes_out
            out = [(word(layouts[1], leaving[j], j == len(leaving) - 1), meant(leaving[j])) for j in range(sent, done)]
            yield word(layouts[0], kept, last), out, {"bits": 8 * len(kept), "last": last}
            sent = done
        made += words


def skid_cases(spec: SkidBuffer, n: int, draw):
    """Words of any bits, extremes first."""
    bits = word_layout(spec.bytes_wide, spec.keep).size
    for i in range(n):
        word = (0, (1 << bits) - 1)[i] if i < 2 else draw.getrandbits(bits)
        yield word, spec(word)


@dataclass(frozen=True)
class AdapterOptions(UnitOptions):
    """Options of `adapter`."""

    bytes_in: BytesIn = 64
    bytes_out: BytesOut = 34

    @property
    def outside(self) -> Outside:
        """tkeep is part of its words."""
        return replace(super().outside, tkeep=False)

    def unit(self) -> tuple[Adapter, str]:
        """The spec, and the name of the Verilog module."""
        return Adapter(self.bytes_in, self.bytes_out), f"adapter_{self.bytes_in}_{self.bytes_out}"


@dataclass(frozen=True)
class SkidBufferOptions(UnitOptions):
    """Options of `skid-buffer`."""

    bytes_wide: BytesWide = 34

    @property
    def outside(self) -> Outside:
        """tkeep is part of its words."""
        return replace(super().outside, tkeep=False)

    def unit(self) -> tuple[SkidBuffer, str]:
        """The spec, and the name of the Verilog module."""
        return SkidBuffer(self.bytes_wide, self.tkeep), f"skid_buffer_{self.bytes_wide}{'_tkeep' * self.tkeep}"
