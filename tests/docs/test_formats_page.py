"""docs/formats.md: its Python runs, its formats exist, its options, layouts and commands are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.compress.targets import TARGETS
from hwsim.formats import get_format
from hwsim.formats.mx import SCALE_RULES
from hwsim.formats.names import NAMES, layout
from hwsim.formats.nvfp4 import RECIPES

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for line in PAGE.splitlines() if line.startswith("    hwsim ")]


def test_its_python_runs():
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "docs/formats.md", "exec"), {})


def test_a_fraction_is_rounded_up_as_often_as_the_page_says():
    """floor(256 f) / 256 of many draws, within five standard deviations; INT8 blocks with their largest value at 1."""
    assert "floor(256 f) / 256" in PAGE
    form = get_format("mxint8", rounding="stochastic", seed=3)
    for f in (1 / 512, 0.3, 0.5, 511 / 512):
        x = np.full((4096, 32), (40 + f) / 64, np.float32)
        x[:, 0] = 1.0
        up = form.quantize(x)[:, 1:] > 40 / 64
        p = np.floor(256 * f) / 256
        assert abs(up.mean() - p) <= 5 * np.sqrt(p * (1 - p) / up.size)


def test_one_level_of_scales_loses_what_the_page_says():
    x = (0.002 * np.random.default_rng(0).standard_normal((64, 1024))).astype(np.float32)
    fine = {"name": "fine", "element": "E2M1", "block": 16, "scale": "e4m3"}
    found = []
    for options in ({}, {"tensor_scale": 1}):
        error = x - get_format(fine, **options).quantize(x)
        found.append(f"{10 * np.log10(np.sum(x**2) / np.sum(error**2)):.1f} dB")
    assert f"{found[0]} under two levels and {found[1]} under one" in PAGE


def stored(form, row) -> tuple[int, int]:
    """(The bytes of a row's records as one number, bit 0 first; how many bytes) without a tensor's scale."""
    data = get_format(form).encode(np.asarray([row], np.float32)).to_bytes()
    data = data[: len(data) - layout(form).tensor_scale_bytes]
    return int.from_bytes(data, "little"), len(data)


def test_a_partial_block_is_stored_as_the_page_says():
    """Bit by bit, for rows that end within their second block."""
    draw = np.random.default_rng(3)
    own = {"name": "odd", "element": "E2M0", "block": 7, "scale": "e8m0"}  # a record of 8 + 7 x 3 = 29 bits
    codebook = {"name": "levels", "codebook": [-1, -0.3, 0.3, 1], "block": 8}
    shapes = {"mxfp4": (8, 32, 4), "nvfp4": (8, 16, 4), "int4_g128": (16, 128, 4), "mxfp8": (8, 32, 8)}
    for form, (scale, block, bits) in (*shapes.items(), (own, (8, 7, 3)), (codebook, (32, 8, 2))):
        row = draw.standard_normal(block + 3)
        record = scale + block * bits
        number, nbytes = stored(form, row)
        assert nbytes == -(-2 * record // 8) and number >> (record + scale + 3 * bits) == 0
        scale_alone = stored(form, row[block:])[0] & ((1 << scale) - 1)
        if form != "nvfp4":  # whose tensor scale is that of the row
            assert number >> record & ((1 << scale) - 1) == scale_alone
    for form, m in (
        ("mx9", 7),
        ("mx6", 4),
        ("mx4", 2),
    ):  # scale 8, shifts 8, 16 of sign and m bits
        number, nbytes = stored(form, draw.standard_normal(19))
        record = 16 + 16 * (m + 1)
        assert nbytes == 2 * record // 8 and number >> (record + 16 + 3 * (m + 1)) == 0
        assert number >> (record + 8 + 2) & 0b111111 == 0b111111  # the six sub-blocks of two beyond the third value
    for form, each in (("fp8_block", 1), ("fp8_row", 1), ("bf16", 2)):
        assert stored(form, draw.standard_normal(19))[1] == 19 * each + (0 if form == "bf16" else 4)


def test_a_seed_fits_the_weights_that_exist_alone():
    """Its error is below that of a block filled with zeros, whose search has to fit these too."""
    x = np.random.default_rng(0).standard_normal((1, 3)).astype(np.float32)
    with_zeros = np.concatenate([x, np.zeros((1, 5), np.float32)], axis=1)
    seeds = get_format("seedlm4")
    alone, padded = (seeds.quantize(each)[:, :3] for each in (x, with_zeros))
    assert np.sum((alone - x) ** 2) < np.sum((padded - x) ** 2)


FORMATS = [text for kind, text in BLOCKS if kind == "yaml" and text.startswith("{")]


@pytest.mark.parametrize("text", FORMATS)
def test_its_own_formats_exist(tmp_path, text):
    (tmp_path / "f.yaml").write_text(text)
    form = get_format(str(tmp_path / "f.yaml"))
    assert form.name == yaml.safe_load(text)["name"]
    x = np.random.default_rng(0).standard_normal((2, 48)).astype(np.float32)
    assert np.linalg.norm(form.quantize(x) - x) < 0.6 * np.linalg.norm(x)


def test_its_options_are_those_of_the_code():
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) - {t.name for t in TARGETS}
    known = set()
    for name in NAMES:
        known |= {f for f in type(get_format(name)).__dataclass_fields__}
    fixed = {"threads", "given", "element", "block", "kind", "group", "codec", "m", "k1", "d1", "k2", "d2"}
    assert listed - {"hwsim", "gptq"} == known - fixed
    for word in (*SCALE_RULES, *RECIPES):
        assert f"`{word}`" in PAGE


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_its_layouts_are_those_of_the_code(target):
    (row,) = re.findall(rf"^\| `{target.name}` \|.*\|.*\|(.*)\|$", PAGE, re.MULTILINE)
    if target.formats:
        names = re.findall(r"`([^`]+)`", row)[0].split()
        assert {layout(name).name for name in names} == set(target.formats)


def test_its_usual_formats_are_those_of_the_code():
    (said,) = re.findall(r"the usual format of the layout: (.*?)\. ", PAGE.replace("\n", " "))
    pairs = re.findall(r"`(\w+)` of ([\w -]+)", said)
    found = {name: form for form, names in pairs for name in names.split(" and ")}
    assert found == {target.name: target.default for target in TARGETS if target.default}


def test_its_commands_run(tmp_path, monkeypatch):
    """Each command of the page, on small models of the kinds that it names."""
    monkeypatch.chdir(tmp_path)
    w = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    rng = np.random.default_rng(1)
    models = {
        "model": {"a.q_proj.weight": w},
        "gpt-oss-20b": {
            "a.experts.down_proj_blocks": rng.integers(0, 256, (2, 8, 2, 16), np.uint8),
            "a.experts.down_proj_scales": rng.integers(120, 130, (2, 8, 2), np.uint8),
        },
    }
    for name, tensors in models.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    run = CliRunner().invoke
    made = run(app, ["compress", "model", "--layout", "modelopt", "-o", "of-modelopt"])
    assert made.exit_code == 0, made.output
    assert len(COMMANDS) == 9
    for command in COMMANDS:
        done = run(app, shlex.split(command)[1:])
        assert done.exit_code == 0 and done.stdout, (command, done.output, done.exception)
