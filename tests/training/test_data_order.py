"""The order of the data and the masks: pure functions of seed, epoch and row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.encoder.config import shape
from bertwright.encoder.models import initialise
from bertwright.encoder.stack import Encoder
from bertwright.text.tokenizer import train_tokenizer
from bertwright.training.corruption import mask_tokens
from bertwright.training.masked_rows import BatchSize, MaskedRows, Masking
from bertwright.training.masked_rows import masked as masked_rows
from bertwright.training.order import Order, Place

SPECIAL = np.arange(5)


def masked(ids: np.ndarray, rows: np.ndarray, *, epoch: int = 0, seed: int = 0, rate: float = 0.15):  # type: ignore[no-untyped-def]
    """Mask rows of a toy vocabulary of 100 with five special tokens."""
    return mask_tokens(
        ids,
        rows=rows,
        epochs=np.full(len(rows), epoch),
        seed=seed,
        rate=rate,
        mask_id=4,
        special_ids=SPECIAL,
        vocabulary=100,
    )


def toy(rows: int, length: int = 64) -> np.ndarray:
    """Return rows [CLS] tokens [SEP] padding."""
    ids = np.random.default_rng(0).integers(5, 100, (rows, length)).astype(np.uint16)
    ids[:, 0], ids[:, -4], ids[:, -3:] = 2, 3, 0
    return ids


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 50), world=st.sampled_from([1, 2, 3, 8]), batch=st.integers(1, 20), seed=st.integers(0, 99))
def test_the_union_over_ranks_covers_each_row_once_an_epoch(rows: int, world: int, batch: int, seed: int) -> None:
    """Whatever the batch and the number of ranks, an epoch's places hold every row exactly once."""
    order, seen = Order(rows, seed), []
    for start in range(0, rows * 2, batch):
        numbers, _ = order.take(start, min(start + batch, rows * 2))
        seen.append(np.concatenate([numbers[rank::world] for rank in range(world)]))
        np.testing.assert_array_equal(np.sort(seen[-1]), np.sort(numbers))
    flat = np.concatenate([order.take(0, rows)[0], order.take(rows, 2 * rows)[0]])
    np.testing.assert_array_equal(np.sort(flat[:rows]), np.arange(rows))
    np.testing.assert_array_equal(np.sort(flat[rows:]), np.arange(rows))
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.repeat(np.arange(rows), 2))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    """A new epoch, and another seed, shuffle anew."""
    first, second, other = Order(50, 0).take(0, 50)[0], Order(50, 0).take(50, 100)[0], Order(50, 1).take(0, 50)[0]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_masking_rates_are_those_of_bert() -> None:
    """15 % of ordinary tokens are chosen; of these 80 % become the mask, 10 % another token, 10 % stay."""
    ids = toy(2000)
    result = masked(ids, np.arange(2000))
    ordinary = (ids >= 5).sum()
    flat = result.ids.reshape(-1)[result.positions]
    assert pytest.approx(0.15, abs=0.003) == len(result.positions) / ordinary
    assert pytest.approx(0.80, abs=0.01) == (flat == 4).mean()
    # A random token is the old one once in 95 times.
    assert pytest.approx(0.10 * 94 / 95, abs=0.008) == ((flat != 4) & (flat != result.labels)).mean()


def test_special_tokens_are_never_chosen_nor_put_in() -> None:
    """[CLS], [SEP] and padding stay; the random token is an ordinary one; what is not chosen is untouched."""
    ids = toy(500)
    result = masked(ids, np.arange(500), rate=0.5)
    assert (ids.reshape(-1)[result.positions] >= 5).all()
    changed = result.ids.reshape(-1)[result.positions]
    assert ((changed == 4) | (changed >= 5)).all()
    untouched = np.setdiff1d(np.arange(ids.size), result.positions)
    np.testing.assert_array_equal(ids.reshape(-1)[untouched], result.ids.reshape(-1)[untouched])


def test_a_row_is_masked_alike_in_any_batch() -> None:
    """Masks hang on (seed, epoch, row, position) and not on a row's neighbours."""
    ids = toy(40)
    whole = masked(ids, np.arange(40))
    backwards = masked(ids[::-1], np.arange(40)[::-1])
    np.testing.assert_array_equal(whole.ids, backwards.ids[::-1])
    np.testing.assert_array_equal(whole.ids[7:9], masked(ids[7:9], np.arange(7, 9)).ids)


def test_epochs_and_seeds_have_masks_of_their_own() -> None:
    """Masking is dynamic: another epoch or seed chooses other tokens, hardly more alike than chance."""
    ids = toy(200)
    chosen = [set(masked(ids, np.arange(200), **kind).positions) for kind in ({}, {"epoch": 1}, {"seed": 1})]
    for other in chosen[1:]:
        assert pytest.approx(0.15, abs=0.03) == len(chosen[0] & other) / len(chosen[0])


def test_whole_words_are_chosen_or_left_whole() -> None:
    """All pieces of a word have one fate, a word that begins a row or follows a special token too; the rate stays."""
    ids, inside = toy(400), np.arange(100) >= 60
    found = mask_tokens(
        ids,
        rows=np.arange(400),
        epochs=np.zeros(400, dtype=int),
        seed=0,
        rate=0.15,
        mask_id=4,
        special_ids=SPECIAL,
        vocabulary=100,
        inside=inside,
    )
    chosen = np.zeros(ids.size, dtype=bool)
    chosen[found.positions] = True
    chosen = chosen.reshape(ids.shape)
    ordinary = ids >= 5
    for row, marks, real in zip(ids, chosen, ordinary, strict=True):
        for place in range(1, len(row)):
            if real[place] and inside[row[place]] and real[place - 1]:
                assert marks[place] == marks[place - 1]
    assert 0.14 < chosen[ordinary].mean() < 0.16
    assert not chosen[~ordinary].any()
    assert (np.diff(chosen.astype(int), axis=1) != 0).sum() < (masked_places(ids) != 0).sum()


def masked_places(ids: np.ndarray) -> np.ndarray:
    """Return where runs of chosen tokens begin and end when single pieces are chosen."""
    chosen = np.zeros(ids.size, dtype=int)
    chosen[masked(ids, np.arange(len(ids))).positions] = 1
    return np.diff(chosen.reshape(ids.shape), axis=1)


def test_the_mask_rate_moves_in_a_straight_line() -> None:
    """From the first rate to the last over the budget; without a last one it stays."""
    assert [0.3, 0.225, 0.15, 0.15] == pytest.approx([Masking(0.3, 0.15).at(share) for share in (0, 0.5, 1, 1.1)])
    assert [0.2, 0.2] == [Masking(0.2).at(share) for share in (0, 1)]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_pieces_inside_words_are_known(kind: str) -> None:
    """The pieces of a long word but its first go on with a word; specials and beginnings do not."""
    texts = ["reading writing rereading rewriting reads writes"] * 20
    size = {"wordpiece": 30, "bpe": 275, "unigram": 21}[kind]
    tokenizer = train_tokenizer(texts, kind=kind, vocabulary=size, lowercase=True)
    inside = tokenizer.inside_words()
    [[first, *ids]] = tokenizer.encode([texts[0]])
    assert 5 == np.count_nonzero(~inside[ids])
    assert len(ids) > 8
    assert not inside[sorted(tokenizer.special_ids)].any()
    # BPE's first word has no sign of its own: what stands before it, a special token, tells.
    assert (kind == "bpe") == inside[first]


class Rows:
    """Rows as shards give them, all of one ordinary piece."""

    def rows(self, split: str) -> int:
        """Return how many there are."""
        return 64

    def ids(self, split: str, chosen: np.ndarray) -> np.ndarray:
        """Return rows [CLS] pieces [SEP]."""
        found = np.full((len(chosen), 128), 9, dtype=np.uint16)
        found[:, 0], found[:, -1] = 2, 3
        return found


def test_steps_are_masked_at_the_rate_of_their_place_in_the_budget() -> None:
    """Half of the tokens at first, a twentieth at the end, and in between by the share of the budget."""
    tokenizer = train_tokenizer(["some words to be pieces"], kind="wordpiece", vocabulary=25, lowercase=True)
    rows: Any = Rows()
    batches = MaskedRows(rows, tokenizer, batch=BatchSize(32), micro_batch=32, masking=Masking(0.5, 0.05), seed=0)
    counts = [batches.step(Place(share=share), 0, 1)[0]["count"] / (32 * 126) for share in (0.0, 0.5, 1.0)]
    assert [0.5, 0.275, 0.05] == pytest.approx(counts, abs=0.03)


def test_a_growing_batch_takes_every_row_once() -> None:
    """From 4 rows to 16 over half of the budget; rows follow each other whatever the sizes, ranks and micro-batches."""
    size = BatchSize(16, start=4, ramp=0.5)
    assert [4, 10, 16, 16] == [size.at(share) for share in (0.0, 0.25, 0.5, 1.0)]
    assert {16} == {BatchSize(16).at(share) for share in (0.0, 0.5, 1.0)}
    tokenizer = train_tokenizer(["some words to be pieces"], kind="wordpiece", vocabulary=25, lowercase=True)
    for world, micro_batch in ((1, 16), (2, 3), (3, 5), (8, 1)):
        rows: Any = WatchedRows()
        batches = MaskedRows(rows, tokenizer, batch=size, micro_batch=micro_batch, masking=Masking(0.15), seed=0)
        row = 0
        for step in range(8):
            place = Place(step, row, step / 8)
            parts = [part for rank in range(world) for part in batches.step(place, rank, world)]
            assert all(len(part["ids"]) <= micro_batch for part in parts)
            row += batches.rows(place)
        assert 4 + 7 + 10 + 13 + 16 * 4 == row == len(rows.asked)
        # One epoch of 64 rows and 34 of the next: each once or twice.
        assert 34 == sum(rows.asked.count(number) == 2 for number in range(64))
        assert 30 == sum(rows.asked.count(number) == 1 for number in range(64))


class WatchedRows(Rows):
    """Rows that note which of them were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def ids(self, split: str, chosen: np.ndarray) -> np.ndarray:
        """Return rows [CLS] pieces [SEP]."""
        self.asked += chosen.tolist()
        return super().ids(split, chosen)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_documents_of_a_row_are_kept_apart() -> None:
    """Each token sees its own document with its [SEP], and no padding; alone it is the same."""
    tokenizer = train_tokenizer(["some words to be pieces"], kind="wordpiece", vocabulary=25, lowercase=True)
    pad, cls, sep = tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id
    row = [cls, 9, 10, sep, 11, 12, 13, sep, pad, pad]

    class One(Rows):
        def ids(self, split: str, chosen: np.ndarray) -> np.ndarray:
            return np.array([row])

    rows: Any = One()
    zero = np.zeros(1, dtype=np.int64)
    batch = masked_rows(rows, tokenizer, "train", zero, zero, rate=0.01, seed=0, apart=True)
    assert batch["mask"].tolist() == [[0] * 4 + [1] * 4 + [-1] * (len(row) - 8)]
    for family in ("bert", "modern"):
        encoder = initialise(Encoder(shape(family, "tiny", vocabulary=25, pad_id=pad)), seed=0).eval()
        for form in ("matmul", "sdpa", "flex"):
            encoder.attention_form(form)
            with torch.no_grad():
                whole, alone = encoder(torch.tensor([row]), batch["mask"]), encoder(torch.tensor([row[:4]]))
            torch.testing.assert_close(whole[:, :4], alone, atol=1e-5, rtol=1e-4)
