"""An operating point of `hwsim serve` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.files.tables import seconds_text
from hwsim.report.ideal import ideal_text
from hwsim.report.text import lacking, provenance_text, term_lines, terms_text

if TYPE_CHECKING:
    from hwsim.arch.stack import ServingStack
    from hwsim.jobs.serve import Served
    from hwsim.jobs.serving.load import Served as UnderLoad


def served_text(s: Served, energy: bool = False) -> str:
    """One line per quantity. energy: also each term of the energy, with its source."""
    r, m = s.request, s.memory
    used = m.total
    held = {"weights": m.weights, "kv": m.kv, "state": m.state}
    parts = ", ".join(f"{part} {n / 1e9:.2f} GB" for part, n in held.items() if n)
    step = f"{seconds_text(s.step_seconds)}, mean over context lengths, {_integration(s.step_error_seconds)}"
    lines = energy_lines(s, energy)
    ideal = ideal_text(s.machine, s.provenance)
    rows = [
        *([("machine", ideal)] if ideal else []),
        ("tokens/s", f"{s.tokens_per_second_per_chip:,.0f} per chip, {s.tokens_per_second_per_user:,.1f} per user"),
        ("first token", f"{seconds_text(s.time_to_first_token)}, without queueing"),
        ("per token", _per_token(s)),
        ("decode step", step + (f"; {s.tokens_per_step:.2f} tokens per step" if r.drafts else "")),
        ("prefill", f"{seconds_text(s.prefill_seconds)} per prompt, {s.prefill_prompts:,} at once"),
        ("batch", f"{s.batch:,} (memory allows {s.batch_by_memory:,})"),
        ("memory", f"{used / 1e9:.1f} of {m.capacity / 1e9:.0f} GB per chip ({parts})"),
        ("limited by", s.limited_by),
        ("kernels", f"{provenance_text(s.provenance)}: shares of the device's time, by how it is known"),
        ("stack", stack_line(s.stack)),
        ("energy", lines[0]),
        *(("", line) for line in lines[1:]),
        *(("note", note) for note in s.notes),
    ]
    chips = f", {r.chips} chips ({r.parallel})" if r.chips > 1 else ""
    head = f"serve, {r.isl:,} tokens in, {r.osl:,} out, {r.model}, {s.machine}{chips}"
    return "\n".join([head, *(f"  {name:<12}{text}" for name, text in rows)])


def _per_token(s: Served) -> str:
    """From one token of a user to the next."""
    if s.time_per_output_token is None:
        return "-: one output token"
    return f"{seconds_text(s.time_per_output_token)}, prefills of the other sequences included"


def stack_line(stack: ServingStack) -> str:
    """The software's times, what becomes of quantising, and the error on models that the numbers did not see."""
    times = {"step": stack.step_seconds, "sequence": stack.sequence_seconds, "layer": stack.layer_seconds}
    parts = [f"{seconds_text(seconds)} per {what}" for what, seconds in times.items() if seconds]
    parts.append("quantising fused" if stack.quantise == "fused" else "quantising by kernels of its own")
    return f"{stack.name}: {', '.join(parts)}; {_fit(stack)}"


def _fit(stack: ServingStack) -> str:
    if stack.fit is None:
        return "not fitted to measurements"
    if stack.fit.left_out is None:
        return f"error {stack.fit.in_fit:.1f} % on the rows that it was fitted to, one model"
    return f"error {stack.fit.left_out:.1f} % on models left out of its fit"


def _integration(seconds: float) -> str:
    """Error bound of the mean over context lengths."""
    return f"integration error < {seconds_text(max(seconds, 1e-9))}"


def energy_lines(s: Served | UnderLoad, terms: bool = False) -> list[str]:
    """Joules per output token, one line; with `terms`, each term and its source below."""
    whole = terms_text(s.energy, 1, "J")
    what = "per output token, prompts included"
    if whole == "-":
        whole, what = "no figure", f"for {', '.join(lacking(s.energy))}"
    lines = [f"{whole} {what}" + ("" if terms else " (--energy)")]
    return lines + (term_lines(s.energy, 1) if terms else [])
