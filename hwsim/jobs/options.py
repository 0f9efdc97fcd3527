"""Options of a run: the step to simulate, the formats, the simulation driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hwsim.errors import InputError, collect
from hwsim.mapping.operands import RELEASED, Formats
from hwsim.result import Result
from hwsim.sim.engine import DRIVERS
from hwsim.workload.language.parallel import KINDS
from hwsim.workload.language.routing import skew_exponent
from hwsim.workload.op import MLA_FORMS, PHASES, StepOptions, Workload

#: The driver that is used when a run names none.
DRIVER = "simpy"


class Job(Protocol):
    """A question to one kind of machine: made from a workload's step or from one GEMM, not yet simulated."""

    @classmethod
    def of(cls, arch: Any, workload: Workload, options: RunOptions) -> Job:
        """One step of a workload. raises: InputError."""

    @classmethod
    def gemm(cls, arch: Any, m: int, n: int, k: int, formats: Formats, engine: str | None = None) -> Job:
        """Y[m,n] = X[m,k] W[n,k]^T. raises: InputError."""

    def result(self) -> Result:
        """Simulate and account."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything about a run except the machine and the workload.

    engine: the simulation driver, "simpy" or "walk"; both give the same times to the tick.
    """

    step: StepOptions
    formats: Formats
    engine: str = DRIVER

    @classmethod
    def of(
        cls,
        phase: str = "decode",
        batch: int = 1,
        context: int = 8192,
        weights: Any = RELEASED,
        activations: Any = None,
        kv: Any = None,
        state: Any = None,
        engine: str | None = None,
        *,
        chips: int = 1,
        parallel: str = "tensor",
        skew: str = "even",
        mla: str = "",
        chunk: int = 0,
        done: int = 0,
    ) -> RunOptions:
        """Options from the arguments of `hwsim.run`. raises: InputError with every error found."""
        problems: list[str] = []
        with collect(problems):
            check_choice("phase", phase, PHASES)
        with collect(problems):
            check_positive(batch=batch, context=context, chips=chips)
        with collect(problems):
            check_most(batch=batch, context=context)
        with collect(problems):
            _check_chunk(phase, chunk, done)
        with collect(problems):
            check_choice("parallel", parallel, KINDS)
        with collect(problems):
            skew_exponent(skew)
        with collect(problems):
            check_choice("mla", mla, MLA_FORMS) if mla else None
        with collect(problems):
            check_engine(engine)
        formats = Formats.of()
        with collect(problems):
            formats = Formats.of(weights, activations, kv, state)
        if problems:
            raise InputError(*problems)
        step = StepOptions(phase, batch, context, chips, parallel, skew, mla=mla, chunk=chunk, done=done)
        return cls(step, formats, engine or DRIVER)

    def at(self, **changes: Any) -> RunOptions:
        """The same options for another step: `changes` are fields of StepOptions."""
        return replace(self, step=replace(self.step, **changes))

    def config(self) -> dict[str, Any]:
        """Plain data, with formats as names."""
        step = self.step
        return {
            "phase": step.phase,
            "batch": step.batch,
            "context": step.context,
            **({"chunk": step.chunk, "done": step.done} if step.chunk else {}),
            "chips": step.chips,
            "parallel": step.parallel,
            "skew": step.skew,
            **({"mla": step.mla} if step.mla else {}),
            **self.formats.config(),
            "engine": self.engine,
        }


def check_positive(**sizes: int) -> None:
    """raises: InputError for every size that is not a positive whole number."""
    rule = "is not a positive whole number; write 1 or more"
    bad = [f"{name}: {value!r} {rule}" for name, value in sizes.items() if value < 1]
    if bad:
        raise InputError(*bad)


#: Most tokens of a context, and most sequences: a hundred times the longest contexts that models are made for.
MOST = 10**9


def check_most(**sizes: int) -> None:
    """raises: InputError for every size above `MOST`, as a slip of the pen."""
    bad = [
        f"{name}: {value:,} is more than 10^9, the most that is simulated; write less"
        for name, value in sizes.items()
        if value > MOST
    ]
    if bad:
        raise InputError(*bad)


def _check_chunk(phase: str, chunk: int, done: int) -> None:
    """raises: InputError for a chunk outside a mixed step, or a mixed step without one."""
    if phase == "mixed":
        check_positive(chunk=chunk)
    elif chunk or done:
        raise InputError("chunk, done: only a mixed step computes part of a prompt; write phase mixed")
    if done < 0:
        raise InputError(f"done: {done} is not a number of tokens; write 0 or more")


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """raises: InputError with the words that are allowed."""
    if value not in known:
        expected = f"{', '.join(known[:-1])} or {known[-1]}"
        raise InputError(f"{name}: unknown {value!r}; expected {expected}")


def check_engine(engine: str | None) -> None:
    """raises: InputError for an unknown simulation driver; None selects the default."""
    if engine is not None:
        check_choice("engine", engine, tuple(DRIVERS))
