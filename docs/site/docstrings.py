"""Docstrings of this project as Markdown, for mkdocstrings: `name: what it is` becomes an item of a list."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

#: Begins the explanation of an argument, a field or an error: `batch: ...`, `chips, parallel: ...`.
ITEM = re.compile(r"^([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*): +(\S.*)$")


def as_markdown(text: str) -> str:
    """The docstring with a list item for each line `name: ...`, which holds the indented lines below it."""
    lines: list[str] = []
    for line in text.splitlines():
        if found := ITEM.match(line):
            if lines and lines[-1] and not lines[-1].startswith(("- ", "  ")):
                lines.append("")
            names = ", ".join(f"`{name}`" for name in found[1].split(", "))
            lines.append(f"- {names}: {found[2]}")
        elif line.startswith(" ") and lines and lines[-1].startswith(("- ", "  ")):
            lines.append(f"  {line.strip()}")
        else:
            lines.append(line)
    return "\n".join(lines)


class HouseDocstrings(Extension):
    """Rewrites each docstring before it is drawn."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called for every object that was read from the sources."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
