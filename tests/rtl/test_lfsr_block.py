"""The LFSR block: every seed in RTL, its timing, its Verilog."""

from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from hwsim.formats.lfsr import SEEDLM3, SEEDLM4
from hwsim.specs import LfsrBlock
from rtl.axi import AxiStreamUnit
from rtl.emit import emit
from rtl.lfsr import LfsrBlockUnit
from tests.rtl import simulator
from tests.rtl.simulator import run_bench

pytestmark = pytest.mark.simulator


def test_every_seed_and_the_timing(tmp_path, monkeypatch):
    verilog = emit(AxiStreamUnit(LfsrBlockUnit(LfsrBlock(SEEDLM4))), "top")
    assert run_bench("bench_lfsr_block", {"top": verilog}, "top", tmp_path, monkeypatch) == 0


@pytest.mark.parametrize(
    ("stages", "failures"),
    [(("seed", "states"), 1), (("seed",), 0)],
    ids=["one stage more", "a cut elsewhere"],
)
def test_bench_sees_rtl_of_another_spec(stages, failures, tmp_path, monkeypatch):
    """The timing mutant: latency + 1 on the RTL's side alone fails; the same latency elsewhere passes."""
    verilog = emit(AxiStreamUnit(LfsrBlockUnit(LfsrBlock(SEEDLM4, stages=stages))), "top")
    only = "random_valid_and_ready"
    assert run_bench("bench_lfsr_block", {"top": verilog}, "top", tmp_path, monkeypatch, only) == failures


def test_bench_sees_a_spec_of_another_latency(tmp_path, monkeypatch):
    """The same mutant on the other side: the RTL is the spec's, the bench expects one edge more."""
    verilog = emit(AxiStreamUnit(LfsrBlockUnit(LfsrBlock(SEEDLM4))), "top")
    env = {"HWSIM_BENCH_STAGES": "seed,states"}
    only = "random_valid_and_ready"
    assert run_bench("bench_lfsr_block", {"top": verilog}, "top", tmp_path, monkeypatch, only, **env) == 1


def test_three_bit_format_and_its_waveform(tmp_path, monkeypatch):
    """As under WAVES=1: the command names a file that is there."""
    monkeypatch.setenv("WAVES", "1")
    verilog = emit(AxiStreamUnit(LfsrBlockUnit(LfsrBlock(SEEDLM3))), "top")
    env = {"HWSIM_BENCH_FORMAT": "seedlm3"}
    only = "random_valid_and_ready"
    assert run_bench("bench_lfsr_block", {"top": verilog}, "top", tmp_path, monkeypatch, only, **env) == 0
    command = simulator.WAVEFORMS.pop()
    assert ": gtkwave " in command and Path(command.split(": gtkwave ")[1]).stat().st_size > 1000
