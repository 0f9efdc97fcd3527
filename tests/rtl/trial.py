"""What every RTL bench drives and checks, whichever simulator runs the RTL.

A trial drives random valid and ready, holds valid until the input is taken, and asserts in each cycle: both
handshake signals equal the cycle model of `hwsim.timing`; an offered payload equals the next expected one.
"""

import random
from collections import deque
from collections.abc import Iterable


class Trial:
    """One run of a unit against its cycle model and its values.

    model:   a cycle model of `hwsim.timing`.
    cases:   pairs (input payload, expected output payload). Expected None: this input ends inside the unit;
             a pair (payload, mask): only the bits of the mask mean something; a list: all outputs that it completes.
             A third entry: what else the cycle model is told of the input.
    p_valid, p_ready: probability that the neighbours are ready to transfer in a cycle; 1 always.
    """

    def __init__(self, model, cases: Iterable[tuple], p_valid=0.7, p_ready=0.7, seed=0):
        self.model, self.p_valid, self.p_ready = model, p_valid, p_ready
        self._cases = iter(cases)
        self._random = random.Random(seed)
        self._expected = deque()
        self._offer = next(self._cases, None)
        self._valid = self._ready = False
        self.cycles = self.accepted = self.delivered = 0

    @property
    def running(self) -> bool:
        """Whether an input or an output is still outstanding."""
        return self._offer is not None or bool(self._expected)

    def drive(self) -> tuple[bool, int, bool]:
        """(valid, payload, ready) of this cycle; without valid the payload is noise."""
        chance = self._random.random
        if not self._valid:
            self._valid = self._offer is not None and chance() < self.p_valid
        self._ready = chance() < self.p_ready
        return self._valid, self._offer[0] if self._valid else self._random.getrandbits(16), self._ready

    def step(self):
        """The cycle model's handshake of this cycle; it takes the edge."""
        told = {}
        if self._valid:
            told = self._offer[2] if len(self._offer) > 2 else {} if self._offer[1] is not None else {"keep": False}
        return self.model.step(self._valid, self._ready, **told)

    def take(self) -> None:
        """The offered input is in the unit."""
        answer = self._offer[1]
        self._expected.extend(answer if isinstance(answer, list) else [] if answer is None else [answer])
        self._offer, self._valid = next(self._cases, None), False
        self.accepted += 1

    def check(self, in_ready: bool, out_valid: bool, payload: int) -> None:
        """Compare what the unit drives in this cycle, and take the edge.

        raises: AssertionError naming the cycle.
        """
        want = self.step()
        assert (in_ready, out_valid) == want, f"cycle {self.cycles}: {(in_ready, out_valid)}, the cycle model: {want}"
        if self._valid and in_ready:
            self.take()
        if out_valid:
            assert self._expected, f"cycle {self.cycles}: an output that nothing asked for"
            want, mask = self._expected[0] if isinstance(self._expected[0], tuple) else (self._expected[0], -1)
            assert not (payload ^ want) & mask, (
                f"cycle {self.cycles}, output {self.delivered}: {payload:#x}, expected {want:#x} under mask {mask:#x}"
            )
            if self._ready:
                self._expected.popleft()
                self.delivered += 1
        self.cycles += 1

    def reset(self, cases: Iterable[tuple] | None = None) -> None:
        """The synchronous reset was held for an edge: everything inside is lost; `cases` follow, None: the rest."""
        self.model.reset()
        self._expected.clear()
        self._valid = False
        if cases is not None:
            self._cases = iter(cases)
            self._offer = next(self._cases, None)
