"""The cache in front of the memory, for rows of tables: popular rows are found there and cross no DRAM."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import Field

from hwsim.arch.scalars import ByteRate, Size, byte_rate_text, size_text
from hwsim.files.fields import FilePart


class CacheFile(FilePart):
    """A cache that keeps the rows of tables that were read last; weights and activations do not use it."""

    size: Size = Field(description="Bytes of rows that it holds.", examples=["25 MiB"])
    rate: ByteRate = Field(description="Bytes that it delivers, the whole chip.", examples=["5120 B/cycle"])


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache of `nbytes` for rows of tables, which delivers `bytes_per_cycle`."""

    nbytes: int
    bytes_per_cycle: Fraction

    @classmethod
    def of(cls, file: CacheFile, clock: Fraction) -> Cache:
        """The file's cache in cycles of the clock."""
        return cls(file.size, file.rate.per_cycle(clock))

    def file(self, clock: Fraction) -> dict[str, Any]:
        """The cache as a machine file states it."""
        return {"size": size_text(self.nbytes), "rate": byte_rate_text(self.bytes_per_cycle, clock)}
