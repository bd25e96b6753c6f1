"""Model folders: what goes in comes out, ordinary classes find all, a wrong folder is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from torch import nn
from toy_encoders import SPECIAL, config, ordinary, rows, shaken

from bertwright.encoder import families
from bertwright.encoder.config import FAMILIES
from bertwright.encoder.heads import ClassificationHead, MaskedLMHead
from bertwright.encoder.models import Classifier, MaskedLM, build_classifier, build_masked_lm
from bertwright.encoder.names import NAMES, body_names, head_names
from bertwright.encoder.stack import Encoder
from bertwright.errors import DataError, InputError, ProofFailed


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_has_an_ordinary_name(family: str) -> None:
    """The tables name each tensor of body and heads once, and no other."""
    shape = config(family)
    assert set(Encoder(shape).state_dict()) == set(body_names(shape))
    assert set(MaskedLMHead(shape).state_dict()) == set(NAMES[family].masked_lm_head)
    assert set(ClassificationHead(shape, 3).state_dict()) == set(head_names(shape))
    theirs = [name for names in body_names(shape).values() for name in names]
    assert len(theirs) == len(set(theirs))


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_lm_comes_back_bit_by_bit(family: str, tmp_path: Path) -> None:
    """Saved and loaded, every tensor and the shape are the same; saved again, the files are the same bytes."""
    model: MaskedLM = shaken(build_masked_lm(config(family), seed=0))
    families.save(tmp_path / "a", model, special_ids=SPECIAL)
    got = families.load(tmp_path / "a")
    assert got.masked_lm_head is not None
    again = MaskedLM(got.encoder, got.masked_lm_head)
    assert (model.encoder.config, ()) == (got.config, got.notes)
    same_tensors(model, again)
    families.save(tmp_path / "b", again, special_ids=SPECIAL)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_classifier_comes_back_bit_by_bit(family: str, tmp_path: Path) -> None:
    """Saved and loaded, a classifier has its tensors and its labels in their order."""
    labels = tuple(f"label {i}" for i in range(11))
    model: Classifier = shaken(build_classifier(config(family), 11, seed=0))
    families.save(tmp_path, model, special_ids=SPECIAL, labels=labels, problem="multi-label")
    got = families.load(tmp_path)
    assert got.classifier is not None
    assert labels == got.labels
    same_tensors(model, Classifier(got.encoder, got.classifier))


@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_classes_miss_only_fresh_heads(family: str, tmp_path: Path) -> None:
    """A masked language model's folder opens with all auto classes; what they draw anew belongs to heads alone."""
    families.save(tmp_path, build_masked_lm(config(family), seed=0), special_ids=SPECIAL)
    fresh = {"AutoModelForMaskedLM": (), "AutoModel": ("pooler.",)}
    fresh["AutoModelForSequenceClassification"] = ("classifier.", "pre_classifier.", "bert.pooler.")
    for kind, heads in fresh.items():
        _, info = getattr(transformers, kind).from_pretrained(tmp_path, output_loading_info=True)
        assert [] == [name for name in info["missing_keys"] if not name.startswith(heads)], kind
        assert not info["mismatched_keys"]


@pytest.mark.parametrize("family", ["bert", "bert-preln"])
def test_pooler_is_kept_beside_the_masked_lm(family: str, tmp_path: Path) -> None:
    """A pooler that came with an encoder is saved with it, never trained, and starts a classifier."""
    shape = config(family)
    pooler = shaken(nn.Linear(shape.width, shape.width))
    plain = build_masked_lm(shape, seed=0)
    model = MaskedLM(plain.encoder, plain.head, pooler)
    assert not any(parameter.requires_grad for parameter in pooler.parameters())
    families.save(tmp_path, model, special_ids=SPECIAL)
    got = families.load(tmp_path)
    assert got.pooler is not None
    same_tensors(pooler, got.pooler)
    torch.testing.assert_close(ordinary(tmp_path, "AutoModel").pooler.dense.weight, pooler.weight, atol=0, rtol=0)
    same_tensors(pooler, build_classifier(shape, 2, seed=1, encoder=got.encoder, pooler=got.pooler).head.dense)


def test_modern_classifier_starts_from_the_masked_word_head() -> None:
    """Dense layer and norm of ModernBERT's masked-word head serve its classifiers, as in the ordinary class."""
    shape = config("modern")
    source: MaskedLM = shaken(build_masked_lm(shape, seed=0))
    model = build_classifier(shape, 2, seed=1, encoder=source.encoder, masked_lm_head=source.head)
    same_tensors(source.head.dense, model.head.dense)
    same_tensors(source.head.norm, model.head.norm)
    assert model.encoder is source.encoder


def test_one_output_without_labels_is_an_ordinary_folder(tmp_path: Path) -> None:
    """A regression of one number, given no labels, opens with one output."""
    families.save(tmp_path, build_classifier(config("bert"), 1, seed=0), special_ids=SPECIAL, problem="regression")
    theirs = ordinary(tmp_path, "AutoModelForSequenceClassification")
    assert (1, "regression") == (theirs.config.num_labels, theirs.config.problem_type)


def test_labels_are_counted(tmp_path: Path) -> None:
    """More or fewer labels than outputs are refused before anything is written."""
    model = build_classifier(config("bert"), 3, seed=0)
    with pytest.raises(InputError, match="2 labels were given for a classifier of 3 outputs"):
        families.save(tmp_path / "a", model, special_ids=SPECIAL, labels=("a", "b"))
    assert not (tmp_path / "a").exists()


def test_low_precision_is_saved_as_fp32(tmp_path: Path) -> None:
    """A model in bf16 is written in fp32, and the config says so."""
    families.save(tmp_path, build_masked_lm(config("bert"), seed=0).bfloat16(), special_ids=SPECIAL)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert {torch.float32} == {tensor.dtype for tensor in tensors.values()}
    assert "float32" == json.loads((tmp_path / "config.json").read_text())["dtype"]


def test_loading_draws_no_random_number(saved: Path) -> None:
    """Reading a folder leaves PyTorch's generator where it was."""
    before = torch.random.get_rng_state()
    families.load(saved)
    assert torch.equal(before, torch.random.get_rng_state())


def test_folder_in_pieces_is_read(saved: Path) -> None:
    """Weights spread over files that an index names are put together."""
    whole = families.load(saved)
    tensors = safetensors.torch.load_file(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    pieces = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for piece in set(pieces.values()):
        part = {name: tensor for name, tensor in tensors.items() if pieces[name] == piece}
        safetensors.torch.save_file(part, saved / piece)
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": pieces}))
    same_tensors(whole.encoder, families.load(saved).encoder)


def test_old_names_of_norms_are_read(saved: Path) -> None:
    """Folders of TensorFlow's time call a norm's gain gamma and its bias beta."""
    whole = families.load(saved)
    tensors = safetensors.torch.load_file(saved / "model.safetensors")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, tensor in tensors.items():
        kind = next((kind for kind in old if name.endswith(kind)), None)
        renamed[name.replace(kind, old[kind]) if kind else name] = tensor
    assert set(renamed) != set(tensors)
    safetensors.torch.save_file(renamed, saved / "model.safetensors")
    same_tensors(whole.encoder, families.load(saved).encoder)


def test_unused_tensors_are_said(saved: Path) -> None:
    """What a folder holds and we do not take is counted and named."""
    change_tensors(saved, lambda t: t | {"cls.seq_relationship.weight": torch.zeros(2, 32)})
    expected = ("1 tensors of the folder are not used: cls.seq_relationship.weight",)
    assert expected == families.load(saved).notes


@pytest.mark.parametrize("kind", ["TokenClassification", "MultipleChoice"])
@pytest.mark.parametrize("family", FAMILIES)
def test_heads_of_other_kinds_are_left_and_said(family: str, kind: str, tmp_path: Path) -> None:
    """Some have the names of a row's classifier, all or a few: the encoder is taken, and what was not is noted."""
    saved = build_masked_lm(config(family), seed=0)
    families.save(tmp_path / "ours", saved, special_ids=SPECIAL)
    model = ordinary(tmp_path / "ours", f"AutoModelFor{kind}")
    model.save_pretrained(tmp_path / "theirs")
    found = families.load(tmp_path / "theirs")
    assert found.classifier is None
    same_tensors(saved.encoder, found.encoder)
    name = f"{NAMES[family].class_stem}For{kind}"
    assert f"the folder is a {name}, whose head is of another kind and is not used" in found.notes
    assert any("classifier.bias" in note and "of the folder are not used" in note for note in found.notes)


def test_a_classifier_in_part_is_left_and_said(saved: Path) -> None:
    """Without the dense layer before it an output layer answers nothing; who asks for the encoder alone gets it."""
    change_tensors(saved, lambda t: t | {"classifier.weight": torch.zeros(2, 32), "classifier.bias": torch.zeros(2)})
    found = families.load(saved)
    assert found.classifier is None
    assert ("2 tensors of the folder are not used: classifier.bias, classifier.weight",) == found.notes


@pytest.mark.parametrize("family", FAMILIES)
def test_proof_holds_for_what_was_saved(family: str, tmp_path: Path) -> None:
    """The proof names the ordinary class and the largest difference, and leaves the model in training."""
    shape = config(family)
    batch = rows(shape)
    for number, model in enumerate((build_masked_lm(shape, seed=0), build_classifier(shape, 3, seed=0))):
        folder = tmp_path / str(number)
        families.save(folder, shaken(model).train(), special_ids=SPECIAL)
        proof = families.prove(folder, model, **batch)
        kind = ("MaskedLM", "SequenceClassification")[number]
        assert (f"{NAMES[family].class_stem}For{kind}", 4) == (proof["class"], proof["rows"])
        assert proof["largest_difference"] < 1e-5
        assert model.training


def test_proof_fails_for_other_weights(saved: Path) -> None:
    """A folder whose outputs are not the model's is not proven, nor is one that lacks a tensor."""
    model, batch = families.load(saved), rows(config("bert"))
    assert model.masked_lm_head is not None
    ours = MaskedLM(model.encoder, model.masked_lm_head)
    bias = "cls.predictions.bias"
    change_tensors(saved, lambda t: t | {bias: t[bias] + 0.1})
    with pytest.raises(ProofFailed, match="BertForMaskedLM gives outputs that differ by 0.1"):
        families.prove(saved, ours, **batch)
    change_tensors(saved, lambda t: t | {bias: t[bias] * float("nan")})
    with pytest.raises(ProofFailed, match="differ by nan"):
        families.prove(saved, ours, **batch)
    change_tensors(saved, lambda t: {name: value for name, value in t.items() if "layer.3.output.dense" not in name})
    with pytest.raises(ProofFailed, match=r"BertForMaskedLM misses bert\.encoder\.layer\.3\.output\.dense\.bias"):
        families.prove(saved, ours, **batch)


REFUSED_SETTINGS = [
    ({"model_type": "gpt2"}, r"model_type 'gpt2' is not supported; supported are bert \(bert\), megatron-bert"),
    ({"model_type": None}, "model_type None is not supported"),
    ({"hidden_act": "gelu_new"}, "hidden_act = 'gelu_new'; bertwright reads only 'gelu'"),
    ({"tie_word_embeddings": False}, "tie_word_embeddings = False; bertwright reads only True"),
    ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key' is not supported"),
    ({"hidden_size": "32"}, "hidden_size = '32'; expected a whole number"),
    ({"num_attention_heads": 0}, "num_attention_heads = 0; expected a whole number"),
    ({"layer_norm_eps": None}, "layer_norm_eps = None; expected a number"),
    ({"num_attention_heads": 5}, "32 is not a multiple of encoder.heads 5"),
    ({"vocab_size": 60}, r"word_embeddings.weight has shape \(61, 32\); config.json means \(60, 32\)"),
    ({"num_hidden_layers": 5}, r"16 tensors are missing, such as bert.encoder.layer.4.attention.self.query.weight"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED_SETTINGS)
def test_settings_that_cannot_be_computed_are_refused(changes: dict[str, Any], message: str, saved: Path) -> None:
    """A setting that our modules would compute otherwise, or that fits no shape, is named with what is expected."""
    change_settings(saved, **changes)
    with pytest.raises(InputError, match=message):
        families.load(saved)


REFUSED_MODERN = [
    ({"norm_bias": False}, "norm_bias = False; bertwright reads only True"),
    ({"classifier_pooling": "max"}, "pooling 'max' is not known; it is cls or mean"),
    ({"layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"]}, "not a regular"),
    ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "reads only rope_type 'default'"),
    ({"local_rope_theta": None}, "local_rope_theta = None; expected a number"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED_MODERN)
def test_modern_settings_that_cannot_be_computed_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Angles, windows and switches that the modern family has elsewhere and not here are named."""
    families.save(tmp_path, build_masked_lm(config("modern"), seed=0), special_ids=SPECIAL)
    change_settings(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        families.load(tmp_path)


def test_newer_keys_of_the_modern_family_stand_above_older_ones(tmp_path: Path) -> None:
    """The list of layers and the RoPE table decide where an older key says otherwise, as in the ordinary class."""
    families.save(tmp_path, build_masked_lm(config("modern"), seed=0), special_ids=SPECIAL)
    kinds = ["full_attention", "sliding_attention"] * 2
    change_settings(tmp_path, layer_types=kinds, rope_parameters={"sliding_attention": {"rope_theta": 77.0}})
    got = families.load(tmp_path).config
    assert (2, 77.0, 160_000.0) == (got.global_every, got.local_rope_base, got.rope_base)


def test_missing_settings_are_named_as_the_file_names_them(saved: Path) -> None:
    """Without sizes there is no shape; what has a usual value may be absent or, for the padding id, null."""
    change_settings(saved, pad_token_id=None)
    settings = json.loads((saved / "config.json").read_text())
    del settings["layer_norm_eps"]
    (saved / "config.json").write_text(json.dumps(settings))
    got = families.load(saved).config
    assert (0, 1e-12) == (got.pad_id, got.norm_eps)
    del settings["hidden_size"], settings["vocab_size"]
    (saved / "config.json").write_text(json.dumps(settings))
    with pytest.raises(DataError, match="config.json lacks vocab_size, hidden_size"):
        families.load(saved)


@pytest.mark.parametrize(("content", "message"), [("{", "not valid JSON"), ("[1]", "found a JSON list")])
def test_config_that_is_no_object_is_refused(content: str, message: str, saved: Path) -> None:
    """A broken config.json is said to be broken."""
    (saved / "config.json").write_text(content)
    with pytest.raises(DataError, match=message):
        families.load(saved)


def test_missing_files_are_named(saved: Path) -> None:
    """A folder without config or weights says which file is missing."""
    (saved / "model.safetensors").rename(saved / "elsewhere")
    with pytest.raises(DataError, match=r"model\.safetensors is missing; weights are read from safetensors alone"):
        families.load(saved)
    (saved / "config.json").unlink()
    with pytest.raises(DataError, match=r"no config\.json in it; name an ordinary model folder"):
        families.load(saved)


def test_pickle_is_never_opened(saved: Path) -> None:
    """A folder of pickled weights is refused with the way to convert it."""
    (saved / "model.safetensors").unlink()
    (saved / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(DataError, match=r"pytorch_model\.bin is a pickle, which is never opened here; convert it"):
        families.load(saved)


def test_cut_off_weights_are_refused(saved: Path) -> None:
    """A file of weights that ends early is not whole."""
    path = saved / "model.safetensors"
    for keep in (len(path.read_bytes()) - 4, 0):
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match="not a whole safetensors file"):
            families.load(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"weight_map": {"a": "../model.safetensors"}}', "'../model.safetensors' is not the name of a file in the"),
        ('{"weight_map": {"a": "absent.safetensors"}}', r"absent\.safetensors is missing"),
        ('{"weights": {}}', "expected a JSON object with a `weight_map`"),
        ("{", "expected a JSON object with a `weight_map`"),
    ],
)
def test_wrong_indexes_are_refused(content: str, message: str, saved: Path) -> None:
    """An index names files of its own folder and no others."""
    (saved / "model.safetensors.index.json").write_text(content)
    with pytest.raises(DataError, match=message):
        families.load(saved)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_untied_output_matrices_are_refused(name: str, saved: Path) -> None:
    """A stored output matrix or bias that repeats its original is taken for it; one that differs is refused."""
    original = {"weight": "bert.embeddings.word_embeddings.weight", "bias": "cls.predictions.bias"}[name]
    decoder = f"cls.predictions.decoder.{name}"
    change_tensors(saved, lambda t: t | {decoder: t[original].clone()})
    assert () == families.load(saved).notes
    change_tensors(saved, lambda t: t | {decoder: t[original] + 1})
    with pytest.raises(DataError, match=f"{decoder} differs from {original}; only tied"):
        families.load(saved)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return the folder of a masked language model of the bert family."""
    families.save(tmp_path / "model", shaken(build_masked_lm(config("bert"), seed=0)), special_ids=SPECIAL)
    return tmp_path / "model"


def change_settings(folder: Path, **changes: Any) -> None:
    """Write other settings into a folder's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Write other tensors into a folder."""
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(change(tensors), path, metadata={"format": "pt"})


def same_tensors(expected: nn.Module, found: nn.Module) -> None:
    """Compare two modules bit by bit."""
    first, second = expected.state_dict(), found.state_dict()
    assert set(first) == set(second)
    assert [] == [name for name in first if not torch.equal(first[name], second[name])]
