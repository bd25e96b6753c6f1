"""Protocols by name, held against their published tables."""

from __future__ import annotations

import pytest

from bertwright.errors import InputError
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


@pytest.mark.parametrize(
    ("task", "rate", "batch", "epochs", "seeds"),
    [("mnli", 5e-5, 48, 3, 1), ("qnli", 1e-5, 16, 10, 1), ("cola", 5e-5, 32, 10, 4), ("mrpc", 8e-5, 32, 10, 5)],
)
def test_mosaicbert_has_one_setting_a_task(task: str, rate: float, batch: int, epochs: int, seeds: int) -> None:
    """Some lines of its table."""
    plan = protocol("mosaicbert").plan(task)
    (setting,) = plan.settings()
    assert (rate, batch, epochs) == tuple(setting[key] for key in ("learning_rate", "batch", "epochs"))
    assert seeds == len(plan.seeds or ())
    assert 256 == setting["max_length"]


def test_one_setting_is_one_setting() -> None:
    """Without a grid there is one way, and nothing to select."""
    assert [{"batch": 16}] == Plan(fixed={"batch": 16}).settings()
    assert 1 == len(protocol("cramming").plan("anything").settings())


def test_settings_are_fields_of_a_fine_tuning() -> None:
    """A key that fine-tuning does not have would be passed over."""
    from bertwright.recipe.sections import Finetune

    for one in PROTOCOLS.values():
        for plan in (one.other, *one.tasks.values()):
            for setting in plan.settings():
                Finetune.model_validate(setting)


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
