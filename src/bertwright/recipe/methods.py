"""What a recipe says about methods of fine-tuning: which parameters learn, at which settings."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_serializer, model_validator

from bertwright.bias_terms import CHOICES, names_in
from bertwright.errors import InputError
from bertwright.recipe.debias import LossChoice
from bertwright.recipe.debias_published import GRIDS
from bertwright.recipe.debias_settings import Settings
from bertwright.recipe.exits import ExitsChoice
from bertwright.recipe.fields import (
    Counts,
    Epochs,
    EpochsTried,
    Number,
    Numbers,
    Positive,
    PositiveNumber,
    PositiveNumbers,
    Section,
    Share,
    one_or_more,
)


class Grid(Section):
    """Settings to try: every combination of what is listed."""

    learning_rate: PositiveNumbers = ()
    """Peak learning rates."""
    batch: Counts = ()
    """Rows an update."""
    epochs: EpochsTried = ()
    """Passes over the training rows."""
    weight_decay: Numbers = ()
    """Weight decays."""
    alpha: Numbers = ()
    """Weights of the cross-entropy part of a method's loss against a shortcut."""
    beta: Numbers = ()
    """Betas of the loss `guided`."""

    @model_validator(mode="after")
    def _has_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError(f"a grid lists values of {', '.join(type(self).model_fields)}; it has none")
        twice = [name for name in type(self).model_fields if len(set(getattr(self, name))) < len(getattr(self, name))]
        if twice:
            raise ValueError(f"a value stands twice in the grid's {', '.join(twice)}; keep one")
        return self

    @property
    def of_loss(self) -> dict[str, tuple[float, ...]]:
        """Return what is tried of a loss's own settings."""
        return {name: values for name in LOSS_SETTINGS if (values := getattr(self, name))}


LOSS_SETTINGS = ("alpha", "beta")
"""Fields of a grid that are a loss's own, and no run's."""
LARGE_RATE = 1e-3
"""Learning rate of methods that train few numbers, where the recipe names none (BitFit's code)."""
LOW_RATE = 1e-4
"""Below it such methods hardly move (Ben Zaken et al. 2021)."""
_OF_A_RUN = ("epochs", "batch", "learning_rate", "weight_decay", "warmup", "schedule")
PACK_METHODS = ("bitfit", "head")
"""Methods that leave a pack: what they change is biases and a head."""


def _grid(value: Any) -> Any:
    """Take the name of a paper for the grid that it searched."""
    if not isinstance(value, str):
        return value
    if value not in GRIDS:
        raise ValueError(f"found the grid {value!r}; there are {', '.join(GRIDS)}, or write one: {{alpha: [0.3, 1]}}")
    return {name: list(values) for name, values in GRIDS[value].items()}


def _span(value: Any) -> Any:
    """Read layers as people write them, `4-11` or `3`: the first and the last, from 0."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        found = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", str(value))
        if found is None:
            raise ValueError(f"found {value!r}; write the first and the last layer, such as 4-11, or one number")
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            raise ValueError(f"found {value!r}; write the lower layer first: {last}-{first}")
        return first, last
    return value


class Method(Section):
    """A method of fine-tuning: which parameters learn, and settings of its own."""

    method: Literal["full", "bitfit", "head", "rand-uniform", "rand-row-col"] = "full"
    """All weights (`full`), biases and head (`bitfit`), the head alone (`head`), or BitFit's controls: as many numbers
    drawn from the whole encoder, or a row or a column of each bias's matrix."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")] | None = None
    """Name in reports and folders; off: the method's, with its terms where they are not all."""
    terms: str = "all"
    """Bias terms that learn: `all`, `published` (without the pooler's), `as-code`, or names joined by `+`, such as
    `query+intermediate`."""
    layers: Annotated[tuple[int, int], BeforeValidator(_span, json_schema_input_type=str | int | list[int])] | None = (
        None
    )
    """Layers whose terms learn, such as `4-11`, numbered from 0; off: all, and the terms outside layers."""
    within: Number | None = None
    """Points that the smallest subset of terms may lose against all of them, on the rows that settings are chosen on;
    that subset is taken. Off: all terms that are named."""
    epochs: Epochs | None = None
    """Passes over the training rows; off: as elsewhere in the recipe."""
    batch: Positive | None = None
    """Rows an update; off: as elsewhere in the recipe."""
    learning_rate: PositiveNumber | None = None
    """Peak learning rate; off: as elsewhere in the recipe, and 1e-3 for all methods but `full`."""
    weight_decay: Number | None = None
    """Weight decay; off: as elsewhere in the recipe."""
    warmup: Annotated[Share, Field(ge=0, lt=1)] | None = None
    """Share of the budget in which the learning rate rises; off: as elsewhere in the recipe."""
    schedule: Literal["esd", "linear", "cosine", "polynomial", "wsd", "constant"] | None = None
    """How the learning rate falls; off: as elsewhere in the recipe."""
    grid: Annotated[Grid | None, BeforeValidator(_grid, json_schema_input_type=str | Grid | None)] = None
    """Settings to try, or the name of a paper that searched some: `guide-the-learner`; off: as elsewhere in the
    recipe."""
    loss: LossChoice | None = None
    """What is learnt: a loss against a shortcut, by name or with choices of its own (see Loss); off: cross entropy, or
    the squared error of numbers."""
    expert: str | None = None
    """Name of the expert in `finetune.experts` that the loss holds the model against."""
    depth: Positive | None = None
    """Blocks of the encoder that are kept, the lowest ones, before it is tuned whole: what an early exit at that layer
    is held against. Off: all."""
    exits: ExitsChoice | None = None
    """Early exits of this method's runs (see Exits); off: as of the task, or in `finetune`."""

    @field_validator("terms")
    @classmethod
    def _known_terms(cls, terms: str) -> str:
        try:
            names = names_in(terms)
        except InputError as error:
            raise ValueError(str(error)) from error
        return terms if terms in CHOICES else "+".join(dict.fromkeys(names))

    @model_validator(mode="after")
    def _terms_are_trained(self) -> Self:
        about = sorted({"terms", "layers", "within"} & self.model_fields_set)
        if about and self.method in ("full", "head"):
            raise ValueError(f"`{about[0]}` is for bias terms, which `{self.method}` does not choose; take `bitfit`")
        if self.within is not None and self.method != "bitfit":
            raise ValueError("`within` looks for a subset of bias terms; take `method: bitfit`")
        if self.within is not None and len(names_in(self.terms)) == 1:
            raise ValueError(
                f"`within` looks for a subset, and `terms` names one term, {self.terms}; name more, or all"
            )
        return self

    @model_validator(mode="after")
    def _expert_has_a_loss(self) -> Self:
        needs = self.loss is not None and self.loss.needs_expert
        if needs and self.expert is None:
            raise ValueError(f"the loss {self.loss and self.loss.name} needs an `expert`; name one of finetune.experts")
        if self.expert is not None and not needs:
            said = "cross entropy" if self.loss is None else f"the loss {self.loss.name}"
            raise ValueError(f"found the expert {self.expert!r}, and {said} uses none; remove it, or name a `loss`")
        return self

    @model_validator(mode="after")
    def _grid_goes_with_the_loss(self) -> Self:
        for name, values in (self.grid.of_loss if self.grid else {}).items():
            if self.loss is None or self.against is None:
                raise ValueError(f"the grid tries `{name}`, and cross entropy has none; remove it, or name a `loss`")
            if (own := getattr(self.loss, name)) is not None:
                raise ValueError(f"the loss has {name} {own:g}, and the grid tries several; remove one of the two")
            for value in values:
                try:
                    Settings.of(self.loss.method, {name: value})
                except InputError as error:
                    raise ValueError(f"the grid: {error}") from error
        return self

    @model_validator(mode="after")
    def _exits_fit(self) -> Self:
        if self.depth is not None and self.method != "full":
            raise ValueError(f"`depth` cuts the encoder, and {self.method} leaves it as it is; take `method: full`")
        if self.exits is not None and self.exits.together and self.against is not None:
            raise ValueError(
                f"ramps learn by {self.exits.ramps.routine} together with the model, and the loss {self.against.name} "
                "is the model's alone; take `training: two-stage`, which ramps a finished model of any loss"
            )
        return self

    @property
    def against(self) -> LossChoice | None:
        """Return the loss where it is another one than plain cross entropy."""
        return None if self.loss is None or self.loss.method == "ce" else self.loss

    @property
    def label(self) -> str:
        """Name in reports and folders."""
        terms = "" if self.terms == "all" else f"-{self.terms.replace(' ', '')}"
        layers = "" if self.layers is None else "-layers-{}-{}".format(*self.layers)
        within = "" if self.within is None else "-smallest"
        loss = "" if self.against is None else f"-{self.against.name}"
        depth = "" if self.depth is None else f"-depth-{self.depth}"
        exits = "" if self.exits is None else f"-{self.exits.label}"
        return self.name or f"{self.method}{terms}{layers}{within}{loss}{depth}{exits}"

    @property
    def leaves_a_pack(self) -> bool:
        """Whether what it changes is biases and a head alone, which is written as a pack."""
        return self.method in PACK_METHODS

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of a run that the method sets itself."""
        return {name: value for name in _OF_A_RUN if (value := getattr(self, name)) is not None}

    def learns_like(self, other: Method) -> bool:
        """Whether another method has this name, parameters, loss and exits, be it at other settings of a run."""
        kept = set(type(self).model_fields) - {*_OF_A_RUN, "grid"}
        return all(getattr(self, name) == getattr(other, name) for name in kept)

    @model_serializer(mode="wrap")
    def _as_written(self, plain: Any) -> dict[str, Any] | str:
        told = {name: value for name, value in plain(self).items() if name in self.model_fields_set}
        if (layers := told.get("layers")) is not None:
            told["layers"] = "{}-{}".format(*layers)
        return str(self.method) if set(told) <= {"method"} else {"method": self.method, **told}


def _methods(value: Any) -> Any:
    """Take a name for a method that has nothing else to say, and one method for a list of one."""
    named = [{"method": one} if isinstance(one, str) else one for one in one_or_more(value)]
    for one in named:
        if not isinstance(one, dict | Method):
            raise ValueError(f"found {one!r}; write a method's name, such as full or bitfit, or `method: ...` and more")
    return named


def _apart(methods: tuple[Method, ...]) -> tuple[Method, ...]:
    labels = [one.label for one in methods]
    if not labels:
        raise ValueError("found no method; name one, such as full or bitfit")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two methods are called {twice[0]}; give one of them a `name`")
    return methods


Methods = Annotated[
    tuple[Method, ...],
    BeforeValidator(_methods, json_schema_input_type=str | Method | list[str | Method]),
    AfterValidator(_apart),
]
