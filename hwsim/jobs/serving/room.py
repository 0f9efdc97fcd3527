"""How many blocks the KV pool has, and where that number comes from: each engine has a rule of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.arch import TileMachine
from hwsim.errors import InputError
from hwsim.jobs.options import RunOptions
from hwsim.jobs.serving.graphs import sglang_largest
from hwsim.jobs.tile import TileJob, resident
from hwsim.workload.language.model import Model

#: Share of the memory that engines use: default of vLLM; and of TensorRT-LLM, of what weights and activations leave.
SHARE = 0.9
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one chip: all that the device reports, and what takes them.

    activations: of a profiled pass of `budget` tokens. reserved: what context and captured graphs take.
    chips: those that share the model.
    """

    device: int
    weights: float
    activations: float
    reserved: int
    budget: int
    chips: int = 1

    @property
    def taken(self) -> str:
        """The parts in words."""
        return (
            f"weights {self.weights / 1e9:.2f}, activations of {self.budget:,} tokens {self.activations / 1e9:.2f}, "
            f"context and graphs {self.reserved / 1e9:.2f}"
        )


#: From what takes memory to (bytes that are left for the pool, in words).
Rule = Callable[[Memory], tuple[float, str]]


def vllm_room(m: Memory) -> tuple[float, str]:
    """`gpu_memory_utilization` (vllm/v1/worker/gpu_worker.py, determine_available_memory): a share of the device's
    memory, less all that takes it."""
    left = SHARE * m.device - m.weights - m.activations - m.reserved
    return left, f"{SHARE:g} of {m.device / 1e9:.2f} GB less {m.taken}"


def trtllm_room(m: Memory) -> tuple[float, str]:
    """`free_gpu_memory_fraction` (tensorrt_llm/_torch/pyexecutor/_util.py, from the peak of a profiled pass): a share
    of the memory that is left."""
    left = SHARE * (m.device - m.weights - m.activations - m.reserved)
    return left, f"{SHARE:g} of what is left of {m.device / 1e9:.2f} GB: less {m.taken}"


def sglang_room(m: Memory) -> tuple[float, str]:
    """`mem_fraction_static` (python/sglang/srt/server_args.py, 2026): all but a reserve, by formula, less the weights.

    The reserve, for activations and graphs: 512 MiB, 1.5 per token of a chunk, 2 per sequence of the largest decode
    graph, 128 per chip; 10 GiB at the least on devices of more than 60 GiB.
    """
    reserve = 512 + 1.5 * max(m.budget, 2048) + 2 * sglang_largest(m.device, m.chips) + 128 * m.chips
    reserve = MIB * (max(reserve, 10 * 1024) if m.device > 60 * 2**30 else reserve)
    said = f"{m.device / 1e9:.2f} GB less weights {m.weights / 1e9:.2f} and SGLang's reserve of {reserve / 1e9:.2f}"
    return m.device - reserve - m.weights, said


@dataclass(frozen=True, slots=True)
class Room:
    """blocks of `size` tokens. fixed: blocks that each sequence holds beside its tokens. paged: tokens take blocks.

    token_bytes: of one token on one chip. said: where the number comes from. notes: what is assumed.
    """

    blocks: int
    size: int
    fixed: int
    paged: bool
    token_bytes: float
    said: str
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens that the pool holds."""
        return self.blocks * self.size


def kv_room(
    arch: TileMachine,
    model: Model,
    options: RunOptions,
    budget: int,
    size: int,
    tokens: int | None = None,
    keep_windows: bool = True,
    rule: Rule = vllm_room,
) -> Room:
    """The pool of one engine, by its rule. tokens: as stated by the user instead.

    raises: InputError if nothing is left.
    """
    formats, shares = options.formats.of_workload(model), options.step.chips
    sequences = shares if options.step.parallel == "data+expert" else 1

    def held(context: int) -> tuple[int, int, int]:
        step = options.at(phase="prefill", batch=sequences, context=context, keep_windows=keep_windows).step
        return resident(arch, model, step, formats)

    far = 1 << 18
    weights, near_kv, state = held(far)
    _, far_kv, _ = held(2 * far)
    token = (far_kv - near_kv) / far  # on one chip, whose share of the sequences it is
    fixed_bytes = near_kv - token * far + state
    if tokens is not None:
        size_bytes = token * size
        fixed = -(-int(fixed_bytes) // int(size_bytes)) if size_bytes and fixed_bytes > 0 else 0
        return Room(max(1, tokens // size), size, fixed, True, token, f"{tokens:,} tokens, as stated")
    serving = arch.serving
    device = (serving and serving.reported_bytes) or arch.dram.capacity_bytes
    reserved = (serving and serving.reserved_bytes) or 0
    pass_ = TileJob.of(arch, model, options.at(phase="prefill", batch=1, context=max(1, budget))).memory()
    assert pass_ is not None, "a step of a model counts its memory"
    left, said = rule(Memory(device, weights, pass_.activations, reserved, budget, shares))
    notes = []
    if not reserved and rule is not sglang_room:  # whose reserve has them in it
        notes.append(f"context and CUDA graphs take no memory: not measured on {arch.name} (1.2 GB on a 4090)")
    if fixed_bytes > 0:
        notes.append(f"each sequence holds {fixed_bytes / 1e6:.1f} MB beside its tokens: states, full windows")
    if not token:
        blocks = int(left // fixed_bytes) if fixed_bytes > 0 else 1 << 40
        room = Room(sequences * blocks, size, 1, False, 0.0, said, tuple(notes))
    else:
        fixed = max(0, -(-int(fixed_bytes) // int(token * size)))
        room = Room(sequences * int(left // (token * size)), size, fixed, True, token, said, tuple(notes))
    if left <= 0 or room.blocks < 1 + room.fixed:
        raise InputError(
            f"{model.name}: weights of {weights / 1e9:.1f} GB leave no room for a KV cache in {device / 1e9:.1f} GB of "
            f"{arch.name}; use more chips or a smaller format"
        )
    return room
