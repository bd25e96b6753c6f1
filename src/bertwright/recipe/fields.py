"""How the fields of a recipe are read: amounts, sizes, shares and paths, and what all sections have in common."""

from __future__ import annotations

import difflib
import os
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo, model_validator

from bertwright.units import Amount, parse_amount, parse_bytes, parse_share

# Names of a folder among which one that was meant is looked for.
_NAMES = 2000


def _resolve(value: Any, info: ValidationInfo) -> Any:
    """Place a relative path in the recipe's folder."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"found {value!r}; write a path")
    try:
        path: Path = (info.context or {}).get("folder", Path.cwd()) / Path(value).expanduser()
        path.exists()  # raises where the system takes no such name
        # `recipes/papers/../../build` is told as `build`, unless a link makes that another place.
        tidy = Path(os.path.normpath(path))
        path = tidy if tidy.resolve() == path.resolve() else path
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"found {str(value)[:100]!r}, which is no path ({why}); write a path") from error
    return path


def existing(value: Any, info: ValidationInfo) -> Any:
    """Place a relative path in the recipe's folder; refuse one that is not there, if nothing may stand in for it."""
    path = _resolve(value, info)
    if not path.exists() and not (info.context or {}).get("stand_ins"):
        if (meant := near_name(path)) is not None:
            raise ValueError(f"{path} is not there; did you mean {meant}?")
        near = path
        while not near.exists():
            near = near.parent
        raise ValueError(f"{path} is not there ({near} is the nearest folder that is)")
    return path


def near_name(path: Path) -> Path | None:
    """Return what stands in the folder of a path that is not there, and has nearly its name."""
    try:
        names = [one.name for one in islice(path.parent.iterdir(), _NAMES)]
    except OSError:
        return None
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return path.parent / near[0] if near else None


def _source_path(value: Any, info: ValidationInfo) -> Any:
    return _resolve(value, info) if isinstance(value, str) and set(value) & set("*?[") else existing(value, info)


def one_or_more(value: Any) -> Any:
    """Take one value for a list of one, and `off`, which YAML takes for false, for an empty one."""
    if value is False or value is None:
        return []
    return value if isinstance(value, list | tuple) else [value]


_as_text = PlainSerializer(str, return_type=str)
# What is written in a file, where that is another type than what is read from it: for the schema.
_Written: TypeAlias = float | str
_Off: TypeAlias = Literal[False] | None
Work = Annotated[Amount, BeforeValidator(parse_amount, json_schema_input_type=str), _as_text]
Size = Annotated[int, BeforeValidator(parse_bytes, json_schema_input_type=_Written)]
Share = Annotated[float, BeforeValidator(parse_share, json_schema_input_type=_Written)]
Shares = Annotated[
    tuple[Share, ...], BeforeValidator(one_or_more, json_schema_input_type=_Written | list[_Written] | _Off)
]
Location = Annotated[Path, BeforeValidator(_resolve, json_schema_input_type=str), _as_text]
Existing = Annotated[Path, BeforeValidator(existing, json_schema_input_type=str), _as_text]
SourcePath = Annotated[Path, BeforeValidator(_source_path, json_schema_input_type=str), _as_text]
Columns = Annotated[tuple[str, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str] | _Off)]
_Tracker: TypeAlias = Literal["tensorboard", "trackio", "wandb", "mlflow"]
TrackerNames = Annotated[
    tuple[_Tracker, ...], BeforeValidator(one_or_more, json_schema_input_type=_Tracker | list[_Tracker] | _Off)
]
# More than anybody means, and still numbers that arrays, counts of steps and fp32 weights can hold.
_MOST, _LARGEST, _MOST_EPOCHS = 10**9, 1e30, 1e6
Positive = Annotated[int, Field(gt=0, le=_MOST)]
PositiveNumber = Annotated[float, Field(gt=0, le=_LARGEST, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False)]
"""A number from 0: zero is an amount of a decay or a weight, and no learning rate."""
Epochs = Annotated[float, Field(gt=0, le=_MOST_EPOCHS, allow_inf_nan=False)]
Counts = Annotated[
    tuple[Positive, ...], BeforeValidator(one_or_more, json_schema_input_type=Positive | list[Positive] | _Off)
]
PositiveNumbers = Annotated[
    tuple[PositiveNumber, ...],
    BeforeValidator(one_or_more, json_schema_input_type=PositiveNumber | list[PositiveNumber] | _Off),
]
Numbers = Annotated[
    tuple[Number, ...], BeforeValidator(one_or_more, json_schema_input_type=Number | list[Number] | _Off)
]
EpochsTried = Annotated[
    tuple[Epochs, ...], BeforeValidator(one_or_more, json_schema_input_type=Epochs | list[Epochs] | _Off)
]


class Section(BaseModel):
    """A frozen part of a recipe that knows all its keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True, validate_default=False
    )

    _words: ClassVar[frozenset[str]] = frozenset()
    """Fields whose values are words of the user's files: false may have been the word `no` there."""

    @model_validator(mode="before")
    @classmethod
    def _off_is_none(cls, values: Any) -> Any:
        """Read `off`, which YAML takes for false, as "off" where a key can be that."""
        if not isinstance(values, dict):
            return values
        can = {name for name, field in cls.model_fields.items() if type(None) in get_args(field.annotation)}
        can -= cls._words
        return {name: None if value is False and name in can else value for name, value in values.items()}
