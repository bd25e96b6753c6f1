"""Every choice a user can make: one page of frozen, typed sections.

A field is followed by a sentence that says what it is and its unit. ``None``, or a section that is left out, means off.
Units are written as people write them: ``20 min``, ``8 GB``, ``0.5 %``, ``50M tokens``. How a file becomes these
sections, and how its faults are told, is in ``reading``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bertwright.recipe.debias import Expert
from bertwright.recipe.exits import ExitsChoice
from bertwright.recipe.fields import (
    Epochs,
    Existing,
    Location,
    Number,
    Positive,
    PositiveNumber,
    Section,
    Share,
    Shares,
    Size,
    TrackerNames,
    Work,
)
from bertwright.recipe.methods import Grid, Method, Methods
from bertwright.recipe.task import Task
from bertwright.recipe.text import Prepare, Tokenizer
from bertwright.units import Amount


class System(Section):
    """The machine. Nothing here changes a result by more than rounding, except the precision, and whatever makes a
    budget in time go further: with it come more updates and, where the recipe names no batch, a larger one."""

    memory: Size | None = None
    """Most memory that a stage may take (`8 GB`); off: what the machine has free."""
    threads: Positive | None = None
    """CPU threads; off: one a core."""
    devices: Positive = 1
    """Processes to train with: one a GPU, or CPU processes that share the cores."""
    runs: Positive = 1
    """Fine-tuning runs at once, each in a process of its own; they share the threads."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format of weights and activations in training; auto is bf16 where the machine has instructions for it,
    else fp16 (with a scale on the loss) on a GPU and fp32 on a CPU."""
    probe: bool = True
    """Time a few passes before pretraining, and choose what is fastest of what is left to choose: threads, attention,
    micro-batch, compiled or not."""
    attention: Literal["auto", "matmul", "sdpa", "flex"] = "auto"
    """How attention is computed: two products around a softmax, PyTorch's fused kernel, or, on a GPU, its kernel that
    skips other documents and what lies outside a window."""
    compile: bool = False
    """Compile the encoder's blocks for pretraining (`torch.compile`; needs a C++ compiler), where that is faster."""
    sharding: bool = False
    """Divide weights, gradients and the optimizer's memory among several `devices` (FSDP): for large encoders."""
    trackers: TrackerNames = ()
    """Experiment trackers that are told of a pretraining; some of them send it to a server."""
    activation_checkpointing: bool = False
    """Compute activations again on the way back in place of keeping them: a third more time, far less memory."""


class Encoder(Section):
    """The encoder: a shape to start from scratch, or a folder to continue."""

    folder: Existing | None = None
    """An ordinary model folder (config.json, model.safetensors, tokenizer); off: start from scratch."""
    family: Literal["bert", "bert-preln", "modern", "roberta", "distilbert"] = "bert"
    """Architecture of a fresh encoder."""
    size: Literal["tiny", "mini", "small", "medium", "base", "large"] = "mini"
    """Shape by name; the next four override its parts."""
    layers: Positive | None = None
    """Number of blocks."""
    width: Positive | None = None
    """Size of a token's vector."""
    heads: Positive | None = None
    """Attention heads; must divide the width."""
    inner: Positive | None = None
    """Width of the feed-forward layer."""
    positions: Positive = 512
    """Longest row the encoder can take, in tokens."""
    add_missing: bool = False
    """Give a folder's encoder that has no biases zeros in their place, which changes no answer: for BitFit."""

    @model_validator(mode="after")
    def _folder_has_its_shape(self) -> Self:
        given = sorted(self.model_fields_set - {"folder", "add_missing"})
        if self.folder is not None and given:
            raise ValueError(f"`folder` brings its own shape; remove {', '.join(given)} or the folder")
        if self.folder is None and self.add_missing:
            raise ValueError("`add_missing` is for the encoder of a folder; name its `folder`, or remove it")
        return self


class Optimization(Section):
    """What pretraining and fine-tuning have in common."""

    micro_batch: Positive | None = None
    """Rows that go through the encoder at once; off: in pretraining 8,192 tokens on a CPU, on a GPU what fits and is
    fastest, in fine-tuning the whole batch. The batch stays the same, and with it all results but for rounding and, in
    fine-tuning, another draw of dropout."""
    schedule: Literal["esd", "linear", "cosine", "polynomial", "wsd", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""
    cycles: Positive = 1
    """Falls of the cosine schedule, each from the peak."""
    power: PositiveNumber = 2.0
    """Exponent of the polynomial schedule."""
    decay: Annotated[Share, Field(gt=0, le=1)] = 0.2
    """Share of what follows the warm-up, at its end, in which the rate of `wsd` falls."""
    warmup: Annotated[Share, Field(ge=0, lt=1)] = 0.06
    """Share of the budget in which the learning rate rises."""
    weight_decay: Number = 0.01
    """Weight decay, on matrices only; decoupled from the gradient, but for SGD."""
    clip: PositiveNumber | None = 1.0
    """Largest global gradient norm; off: no clipping."""
    checkpoint_every: Work = Amount("seconds", 120.0)
    """How much work a kill may cost: time, steps or tokens. Changes no result."""

    @field_validator("checkpoint_every")
    @classmethod
    def _is_no_epochs(cls, every: Amount) -> Amount:
        if every.unit == "epochs":
            raise ValueError(f"found {str(every)!r}; write time, steps or tokens, such as `2 min` or `500 steps`")
        return every


# Numbers that one choice alone reads: with another they would change nothing but the stage's name, and it be done anew.
_READ_BY = {
    **{"cycles": ("schedule", "cosine"), "power": ("schedule", "polynomial"), "decay": ("schedule", "wsd")},
    "momentum": ("optimizer", "sgd"),
}


class Pretrain(Optimization):
    """Masked language modelling on the prepared rows."""

    budget: Work = Amount("seconds", 1200.0)
    """How long: time, steps, epochs or tokens. The schedule ends with it."""
    batch: Positive | None = None
    """Rows an update; off: by the budget, from 32 for 20 minutes of two CPU cores to 4096 for a day of eight GPUs."""
    batch_start: Positive | None = None
    """Rows of the first update; they grow to `batch` in a straight line; off: `batch` all the time."""
    batch_ramp: Annotated[Share, Field(gt=0, le=1)] = 0.6
    """Share of the budget in which the batch grows from `batch_start`."""
    learning_rate: PositiveNumber = 1e-3
    """Peak learning rate."""
    optimizer: Literal["adamw", "muon", "sgd"] = "adamw"
    """AdamW for all weights, Muon for the blocks' matrices with AdamW for the rest, or SGD with momentum."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD; 0 is plain SGD."""
    muon_learning_rate: PositiveNumber = 2e-2
    """Peak learning rate of Muon's matrices; `learning_rate` is that of the rest."""
    mask_rate: Annotated[Share, Field(gt=0, lt=1)] = 0.15
    """Share of ordinary tokens to predict; the held-out loss always uses 15 %."""
    mask_rate_end: Annotated[Share, Field(gt=0, lt=1)] | None = None
    """Share at the end of the budget, reached in a straight line; off: `mask_rate` all the time."""
    whole_words: bool = False
    """Choose whole words to predict, all pieces of each; off: single pieces."""
    document_mask: bool = False
    """Let a token see its own document alone where several share a row; off: the whole row."""
    head_warmup: Annotated[Share, Field(ge=0, lt=1)] = 0.05
    """Share of the budget that trains a fresh prediction head alone, when a continued folder has none."""
    evaluations: Positive = 10
    """How often the held-out loss is measured over the budget."""
    second_text: Existing | None = None
    """A second text, such as a general one: its masked-word loss is measured too, to see what is forgotten."""
    save_at: Shares = ()
    """Shares of the budget at which the encoder is saved too, such as `[25 %, 50 %]`."""
    stop_at: Annotated[Share, Field(gt=0, le=1)] = 1.0
    """Share of the budget to stop at; the schedule stays that of the whole budget."""
    give_up_after: Work | None = None
    """Give the training up when so much is used up and `give_up_loss` is not reached; off: never."""
    give_up_loss: PositiveNumber | None = None
    """Held-out loss, in nats, that has to be reached by then."""

    @model_validator(mode="after")
    def _batch_can_grow(self) -> Self:
        if self.batch_start is None:
            return self
        if self.batch is None or self.batch_start >= self.batch:
            raise ValueError(f"`batch_start` is {self.batch_start}; give a `batch` that is larger, to grow to")
        if self.budget.unit == "epochs":
            raise ValueError("a batch that grows goes with a budget in time, steps or tokens, not in epochs")
        return self

    @model_validator(mode="after")
    def _numbers_are_read(self) -> Self:
        for number, (switch, reader) in _READ_BY.items():
            value, found = getattr(self, number), getattr(self, switch)
            if value != type(self).model_fields[number].default and found != reader:
                raise ValueError(
                    f"`{number}` is {value}, and only `{switch}: {reader}` reads it ({switch} is {found}); remove it, "
                    f"or set `{switch}: {reader}`"
                )
        return self

    @model_validator(mode="after")
    def _saves_before_the_end(self) -> Self:
        wrong = [share for share in self.save_at if not 0 < share < self.stop_at]
        if wrong:
            end = "1 (at the end all is saved)" if self.stop_at == 1 else f"`stop_at` ({self.stop_at:g})"
            raise ValueError(f"found {wrong[0]:g} in `save_at`; write shares between 0 and {end}")
        if len(set(self.save_at)) < len(self.save_at):
            raise ValueError("a share stands twice in `save_at`; keep one")
        return self

    @model_validator(mode="after")
    def _give_up_is_whole(self) -> Self:
        if (self.give_up_after is None) != (self.give_up_loss is None):
            raise ValueError("`give_up_after` and `give_up_loss` go together; give both, or neither")
        return self


class Finetune(Optimization):
    """How the tasks are learnt."""

    protocol: Literal["sane", "extremebert", "bitfit", "mosaicbert", "cramming"] | None = None
    """A way of fine-tuning by name: its settings, its grid, what the best is chosen on, its seeds. What the recipe sets
    itself stands before it."""
    grid: Grid | None = None
    """Settings to try, of which the best is taken; off: the one below."""
    select_on: Literal["holdout", "dev"] | None = None
    """What the best setting is chosen on: rows kept back from train, or the set `dev`; off: as the protocol says, and
    without one the rows kept back."""
    select_by: Literal["score", "both-sides"] = "score"
    """What makes a setting the best: the task's score, or the mean of the accuracies on rows that the method's expert
    has right and on those that it has wrong (`both-sides`), as where a shortcut does not help."""
    holdout: Annotated[Share, Field(gt=0, lt=1)] = 0.1
    """Share of the training rows that is kept back while settings are tried; at least 200 rows where there are."""
    halving: bool = False
    """Try all settings for a quarter of their epochs, the better half for half of them, the better half of those for
    all."""
    keep: Literal["best", "all", "none"] = "best"
    """Which weights of the runs are kept: those of the best setting's runs, also those of the settings that were tried,
    or none once they are scored."""

    epochs: Epochs = 3.0
    """Passes over the training rows."""
    batch: Positive = 32
    """Rows an update."""
    learning_rate: PositiveNumber = 5e-5
    """Peak learning rate."""
    max_length: Annotated[int, Field(ge=8)] = 128
    """Longest row in tokens; longer ones are cut and counted."""
    seeds: Positive = 3
    """Runs of each task, each with its own seed."""
    trainable: Methods = (Method(),)
    """Which parameters learn, or a list of methods to hold against each other: `full`, `bitfit`, `head`, ... by name,
    or with choices of their own (see Method)."""
    exits: ExitsChoice | None = None
    """Early exits of all runs: ramps after inner layers and thresholds, by the name of published settings, `on` for
    ours, or with choices of their own (see Exits)."""
    experts: dict[str, Expert] = {}  # noqa: RUF012  (pydantic copies it)
    """Models that know a shortcut, by name, for losses against it (see Expert)."""
    shortcuts: bool = False
    """Search the training rows for features that give the label away alone; the report has what was found."""
    pack: Literal["fp16", "fp32"] = "fp16"
    """Number format of the packs that `bitfit` and `head` leave."""
    score_train: bool = False
    """Score the training rows too (2,000 drawn ones at most): how much better a method does on what it has seen."""
    at_checkpoints: bool = False
    """Also fine-tune the encoders that `pretrain.save_at` saved: what more pretraining is worth."""
    baseline: bool = False
    """Also fine-tune the untrained encoder of the same shape, by the first method, and where a folder is continued the
    folder as it is."""

    @model_validator(mode="after")
    def _grid_of_a_loss_is_its_methods(self) -> Self:
        if self.grid is not None and (tried := self.grid.of_loss):
            raise ValueError(
                f"`grid` tries {', '.join(tried)}, which a loss has; put that into the method's own `grid`"
            )
        return self


class Recipe(Section):
    """What the user wants, whole."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Name of the run's folder; off in a file: the file's name."""
    preset: Literal["bertwright", "extremebert-base", "extremebert-large", "24hbert"] | None = None
    """A published system's settings, or ours, for whatever the recipe leaves out."""
    license: Annotated[str, Field(pattern=r"^[^\r\n]{1,100}$")] = "unknown"
    """Who may use what comes of it, such as `apache-2.0`; said in cards of models and packs from now on."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything that is drawn."""
    store: Location = Path("bertwright-store")
    """Folder of finished stages and of the run's results."""
    system: System = System()
    """The machine."""
    prepare: Prepare | None = None
    """Text to rows."""
    tokenizer: Tokenizer | None = None
    """The tokenizer; off: the encoder folder's own, or one trained with the defaults."""
    encoder: Encoder = Encoder()
    """The encoder."""
    pretrain: Pretrain | None = None
    """Pretraining; off: the encoder is taken as it is."""
    finetune: Finetune = Finetune()
    """Fine-tuning, for all tasks."""
    tasks: tuple[Task, ...] = ()
    """The tasks."""
    report: bool | Literal["no-examples"] = True
    """Write the report page at the end; `no-examples`: without a word of your rows in it."""
