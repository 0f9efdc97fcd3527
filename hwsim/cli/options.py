"""What the commands share: the application, options, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.errors import InputError

app = typer.Typer(
    name="hwsim",
    help="For this number format, on this machine, running this model: how fast, what limits it, what does it cost?",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)

ArchName = Annotated[str, typer.Argument(metavar="ARCH", help="a machine's name (`hwsim arch`) or a YAML path")]
Weights = Annotated[
    str, typer.Option(help="a format (`hwsim format`), or CLASS=FORMAT,...,default=FORMAT, or published-...")
]
Acts = Annotated[str | None, typer.Option(help="activation format; default: by the weights and the machine")]
Engine = Annotated[str | None, typer.Option(help="simpy (the default) or walk: the same times, walk is faster")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="change the machine, e.g. dram.bandwidth='9.6 TB/s'"),
]
By = Annotated[str | None, typer.Option(help="op or layer: where the time goes")]
Trace = Annotated[Path | None, typer.Option(help="write a timeline for ui.perfetto.dev to this file")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


def overrides(settings: list[str] | None) -> tuple[tuple[str, str], ...]:
    """`PATH=VALUE` texts as pairs. raises: InputError for one without `=`."""
    example = "write PATH=VALUE, for example dram.bandwidth='9.6 TB/s'"
    bad = [f"--set {s}: {example}" for s in settings or () if "=" not in s]
    if bad:
        raise InputError(*bad)
    return tuple((s.split("=", 1)[0].strip(), s.split("=", 1)[1].strip()) for s in settings or ())


def weight_map(text: str) -> str | dict[str, str]:
    """`F` as it is; `experts=F,default=G` (or the same in braces with colons) as a mapping.

    raises: InputError for an entry without a format, or a class named twice.
    """
    if not any(c in text for c in "=:{"):
        return text
    table: dict[str, str] = {}
    for part in text.strip().strip("{}").split(","):
        key, found, name = part.replace(":", "=", 1).partition("=")
        key, name = key.strip(), name.strip()
        if not found or not key or not name:
            raise InputError(f"--weights: {part.strip()!r} is not CLASS=FORMAT; write experts=nvfp4,default=fp8")
        if key in table:
            raise InputError(f"--weights: class {key!r} is named twice")
        table[key] = name
    return table
