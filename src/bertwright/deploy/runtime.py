"""Answers from an exported folder: packs that come and go, rows of any of them in one batch. No torch.

    runtime = Runtime("export")
    runtime.add("triage.pack")
    runtime.predict(["a text", "another"], pack="triage")

Any number of threads may ask while others add, replace and remove packs: a batch keeps the packs it began with.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from bertwright.deploy import manifest as contents
from bertwright.deploy.bank import Bank, Entry, PackInfo
from bertwright.deploy.engine import Engine
from bertwright.deploy.flight import Flight
from bertwright.deploy.processor import overflows
from bertwright.deploy.rows import Answer, Encoded, Row, encoded
from bertwright.deploy.sessions import onnxruntime
from bertwright.encoder.config import EncoderConfig
from bertwright.errors import InputError
from bertwright.pack import SUFFIX, Pack
from bertwright.pack import read as read_pack
from bertwright.processes import processors
from bertwright.text.tokenizer import Tokenizer

__all__ = ["Answer", "Encoded", "Flight", "PackInfo", "Row", "Runtime"]

_TOKENS = 2048


class Runtime:
    """An exported encoder with its packs, ready to answer.

    ``threads`` is how many processors a batch may use; none: all that this process may. ``tokens`` bounds a batch,
    padding included.
    """

    def __init__(self, folder: Path | str, *, threads: int | None = None, tokens: int = _TOKENS) -> None:
        onnxruntime()
        self.folder, self.threads = Path(folder), threads or processors()
        if self.threads < 1 or tokens < 1:
            raise InputError(f"{threads} threads and batches of {tokens} tokens: expected whole numbers from 1 on")
        self.manifest = contents.read(self.folder)
        if self.manifest.precision == "int8" and self.manifest.bits == 8 and overflows():
            raise InputError(
                f"{self.folder} was exported with 8 bits for processors with VNNI, and this one has none: sums of "
                "products would overflow; export the encoder again with --bits 7"
            )
        self.tokens = tokens
        self.tokenizer = Tokenizer.load(self.folder)
        self.config = EncoderConfig.from_dict(self.manifest.backbone.shape)
        cuts = frozenset(segment.layers[-1] + 1 for segment in self.manifest.segments)
        self._bank = Bank.read(self.folder / contents.ARRAYS, self.manifest.backbone, cuts)
        self._engine = Engine(self.folder, self.manifest, self._bank.layout, self.threads)
        self._entries: dict[str, Entry] = {}
        self._changing = threading.Lock()
        for path in sorted((self.folder / contents.PACKS).glob(f"*{SUFFIX}")):
            self.add(path)

    @property
    def packs(self) -> Mapping[str, PackInfo]:
        """Return what each pack answers, by name."""
        return MappingProxyType({name: entry.info for name, entry in self._entries.items()})

    def add(self, pack: Path | str | Pack, name: str | None = None) -> str:
        """Make a pack ready and return its name (none given: its file's, or its task's); one of that name is replaced.

        ``DataError`` where it is damaged, or for another encoder or tokenizer; what was there then stays.
        """
        read = pack if isinstance(pack, Pack) else read_pack(Path(pack))
        if name is None:
            name = read.task.name if isinstance(pack, Pack) else Path(pack).stem
        entry = self._bank.entry(name, read)
        # One assignment: who reads sees the old table or the new one. The lock is among those who change it.
        with self._changing:
            self._entries = {**self._entries, name: entry}
        return name

    def remove(self, name: str) -> None:
        """Forget a pack; batches in flight end with it."""
        with self._changing:
            self._entry(name)
            self._entries = {own: entry for own, entry in self._entries.items() if own != name}

    def encode(self, row: Row) -> Encoded:
        """Return a row's token ids, with its pack as it is now."""
        entry = self._entry(row.pack)
        return encoded(row, entry, entry.leaving_by(row.exit), self.tokenizer, self.config)

    def begin(self, rows: Sequence[Encoded]) -> Flight:
        """Return a batch in flight, behind the embeddings."""
        return Flight(self.config, self._engine, self._bank.final_norm, rows, self.tokenizer.pad_id)

    def drawn(self, rows: int, tokens: int) -> list[Encoded]:
        """Return rows of so many tokens that no pack answers, for measuring how fast segments are."""
        entry, none = self._bank.bare(), np.zeros(tokens, dtype=np.int64)
        ids = np.random.default_rng(0).integers(0, self.config.vocabulary, (rows, tokens))
        return [Encoded(entry, entry.policy, (row,), (none,), False) for row in ids]

    def predict(self, texts: Sequence[str | tuple[str, ...]], pack: str, exit: str | None = None) -> list[Answer]:
        """Answer texts, or tuples of a pack's columns, with one pack; ``exit`` is a policy (``entropy:0.2``)."""
        if isinstance(texts, str):
            raise InputError("found one text where a list of texts was expected; write [text]")
        return self.predict_rows([Row((text,) if isinstance(text, str) else tuple(text), pack, exit) for text in texts])

    def predict_rows(self, rows: Sequence[Row]) -> list[Answer]:
        """Answer rows of any packs, in their order."""
        return self._answers([self.encode(row) for row in rows])

    def mixed_with(self, other: Runtime, segments: Sequence[int]) -> Runtime:
        """Return a runtime of which some segments are another's that was cut alike; packs are this one's."""
        twin = copy.copy(self)
        twin._engine = self._engine.mixed_with(other._engine, [segment + 1 for segment in segments])
        return twin

    def _answers(self, rows: Sequence[Encoded]) -> list[Answer]:
        """Answer rows in batches of like length, the longest first."""
        found: dict[int, Answer] = {}
        for batch in self._batches(rows):
            found.update(zip(batch, self.begin([rows[number] for number in batch]).run(), strict=True))
        return [found[number] for number in range(len(rows))]

    def _batches(self, rows: Sequence[Encoded]) -> list[list[int]]:
        order = sorted(range(len(rows)), key=lambda number: -rows[number].longest)
        batches: list[list[int]] = []
        room = 0
        for number in order:
            windows = len(rows[number].ids)
            if not batches or room < windows:
                # Rows come in falling length: the first of a batch is its longest.
                batches.append([])
                room = max(windows, self.tokens // rows[number].longest)
            batches[-1].append(number)
            room -= windows
        return batches

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            there = ", ".join(self._entries) or "none"
            raise InputError(f"no pack called {name!r} is here; there are {there}; add it with `add(PATH)`")
        return entry
