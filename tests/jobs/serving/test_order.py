"""What happens at one tick happens in a stated order: passes end, requests arrive in the trace's order, transfers end,
requests are routed, passes begin."""

from random import Random

import simpy

from hwsim.jobs.serving.clock import ARRIVAL, PASS_END, ROUTING, SCHEDULING, TRANSFER, later
from hwsim.jobs.serving.fleet import Fleet, Transfer
from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.requests import Request
from hwsim.jobs.serving.router import LeastOutstanding, RoundRobin
from hwsim.jobs.serving.scheduler import Limits
from hwsim.jobs.serving.vllm import Vllm
from tests.jobs.serving.steps import Formula


def test_events_of_one_tick_come_in_their_order_however_they_were_scheduled():
    order = [PASS_END, ARRIVAL, TRANSFER, ROUTING, SCHEDULING]
    for seed in range(20):
        env, seen, mixed = simpy.Environment(initial_time=0), [], 3 * order
        Random(seed).shuffle(mixed)
        for i, place in enumerate(mixed):
            later(env, 7, place, lambda seen=seen, event=(place, i): seen.append(event))
        env.run()
        assert [place for place, _ in seen] == sorted(mixed)
        assert seen == sorted(seen)  # of one kind: as they were scheduled


def served(requests, replicas=1, router=RoundRobin, steps=None, **more):
    steps = steps or Formula(base=0.0, token=1e-3, read=0.0)
    return Fleet(lambda: Vllm(Limits(64, 8), Pool(1000)), steps, router, replicas, **more).run(requests)


#: Ticks of a token.
MS = 10**12


def test_a_request_that_arrives_as_a_pass_ends_is_in_the_next_pass():
    found = served([Request(0, 0, 10, 3), Request(1, 10 * MS, 5, 1)]).sequences
    assert found[0].first == 10 * MS and found[1].scheduled == 10 * MS
    assert found[1].first == 16 * MS  # one token of the first, and five of the second


def test_the_router_knows_what_ended_and_what_arrived_at_the_same_tick():
    """Replica 0 ends its request as 2 and 3 arrive: 2 goes there, and 3, which sees 2 there, to the first of equals."""
    requests = [Request(0, 0, 10, 1), Request(1, 0, 30, 1), Request(2, 10 * MS, 1, 1), Request(3, 10 * MS, 1, 1)]
    found = served(requests, 2, LeastOutstanding)
    homes = [{s.request.number for s in one.log.finished} for one in found.replicas]
    assert homes == [{0, 2, 3}, {1}]
    assert [s.scheduled for s in found.sequences[2:]] == [10 * MS] * 2  # routed one after another, in one pass


def test_requests_of_one_tick_are_admitted_in_the_order_of_the_trace():
    requests = [Request(i, 5, 40, 1) for i in range(6)]
    found = served(requests).sequences
    assert [s.first for s in found] == sorted(s.first for s in found)
    assert found[0].first < found[2].first < found[5].first  # 64 tokens of a pass hold no two of them


def test_a_transfer_that_ends_with_a_pass_joins_the_next_one():
    """Prompts are prefilled at 20 ms; 0 is at the decode engine at 21 ms, 1 at 22 ms, as the pass of 0 ends."""
    requests = [Request(0, 0, 10, 4), Request(1, 0, 10, 4)]
    found = served(requests, prefills=1, transfer=Transfer(MS // 10)).sequences
    assert [s.prefilled for s in found] == [20 * MS] * 2
    assert [s.moved for s in found] == [21 * MS, 22 * MS]
    # tokens of 1 ms: 0 alone to 22 ms, then both together in passes of 2 ms
    assert found[0].last == 26 * MS and found[1].last == 27 * MS
