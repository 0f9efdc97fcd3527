"""The register and the integer side of the seed codec, against the paper's example and GF(2) algebra."""

import random

import pytest

from hwsim.errors import InputError
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, TAPS, Lfsr, SeedCodec


def naive_stream(width, taps, seed, n):
    """The bit stream from its recurrence alone, as a list of bits."""
    bits = [seed >> i & 1 for i in range(width)]
    for i in range(n):
        bits.append(sum(bits[i + tap] for tap in taps) % 2)
    return bits


def prime_factors(n):
    p, found = 2, set()
    while p * p <= n:
        while n % p == 0:
            found.add(p)
            n //= p
        p += 1
    return found | ({n} if n > 1 else set())


def power_of_x(n, modulus, width):
    """x^n modulo a polynomial over GF(2): an oracle that shares nothing with matrices of the register."""
    result, base = 1, 2
    while n:
        if n & 1:
            result = multiply(result, base, modulus, width)
        base = multiply(base, base, modulus, width)
        n >>= 1
    return result


def multiply(a, b, modulus, width):
    product = 0
    while b:
        if b & 1:
            product ^= a
        b >>= 1
        a <<= 1
        if a >> width:
            a ^= modulus
    return product


def test_the_worked_example_of_the_paper():
    codec = SeedCodec(C=4, P=2, K=3)
    assert codec.lfsr.taps == (0, 1)
    assert codec.states(4) == [[2, 5], [6, 7], [3, 1], [4, 2]]


@pytest.mark.parametrize(
    "seed, states",
    [
        (1, "8000 4000 2000 1000 8800 4400 2200 1100"),
        (0xACE1, "d670 eb38 f59c 7ace bd67 deb3 ef59 77ac"),
    ],
)
def test_first_states_at_16_bits(seed, states):
    assert [f"{state:04x}" for state in Lfsr(16).states(seed, 8)] == states.split()


def test_masks_of_the_first_eight_new_bits():
    masks = Lfsr(16, (0, 1, 3, 12)).masks(8)
    assert masks == (0x100B, 0x2016, 0x402C, 0x8058, 0x10BB, 0x2176, 0x42EC, 0x85D8)


@pytest.mark.parametrize("width", TAPS)
def test_every_row_of_the_table_is_maximal(width):
    """The order of the register's matrix is 2^K - 1: A^N = I, and A^(N/p) != I for each prime p of N."""
    lfsr, n = Lfsr(width, TAPS[width]), 2**width - 1
    identity = tuple(1 << i for i in range(width))
    assert power_by_jumps(lfsr, n) == identity
    assert all(power_by_jumps(lfsr, n // p) != identity for p in prime_factors(n))
    modulus = 1 << width | lfsr.tap_mask
    assert power_of_x(n, modulus, width) == 1
    assert all(power_of_x(n // p, modulus, width) != 1 for p in prime_factors(n))


def power_by_jumps(lfsr, n):
    """Row masks of A^n from the plain step map, squared here."""
    columns = [lfsr.step(1 << j) for j in range(lfsr.width)]

    def apply(columns, state):
        out = 0
        for j, column in enumerate(columns):
            if state >> j & 1:
                out ^= column
        return out

    result = [1 << j for j in range(lfsr.width)]
    while n:
        if n & 1:
            result = [apply(columns, column) for column in result]
        columns = [apply(columns, column) for column in columns]
        n >>= 1
    return tuple(sum((result[j] >> i & 1) << j for j in range(lfsr.width)) for i in range(lfsr.width))


@pytest.mark.parametrize("width", [k for k in TAPS if k <= 14])
def test_walking_the_cycle_meets_every_state_once(width):
    states = Lfsr(width).states(1, 2**width - 1)
    assert sorted(states) == list(range(1, 2**width))


@pytest.mark.parametrize("width", [3, 8, 16, 24, 32])
def test_states_masks_matrix_and_jump_agree_with_the_recurrence(width):
    lfsr, rng = Lfsr(width), random.Random(width)
    masks = lfsr.masks(100)
    for _ in range(5):
        seed = rng.randrange(1, 2**width)
        bits = naive_stream(width, TAPS[width], seed, 100)
        windows = [sum(bits[i + j] << j for j in range(width)) for i in range(101)]
        assert lfsr.states(seed, 100) == windows[1:]
        assert [(mask & seed).bit_count() & 1 for mask in masks] == bits[width:]
        for n in (0, 1, 7, 100):
            assert lfsr.jump(seed, n) == windows[n]
            assert lfsr.matrix(n) == power_by_jumps(lfsr, n)
        assert lfsr.jump(seed, lfsr.period + 5) == windows[5]
        far = rng.randrange(10**15)
        assert lfsr.jump(lfsr.jump(seed, far), 17) == lfsr.jump(seed, far + 17)


def test_other_taps_are_taken_and_bad_ones_refused():
    odd = Lfsr(4, (0, 2))  # not maximal: cycles of length 6, 3
    assert odd.jump(1, 6) == 1 == odd.states(1, 6)[-1]
    for width, taps in [(4, (1, 2)), (4, (0, 4)), (4, (0, 0)), (4, ()), (25, None), (1, (1,))]:
        with pytest.raises(InputError):
            Lfsr(width, taps)


def test_the_published_points():
    assert (SEEDLM4.C, SEEDLM4.P, SEEDLM4.K, SEEDLM4.block_bits, SEEDLM4.bits_per_value) == (8, 3, 16, 32, 4)
    assert (SEEDLM3.C, SEEDLM3.P, SEEDLM3.K, SEEDLM3.block_bits, SEEDLM3.bits_per_value) == (12, 4, 16, 36, 3)
    assert SEEDLM4.value_bits == SEEDLM3.value_bits == 21


def test_golden_record_and_its_integers():
    assert SEEDLM4.pack(0xACE1, -3, (3, -5, 7)) == 0x7B3DACE1
    assert SEEDLM4.unpack(0x7B3DACE1) == (0xACE1, -3, (3, -5, 7))
    golden = [0.5336924344615009, 0.3323313089388714, -0.09908978545487838, 0.31573686941129797,
              -0.4761726737266152, 0.2685972167119358, -0.48208563493758966, -0.5134014404736472]  # fmt: skip
    values = SEEDLM4.decode_block(0xACE1, (3, -5, 7))
    assert [s * 2.0**-3 / 32767 for s in values] == pytest.approx(golden, rel=1e-15)


@pytest.mark.parametrize("codec", [SEEDLM4, SEEDLM3, SeedCodec(4, 2, K=3), SeedCodec(5, 3, 9, 5, 6)])
def test_pack_and_unpack_invert_each_other_and_refuse_other_fields(codec):
    rng = random.Random(0)
    for _ in range(200):
        record = (
            rng.randrange(1, 2**codec.K),
            rng.randint(*codec.exponent_range),
            tuple(rng.randint(*codec.q_range) for _ in range(codec.P)),
        )
        word = codec.pack(*record)
        assert 0 <= word < 2**codec.block_bits
        assert codec.unpack(word) == record
        assert all(abs(s) < 2 ** (codec.value_bits - 1) for s in codec.decode_block(record[0], record[2]))
    assert codec.unpack(codec.pack(*codec.zero)) == codec.zero == (1, codec.exponent_range[0], (0,) * codec.P)
    q = (0,) * codec.P
    high = codec.exponent_range[1] + 1
    for bad in [(0, 0, q), (2**codec.K, 0, q), (1, high, q), (1, 0, q[1:]), (1, 0, (99,) * codec.P)]:
        with pytest.raises(InputError):
            codec.pack(*bad)


def test_points_that_cannot_be_stored_are_refused():
    for fields in [(2, 3), (8, 0), (8, 3, 25), (16, 12), (8, 3, 16, 1)]:
        with pytest.raises(InputError):
            SeedCodec(*fields)
