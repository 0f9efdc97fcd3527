"""What a standard-cell library says of itself in its Liberty file: its names, its NAND2, its buffer.

No parser of the format: the tools read the file. This finds four facts in its text, line by line.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from hwsim.errors import InputError

__all__ = ["Cell", "Library", "load"]

_CELL = re.compile(r"^[ \t]*cell\s*\(\s*\"?(\w+)\"?\s*\)\s*\{", re.M)
_LIBRARY = re.compile(r"^[ \t]*library\s*\(\s*\"?([\w.]+)\"?\s*\)", re.M)
_PIN = re.compile(r"\bpin\s*\(\s*\"?(\w+)\"?\s*\)")
_SPECIAL = re.compile(r"lpflow|clkdly|dly[mg]|probe|^HB|tie|ant", re.I)
"""Of names of cells for power domains, delay, hold and test, which logic is not made of."""


@dataclass(frozen=True)
class Cell:
    """A combinational cell with one output. area: um2; function: of the inputs, as the file writes it."""

    name: str
    area: float
    inputs: tuple[str, ...]
    function: str

    def table(self) -> tuple[int, ...] | None:
        """The output for all values of the inputs, the last input fastest; None where the function is not plain."""
        text = re.sub(r"(\w+|\([^()]*\))\s*'", r"(!\1)", self.function)
        text = text.replace("!", "~").replace("*", "&").replace("+", "|")
        text = re.sub(r"(?<=[\w)])\s+(?=[\w(~])", " & ", text.strip())
        if not re.fullmatch(r"[\w\s()~&|^]+", text) or set(re.findall(r"[A-Za-z_]\w*", text)) - set(self.inputs):
            return None
        rows = product((0, 1), repeat=len(self.inputs))
        return tuple(eval(text, {"__builtins__": {}}, dict(zip(self.inputs, row, strict=True))) & 1 for row in rows)  # noqa: S307


@dataclass(frozen=True)
class Library:
    """A library, in one file or in several.

    names: as the files call themselves. files: where they lie. nand2: the smallest cell that is a NAND of two inputs.
    buffer: what drives an input: of the buffers by area the third, or the last. special: cells that logic is not made
    of. volts: nominal; ns: of a unit of time.
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    nand2: Cell
    buffer: Cell
    special: tuple[str, ...]
    volts: float
    ns: float


def load(paths: Sequence[Path], folder: Path) -> Library:
    """Read a library; its files, unpacked where they end in .gz, are copied into `folder`, where tools find them.

    raises: InputError for a file that cannot be read, is no Liberty, or lacks a NAND2 or a buffer.
    """
    names, files, cells, heads, special = [], [], [], [], []
    for number, path in enumerate(paths):
        try:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "replace")
        except OSError as error:
            raise InputError(f"--liberty {path}: cannot be read ({error.strerror or error})") from None
        if not (name := _LIBRARY.search(text)):
            raise InputError(f"--liberty {path}: no `library (name) {{`; write the path of a Liberty file")
        names.append(name[1])
        files.append(folder / f"library{number}.lib")
        files[-1].write_text(text)
        heads.append(text[: 1 << 16])
        cells += [cell for cell in _cells(text) if not _SPECIAL.search(cell.name)]
        special += [name for name in _CELL.findall(text) if _SPECIAL.search(name)]
    nands = [cell for cell in cells if len(cell.inputs) == 2 and cell.table() == (1, 1, 1, 0)]
    buffers = sorted((c for c in cells if len(c.inputs) == 1 and c.table() == (0, 1)), key=lambda c: (c.area, c.name))
    for found, what in ((nands, "NAND of two inputs"), (buffers, "buffer")):
        if not found:
            raise InputError(
                f"--liberty {', '.join(map(str, paths))}: no cell is a {what}; write all files of a library"
            )
    nand2 = min(nands, key=lambda cell: (cell.area, cell.name))
    buffer = buffers[min(2, len(buffers) - 1)]
    volts = _number(heads[0], r"nom_voltage\s*:\s*([\d.]+)")
    return Library(tuple(names), tuple(files), nand2, buffer, tuple(special), volts, _ns(heads[0]))


def _number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0


def _ns(text: str) -> float:
    """Nanoseconds of a unit of time; a file that names none counts in ns."""
    found = re.search(r'time_unit\s*:\s*"?(\d+)\s*(ns|ps)', text)
    return int(found[1]) * {"ns": 1.0, "ps": 0.001}[found[2]] if found else 1.0


def _cells(text: str) -> Iterator[Cell]:
    """Cells without state that have one output."""
    starts = [*_CELL.finditer(text)]
    for found, after in zip(starts, [*starts[1:], None], strict=True):
        body = text[found.end() : after.start() if after else len(text)]
        area = re.search(r"^[ \t]*area\s*:\s*\"?([\d.eE+-]+)", body, re.M)
        if area is None or re.search(r"\b(?:ff|latch|statetable|clock_gating_integrated_cell|dont_use)\b\s*[(:]", body):
            continue
        pins = _PIN.split(body)[1:]
        inputs, functions = [], []
        for pin, inside in zip(pins[::2], pins[1::2], strict=True):
            if re.search(r"direction\s*:\s*\"?input", inside):
                inputs.append(pin)
            elif function := re.search(r'^[ \t]*function\s*:\s*"([^"]*)"', inside, re.M):
                functions.append(function[1])
        if len(functions) == 1:
            yield Cell(found[1], float(area[1]), tuple(inputs), functions[0])
