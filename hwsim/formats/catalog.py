"""`get_format`: a name, a YAML path or an inline mapping, and options, to a `Format`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from hwsim.errors import InputError, nearest
from hwsim.formats.bdr import BdrFormat
from hwsim.formats.custom import BdrPoint, BlockPoint, GroupPoint, read_custom
from hwsim.formats.dense import ScaledDenseFormat, WideFormat
from hwsim.formats.format import Format
from hwsim.formats.layout import layout
from hwsim.formats.mx import BlockFormat
from hwsim.formats.nvfp4 import ScaledFormat

_BDR_POINTS = {"mx9": 7, "mx6": 4, "mx4": 2}


def get_format(name: str | Mapping[str, object], **options) -> Format:
    """A number format with values.

    name: a name or alias of the catalog, the path of a YAML file, or an inline mapping (see `custom`).
    options: those of the format's class, for example scale_rule="rceil", rounding="stochastic", seed=7,
        recipe="te", tile=16, four_over_six=True, threads=1; seed formats: those of `SeedFormat`.
    raises: InputError for an unknown name or option, with the nearest one.
    """
    if isinstance(name, Mapping) or name.endswith((".yaml", ".yml")):
        return _custom(read_custom(name), options)
    found = layout(name)
    if found.kind == "seed":
        from hwsim.formats.seed import CODECS, SeedFormat

        return _build(found.name, SeedFormat, {"codec": CODECS[found.name]}, options)
    if found.name.startswith("mx") and found.scale_bits == 8 and found.block == 32:
        return _build(found.name, BlockFormat, {"element": found.element, "label": found.name}, options)
    if found.name in _BDR_POINTS:
        fixed = {"m": _BDR_POINTS[found.name], "k1": 16, "d1": 8, "k2": 2, "d2": 1, "label": found.name}
        return _build(found.name, BdrFormat, fixed, options)
    if found.name == "nvfp4":
        return _build(found.name, ScaledFormat, {"element": "E2M1", "block": 16, "label": "nvfp4"}, options)
    if found.name in ("fp32", "bf16", "fp16"):
        return _build(found.name, WideFormat, {"kind": found.name}, options)
    return _build(found.name, ScaledDenseFormat, {"kind": found.name, "group": 128, "label": ""}, options)


def _custom(point, options: dict) -> Format:
    if isinstance(point, BdrPoint):
        fixed = {"m": point.m, "k1": point.k1, "d1": point.d1, "k2": point.k2, "d2": point.d2}
        return _build(point.name, BdrFormat, {**fixed, "label": point.name}, options)
    if isinstance(point, GroupPoint):
        fixed = {"kind": "int4_g128", "group": point.block, "label": point.name}
        return _build(point.name, ScaledDenseFormat, fixed, options)
    assert isinstance(point, BlockPoint)
    kind = BlockFormat if point.scale == "e8m0" else ScaledFormat
    return _build(point.name, kind, {"element": point.element, "block": point.block, "label": point.name}, options)


def _build(name: str, kind: Callable[..., Format], fixed: dict, options: dict) -> Format:
    known = [p for p in inspect.signature(kind).parameters if p not in fixed]
    unknown = [
        f"{name}: unknown option {option!r}{nearest(option, known)}" for option in options if option not in known
    ]
    if unknown:
        raise InputError(*unknown)
    return kind(**fixed, **options)
