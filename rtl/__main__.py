"""`python -m rtl UNIT ... -o FOLDER`: write a unit's Verilog."""

import shlex
import shutil
import sys
from pathlib import Path

from hwsim.errors import InputError
from hwsim.extras import install, missing


def deliver(options, spec, name: str) -> None:
    """Write a unit with what the options ask for: AXI4-Stream outside, a project where a tool is named, a bench."""
    from .axi import AxiStreamUnit
    from .catalog import outside
    from .fields import streams_of
    from .header import said_of
    from .vectors import write_bench
    from .written import legal_name, write

    folder, vectors, name = options.out, options.vectors, legal_name(options.prefix, f"{name}{options.outside.suffix}")
    unit, clock_hz = outside(spec, options.outside), clock_of(options.clock)
    if vectors and not isinstance(unit, AxiStreamUnit):
        raise InputError("--vectors: of units with one input; `make cosim` checks this one")
    # Made before a file is touched, so that a wrong tool or a missing package leaves the folder as it was.
    project = options.project
    before = settings(folder, name)
    try:
        path = write(unit, name, folder, command(), clock_hz, vectors > 0, project)
        root = project.write(name, folder, clock_hz) if project else None
        outputs, cycles = write_bench(unit, name, folder, vectors) if vectors else (0, 0)
    except OSError as error:
        raise InputError(f"-o {folder}: cannot be written ({error.strerror}); name a folder") from None
    timing = spec.timing
    print(f"{path}: module {name}, latency {timing.latency}, interval {timing.interval}")
    for said in said_of(unit):
        print(f"  {said}")
    for said in streams_of(unit):
        print(f"  {said}")
    if changed := [file for file, text in settings(folder, name).items() if before.get(file, text) != text]:
        print(f"  replaced: {', '.join(changed)}, which held another clock, part or bench")
    if project:
        print(f"{root}: {project.tool} project for {project.device}, clock {options.clock}")
    if vectors:
        run = f"iverilog -g2001 -o {name} {name}.v {name}_tb.v && vvp {name}"
        print(
            f"{folder / name}_tb.v: {vectors} inputs, {outputs} outputs, {cycles} cycles; "
            f"run: cd {shlex.quote(str(folder))} && {run}\n  or, with Verilator: {verilator(name)}"
        )


def settings(folder: Path, name: str) -> dict[str, str]:
    """The files of a unit with a project's settings, by name; what cannot be read is left out."""
    found = {}
    for suffix in (".core", ".xdc", ".sdc"):
        path = folder / f"{name}{suffix}"
        try:
            found[path.name] = path.read_text()
        except OSError:
            continue
    return found


def verilator(name: str) -> str:
    """The commands that build and run a unit's bench with the Verilator of the path, or with that of the extra `rtl`.

    The makefile of that package was made for another compiler: GCC needs two of its settings changed.
    """
    own = shutil.which("verilator") is not None
    program, flags = ("verilator", "") if own else ("verilator-cli", PACKAGED)
    return f"{program} --binary -Wno-fatal --top {name}_tb {name}.v {name}_tb.v{flags} && obj_dir/V{name}_tb"


PACKAGED = " -MAKEFLAGS CFG_CXXFLAGS_PCH_I=-include -MAKEFLAGS CFG_GCH_IF_CLANG="
"""Options of `verilator-cli` with GCC."""


def command() -> str:
    """What was typed, without the folder that is written to, so that the same unit is the same bytes anywhere."""
    words, kept = iter(sys.argv[1:]), []
    for word in words:
        if word in ("-o", "--out"):
            next(words, None)
        elif not word.startswith(("-o", "--out=")):
            kept.append(word)
    return shlex.join(["python", "-m", "rtl", *kept])


def clock_of(text: str):
    """Hz, a fraction. raises: InputError."""
    from hwsim.quantities import quantity

    from .options import CLOCK
    from .project import CLOCK_HZ_MAX

    try:
        clock_hz = quantity(text, "Hz", example=CLOCK).value
    except InputError as error:
        raise InputError(f"--clock: {error}") from None
    if clock_hz > CLOCK_HZ_MAX:
        raise InputError(f"--clock {text}: faster than any FPGA; write at most {float(CLOCK_HZ_MAX / 10**9):g} GHz")
    return clock_hz


def application():
    """The command line: `units`, `all`, and a command per row of the catalogue."""
    import typer

    from .catalog import COMPOSITE_UNITS, LEAF_UNITS, UNITS, module_name
    from .options import OUT, Folder, Options, Vectors, in_options
    from .table import ports_table

    published = {**LEAF_UNITS, **COMPOSITE_UNITS}

    def written(options) -> None:
        """Write what the options of a unit's command ask for; `units` and `all` return None."""
        if options is not None:
            try:
                unit = options.unit()
            except InputError as error:
                raise InputError(*map(in_options, error.problems)) from None
            deliver(options, *unit)

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
    def all(out: Folder = OUT, vectors: Vectors = 0) -> None:
        """Every published unit."""
        for name, spec in published.items():
            deliver(Options(out=out, vectors=vectors), spec, module_name(name, spec))

    for unit in UNITS:
        app.command(unit.command, help=unit.description)(unit.options)
    return app


WITHOUT_AMARANTH = """\
Usage: python -m rtl UNIT [OPTIONS]

  Write the Verilog of a hardware unit. `units` lists the published ones, `all` writes them, and UNIT --help shows the
  options of one; docs/rtl-units.md has the same. All of this needs amaranth, which is not installed here:
  {}"""
"""What `--help` prints where the units cannot be loaded."""


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
        if sys.argv[1:] in ([], ["--help"]):
            print(WITHOUT_AMARANTH.format(install("rtl")))
            return 0
        print(missing("RTL units", "amaranth", "rtl"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
