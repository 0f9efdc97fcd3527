"""Finds machine files and loads them; the union of all kinds of machines; their JSON Schema."""

from __future__ import annotations

import os
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from hwsim.arch.builtin import arch_folder, arch_names
from hwsim.arch.gemv import GemmMachine, GemvMachine
from hwsim.arch.machine import TileMachine
from hwsim.arch.own_formats import with_formats
from hwsim.errors import InputError, nearest
from hwsim.files import fields
from hwsim.files.prebuilt import prebuilt
from hwsim.files.yaml import Document, Loc, Mark, Placed, parse, raise_problems, read, short
from hwsim.quantities import quantity, write

Arch = GemvMachine | GemmMachine | TileMachine
"""A machine of any kind. A file is of the first kind whose KEY it has, and of the last kind if it has none."""

Overrides = Iterable[tuple[str, str | Placed]]

_KINDS: tuple[type[Arch], ...] = get_args(Arch)


def load_arch(name_or_path: str | Path, overrides: Overrides = ()) -> Arch:
    """The machine of a shipped name, or of the YAML file at a path.

    overrides: (dotted path, YAML text) pairs put into the file's tree first, e.g. `("dram.bandwidth", "9.6 TB/s")`;
               a text may instead be a value of another file.
    raises:    InputError with every problem found.
    """
    overrides = tuple(overrides)
    if overrides or not isinstance(name_or_path, str) or name_or_path not in arch_names():
        return arch_of(arch_document(name_or_path), overrides)
    path = arch_folder() / f"{name_or_path}.yaml"
    return prebuilt(path, _made_from(), _KINDS, lambda: arch_of(arch_document(name_or_path)))


def _made_from() -> list[Path]:
    """What a shipped machine follows from, beside its file: the code that reads it, and the files that it may name."""
    package = Path(__file__).resolve().parents[1]
    code = ("arch", "formats", "specs", "quantities.py", "timing.py")
    return [*map(package.joinpath, code), *map(arch_folder().joinpath, ("calibration", "kernels", "technology"))]


def arch_document(name_or_path: str | Path) -> Document:
    """The file of a machine, for `arch_of`: of a shipped name, or at a path. raises: InputError."""
    text = str(name_or_path)
    if isinstance(name_or_path, str) and text in arch_names():
        path = arch_folder() / f"{text}.yaml"
        return read(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)
    if isinstance(name_or_path, str) and not text.endswith((".yaml", ".yml")) and os.sep not in text:
        raise InputError(_unknown(text))
    return read(name_or_path)


def load_tile_machine(name_or_path: str | Path, overrides: Overrides = ()) -> TileMachine:
    """`load_arch`, for what only a tile machine can answer. raises: InputError also for machines of other kinds."""
    arch = load_arch(name_or_path, overrides)
    if not isinstance(arch, TileMachine):
        raise InputError(f"{arch.name}: a machine with `{arch.KEY}:`; name one with `{TileMachine.KEY}:`")
    return arch


def load_arch_text(text: str, source: str = "<text>", overrides: Overrides = ()) -> Arch:
    """The machine that a YAML text describes; `source` names it in messages. Raises InputError."""
    return arch_of(parse(text, source), overrides)


def arch_config(arch: Arch) -> dict[str, Any]:
    """A machine as plain data in the layout of its file, every quantity exact and with its unit; for JSON or YAML.

    The text follows from the machine's numbers alone: equal machines give equal bytes, however their files
    spell them. `load_arch_text` reads it back.
    """
    return deepcopy(_file(arch))


@lru_cache(maxsize=16)  # a point of a study asks for its machine's twice, and its neighbours for the same
def _file(arch: Arch) -> dict[str, Any]:
    return arch.file()


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a machine file of any kind: what `hwsim schema` prints and editors read."""
    parts: dict[str, Any] = {}
    for kind in _KINDS:
        schema = fields.json_schema(kind.FILE, "hwsim machine")
        parts |= schema.pop("$defs")
        head = {key: schema.pop(key) for key in ("$schema", "title")}
        parts[kind.FILE.__name__] = schema
    *others, last = _KINDS
    chosen = _reference(last)
    for kind in reversed(others):
        chosen = {"if": {"required": [kind.KEY]}, "then": _reference(kind), "else": chosen}
    return head | chosen | {"$defs": dict(sorted(parts.items()))}


def _reference(kind: type[Arch]) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{kind.FILE.__name__}"}


def _unknown(name: str) -> str:
    hint = nearest(name[:60], arch_names()).removesuffix("?")
    if "did you mean" in hint:
        meant = hint.rpartition(" ")[2]
        hint = f"; did you mean '{meant}'?"
    return f"unknown machine '{short(name)}'{hint} (a path to a YAML file also works)"


#: What `gemv:` was called; files and `--set` may still say so for one release.
_OLD, _NEW = "engine", GemvMachine.KEY
_RENAMED = (
    f"`{_OLD}:` is now `{_NEW}:`; write `{_NEW}:` in the file and in `--set {_NEW}...`: the next release will not read "
    f"`{_OLD}:`"
)


def arch_of(document: Document, overrides: Overrides = ()) -> Arch:
    """The machine of a file; overrides and errors as in `load_arch`."""
    document, renamed = _new_key(document)
    problems: list[str] = []
    overrides, before = list(overrides), document.data
    for path, text in overrides:
        head, dot, rest = path.partition(".")
        if head == _OLD:
            path, renamed = f"{_NEW}{dot}{rest}", True
        try:
            document = document.override(path, text)
        except InputError as error:
            problems += error.problems
    if problems:
        raise_problems(problems)
    document = with_formats(document)
    document, tuned, note = _with_cores(document, before, {path for path, _ in overrides})
    kind = next((kind for kind in _KINDS if kind.KEY in document.data), _KINDS[-1])
    arch = kind.read(document)
    if note and isinstance(arch, TileMachine) and arch.cores:
        arch = replace(arch, warnings=(*arch.warnings, note), cores=replace(arch.cores, tuned=tuned))
    return replace(arch, warnings=(*arch.warnings, _RENAMED)) if renamed else arch


def _with_cores(document: Document, before: Any, changed: set[str]) -> tuple[Document, int, str]:
    """(the document, the number of cores that the kernels are tuned to, a note), behind the overrides.

    If one changes `cores.count`, the units of the cores follow: rates of `dot`, `vector` and `dequantise` are stated
    for the chip, and its cores have them, so that twice the cores multiply twice as fast. A rate that an override names
    itself stays. before: the tree without the overrides.
    """
    count = (before.get("cores") or {}).get("count") if "cores.count" in changed else None
    now = (document.data.get("cores") or {}).get("count")
    if not isinstance(count, int) or not isinstance(now, int) or now == count or now < 1:
        return document, 0, ""
    units = {"dot": "MAC", "vector": "element", "dequantise": "weight"}
    moved = []
    for name, base in units.items():
        part = document.data.get(name)
        if not isinstance(part, dict) or any(c == name or c.startswith(f"{name}.") for c in changed):
            continue
        places = [f"{name}.rates.{i}.rate" for i in range(len(part.get("rates", ())))] or [f"{name}.rate"]
        texts = [rate["rate"] for rate in part.get("rates", ())] or [part["rate"]]
        for place, text in zip(places, texts, strict=True):
            old = quantity(text, f"{base}/s", f"{base}/cycle")
            document = document.override(place, write(old.value * now / count, old.dimension))
        moved.append(name)
    return document, count, f"cores.count {now} of the file's {count}: rates of {', '.join(moved)} follow"


def _new_key(document: Document) -> tuple[Document, bool]:
    """The document with `engine:` as `gemv:`, each value at its old place, and whether it had to be renamed."""
    if _OLD not in document.data or _NEW in document.data:
        return document, False

    def moved(marks: dict[Loc, Mark]) -> dict[Loc, Mark]:
        return {(_NEW, *loc[1:]) if loc[:1] == (_OLD,) else loc: mark for loc, mark in marks.items()}

    data = {_NEW if key == _OLD else key: value for key, value in document.data.items()}
    return replace(document, data=data, keys=moved(document.keys), values=moved(document.values)), True
