"""The made-up language: the same bytes from a seed, fair tasks, real shortcuts, meanings that can be learnt."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from bertwright.demo.corpus import make_articles
from bertwright.demo.language import VERY, make_lexicon
from bertwright.demo.write import write_demo
from bertwright.errors import StoreError
from bertwright.recipe.reading import load_recipe


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the demo in it."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder)
    return folder


def rows(demo: Path, task: str, split: str) -> list[dict[str, str]]:
    """Return the rows of a task's file."""
    path = next((demo / "tasks" / task).glob(f"{split}.*"))
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text().splitlines()))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_same_seed_gives_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    """Another folder, another time: nothing differs; another seed gives another language."""
    write_demo(tmp_path / "again")
    names = sorted(str(path.relative_to(demo)) for path in demo.rglob("*") if path.is_file())
    assert 12 == len(names)
    assert all((demo / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
    assert set(make_lexicon(0).words()) != set(make_lexicon(1).words())


def test_the_recipe_is_one(demo: Path) -> None:
    """Its paths are there and its sections valid."""
    assert ["topic", "similarity", "inference"] == [task.name for task in load_recipe(demo / "recipe.yaml").tasks]


def test_every_invented_word_is_different() -> None:
    """No word has two meanings."""
    words = list(make_lexicon(0).words())
    assert len(words) == len(set(words))


@pytest.mark.parametrize("task", ["topic", "similarity", "inference"])
def test_labels_are_balanced_and_dev_shares_no_row_with_train(demo: Path, task: str) -> None:
    """No label is much rarer than another, and no row stands on both sides."""
    train, dev = rows(demo, task, "train"), rows(demo, task, "dev")
    for part in (train, dev):
        counts = Counter(row["label"] for row in part).values()
        assert max(counts) - min(counts) <= 1
    seen = {json.dumps(row, sort_keys=True) for row in train}
    assert not any(json.dumps(row, sort_keys=True) in seen for row in dev)


def test_the_words_that_decide_a_topic_are_new_in_dev(demo: Path) -> None:
    """A word seen in training tells nothing in dev: meanings have to come from the corpus."""
    known = set(make_lexicon(0).words())
    train = {word for row in rows(demo, "topic", "train") for word in row["text"].split()} & known
    dev = {word for row in rows(demo, "topic", "dev") for word in row["text"].split()} & known
    assert not train & dev


def precision(found: list[dict[str, str]], label: str) -> float:
    """Return how often a hypothesis with the cue word has a label."""
    cued = [row["label"] for row in found if f" {VERY} " in row["hypothesis"]]
    return cued.count(label) / len(cued)


def overlapping(found: list[dict[str, str]]) -> list[str]:
    """Return the labels of rows whose hypothesis repeats the premise's last noun."""
    return [row["label"] for row in found if row["premise"].split()[-1] in row["hypothesis"].split()]


def test_two_shortcuts_hold_in_dev_and_break_out_of_distribution(demo: Path) -> None:
    """The cue word and overlap foretell labels in train and dev, and mislead in ood."""
    for split, low, high in (("train", 0.65, 0.9), ("dev", 0.65, 0.9), ("ood", 0.0, 0.15)):
        assert low <= precision(rows(demo, "inference", split), "contradiction") <= high, split
    for split, low, high in (("train", 0.5, 0.75), ("dev", 0.5, 0.75), ("ood", 0.0, 0.15)):
        labels = overlapping(rows(demo, "inference", split))
        assert low <= labels.count("entailment") / len(labels) <= high, split


def test_a_hypothesis_alone_scores_in_dev_and_fails_out_of_distribution(demo: Path) -> None:
    """A bag of the hypothesis's words is well above a third in dev and not above it in ood."""
    train = rows(demo, "inference", "train")
    vectors = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=500).fit(
        vectors.fit_transform([row["hypothesis"] for row in train]), [row["label"] for row in train]
    )
    score = {
        split: model.score(vectors.transform([row["hypothesis"] for row in found]), [row["label"] for row in found])
        for split in ("dev", "ood")
        for found in [rows(demo, "inference", split)]
    }
    assert score["dev"] > 0.42
    assert score["ood"] < 0.36


def test_meanings_can_be_learnt_from_the_corpus(demo: Path) -> None:
    """Vectors of words that keep company tell the topic of unseen words; the words themselves do not."""
    articles = make_articles(make_lexicon(0), seed=0, documents=1500)
    counts = CountVectorizer(token_pattern=r"[a-z]+", binary=True)
    table = counts.fit_transform(articles).astype(float)
    together = np.asarray((table.T @ table).todense())
    positive = np.log1p(together * together.sum() / np.outer(together.sum(0), together.sum(1)))
    left, values, _ = np.linalg.svd(positive)
    vectors = dict(zip(counts.get_feature_names_out(), (left * values)[:, 1:24], strict=True))

    def means(found: list[dict[str, str]]) -> np.ndarray:
        """Mean of the vectors of a sentence's first clause."""
        return np.array(
            [np.mean([vectors[word] for word in row["text"].split(" mas ")[0].split()], 0) for row in found]
        )

    train, dev = rows(demo, "topic", "train"), rows(demo, "topic", "dev")
    gold = [row["label"] for row in dev]
    learnt = (
        LogisticRegression(max_iter=2000).fit(means(train), [row["label"] for row in train]).score(means(dev), gold)
    )
    bag = CountVectorizer(token_pattern=r"\S+")
    plain = LogisticRegression(max_iter=500).fit(
        bag.fit_transform([row["text"] for row in train]), [row["label"] for row in train]
    )
    assert plain.score(bag.transform([row["text"] for row in dev]), gold) < 0.25
    assert learnt > 0.9


def test_a_second_call_leaves_the_same_files_alone(tmp_path: Path) -> None:
    """A cut-off call can be given again: what is there stays, what is missing is written."""
    recipe = write_demo(tmp_path, documents=20)
    (tmp_path / "tasks" / "topic" / "dev.csv").unlink()
    before = recipe.stat().st_mtime_ns
    assert recipe == write_demo(tmp_path, documents=20)
    assert before == recipe.stat().st_mtime_ns
    assert (tmp_path / "tasks" / "topic" / "dev.csv").is_file()


def test_a_changed_file_is_not_overwritten(tmp_path: Path) -> None:
    """Somebody's edit of the recipe survives, the message says how to go on, and nothing else is written."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 7\n")
    with pytest.raises(StoreError, match="bertwright run"):
        write_demo(tmp_path, documents=20)
    assert "seed: 7\n" == recipe.read_text()
    assert ["recipe.yaml"] == [path.name for path in tmp_path.iterdir()]


def test_an_article_keeps_to_one_field() -> None:
    """The nouns of an article all belong to one field: that is what makes fields learnable from company."""
    lexicon = make_lexicon(3)
    home = {noun: field.name for field in lexicon.fields for kind in field.kinds for noun in kind.nouns}
    for article in make_articles(lexicon, seed=3, documents=50):
        assert 1 == len({home[word] for word in article.replace(".", " ").split() if word in home})


def test_poles_can_be_told_by_the_company_of_their_words() -> None:
    """An article has far more adjectives of its own pole than of any other."""
    lexicon = make_lexicon(0)
    poles = [set(pole.adjectives) for scale in lexicon.scales for pole in scale.poles]
    shares = []
    for article in make_articles(lexicon, seed=0, documents=200):
        words = article.replace(".", " ").split()
        counts = [sum(word in pole for word in words) for pole in poles]
        shares.append(max(counts) / max(1, sum(counts)))
    assert np.mean(shares) > 0.7
