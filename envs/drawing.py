"""Pictures of games: what an environment that defines `drawing` returns, and how a picture is put together.

Example:
    >>> import turngym
    >>> from turngym.envs import make_env
    >>> env = make_env("turngym/FrozenLake-v0", {"size": 2})
    >>> env.reset(seed=0)[0].splitlines()[0]
    '_ P'
    >>> env.unwrapped.drawing().words
    'A lake of 2 rows and 2 columns: you at row 1 column 2, goal at row 1 column 1, no holes, no moves yet.'
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Literal
from urllib.parse import quote

PAPER_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1b1f24;text-anchor:middle;dominant-baseline:central}"
    "@media (prefers-color-scheme:dark){text{fill:#e6e9ec}}"
)
"""How text looks on light and on dark paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture of an episode so far, whole in itself: it loads nothing.

    Whoever shows it runs no script in it: an SVG as an image, HTML in a frame without any right. What a model wrote
    stands in it as text, escaped all the same.
    """

    kind: Literal["svg", "html"]
    """What the source is."""
    source: str
    """The picture: one `<svg>` element, or an HTML document."""
    words: str
    """The same in words, for those who do not see it."""


def shown(drawing: Drawing, *, style: str) -> str:
    """Return HTML that shows a picture on another page and gives it no right: no script, no reach beyond its place.

    Args:
        drawing: The picture.
        style: The style of the image or of the frame.
    """
    words, source = escape(drawing.words), drawing.source
    if drawing.kind == "svg":
        return f'<img alt="{words}" src="data:image/svg+xml;charset=utf-8,{quote(source)}" style="{style}">'
    page = escape(source).replace("\n", "&#10;")
    return (f'<iframe sandbox="" loading="lazy" title="the page, as people see it" style="{style}" '
            f'srcdoc="{page}"></iframe>')  # fmt: skip


def svg_drawing(width: float, height: float, parts: Iterable[str], *, words: str, style: str = "") -> Drawing:
    """Return a picture of SVG elements.

    Args:
        width: In pixels.
        height: In pixels.
        parts: The elements, from back to front, made by `element`.
        words: What is seen.
        style: Further style sheet; `prefers-color-scheme` tells light paper from dark.
    """
    source = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img"><title>{escape(words)}</title><style>{PAPER_STYLE}{style}</style>'
        f"{''.join(parts)}</svg>"
    )
    return Drawing(kind="svg", source=source, words=words)


def element(tag: str, text: str | None = None, **attributes: str | float) -> str:
    """Return an SVG element with its text and attributes escaped; `_` in a name stands for `-`, and `class_` is class.

    Args:
        tag: Its name.
        text: What it holds; None for nothing.
        **attributes: Numbers are written with at most one decimal.
    """
    told = "".join(
        f' {name.strip("_").replace("_", "-")}="'
        f'{escape(value) if isinstance(value, str) else format(round(value, 1), "g")}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{told}/>" if text is None else f"<{tag}{told}>{escape(text)}</{tag}>"
