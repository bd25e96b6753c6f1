"""What trainings and scorings will cost, before they start, from one real step of each shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig, flops_per_token
from bertwright.encoder.models import cut_config
from bertwright.errors import InputError
from bertwright.exits.calibration import candidates
from bertwright.exits.ramps import checked_layers
from bertwright.pipeline.forecast import RECORDS, TextForecast, held_now
from bertwright.pipeline.plan import resolve_task
from bertwright.pipeline.plan_experts import DRAWN
from bertwright.pipeline.prediction import Pace, Prediction, RowsAtOnce, memory_there, refuse_memory
from bertwright.pipeline.real_steps import take_step
from bertwright.pipeline.settings import trials_of
from bertwright.pipeline.stage import Stage
from bertwright.recipe.methods import PACK_METHODS
from bertwright.recipe.sections import Pretrain, Recipe
from bertwright.reports.words import bytes_text
from bertwright.stages import measure, measure_data, starting, training_choices
from bertwright.stages.work import SEEN_ROWS
from bertwright.text.shards import Shards
from bertwright.training.masked_rows import HELD_OUT_ROWS
from bertwright.training.precision import choose, matmul_peak

# Bytes a parameter: fp32 on the disk; in a checkpoint also two moments; and at work bf16 weights and gradients besides.
_WEIGHT, _CHECKPOINT, _AT_WORK = 4, 12, 18
# Two checkpoints are kept while a third is written.
_CHECKPOINTS = 3
_FORWARD = 0.4  # a forward pass, against forward and backward
_LOADING = 1e8  # parameters a second, of a run that is to answer
_COMPARING = 0.2  # seconds, of two variants' scores on a set
_PACK = 0.002  # of the encoder's bytes, what a run that leaves a pack writes
_BESIDES = 150_000_000  # bytes, of kernels, readers and what other stages left, beside a step's own
_TOKEN = 16  # bytes of a token in the data of an update: its id, its place and its label
_SLOW_PRODUCTS = 2e10  # operations a second of small products in fp32, as ramps learn by
# What a run's options say of what it trains, where they say nothing.
_FULL: dict[str, Any] = {"trainable": "full", "terms": "all", "layers": None, "seed": 0}
# A step measured on rows of another task counts where its rows are longer by no more than this.
_ALIKE = 1.5


class TrainingForecast(TextForecast):
    """Measures each thing once and turns it into predictions."""

    def __init__(self, recipe: Recipe, folders: Mapping[str, Path]) -> None:
        super().__init__(recipe, folders)
        self._sizes: dict[tuple[Any, ...], measure_data.Sizes] = {}
        self._steps: dict[tuple[Any, ...], tuple[measure.StepCost, int]] = {}
        self.kinds |= {
            "initialise": self._one_initialise,
            "biases": self._one_initialise,
            "pretrain": self._one_pretrain,
            "expert": self._one_expert,
            "search": self._one_finetune,
            "finetune": self._one_finetune,
            "ramps": self._one_ramps,
            "evaluate": self._one_evaluate,
        }

    def _config(self) -> EncoderConfig:
        if self.recipe.encoder.folder is not None:
            return families.read_config(self.recipe.encoder.folder, add_missing=self.recipe.encoder.add_missing)
        return starting.shape_of(self.recipe.encoder.model_dump(mode="json"), self.vocabulary(), 0)

    def _one_initialise(self, _stage: Stage) -> Prediction:
        parameters = measure.count_parameters(self._config())
        return Prediction(1.0 + parameters / 3e7, held_now() + parameters * 12, parameters * _WEIGHT)

    def _one_pretrain(self, stage: Stage) -> Prediction:
        choice = training_choices.pretraining(stage.options, stage.settings)
        length = self._row_length()
        config = self._config()
        devices = self.recipe.system.devices
        batch = choice.batch or training_choices.SMALLEST_BATCH
        for _ in range(1 if choice.batch else 2):
            # A batch that follows the budget hangs on the speed, and how many rows go at once on the batch.
            rows = training_choices.micro_batch_rows(choice, length, -(-batch // devices))
            cost, memory = self._step("pretrain", config, rows, length, choice)
            speed = devices * rows * length / cost.micro_batch
            known = self._rows(length)
            batch = training_choices.batch_of(choice, row_length=length, rows=known, tokens_per_second=speed)
        step = cost.micro_batch * -(-batch // (rows * devices)) + cost.update
        seconds = _seconds_of(choice, step, batch, length, self._rows(length)) * choice.stop_at
        place = choose(self.recipe.system.device, self.recipe.system.precision)
        peak = devices * matmul_peak(place.dtype, place.device.type)
        pace = Pace(
            updates=int(seconds / step),
            batch=batch,
            tokens_per_second=batch * length / step,
            utilisation=flops_per_token(config, length, choice.mask_rate) * batch * length / step / peak,
        )
        held_out = (
            min(HELD_OUT_ROWS, max(1, int(self._rows(length) * self._held_out()))) / rows * cost.micro_batch * _FORWARD
        )
        seconds += (choice.evaluations + 1) * held_out + 5.0
        model = cost.parameters * _WEIGHT
        model *= 1 + len(choice.save_at)
        data = self._data_of(-(-batch // devices), length)
        memory += data
        fixed = held_now() + _BESIDES + cost.parameters * (_AT_WORK + _CHECKPOINT) + data
        if place.device.type == "cpu":
            # Divided weights are there once, and not once a rank.
            shared = (devices - 1) * cost.parameters * _AT_WORK if self.recipe.system.sharding else 0
            memory, fixed = memory * devices - shared, fixed * devices - shared
        at_once = RowsAtOnce(rows, (memory - fixed) / rows, fixed)
        return Prediction(seconds, memory, model, cost.parameters * _CHECKPOINT * _CHECKPOINTS, pace, at_once)

    def _data_of(self, batch: int, length: int) -> int:
        """Return the bytes of an update's rows, which are all there at once; ``InputError`` where they cannot be."""
        data, there = batch * length * _TOKEN, memory_there(self.recipe.system.memory)
        if data > there:
            raise InputError(
                f"pretrain: the data of one update, {batch:,} rows of {length} tokens, take {bytes_text(data)} of "
                f"memory and there are {bytes_text(there)}. Lower `pretrain.batch`; {batch * there // (2 * data):,} "
                "rows would leave half of it to the encoder"
            )
        return data

    def _one_finetune(self, stage: Stage) -> Prediction:
        options = stage.options if "place" not in stage.options else self._longest(stage)
        choice = training_choices.finetuning(options, stage.settings)
        sizes = self._size(options["task"], stage.paths["train"], choice.max_length)
        rows = min(choice.batch, choice.micro_batch or choice.batch)
        config = cut_config(self._config(), options.get("depth"))
        cost, memory = self._step("finetune", config, rows, sizes.length, trained=options, longest=sizes.longest)
        steps = max(1, round(choice.epochs * options.get("share", 1.0) * sizes.rows / choice.batch))
        micro_batches = -(-choice.batch // rows)
        seconds = steps * (cost.micro_batch * micro_batches * _share_of_passes(options) + cost.update) + 1.2
        if choice.checkpoint_every.unit == "seconds" and seconds < choice.checkpoint_every.amount:
            memory -= cost.parameters * _CHECKPOINT  # it is done before one is due
        whole = options["trainable"] not in PACK_METHODS
        kept = cost.parameters * _WEIGHT if stage.kind == "finetune" or stage.settings.get("keep_weights") else 10_000
        kept = RECORDS + int(kept if whole else kept * _PACK)
        return Prediction(seconds, memory, kept, cost.parameters * _CHECKPOINT * _CHECKPOINTS)

    def _one_expert(self, stage: Stage) -> Prediction:
        """Predict a fine-tuning a fold, and a pass with attributions over all rows; a file is only read."""
        if "logits" in stage.paths:
            return Prediction(3.0, held_now(), 5_000_000)
        options = stage.options
        choice = training_choices.finetuning(options, stage.settings)
        # It reads its own columns alone, which may be a claim of eight words beside evidence of fifty.
        read = {**options["task"], "text": options["columns"]}
        sizes = self._size(read, stage.paths["train"], choice.max_length, config=self._config_of(stage))
        others = sizes.rows - sizes.rows // options["folds"] if options["folds"] > 1 else sizes.rows
        learnt = min(others, options["rows_to_learn"] or others)
        rows = min(choice.batch, choice.micro_batch or choice.batch)
        cost, memory = self._step("finetune", self._config_of(stage), rows, sizes.length, longest=sizes.longest)
        steps = max(1, round(choice.epochs * learnt / choice.batch)) * options["folds"]
        fitting = steps * (cost.micro_batch * -(-choice.batch // rows) + cost.update)
        seconds = fitting + sizes.rows / rows * cost.micro_batch + 3.0 * options["folds"]
        kept = cost.parameters * _WEIGHT + sizes.rows * sizes.length * 2
        return Prediction(seconds, memory, kept, cost.parameters * _CHECKPOINT * _CHECKPOINTS)

    def _one_ramps(self, stage: Stage) -> Prediction:
        """Predict a pass over all rows, the training of the ramps on what it kept, and the time that is measured."""
        options, config = stage.options, self._config()
        layers = checked_layers(options["exits"]["layers"] or range(1, config.layers), config.layers)
        about = {"classes": 2, "tolerance": options["exits"]["tolerance"]}
        # What cannot leave by its policy is refused now, and not behind the runs.
        candidates(options["exits"]["policy"], options["task"]["kind"], ramps=len(layers), **about)
        task, places = options["task"], {label.removeprefix("set "): path for label, path in stage.paths.items()}
        sizes = {
            name: self._size(task, path, options["max_length"], None if name == "train" else name)
            for name, path in places.items()
        }
        cost, memory = self._step("finetune", config, 32, max(size.length for size in sizes.values()))
        rows = sum(size.rows for size in sizes.values())
        states = sizes["train"].rows * len(layers) * config.width * 4
        products = 6 * (states / 4) * config.width * options["exits"]["epochs"]  # forward and backward, dense layers
        seconds = rows / 32 * cost.micro_batch * _FORWARD + products / _SLOW_PRODUCTS + 2.0
        kept = RECORDS + cost.parameters * _WEIGHT + len(layers) * (config.width + 4) * config.width * 4
        return Prediction(seconds, memory, kept, states)

    def _config_of(self, stage: Stage) -> EncoderConfig:
        """Return the shape of an expert's encoder: the run's, a folder's, or one of its own."""
        given = stage.inputs["encoder"]
        if stage.options["expert"] != "small-model":
            return cut_config(self._config(), stage.options.get("depth"))
        if given.folder is not None:
            return families.read_config(given.folder)
        own = self.recipe.finetune.experts[(given.stage or "").removeprefix(DRAWN)].shape
        return starting.shape_of({"family": "bert", "size": "tiny", **own}, self._config().vocabulary, 0)

    def _longest(self, stage: Stage) -> dict[str, Any]:
        """Return the options of a run whose setting is still to be chosen, with that of the most epochs."""
        (choice,) = (one for one in self.recipe.tasks if one.name == stage.options["task"]["name"])
        trials = trials_of(self.recipe, choice, resolve_task(choice))
        # The run's label ends in its method's, where a task has several.
        own = [trial for trial in trials if trial.alone or f"-{trial.method.label}/" in stage.name] or trials
        settings = [one for trial in own for one in trial.settings]
        return {**stage.options, **max(settings, key=lambda one: float(one["epochs"]))}

    def _one_evaluate(self, stage: Stage) -> Prediction:
        task, most, variants = stage.options["task"], stage.options["max_length"], stage.options["variants"]
        sizes = [
            self._size(task, path, most, label.removeprefix("set "))
            for label, path in stage.paths.items()
            if label != "train"
        ]
        if stage.options["score_train"]:
            whole = self._size(task, stage.paths["train"], most)
            sizes.append(replace(whole, rows=min(whole.rows, SEEN_ROWS)))
        length = max(size.length for size in sizes)
        cost, memory = self._step("finetune", self._config(), 32, length)
        batches = sum(-(-size.rows // 32) * size.length / length for size in sizes)
        # Beside runs there are inputs that answer nothing by themselves: encoders of packs, and experts.
        runs = sum(role.rpartition("/")[0] in variants for role in stage.inputs)
        each = batches * cost.micro_batch * _FORWARD + cost.parameters / _LOADING
        seconds = runs * each + (len(variants) - 1) * len(sizes) * _COMPARING + 0.5
        return Prediction(seconds, memory, RECORDS + runs * sum(size.rows for size in sizes) * 20)

    def _step(
        self,
        kind: str,
        config: EncoderConfig,
        rows: int,
        length: int,
        choice: Pretrain | None = None,
        trained: Mapping[str, Any] | None = None,
        longest: int = 0,
    ) -> tuple[measure.StepCost, int]:
        learns = {**_FULL, **{name: value for name, value in (trained or {}).items() if name in _FULL}, "seed": 0}
        shape = (kind, config, rows, json.dumps(learns))
        if kind == "finetune" and (found := self._alike(shape, length, max(length, longest))) is not None:
            return found
        key = (*shape, length, longest)
        if key not in self._steps:
            parameters = measure.count_parameters(config)
            refuse_memory(kind, parameters * _AT_WORK, self.recipe.system.memory)
            cost, peak = take_step(
                self.recipe, kind, config, learns, choice, rows=rows, length=length, longest=max(length, longest)
            )
            # A checkpoint is put together in memory before it is written.
            self._steps[key] = cost, peak + _BESIDES + cost.parameters * _CHECKPOINT
        return self._steps[key]

    def _alike(self, shape: tuple[Any, ...], length: int, longest: int) -> tuple[measure.StepCost, int] | None:
        """Return the nearest step measured so on rows a little longer, its time brought to this length, or None.

        Twelve tasks on one encoder would else wait for a step each, which can take longer than their work.
        """
        near = [
            (wide, widest, *found)
            for (*known, wide, widest), found in self._steps.items()
            if tuple(known) == shape
            and length <= wide <= _ALIKE * length
            and longest <= max(wide, widest) <= _ALIKE * longest
        ]
        if not near:
            return None
        wide, _, cost, memory = min(near, key=lambda one: (one[0], one[1]))
        return replace(cost, micro_batch=cost.micro_batch * length / wide), memory

    def _size(
        self,
        task: Mapping[str, Any],
        path: Path,
        max_length: int,
        name: str | None = None,
        config: EncoderConfig | None = None,
    ) -> measure_data.Sizes:
        length = min(max_length, (config or self._config()).positions)  # longer rows are cut to what it takes
        key = (json.dumps(task, sort_keys=True), name, str(path), length)
        if key not in self._sizes:
            self._sizes[key] = measure_data.sizes_of(task, path, self.given_tokenizer(), length, name=name)
        return self._sizes[key]

    def _row_length(self) -> int:
        prepare = self.recipe.prepare
        if prepare is not None and prepare.ready is not None:
            return Shards(prepare.ready).row_length
        return prepare.row_length if prepare is not None else 128

    def _rows(self, length: int) -> int:
        prepare = self.recipe.prepare
        folder = prepare.ready if prepare is not None and prepare.ready is not None else self.folders.get("prepare")
        if folder is not None:
            return Shards(folder).rows("train")
        return max(1, self.text.tokens // (length - 2)) if self.text is not None else 1

    def _held_out(self) -> float:
        return self.recipe.prepare.held_out if self.recipe.prepare is not None else 0.005


def _share_of_passes(options: Mapping[str, Any]) -> float:
    """Return what a step takes against one of plain cross entropy: attributions and a bias head are passes more."""
    if "attributing" in options:
        return 1.8 if options["attributing"]["passes"] == "two" else 1.4
    return 1.3 if "bias_columns" in options else 1.0


def _seconds_of(choice: Pretrain, step: float, batch: int, length: int, rows: int) -> float:
    """Return the seconds of a pretraining's budget, at ``step`` seconds for ``batch`` rows of ``length`` tokens."""
    unit, amount = choice.budget.unit, choice.budget.amount
    if unit == "seconds":
        return amount
    steps = {"steps": amount, "tokens": amount / (batch * length), "epochs": amount * rows / batch}[unit]
    return steps * step
