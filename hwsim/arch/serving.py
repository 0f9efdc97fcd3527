"""What a serving engine finds on a machine: memory that the device reports, and how mixed passes slow attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from hwsim.arch.scalars import Size, size_text
from hwsim.files.fields import FilePart


class ServingFile(FilePart):
    """Numbers of serving engines that only a measurement on the machine gives."""

    mixed_attention: float = Field(
        1,
        ge=1,
        le=10,
        description="Time of decode attention in a pass that also computes a prompt, over its time alone.",
        examples=[1.6],
    )
    reported: Size | None = Field(None, description="Memory that the device reports.", examples=["79.6 GiB"])
    reserved: Size | None = Field(
        None, description="Of it, what the context and the captured graphs of an engine take.", examples=["1 GB"]
    )


@dataclass(frozen=True, slots=True)
class Serving:
    """mixed_attention: time of decode attention in a mixed pass over its time alone.

    reported_bytes: memory that the device reports; reserved_bytes: of it, what the engine's context and graphs take.
    None: not known.
    """

    mixed_attention: float = 1.0
    reported_bytes: int | None = None
    reserved_bytes: int | None = None

    @classmethod
    def of(cls, file: ServingFile) -> Serving:
        """The file's numbers."""
        return cls(float(file.mixed_attention), file.reported, file.reserved)

    def file(self) -> dict[str, Any]:
        """The numbers as a machine file states them."""
        sizes = {"reported": self.reported_bytes, "reserved": self.reserved_bytes}
        found = {name: size_text(n) for name, n in sizes.items() if n is not None}
        return {"mixed_attention": self.mixed_attention, **found}
