"""The machine file, field by field: what may stand where, in which unit, and what it means."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, StringConstraints, Tag, WithJsonSchema

from hwsim.arch.technology import TECHNOLOGIES
from hwsim.errors import InputError
from hwsim.files.fields import FilePart, asked
from hwsim.files.yaml import short
from hwsim.formats.names import ALIASES, NAMES, layout
from hwsim.quantities import DURATION, Quantity, pattern, quantity, rate

_TILE = r"^[1-9][0-9]{0,6}x[1-9][0-9]{0,6}x[1-9][0-9]{0,6}$"


def _quantity(*dimensions: str, zero: bool = False) -> Any:
    """A quantity of one of the dimensions; the field's own example is what its error tells to write."""
    return Annotated[
        Quantity,
        PlainValidator(asked(lambda text: quantity(text, *dimensions, zero=zero))),
        WithJsonSchema({"type": "string", "pattern": pattern(*dimensions)}),
    ]


def _read_size(text: Any) -> int:
    value = quantity(text, "B").value
    if value.denominator != 1:
        raise InputError(f"`{short(text)}` is not a whole number of bytes; write for example `64 B`")
    return int(value)


def _read_format(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch("[a-z0-9_]{1,32}", name):
        raise InputError(
            f"`{short(name)}` is not the name of a format; write for example bf16, fp8_e4m3 or int8"
        )
    return layout(name).name


def _read_tile(text: Any) -> tuple[int, int, int]:
    if not isinstance(text, str) or not re.fullmatch(_TILE, text):
        raise InputError(f"`{short(text)}` is not a tile; write MxNxK, for example `512x256x512`")
    m, n, k = map(int, text.split("x"))
    return m, n, k


def _read_state(name: Any) -> str:
    plain = name.removesuffix("_sr") if isinstance(name, str) else name
    return _read_format(plain) + ("_sr" if plain != name else "")


Duration = _quantity(*DURATION)
Latency = _quantity(*DURATION, zero=True)
Frequency = _quantity("Hz")
Power = _quantity("W")
ByteRate, MacRate, ElementRate, WeightRate, BlockRate = (
    _quantity(*rate(base)) for base in ("B", "MAC", "element", "weight", "block")
)
Size = Annotated[
    int, PlainValidator(asked(_read_size)), WithJsonSchema({"type": "string", "pattern": pattern("B")})
]
FormatName = Annotated[
    str,
    PlainValidator(asked(_read_format)),
    WithJsonSchema({"type": "string", "enum": [*NAMES, *ALIASES]}),
]
StateName = Annotated[
    str,
    PlainValidator(asked(_read_state)),
    WithJsonSchema({"type": "string", "enum": [f + s for s in ("", "_sr") for f in (*NAMES, *ALIASES)]}),
]
Tile = Annotated[
    tuple[int, int, int],
    PlainValidator(asked(_read_tile)),
    WithJsonSchema({"type": "string", "pattern": _TILE}),
]


class RefreshFile(FilePart):
    """How DRAM refresh takes time from the channel."""

    kind: Literal["none", "spread", "all_bank"] = Field(
        description="none; spread: the exact share stall/period of all time; all_bank: the channel "
        "stops for `stall` at the end of each `period`.",
        examples=["spread"],
    )
    period: Duration | None = Field(
        None, description="Time from one refresh to the next.", examples=["3.9 us"]
    )
    stall: Duration | None = Field(None, description="Time that one refresh takes.", examples=["350 ns"])


class DramFile(FilePart):
    """The memory: one channel that serves in program order."""

    bandwidth: ByteRate = Field(
        description="Peak bytes of the whole channel, before refresh.", examples=["819 GB/s", "64 B/cycle"]
    )
    latency: Latency = Field(
        description="From a request to its first bytes, unloaded; rounded up to whole cycles.",
        examples=["230 cycles", "300 ns"],
    )
    beat: Size = Field(description="Burst granularity: each transfer is rounded up to it.", examples=["64 B"])
    capacity: Size = Field(description="What the memory holds.", examples=["141 GB"])
    refresh: RefreshFile = Field(
        description="Refresh; `kind: none` to leave it out.",
        examples=[{"kind": "spread", "period": "3.9 us", "stall": "350 ns"}],
    )
    row: Size | None = Field(None, description="Bytes of one open row; with `row_miss`.", examples=["1 KiB"])
    row_miss: Duration | None = Field(
        None,
        description="Exposed time for each `row` bytes moved; leave out where banks hide it.",
        examples=["5 ns"],
    )
    turnaround: Duration | None = Field(
        None, description="Time lost at each change between reading and writing.", examples=["10 ns"]
    )


class BuffersFile(FilePart):
    """On-chip memory. Each tile needs two slots: one in use, one being filled."""

    weights: Size = Field(description="Streamed operand: weights, KV cache, state.", examples=["1 MiB"])
    activations: Size = Field(description="Activations.", examples=["1 MiB"])
    outputs: Size = Field(description="Partial sums and results.", examples=["1 MiB"])


_KIND = "dot_array: any tile at full rate; tensor_cores: tiles of a native shape; systolic: fill and drain count."


class RateFile(FilePart):
    """Speed of the dot array for one pair of formats."""

    weights: FormatName = Field(
        description="Format of the weights as they enter the array.", examples=["bf16"]
    )
    activations: FormatName = Field(description="Format of the activations.", examples=["bf16"])
    rate: MacRate = Field(
        description="Multiply-adds of the whole chip (1 MAC = 2 operations), dense.",
        examples=["16384 MAC/cycle", "495 TMAC/s"],
    )


class DotFile(FilePart):
    """Multiply-add units that any tile fills."""

    kind: Literal["dot_array"] = Field("dot_array", description=_KIND, examples=["dot_array"])
    latency: Latency = Field(
        description="From the last operands to the result, reduction included.", examples=["40 cycles"]
    )
    accumulator: Size = Field(4, description="Bytes of one partial sum; 4 B if left out.", examples=["4 B"])
    rates: list[RateFile] = Field(
        description="The pairs of formats that the array multiplies natively.",
        examples=[[{"weights": "bf16", "activations": "bf16", "rate": "16384 MAC/cycle"}]],
        min_length=1,
        max_length=256,
    )


class TensorCoresFile(DotFile):
    """Multiply-add units of one native tile shape; other tiles are filled up to it."""

    kind: Literal["tensor_cores"] = Field(description=_KIND, examples=["tensor_cores"])
    shape: Tile = Field(description="Native tile MxNxK of one instruction.", examples=["16x8x16"])


class SystolicFile(DotFile):
    """Systolic arrays: grids of multipliers that operands cross step by step."""

    kind: Literal["systolic"] = Field(description=_KIND, examples=["systolic"])
    rows: int = Field(ge=1, le=4096, description="Rows of a grid.", examples=[128])
    columns: int = Field(ge=1, le=4096, description="Columns of a grid.", examples=[128])
    arrays: int = Field(1, ge=1, le=4096, description="Grids that share the tiles.", examples=[4])
    dataflow: Literal["weight_stationary", "output_stationary"] = Field(
        description="The operand that stays in the grid.", examples=["weight_stationary"]
    )
    double_buffered: bool = Field(
        description="Whether the next weights shift in, or the last results out, while the grid computes.",
        examples=[True],
    )
    shift_exposed: bool = Field(
        False, description="Weights have cells of their own, but shift in between two streams.", examples=[True]
    )


def _kind(value: Any) -> Any:
    return value.get("kind", "dot_array") if isinstance(value, dict) else "dot_array"


AnyDot = Annotated[
    Annotated[DotFile, Tag("dot_array")]
    | Annotated[TensorCoresFile, Tag("tensor_cores")]
    | Annotated[SystolicFile, Tag("systolic")],
    Discriminator(_kind),
]


class VectorFile(FilePart):
    """The unit for everything that is not a matrix product."""

    rate: ElementRate = Field(
        description="Elements of the whole chip, one elementary operation on each.",
        examples=["128 element/cycle"],
    )
    latency: Latency = Field(description="From an element to its result.", examples=["30 cycles"])


class DequantiseFile(FilePart):
    """The unit that turns stored formats into one that the dot array lists."""

    rate: WeightRate = Field(description="Weights converted, the whole chip.", examples=["8448 weight/cycle"])
    latency: Latency = Field(
        description="From a stored weight to its converted value.", examples=["30 cycles"]
    )


class RegenerateFile(FilePart):
    """The units that make weights from LFSR seeds."""

    rate: BlockRate = Field(description="Seed blocks decoded, the whole chip.", examples=["16 block/cycle"])
    latency: Latency = Field(description="From a seed block to its weights.", examples=["6 cycles"])
    feeds: FormatName = Field(
        description="Format of the weights it hands to the dot array.", examples=["bf16"]
    )


class RoundFile(FilePart):
    """LFSR units that round SSM state stochastically on its way to memory."""

    rate: ElementRate = Field(description="Elements rounded, the whole chip.", examples=["256 element/cycle"])
    latency: Latency = Field(description="From an element to its rounded value.", examples=["2 cycles"])


class LinkFile(FilePart):
    """What joins the chips of a run with `chips` above 1."""

    bandwidth: ByteRate = Field(
        description="All ports of one chip together, each direction.", examples=["450 GB/s"]
    )
    latency: Latency = Field(description="One step of a collective.", examples=["1 us"])
    topology: Literal["ring", "switch"] = Field(
        description="ring: neighbours only; switch: every chip reaches every other at full rate.",
        examples=["switch"],
    )


class LaunchFile(FilePart):
    """Starting an op."""

    interval: Duration = Field(
        description="Time from one start to the next, ahead of the op's first read.", examples=["2 us"]
    )


class StackFile(FilePart):
    """The software around the kernels."""

    launch: Latency = Field(description="Start of a kernel that is no product.", examples=["2 us"])
    layer: Latency = Field(description="Of each layer, not hidden behind the device.", examples=["0 us"])
    step: Latency = Field(description="Of each step, not hidden behind the device.", examples=["100 us"])
    sequence: Latency = Field(description="Of each sequence of a decode step, likewise.", examples=["0 us"])


class CoresFile(FilePart):
    """The cores that tiles are dealt to, the kernels there are, and how fast they were measured to be."""

    count: int = Field(ge=1, le=4096, description="Cores (streaming multiprocessors) of the chip.", examples=[132])
    memory: Size = Field(description="Operands in flight in one core.", examples=["228 KiB"])
    kernels: str = Field(description="File of the kernel menus.", examples=["kernels/h100-sxm.yaml"])
    calibration: str | None = Field(
        None, description="File written by `hwsim calibrate`.", examples=["calibration/h100-sxm.yaml"]
    )


class MachineFile(FilePart):
    """A machine for hwsim. Every quantity carries its unit: kB is 1000 bytes, KiB 1024; b is bit, B byte."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Short name, as on the command line.", examples=["my-machine"]
    )
    description: Annotated[str, StringConstraints(max_length=1000)] = Field(
        description="One line for tables: what the machine is, and whose.", examples=["my accelerator"]
    )
    hypothetical: bool = Field(False, description="True where the machine cannot be bought.", examples=[True])
    clock: Frequency = Field(description="The one clock that all cycles count.", examples=["1.755 GHz"])
    dram: DramFile = Field(description="The memory that holds weights, KV cache and state.")
    buffers: BuffersFile = Field(description="On-chip memory.")
    activations: Literal["on_chip", "dram"] = Field(
        description="on_chip: activations touch the memory only when they overflow their buffer; "
        "dram: each op reads and writes them there.",
        examples=["on_chip"],
    )
    kv: FormatName | None = Field(
        None,
        description="Format of the KV cache; bf16 (int8 on an integer machine) if left out.",
        examples=["bf16"],
    )
    state: StateName | None = Field(
        None,
        description="Format of SSM state; fp32 (int8 on an integer machine) if left out; with _sr behind it, rounded "
        "stochastically by the units of `round`.",
        examples=["fp32"],
    )
    dot: AnyDot = Field(description="The multiply-add units.")
    vector: VectorFile | None = Field(None, description="The unit for norms, activations, softmax, scans.")
    dequantise: DequantiseFile | None = Field(None, description="The unit that converts stored formats.")
    regenerate: RegenerateFile | None = Field(None, description="The units that make weights from seeds.")
    round: RoundFile | None = Field(None, description="The units that round state stochastically.")
    link: LinkFile | None = Field(None, description="What joins several chips.")
    launch: LaunchFile | None = Field(None, description="Cost of starting an op.")
    cores: CoresFile | None = Field(
        None, description="Cores and the kernels of a library: ops become kernels, tiles waves; none: ideal kernels."
    )
    stack: StackFile | None = Field(None, description="What the software around the kernels costs.")
    technology: Literal[tuple(TECHNOLOGIES)] | None = Field(
        None, description="Process and memory whose energy and area are used; none: they are `-`.", examples=["7nm"]
    )
    idle: Power | None = Field(None, description="Static power of the chip with its memory.", examples=["55 W"])
    tiles: list[Tile] = Field(
        description="Tiles MxNxK that the kernels offer (M tokens, N outputs, K reduction).",
        examples=[["512x256x512", "128x512x512"]],
        min_length=1,
        max_length=64,
    )
