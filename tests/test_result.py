"""How the times of results are known: their shares, and the weakest mark, with which results are compared."""

from dataclasses import asdict

import pytest

from hwsim.jobs.run import run
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


@pytest.mark.parametrize("machine, chips", [("h100-sxm", 2), ("m0", 1)])
def test_plain_data_is_that_of_dataclasses_and_a_copy(machine, chips):
    result = run(machine, "llama3-8b", context=64, weights="fp8" if chips > 1 else "int8", chips=chips)
    data = result.to_dict()
    total, fits = data["memory"].pop("total"), data["memory"].pop("fits")
    assert data == {"schema": 2, **asdict(result)} and list(data)[1:] == list(asdict(result))
    assert (total, fits) == (result.memory.total, result.memory.fits)
    data["config"]["machine"]["name"] = "another"
    assert result.config["machine"]["name"] == machine
