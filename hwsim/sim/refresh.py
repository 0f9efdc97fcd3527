"""All-bank refresh: the channel stops in [k*period - stall, k*period), k >= 1."""

from __future__ import annotations


def stretch(start: int, work: int, period: int, stall: int) -> int:
    """Ticks from `start` until `work` ticks of service are done, stops included.

    Exact, O(1), and monotone in start + result; `work` 0 takes 0.
    """
    if not work:
        return 0
    use = period - stall
    k, phase = divmod(start, period)
    k, rest = divmod(k * use + min(phase, use) + work, use)
    if rest == 0:
        k, rest = k - 1, use
    return k * period + rest - start
