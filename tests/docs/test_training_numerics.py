"""docs/training-numerics.md: its Python runs, and its wrapper for torch does what `quantized_linear` does."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from hwsim.formats import get_format
from hwsim.formats.training import LinearRecipe, quantized_linear

PAGE = (Path(__file__).parents[2] / "docs" / "training-numerics.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python(?: torch)?)\n(.*?)```", PAGE, re.DOTALL)
((_, WRAPPER),) = [block for block in BLOCKS if block[0] == "python torch"]


def test_its_python_runs():
    plain = [text for kind, text in BLOCKS if kind == "python"]
    assert plain
    for text in plain:
        exec(compile(text, "docs/training-numerics.md", "exec"), {})


def test_the_wrapper_has_ten_lines_beside_its_class():
    lines = [line for line in WRAPPER.splitlines() if line.startswith("    ")]
    assert len(lines) == 10


class Array(np.ndarray):
    """An array with the one method of a tensor that the wrapper calls."""

    def to(self, other: np.ndarray) -> np.ndarray:
        return self.astype(other.dtype)


def test_the_wrapper_returns_the_passes_of_quantized_linear(monkeypatch):
    """With a stand-in for the four names of torch that it uses; no training framework is installed."""
    torch = ModuleType("torch")
    torch.autograd = SimpleNamespace(Function=object)
    torch.from_numpy = lambda a: a.view(Array)
    monkeypatch.setitem(sys.modules, "torch", torch)
    names: dict = {}
    exec(compile(WRAPPER, "docs/training-numerics.md", "exec"), names)
    layer = names["QuantizedLinear"]
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(size).astype(np.float32) for size in ((2, 40, 64), (32, 64), (2, 40, 32)))
    recipe = LinearRecipe(get_format("mxfp4"), get_format("mxfp6"), get_format("mxfp6", rounding="stochastic"))
    context = SimpleNamespace(save_for_backward=lambda *saved: setattr(context, "saved_tensors", saved))
    y, backward = quantized_linear(x, w, recipe, 9)
    np.testing.assert_array_equal(layer.forward(context, x, w, recipe, 9), y)
    for found, wanted in zip(layer.backward(context, dy), (*backward(dy), None, None), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_wrapper_under_torch_itself():
    torch = pytest.importorskip("torch")
    names: dict = {}
    exec(compile(WRAPPER, "docs/training-numerics.md", "exec"), names)
    x, w = torch.randn(6, 64, requires_grad=True), torch.randn(32, 64, requires_grad=True)
    recipe = LinearRecipe(get_format("mxfp4"), get_format("mxfp6"), get_format("mxfp6"))
    y = names["QuantizedLinear"].apply(x, w, recipe, 1)
    dy = torch.randn(6, 32)
    y.backward(dy)
    want, backward = quantized_linear(x, w, recipe, 1)
    for found, wanted in zip((y, x.grad, w.grad), (want, *backward(dy)), strict=True):
        np.testing.assert_array_equal(found.detach().numpy(), wanted)
