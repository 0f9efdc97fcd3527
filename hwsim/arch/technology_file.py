"""What the files of processes and kinds of DRAM say; loaded by `hwsim.arch.technology` when one is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from hwsim.arch.scalars import Area, ByteEnergy, Energy, FormatName
from hwsim.files.fields import FilePart

_SourceText = Annotated[str, StringConstraints(min_length=4, max_length=300)]
_SOURCE = "Where the value is from, and how it follows; without a value, what is missing."


class EnergyFile(FilePart):
    """An energy with its source."""

    value: Energy | None = Field(None, description="Energy; left out where no source is known.", examples=["0.2 pJ"])
    source: _SourceText = Field(description=_SOURCE, examples=["ISSCC 2014"])


class ByteEnergyFile(FilePart):
    """An energy per byte with its source."""

    value: ByteEnergy | None = Field(None, description="Energy; left out where none is known.", examples=["1.75 pJ/B"])
    source: _SourceText = Field(description=_SOURCE, examples=["ISSCC 2014"])


class AreaFile(FilePart):
    """An area with its source."""

    value: Area | None = Field(None, description="Area; left out where no source is known.", examples=["0.8 um2"])
    source: _SourceText = Field(description=_SOURCE, examples=["Nangate45"])


class ShareFile(FilePart):
    """A share with its source."""

    value: float = Field(gt=0, le=1, description="From 0 to 1.", examples=[0.7])
    source: _SourceText = Field(description=_SOURCE, examples=["assumed"])


class MultiplyAddFile(FilePart):
    """A multiply-add of one pair of formats that no measured unit does."""

    weights: FormatName = Field(description="Format of the weights.", examples=["bf16"])
    activations: FormatName = Field(description="Format of the activations.", examples=["bf16"])
    value: Energy = Field(description="Energy of one.", examples=["0.6 pJ"])
    source: _SourceText = Field(description=_SOURCE, examples=["ISSCC 2014"])


class TechnologyFile(FilePart):
    """A process: what its gates and its on-chip memory cost."""

    name: Annotated[str, StringConstraints(max_length=64)] = Field(description="Short name.", examples=["7nm"])
    buffer: ByteEnergyFile = Field(
        description="One byte written to or read from an on-chip buffer.",
        examples=[{"value": "1.75 pJ/B", "source": "ISCA 2021"}],
    )
    toggle: EnergyFile = Field(
        description="A NAND2-equivalent that switches.", examples=[{"value": "0.000229 pJ", "source": "ISCA 2021"}]
    )
    activity: ShareFile = Field(
        description="Gates that switch in an operation.", examples=[{"value": 0.5, "source": "assumed"}]
    )
    multiply_adds: list[MultiplyAddFile] = Field([], description="Where no unit is measured.", examples=[[]])
    vector: EnergyFile = Field(
        description="One element pass of the vector unit.", examples=[{"value": "1.69 pJ", "source": "ISCA 2021"}]
    )
    nand2: AreaFile = Field(
        description="Cell area of a NAND2-equivalent.", examples=[{"value": "0.0583 um2", "source": "ASAP7"}]
    )
    utilisation: ShareFile = Field(
        description="Cell area over the area that placed cells take.", examples=[{"value": 0.7, "source": "assumed"}]
    )
    bit: AreaFile = Field(
        description="One bit cell of an on-chip buffer.", examples=[{"value": "0.027 um2", "source": "IEDM 2016"}]
    )


class DramKindFile(FilePart):
    """A kind of DRAM: what moving a byte costs, its interface included."""

    name: Annotated[str, StringConstraints(max_length=64)] = Field(description="Short name.", examples=["hbm2"])
    moved: ByteEnergyFile = Field(
        description="One byte read or written.", examples=[{"value": "31.2 pJ/B", "source": "MICRO 2017"}]
    )
