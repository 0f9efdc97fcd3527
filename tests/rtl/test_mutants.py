"""Every mutant of the table is seen by the test it names, the very one that the true unit passes."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from tests.rtl import test_units
from tests.verification.mutants import MUTANTS, Mutant
from tests.verification.mutation import Line, fresh

KINDS = {"timing", "rounding", "special", "back-pressure", "data"}
QUICK = {"lfsr_two_stages", "decoder_small", "dot3_e4m3", "dot3_int8", "gearbox_32_36"}


def outcome(mutant: Mutant) -> str | None:
    """What the named test says of the mutant; None when it sees nothing."""
    unit = mutant.build()
    try:
        getattr(test_units, mutant.killed_by)(unit)
    except AssertionError as error:
        return str(error)
    return None


def is_quick(mutant: Mutant) -> bool:
    return mutant.unit in QUICK and mutant.killed_by != "test_at_length"


@pytest.mark.parametrize(
    "mutant", [pytest.param(m, id=m.id, marks=[] if is_quick(m) else pytest.mark.slow) for m in MUTANTS]
)
def test_mutant_is_killed(mutant):
    said = outcome(mutant)
    assert said and said.startswith("cycle "), f"{mutant.id} ({mutant.change}) survives {mutant.killed_by}: {said}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_change_applies_exactly_once(mutant):
    mutant.build()


def test_table_holds_every_kind_for_every_unit():
    of_unit: dict[str, list[Mutant]] = {}
    for mutant in MUTANTS:
        component = test_units.BY_NAME[mutant.unit].component.__name__
        of_unit.setdefault(component, []).append(mutant)
    assert len(of_unit) == 8
    for mutants in of_unit.values():
        assert len({m.name for m in mutants}) >= 5
        assert {m.kind for m in mutants} >= {"timing", "rounding", "special", "back-pressure"}
        assert {m.kind for m in mutants} <= KINDS


def test_a_change_that_does_not_apply_is_refused():
    with pytest.raises(LookupError, match="0 times, not once"):
        fresh(Line("pipe", "no such line", ""))
