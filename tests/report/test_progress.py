"""Progress of long work by a clock of the test: an estimate is printed where it is near what is really left."""

import re

import pytest

from hwsim.report import progress


def lines_of(monkeypatch, capsys, paces, search=0.0):
    """Lines of work of 1,000 steps whose tenths take `paces` seconds each, after a search; the real time left."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress_bar("requests") as advance:
        now[0] += search
        one, real = progress.counted(advance, 1000), {}
        for tenth, pace in enumerate(paces):
            for _ in range(100):
                now[0] += pace / 100
                one(None)
            real[f"{100 * (tenth + 1):,}"] = sum(paces[tenth + 1 :])
    return capsys.readouterr().err.splitlines(), real


@pytest.mark.parametrize(
    "paces, search", [([20] * 10, 0), ([20] * 10, 500), ([300, 50, 40, 30, 20, 20, 20, 20, 20, 20], 0), ([2] * 10, 900)]
)
def test_an_estimate_is_within_half_of_what_is_left_or_is_not_printed(paces, search, monkeypatch, capsys):
    said, real = lines_of(monkeypatch, capsys, paces, search)
    found = [re.fullmatch(r"requests: (\S+) of 1,000(?:, about (\S+) s left)?", line) for line in said]
    assert found and all(found)
    estimates = {m[1]: float(m[2].replace(",", "")) for m in found if m[2]}
    assert all(real[done] / 1.5 <= left <= 1.5 * real[done] for done, left in estimates.items())
    assert len(set(paces)) > 1 or estimates  # even work has estimates
