"""What each method trains: the published counts, slices of fused biases, controls of the same size."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bertwright.bias_terms import choose, terms_of
from bertwright.encoder.config import FAMILIES, EncoderConfig, shape
from bertwright.encoder.heads import ClassificationHead
from bertwright.encoder.models import Classifier, build_classifier
from bertwright.encoder.stack import Encoder
from bertwright.errors import InputError, RunError
from bertwright.stages.methods import choose_parameters, counts_of, refuse_other_changes, write
from bertwright.training import trainable
from bertwright.training.losses import classification_loss
from bertwright.training.optimizers import Optimizer, Settings

BASE = shape("bert", "base", vocabulary=28_996, pad_id=0)
LARGE = shape("bert", "large", vocabulary=28_996, pad_id=0)


def options(method: str = "bitfit", **changes: Any) -> dict[str, Any]:
    """Return what a run's options say of its method."""
    return {"trainable": method, "terms": "all", "layers": None, "seed": 0, **changes}


def sized(config: EncoderConfig, classes: int = 2) -> Classifier:
    """Return a classifier that has shapes and no numbers."""
    with torch.device("meta"):
        return Classifier(Encoder(config), ClassificationHead(config, classes))


def toy(family: str = "bert") -> Classifier:
    """Return a drawn classifier whose biases are not all zero."""
    config = EncoderConfig(
        family, vocabulary=40, width=16, layers=2, heads=2, inner=32, segments=2 if family.startswith("bert") else 0
    )
    model = build_classifier(config, 2, seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def learn(model: Classifier, opts: dict[str, Any], *, dtype: torch.dtype | None = None, steps: int = 3) -> Optimizer:
    """Take some steps of what a method trains."""
    torch.manual_seed(0)
    chosen = choose_parameters(model, opts, pooler=True)
    trainable.freeze_others(model, chosen)
    named = [(name, parameter) for name, parameter in model.named_parameters() if name in chosen]
    optimizer = Optimizer(
        named, name="adamw", settings=Settings(1e-2, 0.1), dtype=dtype, entries=trainable.entries_of(chosen)
    )
    model.to(dtype or torch.float32)
    ids = torch.randint(0, 40, (4, 9), generator=torch.Generator().manual_seed(2))
    batch = {"ids": ids, "mask": None, "segments": None, "labels": torch.tensor([0, 1, 1, 0]), "count": 4}
    for _ in range(steps):
        classification_loss(model, batch).total.backward()
        optimizer.accumulate()
        optimizer.step(scale=1.0, multiplier=1.0)
    return optimizer


@pytest.mark.parametrize(
    ("config", "terms", "body", "pooler"),
    [
        (BASE, "all", 102_144, 768),
        (BASE, "published", 102_144, 0),
        (BASE, "as-code", 102_144, 768),
        (BASE, "query+intermediate", 46_080, 0),
        (LARGE, "published", 271_360, 0),
        (LARGE, "as-code", 271_360, 1024),
        (LARGE, "query+intermediate", 122_880, 0),
    ],
)
def test_published_counts_come_out(config: EncoderConfig, terms: str, body: int, pooler: int) -> None:
    """Body, pooler and head are counted apart, and the head of two classes is 2 H + 2."""
    model = sized(config)
    found = counts_of(model, choose_parameters(model, options(terms=terms), pooler=True), pooler=True)
    assert (body, pooler, 2 * config.width + 2) == (found.body, found.pooler, found.head)


def test_the_papers_share_is_of_an_encoder_with_its_pooler() -> None:
    """102,144 of the cased base encoder's 108,310,272 numbers: 0.0943 %, of which the paper says 0.09."""
    model = sized(shape("bert", "base", vocabulary=28_996, pad_id=0))
    found = counts_of(model, choose_parameters(model, options(terms="published"), pooler=True), pooler=True)
    assert (102_144, 108_310_272) == (found.body, found.of)


def test_published_counts_come_out_term_by_term() -> None:
    """Seven terms of H and one of F in each of twelve layers, and one more behind the embeddings."""
    terms = terms_of("bert", layers=12, width=768, inner=3072, pooler=False)
    sizes = {name: sum(one.size for one in terms if one.name == name) for name in dict.fromkeys(t.name for t in terms)}
    assert {"embedding-norm": 768, "query": 9216, "intermediate": 36_864} == {
        name: sizes[name] for name in ("embedding-norm", "query", "intermediate")
    }
    assert 9 == sum(size in (768, 9216, 36_864) for size in sizes.values())


def test_a_head_of_two_layers_is_not_hidden_in_the_claim() -> None:
    """RoBERTa's head has a dense layer of its own: 590,592 numbers that are no biases of the body."""
    config = shape("roberta", "base", vocabulary=50_265, pad_id=1)
    model = sized(config)
    for terms in ("all", "as-code", "published"):
        found = counts_of(model, choose_parameters(model, options(terms=terms), pooler=False), pooler=False)
        assert (102_144, 0, 590_592 + 1538) == (found.body, found.pooler, found.head)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_biases_of_every_family_learn_and_nothing_else(family: str) -> None:
    """Whatever the family calls them: each bias of the encoder, and no matrix or gain."""
    model = toy(family)
    chosen = choose_parameters(model, options(), pooler=True)
    of_body = {name for name, _ in model.encoder.named_parameters(prefix="encoder") if name.endswith("bias")}
    assert of_body == {name for name in chosen if name.startswith("encoder.")}
    assert "head.dense.weight" not in chosen
    assert "head.dense.bias" in chosen


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_slices_of_a_fused_bias_that_are_not_named_stay_as_they_are(dtype: torch.dtype | None) -> None:
    """Query learns; key and value beside it keep every bit, in fp32 and as they are rounded to bf16."""
    before, model = toy(), toy()
    learn(model, options(terms="query+intermediate"), dtype=dtype)
    now, then = (one.encoder.blocks[1].attention.qkv.bias for one in (model, before.to(dtype or torch.float32)))
    assert torch.equal(then[16:], now[16:])
    assert (then[:16] != now[:16]).float().mean() > 0.5  # a small step may round back


def test_what_learns_in_part_has_moments_for_that_part_alone() -> None:
    """No optimizer's state is kept for entries that are frozen."""
    optimizer = learn(toy(), options(terms="query"))
    sizes = {key.split("/")[0]: value.numel() for key, value in optimizer.state().items() if "0.attention" in key}
    assert {"weight": 16, "exp_avg": 16, "exp_avg_sq": 16, "step": 1} == sizes


def test_what_learns_in_part_goes_on_from_a_checkpoint() -> None:
    """A second optimizer with the first one's state leaves the same numbers in the model."""
    chosen = options("rand-uniform", terms="query")
    first, second = toy(), toy()
    state = {key: value.clone() for key, value in learn(first, chosen).state().items()}
    learn(second, chosen, steps=0).load_state(state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("method", ["rand-uniform", "rand-row-col"])
def test_controls_have_the_budget_of_the_biases(method: str) -> None:
    """As many numbers of the body, in other places; the head learns as ever."""
    model = toy()
    bitfit, control = (
        counts_of(model, choose_parameters(model, options(name), pooler=True), pooler=True)
        for name in ("bitfit", method)
    )
    assert bitfit.body + bitfit.pooler == control.body + control.pooler
    assert bitfit.head == control.head


def test_rows_and_columns_have_the_sizes_of_their_biases() -> None:
    """A matrix that widens gives inputs' rows, one that narrows a column, a norm its gains; 102,144 in all for base."""
    model = sized(BASE)
    chosen = choose_parameters(model, options("rand-row-col", terms="published"), pooler=True)
    of_body = {name: entries for name, entries in chosen.items() if entries is not None}
    assert 102_144 == sum(map(len, of_body.values()))
    widening = of_body["encoder.blocks.0.feed_forward.inner.weight"]
    assert 4 == len({int(entry) // 768 for entry in widening})
    narrowing = of_body["encoder.blocks.0.feed_forward.outer.weight"]
    assert 1 == len({int(entry) % 3072 for entry in narrowing})
    assert 768 == len(of_body["encoder.blocks.0.attention_norm.weight"])


def test_draws_of_a_control_are_the_seeds_and_each_is_another_number() -> None:
    """The same seed draws the same entries, and none twice."""
    model = toy()
    first, again, other = (
        choose_parameters(model, options("rand-uniform", seed=seed), pooler=True) for seed in (3, 3, 4)
    )
    name = "encoder.embeddings.words.weight"
    assert torch.equal(first[name], again[name])  # type: ignore[arg-type]
    assert not torch.equal(first[name][:5], other[name][:5])  # type: ignore[index]
    assert all(len(entries.unique()) == len(entries) for entries in first.values() if entries is not None)


def test_layers_keep_the_terms_of_some_layers_alone() -> None:
    """None outside of layers."""
    terms = terms_of("bert", layers=4, width=8, inner=16, pooler=True)
    assert {(1, "query"), (2, "query")} == {(one.layer, one.name) for one in choose(terms, "query", (1, 2))}


def test_unknown_terms_and_layers_are_told_with_those_there_are() -> None:
    """A name that no family has, one that this family lacks, a layer that is not there."""
    terms = terms_of("bert", layers=4, width=8, inner=16, pooler=True)
    with pytest.raises(InputError, match="found 'querry' where a bias term was expected; the terms are query, key"):
        choose(terms, "querry+key")
    with pytest.raises(InputError, match="no bias term of this encoder is called final-norm; it has embedding-norm"):
        choose(terms, "final-norm")
    with pytest.raises(InputError, match="layers 2-4 are not in an encoder of 4 layers, which are numbered 0-3"):
        choose(terms, "all", (2, 4))


def test_a_frozen_weight_that_moved_is_told() -> None:
    """The check after a training sees one number that should not have changed."""
    before, model = toy(), toy()
    optimizer = learn(model, options(terms="query"))
    chosen = choose_parameters(model, options(terms="query"), pooler=True)
    refuse_other_changes(model, before, chosen)
    write(before, optimizer.master_weights(), chosen)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))
    model.encoder.blocks[0].attention.qkv.bias.data[17] += 1
    with pytest.raises(RunError, match=r"encoder.blocks.0.attention.qkv.bias was frozen and changed in training"):
        refuse_other_changes(model, toy(), chosen)


def test_no_activation_is_kept_for_a_frozen_matrix() -> None:
    """What autograd saves for bitfit is less than for full, by the inputs of the matrices."""

    def saved(method: str) -> int:
        model, sizes = toy(), []
        trainable.freeze_others(model, choose_parameters(model, options(method), pooler=True))
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                sizes.append(tensor.numel())
            return tensor

        ids = torch.randint(0, 40, (4, 9), generator=torch.Generator().manual_seed(2))
        batch = {"ids": ids, "mask": None, "segments": None, "labels": torch.tensor([0, 1, 1, 0]), "count": 4}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            classification_loss(model, batch)
        return sum(sizes)

    # In each of two layers the inputs of qkv, output, inner (width 16) and outer (width 32), over 4 x 9 tokens.
    assert saved("full") - saved("bitfit") >= 2 * (3 * 16 + 32) * 36 * 0.7
