"""Small files that stand for very much: they are refused, or read in bounded memory and time."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertwright.debias.experts import read_expert
from bertwright.encoder.families import load
from bertwright.errors import DataError, RecipeError
from bertwright.recipe.reading import draft_recipe
from bertwright.tasks import cells
from bertwright.tasks.cells import all_columns
from bertwright.tasks.submission import HEADER, check_submission
from bertwright.tasks.tables import open_table, windows
from bertwright.text.documents import Troubles, documents
from bertwright.text.parquet import rows_at_once
from bertwright.text.sources import Source, text_file
from bertwright.text.troubles import Limit
from bertwright.units import parse_amount, parse_bytes, parse_share


def told(path: Path, text: str) -> str:
    """Return what is said of a recipe that cannot be read."""
    path.write_text(text)
    with pytest.raises(RecipeError) as refused:
        draft_recipe(path)
    return str(refused.value)


def test_aliases_that_stand_for_billions_of_values_are_refused(tmp_path: Path) -> None:
    """Nine lines of ten aliases each would be ten to the ninth; the line that is too much is named."""
    lines = ["a0: &a0 [1, 1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "recipe.yaml:6: yaml: its aliases stand for more than 50,000 values" in told(
        tmp_path / "recipe.yaml", "\n".join(lines)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * 5000, "more than 40 levels"),
        ("a: &a {b: *a}", "the alias *a stands inside of what it names"),
        ("a: " + "9" * 5000, "a date, a number or a set that is none"),
        ("a: 2001-99-99", "a date, a number or a set that is none"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor for the tag"),
        ("a: " + "x" * (1 << 20), "found more than 1 MB"),
        ("a: \x00", "not valid YAML"),
        ("name: ~nobody-of-this-name/x\nstore: ~nobody-of-this-name/x", "which is no path"),
        (f"store: {'x' * 5000}\nname: {'y' * 5000}", "which is no path"),
    ],
)
def test_recipes_made_to_harm_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """Depth, rings, numbers that are none, tags of objects, size; a path that the system does not take."""
    path = tmp_path / "recipe.yaml"
    if "no path" in said:
        path.write_text(text)
        assert any(said in problem.message for problem in draft_recipe(path).problems)
    else:
        assert said in told(path, text)


def test_a_device_without_an_end_is_no_recipe() -> None:
    """A megabyte of it is read, and no more."""
    with pytest.raises(RecipeError, match="found more than 1 MB"):
        draft_recipe("/dev/zero")


@pytest.mark.parametrize("parse", [parse_amount, parse_bytes, parse_share])
@pytest.mark.parametrize("text", ["9" * 40_000, "1e999 GB", "1e999 %", "1e999 min", 10**400])
def test_amounts_without_end_are_refused(parse: Callable[[object], object], text: object) -> None:
    """Long digits cost no time, and infinity is no amount: a ``ValueError``, which a recipe turns into a problem."""
    if parse is parse_bytes and text == 10**400:
        return  # a whole number of bytes, however large, is compared with what there is
    with pytest.raises(ValueError, match=r"found|more than"):
        parse(text)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_a_packed_line_without_an_end_is_not_kept(
    tmp_path: Path, kind: str, suffix: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 MB of one letter in some KB: refused with the line, in the memory that a line may take."""
    monkeypatch.setattr(cells, "LONGEST_LINE", 1 << 20)
    monkeypatch.setattr("bertwright.tasks.tables.LONGEST_LINE", 1 << 20)
    head = b"" if kind == "jsonl" else b"text,label\n" if kind == "csv" else b"text\tlabel\n"
    path = tmp_path / f"rows.{kind}.{suffix}"
    path.write_bytes(pack(head + b"x" * 20_000_000))
    assert path.stat().st_size < 30_000
    for attempt in (lambda: all_columns(path, most=5), lambda: list(windows(open_table(path, ["text"])))):
        tracemalloc.start()
        with pytest.raises(DataError, match=r"line \d: found more than 1 MB in one line"):
            attempt()
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
        tracemalloc.stop()


def test_documents_of_a_packed_bomb_are_left_out_and_counted(tmp_path: Path) -> None:
    """A limit on documents holds while they are unpacked."""
    path = tmp_path / "t.txt.gz"
    path.write_bytes(gzip.compress(b"one\n\n" + b"x" * 20_000_000 + b"\n\ntwo\n"))
    troubles, file = Troubles(), text_file(Source(str(path)), path)
    tracemalloc.start()
    limit = Limit(1 << 20, leave_out=True)
    found = list(documents(file, errors="stop", broken_rows="stop", troubles=troubles, limit=limit))
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()
    assert ["one", "two"] == found
    assert 1 == sum(troubles.counts.values())


@pytest.fixture
def parquet_bomb(tmp_path: Path) -> Path:
    """A file of some KB with 20 GB of text: one value of a megabyte, named by 20,000 rows."""
    path = tmp_path / "t.parquet"
    value = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["x" * 1_000_000])
    pq.write_table(pa.table({"text": value, "label": ["a"] * 20_000}), path, store_schema=False)
    assert path.stat().st_size < 100_000
    return path


def test_a_parquet_dictionary_is_counted_as_often_as_it_is_named(parquet_bomb: Path) -> None:
    """Few rows at once where one value is large, for each of the three readers."""
    with pq.ParquetFile(parquet_bomb) as table:
        assert 4 == rows_at_once(table, parquet_bomb, ["text"], rows=1024, size=4_000_000)
        assert 1024 == rows_at_once(table, parquet_bomb, ["label"], rows=1024, size=4_000_000)
    before = pa.total_allocated_bytes()
    file = text_file(Source(str(parquet_bomb)), parquet_bomb)
    first = itertools.islice(documents(file, errors="stop", broken_rows="stop", troubles=Troubles()), 8)
    assert 8 == sum(1 for _ in first)
    assert 8 == sum(1 for _ in itertools.islice(cells.rows_in(parquet_bomb, cells.Heading(("text",))), 8))
    window = next(windows(open_table(parquet_bomb, ["text"])))
    assert len(window) < 20
    assert pa.total_allocated_bytes() - before < 100_000_000


def test_damaged_parquet_does_not_end_the_process(tmp_path: Path) -> None:
    """Bytes at which pyarrow's table of a row group's columns ends the whole process are refused in a sentence."""
    code = (
        "import random, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from foreign import READERS, PLAIN; from mutation import mutated; draw = random.Random('task-parquet1341');"
        "content = mutated(draw.choice((PLAIN['parquet'],)), draw);"
        "[READERS[n].take(content, Path(sys.argv[2])) for n in ('task-parquet', 'source-parquet')]"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_a_bound_are_refused(tmp_path: Path, method: int) -> None:
    """bzip2 and lzma members are unpacked whole by the library, whatever their header says."""
    path = tmp_path / "glue.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("WNLI.tsv", b"0" * 40_000_000)
    tracemalloc.start()
    faults = check_submission(path)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()
    assert any(f"WNLI.tsv is packed by method {method}; write the zip with deflate" in fault for fault in faults)


def test_a_zip_of_zeros_links_climbers_and_doubles(tmp_path: Path) -> None:
    """Too large unpacked, names that leave the folder, links, the same name often: each is told; nothing is written."""
    path = tmp_path / "glue.zip"
    link = zipfile.ZipInfo("RTE.tsv")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("WNLI.tsv", b"0" * 60_000_000)
        archive.writestr("../../CoLA.tsv", HEADER)
        archive.writestr("/etc/passwd", "x")
        archive.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate name"):
            for _ in range(3):
                archive.writestr("AX.tsv", HEADER + "\n")
    faults = check_submission(path)
    for said in (
        "WNLI.tsv unpacks to 60000000 bytes",
        "../../CoLA.tsv lies in a folder; the server wants CoLA.tsv at the top",
        "/etc/passwd lies in a folder",
        "RTE.tsv is a link to another file",
        "AX.tsv stands 3 times",
    ):
        assert any(fault.startswith(said) for fault in faults), said
    assert 1 == sum(fault == "AX.tsv has 0 rows; 1104 are expected" for fault in faults)
    assert [path] == list(tmp_path.iterdir())


def test_a_zip_of_very_many_names_is_told_in_a_few_lines(tmp_path: Path) -> None:
    """Names are counted once: 20,000 of them take no time, and a page of faults is enough."""
    path = tmp_path / "glue.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(str(number), b"")
    faults = check_submission(path)
    assert "the zip holds 20,000 names; GLUE has 11: take the others out" == faults[0]
    assert len(faults) < 60


def test_arrays_that_would_fill_the_memory_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an npz takes unpacked is looked at first; an array of objects, which would be a pickle, is refused."""
    monkeypatch.setattr("bertwright.debias.experts._LARGEST_NPZ", 1_000_000)
    np.savez_compressed(tmp_path / "large.npz", ids=np.zeros(1), logits=np.zeros((500, 500)), labels=np.zeros(1))
    with pytest.raises(DataError, match=r"its arrays take 0.0 GB, and at most 0.0 are read"):
        read_expert(tmp_path / "large.npz", ["a"])
    np.savez(tmp_path / "objects.npz", ids=np.array([{}]), logits=np.zeros((1, 1)), labels=np.array(["a"]))
    with pytest.raises(DataError, match=r"not a readable npz file of plain arrays .*allow_pickle=False"):
        read_expert(tmp_path / "objects.npz", ["a"])


def test_a_config_that_asks_for_more_than_a_machine_holds_is_refused(tmp_path: Path) -> None:
    """Shapes are held against the tensors before any memory is asked for."""
    from foreign import CONFIG, WEIGHTS

    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    for key, value, said in (
        ("hidden_size", 65_536, r"word_embeddings.weight has shape \(40, 8\); config.json means \(40, 65536\)"),
        ("num_hidden_layers", 10**9, "num_hidden_layers = 1000000000; expected a whole number that a shape can have"),
        ("intermediate_size", 1 << 19, "config.json means"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, key: value}))
        with pytest.raises(DataError, match=said):
            load(tmp_path)
