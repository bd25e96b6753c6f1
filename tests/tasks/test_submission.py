"""The GLUE zip: what is written is accepted, and each way to break it is told."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bertwright
from bertwright.cli.main import call
from bertwright.errors import DataError
from bertwright.tasks.submission import EXPECTED, check_submission, write_submission

Files = dict[str, str]


@pytest.fixture(scope="module")
def whole() -> dict[str, list[str] | list[float]]:
    """Answers to all eleven files."""
    return {
        name: [n % 7 * 1.0 for n in range(one.rows)]
        if one.labels is None
        else list(itertools.islice(itertools.cycle(one.answers), one.rows))
        for name, one in EXPECTED.items()
    }


@pytest.fixture(scope="module")
def written(whole: dict[str, list[str] | list[float]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid zip."""
    path = tmp_path_factory.mktemp("glue") / "glue.zip"
    write_submission(path, whole)
    return path


def contents(path: Path) -> Files:
    """Return a zip's files."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry).decode() for entry in archive.infolist()}


def broken(files: Files, folder: Path) -> list[str]:
    """Write files into a zip and return its faults."""
    with zipfile.ZipFile(folder / "broken.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return check_submission(folder / "broken.zip")


def test_a_whole_zip_is_accepted(written: Path, whole: dict[str, list[str]], tmp_path: Path) -> None:
    """Eleven flat files; header, words or digits, scores in 0 to 5 with three decimals; the same bytes again."""
    assert [] == check_submission(written)
    files = contents(written)
    assert {f"{name}.tsv" for name in EXPECTED} == set(files)
    assert ["0\tentailment", "1\tnot_entailment"] == files["RTE.tsv"].splitlines()[1:3]
    assert ["0", "1", "0"] == [line.split("\t")[1] for line in files["CoLA.tsv"].splitlines()[1:4]]
    scores = [float(line.split("\t")[1]) for line in files["STS-B.tsv"].splitlines()[1:]]
    assert (0.0, 5.0) == (min(scores), max(scores))
    assert files["STS-B.tsv"].splitlines()[2] == "1\t1.000"
    write_submission(tmp_path / "again.zip", whole)
    assert written.read_bytes() == (tmp_path / "again.zip").read_bytes()


def changed(name: str, change: Callable[[str], str]) -> Callable[[Files], Files]:
    """Return a change to one file of the zip."""
    return lambda files: {**files, name: change(files[name])}


def replaced(line: int, text: str) -> Callable[[str], str]:
    """Return a change of one line of a file."""

    def change(content: str) -> str:
        lines = content.split("\n")
        lines[line] = text
        return "\n".join(lines)

    return change


BREAKS: dict[str, tuple[Callable[[Files], Files], str]] = {
    "missing": (lambda f: {k: v for k, v in f.items() if k != "AX.tsv"}, "AX.tsv is missing (1104 rows)"),
    "folder": (
        lambda f: {f"run/{k}": v for k, v in f.items()},
        "run/CoLA.tsv lies in a folder; the server wants CoLA.tsv at",
    ),
    "name": (
        lambda f: {("STSB.tsv" if k == "STS-B.tsv" else k): v for k, v in f.items()},
        "STSB.tsv is not a file of GLUE",
    ),
    "case": (
        lambda f: {k.replace("CoLA", "COLA"): v for k, v in f.items()},
        "COLA.tsv is not a file of GLUE; it is called CoLA.tsv",
    ),
    "extra": (lambda f: {**f, "notes.txt": "x"}, "notes.txt is not a file of GLUE; take it out"),
    "header": (changed("RTE.tsv", replaced(0, "id\tlabel")), "RTE.tsv: the first line is 'id\\tlabel'; it has to be"),
    "mark": (changed("RTE.tsv", lambda t: "\ufeff" + t), "(a byte-order mark stands before it)"),
    "short": (changed("WNLI.tsv", lambda t: t.rsplit("\n", 2)[0] + "\n"), "WNLI.tsv has 145 rows; 146 are expected"),
    "order": (changed("MRPC.tsv", replaced(3, "7\t1")), "MRPC.tsv, row 2: index '7', expected 2"),
    "from one": (
        changed("WNLI.tsv", lambda t: "index\tprediction\n" + "".join(f"{n}\t0\n" for n in range(1, 147))),
        "WNLI.tsv: 141 more rows have such faults",
    ),
    "digits for words": (changed("MNLI-m.tsv", replaced(1, "0\t1")), "expected entailment or neutral or contradiction"),
    "words for digits": (changed("SST-2.tsv", replaced(1, "0\tpositive")), "prediction 'positive', expected 0 or 1"),
    "range": (
        changed("STS-B.tsv", replaced(1, "0\t5.3")),
        "STS-B.tsv, row 0: prediction '5.3', expected a number from 0 to 5",
    ),
    "nan": (changed("STS-B.tsv", replaced(1, "0\tnan")), "prediction 'nan', expected a number"),
    **{
        f"no number {value!r}": (
            changed("STS-B.tsv", replaced(1, f"0\t{value}")),
            f"STS-B.tsv, row 0: prediction {value!r}, expected a number from 0 to 5",
        )
        for value in ("0_1", "\u0663", "\u00a03.0", " 3.0", "3.0 ", "", "0x1", "3,5")
    },
    "blank line": (
        changed("CoLA.tsv", lambda t: t.replace("\n5\t", "\n\n5\t")),
        "CoLA.tsv: line 7 is blank; take it out",
    ),
    "blank lines": (
        changed("CoLA.tsv", lambda t: t.replace("\n5\t", "\n\n5\t").replace("\n9\t", "\n\n\n9\t")),
        "CoLA.tsv: line 7 and 2 more are blank; take them out",
    ),
    "blank line of spaces": (changed("WNLI.tsv", lambda t: t + "  \n"), "WNLI.tsv, row 146: 1 cells, expected index"),
    "two carriage returns": (
        changed("RTE.tsv", lambda t: t.replace("\n", "\r\r\n")),
        "RTE.tsv, row 0: prediction 'entailment\\r', expected entailment or not_entailment",
    ),
    "commas": (changed("CoLA.tsv", replaced(1, "0,1")), "CoLA.tsv, row 0: 1 cells, expected index and prediction"),
    "old qnli": (
        changed("QNLI.tsv", lambda t: t + "".join(f"{n}\tentailment\n" for n in range(5463, 5740))),
        "QNLI.tsv has 5740 rows; 5463 are expected",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_broken_zips_are_explained(written: Path, tmp_path: Path, name: str) -> None:
    """Each fault with the file, the row, what was found and what is expected; and nothing but that."""
    change, expected = BREAKS[name]
    faults = broken(change(contents(written)), tmp_path)
    assert any(expected in fault for fault in faults), faults
    single = {"folder": 22, "name": 2, "case": 2, "from one": 6, "blank line of spaces": 2, "two carriage returns": 7}
    assert single.get(name, 1) == len(faults), faults


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n\r\n", str.rstrip])
def test_ends_of_lines_are_free(written: Path, tmp_path: Path, change: Callable[[str], str]) -> None:
    """Lines that end as on Windows, blank lines at the end, and no end of the last one."""
    files = contents(written)
    assert [] == broken({name: change(content) for name, content in files.items()}, tmp_path)


@pytest.mark.parametrize("score", ["3", "+3", "-0.0", "3.", "1e0", "1E-3", "5.000"])
def test_a_score_is_any_plain_number(written: Path, tmp_path: Path, score: str) -> None:
    """Sign, decimals and exponent are as people and programs write them."""
    files = contents(written)
    assert [] == broken({**files, "STS-B.tsv": replaced(1, f"0\t{score}")(files["STS-B.tsv"])}, tmp_path)


def test_a_damaged_file_hides_no_other_fault(written: Path, tmp_path: Path) -> None:
    """A file that does not unpack is told by its name, and the others are looked at all the same."""
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for name, content in contents(written).items():
            archive.writestr(name, content.replace("9\t1", "9\tyes") if name == "MRPC.tsv" else content)
        place = archive.getinfo("CoLA.tsv").header_offset + 60
    content = bytearray((tmp_path / "some.zip").read_bytes())
    content[place] ^= 1
    (tmp_path / "some.zip").write_bytes(content)
    first, *others = check_submission(tmp_path / "some.zip")
    assert "CoLA.tsv is damaged (Bad CRC-32 for file 'CoLA.tsv'); write the zip once more" == first
    assert "MRPC.tsv, row 9: prediction 'yes', expected 0 or 1" == others[0]


def test_what_is_no_zip_is_told(written: Path, tmp_path: Path) -> None:
    """An absent file, a folder, a cut one, one with a file twice."""
    assert [f"{tmp_path / 'a.zip'} is not there"] == check_submission(tmp_path / "a.zip")
    assert [f"{tmp_path} is a folder; put its files into a zip, and name that"] == check_submission(tmp_path)
    (tmp_path / "cut.zip").write_bytes(written.read_bytes()[:1000])
    assert "is not a zip that can be read" in check_submission(tmp_path / "cut.zip")[0]
    twice = io.BytesIO(written.read_bytes())
    with pytest.warns(UserWarning), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("AX.tsv", "index\tprediction\n")
    (tmp_path / "twice.zip").write_bytes(twice.getvalue())
    assert "AX.tsv stands 2 times in the zip; keep one" in check_submission(tmp_path / "twice.zip")


def test_wrong_answers_are_not_written(tmp_path: Path) -> None:
    """A wrong number of rows, a word of another task, a score that is no number, a task that is not GLUE's."""
    path = tmp_path / "glue.zip"
    with pytest.raises(DataError, match=r"WNLI\.tsv: 2 answers, and GLUE's test set has 146 rows"):
        write_submission(path, {"WNLI": ["entailment"] * 2})
    with pytest.raises(DataError, match=r"WNLI\.tsv, row 0: 'neutral' is not an answer .*not_entailment, entailment"):
        write_submission(path, {"WNLI": ["neutral"] * 146})
    with pytest.raises(DataError, match=r"STS-B\.tsv, row 0: nan is not a finite number"):
        write_submission(path, {"STS-B": [float("nan")] * 1379})
    for score in ("abc", "0_1", "nan", " 3.0", None, [], True, 10**400):
        with pytest.raises(DataError, match=r"STS-B\.tsv, row 0: .* is not a finite number; give a plain one"):
            write_submission(path, {"STS-B": [score] * 1379})  # type: ignore[list-item]
    for word in (None, ["entailment"], 1):
        with pytest.raises(DataError, match=r"WNLI\.tsv, row 0: .* is not an answer of this task; expected"):
            write_submission(path, {"WNLI": [word] * 146})  # type: ignore[list-item]
    with pytest.raises(DataError, match="GLUE has no file 'HANS'"):
        write_submission(path, {"HANS": []})
    assert not path.exists()


def test_scores_are_taken_as_programs_have_them(tmp_path: Path) -> None:
    """Python's and NumPy's numbers, and their digits."""
    scores = [1, 2.5, np.float32(0.5), np.int64(4), "3.25", "1e0", np.str_("2")]
    write_submission(tmp_path / "glue.zip", {"STS-B": (scores * 197)[:1379]})
    lines = contents(tmp_path / "glue.zip")["STS-B.tsv"].splitlines()[1:8]
    assert ["1.000", "2.500", "0.500", "4.000", "3.250", "1.000", "2.000"] == [line.split("\t")[1] for line in lines]


def test_writer_and_checker_are_public(whole: dict[str, list[str] | list[float]], tmp_path: Path) -> None:
    """From Python as from the command line, by a path or its name."""
    name = str(tmp_path / "glue.zip")
    bertwright.write_submission(name, {"WNLI": whole["WNLI"]})
    assert "CoLA.tsv is missing (1063 rows)" == bertwright.check_submission(name)[0]


def test_the_command_says_what_the_zip_lacks(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 for a whole zip; 2 and every fault for another."""
    assert 0 == call(["submit", "--check", str(written)])
    assert "holds all 11 files" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("RTE.tsv", "index\tprediction\n0\tyes\n")
    assert 2 == call(["submit", "--check", str(tmp_path / "some.zip")])
    told = capsys.readouterr().err
    assert "RTE.tsv has 1 rows; 3000 are expected" in told
    assert "RTE.tsv, row 0: prediction 'yes', expected entailment or not_entailment" in told
    assert "AX.tsv is missing (1104 rows)" in told
