"""Engine machines: a memory and a `specs.Gemv`, the very object that the gates are built from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from hwsim.arch.machine import Dram
from hwsim.arch.schema import DramFile, FormatName, Frequency
from hwsim.errors import InputError
from hwsim.files.fields import FilePart, validate
from hwsim.files.yaml import Document, raise_problems
from hwsim.quantities import write
from hwsim.specs import Gemv


@dataclass(frozen=True, slots=True)
class EngineArch:
    """A machine that is one GEMV engine: x on chip before cycle 0, W from memory, y by a stream of its own.

    dram.beat_bytes is the engine's beat. warnings: what sizing costs, found at load.
    """

    name: str
    description: str
    clock_hz: Fraction
    dram: Dram
    engine: Gemv
    hypothetical: bool = False
    warnings: tuple[str, ...] = ()

    def seconds(self, cycles: int | Fraction) -> float:
        """Cycles of this machine's clock in seconds."""
        return float(cycles / self.clock_hz)


class GemvFile(FilePart):
    """The engine. Its beat is the memory's; latencies come from its units."""

    weights: FormatName = Field(
        description="Format of the weight stream: blocks of at most 32 elements of at most 8 bits, or seeds.",
        examples=["mxint8"],
    )
    activations: FormatName = Field("mxint8", description="MX format of x.", examples=["mxint8"])
    dot_units: int = Field(1, description="Blocks multiplied a cycle, each of another row.", examples=[4])
    interleave: int | None = Field(
        None,
        description="Rows of a dot unit in turn; the least that its accumulator allows if left out.",
        examples=[16],
    )
    decoders: int | None = Field(
        None,
        description="Seed blocks decoded a cycle (seeds only); as many as the dot units take if left out.",
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


class EngineFile(FilePart):
    """A GEMV engine for hwsim. Every quantity carries its unit: kB is 1000 bytes, KiB 1024; b is bit, B byte."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Short name, as on the command line.", examples=["my-engine"]
    )
    description: Annotated[str, StringConstraints(max_length=1000)] = Field(
        description="One line for tables: what the machine is, and whose.", examples=["my engine"]
    )
    hypothetical: bool = Field(False, description="True where the machine cannot be bought.", examples=[True])
    clock: Frequency = Field(description="The one clock that all cycles count.", examples=["200 MHz"])
    dram: DramFile = Field(description="The memory that holds the weights; `beat` is also the engine's.")
    engine: GemvFile = Field(description="The engine.")


def engine_machine(document: Document) -> EngineArch:
    """The machine of a document with `engine:`. raises: InputError with every problem found."""
    from hwsim.arch.load import dram_of

    file = validate(document, EngineFile)
    dram, problems = dram_of(file.dram, file.clock.value, document)
    for key, given in (("row", file.dram.row), ("turnaround", file.dram.turnaround)):
        if given is not None:
            problems.append(document.problem(("dram", key), "is not modelled beat by beat; remove it"))
    if dram.latency_cycles < 1:
        problems.append(document.problem(("dram", "latency"), "a clocked memory needs one; write 1 cycle or more"))
    try:
        engine = Gemv(beat_bytes=dram.beat_bytes, **file.engine.model_dump())
    except InputError as error:
        raise_problems([*problems, *(_placed(problem, document) for problem in error.problems)])
    if problems:
        raise_problems(problems)
    return EngineArch(
        name=file.name,
        description=file.description,
        clock_hz=file.clock.value,
        dram=dram,
        engine=engine,
        hypothetical=file.hypothetical,
        warnings=tuple(_warnings(dram, engine)),
    )


def _placed(problem: str, document: Document) -> str:
    """A problem of the spec, `Gemv: field ...`, at its field's place in the file."""
    text = problem.removeprefix("Gemv: ")
    key = text.split()[0]
    loc = ("dram", "beat") if key == "beat_bytes" else ("engine", key)
    found = loc if key in document.data.get("engine", {}) or key == "beat_bytes" else ("engine",)
    return document.problem(found, text)


def _warnings(dram: Dram, engine: Gemv) -> Iterable[str]:
    """Too few beats in flight to cover the memory's latency."""
    in_flight = dram.bytes_per_cycle * (dram.latency_cycles + engine.FIFO_LATENCY)
    held = engine.fifo * engine.beat_bytes
    if held < in_flight:
        yield (
            f"engine.fifo of {engine.fifo} beats is smaller than bandwidth x latency: at most "
            f"{100 * held / float(in_flight):.1f} % of the bandwidth; {-(-in_flight // engine.beat_bytes)} would do"
        )


def engine_config(arch: EngineArch, dram: dict[str, Any]) -> dict[str, Any]:
    """The machine as plain data in the layout of its file; `dram`: that part."""
    spec = {field.name: getattr(arch.engine, field.name) for field in fields(arch.engine)}
    return {
        "name": arch.name,
        "description": arch.description,
        "hypothetical": arch.hypothetical,
        "clock": write(arch.clock_hz, "Hz"),
        "dram": dram,
        "engine": {key: value for key, value in spec.items() if key != "beat_bytes"},
    }
