"""SGLang: prompts before decode steps, in passes of their own; admission by a forecast of what answers will need.

Source: sgl-project/sglang, python/sglang/srt/managers/{scheduler,schedule_policy}.py (2026).
"""

from __future__ import annotations

from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.requests import Sequence
from hwsim.jobs.serving.scheduler import Limits, Pass, Scheduler

#: Share of the tokens that answers may still make which admission counts: at the start, at the least, and the decode
#: passes in between (environ.py: SGLANG_INIT_NEW_TOKEN_RATIO and others).
START, LEAST, DECAY = 0.7, 0.7 * 0.14, 600
#: The most of an answer that the forecast counts, and the decode passes that must fit after a retraction.
CLIP, AHEAD = 4096, 20


class Sglang(Scheduler):
    """A pass of prompts where one can be admitted, else one of all decode steps."""

    ENGINE = "SGLang 0.5, first come, first served"

    def __init__(self, limits: Limits, pool: Pool):
        super().__init__(limits, pool)
        #: The ratio at the start, when idle, or after the last retraction; and the decode passes since.
        self.start, self.passes = START, 0
        #: Prompts of the last pass, whose blocks join the radix tree once it has ended (cache_unfinished_req).
        self.computed: list[Sequence] = []

    @property
    def ratio(self) -> float:
        """Share of the tokens that answers may still make which admission counts; it falls with every decode pass."""
        return max(LEAST, self.start - self.passes * (START - LEAST) / DECAY) if self.passes else self.start

    def repeated(self, passes: int) -> None:
        """The ratio falls in summed passes too."""
        self.passes += passes

    def compose(self) -> Pass:
        """Prompts, else decode steps."""
        found = Pass()
        for seq in self.computed:
            self.pool.learn(seq, seq.computed)
        self._prompts(found)
        self.computed = [seq for seq, _ in found.items]
        if not found.items:
            self._decodes(found)
        if not self.running and not self.waiting:
            self.start, self.passes = START, 0
        found.blocked = bool(found.items) and len(self.running) >= self.limits.seats
        return found

    def _forecast(self) -> float:
        """Tokens that the running will still take."""
        return sum(self.ratio * min(seq.output - seq.made, CLIP) for seq in self.running)

    def _prompts(self, found: Pass) -> None:
        """The request that is being chunked first, then those that wait, in order."""
        left, pool = self.limits.budget, self.pool
        for seq in self.running:
            if not seq.made or seq.prompt + seq.made - seq.computed > 1:
                tokens = min(seq.total - seq.computed, left)
                if not tokens or not pool.grow(seq, seq.computed + tokens):
                    return
                found.items.append((seq, tokens))
                left -= tokens
        while self.waiting and left and len(self.running) < self.limits.seats:
            seq = self.waiting[0]
            hits = [] if seq.remote else pool.hits(seq)
            lacking = seq.total - len(hits) * pool.size
            needed = lacking + self._forecast() + min(seq.output - seq.made, CLIP)
            if self.running and needed > pool.free * pool.size:
                return
            if not self.admit(seq, hits, lacking):
                return
            remote = seq.computed == seq.total - 1 and seq.made
            self.waiting.popleft()
            self.running.append(seq)
            if remote:
                continue
            tokens = min(lacking, left)
            found.items.append((seq, tokens))
            left -= tokens

    def _decodes(self, found: Pass) -> None:
        """All running; where blocks are short, those with the fewest made tokens are retracted until 20 passes fit."""
        if not self.running:
            return
        self.passes += 1
        most = len(self.running) * (self.limits.drafts // self.pool.size + 2)  # blocks of one pass
        if most > self.pool.free and self._needed(1) > self.pool.free:
            while len(self.running) > 1 and self._needed(AHEAD) > self.pool.free:
                victim = min(self.running, key=lambda seq: (seq.made, -seq.prompt))
                self.running.remove(victim)
                self.preempt(victim)
                found.preempted = True
            self.start, self.passes = min(1.0, self._after()), 0
        for seq in self.running:
            tokens = self.lacks(seq)
            grown = self.pool.grow(seq, seq.computed + tokens)
            assert grown, "the last one left fits alone"
            found.items.append((seq, tokens))

    def _needed(self, passes: int) -> int:
        """Blocks that so many passes take."""
        need, step = self.pool.need, passes * (1 + self.limits.drafts)
        return sum(
            need(seq.computed + min(step, seq.output - seq.made + self.limits.drafts)) - seq.blocks
            for seq in self.running
        )

    def _after(self) -> float:
        """The ratio after a retraction: what the running have made, and 20 passes more, over what they may make."""
        made = sum(seq.made + AHEAD for seq in self.running)
        return made / (sum(min(seq.output, CLIP) for seq in self.running) + 1)

    def release(self, seq: Sequence) -> None:
        """It has ended; what its prompt computed in the last pass stays in the tree."""
        if seq in self.computed:
            self.computed.remove(seq)
            self.pool.learn(seq, seq.computed)
        super().release(seq)

    def preempt(self, seq: Sequence) -> None:
        """Retracted: back to the tail of the queue."""
        super().preempt(seq)
        self.waiting.rotate(-1)
