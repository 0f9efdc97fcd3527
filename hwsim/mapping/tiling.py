"""Op x machine -> tiles: a pure function of the op, its formats and one policy.

A policy never depends on a rate, and its set only grows with the buffers: so the least of a few
simulated policies is monotone in bandwidth, latency, interval and buffer by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, floor

from hwsim.mapping.gpu.waves import kernel_of, kernel_program
from hwsim.mapping.operands import Operands
from hwsim.mapping.pipeline import Pipeline
from hwsim.mapping.program import (
    ACTIVATIONS,
    DOT,
    DOT_QUEUE,
    DRAM,
    LAUNCH,
    LINK,
    OUTPUTS,
    REGENERATE,
    ROUND,
    ROUND_QUEUE,
    VECTOR,
    VECTOR_QUEUE,
    WEIGHTS,
    Program,
    Step,
    Tile,
    occupied,
)
from hwsim.mapping.traffic import (
    Traffic,
    activation_bytes,
    cache_bytes,
    compulsory,
    traffic,
    vector_passes,
    weight_bytes,
)
from hwsim.workload.op import CACHES, Gemm, Op

DISTANCES = (1, 8, 32)
COMPUTE_TILES = 64

#: The queue in front of a server that a compute server feeds.
_QUEUE = {VECTOR: VECTOR_QUEUE, ROUND: ROUND_QUEUE}


@dataclass(frozen=True, slots=True)
class Policy:
    """A tile of the machine's menu, clipped to each op, and two choices.

    distance: writes are placed this many reads later.
    resident: the operand that an outer loop repeats stays on chip as a whole panel (K long).
    """

    m: int
    n: int
    k: int
    distance: int
    resident: bool

    def __str__(self) -> str:
        return f"{self.m}x{self.n}x{self.k}{', resident panel' if self.resident else ''}"


@dataclass(frozen=True, slots=True)
class Tiled:
    """One op as a program, with the payload it moves by kind and the bytes of whole beats."""

    program: Program
    moved: Traffic
    dram_bytes: int


def policies(pipeline: Pipeline) -> Iterator[Policy]:
    """Every policy of the machine's menu; those that do not fit an op drop out in `tile`. On cores, the library's."""
    if pipeline.arch.cores:
        yield Policy(*pipeline.arch.tiles[0], 0, False)
        return
    for m, n, k in pipeline.arch.tiles:
        for resident in (True, False):
            for distance in DISTANCES:
                yield Policy(m, n, k, distance, resident)


def tile(pipeline: Pipeline, op: Op, opd: Operands, policy: Policy) -> Tiled | None:
    """Tiles of `op` under `policy`, or None where they do not fit the buffers; on cores, the waves of its kernel."""
    if pipeline.arch.cores:
        kernel = kernel_of(pipeline, op, opd)
        return Tiled(kernel_program(pipeline, kernel), traffic(op, opd), kernel.read_bytes + kernel.store_bytes)
    builder = Builder(pipeline, op, opd, policy)
    runs = builder.gemms() if op.gemms else builder.stream()
    return None if runs is None else builder.finish(runs)


def _edges(size: int, step: int) -> list[tuple[int, int]]:
    return [(a, min(a + step, size)) for a in range(0, size, step)]


class Builder:
    """Collects the runs of one op, and what they move and occupy."""

    def __init__(self, pipeline: Pipeline, op: Op, opd: Operands, policy: Policy):
        self.pipeline, self.arch, self.op, self.opd, self.policy = pipeline, pipeline.arch, op, opd, policy
        self.in_dram = self.arch.activations == "dram"
        room = self.arch.buffers.activations
        self.spill_in = 0 if self.in_dram else max(0, activation_bytes(opd, op.inputs) - room)
        self.spill_out = 0 if self.in_dram else max(0, activation_bytes(opd, op.outputs) - room)
        self.moved = {"weights": 0, "kv": 0, "state": 0, "activations": 0}
        self.transfers: dict[Step, tuple[int, int]] = {}
        self.link_latency = 0

    # -- steps ------------------------------------------------------------------------------------

    def _dram(self, *parts: int, write: bool = False, takes=(), gives=(), waits=False) -> Step:
        """One transfer; each part is rounded up to whole beats by itself."""
        dram, q = self.arch.dram, self.pipeline.q
        nbytes = sum(self.pipeline.beats(p) for p in parts)
        rows = -(-nbytes // dram.row_bytes) * dram.row_miss_cycles * q if dram.row_bytes else 0
        turn = 2 * dram.turnaround_cycles * q if write else 0
        ticks = self.pipeline.read_ticks(nbytes) + rows + turn
        beat = min(ticks, self.pipeline.read_ticks(dram.beat_bytes))
        step = Step(DRAM, ticks, beat, tuple(t for t in takes if t[1]), tuple(g for g in gives if g[1]), waits)
        self.transfers[step] = (nbytes, rows)
        return step

    def _compute(self, server: int, amount: int, rate, takes=(), gives=(), waits=False) -> Step:
        ticks = self.pipeline.ticks(amount, rate)
        beat = min(ticks, self.pipeline.q)
        return Step(server, ticks, beat, tuple(t for t in takes if t[1]), tuple(g for g in gives if g[1]), waits)

    # -- GEMMs: output-stationary, K innermost -----------------------------------------------------

    def gemms(self) -> list | None:
        """Runs of all weight matrices, or None where the policy does not fit."""
        op, runs = self.op, []
        if self.spill_in:
            runs += self._read_ahead("activations", self.spill_in)
        if op.params:
            runs += self._read_ahead("weights", weight_bytes(replace(op, gemms=()), self.opd))
        outputs = sum(g.count * g.m * g.n for g in op.gemms)
        passes = vector_passes(self.arch, op)
        for gemm in op.gemms:
            one = self._gemm(gemm, passes, outputs)
            if one is None:
                return None
            runs += one * gemm.count if len(one) > 1 else [(one[0][0], one[0][1] * gemm.count)]
        return runs

    def _read_ahead(self, kind: str, nbytes: int) -> list:
        """Bytes read before the matrices: inputs that overflowed the activation buffer, biases."""
        self.moved[kind] += nbytes
        chunk = self.policy.n * self.policy.k
        runs = []
        for size, repeat in ((chunk, nbytes // chunk), (nbytes % chunk, 1)):
            if size and repeat:
                credit = ((WEIGHTS, size),)
                runs.append(((Tile((self._dram(size, takes=credit, gives=credit),), None, False),), repeat))
        return runs

    def _gemm(self, g: Gemm, passes: int, outputs: int) -> list | None:
        policy, capacity, layout = self.policy, self.pipeline.capacity, self.opd.weights
        tm, tn, tk = min(policy.m, g.m), min(policy.n, g.n), min(policy.k, g.k)
        acc = self.arch.dot.accumulator_bytes
        row = [0] + [layout.row_nbytes(b) for _, b in _edges(g.k, tk)]
        per_row = [b - a for a, b in zip(row, row[1:], strict=False)]
        xrow = activation_bytes(self.opd, g.k)
        slots = capacity[OUTPUTS] // (tm * tn * acc)
        if 2 * tn * max(per_row) > capacity[WEIGHTS] or slots < 2:
            return None
        if self.in_dram and 2 * activation_bytes(self.opd, tm * tk) > capacity[ACTIVATIONS]:
            return None
        rows, cols = _edges(g.m, tm), _edges(g.n, tn)
        outer, inner = (rows, cols) if self.in_dram else (cols, rows)
        if policy.resident:
            panel = tm * xrow if self.in_dram else tn * row[-1]
            if len(inner) > 1 and 2 * panel > capacity[ACTIVATIONS if self.in_dram else WEIGHTS]:
                return None
        writes = self.in_dram or self.spill_out
        if writes and policy.distance > 1 and (slots - 1) * len(per_row) < policy.distance:
            return None
        return self._loops(g, outer, inner, per_row, passes, outputs)

    def _loops(self, g: Gemm, outer, inner, per_row, passes: int, outputs: int) -> list:
        """for outer: for inner: for k; equal neighbours become one run."""
        runs: list = []
        made: dict[tuple, tuple[Tile, ...]] = {}
        last = len(inner) - 1
        for o0, o1 in outer:
            for i, (i0, i1) in enumerate(inner):
                m, n = (o1 - o0, i1 - i0) if self.in_dram else (i1 - i0, o1 - o0)
                keep = self.policy.resident
                first_use, last_use = not keep or i == 0, not keep or i == last
                key = (m, n, first_use, last_use)
                if key not in made:
                    made[key] = self._output_tile(g, *key[:2], per_row, first_use, last_use, passes, outputs)
                tiles = made[key]
                self._count(g, m, n, per_row, first_use)
                if runs and runs[-1][0] is tiles:
                    runs[-1] = (tiles, runs[-1][1] + 1)
                else:
                    runs.append((tiles, 1))
        return runs

    def _count(self, g: Gemm, m: int, n: int, per_row, first_use: bool) -> None:
        if self.in_dram or first_use:
            self.moved["weights"] += g.count * n * sum(per_row)
        if self.in_dram:
            if first_use:
                self.moved["activations"] += g.count * self._x_bytes(m, g.k)
            self.moved["activations"] += g.count * activation_bytes(self.opd, m * n)
        elif self.spill_out:
            self.moved["activations"] += g.count * self._spill_share(m * n)

    def _x_bytes(self, m: int, k: int) -> int:
        tk = min(self.policy.k, k)
        return sum(activation_bytes(self.opd, m * (b - a)) for a, b in _edges(k, tk))

    def _spill_share(self, elements: int) -> int:
        return -(-self.spill_out * elements // max(self.op.outputs, 1))

    def _output_tile(self, g: Gemm, m, n, per_row, first_use, last_use, passes, outputs) -> tuple[Tile, ...]:
        """All K tiles of one m x n output tile."""
        opd, acc = self.opd, m * n * self.arch.dot.accumulator_bytes
        write = activation_bytes(opd, m * n) if self.in_dram else self._spill_share(m * n) if self.spill_out else 0
        edges, tiles = _edges(g.k, min(self.policy.k, g.k)), []
        for i, (k0, k1) in enumerate(edges):
            final = i == len(edges) - 1
            wbytes = n * per_row[i]
            xbytes = activation_bytes(opd, m * (k1 - k0)) if self.in_dram else 0
            w_read = wbytes if self.in_dram or first_use else 0
            w_give = wbytes if self.in_dram or last_use else 0
            x_read, x_give = (xbytes if first_use else 0), (xbytes if last_use else 0)
            steps = []
            if w_read or x_read:
                steps.append(
                    self._dram(w_read, x_read, takes=((WEIGHTS, w_read), (ACTIVATIONS, x_read)))
                )
            dot_gives = [(ACTIVATIONS, x_give)]
            if opd.converter is None:
                dot_gives.append((WEIGHTS, w_give))
            else:
                block = opd.weights.block if opd.converter == REGENERATE else 1
                amount = n * (-(-k1 // block) - -(-k0 // block))
                steps.append(
                    self._compute(
                        opd.converter,
                        amount,
                        opd.converter_rate,
                        takes=((DOT_QUEUE, 1),),
                        gives=((WEIGHTS, w_give),),
                        waits=not steps,
                    )
                )
                dot_gives.append((DOT_QUEUE, 1))
            vector = final and self.arch.vector is not None
            if final and not vector and not write:
                dot_gives.append((OUTPUTS, acc))
            takes = ((OUTPUTS, acc),) if i == 0 else ()
            slots = self.arch.dot.slots(m, n, k1 - k0, opd.rate)
            steps.append(self._compute(DOT, slots, opd.rate, takes=takes, gives=dot_gives, waits=True))
            if vector:
                amount = -(-passes * m * n // outputs)
                rate = self.arch.vector.elements_per_cycle
                steps.append(
                    self._compute(VECTOR, amount, rate, gives=() if write else ((OUTPUTS, acc),))
                )
            store = self._dram(write, write=True, gives=((OUTPUTS, acc),)) if final and write else None
            tiles.append(Tile(tuple(steps), store, final))
        return tuple(tiles)

    # -- streams: everything without a weight matrix -----------------------------------------------

    def stream(self) -> list | None:
        """Equal tiles of what the op reads, computes and writes; the last takes the remainder."""
        op, opd, arch, capacity = self.op, self.opd, self.arch, self.pipeline.capacity
        weights = weight_bytes(op, opd) if op.weights else 0
        cache_in, cache_out = cache_bytes(op, opd)
        acts_in = activation_bytes(opd, op.inputs) if self.in_dram else self.spill_in
        acts_out = activation_bytes(opd, op.outputs) if self.in_dram else self.spill_out
        read, write, passes = weights + cache_in + acts_in, cache_out + acts_out, vector_passes(arch, op)
        chunk = self.policy.n * self.policy.k
        if 2 * chunk > min(capacity[WEIGHTS], capacity[OUTPUTS]):
            return None
        self.moved["weights"] += weights
        if op.cache:
            self.moved[CACHES[op.cache.role]] += cache_in + cache_out
        self.moved["activations"] += acts_in + acts_out
        volume = self.policy.m * self.policy.n * self.policy.k
        n = max(1, -(-read // chunk), -(-write // chunk), min(COMPUTE_TILES, -(-op.macs // volume)))
        if write and self.policy.distance > 1:
            slots = capacity[OUTPUTS] // max(1, write // n)
            if slots - 1 < self.policy.distance:
                return None
        sent = self._collective()
        rounded = op.cached if opd.stochastic else 0
        whole = (read, op.macs, passes, rounded, sent, write)
        share = [amount // n for amount in whole]
        rest = [a - (n - 1) * s for a, s in zip(whole, share, strict=True)]
        runs = [((self._stream_tile(*share, result=False),), n - 1)] if n > 1 else []
        last = self._stream_tile(*rest, result=True)
        return [*runs, ((last,), 1)] if last.steps else runs

    def _collective(self) -> int:
        """Ticks of the op's collective on the link; what of them is latency is noted."""
        op, link = self.op, self.arch.link
        if not op.link:
            return 0
        nbytes = activation_bytes(self.opd, op.link_elements)
        ticks = ceil(link.cycles(op.link, nbytes, op.peers) * self.pipeline.q)
        moving = link.volume(op.link, nbytes, op.peers) / link.bytes_per_cycle * self.pipeline.q
        self.link_latency = ticks - floor(moving)
        return ticks

    def _stream_tile(
        self, read: int, macs: int, passes: int, rounded: int, sent: int, write: int, result: bool
    ) -> Tile:
        """read -> dot -> vector -> round -> link -> write, without the parts that are zero."""
        parts = ((DRAM, read), (DOT, macs), (VECTOR, passes), (ROUND, rounded), (LINK, sent))
        kinds = [s for s, amount in parts if amount]
        steps = []
        for i, server in enumerate(kinds):
            final, takes, gives = i == len(kinds) - 1, [], []
            if server == DRAM:
                takes.append((WEIGHTS, read))
            if (server == DRAM) == final or (i == 1 and kinds[0] == DRAM):
                gives.append((WEIGHTS, read if kinds[0] == DRAM else 0))
            if server != DRAM and not final:
                takes.append((_QUEUE[kinds[i + 1]], 1))
            if i and kinds[i - 1] != DRAM:
                gives.append((_QUEUE[server], 1))
            if final:
                takes.append((OUTPUTS, write))
            waits = server != DRAM or (final and i == 0)
            if server == DRAM:
                steps.append(self._dram(read, takes=takes, gives=gives if final else (), waits=waits))
            elif server == LINK:
                beat = min(sent, self.pipeline.q)
                steps.append(Step(LINK, sent, beat, tuple(t for t in takes if t[1]), tuple(gives), waits))
            else:
                amount, rate = dict(parts)[server], self._rate(server)
                steps.append(self._compute(server, amount, rate, takes=takes, gives=gives, waits=waits))
        store = self._dram(write, write=True, gives=((OUTPUTS, write),)) if write and steps else None
        return Tile(tuple(steps), store, result)

    def _rate(self, server: int):
        if server == DOT:
            return self.opd.rate
        return (self.arch.round if server == ROUND else self.arch.vector).elements_per_cycle

    # -- the whole op --------------------------------------------------------------------------------

    def finish(self, runs: list) -> Tiled:
        """Add the launch, sum what each server is occupied with, and name what is not plain work."""
        runs = [(tiles, repeat) for tiles, repeat in runs if repeat and tiles]
        if self.arch.launch and runs:
            ticks = int(self.arch.launch.interval_cycles * self.pipeline.q)
            tiles, repeat = runs[0]
            begin = Step(LAUNCH, ticks, ticks, waits=True)
            head = tiles[0]._replace(steps=(begin, *tiles[0].steps))
            runs[0:1] = [((head, *tiles[1:]), 1)] + ([(tiles, repeat - 1)] if repeat > 1 else [])
        dram_bytes, rows, writes = 0, 0, 0
        for tiles, repeat in runs:
            for t in tiles:
                for step in (*t.steps, t.write):
                    if step is None:
                        continue
                    nbytes, missed = self.transfers.get(step, (0, 0))
                    dram_bytes, rows = dram_bytes + repeat * nbytes, rows + repeat * missed
                writes += repeat * bool(t.write)
        moved, work = Traffic(**self.moved), occupied(runs)
        turns = 2 * writes * self.arch.dram.turnaround_cycles * self.pipeline.q
        channel, refresh = work[DRAM] - rows - turns, 0
        if self.arch.dram.refresh.kind == "spread":
            r = self.arch.dram.refresh
            refresh = int(channel * r.stall_cycles / r.period_cycles)
        again = max(0, moved.total - compulsory(self.arch, self.op, self.opd).total)
        reread = (channel - refresh) * again // moved.total if moved.total else 0
        padding = work[DOT] - self.pipeline.ticks(self.op.dot_macs, self.opd.rate) if self.op.dot_macs else 0
        extra = [("row_miss", rows), ("turnaround", turns), ("refresh", refresh), ("reread", reread)]
        program = Program(
            runs=tuple(runs),
            distance=self.policy.distance,
            flush=self.in_dram,
            extra=(
                *((DRAM, cause, ticks) for cause, ticks in extra if ticks),
                *(((DOT, "padding", padding),) if padding else ()),
                *(((LINK, "latency", self.link_latency),) if self.link_latency else ()),
            ),
        )
        return Tiled(program, moved, dram_bytes)
