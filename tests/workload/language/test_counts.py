"""Parameters and cache elements of every shipped model, against the authors' counts and independent arithmetic."""

from dataclasses import replace

import pytest

from hwsim.workload import load_model, model_names
from tests.workload.language.test_released import SHIPPED

#: total, active body without the final norm, active with head, active with head and embedding; worked out
#: from the published shapes by a script that shares no code with hwsim.
PARAMETERS = {
    "gpt-oss-120b": (116829156672, 4553713152, 5132849472, 5711982912),
    "gpt-oss-20b": (20914757184, 3029170944, 3608307264, 4187440704),
    "llama2-7b": (6738415616, 6476267520, 6607343616, 6738415616),
    "llama2-70b": (68976648192, 68452352000, 68714504192, 68976648192),
    "llama3-8b": (8030261248, 6979584000, 7504924672, 8030261248),
    "llama3-70b": (70553706496, 68452352000, 69503033344, 70553706496),
    "mamba2-130m": (128989632, 90367680, 128989632, 128989632),
    "mamba2-1.3b": (1343757312, 1240765440, 1343757312, 1343757312),
    "mamba2-2.7b": (2702599680, 2573859840, 2702599680, 2702599680),
    "nemotron3-nano-30b-a3b": tuple(n + 23 * 128 for n in (31577937344, 2875427648, 3227751872, 3580073408)),
    "nemotron3-super-120b-a12b": tuple(n + 40 * 512 for n in (120668687360, 11696471040, 12233346048, 12770216960)),
    "nemotron3-ultra-550b-a55b": tuple(n + 48 * 512 for n in (549308968960, 53911326720, 54985076736, 56058818560)),
    "qwen3-235b-a22b": (235093634560, 20946099712, 21568433664, 22190763520),
    "qwen3-30b-a3b-thinking-2507": (30532122624, 2730700800, 3041867776, 3353032704),
}

#: K and V elements per token of full attention, and of windowed attention; SSM and conv state elements per sequence.
CACHES = {
    "gpt-oss-120b": (18432, 18432, 0, 0),
    "gpt-oss-20b": (12288, 12288, 0, 0),
    "llama2-7b": (262144, 0, 0, 0),
    "llama2-70b": (163840, 0, 0, 0),
    "llama3-8b": (65536, 0, 0, 0),
    "llama3-70b": (163840, 0, 0, 0),
    "mamba2-130m": (0, 0, 4718592, 129024),
    "mamba2-1.3b": (0, 0, 25165824, 626688),
    "mamba2-2.7b": (0, 0, 41943040, 1032192),
    "nemotron3-nano-30b-a3b": (3072, 0, 12058624, 423936),
    "nemotron3-super-120b-a12b": (4096, 0, 41943040, 1228800),
    "nemotron3-ultra-550b-a55b": (6144, 0, 100663296, 2654208),
    "qwen3-235b-a22b": (96256, 0, 0, 0),
    "qwen3-30b-a3b-thinking-2507": (49152, 0, 0, 0),
}

#: Counts that the authors publish, with half a unit of the last digit: total, active with head, active with embedding.
#: Super's counts are compared without its router matrices, 40 of 512 x 4096; with them the counts do not agree.
PUBLISHED = {
    "gpt-oss-120b": ((116.83e9, 0.005e9), (5.13e9, 0.005e9), None),
    "gpt-oss-20b": ((20.91e9, 0.005e9), (3.61e9, 0.005e9), None),
    "llama2-7b": ((6.74e9, 0.005e9), None, None),
    "llama2-70b": ((68.98e9, 0.005e9), None, None),
    "llama3-8b": ((8.03e9, 0.005e9), None, None),
    "llama3-70b": ((70.55e9, 0.005e9), None, None),
    "nemotron3-nano-30b-a3b": ((31.6e9, 0.05e9), (3.2e9, 0.05e9), (3.6e9, 0.05e9)),
    "nemotron3-super-120b-a12b": ((120.6e9, 0.05e9), (12.1e9, 0.05e9), (12.7e9, 0.05e9)),
    "nemotron3-ultra-550b-a55b": ((550e9, 0.5e9), (55e9, 0.5e9), None),
    "qwen3-235b-a22b": ((235.09e9, 0.005e9), None, (22e9, 0.5e9)),
    "qwen3-30b-a3b-thinking-2507": ((30.5e9, 0.05e9), None, None),
}
ROUTERS = {"nemotron3-super-120b-a12b": 40 * 512 * 4096}

#: One layer (its norm included): kind, total, active; from the published shapes, by arithmetic of the report.
LAYERS = {
    "nemotron3-nano-30b-a3b": {"M": (38744896,) * 2, "*": (23399040,) * 2, "E": (1297468032 + 128, 80169600 + 128)},
    "nemotron3-super-120b-a12b": {
        "M": (109640064,) * 2,
        "*": (35655680,) * 2,
        "E": (2873102336 + 512, 175640576 + 512),
    },
    "nemotron3-ultra-550b-a55b": {
        "M": (421645056,) * 2,
        "*": (138420224,) * 2,
        "E": (10942947328 + 512, 666902528 + 512),
    },
    "gpt-oss-120b": {"y": (26553024 + 3186527168, 26553024 + 99939008)},
    "gpt-oss-20b": {"y": (26553024 + 796633952, 26553024 + 99662432)},
    "qwen3-235b-a22b": {"Y": (71307520 + 2416447488, 71307520 + 151523328)},
    "qwen3-30b-a3b-thinking-2507": {"Y": (18876672 + 604243968, 18876672 + 38012928)},
    "mamba2-130m": {"M": (3765320,) * 2},
    "mamba2-1.3b": {"M": (25849280,) * 2},
    "mamba2-2.7b": {"M": (40216560,) * 2},
    # attention h dh (2 nq + 2 nkv) + norm; MLP 3 h m + norm
    "llama2-7b": {"X": (67112960 + 3 * 4096 * 11008 + 4096,) * 2},
    "llama2-70b": {"X": (151003136 + 3 * 8192 * 28672 + 8192,) * 2},
    "llama3-8b": {"X": (41947136 + 3 * 4096 * 14336 + 4096,) * 2},
    "llama3-70b": {"X": (151003136 + 3 * 8192 * 28672 + 8192,) * 2},
}

PATTERNS = {
    "nemotron3-nano-30b-a3b": (52, {"M": 23, "E": 23, "*": 6}, [5, 12, 19, 26, 33, 42]),
    "nemotron3-super-120b-a12b": (88, {"M": 40, "E": 40, "*": 8}, [7, 16, 25, 36, 47, 58, 69, 78]),
    "nemotron3-ultra-550b-a55b": (
        108,
        {"M": 48, "E": 48, "*": 12},
        [7, 14, 23, 32, 39, 48, 57, 64, 73, 82, 89, 98],
    ),
    "gpt-oss-120b": (36, {"y": 18, "Y": 18}, list(range(1, 36, 2))),
    "gpt-oss-20b": (24, {"y": 12, "Y": 12}, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23]),
    "qwen3-235b-a22b": (94, {"Y": 94}, list(range(94))),
    "qwen3-30b-a3b-thinking-2507": (48, {"Y": 48}, list(range(48))),
    "llama2-7b": (32, {"X": 32}, list(range(32))),
    "llama2-70b": (80, {"X": 80}, list(range(80))),
    "llama3-8b": (32, {"X": 32}, list(range(32))),
    "llama3-70b": (80, {"X": 80}, list(range(80))),
    "mamba2-130m": (24, {"M": 24}, []),
    "mamba2-1.3b": (48, {"M": 48}, []),
    "mamba2-2.7b": (64, {"M": 64}, []),
}


@pytest.fixture(params=sorted(PARAMETERS))
def model(request):
    return load_model(request.param)


def test_every_shipped_model_is_checked_here():
    assert set(PARAMETERS) == set(CACHES) == set(LAYERS) == set(PATTERNS)
    assert set(model_names()) == set(PARAMETERS) | set(SHIPPED.values())


def test_parameters(model):
    body = model.active_body - model.hidden
    ours = (model.total, body, model.active_with_head, model.active_with_embedding)
    assert ours == PARAMETERS[model.name]
    assert model.total == sum(n for _, n in model.parameters())


def test_no_weight_class_is_listed_twice_or_empty(model):
    names = [name for name, _ in model.parameters()]
    assert len(names) == len(set(names))
    assert all(n > 0 for _, n in model.parameters())


def test_cache_elements(model):
    full, windowed, ssm, conv = CACHES[model.name]
    assert (model.kv_elements_per_token, model.ssm_state_elements, model.conv_state_elements) == (
        full,
        ssm,
        conv,
    )
    assert model.kv_elements(50) == 50 * (full + windowed)
    assert model.kv_elements(128) == 128 * (full + windowed)
    assert model.kv_elements(129) == 129 * full + 128 * windowed
    assert model.kv_elements(1 << 20) == (full << 20) + 128 * windowed


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_authors_counts(name):
    """Within 1 %, or half a unit of the last published digit."""
    model = load_model(name)
    total, active, with_embedding = PUBLISHED[name]
    rows = [
        (model.total, total, model.published_total),
        (model.active_with_head, active, model.published_active),
    ]
    rows.append((model.active_with_embedding, with_embedding, model.published_active_with_embedding))
    for ours, printed, in_file in rows:
        if printed is None:
            continue
        value, half = printed
        assert in_file == value
        assert abs(ours - ROUTERS.get(name, 0) - value) <= max(half, 0.01 * value)


def test_super_agrees_to_the_last_digit_without_its_routers():
    model, routers = load_model("nemotron3-super-120b-a12b"), 40 * 512 * 4096
    assert round((model.total - routers) / 1e9, 1) == 120.6
    assert round((model.active_with_head - routers) / 1e9, 2) == 12.15
    assert round((model.active_with_embedding - routers) / 1e9, 1) == 12.7


def test_qwen3_counts_its_embedding_as_active():
    model = load_model("qwen3-30b-a3b-thinking-2507")
    assert model.published_active is None
    assert model.published_active_with_embedding == 3.3e9
    assert round(model.active_with_embedding / 1e9, 3) == 3.353
    assert round((model.total - 2 * 151936 * 2048) / 1e9, 1) == 29.9  # its card: non-embedding parameters


def test_the_layers_in_order(model):
    count, kinds, full_attention = PATTERNS[model.name]
    assert len(model.layers) == count
    assert {letter: model.layers.count(letter) for letter in set(model.layers)} == kinds
    assert [i for i, letter in enumerate(model.layers) if letter in "*XY"] == full_attention


def test_one_layer(model):
    """Differences of whole models: one more layer of a kind adds the count in the report."""
    for letter, (total, active) in LAYERS[model.name].items():
        one = replace(model, layers=model.layers + letter)
        assert one.total - model.total == total
        assert one.active_body - model.active_body == active


@pytest.mark.parametrize(
    "name, total, active, with_model",
    [
        ("nemotron3-super-120b-a12b", 2942324736 + 512, 244850688 + 512, 123611012096 + 41 * 512),
        ("nemotron3-ultra-550b-a55b", 11215609856 + 512, 939540480 + 512, 560524578816 + 49 * 512),
    ],
)
def test_the_multi_token_prediction_block(name, total, active, with_model):
    """The active count does not include the three norms of the block."""
    model = load_model(name)
    assert model.mtp == "*E"
    assert (model.mtp_parameters(), model.mtp_active - 3 * model.hidden) == (total, active)
    assert model.total + model.mtp_parameters() == with_model


def test_most_models_have_no_such_block(model):
    if "super" not in model.name and "ultra" not in model.name:
        assert (model.mtp, model.mtp_parameters(), model.mtp_active) == ("", 0, 0)


def test_llama_3_8b_by_hand():
    """6.979e9 layer weights, 0.525e9 head, 0.134e9 KV elements at 2048 tokens."""
    model = load_model("llama3-8b")
    counts = dict(model.parameters())
    matrices = counts["attention_qkv"] + counts["attention_out"] + counts["mlp"]
    assert matrices == 32 * (4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336) == 6_979_321_856
    assert counts["head"] == 128256 * 4096 == 525_336_576
    assert model.kv_elements(2048) == 32 * 2 * 8 * 128 * 2048 == 134_217_728


@pytest.mark.parametrize(
    "name, tokens",
    [
        ("nemotron3-nano-30b-a3b", 15.7e3),
        ("nemotron3-super-120b-a12b", 41.0e3),
        ("nemotron3-ultra-550b-a55b", 65.5e3),
    ],
)
def test_where_fp8_kv_passes_fp32_state(name, tokens):
    """One byte per KV element against four per state element (the published crossovers)."""
    model = load_model(name)
    crossover = 4 * model.ssm_state_elements / model.kv_elements_per_token
    assert round(crossover / 1e3, 1) == tokens / 1e3
