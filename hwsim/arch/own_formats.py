"""Formats of files in a machine's file: the path of one is replaced by its definition, before anything else is read.

    dot:
      rates:
        - {weights: mine.yaml, activations: mxint8, rate: 8192 MAC/cycle}

A path is relative to the file that states it (the machine's, or a study's for a grid), or else to where the command
runs, as in `--set`. From here on a machine holds the definition itself: what it writes, and what a study hashes,
follows from the format's content and from no path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwsim.arch.scalars import is_file
from hwsim.errors import InputError
from hwsim.files.yaml import Document, Loc, raise_problems
from hwsim.formats.names import layout

_OPERANDS = ("weights", "activations")


def with_formats(document: Document) -> Document:
    """The document with every own format written out. raises: InputError for files that define no format."""
    problems: list[str] = []
    data = document.data
    for loc, path in list(_paths(data)):
        beside = Path(document.mark(loc).source).parent / path
        try:
            found = layout(beside if beside.is_file() else path)
        except InputError as error:
            problems += [document.problem(loc, each) for each in error.problems]
        else:
            data = _with(data, loc, dict(found.definition))
    if problems:
        raise_problems(problems)
    return replace(document, data=data)


def _paths(data: dict[str, Any]) -> Iterator[tuple[Loc, str]]:
    """The places of formats in a machine's tree that hold a path, and the path."""
    dot = data.get("dot")
    rates = dot.get("rates") if isinstance(dot, dict) else None
    parts: list[tuple[Loc, Any]] = []
    if isinstance(rates, list):
        parts += [(("dot", "rates", i), rate) for i, rate in enumerate(rates)]
    parts += [((key,), data.get(key)) for key in ("gemv", "gemm")]
    for loc, part in parts:
        for name in _OPERANDS:
            if isinstance(part, dict) and is_file(part.get(name)) and (loc[0] == "dot" or name == "weights"):
                yield (*loc, name), part[name]


def _with(node: Any, loc: Loc, value: Any) -> Any:
    """A copy of the tree with `value` at a place that it has."""
    if not loc:
        return value
    head, rest = loc[0], loc[1:]
    if isinstance(node, list):
        return [_with(each, rest, value) if i == head else each for i, each in enumerate(node)]
    return {key: _with(each, rest, value) if key == head else each for key, each in node.items()}
