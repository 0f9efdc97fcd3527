"""`python -m rtl UNIT ... -o FOLDER`: write a unit's Verilog."""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hwsim.errors import InputError, MissingExtra, nearest
from hwsim.formats.lfsr import CODECS

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("-o", "--out", help="Folder the files are written to.")]
SeedFormat = Annotated[str, typer.Option("--format", help=f"Seed format: {', '.join(CODECS)}.")]
Target = Annotated[str, typer.Option("--target", help="Format made: mxint8 or mxfp4_e2m1.")]
Activations = Annotated[
    str | None, typer.Option("--activations", help="Format of the activations; default the target.")
]
Formats = Annotated[list[str], typer.Option("--format", help="Format; twice for a mixed pair.")]
Lanes = Annotated[int | None, typer.Option("--lanes", help="Elements of a dot block; default the formats' block.")]
Interleave = Annotated[int | None, typer.Option("--interleave", help="Rows in turn; default the loop's latency.")]
Tool = Annotated[str | None, typer.Option("--tool", help="Also a project of vivado, quartus or yosys.")]
Clock = Annotated[str, typer.Option("--clock", help="Clock of the project's constraint.")]
OUT = Path("build/rtl")
MXFP4 = ["mxfp4_e2m1"]
CLOCK = "150 MHz"
Vectors = Annotated[
    int, typer.Option("--vectors", min=0, max=1_000_000, help="Inputs of a bench in plain Verilog; default none.")
]


@app.callback()
def rtl() -> None:
    """Write the Verilog of a hardware unit."""


def seed_codec(name: str):
    """The codec of a seed format.

    raises: InputError with the nearest name.
    """
    if name not in CODECS:
        raise InputError(f"--format {name}: not a seed format{nearest(name, CODECS)}")
    return CODECS[name]


def deliver(unit, name: str, folder: Path, tool: str | None = None, clock: str = CLOCK, vectors: int = 0) -> None:
    """Write the unit with AXI4-Stream outside, a project where a tool is named, a bench of `vectors` inputs; say so."""
    from .axi import AxiStreamsUnit, AxiStreamUnit
    from .emit import write
    from .project import write_project
    from .table import fields_of_ports
    from .vectors import write_bench

    several = len(unit.signature.members) > 2
    if several and vectors:
        raise InputError("--vectors: of units with one input; `make cosim` runs the engine")
    clock_hz, unit = clock_of(clock), AxiStreamsUnit(unit) if several else AxiStreamUnit(unit)
    try:
        path = write(unit, name, folder)
        project = write_project(tool, name, folder, clock_hz) if tool else None
        outputs, cycles = write_bench(unit, name, folder, vectors) if vectors else (0, 0)
    except OSError as error:
        raise InputError(f"-o {folder}: cannot be written ({error.strerror}); name a folder") from None
    timing = unit.spec.timing
    print(f"{path}: module {name}, latency {timing.latency}, interval {timing.interval}")
    if isinstance(unit, AxiStreamUnit):
        print(*(f"  {line}" for line in fields_of_ports(unit)), sep="\n")
    if project:
        print(f"{project}: {tool} project, clock {clock}")
    if vectors:
        run = f"iverilog -g2001 -o {name} {name}.v {name}_tb.v && vvp {name}"
        print(
            f"{folder / name}_tb.v: {vectors} inputs, {outputs} outputs, {cycles} cycles; "
            f"run: cd {shlex.quote(str(folder))} && {run}"
        )


@app.command()
def units() -> None:
    """The published units: ports, latency."""
    from .catalog import ALONE, WHOLE
    from .table import ports_table

    print(ports_table({**ALONE, **WHOLE}))


def unit_command(describe):
    """A command from a function that returns (spec, name): it also takes the options that all units share."""

    @functools.wraps(describe)
    def command(*, out: Folder = OUT, tool: Tool = None, clock: Clock = CLOCK, vectors: Vectors = 0, **own) -> None:
        from .catalog import build

        spec, name = describe(**own)
        deliver(build(spec), name, out, tool, clock, vectors)

    shared = {"out": (Folder, OUT), "tool": (Tool, None), "clock": (Clock, CLOCK), "vectors": (Vectors, 0)}
    by_name = inspect.Parameter.KEYWORD_ONLY
    of_all = [inspect.Parameter(n, by_name, default=d, annotation=a) for n, (a, d) in shared.items()]
    signature = inspect.signature(describe, eval_str=True)
    own = [each.replace(kind=by_name) for each in signature.parameters.values()]
    command.__signature__ = signature.replace(parameters=[*own, *of_all], return_annotation=None)
    command.__annotations__ = {each.name: each.annotation for each in (*own, *of_all)}
    return app.command()(command)


def clock_of(text: str):
    """Hz, a fraction. raises: InputError."""
    from hwsim.quantities import quantity

    try:
        return quantity(text, "Hz", example=CLOCK).value
    except InputError as error:
        raise InputError(f"--clock: {error}") from None


@app.command()
def all(out: Folder = OUT) -> None:
    """Every published unit."""
    from .catalog import ALONE, WHOLE, build

    for name, spec in {**ALONE, **WHOLE}.items():
        deliver(build(spec), name, out)


@unit_command
def lfsr_block(format: SeedFormat = "seedlm4"):
    """All LFSR states of a seed block in one cycle."""
    from hwsim.specs import LfsrBlock

    return LfsrBlock(seed_codec(format)), f"lfsr_block_{format}"


@unit_command
def seed_decoder(format: SeedFormat = "seedlm4"):
    """A seed record to its weights, exact integers."""
    from hwsim.specs import SeedDecoder

    return SeedDecoder(seed_codec(format)), f"seed_decoder_{format}"


@unit_command
def requantizer(format: SeedFormat = "seedlm4", target: Target = "mxint8"):
    """Decoded seed blocks to whole blocks of an MX format."""
    from hwsim.specs import Requantizer

    return Requantizer(seed_codec(format), target), f"requantizer_{format}_{target}"


@unit_command
def block_dot(format: Formats = MXFP4, lanes: Lanes = None):
    """The exact dot product of two blocks."""
    spec, name = dot_spec(format, lanes)
    return spec, f"block_dot_{name}"


@unit_command
def accumulator(format: Formats = MXFP4, lanes: Lanes = None, interleave: Interleave = None):
    """FP32 sums of the results of a block dot unit."""
    from hwsim.specs import Accumulator

    spec, name = dot_spec(format, lanes)
    return Accumulator(spec, interleave), f"accumulator_{name}"


@unit_command
def mx_mac(format: Formats = MXFP4, lanes: Lanes = None, interleave: Interleave = None):
    """A block dot unit with its accumulator."""
    from hwsim.specs import Accumulator, MxMac

    spec, name = dot_spec(format, lanes)
    return MxMac(Accumulator(spec, interleave)), f"mx_mac_{name}"


@unit_command
def seed_mac(format: SeedFormat = "seedlm4", target: Target = "mxint8", activations: Activations = None):
    """Seed records and blocks of activations to FP32 sums."""
    from hwsim.specs import Requantizer, SeedMac, operand

    activations = activations or target
    side, block = operand(activations)
    if block not in (0, 32):
        raise InputError(f"--activations {activations}: blocks of {block} elements; write a format whose block is 32")
    return SeedMac(Requantizer(seed_codec(format), target), side), f"seed_mac_{format}_{target}_{activations}"


@unit_command
def gemv(
    format: Annotated[str, typer.Option("--format", help="Format of the weight stream.")] = "mxint8",
    activations: Annotated[str, typer.Option("--activations", help="MX format of x.")] = "mxint8",
    beat: Annotated[int, typer.Option("--beat", help="Bytes of a beat: 4, 8, 16, 32 or 64.")] = 64,
    dot_units: Annotated[int, typer.Option("--dot-units", help="Blocks multiplied a cycle.")] = 1,
    interleave: Interleave = None,
    decoders: Annotated[int | None, typer.Option("--decoders", help="Seed blocks decoded a cycle.")] = None,
    target: Target = "mxint8",
    fifo: Annotated[int, typer.Option("--fifo", help="Beats in flight or waiting, at most.")] = 64,
    results: Annotated[int | None, typer.Option("--results", help="Slots for results of all dot units.")] = None,
    k_max: Annotated[int, typer.Option("--k-max", help="Elements of the longest x.")] = 4096,
):
    """The engine y = W x: weights from a memory stream, x on chip, y as float32."""
    from hwsim.specs import Gemv

    spec = Gemv(format, activations, beat, dot_units, interleave, decoders, target, fifo, results, k_max)
    return spec, f"gemv_{spec.layout.name}_{spec.activations}_{beat}b_{dot_units}d"


def dot_spec(formats: list[str], lanes: int | None):
    """(the dot unit's spec, its name) for one or two formats.

    raises: InputError for more, for a bad format, or for lanes below 1.
    """
    from dataclasses import replace

    from hwsim.specs import BlockDot

    if len(formats) > 2:
        raise InputError(f"--format: {len(formats)} given; write one, or two for a mixed pair")
    spec = BlockDot.of(formats[0], formats[-1])
    if lanes is not None:
        if not 1 <= lanes <= 1024:
            raise InputError(f"--lanes {lanes}: write 1 to 1024")
        spec = replace(spec, lanes=lanes, stages=None)
    suffix = f"_{lanes}" if lanes is not None else ""
    return spec, "_".join(dict.fromkeys(formats)) + suffix


def main() -> int:
    """Run the command; a user's mistake is printed without a traceback, status 2."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "amaranth":
            raise
        print(MissingExtra("RTL units", "amaranth", "rtl"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
