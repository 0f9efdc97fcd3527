"""GEMMs of a vendor library: output tiles are scheduled onto the cores in waves.

    wave   = max(core, read) + part * min(core, read) in the first, max(core, read) in the others
             + result + store                               (results leave after the last step of K)
    kernel = launch + its waves [+ reduction of split K]

A wave is one tile on each core; it occupies DRAM, then the cores, then the write-back path. `core` is the slowest of
multiplying the padded tile, feeding it (and converting its weights), and stepping through K; two tiles share a core, so
steps of full pairs overlap. `part` is the share that lies in the cores' memory at the start and the end: fill and
drain. Activations that the op before has left in L2 are read at three times the memory's speed. A shape enters only
through these counts. The formulas hold for plain numbers and for arrays, so that `calibrate` computes thousands of
GEMMs at once with the same lines.

The library is assumed to choose the fastest tile of its menu (`arch_configs/kernels/`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hwsim.arch.cores import Cores, CoreTile, Family
from hwsim.formats.layout import Layout
from hwsim.mapping.gpu.kernels import Kernel, Wave

#: L2 is assumed to be this much faster than DRAM.
L2_SPEED = 3
#: K up to which a family's `drain_seconds` count.
SHORT_K = 128


class Number(Protocol):
    """A number, or an array of them: what the formulas below compute with."""

    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __floordiv__(self, other: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...


N = TypeVar("N", bound=Number)


@dataclass(frozen=True, slots=True)
class Pick(Generic[N]):
    """The lesser and the greater of two numbers, or element by element of two arrays."""

    least: Callable[[Any, Any], N]
    most: Callable[[Any, Any], N]


#: For plain numbers; `measured.calibrate` brings the functions for arrays.
PLAIN: Pick[float] = Pick(min, max)


@dataclass(frozen=True, slots=True)
class Problem(Generic[N]):
    """Y[m,n] = X[m,k] W[n,k]^T by one tile. chain: 1 where K passes through dependent multiply-adds, else 0.

    groups: (GEMMs, rows each) where one kernel computes many, each with its own weights and its own padding; m is
    then their mean. Otherwise one GEMM of m rows.
    read_bytes: of activations that cross the memory, where they are not X: windows overlap, or more is read beside it.
    """

    m: N
    n: N
    k: N
    tile_m: N
    tile_n: N
    split: N
    chain: N
    weight_bytes: float
    activation_bytes: float
    groups: tuple[tuple[int, int], ...] | None = None
    read_bytes: float | None = None

    @classmethod
    def of(
        cls,
        m: int,
        n: int,
        k: int,
        tile: CoreTile,
        weight_bytes: float,
        activation_bytes: float,
        groups: tuple[tuple[int, int], ...] | None = None,
        read_bytes: float | None = None,
    ) -> Problem[float]:
        """Of plain numbers."""
        shape = tile.m, tile.n, tile.split, tile.chain
        return Problem(m, n, k, *shape, weight_bytes, activation_bytes, groups, read_bytes)


@dataclass(frozen=True, slots=True)
class GemmTimes(Generic[N]):
    """What `gemm_times` finds, seconds (waves: a count; idle: share of the cores without a tile in the last)."""

    waves: N
    read: N
    read_last: N
    core: N
    core_last: N
    part: N
    result: N
    store: N
    reduce: N
    idle: N

    def seconds(self, pick: Pick[N]) -> N:
        """The waves of one GEMM, without launch."""
        one = self.waves == 1
        core = self.core + one * (self.core_last - self.core)
        read = self.read + one * (self.read_last - self.read)
        waves = (self.waves - 1) * pick.most(self.core, self.read) + pick.most(self.core_last, self.read_last)
        found: N = waves + self.part * pick.least(core, read) + self.waves * self.result + self.store + self.reduce
        return found


def gemm_times(problem: Problem[N], family: Family, cores: Cores, pick: Pick[N], warm: bool = False) -> GemmTimes[N]:
    """One kernel of one tile. warm: weights stay in L2 between repeats, as in a benchmark."""
    m, n, k, tm, tn, split = problem.m, problem.n, problem.k, problem.tile_m, problem.tile_n, problem.split
    weight_bytes, activation_bytes = problem.weight_bytes, problem.activation_bytes
    groups: Any = problem.groups or ((1, m),)
    count, all_rows = sum(c for c, _ in groups), sum(c * r for c, r in groups)
    tiles_m = sum(c * -(-r // tm) for c, r in groups)
    tiles = tiles_m * -(-n // tn) * split
    share = -(-k // split)
    depth = -(-share // 64) * 64
    waves = -(-tiles // cores.count)
    rows, columns = pick.least(m, tm), pick.least(n, tn)
    beyond = (tiles_m * tm - all_rows) / tiles_m * (m > 64)
    macs = tm * tn * depth / family.macs_per_second
    lasting = macs * tiles / cores.count
    macs = macs * (1 + cores.sustained * lasting / (lasting + cores.knee_seconds))
    tile_bytes = (rows * activation_bytes + columns * weight_bytes) * depth
    feed = (tile_bytes + family.over_rows * beyond * activation_bytes * depth) / family.feed_per_second
    if family.convert_per_second:
        feed = pick.most(feed, columns * depth / family.convert_per_second)
    steps = depth * cores.step_seconds * problem.chain
    busy = pick.most(macs, feed) + (k <= SHORT_K) * family.drain_seconds
    core = pick.most(busy, steps / 2)
    odd = waves % 2
    weight: Any = k * count * n * weight_bytes
    acts: Any = k * all_rows * activation_bytes if problem.read_bytes is None else problem.read_bytes
    if cores.warm_bytes and warm:
        kept = pick.least(weight, cores.warm_bytes * cores.warm_bytes / weight)
        weight = weight - kept * (1 - 1 / L2_SPEED)
    acts = acts - acts * (acts <= cores.resident * cores.peaks.cache) * (1 - 1 / L2_SPEED)
    moved = weight + acts
    read = moved / cores.bandwidth
    last = tiles - (waves - 1) * cores.count
    return GemmTimes(
        waves=waves,
        read=read * cores.count / tiles,
        read_last=read * last / tiles,
        core=core,
        core_last=core + odd * (pick.most(busy, steps) - core),
        part=pick.least(1.0, cores.memory_bytes / tile_bytes),
        result=rows * columns * 2 / family.feed_per_second,
        store=2 * all_rows * n / cores.store,
        reduce=(split > 1) * (cores.reduce_seconds + split * all_rows * n * 8 / (L2_SPEED * cores.bandwidth)),
        idle=1 - last / cores.count,
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
    read_bytes: float | None = None,
) -> Kernel:
    """The library's kernel for a GEMM, or for `groups` of m rows in the mean: the fastest tile it has for m rows."""
    groups = groups or ((1, m),)
    count, rows = sum(c for c, _ in groups), sum(c * r for c, r in groups)
    wb, ab = float(weights.bits_per_value) / 8, float(acts.bits_per_value) / 8
    fitting = (t for t in family.tiles if t.rows[0] <= m <= t.rows[1])
    problems = (Problem.of(m, n, k, t, wb, ab, groups, read_bytes) for t in fitting)
    times = (gemm_times(problem, family, cores, PLAIN, warm) for problem in problems)
    p = min(times, key=lambda found: found.seconds(PLAIN))
    waves, store = int(p.waves), p.store / p.waves
    if waves == 1:
        found = [Wave(1, p.read_last, p.core_last, p.result, store, p.part, p.idle)]
    else:
        found = [Wave(1, p.read, p.core, p.result, store, p.part)]
        if waves > 2:
            found.append(Wave(waves - 2, p.read, p.core, p.result, store))
        found.append(Wave(1, p.read_last, p.core_last, p.result, store, idle=p.idle))
    if p.reduce:
        found.append(Wave(1, 0.0, p.reduce, 0.0, 0.0, cause="reduction"))
    quantise = family.quantise_seconds * rows * k
    if quantise:
        found.insert(0, Wave(1, quantise, 0.0, 0.0, 0.0))
    read = int(k * (count * n * wb + rows * ab)) if read_bytes is None else int(k * count * n * wb + read_bytes)
    return Kernel(family.launch_seconds, tuple(found), read, 2 * rows * n)


def grouped(
    groups: Sequence[tuple[int, int]],
    n: int,
    k: int,
    family: Family,
    cores: Cores,
    weights: Layout,
    acts: Layout,
    read_bytes: float | None = None,
) -> Kernel:
    """One kernel for the GEMMs of many experts: `groups` of (experts, rows each), weights [n, k] each.

    Each expert's rows are padded to whole tiles; the library chooses its tile by their mean.
    """
    experts, rows = sum(count for count, _ in groups), sum(count * m for count, m in groups)
    return gemm(-(-rows // experts), n, k, family, cores, weights, acts, groups=tuple(groups), read_bytes=read_bytes)
