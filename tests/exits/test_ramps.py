"""Ramps: what they see and start from, their names in packs, their losses and how they learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_encoders import config, rows, shaken

from bertwright.encoder.config import FAMILIES
from bertwright.encoder.models import build_classifier
from bertwright.errors import DataError, InputError, RunError
from bertwright.exits.losses import ROUTINES, Numbered, exit_sums, exits_loss, score_sum
from bertwright.exits.policies import parse
from bertwright.exits.ramps import RampedClassifier, build_ramps, from_tensors, seeing
from bertwright.exits.two_stage import learn_ramps, pooled_states
from bertwright.recipe.exits_settings import SETTINGS
from bertwright.tasks.batches import Encoded, TrainBatches
from bertwright.training.order import Place


def encoded(count: int, family: str = "bert") -> Encoded:
    """Return rows of 2 to 20 tokens whose label is told by their second token."""
    shape, generator = config(family), np.random.default_rng(4)
    labels = generator.integers(0, 3, count)
    ids = tuple(generator.integers(9, shape.vocabulary, length) for length in generator.integers(2, 21, count))
    for row, label in zip(ids, labels, strict=True):
        row[:2] = [3, 5 + label]
    return Encoded(ids, tuple(np.zeros(len(row), dtype=np.int64) for row in ids), labels, shape.pad_id, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ramp_with_the_head_s_numbers_is_the_head(family: str) -> None:
    """On the last layer's states it answers what the tuned classifier answers: same activation, norm and pooling."""
    model = shaken(build_classifier(config(family), 3, seed=0))
    ramps, batch = build_ramps(model, [2]), rows(model.encoder.config)
    with torch.no_grad():
        ramps.output_weight[0] = model.head.output.weight
        ramps.output_bias[:] = model.head.output.bias
        *_, last = model.encoder.layers(
            model.encoder.embed(batch["ids"], batch["segments"]),
            model.encoder.context(24, batch["mask"], torch.float32, torch.device("cpu")),
        )
        pooled = seeing(model.encoder, "head")(last, batch["mask"])
        expected = model(**batch)
        torch.testing.assert_close(expected, ramps.parts()[0](pooled).logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(expected, ramps.eval()(pooled[None]).logits[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["pooler", "linear"])
@pytest.mark.parametrize("family", ["roberta", "modern"])
def test_all_ramps_at_once_are_each_alone(family: str, form: str) -> None:
    """The products over all layers are those of single ramps, scores among them."""
    model = build_classifier(config(family), 3, seed=0)
    ramps = shaken(build_ramps(model, [1, 3], form=form, scored=True))
    pooled = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    together = ramps(pooled)
    for place, ramp in enumerate(ramps.parts()):
        alone = ramp(pooled[place])
        torch.testing.assert_close(alone.logits, together.logits[place])
        torch.testing.assert_close(alone.score, together.score[place])


def test_ramps_say_what_they_start_from() -> None:
    """Dense layers are the tuned ones or drawn; linear layers are drawn, each ramp's whatever others there are."""
    model = shaken(build_classifier(config("bert"), 3, seed=0))
    tuned, fresh, linear = build_ramps(model), build_ramps(model, start="fresh"), build_ramps(model, form="linear")
    assert ["tuned", "fresh", "fresh"] == [tuned.start, fresh.start, linear.start]
    assert tuned.dense_weight is not None and fresh.dense_weight is not None
    assert all(torch.equal(model.head.dense.weight, one) for one in tuned.dense_weight)
    assert not torch.equal(fresh.dense_weight[0], fresh.dense_weight[1])
    assert torch.equal(tuned.output_weight[2:], build_ramps(model, [3]).output_weight)
    assert not torch.equal(tuned.output_weight, build_ramps(model, seed=1).output_weight)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layers": [4]}, "ramps after the layers 4 of 4; expected numbers from 1 to 3: the last layer has the tuned"),
        ({"layers": [0, 1]}, "expected numbers from 1 to 3"),
        ({"layers": []}, "ramps after no layer of 4"),
        ({"form": "deep"}, "the forms are pooler, linear"),
        ({"start": "warm"}, "choose one of tuned, fresh"),
        ({"pooling": "max"}, "ramps cannot see 'max' of a row; choose one of head, mean"),
    ],
)
def test_ramps_that_cannot_be_are_refused(arguments: dict[str, Any], said: str) -> None:
    """The last layer has the tuned classifier, always; forms and starts are listed."""
    with pytest.raises(InputError) as caught:
        build_ramps(build_classifier(config("bert"), 3, seed=0), **arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(("family", "form"), [("bert", "pooler"), ("modern", "pooler"), ("bert", "linear")])
def test_tensors_of_a_pack_give_the_ramps_back(family: str, form: str) -> None:
    """Named by layer under ``ramps/``; other tensors of a pack are not looked at; damage is named."""
    model = build_classifier(config(family), 3, seed=0)
    ramps = shaken(build_ramps(model, [1, 3], form=form, scored=True))
    tensors = ramps.tensors()
    assert {"ramps/1/output.weight", "ramps/3/output.bias", "ramps/score.weight"} <= set(tensors)
    again = from_tensors(config(family), {**tensors, "head.output.bias": torch.zeros(3)})
    assert (ramps.layers, ramps.form, "head") == (again.layers, again.form, again.pooling)
    assert "mean" == from_tensors(config(family), build_ramps(model, pooling="mean").tensors()).pooling
    for one, other in zip(ramps.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(DataError, match="ramps/3/output.weight has the shape nothing, expected \\(3, 32\\)"):
        from_tensors(config(family), {k: v for k, v in tensors.items() if k != "ramps/3/output.weight"})
    with pytest.raises(DataError, match="there are no ramps in it"):
        from_tensors(config(family), {})


def test_pre_norm_families_are_normalised_before_a_ramp() -> None:
    """What a ramp sees of an inner layer has the final norm's spread; post-norm states are taken as they are."""
    for family in ("bert-preln", "modern"):
        model = build_classifier(config(family), 3, seed=0)
        states = 40 * torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
        assert 1 == pytest.approx(
            float(seeing(model.encoder, "head")(states, None).detach().std(correction=0)), abs=0.01
        )
    states = torch.ones(2, 5, 32)
    assert torch.equal(states[:, 0], seeing(build_classifier(config("bert"), 3, seed=0).encoder, "head")(states, None))


def test_losses_of_exits_are_those_of_each_kind() -> None:
    """A second opinion, exit by exit: PyTorch's losses, weights of labels among them."""
    generator = torch.Generator().manual_seed(0)
    logits, weights = torch.randn(4, 7, 3, generator=generator), torch.tensor([0.5, 1.0, 3.0])
    gold, several = torch.randint(0, 3, (7,), generator=generator), torch.randint(0, 2, (7, 3), generator=generator)
    expected = [F.cross_entropy(one, gold, weight=weights, reduction="sum") for one in logits]
    torch.testing.assert_close(torch.stack(expected), exit_sums(logits, gold, "classification", weights))
    each = [
        F.binary_cross_entropy_with_logits(one, several.float(), pos_weight=weights, reduction="none").mean(-1).sum()
        for one in logits
    ]
    torch.testing.assert_close(torch.stack(each), exit_sums(logits, several, "multi-label", weights))
    squares = [F.mse_loss(one[:, 0], gold.float(), reduction="sum") for one in logits]
    torch.testing.assert_close(torch.stack(squares), exit_sums(logits[..., :1], gold, "regression"))


def test_a_learned_score_learns_what_was_right() -> None:
    """By hand: right 1, wrong 0, before the sigmoid 0 is a half; of numbers it is 1 - tanh of the error."""
    logits = torch.tensor([[[2.0, 0.0], [2.0, 0.0]]])
    assert 0.5 == float(score_sum(torch.zeros(1, 2), logits, torch.tensor([0, 1]), "classification"))
    assert 0.25 == float(score_sum(torch.zeros(1, 1), logits[:, :1] * 0, torch.tensor([[1, 0]]), "multi-label"))
    error = float(score_sum(torch.full((1, 1), 50.0), torch.tensor([[[2.0]]]), torch.tensor([1.5]), "regression"))
    assert np.tanh(0.5) ** 2 == pytest.approx(error)


def test_routines_weigh_exits_as_published() -> None:
    """Two-stage leaves the tuned classifier out, PABEE weighs by layer, BERxiT alternates by step of the training."""
    layers = (1, 3, 4)
    assert [1, 1, 0] == ROUTINES["two-stage"](layers, {})
    assert [1, 1, 1] == ROUTINES["joint"](layers, {})
    assert [1 / 8, 3 / 8, 4 / 8] == ROUTINES["weighted"](layers, {})
    assert [[0, 0, 1], [1, 1, 1]] == [ROUTINES["alternate"](layers, {"step": step}) for step in (6, 7)]
    with pytest.raises(RunError, match="give the loop `Numbered\\(batches\\)`"):
        ROUTINES["alternate"](layers, {})
    with pytest.raises(InputError, match="choose one of two-stage, joint, alternate, weighted"):
        exits_loss("three-stage", "classification")


def test_a_numbered_batch_knows_the_step_of_the_whole_training() -> None:
    """Not of the epoch, at which published code began anew: with three steps an epoch, the fourth is step 3."""
    batches = Numbered(TrainBatches(encoded(12), batch=4, micro_batch=4, seed=0))
    assert 3 == batches.steps_per_epoch
    assert [3] == [micro["step"] for micro in batches.step(Place(3, 12), 0, 1)]


@pytest.mark.parametrize("kind", ["classification", "multi-label", "regression"])
@pytest.mark.parametrize("routine", list(ROUTINES))
def test_a_loss_over_all_exits_reaches_what_it_says(routine: str, kind: str) -> None:
    """Its total is the weighted sum of the exits' own; the head gets no gradient in the second stage."""
    classifier = shaken(build_classifier(config("bert"), 1 if kind == "regression" else 3, seed=0))
    model, batch = RampedClassifier(classifier, build_ramps(classifier, [1, 3])), rows(config("bert"))
    gold = torch.tensor([0, 1, 2, 1])
    labels = {"classification": gold, "multi-label": F.one_hot(gold, 3), "regression": gold.float()}[kind]
    data: Mapping[str, Any] = {**batch, "labels": labels, "count": 4, "step": 1}
    model.eval()
    found = exits_loss(routine, kind)(model, data)
    found.total.backward()
    sums = exit_sums(model(**batch).logits, labels, kind)
    expected = sum(w * one for w, one in zip(ROUTINES[routine]((1, 3, 4), data), sums, strict=True))
    torch.testing.assert_close(torch.as_tensor(expected), found.total)
    gradient = model.head.output.weight.grad
    assert (routine == "two-stage") == (gradient is None or not bool(gradient.any()))


@pytest.mark.parametrize("pooling", ["head", "mean"])
@pytest.mark.parametrize("family", ["bert", "modern"])
def test_kept_states_are_what_ramps_see_in_inference(family: str, pooling: str, tmp_path: Path) -> None:
    """Each row's states are those of the row alone, in the rows' order, without dropout; in memory or in a file."""
    model, data = shaken(build_classifier(config(family), 3, seed=0)).train(), encoded(9, family)
    found = pooled_states(model, data, [1, 3], pooling)
    assert model.training
    model.eval()
    for row in range(9):
        ids = torch.from_numpy(data.ids[row])[None]
        with torch.no_grad():
            context = model.encoder.context(ids.shape[1], None, torch.float32, ids.device)
            layers = list(model.encoder.layers(model.encoder.embed(ids), context))
            states = [model.encoder.final_norm(layers[n])[0] for n in (0, 2)]
            expected = torch.stack([one[0] if pooling == "head" else one.mean(dim=0) for one in states])
        torch.testing.assert_close(expected, found[row], atol=1e-5, rtol=0)
    assert torch.equal(found, pooled_states(model, data, [1, 3], pooling, path=tmp_path / "states"))
    with pytest.raises(InputError, match="there are 0 rows"):
        pooled_states(model, Encoded((), (), np.zeros(0), 0, 0), [1])


def test_ramps_learn_together_and_leave_the_classifier_alone(tmp_path: Path) -> None:
    """In seconds they answer rows that are theirs to answer; not one number of backbone and head moves."""
    model, data = shaken(build_classifier(config("bert"), 3, seed=0)), encoded(240)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ramps = build_ramps(model, scored=True)
    states = pooled_states(model, data, ramps.layers)
    settings = replace(SETTINGS["bertwright"], learning_rate=5e-3)
    outcome = learn_ramps(
        *(ramps, states, data.labels, "classification", settings),
        **{"seed": 0, "folder": tmp_path, "metrics": tmp_path / "metrics.jsonl"},
    )
    assert 10 * 8 == outcome.steps
    with torch.no_grad():
        answers = ramps.eval()(states.transpose(0, 1))
    right = (answers.logits.argmax(-1) == torch.from_numpy(data.labels)).float()
    assert float(right.mean()) > 0.5
    assert answers.score is not None
    score = answers.score.sigmoid()
    assert abs(float((score - right).mean())) < 0.1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(InputError, match="states of 240 rows at 3 ramps, expected 5 rows at 3 ramps"):
        learn_ramps(
            *(ramps, states, data.labels[:5], "classification", settings),
            **{"seed": 0, "folder": tmp_path, "metrics": tmp_path / "metrics.jsonl"},
        )


def test_published_settings_are_whole() -> None:
    """Each names a routine, a form, a start and a policy that there is, and where it is from."""
    for settings in SETTINGS.values():
        assert settings.routine in ROUTINES
        assert parse(settings.policy).check(11, 3, scored=settings.scored) == ()
        build_ramps(build_classifier(config("bert"), 3, seed=0), form=settings.form, start=settings.start)
        assert len(settings.source) > 40
    assert (2e-5, 8, 3) == (SETTINGS["deebert"].learning_rate, SETTINGS["deebert"].batch, SETTINGS["deebert"].epochs)
