"""TrainResult: what a training step takes, with everything needed to repeat it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from hwsim.files.tables import bytes_text, seconds_text
from hwsim.jobs.training.memory import TrainMemory
from hwsim.result import known_text, shown

SCHEMA = 2


@dataclass(frozen=True, slots=True)
class TrainResult:
    """One optimiser step. Of a graph, what is said of tokens is of its samples.

    seconds: of the whole step, over all chips. tokens_per_second_per_chip: batch times context over both.
    bound_seconds, limited_by: the work of the busiest server of the busiest stage at its peak rate; its name.
    flops_per_token: model FLOP; mfu: those of the step over the dense peak of `mfu_pair` on all chips. That is the pair
                     of formats that the dot array multiplies in the forward pass; a note says where the recipe's is
                     another.
    spent:   (part, when, seconds) of an average chip; with `exposed_seconds` (what collectives add to the step) and
             `idle_seconds` (what stages wait for one another) they sum to `seconds`.
    memory:  of one chip of the stage that needs most.
    provenance: shares of the kernels' time by how it is known: "measured", "transferred" or "ideal".
    """

    name: str
    machine: str
    chips: int
    seconds: float
    tokens_per_second_per_chip: float
    bound_seconds: float
    limited_by: str
    flops_per_token: int
    mfu: float
    mfu_pair: str
    peak_flops: float
    micro_batches: int
    spent: tuple[tuple[str, str, float], ...]
    exposed_seconds: float
    idle_seconds: float
    memory: TrainMemory
    provenance: dict[str, float]
    notes: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    version: str = ""

    @property
    def unit(self) -> str:
        """What tokens are of this workload: token, or sample of a graph."""
        return str(self.config.get("unit", "token"))

    @property
    def tokens_per_second(self) -> float:
        """Of all chips."""
        return self.tokens_per_second_per_chip * self.chips

    def by_when(self) -> dict[str, float]:
        """Seconds by forward, backward, encode, recompute and optimiser."""
        found: dict[str, float] = {}
        for _, when, seconds in self.spent:
            found[when] = found.get(when, 0.0) + seconds
        return found

    def summary(self) -> tuple[tuple[str, str], ...]:
        """(name, value) of the figures that a reader looks at first; the command prints more."""
        rate = f"{self.tokens_per_second_per_chip:,.0f} "
        rate += f"per chip; {self.tokens_per_second:,.0f} on {self.chips:,} chips" if self.chips > 1 else "on one chip"
        m, verdict = self.memory, "fits" if self.memory.fits else "DOES NOT FIT"
        return (
            (f"{self.unit}s/s", rate),
            ("step", seconds_text(self.seconds)),
            ("limited by", f"{self.limited_by}, whose work takes {seconds_text(self.bound_seconds)}"),
            ("MFU", f"{100 * self.mfu:.1f} % of {self.peak_flops / 1e12:,.0f} TFLOP/s of {self.mfu_pair}"),
            ("exposed", f"{100 * self.exposed_seconds / self.seconds:.1f} % of the step"),
            ("idle", f"{max(0.0, 100 * self.idle_seconds / self.seconds):.1f} % of the step"),
            ("memory", f"{bytes_text(m.total)} of {bytes_text(m.capacity)}, {verdict}"),
            ("kernels", known_text(self.provenance)),
        )

    def __repr__(self) -> str:
        return shown(f"{self.name}, {self.machine}", self.summary(), self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON (schema 2)."""
        data = {"schema": SCHEMA, "phase": "train", **asdict(self)}
        data["spent"] = [{"part": part, "when": when, "seconds": seconds} for part, when, seconds in self.spent]
        data["memory"] = self.memory.to_dict()
        return data
