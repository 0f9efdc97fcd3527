"""`python -m rtl UNIT ... -o FOLDER`: write a unit's Verilog."""

import shlex
import sys
from pathlib import Path

from hwsim.errors import InputError, MissingExtra


def deliver(unit, name: str, folder: Path, tool: str | None, clock: str, vectors: int) -> None:
    """Write the unit with AXI4-Stream outside, a project where a tool is named, a bench of `vectors` inputs; say so."""
    from .axi import AxiStreamsUnit, AxiStreamUnit
    from .emit import write
    from .project import write_project
    from .table import fields_of_ports
    from .vectors import write_bench

    several = len(unit.signature.members) > 2
    if several and vectors:
        raise InputError("--vectors: of units with one input; `make cosim` checks this one")
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


def clock_of(text: str):
    """Hz, a fraction. raises: InputError."""
    from hwsim.quantities import quantity

    from .options import CLOCK

    try:
        return quantity(text, "Hz", example=CLOCK).value
    except InputError as error:
        raise InputError(f"--clock: {error}") from None


def application():
    """The command line: `units`, `all`, and a command per row of the catalogue."""
    import typer

    from .catalog import COMPOSITE_UNITS, LEAF_UNITS, UNITS, build
    from .options import CLOCK, OUT, Folder
    from .table import ports_table

    published = {**LEAF_UNITS, **COMPOSITE_UNITS}

    def written(options) -> None:
        """Write what the options of a unit's command ask for; `units` and `all` return None."""
        if options is not None:
            spec, name = options.unit()
            deliver(build(spec), name, options.out, options.tool, options.clock, options.vectors)

    app = typer.Typer(
        no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
        result_callback=written,
    )  # fmt: skip

    @app.callback()
    def rtl() -> None:
        """Write the Verilog of a hardware unit."""

    @app.command()
    def units() -> None:
        """The published units: ports, latency."""
        print(ports_table(published))

    @app.command()
    def all(out: Folder = OUT) -> None:
        """Every published unit."""
        for name, spec in published.items():
            deliver(build(spec), name, out, tool=None, clock=CLOCK, vectors=0)

    for unit in UNITS:
        app.command(unit.command, help=unit.description)(unit.options)
    return app


def main() -> int:
    """Run the command; a user's error is printed without a traceback, status 2."""
    try:
        application()()
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
