"""Files to rows on the disk and back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright import files
from bertwright.errors import DataError
from bertwright.text import encoding
from bertwright.text.documents import ignore
from bertwright.text.held_out import draw
from bertwright.text.shards import Shards, Summary, prepare_rows
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

LETTERS = "abcdefgh"
TEXTS = [" ".join(LETTERS[i] + LETTERS[(i * k) % 8] * 2 + LETTERS[k] for i in range(8)) for k in range(8)]
TOKENIZER = train_tokenizer(iter(TEXTS), kind="wordpiece", vocabulary=40, lowercase=True)


def prepare(folder: Path, texts: list[str], tokenizer: Tokenizer = TOKENIZER, **changes: Any) -> Summary:
    """Prepare texts as one JSON-lines file."""
    source = folder / "source.jsonl"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    options: dict[str, Any] = {
        "row_length": 16,
        "held_out": 0.2,
        "seed": 0,
        "errors": "stop",
        "broken_rows": "stop",
        "progress": ignore,
    }
    return prepare_rows(expand([Source(str(source))]), tokenizer, folder / "rows", **{**options, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a prepared folder."""
    return {path.name: path.read_bytes() for path in sorted((folder / "rows").iterdir())}


def texts_of(shards: Shards, split: str) -> list[str]:
    """Return the documents that a split's rows hold."""
    rows = shards.ids(split, np.arange(shards.rows(split)))
    inner = np.concatenate([row[1:][row[1:] != shards.pad_id][:-1] for row in rows])
    parts = np.split(inner, np.flatnonzero(inner == shards.sep_id))
    return [TOKENIZER.decode(part.tolist()) for part in parts]


WORD = st.text(LETTERS, min_size=1, max_size=6)
# Each document fills a row by itself, so that whichever ones are left to train on are enough.
CORPUS = st.lists(st.lists(WORD, min_size=14, max_size=40).map(" ".join), min_size=2, max_size=12)


@settings(deadline=None, max_examples=15)
@given(CORPUS, st.integers(0, 3))
def test_decoded_rows_give_back_the_text(texts: list[str], seed: int) -> None:
    """Each document is in one split, whole, in order, and nothing else is."""
    with tempfile.TemporaryDirectory() as name:
        summary = prepare(Path(name), texts, seed=seed)
        shards = Shards(Path(name) / "rows")
        train, held = texts_of(shards, "train"), texts_of(shards, "held_out")
    assert (len(texts), len(held)) == (summary.documents, summary.held_out_documents)
    left = list(texts)
    for text in held:
        left.remove(text)
    assert sorted(texts) == sorted(train + held)
    assert iter_contains(texts, train)
    assert iter_contains(texts, held)


def iter_contains(whole: list[str], part: list[str]) -> bool:
    """Return whether ``part`` comes in ``whole`` in the same order."""
    rest = iter(whole)
    return all(text in rest for text in part)


def test_the_summary_counts_by_hand(tmp_path: Path) -> None:
    """Documents, words, bytes, tokens and unknown ones are those of the text."""
    texts = [TEXTS[0], "é zz " + TEXTS[1], " ", "\u200b", *TEXTS[2:]]
    summary = prepare(tmp_path, texts)
    encoded = TOKENIZER.encode([text for text in texts if text.strip()])
    assert 9 == summary.documents
    assert 1 == summary.without_tokens
    assert {"no text in the row": 1} == summary.troubles
    assert sum(map(len, encoded)) == summary.tokens + summary.held_out_tokens
    assert sum(ids.count(TOKENIZER.unk_id) for ids in encoded) == summary.unknown > 0
    assert sum(len(text.split()) for text in texts) == summary.words
    assert sum(len(text.encode()) for text in texts) - 1 == summary.bytes
    assert max(map(len, encoded)) == summary.longest_document_tokens
    assert summary.as_dict()["row_length"] == 16
    shards = Shards(tmp_path / "rows")
    assert 8 == sum(text != "" for text in texts_of(shards, "train") + texts_of(shards, "held_out"))
    assert "" not in texts_of(shards, "train") + texts_of(shards, "held_out")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what lay in the folder before nor the size of batches changes a byte; another seed does."""
    texts = [" ".join(TEXTS[i % 8 :]) for i in range(20)]
    prepare(tmp_path / "a", texts, shard_rows=5)
    prepare(tmp_path / "b", texts * 3, shard_rows=2)
    monkeypatch.setattr(encoding, "_BATCH", 50)
    monkeypatch.setattr(encoding, "_PIECE", 20)
    prepare(tmp_path / "b", texts, shard_rows=5)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    prepare(tmp_path / "c", texts, seed=1, shard_rows=5)
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_rows_are_the_same_in_any_number_of_shards(tmp_path: Path) -> None:
    """Rows asked for by number, in any order and over files, are the same for any size of files."""
    texts = TEXTS * 4
    prepare(tmp_path / "a", texts)
    prepare(tmp_path / "b", texts, shard_rows=3)
    one, many = Shards(tmp_path / "a" / "rows"), Shards(tmp_path / "b" / "rows")
    assert one.rows("train") == many.rows("train") > 9
    asked = np.random.default_rng(0).integers(0, one.rows("train"), 30)
    rows = many.ids("train", asked)
    assert np.uint16 == rows.dtype
    assert (one.ids("train", asked) == rows).all()
    assert (0, 16) == many.ids("train", np.array([], dtype=np.int64)).shape
    with pytest.raises(IndexError, match="asked for"):
        many.ids("train", np.array([0, one.rows("train")]))
    for entry in json.loads((tmp_path / "b" / "rows" / "manifest.json").read_text())["shards"]:
        assert entry["checksum"] == files.checksum(tmp_path / "b" / "rows" / entry["name"])


def test_a_single_document_is_cut(tmp_path: Path) -> None:
    """The last rows of a single document are held out."""
    text = " ".join(TEXTS)
    summary = prepare(tmp_path, [text])
    shards = Shards(tmp_path / "rows")
    rows = summary.rows + summary.held_out_rows
    assert (0, max(1, round(0.2 * rows))) == (summary.held_out_documents, summary.held_out_rows)
    ids = [*shards.ids("train", np.arange(summary.rows)), *shards.ids("held_out", np.arange(summary.held_out_rows))]
    assert TOKENIZER.encode([text])[0] == [i for row in ids for i in row[1:][row[1:] != shards.pad_id][:-1].tolist()]


@pytest.mark.parametrize("texts", [[], ["abb"], ["abb", "acc"], ["\u200b", "\u200b"]])
def test_too_little_text_is_refused(tmp_path: Path, texts: list[str]) -> None:
    """A corpus without a full row names the numbers, and leaves no rows behind."""
    with pytest.raises(DataError, match=r"tokens to train on and \d+ to measure on; at least one row of 14"):
        prepare(tmp_path, texts)
    assert {} == (contents(tmp_path) if (tmp_path / "rows").exists() else {})


@pytest.mark.parametrize(
    ("train", "held_out", "words"),
    [
        ("abb", " ".join(TEXTS), r"give 1?\d tokens to train on and \d\d+ to"),
        (" ".join(TEXTS), "\u200b", r"give \d\d+ tokens to train on and 0 to"),
    ],
)
def test_an_empty_side_is_refused(tmp_path: Path, train: str, held_out: str, words: str) -> None:
    """A split without a row is refused, and the other one's begun file goes."""
    seed = next(seed for seed in range(99) if draw(seed, 0) > 0.3 and draw(seed, 1) < 0.2)
    with pytest.raises(DataError, match=words):
        prepare(tmp_path, [train, held_out], seed=seed)
    assert {} == contents(tmp_path)


def test_skipped_rows_are_listed_beside_the_rows(tmp_path: Path) -> None:
    """Broken rows are in troubles.jsonl, once each, with file, line and reason."""
    path = tmp_path / "source.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS) + "{broken\n")
    summary = prepare_rows(
        expand([Source(str(path))]),
        TOKENIZER,
        tmp_path / "rows",
        row_length=16,
        held_out=0.2,
        seed=0,
        errors="stop",
        broken_rows="skip",
    )
    (row,) = files.read_json_lines(tmp_path / "rows" / "troubles.jsonl")
    assert (str(path), 9) == (row["path"], row["row"])
    assert {row["reason"]: 1} == summary.troubles


def test_progress_goes_over_all_files(tmp_path: Path) -> None:
    """Progress ends at the bytes of all files together and never goes back."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("\n\n".join(TEXTS))
    told: list[int] = []
    prepare_rows(
        expand([Source(str(tmp_path))]),
        TOKENIZER,
        tmp_path / "rows",
        row_length=16,
        held_out=0.2,
        seed=0,
        errors="stop",
        broken_rows="stop",
        progress=told.append,
    )
    assert sorted(set(told)) == told
    assert sum((tmp_path / name).stat().st_size for name in ("a.txt", "b.txt")) == told[-1]


def test_decoded_rows_are_as_the_model_sees_them(tmp_path: Path) -> None:
    """A decoded row shows its special tokens; another tokenizer is refused."""
    prepare(tmp_path, TEXTS)
    shards = Shards(tmp_path / "rows")
    assert shards.decoded(TOKENIZER, "train", 0).startswith("[CLS] ")
    other = train_tokenizer(iter(TEXTS), kind="wordpiece", vocabulary=39, lowercase=True)
    with pytest.raises(DataError, match=r"was prepared with tokenizer"):
        shards.decoded(other, "train", 0)


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    """Over 65,536 pieces ids are uint32."""
    backend = tokenizers.Tokenizer.from_str(TOKENIZER._backend.to_str())
    backend.add_tokens([f"piece{number}" for number in range(66_000)])
    large = Tokenizer(backend, {n: f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")})
    prepare(tmp_path, [*TEXTS, "piece65999 " * 20], tokenizer=large)
    shards = Shards(tmp_path / "rows")
    rows = [shards.ids(split, np.arange(shards.rows(split))) for split in ("train", "held_out")]
    assert [np.uint32, np.uint32] == [part.dtype for part in rows]
    assert 40 + 65_999 == max(part.max() for part in rows)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is not there"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": "x"}'), "of the format 'x'"),
        (lambda folder: (folder / "train-00000.bin").unlink(), "train-00000.bin is not there"),
        (lambda folder: (folder / "train-00000.bin").write_bytes(b"1"), "has 1 bytes"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    """A folder without its manifest, of another format or with a spoilt shard is refused and says which."""
    prepare(tmp_path, TEXTS)
    spoil(tmp_path / "rows")
    with pytest.raises(DataError, match=words):
        Shards(tmp_path / "rows")


def test_encoding_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text encoded in pieces has the ids of the whole, in WordPiece and in byte-level BPE."""
    byte_level = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    byte_level.train_from_iterator(TEXTS, trainer)
    names = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    text = " ".join(f"{word}, 12.5 'tis é!" for word in " ".join(TEXTS).split())
    monkeypatch.setattr(encoding, "_PIECE", 10)
    for tokenizer in (TOKENIZER, Tokenizer(byte_level, names)):
        ((document,),) = encoding.encoded([text], tokenizer, np.uint16)
        assert tokenizer.encode([text])[0] == document.ids.tolist()
