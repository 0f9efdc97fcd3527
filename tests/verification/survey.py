"""The suite `mutants`: every mutant is killed; on what share of random inputs it differs from the true unit."""

from __future__ import annotations

from typing import NamedTuple

from tests.rtl.amaranth_bench import run_trial
from tests.rtl.mutant import AT_LENGTH, Mutant
from tests.rtl.test_mutants import outcome
from tests.rtl.trial import Trial
from tests.rtl.units import MUTANTS
from tests.verification.formal.sby import cpu_seconds
from tests.verification.suite import Row, Suite

SEED = 11


class Share(NamedTuple):
    """Outputs with other bits, and cycles with another handshake or other bits, of how many each."""

    outputs: int
    of_outputs: int
    cycles: int
    of_cycles: int


class Survey(Trial):
    """Counts what `Trial` asserts; the neighbours go by the true unit's handshake, whatever the mutant drives."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.wrong_outputs = self.wrong_cycles = 0
        self._wrong = False

    def check(self, in_ready: bool, out_valid: bool, payload: int) -> None:
        """Count differences in this cycle, and take the edge."""
        true = self.step()
        differs = (in_ready, out_valid) != true
        if self._valid and true.in_ready:
            self.take()
        if true.out_valid:
            front = self._expected[0]
            want, mask = front if isinstance(front, tuple) else (front, -1)
            other = not out_valid or bool((payload ^ want) & mask)
            differs, self._wrong = differs or other, self._wrong or other
            if self._ready:
                self._expected.popleft()
                self.delivered += 1
                self.wrong_outputs, self._wrong = self.wrong_outputs + self._wrong, False
        self.wrong_cycles += differs
        self.cycles += 1


def survey(mutant: Mutant, seed: int) -> Share:
    """Random inputs of the bench's own generator, random valid and ready; one reset where only that is seen."""
    unit = mutant.build()
    n = 2000 if mutant.killed_by == AT_LENGTH else 300
    trial = Survey(unit.spec.cycle_model(), unit.draw(n, seed=seed), 0.9, 0.8, seed=seed)
    reset = {"reset_at": 250, "after": unit.draw(n // 2, seed=seed + 1)} if "reset" in mutant.killed_by else {}
    run_trial(unit.build(), trial, **reset)
    return Share(trial.wrong_outputs, trial.delivered, trial.wrong_cycles, trial.cycles)


def share_text(share: Share) -> str:
    """`0.30 % of 1,000 outputs`; where no output has other bits, of the cycles."""
    if share.outputs:
        return f"{100 * share.outputs / share.of_outputs:.2f} % of {share.of_outputs:,} outputs"
    return f"{100 * share.cycles / share.of_cycles:.2f} % of {share.of_cycles:,} cycles"


def kill(identity: str) -> Row:
    """One mutant: its share, and what the test that it names says."""
    mutant = next(each for each in MUTANTS if each.id == identity)
    start = cpu_seconds()
    said = outcome(mutant)
    seconds, killed = cpu_seconds() - start, bool(said) and said.startswith("cycle ")
    where = said.split(":")[0].split(",")[0] if killed else "SURVIVES"
    test = f"{mutant.killed_by}[{mutant.unit.name}]"
    share = share_text(survey(mutant, SEED))
    cells = (mutant.unit.kind.__name__, mutant.name, mutant.kind, share, test, where, f"{seconds:.1f} s")
    return Row((*cells, str(mutant.change)), killed, cpu_seconds() - start)


SUITE = Suite(
    "mutants",
    "every mutant is killed, and how seldom it differs",
    kill,
    tuple(mutant.id for mutant in MUTANTS),
    __name__,
)
