"""What README and docs show: commands to give, and blocks of code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(page for page in sorted(ROOT.glob("docs/*.md")) if page.name != "commands.md")]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(bertwright [^`]+)`")


@dataclass(frozen=True)
class Shown:
    """A command of a page, in words; ``whole``: as a user gives it, and not a part in running text."""

    page: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def commands() -> Iterator[Shown]:
    """Yield every `bertwright` command of the pages, comments and the lines' ends taken away."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        plain = [body for language, body in _BLOCK.findall(text) if language in ("", "sh", "console")]
        rest = _BLOCK.sub("", text)
        plain.append("\n".join(line[4:] for line in rest.splitlines() if line.startswith("    ")))
        for line in re.sub(r"\\\n\s*", "", "\n".join(plain)).splitlines():
            if line.startswith("bertwright "):
                yield Shown(page.name, tuple(shlex.split(line, comments=True)[1:]), True)
        for found in _INLINE.findall(rest):
            yield Shown(page.name, tuple(shlex.split(" ".join(found.split()))[1:]), False)


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's blocks of a language."""
    return [body for name, body in _BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]
