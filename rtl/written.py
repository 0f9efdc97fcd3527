"""The files of a unit: its Verilog, its fields as macros, its FuseSoC core with constraints; its registers for C."""

import re
from pathlib import Path

from hwsim.errors import InputError

from .accel import AccelUnit
from .c_header import c_header
from .emit import emit
from .header import IDENTITY, above, below, macros
from .project import CLOCK_HZ, Project, clock_text, core_text

__all__ = ["legal_name", "write"]


def legal_name(prefix: str, name: str) -> str:
    """The name of a file and a Verilog module.

    raises: InputError where the prefix makes it none.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", prefix + name, re.ASCII):
        raise InputError(f"--prefix {prefix}: write letters, digits and _, no digit first")
    return prefix + name


def write(
    unit, name: str, folder: Path, command: str = "python -m rtl", clock_hz=CLOCK_HZ, bench: bool = False,
    project: Project | None = None,
) -> Path:  # fmt: skip
    """Write `name`.v, `name`.vh, `name`.core, `name`.xdc and `name`.sdc; the folder is made. Return the first.

    A unit with registers has `name`.h too.

    unit: with its ports as `rtl.catalog.outside` makes them. command: what the header says wrote it.
    clock_hz: of the constraints.
    bench: whether `rtl.vectors` writes one beside it, which the core then simulates. project: its part is the core's.
    raises: InputError where `name`.v is there and holds another unit; OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.v"
    comment = above(unit, name, command)
    if path.exists():
        _refuse_another(path, comment)
    path.write_text(comment + emit(unit, name) + below())
    path.with_suffix(".vh").write_text(macros(unit, name))
    if isinstance(unit, AccelUnit):
        path.with_suffix(".h").write_text(c_header(unit.spec, name))
    path.with_suffix(".core").write_text(core_text(name, bench, project))
    for suffix in (".xdc", ".sdc"):
        path.with_suffix(suffix).write_text(clock_text(clock_hz))
    return path


def _refuse_another(path: Path, comment: str) -> None:
    """raises: InputError unless the file says that it was made from what the comment says."""
    made = [line for line in comment.splitlines() if line.startswith(IDENTITY)]
    with path.open() as file:
        found = [line for line, _ in zip(file, range(20), strict=False) if line.startswith(IDENTITY)]
    if [line.rstrip("\n") for line in found] != made:
        raise InputError(f"{path}: is there and holds another unit; write --prefix NAME or another folder (-o)")
