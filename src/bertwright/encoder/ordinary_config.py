"""An ordinary model folder's config.json: read strictly, and translated into our shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.encoder.config import FAMILIES, EncoderConfig
from bertwright.encoder.missing_biases import SWITCHES
from bertwright.encoder.names import NAMES
from bertwright.errors import DataError

# Without these there is no shape; the others have a usual value.
_NEEDED = ("vocabulary", "width", "layers", "heads", "inner")
# Settings that count something, from 1 (a padding id from 0).
_WHOLE = (*_NEEDED, "positions", "segments", "local_window", "global_every", "pad_id")
# No encoder has more; a config that says so would take all memory, or all time, before its tensors are looked at.
_MOST = {
    **{"vocabulary": 1 << 24, "width": 1 << 16, "layers": 1 << 10, "heads": 1 << 12, "inner": 1 << 20},
    **{"positions": 1 << 24, "segments": 1 << 16, "local_window": 1 << 24, "global_every": 1 << 10},
}


def settings_in(folder: Path) -> dict[str, Any]:
    """Return the settings of a folder's config.json; ``DataError`` where there are none to read."""
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(
            f"{folder}: no config.json in it; name an ordinary model folder (config.json, model.safetensors)"
        )
    try:
        settings = files.read_json(path)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); copy the folder once more") from error
    if not isinstance(settings, dict):
        raise DataError(f"{path}: found a JSON {type(settings).__name__}, expected an object of settings")
    return settings


def config_of(settings: Mapping[str, Any], folder: Path) -> EncoderConfig:
    """Translate an ordinary config; refuse what our modules would compute otherwise."""
    kind = settings.get("model_type")
    name = next((name for name, family in NAMES.items() if family.model_type == kind), None)
    if name is None:
        known = ", ".join(f"{NAMES[family].model_type} ({family})" for family in FAMILIES)
        raise DataError(f"{folder}: model_type {kind!r} is not supported; supported are {known}")
    family = NAMES[name]
    for key, value in family.fixed.items():
        if key in settings and settings[key] != value:
            hint = "; `encoder.add_missing: true` adds biases, as zeros" if key in SWITCHES else ""
            raise DataError(
                f"{folder}: config.json says {key} = {settings[key]!r}; bertwright reads only {value!r}{hint}"
            )
    if settings.get("position_embedding_type", "absolute") != "absolute":
        raise DataError(f"{folder}: position_embedding_type {settings['position_embedding_type']!r} is not supported")
    values = {ours: _number(settings, theirs, ours, folder) for theirs, ours in family.settings.items()}
    values = {ours: value for ours, value in values.items() if value is not None}
    missing = [theirs for theirs, ours in family.settings.items() if ours in _NEEDED and ours not in values]
    if missing:
        raise DataError(
            f"{folder}: config.json lacks {', '.join(missing)}, without which no shape can be built; copy it once more"
        )
    values.setdefault("pad_id", 1 if name == "roberta" else 0)
    values.setdefault("positions", 8192 if name == "modern" else 512)
    values.setdefault("segments", {"bert": 2, "bert-preln": 2, "roberta": 2}.get(name, 0))
    values.setdefault("norm_eps", 1e-5 if name == "modern" else 1e-12)
    if name == "roberta":
        values["positions"] -= values["pad_id"] + 1
    if name == "modern":
        values |= _modern_values(settings, folder)
    return EncoderConfig.from_dict({"family": name, **values})


def _number(settings: Mapping[str, Any], key: str, ours: str, folder: Path) -> Any:
    """Return a setting, ``None`` where absent; refuse what cannot be a size, a rate or (pooling) a word."""
    value: Any = settings.get(key)
    # Only a padding id may be null: some ordinary models have none.
    if key not in settings or (value is None and ours == "pad_id"):
        return None
    kind: Any = {"pooling": str, **dict.fromkeys(_WHOLE, int)}.get(ours, (int, float))
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if fits and ours in _WHOLE:
        fits = (ours != "pad_id") <= value <= _MOST.get(ours, value)
    elif fits and kind is not str:
        # A rate of dropout is at most 1; false for NaN too.
        fits = 0 <= value <= (1 if ours.endswith("dropout") else 1e30)
    if not fits:
        shown = repr(value) if not isinstance(value, int) or abs(value) < 1e30 else "a very large number"
        expected = {str: "a word", int: "a whole number"}.get(kind, "a number")
        raise DataError(f"{folder}: config.json says {key} = {shown[:100]}; expected {expected} that a shape can have")
    return value


def _modern_values(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read what newer folders write as lists: RoPE's bases and the kinds of layers. They stand above older keys."""
    values: dict[str, Any] = {}
    ropes = _object(settings, "rope_parameters", folder)
    for key, ours in (("full_attention", "rope_base"), ("sliding_attention", "local_rope_base")):
        rope = _object(ropes, key, folder)
        if settings.get("rope_scaling") or rope.get("rope_type", "default") != "default":
            raise DataError(f"{folder}: config.json stretches RoPE's angles; bertwright reads only rope_type 'default'")
        if "rope_theta" in rope:
            values[ours] = _number(rope, "rope_theta", ours, folder)
    kinds = settings.get("layer_types")
    if kinds:
        if not isinstance(kinds, list) or len(kinds) > _MOST["layers"]:
            raise DataError(f"{folder}: config.json says layer_types = {str(kinds)[:100]}; expected a word a layer")
        full = [number for number, kind in enumerate(kinds) if kind == "full_attention"]
        every = full[1] if len(full) > 1 else len(kinds)
        if full != list(range(0, len(kinds), every)):
            raise DataError(
                f"{folder}: layer_types {kinds} is not a regular pattern of global and local layers; take another model"
            )
        values["global_every"] = every
    return values


def _object(settings: Mapping[str, Any], key: str, folder: Path) -> Mapping[str, Any]:
    """Return an object of a config, an empty one where it is absent."""
    value = settings.get(key) or {}
    if not isinstance(value, dict):
        raise DataError(f"{folder}: config.json says {key} = {value!r}; expected an object of settings")
    return value


def labels_of(settings: Mapping[str, Any], folder: Path) -> tuple[str, ...] | None:
    """Return the names of a classifier's outputs, in their order; ``None`` where there are none."""
    names = _object(settings, "id2label", folder)
    if wrong := [key for key in names if not key.isascii() or not key.isdigit() or len(key) > 9]:
        raise DataError(f"{folder}: config.json names an output {wrong[0][:40]!r} in id2label; expected a number")
    return tuple(str(names[key]) for key in sorted(names, key=int)) if names else None
