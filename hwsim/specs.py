"""What each hardware unit is: its parameters, its value on integer codes and its timing.

A spec has four views. Value: call it (exact integers; the constants are those of `formats`). Time: `timing`, and
`cycle_model()` for each cycle. Gates: the component of the same name plus `Unit` in `rtl`. Cost: synthesis of those.

`stages` names the pipeline registers a unit has, in the order of its data path; the choices are its `CUTS`. The
latency is their number: the RTL places exactly these, so another depth is another spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwsim.errors import InputError, nearest
from hwsim.formats.lfsr import SeedCodec
from hwsim.timing import Rigid, Timing


def _check_stages(name: str, stages: tuple[str, ...], cuts: tuple[str, ...]) -> None:
    """Every stage is one of the cuts, in their order, at least one."""
    for stage in stages:
        if stage not in cuts:
            raise InputError(f"{name}: no stage {stage!r}{nearest(stage, cuts)}")
    if not stages or list(stages) != [cut for cut in cuts if cut in stages]:
        raise InputError(f"{name}: stages {stages} must be one or more of {cuts}, in this order, none twice")


@dataclass(frozen=True)
class LfsrBlock:
    """All C x P LFSR states of a seed block at once.

    codec:  C, P and the register.
    stages: registers, of `CUTS`: "seed" before the XOR trees, "states" after them.
    source: SeedLM (arXiv 2410.10714), Algorithm 1 and Figure 4.
    """

    CUTS: ClassVar[tuple[str, ...]] = ("seed", "states")

    codec: SeedCodec
    stages: tuple[str, ...] = ("states",)

    def __post_init__(self) -> None:
        _check_stages("LfsrBlock", self.stages, self.CUTS)

    @property
    def states(self) -> int:
        """States delivered a cycle."""
        return self.codec.C * self.codec.P

    @property
    def timing(self) -> Timing:
        """One seed a cycle."""
        return Timing(latency=len(self.stages))

    def cycle_model(self) -> Rigid:
        """The handshake, cycle by cycle."""
        return Rigid(self.timing.latency)

    def __call__(self, seed: int) -> list[int]:
        """The states in the order of emission: V row by row. Seed 0 (no valid seed) gives zeros."""
        return self.codec.lfsr.states(seed, self.states)
