// Checks @{unit}, cycle by cycle, in any Verilog-2001 simulator; no Python needed.
//
// @{unit}_stimulus.hex: a word per cycle, {rst, in tvalid, in tlast, out tready, in tdata}.
// @{unit}_expected.hex: two words per cycle, {0, in tready, out tvalid, out tlast, out tdata}, then which of
// these bits mean something. Where words have bytes that do not count, tkeep is above tdata. Run it in the folder that
// holds both.
`timescale 1ns / 1ps
module @{unit}_tb;
    localparam CYCLES = @cycles, IN = @in_bits, OUT = @out_bits, IN_TDATA = @in_tdata, OUT_TDATA = @out_tdata;

    reg [IN+3:0] stimulus [0:CYCLES-1];
    reg [OUT+3:0] expected [0:2*CYCLES-1];
    reg [IN+3:0] drive;
    reg [OUT+3:0] want, mask, got;
    reg clk;
    wire in_tready, out_tvalid, out_tlast;
    wire [OUT-1:0] out_tdata;
    integer cycle, wrong_data, wrong_time;

    @unit dut (
        .clk(clk), .@{reset}(@{reset_not}drive[IN+3]),
        .@{s_axis}_tvalid(drive[IN+2]), .@{s_axis}_tready(in_tready),
        .@{s_axis}_tlast(drive[IN+1]), .@{s_axis}_tdata(drive[IN_TDATA-1:0]),@{tkeep}
        .@{m_axis}_tvalid(out_tvalid), .@{m_axis}_tready(drive[IN]),
        .@{m_axis}_tlast(out_tlast), .@{m_axis}_tdata(out_tdata[OUT_TDATA-1:0])
    );

    initial begin
        $readmemh("@{unit}_stimulus.hex", stimulus);
        $readmemh("@{unit}_expected.hex", expected);
        wrong_data = 0;
        wrong_time = 0;
        for (cycle = 0; cycle < CYCLES; cycle = cycle + 1) begin
            clk = 0;
            drive = stimulus[cycle];
            #1;
            got = {1'b0, in_tready, out_tvalid, out_tlast, out_tdata};
            want = expected[2*cycle];
            mask = expected[2*cycle+1];
            if ((got[OUT+3:OUT+1] & mask[OUT+3:OUT+1]) !== (want[OUT+3:OUT+1] & mask[OUT+3:OUT+1]))
                wrong_time = wrong_time + 1;
            if ((got[OUT:0] & mask[OUT:0]) !== (want[OUT:0] & mask[OUT:0]))
                wrong_data = wrong_data + 1;
            if ((got & mask) !== (want & mask) && wrong_time + wrong_data < 10)
                $display("@unit, cycle %0d: %h, expected %h, mask %h", cycle, got, want, mask);
            clk = 1;
            #1;
        end
        $display("@unit: @inputs inputs, @outputs outputs, %0d cycles: %0d mismatches in data, %0d in time: %0s",
            CYCLES, wrong_data, wrong_time, wrong_data + wrong_time == 0 ? "PASS" : "FAIL");
    end
endmodule
