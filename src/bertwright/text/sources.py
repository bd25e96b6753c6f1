"""Which files are read: paths, folders and patterns to a list of files with known formats."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertwright.errors import DataError

FORMATS = {
    ".txt": "txt",
    ".text": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".xz": "xz", ".bz2": "bzip2"}
_NAME_IT = "Rename the file or give the source a `format`."
_BOUNDARIES = {"txt": ("blank_line", "file", "row")}
_ROW_BOUNDARIES = ("row", "file")


@dataclass(frozen=True)
class Source:
    """One place that text comes from: a file, a folder (searched through) or a pattern.

    ``format`` None is by suffix; ``column`` counts where the format has columns; ``boundary`` parts documents:
    ``blank_line`` (the default of txt), ``row`` (the default elsewhere; in txt a line) or ``file``. ``number`` tells
    sources apart that have weights or shares of their own.
    """

    path: str
    format: str | None = None
    column: str = "text"
    boundary: str | None = None
    number: int = 0


@dataclass(frozen=True)
class TextFile:
    """One file to read, with nothing left to guess; ``compression`` is None, gzip, zstd, xz or bzip2.

    ``source`` is the number of its source, from 0.
    """

    path: Path
    format: str
    compression: str | None
    column: str
    boundary: str
    source: int = 0


def expand(sources: Sequence[Source]) -> tuple[TextFile, ...]:
    """Return the files of all sources: sources in the order given, the files of one in the order of their paths.

    Hidden files and files of unknown kinds in folders are not read (``passed_over`` lists the latter). ``DataError``
    where a path is absent or gives no file, where a format cannot be told, and where a file would be read twice.
    """
    files: list[TextFile] = []
    origin: dict[Path, str] = {}
    for source in sources:
        found = [text_file(source, path) for path in _paths(source) if _named(source, path) or _known(source, path)]
        if not found:
            raise DataError(_nothing_found(source))
        for file in found:
            real = file.path.resolve()
            if real in origin:
                raise DataError(
                    f"{file.path} would be read twice: it is found through {origin[real]} and through {source.path}. "
                    "Every text counts once: remove one of the two."
                )
            origin[real] = source.path
        files += found
    return tuple(files)


def passed_over(sources: Sequence[Source]) -> tuple[Path, ...]:
    """Return the files that ``expand`` leaves out of folders and patterns because their suffix says no known format."""
    return tuple(
        path for source in sources for path in _paths(source) if not _named(source, path) and not _known(source, path)
    )


def text_file(source: Source, path: Path, *, advice: str = _NAME_IT) -> TextFile:
    """Return a file of a source with its format, by the source's word or by the suffixes of its name.

    ``DataError`` where neither says one, with ``advice`` on what to do.
    """
    suffix, compression = _suffixes(path)
    format_ = source.format or FORMATS.get(suffix)
    if format_ is None:
        raise DataError(
            f"{path}: the suffix {suffix!r} does not say what the file is. Known are {', '.join(FORMATS)}, each also "
            f"with {', '.join(COMPRESSIONS)} behind it. {advice}"
        )
    boundaries = _BOUNDARIES.get(format_, _ROW_BOUNDARIES)
    boundary = source.boundary or boundaries[0]
    if boundary not in boundaries:
        raise DataError(
            f"{path}: boundary {boundary!r} has no meaning in {format_}. Give one of {', '.join(boundaries)}."
        )
    return TextFile(path, format_, compression, source.column, boundary, source.number)


def _suffixes(path: Path) -> tuple[str, str | None]:
    """Return the suffix that tells the format, and the compression that the last one tells."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    return suffixes[-1] if suffixes else "", compression


def _known(source: Source, path: Path) -> bool:
    return source.format is not None or _suffixes(path)[0] in FORMATS


def _named(source: Source, path: Path) -> bool:
    """Return whether the source names this very file; then it is never left out."""
    return Path(source.path) == path


def _paths(source: Source) -> list[Path]:
    """Return all files of a source, sorted, hidden ones left out unless they are named."""
    place = Path(source.path)
    if place.is_dir():
        return sorted(_walk(place))
    if place.exists():
        return [place]
    if not set(source.path) & set("*?["):
        raise DataError(f"{place} is not there. Give a file, a folder or a pattern such as notes/*.txt.gz.")
    paths: set[Path] = set()
    for match in map(Path, glob.glob(source.path, recursive=True)):  # noqa: PTH207 - an absolute pattern is allowed here
        paths.update(_walk(match) if match.is_dir() else [match])
    return sorted(paths)


def _walk(folder: Path) -> Iterator[Path]:
    """Give every file under a folder that is not hidden; linked folders are entered, each folder once.

    A pipe or a device is none: opening it might wait without end.
    """
    entered: set[Path] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        place = Path(root).resolve()
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(root, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if path.is_file() or not path.exists())


def _nothing_found(source: Source) -> str:
    others = _paths(source)
    found = f"only files of unknown kinds (such as {others[0].name})" if others else "no file"
    return (
        f"{source.path} gives {found}. Known suffixes are {', '.join(FORMATS)}, each also with "
        f"{', '.join(COMPRESSIONS)} behind it; hidden files are not read."
    )
