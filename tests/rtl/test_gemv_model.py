"""The simulator's walk of the engine (max and + by item) against the engine stepped cycle by cycle."""

import json
from collections import deque
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.arch.memory import Dram, Refresh
from hwsim.errors import InputError
from hwsim.sim.beats import run_gemv
from hwsim.specs import Gemm, Gemv
from tests.rtl.gemv_memory import Memory


class Fifo:
    """A memory with an output register behind it: a beat written at edge t can leave at edge t + 2."""

    def __init__(self):
        self.inner, self.register = deque(), None

    def edge(self, written, taken: bool) -> None:
        if taken:
            self.register = None
        if self.register is None and self.inner:
            self.register = self.inner.popleft()
        if written is not None:
            self.inner.append(written)


class Turn:
    """Two banks of rows; a block can be read once its row is written, a bank written once all its blocks are read."""

    def __init__(self, spec: Gemv):
        self.rows, self.parts = spec.interleave, spec.parts
        self.written = self.read = 0

    @property
    def in_ready(self) -> bool:
        return self.written // self.rows - self.read // (self.rows * self.parts) < 2

    @property
    def out_valid(self) -> bool:
        bank, block = divmod(self.read, self.rows * self.parts)
        return self.written > bank * self.rows + block % self.rows

    def edge(self, enters: bool, leaves: bool) -> None:
        self.written, self.read = self.written + enters, self.read + leaves


class Engine:
    """A unit with a command for `rows` rows of x, every part at every edge, by the step functions of `hwsim.timing`."""

    def __init__(self, spec: Gemv, memory: Memory, n: int, k: int, rows: int, ready):
        self.spec, self.memory, self.rows, self.ready = spec, memory, rows, ready
        shape = spec.shape(n, k)
        self.n, self.columns, self.group_beats = n, spec.columns(k), shape.group_beats
        self.beats = shape.groups * shape.group_beats
        self.tail = spec.interleave * shape.row_blocks * spec.step_bits - (shape.group_beats - 1) * spec.beat_bits
        self.fifo, self.unpack = Fifo(), spec.unpack.cycle_model()
        self.decoder = spec.decoder.cycle_model() if spec.codec else None
        self.requantizer = spec.requantizer.cycle_model() if spec.codec else None
        self.gather = spec.gather.cycle_model() if spec.codec and spec.gather else None
        self.turn = Turn(spec) if spec.parts > 1 else None
        self.asked = self.flying = self.left = self.issued = self.promised = self.sent = self.filled = 0
        self.lane = self.row_of_x = 0
        self.behind = deque()  # edges at which results enter their slots
        self.busy = True

    @property
    def finished(self) -> bool:
        """Whether all rows of y have left."""
        return self.sent == self.n

    def edge(self, edge: int) -> None:
        """One edge."""
        spec, memory, fifo, unpack = self.spec, self.memory, self.fifo, self.unpack
        decoder, requantizer, gather, turn = self.decoder, self.requantizer, self.gather, self.turn
        stops = self.finished and self.left == self.beats
        asks = self.busy and self.asked < self.beats and self.flying < spec.fifo
        arrives = memory.offer(edge)
        beat = fifo.register

        # Ready runs against the stream: results, issue, requantizers, gather, decoders, unpacker.
        ends = self.issued // spec.interleave % self.columns == self.columns - 1
        issue_ready = not ends or self.promised < spec.results or self.finished
        if spec.codec:
            from_requantizer = turn.in_ready if turn else issue_ready
            into_requantizer = requantizer.in_ready(from_requantizer)
            after_decoder = gather.in_ready(True) if gather else into_requantizer
            unpack_ready = decoder.in_ready(after_decoder)
            offered = turn.out_valid if turn else requantizer.out_valid
        else:
            unpack_ready, offered = issue_ready, unpack.out_valid
        issues = offered and issue_ready
        sends = self.filled > 0 and not self.finished and (self.ready is None or self.ready(edge))

        bits = self.tail if (self.left + 1) % self.group_beats == 0 else spec.beat_bits
        word, is_last = unpack.out_valid, self.left == self.beats - 1
        leaves = unpack.step(beat is not None, unpack_ready, bits, is_last).in_ready and beat is not None
        if spec.codec:
            decoded = decoder.out_valid
            decoder.step(word, after_decoder)
            if gather:
                whole = gather.out_valid
                gather.step(decoded, into_requantizer)
                decoded = whole
            made = requantizer.step(decoded, from_requantizer).out_valid
            if turn:
                turn.edge(made and from_requantizer, issues)

        # The edge.
        if asks:
            memory.request(edge, self.asked)
        if arrives is not None:
            memory.take()
        fifo.edge(arrives, leaves)
        if self.behind and self.behind[0] == edge:
            self.behind.popleft()
            self.filled += 1
        if issues and ends:
            self.behind.append(edge + spec.result_latency)
            self.promised += 1
        if sends:
            self.row_of_x = (self.row_of_x + 1) % self.rows
        if sends and self.row_of_x == 0:
            self.sent += 1
            self.lane = (self.lane + 1) % spec.dot_units
            self.filled -= self.lane == 0
            self.promised -= self.lane == 0
        self.asked, self.flying = self.asked + asks, self.flying + asks - leaves
        self.left, self.issued = self.left + leaves, self.issued + issues
        self.busy = self.busy and not stops


def stepped(spec: Gemv, dram: Dram, n: int, k: int, ready=None, m: int = 1) -> int:
    """Cycles: a command per tile of x; before each but the first, x is loaded, a block of 32 elements per edge."""
    memory = Memory(dram, list(range(spec.shape(n, k).groups * spec.shape(n, k).group_beats)))
    blocks = -(-spec.columns(k) * spec.dot.lanes // 32)
    rows = [min(spec.tile, m - first) for first in range(0, m, spec.tile)]
    engine, edge = Engine(spec, memory, n, k, rows.pop(0), ready), -1
    while True:
        while not engine.finished:
            edge += 1
            engine.edge(edge)
        if not rows:
            return edge + 1
        loads, command = blocks * rows[0], False
        while not command:
            edge += 1
            command = not loads and not engine.busy
            loads -= loads > 0
            engine.edge(edge)
        engine = Engine(spec, memory, n, k, rows.pop(0), ready)


refreshes = st.sampled_from(
    [Refresh(), Refresh("all_bank", Fraction(97), Fraction(13)), Refresh("all_bank", Fraction(151, 2), Fraction(37, 3)),
     Refresh("spread", Fraction(50), Fraction(3))]
)  # fmt: skip
machines = st.tuples(st.fractions(Fraction(1, 3), 3, max_denominator=7), st.integers(1, 60), refreshes)
tiles = st.integers(1, 5)
block_engines = st.builds(
    Gemm,
    tile=tiles,
    weights=st.sampled_from(["mxint8", "mxfp4_e2m1", "nvfp4", "mx9", "int8", "mxfp6_e3m2"]),
    beat_bytes=st.sampled_from([4, 8, 16, 32, 64]),
    dot_units=st.integers(1, 5),
    interleave=st.integers(13, 17),
    fifo=st.integers(4, 40),
    results=st.integers(1, 40),
)
seed_engines = st.builds(
    Gemm,
    tile=tiles,
    weights=st.sampled_from(["seedlm4", "seedlm3"]),
    target=st.sampled_from(["mxint8", "mxfp4_e2m1"]),
    beat_bytes=st.sampled_from([4, 16, 64]),
    dot_units=st.integers(1, 3),
    decoders=st.integers(1, 14),
    fifo=st.integers(4, 40),
    results=st.integers(1, 40),
)
sinks = st.sampled_from(
    [None, lambda edge: edge % 3 != 0, lambda edge: edge % 32 < 5, lambda edge: edge * edge % 7 < 3]
)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(block_engines, seed_engines), machines, st.integers(1, 70), st.integers(1, 200), sinks, st.integers(1, 12)
)
def test_walk_equals_steps(spec, machine, n, k, sink, m):
    ratio, latency, refresh = machine
    dram = Dram(spec.beat_bytes * ratio, latency, spec.beat_bytes, 1 << 30, refresh)
    run = run_gemv(spec, dram, n, k, sink, m)
    assert run.cycles == stepped(spec, dram, n, k, sink, m)
    for server, causes in run.lost.items():
        assert sum(causes.values()) == run.cycles * run.ticks, server
        assert min(causes.values()) >= 0, (server, causes)
    # Work without padding is the bound's: each row of W meets each row of x; each tile decodes each seed.
    assert Fraction(run.lost["dot"]["busy"], run.ticks) == Fraction(m * n * spec.columns(k), spec.dot_units * spec.tile)
    if spec.codec:
        made = sum(run.lost["regenerate"][cause] for cause in ("busy", "reread"))
        words = -(-n * -(-k // spec.codec.C) // spec.decoders)
        assert Fraction(made, run.ticks) == words * -(-m // spec.tile)


def dram(beat=16, rate=16, latency=20, **kwargs) -> Dram:
    return Dram(Fraction(rate), latency, beat, 1 << 30, **kwargs)


def test_one_row_of_one_block_by_hand():
    """Beat 0 is asked for at edge 0 and offered at 20; FIFO 2; the block needs 3 beats of 16 B, one an edge."""
    spec = Gemv("mxint8", beat_bytes=16, fifo=8)
    issue = 20 + 2 + spec.FIFO_LATENCY + 1  # the third beat enters the unpacker, whose word is seen one edge later
    result = issue + spec.result_latency + 1  # entered its slot, then the edge that the sink takes it at
    assert run_gemv(spec, dram(), 1, 32).cycles == result + 1


def test_more_of_anything_is_never_slower():
    spec = Gemv("mxfp4_e2m1", beat_bytes=16, fifo=8)
    by_rate = [run_gemv(spec, dram(rate=rate), 40, 128).cycles for rate in (5, 8, 12, 16, 24)]
    by_latency = [run_gemv(spec, dram(latency=latency), 40, 128).cycles for latency in (90, 40, 9, 1)]
    by_fifo = [run_gemv(Gemv("mxfp4_e2m1", beat_bytes=16, fifo=f), dram(), 40, 128).cycles for f in (4, 9, 16, 64)]
    seeds = (Gemv("seedlm4", beat_bytes=64, dot_units=4, decoders=d, fifo=64) for d in (4, 8, 12, 15, 16))
    by_decoders = [run_gemv(engine, dram(64, 64), 104, 512).cycles for engine in seeds]
    for cycles in (by_rate, by_latency, by_fifo, by_decoders):
        assert cycles == sorted(cycles, reverse=True) and cycles[0] > cycles[-1]


def test_decoders_that_are_not_needed_cost_a_few_cycles_of_filling():
    engines = (Gemv("seedlm4", beat_bytes=64, dot_units=4, decoders=d, fifo=64) for d in (16, 17, 19, 21, 22, 23, 24))
    needed, *more = (run_gemv(engine, dram(64, 64), 104, 1024).cycles for engine in engines)
    assert max(more) <= needed + 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "int4_g128"}, "blocks of at most 32"),
        ({"weights": "bf16"}, "not an operand"),
        ({"activations": "fp16"}, "MX format"),
        ({"beat_bytes": 12}, "4, 8, 16, 32 or 64"),
        ({"dot_units": 0}, "dot_units 0"),
        ({"interleave": 2}, "the stages of its loop"),
        ({"decoders": 4}, "decoders 4 with mxint8"),
        ({"weights": "seedlm4", "decoders": 0}, "decoders 0"),
        ({"fifo": 2}, "fifo 2"),
        ({"k_max": 1}, "k_max 1"),
    ],
)
def test_engines_that_cannot_be_say_why(change, message):
    with pytest.raises(InputError, match=message):
        Gemv(**{"weights": "mxint8", **change})


def test_products_that_do_not_fit_are_refused():
    spec = Gemv("mxint8", beat_bytes=16, k_max=64)
    with pytest.raises(InputError, match="an x of 1 to 64 elements"):
        run_gemv(spec, dram(), 4, 65)
    with pytest.raises(InputError, match="write the same"):
        run_gemv(spec, dram(beat=32), 4, 64)


def test_a_run_on_the_shipped_engine_names_its_stalls():
    import hwsim

    result = hwsim.gemm("gemv-engine", 1, 256, 256, weights="seedlm4")
    assert sum(result.stalls.values()) == result.cycles > result.bound_cycles == 256 * 256 // 2 // 64
    assert json.dumps(result.to_dict())
    with pytest.raises(InputError, match="hwsim gemm gemv-engine"):
        hwsim.run("gemv-engine", "llama3-8b")


def test_tiles_follow_one_another():
    """Seven rows of x, three at a time: the tiles alone, and between two of them a block of x per cycle, and a command.

    The memory feeds a block per cycle, so a tile takes longer than one row by the other rows' results, one per cycle.
    """
    spec, memory = Gemm("mxfp4_e2m1", beat_bytes=32, k_max=128, tile=3), dram(32, 32)
    alone = {rows: run_gemv(spec, memory, 13, 128, m=rows).cycles for rows in (1, 2, 3)}
    between = [rows * 128 // 32 + 1 for rows in (3, 1)]
    assert run_gemv(spec, memory, 13, 128, m=7).cycles == 2 * alone[3] + alone[1] + sum(between)
    assert (alone[2] - alone[1], alone[3] - alone[1]) == (13, 26)
    one_row = Gemv("mxfp4_e2m1", beat_bytes=32, k_max=128)
    assert run_gemv(one_row, memory, 13, 128).cycles == alone[1]
    assert run_gemv(one_row, memory, 13, 128, m=2).cycles == 2 * alone[1] + 128 // 32 + 1


def test_tiles_at_the_same_phase_of_refresh_are_walked_once(monkeypatch):
    """Of 200 tiles, without refresh: one, and the last. With a period of 50 cycles: one per phase, and the last."""
    from hwsim.sim import beats

    walks = []
    monkeypatch.setattr(beats._Walk, "run", lambda self, run=beats._Walk.run: (walks.append(self.begin), run(self)))
    spec = Gemm("mxint8", beat_bytes=16, tile=2, k_max=64)
    assert run_gemv(spec, dram(), 20, 64, m=400).cycles > 200 * 20
    assert walks == [0, 0]
    walks.clear()
    stops = dram(refresh=Refresh("all_bank", Fraction(50), Fraction(7)))
    run_gemv(spec, stops, 20, 64, m=400)
    assert len(walks) <= 51


def test_a_run_on_the_shipped_gemm_machine_by_hand():
    """20 rows of x in tiles of 8: one group of 64 rows; 16 turns of 8 columns a tile; 8 blocks of x per row."""
    import hwsim

    result = hwsim.gemm("gemm-engine", 20, 64, 256, weights="seedlm4")
    assert (result.limited_by, result.bound_cycles, result.macs) == ("dot", 20 * 64 * 8 // 32, 20 * 64 * 256)
    assert result.bytes["weights"] == result.dram_bytes == 3 * 64 * 256 // 2
    stalls = result.stalls
    assert sum(stalls.values()) == result.cycles
    assert (stalls["busy"], stalls["padding"]) == (2.5 * 16 * 8, 0.5 * 16 * 8)
    assert stalls["launch"] == 8 * 8 + 1 + 4 * 8 + 1
    assert any("3 times" in note for note in result.notes) and any("4 of the 8 rows" in note for note in result.notes)
    alone = hwsim.gemm("gemv-engine", 1, 64, 256, weights="seedlm4")
    assert hwsim.gemm("gemm-engine", 1, 64, 256, weights="seedlm4").cycles == alone.cycles


def test_gemms_that_do_not_fit_are_refused():
    spec = Gemm("mxint8", beat_bytes=16, k_max=64)
    with pytest.raises(InputError, match="gemm: m 0; write 1 or more\ngemm: n 0; write 1"):
        run_gemv(spec, dram(), 0, 64, m=0)
    for change, message in (
        ({"tile": 0}, "Gemm: tile 0; write 1 to 64"),
        ({"tile": 33, "dot_units": 32}, "tile 33 x dot_units 32; write a tile of 32 rows or less"),
        ({"fifo": 2}, "Gemm: fifo 2"),
    ):
        with pytest.raises(InputError, match=message):
            Gemm("mxint8", **change)
