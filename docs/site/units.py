"""docs/rtl-units.md: a section per kind of hardware unit, written from the catalogue and the units themselves."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from amaranth.hdl import UnusedElaboratable

from docs.site.commands import parameters, table
from hwsim.files.whole import write_whole
from rtl.accel import AccelUnit
from rtl.axi import AxiStreamsUnit, AxiStreamUnit
from rtl.catalog import UNITS, Unit, outside
from rtl.header import above
from rtl.options import Options
from rtl.table import ports_table

OUT = Path(__file__).parents[1] / "rtl-units.md"
TOP = """\
# Units of the catalogue

This page is written from the catalogue, `rtl/catalog.py`, by `python -m docs.site.units`; do not edit it.
[Hardware units as Verilog](rtl.md) explains streams, rows in turn and registers. [Cost](../reports/cost.md) has the
area and the clock rate of each unit, and [verification](../reports/verification.md) what was proven and simulated.
"""
#: Options that every unit has; they are listed once.
SHARED = {field.name for field in fields(Options)}


def page() -> str:
    """The page as Markdown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # units are made for their ports alone
        return "\n".join([TOP, *shared(), *(line for unit in UNITS for line in section(unit))])


def shared() -> Iterator[str]:
    """The options that every unit has."""
    yield "## Options of every unit\n"
    yield from table("option", [each for each in parameters(Options) if name_of(each.shown) in SHARED])
    yield "`--clock` sets the period in the `.xdc` and `.sdc` beside the Verilog, which constrain `clk` alone."
    yield "`--vectors` writes a bench for any Verilog simulator, and prints the command that runs it in Icarus.\n"


def name_of(option: str) -> str:
    """The field behind an option as it is shown, `-o, --out PATH`."""
    return option.split(",")[-1].split()[0].removeprefix("--").replace("-", "_")


def section(unit: Unit) -> Iterator[str]:
    """One kind of unit: how to write it, its options, the head of its Verilog, the published points."""
    spec, name = unit.options().unit()
    made = outside(spec)
    own = [each for each in parameters(unit.options) if name_of(each.shown) not in SHARED]
    yield f"## {unit.command}\n"
    yield f"{unit.description} `hwsim.specs.{unit.spec.__name__}` holds its parameters.\n"
    yield f"    python -m rtl {unit.command} -o build/rtl"
    if isinstance(made, AxiStreamUnit):
        yield f"    python -m rtl {unit.command} --vectors 100 -o build/rtl     # with a bench"
    yield ""
    if own:
        yield from table("option", own)
    yield f"The head of `{name}.v`, which the first command writes:\n"
    yield "```text"
    yield from head(made, name, unit.command)
    yield "```\n"
    if isinstance(made, AccelUnit):
        yield "[A unit on a bus](rtl.md#a-unit-on-a-bus) has its registers, bursts and driver.\n"
    if isinstance(made, AxiStreamsUnit):
        yield "This unit has several streams. `make cosim` simulates it, and its cycles are compared with those that"
        yield "`hwsim gemm` predicts: [rtl_agreement](../reports/rtl_agreement.md).\n"
    if unit.published:
        yield "Published points, which `make rtl` writes:\n"
        yield ports_table(unit.published) + "\n"


def head(unit: AxiStreamUnit | AxiStreamsUnit | AccelUnit, name: str, command: str) -> Iterator[str]:
    """What the comment above the Verilog says, without the version and the lines for tools."""
    comment = above(unit, name, f"python -m rtl {command}").split("*/")[0].removeprefix("/*\n")
    first, _, *rest = comment.rstrip().split("\n\n")
    yield from "\n\n".join([first, *rest]).splitlines()


def main() -> None:
    """Write the page, or the file that is named."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    write_whole(out, page())
    print(out)


if __name__ == "__main__":
    main()
