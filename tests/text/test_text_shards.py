"""Files to rows on the disk and back."""

from __future__ import annotations

import gzip
import json
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hostile_files import EDGE
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright import files
from bertwright.errors import DataError
from bertwright.processes import Processes
from bertwright.text import encoded_parts, shards
from bertwright.text import engine as engine_module
from bertwright.text.corpus import Choices
from bertwright.text.documents import Troubles, documents
from bertwright.text.engine import Disagreement, EncodedTexts, Engine
from bertwright.text.executors import Crew, Here
from bertwright.text.prepare import Summary, prepare_rows
from bertwright.text.shards import Shards
from bertwright.text.shuffle import keys_of
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer, train_tokenizer

LETTERS = "abcdefgh"
TEXTS = [" ".join(LETTERS[i] + LETTERS[(i * k) % 8] * 2 + LETTERS[k] for i in range(8)) for k in range(8)]
TOKENIZER = train_tokenizer(iter(TEXTS), kind="wordpiece", vocabulary=40, lowercase=True)


def prepare(folder: Path, texts: list[str], tokenizer: Tokenizer = TOKENIZER, **changes: Any) -> Summary:
    """Prepare texts as one JSON-lines file."""
    source = folder / "source.jsonl"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return prepare_source(folder, source, tokenizer, **changes)


def prepare_source(folder: Path, source: Path, tokenizer: Tokenizer = TOKENIZER, **changes: Any) -> Summary:
    """Prepare a file or folder of texts into ``folder/rows``."""
    tokenizer.save(folder / "tokenizer", max_length=512)
    choices = {name: changes.pop(name) for name in list(changes) if name in Choices.__dataclass_fields__}
    if not changes.pop("keep_scratch", False):
        files.remove(folder / "scratch") if (folder / "scratch").exists() else None
    return prepare_rows(
        expand([Source(str(source))]),
        folder / "tokenizer",
        folder / "rows",
        Choices(**{"row_length": 16, "held_out": 0.2, "seed": 0, **choices}),
        scratch=folder / "scratch",
        **changes,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a prepared folder."""
    return {path.name: path.read_bytes() for path in sorted((folder / "rows").iterdir())}


def in_order(folder: Path, split: str, seed: int = 0) -> np.ndarray:
    """Return a split's rows as they were before the shuffle, (rows, T): the keys that they were given tell."""
    shards = Shards(folder / "rows")
    done = [files.read_json(path) for path in sorted(folder.glob(f"scratch/rows-{split}/**/done.json"))]
    drawn = 2 * seed + ("train", "held_out").index(split)
    keys = np.concatenate([keys_of(number, one["rows"], drawn) for number, one in enumerate(done)])
    shuffled = shards.ids(split, np.arange(shards.rows(split)))
    rows = np.empty_like(shuffled)
    rows[np.argsort(keys, kind="stable")] = shuffled
    return rows


def texts_of(folder: Path, split: str, seed: int = 0) -> list[str]:
    """Return the documents that a split's rows hold, in their order before the shuffle."""
    shards, rows = Shards(folder / "rows"), in_order(folder, split, seed)
    inner = np.concatenate([row[1:][row[1:] != shards.pad_id][:-1] for row in rows])
    parts = np.split(inner, np.flatnonzero(inner == shards.sep_id))
    return [TOKENIZER.decode(part.tolist()) for part in parts]


WORD = st.text(LETTERS, min_size=1, max_size=6)
# Each document fills a row by itself, so that whichever ones are left to train on are enough.
CORPUS = st.lists(st.lists(WORD, min_size=14, max_size=40).map(" ".join), min_size=2, max_size=12, unique=True)


@settings(deadline=None, max_examples=15)
@given(CORPUS, st.integers(0, 3), st.sampled_from([10**6, 200, 61]))
def test_decoded_rows_give_back_the_text(texts: list[str], seed: int, part_bytes: int) -> None:
    """Before the shuffle each document is in one split, whole, in order, and nothing else is, in any parts."""
    with tempfile.TemporaryDirectory() as name:
        summary = prepare(Path(name), texts, seed=seed, part_bytes=part_bytes)
        train, held = texts_of(Path(name), "train", seed), texts_of(Path(name), "held_out", seed)
    assert (len(texts), len(held)) == (summary.documents, summary.held_out_documents)
    left = list(texts)
    for text in held:
        left.remove(text)
    assert sorted(texts) == sorted(train + held)
    assert iter_contains(texts, train)
    assert iter_contains(texts, held)


def iter_contains(whole: list[str], part: list[str]) -> bool:
    """Return whether ``part`` comes in ``whole`` in the same order."""
    rest = iter(whole)
    return all(text in rest for text in part)


def test_the_summary_counts_by_hand(tmp_path: Path) -> None:
    """Documents, words, bytes, tokens and unknown ones are those of the text."""
    texts = [TEXTS[0], "é zz " + TEXTS[1], " ", "\u200b", *TEXTS[2:]]
    summary = prepare(tmp_path, texts)
    encoded = TOKENIZER.encode([text for text in texts if text.strip()])
    assert 9 == summary.documents
    assert 1 == summary.without_tokens
    assert {"no text in the row": 1} == summary.troubles
    assert sum(map(len, encoded)) == summary.tokens + summary.held_out_tokens
    assert sum(ids.count(TOKENIZER.unk_id) for ids in encoded) == summary.unknown > 0
    assert sum(len(text.split()) for text in texts) == summary.words
    assert sum(len(text.encode()) for text in texts) - 1 == summary.bytes
    assert max(map(len, encoded)) == summary.longest_document_tokens
    assert summary.as_dict()["row_length"] == 16
    assert 8 == len(texts_of(tmp_path, "train") + texts_of(tmp_path, "held_out"))
    assert "" not in texts_of(tmp_path, "train") + texts_of(tmp_path, "held_out")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what lay in the folder before nor the size of batches changes a byte; another seed does."""
    texts = [" ".join([*TEXTS[i % 8 :], LETTERS[i % 5]]) for i in range(20)]
    prepare(tmp_path / "a", texts, shard_bytes=160)
    prepare(tmp_path / "b", texts * 3, shard_bytes=64)
    monkeypatch.setattr(encoded_parts, "_BATCH", 50)
    prepare(tmp_path / "b", texts, shard_bytes=160)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    prepare(tmp_path / "c", texts, seed=1, shard_bytes=160)
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


MANY = [" ".join([*TEXTS[i % 8 :], LETTERS[i % 7] * (1 + i // 7)]) for i in range(60)]
SMALL = {"part_bytes": 500, "shard_bytes": 224}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what one process makes of many texts in small parts."""
    folder = tmp_path_factory.mktemp("alone")
    prepare(folder, MANY + MANY[::9], **SMALL)
    return contents(folder)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path, alone: dict[str, bytes], count: int) -> None:
    """Shards, manifest and lists are the same, to the byte (paths apart, which the lists name)."""
    with Processes(count) as processes:
        prepare(tmp_path, MANY + MANY[::9], **SMALL, crew=Crew(processes, count))
    found = contents(tmp_path)
    listed = [json.loads(line) for line in found.pop("duplicates.jsonl").splitlines()]
    expected = dict(alone)
    assert 7 == len(listed) == len(expected.pop("duplicates.jsonl").splitlines())
    assert [(61, 1), (62, 10)] == [(row["document"], row["repeats"]["document"]) for row in listed[:2]]
    assert expected == found


def test_a_cluster_gives_the_same_bytes(tmp_path: Path, alone: dict[str, bytes]) -> None:
    """Two worker processes of Dask, each piece of work through its `submit`."""
    distributed = pytest.importorskip("distributed", reason="Dask is an extra")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    )
    with cluster, distributed.Client(cluster) as client:
        prepare(tmp_path, MANY + MANY[::9], **SMALL, crew=Crew(client, 2))
    found = contents(tmp_path)
    assert {n: c for n, c in alone.items() if n.endswith("bin")} == {
        n: c for n, c in found.items() if n.endswith("bin")
    }


@pytest.mark.parametrize("calls", [0, 1, 5, 12, 20, 30])
def test_an_interrupted_preparation_is_taken_up(tmp_path: Path, alone: dict[str, bytes], calls: int) -> None:
    """Stopped after any piece of work, the next try does what is left, and the bytes are the same."""

    class Stopped(Exception):
        pass

    class Fragile(Here):
        done = 0

        def submit(self, function: Any, argument: Any) -> Any:
            if self.done == calls:
                raise Stopped
            self.done += 1
            return super().submit(function, argument)

    with pytest.raises(Stopped):
        prepare(tmp_path, MANY + MANY[::9], **SMALL, crew=Crew(Fragile()))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("scratch/parts/*/part.json")}
    assert min(calls, 1) <= len(before)
    prepare(tmp_path, MANY + MANY[::9], **SMALL, keep_scratch=True)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    found = contents(tmp_path)
    assert {**alone, "duplicates.jsonl": b""} == {**found, "duplicates.jsonl": b""}


def test_a_text_that_tokie_gets_wrong_turns_all_to_tokenizers(
    tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in the middle of the work, all is encoded once more, with the same bytes, and the summary says why."""

    def compare(self: Engine, text: str, ids: Any) -> None:
        self.compared += 1
        if text == MANY[40]:
            raise Disagreement("a reason")

    monkeypatch.setattr(engine_module, "_COMPARE_EVERY", 1)
    monkeypatch.setattr(Engine, "prove", lambda *_: None)
    monkeypatch.setattr(Engine, "_compare", compare)
    summary = prepare(tmp_path, MANY + MANY[::9], **SMALL)
    assert ("tokenizers", "a reason") == (summary.engine["name"], summary.engine["reason"])
    assert len(MANY + MANY[::9]) == summary.engine["by_tokenizers"]
    assert {**alone, "duplicates.jsonl": b""} == {**contents(tmp_path), "duplicates.jsonl": b""}


@pytest.mark.parametrize("slow_calls", [0, 2])
def test_tokie_stays_given_up_when_the_run_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_calls: int
) -> None:
    """Stopped while all is encoded once more, the next try mixes nothing of tokie's into it, and says the same."""

    class Stopped(Exception):
        pass

    class Fragile(Here):
        done = 0

        def submit(self, function: Any, argument: Any) -> Any:
            if not argument.get("fast", True):
                if self.done == slow_calls:
                    raise Stopped
                self.done += 1
            return super().submit(function, argument)

    right = Engine._encode_fast

    def wrong(self: Engine, texts: list[str]) -> EncodedTexts:
        """Give a wrong first id for any text of the corpus."""
        found = right(self, texts)
        if self._fast is not None and texts[0] in MANY:
            found.ids[0] = TOKENIZER.unk_id
        return found

    def compare(self: Engine, text: str, ids: Any) -> None:
        if text == MANY[0]:
            raise Disagreement("a reason")

    monkeypatch.setattr(engine_module, "_COMPARE_EVERY", 1)
    monkeypatch.setattr(Engine, "prove", lambda *_: None)
    monkeypatch.setattr(Engine, "_compare", compare)
    monkeypatch.setattr(Engine, "_encode_fast", wrong)
    whole = prepare(tmp_path / "whole", MANY, **SMALL)
    with pytest.raises(Stopped):
        prepare(tmp_path / "stopped", MANY, **SMALL, crew=Crew(Fragile()))
    again = prepare(tmp_path / "stopped", MANY, **SMALL, keep_scratch=True)
    assert contents(tmp_path / "whole") == contents(tmp_path / "stopped")
    assert whole.engine == again.engine
    assert "a reason" == again.engine["reason"]


def test_a_source_that_changes_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows in the middle stops the work with its name."""

    class Meddling(Here):
        def submit(self, function: Any, argument: Any) -> Any:
            with (tmp_path / "source.jsonl").open("a") as stream:
                stream.write("\n")
            return super().submit(function, argument)

    with pytest.raises(DataError, match=r"source\.jsonl changed while it was read"):
        prepare(tmp_path, TEXTS, crew=Crew(Meddling()))
    assert not (tmp_path / "scratch" / "parts").exists()


def test_duplicates_are_left_out_or_kept(tmp_path: Path) -> None:
    """The second of two documents with one normalised text goes, and is listed, unless the recipe keeps it."""
    texts = [*TEXTS, TEXTS[2] + " \n", "  " + TEXTS[5]]
    summary = prepare(tmp_path / "a", texts)
    assert (10, 2) == (summary.documents, summary.duplicates)
    assert sorted(TEXTS) == sorted(texts_of(tmp_path / "a", "train") + texts_of(tmp_path / "a", "held_out"))
    assert 0 == prepare(tmp_path / "b", texts, duplicates="keep").duplicates
    assert 10 == len(texts_of(tmp_path / "b", "train") + texts_of(tmp_path / "b", "held_out"))
    assert "duplicates.jsonl" not in contents(tmp_path / "b")


def test_kept_copies_are_never_on_both_sides(tmp_path: Path) -> None:
    """Where the share holds out nothing the one text that is held out nevertheless is so with its copies."""
    prepare(tmp_path, TEXTS * 2, duplicates="keep", held_out=1e-9)
    train, held = texts_of(tmp_path, "train"), texts_of(tmp_path, "held_out")
    assert 2 == len(held)
    assert not set(held) & set(train)


def test_rows_are_the_same_in_any_number_of_shards(tmp_path: Path) -> None:
    """Rows asked for by number, in any order and over files, are the same for any size of files."""
    texts = TEXTS * 4
    prepare(tmp_path / "a", texts, duplicates="keep")
    prepare(tmp_path / "b", texts, duplicates="keep", shard_bytes=96)
    one, many = Shards(tmp_path / "a" / "rows"), Shards(tmp_path / "b" / "rows")
    assert one.rows("train") == many.rows("train") > 9
    asked = np.random.default_rng(0).integers(0, one.rows("train"), 30)
    rows = many.ids("train", asked)
    assert np.uint16 == rows.dtype
    assert (one.ids("train", asked) == rows).all()
    assert (0, 16) == many.ids("train", np.array([], dtype=np.int64)).shape
    with pytest.raises(IndexError, match="asked for"):
        many.ids("train", np.array([0, one.rows("train")]))
    for entry in json.loads((tmp_path / "b" / "rows" / "manifest.json").read_text())["shards"]:
        assert entry["checksum"] == files.checksum(tmp_path / "b" / "rows" / entry["name"])


def test_a_corpus_may_have_more_files_than_can_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the parts, looked through for repeats of both kinds, nor the shards are all open at once."""
    monkeypatch.setattr(shards, "_MOST_MAPPED", 8)
    for number in range(150):
        files.write_text(tmp_path / "texts" / f"{number}.txt", TEXTS[number % 8] + f" {LETTERS[number % 7]}" * number)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    try:
        prepare_source(tmp_path, tmp_path / "texts", near=0.99, shard_bytes=32)
        rows = Shards(tmp_path / "rows")
        assert rows.rows("train") > 128
        rows.ids("train", np.arange(rows.rows("train")))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_single_document_is_cut(tmp_path: Path) -> None:
    """The last rows of a single document are held out."""
    text = " ".join(TEXTS)
    summary = prepare(tmp_path, [text])
    shards = Shards(tmp_path / "rows")
    rows = summary.rows + summary.held_out_rows
    assert (0, max(1, round(0.2 * rows))) == (summary.held_out_documents, summary.held_out_rows)
    assert shards.rows("train") + shards.rows("held_out") == rows
    ids = [*in_order(tmp_path, "train"), *in_order(tmp_path, "held_out")]
    assert TOKENIZER.encode([text])[0] == [i for row in ids for i in row[1:][row[1:] != shards.pad_id][:-1].tolist()]


@pytest.mark.parametrize("texts", [[], ["abb"], ["abb", "acc"], ["\u200b", "\u200b"]])
def test_too_little_text_is_refused(tmp_path: Path, texts: list[str]) -> None:
    """A corpus without a full row names the numbers, and leaves no rows behind."""
    with pytest.raises(DataError, match=r"tokens to train on and \d+ to measure on; at least one row of 14"):
        prepare(tmp_path, texts)
    assert {} == (contents(tmp_path) if (tmp_path / "rows").exists() else {})


@pytest.mark.parametrize("place", [0, 1])
def test_an_empty_side_is_refused(tmp_path: Path, place: int) -> None:
    """A train split without a row is refused, whichever of two documents that is."""
    texts = ["abb", " ".join(TEXTS)][:: 1 - 2 * place]
    told = []
    for seed in range(8):
        try:
            prepare(tmp_path, texts, seed=seed)
        except DataError as error:
            told.append(str(error))
            assert {} == contents(tmp_path)
    assert 0 < len(told) < 8
    assert all("1 tokens to train on and" in one or "2 tokens to train on and" in one for one in told)


def test_skipped_rows_are_listed_beside_the_rows(tmp_path: Path) -> None:
    """Broken rows are in troubles.jsonl, once each, with file, line and reason."""
    path = tmp_path / "source.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS) + "{broken\n")
    summary = prepare_source(tmp_path, path, broken_rows="skip", part_bytes=100)
    (row,) = files.read_json_lines(tmp_path / "rows" / "troubles.jsonl")
    assert (str(path), 9) == (row["path"], row["row"])
    assert {row["reason"]: 1} == summary.troubles


def test_progress_goes_over_all_files(tmp_path: Path) -> None:
    """Progress ends at the bytes of all files together and never goes back."""
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "texts" / name).write_text("\n\n".join(TEXTS))
    told: list[tuple[int, int]] = []
    summary = prepare_source(tmp_path, tmp_path / "texts", progress=lambda *done: told.append(done))
    assert sorted(set(told)) == told
    assert sum(path.stat().st_size for path in (tmp_path / "texts").iterdir()) == told[-1][0]
    assert summary.bytes == told[-1][1]


def test_decoded_rows_are_as_the_model_sees_them(tmp_path: Path) -> None:
    """A decoded row shows its special tokens; another tokenizer is refused."""
    prepare(tmp_path, TEXTS)
    shards = Shards(tmp_path / "rows")
    assert shards.decoded(TOKENIZER, "train", 0).startswith("[CLS] ")
    other = train_tokenizer(iter(TEXTS), kind="wordpiece", vocabulary=39, lowercase=True)
    with pytest.raises(DataError, match=r"was prepared with tokenizer"):
        shards.decoded(other, "train", 0)


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    """Over 65,536 pieces ids are uint32."""
    backend = tokenizers.Tokenizer.from_str(TOKENIZER._backend.to_str())
    backend.add_tokens([f"piece{number}" for number in range(66_000)])
    large = Tokenizer(backend, {n: f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")})
    prepare(tmp_path, [*TEXTS, "piece65999 " * 20], tokenizer=large)
    shards = Shards(tmp_path / "rows")
    rows = [shards.ids(split, np.arange(shards.rows(split))) for split in ("train", "held_out")]
    assert [np.uint32, np.uint32] == [part.dtype for part in rows]
    assert 40 + 65_999 == max(part.max() for part in rows)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is not there"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": "x"}'), "of the format 'x'"),
        (lambda folder: (folder / "train-00000.bin").unlink(), "train-00000.bin is not there"),
        (lambda folder: (folder / "train-00000.bin").write_bytes(b"1"), "has 1 bytes"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    """A folder without its manifest, of another format or with a spoilt shard is refused and says which."""
    prepare(tmp_path, TEXTS)
    spoil(tmp_path / "rows")
    with pytest.raises(DataError, match=words):
        Shards(tmp_path / "rows")


def test_encoding_in_pieces_changes_nothing() -> None:
    """A long text encoded in pieces has the ids of the whole, in WordPiece and in byte-level BPE."""
    byte_level = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    byte_level.train_from_iterator(TEXTS, trainer)
    names = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    text = " ".join(f"{word}, 12.5 'tis é!" for word in " ".join(TEXTS).split())
    for tokenizer in (TOKENIZER, Tokenizer(byte_level, names)):
        pieces = tokenizer.encode(encoded_parts.pieces_of(text, 10))
        assert len(pieces) > 5
        assert tokenizer.encode([text])[0] == [number for piece in pieces for number in piece]


def test_all_readable_hostile_files_become_rows(shared_data: Path, tmp_path: Path) -> None:
    """Of every hostile file that can be read all documents are in the rows, with the ids that tokenizers gives."""
    paths = [shared_data / "corpora" / "edge" / name for name, found in EDGE.items() if isinstance(found, int)]
    sources = [Source(str(path)) for path in paths]
    texts = [
        text
        for file in expand(sources)
        for text in documents(file, errors="stop", broken_rows="stop", troubles=Troubles())
    ]
    tokenizer = train_tokenizer(iter(texts), kind="wordpiece", vocabulary=700, lowercase=True)
    tokenizer.save(tmp_path / "tokenizer", max_length=512)
    choices = Choices(row_length=32, held_out=0.1, seed=0, duplicates="keep")
    place = {"scratch": tmp_path / "scratch", "part_bytes": 10_000}
    summary = prepare_rows(expand(sources), tmp_path / "tokenizer", tmp_path / "rows", choices, **place)
    assert sum(found for found in EDGE.values() if isinstance(found, int)) == len(texts) == summary.documents
    ids = [sorted(one) for one in tokenizer.encode(texts) if one]
    rows = [in_order(tmp_path, split) for split in ("train", "held_out")]
    streams = [np.concatenate([row[1:][row[1:] != 0][:-1] for row in split]) for split in rows]
    found = [part for stream in streams for part in np.split(stream, np.flatnonzero(stream == tokenizer.sep_id))]
    assert sorted(ids) == sorted(sorted(part[part != tokenizer.sep_id].tolist()) for part in found)


@pytest.mark.parametrize("count", [1, 2])
def test_a_packed_file_gives_the_bytes_of_the_plain_one(tmp_path: Path, alone: dict[str, bytes], count: int) -> None:
    """Unpacked piece by piece, in one process and for two, it is cut in the same places; no piece is left behind."""
    rows = "".join(json.dumps({"text": text}) + "\n" for text in MANY + MANY[::9])
    (tmp_path / "source.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    with Processes(count) as processes:
        crew = Crew(processes, count) if count > 1 else None
        prepare_source(tmp_path, tmp_path / "source.jsonl.gz", **SMALL, crew=crew)
    found = contents(tmp_path)
    assert {**alone, "duplicates.jsonl": b""} == {**found, "duplicates.jsonl": b""}
    assert not (tmp_path / "scratch" / "pieces").exists()
