"""Writing an exported folder: embeddings and segments as ONNX, the encoder's own arrays, tokenizer and packs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import onnx
import onnxruntime
import safetensors.numpy

import bertwright
from bertwright import files
from bertwright import pack as packs
from bertwright.deploy import manifest as contents
from bertwright.deploy.graphs import Numbers, embedding_model, layers_model, product_model, segments_model
from bertwright.deploy.linears import PRECISIONS
from bertwright.deploy.manifest import Manifest, Segment
from bertwright.deploy.nodes import Stored, write, write_whole
from bertwright.deploy.sources import Deployable
from bertwright.errors import InputError
from bertwright.pack import Pack
from bertwright.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Form:
    """How an encoder is cut and computed: "fp32" or "int8", layers in a segment, layers (from 0) that stay fp32.

    ``bits`` are those of a matrix's numbers in int8; 7 on processors whose own instructions overflow with 8.
    """

    precision: str = "int8"
    segment: int = 1
    keep_fp32: tuple[int, ...] = ()
    bits: int = 8

    def numbers(self, layers: int) -> Numbers:
        """Return in which numbers each of so many layers is computed; ``InputError`` where that makes no sense."""
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r} is not known; it is one of {', '.join(PRECISIONS)}")
        if self.bits not in (7, 8):
            raise InputError(f"found {self.bits} bits; expected 8, or 7 where a processor overflows with 8")
        if not 1 <= self.segment <= layers:
            raise InputError(f"segments of {self.segment} layers: expected 1 to {layers}, the encoder's layers")
        if wrong := [number for number in self.keep_fp32 if not 0 <= number < layers]:
            raise InputError(f"layer {wrong[0]} cannot stay fp32: the encoder's layers are numbered 0 to {layers - 1}")
        return Numbers(tuple("fp32" if n in self.keep_fp32 else self.precision for n in range(layers)), self.bits)


def write_export(
    folder: Path, made: Deployable, tokenizer: Tokenizer, form: Form, named: Mapping[str, Pack] | None = None
) -> Manifest:
    """Fill an empty folder with what serves an encoder, and return its manifest; ``named`` are packs to go with it."""
    config = made.source.config
    numbers = form.numbers(config.layers)
    with files.explained(folder):
        stored: Stored = {}
        write(embedding_model(made.source), folder / contents.EMBEDDINGS, stored)
        cuts = [tuple(range(config.layers))[n : n + form.segment] for n in range(0, config.layers, form.segment)]
        write(segments_model(made.source, cuts, numbers), folder / contents.SEGMENTS, stored)
        write(layers_model(made.source, range(config.layers), numbers), folder / contents.ALL_LAYERS, stored)
        write_whole(product_model(), folder / contents.PRODUCTS)
        files.write_bytes(folder / contents.ARRAYS, safetensors.numpy.save(dict(sorted(made.own.items()))))
        tokenizer.save(folder, max_length=config.positions, segments=config.segments > 1)
        for name, pack in (named or {}).items():
            packs.write(folder / contents.PACKS / f"{name}{packs.SUFFIX}", pack)
        segments = [Segment(cut, cast(Any, tuple(numbers.layers[n] for n in cut))) for cut in cuts]
        versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
        manifest = Manifest(
            contents.FORMAT,
            bertwright.__version__,
            cast(Any, form.precision),
            form.bits,
            made.backbone,
            tuple(segments),
            contents.checksums(folder),
            versions,
        )
        contents.write(folder, manifest)
    return manifest


def note_proof(folder: Path, manifest: Manifest, proof: Mapping[str, Any], rewritten: Iterable[str] = ()) -> Manifest:
    """Write what was measured into a folder's manifest; ``rewritten`` are files that changed since it was written."""
    changed = {name: files.checksum(folder / name) for name in rewritten}
    noted = replace(manifest, proof=dict(proof), files={**manifest.files, **changed})
    contents.write(folder, noted)
    return noted
