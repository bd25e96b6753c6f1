"""Exported toy encoders beside what torch answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from toy_packs import loaded, toy_pack

from bertwright.deploy.export import Form, write_export
from bertwright.deploy.runtime import Runtime
from bertwright.deploy.sources import deployable
from bertwright.encoder.families import Loaded
from bertwright.encoder.packed import Resident, fold
from bertwright.exits.compaction import answer_everywhere
from bertwright.exits.ramps import build_ramps
from bertwright.pack import Pack
from bertwright.tasks.batches import collate, encode
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

WORDS = [a + b + c for a in ("ba", "ko", "mi", "tu") for b in ("la", "re", "so") for c in ("n", "k", "sh", "")]
TEXTS = [" ".join(WORDS[(7 * row + 5 * place) % len(WORDS)] for place in range(1 + row)) for row in range(9)]


@dataclass(frozen=True)
class Toy:
    """An encoder, its packs, and the folder that they were exported to."""

    folder: Path
    loaded: Loaded
    tokenizer: Tokenizer
    packs: dict[str, Pack]

    def runtime(self) -> Runtime:
        """Return the folder, opened with one thread."""
        return Runtime(self.folder, threads=1)

    def torch_logits(self, names: list[str], texts: list[str]) -> list[np.ndarray]:
        """Return what torch answers to single texts, each by its pack, in one mixed batch."""
        here = Resident(self.loaded, tokenizer=self.tokenizer.identity())
        for name, pack in self.packs.items():
            here.add(name, pack)
        separators = self.loaded.config.separators
        rows = encode(
            [(text,) for text in texts], np.zeros(len(texts)), self.tokenizer, max_length=24, separators=separators
        )
        batch = collate(rows, np.arange(len(texts)))
        return [row.numpy() for row in here.mixed(names, batch["ids"], batch["mask"], batch["segments"])]


MakeToy = Callable[..., Toy]


def toy_tokenizer() -> Tokenizer:
    """Return a tokenizer of toy words."""
    texts = (" ".join(WORDS[start::step]) for step in range(1, 9) for start in range(9))
    return train_tokenizer(texts, kind="wordpiece", vocabulary=61, lowercase=True)


def toy(folder: Path, family: str = "bert", *, pooling: str = "cls", form: Form | None = None, **task: Any) -> Toy:
    """Export a toy encoder of three layers with packs a, b, c of 2, 3 and 4 labels."""
    before = loaded(family, pooling=pooling, **({"pad_id": 0} if family == "roberta" else {}))
    tokenizer = toy_tokenizer()
    common = {"tokenizer": tokenizer.identity(), "dtype": "fp32", **task}
    packs = {name: toy_pack(before, classes=2 + n, seed=n, name=name, **common) for n, name in enumerate("abc")}
    folder.mkdir(parents=True)
    write_export(folder, deployable(before, tokenizer.identity()), tokenizer, form or Form("fp32"), packs)
    return Toy(folder, before, tokenizer, packs)


def ramped(
    toy: Toy, name: str, policy: str, *, form: str = "pooler", pooling: str = "head", scored: bool = False
) -> Pack:
    """Return a pack of a toy with ramps after layers 1 and 2, all numbers drawn, that tell the toy's texts apart."""
    pack = toy.packs[name]
    model = fold(toy.loaded, pack, tokenizer=toy.tokenizer.identity())
    ramps, generator = build_ramps(model, form=form, pooling=pooling, scored=scored), torch.Generator().manual_seed(3)
    texts = [(text,) for text in TEXTS]
    rows = encode(texts, np.zeros(len(TEXTS)), toy.tokenizer, max_length=24, separators=toy.loaded.config.separators)
    with torch.no_grad():
        for parameter in ramps.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        # What is alike in all texts is taken away, and what is not is made large.
        before = torch.from_numpy(answer_everywhere(model, ramps, rows, "classification").logits[:-1])
        spread = before.std(dim=1).mean(dim=-1)[:, None]
        ramps.output_weight.div_(spread[..., None])
        offset = (before.mean(dim=1) - ramps.output_bias.view(2, -1)) / spread
        ramps.output_bias.copy_(-offset.reshape(-1))
        if ramps.score_weight is not None and ramps.score_bias is not None:
            scores = answer_everywhere(model, ramps, rows, "classification").scores
            assert scores is not None
            odds = np.log(scores[0] / (1 - scores[0]))
            ramps.score_weight.mul_(20.0)
            ramps.score_bias.copy_(-20.0 * torch.tensor([float(np.median(odds))]) + 20.0 * ramps.score_bias)
    arrays = {key.removeprefix("ramps/"): value.numpy() for key, value in ramps.tensors().items()}
    return replace(pack, ramps=arrays, policy={"policy": policy})
