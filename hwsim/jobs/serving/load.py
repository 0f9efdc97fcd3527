"""`hwsim serve` under load: requests over time on replicas of one deployment. One question, one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim import __version__
from hwsim.arch import Arch
from hwsim.arch.stack import ServingStack
from hwsim.errors import InputError, collect
from hwsim.files.tables import seconds_text
from hwsim.jobs.serve import Deployment
from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving import checks, figures
from hwsim.jobs.serving.arrivals import Gaps, Lengths, read_rate
from hwsim.jobs.serving.energy import provenance, spent
from hwsim.jobs.serving.engines import ENGINES, limits
from hwsim.jobs.serving.figures import Slo, Spread
from hwsim.jobs.serving.fleet import Fleet, Outcome, Transfer
from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.replica import Replica
from hwsim.jobs.serving.requests import TICKS, Request, Sequence, ticks
from hwsim.jobs.serving.room import Room, kv_room
from hwsim.jobs.serving.router import ROUTERS
from hwsim.jobs.serving.scheduler import Limits
from hwsim.jobs.serving.simulated import Simulated
from hwsim.jobs.serving.spans import before_first, in_queue, occupied
from hwsim.jobs.serving.steptimes import graph_sizes
from hwsim.jobs.serving.traces import Trace, read_trace
from hwsim.jobs.tile import TileJob
from hwsim.result import Cost, Term, known_text, shown
from hwsim.workload.language.model import Model
from hwsim.workload.op import Workload

if TYPE_CHECKING:
    from hwsim.jobs.serving.capacity import Capacity

#: Requests of a load that does not say how many.
REQUESTS = 1000
#: No gaps: every request has arrived as the run begins.
AT_ONCE = Gaps("at-once", 0.0)


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
            rows.append(("capacity", f"{self.capacity.rate:.4g} requests/s meet them in 99 %"))
        for name, spread in (("TTFT", self.ttft), ("TPOT", self.tpot), ("E2E", self.e2e)):
            if spread is not None:
                p50, p99 = (seconds_text(x) if x else "0 s" for x in (spread.p50, spread.p99))
                rows.append((name, f"{p50} median, {p99} p99"))
        return (*rows, ("kernels", known_text(self.provenance)), ("stack", self.stack.name))

    def __repr__(self) -> str:
        return shown(f"serve under load, {self.model}, {self.machine}", self.summary(), self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        from dataclasses import asdict

        found = asdict(self)
        if self.capacity is None:
            del found["capacity"]
        return {
            "schema": 2,
            **found,
            "tokens_per_second": self.tokens_per_second,
            "tokens_per_second_per_chip": self.tokens_per_second_per_chip,
            "tokens_per_second_per_user": self.tokens_per_second_per_user,
            "goodput": self.good,
            "goodput_per_chip": self.good and self.good / self.chips,
            "attained": self.attained if self.good is not None else None,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """An answer with what it was made of, for files."""

    served: Served
    outcome: Outcome = field(repr=False)


class Traffic:
    """One deployment under load; step times are simulated once for all its runs. raises: InputError, all at once."""

    def __init__(
        self,
        arch: Arch | str,
        steady: Steady,
        load: Load,
        overrides: Many[tuple[str, str]] = (),
        found: Many[str] = (),
        model: Workload | None = None,
    ):
        """model: instead of the name in `steady`."""
        problems = list(found)
        self.load, self.chips = load, steady.chips
        self.trace: Trace | None = None
        self.gaps, self.lengths, self.slo, self.rate = Gaps("poisson", 1.0), None, Slo(), None
        self.prefills, self.decodes = 0, load.replicas
        with collect(problems):
            checks.one_source(load)
        with collect(problems):
            self.rate = read_rate(load.rate) if load.rate is not None else None
        with collect(problems):
            self.gaps = Gaps.of(load.arrivals)
        with collect(problems):
            self.lengths = Lengths.of(load.lengths or f"{max(steady.isl, 1)}/{max(steady.osl, 1)}")
        with collect(problems):
            self.trace = read_trace(Path(load.trace)) if load.trace else None
        with collect(problems):
            self.slo = Slo.of(load.slo)
        with collect(problems):
            checks.names(load)
        with collect(problems):
            checks.sizes(load)
        with collect(problems):
            self.prefills, self.decodes = checks.split(load)
        deployment = None
        with collect(problems):
            deployment = Deployment(arch, steady, overrides, model=model)
        if problems:
            raise InputError(*problems)
        assert deployment is not None, "there were no errors"
        self.deployment, self.arch = deployment, deployment.arch
        if not isinstance(self.deployment.model, Model):
            raise InputError(f"{self.deployment.model.name}: is no language model; write one that makes tokens")
        self.model: Model = self.deployment.model
        self.engine = ENGINES[load.scheduler]
        memory = (self.arch.serving and self.arch.serving.reported_bytes) or self.arch.dram.capacity_bytes
        self.limits = limits(self.engine, memory, load.budget, load.max_seqs, steady.drafts)
        if self.limits.budget < 1 + steady.drafts:
            raise InputError(f"--budget: {self.limits.budget} tokens are less than one sequence takes in a pass")
        size = load.block or self.engine.block
        self.room = kv_room(
            self.arch, self.model, self.deployment.options, self.limits.budget, size, self.limits.seats,
            load.kv_tokens, self.deployment.keep_windows,
        )  # fmt: skip
        graphs = graph_sizes(self.limits.seats)
        self.steps = Simulated(
            self.arch, self.model, self.deployment.options, self.deployment.stack, graphs, self.engine.mixed_graphs,
            1 + steady.drafts,
        )  # fmt: skip
        self.acceptance = steady.acceptance

    @cached_property
    def transfer(self) -> Transfer | None:
        """The link between prefill and decode replicas: the ports of one replica's chips, side by side."""
        if not self.prefills:
            return None
        link = self.arch.link
        if link is None:
            raise InputError(f"{self.arch.name}: --disaggregate needs a `link`, which this machine lacks; add one")
        seconds = self.room.token_bytes / float(link.bytes_per_cycle * self.arch.clock_hz)
        return Transfer(ticks(seconds), ticks(float(link.latency_cycles / self.arch.clock_hz)))

    @property
    def count(self) -> int:
        """Requests that are drawn where no trace says how many."""
        return self.load.requests or REQUESTS

    @property
    def total(self) -> int:
        """Requests of a run."""
        return len(self.trace.rows[: self.load.requests]) if self.trace else self.count

    def requests(self, rate: float | None = None, seed: int | None = None) -> list[Request]:
        """The requests of the load; rate and seed: instead of its own."""
        if self.trace is not None:
            return self.trace.requests(self.room.size, self.load.requests)
        return self.drawn(self.count, self.gaps if self.load.users is None else AT_ONCE, rate, seed)

    def drawn(self, count: int, gaps: Gaps, rate: float | None = None, seed: int | None = None) -> list[Request]:
        """So many requests of the load's lengths. rate and seed: instead of the load's own."""
        assert self.lengths is not None, "lengths were read"
        return self.lengths.requests(count, gaps, rate or self.rate or 1.0, seed or self.load.seed, self.room.size)

    def run(
        self,
        rate: float | None = None,
        seed: int | None = None,
        stretch: bool = True,
        check: bool = True,
        watch: Callable[[Sequence], None] = lambda seq: None,
    ) -> Run:
        """Serve the load. stretch: as in `Replica`; check: compare passes with whole simulated ones; watch: `Fleet`."""
        outcome = self.serve(self.requests(rate, seed), seed, stretch, watch=watch)
        return Run(self.answer(outcome, check), outcome)

    def serve(
        self,
        requests: Many[Request],
        seed: int | None = None,
        stretch: bool = True,
        replicas: int | None = None,
        watch: Callable[[Sequence], None] = lambda seq: None,
    ) -> Outcome:
        """Serve these requests. replicas: instead of the load's, where no prefill is apart. raises: Stopped."""
        allowed, too_long = [], []
        most = self.model.max_context
        for request in requests:
            whole = request.input_tokens + request.output_tokens
            if most is not None and whole > most:
                too_long.append((request, f"{whole:,} tokens are more than the {most:,} that {self.model.name} takes"))
            else:
                allowed.append(request)
        load, room = self.load, self.room
        caching = load.prefix_cache and self.engine.caching
        fleet = Fleet(
            lambda: self.engine.scheduler(self.limits, Pool(room.blocks, room.size, room.fixed, room.paged, caching)),
            self.steps,
            lambda: ROUTERS[load.router](seed or load.seed),
            replicas or self.decodes,
            stretch=stretch,
            acceptance=self.acceptance,
            seed=seed or load.seed,
            prefills=self.prefills,
            transfer=self.transfer,
            watch=watch,
        )
        outcome = fleet.run(allowed, load.users)
        outcome.refused[:0] = too_long
        return outcome

    def answer(self, outcome: Outcome, check: bool = True) -> Served:
        """The figures of a run. check: compare passes with whole simulated ones."""
        found, replicas = outcome.sequences, outcome.replicas
        start = min((s.request.arrival for s in found), default=0)
        seconds = (max((s.last or 0 for s in found), default=0) - start) / TICKS
        missed = Counter(name for seq in found for name in self.slo.missed(seq))
        good = sum(1 for seq in found if not self.slo.missed(seq))
        whole = max((s.last or 0 for s in found), default=0) - start
        held, most = figures.mean_used(replicas, whole)
        doing = occupied(found, whole)
        terms = self._energy(outcome, whole / TICKS) if check else ()
        blocks = self.room.blocks * len(replicas)
        busy = sum(p.ticks for one in replicas for p in one.log.passes) / TICKS
        return Served(
            machine=self.arch.name,
            model=self.model.name,
            engine=self.engine.scheduler.ENGINE,
            load=self.load,
            chips=self.chips * len(replicas),
            replicas=self.decodes,
            prefills=self.prefills,
            limits=self.limits,
            room=self.room,
            step_error=self.steps.error(_checked(replicas)) if check else None,
            requests=len(found),
            refused=tuple((request.number, why) for request, why in outcome.refused),
            seconds=seconds,
            input_tokens=sum(s.prompt for s in found),
            output_tokens=sum(s.output for s in found),
            ttft=Spread.of(map(figures.ttft, found)),
            tpot=Spread.of(x for x in map(figures.tpot, found) if x is not None),
            itl=figures.gaps(replicas),
            e2e=Spread.of(map(figures.e2e, found)),
            good=good / seconds if self.slo.limits and seconds else None,
            good_requests=good if self.slo.limits else None,
            missed=dict(missed),
            preemptions=sum(s.preemptions for s in found),
            recomputed_tokens=sum(s.recomputed for s in found),
            cached_tokens=sum(s.hits for s in found),
            passes=sum(p.count for one in replicas for p in one.log.passes),
            busy=busy / (seconds * len(replicas)) if seconds else 0.0,
            running=figures.mean_running(replicas, whole),
            waiting=(doing["waiting"][0] + doing["preempted"][0], in_queue(found)),
            kv=(held / blocks, most / blocks),
            doing=doing,
            first_token=before_first(found),
            formats=self.formats,
            energy=terms,
            energy_joules_per_token=Cost.total(terms) if terms else None,
            stack=self.deployment.stack,
            provenance=provenance(self.steps, replicas) if check and found else {},
            notes=tuple(dict.fromkeys([*self._notes(outcome), *(self._beside(found, seconds) if check else ())])),
        )

    @cached_property
    def formats(self) -> dict[str, Any]:
        """Formats of a decode step, by name."""
        return TileJob.of(self.arch, self.model, self.deployment.options.at(phase="decode", batch=1)).formats_config()

    def _energy(self, outcome: Outcome, seconds: float) -> tuple[Term, ...]:
        """Joules per output token, term by term."""
        made = sum(s.output for s in outcome.sequences)
        return spent(self.steps, outcome.replicas, self.chips, seconds, made) if made else ()

    def _beside(self, found: Many[Sequence], seconds: float) -> tuple[str, ...]:
        """How far constant users of equal requests are from the steady state, which `hwsim serve --batch N` prints."""
        load, sizes = self.load, {(s.prompt, s.output) for s in found}
        if load.users is None or len(sizes) != 1 or self.prefills or self.decodes > 1 or self.limits.drafts:
            return ()
        (prompt, answer), batch = sizes.pop(), min(load.users, self.limits.seats)
        if self.deployment.options.step.parallel == "data+expert":
            return ()
        request = replace(self.deployment.request, isl=prompt, osl=answer, stack=self.deployment.stack)
        try:
            steady = Deployment(self.arch, request, model=self.model).serve(batch)
        except InputError:  # it does not fit: there is no such state
            return ()
        made = sum(s.output for s in found) / seconds / steady.tokens_per_second_per_chip / self.chips - 1
        why = "" if load.scheduler == "static" else "; a mixed pass reads the weights once for prompts and answers"
        return (f"{100 * made:+.1f} % tokens/s against the steady state of {steady.batch:,} sequences{why}",)

    def _notes(self, outcome: Outcome) -> list[str]:
        """What is assumed, and what a reader must know of this run."""
        notes = [*(self.trace.notes if self.trace else ()), *self.room.notes, *self.engine.notes]
        if self.arch.serving is None or self.arch.cores is None:
            notes.append(
                f"decode attention beside a chunk: x 1, not measured on {self.arch.name} (x 1.6 to 2.2 elsewhere)"
            )
        notes.append("contexts of one pass enter as their mean; server, tokenizer and network take no time")
        if self.prefills:
            notes.append("K and V cross one link in order; a prefill replica frees them as the transfer begins")
        found = outcome.sequences
        if self.load.users is None and len(found) >= 20:
            tenth = len(found) // 10
            first = sum(map(figures.ttft, found[:tenth])) / tenth
            last = sum(map(figures.ttft, found[-tenth:])) / tenth
            if last > 5 * first and last > 1:
                notes.append("the queue grows to the end: times to first token are those of a run of this length")
        notes.append("all requests count: no warm-up is cut off")
        return notes


def _checked(replicas: Many[Replica]) -> list[tuple[int, int, int, int]]:
    """Passes that a whole simulated pass can be compared with: at most one chunk."""
    return [
        (p.decodes, p.contexts, *(p.chunks[0] if p.chunks else (0, 0)))
        for one in replicas
        for p in one.log.passes
        if len(p.chunks) < 2
    ]
