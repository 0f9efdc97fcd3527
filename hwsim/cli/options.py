"""Parts shared by the commands: the application, common options, and the parsing of their text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hwsim.errors import InputError, collect

#: Headings of `hwsim --help` and the commands listed under each.
GROUPS = {
    "Simulate": ("run", "gemm", "kernel", "serve", "train", "study", "search"),
    "Read results": ("compare", "report"),
    "Look things up": ("arch", "model", "graph", "format", "schema", "import", "doctor"),
    "Files of weights": ("compress", "decompress", "convert", "inspect"),
    "Measurements": ("validate", "calibrate"),
}

#: What a user may take for a command: the names of functions and packages, and what to write.
ELSEWHERE = {
    "qsnr": "hwsim format NAME --qsnr",
    "explain": "hwsim format NAME --explain X",
    "formats": "hwsim format",
    "rtl": "python -m rtl",
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

    # Any: the classes of click, which typer takes from that package or, from 0.2x on, from a copy of its own.
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per heading."""
        for heading, names in GROUPS.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl([(name, one.get_short_help_str(60)) for name, one in found if one])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of the first word. raises: InputError for one of `ELSEWHERE`."""
        if args and args[0] in ELSEWHERE:
            raise InputError(f"{args[0]}: no command of hwsim; write `{ELSEWHERE[args[0]]}`")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="hwsim",
    cls=Commands,
    help="For this number format, on this machine, running this model: how fast, what limits it, what does it cost?",
    epilog=EXAMPLES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

ArchName = Annotated[
    str, typer.Argument(metavar="ARCH", help="a machine name (`hwsim arch` lists them) or a YAML file")
]
Weights = Annotated[
    str,
    typer.Option(
        help="a format (`hwsim format`); CLASS=FORMAT,...,default=FORMAT; or a preset, published-...; "
        "released: as the model's file says, else bf16; a format covers linears, embedding and head"
    ),
]


def one_number(text: str) -> int:
    """Parse a whole number. raises: typer.BadParameter, which points to studies if there are several numbers."""
    try:
        return int(text)
    except ValueError:
        several = "," in text
        hint = "; write one value, or a study for a grid of values (`hwsim study`)" if several else ""
        raise typer.BadParameter(f"{text!r} is not a whole number{hint}") from None


Acts = Annotated[str | None, typer.Option(help="activation format; default: chosen from the weights and the machine")]
Engine = Annotated[
    str | None, typer.Option(help="simulation driver: simpy (default) or walk; walk is faster and gives the same times")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="change one setting of the machine, for example dram.bandwidth='9.6 TB/s'"
    ),
]
Size = Annotated[
    list[str] | None,
    typer.Option("--size", metavar="NAME=N", help="a size of a graph file, or of an axis of an ONNX file"),
]
By = Annotated[str | None, typer.Option(help="op or layer: also print where the time is spent")]
Trace = Annotated[Path | None, typer.Option(help="write a timeline to this file, for ui.perfetto.dev")]
Energy = Annotated[bool, typer.Option("--energy", help="print each term of energy and area with its source")]
FormatOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="of the format, e.g. scale_rule=rceil; may be repeated"),
]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


def overrides(settings: list[str] | None) -> tuple[tuple[str, str], ...]:
    """Split `PATH=VALUE` settings into pairs. raises: InputError for each setting without `=`."""
    example = "write PATH=VALUE, for example dram.bandwidth='9.6 TB/s'"
    bad = [f"--set {s}: {example}" for s in settings or () if "=" not in s]
    if bad:
        raise InputError(*bad)
    return tuple((s.split("=", 1)[0].strip(), s.split("=", 1)[1].strip()) for s in settings or ())


def model_sizes(settings: list[str] | None) -> tuple[tuple[str, str], ...]:
    """`NAME=N` settings as overrides of a model file. raises: InputError for each that is none."""
    bad = [f"--size {s}: write NAME=N, for example --size sequence=128" for s in settings or () if "=" not in s]
    if bad:
        raise InputError(*bad)
    pairs = [s.rpartition("=") for s in settings or ()]
    return tuple((f"sizes.{name.strip()}", number.strip()) for name, _, number in pairs)


def weight_map(text: str) -> str | dict[str, str]:
    """Parse --weights: `F` is returned unchanged; `experts=F,default=G` (or `{experts: F, default: G}`) as a mapping.

    raises: InputError for an entry without a format, or a class that is given twice.
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
            raise InputError(f"--weights: class {key!r} is given twice; write it once")
        table[key] = name
    return table


def read_options(
    weights: str, settings: list[str] | None, by: str | None, problems: list[str]
) -> tuple[str | dict[str, str], tuple[tuple[str, str], ...]]:
    """(weights as `run` takes them, overrides of the machine); errors are appended to `problems`."""
    formats: str | dict[str, str] = "bf16"
    changes: tuple[tuple[str, str], ...] = ()
    with collect(problems):
        formats = weight_map(weights)
    with collect(problems):
        changes = overrides(settings)
    if by not in (None, "op", "layer"):
        problems.append(f"--by: unknown {by!r}; expected op or layer")
    return formats, changes


def format_options(given: Sequence[str]) -> dict[str, Any]:
    """{option: value} of options NAME=VALUE, values as YAML reads them. raises: InputError for one that is not so."""
    from hwsim.files.yaml import parse

    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (sign and name.isidentifier() and value):
            raise InputError(f"--option {text}: write NAME=VALUE, for example four_over_six=true")
        found |= parse(f"{name}: {value}", "--option").data
    return found
