"""The study file, field by field: allowed values and their meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from hwsim.errors import InputError
from hwsim.files.fields import FilePart, asked
from hwsim.files.yaml import short
from hwsim.jobs.serving.file import FIELDS, LoadPart
from hwsim.mapping.operands import Formats
from hwsim.workload.language.routing import skew_exponent
from hwsim.workload.language.share import KINDS
from hwsim.workload.training.options import Degrees


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


def _parallel(text: str) -> str:
    if text not in KINDS:
        if "=" not in text:
            expected = f"{', '.join(KINDS)}, or of a training step degrees, for example dp=8,tp=2"
            raise InputError(f"`{short(text)}` is not known; write {expected}")
        Degrees.of(text)
    return text


#: Options of a point under load only.
SERVING: tuple[str, ...] = (*FIELDS, "load", "find_rate", "stack", "drafts", "acceptance")
#: Options of a training step only, and of any other step only.
TRAINING = (
    "micro_batch",
    "recipe",
    "recompute",
    "optimizer",
    "shard",
    "mtp",
    "exchange",
    "small_kernels",
    "shard_within",
    "host_wait",
)
OTHERS: tuple[str, ...] = ("phase", "weights", "activations", "kv", "state", "chips", "mla", "engine", *SERVING)
#: Options of a step, which a point under load does not have: its sequences come and go.
OF_A_STEP = ("batch", "context", "engine")


class RunFile(LoadPart):
    """Options of `hwsim run`, `hwsim train` and `hwsim serve` under load, under the same names."""

    phase: Literal["decode", "prefill", "train", "serve"] = Field(
        "decode", description="Kind of step; serve: a load.", examples=["decode"]
    )
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
    parallel: Annotated[str, AfterValidator(asked(_parallel))] = Field(
        "tensor",
        description="How the chips share the step: tensor, tensor+expert or data+expert; of a training step, degrees.",
        examples=["tensor+expert"],
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
    micro_batch: int = Field(1, ge=1, description="train: sequences that a chip computes at once.", examples=[2])
    recipe: str = Field("bf16", description="train: formats of the linears, a name or a file.", examples=["mxfp8"])
    recompute: str | int = Field(
        "none", description="train: none, selective, full, or a number of layers.", examples=["full"]
    )
    optimizer: Literal["adam-fp32", "adam-bf16"] = Field(
        "adam-fp32", description="train: bits of Adam's moments.", examples=["adam-bf16"]
    )
    mtp: bool | int = Field(
        False, description="train: the multi-token-prediction block too; a number: so many times.", examples=[True]
    )
    exchange: str = Field(
        "per-expert",
        description="train: of tokens and experts: per-expert or per-chip, hidden.",
        examples=["per-chip,hidden"],
    )
    shard_within: int = Field(
        0, ge=0, description="train: with shard 3: within groups of so many chips.", examples=[64]
    )
    small_kernels: float = Field(
        1.0,
        ge=1,
        le=100,
        description="train: times their ideal time of all kernels but GEMMs, attention and encodes.",
        examples=[3.0],
    )
    host_wait: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="train: milliseconds per layer with experts in which the chip waits for the host.",
        examples=[8.0],
    )
    shard: Literal[0, 1, 3] = Field(1, description="train: what replicas divide, as in ZeRO.", examples=[3])
    load: str | None = Field(
        None, description="serve: a load's name or file; what stands here goes over it.", examples=["chat"]
    )
    find_rate: bool = Field(
        False, description="serve: find the highest rate at which 99 % of the requests are good too.", examples=[True]
    )
    stack: str | None = Field(None, description="serve: the software around the kernels.", examples=["vllm"])
    drafts: int = Field(0, ge=0, le=16, description="serve: draft tokens per step.", examples=[2])
    acceptance: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        [], description="serve: acceptance probability of each draft token.", examples=[[0.8, 0.6]]
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
