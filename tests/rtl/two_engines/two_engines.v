// y = s W x with the rows of W shared out to two engines: `upper` has the first rows, `lower` those below.
//
//              +---------+    +--------------+ y
//   x, BF16 -->| encoder |-+->| upper engine |---+
//              +---------+ |  +--------------+   |    +-------+    +---------+
//                          |   W from memory     +--->| scale |--->| adapter |--> y, FP32, two per word
//                          |  +--------------+   |    +-------+    +---------+
//                          +->| lower engine |---+
//                             +--------------+ y
//
// The five units are written into one folder by
//
//     python -m rtl gemv --format mxfp4 --activations mxfp4 --beat 4 --fifo 4 --k-max 64 --prefix upper_ -o build/rtl
//     python -m rtl gemv --format mxfp4 --activations mxfp4 --beat 4 --fifo 4 --k-max 64 --prefix lower_ -o build/rtl
//     python -m rtl encoder --format mxfp4 --source bf16 -o build/rtl
//     python -m rtl scale -o build/rtl
//     python -m rtl adapter --bytes-in 4 --bytes-out 8 -o build/rtl
//
// For one product: x and both commands, in any order, then take y.

`default_nettype none

module two_engines (
    input  wire         clk,
    input  wire         rst,

    // Factor of every result, float32: the scale of the tensor. Constant during a product.
    input  wire  [31:0] tensor_scale,

    // x: 32 BF16 numbers per word; tlast with the last of a vector.
    input  wire         s_axis_x_tvalid,
    output wire         s_axis_x_tready,
    input  wire [511:0] s_axis_x_tdata,
    input  wire         s_axis_x_tlast,

    // A command for each engine, as the comment at the head of its file says.
    input  wire         s_axis_upper_command_tvalid,
    output wire         s_axis_upper_command_tready,
    input  wire  [95:0] s_axis_upper_command_tdata,
    input  wire         s_axis_lower_command_tvalid,
    output wire         s_axis_lower_command_tready,
    input  wire  [95:0] s_axis_lower_command_tdata,

    // Memory of each engine: it asks for beats by number, and takes each when it comes: tready is 1.
    output wire         m_axis_upper_request_tvalid,
    input  wire         m_axis_upper_request_tready,
    output wire  [31:0] m_axis_upper_request_tdata,
    input  wire         s_axis_upper_beat_tvalid,
    output wire         s_axis_upper_beat_tready,
    input  wire  [31:0] s_axis_upper_beat_tdata,
    output wire         m_axis_lower_request_tvalid,
    input  wire         m_axis_lower_request_tready,
    output wire  [31:0] m_axis_lower_request_tdata,
    input  wire         s_axis_lower_beat_tvalid,
    output wire         s_axis_lower_beat_tready,
    input  wire  [31:0] s_axis_lower_beat_tdata,

    // y: two float32 per word, the first in the low half; the last word of an odd number of rows holds one, as tkeep
    // says. tlast with the last word of a product.
    output wire         m_axis_y_tvalid,
    input  wire         m_axis_y_tready,
    output wire  [63:0] m_axis_y_tdata,
    output wire   [7:0] m_axis_y_tkeep,
    output wire         m_axis_y_tlast
);

    // ---- x: numbers to MXFP4 records -----------------------------------------------------------------------------

    wire         record_tvalid, record_tready, record_tlast;
    wire [135:0] record_tdata;  // scale 7:0, codes 135:8

    encoder_mxfp4_e2m1_bf16 encoder (
        .clk(clk),
        .rst(rst),
        .s_axis_block_tvalid(s_axis_x_tvalid),
        .s_axis_block_tready(s_axis_x_tready),
        .s_axis_block_tdata(s_axis_x_tdata),
        .s_axis_block_tlast(s_axis_x_tlast),
        .m_axis_record_tvalid(record_tvalid),
        .m_axis_record_tready(record_tready),
        .m_axis_record_tdata(record_tdata),
        .m_axis_record_tlast(record_tlast)
    );

    // An engine takes x while it is idle, and must hold all of it before its command. So a command waits here until x is
    // in, and the next x until the command is.
    reg  upper_has_x, lower_has_x;
    wire upper_x_tready, lower_x_tready, upper_command_tready, lower_command_tready;

    // Both engines take a record in the same cycle: each sees it when the other is ready. That is no loop, because an
    // engine's tready does not depend on its tvalid.
    wire upper_free = upper_x_tready & ~upper_has_x;
    wire lower_free = lower_x_tready & ~lower_has_x;
    wire upper_x_tvalid = record_tvalid & lower_free & ~upper_has_x;
    wire lower_x_tvalid = record_tvalid & upper_free & ~lower_has_x;
    assign record_tready = upper_free & lower_free;
    wire record_taken = record_tvalid & record_tready;

    assign s_axis_upper_command_tready = upper_command_tready & upper_has_x;
    assign s_axis_lower_command_tready = lower_command_tready & lower_has_x;

    always @(posedge clk)
        if (rst) begin
            upper_has_x <= 1'b0;
            lower_has_x <= 1'b0;
        end else if (record_taken & record_tlast) begin
            upper_has_x <= 1'b1;
            lower_has_x <= 1'b1;
        end else begin
            if (s_axis_upper_command_tvalid & s_axis_upper_command_tready) upper_has_x <= 1'b0;
            if (s_axis_lower_command_tvalid & s_axis_lower_command_tready) lower_has_x <= 1'b0;
        end

    // An engine wants the record's place in x: 64 elements are two blocks, so one bit counts them.
    reg index;
    always @(posedge clk)
        if (rst) index <= 1'b0;
        else if (record_taken) index <= ~record_tlast & ~index;

    wire [143:0] x_tdata = {7'd0, index, record_tdata};

    // ---- the engines ---------------------------------------------------------------------------------------------

    wire        upper_y_tvalid, upper_y_tready, upper_y_tlast;
    wire [31:0] upper_y_tdata;
    wire        lower_y_tvalid, lower_y_tready, lower_y_tlast;
    wire [31:0] lower_y_tdata;

    upper_gemv_mxfp4_e2m1_mxfp4_e2m1_b4_d1_i13_f4_y26_k64 upper (
        .clk(clk),
        .rst(rst),
        .s_axis_x_tvalid(upper_x_tvalid),
        .s_axis_x_tready(upper_x_tready),
        .s_axis_x_tdata(x_tdata),
        .s_axis_command_tvalid(s_axis_upper_command_tvalid & upper_has_x),
        .s_axis_command_tready(upper_command_tready),
        .s_axis_command_tdata(s_axis_upper_command_tdata),
        .m_axis_request_tvalid(m_axis_upper_request_tvalid),
        .m_axis_request_tready(m_axis_upper_request_tready),
        .m_axis_request_tdata(m_axis_upper_request_tdata),
        .s_axis_beat_tvalid(s_axis_upper_beat_tvalid),
        .s_axis_beat_tready(s_axis_upper_beat_tready),
        .s_axis_beat_tdata(s_axis_upper_beat_tdata),
        .m_axis_y_tvalid(upper_y_tvalid),
        .m_axis_y_tready(upper_y_tready),
        .m_axis_y_tdata(upper_y_tdata),
        .m_axis_y_tlast(upper_y_tlast)
    );

    lower_gemv_mxfp4_e2m1_mxfp4_e2m1_b4_d1_i13_f4_y26_k64 lower (
        .clk(clk),
        .rst(rst),
        .s_axis_x_tvalid(lower_x_tvalid),
        .s_axis_x_tready(lower_x_tready),
        .s_axis_x_tdata(x_tdata),
        .s_axis_command_tvalid(s_axis_lower_command_tvalid & lower_has_x),
        .s_axis_command_tready(lower_command_tready),
        .s_axis_command_tdata(s_axis_lower_command_tdata),
        .m_axis_request_tvalid(m_axis_lower_request_tvalid),
        .m_axis_request_tready(m_axis_lower_request_tready),
        .m_axis_request_tdata(m_axis_lower_request_tdata),
        .s_axis_beat_tvalid(s_axis_lower_beat_tvalid),
        .s_axis_beat_tready(s_axis_lower_beat_tready),
        .s_axis_beat_tdata(s_axis_lower_beat_tdata),
        .m_axis_y_tvalid(lower_y_tvalid),
        .m_axis_y_tready(lower_y_tready),
        .m_axis_y_tdata(lower_y_tdata),
        .m_axis_y_tlast(lower_y_tlast)
    );

    // ---- y: the upper engine's rows, then the lower one's, times the scale ------------------------------------------

    reg  lower_leaves;
    wire        y_tready;
    wire        y_tvalid = lower_leaves ? lower_y_tvalid : upper_y_tvalid;
    wire [31:0] y_tdata  = lower_leaves ? lower_y_tdata : upper_y_tdata;
    wire        y_tlast  = lower_leaves & lower_y_tlast;
    assign upper_y_tready = y_tready & ~lower_leaves;
    assign lower_y_tready = y_tready & lower_leaves;

    always @(posedge clk)
        if (rst) lower_leaves <= 1'b0;
        else if (y_tvalid & y_tready & (lower_leaves ? lower_y_tlast : upper_y_tlast)) lower_leaves <= ~lower_leaves;

    wire        scaled_tvalid, scaled_tready, scaled_tlast;
    wire [31:0] scaled_tdata;

    scale_fp32 scale (
        .clk(clk),
        .rst(rst),
        .s_axis_given_tvalid(y_tvalid),
        .s_axis_given_tready(y_tready),
        .s_axis_given_tdata({tensor_scale, y_tdata}),
        .s_axis_given_tlast(y_tlast),
        .m_axis_scaled_tvalid(scaled_tvalid),
        .m_axis_scaled_tready(scaled_tready),
        .m_axis_scaled_tdata(scaled_tdata),
        .m_axis_scaled_tlast(scaled_tlast)
    );

    adapter_4_8 adapter (
        .clk(clk),
        .rst(rst),
        .s_axis_given_tvalid(scaled_tvalid),
        .s_axis_given_tready(scaled_tready),
        .s_axis_given_tdata(scaled_tdata),
        .s_axis_given_tkeep(4'b1111),
        .s_axis_given_tlast(scaled_tlast),
        .m_axis_taken_tvalid(m_axis_y_tvalid),
        .m_axis_taken_tready(m_axis_y_tready),
        .m_axis_taken_tdata(m_axis_y_tdata),
        .m_axis_taken_tkeep(m_axis_y_tkeep),
        .m_axis_taken_tlast(m_axis_y_tlast)
    );

endmodule

`default_nettype wire
