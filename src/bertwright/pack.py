"""A pack: what one task changes in a frozen encoder, in one file.

    TASK.pack              a safetensors file; `bertwright` in its metadata is the header, JSON
      bias/<term>          what is added to the encoder's bias of that name (``bias_terms.Term.key``)
      head/<parameter>     the head's values: what did not come with the encoder, or changed
      ramps/<parameter>    classifiers after inner layers; read and written as they are

The header says for which encoder and tokenizer the pack is, which task it answers and how it was made. Reading is
strict: every fault is a ``DataError`` that names the file. Nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic_core
import safetensors
import safetensors.numpy
from pydantic import Field, TypeAdapter, ValidationError

from bertwright import files
from bertwright.bias_terms import POOLER, Term, choose, terms_of
from bertwright.errors import DataError, InputError
from bertwright.pack_card import PackCard, Strict, first_fault

FORMAT = 2
RAMPS_SEE_THE_MEAN = "mean"
"""Name of the tensor among the ramps that says so; packs without it are in format 1, which older readers know."""
SUFFIX = ".pack"
DTYPES: Mapping[str, Any] = {"fp16": np.float16, "fp32": np.float32}
Arrays = Mapping[str, np.ndarray]
_KEY = "bertwright"
_STORED = {"F16": "fp16", "F32": "fp32"}
# Far above any pack, far below what a machine has: a large encoder's ramps and head take 110 MB.
_LARGEST = 256 << 20
_LONGEST_HEADER = 4 << 20
_MOST = {"layers": 1024, "width": 1 << 16, "inner": 1 << 20}
_AGAIN = "copy it once more, or make it again"


@dataclass(frozen=True)
class Backbone(Strict):
    """The frozen encoder: hashes of its tensors and of its tokenizer, its shape (``EncoderConfig.as_dict``).

    ``pooler`` tells whether a head's dense layer came with it.
    """

    hash: str
    tokenizer: str
    family: str
    shape: dict[str, Any]
    pooler: bool


@dataclass(frozen=True)
class PackTask(Strict):
    """The task: as ``task.json`` in a fine-tuned run's folder, and a name for each output."""

    name: str
    kind: Literal["classification", "multi-label", "regression"]
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    labels: tuple[str, ...]
    max_length: Annotated[int, Field(ge=4)]
    none_label: str | None = None
    label_separator: str = ";"
    window_stride: Annotated[int, Field(ge=1)] | None = None
    brackets: bool = False


@dataclass(frozen=True)
class Counts(Strict):
    """How many numbers the pack holds, and of how many parameters of the encoder."""

    body: int
    pooler: int
    head: int
    total: int
    of: int


@dataclass(frozen=True)
class Method(Strict):
    """How it was learnt: the choice of terms (``bias_terms.choose``; ``None``: the head alone), and of layers."""

    name: str
    terms: str | None
    layers: tuple[int, int] | None
    counts: Counts


@dataclass(frozen=True)
class Score(Strict):
    """What the pack reached on a set, from 0 to 1; ``None`` where the metric is undefined."""

    set: str
    metric: str
    value: float | None
    seed: int
    precision: str
    protocol: str


@dataclass(frozen=True)
class _Header(Strict):
    format: Literal[1, 2]
    backbone: Backbone
    task: PackTask
    method: Method
    dtype: Literal["fp16", "fp32"]
    scores: tuple[Score, ...]
    policy: dict[str, Any] | None
    recipe: str
    card: PackCard | None = None


_HEADER = TypeAdapter(_Header)


@dataclass(frozen=True, eq=False)
class Pack:
    """One task's part of a frozen encoder. ``biases`` are deltas by term, lowest first; arrays are in ``dtype``."""

    backbone: Backbone
    task: PackTask
    method: Method
    dtype: str
    biases: Arrays
    head: Arrays
    ramps: Arrays = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    policy: dict[str, Any] | None = None
    recipe: str = ""
    card: PackCard | None = None

    @property
    def terms(self) -> tuple[Term, ...]:
        """Return the bias terms that it changes, the lowest first."""
        return tuple(term for term in backbone_terms(self.backbone) if term.key in self.biases)

    def header(self) -> dict[str, Any]:
        """Return the header as plain values."""
        return {
            "format": FORMAT if RAMPS_SEE_THE_MEAN in self.ramps else 1,
            "backbone": asdict(self.backbone),
            "task": asdict(self.task),
            "method": asdict(self.method),
            "dtype": self.dtype,
            "scores": [asdict(score) for score in self.scores],
            "policy": self.policy,
            "recipe": self.recipe,
            **({} if self.card is None else {"card": asdict(self.card)}),
        }


def make(
    *,
    backbone: Backbone,
    task: PackTask,
    method: str,
    terms: str | None,
    layers: tuple[int, int] | None = None,
    biases: Arrays,
    head: Arrays,
    of: int,
    dtype: str = "fp16",
    ramps: Arrays | None = None,
    scores: Sequence[Score] = (),
    policy: dict[str, Any] | None = None,
    recipe: str = "",
) -> Pack:
    """Return a pack of arrays of any precision, rounded to ``dtype``; ``of`` counts the backbone's parameters.

    ``DataError`` where a number is not finite, is too large for fp16, or has no place in this backbone.
    """
    if dtype not in DTYPES:
        raise InputError(f"a pack's dtype {dtype!r} is not known; it is one of {', '.join(DTYPES)}")
    where = f"the pack of task {task.name}"
    known = [term.key for term in backbone_terms(backbone, where)]
    # Canonical order: the same content gives the same bytes.
    places = {key: place for place, key in enumerate(known)}
    ordered = {key: biases[key] for key in sorted(biases, key=lambda key: (places.get(key, len(known)), key))}
    rounded = {
        kind: {name: _rounded(value, dtype, f"{where}: {kind}/{name}") for name, value in arrays.items()}
        for kind, arrays in (
            ("bias", ordered),
            ("head", dict(sorted(head.items()))),
            ("ramps", dict(sorted((ramps or {}).items()))),
        )
    }
    counts = _counted(rounded["bias"], rounded["head"], of)
    made = Pack(
        backbone,
        task,
        Method(method, terms, layers, counts),
        dtype,
        biases=rounded["bias"],
        head=rounded["head"],
        ramps=rounded["ramps"],
        scores=tuple(scores),
        policy=policy,
        recipe=recipe,
    )
    _check(made, where)
    return made


def rounded_ramps(ramps: Arrays, dtype: str) -> Arrays:
    """Return ramps rounded to a pack's dtype, in their canonical order; what fp16 cannot hold is refused."""
    return {name: _rounded(value, dtype, f"ramps/{name}") for name, value in sorted(ramps.items())}


def to_bytes(pack: Pack) -> bytes:
    """Return the content of a pack's file; the same pack gives the same bytes."""
    header = json.dumps(pack.header(), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    arrays = {
        f"{kind}/{name}": np.ascontiguousarray(value)
        for kind, part in (("bias", pack.biases), ("head", pack.head), ("ramps", pack.ramps))
        for name, value in part.items()
    }
    try:
        _HEADER.validate_json(header)
    except ValidationError as error:
        raise DataError(f"the pack of task {pack.task.name}: {first_fault(error)}") from error
    content: bytes = safetensors.numpy.save(arrays, metadata={_KEY: header})
    return content


def write(path: Path, pack: Pack) -> None:
    """Write a pack's file, whole or not at all; what ``read`` would refuse is refused here."""
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: found the ending {path.suffix!r}; the name of a pack ends in {SUFFIX}")
    _check(pack, f"the pack of task {pack.task.name}")
    files.write_bytes(path, to_bytes(pack))


def read(path: Path) -> Pack:
    """Read a pack; ``DataError`` says what is wrong with the file."""
    if not path.is_file():
        raise InputError(f"{path} {'is no file' if path.exists() else 'is not there'}; name a {SUFFIX} file")
    if (size := path.stat().st_size) > _LARGEST:
        raise DataError(
            f"{path}: found {size / 1e6:,.0f} MB, and a pack has at most {_LARGEST / 1e6:,.0f}; this is another file"
        )
    content = path.read_bytes()
    header = _header(content, path)
    parts: dict[str, dict[str, np.ndarray]] = {"bias": {}, "head": {}, "ramps": {}}
    for name, tensor in _deserialized(content):
        kind, _, rest = name.partition("/")
        if kind not in parts or not rest:
            raise DataError(f"{path}: found a tensor {name!r}; a pack has bias/, head/ and ramps/ alone; {_AGAIN}")
        if _STORED.get(tensor["dtype"]) != header.dtype:
            raise DataError(f"{path}: {name} is stored as {tensor['dtype']}, not as {header.dtype}; {_AGAIN}")
        value = np.frombuffer(tensor["data"], DTYPES[header.dtype]).reshape(tensor["shape"])
        value.flags.writeable = False
        parts[kind][rest] = value
    places = {term.key: place for place, term in enumerate(backbone_terms(header.backbone, str(path)))}
    pack = Pack(
        header.backbone,
        header.task,
        header.method,
        header.dtype,
        dict(sorted(parts["bias"].items(), key=lambda item: places.get(item[0], -1))),
        dict(sorted(parts["head"].items())),
        dict(sorted(parts["ramps"].items())),
        header.scores,
        header.policy,
        header.recipe,
        header.card,
    )
    _check(pack, str(path))
    return pack


def backbone_terms(backbone: Backbone, where: str = "the pack") -> tuple[Term, ...]:
    """Return every bias term of a pack's backbone; ``DataError`` where its shape is none."""
    for name, most in _MOST.items():
        value = backbone.shape.get(name)
        if type(value) is not int or not 0 < value <= most:
            raise DataError(f"{where}: backbone.shape.{name} is {value!r}; expected a whole number from 1 to {most}")
    if backbone.shape.get("family") != backbone.family:
        found = backbone.shape.get("family")
        raise DataError(f"{where}: backbone.family is {backbone.family!r}, and its shape says {found!r}; {_AGAIN}")
    layers, width, inner = (backbone.shape[name] for name in _MOST)
    return terms_of(backbone.family, layers=layers, width=width, inner=inner, pooler=backbone.pooler)


def _deserialized(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    # The library's Rust half has no types.
    return list(safetensors.deserialize(content))  # type: ignore[no-untyped-call]


def _header(content: bytes, path: Path) -> _Header:
    """Return a file's header. Only what safetensors has found whole is looked at."""
    length = int.from_bytes(content[:8], "little")
    if len(content) > 8 and length > _LONGEST_HEADER and content[8:9] == b"{":
        raise DataError(f"{path}: found a header of {length:,} bytes, and a pack's has at most {_LONGEST_HEADER:,}")
    try:
        _deserialized(content)
        metadata = pydantic_core.from_json(content[8 : 8 + length]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError) as error:
        raise DataError(f"{path}: not a whole safetensors file ({error}); {_AGAIN}") from error
    if _KEY not in metadata:
        raise DataError(
            f"{path}: a safetensors file, and no pack of bertwright (its metadata has no {_KEY!r}); {_AGAIN}"
        )
    try:
        version = pydantic_core.from_json(metadata[_KEY], allow_inf_nan=False)
        version = version.get("format") if isinstance(version, dict) else None
        if type(version) is int and version > FORMAT:
            raise DataError(
                f"{path}: written in format {version}, and this bertwright reads up to {FORMAT}; install a newer one"
            )
        return _HEADER.validate_json(metadata[_KEY])
    except ValidationError as error:
        raise DataError(f"{path}: the header cannot be read: {first_fault(error)}; {_AGAIN}") from error
    except ValueError as error:
        raise DataError(f"{path}: the header is not JSON ({error}); {_AGAIN}") from error


def _rounded(value: np.ndarray, dtype: str, where: str) -> np.ndarray:
    """Return a read-only array in a pack's dtype, 32 bits where 16 would overflow being refused."""
    exact = np.asarray(value, dtype=np.float32)
    if not np.isfinite(exact).all():
        raise DataError(f"{where} holds a number that is not finite; the training diverged: lower its learning rate")
    with np.errstate(over="ignore"):
        rounded = np.array(exact, dtype=DTYPES[dtype])
    if not np.isfinite(rounded).all():
        raise DataError(f"{where} holds {np.abs(exact).max():.4g}, more than fp16 can ({65504:,}); write it as fp32")
    rounded.flags.writeable = False
    return rounded


def _counted(biases: Arrays, head: Arrays, of: int) -> Counts:
    pooler = sum(value.size for key, value in biases.items() if key in POOLER)
    body = sum(value.size for value in biases.values()) - pooler
    own = sum(value.size for value in head.values())
    return Counts(body, pooler, own, body + pooler + own, of)


def _check(pack: Pack, where: str) -> None:
    """Refuse a pack whose header does not describe its tensors, and numbers that are none."""
    sizes = {term.key: term.size for term in backbone_terms(pack.backbone, where)}
    for key, value in pack.biases.items():
        if key not in sizes:
            raise DataError(
                f"{where}: found a tensor bias/{key}; its {pack.backbone.family} encoder of "
                f"{pack.backbone.shape['layers']} layers has no such term; {_AGAIN}"
            )
        if value.shape != (sizes[key],):
            raise DataError(f"{where}: bias/{key} has shape {value.shape}, expected ({sizes[key]},); {_AGAIN}")
    method = pack.method
    try:
        named = [] if method.terms is None else choose(pack.terms, method.terms, method.layers) if pack.biases else []
    except InputError as error:
        raise DataError(f"{where}: method.terms: {error}; {_AGAIN}") from error
    # A head that was trained whole changes the bias of the dense layer that came with the encoder.
    if outside := set(pack.biases) - {term.key for term in named} - set(POOLER):
        raise DataError(
            f"{where}: holds bias/{min(outside)}, which method.terms {method.terms!r} does not name; {_AGAIN}"
        )
    _check_head(pack, where)
    for kind, arrays in (("bias", pack.biases), ("head", pack.head), ("ramps", pack.ramps)):
        for name, value in arrays.items():
            if not np.isfinite(value).all():
                raise DataError(f"{where}: {kind}/{name} holds a number that is not finite; {_AGAIN}")
    if (counts := _counted(pack.biases, pack.head, method.counts.of)) != method.counts:
        raise DataError(f"{where}: method.counts says {method.counts}, and the tensors are {counts}; {_AGAIN}")


def _check_head(pack: Pack, where: str) -> None:
    """Refuse a head with tensors missing, unknown or of another shape."""
    width, classes = pack.backbone.shape["width"], len(pack.task.labels)
    if not classes or len(set(pack.task.labels)) != classes or (pack.task.kind == "regression" and classes != 1):
        raise DataError(f"{where}: task.labels is {list(pack.task.labels)}; expected a name of its own for each output")
    shapes = {"output.weight": (classes, width), "output.bias": (classes,), "dense.weight": (width, width)}
    norm = ("norm.weight", "norm.bias") if pack.backbone.family == "modern" else ()
    shapes |= {"dense.bias": (width,), **dict.fromkeys(norm, (width,))}
    # What came with the encoder is stored where it changed; its biases are terms.
    came = {"dense.weight", "dense.bias", *norm} if pack.backbone.pooler else set()
    for name in sorted(set(pack.head) - set(shapes)) + sorted(n for n in came & set(pack.head) if n.endswith("bias")):
        raise DataError(f"{where}: found a tensor head/{name}, which this pack's head does not have; {_AGAIN}")
    if missing := sorted(set(shapes) - came - set(pack.head)):
        raise DataError(f"{where}: head/{missing[0]} is missing; {_AGAIN}")
    for name, value in pack.head.items():
        if value.shape != shapes[name]:
            raise DataError(
                f"{where}: head/{name} has shape {value.shape}, expected {shapes[name]} for {classes} labels and "
                f"width {width}; {_AGAIN}"
            )
