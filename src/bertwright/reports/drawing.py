"""The same picture drawn twice: SVG that takes the page's colours, and PNG on white for slides and papers.

The SVG's ink is a mark that becomes ``currentColor``, so one picture serves a light and a dark page; its words stay
words, so they can be searched and read aloud.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_WIDTH = 4.6  # inches
_DOTS_PER_INCH = 200
_PAPER_INK = "#222222"
_MARK_INK = "#0a0b0c"  # replaced by currentColor; no other line has it

# Okabe and Ito's colours, those first that stand out on white and on near-black alike. With any colour vision, and in
# print without colour, marks and dashes tell the same lines apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", ":", "-.")

Draw = Callable[[Figure, str], None]
"""Draws on a figure with the ink given."""


@dataclass(frozen=True)
class Chart:
    """One picture: file name without ending, caption, inline SVG text and PNG bytes."""

    name: str
    caption: str
    svg: str
    png: bytes


def style_of(place: int) -> tuple[str, str]:
    """Return the colour and the mark of the line at a place of a picture; 36 lines differ in one or the other."""
    return COLOURS[place % len(COLOURS)], MARKS[(place + place // len(COLOURS)) % len(MARKS)]


def plain_axes(axes: Axes, ink: str) -> None:
    """Leave of a plot's frame what a reader needs, in the ink."""
    axes.patch.set_visible(False)
    axes.grid(visible=True, color=ink, alpha=0.14, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=ink, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink)
        spine.set_alpha(0.5)


def chart(name: str, caption: str, draw: Draw, height: float) -> Chart:
    """Return a picture of so many inches in height."""
    with (
        mpl.rc_context(
            {
                "font.family": "sans-serif",
                "font.size": 9,
                "axes.titlesize": 9,
                "figure.constrained_layout.w_pad": 0.1,
                "figure.constrained_layout.h_pad": 0.08,
                "svg.fonttype": "none",
                "svg.hashsalt": name,
                # A dollar sign in a user's name is a dollar sign.
                "text.parse_math": False,
            }
        ),
        warnings.catch_warnings(),
    ):
        # A name in a script that the font lacks shows as boxes in the PNG; page and SVG have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        png, svg = io.BytesIO(), io.StringIO()
        paper = Figure(figsize=(_WIDTH, height), dpi=_DOTS_PER_INCH, layout="constrained", facecolor="white")
        FigureCanvasAgg(paper)
        draw(paper, _PAPER_INK)
        paper.savefig(png, format="png", metadata={"Software": None})
        screen = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="none")
        FigureCanvasSVG(screen)
        draw(screen, _MARK_INK)
        screen.savefig(svg, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Chart(name, caption, _inline(svg.getvalue(), name, caption), png.getvalue())


def _inline(svg: str, name: str, caption: str) -> str:
    """Return the drawing alone, fit to stand inside a page beside others."""
    body = svg[svg.index("<svg ") :].replace(_MARK_INK, "currentColor")
    body = re.sub(r"font-family: [^;\"]*;?", "", re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body))
    # Names inside a drawing must not meet those of another one on the same page.
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\1{name}-", body)
    head, rest = body.split(">", 1)
    head = re.sub(r'\s(?:width|height|version|xmlns(?::xlink)?)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(caption)}">{rest}'
