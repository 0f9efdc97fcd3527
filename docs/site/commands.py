"""docs/cli.md: every command with its arguments, options and examples, from the commands themselves."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer.models

from hwsim.cli import app
from hwsim.cli.options import GROUPS
from hwsim.errors import InputError
from hwsim.files.whole import write_whole

OUT = Path(__file__).parents[1] / "cli.md"
TOP = """\
# Commands

`hwsim --help` lists the commands and `hwsim COMMAND --help` shows one of them. This page is written from the same text
by `python -m docs.site.commands`; do not edit it. Every command that prints a result takes `--json`.

`hwsim --install-completion` sets up completion of commands and options in the shell that you use, and `hwsim
--show-completion` prints the script instead.
"""
#: How a type is named in the column of values.
TYPES = {str: "text", int: "whole number", float: "number", Path: "path"}


def page() -> str:
    """The page as Markdown, with the commands under the headings of `hwsim --help`."""
    callbacks = {name_of(found): found.callback for found in app.registered_commands}
    grouped = [name for names in GROUPS.values() for name in names]
    if sorted(grouped) != sorted(callbacks):
        raise InputError(
            f"GROUPS in hwsim/cli/options.py lists {sorted(grouped)}, the commands are {sorted(callbacks)}"
        )
    parts = [TOP]
    for heading, names in GROUPS.items():
        parts.append(f"## {heading}\n")
        parts += ["\n".join(section(name, callbacks[name])) for name in names]
    return "\n".join(parts)


def name_of(found: typer.models.CommandInfo) -> str:
    """The name that a user types."""
    return found.name or found.callback.__name__.rstrip("_").replace("_", "-")  # type: ignore[union-attr]


def section(name: str, callback: Callable[..., Any]) -> Iterator[str]:
    """One command: what it does, its arguments and options as tables, its examples."""
    text, _, examples = inspect.cleandoc(callback.__doc__ or "").partition("\b\n")
    every = list(parameters(callback))
    arguments = [each for each in every if isinstance(each.info, typer.models.ArgumentInfo)]
    options = [each for each in every if each not in arguments]
    words = " ".join(each.shown for each in arguments)
    yield f"### hwsim {name}\n"
    yield f"    hwsim {name} {words} [OPTIONS]\n".replace("  [", " [")
    yield f"{text.strip()}\n"
    if arguments:
        yield from table("argument", arguments)
    if options:
        yield from table("option", options)
    if examples:
        yield (
            re.sub(r"Examples?:", "Examples:" if examples.count("\n") > 1 else "Example:", examples.split("\n")[0])
            + "\n"
        )
        yield from (f"  {line}" for line in examples.splitlines()[1:])
        yield ""


class Parameter(typing.NamedTuple):
    """One argument or option: its declaration, how it is written, what it means."""

    info: typer.models.ParameterInfo
    shown: str
    help: str


def parameters(callback: Callable[..., Any]) -> Iterator[Parameter]:
    """Arguments and options of a command in their order."""
    hints = typing.get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        hint = hints[name]
        if typing.get_origin(hint) is not Annotated:
            raise InputError(f"{callback.__name__}: {name} has no help; write Annotated[..., typer.Option(help=...)]")
        kind, info = typing.get_args(hint)
        yield Parameter(info, shown(name, kind, info), meaning(parameter.default, info))


def shown(name: str, kind: Any, info: typer.models.ParameterInfo) -> str:
    """An argument or an option as it is written, with its value."""
    if isinstance(info, typer.models.ArgumentInfo):
        return info.metavar or name.upper()
    words = [info.default, *(info.param_decls or ())]  # typer keeps the first name of an option as its default
    declared = [word for word in words if isinstance(word, str) and word.startswith("-")]
    declared = declared or [f"--{name.replace('_', '-')}"]
    return f"{', '.join(declared)} {info.metavar or value_of(kind)}".rstrip()


def value_of(kind: Any) -> str:
    """A word for the value of an option; none for a flag."""
    inner = [each for each in (typing.get_args(kind) or (kind,)) if each is not type(None)]
    while typing.get_args(inner[0]):
        inner = list(typing.get_args(inner[0]))
    return "" if inner[0] is bool else TYPES[inner[0]].upper().replace("WHOLE NUMBER", "N")


def meaning(default: Any, info: typer.models.ParameterInfo) -> str:
    """The help, and whether the option must be given or what it is without."""
    text = info.help or ""
    if default is inspect.Parameter.empty:
        return f"{text} (required)"
    silent = default is None or default in ("", False) or "default:" in text
    return text if silent else f"{text} (default: {default})"


def table(head: str, rows: Sequence[Parameter]) -> Iterator[str]:
    """A table of arguments or options."""
    yield f"| {head} | |"
    yield "| --- | --- |"
    yield from (f"| `{each.shown}` | {each.help.replace('|', chr(92) + '|')} |" for each in rows)
    yield ""


def main() -> None:
    """Write the page, or the file that is named."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    write_whole(out, page())
    print(out)


if __name__ == "__main__":
    main()
