"""How the optional extras of hwsim are installed: said once, for every message."""

from __future__ import annotations

import shlex
from pathlib import Path

from hwsim.errors import InputError

CHECKOUT = Path(__file__).parents[1]
"""The folder that holds the package: the repository's, unless hwsim was installed from a wheel."""


def install(*names: str) -> str:
    """The command that installs extras, or hwsim itself where none is named. names: as in pyproject.toml.

    hwsim is on no package index. In a checkout, its folder is what can be installed: with `-e`, so that hwsim stays a
    link to the sources. Where hwsim was installed from a wheel, pip finds it by its name and adds what the extra needs.
    """
    extras = f"[{','.join(names)}]" if names else ""
    if not (CHECKOUT / "pyproject.toml").is_file():
        return f"pip install {shlex.quote(f'hwsim{extras}')}"
    folder = "." if Path.cwd() == CHECKOUT else str(CHECKOUT)
    return f"pip install -e {shlex.quote(f'{folder}{extras}')}"


def missing(what: str, package: str, extra: str) -> InputError:
    """The error of a command that needs a package of an extra. what: plural, as in "HTML pages"."""
    return InputError(f"{what} need {package}: {install(extra)}")
