"""Our encoder against the ordinary classes, family by family, at toy size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from toy_encoders import SPECIAL, config, ordinary, ordinary_inputs, rows, shaken

from bertwright.encoder import families
from bertwright.encoder.config import FAMILIES, EncoderConfig
from bertwright.encoder.models import Classifier, MaskedLM, build_classifier, build_masked_lm

# Settings that are not the ordinary classes' own defaults, so that one that is not passed on shows.
UNUSUAL = [
    ("bert", {"norm_eps": 1e-2, "segments": 3, "heads": 2}),
    ("bert-preln", {"norm_eps": 1e-2, "segments": 3, "heads": 2}),
    ("roberta", {"norm_eps": 1e-2, "pad_id": 3, "heads": 2}),
    ("distilbert", {"pad_id": 3, "heads": 2}),
    ("modern", {"rope_base": 500.0, "local_rope_base": 20.0, "global_every": 2, "local_window": 6}),
    ("modern", {"norm_eps": 1e-2, "pooling": "mean", "global_every": 1}),
]


def gradients_agree(ours: Any, theirs: Any) -> None:
    """Compare every gradient, by its ordinary name, relative to the largest number of its tensor."""
    found = families.ordinary_tensors(ours, {name: p.grad for name, p in ours.named_parameters()})
    for name, parameter in theirs.named_parameters():
        # The key's bias has no effect (softmax ignores it): its gradient is rounding, hence a floor under the scale.
        scale = parameter.grad.abs().max().clamp(min=1e-2)
        assert float((found[name] - parameter.grad).abs().max() / scale) < 1e-4, name


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_words_and_gradients_equal_the_ordinary_class(family: str, tmp_path: Path) -> None:
    """Logits agree to 1e-5 and every gradient to 1e-4, relative, with padding and two segments."""
    shape = config(family)
    ours: MaskedLM = shaken(build_masked_lm(shape, seed=0))
    families.save(tmp_path, ours, special_ids=SPECIAL)
    theirs, batch = ordinary(tmp_path, "AutoModelForMaskedLM"), rows(shape)
    found = ours(**batch).view(4, 24, -1)
    expected = theirs(**ordinary_inputs(batch, shape)).logits
    torch.testing.assert_close(found[batch["mask"]], expected[batch["mask"]], atol=1e-5, rtol=1e-5)

    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)) * batch["mask"][:, :, None]
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    gradients_agree(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_gradients_equal_the_ordinary_class(family: str, tmp_path: Path) -> None:
    """A classifier's logits agree to 1e-5 and its gradients to 1e-4, relative."""
    shape = config(family)
    ours: Classifier = shaken(build_classifier(shape, 3, seed=0))
    families.save(tmp_path, ours, special_ids=SPECIAL, labels=("a", "b", "c"), problem="classification")
    theirs, batch = ordinary(tmp_path, "AutoModelForSequenceClassification"), rows(shape)
    found, expected = ours(**batch), theirs(**ordinary_inputs(batch, shape)).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert {0: "a", 1: "b", 2: "c"} == theirs.config.id2label
    assert "single_label_classification" == theirs.config.problem_type

    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    gradients_agree(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_equal_the_ordinary_body(family: str, tmp_path: Path) -> None:
    """The states of an encoder agree with those of the ordinary class without a head, layer by layer."""
    shape = config(family)
    ours: MaskedLM = shaken(build_masked_lm(shape, seed=0))
    families.save(tmp_path, ours, special_ids=SPECIAL)
    theirs, batch = ordinary(tmp_path, "AutoModel"), rows(shape)
    with torch.no_grad():
        out = theirs(**ordinary_inputs(batch, shape), output_hidden_states=True)
        x = ours.encoder.embed(batch["ids"], batch["segments"])
        states = [x, *ours.encoder.layers(x, ours.encoder.context(24, batch["mask"], x.dtype, x.device))]
        states[-1] = ours.encoder(**batch)
    real = batch["mask"]
    torch.testing.assert_close(states[-1][real], out.last_hidden_state[real], atol=1e-5, rtol=1e-5)
    for found, expected in zip(states[:-1], out.hidden_states, strict=False):
        torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("family", "changes"), UNUSUAL)
def test_every_setting_reaches_the_ordinary_class_and_comes_back(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Settings away from the defaults give equal answers, and are read back as they were written."""
    shape = config(family, **changes)
    ours: Classifier = shaken(build_classifier(shape, 2, seed=0))
    families.save(tmp_path, ours, special_ids=SPECIAL)
    batch = rows(shape)
    with torch.no_grad():
        expected = ordinary(tmp_path, "AutoModelForSequenceClassification")(**ordinary_inputs(batch, shape)).logits
        torch.testing.assert_close(ours(**batch), expected, atol=1e-5, rtol=1e-5)
    assert shape == families.load(tmp_path).config


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["MaskedLM", "SequenceClassification"])
def test_folders_of_the_ordinary_class_are_read(family: str, kind: str, tmp_path: Path) -> None:
    """A folder written by the ordinary class gives its outputs here, and nothing in it is left over."""
    shape = config(family)
    theirs, batch = written_by_ordinary_class(tmp_path, shape, f"AutoModelFor{kind}"), rows(shape)
    got = families.load(tmp_path / "theirs")
    assert shape == got.config
    assert not [note for note in got.notes if "not used" in note]
    head = got.masked_lm_head if kind == "MaskedLM" else got.classifier
    assert head is not None
    ours: Any = (MaskedLM if kind == "MaskedLM" else Classifier)(got.encoder, head)
    with torch.no_grad():
        expected = theirs(**ordinary_inputs(batch, shape)).logits
        found = ours.eval()(**batch).view_as(expected)
    real = batch["mask"] if kind == "MaskedLM" else slice(None)
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_headless_folders_of_the_ordinary_class_are_read(family: str, tmp_path: Path) -> None:
    """A folder without a head, whose names carry no prefix, gives the same states; the notes say what it lacks."""
    shape = config(family)
    theirs, batch = written_by_ordinary_class(tmp_path, shape, "AutoModel"), rows(shape)
    got = families.load(tmp_path / "theirs")
    assert "the folder has no masked-word head" == got.notes[0]
    assert (got.masked_lm_head, got.classifier) == (None, None)
    assert (family in ("bert", "bert-preln")) is (got.pooler is not None)
    with torch.no_grad():
        expected = theirs(**ordinary_inputs(batch, shape)).last_hidden_state
        found = got.encoder.eval()(**batch)
    torch.testing.assert_close(found[batch["mask"]], expected[batch["mask"]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_as_many_parameters_as_the_ordinary_class(family: str, tmp_path: Path) -> None:
    """No parameter is stored twice and none is missing, with a head and without."""
    ours = build_masked_lm(config(family), seed=0)
    families.save(tmp_path, ours, special_ids=SPECIAL)
    expected = ordinary(tmp_path, "AutoModelForMaskedLM").num_parameters()
    assert expected == sum(p.numel() for p in ours.parameters())


def written_by_ordinary_class(folder: Path, shape: EncoderConfig, kind: str) -> Any:
    """Let an ordinary class of this shape save a folder of its own, ``theirs``."""
    families.save(folder / "ours", build_masked_lm(shape, seed=0), special_ids=SPECIAL)
    settings = transformers.AutoConfig.from_pretrained(folder / "ours")
    # Eager and without dropout, as the other comparisons are.
    model = shaken(getattr(transformers, kind).from_config(settings, attn_implementation="eager"))
    model.save_pretrained(folder / "theirs")
    return model
