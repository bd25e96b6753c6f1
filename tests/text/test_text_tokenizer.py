"""Tokenizers: trained, loaded, saved; a second opinion from transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from bertwright.errors import DataError
from bertwright.text import string_counts
from bertwright.text.engine import Engine
from bertwright.text.string_counts import StringCounts
from bertwright.text.tokenizer import Tokenizer, train_tokenizer
from bertwright.text.wordpiece import repeated

WORDS = [a + b + c for a in ("ba", "ko", "Mi", "tu") for b in ("ri", "na", "so", "pe") for c in ("", "l", "ng", "ste")]
TEXTS = [" ".join(WORDS[start::7]) + ", don't (stop)!" for start in range(7)]


@pytest.fixture(scope="module")
def bert() -> Tokenizer:
    """A small WordPiece tokenizer."""
    return train_tokenizer(iter(TEXTS), kind="wordpiece", vocabulary=100, lowercase=True)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small byte-level tokenizer in RoBERTa's tradition."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    folder = tmp_path_factory.mktemp("roberta")
    backend.enable_truncation(8)
    backend.enable_padding(length=8)
    backend.save(str(folder / "tokenizer.json"))
    return folder


def test_special_tokens_come_first(bert: Tokenizer) -> None:
    """A trained tokenizer has exactly the pieces asked for, [PAD] at 0."""
    assert 100 == bert.vocabulary
    assert [0, 1, 2, 3, 4] == [bert.pad_id, bert.unk_id, bert.cls_id, bert.sep_id, bert.mask_id]
    assert frozenset(range(5)) == bert.special_ids
    assert True is bert.lowercase


def test_written_out_special_tokens_are_text(bert: Tokenizer, roberta: Path) -> None:
    """[MASK] or <mask> in a text never becomes the special id."""
    assert not bert.special_ids - {bert.unk_id} & set(bert.encode(["a [MASK] b [CLS][SEP] [PAD]"])[0])
    loaded = Tokenizer.load(roberta)
    assert not loaded.special_ids & set(loaded.encode(["a <mask> b <s></s> <pad>"])[0])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(WORDS).map(str.lower), min_size=1, max_size=30).map(" ".join))
def test_decoding_gives_the_text_back(text: str) -> None:
    """A text of known characters comes back from its ids."""
    tokenizer = train_tokenizer(iter(TEXTS), kind="wordpiece", vocabulary=80, lowercase=True)
    assert text == tokenizer.decode(tokenizer.encode([text])[0])


def test_decoding_shows_special_tokens_on_request(bert: Tokenizer) -> None:
    """Special tokens are left out of a decoded text, or shown; words are never changed on the way."""
    ids = [bert.cls_id, *bert.encode(["Bari do not kona"])[0], bert.sep_id, bert.pad_id]
    assert "bari do not kona" == bert.decode(ids)
    assert "[CLS] bari do not kona [SEP] [PAD]" == bert.decode(ids, show_special=True)


def test_offsets_are_characters(bert: Tokenizer) -> None:
    """The spans of a text's pieces hold the text's letters, accents included."""
    text = "Bári (stop)"
    (encoded,) = bert.encode_with_offsets([text])
    assert bert.encode([text]) == [encoded.ids]
    assert "Bári(stop)" == "".join(text[start:end] for start, end in encoded.offsets)


SIZES = {"wordpiece": 90, "bpe": 300, "unigram": 50}


@pytest.mark.parametrize("kind", SIZES)
def test_training_is_the_same_in_every_process(tmp_path: Path, kind: str) -> None:
    """Other hash seeds and numbers of threads give the same bytes."""
    size = SIZES[kind]
    code = (
        "import sys; from pathlib import Path; from bertwright.text.tokenizer import train_tokenizer as t;"
        f"t(iter({TEXTS!r}), kind={kind!r}, vocabulary={size}, lowercase=True).save(Path(sys.argv[1]), max_length=9)"
    )
    for name, threads in (("1", "1"), ("2", "2"), ("3", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": name, "RAYON_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], env=environment, check=True)
    contents = {tuple((path.name, path.read_bytes()) for path in sorted((tmp_path / name).iterdir())) for name in "123"}
    assert 1 == len(contents)


def test_too_little_text_says_how_many_pieces(bert: Tokenizer) -> None:
    """A corpus that supports fewer pieces is refused with both numbers, and takes the number it names."""
    with pytest.raises(DataError, match=r"(\d+) pieces and 5000 are asked for") as caught:
        train_tokenizer(iter(TEXTS), kind="wordpiece", vocabulary=5000, lowercase=True)
    found = int(str(caught.value).split(" pieces")[0].split()[-1])
    assert found == train_tokenizer(iter(TEXTS), kind="wordpiece", vocabulary=found, lowercase=True).vocabulary


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_other_kinds_give_the_text_back(tmp_path: Path, kind: str) -> None:
    """BPE and Unigram have exactly the pieces asked for, special ones first, keep a text whole, and stay themselves in
    transformers; BPE has no unknown text, and written-out special tokens are text."""
    from transformers import AutoTokenizer

    tokenizer = train_tokenizer(iter(TEXTS), kind=kind, vocabulary=SIZES[kind], lowercase=False)
    assert (SIZES[kind], [0, 1, 2, 3, 4]) == (
        tokenizer.vocabulary,
        [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id],
    )
    for text in TEXTS[:5]:
        assert text == tokenizer.decode(tokenizer.encode([text])[0])
    assert not (tokenizer.special_ids - {tokenizer.unk_id}) & set(tokenizer.encode(["a [MASK] b"])[0])
    unknown = tokenizer.encode(["\u4e2d\U0001f600"])[0]
    assert (tokenizer.unk_id in unknown) == (kind == "unigram")
    tokenizer.save(tmp_path, max_length=64)
    other = AutoTokenizer.from_pretrained(str(tmp_path))
    first, second = tokenizer.encode(TEXTS[:2])
    expected = [tokenizer.cls_id, *first, tokenizer.sep_id, *second, tokenizer.sep_id]
    assert expected == other(TEXTS[0], TEXTS[1])["input_ids"]
    assert tokenizer.identity() == Tokenizer.load(tmp_path).identity()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_other_kinds_refuse_too_little_text(kind: str) -> None:
    """The message names the number of pieces that the texts support."""
    with pytest.raises(DataError, match=r"support a vocabulary of \d+ pieces and 5000 are asked for"):
        train_tokenizer(iter(TEXTS), kind=kind, vocabulary=5000, lowercase=False)


def test_a_small_vocabulary_keeps_the_frequent_characters() -> None:
    """Where characters alone would fill the vocabulary, rare ones go to [UNK] and the size stands."""
    rare = "".join(chr(code) for code in range(0x0400, 0x0450))
    texts = ["aba ab ba " * 100_000, " ".join(rare)]
    tokenizer = train_tokenizer(iter(texts), kind="wordpiece", vocabulary=12, lowercase=False)
    assert 12 == tokenizer.vocabulary
    assert tokenizer.unk_id not in tokenizer.encode(["abab"])[0]
    assert [[tokenizer.unk_id]] * len(rare) == tokenizer.encode(list(rare))


def test_words_are_fed_as_often_as_they_are_counted() -> None:
    """The trainer sees each word exactly as often as it was counted, also in several portions."""
    counts = {"b": 100_000, "ab": 1, "c" * 40: 3333}
    fed: Counter[str] = Counter()
    for string in repeated(counts):
        fed.update(string.split())
    assert counts == fed


def test_saved_folders_load_unchanged(tmp_path: Path, bert: Tokenizer, roberta: Path) -> None:
    """Loading what was saved gives the same identity; truncation and padding of a loaded one are gone."""
    for name, tokenizer in {"bert": bert, "roberta": Tokenizer.load(roberta)}.items():
        tokenizer.save(tmp_path / name, max_length=64)
        assert tokenizer.identity() == Tokenizer.load(tmp_path / name).identity()
    long, short = Tokenizer.load(roberta).encode([TEXTS[0], "a"])
    assert len(long) > 8
    assert len(short) == 1
    assert bert.identity() != Tokenizer.load(roberta).identity()


def test_transformers_loads_bert_folders(tmp_path: Path, bert: Tokenizer) -> None:
    """Our saved WordPiece folder gives the same ids in transformers, with pairs, segments and the longest input."""
    from transformers import AutoTokenizer

    bert.save(tmp_path, max_length=64)
    other = AutoTokenizer.from_pretrained(str(tmp_path))
    pair = other(TEXTS[0], TEXTS[1])
    first, second = bert.encode(TEXTS[:2])
    expected = [bert.cls_id, *first, bert.sep_id, *second, bert.sep_id]
    assert expected == pair["input_ids"]
    assert [0] * (len(first) + 2) + [1] * (len(second) + 1) == pair["token_type_ids"]
    assert (64, 0, "[MASK]", "[UNK]") == (other.model_max_length, other.pad_token_id, other.mask_token, other.unk_token)
    vocabulary = (tmp_path / "vocab.txt").read_text().splitlines()
    assert other.convert_ids_to_tokens(list(range(100))) == vocabulary


def test_transformers_loads_roberta_folders(tmp_path: Path, roberta: Path) -> None:
    """A byte-level folder keeps its own special tokens, padding at 1, and has no segments."""
    from transformers import AutoTokenizer

    tokenizer = Tokenizer.load(roberta)
    tokenizer.save(tmp_path, max_length=64)
    other = AutoTokenizer.from_pretrained(str(tmp_path))
    pair = other(TEXTS[0], TEXTS[1])
    first, second = tokenizer.encode(TEXTS[:2])
    assert [0, *first, 2, 2, *second, 2] == pair["input_ids"]
    assert "token_type_ids" not in pair
    assert (64, 1, "<mask>", "<s>") == (other.model_max_length, other.pad_token_id, other.mask_token, other.cls_token)
    assert 1 == tokenizer.pad_id


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "tokenizer.json is not there"),
        ({"tokenizer.json": "{"}, "is not a tokenizer"),
        ({"tokenizer_config.json": "{"}, "tokenizer_config.json is not JSON"),
        ({"tokenizer_config.json": '{"mask_token": "[NONE]"}'}, r"no special token for mask \("),
    ],
)
def test_unusable_folders_are_refused(tmp_path: Path, bert: Tokenizer, files: dict[str, str], words: str) -> None:
    """A folder without a tokenizer, or one without a special token, is refused and told what is missing."""
    if files:
        bert.save(tmp_path, max_length=64)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        Tokenizer.load(tmp_path)


def test_a_model_without_its_unknown_token_is_refused(tmp_path: Path, bert: Tokenizer) -> None:
    """It would fail at the first word that no piece holds, in the middle of a run."""
    bert.save(tmp_path, max_length=64)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["unk_token"] = "[NONE]"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"tokenizer.json cannot encode a text .*UNK.* Write it anew"):
        Tokenizer.load(tmp_path)


def test_special_tokens_go_by_the_folders_word(tmp_path: Path, bert: Tokenizer) -> None:
    """Names in tokenizer_config.json go before the usual ones."""
    bert.save(tmp_path, max_length=64)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": {"content": "[MASK]"}}))
    loaded = Tokenizer.load(tmp_path)
    assert 4 == loaded.pad_id
    loaded.save(tmp_path / "again", max_length=64)
    assert 4 == Tokenizer.load(tmp_path / "again").pad_id


def test_a_special_token_that_the_model_itself_finds_is_broken_up() -> None:
    """A Unigram model holds its special tokens as pieces: written out in a text they are text, with right offsets."""
    names = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    letters = [(character, -5.0) for character in "\u2581abcdefghijklmnopqrstuvwxyz<>/"]
    scored = [*((name, 0.0) for name in names.values()), *letters, ("\u2581the", -1.0), ("ask", -2.0)]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(scored, unk_id=1))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.add_special_tokens(list(names.values()))
    text = "the <mask> and <s> the"
    backend.encode_special_tokens = True
    assert backend.token_to_id("<mask>") in backend.encode(text, add_special_tokens=False).ids
    tokenizer = Tokenizer(backend, names)
    [ids], [encoded] = tokenizer.encode([text]), tokenizer.encode_with_offsets([text])
    assert not set(ids) & {tokenizer.mask_id, tokenizer.cls_id}
    assert ids == encoded.ids
    covered = {place for start, end in encoded.offsets for place in range(start, end)}
    assert {place for place, character in enumerate(text) if character != " "} <= covered <= set(range(len(text)))
    assert tokenizer.encode(["the task"]) == [backend.encode("the task", add_special_tokens=False).ids]
    wide = Engine(tokenizer).encode([text, "the task"])
    assert [*ids, *tokenizer.encode(["the task"])[0]] == wide.ids.tolist()


def test_rare_strings_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting takes bounded memory: the rarest strings go, the same ones in any process, and are counted."""
    texts = [f"often often sometimes{number % 3} once{number}" for number in range(200)]
    whole = StringCounts(texts, None)
    assert (0, 204) == (whole.left_out, len(whole.counts))
    monkeypatch.setattr(string_counts, "_AT_ONCE", 40)
    monkeypatch.setattr(string_counts, "_MOST", 20)
    bounded = StringCounts(texts, None)
    assert len(bounded.counts) <= 20
    assert (400, 800) == (bounded.counts["often"], bounded.counts.total() + bounded.left_out)
    assert {"sometimes0", "sometimes1", "sometimes2"} < set(bounded.counts)
