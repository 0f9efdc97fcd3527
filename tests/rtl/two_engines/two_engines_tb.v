// Bench of two_engines: PRODUCTS products, one after the other, with random gaps at x and y. It prints PASS, or FAIL and
// the first word of y that differs. What it reads:
//
//     x.hex        a block of 32 BF16 numbers per line, two per product
//     scale.hex    a tensor scale per product
//     command.hex  per product the upper engine's command, then the lower one's
//     upper.hex, lower.hex    the beats of each engine's weights, the same for every product
//     y.hex        per product the results in their order, two per line; of an odd number the last line holds one

`timescale 1ns / 1ps

module two_engines_tb;
    parameter PRODUCTS = 3;
    parameter UPPER_ROWS = 16, UPPER_BEATS = 222;
    parameter LOWER_ROWS = 11, LOWER_BEATS = 111;
    localparam ROWS = UPPER_ROWS + LOWER_ROWS;
    localparam WORDS = (ROWS + 1) / 2;

    reg [511:0] x [0:2 * PRODUCTS - 1];
    reg  [31:0] scales [0:PRODUCTS - 1];
    reg  [95:0] commands [0:2 * PRODUCTS - 1];
    reg  [31:0] upper_weights [0:UPPER_BEATS - 1];
    reg  [31:0] lower_weights [0:LOWER_BEATS - 1];
    reg  [63:0] y [0:PRODUCTS * WORDS - 1];

    reg clk = 1'b0, rst = 1'b1;
    always #5 clk = ~clk;

    reg  x_valid = 1'b0, upper_valid = 1'b0, lower_valid = 1'b0, y_ready = 1'b0;
    wire x_ready, upper_ready, lower_ready, y_valid, y_last;
    wire [63:0] y_data;
    wire  [7:0] y_keep;
    integer product = 0, block = 0, taken = 0, quiet = 0, seed = 1;
    reg  upper_sent = 1'b0, lower_sent = 1'b0;

    // Memories: a beat comes in the cycle after it was asked for.
    wire upper_asks, lower_asks;
    wire [31:0] upper_number, lower_number;
    reg  upper_beat_valid = 1'b0, lower_beat_valid = 1'b0;
    reg  [31:0] upper_beat, lower_beat;
    always @(posedge clk) begin
        upper_beat_valid <= upper_asks & ~rst;
        upper_beat <= upper_weights[upper_number];
        lower_beat_valid <= lower_asks & ~rst;
        lower_beat <= lower_weights[lower_number];
    end

    two_engines dut (
        .clk(clk),
        .rst(rst),
        .tensor_scale(scales[product]),
        .s_axis_x_tvalid(x_valid),
        .s_axis_x_tready(x_ready),
        .s_axis_x_tdata(x[2 * product + block]),
        .s_axis_x_tlast(block == 1),
        .s_axis_upper_command_tvalid(upper_valid),
        .s_axis_upper_command_tready(upper_ready),
        .s_axis_upper_command_tdata(commands[2 * product]),
        .s_axis_lower_command_tvalid(lower_valid),
        .s_axis_lower_command_tready(lower_ready),
        .s_axis_lower_command_tdata(commands[2 * product + 1]),
        .m_axis_upper_request_tvalid(upper_asks),
        .m_axis_upper_request_tready(1'b1),
        .m_axis_upper_request_tdata(upper_number),
        .s_axis_upper_beat_tvalid(upper_beat_valid),
        .s_axis_upper_beat_tready(),
        .s_axis_upper_beat_tdata(upper_beat),
        .m_axis_lower_request_tvalid(lower_asks),
        .m_axis_lower_request_tready(1'b1),
        .m_axis_lower_request_tdata(lower_number),
        .s_axis_lower_beat_tvalid(lower_beat_valid),
        .s_axis_lower_beat_tready(),
        .s_axis_lower_beat_tdata(lower_beat),
        .m_axis_y_tvalid(y_valid),
        .m_axis_y_tready(y_ready),
        .m_axis_y_tdata(y_data),
        .m_axis_y_tkeep(y_keep),
        .m_axis_y_tlast(y_last)
    );

    // Half a word where the last one holds a single result.
    wire [63:0] counted = {{32{y_keep[7]}}, {32{y_keep[3]}}} & y_data;
    wire [7:0] keep_wanted = (taken == WORDS - 1 && ROWS % 2 == 1) ? 8'h0f : 8'hff;

    initial begin
        $readmemh("x.hex", x);
        $readmemh("scale.hex", scales);
        $readmemh("command.hex", commands);
        $readmemh("upper.hex", upper_weights);
        $readmemh("lower.hex", lower_weights);
        $readmemh("y.hex", y);
        repeat (4) @(posedge clk);
        rst <= 1'b0;
    end

    // x and the commands are offered at random times, in any order.
    always @(posedge clk) if (!rst) begin
        quiet <= quiet + 1;
        y_ready <= $random(seed) % 4 != 0;
        if (x_valid && x_ready) begin
            block <= block + 1;
            x_valid <= 1'b0;
        end else if (!x_valid && block < 2) x_valid <= $random(seed) % 2 == 0;
        if (upper_valid && upper_ready) begin
            upper_sent <= 1'b1;
            upper_valid <= 1'b0;
        end else if (!upper_sent && !upper_valid) upper_valid <= $random(seed) % 16 == 0;
        if (lower_valid && lower_ready) begin
            lower_sent <= 1'b1;
            lower_valid <= 1'b0;
        end else if (!lower_sent && !lower_valid) lower_valid <= $random(seed) % 16 == 0;
        if (y_valid && y_ready) begin
            quiet <= 0;
            if (counted !== y[product * WORDS + taken] || y_keep !== keep_wanted || y_last !== (taken == WORDS - 1)) begin
                $display("FAIL: product %0d, word %0d: %h keep %b last %b, expected %h keep %b", product, taken, y_data,
                         y_keep, y_last, y[product * WORDS + taken], keep_wanted);
                $finish;
            end
            taken <= taken + 1;
            if (taken == WORDS - 1) begin
                if (product == PRODUCTS - 1) begin
                    $display("PASS: %0d products of %0d rows", PRODUCTS, ROWS);
                    $finish;
                end
                product <= product + 1;
                taken <= 0;
                block <= 0;
                upper_sent <= 1'b0;
                lower_sent <= 1'b0;
            end
        end
        if (quiet == 5000) begin
            $display("FAIL: product %0d, word %0d does not come", product, taken);
            $finish;
        end
    end
endmodule
