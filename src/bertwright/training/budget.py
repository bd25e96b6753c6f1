"""How long to train: steps, epochs, tokens or time, counted in integers."""

from __future__ import annotations

from dataclasses import dataclass

from bertwright.errors import InputError

_UNITS = ("steps", "epochs", "tokens", "seconds")


@dataclass(frozen=True)
class Budget:
    """An amount of training; ``unit`` is "steps", "epochs", "tokens" or "seconds"."""

    unit: str
    amount: float

    def __post_init__(self) -> None:
        """Refuse an amount of nothing."""
        if self.unit not in _UNITS:
            raise InputError(f"a budget's unit is one of {', '.join(_UNITS)}, found {self.unit!r}")
        if not self.amount > 0:
            raise InputError(f"a budget has to be above zero, found {self.amount} {self.unit}")

    def total(self, steps_per_epoch: int | None) -> int:
        """Return the budget as an integer: steps, tokens or microseconds. Epochs become steps, at least one."""
        if self.unit == "epochs":
            if not steps_per_epoch:
                raise InputError("a budget in epochs needs data whose length is known; use steps, tokens or time")
            return max(1, round(self.amount * steps_per_epoch))
        return max(1, round(self.amount * (1_000_000 if self.unit == "seconds" else 1)))

    def done(self, *, steps: int, tokens: int, seconds: float) -> int:
        """Return what is used up, in the same integer unit; ``seconds`` are of work, interruptions left out."""
        if self.unit == "seconds":
            return int(seconds * 1_000_000)
        return tokens if self.unit == "tokens" else steps
