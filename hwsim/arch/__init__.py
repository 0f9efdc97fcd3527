"""Machines: YAML files in, a frozen `Arch` out. Names load on first use: importing this room costs nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what the names below are, for type checkers
    from hwsim.arch.builtin import arch_names as arch_names
    from hwsim.arch.gemv import GemmMachine as GemmMachine
    from hwsim.arch.gemv import GemvMachine as GemvMachine
    from hwsim.arch.load import Arch as Arch
    from hwsim.arch.load import arch_config as arch_config
    from hwsim.arch.load import json_schema as json_schema
    from hwsim.arch.load import load_arch as load_arch
    from hwsim.arch.load import load_arch_text as load_arch_text
    from hwsim.arch.load import load_tile_machine as load_tile_machine
    from hwsim.arch.machine import TileMachine as TileMachine

_HOME = {
    "Arch": "load",
    "GemmMachine": "gemv",
    "GemvMachine": "gemv",
    "TileMachine": "machine",
    "arch_config": "load",
    "arch_names": "builtin",
    "json_schema": "load",
    "load_arch": "load",
    "load_arch_text": "load",
    "load_tile_machine": "load",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 (one list, not two)


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
