"""A checkpoint by its path: safetensors, or GGUF by the name's end."""

from __future__ import annotations

from pathlib import Path

from hwsim.compress.checkpoint import Checkpoint, read_checkpoint


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read the headers. raises: InputError as `read_checkpoint`, and for a damaged GGUF file."""
    if Path(path).suffix == ".gguf":
        from hwsim.compress.gguf import read_gguf

        return read_gguf(Path(path))
    return read_checkpoint(path)
