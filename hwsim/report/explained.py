"""Explanations of formats for a terminal, with the last rounding: that of element x scales to a float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import numpy as np

from hwsim.formats.explain import Explanation, number
from hwsim.formats.format import Format


def explained(form: Format, values: Sequence[float]) -> Explanation:
    """`form.explain(values)`, whose words also say where a decoded value is not element x scales but its float32.

    raises: InputError as `explain`.
    """
    told = form.explain(values)
    rest = iter(_products(form, values))
    blocks = []
    for block in told.blocks:
        steps = []
        for step, (element, exact) in zip(block.elements, islice(rest, len(block.elements)), strict=True):
            if exact is not None and (not np.isfinite(step.decoded) or Fraction(step.decoded) != exact):
                words = f"{step.rounding}; decoded = float32({element}{_apart(exact, step.decoded)})"
                step = replace(step, rounding=words)
            steps.append(step)
        blocks.append(replace(block, elements=tuple(steps)))
    return replace(told, blocks=tuple(blocks))


def _products(form: Format, values: Sequence[float]) -> list[tuple[str, Fraction | None]]:
    """Of each value ("ELEMENT x scales = ", the exact product); None where an element or a scale is NaN or infinite."""
    encoded = form.encode(np.asarray([values], np.float64))
    parts = form.operand(encoded)
    after, words = Fraction(float(parts.after[0])), "{} x scales = "
    if form.layout.kind == "seed":
        from hwsim.formats.seed import SeedFormat

        assert isinstance(form, SeedFormat)
        after = Fraction(2) ** int(encoded.tensor_number) / form.codec.denominator  # `parts.after` is rounded
        words = ""  # the words of a seed say its sum already
    found: list[tuple[str, Fraction | None]] = []
    for i, element in enumerate(parts.elements[0].tolist()):
        scale = float(parts.scales[0, i // parts.block]) if parts.block else 1.0
        known = np.isfinite(element) and np.isfinite(scale)
        found.append((words.format(number(element)), Fraction(element) * Fraction(scale) * after if known else None))
    return found


def _apart(exact: Fraction, decoded: float) -> str:
    """The exact product, with as many digits as tell it from the decoded value."""
    texts = [f"{float(exact):.{digits}g}" for digits in range(9, 18)]
    return next((text for text in texts if text != number(decoded)), texts[-1])
