"""Seed 0, which is none: refused by everything that answers, and what the RTL does where it meets it."""

import random

import pytest

pytest.importorskip("amaranth", reason="pip install 'hwsim[rtl]'")

from hwsim.errors import InputError
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.specs import LfsrBlock, SeedDecoder
from hwsim.timing import Rigid
from rtl.catalog import cases
from rtl.lfsr import LfsrBlockUnit
from rtl.pack import pack
from rtl.seed import SeedDecoderUnit, weights_layout
from tests.rtl.amaranth_bench import run_trial
from tests.rtl.trial import Trial

CODECS = [SEEDLM3, SeedCodec(C=5, P=2, K=24), SeedCodec(C=3, P=1, K=4, coefficient_bits=2)]


def record(codec: SeedCodec, seed: int, exponent: int, q: list[int]) -> int:
    """A record by hand, so that its seed may be 0."""
    word, at = seed | (exponent & ((1 << codec.exponent_bits) - 1)) << codec.K, codec.K + codec.exponent_bits
    for i, each in enumerate(q):
        word |= (each & ((1 << codec.coefficient_bits) - 1)) << at + i * codec.coefficient_bits
    return word


@pytest.mark.parametrize("spec", [LfsrBlock(SEEDLM4), SeedDecoder(SEEDLM4), SeedDecoder(SEEDLM3)])
def test_specs_and_stimulus_refuse_it(spec):
    with pytest.raises(InputError, match=r"seed 0|write 1 to 65535"):
        spec(0x8880000 << 16)
    assert all(payload & 0xFFFF for payload, _ in cases(spec, 4000))


@pytest.mark.parametrize("seed", [-1, 1 << 16])
def test_the_lfsr_block_refuses_what_is_no_seed(seed):
    with pytest.raises(InputError, match="write 1 to 65535"):
        LfsrBlock(SEEDLM4)(seed)


def test_the_lfsr_block_answers_it_with_zeros():
    """And the next seed as ever: nothing is left of it."""
    spec = LfsrBlock(SEEDLM4)
    (good, answer), *_ = cases(spec, 1)
    trial = Trial(Rigid(1), [(0, 0), (good, answer), (0, 0), (good, answer)])
    run_trial(LfsrBlockUnit(spec), trial)
    assert trial.accepted == 4


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: f"c{codec.C}p{codec.P}k{codec.K}")
def test_a_decoder_answers_it_modulo_the_width(codec):
    """S = -2^(K-1) sum q, in the bits that hold every S of a seed; the least q of all wraps where P is a power of 2."""
    draw, spec = random.Random(1), SeedDecoder(codec)
    low, high = codec.q_range
    q_lists = [[low] * codec.P, [high] * codec.P]
    q_lists += [[draw.randint(low, high) for _ in range(codec.P)] for _ in range(60)]
    layout, taken = weights_layout(spec), []
    for q in q_lists:
        word, integer = record(codec, 0, -1, q), -(1 << (codec.K - 1)) * sum(q)
        negate = spec.negate(word)
        field = pack(layout, {"exponent": -1, "negate": negate, "weights": [-integer if negate else integer] * codec.C})
        taken.append((word, field))
    assert any(abs(sum(q)) << (codec.K - 1) >= 1 << (codec.value_bits - 1) for q in q_lists)  # one of them wraps
    good = list(cases(spec, 8))
    trial = Trial(spec.cycle_model(), [*good, *taken, *good])
    run_trial(SeedDecoderUnit(spec), trial)
    assert trial.accepted == len(taken) + 16
