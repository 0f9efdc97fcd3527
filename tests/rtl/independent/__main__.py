"""Check every kind of unit with the second reference and print a table in Markdown."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.rtl.independent.bench import check
from tests.rtl.independent.kinds import KINDS

HEAD = "| unit | inputs | outputs | mismatches |\n| --- | ---: | ---: | ---: |"


def main() -> int:
    """The status is 1 where a unit answered otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.rtl.independent", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each unit; default 100,000")
    parser.add_argument("--only", default="", help="a word in the command of a unit")
    parser.add_argument("--simulator", choices=("icarus", "verilator"), default="verilator", help="default: verilator")
    asked = parser.parse_args()
    print(HEAD, flush=True)
    bad = 0
    for kind in KINDS:
        if asked.only in kind.command:
            with tempfile.TemporaryDirectory() as folder:
                found = check(kind, asked.inputs, Path(folder), simulator=asked.simulator)
            bad += found.mismatches
            print(f"| `{kind.command}` | {found.inputs:,} | {found.outputs:,} | {found.mismatches} |", flush=True)
            if found.mismatches:
                print(found, file=sys.stderr)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
