"""Continuing an encoder on other text: new pieces, and what is forgotten."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

import bertwright
from bertwright.cli.main import call
from bertwright.encoder import families
from bertwright.encoder.models import MaskedLM
from bertwright.errors import DataError, RecipeError
from bertwright.stages.starting import add_pieces
from bertwright.text.extending import extend, is_extension
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

Toy = Callable[..., Path]


@pytest.fixture
def given(toy: Toy, tmp_path: Path) -> Path:
    """An encoder's folder, pretrained for a moment on the toy text."""
    result = bertwright.pretrain(bertwright.load_recipe(toy(tasks=[]), [f"store={tmp_path / 'first'}"]))
    return result.folder / "encoder"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Text of other words, each of which the toy tokenizer cuts."""
    draw = random.Random(1)
    words = [a + b for a in ("balaban", "tushtush", "miremire") for b in ("kolare", "somiso", "tutula")]
    lines = [" ".join(draw.choice(words) for _ in range(8)) for _ in range(300)]
    (tmp_path / "other.txt").write_text("\n\n".join("\n".join(lines[n : n + 6]) for n in range(0, 300, 6)))
    return tmp_path / "other.txt"


def test_new_pieces_are_the_words_that_were_cut_most(given: Path, other: Path) -> None:
    """Whole words come in, ordered by what they save; old pieces keep their ids, and other kinds are refused."""
    tokenizer = Tokenizer.load(given)
    text = other.read_text()
    extended, _ = extend(tokenizer, [text], 5)
    added = extended.pieces()[tokenizer.vocabulary :]
    assert 5 == len(added)
    assert is_extension(extended, tokenizer)
    assert not is_extension(tokenizer, tokenizer)

    def saves(word: str) -> int:
        return text.split().count(word) * (len(tokenizer.encode([word])[0]) - 1)

    assert sorted((saves(word) for word in set(text.split())), reverse=True)[:5] == [saves(word) for word in added]
    assert [[tokenizer.vocabulary + number] for number in range(5)] == extended.encode(added)
    assert tokenizer.encode(["balan kore"]) == extended.encode(["balan kore"])
    with pytest.raises(DataError, match=r"asks for 10 pieces.*has 9 words.*set it to 9"):
        extend(tokenizer, [text], 10)
    with pytest.raises(DataError, match="is BPE, and only WordPiece"):
        extend(train_tokenizer([text], kind="bpe", vocabulary=280, lowercase=True), [text], 5)


def test_a_new_row_is_the_mean_of_its_old_pieces(given: Path, other: Path) -> None:
    """Embedding and bias of a new piece; all that was there stays as it was, to the bit."""
    loaded = families.load(given)
    assert loaded.masked_lm_head is not None
    model = MaskedLM(loaded.encoder, loaded.masked_lm_head)
    torch.nn.init.normal_(model.head.bias)
    words, bias = model.encoder.embeddings.words.weight.detach().clone(), model.head.bias.detach().clone()
    old = Tokenizer.load(given)
    new, _ = extend(old, [other.read_text()], 3)
    add_pieces(model, old, new)
    table = model.encoder.embeddings.words.weight
    assert (new.vocabulary, new.vocabulary) == (len(table), model.encoder.config.vocabulary)
    assert torch.equal(words, table[: len(words)])
    for piece, row, own in zip(new.pieces()[-3:], table[-3:], model.head.bias[-3:], strict=True):
        [ids] = old.encode([piece])
        torch.testing.assert_close(row, words[ids].mean(0))
        torch.testing.assert_close(own, bias[ids].mean())


def test_an_encoder_is_continued_with_new_pieces(toy: Toy, given: Path, other: Path, tmp_path: Path) -> None:
    """The folder proves itself with the larger table; the given encoder keeps its own tokenizer; both are scored."""
    path = toy(
        prepare={"sources": [str(other)]},
        tokenizer={"extend": 6},
        encoder={"folder": str(given)},
        pretrain={"second_text": str(tmp_path / "texts" / "0.txt"), "learning_rate": 3e-3},
    )
    changes = [f"store={tmp_path / 'second'}"]
    document = path.read_text().replace("  vocabulary: 90\n", "")
    for key in ("size: tiny", "layers: 1", "width: 16", "heads: 2", "inner: 32", "positions: 32"):
        document = document.replace(f"  {key}\n", "")
    path.write_text(document)
    result = bertwright.run(bertwright.load_recipe(path, changes))
    found = result.stages["pretrain"].record["results"]
    small, large = Tokenizer.load(given).vocabulary, Tokenizer.load(result.folder / "encoder").vocabulary
    assert (small + 6, large) == (large, found["shape"]["vocabulary"])
    assert any("6 pieces are new" in note for note in found["notes"])
    assert any("The loss on 0.txt, the second text, went from" in note for note in found["notes"])
    assert found["second_text_loss"] != found["first_second_text_loss"]
    scores = result.stages["evaluate/height"].record["results"]["variants"]
    assert {"continued", "given", "untrained"} == {one["variant"] for one in scores}
    tokens = {
        name: len(Tokenizer.load(result.folder / "tasks" / "height" / name / "seed-0").pieces())
        for name in ("continued", "given")
    }
    assert {"continued": large, "given": small} == tokens


def test_a_fresh_head_knows_the_new_pieces(toy: Toy, given: Path, other: Path, tmp_path: Path) -> None:
    """A folder without a prediction head, continued with new pieces: the head is as long as the longer table."""
    bare = tmp_path / "bare"
    shutil.copytree(given.resolve(), bare)
    tensors = safetensors.torch.load_file(bare / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("cls.")}
    safetensors.torch.save_file(kept, bare / "model.safetensors", metadata={"format": "pt"})
    document = toy(tasks=[], prepare={"sources": [str(other)]}).read_text()
    recipe = yaml.safe_load(document) | {"tokenizer": {"extend": 6}, "encoder": {"folder": str(bare)}}
    recipe["pretrain"]["budget"] = "40 steps"
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(recipe))
    result = bertwright.pretrain(bertwright.load_recipe(tmp_path / "bare.yaml", [f"store={tmp_path / 'third'}"]))
    assert len(Tokenizer.load(bare).pieces()) + 6 == result.stages["pretrain"].record["results"]["shape"]["vocabulary"]


def test_extend_without_an_encoder_is_told(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """New pieces belong to an encoder that is continued; a fresh one has a tokenizer of its own."""
    path = toy(tokenizer={"extend": 6})
    assert 2 == call(["plan", str(path)])
    assert "`extend` adds to a tokenizer that is given; remove vocabulary" in capsys.readouterr().err
    path.write_text(path.read_text().replace("  vocabulary: 90\n", ""))
    with pytest.raises(RecipeError, match=r"tokenizer\.extend: new pieces need an encoder that is continued"):
        bertwright.load_recipe(path)
