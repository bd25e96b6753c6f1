"""What the text is made of, in tables: its sources, how long its documents are, and the lines that come again."""

from __future__ import annotations

from typing import Any

from bertwright.reports.records import RunRecords
from bertwright.reports.table import Table
from bertwright.reports.words import bytes_text, count_text


def text_tables(run: RunRecords) -> list[Table]:
    """Return the tables of the text that have rows."""
    found = [run_of["results"] for run_of in run.of_kind("prepare")]
    tables = [make(results) for results in found for make in (_sources, _lengths, _lines)]
    return [table for table in tables if table.rows]


def _sources(results: dict[str, Any]) -> Table:
    sources = results.get("sources") or []
    return Table(
        "Sources",
        ("source", "files", "documents", "text", "tokens", "weight", "share"),
        tuple(
            (
                one["path"],
                count_text(one["files"]),
                count_text(one["documents"]),
                bytes_text(one["bytes"]),
                count_text(one["tokens"]),
                f"{one['weight']:.4g}",
                f"{100 * one['share']:.2f} %",
            )
            for one in (sources if len(sources) > 1 else ())
        ),
        caption="As read; the weight is how often a document to train on comes, the share is of their tokens.",
        numeric=frozenset({"files", "documents", "text", "tokens", "weight", "share"}),
    )


def _lengths(results: dict[str, Any]) -> Table:
    found = results.get("document_tokens") or {}
    return Table(
        "Lengths of documents",
        ("share of the documents", "tokens, at most"),
        tuple((share, count_text(tokens)) for share, tokens in found.items()),
        numeric=frozenset({"share of the documents", "tokens, at most"}),
    )


def _lines(results: dict[str, Any]) -> Table:
    return Table(
        "Lines that come again",
        ("line", "times, at least"),
        tuple((one["line"], count_text(one["times"])) for one in results.get("repeated_lines") or []),
        caption="Lines of up to 200 characters; those that come often are seldom text of their own.",
        numeric=frozenset({"times, at least"}),
    )
