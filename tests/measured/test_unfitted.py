"""Sets that no fit has seen: their rows, and what the page says of them."""

import numpy as np
import pytest

from hwsim.arch import load_arch
from hwsim.measured.page import goal_of, missed
from hwsim.measured.score import Score
from hwsim.measured.unfitted import gpt3, llama, llmcompass, products


def test_the_start_of_the_framework_is_found_again():
    """The least mean error over starts is at the start that was found; MI210 takes A100's."""
    found, start = llmcompass("a100-sxm")
    for other in (start - 2e-6, start + 2e-6):
        assert np.abs(llmcompass("a100-sxm", other)[0].errors).mean() > np.abs(found.errors).mean()
    slower, _ = llmcompass("mi210", start)
    assert len(slower.errors) == 22
    bare = products(load_arch("mi210"), np.array([[32.0, 12288.0, 12288.0]]))
    assert slower.predicted[0] == pytest.approx(bare[0] + start)


def test_llama_layers_are_the_models():
    sets = {s.name.split()[-1]: s for s in llama("rtx4090")}
    assert set(sets) == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj", "lm_head"}
    for s in sets.values():
        assert len(s.errors) >= 40 and np.abs(s.errors).mean() < 0.15


def test_prefill_products_of_gpt3_are_predicted_unfitted():
    rows = list(gpt3(22.7e-6))
    assert len(rows) == 12
    for phase, name, ours, real in rows:
        if phase == "prefill" and name.split()[0] in ("QKV", "out", "up", "down"):
            assert abs(ours / real - 1) < 0.05


def test_the_page_names_each_missed_goal():
    errors, m = np.array([0.2, 0.2]), np.array([1.0, 600.0])
    good = [Score(chip, "bfloat16", errors / 10, m) for chip in ("a100", "h100", "b200")]
    assert missed(good, [Score("h100", "decode_bf16", errors / 10)]) == "None."
    text = missed([Score("a100", "bfloat16", errors, m), *good[1:]], [Score("h100", "decode_bf16", errors)])
    assert "a100: 20.0 %, asked 8" in text and "h100 decode_bf16: 20.0 %, asked 10.** Not found." in text
    assert goal_of(Score("b200", "experts_fp8", errors)) == 15
