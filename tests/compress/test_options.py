"""Formats with options in files, folders in and out, a config.json that never lies, and sizes before compression."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import hwsim
from hwsim.cli import app
from hwsim.compress import compress, convert, decompress, inspect
from hwsim.errors import InputError
from hwsim.formats import get_format

RNG = np.random.default_rng(3)
W = RNG.standard_normal((64, 128)).astype(np.float32)
NAME = "a.q_proj.weight"


@pytest.fixture
def model(tmp_path):
    """A folder with one file and its config.json, as Hugging Face has small models."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({NAME: W, "a.norm.weight": W[0]}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 128}))
    return folder


def decoded(path, tmp_path) -> np.ndarray:
    """The values of the weight in a compressed file."""
    out = tmp_path / "decoded.safetensors"
    decompress(path, out)
    return load_file(out)[NAME]


OPTIONS = [
    ("nvfp4", {"four_over_six": True}), ("nvfp4", {"recipe": "te"}), ("mxfp4", {"scale_rule": "rceil"}),
    ("mxfp8", {"rounding": "zero"}), ("nvfp4", {"tensor_scale": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), OPTIONS)
@pytest.mark.parametrize("how", ["object", "map", "command"])
def test_options_are_those_of_get_format(model, tmp_path, name, options, how):
    """Every way of saying an option writes the values that the format itself gives, which differ from the default's."""
    out = tmp_path / "out.safetensors"
    form = get_format(name, **options)
    if how == "object":
        compress(model, out, form)
    elif how == "map":
        compress(model, out, mapping={"*q_proj*": {"format": name, **options}})
    else:
        said = []
        for key, value in options.items():
            said += ["--option", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        found = CliRunner().invoke(app, ["compress", str(model), "--format", name, *said, "-o", str(out)])
        assert found.exit_code == 0, found.output
    values = decoded(out, tmp_path)
    assert np.array_equal(values, form.quantize(W))
    assert not np.array_equal(values, get_format(name).quantize(W))


def test_a_released_layout_takes_them_too(model, tmp_path):
    compress(model, tmp_path / "out", get_format("nvfp4", four_over_six=True), layout="modelopt")
    assert np.array_equal(decoded(tmp_path / "out", tmp_path), get_format("nvfp4", four_over_six=True).quantize(W))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda: get_format("mxfp4", rounding="stochastic", seed=1), "mxfp4_e2m1: rounding stochastic: "),
        (lambda: get_format("nvfp4", tile=16), "nvfp4: option tile: a file records no tile"),
        (lambda: get_format("fp8_block", tile=(1, 128)), "fp8_block: option tile: a file records no tile"),
        (lambda: get_format("nvfp4", row_scaled=True), "nvfp4: option row_scaled: a file records no scales of rows"),
        (lambda: {"*": {"format": "nvfp4", "four_over_sixx": True}}, "unknown option 'four_over_sixx'; did you mean"),
    ],
)
def test_options_that_no_file_holds(model, tmp_path, form, message):
    given = form()
    with pytest.raises(InputError, match=message):
        compress(model, tmp_path / "o.safetensors", **{"mapping" if isinstance(given, dict) else "format": given})


def test_what_is_no_format_is_a_type_error(model, tmp_path):
    with pytest.raises(TypeError, match="a format must be a name, a mapping or what get_format returned, not int"):
        compress(model, tmp_path / "o.safetensors", 4)


@pytest.mark.parametrize("words", [["--option", "x"], ["--option", "four_over_six=true", "--map", "m.yaml"]])
def test_option_words_that_cannot_be(model, tmp_path, words):
    line = ["compress", str(model), "-o", str(tmp_path / "o"), *words]
    found = CliRunner().invoke(app, line + (["--format", "nvfp4"] if "--map" not in words else []))
    assert found.exit_code != 0 and "--option" in str(found.exception or found.output)


def test_a_run_takes_format_objects_and_says_how_maps_are_written():
    """What get_format returned is its layout; a map of the command line is named as one."""
    form = get_format("nvfp4", four_over_six=True)
    one, other = (hwsim.run("b200", "llama2-7b", weights={"default": w}, context=64) for w in (form, "nvfp4"))
    assert one.cycles == other.cycles and one.config["formats"] == other.config["formats"]
    with pytest.raises(InputError, match=r"in Python write \{'experts': 'my425.yaml', 'default': 'fp8'\}"):
        hwsim.run("b200", "llama2-7b", weights="experts=my425.yaml,default=fp8")


def test_a_folder_in_is_a_folder_out(model, tmp_path):
    found = compress(model, tmp_path / "out", "mxfp4")
    assert (tmp_path / "out" / "model.safetensors").is_file() and found.path == str(tmp_path / "out/model.safetensors")
    with pytest.raises(InputError, match="is not a safetensors file"):
        compress(model / "model.safetensors", tmp_path / "other", "mxfp4")
    assert not (tmp_path / "other").exists()


def test_a_config_never_describes_what_was_replaced(model, tmp_path):
    """NVFP4 for servers, then seeds of hwsim in its place: the entry goes, and what was replaced is named."""
    out = tmp_path / "out"
    compress(model, out, "nvfp4", layout="modelopt")
    assert "quantization_config" in json.loads((out / "config.json").read_text())
    notes = compress(model, out / "model.safetensors", "mxfp4").notes
    assert json.loads((out / "config.json").read_text()) == json.loads((model / "config.json").read_text())
    assert any("replaced what was there" in note and "model.safetensors" in note for note in notes)


def test_another_models_entry_is_not_left_to_lie(model, tmp_path):
    """Without a config of the input, nothing says whose it is: replaced weights are refused, new ones get a note."""
    (model / "config.json").unlink()
    out = tmp_path / "out"
    out.mkdir()
    kept = json.dumps({"model_type": "other", "quantization_config": {"quant_method": "modelopt"}})
    (out / "config.json").write_text(kept)
    assert any("does not describe the new file" in note for note in compress(model, out, "mxfp4").notes)
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="config.json: has a quantization_config, which would be wrong"):
        compress(model, out, "mxfp8")
    assert (out / "model.safetensors").read_bytes() == before and (out / "config.json").read_text() == kept


def test_decoded_folders_have_their_config(model, tmp_path):
    """As a library loads them: the input's config.json without the entry of the quantised weights."""
    compress(model, tmp_path / "served", "nvfp4", layout="compressed-tensors")
    decompress(tmp_path / "served", tmp_path / "plain")
    assert json.loads((tmp_path / "plain" / "config.json").read_text()) == {"model_type": "llama", "hidden_size": 128}


def test_the_size_before_is_that_of_the_input(model, tmp_path):
    """F32 in: 4 bytes per value in every layout, also when the file is read again."""
    before = 4 * (W.size + W.shape[1])
    for layout in ("hwsim", "modelopt"):
        found = compress(model, tmp_path / layout, "nvfp4", layout=layout)
        assert found.original_nbytes == inspect(tmp_path / layout).original_nbytes == before and not found.assumed
    moved, _ = convert(tmp_path / "modelopt", tmp_path / "moved", "compressed-tensors")
    assert moved.original_nbytes == before


def test_float64_is_read(tmp_path):
    """numpy's default type: rounded to float32, then encoded; values beyond it are refused by name."""
    wide = RNG.standard_normal((32, 64))
    save_file({NAME: wide}, tmp_path / "wide.safetensors")
    compress(tmp_path / "wide.safetensors", tmp_path / "out.safetensors", "mxfp8")
    expected = get_format("mxfp8").quantize(wide.astype(np.float32))
    assert np.array_equal(decoded(tmp_path / "out.safetensors", tmp_path), expected)
    found = CliRunner().invoke(app, ["format", "mxfp8", "--qsnr", str(tmp_path / "wide.safetensors"), "--json"])
    row = json.loads(found.output)["qsnr"][0]
    assert row["db"] == hwsim.qsnr("mxfp8", wide.astype(np.float32))[0].db
    save_file({NAME: wide * 1e300}, tmp_path / "huge.safetensors")
    with pytest.raises(InputError, match="2048 of 2048 weights are NaN or infinite"):
        compress(tmp_path / "huge.safetensors", tmp_path / "o.safetensors", "mxfp8")


def test_gpt_oss_of_a_dense_model_says_what_it_stores(model, tmp_path):
    with pytest.raises(InputError, match=r"stores stacks of experts \[E, N, K\] alone, and the model has none"):
        compress(model, tmp_path / "o", layout="gpt-oss")


def test_the_error_of_a_weight_that_is_encoded_again(model, tmp_path):
    """`convert` says what the error is against, where codes change, and nothing of it where they move."""
    compress(model, tmp_path / "first", "mxfp4")
    before = decoded(tmp_path / "first", tmp_path)
    line = ["convert", str(tmp_path / "first"), "--layout", "modelopt", "--fallback", "nvfp4", "-o"]
    done = CliRunner().invoke(app, [*line, str(tmp_path / "second")])
    assert "re-encoded from mxfp4_e2m1: 1 weight (" in done.stdout
    assert done.stdout.rstrip().endswith("the error is that against the decoded values, and adds to what they had lost")
    after = decoded(tmp_path / "second", tmp_path)
    error = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert f" {error:.4f} " in done.stdout
    line = ["convert", str(tmp_path / "second"), "--layout", "hwsim", "-o", str(tmp_path / "third")]
    assert "the error is" not in CliRunner().invoke(app, line).stdout
