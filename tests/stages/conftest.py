"""Fine-tuned toy models as a run leaves them, made without a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_rows import sentences

from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.model_folder import save_model
from bertwright.encoder.models import build_classifier
from bertwright.stages.fine_tuned import write_task
from bertwright.tasks.task import Task
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

METRICS = {"classification": "accuracy", "multi-label": "micro_f1", "regression": "pearson"}

MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A tokenizer of the toy words."""
    return train_tokenizer(sentences(300), kind="wordpiece", vocabulary=80, lowercase=True)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> MakeModel:
    """Return a function that saves a drawn classifier with its task, and gives its folder."""

    def make(
        family: str = "bert",
        *,
        kind: str = "classification",
        text: tuple[str, ...] = ("text",),
        labels: tuple[str, ...] = ("high", "low", "wide"),
        seed: int = 0,
        max_length: int = 16,
    ) -> Path:
        folder = tmp_path_factory.mktemp("model")
        config = EncoderConfig(
            family=family,
            vocabulary=tokenizer.vocabulary,
            width=16,
            layers=2,
            heads=2,
            inner=32,
            positions=24,
            segments={"bert": 2, "bert-preln": 2, "roberta": 1}.get(family, 0),
            pad_id=tokenizer.pad_id,
        )
        labels = ("score",) if kind == "regression" else labels
        model = build_classifier(config, len(labels), seed=seed).eval()
        # Drawn weights say nearly the same of every row; larger ones tell rows apart.
        for parameter in model.parameters():
            parameter.data.mul_(12 if parameter.dim() > 1 else 1)
        save_model(folder, model, tokenizer, labels=labels, problem=kind)
        task = Task("toy", kind, text, "label", Path("train.csv"), {}, (METRICS[kind],), none_label="-")
        write_task(folder, task, max_length)
        return folder

    return make


@pytest.fixture(scope="session")
def model(make_model: MakeModel) -> Path:
    """A classifier of single texts."""
    return make_model()
