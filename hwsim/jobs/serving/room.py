"""How many blocks the KV pool has, and where that number comes from.

Rule of vLLM (vllm/v1/worker/gpu_worker.py, determine_available_memory): a share of the memory that the device reports,
less the weights, the activations of a profiled pass of `budget` tokens, and what context and captured graphs take.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.arch import TileMachine
from hwsim.errors import InputError
from hwsim.jobs.options import RunOptions
from hwsim.jobs.tile import TileJob, resident
from hwsim.workload.language.model import Model

#: Share of the memory that engines use: default of vLLM and, of what weights leave, of TensorRT-LLM.
SHARE = 0.9


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
    seats: int,
    tokens: int | None = None,
    keep_windows: bool = True,
) -> Room:
    """The pool of one engine. tokens: as stated by the user instead. raises: InputError if nothing is left."""
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
    left = SHARE * device - weights - pass_.activations - reserved
    said = (
        f"{SHARE:g} of {device / 1e9:.2f} GB less weights {weights / 1e9:.2f}, activations of {budget:,} tokens "
        f"{pass_.activations / 1e9:.2f}, context and graphs {reserved / 1e9:.2f}"
    )
    notes = []
    if not reserved:
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
