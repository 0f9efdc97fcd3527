"""`hwsim serve` under load: the load that is asked for, and the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hwsim import __version__
from hwsim.arch.stack import ServingStack
from hwsim.files.tables import seconds_text
from hwsim.jobs.serving.figures import Spread
from hwsim.jobs.serving.fleet import Outcome
from hwsim.jobs.serving.room import Room
from hwsim.jobs.serving.scheduler import Limits
from hwsim.result import Term, known_text, shown

if TYPE_CHECKING:
    from hwsim.jobs.serving.capacity import Capacity


@dataclass(frozen=True, slots=True)
class Load:
    """What drives the engines, and how they are set up. None: the engine's default.

    rate: requests per second (`8/s`); trace: a file with arrivals; users: so many at all times. One of the three.
    requests: how many (None: all of a trace, else 1,000). lengths: IN/OUT or a file (None: the steady isl and osl).
    disaggregate: `P:D`, prefill and decode replicas; `none`, as None: every replica does both.
    """

    rate: str | None = None
    trace: str | None = None
    users: int | None = None
    requests: int | None = None
    lengths: str | None = None
    arrivals: str = "poisson"
    scheduler: str = "vllm"
    budget: int | None = None
    max_seqs: int | None = None
    block: int | None = None
    kv_tokens: int | None = None
    prefix_cache: bool = True
    replicas: int = 1
    router: str = "round-robin"
    disaggregate: str | None = None
    slo: str | None = None
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Served:
    """The answer. Times in seconds; rates per second of the run, from the first arrival to the last token.

    step_error: the largest error of checked passes, a share: parts between knots against whole simulated passes.
    good, good_requests: requests per second, and requests, that meet all limits.
    missed: of each limit, how many requests miss it.
    running, waiting, kv: (mean over the run, most) of sequences and of the share of blocks held, all replicas; waiting:
        for admission or, preempted, to be computed again.
    doing: (mean over the run, most) of the requests in each of `spans.KINDS`.
    first_token: mean seconds of each kind before the first token; they sum to the mean TTFT.
    formats: names, as in a result of `hwsim run`.
    energy: joules per output token on all chips, prompts included, term by term with its source; as in steady state.
    stack: the software around the kernels; its times are in every figure.
    software: where engine, stack and kernels are of different software, in words; empty where they are not.
    provenance: shares of the device's time by how it is known, as in a `Result`; {} where passes were not checked.
    capacity: the highest rate that meets the limits, where it was asked for; the figures are those at this rate.
    """

    machine: str
    model: str
    engine: str
    load: Load
    chips: int
    replicas: int
    prefills: int
    limits: Limits
    room: Room
    step_error: float | None
    requests: int
    refused: tuple[tuple[int, str], ...]
    seconds: float
    input_tokens: int
    output_tokens: int
    ttft: Spread | None
    tpot: Spread | None
    itl: Spread | None
    e2e: Spread | None
    good: float | None
    good_requests: int | None
    missed: dict[str, int]
    preemptions: int
    recomputed_tokens: int
    cached_tokens: int
    passes: int
    busy: float
    running: tuple[float, int]
    waiting: tuple[float, int]
    kv: tuple[float, float]
    doing: dict[str, tuple[float, int]]
    first_token: dict[str, float]
    formats: dict[str, Any]
    energy: tuple[Term, ...]
    energy_joules_per_token: float | None
    stack: ServingStack
    provenance: dict[str, float]
    notes: tuple[str, ...]
    version: str = __version__
    capacity: Capacity | None = None
    software: str = ""

    @property
    def tokens_per_second(self) -> float:
        """Output tokens, all chips."""
        return self.output_tokens / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second_per_chip(self) -> float:
        """Output tokens."""
        return self.tokens_per_second / self.chips

    @property
    def tokens_per_second_per_user(self) -> float | None:
        """1 over the mean TPOT, what a user sees; None where no request has two tokens."""
        return 1 / self.tpot.mean if self.tpot and self.tpot.mean else None

    @property
    def goodput(self) -> float | None:
        """Requests per second, on all chips, that meet all limits; None without limits (`slo`). The same as `good`."""
        return self.good

    @property
    def goodput_per_chip(self) -> float | None:
        """Requests per second per chip that meet all limits."""
        return None if self.good is None else self.good / self.chips

    @property
    def attained(self) -> float:
        """Share of requests that meet all limits."""
        return (self.good_requests or 0) / self.requests if self.requests else 0.0

    def summary(self) -> tuple[tuple[str, str], ...]:
        """(name, value) of the figures that a reader looks at first; the command prints more."""
        out, user = self.tokens_per_second, self.tokens_per_second_per_user
        each = f", {user:,.1f} per user" if user else ""
        rows = [
            ("requests", f"{self.requests:,} in {seconds_text(self.seconds)}, {len(self.refused):,} refused"),
            ("tokens/s", f"{out:,.0f} out, {out / self.chips:,.0f} per chip{each}"),
        ]
        if self.good is not None:
            rows.append(("goodput", f"{self.good:.4g} requests/s meet {self.load.slo} ({100 * self.attained:.1f} %)"))
        if self.capacity is not None:
            rows.append(
                ("capacity", f"{self.capacity.rate:.4g} requests/s can arrive and 99 % of them meet the limits")
            )
        for name, spread in (("TTFT", self.ttft), ("TPOT", self.tpot), ("E2E", self.e2e)):
            if spread is not None:
                p50, p99 = (seconds_text(x) if x else "0 s" for x in (spread.p50, spread.p99))
                rows.append((name, f"{p50} median, {p99} p99"))
        software = [("software", self.software)] if self.software else []
        return (*rows, ("kernels", known_text(self.provenance)), ("stack", self.stack.name), *software)

    def __repr__(self) -> str:
        return shown(f"serve under load, {self.model}, {self.machine}", self.summary(), self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        from dataclasses import asdict

        found = asdict(self)
        if self.capacity is None:
            del found["capacity"]
        else:
            found["capacity"] |= {"rate": self.capacity.rate, "margin": self.capacity.margin}
        return {
            "schema": 2,
            **found,
            "tokens_per_second": self.tokens_per_second,
            "tokens_per_second_per_chip": self.tokens_per_second_per_chip,
            "tokens_per_second_per_user": self.tokens_per_second_per_user,
            "goodput": self.goodput,
            "goodput_per_chip": self.goodput_per_chip,
            "attained": self.attained if self.good is not None else None,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """An answer with what it was made of, for files."""

    served: Served
    outcome: Outcome = field(repr=False)
