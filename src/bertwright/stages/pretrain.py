"""Rows of tokens to an encoder: from scratch, or continued from a folder.

Sealed: ``model/``, an ordinary folder with weights and tokenizer that has proved itself, and ``metrics.jsonl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from bertwright import files
from bertwright.encoder import families
from bertwright.encoder.config import EncoderConfig, flops_per_token, shape
from bertwright.encoder.heads import MaskedLMHead
from bertwright.encoder.models import MaskedLM, build_masked_lm, initialise
from bertwright.encoder.stack import set_dropout
from bertwright.errors import DataError, InputError
from bertwright.recipe import Optimization, Pretrain
from bertwright.stages.masked_rows import MaskedRows, Masking, held_out_loss
from bertwright.stages.model_folder import MODEL, facts, save_model
from bertwright.stages.work import Work
from bertwright.text.shards import Shards
from bertwright.text.tokenizer import Tokenizer
from bertwright.training.budget import Budget
from bertwright.training.checkpoint import State
from bertwright.training.loop import Outcome, train
from bertwright.training.losses import masked_lm_loss
from bertwright.training.optimizers import Optimizer, Settings
from bertwright.training.precision import Precision, choose, matmul_peak
from bertwright.training.ranks import Ranks, start
from bertwright.training.schedules import Schedule
from bertwright.training.trainable import select
from bertwright.units import Amount

MICRO_BATCH_TOKENS = 8192  # what goes through at once where the recipe does not say


def initialise_encoder(work: Work) -> dict[str, Any]:
    """Draw an untrained encoder. Sealed: ``model/``, an ordinary folder."""
    tokenizer = Tokenizer.load(work.inputs["tokenizer"])
    seed = work.options["seed"]
    if "like" in work.inputs:
        config = families.load(work.inputs["like"]).config
    else:
        config = fresh_config(work.options["encoder"], tokenizer)
    model = build_masked_lm(config, seed=seed)
    return {**facts(config, model), "proof": save_model(work.folder / MODEL, model, tokenizer)}


def pretrain(work: Work) -> dict[str, Any]:
    """Train on masked words, in this process or in one for each device, and save a folder that proved itself."""
    if work.machine.devices == 1:
        return train_rank(work, Ranks())
    start(work.machine.devices, "bertwright.stages.pretrain:rank", work.as_json(), threads=work.machine.threads)
    results: dict[str, Any] = files.read_json(work.scratch / "results.json")
    return results


def rank(content: Mapping[str, Any]) -> None:
    """Do one rank's part of a pretraining that ``pretrain`` started; the first rank leaves the result."""
    ranks = Ranks.from_environment()
    work = Work.from_json(content)
    results = train_rank(work, ranks)
    if ranks.rank == 0:
        files.write_json(work.scratch / "results.json", results)


@dataclass
class _Start:
    """The model a pretraining begins with, and what has to be said about it."""

    model: MaskedLM
    notes: list[str]
    fresh_head: bool


@dataclass(frozen=True)
class _Job:
    """What both phases of a pretraining share."""

    work: Work
    choice: Pretrain
    model: MaskedLM
    rows: Shards
    tokenizer: Tokenizer
    precision: Precision
    ranks: Ranks

    def phase(self, name: str, trainable: str, budget: Budget) -> Outcome:
        """Train the chosen parameters for a budget; checkpoints go to a folder of the phase's name."""
        choice, work = self.choice, self.work
        micro_batch = micro_batch_rows(choice, self.rows.row_length)
        folder = work.scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        frozen = frozenset(key for key, _ in self.model.named_parameters() if key.startswith("pooler."))
        select(self.model, trainable, frozen=frozen)
        return train(
            self.model,
            MaskedRows(
                self.rows,
                self.tokenizer,
                batch=choice.batch,
                micro_batch=micro_batch,
                masking=Masking(choice.mask_rate, choice.mask_rate_end, choice.whole_words),
                seed=work.options["seed"],
            ),
            masked_lm_loss,
            optimizer_of(self.model, choice),
            schedule=schedule_of(choice),
            warmup=choice.warmup,
            budget=budget,
            clip=choice.clip,
            seed=work.options["seed"],
            ranks=self.ranks,
            folder=folder,
            metrics=(work.folder if trainable == "all" else folder) / "metrics.jsonl",
            checkpoint_every=as_budget(choice.checkpoint_every),
            evaluate=lambda: {
                "held_out_loss": held_out_loss(
                    self.model, self.rows, self.tokenizer, micro_batch=micro_batch, device=self.precision.device
                )
            },
            evaluations=choice.evaluations,
            until=choice.stop_at if trainable == "all" else 1.0,
            hopeless=self._hopeless if trainable == "all" else lambda _: False,
            progress=work.tell if self.ranks.rank == 0 else None,
        )

    def _hopeless(self, state: State) -> bool:
        """Return whether the loss that the recipe wants by now is not reached."""
        after, loss = self.choice.give_up_after, self.choice.give_up_loss
        if after is None or loss is None or state.final["held_out_loss"] <= loss:
            return False
        limit = as_budget(after)
        used = limit.done(steps=state.step, tokens=state.tokens, seconds=state.seconds)
        return used >= limit.total(max(1, self.rows.rows("train") // self.choice.batch))


def train_rank(work: Work, ranks: Ranks) -> dict[str, Any]:
    """Pretrain as one of ``ranks`` and return the results, the same on each; the first rank saves."""
    choice = Pretrain.model_validate({**work.options["pretrain"], **work.settings})
    torch.set_num_threads(max(1, work.machine.threads // ranks.world))
    tokenizer, rows = Tokenizer.load(work.inputs["tokenizer"]), Shards(work.inputs["rows"])
    begun = starting_model(work, tokenizer)
    config = begun.model.encoder.config
    check_rows(rows, tokenizer, config)
    precision = choose(work.machine.device, work.machine.precision)
    set_dropout(begun.model, 0.0)
    begun.model.to(precision.device, precision.dtype)
    begun.model.encoder.attention_form("matmul" if precision.device.type == "cpu" else "sdpa")
    job = _Job(work, choice, begun.model, rows, tokenizer, precision, ranks)
    budget = as_budget(choice.budget)
    if begun.fresh_head and choice.head_warmup:
        warming = job.phase("head", "head", replace(budget, amount=budget.amount * choice.head_warmup))
        budget = replace(budget, amount=budget.amount * (1 - choice.head_warmup))
        begun.notes.append(
            f"A fresh masked-word head, tied to the word embeddings, was trained alone with the body frozen for "
            f"{warming.steps} steps: held-out loss {warming.first['held_out_loss']:.2f} to "
            f"{warming.final['held_out_loss']:.2f}."
        )
    outcome = job.phase("whole", "all", budget)
    if outcome.gave_up:
        begun.notes.append(
            f"The training was given up: a held-out loss of {choice.give_up_loss} was asked for after "
            f"{choice.give_up_after}, and it was {outcome.final['held_out_loss']:.2f}."
        )
    begun.model.float().cpu()
    set_dropout(begun.model, config.dropout)
    proof = save_model(work.folder / MODEL, begun.model, tokenizer) if ranks.rank == 0 else {}
    return {
        **facts(config, begun.model),
        **_choices(work, choice),
        **_outcome(outcome, config, rows.row_length, choice.mask_rate, precision),
        "notes": begun.notes,
        "proof": proof,
    }


def _choices(work: Work, choice: Pretrain) -> dict[str, Any]:
    return {
        "started_from": str(work.inputs["start"]) if "start" in work.inputs else None,
        "budget": str(choice.budget),
        "schedule": choice.schedule,
        "optimizer": choice.optimizer,
        "batch": choice.batch,
        "learning_rate": choice.learning_rate,
        "mask_rate": choice.mask_rate,
        "mask_rate_end": choice.mask_rate_end,
        "whole_words": choice.whole_words,
    }


def _outcome(
    outcome: Outcome, config: EncoderConfig, length: int, mask_rate: float, precision: Precision
) -> dict[str, Any]:
    speed = outcome.tokens / outcome.seconds
    peak = matmul_peak(precision.dtype, precision.device.type)
    return {
        "precision": precision.name,
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "seconds": outcome.seconds,
        "tokens_per_second": speed,
        "utilisation": flops_per_token(config, length, mask_rate) * speed / peak,
        "skipped_updates": outcome.skipped,
        "gave_up": outcome.gave_up,
        "interruptions": outcome.interruptions,
        "first_held_out_loss": outcome.first["held_out_loss"],
        "held_out_loss": outcome.final["held_out_loss"],
    }


def starting_model(work: Work, tokenizer: Tokenizer) -> _Start:
    """Return a fresh model, or the given folder's with a fresh head where it has none."""
    seed = work.options["seed"]
    if "start" not in work.inputs:
        return _Start(build_masked_lm(fresh_config(work.options["encoder"], tokenizer), seed=seed), [], False)
    loaded = families.load(work.inputs["start"])
    fresh = loaded.masked_lm_head is None
    head = loaded.masked_lm_head or initialise(MaskedLMHead(loaded.config), seed=seed)
    return _Start(MaskedLM(loaded.encoder, head, loaded.pooler), list(loaded.notes), fresh)


def fresh_config(choice: Mapping[str, Any], tokenizer: Tokenizer) -> EncoderConfig:
    """Return the shape that a recipe's encoder section means with this tokenizer."""
    return shape_of(choice, tokenizer.vocabulary, tokenizer.pad_id)


def shape_of(choice: Mapping[str, Any], vocabulary: int, pad_id: int) -> EncoderConfig:
    """Return the shape that a recipe's encoder section means with a vocabulary of this size."""
    overrides = {name: choice.get(name) for name in ("layers", "width", "heads", "inner", "positions")}
    return shape(choice["family"], choice["size"], vocabulary=vocabulary, pad_id=pad_id, **overrides)


def check_rows(rows: Shards, tokenizer: Tokenizer, config: EncoderConfig) -> None:
    """Refuse rows that this tokenizer did not write or this encoder cannot take."""
    if rows.tokenizer_identity != tokenizer.identity():
        raise DataError("the prepared rows were written with another tokenizer; prepare the text again with this one")
    if tokenizer.vocabulary > config.vocabulary:
        raise InputError(
            f"the tokenizer has {tokenizer.vocabulary} pieces and the encoder's table {config.vocabulary} rows; "
            "use the tokenizer of the encoder's folder (leave the tokenizer section out)"
        )
    if rows.row_length > config.positions:
        raise InputError(
            f"prepare.row_length is {rows.row_length} and the encoder takes at most {config.positions} tokens; "
            f"set prepare.row_length to {config.positions} or less"
        )


def optimizer_of(model: torch.nn.Module, choice: Pretrain) -> Optimizer:
    """Return the optimizer of a model's trainable parameters. Betas and epsilon are 24hBERT's."""
    parameters = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    settings = Settings(
        learning_rate=choice.learning_rate,
        weight_decay=choice.weight_decay,
        hidden=frozenset(name for name, parameter in parameters if ".blocks." in name and parameter.dim() == 2),
        hidden_learning_rate=choice.muon_learning_rate,
    )
    return Optimizer(parameters, name=choice.optimizer, settings=settings)


def micro_batch_rows(choice: Pretrain, row_length: int) -> int:
    """Return how many rows go through the encoder at once."""
    return min(choice.batch, choice.micro_batch or max(1, MICRO_BATCH_TOKENS // row_length))


def schedule_of(choice: Optimization) -> Schedule:
    """Return a recipe's schedule as the loop's."""
    return Schedule(choice.schedule, cycles=choice.cycles, power=choice.power, decay=choice.decay)


def as_budget(amount: Amount) -> Budget:
    """Return a recipe's amount of work as the loop's."""
    return Budget(amount.unit, amount.amount)
