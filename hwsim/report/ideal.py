"""What a reader must know of an ideal machine first: that it is one, and which machine of the same chip is not."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.arch import TileMachine, arch_names, load_arch
from hwsim.result import known_text


def ideal_text(machine: str, provenance: Mapping[str, float]) -> str:
    """A sentence on a machine whose times are all ideal; empty for any other. machine: its name."""
    if known_text(provenance) != "ideal":
        return ""
    others = [f"{name}, whose kernels are {known}" for name, known in calibrated(machine)]
    said = f"{machine} is ideal here: every kernel runs at the machine's peaks, faster than any software"
    return said + (f"; the same chip with a library's kernels: {' or '.join(others)}" if others else "")


def calibrated(machine: str) -> list[tuple[str, str]]:
    """Shipped machines of the same chip with calibrated kernels, and how those are known.

    The same chip: its name is this one's and a word more, with the same clock, bandwidth and rates.
    """
    names = arch_names()
    if machine not in names:
        return []
    ours = load_arch(machine).summary()
    found = []
    for name in names:
        other = load_arch(name) if name.startswith(f"{machine}-") else None
        if not isinstance(other, TileMachine) or other.cores is None:
            continue
        theirs = other.summary()
        if (ours.clock_hz, ours.bytes_per_second, ours.macs_per_second) == (
            theirs.clock_hz,
            theirs.bytes_per_second,
            theirs.macs_per_second,
        ):
            found.append((name, theirs.kernels))
    return found
