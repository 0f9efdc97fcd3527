"""Registers of `hwsim_accel`: where they are, what they mean, and the AXI4-Lite port to them."""

import hashlib
from dataclasses import dataclass

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.specs import Accel

from .gemv import command, command_layout

__all__ = [
    "ADDRESS_BITS", "COUNTERS", "SHAPE", "STATUS", "Register", "RegistersUnit", "identity", "ports", "registers",
    "values",
]  # fmt: skip

ADDRESS_BITS = 8
"""Of the port: 256 bytes."""


@dataclass(frozen=True)
class Register:
    """A word of 32 bits. offset: in bytes; bits: how many of them mean something; written: by the host, else read."""

    name: str
    offset: int
    bits: int
    written: bool
    about: str


STATUS = ("BUSY", "DONE", "READ_FAILED", "WRITE_FAILED")
"""Bits of the register STATUS from bit 0 up, of the product from START on."""

SHAPE = {
    "ROWS": "rows of W",
    "COLUMNS": "blocks of a row that enter a dot unit",
    "BEATS": "beats of the weight stream",
    "GROUP_BEATS": "beats of a group of rows",
    "TAIL": "units of the unpacker in the last beat of a group",
    "X_BLOCKS": "blocks of a row of x",
    "X_BEATS": "beats of all rows of x",
    "M": "rows of x, at most a tile; of a unit with a tile of 1, this is no register",
}
"""The size of a product."""

COUNTERS = {
    "CYCLES": "cycles from the first read of W accepted to the last result taken, both counted",
    "BUSY": "cycles of those in which a block enters the dot units",
    "PADDING": "cycles of BUSY with blocks of zero rows of W alone, which fill the last group",
    "WAITING_INPUT": "cycles before the last row's last block in which no block was there",
    "OUTPUT_BLOCKED": "cycles in which a block waited because no slot for its result was free",
    "BEATS_READ": "beats of x and W",
    "BEATS_WRITTEN": "beats of y",
    "ELAPSED": "cycles from START to DONE: also reads x and waits for the last write",
}
"""Of a product, each of 32 bits, from START on; they stand still when it is done."""


def registers(spec: Accel) -> list[Register]:
    """All registers in the order of their offsets."""
    high, low = max(0, spec.address_bits - 32), min(32, spec.address_bits)
    width = {name.upper(): field.width for name, field in command_layout(spec.gemv)}
    width["X_BLOCKS"] = spec.gemv.x_words.bit_length()
    width["X_BEATS"] = spec.x_beats(spec.gemv.k_max, spec.gemv.tile).bit_length()
    written = []
    for name, what in (("X", "x"), ("W", "the weight stream"), ("Y", "y")):
        written.append((f"{name}_LOW", low, f"address of {what}, a multiple of 4096: bits 31 to 0"))
        written.append((f"{name}_HIGH", high, f"address of {what}: the bits above"))
    written += [(name, width.get(name, 0), about) for name, about in SHAPE.items()]
    found = [
        Register("ID", 0x00, 32, False, "which unit this is; the header has the same number"),
        Register("CONTROL", 0x04, 1, True, "write 1 to start; ignored while BUSY; reads as 0"),
        Register("STATUS", 0x08, len(STATUS), False, ", ".join(f"bit {i} {bit}" for i, bit in enumerate(STATUS))),
    ]
    found += [Register(name, 0x10 + 4 * i, bits, True, about) for i, (name, bits, about) in enumerate(written)]
    found += [Register(name, 0x80 + 4 * i, 32, False, about) for i, (name, about) in enumerate(COUNTERS.items())]
    return found


def identity(spec: Accel) -> int:
    """What the register ID holds: another number for another unit or another map."""
    said = f"{spec!r} {registers(spec)!r}"
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:4], "big")


def values(spec: Accel, rows: int, k: int, m: int = 1) -> dict[str, int]:
    """What the host writes for a matrix of [rows, k] and `m` rows of x, by register."""
    fields = {name.upper(): value for name, value in command(spec.gemv, rows, k, m).items()}
    return fields | {"X_BLOCKS": spec.gemv.x_blocks(k), "X_BEATS": spec.x_beats(k, m), "M": m}


def ports() -> dict[str, wiring.Member]:
    """The ports of the AXI4-Lite slave, by name."""
    channels = {
        "aw": {"addr": In(ADDRESS_BITS), "prot": In(3), "valid": In(1), "ready": Out(1)},
        "w": {"data": In(32), "strb": In(4), "valid": In(1), "ready": Out(1)},
        "b": {"resp": Out(2), "valid": Out(1), "ready": In(1)},
        "ar": {"addr": In(ADDRESS_BITS), "prot": In(3), "valid": In(1), "ready": Out(1)},
        "r": {"data": Out(32), "resp": Out(2), "valid": Out(1), "ready": In(1)},
    }
    return {f"s_axil_{channel}{name}": port for channel, names in channels.items() for name, port in names.items()}


class RegistersUnit(wiring.Component):
    """The registers behind an AXI4-Lite slave: an address and its data are taken together, and answered the next edge.

    Writes are whole words, whatever the strobes; a write to no register or while `busy`, and a read from none, do
    nothing and are answered OKAY (such a read is 0).

    Ports:
    aw, w, ar  in, streams:  byte address; data; byte address.
    b, r       out, streams: an answer, OKAY; data.
    busy       in:           what the host wrote stays as it is.
    start      out:          the host writes 1 to CONTROL.
    held       out:          what the host wrote, by register.
    shown      in:           what it reads, by register.
    """

    def __init__(self, spec: Accel):
        self.registers = registers(spec)
        self.written = [r for r in self.registers if r.written and r.name != "CONTROL" and r.bits]
        self.read = [r for r in self.registers if not r.written]
        super().__init__(
            {
                "aw": In(stream.Signature(ADDRESS_BITS)),
                "w": In(stream.Signature(32)),
                "b": Out(stream.Signature(2)),
                "ar": In(stream.Signature(ADDRESS_BITS)),
                "r": Out(stream.Signature(32)),
                "busy": In(1),
                "start": Out(1),
                "held": Out(data.StructLayout({r.name: r.bits for r in self.written})),
                "shown": In(data.StructLayout({r.name: r.bits for r in self.read})),
            }
        )

    def elaborate(self, platform) -> Module:
        """Writes, then reads."""
        m = Module()
        offset = {r.name: r.offset >> 2 for r in self.registers}
        writes, reads = Signal(), Signal()
        word_in, word_out = self.aw.payload[2:], self.ar.payload[2:]
        m.d.comb += [
            writes.eq(self.aw.valid & self.w.valid & (~self.b.valid | self.b.ready)),
            self.aw.ready.eq(writes),
            self.w.ready.eq(writes),
            self.start.eq(writes & ~self.busy & (word_in == offset["CONTROL"]) & self.w.payload[0]),
            reads.eq(self.ar.valid & (~self.r.valid | self.r.ready)),
            self.ar.ready.eq(reads),
        ]
        m.d.sync += [
            self.b.valid.eq(writes | self.b.valid & ~self.b.ready),
            self.r.valid.eq(reads | self.r.valid & ~self.r.ready),
        ]
        for register in self.written:
            with m.If(writes & ~self.busy & (word_in == offset[register.name])):
                m.d.sync += self.held[register.name].eq(self.w.payload)
        with m.If(reads), m.Switch(word_out):
            for register in self.registers:
                if register in self.written or register in self.read:
                    with m.Case(offset[register.name]):
                        bank = self.held if register in self.written else self.shown
                        m.d.sync += self.r.payload.eq(bank[register.name])
            with m.Default():
                m.d.sync += self.r.payload.eq(0)
        return m
