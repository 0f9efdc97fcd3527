"""The policies that a run chooses from: those that fit, without those that another one beats whatever the rates.

A policy never depends on a rate, and the menu of policies only grows with the buffers: so the least time of those that
are left is monotone in bandwidth, latency and interval exactly, and in buffers within the size of a tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import mul

from hwsim.errors import InputError
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.plan import BOTH, NONE, PANEL, Plan, Policy, Shape
from hwsim.mapping.program import DOT, DRAM, SERVERS
from hwsim.mapping.tiling import Plans, Tilings

#: Distances of writes: so many reads later.
DISTANCES = (1, 8, 32)

#: A policy may replace others that move more if this times its largest tiles is no more than its work.
FINE = 64

#: Tiles of a run on a machine whose refresh stops all banks. A state has the phase of the refresh in it, which returns
#: only when whole tiles take whole periods; so much of such a run is simulated tile by tile, for half a minute at this.
MOST = 1 << 20


def policies(tiles: Iterable[tuple[int, int, int]]) -> Iterator[Policy]:
    """Every policy of a menu of tiles, fit or not."""
    for tile in tiles:
        for resident in (PANEL, NONE, BOTH):
            for distance in DISTANCES:
                yield Policy(Shape(*tile, resident), distance)


#: Formats of weights and activations as the dot array multiplies them; None: no dot work.
Pair = tuple[str, str] | None

#: A server; the dot array once for each pair, as each pair has a rate of its own.
Work = tuple[int, Pair]


def _work(server: int, pair: Pair) -> Work:
    return server, pair if server == DOT else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """All ops of a run under one policy: their plans, and the distances of their writes.

    amounts: of the whole run.
    coarse: the sum of each op's largest tile, on DRAM and on the dot array.
    """

    policy: Policy
    plans: tuple[tuple[Plan, int], ...]
    amounts: dict[Work, int]
    coarse: tuple[int, int]

    @classmethod
    def of(
        cls, policy: Policy, plans: tuple[tuple[Plan, int], ...], pairs: Sequence[Pair], counts: Sequence[int]
    ) -> Candidate:
        """pairs, counts: what each op multiplies, and how often it comes."""
        amounts: dict[Work, int] = {}
        dram = dot = 0
        for (plan, _), pair, times in zip(plans, pairs, counts, strict=True):
            dram += times * plan.largest[DRAM]
            dot += times * plan.largest[DOT]
            for server, amount in enumerate(plan.amounts):
                if amount:
                    key = _work(server, pair)
                    amounts[key] = amounts.get(key, 0) + times * amount
        return cls(policy, plans, amounts, (dram, dot))

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

    def least(self, units: dict[Work, int]) -> int:
        """Ticks of the busiest server, which the run takes at least. units: ticks per unit of amount."""
        ticks = [0] * len(SERVERS)
        for key, amount in self.amounts.items():
            ticks[key[0]] += amount * units[key]
        return max(ticks)


def candidates(pipeline: Pipeline, ops: Sequence[Tilings], counts: Sequence[int]) -> tuple[Candidate, ...]:
    """The policies that fit and differ, in the menu's order, without those that another one beats.

    Which are left depends on no rate and no latency, and so the least of their times is monotone in all of them.
    counts: how often each op comes.
    raises: InputError if there are none.
    """
    arch = pipeline.arch
    left = _left(arch.tiles, tuple([op.plans for op in ops]), tuple([op.opd.pair for op in ops]), tuple(counts))
    if not left:
        raise InputError(
            f"{arch.name}: none of the listed tile shapes fits the buffers with these formats; "
            f"list a smaller tile or enlarge the buffers"
        )
    if pipeline.period:
        tiles = {one.policy: sum(map(mul, (plan.tree.size for plan, _ in one.plans), counts)) for one in left}
        left = tuple([one for one in left if tiles[one.policy] <= MOST])
        if not left:
            raise InputError(
                f"{arch.name}: {min(tiles.values()):,} tiles, and with `all_bank` refresh each is simulated by itself, "
                f"for at most {MOST:,}; write `refresh: {{kind: spread}}`, or a smaller problem"
            )
    return left


@lru_cache(maxsize=8)  # the points of a study that differ in rates alone ask for the same
def _left(
    tiles: tuple[tuple[int, int, int], ...], ops: tuple[Plans, ...], pairs: tuple[Pair, ...], counts: tuple[int, ...]
) -> tuple[Candidate, ...]:
    """As `candidates`, of the plans alone."""
    found: dict[tuple[tuple[Plan, int], ...], Candidate] = {}
    alike: dict[Shape, Candidate] = {}  # policies of one shape differ in their distances, and so in no amount
    for policy in policies(tiles):
        plans = tuple([plan for op in ops if (plan := op.under(policy))])
        if len(plans) == len(ops) and plans not in found:
            if policy.shape not in alike:
                alike[policy.shape] = Candidate.of(policy, plans, pairs, counts)
            found[plans] = replace(alike[policy.shape], policy=policy, plans=plans)
    return tuple([one for one in found.values() if not any(other.beats(one) for other in found.values())])


def units(ops: Sequence[Tilings]) -> dict[Work, int]:
    """Ticks per unit of amount of each server that the ops use."""
    found: dict[Work, int] = {}
    for op in ops:
        for server, unit in enumerate(op.units):
            key = _work(server, op.opd.pair)
            found[key] = max(unit, found.get(key, 1))  # 1 where the op does not use the server
    return found
