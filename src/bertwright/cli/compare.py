"""What `bertwright report --compare` prints."""

from __future__ import annotations

from pathlib import Path

from bertwright.cli.console import show


def show_comparison(first: Path, second: Path, out: Path) -> None:
    """Compare two finished runs, write the page, and print it in lines."""
    from bertwright.pipeline.compare import compare_runs, write_comparison
    from bertwright.reports.comparison import numbers, summary_lines

    found = compare_runs(first, second)
    page = write_comparison(found, out)
    show([*summary_lines(found), "", f"comparison: {page}"], {"comparison": page, **numbers(found)})
