"""Calibrations of machines without measurements: another machine's, each rate scaled by the two data sheets.

`sets.yaml` lists the machines under `transfers`; these are predictions, no fits.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

from hwsim.arch import TileMachine
from hwsim.arch.kernel_library import CalibrationFile, rounded
from hwsim.files.fields import FilePart
from hwsim.quantities import Quantity


def _core_peak(activations: str, arch: TileMachine) -> Fraction:
    return arch.dot.rate(activations, activations) * arch.clock_hz / arch.cores.count


def scaled(file: CalibrationFile, arch: TileMachine, of: TileMachine) -> tuple[CalibrationFile, str]:
    """The calibration of `arch` from that of `of`, and the comment for its file.

    Rates of the memory go by its bandwidth, a core's multiply-adds by its peak, its feed and its steps by the clock,
    what stays in L2 by L2; launches stay, and so do shares.
    """

    def ratio(number: Callable[[TileMachine], Fraction]) -> Fraction:
        return number(arch) / number(of)

    def times(factor: Fraction, part: FilePart, *names: str, digits: int = 4) -> FilePart:
        changed: dict[str, Quantity] = {}
        for name in names if factor != 1 else ():
            old = getattr(part, name)
            changed[name] = rounded(float(old.value) * float(factor), old.dimension, digits)
        return part.model_copy(update=changed)

    memory = ratio(lambda a: a.dram.bytes_per_cycle * a.clock_hz)
    clock, cache = ratio(lambda a: a.clock_hz), ratio(lambda a: Fraction(a.buffers.activations))
    chip = times(1 / clock, times(memory, file.chip, "bandwidth", "store"), "step")
    warm = 1000 * round(file.chip.warm * float(cache) / 1000)
    families = {}
    for family in arch.cores.families:
        macs = ratio(partial(_core_peak, family.activations))
        families[family.name] = times(macs, times(clock, file.families[family.name], "feed"), "rate")
    copied = {
        name: times(memory, part, "copy_", digits=7)
        for name, part in file.kernels
        if isinstance(part, FilePart) and "copy_" in type(part).model_fields
    }
    found = file.model_copy(
        update={
            "machine": arch.name,
            "chip": chip.model_copy(update={"warm": warm}),
            "families": families,
            "kernels": file.kernels.model_copy(update=copied),
        }
    )
    comment = (
        f"{of.name}'s calibration, each rate by the two data sheets (memory {float(memory):.4f}): a prediction, no fit."
    )
    return found, comment
