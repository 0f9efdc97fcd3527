"""The base of all pipelined units: a selection of stages, whose number is the latency."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from hwsim.errors import InputError, nearest
from hwsim.timing import Rigid, Timing


@dataclass(frozen=True)
class Staged(ABC):
    """A spec whose unit is one rigid pipeline.

    stages: the registers it has, a selection of `cuts` in their order; None: the selection of `default_stages`.
    """

    stages: tuple[str, ...] = field(default=None, kw_only=True)  # type: ignore[arg-type]  # __post_init__ fills None

    def __post_init__(self) -> None:
        name, cuts = type(self).__name__, self.cuts
        stages = self.default_stages if self.stages is None else tuple(self.stages)
        for stage in stages:
            if stage not in cuts:
                raise InputError(f"{name}: no stage {stage!r}{nearest(stage, cuts)}")
        if not stages or list(stages) != [cut for cut in cuts if cut in stages]:
            raise InputError(f"{name}: stages {stages} must be one or more of {cuts}, in this order, none twice")
        object.__setattr__(self, "stages", stages)

    @property
    @abstractmethod
    def cuts(self) -> tuple[str, ...]:
        """Places of the data path where a register can be, in order."""

    @property
    def default_stages(self) -> tuple[str, ...]:
        """The registers of a unit for which none are named: all."""
        return self.cuts

    @property
    def timing(self) -> Timing:
        """One input per cycle; the latency is the number of stages."""
        return Timing(latency=len(self.stages))

    def cycle_model(self) -> Rigid:
        """The handshake, cycle by cycle."""
        return Rigid(self.timing.latency)
