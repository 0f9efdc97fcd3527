"""Custom formats by family: from the numbers that define a point to its layout and to the class of its values.

    e8m0("E2M1", 64)             elements under a power-of-two scale
    e4m3("E2M1", 32)             elements under an E4M3 scale and a float32 tensor scale
    int4_groups(64)              symmetric integers in [-8, 7] under a float16 scale
    bdr(5, 32, 8, 4, 2)          any BDR point

Standard library only. The ranges are checked where a file is read (`custom`) and by the classes of values.
"""

from __future__ import annotations

from hwsim.formats.elements import element as element_of
from hwsim.formats.layout import Definition, Layout, bdr_layout, block_layout


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


def made_by(definition: Definition) -> tuple[str, dict[str, str | int]]:
    """(`module:Class`, its options) that give a custom format its values."""
    point = dict(definition)
    del point["name"]
    scale = point.pop("scale", "")
    if scale == "fp16":
        return "dense:ScaledDenseFormat", {"kind": "int4_g128", "group": point["block"]}
    if scale:
        return {"e8m0": "mx:BlockFormat", "e4m3": "nvfp4:ScaledFormat"}[str(scale)], point
    return "bdr:BdrFormat", point
