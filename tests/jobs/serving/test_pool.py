"""The pool: over random admissions, growth, preemptions and ends, no block is lost, made or held twice."""

from random import Random

import pytest

from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.requests import Request, Sequence


def play(events: int, seed: int, blocks: int = 300, size: int = 4) -> None:
    random, pool = Random(seed), Pool(blocks, size)
    held: list[Sequence] = []
    paused: list[Sequence] = []
    number = hits = preempted = 0
    for event in range(events):
        what = random.random()
        if what < 0.35:
            if paused and random.random() < 0.5:
                seq = paused.pop(random.randrange(len(paused)))
            else:
                prompt, family = random.randint(1, 60), random.randint(0, 5)
                keys = tuple((family, i) for i in range(random.randint(0, prompt // size)))
                number += 1
                seq = Sequence(Request(number, 0, prompt, 1 << 30, keys))
            found = pool.hits(seq)
            tokens = random.randint(min(len(found) * size + 1, seq.total), seq.total)
            if pool.admit(seq, found, tokens):
                hits += len(found)
                seq.computed = len(found) * size
                pool.learn(seq, tokens)
                seq.computed = tokens
                held.append(seq)
            elif seq.preemptions:
                paused.append(seq)
        elif what < 0.75 and held:
            seq = random.choice(held)
            if seq.computed < seq.total:
                if pool.grow(seq, seq.total):
                    pool.learn(seq, seq.total)
                    seq.computed = seq.total
            elif pool.grow(seq, seq.computed + 1):
                seq.made += 1
                seq.computed += 1
        elif held:
            seq = held.pop(random.randrange(len(held)))
            again = random.random() < 0.5
            pool.release(seq, again)
            if again:
                preempted += 1
                seq.preemptions += 1
                seq.computed = 0
                paused = [*paused[-20:], seq]
        # a shared block counts once
        if event % 997 == 0:
            shared = {id(b) for seq in held for b in seq.held}
            assert pool.used == len(shared) + sum(seq.own for seq in held)
            assert 0 <= pool.free <= blocks and not pool.leaks()
            for seq in held:
                assert seq.blocks >= pool.need(seq.computed) and seq.own >= 0
    assert hits > events / 50 and preempted > events / 20
    for seq in held:
        pool.release(seq)
    assert pool.free == blocks and not pool.leaks()


def test_no_block_is_lost():
    play(50_000, 1)


@pytest.mark.slow
def test_no_block_is_lost_over_a_million_events():
    play(1_000_000, 2)


def test_a_preempted_sequence_finds_its_head_again_unless_it_was_taken():
    pool = Pool(10, 4)
    seq = Sequence(Request(1, 0, 17, 9))
    assert pool.admit(seq, [], 17)
    seq.computed = 17
    pool.release(seq, again=True)
    seq.preemptions, seq.computed = 1, 0
    assert len(pool.hits(seq)) == 4  # 17 tokens: four full blocks; the fifth has no hash
    other = Sequence(Request(2, 0, 28, 1))
    # at the head of the free list are the five never used, then the partial block, then the *last* full one
    assert pool.admit(other, [], 28)
    assert len(pool.hits(seq)) == 3


def test_the_last_token_is_always_computed():
    pool = Pool(10, 4)
    first = Sequence(Request(1, 0, 8, 1, ("a", "b")))
    assert pool.admit(first, [], 8)
    pool.learn(first, 8)
    assert len(pool.hits(Sequence(Request(2, 0, 8, 1, ("a", "b"))))) == 1
    assert len(pool.hits(Sequence(Request(3, 0, 9, 1, ("a", "b"))))) == 2
