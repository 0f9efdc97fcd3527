"""Static batching: so many requests, prefilled together, decoded until the last ends, then the next."""

from __future__ import annotations

from hwsim.jobs.serving.scheduler import Pass, Scheduler


class Static(Scheduler):
    """What continuous batching replaced (Orca, OSDI 2022); prompts have passes of their own, whole ones, within the
    budget."""

    ENGINE = "static batches, no engine"

    def __init__(self, limits, pool):
        super().__init__(limits, pool)
        self.reserved = 0

    def compose(self) -> Pass:
        """Prompts that are not computed, else a decode step of all."""
        if not self.running:
            self.reserved = 0
            self._admit()
        found, left = Pass(blocked=bool(self.running)), self.limits.budget
        for seq in self.running:
            tokens = seq.total - seq.computed
            if seq.made or (found.items and tokens > left):
                continue
            found.items.append((seq, tokens))
            left -= tokens
            if left <= 0:
                break
        if not found.items:
            found.items = [(seq, self.lacks(seq)) for seq in self.running]
        for seq, tokens in found.items:
            grown = self.pool.grow(seq, seq.computed + tokens)
            assert grown, "admission reserves the blocks of whole answers"
        return found

    def _admit(self) -> None:
        """As many as have seats and blocks to the end of their answers."""
        while self.waiting and len(self.running) < self.limits.seats:
            seq = self.waiting[0]
            whole = self.pool.need(seq.prompt + seq.output + self.limits.drafts)
            if self.reserved + whole > self.pool.blocks:
                return
            self.reserved += whole
            self.waiting.popleft()
            if seq.remote:
                seq.remote, seq.computed = False, seq.total - 1
            self.running.append(seq)
