"""Which kernels run a pair of formats: the pair's own, measured or not; else those of the path that it takes.

Order: the family measured for the pair; the family of the same path and bits (8-bit blocks on fp8_block's kernels, 4 by
4 bits on nvfp4's, or else, as 4-bit weights with 8-bit activations, on fp8_block's with their own bytes, weights below
16 bits with 16-bit activations on a weight-only family), which may be borrowed from another chip; else none, and the
time is ideal.
A family that stands in for another keeps its launch, its quantising and its rate, so that no pair is faster than its
path's measured one but by the bytes that it reads.
"""

from __future__ import annotations

from typing import NamedTuple

from hwsim.arch.cores import Cores, ExpertKernel, ExpertRates, Family
from hwsim.arch.stack import STATIC
from hwsim.formats.layout import Layout
from hwsim.mapping.gpu.kernels import Provenance
from hwsim.mapping.operands import Operands
from hwsim.mapping.program import REGENERATE
from hwsim.mapping.traffic import needed

#: Uncertainty of a time, as a share of it, that is taken from: the same chip in another state, or its like with another
#: memory (H200 from H100); the same tensor path and bits; another path or another generation of chips.
#: All three are our estimates, the same on every machine: no measurement of that pair on that chip stands behind them.
NEAR, PATH, FAR = 0.06, 0.15, 0.30

#: Families in order of preference, by what the tensor path multiplies (bits of the activations) and how.
INTEGER, SCALED, BYTE = ("sq", "fp8"), ("fp8", "fp8_block"), ("fp8_block", "fp8")
NIBBLE, WIDE = ("nvfp4", "fp8_block"), ("bfloat16",)
CONVERTED_BYTE, CONVERTED_NIBBLE = ("int8_wo", "int4_wo"), ("int4_wo", "int8_wo")


class GemmChoice(NamedTuple):
    """The GEMM kernels for a pair of formats. family: None where the time is ideal."""

    family: Family | None
    known: Provenance


class ExpertChoice(NamedTuple):
    """The kernels for the experts of a pair of formats, and their rates; None where the time is ideal."""

    kernel: ExpertKernel | None
    rates: ExpertRates | None
    known: Provenance


def about(share: float) -> str:
    """The uncertainty of a time in a note, and whose figure it is: no measured error of this machine."""
    return f"+-{100 * share:.0f} % (an estimate for all machines)"


def bits(form: Layout) -> float:
    """Of a value, scales of blocks included."""
    return float(form.bits_per_value)


def multiplied(opd: Operands) -> Layout:
    """The activations as the tensor path multiplies them."""
    return opd.multiplied or opd.activations


def family_for(cores: Cores, opd: Operands) -> GemmChoice:
    """The GEMM family for an op's formats."""
    weights, acts = needed(opd.weights), opd.activations
    own = cores.family(weights.name, acts.name)
    if own:
        return GemmChoice(own, state(cores, own.name))
    pair = f"{weights.name} x {acts.name}"
    if opd.converter == REGENERATE:
        return GemmChoice(None, _ideal(f"{pair}: no kernel with regenerators was measured; its GEMMs are ideal"))
    names, uncertainty = path(weights, multiplied(opd), opd.converter is not None)
    found = {f.name: f for f in (*cores.borrowed, *cores.families)}
    family = next((found[name] for name in names if name in found), None)
    if family is None:
        return GemmChoice(None, _ideal(f"{pair}: no kernel of its kind was measured; its GEMMs are ideal"))
    where = f" of {family.chip}" if family.chip else ""
    uncertainty = max(uncertainty, FAR) if family.chip else uncertainty  # another path or another generation of chips
    note = f"{pair} was not measured: time of {family.name}'s kernels{where}, {about(uncertainty)}"
    return GemmChoice(family, Provenance("transferred", uncertainty, note))


def _ideal(note: str) -> Provenance:
    return Provenance("ideal", note=note)


def own_quantising(cores: Cores, family: Family) -> str:
    """A note where the GEMMs of a family start with kernels that quantise, and a serving stack may spare these."""
    wide = cores.family("bf16", "bf16")
    more = family.launch_seconds - wide.launch_seconds if wide and family.name in STATIC else 0.0
    if more <= 0:
        return ""
    how = f"each GEMM starts with quantising by kernels of its own, {1e6 * more:.3g} us, as in its benchmark"
    return f"{family.name}: {how}; `hwsim serve` has it fused where its stack fuses it"


def path(weights: Layout, acts: Layout, converted: bool) -> tuple[tuple[str, ...], float]:
    """(families in order, uncertainty) of the tensor path of a pair. converted: weights are dequantised first."""
    if bits(acts) > 10:
        if bits(weights) > 10:
            return WIDE, PATH
        return (CONVERTED_BYTE if bits(weights) > 6 else CONVERTED_NIBBLE), PATH
    if bits(acts) > 5:
        if acts.name.startswith("int"):
            return INTEGER, PATH
        return (SCALED if acts.name in ("fp8_e4m3", "fp8_e5m2", "fp8_row") else BYTE), FAR if converted else PATH
    return NIBBLE, FAR


def state(cores: Cores, name: str, uses: tuple[str, ...] = ("clock", "dram", "cores", "cache")) -> Provenance:
    """How the time of a calibrated kernel is known: measured, where the machine is as it was at the fit.

    name: of its family, whose multiply-adds count too. uses: the peaks that it depends on.
    """
    other = cores.uncertainty if cores.measured_on != cores.machine else 0.0
    moved = sorted(cores.changed & {*uses, name})
    if other:
        note = f"kernels measured on {cores.measured_on}, by the data sheets, +-{100 * other:.0f} %"
        return Provenance("transferred", other, f"{note} (an estimate in the machine's file)")
    if moved:
        what = ", ".join("multiply-adds" if m == name else m for m in moved)
        return Provenance("transferred", NEAR, f"kernels measured at another {what}, {about(NEAR)}")
    return Provenance("measured")


def experts_for(cores: Cores, opd: Operands, tokens: int) -> ExpertChoice:
    """The kernels for the experts of an op's formats in a step of so many tokens, and how their time is known."""
    weights, acts = needed(opd.weights), multiplied(opd)
    measured = [e for e in cores.experts if e.rates]
    pair = f"experts {weights.name} x {opd.activations.name}"
    for kernel in measured:
        formats = (kernel.weights, kernel.activations) == (weights.name, opd.activations.name)
        if formats and (not kernel.tokens or tokens <= kernel.tokens):
            known = state(cores, kernel.family)
            if kernel.chip:
                known = Provenance("transferred", FAR, f"{pair}: kernels of {kernel.chip}, {about(FAR)}")
            return ExpertChoice(kernel, kernel.rates, known)
    if bits(acts) > 10:
        names: tuple[str, ...] = ("bfloat16",) if bits(weights) > 10 else ("w4a16_mxfp4",)
    elif bits(acts) > 5:
        names = ("w4a8_mxfp4_mxfp8", "fp8_block", "fp8") if bits(weights) < 5 else ("fp8_block", "fp8")
    else:
        names = ("nvfp4",)
    found = next((e for name in names for e in measured if e.name == name), None)
    if found is None or opd.converter == REGENERATE:
        return ExpertChoice(None, None, _ideal(f"{pair}: no kernel of their kind was measured; they are ideal"))
    note = f"{pair} were not measured: time of {found.name}'s kernels, {about(FAR)}"
    return ExpertChoice(found, found.rates, Provenance("transferred", FAR, note))
