"""The cycle models against the definition of Timing, and against each other."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.timing import Chain, Gearbox, Paced, Reduce, Rigid, Timing

wires = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=120)


@pytest.mark.parametrize("latency", [1, 2, 7])
def test_offered_at_exactly_t_plus_latency(latency):
    model, timing = Rigid(latency), Timing(latency)
    trace = [model.step(cycle < 5, True) for cycle in range(latency + 6)]
    offered = [cycle for cycle, seen in enumerate(trace) if seen.out_valid]
    assert offered == list(range(latency, latency + 5))
    assert offered[-1] == timing.cycles(5)


@given(wires)
def test_latency_0_is_a_wire(signals):
    model = Rigid(0)
    for valid, ready in signals:
        assert model.step(valid, ready) == (ready, valid)


@given(st.integers(1, 6), wires)
def test_rigid_is_the_shift_register_of_its_definition(latency, signals):
    """An item is at stage n after n edges with advance; advance is out_ready or not out_valid."""
    model, ages = Rigid(latency), []
    for valid, ready in signals:
        offered = any(age == latency for age in ages)
        advance = ready or not offered
        assert model.step(valid, ready) == (advance, offered)
        if advance:
            ages = [age + 1 for age in ages if age < latency] + ([1] if valid else [])


@given(st.integers(1, 5), st.integers(1, 6), wires)
def test_paced_lets_the_stages_move_interval_times_between_inputs(latency, interval, signals):
    """Each input remembers how often the stages have moved since; the next one waits for `interval` of them."""
    model, moves, items, last = Paced(latency, interval), 0, [], -interval
    for valid, ready in signals:
        offered = any(moves - entered == latency for entered in items)
        advance = ready or not offered
        open_ = moves - last >= interval
        assert model.step(valid, ready) == (advance and open_, offered)
        if advance:
            items = [entered for entered in items if moves - entered < latency]
            if valid and open_:
                items.append(moves)
                last = moves
            moves += 1


def test_paced_by_hand():
    """Latency 2, interval 3, no stall: taken in cycles 0, 3, 6, offered two later."""
    model = Paced(2, 3)
    seen = [model.step(True, True) for _ in range(9)]
    assert [cycle for cycle, each in enumerate(seen) if each.in_ready] == [0, 3, 6]
    assert [cycle for cycle, each in enumerate(seen) if each.out_valid] == [2, 5, 8]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), wires)
def test_reduce_offers_the_last_of_each_sequence(latency, n, interleave, signals):
    model, count, ages = Reduce(n, latency, interleave), 0, []
    for valid, ready in signals:
        offered = any(age == latency and shown for age, shown in ages)
        advance = ready or not offered
        assert model.step(valid, ready) == (advance, offered)
        if advance:
            ages = [(age + 1, shown) for age, shown in ages if age < latency]
            if valid:
                position = count % (n * interleave)
                ages.append((1, position >= (n - 1) * interleave))
                count += 1


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 12), wires)
def test_gearbox_is_a_queue_of_bits(bits_in, bits_out, spare, signals):
    depth = max(bits_in, bits_out) + spare
    model, queue, word = Gearbox(bits_in, bits_out, depth), collections.deque(), 0
    for valid, ready in signals:
        seen = model.step(valid, ready)
        assert seen == (depth - len(queue) >= bits_in, len(queue) >= bits_out)
        if ready and seen.out_valid:
            taken = [queue.popleft() for _ in range(bits_out)]
            assert taken == sorted(taken)
        if valid and seen.in_ready:
            queue.extend(range(word, word + bits_in))
            word += bits_in


@given(st.integers(1, 40), st.integers(1, 40))
def test_full_rate_depth_loses_nothing_but_the_rate(bits_in, bits_out):
    """If its neighbours are always ready, the side of the larger word moves at the full rate after filling."""
    model = Gearbox(bits_in, bits_out, Gearbox.full_rate_depth(bits_in, bits_out))
    cycles = 4000
    trace = [model.step(True, True) for _ in range(cycles)]
    moved = sum(seen.in_ready for seen in trace) if bits_in >= bits_out else sum(seen.out_valid for seen in trace)
    best = cycles * min(bits_in, bits_out) / max(bits_in, bits_out)
    assert moved >= best - 4


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), wires)
def test_chain_is_its_units_wired_together(latencies, signals):
    chain = Chain([Rigid(latency) for latency in latencies])
    units = [Rigid(latency) for latency in latencies]
    for valid, ready in signals:
        readies = [ready]
        for unit in reversed(units):
            readies.insert(0, readies[0] or not unit.out_valid)
        valids = [valid] + [unit.out_valid for unit in units]
        assert chain.step(valid, ready) == (readies[0], valids[-1])
        for unit, driven, taken in zip(units, valids, readies[1:], strict=False):
            unit.step(driven, taken)


def test_two_entry_buffer_cuts_ready_and_keeps_the_rate():
    buffer = Gearbox(8, 8, 16)
    trace = [buffer.step(True, True) for _ in range(10)]
    assert [seen.out_valid for seen in trace] == [False] + [True] * 9
    assert all(seen.in_ready for seen in trace)
    stalled = [buffer.step(True, False).in_ready for _ in range(3)]
    assert stalled == [True, False, False]


@given(wires)
def test_reset_is_a_new_unit(signals):
    for build in (
        lambda: Rigid(3),
        lambda: Reduce(3, 2, 2),
        lambda: Gearbox(3, 5, 12),
        lambda: Chain([Rigid(2)]),
    ):
        used, new = build(), build()
        for valid, ready in signals:
            used.step(valid, ready)
        used.reset()
        for valid, ready in signals:
            assert used.step(valid, ready) == new.step(valid, ready)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Timing(-1),
        lambda: Timing(1, 0),
        lambda: Rigid(-1),
        lambda: Reduce(0, 1),
        lambda: Gearbox(8, 8, 7),
        lambda: Chain([]),
        lambda: Chain([Rigid(0)]),
    ],
)
def test_impossible_units_raise(build):
    with pytest.raises(ValueError):
        build()
