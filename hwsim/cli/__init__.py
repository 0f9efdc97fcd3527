"""The `hwsim` command: parse, call, print. Heavy imports are inside the commands, so that it starts fast."""

from __future__ import annotations

import copy
import gc
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer
from typer.models import CommandInfo

# each registers its commands
from hwsim.cli import doctor, kernels, runs, serving, shown, studies, training, weights  # noqa: F401
from hwsim.cli.options import app
from hwsim.cli.settings import whole_path
from hwsim.errors import InputError

__all__ = ["app", "main"]


def _version(wanted: bool) -> None:
    if wanted:
        from hwsim import __version__

        print(f"hwsim {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and stop")
    ] = False,
) -> None:
    pass


#: Objects between two collections of a command: most of what a command makes, its classes above all, stays to its end.
_COLLECT_EVERY = 100_000


def _asked(words: list[str]) -> Callable[[], None]:
    """The application with the one command that the first word names, or with all: typer builds what it has."""
    named = [each for each in app.registered_commands if _name(each) in words[:1]]
    if not named:
        return app
    alone = copy.copy(app)
    alone.registered_commands = named
    return alone


def _name(command: CommandInfo) -> str | None:
    return command.name or (command.callback.__name__ if command.callback else None)


def main() -> None:
    """Run the command line; a user's error is printed without a traceback, with exit status 2."""
    gc.set_threshold(_COLLECT_EVERY)
    # pydantic would ask every installed package for plugins: 20 ms, and what a file means must not depend on them
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # characters that the locale lacks must not end a run
    try:
        try:
            _asked(sys.argv[1:])()
        finally:
            sys.stdout.flush()
    except InputError as error:
        for problem in error.problems:
            print(f"hwsim: {whole_path(problem)}", file=sys.stderr)
        sys.exit(2)
    except MemoryError:
        print("hwsim: out of memory; free some, or raise the limit of this shell (`ulimit -v`)", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            raise
        print(f"hwsim: standard output cannot be written: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered must not fail again
        sys.exit(1)
