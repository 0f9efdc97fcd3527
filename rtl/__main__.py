"""`python -m rtl UNIT ... -o FOLDER`: write a unit's Verilog."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hwsim.errors import InputError, MissingExtra, nearest
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4

SEED_FORMATS = {"seedlm4": SEEDLM4, "seedlm3": SEEDLM3}

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option("-o", "--out", help="Folder the files are written to.")]
SeedFormat = Annotated[str, typer.Option("--format", help=f"Seed format: {', '.join(SEED_FORMATS)}.")]


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


@app.callback()
def rtl() -> None:
    """Write the Verilog of a hardware unit."""


def seed_codec(name: str):
    """The codec of a seed format.

    raises: InputError with the nearest name.
    """
    if name not in SEED_FORMATS:
        raise InputError(f"--format {name}: not a seed format{nearest(name, SEED_FORMATS)}")
    return SEED_FORMATS[name]


def deliver(unit, name: str, folder: Path, tool: str | None = None, clock: str = CLOCK) -> None:
    """Write the unit, and its project where a tool is named; say where, with its ports' timing."""
    from .emit import write
    from .project import write_project

    clock_hz = clock_of(clock)
    try:
        path = write(unit, name, folder)
        project = write_project(tool, name, folder, clock_hz) if tool else None
    except OSError as error:
        raise InputError(f"-o {folder}: cannot be written ({error.strerror}); name a folder") from None
    timing = unit.spec.timing
    print(f"{path}: module {name}, latency {timing.latency}, interval {timing.interval}")
    if project:
        print(f"{project}: {tool} project, clock {clock}")


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


@app.command()
def lfsr_block(format: SeedFormat = "seedlm4", out: Folder = OUT, tool: Tool = None, clock: Clock = CLOCK) -> None:
    """All LFSR states of a seed block in one cycle."""
    from hwsim.specs import LfsrBlock

    from .lfsr import LfsrBlockUnit

    deliver(LfsrBlockUnit(LfsrBlock(seed_codec(format))), f"lfsr_block_{format}", out, tool, clock)


@app.command()
def seed_decoder(format: SeedFormat = "seedlm4", out: Folder = OUT, tool: Tool = None, clock: Clock = CLOCK) -> None:
    """A seed record to its weights, exact integers."""
    from hwsim.specs import SeedDecoder

    from .seed import SeedDecoderUnit

    deliver(SeedDecoderUnit(SeedDecoder(seed_codec(format))), f"seed_decoder_{format}", out, tool, clock)


@app.command()
def requantizer(
    format: SeedFormat = "seedlm4",
    target: Target = "mxint8",
    out: Folder = OUT,
    tool: Tool = None,
    clock: Clock = CLOCK,
) -> None:
    """Decoded seed blocks to whole blocks of an MX format."""
    from hwsim.specs import Requantizer

    from .requantize import RequantizerUnit

    unit = RequantizerUnit(Requantizer(seed_codec(format), target))
    deliver(unit, f"requantizer_{format}_{target}", out, tool, clock)


@app.command()
def block_dot(
    format: Formats = MXFP4,
    lanes: Lanes = None,
    out: Folder = OUT,
    tool: Tool = None,
    clock: Clock = CLOCK,
) -> None:
    """The exact dot product of two blocks."""
    from .dot import BlockDotUnit

    spec, name = dot_spec(format, lanes)
    deliver(BlockDotUnit(spec), f"block_dot_{name}", out, tool, clock)


@app.command()
def accumulator(
    format: Formats = MXFP4,
    lanes: Lanes = None,
    interleave: Interleave = None,
    out: Folder = OUT,
    tool: Tool = None,
    clock: Clock = CLOCK,
) -> None:
    """FP32 sums of the results of a block dot unit."""
    from hwsim.specs import Accumulator

    from .accumulate import AccumulatorUnit

    spec, name = dot_spec(format, lanes)
    deliver(AccumulatorUnit(Accumulator(spec, interleave)), f"accumulator_{name}", out, tool, clock)


@app.command()
def mx_mac(
    format: Formats = MXFP4,
    lanes: Lanes = None,
    interleave: Interleave = None,
    out: Folder = OUT,
    tool: Tool = None,
    clock: Clock = CLOCK,
) -> None:
    """A block dot unit with its accumulator."""
    from hwsim.specs import Accumulator, MxMac

    from .mac import MxMacUnit

    spec, name = dot_spec(format, lanes)
    deliver(MxMacUnit(MxMac(Accumulator(spec, interleave))), f"mx_mac_{name}", out, tool, clock)


@app.command()
def seed_mac(
    format: SeedFormat = "seedlm4",
    target: Target = "mxint8",
    activations: Activations = None,
    out: Folder = OUT,
    tool: Tool = None,
    clock: Clock = CLOCK,
) -> None:
    """Seed records and blocks of activations to FP32 sums."""
    from hwsim.specs import Requantizer, SeedMac, operand

    from .mac import SeedMacUnit

    activations = activations or target
    side, block = operand(activations)
    if block not in (0, 32):
        raise InputError(f"--activations {activations}: blocks of {block} elements; write a format whose block is 32")
    unit = SeedMacUnit(SeedMac(Requantizer(seed_codec(format), target), side))
    deliver(unit, f"seed_mac_{format}_{target}_{activations}", out, tool, clock)


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
