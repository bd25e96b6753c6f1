"""What goes in and out over HTTP: requests, answers and errors, each checked and described once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bertwright.deploy.rows import Row
from bertwright.errors import BertwrightError

Text = Annotated[
    str | Annotated[list[str], Field(min_length=1, max_length=2)],
    Field(description="A text, or the two texts of a pair in the pack's order of columns."),
]
PackName = Annotated[str, Field(min_length=1, max_length=200, description="The name of a pack that /v1/packs lists.")]
Exit = Annotated[
    str | None,
    Field(
        max_length=200,
        description="When rows leave: `never`, a policy such as `confidence:0.95` or `entropy:0.2`, or `tuned`, the "
        "pack's own; none: the pack's own.",
    ),
]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RowIn(_Closed):
    """A text and the pack that shall answer it."""

    pack: PackName
    text: Text
    exit: Exit = None


class ClassifyRequest(_Closed):
    """Texts for one pack (`pack` and `texts`), or rows that each name their own (`rows`).

    `exit` is of all texts; of rows, of those that do not say it themselves.
    """

    pack: PackName | None = None
    exit: Exit = None
    texts: list[Text] | None = Field(None, description="Texts for `pack`.")
    rows: list[RowIn] | None = Field(None, description="Texts for several packs, in one batch.")
    logits: bool = Field(False, description="Give the logits too.")


class AnswerOut(_Closed):
    """A row's answer."""

    pack: str
    label: str | list[str] | float = Field(description="A label, a list of labels, or a number (regression).")
    probabilities: dict[str, float] | None = Field(description="By label; null for a regression.")
    layer: int = Field(description="The layer after which the row left.")
    truncated: bool = Field(description="The text was longer than the pack's max_length and was cut.")
    logits: list[float] | None = Field(None, description="Where they were asked for.")


class ClassifyResponse(_Closed):
    """The answers, in the order of the texts or rows."""

    answers: list[AnswerOut]


class PackOut(_Closed):
    """A pack that is served."""

    name: str
    kind: str = Field(description="classification, multi-label or regression")
    labels: list[str]
    columns: list[str] = Field(description="Its text columns: one, or two for pairs.")
    policy: str | None = Field(description="When a row leaves before the last layer.")
    hash: str = Field(description="Of the pack's file: tells which version answers.")
    drift: str | None = Field(
        description="How far rows leave elsewhere than at calibration; null: not calibrated, or few."
    )
    drifted: bool = Field(description="A warning: the text is not like the calibration's.")


class FaultOut(_Closed):
    """A file of the packs folder that is not served, and why."""

    file: str
    message: str


class PacksResponse(_Closed):
    """What is served, and what is not."""

    packs: list[PackOut]
    faults: list[FaultOut]


class ErrorOut(_Closed):
    """What was found, what was expected, what to do next."""

    found: str
    expected: str
    next: str


class ErrorResponse(_Closed):
    """An error."""

    error: ErrorOut


class Refused(BertwrightError):
    """A request that is answered with an error and its status."""

    def __init__(
        self, status: int, found: str, expected: str, following: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"found {found}; expected {expected}; {following}")
        self.status, self.headers = status, dict(headers or {})
        self.body = {"error": {"found": found, "expected": expected, "next": following}}


@dataclass(frozen=True)
class Asked:
    """A request, understood: its rows, and whether logits are wanted."""

    rows: tuple[Row, ...]
    logits: bool


_FORM = '{"pack": "NAME", "texts": ["...", ...]} or {"rows": [{"pack": "NAME", "text": "..."}, ...]}'
_SEE = "see /docs"


def understood(content: bytes, *, most_rows: int, most_characters: int) -> Asked:
    """Return a request's rows; ``Refused`` says what is wrong with it, without a word of its texts."""
    try:
        request = ClassifyRequest.model_validate_json(content)
    except ValidationError as error:
        raise _refused(error) from error
    if request.rows is not None and request.pack is None and request.texts is None:
        rows = [(row.pack, row.text, request.exit if row.exit is None else row.exit) for row in request.rows]
    elif request.pack is not None and request.texts is not None and request.rows is None:
        rows = [(request.pack, text, request.exit) for text in request.texts]
    else:
        given = [name for name in ("pack", "texts", "rows") if getattr(request, name) is not None]
        raise Refused(422, f"the keys {', '.join(given) or 'none'}", _FORM, _SEE)
    if not rows:
        raise Refused(422, "no text", "at least one", "put the texts in")
    if len(rows) > most_rows:
        raise Refused(
            413, f"{len(rows):,} texts", f"at most {most_rows:,} in a request", "send them in several requests"
        )
    return Asked(tuple(_row(number, *row, most_characters) for number, row in enumerate(rows)), request.logits)


def _row(number: int, pack: str, text: str | Sequence[str], exit: str | None, most: int) -> Row:
    row = Row((text,) if isinstance(text, str) else tuple(text), pack, exit)
    if (longest := max(map(len, row.texts))) > most:
        raise Refused(
            413, f"a text of {longest:,} characters (number {number})", f"at most {most:,}", "cut it, or split it"
        )
    return row


def _refused(error: ValidationError) -> Refused:
    """Return the first fault of a request. What was sent is described by its type alone."""
    every = error.errors(include_url=False, include_context=True)
    # A text is a string or a pair: of two complaints about one, that of its own form tells more.
    one = next((one for one in every if one["type"] not in ("string_type", "list_type")), every[0])
    if one["type"] == "json_invalid":
        why = str(one.get("ctx", {}).get("error", "it ends early"))
        return Refused(400, f"a body that is not JSON ({why})", "JSON in UTF-8", _SEE)
    place = ".".join(str(part) for part in one["loc"]) or "the body"
    kind = type(one["input"]).__name__
    said = "a key that is not known" if one["type"] == "extra_forbidden" else _KINDS.get(kind, kind)
    return Refused(422, f"{said} at {place[:100]}", f"{_FORM} ({one['msg']})", _SEE)


_KINDS = {
    "NoneType": "null",
    "dict": "an object",
    "list": "a list",
    "str": "a string",
    "int": "a number",
    "float": "a number",
}


def answer_out(answer: Any, logits: bool) -> dict[str, Any]:
    """Return an answer of the runtime as it is sent."""
    label = list(answer.label) if isinstance(answer.label, tuple) else answer.label
    found = {
        "pack": answer.pack,
        "label": label,
        "probabilities": answer.probabilities,
        "layer": answer.layer,
        "truncated": answer.truncated,
    }
    return {**found, "logits": list(answer.logits)} if logits else found
