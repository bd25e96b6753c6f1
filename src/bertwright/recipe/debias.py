"""What a recipe says about training against a shortcut: losses, and the experts that they are held against."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from bertwright.errors import InputError
from bertwright.recipe.debias_published import PUBLISHED
from bertwright.recipe.debias_settings import OPTIONS, Attributing, Settings
from bertwright.recipe.fields import Columns, Epochs, Existing, Number, Positive, PositiveNumber, Section, Share

EXPERT_LOSSES = ("poe", "poe-ce", "guided", "reweight", "confidence")
"""Losses that hold the model against an expert."""
HEAD_LOSSES = ("poe-e2e", "dfl-e2e")
"""Losses with a bias head on the same encoder, which reads some columns alone."""
TEACHER = "teacher"
"""Name, and kind, of the expert that `confidence` learns from."""


class Loss(Section):
    """A loss against a shortcut, and how attributions are compared where it asks for them."""

    name: str
    """`ce`, `poe`, `poe-ce`, `guided`, `reweight`, `confidence` (with an expert), `poe-e2e`, `dfl-e2e` (with a bias
    head), or published settings by name, such as `guide-the-learner-fever`."""
    alpha: float | None = None
    """Weight of the cross-entropy part; off: 1, or as published."""
    beta: float | None = None
    """How fast the product of experts takes over where it is wrong (Guide the Learner, equation 5); off: 1, or as
    published."""
    mix: str | None = None
    """How similarity weighs the two losses: `power` (off means that), `complement`, `power-sum`, `complement-sum`."""
    exponent: str | None = None
    """Whether gradients flow through equation 5's exponent: `attached` (off means that) or `detached`."""
    gamma: float | None = None
    """Exponent of the debiased focal loss; off: 2."""
    bias_weight: float | None = None
    """Weight of a bias head's own cross entropy; off: 1."""
    bias_gradient: str | None = None
    """Whether a bias head learns through the main loss too: `attached` (off means that) or `detached`."""
    scale: str | None = None
    """What weights of `reweight` are divided by, their mean over the training `set` (off means that) or the `batch`."""
    lowest_theta: float | None = None
    """What the expert's probabilities are raised to at the end of an annealed training; off: 1, no annealing."""
    target: str | None = None
    """The logit that attributions look at: `gold` (off means that) or `predicted`."""
    dropout: str | None = None
    """Dropout in the attribution's pass: as in `training` (off means that) or `off`, which needs `passes: two`."""
    specials: str | None = None
    """Whether special tokens are compared: `out` (off means that) or `in`."""
    position: str | None = None
    """Where attributions are taken: `embeddings` (off means that) or `words`."""
    passes: str | None = None
    """Forward passes for attribution and loss together: `one` (off means that) or `two`."""
    compare: str | None = None
    """What similarity is over: `words`, which fits any two tokenizers (off means that), or `tokens`."""
    columns: Columns = ()
    """Text columns that a bias head reads; needed by `poe-e2e` and `dfl-e2e`."""

    @model_validator(mode="before")
    @classmethod
    def _dropout_off(cls, values: Any) -> Any:
        """Keep the word `off` of `dropout`, which YAML takes for false."""
        if isinstance(values, dict) and values.get("dropout") is False:
            return {**values, "dropout": "off"}
        return values

    @model_validator(mode="after")
    def _checked(self) -> Self:
        known = [*OPTIONS, *PUBLISHED]
        if self.name not in known:
            near = difflib.get_close_matches(self.name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"found the loss {self.name!r}; there are {', '.join(known)}{hint}")
        try:
            _ = self.settings, self.attributing
        except InputError as error:
            raise ValueError(str(error)) from error
        if self.method in HEAD_LOSSES and not self.columns:
            raise ValueError(f"`{self.name}` has a bias head; name the `columns` that it reads")
        if self.method not in HEAD_LOSSES and self.columns:
            raise ValueError(f"`columns` are what a bias head reads, and `{self.name}` has none; remove them")
        return self

    @property
    def method(self) -> str:
        """Return the name of the loss itself."""
        return PUBLISHED[self.name].settings.method if self.name in PUBLISHED else self.name

    @property
    def settings(self) -> Settings:
        """Return what it is computed with; ``InputError`` for a value that cannot be."""
        given = self._given(Settings)
        if self.name not in PUBLISHED:
            return Settings.of(self.method, given)
        Settings.of(self.method, given)  # refuses what this loss does not take
        return dataclasses.replace(PUBLISHED[self.name].settings, **given)

    @property
    def attributing(self) -> Attributing | None:
        """Return how attributions are taken and compared, where it needs some."""
        given = self._given(Attributing)
        if self.method != "guided":
            if given:
                raise InputError(
                    f"found {', '.join(given)} with the loss {self.method}, which looks at no attributions; remove it, "
                    "or choose guided"
                )
            return None
        published = PUBLISHED[self.name].attributing if self.name in PUBLISHED else None
        # Words fit any two models: tokens are compared where somebody asks for them.
        return dataclasses.replace(published or Attributing(compare="words"), **given)

    @property
    def needs_expert(self) -> bool:
        """Whether an expert's signals stand beside the rows."""
        return self.method in EXPERT_LOSSES

    def _given(self, kind: type[Settings | Attributing]) -> dict[str, Any]:
        names = [one.name for one in dataclasses.fields(kind) if one.name in type(self).model_fields]
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @model_serializer(mode="wrap")
    def _as_written(self, plain: Any) -> dict[str, Any] | str:
        told = {name: value for name, value in plain(self).items() if name in self.model_fields_set}
        return self.name if set(told) <= {"name"} else told


def _named(value: Any) -> Any:
    """Take a name for a loss that has nothing else to say."""
    return {"name": value} if isinstance(value, str) else value


LossChoice = Annotated[Loss, BeforeValidator(_named, json_schema_input_type=str | Loss)]


class Expert(Section):
    """A model that knows the shortcut, or answers of one in a file; each row is scored by a model that did not see
    it."""

    kind: Literal["partial-input", "small-model", "weak", "ramp", "file", "teacher"]
    """The main encoder on some columns alone (`partial-input`), a smaller encoder (`small-model`), the main one on few
    rows (`weak`) or a classifier behind its lowest blocks (`ramp`), logits in a `file`, or the main one on everything
    (`teacher`, which `confidence` learns from)."""
    columns: Columns = ()
    """Text columns that it reads; off: all, which `partial-input` may not."""
    encoder: Existing | None = None
    """Model folder of a `small-model`, with its tokenizer; off: one drawn by `layers` and the like, with the run's
    tokenizer."""
    layers: Positive | None = None
    """Blocks of a drawn `small-model`; off: 2."""
    width: Positive | None = None
    """Width of a drawn `small-model`; off: 128."""
    heads: Positive | None = None
    """Attention heads of a drawn `small-model`; off: 2."""
    inner: Positive | None = None
    """Feed-forward width of a drawn `small-model`; off: four times its width."""
    depth: Positive | None = None
    """Blocks below the classifier of a `ramp`; off: 1."""
    file: Existing | None = None
    """A `file`'s csv, tsv, jsonl or parquet with `id` and a column a label, or npz."""
    values: Literal["logits", "probabilities"] = "logits"
    """What stands in the `file`."""
    names: dict[str, str] = {}  # noqa: RUF012  (pydantic copies it)
    """Column of the `file` for a label that is called otherwise there: `{label: column}`."""
    folds: Positive = 1
    """Parts of the rows; each is scored by a model that learnt from the others. 1: one model scores what it was fitted
    on, as papers do: it is surer of it than of other rows, and losses learn from what it has wrong all the same."""
    rows: Positive | None = None
    """Rows that each model learns from, drawn; off: all of the other parts, and 2,000 for `weak`."""
    epochs: Epochs | None = None
    """Passes over its rows; off: as in `finetune`, and 5 for `weak`."""
    batch: Positive | None = None
    """Rows an update; off: as in `finetune`."""
    learning_rate: PositiveNumber | None = None
    """Peak learning rate; off: as in `finetune`."""
    weight_decay: Number | None = None
    """Weight decay; off: as in `finetune`."""
    warmup: Annotated[Share, Field(ge=0, lt=1)] | None = None
    """Share of the budget in which the learning rate rises; off: as in `finetune`."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.kind == "partial-input" and not self.columns:
            raise ValueError("`partial-input` reads some columns alone; name them in `columns`")
        if (self.kind == "file") != (self.file is not None):
            need = (
                "`kind: file` needs `file`, where the logits are" if self.file is None else "`file` is for `kind: file`"
            )
            raise ValueError(f"{need}; set both or none")
        own = {"encoder", "layers", "width", "heads", "inner"}
        if given := sorted(own & self.model_fields_set) if self.kind != "small-model" else []:
            raise ValueError(f"`{given[0]}` is for `kind: small-model`, and this is {self.kind}; remove it")
        if self.depth is not None and self.kind != "ramp":
            raise ValueError(f"`depth` is for `kind: ramp`, and this is {self.kind}; remove it")
        if self.encoder is not None and (given := sorted((own - {"encoder"}) & self.model_fields_set)):
            raise ValueError(f"`encoder` brings its own shape; remove {', '.join(given)} or the encoder")
        trained = self.model_fields_set - {"kind", "file", "values", "names"}
        if self.kind == "file" and trained:
            raise ValueError(f"a file's logits are there already; remove {', '.join(sorted(trained))}")
        if self.kind != "file" and (given := sorted({"values", "names"} & self.model_fields_set)):
            raise ValueError(f"`{given[0]}` is for `kind: file`; remove it")
        return self

    @property
    def shape(self) -> dict[str, Any]:
        """Return the shape of a small model that is drawn, as an encoder's section has it."""
        width = self.width or 128
        return {"layers": self.layers or 2, "width": width, "heads": self.heads or 2, "inner": self.inner or 4 * width}

    @property
    def cut(self) -> dict[str, int]:
        """Return how many blocks of the main encoder it has, where it has not all."""
        return {"depth": self.depth or 1} if self.kind == "ramp" else {}

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of its training that it sets itself."""
        about = ("epochs", "batch", "learning_rate", "weight_decay", "warmup")
        own = {name: value for name in about if (value := getattr(self, name)) is not None}
        return {"epochs": 5.0, **own} if self.kind == "weak" else own

    @property
    def rows_to_learn(self) -> int | None:
        """Return how many drawn rows each of its models learns from; ``None`` is all that it may."""
        return self.rows or (2000 if self.kind == "weak" else None)

    @model_serializer(mode="wrap")
    def _as_written(self, plain: Any) -> dict[str, Any]:
        return {name: value for name, value in plain(self).items() if name in self.model_fields_set}
