"""The same recipe at toy size: does it go all the way?"""

from __future__ import annotations

from pathlib import Path

from bertwright.demo.write import write_demo
from bertwright.recipe import Encoder, Finetune, Grid, Pretrain, Recipe
from bertwright.recipe_text import Prepare, Source, Tokenizer
from bertwright.units import Amount

_DOCUMENTS = 200
_VOCABULARY, _NEW = 384, 8
_STEPS = Amount("steps", 20.0)
_BATCH = 8
_RATES = (1e-4, 3e-4)
_OF_A_TASK = ("epochs", "batch", "learning_rate")
_SHAPE = {"layers": 2, "width": 64, "heads": 2, "inner": 128}


def smoke(recipe: Recipe) -> Recipe:
    """Return a recipe that takes the same way at toy size: made-up text, a toy encoder, twenty updates, one epoch.

    A model folder, ready rows and tasks stay what they are, and take the time they take. Results go to a run of their
    own.
    """
    changes: dict[str, object] = {"name": f"{recipe.name}-smoke"}
    if recipe.prepare is not None and recipe.prepare.sources:
        text = write_demo(recipe.store / "smoke", documents=_DOCUMENTS).parent / "corpus"
        changes["prepare"] = _prepare(recipe.prepare, text)
        if recipe.encoder.folder is None and (recipe.tokenizer is None or recipe.tokenizer.folder is None):
            wanted = recipe.tokenizer or Tokenizer()
            changes["tokenizer"] = wanted.model_copy(update={"vocabulary": _VOCABULARY})
        elif recipe.tokenizer is not None and recipe.tokenizer.extend is not None:
            changes["tokenizer"] = recipe.tokenizer.model_copy(update={"extend": min(_NEW, recipe.tokenizer.extend)})
    if recipe.encoder.folder is None:
        changes["encoder"] = Encoder.model_copy(recipe.encoder, update=_SHAPE)
    if recipe.pretrain is not None:
        changes["pretrain"] = _pretrain(recipe.pretrain)
    changes["finetune"] = _finetune(recipe.finetune)
    changes["tasks"] = tuple(task.model_copy(update=dict.fromkeys(_OF_A_TASK)) for task in recipe.tasks)
    return recipe.model_copy(update=changes)


def _finetune(choice: Finetune) -> Finetune:
    """Return one epoch of two seeds, and two rates where a protocol or a grid tries more than one setting."""
    small = {"epochs": 1.0, "seeds": min(2, choice.seeds)}
    if choice.protocol is None and choice.grid is None:
        return choice.model_copy(update=small)
    same = ("select_on", "halving", "keep", "baseline", "at_checkpoints", "trainable")
    kept = {name: getattr(choice, name) for name in same}
    return Finetune(**small, **kept, grid=Grid(learning_rate=_RATES))


def _prepare(choice: Prepare, text: Path) -> Prepare:
    # Near-duplicates need an extra, and the rest of the cleaning has nothing to find in made-up text.
    return Prepare(sources=(Source(path=text),), row_length=min(choice.row_length, 64), rows=choice.rows, held_out=0.02)


def _pretrain(choice: Pretrain) -> Pretrain:
    off = {"micro_batch": None, "give_up_after": None, "give_up_loss": None}
    start = None if choice.batch_start is None else _BATCH // 2
    return choice.model_copy(update={"budget": _STEPS, "batch": _BATCH, "batch_start": start, "evaluations": 2, **off})
