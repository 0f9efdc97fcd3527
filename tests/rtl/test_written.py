"""What the files of a unit say, and what the command refuses."""

import re
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl.test_emit import rtl

ENGINE = ["gemm", "--tile", "3", "--format", "mxfp4", "--activations", "mxfp4", "--beat", "4", "--fifo", "4",
          "--k-max", "64"]  # fmt: skip
UNITS = {
    "lfsr_block_seedlm4_tkeep_rstn": ["lfsr-block", "--tkeep", "--rst-n"],
    "accumulator_mxfp4_e2m1_l2_i13_p13": ["accumulator", "--format", "mxfp4", "--lanes", "2", "--packet", "13"],
    "accumulator_mxfp4_e2m1_l2_i20": ["accumulator", "--format", "mxfp4", "--lanes", "2", "--interleave", "20"],
    "one_gemm_mxfp4_e2m1_mxfp4_e2m1_b4_d1_i13_f4_y26_k64_t3": [*ENGINE, "--prefix", "one_"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three units and an engine."""
    path = tmp_path_factory.mktemp("units")
    for name, args in UNITS.items():
        done = rtl(*args, "-o", str(path))
        assert done.returncode == 0 and f"module {name}," in done.stdout, done.stderr
    return path


def ports_of(text: str, name: str) -> list[tuple[str, str, int]]:
    """(name, input or output, bits) of the ports of a module, in the order of its head, from Verilog."""
    (head,) = re.findall(rf"^module {name}\((.*?)\);", text, re.M | re.S)
    body = text.split(f"module {name}(", 1)[1].split("endmodule", 1)[0]
    declared = {
        port: (way, int(high or 0) + 1)
        for way, high, port in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", body, re.M)
    }
    return [(port, *declared[port]) for port in head.replace(" ", "").split(",")]


def test_header_has_the_ports_as_the_module_has_them(folder):
    """Clock and reset first, then stream by stream; the same table in the comment."""
    for name in UNITS:
        text = (folder / f"{name}.v").read_text()
        ports = ports_of(text, name)
        assert [port for port, _, _ in ports[:2]] == ["clk", "rst_n" if name.endswith("rstn") else "rst"]
        streams = [port.rpartition("_") for port, _, _ in ports[2:]]
        assert [prefix for prefix, _, _ in streams] == sorted(
            (prefix for prefix, _, _ in streams), key=[prefix for prefix, _, _ in streams].index
        )
        order = ["tvalid", "tready", "tdata", "tkeep", "tlast"]
        for prefix in {prefix for prefix, _, _ in streams}:
            ends = [end for other, _, end in streams if other == prefix]
            assert ends == [end for end in order if end in ends] and ("tkeep" in ends) == ("tkeep" in name)
        said = text.split("Ports, in order:\n")[1].split("\n\n")[0]
        rows = re.findall(r"^  (input|output) +(?:\[(\d+):0\] )?(\w+)$", said, re.M)
        assert [(port, way, int(high or 0) + 1) for way, high, port in rows] == ports


def test_header_names_version_command_spec_reset_and_rows_in_turn(folder):
    import hwsim

    text = (folder / "accumulator_mxfp4_e2m1_l2_i20.v").read_text()
    comment = text[: text.index("*/")]
    command = "python -m rtl accumulator --format mxfp4 --lanes 2 --interleave 20"
    assert f"Written by hwsim {hwsim.__version__}: {command}\n" in comment
    assert "interleave=20" in comment and "active high" in comment and "Latency 16 cycles" in comment
    assert "belongs to row n mod 20" in " ".join(comment.split())
    assert "active low" in (folder / "lfsr_block_seedlm4_tkeep_rstn.v").read_text()


def test_names_need_no_backslash_and_belong_to_one_unit(folder):
    """No escaped name; every module of a file begins with the file's name."""
    modules = []
    for name in UNITS:
        text = (folder / f"{name}.v").read_text()
        assert "\\" not in text
        found = re.findall(r"^module (\w+)", text, re.M)
        assert found.count(name) == 1 and all(each.startswith(name) for each in found)
        modules += found
    assert len(modules) == len(set(modules)) > 8


def test_vivado_sees_clock_reset_and_streams(folder):
    text = (folder / "lfsr_block_seedlm4_tkeep_rstn.v").read_text()
    attributes = re.findall(r'\(\* X_INTERFACE_(\w+) = "([^"]*)" \*\)', text)
    assert ("PARAMETER", "POLARITY ACTIVE_LOW") in attributes
    assert ("PARAMETER", "ASSOCIATED_BUSIF s_axis_seed:m_axis_states, ASSOCIATED_RESET rst_n") in attributes
    assert ("INFO", "xilinx.com:interface:axis:1.0 m_axis_states TKEEP") in attributes
    assert len([kind for kind, _ in attributes if kind == "INFO"]) == 12


def test_macros_cut_the_fields_out_of_tdata(folder):
    """By hand: two lanes of E2M1 give |total| <= 2 x 144, so 10 bits, then the sign, 9 bits of exponent, two flags."""
    text = (folder / "accumulator_mxfp4_e2m1_l2_i20.vh").read_text()
    found = dict(re.findall(r"`define ACCUMULATOR_MXFP4_E2M1_L2_I20_(\w+) (\S+)", text))
    assert found["TOTAL_TOTAL"] == "9:0" and found["TOTAL_NEGATE"] == "10:10" and found["TOTAL_EXPONENT"] == "19:11"
    assert found["TOTAL_NAN_LSB"] == "20" and found["TOTAL_TDATA_WIDTH"] == "24" and found["INTERLEAVE"] == "20"


def test_another_unit_is_not_overwritten(tmp_path):
    """The same unit again is; one of the same name made from another spec, and a file of somebody else, are not."""
    assert rtl("lfsr-block", "-o", str(tmp_path)).returncode == 0
    path = tmp_path / "lfsr_block_seedlm4.v"
    text = path.read_text()
    path.write_text(text.replace("Written by hwsim ", "Written by hwsim 0.0."))
    assert rtl("lfsr-block", "-o", str(tmp_path)).returncode == 0 and path.read_text() == text
    path.write_text(text.replace("K=16", "K=17", 1))
    for kept in (path.read_text(), "mine\n"):
        path.write_text(kept)
        done = rtl("lfsr-block", "-o", str(tmp_path))
        assert done.returncode == 2 and "holds another unit" in done.stderr and path.read_text() == kept
    assert rtl("lfsr-block", "--prefix", "my_", "-o", str(tmp_path)).returncode == 0
    assert (tmp_path / "my_lfsr_block_seedlm4.v").is_file()


def test_settings_that_another_run_replaces_are_named(tmp_path):
    """The clock stands in both constraint files; the part in the core alone."""
    dot = ("block-dot", "--format", "mxfp4", "--lanes", "2", "-o", str(tmp_path))
    name = "block_dot_mxfp4_e2m1_l2"
    first, again, clock = rtl(*dot), rtl(*dot), rtl(*dot, "--clock", "200 MHz")
    assert "replaced" not in first.stdout + again.stdout
    assert f"replaced: {name}.xdc, {name}.sdc, which held another clock" in clock.stdout


def test_format_of_a_file_gives_a_legal_name(tmp_path):
    (tmp_path / "b-d.r.yaml").write_text("{m: 4, k1: 8, d1: 8, k2: 2, d2: 1}\n")
    done = rtl("block-dot", "--format", str(tmp_path / "b-d.r.yaml"), "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*.v")
    assert re.fullmatch(r"block_dot_\w+", path.stem) and f"module {path.stem}(" in path.read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("lfsr-block", "--prefix", "1x"), "no digit first"),
        (("accumulator", "--packet", "0"), "1 to"),
        (("lfsr-block", "--packet", "3"), "--packet"),
    ],
)
def test_errors(args, words):
    done = rtl(*args)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
