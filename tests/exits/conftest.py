"""The toy encoders of the encoder's tests, for ramps on them."""

from __future__ import annotations

import sys
from pathlib import Path

# The toy shapes are those of the encoder's tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "encoder"))
