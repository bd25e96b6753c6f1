"""The door to the world: ordinary model folders, read and written, and the proof that they are right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from bertwright import files
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.heads import ClassificationHead, MaskedLMHead
from bertwright.encoder.missing_biases import with_biases
from bertwright.encoder.models import Classifier, MaskedLM, on_meta
from bertwright.encoder.names import NAMES, body_names, head_names
from bertwright.encoder.ordinary_config import config_of, labels_of, settings_in
from bertwright.encoder.stack import Encoder
from bertwright.errors import DataError, InputError, ProofFailed

PROBLEMS = {
    "classification": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
# Largest difference between our outputs and the ordinary class's, fp32.
_PROOF = 1e-4
# What ordinary classes with heads that we read are for.
_HEADS = ("SequenceClassification", "MaskedLM", "PreTraining")
# Tensors of older folders that carry nothing: counters of positions and of angles.
_CARRY_NOTHING = ("position_ids", "rotary_emb.inv_freq")


@dataclass(frozen=True)
class Loaded:
    """What was found in a model folder; ``notes`` says what was missing, and what was there and not taken."""

    config: EncoderConfig
    encoder: Encoder
    masked_lm_head: MaskedLMHead | None
    pooler: nn.Linear | None
    classifier: ClassificationHead | None
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]

    @property
    def head_layers(self) -> dict[str, nn.Module]:
        """Return the layers of a task's head that come with the encoder, by name (see ``build_classifier``)."""
        modern = self.config.family == "modern"
        before: Any = self.classifier or (self.masked_lm_head if modern else None)
        if before is not None:
            return {"dense": before.dense, **({"norm": before.norm} if modern else {})}
        return {} if self.pooler is None else {"dense": self.pooler}


def load(folder: Path, *, add_missing: bool = False) -> Loaded:
    """Read an ordinary model folder; ``DataError`` says what is missing or does not fit.

    ``add_missing`` gives an encoder without biases zeros in their place.
    """
    settings, added = settings_in(folder), 0
    tensors = {_plain(name): value for name, value in _tensors(folder).items()}
    if add_missing:
        settings, tensors, added = with_biases(settings, tensors)
    config = config_of(settings, folder)
    family = NAMES[config.family]
    prefixed = {f"{family.prefix}{name}" for names in body_names(config).values() for name in names}
    prefix = family.prefix if prefixed & set(tensors) else ""
    body = {ours: tuple(f"{prefix}{name}" for name in theirs) for ours, theirs in body_names(config).items()}
    taken: set[str] = set()
    encoder = _fill(on_meta(Encoder, config), body, tensors, taken, folder)
    head = _fill_if_there(on_meta(MaskedLMHead, config), family.masked_lm_head, tensors, taken, folder)
    pooler_names = {
        ours.partition(".")[2]: _without(theirs, family.prefix, prefix) for ours, theirs in family.pooler.items()
    }
    pooler = _fill_if_there(on_meta(nn.Linear, config.width, config.width), pooler_names, tensors, taken, folder)
    labels = labels_of(settings, folder)
    classifier, other = None, _other_head(settings)
    names = {ours: _without(theirs, family.prefix, prefix) for ours, theirs in head_names(config).items()}
    if other is None and all(name in tensors for theirs in names.values() for name in theirs):
        classes = tensors[family.classifier["output.weight"][0]].shape[:1].numel()
        classifier = _fill(on_meta(ClassificationHead, config, classes), names, tensors, taken, folder)
    unused = sorted(set(tensors) - taken - set(family.decoder) - {n for n in tensors if n.endswith(_CARRY_NOTHING)})
    repeated = (body["embeddings.words.weight"][0], family.masked_lm_head["bias"][0])
    _tied(tensors, dict(zip(family.decoder, repeated, strict=False)), folder)
    notes = [] if head is not None else ["the folder has no masked-word head"]
    if other is not None:
        notes.append(f"the folder is a {other}, whose head is of another kind and is not used")
    if unused:
        notes.append(f"{len(unused)} tensors of the folder are not used: {', '.join(unused[:5])}")
    if added:
        notes.append(f"{added} biases that the folder lacks were added, as zeros")
    elif add_missing:
        notes.append("`add_missing` changed nothing: the folder has all biases")
    return Loaded(config, encoder, head, pooler, classifier, labels, tuple(notes))


def _other_head(settings: Mapping[str, Any]) -> str | None:
    """Return the ordinary class of a folder whose head gives no answer of a whole row, such as one of tokens.

    Its tensors may have the very names of one that does.
    """
    classes = settings.get("architectures")
    kinds = [str(name).partition("For") for name in classes] if isinstance(classes, list) else []
    other = ["".join(kind) for kind in kinds if kind[2] and kind[2] not in _HEADS]
    return other[0][:80] if other and len(other) == len(kinds) else None


def read_config(folder: Path, *, add_missing: bool = False) -> EncoderConfig:
    """Return the shape of the encoder in an ordinary model folder, without reading its weights."""
    settings = settings_in(folder)
    return config_of(with_biases(settings, {})[0] if add_missing else settings, folder)


def save(
    folder: Path,
    model: MaskedLM | Classifier,
    *,
    special_ids: Mapping[str, int],
    labels: tuple[str, ...] | None = None,
    problem: str | None = None,
) -> None:
    """Write config.json and model.safetensors, fp32, as the ordinary class of the family has them.

    ``special_ids`` names the tokenizer's "bos", "eos", "cls" and "sep" ids for families whose config holds them.
    ``labels`` and ``problem`` ("classification", "multi-label", "regression") describe a classifier.
    """
    config = model.encoder.config
    family = NAMES[config.family]
    tensors = ordinary_tensors(model, dict(model.state_dict()))
    values = config.as_dict()
    content: dict[str, Any] = {
        "architectures": [f"{family.class_stem}For{_kind(model)}"],
        "model_type": family.model_type,
        **{theirs: values[ours] for theirs, ours in family.settings.items()},
        **family.fixed,
        "dtype": "float32",
        "initializer_range": 0.02,
    }
    if "positions" in family.settings.values() and config.position_rows:
        content["max_position_embeddings"] = config.position_rows
    if config.family in ("roberta", "modern"):
        content |= {f"{name}_token_id": number for name, number in special_ids.items()}
    if isinstance(model, Classifier):
        labels = _checked_labels(labels, model.head.output.out_features)
        content |= {"id2label": {str(i): label for i, label in enumerate(labels)}}
        content |= {"label2id": {label: i for i, label in enumerate(labels)}}
    if problem is not None:
        content["problem_type"] = PROBLEMS[problem]
    files.make_folder(folder)
    files.write_bytes(folder / "model.safetensors", safetensors.torch.save(tensors, metadata={"format": "pt"}))
    files.write_json(folder / "config.json", content)


def _checked_labels(labels: tuple[str, ...] | None, classes: int) -> tuple[str, ...]:
    """Return one name for each output: the ordinary class counts its outputs by them."""
    if labels is None:
        return tuple(f"LABEL_{number}" for number in range(classes))
    if len(labels) != classes:
        raise InputError(f"{len(labels)} labels were given for a classifier of {classes} outputs; give one for each")
    return labels


def ordinary_tensors(model: MaskedLM | Classifier, values: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Return a value for each of a model's tensors (weights, gradients, ...) under the family's ordinary names."""
    config = model.encoder.config
    family = NAMES[config.family]
    names = {
        f"encoder.{ours}": tuple(family.prefix + name for name in theirs) for ours, theirs in body_names(config).items()
    }
    if isinstance(model, MaskedLM):
        names |= {f"head.{ours}": theirs for ours, theirs in family.masked_lm_head.items()}
        if model.pooler is not None:
            names |= {f"pooler.{ours.partition('.')[2]}": theirs for ours, theirs in family.pooler.items()}
    else:
        names |= {f"head.{ours}": theirs for ours, theirs in head_names(config).items()}
    named: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        if (value := values[ours]) is not None:
            # Three ordinary tensors may be one of ours.
            parts = value.detach().float().cpu().chunk(len(theirs))
            named |= {name: part.contiguous() for name, part in zip(theirs, parts, strict=True)}
    return named


def prove(
    folder: Path, model: MaskedLM | Classifier, ids: Tensor, mask: Tensor, segments: Tensor | None
) -> dict[str, Any]:
    """Load a saved folder with the ordinary class and compare its outputs with ours, both fp32.

    ``ids``, ``mask`` and ``segments`` are (B, T). Returns the class and the largest difference; ``ProofFailed`` where
    that is above 1e-4 of the largest output, or where the class misses a tensor.
    """
    # A heavy door that only this function opens.
    import transformers

    auto = getattr(transformers, f"AutoModelFor{_kind(model)}")
    with _silenced(transformers.logging):
        ordinary, info = auto.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
        )
    if info["missing_keys"]:
        raise ProofFailed(
            f"{folder}: {type(ordinary).__name__} misses {', '.join(sorted(info['missing_keys'])[:5])}, and all "
            "its tensors are expected. This is a fault of bertwright: keep the folder and report it."
        )
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if segments is not None and model.encoder.config.segments > 1:
        inputs["token_type_ids"] = segments
    was_training = model.training
    with torch.no_grad():
        expected = ordinary.eval()(**inputs).logits
        found = model.eval()(ids, mask, segments if model.encoder.config.segments > 1 else None).view_as(expected)
    model.train(was_training)
    real = mask if isinstance(model, MaskedLM) else torch.ones(len(ids), dtype=torch.bool)
    difference = float((found - expected)[real].abs().max())
    limit = _PROOF * max(1.0, float(expected[real].abs().max()))
    if not difference <= limit:
        raise ProofFailed(
            f"{folder}: {type(ordinary).__name__} gives outputs that differ by {difference:.2g} (at most {limit:.2g} "
            "is rounding). This is a fault of bertwright: keep the folder and report it."
        )
    return {"class": type(ordinary).__name__, "largest_difference": difference, "rows": len(ids)}


@contextlib.contextmanager
def _silenced(logging: Any) -> Iterator[None]:
    """Keep progress bars and warnings of a comparison off the user's screen."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.ERROR)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _tensors(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    names = _shards(index) if index.is_file() else ["model.safetensors"]
    tensors: dict[str, Tensor] = {}
    for path in (folder / name for name in names):
        if not path.is_file():
            pickled = (folder / "pytorch_model.bin").is_file()
            hint = (
                "pytorch_model.bin is a pickle, which is never opened here; "
                "convert it where you trust it: `AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)`"
                if pickled
                else "weights are read from safetensors alone"
            )
            raise DataError(f"{folder}: {path.name} is missing; {hint}")
        try:
            tensors |= safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise DataError(f"{path}: not a whole safetensors file ({error}); copy it once more") from error
    return tensors


def _shards(index: Path) -> list[str]:
    """Return the files that an index names; none may lie outside its folder."""
    try:
        names = sorted({str(name) for name in files.read_json(index)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index}: expected a JSON object with a `weight_map` of tensors to files") from error
    if outside := [name for name in names if Path(name).name != name or len(name) > 200 or not name.isprintable()]:
        raise DataError(
            f"{index}: {outside[0][:200]!r} is not the name of a file in the same folder; copy it once more"
        )
    return names


def _plain(name: str) -> str:
    """Give a tensor of an old folder its newer name."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _without(names: tuple[str, ...], prefix: str, found: str) -> tuple[str, ...]:
    """Names of tables that carry the prefix, for a folder that may not."""
    return tuple(found + name.removeprefix(prefix) if name.startswith(prefix) else name for name in names)


def _fill_if_there(
    module: Any, names: Mapping[str, tuple[str, ...]], tensors: Mapping[str, Tensor], taken: set[str], folder: Path
) -> Any:
    there = [name in tensors for theirs in names.values() for name in theirs]
    return _fill(module, names, tensors, taken, folder) if there and all(there) else None


def _fill(
    module: Any, names: Mapping[str, tuple[str, ...]], tensors: Mapping[str, Tensor], taken: set[str], folder: Path
) -> Any:
    """Copy tensors into a module, joined where one of ours is several of theirs.

    The module gets its memory once every shape is found right: a config can say more than any machine holds.
    """
    missing = [name for theirs in names.values() for name in theirs if name not in tensors]
    if missing:
        raise DataError(f"{folder}: {len(missing)} tensors are missing, such as {', '.join(missing[:3])}")
    shapes = {ours: tuple(value.shape) for ours, value in module.state_dict().items()}
    for ours, theirs in names.items():
        first, *rest = shapes[ours]
        wanted = (first // len(theirs), *rest)
        for name in theirs:
            if tuple(tensors[name].shape) != wanted:
                found = tuple(tensors[name].shape)
                raise DataError(f"{folder}: {name} has shape {found}; config.json means {wanted}; mend one of them")
    module = module.to_empty(device="cpu")
    own = module.state_dict()
    for ours, theirs in names.items():
        own[ours].copy_(torch.cat([tensors[name] for name in theirs]) if len(theirs) > 1 else tensors[theirs[0]])
        taken.update(theirs)
    return module


def _kind(model: MaskedLM | Classifier) -> str:
    return "MaskedLM" if isinstance(model, MaskedLM) else "SequenceClassification"


def _tied(tensors: Mapping[str, Tensor], repeats: Mapping[str, str], folder: Path) -> None:
    """Refuse a stored output matrix or bias that differs from what it should repeat."""
    for name, original in repeats.items():
        if name in tensors and original in tensors and not torch.equal(tensors[name], tensors[original]):
            raise DataError(f"{folder}: {name} differs from {original}; only tied output matrices are supported")
