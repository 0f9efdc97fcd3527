"""The policies that a run chooses from: those that fit, without those that another one beats whatever the rates.

A policy never depends on a rate, and the menu of policies only grows with the buffers: so the least time of those that
are left is monotone in bandwidth, latency and interval exactly, and in buffers within the size of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import mul

from hwsim.arch.machine import TileMachine
from hwsim.errors import InputError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.plan import BOTH, NONE, PANEL, Plan, Policy, Shape
from hwsim.mapping.program import DOT, DRAM, SERVERS
from hwsim.mapping.tiling import Tilings

#: Distances of writes: so many reads later.
DISTANCES = (1, 8, 32)

#: A policy may replace others that move more if this times its largest tiles is no more than its work.
FINE = 64

#: Tiles of a run on a machine whose refresh stops all banks. Every stop has its place in time, and so it hardly ever
#: happens that a state comes again: a tile's time and the refresh period have no common measure worth waiting for.
MOST = 1 << 20


def policies(arch: TileMachine) -> Iterator[Policy]:
    """Every policy of the machine's menu, fit or not; on cores, the one that stands for the library."""
    if arch.cores:
        yield Policy(Shape(*arch.tiles[0]))
        return
    for tile in arch.tiles:
        for resident in (PANEL, NONE, BOTH):
            for distance in DISTANCES:
                yield Policy(Shape(*tile, resident), distance)


@dataclass(frozen=True, slots=True)
class Candidate:
    """All ops of a run under one policy: their plans, and the distances of their writes.

    amounts: of the whole run, by server; on the dot array by pair of formats, as each pair has a rate.
    coarse: the sum of each op's largest tile, on DRAM and on the dot array.
    work: ticks of the busiest server, which the run takes at least.
    """

    policy: Policy
    plans: tuple[tuple[Plan, int], ...]
    amounts: dict[tuple[int, tuple[str, str] | None], int]
    coarse: tuple[int, int]
    work: int

    @classmethod
    def of(
        cls, policy: Policy, plans: tuple[tuple[Plan, int], ...], ops: Sequence[Tilings], counts: Sequence[int]
    ) -> Candidate:
        """counts: how often each op comes."""
        amounts: dict[tuple[int, tuple[str, str] | None], int] = {}
        work, dram, dot = [0] * len(SERVERS), 0, 0
        for (plan, _), op, times in zip(plans, ops, counts, strict=True):
            dram += times * plan.largest[DRAM]
            dot += times * plan.largest[DOT]
            for server, amount in enumerate(plan.amounts):
                if amount:
                    key = server, op.opd.pair if server == DOT else None
                    amounts[key] = amounts.get(key, 0) + times * amount
                    work[server] += times * amount * op.units[server]
        return cls(policy, plans, amounts, (dram, dot), max(work))

    @property
    def nbytes(self) -> int:
        """Of all transfers."""
        return self.amounts.get((DRAM, None), 0)

    @property
    def fine(self) -> bool:
        """Whether its largest tiles are at most a 64th of its work."""
        dot = sum(amount for (server, _), amount in self.amounts.items() if server == DOT)
        return FINE * self.coarse[0] <= self.nbytes and FINE * self.coarse[1] <= dot

    def beats(self, other: Candidate) -> bool:
        """At least a tenth fewer bytes, and no more of anything else: whatever the rates, it is not slower by more
        than its largest tiles, which are small."""
        if not 10 * self.nbytes <= 9 * other.nbytes or not other.nbytes or not self.fine:
            return False
        return all(amount <= other.amounts.get(key, 0) for key, amount in self.amounts.items())


def candidates(pipeline: Pipeline, ops: Sequence[Tilings], counts: Sequence[int]) -> list[Candidate]:
    """The policies that fit and differ, in the menu's order, without those that another one beats.

    Which are left depends on no rate and no latency, and so the least of their times is monotone in all of them.
    raises: InputError if there are none.
    """
    arch = pipeline.arch
    found: dict[tuple[tuple[Plan, int], ...], Candidate] = {}
    alike: dict[Shape, Candidate] = {}  # policies of one shape differ in their distances, and so in no amount
    for policy in policies(arch):
        plans = tuple([plan for op in ops if (plan := op.plan(policy))])
        if len(plans) == len(ops) and plans not in found:
            if policy.shape not in alike:
                alike[policy.shape] = Candidate.of(policy, plans, ops, counts)
            found[plans] = replace(alike[policy.shape], policy=policy, plans=plans)
    if not found:
        raise InputError(
            f"{arch.name}: none of the listed tile shapes fits the buffers with these formats; "
            f"list a smaller tile or enlarge the buffers"
        )
    left = [one for one in found.values() if not any(other.beats(one) for other in found.values())]
    if pipeline.period:
        tiles = {one.policy: sum(map(mul, (plan.tree.size for plan, _ in one.plans), counts)) for one in left}
        left = [one for one in left if tiles[one.policy] <= MOST]
        if not left:
            raise InputError(
                f"{arch.name}: {min(tiles.values()):,} tiles, and with `all_bank` refresh each is simulated by itself, "
                f"for at most {MOST:,}; write `refresh: {{kind: spread}}`, or a smaller problem"
            )
    return left
