"""Custom formats by family: from the numbers that define a point to its layout and to the class of its values.

    e8m0("E2M1", 64)             elements under a power-of-two scale
    e4m3("E2M1", 32)             elements under an E4M3 scale and a float32 tensor scale
    int4_groups(64)              symmetric integers in [-8, 7] under a float16 scale
    bdr(5, 32, 8, 4, 2)          any BDR point
    codebook("-1 0 1", 64)       entries of a table under a float32 scale
    seeds(8, 3, 16, 4)           a SeedLM point

Standard library only. The ranges are checked where a file is read (`custom`) and by the classes of values.
"""

from __future__ import annotations

from dataclasses import replace

from hwsim.formats.elements import element as element_of
from hwsim.formats.layout import Definition, Layout, bdr_layout, block_layout, seed_layout
from hwsim.formats.lfsr import SeedCodec

NF4 = (
    "-1 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635 -0.18477343022823334 "
    "-0.09105003625154495 0 0.07958029955625534 0.16093020141124725 0.24611230194568634 0.33791524171829224 "
    "0.44070982933044434 0.5626170039176941 0.7229568362236023 1"
)
"""The table of NF4. source: QLoRA (arXiv 2305.14314), appendix E."""


def e8m0(element: str, block: int, name: str = "") -> Layout:
    """`block` elements under one E8M0 scale. raises: InputError for an unknown element."""
    return _scaled(element, block, "e8m0", name, tensor=0)


def e4m3(element: str, block: int, name: str = "") -> Layout:
    """`block` elements under one E4M3 scale, a float32 scale per tensor. raises: InputError for an unknown element."""
    return _scaled(element, block, "e4m3", name, tensor=4)


def _scaled(element: str, block: int, scale: str, name: str, tensor: int) -> Layout:
    e = element_of(element)
    name = name or f"{e.name.lower()}_{scale}_b{block}"
    definition: Definition = (("name", name), ("element", e.name), ("block", block), ("scale", scale))
    return block_layout(name, e.name, e.bits, block, 8, tensor=tensor, definition=definition)


def int4_groups(block: int, name: str = "") -> Layout:
    """Groups of `block` 4-bit integers under one float16 scale: a format of weights alone."""
    name = name or f"int4_fp16_b{block}"
    definition: Definition = (("name", name), ("element", "INT4"), ("block", block), ("scale", "fp16"))
    return block_layout(name, "INT4", 4, block, 16, activations="wide", definition=definition)


def bdr(m: int, k1: int, d1: int, k2: int, d2: int, name: str = "") -> Layout:
    """A point of the BDR family: m magnitude bits, k1 elements per d1-bit scale, k2 per d2-bit shift."""
    name = name or f"bdr_m{m}_k{k1}_d{d1}_k{k2}_d{d2}"
    definition: Definition = (("name", name), ("m", m), ("k1", k1), ("d1", d1), ("k2", k2), ("d2", d2))
    return bdr_layout(name, m, k1, d1, k2, d2, definition=definition)


def codebook(table: str, block: int, name: str = "") -> Layout:
    """Entries of a table of at most 256 numbers, as text, in blocks under a float32 scale."""
    entries = table.split()
    bits = max(1, (len(entries) - 1).bit_length())
    name = name or ("nf4" if table == NF4 and block == 64 else f"codebook{len(entries)}_b{block}")
    definition: Definition = (("name", name), ("codebook", table), ("block", block), ("scale", "fp32"))
    return block_layout(name, f"T{len(entries)}", bits, block, 32, activations="wide", definition=definition)


def codebook_problems(table: str) -> list[str]:
    """What is wrong with a table; empty where there are 2 to 256 ascending finite numbers."""
    try:
        values = [float(v) for v in table.split()]
    except ValueError:
        return ["codebook: is no list of numbers; write [-1, 0, 1]"]
    ascending = all(a < b for a, b in zip(values, values[1:], strict=False))
    if not 2 <= len(values) <= 256 or not ascending or not all(abs(v) < 3e38 for v in values):
        return [f"codebook: {len(values)} numbers; write 2 to 256 finite ones, each above the one before"]
    return []


def seeds(c: int, p: int, k: int, bits: int, name: str = "") -> Layout:
    """A SeedLM point: c weights from a k-bit seed, p coefficients of `bits` bits. raises: InputError for others."""
    codec = SeedCodec(c, p, k, coefficient_bits=bits)
    name = name or f"seed_c{c}_p{p}_k{k}_b{bits}"
    definition: Definition = (("name", name), ("C", c), ("P", p), ("K", k), ("bits", bits))
    layout = seed_layout(name, c, p, k, q_bits=bits, e_bits=codec.exponent_bits)
    return replace(layout, definition=definition)


def made_by(definition: Definition) -> tuple[str, dict[str, str | int | SeedCodec]]:
    """(`module:Class`, its options) that give a custom format its values."""
    point: dict[str, str | int | SeedCodec] = dict(definition)
    del point["name"]
    if "codebook" in point:
        return "codebook:CodebookFormat", {"codebook": point["codebook"], "block": point["block"]}
    if "C" in point:
        c, p, k, bits = (int(str(point[key])) for key in ("C", "P", "K", "bits"))
        return "seed:SeedFormat", {"codec": SeedCodec(c, p, k, coefficient_bits=bits)}
    scale = point.pop("scale", "")
    if scale == "fp16":
        return "dense:ScaledDenseFormat", {"kind": "int4_g128", "group": point["block"]}
    if scale:
        return {"e8m0": "mx:BlockFormat", "e4m3": "nvfp4:ScaledFormat"}[str(scale)], point
    return "bdr:BdrFormat", point
