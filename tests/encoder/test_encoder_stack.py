"""Laws of the stack: forms of attention, padding, layers one by one, rows that leave, chosen positions."""

from __future__ import annotations

import pytest
import torch
from toy_encoders import config, rows, shaken

from bertwright.encoder.config import FAMILIES
from bertwright.encoder.dropout import Dropout, dropout
from bertwright.encoder.heads import pooled_rows
from bertwright.encoder.layers import Attention, window_bias
from bertwright.encoder.models import build_classifier, build_masked_lm
from bertwright.encoder.stack import set_dropout


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("family", FAMILIES)
def test_forms_of_attention_agree(family: str) -> None:
    """Plain products, the fused kernel and flex give the same states, the first two the same gradients."""
    shape = config(family)
    batch, found = rows(shape), {}
    for form in ("matmul", "sdpa", "flex"):
        encoder = shaken(build_masked_lm(shape, seed=0)).encoder
        set_dropout(encoder, 0.0)
        encoder.attention_form(form)
        assert {form} == {part.form for part in encoder.modules() if isinstance(part, Attention)}
        with torch.set_grad_enabled(form != "flex"):  # which has no way back on a CPU
            states = encoder(**batch)[batch["mask"]]
        if states.requires_grad:
            states.square().mean().backward()
        found[form] = [states.detach(), *(p.grad for p in encoder.parameters() if p.grad is not None)]
    for first, second in zip(found["matmul"], found["sdpa"], strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["matmul"][0], found["flex"][0], atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("form", ["matmul", "sdpa", "flex"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_reach_real_tokens(family: str, form: str) -> None:
    """A row alone, without padding and without a mask, has the states and answers it has among longer rows."""
    shape = config(family)
    model = shaken(build_classifier(shape, 3, seed=0))
    model.encoder.attention_form(form)
    batch = rows(shape)
    with torch.no_grad():
        states, answers = model.encoder(**batch), model(**batch)
        for number, length in enumerate(batch["mask"].sum(dim=1).tolist()):
            alone = {name: batch[name][number : number + 1, :length] for name in ("ids", "segments")}
            torch.testing.assert_close(model.encoder(**alone)[0], states[number, :length], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(model(**alone)[0], answers[number], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_stands_in_the_padding_is_never_seen(family: str) -> None:
    """Another embedding of the padding leaves all real states bit-identical."""
    shape = config(family)
    encoder, batch = shaken(build_masked_lm(shape, seed=0)).encoder, rows(shape)
    with torch.no_grad():
        before = encoder(**batch)
        encoder.embeddings.words.weight[shape.pad_id] += torch.linspace(-3, 3, shape.width)
        after = encoder(**batch)
    assert torch.equal(before[batch["mask"]], after[batch["mask"]])
    assert not torch.equal(before, after)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_one_by_one_are_the_whole(family: str) -> None:
    """The last of the layers' states, under the final norm, is what the encoder returns."""
    shape = config(family)
    encoder, batch = shaken(build_masked_lm(shape, seed=0)).encoder, rows(shape)
    with torch.no_grad():
        x = encoder.embed(batch["ids"], batch["segments"])
        states = list(encoder.layers(x, encoder.context(24, batch["mask"], x.dtype, x.device)))
        assert shape.layers == len(states)
        assert torch.equal(encoder(**batch), encoder.final_norm(states[-1]))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_may_leave_between_layers(family: str, masked: bool) -> None:
    """Rows that stay after others left have the states they would have had, with a mask and without."""
    shape = config(family)
    encoder, batch = shaken(build_masked_lm(shape, seed=0)).encoder, rows(shape)
    keep = torch.tensor([3, 1])
    with torch.no_grad():
        x = encoder.embed(batch["ids"], batch["segments"])
        context = encoder.context(24, batch["mask"] if masked else None, x.dtype, x.device)
        whole = list(encoder.layers(x, context))
        fewer = whole[1][keep]
        for block in encoder.blocks[2:]:
            fewer = block(fewer, context.rows(keep))
    torch.testing.assert_close(fewer, whole[-1][keep], atol=1e-5, rtol=1e-5)


def test_head_sees_only_chosen_positions() -> None:
    """Logits at flat positions are the rows of all logits, in the order asked for."""
    shape = config("bert")
    model, batch = shaken(build_masked_lm(shape, seed=0)), rows(shape)
    chosen = torch.tensor([70, 3, 24, 3])
    with torch.no_grad():
        everything, some = model(**batch), model(**batch, positions=chosen)
    assert (4 * 24, shape.vocabulary) == everything.shape
    torch.testing.assert_close(some, everything[chosen], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_stays_near_fp32(family: str) -> None:
    """In bf16 every state is a number and lies near its fp32 value, padding included."""
    shape = config(family)
    encoder, batch = build_masked_lm(shape, seed=0).encoder.eval(), rows(shape)
    with torch.no_grad():
        exact = encoder(**batch)
        rough = encoder.bfloat16()(**batch)
    assert torch.bfloat16 == rough.dtype
    assert bool(rough.isfinite().all())
    torch.testing.assert_close(rough.float()[batch["mask"]], exact[batch["mask"]], atol=0.1, rtol=0.1)


def test_window_hides_what_is_further_than_half_of_it() -> None:
    """A window of 4 leaves two tokens on each side; a row that fits inside needs no bias."""
    bias = window_bias(5, 4, torch.float32, torch.device("cpu"))
    assert bias is not None
    expected = ["11100", "11110", "11111", "01111", "00111"]
    assert expected == ["".join("01"[int(x)] for x in row) for row in (bias[0, 0] == 0)]
    assert float(bias.min()) == torch.finfo(torch.float32).min
    assert window_bias(3, 4, torch.float32, torch.device("cpu")) is None


def test_dropout_can_be_set_everywhere() -> None:
    """Without dropout training gives what evaluation gives; with it, attention's included, it does not."""
    shape = config("bert", dropout=0.0, attention_dropout=0.0)
    model, batch = shaken(build_classifier(shape, 2, seed=0)), rows(shape)
    still = model(**batch)
    assert torch.equal(still, model.train()(**batch))
    set_dropout(model, 0.5)
    rates = [part.rate for part in model.modules() if isinstance(part, Dropout)]
    rates += [part.dropout for part in model.modules() if isinstance(part, Attention)]
    assert {0.5} == set(rates)
    assert not torch.equal(still, model(**batch))
    for part in model.modules():
        if isinstance(part, Dropout):
            part.rate = 0.0
    assert not torch.equal(still, model(**batch))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(dtype: torch.dtype, rate: float) -> None:
    """Zeros in each quarter of a word of random bits as often as asked, neighbours apart; the rest is scaled."""
    torch.manual_seed(0)
    x = torch.ones(1001, 401, dtype=dtype)
    dropped = dropout(x, rate)
    zeros = (dropped == 0).flatten()
    deviation = (rate * (1 - rate) / 1e5) ** 0.5
    for quarter in range(4):
        assert abs(float(zeros[quarter::4].float().mean()) - rate) < 4 * deviation
        pairs = zeros[quarter:-4:4] & zeros[quarter + 1 : -3 : 4]
        assert abs(float(pairs.float().mean()) - rate**2) < 4 * deviation
    assert {0.0, float(torch.ones((), dtype=dtype) / (1 - rate))} == set(dropped.unique().tolist())


def test_dropouts_gradient_is_its_mask_and_a_seed_gives_it_again() -> None:
    """What was dropped has no gradient, the rest has the scale; as in ``torch.nn.functional.dropout``."""
    x = torch.randn(7, 9, requires_grad=True)
    torch.manual_seed(3)
    out = dropout(x, 0.25)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(out, x * x.grad)
    assert {0.0, float(torch.tensor(1 / 0.75))} == set(x.grad.unique().tolist())
    torch.manual_seed(3)
    assert torch.equal(out, dropout(x, 0.25))
    assert not torch.equal(out, dropout(x, 0.25))


@pytest.mark.parametrize("rate", [1.0, 1 - 1e-6])
def test_a_rate_of_one_drops_everything(rate: float) -> None:
    """As in PyTorch; it gave infinities, for the draws have a bit less than such a rate needs."""
    x = torch.ones(7, 9, requires_grad=True)
    out = dropout(x, rate)
    out.sum().backward()
    assert (0.0, 0.0) == (float(out.detach().abs().sum()), float(x.grad.abs().sum()))


def test_mean_pooling_counts_only_real_tokens() -> None:
    """By hand: the mean of a row's real states; of all, without a mask."""
    states = torch.arange(12.0).view(1, 3, 4).repeat(1, 1, 8)
    mask = torch.tensor([[True, True, False]])
    assert torch.equal(torch.tensor([2.0, 3.0, 4.0, 5.0]), pooled_rows(states, mask, "mean")[0, :4])
    assert torch.equal(torch.tensor([4.0, 5.0, 6.0, 7.0]), pooled_rows(states, None, "mean")[0, :4])
