"""Every seed, every pair of element codes and random blocks in plain Verilog: no mismatch in data, none in cycles."""

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

import exhaustive


@pytest.mark.slow
@pytest.mark.parametrize(("simulator", "group"), exhaustive.RUNS)
def test_every_seed_every_pair_and_random_blocks(simulator, group, tmp_path, monkeypatch, counted):
    if why := exhaustive.missing(simulator):
        pytest.skip(why)
    found = exhaustive.run(simulator, group, tmp_path, monkeypatch)
    sums = exhaustive.total(found.values())
    counted += [f"{simulator}: {name}: {count}" for name, count in found.items()]
    counted.append(f"{simulator}: {group}: {len(found)} units, {sums}")
    assert sums.inputs and (sums.data, sums.cycles_wrong) == (0, 0)
