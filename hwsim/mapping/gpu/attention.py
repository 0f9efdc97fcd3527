"""Attention kernels on cores: rows of queries against keys, scheduled onto cores as the library schedules them.

Prefill: a tile is `prefill_rows` positions of one head against all keys before them, in steps of `prefill_keys`; each
head's tiles go to the first free core, the longest first. Decode: a piece is one KV head of one sequence or a share of
its positions. How many shares there are is the library's published rule, named by the kernels' file (`decode: rule`):

    xqa          floor(positions / least) shares, at most round(sqrt(8 shares)), at most `fill` pieces per core, 6,000
                 of a KV head in all; where a fourth of the cores would have none, keys in bf16 go to an older kernel,
                 one piece per query head, two on a core (TensorRT-LLM, decoderXQAImplCommon.h, decoderXQARunner.cpp)
    trtllm_gen   ceil(positions / least) shares while the pieces are no more than the cores; a core loads its next
                 piece while it multiplies (TensorRT-LLM, trtllmGenKernels/fmha/fmhaKernels.h)

Keys stream at the memory's sustained rate, the data sheet's less refresh; none of it is fitted. A piece pulls its keys
no faster than its `pull_share` of that rate, two pieces on a core.
"""

from __future__ import annotations

from functools import lru_cache
from heapq import heapreplace
from math import ceil, floor, sqrt

from hwsim.arch.cores import Cores, DecodeRates, PrefillRates
from hwsim.mapping.gpu.kernels import PORT, Kernel, Wave, overlapped

#: Tiles per core from which the end of a kernel is ignored: the tiles are spread evenly.
MANY = 16
#: Positions whose keys and values a piece requests at its start, by rule: one step, or the next piece ahead.
AHEAD = {"xqa": 128, "trtllm_gen": 512}
#: Query rows of a matrix instruction's least tile.
QUERIES = 8
#: Memory and cores hide each other only partly where they are about equal: (memory^p + cores^p)^(1/p).
POWER = 4
#: The older kernel, from so many positions: a second kernel (seconds), and each query head reads a copy of its keys at
#: this share of the memory's peak. Found on H100's table.
OLDER_POSITIONS, OLDER_SECONDS, OLDER_SHARE = 512, 1.2e-6, 0.66


@lru_cache(maxsize=4096)
def _scheduled(tiles: tuple[float, ...], heads: int, cores: int) -> float:
    """Seconds until the last core has finished `heads` times these tiles, each taken by the first free core."""
    if len(tiles) * heads > MANY * cores:
        return sum(tiles) * heads / cores
    free = [0.0] * cores
    for tile in tiles * heads:
        heapreplace(free, free[0] + tile)
    return max(free)


def prefill_attention(
    sequences: int,
    tokens: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    kv_bytes: float,
    cores: Cores,
    rates: PrefillRates,
    window: int = 0,
    query_bytes: int = 2,
    cached: int = 0,
) -> Kernel:
    """Causal attention of whole prompts, or of chunks after `cached` tokens; tiles on the diagonal are whole.

    Copied before and after: queries are read, rearranged, written in `query_bytes` and read again, results written,
    keys and values read and cached. Keys of at most a byte are multiplied at the rate of 8 bits.
    """
    side, step = cores.prefill_rows, cores.prefill_keys
    blocks = -(-tokens // side)
    seen = [cached + min(tokens, i * side) for i in range(blocks, 0, -1)]
    if window:
        seen = [min(s, window + side) for s in seen]
    macs = rates.mac_share * attention_macs(cores, kv_bytes)
    one = 2 * side * step * head_dim * cores.count / macs
    tiles = tuple(rates.tile_cycles / cores.peaks.clock_hz + -(-s // step) * one for s in seen)
    work = _scheduled(tiles, sequences * heads, cores.count)
    idle = max(0.0, 1 - sum(tiles) * sequences * heads / cores.count / work)
    moved = sequences * tokens * head_dim * ((4 + 2 * query_bytes) * heads + 2 * kv_heads * (2 + kv_bytes))
    moved += sequences * cached * head_dim * 2 * kv_heads * kv_bytes
    copy = min(rates.copy_bytes * cores.cycles_per_second, cores.peaks.stream)
    return Kernel(rates.launch_seconds, (Wave(1, 0.0, work, 0.0, moved / copy, idle=idle),), int(moved))


def attention_macs(cores: Cores, kv_bytes: float) -> float:
    """Multiply-adds per second of the chip that attention's rates are shares of."""
    name = "bf16" if kv_bytes >= 2 else "fp8_e4m3"
    return cores.peaks.rate(name, name)


def decode_shares(sequences: int, kv_heads: int, positions: int, cores: Cores) -> int:
    """Pieces that the positions of one KV head are split into, by the library's rule."""
    heads = sequences * kv_heads
    if cores.decode_rule == "trtllm_gen":
        return min(-(-positions // cores.decode_least), max(1, cores.count // heads))
    shares = max(1, positions // cores.decode_least)
    shares = min(shares, round(sqrt(8 * shares)))
    over = heads * shares / cores.count / cores.decode_fill
    if over > 1:
        shares = floor(shares / over)
    return max(1, min(shares, 6000 // sequences))


def decode_attention(
    sequences: int,
    cached: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    kv_bytes: float,
    cores: Cores,
    rates: DecodeRates,
) -> Kernel:
    """Attention of one new token per sequence after `cached` ones."""
    positions, pieces = cached + 1, sequences * kv_heads
    row, clock, peak = 2 * head_dim * kv_bytes, cores.peaks.clock_hz, cores.peaks.dram
    stream = min(cores.peaks.stream, PORT * cores.cycles_per_second)
    read = pieces * positions * row / stream
    gather = late = 0.0
    least = max(1, positions // cores.decode_least)
    if cores.decode_rule == "xqa" and kv_bytes >= 2 and 4 * pieces * least < cores.count:
        parts, queries = sequences * heads / 2, 1
        if positions >= OLDER_POSITIONS:
            gather = OLDER_SECONDS
            late = sequences * heads * positions * row / (OLDER_SHARE * peak)
    else:
        shares = decode_shares(sequences, kv_heads, positions, cores)
        parts, queries = pieces * shares, -(-heads // (kv_heads * QUERIES))
        more = max(0, ceil(positions / shares) - AHEAD[cores.decode_rule]) * row
        late = ceil(parts / (2 * cores.count)) * more / (rates.pull_share * cores.peaks.stream)
        gather = cores.reduce_seconds if shares > 1 else 0.0
    rounds = ceil(parts / cores.count)
    work = rounds * (rates.tile_cycles + rates.query_cycles * queries) / clock + late
    wave = Wave(1, read, work, 0.0, 0.0, overlapped(read, work, POWER), 1 - parts / (rounds * cores.count))
    waves = (wave, Wave(1, 0.0, gather, 0.0, 0.0, cause="reduction")) if gather else (wave,)
    return Kernel(rates.launch_seconds, waves, int(pieces * positions * row))
