"""Prepared rows on the disk: written from files of text, read back by number.

A folder holds ``train-00000.bin`` and on, ``held_out-00000.bin`` and on (raw little-endian ids, row after row),
``manifest.json`` (what they are) and, where rows were left out, ``troubles.jsonl``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertwright import files
from bertwright.errors import DataError
from bertwright.text.documents import Troubles, documents, ignore
from bertwright.text.encoding import EncodedDocument, encoded
from bertwright.text.held_out import HeldOut, choose_held_out
from bertwright.text.rows import ContiguousRows, Ids
from bertwright.text.shard_writer import Shard, ShardWriter
from bertwright.text.sources import TextFile
from bertwright.text.tokenizer import Tokenizer

FORMAT = "bertwright rows 1"
MANIFEST = "manifest.json"
TROUBLES = "troubles.jsonl"
SPLITS = ("train", "held_out")
_SHARD_ROWS = 65_536


@dataclass(frozen=True)
class Summary:
    """What became of a corpus.

    ``bytes`` (UTF-8), ``words`` (runs without a space), ``tokens`` and ``unknown`` ([UNK] among them) are of normalised
    text: [CLS], [SEP] and padding are in none of them. ``documents`` counts both splits, ``tokens`` and ``rows`` train
    alone. ``without_tokens`` are documents that the tokenizer cleans away wholly. ``troubles`` counts, by reason, what
    was left out, empty or replaced.
    """

    bytes: int
    documents: int
    held_out_documents: int
    without_tokens: int
    rows: int
    held_out_rows: int
    tokens: int
    held_out_tokens: int
    words: int
    unknown: int
    tokens_per_word: float
    row_length: int
    mean_document_tokens: float
    longest_document_tokens: int
    troubles: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return asdict(self)


def prepare_rows(
    text_files: Sequence[TextFile],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    row_length: int,
    held_out: float,
    seed: int,
    errors: str,
    broken_rows: str,
    shard_rows: int = _SHARD_ROWS,
    progress: Callable[[int], None] = ignore,
) -> Summary:
    """Encode files into rows of ``row_length`` ids and write them with a manifest; the same input gives the same bytes.

    About ``held_out`` of the documents (by ``seed``), and at least one, are kept back; of a single document its last
    rows. ``progress`` is told how many bytes of the files, as they lie on the disk, are read in all.
    ``DataError`` where a file cannot be read or the text is too little for a full row.
    """
    _clear(folder)
    dtype = np.dtype("<u2" if tokenizer.vocabulary <= 1 << 16 else "<u4")
    ids = {"cls_id": tokenizer.cls_id, "sep_id": tokenizer.sep_id, "pad_id": tokenizer.pad_id}

    def texts(troubles: Troubles, tell: Callable[[int], None]) -> Iterator[str]:
        return _texts(text_files, errors=errors, broken_rows=broken_rows, troubles=troubles, progress=tell)

    rule = choose_held_out(texts(Troubles(), ignore), seed=seed, share=held_out)
    troubles, tally = Troubles(), _Tally(tokenizer.unk_id)
    with contextlib.ExitStack() as stack:
        writers = {split: stack.enter_context(ShardWriter(folder, split, shard_rows)) for split in SPLITS}
        makers = {split: ContiguousRows(row_length=row_length, dtype=dtype, **ids) for split in SPLITS}
        for batch in encoded(texts(troubles, progress), tokenizer, dtype):
            for split, documents_of_split in tally.add(batch, rule, row_length - 2).items():
                writers[split].write(makers[split].add(documents_of_split))
        _check_enough(writers["train"].rows, tally.tokens, row_length)
        for split in SPLITS:
            writers[split].write(makers[split].finish())
    if troubles.rows:
        with files.writing(folder / TROUBLES) as stream:
            for row in troubles.rows:
                stream.write(json.dumps({"path": str(row.path), "row": row.row, "reason": row.reason}).encode() + b"\n")
    shards = [shard for split in SPLITS for shard in writers[split].shards]
    files.write_json(folder / MANIFEST, _manifest(tokenizer, row_length, dtype, shards))
    return tally.summary(row_length, {split: writers[split].rows for split in SPLITS}, troubles)


class Shards:
    """Prepared rows of a folder, read by number; files are mapped into memory when they are first needed.

    ``DataError`` where the folder holds none, another format, or a shard that is missing or of another size.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        manifest = _read_manifest(folder)
        self.row_length: int = manifest["row_length"]
        self.vocabulary: int = manifest["vocabulary"]
        self.tokenizer_identity: str = manifest["tokenizer"]
        self.pad_id: int = manifest["pad_id"]
        self.cls_id: int = manifest["cls_id"]
        self.sep_id: int = manifest["sep_id"]
        self.mask_id: int = manifest["mask_id"]
        self.dtype = np.dtype(manifest["dtype"])
        shards = [Shard(**entry) for entry in manifest["shards"]]
        self._shards = {split: [shard for shard in shards if shard.split == split] for split in SPLITS}
        self._ends = {
            split: np.cumsum([shard.rows for shard in self._shards[split]], dtype=np.int64) for split in SPLITS
        }
        self._mapped: dict[str, Ids] = {}
        for shard in shards:
            _check_size(folder / shard.name, shard.rows * self.row_length * self.dtype.itemsize)

    def rows(self, split: str) -> int:
        """Return the number of rows of ``train`` or ``held_out``."""
        return sum(shard.rows for shard in self._shards[split])

    def ids(self, split: str, indices: npt.NDArray[np.integer]) -> Ids:
        """Return rows by number, in the order asked for: B indices to B x T ids, uint16 or uint32, a copy."""
        if len(indices) and not (0 <= indices.min() and indices.max() < self.rows(split)):
            raise IndexError(
                f"{split} has rows 0 to {self.rows(split) - 1}; asked for {indices.min()} to {indices.max()}"
            )
        rows = np.empty((len(indices), self.row_length), dtype=self.dtype)
        places = np.searchsorted(self._ends[split], indices, side="right")
        for place in np.unique(places).tolist():
            shard = self._shards[split][place]
            wanted = places == place
            rows[wanted] = self._map(shard)[indices[wanted] - (self._ends[split][place] - shard.rows)]
        return rows

    def decoded(self, tokenizer: Tokenizer, split: str, index: int) -> str:
        """Return one row as text with its special tokens, as the model sees it; ``DataError`` for another tokenizer."""
        if tokenizer.identity() != self.tokenizer_identity:
            raise DataError(
                f"{self._folder} was prepared with tokenizer {self.tokenizer_identity}, not {tokenizer.identity()}. "
                "Use the tokenizer that lies beside the rows, or prepare the text again."
            )
        return tokenizer.decode(self.ids(split, np.array([index]))[0].tolist(), show_special=True)

    def _map(self, shard: Shard) -> Ids:
        if shard.name not in self._mapped:
            shape = (shard.rows, self.row_length)
            self._mapped[shard.name] = np.memmap(self._folder / shard.name, dtype=self.dtype, mode="r", shape=shape)
        return self._mapped[shard.name]


class _Tally:
    """Deals documents to the splits and counts them on the way."""

    def __init__(self, unk_id: int) -> None:
        self._unk_id = unk_id
        self.documents, self.held_out_documents, self.without_tokens = 0, 0, 0
        self.bytes, self.words, self.unknown, self.longest = 0, 0, 0, 0
        self.tokens = dict.fromkeys(SPLITS, 0)

    def add(self, batch: Sequence[EncodedDocument], rule: HeldOut, piece: int) -> dict[str, list[Ids]]:
        """Return the ids of a batch by split, in order; documents without a token are counted and left out."""
        dealt: dict[str, list[Ids]] = {split: [] for split in SPLITS}
        for document in batch:
            self.held_out_documents += rule.takes(self.documents)
            for split, ids in rule.deal(self.documents, document.ids, piece).items():
                if len(ids):
                    dealt[split].append(ids)
                    self.tokens[split] += len(ids)
            self.documents += 1
            self.without_tokens += not len(document.ids)
            self.bytes += document.bytes
            self.words += document.words
            self.unknown += int(np.count_nonzero(document.ids == self._unk_id))
            self.longest = max(self.longest, len(document.ids))
        return dealt

    def summary(self, row_length: int, rows: dict[str, int], troubles: Troubles) -> Summary:
        """Return the counts."""
        tokens = sum(self.tokens.values())
        return Summary(
            bytes=self.bytes,
            documents=self.documents,
            held_out_documents=self.held_out_documents,
            without_tokens=self.without_tokens,
            rows=rows["train"],
            held_out_rows=rows["held_out"],
            tokens=self.tokens["train"],
            held_out_tokens=self.tokens["held_out"],
            words=self.words,
            unknown=self.unknown,
            tokens_per_word=tokens / self.words,
            row_length=row_length,
            mean_document_tokens=tokens / self.documents,
            longest_document_tokens=self.longest,
            troubles=dict(troubles.counts),
        )


def _texts(
    text_files: Sequence[TextFile],
    *,
    errors: str,
    broken_rows: str,
    troubles: Troubles,
    progress: Callable[[int], None],
) -> Iterator[str]:
    """Give the documents of all files; ``progress`` is told the bytes read of all of them together."""
    before = 0
    for file in text_files:

        def tell(count: int, before: int = before) -> None:
            progress(before + count)

        yield from documents(file, errors=errors, broken_rows=broken_rows, troubles=troubles, progress=tell)
        before += file.path.stat().st_size


def _clear(folder: Path) -> None:
    """Remove what an earlier try left: with fewer shards this time its last ones would stay."""
    for path in [*folder.glob("*.bin"), folder / MANIFEST, folder / TROUBLES]:
        files.remove(path)


def _check_enough(full_rows: int, tokens: dict[str, int], row_length: int) -> None:
    """Refuse a corpus without one full row to train on, or without a token to measure on."""
    if full_rows and tokens["held_out"]:
        return
    raise DataError(
        f"The sources give {tokens['train']} tokens to train on and {tokens['held_out']} to measure on; at least one "
        f"row of {row_length - 2} and one token are needed. Add text, or make `prepare.row_length` or "
        "`prepare.held_out` smaller."
    )


def _manifest(tokenizer: Tokenizer, row_length: int, dtype: np.dtype[Any], shards: Sequence[Shard]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dtype": dtype.str,
        "row_length": row_length,
        "vocabulary": tokenizer.vocabulary,
        "tokenizer": tokenizer.identity(),
        "pad_id": tokenizer.pad_id,
        "cls_id": tokenizer.cls_id,
        "sep_id": tokenizer.sep_id,
        "mask_id": tokenizer.mask_id,
        "shards": [asdict(shard) for shard in shards],
    }


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = files.read_json(path)
        found = manifest.get("format")
    except FileNotFoundError:
        raise DataError(f"{path} is not there. Name a folder that `bertwright prepare` wrote.") from None
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}). Copy the folder once more, or prepare the text again."
        ) from error
    if found != FORMAT:
        raise DataError(f"{path} is of the format {found!r}, and {FORMAT!r} is expected. Prepare the text again.")
    return manifest


def _check_size(path: Path, expected: int) -> None:
    found = path.stat().st_size if path.is_file() else None
    if found != expected:
        raise DataError(
            f"{path} {'is not there' if found is None else f'has {found} bytes'}; {expected} bytes are expected. "
            "Copy the folder once more, or prepare the text again."
        )
