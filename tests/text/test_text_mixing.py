"""Sources in the weights and shares asked for, and what the summary tells of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import DataError
from bertwright.processes import Processes
from bertwright.text import encoded_parts
from bertwright.text.corpus import Choices
from bertwright.text.executors import Crew
from bertwright.text.mixing import Mix, Mixing
from bertwright.text.prepare import Summary, prepare_rows
from bertwright.text.repeated_lines import RepeatedLines, together
from bertwright.text.shards import Shards
from bertwright.text.shuffle import mix as drawn_numbers
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import train_tokenizer

ONE = [f"one {word} {word[::-1]} {number} alpha" for number, word in enumerate(["ab", "cde", "fgh", "xyz"] * 20)]
TWO = [f"two {number} omega psi {' chi' * (number % 5)}" for number in range(60)]
TOKENIZER = train_tokenizer(iter(ONE + TWO), kind="wordpiece", vocabulary=90, lowercase=True)


def prepare(folder: Path, mix: Mix, texts: tuple[list[str], ...] = (ONE, TWO), **changes: Any) -> Summary:
    """Prepare one JSON-lines file a source."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for number, rows in enumerate(texts):
        path = folder / f"source-{number}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
        sources.append(Source(str(path), number=number))
    TOKENIZER.save(folder / "tokenizer", max_length=512)
    return prepare_rows(
        expand(sources),
        folder / "tokenizer",
        folder / "rows",
        Choices(row_length=16, held_out=0.1, seed=0, mix=mix, layout=changes.pop("layout", "contiguous")),
        scratch=folder / "scratch",
        part_bytes=700,
        **changes,
    )


def documents_in(folder: Path, split: str) -> Counter[str]:
    """Return how often each document stands in a split whose rows hold whole documents."""
    shards = Shards(folder / "rows")
    rows = shards.ids(split, np.arange(shards.rows(split)))
    return Counter(
        TOKENIZER.decode(part.tolist())
        for row in rows
        for part in np.split(row[1:], np.flatnonzero(row[1:] == shards.sep_id) + 1)[:-1]
    )


def as_decoded(texts: list[str]) -> set[str]:
    """Return texts as they look when they have been ids; each with its [SEP]."""
    return {TOKENIZER.decode([*ids, TOKENIZER.sep_id]) for ids in TOKENIZER.encode(texts)}


def test_a_weight_repeats_documents(tmp_path: Path) -> None:
    """With weight 2 each document to train on comes twice, with 3.5 half of the tokens come a fourth time."""
    plain = prepare(tmp_path / "plain", Mix(), layout="packed")
    summary = prepare(tmp_path / "a", Mix(weights=(2.0, 3.5)), layout="packed")
    found = documents_in(tmp_path / "a", "train")
    assert {2} == {found[text] for text in as_decoded(ONE) if text in found}
    times = Counter(found[text] for text in as_decoded(TWO) if text in found)
    assert {3, 4} == set(times)
    assert 20 < times[3] < 35
    assert documents_in(tmp_path / "plain", "held_out") == documents_in(tmp_path / "a", "held_out")
    assert set(documents_in(tmp_path / "plain", "train")) == set(found)
    shares = [source["share"] for source in plain.sources]
    weighted = shares[0] * 2 / (shares[0] * 2 + shares[1] * 3.5)
    assert weighted == pytest.approx(summary.sources[0]["share"], abs=0.01)
    assert [2.0, 3.5] == [source["weight"] for source in summary.sources]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_shares_are_exact_to_a_document(tmp_path: Path, share: float) -> None:
    """The sources have the shares asked for, without repeats, and one of them comes whole."""
    summary = prepare(tmp_path, Mix(shares=(share, 1 - share)), layout="packed")
    assert share == pytest.approx(summary.sources[0]["share"], abs=20 / summary.tokens)
    found = documents_in(tmp_path, "train")
    assert {1} == set(found.values())
    assert 1.0 == max(source["weight"] for source in summary.sources)
    assert sum(summary.sources[n]["share"] for n in (0, 1)) == pytest.approx(1)


def test_mixing_hangs_on_nothing_but_text_and_seed(tmp_path: Path) -> None:
    """Two processes give the same bytes as one."""
    mix = Mix(weights=(0.3, 2.5))
    prepare(tmp_path / "a", mix)
    with Processes(2) as processes:
        prepare(tmp_path / "b", mix, crew=Crew(processes, 2))
    shards = [{p.name: p.read_bytes() for p in (tmp_path / name / "rows").glob("*")} for name in ("a", "b")]
    assert shards[0] == shards[1]


def test_a_source_without_text_can_have_no_share(tmp_path: Path) -> None:
    """What is asked for cannot be had, and the entry is named."""
    with pytest.raises(DataError, match=r"source 2 of prepare.sources gives no token.*share"):
        prepare(tmp_path, Mix(shares=(0.5, 0.5)), (ONE, ONE[:2]))


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.floats(0.01, 5).map(lambda weight: round(weight, 3)),
    st.integers(0, 3),
)
def test_a_part_of_the_documents_is_the_first_in_drawn_order(tokens: list[int], weight: float, seed: int) -> None:
    """As sorting all documents by their drawn numbers would give it; and nearest to the tokens asked for."""
    hashes = np.random.default_rng(seed).integers(0, 2**64, (len(tokens), 2), dtype=np.uint64)
    counts = np.array(tokens)
    mixing = Mixing(Mix(weights=(weight,)), 1, seed)
    for see, end in ((mixing.count, mixing.settle), (mixing.refine, mixing.finish)):
        for start in range(0, len(tokens), 7):
            see(0, hashes[start : start + 7], counts[start : start + 7])
        end()
    copies = mixing.copies(0, hashes).astype(int)
    order = np.argsort(drawn_numbers(hashes[:, 1] ^ drawn_numbers(np.array([seed], dtype=np.uint64))))
    once_more = copies[order] - int(weight)
    assert (np.diff(once_more) <= 0).all()
    assert set(once_more) <= {0, 1}
    wanted = round(weight % 1 * sum(tokens))
    sums = np.concatenate([[0], np.cumsum(counts[order])])
    assert np.abs(sums - wanted).min() == abs(int((counts * (copies - int(weight))).sum()) - wanted)


def test_small_blocks_hold_the_same_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of many blocks gives the documents that a part of one gives."""
    prepare(tmp_path / "a", Mix(weights=(1.5, 1.0)), layout="packed")
    monkeypatch.setattr(encoded_parts, "_BLOCK", 60)
    monkeypatch.setattr(encoded_parts, "_BATCH", 40)
    prepare(tmp_path / "b", Mix(weights=(1.5, 1.0)), layout="packed")
    assert len(list(tmp_path.glob("b/scratch/parts/*/*"))) > 2 * len(list(tmp_path.glob("a/scratch/parts/*/*")))
    for split in ("train", "held_out"):
        assert documents_in(tmp_path / "a", split) == documents_in(tmp_path / "b", split)


def test_the_summary_tells_of_sources_lengths_and_lines(tmp_path: Path) -> None:
    """Counted by hand: what each source gave, how long documents are, and which lines came again and again."""
    again = [f"{text}\nAll rights reserved" for text in ONE]
    summary = prepare(tmp_path, Mix(), (again, TWO))
    lengths = sorted(len(ids) for ids in TOKENIZER.encode([*again, *TWO]))
    assert {"path": str(tmp_path / "source-1.jsonl"), "files": 1, "documents": 60}.items() <= summary.sources[1].items()
    assert sum(len(ids) for ids in TOKENIZER.encode(again)) == summary.sources[0]["tokens"]
    assert lengths[-1] == summary.longest_document_tokens
    assert lengths[len(lengths) // 2 - 1] == summary.document_tokens["50%"]
    assert lengths[round(len(lengths) * 0.9) - 1] == summary.document_tokens["90%"]
    assert {"line": "All rights reserved", "times": 80} == summary.repeated_lines[0]


def test_repeated_lines_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more different lines than fit the frequent ones stay; very long ones and blank ones are no lines."""
    monkeypatch.setattr("bertwright.text.repeated_lines._MOST", 50)
    lines = RepeatedLines()
    for number in range(2000):
        lines.add(f"only once {number}\n\n  Menu \nMenu\n{'x' * 300}" + ("\nrare" if number % 400 == 0 else ""))
    assert [("Menu", 4000)] == lines.top(1)
    assert len(lines._counts) <= 100
    few = RepeatedLines()
    few.add("one\ntwo\ntwo")
    assert [("two", 2)] == few.top(5)
    assert [("b", 5), ("a", 3)] == together([[("a", 3), ("b", 1)], [("b", 4), ("c", 2)]], 2)
