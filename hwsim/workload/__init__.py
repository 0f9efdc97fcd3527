"""Workloads: files are read into frozen workloads, which describe a step as `Op`s. Names load on first use."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "FormatMap": "formatmap",
    "Gemm": "op",
    "Model": "language.model",
    "Op": "op",
    "StepOptions": "op",
    "Workload": "op",
    "distinct_experts": "language.routing",
    "expected_distinct": "language.routing",
    "graph_names": "load",
    "graph_schema": "load",
    "load_model": "load",
    "load_model_text": "load",
    "model_names": "load",
    "model_schema": "load",
    "preset": "language.presets",
    "preset_names": "language.presets",
    "split_key": "formatmap",
    "workload_names": "load",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
