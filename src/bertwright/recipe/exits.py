"""What a recipe says about early exits: ramps, how they are trained, and how their thresholds are chosen."""

from __future__ import annotations

import difflib
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_serializer, model_validator

from bertwright.recipe.exits_settings import SETTINGS, RampSettings
from bertwright.recipe.fields import Counts, Epochs, Positive, PositiveNumber, Section, Share, Shares

HOLDOUT = "holdout"
"""Calibration on rows kept back from train."""
_OWN = "bertwright"
_OF_TRAINING = ("epochs", "batch", "learning_rate")


def _layers(value: Any) -> Any:
    return () if value == "all" else value


class Exits(Section):
    """Early exits: classifiers after inner layers (ramps), and thresholds that tell which rows leave there."""

    settings: str = _OWN
    """Settings by name: `bertwright`, `deebert`, `berxit` or `pabee`. What is set beside it stands before them."""
    layers: Annotated[Counts, BeforeValidator(_layers, json_schema_input_type=Literal["all"] | int | list[int])] = ()
    """Layers with a ramp behind them, numbered from 1, such as `[2, 4]`; off, or `all`: every layer but the last, whose
    exit is the tuned classifier."""
    form: Literal["pooler", "linear"] | None = None
    """A dense layer, an activation and a linear layer (`pooler`, as published) or a linear layer alone; off: as in
    `settings`."""
    pooling: Literal["head", "mean"] | None = None
    """What a ramp sees of a row: what the family's own head sees, mostly the first token (`head`, as published), or the
    mean of all tokens (`mean`); off: as in `settings`."""
    start: Literal["tuned", "fresh"] | None = None
    """Where dense layers start: from the tuned classifier's, or drawn; off: as in `settings`."""
    training: Literal["two-stage", "joint", "alternate", "weighted"] | None = None
    """Ramps on the finished, frozen model (`two-stage`), or together with it: all losses (`joint`), the last exit's and
    all in turn (`alternate`), each by its layer (`weighted`); off: as in `settings`."""
    epochs: Epochs | None = None
    """Passes of `two-stage` over the training rows; off: as in `settings`."""
    batch: Positive | None = None
    """Rows an update of `two-stage`; off: as in `settings`."""
    learning_rate: PositiveNumber | None = None
    """Peak learning rate of `two-stage`; off: as in `settings`."""
    policy: Literal["entropy", "confidence", "patience", "learned"] | None = None
    """What a row leaves by; off: as in `settings`, and `learned` for a regression, which has no probabilities."""
    tolerance: PositiveNumber | None = None
    """Change of the answer that counts as none: `patience` in a regression needs it."""
    max_drop: Shares = (0.005,)
    """Share of rows that may be right in full and wrong at their exit (`0.5 %`), of a regression the drop of its
    metric; with several the first one's threshold is kept, and the report has all."""
    choose: Literal["certified", "by-score"] = "certified"
    """Thresholds whose loss is tested on the calibration rows, or, as papers do, the laxest whose score falls by no
    more there, of which nothing is promised."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Chance that more is lost than was promised."""
    calibrate_on: str = HOLDOUT
    """Rows that thresholds are chosen on: some kept back from train, which take part in nothing else (`holdout`), or
    one of the task's sets by name, whose own scores then flatter."""
    keep_back: Annotated[Share, Field(gt=0, lt=1)] = 0.1
    """Share of the training rows that is kept back for that; at least 200 rows where there are."""
    timed_rows: Positive = 64
    """Rows of the headline's set that are timed, one by one and 32 at a time."""

    @field_validator("settings")
    @classmethod
    def _known_settings(cls, name: str) -> str:
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, SETTINGS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"found the settings {name!r}; there are {', '.join(SETTINGS)}{hint}")
        return name

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if not self.max_drop or not all(0 < one < 1 for one in self.max_drop):
            raise ValueError(f"found the drops {list(self.max_drop)}; write shares between 0 and 1, such as `0.5 %`")
        given = [name for name in _OF_TRAINING if getattr(self, name) is not None]
        if given and self.together:
            raise ValueError(
                f"`{given[0]}` is of a training of its own, and with {self.ramps.routine} ramps learn in the run's; "
                "set it there, or take `training: two-stage`"
            )
        if self.start is not None and self.ramps.form == "linear":
            raise ValueError(
                "`start` is of dense layers, and a linear ramp has none; remove it, or take `form: pooler`"
            )
        if self.tolerance is not None and self.ramps.policy != "patience":
            raise ValueError(f"`tolerance` is of the policy patience, and this is {self.ramps.policy}; remove it")
        if self.calibrate_on != HOLDOUT and "keep_back" in self.model_fields_set:
            raise ValueError(f"rows are kept back for `calibrate_on: holdout`, and this is {self.calibrate_on}")
        return self

    @property
    def ramps(self) -> RampSettings:
        """Return how ramps look and learn: the named settings, with what is set beside them; ``policy`` is its name."""
        named = SETTINGS[self.settings]
        given: dict[str, Any] = {
            "routine": self.training,
            "form": self.form,
            "pooling": self.pooling,
            "start": self.start,
            "policy": self.policy,
        }
        given |= {name: getattr(self, name) for name in _OF_TRAINING}
        found = replace(named, **{name: value for name, value in given.items() if value is not None})
        return replace(found, policy=found.policy.partition(":")[0], scored=found.policy.startswith("learned"))

    @property
    def together(self) -> bool:
        """Whether ramps learn together with the model."""
        return self.ramps.routine != "two-stage"

    @property
    def label(self) -> str:
        """Name in reports and folders: that of the settings or, of our own, how ramps are trained."""
        return self.ramps.routine if self.settings == _OWN else self.settings

    def options(self, kind: str) -> dict[str, Any]:
        """Return all that decides ramps and thresholds of a task of this kind, as plain values."""
        ramps = self.ramps
        if kind == "regression" and self.policy is None and ramps.policy != "patience":
            ramps = replace(ramps, policy="learned", scored=True)
        found = {name: value for name, value in asdict(ramps).items() if name != "source"}
        about = ("settings", "tolerance", "choose", "delta", "calibrate_on", "timed_rows")
        own = {name: getattr(self, name) for name in about}
        return {**found, **own, "layers": list(self.layers), "max_drop": list(self.max_drop)}

    @model_serializer(mode="wrap")
    def _as_written(self, plain: Any) -> dict[str, Any] | str:
        told = {name: value for name, value in plain(self).items() if name in self.model_fields_set}
        return self.settings if set(told) <= {"settings"} else told


def _named(value: Any) -> Any:
    """Take a name for settings that have nothing beside them, and `on`, which YAML takes for true, for ours."""
    return {} if value is True else {"settings": value} if isinstance(value, str) else value


ExitsChoice = Annotated[Exits, BeforeValidator(_named, json_schema_input_type=bool | str | Exits)]
