"""torch's tensors in and out, and the codes of torch, torchao and compressed-tensors, where they are installed.

None is a dependency: pip install torch torchao compressed-tensors, then pytest -m slow tests/formats/test_torch.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.compress import compress
from hwsim.formats import get_format
from hwsim.formats.arrays import floats
from hwsim.formats.exchange import from_typed, typed
from tests.compress.oracles import read, write

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

FP8 = {"float8_e4m3fn": "fp8_e4m3", "float8_e5m2": "fp8_e5m2"}


def samples(n: int = 24, k: int = 256) -> np.ndarray:
    """Rows of magnitudes 2^-12 to 2^12 beside one another, so that elements underflow as well as saturate."""
    rng = np.random.default_rng(5)
    return (rng.standard_normal((n, k)) * np.exp2(rng.integers(-12, 12, (n, k)))).astype(np.float32)


def same(got: np.ndarray, want: np.ndarray) -> None:
    """Equal values; NaN where the other has NaN; zeros of equal sign."""
    np.testing.assert_array_equal(got, want)
    known = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(want[known]))


@pytest.mark.parametrize("name", FP8)
def test_every_fp8_code_has_torchs_value(name):
    """256 codes as a torch tensor, and as uint8 under a tensor scale of 1."""
    codes = np.arange(256, dtype=np.uint8)
    tensor = torch.from_numpy(codes).view(getattr(torch, name))
    want = tensor.float().numpy()
    same(floats(tensor), want)
    same(from_typed(get_format(FP8[name]), codes[None], tensor_scale=1.0).decode()[0], want)


@pytest.mark.parametrize("name", FP8)
def test_encoding_is_torchs_cast(name):
    """Under a tensor scale of 1: the values of all finite codes, the middles of neighbours, the floats beside these."""
    type_ = getattr(torch, name)
    values = torch.arange(256, dtype=torch.uint8).view(type_).float()
    values = torch.unique(values[torch.isfinite(values)])
    middles = (values[1:] + values[:-1]) / 2
    away = torch.tensor(float("inf"))
    x = torch.cat([values, middles, torch.nextafter(middles, away), torch.nextafter(middles, -away)])[None]
    e = get_format(FP8[name], tensor_scale=1.0).encode(x)
    out = torch.from_numpy(typed(e).codes.view(np.uint8)).view(type_)
    same(out.float().numpy(), x.to(type_).float().numpy())
    same(torch.from_numpy(e.decode()).numpy(), x.to(type_).float().numpy())


@pytest.mark.parametrize("form", ["mxfp4", "nvfp4", "fp8_row", "int8"])
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64", *FP8])
def test_tensors_in(name, form):
    """A tensor of any float type encodes as the float32 or float64 array of its values; a strided one, as itself."""
    tensor = torch.from_numpy(np.clip(samples(), -400, 400)).to(getattr(torch, name))
    wide = tensor.double() if name == "float64" else tensor.float()
    want = get_format(form).encode(wide.numpy())
    assert get_format(form).encode(tensor).to_bytes() == want.to_bytes()
    turned = tensor.t().contiguous().t()
    assert not turned.is_contiguous() and get_format(form).encode(turned).to_bytes() == want.to_bytes()
    assert get_format(form).encode(tensor.clone().requires_grad_()).to_bytes() == want.to_bytes()


def test_bfloat16_out():
    """The codes of bf16 are torch's cast of float32, bit for bit, and go back as a tensor."""
    x = torch.from_numpy(samples())
    e = get_format("bf16").encode(x)
    assert torch.equal(torch.from_numpy(e.codes).view(torch.bfloat16), x.bfloat16())
    assert torch.equal(torch.from_numpy(typed(e).codes.view(np.int16)).view(torch.bfloat16), x.bfloat16())


def test_codes_and_scales_of_a_tensor_come_back():
    """uint8 codes and scales of a framework's own quantisation become an `Encoded`."""
    e = get_format("mxfp8_e4m3").encode(torch.from_numpy(samples()))
    codes, scales, _ = typed(e)
    q = torch.from_numpy(codes.view(np.uint8)).view(torch.float8_e4m3fn)
    s = torch.from_numpy(scales.view(np.uint8)).view(torch.float8_e8m0fnu)
    want = (q.double().reshape(24, 8, 32) * s.double()[..., None]).reshape(24, 256).float()
    again = from_typed(e.format, q.view(torch.uint8).numpy(), s.view(torch.uint8).numpy())
    same(again.decode(), want.numpy())


@pytest.mark.parametrize("rule", ["floor", "even", "rceil"])
@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp4_e2m1"])
def test_mx_is_torchaos(name, rule):
    """Scales and codes of every block, under the rules that torchao has."""
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
    element = {
        "mxfp8_e4m3": torch.float8_e4m3fn, "mxfp8_e5m2": torch.float8_e5m2, "mxfp4_e2m1": torch.float4_e2m1fn_x2,
    }[name]  # fmt: skip
    x = samples()
    scales, codes = mx.to_mx(torch.from_numpy(x), element, 32, mx.ScaleCalculationMode(rule))
    want = codes.view(torch.uint8).numpy()
    if name == "mxfp4_e2m1":
        want = np.stack([want & 15, want >> 4], axis=-1).reshape(x.shape)
    e = get_format(name, scale_rule=rule).encode(x)
    np.testing.assert_array_equal(e.scales, scales.view(torch.uint8).numpy().reshape(e.scales.shape))
    np.testing.assert_array_equal(e.codes, want)


def test_nvfp4_is_torchaos():
    """With the recipe `torchao`, under the same tensor scale."""
    ao = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor")
    x = samples()
    top = np.float32(np.abs(x).max() / np.float32(2688))
    scales, codes = ao.nvfp4_quantize(torch.from_numpy(x), 16, torch.tensor(top))
    packed = codes.view(torch.uint8).numpy()
    e = get_format("nvfp4", recipe="torchao", tensor_scale=top).encode(x)
    np.testing.assert_array_equal(e.scales, scales.view(torch.uint8).numpy().reshape(e.scales.shape))
    np.testing.assert_array_equal(e.codes, np.stack([packed & 15, packed >> 4], axis=-1).reshape(x.shape))


@pytest.mark.parametrize("form, scheme", [("nvfp4", "NVFP4A16"), ("mxfp4", "MXFP4A16")])
def test_written_files_are_read_by_compressed_tensors(tmp_path, form, scheme):
    """Its decompressor works in bfloat16 and rounds three times: every value is within 2^-6 of ours."""
    schemes = pytest.importorskip("compressed_tensors.quantization").preset_name_to_scheme
    from compressed_tensors.compressors import MXFP4PackedCompressor, NVFP4PackedCompressor

    x = samples()
    write(tmp_path / "in.safetensors", {"x.weight": x})
    compress(tmp_path / "in.safetensors", tmp_path / "out.safetensors", form, layout="compressed-tensors")
    tensors = {}
    for name, a in read(tmp_path / "out.safetensors").items():
        bits = torch.from_numpy(a.copy().view(np.uint8) if a.dtype.itemsize == 1 else a.copy())
        fp8 = a.dtype.name == "float8_e4m3fn"
        tensors[name.removeprefix("x.")] = bits.view(torch.float8_e4m3fn) if fp8 else bits
    reader = NVFP4PackedCompressor if form == "nvfp4" else MXFP4PackedCompressor
    got = reader.decompress(tensors, schemes(scheme, ["Linear"]))["weight"].double().numpy()
    want = get_format(form).quantize(x).astype(np.float64)
    assert np.count_nonzero(want) > want.size / 8
    assert (np.abs(got - want) <= np.abs(want) * 2.0**-6).all()
