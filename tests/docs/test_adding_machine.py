"""docs/adding.md (b): a machine that is no tile pipeline, and a compute unit of one, from their YAML files."""

import json

from tests.docs.addition import Copy, listed

MACHINE = '''
"""A machine with one multiplier and a memory that is read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from hwsim.arch.machine import Machine, MachineFile, Summary
from hwsim.arch.memory import Dram
from hwsim.files.fields import validate
from hwsim.files.yaml import Document


class MineFile(MachineFile):
    """A machine with one multiplier."""

    mine: int = Field(ge=1, description="Cycles of one multiply-add.", examples=[3])


@dataclass(frozen=True, slots=True, kw_only=True)
class MineMachine(Machine):
    """One multiplier."""

    KEY: ClassVar[str] = "mine"
    FILE: ClassVar[type[MachineFile]] = MineFile

    mine: int

    @classmethod
    def read(cls, document: Document) -> MineMachine:
        """The machine of a file."""
        file = validate(document, MineFile)
        clock = file.clock.value
        return cls(
            name=file.name,
            description=file.description,
            clock_hz=clock,
            dram=Dram.of(file.dram, clock),
            mine=file.mine,
            hypothetical=file.hypothetical,
        )

    def file(self) -> dict[str, Any]:
        """The machine as its file states it."""
        return self.head() | {"mine": self.mine}

    def summary(self) -> Summary:
        """Its line in a table."""
        rate = self.dram.bytes_per_cycle * self.clock_hz
        return Summary(self.name, self.clock_hz, rate, self.clock_hz / self.mine, (("int8", "int8"),))
'''

JOB = '''
"""One GEMM on a machine with one multiplier: every multiply-add, one after the other."""

from __future__ import annotations

from hwsim import __version__
from hwsim.arch import arch_config
from hwsim.errors import InputError
from hwsim.result import Result, Row


class MineJob:
    """A GEMM."""

    def __init__(self, arch, m, n, k):
        self.arch, self.m, self.n, self.k = arch, m, n, k

    @classmethod
    def of(cls, arch, workload, options):
        """A workload's step."""
        raise InputError(f"{arch.name}: computes one GEMM; use `hwsim gemm {arch.name} ...`")

    @classmethod
    def gemm(cls, arch, m, n, k, formats, engine=None):
        """Y = X W^T."""
        return cls(arch, m, n, k)

    def result(self):
        """Account."""
        macs = self.m * self.n * self.k
        cycles = macs * self.arch.mine
        row = Row("gemm", 1, cycles, self.n * self.k, macs)
        return Result(
            name="gemm", machine=self.arch.name, hypothetical=self.arch.hypothetical, phase="gemm", cycles=cycles,
            seconds=self.arch.seconds(cycles), bound_cycles=cycles, roofline_cycles=cycles, limited_by="dot",
            tokens_per_second=None, bytes={"weights": self.n * self.k}, dram_bytes=self.n * self.k, macs=macs,
            utilization={"dot": 1.0}, stalls={"busy": cycles}, by_op=(row,), by_layer=(row,), memory=None, notes=(),
            tiling="none", version=__version__,
            config={
                "formats": {"weights": "int8", "activations": "int8", "kv": None, "state": None},
                "machine": arch_config(self.arch),
            },
        )
'''

FILE = """
name: toy
description: one multiplier
clock: 1 GHz
dram: {bandwidth: 1 GB/s, latency: 100 ns, beat: 64 B, capacity: 1 GB, refresh: {kind: none}}
mine: 3
"""


def test_a_machine_kind_is_four_files(tmp_path):
    copy = Copy(tmp_path)
    copy.new("hwsim/arch/mine.py", MACHINE)
    copy.new("hwsim/jobs/mine.py", JOB)
    copy.replace("hwsim/arch/load.py", "Arch = GemvMachine |", "Arch = MineMachine | GemvMachine |")
    machine = "from hwsim.arch.mine import MineMachine"
    copy.row("hwsim/arch/load.py", "from hwsim.arch.machine import", machine)
    copy.row("hwsim/jobs/run.py", "from hwsim.arch.machine import", machine)
    copy.row("hwsim/jobs/run.py", "from hwsim.jobs.gemv import", "from hwsim.jobs.mine import MineJob")
    copy.row("hwsim/jobs/run.py", "GemvMachine: GemvJob,", "    MineMachine: MineJob,")
    assert copy.touched == listed("(b) A machine kind")
    (tmp_path / "toy.yaml").write_text(FILE)
    result = json.loads(copy.run("-m", "hwsim", "gemm", "toy.yaml", "--m", "2", "--n", "3", "--k", "5", "--json"))
    assert (result["cycles"], result["macs"], result["limited_by"]) == (90, 30, "dot")
    assert result["config"]["machine"]["mine"] == 3
    shown = copy.run("-m", "hwsim", "gemm", "toy.yaml", "--m", "2", "--n", "3", "--k", "5", "--set", "mine=4")
    assert "120" in shown
    assert "MineFile" in copy.run("-m", "hwsim", "schema", "machine")


UNIT = '''
class MineFile(DotFile):
    """A multiplier that takes a tile of `side` x `side` outputs at a time."""

    kind: Literal["mine"] = Field(description=_KIND, examples=["mine"])  # type: ignore[assignment]
    side: int = Field(ge=1, description="Outputs along a side.", examples=[4])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine(DotArray):
    """Square tiles of outputs: every tile is filled up to whole ones."""

    KIND: ClassVar[str] = "mine"

    side: int

    def slots(self, m: int, n: int, k: int, rate: Fraction) -> int:
        """Both sides rounded up."""
        s = self.side
        return -(-m // s) * s * -(-n // s) * s * k


'''


def test_a_compute_unit_is_one_file(tmp_path):
    copy = Copy(tmp_path)
    path = "hwsim/arch/compute.py"
    copy.before(path, "UNITS: dict", UNIT)
    copy.replace(path, "TensorCores, SystolicArray)}", "TensorCores, SystolicArray, Mine)}")
    copy.replace(
        path,
        '| Annotated[SystolicFile, Tag("systolic")],',
        '| Annotated[SystolicFile, Tag("systolic")] | Annotated[MineFile, Tag("mine")],',
    )
    assert copy.touched == listed("(b) A compute unit")
    text = (tmp_path / "arch_configs" / "m0.yaml").read_text()
    (tmp_path / "toy.yaml").write_text(text.replace("dot:\n", "dot:\n  kind: mine\n  side: 8\n"))
    command = ("-m", "hwsim", "gemm", "toy.yaml", "--m", "9", "--n", "64", "--k", "256", "--weights", "int8", "--json")
    filled, plain = (json.loads(copy.run(*command, *more)) for more in ((), ("--set", "dot.side=1")))
    assert filled["config"]["machine"]["dot"]["side"] == 8
    assert filled["utilization"]["dot"] > plain["utilization"]["dot"]  # nine rows occupy the time of sixteen
