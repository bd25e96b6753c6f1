"""Choices given beside a recipe's file, as ``a.b=c``: what they set, and which keys have no line of the file then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertwright.errors import Problem
from bertwright.recipe import yaml_text

Key = tuple[str | int, ...]
_DIGITS = 9  # no list of a recipe is longer, and Python refuses to read very many


def set_override(document: dict[str, Any], override: str, problems: list[Problem]) -> None:
    """Set ``a.b=c`` in the document; numbers in the key index lists."""
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        problems.append(Problem(override, None, "an override is written key=value, such as `pretrain.budget=5min`"))
        return
    *parents, last = name.strip().split(".")
    place: Any = document
    try:
        value = yaml_text.value(text)
        for part in parents:
            if isinstance(place, list):
                place = place[int(part)]
            else:
                if not isinstance(place.get(part), dict | list):
                    place[part] = {}
                place = place[part]
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    except (ValueError, IndexError, TypeError, AttributeError, yaml_text.Refused):  # the last two: a word has no keys
        problems.append(Problem(name, None, f"this override fits nothing in the recipe: {override}"))


def keys_changed(override: str, lines: Mapping[Key, int | None]) -> list[Key]:
    """Return the key that an override gives, and those below it: no line of the file says what they are now."""
    parts = override.partition("=")[0].strip().split(".")
    key: Key = tuple(int(part) if part.isdecimal() and len(part) <= _DIGITS else part for part in parts)
    return [key, *(one for one in lines if one[: len(key)] == key)]
