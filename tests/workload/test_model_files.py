"""Model files: sources, schema, configs that can be read back, and each error with its line and column."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from hwsim.errors import InputError
from hwsim.workload import load_model, load_model_text, model_names, model_schema, workload_names

MODELS = Path(sys.modules["hwsim.workload"].__file__).parent / "models"
NAMES = model_names()

GOOD = """\
name: small
description: a small hybrid
hidden: 256
vocab: 1000
tied_embeddings: false
layers: M*E- xy
mtp: "*E"
attention:
  q_heads: 4
  kv_heads: 2
  head_dim: 64
  rope: true
  window: 16
mamba2:
  heads: 8
  head_dim: 64
  state: 16
  groups: 2
  conv_kernel: 4
  chunk: 32
mlp:
  intermediate: 512
  gated: true
  activation: silu
moe:
  experts: 8
  top_k: 2
  intermediate: 128
  gated: false
  activation: relu2
"""


def problems(text, overrides=()):
    with pytest.raises(InputError) as caught:
        load_model_text(text, "f.yaml", overrides)
    return list(caught.value.problems)


def test_the_valid_file_is_accepted():
    assert load_model_text(GOOD).layers == "M*E-xy"


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_source(name):
    """On its line or the line before; the top of the file explains the tags in brackets."""
    lines = (MODELS / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=model.schema.json"
    legend = " ".join(line[2:] for line in lines if line.startswith("#")) + " "
    for before, line in zip(lines, lines[1:], strict=False):
        assert len(line) <= 140
        body, _, comment = line.partition(" # ")
        if line.startswith(("#", "name:", "description:")) or body.endswith(":"):
            continue
        comment = comment or (before[2:] if before.startswith("# [") else "")
        assert comment, line
        if comment.startswith("["):
            assert f"{comment.split(']')[0]}] " in legend, line


@pytest.mark.parametrize("name", NAMES)
def test_the_config_of_a_result_reads_back_to_the_same_model(name):
    model = load_model(name)
    assert model.name == name
    assert load_model_text(json.dumps(model.config(), indent=1)) == model
    assert load_model_text(yaml.safe_dump(model.config(), sort_keys=False)) == model


def test_the_committed_schema_is_current():
    assert json.loads((MODELS / "model.schema.json").read_text()) == model_schema()
    jsonschema.Draft202012Validator.check_schema(model_schema())


@pytest.mark.parametrize("name", NAMES)
def test_shipped_files_pass_the_schema(name):
    data = yaml.safe_load((MODELS / f"{name}.yaml").read_text())
    jsonschema.Draft202012Validator(model_schema()).validate(data)


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("hidden: 256", "hiden: 256", "f.yaml:3:1: hiden: unknown; did you mean hidden?"),
        ("hidden: 256\n", "", "f.yaml:1:1: hidden: missing; write `hidden: 4096`"),
        ("hidden: 256", "hidden: 0", "f.yaml:3:9: hidden: `0`: "),
        ("hidden: 256", "hidden: -1", "f.yaml:3:9: hidden: `-1`: "),
        ("hidden: 256", "hidden: 256.5", "f.yaml:3:9: hidden: "),
        ("hidden: 256", "hidden: wide", "f.yaml:3:9: hidden: `wide`; write a whole number"),
        ("hidden: 256", "hidden: 99999999", "f.yaml:3:9: hidden: "),
        ("tied_embeddings: false", "tied_embeddings: 1", "f.yaml:5:18: tied_embeddings: `1`; write true or false"),
        ("M*E- xy", "M*Q", "f.yaml:6:9: layers: `M*Q`"),
        ("M*E- xy", '" "', "f.yaml:6:9: layers: has no layer; write"),
        ('"*E"', "ME", "f.yaml:7:6: mtp: has Mamba-2 layers, whose state a rejected draft token would spoil; write"),
        ("activation: silu", "activation: swish", "f.yaml:24:15: mlp.activation: `swish` is not known; write"),
        ("  window: 16\n", "", "f.yaml:6:9: layers: has layers x or y, which attend through a window; add"),
        ("top_k: 2", "top_k: 9", "f.yaml:27:10: moe.top_k: is more than the 8 experts; write 8 or less"),
        ("q_heads: 4", "q_heads: 3", "f.yaml:9:12: attention.q_heads: is not a multiple of the 2 kv_heads; write"),
        ("groups: 2", "groups: 3", "f.yaml:15:10: mamba2.heads: is not a multiple of the 3 groups; write"),
        ("moe:\n", "moe: 5\nmore:\n", "f.yaml:25:6: moe: `5`; write a mapping with the keys experts, top_k"),
    ],
)
def test_an_error_names_its_place_and_what_to_write(old, new, expected):
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert any(p.startswith(expected) for p in found), found


def test_parts_that_the_layers_need():
    head = GOOD[: GOOD.index("attention:")]
    assert problems(head) == [
        f"f.yaml:{place}: has {part} layers; add the mapping `{part}:`"
        for place, parts in (("6:9: layers", "attention mamba2 mlp moe"), ("7:6: mtp", "attention moe"))
        for part in parts.split()
    ]


def test_all_errors_are_reported_at_once():
    text = GOOD.replace("hidden: 256", "hidden: x").replace("vocab: 1000", "vocab: 0").replace("rope", "ropes")
    assert len(problems(text)) == 3


@pytest.mark.parametrize("text", ["", "- a\n", "name: [\n", "a: 1\na: 2\n", "\tname: x\n", "name: !!python/object x\n"])
def test_other_texts_are_refused(text):
    assert all(p.startswith("f.yaml") for p in problems(text))


def test_overrides():
    model = load_model("nemotron3-nano-30b-a3b", [("moe.top_k", "8"), ("layers", "ME")])
    assert (model.moe.top_k, model.layers) == (8, "ME")
    with pytest.raises(InputError, match="--set moe.topk: unknown; did you mean top_k?"):
        load_model("nemotron3-nano-30b-a3b", [("moe.topk", "8")])


@pytest.mark.parametrize(
    "name, message",
    [
        ("llama3-8", "unknown model llama3-8; did you mean llama3-8b?"),
        ("zebra", "unknown model zebra; `hwsim model` lists the known ones"),
        ("no/such.yaml", "no/such.yaml: no such file; write"),
        ("no/such.json", "no/such.json: cannot be read (No such file or directory); write"),
        ("x" * 5000, "unknown model xxx"),
        ("a\0b", "unknown model a"),
    ],
)
def test_names_of_no_model(name, message):
    with pytest.raises(InputError) as caught:
        load_model(name)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 200 + sum(len(known) + 2 for known in workload_names())


def test_importing_the_package_loads_nothing_and_loading_a_model_needs_no_numpy():
    code = (
        "import sys, hwsim.workload; assert not {'numpy', 'pydantic', 'yaml'} & set(sys.modules);"
        "hwsim.workload.load_model('gpt-oss-20b').ops(hwsim.workload.StepOptions());"
        "assert not {'numpy', 'numba', 'simpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=MODELS.parent.parent.parent)
