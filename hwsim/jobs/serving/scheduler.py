"""What schedulers share: the queue, the running list, limits, and the pass that they compose."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field

from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.requests import Sequence


@dataclass(frozen=True, slots=True)
class Limits:
    """budget: tokens of a pass; seats: sequences that run at once; drafts: draft tokens per sequence and pass.

    chunked: prompts may be computed in parts. whole: a sequence is admitted only if all of it fits the free blocks.
    """

    budget: int = 8192
    seats: int = 1024
    drafts: int = 0
    chunked: bool = True
    whole: bool = True


@dataclass(slots=True)
class Pass:
    """What one pass computes: sequences with the number of tokens of each.

    blocked: requests that arrive, and those that wait, are not admitted before a sequence ends.
    """

    items: list[tuple[Sequence, int]] = field(default_factory=list)
    blocked: bool = False
    preempted: bool = False


class Scheduler(ABC):
    """Rules that compose the next pass from the state; they know no clock.

    ENGINE: which engine and version the rules are read from.
    """

    ENGINE: str

    def __init__(self, limits: Limits, pool: Pool):
        self.limits, self.pool = limits, pool
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        #: Sequences preempted since the replica, which knows the time, asked last.
        self.preempted: list[Sequence] = []

    @abstractmethod
    def compose(self) -> Pass:
        """The next pass; its blocks are taken. Without items: nothing can run."""

    def repeated(self, passes: int) -> None:  # noqa: B027
        """So many more passes like the last one, of decode steps alone, were summed and not composed."""

    def largest(self) -> int:
        """Tokens of the longest sequence that can ever run."""
        return (self.pool.blocks - self.pool.fixed) * self.pool.size if self.pool.paged else 1 << 60

    def longest(self) -> int:
        """Tokens of the longest prompt that can ever run."""
        return 1 << 60

    def lacks(self, seq: Sequence) -> int:
        """Tokens that a running sequence has still to compute, drafts among them once its prompt is computed.

        Blocks are taken for all; rejected ones lower what is computed afterwards (vllm/v1/core/sched/scheduler.py).
        """
        left = seq.prompt + seq.made - seq.computed
        return left + self.limits.drafts if self.limits.drafts and left == 1 and seq.made else left

    def preempt(self, seq: Sequence) -> None:
        """By recomputation: its blocks are freed, what it made becomes prompt, and it waits ahead of all others.

        As in vLLM V1, which swaps nothing (vllm/v1/core/sched/scheduler.py), and TensorRT-LLM's paused requests.
        """
        seq.preemptions += 1
        self.pool.release(seq, again=True)
        seq.recomputed += seq.computed
        seq.computed = 0
        seq.idle = True
        self.waiting.appendleft(seq)
        self.preempted.append(seq)

    def admit(self, seq: Sequence, hits: list, tokens: int) -> bool:
        """Blocks for `hits` and `tokens` more; False if they do not fit."""
        there = len(hits) * self.pool.size
        if seq.remote:  # its K and V come from a prefill replica
            if not self.pool.admit(seq, [], seq.total):
                return False
            seq.remote = False
            seq.computed = seq.total - 1
            return True
        if not self.pool.admit(seq, hits, there + tokens):
            return False
        seq.hits += there
        seq.recomputed -= min(there, seq.recomputed)
        seq.computed = there
        return True

    def release(self, seq: Sequence) -> None:
        """It has ended."""
        self.running.remove(seq)
        self.pool.release(seq)
