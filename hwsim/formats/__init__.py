"""Number formats: layout (no numpy), values, dot products. Names load on first use; nothing heavy is imported here."""

from __future__ import annotations

import importlib

_HOME = {
    "Layout": "layout",
    "layout": "layout",
    "NAMES": "layout",
    "ALIASES": "layout",
    "Element": "elements",
    "element": "elements",
    "BlockFormat": "custom",
    "Encoded": "format",
    "Format": "format",
    "get_format": "catalog",
    "Lfsr": "lfsr",
    "SeedCodec": "seed",
    "matmul": "matmul",
    "block_dot": "dot",
    "stream": "stream",
    "explain": "explain",
    "qsnr": "quality",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
