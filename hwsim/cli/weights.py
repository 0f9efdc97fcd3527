"""Commands on files of weights: compress, decompress, convert, inspect."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.options import FormatOption, Json, app, format_options
from hwsim.errors import InputError

if TYPE_CHECKING:
    from hwsim.compress.table import Inspection
    from hwsim.compress.writing import Progress
    from hwsim.formats.format import Format

Include = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="compress only the tensors with these names; may be repeated")
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="leave out the tensors with these names; may be repeated")
]
Layout = Annotated[
    str,
    typer.Option(metavar="NAME", help="hwsim, compressed-tensors, modelopt, gpt-oss or deepseek; see docs/formats.md"),
]
Axis = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB=N", help="K of these weights, where their file stores it elsewhere; may be repeated"),
]
Out = Annotated[Path, typer.Option("-o", "--out", help="file to write; for a folder or a sharded model, a folder")]


@app.command()
def compress(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="a .safetensors file, an index of shards, or a folder with either")
    ],
    out: Out,
    format: Annotated[
        str | None,
        typer.Option(
            help="a format or a YAML file, for all 2-D and 3-D weights but embeddings, heads, routers and "
            "convolutions; default: the usual one of --layout, where it has one"
        ),
    ] = None,
    map: Annotated[
        Path | None,
        typer.Option(
            help='instead of --format: a YAML file of lines `glob: format`; "*" is every weight of two or more axes'
        ),
    ] = None,
    option: FormatOption = None,
    layout: Layout = "hwsim",
    include: Include = None,
    exclude: Exclude = None,
    axis: Axis = None,
    decode: Annotated[bool, typer.Option("--decode", help="decode weights that are quantised already, first")] = False,
    as_json: Json = False,
) -> None:
    """Write weights in a number format.

    An interrupted run resumes where it left off. An output that is there already is replaced when the new one is
    complete; the input never is. A checkpoint that is quantised already is refused, unless its weights
    are decoded first.

    \b
    Examples:
      hwsim compress in.safetensors --format seedlm4 -o out.safetensors
      hwsim compress model/ --layout compressed-tensors --format nvfp4 -o served/
      hwsim compress model/ --format nvfp4 --option four_over_six=true -o out/
      hwsim compress gpt2.safetensors --format mxfp4 --axis '*.c_fc.weight=0' -o out.safetensors
    """
    from hwsim.compress import compress as job

    axes = _axes(axis or ())
    chosen = _with_options(format, option or (), map is not None, layout)
    _files(
        lambda progress: job(
            source, out, chosen, map, layout=layout, include=include or (), exclude=exclude or (), axes=axes,
            decode=decode, progress=progress,
        ),
        as_json,
    )  # fmt: skip


def _with_options(format: str | None, given: Sequence[str], mapped: bool, layout: str) -> Format | str | None:
    """The format with options NAME=VALUE. raises: InputError for what is not so, and options without a format."""
    if not given:
        return format
    from hwsim.compress.targets import target_of
    from hwsim.formats import get_format

    if mapped:
        raise InputError("--option: a map has its options in it; write {format: nvfp4, four_over_six: true}")
    name = format or target_of(layout).default
    if not name:
        raise InputError("--option: belongs to a format; write --format, too")
    return get_format(name, **format_options(given))


def _axes(given: Sequence[str]) -> dict[str, int]:
    """{glob: axis} of options GLOB=N. raises: InputError with every one that is not so."""
    found, problems = {}, []
    for text in given:
        glob, sign, number = text.rpartition("=")
        try:
            found[glob] = int(number)
        except ValueError:
            sign = ""
        if not sign or not glob:
            problems.append(f"--axis {text}: write GLOB=N, for example '*experts*=-2'")
    if problems:
        raise InputError(*problems)
    return found


@app.command()
def decompress(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="written by `hwsim compress`, a quantised checkpoint, or a .gguf file")
    ],
    out: Out,
    dtype: Annotated[
        str | None, typer.Option(help="F32, F16 or BF16; default: the recorded type, or F32, which is exact")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode a compressed or quantised model.

    \b
    Example:
      hwsim decompress gpt-oss-20b/ --dtype BF16 -o gpt-oss-20b-bf16/
    """
    from hwsim.compress import decompress as job

    _files(lambda progress: job(source, out, dtype=dtype, progress=progress), as_json)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="a quantised checkpoint, or a .gguf file")],
    out: Out,
    layout: Layout,
    format: Annotated[
        str | None,
        typer.Option(help="of all weights that are quantised already; default: their own"),
    ] = None,
    fallback: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="of the weights whose own format the layout does not store"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a quantised model in another layout.

    Says of every weight whether its values stay exactly the same or are encoded again. A weight whose own format the
    layout does not store is refused, unless --fallback or --format says which format to encode it in.

    \b
    Examples:
      hwsim convert nvfp4-of-modelopt/ --layout compressed-tensors -o served/
      hwsim convert model.gguf --layout compressed-tensors --fallback fp8_row -o served.safetensors
    """
    from hwsim.compress import convert as job

    how: dict[str, str] = {}

    def run(progress: Callable[[Progress], None]) -> Inspection:
        found, said = job(source, out, layout, format, fallback=fallback, progress=progress)
        how.update(said)
        return found

    _files(run, as_json, how)


@app.command()
def inspect(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="a .safetensors or .gguf file, an index of shards, or a folder of them"),
    ],
    as_json: Json = False,
) -> None:
    """Print weights: format, layout, bits, error."""
    from hwsim.compress import inspect as job

    _files(lambda progress: job(source), as_json)


def _files(
    job: Callable[[Callable[[Progress], None]], Inspection], as_json: bool, how: Mapping[str, str] | None = None
) -> None:
    """Run a job on files, with a progress bar on a terminal, and print the table that it returns.

    how: what became of each weight, filled by the job; printed after the table.
    """
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
    if as_json:
        more = {} if how is None else {"converted": dict(how)}
        print(json.dumps({"schema": 1} | asdict(found) | more, indent=2, default=str))
        return
    print(inspect_text(found))
    for words in dict.fromkeys((how or {}).values()):
        names = [name for name, said in (how or {}).items() if said == words]
        against = "; the error is that against the decoded values, and adds to what they had lost"
        rest = against if words.startswith("re-encoded") else ""
        print(f"{words}: {len(names)} weight{'s' * (len(names) > 1)} ({names[0]}{', ...' * (len(names) > 1)}){rest}")
