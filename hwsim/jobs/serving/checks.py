"""What a load must hold before anything is simulated: each check names its option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.errors import InputError, nearest
from hwsim.jobs.serving.engines import ENGINES
from hwsim.jobs.serving.router import ROUTERS

if TYPE_CHECKING:
    from hwsim.jobs.serving.load import Load

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
