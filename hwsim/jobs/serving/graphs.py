"""CUDA graphs: the sizes, in tokens, that each engine captures. A pass pads to the next, if there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capture:
    """What an engine captures for: sequences of a pass, tokens of each (drafts and one), the device's bytes, chips."""

    seats: int
    new: int = 1
    memory: int = 0
    chips: int = 1


#: From what is captured for to the sizes.
Sizes = Callable[[Capture], tuple[int, ...]]


def vllm_graphs(c: Capture) -> tuple[int, ...]:
    """1, 2, 4, 8 to 248 by 8, 256 to 512 by 16, at most twice the sequences (vllm/config/vllm.py)."""
    most = min(2 * c.seats, 512)
    return tuple(n for n in (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)) if n <= most)


#: SGLang's largest decode graph: (device's GiB below which it holds, its sequences on fewer than 4 chips, on more).
SGLANG_LARGEST = ((20, 8, 8), (35, 24, 80), (60, 32, 160), (160, 256, 512), (1 << 30, 512, 512))


def sglang_largest(memory: int, chips: int) -> int:
    """`cuda_graph_max_bs`, sequences (python/sglang/srt/server_args.py, 2026)."""
    return next(few if chips < 4 else many for gib, few, many in SGLANG_LARGEST if memory < gib * 2**30)


def sglang_graphs(c: Capture) -> tuple[int, ...]:
    """By sequences, closer together with drafts (server_args.py, _generate_cuda_graph_batch_sizes)."""
    plain = (1, 2, 4, 8, 12, *range(16, 257, 8), *range(272, 513, 16))
    drafted = (*range(1, 9), *range(10, 33, 2), *range(40, 65, 4), *range(72, 257, 8), *range(272, 513, 16))
    most = sglang_largest(c.memory, c.chips)
    return tuple(n * c.new for n in (drafted if c.new > 1 else plain) if n <= most)


def no_padding(c: Capture) -> tuple[int, ...]:
    """TensorRT-LLM replays a graph for the sizes that it has, and pads to none: `cuda_graph_config.enable_padding` is
    off by default (tensorrt_llm/llmapi/llm_args.py). Static batches have no engine."""
    return ()
