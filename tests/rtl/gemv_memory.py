"""The memory of the engine's bench: the simulator's formula, written a second time, in fractions."""

from collections import deque
from fractions import Fraction


class Memory:
    """Serves the beats asked for, in order, from a list.

    A beat takes beat_bytes / bytes_per_cycle cycles of the channel after the one before and after its request; in
    [k period - stall, k period), k >= 1, the channel stands still. It is offered `latency` cycles later.

    late, phase: cycles of latency too many, edges by which refresh comes late (mutants).
    """

    def __init__(self, dram, beats: list[int], late: int = 0, phase: int = 0):
        self.dram, self.beats, self.late, self.phase = dram, beats, late, phase
        self.free = Fraction(0)
        self.queue: deque[tuple[int, int]] = deque()  # (edge from which it is offered, beat number)

    def request(self, edge: int, number: int) -> None:
        """Beat `number` is asked for at `edge`."""
        self.free = self._served(max(self.free, Fraction(edge)))
        offered = edge + self.dram.latency_cycles
        while offered + 1 - self.dram.latency_cycles < self.free:
            offered += 1
        if self.queue:
            offered = max(offered, self.queue[-1][0] - self.late)
        self.queue.append((offered + self.late, number))

    def _served(self, now: Fraction) -> Fraction:
        left = Fraction(self.dram.beat_bytes) / self.dram.bytes_per_cycle
        refresh = self.dram.refresh
        if refresh.kind == "spread":
            return now + left / (1 - refresh.stall_cycles / refresh.period_cycles)
        while refresh.kind == "all_bank":
            end = ((now - self.phase) // refresh.period_cycles + 1) * refresh.period_cycles + self.phase
            use = max(end - refresh.stall_cycles - now, Fraction(0))
            if left <= use:
                break
            now, left = end, left - use
        return now + left

    def offer(self, edge: int) -> int | None:
        """The beat offered at `edge`, if any."""
        if self.queue and self.queue[0][0] <= edge:
            return self.beats[self.queue[0][1]]
        return None

    def take(self) -> None:
        """The beat offered is accepted."""
        self.queue.popleft()
