"""hwsim: for this number format, on this machine, running this model - how fast, what limits it,
what does it cost, and does the silicon agree?

The public interface; each name is loaded on first use, so that importing hwsim costs nothing. `__init__.pyi` tells
editors and type checkers what they are.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "1.0.0rc1"

_HOMES = {
    "all_reduce": "hwsim.jobs.kernels",
    "attention": "hwsim.jobs.kernels",
    "compare": "hwsim.api",
    "convolution": "hwsim.jobs.kernels",
    "experts": "hwsim.jobs.kernels",
    "gemm": "hwsim.api",
    "get_format": "hwsim.formats",
    "load_arch": "hwsim.arch",
    "load_model": "hwsim.workload",
    "load_study": "hwsim.study",
    "qsnr": "hwsim.api",
    "run": "hwsim.api",
    "run_study": "hwsim.study",
    "serve": "hwsim.api",
    "write_trace": "hwsim.api",
    "train": "hwsim.jobs.train",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hwsim' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
