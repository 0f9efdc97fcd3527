"""Latencies that a machine file takes from the units in `rtl/`: it names the spec that a unit is generated from.

    regenerate:
      latency:
        - {unit: seed_decoder, format: seedlm4}
        - {unit: requantizer, format: seedlm4, target: mxint8}

The latency is that of the specs' timing, added up, in cycles of the machine's clock. A latency may also be written as
one unit (without the list) or as a time (`6 cycles`, `30 ns`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, model_validator

from hwsim.arch.scalars import FormatName, Latency, Read, whole_cycles
from hwsim.errors import InputError
from hwsim.files.fields import FilePart
from hwsim.files.yaml import short
from hwsim.formats.lfsr import CODECS
from hwsim.quantities import Quantity
from hwsim.specs import Accumulator, BlockDot, Requantizer, SeedDecoder, Staged

Spec = TypeVar("Spec", bound=Staged)


class UnitFile(FilePart, ABC):
    """A hardware unit, by the parameters of its spec."""

    stages: list[str] | None = Field(
        None, description="Its pipeline registers; those of the published unit if left out.", examples=[["sum"]]
    )

    @abstractmethod
    def spec(self) -> Staged:
        """The spec of the unit. raises: InputError where there is no such unit."""

    @model_validator(mode="after")
    def _exists(self) -> UnitFile:
        try:
            self.spec()
        except InputError as error:
            raise ValueError("; ".join(error.problems)) from None
        return self

    def _cut(self, spec: Spec) -> Spec:
        """`spec` with the registers that the file names; if it names none, with those of the published unit."""
        return spec if self.stages is None else replace(spec, stages=tuple(self.stages))


def _read_seed_format(name: Any) -> str:
    if not isinstance(name, str) or name not in CODECS:
        raise InputError(f"`{short(name)}` is not known; write {' or '.join(CODECS)}")
    return name


SeedName = Annotated[str, Read(_read_seed_format, {"type": "string", "enum": [*CODECS]})]


class SeedDecoderFile(UnitFile):
    """The unit that makes a block of weights from its seed record."""

    unit: Literal["seed_decoder"] = Field(description="Which unit.", examples=["seed_decoder"])
    format: SeedName = Field(description="Seed format.", examples=["seedlm4"])

    def spec(self) -> SeedDecoder:
        """The decoder of the format."""
        return self._cut(SeedDecoder(CODECS[self.format]))


class RequantizerFile(UnitFile):
    """The unit that turns decoded seed blocks into blocks of an MX format."""

    unit: Literal["requantizer"] = Field(description="Which unit.", examples=["requantizer"])
    format: SeedName = Field(description="Seed format.", examples=["seedlm4"])
    target: FormatName = Field(description="mxint8 or mxfp4.", examples=["mxint8"])

    def spec(self) -> Requantizer:
        """The requantizer of the two formats."""
        return self._cut(Requantizer(CODECS[self.format], self.target))


class BlockDotFile(UnitFile):
    """The unit that multiplies two blocks and adds the products, exactly."""

    unit: Literal["block_dot"] = Field(description="Which unit.", examples=["block_dot"])
    weights: FormatName = Field(description="Format of the weights.", examples=["mxint8"])
    activations: FormatName = Field(description="Format of the activations.", examples=["mxint8"])

    def spec(self) -> BlockDot:
        """The dot unit of the two formats; activations are its operand a."""
        return self._cut(BlockDot.of(self.activations, self.weights))


class AccumulatorFile(UnitFile):
    """The unit that adds the results of a `block_dot` in float32."""

    unit: Literal["accumulator"] = Field(description="Which unit.", examples=["accumulator"])
    weights: FormatName = Field(description="Format of the weights.", examples=["mxint8"])
    activations: FormatName = Field(description="Format of the activations.", examples=["mxint8"])

    def spec(self) -> Accumulator:
        """The accumulator behind the dot unit of the two formats."""
        return self._cut(Accumulator(BlockDot.of(self.activations, self.weights)))


def _form(value: Any) -> str:
    if isinstance(value, list):
        return "several"
    return "one" if isinstance(value, dict) else "time"


SeedUnit = Annotated[SeedDecoderFile | RequantizerFile, Field(discriminator="unit")]
DotUnit = Annotated[BlockDotFile | AccumulatorFile, Field(discriminator="unit")]
SeedUnits = Annotated[list[SeedUnit], Field(min_length=1, max_length=8)]
DotUnits = Annotated[list[DotUnit], Field(min_length=1, max_length=8)]
SeedLatency = Annotated[
    Annotated[Latency, Tag("time")] | Annotated[SeedUnit, Tag("one")] | Annotated[SeedUnits, Tag("several")],
    Discriminator(_form),
]
DotLatency = Annotated[
    Annotated[Latency, Tag("time")] | Annotated[DotUnit, Tag("one")] | Annotated[DotUnits, Tag("several")],
    Discriminator(_form),
]


def latency_cycles(
    latency: Quantity | UnitFile | list[SeedDecoderFile | RequantizerFile] | list[BlockDotFile | AccumulatorFile],
    clock: Fraction,
) -> int:
    """Whole cycles: of a time, rounded up; of units one behind the other, what their specs' timings say."""
    if isinstance(latency, Quantity):
        return whole_cycles(latency, clock)
    units = latency if isinstance(latency, list) else [latency]
    return sum(unit.spec().timing.latency for unit in units)
