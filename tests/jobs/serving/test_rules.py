"""Rules of the engines, each by a case of few requests whose passes are written out."""

import pytest

from hwsim.jobs.serving.pool import Pool
from hwsim.jobs.serving.requests import Request, Sequence
from hwsim.jobs.serving.scheduler import Limits
from hwsim.jobs.serving.sglang import Sglang
from hwsim.jobs.serving.static import Static
from hwsim.jobs.serving.trtllm import MaxUtilization, TensorRtLlm
from hwsim.jobs.serving.vllm import Vllm


def passes(scheduler, sizes, most=100):
    """What each pass computes, {request: tokens}, until all requests (prompt, answer, keys) have ended."""
    found = []
    scheduler.waiting.extend(Sequence(Request(i, 0, p, a, *keys)) for i, (p, a, *keys) in enumerate(sizes))
    for _ in range(most):
        one = scheduler.compose()
        if not one.items:
            break
        found.append({seq.request.number: tokens for seq, tokens in one.items})
        for seq, tokens in one.items:
            seq.computed += tokens
            if seq.computed == seq.total:
                seq.made += 1
                if seq.made == seq.output:
                    scheduler.release(seq)
    assert not scheduler.running and not scheduler.waiting
    return found


def test_vllm_mixes_chunks_with_decode_steps_within_the_budget():
    assert passes(Vllm(Limits(8, 4), Pool(100, 4)), [(5, 3), (10, 2)]) == [
        {0: 5, 1: 3},  # the second prompt gets what is left
        {0: 1, 1: 7},
        {0: 1, 1: 1},
    ]


def test_vllm_preempts_the_last_and_admits_nobody_in_that_pass():
    # 4 blocks of 4 tokens: both prompts take two; the first to need a third takes the other's
    found = passes(Vllm(Limits(64, 4), Pool(4, 4)), [(8, 3), (8, 3), (1, 1)])
    assert found[0] == {0: 8, 1: 8}
    assert found[1] == {0: 1}  # request 1 is preempted; 2 would fit, and waits behind it
    # 0 holds three blocks; 1 needs three (8 + 1 tokens made so far) and stops admission
    assert found[2] == {0: 1}
    # 1 recomputes its 9 tokens but for its first block, which nobody has taken; 2 is admitted behind it
    assert found[3] == {1: 9 - 4, 2: 1}


def test_vllm_admits_only_what_fits_as_a_whole():
    whole, chunk = (passes(Vllm(Limits(4, 4, whole=x), Pool(5, 4)), [(8, 5), (12, 1)]) for x in (True, False))
    assert 1 not in whole[2]  # 3 blocks are needed, and 0 holds 3 of 5
    assert 1 in chunk[2]  # the first chunk fits


def test_trtllm_keeps_blocks_for_whole_answers():
    # each needs 8 + 8 tokens = 4 blocks of 4 to its end; 6 blocks hold one at a time
    none = passes(TensorRtLlm(Limits(64, 4, chunked=False), Pool(6, 4)), [(8, 8), (8, 8)])
    assert [sorted(p) for p in none] == [[0]] * 8 + [[1]] * 8


def test_trtllm_max_utilization_starts_early_and_pauses_the_last():
    found = passes(MaxUtilization(Limits(64, 4, chunked=False), Pool(6, 4, caching=False)), [(8, 8), (8, 8)])
    assert sorted(found[0]) == [0, 1]
    together = [sorted(p) for p in found].index([0])
    # both hold two blocks, then three: 12 tokens each; the pass that needs a thirteenth pauses request 1
    assert together == 5
    assert {1: 8 + 5} in found  # recomputed, with the five tokens that it had made


def test_trtllm_computes_whole_contexts_after_generation():
    found = passes(TensorRtLlm(Limits(8, 4, chunked=False), Pool(100, 4)), [(5, 3), (6, 2)])
    assert found == [{0: 5}, {0: 1, 1: 6}, {0: 1, 1: 1}]


@pytest.mark.parametrize("scheduler", [TensorRtLlm, MaxUtilization])
def test_trtllm_passes_over_who_finds_more_in_the_next_pass(scheduler):
    """Requests 0 and 1 begin with the same two blocks: 1 waits a pass and finds them; 2, behind it, does not wait."""
    sizes = [(10, 3, ("a", "b")), (10, 3, ("a", "b")), (10, 1, ("c", "d"))]
    found = passes(scheduler(Limits(64, 4, chunked=False), Pool(100, 4)), sizes)
    assert found == [{0: 10, 2: 10}, {0: 1, 1: 2}, {0: 1, 1: 1}, {1: 1}]
    apart = passes(scheduler(Limits(64, 4, chunked=False), Pool(100, 4, caching=False)), sizes)
    assert apart[0] == {0: 10, 1: 10, 2: 10}  # nothing is found again, so nobody waits for it


def test_trtllm_passes_over_and_still_stops_at_who_does_not_fit():
    sizes = [(10, 3, ("a", "b")), (10, 3, ("a", "b")), (90, 20), (4, 1)]
    found = passes(TensorRtLlm(Limits(128, 4, chunked=False), Pool(30, 4)), sizes)
    assert found[:2] == [{0: 10}, {0: 1, 1: 2}]  # 2 takes 28 of 30 blocks, and 0 has 4: it stops 3


def test_trtllm_does_not_wait_for_a_prompt_that_is_cached_whole():
    """Its last token is computed again, which adds no block."""
    trtllm = TensorRtLlm(Limits(64, 4, chunked=False), Pool(100, 4))
    assert passes(trtllm, [(8, 1, ("a", "b"))]) == [{0: 8}]
    assert passes(trtllm, [(8, 1, ("a", "b")), (8, 1, ("a", "b"))]) == [{0: 4, 1: 4}]


def test_vllm_finds_blocks_of_the_pass_that_computes_them_and_sglang_after_it():
    sizes = [(10, 1, ("a", "b")), (10, 1, ("a", "b"))]
    assert passes(Vllm(Limits(64, 4), Pool(100, 4)), sizes) == [{0: 10, 1: 2}]
    sglang = Sglang(Limits(64, 4), Pool(100, 4))
    assert passes(sglang, sizes) == [{0: 10, 1: 10}]
    assert passes(sglang, sizes[:1]) == [{0: 2}]  # both are in the tree now


def test_sglang_computes_prompts_in_passes_of_their_own():
    found = passes(Sglang(Limits(8, 4), Pool(100, 4)), [(5, 3), (10, 2)])
    assert found == [{0: 5, 1: 3}, {1: 7}, {0: 1, 1: 1}, {0: 1}]


def test_sglang_retracts_the_one_that_made_the_fewest():
    scheduler = Sglang(Limits(64, 4), Pool(6, 4, caching=False))
    old, new = Sequence(Request(0, 0, 8, 40)), Sequence(Request(1, 0, 8, 40))
    for seq, made in ((old, 5), (new, 1)):
        assert scheduler.pool.admit(seq, [], 12)
        seq.made, seq.computed = made, 12
        seq.prompt = 13 - made
        scheduler.running.append(seq)
    found = scheduler.compose()
    assert [seq for seq, _ in found.items] == [old] and list(scheduler.waiting) == [new]
    assert new.computed == 0 and new.preemptions == 1


def test_static_batches_wait_for_the_last():
    found = passes(Static(Limits(64, 2, chunked=False), Pool(100, 4, caching=False)), [(4, 2), (4, 4), (4, 1)])
    assert found == [{0: 4, 1: 4}, {0: 1, 1: 1}, {1: 1}, {1: 1}, {2: 4}]
