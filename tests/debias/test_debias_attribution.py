"""Attributions against captum, their safety in a training step, and similarity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import captum.attr
import pytest
import torch
from toy_debias import batch, classifier, cut

from bertwright.debias.attribution import attribute, cosine, similarity
from bertwright.debias.bias_head import BiasHead, WithBiasHead
from bertwright.debias.losses import METHODS
from bertwright.debias.objective import objective
from bertwright.encoder.models import Classifier
from bertwright.recipe.debias_settings import Attributing, Settings
from bertwright.training import trainable
from bertwright.training.optimizers import Optimizer
from bertwright.training.optimizers import Settings as OptimizerSettings


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of every gradient there is."""
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("family", ["bert", "bert-preln", "modern", "roberta", "distilbert"])
def test_saliency_is_that_of_captum(family: str) -> None:
    """The norm of captum's InputXGradient, at what enters the first layer, is ours, for every family."""
    model, rows = classifier(family).eval(), batch()
    inputs = model.encoder.embed(rows["ids"], rows["segments"]).detach()
    oracle = captum.attr.InputXGradient(lambda x: model.head(model.encoder.run(x, rows["mask"]), rows["mask"]))
    expected = oracle.attribute(inputs.requires_grad_(), target=rows["labels"]).norm(dim=-1)
    torch.testing.assert_close(attribute(model, rows).saliency, expected.detach() * rows["mask"])


@pytest.mark.parametrize("family", ["bert", "bert-preln"])
@pytest.mark.parametrize("position", ["embeddings", "words"])
def test_saliency_is_that_of_captum_at_a_layer(family: str, position: str) -> None:
    """Captum's gradient x activation of the embeddings, or of the table of words alone, is ours."""
    model, rows = classifier(family).eval(), batch()
    layer = model.encoder.embeddings if position == "embeddings" else model.encoder.embeddings.words
    oracle = captum.attr.LayerGradientXActivation(lambda ids: model(ids, rows["mask"], rows["segments"]), layer)
    expected = oracle.attribute(rows["ids"], target=rows["labels"]).norm(dim=-1) * rows["mask"]
    found = attribute(model, rows, Attributing(position=position))
    torch.testing.assert_close(found.saliency, expected.detach())
    assert not found.logits.requires_grad


def test_the_predicted_logit_can_be_the_target() -> None:
    """With predictions as labels both targets give the same, and with others they do not."""
    model, rows = classifier().eval(), batch()
    with torch.no_grad():
        given = model(rows["ids"], rows["mask"], rows["segments"]).argmax(-1)
    predicted = attribute(model, rows, Attributing(target="predicted")).saliency
    torch.testing.assert_close(attribute(model, {**rows, "labels": given}).saliency, predicted)
    assert not torch.allclose(attribute(model, {**rows, "labels": (given + 1) % 3}).saliency, predicted)


def test_an_attribution_touches_no_gradient_and_no_mode() -> None:
    """Gradients summed before it stay what they are, none is added, and training goes on with dropout."""
    model, rows = classifier(dropout=0.5), batch()
    model(rows["ids"], rows["mask"], rows["segments"]).sum().backward()
    before = gradients(model)
    for settings in (Attributing(), Attributing(dropout="off", passes="two")):
        attribute(model, rows, settings, learning=True)
        assert model.training
        assert all(part.training for part in model.modules())
    after = gradients(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_dropout_is_as_in_training_or_off() -> None:
    """Off, it is that of the evaluated model; on, it is drawn; the logits to learn from are drawn in both."""
    model, rows = classifier(dropout=0.5), batch()
    still = attribute(model.eval(), rows).saliency
    model.train()
    off = attribute(model, rows, Attributing(dropout="off", passes="two"), learning=True)
    torch.testing.assert_close(still, off.saliency)
    assert off.logits.requires_grad
    assert not torch.allclose(still, attribute(model, rows, learning=True).saliency)
    assert not torch.allclose(off.logits, attribute(model, rows, replace(Attributing(), passes="two")).logits)


def test_one_pass_and_two_agree_without_dropout() -> None:
    """A shared pass gives the loss and the gradients that two passes give."""
    rows, found = batch(), []
    for passes in ("one", "two"):
        model = classifier()
        loss = objective(Settings(alpha=0.3, beta=0.5), Attributing(passes=passes))(model, rows)
        loss.total.backward()
        found.append((loss, gradients(model)))
    torch.testing.assert_close(found[0][0].total, found[1][0].total)
    torch.testing.assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("trained", ["head", "biases"])
def test_frozen_parameters_get_no_gradient(trained: str) -> None:
    """Where a head or biases alone learn, saliency is the same, and nothing frozen has a gradient behind a step."""
    rows, model = batch(), classifier()
    whole = attribute(model, rows, learning=True).saliency
    trainable.freeze_others(model, trainable.head(model))
    if trained == "biases":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias") or name.startswith("head."))
    torch.testing.assert_close(attribute(model, rows, learning=True).saliency, whole)
    objective(Settings())(model, rows).total.backward()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(gradients(model))


@pytest.mark.parametrize("passes", ["one", "two"])
def test_activation_checkpointing_changes_nothing(passes: str) -> None:
    """Layers that are computed again on the way back, dropout included, give the same saliency and gradients."""
    rows, found = batch(), []
    for again in (False, True):
        model = classifier(dropout=0.2)
        model.encoder.activation_checkpointing = again
        torch.manual_seed(3)
        loss = objective(Settings(), Attributing(passes=passes))(model, rows)
        loss.total.backward()
        found.append((loss.total.detach(), gradients(model)))
    torch.testing.assert_close(found[0], found[1])


def model_for(method: str) -> Any:
    """Return a toy model, with a bias head where a loss has one."""
    torch.manual_seed(0)
    model = classifier()
    return WithBiasHead(model, BiasHead(16, 3, dropout=0.0)) if "bias" in METHODS[method].needs else model


def with_bias_input(rows: dict[str, Any]) -> dict[str, Any]:
    """Let a bias head read the first half of each row."""
    return rows | {f"bias_{name}": rows[name][:, :5] for name in ("ids", "mask", "segments")}


@pytest.mark.parametrize("method", METHODS)
def test_micro_batches_sum_up_to_their_step(method: str) -> None:
    """One batch of six rows, and three of two, one of a single class, give one gradient and loss."""
    rows, found = with_bias_input(batch(6, labels=torch.tensor([0, 0, 1, 2, 2, 1]))), []
    for size in (6, 2):
        model = model_for(method)
        loss, total = objective(Settings(method)), 0.0
        optimizer = Optimizer(list(model.named_parameters()), name="adamw", settings=OptimizerSettings(1e-3, 0.0))
        for start in range(0, 6, size):
            one = loss(model, cut(rows, start, start + size))
            one.total.backward()
            optimizer.accumulate()
            total += float(one.total.detach())
        found.append((total, gradients(model)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_formats_give_nearly_the_same_similarity(dtype: torch.dtype) -> None:
    """In bf16 and fp16 rho is within two hundredths of that in fp32, and the step is finite."""
    rows, model = batch(), classifier()
    expected = similarity(attribute(model, rows).saliency, rows).rho
    model.to(dtype)
    found = attribute(model, rows, learning=True)
    assert torch.float32 == found.saliency.dtype
    torch.testing.assert_close(similarity(found.saliency, rows).rho, expected, rtol=0, atol=0.02)
    objective(Settings())(model, rows).total.backward()
    assert all(torch.isfinite(one).all() for one in gradients(model).values())


def test_rows_without_saliency_have_similarity_0_and_are_counted() -> None:
    """A model or an expert without any saliency gives rho 0 and no NaN, in the loss and its gradient."""
    main = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0], [1e-30, 0.0]])
    expert = torch.tensor([[1.0, 1.0], [0.0, 0.0], [2.0, 4.0], [1e-30, 0.0]])
    found = cosine(main.requires_grad_(), expert)
    assert not found.rho.requires_grad
    torch.testing.assert_close(found.rho, torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert [True, True, False, False] == found.empty.tolist()
    rows, model = batch(), classifier()
    rows["unit_expert"][1] = 0.0
    loss = objective(Settings(alpha=0.3))(model, rows)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert all(torch.isfinite(one).all() for one in gradients(model).values())


def test_similarity_is_a_constant() -> None:
    """No gradient flows through rho: the loss's is that of a rho which was computed before."""
    rows, model, again = batch(), classifier(), classifier()
    objective(Settings(exponent="detached"))(model, rows).total.backward()
    rho = similarity(attribute(again, rows).saliency, rows).rho
    logits = again(rows["ids"], rows["mask"], rows["segments"])
    METHODS["guided"].compute(
        {"logits": logits, "labels": rows["labels"], "expert": rows["expert"], "rho": rho},
        Settings(exponent="detached"),
        1.0,
    ).total.sum().backward()
    torch.testing.assert_close(gradients(model), gradients(again))


def test_similarity_adds_the_shares_of_a_units_tokens() -> None:
    """A word of two pieces has the sum of their shares, as one by hand."""
    saliency = torch.tensor([[9.0, 1.0, 2.0, 4.0]])
    rows = {
        "unit_tokens": torch.tensor([[[1, 2], [3, 0]]]),
        "unit_shares": torch.tensor([[[1.0, 0.5], [1.0, 0.0]]]),
        "unit_expert": torch.tensor([[3.0, 1.0]]),
    }
    expected = (2 * 3 + 4 * 1) / (20**0.5 * 10**0.5)
    assert expected == pytest.approx(float(similarity(saliency, rows).rho))


def test_labels_may_weigh_rows() -> None:
    """A task's class weights multiply a row's loss and leave its count."""
    rows, model = batch(3, labels=torch.tensor([0, 1, 1])), classifier()
    plain = [float(objective(Settings("poe"))(model, cut(rows, n, n + 1)).total.detach()) for n in range(3)]
    found = objective(Settings("poe"), label_weights=torch.tensor([2.0, 0.5, 1.0]))(model, rows)
    assert 2 * plain[0] + 0.5 * (plain[1] + plain[2]) == pytest.approx(float(found.total.detach()), rel=1e-5)
    assert 3 == found.count


def test_a_bias_head_never_moves_the_encoder() -> None:
    """Its own loss gives gradients to the bias head alone; what is kept is an ordinary classifier."""
    rows = with_bias_input(batch())
    model = model_for("poe-e2e")
    model.bias_logits(rows).sum().backward()
    assert all(name.startswith("bias_head.") for name in gradients(model))
    kept = Classifier(model.encoder, model.head)
    torch.testing.assert_close(
        kept(rows["ids"], rows["mask"], rows["segments"]), model(rows["ids"], rows["mask"], rows["segments"])
    )
