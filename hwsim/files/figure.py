"""matplotlib for the committed pages: SVG files whose bytes depend on nothing but what is drawn."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

from hwsim.extras import missing

#: Okabe and Ito's eight colours (jfly.uni-koeln.de/color), without yellow: the lines of a figure. They can be told
#: apart without red and green.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

#: The colour of each op kind, on every page; hatches separate neighbours in print. The colours are Paul Tol's schemes
#: (personal.sron.nl/~pault).
OP_COLOURS = {
    "embedding": ("#999933", ""),
    "norm": ("#777777", ""),
    "attention_proj": ("#0077BB", ""),
    "attention": ("#88CCEE", "////"),
    "mlp": ("#332288", ""),
    "router": ("#EE7733", "...."),
    "experts": ("#117733", ""),
    "shared_experts": ("#44AA99", "////"),
    "latent": ("#CC3311", ""),
    "mamba_proj": ("#CC6677", ""),
    "conv": ("#AA4499", "...."),
    "ssm": ("#882255", "////"),
    "mtp": ("#FFAABB", ""),
    "head": ("#DDCC77", ""),
    "link": ("#663333", "////"),
    "gemm": ("#4477AA", ""),
    "other": ("#BBBBBB", ""),
    # of linear attention and of graphs: matplotlib's tab20b and tab20c
    "indexer": ("#393B79", ""),
    "linear_proj": ("#E7CB94", "////"),
    "linear_attention": ("#E6550D", "...."),
    "linear": ("#CEDB9C", "xx"),
    "matmul": ("#CE6DBD", ""),
    "depthwise": ("#9C9EDE", "////"),
    "pool": ("#D6616B", "...."),
    "activation": ("#756BB1", "xx"),
    "softmax": ("#E7BA52", ""),
    "elementwise": ("#9ECAE1", "////"),
    "reduce": ("#B5CF6B", "...."),
    "concat": ("#A55194", "xx"),
    "transpose": ("#6B6ECF", ""),
    "expand": ("#AD494A", "////"),
    "pad": ("#31A354", "...."),
    "resize": ("#BD9E39", "xx"),
    "gather": ("#3182BD", ""),
    "scatter": ("#8CA252", "////"),
    "segment": ("#7B4173", "...."),
    "sort": ("#5254A3", "xx"),
    "topk": ("#843C39", ""),
    "knn": ("#FDAE6B", "////"),
    "farthest": ("#8C6D31", "...."),
    "assign": ("#DE9ED6", "xx"),
    "distribute": ("#637939", ""),
    "interact": ("#E7969C", "////"),
    "recurrent": ("#6BAED6", "...."),
}

#: Colours of op kinds that are not in the table.
_MORE = ("#77AADD", "#EE8866", "#EEDD88", "#99DDFF", "#44BB99", "#BBCC33", "#AAAA00", "#225555", "#666633", "#555555")


def op_style(kind: str) -> tuple[str, str]:
    """Colour and hatch of an op kind: the same on every page, also of a kind that is not in the table."""
    return OP_COLOURS.get(kind) or (_MORE[crc32(kind.encode()) % len(_MORE)], "xx")


def pyplot(size: int = 9, **settings: Any) -> ModuleType:
    """matplotlib.pyplot, drawing SVG with letters of `size` points; settings: more of its rcParams.

    raises: InputError.
    """
    try:
        import matplotlib
    except ImportError:
        raise missing("reports", "matplotlib", "report") from None
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
