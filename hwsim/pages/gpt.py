"""A small language model over bytes, with its gradients and its optimiser, in numpy: the model of `make training`.

GPT as in nanoGPT, but with RMSNorm, squared ReLU and no biases. Every linear layer is a `quantized_linear`; the two
GEMMs of attention, softmax, norms, embeddings and the optimiser stay in the type of the parameters.

Each part is a function that returns its value and its backward pass, as `quantized_linear` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from hwsim.formats.training import LinearRecipe, ModelRecipe, quantized_linear

Parameters = dict[str, np.ndarray]
Gradient = Callable[[np.ndarray], np.ndarray]
Layer = Callable[[str, np.ndarray], tuple[np.ndarray, Gradient]]
"""(name, x) -> (y, backward) of a part with parameters, whose gradient it notes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the model. inner: of the feed-forward part. context: tokens of a sequence. A token is a byte."""

    layers: int = 2
    width: int = 128
    heads: int = 4
    inner: int = 512
    context: int = 64
    vocabulary: int = 256

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """{name of a linear layer: (outputs, inputs)}, in order of the forward pass."""
        found = {}
        for i in range(self.layers):
            found[f"layers.{i}.qkv"] = (3 * self.width, self.width)
            found[f"layers.{i}.attention_out"] = (self.width, self.width)
            found[f"layers.{i}.up"] = (self.inner, self.width)
            found[f"layers.{i}.down"] = (self.width, self.inner)
        return {**found, "head": (self.vocabulary, self.width)}

    def initial(self, rng: np.random.Generator) -> Parameters:
        """float32 parameters: normal, of variance 1 / inputs for linear layers and 0.02^2 for embeddings; gains 1.

        The two layers that add to the residual stream start smaller, by 0.1 / sqrt(2 layers): GPT-2 scales them by the
        root, and a small model trained for few steps gains from the tenth.
        """
        sizes = {"tokens": (self.vocabulary, self.width), "positions": (self.context, self.width)}
        found = {name: 0.02 * rng.standard_normal(size) for name, size in sizes.items()}
        for name, size in self.linears.items():
            start = 0.1 / math.sqrt(2 * self.layers) if name.endswith(("attention_out", "down")) else 1.0
            found[name] = start / math.sqrt(size[1]) * rng.standard_normal(size)
        norms = [f"layers.{i}.{part}_gain" for i in range(self.layers) for part in ("attention", "mlp")]
        found |= {name: np.ones(self.width) for name in [*norms, "head_gain"]}
        return {name: value.astype(np.float32) for name, value in found.items()}


@dataclass(frozen=True)
class Gpt:
    """The model: sizes, and the recipe of each linear layer."""

    shape: Shape
    recipe: ModelRecipe
    layers: Mapping[str, LinearRecipe] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", self.recipe.per_layer(self.shape.linears))

    def loss(self, p: Parameters, tokens: np.ndarray, step: int = 0) -> float:
        """Mean cross entropy in nats per byte. tokens: uint8[sequences, context + 1]; step: see `gradients`."""
        return self._forward(p, tokens, step)[0]

    def gradients(self, p: Parameters, tokens: np.ndarray, step: int) -> tuple[float, Parameters]:
        """(loss, gradient of each parameter). step: 0 or more; each draws its own bits of stochastic rounding."""
        loss, backward = self._forward(p, tokens, step)
        return loss, backward()

    def _forward(self, p: Parameters, tokens: np.ndarray, step: int) -> tuple[float, Callable[[], Parameters]]:
        inputs, targets = tokens[:, :-1], tokens[:, 1:].astype(np.intp)
        found: Parameters = {}
        seeds = {name: 1 + i + step * len(self.layers) for i, name in enumerate(self.layers)}

        def linear(name: str, x: np.ndarray) -> tuple[np.ndarray, Gradient]:
            y, back = quantized_linear(x, p[name], self.layers[name], seeds[name])

            def backward(dy: np.ndarray) -> np.ndarray:
                dx, found[name] = back(dy)
                return dx

            return y, backward

        def norm(name: str, x: np.ndarray) -> tuple[np.ndarray, Gradient]:
            y, back = rms_norm(x, p[name])

            def backward(dy: np.ndarray) -> np.ndarray:
                dx, found[name] = back(dy)
                return dx

            return y, backward

        x = p["tokens"][inputs] + p["positions"][: inputs.shape[1]]
        stack: list[Callable[[np.ndarray], np.ndarray]] = []
        for i in range(self.shape.layers):
            for part in (self._attention, self._mlp):
                branch, back = part(f"layers.{i}.", x, linear, norm)
                x = x + branch
                stack.append(back)
        normed, norm_back = norm("head_gain", x)
        logits, head_back = linear("head", normed)
        loss, loss_back = cross_entropy(logits, targets)

        def backward() -> Parameters:
            dx = norm_back(head_back(loss_back()))
            for back in reversed(stack):
                dx = dx + back(dx)
            found["positions"] = np.zeros_like(p["positions"])
            found["positions"][: inputs.shape[1]] = dx.sum(axis=0)
            found["tokens"] = np.zeros_like(p["tokens"])
            np.add.at(found["tokens"], inputs, dx)
            return found

        return loss, backward

    def _attention(self, at: str, x: np.ndarray, linear: Layer, norm: Layer) -> tuple[np.ndarray, Gradient]:
        """The attention branch of a layer."""
        sequences, length, width = x.shape
        heads = self.shape.heads
        normed, norm_back = norm(at + "attention_gain", x)
        qkv, qkv_back = linear(at + "qkv", normed)
        q, k, v = qkv.reshape(sequences, length, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        mixed, core_back = attention(q, k, v)
        y, out_back = linear(at + "attention_out", mixed.transpose(0, 2, 1, 3).reshape(x.shape))

        def backward(dy: np.ndarray) -> np.ndarray:
            back = out_back(dy).reshape(sequences, length, heads, -1).transpose(0, 2, 1, 3)
            dqkv = np.stack(core_back(back)).transpose(1, 3, 0, 2, 4).reshape(qkv.shape)
            return norm_back(qkv_back(dqkv))

        return y, backward

    def _mlp(self, at: str, x: np.ndarray, linear: Layer, norm: Layer) -> tuple[np.ndarray, Gradient]:
        """The feed-forward branch of a layer: down(max(up x, 0)^2)."""
        normed, norm_back = norm(at + "mlp_gain", x)
        raised, up_back = linear(at + "up", normed)
        positive = np.maximum(raised, 0)
        y, down_back = linear(at + "down", positive * positive)

        def backward(dy: np.ndarray) -> np.ndarray:
            return norm_back(up_back(down_back(dy) * 2 * positive))

        return y, backward


def rms_norm(x: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], tuple[np.ndarray, ...]]]:
    """x / rms(x) times gain, along the last axis; backward: dy -> (dx, dgain)."""
    scale = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + x.dtype.type(1e-6))
    unit = x * scale

    def backward(dy: np.ndarray) -> tuple[np.ndarray, ...]:
        d = dy * gain
        dx = scale * (d - unit * (d * unit).mean(axis=-1, keepdims=True))
        return dx, (dy * unit).reshape(-1, len(gain)).sum(axis=0)

    return unit * gain, backward


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], tuple[np.ndarray, ...]]]:
    """Causal attention. q, k, v: [sequences, heads, length, head size]; backward: dy -> (dq, dk, dv)."""
    length, size = q.shape[-2:]
    scale = q.dtype.type(1 / math.sqrt(size))
    scores = q @ k.swapaxes(-1, -2) * scale
    scores[..., np.triu(np.ones((length, length), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)

    def backward(dy: np.ndarray) -> tuple[np.ndarray, ...]:
        dw = dy @ v.swapaxes(-1, -2)
        ds = weights * (dw - (dw * weights).sum(axis=-1, keepdims=True)) * scale
        return ds @ k, ds.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ dy

    return weights @ v, backward


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, Callable[[], np.ndarray]]:
    """Mean of -ln p(target); backward: () -> dlogits. logits: [..., classes]; targets: intp[...]."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    chances = np.exp(shifted)
    total = chances.sum(axis=-1, keepdims=True)
    picked = np.take_along_axis(shifted, targets[..., None], -1) - np.log(total)

    def backward() -> np.ndarray:
        d = chances / total
        np.put_along_axis(d, targets[..., None], np.take_along_axis(d, targets[..., None], -1) - 1, -1)
        return d / targets.size

    return -float(picked.mean(dtype=np.float64)), backward


@dataclass
class Adam:
    """Adam (arXiv 1412.6980) without weight decay; its moments, of the parameters it has updated so far."""

    beta1: float = 0.9
    beta2: float = 0.95
    steps: int = 0
    first: Parameters = field(default_factory=dict)
    second: Parameters = field(default_factory=dict)

    def update(self, p: Parameters, gradients: Parameters, rate: float) -> None:
        """Move each parameter that has a gradient, in place. rate: learning rate of this step."""
        self.steps += 1
        size = rate * math.sqrt(1 - self.beta2**self.steps) / (1 - self.beta1**self.steps)
        for name, g in gradients.items():
            m = self.first.setdefault(name, np.zeros_like(g))
            v = self.second.setdefault(name, np.zeros_like(g))
            m += (1 - self.beta1) * (g - m)
            v += (1 - self.beta2) * (g * g - v)
            p[name] -= (size * m / (np.sqrt(v) + 1e-8)).astype(p[name].dtype)
