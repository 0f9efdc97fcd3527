"""Machine files to `Arch`: rates and times become exact numbers of one clock, impossible machines errors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.arch.builtin import arch_folder, arch_names
from hwsim.arch.compute import DotArray, DotRate, SystolicArray, TensorCores
from hwsim.arch.kernel_library import load_cores
from hwsim.arch.link import Link
from hwsim.arch.machine import (
    Arch,
    Buffers,
    Dequantise,
    Dram,
    Launch,
    Refresh,
    Regenerate,
    Round,
    Stack,
    Vector,
)
from hwsim.arch.schema import DotFile, DramFile, MachineFile, SystolicFile, TensorCoresFile
from hwsim.errors import InputError, nearest
from hwsim.files import fields
from hwsim.files.yaml import Document, Placed, parse, raise_problems, read, short
from hwsim.formats.names import layout
from hwsim.quantities import Quantity, write

if TYPE_CHECKING:
    from hwsim.arch.gemv import EngineArch

Overrides = Iterable[tuple[str, str | Placed]]

MIN_SLOTS = 4


def load_arch(name_or_path: str | Path, overrides: Overrides = ()) -> Arch | EngineArch:
    """The machine of a shipped name, or of the YAML file at a path.

    overrides: (dotted path, YAML text) pairs put into the file's tree first, e.g. `("dram.bandwidth", "9.6 TB/s")`;
               a text may instead be a value of another file.
    raises:    InputError with every problem found.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and text in arch_names():
        path = arch_folder() / f"{text}.yaml"
        return _load(read(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path), overrides)
    if isinstance(name_or_path, str) and not text.endswith((".yaml", ".yml")) and os.sep not in text:
        raise InputError(
            f"unknown machine {short(text)}{nearest(text[:60], arch_names())}; or write a YAML file's path"
        )
    return _load(read(name_or_path), overrides)


def load_arch_text(text: str, source: str = "<text>", overrides: Overrides = ()) -> Arch | EngineArch:
    """The machine that a YAML text describes; `source` names it in messages. Raises InputError."""
    return _load(parse(text, source), overrides)


def json_schema(engine: bool = False) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a machine's file, or an engine's: what `hwsim schema` prints and editors read."""
    from hwsim.arch.gemv import EngineFile

    if engine:
        return fields.json_schema(EngineFile, "hwsim engine")
    return fields.json_schema(MachineFile, "hwsim machine")


def _load(document: Document, overrides: Overrides) -> Arch | EngineArch:
    problems: list[str] = []
    for path, text in overrides:
        try:
            document = document.override(path, text)
        except InputError as error:
            problems += error.problems
    if problems:
        raise_problems(problems)
    if "engine" in document.data:
        from hwsim.arch.gemv import engine_machine

        return engine_machine(document)
    file = fields.validate(document, MachineFile)
    arch = _machine(file, document.source)
    problems = [*_refused(arch, file, document)]
    if problems:
        raise_problems(problems)
    return arch


def _machine(file: MachineFile, source: str) -> Arch:
    """The file in cycles of its clock. Latencies are rounded up to whole cycles, rates are exact."""
    clock = file.clock.value

    def whole(duration: Quantity | None) -> int:
        return ceil(duration.cycles(clock)) if duration else 0

    dot = _dot(file.dot, clock)
    integer = all(name.startswith("int") for r in dot.rates for name in (r.weights, r.activations))
    dram, buffers = _dram(file.dram, clock), Buffers(**file.buffers.model_dump())
    vector, dequantise, regenerate, launch = file.vector, file.dequantise, file.regenerate, file.launch
    rounding, link = file.round, file.link
    return Arch(
        name=file.name,
        description=file.description,
        clock_hz=clock,
        dram=dram,
        buffers=buffers,
        dot=dot,
        activations=file.activations,
        tiles=tuple(file.tiles),
        kv=file.kv or ("int8" if integer else "bf16"),
        state=file.state or ("int8" if integer else "fp32"),
        hypothetical=file.hypothetical,
        vector=vector and Vector(vector.rate.per_cycle(clock), whole(vector.latency)),
        dequantise=dequantise and Dequantise(dequantise.rate.per_cycle(clock), whole(dequantise.latency)),
        regenerate=regenerate
        and Regenerate(regenerate.rate.per_cycle(clock), whole(regenerate.latency), regenerate.feeds),
        round=rounding and Round(rounding.rate.per_cycle(clock), whole(rounding.latency)),
        link=link and Link(link.bandwidth.per_cycle(clock), link.latency.cycles(clock), link.topology),
        launch=launch and Launch(launch.interval.cycles(clock)),
        cores=file.cores and load_cores(file.cores, source, float(dram.stream * clock), buffers.activations),
        stack=file.stack and Stack(**{f"{part}_seconds": float(q.value) for part, q in file.stack}),
        technology=file.technology,
        idle_watts=file.idle and file.idle.value,
        warnings=tuple(_warnings(dram, buffers, tuple(file.tiles), file.dot.accumulator)),
    )


def _dram(file: DramFile, clock: Fraction) -> Dram:
    period, stall = (q.cycles(clock) if q else Fraction(0) for q in (file.refresh.period, file.refresh.stall))
    return Dram(
        bytes_per_cycle=file.bandwidth.per_cycle(clock),
        latency_cycles=ceil(file.latency.cycles(clock)),
        beat_bytes=file.beat,
        capacity_bytes=file.capacity,
        refresh=Refresh() if file.refresh.kind == "none" else Refresh(file.refresh.kind, period, stall),
        row_bytes=file.row or 0,
        row_miss_cycles=ceil(file.row_miss.cycles(clock)) if file.row_miss else 0,
        turnaround_cycles=ceil(file.turnaround.cycles(clock)) if file.turnaround else 0,
    )


def _dot(file: DotFile, clock: Fraction) -> DotArray:
    """The compute unit of the file's kind."""
    latency = ceil(file.latency.cycles(clock))
    rates = tuple(DotRate(r.weights, r.activations, r.rate.per_cycle(clock)) for r in file.rates)
    if isinstance(file, TensorCoresFile):
        return TensorCores(latency, rates, file.accumulator, shape=file.shape)
    if isinstance(file, SystolicFile):
        return SystolicArray(
            latency,
            rates,
            file.accumulator,
            rows=file.rows,
            columns=file.columns,
            dataflow=file.dataflow,
            double_buffered=file.double_buffered,
            arrays=file.arrays,
            shift_exposed=file.shift_exposed,
        )
    return DotArray(latency, rates, file.accumulator)


def dram_of(file: DramFile, clock: Fraction, document: Document) -> tuple[Dram, list[str]]:
    """A file's memory in cycles of `clock`, and what is wrong with it."""
    dram = _dram(file, clock)
    return dram, [*_refused_dram(dram, file, document)]


def _refused_dram(dram: Dram, file: DramFile, document: Document) -> Iterable[str]:
    say, refresh = document.problem, file.refresh
    given = [key for key in ("period", "stall") if getattr(refresh, key) is not None]
    if refresh.kind == "none" and given:
        yield say(
            ("dram", "refresh", given[0]), "has no use under `kind: none`; remove it or write `kind: spread`"
        )
    if refresh.kind != "none" and len(given) < 2:
        missing = "stall" if given == ["period"] else "period"
        example = "period: 3.9 us" if missing == "period" else "stall: 350 ns"
        yield say(("dram", "refresh", missing), f"missing for `kind: {refresh.kind}`; write `{example}`")
    if (
        len(given) == 2
        and refresh.kind != "none"
        and dram.refresh.stall_cycles >= dram.refresh.period_cycles
    ):
        yield say(
            ("dram", "refresh", "stall"),
            "is not shorter than the period; write a shorter time, e.g. `350 ns`",
        )
    if (file.row is None) != (file.row_miss is None):
        here = "row" if file.row is not None else "row_miss"
        yield say(("dram", here), "needs its partner; write both `row` and `row_miss`, or neither")


def _refused(arch: Arch, file: MachineFile, document: Document) -> Iterable[str]:
    """What no single field can see: parts that contradict one another."""
    yield from _refused_dram(arch.dram, file.dram, document)
    if arch.cores and not (arch.vector and arch.stack):
        missing = "stack" if arch.vector else "vector"
        yield document.problem(("cores",), f"needs a `{missing}`, whose kernels are dealt out too; add `{missing}:`")
    yield from _refused_formats(arch, document)
    if not any(_fits(tile, arch) for tile in arch.tiles):
        yield from _too_small(arch, document)


def _refused_formats(arch: Arch, document: Document) -> Iterable[str]:
    say, seen = document.problem, set()
    for i, r in enumerate(arch.dot.rates):
        here = ("dot", "rates", i)
        if (r.weights, r.activations) in seen:
            yield say(here, f"{r.weights} x {r.activations} is listed twice; remove one")
        seen.add((r.weights, r.activations))
        if isinstance(arch.dot, SystolicArray) and r.macs_per_cycle % arch.dot.macs_per_cycle:
            one = arch.dot.macs_per_cycle
            yield say((*here, "rate"), f"is no whole number of products a cell; write {one} MAC/cycle")
        if layout(r.activations).kind == "seed":
            yield say(
                (*here, "activations"), f"{r.activations} holds weights only; write a dense format, e.g. fp16"
            )
        if layout(r.weights).kind == "seed" and arch.regenerate is None:
            yield say((*here, "weights"), f"{r.weights} needs the units that decode it; add `regenerate:`")
    dense = sorted({r.weights for r in arch.dot.rates if layout(r.weights).kind != "seed"})
    if arch.regenerate and arch.regenerate.feeds not in dense:
        listed = ", ".join(dense) or "add one"
        yield say(
            ("regenerate", "feeds"),
            f"the dot array lists no rate for {arch.regenerate.feeds} weights; write one of: {listed}",
        )
    for field in ("kv", "state"):
        if layout(getattr(arch, field).removesuffix("_sr")).kind == "seed":
            yield say((field,), f"{getattr(arch, field)} holds weights only; write another format, e.g. bf16")
    if arch.state.endswith("_sr") and arch.round is None:
        yield say(("state",), f"{arch.state} needs the units that round so; add `round:` or write another format")


def tile_bytes(tile: tuple[int, int, int], accumulator_bytes: int) -> dict[str, int]:
    """Bytes of one slot in each buffer for a tile, at 1 byte an element and full-width partial sums."""
    m, n, k = tile
    return {"weights": n * k, "activations": m * k, "outputs": m * n * accumulator_bytes}


def _fits(tile: tuple[int, int, int], arch: Arch) -> bool:
    slot = tile_bytes(tile, arch.dot.accumulator_bytes)
    return all(2 * need <= getattr(arch.buffers, name) for name, need in slot.items())


def _too_small(arch: Arch, document: Document) -> Iterable[str]:
    """The buffers that refuse the tile which comes nearest to fitting."""

    def excess(tile: tuple[int, int, int]) -> Fraction:
        slot = tile_bytes(tile, arch.dot.accumulator_bytes)
        return max(Fraction(2 * need, getattr(arch.buffers, name)) for name, need in slot.items())

    tile = min(arch.tiles, key=excess)
    for name, need in tile_bytes(tile, arch.dot.accumulator_bytes).items():
        have = getattr(arch.buffers, name)
        if 2 * need > have:
            text = "x".join(map(str, tile))
            yield document.problem(
                ("buffers", name),
                f"{write(have, 'B')} is too small for every tile listed: {text} needs two slots of "
                f"{write(need, 'B')}; write `{name}: {write(2 * need, 'B')}` or list a smaller tile",
            )


def _warnings(
    dram: Dram, buffers: Buffers, tiles: tuple[tuple[int, int, int], ...], accumulator: int
) -> Iterable[str]:
    """What the sizes cost: too few slots, or too few bytes in flight to cover the memory's latency."""
    fitting = [
        t
        for t in tiles
        if all(2 * need <= getattr(buffers, name) for name, need in tile_bytes(t, accumulator).items())
    ]
    if not fitting:
        return
    tile = min(fitting, key=lambda t: t[1] * t[2])
    slot = tile[1] * tile[2]
    slots = buffers.weights // slot
    if slots < MIN_SLOTS:
        yield (
            f"buffers.weights holds {slots} slots of the smallest tile {'x'.join(map(str, tile))}: with "
            f"fewer than {MIN_SLOTS}, one late tile stops the memory; {write(MIN_SLOTS * slot, 'B')} would do"
        )
    in_flight = dram.bytes_per_cycle * dram.latency_cycles
    if buffers.weights < in_flight:
        share = 100 * buffers.weights / in_flight
        yield (
            f"buffers.weights is smaller than bandwidth x latency ({float(in_flight / 10**6):.3g} MB): "
            f"latency, not bandwidth, will set the speed: at most {float(share):.1f} % of the bandwidth"
        )
