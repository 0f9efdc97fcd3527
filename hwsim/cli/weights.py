"""Commands on files of weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.options import Json, app

Globs = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="tensor names; may be repeated")]
Out = Annotated[Path, typer.Option("-o", "--out", help="file (or folder, for a sharded model) to write")]


@app.command()
def compress(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a .safetensors file, an index of shards, or a folder")],
    out: Out,
    format: Annotated[str | None, typer.Option(help="a format for the 2-D and 3-D weights")] = None,
    map: Annotated[Path | None, typer.Option(help="a YAML file of `glob: format` instead")] = None,
    include: Globs = None,
    exclude: Globs = None,
    as_json: Json = False,
) -> None:
    """Write weights in a number format.

    An interrupted run resumes where it left off.
    """
    from hwsim.compress import compress as job

    _files(
        lambda progress: job(source, out, format, map, include=include or (), exclude=exclude or (), progress=progress),
        as_json,
    )


@app.command()
def decompress(
    source: Annotated[Path, typer.Argument(metavar="IN", help="what `hwsim compress` wrote")],
    out: Out,
    dtype: Annotated[str | None, typer.Option(help="F32, F16 or BF16; default: each tensor's own")] = None,
    as_json: Json = False,
) -> None:
    """Decode a compressed model."""
    from hwsim.compress import decompress as job

    _files(lambda progress: job(source, out, dtype=dtype, progress=progress), as_json)


@app.command()
def inspect(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="a .safetensors file, an index, or a folder")],
    as_json: Json = False,
) -> None:
    """Print a model's tensors: format, bits, error."""
    from hwsim.compress import inspect as job

    _files(lambda progress: job(source), as_json)


def _files(job, as_json: bool) -> None:
    """Run a job over files with a progress bar on a terminal, and print its table."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from hwsim.compress import inspect_text

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None, rate="")

        def advance(p) -> None:
            free = p.resumed_values + p.copied_values  # they would spoil the rate, and the time left
            bar.update(task, description=p.tensor, total=p.values - free, completed=p.done_values - free)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed / 1e6:.3g} M values/s" if speed else "")

        try:
            found = job(advance)
        except KeyboardInterrupt:
            print("hwsim: interrupted; the same command resumes from here", file=sys.stderr)
            raise
    print(json.dumps({"schema": 1} | asdict(found), indent=2, default=str) if as_json else inspect_text(found))
