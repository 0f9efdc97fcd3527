"""A mutant: a unit with one line changed, and the test that must see it.

A mutant is its unit's RTL alone: values and timing of the test are the true spec's. `kind` is timing, rounding (of
units that round nothing: the nearest, a sign, an offset or a width), special (a special value), back-pressure, data.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace

from tests.rtl.mutation import Line, fresh
from tests.rtl.tested import Tested

AT_ONCE, AT_LENGTH, RESET = "test_value_and_time", "test_at_length", "test_reset_in_mid_stream_is_a_new_unit"


@dataclass(frozen=True)
class Without:
    """RTL built from the spec without one of its stages."""

    stage: str

    def __call__(self, spec):
        """The spec without the stage, wherever it is in it."""
        if self.stage in getattr(spec, "stages", ()):
            return replace(spec, stages=tuple(stage for stage in spec.stages if stage != self.stage))
        for field in fields(spec):
            inner = getattr(spec, field.name)
            if is_dataclass(inner) and (changed := self(inner)) is not inner:
                return replace(spec, **{field.name: changed})
        return spec

    def __str__(self) -> str:
        return f"spec: stages without {self.stage!r}"


@dataclass(frozen=True)
class Mutant:
    """One mutant: the unit under test, what is changed, and which test of test_units sees it."""

    unit: Tested
    name: str
    kind: str
    change: Line | Without
    killed_by: str = AT_ONCE

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.unit.name}-{self.name.replace(' ', '_')}"

    def build(self) -> Tested:
        """The unit under test with the mutant's RTL.

        raises: LookupError when the change no longer applies to exactly one place.
        """
        component, change = self.unit.kind, self.change
        if isinstance(change, Line):
            changed = getattr(fresh(change), component.__module__.removeprefix("rtl."))
            return replace(self.unit, component=getattr(changed, component.__name__))
        if change(self.unit.spec) == self.unit.spec:
            raise LookupError(f"{self.unit.name} has no stage {change.stage!r}; mend the mutant")
        return replace(self.unit, component=lambda spec: component(change(spec)))
