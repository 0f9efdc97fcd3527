"""What the commands share: the application, options, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

from hwsim.errors import InputError, collect

#: Headings of `hwsim --help`, and the commands under each.
GROUPS = {
    "Simulate": ("run", "gemm", "serve", "study"),
    "Read results": ("compare", "report"),
    "Look things up": ("arch", "model", "format", "schema"),
    "Files of weights": ("compress", "decompress", "inspect"),
    "Measurements": ("validate", "calibrate"),
}

EXAMPLES = """\b
Examples:
  hwsim run h200-sxm --model nemotron3-nano-30b-a3b --weights nvfp4
  hwsim gemm m0 --m 512 --n 4096 --k 4096 --weights int8
  hwsim format mxfp4 --explain 0.3 -1.7 2.4
  hwsim study nano-formats && hwsim report build/studies/nano-formats
"""


class Commands(TyperGroup):
    """The commands, listed under headings instead of in one column."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section per heading."""
        for heading, names in GROUPS.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl([(name, one.get_short_help_str(60)) for name, one in found if one])


app = typer.Typer(
    name="hwsim",
    cls=Commands,
    help="For this number format, on this machine, running this model: how fast, what limits it, what does it cost?",
    epilog=EXAMPLES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)

ArchName = Annotated[str, typer.Argument(metavar="ARCH", help="a machine's name (`hwsim arch`) or a YAML path")]
Weights = Annotated[
    str, typer.Option(help="a format (`hwsim format`), or CLASS=FORMAT,...,default=FORMAT, or published-...")
]


def one_number(text: str) -> int:
    """A whole number. raises: typer.BadParameter, which points to studies where several are written."""
    try:
        return int(text)
    except ValueError:
        several = "," in text
        hint = "; one value at a time: for a grid write a study (`hwsim study`)" if several else ""
        raise typer.BadParameter(f"{text!r} is not a whole number{hint}") from None


Acts = Annotated[str | None, typer.Option(help="activation format; default: by the weights and the machine")]
Engine = Annotated[str | None, typer.Option(help="simpy (the default) or walk: the same times, walk is faster")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="change the machine, for example dram.bandwidth='9.6 TB/s'"),
]
By = Annotated[str | None, typer.Option(help="op or layer: where the time goes")]
Trace = Annotated[Path | None, typer.Option(help="write a timeline for ui.perfetto.dev to this file")]
Energy = Annotated[bool, typer.Option("--energy", help="print each term of energy and area with its source")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


def overrides(settings: list[str] | None) -> tuple[tuple[str, str], ...]:
    """`PATH=VALUE` texts as pairs. raises: InputError for each without `=`."""
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


def read_options(
    weights: str, settings: list[str] | None, by: str | None, problems: list[str]
) -> tuple[str | dict[str, str], tuple[tuple[str, str], ...]]:
    """(weights as `run` takes them, overrides of the machine); what cannot be read is added to `problems`."""
    formats: str | dict[str, str] = "bf16"
    changes: tuple[tuple[str, str], ...] = ()
    with collect(problems):
        formats = weight_map(weights)
    with collect(problems):
        changes = overrides(settings)
    if by not in (None, "op", "layer"):
        problems.append(f"--by: unknown {by!r}; expected op or layer")
    return formats, changes
