"""What the shipped files say, kept as JSON: a run with a shipped machine and model needs no parser and no schema.

A wheel carries its own (`hwsim/prebuilt/`, made by `hatch_build.py`). A checkout keeps them in the user's cache folder.
A name says what a file was made of: a hash of the shipped file and of the code that reads it, and the version of
Python. Whatever cannot be read is made from the shipped file again, and what cannot be written is not kept; neither is
said, as neither changes a result.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from hwsim.errors import InputError

T = TypeVar("T")

PACKAGE = Path(__file__).resolve().parents[1]
#: Where a wheel has them.
CARRIED = PACKAGE / "prebuilt"

#: Files of one name that the cache folder keeps: those of other checkouts and of earlier code.
_KEPT = 4

_PYTHON = f"-py{sys.version_info[0]}{sys.version_info[1]}"

#: Key of what JSON has no kind of its own for: a name of a class, or one of these.
_KIND, _FRACTION, _LIST, _SET, _MAP = "", "fraction", "list", "set", "map"


def prebuilt(path: Path, made_from: Iterable[Path], kind: type | tuple[type, ...], make: Callable[[], T]) -> T:
    """The value of a shipped file: what was kept of it, or what `make` returns, which is then kept.

    path:      the shipped file. made_from: all else that the value follows from: files, and folders of code and files.
    kind:      its class, or the classes that it may be of. raises: what `make` raises.
    """
    try:
        name, folder = _name(path, made_from), cache_folder()
    except (OSError, RuntimeError):  # a user without a home; or a file that cannot be read, of which `make` says more
        return make()
    here = f"{name}{_PYTHON}.json"
    for kept in (CARRIED / f"{name}.json", folder / here):
        try:
            found: T = decoded(json.loads(kept.read_text("utf-8")))
        except Exception:  # missing, unreadable, or anything that a broken file may say
            continue
        if isinstance(found, kind):
            return found
    value = make()
    from hwsim.files.whole import write_whole  # here, as it is needed once

    try:
        text = json.dumps(encoded(value), separators=(",", ":"))
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / here, text)
        _tidy(folder, path.stem)
    except (InputError, OSError, TypeError):
        pass  # no folder to write to; or a value that is not plain, which is never wrong, only slower
    return value


def cache_folder() -> Path:
    """`hwsim` in the user's cache folder. raises: RuntimeError for a user without a home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwsim"


def carried_name(kept: Path) -> str:
    """What a wheel, which is for every version of Python, calls a file of the cache folder."""
    return kept.name.replace(f"{_PYTHON}.json", ".json")


def _name(path: Path, made_from: Iterable[Path]) -> str:
    """The file's name and a hash of its content and of all that its value follows from."""
    digest = blake2b(digest_size=12)
    for file in (path, *(each for one in (Path(__file__).parent, *made_from) for each in _files(one))):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)} ".encode() + content)
    return f"{path.stem}-{digest.hexdigest()}"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(each for ending in ("*.py", "*.yaml") for each in path.rglob(ending))


def _tidy(folder: Path, stem: str) -> None:
    """Remove all but the newest files of a name."""
    same = [each for each in folder.glob(f"{stem}-*-py*.json") if each.name.split("-")[:-2] == stem.split("-")]
    for old in sorted(same, key=lambda each: each.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)


def encoded(value: Any) -> Any:
    """A value as JSON can hold it, which `decoded` makes the same value of again.

    raises: TypeError for what is no dataclass of hwsim, number, text, None, tuple, list, dict or frozenset.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is tuple:
        return [encoded(each) for each in value]
    if type(value) is Fraction:
        return {_KIND: _FRACTION, "of": str(value)}
    if type(value) is list:
        return {_KIND: _LIST, "of": [encoded(each) for each in value]}
    if type(value) is frozenset:
        return {_KIND: _SET, "of": [encoded(each) for each in sorted(value)]}
    if type(value) is dict:
        return {_KIND: _MAP, "of": [[encoded(key), encoded(each)] for key, each in value.items()]}
    kind = type(value)
    if not is_dataclass(value) or not _ours(kind.__module__):
        raise TypeError(f"{kind.__name__} is not kept")
    given = {each.name: encoded(getattr(value, each.name)) for each in fields(value) if each.init}
    return {_KIND: f"{kind.__module__}:{kind.__qualname__}", **given}


def decoded(data: Any) -> Any:
    """The value of what `encoded` returned. raises: for other data, whatever its classes raise."""
    if isinstance(data, list):
        return tuple(map(decoded, data))
    if not isinstance(data, dict):
        return data
    kind = data.pop(_KIND)
    if kind == _FRACTION:
        return Fraction(data["of"])
    if kind == _LIST:
        return [decoded(each) for each in data["of"]]
    if kind == _SET:
        return frozenset(map(decoded, data["of"]))
    if kind == _MAP:
        return {decoded(key): decoded(value) for key, value in data["of"]}
    module, _, name = kind.partition(":")
    if not _ours(module):
        raise ValueError(f"{module} is no module of hwsim")
    made = getattr(importlib.import_module(module), name)
    if not (isinstance(made, type) and is_dataclass(made)):
        raise ValueError(f"{name} is no dataclass")
    return made(**{key: decoded(value) for key, value in data.items()})


def _ours(module: str) -> bool:
    return module.startswith("hwsim.")
