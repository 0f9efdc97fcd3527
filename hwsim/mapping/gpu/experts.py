"""Kernels for the experts of a layer: two grouped GEMMs, and what sorts, activates and sums the rows around them.

    layer = launch + sum over up and down of max(memory, core) + rows (6 h + 2 (g + 1) i) / rate of rows
    memory = bytes of the chosen experts' weights and of the rows / rate of long streams
    core   = x (1 + sustained x / (x + knee)),  x = max(tiles / cores, 1) * max(128 * 128 k / R, floor)

g: 2 with a gate beside `up`, else 1. R is the dense GEMMs' of the same formats; the two rates are the chip's; a set of
kernels has a launch, and at most one number more: the least time of a tile, or its own share of the rate of rows. So a
layer that was not measured is predicted from those that were.
Kernels that convert their weights have tiles of 16, 32 or 64 rows, add the conversion to each tile, and hide memory and
cores behind each other only partly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.arch.cores import Cores, ExpertChip, ExpertKernel, ExpertRates, Family
from hwsim.mapping.gpu.kernels import Kernel, Wave, overlapped

#: Outputs and rows of a tile; rows of the tiles of kernels that convert.
SIDE, FEW = 128, (16, 32, 64)
#: How memory and cores of kernels that convert add up: (memory^p + core^p)^(1/p).
POWER = 3


@dataclass(frozen=True, slots=True)
class ExpertGemms:
    """One of the two grouped GEMMs. groups: (experts, rows each); weights [n, k] each. moved: bytes of the rows that
    are copied around it.
    """

    groups: tuple[tuple[int, int], ...]
    n: int
    k: int
    moved: int

    @property
    def experts(self) -> int:
        """Different ones."""
        return sum(count for count, _ in self.groups)

    @property
    def rows(self) -> int:
        """Of all of them."""
        return sum(count * rows for count, rows in self.groups)


def expert_gemms(groups: Sequence[tuple[int, int]], n: int, k: int, down: bool, outputs: int) -> ExpertGemms:
    """The grouped GEMM of an op. down: the second one, whose inputs are one row per chosen expert. outputs: elements
    that the op leaves, behind its activation.
    """
    rows = sum(count * m for count, m in groups)
    moved = rows * 3 * n if down else rows * (3 * k + 2 * n) + 2 * outputs
    return ExpertGemms(tuple(groups), n, k, moved)


def expert_kernel(
    one: ExpertGemms,
    kernel: ExpertKernel,
    rates: ExpertRates,
    chip: ExpertChip,
    family: Family,
    cores: Cores,
    weight_bytes: float,
    activation_bytes: float,
) -> Kernel:
    """One of the two grouped GEMMs, with half of the layer's launches. weight_bytes, activation_bytes: per element."""
    clock, count = cores.peaks.clock_hz, cores.count
    moved = one.experts * one.n * one.k * weight_bytes + one.rows * one.k * activation_bytes
    memory = moved / min(chip.weight_share * cores.peaks.dram, count * family.feed_per_second)
    side, convert = SIDE, 0.0
    if kernel.converts:
        mean = one.rows / one.experts
        side = next((f for f in FEW if f >= mean), FEW[-1])
        convert = SIDE * one.k / (kernel.converts * clock)
    tiles = sum(c * -(-rows // side) for c, rows in one.groups) * -(-one.n // SIDE)
    tile = max(side * SIDE * one.k / family.macs_per_second + convert, rates.floor_cycles / clock)
    core = max(tiles / count, 1) * tile
    core *= 1 + cores.sustained * core / (core + cores.knee_seconds)
    part = overlapped(memory, core, POWER) if kernel.converts else 0.0
    copied = one.moved / (chip.row_bytes * rates.rows_share * cores.cycles_per_second)
    waves = Wave(1, memory, core, 0.0, 0.0, part, max(0.0, 1 - tiles / count)), Wave(1, copied, 0.0, 0.0, 0.0)
    return Kernel(rates.launch_seconds / 2, waves, int(moved))
