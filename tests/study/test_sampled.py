"""A sampled study on functions whose values are known everywhere: what is simulated, said and written."""

import json
import math

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.study.design import Design
from hwsim.study.sampled import Asked, sampled
from hwsim.study.surface import CHECKS

pytest.importorskip("sklearn")

DESIGN = Design((tuple(float(2**i) for i in range(8)), tuple(float(i + 1) for i in range(9)), 6))
SHAPE = (8, 9, 6)


def tokens(node: int) -> float:
    """A roofline: the lesser of a compute and a memory rate, by batch, bandwidth and format."""
    batch, bandwidth, form = np.unravel_index(node, SHAPE)
    return float(min(900.0, 2.0**batch * (bandwidth + 1) * (3 + form)))


class World:
    """Counts what is simulated; nodes of `broken` have errors."""

    def __init__(self, broken=()):
        self.asked: list[int] = []
        self.broken = set(broken)

    def simulate(self, nodes):
        """Lines of the nodes."""
        self.asked += nodes
        return {
            n: {"error": {"kind": "x"} if n in self.broken else None, "tokens_per_second": tokens(n)} for n in nodes
        }


KEYS = [f"key{i}" for i in range(DESIGN.nodes)]


def run(asked, world, closed=lambda metric: None):
    """The summary, the header and the predictions by node."""
    summary, lines = sampled(DESIGN, KEYS, asked, world.simulate, closed)
    header, *rows = map(json.loads, lines)
    return summary, header, {int(row["key"][3:]): row["value"] for row in rows}


def test_few_points_are_simulated_and_the_statement_holds():
    world = World()
    summary, header, found = run(Asked(60), world)
    assert len(world.asked) == len(set(world.asked)) == 60 + CHECKS
    assert (summary.fitted, summary.checked, summary.predicted) == (60, CHECKS, DESIGN.nodes - 60 - CHECKS)
    assert set(found) == set(range(DESIGN.nodes)) - set(world.asked)
    errors = [abs(value / tokens(node) - 1) for node, value in found.items()]
    assert np.quantile(errors, 0.95) <= header["stated"]["tokens_per_second"]["relative_error"]
    assert np.mean(errors) < 0.1


def test_an_exact_closed_form_leaves_no_error():
    everywhere = np.array([tokens(n) for n in range(DESIGN.nodes)])
    summary, _, found = run(Asked(60), World(), lambda metric: 3 * everywhere)  # one factor off
    assert summary.stated["tokens_per_second"].relative_error < 1e-9
    assert all(value == pytest.approx(tokens(node), rel=1e-3) for node, value in found.items())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_checks():
    texts = [sampled(DESIGN, KEYS, Asked(60, seed=seed), World().simulate, lambda m: None)[1] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("pick", ["random-greedy", "uniform"])
def test_other_choices(pick):
    world = World()
    summary, header, _ = run(Asked(60, pick=pick), world)
    assert summary.fitted == 60 and header["pick"] == pick and len(set(world.asked)) == 60 + CHECKS


@pytest.mark.slow
def test_within_adds_points_until_the_check_holds_and_states_it_by_fresh_ones():
    world = World()
    summary, header, _ = run(Asked(20, within=0.25), world)
    assert summary.reached and summary.fitted > 20 and summary.checked == 2 * CHECKS
    assert len(set(world.asked)) == len(world.asked) == summary.fitted + summary.checked
    unreached, _, found = run(Asked(20, within=1e-9), World())
    assert not unreached.reached and unreached.predicted == len(found) == 0


def test_points_with_errors_are_left_out_and_counted():
    broken = range(0, DESIGN.nodes, 5)
    summary, header, found = run(Asked(60), World(broken))
    assert summary.checked == CHECKS and summary.failed == header["failed"] > 0
    assert summary.fitted + summary.checked + summary.failed + summary.predicted == DESIGN.nodes
    with pytest.raises(InputError, match="fewer than 59"):
        run(Asked(60), World(range(400)))


def test_a_metric_must_be_above_zero():
    class Zero(World):
        def simulate(self, nodes):
            return {n: {"error": None, "tokens_per_second": 0} for n in nodes}

    with pytest.raises(InputError, match="above 0"):
        run(Asked(60), Zero())


def test_what_is_asked_is_read():
    assert Asked.of("200", 1000).points == 200
    assert Asked.of("10%", 1000) == Asked(100)
    assert Asked.of("12.5 %", 1000, within="5%").within == pytest.approx(0.05)
    for bad in ("0", "ten", "-5", "1.5", "0%"):
        with pytest.raises(InputError, match="write 200 or 10%"):
            Asked.of(bad, 1000)
    with pytest.raises(InputError, match="run the full study"):
        Asked.of("900", 1000)
    with pytest.raises(InputError, match="--within"):
        Asked.of("10%", 1000, within="5")
    with pytest.raises(InputError, match="tokens_per_second"):
        Asked.of("10%", 1000, metrics=["speed"])
    with pytest.raises(InputError, match="--pick"):
        DESIGN.choose(5, "greedy-random")


def test_the_graph_of_a_grid_leaves_out_what_it_is_told():
    left_out, known = [1, 2, 3], [10, 20, 30]
    for pick in (None, "random-greedy", "uniform"):
        chosen = DESIGN.choose(40, pick, 0, left_out, known)
        assert len(set(chosen.tolist())) == 40 and not set(chosen.tolist()) & {*left_out, *known}
    assert math.prod(SHAPE) == DESIGN.nodes
    with pytest.raises(InputError, match="are left"):
        DESIGN.choose(DESIGN.nodes, left_out=left_out)
