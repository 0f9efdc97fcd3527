"""TensorRT-LLM: who may hold blocks (capacity), then who gets tokens (micro-batch).

Source: NVIDIA/TensorRT-LLM, cpp/tensorrt_llm/batch_manager/capacityScheduler.cpp and
tensorrt_llm/_torch/pyexecutor/scheduler.py (1.0 to 2026). Chunked context is off by default there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from hwsim.jobs.serving.pool import Block
from hwsim.jobs.serving.requests import Sequence
from hwsim.jobs.serving.scheduler import Pass, Scheduler


class TensorRtLlm(Scheduler):
    """GUARANTEED_NO_EVICT, the default: a request starts only if the blocks of its longest answer are left."""

    ENGINE = "TensorRT-LLM 1.0, GUARANTEED_NO_EVICT"

    def longest(self) -> int:
        """Without chunked context a prompt over `max_num_tokens` is refused (tensorrt_llm/llmapi/llm.py)."""
        return super().longest() if self.limits.chunked else self.limits.budget

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
            if seq.prompt + seq.made - seq.computed == 1:
                tokens = self.lacks(seq)
                grown = self.pool.grow(seq, seq.computed + tokens)
                assert grown, "admission reserves the blocks of whole answers"
                found.items.append((seq, tokens))

    def _whole(self, seq: Sequence) -> int:
        return self.pool.need(seq.prompt + seq.output + self.limits.drafts)

    def _capacity(self, found: Pass) -> None:
        """Every started request counts to its longest answer; the first that does not fit stops admission."""
        reserved = sum(self._whole(seq) for seq in self.running) if self.waiting else 0

        def fits(seq: Sequence, hits: list[Block]) -> bool:
            nonlocal reserved
            reserved += self._whole(seq)
            return reserved <= self.pool.blocks and self.admit(seq, hits, 0)

        self._start(found, fits)

    def _start(self, found: Pass, fits: Callable[[Sequence, list[Block]], bool]) -> None:
        """Start those that wait, in order; the first that does not fit stops it, and duplicates are passed over."""
        soon, at = self._soon() if self.waiting else set(), 0
        while at < len(self.waiting) and len(self.running) < self.limits.seats:
            seq = self.waiting[at]
            hits = [] if seq.remote else self.pool.hits(seq)
            unseen = None if seq.remote else self._unseen(seq, len(hits))
            if unseen in soon:
                at += 1
                continue
            if not fits(seq, hits):
                found.blocked = not at
                return
            if unseen is not None:
                soon.add(unseen)
            del self.waiting[at]
            self.running.append(seq)
        found.blocked = len(self.running) >= self.limits.seats

    def _unseen(self, seq: Sequence, hits: int) -> Hashable | None:
        """The key of the first block of its prompt that is not cached; `hits` of them it has, or would find."""
        keys = seq.request.prefix if self.pool.caching else ()
        return keys[hits] if hits < len(keys) and keys[hits] not in self.pool.known else None

    def _soon(self) -> set[Hashable | None]:
        """First blocks that prompts being computed will add. Whoever needs one of them waits, and finds it then
        (capacityScheduler.cpp, beneficialToSkip)."""
        computing = (seq for seq in self.running if seq.total - seq.computed > 1)
        return {self._unseen(seq, len(seq.held)) for seq in computing} - {None}

    def _contexts(self, found: Pass) -> None:
        """Contexts next, first come, first served; whole ones unless chunking is on."""
        if len(found.items) == len(self.running):
            return
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
            if seq.prompt + seq.made - seq.computed == 1:
                tokens = self.lacks(seq)
                if not self._room(seq, tokens, found):
                    continue
                found.items.append((seq, tokens))
            at += 1

    def _room(self, seq: Sequence, tokens: int, found: Pass) -> bool:
        while not self.pool.grow(seq, seq.computed + tokens):
            last = self.running.pop()
            self.preempt(last)
            found.preempted = True
            if last is seq:
                return False
        return True

    def _capacity(self, found: Pass) -> None:
        """One starts if the blocks of what is known of it are free, and nothing was paused."""

        def fits(seq: Sequence, hits: list[Block]) -> bool:
            return self.admit(seq, hits, 0 if seq.remote else seq.total - len(hits) * self.pool.size)

        if found.preempted:
            found.blocked = len(self.running) >= self.limits.seats
        else:
            self._start(found, fits)
