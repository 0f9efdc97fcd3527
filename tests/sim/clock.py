"""A second opinion on time: programs run tick by tick, credits are counted. It shares nothing with `hwsim.sim`."""

from collections import deque

from hwsim.mapping.program import DRAM, SERVERS


class Item:
    """A stay on a server. needs: (buffer, credits that must have come back before it starts, or so far been there)."""

    def __init__(self, step, op, source=None, before=None):
        self.step, self.op, self.source, self.before, self.needs = step, op, source, before, []
        self.start = self.accepted = self.first = self.last = self.end = None


class Clock:
    """Programs in order, on servers that each take their items in program order."""

    def __init__(self, pipeline, programs):
        self.pipeline, self.items, self.results = pipeline, [], []
        self.queues = [[] for _ in SERVERS]
        self.returns = [[] for _ in pipeline.capacity]  # (item, amount), in program order
        self.came_back = [[0, 0] for _ in pipeline.capacity]  # how many of them, and how much
        self._lay_out(programs)

    def _lay_out(self, programs):
        """Which item comes when on which server: what does not depend on time."""
        taken, given = [0] * len(self.returns), [0] * len(self.returns)
        late, reads, act = deque(), 0, None

        def place(item, op):
            item.op = op
            self.items.append(item)
            self.queues[item.step.server].append(item)
            for buffer, amount in item.step.gives:
                given[buffer] += amount
                self.returns[buffer].append((item, amount))

        for op, program in enumerate(programs):
            before = act
            for tile in program.tiles():
                item = None
                for step in tile.steps:
                    if step.server == DRAM:
                        while late and late[0][0] <= reads:
                            place(late.popleft()[1], op)
                        reads += 1
                    item = Item(step, op, item, before if step.waits else None)
                    for buffer, amount in step.takes:
                        taken[buffer] += amount
                        while taken[buffer] > self.pipeline.capacity[buffer] + given[buffer]:
                            place(late.popleft()[1], op)
                        item.needs.append((buffer, taken[buffer] - self.pipeline.capacity[buffer]))
                    place(item, op)
                if tile.write:
                    late.append((reads + program.distance, Item(tile.write, op, item)))
                if tile.result:
                    act = item
                    self.results.append(item)
            while late and program.flush:
                place(late.popleft()[1], op)
        while late:
            place(late.popleft()[1], len(programs) - 1)

    def run(self):
        """(ticks in all, ticks by op)."""
        heads, now = [0] * len(SERVERS), 0
        while any(head < len(queue) for head, queue in zip(heads, self.queues, strict=True)):
            moved = True
            while moved:  # several things may happen in one tick, one because of the other
                moved = False
                for server, queue in enumerate(self.queues):
                    if heads[server] < len(queue):
                        item = queue[heads[server]]
                        moved |= self._start(item, now) or self._accept(item, now)
                        if item.end is not None and item.end <= now:
                            heads[server] += 1
                            moved = True
                for buffer, row in enumerate(self.returns):
                    back = self.came_back[buffer]
                    while back[0] < len(row) and row[back[0]][0].end is not None and row[back[0]][0].end <= now:
                        back[1] += row[back[0]][1]
                        back[0] += 1
                        moved = True
            now += 1
        ends = [(item.op, item.end) for item in self.items if item.step.server == DRAM]
        ends += [(item.op, item.last + self.pipeline.q) for item in self.results]
        count = 1 + max(op for op, _ in ends)
        until = [max([end for op, end in ends if op <= number], default=0) for number in range(count)]
        return until[-1], [b - a for a, b in zip([0, *until], until, strict=False)]

    def _start(self, item, now):
        """The item begins, if its first input, its credits and the result it waits for are there."""
        if item.start is not None:
            return False
        if item.source and (item.source.first is None or item.source.first > now):
            return False
        if item.before and (item.before.last is None or item.before.last > now):
            return False
        if any(self.came_back[buffer][1] < need for buffer, need in item.needs):
            return False
        item.start = now
        item.first = self._served(item, item.step.beat) - item.step.beat + self.pipeline.latency[item.step.server]
        return True

    def _accept(self, item, now):
        """Its last input is there and its service nearly done: the last beat is taken, and leaves a beat later."""
        if item.start is None or item.accepted is not None:
            return False
        if item.source and (item.source.last is None or item.source.last > now):
            return False
        if self._served(item, item.step.interval) - item.step.beat > now:
            return False
        item.accepted = now
        item.last, item.end = now + self.pipeline.latency[item.step.server], now + item.step.beat
        return True

    def _served(self, item, work):
        """When `work` ticks of service are done: the channel stops at the end of each refresh period."""
        period, stall, now = self.pipeline.period, self.pipeline.stall, item.start
        if not period or item.step.server != DRAM:
            return now + work
        while work:
            work -= now % period < period - stall
            now += 1
        return now
