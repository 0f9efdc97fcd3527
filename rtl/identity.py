"""What a measured row belongs to: the hash of a unit's netlist, whatever its names are.

The names of modules and wires, the order of ports and what is only said about a design change no gate, so a row of
`hwsim/data/units.json` stays valid when they change. Cells, widths, connections and initial values all count.
"""

import hashlib
import re
from collections.abc import Hashable

__all__ = ["netlist_sha256", "normal_form"]

_NAME = re.compile(r"[\\$]\S+")
_MEANS_NOTHING = re.compile(r" *(?:attribute \\(?!init\b)|autoidx |#|$)")


class _Numbers:
    """A number for each name, in the order in which they are seen first."""

    def __init__(self, letter: str):
        self._letter = letter
        self._seen: dict[Hashable, str] = {}

    def __call__(self, name: Hashable) -> str:
        return self._seen.setdefault(name, f"{self._letter}{len(self._seen)}")


def normal_form(text: str) -> str:
    """RTLIL as Amaranth writes it, with numbers in place of names and without what is only said about the design.

    A wire belongs to its module; the port of a placed module is that module's wire. The types, ports and parameters
    of Yosys's own cells keep their names.
    """
    own = set(re.findall(r"^module (\S+)", text, re.M))
    modules, wires = _Numbers("m"), _Numbers("w")
    module, kind, lines = "", "", []

    def local(words: list[str]) -> str:
        return _NAME.sub(lambda found: wires((module, found[0])), " ".join(words))

    for line in text.splitlines():
        if _MEANS_NOTHING.match(line):
            continue
        first, *rest = line.split()
        if first == "module":
            module = rest[0]
            line = f"module {modules(module)}"
        elif first == "cell":
            kind = rest[0]
            line = f"cell {modules(kind) if kind in own else kind}"
        elif first == "parameter":
            # The one name among the values is that of a memory.
            values = [wires((module, each.strip('"').replace("\\\\", "\\"))) if '"' in each else each for each in rest]
            line = f"parameter {' '.join(values)}"
        elif first == "connect" and kind:
            port, *signal = rest
            line = f"connect {wires((kind, port)) if kind in own else port} {local(signal)}"
        elif first == "attribute":
            line = " ".join([first, *rest])
        elif first == "process":
            line = first
        elif first == "wire":
            line = local([first, *rest])
            line = re.sub(r"\b(input|output|inout) \d+", r"\1", line)
        else:
            line = local([first, *rest])
        if first == "end":
            kind = ""
        lines.append(line)
    return "\n".join(lines)


def netlist_sha256(text: str) -> str:
    """SHA-256 of the normal form of RTLIL."""
    return hashlib.sha256(normal_form(text).encode()).hexdigest()
