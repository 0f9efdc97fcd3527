"""TensorRT-LLM: who may hold blocks (capacity), then who gets tokens (micro-batch).

Source: NVIDIA/TensorRT-LLM, cpp/tensorrt_llm/batch_manager/capacityScheduler.cpp and
tensorrt_llm/_torch/pyexecutor/scheduler.py (1.0 to 2026). Chunked context is off by default there.
"""

from __future__ import annotations

from hwsim.jobs.serving.requests import Sequence
from hwsim.jobs.serving.scheduler import Pass, Scheduler


class TensorRtLlm(Scheduler):
    """GUARANTEED_NO_EVICT, the default: a request starts only if the blocks of its longest answer are left."""

    ENGINE = "TensorRT-LLM 1.0, GUARANTEED_NO_EVICT"

    def compose(self) -> Pass:
        """Capacity, then micro-batch."""
        found = Pass()
        self._generation(found)
        self._capacity(found)
        self._contexts(found)
        return found

    def _generation(self, found: Pass) -> None:
        """Generation first: one token of each, and its drafts."""
        for seq in self.running:
            if seq.total - seq.computed == 1:
                grown = self.pool.grow(seq, seq.computed + self.lacks(seq))
                assert grown, "admission reserves the blocks of whole answers"
                found.items.append((seq, self.lacks(seq)))

    def _whole(self, seq: Sequence) -> int:
        return self.pool.need(seq.prompt + seq.output + self.limits.drafts)

    def _capacity(self, found: Pass) -> None:
        """Every started request counts to its longest answer; the first that does not fit stops admission."""
        reserved = sum(self._whole(seq) for seq in self.running) if self.waiting else 0
        while self.waiting and len(self.running) < self.limits.seats:
            seq = self.waiting[0]
            reserved += self._whole(seq)
            if reserved > self.pool.blocks:
                found.blocked = True
                return
            hits = [] if seq.remote else self.pool.hits(seq)
            self.admit(seq, hits, 0)
            self.waiting.popleft()
            self.running.append(seq)
        found.blocked = len(self.running) >= self.limits.seats

    def _contexts(self, found: Pass) -> None:
        """Contexts next, first come, first served; whole ones unless chunking is on."""
        left = self.limits.budget - sum(tokens for _, tokens in found.items)
        alone = {id(seq) for seq, _ in found.items}
        for seq in self.running:
            tokens = seq.total - seq.computed
            if id(seq) in alone:
                continue
            if tokens > left and not self.limits.chunked and found.items:
                return
            tokens = min(tokens, left) if self.limits.chunked else tokens
            if tokens <= 0:
                return
            grown = self.pool.grow(seq, seq.computed + tokens)
            assert grown, "admission reserves the blocks of whole answers"
            self.pool.learn(seq, seq.computed + tokens)
            found.items.append((seq, tokens))
            left -= tokens


class MaxUtilization(TensorRtLlm):
    """MAX_UTILIZATION: blocks for the next pass only; on a misfit the last started is paused, and recomputed later."""

    ENGINE = "TensorRT-LLM 1.0, MAX_UTILIZATION"

    def _generation(self, found: Pass) -> None:
        """In order of start; the last started is paused where blocks are short."""
        at = 0
        while at < len(self.running):
            seq = self.running[at]
            if seq.total - seq.computed == 1:
                if not self._room(seq, found):
                    continue
                found.items.append((seq, self.lacks(seq)))
            at += 1

    def _room(self, seq: Sequence, found: Pass) -> bool:
        while not self.pool.grow(seq, seq.computed + self.lacks(seq)):
            last = self.running.pop()
            self.preempt(last)
            found.preempted = True
            if last is seq:
                return False
        return True

    def _capacity(self, found: Pass) -> None:
        """One starts if the blocks of what is known of it are free, and nothing was paused."""
        while self.waiting and not found.preempted and len(self.running) < self.limits.seats:
            seq = self.waiting[0]
            hits = [] if seq.remote else self.pool.hits(seq)
            if not self.admit(seq, hits, 0 if seq.remote else seq.total - len(hits) * self.pool.size):
                found.blocked = True
                return
            self.waiting.popleft()
            self.running.append(seq)
        found.blocked = len(self.running) >= self.limits.seats
