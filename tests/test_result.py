"""How the times of results are known: their shares, and the weakest mark, with which results are compared."""

import pytest

from hwsim.result import known_text, weakest


@pytest.mark.parametrize(
    ("provenances", "said"),
    [
        ([{"rtl": 1.0}], "rtl"),
        ([{"measured": 1.0, "transferred": 0.0, "ideal": 0.0}], "measured"),
        ([{"measured": 0.4, "transferred": 0.6, "ideal": 0.0}], "60 % transferred"),
        ([{"measured": 0.96, "transferred": 0.0, "ideal": 0.04}], "4 % ideal"),
        ([{"measured": 1.0}, {"transferred": 1.0}], "transferred"),
        ([{"transferred": 0.9, "ideal": 0.1}, {"measured": 0.75, "ideal": 0.25}], "25 % ideal"),
        ([{}], "-"),
        ([], "-"),
    ],
)
def test_the_weakest_mark_with_the_largest_share_that_has_it(provenances, said):
    assert weakest(*provenances) == said


@pytest.mark.parametrize(
    ("provenances", "said"),
    [
        ([{"rtl": 1.0}], "rtl"),
        ([{"measured": 1.0, "transferred": 0.0, "ideal": 0.0}], "measured"),
        ([{"measured": 0.96, "ideal": 0.04}], "96 % measured, 4 % ideal"),
        ([{"ideal": 0.125, "transferred": 0.875}], "87.5 % transferred, 12.5 % ideal"),
        ([{"measured": 1.0}, {"measured": 0.75, "ideal": 0.25}], "75 to 100 % measured, 0 to 25 % ideal"),
        ([{"measured": 0.5, "ideal": 0.5}] * 2, "50 % measured, 50 % ideal"),
        ([{"measured": 0.9999, "ideal": 0.0001}], "measured"),
        ([{}], "-"),
        ([], "-"),
    ],
)
def test_every_share_is_named_and_a_range_where_results_differ(provenances, said):
    assert known_text(*provenances) == said
