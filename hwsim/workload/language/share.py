"""Parallel: how several chips share a model and a step. Only the chip with the most work is simulated.

tensor         heads, widths and vocabulary are divided, and every token is on every chip (Shoeybi et al., arXiv
               1909.08053): an all_reduce adds the partial sums after each output projection.
tensor+expert  the same, but each chip has whole experts instead of a slice of every expert.
data+expert    sequences and experts are divided, and the other weights are on every chip; an all_to_all sends each
               token to its chosen experts and back (Lepikhin et al., arXiv 2006.16668), one copy per chosen expert.

Widths that do not divide are rounded up. Heads and groups must divide, except that K and V heads (and groups of B and
C) are repeated if there are fewer of them than chips. Norms and routers are on every chip.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("tensor", "tensor+expert", "data+expert")


@dataclass(frozen=True, slots=True)
class Parallel:
    """`chips` that share a step in one of KINDS."""

    chips: int = 1
    kind: str = "tensor"

    @property
    def tensors(self) -> int:
        """Number of parts into which heads, widths and vocabulary are divided."""
        return 1 if self.kind == "data+expert" else self.chips

    @property
    def sequences(self) -> int:
        """Number of parts into which the batch is divided."""
        return self.chips if self.kind == "data+expert" else 1

    @property
    def experts(self) -> int:
        """Number of parts into which the experts are divided."""
        return 1 if self.kind == "tensor" else self.chips

    def share(self, size: int) -> int:
        """Size of the largest part of a width."""
        return -(-size // self.tensors)

    def heads(self, count: int) -> int:
        """Heads on one chip; at least one, as heads are repeated where there are fewer of them than chips."""
        return max(1, count // self.tensors)


def indivisible(what: str, count: int, chips: int, repeated: bool) -> list[str]:
    """An error if `chips` cannot share `count` heads; repeated: fewer heads than chips are copied."""
    if count % chips == 0 or repeated and chips % count == 0:
        return []
    divisors = [str(d) for d in range(1, count + 1) if count % d == 0]
    return [f"chips: MODEL has {count} {what}, which {chips} chips cannot share; write one of {', '.join(divisors)}"]
