"""Step times from simulated steps of a model on a machine, between knots that are refined where they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from hwsim.arch import TileMachine
from hwsim.arch.stack import ServingStack
from hwsim.jobs.options import RunOptions
from hwsim.jobs.serving.curve import Cell, Curve, Ramps, Stairs
from hwsim.jobs.serving.steptimes import StepTimes
from hwsim.jobs.tile import TileJob
from hwsim.mapping.gpu.kernels import MARKS
from hwsim.result import Term
from hwsim.workload.language.lowering import Op, own_parts, shared_parts
from hwsim.workload.language.model import Model

#: Share of the least pass by which the middle of a cell may miss its line.
TOLERANCE = 0.01
#: Tokens in the cache of a draft step.
DRAFT_CONTEXT = 1024
#: The term of `cost` that counts by time.
STATIC = "static"
#: Passes that are simulated whole, after a run, to state the error.
CHECKED = 12


#: A part of a pass and its numbers: ("matrices", tokens), ("head", sequences), ("decode", sequences, mixed, context),
#: ("prompt", tokens before, chunk), ("draft", sequences).
Knot = tuple[Any, ...]
#: A pass with at most one chunk: (sequences, sum of their contexts, tokens of the chunk, tokens computed before it).
Pass = tuple[int, int, int, int]


class Simulated(StepTimes):
    """Steps of `model` on `arch`, each part simulated at knots.

    Nothing is extrapolated: a cell beyond the last knot is simulated. Chunks of one pass share the start of their
    kernel. Contexts enter as their mean: attention of paged caches is nearly a function of the sum of its positions.
    """

    def __init__(
        self,
        arch: TileMachine,
        model: Model,
        options: RunOptions,
        stack: ServingStack,
        graphs: Sequence[int] = (),
        mixed_graphs: bool = True,
        new: int = 1,
    ):
        super().__init__(graphs, mixed_graphs)
        self.arch, self.model, self.stack, self.new = arch, model, stack, new
        self.options = options.at(phase="mixed", batch=1, context=1, chunk=1, done=0)
        self.formats = options.formats.of_workload(model)
        self.layers = len(model.plan)
        self._matrices: dict[int, float] = {}
        self._heads = Curve(self._head, self.tolerance / 4, 4, 16)
        self._decodes: dict[tuple[int, bool], Ramps] = {}
        self._prompts: dict[int, Stairs] = {}
        self._drafts: dict[int, float] = {}
        self._terms: dict[Knot, tuple[Term, ...]] = {}
        self._known: dict[Knot, dict[str, float]] = {}
        self._tokens = Stairs(self._shared, self.tolerance)

    @cached_property
    def tolerance(self) -> float:
        """Seconds."""
        return TOLERANCE * self._shared(1)

    def seconds(self, ops: Sequence[Op]) -> float:
        """Simulated time of ops, one after another; without ops, none."""
        if not ops:
            return 0.0
        job = self._job(ops)
        return self.arch.seconds(1) * job.simulate().ticks / job.pipeline.q

    def ops(self, knot: Knot) -> Sequence[Op]:
        """The ops of a part at a knot."""
        match knot:
            case ("matrices", tokens):
                return shared_parts(self.model, self.options.at(batch=0, chunk=tokens).step).shared
            case ("head", sequences):
                return shared_parts(self.model, self.options.at(batch=max(sequences, 1) - 1, chunk=1).step).head
            case ("decode", sequences, mixed, context):
                step = self.options.at(batch=sequences, context=max(context, 1), new=self.new).step
                ops = own_parts(self.model, step).decodes
                if not mixed:
                    return ops
                return tuple(replace(op, core=replace(op.core, mixed=True)) if op.core else op for op in ops)
            case ("prompt", done, chunk):
                return own_parts(self.model, self.options.at(chunk=chunk, done=done).step).prompt
            case _:  # draft
                step = self.options.at(phase="draft", batch=knot[1], context=DRAFT_CONTEXT, chunk=0, new=1).step
                return self.model.ops(step)

    def _job(self, ops: Sequence[Op]) -> TileJob:
        return TileJob(self.arch, ops, self.formats, "walk", name="part of a pass", phase="mixed", config={})

    def terms(self, knot: Knot) -> tuple[Term, ...]:
        """What a part spends on one chip, term by term, without static power; worked out once."""
        if knot not in self._terms:
            ops = self.ops(knot)
            terms = self._job(ops).spent(0.0).energy if ops else ()
            self._terms[knot] = tuple(term for term in terms if term.name != STATIC)
        return self._terms[knot]

    def known(self, knot: Knot) -> dict[str, float]:
        """Seconds of a part by how they are known, as in a `Result`; worked out once."""
        if knot not in self._known:
            found, ops = dict.fromkeys(MARKS, 0.0), self.ops(knot)
            if ops:
                job = self._job(ops)
                outcome, (_, tiled) = job.simulate(), job.choice
                tick = self.arch.seconds(1) / job.pipeline.q
                for one, ticks in zip(tiled, outcome.by_op, strict=True):
                    found[one.kernel.mark if one.kernel else "ideal"] += ticks * tick
            self._known[knot] = found
        return self._known[knot]

    def static(self, seconds: float) -> Term:
        """Static power of one chip."""
        terms = self._job(self.ops(("matrices", 1))).spent(seconds).energy
        return next(term for term in terms if term.name == STATIC)

    def _shared(self, tokens: int) -> float:
        if tokens not in self._matrices:
            self._matrices[tokens] = self.seconds(self.ops(("matrices", tokens)))
        return self._matrices[tokens]

    def matrices(self, tokens: int) -> float:
        """Of sizes that graphs are captured for, simulated; of others, between knots."""
        return self._shared(tokens) if tokens in self._sizes else self._tokens(tokens)

    @cached_property
    def _sizes(self) -> frozenset[int]:
        return frozenset(self.graphs)

    def head(self, sequences: int) -> float:
        """Final norm and head of one position per sequence."""
        return self._heads(sequences)

    def _head(self, sequences: int) -> float:
        return self.seconds(self.ops(("head", sequences)))

    def _decode(self, sequences: int, context: int, mixed: bool) -> float:
        return self.seconds(self.ops(("decode", sequences, mixed, context)))

    def attention(self, sequences: int, context: float, mixed: bool) -> Cell:
        """Between knots of the positions that a sequence attends to, its new ones included, for each number of them.

        Kernels divide these positions in blocks and among cores, so times jump at their multiples.
        """
        key, new = (sequences, mixed), self.new
        if key not in self._decodes:
            self._decodes[key] = Ramps(
                lambda n: self._decode(sequences, max(n - new, 0), mixed), self.tolerance, 64, 512
            )
        found = self._decodes[key].cell(context + new)
        return Cell(found.low - new, found.high - new, found.at_low, found.at_high)

    def _chunks_after(self, done: int) -> Stairs:
        if done not in self._prompts:
            self._prompts[done] = Stairs(lambda chunk: self.seconds(self.ops(("prompt", done, chunk))), self.tolerance)
        return self._prompts[done]

    def prompts(self, chunks: Sequence[tuple[int, int]]) -> float:
        """Between knots of the chunk, and of what was computed before it."""
        start = self._chunks_after(0).exact(1)
        return start + sum(self._chunk(chunk, done) - start for chunk, done in chunks)

    def _chunk(self, chunk: int, done: int) -> float:
        low, high = 0, 256
        while done >= high:
            low, high = high, 2 * high
        if done == low:
            return self._chunks_after(low)(chunk)
        at_low, at_high = self._chunks_after(low)(chunk), self._chunks_after(high)(chunk)
        return Cell(low, high, at_low, at_high).at(done)

    def _drafted(self, sequences: int) -> float:
        """Seconds of drafting, at a context of which its one layer hardly depends."""
        if self.new == 1 or not sequences:
            return 0.0
        if sequences not in self._drafts:
            self._drafts[sequences] = (self.new - 1) * self.seconds(self.ops(("draft", sequences)))
        return self._drafts[sequences]

    def software(self, sequences: int, chunks: int) -> float:
        """The stack's time of a step, of its layers, and of each sequence that decodes; and drafting."""
        stack = self.stack
        found = stack.step_seconds + stack.layer_seconds * self.layers + stack.sequence_seconds * sequences
        return found + self._drafted(sequences)

    def whole(self, sequences: int, context: int, chunk: int, done: int) -> float:
        """Simulated seconds of a whole pass with one chunk, software included; for the error of the sum of parts."""
        tokens = self.padded(sequences * self.new + chunk, chunk > 0)
        more = tokens - sequences * self.new - chunk
        if chunk:
            at = self.options.at(batch=sequences, context=max(context, 1), chunk=chunk, done=done, new=self.new)
        else:
            at = self.options.at(phase="decode", batch=sequences, context=max(context, 1), chunk=0, new=self.new)
        job = TileJob.of(self.arch, self.model, at)
        found = self.arch.seconds(1) * job.simulate().ticks / job.pipeline.q
        if more:  # padding is computed by the matrices alone
            found += self._shared(tokens) - self._shared(tokens - more)
        return found + self.software(sequences, 1)

    def error(self, passes: Sequence[Pass]) -> tuple[float, Pass | None]:
        """The largest error of some passes against whole simulated ones, a share, above 0 where the sum of the parts is
        longer; and the pass that has it."""
        worst: tuple[float, Pass | None] = 0.0, None
        step = max(1, len(passes) // CHECKED)
        for one in passes[::step][:CHECKED]:
            sequences, contexts, chunk, done = one
            mean = contexts // max(sequences, 1)
            exact = self.whole(sequences, mean, chunk, done)
            if chunk:
                found = self.mixed(sequences, mean * sequences, [(chunk, done)], self.new) / 1e15
            else:
                line = self.decode(sequences, mean * sequences, self.new)
                found = (line.base + line.slope * mean * sequences) / 1e15
            error = found / exact - 1
            if abs(error) > abs(worst[0]):
                worst = error, one
        return worst
