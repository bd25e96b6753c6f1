"""Readers of foreign bytes, each with whole files to begin from. The property of all: a result or a clear refusal.

Shared by the tests (few inputs each) and by ``fuzz/fuzz.py`` (as many as there is time for).
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from bertwright import pack
from bertwright.debias.expert_file import signals_in_file
from bertwright.deploy import manifest
from bertwright.deploy.messages import understood
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.families import load, read_config, save
from bertwright.encoder.models import build_masked_lm
from bertwright.errors import BertwrightError, RecipeError
from bertwright.recipe.reading import draft_recipe
from bertwright.tasks.guess import guess_task
from bertwright.tasks.labels import LabelMap
from bertwright.tasks.readers import Rows
from bertwright.tasks.readers import read as read_task
from bertwright.tasks.submission import EXPECTED, HEADER, check_submission
from bertwright.tasks.tables import open_table, windows
from bertwright.text.documents import Troubles, documents
from bertwright.text.parts import parts_of
from bertwright.text.sources import Source, text_file
from bertwright.text.tokenizer import Tokenizer, train_tokenizer
from bertwright.text.troubles import Limit

Read = Callable[[Path], object]
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Reader:
    """A reader: the name its file has, whole files to begin from, and what is done with a file."""

    file: str
    seeds: tuple[bytes, ...]
    read: Read

    def take(self, content: bytes, folder: Path) -> object:
        """Read bytes as a file of a folder; ``None`` where they are refused with a sentence."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            return self.read(path)
        except BertwrightError as error:
            assert len(str(error)) > 20, f"a refusal without a sentence: {error!r}"
            return None


def _rows() -> list[dict[str, Any]]:
    return [{"id": n, "text": f"a text, number {n}", "label": ("low", "high")[n % 2]} for n in range(4)]


def _csv(sign: str) -> bytes:
    lines = [sign.join(f'"{cell}"' if sign == "," else str(cell) for cell in row.values()) for row in _rows()]
    return "\n".join([sign.join(("id", "text", "label")), *lines, ""]).encode()


def _jsonl() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in _rows()).encode()


def _parquet(**choices: Any) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_rows()), content, **choices)
    return content.getvalue()


PLAIN: dict[str, bytes] = {
    "txt": b"first line\nsecond line\n\nanother text\n",
    "csv": _csv(","),
    "tsv": _csv("\t"),
    "jsonl": _jsonl(),
    "parquet": _parquet(),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


def read_source(path: Path) -> int:
    """Read documents as a corpus is read: faulty rows skipped, whole and in parts."""
    file = text_file(Source(str(path)), path)
    spans = [part.span() for part in parts_of(0, file, 64, path.parent / "pieces")]
    return sum(
        1
        for span in [None, *spans[:4]]
        for _ in documents(
            file, errors="replace", broken_rows="skip", troubles=Troubles(), span=span, limit=Limit(_LONGEST, True)
        )
    )


def read_labelled(path: Path) -> int:
    """Read rows of a task in all its kinds, and as a table."""
    outcomes = []
    for kind in ("classification", "multi-label", "regression"):
        outcomes.append(_refused(lambda kind=kind: read_task(path, text=["text"], label="label", kind=kind)))
    outcomes.append(_refused(lambda: sum(map(len, windows(open_table(path, ["text"]))))))
    outcomes.append(_refused(lambda: guess_task(path).lines()))
    return sum(outcomes)


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except BertwrightError:
        return True
    return False


def _expert(path: Path) -> object:
    rows = Rows(path, tuple("0123"), tuple((f"text {n}",) for n in range(4)), ("low", "high", "low", "high"))
    labels = LabelMap.from_rows(rows, "classification")
    return signals_in_file(path, rows, labels, values="logits", names={})


def _expert_seed() -> bytes:
    return "".join(json.dumps({"id": n, "low": 0.5, "high": -1.25}) + "\n" for n in range(4)).encode()


RECIPE = b"""name: toy
store: &place here
prepare: {sources: [{path: texts, weight: 2}], row_length: 64, held_out: 5 %}
tokenizer: {vocabulary: 90}
encoder: {size: tiny, layers: 1}
pretrain: {budget: 20 min, batch: 8}
finetune: {seeds: 2, trainable: [bitfit, {method: full, learning_rate: 1e-4}], grid: {epochs: [2, 3]}}
tasks: [{name: height, train: train.jsonl, sets: {dev: dev.jsonl}, text: [text], metrics: [accuracy]}]
"""
_ALIASES = b"name: [&a [1, 1], &b [*a, *a], &c [*b, *b]]\ntasks: *c\n"


def _recipe(path: Path) -> object:
    draft = draft_recipe(path, [f"pretrain.budget={path.read_bytes()[:20].decode(errors='ignore')}"])
    return RecipeError(draft.source, list(draft.problems))


def _glue() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("WNLI", "CoLA"):
            label = "0" if EXPECTED[name].labels else "1.000"
            archive.writestr(f"{name}.tsv", HEADER + "\n" + "".join(f"{n}\t{label}\n" for n in range(3)))
    return content.getvalue()


def _request(path: Path) -> object:
    return understood(path.read_bytes(), most_rows=16, most_characters=1000)


_REQUESTS = (
    b'{"pack": "mood", "texts": ["one", ["two", "three"]], "logits": true}',
    b'{"rows": [{"pack": "mood", "text": "one"}, {"pack": "pair", "text": ["a", "\\u00e9"]}]}',
)


def toy_pack_bytes() -> bytes:
    """Return a small pack's file."""
    import numpy as np

    shape = {"family": "bert", "layers": 1, "width": 4, "inner": 6, "heads": 2, "vocabulary": 9, "norm_eps": 1e-12}
    made = pack.make(
        backbone=pack.Backbone("0" * 32, "1" * 32, "bert", shape, pooler=True),
        task=pack.PackTask("toy", "classification", ("text",), ("low", "high"), 16),
        method="bitfit",
        terms="query",
        biases={"layers.0.query": np.ones(4)},
        head={"output.weight": np.ones((2, 4)), "output.bias": np.zeros(2)},
        of=100,
        ramps={"1/output.weight": np.ones((2, 4)), "1/output.bias": np.zeros(2)},
        policy={"policy": "entropy:0.2"},
    )
    return pack.to_bytes(made)


def _tokenizer() -> dict[str, bytes]:
    import tempfile

    words = [f"{a}{b}{c}" for a, b, c in itertools.product("bkmt", "aeio", "ln")]
    made = train_tokenizer(words * 4, kind="wordpiece", vocabulary=40, lowercase=True)
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder), max_length=16)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


TOKENIZER = _tokenizer()


def _tokenizer_part(name: str) -> Read:
    def read(path: Path) -> object:
        for other, content in TOKENIZER.items():
            if other != name:
                (path.parent / other).write_bytes(content)
        found = Tokenizer.load(path.parent)
        return found.encode(["balan [MASK] kil"]), found.identity()

    return read


CONFIG = {
    **{"model_type": "bert", "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"intermediate_size": 8, "max_position_embeddings": 16, "type_vocab_size": 2, "pad_token_id": 0},
    **{"layer_norm_eps": 1e-12, "hidden_act": "gelu", "id2label": {"0": "low", "1": "high"}},
}
_MODERN = {
    **{"model_type": "modernbert", "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "intermediate_size": 8, "layer_types": ["full_attention", "sliding_attention"]},
    **{"rope_parameters": {"full_attention": {"rope_theta": 1e4}}, "norm_bias": True, "mlp_bias": True},
    **{"attention_bias": True, "global_attn_every_n_layers": 3, "local_attention": 8},
}


def _lying(path: Path) -> object:
    (path.parent / "model.safetensors").write_bytes(WEIGHTS)
    return load(path.parent, add_missing=True)


def _index(path: Path) -> object:
    (path.parent / "config.json").write_text(json.dumps(CONFIG))
    return load(path.parent)


def _weights() -> bytes:
    import tempfile

    shape = {"vocabulary": 40, "width": 8, "layers": 1, "heads": 2, "inner": 8, "positions": 16}
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), build_masked_lm(EncoderConfig(family="bert", **shape), seed=0), special_ids={})
        return (Path(folder) / "model.safetensors").read_bytes()


WEIGHTS = _weights()


_EXPORTED = (
    manifest.EMBEDDINGS,
    manifest.SEGMENTS,
    manifest.ALL_LAYERS,
    manifest.PRODUCTS,
    manifest.ARRAYS,
    "tokenizer.json",
)


def _manifest_seed() -> bytes:
    shape = {"family": "bert", "layers": 1, "width": 4, "inner": 6}
    content = {
        **{"format": manifest.FORMAT, "version": "0.1.0", "precision": "int8", "bits": 7},
        "backbone": {"hash": "0" * 32, "tokenizer": "1" * 32, "family": "bert", "shape": shape, "pooler": True},
        "segments": [{"layers": [0], "precision": ["int8"]}],
        "files": dict.fromkeys(_EXPORTED, "99aa06d3014798d86001c324468d497f"),
    }
    return json.dumps(content).encode()


def _manifest(path: Path) -> object:
    for name in _EXPORTED:
        (path.parent / name).write_bytes(b"")
    return manifest.read(path.parent)


def _readers() -> Iterable[tuple[str, Reader]]:
    for kind, content in PLAIN.items():
        yield f"source-{kind}", Reader(f"t.{kind}", (content,), read_source)
        for suffix, packed in PACKED.items() if kind in ("txt", "parquet") else ():
            yield f"source-{kind}-{suffix}", Reader(f"t.{kind}.{suffix}", (packed(content),), read_source)
        if kind != "txt":
            yield f"task-{kind}", Reader(f"rows.{kind}", (content,), read_labelled)
    yield "task-gz", Reader("rows.jsonl.gz", (gzip.compress(PLAIN["jsonl"]),), read_labelled)
    yield "expert", Reader("expert.jsonl", (_expert_seed(),), _expert)
    yield "recipe", Reader("recipe.yaml", (RECIPE, _ALIASES), _recipe)
    yield "zip", Reader("glue.zip", (_glue(),), check_submission)
    yield "request", Reader("body.json", _REQUESTS, _request)
    yield "pack", Reader("toy.pack", (toy_pack_bytes(),), pack.read)
    yield "tokenizer", Reader("tok/tokenizer.json", (TOKENIZER["tokenizer.json"],), _tokenizer_part("tokenizer.json"))
    name = "tokenizer_config.json"
    yield "tokenizer-config", Reader(f"tok/{name}", (TOKENIZER[name],), _tokenizer_part(name))
    configs = tuple(json.dumps(one).encode() for one in (CONFIG, _MODERN))
    yield "config", Reader("config.json", configs, lambda path: read_config(path.parent))
    yield "weights", Reader("model/model.safetensors", (WEIGHTS,), _index)
    yield "model-config", Reader("lying/config.json", configs, _lying)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    yield "index", Reader("index/model.safetensors.index.json", (json.dumps(index).encode(),), _index)
    yield "manifest", Reader("export/export.json", (_manifest_seed(),), _manifest)


READERS: dict[str, Reader] = dict(_readers())
