"""Memory: the DRAM channel with its refresh, and the buffers on the chip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field

from hwsim.arch.scalars import (
    ByteRate,
    Duration,
    Latency,
    Size,
    byte_rate_text,
    cycles_text,
    duration_text,
    size_text,
    whole_cycles,
)
from hwsim.arch.technology import DramKindName
from hwsim.files.fields import FilePart
from hwsim.files.yaml import Document


class RefreshFile(FilePart):
    """How DRAM refresh takes time from the channel.

    The stall of one all-bank refresh grows with what it covers. HBM3, by channel (JESD238B.01, table 93): 4 Gb 260 ns,
    6 Gb 310, 8 Gb 350, 12 Gb 410, 16 Gb 450. HBM2, by channel (Ramulator 2, AMD PG276): 4 Gb 260 ns, 8 Gb 350, 16 Gb
    450. LPDDR5, by die (JESD209-5): 4 Gb 180 ns, 8 Gb 210, 16 Gb 280. DDR4, by die (JESD79-4): 4 Gb 260 ns, 8 Gb 350 or
    360, 16 Gb 550.
    """

    kind: Literal["none", "spread", "all_bank"] = Field(
        description="none; spread: the exact share stall/period of all time; all_bank: the channel "
        "stops for `stall` at the end of each `period`.",
        examples=["spread"],
    )
    period: Duration | None = Field(None, description="Time from one refresh to the next.", examples=["3.9 us"])
    stall: Duration | None = Field(None, description="Time that one refresh takes.", examples=["350 ns"])


@dataclass(frozen=True, slots=True)
class Refresh:
    """How DRAM refresh takes time from the channel.

    kind: "none"; "spread": the exact share stall/period of all time, no phase;
          "all_bank": the channel stops in [k*period - stall, k*period), k >= 1.
    """

    kind: str = "none"
    period_cycles: Fraction = Fraction(0)
    stall_cycles: Fraction = Fraction(0)

    @property
    def share(self) -> Fraction:
        """The share of all time that refresh takes, on average."""
        return self.stall_cycles / self.period_cycles if self.period_cycles else Fraction(0)

    @classmethod
    def of(cls, file: RefreshFile, clock: Fraction) -> Refresh:
        """The file's refresh in cycles of the clock, exact."""
        if file.kind == "none":
            return cls()
        period, stall = (q.cycles(clock) if q else Fraction(0) for q in (file.period, file.stall))
        return cls(file.kind, period, stall)

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The refresh as a machine file states it."""
        if self.kind == "none":
            return {"kind": "none"}
        return {
            "kind": self.kind,
            "period": duration_text(self.period_cycles, clock),
            "stall": duration_text(self.stall_cycles, clock),
        }


class ScatteredFile(FilePart):
    """What reads and writes at addresses that do not follow one another cost; streams pay none of it."""

    channels: int = Field(
        ge=1, le=4096, description="Channels that open rows independently; pieces spread over them.", examples=[80]
    )
    burst: Size = Field(description="Bytes of one access of a channel.", examples=["32 B"])
    row: Size = Field(description="Bytes of one open row.", examples=["1 KiB"])
    banks: int = Field(
        ge=1,
        le=1024,
        description="Banks of a channel that neighbouring accesses go round: a piece of several accesses opens a row "
        "in as many.",
        examples=[8],
    )
    activation: Duration = Field(
        description="Time from one opened row of a channel to the next, on average: tFAW / 4, less by the "
        "pseudo-channels that share the channel.",
        examples=["1.875 ns"],
    )
    gap: Latency = Field(
        description="Time that a channel loses between pieces, its bus idle while rows open in banks that meet.",
        examples=["5 ns"],
    )
    turnaround: Latency = Field(
        description="Time that a channel loses at each change between reading and writing.", examples=["11.25 ns"]
    )


@dataclass(frozen=True, slots=True)
class Scattered:
    """What pieces at unrelated addresses cost; times are cycles of one channel.

    channels: that open rows independently. burst_bytes, row_bytes: one access, one open row.
    banks: a piece of several accesses opens a row in up to so many banks.
    activation_cycles: from one opened row to the next. gap_cycles: lost between pieces. turnaround_cycles: lost at each
    change between reading and writing.
    """

    channels: int
    burst_bytes: int
    row_bytes: int
    banks: int
    activation_cycles: Fraction
    gap_cycles: Fraction
    turnaround_cycles: Fraction

    @classmethod
    def of(cls, file: ScatteredFile, clock: Fraction) -> Scattered:
        """The file's numbers with times in cycles of the clock, exact."""
        times = (each.cycles(clock) for each in (file.activation, file.gap, file.turnaround))
        return cls(file.channels, file.burst, file.row, file.banks, *times)

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The numbers as a machine file states them."""
        return {
            "channels": self.channels,
            "burst": size_text(self.burst_bytes),
            "row": size_text(self.row_bytes),
            "banks": self.banks,
            "activation": duration_text(self.activation_cycles, clock),
            "gap": duration_text(self.gap_cycles, clock),
            "turnaround": duration_text(self.turnaround_cycles, clock),
        }

    def rows(self, nbytes: int) -> int:
        """Rows that a piece of so many bytes opens."""
        return max(-(-nbytes // self.row_bytes), min(-(-nbytes // self.burst_bytes), self.banks))


class DramFile(FilePart):
    """The memory: one channel that serves in program order."""

    bandwidth: ByteRate = Field(
        description="Peak bytes of the whole channel, before refresh.", examples=["819 GB/s", "64 B/cycle"]
    )
    latency: Latency = Field(
        description="From a request to its first bytes, unloaded; rounded up to whole cycles.",
        examples=["230 cycles", "300 ns"],
    )
    beat: Size = Field(description="Burst granularity: each transfer is rounded up to it.", examples=["64 B"])
    capacity: Size = Field(description="What the memory holds.", examples=["141 GB"])
    refresh: RefreshFile = Field(
        description="Refresh; `kind: none` to leave it out.",
        examples=[{"kind": "spread", "period": "3.9 us", "stall": "350 ns"}],
    )
    row: Size | None = Field(None, description="Bytes of one open row; with `row_miss`.", examples=["1 KiB"])
    row_miss: Duration | None = Field(
        None,
        description="Exposed time for each `row` bytes moved; leave out where banks hide it.",
        examples=["5 ns"],
    )
    turnaround: Duration | None = Field(
        None, description="Time lost at each change between reading and writing.", examples=["10 ns"]
    )
    kind: DramKindName | None = Field(
        None,
        description="Kind of memory, for its energy per byte: of `arch_configs/technology/dram`, or a file's path.",
        examples=["hbm2"],
    )
    scattered: ScatteredFile | None = Field(
        None,
        description="What access at scattered addresses costs; left out, it costs what a stream does.",
        examples=[{"channels": 1, "burst": "64 B", "row": "8 KiB", "banks": 4, "activation": "5 ns"}],
    )

    def problems(self, clock: Fraction, document: Document) -> Iterator[str]:
        """What no single field can see, one line each, at its place in the document."""
        say, refresh = document.problem, self.refresh
        given = [key for key in ("period", "stall") if getattr(refresh, key) is not None]
        if refresh.kind == "none" and given:
            message = "has no use under `kind: none`; remove it or write `kind: spread`"
            yield say(("dram", "refresh", given[0]), message)
        if refresh.kind != "none" and len(given) < 2:
            missing = "stall" if given == ["period"] else "period"
            example = "period: 3.9 us" if missing == "period" else "stall: 350 ns"
            yield say(("dram", "refresh", missing), f"missing for `kind: {refresh.kind}`; write `{example}`")
        times = Refresh.of(refresh, clock)
        if len(given) == 2 and refresh.kind != "none" and times.stall_cycles >= times.period_cycles:
            message = "is not shorter than the period; write a shorter time, for example `350 ns`"
            yield say(("dram", "refresh", "stall"), message)
        if (self.row is None) != (self.row_miss is None):
            here = "row" if self.row is not None else "row_miss"
            yield say(("dram", here), "needs its partner; write both `row` and `row_miss`, or neither")
        if self.scattered and self.scattered.row < self.scattered.burst:
            message = f"is smaller than one access; write {size_text(self.scattered.burst)} or more"
            yield say(("dram", "scattered", "row"), message)


@dataclass(frozen=True, slots=True)
class Dram:
    """One memory channel that serves in program order.

    bytes_per_cycle: peak, before refresh.
    beat_bytes: burst granularity; every transfer is rounded up to it.
    row_miss_cycles: exposed time per `row_bytes` moved (0: hidden by banks).
    turnaround_cycles: each change between reading and writing.
    scattered: what access at scattered addresses costs (None: what a stream costs).
    """

    bytes_per_cycle: Fraction
    latency_cycles: int
    beat_bytes: int
    capacity_bytes: int
    refresh: Refresh = Refresh()
    row_bytes: int = 0
    row_miss_cycles: int = 0
    turnaround_cycles: int = 0
    scattered: Scattered | None = None

    def scattered_cycles(self, pieces: int, nbytes: int, turns: int = 0) -> Fraction:
        """Cycles of the whole memory for many pieces of `nbytes` at unrelated addresses, many of them under way.

        Each piece is rounded up to whole beats. A channel is busy for its data and the gaps between pieces, or for as
        long as its rows take to open, whichever is longer; refresh takes its average share, `all_bank` too. A gap is no
        longer than the piece's data: those of short pieces lie behind the rows that open.
        turns: changes between reading and writing, each in the one channel that its pieces lie in.
        """
        beats = -(-nbytes // self.beat_bytes)
        data = beats * self.beat_bytes / self.bytes_per_cycle
        if self.scattered is None:
            return pieces * data / (1 - self.refresh.share)
        cost, channels = self.scattered, self.scattered.channels
        gap = min(cost.gap_cycles / channels, data)
        opened = cost.rows(nbytes) * cost.activation_cycles / channels
        cycles = pieces * max(data + gap, opened) + turns * cost.turnaround_cycles / channels
        return cycles / (1 - self.refresh.share)

    def scattered_rate(self, nbytes: int, turns_per_piece: int = 0) -> Fraction:
        """Useful bytes per cycle of pieces of `nbytes` at unrelated addresses."""
        return nbytes / self.scattered_cycles(1, nbytes, turns_per_piece)

    @property
    def rate(self) -> Fraction:
        """Bytes per cycle while the channel serves: the peak less the share that `spread` refresh takes.

        The stops of `all_bank` refresh are not in it: the simulator places each one (`hwsim.sim.refresh`).
        """
        rate = Fraction(self.bytes_per_cycle)
        return rate * (1 - self.refresh.share) if self.refresh.kind == "spread" else rate

    @classmethod
    def of(cls, file: DramFile, clock: Fraction) -> Dram:
        """The file's memory in cycles of the clock: latencies rounded up to whole cycles, rates exact."""
        return cls(
            bytes_per_cycle=file.bandwidth.per_cycle(clock),
            latency_cycles=whole_cycles(file.latency, clock),
            beat_bytes=file.beat,
            capacity_bytes=file.capacity,
            refresh=Refresh.of(file.refresh, clock),
            row_bytes=file.row or 0,
            row_miss_cycles=whole_cycles(file.row_miss, clock),
            turnaround_cycles=whole_cycles(file.turnaround, clock),
            scattered=Scattered.of(file.scattered, clock) if file.scattered else None,
        )

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The memory as a machine file states it."""
        part: dict[str, Any] = {
            "bandwidth": byte_rate_text(self.bytes_per_cycle, clock),
            "latency": cycles_text(self.latency_cycles),
            "beat": size_text(self.beat_bytes),
            "capacity": size_text(self.capacity_bytes),
            "refresh": self.refresh.file(clock),
        }
        if self.row_bytes:
            part |= {"row": size_text(self.row_bytes), "row_miss": cycles_text(self.row_miss_cycles)}
        if self.turnaround_cycles:
            part["turnaround"] = cycles_text(self.turnaround_cycles)
        if self.scattered:
            part["scattered"] = self.scattered.file(clock)
        return part


class BuffersFile(FilePart):
    """On-chip memory. Each tile needs two slots: one in use, one being filled."""

    weights: Size = Field(description="Streamed operand: weights, KV cache, state.", examples=["1 MiB"])
    activations: Size = Field(description="Activations.", examples=["1 MiB"])
    outputs: Size = Field(description="Partial sums and results.", examples=["1 MiB"])


@dataclass(frozen=True, slots=True)
class Buffers:
    """On-chip bytes: streamed operand (weights, KV, state), activations, partial sums and results."""

    weights: int
    activations: int
    outputs: int

    @classmethod
    def of(cls, file: BuffersFile) -> Buffers:
        """The file's buffers."""
        return cls(file.weights, file.activations, file.outputs)

    def file(self) -> dict[str, Any]:
        """The buffers as a machine file states them."""
        return {
            "weights": size_text(self.weights),
            "activations": size_text(self.activations),
            "outputs": size_text(self.outputs),
        }

    def filled(self, tile: tuple[int, int, int], accumulator_bytes: int) -> dict[str, Fraction]:
        """By buffer, the share that a tile's two slots take; above 1 they do not fit."""
        slots = slot_bytes(tile, accumulator_bytes)
        return {name: Fraction(2 * need, getattr(self, name)) for name, need in slots.items()}

    def hold(self, tile: tuple[int, int, int], accumulator_bytes: int) -> bool:
        """Whether two slots of the tile fit each buffer."""
        return max(self.filled(tile, accumulator_bytes).values()) <= 1


def slot_bytes(tile: tuple[int, int, int], accumulator_bytes: int) -> dict[str, int]:
    """By buffer, the bytes of one slot for an MxNxK tile: 1 byte per element, partial sums at full width."""
    m, n, k = tile
    return {"weights": n * k, "activations": m * k, "outputs": m * n * accumulator_bytes}
