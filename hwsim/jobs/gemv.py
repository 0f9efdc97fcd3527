"""A GEMM on a GEMV or GEMM machine: simulate it beat by beat, compute its bound, make the Result."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from hwsim import __version__
from hwsim.arch import arch_config
from hwsim.errors import InputError, ModelError
from hwsim.formats.names import layout
from hwsim.mapping.bound import Bound, bound
from hwsim.result import Result, Row, apportion
from hwsim.sim.beats import check, run_gemv

if TYPE_CHECKING:
    from hwsim.arch import GemvMachine
    from hwsim.formats.layout import Layout
    from hwsim.jobs.options import RunOptions
    from hwsim.mapping.operands import Formats
    from hwsim.workload.op import Workload


WORK = ("busy", "reread", "padding")
"""Causes of the cycles in which a server works."""


def _other(arch: GemvMachine, what: str, given: list[Layout], own: Layout) -> str:
    """The problem of a format that the machine does not take."""
    names = ", ".join(form.name for form in given)
    if [form.name for form in given] == [own.name]:
        return f"{arch.name}: {what} {names}: the machine's format of that name is another one; write its definition"
    return f"{arch.name}: {what} {names}: the machine takes {own.name}; write that"


class GemvJob:
    """Y[m, n] = X[m, k] W[n, k]^T on the unit of `arch`, ready to be simulated.

    raises: InputError if the unit was not built for this matrix shape.
    """

    def __init__(self, arch: GemvMachine, m: int, n: int, k: int):
        check(arch.gemv, arch.dram, n, k, m)
        self.arch, self.m, self.n, self.k = arch, m, n, k
        self.shape = arch.gemv.shape(n, k)
        self.tiles = -(-m // arch.gemv.tile)

    @classmethod
    def of(cls, arch: GemvMachine, workload: Workload, options: RunOptions) -> GemvJob:
        """A step of a workload. raises: InputError always: the machine computes only GEMMs."""
        raise InputError(
            f"{arch.name}: computes one GEMM at a time and cannot run a model; "
            f"use `hwsim gemm {arch.name} --m {arch.gemv.tile} ...`"
        )

    @classmethod
    def gemm(cls, arch: GemvMachine, m: int, n: int, k: int, formats: Formats, engine: str | None = None) -> GemvJob:
        """Y[m,n] = X[m,k] W[n,k]^T. raises: InputError with every reason why the machine cannot compute it."""
        spec, problems = arch.gemv, []
        if engine is not None:
            problems.append(
                f"{arch.name}: engine: this machine is simulated beat by beat and has no choice of engine; leave it out"
            )
        own, acts = layout(spec.activations), formats.activations
        given = dict.fromkeys(rule.format for rule in formats.weights.rules)
        if list(given) != [spec.layout]:
            problems.append(_other(arch, "weights", list(given), spec.layout))
        if acts is not None and acts != own:
            problems.append(_other(arch, "activations", [acts], own))
        if problems:
            raise InputError(*problems)
        return cls(arch, m, n, k)

    def bound(self) -> Bound:
        """Lower bound of any schedule: bytes and seed blocks of the matrix once, its dot blocks for each row of x, each
        at full rate."""
        spec, shape = self.arch.gemv, self.shape
        work = {"dram": Fraction(shape.record_bytes) / self.arch.dram.bytes_per_cycle}
        if spec.codec:
            work["regenerate"] = Fraction(self.n * -(-self.k // spec.layout.block), spec.decoders)
        work["dot"] = Fraction(self.m * self.n * -(-self.k // spec.dot.lanes), spec.dot_units * spec.tile)
        return bound([(work, 1)])

    @property
    def seconds(self) -> float:
        """Time of the product, as in the Result."""
        return self.result().seconds

    def result(self) -> Result:
        """Simulate and make the Result. raises: ModelError if the simulated time is below the bound."""
        arch, spec, shape = self.arch, self.arch.gemv, self.shape
        run = run_gemv(spec, arch.dram, self.n, self.k, m=self.m)
        limit = self.bound()
        if run.cycles < limit.bound_cycles:
            raise ModelError(f"{arch.name}: {run.cycles} cycles beat the bound of {limit.bound_cycles}")
        seconds, macs = arch.seconds(run.cycles), self.m * self.n * self.k
        weights = self.tiles * shape.record_bytes
        end = run.cycles * run.ticks
        for server, causes in run.lost.items():
            if sum(causes.values()) != end:
                raise ModelError(f"{server}: {causes} do not sum to {end} ticks")
        row = "gemm"
        return Result(
            name=f"gemm, m {self.m:,}, n {self.n:,}, k {self.k:,}",
            machine=arch.name,
            hypothetical=arch.hypothetical,
            phase="gemm",
            cycles=run.cycles,
            seconds=seconds,
            bound_cycles=limit.bound_cycles,
            roofline_cycles=limit.roofline_cycles,
            limited_by=limit.limited_by,
            tokens_per_second=None,
            bytes={"weights": weights, "kv": 0, "state": 0, "activations": 0},
            dram_bytes=self.tiles * shape.nbytes,
            macs=macs,
            utilization={s: sum(causes[c] for c in WORK) / end for s, causes in run.lost.items()},
            stalls=apportion(run.lost[limit.limited_by], run.ticks, run.cycles),
            by_op=(Row(row, 1, run.cycles, weights, macs, limit.limited_by),),
            by_layer=(Row("outside layers", 1, run.cycles, weights, macs, limit.limited_by),),
            memory=None,
            notes=(*self._notes(), *arch.warnings),
            tiling=f"groups of {spec.group_rows} rows" + (f", tiles of {spec.tile} rows of x" if spec.tile > 1 else ""),
            config={
                "m": self.m,
                "n": self.n,
                "k": self.k,
                "formats": {
                    "weights": spec.layout.resolved(),
                    "activations": layout(spec.activations).resolved(),
                    "kv": None,
                    "state": None,
                },
                "engine": arch.KEY,
                "machine": arch_config(arch),
            },
            provenance={"rtl": 1.0},
            limits={limit.limited_by: 1.0},
            version=__version__,
        )

    def _notes(self) -> Iterator[str]:
        """What is on chip and what is padding; from the second tile on, that W is read again."""
        spec, shape = self.arch.gemv, self.shape
        row_bytes = -(-self.k // 32) * layout(spec.activations).record_bits // 8
        held = f"the vector ({row_bytes} B) is"
        if spec.tile > 1:
            held = f"{spec.tile} rows of x ({spec.tile} x {row_bytes} B) are"
        yield f"{spec.layout.name} x {layout(spec.activations).name}; {held} on chip; cycles as in the RTL"
        yield f"{shape.padding_bytes} B of the stream are padding (blocks, groups of {spec.group_rows} rows, beats)"
        if missing := -self.m % spec.tile:
            yield f"{missing} of the {spec.tile} rows of x in the last tile are padding"
        if self.tiles > 1:
            yield (
                f"{self.tiles} tiles of x: W is read {self.tiles} times (reread); "
                "between them x is loaded, a block per cycle (launch)"
            )
