"""Debiasing losses against hand-computed values, limits, finite differences and each other."""

from __future__ import annotations

import math

import pytest
import torch

from bertwright.debias import losses
from bertwright.debias.figure import EXPERTS, curves
from bertwright.debias.losses import METHODS, guidance, guided, row_losses
from bertwright.errors import InputError, RunError
from bertwright.recipe.debias_published import PUBLISHED
from bertwright.recipe.debias_settings import MIXES, OPTIONS, Attributing, Settings

LOG = math.log
# Two rows of two classes: the main model gives the gold label 3/4 and 1/2, the expert 1/4 and 3/4.
MAIN = torch.tensor([[LOG(3.0), 0.0], [0.0, 0.0]])
EXPERT = torch.tensor([[0.0, LOG(3.0)], [LOG(3.0), 0.0]])
LABELS = torch.tensor([0, 0])
# So the product gives (3/4 * 1/4) / (3/16 + 3/16) = 1/2, and (1/2 * 3/4) / (3/8 + 1/8) = 3/4.
PRODUCT = torch.tensor([LOG(2.0), LOG(4 / 3)])
PLAIN = torch.tensor([LOG(4 / 3), LOG(2.0)])


def close(expected: torch.Tensor | float, found: torch.Tensor) -> None:
    """Compare within rounding of fp32."""
    torch.testing.assert_close(
        found, torch.as_tensor(expected, dtype=found.dtype).expand_as(found), rtol=1e-5, atol=1e-6
    )


def test_cross_entropy_and_products_by_hand() -> None:
    """The three plain losses give the values that a pencil gives."""
    close(PLAIN, losses.ce(MAIN, LABELS).total)
    close(PRODUCT, losses.poe(MAIN, EXPERT, LABELS).total)
    close(PRODUCT + 0.3 * PLAIN, losses.poe_ce(MAIN, EXPERT, LABELS, alpha=0.3).total)


def test_guided_by_hand() -> None:
    """Equation 4 with equation 5's weight: similarity 1/2 and 1/4 to the power of the product's probability."""
    rho = torch.tensor([0.5, 0.25])
    weight = torch.tensor([0.5**0.5, 0.25**0.75])
    found = guided(MAIN, EXPERT, LABELS, rho, alpha=0.3, beta=1.0)
    close(weight * PRODUCT + 0.3 * (1 - weight) * PLAIN, found.total)
    close(weight, found.parts["weight"])
    close(PRODUCT, found.parts["poe"])
    close(PLAIN, found.parts["ce"])


def test_the_worked_example_of_equation_5() -> None:
    """A similarity of 0.5 and a product that gives a quarter make a weight of 0.8409."""
    close(0.8409, guidance(torch.tensor([0.5]), torch.tensor([-LOG(0.25)]), beta=1.0).round(decimals=4))


@pytest.mark.parametrize("beta", [0.0, 0.1, 1.0, 5.0])
def test_three_forms_of_equation_5_are_one(beta: float) -> None:
    """rho ** exp(-beta L), rho ** (p ** beta) and exp(p ** beta ln rho) agree."""
    rho, product = torch.rand(200, generator=torch.Generator().manual_seed(0)), torch.linspace(0, 9, 200)
    found = guidance(rho, product, beta=beta)
    close(rho ** torch.exp(-beta * product), found)
    close(rho ** (torch.exp(-product) ** beta), found)
    close(torch.exp(torch.exp(-product) ** beta * rho.log()), found)


@pytest.mark.parametrize(
    ("mix", "formula"),
    [
        ("power", lambda w, c, poe, ce: w * poe + 0.3 * (1 - w) * ce),
        ("complement", lambda w, c, poe, ce: c * poe + 0.3 * (1 - c) * ce),
        ("power-sum", lambda w, c, poe, ce: (poe + 0.3 * ce) * w + (1 - w) * ce),
        ("complement-sum", lambda w, c, poe, ce: (poe + 0.3 * ce) * c + (1 - c) * ce),
    ],
)
def test_released_mixes_by_hand(mix: str, formula: object) -> None:
    """The four mixes of the released code are told apart by name."""
    rho, p = torch.tensor([0.5, 0.25]), torch.exp(-PRODUCT)
    expected = formula(rho**p, 1 - (1 - rho) * p, PRODUCT, PLAIN)  # type: ignore[operator]
    close(expected, guided(MAIN, EXPERT, LABELS, rho, alpha=0.3, beta=1.0, mix=mix).total)


@pytest.mark.parametrize("mix", ["power", "complement"])
def test_limits_of_similarity(mix: str) -> None:
    """At a similarity of 1 the loss is the product's, at 0 (and a product that is right) alpha times cross entropy."""
    close(PRODUCT, guided(MAIN, EXPERT, LABELS, torch.ones(2), alpha=0.3, beta=1.0, mix=mix).total)
    sure = torch.tensor([[12.0, 0.0]])
    found = guided(sure, sure, LABELS[:1], torch.zeros(1), alpha=0.3, beta=1.0, mix=mix)
    close(0.3 * losses.ce(sure, LABELS[:1]).total, found.total)


def test_limits_of_beta() -> None:
    """Beta 0 leaves similarity as it is; a large one makes all of it a product of experts."""
    rho = torch.tensor([0.5, 0.25])
    close(rho, guidance(rho, PRODUCT, beta=0.0))
    close(1.0, guidance(rho, PRODUCT, beta=100.0))


def test_an_uncertain_expert_changes_nothing() -> None:
    """With equal logits for all labels a product of experts is cross entropy."""
    close(PLAIN, losses.poe(MAIN, torch.full((2, 2), 7.0), LABELS).total)


def test_an_expert_that_is_certain_and_right_leaves_nothing_to_learn() -> None:
    """The product's loss and its gradient are 0, and so is a row's weight."""
    logits = MAIN.clone().requires_grad_()
    expert = torch.tensor([[40.0, 0.0], [40.0, 0.0]])
    loss = losses.poe(logits, expert, LABELS).total
    close(0.0, loss)
    close(0.0, torch.autograd.grad(loss.sum(), logits)[0])
    close(0.0, losses.reweight(MAIN, expert, LABELS).total)


@pytest.mark.parametrize("exponent", ["attached", "detached"])
def test_an_expert_that_is_certain_and_wrong_keeps_numbers_finite(exponent: str) -> None:
    """The weight goes to 1, the loss grows with the expert's certainty and the gradient stays that of a product."""
    logits = MAIN.clone().requires_grad_()
    expert = torch.tensor([[0.0, 6e4], [0.0, 6e4]])
    found = guided(logits, expert, LABELS, torch.tensor([0.0, 0.5]), alpha=1.0, beta=1.0, exponent=exponent)
    (gradient,) = torch.autograd.grad(found.total.sum(), logits)
    close(1.0, found.parts["weight"])
    close(torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]), gradient)


@pytest.mark.parametrize("exponent", ["attached", "detached"])
@pytest.mark.parametrize("mix", MIXES)
def test_gradients_are_those_of_finite_differences(mix: str, exponent: str) -> None:
    """Attached, the gradient is that of the whole loss; detached, that of the loss with its weight held still."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    expert, labels = torch.randn(5, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    rho = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)
    options = {"alpha": 0.3, "beta": 0.7, "mix": mix}
    (found,) = torch.autograd.grad(
        guided(logits, expert, labels, rho, exponent=exponent, **options).total.sum(), logits
    )
    held = guided(logits.detach(), expert, labels, rho, **options).parts["weight"]

    def value(at: torch.Tensor) -> torch.Tensor:
        if exponent == "attached":
            return guided(at, expert, labels, rho, **options).total.sum()
        product, plain = losses.poe(at, expert, labels).total, losses.ce(at, labels).total
        if mix.endswith("-sum"):
            return ((product + 0.3 * plain) * held + (1 - held) * plain).sum()
        return (held * product + 0.3 * (1 - held) * plain).sum()

    step = 1e-6
    for place in torch.cartesian_prod(torch.arange(5), torch.arange(3)).tolist():
        moved = torch.zeros_like(logits)
        moved[place[0], place[1]] = step
        expected = (value(logits.detach() + moved) - value(logits.detach() - moved)) / (2 * step)
        torch.testing.assert_close(found[place[0], place[1]], expected, rtol=1e-5, atol=1e-7)


def test_the_attached_exponent_has_the_formula_of_its_gradient() -> None:
    """d rho* / d L is -beta rho* ln(rho) p ** beta, so that a wrong product is weighed more."""
    product = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
    rho = torch.tensor([0.5, 0.9], dtype=torch.float64)
    weight = guidance(rho, product, beta=0.7)
    (found,) = torch.autograd.grad(weight.sum(), product)
    close(-0.7 * weight * rho.log() * torch.exp(-0.7 * product), found)


def test_bias_heads_by_hand() -> None:
    """Both end-to-end losses add the head's own cross entropy; the focal one weighs by what the head lacks, squared."""
    head = -torch.log(torch.tensor([1 / 4, 3 / 4]))
    close(PRODUCT + 0.5 * head, losses.poe_e2e(MAIN, EXPERT, LABELS, bias_weight=0.5).total)
    weight = torch.tensor([(3 / 4) ** 2, (1 / 4) ** 2])
    close(weight * PLAIN + head, losses.dfl_e2e(MAIN, EXPERT, LABELS, gamma=2.0).total)


@pytest.mark.parametrize("loss", [losses.poe_e2e, losses.dfl_e2e])
def test_a_detached_bias_head_learns_by_its_own_loss_alone(loss: object) -> None:
    """As published the main loss reaches the head as well; detached it does not."""
    gradients = {}
    for how in ("attached", "detached"):
        bias = EXPERT.clone().requires_grad_()
        (gradients[how],) = torch.autograd.grad(
            loss(MAIN, bias, LABELS, bias_gradient=how).total.sum(),
            bias,  # type: ignore[operator]
        )
    close(EXPERT.softmax(-1) - torch.tensor([[1.0, 0.0], [1.0, 0.0]]), gradients["detached"])
    assert not torch.allclose(gradients["attached"], gradients["detached"])


def test_reweighting_by_hand() -> None:
    """A row weighs what the expert lacks, over the mean of the set or of the batch; annealing is a power."""
    close(torch.tensor([3 / 4, 1 / 4]) / 0.8 * PLAIN, losses.reweight(MAIN, EXPERT, LABELS, mean_weight=0.8).total)
    close(torch.tensor([3 / 2, 1 / 2]) * PLAIN, losses.reweight(MAIN, EXPERT, LABELS, scale="batch").total)
    close(torch.tensor([0.75**0.8, 0.25**0.8]) * PLAIN, losses.reweight(MAIN, EXPERT, LABELS, theta=0.8).total)


def test_confidence_regularisation_by_hand() -> None:
    """The teacher's 3/4 to the power of 3/4 and of 1/4, made to sum to one, is what is learnt."""
    teacher = torch.tensor([[LOG(3.0), 0.0], [LOG(3.0), 0.0]])
    power = torch.tensor([3 / 4, 1 / 4])
    goal = 3.0**power / (3.0**power + 1)
    expected = -(goal * MAIN.log_softmax(-1)[:, 0] + (1 - goal) * MAIN.log_softmax(-1)[:, 1])
    close(expected, losses.confidence(MAIN, EXPERT, teacher, LABELS).total)


def test_annealing_an_expert_raises_its_probabilities() -> None:
    """Probabilities to the power theta, made to sum to one; theta falls linearly from 1."""
    raised = torch.tensor([[1.0, 3**0.8], [3**0.8, 1.0]])
    close(raised / raised.sum(-1, keepdim=True), losses.annealed(EXPERT, 0.8).softmax(-1))
    settings = Settings("poe", lowest_theta=0.8)
    assert [1.0, 0.9, 0.8, 0.8] == [pytest.approx(settings.theta(share)) for share in (0.0, 0.5, 1.0, 2.0)]


@pytest.mark.parametrize("method", METHODS)
def test_all_losses_are_fp32_a_row_and_sum_to_what_the_loop_takes(method: str) -> None:
    """From bf16 logits every loss gives fp32 rows; parts carry no gradient; a class alone in a batch does no harm."""
    generator = torch.Generator().manual_seed(0)
    given = {name: torch.randn(4, 3, generator=generator).bfloat16() for name in ("expert", "teacher", "bias")}
    given |= {"logits": torch.randn(4, 3, generator=generator).bfloat16().requires_grad_()}
    given |= {"labels": torch.full((4,), 2), "rho": torch.tensor([0.0, 0.1, 0.9, 1.0])}
    rows = row_losses(given, Settings(method))
    assert ((4,), torch.float32) == (tuple(rows.total.shape), rows.total.dtype)
    assert all(not part.requires_grad and part.shape == (4,) for part in rows.parts.values())
    summed = rows.summed(4, torch.tensor([1.0, 2.0, 0.0, 1.0]))
    summed.total.backward()
    assert torch.isfinite(given["logits"].grad).all()
    first, second, _, last = rows.total.detach()
    close(first + 2 * second + last, summed.total.detach())
    assert 4 == summed.count


def test_a_loss_without_its_tensors_says_what_is_missing() -> None:
    """A batch that was not joined to an expert's signals is refused by name."""
    with pytest.raises(RunError, match="guided needs expert, rho, which a batch has not; found logits, labels"):
        row_losses({"logits": MAIN, "labels": LABELS}, Settings())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.1}, r"alpha: found -0.1, expected a number from 0 to 100 \(papers try 0.01 to 1\)"),
        ({"beta": math.nan}, "beta: found nan, expected a number"),
        ({"alpha": True}, "alpha: found True, expected a number"),
        ({"mix": "sum"}, "mix: found 'sum', expected one of power, complement"),
        ({"gamma": 2.0}, r"option gamma with the loss guided, which does not use it \(it takes alpha, beta, mix"),
    ],
)
def test_wrong_settings_say_what_to_do(options: dict[str, object], message: str) -> None:
    """What is out of range, misspelt or of another loss is refused with what was expected."""
    with pytest.raises(InputError, match=message):
        Settings.of("guided", options)


def test_published_settings_are_there_and_checked() -> None:
    """Every published name has settings that hold; each loss has its options."""
    fever = PUBLISHED["guide-the-learner-fever"].settings
    assert (0.3, 0.1) == (fever.alpha, fever.beta)
    assert "batch" == PUBLISHED["utama-reweight"].settings.scale
    assert all(one.source and one.expert for one in PUBLISHED.values())
    assert set(METHODS) == set(OPTIONS)
    with pytest.raises(InputError, match="set passes: two, or dropout: training"):
        Attributing(dropout="off")


def test_figure_1_is_drawn_from_the_loss() -> None:
    """As published: similar tokens spare what a right expert knows, and keep what it gets wrong."""
    lines = {(one.expert, one.rho): one for one in curves()}
    assert {"certain and right", "uncertain", "certain and wrong"} == set(EXPERTS)
    middle = lines["certain and right", 1.0].gold_logits.index(0.0)
    loss = {key: one.losses[middle] for key, one in lines.items()}
    assert pytest.approx(LOG(3)) == loss["uncertain", 1.0]
    assert pytest.approx(LOG(1 + 2 * math.exp(-5))) == loss["certain and right", 1.0]
    assert loss["certain and right", 0.0] > 10 * loss["certain and right", 1.0]
    assert pytest.approx(loss["certain and wrong", 1.0], rel=0.1) == loss["certain and wrong", 0.25]
