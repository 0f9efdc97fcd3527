"""A format given as a YAML file: read once per run, resolved in the result, as fast as a built-in one."""

import builtins
import io
import json

import pytest

import hwsim

ONLY = "[{weights: mxint8, activations: mxint8, rate: 8192 MAC/cycle}]"
DEFINITION = {"name": "mine", "element": "E2M1", "block": 32, "scale": "e8m0"}


def write(folder) -> str:
    path = folder / "mine.yaml"
    path.write_text(json.dumps(DEFINITION))
    return str(path)


def test_the_file_is_read_once(tmp_path, monkeypatch):
    path, opened, real = write(tmp_path), [], (builtins.open, io.open)

    def count(real_open):
        def counted(file, *args, **kwargs):
            opened.append(str(file))
            return real_open(file, *args, **kwargs)

        return counted

    monkeypatch.setattr(builtins, "open", count(real[0]))
    monkeypatch.setattr(io, "open", count(real[1]))
    result = hwsim.run("h200-sxm", "nemotron3-nano-30b-a3b", weights={"experts": path, "default": "fp8"}, engine="walk")
    assert opened.count(path) == 1
    assert result.config["formats"]["weights"] == {"default": "fp8_e4m3", "experts": DEFINITION}


def test_a_file_of_a_built_in_format_gives_its_result(tmp_path):
    """The MX format of E2M1 in blocks of 32, from a file: the same bytes and cycles as `mxfp4`."""
    ours, known = (
        hwsim.run("h200-sxm", "llama3-8b", weights=weights, engine="walk") for weights in (write(tmp_path), "mxfp4")
    )
    assert (ours.cycles, ours.bytes, ours.by_op) == (known.cycles, known.bytes, known.by_op)


@pytest.mark.parametrize(("element", "exact"), [("E3M0", True), ("E2M1", True), ("E3M1", False)])
def test_own_elements_are_dequantised_without_loss_where_every_value_fits(tmp_path, element, exact):
    """INT8 holds a block of E3M0 (0.25 to 16, a ratio of 64) and of E2M1 (12), not of E3M1 (0.125 to 24, 192)."""
    own = tmp_path / "own.yaml"
    own.write_text(json.dumps({"name": "own", "element": element, "block": 32, "scale": "e8m0"}))
    result = hwsim.gemm("edge-mx", 1, 256, 256, weights=str(own), activations="mxint8", overrides={"dot.rates": ONLY})
    (note,) = [note for note in result.notes if note.startswith("own x mxint8 dequantised to mxint8 x mxint8")]
    lost = "scales above 1.701412e+38 do not fit"
    if not exact:
        lost = "a block of mxint8 cannot hold both the least and the largest element of own"
    assert note.endswith(f"(not exact: {lost})")
