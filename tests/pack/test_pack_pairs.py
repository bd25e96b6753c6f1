"""Two packs: what differs between them, and what lies between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_packs import TOKENIZER, loaded, loaded_again, rows, toy_pack, toy_task, trained

from bertwright.bias_terms import choose
from bertwright.encoder.biases import terms_in
from bertwright.encoder.packed import Resident, make_pack
from bertwright.errors import DataError, InputError
from bertwright.pack import Score, to_bytes
from bertwright.pack_pairs import blend, change, diff


def test_a_pack_does_not_differ_from_itself() -> None:
    """No line of the header, no distance, a cosine of 1."""
    found = diff(toy_pack(loaded()), toy_pack(loaded()))
    assert {} == found.header
    assert {0.0} == {term.difference for term in found.terms} | set(found.head.values())
    np.testing.assert_allclose([term.cosine for term in found.terms], 1.0)


def test_a_difference_is_that_of_the_deltas() -> None:
    """Against numpy by hand: change, mean absolute difference, cosine; the header's values by dotted key."""
    first = toy_pack(loaded())
    second = replace(first, biases={key: -2 * value for key, value in first.biases.items()}, recipe="b")
    second = replace(second, task=replace(second.task, labels=("x", "y", "z")))
    found = diff(first, second)
    term = next(term for term in found.terms if term.key == "layers.2.output")
    delta = np.abs(first.biases["layers.2.output"]).mean()
    np.testing.assert_allclose(
        [term.first, term.second, term.difference, term.cosine], [delta, 2 * delta, 3 * delta, -1], rtol=1e-6
    )
    assert {"task.labels": (["label 0", "label 1", "label 2"], ["x", "y", "z"]), "recipe": ("", "b")} == {
        key: tuple(list(v) if isinstance(v, tuple) else v for v in values) for key, values in found.header.items()
    }


def test_terms_of_one_pack_alone_are_told() -> None:
    """Where one pack has no delta its change is ``None``, the difference is the other's change, and no cosine is."""
    before = loaded()
    few = choose(terms_in(before.config, pooler=False), "query")
    values = trained(before, 3, seed=1, terms=few).state_dict()
    one = toy_pack(before)
    other = make_pack(
        before, values, tokenizer=TOKENIZER, task=toy_task(), method="bitfit", terms="query", dtype="fp32"
    )
    found = {term.key: term for term in diff(one, other).terms}
    term = found["layers.1.value"]
    assert (None, change(one.biases["layers.1.value"]), None) == (term.second, term.difference, term.cosine)
    assert found["layers.1.query"].cosine is not None
    zero = replace(other, biases={key: 0 * value for key, value in other.biases.items()})
    assert None is {term.key: term for term in diff(one, zero).terms}["layers.1.query"].cosine


def test_the_ends_of_a_blend_are_the_packs() -> None:
    """A share of 0 has the first's arrays, 1 the second's, 1/2 their means; nothing that was measured is kept."""
    before = loaded()
    score = Score("dev", "accuracy", 0.9, 0, "fp32", "sane")
    one = replace(toy_pack(before, scores=[score]), policy={"stop": 1})
    other = toy_pack(before, seed=1)
    for share, expected in ((0.0, one), (1.0, other)):
        found = blend(one, other, share)
        for part in ("biases", "head"):
            for key, value in getattr(expected, part).items():
                np.testing.assert_array_equal(value, getattr(found, part)[key])
    half = blend(one, other, 0.5)
    expected = (one.biases["pooler"] + other.biases["pooler"]) / 2
    np.testing.assert_allclose(expected, half.biases["pooler"], rtol=1e-6)
    assert ((), None, {}) == (half.scores, half.policy, half.ramps)
    assert to_bytes(half) == to_bytes(blend(one, other, 0.5))


def test_a_blend_answers_and_takes_absent_terms_for_nothing() -> None:
    """A blend with a pack of the queries alone is a pack of both packs' terms; the missing ones are halved."""
    before = loaded()
    few = choose(terms_in(before.config, pooler=False), "query", (1, 2))
    values = trained(before, 3, seed=1, terms=few).state_dict()
    other = make_pack(
        before,
        values,
        tokenizer=TOKENIZER,
        task=toy_task(),
        method="bitfit",
        terms="query",
        layers=(1, 2),
        dtype="fp32",
    )
    one = toy_pack(before)
    found = blend(other, one, 0.5)
    np.testing.assert_array_equal(one.biases["pooler"] / 2, found.biases["pooler"])
    np.testing.assert_array_equal(one.biases["layers.0.query"] / 2, found.biases["layers.0.query"])
    here = Resident(loaded_again(before), tokenizer=TOKENIZER)
    here.attach(found)
    assert torch.isfinite(here.logits(**rows(before.config))).all()


def test_what_does_not_go_together_is_not_blended() -> None:
    """Another encoder, other labels, another head, a share that is none: each is refused with what was found."""
    one, before = toy_pack(loaded()), loaded(seed=5)
    with pytest.raises(DataError, match="of the same shape, with other weights"):
        blend(one, toy_pack(before), 0.5)
    with pytest.raises(InputError, match=r"triage and topic cannot be blended: task\.labels is .* both have to answer"):
        blend(one, toy_pack(loaded(), classes=4, name="topic"), 0.5)
    with pytest.raises(InputError, match=r"a blend's share is 1\.5; expected a number from 0"):
        blend(one, one, 1.5)
    whole = replace(one, head={**one.head, "dense.weight": np.zeros((16, 16), np.float32)})
    with pytest.raises(InputError, match=r"only one of the two packs holds head/dense\.weight"):
        blend(one, whole, 0.5)
