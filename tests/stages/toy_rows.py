"""Toy rows with texts of many lengths."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = [a + b + c for a in ("ba", "ko", "mi", "tu") for b in ("la", "re", "so") for c in ("n", "k", "sh", "")]


def sentences(count: int, *, longest: int = 12, seed: int = 0) -> list[str]:
    """Return drawn sentences of one word to some."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, longest))) for _ in range(count)]


def write_rows(path: Path, count: int, **more: object) -> Path:
    """Write rows of JSON with a number, two texts and some more columns."""
    first, second = sentences(count), sentences(count, seed=1)
    rows = ({"n": n, "text": a, "other": b, **more} for n, (a, b) in enumerate(zip(first, second, strict=True)))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
