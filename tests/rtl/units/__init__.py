"""The units under test, a file per file of `rtl/`; each holds, where it has some:

TOGETHER  units that run side by side in one build with an RTL simulator: a few seconds to write and to build
FULL      published points whose Verilog takes longer: `make green` runs them one by one
SMALL     other points, small enough for Amaranth's simulator
MUTANTS   units with one line changed, each with the test that must see it
PROOFS    properties shown for all inputs, each with a broken copy of the unit for which the proof must fail
"""

import importlib
from pathlib import Path

from rtl.catalog import UNITS

_ORDER = [unit.component.__module__.removeprefix("rtl.") for unit in UNITS]
"""That of the catalogue, which tables keep; parts of units come last."""

NAMES = sorted(
    (path.stem for path in Path(__file__).parent.glob("[a-z]*.py")),
    key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name),
)
MODULES = [importlib.import_module(f"{__name__}.{name}") for name in NAMES]


def _of_all(name: str) -> list:
    return [each for module in MODULES for each in getattr(module, name, ())]


TOGETHER, FULL, SMALL = _of_all("TOGETHER"), _of_all("FULL"), _of_all("SMALL")
MUTANTS, PROOFS = _of_all("MUTANTS"), _of_all("PROOFS")
BY_NAME = {unit.name: unit for unit in TOGETHER + FULL + SMALL}
