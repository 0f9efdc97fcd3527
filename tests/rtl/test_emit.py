"""`python -m rtl`: what it writes, and what it answers to a mistake."""

import os
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


def test_same_bytes_from_two_folders_and_hash_seeds(tmp_path):
    texts = []
    for name, seed in (("a", "1"), ("b", "2")):
        (tmp_path / name).mkdir()
        done = rtl("lfsr-block", "--format", "seedlm4", "-o", "out", hash_seed=seed, cwd=tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "latency 1" in done.stdout
        texts.append((tmp_path / name / "out" / "lfsr_block_seedlm4.v").read_text())
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0] and str(ROOT) not in texts[0] and ".py" not in texts[0]


def test_needs_no_yosys_of_the_system(tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "yosys"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho a system Yosys was called >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    done = rtl("lfsr-block", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("args", "module", "latency"),
    [
        (("seed-decoder", "--format", "seedlm3"), "seed_decoder_seedlm3", 6),
        (("requantizer", "--target", "mxfp4_e2m1"), "requantizer_seedlm4_mxfp4_e2m1", 10),
        (("block-dot", "--format", "mxfp4", "--format", "mxfp8", "--lanes", "2"), "block_dot_mxfp4_mxfp8_2", 4),
        (("mx-mac", "--format", "nvfp4", "--lanes", "4"), "mx_mac_nvfp4_4", 24),
    ],
)
def test_units_by_name(args, module, latency, tmp_path):
    done = rtl(*args, "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / module}.v: module {module}, latency {latency}, interval 1\n"
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
        (("block-dot", "--lanes", "0"), "1 to 1024"),
        (("accumulator", "--interleave", "3"), "below its loop"),
        (("requantizer", "--target", "mx9"), "mxint8 or mxfp4"),
        (("seed-mac", "--format", "seedlm3"), "C divides 32"),
        (("seed-mac", "--activations", "mx9"), "block is 32"),
        (("lfsr-block", "-o", "/dev/null/x"), "cannot be written"),
        (("lfsr-block", "--fromat", "seedlm4"), "--format"),
    ],
)
def test_mistakes_are_answered_without_a_traceback(args, words):
    done = rtl(*args)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_the_engine_has_axi_streams_and_one_module_a_kind(tmp_path):
    seeds = ["--format", "seedlm4", "--decoders", "3", "--target", "mxfp4", "--activations", "mxfp4"]
    done = rtl("gemv", *seeds, "--beat", "4", "--fifo", "4", "--k-max", "64", "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.v")
    text = path.read_text()
    streams = "s_axis_x_tdata s_axis_command_tvalid s_axis_beat_tready m_axis_request_tdata m_axis_y_tlast"
    assert all(port in text for port in streams.split())
    assert text.count("module gemv_decoder(") == 1 and text.count("  gemv_decoder decoder") == 3
