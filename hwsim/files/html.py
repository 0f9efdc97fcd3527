"""One self-contained HTML page: text, data and JavaScript in one file that opens without network or server.

Everything from files goes into a page either through `text`, which escapes it, or through `data`, which the page's
script reads as JSON and shows as text. The drawing library, Vega-Lite with Vega (BSD), comes out of the wheel of
vl-convert; it is never downloaded. A content security policy in the page forbids every request.
"""

from __future__ import annotations

import html
import json
from functools import cache
from pathlib import Path
from typing import Any

from hwsim.extras import missing

#: What a page may do: run the scripts inside it. Vega evaluates its expressions by an interpreter, without eval.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def text(words: object) -> str:
    """Words as HTML text, also inside quoted attributes."""
    return html.escape(str(words), quote=True)


def data(tree: Any) -> str:
    """JSON that cannot end the script element that holds it: `<`, `>` and `&` are written as escapes.

    raises: ValueError for infinities and NaN, which JSON does not have.
    """
    plain = json.dumps(tree, separators=(",", ":"), allow_nan=False)
    return plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def script(name: str | Path) -> str:
    """One of our own scripts or style sheets, from its file beside the code."""
    return Path(name).read_text(encoding="utf-8")


@cache
def library() -> str:
    """Vega-Lite, Vega and their embedding as one script that sets `vegaEmbed`. raises: InputError."""
    try:
        import vl_convert
    except ImportError:
        raise missing("HTML pages", "vl-convert-python", "html") from None
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Inside a string of JavaScript `<\/` is `</`; in no other place of a script can `</script` stand. The library is
    # written as a module: the function keeps its names apart from ours.
    return "(() => {\n" + bundle.replace("</script", "<\\/script") + "\n})();"


def page(title: str, intro: str, tree: Any, draw: str) -> str:
    """The whole page.

    title: plain text.                   intro: HTML below the title; its text escaped by the caller with `text`.
    tree:  what the page's script reads. draw:  the script, run after the library with `data` and the helpers of
    `page.js`; it fills the element `main`.
    """
    here = Path(__file__).parent
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<link rel="icon" href="data:,">
<style>
{script(here / "page.css")}</style>
</head>
<body>
<header>
<h1>{text(title)}</h1>
{intro}
</header>
<main id="main"><noscript>This page draws its figures with JavaScript, which is switched off.</noscript></main>
<script type="application/json" id="data">{data(tree)}</script>
<script>{library()}</script>
<script>
{script(here / "page.js")}
{draw}</script>
</body>
</html>
"""
