"""A load as YAML: the options of `hwsim serve` under load, under the same names with `_` for `-`.

    name: chat
    rate: 8/s
    lengths: lognormal(1024,0.8)/256
    slo: ttft=500ms,tpot=30ms

Every field may be left out; what is left out is the engine's, or as `hwsim serve --help` says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from hwsim.arch.builtin import arch_folder
from hwsim.errors import InputError, nearest
from hwsim.files.fields import FilePart, asked, json_schema, validate
from hwsim.files.yaml import read, short
from hwsim.jobs.serving.arrivals import Gaps, Lengths, read_rate
from hwsim.jobs.serving.checks import replicas_of
from hwsim.jobs.serving.engines import ENGINES
from hwsim.jobs.serving.figures import Slo
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.router import ROUTERS

#: The three ways to say when requests come; a load has one of them.
SOURCES = ("rate", "trace", "concurrency")
#: Ends of names of files of lengths.
TABLES = (".csv", ".jsonl")


def _read_by(read: Callable[[str], object]) -> Any:
    """A validator that keeps the text, refused as the option of the command is."""

    def check(text: str) -> str:
        try:
            read(text)
        except InputError as error:  # the path in the file names the option
            raise InputError(*(p.partition(": ")[2] or p for p in error.problems)) from None
        return text

    return AfterValidator(asked(check))


def _lengths(text: str) -> object:
    return None if text.endswith(TABLES) else Lengths.of(text)  # a file is read where it is used


Count = Annotated[int, Field(ge=1, le=10**9)]


class LoadPart(FilePart):
    """What drives the engines, and how they are set up."""

    rate: Annotated[str, _read_by(read_rate)] | None = Field(
        None, description="serve: requests that arrive.", examples=["8/s"]
    )
    trace: str | None = Field(
        None, description="serve: a file of requests with their arrivals.", examples=["requests.csv"]
    )
    concurrency: Count | None = Field(None, description="serve: users, each with one request at a time.", examples=[64])
    requests: Count | None = Field(None, description="serve: number of requests; default: 1,000.", examples=[1000])
    lengths: Annotated[str, _read_by(_lengths)] | None = Field(
        None, description="serve: tokens in and out of a request, or a file of them.", examples=["1024/256"]
    )
    arrivals: Annotated[str, _read_by(Gaps.of)] | None = Field(
        None, description="serve: poisson (default), gamma(0.5), constant or at-once.", examples=["poisson"]
    )
    scheduler: Literal[tuple(ENGINES)] | None = Field(  # type: ignore[valid-type]
        None, description="serve: whose rules compose a pass; default: vllm.", examples=["vllm"]
    )
    budget: Count | None = Field(None, description="serve: tokens of a pass; default: the engine's.", examples=[8192])
    max_seqs: Count | None = Field(
        None, description="serve: sequences of a pass; default: the engine's.", examples=[256]
    )
    block: Count | None = Field(
        None, description="serve: tokens of a block of the KV cache; default: the engine's.", examples=[16]
    )
    kv_tokens: Count | None = Field(
        None, description="serve: room of the KV cache; default: what the memory leaves.", examples=[500000]
    )
    prefix_cache: bool | None = Field(
        None, description="serve: whether blocks of prompts are found again; default: true.", examples=[False]
    )
    replicas: Annotated[int, Field(ge=1, le=10**4)] | None = Field(
        None, description="serve: engines, each on `chips` chips; default: 1.", examples=[4]
    )
    router: Literal[tuple(ROUTERS)] | None = Field(  # type: ignore[valid-type]
        None, description="serve: how requests are spread over replicas.", examples=["least-outstanding"]
    )
    disaggregate: Annotated[str, _read_by(replicas_of)] | None = Field(
        None, description="serve: P:D, prefill and decode replicas apart, or none.", examples=["2:6"]
    )
    slo: Annotated[str, _read_by(Slo.of)] | None = Field(
        None, description="serve: limits that a good request meets.", examples=["ttft=500ms,tpot=30ms"]
    )
    seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="serve: seed of drawn arrivals, lengths and acceptance.", examples=[1]
    )


#: Names of the fields of a load.
FIELDS: tuple[str, ...] = tuple(LoadPart.model_fields)


class LoadFile(LoadPart):
    """A load of its own, for `hwsim serve --load` and `run.load` of a study."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Name of the load, as in its file's name.", examples=["chat"]
    )
    description: str = Field("", description="What it stands for.", examples=["Short questions, long answers."])


def load_folder() -> Path:
    """The folder of the shipped loads."""
    return arch_folder() / "loads"


def load_names() -> list[str]:
    """Names of the shipped loads, sorted."""
    return sorted(path.stem for path in load_folder().glob("*.yaml"))


def load_schema() -> dict[str, Any]:
    """JSON Schema of a load file (draft 2020-12), for editors."""
    return json_schema(LoadFile, "hwsim load")


def read_load(name_or_path: str | Path) -> dict[str, Any]:
    """The fields that a load states, of a shipped name or of a YAML file; paths in it are relative to its folder.

    raises: InputError with every problem found, each with its place.
    """
    text = str(name_or_path)
    if text in load_names():
        name_or_path = os.path.relpath(load_folder() / f"{text}.yaml")
    elif not text.endswith((".yaml", ".yml")):
        raise InputError(
            f"unknown load {short(text)}{nearest(text[:60], load_names())} (a path to a YAML file also works)"
        )
    document = read(name_or_path)
    file = validate(document, LoadFile)
    given = {name: value for name in FIELDS if (value := getattr(file, name)) is not None}
    if len(sources := [name for name in SOURCES if name in given]) > 1:
        raise InputError(document.problem((sources[1],), f"stands beside {sources[0]}; write one of them", key=True))
    return placed(given, Path(name_or_path).parent)


def placed(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields with the paths of a trace and of lengths taken from `folder`."""
    found = dict(given)
    for name in ("trace", "lengths"):
        text = found.get(name)
        if text and (name == "trace" or text.endswith(TABLES)) and not Path(text).is_absolute():
            found[name] = os.path.normpath(folder / text)
    return found


def over(below: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a file with others over them: one of rate, trace and concurrency replaces the file's."""
    dropped = SOURCES if set(SOURCES) & set(given) else ()
    return {name: value for name, value in below.items() if name not in dropped} | dict(given)


def load_of(given: Mapping[str, Any]) -> Load:
    """The load that fields state; not yet checked together."""
    named = {"users" if name == "concurrency" else name: value for name, value in given.items() if value is not None}
    return Load(**named)
