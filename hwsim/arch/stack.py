"""Serving stacks: what the software around the kernels costs, per framework, from `arch_configs/stacks/*.yaml`.

A stack is no property of a chip. `hwsim serve --stack` names one; `make stacks` fits the numbers of the shipped files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PlainValidator, StringConstraints, WithJsonSchema

from hwsim.arch.builtin import arch_folder
from hwsim.errors import InputError, nearest
from hwsim.files import fields
from hwsim.files.fields import FilePart, asked
from hwsim.files.yaml import read, short
from hwsim.quantities import Quantity, pattern, quantity

if TYPE_CHECKING:
    from hwsim.arch import TileMachine
    from hwsim.arch.cores import Cores, Family

#: The stack of a machine whose file states no times of its own.
DEFAULT = "default"
#: No software at all: the device's time alone, every kernel as in its benchmark.
NONE = "none"
#: Families whose scales are known ahead of a step, so that the op before the GEMM can quantise. Block scales are not.
STATIC = ("fp8", "nvfp4")

Seconds = Annotated[
    Quantity,
    PlainValidator(asked(lambda text: quantity(text, "s", zero=True))),
    WithJsonSchema({"type": "string", "pattern": pattern("s")}),
]
Percent = Annotated[float | int, Field(ge=0)]


class FitFile(FilePart):
    """How well the numbers predict the rows that they were fitted to. Mean errors in percent."""

    rows: int = Field(ge=1, description="Measured rows.", examples=[216])
    models: int = Field(ge=1, description="Models among them.", examples=[3])
    in_fit: Percent = Field(description="Mean error of the rows by these numbers.", examples=[8.1])
    left_out: Percent | None = Field(
        None, description="Mean error of each model by the numbers that fit the others.", examples=[8.5]
    )


class ServingStackFile(FilePart):
    """A serving framework: the software around the kernels."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Short name, as on the command line.", examples=["my-stack"]
    )
    description: str = Field(description="One line: which framework, which releases.", examples=["my framework 1.0"])
    quantise: Literal["fused", "own"] = Field(
        description="fused: static scales are applied by the op ahead of a GEMM, which then starts as a bf16 one does; "
        "own: a kernel of its own quantises, as in the measured tables.",
        examples=["fused"],
    )
    keep_windows: bool = Field(
        False, description="The KV cache keeps every position of layers with a window.", examples=[True]
    )
    step: Seconds = Field(description="Per step, not hidden behind the device.", examples=["0.3 ms"])
    sequence: Seconds = Field(description="Per sequence of a decode step, not hidden either.", examples=["9 us"])
    layer: Seconds = Field(Quantity(Fraction(0), "s"), description="Per layer, not hidden either.", examples=["0 us"])
    fit: FitFile | None = Field(None, description="What the numbers were fitted to.")
    source: str = Field(description="Where the numbers and the rules come from.", examples=["..."])


@dataclass(frozen=True, slots=True)
class Fit:
    """Mean errors of a stack's rows in percent. left_out: each model by the numbers that fit the others."""

    rows: int
    models: int
    in_fit: float
    left_out: float | None = None


@dataclass(frozen=True, slots=True)
class ServingStack:
    """What the software around the kernels costs in serving.

    step_seconds, sequence_seconds, layer_seconds: of each step, each sequence of a decode step, and each layer, not
    hidden behind the device.
    quantise:     "fused": static scales are applied by the op ahead of a GEMM; "own": by a kernel of the GEMM's own.
    keep_windows: the KV cache keeps every position of layers with a window.
    fit:          None: not fitted.
    """

    name: str
    quantise: str
    step_seconds: float = 0.0
    sequence_seconds: float = 0.0
    layer_seconds: float = 0.0
    keep_windows: bool = False
    source: str = ""
    fit: Fit | None = None

    def on(self, arch: TileMachine) -> TileMachine:
        """The machine as this stack uses its kernels."""
        if self.quantise != "fused" or arch.cores is None:
            return arch
        return replace(arch, cores=_fused(arch.cores))


def _fused(cores: Cores) -> Cores:
    """Cores whose GEMMs with static scales start as a bf16 GEMM does.

    The bytes that quantising moves stay: the op ahead writes its result twice. Such a family comes ahead of one with
    block scales of the same pair of formats.
    """
    wide = cores.family("bf16", "bf16")
    if wide is None:
        return cores
    launch = wide.launch_seconds

    def started(family: Family) -> Family:
        return replace(family, launch_seconds=min(family.launch_seconds, launch))

    static = tuple(started(f) for f in cores.families if f.name in STATIC)
    others = tuple(f for f in cores.families if f.name not in STATIC)
    return replace(cores, families=(*static, *others))


def stack_folder() -> Path:
    """The folder of the shipped stacks."""
    return arch_folder() / "stacks"


def stack_names() -> list[str]:
    """Names of the shipped stacks, sorted; `none` is no file."""
    return sorted([*(path.stem for path in stack_folder().glob("*.yaml")), NONE])


def load_stack(name_or_path: str | Path) -> ServingStack:
    """The stack of a shipped name, or of the YAML file at a path. raises: InputError with every problem found."""
    text = str(name_or_path)
    if text == NONE:
        return ServingStack(NONE, "own", source="the device's time alone, every kernel as in its benchmark")
    if text in stack_names():
        name_or_path = os.path.relpath(stack_folder() / f"{text}.yaml")
    elif not text.endswith((".yaml", ".yml")):
        raise InputError(
            f"unknown stack {short(text)}{nearest(text[:60], stack_names())}; "
            f"write one of {', '.join(stack_names())}, or a YAML file's path"
        )
    file = fields.validate(read(name_or_path), ServingStackFile)
    return ServingStack(
        name=file.name,
        quantise=file.quantise,
        step_seconds=float(file.step.value),
        sequence_seconds=float(file.sequence.value),
        layer_seconds=float(file.layer.value),
        keep_windows=file.keep_windows,
        source=file.source,
        fit=Fit(**file.fit.model_dump()) if file.fit else None,
    )


def stack_of(arch: TileMachine | None, asked_for: str | Path | ServingStack | None = None) -> ServingStack:
    """The stack that was asked for; else the times that the machine's file states; else the default.

    raises: InputError as `load_stack`.
    """
    if isinstance(asked_for, ServingStack):
        return asked_for
    if asked_for is not None:
        return load_stack(asked_for)
    own = arch.stack if arch else None
    if arch and own and (own.step_seconds or own.sequence_seconds or own.layer_seconds):
        times = (own.step_seconds, own.sequence_seconds, own.layer_seconds)
        return ServingStack(arch.name, "own", *times, source=f"`stack:` of the file of {arch.name}")
    return load_stack(DEFAULT)
