"""Commands on files of weights: compress, decompress, inspect."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.options import Json, app

if TYPE_CHECKING:
    from hwsim.compress.table import Inspection
    from hwsim.compress.writing import Progress

Include = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="compress only the tensors with these names; may be repeated")
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="leave out the tensors with these names; may be repeated")
]
Out = Annotated[Path, typer.Option("-o", "--out", help="file to write; for a sharded model, a folder")]


@app.command()
def compress(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="a .safetensors file, an index of shards, or a folder with either")
    ],
    out: Out,
    format: Annotated[str | None, typer.Option(help="one format for all 2-D and 3-D weights")] = None,
    map: Annotated[
        Path | None, typer.Option(help="instead of --format: a YAML file with one `glob: format` per line")
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    as_json: Json = False,
) -> None:
    """Write weights in a number format.

    An interrupted run resumes where it left off.

    \b
    Example:
      hwsim compress in.safetensors --format seedlm4 -o out.safetensors
    """
    from hwsim.compress import compress as job

    _files(
        lambda progress: job(source, out, format, map, include=include or (), exclude=exclude or (), progress=progress),
        as_json,
    )


@app.command()
def decompress(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a file or folder written by `hwsim compress`")],
    out: Out,
    dtype: Annotated[
        str | None, typer.Option(help="F32, F16 or BF16; default: the original type of each tensor")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode a compressed model."""
    from hwsim.compress import decompress as job

    _files(lambda progress: job(source, out, dtype=dtype, progress=progress), as_json)


@app.command()
def inspect(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="a .safetensors file, an index of shards, or a folder with either")
    ],
    as_json: Json = False,
) -> None:
    """Print a model's tensors: format, bits, error."""
    from hwsim.compress import inspect as job

    _files(lambda progress: job(source), as_json)


def _files(job: Callable[[Callable[[Progress], None]], Inspection], as_json: bool) -> None:
    """Run a job on files, with a progress bar on a terminal, and print the table that it returns."""
    from dataclasses import asdict

    from rich import progress as rich
    from rich.console import Console

    from hwsim.compress import inspect_text

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with rich.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None, rate="")

        def advance(p: Progress) -> None:
            free = p.resumed_values + p.copied_values  # they took no work: counting them would distort the rate
            bar.update(task, description=p.tensor, total=p.values - free, completed=p.done_values - free)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed / 1e6:.3g} M values/s" if speed else "")

        try:
            found = job(advance)
        except KeyboardInterrupt:
            print("hwsim: interrupted; run the same command again to resume", file=sys.stderr)
            raise
    print(json.dumps({"schema": 1} | asdict(found), indent=2, default=str) if as_json else inspect_text(found))
