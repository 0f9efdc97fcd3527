"""`hwsim serve`: a model in steady state on a machine: tokens/s per chip and per user, time to first token, memory.

The model is continuous batching: the `batch` sequences are at all stages of their answers, so the mean decode step is
the mean over the context lengths of one sequence. Each sequence needs one prefill, during which decoding is blocked;
from one token to the next a user waits for a step and for a share of the prefills of the other sequences.
Steps are simulated at a few context lengths and integrated by Simpson's rule; the difference from the result with
half as many intervals bounds the integration error.

Nothing queues here: the time to first token is that of a prefill alone. Under load it is several times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import floor
from pathlib import Path
from typing import Any

from hwsim.arch import Arch, GemvMachine, TileMachine, load_arch
from hwsim.arch.stack import ServingStack, stack_of
from hwsim.errors import InputError, collect
from hwsim.files.tables import bytes_text, seconds_text
from hwsim.jobs.options import MOST, RunOptions, check_most
from hwsim.jobs.tile import TileJob, resident
from hwsim.mapping.gpu.kernels import MARKS
from hwsim.result import Cost, Memory, Term, known_text, shown
from hwsim.workload import load_model
from hwsim.workload.op import Workload

#: Number of context lengths at which a decode step is simulated, from the prompt to the last token.
POINTS = 5
#: Share of the memory that is available to weights and caches (vLLM's default for gpu_memory_utilization).
MEMORY_SHARE = 0.9
#: Prompts shorter than this are prefilled together (TensorRT-LLM's default for max_num_tokens).
PREFILL_TOKENS = 8192

#: Phase, batch and context of a step.
Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Request:
    """The load to serve: prompts of `isl` tokens, answers of `osl` tokens, formats as in `run`.

    drafts: tokens that the model's multi-token-prediction block drafts per step.
    acceptance: probability that each draft token is accepted, given that the earlier ones were; one per draft token.
    keep_windows: the KV cache of sliding-window layers keeps every position, of which only the window is read; None:
        the stack's rule.
    mla: form of latent attention, one of `op.MLA_FORMS`; "": that of the phase.
    stack: the software around the kernels, as `hwsim.arch.stack.load_stack` takes it; None: the times that the
        machine's file states, else the default.
    """

    model: str
    isl: int
    osl: int
    weights: str | Mapping[str, str] = "released"
    activations: str | None = None
    kv: str | None = None
    state: str | None = None
    chips: int = 1
    parallel: str = "tensor"
    skew: str = "even"
    drafts: int = 0
    acceptance: tuple[float, ...] = ()
    keep_windows: bool | None = None
    stack: str | ServingStack | None = None
    mla: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """One operating point. Times are in seconds, sizes in bytes.

    stack: the software around the kernels; its times are in every figure below.
    time_to_first_token: without queueing: of a prompt that finds the machine free.
    time_per_output_token: from one token of a user to the next, prefills of the others included; None where a request
        has one output token.
    prefill_seconds: per prompt, where `prefill_prompts` are computed together.
    energy: joules per output token on all chips, prompts included, term by term with its source. A term without a
        source is null, and then the total is null too.
    provenance: shares of the device's time, prompts included, by how it is known, as in a `Result`; the software's time
        is none of it.
    """

    machine: str
    request: Request
    stack: ServingStack
    batch: int
    batch_by_memory: int
    tokens_per_second_per_chip: float
    tokens_per_second_per_user: float
    time_to_first_token: float
    time_per_output_token: float | None
    step_seconds: float
    step_error_seconds: float
    prefill_seconds: float
    prefill_prompts: int
    tokens_per_step: float
    limited_by: str
    memory: Memory
    energy: tuple[Term, ...] = ()
    energy_joules_per_token: float | None = None
    provenance: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def summary(self) -> tuple[tuple[str, str], ...]:
        """(name, value) of the figures that a reader looks at first; the command prints more."""
        each = self.time_per_output_token
        m = self.memory
        chip, user = self.tokens_per_second_per_chip, self.tokens_per_second_per_user
        return (
            ("tokens/s", f"{chip:,.0f} per chip, {user:,.1f} per user"),
            ("first token", f"{seconds_text(self.time_to_first_token)}, without queueing"),
            ("per token", seconds_text(each) if each is not None else "-"),
            ("batch", f"{self.batch:,} (memory allows {self.batch_by_memory:,})"),
            ("memory", f"{bytes_text(m.total)} of {bytes_text(m.capacity)} per chip"),
            ("limited by", self.limited_by),
            ("kernels", known_text(self.provenance)),
            ("stack", self.stack.name),
        )

    def __repr__(self) -> str:
        r = self.request
        head = f"serve, {r.isl:,} tokens in, {r.osl:,} out, {r.model}, {self.machine}"
        return shown(head, self.summary(), self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        said, found = "time_to_first_token: without queueing", asdict(self)
        if not self.request.mla:
            del found["request"]["mla"]
        return {"schema": 1, **found, "notes": [said, *self.notes]}


class Deployment:
    """A machine that serves one kind of request. Each distinct step is simulated once."""

    def __init__(
        self,
        arch: Arch | str | Path,
        request: Request,
        overrides: Sequence[tuple[str, str]] = (),
        found: Sequence[str] = (),
        model: Workload | None = None,
    ):
        """raises: InputError with every error found.

        overrides: settings of the machine, used if `arch` is a name. found: errors that the caller has found already.
        model: instead of the name in the request.
        """
        r, problems = request, list(found)
        machine, options, stack = arch, None, None
        with collect(problems):
            machine = load_arch(arch, overrides) if isinstance(arch, str | Path) else arch
            if isinstance(machine, GemvMachine):
                raise InputError(f"{machine.name}: computes one GEMM at a time and cannot serve a model")
        with collect(problems, "stack: "):
            stack = stack_of(machine if isinstance(machine, TileMachine) else None, r.stack)
        with collect(problems):
            model = model or load_model(r.model)
        with collect(problems):
            options = RunOptions.of(
                "decode", 1, min(max(r.isl, 1), MOST), r.weights, r.activations, r.kv, r.state, "walk",
                chips=r.chips, parallel=r.parallel, skew=r.skew, mla=r.mla,
            )  # fmt: skip
        if min(r.isl, r.osl) < 1:
            problems.append("isl, osl: a request needs input and output tokens; write whole numbers above 0")
        with collect(problems):
            check_most(isl=r.isl, osl=r.osl)
        if len(r.acceptance) < r.drafts or any(not 0 <= a <= 1 for a in r.acceptance):
            problems.append(f"acceptance: write {r.drafts} probabilities between 0 and 1, one per draft token")
        if problems:
            raise InputError(*problems)
        self.arch, self.model, self.options, self.request = stack.on(machine), model, options, request
        self.stack = stack
        self.keep_windows = stack.keep_windows if r.keep_windows is None else r.keep_windows
        self._steps: dict[Key, float] = {}
        self._energy: dict[Key, list[Term]] = {}
        self._limited_by: dict[Key, str] = {}
        self._said: dict[Key, tuple[str, ...]] = {}
        self._marks: dict[Key, dict[str, float]] = {}

    def job(self, phase: str, batch: int, context: int, **more: Any) -> TileJob:
        """One step, simulated as `run` does. more: further fields of StepOptions."""
        return TileJob.of(self.arch, self.model, self.options.at(phase=phase, batch=batch, context=context, **more))

    def seconds(self, phase: str, batch: int, context: int) -> float:
        """Duration of a step: the device's time and the software time that is not hidden behind it."""
        key = (phase, batch, context)
        if key not in self._steps:
            self._energy[key], self._marks[key] = [], dict.fromkeys(MARKS, 0.0)
            if phase == "decode" and self.request.drafts:
                self._steps[key] = self._verified(key)
            else:
                self._steps[key] = self._simulated(self.job(phase, batch, context), key)
        return self._steps[key]

    def energy(self, steps: Sequence[tuple[float, Key]]) -> tuple[Term, ...]:
        """Energy terms of `steps`, given as (number of times, (phase, batch, context)), on all chips."""
        found: dict[str, Term] = {}
        for often, key in steps:
            self.seconds(*key)
            for term in self._energy[key]:
                sofar = found.get(term.name, Term(term.name, 0.0, term.source)).value
                known = None if sofar is None or term.value is None else sofar + often * self.request.chips * term.value
                found[term.name] = Term(term.name, known, term.source)
        return tuple(found.values())

    def provenance(self, steps: Sequence[tuple[float, Key]]) -> dict[str, float]:
        """Shares of the device's time of `steps`, given as for `energy`, by how it is known."""
        found = {mark: sum(often * self._marks[key][mark] for often, key in steps) for mark in MARKS}
        return {mark: seconds / sum(found.values()) for mark, seconds in found.items()}

    def _simulated(self, job: TileJob, key: Key, often: int = 1) -> float:
        layers = len({op.layer for op in job.ops if op.layer >= 0})
        extra = self.stack.step_seconds + self.stack.layer_seconds * layers
        if job.phase != "prefill":
            extra += self.stack.sequence_seconds * job.config["batch"]
        outcome, (_, tiled) = job.simulate(), job.choice
        tick = self.arch.seconds(1) / job.pipeline.q
        seconds = self.arch.seconds(1) * outcome.ticks / job.pipeline.q + extra
        terms = job.spent(seconds).energy
        self._limited_by[key] = job.bound.limited_by
        kernels = [note for one in tiled if one.kernel for note in one.kernel.notes]
        self._said[key] = (*job.notes, *(note for operand in job.operands for note in operand.notes), *kernels)
        for one, ticks in zip(tiled, outcome.by_op, strict=True):
            self._marks[key][one.kernel.mark if one.kernel else "ideal"] += often * ticks * tick
        self._energy[key] += [Term(t.name, t.value and often * t.value, t.source) for t in terms]
        return seconds

    def _verified(self, key: Key) -> float:
        """Seconds of a step that verifies the draft tokens of each sequence, and of drafting them."""
        drafts = self.request.drafts
        _, batch, context = key
        draft = self._simulated(self.job("draft", batch, context), key, drafts)
        return self._simulated(self.job("decode", batch, context, new=1 + drafts), key) + drafts * draft

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens per step and sequence: one, and every draft token that is accepted with all earlier ones."""
        total, accepted = 1.0, 1.0
        for chance in self.request.acceptance[: self.request.drafts]:
            accepted *= chance
            total += accepted
        return total

    def contexts(self) -> list[int]:
        """Tokens cached where a decode step is simulated: the first step sees the prompt, the last all but two tokens.

        The prefill makes the first output token, so a request of `osl` output tokens has osl - 1 decode steps.
        """
        first, steps = self.request.isl, self.request.osl - 1
        return [first + (steps - 1) * i // (POINTS - 1) for i in range(POINTS)] if steps else []

    def decode(self, batch: int) -> tuple[float, float]:
        """(mean decode step over a sequence's context lengths, bound of the integration error), in seconds."""
        steps = [self.seconds("decode", batch, c) for c in self.contexts()]
        if not steps:
            return 0.0, 0.0
        fine, coarse = simpson(steps), simpson(steps[::2])
        return fine, abs(fine - coarse)

    def memory(self, batch: int) -> Memory:
        """Bytes on one chip at the end of the last step; the last output token is never cached."""
        r = self.request
        step = ("decode", batch, r.isl + r.osl - 2) if r.osl > 1 else ("prefill", batch, r.isl)
        found = self.job(*step, keep_windows=self.keep_windows).memory()
        assert found is not None  # a step of a workload always counts its memory
        return found

    @cached_property
    def batch_by_memory(self) -> int:
        """The largest number of full-length sequences that fit; 0 if the weights alone do not fit."""
        few = self.request.chips if self.request.parallel == "data+expert" else 1  # sequences that fill all chips alike
        one, two = self.memory(few), self.memory(2 * few)
        held = one.kv + one.state + one.activations
        each = two.kv + two.state + two.activations - held
        free = MEMORY_SHARE * one.capacity - one.weights - held + each
        return max(0, few * floor(free / each))

    def serve(self, batch: int | None = None) -> Served:
        """Steady state with `batch` sequences (None: as many as fit). raises: InputError if not even one fits."""
        r, most = self.request, self.batch_by_memory
        if most < 1:
            raise InputError(
                f"{self.model.name}: one sequence does not fit in the memory of {self.arch.name} ({r.chips} chips); "
                "use more chips"
            )
        asked = batch
        batch = min(batch or most, most)
        step, error = self.decode(batch)
        prompts = prompts_together(batch, r.isl)
        prefill = self.seconds("prefill", prompts, r.isl) / prompts
        # While one request is answered, each of the batch's sequences needs one prefill.
        middle = ("decode", batch, self.contexts()[POINTS // 2]) if r.osl > 1 else ("prefill", prompts, r.isl)
        answer = step * (r.osl - 1) / self.tokens_per_step + batch * prefill
        rate = batch * r.osl / answer
        per_token = (answer - prefill) / (r.osl - 1) if r.osl > 1 else None  # its own prefill made the first token
        share = (r.osl - 1) / r.osl / (batch * self.tokens_per_step)  # of a decode step, per output token
        spent = [
            (share * w, ("decode", batch, c)) for w, c in zip(simpson_weights(POINTS), self.contexts(), strict=False)
        ]
        last = [("decode", batch, c) for c in self.contexts()[-1:]]
        said = [note for key in (*last, ("prefill", prompts, r.isl)) for note in self._said[key]]
        notes = dict.fromkeys([*self._notes(asked, most), *said, *self.arch.warnings])
        spent.append((1 / (prompts * r.osl), ("prefill", prompts, r.isl)))
        energy = self.energy(spent)
        return Served(
            machine=self.arch.name,
            request=r,
            stack=self.stack,
            batch=batch,
            batch_by_memory=most,
            tokens_per_second_per_chip=rate / r.chips,
            tokens_per_second_per_user=rate / batch,
            time_to_first_token=self.seconds("prefill", 1, r.isl),
            time_per_output_token=per_token,
            step_seconds=step,
            step_error_seconds=error,
            prefill_seconds=prefill,
            prefill_prompts=prompts,
            tokens_per_step=self.tokens_per_step,
            limited_by=self._limited_by[middle],
            memory=self.memory(batch),
            energy=energy,
            energy_joules_per_token=Cost.total(energy),
            provenance=self.provenance(spent),
            notes=tuple(notes),
        )

    def _notes(self, batch: int | None, most: int) -> list[str]:
        """What was not served as it was asked for, and what the stack decided."""
        notes = []
        if batch and batch > most:
            notes.append(
                f"batch {batch:,} requested, only {most:,} sequences fit: {most:,} are served, the others would wait"
            )
        if self.keep_windows and self.request.keep_windows is None:
            at = self.options.at(context=self.request.isl + self.request.osl)
            formats = at.formats.of_workload(self.model)
            steps = (at.at(keep_windows=keep).step for keep in (True, False))
            kept, freed = (resident(self.arch, self.model, step, formats)[1] for step in steps)
            if kept > freed:
                notes.append(
                    f"the KV cache keeps every position of layers with a window: rule of stack {self.stack.name}"
                )
        return notes


def prompts_together(batch: int, isl: int) -> int:
    """How many prompts one prefill computes."""
    return max(1, min(batch, PREFILL_TOKENS // isl))


def simpson_weights(points: int) -> list[float]:
    """Simpson's rule: weights of an odd number of equally spaced values, for the mean of a function."""
    if points % 2 == 0:
        raise ValueError("Simpson's rule needs an odd number of values")
    return [w / (3 * (points - 1)) for w in (1, *([4, 2] * (points // 2))[:-1], 1)]


def simpson(values: Sequence[float]) -> float:
    """Mean of a function from an odd number of equally spaced values; exact for cubics."""
    return sum(w * v for w, v in zip(simpson_weights(len(values)), values, strict=True))


def serve(
    arch: Arch | str | Path,
    request: Request,
    batch: int | None = None,
    overrides: Sequence[tuple[str, str]] = (),
    found: Sequence[str] = (),
) -> Served:
    """`request` on `arch` in steady state; batch None: as many sequences as fit. Other arguments: see `Deployment`."""
    return Deployment(arch, request, overrides, found).serve(batch)
