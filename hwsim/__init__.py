"""hwsim: for this number format, on this machine, running this model - how fast, what limits it,
what does it cost, and does the silicon agree?

The public interface; each name is loaded on first use, so that importing hwsim costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "all_reduce": "hwsim.jobs.kernels",
    "attention": "hwsim.jobs.kernels",
    "convolution": "hwsim.jobs.kernels",
    "experts": "hwsim.jobs.kernels",
    "gemm": "hwsim.jobs.run",
    "get_format": "hwsim.formats",
    "load_arch": "hwsim.arch",
    "load_model": "hwsim.workload",
    "load_study": "hwsim.study",
    "run": "hwsim.jobs.run",
    "run_study": "hwsim.study",
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
