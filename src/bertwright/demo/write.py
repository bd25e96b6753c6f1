"""Writes the made-up language as the files a user would have: a corpus, three tasks and a recipe."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path

from bertwright import files
from bertwright.demo.corpus import make_articles
from bertwright.demo.language import make_lexicon
from bertwright.demo.tasks import REVERSED, USUAL, Row, inference_rows, similarity_rows, topic_rows
from bertwright.errors import StoreError

DOCUMENTS = 4000
_PARTS = 4  # files of the corpus; every second one is packed

RECIPE = """\
# The main job on a made-up language: raw text, tokenizer, encoder, three tasks, report.
# Written by `bertwright demo`; give it your own folders and it is a recipe for your own text.

name: demo
store: store
seed: {seed}

system:
  threads: 1                      # tensors this small gain nothing from a second thread,
  runs: 2                         # but two runs go side by side

prepare:
  sources: [corpus]
  row_length: 64
  held_out: 2 %

tokenizer:
  vocabulary: 384

encoder:
  family: bert
  size: mini
  width: 128
  inner: 512
  positions: 128

pretrain:
  budget: 800k tokens
  batch: 16
  optimizer: muon
  learning_rate: 2.0e-3
  mask_rate: 20 %
  evaluations: 5

finetune:
  epochs: 6
  batch: 32
  learning_rate: 3.0e-4
  max_length: 64
  seeds: 3
  trainable:
    - full
    - method: bitfit              # biases and a head: a task is a pack of some kilobytes on one frozen encoder
      learning_rate: 6.0e-3
  experts:                        # a small untrained model learns the shortcuts of the inference task and little else
    shallow: {{kind: small-model, layers: 2, width: 128, folds: 2, epochs: 8, learning_rate: 1.0e-3}}
  baseline: true                  # the untrained encoder, learnt by the first method, stands beside the pretrained one

tasks:
  - name: topic                   # which field of life a sentence is about
    train: tasks/topic/train.csv
    sets: {{dev: tasks/topic/dev.csv}}
    text: text
  - name: similarity              # how near two sentences are, 0 to 5
    kind: regression
    train: tasks/similarity/train.jsonl
    sets: {{dev: tasks/similarity/dev.jsonl}}
    text: [first, second]
  - name: inference               # whether one sentence follows from another; ood breaks the training rows' shortcuts
    train: tasks/inference/train.jsonl
    sets: {{dev: tasks/inference/dev.jsonl, ood: tasks/inference/ood.jsonl}}
    text: [premise, hypothesis]
    trainable:
      - method: full
        name: full
        exits: &exits             # classifiers after inner layers: a row leaves where one is sure enough
          max_drop: [2 %, 10 %]   # rows that may be right in full and wrong at their exit; tested on rows kept back
          timed_rows: 32
      - method: bitfit
        learning_rate: 6.0e-3
      - method: full              # held against the small model: less of its shortcuts is learnt
        name: full-guided
        epochs: 12                # what the expert leaves to be learnt is learnt later
        loss: {{name: guided, alpha: 0.3, beta: 0.1}}
        expert: shallow
        exits: *exits             # does leaving early bring the shortcut back?
"""


def write_demo(folder: Path, *, seed: int = 0, documents: int = DOCUMENTS) -> Path:
    """Write the demo's files into a folder and return the recipe's path; the same seed gives the same bytes.

    ``StoreError`` as of ``write_missing``.
    """
    return write_missing(folder, demo_files(seed=seed, documents=documents))


def write_missing(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Write a demo's files, by their paths inside its folder, and return its recipe's path.

    A file that is there with the same bytes stays as it is, so that a cut-off call can be given again. ``StoreError``
    where one is there with other bytes: somebody's work is not overwritten, and then nothing is written.
    """
    missing = {}
    for name, content in contents.items():
        path = folder / name
        if not path.exists():
            missing[path] = content
        elif not path.is_file() or path.read_bytes() != content:
            raise StoreError(
                f"{path} is there and is not what this demo would write. Give another folder, or keep your files and "
                f"go on with `bertwright run {folder / 'recipe.yaml'}`."
            )
    for path, content in missing.items():
        files.write_bytes(path, content)
    return folder / "recipe.yaml"


def demo_files(*, seed: int, documents: int) -> dict[str, bytes]:
    """Return the content of each file by its path inside the demo's folder; the recipe comes last."""
    lexicon = make_lexicon(seed)
    articles = make_articles(lexicon, seed=seed, documents=documents)
    contents = {}
    for part in range(_PARTS):
        text = "\n\n".join(articles[part::_PARTS]).encode() + b"\n"
        if part % 2:
            contents[f"corpus/part-{part}.txt.gz"] = gzip.compress(text, mtime=0)
        else:
            contents[f"corpus/part-{part}.txt"] = text
    for split, count in (("train", 800), ("dev", 400)):
        contents[f"tasks/topic/{split}.csv"] = _csv(topic_rows(lexicon, seed=seed, split=split, count=count))
        rows = similarity_rows(lexicon, seed=seed, split=split, count=count)
        contents[f"tasks/similarity/{split}.jsonl"] = _json_lines(rows)
    # 200 of the training rows are kept back for exit thresholds.
    for split, count in (("train", 1700), ("dev", 400), ("ood", 400)):
        shortcuts = REVERSED if split == "ood" else USUAL
        rows = inference_rows(lexicon, seed=seed, split=split, count=count, shortcuts=shortcuts)
        contents[f"tasks/inference/{split}.jsonl"] = _json_lines(rows)
    contents["recipe.yaml"] = RECIPE.format(seed=seed).encode()
    return contents


def _csv(rows: list[Row]) -> bytes:
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue().encode()


def _json_lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
