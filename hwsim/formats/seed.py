"""Seed formats: weights stored as LFSR seeds, found by exact search.

*Exact search* of a block: for every seed the least-squares coefficients, quantised; the stored seed has the least
squared error, then the lowest number. The search skips a seed only where a bound proves it worse: for any
coefficients, the error is at least |w|^2 - |Q^T w|^2, Q an orthonormal basis of the seed's matrix. The bound is
used per seed, in float32 with a slack above its rounding, and per group of blocks of like directions, by the triangle
inequality of angles, so that most seeds are never examined.

source: SeedLM (arXiv 2410.10714), Algorithm 3; exponent rule and tensor scale: the design's section 3.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hwsim.errors import InputError, nearest
from hwsim.formats.arrays import float_rows
from hwsim.formats.explain import BlockStep, ElementStep, pieces, power, top
from hwsim.formats.format import Encoded, Format, moved_shape, padded, per_row, restore
from hwsim.formats.layout import Layout, seed_layout
from hwsim.formats.lfsr import CODECS, SEEDLM3, SEEDLM4, SeedCodec, SeedRecord
from hwsim.formats.operand import Operand, no_scales

__all__ = ["CODECS", "SEEDLM3", "SEEDLM4", "SeedCodec", "SeedFormat", "SeedRecord", "SeedSearch", "search"]

REFINES = (None, "exponent")
_WIDEST_SEARCH = 18  # bits of a seed; the tables of the search grow with 2^K
_CHUNK = 1 << 19  # blocks searched at once
_RANK = 1e-12  # a singular value below this share of the largest is a zero of an exactly dependent matrix
_SAMPLE = 64  # blocks whose errors tell how far the others look at first
_ALONE = 4096  # blocks, up to which one thread searches them all


@dataclass(frozen=True, eq=False)
class SeedSearch:
    """The result of a search.

    words: uint64[n], the records. errors: float64[n], squared errors of the blocks as given.
    evaluated: seeds whose quantised fit was computed, all blocks together. bounded: seeds whose bound was.
    """

    words: np.ndarray
    errors: np.ndarray
    evaluated: int
    bounded: int


@dataclass(frozen=True, eq=False)
class _Tables:
    """Per seed, at index seed - 1; in a partial block all that belongs to missing weights is 0.

    values: int[seeds, >= C * P], states minus the centre. inverse: float64[seeds, P * C], pseudo-inverse.
    gain: float64[seeds], largest row norm of it. basis: int16[seeds, >= P * even C], orthonormal, 0 beyond the rank.
    """

    values: np.ndarray
    inverse: np.ndarray
    gain: np.ndarray
    basis: np.ndarray


@lru_cache(maxsize=4)
def _values(codec: SeedCodec) -> np.ndarray:
    """int[seeds, >= C * P]: every seed's matrix, row by row, minus the centre; rows begin at lines of memory."""
    state = np.arange(1, codec.lfsr.period + 1, dtype=np.uint32)
    values = _aligned(len(state), -(-codec.C * codec.P // 32) * 32, np.int16 if codec.K <= 16 else np.int32)
    for at in range(codec.C * codec.P):
        fed = np.zeros_like(state)
        for tap in codec.lfsr.taps:
            fed ^= state >> np.uint32(tap)
        state = state >> np.uint32(1) | (fed & np.uint32(1)) << np.uint32(codec.K - 1)
        values[:, at] = state.astype(np.int64) - codec.centre
    return values


@lru_cache(maxsize=4)
def _tables(codec: SeedCodec, rows: int) -> _Tables:
    """Of blocks with `rows` real weights, the first ones."""
    from hwsim.formats import _seed_tables as kernels

    c, p = codec.C, codec.P
    values = _values(codec)
    if rows < c:
        values = values.copy()
        values[:, rows * p :] = 0
    count = len(values)
    inverse, gain = _aligned(count, p * c, np.float64), np.zeros(count)
    basis, whole = np.zeros((count, p, c)), np.zeros(count, bool)
    kernels.orthogonal(values, float(codec.denominator), _RANK, inverse, gain, basis, whole, (0,) * c, (0,) * p)
    dependent = np.flatnonzero(~whole)
    for at in range(0, len(dependent), 8192):
        part = dependent[at : at + 8192]
        matrices = values[part, : c * p].reshape(-1, c, p) / codec.denominator
        left, sizes, right = np.linalg.svd(matrices, full_matrices=False)
        kept = sizes > _RANK * sizes[:, :1]
        scaled = np.where(kept, 1 / np.where(kept, sizes, 1), 0)
        pseudo = np.einsum("sap,sa,sia->spi", right, scaled, left)
        pseudo[:, :, rows:] = 0
        gain[part] = np.sqrt((pseudo**2).sum(axis=2).max(axis=1))
        inverse[part] = pseudo.reshape(len(pseudo), -1)
        basis[part] = (left * kept[:, None, :]).swapaxes(1, 2)
    return _Tables(values, inverse, gain, _units(basis))


def _units(x: np.ndarray) -> np.ndarray:
    """int16[n, >= P * even C] of float[n, P, C] from -1 to 1, for `_seed_vectors`; rows begin at lines of memory."""
    from hwsim.formats._seed_vectors import UNIT

    n, p, c = x.shape
    width = p * (c + c % 2)
    rows = _aligned(n, -(-width // 32) * 32 if p > 1 else width, np.int16)
    rows[:, :width].reshape(n, p, c + c % 2)[:, :, :c] = np.rint(x * UNIT)
    return rows


def _aligned(n: int, width: int, kind: type) -> np.ndarray:
    """Zeros of shape [n, width]; they begin at a line of memory."""
    size = np.dtype(kind).itemsize
    memory: np.ndarray = np.zeros(n * width + 64 // size, kind)
    return memory[-memory.ctypes.data % 64 // size :][: n * width].reshape(n, width)


def search(codec: SeedCodec, w: np.ndarray, *, refine: str | None = None, threads: int | None = None) -> SeedSearch:
    """The best record of every block, exactly.

    w: float64[n, rows], rows <= C: the real weights of each block, already divided by the tensor scale.
    refine: "exponent" also tries the exponents one below and one above the rule.
    threads: None: as many as there are processors. Never changes a bit.
    """
    threads = threads or len(os.sched_getaffinity(0))
    n, rows = w.shape
    w = np.pad(np.asarray(w, dtype=np.float64), ((0, 0), (0, codec.C - rows)))
    tables = _tables(codec, rows)
    words = np.full(n, codec.pack(*codec.zero), np.uint64)
    errors = np.zeros(n)
    evaluated = bounded = 0
    for at in range(0, n, _CHUNK):
        part = slice(at, at + _CHUNK)
        more, bounds = _search_chunk(codec, tables, refine, threads, w[part], words[part], errors[part])
        evaluated += more
        bounded += bounds
    return SeedSearch(words, errors, evaluated, bounded)


def _search_chunk(
    codec: SeedCodec,
    tables: _Tables,
    refine: str | None,
    threads: int,
    w: np.ndarray,
    words: np.ndarray,
    errors: np.ndarray,
) -> tuple[int, int]:
    """Fill `words` and `errors` of the blocks w; (seeds evaluated, seeds bounded)."""
    from hwsim.formats import _seed_kernels as kernels
    from hwsim.formats._seed_cells import divide
    from hwsim.formats._seed_vectors import LANES, UNIT

    c, p = codec.C, codec.P
    lengths = (0,) * c, (0,) * p
    norm2 = np.einsum("ni,ni->n", w, w)
    unit = _units((w / np.sqrt(np.where(norm2 > 0, norm2, 1))[:, None])[:, None, :])
    look, sine2 = np.ones(len(w)), np.zeros(len(w), np.float32)
    slack = (math.sqrt(c) + math.sqrt(p * c)) / UNIT * 1.1 + 4e-6  # integers instead of real numbers; float32
    totals = [0, 0]

    def find(blocks: np.ndarray) -> None:
        """Search blocks; at the bottom, those that share a direction are one thread's."""
        edges, directions = np.array([0] * LANES + [len(blocks)]), np.zeros(((c + 1) // 2, LANES, 2), np.int16)
        if len(blocks) > _ALONE:
            divide(unit, blocks, 0, len(blocks), sine2, edges, directions, lengths[0])

        def work(lane: int) -> tuple[int, int]:
            evaluated, bounded = kernels.search(
                tables.basis, tables.inverse, tables.values, tables.gain, tables.gain.min(), float(codec.denominator),
                codec.exponent_range, codec.q_range, refine is not None, slack,
                w, unit, norm2, blocks, edges[lane], edges[lane + 1], look, words, errors, *lengths,
            )  # fmt: skip
            return evaluated, bounded

        pieces = np.flatnonzero(np.diff(edges))
        with ThreadPoolExecutor(threads) as pool:
            for evaluated, bounded in pool.map(work, pieces):
                totals[0] += evaluated
                totals[1] += bounded

    # Where every coefficient rounds to 0 with every seed, the record is that of zeros.
    lost = np.sqrt(norm2) * tables.gain.max() < 0.499 * 2.0 ** codec.exponent_range[0]
    for i in range(c):
        errors[lost] += w[lost, i] * w[lost, i]
    todo = np.flatnonzero(~lost)
    if len(todo) > _ALONE:
        few = todo[:: len(todo) // _SAMPLE]
        find(few.copy())
        share = errors[few] / norm2[few]
        look[:] = min(1.0, float(share[share <= 4 * np.median(share)].max()))
    while len(todo):
        find(todo)
        share = np.minimum(errors[todo] / norm2[todo], 1.0)
        left = share > look[todo]
        look[todo[left]] = share[left]
        todo = todo[left]
    return totals[0], totals[1]


@dataclass(frozen=True)
class SeedFormat(Format):
    """A seed format: `get_format("seedlm4")`, `get_format("seedlm3")`, or any codec.

    codec: the point; refine: None or "exponent" (also try the neighbouring exponents; smaller error, slower).
    tensor_scale: the exponent s, given; None: the largest block norm of the tensor lands in [32, 64).
    Codes are uint64[..., seed blocks], one record each; the tensor scale is the exponent s of 2^s.
    """

    codec: SeedCodec = SEEDLM4
    refine: str | None = field(default=None, kw_only=True)
    tensor_scale: int | None = field(default=None, kw_only=True)

    def check(self) -> None:
        """Refuse what cannot be. raises: InputError with every problem."""
        super().check()
        problems = []
        if self.refine not in REFINES:
            problems.append(f"refine: {self.refine!r}{nearest(str(self.refine), ['exponent'])}")
        if self.rounding != "rne":
            problems.append(f"rounding: {self.rounding!r} is not for seed formats; coefficients round to nearest even")
        if self.tensor_scale is not None and self.tensor_scale not in range(-128, 128):
            problems.append(f"tensor_scale: {self.tensor_scale!r}; write an exponent from -128 to 127")
        if self.codec.K > _WIDEST_SEARCH:
            problems.append(f"seed codec: K = {self.codec.K}; the exact search takes up to {_WIDEST_SEARCH} bits")
        if problems:
            raise InputError(*problems)

    def options(self) -> dict[str, str]:
        """Coefficients round to nearest even; there are no draws."""
        plain = super().options() | {"tensor_scale": "the exponent s, given: -128 to 127"}
        return {n: words for n, words in plain.items() if n not in ("rounding", "seed")}

    def own_layout(self) -> Layout:
        """The layout of the codec; of one that is not published, without a name that `layout` knows."""
        c = self.codec
        name = next((name for name, codec in CODECS.items() if codec == c), f"seed_c{c.C}_p{c.P}_k{c.K}")
        return seed_layout(name, c.C, c.P, c.K, q_bits=c.coefficient_bits, e_bits=c.exponent_bits)

    def encode_rows(self, rows: np.ndarray, shape: tuple[int, ...], axis: int) -> Encoded:
        """Records of an array of floats, by exact search.

        raises: InputError for Inf, NaN or a value beyond float32, and as every format does.
        """
        return self._find(rows, shape, axis)[0]

    def find(
        self, x: npt.ArrayLike, axis: int = -1, tell: Callable[[int], None] | None = None
    ) -> tuple[Encoded, SeedSearch]:
        """`encode`, with the search's own figures; errors are in units of the tensor scale squared.

        tell: called now and then with the number of values that are done.
        """
        return self._find(*float_rows(x, axis), tell)

    def _find(
        self, rows: np.ndarray, shape: tuple[int, ...], axis: int, tell: Callable[[int], None] | None = None
    ) -> tuple[Encoded, SeedSearch]:
        c, k = self.codec.C, rows.shape[1]
        whole, blocks = k // c, -(-k // c)
        step = max(1, _CHUNK // max(1, blocks))  # rows at once: bounds the memory besides codes and weights
        parts = [slice(at, at + step) for at in range(0, len(rows), step)]
        s = self._exponent(rows[part] for part in parts)
        codes, errors = np.empty((len(rows), blocks), np.uint64), np.empty((len(rows), blocks))
        counts = [0, 0]
        for part in parts:
            for first, last, width in ((0, whole, c), (whole, blocks, k - whole * c)):
                if last == first:
                    continue
                w = np.ldexp(rows[part, first * c : first * c + (last - first) * width].astype(np.float64), -s)
                found = search(self.codec, w.reshape(-1, width), refine=self.refine, threads=self.threads)
                codes[part, first:last] = found.words.reshape(-1, last - first)
                errors[part, first:last] = found.errors.reshape(-1, last - first)
                counts[0] += found.evaluated
                counts[1] += found.bounded
            if tell:
                tell(min(part.stop, len(rows)) * k)
        exponents = codes >> np.uint64(self.codec.K) & np.uint64((1 << self.codec.exponent_bits) - 1)
        coded_shape = moved_shape(shape, axis, blocks)
        encoded = Encoded(
            self, shape, axis, codes.reshape(coded_shape), exponents.astype(np.uint8).reshape(coded_shape), None, s
        )
        return encoded, SeedSearch(codes.reshape(-1), errors.reshape(-1), *counts)

    def fitted(self, parts: Iterable[np.ndarray]) -> SeedFormat:
        """With the exponent of the largest block norm of all parts."""
        return replace(self, tensor_scale=self._exponent(parts)) if self.tensor_scale is None else self

    def _exponent(self, parts: Iterable[np.ndarray]) -> int:
        """s of the rows, which are checked. raises: InputError for values that seeds cannot hold."""
        largest, bad, c = 0.0, 0, self.codec.C
        for part in parts:
            step = max(1, _CHUNK * c // max(1, part.shape[1]))
            for at in range(0, len(part), step):
                w = part[at : at + step]
                bad += w.size - int(np.count_nonzero(np.abs(w) <= np.finfo(np.float32).max))
                if not bad:
                    w = padded(w, c).astype(np.float64).reshape(-1, c)
                    largest = max(largest, math.sqrt(np.einsum("ni,ni->n", w, w).max(initial=0.0)))
        if bad:
            raise InputError(f"{self.name}: {bad} values are NaN, infinite or beyond float32; seeds cannot hold them")
        if self.tensor_scale is not None:
            return self.tensor_scale
        return min(max(math.frexp(largest)[1] - 6, -128), 127) if largest else 0  # largest block norm in [32, 64)

    def integers(self, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """(int64[..., seed blocks, C] exact S_i, int8[..., seed blocks] exponents): w = S_i 2^(e+s) / (2^(K-1) - 1)."""
        from hwsim.formats import _seed_fit as kernels

        codec, words = self.codec, np.ascontiguousarray(encoded.codes, np.uint64).reshape(-1)
        if words.size and not (words & np.uint64(codec.lfsr.period)).all():
            raise InputError(f"{self.name}: a record has seed 0, which no register can hold")
        sums, exponents = np.empty((len(words), codec.C), np.int64), np.empty(len(words), np.int8)
        fields = codec.K, codec.exponent_bits, codec.coefficient_bits
        kernels.integers(words, _values(codec)[:, : codec.C * codec.P], *fields, sums, exponents)
        shape = encoded.codes.shape
        return sums.reshape(*shape, codec.C), exponents.reshape(shape)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """float32 of the original shape: 2^(s+e) S_i / (2^(K-1) - 1), rounded once."""
        sums, exponents = self.integers(encoded)
        power = exponents.astype(np.int32)[..., None] + np.int32(encoded.tensor_number)
        values = _rounded_once(sums, power, self.codec.denominator)
        rows = values.reshape(encoded.rows, -(-encoded.row_length // self.codec.C) * self.codec.C)[
            :, : encoded.row_length
        ]
        return restore(rows, encoded.shape, encoded.axis)

    def pack(self, encoded: Encoded) -> bytes:
        """Records row by row, least significant bit first, a row ending on a byte; then s as one signed byte."""
        rows, bits = encoded.rows, self.codec.block_bits
        blocks = -(-encoded.row_length // self.codec.C)
        words = np.ascontiguousarray(encoded.codes, "<u8").reshape(rows, blocks)
        if bits % 8 == 0:
            data = words.view(np.uint8).reshape(rows, blocks, 8)[:, :, : bits // 8]
        else:
            each = np.unpackbits(words.view(np.uint8).reshape(rows, blocks, 8), axis=2, bitorder="little", count=bits)
            data = np.packbits(each.reshape(rows, blocks * bits), axis=1, bitorder="little")
        return data.tobytes() + int(encoded.tensor_number).to_bytes(1, "little", signed=True)

    def from_bytes(self, data: bytes, shape: Sequence[int], axis: int = -1) -> Encoded:
        """The `Encoded` whose `to_bytes()` is `data`.

        raises: InputError when the number of bytes is not that of the shape, or a seed is 0.
        """
        from hwsim.formats.packing import split_rows

        body, tail, shape, axis = split_rows(self.layout, data, shape, axis)
        bits, blocks = self.codec.block_bits, -(-shape[axis] // self.codec.C)
        wide = np.zeros((len(body), blocks, 8), np.uint8)
        if bits % 8 == 0:
            wide[:, :, : bits // 8] = body.reshape(len(body), blocks, bits // 8)
        else:
            each = np.unpackbits(body, axis=1, bitorder="little", count=blocks * bits)
            packed = np.packbits(each.reshape(len(body), blocks, bits), axis=2, bitorder="little")
            wide[:, :, : packed.shape[2]] = packed
        codes = wide.reshape(-1).view("<u8").astype(np.uint64).reshape(moved_shape(shape, axis, blocks))
        if codes.size and not (codes & np.uint64(self.codec.lfsr.period)).all():
            raise InputError(f"{self.name}: a record has seed 0, which no register can hold")
        exponents = (codes >> np.uint64(self.codec.K) & np.uint64((1 << self.codec.exponent_bits) - 1)).astype(np.uint8)
        return Encoded(self, shape, axis, codes, exponents, None, int.from_bytes(tail, "little", signed=True))

    def zero_record(self) -> bytes:
        """The codec's record of a block of zeros; nothing is searched."""
        return self.codec.pack(*self.codec.zero).to_bytes(8, "little")

    def operand(self, encoded: Encoded) -> Operand:
        """The integers S_i 2^e; 2^s / (2^(K-1) - 1) comes after the last block."""
        k, rows = encoded.row_length, encoded.rows
        sums, powers = self.integers(encoded)
        significands = sums.reshape(rows, -1)[:, :k] if k else np.zeros((rows, 0), np.int64)
        exponents = np.repeat(per_row(powers, rows).astype(np.int32), self.codec.C, axis=1)[:, :k]
        fraction_bits = self.codec.value_bits - 2
        after = np.float32(math.ldexp(1.0, int(encoded.tensor_number)) / self.codec.denominator)
        return Operand(
            np.ldexp(significands.astype(np.float64), exponents), significands, exponents + fraction_bits,
            fraction_bits, 0, no_scales(rows), 1, np.full(rows, after), self.codec.value_bits + 15,
        )  # fmt: skip

    def explained(self, row: np.ndarray, encoded: Encoded, decoded: np.ndarray) -> tuple[str, list[BlockStep]]:
        """The tensor scale, then each record and its integers."""
        codec, s = self.codec, int(encoded.tensor_number)
        sums, _ = self.integers(encoded)
        blocks = []
        for b, (xs, back) in enumerate(pieces(codec.C, row, decoded)):
            record = codec.unpack(int(encoded.codes[b]))
            words = (
                f"seed {record.seed}, exponent {record.exponent}, coefficients {' '.join(map(str, record.q))}",
                f"value = S 2^(exponent {s:+d}) / {codec.denominator}, S the sum of state x coefficient",
            )
            steps = tuple(
                ElementStep(x, None, f"S = {total}", int(encoded.codes[b]), codec.block_bits, y)
                for x, y, total in zip(xs.tolist(), back.tolist(), sums[b].tolist(), strict=False)
            )
            blocks.append(BlockStep(top(xs), words, steps))
        return f"tensor scale {power(s)}: the largest block norm lands in [32, 64)", blocks


def _rounded_once(sums: np.ndarray, power: np.ndarray, denominator: int) -> np.ndarray:
    """float32 of sums / denominator * 2^power, nearest even, subnormals too.

    Rounding to float64 on the way is harmless: a quotient that is not itself a midpoint of float32 values is at
    least 1 / denominator of half a float32 step away from one, and a float64 step is 2^-29 of a float32 step.
    """
    with np.errstate(over="ignore"):
        values: np.ndarray = np.ldexp(sums / denominator, power).astype(np.float32)
    return values
