"""A dataset of the Hugging Face hub to files of text: streamed row by row, kept as Parquet, taken up where it stood.

This is the one stage that uses a network, and a recipe has it only where it names a hub dataset.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bertwright import files
from bertwright.errors import DataError, InputError
from bertwright.stages.work import Work

# Bytes of text of one file; what a stop may cost, and what is in memory at once.
_FILE_BYTES = 1 << 25
_STATE = "state.json"


def fetch(work: Work) -> dict[str, Any]:
    """Fetch a split's text column. Sealed: ``part-<number>.parquet``, each with a column ``text``."""
    options, state_path = work.options, work.scratch / _STATE
    state: dict[str, Any] = {"commit": None, "files": 0, "rows": 0, "bytes": 0}
    if state_path.is_file():
        state = files.read_json(state_path)
    else:
        state["commit"] = _commit(options["hub"], options["revision"])
    rows = _rows(options, state["commit"], skip=state["rows"])
    for texts, size in _batches(rows, options):
        with files.writing(work.folder / f"part-{state['files']:05d}.parquet") as stream:
            pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), stream, compression="zstd")
        state = {
            **state,
            "files": state["files"] + 1,
            "rows": state["rows"] + len(texts),
            "bytes": state["bytes"] + size,
        }
        files.write_json(state_path, state)
        work.tell({"bytes": state["bytes"], "note": f"{state['rows']:,} rows fetched"})
    if not state["rows"]:
        raise DataError(f"split {options['split']!r} of hub dataset {options['hub']} has no rows; name another split")
    return {**state, **{key: options[key] for key in ("hub", "config", "split", "revision")}}


def _rows(options: Any, commit: str | None, *, skip: int) -> Iterator[dict[str, Any]]:
    datasets = _library()
    revision = {"revision": commit or options["revision"]} if commit or options["revision"] else {}
    with _explained(options["hub"]):
        stream = datasets.load_dataset(
            options["hub"], options["config"], split=options["split"], streaming=True, **revision
        )
        columns = stream.column_names
        if columns is not None and options["column"] not in columns:
            raise DataError(
                f"hub dataset {options['hub']} has no column {options['column']!r}; found "
                f"{', '.join(map(repr, columns))}. Name the text column with `column`."
            )
        yield from stream.skip(skip)


def _library() -> Any:
    try:
        import datasets
        import huggingface_hub.constants
    except ImportError:
        raise InputError('hub datasets need the package datasets: pip install "bertwright[hub]"') from None
    # It tells its makers of its use unless told not to, by a variable that counts only before it is loaded.
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    return datasets


def _commit(name: str, revision: str | None) -> str | None:
    """Return the commit that a revision stands for now, so that an interrupted fetch goes on with the same rows."""
    if Path(name).is_dir():
        return None  # a dataset's folder on this machine, which the library takes in place of a name
    _library()
    import huggingface_hub

    with _explained(name):
        return str(huggingface_hub.HfApi().dataset_info(name, revision=revision).sha)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn the library's many errors into one kind that names the dataset."""
    try:
        yield
    except (DataError, InputError):
        raise
    except Exception as error:  # of the libraries for datasets, files and networks, which share no base
        text = " ".join(str(error).split())[:300]
        raise DataError(
            f"hub dataset {name} cannot be fetched ({type(error).__name__}: {text}). Look at its name, config, split "
            "and revision, and at the network; what was fetched is kept and the same command continues."
        ) from error


def _batches(rows: Iterator[dict[str, Any]], options: Any) -> Iterator[tuple[list[str | None], int]]:
    """Give the texts of rows in lists of about a file's bytes, with their bytes; a row without text is None."""
    texts: list[str | None] = []
    size = 0
    for row in rows:
        text = row.get(options["column"])
        if text is not None and not isinstance(text, str):
            raise DataError(
                f"hub dataset {options['hub']}: column {options['column']!r} holds {type(text).__name__}, and text is "
                "expected. Name another one with `column`."
            )
        texts.append(text)
        size += len((text or "").encode(errors="replace"))
        if size >= _FILE_BYTES:
            yield texts, size
            texts, size = [], 0
    if texts:
        yield texts, size
