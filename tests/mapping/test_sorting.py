"""Sorting on a sorter: its formulas against a network simulated comparison by comparison, and its time on a machine."""

import json

import numpy as np
import pytest

import hwsim
from hwsim.arch import load_arch_text
from hwsim.errors import InputError
from hwsim.mapping.sorting import bitonic_cycles, inserted_cycles, sort_cycles
from hwsim.workload import StepOptions, load_model_text
from hwsim.workload.op import Sorting
from tests.mapping.test_irregular import MACHINE


def bitonic(keys):
    """(the keys sorted by Batcher's bitonic network, comparisons by stage)."""
    keys, n, stages, k = list(keys), len(keys), [], 2
    while k <= n:
        j = k // 2
        while j:
            made = 0
            for i in range(n):
                if (other := i ^ j) > i:
                    made += 1
                    if (keys[i] > keys[other]) == (i & k == 0):
                        keys[i], keys[other] = keys[other], keys[i]
            stages.append(made)
            j //= 2
        k *= 2
    return keys, stages


@pytest.mark.parametrize("n", [1, 2, 3, 8, 20, 64, 100])
@pytest.mark.parametrize("p", [1, 4, 32, 1000])
def test_cycles_of_a_bitonic_network(n, p):
    padded = 1 << (n - 1).bit_length()
    keys = [*np.random.default_rng(n).permutation(n).tolist(), *[n] * (padded - n)]
    ordered, stages = bitonic(keys)
    assert ordered == sorted(keys)
    assert bitonic_cycles(n, p) == sum(-(-made // p) for made in stages)


def test_a_thousand_keys_by_hand():
    assert bitonic_cycles(1024, 512) == 55  # 10 x 11 / 2 stages of 512 comparisons
    assert bitonic_cycles(1000, 16) == 55 * 32
    assert inserted_cycles(1024, 20, 20) == inserted_cycles(1024, 20, 32) == 1024
    assert inserted_cycles(1024, 20, 8) == 3 * 1024
    assert sort_cycles(Sorting(7, 1024, 20, 0), 32) == 7 * 880  # 55 x 16: faster than a key per cycle
    assert sort_cycles(Sorting(7, 1024, 20, 0), 20) == 7 * 1024
    assert sort_cycles(Sorting(3, 1, 1, 0), 4) == 0


def machine(comparators=None, vector=1_000_000):
    text = MACHINE.format(beat=64, more="", where="on_chip", room="64 MiB")
    text = text.replace("rate: 1000000 element", f"rate: {vector} element")
    return load_arch_text(text + (f"sort: {{comparators: {comparators}, latency: 0 cycles}}\n" if comparators else ""))


def net(op):
    return load_model_text(
        json.dumps({"name": "net", "inputs": {"x": [1000, 8]}, "ops": [{"name": "y", "in": ["x"]} | op]})
    )


OPS = {
    "sort": ({"op": "sort", "keep": 30}, Sorting(1, 1000, 30, 10_000)),
    "topk": ({"op": "topk", "keep": 3}, Sorting(1000, 8, 3, 2000 * 8)),
    "knn": ({"op": "knn", "neighbours": 20}, Sorting(1000, 1000, 20, 5000 * 1000)),
    "assign": ({"op": "assign", "sites": 10, "mode": "sort"}, Sorting(1, 1000, 1000, 10_000)),
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("comparators", [1, 4, 64])
def test_a_sorter_takes_the_cycles_of_its_formula(name, comparators):
    op, sorting = OPS[name]
    (lowered,) = net(op).ops(StepOptions())
    assert lowered.sorting == sorting
    result = hwsim.run(machine(comparators), net(op), weights="int8")
    wanted = sort_cycles(sorting, comparators)
    assert wanted <= result.cycles <= wanted + max(10, wanted // 64)  # and the first tile of what comes before
    assert result.limited_by == "sort"
    assert result.cycles == hwsim.run(machine(comparators), net(op), weights="int8", engine="walk").cycles


@pytest.mark.parametrize("name", OPS)
def test_comparisons_leave_the_vector_unit(name):
    op, sorting = OPS[name]
    alone, helped = (hwsim.run(machine(p, vector=1), net(op), weights="int8") for p in (None, 60_000))
    spent = [round(r.utilization.get("vector", 0) * r.cycles) for r in (alone, helped)]
    assert spent[0] - spent[1] == pytest.approx(sorting.passes, abs=2)


def test_more_comparators_are_never_slower():
    for op, _ in OPS.values():
        cycles = [hwsim.run(machine(p), net(op), weights="int8").cycles for p in (1, 2, 4, 8, 16, 64, 256, 1024)]
        assert cycles == sorted(cycles, reverse=True)


def test_its_energy_is_not_known():
    result = hwsim.run(machine(64), net(OPS["topk"][0]), weights="int8")
    assert result.energy_joules is None
    assert [term.value for term in result.cost.energy if term.name == "sort"] == [None]


@pytest.mark.parametrize(
    "part, message",
    [
        ("sort: {comparators: 0, latency: 0 cycles}", "sort.comparators: `0`"),
        ("sort: {comparators: 4}", "sort.latency: missing"),
        ("sort: {comparators: 4, latency: 1 cycles, widht: 3}", "sort.widht: unknown"),
        ("cache: {size: 25 MiB}", "cache.rate: missing"),
        ("cache: {size: -1 MiB, rate: 1 B/cycle}", "cache.size"),
        ("cache: {size: 1 MiB, rate: 0 B/cycle}", "cache.rate"),
    ],
)
def test_refused_parts(part, message):
    with pytest.raises(InputError) as caught:
        load_arch_text(MACHINE.format(beat=64, more="", where="on_chip", room="64 MiB") + part + "\n", "f.yaml")
    (problem,) = caught.value.problems
    assert problem.startswith("f.yaml:") and message in problem


def test_its_part_of_a_file_is_read_and_written():
    arch = machine(64)
    assert arch.file()["sort"] == {"comparators": 64, "latency": "0 cycles"}
    assert "sort" not in machine().file()
