"""A mixed step: the ops of decode steps and of a chunk of a prompt that one pass computes together.

Engines with chunked prefill lay the tokens of all sequences side by side: every matrix is multiplied once with all of
them, and only what reads a cache runs once for the decode steps and once for the chunk (vLLM, `GPUModelRunner`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hwsim.workload.op import Op


def _place(op: Op) -> tuple[int, str]:
    return op.layer, op.name


def alone(op: Op) -> bool:
    """Whether the op reads or writes a cache, which each sequence has of its own."""
    return op.cache is not None or op.core is not None or op.kind == "attention"


def _marked(op: Op, mixed: bool) -> Op:
    return replace(op, core=replace(op.core, mixed=True)) if op.core and mixed else op


def merged(shared: Sequence[Op], decodes: Sequence[Op], prompt: Sequence[Op]) -> tuple[Op, ...]:
    """The ops of one pass in program order.

    shared:  the pass as if every token were a decode step: what its matrices compute.
    decodes: of the decode steps alone (empty: there are none); prompt: of the chunk alone.
    An op of both is taken from `shared`; one that only one of them has, or that reads a cache, runs for each by itself.
    """
    if not decodes:
        whole = {_place(op): op for op in shared}
        return tuple(op if alone(op) or _place(op) not in whole else whole[_place(op)] for op in prompt)
    return tuple(_merge(shared, decodes, prompt))


def _merge(shared: Sequence[Op], decodes: Sequence[Op], prompt: Sequence[Op]) -> Iterator[Op]:
    chunk, at = {_place(op): i for i, op in enumerate(prompt)}, 0
    for whole, op in zip(shared, decodes, strict=True):
        place = chunk.get(_place(op))
        if place is None:  # only decode steps have it
            yield _marked(op, True)
            continue
        yield from prompt[at:place]  # only the chunk has them
        at = place + 1
        if alone(op):
            yield _marked(op, True)
            yield _marked(prompt[place], True)
        else:
            yield whole
    yield from prompt[at:]
