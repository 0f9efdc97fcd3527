"""Streams: ops without a weight matrix, as equal tiles of what they read, compute and write."""

from __future__ import annotations

import itertools
from math import ceil, floor

from hwsim.mapping.conflicts import group_cycles
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.plan import NONE, Draft, Plan, Shape, Stay
from hwsim.mapping.program import (
    DOT,
    DOT_QUEUE,
    DRAM,
    GATHER,
    LINK,
    OUTPUTS,
    ROUND,
    ROUND_QUEUE,
    SORT,
    SORT_QUEUE,
    VECTOR,
    VECTOR_QUEUE,
    WEIGHTS,
    Tile,
)
from hwsim.mapping.sorting import sort_cycles
from hwsim.mapping.traffic import (
    activation_bytes,
    banked,
    cache_bytes,
    cached_cycles,
    pieces,
    product_slots,
    vector_passes,
    weight_bytes,
)
from hwsim.workload.op import CACHES, Op

#: An op with much to compute and little to read still has this many tiles, so that its servers overlap.
COMPUTE_TILES = 64

#: Rows read one by one, cycles of banked memory, bytes read in order, multiply-adds, vector passes, cycles of
#: the sorter, values rounded,
#: ticks of a collective, bytes written.
Amounts = tuple[int, ...]

#: The queue in front of a server that a compute server feeds.
_QUEUE = {DOT: DOT_QUEUE, VECTOR: VECTOR_QUEUE, ROUND: ROUND_QUEUE, SORT: SORT_QUEUE}


class Stream(Draft):
    """One op without a weight matrix."""

    def plan(self, sent: int, latency: int) -> Plan | None:
        """All tiles, the last with the remainder; or None where tiles of this shape do not fit the buffers.

        sent: ticks of the op's collective; latency: what of them is latency.
        """
        op, opd, buffers, chunk = self.op, self.opd, self.arch.buffers, self.shape.chunk
        weights = weight_bytes(op, opd) if op.weights else 0
        cache_in, cache_out = cache_bytes(op, opd)
        acts_in = activation_bytes(opd, op.inputs) if self.in_dram else self.spill_in
        acts_out = activation_bytes(opd, op.outputs) if self.in_dram else self.spill_out
        apart, piece = pieces(op, opd, self.in_dram)
        payload = apart * piece  # rows of weights, or those of activations as whole rows
        if apart and op.irregular and not op.irregular.table:
            acts_in += payload - activation_bytes(opd, apart * op.irregular.row)
        read, write = weights + cache_in + acts_in - payload, cache_out + acts_out
        if 2 * chunk > min(buffers.weights, buffers.outputs):
            return None
        self.moved["weights"] += weights
        if op.cache:
            self.moved[CACHES[op.cache.role]] += cache_in + cache_out
        self.moved["activations"] += acts_in + acts_out
        volume = self.shape.m * self.shape.n * self.shape.k
        gathered = self._gathered()
        computed = max(gathered, self._sorted(), -(-op.macs // volume))
        tiles = max(1, -(-(read + payload) // chunk), -(-write // chunk), min(COMPUTE_TILES, computed))
        self.deepest = buffers.outputs // max(1, write // tiles) - 1
        rounded = op.cached if opd.stochastic else 0
        slots = product_slots(self.arch, op, opd) if op.macs else 0
        whole = (apart, gathered, read, slots, vector_passes(self.arch, op), self._sorted(), rounded, sent, write)
        spread = max(read % tiles, write % tiles, apart % tiles * piece) > chunk
        shares = even(whole, tiles) if spread else uneven(whole, tiles)
        made = [(times, self._tile(last, piece, *amounts)) for times, amounts, last in shares]
        loops = [self.loop(times, tile) for times, tile in made if tile.steps or not tile.result]
        return self.whole(loops, latency)

    def _gathered(self) -> int:
        """Cycles of the banked memory, or of the cache, for all rows of the op."""
        if self.opd.held:
            return ceil(cached_cycles(self.arch, self.op, self.opd))
        words, accesses = banked(self.arch, self.op, self.opd)
        rows, gather = self.op.irregular, self.arch.gather
        if not words or rows is None or gather is None:
            return 0
        group = group_cycles(gather.ports, gather.banks, words, rows.distribution, rows.of)
        return ceil(accesses * group * rows.rows / gather.ports)

    def _sorted(self) -> int:
        """Cycles of the sorter."""
        sorting, sorter = self.op.sorting, self.arch.sort
        return sort_cycles(sorting, sorter.comparators) if sorting and sorter else 0

    @property
    def clipped(self) -> Shape:
        """The least shape with the same tiles."""
        return self.shape._replace(resident=NONE)

    def _tile(
        self,
        result: bool,
        piece: int,
        apart: int,
        gathered: int,
        read: int,
        macs: int,
        passes: int,
        sorts: int,
        rounded: int,
        sent: int,
        write: int,
    ) -> Tile[Stay]:
        """read -> gather -> dot -> vector -> sort -> round -> link -> write, without the parts that are zero."""
        streamed, read = read, read + apart * piece
        amounts = {DRAM: read, GATHER: gathered, DOT: macs, VECTOR: passes, SORT: sorts, ROUND: rounded, LINK: sent}
        kinds = [server for server, amount in amounts.items() if amount]
        steps = []
        for i, server in enumerate(kinds):
            final, takes, gives = i == len(kinds) - 1, [], []
            if server == DRAM:
                takes.append((WEIGHTS, read))
            if kinds[0] == DRAM and i == min(1, len(kinds) - 1):  # the server that the read feeds lets go of it
                gives.append((WEIGHTS, read))
            if server != DRAM and not final:
                takes.append((_QUEUE[kinds[i + 1]], 1))
            if i and kinds[i - 1] != DRAM:
                gives.append((_QUEUE[server], 1))
            if final:
                takes.append((OUTPUTS, write))
            waits = server != DRAM or (final and i == 0)
            if server == DRAM:
                steps.append(
                    self.transfer(
                        streamed, takes=takes, gives=gives if final else (), waits=waits, pieces=(apart, piece)
                    )
                )
            else:
                steps.append(self.compute(server, amounts[server], takes, gives, waits))
        store = self.transfer(write, write=True, gives=((OUTPUTS, write),)) if write and steps else None
        return Tile(tuple(steps), store, result)


def uneven(whole: Amounts, tiles: int) -> list[tuple[int, Amounts, bool]]:
    """Equal parts of each amount, and a last one with what is left over; as (times, part, whether it is the last)."""
    share = tuple(amount // tiles for amount in whole)
    rest = tuple(amount - (tiles - 1) * each for amount, each in zip(whole, share, strict=True))
    return [*([(tiles - 1, share, False)] if tiles > 1 else []), (1, rest, True)]


def even(whole: Amounts, tiles: int) -> list[tuple[int, Amounts, bool]]:
    """The same, but what is left over is spread over the first parts: for so many that it would fit no buffer."""
    ends = sorted({amount % tiles for amount in whole} | {0, tiles - 1, tiles})
    return [
        (end - start, tuple(amount // tiles + (start < amount % tiles) for amount in whole), end == tiles)
        for start, end in itertools.pairwise(ends)
    ]


def collective(pipeline: Pipeline, op: Op, opd: Operands) -> tuple[int, int]:
    """(ticks of the op's collective on the link, what of them is latency)."""
    link = pipeline.arch.link
    if not op.link:
        return 0, 0
    assert link is not None, "a run on several chips checks that there is a link"
    nbytes = activation_bytes(opd, op.link_elements)
    ticks = ceil(link.cycles(op.link, nbytes, op.peers) * pipeline.q)
    moving = link.volume(op.link, nbytes, op.peers) / link.bytes_per_cycle * pipeline.q
    return ticks, ticks - floor(moving)
