"""Every mutant of the table is seen by the test it names, the very one that the true unit passes."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from rtl.catalog import UNITS
from tests.rtl import test_units
from tests.rtl.mutant import AT_LENGTH, Mutant
from tests.rtl.mutation import Line, fresh
from tests.rtl.units import MUTANTS

KINDS = {"timing", "rounding", "special", "back-pressure", "data"}


def outcome(mutant: Mutant) -> str | None:
    """What the named test says of the mutant; None when it sees nothing."""
    unit = mutant.build()
    try:
        getattr(test_units, mutant.killed_by)(unit)
    except AssertionError as error:
        return str(error)
    return None


def slow(mutant: Mutant):
    return pytest.mark.slow if mutant.killed_by == AT_LENGTH else ()


@pytest.mark.parametrize("mutant", [pytest.param(m, id=m.id, marks=slow(m)) for m in MUTANTS])
def test_mutant_is_killed(mutant):
    said = outcome(mutant)
    assert said and said.startswith("cycle "), f"{mutant.id} ({mutant.change}) survives {mutant.killed_by}: {said}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_change_applies_exactly_once(mutant):
    mutant.build()


def test_every_unit_has_mutants_of_every_kind():
    """Every unit of the catalogue that has cases; and the gearbox, a part."""
    of_unit: dict[str, list[Mutant]] = {}
    for mutant in MUTANTS:
        of_unit.setdefault(mutant.unit.kind.__name__, []).append(mutant)
    assert of_unit.keys() == {unit.component.__name__ for unit in UNITS if unit.cases} | {"RepackerUnit"}
    for mutants in of_unit.values():
        assert len({m.name for m in mutants}) >= 5
        assert {m.kind for m in mutants} >= {"timing", "rounding", "special", "back-pressure"}
        assert {m.kind for m in mutants} <= KINDS


def test_a_change_that_does_not_apply_is_refused():
    with pytest.raises(LookupError, match="0 times, not once"):
        fresh(Line("pipe", "no such line", ""))
