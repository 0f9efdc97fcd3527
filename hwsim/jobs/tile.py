"""A run on a tile machine: choose a tiling, simulate it, make the Result. This path imports no numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import Any

from hwsim import __version__
from hwsim.arch import TileMachine, arch_config
from hwsim.cost import Work, cost, cost_table
from hwsim.errors import InputError, ModelError
from hwsim.formats.layout import Layout
from hwsim.jobs.options import DRIVER, RunOptions
from hwsim.mapping.bound import bound
from hwsim.mapping.gpu.kernels import CAUSES as KERNEL_CAUSES
from hwsim.mapping.gpu.kernels import MARKS
from hwsim.mapping.onchip import buffer_bytes, ends_bytes
from hwsim.mapping.operands import STOCHASTIC, Formats, operands, weights_config
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.plan import Policy, Tiled
from hwsim.mapping.program import DEQUANTISE, REGENERATE, SERVERS
from hwsim.mapping.tiling import policies, tile
from hwsim.mapping.traffic import activation_bytes, seed_blocks, vector_passes, work_cycles
from hwsim.result import Cost, Memory, Result, Row, apportion
from hwsim.sim.engine import Outcome, simulate
from hwsim.workload.op import CACHES, KINDS, Gemm, Op, StepOptions, Workload


class TileJob:
    """Ops on one machine with formats resolved: choose a tiling, simulate it, make the Result.

    tokens:   tokens that the step computes (None: it computes no tokens).
    resident: bytes of weights, KV cache and state that must stay in the DRAM of one chip (None: not counted).
    chips:    chips that share the step; the ops are those of one of them.
    notes:    the first notes of the Result.
    warm:     weights and state stay in L2 between repeats, as in a benchmark.
    """

    def __init__(
        self,
        arch: TileMachine,
        ops: Sequence[Op],
        formats: Formats,
        engine: str = DRIVER,
        *,
        name: str,
        phase: str,
        config: dict[str, Any],
        tokens: int | None = None,
        resident: tuple[int, int, int] | None = None,
        chips: int = 1,
        notes: Sequence[str] = (),
        warm: bool = False,
    ):
        self.warm = warm
        self.arch, self.ops, self.formats, self.engine = arch, ops, formats, engine
        self.name, self.phase, self.config, self.tokens = name, phase, config, tokens
        self.resident, self.chips, self.notes = resident, chips, notes
        self.pipeline = Pipeline.of(arch)
        self.walked: Outcome | None = None  # of the chosen tiling, once chosen
        # Equal ops are tiled and counted once. The shape of an op is the op without its name and layer.
        stored = [formats.of_class(op.weights, op.layer) if op.weights else None for op in ops]
        self.shapes = [(replace(op, name="", layer=-1), name) for op, name in zip(ops, stored, strict=True)]
        known = {shape: operands(arch, op, formats) for shape, op in zip(self.shapes, ops, strict=True)}
        work = {shape: work_cycles(arch, shape[0], opd) for shape, opd in known.items()}
        self.operands = [known[shape] for shape in self.shapes]
        self.bound = bound([work[shape] for shape in self.shapes])
        self.limiting = SERVERS.index(self.bound.limited_by)

    @classmethod
    def of(cls, arch: TileMachine, workload: Workload, options: RunOptions) -> TileJob:
        """One step of a workload. raises: InputError."""
        step, formats = options.step, options.formats.of_workload(workload)
        if step.chips > 1 and arch.link is None:
            raise InputError(
                f"{arch.name}: {step.chips} chips need a `link`, which this machine lacks; add one to its file"
            )
        ops = workload.ops(step)
        formats.check(workload, step, ops)
        shared = f", {step.chips} chips ({step.parallel})" if step.chips > 1 else ""
        return cls(
            arch,
            ops,
            formats,
            options.engine,
            name=f"{step.phase}, batch {step.batch}, context {step.context:,}, {workload.name}{shared}",
            phase=step.phase,
            tokens=step.tokens,
            config={"model": workload.config(), "phase": step.phase, "batch": step.batch, "context": step.context}
            | {"chips": step.chips, "parallel": step.parallel, "skew": step.skew},
            resident=resident(arch, workload, step, formats),
            chips=step.chips,
            notes=beyond(workload, step),
        )

    @classmethod
    def gemm(
        cls, arch: TileMachine, m: int, n: int, k: int, formats: Formats, engine: str | None = None, warm: bool = False
    ) -> TileJob:
        """Y[m,n] = X[m,k] W[n,k]^T. raises: InputError."""
        return cls(
            arch,
            (Op("gemm", "gemm", weights="mlp", gemms=(Gemm(m, n, k),), inputs=m * k, outputs=m * n),),
            formats,
            engine or DRIVER,
            name=f"gemm, m {m:,}, n {n:,}, k {k:,}",
            phase="gemm",
            config={"m": m, "n": n, "k": k} | ({"warm": True} if warm else {}),
            warm=warm,
        )

    def tiled(self, policy: Policy) -> list[Tiled] | None:
        """Every op tiled under one policy; None if one of them does not fit."""
        known: dict[tuple[Op, Layout | None], Tiled] = {}
        for shape, opd in zip(self.shapes, self.operands, strict=True):
            if shape not in known:
                one = tile(self.pipeline, shape[0], opd, policy, self.warm)
                if one is None:
                    return None
                known[shape] = one
        return [known[shape] for shape in self.shapes]

    @cached_property
    def choice(self) -> tuple[Policy, list[Tiled]]:
        """The policy with the shortest simulated time; of equal ones, the first."""
        best, seen = None, set()
        for policy in policies(self.pipeline):
            tiled = self.tiled(policy)
            if tiled is None:
                continue
            shape = tuple(t.program.digest for t in tiled)
            if shape in seen:
                continue
            seen.add(shape)
            outcome = simulate(self.pipeline, [t.program for t in tiled], self.limiting)
            if best is None or outcome.ticks < best[0]:
                best, self.walked = (outcome.ticks, policy, tiled), outcome
        if best is None:
            raise InputError(
                f"{self.arch.name}: none of the listed tile shapes fits the buffers with these formats; "
                f"list a smaller tile or enlarge the buffers"
            )
        return best[1], best[2]

    def simulate(self, engine: str | None = None, reuse: bool = True, trace: bool = False) -> Outcome:
        """Simulate the chosen tiling on an engine; for "walk", reuse the outcome from choosing the tiling."""
        programs, engine = [t.program for t in self.choice[1]], engine or self.engine
        if engine == "walk" and reuse and not trace:
            assert self.walked is not None, "choosing a tiling keeps the outcome of its walk"
            return self.walked
        return simulate(self.pipeline, programs, self.limiting, engine, reuse, trace)

    @property
    def seconds(self) -> float:
        """Time of the chosen tiling, in whole cycles, as in the Result."""
        return self.arch.seconds(-(-self.simulate("walk").ticks // self.pipeline.q))

    def result(self) -> Result:
        """Simulate and make the Result. raises: ModelError if the simulated time is below the bound."""
        arch, q, memory = self.arch, self.pipeline.q, self.memory()
        policy, tiled = self.choice
        outcome = self.simulate()
        cycles = -(-outcome.ticks // q)
        if cycles < self.bound.bound_cycles:
            raise ModelError(f"{self.name}: {cycles} cycles beat the bound of {self.bound.bound_cycles}")
        busy = [sum(t.program.work[s] for t in tiled) for s in range(len(SERVERS))]
        seconds = arch.seconds(cycles)
        chosen = [note for o in self.operands for note in o.notes]
        kernels = [t.kernel.note for t in tiled if t.kernel and t.kernel.note]
        notes = dict.fromkeys([*self.notes, *chosen, *kernels, *arch.warnings])
        if memory and not memory.fits:
            needed, there = memory.total / 1e9, memory.capacity / 1e9
            notes[f"does not fit: needs {needed:.1f} GB, one chip has {there:.1f} GB"] = None
        dram_bytes = sum(t.dram_bytes for t in tiled)
        spent = self.spent(seconds)
        if self.chips > 1:
            notes["bytes, MACs and memory are those of the chip with the most work"] = None
        return Result(
            name=self.name,
            machine=arch.name,
            hypothetical=arch.hypothetical,
            phase=self.phase,
            cycles=cycles,
            seconds=seconds,
            bound_cycles=self.bound.bound_cycles,
            roofline_cycles=self.bound.roofline_cycles,
            limited_by=self.bound.limited_by,
            tokens_per_second=self.tokens / seconds if self.tokens else None,
            bytes={
                kind: sum(getattr(t.moved, kind) for t in tiled) for kind in ("weights", "kv", "state", "activations")
            },
            dram_bytes=dram_bytes,
            macs=sum(op.dot_macs + op.vector_macs for op in self.ops),
            utilization={s: b / outcome.ticks for s, b in zip(SERVERS, busy, strict=True) if b},
            stalls=self._causes(outcome, tiled, cycles),
            by_op=self._rows(outcome, tiled, cycles, lambda op: op.kind, KINDS),
            by_layer=self._rows(outcome, tiled, cycles, lambda op: op.layer),
            memory=memory,
            notes=tuple(notes),
            tiling=str(policy),
            energy_joules=Cost.total(spent.energy),
            area_mm2=Cost.total(spent.area),
            cost=spent,
            chips=self.chips,
            distinct_experts=next((op.distinct for op in self.ops if op.distinct is not None), None),
            provenance=_provenance(outcome, tiled),
            config=self.config | {"formats": self._formats(), "engine": self.engine, "machine": arch_config(arch)},
            version=__version__,
        )

    def spent(self, seconds: float) -> Cost:
        """Energy and area of one chip for a run that lasts `seconds`."""
        dram_bytes = sum(t.dram_bytes for t in self.choice[1])
        return cost(cost_table(self.arch), self.arch, self._work(seconds, dram_bytes))

    def _work(self, seconds: float, dram_bytes: int) -> Work:
        """The operations of one chip by format, as `cost` counts them."""
        policy, tiled = self.choice
        on_chip = ends_bytes(self.arch, (self.ops[0], self.operands[0]), (self.ops[-1], self.operands[-1]))
        for op, opd, one in zip(self.ops, self.operands, tiled, strict=True):
            on_chip += buffer_bytes(self.arch, op, opd, policy, one)
        macs: dict[tuple[str, str], int] = {}
        regenerated: dict[tuple[str, str], int] = {}
        dequantised = vector = 0
        for op, opd in zip(self.ops, self.operands, strict=True):
            vector += vector_passes(self.arch, op)
            if opd.pair:
                macs[opd.pair] = macs.get(opd.pair, 0) + op.dot_macs
            if opd.converter == REGENERATE:
                assert opd.weights and self.arch.regenerate, "`operands` sends only seeds through units that exist"
                key = (opd.weights.name, self.arch.regenerate.feeds)
                regenerated[key] = regenerated.get(key, 0) + seed_blocks(op, opd)
            elif opd.converter == DEQUANTISE:
                dequantised += sum(g.weights for g in op.gemms)
        return Work(seconds, dram_bytes, on_chip, macs, regenerated, dequantised, vector)

    def memory(self) -> Memory | None:
        """What must stay in the DRAM of one chip, including activations."""
        if self.resident is None:
            return None
        acts = max(
            activation_bytes(opd, op.inputs + op.outputs) for op, opd in zip(self.ops, self.operands, strict=True)
        )
        return Memory(*self.resident, acts, self.arch.dram.capacity_bytes)

    def _rows(
        self,
        outcome: Outcome,
        tiled: list[Tiled],
        cycles: int,
        key: Callable[[Op], str | int],
        order: Sequence[str] = (),
    ) -> tuple[Row, ...]:
        """Rows of the ops with equal keys: in `order`, or else as they come."""
        ticks: dict[str | int, int] = {}
        sums: dict[str | int, list[int]] = {}
        for op, one, spent in zip(self.ops, tiled, outcome.by_op, strict=True):
            name = key(op)
            ticks[name] = ticks.get(name, 0) + spent
            row = sums.setdefault(name, [0, 0, 0])
            row[0] += 1
            row[1] += one.moved.total
            row[2] += op.dot_macs + op.vector_macs
        names: list[str | int] = [n for n in order if n in ticks] if order else list(ticks)
        parts = apportion({n: ticks[n] for n in names}, self.pipeline.q, cycles)
        label = {n: "outside layers" if n == -1 else str(n) for n in names}
        return tuple(Row(label[n], sums[n][0], parts[n], sums[n][1], sums[n][2]) for n in names)

    def _causes(self, outcome: Outcome, tiled: Sequence[Tiled], cycles: int) -> dict[str, int]:
        """Cycles by cause: of the limiting server; on cores, of the run, as its kernels spend their time."""
        if not self.arch.cores:
            return apportion(outcome.causes, self.pipeline.q, cycles)
        spent = dict.fromkeys(KERNEL_CAUSES, 0.0)
        for one in tiled:
            assert one.kernel is not None, "on cores every op is a kernel"
            for cause, seconds in one.kernel.causes.items():
                spent[cause] += seconds
        unit = 1_000_000  # parts of the whole; the simulator's time differs from the kernels' by rounding to ticks
        whole = sum(spent.values())
        parts = {cause: round(seconds / whole * cycles * unit) for cause, seconds in spent.items()}
        return apportion(parts, unit, cycles)

    def _formats(self) -> dict[str, Any]:
        f = self.formats
        multiplied = [o for op, o in zip(self.ops, self.operands, strict=True) if op.gemms] or self.operands
        acts = {o.activations.name for o in multiplied}
        state, stochastic = f.state_on(self.arch)
        return {
            "weights": weights_config(f.weights),
            "activations": "+".join(sorted(acts)),
            "kv": f.kv_on(self.arch).name,
            "state": state.name + (STOCHASTIC if stochastic else ""),
        }


def beyond(workload: Workload, step: StepOptions) -> tuple[str, ...]:
    """A note if the context of the step is longer than the workload supports."""
    most = workload.max_context
    if most is None or step.context <= most:
        return ()
    return (f"context {step.context:,} is beyond the {most:,} tokens that {workload.name} was made for",)


def _provenance(outcome: Outcome, tiled: Sequence[Tiled]) -> dict[str, float]:
    """Shares of the time by the marks of the kernels; without kernels all of it is ideal."""
    ticks = dict.fromkeys(MARKS, 0)
    for one, spent in zip(tiled, outcome.by_op, strict=True):
        ticks[one.kernel.mark if one.kernel else "ideal"] += spent
    return {mark: n / outcome.ticks for mark, n in ticks.items()}


def resident(arch: TileMachine, workload: Workload, step: StepOptions, formats: Formats) -> tuple[int, int, int]:
    """Bytes of weights, KV cache and state in one chip's DRAM at the end of the step; caches count whole rows."""
    weights = sum(
        ceil(each.elements * formats.of_class(each.weights, each.layer).bits_per_value / 8)
        for each in workload.stored(step)
    )
    held = {"kv": 0, "state": 0}
    for kept in workload.kept(step):
        held[CACHES[kept.role]] += kept.rows * formats.of_cache(kept.role, arch).row_nbytes(kept.row)
    return weights, held["kv"], held["state"]
