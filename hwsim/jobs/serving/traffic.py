"""One deployment under load: requests over time on replicas, and the figures of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hwsim.arch import Arch
from hwsim.errors import InputError, collect
from hwsim.jobs.serve import Deployment
from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving import checks, figures
from hwsim.jobs.serving.arrivals import Gaps, Lengths, read_rate
from hwsim.jobs.serving.energy import provenance, spent
from hwsim.jobs.serving.engines import ENGINES, differing, limits
from hwsim.jobs.serving.figures import Slo, Spread
from hwsim.jobs.serving.fleet import Fleet, Outcome, Transfer
from hwsim.jobs.serving.graphs import Capture
from hwsim.jobs.serving.load import Load, Run, Served
from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.replica import Replica
from hwsim.jobs.serving.requests import TICKS, Request, Sequence, ticks
from hwsim.jobs.serving.room import kv_room
from hwsim.jobs.serving.router import ROUTERS
from hwsim.jobs.serving.simulated import TOLERANCE, Pass, Simulated
from hwsim.jobs.serving.spans import before_first, in_queue, occupied
from hwsim.jobs.serving.traces import Trace, read_trace
from hwsim.jobs.tile import TileJob
from hwsim.result import Cost, Term
from hwsim.workload.language.model import Model
from hwsim.workload.op import Workload

#: Requests of a load that does not say how many.
REQUESTS = 1000
#: No gaps: every request has arrived as the run begins.
AT_ONCE = Gaps("at-once", 0.0)


class Traffic:
    """One deployment under load; step times are simulated once for all its runs. raises: InputError, all at once."""

    def __init__(
        self,
        arch: Arch | str | Path,
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
            self.arch, self.model, self.deployment.options, self.limits.budget, size, load.kv_tokens,
            self.deployment.keep_windows, self.engine.room,
        )  # fmt: skip
        graphs = self.engine.graphs(Capture(self.limits.seats, 1 + steady.drafts, memory, steady.chips))
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
        """Serve these requests. replicas: instead of the load's, where no prefill is apart.

        raises: Stopped; InputError where every request is refused.
        """
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
        if outcome.refused and not outcome.sequences:
            checks.none_served(load, outcome.refused, min(fleet.largest, fleet.longest, most or fleet.largest))
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
        off, farthest = self.steps.error(_checked(replicas)) if check else (0.0, None)
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
            step_error=abs(off) if check else None,
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
            software=differing(self.arch.description, self.deployment.stack.name, self.load.scheduler),
            provenance=provenance(self.steps, replicas) if check and found else {},
            notes=tuple(
                dict.fromkeys(
                    [
                        *self._notes(outcome),
                        *(self._beside(found, seconds) if check else ()),
                        *_far(off, farthest),
                    ]
                )
            ),
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


def _far(error: float, farthest: Pass | None) -> list[str]:
    """A note where the parts of a checked pass miss the whole by more than cells may: which pass, and which way."""
    if farthest is None or abs(error) <= TOLERANCE:
        return []
    sequences, contexts, chunk, done = farthest
    of = f"{sequences:,} sequences of {contexts // max(1, sequences):,} tokens" if sequences else "no decode steps"
    chunks = f" and a chunk of {chunk:,} tokens after {done:,}" if chunk else ""
    return [
        f"step times: of the checked passes one with {of}{chunks} is farthest from its whole simulation, "
        f"{100 * abs(error):.2g} % {'longer' if error > 0 else 'shorter'}"
    ]


def _checked(replicas: Many[Replica]) -> list[Pass]:
    """Passes that a whole simulated pass can be compared with: at most one chunk."""
    return [
        (p.decodes, p.contexts, *(p.chunks[0] if p.chunks else (0, 0)))
        for one in replicas
        for p in one.log.passes
        if len(p.chunks) < 2
    ]
