"""What a text, an encoder and a machine are, as pairs of a name and a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bertwright.encoder.config import MODERN_ALONE
from bertwright.reports.records import RunRecords
from bertwright.reports.words import bytes_text, count_text, seconds_text

Writer = Callable[[Any], str]


@dataclass(frozen=True)
class Facts:
    """A heading, and pairs of a name and a value."""

    title: str
    pairs: tuple[tuple[str, str], ...]


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _short(value: float) -> str:
    return f"{value:.2f}"


def _loss(value: float) -> str:
    return f"{value:.3f}"


# Key in the record, name for the reader, how it is written. What a record lacks is left out.
_TOKENIZER: tuple[tuple[str, str, Writer], ...] = (
    ("kind", "kind", str),
    ("vocabulary", "vocabulary (tokens)", count_text),
    ("documents", "trained on documents", count_text),
    ("bytes", "trained on", bytes_text),
    ("strings", "different strings between spaces, counted", count_text),
    ("left_out", "strings too rare to be counted", count_text),
)
_TEXT: tuple[tuple[str, str, Writer], ...] = (
    ("bytes", "text read", bytes_text),
    ("documents", "documents read", count_text),
    ("duplicates", "of them the same as an earlier one, left out", count_text),
    ("near_duplicates", "of them nearly the same, left out", count_text),
    ("held_out_documents", "of them held out", count_text),
    ("tokens", "tokens to train on", count_text),
    ("held_out_tokens", "tokens held out", count_text),
    ("rows", "rows to train on", count_text),
    ("held_out_rows", "rows held out", count_text),
    ("row_length", "tokens a row, at most", count_text),
    ("full", "share of the rows' places that is filled", _share),
    ("words", "words", count_text),
    ("tokens_per_word", "tokens a word", _short),
    ("unknown", "words unknown to the tokenizer", count_text),
    ("mean_document_tokens", "tokens a document, mean", count_text),
    ("longest_document_tokens", "tokens in the longest document", count_text),
)
_ENCODER: tuple[tuple[str, str, Writer], ...] = (
    ("family", "family", str),
    ("size", "size", str),
    ("parameters", "parameters", count_text),
    ("started_from", "started from", str),
    ("budget", "budget", str),
    ("steps", "steps", count_text),
    ("tokens", "tokens seen", count_text),
    ("seconds", "time of training", seconds_text),
    ("tokens_per_second", "tokens a second", count_text),
    ("utilisation", "share of this machine's matrix peak", _share),
    ("precision", "precision", str),
    ("optimizer", "optimizer", str),
    ("schedule", "schedule", str),
    ("batch", "rows a step", str),
    ("first_held_out_loss", "held-out loss at the start (nats)", _loss),
    ("held_out_loss", "held-out loss at the end (nats)", _loss),
    ("skipped_updates", "updates skipped", count_text),
    ("interruptions", "interruptions", count_text),
)
_MACHINE: tuple[tuple[str, str, Writer], ...] = (
    ("cpu", "processor", str),
    ("cores", "cores", str),
    ("memory_bytes", "memory", bytes_text),
    ("system", "system", str),
)


def text_facts(run: RunRecords) -> list[Facts]:
    """Return the text, what was wrong with it, and the tokenizer, each where it was made."""
    found = []
    for record in run.of_kind("prepare"):
        results = record["results"]
        found.append(Facts("Text", _pairs(results, _TEXT)))
        found += _nested("Encoding", results.get("engine"))
        troubles = tuple((reason, count_text(count)) for reason, count in (results.get("troubles") or {}).items())
        found.append(Facts("Troubles in the text", troubles or (("none", "nothing was skipped or replaced"),)))
    return found + [Facts("Tokenizer", _pairs(r["results"], _TOKENIZER)) for r in run.of_kind("tokenizer")]


def encoder_facts(run: RunRecords) -> list[Facts]:
    """Return each encoder that was made: how, its shape, and the proof of its saved folder."""
    found = []
    for record in run.of_kind("pretrain") + run.of_kind("initialise"):
        results = record["results"]
        pairs = _pairs(results, _ENCODER)
        if record["kind"] == "pretrain" and not results.get("started_from"):
            pairs += (("started from", "random weights"),)
        if record["kind"] == "pretrain" and results.get("utilisation") is None:
            pairs += (("share of this machine's matrix peak", "not measured"),)
        title = "Pretraining" if record["kind"] == "pretrain" else f"Encoder as it was drawn: {record['name']}"
        found.append(Facts(title, pairs))
        shape = results.get("shape") or {}
        unused = () if shape.get("family") == "modern" else MODERN_ALONE
        found += _nested("Shape", {name: value for name, value in shape.items() if name not in unused})
        found += _nested("Proof of the saved folder", results.get("proof"))
    return found


def machine_facts(run: RunRecords) -> list[Facts]:
    """Return the machines and versions, each once, with the stages that ran there."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for record in run.stages:
        versions = {name: value or "not installed" for name, value in (record.get("versions") or {}).items()}
        pairs = _pairs(record.get("machine") or {}, _MACHINE) + tuple(versions.items())
        groups.setdefault(pairs, []).append(record["name"])
    if len(groups) == 1:
        return [Facts("Machine and versions, of all stages", pairs) for pairs in groups]
    return [Facts(f"Machine and versions of {_names(names)}", pairs) for pairs, names in groups.items()]


def _names(names: list[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"


def _pairs(values: Mapping[str, Any], rows: Iterable[tuple[str, str, Writer]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, write(values[key])) for key, name, write in rows if values.get(key) is not None)


def _nested(title: str, values: Mapping[str, Any] | None) -> list[Facts]:
    pairs = tuple((key.replace("_", " "), _plain(value)) for key, value in (values or {}).items() if value != "")
    return [Facts(title, pairs)] if pairs else []


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "off"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
