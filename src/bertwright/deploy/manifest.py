"""The table of contents of an exported folder: what it was made from, its files with their checksums, its proof.

DIR/export.json          this
DIR/embeddings.onnx      ids to states; large tensors lie beside, in embeddings.weights
DIR/segments.onnx        all segments, of which a run takes one; tensors in segments.weights
DIR/all-layers.onnx      the layers in one go, on the same tensors, for rows that leave behind the last
DIR/products.onnx        the product of states with a head's matrix, whichever it is
DIR/backbone.safetensors the encoder's own biases, the head's dense layer that came with it, the final norm
DIR/tokenizer.json ...   the tokenizer
DIR/packs/NAME.pack      packs that were exported with it
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from bertwright import files
from bertwright.errors import DataError, InputError
from bertwright.pack import Backbone, backbone_terms
from bertwright.pack_card import first_fault

FORMAT = 4
NAME = "export.json"
PACKS = "packs"
_TOKENIZER = "tokenizer.json"
ARRAYS = "backbone.safetensors"
EMBEDDINGS = "embeddings.onnx"
SEGMENTS = "segments.onnx"
ALL_LAYERS = "all-layers.onnx"
PRODUCTS = "products.onnx"
_AGAIN = "copy the folder once more, or export it again"


@dataclass(frozen=True)
class Segment:
    """The layers of one step (numbered from 0), and in which numbers each is computed."""

    layers: tuple[int, ...]
    precision: tuple[Literal["fp32", "int8"], ...]


@dataclass(frozen=True)
class Manifest:
    """What an exported folder holds. ``files`` has a checksum for every file but this one.

    ``bits`` are those of a matrix's numbers in int8. ``proof`` is what the export measured against torch.
    """

    format: int
    version: str
    precision: Literal["fp32", "int8"]
    bits: int
    backbone: Backbone
    segments: tuple[Segment, ...]
    files: dict[str, str]
    proof: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


_MANIFEST = TypeAdapter(Manifest)


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder."""
    files.write_json(folder / NAME, manifest.as_dict())


def read(folder: Path) -> Manifest:
    """Read a folder's manifest and hold every file against it; ``DataError`` says what is damaged or missing."""
    path = folder / NAME
    if not path.is_file():
        what = "is no exported folder (it has no export.json)" if folder.is_dir() else "is not there"
        raise InputError(f"{folder} {what}; make one with `bertwright export ENCODER -o DIR`")
    try:
        text = path.read_text(encoding="utf-8")
        content = files.json_value(text)
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise InputError(
                f"{path}: written in format {content.get('format')!r} by bertwright {content.get('version')!r}, and "
                f"this one reads format {FORMAT}; export the encoder again with this version"
            )
        found = _MANIFEST.validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path}: {first_fault(error, 'the manifest')}; {_AGAIN}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); {_AGAIN}") from error
    _check(folder, found)
    return found


def checksums(folder: Path) -> dict[str, str]:
    """Return the checksum of every file in a folder but the manifest, by its path from there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {path.relative_to(folder).as_posix(): files.checksum(path) for path in paths}


def _file_inside(folder: Path, name: str) -> Path:
    """Return the path of a file that the manifest names; ``DataError`` where it is none, or lies elsewhere."""
    path = folder / name
    try:
        inside, there = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except (OSError, ValueError) as error:  # longer than the system takes, a null byte
        raise DataError(
            f"{folder / NAME}: {name[:100]!r} cannot be the name of a file ({error.args[-1]}); {_AGAIN}"
        ) from error
    if not inside:
        raise DataError(f"{folder / NAME}: names {name!r}, which lies outside of the folder; export it again")
    if not there:
        raise DataError(f"{path} is missing, and {NAME} names it; {_AGAIN}")
    return path


def _check(folder: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        path = _file_inside(folder, name)
        if (found := files.checksum(path)) != expected:
            size = path.stat().st_size
            raise DataError(
                f"{path} is damaged: found {size:,} bytes with checksum {found}, expected {expected}; {_AGAIN}"
            )
    wanted = (EMBEDDINGS, SEGMENTS, ALL_LAYERS, PRODUCTS, ARRAYS, _TOKENIZER)
    if missing := [name for name in wanted if name not in manifest.files]:
        raise DataError(f"{folder / NAME}: {missing[0]} has no checksum; {_AGAIN}")
    backbone_terms(manifest.backbone, str(folder / NAME))
    held, layers = [segment.layers for segment in manifest.segments], manifest.backbone.shape["layers"]
    if () in held or [layer for own in held for layer in own] != list(range(layers)):
        raise DataError(
            f"{folder / NAME}: its segments hold the layers {held}; expected layers 0 to {layers - 1} in order, and "
            f"none that is empty; {_AGAIN}"
        )
