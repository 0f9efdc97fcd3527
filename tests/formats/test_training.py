"""The three GEMMs of a linear layer against finite differences, exact dot products, scipy's Hadamard and statistics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import hadamard as sylvester

from hwsim.errors import InputError
from hwsim.formats import get_format, matmul
from hwsim.formats import training as t

FORMATS = ["mxfp8_e4m3", "mxfp6_e3m2", "mxfp4_e2m1", "nvfp4", "mx6", "fp8_block", "fp8_e4m3"]


def arrays(tokens: int = 70, n: int = 48, k: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [tokens, k], w [n, k], dy [tokens, n] with outliers, so that the axis of the blocks matters."""
    rng = np.random.default_rng(0)
    return tuple((rng.standard_normal(s) * rng.lognormal(0, 1.5, s)).astype(np.float32)
                 for s in ((tokens, k), (n, k), (tokens, n)))  # fmt: skip


def alike(name: str, **options: object) -> t.LinearRecipe:
    form = get_format(name, **options)
    return t.LinearRecipe(form, form, form)


@pytest.mark.parametrize("recipe", [t.HIGH, alike("fp32")], ids=["high", "fp32"])
def test_gradients_are_finite_differences_exactly(recipe):
    """The layer is bilinear, so that central differences have no error; on eighths nothing is rounded."""
    rng = np.random.default_rng(1)
    x, w, dy = (rng.integers(-8, 9, size) / 8 for size in ((2, 5, 7), (3, 7), (2, 5, 3)))
    y, backward = t.quantized_linear(x, w, recipe)
    np.testing.assert_array_equal(y, np.einsum("abk,nk->abn", x, w))

    def loss(x: np.ndarray, w: np.ndarray) -> float:
        return float((t.quantized_linear(x, w, recipe)[0].astype(np.float64) * dy).sum())

    for found, of in zip(backward(dy), (x, w), strict=True):
        difference = np.empty_like(of)
        for place in np.ndindex(of.shape):
            above, below = (of.copy(), of.copy())
            above[place] += 0.5
            below[place] -= 0.5
            ends = [loss(moved, w) if of is x else loss(x, moved) for moved in (above, below)]
            difference[place] = ends[0] - ends[1]
        np.testing.assert_array_equal(found, difference)


def test_high_precision_keeps_the_type_and_fits_finite_differences_in_float64():
    x, w, dy = (a.astype(np.float64) for a in arrays(6, 5, 4))
    y, backward = t.quantized_linear(x, w, t.HIGH)
    dx, dw = backward(dy)
    assert y.dtype == dx.dtype == dw.dtype == np.float64
    for found, of in ((dx, x), (dw, w)):
        step = np.random.default_rng(2).standard_normal(of.shape) * 1e-4
        ends = [t.HIGH.fprop(*((of + s * step, w) if of is x else (x, of + s * step))) for s in (1, -1)]
        assert ((ends[0] - ends[1]) * dy).sum() / 2 == pytest.approx((found * step).sum(), rel=1e-9)


@pytest.mark.parametrize("name", FORMATS)
def test_each_gemm_is_the_exact_dot_product_of_operands_blocked_along_its_reduction_axis(name):
    """`matmul` multiplies the integers of codes; the operands are encoded here, from contiguous transposes."""
    x, w, dy = arrays()
    y, backward = t.quantized_linear(x, w, alike(name))
    dx, dw = backward(dy)
    form = get_format(name)
    for found, left, right in ((y, x, w), (dx, dy, w.T), (dw, dy.T, x.T)):
        a, b = (form.encode(np.ascontiguousarray(each)) for each in (left, right))
        exact = matmul(a, b, accumulate="exact").astype(np.float64)
        size = np.abs(a.decode()).astype(np.float64) @ np.abs(b.decode()).astype(np.float64).T
        # float32 sums of k products: at most k roundings, each of half a unit of a partial sum; k <= 80.
        assert (np.abs(found - exact) <= 80 * 2.0**-24 * size).all()


@pytest.mark.parametrize("name", FORMATS)
def test_dgrad_uses_exactly_the_decoded_encoding_of_the_transpose(name):
    _, w, _ = arrays()
    form = get_format(name)
    recipe = t.LinearRecipe(weights=form)
    seen = recipe.dgrad(np.eye(len(w), dtype=np.float32), w)
    transpose = form.encode(np.ascontiguousarray(w.T)).decode()
    np.testing.assert_array_equal(seen, transpose.T)
    forward = recipe.fprop(np.eye(w.shape[1], dtype=np.float32), w)
    np.testing.assert_array_equal(forward, form.encode(w).decode().T)
    if name != "fp8_e4m3" and name != "fp8_block":  # a scale per tensor, and per 128 x 128, more than this matrix
        assert (forward.T != seen).any()


@pytest.mark.parametrize(("name", "tile"), [("mxfp4", 32), ("mxfp6_e3m2", 32), ("mxfp8", 32), ("nvfp4", 16)])
def test_both_encodings_of_w_share_codes_with_square_tiles_and_differ_without(name, tile):
    _, w, _ = arrays()
    square, rows = get_format(name, tile=tile), get_format(name)
    one, two = square.encode(w, axis=-1), square.encode(w, axis=0)
    np.testing.assert_array_equal(one.codes.T, two.codes)
    tops = slice(None, None, tile)
    np.testing.assert_array_equal(one.scales[tops].T, two.scales[tops])
    assert (rows.encode(w, axis=-1).codes.T != rows.encode(w, axis=0).codes).mean() > 0.1
    recipe = t.LinearRecipe(weights=square)
    forward, backward = (each(np.eye(size, dtype=np.float32), w)
                         for each, size in ((recipe.fprop, w.shape[1]), (recipe.dgrad, len(w))))  # fmt: skip
    np.testing.assert_array_equal(forward.T, backward)


def test_stochastic_gradients_are_unbiased_and_nearest_ones_are_not():
    """The mean over calls, of a gradient between the values of MXFP4 with scale 1; r / 256 cuts at most 1/256 step."""
    rng = np.random.default_rng(3)
    dy = rng.uniform(-4, 4, (4, 32)).astype(np.float32)
    dy[:, 0] = 4  # the scale is 1, and nothing saturates
    eye, calls = np.eye(32, dtype=np.float32), 2000
    step = np.where(np.abs(dy) < 2, 0.5, 1)
    for passed in ("dgrad", "wgrad"):
        recipe = t.LinearRecipe(gradients=get_format("mxfp4", rounding="stochastic", threads=1))

        def seen(seed: int, recipe: t.LinearRecipe = recipe, passed: str = passed) -> np.ndarray:
            if passed == "dgrad":
                return recipe.dgrad(dy, eye, seed)
            return recipe.wgrad(np.ascontiguousarray(dy.T), eye, seed)

        mean = np.mean([seen(seed) for seed in range(1, calls + 1)], axis=0)
        # Each call is off by a binomial error of at most half a step.
        assert (np.abs(mean - dy) <= step * (1 / 256 + 5 * 0.5 / calls**0.5)).all()
        assert np.abs((mean - dy) / step).mean() < 0.01
        np.testing.assert_array_equal(seen(7), seen(7))
        assert (seen(7) != seen(8)).mean() > 0.1
    nearest = get_format("mxfp4").quantize(dy)
    assert np.abs((nearest - dy) / step).mean() > 0.1


def test_the_encodings_of_a_call_draw_different_bits():
    form = get_format("mxfp4", rounding="stochastic")
    x = np.full((64, 32), 2.5, np.float32)
    x[:, 0] = 4
    drawn = [t.quantized(form, x, -1, seed, which) > 2.5 for seed in (1, 2) for which in range(6)]
    for i, one in enumerate(drawn):
        assert 0.4 < one[:, 1:].mean() < 0.6
        assert all(0.4 < (one != two)[:, 1:].mean() < 0.6 for two in drawn[:i])


@pytest.mark.parametrize("size", [1, 2, 16, 32])
def test_the_hadamard_transform_is_orthogonal_and_that_of_scipy_with_signs(size):
    turned = t.hadamard(np.eye(size), size, signs=5)
    np.testing.assert_allclose(turned @ turned.T, np.eye(size), atol=1e-15)
    signs = np.sign(turned[0])  # the first row of H is all ones
    np.testing.assert_allclose(turned, sylvester(size) * signs / size**0.5, atol=1e-15)
    assert size < 16 or 0 < (signs < 0).sum() < size


def test_the_hadamard_transform_cancels_in_wgrad_and_touches_no_other_pass():
    x, w, dy = (a.astype(np.float64) for a in arrays())  # 70 tokens: the last run is padded
    turned = t.LinearRecipe(hadamard=16)
    np.testing.assert_allclose(turned.wgrad(dy, x), dy.T @ x, atol=1e-11)
    form = get_format("mxfp4")
    plain, also = (t.LinearRecipe(form, form, form, hadamard=n) for n in (0, 16))
    np.testing.assert_array_equal(plain.fprop(x, w), also.fprop(x, w))
    np.testing.assert_array_equal(plain.dgrad(dy, w), also.dgrad(dy, w))
    assert (plain.wgrad(dy, x) != also.wgrad(dy, x)).any()


def test_leading_axes_are_tokens_and_inputs_stay_as_they_are():
    x, w, dy = arrays()
    kept = [a.copy() for a in (x, w, dy)]
    recipe = t.LinearRecipe(*(get_format(n) for n in ("nvfp4", "mxfp8", "mxfp6")), hadamard=4)
    y, backward = t.quantized_linear(x, w, recipe)
    flat = (y, *backward(dy))
    y, backward = t.quantized_linear(x.reshape(2, 5, 7, -1), w, recipe)
    deep = (y, *backward(dy.reshape(2, 5, 7, -1)))
    assert deep[0].shape == (2, 5, 7, 48) and deep[1].shape == (2, 5, 7, 80)
    for one, two in zip(flat, deep, strict=True):
        np.testing.assert_allclose(one, two.reshape(one.shape), atol=1e-5 * np.abs(one).max())
    for before, after in zip(kept, (x, w, dy), strict=True):
        np.testing.assert_array_equal(before, after)


def test_layers_in_high_precision_are_named_by_patterns():
    recipe = t.ModelRecipe(alike("mxfp8"), ("head", "layers.1.*"))
    found = recipe.per_layer(["layers.0.up", "layers.1.up", "layers.1.down", "head"])
    assert [name for name, each in found.items() if each == t.HIGH] == ["layers.1.up", "layers.1.down", "head"]
    assert found["layers.0.up"] is recipe.linear
    with pytest.raises(InputError, match=r"'haed' matches no layer; did you mean head\?\n.*'mtp'"):
        t.ModelRecipe(alike("mxfp8"), ("haed", "mtp", "layers*")).per_layer(["layers.0.up", "head"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x, w, dy: t.LinearRecipe("mxfp8", hadamard=12, signs=0), "(?s)weights: 'mxfp8'.*hadamard: 12.*signs: "),
        (lambda x, w, dy: t.HIGH.fprop(x[:, 1:], w), r"x \[70, 79\] and w \[48, 80\]: axis -1 .* equally long"),
        (lambda x, w, dy: t.HIGH.dgrad(x, w), r"dy \[70, 80\] and w \[48, 80\]: axis -1 of dy and axis 0 of w"),
        (lambda x, w, dy: t.HIGH.wgrad(dy[1:], x), r"dy \[69, 48\] and x \[70, 80\]: write equal sizes"),
        (lambda x, w, dy: t.quantized_linear(x, w[None], t.HIGH), r"w: shape \[1, 48, 80\]; write a matrix"),
        (lambda x, w, dy: t.HIGH.fprop(["a"], w), "cannot be encoded"),
    ],
)
def test_errors_say_what_to_write(make, says):
    with pytest.raises(InputError, match=says):
        make(*arrays())


@pytest.mark.parametrize("seed", [None, 0, -1, 1.5, True, t.SEEDS + 1])
def test_stochastic_rounding_needs_a_seed_in_each_call(seed):
    x, w, dy = arrays()
    recipe = t.LinearRecipe(gradients=get_format("nvfp4", rounding="stochastic"))
    recipe.fprop(x, w)
    with pytest.raises(
        InputError, match=rf"seed: {seed}; nvfp4 stochastic needs one: write an integer from 1 to 536870911, new"
    ):
        recipe.dgrad(dy, w, seed)
    recipe.wgrad(dy, x, t.SEEDS)
