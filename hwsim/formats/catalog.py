"""`get_format`: a name, a YAML path, an inline mapping or a Layout, and options, to a `Format`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable

from hwsim.errors import InputError, nearest
from hwsim.formats.format import Format
from hwsim.formats.names import FormatSource, layout, row


def get_format(source: FormatSource, **options: object) -> Format:
    """A number format with values.

    source: a name or alias of the table in `names`, the path of a YAML file, an inline mapping (see `custom`), or a
        Layout that was resolved before.
    options: those of the format's class, for example scale_rule="rceil", rounding="stochastic", seed=7,
        recipe="te", tile=16, four_over_six=True, threads=1; seed formats: those of `SeedFormat`.
    raises: InputError for an unknown name or option, with the nearest one.
    """
    found = row(layout(source))
    module, name = found.made_by.split(":")
    kind: Callable[..., Format] = getattr(importlib.import_module(f"hwsim.formats.{module}"), name)
    fixed = {**found.options, "given": found.layout}
    known = [parameter for parameter in inspect.signature(kind).parameters if parameter not in fixed]
    unknown = [
        f"{found.layout.name}: unknown option {option!r}{nearest(option, known)}"
        for option in options
        if option not in known
    ]
    if unknown:
        raise InputError(*unknown)
    return kind(**fixed, **options)
