"""Whether a row depended on more than its suite's hash covers: what Python loads and opens while the row runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.verification.sources import ROOT

ASIDE = (".venv", "build", ".git", ".hypothesis")
_opened: set[str] = set()


def begin() -> None:
    """Note, from now on and as long as this process lives, every file that it opens for reading."""

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[1] in ("r", "rb", None):
            _opened.add(arguments[0])

    sys.addaudithook(hook)


class Watch:
    """From here to `beyond`: what was loaded or opened."""

    def __init__(self):
        _opened.clear()
        self._loaded = set(sys.modules)

    def beyond(self, covered: set[Path]) -> list[str]:
        """Files of this repository that are not in `covered`."""
        modules = [getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - self._loaded]
        found = set()
        for name in {*filter(None, modules), *_opened}:
            path = Path(os.path.abspath(name))
            if path.is_relative_to(ROOT) and "__pycache__" not in path.parts and path.is_file():
                found.add(path)
        found = {path for path in found if path.relative_to(ROOT).parts[0] not in ASIDE}
        return sorted(str(path.relative_to(ROOT)) for path in found - covered)
