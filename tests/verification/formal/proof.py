"""A proof, with a broken copy of its unit for which it must fail.

The proofs of a unit are in the file of `tests/rtl/units` that has its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.rtl.mutation import Line, fresh
from tests.rtl.tested import Tested
from tests.verification.formal.handshake import handshake_model
from tests.verification.formal.sby import Verdict, check


@dataclass(frozen=True)
class Enumeration:
    """A property shown by trying every case in simulation; `run` takes the modules of `rtl` to the verdict."""

    name: str
    claim: str
    run: Callable
    broken: Line

    def prove(self, folder: Path) -> Verdict:
        """The verdict on the unit."""
        return self.run(fresh())

    def refute(self, folder: Path) -> Verdict:
        """The verdict on the broken copy: FAIL is wanted."""
        return self.run(fresh(self.broken))

    @property
    def engine(self) -> str:
        """For the table."""
        return "every case, in simulation"


@dataclass(frozen=True)
class Proof:
    """One property of one unit.

    model:  from the modules of `rtl` to the model whose assertions are the property.
    mode:   "prove" or "bmc", see `sby.check`.
    depth:  of k-induction, or for a model that is over after so many cycles ("bmc") all of them.
    broken: the change that makes the broken copy; `broken_depth` cycles of it are searched, more than it takes.
    """

    name: str
    claim: str
    model: Callable
    mode: str
    depth: int
    broken: Line
    broken_depth: int

    def prove(self, folder: Path) -> Verdict:
        """The verdict on the unit."""
        return check(self.model(fresh()), self.name, folder, self.mode, self.depth)

    def refute(self, folder: Path) -> Verdict:
        """The verdict on the broken copy: FAIL is wanted."""
        return check(self.model(fresh(self.broken)), f"{self.name}_broken", folder, "bmc", self.broken_depth)

    @property
    def engine(self) -> str:
        """For the table."""
        if self.mode == "prove":
            return f"induction, k = {self.depth}"
        return f"all {self.depth} cycles" if self.depth > 1 else "no registers"


def handshake(unit: Tested, broken: Line) -> Proof:
    """The handshake of one unit at a published point, its whole pipeline."""
    component, latency = unit.kind.__name__, unit.spec.timing.latency
    stages = "1 stage" if latency == 1 else f"{latency} stages"
    claim = f"{component}, {stages}: offers held, payload stable, none lost, doubled or overtaken"
    model = partial(handshake_model, component=component, spec=unit.spec)
    return Proof(f"handshake_{unit.name}", claim, model, "prove", 1, broken, latency + 4)
