"""Calibration: known rates are found again, files are refused where they are wrong, fits on a limit too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwsim.arch import load_arch
from hwsim.arch.builtin import arch_folder
from hwsim.arch.calibration import CalibrationFile, calibrated
from hwsim.arch.cores import CoreTile
from hwsim.errors import InputError
from hwsim.files import fields
from hwsim.files.yaml import parse, read
from hwsim.jobs.kernels import attention
from hwsim.mapping.gpu.gemm import PLAIN, Problem, gemm_times
from hwsim.measured import calibrate as c
from hwsim.measured.sets import datasets


def synthetic(arch, seed=0):
    """Times of the machine's own kernels for random shapes, one family."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** rng.uniform(6, 14, (500, 3)) // 8 * 8
    sizes[:, 0] = 2.0 ** rng.integers(0, 14, 500)
    family = arch.cores.named("bfloat16")
    rows = np.column_stack([sizes, np.ones(len(sizes))])
    rows[:, 3] = c.Gemms(rows, family).seconds(family, arch.cores)
    return {"bfloat16": rows}


def test_rates_that_made_the_times_are_found_again():
    arch = load_arch("h100-sxm")
    found = c.fit(arch, synthetic(arch), steps=60)
    truth, family = arch.cores, arch.cores.named("bfloat16")
    got = found.cores.named("bfloat16")
    assert found.error < 0.01
    assert found.cores.bandwidth == pytest.approx(truth.bandwidth, rel=0.03)
    assert got.launch_seconds == pytest.approx(family.launch_seconds, rel=0.03)
    assert got.macs_per_second == pytest.approx(family.macs_per_second, rel=0.05)
    assert got.feed_per_second == pytest.approx(family.feed_per_second, rel=0.05)


def test_a_fit_on_a_limit_says_so():
    arch = load_arch("h100-sxm")
    data = synthetic(arch)
    data["bfloat16"][:, 3] *= 40  # no launch in the range is so slow
    assert "bfloat16.launch" in c.fit(arch, data, steps=60).limits


def test_at_most_eight_numbers_per_chip_and_three_per_family():
    for name in ("a100-sxm", "h100-sxm", "b200"):
        arch = load_arch(name)
        names = list(c.ranges(arch, arch.cores.families))
        assert sum("." not in n for n in names) <= 8
        for family in arch.cores.families:
            assert sum(n.startswith(f"{family.name}.") for n in names) <= 3


def test_vector_and_scalar_times_are_one_formula():
    from hwsim.formats.names import layout
    from hwsim.mapping.gpu.gemm import gemm

    arch = load_arch("b200")
    for family in arch.cores.families:
        rows = synthetic(arch)["bfloat16"][::25]
        times = c.Gemms(rows, family).seconds(family, arch.cores)
        for (m, n, k, _), seconds in zip(rows, times, strict=True):
            formats = layout(family.weights), layout(family.activations)
            kernel = gemm(int(m), int(n), int(k), family, arch.cores, *formats, warm=True)
            assert kernel.seconds == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize(
    "text, message",
    [
        ("dtype,m,n,k\n", "write dtype,m,n,k,us"),
        ("dtype,m,n,k,us\nbfloat16,1,2,x,3\n", ":2: "),
        ("dtype,m,n,k,us\nbfloat16,1,2,3,-1\n", "a time above 0"),
        ("dtype,m,n,k,us\nfloat7,1,2,3,1\n", "dtype float7"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text, message):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        c.calibrate(load_arch("h100-sxm"), path)


def test_a_machine_without_cores_is_refused(tmp_path):
    with pytest.raises(InputError, match="no `cores:`"):
        c.calibrate(load_arch("m0"), tmp_path / "data.csv")


def test_the_committed_calibration_is_a_fit_of_the_committed_data():
    """One step from the committed rates does not leave them: they are where the fit ends."""
    arch = load_arch("b200")
    data = {"nvfp4": c.read_gemms(c.FOLDER / "b200_gemm.csv")["nvfp4"]}
    family = arch.cores.named("nvfp4")
    times = c.Gemms(data["nvfp4"], family).seconds(family, arch.cores)
    best = np.abs(times / data["nvfp4"][:, 3] - 1).mean()
    for factor in (0.8, 1.25):
        worse = replace(family, macs_per_second=factor * family.macs_per_second)
        times = c.Gemms(data["nvfp4"], worse).seconds(worse, arch.cores)
        assert np.abs(times / data["nvfp4"][:, 3] - 1).mean() > best


def committed(machine):
    """The calibration file that a shipped machine names."""
    name = read(arch_folder() / f"{machine}.yaml").data["cores"]["calibration"]
    return arch_folder() / name


@pytest.mark.parametrize(
    "machine, of", [("h200-sxm-trtllm", "h100-sxm"), ("mi210", "a100-sxm"), ("rtx4090", "a100-sxm")]
)
def test_chips_without_measurements_take_others_shares_of_their_own_peaks(machine, of):
    one, other = load_arch(machine), load_arch(of)
    memory = one.dram.bytes_per_cycle * one.clock_hz / (other.dram.bytes_per_cycle * other.clock_hz)
    assert one.cores.bandwidth == pytest.approx(float(memory) * other.cores.bandwidth)
    for family, theirs in zip(one.cores.families, other.cores.families, strict=True):
        assert family.launch_seconds == theirs.launch_seconds
        peaks = [
            a.dot.rate(family.activations, family.activations) or a.dot.rate("fp8_e4m3", "fp8_e4m3")
            for a in (one, other)
        ]
        peaks = [p * a.clock_hz / a.cores.count for p, a in zip(peaks, (one, other), strict=True)]
        factor = float(peaks[0] / peaks[1])
        assert family.macs_per_second == pytest.approx(factor * theirs.macs_per_second)
        clock = float(one.clock_hz / other.clock_hz)
        assert family.feed_per_second == pytest.approx(clock * theirs.feed_per_second)
    assert one.cores.step_seconds == pytest.approx(other.cores.step_seconds / clock)
    assert one.cores.measured_on == of != one.cores.machine


@pytest.mark.parametrize("machine", ["a100-sxm", "h100-sxm", "b200"])
def test_a_calibration_that_is_written_and_read_back_gives_the_same_machine(machine):
    path = committed(machine)
    file = fields.validate(read(path), CalibrationFile)
    again = fields.validate(parse(file.text("again"), "again.yaml"), CalibrationFile)
    bare = load_arch(machine, [("cores.calibration", "null")]).cores
    assert calibrated(bare, again, "x") == calibrated(bare, file, "x")
    assert path.read_text().split("\n", 1)[1] == file.text("x").split("\n", 1)[1]


def test_what_is_fitted_is_an_option_and_not_the_name_of_a_file(tmp_path):
    """The name of the measured chip in a user's file name fits GEMMs alone; --kernels names the project's datasets."""
    path = tmp_path / "h100_mine.csv"
    lines = (c.FOLDER / "h100_gemm.csv").read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[1::3]]) + "\n")
    file, comment, found = c.calibrate(load_arch("h100-sxm", [("cores.calibration", "null")]), path)
    assert len(file.families) == 3 and file.kernels.prefill_bf16 is None and not file.kernels.experts
    assert found.error < 0.06 and comment.startswith("Written by `hwsim calibrate h100-sxm h100_mine.csv`; ")
    assert {d.kind for d in c.kernel_datasets("b200")} == {d.kind for d in datasets() if d.machine == "b200"} - {"gemm"}
    with pytest.raises(InputError, match="no measurements of m0; it has those of h100-sxm, b200"):
        c.kernel_datasets("m0")


def test_the_h200_moves_only_what_its_memory_moves():
    """Half of its time's parts follow the memory (1.43), the others the clock and the cores, which are H100's."""
    h100, h200 = load_arch("h100-sxm"), load_arch("h200-sxm-trtllm")
    ours, theirs = h200.cores, h100.cores
    assert ours.bandwidth / theirs.bandwidth == pytest.approx(4.8 / 3.35)
    assert ours.store == theirs.store and ours.kernel_rates == theirs.kernel_rates
    assert ours.named("fp8") == theirs.named("fp8") and ours.expert_kernel("fp8") == theirs.expert_kernel("fp8")
    sizes = dict(batch=8, tokens=4096, heads=32, kv_heads=8, head_dim=128)
    assert attention(h200, "prefill", **sizes).seconds == attention(h100, "prefill", **sizes).seconds
    slow, fast = (attention(a, "decode", **{**sizes, "batch": 256}).seconds for a in (h100, h200))
    assert 1.3 < slow / fast < 4.8 / 3.35


def test_matrix_times_vector_has_no_chain():
    """The same tile with K shared by the lanes is faster by what K's chain of multiply-adds took beyond the feed."""
    arch = load_arch("a100-sxm")
    family, tile = arch.cores.named("sq"), CoreTile(4, 16)
    one, other = (
        gemm_times(Problem.of(1, 4096, 65536, t, 1.0, 1.0), family, arch.cores, PLAIN)
        for t in (tile, replace(tile, chain=0))
    )
    assert one.core == pytest.approx(65536 * arch.cores.step_seconds / 2)
    assert other.core == pytest.approx(17 * 65536 / family.feed_per_second)


@pytest.mark.slow
@pytest.mark.parametrize("chip, name", [("a100", "a100-sxm"), ("h100", "h100-sxm"), ("b200", "b200")])
def test_the_command_finds_the_committed_rates_again(chip, name):
    """From the start of the ranges, without the committed file."""
    arch = load_arch(name, [("cores.calibration", "null"), ("cores.others", "null")])
    seen = {(float(r["n"]), float(r["k"])) for d in datasets() if d.name == f"{chip}_gemm" for r in d.fit_rows}
    data = {d: rows[[(n, k) in seen for n, k in rows[:, 1:3]]] for d, rows in gemms(chip).items()}
    found = c.fit(arch, data)
    committed = load_arch(name).cores
    assert not found.limits
    assert found.cores.bandwidth == pytest.approx(committed.bandwidth, rel=0.02)
    for family in committed.families:
        again = found.cores.named(family.name)
        assert again.launch_seconds == pytest.approx(family.launch_seconds, rel=0.05)
        assert again.macs_per_second == pytest.approx(family.macs_per_second, rel=0.1)


def gemms(chip):
    """The chip's measured GEMMs by family."""
    return c.read_gemms(c.FOLDER / f"{chip}_gemm.csv")
