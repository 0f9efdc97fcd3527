"""Why a machine cannot train, and what to add to it."""

from __future__ import annotations

from hwsim.arch import Arch, TileMachine


def lacking(machine: Arch, chips: int) -> list[str]:
    """Why a machine cannot train a model on so many chips."""
    if not isinstance(machine, TileMachine):
        return [f"{machine.name}: computes one GEMM at a time and cannot train a model"]
    if machine.link is None:
        lacks = f"{machine.name}: {chips} chips need a `link`, which this machine lacks; add one to its file"
        return [lacks] if chips > 1 else []
    span = machine.link.span
    if 0 < span < chips:
        return [f"parallel: {chips} chips, more than the {span} that the links of {machine.name} join; write less"]
    return []


def what_to_add(problem: str) -> str:
    """A refusal of an op by the machine, with what to change."""
    if "no dot rate" in problem:
        return f"{problem}; training multiplies attention, scans and what the recipe keeps in bf16: add a rate for it"
    if problem.endswith("which this machine lacks"):
        return f"{problem}; add one to its file"
    return problem
