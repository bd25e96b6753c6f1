"""Rows of tokens to an encoder: from scratch, or continued from a folder.

Sealed: ``model/``, an ordinary folder with weights and tokenizer that has proved itself, and ``metrics.jsonl``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bertwright import files
from bertwright.encoder.config import flops_per_token
from bertwright.encoder.heads import MaskedLMHead
from bertwright.encoder.model_folder import facts, save_model
from bertwright.encoder.models import MaskedLM, empty
from bertwright.encoder.stack import Encoder, set_dropout
from bertwright.errors import InputError
from bertwright.processes import Tell, launched
from bertwright.recipe.sections import Pretrain
from bertwright.stages.setup import Setup, arranged, find_setup, kept_setup
from bertwright.stages.starting import check_rows, starting_config, starting_model
from bertwright.stages.training_choices import as_budget, optimizer_of, pretraining, schedule_of
from bertwright.stages.work import MODEL, Work, model_at
from bertwright.text.shards import Shards
from bertwright.text.tokenizer import Tokenizer
from bertwright.training import trainable
from bertwright.training.budget import Budget
from bertwright.training.cadence import Cadence
from bertwright.training.checkpoint import State
from bertwright.training.launch import launch
from bertwright.training.loop import Outcome, train
from bertwright.training.losses import masked_lm_loss
from bertwright.training.masked_rows import BatchSize, MaskedRows, Masking, held_out_loss
from bertwright.training.optimizers import Optimizer
from bertwright.training.precision import DTYPES
from bertwright.training.ranks import Ranks, start
from bertwright.training.second_text import SecondText
from bertwright.training.sharding import shard, whole

_NEWS = "news.jsonl"
"""In the scratch folder: what the first of several ranks tells."""


def pretrain(work: Work) -> dict[str, Any]:
    """Train on masked words, in this process or in one for each device, and save a folder that proved itself."""
    if launched():
        together = launch()
        work = replace(work, machine=replace(work.machine, devices=together.world))
        setup_of(work)
        together.send(work.as_json())
        return train_rank(work, together.ranks(work.machine.device))
    if work.machine.devices == 1:
        return train_rank(work, Ranks())
    setup_of(work)  # found once, before there are ranks
    files.make_folder(work.scratch)
    news = work.scratch / _NEWS
    files.remove(news)
    start(
        work.machine.devices,
        "bertwright.stages.pretrain:rank",
        work.as_json(),
        threads=work.machine.threads,
        meanwhile=_Listener(news, work.tell),
    )
    results: dict[str, Any] = files.read_json(work.scratch / "results.json")
    return results


def follow() -> None:
    """Be another rank than the first of those that a launcher started: train whenever the first does, until it ends."""
    together = launch()
    while (content := together.receive()) is not None:
        work = Work.from_json(content)
        train_rank(work, together.ranks(work.machine.device))
    together.leave()


def rank(content: Mapping[str, Any]) -> None:
    """Do one rank's part of a pretraining that ``pretrain`` started; the first rank leaves the result."""
    work = Work.from_json(content)
    work = replace(work, tell=partial(files.append_json, work.scratch / _NEWS))
    ranks = Ranks.from_environment(work.machine.device)
    results = train_rank(work, ranks)
    if ranks.rank == 0:
        files.write_json(work.scratch / "results.json", results)


class _Listener:
    """Passes on what the first rank has written down to be told."""

    def __init__(self, news: Path, tell: Tell) -> None:
        self._news, self._tell, self._heard = news, tell, 0

    def __call__(self) -> None:
        """Tell what is new; a line that is not whole yet waits."""
        if self._news.exists():
            for line in self._news.read_text(encoding="utf-8").split("\n")[self._heard : -1]:
                self._heard += 1
                self._tell(json.loads(line))


@dataclass(frozen=True)
class _Job:
    """What both phases of a pretraining share."""

    work: Work
    choice: Pretrain
    model: MaskedLM
    rows: Shards
    tokenizer: Tokenizer
    setup: Setup
    ranks: Ranks
    second: SecondText | None

    def phase(self, name: str, budget: Budget, *, everything: bool) -> Outcome:
        """Train all parameters, or the head alone, for a budget; checkpoints go to a folder of the phase's name."""
        choice, work = self.choice, self.work
        folder = work.scratch / name
        files.make_folder(folder)
        frozen = frozenset(key for key, _ in self.model.named_parameters() if key.startswith("pooler."))
        chosen = trainable.everything(self.model, frozen) if everything else trainable.head(self.model)
        trainable.freeze_others(self.model, chosen)
        optimizer, kept = self._at_work()
        outcome = train(
            self.model,
            self._batches(),
            masked_lm_loss,
            optimizer,
            schedule=schedule_of(choice),
            warmup=choice.warmup,
            budget=budget,
            clip=choice.clip,
            seed=work.options["seed"],
            ranks=self.ranks,
            folder=folder,
            metrics=(work.folder if everything else folder) / "metrics.jsonl",
            cadence=self._cadence(optimizer, everything=everything),
            loss_scaled=self.setup.precision == "fp16",
            progress=self._teller(name) if self.ranks.rank == 0 else None,
        )
        for key, parameter in self.model.named_parameters():
            parameter.data = kept.get(key, parameter.data)
        return outcome

    def _cadence(self, optimizer: Optimizer, *, everything: bool) -> Cadence:
        """Return what is done beside the steps; where the head learns alone nothing is saved on the way."""
        choice = self.choice
        cadence = Cadence(as_budget(choice.checkpoint_every), self._evaluate, choice.evaluations)
        if not everything:
            return cadence
        return replace(
            cadence,
            until=choice.stop_at,
            milestones=choice.save_at,
            at_milestone=lambda share: self._save(optimizer, share),
            hopeless=self._hopeless,
        )

    def _at_work(self) -> tuple[Optimizer, dict[str, torch.Tensor]]:
        """Bring the model to its device and format; return the optimizer, and what stays frozen as it was before."""
        dtype, device = DTYPES[self.setup.precision], self.setup.device
        arranged(self.model, self.setup)
        if self.work.machine.sharding:
            self._shard(dtype)
            return optimizer_of(self.model, self.choice), {}
        self.model.to(device)
        kept = {key: one.detach() for key, one in self.model.named_parameters() if not one.requires_grad}
        optimizer = optimizer_of(self.model, self.choice, dtype)
        self.model.to(dtype)
        return optimizer, kept

    def _shard(self, dtype: torch.dtype) -> None:
        """Divide the model among the ranks; each has to make as many passes as the others."""
        world, batch = self.ranks.world, self.setup.batch
        if world == 1 or self.choice.batch_start is not None or batch % world:
            raise InputError(
                f"system.sharding divides each update's {batch} rows among {world} ranks, the same for each; choose a "
                "pretrain.batch that they divide, no pretrain.batch_start, and several system.devices"
            )
        shard(self.model, self.model.encoder.blocks, world=world, device=self.setup.device, dtype=dtype)

    def whole_model(self, optimizer: Optimizer | None = None) -> MaskedLM:
        """Return a copy of the model in fp32 on the CPU, with the optimizer's masters; all ranks have to ask."""
        tensors = {name: whole(weight.detach()).float().cpu() for name, weight in self.model.state_dict().items()}
        tensors |= optimizer.master_weights() if optimizer is not None else {}
        config = self.model.encoder.config
        pooler = torch.nn.Linear(config.width, config.width) if self.model.pooler is not None else None
        model = MaskedLM(empty(Encoder, config), empty(MaskedLMHead, config), pooler)
        model.load_state_dict(tensors)
        set_dropout(model, config.dropout)
        return model

    def _batches(self) -> MaskedRows:
        choice = self.choice
        return MaskedRows(
            self.rows,
            self.tokenizer,
            batch=BatchSize(self.setup.batch, choice.batch_start, choice.batch_ramp),
            micro_batch=self.setup.micro_batch,
            masking=Masking(choice.mask_rate, choice.mask_rate_end, choice.whole_words, choice.document_mask),
            seed=self.work.options["seed"],
        )

    def _evaluate(self) -> dict[str, float]:
        texts = {"held_out_loss": self.rows} | ({"second_text_loss": self.second} if self.second else {})
        device, rows = torch.device(self.setup.device), self.setup.micro_batch
        with self.setup.eager():
            return {
                name: held_out_loss(
                    self.model,
                    text,
                    self.tokenizer,
                    micro_batch=rows,
                    device=device,
                    apart=self.choice.document_mask,
                )
                for name, text in texts.items()
            }

    def _teller(self, phase: str) -> Callable[[dict[str, Any]], None]:
        """Return what adds to the loop's figures the share of the machine's peak, and passes them on."""

        def tell(fields: dict[str, Any]) -> None:
            if (speed := fields.get("tokens_per_second")) is not None:
                fields = {**fields, "utilisation": speed * self.cost / (self.setup.peak * self.ranks.world)}
            self.work.tell({**fields, "phase": phase})

        return tell

    @property
    def cost(self) -> float:
        """Operations of training on one token."""
        return flops_per_token(self.model.encoder.config, self.rows.row_length, self.choice.mask_rate)

    def _save(self, optimizer: Optimizer, share: float) -> None:
        """Save the encoder as it is at a share of the budget."""
        model = self.whole_model(optimizer)
        if self.ranks.rank == 0:
            save_model(self.work.folder / model_at(share), model, self.tokenizer)

    def _hopeless(self, state: State) -> bool:
        """Return whether the loss that the recipe wants by now is not reached."""
        after, loss = self.choice.give_up_after, self.choice.give_up_loss
        if after is None or loss is None or state.final["held_out_loss"] <= loss:
            return False
        limit = as_budget(after)
        used = limit.done(steps=state.updates, tokens=state.tokens, seconds=state.seconds)
        return used >= limit.total(max(1, self.rows.rows("train") // self.setup.batch))


def train_rank(work: Work, ranks: Ranks) -> dict[str, Any]:
    """Pretrain as one of ``ranks`` and return the results, the same on each; the first rank saves.

    ``InputError`` where the rows that go through at once do not fit a GPU's memory.
    """
    try:
        return _train(work, ranks)
    except torch.OutOfMemoryError as error:
        rows = kept_setup(work).micro_batch
        raise InputError(
            f"{rows} rows at once do not fit the GPU's memory ({error}). Set `pretrain.micro_batch={max(1, rows // 2)}`"
            f"{', or `system.activation_checkpointing=true`' if rows > 1 else ' and take a smaller encoder'}: neither "
            "changes the result, and the same command continues from the last checkpoint"
        ) from error


def _train(work: Work, ranks: Ranks) -> dict[str, Any]:
    choice = pretraining(work.options, work.settings)
    tokenizer, rows = Tokenizer.load(work.inputs["tokenizer"]), Shards(work.inputs["rows"])
    setup = setup_of(work)  # which refuses rows that do not go with the model
    torch.set_num_threads(setup.threads)
    begun = starting_model(work, tokenizer, rows)
    config = begun.model.encoder.config
    begun.model.encoder.activation_checkpointing = work.machine.activation_checkpointing
    path = work.paths.get("second_text")
    second = SecondText(path, tokenizer, rows.row_length) if path else None
    job = _Job(work, choice, begun.model, rows, tokenizer, setup, ranks, second)
    budget = as_budget(choice.budget)
    if begun.fresh_head and choice.head_warmup:
        warming = job.phase("head", replace(budget, amount=budget.amount * choice.head_warmup), everything=False)
        budget = replace(budget, amount=budget.amount * (1 - choice.head_warmup))
        begun.notes.append(
            f"A fresh masked-word head, tied to the word embeddings, was trained alone with the body frozen for "
            f"{warming.steps} steps: held-out loss {warming.first['held_out_loss']:.2f} to "
            f"{warming.final['held_out_loss']:.2f}."
        )
    outcome = job.phase("whole", budget, everything=True)
    if path:
        before, after = outcome.first["second_text_loss"], outcome.final["second_text_loss"]
        begun.notes.append(f"The loss on {path.name}, the second text, went from {before:.3f} to {after:.3f}.")
    if outcome.gave_up:
        begun.notes.append(
            f"The training was given up: a held-out loss of {choice.give_up_loss} was asked for after "
            f"{choice.give_up_after}, and it was {outcome.final['held_out_loss']:.2f}."
        )
    model = job.whole_model()
    proof = save_model(work.folder / MODEL, model, tokenizer) if ranks.rank == 0 else {}
    return {
        **facts(config, model),
        **_choices(work, choice),
        **_outcome(outcome, job.cost, setup, ranks.world),
        "notes": [*begun.notes, f"The probe: {setup.sentence()}."] if setup.tried else begun.notes,
        "proof": proof,
    }


def setup_of(work: Work) -> Setup:
    """Return what to train with, and refuse rows that do not go with the model."""
    choice = pretraining(work.options, work.settings)
    tokenizer, rows = Tokenizer.load(work.inputs["tokenizer"]), Shards(work.inputs["rows"])
    config = starting_config(work, tokenizer)
    check_rows(rows, tokenizer, config)
    return find_setup(work, choice, config, row_length=rows.row_length, rows=rows.rows("train"))


def _choices(work: Work, choice: Pretrain) -> dict[str, Any]:
    keys = ("schedule", "optimizer", "learning_rate", "mask_rate", "mask_rate_end", "whole_words", "save_at")
    return {
        "started_from": str(work.inputs["start"]) if "start" in work.inputs else None,
        "budget": str(choice.budget),
        **{key: work.options["pretrain"][key] for key in keys},
    }


def _outcome(outcome: Outcome, cost: float, setup: Setup, world: int) -> dict[str, Any]:
    speed = outcome.tokens / outcome.seconds
    return {
        "precision": setup.precision,
        "setup": asdict(setup),
        "batch": setup.batch,
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "seconds": outcome.seconds,
        "tokens_per_second": speed,
        "utilisation": cost * speed / (setup.peak * world),
        "skipped_updates": outcome.skipped,
        "gave_up": outcome.gave_up,
        "interruptions": outcome.interruptions,
        **{f"first_{name}": loss for name, loss in outcome.first.items()},
        **outcome.final,
    }
