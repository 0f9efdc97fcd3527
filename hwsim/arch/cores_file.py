"""What a machine file says of its cores: how many, and which files beside it hold their kernels and calibration.

`hwsim.arch.kernel_library` reads those files, and is loaded for a machine that has cores, when its file is read.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hwsim.arch.cores import Cores
from hwsim.arch.scalars import Size, size_text
from hwsim.files.fields import FilePart


class CoresFile(FilePart):
    """The cores that tiles are scheduled onto, the kernels there are, and how fast they were measured to be."""

    count: int = Field(ge=1, le=4096, description="Cores (streaming multiprocessors) of the chip.", examples=[132])
    memory: Size = Field(description="Operands in flight in one core.", examples=["228 KiB"])
    kernels: str = Field(description="File of the kernel menus.", examples=["kernels/h100-sxm.yaml"])
    calibration: str | None = Field(
        None, description="File written by `hwsim calibrate`.", examples=["calibration/h100-sxm.yaml"]
    )
    others: str | None = Field(
        None,
        description="Calibration of another machine, for the kernels that this one's lacks.",
        examples=["calibration/h100-sxm.yaml"],
    )
    uncertainty: float = Field(
        0.3, gt=0, lt=1, description="Of times by another machine's calibration, as a share of them.", examples=[0.06]
    )


def cores_file(cores: Cores) -> dict[str, Any]:
    """The cores as a machine file states them."""
    part: dict[str, Any] = {"count": cores.count, "memory": size_text(cores.memory_bytes), "kernels": cores.kernels}
    part |= {key: getattr(cores, key) for key in ("calibration", "others") if getattr(cores, key)}
    return part | ({"uncertainty": cores.uncertainty} if cores.measured_on not in ("", cores.machine) else {})
