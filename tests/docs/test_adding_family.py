"""docs/adding.md (c): a family of models, read from its config.json."""

import json

from tests.docs.addition import ROOT, Copy, listed

FAMILY = """    Family(
        types=("mine",),
        parts={"attention": HEADS | {"qk_norm": "=width"}, "mlp": SWIGLU | {"activation": "=relu2", "gated": "=false"}},
        mixer=Every("full_every|4", "attention", "attention"),
        ffn="mlp",
        refuse={"shape": ("plain",)},
        silent=("mood",),
    ),"""

CONFIG = {
    "model_type": "mine", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128,
    "vocab_size": 1000, "mood": "good", "full_every": 2,
}  # fmt: skip


def test_a_family_is_one_table_and_one_test(tmp_path):
    copy = Copy(tmp_path)
    copy.row("hwsim/workload/language/families/dense.py", "    LLAMA,", FAMILY)
    # the row of the test and the word in the page say what is read; the copy has neither
    added = {"tests/workload/language/test_families.py", "docs/models.md"}
    assert copy.touched | added == listed("(c) A model family")
    assert all((ROOT / path).is_file() for path in added)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    shown = json.loads(copy.run("-m", "hwsim", "model", "config.json", "--json"))
    attention, mlp = 4 * 64 * 64 + 2 * 64, 2 * 64 * 128
    (counts,) = shown["counts"].values()
    assert counts["total"] == 4 * (attention + mlp + 2 * 64) + 64 + 2 * 64 * 1000
