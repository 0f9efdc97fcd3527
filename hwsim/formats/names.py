"""The number formats that have a name, one row each, and `layout`, which resolves anything that names a format.

Standard library only, so that the simulator never imports numpy; files and mappings are read by `custom`.

A new format is a file with its class next to this one, and a row of `ROWS`: see docs/adding.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hwsim.errors import InputError, nearest
from hwsim.formats import families
from hwsim.formats.layout import Layout, bdr_layout, block_layout, dense_layout, seed_layout, tile_layout
from hwsim.formats.lfsr import SEEDLM3, SEEDLM4, SeedCodec

FormatSource = str | Path | Mapping[str, object] | Layout
"""Anything that names a format: a name, an alias, the path of a YAML file, an inline mapping, or a Layout itself."""


class Row(NamedTuple):
    """One format: its layout, and who computes its values.

    made_by: `module:Class` in `hwsim.formats`, loaded when values are needed.
    options: those of the class that make it this format; a user cannot change them.
    """

    layout: Layout
    made_by: str
    options: Mapping[str, str | int | tuple[int, int] | SeedCodec]


def _table(*rows: Row) -> dict[str, Row]:
    table = {row.layout.name: row for row in rows}
    assert len(table) == len(rows), "two rows have one name"
    return table


ROWS: dict[str, Row] = _table(
    Row(block_layout("mxfp8_e4m3", "E4M3", 8, 32, 8), "mx:BlockFormat", {"element": "E4M3", "block": 32}),
    Row(block_layout("mxfp8_e5m2", "E5M2", 8, 32, 8), "mx:BlockFormat", {"element": "E5M2", "block": 32}),
    Row(block_layout("mxfp6_e3m2", "E3M2", 6, 32, 8), "mx:BlockFormat", {"element": "E3M2", "block": 32}),
    Row(block_layout("mxfp6_e2m3", "E2M3", 6, 32, 8), "mx:BlockFormat", {"element": "E2M3", "block": 32}),
    Row(block_layout("mxfp4_e2m1", "E2M1", 4, 32, 8), "mx:BlockFormat", {"element": "E2M1", "block": 32}),
    Row(block_layout("mxint8", "INT8", 8, 32, 8), "mx:BlockFormat", {"element": "INT8", "block": 32}),
    Row(block_layout("nvfp4", "E2M1", 4, 16, 8, tensor=4), "nvfp4:ScaledFormat", {"element": "E2M1", "block": 16}),
    Row(bdr_layout("mx9", 7, 16, 8, 2, 1), "bdr:BdrFormat", {"m": 7, "k1": 16, "d1": 8, "k2": 2, "d2": 1}),
    Row(bdr_layout("mx6", 4, 16, 8, 2, 1), "bdr:BdrFormat", {"m": 4, "k1": 16, "d1": 8, "k2": 2, "d2": 1}),
    Row(bdr_layout("mx4", 2, 16, 8, 2, 1), "bdr:BdrFormat", {"m": 2, "k1": 16, "d1": 8, "k2": 2, "d2": 1}),
    Row(dense_layout("fp32", "FP32", 32), "dense:WideFormat", {"kind": "fp32"}),
    Row(dense_layout("bf16", "BF16", 16), "dense:WideFormat", {"kind": "bf16"}),
    Row(dense_layout("fp16", "FP16", 16), "dense:WideFormat", {"kind": "fp16"}),
    Row(dense_layout("fp8_e4m3", "E4M3", 8, tensor=4), "dense:ScaledDenseFormat", {"kind": "fp8_e4m3", "group": 128}),
    Row(dense_layout("fp8_e5m2", "E5M2", 8, tensor=4), "dense:ScaledDenseFormat", {"kind": "fp8_e5m2", "group": 128}),
    Row(dense_layout("fp8_row", "E4M3", 8, row=4), "dense:ScaledDenseFormat", {"kind": "fp8_row", "group": 128}),
    Row(tile_layout("fp8_block", "E4M3", 8, 128, 32, rows=128), "fp8_block:TileFormat", {}),
    Row(dense_layout("int8", "INT8", 8, row=4), "dense:ScaledDenseFormat", {"kind": "int8", "group": 128}),
    Row(
        block_layout("int4_g128", "INT4", 4, 128, 16, activations="wide"),
        "dense:ScaledDenseFormat",
        {"kind": "int4_g128", "group": 128},
    ),
    Row(seed_layout("seedlm4", 8, 3, 16), "seed:SeedFormat", {"codec": SEEDLM4}),
    Row(seed_layout("seedlm3", 12, 4, 16), "seed:SeedFormat", {"codec": SEEDLM3}),
)

NAMES: tuple[str, ...] = tuple(ROWS)

ALIASES: dict[str, str] = {
    "mxfp8": "mxfp8_e4m3",
    "mxfp6": "mxfp6_e2m3",
    "mxfp4": "mxfp4_e2m1",
    "fp8": "fp8_e4m3",
}


def layout(source: FormatSource) -> Layout:
    """The layout of a format, resolved once: a Layout is returned as it is, a YAML file is opened once.

    raises: InputError for an unknown name (with the nearest one), or a file or mapping with errors (all of them).
    """
    if isinstance(source, Layout):
        return source
    if isinstance(source, Mapping) or _is_path(source):
        from hwsim.formats.custom import read_custom

        return read_custom(source)
    if (name := ALIASES.get(str(source), str(source))) in ROWS:
        return ROWS[name].layout
    if "/" in name or "." in name:
        raise InputError(f"unknown format {name!r}; the path of a format's file must end in .yaml or .yml")
    raise InputError(f"unknown format {name!r}{nearest(name.lower(), (*NAMES, *ALIASES))}")


def row(found: Layout) -> Row:
    """The row of a layout that `layout` has given; for a custom format, the row that its definition amounts to.

    raises: InputError for a layout that neither a row nor a definition describes.
    """
    if found.definition:
        return Row(found, *families.made_by(found.definition))
    listed = ROWS.get(found.name)
    if listed and listed.layout != found == listed.layout.by_rows():
        return Row(found, listed.made_by, {**listed.options, "tile": (1, found.block)})
    if listed is None or listed.layout != found:
        raise InputError(f"the layout {found.name!r} is no row of hwsim.formats.names and has no definition")
    return listed


def _is_path(source: str | Path) -> bool:
    return isinstance(source, Path) or source.endswith((".yaml", ".yml"))
