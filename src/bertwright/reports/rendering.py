"""From a template of this folder to a page; every text from outside is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """Return a page as HTML, from a template's file name and its values; a value that it lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A drawing is made by charts, which escapes what it writes.
    drawing = {"drawing": lambda chart: Markup(chart.svg)}
    return environment.get_template(template).render(**drawing, **values)
