"""A pretraining's figures, told to the experiment trackers that a recipe names. None is named unless the user does."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.errors import InputError
from bertwright.pipeline.stage import Stage
from bertwright.processes import launched

FIGURES = ("loss", "learning_rate", "norm", "tokens_per_second", "utilisation", "held_out_loss", "second_text_loss")
# What each calls the folder to write into; trackio has one place for all of a user's projects.
_FOLDER = {"tensorboard": "logging_dir", "wandb": "dir", "mlflow": "logging_dir"}


@contextlib.contextmanager
def tracked(names: Sequence[str], run: str, folder: Path, config: Mapping[str, Any]) -> Iterator[Trackers]:
    """Start the named trackers of accelerate for a run and end them behind the block.

    What they write on this machine goes into ``folder``. ``InputError`` where a package is missing.
    """
    trackers = Trackers(_start(names, run, folder) if names else [])
    for tracker in trackers.started:
        tracker.store_init_configuration(dict(config))
    try:
        yield trackers
    finally:
        for tracker in trackers.started:
            tracker.finish()


def told(stages: Sequence[Stage]) -> dict[str, Any]:
    """Return what trackers are told of the settings of what will run."""
    found = {key: value for stage in stages for key, value in stage.options.get("pretrain", {}).items()}
    return {key: value if isinstance(value, int | float | str) else str(value) for key, value in found.items()}


class Trackers:
    """Started trackers; each training's event that has figures goes to all of them."""

    def __init__(self, started: Sequence[Any]) -> None:
        self.started = started

    def tell(self, fields: Mapping[str, Any]) -> None:
        """Pass on the figures of an event, at its step."""
        values = {name: fields[name] for name in FIGURES if fields.get(name) is not None}
        if values and "step" in fields and fields.get("phase") != "head":
            for tracker in self.started:
                tracker.log(values, step=fields["step"])


def _start(names: Sequence[str], run: str, folder: Path) -> list[Any]:
    missing = [name for name in ("accelerate", *names) if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"system.trackers names {', '.join(names)}, and {', '.join(missing)} cannot be imported here; "
            f'`pip install "bertwright[trackers]" {" ".join(names)}`, or take the key out'
        )
    if launched():
        raise InputError("system.trackers does not go with another launcher; use `system.devices` for several ranks")
    # accelerate's trackers log through its own state, which somebody has to make.
    importlib.import_module("accelerate").PartialState(cpu=True)
    kinds = importlib.import_module("accelerate.tracking").LOGGER_TYPE_TO_CLASS
    files.make_folder(folder)
    if "mlflow" in names and "MLFLOW_TRACKING_URI" not in os.environ:
        importlib.import_module("mlflow").set_tracking_uri(f"sqlite:///{folder.resolve()}/mlflow.db")
    started = []
    for name in names:
        where = {_FOLDER[name]: str(folder)} if name in _FOLDER else {}
        tracker = kinds[name](run, **where)
        tracker.start()
        started.append(tracker)
    return started
