"""Hashes by which finished points are found again: of a point's settings, and of the code that results depend on."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

#: Code that no result depends on: when it changes, the finished points of a study remain valid.
NOT_DIGESTED = (
    "cli",
    "files/figure.py",
    "files/html.py",
    "files/tables.py",
    "jobs/trace.py",
    "measured",
    "pages",
    "report",
    "study",
)


@cache
def code_digest() -> str:
    """Hash of the package's code, so that results of an earlier simulator are not taken for those of this one."""
    package, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if not any(name.is_relative_to(left_out) for left_out in NOT_DIGESTED):
            digest.update(name.as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def digest_of(*parts: Any) -> str:
    """Hash of plain data: equal for equal data, in every process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
