"""Number formats: names and layouts (no numpy), values, dot products; every name is loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.formats.catalog import get_format as get_format
    from hwsim.formats.elements import Element as Element
    from hwsim.formats.format import Encoded as Encoded
    from hwsim.formats.format import Format as Format
    from hwsim.formats.layout import Layout as Layout
    from hwsim.formats.lfsr import Lfsr as Lfsr
    from hwsim.formats.lfsr import SeedCodec as SeedCodec
    from hwsim.formats.mx import BlockFormat as BlockFormat
    from hwsim.formats.names import ALIASES as ALIASES
    from hwsim.formats.names import NAMES as NAMES
    from hwsim.formats.product import Aligned as Aligned
    from hwsim.formats.product import block_dot as block_dot
    from hwsim.formats.product import matmul as matmul
    from hwsim.formats.weight_stream import stream as stream

# A public name never equals its module: importing the module would hide the name.
_HOME = {
    "Layout": "layout",
    "NAMES": "names",
    "ALIASES": "names",
    "Element": "elements",
    "BlockFormat": "mx",
    "Encoded": "format",
    "Format": "format",
    "get_format": "catalog",
    "Lfsr": "lfsr",
    "SeedCodec": "lfsr",
    "Aligned": "product",
    "block_dot": "product",
    "matmul": "product",
    "stream": "weight_stream",
}

__all__ = [*_HOME]  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562). The types are those of the imports above."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
