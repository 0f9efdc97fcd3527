"""A run on a tile machine: choose a tiling, simulate it, make the Result. This path imports no numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from operator import attrgetter, mul
from typing import Any

from hwsim import __version__
from hwsim.arch import TileMachine, arch_config
from hwsim.cost import Work, cost, cost_table
from hwsim.errors import InputError, ModelError
from hwsim.files.yaml import short
from hwsim.jobs.distinct import Distinct, lowered, runs
from hwsim.jobs.options import DRIVER, RunOptions
from hwsim.mapping.bound import bound
from hwsim.mapping.choice import candidates, units
from hwsim.mapping.gpu.kernels import CAUSES as KERNEL_CAUSES
from hwsim.mapping.gpu.kernels import MARKS
from hwsim.mapping.onchip import buffer_bytes, ends_bytes, stays
from hwsim.mapping.operands import RELEASED, STOCHASTIC, Formats, Operands, operands, weights_config
from hwsim.mapping.plan import Policy, Shape, Tiled
from hwsim.mapping.program import DEQUANTISE, REGENERATE, SERVERS, Program
from hwsim.mapping.tiling import tiler
from hwsim.mapping.traffic import activation_bytes, dot_slots, pieces, seed_blocks, vector_passes, work_cycles
from hwsim.result import Cost, Memory, Result, Row, apportion
from hwsim.sim.engine import Outcome, simulate, simulator
from hwsim.workload.language.presets import released_note
from hwsim.workload.op import CACHES, KINDS, Gemm, Op, StepOptions, Stored, Workload

#: A share of the time from which a note explains it.
_NOTED = 0.02


class TileJob:
    """Ops on one machine with formats resolved: choose a tiling, simulate it, make the Result.

    tokens:   tokens that the step computes (None: it computes no tokens).
    resident: bytes of weights, KV cache and state that must stay in the DRAM of one chip (None: not counted).
    chips:    chips that share the step; the ops are those of one of them.
    notes:    the first notes of the Result.
    warm:     weights and state stay in L2 between repeats, as in a benchmark.
    distinct: the ops that differ (None: to be found).
    simulator: what gives the simulator of a machine; a study of many points puts a compiled one in its place.
    layers:   whether the Result has `by_layer`; those of a study do not.
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
        distinct: Distinct | None = None,
    ):
        self.warm, self.simulator, self.layers = warm, simulator, True
        self.arch, self.ops, self.formats, self.engine = arch, ops, formats, engine
        self.name, self.phase, self.config, self.tokens = name, phase, config, tokens
        self.resident, self.chips, self.notes = resident, chips, notes
        self.tiler = tiler(arch)
        self.pipeline = self.tiler.pipeline
        self.distinct = distinct or Distinct.of(ops, formats)
        self.resolved = [operands(arch, op, formats) for op in self.distinct.ops]
        pairs = zip(self.distinct.ops, self.resolved, strict=True)
        work = [work_cycles(arch, op, opd) for op, opd in pairs]
        self.bound = bound(zip(work, self.distinct.counts, strict=True))
        self.limiting = SERVERS.index(self.bound.limited_by)
        #: Of each different op, the server that needs longest at its peak rate; of equal ones the first.
        self.limits = [bound([(needs, 1)]).limited_by for needs in work]

    @classmethod
    def of(cls, arch: TileMachine, workload: Workload, options: RunOptions) -> TileJob:
        """One step of a workload. raises: InputError."""
        step, formats = options.step, options.formats.of_workload(workload)
        if step.chips > 1 and arch.link is None:
            raise InputError(
                f"{arch.name}: {step.chips} chips need a `link`, which this machine lacks; add one to its file"
            )
        if arch.link and 0 < arch.link.span < step.chips:
            raise InputError(f"{arch.name}: {step.chips} chips, more than the {arch.link.span} that its links join")
        ops, distinct = lowered(workload, step, formats)
        shared = f", {step.chips} chips ({step.parallel})" if step.chips > 1 else ""
        part = f", {step.chunk:,} prompt tokens after {step.done:,}" if step.phase == "mixed" else ""
        name = f"{step.phase}, batch {step.batch}, context {step.context:,}{part}, {workload.name}{shared}"
        config = {"model": workload.config(), "phase": step.phase, "batch": step.batch, "context": step.context}
        config |= {"chips": step.chips, "parallel": step.parallel, "skew": step.skew}
        config |= {"mla": step.mla} if step.mla else {}
        config |= {"chunk": step.chunk, "done": step.done} if step.chunk else {}
        if workload.unit != "token":  # no phase, no context, one chip
            name = f"batch {step.batch:,}, {workload.name}"
            config = {"model": workload.config(), "unit": workload.unit, "batch": step.batch}
        return cls(
            arch,
            ops,
            formats,
            options.engine,
            name=name,
            phase=step.phase if workload.unit == "token" else "graph",
            tokens=step.tokens,
            config=config,
            resident=resident(arch, workload, step, formats),
            chips=step.chips,
            distinct=distinct,
            notes=(
                *getattr(workload, "notes", ()),
                *beyond(workload, step),
                *(released_note(workload) if options.formats.published == RELEASED else ()),
                *slowed(arch, step),
                *stays(arch, workload.unit),
            ),
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

    @property
    def operands(self) -> list[Operands]:
        """Of every op."""
        return [self.resolved[number] for number in self.distinct.order]

    @property
    def choice(self) -> tuple[Policy, list[Tiled]]:
        """The chosen policy, and every op tiled under it."""
        policy, tiled = self.chosen
        return policy, [tiled[number] for number in self.distinct.order]

    @cached_property
    def chosen(self) -> tuple[Policy, list[Tiled]]:
        """The policy with the least whole cycles, then bytes, then the first; and each different op under it."""
        arch, pairs = self.arch, list(zip(self.distinct.ops, self.resolved, strict=True))
        if arch.cores:
            library = Policy(Shape(*arch.tiles[0]))  # stands for its choice
            return library, [self.tiler.kernel(op, opd, self.warm) for op, opd in pairs]
        ops, best = [self.tiler.tilings(op, opd) for op, opd in pairs], None
        walks, q = self.simulator(self.pipeline, self.limiting, "walk"), self.pipeline.q
        each_unit = units(ops)
        found = [
            (one.least(each_unit), number, one)
            for number, one in enumerate(candidates(self.pipeline, ops, self.distinct.counts))
        ]
        for least, number, one in sorted(found, key=lambda each: each[0]):
            if best and -(-least // q) > best[0][0]:
                break  # neither this one nor those after it can be as fast
            tiled = [op.tiled(*plan) for op, plan in zip(ops, one.plans, strict=True)]
            ticks = walks.ticks([one.program for one in tiled], runs(self.distinct.order))
            cost = -(-ticks // q), one.nbytes, number
            if best is None or cost < best[0]:
                best = cost, one.policy, tiled
        assert best is not None, "`candidates` raises if there are none"
        return best[1:]

    def _programs(self, tiled: Sequence[Tiled]) -> list[Program]:
        """Of every op, given the different ones."""
        programs = [one.program for one in tiled]
        return [programs[number] for number in self.distinct.order]

    def simulate(self, engine: str | None = None, reuse: bool = True, trace: bool = False) -> Outcome:
        """Simulate the chosen tiling on an engine; arguments as in `sim.engine.simulate`."""
        programs, engine = self._programs(self.chosen[1]), engine or self.engine
        if reuse and not trace:
            return self.simulator(self.pipeline, self.limiting, engine).run(programs)
        return simulate(self.pipeline, programs, self.limiting, engine, reuse, trace)

    @property
    def seconds(self) -> float:
        """Time of the chosen tiling, in whole cycles, as in the Result."""
        return self.arch.seconds(-(-self.simulate("walk").ticks // self.pipeline.q))

    def result(self) -> Result:
        """Simulate and make the Result. raises: ModelError if the simulated time is below the bound."""
        arch, q, memory = self.arch, self.pipeline.q, self.memory()
        policy, tiled = self.chosen
        outcome, counts = self.simulate(), self.distinct.counts
        cycles = -(-outcome.ticks // q)
        if cycles < self.bound.bound_cycles:
            raise ModelError(f"{self.name}: {cycles} cycles beat the bound of {self.bound.bound_cycles}")

        def total(amounts: Iterable[int]) -> int:
            return sum(map(mul, amounts, counts))

        busy = [total(t.program.work[s] for t in tiled) for s in range(len(SERVERS))]
        seconds = arch.seconds(cycles)
        chosen = [note for o in self.resolved for note in o.notes]
        kernels = [note for t in tiled if t.kernel for note in t.kernel.notes]
        notes = dict.fromkeys([*self.notes, *chosen, *kernels, *arch.warnings])
        if memory and not memory.fits:
            needed, there = memory.total / 1e9, memory.capacity / 1e9
            notes[f"does not fit: needs {needed:.1f} GB, one chip has {there:.1f} GB"] = None
        spent = self.spent(seconds)
        least = total(dot_slots(arch, op, opd) for op, opd in zip(self.distinct.ops, self.resolved, strict=True))
        idle = 1 - total(op.dot_macs for op in self.distinct.ops) / least if least else 0
        if idle >= 0.01:
            notes[f"the bound counts the {100 * idle:.0f} % of the array that GEMMs of these shapes leave idle"] = None
        apart = self._scattered(outcome)
        if apart >= _NOTED and arch.dram.scattered is None:
            free = "rows at unrelated addresses are read as fast as a stream"
            share = f"their ops, {100 * apart:.0f} % of the time, would take longer"
            notes[f"{free}, as {arch.name} has no `dram.scattered`; {share}"] = None
        by_op = self._rows(outcome, cycles, attrgetter("kind"), KINDS)
        for router in (row for row in by_op if row.name == "router" and row.cycles >= _NOTED * cycles):
            share = f"{100 * router.cycles / cycles:.1f} %"
            notes[f"routers, {share} of the time, multiply in FP32 on the vector unit: no dot array takes FP32"] = None
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
                kind: total(getattr(t.moved, kind) for t in tiled) for kind in ("weights", "kv", "state", "activations")
            },
            dram_bytes=total(t.dram_bytes for t in tiled),
            macs=total(op.dot_macs + op.vector_macs for op in self.distinct.ops),
            utilization={s: b / outcome.ticks for s, b in zip(SERVERS, busy, strict=True) if b},
            stalls=self._causes(outcome, cycles),
            by_op=by_op,
            by_layer=self._rows(outcome, cycles, attrgetter("layer")) if self.layers else (),
            memory=memory,
            notes=tuple(notes),
            tiling=str(policy),
            energy_joules=Cost.total(spent.energy),
            area_mm2=Cost.total(spent.area),
            cost=spent,
            chips=self.chips,
            distinct_experts=next((op.distinct for op in self.ops if op.distinct is not None), None),
            provenance=self._provenance(outcome),
            limits=self._limited(outcome),
            config=self.config
            | {"formats": self.formats_config(), "engine": self.engine, "machine": arch_config(arch)},
            version=__version__,
        )

    def spent(self, seconds: float) -> Cost:
        """Energy and area of one chip for a run that lasts `seconds`."""
        dram_bytes = sum(map(mul, (t.dram_bytes for t in self.chosen[1]), self.distinct.counts))
        return cost(cost_table(self.arch), self.arch, self._work(seconds, dram_bytes))

    def _work(self, seconds: float, dram_bytes: int) -> Work:
        """The operations of one chip by format, as `cost` counts them."""
        policy, tiled = self.chosen
        operands = self.operands
        on_chip = ends_bytes(self.arch, (self.ops[0], operands[0]), (self.ops[-1], operands[-1]))
        macs: dict[tuple[str, str], int] = {}
        regenerated: dict[tuple[str, str], int] = {}
        dequantised = vector = 0
        for op, opd, one, times in zip(self.distinct.ops, self.resolved, tiled, self.distinct.counts, strict=True):
            on_chip += times * buffer_bytes(self.arch, op, opd, policy.shape, one)
            vector += times * vector_passes(self.arch, op)
            if opd.pair:
                macs[opd.pair] = macs.get(opd.pair, 0) + times * op.dot_macs
            if opd.converter == REGENERATE:
                assert opd.weights and self.arch.regenerate, "`operands` sends only seeds through units that exist"
                key = (opd.weights.name, self.arch.regenerate.feeds)
                regenerated[key] = regenerated.get(key, 0) + times * seed_blocks(op, opd)
            elif opd.converter == DEQUANTISE:
                dequantised += times * sum(g.weights for g in op.gemms)
        sorts = self.arch.sort is not None and any(op.sorting for op in self.distinct.ops)
        return Work(seconds, dram_bytes, on_chip, macs, regenerated, dequantised, vector, sorts)

    def memory(self) -> Memory | None:
        """What must stay in the DRAM of one chip, including activations."""
        if self.resident is None:
            return None
        pairs = zip(self.distinct.ops, self.resolved, strict=True)
        acts = max(activation_bytes(opd, op.inputs + op.outputs) for op, opd in pairs)
        return Memory(*self.resident, acts, self.arch.dram.capacity_bytes)

    def _rows(
        self, outcome: Outcome, cycles: int, key: Callable[[Op], str | int], order: Sequence[str] = ()
    ) -> tuple[Row, ...]:
        """Rows of the ops with equal keys: in `order`, or else as they come."""
        sums: dict[str | int, list[int]] = {}
        limited: dict[str | int, dict[str, int]] = {}
        moved = [one.moved.total for one in self.chosen[1]]
        macs = [op.dot_macs + op.vector_macs for op in self.distinct.ops]
        for op, number, spent in zip(self.ops, self.distinct.order, outcome.by_op, strict=True):
            row = sums.setdefault(key(op), [0, 0, 0, 0])
            row[0] += 1
            row[1] += spent
            row[2] += moved[number]
            row[3] += macs[number]
            server, by = self.limits[number], limited.setdefault(key(op), {})
            by[server] = by.get(server, 0) + spent
        names: list[str | int] = [n for n in order if n in sums] if order else list(sums)
        parts = apportion({n: sums[n][1] for n in names}, self.pipeline.q, cycles)
        alone = {key(op): short(op.name, 40) for op in self.ops if sums[key(op)][0] == 1} if not order else {}
        label = {n: "outside layers" if n == -1 else f"{n} {alone.get(n, '')}".rstrip() for n in names}
        most = {n: max(by, key=by.__getitem__) for n, by in limited.items()}
        return tuple(Row(label[n], sums[n][0], parts[n], sums[n][2], sums[n][3], most[n]) for n in names)

    def _scattered(self, outcome: Outcome) -> float:
        """Share of the time of ops that read the DRAM row by row."""
        in_dram = self.arch.activations == "dram"
        found = [pieces(op, opd, in_dram)[0] > 0 for op, opd in zip(self.distinct.ops, self.resolved, strict=True)]
        spent = sum(n for number, n in zip(self.distinct.order, outcome.by_op, strict=True) if found[number])
        return spent / outcome.ticks

    def _limited(self, outcome: Outcome) -> dict[str, float]:
        """Shares of the time by the server that limits each op, the largest first."""
        ticks: dict[str, int] = {}
        for number, spent in zip(self.distinct.order, outcome.by_op, strict=True):
            ticks[self.limits[number]] = ticks.get(self.limits[number], 0) + spent
        return {s: n / outcome.ticks for s, n in sorted(ticks.items(), key=lambda each: -each[1])}

    def _causes(self, outcome: Outcome, cycles: int) -> dict[str, int]:
        """Cycles by cause: of the limiting server; on cores, of the run, as its kernels spend their time."""
        if not self.arch.cores:
            return apportion(outcome.causes, self.pipeline.q, cycles)
        spent = dict.fromkeys(KERNEL_CAUSES, 0.0)
        for one in self.choice[1]:
            assert one.kernel is not None, "on cores every op is a kernel"
            for cause, seconds in one.kernel.causes.items():
                spent[cause] += seconds
        unit = 1_000_000  # parts of the whole; the simulator's time differs from the kernels' by rounding to ticks
        whole = sum(spent.values())
        parts = {cause: round(seconds / whole * cycles * unit) for cause, seconds in spent.items()}
        return apportion(parts, unit, cycles)

    def _provenance(self, outcome: Outcome) -> dict[str, float]:
        """Shares of the time by the marks of the kernels; without kernels all of it is ideal."""
        ticks = dict.fromkeys(MARKS, 0)
        for one, spent in zip(self.choice[1], outcome.by_op, strict=True):
            ticks[one.kernel.mark if one.kernel else "ideal"] += spent
        return {mark: n / outcome.ticks for mark, n in ticks.items()}

    def formats_config(self) -> dict[str, Any]:
        """Formats of the step by name, as they are in a result."""
        f = self.formats
        pairs = zip(self.distinct.ops, self.resolved, strict=True)
        multiplied = [opd for op, opd in pairs if op.gemms] or self.resolved
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


def slowed(arch: TileMachine, step: StepOptions) -> tuple[str, ...]:
    """A note on what is known of decode attention in a mixed step, for a mixed step."""
    if step.phase != "mixed":
        return ()
    if arch.serving is None or arch.cores is None:
        return (f"decode attention beside a chunk: x 1, not measured on {arch.name} (x 1.6 to 2.2 on other GPUs)",)
    return (f"decode attention beside a chunk: x {arch.serving.mixed_attention:g}, `serving.mixed_attention`",)


def resident(arch: TileMachine, workload: Workload, step: StepOptions, formats: Formats) -> tuple[int, int, int]:
    """Bytes of weights, KV cache and state in one chip's DRAM at the end of the step; caches count whole rows."""
    weights = _stored_bytes(workload.stored(step), formats)
    held = {"kv": 0, "state": 0}
    for kept in workload.kept(step):
        held[CACHES[kept.role]] += kept.rows * formats.of_cache(kept.role, arch).row_nbytes(kept.row)
    return weights, held["kv"], held["state"]


@lru_cache(maxsize=16)  # the points of a study ask for the same again and again
def _stored_bytes(stored: tuple[Stored, ...], formats: Formats) -> int:
    """Each class of weights in each layer in whole bytes."""
    total = 0
    for each in stored:
        bits = formats.of_class(each.weights, each.layer).bits_per_value
        total += -(-each.elements * bits.numerator // (8 * bits.denominator))
    return total
