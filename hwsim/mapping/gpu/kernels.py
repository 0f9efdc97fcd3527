"""Kernels on cores: tiles dealt to cores in waves, each wave a stay on the memory, on the cores and on its results.

    wave   = max(core, read) + part * min(core, read) in the first, max(core, read) in the others
             + result + store                               (results leave after the last step of K)
    kernel = launch + its waves [+ reduction of split K]

A wave is one tile on each core. `core` is the slowest of multiplying the padded tile, feeding it, and stepping
through K; two tiles share a core, so steps of full pairs overlap. `part` is what lies in the cores' memory at the
start and the end: fill and drain. Nothing here depends on a shape but through these counts. Written with operators
and the two functions passed in, so that `calibrate` computes thousands of products at once with the same lines.

The library's choice among its tiles is taken to be the fastest of its menu (`arch_configs/kernels/`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hwsim.arch.cores import Cores, CoreTile, Family
from hwsim.formats.layout import Layout

#: Share of the shorter of read and work left over in one-wave kernels of many small blocks: fill and drain.
UNHIDDEN = 0.1


@dataclass(frozen=True, slots=True)
class Wave:
    """`repeat` equal waves, seconds. part: share of the shorter of read and core that the other does not hide."""

    repeat: int
    read: float
    core: float
    result: float
    store: float
    part: float = 0.0

    @property
    def seconds(self) -> float:
        """Time of one of them."""
        return max(self.core, self.read) + self.part * min(self.core, self.read) + self.result + self.store


@dataclass(frozen=True, slots=True)
class Kernel:
    """Launch and waves, seconds; bytes that cross the memory."""

    launch: float
    waves: tuple[Wave, ...]
    read_bytes: int = 0
    store_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Time in closed form; the simulator finds the same from servers and buffers."""
        return self.launch + sum(w.repeat * w.seconds for w in self.waves)


@dataclass(frozen=True, slots=True)
class Parts:
    """What `product` finds: numbers, or arrays of them. Seconds."""

    waves: Any
    read: Any
    read_last: Any
    core: Any
    core_last: Any
    part: Any
    result: Any
    store: Any
    reduce: Any

    def seconds(self, least, most) -> Any:
        """Waves of one product, without launch."""
        one = self.waves == 1
        core = self.core + one * (self.core_last - self.core)
        read = self.read + one * (self.read_last - self.read)
        waves = (self.waves - 1) * most(self.core, self.read) + most(self.core_last, self.read_last)
        return waves + self.part * least(core, read) + self.waves * self.result + self.store + self.reduce


def product(
    m,
    n,
    k,
    weight_bytes,
    activation_bytes,
    tile: CoreTile,
    family: Family,
    cores: Cores,
    warm=0.0,
    groups=None,
    least=min,
    most=max,
) -> Parts:
    """Y[m,n] = X[m,k] W[n,k]^T as one kernel of `tile`; bytes an element of W and X.

    Numbers or arrays for m, n, k, the tile's sides and the rates; `least`, `most` compare them. groups: (products,
    rows each) where one kernel makes many, each with weights of its own and its own padding; m is then their mean.
    """
    tm, tn, split = tile.m, tile.n, tile.split
    groups = groups or ((1, m),)
    count, all_rows = sum(c for c, _ in groups), sum(c * r for c, r in groups)
    tiles_m = sum(c * -(-r // tm) for c, r in groups)
    tiles = tiles_m * -(-n // tn) * split
    share = -(-k // split)
    depth = -(-share // 64) * 64
    waves = -(-tiles // cores.count)
    rows, columns = least(m, tm), least(n, tn)
    beyond = (tiles_m * tm - all_rows) / tiles_m * (m > 64)
    macs = tm * tn * depth / family.macs_per_second
    lasting = macs * tiles / cores.count
    macs = macs * (1 + cores.sustained * lasting / (lasting + cores.knee_seconds))
    tile_bytes = (rows * activation_bytes + columns * weight_bytes) * depth
    feed = (tile_bytes + family.over_rows * beyond * activation_bytes * depth) / family.feed_per_second
    steps = depth * cores.step_seconds * tile.chain
    busy = most(macs, feed)
    core = most(busy, steps / 2)
    odd = waves % 2
    moved = k * (count * n * weight_bytes + all_rows * activation_bytes)
    if cores.warm_bytes and warm:
        kept = least(moved, cores.warm_bytes * cores.warm_bytes / moved)
        moved = moved - kept * (2 / 3)  # L2 is taken to be three times as fast as DRAM
    read = moved / cores.bandwidth
    last = tiles - (waves - 1) * cores.count
    return Parts(
        waves=waves,
        read=read * cores.count / tiles,
        read_last=read * last / tiles,
        core=core,
        core_last=core + odd * (most(busy, steps) - core),
        part=least(1.0, cores.memory_bytes / tile_bytes),
        result=rows * columns * 2 / family.feed_per_second,
        store=2 * all_rows * n / cores.store,
        reduce=(split > 1) * (cores.reduce_seconds + split * all_rows * n * 8 / (3 * cores.bandwidth)),
    )


def gemm(
    m: int,
    n: int,
    k: int,
    family: Family,
    cores: Cores,
    weights: Layout,
    acts: Layout,
    warm: bool = False,
    groups: tuple[tuple[int, int], ...] | None = None,
) -> Kernel:
    """The library's kernel for a product, or for `groups` of m rows in the mean: the fastest tile it has for m rows."""
    groups = groups or ((1, m),)
    count, rows = sum(c for c, _ in groups), sum(c * r for c, r in groups)
    wb, ab = float(weights.bits_per_value) / 8, float(acts.bits_per_value) / 8
    best = None
    for tile in family.tiles:
        if tile.rows[0] <= m <= tile.rows[1]:
            p = product(m, n, k, wb, ab, tile, family, cores, warm, groups)
            t = p.seconds(min, max)
            if best is None or t < best[0]:
                best = (t, tile, p)
    _, tile, p = best
    waves, store = int(p.waves), p.store / p.waves
    if waves == 1:
        found = [Wave(1, p.read_last, p.core_last, p.result, store, p.part)]
    else:
        found = [Wave(1, p.read, p.core, p.result, store, p.part)]
        if waves > 2:
            found.append(Wave(waves - 2, p.read, p.core, p.result, store))
        found.append(Wave(1, p.read_last, p.core_last, p.result, store))
    if p.reduce:
        found.append(Wave(1, 0.0, p.reduce, 0.0, 0.0))
    quantise = family.quantise_bytes * rows * k / cores.bandwidth
    if quantise:
        found.insert(0, Wave(1, quantise, 0.0, 0.0, 0.0))
    read = int(k * (count * n * wb + rows * ab))
    return Kernel(family.launch_seconds, tuple(found), read, 2 * rows * n)


def grouped(groups, n: int, k: int, family: Family, cores: Cores, weights: Layout, acts: Layout) -> Kernel:
    """One kernel for the products of many experts: `groups` of (experts, rows each), weights [n, k] each.

    Each expert's rows are padded to whole tiles; the library picks its tile by their mean.
    """
    experts, rows = sum(count for count, _ in groups), sum(count * m for count, m in groups)
    return gemm(-(-rows // experts), n, k, family, cores, weights, acts, groups=tuple(groups))


def expert_layer(
    tokens: int,
    top_k: int,
    groups,
    hidden: int,
    inner: int,
    gated: int,
    family: Family,
    cores: Cores,
    weights: Layout,
    acts: Layout,
    launch: float,
    rate: float = 1.0,
    copy: float = 1.0,
) -> float:
    """Seconds of the experts of a layer: two grouped products, and what sorts, activates and sums between them.

    launch: of all its kernels; rate, copy: shares of the family's multiply-adds and of the memory that they reach.
    """
    family = replace(family, launch_seconds=0.0, quantise_bytes=0.0, macs_per_second=rate * family.macs_per_second)
    cores = replace(cores, bandwidth=copy * cores.bandwidth, store=copy * cores.store)
    up = grouped(groups, gated * inner, hidden, family, cores, weights, acts)
    down = grouped(groups, hidden, inner, family, cores, weights, acts)
    moved = tokens * top_k * (6 * hidden + 2 * (gated + 1) * inner)
    return launch + up.seconds + down.seconds + moved / cores.bandwidth


def elementwise(nbytes: float, work: float, launch: float, cores: Cores) -> Kernel:
    """A kernel without weights to multiply: bytes over the memory or `work` seconds on its lanes, the longer."""
    return Kernel(launch, (Wave(1, nbytes / cores.bandwidth, work, 0.0, 0.0),), int(nbytes))


def convolution(
    sequences: int, tokens: int, channels: int, cores: Cores, launch: float, block: float, copy: float
) -> Kernel:
    """Causal convolution of prompts: a block for each sequence and channel, five of them on a core.

    block: seconds of one; fewer than eight tokens take a slower path, by 1.3 on both chips. copy: bytes a second.
    """
    nbytes = 4 * sequences * tokens * channels
    work = -(-sequences * channels // (5 * cores.count)) * block * (1.3 if tokens < 8 else 1.0)
    return Kernel(launch, (Wave(1, nbytes / copy, work, 0.0, 0.0, UNHIDDEN),), nbytes)


def conv_update(sequences: int, channels: int, cores: Cores, launch: float, copy: float, cached: float) -> Kernel:
    """Convolution of one token a sequence: its state read and written, in place.

    copy: bytes a second from DRAM. cached: where the state is less than half of L2, whose two halves hold a copy each;
    a larger one is read in turn and gone before it comes round again, so that none of it is found.
    """
    nbytes = 16 * sequences * channels
    rate = cached if nbytes <= cores.cache_bytes else copy
    return Kernel(launch, (Wave(1, nbytes / rate, 0.0, 0.0, 0.0),), nbytes)


def all_reduce(chips: int, nbytes: float, launch: float, link: float, second: float) -> float:
    """Seconds of a sum over chips: in one step (each sends all) or two (scatter, gather), the faster.

    link: bytes a second into a chip; second: seconds of the second step's start. (Thakur et al., IJHPCA 19, 2005.)
    """
    return launch + min((chips - 1) * nbytes / link, second + 2 * (chips - 1) / chips * nbytes / link)
