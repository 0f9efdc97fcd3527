"""`python -m rtl`: what it writes, and what it answers to an error."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

ROOT = Path(__file__).parents[2]


def rtl(*args: str, hash_seed: str = "0", cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Run `python -m rtl`."""
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rtl", *args]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)


EMIT = """
import sys
from pathlib import Path
sys.path[:0] = ["."]
from tests.rtl.side_by_side import axi
from tests.rtl.units import BY_NAME
from rtl.emit import emit
for name in {names}:
    print(emit(axi(BY_NAME[name]), name))
"""
KINDS = [
    "lfsr_seedlm4", "decoder_small", "dot4_e4m3", "dot4_mx9", "dot4_nvfp4_e5m2", "acc_two_stages", "mac3_int8",
    "seed_mac_c32",
]  # fmt: skip


def test_same_bytes_from_two_clones_and_hash_seeds(tmp_path):
    """Every kind of unit (the requantizer inside the seed MAC) from copies of the sources in two folders."""
    running = []
    for name, seed in (("a", "1"), ("deeper/b", "2")):
        clone = tmp_path / name
        for room in ("hwsim", "rtl", "tests"):
            shutil.copytree(ROOT / room, clone / room, ignore=shutil.ignore_patterns("__pycache__"))
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": ""}
        command = [sys.executable, "-W", "ignore", "-c", EMIT.format(names=KINDS)]
        running.append(subprocess.Popen(command, env=env, cwd=clone, stdout=subprocess.PIPE, text=True))
    texts = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert texts[0] == texts[1] and all(f"module {name}(" in texts[0] for name in KINDS)
    assert str(tmp_path) not in texts[0] and str(ROOT) not in texts[0] and ".py" not in texts[0]


def test_command_writes_the_same_bytes_from_anywhere(tmp_path):
    texts = []
    for name, seed in (("a", "1"), ("b", "2")):
        (tmp_path / name).mkdir()
        done = rtl("lfsr-block", "--format", "seedlm4", "-o", "out", hash_seed=seed, cwd=tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "latency 1" in done.stdout
        texts.append((tmp_path / name / "out" / "lfsr_block_seedlm4.v").read_text())
    assert texts[0] == texts[1]


def test_needs_no_yosys_of_the_system(tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "yosys"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho a system Yosys was called >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "system")
    done = rtl("lfsr-block", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr


def test_bits_of_the_ports_are_said(tmp_path):
    """NVFP4, 4 lanes: scale of 8 bits, 4 codes of 4; the total's unit by hand: twice (E4M3: -10, E2M1: -1)."""
    said = rtl("block-dot", "--format", "nvfp4", "--lanes", "4", "-o", str(tmp_path)).stdout.splitlines()
    a, b = "a.scale 7:0, a.codes 23:8 (4 x 4 bits)", "b.scale 31:24, b.codes 47:32 (4 x 4 bits)"
    assert said[1] == f"  s_axis_pair_tdata[47:0]: {a}, {b}"
    assert said[2].endswith("2^(exponent -22)") and "negate " in said[2]


def test_tables_of_the_page_of_units_are_those_of_the_command():
    """Their rows are rows of `python -m rtl units`."""
    page = (ROOT / "docs" / "rtl-units.md").read_text()
    rows = re.findall(r"^\| (?:unit|`(?:lfsr|seed|req|block|acc|mx)_?\w+`) \|.*$", page, re.M)
    printed = rtl("units").stdout.splitlines()
    assert len(rows) > 9 and not set(rows) - set(printed)
    kinds = {line.split("`")[1] for line in printed[2:]}
    assert all(any(kind.startswith(name) for kind in kinds) for name in ("mx_mac", "seed_mac", "requantizer"))


@pytest.mark.parametrize(
    ("args", "module", "latency"),
    [
        (("seed-decoder", "--format", "seedlm3"), "seed_decoder_seedlm3", 6),
        (("seed-decoder", "--format", "c5p2k24"), "seed_decoder_c5p2k24", 4),
        (("lfsr-block", "--stages", "seed,states"), "lfsr_block_seedlm4_s3", 2),
        (("block-dot", "--format", "mxfp4", "--lanes", "2", "--stages", "tree1"), "block_dot_mxfp4_e2m1_l2_s2", 1),
        (("requantizer", "--target", "mxfp4_e2m1"), "requantizer_seedlm4_mxfp4_e2m1", 10),
        (
            ("block-dot", "--format", "mxfp4", "--format", "mxfp8", "--lanes", "2"),
            "block_dot_mxfp4_e2m1_mxfp8_e4m3_l2",
            4,
        ),
        (("mx-mac", "--format", "nvfp4", "--lanes", "4"), "mx_mac_nvfp4_l4_i13", 24),
        (("encoder", "--format", "mxint8", "--source", "bf16"), "encoder_mxint8_bf16", 10),
        (("encoder", "--rounding", "stochastic", "--k", "64"), "encoder_mxfp4_e2m1_fp32_stochastic1", 10),
        (("encoder", "--format", "nvfp4", "--source", "bf16"), "encoder_nvfp4_bf16", 17),
        (("nvfp4-encoder", "--stages", "code,pack"), "encoder_nvfp4_fp32_s10200", 2),
        (("scale",), "scale_fp32", 7),
        (("adapter", "--bytes-in", "8", "--bytes-out", "6"), "adapter_8_6", 1),
        (("skid-buffer", "--bytes", "4", "--tkeep"), "skid_buffer_4_tkeep", 1),
        (("gemv", "--beat", "32"), "gemv_mxint8_mxint8_b32_d1_i13_f64_y26_k4096", 28),
        (("gemm", "--beat", "32", "--tile", "2"), "gemm_mxint8_mxint8_b32_d1_i13_f64_y26_k4096_t2", 28),
    ],
)
def test_units_by_name(args, module, latency, tmp_path):
    done = rtl(*args, "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / module}.v: module {module}, latency {latency}, interval 1\n")
    assert f"module {module}(" in (tmp_path / f"{module}.v").read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("lfsr-block", "--format", "seedlm5"), "did you mean seedlm4?"),
        (("lfsr-block", "--format", ""), "not a seed format"),
        (("lfsr-blok",), "lfsr-block"),
        (("block-dot", "--format", "mxfp5"), "did you mean mxfp"),
        (("block-dot", "--format", "bf16"), "not an operand"),
        (("block-dot", "--format", "mxfp4", "--format", "mxint8", "--format", "mx9"), "one, or two"),
        (("block-dot", "--lanes", "0"), "write 1, 2, 4, 8, 16 or 32"),
        (("block-dot", "--lanes", "3"), "a scale is shared by 32 elements"),
        (("mx-mac", "--lanes", "64"), "write 1, 2, 4, 8, 16 or 32"),
        (("accumulator", "--format", "nvfp4", "--format", "mxfp8", "--lanes", "32"), "write 1, 2, 4, 8 or 16"),
        (("block-dot", "--format", "fp8", "--lanes", "1025"), "write 1 to 1024"),
        (("block-dot", "--format", "fp8", "--lanes", "0"), "write 1 to 1024"),
        (("mx-mac", "--packet", "0"), "write 1 to 1048576"),
        (("lfsr-block", "--vectors", "-1"), "greater than or equal to 0"),
        (("lfsr-block", "--format", "c1000p2"), "2000 LFSR states; write C P of at most 1024"),
        (("lfsr-block", "--format", "c8p3k30"), "no taps known"),
        (("encoder", "--format", "mx9"), "no MX format"),
        (("encoder", "--format", "nvfp4", "--rounding", "stochastic"), "write rne, or an MX format"),
        (("encoder", "--rounding", "stochastic", "--k", "100"), "write a multiple of 32"),
        (("encoder", "--rounding", "stochastic", "--seed", "0"), "from 1 to 4294967295"),
        (("encoder", "--seed", "5"), "write rounding stochastic, or no seed"),
        (("encoder", "--source", "fp16"), "--source: 'fp16'; write fp32 or bf16"),
        (("accel", "--beat", "3"), "--beat 3; write 4, 8, 16, 32 or 64"),
        (("accel", "--address-bits", "70"), "--address-bits 70; write 13 to 64"),
        (("adapter", "--bytes-in", "0", "--bytes-out", "300"), "300 bytes; write 1 to 256"),
        (("adapter", "--bytes-in", "8", "--bytes-out", "8"), "take a skid buffer"),
        (("skid-buffer", "--bytes", "257"), "write 1 to 256"),
        (("lfsr-block", "--prefix", "\u00e9_"), "write letters, digits and _"),
        (("seed-mac", "--interleave", "12"), "write 13 (the stages of its loop) to 65536, or 1"),
        (("accumulator", "--interleave", "3"), "write 13 (the stages of its loop) to 65536, or 1"),
        (("accumulator", "--interleave", "100000"), "to 65536, or 1"),
        (("gemv", "--interleave", "1"), "write 13 or more"),
        (("gemm", "--tile", "65"), "--tile 65; write 1 to 64 rows of x"),
        (("gemm", "--dot-units", "64", "--tile", "32"), "tile 32 x dot_units 64; write a tile of 16 rows or less"),
        (("gemm", "--k-max", "2000000"), "--k-max 2000000; write 32 to 1048576"),
        (("gemm", "--format", "int4_g128"), "Gemm: blocks of 128 weights; write a format with blocks of at most 32"),
        (("gemm", "--format", "nvfp4", "--activations", "nvfp4"), "activations nvfp4; write an MX format"),
        (("block-dot", "--stages", "product,tree9"), "did you mean tree"),
        (("block-dot", "--stages", "tree1,product"), "in this order"),
        (("lfsr-block", "--format", "c8p9"), "between 1 and C = 8"),
        (("requantizer", "--target", "mx9"), "mxint8 or mxfp4"),
        (("seed-mac", "--format", "seedlm3"), "C divides 32"),
        (("seed-mac", "--activations", "mx9"), "block is 32"),
        (("lfsr-block", "-o", "/dev/null/x"), "cannot be written"),
        (("lfsr-block", "--fromat", "seedlm4"), "--format"),
    ],
)
def test_errors_are_answered_without_a_traceback(args, words):
    done = rtl(*args)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_gemv_has_axi_streams_and_one_module_per_kind(tmp_path):
    seeds = ["--format", "seedlm4", "--decoders", "3", "--target", "mxfp4", "--activations", "mxfp4"]
    done = rtl("gemv", *seeds, "--beat", "4", "--fifo", "4", "--k-max", "64", "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.v")
    text = path.read_text()
    streams = "s_axis_x_tdata s_axis_command_tvalid s_axis_beat_tready m_axis_request_tdata m_axis_y_tlast"
    assert all(port in text for port in streams.split())
    name = path.stem
    assert text.count(f"module {name}_decoder(") == 1 and text.count(f"  {name}_decoder decoder") == 3


def test_a_format_of_ones_own_gives_a_legal_name(tmp_path):
    """Whatever the file's name holds: letters and digits of ASCII alone end up in the module's name."""
    path = tmp_path / "9 fe\u00efn-grain.v2.yaml"
    path.write_text("name: 9 fe\u00efn-grain.v2\nelement: E2M1\nblock: 16\nscale: e4m3\n", encoding="utf-8")
    done = rtl("block-dot", "--format", str(path), "--lanes", "4", "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("*.v")
    assert re.fullmatch(r"block_dot_[A-Za-z0-9_]+_l4", written.stem)
    assert f"module {written.stem}(" in written.read_text()


def test_ports_of_a_gemm_unit(tmp_path):
    """Those of a GEMV unit, with the row of a block of x and the rows of x of a command on top."""
    small = ["--format", "mxfp4", "--activations", "mxfp4", "--beat", "4", "--fifo", "4", "--k-max", "64"]
    said = [rtl(*unit, *small, "-o", str(tmp_path)) for unit in (["gemv"], ["gemm", "--tile", "3"])]
    assert [done.returncode for done in said] == [0, 0], said
    assert all("W is mxfp4, x is mxfp4: --format and --activations" in done.stdout for done in said)
    gemv, gemm = ([line for line in done.stdout.splitlines() if "_tdata" in line] for done in said)
    assert [line.split("_tdata")[0] for line in gemm] == [line.split("_tdata")[0] for line in gemv]
    fields = [line.split(": ", 1)[1] for line in gemv], [line.split(": ", 1)[1] for line in gemm]
    assert fields[1][0] == f"{fields[0][0]}, row 138:137" and fields[1][1] == f"{fields[0][1]}, m 94:93", fields
    assert fields[1][2:] == fields[0][2:]
