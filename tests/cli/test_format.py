"""`hwsim format`: what it refuses and with which advice, and options of formats in what it shows."""

import importlib.util
import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from hwsim.cli import app
from hwsim.cli.options import ELSEWHERE
from hwsim.errors import InputError
from hwsim.formats import get_format


@pytest.mark.parametrize(
    "line, said",
    [
        ("mxfp4 1.5", "add --explain"),
        ("mxfp4 --bogus", "unknown option --bogus"),
        ("--explain", "`hwsim format mxfp4 --explain 0.3 -1.7`"),
        ("--qsnr", "`hwsim format mxfp4 nvfp4 --qsnr`"),
        ("mxfp4 --explain --qsnr 1", "write one of them"),
        ("mxfp4 --importance x.npz", "name a .safetensors file, with --qsnr"),
        ("mxfp4 --option scale_rule=rceil", "write --explain or --qsnr, too"),
        ("nvfp4 mxfp4 --option recipe=te --qsnr", "mxfp4_e2m1: unknown option 'recipe'"),
    ],
)
def test_what_is_refused(line, said):
    done = CliRunner().invoke(app, ["format", *line.split()])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith("format: ") and said in str(done.exception)


@pytest.mark.parametrize("word", ELSEWHERE)
def test_what_is_no_command_says_what_to_write(word):
    """The advice is a command that exists."""
    done = CliRunner().invoke(app, [word, "nvfp4"])
    advice = str(done.exception).partition("`")[2].rstrip("`").replace("NAME", "nvfp4").replace("X", "0.5").split()
    assert isinstance(done.exception, InputError) and word in str(done.exception)
    if advice[0] == "hwsim":
        advised = CliRunner().invoke(app, [word for word in advice[1:] if word != "--qsnr"])
        assert advised.exit_code == 0 and "nvfp4" in advised.stdout
    else:
        assert importlib.util.find_spec(f"{advice[2]}.__main__")


def test_the_list_says_what_short_names_mean():
    """Each `SHORT is NAME` of the list, encoded: both names give the same bytes."""
    text = CliRunner().invoke(app, ["format"]).stdout
    (line,) = [line for line in text.splitlines() if line.startswith("short names: ")]
    pairs = [part.split(" is ") for part in line.removeprefix("short names: ").split(", ")]
    x = np.random.default_rng(0).standard_normal((2, 64))
    assert {"mxfp4", "mxfp8", "fp8"} <= {short for short, _ in pairs}
    for short, name in pairs:
        assert f"\n{name} " in text
        assert get_format(short).encode(x).to_bytes() == get_format(name).encode(x).to_bytes()
    assert "short names" not in CliRunner().invoke(app, ["format", "nvfp4"]).stdout


def test_an_option_changes_how_values_are_explained():
    """1.4 lies between 1 and 1.5 under 2^0, the scale of a block whose maximum is 4: nearest is 1.5, cut is 1."""
    told = {}
    for words in ("rounding=rne", "rounding=zero"):
        done = CliRunner().invoke(app, ["format", "mxfp4", "--option", words, "--explain", "1.4", "4", "--json"])
        (block,) = json.loads(done.stdout)["explained"][0]["blocks"]
        told[words] = [step["decoded"] for step in block["elements"]]
    assert told == {"rounding=rne": [1.5, 4.0], "rounding=zero": [1.0, 4.0]}


def test_an_option_changes_what_is_measured(tmp_path):
    """The same block of 32: an error of 0.1 or 0.4 in 31 values of 1.4, beside a 4 that is exact."""
    x = np.full((1, 32), 1.4, np.float32)
    x[0, 0] = 4
    save_file({"w.weight": np.concatenate([x, x])}, tmp_path / "w.safetensors")
    for words, error in (("rounding=rne", 0.1), ("rounding=zero", 0.4)):
        line = ["format", "mxfp4", "--option", words, "--qsnr", str(tmp_path / "w.safetensors"), "--json"]
        found = json.loads(CliRunner().invoke(app, line).stdout)["qsnr"]
        want = -10 * np.log10(31 * error**2 / (31 * 1.4**2 + 16))
        assert {round(row["db"], 3) for row in found} == {round(want, 3)}
