"""The page of `make regeneration` for points defined here, and one simulated point against the bytes it must read."""

import pytest

from hwsim.pages import regeneration
from hwsim.pages.regeneration import BANDWIDTHS, BATCHES, FORMATS, MODELS, UNITS, Point, gain, report

RATE = {"fp8": 100.0, "nvfp4": 190.0, "mxfp4": 200.0, "seedlm4": 210.0, "seedlm3": 250.0}


def made_up():
    """Seeds reach 1/4, 1/2, 1 and 1 of their full rate as decoders double; all rates scale with the memory."""
    share = dict(zip(UNITS, (0.25, 0.5, 1.0, 1.0), strict=True))
    return [
        Point(model, weights, batch, bandwidth, n, RATE[weights] * bandwidth * share.get(n, 1.0), "dram")
        for model in MODELS
        for weights in FORMATS
        for batch in BATCHES
        for bandwidth in BANDWIDTHS
        for n in (UNITS if weights.startswith("seed") else (0,))
    ]


def test_gain_is_over_the_faster_of_the_four_bit_floats():
    assert gain(made_up(), "Nano", "seedlm4", 1, 4.8, UNITS[2]) == pytest.approx(0.05)
    assert gain(made_up(), "Ultra", "seedlm3", 256, 9.6, UNITS[0]) == pytest.approx(0.25 * 1.25 - 1)


def test_page_has_the_gains_and_every_point():
    text = report(made_up())
    assert "seedlm4 gains\n+5 to +5 %" in text and "seedlm3 gains +25 to +25 %" in text
    assert "(-74 to -74 %; -69 to -69 %)" in text
    rows = [line for line in text.splitlines() if line.startswith(("| Nano", "| Super", "| Ultra"))]
    assert len(rows) == len(MODELS) * len(BANDWIDTHS) * (3 + 2 * len(UNITS))
    assert "Refresh takes 10.5 % of that rate" in text  # 410 ns of 3.9 us
    assert "| Super | seedlm3 | 2.4 | 34 | 150 (dram) | 150 (dram) | 150 (dram) |" in rows


def test_figure_has_one_panel_per_model(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'hwsim[report]'")
    regeneration.figure(made_up(), tmp_path / "f.svg")
    text = (tmp_path / "f.svg").read_text()
    assert text.count('id="axes_') == len(MODELS)


def test_number_of_decoders_that_decode_at_the_memorys_rate(monkeypatch):
    """Fewer than bandwidth / (4 B x 1.83 GHz) decoders limit the rate; more do not."""
    monkeypatch.setattr(regeneration, "BANDWIDTHS", (4.8,))
    monkeypatch.setattr(regeneration, "BATCHES", (1,))
    monkeypatch.setattr(regeneration, "FORMATS", ("seedlm4",))
    monkeypatch.setattr(regeneration, "MODELS", {"Nano": MODELS["Nano"]})
    rates = {p.units: p.tokens_per_second for p in regeneration.points(lambda name: None)}
    enough = 1e12 / 4 / 1.83e9
    assert UNITS[1] < enough < UNITS[2]
    assert rates[UNITS[0]] < rates[UNITS[1]] < rates[UNITS[2]]
    assert rates[UNITS[3]] == pytest.approx(rates[UNITS[2]], rel=0.01)
