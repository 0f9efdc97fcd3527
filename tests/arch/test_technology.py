"""Technology files: every figure has a source, the shipped ones follow from public tables, errors name their place."""

import json
from fractions import Fraction

import pytest
import yaml

import hwsim
from hwsim.arch import arch_config, load_arch, load_arch_text
from hwsim.arch.builtin import arch_folder
from hwsim.arch.technology import dram_names, load_dram_kind, load_technology, technology_names
from hwsim.errors import InputError

OWN = """\
name: mine
buffer: {value: 2 pJ/B, source: "my memory compiler"}
toggle: {value: 0.5 pJ, source: "my library"}
activity: {value: 0.25, source: "my vectors"}
vector: {source: "not simulated yet"}
nand2: {value: 0.5 um2, source: "my library"}
utilisation: {value: 0.8, source: "my floorplan"}
bit: {value: 0.1 um2, source: "my memory compiler"}
"""
OWN_DRAM = 'name: my-dram\nmoved: {value: 10 pJ/B, source: "my supplier"}\n'


def test_the_shipped_ones():
    assert technology_names() == ["16nm", "28nm", "45nm", "5nm", "7nm"]
    assert dram_names() == ["ddr4", "hbm2", "hbm3", "lpddr5"]


@pytest.mark.parametrize("name", ["16nm", "28nm", "45nm", "5nm", "7nm"])
def test_a_process_comes_back_as_its_file_states_it(name):
    given = yaml.safe_load((arch_folder() / "technology" / f"{name}.yaml").read_text())
    assert {"multiply_adds": []} | given == load_technology(name).file()
    assert given["name"] == name


@pytest.mark.parametrize("name", ["ddr4", "hbm2", "hbm3", "lpddr5"])
def test_a_kind_of_dram_comes_back_as_its_file_states_it(name):
    given = yaml.safe_load((arch_folder() / "technology" / "dram" / f"{name}.yaml").read_text())
    assert given == load_dram_kind(name).file() and given["name"] == name


def test_no_figure_of_an_output_is_called_unchecked():
    for path in sorted(arch_folder().rglob("technology/**/*.yaml")):
        assert "not yet checked" not in path.read_text() and "from memory" not in path.read_text()
    assert "not yet checked" not in (arch_folder() / "tpu-v4i.yaml").read_text()


def test_toggles_are_an_adder_and_a_multiplier_over_their_gates():
    """8 full adders of 9 NAND2; 64 ANDs of 1.5 and 56 full adders; half of them switch."""
    gates = Fraction(8 * 9 + 56 * 9) + 64 * Fraction(3, 2)
    for name, add, multiply in (("45nm", "0.03", "0.2"), ("7nm", "0.007", "0.07")):
        expected = (Fraction(add) + Fraction(multiply)) / (gates / 2)
        assert load_technology(name).toggle_pj.value == pytest.approx(float(expected), rel=1e-4)


def test_figures_shrink_with_the_process():
    old, new = load_technology("45nm"), load_technology("7nm")
    for figure in ("buffer_pj_per_byte", "toggle_pj", "vector_pj", "nand2_um2", "bit_um2"):
        assert getattr(old, figure).value > getattr(new, figure).value
    bits = [load_technology(name).bit_um2.value for name in ("45nm", "28nm", "16nm", "7nm", "5nm")]
    assert bits == sorted(bits, reverse=True)


def test_a_bit_cell_is_larger_than_a_gate_is_small():
    """Independent of the table: a 6-T cell takes a fifth to a whole of a NAND2 of the same process."""
    for name in ("45nm", "16nm", "7nm"):
        t = load_technology(name)
        assert 0.2 < t.bit_um2.value / t.nand2_um2.value < 1


def test_a_machine_may_name_files_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(OWN)
    (tmp_path / "my-dram.yaml").write_text(OWN_DRAM)
    machine = yaml.safe_load((arch_folder() / "m0.yaml").read_text()) | {"technology": "mine.yaml", "idle": "1 W"}
    machine["dram"]["kind"] = "my-dram.yaml"
    (tmp_path / "machine.yaml").write_text(yaml.safe_dump(machine))
    result = hwsim.gemm(str(tmp_path / "machine.yaml"), 8, 64, 64, weights="int8")
    terms = {t.name: t for t in result.cost.energy}
    assert terms["dram"].value == pytest.approx(result.dram_bytes * 10e-12)
    assert terms["dram"].source == "my supplier"
    area = {t.name: t.value for t in result.cost.area}
    assert area["buffers"] == pytest.approx(3 * 2**20 * 8 * 0.1e-6)
    monkeypatch.chdir(tmp_path)  # a path of `--set` is one of the folder where the command runs
    shipped = load_arch("m0", [("technology", "mine.yaml"), ("dram.kind", "my-dram.yaml")])
    assert shipped.technology == load_arch(tmp_path / "machine.yaml").technology
    assert load_arch_text(json.dumps(arch_config(shipped))) == shipped


@pytest.mark.parametrize(
    "line, wrong, message",
    [
        (
            "buffer: {value: 2 pJ/B,",
            "buffer: {value: 2 pJ,",
            "mine.yaml:2:17: buffer.value: `2 pJ` is a quantity in J, an ",
        ),
        ('vector: {source: "not simulated yet"}', "vector: {}", "mine.yaml:5:9: vector.source: missing"),
        ("value: 0.25", "value: 1.5", "mine.yaml:4:19: activity.value: `1.5`"),
        ("nand2:", "nand:", "mine.yaml:6:1: nand: unknown; did you mean nand2?"),
    ],
)
def test_a_file_s_problems_name_their_place(tmp_path, line, wrong, message):
    (tmp_path / "mine.yaml").write_text(OWN.replace(line, wrong))
    with pytest.raises(InputError) as error:
        load_arch("m0", [("technology", str(tmp_path / "mine.yaml"))])
    assert message in str(error.value) and "--set technology" in str(error.value)


@pytest.mark.parametrize(
    "path, text, message",
    [
        (
            "technology",
            "6nm",
            "`6nm` is not known; did you mean 16nm?; write 16nm, 28nm, 45nm, 5nm, 7nm or the path of a",
        ),
        ("technology", "none.yaml", "none.yaml: no such file"),
        ("dram.kind", "hbm", "`hbm` is not known; did you mean hbm2?; write ddr4, hbm2, hbm3, lpddr5 or the path"),
        ("dram.kind", "none.yaml", "none.yaml: no such file"),
    ],
)
def test_unknown_names(path, text, message):
    with pytest.raises(InputError) as error:
        load_arch("m0", [(path, text)])
    assert message in str(error.value) and f"--set {path}" in str(error.value)


def test_the_engine_has_no_use_for_a_kind_of_dram():
    with pytest.raises(InputError, match="dram.kind: has no use"):
        load_arch("gemv-engine", [("dram.kind", "ddr4")])
