"""Sites and a recipe -> the kernels of one micro-batch: GEMMs, encodes, functions, each with its formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from hwsim.arch.machine import TileMachine
from hwsim.errors import InputError
from hwsim.formats.layout import Layout
from hwsim.formats.names import layout
from hwsim.jobs.training.recipe import Recipe, Tensor, Tensors
from hwsim.workload.op import Op
from hwsim.workload.training.sites import Linear, Plain, Site

WIDE = layout("bf16")
#: Formats that Blackwell multiplies at its 8-bit rate with a scale per 32 elements, in any pair but of two of the last.
MX = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4_e2m1")
#: Passes of the vector unit per encoded element and copy: absolute value, maximum, times the scale, convert.
ENCODE_PASSES = 4
#: NVFP4 with a Hadamard transform on one of two copies, per element: the slope of torchao's kernel on GB200 between
#: 2048 x 4096 and 2048 x 28672, 13.8 to 68.0 us (pytorch/ao, benchmarks/prototype/nvfp4_training), in passes of its
#: 152 x 128 lanes at 2.008 GHz.
HADAMARD_PASSES = 42
#: The pass ahead of it, which finds the largest value of the tensor and of its transform: by the same slope, 11.4 to
#: 38.0 us. Without a transform: magnitude and maximum.
HADAMARD_AMAX_PASSES, AMAX_PASSES = 21, 2

#: How much longer GEMMs in MX take than those of fp8_block, whose measured kernels stand in for theirs on Blackwell:
#: torchao's grouped linear in MXFP8 on B200 (pytorch/ao, prototype/moe_training), fprop and dgrad in the mean, and
#: wgrad, where each expert's rows are a reduction of their own. `measured.training` fits them, to kernels only.
MX_SLOWER, MX_EXPERTS_WGRAD = Fraction(121, 100), Fraction(169, 100)

#: When a piece of work is done, for the table of times.
FORWARD, BACKWARD, ENCODE, RECOMPUTE, OPTIMISER = "forward", "backward", "encode", "recompute", "optimiser"


class Work(NamedTuple):
    """One kernel. part, when: row and column of the table of times.

    right, left: formats of the two operands, X W^T: W on the right. share: what of it this chip computes. times: its
    time is so many times that of `op` (the backward pass of a measured attention kernel). beside: what runs at the
    same time, on the memory (the sum of gradients, in the epilogue of wgrad): the longer of both counts. slower: its
    time is so many times longer than that of the machine's kernel, and its bound is not.
    """

    part: str
    when: str
    op: Op
    right: Layout = WIDE
    left: Layout = WIDE
    share: Fraction = Fraction(1)
    times: Fraction = Fraction(1)
    beside: Op | None = None
    slower: Fraction = Fraction(1)


class Works(NamedTuple):
    """The work of one block. once: per step and not per micro-batch (weights are encoded after the optimiser)."""

    forward: tuple[Work, ...]
    backward: tuple[Work, ...]
    once: tuple[Work, ...]


def works(
    sites: tuple[Site, ...],
    recipe: Recipe,
    layer: int,
    layers: int,
    arch: TileMachine,
    micro_batches: int,
    small: Fraction = Fraction(1),
) -> Works:
    """All work of the sites of one block. layer: below 0 outside the layers. raises: InputError without `round`.

    small: how many times longer than on an ideal machine all kernels take but GEMMs, attention cores and encodes.
    """
    forward: list[Work] = []
    backward: list[Work] = []
    once: list[Work] = []
    for site in sites:
        if isinstance(site, Plain):
            times = _permuting(arch) if site.part == "permute" else Fraction(1)
            forward.append(Work(site.part, FORWARD, site.forward, share=site.share, times=times))
            backward += (w._replace(times=w.times * times) for w in _backward(site, arch))
            continue
        tensors = recipe.of(site.weights, layer, layers)
        forward += encode(site, tensors.activations, site.inputs, "input", arch)
        forward.append(Work(site.part, FORWARD, site.fprop, tensors.weights.form, tensors.activations.form))
        backward += encode(site, tensors.gradients, site.gradients, "gradient", arch)
        backward += _gradients(site, tensors, micro_batches, recipe.reduction_bytes)
        once += encode(site, tensors.weights, site.matrices, "weight", arch)
    return Works(*(tuple(_slowed(work, arch, small) for work in each) for each in (forward, backward, once)))


def _slowed(work: Work, arch: TileMachine, small: Fraction) -> Work:
    """The work at the rate of training's software, where the kernels of fp8_block stand in for those of MX."""
    if work.op.gemms:
        pair = work.right.name, work.left.name
        mx = {*pair} <= {*MX} and pair != (MX[-1], MX[-1]) and arch.dot.rate(*pair) is not None
        if not mx or arch.cores is None or arch.cores.family(*pair) is not None:
            return work
        wgrad = work.part == "experts" and work.beside is not None
        return work._replace(slower=MX_EXPERTS_WGRAD if wgrad else MX_SLOWER)
    return work if small == 1 or work.when == ENCODE or work.part == "attention" else work._replace(slower=small)


def _permuting(arch: TileMachine) -> Fraction:
    """How many times slower than long reads rows are sorted by expert: as in the chip's measured expert layers."""
    rates = arch.cores and (arch.cores.kernel_rates.experts or arch.cores.lent.experts)
    if not arch.cores or not rates:
        return Fraction(1)
    return Fraction(max(1.0, arch.cores.bandwidth / (rates.row_bytes * arch.cores.cycles_per_second)))


def _backward(site: Plain, arch: TileMachine) -> Iterator[Work]:
    if site.times and arch.cores:  # the library's measured kernel is the forward one
        yield Work(site.part, BACKWARD, site.forward, share=site.share, times=site.times)
    elif site.backward is not None:
        yield Work(site.part, BACKWARD, site.backward, share=site.share)
    yield from (Work(site.part, BACKWARD, op, share=site.share) for op in site.more)


def _gradients(site: Linear, tensors: Tensors, micro_batches: int, nbytes: int) -> Iterator[Work]:
    """dgrad and wgrad; tokens that fill no whole block are padded on the reduction of wgrad."""
    weights, inputs, gradients = tensors.weights.form, tensors.activations.form, tensors.gradients.form
    block = max(inputs.block, gradients.block)
    padded = tuple(replace(g, k=-(-g.k // block) * block) for g in site.wgrad.gemms)
    if site.dgrad is not None:
        yield Work(site.part, BACKWARD, site.dgrad, weights, gradients)
    sums = accumulate(site, micro_batches, nbytes)
    right, left = (gradients, inputs) if site.turned else (inputs, gradients)
    yield Work(site.part, BACKWARD, replace(site.wgrad, gemms=padded), right, left, beside=sums)


def encode(site: Linear, tensor: Tensor, elements: int, what: str, arch: TileMachine) -> Iterator[Work]:
    """The encode of one tensor for both of its GEMMs, and the pass ahead of it that finds the tensor's scale."""
    if not tensor.copies:
        return
    if tensor.amax:
        yield Work(site.part, ENCODE, amax_op(f"{site.name}_{what}_amax", site.layer, tensor, elements))
    yield Work(site.part, ENCODE, encode_op(f"{site.name}_{what}_encode", site.layer, tensor, elements, arch))


def amax_op(name: str, layer: int, tensor: Tensor, elements: int) -> Op:
    """Reads 16 bits per element and keeps the largest magnitude."""
    passes = HADAMARD_AMAX_PASSES if tensor.hadamard else AMAX_PASSES
    return Op(name, "reduce", layer, vector=passes * elements, inputs=elements)


def encode_op(name: str, layer: int, tensor: Tensor, elements: int, arch: TileMachine) -> Op:
    """Reads 16 bits per element, writes every copy. raises: InputError for stochastic rounding without `round`."""
    passes = (HADAMARD_PASSES if tensor.hadamard else tensor.copies * ENCODE_PASSES) * elements
    if tensor.stochastic:
        if arch.round is None or arch.vector is None:
            raise InputError(
                f"{arch.name}: the recipe rounds {tensor.form.name} stochastically, which needs a `round` server that "
                "this machine lacks; add one, for example --set round='{rate: 2368 element/cycle, latency: 2 cycles}', "
                "or write `rounding: rne` in a recipe of your own"
            )
        rounded = elements * tensor.copies * arch.vector.elements_per_cycle / arch.round.elements_per_cycle
        passes += -(-rounded.numerator // rounded.denominator)
    written = tensor.encode_bytes(elements) - 2 * elements
    return Op(
        name,
        "elementwise",
        layer,
        macs=tensor.hadamard * elements,
        vector=passes,
        inputs=elements,
        outputs=-(-written // 2),  # in elements of 16 bits
    )


def accumulate(site: Linear, micro_batches: int, nbytes: int = 4) -> Op:
    """Gradients of weights summed, in FP32 or in 16 bits: read and written every time but the first, which only writes.

    nbytes: of a sum.
    """
    moved = -(-nbytes * (2 * micro_batches - 1) * site.matrices // micro_batches)
    name = f"{site.name}_main_gradients"
    return Op(name, "elementwise", site.layer, vector=site.matrices, inputs=moved // 4, outputs=moved // 4)


def optimiser(parameters: int, moment_bytes: int, gradient_bytes: int = 4) -> Work:
    """Adam once per step: gradient, master and two moments read, the last three and the 16-bit weight written."""
    read, written = gradient_bytes + 4 + 2 * moment_bytes, 4 + 2 * moment_bytes + 2
    op = Op(
        "adam", "elementwise", vector=12 * parameters, inputs=read * parameters // 2, outputs=written * parameters // 2
    )
    return Work("optimiser", OPTIMISER, op)
