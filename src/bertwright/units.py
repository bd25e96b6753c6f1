"""Amounts of work, sizes and shares, as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_SECONDS = {
    "ms": 1e-3,
    "s": 1,
    "sec": 1,
    "second": 1,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}
_COUNTS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}
_LONGEST = 64
# A comma parts thousands and nothing else: `0,5` is half of something to one reader and five to another.
_THOUSANDS = r"[1-9][0-9]{0,2}(?:,[0-9]{3})+"
_NUMBER = rf"\s*((?:{_THOUSANDS}|[0-9][0-9_]*)\.?[0-9]*(?:[eE][+-]?[0-9]+)?)\s*"


@dataclass(frozen=True)
class Amount:
    """An amount of work: ``unit`` is "steps", "epochs", "tokens" or "seconds"."""

    unit: Literal["steps", "epochs", "tokens", "seconds"]
    amount: float

    def __str__(self) -> str:
        """Write the amount as a recipe would, short where that reads back to the same."""
        if self.unit == "seconds":
            short = f"{self.amount / 60:g} min" if self.amount >= 60 else f"{self.amount:g} s"
        else:
            short = f"{self.amount:g} {self.unit}" if self.amount < 1e6 else f"{self.amount / 1e6:g}M {self.unit}"
        return short if parse_amount(short) == self else f"{float(self.amount)!r} {self.unit}"


def _number(text: str) -> float:
    number = float(text.replace("_", "").replace(",", ""))
    if not math.isfinite(number):
        raise ValueError(f"found {text!r}, which is more than a number can be; write a smaller one")
    return number


def _readable(value: Any) -> Any:
    """Refuse a text that is longer than any amount, which takes time to match, or whose comma parts no thousands."""
    if not isinstance(value, str):
        return value
    if len(value) > _LONGEST:
        raise ValueError(
            f"found {len(value)} characters, {value[:20]!r} ...; write an amount such as `20 min` or `8 GB`"
        )
    if re.search(r"[0-9],", value) and not re.search(rf"(?<![0-9_.,]){_THOUSANDS}(?![0-9_,])", value):
        raise ValueError(
            f"found {value!r}, whose comma parts no thousands as that of `1,000` does; write decimals with a point, "
            "such as `0.5 %` or `1.5 h`"
        )
    return value


def parse_amount(value: Any) -> Amount:
    """Read ``20 min``, ``500 steps``, ``3 epochs`` or ``50M tokens``; ``ValueError`` says what is allowed."""
    if isinstance(value, Amount):
        return value
    match = re.fullmatch(_NUMBER + r"([kMGB]?)\s*([A-Za-z]+)\s*", _readable(value)) if isinstance(value, str) else None
    if match:
        number, factor, unit = _number(match[1]), _COUNTS[match[2]], match[3].lower()
        singular = unit.removesuffix("s") if unit != "s" else unit
        if singular in ("step", "epoch", "token"):
            return _positive(Amount(f"{singular}s", number * factor), value)  # type: ignore[arg-type]
    match = re.fullmatch(_NUMBER + r"([A-Za-z]+)\s*", value) if isinstance(value, str) else None
    if match:
        unit = match[2].lower()
        seconds = _SECONDS.get(unit, _SECONDS.get(unit.removesuffix("s")))
        if seconds is not None:
            return _positive(Amount("seconds", _number(match[1]) * seconds), value)
    raise ValueError(
        f"found {value!r}; write an amount of time or work, such as `20 min`, `500 steps`, `3 epochs` or `50M tokens`"
    )


def _positive(amount: Amount, value: Any) -> Amount:
    if amount.amount <= 0:
        raise ValueError(f"found {value!r}; an amount has to be above zero")
    return amount


def parse_bytes(value: Any) -> int:
    """Read ``8 GB``, ``512 MiB`` or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    text = _readable(value) if isinstance(value, str) else ""
    match = re.fullmatch(_NUMBER + r"([KMGT]?i?B)\s*", text, re.IGNORECASE)
    if not match or _number(match[1]) <= 0:
        raise ValueError(f"found {value!r}; write a size such as `8 GB` or `512 MB`")
    return int(_number(match[1]) * _BYTES[match[2].upper()])


def parse_share(value: Any) -> float:
    """Read ``0.5 %`` or ``0.005`` as a share of one."""
    if isinstance(_readable(value), str) and (match := re.fullmatch(_NUMBER + r"%\s*", value)):
        return _number(match[1]) / 100
    if isinstance(value, str) and (match := re.fullmatch(_NUMBER, value)):
        return _number(match[1])
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(str(value))
    raise ValueError(f"found {value!r}; write a share such as `0.5 %` or `0.005`")
