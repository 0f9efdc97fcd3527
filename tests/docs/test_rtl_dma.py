"""docs/rtl.md, "Beside a DMA": the packets that it tells to send bring every sum, and one packet does not."""

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="pip install -e '.[rtl]'")
pytest.importorskip("cocotb_tools", reason="pip install -e '.[rtl]'")

from hwsim.formats import get_format, matmul
from tests.rtl.simulator import run_bench
from tests.rtl.test_emit import rtl

TURN, BLOCKS, ROUNDS = 13, 3, 2
"""Rows in turn; blocks of a row; groups of rows, one after another."""

TOP = """\
module dma(clk, rst, s_axis_tvalid, s_axis_tready, s_axis_tdata, s_axis_tkeep, s_axis_tlast,
           m_axis_tvalid, m_axis_tready, m_axis_tdata, m_axis_tlast);
    input clk, rst, s_axis_tvalid, s_axis_tlast, m_axis_tready;
    input [511:0] s_axis_tdata;
    input [63:0] s_axis_tkeep;
    output s_axis_tready, m_axis_tvalid, m_axis_tlast;
    output [31:0] m_axis_tdata;
    wire valid, ready, last;
    wire [271:0] pair;
    adapter_64_34 adapter (
        .clk(clk), .rst(rst), .s_axis_given_tvalid(s_axis_tvalid), .s_axis_given_tready(s_axis_tready),
        .s_axis_given_tdata(s_axis_tdata), .s_axis_given_tkeep(s_axis_tkeep), .s_axis_given_tlast(s_axis_tlast),
        .m_axis_taken_tvalid(valid), .m_axis_taken_tready(ready), .m_axis_taken_tdata(pair),
        .m_axis_taken_tkeep(), .m_axis_taken_tlast(last));
    mx_mac_mxfp4_e2m1_i13 mac (
        .clk(clk), .rst(rst), .s_axis_pair_tvalid(valid), .s_axis_pair_tready(ready), .s_axis_pair_tdata(pair),
        .s_axis_pair_tlast(last), .m_axis_value_tvalid(m_axis_tvalid), .m_axis_value_tready(m_axis_tready),
        .m_axis_value_tdata(m_axis_tdata), .m_axis_value_tlast(m_axis_tlast));
endmodule
"""


def data() -> tuple[list[bytes], list[int]]:
    """The pairs of blocks in turn, all rounds of them, and the float32 bits of each row's sum, round by round."""
    draw, form = np.random.default_rng(3), get_format("mxfp4")
    pairs, sums = [], []
    for _ in range(ROUNDS):
        a, b = (form.encode(draw.standard_normal((TURN, 32 * BLOCKS), np.float32)) for _ in range(2))
        blocks = [np.frombuffer(each.to_bytes(), np.uint8).reshape(TURN, BLOCKS, 17) for each in (a, b)]
        pairs += [
            blocks[0][row, block].tobytes() + blocks[1][row, block].tobytes()
            for block in range(BLOCKS)
            for row in range(TURN)
        ]
        sums += [int(bits) for bits in np.diagonal(matmul(a, b)).copy().view(np.uint32)]
    return pairs, sums


@pytest.mark.slow
@pytest.mark.simulator
def test_the_packets_of_the_page_bring_every_sum(tmp_path, monkeypatch):
    for command in (["adapter", "--bytes-in", "64", "--bytes-out", "34"], ["mx-mac", "--format", "mxfp4"]):
        assert rtl(*command, "-o", str(tmp_path)).returncode == 0
    sources = {"dma": TOP, **{path.stem: path.read_text() for path in tmp_path.glob("*.v")}}
    pairs, want = data()
    of_a_round = TURN * BLOCKS
    page = []
    for start in range(0, len(pairs), of_a_round):
        first = start + of_a_round - TURN + 1  # what follows row 0's last pair
        page += [b"".join(pairs[start:first]), *pairs[first : start + of_a_round]]

    def sums(packets: list[bytes], name: str) -> list[int]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "packets").write_text("\n".join(each.hex() for each in packets))
        env = {"HWSIM_DMA_PACKETS": str(folder / "packets"), "HWSIM_DMA_SUMS": str(folder / "sums")}
        assert run_bench("bench_dma", sources, "dma", folder, monkeypatch, **env) == 0
        return [int(line, 16) for line in (folder / "sums").read_text().split()]

    assert len(page) == ROUNDS * TURN and sums(page, "page") == want
    one = [b"".join(pairs[at : at + of_a_round]) for at in range(0, len(pairs), of_a_round)]
    assert len(sums(one, "one")) == ROUNDS  # each row but one of a round waits for its own tlast
