"""Where the shipped machines are: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path


def arch_folder() -> Path:
    """The folder of the machine files."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "arch_configs"
    return installed if installed.is_dir() else package.parent / "arch_configs"


def arch_names() -> list[str]:
    """Names of the shipped machines, sorted."""
    return sorted(path.stem for path in arch_folder().glob("*.yaml"))
