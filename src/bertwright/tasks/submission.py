"""The zip that the GLUE server takes: written from answers, and checked before anybody sends it."""

from __future__ import annotations

import io
import math
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.errors import DataError
from bertwright.tasks.readers import Rows

HEADER = "index\tprediction"
_DIGITS = ("0", "1")
_INFERENCE = ("entailment", "neutral", "contradiction")
_PAIR = ("entailment", "not_entailment")
_HIGHEST = 5.0  # STS-B's scores lie between 0 and this
# Stricter than `float`, which takes underscores, spaces and the digits of other scripts too.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
# The largest true file has 391,000 short rows.
_MOST_BYTES = 50_000_000
_LARGEST_ZIP = 100_000_000
_MOST_NAMES = 40  # of a zip that are told of
# What the library raises at zips that are damaged, or made to harm.
_ZIP_FAULTS = (
    *(zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError),
    *(zlib.error, struct.error, OverflowError),
)
_SHOWN = 5  # faulty rows that are told of a file


@dataclass(frozen=True)
class Expected:
    """A file of the zip: its number of rows, and the labels it may hold (``None``: a number from 0 to 5).

    ``answers`` gives the file's label for each of the task's own words.
    """

    rows: int
    labels: tuple[str, ...] | None
    answers: Mapping[str, str]


def _same(words: tuple[str, ...]) -> dict[str, str]:
    return {word: word for word in words}


def _digits(zero: str, one: str) -> dict[str, str]:
    return {zero: "0", one: "1"}


# Names, rows and labels as the server counts them (QNLI is its second version).
EXPECTED: dict[str, Expected] = {
    "CoLA": Expected(1063, _DIGITS, _digits("unacceptable", "acceptable")),
    "SST-2": Expected(1821, _DIGITS, _digits("negative", "positive")),
    "MRPC": Expected(1725, _DIGITS, _digits("not_equivalent", "equivalent")),
    "STS-B": Expected(1379, None, {}),
    "QQP": Expected(390_965, _DIGITS, _digits("not_duplicate", "duplicate")),
    "MNLI-m": Expected(9796, _INFERENCE, _same(_INFERENCE)),
    "MNLI-mm": Expected(9847, _INFERENCE, _same(_INFERENCE)),
    "QNLI": Expected(5463, _PAIR, _same(_PAIR)),
    "RTE": Expected(3000, _PAIR, _same(_PAIR)),
    "WNLI": Expected(146, _DIGITS, _digits("not_entailment", "entailment")),
    "AX": Expected(1104, _INFERENCE, _same(_INFERENCE)),
}


def write_submission(path: str | Path, answers: Mapping[str, Sequence[str | float]]) -> None:
    """Write a flat zip of GLUE's files (``CoLA``, ``STS-B``, ``MNLI-m``, ...): words for classes, numbers for STS-B.

    Answers are in the order of test, and the same ones give the same bytes. ``DataError`` names a file that GLUE does
    not have, a wrong number of rows, and an answer that is none.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, given in answers.items():
            if name not in EXPECTED:
                raise DataError(f"GLUE has no file {name!r}; its files are {', '.join(EXPECTED)}")
            entry = zipfile.ZipInfo(f"{name}.tsv", (2018, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, _table(name, given))
    files.write_bytes(Path(path), content.getvalue())


def _table(name: str, given: Sequence[str | float]) -> str:
    expected = EXPECTED[name]
    if len(given) != expected.rows:
        raise DataError(
            f"{name}.tsv: {len(given)} answers, and GLUE's test set has {expected.rows} rows; predict them all"
        )
    rows = (f"{number}\t{_answer(name, number, one)}\n" for number, one in enumerate(given))
    return f"{HEADER}\n" + "".join(rows)


def _answer(name: str, number: int, given: Any) -> str:
    expected = EXPECTED[name]
    if expected.labels is None:
        score = _score(given)
        if not math.isfinite(score):
            raise DataError(
                f"{name}.tsv, row {number}: {_shown(given)} is not a finite number; give a plain one, such as 3.25, or "
                "train the model that gave it once more"
            )
        return f"{min(_HIGHEST, max(0.0, score)):.3f}"
    if not isinstance(given, str) or given not in expected.answers:
        raise DataError(
            f"{name}.tsv, row {number}: {_shown(given)} is not an answer of this task; expected "
            f"{', '.join(expected.answers)}"
        )
    return expected.answers[given]


def _score(given: Any) -> float:
    """Return a number, or its plain digits, as a float; NaN where it is neither."""
    if isinstance(given, str):
        return float(given) if _NUMBER.fullmatch(given) else math.nan
    if isinstance(given, bool) or not isinstance(given, Real):
        return math.nan
    try:
        return float(given)
    except OverflowError:
        return math.inf


def _shown(given: Any) -> str:
    return repr(given)[:60]


def check_submission(path: str | Path) -> list[str]:
    """Return every fault of a zip, each with what was found and expected; none where the server would take it whole."""
    path = Path(path)
    if path.is_dir():
        return [f"{path} is a folder; put its files into a zip, and name that"]
    if not path.is_file():
        return [f"{path} is no ordinary file" if path.exists() else f"{path} is not there"]
    if (size := path.stat().st_size) > _LARGEST_ZIP:
        return [f"{path} has {size / 1e6:,.0f} MB; a submission has at most {_LARGEST_ZIP / 1e6:.0f}"]
    try:
        with zipfile.ZipFile(path) as archive:
            return [*_names(archive), *_contents(archive)]
    except _ZIP_FAULTS as error:
        return [f"{path} is not a zip that can be read ({error or type(error).__name__})"]


def _names(archive: zipfile.ZipFile) -> Iterator[str]:
    names = Counter(entry.filename for entry in archive.infolist())
    wanted = {f"{name}.tsv" for name in EXPECTED}
    shown = sorted(names, key=lambda name: (name not in wanted, name))[:_MOST_NAMES]
    if len(names) > _MOST_NAMES:
        yield f"the zip holds {len(names):,} names; GLUE has {len(EXPECTED)}: take the others out"
    for name in shown:
        if names[name] > 1:
            yield f"{name} stands {names[name]} times in the zip; keep one"
        last = name.rstrip("/").rpartition("/")[2]
        if "/" in name or "\\" in name:
            yield f"{name} lies in a folder; the server wants {last if last in wanted else 'all files'} at the top"
        elif name not in wanted:
            near = next((one for one in sorted(wanted) if one.lower() == name.lower()), None)
            yield f"{name} is not a file of GLUE" + (f"; it is called {near}" if near else "; take it out")
    for name in EXPECTED:
        if f"{name}.tsv" not in names:
            yield f"{name}.tsv is missing ({EXPECTED[name].rows} rows)"


def _contents(archive: zipfile.ZipFile) -> Iterator[str]:
    read: set[str] = set()  # of a name that stands there often the first is looked at
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".tsv")
        if name not in EXPECTED or entry.filename in read:
            continue
        read.add(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            yield f"{entry.filename} is a link to another file; put the file itself in"
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            yield f"{entry.filename} is packed by method {entry.compress_type}; write the zip with deflate"
        elif entry.flag_bits & 1:
            yield f"{entry.filename} is encrypted; write it plain"
        elif entry.file_size > _MOST_BYTES:
            yield f"{entry.filename} unpacks to {entry.file_size} bytes; no file of GLUE is so large"
        else:
            yield from _unpacked(archive, entry, name)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Iterator[str]:
    """Give a file's faults; one that does not unpack is told, so that it hides none of the others'."""
    try:
        content = archive.read(entry)
    except _ZIP_FAULTS as error:
        yield f"{entry.filename} is damaged ({error or type(error).__name__}); write the zip once more"
    else:
        yield from _rows(name, content)


def _rows(name: str, content: bytes) -> Iterator[str]:
    file, expected = f"{name}.tsv", EXPECTED[name]
    try:
        lines = [line.removesuffix("\r") for line in content.decode("utf-8").split("\n")]
    except UnicodeDecodeError as error:
        yield f"{file} is not UTF-8 (byte {error.start})"
        return
    if lines[0] != HEADER:
        mark = " (a byte-order mark stands before it)" if lines[0].startswith("\ufeff") else ""
        yield f"{file}: the first line is {lines[0][:60]!r}{mark}; it has to be {HEADER!r}"
    while lines and not lines[-1]:
        lines.pop()
    rows = [line for line in lines[1:] if line]
    if blank := max(0, len(lines) - 1 - len(rows)):
        more, them = (f" and {blank - 1} more are", "them") if blank > 1 else (" is", "it")
        yield f"{file}: line {lines.index('', 1) + 1}{more} blank; take {them} out"
    if len(rows) != expected.rows:
        yield f"{file} has {len(rows)} rows; {expected.rows} are expected"
    faults = [fault for number, row in enumerate(rows) if (fault := _fault(expected, number, row))]
    yield from (f"{file}, row {fault}" for fault in faults[:_SHOWN])
    if len(faults) > _SHOWN:
        yield f"{file}: {len(faults) - _SHOWN} more rows have such faults"


def _fault(expected: Expected, number: int, row: str) -> str | None:
    cells = row.split("\t")
    if len(cells) != 2:
        return f"{number}: {len(cells)} cells, expected index and prediction"
    index, answer = cells
    if index != str(number):
        return f"{number}: index {index!r}, expected {number} (rows count from 0, in the order of the test file)"
    if expected.labels is not None:
        allowed = expected.labels
        return None if answer in allowed else f"{number}: prediction {answer!r}, expected {' or '.join(allowed)}"
    inside = _NUMBER.fullmatch(answer) is not None and 0.0 <= float(answer) <= _HIGHEST
    return None if inside else f"{number}: prediction {answer!r}, expected a number from 0 to 5"


def by_index(rows: Rows) -> list[int]:
    """Return the places of rows in the order of their index, from 0; files without one stay as they are."""
    count = len(rows)
    if list(rows.ids) == [str(number) for number in range(1, count + 1)]:
        return list(range(count))
    try:
        places = {int(own): place for place, own in enumerate(rows.ids)}
    except ValueError:
        places = {}
    if places.keys() == set(range(count)):
        return [places[number] for number in range(count)]
    twice = [own for own, often in Counter(rows.ids).items() if often > 1]
    wanted = {str(number) for number in range(count)}
    raise DataError(
        f"{rows.path}: its {count} rows should have the indices 0 to {count - 1}, each once; "
        + "; ".join(
            f"{what}: {', '.join(found[:_SHOWN])}{', ...' if len(found) > _SHOWN else ''}"
            for what, found in (
                ("twice", twice),
                ("missing", sorted(wanted - set(rows.ids), key=int)),
                ("unexpected", sorted(set(rows.ids) - wanted)),
            )
            if found
        )
        + ". Take the test file as it was published"
    )
