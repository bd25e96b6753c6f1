"""The scale on the loss that keeps small gradients from vanishing in fp16.

Gradients of a scaled loss overflow now and then; such a step is skipped and the scale halved. The settings are those of
academic-budget BERT: twice as much after 1,000 updates without overflow, and never below 1. The scale begins lower than
the usual 2^16, for the loss here is a sum over labels and not their mean.
"""

from __future__ import annotations

from bertwright.training.checkpoint import State

FIRST = 2.0**12
_HIGHEST = 2.0**15  # 2^16 is no number of fp16: the first product on the way back would be infinite
_UPDATES = 1000


def made(state: State) -> None:
    """Note an update that was made."""
    state.made_in_a_row += 1
    if state.made_in_a_row >= _UPDATES:
        state.scale, state.made_in_a_row = min(2 * state.scale, _HIGHEST), 0


def overflowed(state: State) -> bool:
    """Halve the scale after a loss or gradient that was not finite; false where it is 1 already, and not to blame."""
    state.made_in_a_row = 0
    if state.scale <= 1.0:
        return False
    state.scale = max(1.0, state.scale / 2)
    return True
