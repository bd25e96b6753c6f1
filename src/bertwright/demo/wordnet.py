"""A demo on real English text: what WordNet says of each word, and which kind of thing it says it of.

WordNet's data files (wndb(5WN)) are in Debian's package wordnet-base, under /usr/share/wordnet.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bertwright.errors import DataError, InputError

# Numbers of lexicographers' files (lexnames(5WN)): the kinds of nouns that have most glosses.
KINDS = {
    "04": "act",
    "05": "animal",
    "06": "artifact",
    "07": "attribute",
    "08": "body",
    "09": "cognition",
    "10": "communication",
    "13": "food",
    "14": "group",
    "15": "location",
    "18": "person",
    "20": "plant",
}
PARTS = ("noun", "verb", "adj", "adv")

RECIPE = """\
# Real English text: an encoder learns from WordNet's glosses, then tells what kind of thing a gloss is about.
# Written by `bertwright demo --wordnet`; give it your own folders and it is a recipe for your own text.

name: wordnet
store: store
seed: {seed}

system:
  runs: 2                         # two runs of fine-tuning side by side

prepare:
  sources: [corpus]               # without the glosses of dev
  row_length: 64
  held_out: 2 %

tokenizer:
  vocabulary: 6000

encoder:
  family: modern                  # of all families it learns most in minutes
  size: mini                      # 4 layers of width 256

pretrain:
  budget: 3 min
  batch: 32
  optimizer: muon
  learning_rate: 2.0e-3
  mask_rate: 30 %

finetune:
  epochs: 3
  batch: 32
  learning_rate: 3.0e-4
  max_length: 64
  seeds: 2
  trainable:
    - full
    - {{method: bitfit, learning_rate: 6.0e-3}}
  baseline: true                  # the untrained encoder beside it, to see what pretraining gave

tasks:
  - name: kind                    # one of twelve: {kinds}
    train: tasks/kind/train.csv
    sets: {{dev: tasks/kind/dev.csv}}
    text: gloss
    label: kind
"""


@dataclass(frozen=True)
class _Sense:
    """A set of words of one meaning: the number of its kind, its words, and the gloss with its examples."""

    kind: str
    words: tuple[str, ...]
    gloss: str

    @property
    def definition(self) -> str:
        """Return the gloss without its examples."""
        return self.gloss.split('; "')[0].strip()

    @property
    def text(self) -> str:
        """Return it as a line of text."""
        return f"{', '.join(self.words)}: {self.gloss}"


def wordnet_files(source: Path, *, seed: int = 0, train: int = 350, dev: int = 60) -> Mapping[str, bytes]:
    """Return the content of each file by its path inside the demo's folder; the recipe comes last.

    ``source`` is a folder of WordNet's data files; ``train`` and ``dev`` are rows of each kind. Glosses of ``dev`` are
    kept out of the corpus. ``InputError`` where the folder has no such files, ``DataError`` where one is of another
    form, or has too few glosses.
    """
    senses = {part: list(_senses(source / f"data.{part}")) for part in PARTS}
    rows = _rows(senses["noun"], seed=seed, count=train + dev, source=source)
    held = {gloss for glosses in rows.values() for gloss in glosses[train:]}
    contents = {}
    for part, own in senses.items():
        lines = [sense.text for sense in own if sense.definition not in held]
        contents[f"corpus/{part}.txt"] = "\n\n".join(lines).encode() + b"\n"
    for split, place in (("train", slice(train)), ("dev", slice(train, None))):
        pairs = [(gloss, KINDS[kind]) for kind, glosses in rows.items() for gloss in glosses[place]]
        contents[f"tasks/kind/{split}.csv"] = _csv(pairs)
    contents["recipe.yaml"] = RECIPE.format(seed=seed, kinds=", ".join(KINDS.values())).encode()
    return contents


def _senses(path: Path) -> Iterator[_Sense]:
    """Read one of WordNet's data files."""
    if not path.is_file():
        raise InputError(
            f"found no {path}; expected a folder of WordNet's data files, such as /usr/share/wordnet, which Debian's "
            "package wordnet-base brings (`apt install wordnet-base`)"
        )
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.startswith("  "):  # the licence
            continue
        head, bar, gloss = line.partition(" | ")
        fields = head.split(" ")
        if not bar or len(fields) < 6 or not re.fullmatch("[0-9a-f]{2}", fields[3]):
            raise DataError(
                f"{path}, line {number}: found {line[:60]!r}; expected a line of WordNet's data files, with a gloss "
                "behind ` | `; take the files of WordNet 3.0 or 3.1 as they are"
            )
        # A word stands with underscores, an adjective at times with its place, as in "galore(ip)".
        words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
        yield _Sense(fields[1], tuple(words), gloss.strip())


def _rows(nouns: list[_Sense], *, seed: int, count: int, source: Path) -> dict[str, list[str]]:
    """Draw as many definitions of each kind, none of which is of two."""
    kinds: dict[str, set[str]] = {}
    for sense in nouns:
        if len(sense.definition.split()) > 2:
            kinds.setdefault(sense.definition, set()).add(sense.kind)
    generator = np.random.default_rng(seed)
    drawn = {}
    for number, name in KINDS.items():
        own = sorted(definition for definition, found in kinds.items() if found == {number})
        if len(own) < count:
            raise DataError(
                f"{source / 'data.noun'}: found {len(own)} definitions of the kind {name}; expected at least {count}; "
                "take the files of WordNet 3.0 or 3.1 as they are"
            )
        drawn[number] = [own[place] for place in generator.permutation(len(own))[:count]]
    return drawn


def _csv(pairs: list[tuple[str, str]]) -> bytes:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerows([("gloss", "kind"), *pairs])
    return content.getvalue().encode()
