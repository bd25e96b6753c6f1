"""A task of a recipe: its files, columns and labels, and the sets on which its runs are scored."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_serializer, model_validator

from bertwright.recipe.exits import ExitsChoice
from bertwright.recipe.fields import Columns, Epochs, Existing, Positive, PositiveNumber, Section, existing
from bertwright.recipe.methods import Methods

# A set's name becomes that of a file, with more behind it, of which systems take 255 bytes.
_LONGEST_NAME, _MOST_BYTES = 100, 200
_SHOWN = 40
_LARGEST_WEIGHT = 1e6  # of a label: with a larger one nothing is left of the others in fp32


class LabelledSet(Section):
    """A file to score on that needs more than its path."""

    file: Existing
    """The file: csv, tsv, jsonl or parquet."""
    known: str | None = None
    """Known task that the file is of, where that is another than the task: `hans` for a model of MNLI."""
    merge: Literal["argmax", "sum", "drop", "wrong"] | None = None
    """How the model's labels become that task's: the best label first, then merged (`argmax`); probabilities added,
    then the best (`sum`); labels without a counterpart ignored (`drop`) or counted as wrong answers (`wrong`). Off: as
    that task's authors do."""
    groups: Columns = ()
    """Columns for whose values the set is scored too; off: as in the task."""

    @model_validator(mode="after")
    def _merge_has_another_task(self) -> Self:
        if self.merge is not None and self.known is None:
            raise ValueError("`merge` needs `known`, the task whose labels the model's become; give it too")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, Any] | str:
        given = {"known": self.known, "merge": self.merge, "groups": list(self.groups)}
        told = {name: value for name, value in given.items() if value}
        return {"file": str(self.file), **told} if told else str(self.file)


def _as_set(value: Any, info: ValidationInfo) -> Any:
    """Take a path for a set that has nothing else to say."""
    return value if isinstance(value, dict | LabelledSet) else {"file": existing(value, info)}


def _quoted(value: Any) -> Any:
    """Refuse a word that YAML has turned into true or false."""
    if isinstance(value, bool):
        words = "yes, on and true" if value else "no, off and false"
        raise ValueError(
            f"found {str(value).lower()}, which is what YAML makes of {words}; write the word in quotes, such as "
            f'"{words.partition(",")[0]}"'
        )
    return value


def _label_word(value: Any) -> Any:
    """Take a label for the word that it is in a file, where YAML reads a number too."""
    value = int(value) if isinstance(_quoted(value), float) and value.is_integer() else value
    return unicodedata.normalize("NFC", str(value)).strip() if isinstance(value, str | int | float) else value


def _labels_as_words(value: Any) -> Any:
    """Take the labels of weights for words; refuse weights of no label."""
    if not isinstance(value, dict):
        return value
    if not value:
        raise ValueError("found no label in it; write `balanced` or `{label: number}`, or take it out")
    words = [_label_word(name) for name in value]
    if twice := [word for word, count in Counter(map(str, words)).items() if count > 1]:
        raise ValueError(f"the label {twice[0]!r} stands twice in it; keep one")
    return dict(zip(words, value.values(), strict=True))


def _set_name(value: Any) -> Any:
    """Refuse a set's name that is none of a file in a folder of ours."""
    value = str(value) if isinstance(_quoted(value), int) else value
    if not isinstance(value, str):
        return value
    strange = next((sign for sign in value if unicodedata.category(sign)[0] not in "LMN" and sign not in " _-."), None)
    long = len(value) > _LONGEST_NAME or len(value.encode("utf-8", "replace")) > _MOST_BYTES
    if strange is not None or long or not value or value != value.strip() or value.startswith("."):
        found = f"{value[:_SHOWN]!r}{' ...' if len(value) > _SHOWN else ''}"
        what = f" with {strange!r}" if strange is not None else f" of {len(value)} characters" if long else ""
        raise ValueError(
            f"found the name {found}{what}; a set's name is of letters, digits, spaces inside, `_`, `-` and `.`, does "
            f"not begin with a dot and has at most {_LONGEST_NAME} characters, {_MOST_BYTES} bytes; choose another"
        )
    return value


_Set = Annotated[LabelledSet, BeforeValidator(_as_set, json_schema_input_type=str | LabelledSet)]
_Weight = Annotated[float, Field(gt=0, le=_LARGEST_WEIGHT, allow_inf_nan=False)]
_Label = Annotated[str, BeforeValidator(_label_word, json_schema_input_type=str | float)]


class Task(Section):
    """A labelled data set to fine-tune on: a known one, or your own files and columns."""

    _words: ClassVar[frozenset[str]] = frozenset({"positive", "none_label"})

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=_LONGEST_NAME)]
    """Name in reports and folders."""
    known: str | None = None
    """Name of a task whose columns and metrics are known (`bertwright tasks` lists them); needs `folder`, or `train`
    and `sets`."""
    folder: Existing | None = None
    """Folder of a known task's files, under the names that its publishers give them."""
    train: Existing | None = None
    """File of training rows: csv, tsv, jsonl or parquet."""
    sets: dict[Annotated[str, BeforeValidator(_set_name)], _Set] = {}  # noqa: RUF012  (pydantic copies it)
    """Files to score on, by name; `dev` and `test` are the usual ones. Those of a known task's folder come beside."""
    kind: Literal["classification", "multi-label", "regression"] = "classification"
    """What is predicted."""
    text: Columns | None = None
    """Text column, or the two columns of a pair; `"{title} {body}"` joins columns."""
    label: Annotated[str, Field(min_length=1), BeforeValidator(_quoted)] = "label"
    """Label column."""
    metrics: Columns | None = None
    """Metrics, the headline first; off: accuracy, micro F1 or Spearman by kind."""
    positive: _Label | None = None
    """Label that counts as positive for F1; `"no"` and the like in quotes, as YAML reads them as true and false."""
    none_label: _Label | None = None
    """Word that stands for no label in a multi-label column; `"no"` and the like in quotes."""
    label_separator: Annotated[str, Field(min_length=1)] = ";"
    """What parts the labels of a multi-label row."""
    groups: Columns = ()
    """Columns for whose values the sets are scored too; `site x label` is for each pair of values, where `label` is the
    row's label."""
    documents: str | None = None
    """Column that tells which document a row is of, for `document_micro_f1`: the labels of all its rows together."""
    class_weights: Annotated[Literal["balanced"] | dict[str, _Weight] | None, BeforeValidator(_labels_as_words)] = None
    """How much rows of a label count in training: `balanced`, or `{label: number}`, where the rest has 1. Scaled to a
    mean of 1 over the rows; where rows have several labels, the weight of having the label against lacking it."""
    window_stride: Positive | None = None
    """Tokens from one window to the next over rows longer than `max_length`; each window is a training row with the
    row's label, and their logits are averaged for an answer. Off: long rows are cut."""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Longest row in tokens; longer ones are cut and counted. Off: as in `finetune`."""
    epochs: Epochs | None = None
    """Passes over the training rows; off: as in `finetune`."""
    batch: Positive | None = None
    """Rows an update; off: as in `finetune`."""
    learning_rate: PositiveNumber | None = None
    """Peak learning rate; off: as in `finetune`."""
    seeds: Positive | None = None
    """Runs of this task, each with its own seed; off: as in `finetune`."""
    train_rows: Positive | None = None
    """Training rows to learn from, drawn; off: all of them."""
    unlabelled: dict[str, Existing] = {}  # noqa: RUF012  (pydantic copies it)
    """Files without labels that `submit` answers, by part: `test`, for MNLI `test_matched`, `test_mismatched` and `ax`;
    those in a known task's folder are found by their names."""
    start_from: str | None = None
    """Name of another task from whose run this one starts (its best setting, its first seed), with a new last layer;
    `encoder` is the encoder itself, whatever the protocol says. Off: as the protocol says, else the encoder."""
    trainable: Methods | None = None
    """Methods of this task alone; off: as in `finetune`."""
    exits: ExitsChoice | None = None
    """Early exits of this task's runs (see Exits); off: as in `finetune`."""

    @model_validator(mode="after")
    def _known_or_own(self) -> Self:
        lacks = [key for key in ("train", "sets") if not getattr(self, key)]
        if self.known is not None:
            brings = {"kind", "text", "label", "metrics", "positive", "none_label", "label_separator", "documents"}
            own = sorted(self.model_fields_set & brings)
            if self.folder is None and lacks:
                raise ValueError(f"a known task needs `folder`, where its files are, or {' and '.join(lacks)}")
            if own:
                raise ValueError(f"a known task brings its own columns and metrics; remove {', '.join(own)} or `known`")
        elif lacks or not self.text:
            missing = ", ".join([*lacks, *([] if self.text else ["text"])])
            raise ValueError(f"your own task needs {missing} (or `known` and `folder` for a known one)")
        elif len(self.text) > 2:
            raise ValueError(f"found {len(self.text)} text columns; a row is one text or a pair")
        return self
