"""The demo on real text: WordNet's files, here a few lines in their form."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import bertwright
from bertwright.demo.wordnet import KINDS, wordnet_files
from bertwright.errors import DataError, InputError

LICENCE = "  1 This software and database is being provided to you\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder of data files: six nouns of each kind, one of a kind that is no task, one of two kinds."""
    folder = tmp_path / "wordnet"
    folder.mkdir()
    nouns = [
        f'00{kind}{n:04} {kind} n 02 {name}_{n} 0 other 1 000 | the {name} with number {n}; "an example of {n}"  '
        for kind, name in KINDS.items()
        for n in range(6)
    ]
    nouns += ["00990000 28 n 01 noon 0 000 | a time of day that is no kind of ours  "]
    nouns += [f"0099000{kind} {kind} n 01 both 0 000 | what is said of two kinds  " for kind in ("04", "05")]
    (folder / "data.noun").write_text(LICENCE + "\n".join(nouns) + "\n")
    for part, line in (
        ("verb", '00001740 29 v 01 breathe 0 000 01 + 02 00 | draw air into the lungs; "he breathes"  '),
        ("adj", "00001740 00 s 02 galore(ip) 0 no_end_of 0 000 | in great numbers  "),
        ("adv", "00001740 02 r 01 barely 0 000 | only a very short time before  "),
    ):
        (folder / f"data.{part}").write_text(f"{LICENCE}{line}\n")
    return folder


def rows(content: bytes) -> list[dict[str, str]]:
    """Return the rows of a csv file."""
    return list(csv.DictReader(content.decode().splitlines()))


def test_glosses_become_a_corpus_and_a_task(source: Path) -> None:
    """Words lose their marks, examples are in the corpus alone, and no gloss of dev is in it."""
    found = wordnet_files(source, train=4, dev=2)
    train, dev = rows(found["tasks/kind/train.csv"]), rows(found["tasks/kind/dev.csv"])
    assert (4 * 12, 2 * 12) == (len(train), len(dev))
    assert set(KINDS.values()) == {row["kind"] for row in dev}
    corpus = found["corpus/noun.txt"].decode()
    assert all(row["gloss"] not in corpus for row in dev)
    assert all(row["gloss"] in corpus for row in train)
    assert "noon: a time of day that is no kind of ours" in corpus
    assert not any("two kinds" in row["gloss"] or "example" in row["gloss"] for row in train + dev)
    assert b"galore, no end of: in great numbers\n" == found["corpus/adj.txt"]
    assert b'breathe: draw air into the lungs; "he breathes"\n' == found["corpus/verb.txt"]


def test_the_seed_draws_the_rows(source: Path) -> None:
    """The same seed gives the same bytes, another one other rows."""
    first, again, other = (wordnet_files(source, seed=seed, train=4, dev=2) for seed in (0, 0, 1))
    assert first == again
    assert first["tasks/kind/dev.csv"] != other["tasks/kind/dev.csv"]


def test_its_recipe_is_one(source: Path, tmp_path: Path) -> None:
    """What is written is read back, with its task."""
    for name, content in wordnet_files(source, train=4, dev=2).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    recipe = bertwright.load_recipe(tmp_path / "recipe.yaml")
    assert ["kind"] == [task.name for task in recipe.tasks]


def test_other_files_are_refused(source: Path, tmp_path: Path) -> None:
    """A missing file, a line of another form, and too few glosses are each told."""
    with pytest.raises(InputError, match=r"found no .*nowhere.*data.noun; expected .* wordnet-base"):
        wordnet_files(tmp_path / "nowhere")
    with pytest.raises(DataError, match="found 6 definitions of the kind act; expected at least 410"):
        wordnet_files(source)
    (source / "data.adv").write_text(f"{LICENCE}a line of something else\n")
    with pytest.raises(
        DataError, match=r"data.adv, line 2: found 'a line of something else'; expected a line of WordNet"
    ):
        wordnet_files(source, train=4, dev=2)


def test_the_command_says_what_to_install(tmp_path: Path) -> None:
    """``demo --wordnet`` with a folder that is not there ends with 2 and writes nothing."""
    command = [sys.executable, "-m", "bertwright", "demo", str(tmp_path / "demo"), "--wordnet", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    assert "apt install wordnet-base" in done.stderr
    assert not (tmp_path / "demo").exists()
