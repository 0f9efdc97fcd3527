"""Access at scattered addresses against Ramulator 2.1 (CMU-SAFARI/ramulator2, c5b1c3a), and refresh by density.

Ramulator: one channel, FR-FCFS, open rows, a queue of 64, up to 256 reads under way, neighbouring accesses in other
banks and bank groups. Each number is the share of the channel's peak that arrives.
"""

from dataclasses import replace
from fractions import Fraction

import pytest
import yaml

from hwsim.arch import load_arch, load_arch_text
from hwsim.arch.builtin import arch_folder
from hwsim.arch.memory import Dram
from hwsim.errors import InputError

#: One DDR4-3200 channel of 8 Gb x8 parts. JESD79-4: tFAW 34 cycles of 0.625 ns, tRFC 360 ns, tREFI 7.8 us. The gap is
#: that of Ramulator's random reads of 1 KiB, as on the shipped machines.
DDR4 = """
bandwidth: 25.6 GB/s
latency: 100 cycles
beat: 64 B
capacity: 8 GB
refresh: {kind: all_bank, period: 7.8 us, stall: 360 ns}
scattered: {channels: 1, burst: 64 B, row: 8 KiB, banks: 4, activation: 5.3125 ns, gap: 1.1 ns, turnaround: 8.75 ns}
"""

#: By memory: stream, then random reads by bytes, then 4 KiB read and 4 KiB written in turns.
RAMULATOR = {
    "hbm3": (0.892, {64: 0.295, 256: 0.295, 1024: 0.709, 4096: 0.839, 16384: 0.892}, 0.785),
    "lpddr5": (0.935, {64: 0.460, 256: 0.719, 1024: 0.875, 4096: 0.902}, 0.885),
    "ddr3": (0.963, {64: 0.641, 1024: 0.958, 4096: 0.945}, 0.928),
    "ddr4": (0.950, {64: 0.436, 1024: 0.925, 4096: 0.913}, 0.900),
}


def one_channel(name: str, bandwidth: str, **changes: str) -> Dram:
    """A shipped machine's memory cut to one channel at the rate that Ramulator ran."""
    changes = {"bandwidth": bandwidth, "scattered.channels": "1"} | {k.replace("_", "."): v for k, v in changes.items()}
    return load_arch(name, [(f"dram.{path}", text) for path, text in changes.items()]).dram


def memory(kind: str) -> Dram:
    if kind == "hbm3":  # 6.4 Gb/s on 64 bits; Ramulator's device holds 16 Gb per channel, an H100's 8 Gb
        return one_channel("h100-sxm", "51.2 GB/s", refresh_stall="450 ns")
    if kind == "lpddr5":  # 6.4 Gb/s on 16 bits
        return one_channel("edge-mx", "12.8 GB/s")
    if kind == "ddr3":
        return load_arch("seedlm-virtex7").dram
    machine = yaml.safe_load((arch_folder() / "m0.yaml").read_text()) | {"dram": yaml.safe_load(DDR4)}
    return load_arch_text(yaml.safe_dump(machine)).dram


def share(dram: Dram, nbytes: int, turns: int = 0) -> float:
    return float(dram.scattered_rate(nbytes, turns) / dram.bytes_per_cycle)


@pytest.mark.parametrize("kind", RAMULATOR)
def test_streams_reach_what_refresh_leaves(kind):
    stream, dram = RAMULATOR[kind][0], memory(kind)
    assert float(1 - dram.refresh.share) == pytest.approx(stream, rel=0.02)
    assert share(replace(dram, scattered=None), 4096) == float(1 - dram.refresh.share)


@pytest.mark.parametrize("kind", RAMULATOR)
def test_random_reads(kind):
    """The gap is fitted to 1 KiB; 64 B follow from tFAW alone, the other sizes from both."""
    dram = memory(kind)
    for nbytes, measured in RAMULATOR[kind][1].items():
        assert share(dram, nbytes) == pytest.approx(measured, rel=0.05), nbytes


@pytest.mark.parametrize("kind", RAMULATOR)
def test_reads_and_writes_in_turns(kind):
    """Turnaround is that of the standard's latencies, not fitted. Turns of 4 KiB follow each other in one stream."""
    dram = memory(kind)
    without = replace(dram, scattered=replace(dram.scattered, gap_cycles=Fraction(0)))
    assert share(without, 4096, turns=1) == pytest.approx(RAMULATOR[kind][2], rel=0.02)


def test_scattered_cycles_by_hand():
    """Two channels, 4 B a cycle each: rows open one in 6 cycles in a channel, data takes 16, a gap 5, a turn 12."""
    machine = yaml.safe_load((arch_folder() / "m0.yaml").read_text())
    machine["dram"] |= {"bandwidth": "8 B/cycle", "beat": "32 B"}
    machine["dram"]["scattered"] = {"channels": 2, "burst": "32 B", "row": "64 B", "banks": 3}
    times = {"activation": "6 cycles", "gap": "5 cycles", "turnaround": "12 cycles"}
    machine["dram"]["scattered"] |= times
    dram = load_arch_text(yaml.safe_dump(machine)).dram
    assert dram.scattered_cycles(10, 64) == 10 * Fraction(16 + 5, 2)  # two rows, 12 cycles, lie behind the data
    assert dram.scattered_cycles(10, 33) == dram.scattered_cycles(10, 64)  # whole beats
    assert dram.scattered_cycles(10, 64, turns=10) == 10 * Fraction(16 + 5 + 12, 2)
    assert [dram.scattered.rows(n) for n in (1, 32, 33, 65, 97, 256, 257)] == [1, 1, 2, 3, 3, 4, 5]
    slow = replace(dram, scattered=replace(dram.scattered, activation_cycles=Fraction(40)))
    assert slow.scattered_cycles(10, 64) == 10 * 40  # two rows of 40 cycles in each of two channels
    assert dram.scattered_rate(64) == 64 / Fraction(21, 2)


@pytest.mark.parametrize(
    "name, channels, gigabits",
    [("h100-sxm", 80, 8), ("h200-sxm", 96, 12), ("b200", 128, 12), ("a100-sxm", 40, 16), ("mi210", 32, 16)]
    + [("h200-sxm-regen", 96, 12), ("h200-sxm-trtllm", 96, 12), ("tpu-v4i", 16, 4)],
)
def test_refresh_follows_the_density_of_a_channel(name, channels, gigabits):
    """Gigabytes of the stacks, not all of them sold, over channels; JESD238B.01, table 93, and HBM2 as Ramulator 2."""
    dram = load_arch(name).dram
    stall = {4: 260, 8: 350, 12: 410, 16: 450}[gigabits]
    assert dram.scattered.channels == channels
    held = Fraction(dram.capacity_bytes * 8, channels * 10**9)
    assert gigabits * Fraction(9, 10) < held <= gigabits
    assert dram.refresh.share == Fraction(stall, 3900)


def test_a_row_smaller_than_an_access_is_refused():
    small = "{channels: 1, burst: 64 B, row: 32 B, banks: 4, activation: 5 ns, gap: 0 ns, turnaround: 0 ns}"
    with pytest.raises(InputError, match="dram.scattered.row: is smaller than one access; write 64 B or more"):
        load_arch("m0", [("dram.scattered", small)])
