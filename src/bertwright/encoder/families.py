"""The door to the world: ordinary model folders, read and written, and the proof that they are right."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from bertwright import files
from bertwright.encoder.config import FAMILIES, EncoderConfig
from bertwright.encoder.heads import ClassificationHead, MaskedLMHead
from bertwright.encoder.models import Classifier, MaskedLM
from bertwright.encoder.names import NAMES, body_names, head_names
from bertwright.encoder.stack import Encoder
from bertwright.errors import DataError, ProofFailed

PROBLEMS = {
    "classification": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
# Largest difference between our outputs and the ordinary class's, fp32.
_PROOF = 1e-4
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


def load(folder: Path) -> Loaded:
    """Read an ordinary model folder; ``DataError`` says what is missing or does not fit."""
    settings = _settings(folder)
    config = _config(settings, folder)
    family = NAMES[config.family]
    tensors = {_plain(name): value for name, value in _tensors(folder).items()}
    prefixed = {f"{family.prefix}{name}" for names in body_names(config).values() for name in names}
    prefix = family.prefix if prefixed & set(tensors) else ""
    body = {ours: tuple(f"{prefix}{name}" for name in theirs) for ours, theirs in body_names(config).items()}
    taken: set[str] = set()
    encoder = _fill(Encoder(config), body, tensors, taken, folder)
    head = _fill_if_there(MaskedLMHead(config), family.masked_lm_head, tensors, taken, folder)
    pooler_names = {
        ours.partition(".")[2]: _without(theirs, family.prefix, prefix) for ours, theirs in family.pooler.items()
    }
    pooler = _fill_if_there(nn.Linear(config.width, config.width), pooler_names, tensors, taken, folder)
    labels = _labels(settings)
    classifier = None
    if all(name in tensors for names in family.classifier.values() for name in names):
        names = {ours: _without(theirs, family.prefix, prefix) for ours, theirs in head_names(config).items()}
        classes = tensors[family.classifier["output.weight"][0]].shape[0]
        classifier = _fill(ClassificationHead(config, classes), names, tensors, taken, folder)
    unused = sorted(set(tensors) - taken - set(family.decoder) - {n for n in tensors if n.endswith(_CARRY_NOTHING)})
    _tied(tensors, family.decoder, body["embeddings.words.weight"][0], folder)
    notes = [] if head is not None else ["the folder has no masked-word head"]
    if unused:
        notes.append(f"{len(unused)} tensors of the folder are not used: {', '.join(unused[:5])}")
    return Loaded(config, encoder, head, pooler, classifier, labels, tuple(notes))


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
    if labels is not None:
        content |= {"id2label": {str(i): label for i, label in enumerate(labels)}}
        content |= {"label2id": {label: i for i, label in enumerate(labels)}}
    if problem is not None:
        content["problem_type"] = PROBLEMS[problem]
    folder.mkdir(parents=True, exist_ok=True)
    files.write_bytes(folder / "model.safetensors", safetensors.torch.save(tensors, metadata={"format": "pt"}))
    files.write_json(folder / "config.json", content)


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
        raise ProofFailed(f"{folder}: {type(ordinary).__name__} misses {', '.join(sorted(info['missing_keys'])[:5])}")
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


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(
            f"{folder}: no config.json in it; name an ordinary model folder (config.json, model.safetensors)"
        )
    try:
        settings: dict[str, Any] = files.read_json(path)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    return settings


def _config(settings: Mapping[str, Any], folder: Path) -> EncoderConfig:
    """Translate an ordinary config; refuse what our modules would compute otherwise."""
    kind = settings.get("model_type")
    name = next((name for name, family in NAMES.items() if family.model_type == kind), None)
    if name is None:
        known = ", ".join(f"{NAMES[family].model_type} ({family})" for family in FAMILIES)
        raise DataError(f"{folder}: model_type {kind!r} is not supported; supported are {known}")
    family = NAMES[name]
    for key, value in family.fixed.items():
        if key in settings and settings[key] != value:
            raise DataError(f"{folder}: config.json says {key} = {settings[key]!r}; bertwright reads only {value!r}")
    if settings.get("position_embedding_type", "absolute") != "absolute":
        raise DataError(f"{folder}: position_embedding_type {settings['position_embedding_type']!r} is not supported")
    values = {ours: settings[theirs] for theirs, ours in family.settings.items() if theirs in settings}
    missing = [k for k in ("vocabulary", "width", "layers", "heads", "inner") if k not in values]
    if missing:
        raise DataError(f"{folder}: config.json lacks {', '.join(missing)}")
    values.setdefault("pad_id", 1 if name == "roberta" else 0)
    values.setdefault("segments", {"bert": 2, "bert-preln": 2, "roberta": 1}.get(name, 0))
    values.setdefault("norm_eps", 1e-5 if name == "modern" else 1e-12)
    if name == "roberta":
        values["positions"] -= values["pad_id"] + 1
    if name == "modern":
        values |= _modern_values(settings)
    return EncoderConfig.from_dict({"family": name, **values})


def _modern_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read what newer folders write as lists: RoPE's bases and the kinds of layers."""
    values: dict[str, Any] = {}
    ropes = settings.get("rope_parameters") or {}
    for key, ours in (("full_attention", "rope_base"), ("sliding_attention", "local_rope_base")):
        if "rope_theta" in ropes.get(key, {}):
            values[ours] = ropes[key]["rope_theta"]
    kinds = settings.get("layer_types")
    if kinds and "global_attn_every_n_layers" not in settings:
        full = [number for number, kind in enumerate(kinds) if kind == "full_attention"]
        every = full[1] if len(full) > 1 else len(kinds)
        if full != list(range(0, len(kinds), every)):
            raise DataError(f"layer_types {kinds} is not a regular pattern of global and local layers")
        values["global_every"] = every
    return values


def _tensors(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        paths = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    else:
        paths = [folder / "model.safetensors"]
    tensors: dict[str, Tensor] = {}
    for path in paths:
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
        except safetensors.SafetensorError as error:
            raise DataError(f"{path}: not a whole safetensors file ({error})") from error
    return tensors


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
    """Copy tensors into a module, joined where one of ours is several of theirs."""
    missing = [name for theirs in names.values() for name in theirs if name not in tensors]
    if missing:
        raise DataError(f"{folder}: {len(missing)} tensors are missing, such as {', '.join(missing[:3])}")
    own = module.state_dict()
    for ours, theirs in names.items():
        joined = torch.cat([tensors[name] for name in theirs]) if len(theirs) > 1 else tensors[theirs[0]]
        if joined.shape != own[ours].shape:
            raise DataError(
                f"{folder}: {theirs[0]} has shape {tuple(tensors[theirs[0]].shape)}; config.json means "
                f"{(own[ours].shape[0] // len(theirs), *own[ours].shape[1:])}"
            )
        own[ours].copy_(joined)
        taken.update(theirs)
    return module


def _kind(model: MaskedLM | Classifier) -> str:
    return "MaskedLM" if isinstance(model, MaskedLM) else "SequenceClassification"


def _labels(settings: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = settings.get("id2label")
    return tuple(str(names[key]) for key in sorted(names, key=int)) if names else None


def _tied(tensors: Mapping[str, Tensor], decoder: tuple[str, ...], words: str, folder: Path) -> None:
    name = decoder[0]
    if name in tensors and not torch.equal(tensors[name], tensors[words]):
        raise DataError(f"{folder}: {name} differs from the word embeddings; only tied output matrices are supported")
