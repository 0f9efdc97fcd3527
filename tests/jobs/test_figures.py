"""Whole runs against published figures and against arithmetic."""

import pytest

import hwsim


class TestSeedLmFpga:
    """arXiv 2410.10714, FPGA section: cycles of a matrix-vector product, FP16 and 4-bit seeds."""

    @pytest.mark.parametrize("weights, published", [("fp16", 136_559), ("seedlm4", 34_331)])
    def test_cycles_2048(self, weights, published):
        got = hwsim.gemm("seedlm-virtex7", 1, 2048, 2048, weights=weights)
        assert got.cycles == pytest.approx(published, rel=0.005)

    @pytest.mark.parametrize("n, published", [(512, 3.67), (1024, 3.92), (2048, 3.98)])
    def test_speed_up(self, n, published):
        fp16, seed = (hwsim.gemm("seedlm-virtex7", 1, n, n, weights=w).cycles for w in ("fp16", "seedlm4"))
        assert fp16 / seed == pytest.approx(published, rel=0.005)

    def test_result_does_not_depend_on_the_tile(self):
        """Cut-through: the tile size adds no latency."""
        from dataclasses import replace

        arch = hwsim.load_arch("seedlm-virtex7")
        cycles = {
            hwsim.gemm(replace(arch, tiles=(t,)), 1, 1024, 1024, weights="seedlm4").cycles
            for t in ((1, 32, 256), (1, 128, 512), (1, 512, 512))
        }
        assert max(cycles) - min(cycles) <= 1


class TestM0:
    """128 x 128 INT8 MACs at 1 GHz, 100 bytes per cycle: bounds by hand."""

    def test_compute_bound_gemm(self):
        got = hwsim.gemm("m0", 512, 4096, 4096, weights="int8")
        assert 512 * 4096 * 4096 // (128 * 128) == 524_288 <= got.cycles <= 550_503
        assert got.limited_by == "dot"

    def test_bandwidth_bound_gemv(self):
        got = hwsim.gemm("m0", 1, 14336, 4096, weights="int8")
        assert 14336 * 4096 / 100 <= 587_203 <= got.cycles <= 593_076
        assert got.limited_by == "dram"

    def test_llama_decode(self):
        got = hwsim.run("m0", "llama3-8b", "decode", 1, 2048, weights="int8")
        floor = (6.979e9 + 0.525e9 + 0.134e9) / 100e9
        assert floor == pytest.approx(76.39e-3, rel=1e-3)
        assert 76.39e-3 <= got.seconds <= 1.015 * 76.39e-3

    def test_llama_prefill(self):
        got = hwsim.run("m0", "llama3-8b", "prefill", 1, 2048, weights="int8")
        assert 0.911 <= got.seconds <= 1.2


def test_two_batches_read_the_same_weights_of_a_dense_model():
    one, four = (hwsim.run("h200-sxm", "llama3-8b", batch=b, weights="fp8") for b in (1, 4))
    assert four.bytes["weights"] - one.bytes["weights"] == 3 * 4096  # rows of the embedding table
    assert four.bytes["kv"] == 4 * one.bytes["kv"]
