"""What a written unit says about itself: the comment above its Verilog, and its fields as macros."""

import textwrap
from collections.abc import Iterator, Sequence

from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from hwsim import __version__
from hwsim.specs import BlockDot, Gemv

from .accel import AccelUnit
from .axi import AxiStreamUnit
from .catalog import interleave, row
from .fields import Stream, streams_of
from .registers import registers

__all__ = ["IDENTITY", "above", "macros", "said_of"]

IDENTITY = "Made from:"
"""Begins the line that says which unit a file holds: two files with the same one are versions of one unit."""

WAIVED = "CMPCONST DECLFILENAME PROCASSINIT UNUSEDSIGNAL WIDTHEXPAND WIDTHTRUNC".split()
"""Verilator's warnings of the style in which Yosys writes Verilog: widths as the language extends them, registers with
initial values, several modules in a file, bits of a bus that nobody reads."""


def rows_in_turn(unit) -> str:
    """How a unit that adds up takes its rows; empty for one that does not."""
    rows = interleave(unit.spec)
    if rows is None:
        return ""
    if rows == 1:
        return "one row after another"
    if not isinstance(unit, AxiStreamUnit):
        return f"{rows} rows in turn for each dot unit, in the order of the weight stream"
    return (
        f"{rows} rows in turn: input n, counted from the reset, belongs to row n mod {rows}. The blocks of one row "
        f"sent one after another would end up in {rows} sums; --interleave 1 makes a unit for that"
    )


def said_of(unit) -> Iterator[str]:
    """What a user has to know of a unit when it is written, beside its fields."""
    if rows := rows_in_turn(unit):
        yield f"takes {rows}"
    gemv = getattr(unit.spec, "gemv", unit.spec)
    if isinstance(gemv, Gemv):
        yield f"W is {gemv.weights}, x is {gemv.activations}: --format and --activations"
    if about := getattr(unit.unit, "about", ()):
        yield about[0]


def _sentences(unit) -> Iterator[str]:
    """Clock, reset, time, back-pressure, tlast."""
    outside, timing = unit.outside, unit.spec.timing
    active = "low" if outside.active_low else "high"
    yield (
        f"Clock `clk`, rising edge. Reset `{outside.reset}`, synchronous, active {active}: it empties the unit; data "
        "registers keep what they hold, which their valid bits hide."
    )
    yield from _unapplied(unit.spec)
    if isinstance(unit, AccelUnit):
        yield from _of_accel(unit)
        return
    about = getattr(unit.unit, "about", ())
    parts = getattr(unit.unit, "pipelines", ())
    per = "one input per cycle" if timing.interval == 1 else f"one input in {timing.interval} cycles"
    per = "" if about else f"; {per}{', on average' if parts and timing.interval > 1 else ''}"
    first = "the beat that completes the last block of a row of W to its first" if isinstance(unit.spec, Gemv) else ""
    yield f"Latency {timing.latency} cycles from {first or 'an input to its'} output if nothing waits{per}."
    if rows := rows_in_turn(unit):
        yield f"Takes {rows}."
    yield from getattr(unit.unit, "notes", ())
    if about:
        yield from about
    elif isinstance(unit, AxiStreamUnit):
        yield from _pipelines(parts, timing.interval)
        restarts = getattr(unit.spec, "rounding", "rne") == "stochastic"
        through = "a tensor, whose successor begins at the seed again" if restarts else "a row"
        yield {
            (True, True): f"tlast ends {through}, and passes through with its item.",
            (True, False): f"tlast of the input ends a row; tlast of the output ends {_packets(outside.packet)}.",
            (False, False): "tlast passes through with its item.",
        }[tuple(at is not None for at in unit.last_at)]
    else:
        yield from _of_gemv(unit.spec)
        yield (
            "tready of the beats is always 1: each has been asked for, and its slot is free. After a reset of this "
            "unit alone, a beat that memory still owes would be taken for the next command's: let memory finish first."
        )
    if outside.tkeep:
        yield "tkeep is ignored where data come in and all ones where they leave: every word is whole."


def _pipelines(parts: Sequence[str], interval: int) -> Iterator[str]:
    """How a unit of these pipelines, or of a single one, waits."""
    if parts:
        yield (
            f"{len(parts)} pipelines, one behind the other: {', '.join(parts)}. Each is rigid: while its output is "
            "offered and not taken, none of its stages moves. Those before it move on, so inputs are taken until all "
            "of them are stopped."
        )
    else:
        yield "The pipeline is rigid: while an output is offered and not taken, no stage moves."
    if interval > 1:
        what = "The accumulator" if parts else "The unit"
        yield f"{what} takes an input {interval} moves of its pipeline after the last; until then it is not ready."
    yield "tready depends on the output's tready in the same cycle, and on no tvalid."


def _of_gemv(spec: Gemv) -> Iterator[str]:
    """What a user has to send, in which order."""
    tile = "index says which of its row it is" + (", row which row of x" if spec.tile > 1 else "")
    yield (
        f"x: all blocks of 32 elements of x, in any order; {tile}. Then a command; blocks for the next one are taken "
        "when its last y has left."
    )
    yield (
        f"command: rows of W; columns, the products of {spec.dot.lanes} elements in a row of W, rounded up to whole "
        f"blocks of both formats; group_beats, the beats of {spec.group_rows} rows of W, and beats, those of all "
        f"groups; tail, what the last beat of a group holds, in units of {spec.unpack.unit} bits"
        + ("; m, the rows of x" if spec.tile > 1 else "")
        + ". `rtl.gemv.command` computes them."
    )
    yield (
        "beats: W as `hwsim.formats.stream` packs it: for each group of rows, block 0 of each row, then block 1, in "
        "records of the format's bits, lowest bit first; rows that the last group lacks are zeros, and a group begins "
        "in a new beat."
    )


def _unapplied(spec) -> Iterator[str]:
    """Where a format of the unit may have scales of a tensor or a row: that they are left to the user."""
    spec = getattr(spec, "gemv", spec)
    dot = spec if isinstance(spec, BlockDot) else getattr(spec, "dot", None)
    if isinstance(dot, BlockDot) and {dot.a.scale, dot.b.scale} & {"e4m3", "none"}:
        yield (
            "Scales of a tensor or a row (NVFP4, fp8, int8) are not applied: a sum is in units of their product. "
            "`python -m rtl scale` makes the unit that multiplies a float32 sum by it."
        )


def _of_accel(unit: AccelUnit) -> Iterator[str]:
    """What the buses do."""
    spec = unit.spec
    yield (
        f"`m_axi` reads x, then W, in bursts of {spec.burst} beats of {spec.gemv.beat_bytes} bytes, the last one "
        f"shorter; up to {spec.gemv.fifo} beats of W are asked for and not yet used. It writes y beat by beat. One ID; "
        "all bursts increment and stay inside a page of 4 KiB."
    )
    yield f"Takes {rows_in_turn(unit)}."
    yield "`s_axil` takes whole words, whatever the strobes. Unknown registers read as 0; all answers are OKAY."
    yield (
        "A reset forgets what was asked for. Beats that arrive while nothing runs are dropped: after a reset of this "
        "unit alone, start it when memory has answered everything; a write that was under way needs the bus reset too."
    )


def _packets(sums: int) -> str:
    return "each sum" if sums == 1 else f"each packet of {sums} sums, counted from the reset"


def above(unit, name: str, command: str) -> str:
    """The comment at the head of the Verilog of a unit. command: by which it is written."""
    ports = "\n".join(_ports(unit))
    said = "\n".join(_wrapped(each, "  ") for each in _sentences(unit))
    heading, *rest = _fields(unit, name)
    fields = "\n".join([heading, *(_wrapped(each, "  ", "      ") for each in rest)])
    waived = "\n".join(f"/* verilator lint_off {each} */" for each in WAIVED)
    return f"""\
/*
{name}: {row(unit.spec).description}

Written by hwsim {__version__}: {command}
{IDENTITY} {_identity(unit)}

{said}

Ports, in order:
{ports}

{fields}

To place it:

{_instance(unit, name)}
*/

/* verilator lint_save */
{waived}
"""


def _fields(unit, name: str) -> Iterator[str]:
    """A heading, then the fields of the streams, or the registers."""
    if not isinstance(unit, AccelUnit):
        yield f"Fields (bits high:low, element 0 of a vector in the lowest; {name}.vh has them as macros):"
        yield from map(str, streams_of(unit))
        return
    yield f"Registers (offset in bytes; {name}.h has them for C, with functions that start the unit):"
    for register in registers(unit.spec):
        yield f"{register.offset:#04x} {register.name}, {'written' if register.written else 'read'}: {register.about}"


def below() -> str:
    """The end of the file."""
    return "\n/* verilator lint_restore */\n"


def _identity(unit) -> str:
    return f"{unit.spec!r}, {unit.outside!r}"


def _wrapped(text: str, indent: str, then: str | None = None) -> str:
    return textwrap.fill(
        text, 116, initial_indent=indent, subsequent_indent=indent if then is None else then,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _members(unit) -> Iterator[tuple[str, str, int]]:
    """(port, direction, bits), in order."""
    members = unit.signature.members
    for port in unit.port_order:
        member = members[port] if port in members else In(1)
        yield port, "input" if member.flow is In else "output", Shape.cast(member.shape).width


def _ports(unit) -> Iterator[str]:
    for port, way, bits in _members(unit):
        yield f"  {way:6} {f'[{bits - 1}:0]' if bits > 1 else '':>8} {port}"


def _instance(unit, name: str) -> str:
    """An instantiation with a wire named as each port."""
    lines = ",\n".join(f"    .{port}({port})" for port, _, _ in _members(unit))
    return f"{name} {name}_0 (\n{lines}\n);"


def macros(unit, name: str) -> str:
    """A Verilog header with the place of each field: `NAME_STREAM_FIELD` is its range, `..._LSB` and `..._WIDTH`."""
    big = name.upper()
    timing = unit.spec.timing
    lines = [f"`define {big}_LATENCY {timing.latency}", f"`define {big}_INTERVAL {timing.interval}"]
    if (rows := interleave(unit.spec)) is not None:
        lines.append(f"`define {big}_INTERLEAVE {rows}")
    if isinstance(unit, AccelUnit):
        lines += ["", *(f"`define {big}_{each.name} 8'h{each.offset:02x}" for each in registers(unit.spec))]
    else:
        lines += [line for stream in streams_of(unit) for line in ("", *_of_stream(big, stream))]
    body = "\n".join(lines)
    about = f"// Fields of {name}, by hwsim {__version__}: a name alone is the range inside tdata, as in tdata[`NAME]."
    return f"{about}\n`ifndef {big}_VH\n`define {big}_VH\n\n{body}\n\n`endif\n"


def _of_stream(big: str, stream: Stream) -> Iterator[str]:
    port = stream.prefix.split("_axis_")[1].upper()
    yield f"`define {big}_{port}_TDATA_WIDTH {stream.bits}"
    for field in stream.fields:
        label = f"{big}_{port}_{field.name.upper().replace('.', '_').replace('[', '_').replace(']', '')}"
        yield f"`define {label} {field.low + field.width - 1}:{field.low}"
        yield f"`define {label}_LSB {field.low}"
        yield f"`define {label}_WIDTH {field.width}"
        if field.count:
            yield f"`define {label}_COUNT {field.count}"
