"""run and gemm: lower, tile, simulate, bound -> Result. No numpy on this path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hwsim import __version__
from hwsim.arch import Arch, load_arch
from hwsim.bound import bound
from hwsim.errors import InputError, ModelError
from hwsim.operands import Formats, Operands, activation_bytes, operands, work_cycles
from hwsim.pipeline import SERVERS, Pipeline
from hwsim.result import Memory, Result, Row, apportion
from hwsim.sim.engine import DRIVERS, Outcome, simulate
from hwsim.tiling import Policy, Tiled, policies, tile
from hwsim.workload.op import KINDS, Gemm, Op

PHASES = ("decode", "prefill")


def run(
    arch: Arch | str,
    model: Any,
    phase: str = "decode",
    batch: int = 1,
    context: int = 8192,
    weights: str | Mapping[str, str] = "bf16",
    activations: str | None = None,
    kv: str | None = None,
    state: str | None = None,
    engine: str = "simpy",
    reuse: bool = True,
) -> Result:
    """Simulate one step of `model` on `arch`.

    phase:   "decode": one token a sequence over `context` cached tokens; "prefill": a prompt of
             `context` tokens, cache empty, head for the last position.
    weights: a format, or {class: format, "default": format}.
    engine:  "simpy" or "walk": the same times to the tick.
    raises:  InputError for unknown names, bad sizes, or a pair the machine has no path for.
    """
    from hwsim.workload import load_model, lower

    arch = load_arch(arch) if isinstance(arch, str) else arch
    model = load_model(model) if isinstance(model, str) else model
    check_choice("phase", phase, PHASES)
    check_positive(batch=batch, context=context)
    formats = Formats.of(weights, activations, kv, state)
    ops = lower(model, phase, batch, context)
    job = Job(arch, ops, formats, engine, reuse)
    tokens = batch if phase == "decode" else batch * context
    config = {"model": model.name, "phase": phase, "batch": batch, "context": context, "engine": engine}
    name = f"{phase}, batch {batch}, context {context:,}, {model.name}"
    return job.result(name, phase, tokens, config, memory=_memory(arch, model, job, phase, batch, context))


def gemm(
    arch: Arch | str,
    m: int,
    n: int,
    k: int,
    weights: str = "bf16",
    activations: str | None = None,
    engine: str = "simpy",
    reuse: bool = True,
) -> Result:
    """Simulate Y[m,n] = X[m,k] W[n,k]^T on `arch`. raises: InputError as `run` does."""
    arch = load_arch(arch) if isinstance(arch, str) else arch
    check_positive(m=m, n=n, k=k)
    op = Op("gemm", "gemm", weights="mlp", gemms=(Gemm(m, n, k),), inputs=m * k, outputs=m * n)
    job = Job(arch, (op,), Formats.of(weights, activations), engine, reuse)
    config = {"m": m, "n": n, "k": k, "engine": engine}
    return job.result(f"gemm, m {m:,}, n {n:,}, k {k:,}", "gemm", None, config, memory=None)


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
    """Ops on one machine with their formats resolved: choose a tiling, simulate it, account for it."""

    def __init__(self, arch: Arch, ops: Sequence[Op], formats: Formats, engine: str, reuse: bool = True):
        check_choice("engine", engine, tuple(DRIVERS))
        self.arch, self.ops, self.formats, self.engine, self.reuse = arch, ops, formats, engine, reuse
        self.pipeline = Pipeline.of(arch)
        known: dict[tuple, Operands] = {}
        self.operands = []
        for op in ops:
            shape = replace(op, layer=-1)
            if shape not in known:
                known[shape] = operands(arch, op, formats)
            self.operands.append(known[shape])
        self.bound = bound([work_cycles(arch, op, opd) for op, opd in zip(ops, self.operands, strict=True)])
        self.watch = SERVERS.index(self.bound.limited_by)

    def tiled(self, policy: Policy) -> list[Tiled] | None:
        """Every op under one policy, or None where some op does not fit."""
        found = []
        for op, opd in zip(self.ops, self.operands, strict=True):
            one = tile(self.pipeline, op, opd, policy)
            if one is None:
                return None
            found.append(one)
        return found

    def choose(self) -> tuple[Policy, list[Tiled]]:
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
            ticks = simulate(self.pipeline, [t.program for t in tiled], self.watch).ticks
            if best is None or ticks < best[0]:
                best = (ticks, policy, tiled)
        if best is None:
            raise InputError(
                f"{self.arch.name}: no tile of its menu fits the buffers with these formats; "
                f"list a smaller tile or enlarge the buffers"
            )
        return best[1], best[2]

    def simulate(self, tiled: Sequence[Tiled], trace: bool = False) -> Outcome:
        """The chosen tiling on the engine asked for."""
        return simulate(
            self.pipeline, [t.program for t in tiled], self.watch, self.engine, self.reuse, trace
        )

    def result(self, name: str, phase: str, tokens: int | None, config: dict, memory: Memory | None) -> Result:
        """Run and account. raises: ModelError if the result beats its bound."""
        arch, q = self.arch, self.pipeline.q
        policy, tiled = self.choose()
        outcome = self.simulate(tiled)
        cycles = -(-outcome.ticks // q)
        if cycles < self.bound.bound_cycles:
            raise ModelError(f"{name}: {cycles} cycles beat the bound of {self.bound.bound_cycles}")
        busy = [sum(t.program.work[s] for t in tiled) for s in range(len(SERVERS))]
        seconds = arch.seconds(cycles)
        notes = dict.fromkeys([*(o.note for o in self.operands if o.note), *arch.warnings])
        if memory and not memory.fits:
            notes[f"does not fit: {memory.total / 1e9:.1f} GB needed, {memory.capacity / 1e9:.1f} GB there"] = None
        return Result(
            name=name,
            machine=arch.name,
            hypothetical=arch.hypothetical,
            phase=phase,
            cycles=cycles,
            seconds=seconds,
            bound_cycles=self.bound.bound_cycles,
            roofline_cycles=self.bound.roofline_cycles,
            limited_by=self.bound.limited_by,
            tokens_per_second=tokens / seconds if tokens else None,
            bytes={
                kind: sum(getattr(t.moved, kind) for t in tiled)
                for kind in ("weights", "kv", "state", "activations")
            },
            dram_bytes=sum(t.dram_bytes for t in tiled),
            macs=sum(op.dot_macs + op.vector_macs for op in self.ops),
            utilization={s: b / outcome.ticks for s, b in zip(SERVERS, busy, strict=True) if b},
            stalls=apportion(outcome.causes, q, cycles),
            by_op=self._rows(outcome, tiled, cycles, lambda op: op.kind, KINDS),
            by_layer=self._rows(outcome, tiled, cycles, lambda op: op.layer, None),
            memory=memory,
            notes=tuple(notes),
            tiling=str(policy),
            config=config | {"formats": self._formats(), "refresh": arch.dram.refresh.kind} | _resolved(arch),
            version=__version__,
        )

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
        f, default = self.formats, dict(self.formats.weights)["default"]
        acts = {o.activations.name for op, o in zip(self.ops, self.operands, strict=True) if op.gemms}
        return {
            "weights": dict(f.weights) if len(f.weights) > 1 else default,
            "activations": "+".join(sorted(acts)),
            "kv": f.kv or self.arch.kv,
            "state": f.state or self.arch.state,
        }


def _memory(arch: Arch, model, job: Job, phase: str, batch: int, context: int) -> Memory:
    """Bytes of weights, caches at the end of the step, and the largest op's activations."""
    from hwsim.formats.layout import layout

    formats = job.formats
    weights = sum(
        -(-n * layout(formats.of_class(c)).bits_per_value // 8) for c, n in model.parameters()
    )
    tokens = context + 1 if phase == "decode" else context
    kv = layout(formats.kv or arch.kv).bits_per_value
    state = layout(formats.state or arch.state).bits_per_value
    caches = batch * (model.state_elements * state + model.conv_elements * 16)
    acts = max(activation_bytes(o, op.inputs + op.outputs) for op, o in zip(job.ops, job.operands, strict=True))
    return Memory(
        weights=int(weights),
        kv=int(-(-batch * tokens * model.kv_elements_per_token * kv // 8)),
        state=int(-(-caches // 8)),
        activations=acts,
        capacity=arch.dram.capacity_bytes,
    )


def _resolved(arch: Arch) -> dict[str, Any]:
    from hwsim.arch import arch_config

    return {"machine": arch_config(arch)}
