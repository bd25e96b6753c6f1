"""What a person sees while a run works: a live line on a terminal, plain lines elsewhere. All of it goes to stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bertwright.reports.words import bytes_text, seconds_text

# Seconds between two plain lines of one stage.
_EVERY = 10.0


class Screen:
    """Listens to a run and shows it; a context manager, so that the live lines are put away whatever happens.

    Stages that work side by side have a line each.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        # What is printed is the user's names and words: brackets in it are no markup, and no line is broken.
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._quiet = quiet
        self._verbose = verbose
        self._live: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._shown: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    def __enter__(self) -> Screen:
        """Start the live line where there is a terminal."""
        if self.console.is_terminal and not self._quiet:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(30),
                TextColumn("{task.fields[figures]}", markup=False),
            )
            self._live = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Put the live line away."""
        if self._live is not None:
            self._live.stop()
        sys.stderr.flush()

    def __call__(self, stage: str, fields: dict[str, Any]) -> None:
        """Show one event of a stage."""
        if self._quiet:
            return
        event = fields["event"]
        if event == "begin":
            self._begin(stage, fields["why"])
        elif event == "work":
            self._work(stage, fields)
        elif event == "done":
            self._end(stage, fields)
        elif event == "failed":
            self._fail(stage, fields["said"])
        elif event == "skip" and self._verbose:
            self.console.print(f"{stage}: {fields['why']}")

    def _begin(self, stage: str, why: str) -> None:
        self._begun[stage] = self._shown[stage] = time.monotonic()
        if self._live is not None:
            self._bars[stage] = self._live.add_task(stage, total=1.0, figures="")
        else:
            self.console.print(f"{stage}: starts ({why})")

    def _work(self, stage: str, fields: dict[str, Any]) -> None:
        if said := fields.get("said"):
            self.console.print(f"{stage}: {said}")
            return
        figures = figures_line(fields)
        if self._live is not None:
            self._live.update(self._bars[stage], completed=fields.get("share") or 0.0, figures=figures)
        elif time.monotonic() - self._shown[stage] >= _EVERY:
            self._shown[stage] = time.monotonic()
            self.console.print(f"{stage}: {figures}")

    def _end(self, stage: str, fields: dict[str, Any]) -> None:
        if self._live is not None:
            self._live.remove_task(self._bars.pop(stage))
        if stage == "forecast":
            self.console.print(f"forecast: {seconds_text(fields['seconds'])} of work")
        else:
            self.console.print(f"{stage}: done in {seconds_text(time.monotonic() - self._begun[stage])}")

    def _fail(self, stage: str, said: str) -> None:
        if self._live is not None and stage in self._bars:
            self._live.remove_task(self._bars.pop(stage))
        self.console.print(f"{stage}: failed, the others go on: {said}")


def figures_line(fields: dict[str, Any]) -> str:
    """Return the figures of an event on one line, with their units; a narrow terminal cuts the last ones off."""
    parts = []
    if (share := fields.get("share")) is not None:
        parts.append(f"{share:4.0%}")
    if (left := fields.get("seconds_left")) is not None:
        parts.append(f"{seconds_text(left)} left")
    if (speed := fields.get("bytes_per_second")) is not None:
        parts.append(f"{bytes_text(speed)}/s")
    if (step := fields.get("step")) is not None:
        last = fields.get("final_step")
        parts.append(f"step {step:,.0f}" if last is None else f"step {step:,.0f} of about {last:,.0f}")
    for name, text in (
        ("loss", "loss {:.3f}"),
        ("held_out_loss", "held-out loss {:.3f}"),
        ("tokens_per_second", "{:,.0f} tokens/s"),
        ("utilisation", "{:.0%} of the peak"),
        ("rows", "{:,.0f} rows"),
        ("rows_per_second", "{:,.0f} rows/s"),
        ("learning_rate", "rate {:.2e}"),
    ):
        if (value := fields.get(name)) is not None:
            parts.append(text.format(value))
    if (memory := fields.get("memory_bytes")) is not None:
        parts.append(f"{bytes_text(memory)} of memory")
    if note := fields.get("note"):
        parts.append(str(note))
    return ", ".join(parts)
