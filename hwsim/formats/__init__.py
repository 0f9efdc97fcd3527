"""Number formats: layout (no numpy), values, dot products; every name is loaded on first use."""

from __future__ import annotations

import importlib

# A public name never equals its module: importing the module would hide the name.
_HOME = {
    "Layout": "layout",
    "NAMES": "layout",
    "ALIASES": "layout",
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
    "stream": "engine_stream",
}

__all__ = [*_HOME]  # noqa: PLE0605


def __getattr__(name: str):
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
