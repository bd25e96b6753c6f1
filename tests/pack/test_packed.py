"""Packs on an encoder: attached, detached, scaled, folded, refused, and several in one batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toy_packs import TOKENIZER, config, loaded, loaded_again, rows, toy_pack, toy_task, trained

from bertwright.bias_terms import choose
from bertwright.encoder.biases import locate, terms_in
from bertwright.encoder.config import FAMILIES
from bertwright.encoder.families import ordinary_tensors
from bertwright.encoder.models import build_classifier
from bertwright.encoder.packed import Resident, fingerprint, fold, make_pack
from bertwright.errors import DataError, InputError


def resident(before: Any, **changes: Any) -> Resident:
    """Return a fresh reading of an encoder, ready for packs."""
    return Resident(loaded_again(before), **{"tokenizer": TOKENIZER, **changes})


def saved(encoder: Any) -> dict[str, bytes]:
    """Return the bytes of every tensor."""
    return {name: value.numpy().tobytes() for name, value in encoder.state_dict().items()}


@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_bias_has_its_place(family: str, pooler: bool) -> None:
    """Each bias of a classifier but the output layer's is covered by terms, number by number, once."""
    model = build_classifier(config(family), 2, seed=0)
    covered: dict[str, list[int]] = {}
    for term in terms_in(config(family), pooler=pooler):
        place = locate(term, config(family))
        covered.setdefault(place.name, []).extend(range(place.start, place.stop))
    expected = {name: list(range(len(p))) for name, p in model.named_parameters() if name.endswith("bias")}
    expected = {name: its for name, its in expected.items() if pooler or not name.startswith("head.")}
    expected.pop("head.output.bias", None)
    assert expected == {name: sorted(its) for name, its in covered.items()}


ORDINARY = {
    "bert": {
        "query": "bert.encoder.layer.1.attention.self.query.bias",
        "key": "bert.encoder.layer.1.attention.self.key.bias",
        "value": "bert.encoder.layer.1.attention.self.value.bias",
        "attention-output": "bert.encoder.layer.1.attention.output.dense.bias",
        "attention-norm": "bert.encoder.layer.1.attention.output.LayerNorm.bias",
        "intermediate": "bert.encoder.layer.1.intermediate.dense.bias",
        "output": "bert.encoder.layer.1.output.dense.bias",
        "output-norm": "bert.encoder.layer.1.output.LayerNorm.bias",
        "embedding-norm": "bert.embeddings.LayerNorm.bias",
        "pooler": "bert.pooler.dense.bias",
    },
    "distilbert": {
        "query": "distilbert.transformer.layer.1.attention.q_lin.bias",
        "key": "distilbert.transformer.layer.1.attention.k_lin.bias",
        "value": "distilbert.transformer.layer.1.attention.v_lin.bias",
        "output-norm": "distilbert.transformer.layer.1.output_layer_norm.bias",
    },
}


@pytest.mark.parametrize(("family", "term"), [(family, term) for family in ORDINARY for term in ORDINARY[family]])
def test_a_term_is_the_ordinary_bias_of_its_name(family: str, term: str) -> None:
    """Writing to a term's place changes one ordinary tensor alone, the one that the paper's code names."""
    model = build_classifier(config(family), 2, seed=0)
    before = {name: value.clone() for name, value in ordinary_tensors(model, dict(model.state_dict())).items()}
    [place] = [
        locate(one, config(family))
        for one in terms_in(config(family), pooler=True)
        if one.name == term and one.layer in (1, None)
    ]
    with torch.no_grad():
        model.get_parameter(place.name)[place.start : place.stop] += 1
    after = ordinary_tensors(model, dict(model.state_dict()))
    assert [ORDINARY[family][term]] == [name for name in after if not torch.equal(before[name], after[name])]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pack_answers_as_the_trained_model(family: str) -> None:
    """Attached to another reading of the encoder, a pack in fp32 gives the trained classifier's logits."""
    before = loaded(family)
    batch, model = rows(before.config), trained(before, 3, seed=0)
    here = resident(before)
    here.attach(toy_pack(before))
    with torch.inference_mode():
        expected = model(**batch)
    torch.testing.assert_close(here.logits(**batch), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fold(before, toy_pack(before), tokenizer=TOKENIZER)(**batch), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_detaching_gives_the_bytes_back(dtype: torch.dtype) -> None:
    """After packs came, were used, mixed and went, every tensor of the encoder has its bytes, and its object."""
    before = loaded()
    # numpy knows no bf16; the way back to fp32 loses nothing.
    first = saved(loaded_again(before).encoder.to(dtype).float())
    here = resident(before, dtype=dtype)
    encoder = here._loaded.encoder
    objects = {name: id(value) for name, value in encoder.named_parameters()}
    here.attach(toy_pack(before))
    here.add("b", toy_pack(before, seed=1))
    here.use("b")
    here.mixed(["b", "triage"], **rows(before.config, 2))
    assert objects != {name: id(value) for name, value in encoder.named_parameters()}
    here.detach()
    assert objects == {name: id(value) for name, value in encoder.named_parameters()}
    assert first == saved(encoder.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scale_goes_from_the_encoder_to_the_pack(dtype: torch.dtype) -> None:
    """At 0 the states are the encoder's own, at 1/2 its biases lie half way."""
    before, batch = loaded(), rows(config("bert"))
    here = resident(before, dtype=dtype)
    encoder = here._loaded.encoder
    with torch.inference_mode():
        own = encoder(**batch)
        here.attach(toy_pack(before), scale=0.0)
        assert torch.equal(own, encoder(**batch))
    bias = before.encoder.blocks[1].feed_forward.inner.bias
    here.add("half", toy_pack(before), scale=0.5)
    here.use("half")
    expected = bias + 0.5 * torch.tensor(toy_pack(before).biases["layers.1.intermediate"].tolist())
    assert torch.equal(expected.to(dtype), encoder.blocks[1].feed_forward.inner.bias)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixed_batch_answers_as_each_pack_alone(family: str, pooling: str, masked: bool) -> None:
    """Packs of other terms, label counts and heads in one pass: within 1e-5 of each pack alone, in any order."""
    before = loaded(family, pooling=pooling)
    batch = rows(before.config)
    if not masked:
        batch |= {"mask": None}
    here = resident(before)
    here.add("all", toy_pack(before))
    few = choose(terms_in(before.config, pooler=False), "query+intermediate", (1, 2))
    some = trained(before, 5, seed=1, terms=few).state_dict()
    more = {"tokenizer": TOKENIZER, "task": toy_task("b", 5), "method": "bitfit", "dtype": "fp16"}
    here.add("some", make_pack(before, some, terms="query+intermediate", layers=(1, 2), **more))
    whole = trained(before, 5, seed=2, terms=())
    with torch.no_grad():
        for parameter in whole.head.parameters():
            parameter.mul_(1.5).add_(0.1)
    here.add("head alone", make_pack(before, whole.state_dict(), terms=None, **more))
    order = ["some", "all", "head alone", "all", "some", "all"]
    found = here.mixed(order, **batch)
    for name in here.names:
        here.use(name)
        expected = here.logits(**batch)
        for row in (row for row, its in enumerate(order) if its == name):
            torch.testing.assert_close(found[row], expected[row], rtol=1e-5, atol=1e-5)
    assert {3, 5} == {len(logits) for logits in found}
    assert not torch.allclose(found[0], found[2], atol=1e-2)


def test_a_head_trained_whole_comes_back() -> None:
    """A dense layer that came with the encoder and changed is in the pack; one that did not is not."""
    before = loaded()
    assert {"output.bias", "output.weight"} == set(toy_pack(before).head)
    whole = trained(before, 3, seed=0, terms=())
    with torch.no_grad():
        whole.head.dense.weight.mul_(2)
        whole.head.dense.bias.add_(1)
    pack = make_pack(before, whole.state_dict(), tokenizer=TOKENIZER, task=toy_task(), method="head", terms=None)
    assert {"dense.weight", "output.bias", "output.weight"} == set(pack.head)
    assert ["pooler"] == list(pack.biases)
    np.testing.assert_array_equal(np.ones(16, np.float16), pack.biases["pooler"])


def test_a_fresh_dense_layer_is_in_the_pack() -> None:
    """Where no pooler came with the encoder, the head is stored whole, and no term is the pooler's."""
    pack = toy_pack(loaded(pooler=False))
    assert {"dense.bias", "dense.weight", "output.bias", "output.weight"} == set(pack.head)
    assert "pooler" not in pack.biases


def test_a_folded_key_bias_is_left_out_where_softmax_takes_it() -> None:
    """The key's bias stays the encoder's in BERT; with RoPE it has an effect, and is written in."""
    for family, same in (("bert", True), ("modern", False)):
        before = loaded(family)
        own, folded = before.encoder, fold(before, toy_pack(before), tokenizer=TOKENIZER).encoder
        keys = [encoder.blocks[0].attention.qkv.bias[16:32] for encoder in (own, folded)]
        assert same == torch.equal(*keys)
        assert not torch.equal(own.blocks[0].attention.qkv.bias[:16], folded.blocks[0].attention.qkv.bias[:16])


def test_folding_leaves_the_encoder_as_it_is() -> None:
    """The encoder that was read keeps its bytes; two packs can be folded into it one after the other."""
    before = loaded()
    first, pack = saved(before.encoder), toy_pack(before)
    model = fold(before, pack, tokenizer=TOKENIZER)
    with torch.no_grad():
        model.head.dense.weight.zero_()
    assert first == saved(before.encoder)
    assert 0 != before.pooler.weight.abs().sum()


def test_the_hash_is_of_every_tensor() -> None:
    """One changed weight, of body or pooler, changes the hash; a second reading and other class names do not."""
    before = loaded()
    own = fingerprint(before)
    assert own == fingerprint(loaded_again(before))
    assert 64 == len(own)
    for change in (before.encoder.embeddings.words.weight, before.encoder.final_norm, before.pooler.bias):
        if isinstance(change, torch.Tensor):
            with torch.no_grad():
                change.view(-1)[-1] += 1e-6
            assert own != fingerprint(before)
            own = fingerprint(before)
    assert own != fingerprint(replace(before, pooler=None))


def test_the_hash_of_a_converted_encoder_is_refused() -> None:
    """A hash after rounding would be another encoder's."""
    before = loaded()
    before.encoder.bfloat16()
    with pytest.raises(InputError, match=r"brought to torch\.bfloat16; take its hash as it was read"):
        fingerprint(before)


def test_another_encoder_is_refused() -> None:
    """Another shape, another setting, one changed weight, another tokenizer: named with both hashes."""
    before = loaded()
    pack, own = toy_pack(before), fingerprint(before)[:12]
    changed = loaded_again(before)
    with torch.no_grad():
        changed.encoder.blocks[2].feed_forward.outer.weight[0, 0] += 1e-6
    for other, said in (
        (changed, f"made for encoder {own}, and this one is {fingerprint(changed)[:12]}: of the same shape"),
        (loaded(layers=2), f"made for encoder {own} with layers 3, and this one, .*, has 2"),
        (replace(before, config=replace(before.config, heads=4)), "with heads 2, and this one, .* has 4"),
        (loaded("distilbert"), "with family 'bert', and this one, .*, has 'distilbert'"),
    ):
        with pytest.raises(DataError, match=said):
            Resident(other, tokenizer=TOKENIZER).add("a", pack)
        with pytest.raises(DataError, match=said):
            fold(other, pack, tokenizer=TOKENIZER)
    with pytest.raises(DataError, match="made with tokenizer 0123456789ab, and this folder's is ffff"):
        Resident(before, tokenizer="f" * 32).add("a", pack)


def test_other_dropout_is_the_same_encoder() -> None:
    """Settings that only a training looks at do not part a pack from its encoder."""
    before = loaded()
    pack = toy_pack(before)
    Resident(replace(before, config=replace(before.config, dropout=0.5)), tokenizer=TOKENIZER).attach(pack)


def test_a_training_that_changed_the_body_is_refused() -> None:
    """A pack cannot give back a matrix, or a bias that was not chosen; rounding to the working format is no change."""
    before = loaded()
    more = {"tokenizer": TOKENIZER, "task": toy_task(), "method": "bitfit"}
    values = trained(before, 3, seed=0).state_dict()
    with pytest.raises(InputError, match=r"encoder\.embeddings\.norm\.bias changed in training, and a pack holds only"):
        make_pack(before, values, terms="query", **more)
    few = [term for term in terms_in(before.config, pooler=True) if term.name == "query"]
    values = trained(before, 3, seed=0, terms=few).state_dict()
    names = [name for name in values if name.startswith("encoder.") and not name.endswith("qkv.bias")]
    rounded = values | {name: values[name].bfloat16().float() for name in names}
    pack = make_pack(before, rounded, terms="query", worked_in=torch.bfloat16, **more)
    assert {"query"} == {term.name for term in pack.terms}
    with pytest.raises(InputError, match="changed in training"):
        make_pack(before, rounded, terms="query", **more)


def test_names_of_resident_packs_are_kept_apart() -> None:
    """A name comes once; an unknown one is refused with those there are; a removed one that was used is detached."""
    before = loaded()
    here = resident(before)
    with pytest.raises(InputError, match="no pack is in use"):
        _ = here.model
    here.attach(toy_pack(before))
    with pytest.raises(InputError, match="called triage is resident already"):
        here.attach(toy_pack(before))
    for call in (here.use, here.remove, lambda name: here.mixed([name], **rows(before.config, 1))):
        with pytest.raises(InputError, match="no pack called topic is resident; there are triage"):
            call("topic")
    with pytest.raises(InputError, match="1 packs were named for 6 rows"):
        here.mixed(["triage"], **rows(before.config))
    with pytest.raises(InputError, match=r"the scale of a pack is 1\.5; expected"):
        here.add("b", toy_pack(before), scale=1.5)
    here.remove("triage")
    assert () == here.names
    assert torch.equal(before.encoder.embeddings.norm.bias, here._loaded.encoder.embeddings.norm.bias)
    with pytest.raises(InputError, match="no pack is in use"):
        here.logits(**rows(before.config))
