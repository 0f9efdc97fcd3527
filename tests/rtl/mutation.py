"""A unit with one line changed: the package `rtl` imported a second time, around a patched source."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder, SourceFileLoader
from types import SimpleNamespace


@dataclass(frozen=True)
class Line:
    """One change of a source: `old` stands in `rtl/<module>.py` exactly once, and `new` takes its place."""

    module: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        """The changed source.

        raises: LookupError when `old` is not there, or there more than once.
        """
        if (found := source.count(self.old)) != 1:
            raise LookupError(f"rtl/{self.module}.py holds {found} times, not once: {self.old!r}; mend the mutant")
        return source.replace(self.old, self.new)

    def __str__(self) -> str:
        old, new = " ".join(self.old.split()), " ".join(self.new.split())
        return f"{self.module}.py: {old} -> {new}" if new else f"{self.module}.py: without {old}"


class _Patched(SourceFileLoader):
    line: Line

    def get_code(self, fullname):
        return compile(self.line.apply(self.get_source(fullname)), self.path, "exec")


class _Finder:
    def __init__(self, line: Line):
        self.line = line

    def find_spec(self, fullname, path=None, target=None):
        if fullname != f"rtl.{self.line.module}":
            return None
        spec = PathFinder.find_spec(fullname, path)
        spec.loader = _Patched(fullname, spec.loader.path)
        spec.loader.line = self.line
        return spec


@contextmanager
def _without_rtl():
    def loaded():
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "rtl"}

    kept = loaded()
    for name in kept:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(kept)


def fresh(line: Line | None = None) -> SimpleNamespace:
    """The modules of `rtl` by name, imported apart from those in use; with `line`, the patched ones.

    raises: LookupError when the patch does not apply exactly once.
    """
    finders = [_Finder(line)] if line else []
    with _without_rtl():
        sys.meta_path[:0] = finders
        try:
            importlib.import_module("rtl.catalog")  # and with it every unit
            modules = {name.removeprefix("rtl."): module for name, module in sys.modules.items() if name[:4] == "rtl."}
        finally:
            for finder in finders:
                sys.meta_path.remove(finder)
    return SimpleNamespace(**modules)
