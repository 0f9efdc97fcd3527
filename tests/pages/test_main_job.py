"""The table of `make sim`: each column has a meaning beside it, and rows that are equal say why."""

import re

import pytest

from hwsim.pages import main_job

SMALL = (("decode", 1, 64), ("prefill", 1, 2048))
WEIGHTS = ("fp8", "nvfp4", "mxfp4", "seedlm4")


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_job, "STEPS", SMALL)
        patch.setattr(main_job, "SYSTEMS", tuple(pair for pair in main_job.SYSTEMS if pair[0] in WEIGHTS))
        return main_job.points()


def test_each_column_is_explained(found):
    header, rule, *_ = main_job.summary(found).splitlines()
    for name in (header[part.start() : part.end()].strip() for part in re.finditer("-+", rule)):
        assert name.split(",")[0] in main_job.LEGEND, name


def test_equal_rows_say_why_and_others_are_not_called_equal(found):
    """Formats of four bits are multiplied in BF16 on an H200; its dot array then decides a prefill, not the bytes."""
    said = main_job.remarks(found).splitlines()
    assert said[0] == "Experts in nvfp4, mxfp4, seedlm4 are multiplied as bf16 x bf16."
    seconds = {p.weights: p.result.seconds for p in found if p.result.phase == "prefill"}
    assert seconds["nvfp4"] == seconds["mxfp4"] == seconds["seedlm4"] != seconds["fp8"]
    assert said[1:] == [
        "The rows of prefill with nvfp4, mxfp4, seedlm4 are equal: one pair for all, and dot limits, not bytes."
    ]


def test_the_committed_page_has_the_legend():
    text = (main_job.Path(__file__).parents[2] / "reports/nano_h200.md").read_text()
    assert main_job.LEGEND in text and "are multiplied as bf16 x bf16." in text
