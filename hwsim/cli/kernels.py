"""hwsim kernel: one kernel alone, as a model's layer holds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.options import Acts, ArchName, Engine, Json, Set, app, read_options
from hwsim.errors import InputError, collect, nearest

if TYPE_CHECKING:
    from hwsim.jobs.tile import TileJob

ATTENTION = ("batch", "tokens", "heads", "kv_heads", "head_dim", "window", "activations", "kv")
#: Kind of kernel -> the options that it takes; those without a default must be given.
OPTIONS: dict[str, tuple[str, ...]] = {
    "prefill": ATTENTION,
    "decode": ATTENTION,
    "conv-prefill": ("batch", "tokens", "channels"),
    "conv-decode": ("batch", "channels", "warm"),
    "all-reduce": ("chips", "elements"),
    "experts": (
        "tokens", "hidden", "intermediate", "top_k", "experts", "gate", "load", "weights", "activations", "kernel"
    ),
}  # fmt: skip
NEEDED = ("tokens", "heads", "kv_heads", "head_dim", "channels", "chips", "elements") + (
    "hidden", "intermediate", "top_k", "experts",
)  # fmt: skip


@app.command()
def kernel(
    arch: ArchName,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(OPTIONS))],
    batch: Annotated[int | None, typer.Option(help="sequences; default 1")] = None,
    tokens: Annotated[int | None, typer.Option(help="of a prompt, cached, or of a step (experts)")] = None,
    heads: Annotated[int | None, typer.Option(help="query heads")] = None,
    kv_heads: Annotated[int | None, typer.Option(help="heads of keys and values")] = None,
    head_dim: Annotated[int | None, typer.Option(help="elements of a head")] = None,
    window: Annotated[int | None, typer.Option(help="positions that attention reaches back; 0: all")] = None,
    channels: Annotated[int | None, typer.Option(help="of a convolution")] = None,
    chips: Annotated[int | None, typer.Option(help="that sum a vector")] = None,
    elements: Annotated[int | None, typer.Option(help="of the vector that chips sum")] = None,
    hidden: Annotated[int | None, typer.Option(help="width of the layer of experts")] = None,
    intermediate: Annotated[int | None, typer.Option(help="width inside an expert")] = None,
    top_k: Annotated[int | None, typer.Option(help="experts of a token")] = None,
    experts: Annotated[int | None, typer.Option(help="of the layer")] = None,
    gate: Annotated[bool | None, typer.Option(help="whether experts have a gate; default: they have")] = None,
    load: Annotated[str | None, typer.Option(help="even, zipf(0.8), balanced, or power_law_1.2")] = None,
    weights: Annotated[str | None, typer.Option(help="format of the experts' weights; default bf16")] = None,
    activations: Acts = None,
    kv: Annotated[str | None, typer.Option(help="KV cache format")] = None,
    kernel: Annotated[str | None, typer.Option(help="kernels for experts by name, not by the library's choice")] = None,
    warm: Annotated[bool | None, typer.Option("--warm", help="state stays in L2 between repeats")] = None,
    engine: Engine = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Simulate one GPU kernel alone.

    Attention, the experts of a layer, a convolution, an all-reduce.

    \b
    Examples:
      hwsim kernel h100-sxm prefill --tokens 4096 --heads 32 --kv-heads 8 --head-dim 128 --kv fp8
      hwsim kernel b200 experts --tokens 64 --hidden 2048 --intermediate 768 --top-k 8 --experts 128 --weights nvfp4
    """
    from hwsim.arch import load_arch
    from hwsim.report.text import result_text

    given = {
        "batch": batch, "tokens": tokens, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "window": window,
        "channels": channels, "chips": chips, "elements": elements, "hidden": hidden, "intermediate": intermediate,
        "top_k": top_k, "experts": experts, "gate": gate, "load": load, "weights": weights,
        "activations": activations, "kv": kv, "kernel": kernel, "warm": warm,
    }  # fmt: skip
    problems: list[str] = []
    _, settings = read_options("bf16", set_, None, problems)
    problems += _wrong(kind, given)
    machine = None
    with collect(problems):
        machine = load_arch(arch, settings)
    if problems:
        raise InputError(*problems)
    options = {name: value for name, value in given.items() if value is not None}
    result = _job(kind, machine, options, engine).result()
    print(json.dumps(result.to_dict(), indent=2) if as_json else result_text(result))


def _wrong(kind: str, given: Mapping[str, Any]) -> list[str]:
    """What is missing or has no use."""
    if kind not in OPTIONS:
        return [f"unknown kernel {kind!r}{nearest(kind, list(OPTIONS))}; write one of {', '.join(OPTIONS)}"]
    known = OPTIONS[kind]

    def option(name: str) -> str:
        return f"--{name.replace('_', '-')}"

    missing = [option(n) for n in known if n in NEEDED and given[n] is None]
    idle = [option(n) for n, value in given.items() if value is not None and n not in known]
    return [f"{kind} needs {', '.join(missing)}"] * bool(missing) + [
        f"{kind} takes no {', '.join(idle)}; leave it out"
    ] * bool(idle)


def _job(kind: str, machine: Any, options: dict[str, Any], engine: str | None) -> TileJob:
    from hwsim.jobs import kernels as jobs

    makers: dict[str, Callable[[], TileJob]] = {
        "prefill": lambda: jobs.attention_job(machine, "prefill", **options, engine=engine),
        "decode": lambda: jobs.attention_job(machine, "decode", **options, engine=engine),
        "conv-prefill": lambda: jobs.convolution_job(machine, "prefill", **options, engine=engine),
        "conv-decode": lambda: jobs.convolution_job(machine, "decode", **options, engine=engine),
        "all-reduce": lambda: jobs.all_reduce_job(machine, **options, engine=engine),
        "experts": lambda: jobs.experts_job(machine, **_gated(options), engine=engine),
    }
    return makers[kind]()


def _gated(options: dict[str, Any]) -> dict[str, Any]:
    return {("gated" if name == "gate" else name): value for name, value in options.items()}
