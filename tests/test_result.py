"""The weakest mark of some results: what they are compared with."""

import pytest

from hwsim.result import weakest


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
