"""The engines that can be imitated, and their defaults by the machine's memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.errors import InputError
from hwsim.jobs.serving.graphs import Sizes, no_padding, sglang_graphs, vllm_graphs
from hwsim.jobs.serving.room import Rule, sglang_room, trtllm_room, vllm_room
from hwsim.jobs.serving.scheduler import Limits, Scheduler
from hwsim.jobs.serving.sglang import Sglang
from hwsim.jobs.serving.static import Static
from hwsim.jobs.serving.trtllm import MaxUtilization, TensorRtLlm
from hwsim.jobs.serving.vllm import Vllm


@dataclass(frozen=True, slots=True)
class Engine:
    """scheduler: its rules. defaults: (budget, seats) by the device's bytes. block: tokens. mixed_graphs: passes with
    prompts are captured too. graphs: the sizes. room: what of the memory is its KV pool. notes: what is not imitated.
    """

    scheduler: type[Scheduler]
    defaults: Callable[[int], tuple[int, int]]
    block: int = 16
    chunked: bool = True
    mixed_graphs: bool = True
    caching: bool = True
    graphs: Sizes = vllm_graphs
    room: Rule = vllm_room
    notes: tuple[str, ...] = ()


def _vllm(memory: int) -> tuple[int, int]:
    """`vllm serve` (vllm/engine/arg_utils.py): 8,192 and 1,024 from 70 GiB on, else 2,048 and 256."""
    return (8192, 1024) if memory >= 70 * 2**30 else (2048, 256)


def _sglang(memory: int) -> tuple[int, int]:
    """`chunked_prefill_size` (server_args.py): 2,048 under 35 GB, 4,096 to 60, 8,192 to 160, 16,384 above."""
    sizes = ((35e9, 2048), (60e9, 4096), (160e9, 8192))
    return next((size for most, size in sizes if memory < most), 16384), 1024


def _trtllm(scheduler: type[Scheduler]) -> Engine:
    """`max_num_tokens`, `max_batch_size` and `tokens_per_block` of tensorrt_llm/llmapi/llm_args.py."""
    return Engine(
        scheduler,
        lambda memory: (8192, 2048),
        32,
        chunked=False,
        mixed_graphs=False,
        graphs=no_padding,
        room=trtllm_room,
    )


_NO_ASYNC = (
    "composing a pass while the one before runs is not imitated: a request starts one pass earlier than it would"
)
#: Names of `--scheduler`.
ENGINES: dict[str, Engine] = {
    "vllm": Engine(Vllm, _vllm, notes=(_NO_ASYNC,)),
    "trtllm": _trtllm(TensorRtLlm),
    "trtllm-max-util": _trtllm(MaxUtilization),
    "sglang": Engine(
        Sglang,
        _sglang,
        mixed_graphs=False,
        graphs=sglang_graphs,
        room=sglang_room,
        notes=("blocks of 16 tokens where SGLang's radix tree shares single tokens", "no overlap of passes"),
    ),
    "static": Engine(Static, lambda memory: (8192, 1024), mixed_graphs=False, caching=False, graphs=no_padding),
}


#: The software that a scheduler imitates, by the first word of its name, as in names of stacks.
SOFTWARE = {"vllm": "vLLM", "trtllm": "TensorRT-LLM", "sglang": "SGLang"}


def differing(machine: str, stack: str, scheduler: str) -> str:
    """A sentence where requests are scheduled by the rules of one software and their times are those of another.

    machine: its description, which names the software whose kernels it has, if it is one. stack: its name; one that is
    of no single software (`default`, an own file) says nothing. Static batches are nobody's rules.
    """
    word = scheduler.partition("-")[0]
    if word not in SOFTWARE:
        return ""
    others: dict[str, str] = {}
    if (made := stack.partition("-")[0]) in SOFTWARE and made != word:
        others[made] = f"the stack {stack} has the times of {SOFTWARE[made]}"
    for name, software in SOFTWARE.items():
        if software in machine and name != word:
            others[name] = others.get(name, f"the machine has the kernels of {software}")
    if not others:
        return ""
    first = next(iter(others))
    write = f"write --scheduler {first}" + ("" if made == first else f" --stack {first}")
    said = " and ".join(others.values())
    return f"{said}, but {SOFTWARE[word]} schedules the requests; {write} for {SOFTWARE[first]} throughout"


def limits(engine: Engine, memory: int, budget: int | None, seats: int | None, drafts: int) -> Limits:
    """The engine's limits, stated or by default.

    raises: InputError where vLLM would not start (vllm/config/scheduler.py): fewer tokens of a pass than sequences.
    Its default of sequences falls to that of the tokens (vllm/engine/arg_utils.py).
    """
    tokens, sequences = engine.defaults(memory)
    tokens = budget or tokens
    if engine.scheduler is Vllm:
        sequences = min(sequences, tokens)
        if seats and seats > tokens:
            raise InputError(
                f"--max-seqs: {seats:,} sequences are more than the {tokens:,} tokens of a pass (--budget), which vLLM "
                f"refuses; write at most --max-seqs {tokens}"
            )
    return Limits(tokens, seats or sequences, drafts, engine.chunked)
