"""Writes the made-up language as the files a user would have: a corpus, three tasks and a recipe."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

from bertwright import files
from bertwright.demo.corpus import make_articles
from bertwright.demo.language import make_lexicon
from bertwright.demo.tasks import REVERSED, Row, inference_rows, similarity_rows, topic_rows

DOCUMENTS = 4000
_PARTS = 4  # files of the corpus; every second one is packed

RECIPE = """\
# The main job on a made-up language: raw text, tokenizer, encoder, three tasks, report.
# Written by `bertwright demo`; give it your own folders and it is a recipe for your own text.

store: store
seed: {seed}

system:
  threads: 1                      # tensors this small gain nothing from a second thread

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
  budget: 60 s
  batch: 8
  learning_rate: 1.0e-3
  mask_rate: 20 %
  evaluations: 5

finetune:
  epochs: 6
  batch: 32
  learning_rate: 2.0e-4
  max_length: 64
  seeds: 3
  baseline: true                  # the untrained encoder stands beside the pretrained one

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
"""


def write_demo(folder: Path, *, seed: int = 0, documents: int = DOCUMENTS) -> Path:
    """Write the demo's files into a folder and return the recipe's path; the same seed gives the same bytes."""
    lexicon = make_lexicon(seed)
    articles = make_articles(lexicon, seed=seed, documents=documents)
    for part in range(_PARTS):
        text = "\n\n".join(articles[part::_PARTS]).encode() + b"\n"
        if part % 2:
            files.write_bytes(folder / "corpus" / f"part-{part}.txt.gz", gzip.compress(text, mtime=0))
        else:
            files.write_bytes(folder / "corpus" / f"part-{part}.txt", text)
    for split, count in (("train", 800), ("dev", 400)):
        _write_csv(
            folder / "tasks" / "topic" / f"{split}.csv", topic_rows(lexicon, seed=seed, split=split, count=count)
        )
        rows = similarity_rows(lexicon, seed=seed, split=split, count=count)
        _write_json_lines(folder / "tasks" / "similarity" / f"{split}.jsonl", rows)
    for split, count in (("train", 800), ("dev", 400)):
        rows = inference_rows(lexicon, seed=seed, split=split, count=count)
        _write_json_lines(folder / "tasks" / "inference" / f"{split}.jsonl", rows)
    rows = inference_rows(lexicon, seed=seed, split="ood", count=400, shortcuts=REVERSED)
    _write_json_lines(folder / "tasks" / "inference" / "ood.jsonl", rows)
    files.write_text(folder / "recipe.yaml", RECIPE.format(seed=seed))
    return folder / "recipe.yaml"


def _write_csv(path: Path, rows: list[Row]) -> None:
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, content.getvalue())


def _write_json_lines(path: Path, rows: list[Row]) -> None:
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
