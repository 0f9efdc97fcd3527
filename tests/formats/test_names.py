"""Resolving a format: once, to a Layout that says everything; rows, definitions, files, activations."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.files.fields import FilePart
from hwsim.formats import custom, get_format
from hwsim.formats.layout import block_layout
from hwsim.formats.names import ALIASES, NAMES, ROWS, layout, row

CUSTOM = [
    {"name": "mine", "element": "E2M1", "block": 64, "scale": "e8m0"},
    {"name": "nv", "element": "E4M3", "block": 32, "scale": "e4m3"},
    {"name": "q4", "element": "INT4", "block": 64, "scale": "fp16"},
    {"name": "m5", "m": 5, "k1": 32, "d1": 8, "k2": 4, "d2": 2},
]
ACTIVATIONS = {
    "same": ["fp32", "bf16", "fp16", "fp8_e4m3", "fp8_e5m2", "fp8_row", "int8"],
    "listed": ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8", "nvfp4"]
    + ["mx9", "mx6", "mx4", "fp8_block"],
    "wide": ["int4_g128", "seedlm4", "seedlm3"],
}


def written(path: Path, definition: dict[str, object]) -> Path:
    path.write_text("".join(f"{key}: {value}\n" for key, value in definition.items()))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_format_has_the_layout_of_its_row(name):
    form = get_format(name)
    assert form.layout is layout(name) is ROWS[name].layout
    # The class derives the same sizes from its own parameters; only how the format is named differs.
    own = replace(form, given=None).own_layout()
    assert replace(own, name=name, definition=()) == form.layout


@pytest.mark.parametrize("definition", CUSTOM, ids=lambda d: d["name"])
def test_a_custom_format_has_the_layout_of_its_definition(definition):
    form = get_format(definition)
    assert form.layout == layout(definition) and form.name == definition["name"]
    own = replace(form, given=None).own_layout()
    assert replace(own, name=form.name, definition=form.layout.definition) == form.layout


def test_a_layout_is_resolved_already():
    for name in (*NAMES, *ALIASES):
        found = layout(name)
        assert layout(found) is found
        assert get_format(found) == get_format(name)


@pytest.mark.parametrize("source", [*NAMES, *CUSTOM], ids=str)
def test_plain_data_of_a_layout_gives_it_again(source):
    found = layout(source)
    told = found.resolved()
    assert told == source
    assert layout(json.loads(json.dumps(told))) == found


def test_a_resolved_file_holds_what_the_file_left_out(tmp_path):
    path = written(tmp_path / "half.yaml", {"m": 5, "k1": 32, "k2": 4, "d2": 2})
    told = layout(path).resolved()
    assert told == {"name": "bdr_m5_k32_d8_k4_d2", "m": 5, "k1": 32, "d1": 8, "k2": 4, "d2": 2}
    assert list(told) == ["name", "m", "k1", "d1", "k2", "d2"]


@pytest.mark.parametrize("definition", CUSTOM, ids=lambda d: d["name"])
def test_a_file_is_opened_once_and_never_again(tmp_path, monkeypatch, definition):
    path = written(tmp_path / "f.yaml", definition)
    opened, plain = [], Path.open

    def counted(self, *args, **options):
        opened.append(self)
        return plain(self, *args, **options)

    monkeypatch.setattr(Path, "open", counted)
    found = layout(str(path))
    assert opened == [path]
    path.unlink()
    x = np.linspace(-3, 5, 128).reshape(2, 64)
    assert get_format(found).encode(x).to_bytes() == get_format(definition).encode(x).to_bytes()
    written(path, definition)
    opened.clear()
    get_format(path)
    assert opened == [path]


def test_file_classes_are_defined_once():
    layout(CUSTOM[0])
    before = len(FilePart.__subclasses__())
    layout(CUSTOM[0])
    get_format(CUSTOM[3])
    assert len(FilePart.__subclasses__()) == before
    assert {custom.BdrFile, custom.BlockFile} <= set(FilePart.__subclasses__())


def test_layouts_are_keys(tmp_path):
    """Equal formats are one key, whoever read them; two formats of equal sizes are two keys."""
    path = written(tmp_path / "m5.yaml", CUSTOM[3])
    a, b = layout(path), layout(CUSTOM[3])
    assert a is not b and a == b and hash(a) == hash(b) and {a: 1}[b] == 1
    other = layout(CUSTOM[3] | {"k2": 2, "d2": 1})
    assert (other.record_bits, other.name) == (a.record_bits, a.name) == (8 + 16 + 32 * 6, "m5")
    assert other != a and len({a, b, other}) == 2


def test_a_layout_is_a_key_in_another_process():
    """Hashes of strings differ between processes: what a worker receives must not carry one."""
    found = {layout(source): i for i, source in enumerate((*NAMES, CUSTOM[0]))}
    code = "import pickle, sys; from hwsim.formats.names import NAMES, layout\n"
    code += "found = pickle.load(sys.stdin.buffer)\n"
    code += f"assert [found[layout(s)] for s in (*NAMES, {CUSTOM[0]!r})] == list(range({len(found)}))"
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(found), env=env, check=True)


def test_activations_of_every_format():
    assert {name: layout(name).activations for name in NAMES} == {
        name: rule for rule, names in ACTIVATIONS.items() for name in names
    }
    assert [layout(definition).activations for definition in CUSTOM] == ["listed", "listed", "wide", "listed"]


@pytest.mark.parametrize("name, near", [("mxpf4", "mxfp4"), ("seedlm", "seedlm4"), ("bf61", "bf16"), ("nvfp", "nvfp4")])
def test_an_unknown_name_says_the_nearest(name, near):
    with pytest.raises(InputError) as error:
        layout(name)
    assert str(error.value) == f"unknown format {name!r}; did you mean {near}?"
    with pytest.raises(InputError, match="unknown format"):
        get_format(name)


def test_other_unknown_names_say_what_works():
    with pytest.raises(InputError, match="unknown format 'zzz'; known: mxfp8_e4m3, .*, fp8$"):
        layout("zzz")
    for path in ("./mine", "mine.json"):
        with pytest.raises(InputError, match="must end in .yaml or .yml"):
            layout(path)


def test_the_layout_of_activations_has_their_values():
    """What a run resolves `fp8_block` to, where it names activations or a cache, is one scale per row and 128."""
    found = layout("fp8_block").by_rows()
    form = get_format(found)
    assert form.layout == found == get_format("fp8_block", tile=(1, 128)).layout
    x = np.random.default_rng(0).standard_normal((5, 300))
    assert form.encode(x).to_bytes() == get_format("fp8_block", tile=(1, 128)).encode(x).to_bytes()
    assert found != layout("fp8_block") and found.resolved() == "fp8_block"


def test_a_layout_of_ones_own_has_no_values():
    for made in (block_layout("mine", "E2M1", 4, 64, 8), block_layout("nvfp4", "E2M1", 4, 64, 8)):
        with pytest.raises(InputError, match="no definition"):
            row(made)


@pytest.mark.parametrize("taken", ["nvfp4", "fp8"])
def test_a_custom_format_may_not_take_a_known_name(tmp_path, taken):
    """It would run at the rate that a machine lists for the format of that name."""
    path = written(tmp_path / "f.yaml", CUSTOM[0] | {"name": taken})
    with pytest.raises(InputError) as error:
        layout(path)
    assert str(error.value) == f"{path}:1:7: name: {taken} is a format that hwsim knows; write another name"


def test_all_errors_of_a_file_at_once(tmp_path):
    path = written(tmp_path / "f.yaml", {"name": "nvfp4", "element": "INT8", "block": 32, "scale": "e4m3"})
    with pytest.raises(InputError) as error:
        layout(path)
    assert [p.split(": ")[1] for p in error.value.problems] == ["name", "scale"]
    with pytest.raises(InputError, match="no such file"):
        layout(tmp_path / "absent.yaml")


def test_bits_per_value_of_a_custom_format():
    assert layout(CUSTOM[0]).bits_per_value == Fraction(64 * 4 + 8, 64)
