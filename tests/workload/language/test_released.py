"""Released models: their config.json is read to the parameters of the authors' code, to the last digit."""

import json

import pytest

from hwsim.errors import InputError
from hwsim.workload import load_model, load_model_text, model_names
from tests.workload.language.formulas import counts
from tests.workload.language.released import COUNTS, MODELS

#: Elements of the indexer's keys per token, which `COUNTS` leaves out.
INDEX_KEYS = {"deepseek-v3.2": 61 * 128, "glm-5.1-nvfp4": 78 * 128}
#: Parameters of the multi-token-prediction block as the checkpoint stores it.
MTP = {
    "deepseek-v3": 11_610_068_224 + 2 * 129_280 * 7168,
    "deepseek-v3.2": 11_624_027_648 + 2 * 129_280 * 7168,
    "glm-4.5-air": 3_616_573_568,
    "glm-5.1-nvfp4": 9_952_920_576,
    "qwen3-next-80b-a3b": 1_650_471_424,
    "qwen3.5-122b-a10b": 2_523_679_232,
}


#: Released files -> the shipped models that were written from them; those of before have tests of their own.
SHIPPED = {name: name for name in MODELS} | {
    "llama-3.2-1b": "llama3.2-1b",
    "llama-3.1-8b": "llama3.1-8b",
    "llama-3.1-70b-fp8-modelopt": "llama3.1-70b",
    "llama-3.1-405b": "llama3.1-405b",
    "glm-5.1-nvfp4": "glm-5.1",
    "gemma-2-9b": "gemma2-9b",
    "gemma-3-1b": "gemma3-1b",
    "gemma-3-12b": "gemma3-12b",
    "olmo-2-7b": "olmo2-7b",
    "llama-4-scout-17b-16e": "llama4-scout-17b-16e",
}
for _name in ("qwen3-32b-fp8", "qwen3-235b-a22b-fp8", "qwen3.5-122b-a10b-nvfp4"):
    del SHIPPED[_name]
for _name in ("gpt-oss-120b", "nemotron-3-super-nvfp4", "nemotron-3.5-lightning-nvfp4"):
    del SHIPPED[_name]


@pytest.fixture(params=MODELS)
def released(request, tmp_path):
    """(name, the model that its config.json is read as)."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(MODELS[request.param], indent=1))
    return request.param, load_model(path)


def test_counts_equal_those_of_the_authors_code(released):
    name, model = released
    total, active, kv, state, _ = COUNTS[name]
    assert (model.total, model.active_with_head) == (total, active)
    assert (model.kv_elements_per_token, model.ssm_state_elements) == (kv + INDEX_KEYS.get(name, 0), state)


def test_counts_equal_the_formulas(released):
    name, model = released
    assert (model.total, model.active_with_head) == counts(MODELS[name])


#: Published totals that count more than the language model: the tower, or the MTP block.
WITH_MORE = {"gemma-3-12b", "llama-4-scout-17b-16e", "qwen3-next-80b-a3b", "glm-4.5-air", "deepseek-v3.2", "kimi-k2.5"}


def test_published_totals_within_their_rounding(released):
    name, model = released
    published = COUNTS[name][4]
    if name in WITH_MORE:
        assert model.total < published
    else:
        assert model.total == pytest.approx(published, rel=0.0025)


@pytest.mark.parametrize("name", MTP)
def test_the_prediction_block(name, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(MODELS[name]))
    assert load_model(path).mtp_stored == MTP[name]


def test_the_counts_of_the_layers_sum_to_the_total_and_the_model_reads_back(released):
    _, model = released
    assert sum(n for *_, n in model.layer_parameters()) == model.total
    again = load_model_text(json.dumps(model.config()))
    assert again == model


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_model_is_that_of_the_file(name, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({k: v for k, v in MODELS[name].items() if k != "quantization_config"}))
    ours, shipped = load_model(path), load_model(SHIPPED[name])
    same = (
        "hidden",
        "vocab",
        "tied_embeddings",
        "layers",
        "parts",
        "blocks",
        "attention",
        "mamba2",
        "mlp",
        "moe",
        "norm",
    )
    for field in (*same, "norm", "mtp", "mtp_tables", "head", "softcap", "max_context"):
        assert getattr(ours, field) == getattr(shipped, field), field
    assert shipped.ids
    for hub_id in shipped.ids:
        assert load_model(hub_id) == load_model(hub_id.lower()) == shipped


def test_at_least_forty_models_are_shipped():
    assert len(model_names()) >= 40


def test_an_unknown_hub_id_says_what_to_download():
    with pytest.raises(InputError, match="hf download some-org/some-model config.json"):
        load_model("some-org/some-model")


@pytest.mark.parametrize("name", ["gemma-3-12b", "llama-4-scout-17b-16e"])
def test_windows_and_chunks_bound_the_cache(name, tmp_path):
    """At 128 Ki tokens: Gemma 3 keeps 8 full layers and 40 windows; Llama 4 keeps 12 full layers and 36 chunks."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(MODELS[name]))
    full, near, kept, row = {"gemma-3-12b": (8, 40, 1024, 2 * 8 * 256)}.get(name, (12, 36, 8192, 2 * 8 * 128))
    assert load_model(path).kv_elements(131_072) == row * (full * 131_072 + near * kept)
