"""`Gemv`, which multiplies a streamed matrix by a vector held on chip; `Gemm`, by several; `Repacker`, a gearbox."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from hwsim.errors import InputError
from hwsim.formats.layout import Layout, StreamShape, stream_shape
from hwsim.formats.lfsr import CODECS, SeedCodec
from hwsim.formats.names import layout
from hwsim.specs.accumulate import Accumulator
from hwsim.specs.dot import BlockDot
from hwsim.specs.requantize import Requantizer
from hwsim.specs.seed import SeedDecoder
from hwsim.timing import Gearbox, Timing


@dataclass(frozen=True)
class Repacker:
    """Words of one width to words of another, in the order of their bits.

    bits_in, bits_out: widths. unit: granularity of all movement in bits; divides both widths and every shorter input.
    spare: input words held beyond the depth that its neighbours' rates need.
    """

    bits_in: int
    bits_out: int
    unit: int = 1
    spare: int = 0

    def __post_init__(self) -> None:
        if self.bits_in % self.unit or self.bits_out % self.unit:
            raise InputError(f"{self}: write a unit that divides both widths")

    @cached_property
    def depth(self) -> int:
        """Bits held: enough that neither side waits for anything but the rate of the other."""
        return Gearbox.full_rate_depth(self.bits_in, self.bits_out, self.unit) + self.spare * self.bits_in

    def cycle_model(self) -> Gearbox:
        """The handshake, cycle by cycle."""
        return Gearbox(self.bits_in, self.bits_out, self.depth)


@dataclass(frozen=True)
class Gemv:
    """y = W x: W arrives from memory as the stream of `formats.stream`, x is held on chip, y leaves as float32.

        requests -> memory -> FIFO -> unpack -> [decoders -> gather -> requantizers -> turn] -> issue
        issue -> dot units -> accumulators -> result buffer -> y

    A beat is requested when its slot in the FIFO is free. From unpack to issue every unit waits for the next one. At
    issue, one block of each of `dot_units` rows and the block of x enter the dot units together; the units behind issue
    never wait, because a row's last block is issued only when its result's slot is free. Where a block of the stream
    makes several blocks of the target (seedlm3: 96 weights), the two banks of the turn buffer hold the blocks of
    `interleave` rows each: written row by row, read block by block, in the order of the accumulators' rows.

    y is `formats.matmul(x, w, accumulate="fp32", tensor_scale=False)`, bit by bit; for int8, a 64th of it: its elements
    are those of MXINT8, 2^-6 times an integer, so the row's scale, applied after y, must be 64 times as large.

    weights:     format of the stream: elements of at most 8 bits in blocks of at most 32, or seeds.
    activations: the MX format of x.
    beat_bytes:  bytes per beat, 4 to 64.
    dot_units:   blocks multiplied per cycle, each of another row.
    interleave:  rows of a dot unit in turn, at least the accumulator's loop latency; None: exactly that.
    decoders:    seed blocks decoded per cycle (seeds only); None: as many as the dot units take.
    target:      MX format to which seeds are requantised.
    fifo:        most beats requested and not yet unpacked; memory latency times bandwidth should fit.
    results:     slots for one result of every dot unit; None: two turns of `interleave`.
    k_max:       elements of the longest x.
    """

    weights: str
    activations: str = "mxint8"
    beat_bytes: int = 64
    dot_units: int = 1
    interleave: int = None  # type: ignore[assignment]  # __post_init__ fills None
    decoders: int = None  # type: ignore[assignment]  # __post_init__ fills None
    target: str = "mxint8"
    fifo: int = 64
    results: int = None  # type: ignore[assignment]  # __post_init__ fills None
    k_max: int = 4096

    FIFO_LATENCY: ClassVar[int] = 2
    """Edges from a beat's arrival in the FIFO to the first at which it can leave: memory, output register."""

    def __post_init__(self) -> None:
        problems = list(self._refused())
        if problems:
            raise InputError(*problems)
        if self.interleave is None:
            object.__setattr__(self, "interleave", Accumulator(self.dot).interleave)
        if self.results is None:
            object.__setattr__(self, "results", 2 * self.interleave)
        if self.decoders is None:
            taken = self.dot_units * self.shape(1, 1).block_records
            object.__setattr__(self, "decoders", -(-taken // self.parts) if self.codec else 0)
        if self.accumulator.timing.interval > 1:  # which refuses other interleaves below its loop
            least = self.accumulator.loop_latency
            raise InputError(
                f"{self.kind}: interleave {self.interleave}; write {least} or more: its accumulators never wait"
            )

    def _refused(self) -> Iterator[str]:
        if self.beat_bytes not in (4, 8, 16, 32, 64):
            yield f"{self.kind}: beat_bytes {self.beat_bytes}; write 4, 8, 16, 32 or 64"
        if not 1 <= self.dot_units <= 64:
            yield f"{self.kind}: dot_units {self.dot_units}; write 1 to 64"
        if not 4 <= self.fifo <= 4096:
            yield f"{self.kind}: fifo {self.fifo}; write 4 to 4096 beats"
        if self.results is not None and not 1 <= self.results <= 4096:
            yield f"{self.kind}: results {self.results}; write 1 to 4096"
        if not 32 <= self.k_max <= 1 << 20:
            yield f"{self.kind}: k_max {self.k_max}; write 32 to 1048576"
        x = layout(self.activations)
        if (x.kind, x.block) != ("block", 32) or not x.name.startswith("mx"):
            yield f"{self.kind}: activations {self.activations}; write an MX format, for example mxint8"
        seeds = layout(self.weights).kind == "seed"
        if seeds and self.weights not in CODECS:
            yield f"{self.kind}: weights {self.weights}; write one of {', '.join(CODECS)}"
        if self.decoders is not None and (self.decoders < 1 if seeds else self.decoders != 0):
            yield f"{self.kind}: decoders {self.decoders} with {self.weights}; write {'1 or more' if seeds else '0'}"
        if not seeds and layout(self.weights).block > 32:
            block = layout(self.weights).block
            yield f"{self.kind}: blocks of {block} weights; write a format with blocks of at most 32"

    @property
    def kind(self) -> str:
        """The name of its class, with which its errors begin."""
        return type(self).__name__

    @property
    def tile(self) -> int:
        """Rows of x held on chip, each of which meets every block of the weights."""
        return 1

    @cached_property
    def layout(self) -> Layout:
        """The packed form of the weights."""
        return layout(self.weights)

    @cached_property
    def codec(self) -> SeedCodec | None:
        """The seed codec; None for formats that are not seeds."""
        return CODECS.get(self.layout.name)

    @cached_property
    def decoder(self) -> SeedDecoder:
        """Each of the decoders (seeds only)."""
        return SeedDecoder(CODECS[self.layout.name])

    @cached_property
    def requantizer(self) -> Requantizer:
        """Each of the requantizers, one per dot unit (seeds only)."""
        return Requantizer(CODECS[self.layout.name], self.target)

    @cached_property
    def dot(self) -> BlockDot:
        """Each of the dot units: x is operand a."""
        return BlockDot.of(self.activations, self.target if self.codec else self.weights)

    @cached_property
    def accumulator(self) -> Accumulator:
        """Each of the accumulators."""
        return Accumulator(self.dot, self.interleave)

    @cached_property
    def group_rows(self) -> int:
        """Rows in work at once: `interleave` of each dot unit."""
        return self.dot_units * self.interleave

    @cached_property
    def columns_max(self) -> int:
        """Dot blocks of the longest row."""
        return self.columns(self.k_max)

    def columns(self, k: int) -> int:
        """Dot blocks of a row of `k` elements, including those that only fill up a block of the stream."""
        return self.shape(1, k).row_blocks * self.parts

    @cached_property
    def x_words(self) -> int:
        """Blocks of a row of x that are held."""
        return self.x_blocks(self.k_max)

    def x_blocks(self, k: int) -> int:
        """Blocks of x that make a row of `k` elements, including those that only fill up a block of the stream."""
        return -(-self.columns(k) // self.x_parts)

    @cached_property
    def x_parts(self) -> int:
        """Dot blocks of one block of x."""
        return 32 // self.dot.lanes

    def shape(self, rows: int, k: int) -> StreamShape:
        """The sizes of a matrix of [rows, k] in the stream."""
        return stream_shape(self.layout, rows, k, self.group_rows, self.beat_bytes)

    def tail_bits(self, k: int) -> int:
        """Bits used in the last beat of a group of rows of `k` elements."""
        shape = self.shape(1, k)
        return self.interleave * shape.row_blocks * self.step_bits - (shape.group_beats - 1) * self.beat_bits

    @cached_property
    def parts(self) -> int:
        """Dot blocks per stream block: 1, except for seed formats whose blocks do not divide the target's."""
        return self.requantizer.blocks if self.codec else 1

    @cached_property
    def beat_bits(self) -> int:
        """Bits of a beat."""
        return 8 * self.beat_bytes

    @cached_property
    def step_bits(self) -> int:
        """Stored bits of a block of each dot unit; they are issued in `parts` cycles."""
        return self.dot_units * self.shape(1, 1).block_bits

    @cached_property
    def unpack(self) -> Repacker:
        """From beats to the words that the decoders (without seeds: the dot units) take per cycle."""
        word = self.decoders * self.layout.record_bits if self.codec else self.step_bits
        group = self.interleave * self.step_bits
        return Repacker(self.beat_bits, word, math.gcd(self.beat_bits, word, group))

    @cached_property
    def gather(self) -> Repacker | None:
        """From decoded seed blocks to the requantizers' input, in seed blocks; None where both rates are equal.

        With more decoders than are needed it holds one more word: the decoders are rigid, so a stall leaves bubbles
        inside them, and this word makes up for those (without it 19 decoders are 7 % slower than 16).
        """
        wanted = self.dot_units * self.requantizer.seed_blocks
        if self.decoders == wanted:
            return None
        return Repacker(self.decoders, wanted, math.gcd(self.decoders, wanted), int(self.decoders > wanted))

    @cached_property
    def timing(self) -> Timing:
        """From the acceptance of the beat that completes a row's last block to its result; one step per cycle."""
        seeds = self.decoder.timing.latency + self.requantizer.timing.latency if self.codec else 0
        boundaries = bool(self.codec and self.gather) + (self.parts > 1)
        turns = self.interleave * (self.parts - 1)
        return Timing(self.FIFO_LATENCY + 1 + seeds + boundaries + turns + self.result_latency + 1)

    @cached_property
    def result_latency(self) -> int:
        """Edges from issuing a row's last block to its result's entry into the result buffer."""
        return self.dot.timing.latency + self.accumulator.timing.latency


@dataclass(frozen=True)
class Gemm(Gemv):
    """Y = X W^T, `tile` rows of x at a time: a `Gemv` in which each block of weights meets all rows of x in one cycle.

    There are dot_units * tile dot units: unit (d, t) multiplies the blocks of dot unit d by row t of x, and its
    accumulator adds them in Gemv's order, so each row of y has Gemv's bits. Stream, FIFO, unpacker, decoders and
    requantizers are Gemv's, and so are the cycles up to the results. A slot of the result buffer holds dot_units * tile
    results; they leave one by one, row of W by row of W, for each one the rows of x in turn.

    A command is for 1 to `tile` rows of x; the results of rows that it lacks are dropped where they would leave. For
    more rows of x there is a command per tile: x is loaded again, and the whole stream is read again.

    tile: rows of x held on chip. 1: a Gemv to the cycle.
    """

    tile: int = 4  # in place of the property

    TILE_MAX: ClassVar[int] = 64
    DOTS_MAX: ClassVar[int] = 1024
    """Most dot units: dot_units * tile."""

    def _refused(self) -> Iterator[str]:
        if not 1 <= self.tile <= self.TILE_MAX:
            yield f"{self.kind}: tile {self.tile}; write 1 to {self.TILE_MAX} rows of x"
        elif self.dot_units * self.tile > self.DOTS_MAX:
            most = self.DOTS_MAX // self.dot_units
            yield f"{self.kind}: tile {self.tile} x dot_units {self.dot_units}; write a tile of {most} rows or less"
        yield from super()._refused()
