"""vLLM V1: no phases; each pass gives every sequence the tokens that it lacks, within a budget, running ones first.

Source: vllm-project/vllm, vllm/v1/core/sched/scheduler.py (0.19, 2026).
"""

from __future__ import annotations

from hwsim.jobs.serving.requests import Sequence
from hwsim.jobs.serving.scheduler import Pass, Scheduler


class Vllm(Scheduler):
    """Running first, the last of whom is preempted where blocks are short; then first come, first served."""

    ENGINE = "vLLM 0.19, V1 scheduler"

    def compose(self) -> Pass:
        """One pass."""
        found = Pass()
        left = self._running(found)
        if not found.preempted:
            self._waiting(found, left)
        return found

    def _running(self, found: Pass) -> int:
        """Running sequences in admission order; what is left of the budget."""
        left, at, running, pool, items = self.limits.budget, 0, self.running, self.pool, found.items
        drafts = self.limits.drafts
        while at < len(running) and left:
            seq = running[at]
            tokens = self.lacks(seq) if drafts else seq.prompt + seq.made - seq.computed
            if tokens > left:
                tokens = left
            if not pool.grow(seq, seq.computed + tokens) and not self._made_room(seq, tokens, found):
                break
            pool.learn(seq, seq.computed + tokens)
            items.append((seq, tokens))
            left -= tokens
            at += 1
        return left

    def _made_room(self, seq: Sequence, tokens: int, found: Pass) -> bool:
        """Preempt the last of the running list, again and again; False once that is `seq` itself."""
        found.preempted = True
        while True:
            last = self.running.pop()
            self.preempt(last)
            if last is seq:
                return False
            if self.pool.grow(seq, seq.computed + tokens):
                return True

    def _waiting(self, found: Pass, left: int) -> None:
        """Those that wait, in order, while budget, seats and blocks last; the first that does not fit stops it."""
        pool, limits = self.pool, self.limits
        while self.waiting:
            if not left or len(self.running) >= limits.seats:
                found.blocked = len(self.running) >= limits.seats or left == 0
                return
            seq = self.waiting[0]
            hits = [] if seq.remote else pool.hits(seq)
            lacking = 1 if seq.remote else seq.total - len(hits) * pool.size
            if lacking > left and not limits.chunked:
                return
            tokens = min(lacking, left)
            if (limits.whole and not pool.fits(hits, seq.total)) or not self.admit(seq, hits, tokens):
                found.blocked = True
                return
            self.waiting.popleft()
            self.running.append(seq)
            pool.learn(seq, seq.computed + tokens)
            found.items.append((seq, tokens))
            left -= tokens
        found.blocked = len(self.running) >= limits.seats
