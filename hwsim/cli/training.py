"""hwsim train: one optimiser step."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hwsim.cli.options import ArchName, Json, Set, app, one_number, overrides
from hwsim.errors import collect


@app.command()
def train(
    arch: ArchName,
    model: Annotated[str, typer.Option(help="a model or graph (`hwsim model` lists them), a YAML file, a config.json")],
    batch: Annotated[
        int, typer.Option(parser=one_number, metavar="N", help="sequences or samples per step, over all chips")
    ],
    context: Annotated[int, typer.Option(parser=one_number, metavar="N", help="tokens per sequence")] = 8192,
    micro_batch: Annotated[
        int, typer.Option(parser=one_number, metavar="N", help="sequences or samples that a chip computes at once")
    ] = 1,
    recipe: Annotated[
        str, typer.Option(help="formats of the linears: bf16, fp8, mxfp8, nvfp4, mx-paper, or a YAML path")
    ] = "bf16",
    recompute: Annotated[
        str, typer.Option(help="what the backward pass computes again: none, selective, full, or a number of layers")
    ] = "none",
    parallel: Annotated[
        str | None, typer.Option(metavar="DEGREES", help="dp=,tp=,pp=,vp=,ep=,cp=; chips = dp tp pp cp; default: one")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="adam-fp32, or adam-bf16: moments in BF16")] = "adam-fp32",
    shard: Annotated[
        int,
        typer.Option(
            parser=one_number, metavar="N",
            help="what replicas divide: 0: nothing; 1: the optimiser's state; 3: weights and gradients too",
        ),
    ] = 1,
    shard_within: Annotated[
        int, typer.Option(parser=one_number, metavar="N", help="with --shard 3: in groups of N chips (HSDP); 0: all")
    ] = 0,
    skew: Annotated[str, typer.Option(help="how tokens choose experts: even or, for example, zipf(0.8)")] = "even",
    mtp: Annotated[bool, typer.Option("--mtp", help="train the model's multi-token-prediction block too")] = False,
    mtp_depth: Annotated[
        int, typer.Option(parser=one_number, metavar="N", help="with --mtp: how often, with the same weights")
    ] = 1,
    exchange: Annotated[
        str,
        typer.Option(help="of tokens and experts: per-expert, or per-chip: one copy per chip; `,hidden`: behind work"),
    ] = "per-expert",
    small_kernels: Annotated[
        float, typer.Option(metavar="X", help="kernels but GEMMs, attention and encodes take X times their ideal time")
    ] = 1.0,
    host_wait: Annotated[
        float, typer.Option(metavar="MS", help="the chip waits so long for the host per layer with experts")
    ] = 0.0,
    set_: Set = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Simulate one training step.

    Prints tokens/s per chip, the step's time and MFU, where the time goes, and what memory it needs.

    \b
    Examples:
      hwsim train h100-sxm --model llama3-8b --batch 128 --parallel dp=8 --shard 3 --recipe fp8 --recompute 5
      hwsim train b200 --model llama3-70b --batch 256 --parallel dp=8,tp=2,pp=4,vp=5 --recipe mxfp8
      hwsim train h100-sxm --model dlrm-v2 --batch 65536 --micro-batch 8192 --parallel dp=8,ep=8
    """
    from hwsim.jobs.train import checked_train
    from hwsim.report.training import trained_text

    problems: list[str] = []
    settings: tuple[tuple[str, str], ...] = ()
    with collect(problems):
        settings = overrides(set_)
    depth = mtp_depth if mtp else 0
    if mtp_depth < 1 or mtp_depth > 1 and not mtp:
        problems.append(f"mtp-depth: {mtp_depth} " + ("needs --mtp; write it too" if mtp_depth > 1 else "is below 1"))
    result = checked_train(
        arch,
        model,
        settings,
        problems,
        batch=batch,
        context=context,
        micro_batch=micro_batch,
        recipe=recipe,
        recompute=recompute,
        parallel=parallel,
        optimizer=optimizer,
        shard=shard,
        skew=skew,
        mtp=depth,
        exchange=exchange,
        small_kernels=small_kernels,
        shard_within=shard_within,
        host_wait=host_wait,
    ).trained()
    print(json.dumps(result.to_dict(), indent=2) if as_json else trained_text(result))
