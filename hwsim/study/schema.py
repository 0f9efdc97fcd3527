"""The study file, field by field: allowed values and their meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from hwsim.errors import InputError
from hwsim.files.fields import FilePart, asked
from hwsim.mapping.operands import Formats
from hwsim.workload.language.routing import skew_exponent


def _readable(what: str) -> Any:
    """A validator for a format option, with the rules of a run."""

    def read(value: Any) -> Any:
        try:
            Formats.of(**({"weights": "bf16"} | {what: value}))
        except InputError as error:  # the path in the file already names the option
            raise InputError(*(p.partition(": ")[2] if isinstance(value, str) else p for p in error.problems)) from None
        return value

    return AfterValidator(asked(read))


def _skew(text: str) -> str:
    skew_exponent(text)
    return text


class RunFile(FilePart):
    """Options of `hwsim run`, under the same names."""

    phase: Literal["decode", "prefill"] = Field("decode", description="Kind of step.", examples=["decode"])
    batch: int = Field(1, ge=1, le=10**6, description="Number of sequences.", examples=[8])
    context: int = Field(
        8192, ge=1, le=10**9, description="Tokens in the cache (decode) or in the prompt (prefill).", examples=[8192]
    )
    weights: Annotated[str | dict[str, str], _readable("weights")] = Field(
        "released",
        description="A format, {class: format, default: format}, a preset of the model, or released: as its file says.",
        examples=[{"experts": "nvfp4", "default": "fp8"}],
    )
    activations: Annotated[str, _readable("activations")] | None = Field(
        None, description="Activation format; default: chosen from weights and machine.", examples=["bf16"]
    )
    kv: Annotated[str, _readable("kv")] | None = Field(None, description="KV cache format.", examples=["fp8"])
    state: Annotated[str, _readable("state")] | None = Field(None, description="SSM state format.", examples=["fp32"])
    chips: int = Field(1, ge=1, le=10**4, description="Number of chips that share the step.", examples=[4])
    parallel: Literal["tensor", "tensor+expert", "data+expert"] = Field(
        "tensor", description="How the chips share the step.", examples=["tensor+expert"]
    )
    skew: Annotated[str, AfterValidator(asked(_skew))] = Field(
        "even", description="How tokens choose experts.", examples=["zipf(0.8)"]
    )
    mla: Literal["", "absorbed", "expanded", "cheaper"] = Field(
        "", description="Form of latent attention; empty: that of the phase, as serving software runs it."
    )
    engine: Literal["walk", "simpy"] = Field(
        "walk", description="Simulation driver; both give the same times, walk is faster.", examples=["walk"]
    )


class StudyFile(FilePart):
    """A study: every combination of the values in its grid is one point."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="Name of the study and of its results.",
        examples=["my-study"],
    )
    description: str = Field("", description="The question of the study.", examples=["What does bandwidth buy?"])
    machine: str | None = Field(None, description="A machine name or a YAML file.", examples=["h200-sxm"])
    model: str | None = Field(None, description="A model name or a file.", examples=["nemotron3-nano-30b-a3b"])
    run: RunFile = Field(RunFile(), description="Options of all points.")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        min_length=1,
        description="Dotted path of a setting of machine, model or run -> its values.",
        examples=[{"run.batch": [1, 8], "machine.dram.bandwidth": ["2.4 TB/s", "4.8 TB/s"]}],
    )
