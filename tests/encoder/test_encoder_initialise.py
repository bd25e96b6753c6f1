"""Fresh weights: the same seed gives the same, another seed others, and each kind its documented spread."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_encoders import config

from bertwright.encoder.config import FAMILIES
from bertwright.encoder.models import build_classifier, build_masked_lm


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**31 - 1), drawn_before=st.integers(0, 3))
def test_same_seed_gives_same_weights(seed: int, drawn_before: int) -> None:
    """Weights depend on the seed alone, not on what was drawn before, and drawing them moves no other generator."""
    first = build_masked_lm(config("bert"), seed=seed).state_dict()
    torch.rand(drawn_before)
    state = torch.random.get_rng_state()
    second = build_masked_lm(config("bert"), seed=seed).state_dict()
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_seed_gives_other_weights(family: str) -> None:
    """Every matrix differs under another seed, and no two matrices of a model are alike."""
    first, second = (dict(build_masked_lm(config(family), seed=seed).named_parameters()) for seed in (0, 1))
    matrices = [name for name, parameter in first.items() if parameter.dim() == 2]
    assert [] == [name for name in matrices if torch.equal(first[name], second[name])]
    starts = {tuple(model[name].flatten()[:4].tolist()) for model in (first, second) for name in matrices}
    assert 2 * len(matrices) == len(starts)


def test_an_encoder_is_drawn_alike_under_any_head() -> None:
    """One seed gives a classifier and a masked language model the same encoder."""
    first = build_masked_lm(config("modern"), seed=5).encoder.state_dict()
    second = build_classifier(config("modern"), 3, seed=5).encoder.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_spread_is_as_documented(family: str) -> None:
    """Matrices have mean 0 and deviation 0.02, those that write to a pre-LN residual less; biases 0, gains 1."""
    shape = config(family, width=128, inner=256, vocabulary=512)
    model = build_masked_lm(shape, seed=0)
    writes = 0.02 / math.sqrt(2 * shape.layers) if family in ("bert-preln", "modern") else 0.02
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        if parameter.dim() == 1:
            assert bool((values == (0.0 if name.endswith("bias") else 1.0)).all()), name
            continue
        expected = writes if name.endswith(("attention.output.weight", "feed_forward.outer.weight")) else 0.02
        # Four standard errors of a deviation and of a mean.
        few = 4 / math.sqrt(values.numel())
        assert abs(float(values.std()) / expected - 1) < few, name
        assert abs(float(values.mean())) < few * expected, name
