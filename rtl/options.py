"""Options of the commands of `python -m rtl`: a frozen dataclass per unit, which says what unit is meant."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from hwsim.errors import InputError, nearest
from hwsim.formats.lfsr import CODECS, SeedCodec
from hwsim.formats.names import layout
from hwsim.specs import BlockDot, Staged, operand

from .axi import Outside
from .project import Project

__all__ = [
    "CLOCK", "OUT", "Activations", "DotOptions", "Folder", "Interleave", "Options", "SeedOptions", "StageOptions",
    "SumOptions", "Target", "UnitOptions", "Vectors", "formats_name", "in_options",
]  # fmt: skip

LANES_MAX = 1024
"""Of formats without scaled blocks; a wider tree is written for hours."""
STATES_MAX = 1024
"""LFSR states of a seed block, for the same reason."""

OUT = Path("build/rtl")
CLOCK = "150 MHz"

Folder = Annotated[Path, typer.Option("-o", "--out", help="Folder the files are written to.")]
SeedFormat = Annotated[str, typer.Option("--format", help=f"Seed format: {', '.join(CODECS)}, or as c8p3k16.")]
Target = Annotated[str, typer.Option("--target", help="Format made: mxint8 or mxfp4_e2m1.")]
Activations = Annotated[
    str | None, typer.Option("--activations", help="Format of the activations; default the target.")
]
Formats = Annotated[list[str], typer.Option("--format", help="Format; twice for a mixed pair.")]
Lanes = Annotated[int | None, typer.Option("--lanes", help="Elements of a dot block; default the formats' block.")]
Interleave = Annotated[
    int | None, typer.Option("--interleave", help="Rows in turn; default the loop's stages; 1: one after another.")
]
Stages = Annotated[
    str | None, typer.Option("--stages", help="Registers of the pipeline, by name with commas; a wrong one lists them.")
]
Tool = Annotated[str | None, typer.Option("--tool", help="Also a project of vivado, quartus or yosys.")]
Part = Annotated[str, typer.Option("--part", "--device", help="Part of the project; for yosys ecp5, ice40 or xilinx.")]
Alone = Annotated[bool, typer.Option("--out-of-context", help="The project places no pins: for a place in a design.")]
Prefix = Annotated[str, typer.Option("--prefix", help="Begins the names of the module and its files.")]
Tkeep = Annotated[bool, typer.Option("--tkeep", help="Every stream has tkeep.")]
ResetLow = Annotated[bool, typer.Option("--rst-n", help="Reset `rst_n`, active low, instead of `rst`, active high.")]
Packet = Annotated[int, typer.Option("--packet", help="tlast ends every N-th sum, as of a tile; default each.")]
Clock = Annotated[str, typer.Option("--clock", help="Clock of the project's constraint.")]
Vectors = Annotated[
    int, typer.Option("--vectors", min=0, max=1_000_000, help="Inputs of a bench in plain Verilog; default none.")
]


@dataclass(frozen=True)
class Options:
    """What every command takes: where the files go, and what is written beside the Verilog.

    A unit's own options are the fields of a subclass. Typer reads them from its signature and makes the object.
    """

    out: Folder = field(default=OUT, kw_only=True)
    tool: Tool = field(default=None, kw_only=True)
    part: Part = field(default="", kw_only=True)
    out_of_context: Alone = field(default=False, kw_only=True)
    clock: Clock = field(default=CLOCK, kw_only=True)
    vectors: Vectors = field(default=0, kw_only=True)
    prefix: Prefix = field(default="", kw_only=True)
    tkeep: Tkeep = field(default=False, kw_only=True)
    rst_n: ResetLow = field(default=False, kw_only=True)

    @property
    def outside(self) -> Outside:
        """How the streams look outside."""
        return Outside(self.tkeep, active_low=self.rst_n)

    @property
    def project(self) -> Project | None:
        """The project that is asked for.

        raises: InputError, also where a part or --out-of-context stands without a tool.
        """
        if self.tool is not None:
            return Project(self.tool, self.part, self.out_of_context)
        if self.part or self.out_of_context:
            raise InputError(f"{'--part' if self.part else '--out-of-context'}: of a project; write --tool as well")
        return None


class UnitOptions(Options, ABC):
    """Options of the command of one kind of unit."""

    @abstractmethod
    def unit(self) -> tuple[object, str]:
        """The spec, and the name of the Verilog module, which holds all that the options choose of the unit.

        raises: InputError for options that make no unit.
        """


@dataclass(frozen=True)
class StageOptions:
    """Of units that are one pipeline."""

    stages: Stages = field(default=None, kw_only=True)

    def staged(self, spec: Staged, name: str) -> tuple:
        """The spec with the registers asked for, and its name: a hexadecimal digit for four places, the first lowest.

        raises: InputError for a register that the unit has no place for, with all that it has.
        """
        if self.stages is None:
            return spec, name
        chosen = [stage.strip() for stage in self.stages.split(",")]
        for stage in chosen:
            if stage not in spec.cuts:
                near = nearest(stage, spec.cuts)
                hint = "" if near.startswith("; known") else near
                raise InputError(f"--stages: no {stage!r}{hint}; write of {','.join(spec.cuts)}")
        spec = replace(spec, stages=tuple(chosen))
        mask = sum(1 << place for place, cut in enumerate(spec.cuts) if cut in spec.stages)
        return spec, name if spec.stages == spec.default_stages else f"{name}_s{mask:x}"


@dataclass(frozen=True)
class SumOptions:
    """Of units whose output is sums."""

    packet: Packet = field(default=1, kw_only=True)

    @property
    def outside(self) -> Outside:
        """How the streams look outside."""
        return replace(super().outside, packet=self.packet)


@dataclass(frozen=True)
class SeedOptions(UnitOptions):
    """Of units that take a seed format."""

    format: SeedFormat = "seedlm4"

    @property
    def codec(self) -> SeedCodec:
        """The codec of the seed format.

        raises: InputError with the nearest name.
        """
        if point := re.fullmatch(r"c(\d+)p(\d+)(?:k(\d+))?", self.format):
            c, p, k = (int(number) for number in point.groups("16"))
            if c * p > STATES_MAX:
                raise InputError(f"--format {self.format}: {c * p} LFSR states; write C P of at most {STATES_MAX}")
            return SeedCodec(c, p, k)
        if self.format not in CODECS:
            raise InputError(f"--format {self.format}: not a seed format{nearest(self.format, CODECS)}")
        return CODECS[self.format]


@dataclass(frozen=True)
class DotOptions(UnitOptions):
    """Of units that take the two formats of a block dot product."""

    format: Formats = ("mxfp4_e2m1",)
    lanes: Lanes = None

    @property
    def dot(self) -> BlockDot:
        """The dot unit's spec for one or two formats.

        raises: InputError for more, for a bad format, or for lanes that do not divide the formats' block.
        """
        if len(self.format) > 2:
            raise InputError(f"--format: {len(self.format)} given; write one, or two for a mixed pair")
        spec = BlockDot.of(self.format[0], self.format[-1])
        if self.lanes is None:
            return spec
        scaled = [size for _, size in map(operand, self.format) if size]
        if not scaled and not 1 <= self.lanes <= LANES_MAX:
            raise InputError(f"--lanes {self.lanes}: write 1 to {LANES_MAX}")
        if scaled and (self.lanes < 1 or min(scaled) % self.lanes):
            divisors = [str(n) for n in range(1, min(scaled) + 1) if min(scaled) % n == 0]
            raise InputError(
                f"--lanes {self.lanes}: a scale is shared by {min(scaled)} elements, of which a cycle takes an equal "
                f"part; write {', '.join(divisors[:-1])} or {divisors[-1]}"
            )
        return replace(spec, lanes=self.lanes, stages=None)

    @property
    def name(self) -> str:
        """Formats and lanes, for the unit's name."""
        return formats_name(*self.format) + (f"_l{self.lanes}" if self.lanes is not None else "")


def in_options(problem: str) -> str:
    """A problem of a spec in the words of the command: `--beat 3; write 4` for `Gemv: beat_bytes 3; write 4`."""
    found = re.match(rf"[A-Z]\w+: ({'|'.join(OPTION_OF)})\b", problem)
    return f"--{OPTION_OF[found[1]]}{problem[found.end() :]}" if found else problem


OPTION_OF = {name: name.replace("_", "-") for name in (
    "activations", "address_bits", "burst", "decoders", "dot_units", "fifo", "interleave", "k_max", "results",
    "rounding", "seed", "source", "target", "tile",
)} | {"beat_bytes": "beat", "weights": "format"}  # fmt: skip
"""The option that gives each field of a spec."""


def formats_name(*sources: str) -> str:
    """Formats for a module's name: each one's own, not its alias or its file, once."""
    names = dict.fromkeys(layout(source).name for source in sources)
    return re.sub(r"\W+", "_", "_".join(names), flags=re.ASCII)
