"""The GEMV and GEMM units, beat by beat: every edge by `max` and `+`, so that the count of cycles is that of the RTL.

The memory is a server: f_j = max(f_(j-1), c_j) + beat_bytes / bytes_per_cycle, stretched by refresh, where c_j is the
edge that accepts the request of beat j; the beat is offered at latency + ceil(f_j) - 1, at most one an edge. Edge 0
accepts the first request; cycles = the edge that accepts the last result + 1.

Where x has more rows than the unit holds, the tiles follow one another. From the edge after a tile's last result on, x
of the next tile is loaded, a block per edge. Its command is accepted at the edge after, or as soon as the unit has read
its stream to the end; the first request is accepted an edge later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from hwsim.arch.memory import Dram
from hwsim.errors import InputError
from hwsim.mapping.program import CAUSES
from hwsim.sim.refresh import stretch
from hwsim.specs import Gemv, Repacker


@dataclass(frozen=True)
class GemvRun:
    """One GEMM on the unit.

    cycles: from the edge of the first request to that of the last result, both counted.
    ticks:  ticks per cycle. lost: by server, ticks by cause (they sum to cycles); servers as in `mapping.program`. What
            is for rows of W which a group lacks is padding, and so is the share of a step of the dot units that is for
            rows of x which a tile lacks.
    """

    cycles: int
    ticks: int
    lost: dict[str, dict[str, int]]


class RigidEdges:
    """Edges at which the items of a rigid pipeline enter, are offered and leave; they come one by one, in order.

    An item that waits at the end stops the whole pipeline from its offer until it leaves: nothing enters meanwhile,
    and all that is inside is offered as much later. See `hwsim.timing.Rigid`, of which this is the closed form.
    """

    __slots__ = ("latency", "free", "inside", "stops", "past", "total", "offered")

    def __init__(self, latency: int):
        self.latency, self.free = latency, 0
        self.inside: deque[int] = deque()  # edge of entry, less the stops before it
        self.stops: deque[tuple[int, int]] = deque()  # that the next entry may still meet
        self.past = self.total = self.offered = 0  # ticks stopped before the last entry; in all

    def enter(self, ready: int) -> int:
        """The edge that accepts an item which is there from edge `ready` on."""
        edge = max(ready, self.free)
        stops = self.stops
        while stops and stops[0][0] <= edge:
            begin, end = stops.popleft()
            edge = max(edge, end)
            self.past += end - begin
        self.free = edge + 1
        self.inside.append(edge - self.past)
        return edge

    def offer(self) -> int:
        """The first edge at which the oldest item inside can leave."""
        self.offered = self.inside.popleft() + self.latency + self.total
        return self.offered

    def leave(self, edge: int) -> None:
        """The item just offered leaves at `edge`."""
        if edge > self.offered:
            self.stops.append((self.offered, edge))
            self.total += edge - self.offered


class Channel:
    """The memory: when each beat is offered. Times in ticks; edges in cycles.

    begin: the edge from which it is used; what was asked for before has been served.
    """

    def __init__(self, dram: Dram, begin: int = 0):
        rate, refresh = dram.rate, dram.refresh
        period, stall = Fraction(0), Fraction(0)
        if refresh.kind == "all_bank":
            period, stall = Fraction(refresh.period_cycles), Fraction(refresh.stall_cycles)
        self.q = lcm(rate.numerator, period.denominator, stall.denominator)
        self.work = dram.beat_bytes * self.q * rate.denominator // rate.numerator
        self.period, self.stall = int(period * self.q), int(stall * self.q)
        self.latency, self.done, self.offered = dram.latency_cycles, begin * self.q, begin - 1
        self.busy = self.waited = self.stopped = 0

    @property
    def repeats(self) -> int:
        """Cycles after which refresh is where it was: all times may be moved by a multiple of them."""
        return self.period // gcd(self.period, self.q) if self.period else 1

    def beat(self, requested: int) -> int:
        """The edge at which the next beat, asked for at edge `requested`, is taken by the FIFO."""
        start = max(self.done, requested * self.q)
        time = stretch(start, self.work, self.period, self.stall) if self.period else self.work
        self.waited += start - self.done
        self.stopped += time - self.work
        self.busy += self.work
        self.done = start + time
        self.offered = max(self.offered + 1, self.latency - 1 - (-self.done // self.q))
        return self.offered


class Repack:
    """Edges of a gearbox: a word in is accepted when there is room, a word out offered when all its units are in."""

    def __init__(self, spec: Repacker):
        self.spec, self.given, self.words = spec, 0, 0
        self.full: deque[tuple[int, int]] = deque()  # (units given up to a word in, its edge) that words out may need
        self.left: deque[int] = deque()  # edges of words out that words in may need, the latest last

    def room(self) -> int:
        """The first edge at which there is room for another word in."""
        spec = self.spec
        gone = -((spec.depth - spec.bits_in - self.given) // spec.bits_out)  # words that must have left
        if gone <= 0:
            return 0
        while len(self.left) > self.words - gone + 1:
            self.left.popleft()
        return self.left[0] + 1

    def put(self, edge: int, bits: int) -> None:
        """A word of `bits` was accepted at `edge`."""
        self.given += bits
        self.full.append((self.given, edge))

    def have(self, bits: int) -> int:
        """The first edge at which a word is offered that ends with unit number `bits`, counted from the first."""
        while self.full[0][0] < bits:
            self.full.popleft()
        edge = self.full[0][1] + 1
        return max(edge, self.left[-1] + 1) if self.words else edge

    def take(self, edge: int) -> None:
        """The word offered left at `edge`."""
        self.words += 1
        self.left.append(edge)


def run_gemv(
    spec: Gemv, dram: Dram, n: int, k: int, ready: Callable[[int], bool] | None = None, m: int = 1,
    burst: int | None = None,
) -> GemvRun:  # fmt: skip
    """Y[m, n] = X[m, k] W[n, k]^T on the unit, a tile of x after the other.

    ready: whether the sink of y takes a result at an edge; None: at each.
    burst: beats per request, as `hwsim.specs.Accel` asks for them, of one tile; None: each beat by its own request.
    raises: InputError for a shape that the unit does not take, or a memory it cannot be wired to.
    """
    check(spec, dram, n, k, m)
    if burst and m > spec.tile:
        raise InputError(f"burst: of one tile; write m 1 to {spec.tile}, not {m}")
    channel, begin = Channel(dram), 0
    walks: dict[tuple[int, bool, int], _Walk] = {}
    lost: dict[str, dict[str, int]] = {}
    for first in range(0, m, spec.tile):
        rows, following = min(spec.tile, m - first), min(spec.tile, m - first - spec.tile)
        # Tiles that begin at the same phase of refresh take the same time; a sink knows no such phase.
        start = begin if ready else begin % channel.repeats
        key = rows, following > 0, start
        if key not in walks:
            walks[key] = _Walk(spec, dram, n, k, rows, ready, start, following <= 0, burst)
            walks[key].run()
        end = walks[key].end if following <= 0 else walks[key].next_begin(following)
        for server, causes in walks[key].accounts(end, first > 0).items():
            before = lost.setdefault(server, dict.fromkeys(CAUSES, 0))
            lost[server] = {cause: before[cause] + causes.get(cause, 0) for cause in CAUSES}
        begin += end - start
    return GemvRun(begin, channel.q * spec.tile * spec.dot_units, lost)


def check(spec: Gemv, dram: Dram, n: int, k: int, m: int = 1) -> None:
    """raises: InputError naming all that does not fit."""
    name, problems = spec.kind.lower(), []
    if m < 1:
        problems.append(f"{name}: m {m}; write 1 or more")
    if not 1 <= n < 1 << 24:
        problems.append(f"{name}: n {n}; write 1 to 16777215")
    if not 1 <= k <= spec.k_max:
        problems.append(f"{name}: k {k}; the engine holds an x of 1 to {spec.k_max} elements")
    if dram.beat_bytes != spec.beat_bytes:
        problems.append(f"{name}: dram.beat {dram.beat_bytes} B, the engine's beat {spec.beat_bytes} B; write the same")
    if dram.latency_cycles < 1:
        problems.append(f"{name}: dram.latency 0; a memory with a clocked port needs 1 cycle or more")
    if dram.row_bytes or dram.turnaround_cycles:
        problems.append(f"{name}: dram.row and dram.turnaround are not modelled beat by beat; remove them")
    if problems:
        raise InputError(*problems)


class _Walk:
    """The evaluation of one tile: each word of the unpacker, in order, through everything behind it.

    rows: of x, at most a tile. begin: the edge that accepts the first request. is_last: whether no tile follows; the
    stream is then read only until the last result has left. burst: as `run_gemv` takes it.
    """

    def __init__(
        self, spec: Gemv, dram: Dram, n: int, k: int, rows: int, ready, begin: int, is_last: bool, burst: int | None
    ):
        self.spec, self.n, self.k, self.ready, self.begin, self.is_last = spec, n, k, ready, begin, is_last
        self.rows, self.results, self.burst = rows, n * rows, burst
        self.shape = shape = spec.shape(n, k)
        self.channel, self.unpack = Channel(dram, begin), Repack(spec.unpack)
        self.gather = Repack(spec.gather) if spec.codec and spec.gather else None
        self.bits = shape.groups * spec.interleave * shape.row_blocks * spec.step_bits
        self.tail = spec.tail_bits(k)
        self.beats, self.asked = 0, begin - 1  # beats fetched; edge of the last slot found free
        if burst:  # the first burst is asked for at edge `begin`
            self.asked -= min(burst, shape.groups * shape.group_beats)
        self.requested = 0  # edge at which the burst in work was asked for
        self.popped: deque[int] = deque([begin - 1], maxlen=spec.fifo)  # edges at which the latest left the FIFO
        self.group_steps = spec.interleave * spec.columns(k)
        self.steps, self.issued = 0, begin - 1
        self.entries: list[int] = []  # edges at which a result slot came free
        self.taken, self.sent = 0, begin - 1  # results delivered; edge of the last
        self.first_issue = self.input_waits = self.slot_waits = 0
        self.worked = 0, 0  # steps up to the last that a result needs, and its edge
        self.decoded = [0, 0, 0]  # words, first edge, last edge
        self.turned = 0  # rows written to the turn
        self.banks: list[int] = []  # edges of each bank's last read

    def run(self) -> None:
        """Walk until the last result has left and, unless this is the last tile, all of the stream is read."""
        words = self._seed_words() if self.spec.codec else self._block_words()
        for _ in words:
            if self.is_last and self.taken >= self.results:
                break

    @property
    def end(self) -> int:
        """The edge after that of the last result."""
        return self.sent + 1

    def next_begin(self, rows: int) -> int:
        """The edge that accepts the first request of the next tile, which has that many rows of x."""
        loaded = self.sent + rows * self.spec.x_blocks(self.k)
        idle = max(self.sent, self.popped[-1]) + 2  # the last result and the last beat are seen to have left, then busy
        return max(loaded + 1, idle) + 1

    # -- memory to unpacker ----------------------------------------------------------------------

    def _word(self, number: int) -> int:
        """The first edge at which the unpacker offers word `number`; its beats are fetched."""
        end = min((number + 1) * self.spec.unpack.bits_out, self.bits)
        while self.unpack.given < end:
            self._beat()
        return self.unpack.have(end)

    def _beat(self) -> None:
        spec, popped = self.spec, self.popped
        edge = self.channel.beat(self._asked()) + spec.FIFO_LATENCY
        edge = max(edge, self.unpack.room(), popped[-1] + 1)
        popped.append(edge)
        self.beats += 1
        self.unpack.put(edge, spec.beat_bits if self.beats % self.shape.group_beats else self.tail)

    def _asked(self) -> int:
        """The edge at which the next beat is asked for: its slot is free; of a burst, the edge after its last slot."""
        if not self.burst:
            return self._slot(0)
        if self.beats % self.burst == 0:
            left = self.shape.groups * self.shape.group_beats - self.beats
            for ahead in range(min(self.burst, left)):
                self._slot(ahead)
            self.requested = self.asked + 1
        return self.requested

    def _slot(self, ahead: int) -> int:
        """The edge at which one more slot is found free, that of the beat `ahead` of the next one."""
        self.asked += 1
        if self.beats + ahead >= self.spec.fifo:
            self.asked = max(self.asked, self.popped[ahead - self.spec.fifo] + 1)
        return self.asked

    # -- words to issue --------------------------------------------------------------------------

    def _block_words(self):
        """Blocks as they are stored go to issue straight from the unpacker."""
        number = 0
        while number * self.spec.unpack.bits_out < self.bits:
            self.unpack.take(self._issue(self._word(number)))
            number += 1
            yield

    def _seed_words(self):
        """Seeds pass decoders, gather and requantizers first."""
        spec, gather = self.spec, self.gather
        decoder = RigidEdges(spec.decoder.timing.latency)
        requantizer = RigidEdges(spec.requantizer.timing.latency)
        number = 0
        while number * spec.unpack.bits_out < self.bits:
            edge = decoder.enter(self._word(number))
            self.unpack.take(edge)
            self._count_decoded(edge)
            number += 1
            if gather is None:
                edge = requantizer.enter(decoder.offer())
                decoder.leave(edge)
                self._requantized(requantizer)
            else:
                edge = max(decoder.offer(), gather.room())
                decoder.leave(edge)
                gather.put(edge, spec.decoders)
                while (whole := (gather.words + 1) * spec.gather.bits_out) <= gather.given:
                    edge = requantizer.enter(gather.have(whole))
                    gather.take(edge)
                    self._requantized(requantizer)
            yield

    def _requantized(self, requantizer: RigidEdges) -> None:
        """What the requantizers made is issued, or turned first."""
        spec = self.spec
        if spec.parts == 1:
            requantizer.leave(self._issue(requantizer.offer()))
            return
        edge, (bank, row) = requantizer.offer(), divmod(self.turned, spec.interleave)
        if bank >= 2:
            edge = max(edge, self.banks[bank - 2] + 1)
        requantizer.leave(edge)
        self.turned += 1
        self._issue(edge + 1)
        if row == spec.interleave - 1:
            for _ in range(row + 1, spec.parts * spec.interleave):
                self._issue(self.issued + 1)
            self.banks.append(self.issued)

    # -- issue to the last result ------------------------------------------------------------------

    def _issue(self, offered: int) -> int:
        """The edge at which a block of each dot unit is issued; where it ends rows, their results are delivered."""
        spec, fills = self.spec, self.taken >= self.results  # fills: it only fills the last group
        if fills and self.is_last:
            return offered
        ready = max(offered, self.issued + 1)
        edge, ends = ready, self.steps % self.group_steps >= self.group_steps - spec.interleave
        if ends and len(self.entries) >= spec.results:
            edge = max(edge, self.entries[len(self.entries) - spec.results] + 1)
        if not self.steps:
            self.first_issue = edge
        elif not fills:
            self.input_waits += ready - self.issued - 1
            self.slot_waits += edge - ready
        self.steps, self.issued = self.steps + 1, edge
        if not fills:
            self.worked = self.steps, edge
        if ends:
            self._deliver(edge + spec.result_latency)
        return edge

    def _deliver(self, entered: int) -> None:
        if self.taken >= self.results:  # rows of zeros never leave; once all others have, there is room for them
            self.entries.append(self.sent)
            return
        edge = max(entered, self.sent)
        for _ in range(self.spec.dot_units * self.rows):
            if self.taken < self.results:
                edge += 1
                while self.ready and not self.ready(edge):
                    edge += 1
                self.taken, self.sent = self.taken + 1, edge
        self.entries.append(edge)

    # -- accounts ------------------------------------------------------------------------------------

    def _count_decoded(self, edge: int) -> None:
        if self.taken >= self.results:
            return
        if not self.decoded[0]:
            self.decoded[1] = edge
        self.decoded[0] += 1
        self.decoded[2] = edge

    def accounts(self, end: int, again: bool) -> dict[str, dict[str, int]]:
        """Ticks of each server by cause from the tile's beginning to `end`; each sums to all of them.

        Here a tick of the memory is a tick for each row of x and each row of W that meet in a step, so that each pair
        has its share of it. What is beyond the beats, words and pairs that the matrix takes is padding.
        again: the tile is not the first: the stream is read, and seeds are regenerated, once more.
        """
        spec, channel, q, (steps, last_step) = self.spec, self.channel, self.channel.q, self.worked
        work, pairs = "reread" if again else "busy", spec.tile * spec.dot_units
        read = -(-self.shape.record_bytes // spec.beat_bytes) * channel.work
        accounts = {
            "dram": {
                work: read,
                "padding": channel.busy - read,
                "output_blocked": channel.waited,
                "refresh": channel.stopped,
            }
            | self._rest(channel.done, end),
            "dot": {
                "fill": (self.first_issue - self.begin) * q,
                "waiting_input": self.input_waits * q,
                "output_blocked": self.slot_waits * q,
            }
            | self._rest((last_step + 1) * q, end),
        }
        if self.decoded[0]:
            words, first, last = self.decoded
            made = -(-self.n * -(-self.k // spec.layout.block) // spec.decoders)
            accounts["regenerate"] = {
                work: made * q,
                "padding": (words - made) * q,
                "fill": (first - self.begin) * q,
                "waiting_input": (last + 1 - first - words) * q,
            } | self._rest((last + 1) * q, end)
        found = {server: {cause: pairs * ticks for cause, ticks in parts.items()} for server, parts in accounts.items()}
        met = self.rows * self.n * spec.columns(self.k)
        found["dot"] |= {"busy": met * q, "padding": (steps * pairs - met) * q}
        return found

    def _rest(self, done: int, end: int) -> dict[str, int]:
        """What a server that is done at tick `done` waits for: the last result; x and command of the next tile."""
        result, q = self.end * self.channel.q, self.channel.q
        return {"drain": max(0, result - done), "launch": end * q - max(result, done)}
