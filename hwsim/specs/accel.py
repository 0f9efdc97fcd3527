"""`Accel`: a GEMV or GEMM unit behind an AXI4 master, with AXI4-Lite registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from hwsim.errors import InputError
from hwsim.formats.names import layout
from hwsim.specs.gemv import Gemv
from hwsim.timing import Timing


@dataclass(frozen=True)
class Accel:
    """A GEMV or GEMM unit that reads x and W from memory and writes y there, started and watched through registers.

    Reads are bursts of `burst` beats, the last one shorter. A burst of W is asked for once the unit's FIFO has a free
    slot for each of its beats, so a beat that arrives is never refused; bursts in flight are limited by the FIFO alone.
    x, one tile of it per product, is read first. Results are written by the beat; up to `WRITES` beats of them wait
    inside for the memory.

    gemv:         the unit, a `Gemv` or a `Gemm`; its beat is the width of the data bus.
    burst:        beats per burst: a power of two up to 256, at most a page of 4 KiB and at most the FIFO, so that no
                  burst from an aligned address crosses a page; None: 16, or what these limits leave of it.
    address_bits: of the master, 13 to 64.
    """

    gemv: Gemv
    burst: int = None  # type: ignore[assignment]  # __post_init__ fills None
    address_bits: int = 32

    WRITES = 4
    """Beats of results that wait for the memory."""
    PAGE_BYTES = 4096
    """No burst of AXI4 crosses a page; base addresses are whole pages. Source: Arm IHI 0022, A3.4.1."""
    BURST_MAX = 256
    """Beats per burst of AXI4. Source: the same."""

    def __post_init__(self) -> None:
        if self.burst is None:
            object.__setattr__(self, "burst", min(16, self._most))
        if problems := list(self._refused()):
            raise InputError(*problems)

    @property
    def _most(self) -> int:
        """The longest burst."""
        beats = min(self.BURST_MAX, self.PAGE_BYTES // self.gemv.beat_bytes, self.gemv.fifo)
        return 1 << (beats.bit_length() - 1)

    def _refused(self) -> Iterator[str]:
        if self.burst < 1 or self.burst & (self.burst - 1) or self.burst > self._most:
            yield (
                f"Accel: burst {self.burst}; write a power of two up to {self._most}: 256 beats, a page of 4 KiB and "
                f"the FIFO of {self.gemv.fifo} beats limit it"
            )
        if not 13 <= self.address_bits <= 64:
            yield f"Accel: address_bits {self.address_bits}; write 13 to 64"

    @cached_property
    def timing(self) -> Timing:
        """That of the unit, from a beat of W to a result."""
        return self.gemv.timing

    @cached_property
    def x_record_bytes(self) -> int:
        """Bytes of a block of x in memory."""
        return layout(self.gemv.activations).record_bits // 8

    def x_beats(self, k: int, m: int = 1) -> int:
        """Beats in which `m` rows of x are read, each with the zeros that fill up a block of the weight stream."""
        return -(-m * self.gemv.x_blocks(k) * self.x_record_bytes // self.gemv.beat_bytes)

    def y_beats(self, rows: int, m: int = 1) -> int:
        """Beats in which y of `rows` rows of W and `m` rows of x is written."""
        return -(-4 * rows * m // self.gemv.beat_bytes)
