"""Collectives: the closed forms against chips that pass pieces to one another, step by step."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.arch import arch_config, load_arch, load_arch_text
from hwsim.arch.link import COLLECTIVES, TOPOLOGIES, Link
from hwsim.errors import InputError

chips = st.integers(2, 9)


def ring_steps(n, have, wanted):
    """Each step, chip c passes one piece on to c + 1; until all have what they want. have[c]: set of pieces."""
    steps = 0
    carried = list(range(n))
    while any(not wanted[c] <= have[c] for c in range(n)):
        moving = [(c, carried[c]) for c in range(n)]
        for c, piece in moving:
            have[(c + 1) % n] |= {piece}
        carried = [carried[(c - 1) % n] for c in range(n)]
        steps += 1
    return steps


@given(chips)
def test_ring_gather_takes_a_step_for_every_other_chip(n):
    everyone = set(range(n))
    steps = ring_steps(n, [{c} for c in range(n)], [everyone] * n)
    link = Link(Fraction(1), Fraction(1000), "ring")
    assert link.cycles("all_gather", n, n) == 1000 * steps + steps  # a piece is one byte


@given(chips)
def test_ring_reduce_is_a_sum_that_travels_and_a_gather(n):
    """Values really summed: chip c starts with the vector [c * n + i]; pieces of one byte."""
    vectors = [[c * n + i for i in range(n)] for c in range(n)]
    want, through_port, steps = [sum(v[i] for v in vectors) for i in range(n)], 0, 0
    for s in range(n - 1):
        sent = [(c, (c - s) % n, vectors[c][(c - s) % n]) for c in range(n)]
        for c, piece, value in sent:
            vectors[(c + 1) % n][piece] += value
        steps, through_port = steps + 1, through_port + 1
    assert all(vectors[c][(c + 1) % n] == want[(c + 1) % n] for c in range(n))
    link = Link(Fraction(1), Fraction(1000), "ring")
    assert link.cycles("reduce_scatter", n, n) == 1000 * steps + through_port
    for s in range(n - 1):
        sent = [(c, (c + 1 - s) % n, vectors[c][(c + 1 - s) % n]) for c in range(n)]
        for c, piece, value in sent:
            vectors[(c + 1) % n][piece] = value
        steps, through_port = steps + 1, through_port + 1
    assert vectors == [want] * n
    assert link.cycles("all_reduce", n, n) == 1000 * steps + through_port


@given(chips)
def test_ring_exchange_loads_each_link_with_what_passes_over_it(n):
    """The piece from c to c + d crosses the links c .. c + d - 1."""
    crossing = [0] * n
    for c in range(n):
        for d in range(1, n):
            for hop in range(d):
                crossing[(c + hop) % n] += 1
    assert set(crossing) == {n * (n - 1) // 2}
    assert Link(Fraction(1), Fraction(0), "ring").cycles("all_to_all", n, n) == n * (n - 1) // 2


@given(chips, st.integers(1, 10**6), st.integers(0, 5000))
def test_switch_takes_the_faster_way(n, nbytes, latency):
    link = Link(Fraction(7, 3), Fraction(latency), "switch")
    others = Fraction(n - 1, n) * nbytes / link.bytes_per_cycle  # each of the others gets its piece, all at once
    for collective in ("all_gather", "reduce_scatter", "all_to_all"):
        assert link.cycles(collective, nbytes, n) == latency + others
    whole = (n - 1) * nbytes / link.bytes_per_cycle
    assert link.cycles("all_reduce", nbytes, n) == min(2 * latency + 2 * others, latency + whole)


@given(st.sampled_from(COLLECTIVES), st.sampled_from(TOPOLOGIES), chips, st.integers(0, 10**6), st.integers(0, 999))
def test_volume_is_what_no_latency_and_no_way_beats(collective, topology, n, nbytes, latency):
    link = Link(Fraction(5, 2), Fraction(latency), topology)
    assert link.cycles(collective, nbytes, n) >= link.volume(collective, nbytes, n) / link.bytes_per_cycle
    no_wait = Link(link.bytes_per_cycle, Fraction(0), topology)
    assert no_wait.cycles(collective, nbytes, n) == link.volume(collective, nbytes, n) / link.bytes_per_cycle


@pytest.mark.parametrize("name, gbps", [("a100-sxm", 300), ("h100-sxm", 450), ("h200-sxm", 450), ("b200", 900)])
def test_ports_are_half_of_what_the_data_sheet_adds_up(name, gbps):
    arch = load_arch(name)
    assert arch.link.bytes_per_cycle * arch.clock_hz == gbps * 10**9
    assert (arch.link.topology, arch.link.latency_cycles) == ("switch", arch.clock_hz / 10**6)


def test_a_link_reads_back_and_refuses_unknown_shapes():
    from hwsim.arch import arch_config

    arch = load_arch("m0", [("link", "{bandwidth: 10 GB/s, latency: 700 ns, topology: ring}")])
    assert arch.link == Link(Fraction(10), Fraction(700), "ring")
    import json

    assert load_arch_text(json.dumps(arch_config(arch))) == arch
    with pytest.raises(InputError, match="link.topology: `mesh` is not known; write ring or switch"):
        load_arch("m0", [("link", "{bandwidth: 10 GB/s, latency: 700 ns, topology: mesh}")])


NODE, RACK = "{bandwidth: 100 GB/s, latency: 1 us, topology: switch, chips: 8}", "bandwidth: 10 GB/s, latency: 5 us"
LEVELS = f"[{NODE}, {{{RACK}, topology: switch, chips: 64}}]"


def levels():
    return load_arch("m0", [("link", LEVELS)]).link


def test_levels_read_back():
    arch = load_arch("m0", [("link", LEVELS)])
    assert load_arch_text(json.dumps(arch_config(arch))).link == arch.link
    assert arch.link.span == 64 and [level.chips for level in arch.link.levels] == [8, 64]


def test_one_mapping_is_one_level_of_all_chips():
    one = load_arch("h100-sxm").link
    assert (one.span, one.levels, one.inside(1000)) == (0, (one,), 1000)


def test_a_collective_inside_a_node_is_that_of_the_node():
    one = Link(Fraction(100), Fraction(1000), "switch")
    for kind in COLLECTIVES:
        assert levels().cycles(kind, 8000, 8) == one.cycles(kind, 8000, 8)


def test_a_gather_over_nodes():
    """By hand, 1 B of 10**6 per chip: in the node 7/8 of it at 100 B per cycle, then 7/8 of an eighth at 10."""
    nbytes = 64 * 10**6
    inside = 1000 + Fraction(7, 8) * nbytes / 100
    outside = 5000 + Fraction(7, 8) * nbytes / 8 / 10
    assert levels().cycles("all_gather", nbytes, 64) == inside + outside
    assert levels().cycles("reduce_scatter", nbytes, 64) == inside + outside


def test_an_exchange_over_nodes():
    """Of what a chip sends to 64 chips, 56 parts leave the node and 7 stay in it."""
    nbytes = 64 * 10**6
    inside, outside = 1000 + Fraction(7 * nbytes, 64) / 100, 5000 + Fraction(56 * nbytes, 64) / 10
    assert levels().cycles("all_to_all", nbytes, 64) == inside + outside


def test_chips_that_lie_apart_meet_on_the_outer_level():
    """Every eighth chip is in another node; every fourth, two in each."""
    outer = Link(Fraction(10), Fraction(5000), "switch")
    assert levels().cycles("all_gather", 8000, 8, 8) == outer.cycles("all_gather", 8000, 8)
    assert levels().inside(8, 4) == 2
    assert levels().sent(1000, 1) == 1000 + 10
    assert levels().sent(1000, 8) == levels().sent(1000, 16) == 5000 + 100


def test_levels_that_contradict_are_refused():
    wrong = f"[{NODE}, {{{RACK}, topology: switch, chips: 12}}]"
    with pytest.raises(InputError, match=r"link\.1\.chips: is not a multiple above 1 of the 8 chips"):
        load_arch("m0", [("link", wrong)])
    with pytest.raises(InputError, match="link"):
        load_arch("m0", [("link", "[]")])
    with pytest.raises(InputError, match="link.0.chips: missing"):
        load_arch("m0", [("link", "[{bandwidth: 10 GB/s, latency: 700 ns, topology: ring}]")])
