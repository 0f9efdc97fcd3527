"""What a load must hold before anything is simulated: each check names its option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwsim.errors import InputError, nearest
from hwsim.jobs.serving.engines import ENGINES
from hwsim.jobs.serving.router import ROUTERS

if TYPE_CHECKING:
    from hwsim.jobs.serving.load import Load
    from hwsim.jobs.serving.requests import Request
    from hwsim.jobs.serving.traces import Trace

#: What `--disaggregate` says where every replica prefills and decodes.
TOGETHER = "none"


def one_source(load: Load) -> None:
    """Requests come in one way. raises: InputError."""
    given = [
        name
        for name, value in (("--rate", load.rate), ("--trace", load.trace), ("--concurrency", load.users))
        if value is not None
    ]
    if len(given) != 1:
        raise InputError(f"{', '.join(given) or 'no load'}: write one of --rate, --trace and --concurrency")


def names(load: Load) -> None:
    """Scheduler and router are known. raises: InputError."""
    problems = []
    if load.scheduler not in ENGINES:
        hint = nearest(load.scheduler, list(ENGINES))
        problems.append(f"--scheduler: unknown {load.scheduler!r}{hint}; expected {', '.join(ENGINES)}")
    if load.router not in ROUTERS:
        hint = nearest(load.router, list(ROUTERS))
        problems.append(f"--router: unknown {load.router!r}{hint}; expected {', '.join(ROUTERS)}")
    if problems:
        raise InputError(*problems)


def sizes(load: Load) -> None:
    """Numbers are positive. raises: InputError."""
    sizes = {
        "--requests": load.requests, "--concurrency": load.users, "--budget": load.budget, "--max-seqs": load.max_seqs,
        "--block": load.block, "--kv-tokens": load.kv_tokens, "--replicas": load.replicas,
    }  # fmt: skip
    bad = [
        f"{name}: {n} is not a positive whole number; write 1 or more"
        for name, n in sizes.items()
        if n is not None and n < 1
    ]
    if bad:
        raise InputError(*bad)


def split(load: Load) -> tuple[int, int]:
    """(prefill replicas, decode replicas). raises: InputError."""
    if load.disaggregate in (None, TOGETHER):
        return 0, load.replicas
    if load.scheduler == "static":
        raise InputError("--disaggregate: static batches have no decode engine of their own; write another --scheduler")
    prefills, decodes = replicas_of(load.disaggregate or TOGETHER)
    if load.replicas not in (1, prefills + decodes):
        raise InputError(
            f"--disaggregate: {load.disaggregate} are {prefills + decodes} replicas, and --replicas says "
            f"{load.replicas}; leave --replicas out"
        )
    return prefills, decodes


def replicas_of(text: str) -> tuple[int, int]:
    """`2:6`, prefill and decode replicas; (0, 0) for `none`: every replica does both. raises: InputError."""
    if text == TOGETHER:
        return 0, 0
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(f"--disaggregate: {text!r} is not P:D; write replicas of each, for example 2:6, or none")
    return int(parts[0]), int(parts[1])


def none_served(load: Load, refused: Sequence[tuple[Request, str]], most: int) -> None:
    """Say why no request can run, and what to write. most: tokens that one may have. raises: InputError, always."""
    first, why = refused[0]
    said = f"every request is refused; request {first.number}: {why}"
    if load.trace or (load.lengths or "").endswith((".csv", ".jsonl")):
        raise InputError(f"{said}; write another --{'trace' if load.trace else 'lengths'}, of shorter requests")
    given = f"--lengths {load.lengths} asks" if load.lengths else "--isl and --osl, used without --lengths, ask"
    shown = next((f", for example --lengths {a}/{b}" for a, b in ((1024, 256), (128, 32)) if a + b <= most), "")
    raise InputError(
        f"{said}; {given} for {first.input_tokens:,} in and {first.output_tokens:,} out; write --lengths IN/OUT "
        f"of at most {most:,} tokens together{shown}"
    )


def can_search(load: Load, limited: bool, trace: Trace | None) -> None:
    """A highest rate can be searched for: there are limits, and arrivals that can be drawn at any rate.

    limited: whether --slo names limits. raises: InputError with every error.
    """
    problems = []
    if not limited:
        problems.append("--find-rate: needs limits; write --slo, for example --slo ttft=500ms,tpot=30ms")
    if load.users:
        problems.append("--find-rate: --concurrency has no rate of arrivals; write --rate, to begin at, instead")
    if load.trace and trace:
        rows = trace.rows[: load.requests]
        prompts, answers = (
            round(sum(x) / len(rows)) for x in zip(*((r.input_tokens, r.output_tokens) for r in rows), strict=True)
        )
        last = float(rows[-1].arrival or 0) - float(rows[0].arrival or 0)
        rate = f"{(len(rows) - 1) / last:.3g}/s" if last > 0 else "1/s"
        file = load.trace.endswith((".csv", ".jsonl"))
        own = f", or --lengths {load.trace} for those of each request" if file else ""
        problems.append(
            f"--find-rate: the arrivals of --trace cannot be scaled; write --rate {rate} --lengths {prompts}/{answers} "
            f"instead, the trace's mean rate and lengths{own}"
        )
    if problems:
        raise InputError(*problems)
