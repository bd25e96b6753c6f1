"""The shortcut finder on texts whose shortcuts are known."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.naive_bayes

from bertwright.debias import shortcuts
from bertwright.debias.features import features
from bertwright.debias.shortcuts import find
from bertwright.errors import DataError, InputError

WORDS = [a + b for a in "abcdefgh" for b in "aeiou"]


def rows(
    count: int, *, cue: bool = False, overlap: bool = False, seed: int = 0
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return pairs of drawn words; in nine of ten rows with label x a cue in the second text, or an overlap."""
    drawn = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        label = drawn.choice("xy")
        first, second = drawn.choices(WORDS, k=12), drawn.choices(WORDS, k=5)
        if cue and drawn.random() < (0.9 if label == "x" else 0.1):
            second[2] = "only"
        if overlap and label == "x":
            second = drawn.sample(first, 5)
        texts.append((" ".join(first), " ".join(second)))
        labels.append(label)
    return texts, labels


def test_a_planted_cue_is_the_strongest_shortcut() -> None:
    """The word is found in its column with its share, its interval, and the expert that fits it."""
    texts, labels = rows(1000, cue=True)
    found = find(texts, labels, ["evidence", "claim"])
    best = found.shortcuts[0]
    there = [label for (_, claim), label in zip(texts, labels, strict=True) if "only" in claim]
    assert ("word", "claim", "only", "x") == (best.feature.kind, best.feature.column, best.feature.text, best.label)
    assert (len(there), there.count("x") / len(there)) == (best.rows, best.share)
    assert best.interval[0] < best.share < best.interval[1]
    assert best.excess > 0.1
    assert pytest.approx(0.9, abs=0.03) == found.alone[0].accuracy
    assert found.advice.startswith("The column claim alone answers")
    assert "a claim-only expert fits. Its strongest feature: claim: word 'only' -> x in" in found.advice


def test_a_planted_overlap_asks_for_an_overlap_expert() -> None:
    """How the columns go together is told from what either of them says alone."""
    texts, labels = rows(600, overlap=True)
    found = find(texts, labels, ["premise", "hypothesis"])
    assert "every word of hypothesis is in premise" == found.shortcuts[0].feature.text
    assert "premise + hypothesis" == found.alone[0].part
    assert found.alone[0].accuracy > 0.95
    assert "an overlap expert fits" in found.advice


@pytest.mark.parametrize("correction", ["benjamini-hochberg", "bonferroni"])
def test_labels_that_hang_on_nothing_give_nothing(correction: str) -> None:
    """Of hundreds of tests on drawn labels none is left behind the correction, and no expert is advised."""
    texts, labels = rows(2000, seed=3)
    found = find(texts, labels, ["a", "b"], correction=correction)
    assert found.tests > 100
    assert () == found.shortcuts
    assert "no expert of these kinds fits" in found.advice


def test_tests_and_corrections_are_those_of_scipy() -> None:
    """Pearson's chi-square test without continuity correction, corrected over all tests, is scipy's."""
    texts, labels = rows(300, cue=True, seed=1)
    found = find(texts, labels, ["a", "b"], level=0.999, correction="bonferroni")
    shortcut = next(one for one in found.shortcuts if one.feature.text == "only")
    x, n, total, of = round(shortcut.share * shortcut.rows), shortcut.rows, len(labels), labels.count(shortcut.label)
    table = [[x, n - x], [of - x, total - n - (of - x)]]
    expected = scipy.stats.chi2_contingency(table, correction=False).pvalue * found.tests
    assert min(expected, 1.0) == pytest.approx(shortcut.p, rel=1e-6, abs=0.0)
    p = np.array([0.001, 0.2, 0.01, 0.04])
    np.testing.assert_allclose([0.004, 0.2, 0.02, 0.16 / 3], shortcuts._corrected(p, "benjamini-hochberg"))


def test_naive_bayes_is_that_of_scikit_learn() -> None:
    """With the same folds our counts give the answers of BernoulliNB."""
    texts, labels = rows(200, cue=True, seed=2)
    known, gold = features(texts, ["a", "b"], least=5), np.array([label == "y" for label in labels]).astype(np.int64)
    fold = np.arange(200) % 5
    own = np.array([name.column == "b" for name in known.names])
    dense = np.zeros((200, len(known.names)), dtype=np.int64)
    dense[known.row, known.feature] = 1
    expected = np.empty(200, dtype=np.int64)
    for one in range(5):
        # Our prior is that of one row a label more than there are.
        counts = np.bincount(gold[fold != one], minlength=2) + 1
        bayes = sklearn.naive_bayes.BernoulliNB(class_prior=counts / counts.sum())
        bayes.fit(dense[fold != one][:, own], gold[fold != one])
        expected[fold == one] = bayes.predict(dense[fold == one][:, own])
    np.testing.assert_array_equal(expected, shortcuts._answers(known, own, gold, fold))


def test_features_are_what_a_plain_loop_finds() -> None:
    """Words, pairs, first words, signs and overlaps of a few odd rows, each row once for a feature."""
    texts = [
        ("The Cat sat; the cat slept.", "the cat sat"),
        ("A dog (it's 3!) barked -- no?", "A dog didn't bark 4 times"),
        ("", "nothing"),
        ("élan vital", "do n't 'quote' me"),
        ("red green blue", "red green pink"),
        ("red green blue", "blue red"),
        ("''hello'' it 's", "I don\N{RIGHT SINGLE QUOTATION MARK}t"),
    ]
    known = features(texts, ["p", "h"], least=1)
    found: dict[tuple[str, str, str], list[int]] = {}
    for row, feature in zip(known.row.tolist(), known.feature.tolist(), strict=True):
        name = known.names[feature]
        found.setdefault((name.kind, name.column, name.text), []).append(row)
    assert all(len(own) == len(set(own)) for own in found.values())
    assert [0] == found["word", "p", "cat"]
    assert [0] == found["word pair", "p", "the cat"]
    assert ("word pair", "p", "slept a") not in found
    assert [3] == found["word", "p", "élan"]
    assert [3] == found["word", "h", "n't"]
    assert [3] == found["word", "h", "quote"]
    assert [6] == found["word", "p", "hello"] == found["word", "p", "'s"] == found["word", "h", "don't"]
    assert [0] == found["first word", "h", "the"]
    assert [1, 2, 3, 6] == found["negation", "h", "has a negation"]
    assert [2, 3, 6] == found["negation", "p + h", "a negation in h alone"]
    assert [1] == found["sign", "p", "has a question mark"]
    assert [0] == found["overlap", "p + h", "h stands in p as it is"]
    assert [0, 5] == found["overlap", "p + h", "every word of h is in p"]
    assert [4] == found["overlap", "p + h", "half to three quarters of the words of h are in p"]
    assert [1] == found["overlap", "p + h", "a number of h is not in p"]
    assert [2, 3, 6] == found["overlap", "p + h", "no word of h is in p"]


def test_texts_that_come_again_do_not_tell_their_labels() -> None:
    """With three rows a premise, one of each label, a premise alone is worth nothing, neither more nor less."""
    drawn = random.Random(0)
    premises = [" ".join(drawn.choices(WORDS, k=8)) for _ in range(200)]
    texts = [(premise, " ".join(drawn.choices(WORDS, k=4))) for premise in premises for _ in range(3)]
    found = find(texts, ["x", "y", "z"] * 200, ["premise", "hypothesis"])
    alone = {one.part: one.accuracy for one in found.alone}
    assert pytest.approx(1 / 3, abs=0.02) == alone["premise"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["x"] * 20}, "found the label 'x' in all 20 rows"),
        ({"correction": "holm"}, "found 'holm', expected one of benjamini-hochberg, bonferroni"),
        ({"level": 5}, "found 5, expected a share between 0 and 1"),
        ({"columns": ["claim"]}, "found rows of 2 texts and 1 names for them"),
        ({"texts": [("a", "b")] * 3, "labels": ["x", "y", "x"]}, "found 3 rows and 3 labels; expected 10 rows or more"),
    ],
)
def test_what_cannot_be_searched_is_said(change: dict[str, object], message: str) -> None:
    """One label, an unknown correction, a level that is no share, unnamed columns and too few rows are refused."""
    texts, labels = rows(20)
    with pytest.raises((DataError, InputError), match=message):
        find(**{"texts": texts, "labels": labels, "columns": ["a", "b"]} | change)  # type: ignore[arg-type]


def test_fevers_known_shortcuts_are_found(shared_data: Path) -> None:
    """Claims that limit or deny are refuted; a claim alone answers two rows of three (Schuster et al. 2019)."""
    with gzip.open(shared_data / "tasks" / "fever" / "own_train.jsonl.gz", "rt", encoding="utf-8") as stream:
        own = [json.loads(line) for line in stream]
    texts, columns = [(row["evidence"], row["claim"]) for row in own], ["evidence", "claim"]
    found = find(texts, [row["label"] for row in own], columns, least=100)
    words = {(one.feature.column, one.feature.text): one.label for one in found.shortcuts if one.feature.kind == "word"}
    assert ("REFUTES", "REFUTES") == (words["claim", "only"], words["claim", "not"])
    alone = {one.part: one.accuracy for one in found.alone}
    assert pytest.approx(0.65, abs=0.03) == alone["claim"]
    assert alone["evidence"] < 0.55
    assert "a claim-only expert fits" in found.advice
