"""An operating point of `hwsim serve` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.files.tables import seconds_text

if TYPE_CHECKING:
    from hwsim.jobs.serve import Served


def served_text(s: Served) -> str:
    """One line a quantity."""
    r, m = s.request, s.memory
    used = sum(m[part] for part in ("weights", "kv", "state", "activations"))
    parts = ", ".join(f"{part} {m[part] / 1e9:.2f} GB" for part in ("weights", "kv", "state") if m[part])
    step = f"{seconds_text(s.step_seconds)}, mean over the contexts, +- {seconds_text(s.step_error_seconds)}"
    energy = energy_lines(s)
    rows = [
        ("tokens/s", f"{s.tokens_per_second_per_chip:,.0f} a chip, {s.tokens_per_second_per_user:,.1f} a user"),
        ("first token", f"{seconds_text(s.time_to_first_token)}, without a queue"),
        ("decode step", step + (f"; {s.tokens_per_step:.2f} tokens" if r.drafts else "")),
        ("prefill", f"{seconds_text(s.prefill_seconds)} a prompt"),
        ("batch", f"{s.batch:,} of {s.batch_by_memory:,} that fit"),
        ("memory", f"{used / 1e9:.1f} of {m['capacity'] / 1e9:.0f} GB a chip ({parts})"),
        ("limited by", s.limited_by),
        ("energy", energy[0]),
        *(("", line) for line in energy[1:]),
        *(("note", note) for note in s.notes),
    ]
    chips = f", {r.chips} chips ({r.parallel})" if r.chips > 1 else ""
    head = f"serve, {r.isl:,} tokens in, {r.osl:,} out, {r.model}, {s.machine}{chips}"
    return "\n".join([head, *(f"  {name:<12}{text}" for name, text in rows)])


def energy_lines(s: Served) -> list[str]:
    """Joules an output token, its terms, and what has no source."""
    known = sum(t.value for t in s.energy if t.value is not None)
    if s.energy_joules_per_token is not None:
        lines = [f"{known:.4g} J a token, prompts included"]
    else:
        lines = ["- a token" + (f"; {known:.4g} J without what has no source" if known else "")]
    lines += [f"{t.value:<10.4g} {t.name}: {t.source}" for t in s.energy if t.value is not None]
    for source in dict.fromkeys(t.source for t in s.energy if t.value is None):
        names = ", ".join(t.name for t in s.energy if t.value is None and t.source == source)
        lines.append(f"{'-':<10} {source} ({names})")
    return lines
