"""Near-duplicates: the estimate, the groups, the limit."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers

from bertwright.errors import InputError
from bertwright.text import encoded_parts, near
from bertwright.text.corpus import Choices
from bertwright.text.prepare import Summary, prepare_rows
from bertwright.text.shingles import Shingler
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

WORDS = [a + b + c for a in "bcdf" for b in "aeiou" for c in "lmnr"]
TOKENIZER = train_tokenizer(iter([" ".join(WORDS)] * 3), kind="wordpiece", vocabulary=100, lowercase=True)


def texts(count: int, changed: int, seed: int = 0) -> list[list[str]]:
    """Return drawn texts of 200 words, and each once more with some words changed."""
    draw = np.random.default_rng(seed)
    originals = [list(draw.choice(WORDS, 200)) for _ in range(count)]
    copies = [list(text) for text in originals]
    for copy in copies:
        for place in draw.choice(200, changed, replace=False):
            copy[place] = str(draw.choice(WORDS))
    return originals + copies


def test_the_estimate_is_near_the_true_similarity() -> None:
    """The share of equal places is the Jaccard similarity of the sets of 5-word runs, within three standard errors."""
    found = texts(40, 10)
    encoded = TOKENIZER.encode([" ".join(words) for words in found])
    ids = np.array([i for one in encoded for i in one], dtype=np.uint16)
    signatures = near.signatures_of(Shingler(TOKENIZER, 5).of(ids, np.array([len(one) for one in encoded])))
    runs = [{tuple(words[i : i + 5]) for i in range(196)} for words in found]
    true = np.array([len(runs[i] & runs[i + 40]) / len(runs[i] | runs[i + 40]) for i in range(40)])
    estimated = (signatures[:40] == signatures[40:]).mean(axis=1)
    assert 0.5 < true.mean() < 0.8
    assert np.abs(estimated - true).max() < 3.5 * np.sqrt(0.25 / near.PLACES)
    assert abs(float((estimated - true).mean())) < 0.02


def test_groups_keep_their_first() -> None:
    """Of documents that are alike, directly or through others, the first stays; absent ones are heeded."""
    base = np.arange(1, near.PLACES + 1, dtype=np.uint32)
    like, chained, other = base.copy(), base.copy(), base + 10_000
    like[:20] += 500
    chained[:40] += 500
    signatures = np.stack([other, base, like, chained, np.zeros_like(base), base])
    there = np.ones(6, dtype=bool)
    assert [0, 1, 1, 1, 4, 1] == near.find_near(signatures, there, least=0.8).tolist()
    there[1] = False
    assert [0, 1, 2, 2, 4, 2] == near.find_near(signatures, there, least=0.8).tolist()
    assert [0, 1, 2, 3, 4, 5] == near.find_near(signatures, there & (np.arange(6) != 5), least=0.95).tolist()


def prepare(folder: Path, found: list[list[str]], **changes: Any) -> Summary:
    """Prepare texts with near-duplicates left out."""
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("\n\n".join(" ".join(words) for words in found))
    TOKENIZER.save(folder / "tokenizer", max_length=512)
    choices = Choices(row_length=16, held_out=0.1, seed=0, near=0.5)
    place = {"scratch": folder / "scratch", **changes}
    return prepare_rows(
        expand([Source(str(folder / "a.txt"))]), folder / "tokenizer", folder / "rows", choices, **place
    )


def test_near_duplicates_are_left_out_and_listed(tmp_path: Path) -> None:
    """Each changed copy goes, named with the document that it is like; the same bytes come of small parts."""
    found = texts(20, 6)
    summary = prepare(tmp_path, [*found, found[3]])
    assert (41, 1, 20) == (summary.documents, summary.duplicates, summary.near_duplicates)
    rows = [json.loads(line) for line in (tmp_path / "rows" / "duplicates.jsonl").read_text().splitlines()]
    assert [("near", 21, 1), ("same", 41, 4)] == [
        (row["kind"], row["document"], row["repeats"]["document"]) for row in (rows[0], rows[-1])
    ]
    again = prepare(tmp_path / "parts", [*found, found[3]], part_bytes=3000)
    assert summary.rows == again.rows
    assert 20 == again.near_duplicates


def test_too_little_memory_is_refused(tmp_path: Path) -> None:
    """The message says how many documents there are, what they need and what to allow."""
    with pytest.raises(InputError, match=r"among 40 documents need about 0 MB.*leave prepare\.near_duplicates out"):
        prepare(tmp_path, texts(20, 6), memory=6_000)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rensa the error says which line installs it."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "rensa":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'pip install "bertwright\[near-dedup\]"'):
        near.rensa_library()


def test_documents_of_many_pieces_have_one_signature_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the pieces that go to the tokenizer, each document is signed once, by its first piece."""
    monkeypatch.setattr(encoded_parts, "_BATCH", 400)
    found = texts(20, 6)
    longest = max(len(" ".join(words)) for words in found)
    assert longest > 400
    summary = prepare(tmp_path, found)
    signed = [np.load(path) for path in sorted(tmp_path.glob("scratch/parts/*/*/signatures.npy"))]
    assert summary.documents == sum(map(len, signed)) == 40


def test_old_and_new_versions_of_real_articles(shared_data: Path, tmp_path: Path) -> None:
    """Of 252 articles from two dumps at least seven in ten are found at a similarity of 0.5, and none wrongly."""
    folder = shared_data / "corpora" / "wikipedia_snapshots"
    sources = [Source(str(folder / f"{name}.jsonl.zst")) for name in ("older", "newer")]
    ids = {}
    for source in sources:
        with pa.input_stream(source.path, compression="zstd") as stream:
            ids[source.path] = [json.loads(line)["id"] for line in stream.read().splitlines()]
    words = tokenizers.BertWordPieceTokenizer(str(shared_data / "vocab" / "bert-base-uncased-vocab.txt"))
    names = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    Tokenizer(words._tokenizer, names).save(tmp_path / "tokenizer", max_length=512)
    choices = Choices(row_length=64, held_out=0.1, seed=0, near=0.5)
    prepare_rows(expand(sources), tmp_path / "tokenizer", tmp_path / "rows", choices, scratch=tmp_path / "scratch")
    rows = [json.loads(line) for line in (tmp_path / "rows" / "duplicates.jsonl").read_text().splitlines()]
    pairs = [
        (ids[row["path"]][row["document"] - 1], ids[row["repeats"]["path"]][row["repeats"]["document"] - 1])
        for row in rows
    ]
    assert len(pairs) > 0.7 * 252
    assert all(one == other for one, other in pairs)
