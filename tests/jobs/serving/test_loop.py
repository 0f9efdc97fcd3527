"""The loop: equal to an independent one, sums equal to passes one by one, nothing lost, the same bytes again."""

from random import Random

import pytest

from hwsim.jobs.serving.engines import ENGINES
from hwsim.jobs.serving.figures import gaps
from hwsim.jobs.serving.fleet import Fleet, Transfer
from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.requests import TICKS, Request, ticks
from hwsim.jobs.serving.router import ROUTERS, LeastKv, RoundRobin
from hwsim.jobs.serving.scheduler import Limits
from hwsim.jobs.serving.vllm import Vllm
from tests.jobs.serving.oracle import served
from tests.jobs.serving.steps import Formula


def requests(random: Random, count: int, size: int, most: int) -> list[Request]:
    """Lengths up to `most` tokens; a third of the prompts begin with blocks that others have too."""
    found, now = [], 0.0
    for i in range(count):
        prompt, answer = random.randint(1, most // 2), random.randint(1, most // 2)
        shared = random.randint(0, prompt // size) if random.random() < 0.4 else 0
        family = random.randint(0, 2)
        keys = tuple((family, j) for j in range(shared))
        found.append(Request(i, ticks(now), prompt, answer, keys))
        now += random.expovariate(300) if random.random() < 0.8 else 0.0
    return found


def outcome(case: list[Request], pool, limits: Limits, steps, scheduler=Vllm, **more):
    return Fleet(lambda: scheduler(limits, pool()), steps, RoundRobin, **more).run(case)


def ends(found) -> list[tuple]:
    return [(s.request.number, s.first, s.last, s.preemptions, s.hits) for s in found.sequences]


@pytest.mark.parametrize("seed", range(40))
def test_small_pools_run_as_an_independent_loop_says(seed):
    random, size = Random(seed), 4
    blocks = random.randint(14, 40)
    case = requests(random, 30, size, 4 * 12)
    limits = Limits(budget=random.randint(8, 64), seats=random.randint(2, 9))
    steps = Formula()
    found = outcome(case, lambda: Pool(blocks, size), limits, steps)

    def seconds(decodes, contexts, chunks):
        if chunks:
            return steps.mixed(decodes, contexts, chunks)
        line = steps.decode(decodes, contexts)
        return line.base + line.slope * contexts

    stated = [(r.number, r.arrival, r.input_tokens, r.output_tokens, r.prefix) for r in case]
    expected = served(stated, blocks, size, limits.budget, limits.seats, seconds)
    assert {s.request.number: (s.first, s.last, s.preemptions) for s in found.sequences} == expected


def test_the_cases_of_the_independent_loop_preempt_and_hit():
    """What makes the test above worth its name."""
    preempted = hits = 0
    for seed in range(40):
        random = Random(seed)
        blocks = random.randint(14, 40)
        case = requests(random, 30, 4, 48)
        limits = Limits(budget=random.randint(8, 64), seats=random.randint(2, 9))
        found = outcome(case, lambda b=blocks: Pool(b, 4), limits, Formula()).sequences
        preempted += sum(s.preemptions for s in found)
        hits += sum(s.hits for s in found)
    assert preempted > 200 and hits > 1000


#: Engines in front of which a router looks at what they hold, prefill and decode apart, and a fixed number of users.
WAYS = {"one engine": {}, "three": {"replicas": 3}, "apart": {"replicas": 2, "prefills": 1}, "users": {}}


def both_ways(scheduler: str, way: str, seed: int):
    """(summed, one by one) of a random case that is short of blocks."""
    random, engine = Random(seed), ENGINES[scheduler]
    size, blocks, fixed = random.choice([4, 16]), random.randint(60, 160), random.choice([0, 0, 2])
    case = requests(random, 120, size, blocks * size // 2)
    budget = random.choice([64, 512, 4096])
    limits = Limits(budget if engine.chunked else 4096, random.randint(2, 64), chunked=engine.chunked)
    users, more = random.randint(1, 30) if way == "users" else None, dict(WAYS[way])
    if way == "apart":
        more["transfer"] = Transfer(10**9, 7)

    def run(stretch):
        def one():
            return engine.scheduler(limits, Pool(blocks, size, fixed, caching=engine.caching))

        router = LeastKv if way == "three" else RoundRobin
        return Fleet(one, Formula(), router, stretch=stretch, **more).run(case, users)

    return run(True), run(False)


#: Static batches have no decode engine of their own.
PAIRS = [(scheduler, way) for scheduler in ENGINES for way in WAYS if (scheduler, way) != ("static", "apart")]


@pytest.mark.parametrize("scheduler, way", PAIRS)
def test_summed_passes_equal_passes_one_by_one_to_the_tick(scheduler, way):
    preempted = hits = 0
    for seed in range(8):
        fast, slow = both_ways(scheduler, way, seed)
        assert ends(fast) == ends(slow), seed
        assert [s.events for s in fast.sequences] == [s.events for s in slow.sequences], seed
        assert gaps(fast.replicas) == gaps(slow.replicas), seed
        counts = [[sum(p.count for p in one.log.passes) for one in found.replicas] for found in (fast, slow)]
        assert counts[0] == counts[1], seed
        preempted += sum(s.preemptions for s in fast.sequences)
        hits += sum(s.hits for s in fast.sequences)
    assert bool(preempted) == (scheduler in ("vllm", "trtllm-max-util", "sglang"))
    assert bool(hits) == (scheduler != "static")


@pytest.mark.parametrize("scheduler", ENGINES)
def test_every_token_is_made_and_every_block_comes_back(scheduler):
    case = requests(Random(3), 200, 16, 800)
    limits = Limits(budget=512, seats=32, chunked=ENGINES[scheduler].chunked)
    caching = ENGINES[scheduler].caching
    found = outcome(case, lambda: Pool(150, 16, caching=caching), limits, Formula(), ENGINES[scheduler].scheduler)
    pool, passes = found.replicas[0].scheduler.pool, found.replicas[0].log.passes
    assert pool.used == 0 and not pool.leaks()
    assert [(s.made, s.output) for s in found.sequences] == [(r.output_tokens, r.output_tokens) for r in case]
    computed = sum(p.decodes * p.count + sum(c for c, _ in p.chunks) for p in passes)
    lacking = sum(s.prompt + s.output - 1 - s.hits + s.recomputed for s in found.sequences)
    cached = sum(s.hits for s in found.sequences)
    assert lacking <= computed <= lacking + cached  # hits after a preemption count once in each
    for p in passes:
        assert 0 <= p.used <= 150 and p.running <= 32
        assert p.decodes + sum(c for c, _ in p.chunks) <= 512 or len(p.chunks) == 1  # a recomputed whole prompt


def test_passes_follow_one_another_while_there_is_work():
    case = requests(Random(5), 200, 16, 800)
    found = outcome(case, lambda: Pool(150), Limits(512, 32), Formula())
    at = 0
    for p in found.replicas[0].log.passes:
        if p.start != at:  # idle: everything that came before has ended
            assert all(s.last <= at or s.request.arrival >= p.start for s in found.sequences)
        at = p.start + p.ticks
    busy = sum(p.ticks for p in found.replicas[0].log.passes)
    assert max(s.last for s in found.sequences) >= busy


def test_one_request_alone_takes_its_prefill_and_its_decode_steps():
    steps = Formula()
    found = outcome([Request(0, 77, 100, 50)], lambda: Pool(100), Limits(64, 4), steps).sequences[0]
    prefill = steps.mixed(0, 0, [(64, 0)]) + steps.mixed(0, 0, [(36, 64)])
    lines = [(steps.decode(1, c), c) for c in range(100, 149)]
    assert found.first == 77 + prefill
    assert found.last == found.first + sum(line.base + line.slope * c for line, c in lines)


def test_replicas_share_the_trace():
    case = requests(Random(9), 100, 16, 400)
    both = outcome(case, lambda: Pool(90), Limits(128, 8), Formula(), replicas=2).sequences
    for half in (0, 1):
        mine = outcome(case[half::2], lambda: Pool(90), Limits(128, 8), Formula()).sequences
        assert ends(type("X", (), {"sequences": mine})) == ends(type("X", (), {"sequences": both[half::2]}))


@pytest.mark.parametrize("router", ROUTERS)
def test_routers_serve_everything_and_are_repeatable(router):
    case = requests(Random(9), 100, 16, 400)

    def once():
        fleet = Fleet(lambda: Vllm(Limits(128, 8), Pool(90)), Formula(), ROUTERS[router], 3)
        return ends(fleet.run(case))

    first = once()
    assert len(first) == 100 and first == once()


def test_transfers_cross_the_link_in_order_and_add_their_time():
    alike = [Request(i, 0, 160, 5) for i in range(4)]
    fleet = Fleet(
        lambda: Vllm(Limits(640, 8), Pool(100)), Formula(), RoundRobin, 2, prefills=1, transfer=Transfer(10**9, 7)
    )
    found = fleet.run(alike).sequences
    made = found[0].prefilled
    assert [s.prefilled for s in found] == [made] * 4  # one pass prefills all
    assert [s.moved - made for s in found] == [160 * 10**9 * (i + 1) + 7 for i in range(4)]
    assert all(s.first == made and s.last > s.moved for s in found)


def test_drafts_that_are_all_accepted_or_none():
    case = [Request(0, 0, 32, 31)]
    none, every = (
        outcome(case, lambda: Pool(100), Limits(64, 4, drafts=2), Formula(), acceptance=(x, x)).replicas[0].log.passes
        for x in (0.0, 1.0)
    )
    assert len(none) == 1 + 30 and len(every) == 1 + 10


@pytest.mark.parametrize("drafts", [0, 1, 3])
@pytest.mark.parametrize("scheduler", ENGINES)
def test_gaps_between_tokens_are_one_fewer_than_tokens_and_sum_to_their_time(scheduler, drafts):
    """With drafts and without; no block is lost, and every answer has its tokens."""
    random, engine = Random(17), ENGINES[scheduler]
    case = requests(random, 100, 16, 800)
    limits = Limits(512, 24, drafts, engine.chunked)
    chances = tuple(0.9 - 0.2 * i for i in range(drafts))

    def one():
        return engine.scheduler(limits, Pool(120, caching=engine.caching))

    found = Fleet(one, Formula(), RoundRobin, acceptance=chances, seed=5).run(case)
    assert [s.made for s in found.sequences] == [r.output_tokens for r in case]
    assert found.replicas[0].scheduler.pool.used == 0 and not found.replicas[0].scheduler.pool.leaks()
    log = found.replicas[0].log
    pairs = [*log.gaps, *((first + j * more, n) for first, more, count, n in log.stretches for j in range(count))]
    assert sum(count for _, count in pairs) == sum(s.output - 1 for s in found.sequences)
    assert sum(ticks * count for ticks, count in pairs) == sum(s.last - s.first for s in found.sequences)
    if drafts:
        assert any(ticks == 0 for ticks, _ in pairs)


def test_a_request_too_long_for_the_pool_is_refused_and_the_others_served():
    found = outcome([Request(0, 0, 100, 100), Request(1, 0, 10, 10)], lambda: Pool(8), Limits(64, 4), Formula())
    assert [s.request.number for s in found.sequences] == [1]
    assert found.refused[0][0].number == 0 and "128" in found.refused[0][1]


def test_users_send_the_next_request_when_one_ends():
    case = [Request(i, 0, 16, 8) for i in range(20)]
    found = Fleet(lambda: Vllm(Limits(640, 64), Pool(1000)), Formula(), RoundRobin).run(case, users=4)
    assert max(p.running for p in found.replicas[0].log.passes) == 4
    ends_at = sorted(s.last for s in found.sequences)
    assert all(s.request.arrival in (0, *ends_at) for s in found.sequences)
    assert TICKS == 10**15
