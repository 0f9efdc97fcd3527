"""Energy and area of a run: its bytes and unit operations, times the published figures of a technology.

energy = sum bytes x pJ/B + sum unit operations x NAND2-equivalents x activity x pJ per toggle + static power x seconds;
area = units x NAND2-equivalents x um2 + buffer bits x um2. Gate counts are those in `hwsim/data/units.json`, which
`make fpga` measures on the units in `rtl`. A term without a source is None and says what is missing; then the total
is None too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import ceil

from hwsim.arch.machine import TileMachine
from hwsim.arch.technology import TECHNOLOGIES, Sourced, Technology
from hwsim.result import Cost, Term

PJ = 1e-12


@dataclass(frozen=True, slots=True)
class Unit:
    """A measured unit: NAND2-equivalents (None: not measured), operations per cycle, hash of its Verilog."""

    nand2: int | None
    per_cycle: int
    verilog_sha256: str


@dataclass(frozen=True, slots=True)
class CostTable:
    """Inputs of a cost. technology: None if the machine names none."""

    units: Mapping[str, Unit]
    technology: Technology | None


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of a run. macs: by (weights, activations); regenerated: seed blocks by (seed format, fed format)."""

    seconds: float
    dram_bytes: int
    macs: Mapping[tuple[str, str], int]
    regenerated: Mapping[tuple[str, str], int]
    dequantised: int = 0
    vector: int = 0


def cost_table(arch: TileMachine) -> CostTable:
    """The measured units of this package, and the technology that the machine names."""
    return CostTable(_units(), TECHNOLOGIES[arch.technology] if arch.technology else None)


@cache
def _units() -> Mapping[str, Unit]:
    rows = json.loads((files("hwsim") / "data" / "units.json").read_text(encoding="utf-8"))["units"]
    return {
        name: Unit(row["gates"] and row["gates"]["nand2"], row["per_cycle"], row["verilog_sha256"])
        for name, row in rows.items()
    }


def cost(table: CostTable, arch: TileMachine, work: Work) -> Cost:
    """Energy of the run, and area of as many units as reach the machine's rates, term by term."""
    tech = table.technology
    energy = [
        _moved("dram", work.dram_bytes, tech and tech.dram_pj_per_byte, arch),
        # Every byte to or from DRAM is written to a buffer at least once and read from it at least once.
        _moved("buffers", 2 * work.dram_bytes, tech and tech.buffer_pj_per_byte, arch),
    ]
    area = [_buffers(arch, tech)]
    for pair, macs in work.macs.items():
        joules, square = _dot(table, arch, pair, macs)
        energy.append(joules)
        area.append(square)
    for (seeds, fed), blocks in work.regenerated.items():
        joules, square = _regenerate(table, arch, seeds, fed, blocks)
        energy.append(joules)
        area.append(square)
    if work.vector:
        each = tech and tech.vector_pj
        energy.append(Term("vector", work.vector * each.value * PJ, each.source) if each else _unknown("vector", arch))
        area.append(Term("vector", None, "no measured unit for the vector server"))
    if work.dequantised:
        energy.append(Term("dequantise", None, "no measured unit for the dequantise server"))
        area.append(Term("dequantise", None, "no measured unit for the dequantise server"))
    watts = arch.idle_watts
    if watts is None:
        energy.append(Term("static", None, f"{arch.name}: no `idle` in the machine file"))
    else:
        energy.append(Term("static", float(watts) * work.seconds, f"{arch.name}: `idle: {float(watts):g} W`"))
    return Cost(tuple(energy), tuple(area))


def _unknown(name: str, arch: TileMachine) -> Term:
    return Term(name, None, f"{arch.name}: no `technology` in the machine file; known: {', '.join(TECHNOLOGIES)}")


def _moved(name: str, nbytes: int, each: Sourced | None, arch: TileMachine) -> Term:
    if each is None:
        return _unknown(name, arch)
    return Term(name, each.value and nbytes * each.value * PJ, each.source)


def _buffers(arch: TileMachine, tech: Technology | None) -> Term:
    if tech is None:
        return _unknown("buffers", arch)
    held = arch.buffers
    bits = 8 * (held.weights + held.activations + held.outputs)
    return Term("buffers", bits * tech.bit_um2.value * 1e-6, f"{tech.bit_um2.source}; bit cells only")


def _find(table: CostTable, kind: str, pair: tuple[str, str]) -> tuple[str, Unit | None]:
    """The measured unit for a pair of formats, in either order."""
    names = [f"{kind}_" + "_".join(dict.fromkeys(p)) for p in (pair, pair[::-1])]
    name = next((n for n in names if n in table.units), names[0])
    return name, table.units.get(name)


def _dot(table: CostTable, arch: TileMachine, pair: tuple[str, str], macs: int) -> tuple[Term, Term]:
    """Dot units with their accumulators; if no unit is measured, the published energy of a multiply-add."""
    tech, name = table.technology, f"dot {pair[0]} x {pair[1]}"
    if tech is None:
        return _unknown(name, arch), _unknown(name, arch)
    parts = [_find(table, kind, pair) for kind in ("block_dot", "accumulator")]
    dot, accumulator = (unit for _, unit in parts)
    if dot is None or dot.nand2 is None or accumulator is None or accumulator.nand2 is None:
        lacking = next(n for n, unit in parts if unit is None or unit.nand2 is None)
        missing = f"{lacking} is not measured in units.json"
        known = tech.mac_pj.get(pair)
        joules = Term(name, macs * known.value * PJ, known.source) if known else Term(name, None, missing)
        return joules, Term(name, None, missing)
    gates, lanes = dot.nand2 + accumulator.nand2, dot.per_cycle
    count = ceil(arch.dot.rate(*pair) / lanes)
    return _switched(tech, name, [n for n, _ in parts], gates, macs / lanes, count)


def _regenerate(table: CostTable, arch: TileMachine, seeds: str, fed: str, blocks: int) -> tuple[Term, Term]:
    """Seed decoders and the requantizer that converts their weights to the format the dot array takes."""
    tech, name = table.technology, f"regenerate {seeds} to {fed}"
    if tech is None:
        return _unknown(name, arch), _unknown(name, arch)
    decoder, requantizer = f"seed_decoder_{seeds}", f"requantizer_{seeds}_{fed}"
    one, group = table.units.get(decoder), table.units.get(requantizer)
    if one is None or one.nand2 is None or group is None or group.nand2 is None:
        lacking = requantizer if one and one.nand2 is not None else decoder
        missing = Term(name, None, f"{lacking} is not measured in units.json")
        return missing, missing
    assert arch.regenerate is not None, "weights were made from seeds"
    gathered = group.per_cycle // one.per_cycle
    gates = one.nand2 * gathered + group.nand2
    count = ceil(arch.regenerate.blocks_per_cycle / gathered)
    return _switched(tech, name, [decoder, requantizer], gates, blocks / gathered, count)


def _switched(
    tech: Technology, name: str, units: list[str], gates: int, operations: float, count: int
) -> tuple[Term, Term]:
    what = f"{' + '.join(units)}: {gates:,} NAND2-equivalents (units.json)"
    joules = operations * gates * tech.activity.value * tech.toggle_pj.value * PJ
    square = count * gates * tech.nand2_um2.value * 1e-6
    return (
        Term(name, joules, f"{what} x {tech.activity.value} x {tech.toggle_pj.value:.3g} pJ ({tech.toggle_pj.source})"),
        Term(name, square, f"{count:,} x {what} x {tech.nand2_um2.value:.3g} um2 ({tech.nand2_um2.source})"),
    )
