"""Energy and area of a run: its bytes and unit operations, times the published figures of a technology.

energy = sum bytes x pJ/B + sum unit operations x NAND2-equivalents x activity x pJ per toggle + static power x seconds;
area = units x NAND2-equivalents x um2 / utilisation + buffer bits x um2, of the whole machine: as many units of each
pair of formats as its rate needs, none shared between pairs, whatever the run uses. NAND2-equivalents are those of
`hwsim/data/gates.json`, which `make gates` counts in the units in `rtl`. A term without a source is None and says what
is missing; then the total is None too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import ceil

from hwsim.arch.machine import TileMachine
from hwsim.arch.technology import DramKind, Sourced, Technology, dram_names, technology_names
from hwsim.result import Cost, Term

PJ = 1e-12
_DECODER = "seed_decoder_"


@dataclass(frozen=True, slots=True)
class Unit:
    """A measured unit: NAND2-equivalents (None: not measured), operations per cycle, hash of its netlist."""

    nand2: int | None
    per_cycle: int
    netlist_sha256: str


@dataclass(frozen=True, slots=True)
class CostTable:
    """Inputs of a cost. technology, dram: None if the machine names none."""

    units: Mapping[str, Unit]
    technology: Technology | None
    dram: DramKind | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of a run. macs: by (weights, activations); regenerated: seed blocks by (seed format, fed format).

    dram_bytes: in whole beats; buffer_bytes: written to and read from on-chip buffers (`mapping.onchip`).
    sorts: a sorter is used.
    """

    seconds: float
    dram_bytes: int
    buffer_bytes: int
    macs: Mapping[tuple[str, str], int]
    regenerated: Mapping[tuple[str, str], int]
    dequantised: int = 0
    vector: int = 0
    sorts: bool = False


def cost_table(arch: TileMachine) -> CostTable:
    """The measured units of this package, with the technology and the kind of DRAM that the machine names."""
    return CostTable(_units(), arch.technology, arch.dram_kind)


@cache
def _units() -> Mapping[str, Unit]:
    data = files("hwsim") / "data"
    rows, counts = (
        json.loads((data / name).read_text(encoding="utf-8"))["units"] for name in ("units.json", "gates.json")
    )
    found = {}
    for name, row in rows.items():
        sha, count = row["netlist_sha256"], counts.get(name)
        gates = count["nand2"] if count and count["netlist_sha256"] == sha else None
        found[name] = Unit(gates, row["per_cycle"], sha)
    return found


def cost(table: CostTable, arch: TileMachine, work: Work) -> Cost:
    """Energy of the run and area of the machine, term by term."""
    tech, kind = table.technology, table.dram
    no_kind = f"{arch.name}: no `kind` under `dram` in the machine file; known: {', '.join(dram_names())}"
    energy = [
        _moved("dram", work.dram_bytes, kind.pj_per_byte) if kind else Term("dram", None, no_kind),
        _moved("buffers", work.buffer_bytes, tech.buffer_pj_per_byte, _counted(arch))
        if tech
        else _unknown("buffers", arch),
    ]
    energy += [_dot(table, arch, pair, macs)[0] for pair, macs in work.macs.items()]
    energy += [_regenerate(table, arch, *pair, blocks)[0] for pair, blocks in work.regenerated.items()]
    if work.vector:
        energy.append(_moved("vector", work.vector, tech.vector_pj) if tech else _unknown("vector", arch))
    energy += [_unmeasured(name) for name, used in (("dequantise", work.dequantised), ("sort", work.sorts)) if used]
    watts = arch.idle_watts
    if watts is None:
        energy.append(Term("static", None, f"{arch.name}: no `idle` in the machine file"))
    else:
        energy.append(Term("static", float(watts) * work.seconds, f"{arch.name}: `idle: {float(watts):g} W`"))
    return Cost(tuple(energy), machine_area(table, arch))


def machine_area(table: CostTable, arch: TileMachine) -> tuple[Term, ...]:
    """Area of the machine, term by term; the same for every run on it.

    Regenerators are those of the measured seed format whose units are the largest: they serve the others too.
    """
    area = [_buffers(arch, table.technology)]
    pairs = dict.fromkeys((rate.weights, rate.activations) for rate in arch.dot.rates)
    area += [_dot(table, arch, pair, 0)[1] for pair in pairs]
    if arch.regenerate:
        formats = [name.removeprefix(_DECODER) for name in table.units if name.startswith(_DECODER)]
        found = [_regenerate(table, arch, seeds, arch.regenerate.feeds, 0)[1] for seeds in formats]
        none = Term(f"regenerate to {arch.regenerate.feeds}", None, "no seed decoder is measured in gates.json")
        area.append(max(found, key=lambda term: term.value or 0, default=none))
    servers = ("vector", arch.vector), ("dequantise", arch.dequantise), ("sort", arch.sort), ("round", arch.round)
    return (*area, *(_unmeasured(name) for name, server in servers if server))


def _unmeasured(server: str) -> Term:
    return Term(server, None, f"no measured unit for the {server} server")


def _unknown(name: str, arch: TileMachine) -> Term:
    return Term(name, None, f"{arch.name}: no `technology` in the machine file; known: {', '.join(technology_names())}")


def _moved(name: str, count: int, each: Sourced, how: str = "") -> Term:
    """So many bytes or passes; without a value, what is missing."""
    if each.value is None:
        return Term(name, None, each.source)
    return Term(name, count * each.value * PJ, each.source + how)


def _counted(arch: TileMachine) -> str:
    """How far the count of on-chip bytes goes."""
    if arch.cores:
        return "; what crosses DRAM in and out once: a lower bound, the reuse inside a kernel is not known"
    return "; operands once per tile, partial sums once per tile of K"


def _buffers(arch: TileMachine, tech: Technology | None) -> Term:
    if tech is None:
        return _unknown("buffers", arch)
    held, bit = arch.buffers, tech.bit_um2
    if bit.value is None:
        return Term("buffers", None, bit.source)
    bits = 8 * (held.weights + held.activations + held.outputs)
    return Term("buffers", bits * bit.value * 1e-6, f"{bit.source}; bit cells only")


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
        missing = f"{lacking} is not measured in gates.json"
        known = tech.mac(pair)
        joules = _moved(name, macs, known, "") if known else Term(name, None, missing)
        return joules, Term(name, None, missing)
    gates, lanes = dot.nand2 + accumulator.nand2, dot.per_cycle
    rate = arch.dot.rate(*pair)
    assert rate is not None, "the dot array has a rate for a pair that it multiplied"
    count = ceil(rate / lanes)
    return _switched(tech, name, [n for n, _ in parts], gates, macs / lanes, count)


def _regenerate(table: CostTable, arch: TileMachine, seeds: str, fed: str, blocks: int) -> tuple[Term, Term]:
    """Seed decoders and the requantizer that converts their weights to the format the dot array takes."""
    tech, name = table.technology, f"regenerate {seeds} to {fed}"
    if tech is None:
        return _unknown(name, arch), _unknown(name, arch)
    decoder, requantizer = f"{_DECODER}{seeds}", f"requantizer_{seeds}_{fed}"
    one, group = table.units.get(decoder), table.units.get(requantizer)
    if one is None or one.nand2 is None or group is None or group.nand2 is None:
        lacking = requantizer if one and one.nand2 is not None else decoder
        missing = Term(name, None, f"{lacking} is not measured in gates.json")
        return missing, missing
    assert arch.regenerate is not None, "weights were made from seeds"
    gathered = group.per_cycle // one.per_cycle
    gates = one.nand2 * gathered + group.nand2
    count = ceil(arch.regenerate.blocks_per_cycle / gathered)
    return _switched(tech, name, [decoder, requantizer], gates, blocks / gathered, count)


def _switched(
    tech: Technology, name: str, units: list[str], gates: int, operations: float, count: int
) -> tuple[Term, Term]:
    what = f"{' + '.join(units)}: {gates:,} NAND2-equivalents (gates.json)"
    toggle, active, cell, used = tech.toggle_pj, tech.activity, tech.nand2_um2, tech.utilisation
    assert active.value is not None and used.value is not None, "a technology file gives every share a value"
    joules, square = Term(name, None, toggle.source), Term(name, None, cell.source)
    if toggle.value is not None:
        value = operations * gates * active.value * toggle.value * PJ
        joules = Term(name, value, f"{what} x {active.value} x {toggle.value:.3g} pJ ({toggle.source})")
    if cell.value is not None:
        value = count * gates * cell.value / used.value * 1e-6
        spread = f"{cell.value:.3g} um2 ({cell.source}) / utilisation {used.value:g} ({used.source})"
        square = Term(name, value, f"{count:,} x {what} x {spread}")
    return joules, square
