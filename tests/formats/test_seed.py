"""Exact search and the seed formats, against brute force and rational arithmetic that import nothing of hwsim."""

import math
import os
import platform
import subprocess
import sys
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from hwsim.errors import InputError
from hwsim.formats.format import Encoded
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec
from hwsim.formats.seed import SeedFormat, search

TAPS = {3: (0, 1), 8: (0, 2, 3, 4), 10: (0, 3), 12: (0, 1, 2, 8), 16: (0, 1, 3, 12)}
GENERIC = 27  # of awkward_blocks, the random ones
FORMATS = [SeedFormat(), SeedFormat(SEEDLM3)]


# --- oracle: every seed, as the definition reads ---------------------------------------------------------


@cache
def matrices(k, rows, p):
    """int64[seeds, rows, p]: V minus the centre, one register step at a time."""
    state, flat = np.arange(1, 2**k), []
    for _ in range(rows * p):
        fed = sum((state >> tap) & 1 for tap in TAPS[k]) % 2
        state = (state >> 1) | (fed << (k - 1))
        flat.append(state - 2 ** (k - 1))
    return np.stack(flat, axis=1).reshape(-1, rows, p)


@cache
def inverse_gram(k, rows, p):
    """float64[seeds, p, p] by Gauss-Jordan on the integer Gram matrix; pseudo-inverse of the exactly singular."""
    v = matrices(k, rows, p)
    gram = np.einsum("sip,siq->spq", v, v).astype(float)
    singular = np.linalg.cond(gram) > 1e15
    inverse = np.empty_like(gram)
    inverse[~singular] = np.linalg.inv(gram[~singular])
    half = np.linalg.pinv(v[singular].astype(float))
    inverse[singular] = half @ half.swapaxes(1, 2)
    return inverse


def brute_force(v, w, k):
    """(seed, e, q, error) with the least error, then the lowest seed."""
    scale = 2 ** (k - 1) - 1
    t = np.einsum("spq,sq->sp", inverse_gram(k, *v.shape[1:]), np.einsum("sip,i->sp", v, w)) * scale
    top = np.abs(t).max(axis=1)
    e = np.where(top > 0, np.frexp(top)[1] - 1 - 2, -8).clip(-8, 7)
    q = np.rint(t / 2.0 ** e[:, None]).clip(-8, 7).astype(np.int64)
    sums = np.einsum("sip,sp->si", v, q)
    error = np.zeros(len(v))
    for i in range(len(w)):
        error += (w[i] - 2.0**e * (sums[:, i] / scale)) ** 2
    best = int(np.argmin(error))
    return best + 1, int(e[best]), tuple(int(c) for c in q[best]), float(error[best])


def awkward_blocks(codec, rng, v):
    """Blocks where a search could slip: outliers, near-floor and tiny ones, single values, exact ties, zeros."""
    c, blocks = codec.C, []
    blocks += list(rng.standard_normal((12, c)) * 8)
    blocks += list(rng.standard_t(1.5, (6, c)) * 4)
    blocks += [rng.standard_normal(c) * 2.0**x for x in (5, 3, -4, -6, -7, -8, -9, -12, -30)]
    blocks += [np.eye(c)[i] * x for i, x in ((0, 30.0), (c - 1, -0.7))]
    blocks += [np.full(c, 5.0), np.arange(c) - 3.0, np.where(np.arange(c) % 2, 7.0, -7.0)]
    for e, q in ((1, [7, 0, -3, 5]), (-2, [0, 6, 2, -8]), (0, [4, -8, 0, 0]), (-8, [1, 0, 0, 0])):
        s = int(rng.integers(len(v)))  # exactly representable, with zero coefficients: other seeds tie
        blocks.append(v[s] @ np.array(q[: codec.P]) / (2 ** (codec.K - 1) - 1) * 2.0**e)
    return np.array(blocks)


@pytest.mark.parametrize("codec", [SEEDLM4, SEEDLM3], ids=["seedlm4", "seedlm3"])
def test_search_is_brute_force(codec):
    rng = np.random.default_rng(3)
    v = matrices(16, codec.C, codec.P)
    w = awkward_blocks(codec, rng, v)
    found = search(codec, w)
    for n, (block, word, error) in enumerate(zip(w, found.words, found.errors, strict=True)):
        seed, e, q, least = brute_force(v, block, 16)
        if n < GENERIC:
            assert (codec.unpack(int(word)), error) == ((seed, e, q), least)
        else:  # t/2^e of a constant block can be an exact half, where two float64 solvers may part
            assert codec.unpack(int(word)).seed == seed
            assert error == pytest.approx(least, rel=1e-14)


@pytest.mark.parametrize("codec, blocks", [(SEEDLM4, 6_100), pytest.param(SEEDLM3, 20_100, marks=pytest.mark.slow)])
def test_cells_of_directions_lose_no_seed(codec, blocks):
    """Many blocks in cells of like directions against few in other cells, and both against every seed."""
    rng = np.random.default_rng(4)
    w = rng.standard_normal((blocks, codec.C)) * np.exp2(rng.integers(-3, 3, (blocks, 1)))
    odd = awkward_blocks(codec, rng, matrices(16, codec.C, codec.P))
    w[100 : 100 + len(odd)] = odd
    fast = search(codec, w)
    assert fast.bounded < 0.9 * blocks * 65535
    picked = np.r_[0:900, blocks - 100 : blocks]
    plain = search(codec, w[picked])
    v = matrices(16, codec.C, codec.P)
    for n in range(0, 900, 30):
        assert codec.unpack(int(plain.words[n])).seed == brute_force(v, w[picked[n]], 16)[0]
    assert (fast.words[picked] == plain.words).all() and (fast.errors[picked] == plain.errors).all()


@pytest.mark.parametrize("c, p, k", [(4, 2, 3), (8, 3, 8), (12, 4, 10)])
def test_other_points_and_partial_blocks_are_brute_force_too(c, p, k):
    codec, rng = SeedCodec(c, p, k), np.random.default_rng(k)
    for rows in range(1, c + 1):
        v = matrices(k, rows, p)
        w = np.concatenate([rng.standard_normal((8, rows)) * 5, rng.standard_normal((4, rows)) * 2.0**-9])
        found = search(codec, w)
        for block, word, error in zip(w, found.words, found.errors, strict=True):
            seed, e, q, least = brute_force(v, block, k)
            if rows >= p:
                assert (codec.unpack(int(word)), error) == ((seed, e, q), least)
            else:  # fewer rows than coefficients: ties of error abound, and pinv differs in the last bits
                assert error == pytest.approx(least, rel=1e-9, abs=1e-12)


def test_golden_blocks():
    w = np.array([[0.5, -1.25, 0.75, 2, -0.125, 1.5, -0.75, 0.25]])
    found = search(SEEDLM4, w)
    assert SEEDLM4.unpack(int(found.words[0])) == (2380, -2, (6, 2, -3))
    assert found.words[0] == 0xD26E094C and found.errors[0] == pytest.approx(0.19033469525154523, rel=1e-14)
    small = SeedCodec(8, 3, K=10)
    found = search(small, w)
    assert small.unpack(int(found.words[0])) == (303, -2, (-6, -2, 4))
    assert found.errors[0] == pytest.approx(0.43041785465358956, rel=1e-14)


def test_threads_and_grouping_never_change_a_bit():
    w = np.random.default_rng(0).standard_normal((6_200, 8)) * 6
    one, three = search(SEEDLM4, w, threads=1), search(SEEDLM4, w, threads=3)
    assert (one.words == three.words).all() and (one.errors == three.errors).all()
    shuffled = np.random.default_rng(1).permutation(len(w))
    assert (search(SEEDLM4, w[shuffled]).words == one.words[shuffled]).all()


def test_refine_tries_neighbouring_exponents_and_never_loses():
    w = np.random.default_rng(5).standard_normal((40, 8)) * 6
    plain, refined = search(SEEDLM4, w), search(SEEDLM4, w, refine="exponent")
    assert (refined.errors <= plain.errors).all() and (refined.errors < plain.errors).any()
    for block, word, error in zip(w, refined.words, refined.errors, strict=True):
        _, e, _ = record = SEEDLM4.unpack(int(word))
        sums = SEEDLM4.decode_block(record.seed, record.q)
        total = 0.0
        for value, s in zip(block, sums, strict=True):
            total += (value - 2.0**e * (s / 32767)) ** 2
        assert error == total


# --- the format ------------------------------------------------------------------------------------------


def exact_float32(x: Fraction) -> np.float32:
    """Round a fraction to float32, nearest even, by integers alone."""
    if x == 0:
        return np.float32(0)
    e = math.floor(math.log2(abs(x)))
    while abs(x) >= Fraction(2) ** (e + 1):
        e += 1
    while abs(x) < Fraction(2) ** e:
        e -= 1
    step = Fraction(2) ** (max(e, -126) - 23)
    return np.float32(float(round(x / step) * step))


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize("scale", [1.0, 2.0**-140, 2.0**100])
def test_decode_is_the_exact_value_rounded_once(fmt, scale):
    x = (np.random.default_rng(2).standard_normal((3, 24)) * scale).astype(np.float32)
    encoded = fmt.encode(x)
    decoded = encoded.decode()
    assert decoded.dtype == np.float32 and decoded.shape == x.shape
    for row in range(3):
        want = []
        for word in encoded.codes[row]:
            seed, e, q = fmt.codec.unpack(int(word))
            power = Fraction(2) ** (e + encoded.tensor_scale)
            want += [exact_float32(power * s / 32767) for s in fmt.codec.decode_block(seed, q)]
        assert decoded[row].tobytes() == np.array(want[:24]).tobytes()
    sums, exponents = fmt.integers(encoded)
    assert sums.shape == (*encoded.codes.shape, fmt.codec.C) and (exponents.view(np.uint8) & 15 == encoded.scales).all()


@pytest.mark.parametrize("fmt, expected", [(FORMATS[0], 0.122), (FORMATS[1], 0.223)], ids=["seedlm4", "seedlm3"])
def test_relative_error_on_gaussian_weights_does_not_depend_on_sigma(fmt, expected):
    x = np.random.default_rng(6).standard_normal((120, 480))
    words = None
    for sigma in (1e-6, 2.0**-5, 1.0, 1e3):
        w = (x * sigma).astype(np.float32)
        encoded = fmt.encode(w)
        error = np.linalg.norm(w - encoded.decode()) / np.linalg.norm(w)
        assert error == pytest.approx(expected, abs=0.002)
        share = np.isin(encoded.scales, (7, 8)).mean()  # exponent codes of 7 and -8
        assert share < 0.01
        if sigma in (2.0**-5, 1.0):
            assert words is None or (words == encoded.codes).all()  # a power of two only moves the tensor scale
            words = encoded.codes


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize(
    "shape, axis", [((4, 24), -1), ((3, 29), 1), ((2, 5, 13), -1), ((26, 3), 0), ((7,), 0), ((0, 9), 1)]
)
def test_bytes_round_trip_for_any_shape(fmt, shape, axis):
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    encoded = fmt.encode(x, axis)
    data = encoded.to_bytes()
    rows, k = x.size // shape[axis] if x.size else 0, shape[axis]
    bits = fmt.codec.block_bits * -(-k // fmt.codec.C)
    assert len(data) == encoded.nbytes == rows * -(-bits // 8) + 1
    again = fmt.from_bytes(data, shape, axis)
    assert isinstance(again, Encoded) and again.to_bytes() == data
    assert (again.codes == encoded.codes).all() and (again.scales == encoded.scales).all()
    decoded = again.decode()
    assert decoded.shape == x.shape and (decoded == fmt.quantize(x, axis)).all()
    # the packed stream, read bit by bit: record after record, least significant bit first
    stream = int.from_bytes(data[: -(-bits // 8)], "little") if rows else 0
    for n, word in enumerate(encoded.codes.reshape(rows, -1)[0] if rows else []):
        assert stream >> (n * fmt.codec.block_bits) & (2**fmt.codec.block_bits - 1) == int(word)
    if rows:
        assert int.from_bytes(data[-1:], "little", signed=True) == encoded.tensor_scale


def test_partial_block_ignores_the_padding():
    """The last block of a row of 11 fits its 3 real weights, not 5 zeros besides them."""
    x = np.random.default_rng(8).standard_normal((6, 11)).astype(np.float32)
    encoded = SeedFormat().encode(x)
    w = np.ldexp(x[:, 8:].astype(float), -encoded.tensor_scale)
    v = matrices(16, 3, 3)
    for block, word in zip(w, encoded.codes[:, 1], strict=True):
        assert SEEDLM4.unpack(int(word)) == brute_force(v, block, 16)[:3]


def test_tensor_scale_puts_the_largest_block_norm_in_32_to_64():
    for x in (1e-30, 1e-3, 1.0, 1e20):
        encoded = SeedFormat().encode(np.full((1, 8), x, np.float32))
        norm = math.sqrt(8) * float(np.float32(x)) * 2.0**-encoded.tensor_scale
        assert 32 <= norm < 64


def test_zero_tensors_and_blocks():
    encoded = SeedFormat().encode(np.zeros((2, 20), np.float32))
    assert encoded.tensor_scale == 0
    assert {SEEDLM4.unpack(int(word)) for word in encoded.codes.reshape(-1)} == {(1, -8, (0, 0, 0))}
    assert not encoded.decode().any()
    x = np.zeros((1, 24), np.float32)
    x[0, 8:16] = 1
    encoded = SeedFormat().encode(x)
    assert [SEEDLM4.unpack(int(word)).q == (0, 0, 0) for word in encoded.codes[0]] == [True, False, True]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_no_seed_can_hold_is_refused(bad):
    x = np.ones((2, 16), np.float32)
    x[1, 3] = bad
    with pytest.raises(InputError, match="1 values are NaN"):
        SeedFormat().encode(x)


def test_bad_options_and_bytes_are_refused():
    with pytest.raises(InputError, match="refine.*did you mean exponent"):
        SeedFormat(refine="exponents")
    with pytest.raises(InputError, match="rounding"):
        SeedFormat(rounding="zero")
    with pytest.raises(InputError, match="K = 20"):
        SeedFormat(SeedCodec(8, 3, 20))
    fmt = SeedFormat()
    with pytest.raises(InputError, match="bytes"):
        fmt.from_bytes(b"123", (1, 8))
    with pytest.raises(InputError, match="seed 0"):
        fmt.from_bytes(bytes(5), (1, 8))


def test_sizes():
    assert [f.bits_per_value for f in FORMATS] == [4, 3]
    assert [f.layout.nbytes(4096, 4096) for f in FORMATS] == [4096 * 2048 + 1, 4096 * math.ceil(342 * 36 / 8) + 1]


@pytest.mark.slow
@pytest.mark.parametrize("features", ["+avx2,+fma", ""], ids=["avx2", "any"])
def test_the_search_on_processors_with_fewer_instructions(features, tmp_path):
    """Compiled without the widest vectors, and without a processor's own instructions: the records of brute force."""
    if features and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("AVX2 is x86's")
    code = (
        "import sys; import numpy as np; from hwsim.formats.seed import SeedCodec, search; "
        "w = np.load(sys.argv[1]); np.save(sys.argv[2], search(SeedCodec(8, 3, 10), w).words)"
    )
    w = np.random.default_rng(9).standard_normal((60, 8)) * 6
    given, got = tmp_path / "w.npy", tmp_path / "words.npy"
    np.save(given, w)
    only = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code, str(given), str(got)], check=True, env=os.environ | only)
    codec, v = SeedCodec(8, 3, 10), matrices(10, 8, 3)
    for block, word in zip(w, np.load(got), strict=True):
        assert codec.unpack(int(word)) == brute_force(v, block, 10)[:3]
