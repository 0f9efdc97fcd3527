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
    for folder in ("out", "served", "plain", "of-modelopt"):
        (tmp_path / folder).mkdir()
    run = CliRunner().invoke
    made = run(app, ["compress", "model", "--layout", "modelopt", "-o", "of-modelopt"])
    assert made.exit_code == 0, made.output
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        done = run(app, shlex.split(command)[1:])
        assert done.exit_code == 0 and done.stdout, (command, done.output, done.exception)
