"""The table of tokenizers' sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertwright.cli import main as cli
from bertwright.text.tokenizer import train_tokenizer

WORDS = ["reading", "reader", "reads", "read", "writing", "writer", "writes", "write", "rewriting", "rereading"]
TEXTS = [" ".join(WORDS[(i * k) % 10] + "s" * (i % 3) for i in range(1, 9)) for k in range(1, 30)]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a recipe over a small text."""
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS))
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"prepare": {"sources": "text.txt"}, "encoder": {"size": "tiny"}}))
    return path


def test_sizes_are_compared_on_the_users_text(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens a word as the tokenizers give them; a size that the text does not support says so; nothing is made."""
    assert 0 == cli.call(["prepare", str(recipe), "--sizes", "64,66,5000", "--json"])
    small, large, none = json.loads(capsys.readouterr().out.splitlines()[-1])["sizes"]
    for row in (small, large):
        tokenizer = train_tokenizer(TEXTS, kind="wordpiece", vocabulary=row["vocabulary"], lowercase=True)
        words = [word for text in TEXTS for word in text.split()]
        assert sum(map(len, tokenizer.encode(words))) / len(words) == pytest.approx(row["tokens_per_word"])
        assert row["embeddings"] == row["vocabulary"] * 128 / row["parameters"]
    assert large["tokens_per_word"] < small["tokens_per_word"]
    assert "support a vocabulary of" in none["why"]
    assert not (recipe.parent / "bertwright-store").exists()


def test_sizes_that_are_no_numbers_are_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was found and how it is written."""
    assert 2 == cli.call(["prepare", str(recipe), "--sizes", "8k"])
    assert "found '8k'; write whole numbers" in capsys.readouterr().err
