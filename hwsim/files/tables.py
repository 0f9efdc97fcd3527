"""Tables and quantities as text: aligned columns for a terminal, Markdown for a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns, two spaces apart: the first `left` flush left, the others flush right."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, rows)])


def seconds_text(seconds: float) -> str:
    """`5.31 ms`: up to four digits, in the largest unit of which there is at least one."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns"


def bytes_text(nbytes: int) -> str:
    """`6.58 GB`: decimal units."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if nbytes >= size:
            return f"{nbytes / size:.4g} {unit}"
    return f"{nbytes} B"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def markdown_text(text: str) -> str:
    """Text from a file as text of a Markdown page: no HTML, no new column of a table, no new line."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").splitlines())


def percent(share: float | None) -> str:
    """`12.3` for 0.123, or a dash where there is no number."""
    return "-" if share is None or not isfinite(share) else f"{100 * share:.1f}"
