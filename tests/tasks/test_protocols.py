"""Protocols by name, held against their published tables."""

from __future__ import annotations

import pytest

from bertwright.errors import InputError
from bertwright.tasks.catalogue import CATALOGUE
from bertwright.tasks.protocols import PROTOCOLS, Plan, protocol

NINE = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte", "wnli")


def test_extremebert_tries_156_settings() -> None:
    """Four for each of the large tasks, 24 for each of the small ones, all of them different."""
    found = {name: protocol("extremebert").plan(name).settings() for name in NINE}
    assert [4, 4, 4, 24, 24, 24, 24, 24, 24] == [len(found[name]) for name in NINE]
    assert 156 == sum(len(settings) for settings in found.values())
    for settings in found.values():
        assert len(settings) == len({tuple(sorted(one.items())) for one in settings})
    assert {0.1} == {one["weight_decay"] for settings in found.values() for one in settings}
    assert {16, 32} == {one["batch"] for one in found["rte"]} and {32} == {one["batch"] for one in found["mnli"]}


def test_intermediate_training_is_the_published_one() -> None:
    """ExtremeBERT starts three tasks from one fixed run of MNLI, which is in its grid; MosaicBERT from its only one."""
    for name in NINE:
        plan = protocol("extremebert").plan(name)
        assert (
            ("mnli" if name in ("rte", "mrpc", "stsb") else None)
            == plan.start
            == protocol("mosaicbert").plan(name).start
        )
        if plan.start_setting is not None:
            mnli = protocol("extremebert").plan("mnli").settings()
            assert 1 == sum(all(one[key] == value for key, value in plan.start_setting.items()) for one in mnli)


def test_extremebert_chooses_as_its_scripts_do() -> None:
    """On dev, by the first column of each task's table: STS-B by Pearson, though it is scored by Spearman."""
    by = {"mrpc": "f1", "qqp": "f1", "cola": "matthews", "stsb": "pearson"}
    for name in NINE:
        plan, task = protocol("extremebert").plan(name), CATALOGUE[name]
        assert by.get(name, "accuracy") == (plan.metric or task.metrics[0])
        assert ("dev", (42,)) == (plan.select_on, plan.seeds)
        fixed = {"weight_decay": 0.1, "warmup": 0.06, "schedule": "linear", "clip": 1.0, "max_length": 128}
        assert fixed == plan.fixed


SEEDS = (19, 8364, 717, 10536, 90166)
MOSAICBERT = {
    "mnli": (5e-5, 5e-6, 48, 3, None, 1),
    "qqp": (3e-5, 3e-6, 16, 5, None, 1),
    "qnli": (1e-5, 1e-6, 16, 10, None, 1),
    "sst2": (3e-5, 3e-6, 16, 3, None, 3),
    "cola": (5e-5, 5e-6, 32, 10, None, 4),
    "rte": (1e-5, 1e-5, 16, 3, "mnli", 5),
    "mrpc": (8e-5, 8e-6, 32, 10, "mnli", 5),
    "stsb": (3e-5, 3e-6, 32, 10, "mnli", 5),
}


@pytest.mark.parametrize("task", MOSAICBERT)
def test_mosaicbert_has_one_setting_a_task(task: str) -> None:
    """Its table, line by line, and what all lines have in common."""
    rate, decay, batch, epochs, start, seeds = MOSAICBERT[task]
    plan = protocol("mosaicbert").plan(task)
    (setting,) = plan.settings()
    own = {"learning_rate": rate, "weight_decay": decay, "batch": batch, "epochs": epochs}
    common = {"betas": [0.9, 0.98], "warmup": 0.06, "schedule": "linear", "max_length": 256, "clip": 1.0}
    assert {**own, **common} == setting
    assert (SEEDS[:seeds], start) == (plan.seeds, plan.start)


def test_one_setting_is_one_setting() -> None:
    """Without a grid there is one way, and nothing to select."""
    assert [{"batch": 16}] == Plan(fixed={"batch": 16}).settings()
    assert 1 == len(protocol("cramming").plan("anything").settings())


def test_settings_are_fields_of_a_fine_tuning() -> None:
    """A key that fine-tuning does not have would be passed over; the optimizer's betas no recipe sets."""
    from bertwright.recipe.sections import Finetune

    for one in PROTOCOLS.values():
        for plan in (one.other, *one.tasks.values()):
            for setting in plan.settings():
                Finetune.model_validate({name: value for name, value in setting.items() if name != "betas"})


def test_an_unknown_protocol_is_told() -> None:
    """With those there are."""
    with pytest.raises(
        InputError, match="'sain' is not known; the protocols are sane, bitfit, extremebert, mosaicbert"
    ):
        protocol("sain")


def test_bitfits_protocol_has_the_papers_settings() -> None:
    """Batches of 8, 16 epochs, a constant rate, no warm-up or decay; three rates for biases, one for all weights."""
    found = PROTOCOLS["bitfit"]
    biases, full = found.plan("rte", "bitfit"), found.plan("rte", "full")
    assert (3, 1) == (len(biases.settings()), len(full.settings()))
    assert all(1e-4 <= one["learning_rate"] <= 1e-3 for one in biases.settings())
    assert (8, 16.0, 0.0, 0.0, "constant", 3e-5) == tuple(
        full.settings()[0][name] for name in ("batch", "epochs", "weight_decay", "warmup", "schedule", "learning_rate")
    )
    assert ("dev", (0,)) == (biases.select_on, biases.seeds)
