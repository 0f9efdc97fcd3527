"""What every machine has, and the tile machine: memory, buffers, a dot array and units beside it that share tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from hwsim.arch.cache import Cache, CacheFile
from hwsim.arch.compute import AnyDot, DotArray
from hwsim.arch.cores import Cores, Peaks
from hwsim.arch.cores_file import CoresFile, cores_file
from hwsim.arch.link import Link, LinkFiles
from hwsim.arch.memory import Buffers, BuffersFile, Dram, DramFile, slot_bytes
from hwsim.arch.scalars import FormatName, Frequency, Power, StateName, Tile, size_text, tile_text
from hwsim.arch.servers import (
    Dequantise,
    DequantiseFile,
    Gather,
    GatherFile,
    Launch,
    LaunchFile,
    Regenerate,
    RegenerateFile,
    Round,
    RoundFile,
    Sort,
    SortFile,
    Stack,
    StackFile,
    Vector,
    VectorFile,
)
from hwsim.arch.serving import Serving, ServingFile
from hwsim.arch.technology import DramKind, Technology, TechnologyName, load_dram_kind, load_technology
from hwsim.errors import collect
from hwsim.files.fields import FilePart, validate
from hwsim.files.yaml import Document, raise_problems
from hwsim.formats.names import layout
from hwsim.quantities import write


class MachineFile(FilePart):
    """What the file of every kind of machine begins with."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Short name, as on the command line.", examples=["my-machine"]
    )
    description: Annotated[str, StringConstraints(max_length=1000)] = Field(
        description="One line for tables: what the machine is, and whose.", examples=["my accelerator"]
    )
    hypothetical: bool = Field(False, description="True where the machine cannot be bought.", examples=[True])
    clock: Frequency = Field(description="The one clock that all cycles count.", examples=["1.755 GHz"])
    dram: DramFile = Field(description="The memory that holds weights, KV cache and state.")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a table of machines shows of one: peak rates, and the pairs of formats (weights, activations).

    kernels: how the times of its kernels are known, as in `Result.provenance`.
    """

    name: str
    clock_hz: Fraction
    bytes_per_second: Fraction
    macs_per_second: Fraction
    formats: tuple[tuple[str, str], ...]
    kernels: str = "ideal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What every kind of machine has.

    A kind is a subclass with three methods: `read` makes a machine from a file, `file` states it as one, `summary` is
    its line in a table. The union of all kinds is `hwsim.arch.load.Arch`.

    KEY:      the key of a machine file that only this kind has.
    FILE:     the class of its files.
    warnings: what its sizes cost, found when it was loaded.
    """

    KEY: ClassVar[str]
    FILE: ClassVar[type[MachineFile]]

    name: str
    description: str
    clock_hz: Fraction
    dram: Dram
    hypothetical: bool = False
    warnings: tuple[str, ...] = ()

    def seconds(self, cycles: int | Fraction) -> float:
        """Cycles of this machine's clock in seconds."""
        return float(cycles / self.clock_hz)

    def head(self) -> dict[str, Any]:
        """The beginning of its file, up to the memory."""
        return {
            "name": self.name,
            "description": self.description,
            "hypothetical": self.hypothetical,
            "clock": write(self.clock_hz, "Hz"),
            "dram": self.dram.file(self.clock_hz),
        }


class TileMachineFile(MachineFile):
    """A machine for hwsim. Every quantity carries its unit: kB is 1000 bytes, KiB 1024; b is bit, B byte."""

    buffers: BuffersFile = Field(description="On-chip memory.")
    activations: Literal["on_chip", "dram"] = Field(
        description="on_chip: activations touch the memory only when they overflow their buffer; "
        "dram: each op reads and writes them there.",
        examples=["on_chip"],
    )
    kv: FormatName | None = Field(
        None,
        description="Format of the KV cache; bf16 (int8 on an integer machine) if left out.",
        examples=["bf16"],
    )
    state: StateName | None = Field(
        None,
        description="Format of SSM state; fp32 (int8 on an integer machine) if left out; with _sr behind it, rounded "
        "stochastically by the units of `round`.",
        examples=["fp32"],
    )
    dot: AnyDot = Field(description="The multiply-add units.")
    vector: VectorFile | None = Field(None, description="The unit for norms, activations, softmax, scans.")
    dequantise: DequantiseFile | None = Field(None, description="The unit that converts stored formats.")
    gather: GatherFile | None = Field(
        None, description="Banked memory of activations; left out, rows at any places take no time of their own."
    )
    sort: SortFile | None = Field(
        None, description="The unit that sorts; left out, comparisons are passes of the vector unit."
    )
    cache: CacheFile | None = Field(
        None, description="Cache for rows of tables; left out, each row is read from the memory."
    )
    regenerate: RegenerateFile | None = Field(None, description="The units that make weights from seeds.")
    round: RoundFile | None = Field(None, description="The units that round state stochastically.")
    link: LinkFiles | None = Field(None, description="What joins several chips; or a list of levels, inside first.")
    launch: LaunchFile | None = Field(None, description="Cost of starting an op.")
    cores: CoresFile | None = Field(
        None, description="Cores and the kernels of a library: ops become kernels, tiles waves; none: ideal kernels."
    )
    stack: StackFile | None = Field(None, description="What the software around the kernels costs.")
    serving: ServingFile | None = Field(None, description="What serving engines find on this machine, measured.")
    technology: TechnologyName | None = Field(
        None,
        description="Process whose energy and area are used: of `arch_configs/technology`, or a file's path.",
        examples=["7nm"],
    )
    idle: Power | None = Field(None, description="Static power of the chip with its memory.", examples=["55 W"])
    tiles: list[Tile] = Field(
        description="Tiles MxNxK that the kernels offer (M tokens, N outputs, K reduction).",
        examples=[["512x256x512", "128x512x512"]],
        min_length=1,
        max_length=64,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TileMachine(Machine):
    """A machine that runs ops tile by tile: servers, buffers, and the tiles its kernels offer.

    dot: its compute unit, one of the classes of `compute`.
    activations: "on_chip" (touch DRAM only on overflow) or "dram" (each op reads and writes them there).
    tiles: menu of (M, N, K) tiles; a tile is clipped to the op, and must fit the buffers.
    kv, state: default cache formats; a state ending in `_sr` is rounded stochastically.
    technology, dram_kind, idle_watts: process, kind of DRAM and static power, for `cost`; None: not known.
    """

    KEY: ClassVar[str] = "dot"
    FILE: ClassVar[type[MachineFile]] = TileMachineFile

    buffers: Buffers
    dot: DotArray
    activations: str
    tiles: tuple[tuple[int, int, int], ...]
    kv: str = "bf16"
    state: str = "fp32"
    vector: Vector | None = None
    dequantise: Dequantise | None = None
    gather: Gather | None = None
    sort: Sort | None = None
    cache: Cache | None = None
    regenerate: Regenerate | None = None
    round: Round | None = None
    link: Link | None = None
    launch: Launch | None = None
    cores: Cores | None = None
    stack: Stack | None = None
    serving: Serving | None = None
    technology: Technology | None = None
    dram_kind: DramKind | None = None
    idle_watts: Fraction | None = None

    @classmethod
    def read(cls, document: Document) -> TileMachine:
        """The machine of a file. raises: InputError with every problem found."""
        file = validate(document, TileMachineFile)
        if missing := list(_missing_files(file, document)):
            raise_problems(missing)
        machine = cls.of(file, document.source)
        problems = [*file.dram.problems(machine.clock_hz, document), *_problems(machine, document)]
        if problems:
            raise_problems(problems)
        return machine

    @classmethod
    def of(cls, file: TileMachineFile, source: str) -> TileMachine:
        """The file in cycles of its clock; `source`: where it lies, as it names its kernel library's files."""
        clock = file.clock.value
        dot, dram, buffers = DotArray.of(file.dot, clock), Dram.of(file.dram, clock), Buffers.of(file.buffers)
        names = {name for r in dot.rates for name in (r.weights, r.activations)} - {own.name for own in dot.own}
        integer = bool(names) and all(name.startswith("int") for name in names)
        tiles = tuple(file.tiles)
        cores = None
        if file.cores:
            from hwsim.arch.kernel_library import load_cores

            link = Link.of(file.link, clock) if file.link else None
            cores = load_cores(file.cores, source, file.name, _peaks(dram, dot, buffers, link, clock))
        return cls(
            name=file.name,
            description=file.description,
            clock_hz=clock,
            dram=dram,
            buffers=buffers,
            dot=dot,
            activations=file.activations,
            tiles=tiles,
            kv=file.kv or ("int8" if integer else "bf16"),
            state=file.state or ("int8" if integer else "fp32"),
            hypothetical=file.hypothetical,
            vector=Vector.of(file.vector, clock) if file.vector else None,
            dequantise=Dequantise.of(file.dequantise, clock) if file.dequantise else None,
            gather=Gather.of(file.gather, clock) if file.gather else None,
            sort=Sort.of(file.sort, clock) if file.sort else None,
            cache=Cache.of(file.cache, clock) if file.cache else None,
            regenerate=Regenerate.of(file.regenerate, clock) if file.regenerate else None,
            round=Round.of(file.round, clock) if file.round else None,
            link=Link.of(file.link, clock) if file.link else None,
            launch=Launch.of(file.launch, clock) if file.launch else None,
            cores=cores,
            stack=Stack.of(file.stack, clock) if file.stack else None,
            serving=Serving.of(file.serving) if file.serving else None,
            technology=load_technology(file.technology, source) if file.technology else None,
            dram_kind=load_dram_kind(file.dram.kind, source) if file.dram.kind else None,
            idle_watts=file.idle.value if file.idle else None,
            warnings=tuple(_warnings(dram, buffers, tiles, dot.accumulator_bytes)),
        )

    def file(self) -> dict[str, Any]:
        """The whole machine as its file states it, defaults filled in."""
        clock = self.clock_hz
        config = self.head() | {
            "buffers": self.buffers.file(),
            "activations": self.activations,
            "kv": self.kv,
            "state": self.state,
            "dot": self.dot.file(),
        }
        servers = {
            "vector": self.vector,
            "dequantise": self.dequantise,
            "gather": self.gather,
            "sort": self.sort,
            "cache": self.cache,
            "regenerate": self.regenerate,
            "round": self.round,
            "link": self.link,
            "launch": self.launch,
        }
        config |= {name: server.file(clock) for name, server in servers.items() if server}
        if self.cores:
            config["cores"] = cores_file(self.cores)
        if self.stack:
            config["stack"] = self.stack.file()
        if self.serving:
            config["serving"] = self.serving.file()
        if self.technology:
            config["technology"] = self.technology.name
        if self.dram_kind:
            config["dram"]["kind"] = self.dram_kind.name
        if self.idle_watts is not None:
            config["idle"] = write(self.idle_watts, "W")
        config["tiles"] = [tile_text(tile) for tile in self.tiles]
        return config

    def summary(self) -> Summary:
        """Its line in a table of machines."""
        known = "ideal"
        if self.cores:
            known = "measured" if self.cores.measured_on == self.cores.machine else "transferred"
        return Summary(
            self.name,
            self.clock_hz,
            self.dram.bytes_per_cycle * self.clock_hz,
            max(rate.macs_per_cycle for rate in self.dot.rates) * self.clock_hz,
            tuple((rate.weights, rate.activations) for rate in self.dot.rates),
            known,
        )


def _missing_files(file: TileMachineFile, document: Document) -> Iterator[str]:
    """Files of energies and areas that the machine names and that cannot be read."""
    named = (("technology",), file.technology, load_technology), (("dram", "kind"), file.dram.kind, load_dram_kind)
    for loc, name, load in named:
        found: list[str] = []
        if name:
            with collect(found):
                load(name, document.source)
        yield from (document.problem(loc, each) for each in found)


def _peaks(dram: Dram, dot: DotArray, buffers: Buffers, link: Link | None, clock: Fraction) -> Peaks:
    """What the file states, in SI units, for the shares of a calibration."""
    return Peaks(
        clock_hz=float(clock),
        dram=float(dram.bytes_per_cycle * clock),
        stream=float(dram.rate * clock),
        cache=buffers.activations,
        link=float(link.bytes_per_cycle * clock) if link else 0.0,
        switch=link is not None and link.topology == "switch",
        macs=tuple((r.weights, r.activations, float(r.macs_per_cycle * clock)) for r in dot.rates),
    )


def _problems(machine: TileMachine, document: Document) -> Iterator[str]:
    """Parts that contradict one another."""
    if machine.cores and not (machine.vector and machine.stack):
        missing = "stack" if machine.vector else "vector"
        message = f"needs a `{missing}`, whose kernels are scheduled onto the cores too; add `{missing}:`"
        yield document.problem(("cores",), message)
    yield from _format_problems(machine, document)
    yield from (document.problem(*each) for each in (machine.link.problems() if machine.link else ()))
    if not any(machine.buffers.hold(tile, machine.dot.accumulator_bytes) for tile in machine.tiles):
        yield from _too_small(machine, document)


def _format_problems(machine: TileMachine, document: Document) -> Iterator[str]:
    """Pairs of formats that the dot array cannot have, and formats that a part of the machine cannot take."""
    say, dot, regenerate = document.problem, machine.dot, machine.regenerate
    seen: set[tuple[str, str]] = set()
    names = [own.name for own in dot.own]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield say(("dot", "rates"), f"two different formats are called {name}; write two names")
    for i, r in enumerate(dot.rates):
        here = ("dot", "rates", i)
        if (r.weights, r.activations) in seen:
            yield say(here, f"{r.weights} x {r.activations} is listed twice; remove one")
        seen.add((r.weights, r.activations))
        if wrong := dot.problem(r):
            yield say((*here, "rate"), wrong)
        if dot.form(r.activations).kind == "seed":
            message = f"{r.activations} holds weights only; write a dense format, for example fp16"
            yield say((*here, "activations"), message)
        if dot.form(r.weights).kind == "seed" and regenerate is None:
            yield say((*here, "weights"), f"{r.weights} needs the units that decode it; add `regenerate:`")
    dense = sorted({r.weights for r in dot.rates if dot.form(r.weights).kind != "seed"})
    if regenerate and regenerate.feeds not in dense:
        listed = ", ".join(dense) or "add one"
        message = f"the dot array lists no rate for {regenerate.feeds} weights; write one of: {listed}"
        yield say(("regenerate", "feeds"), message)
    for field, name in (("kv", machine.kv), ("state", machine.state)):
        if layout(name.removesuffix("_sr")).kind == "seed":
            yield say((field,), f"{name} holds weights only; write another format, for example bf16")
    if machine.state.endswith("_sr") and machine.round is None:
        message = f"{machine.state} needs the units that round so; add `round:` or write another format"
        yield say(("state",), message)


def _too_small(machine: TileMachine, document: Document) -> Iterator[str]:
    """The buffers that refuse the tile which comes nearest to fitting."""
    buffers, wide = machine.buffers, machine.dot.accumulator_bytes
    tile = min(machine.tiles, key=lambda tile: max(buffers.filled(tile, wide).values()))
    for name, need in slot_bytes(tile, wide).items():
        have = getattr(buffers, name)
        if 2 * need > have:
            yield document.problem(
                ("buffers", name),
                f"{size_text(have)} is too small for every tile listed: {tile_text(tile)} needs two slots of "
                f"{size_text(need)}; write `{name}: {size_text(2 * need)}` or list a smaller tile",
            )


MIN_SLOTS = 4


def _warnings(
    dram: Dram, buffers: Buffers, tiles: tuple[tuple[int, int, int], ...], accumulator_bytes: int
) -> Iterator[str]:
    """What the sizes cost: too few slots, or too few bytes in flight to cover the memory's latency."""
    fitting = [tile for tile in tiles if buffers.hold(tile, accumulator_bytes)]
    if not fitting:
        return
    tile = min(fitting, key=lambda t: t[1] * t[2])
    slot = tile[1] * tile[2]
    slots = buffers.weights // slot
    if slots < MIN_SLOTS:
        yield (
            f"buffers.weights holds {slots} slots of the smallest tile {tile_text(tile)}: with "
            f"fewer than {MIN_SLOTS}, one late tile stops the memory; {size_text(MIN_SLOTS * slot)} would do"
        )
    in_flight = dram.bytes_per_cycle * dram.latency_cycles
    if buffers.weights < in_flight:
        share = 100 * buffers.weights / in_flight
        yield (
            f"buffers.weights is smaller than bandwidth x latency ({float(in_flight / 10**6):.3g} MB): "
            f"latency, not bandwidth, will set the speed: at most {float(share):.1f} % of the bandwidth"
        )
