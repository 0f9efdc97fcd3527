"""Real runs of vLLM: the loop on measured kernels, the whole on simulated steps, and the room of the KV cache."""

import pytest

from hwsim.measured.traffic import LOGS, rows, traffic


@pytest.fixture(scope="module")
def found():
    return list(rows())


def test_the_loop_alone_meets_both_logs(found):
    alone = [row for row in found if row.what.startswith("loop")]
    assert len(alone) == len(LOGS)
    for row in alone:
        assert max(abs(x) for x in (row.errors[0], *row.errors[4:7])) <= 7


def test_the_whole_meets_the_4090_in_every_figure_and_the_pro_6000_in_rates(found):
    card, other = ([row for row in found if row.what == "whole" and row.log is log] for log in LOGS)
    assert max(map(abs, card[0].errors)) <= 5
    assert max(abs(x) for x in (other[0].errors[0], *other[0].errors[4:7])) <= 10


def test_the_computed_room_meets_the_logged_one(found):
    room = traffic(LOGS[0], False).room.tokens
    assert abs(room / LOGS[0].kv_tokens - 1) <= 0.03
    (row,) = [row for row in found if "computed" in row.what]
    assert max(map(abs, row.errors)) <= 10


def test_no_limit_is_said_to_hold_where_a_figure_misses_it(found):
    for row in found:
        most, waits = row.limits
        rates = [row.errors[0], *row.errors[4:7]]
        times = [*row.errors[1:4], *row.errors[7:]] if waits else []
        assert (row.missed == 0) == (all(abs(x) <= most for x in rates) and all(abs(x) <= waits for x in times))
