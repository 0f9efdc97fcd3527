"""Two engines and three units in a Verilog top written by hand, `two_engines/`: lint, Icarus, Verilator."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from hwsim import formats
from hwsim.formats import get_format
from hwsim.specs import Gemv
from rtl.__main__ import application
from rtl.gemv import command, command_layout
from rtl.pack import pack
from tests.rtl.independent.bench import verilator_environment
from tests.rtl.simulator import icarus_version

HERE = Path(__file__).parent / "two_engines"
DESIGN = ("two_engines_tb.v", "two_engines.v")
K, ROWS, PRODUCTS = 64, {"upper": 16, "lower": 11}, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The design with its units, written by the commands that its own comment names."""
    path = tmp_path_factory.mktemp("two_engines")
    for name in DESIGN:
        (path / name).write_text((HERE / name).read_text())
    commands = re.findall(r"^//     python -m rtl (.*) -o build/rtl$", (HERE / "two_engines.v").read_text(), re.M)
    assert len(commands) == 5 and sum(each.startswith("gemv ") for each in commands) == 2
    with pytest.MonkeyPatch.context() as patch:  # in one process, which spares four imports
        for each in commands:
            patch.setattr("sys.argv", ["rtl", *each.split(), "-o", str(path)])
            application()(standalone_mode=False)
    data(path)
    return path


def data(path: Path) -> None:
    """Inputs and the y that must come out, s W x by `formats`, in the files that the bench reads."""
    spec, draw = Gemv("mxfp4", "mxfp4", beat_bytes=4, fifo=4, k_max=K), np.random.default_rng(3)
    form, w, beats = get_format("mxfp4"), {}, {}
    for name, rows in ROWS.items():
        w[name] = form.encode(draw.normal(size=(rows, K)).astype(np.float32))
        stream = formats.stream(w[name], spec.dot_units, spec.interleave, spec.beat_bytes)
        beats[name] = np.frombuffer(stream, "<u4")
    x, scales, commands, y = [], [], [], []
    for _ in range(PRODUCTS):
        vector = (draw.normal(size=(1, K)) * 2.0 ** draw.integers(-3, 4, (1, K))).astype(np.float32)
        vector = (vector.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)  # BF16
        halves = (vector.view(np.uint32) >> np.uint32(16)).astype("<u2").reshape(-1, 32)
        x += [int.from_bytes(half.tobytes(), "little") for half in halves]
        scale = np.float32(draw.uniform(0.001, 3))
        scales.append(int(scale.view(np.uint32)))
        results = [formats.matmul(form.encode(vector), w[name], tensor_scale=False) for name in ROWS]
        bits = (np.concatenate(results, axis=1)[0] * scale).astype("<f4").tobytes()
        y += [int.from_bytes(bits[at : at + 8], "little") for at in range(0, len(bits), 8)]
        commands += [pack(command_layout(spec), command(spec, rows, K)) for rows in ROWS.values()]
    files = {"x": x, "scale": scales, "command": commands, "y": y, **beats}
    for name, words in files.items():
        (path / f"{name}.hex").write_text("".join(f"{int(word):x}\n" for word in words))
    bench = (path / DESIGN[0]).read_text()
    for name, rows in ROWS.items():
        assert f"{name.upper()}_ROWS = {rows}, {name.upper()}_BEATS = {len(beats[name])};" in bench
    assert f"PRODUCTS = {PRODUCTS};" in bench


def units(folder: Path) -> list[str]:
    """The files of the units."""
    found = sorted(path.name for path in folder.glob("*.v") if path.name not in (*DESIGN, "forgets.v"))
    assert len(found) == 5
    return found


def ran(folder: Path, *commands: list[str], quiet: bool = True) -> str:
    """What the last command prints. quiet: none of them may warn."""
    for command_line in commands:
        done = subprocess.run(
            command_line, cwd=folder, env=verilator_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and not (quiet and done.stderr), done.stdout + done.stderr
    return done.stdout


ICARUS = ["iverilog", "-g2001", "-Wall", "-Wno-timescale", "-s", "two_engines_tb", "-o", "bench"]
PASS = "PASS: 3 products of 27 rows\n"
SCALE = "{tensor_scale, y_tdata}"


@pytest.mark.simulator
@pytest.mark.skipif(icarus_version() < 11, reason="the bench is for Icarus 11")
def test_it_lints_and_runs(folder):
    """Verilator warns of nothing with -Wall: what the units' writer knows of is waived in their files. Icarus runs it,
    and the bench sees it when the scale is forgotten. One test, because the five units take seconds to write."""
    assert ran(folder, ["verilator", "--lint-only", "--quiet", "-Wall", DESIGN[1], *units(folder)]) == ""
    assert ran(folder, [*ICARUS, *DESIGN, *units(folder)], ["vvp", "-n", "bench"]) == PASS
    text = (folder / DESIGN[1]).read_text()
    assert text.count(SCALE) == 1
    (folder / "forgets.v").write_text(text.replace(SCALE, "{32'h3f800000, y_tdata}"))
    said = ran(folder, [*ICARUS, DESIGN[0], "forgets.v", *units(folder)], ["vvp", "-n", "bench"])
    assert said.startswith("FAIL: product 0, word 0:")


@pytest.mark.slow
@pytest.mark.simulator
def test_verilator_runs_it(folder):
    build = ["verilator", "--binary", "-Wno-fatal", "-Wno-lint", "--top", "two_engines_tb"]
    assert PASS in ran(folder, [*build, *DESIGN, *units(folder)], ["./obj_dir/Vtwo_engines_tb"], quiet=False)
