"""What a recipe will cost, before it starts: seconds, memory and disk of each stage.

All figures come from one measured megabyte of the user's text and one real step of each shape, taken
now or, by a command before this one, within the hour; nothing is looked up. Text needs no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from bertwright.pipeline.machine import machine, own_memory
from bertwright.pipeline.prediction import Prediction
from bertwright.pipeline.stage import Input, Stage
from bertwright.recipe.sections import Recipe
from bertwright.stages.kinds import SIDE_BY_SIDE
from bertwright.stages.measure_data import TextSpeed, measure_text
from bertwright.stages.prepare import MEMORY, cleaning_of, files_of, processes_for
from bertwright.text.memory import PROCESS, room_for
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer

RECORDS = 100_000  # bytes, of a stage's record, card and metrics
_BEGINNING = 6.0  # seconds, of a process of its own until its first step is done
_PIECES = 16_000  # of a tokenizer that is to be trained, where nobody said how many
_PIECE = 30  # bytes of a piece in a tokenizer's files


def measure_stages(
    recipe: Recipe,
    stages: Sequence[Stage],
    folders: Mapping[str, Path],
    tell: Callable[[float], None] = lambda share: None,
) -> dict[str, Prediction]:
    """Predict the stages that are due; ``folders`` are those of sealed stages by name.

    ``tell`` gets the share of them that is done.
    """
    text = TextForecast(recipe, folders)
    if all(stage.kind in text.kinds or _fetches(stage) for stage in stages):
        return text.predict(stages, tell)
    # Torch comes with it, so it is loaded where an encoder is trained or answers, and not before.
    training = importlib.import_module("bertwright.pipeline.forecast_training")
    predicted: dict[str, Prediction] = training.TrainingForecast(recipe, folders).predict(stages, tell)
    return predicted


class TextForecast:
    """Measures the user's text once and predicts what is done with it."""

    def __init__(self, recipe: Recipe, folders: Mapping[str, Path]) -> None:
        self.recipe, self.folders = recipe, folders
        self.text: TextSpeed | None = None
        self._tokenizer: Tokenizer | None = None
        self.kinds: dict[str, Callable[[Stage], Prediction]] = {
            "tokenizer": self._one_tokenizer,
            "overlap": self._one_overlap,
            "prepare": self._one_prepare,
            "shortcuts": lambda _stage: Prediction(10.0, held_now(), 100_000),
            "choose": lambda _stage: Prediction(0.1, held_now(), 10_000),
        }

    def predict(
        self, stages: Sequence[Stage], tell: Callable[[float], None] = lambda share: None
    ) -> dict[str, Prediction]:
        """Predict stages in their order, by name; one that waits for the hub is left out."""
        found: dict[str, Prediction] = {}
        begun = 0
        for number, stage in enumerate(stages):
            tell(number / len(stages))
            if _fetches(stage) or any(one.stage not in self.folders for one in _fetched(stage).values()):
                continue  # nobody knows how much it is before it is here
            one = self.kinds[stage.kind](stage)
            if stage.kind in SIDE_BY_SIDE and begun < self.recipe.system.runs:
                one, begun = replace(one, seconds=one.seconds + _BEGINNING), begun + 1
            found[stage.name] = one
        return found

    def given_tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer, where it is known before the work."""
        recipe = self.recipe
        ready = recipe.prepare.ready / "tokenizer" if recipe.prepare and recipe.prepare.ready else None
        given = recipe.tokenizer.folder if recipe.tokenizer else None
        folder = ready or given or recipe.encoder.folder or self.folders.get("tokenizer")
        if self._tokenizer is None and folder is not None:
            self._tokenizer = Tokenizer.load(folder)
        return self._tokenizer

    def vocabulary(self) -> int:
        """Return the tokenizer's pieces; one that is still to be trained is taken to be as large as asked."""
        tokenizer = self.given_tokenizer()
        wanted = self.recipe.tokenizer.vocabulary if self.recipe.tokenizer else _PIECES
        return tokenizer.vocabulary if tokenizer else wanted

    def _speed(self, stage: Stage) -> TextSpeed:
        if self.text is None:
            self.text = measure_text(
                self._files(stage),
                cleaning_of(stage.options),
                errors=stage.options["errors"],
                broken_rows=stage.options["broken_rows"],
                room=room_for(self.recipe.system.memory or MEMORY, 1),
                tokenizer=self.given_tokenizer(),
            )
        return self.text

    def _files(self, stage: Stage) -> list[TextFile]:
        fetched = {role: self.folders[entry.stage or ""] for role, entry in _fetched(stage).items()}
        return files_of(stage.options, stage.paths, fetched)

    def _one_tokenizer(self, stage: Stage) -> Prediction:
        speed = self._speed(stage)
        seconds = speed.bytes / speed.reading + speed.bytes / speed.counting
        return Prediction(seconds, held_now() + PROCESS, self.vocabulary() * _PIECE)

    def _one_prepare(self, stage: Stage) -> Prediction:
        speed = self._speed(stage)
        place = machine(self.recipe)
        at_once = processes_for(self._files(stage), place.threads, place.memory or MEMORY)
        seconds = (speed.bytes / speed.reading + speed.bytes / speed.encoding) / at_once + 1.0
        # The ids are on the disk twice for a while: as parts and as rows, then as rows and as shards.
        rows = speed.tokens * 2 + RECORDS
        return Prediction(seconds, held_now() + at_once * PROCESS, rows, rows)

    def _one_overlap(self, stage: Stage) -> Prediction:
        one = self._one_prepare(stage)
        return Prediction(one.seconds, one.memory_bytes, RECORDS)


def held_now() -> int:
    """Return the bytes of memory that this process holds."""
    return own_memory(psutil.Process())


def _fetches(stage: Stage) -> bool:
    return stage.kind == "fetch"


def _fetched(stage: Stage) -> dict[str, Input]:
    """Return a stage's inputs that come from the hub."""
    return {role: entry for role, entry in stage.inputs.items() if role.startswith("hub ")}
