"""What the second reference, `tests/rtl/independent`, found at length: independent.json and its section of the page.

`python -m tests.verification.independent` drives every kind of unit with 100,000 inputs, in Verilator, writes a row of
independent.json for each, and the section into reports/verification.md. A row belongs to the Verilog that ran: a unit
whose Verilog is still that of its row is left out, so that a run that was interrupted goes on. `--list` runs nothing
and names the units that have changed since.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from hwsim.files.whole import write_whole
from tests.rtl.independent.bench import check, sha256, written
from tests.rtl.independent.kinds import KINDS
from tests.rtl.independent.unit import Kind

NOTES = Path(__file__).with_name("independent.json")
ABOUT = "written by `python -m tests.verification.independent` alone: a row per unit, of the Verilog with that SHA-256"
PAGE = Path(__file__).parents[2] / "reports" / "verification.md"
TITLE = "## A second reference"
INPUTS = 100_000


def read(notes: Path = NOTES) -> dict[str, dict]:
    """The rows by the command of the unit."""
    return json.loads(notes.read_text())["units"] if notes.exists() else {}


def differs(kind: Kind, rows: dict[str, dict], inputs: int = INPUTS) -> bool:
    """Whether a unit has no row of so many inputs, or its Verilog is no longer that which ran."""
    row = rows.get(kind.command)
    if row is None or row["inputs"] < inputs:
        return True
    with tempfile.TemporaryDirectory() as folder:
        _, source = written(kind, Path(folder))
        return row["verilog"] != sha256(source)


def record(kind: Kind, inputs: int, runtime: Path, notes: Path = NOTES) -> dict:
    """Run a unit and note what was found, right or not; the row."""
    with tempfile.TemporaryDirectory() as folder:
        found = check(kind, inputs, Path(folder), simulator="verilator", runtime=runtime)
    row = {
        "inputs": found.inputs,
        "outputs": found.outputs,
        "mismatches": found.mismatches,
        "verilog": found.verilog,
        "with": f"Verilator {version('verilator')}",
    }
    if found.mismatches:
        print(found, file=sys.stderr)
    rows = read(notes) | {kind.command: row}
    ordered = {each.command: rows[each.command] for each in KINDS if each.command in rows}
    write_whole(notes, json.dumps({"about": ABOUT, "units": ordered}, indent=1) + "\n")
    return row


def section(rows: dict[str, dict], changed: list[str]) -> str:
    """The section of the page. changed: commands of units whose Verilog is not that of their row."""
    lines = [
        f"| `python -m rtl {command}` | {row['inputs']:,} | {row['outputs']:,} | {row['mismatches']} |"
        for command, row in rows.items()
    ]
    wrong, inputs = sum(row["mismatches"] for row in rows.values()), sum(row["inputs"] for row in rows.values())
    versions = ", ".join(sorted({row["with"] for row in rows.values()}))
    newer = ", ".join(f"`{each}`" for each in changed)
    said = (
        f"**Newer than these rows** is the Verilog of {newer}."
        if newer
        else "The Verilog of every unit was that of its row when this section was written."
    )
    return f"""{TITLE}

    python -m tests.verification.independent  # {versions}

`tests/rtl/independent` answers for every unit that turns one stream into another, in plain integers, and imports
nothing of hwsim and rtl; its bench is Verilog with random gaps at both ends. In {inputs:,} inputs to {len(rows)} units,
seed 0 among the seeds, {wrong} outputs differ, are lost, or change while they wait.
{said}

| unit | inputs | outputs | mismatches |
| --- | ---: | ---: | ---: |
""" + "\n".join(lines)


def renew(text: str, part: str) -> str:
    """The page with its last section, this one, replaced."""
    before = text.split(TITLE)[0].rstrip()
    return f"{before}\n\n{part}\n"


def main() -> int:
    """Run what has changed; the status is 1 where a unit answered otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.verification.independent", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--inputs", type=int, default=INPUTS, help="of each unit; default 100,000")
    parser.add_argument("--only", default="", help="a word in the command of a unit")
    parser.add_argument("--list", action="store_true", help="run nothing, name the units that have changed")
    asked = parser.parse_args()
    chosen = [kind for kind in KINDS if asked.only in kind.command]
    if asked.list:
        print(*(kind.command for kind in chosen if differs(kind, read())), sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as runtime:
        for kind in chosen:
            if differs(kind, read(), asked.inputs):
                row = record(kind, asked.inputs, Path(runtime))
                print(f"{kind.command}: {row['inputs']:,} inputs, {row['mismatches']} mismatches", flush=True)
    rows = read()
    changed = [kind.command for kind in KINDS if kind not in chosen and differs(kind, rows, 0)]
    write_whole(PAGE, renew(PAGE.read_text(), section(rows, changed)))
    return 1 if any(row["mismatches"] for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
