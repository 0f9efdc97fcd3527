"""Formats of files in a machine's file: native rates, results as of the same point by name, content hashed."""

import json
from pathlib import Path

import pytest

import hwsim
from hwsim.arch import arch_config, load_arch, load_arch_text
from hwsim.arch.builtin import arch_folder
from hwsim.errors import InputError
from hwsim.study.load import load_study
from hwsim.study.work import run_study

MINE = "{name: mine, element: E2M1, block: 32, scale: e8m0}"
EDGE = (arch_folder() / "edge-mx.yaml").read_text()
GEMV = (arch_folder() / "gemv-engine.yaml").read_text()


@pytest.fixture
def machine(tmp_path) -> Path:
    """`edge-mx` with `mine`, the point of mxfp4 from a file beside the machine's, wherever it has mxfp4."""
    (tmp_path / "chips" / "formats").mkdir(parents=True)
    (tmp_path / "chips" / "formats" / "mine.yaml").write_text(MINE)
    text = EDGE.replace(": mxfp4_e2m1", ": formats/mine.yaml")
    path = tmp_path / "chips" / "own.yaml"
    path.write_text(text)
    return path


def test_it_runs_as_the_format_of_the_same_point(machine):
    """Same bits, blocks and rates: the same cycles, bytes and formats as mxfp4 on the machine that names it."""
    mine = machine.parent / "formats" / "mine.yaml"
    own = hwsim.run(str(machine), "llama2-7b", weights=str(mine), phase="prefill", context=256)
    known = hwsim.run("edge-mx", "llama2-7b", weights="mxfp4", phase="prefill", context=256)
    assert (own.cycles, own.bytes, own.by_op) == (known.cycles, known.bytes, known.by_op)
    assert own.config["formats"]["activations"] == "mine" and not any("dequantised" in n for n in own.notes)


def test_the_machine_holds_the_definition_and_no_path(machine):
    """What the machine says of itself is read back to an equal one after the format's file is gone."""
    arch = load_arch(str(machine))
    (machine.parent / "formats" / "mine.yaml").unlink()
    config = arch_config(arch)
    assert config["dot"]["rates"][3]["weights"] == {"name": "mine", "element": "E2M1", "block": 32, "scale": "e8m0"}
    assert load_arch_text(json.dumps(config)) == arch


def test_a_study_sees_that_the_formats_content_changed(machine, tmp_path):
    """Equal paths, other content: another hash, so that no point of before is taken."""
    study = tmp_path / "study.yaml"
    study.write_text(
        "{name: s, description: d, machine: chips/own.yaml, model: llama2-7b,"
        " run: {weights: mxint8}, grid: {run.batch: [1]}}"
    )
    found = set()
    for element in ("E2M1", "E3M2"):
        (machine.parent / "formats" / "mine.yaml").write_text(MINE.replace("E2M1", element))
        (point,) = load_study(study).points
        found.add(point.key)
    assert len(found) == 2


def test_workers_of_a_study_take_formats_beside_it(tmp_path):
    """A grid over formats, from a folder that is not the study's: own points run as those of the same bits by name."""
    (tmp_path / "mine.yaml").write_text(MINE)
    study = tmp_path / "study.yaml"
    study.write_text(
        "{name: s, description: d, machine: edge-mx, model: llama2-7b, run: {phase: prefill, context: 512, "
        f"activations: mxint8, weights: {tmp_path / 'mine.yaml'}}}, "
        "grid: {machine.dot.rates.4.weights: [mine.yaml, mx6], machine.name: [a, b]}}"
    )
    summary = run_study(load_study(study), tmp_path / "out", workers=2)
    found = [json.loads(line) for line in Path(summary.file).read_text().splitlines()]
    by_format = {p["point"]["machine.dot.rates.4.weights"]: p for p in found}
    known = hwsim.run("edge-mx", "llama2-7b", weights="mxfp4", activations="mxint8", phase="prefill", context=512)
    assert summary.failed == 0 and by_format["mine.yaml"]["cycles"] == known.cycles
    assert "dequantised" in str(by_format["mx6"]["notes"]) and "dequantised" not in str(by_format["mine.yaml"]["notes"])


def test_an_override_names_a_file_from_where_the_command_runs(machine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.yaml").write_text(MINE)
    rate = {"dot.rates": "[{weights: here.yaml, activations: mxint8, rate: 8192 MAC/cycle}, "
            "{weights: mxint8, activations: mxint8, rate: 8192 MAC/cycle}]"}  # fmt: skip
    native = hwsim.gemm("edge-mx", 1, 256, 256, weights="here.yaml", activations="mxint8", overrides=rate)
    assert not any("dequantised" in note for note in native.notes)


def test_a_gemv_machine_streams_it(tmp_path):
    """Blocks of 32 in 17 bytes: the weights' bytes of n x k values are n k / 32 x 17."""
    (tmp_path / "mine.yaml").write_text(MINE)
    text = GEMV.replace("weights: seedlm4", "weights: mine.yaml").replace("decoders: 16", "decoders: 0")
    path = tmp_path / "engine.yaml"
    path.write_text(text)
    found = hwsim.gemm(str(path), 1, 512, 512, weights=str(tmp_path / "mine.yaml"))
    assert found.bytes["weights"] == 512 * 512 // 32 * 17
    assert found.cycles == hwsim.gemm(
        "gemv-engine", 1, 512, 512, weights="mxfp4", overrides={"gemv.weights": "mxfp4", "gemv.decoders": "0"}
    ).cycles  # fmt: skip
    with pytest.raises(InputError, match="the machine takes mine; write that"):
        hwsim.gemm(str(path), 1, 512, 512, weights="mxfp4")


def test_another_format_of_the_same_name_is_refused(machine, tmp_path):
    """A name decides which rate is taken: two definitions of one name never meet."""
    (tmp_path / "other.yaml").write_text(MINE.replace("32", "16"))
    with pytest.raises(
        InputError, match="mine: the machine's format of that name is another one: .*block 32.*block 16"
    ):
        hwsim.run(str(machine), "llama2-7b", weights=str(tmp_path / "other.yaml"))
    (machine.parent / "formats" / "two.yaml").write_text(MINE.replace("32", "16"))
    machine.write_text(machine.read_text().replace("weights: formats/mine.yaml", "weights: formats/two.yaml", 1))
    with pytest.raises(InputError, match="dot.rates: two different formats are called mine; write two names"):
        load_arch(str(machine))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"own.yaml:\d+:16: dot.rates.3.weights: formats/mine.yaml: no such file"),
        ("{element: E9M9}", r"own.yaml:\d+:16: dot.rates.3.weights: .*mine.yaml:1:11: element: "),
        ("{C: 6, P: 3}", "dot.rates.3.activations: .* holds weights only"),
    ],
)
def test_a_file_that_cannot_be_is_refused_at_its_place(machine, content, message):
    path = machine.parent / "formats" / "mine.yaml"
    path.unlink()
    if content:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_arch(str(machine))
