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


def deliver(unit, name: str, folder: Path) -> None:
    """Write the unit and say where, with its ports' timing."""
    from .emit import write

    try:
        path = write(unit, name, folder)
    except OSError as error:
        raise InputError(f"-o {folder}: cannot be written ({error.strerror}); name a folder") from None
    timing = unit.spec.timing
    print(f"{path}: module {name}, latency {timing.latency}, interval {timing.interval}")


@app.command()
def lfsr_block(format: SeedFormat = "seedlm4", out: Folder = Path("build/rtl")) -> None:
    """All LFSR states of a seed block in one cycle."""
    from hwsim.specs import LfsrBlock

    from .lfsr import LfsrBlockUnit

    deliver(LfsrBlockUnit(LfsrBlock(seed_codec(format))), f"lfsr_block_{format}", out)


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
