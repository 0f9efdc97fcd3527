"""The GEMV and the GEMM machine: a memory and a `specs.Gemv` or `specs.Gemm`, the object its RTL is generated from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from pydantic import Field

from hwsim.arch.machine import Machine, MachineFile, Summary
from hwsim.arch.memory import Dram, DramFile
from hwsim.arch.scalars import FormatName, OwnFormat
from hwsim.errors import InputError
from hwsim.files.fields import FilePart, validate
from hwsim.files.yaml import Document, raise_problems
from hwsim.formats.lfsr import CODECS
from hwsim.specs import Gemm, Gemv


class GemvFile(FilePart):
    """The units that multiply. Their beat is the memory's; their latencies are those of their specs."""

    weights: OwnFormat = Field(
        description="Format of the weight stream: blocks of at most 32 elements of at most 8 bits, or seeds; a name "
        "or the path of a format's file.",
        examples=["mxint8"],
    )
    activations: FormatName = Field("mxint8", description="MX format of x.", examples=["mxint8"])
    dot_units: int = Field(1, description="Blocks multiplied per cycle, each of another row.", examples=[4])
    interleave: int | None = Field(
        None,
        description="Rows of a dot unit in turn; the least that its accumulator allows if left out.",
        examples=[16],
    )
    decoders: int | None = Field(
        None,
        description="Seed blocks decoded per cycle (seeds only); as many as the dot units take if left out.",
        examples=[16],
    )
    target: FormatName = Field("mxint8", description="MX format that seeds are requantised to.", examples=["mxint8"])
    fifo: int = Field(64, description="Beats asked for and not yet unpacked, at most.", examples=[256])
    results: int | None = Field(
        None,
        description="Slots for one result of every dot unit; two turns of `interleave` if left out.",
        examples=[32],
    )
    k_max: int = Field(4096, description="Elements of the longest x.", examples=[4096])


class GemmFile(GemvFile):
    """The units that multiply. Their beat is the memory's; their latencies are those of their specs."""

    tile: int = Field(4, description="Rows of x held on chip: each block of weights meets all of them.", examples=[8])


class GemvMachineFile(MachineFile):
    """A GEMV machine for hwsim. Every quantity carries its unit: kB is 1000 bytes, KiB 1024; b is bit, B byte."""

    dram: DramFile = Field(description="The memory that holds the weights; the GEMV units take its `beat`.")
    gemv: GemvFile = Field(description="The units that multiply.")


class GemmMachineFile(MachineFile):
    """A GEMM machine for hwsim. Every quantity carries its unit: kB is 1000 bytes, KiB 1024; b is bit, B byte."""

    dram: DramFile = Field(description="The memory that holds the weights; the GEMM units take its `beat`.")
    gemm: GemmFile = Field(description="The units that multiply.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GemvMachine(Machine):
    """A machine that multiplies a matrix by one vector: x on chip before cycle 0, W from memory, y by its own stream.

    dram.beat_bytes is also that of `gemv`.
    """

    KEY: ClassVar[str] = "gemv"
    FILE: ClassVar[type[MachineFile]] = GemvMachineFile
    SPEC: ClassVar[type[Gemv]] = Gemv

    gemv: Gemv

    @classmethod
    def read(cls, document: Document) -> GemvMachine:
        """The machine of a file. raises: InputError with every problem found."""
        file = validate(document, cls.FILE)
        clock = file.clock.value
        dram, problems = Dram.of(file.dram, clock), [*file.dram.problems(clock, document)]
        for key in ("row", "turnaround", "scattered"):
            if getattr(file.dram, key) is not None:
                problems.append(document.problem(("dram", key), "is not modelled beat by beat; remove it"))
        if file.dram.kind is not None:
            problems.append(
                document.problem(("dram", "kind"), "has no use: the energy of an engine is not counted; remove it")
            )
        if dram.latency_cycles < 1:
            message = "a memory with a clocked port needs at least one; write 1 cycle or more"
            problems.append(document.problem(("dram", "latency"), message))
        part = getattr(file, cls.KEY)
        sizes = {key: getattr(part, key) for key in type(part).model_fields}
        if part.weights.definition and part.weights.kind == "seed":
            message = f"{part.weights.name}: the unit decodes {' and '.join(CODECS)} alone; write one of them"
            problems.append(document.problem((cls.KEY, "weights"), message))
            raise_problems(problems)
        # The spec takes an own format itself where it takes a name: no file is read after this.
        sizes["weights"] = part.weights if part.weights.definition else part.weights.name
        try:
            gemv = cls.SPEC(beat_bytes=dram.beat_bytes, **sizes)
        except InputError as error:
            said = [problem.replace(str(part.weights), part.weights.name) for problem in error.problems]
            raise_problems([*problems, *(_placed(problem, document, cls.KEY) for problem in said)])
        if problems:
            raise_problems(problems)
        return cls(
            name=file.name,
            description=file.description,
            clock_hz=clock,
            dram=dram,
            gemv=gemv,
            hypothetical=file.hypothetical,
            warnings=tuple(_warnings(dram, gemv, cls.KEY)),
        )

    def file(self) -> dict[str, Any]:
        """The whole machine as its file states it, defaults filled in."""
        spec = {field.name: getattr(self.gemv, field.name) for field in fields(self.gemv)}
        spec["weights"] = self.gemv.layout.resolved()
        return self.head() | {self.KEY: {key: value for key, value in spec.items() if key != "beat_bytes"}}

    def summary(self) -> Summary:
        """Its line in a table of machines."""
        return Summary(
            self.name,
            self.clock_hz,
            self.dram.bytes_per_cycle * self.clock_hz,
            self.gemv.dot_units * self.gemv.tile * self.gemv.dot.lanes * self.clock_hz,
            ((self.gemv.layout.name, self.gemv.activations),),
            "rtl",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmMachine(GemvMachine):
    """A machine that multiplies a matrix by a tile of rows of x at a time: a GEMV machine with a `specs.Gemm`."""

    KEY: ClassVar[str] = "gemm"
    FILE: ClassVar[type[MachineFile]] = GemmMachineFile
    SPEC: ClassVar[type[Gemv]] = Gemm


def _placed(problem: str, document: Document, part: str) -> str:
    """A problem of the spec, `Gemv: field ...`, at its field's place in that part of the file."""
    text = problem.removeprefix(f"{part.capitalize()}: ")
    key = text.split()[0]
    loc = ("dram", "beat") if key == "beat_bytes" else (part, key)
    found = loc if key in document.data.get(part, {}) or key == "beat_bytes" else (part,)
    return document.problem(found, text)


def _warnings(dram: Dram, gemv: Gemv, part: str) -> Iterator[str]:
    """Too few beats in flight to cover the memory's latency."""
    in_flight = dram.bytes_per_cycle * (dram.latency_cycles + gemv.FIFO_LATENCY)
    held = gemv.fifo * gemv.beat_bytes
    if held < in_flight:
        yield (
            f"{part}.fifo of {gemv.fifo} beats is smaller than bandwidth x latency: at most "
            f"{100 * held / float(in_flight):.1f} % of the bandwidth; {-(-in_flight // gemv.beat_bytes)} would do"
        )
