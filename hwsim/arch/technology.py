"""Energy per byte and per gate toggle, and area per gate and bit, by technology; every number has its source.

`cost` multiplies these by the bytes of a run and by the gates of measured units. If no public source is known, the
value is None and the text says what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sourced:
    """A number and its source; value None: the text says what is missing."""

    value: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Technology:
    """One process with its memory.

    dram_pj_per_byte, buffer_pj_per_byte: energy per byte moved; per byte of an access to an on-chip buffer.
    toggle_pj: energy of a NAND2-equivalent that switches; activity: share of them that switch in an operation.
    mac_pj: energy of a multiply-add for which no unit is measured, by pair of formats.
    vector_pj: energy of one pass of the vector unit.
    nand2_um2, bit_um2: area of a NAND2-equivalent and of a memory bit.
    """

    dram_pj_per_byte: Sourced
    buffer_pj_per_byte: Sourced
    toggle_pj: Sourced
    activity: Sourced
    mac_pj: dict[tuple[str, str], Sourced]
    vector_pj: Sourced
    nand2_um2: Sourced
    bit_um2: Sourced


# The paper was not available when this was written. Until someone has checked it, every term says so. Its FP32
# multiply is quoted, as 1.31 pJ at 7 nm, by Hassani Sadi et al., doi 10.1007/s10617-024-09282-2.
_UNCHECKED = " [not yet checked against the text]"
_TEN = f"Jouppi et al., ISCA 2021 (TPUv4i), table 2, 7 nm{_UNCHECKED}"
# An 8-bit adder is 8 full adders of 9 NAND2; an 8 x 8 multiplier 64 AND (1.5 NAND2) and 56 full adders. Their energies,
# 0.007 and 0.07 pJ, are divided by those 672 gates, half of them switching; the half cancels with `activity`.
_TOGGLE = Sourced(
    (0.007 + 0.07) / (0.5 * (8 * 9 + 64 * 1.5 + 56 * 9)), f"{_TEN}: INT8 add 0.007 pJ and multiply 0.07 pJ, per gate"
)
_SEVEN = Technology(
    dram_pj_per_byte=Sourced(350 / 8, f"{_TEN}: HBM2 250 to 450 pJ per 64 bits, middle of the range"),
    buffer_pj_per_byte=Sourced(14 / 8, f"{_TEN}: 1 MB SRAM 14 pJ per 64 bits"),
    toggle_pj=_TOGGLE,
    activity=Sourced(0.5, "the same value as in toggle_pj, so that it cancels"),
    mac_pj={
        ("bf16", "bf16"): Sourced(0.21 + 0.38, f"{_TEN}: BF16 multiply 0.21 pJ, FP32 add 0.38 pJ"),
        ("fp16", "fp16"): Sourced(0.34 + 0.38, f"{_TEN}: FP16 multiply 0.34 pJ, FP32 add 0.38 pJ"),
    },
    vector_pj=Sourced(1.31 + 0.38, f"{_TEN}: FP32 multiply 1.31 pJ and add 0.38 pJ per pass"),
    nand2_um2=Sourced(4 / 91.2, f"WikiChip Fuse, TSMC N7: 91.2 million transistors per mm2, 4 per NAND2{_UNCHECKED}"),
    bit_um2=Sourced(0.027, "Wu et al., IEDM 2016, title: 7 nm CMOS with a 0.027 um2 high density 6-T SRAM cell"),
)

TECHNOLOGIES = {"7nm": _SEVEN}
"""By the name that a machine file gives as `technology`. No public table is known for 4 nm and HBM3."""
