"""Single kernels as jobs: attention, the experts of a layer, a short convolution, an all-reduce.

Each builds the ops that a model's layer holds and runs them like any step, so that a kernel takes the same path alone
as in a model. What a benchmark has and a model does not is an option: `warm`, weights and state that stay in L2 between
repeats, and `kernel`, kernels for experts that the library would not choose at this size.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hwsim.arch import TileMachine, load_arch
from hwsim.errors import InputError, nearest
from hwsim.jobs.options import DRIVER, check_choice, check_engine, check_positive
from hwsim.jobs.tile import TileJob
from hwsim.mapping.operands import Formats
from hwsim.result import Result
from hwsim.workload import vector as passes
from hwsim.workload.language.lowering import causal_pairs
from hwsim.workload.language.routing import groups, spread
from hwsim.workload.op import AttentionCore, Cache, Gemm, Op

#: Taps of the convolution that the measured kernels compute.
TAPS = 4


def attention_op(phase: str, batch: int, tokens: int, heads: int, kv_heads: int, head_dim: int, window: int = 0) -> Op:
    """Attention of whole prompts of `tokens` (prefill), or of one new token after `tokens` cached ones (decode)."""
    new, cached = (tokens, 0) if phase == "prefill" else (1, tokens)
    pairs = batch * causal_pairs(cached, new, window)
    rows = batch * new
    kept = min(cached, window - 1) if window else cached
    width = 2 * kv_heads * head_dim
    return Op(
        "attention",
        "attention",
        macs=2 * pairs * heads * head_dim,
        vector=passes.SOFTMAX * pairs * heads,
        cache=Cache("kv", head_dim, batch * kept * width, rows * width),
        inputs=rows * (heads + 2 * kv_heads) * head_dim,
        outputs=rows * heads * head_dim,
        core=AttentionCore(batch, new, cached, heads, kv_heads, head_dim, window),
    )


def expert_ops(
    load: tuple[tuple[int, int], ...], tokens: int, hidden: int, intermediate: int, gated: bool
) -> tuple[Op, Op]:
    """The two grouped GEMMs of a layer's experts. load: (experts, rows each)."""
    rows, inner = sum(n * m for n, m in load), (2 if gated else 1) * intermediate
    activation = passes.feed_forward("silu", True) if gated else passes.feed_forward("relu2", False)
    up = Op(
        "experts_up",
        "experts",
        weights="experts",
        gemms=tuple(Gemm(m, inner, hidden, n) for n, m in load),
        vector=activation * rows * intermediate,
        inputs=tokens * hidden,
        outputs=rows * intermediate,
    )
    down = Op(
        "experts_down",
        "experts",
        weights="experts",
        gemms=tuple(Gemm(m, hidden, intermediate, n) for n, m in load),
        vector=passes.COMBINE * rows * hidden,
        inputs=rows * intermediate,
        outputs=tokens * hidden,
    )
    return up, down


def convolution_op(phase: str, batch: int, tokens: int, channels: int) -> Op:
    """Causal convolution of Mamba-2 over prompts of `tokens` (prefill), or for one new token (decode)."""
    new = tokens if phase == "prefill" else 1
    held = batch * channels * (TAPS - 1)
    return Op(
        "conv",
        "conv",
        weights="conv",
        vector=passes.SILU * batch * new * channels,
        vector_macs=batch * new * channels * TAPS,
        params=channels * (TAPS + 1),
        cache=Cache("conv", TAPS - 1, 0 if phase == "prefill" else held, held),
        inputs=batch * new * channels,
        outputs=batch * new * channels,
    )


def all_reduce_op(chips: int, elements: int) -> Op:
    """The sum of a vector over chips, in the machine's wide format."""
    moving: dict[str, Any] = {"link": "all_reduce", "link_elements": elements, "peers": chips}
    return Op("all_reduce", "link", inputs=elements, outputs=elements, **moving)


def attention_job(
    arch: TileMachine | str | Path,
    phase: str = "decode",
    batch: int = 1,
    tokens: int = 8192,
    heads: int = 32,
    kv_heads: int = 8,
    head_dim: int = 128,
    window: int = 0,
    activations: str | None = None,
    kv: str | None = None,
    engine: str | None = None,
) -> TileJob:
    """The attention of one layer, not yet simulated: of prompts, or of one token per sequence after `tokens` cached.


    activations: format of the queries; kv: of the cache. raises: InputError.
    """
    check_choice("phase", phase, ("decode", "prefill"))
    check_positive(batch=batch, tokens=tokens, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    if heads % kv_heads:
        raise InputError(f"heads: {heads} is no multiple of kv_heads {kv_heads}; write one that is")
    sizes = {"batch": batch, "tokens": tokens, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    name = f"{phase} attention, batch {batch:,}, {tokens:,} tokens, {heads} heads on {kv_heads} of {head_dim}"
    formats = Formats.of("bf16", activations, kv)
    op = attention_op(phase, batch, tokens, heads, kv_heads, head_dim, window)
    return _job(arch, (op,), formats, name, {"phase": phase, **sizes, "window": window}, engine)


def experts_job(
    arch: TileMachine | str | Path,
    tokens: int,
    hidden: int,
    intermediate: int,
    top_k: int,
    experts: int,
    gated: bool = True,
    weights: str = "bf16",
    activations: str | None = None,
    load: str = "even",
    kernel: str | None = None,
    engine: str | None = None,
) -> TileJob:
    """The experts of one layer, router excluded, not yet simulated.

    load: how tokens choose experts: `even` or `zipf(a)`, as in a model; `balanced`: every expert alike; or
    `power_law_a`, the benchmarks' sampler. kernel: kernels of the library's by name, in place of its choice.
    raises: InputError.
    """
    check_positive(tokens=tokens, hidden=hidden, intermediate=intermediate, top_k=top_k, experts=experts)
    if top_k > experts:
        raise InputError(f"top_k: {top_k} is more than the {experts} experts; write fewer")
    sizes = {"tokens": tokens, "hidden": hidden, "intermediate": intermediate, "top_k": top_k, "experts": experts}
    ops = expert_ops(expert_rows(tokens, top_k, experts, load), tokens, hidden, intermediate, gated)
    name = f"experts, {tokens:,} tokens, {top_k} of {experts}, {hidden:,} x {intermediate:,}, {load}"
    more = {"gated": gated, "load": load, "kernel": kernel}
    machine = _machine(arch)
    formats = Formats.of(weights, activations)
    return _job(only_kernel(machine, kernel), ops, formats, name, sizes | more, engine)


def convolution_job(
    arch: TileMachine | str | Path,
    phase: str = "decode",
    batch: int = 1,
    tokens: int = 8192,
    channels: int = 6144,
    warm: bool = False,
    engine: str | None = None,
) -> TileJob:
    """The short convolution of a Mamba-2 layer, not yet simulated: of prompts, or of one token per sequence.

    warm: its state stays in L2 between repeats. raises: InputError.
    """
    check_choice("phase", phase, ("decode", "prefill"))
    check_positive(batch=batch, tokens=tokens, channels=channels)
    name = f"{phase} convolution, batch {batch:,}, {tokens:,} tokens, {channels:,} channels"
    config = {"phase": phase, "batch": batch, "tokens": tokens, "channels": channels}
    op = convolution_op(phase, batch, tokens, channels)
    return _job(arch, (op,), Formats.of(), name, config, engine, warm)


def all_reduce_job(arch: TileMachine | str | Path, chips: int, elements: int, engine: str | None = None) -> TileJob:
    """The sum of a vector of `elements` over `chips` chips, not yet simulated. raises: InputError."""
    check_positive(chips=chips, elements=elements)
    if chips < 2:
        raise InputError("chips: 1 has nobody to sum with; write 2 or more")
    name = f"all-reduce of {elements:,} elements over {chips} chips"
    machine = _machine(arch)
    if machine.link is None:
        raise InputError(f"{machine.name}: chips need a `link` between them, which this machine lacks")
    op = all_reduce_op(chips, elements)
    return _job(machine, (op,), Formats.of(), name, {"chips": chips, "elements": elements}, engine)


def attention(
    arch: TileMachine | str | Path,
    phase: str = "decode",
    batch: int = 1,
    tokens: int = 8192,
    heads: int = 32,
    kv_heads: int = 8,
    head_dim: int = 128,
    window: int = 0,
    activations: str | None = None,
    kv: str | None = None,
) -> Result:
    """Simulate what `attention_job` describes. raises: InputError."""
    return attention_job(arch, phase, batch, tokens, heads, kv_heads, head_dim, window, activations, kv).result()


def experts(
    arch: TileMachine | str | Path,
    tokens: int,
    hidden: int,
    intermediate: int,
    top_k: int,
    experts: int,
    gated: bool = True,
    weights: str = "bf16",
    activations: str | None = None,
    load: str = "even",
    kernel: str | None = None,
) -> Result:
    """Simulate what `experts_job` describes. raises: InputError."""
    sizes = tokens, hidden, intermediate, top_k, experts
    return experts_job(arch, *sizes, gated, weights, activations, load, kernel).result()


def convolution(
    arch: TileMachine | str | Path,
    phase: str = "decode",
    batch: int = 1,
    tokens: int = 8192,
    channels: int = 6144,
    warm: bool = False,
) -> Result:
    """Simulate what `convolution_job` describes. raises: InputError."""
    return convolution_job(arch, phase, batch, tokens, channels, warm).result()


def all_reduce(arch: TileMachine | str | Path, chips: int, elements: int) -> Result:
    """Simulate what `all_reduce_job` describes. raises: InputError."""
    return all_reduce_job(arch, chips, elements).result()


def only_kernel(arch: TileMachine, name: str | None) -> TileMachine:
    """The machine with one of its kernels for experts in place of the library's choice. raises: InputError."""
    if name is None:
        return arch
    cores = arch.cores
    known = [e.name for e in cores.experts] if cores else []
    if cores is None or name not in known:
        raise InputError(
            f"kernel: unknown {name!r}{nearest(name, known)}; {arch.name} has {', '.join(known) or 'none'}"
        )
    chosen = replace(cores.expert_kernel(name), tokens=0)
    return replace(arch, cores=replace(cores, experts=(chosen,)))


@lru_cache(maxsize=1024)
def expert_rows(tokens: int, top_k: int, experts: int, load: str) -> tuple[tuple[int, int], ...]:
    """(experts, rows each) of a step under a `load`. raises: InputError for none that is known."""
    if load == "balanced":
        return spread(tokens * top_k, min(experts, tokens * top_k))
    if load.startswith("power_law_"):
        try:
            return power_law(tokens, top_k, experts, float(load.removeprefix("power_law_")))
        except ValueError:
            raise InputError(f"load: {load!r} has no number behind it; write power_law_1.2") from None
    return groups(experts, top_k, tokens, load)


def power_law(tokens: int, top_k: int, experts: int, exponent: float) -> tuple[tuple[int, int], ...]:
    """(experts, rows each) of the tables' `power_law_a`: their sampler's quantiles, scaled to tokens * top_k rows.

    The sampler draws each expert's load from x^-a between 1 and 0.8 tokens (0.01 and 2 where there are fewer rows than
    experts), scales, rounds, and gives none more than one row per token (ai-dynamo/aiconfigurator, collector/helper.py,
    power_law_logits_v3); the tables do not say what was drawn.
    """
    wanted, power = tokens * top_k, 1 - exponent
    low, high = (1.0, 0.8 * tokens) if wanted > experts else (0.01, 2.0)
    drawn = [
        ((high**power - low**power) * (i + 0.5) / experts + low**power) ** (1 / power) for i in reversed(range(experts))
    ]
    rows: list[int] = []
    left, weight = wanted, sum(drawn)
    for x in drawn:
        rows.append(min(tokens, round(left * x / weight)))
        left, weight = left - rows[-1], weight - x
    for i in range(experts):
        more = min(left, tokens - rows[i])
        rows[i], left = rows[i] + more, left - more
    return tuple((rows.count(r), r) for r in sorted(set(rows) - {0}, reverse=True))


def _machine(arch: TileMachine | str | Path) -> TileMachine:
    """The machine itself, or that of a name. raises: InputError for a machine that runs no kernels."""
    machine = load_arch(arch) if isinstance(arch, str | Path) else arch
    if not isinstance(machine, TileMachine):
        raise InputError(f"{machine.name}: computes one GEMM at a time; use `hwsim gemm`")
    return machine


def _job(
    arch: TileMachine | str | Path,
    ops: tuple[Op, ...],
    formats: Formats,
    name: str,
    config: dict[str, Any],
    engine: str | None,
    warm: bool = False,
) -> TileJob:
    check_engine(engine)
    return TileJob(
        _machine(arch),
        ops,
        formats,
        engine or DRIVER,
        name=name,
        phase="kernel",
        config=config | {"warm": warm},
        warm=warm,
    )
