"""run, gemm and the Job behind them: lower, tile, simulate, bound -> Result. No numpy on this path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any

from hwsim import __version__
from hwsim.arch import Arch, EngineArch, arch_config, load_arch
from hwsim.cost import Work, cost, cost_table
from hwsim.errors import InputError, ModelError
from hwsim.formats.layout import layout
from hwsim.jobs.gemv import GemvJob
from hwsim.mapping.bound import bound
from hwsim.mapping.operands import Formats, operands, split_state
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import DEQUANTISE, REGENERATE, SERVERS
from hwsim.mapping.tiling import Policy, Tiled, policies, tile
from hwsim.mapping.traffic import activation_bytes, seed_blocks, vector_passes, work_cycles
from hwsim.result import Cost, Memory, Result, Row, apportion
from hwsim.sim.engine import DRIVERS, Outcome, simulate
from hwsim.workload.op import KINDS, Gemm, Op

if TYPE_CHECKING:
    from hwsim.workload import Model
    from hwsim.workload.language.parallel import Parallel

PHASES = ("decode", "prefill")


def run(
    arch: Arch | str,
    model: Model | str,
    phase: str = "decode",
    batch: int = 1,
    context: int = 8192,
    weights: str | Mapping[str, str] = "bf16",
    activations: str | None = None,
    kv: str | None = None,
    state: str | None = None,
    engine: str = "simpy",
    *,
    chips: int = 1,
    parallel: str = "tensor",
    skew: str = "even",
) -> Result:
    """Simulate one step of `model` on `arch`.

    phase:   "decode": one token a sequence over `context` cached tokens; "prefill": a prompt of
             `context` tokens, cache empty, head for the last position.
    weights: a format, {class: format, "default": format}, or a model's `published-...` preset.
    state:   a format; with `_sr` behind it, rounded stochastically by the machine's units.
    engine:  "simpy" or "walk": the same times to the tick.
    chips, parallel: how many chips share the step, and how: "tensor", "tensor+expert" or "data+expert".
    skew:    how tokens choose experts: "even", or "zipf(a)" by popularity.
    raises:  InputError for unknown names, bad sizes, or a pair the machine has no path for.
    """
    several = {"chips": chips, "parallel": parallel, "skew": skew}
    return run_job(arch, model, phase, batch, context, weights, activations, kv, state, engine, **several).result()


def gemm(
    arch: Arch | EngineArch | str,
    m: int,
    n: int,
    k: int,
    weights: str | Mapping[str, str] = "bf16",
    activations: str | None = None,
    engine: str = "simpy",
) -> Result:
    """Simulate Y[m,n] = X[m,k] W[n,k]^T on `arch`. raises: InputError as `run` does."""
    return gemm_job(arch, m, n, k, weights, activations, engine).result()


def run_job(
    arch: Arch | str,
    model: Model | str,
    phase: str = "decode",
    batch: int = 1,
    context: int = 8192,
    weights: str | Mapping[str, str] = "bf16",
    activations: str | None = None,
    kv: str | None = None,
    state: str | None = None,
    engine: str = "simpy",
    *,
    chips: int = 1,
    parallel: str = "tensor",
    skew: str = "even",
) -> Job:
    """The step that `run` simulates, not yet simulated."""
    from hwsim.workload import expected_distinct, load_model, model_config
    from hwsim.workload.language.lower import lower
    from hwsim.workload.language.parallel import Parallel
    from hwsim.workload.language.presets import preset

    arch = load_arch(arch) if isinstance(arch, str) else arch
    if isinstance(arch, EngineArch):
        raise InputError(f"{arch.name}: an engine for one product; write `hwsim gemm {arch.name} --m 1 ...`")
    model = load_model(model) if isinstance(model, str) else model
    check_choice("phase", phase, PHASES)
    check_positive(batch=batch, context=context, chips=chips)
    if chips > 1 and arch.link is None:
        raise InputError(f"{arch.name}: {chips} chips need a `link` between them, which this machine lacks")
    if isinstance(weights, str) and weights.startswith("published-"):
        known = preset(model, weights)
        weights, activations = dict(known.weights), activations or known.activations
        kv, state = kv or known.kv, state or known.state
    formats = Formats.of(weights, activations, kv, state)
    tokens = batch if phase == "decode" else batch * context
    shared = Parallel(chips, parallel)
    moe = model.moe if model.count("moe") else None
    return Job(
        arch,
        lower(model, phase, batch, context, skew=skew, parallel=shared),
        formats,
        engine,
        name=f"{phase}, batch {batch}, context {context:,}, {model.name}"
        + (f", {chips} chips ({parallel})" if chips > 1 else ""),
        phase=phase,
        tokens=tokens,
        config={"model": model_config(model), "phase": phase, "batch": batch, "context": context}
        | {"chips": chips, "parallel": parallel, "skew": skew},
        resident=_resident(arch, model, formats, phase, batch, context, shared),
        chips=chips,
        distinct_experts=expected_distinct(moe.experts, moe.top_k, tokens, skew) if moe else None,
    )


def gemm_job(
    arch: Arch | EngineArch | str,
    m: int,
    n: int,
    k: int,
    weights: str | Mapping[str, str] = "bf16",
    activations: str | None = None,
    engine: str = "simpy",
) -> Job | GemvJob:
    """The product that `gemm` simulates, not yet simulated."""
    arch = load_arch(arch) if isinstance(arch, str) else arch
    check_positive(m=m, n=n, k=k)
    if isinstance(arch, EngineArch):
        return GemvJob(arch, m, n, k, weights, activations)
    op = Op("gemm", "gemm", weights="mlp", gemms=(Gemm(m, n, k),), inputs=m * k, outputs=m * n)
    return Job(
        arch,
        (op,),
        Formats.of(weights, activations),
        engine,
        name=f"gemm, m {m:,}, n {n:,}, k {k:,}",
        phase="gemm",
        config={"m": m, "n": n, "k": k},
    )


def check_positive(**sizes: int) -> None:
    """raises: InputError naming every size that is not a positive whole number."""
    bad = [f"{name}: {value!r} is not a positive whole number" for name, value in sizes.items() if value < 1]
    if bad:
        raise InputError(*bad)


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """raises: InputError naming the words that may be written."""
    if value not in known:
        raise InputError(f"{name}: {value!r} is none of {', '.join(known)}")


class Job:
    """Ops on one machine, formats resolved: choose a tiling, simulate it, account for it.

    resident: bytes of weights, KV and state that must lie in one chip's DRAM (None: not asked).
    chips: that share the step; the ops are those of one of them.
    distinct_experts: that the step's tokens choose in a layer, unrounded (None: no experts).
    """

    def __init__(
        self,
        arch: Arch,
        ops: Sequence[Op],
        formats: Formats,
        engine: str = "simpy",
        *,
        name: str,
        phase: str,
        config: dict[str, Any],
        tokens: int | None = None,
        resident: tuple[int, int, int] | None = None,
        chips: int = 1,
        distinct_experts: float | None = None,
    ):
        check_choice("engine", engine, tuple(DRIVERS))
        self.arch, self.ops, self.formats, self.engine = arch, ops, formats, engine
        self.name, self.phase, self.config, self.tokens = name, phase, config, tokens
        self.resident, self.chips, self.distinct_experts = resident, chips, distinct_experts
        self.pipeline = Pipeline.of(arch)
        self.walked: Outcome | None = None  # of the chosen tiling, once chosen
        # Equal work is tiled and counted once: an op's shape is the op without its name and layer.
        stored = [formats.of_class(op.weights, op.layer) if op.weights else "" for op in ops]
        self.shapes = [(replace(op, name="", layer=-1), name) for op, name in zip(ops, stored, strict=True)]
        known = {shape: operands(arch, op, formats) for shape, op in zip(self.shapes, ops, strict=True)}
        work = {shape: work_cycles(arch, shape[0], opd) for shape, opd in known.items()}
        self.operands = [known[shape] for shape in self.shapes]
        self.bound = bound([work[shape] for shape in self.shapes])
        self.watch = SERVERS.index(self.bound.limited_by)

    def tiled(self, policy: Policy) -> list[Tiled] | None:
        """Every op under one policy, or None where some op does not fit."""
        known: dict[tuple[Op, str], Tiled | None] = {}
        for shape, opd in zip(self.shapes, self.operands, strict=True):
            if shape not in known:
                known[shape] = tile(self.pipeline, shape[0], opd, policy)
                if known[shape] is None:
                    return None
        return [known[shape] for shape in self.shapes]

    @cached_property
    def choice(self) -> tuple[Policy, list[Tiled]]:
        """The policy with the least simulated time; the first of equals."""
        best, seen = None, set()
        for policy in policies(self.pipeline):
            tiled = self.tiled(policy)
            if tiled is None:
                continue
            shape = tuple(t.program.digest for t in tiled)
            if shape in seen:
                continue
            seen.add(shape)
            outcome = simulate(self.pipeline, [t.program for t in tiled], self.watch)
            if best is None or outcome.ticks < best[0]:
                best, self.walked = (outcome.ticks, policy, tiled), outcome
        if best is None:
            raise InputError(
                f"{self.arch.name}: no tile of its menu fits the buffers with these formats; "
                f"list a smaller tile or enlarge the buffers"
            )
        return best[1], best[2]

    def simulate(self, engine: str | None = None, reuse: bool = True, trace: bool = False) -> Outcome:
        """The chosen tiling on the engine asked for; the choice has walked it already."""
        programs, engine = [t.program for t in self.choice[1]], engine or self.engine
        if engine == "walk" and reuse and not trace:
            return self.walked
        return simulate(self.pipeline, programs, self.watch, engine, reuse, trace)

    def result(self) -> Result:
        """Run and account. raises: ModelError if the result beats its bound."""
        arch, q, memory = self.arch, self.pipeline.q, self._memory()
        policy, tiled = self.choice
        outcome = self.simulate()
        cycles = -(-outcome.ticks // q)
        if cycles < self.bound.bound_cycles:
            raise ModelError(f"{self.name}: {cycles} cycles beat the bound of {self.bound.bound_cycles}")
        busy = [sum(t.program.work[s] for t in tiled) for s in range(len(SERVERS))]
        seconds = arch.seconds(cycles)
        notes = dict.fromkeys([*(o.note for o in self.operands if o.note), *arch.warnings])
        if memory and not memory.fits:
            notes[f"does not fit: {memory.total / 1e9:.1f} GB needed, {memory.capacity / 1e9:.1f} GB there"] = None
        dram_bytes = sum(t.dram_bytes for t in tiled)
        spent = self.spent(seconds)
        if self.chips > 1:
            notes["bytes, MACs and memory are those of one chip, the one with the most"] = None
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
                kind: sum(getattr(t.moved, kind) for t in tiled)
                for kind in ("weights", "kv", "state", "activations")
            },
            dram_bytes=dram_bytes,
            macs=sum(op.dot_macs + op.vector_macs for op in self.ops),
            utilization={s: b / outcome.ticks for s, b in zip(SERVERS, busy, strict=True) if b},
            stalls=apportion(outcome.causes, q, cycles),
            by_op=self._rows(outcome, tiled, cycles, lambda op: op.kind, KINDS),
            by_layer=self._rows(outcome, tiled, cycles, lambda op: op.layer, None),
            memory=memory,
            notes=tuple(notes),
            tiling=str(policy),
            energy_joules=Cost.total(spent.energy),
            area_mm2=Cost.total(spent.area),
            cost=spent,
            chips=self.chips,
            distinct_experts=self.distinct_experts,
            config=self.config
            | {"formats": self._formats(), "engine": self.engine, "machine": arch_config(arch)},
            version=__version__,
        )

    def spent(self, seconds: float) -> Cost:
        """Energy and area of a run of so many seconds, of one chip."""
        dram_bytes = sum(t.dram_bytes for t in self.choice[1])
        return cost(cost_table(self.arch), self.arch, self._work(seconds, dram_bytes))

    def _work(self, seconds: float, dram_bytes: int) -> Work:
        """What `cost` counts: operations by format, of one chip."""
        macs: dict[tuple[str, str], int] = {}
        regenerated: dict[tuple[str, str], int] = {}
        dequantised = vector = 0
        for op, opd in zip(self.ops, self.operands, strict=True):
            vector += vector_passes(self.arch, op)
            if opd.pair:
                macs[opd.pair] = macs.get(opd.pair, 0) + op.dot_macs
            if opd.converter == REGENERATE:
                key = (opd.weights.name, self.arch.regenerate.feeds)
                regenerated[key] = regenerated.get(key, 0) + seed_blocks(op, opd)
            elif opd.converter == DEQUANTISE:
                dequantised += sum(g.weights for g in op.gemms)
        return Work(seconds, dram_bytes, macs, regenerated, dequantised, vector)

    def _memory(self) -> Memory | None:
        if self.resident is None:
            return None
        acts = max(
            activation_bytes(opd, op.inputs + op.outputs)
            for op, opd in zip(self.ops, self.operands, strict=True)
        )
        return Memory(*self.resident, acts, self.arch.dram.capacity_bytes)

    def _rows(self, outcome: Outcome, tiled, cycles: int, key, order) -> tuple[Row, ...]:
        ticks: dict[Any, int] = {}
        sums: dict[Any, list[int]] = {}
        for op, one, spent in zip(self.ops, tiled, outcome.by_op, strict=True):
            name = key(op)
            ticks[name] = ticks.get(name, 0) + spent
            row = sums.setdefault(name, [0, 0, 0])
            row[0] += 1
            row[1] += one.moved.total
            row[2] += op.dot_macs + op.vector_macs
        names = [n for n in order if n in ticks] if order else list(ticks)
        parts = apportion({n: ticks[n] for n in names}, self.pipeline.q, cycles)
        label = {n: "outside layers" if n == -1 else str(n) for n in names}
        return tuple(Row(label[n], sums[n][0], parts[n], sums[n][1], sums[n][2]) for n in names)

    def _formats(self) -> dict[str, Any]:
        f = self.formats
        acts = {o.activations.name for op, o in zip(self.ops, self.operands, strict=True) if op.gemms}
        return {
            "weights": dict(f.weights) if len(f.weights) > 1 else f.default,
            "activations": "+".join(sorted(acts)),
            "kv": f.kv or self.arch.kv,
            "state": f.state or self.arch.state,
        }


def _resident(
    arch: Arch, model: Model, formats: Formats, phase: str, batch: int, context: int, parallel: Parallel
) -> tuple[int, int, int]:
    """Bytes of weights, KV and state in one chip's DRAM at the end of the step; caches in whole rows."""
    from hwsim.workload.language.parallel import chip_model, chip_parameters

    def nbytes(elements: int, name: str) -> int:
        return ceil(elements * layout(name).bits_per_value / 8)

    def rows(elements: int, row: int, name: str) -> int:
        return elements // row * layout(name).row_nbytes(row)

    weights = sum(nbytes(n, formats.of_class(c, layer)) for c, layer, n in chip_parameters(model, parallel))
    model, batch = chip_model(model, parallel), -(-batch // parallel.sequences)
    kv, state = 0, 0
    if model.attention:
        kept = batch * model.kv_elements(context + 1 if phase == "decode" else context)
        kv = rows(kept, model.attention.head_dim, formats.kv or arch.kv)
    if model.mamba2:
        name, _ = split_state(formats.state or arch.state)
        state = rows(batch * model.ssm_state_elements, model.mamba2.state, name)
        state += nbytes(batch * model.conv_state_elements, "bf16")
    return weights, kv, state
