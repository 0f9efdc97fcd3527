"""`--vectors`: the bench in plain Verilog passes, checks data and time, and fails when one expected word is changed."""

import re
import shlex
import subprocess

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from rtl.vectors import write_bench
from rtl.written import write
from tests.rtl.side_by_side import axi
from tests.rtl.simulator import build_verilog, icarus_version, run_verilog
from tests.rtl.test_emit import rtl
from tests.rtl.units import BY_NAME

NAMES = ["lfsr_seedlm4", "decoder_small", "requantizer_c16", "dot4_e5m2", "dot4_mx9", "acc_two_stages", "mac1_e5m2"]
NAMES += ["adapter_6_8", "skid_buffer_3_tkeep", "encode4_e2m1_stochastic", "encode4_nvfp4_bf16", "scale_three_stages"]


def change(path, at: int, bit: int) -> None:
    """Turn one bit of a word of the expected file, counted from the low end of line `at`."""
    lines = path.read_text().splitlines()
    word, mask = lines[at].split()
    lines[at] = f"{int(word, 16) ^ 1 << bit:0{len(word)}x} {mask}"
    path.write_text("\n".join(lines) + "\n")


def first_answer(path) -> tuple[int, int]:
    """(line, a bit of tdata that means something) of an answer offered."""
    for at, line in enumerate(path.read_text().splitlines()):
        word, mask = line.split()
        if int(word[0], 16) & 2 and (meant := int(mask[1:], 16)):
            return at, meant.bit_length() - 1
    raise AssertionError("no answer in the file")


def results(command, folder):
    """{unit: (data mismatches, time mismatches, PASS or FAIL)} of a run."""
    pattern = r"(\w+): 60 inputs, \d+ outputs, \d+ cycles: (\d+) mismatches in data, (\d+) in time: (PASS|FAIL)"
    lines = run_verilog(command, folder)
    return {match[1]: match.groups()[1:] for line in lines if (match := re.fullmatch(pattern, line))}


@pytest.mark.simulator
def test_benches_pass_and_see_one_changed_word(tmp_path, monkeypatch):
    """Every kind of unit: as written, then with one bit turned of one word that is expected: data, tlast, handshake."""
    for name in NAMES:
        unit = axi(BY_NAME[name])
        write(unit, name, tmp_path)
        write_bench(unit, name, tmp_path, 60)
    command = build_verilog(NAMES, tmp_path, monkeypatch)
    assert results(command, tmp_path) == {name: ("0", "0", "PASS") for name in NAMES}
    want = {}
    for i, name in enumerate(NAMES):
        path = tmp_path / f"{name}_expected.hex"
        at, bit = first_answer(path)
        flags = 4 * (len(path.read_text().split(maxsplit=1)[0]) - 1)
        # A bit of the data, tlast, tvalid, tready.
        what = i % 4
        change(path, at, [bit, flags, flags + 1, flags + 2][what])
        want[name] = ("1", "0", "FAIL") if what < 2 else ("0", "1", "FAIL")
    assert results(command, tmp_path) == want


@pytest.mark.simulator
def test_command_writes_what_it_says_to_run(tmp_path):
    done = rtl("block-dot", "--format", "mxfp4", "--lanes", "4", "--vectors", "40", "-o", str(tmp_path / "a b"))
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stdout.splitlines() if "; run: cd " in line]
    assert re.search(r"_tb\.v: 40 inputs, \d+ outputs, \d+ cycles; run: cd ", said)
    if icarus_version() < 11:
        pytest.skip("the command printed is for Icarus 11 or newer")
    ran = subprocess.run(said.split("run: ")[1], shell=True, capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("PASS\n"), ran.stdout
    assert shlex.quote(str(tmp_path / "a b")) in said


@pytest.mark.simulator
@pytest.mark.parametrize("outside", [["--interleave", "1"], ["--packet", "3", "--tkeep", "--rst-n"]])
def test_benches_of_other_accumulators_pass(outside, tmp_path, monkeypatch):
    """One row after another; packets, tkeep and a reset that is active low."""
    done = rtl("mx-mac", "--format", "mxfp4", "--lanes", "2", "--vectors", "60", *outside, "-o", str(tmp_path))
    assert done.returncode == 0 and ("interval 13" in done.stdout) == ("1" in outside), done.stderr
    (path,) = tmp_path.glob("*_tb.v")
    name = path.stem.removesuffix("_tb")
    assert results(build_verilog([name], tmp_path, monkeypatch), tmp_path) == {name: ("0", "0", "PASS")}


@pytest.mark.parametrize("n", ["-1", "1000001", "many"])
def test_bad_count_is_refused(n, tmp_path):
    done = rtl("lfsr-block", "--vectors", n, "-o", str(tmp_path))
    assert done.returncode == 2 and "--vectors" in done.stderr and not list(tmp_path.iterdir())
