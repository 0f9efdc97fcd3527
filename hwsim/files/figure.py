"""matplotlib for the committed pages: SVG files whose bytes depend on nothing but what is drawn."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from hwsim.errors import MissingExtra


def pyplot(size: int = 9, **settings: Any) -> ModuleType:
    """matplotlib.pyplot, drawing SVG with letters of `size` points; settings: more of its rcParams.

    raises: MissingExtra.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("reports", "matplotlib", "report") from None
    matplotlib.use("svg")
    matplotlib.rcdefaults()
    matplotlib.rcParams.update({"svg.hashsalt": "hwsim", "svg.fonttype": "none", "font.size": size})
    matplotlib.rcParams.update(settings)  # type: ignore[arg-type]  # matplotlib refuses unknown names itself
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path, command: str | None = None, **options: Any) -> None:
    """Write the figure without a date, with the command that made it as its description, and close it."""
    from matplotlib import pyplot as plt

    about = {"Date": None, "Creator": "hwsim"}
    if command:  # letters of a path that the locale could not decode are escaped
        about["Description"] = command.encode("utf-8", "backslashreplace").decode("utf-8")
    figure.savefig(path, metadata=about, **options)
    plt.close(figure)
